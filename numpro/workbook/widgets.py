"""Controls for a notebook: a number's style, the pages of a clip, the answers, the IoU threshold.

Each function returns a widget that draws its picture anew when you move a control. The notebooks
show the same as still pictures too, for readers without a kernel.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import ipywidgets as ipw
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from numpro.inference import cut_out, find_moment
from numpro.metrics import moment_ious
from numpro.models import Question
from numpro.numbers import POSITIONS, NumberStyle, number_frames
from numpro.plots import contact_strip, recall_bars, timelines
from numpro.plots.style import close, small_png
from numpro.spans import to_seconds
from numpro.video import Clip

_WHOLE = "calc(100% - 4px)"  # a widget has a margin of 2 pixels; with 100 % the page would scroll
COLORS = ("red", "blue", "green", "black", "white", "yellow")


def controls(draw: Callable[..., bytes], **given) -> ipw.VBox:
    """Return a box of controls over a picture that follows them.

    Parameters
    ----------
    draw
        Called with the value of every control by name; returns a PNG.
    given : ipywidgets.Widget
        The controls.

    Returns
    -------
    ipywidgets.VBox
        Its last child is the picture (`ipywidgets.Image`).
    """
    # the picture keeps its size where the page is wider
    picture = ipw.Image(layout={"max_width": _WHOLE, "align_self": "flex-start"})

    def redraw(_=None) -> None:
        picture.value = draw(**{name: control.value for name, control in given.items()})

    for control in given.values():
        control.observe(redraw, names="value")
    redraw()
    row = ipw.HBox(list(given.values()), layout={"flex_flow": "row wrap"})
    return ipw.VBox([row, picture])


def number_style(frame: np.ndarray, label: int = 12) -> ipw.VBox:
    """Choose where a number stands, how large and in which colour, and see it on a frame.

    Parameters
    ----------
    frame : uint8 [H, W, 3]
        Without a number; left unchanged.
    label
        The number to draw.
    """

    def draw(position: str, size: int, color: str) -> bytes:
        return png(number_frames(frame, NumberStyle(position, size, color), [label]))

    return controls(
        draw,
        position=ipw.Dropdown(options=POSITIONS, value="bottom_right", description="position"),
        size=ipw.IntSlider(40, 10, 120, 2, description="size (px)", continuous_update=False),
        color=ipw.Dropdown(options=COLORS, value="red", description="colour"),
    )


def scrub(clip: Clip, style: NumberStyle | None = None) -> ipw.VBox:
    """Leaf through a clip, page by page, with its numbers and the seconds they stand for."""
    pages = number_frames(clip.frames, style)
    last = len(clip) - 1
    page = ipw.IntSlider(0, 0, last, description="page")
    play = ipw.Play(min=0, max=last, interval=500)
    ipw.jslink((play, "value"), (page, "value"))
    caption = ipw.HTML()

    def draw(page: int) -> bytes:
        caption.value = f"page {page} shows second {clip.seconds[page]:.2f} of {clip.duration:.2f}"
        return png(pages[page])

    box = controls(draw, page=page)
    return ipw.VBox([ipw.HBox([play, caption]), *box.children])


def answers(rows_by_arm: Mapping[str, Sequence[Mapping]]) -> ipw.VBox:
    """Pick a film and a query, and see the answer of every model beside the truth.

    Parameters
    ----------
    rows_by_arm : dict of prediction rows
        As `numpro.studies.arms.ask_arms` returns them: the same queries for every arm.
    """
    first = next(iter(rows_by_arm.values()))
    options = [(f"{row['video']}: {row['query']}", n) for n, row in enumerate(first)]

    def draw(query: int) -> bytes:
        answers = {arm: rows[query] for arm, rows in rows_by_arm.items()}
        rows = [row | {"query": f"{arm}: {row['response']}"} for arm, row in answers.items()]
        return png(timelines(rows, title=first[query]["query"], what="answers"))

    query = ipw.Dropdown(options=options, description="query", layout={"width": "32em"})
    return controls(draw, query=query)


def threshold(curves: Mapping[str, tuple]) -> ipw.VBox:
    """Move the IoU that counts as a hit, and see R@1 of every arm.

    Parameters
    ----------
    curves : dict of (predicted, truth)
        As `numpro.plots.recall_curve` takes them.
    """
    ious = {name: moment_ious(*pair) for name, pair in curves.items()}

    def draw(iou: float) -> bytes:
        return png(recall_bars({n: 100 * float((x >= iou).mean()) for n, x in ious.items()}, iou))

    slider = ipw.FloatSlider(0.5, min=0.05, max=0.95, step=0.05, continuous_update=False)
    slider.description = "IoU at least"
    return controls(draw, iou=slider)


def shuffled(
    clip: Clip, query: str, models: Mapping[str, object], truth: object = None
) -> ipw.VBox:
    """Put the numbers on the frames in another order, and see what a model then answers.

    Parameters
    ----------
    clip : Clip
        Sampled frames, without numbers.
    query : str
        What is looked for.
    models : dict of VideoModel
        The models to choose from, by name.
    truth : (start, end) or a list of them, optional
        In seconds: bars under the frames.
    """

    def draw(order: int, model: str) -> bytes:
        rng, count = np.random.default_rng(order), len(clip)
        labels = rng.permutation(count).tolist() if order else list(range(count))
        one, question = models[model], Question(time_encoding="overlay-index")
        (answer,) = one.answer(clip, [query], question, labels)
        pages, _ = one.prepare(clip, [query], question, labels)
        bars = {"truth": truth, "predicted": to_seconds(answer, clip, labels)}
        return png(contact_strip(pages, clip.seconds, title=f"{query}: {answer.text}", **bars))

    order = ipw.IntSlider(1, 0, 20, description="order", continuous_update=False)
    return controls(draw, order=order, model=ipw.Dropdown(options=list(models)))


def png(picture: np.ndarray | Figure) -> bytes:
    """Return an array [H, W, 3] or a figure as PNG bytes; the figure is closed."""
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)._repr_png_()
    drawn = small_png(picture)
    close(picture)
    return drawn


def own_video(models: Mapping[str, object], folder: str = ".") -> ipw.VBox:
    """Ask a model about your own video: give its path or upload it, and type a sentence.

    Shows the numbered strip with the answer, the seconds, and the moment cut out as a film.

    Parameters
    ----------
    models : dict of VideoModel
        The models to choose from, by name.
    folder
        Where uploads and cut-out films are written.
    """
    path, query = (ipw.Text(description=name) for name in ("video", "when"))
    path.placeholder = "path"
    upload, message = ipw.FileUpload(accept="video/*"), ipw.HTML()
    model = ipw.Dropdown(options=list(models), description="model")
    button = ipw.Button(description="ask", button_style="primary")
    hidden = {"display": "none", "max_width": _WHOLE, "align_self": "flex-start"}
    picture = ipw.Image(layout=hidden)
    film = ipw.Video(autoplay=False, controls=True, layout=hidden)

    def keep(_) -> None:
        for file in upload.value:
            target = Path(folder) / Path(file["name"]).name  # a name may come with a path
            target.write_bytes(file["content"])
            path.value = str(target)

    def ask(_) -> None:
        button.disabled, message.value, facts = True, "reading and asking ...", []
        try:
            found = find_moment(path.value, query.value, models[model.value], tell=facts.append)
            thinned = [line for line in facts if isinstance(line, str)]  # its cost is none
            message.value = escape(" ".join([*thinned, str(found)]))
            picture.value = png(found.figure())
            picture.layout.display, film.layout.display = "", "none"
            if found.spans and found.spans[0].end > found.spans[0].start:
                cut = cut_out(path.value, found.spans[0], Path(folder) / "moment.mp4")
                film.value, film.layout.display = cut.read_bytes(), ""
        except (ValueError, OSError) as error:  # shown where the reader looks
            message.value = f"<b>{escape(str(error))}</b>"
        finally:
            button.disabled = False

    upload.observe(keep, names="value")
    button.on_click(ask)
    rows = ipw.HBox([path, upload]), ipw.HBox([query, model, button])
    return ipw.VBox([*rows, message, picture, film])
