"""The protocol of a video LLM: numbered frames and questions in, parsed answers out."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from numpro.models.files import fingerprint_files
from numpro.models.moments import Distribution, Moment, RankedMoments, check_ranking, rank
from numpro.models.question import WHOLE, Question, differences_from_training
from numpro.models.windows import ask_windows, choose_windows
from numpro.numbers import number_frames, warn_unreadable
from numpro.numbers.overlay import BAR
from numpro.prompting import ENCODINGS, Prompt, asked_unit, build_prompt
from numpro.prompting.answers import HighlightAnswer, MomentAnswer, parse_highlights, parse_moment
from numpro.prompting.labels import LabelForm, label_form
from numpro.spans import Labels, one_of, to_seconds
from numpro.video import Clip, Windows


class NoAnswer(str):
    """What `respond` gives for a query that got no answer: an empty text with the reason."""

    reason: str

    def __new__(cls, reason: str) -> "NoAnswer":
        """Make the empty text that carries `reason`."""
        made = super().__new__(cls, "")
        made.reason = reason
        return made


class CutResponse(str):
    """What `respond` gives for a response that was cut: its text, and after how many tokens."""

    tokens: int

    def __new__(cls, text: str, tokens: int) -> "CutResponse":
        """Make the text that was cut after so many tokens."""
        made = super().__new__(cls, text)
        made.tokens = tokens
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
    enlarged_by : str
        The options that let it see larger pictures; empty where there are none.
    native_unit : str or None
        What its own processor writes beside frames when it is asked nothing more: ``second`` for
        times, ``frame`` for a count, None for nothing (or where it is not known).
    """

    name: str
    adapter: str | None = None
    notes: dict
    usage: Mapping[str, int] = {}
    enlarged_by: str = ""
    native_unit: str | None = None

    def state(self) -> dict:
        """Return what identifies the model beside name, adapter and weights, as JSON has it."""
        return {}

    @property
    def fingerprint(self) -> str:
        """Tells weights apart: a hash over the checkpoint's and the adapter's files."""
        return fingerprint_files(filter(None, [self.name, self.adapter]))

    @abstractmethod
    def respond(self, frames: np.ndarray, prompts: list[Prompt], max_new_tokens: int) -> list[str]:
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
            One per question; a `NoAnswer` where there is none, a `CutResponse` where the model
            had not ended.
        """

    def answer(
        self, clip: Clip, queries: Sequence[str], question: Question | None = None,
        labels: Labels = None, **changes,
    ) -> list[MomentAnswer] | list[HighlightAnswer]:  # fmt: skip
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
        **changes
            Single fields of the question, such as ``task`` or ``max_new_tokens``.

        Returns
        -------
        list of MomentAnswer or HighlightAnswer
            In the order of the queries; what could not be read has a `reason`.

        Raises
        ------
        ValueError
            For no frames, an unknown task or time encoding, or one that this model cannot have.
        """
        question = replace(question or Question(), **changes)
        if question.windows not in (None, WHOLE):
            raise ValueError(f"windows go with ranked moments; got windows={question.windows}")
        frames, prompts = self.prepare(clip, queries, question, labels)
        if not prompts:
            return []
        responses = self.respond(frames, prompts, answer_tokens(question, len(frames)))
        return [read_response(response, question.task) for response in responses]

    def moments(
        self, clip: Clip | Windows, queries: Sequence[str], question: Question | None = None,
        labels: Labels = None, *, top: int = 5, overlap: float = 0.7, least: float = 1e-3,
        end: str = "instant", **changes,
    ) -> list[RankedMoments]:  # fmt: skip
        """Rank the moments that the model holds possible.

        The probability of every pair of labels is read in the words of the model's own answer; of
        an answer that cannot be read, in the form that the question asks for.

        A film that is longer than those an adapter was trained on is asked a window at a time, and
        one that `windows` is given for (`numpro.models.windows`).

        Parameters
        ----------
        clip, queries, question, labels, **changes
            As in `answer`, for moments. `numpro.video.open_windows` gives a film that need not
            lie in memory.
        top
            How many moments a query gets at most.
        overlap
            A moment whose temporal IoU with a better one is above this is a repeat of it.
        least
            Labels of less probability are not looked at; `RankedMoments.left_out` bounds them.
        end
            What the second label means (`numpro.spans.labels_to_seconds`).

        Returns
        -------
        list of RankedMoments
            In the order of the queries. A model that gives no probabilities, and labels that are
            no numbers, give one moment, the greedy answer, with the reason.

        Raises
        ------
        ValueError
            As `answer` does; for another task; for a `top`, `overlap` or `least` out of bounds.
        """
        question = replace(question or Question(), **changes)
        check_ranking(top, overlap, least)
        if question.task != "moment_retrieval":
            raise ValueError(f"moments are ranked for moment_retrieval; got task={question.task!r}")
        clip = choose_windows(clip, question, self.notes, labels)
        question = replace(question, windows=WHOLE)

        def ask(clips: Sequence[Clip]) -> list[list[RankedMoments]]:
            films = [self.prepare(clip, queries, question, labels) for clip in clips]
            unit, numbers = self.answer_unit(question, len(clips[0]), labels)
            encoding = self.resolve_encoding(question.time_encoding)
            forms = [label_form(encoding, len(clip), numbers, clip.duration) for clip in clips]
            most = answer_tokens(question, len(clips[0]))
            if isinstance(forms[0], str):
                read = [[(text, forms[0]) for text in self.respond(*film, most)] for film in films]
            else:
                read = self.respond_with_labels(films, most, forms, least)
            how = {"labels": numbers, "end": end, "unit": unit}
            return [
                [_rank(*row, form, partial(to_seconds, clip=clip, **how), top, overlap, least)
                 for row in rows] for rows, form, clip in zip(read, forms, clips, strict=True)
            ]  # fmt: skip

        if isinstance(clip, Windows):
            at_once = self.windows_at_once(clip.size[0])
            return ask_windows(clip, ask, len(queries), top, overlap, at_once)
        return ask([clip])[0]

    def respond_with_labels(
        self, films: Sequence[tuple[np.ndarray, list[Prompt]]], max_new_tokens: int,
        forms: Sequence[LabelForm], least: float,
    ) -> list[list[tuple[str, Distribution | str]]]:  # fmt: skip
        """Answer as `respond` does, and give the probabilities of labels beside each answer.

        A class that cannot, as here, gives the reason instead.

        Parameters
        ----------
        films
            Frames and prompts of each film, or window of one.
        max_new_tokens
            As in `respond`.
        forms
            Of each film: which labels there are, and in what words.
        least
            A branch of less probability is not followed.
        """
        reason = f"{type(self).__name__} gives no probabilities"
        answers = [self.respond(*film, max_new_tokens) for film in films]
        return [[(text, reason) for text in texts] for texts in answers]

    def windows_at_once(self, frames: int) -> int:
        """Return how many windows of so many frames are asked as one batch; here one."""
        return 1

    def native_marks(self, seconds: Sequence[float]) -> list[str]:
        """Return what its own processor writes beside frames at these times, without words around.

        One number a frame, or one for the frames that it merges, such as ``["1.0", "5.0"]`` or
        ``["00:01", "00:05"]``; [] where it writes nothing.
        """
        return []

    def resolve_encoding(self, time_encoding: str) -> str:
        """Return a time encoding as it is for this model: of ``native`` what its processor writes.

        Raises
        ------
        ValueError
            When its processor writes nothing and should, or writes something for ``none``.
        """
        how = ENCODINGS[one_of("time_encoding", time_encoding, ENCODINGS)]
        if not how.native and time_encoding != "none":
            return time_encoding
        marks, writes = self.native_marks([0.0, 1.0]), f"the processor of {self.name!r} writes"
        if how.native and not marks:
            way = "nothing beside frames in the way it was loaded"
            raise ValueError(f"{time_encoding!r} needs a model that writes times; {writes} {way}")
        if marks and not how.native:
            advice = "load it with another frames_as, or ask with 'native'"
            found = f"{writes} {marks[0]!r} beside a frame"
            raise ValueError(f"'none' is no baseline: {found}; {advice}")
        if time_encoding != "native":
            return time_encoding
        kind = "clock" if ":" in marks[0] else marks[0] if self.native_unit == "frame" else ""
        return f"native:{kind}".rstrip(":")

    def answer_unit(self, question: Question, count: int, labels: Labels = None) -> tuple:
        """Return the unit an answer comes in, and the numbers of `count` frames (None: from 0)."""
        name = self.resolve_encoding(question.time_encoding)
        if (first := ENCODINGS[name].first) and labels is None:
            labels = range(first, first + count)
        return asked_unit(name), labels

    def visible_size(self, height: int, width: int, count: int = 2) -> tuple[int, int] | None:
        """Return height and width of a whole frame as the model sees it; None: not known.

        `count` is of how many frames it is one: some classes have one budget of pixels for all.
        """
        return None

    def prepare(
        self, clip: Clip, queries: Sequence[str], question: Question, labels: Labels = None
    ) -> tuple[np.ndarray, list[Prompt]]:
        """Return the frames as the model sees them, and its prompts (see `answer`).

        Warns
        -----
        UserWarning
            When the adapter was trained to be asked otherwise, and when numbers are too low to be
            read in what the model sees.
        """
        task, style = question.task, question.style
        encoding = self.resolve_encoding(question.time_encoding)
        sampled = clip.seconds, clip.source.get("origin")
        for line in differences_from_training(self.notes, question, *sampled):
            warnings.warn(f"adapter {self.adapter} {line}", stacklevel=3)
        template = question.template or self.notes.get("templates", {}).get(task)
        color = style.color if isinstance(style.color, str) else "small"
        options = task, encoding, clip.duration, labels, template, color
        prompts = [build_prompt(query, clip.seconds, *options) for query in queries]
        if not prompts or prompts[0].frame_labels is None:
            return clip.frames, prompts
        height, width = clip.frames.shape[1:3]
        labels = prompts[0].frame_labels
        visible = self.visible_size(height, width, len(clip))
        if visible and not labels[0].startswith(BAR):
            how = {"stacklevel": 3, "remedy": self.enlarged_by}
            warn_unreadable(style, (width, height), visible[::-1], **how)
        return number_frames(clip.frames, style=style, labels=labels), prompts


def _rank(
    text: str, found: Distribution | str, form: LabelForm | str, in_seconds: Callable,
    top: int, overlap: float, least: float,
) -> RankedMoments:  # fmt: skip
    """Return the moments of a distribution; the greedy one where there is a reason instead."""
    answer = read_response(text, "moment_retrieval")
    if not isinstance(found, str) and not len(found.pairs):
        found = f"no pair of labels has a probability of {least:g}"
    if isinstance(found, str):
        alone = tuple(Moment(*span, np.nan, np.nan) for span in in_seconds(answer)[:1])
        return RankedMoments(alone, answer, answer.reason or found)
    pairs = np.array(form.values, float)[found.pairs]
    spans = in_seconds(MomentAnswer("", tuple(map(tuple, pairs.tolist())), None))
    spans = np.array(spans, float).reshape(-1, 2)
    best = rank(spans, found.probabilities, top, overlap)
    return RankedMoments(best, answer, None, spans, pairs, found.probabilities, found.left_out)


def answer_tokens(question: Question, frames: int) -> int:
    """Return where an answer is cut by default: highlights may name every frame, with a score.

    Examples
    --------
    >>> answer_tokens(Question(), 75), answer_tokens(Question("highlight_detection"), 75)
    (32, 900)
    """
    usual = 32 if question.task == "moment_retrieval" else max(256, 12 * frames)
    return question.max_new_tokens or usual


def read_response(response: str, task: str) -> MomentAnswer | HighlightAnswer:
    """Return what a response says, by its task; see `VideoModel.respond` for what it may be."""
    parse = parse_moment if task == "moment_retrieval" else parse_highlights
    if isinstance(response, NoAnswer):
        return replace(parse(""), text="", reason=response.reason)
    return parse(str(response), cut=getattr(response, "tokens", None))


def refuse_unknown(cls: type, options: Iterable[str], known: Iterable[str]) -> None:
    """Raise a ValueError when options are given that a model class does not take."""
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"{cls.__name__} takes the options {', '.join(known)}; got {', '.join(unknown)}"
        )


def warn_cropped(name: str, frames: np.ndarray, side: int) -> None:
    """Warn when a model that sees the middle square of a frame gets frames that are not square."""
    height, width = frames.shape[1:3]
    if height != width:
        warnings.warn(
            f"{name} cuts the middle square out of frames of {width} x {height}, and numbers at "
            f"their edge with the rest; read the clip with size=({side}, {side})",
            stacklevel=3,
        )
