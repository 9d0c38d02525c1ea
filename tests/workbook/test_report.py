"""Score rows, tables and the report."""

import re
from html import unescape

import pytest
from PIL import Image
from score_rows import RESULTS, ROWS, floor, make_row

from numpro.metrics.tables import check_score_row, headline, paper_table, score_text
from numpro.workbook.report import render_report


def test_a_whole_row_is_accepted():
    for row in ROWS:
        check_score_row(row)
    check_score_row(make_row(loaded_from="papermill_runs/flipbook_full", note="50 steps"))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        pytest.param({"dataset": "flipbook"}, "lacks split, task", id="keys missing"),
        pytest.param(make_row(task="captions"), "task must be one of", id="unknown task"),
        pytest.param(make_row(method="best"), "method must be one of base, fine", id="method"),
        pytest.param(make_row(n=0), "n must be above 0", id="no queries"),
        pytest.param(make_row(unparsed=11), "unparsed 0..n", id="more unparsed than queries"),
        pytest.param(make_row(mIoU=30.0), "mIoU must be", id="no interval"),
        pytest.param(make_row(mIoU=[30, 40, 20]), "mIoU must be", id="interval turned round"),
        pytest.param(make_row(mIoU=[130, 40, 50]), "mIoU must be", id="above 100"),
        pytest.param(make_row(mIoU=[float("nan"), 1, 2]), "mIoU must be", id="not a number"),
        pytest.param(make_row(modle="x"), "modle must be", id="unknown key"),
        pytest.param(
            {k: v for k, v in make_row().items() if k not in ("mIoU", "R@0.5")},
            "no metric", id="no metric",
        ),
    ],
)  # fmt: skip
def test_a_broken_row_is_refused(row, says):
    with pytest.raises(ValueError, match=says):
        check_score_row(row)


def test_the_text_table_puts_floors_first_and_the_ceiling_last():
    tables = score_text(ROWS).split("\n\n")
    assert [table.splitlines()[0].split(" (")[0] for table in tables] == [
        "flipbook test: moment retrieval",
        "flipbook test_long: moment retrieval",
        "flipbook test: highlight detection",
    ]
    lines = tables[0].splitlines()
    assert lines[0].endswith("(model flipbook/longva, fps 1.0, n 10)")
    assert lines[1].split() == ["method", "time", "encoding", "unparsed", "mIoU", "R@0.5"]
    methods = [line.split()[:2] for line in lines[2:]]
    assert methods == [
        ["floor", "whole-video"],
        ["floor", "best-fixed-window"],
        ["model", "base"],
        ["model", "fine-tuned"],
        ["model", "fine-tuned"],
        ["ceiling", "frame-grid"],
    ]
    assert "70.0 [64.0, 75.5]" in lines[5]


def test_columns_appear_only_where_rows_differ():
    table = score_text([make_row(), make_row(model="other", fps=0.5)])
    assert table.splitlines()[1].split()[:5] == ["method", "time", "encoding", "model", "fps"]


def test_no_rows_say_so():
    assert score_text([]) == "no scores"
    assert headline([]) == headline([floor("whole-video", 20.0)]) == ""


def test_the_headline_stands_between_floor_and_ceiling():
    assert headline(ROWS) == (
        "flipbook test, moment retrieval: fine-tuned with overlay-index reaches "
        "70.0 [64.0, 75.5] mIoU, fine-tuned without numbers 41.0; the floor "
        "(best-fixed-window) is 33.0; the ceiling (frame-grid) is 95.0."
    )


def test_the_command_to_run_again_can_be_pasted():
    page = render_report(RESULTS | {"recipe": "my recipe.yaml"}, [])
    assert unescape(re.search(r"<pre><code>(numpro run.*?)</code>", page, re.DOTALL)[1]) == (
        "numpro run 'my recipe.yaml' -p video '<b>film</b>' -p fps 0.5"
        " -p positions '[\"a b\"]' -p adapter None"
    )


def test_the_report_is_one_page_that_needs_nothing_else(tmp_path):
    Image.new("RGB", (8, 4), "red").save(tmp_path / "p.png")
    figure = {"name": "p", "path": tmp_path / "p.png", "caption": "A & B", "alt": "a red field"}
    page = render_report(RESULTS, [figure])
    sources = re.findall(r'(?:src|href)="([^#"][^"]*)"', page)
    assert [s[:22] for s in sources] == ["data:image/png;base64,", "00_start.ipynb"]
    assert "url(" not in page and "@import" not in page
    assert "<b>film</b>" not in page and "&lt;b&gt;film&lt;/b&gt;" in page
    assert 'alt="a red field"' in page and "A &amp; B" in page
    assert page.count('<tr class="floor">') == 2 and page.count('<tr class="ceiling">') == 1
    assert headline(ROWS) in page


def test_the_index_leads_to_the_pictures_of_each_notebook(tmp_path):
    Image.new("RGB", (8, 4)).save(tmp_path / "p.png")
    picture = {"path": tmp_path / "p.png", "caption": "what", "alt": "x"}
    figures = [picture | {"name": "00_b", "saw": "A & b"}, picture | {"name": "00_a"}]
    page = render_report(RESULTS, [*figures, picture | {"name": "mine"}])
    nav = re.search(r"<nav.*?</nav>", page, re.DOTALL)[0]
    links = re.findall(r'href="#([^"]+)">([^<]+)', nav)
    assert [text for _, text in links][:4] == ["Scores", "Pictures", "00_start", "others"]
    assert all(f'id="{place}"' in page for place, _ in links)
    assert "<summary>00_start (2)</summary>" in page and "<summary>others (1)</summary>" in page
    assert page.count("<details id=") == 2 and page.count('" open>') == 1
    assert "what<br>A &amp; b</figcaption>" in page


def test_a_report_without_scores_and_pictures_is_whole():
    page = render_report(RESULTS | {"scores": [], "notes": {}, "notebooks": []}, [])
    assert "stored no scores" in page and "<img" not in page and page.endswith("</html>")


def test_the_report_has_the_papers_scores_beside_ours():
    table = paper_table(ROWS)
    assert table["where"] == ["charades-sta test", "activitynet-captions val_2", "qvhighlights val"]
    best = next(r for r in table["rows"] if (r["arm"], r["metric"]) == ("NumPro-FT", "mIoU"))
    assert best["ours"] == 70.0 and best["paper"] == [41.4, 38.8, None]
    assert [(r["arm"], r["metric"]) for r in table["rows"]] == [
        ("base", "mIoU"), ("NumPro-FT", "mIoU"), ("FT", "mIoU"), ("base", "mAP"),
    ]  # fmt: skip
    page = render_report(RESULTS, [])
    assert '<td data-label="paper, charades-sta test">41.4</td>' in page
    assert '<td data-label="paper, qvhighlights val" class="none">–</td>' in page
    floors = [row for row in ROWS if row["method"] == "whole-video"]
    assert paper_table(floors)["rows"] == [] and paper_table([])["rows"] == []
    assert "Beside the paper" not in render_report(RESULTS | {"scores": floors}, [])


def test_a_picture_is_moved_sideways_where_it_would_be_too_small(tmp_path):
    Image.new("RGB", (8, 4)).save(tmp_path / "p.png")
    page = render_report(
        RESULTS, [{"name": "p", "path": tmp_path / "p.png", "caption": "", "alt": "x"}]
    )
    assert '<figure><div class="wide" tabindex="0"><img width="8"' in page


def test_all_pictures_are_seen_at_one_scale(tmp_path):
    from numpro.plots.style import new_figure, small_png

    (tmp_path / "p.png").write_bytes(small_png(new_figure(2, 6), dpi=144))
    page = render_report(RESULTS, [{"path": tmp_path / "p.png", "caption": "", "alt": "x"}])
    assert '<img width="600"' in page, "6 inches, as in the notebook"
