"""The protocol of a video LLM: numbered frames and questions in, parsed answers out."""

import hashlib
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from numpro.answers import HighlightAnswer, MomentAnswer, parse_highlights, parse_moment
from numpro.overlay import NumberStyle, number_frames
from numpro.paths import find_model
from numpro.prompts import Prompt, build_prompt

# The file in an adapter folder that says how it was trained and so how it must be asked.
ADAPTER_NOTES = "numpro.json"
MAX_NEW_TOKENS = {"moment_retrieval": 32, "highlight_detection": 256}


class VideoModel(ABC):
    """A video LLM. A class for one kind of checkpoint writes `respond` only.

    Attributes
    ----------
    name : str
        What was loaded, as given to `numpro.models.load_model`.
    adapter : str or None
        The adapter on top of it.
    notes : dict
        The adapter's own notes (number style, fps, time encoding, templates); {} without.
    """

    name: str
    adapter: str | None = None
    notes: dict

    @property
    def fingerprint(self) -> str:
        """Tells weights apart: a hash over the checkpoint's and the adapter's files."""
        return fingerprint_files(filter(None, [self.name, self.adapter]))

    @abstractmethod
    def respond(
        self, frames: np.ndarray, prompts: Sequence[Prompt], max_new_tokens: int
    ) -> list[str]:
        """Answer questions about one video, greedily; the video is encoded once.

        Parameters
        ----------
        frames : uint8 [T, H, W, 3]
            As the model is to see them, numbers drawn.
        prompts
            One per question, with the same `frame_texts`.
        max_new_tokens
            Where an answer is cut.
        """

    def answer(
        self,
        clip,
        queries: Sequence[str],
        task: str = "moment_retrieval",
        time_encoding: str = "overlay-index",
        style: NumberStyle | None = None,
        labels: Sequence[int] | None = None,
        template: str | None = None,
        max_new_tokens: int | None = None,
    ) -> list[MomentAnswer] | list[HighlightAnswer]:
        """Ask when something happens in a clip.

        Parameters
        ----------
        clip : numpro.Clip
            Sampled frames with their seconds; left unchanged.
        queries
            What to look for, such as ``"a red star spins"``.
        task, time_encoding
            As in `numpro.prompts`.
        style
            How numbers are drawn (the published style by default).
        labels
            The numbers to use instead of 0..T-1.
        template
            The question, with ``{query}``; default: the adapter's own, else the published one.
        max_new_tokens
            Where an answer is cut (32 for moments, 256 for highlights).

        Returns
        -------
        list of MomentAnswer or HighlightAnswer
            In the order of the queries; what could not be read has a `reason`.

        Raises
        ------
        ValueError
            For no frames, or an unknown task or time encoding.
        """
        style = style or NumberStyle()
        self._check_asked(time_encoding, style)
        template = template or self.notes.get("templates", {}).get(task)
        prompts = [
            build_prompt(
                query,
                clip.seconds,
                task,
                time_encoding,
                duration=clip.duration,
                labels=labels,
                template=template,
                color=style.color if isinstance(style.color, str) else "small",
            )
            for query in queries
        ]
        if not prompts:
            return []
        frames = clip.frames
        if prompts[0].frame_labels is not None:
            frames = number_frames(frames, style=style, labels=prompts[0].frame_labels)
        texts = self.respond(frames, prompts, max_new_tokens or MAX_NEW_TOKENS[task])
        parse = parse_moment if task == "moment_retrieval" else parse_highlights
        return [parse(text) for text in texts]

    def _check_asked(self, time_encoding: str, style: NumberStyle) -> None:
        trained = self.notes.get("time_encoding")
        if trained and trained != time_encoding:
            warnings.warn(
                f"adapter {self.adapter} was trained with time encoding {trained!r}, "
                f"it is asked with {time_encoding!r}",
                stacklevel=3,
            )
        drawn = self.notes.get("style")
        if drawn and trained == time_encoding == "overlay-index" and drawn != as_dict(style):
            warnings.warn(
                f"adapter {self.adapter} was trained with numbers {drawn}, "
                f"it is asked with {as_dict(style)}",
                stacklevel=3,
            )


def as_dict(style: NumberStyle) -> dict:
    """Return a style as it is stored in an adapter's notes."""
    color = style.color if isinstance(style.color, str) else list(style.color)  # as JSON has it
    return {"position": style.position, "size": style.size, "color": color}


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


def fingerprint_files(names: Iterable[str]) -> str:
    """Hash the weight files in folders: their names, sizes and both ends of their content."""
    digest = hashlib.sha256()
    for name in names:
        for path in sorted(Path(find_model(name)).glob("*.safetensors")):
            size = path.stat().st_size
            digest.update(f"{path.name} {size}".encode())
            with open(path, "rb") as file:
                digest.update(file.read(1 << 20))
                file.seek(max(0, size - (1 << 20)))
                digest.update(file.read())
    return digest.hexdigest()[:16]


def pick_device(device: str = "auto") -> str:
    """Return a torch device name; ``auto`` is a GPU where there is one."""
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_dtype(dtype: str, device: str):
    """Return a torch dtype; ``auto`` measures a matrix product on the CPU.

    Raises
    ------
    ValueError
        For a name that is not float32, bfloat16, float16 or auto.
    """
    import time

    import torch

    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype in names:
        return names[dtype]
    if dtype != "auto":
        raise ValueError(f"dtype must be one of auto, {', '.join(names)}; got {dtype!r}")
    if device != "cpu":
        return torch.bfloat16
    spent = {}
    for kind in (torch.float32, torch.bfloat16):
        left, right = (torch.ones(256, 256, dtype=kind) for _ in range(2))
        left @ right
        tries = []
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(8):
                left @ right
            tries.append(time.perf_counter() - began)
        spent[kind] = min(tries)
    # bf16 costs accuracy, so it must be clearly faster
    return torch.bfloat16 if 2 * spent[torch.bfloat16] < spent[torch.float32] else torch.float32
