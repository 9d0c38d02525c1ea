"""The protocol of a video LLM: numbered frames and questions in, parsed answers out."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from numpro.models.files import fingerprint_files
from numpro.models.question import Question, differences_from_training
from numpro.numbers.overlay import number_frames
from numpro.prompting.answers import HighlightAnswer, MomentAnswer, parse_highlights, parse_moment
from numpro.prompting.prompts import Prompt, build_prompt

if TYPE_CHECKING:
    from numpro.video import Clip

MAX_NEW_TOKENS = {"moment_retrieval": 32, "highlight_detection": 256}  # at the least


class NoAnswer(str):
    """What `respond` gives for a query that got no answer: an empty text with the reason."""

    reason: str

    def __new__(cls, reason: str) -> "NoAnswer":
        """Make the empty text that carries `reason`."""
        made = super().__new__(cls, "")
        made.reason = reason
        return made


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
    usage : mapping
        Running totals that a model may keep: ``prompt_tokens``, ``cached_tokens`` (those that
        were not run again for a further question), ``answer_tokens``.
    """

    name: str
    adapter: str | None = None
    notes: dict
    usage: Mapping[str, int] = {}

    def state(self) -> dict:
        """Return what identifies the model beside name, adapter and weights, as JSON has it."""
        return {}

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

        Returns
        -------
        list of str
            One per question; a `NoAnswer` where there is none.
        """

    def answer(
        self,
        clip: "Clip",
        queries: Sequence[str],
        question: Question | None = None,
        labels: Sequence[int] | None = None,
        max_new_tokens: int | None = None,
        **changes,
    ) -> list[MomentAnswer] | list[HighlightAnswer]:
        """Ask when something happens in a clip.

        Parameters
        ----------
        clip : numpro.Clip
            Sampled frames with their seconds; left unchanged.
        queries
            What to look for, such as ``"a red star spins"``.
        question
            How the question is put; by default as published.
        labels
            The numbers to use instead of 0..T-1.
        max_new_tokens
            Where a response is cut; default: `answer_tokens`.
        **changes
            Single fields of the question, such as ``task`` or ``time_encoding``.

        Returns
        -------
        list of MomentAnswer or HighlightAnswer
            In the order of the queries; what could not be read has a `reason`.

        Raises
        ------
        ValueError
            For no frames, or an unknown task or time encoding.
        """
        question = replace(question or Question(), **changes)
        frames, prompts = self.prepare(clip, queries, question, labels)
        if not prompts:
            return []
        most = max_new_tokens or answer_tokens(question.task, len(frames))
        responses = self.respond(frames, prompts, most)
        parse = parse_moment if question.task == "moment_retrieval" else parse_highlights
        return [
            replace(parse(""), text="", reason=response.reason)
            if isinstance(response, NoAnswer)
            else parse(response)
            for response in responses
        ]

    def prepare(
        self,
        clip: "Clip",
        queries: Sequence[str],
        question: Question,
        labels: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, list[Prompt]]:
        """Return the frames as the model sees them, and its prompts (see `answer`).

        Warns
        -----
        UserWarning
            When the adapter was trained to be asked otherwise.
        """
        task, style = question.task, question.style
        for line in differences_from_training(self.notes, question, clip.seconds):
            warnings.warn(f"adapter {self.adapter} {line}", stacklevel=3)
        prompts = [
            build_prompt(
                query,
                clip.seconds,
                task,
                question.time_encoding,
                duration=clip.duration,
                labels=labels,
                template=question.template or self.notes.get("templates", {}).get(task),
                color=style.color if isinstance(style.color, str) else "small",
            )
            for query in queries
        ]
        if not prompts or prompts[0].frame_labels is None:
            return clip.frames, prompts
        return number_frames(clip.frames, style=style, labels=prompts[0].frame_labels), prompts


def answer_tokens(task: str, frames: int) -> int:
    """Return where an answer is cut: highlights may name every frame, with a score.

    Examples
    --------
    >>> answer_tokens("moment_retrieval", 75), answer_tokens("highlight_detection", 75)
    (32, 900)
    """
    return max(MAX_NEW_TOKENS[task], 12 * frames) if task != "moment_retrieval" else 32


def in_batches(ask: Callable[[list], list], items: Sequence, size: int) -> list:
    """Ask for items in batches; a batch that does not fit into memory is halved.

    Parameters
    ----------
    ask
        Turns a list of items into as many results.
    items
        What is asked for.
    size
        Items a batch, until memory runs out.

    Returns
    -------
    list
        A result for each item; a `NoAnswer` for one that does not fit even alone.
    """
    done: list = []
    while len(done) < len(items):
        part, failed = list(items[len(done) : len(done) + size]), None
        try:
            done += ask(part)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            failed = str(error).partition("\n")[0] or type(error).__name__
        if failed is not None:  # outside of except, where the error still holds the tensors
            _free_memory()
            if len(part) == 1:
                done.append(NoAnswer(f"out of memory: {failed}"))
            size = max(1, len(part) // 2)
    return done


def _is_out_of_memory(error: Exception) -> bool:
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error) or "out of memory" in str(error)


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
