"""What a checkpoint's own processor writes is an encoding; `none` is none, or it is refused."""

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_models import tiny_model
from zoo import zoo_model

from numpro import Clip
from numpro.datasets import Query
from numpro.datasets.instructions import InstructionConfig, Shown, answer_text, question
from numpro.inference import predict
from numpro.models import Question, VideoModel, load_model
from numpro.prompting import parse_moment
from numpro.spans import Span, to_seconds
from numpro.training.presets import FinetuneConfig
from numpro.training.samples import Samples
from numpro.video import Sampling

TIMES = np.array([0.0, 2.0, 4.5, 9.0])


class Native(VideoModel):
    """A model whose processor writes times, a clock, or a count, and that answers as it is told."""

    notes, name = {}, "native"
    kinds = {
        "seconds": ("second", ["0.0", "2.0", "4.5", "9.0"]),
        "clock": ("second", ["00:00", "00:02", "00:04", "00:09"]),
        "from one": ("frame", ["1", "2", "3", "4"]),
        "from zero": ("frame", ["0", "1", "2", "3"]),
        "nothing": (None, []),
    }

    def __init__(self, kind="nothing", answer=""):
        self.native_unit, self.marks = self.kinds[kind]
        self.text, self.prompts = answer, []

    native_unit = None

    def native_marks(self, seconds):
        return self.marks[: len(seconds)]

    def respond(self, frames, prompts, max_new_tokens):
        self.prompts += prompts
        return [self.text for _ in prompts]


@pytest.fixture
def uneven():
    frames = np.full((4, 64, 64, 3), 90, np.uint8)
    return Clip(frames, TIMES, np.arange(4), {"duration": 10.0})


@pytest.mark.parametrize(
    ("kind", "resolved", "form", "answer"),
    [
        ("seconds", "native", "'From x seconds to y seconds'", "From 2.0 seconds to 4.5 seconds."),
        ("clock", "native:clock", "'From x to y', each as mm:ss", "From 00:02 to 00:04."),
        ("from one", "native:1", "'From Frame x to Frame y'", "From Frame 2 to Frame 3."),
        ("from zero", "native:0", "'From Frame x to Frame y'", "From Frame 1 to Frame 2."),
    ],
)
def test_native_asks_in_what_the_processor_writes(kind, resolved, form, answer, uneven):
    model = Native(kind, answer)
    assert model.resolve_encoding("native") == resolved
    ask = Question(time_encoding="native")
    (found,) = model.answer(uneven, ["a dog"], ask)
    (prompt,) = model.prompts
    assert prompt.text.startswith("During which ") and prompt.text.endswith(f"{form}.")
    assert prompt.frame_labels is prompt.frame_texts is None
    unit, labels = model.answer_unit(ask, len(uneven))
    (span,) = to_seconds(found, uneven, labels, unit=unit)
    assert span == (2.0, 4.0 if kind == "clock" else 4.5)
    # an answer that names no unit comes in the one that was asked for
    bare = parse_moment(answer.replace("Frame ", "").replace(" seconds", ""))
    assert to_seconds(bare, uneven, labels, unit=unit) == (span,)


@pytest.mark.parametrize("kind", ["seconds", "clock", "from one", "from zero"])
def test_what_is_learned_of_native_is_what_is_asked(kind, films):
    made = []
    model = SimpleNamespace(
        resolve_encoding=Native(kind).resolve_encoding,
        training_example=lambda frames, prompt, answer: made.append((prompt, answer)) or {},
    )
    samples = Samples(films[:1], model, FinetuneConfig(time_encoding="native"))
    config = samples.config
    assert config.time_encoding == Native(kind).resolve_encoding("native")
    query, shown = Query("1", "a dog", (Span(2.0, 4.5),)), Shown(TIMES, 10.0)
    answer = answer_text(query, shown, "moment_retrieval", config)
    assert answer == {
        "seconds": "From 2.0 seconds to 4.5 seconds.", "clock": "From 00:02 to 00:04.",
        "from one": "From Frame 2 to Frame 3.", "from zero": "From Frame 1 to Frame 2.",
    }[kind]  # fmt: skip
    assert question(query, shown, "moment_retrieval", config).text.startswith("During which ")


def test_without_times_of_its_own_native_is_refused_and_none_is_none(uneven):
    model = Native("nothing", "From Frame 1 to Frame 2.")
    for name in ("native", "overlay+native"):
        with pytest.raises(
            ValueError, match=rf"'{name.replace('+', '.')}' needs a model that writes"
        ):
            model.answer(uneven, ["a dog"], time_encoding=name)
        with pytest.raises(ValueError, match="the processor of 'native' writes nothing beside"):
            trainable = SimpleNamespace(
                training_example=None, resolve_encoding=model.resolve_encoding
            )
            Samples([], trainable, FinetuneConfig(time_encoding=name))
    assert model.answer(uneven, ["a dog"], time_encoding="none")[0].spans == ((1, 2),)


@pytest.mark.parametrize("kind", ["seconds", "clock", "from one"])
def test_with_times_of_its_own_none_is_refused(kind, uneven):
    model = Native(kind)
    says = "'none' is no baseline: the processor of 'native' writes '.*' beside a frame; .*'native'"
    with pytest.raises(ValueError, match=says):
        model.answer(uneven, ["a dog"], time_encoding="none")
    model.answer(uneven, ["a dog"], time_encoding="overlay+native")
    assert model.prompts[-1].frame_labels == ("0", "1", "2", "3")
    assert "red numbers" in model.prompts[-1].text


def test_predictions_are_read_in_the_numbers_of_the_processor(films, tmp_path):
    model, put = Native("from one", "From Frame 1 to Frame 3."), Question(time_encoding="native")
    sampling = Sampling(fps=1.0, size=(64, 64))
    rows = predict(films[:1], model, tmp_path / "a.jsonl", sampling, put, end="instant")
    assert all(row["pred"] == [[0.0, 2.0]] for row in rows)
    assert rows[0]["spans"] == [[1, 3]], "as the model said it"
    assert InstructionConfig().time_encoding == "overlay-index"


def test_a_checkpoint_of_the_library_says_what_its_processor_writes(uneven):
    """Qwen3-VL writes seconds before frames of a video, and nothing beside images."""
    folder, how = str(tiny_model("qwen3_vl")), {"device": "cpu", "dtype": "float32"}
    images, video = (load_model(folder, frames_as=kind, **how) for kind in ("images", "video"))
    with pytest.raises(ValueError, match="'native' needs a model that writes times"):
        images.answer(uneven, ["a dog"], time_encoding="native")
    with pytest.raises(ValueError, match="'none' is no baseline: .* writes '.*' beside a frame"):
        video.answer(uneven, ["a dog"], time_encoding="none")
    frames, (prompt,) = video.prepare(uneven, ["a dog"], Question(time_encoding="native"))
    assert (frames == uneven.frames).all()
    written = video.written(frames.shape, prompt)
    assert "<1.0 seconds>" in written and "<6.8 seconds>" in written, "of pairs, the means"
    assert "During which seconds" in written and "represent" not in written
    both = Question(time_encoding="overlay+native")
    frames, (prompt,) = video.prepare(uneven, ["a dog"], both)
    assert (frames != uneven.frames).any() and "<1.0 seconds>" in video.written(
        frames.shape, prompt
    )


WRITERS = [
    ("qwen3_5", "video", "native", "'From x seconds to y seconds'"),
    ("internvl", "video", "native:1", "'From Frame x to Frame y'"),
    ("gemma4", "video", "native:clock", "'From x to y', each as mm:ss"),
    ("molmo2", "images", "native:1", "'From Frame x to Frame y'"),
    ("smolvlm", "video", "native:clock", "'From x to y', each as mm:ss"),
    ("perception_lm", "video", None, None),
]


@pytest.mark.filterwarnings("ignore")  # of the library's own
@pytest.mark.parametrize(("kind", "way", "resolved", "form"), WRITERS)
def test_every_way_of_writing_times_is_told_apart(kind, way, resolved, form, uneven):
    if kind != "qwen3_5" and find_spec("torchvision") is None:
        pytest.skip("its processor needs torchvision")
    folder = str(zoo_model(kind))
    model = load_model(folder, frames_as=way, device="cpu", dtype="float32")
    if resolved is None:
        with pytest.raises(ValueError, match="'native' needs a model that writes times"):
            model.resolve_encoding("native")
        assert model.resolve_encoding("none") == "none"
        return
    assert model.resolve_encoding("native") == resolved
    with pytest.raises(ValueError, match="'none' is no baseline"):
        model.resolve_encoding("none")
    _, (prompt,) = model.prepare(uneven, ["a dog"], Question(time_encoding="native"))
    assert prompt.text.endswith(f"{form}.")
    assert model.answer(uneven, ["a dog"], time_encoding="native", max_new_tokens=2)
