"""Legs learn, resume exactly and keep their gates; all of them make checkpoints that answer."""

import csv
import json
import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from projects import longva_config

from numpro.cli import main
from numpro.flipbook import CELLS, OBJECTS, pictures
from numpro.flipbook.pretraining import command, eyes, language, pretrain, training
from numpro.flipbook.pretraining.lessons import KINDS, Packer
from numpro.flipbook.pretraining.symbols import AT_CONSTANT, AT_DIGITS, N_DIGITS, write_symbols
from numpro.flipbook.pretraining.training import MUON_LR, Gates, Leg, finished
from numpro.flipbook.scenes import Panel, loose_panels


def run(*arguments, code=0):
    """Run ``numpro flipbook pretrain``."""
    result = CliRunner().invoke(main, ["flipbook", "pretrain", *arguments])
    assert result.exit_code == code, result.output
    return result


# --- the loop -----------------------------------------------------------------------------------


class Clock:
    """Time that passes only when told to."""

    now = 0.0

    def monotonic(self):
        return self.now

    def process_time(self):
        return self.now / 2


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(training, "time", made)
    return made


class Toy(torch.nn.Module):
    """Two layers of a transformer, by name, and a head."""

    def __init__(self):
        super().__init__()
        layers = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Linear(9, 9, bias=False))
        self.body = torch.nn.ModuleDict({"layers": layers})
        self.head = torch.nn.Linear(9, 2)

    def forward(self, x):
        return self.head(self.body["layers"](x))


def make_leg(folder, steps=12):
    torch.manual_seed(5)
    return Leg("toy", Toy(), folder, steps, 0.002)


def test_muon_trains_the_matrices_of_layers_and_adam_the_rest(tmp_path):
    adam, muon = make_leg(tmp_path).optimizers
    assert isinstance(adam, torch.optim.AdamW) and isinstance(muon, torch.optim.Muon)
    shapes = [[tuple(p.shape) for p in o.param_groups[0]["params"]] for o in (adam, muon)]
    assert shapes == [[(9,), (2, 9), (2,)], [(9, 6), (9, 9)]]
    assert muon.param_groups[0]["lr"] == pytest.approx(2 * MUON_LR), "in proportion to Adam's"
    assert len(Leg("head", torch.nn.Linear(2, 2), tmp_path, 1, 1e-3).optimizers) == 1


def toy_loss(leg, clock):
    def loss_of(step):
        clock.now += 60
        rng = torch.Generator().manual_seed(step)
        x = torch.randn(16, 6, generator=rng).to(leg.params[0].dtype)
        loss = (leg.modules(x).float() - x[:, :2].float()).square().mean()
        return loss, {"loss": loss.item()}

    return loss_of


def test_a_resumed_leg_ends_with_the_weights_of_an_unbroken_one(tmp_path, clock):
    whole = make_leg(tmp_path / "whole")
    lines = []
    assert whole.run(toy_loss(whole, clock), minutes=100, echo=lines.append)
    assert re.fullmatch(r"toy 12/12 720 s  loss \d\.\d{3}", lines[-1])
    first = make_leg(tmp_path / "broken")
    assert not first.run(toy_loss(first, clock), minutes=5, echo=lines.append)
    assert first.step == 5
    second = make_leg(tmp_path / "broken")
    assert (second.step, second.seconds, second.cpu) == (5, 300, 150)
    assert second.run(toy_loss(second, clock), minutes=100, echo=lines.append)
    assert (second.seconds, second.cpu) == (720, 360)
    for a, b, begun in zip(whole.masters, second.masters, make_leg(tmp_path).masters, strict=True):
        assert torch.equal(a, b) and not torch.equal(a, begun)
    for a, b in zip(whole.optimizers, second.optimizers, strict=True):
        assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"]
    for param, master in zip(second.finish().parameters(), second.masters, strict=True):
        assert param.dtype == torch.float32 and torch.equal(param, master)
    assert sorted(p.name for p in (tmp_path / "broken").iterdir()) == ["toy.csv", "toy.pt"]


def test_a_killed_leg_goes_on_with_the_same_log(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(training, "LOGGED", 3)
    monkeypatch.setattr(training, "SAVED", 3)
    killed = make_leg(tmp_path)
    loss_of = toy_loss(killed, clock)

    def die(step):
        if step == 8:
            raise KeyboardInterrupt
        return loss_of(step)

    with pytest.raises(KeyboardInterrupt):
        killed.run(die, echo=str)
    rows = list(csv.DictReader((tmp_path / "toy.csv").read_text().splitlines()))
    assert [(row["step"], row["figure"]) for row in rows] == [("3", "loss"), ("6", "loss")]
    second = make_leg(tmp_path)
    assert second.step == 6, "what was done since the last state is done again"
    assert second.run(toy_loss(second, clock), echo=str)
    whole = list(csv.DictReader((tmp_path / "toy.csv").read_text().splitlines()))
    assert whole[:2] == rows and [row["step"] for row in whole] == ["3", "6", "9", "12"]
    assert [float(row["cpu_seconds"]) for row in whole] == [90, 180, 270, 360]


def test_a_leg_learns_and_leaves_frozen_weights_alone(tmp_path, clock):
    torch.manual_seed(5)
    modules = Toy()
    modules.body["layers"][0].requires_grad_(False)
    before = modules.body["layers"][0].weight.clone()
    leg = Leg("toy", modules, tmp_path, 60, 0.01)
    kept = leg.params[0].dtype
    losses = []
    loss_of = toy_loss(leg, clock)

    def watched(step):
        loss, figures = loss_of(step)
        losses.append(loss.item())
        return loss, figures

    assert leg.run(watched, minutes=1000, echo=lambda line: None)
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    assert torch.equal(leg.finish().body["layers"][0].weight, before.to(kept).float())


def test_the_learning_rate_warms_up_and_falls_to_a_fiftieth(tmp_path, clock):
    leg = make_leg(tmp_path, steps=100)
    rates = []
    for leg.step in range(100):
        rates.append(leg.rate())
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert max(rates) == pytest.approx(1, rel=0.05) and rates.index(max(rates)) == 9
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 50)
    leg.step = 98
    assert leg.run(toy_loss(leg, clock), echo=lambda line: None)
    peaks = (0.002, 0.04)
    for optimizer, peak in zip(leg.optimizers, peaks, strict=True):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(peak / 50), "each its own peak"


def test_muon_in_float32_steps_as_pytorchs_does():
    torch.manual_seed(0)
    begun = [torch.randn(shape) for shape in ((24, 64), (64, 24), (24, 24))]
    steps = [[torch.randn_like(weight) for weight in begun] for _ in range(4)]

    def after(kind):
        weights = [torch.nn.Parameter(weight.clone()) for weight in begun]
        optimizer = kind(weights, lr=0.02, weight_decay=0.01)
        for step in steps:
            for weight, grad in zip(weights, step, strict=True):
                weight.grad = grad
            optimizer.step()
        return weights, optimizer

    theirs, optimizer = after(torch.optim.Muon)
    ours, other = after(training.Float32Muon)
    for a, b, weight in zip(theirs, ours, begun, strict=True):
        assert (a - b).norm() < 0.02 * (a - weight).norm(), "but for the rounding of bf16"
    other.load_state_dict(optimizer.state_dict())
    assert other.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()


@pytest.mark.parametrize(
    ("dtype", "kind"), [(torch.bfloat16, torch.optim.Muon), (torch.float32, training.Float32Muon)]
)
def test_a_leg_computes_in_what_the_processor_is_made_for(tmp_path, monkeypatch, dtype, kind):
    monkeypatch.setattr(training, "pick_dtype", lambda *names: dtype)
    leg = make_leg(tmp_path)
    assert {p.dtype for p in leg.params} == {dtype} and type(leg.optimizers[1]) is kind
    assert {m.dtype for m in leg.masters} == {torch.float32}
    assert torch.equal(leg.masters[0], leg.finish().body["layers"][0].weight)


def test_gates_refuse_to_build_on_what_was_not_reached(tmp_path):
    gates = Gates(tmp_path)
    with pytest.raises(ValueError, match="'language' must pass its gate first; it was not fini"):
        gates.require("language")
    assert not gates.record(
        "language", {"set": 0.7, "strip": 0.95}, {"set": 0.8, "strip": 0.8}, 9, 5
    )
    with pytest.raises(ValueError, match=r"reached \{'set': 0.7.*wanted \{'set': 0.8"):
        Gates(tmp_path).require("language")
    assert Gates(tmp_path).record("language", {"set": 0.8}, {"set": 0.8}, 9.4, 5.2)
    Gates(tmp_path).require("language")
    reached = Gates(tmp_path).reached["language"]
    assert (reached["seconds"], reached["cpu_seconds"]) == (9, 5)
    assert [p.name for p in tmp_path.iterdir()] == ["gates.json"]


# --- the eyes -------------------------------------------------------------------------------------


def test_contrast_takes_equal_texts_as_one_class():
    torch.manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(4, 8), dim=-1) for _ in range(2))
    scale = torch.tensor(10.0)
    logits, target = scale * image @ text.T, torch.arange(4)
    entropy = torch.nn.functional.cross_entropy
    plain = (entropy(logits, target) + entropy(logits.T, target)) / 2
    torch.testing.assert_close(eyes.contrast(image, text, list("abcd"), scale), plain)
    twice = torch.stack([text[0], text[1], text[0], text[3]])
    unique, place = text[[0, 1, 3]], torch.tensor([0, 1, 0, 2])
    logits = scale * image @ unique.T
    to_image = -torch.stack([torch.log_softmax(logits[:, c], 0)[i] for i, c in enumerate(place)])
    wanted = (entropy(logits, place) + to_image.mean()) / 2
    torch.testing.assert_close(eyes.contrast(image, twice, list("abad"), scale), wanted)


def test_batches_are_made_ahead_in_order(tmp_path):
    leg = make_leg(tmp_path)
    leg.step = 3
    assert list(leg.make_ahead(math.sqrt)) == [math.sqrt(n) for n in range(3, 12)]


def test_drawn_pictures_carry_their_numbers():
    without, with_number = pictures.draw([Panel(()), Panel((), 38)], (1, 2), plain=1.0, side=96)
    bare = pictures.draw([Panel(()), Panel(())], (1, 2), plain=1.0, side=96)
    assert (without == bare[0]).all()
    changed = np.argwhere((with_number != bare[1]).any(-1))
    assert (changed.min(0) > 64).all(), "bottom right, in the last cell of the grid"


def truth_of(panels):
    """Symbols [N, cells, N_SYMBOLS], and the naming that says just that, as logits."""
    known = torch.from_numpy(np.stack([write_symbols(p) for p in panels]))
    return known, 40 * known.clamp(max=1) - 20


PANELS = [*loose_panels(np.random.default_rng(1), 3), Panel((), 7), Panel((), 250), Panel(())]


def test_digits_are_read_off_a_naming_place_by_place():
    _, naming = truth_of(PANELS)
    read = eyes.digit_logits(naming)
    assert read.shape == (len(PANELS), CELLS * CELLS, N_DIGITS, 11)
    numbers = ["" if p.number is None else str(p.number) for p in PANELS]
    wanted = [[int(d) for d in n] + [10] * (N_DIGITS - len(n)) for n in numbers]  # 10: no digit
    assert (read.argmax(-1) == torch.tensor(wanted)[:, None]).all()


def test_the_naming_loss_is_least_at_the_truth():
    known, naming = truth_of(PANELS)
    least = eyes.naming_loss(naming, known).item()
    assert 0 <= least < 1e-5
    for column in range(AT_CONSTANT):
        for picture in (0, 4, 5):
            wrong = naming.clone()
            wrong[picture, 3, column] *= -1  # one token says the opposite of one thing
            assert eyes.naming_loss(wrong, known) > least + 0.005, column
    other = naming.clone()
    other[..., AT_CONSTANT:] = 99.0
    assert eyes.naming_loss(other, known).item() == least, "neither the constant nor the cell"
    twice = known.clone()
    twice[..., :AT_DIGITS] *= 2  # two things of a colour in a cell
    assert eyes.naming_loss(naming, twice).item() == least


class KnowingLooker:
    """Stands for a looker that knows the truth, but for what `spoil` changes."""

    def __init__(self, monkeypatch, spoil=lambda naming, step: None):
        self.spoil = spoil
        monkeypatch.setattr(eyes, "eyes_batch", self.batch)

    def batch(self, step, plain, leg):
        assert plain == 1.0 and leg == "gate", "the published style, on held-out pictures"
        panels = [loose_panels(np.random.default_rng([step, n]), 1, n > 0)[0] for n in range(5)]
        known, self.naming = truth_of(panels)
        self.spoil(self.naming, step)
        return panels, None, known.numpy()

    def look(self, drawn):
        return self.naming, None, None

    def name(self, tokens):
        return tokens


def test_the_eyes_are_measured_by_whole_numbers_and_objects(monkeypatch):
    figures = eyes.eyes_figures(KnowingLooker(monkeypatch))
    assert figures == {"numbers read": 1, "objects named": 1, "of the named, there": 1}

    def one_token_in_one_picture(naming, step):
        if step == 0:  # numbers of up to three digits: the first is there
            naming[2, 8, AT_DIGITS : AT_DIGITS + 10] *= -1

    read = eyes.eyes_figures(KnowingLooker(monkeypatch, one_token_in_one_picture))
    assert read == figures | {"numbers read": round(31 / 32, 4)}, "every token must know it"

    def all_objects(naming, step):
        naming[..., AT_DIGITS - len(OBJECTS) : AT_DIGITS] = 20

    named = eyes.eyes_figures(KnowingLooker(monkeypatch, all_objects))
    assert named["objects named"] == 1 and named["of the named, there"] < 0.2
    nothing = eyes.eyes_figures(KnowingLooker(monkeypatch, lambda naming, step: naming.fill_(-20)))
    assert nothing == dict.fromkeys(figures, 0)


# --- all legs -----------------------------------------------------------------------------------


def test_all_legs_run_into_checkpoints_that_answer(tmp_path, monkeypatch, clip):
    few = partial(eyes.eyes_batch, count=3)
    deeper = {"num_hidden_layers": 4}  # two of them guided
    for module in (language, eyes):
        monkeypatch.setattr(module, "longva_config", lambda t: longva_config(t, **deeper))
        monkeypatch.setattr(module, "WIDTH", 32)
    for module in (eyes, pretrain):
        monkeypatch.setattr(module, "eyes_batch", few)
    few_kinds = {"picture": ("picture", 1), "set": ("set", 2)}  # a video's take long to draw
    monkeypatch.setattr(language, "GATE_KINDS", few_kinds)
    monkeypatch.setattr(language, "TOKENS_A_STEP", 200)
    monkeypatch.setattr(Packer, "batch", partial_budget(Packer.batch, 200))
    monkeypatch.setattr(Leg, "make_ahead", lambda leg, make: map(make, range(leg.step, leg.steps)))
    work, out = tmp_path / "work", tmp_path / "models"
    arguments = ["--work", str(work), "--out", str(out), "--steps", "1"]
    assert "Error: language stopped before its gate" in run(*arguments, code=1).stderr
    assert run(*arguments, "--force").stdout.count("wrote ") == 2
    reached = Gates(work).reached
    assert list(reached) == ["language", "eyes", "align", "sight"]
    assert all(x <= 1 for leg in reached.values() for x in leg["figures"].values())

    from numpro.models import load_model
    from numpro.studies.design import ClipEncoder

    model = load_model(str(out / "longva"), device="cpu", dtype="float32")
    assert len(model.answer(clip, ["a red star"], max_new_tokens=3)) == 1
    encoder = ClipEncoder(str(out / "clip"), device="cpu")
    tower = model.model.vision_tower.state_dict()
    for name, weight in encoder.model.vision_model.state_dict().items():
        assert torch.equal(weight.float(), tower[name]), "one vision tower for both"
    assert encoder.tokenizer("a star").input_ids[-1] == encoder.tokenizer.eos_token_id
    adopted = tmp_path / "adopted"
    with pytest.raises(FileNotFoundError, match="no published model at"):
        eyes.adopt_eyes(work, adopted)
    for _ in range(2):  # the second time it is there already
        eyes.adopt_eyes(out, adopted)
    with pytest.raises(FileExistsError, match="holds other eyes; name another --work"):
        eyes.adopt_eyes(out, work)
    taken = finished("eyes", eyes.Looker(encoder.tokenizer), adopted)
    for name, weight in encoder.model.state_dict().items():
        assert torch.equal(weight.float(), taken.clip.state_dict()[name]), name
    for name, weight in model.model.projector.state_dict().items():
        assert torch.equal(weight.float(), taken.projector.state_dict()[name]), name
    assert Gates(adopted).reached["eyes"] == reached["eyes"]
    card = (out / "longva" / "README.md").read_text()
    assert "| language | " in card and str(tmp_path) not in card
    assert "{" not in card.partition("Made by")[0] and "up to 48 panels" in card
    for name, legs in (("longva", list(reached)), ("clip", ["eyes"])):
        rows = list(csv.DictReader((out / name / "log.csv").read_text().splitlines()))
        assert list(dict.fromkeys(row["leg"] for row in rows)) == legs


def test_without_strips_every_other_lesson_comes_as_often_and_eyes_may_be_taken(
    tmp_path, monkeypatch
):
    taken, adopted = {}, []

    def leg(name):
        def learn(work, steps, minutes, echo, **strips):
            echo(f"{name} {steps}/{steps}")
            taken[name] = steps, strips
            return True

        return learn

    monkeypatch.setattr(pretrain, "LEGS", {name: (leg(name), 90) for name in pretrain.LEGS})
    monkeypatch.setattr(command, "adopt_eyes", lambda models, work: adopted.append(models))
    monkeypatch.setattr(command, "export", lambda *arguments: [])
    done = run("--work", str(tmp_path), "--no-strips", "--eyes", "models", "--force", "--json")
    assert json.loads(done.stdout) == {"out": []} and "language 60/60" in done.stderr
    bare = {"strips": False}
    assert taken == {"language": (60, bare), "align": (90, bare), "sight": (60, bare)}
    assert [str(folder) for folder in adopted] == ["models"]
    for shares in (language.SHARES, pretrain.SEE_SHARES):
        assert language.portions(shares, strips=False)[KINDS.index("strip")] == 0
        # two thirds of the steps hold as many lessons of every other kind, up to 5 % less
        assert 0.95 < 2 / 3 / (1 - shares["strip"]) <= 1
    run("--work", str(tmp_path), "--force")
    assert {steps for steps, _ in taken.values()} == {90} and "eyes" in taken


def partial_budget(batch, budget):
    """The method `batch` with a budget of its own."""
    return lambda self, rng, kind, _, most=16: batch(self, rng, kind, budget, most)


def test_every_kind_of_lesson_has_its_share_in_both_legs():
    for shares in (language.SHARES, pretrain.SEE_SHARES):
        assert set(shares) == set(KINDS) and sum(shares.values()) == pytest.approx(1)
    kinds = [kind for kind, _ in language.GATE_KINDS.values()]
    assert {"picture", "pick", "set", "strip"} <= set(kinds) <= {*KINDS, "pick"}


def test_unknown_legs_are_refused():
    says = "leg must be one of language, eyes, align, sight; got 'ears'"
    assert says in run("ears", code=1).stderr


def test_a_leg_before_its_time_ends_in_one_line(tmp_path):
    refused = run("sight", "--work", str(tmp_path), code=1).stderr
    assert refused.startswith("Error: leg 'language' must pass its gate first; it was not finished")
    assert refused.count("\n") == 1
