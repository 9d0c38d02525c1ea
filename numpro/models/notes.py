"""What an adapter folder notes of its training, and so how the model must be asked."""

import json
from collections.abc import Sequence
from pathlib import Path

from numpro.models.question import Question

# The file in an adapter folder that says how it was trained and so how it must be asked.
ADAPTER_NOTES = "numpro.json"


def read_notes(folder: str | Path) -> dict:
    """Return the notes in an adapter folder, {} when it has none.

    Raises
    ------
    ValueError
        When the file is there and is not JSON.
    """
    path = Path(folder) / ADAPTER_NOTES
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be JSON; {error}") from error


def differences_from_training(
    notes: dict, question: Question, seconds: Sequence[float]
) -> list[str]:
    """Say in what a question differs from those an adapter was trained on.

    Parameters
    ----------
    notes
        The adapter's; {} of a plain peft adapter, of which nothing is known.
    question
        How it is put.
    seconds
        Of the frames. A single one has no rate, and a video thinned to the most frames that
        training took has a rate of its own.

    Examples
    --------
    >>> trained = {"fps": 0.5, "time_encoding": "none"}
    >>> differences_from_training(trained, Question(time_encoding="none"), [0.0, 1.0, 2.0])
    ['was trained at 0.5 frames a second, it is asked at 1']
    """
    differences = []
    trained, now = notes.get("time_encoding"), question.time_encoding
    if trained and trained != now:
        differences.append(f"was trained with time encoding {trained!r}, it is asked with {now!r}")
    drawn, style = notes.get("style"), question.style.as_dict()
    if drawn and trained == now == "overlay-index" and drawn != style:
        differences.append(f"was trained with numbers {drawn}, it is asked with {style}")
    rate = notes.get("fps" if question.task == "moment_retrieval" else "highlight_fps")
    if rate and 1 < len(seconds) < (notes.get("max_frames") or 240):
        fps = (len(seconds) - 1) / (seconds[-1] - seconds[0])
        if abs(fps / rate - 1) > 0.02:
            differences.append(f"was trained at {rate:g} frames a second, it is asked at {fps:.3g}")
    return differences
