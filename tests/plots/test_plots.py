"""The pictures: what is drawn, where, and that nothing is cut or too small."""

import io
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from drawn import sample_frames
from PIL import Image

from numpro import Clip, NumberStyle, number_frames, plots
from numpro.datasets import Saliency
from numpro.flipbook.world import make_film
from numpro.plots.style import alt_text, as_spans, readable, small_png, wrapped

matplotlib.use("agg")
COLORS = ("red", "blue", "green", "black", "yellow")
STEP = [{"step": 10 * i, "loss": 2 / (i + 1)} for i in range(6)]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="module")
def clip():
    film = make_film("test", 3)
    frames, seconds = sample_frames(film)
    clip = Clip(frames, seconds, np.arange(len(seconds)), {"duration": film.duration})
    return clip.select(range(min(len(clip), 12)))


def noise(count, height=20, width=20):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def make_row(number=0, **changes):
    row = {
        "qid": f"{number}", "video": f"film {number // 2}", "query": f"a red star {number} spins",
        "duration": 12.0, "truth": [[2.0, 6.0]], "pred": [[2.0, 4.0]], "reason": None,
        "response": "From frame 2 to frame 4.",
    }  # fmt: skip
    return row | changes


UNREAD = {"pred": [], "reason": "no time in the answer", "response": "A star, $5 & $6."}
ROWS = [make_row(0), make_row(1, duration=40.0), make_row(2, **UNREAD)]


def score(method, value, encoding=None, **changes):
    row = {
        "dataset": "flipbook", "split": "test", "task": "moment_retrieval", "method": method,
        "model": encoding and "flipbook/longva", "time_encoding": encoding,
        "fps": encoding and 1.0, "n": 40, "unparsed": 0,
        "mIoU": [value, value - 4, value + 3],
    }  # fmt: skip
    return row | changes


SCORES = [
    score("whole-video", 30.0),
    score("base", 20.0, "none"),
    score("fine-tuned", 80.0, "overlay-index"),
    score("frame-grid", 95.0),
]


LEARNED = [
    score("fine-tuned", value, encoding, queries=queries)
    for encoding, gain in (("none", 1), ("overlay-index", 20))
    for queries, value in ((640, 40 + 2 * gain), (32, 40 + gain))
]


def swept(scores, **place):
    same = {"dataset": "flipbook", "split": "test", "task": "moment_retrieval", "method": "base"}
    return same | {"time_encoding": "none", "metric": "mIoU", "scores": scores} | place


SWEEP = [
    swept([[20, 18, 22], [30, 28, 33]]),
    swept([None, [80, 78, 82]], method="fine-tuned"),
    swept([[40, 38, 42], None], task="highlight_detection", metric="mAP"),
]


def design_table(colors=("red", "blue"), plain=True):
    rows = [("none", 0, "none", np.nan, 93.5)] if plain else []
    rows += [
        (position, size, color, size + i, 90.0 - size)
        for i, position in enumerate(("top_left", "bottom_right"))
        for size in (20, 40, 60)
        for color in colors
    ]
    columns = ["position", "size", "color", "number_accuracy", "caption_accuracy"]
    return pd.DataFrame(rows, columns=columns)


SALIENCY = Saliency((1, 2, 3), ((1, 2, 3), (4, 4, 4), (0, 0, 0)))


def moments(*spans):
    return list(spans), [[(2.0, 6.0)]] * len(spans)


RANKED = SimpleNamespace(
    spans=np.array([(2.0, 5.0), (2.0, 6.0), (4.0, 4.0)]), probabilities=np.array([0.6, 0.3, 0.05]),
    reason=None,
)  # fmt: skip
TRUSTED = np.array([0.95, 0.9, 0.15, 1.0]), np.array([0.5, 0.9, 0.05, 1.0])

# its ticks become finer, and wider, when the picture is laid out
LIVE = [
    {"step": 2 * n + 1, "loss": 2.4 / (n + 1), "learning_rate": 5e-4 / (n + 1), "grad_norm": 13 - n}
    for n in range(12)
]


def every_picture(clip):
    """One picture of every kind, with what is hardest to place."""
    pages = number_frames(clip.frames)
    long = "a very long query that says much more than has room on one line of a picture " * 4
    numbered = Clip(pages, clip.seconds, clip.source_index, clip.source)
    many = [make_row(i, query=long) for i in range(30)] + [make_row(31, **UNREAD)]
    return {
        "contact": plots.contact_strip(numbered, truth=(3, 9), predicted=(0, 12), title=long),
        "contact many": plots.contact_strip(noise(90), range(90), range(90), [(3, 80)], []),
        "contact one": plots.contact_strip(noise(1), [0.0], predicted=(0, 0), title=long),
        "compare": plots.compare_strip(clip, pages, long, long, (3, 9), [(4, 7)]),
        "gallery": plots.failure_gallery([row | {"clip": clip} for row in [*ROWS, many[0]]]),
        "timelines": plots.timelines(many, title="fine-tuned"),
        "saliency": plots.saliency_plot(SALIENCY, [0.0, 1, 5, 0], title=long),
        "saliency unread": plots.saliency_plot(SALIENCY, None),
        "heat": plots.design_heatmaps(design_table(COLORS), chosen=NumberStyle("top_left")),
        "heat one": plots.design_heatmaps(design_table(["red"])),
        "loss": plots.loss_curves({"with numbers": STEP, "without": STEP * 9}, title="LoRA"),
        "recall": plots.recall_curve(
            {"fine-tuned": moments((2, 6), None)}, {"whole": moments((0, 9))}, moments((2, 6))
        ),
        "scores": plots.score_bars([*SCORES, score("base", 9.0, "none", split="test_long")]),
        "length": plots.length_curve({"base": ROWS, "fine-tuned": ROWS}),
        "runs": plots.run_scores(SWEEP, ["fps-1", "fps-2"]),
        "map": plots.answer_map({"base": ROWS, "fine-tuned + numbers": [make_row(1, **UNREAD)]}),
        "learning": plots.learning_curve(LEARNED, SCORES),
        "losses": plots.loss_curves({f"a training by the name of {n}": STEP for n in range(13)}),
        "dots": plots.dots({"ours": {long: [1, 0, 99], "b": 100}, "paper": {"b": 0}}, "mIoU (%)"),
        "training": plots.training_curves(STEP, long[:60]),
        "live": plots.training_curves(LIVE, "overlay-index, seed 0, live"),
        "moments": plots.moment_map(RANKED, numbered, (2, 5), long),
        "trust": plots.trust_curves({"base": TRUSTED, "fine-tuned + numbers": TRUSTED}),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def many():
    """All pictures at once are more than pyplot likes."""
    with matplotlib.rc_context({"figure.max_open_warning": 0}):
        yield


def drawn(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def texts(figure):
    shown = figure.findobj(lambda a: isinstance(a, matplotlib.text.Text) and a.get_visible())
    return [text for text in shown if text.get_text()]


def words(figure):
    return "\n".join(text.get_text() for text in texts(figure))


def test_nothing_is_cut_or_too_small(clip):
    for name, figure in every_picture(clip).items():
        small_png(figure)  # draws, and so lays out
        assert figure.get_figwidth() <= 10, name
        small = [text.get_text() for text in texts(figure) if text.get_fontsize() < 10]
        assert not small, f"{name}: {small}"
        (x0, y0), (x1, y1) = figure.get_tightbbox().get_points()
        width, height = figure.get_size_inches()
        assert x0 >= -0.01 and x1 <= width + 0.01, f"{name}: {x0} to {x1} of {width}"
        assert y0 >= -0.01 and y1 <= height + 0.01, f"{name}: {y0} to {y1} of {height}"


def test_the_look_is_ours_and_the_readers_settings_stay(clip):
    with matplotlib.rc_context({"figure.facecolor": "black", "text.color": "white"}):
        before = dict(matplotlib.rcParams)
        figure = plots.contact_strip(clip, title="x")
        assert dict(matplotlib.rcParams) == before
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert matplotlib.colors.to_hex(texts(figure)[0].get_color()) == "#222222"


def test_a_picture_in_a_notebook_is_a_small_png():
    figure = plots.loss_curves({"a": STEP})
    picture = Image.open(io.BytesIO(small_png(figure)))
    assert picture.size == (1000, 360) and picture.mode == "P"
    whole = io.BytesIO()
    figure.savefig(whole, format="png")
    assert len(small_png(figure)) < len(whole.getvalue())


def test_a_small_png_is_what_savefig_draws_and_leaves_the_figure_as_it_was():
    figure = plots.contact_strip(np.full((3, 20, 20, 3), 90, np.uint8), range(3), truth=(0, 2))
    canvas, whole = figure.canvas, io.BytesIO()
    figure.savefig(whole, format="png", dpi=144)
    shown, saved = Image.open(io.BytesIO(small_png(figure, dpi=144))), Image.open(whole)
    assert shown.size == saved.size and figure.canvas is canvas and figure.dpi == 100
    shown, saved = (np.asarray(picture.convert("RGB"), int) for picture in (shown, saved))
    assert np.abs(shown - saved).mean() < 2  # of 255: all but the colours that were left out


def test_pyplot_shows_figures_only_where_it_is_used():
    script = (
        "import sys; from numpro import plots; log = [dict(step=1, loss=1.0)] * 2\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.loss_curves({'a': log}); assert 'matplotlib.pyplot' not in sys.modules\n"
        "import matplotlib.pyplot as plt; figure = plots.loss_curves({'a': log})\n"
        "assert [plt.figure(n) for n in plt.get_fignums()] == [figure]"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_a_picture_that_is_saved_is_let_go_of(tmp_path):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    plots.save(plots.loss_curves({"a": STEP}), tmp_path / "a.png", dpi=50)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width <= 500
    assert plt.get_fignums() == before


# ---------------------------------------------------------------- strips


def edges(figure, name):
    """Return left and right of the brackets, in frames from the left of the first one."""
    images = drawn(figure, "frame")
    left = images[0].get_extent()[0]
    slot = images[1].get_extent()[0] - left
    bars = [bar.get_bbox() for bar in drawn(figure, name)]
    return [[(b.x0 - left) / slot, (b.x1 - left) / slot] for b in bars]


def test_a_bracket_starts_and_ends_at_the_middle_of_its_frames():
    figure = plots.contact_strip(noise(8), np.arange(8) * 0.5, truth=(1, 3), predicted=(0, 0.25))
    np.testing.assert_allclose(edges(figure, "truth"), [[2.5, 6.5]])
    np.testing.assert_allclose(edges(figure, "answer"), [[0.5, 1.0]])
    assert len(drawn(figure, "frame")) == 8
    times = [text.get_text() for text in drawn(figure, "time")]
    assert times == ["0 s", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s", "3 s", "3.5 s"]
    assert {"1.0–3.0 s", "0.0–0.2 s"} <= {t.get_text() for t in drawn(figure, "span")}


def test_uneven_times_are_looked_up():
    figure = plots.contact_strip(noise(4), [0.0, 1.0, 10.0, 30.0], truth=[(5.5, 20), (90, 99)])
    spans = edges(figure, "truth")
    np.testing.assert_allclose(spans[0], [2.0, 3.0])
    assert spans[1][0] == pytest.approx(4.0)


def test_frames_are_shown_in_the_order_of_time():
    frames = noise(3)
    figure = plots.contact_strip(frames, [5.0, 1.0, 3.0], labels=["c", "a", "b"])
    shown = [image.get_array() for image in drawn(figure, "frame")]
    for image, number in zip(shown, (1, 2, 0), strict=True):
        np.testing.assert_array_equal(image, frames[number])
    assert words(figure).index("a") < words(figure).index("b") < words(figure).index("c")


def test_a_span_goes_on_in_the_next_row():
    figure = plots.contact_strip(noise(10), range(10), predicted=(2, 8), per_row=4)
    first, second, third = edges(figure, "answer")  # rows of 4, 4, 2
    np.testing.assert_allclose([first, second, third], [[2.5, 4], [0, 4], [0, 0.5]])
    tops = [bar.get_bbox().y0 for bar in drawn(figure, "answer")]
    assert tops == sorted(tops) and len(set(tops)) == 3
    assert len(drawn(figure, "span")) == 1


@pytest.mark.parametrize(("count", "shown", "step"), [(36, 36, 1), (37, 19, 2), (120, 30, 4)])
def test_many_frames_are_thinned_evenly(count, shown, step):
    figure = plots.contact_strip(noise(count), range(count), truth=(3, 5))
    times = [text.get_text() for text in drawn(figure, "time")]
    assert times == [f"{t} s" for t in range(0, count, step)] and len(times) == shown
    assert (f"1 of every {step} frames" in words(figure)) == (step > 1)


def test_truth_and_answer_differ_by_more_than_colour():
    figure = plots.contact_strip(noise(4), range(4), truth=(0, 2), predicted=(0, 2))
    (truth,), (answer,) = drawn(figure, "truth"), drawn(figure, "answer")
    assert not truth.get_hatch() and answer.get_hatch()
    assert truth.get_bbox().y1 < answer.get_bbox().y0  # heights count from the top
    assert {"truth", "answer"} <= set(words(figure).split("\n"))


def test_no_span_is_said_and_no_question_leaves_the_lane_out():
    strip = plots.contact_strip(noise(4), range(4), truth=(0, 2), predicted=[])
    assert "no span could be read" in words(strip) and not drawn(strip, "answer")
    left_out = plots.contact_strip(noise(4), range(4), truth=(0, 2))
    assert "answer" not in words(left_out)


def test_frames_keep_their_shape_and_small_ones_their_pixels():
    frames = noise(2, 30, 60)
    figure = plots.contact_strip(frames)
    (image, _) = drawn(figure, "frame")
    x0, x1, bottom, top = image.get_extent()
    assert (x1 - x0) / (bottom - top) == pytest.approx(2)
    np.testing.assert_array_equal(image.get_array(), frames[0])
    for per_row in (12, 6):
        (large, *_) = drawn(plots.contact_strip(noise(12, 336, 336), per_row=per_row), "frame")
        x0, x1, *_ = large.get_extent()
        assert large.get_array().shape[1] <= 150 * (x1 - x0 + 0.03) + 1, "larger than seen"
        assert large.get_array().shape[1] < 150 or per_row == 6


def test_the_published_numbers_can_be_read_in_a_strip(clip):
    for count in (1, 8, 9, 16, 36):
        pages = noise(count, 336, 336)
        row = {"query": "q", "response": "a", "truth": [(0, 1)], "pred": [(0, 1)]}
        row["clip"] = SimpleNamespace(frames=pages, seconds=np.arange(count))
        strips = plots.contact_strip(pages), plots.failure_gallery([row])
        strips += (plots.compare_strip(pages, pages, "q", "a", seconds=np.arange(count)),)
        for figure in strips:
            x0, x1, *_ = drawn(figure, "frame")[0].get_extent()
            # digits of 40 points at 336 pixels are 29 pixels high, those of the page's text 9 to 10
            assert (x1 - x0) * 100 * 29 / 336 > 9


def test_compare_shows_both_strips_question_and_answer(clip):
    pages = number_frames(clip.frames)
    figure = plots.compare_strip(clip, pages, "a red $tar", "From 3 to 7.", (3, 7), (4, 7))
    count = len(clip)
    images = drawn(figure, "frame")
    assert len(images) == 2 * count
    above, below = images[:count], images[count:]
    assert max(i.get_extent()[2] for i in above) < min(i.get_extent()[3] for i in below)
    assert any((a.get_array() != b.get_array()).any() for a, b in zip(above, below, strict=True))
    assert len(drawn(figure, "time")) == 2 * count
    assert len(drawn(figure, "truth")) == 2  # 11 frames are two rows, and it is in both
    assert "a red $tar" in words(figure) and "“From 3 to 7.”" in words(figure)
    thinned = plots.compare_strip(clip, pages, "q", "a", per_row=3)
    assert len(drawn(thinned, "frame")) == 2 * -(-count // 2)
    assert "1 of every 2" in words(thinned)


def test_gallery_shows_frames_answers_and_reasons(clip):
    items = [row | {"clip": clip} for row in ROWS]
    figure = plots.failure_gallery(items)
    assert len(drawn(figure, "frame")) == 3 * -(-len(clip) // 2)  # one row of 8 at most
    assert len(drawn(figure, "truth")) == 3 and len(drawn(figure, "answer")) == 2
    text = words(figure)
    assert "IoU 0.50" in text and "not read: no time in the answer" in text
    assert "“From frame 2 to frame 4.”" in text and "“A star, $5 & $6.”" in text
    assert len(clip) > 8 and "“From frame 2 to frame 4.”   (1 of every 2 frames is shown)" in text
    whole = words(plots.failure_gallery([ROWS[0] | {"clip": clip.select(range(8))}]))
    assert "“From frame 2 to frame 4.”" in whole and "of every" not in whole
    assert len(drawn(plots.failure_gallery(items, limit=1), "truth")) == 1


@pytest.mark.parametrize(
    ("frames", "options", "says"),
    [
        pytest.param(noise(0), {}, r"T > 0; got uint8 \(0, 20", id="no frames"),
        pytest.param(noise(2) / 255, {}, "float64", id="float frames"),
        pytest.param(noise(2)[..., 0], {}, r"\(2, 20, 20\)", id="grey"),
        pytest.param(noise(2), {"seconds": [1.0]}, "2 frames, 1 seconds", id="few seconds"),
        pytest.param(noise(2), {"labels": "abc"}, "2 frames, 3 labels", id="many labels"),
        pytest.param(noise(2), {"truth": (0, 1)}, "seconds must be given", id="spans, no times"),
        pytest.param(noise(2), {"per_row": 0}, "per_row must be 1 or more; got 0", id="per_row"),
        pytest.param(
            noise(2), {"seconds": [0, 1], "truth": (3, 1)}, "start <= end", id="turned round"
        ),
        pytest.param(
            noise(2), {"seconds": [0, 1], "predicted": [1, 2, 3]}, "answer must be", id="three"
        ),
    ],
)
def test_bad_strips(frames, options, says):
    with pytest.raises(ValueError, match=says):
        plots.contact_strip(frames, **options)


def test_bad_comparisons_and_galleries(clip):
    with pytest.raises(ValueError, match="seconds must be given with an array"):
        plots.compare_strip(clip.frames, clip.frames, "q", "a")
    with pytest.raises(ValueError, match=f"1 frames, {len(clip)} seconds"):
        plots.compare_strip(clip, clip.frames[:1], "q", "a")
    with pytest.raises(ValueError, match=r"items\[0\] lacks clip"):
        plots.failure_gallery(ROWS)
    with pytest.raises(ValueError, match="items is empty"):
        plots.failure_gallery([])


# ---------------------------------------------------------------- moments


def test_timelines_draw_truth_and_answer_in_seconds():
    figure = plots.timelines(ROWS)
    truth = [(bar.get_x(), bar.get_width()) for bar in drawn(figure, "truth")]
    answer = [(bar.get_x(), bar.get_width()) for bar in drawn(figure, "answer")]
    assert truth == [(2, 4)] * 3 and answer == [(2, 2)] * 2
    assert [bar.get_width() for bar in drawn(figure, "video")] == [12, 40, 12]
    assert [t.get_text() for t in drawn(figure, "iou")] == ["IoU 0.50", "IoU 0.50", "IoU 0.00"]
    assert [t.get_text() for t in drawn(figure, "why")] == ["no time in the answer"]
    assert figure.get_suptitle() == "3 queries"


def test_timelines_choose_evenly_and_say_so():
    figure = plots.timelines([make_row(i) for i in range(101)], limit=5, title="ours")
    assert figure.get_suptitle() == "ours: 5 of 101 queries, evenly chosen"
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"a red star {i} spins" for i in (0, 25, 50, 75, 100)]


def test_timelines_draw_every_true_span_and_best_iou():
    figure = plots.timelines([make_row(truth=[[8.0, 9.0], [2.0, 5.0]])])
    assert len(drawn(figure, "truth")) == 2
    assert drawn(figure, "iou")[0].get_text() == "IoU 0.67"


def test_saliency_is_one_bar_a_clip():
    figure = plots.saliency_plot(SALIENCY, [0.5, 1, 7, 0, 2])
    assert [bar.get_height() for bar in drawn(figure, "truth")] == [0, 2, 4, 0, 0]
    assert [bar.get_x() for bar in drawn(figure, "answer")] == [0, 2, 4, 6, 8]
    (best,) = drawn(figure, "best")
    assert best.get_position() == (pytest.approx(4.92), 7)
    unread = plots.saliency_plot([0, 1.5, 4], None)
    assert "no score could be read" in words(unread) and len(drawn(unread, "truth")) == 3


def test_a_moment_map_has_its_probabilities_at_start_and_end(clip):
    figure = plots.moment_map(RANKED, clip, [(2.0, 5.5), (7.0, 8.0)], "a red star spins")
    strip, ax, _ = figure.axes
    assert len(strip.images) == len(clip) and strip.get_title(loc="left") == "a red star spins"
    grid = ax.images[0].get_array().filled(np.nan)
    assert grid.shape == (len(clip), len(clip))
    assert (grid[2, 5], grid[2, 6], grid[4, 4], grid[3, 6]) == (0.6, 0.3, 0.05, 0)
    assert np.isnan(grid[np.tril_indices(len(clip), -1)]).all(), "no end before its start"
    assert not np.isnan(grid[np.triu_indices(len(clip))]).any()
    (rings,) = drawn(figure, "truth")
    np.testing.assert_allclose(rings.get_xydata(), [(5.5, 2), (8, 7)])
    without = SimpleNamespace(spans=np.zeros((0, 2)), reason="the server gives no logprobs")
    with pytest.raises(ValueError, match="no distribution to draw: the server gives no logprobs"):
        plots.moment_map(without, clip)


def test_trust_is_confidence_against_iou_and_what_the_surest_reach():
    left, right = plots.trust_curves({"base": TRUSTED}).axes
    diagonal, curve = left.lines
    np.testing.assert_allclose(curve.get_xydata(), [(0.15, 0.05), (0.95, 0.8)])
    assert curve.get_label() == "base, error 0.14" and diagonal.get_gid() == "true"
    np.testing.assert_allclose(
        right.lines[0].get_xydata(), [(25, 100), (50, 75), (75, 80), (100, 61.25)]
    )
    with pytest.raises(ValueError, match="answers must be a dict"):
        plots.trust_curves({})


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: plots.timelines([]), "rows is empty"),
        (lambda: plots.timelines([{"query": "a"}]), r"rows\[0\] lacks duration, truth, pred"),
        (lambda: plots.timelines(ROWS, limit=0), "limit must be 1 or more; got 0"),
        (lambda: plots.saliency_plot([5.0], None), "grade 0..4"),
        (lambda: plots.saliency_plot([], None), "grade 0..4"),
        (lambda: plots.saliency_plot([1.0, 2], [1.0]), "finite score a clip, 2 in all"),
        (lambda: plots.saliency_plot([1.0], [np.nan]), "finite score"),
        (lambda: plots.saliency_plot(SALIENCY, [1.0, 2]), r"must be 0..1; got \[1, 2, 3\]"),
    ],
    ids=["empty", "keys", "limit", "grade", "none", "short", "nan", "outside"],
)
def test_bad_moments(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# ---------------------------------------------------------------- charts


def test_heat_maps_show_every_design_and_mark_the_choice():
    table = design_table()
    figure = plots.design_heatmaps(table, chosen=NumberStyle("bottom_right", 40, "blue"))
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "number accuracy, red", "number accuracy, blue",
        "caption accuracy, red", "caption accuracy, blue",
    ]  # fmt: skip
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[20, 40, 60], [21, 41, 61]])
    np.testing.assert_allclose(figure.axes[3].images[0].get_array(), [[70, 50, 30]] * 2)
    boxes = drawn(figure, "chosen")
    assert [box.axes for box in boxes] == [figure.axes[1], figure.axes[3]]
    assert {box.get_xy() for box in boxes} == {(0.5, 0.5)}
    assert "41★" in words(figure) and "without a number: caption accuracy 93.5" in words(figure)


@pytest.mark.parametrize("as_given", ["dict", "series", "row"])
def test_the_choice_in_any_form(as_given):
    table = design_table(plain=False)
    chosen = {
        "dict": {"position": "top_left", "size": 20, "color": "red"},
        "series": table.iloc[0],
        "row": next(table.itertuples()),
    }[as_given]
    figure = plots.design_heatmaps(table, ["number_accuracy"], chosen)
    assert [box.get_xy() for box in drawn(figure, "chosen")] == [(-0.5, -0.5)]
    assert "without" not in words(figure)


def test_a_missing_design_is_a_gap():
    figure = plots.design_heatmaps(design_table().drop(index=3), ["number_accuracy"])
    gaps = np.ma.getmaskarray(figure.axes[0].images[0].get_array())
    assert np.argwhere(gaps).tolist() == [[0, 1]]
    assert [t.get_text() for t in figure.axes[0].texts].count("–") == 1


def test_fractions_are_shown_as_such():
    table = design_table().assign(number_accuracy=0.25)
    assert "0.25" in words(plots.design_heatmaps(table, ["number_accuracy"]))


def test_losses_are_lines_and_long_logs_are_smoothed():
    noisy = [{"step": i, "loss": 1 + (-1) ** i} for i in range(100)]
    figure = plots.loss_curves({"short": STEP, "long": noisy})
    short, raw, smooth = figure.axes[0].lines
    np.testing.assert_allclose(short.get_xydata(), [[r["step"], r["loss"]] for r in STEP])
    np.testing.assert_allclose(raw.get_ydata(), [r["loss"] for r in noisy])
    assert np.ptp(smooth.get_ydata()[5:-5]) < 0.5 < np.ptp(raw.get_ydata())
    assert short.get_linestyle() != smooth.get_linestyle()
    assert short.get_marker() != smooth.get_marker()
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["short", "long"]


def test_a_log_read_from_csv_is_text():
    figure = plots.loss_curves({"a": [{"step": "5", "loss": "1.5"}, {"step": "6", "loss": "1"}]})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), [[5, 1.5], [6, 1]])


def test_recall_falls_with_the_threshold():
    half = moments((2, 6), (2, 4), None, (2, 5))  # IoU 1, 0.5, 0, 0.75
    figure = plots.recall_curve(
        {"ours": half}, {"whole": moments((0, 8))}, moments((2, 6)), ["a", "a", "b", "b"]
    )
    ours, ceiling, floor = figure.axes[0].lines
    at = dict(zip(ours.get_xdata().round(3), ours.get_ydata(), strict=True))
    assert (at[0.3], at[0.5], at[0.525], at[0.75], at[0.8]) == (75, 75, 50, 50, 25)
    assert set(ceiling.get_ydata()) == {100} and set(floor.get_ydata()) == {0, 100}
    assert ours.get_xdata()[ours.get_markevery()] == pytest.approx([0.3, 0.5, 0.7])
    assert len(figure.axes[0].collections) == 1
    for text in ("ours", "whole (floor)", "frame grid (ceiling)", "95 % intervals"):
        assert text in words(figure)


def test_score_bars_have_intervals_floors_and_ceilings():
    figure = plots.score_bars(SCORES)
    (ax,) = figure.axes
    assert [bar.get_width() for bar in drawn(figure, "score")] == [20, 80]
    (floor,), (ceiling,) = drawn(figure, "floor"), drawn(figure, "ceiling")
    assert floor.get_xdata() == [30, 30] and ceiling.get_xdata() == [95, 95]
    assert floor.get_linestyle() != ceiling.get_linestyle()
    whiskers = [collection.get_segments()[0][:, 0].tolist() for collection in ax.collections]
    assert whiskers == [[16, 23], [76, 83]]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["base", "fine-tuned + numbers"]
    assert ax.get_title(loc="left") == "flipbook test, moment retrieval (n 40)"
    hatches = [bar.get_hatch() for bar in drawn(figure, "score")]
    assert len(set(hatches)) == 2


def test_score_bars_make_a_panel_a_table_and_name_what_differs():
    highlights = score("base", 12.0, "none", task="highlight_detection", fps=2.0)
    highlights["mAP"] = highlights.pop("mIoU")
    other = score("base", 25.0, "none", model="big/model", fps=0.5)
    figure = plots.score_bars([*SCORES, other, highlights])
    assert [ax.get_xlabel()[:4] for ax in figure.axes] == ["mIoU", "mAP "]
    assert "base, big/model, 0.5 fps" in words(figure)
    assert len(plots.score_bars([*SCORES, highlights], "mAP").axes) == 1


def test_a_query_without_truth_has_an_answer_and_no_iou():
    figure = plots.timelines([make_row(1, truth=[]), make_row(2)])
    assert len(drawn(figure, "iou")) == 1 and len(drawn(figure, "answer")) == 2


def test_length_bins_hold_their_upper_edge():
    rows = [make_row(i, duration=d) for i, d in enumerate((12.1, 16.0, 16.1, 64.0))]
    rows += [make_row(9, duration=64.0, **UNREAD)]
    figure = plots.length_curve({"ours": rows})
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["12–16 s\nn 2", "16–24 s\nn 1", "48–64 s\nn 2"]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [50, 50, 25])
    two = plots.length_curve({"ours": rows}, edges=[0, 16, 100])
    np.testing.assert_allclose(two.axes[0].lines[0].get_ydata(), [50, 100 / 3])


def test_a_learning_curve_rises_from_few_queries_to_many():
    figure = plots.learning_curve(LEARNED, SCORES[:2])
    without, numbers = (c.lines[0] for c in figure.axes[0].containers)
    np.testing.assert_allclose(without.get_xydata(), [[32, 41], [640, 42]])
    np.testing.assert_allclose(numbers.get_ydata(), [60, 80])
    words = [text.get_text() for text in texts(figure)]
    assert {"32", "640", "fine-tuned + numbers", "base 20.0"} <= set(words)


def test_runs_stand_side_by_side_and_a_missing_score_leaves_a_gap():
    figure = plots.run_scores(SWEEP, ["fps-1", "fps-2"])
    panel, highlights = figure.axes
    whole, half = (c.lines[0].get_xydata() for c in panel.containers)
    np.testing.assert_allclose(whole, [[-0.025, 20], [0.975, 30]])
    np.testing.assert_allclose(half, [[1.025, 80]])
    assert [t.get_text() for t in highlights.get_xticklabels()] == ["fps-1", "fps-2"]
    assert highlights.get_ylabel() == "mAP (%)"


def test_an_answer_on_the_diagonal_lies_where_the_truth_lies():
    rows = [make_row(1, truth=[[2, 4]], pred=[[6, 10]], duration=10.0), make_row(2, **UNREAD)]
    figure = plots.answer_map({"base": rows})
    (dots,) = drawn(figure, "answers")
    np.testing.assert_allclose(dots.get_offsets(), [[0.3, 0.8]])
    assert "1 not readable" in figure.axes[0].get_title(loc="left")


def test_of_two_true_spans_the_nearest_is_compared_with_the_answer():
    rows = [make_row(1, truth=[[2, 4], [7, 8]], pred=[[6, 10]], duration=10.0)]
    (dots,) = drawn(plots.answer_map({"base": rows}), "answers")
    np.testing.assert_allclose(dots.get_offsets(), [[0.75, 0.8]])


TABLE = design_table()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: plots.loss_curves({}), "logs must be a dict"),
        (lambda: plots.loss_curves({"a": []}), "a is empty"),
        (lambda: plots.loss_curves({"a": [{"step": 1}]}), r"a\[0\] lacks loss"),
        (lambda: plots.recall_curve([]), "curves must be a dict"),
        (lambda: plots.recall_curve({"a": ([None], [])}), "1 predictions for 0 queries"),
        (lambda: plots.score_bars([]), "rows is empty"),
        (lambda: plots.score_bars([{"method": "base"}]), r"rows\[0\] lacks dataset"),
        (lambda: plots.score_bars(SCORES, "mAP"), "metric must be one of mIoU; got 'mAP'"),
        (lambda: plots.run_scores(SWEEP, ["one"]), "a row has 2 scores for 1 runs"),
        (lambda: plots.run_scores([], []), "rows is empty"),
        (lambda: plots.answer_map({"a": [{}]}), r"a\[0\] lacks duration"),
        (lambda: plots.learning_curve(SCORES), r"rows\[0\] lacks queries"),
        (lambda: plots.length_curve({"a": [{}]}), r"a\[0\] lacks duration"),
        (lambda: plots.length_curve({"a": ROWS}, [5, 5]), r"no video lies within .* \[5, 5\]"),
        (lambda: plots.length_curve({"a": ROWS}, [1, 2]), "no video lies within"),
        (lambda: plots.design_heatmaps(TABLE, ["speed"]), "table lacks speed"),
        (lambda: plots.design_heatmaps(pd.concat([TABLE, TABLE])), "each design once; got 24"),
        (lambda: plots.design_heatmaps(TABLE[:1]), "each design once; got 0"),
        (lambda: plots.design_heatmaps(TABLE, chosen=NumberStyle("center")), "of the table; got"),
    ],
)  # fmt: skip
def test_bad_charts(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# ---------------------------------------------------------------- words and spans


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("a\n\tb  c", None, "a b c"),
        ("abcdef", 4, "abc…"),
        ("$x^2$ 50 %", None, "$x^2$ 50 %"),
        ("\U0010ffff", None, "?"),
        (None, None, "None"),
    ],
)
def test_readable(text, most, shown):
    assert readable(text, most) == shown


def test_wrapped_keeps_to_its_lines():
    lines = wrapped("word " * 200, 40, lines=2).split("\n")
    assert len(lines) == 2 and max(map(len, lines)) <= 40 and lines[1].endswith("…")


@pytest.mark.parametrize(
    ("given", "spans"),
    [
        (None, ()),
        ([], ()),
        ((1, 2), ((1, 2),)),
        ([[1, 2], [3, 4]], ((1, 2), (3, 4))),
        (np.array([1.0, 2]), ((1, 2),)),
    ],
    ids=str,
)
def test_as_spans(given, spans):
    assert as_spans(given, "x") == spans


def test_a_video_of_unknown_length_is_as_long_as_what_was_said_of_it():
    row = {"query": "a star", "duration": None, "truth": [[1, 3]], "pred": [[2, 9]], "reason": None}
    figure = plots.timelines([row])
    assert figure.axes[0].get_xlim() == (0, 9)
    row["pred"] = []
    assert plots.timelines([row, row | {"duration": 5.0}]).axes[0].get_xlim() == (0, 5)


def test_validation_stands_beside_the_loss():
    log = [{"step": s, "loss": 1 / s, "val_mIoU": 10 * s if s % 2 else None} for s in range(1, 7)]
    loss, held_out = plots.loss_curves({"a": log}).axes
    assert held_out.lines[0].get_xydata().tolist() == [[1, 10], [3, 30], [5, 50]]
    log.append({"step": 7, "loss": None, "val_mIoU": 80.0})
    loss, held_out = plots.loss_curves({"a": log}).axes
    assert len(loss.lines[0].get_xdata()) == 6 and len(held_out.lines[0].get_xdata()) == 4


# ---------------------------------------------------------------- in a notebook


def test_dots_have_an_axis_over_all_or_over_what_is_reached():
    whole, near = (plots.dots({"a": {"x": 4.0, "y": 6.0}}, "%", whole=w) for w in (True, False))
    low, high = near.axes[0].get_xlim()
    assert whole.axes[0].get_xlim() == (-1, 101) and 3 < low < 4 and 6 < high < 7


def test_dots_stand_at_their_scores_with_their_intervals():
    series = {"ours": {"base": [20, 15, 30], "tuned": 80}, "paper": {"base": 12.5}}
    figure = plots.dots(series, "mIoU (%)", {"floor": 41.0})
    (ax,) = figure.axes
    ours, paper = (box.lines[0] for box in ax.containers)
    assert ours.get_xdata().tolist() == [20, 80] and paper.get_xdata().tolist() == [12.5]
    assert ours.get_marker() != paper.get_marker()
    assert ours.get_ydata()[0] < 0 < paper.get_ydata()[0]  # in one row, side by side
    whiskers = ax.containers[0].lines[2][0].get_segments()
    assert [segment[:, 0].tolist() for segment in whiskers] == [[15, 30], [80, 80]]
    assert [line.get_xdata() for line in drawn(figure, "line")] == [[41, 41]]
    for text in ("base", "tuned", "ours", "paper", "floor 41.0"):
        assert text in words(figure)
    assert ax.get_xlim() == (-1, 101)


def test_dots_of_differences_have_an_axis_as_long_as_they_need():
    gain = {"gain": {"a": [0.5, -2, 3]}}
    low, high = plots.dots(gain, "points", {"none": 0}, whole=False).axes[0].get_xlim()
    assert -4 < low < -2 and 3 < high < 5


def test_a_list_of_scores_is_a_dot_each():
    (box,) = plots.dots({"test": {"base": [[1, 1, 2], [4, 3, 5]]}}, "x").axes[0].containers
    assert box.lines[0].get_xdata().tolist() == [1, 4]


def test_lines_that_stay_are_named_once_for_all_panels():
    rows = [*SCORES, *[row | {"split": "faint"} for row in SCORES]]
    first, second = plots.score_bars(rows).axes
    assert first.get_legend() and not second.get_legend()
    rows[-1] = rows[-1] | {"mIoU": [90.0, 89.0, 91.0]}
    assert all(ax.get_legend() for ax in plots.score_bars(rows).axes)


def test_many_trainings_are_named_below_the_curves():
    few, many = ({f"run {n}": STEP for n in range(count)} for count in (4, 5))
    assert plots.loss_curves(few).axes[0].get_legend() and not plots.loss_curves(few).legends
    figure = plots.loss_curves(many)
    small_png(figure)
    assert figure.axes[0].get_legend() is None
    top = figure.legends[0].get_window_extent().y1
    assert top <= figure.axes[0].get_tightbbox().y0


def test_where_a_span_is_not_there_is_a_faint_line():
    def lanes(figure):
        return [line.get_xdata()[1] - line.get_xdata()[0] for line in drawn(figure, "lane")]

    two = lanes(plots.contact_strip(noise(14), range(14), truth=(0, 3)))
    assert len(two) == 2 and two[0] == two[1] > 9
    assert lanes(plots.contact_strip(noise(3), range(3), predicted=[])) == []


def test_what_a_row_is_can_be_said():
    assert "arms: 3 answers" in words(plots.timelines(ROWS, title="arms", what="answers"))


def test_a_picture_has_words_for_who_cannot_see_it(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, metadata, raw: shown.append((data, metadata, raw))
    )
    figure = plots.timelines(ROWS[:1], title="one film")
    plots.show(figure, "Where it is.")
    figure._ipython_display_()  # as the last expression of a cell
    (data, metadata, raw), (_, bare, _) = shown
    assert raw and data["image/png"].startswith(b"\x89PNG")
    alt, plain = (m["image/png"]["alt"] for m in (metadata, bare))
    assert alt == f"Where it is. {plain}"
    assert {"one film: 1 queries", "seconds", "truth", "answer"} <= set(plain.split("; "))
    assert not {"0", "2.5"} & set(plain.split("; "))
    assert len(alt_text(figure, "long " * 200)) == 500


def test_a_picture_that_was_shown_is_not_shown_again():
    script = (
        "import matplotlib.pyplot as plt; from numpro import plots\n"
        "plots.show(plots.loss_curves({'a': [dict(step=1, loss=1.0)]}))\n"
        "with plots.styled(): figure = plt.figure()\n"
        "plots.show(figure); assert not plt.get_fignums()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_a_training_is_four_panels_or_fewer():
    log = [{"step": s, "loss": 1 / s, "learning_rate": 0.1, "grad_norm": 2} for s in (1, 2)]
    figure = plots.training_curves(log, "LoRA")
    assert [ax.get_ylabel() for ax in figure.axes if ax.get_visible()] == [
        "loss", "learning rate", "norm of the gradient",
    ]  # fmt: skip
    np.testing.assert_allclose(drawn(figure, "loss")[0].get_xydata(), [[1, 1], [2, 0.5]])


def test_no_place_of_a_training_stays_empty():
    log = [{"step": s, "loss": 1 / s, "learning_rate": 0.1, "grad_norm": 2} for s in (1, 2)]
    assert len(plots.training_curves(log).axes) == 3
    assert len(plots.training_curves([row | {"val_mIoU": 9} for row in log]).axes) == 4


def test_every_row_of_an_attention_map_has_a_name():
    figure = plots.attention_map(["From", " ", "\n"], np.ones((3, 4)))
    names = [t.get_text() for ax in figure.axes for t in ax.get_yticklabels()][:3]
    assert names == ["From", "␣", "\\n"]


def test_two_answers_stand_under_the_same_frames():
    frames = np.zeros((6, 8, 8, 3), np.uint8)
    look = {"seconds": range(6), "truth": (1, 3)}
    one = plots.compare_strip(frames, frames, "q", "With", predicted=[(1, 3)], **look)
    two = plots.compare_strip(
        frames, frames, "q", "With", predicted=[(1, 3)], **look, without=("Not", [(4, 5)])
    )
    assert [len(drawn(figure, "answer")) for figure in (one, two)] == [1, 2]
    texts = [text.get_text() for text in two.axes[0].texts]
    assert "Without numbers: “Not”" in texts and "With numbers: “With”" in texts
    assert len(drawn(two, "time")) == len(drawn(one, "time")) == 12


def test_what_one_sees_is_written_below_a_picture(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    plots.show(plots.dots({"a": {"x": 1}}, "%"), "caption", "It falls.")
    plots.show(plots.dots({"a": {"x": 1}}, "%"), "caption")
    assert ["image/png" in data for data in shown] == [True, False, True]
    assert shown[1]["text/markdown"] == "**What you see.** It falls."
