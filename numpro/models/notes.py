"""What an adapter folder notes of its training, and so how the model must be asked."""

import json
from collections.abc import Sequence
from pathlib import Path

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


def asked_otherwise(
    notes: dict, task: str, time_encoding: str, style: dict, seconds: Sequence[float]
) -> list[str]:
    """Say in what a question differs from how an adapter was trained.

    Parameters
    ----------
    notes
        The adapter's own; {} of a plain peft adapter, of which nothing is known.
    task, time_encoding, style
        As asked; the style as `NumberStyle.as_dict` gives it.
    seconds
        Of the frames. A single one has no rate, and a video thinned to the most frames that
        training took has one of its own.

    Examples
    --------
    >>> trained = {"fps": 0.5, "time_encoding": "none"}
    >>> asked_otherwise(trained, "moment_retrieval", "none", {}, [0.0, 1.0, 2.0])
    ['was trained at 0.5 frames a second, it is asked at 1']
    """
    told = []
    trained = notes.get("time_encoding")
    if trained and trained != time_encoding:
        told.append(
            f"was trained with time encoding {trained!r}, it is asked with {time_encoding!r}"
        )
    drawn = notes.get("style")
    if drawn and trained == time_encoding == "overlay-index" and drawn != style:
        told.append(f"was trained with numbers {drawn}, it is asked with {style}")
    rate = notes.get("fps" if task == "moment_retrieval" else "highlight_fps")
    if rate and 1 < len(seconds) < (notes.get("max_frames") or 240):
        asked = (len(seconds) - 1) / (seconds[-1] - seconds[0])
        if abs(asked / rate - 1) > 0.02:
            told.append(f"was trained at {rate:g} frames a second, it is asked at {asked:.3g}")
    return told
