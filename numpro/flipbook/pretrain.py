"""Where ``data/flipbook/models`` comes from: three resumable legs, each with a gate.

``language``: the tiny Qwen2 learns its questions on symbols (`numpro.flipbook.scenes`);
``eyes``: the tiny CLIP learns captions and number words, its patches are told what they show;
``sight``: tower, projector and language model together, on drawn pictures.

A gate's figure is the share of answers that are right to the last token on scenes of seeds
never trained on. The base model meets no video numbered frame by frame, and no question
about an unnumbered video that is answered by numbers.
"""

from pathlib import Path

import numpy as np
import torch

from numpro.flipbook import CELLS, OBJECTS
from numpro.flipbook.lessons import IGNORED, KINDS, Batch, Packer
from numpro.flipbook.questions import make_tokenizer
from numpro.flipbook.scenes import N_SYMBOLS
from numpro.flipbook.training import Gates, Leg

WIDTH = 256
TOKENS_A_STEP = 1600
SEED = {"language": 11, "eyes": 12, "sight": 13, "gate": 99}
GATE_KINDS = {
    "picture": ("picture", 1),
    "set of 2": ("set", 2),
    "set of 4": ("set", 4),
    "set of 8": ("set", 8),
    "strip": ("strip", 1),
    "video": ("video", 1),
    "words": ("words", 1),
}
SHARES = {"picture": 0.12, "set": 0.33, "strip": 0.2, "words": 0.25, "video": 0.1}
EARLY = {"picture": 0.15, "set": 0.35, "strip": 0.1, "words": 0.35, "video": 0.05}


def longva_config(tokenizer):
    """Return the configuration of the tiny LongVA."""
    from numpro.models.longva_model import LongvaConfig

    return LongvaConfig(
        vision_config={
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "image_size": 96,
            "patch_size": 16,
            "projection_dim": 128,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 768,
            "num_hidden_layers": 5,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
            "initializer_range": 0.06,  # the default is for wider models: attention starts flat
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )


class Reader(torch.nn.Module):
    """The tiny LongVA with a table of symbols that stands in for tower and projector."""

    def __init__(self, tokenizer):
        super().__init__()
        from numpro.models.longva_model import LongvaForConditionalGeneration

        torch.manual_seed(0)
        self.model = LongvaForConditionalGeneration(longva_config(tokenizer))
        self.table = torch.nn.Linear(N_SYMBOLS, WIDTH, bias=False)
        for weight in (self.table.weight, self.model.get_input_embeddings().weight):
            torch.nn.init.normal_(weight, std=0.04)
        self.image = self.model.config.image_token_id

    def answer_logits(self, batch: Batch, visual: torch.Tensor) -> tuple:
        """Return logits [N, V] and targets [N] of all answer tokens of a batch."""
        ids = torch.from_numpy(batch.ids)
        embeds = self.model.get_input_embeddings()(ids)
        embeds = embeds.masked_scatter((ids == self.image)[..., None], visual.to(embeds.dtype))
        mask = torch.from_numpy(batch.mask)
        bias = torch.zeros(mask.shape, dtype=embeds.dtype).masked_fill(~mask, -1e9)
        hidden = self.model.language_model(
            inputs_embeds=embeds,
            attention_mask=bias,
            position_ids=torch.from_numpy(batch.positions),
            use_cache=False,
        ).last_hidden_state
        want = torch.from_numpy(batch.labels)[:, 1:]
        return self.model.lm_head(hidden[:, :-1][want != IGNORED]).float(), want[want != IGNORED]

    def read_symbols(self, batch: Batch, noise: float = 0.0) -> torch.Tensor:
        """Look the batch's symbols up: visual tokens [N, WIDTH], with noise while training."""
        visual = self.table(torch.from_numpy(batch.symbols()).to(self.table.weight.dtype))
        return visual + noise * visual.std() * torch.randn_like(visual) if noise else visual


def exact_share(batch: Batch, logits: torch.Tensor) -> tuple[int, int]:
    """Count answers whose every token is the likeliest: (right, all)."""
    want = batch.labels[:, 1:]
    rows, columns = np.nonzero(want != IGNORED)
    right = (logits.argmax(-1).numpy() == want[rows, columns]).astype(int)
    # an answer begins where the label before it is none
    begins = np.r_[True, (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1] + 1)]
    whole = np.minimum.reduceat(right, np.flatnonzero(begins))
    return int(whole.sum()), len(whole)


@torch.inference_mode()
def gate_figures(reader: Reader, packer: Packer, see, kinds: dict[str, tuple[str, int]]) -> dict:
    """Measure the exact share per kind of question on held-out scenes."""
    figures = {}
    for label, (kind, most) in kinds.items():
        rng = np.random.default_rng([SEED["gate"], most])
        right = total = 0
        for number in range(4):
            batch = packer.batch(rng, kind, TOKENS_A_STEP, most)
            batch.seed = (SEED["gate"], number)
            got = exact_share(batch, reader.answer_logits(batch, see(batch))[0])
            right, total = right + got[0], total + got[1]
        figures[label] = round(right / total, 4)
    return figures


def language(folder: Path, steps: int, minutes: float, echo=print) -> bool:
    """Leg 1: the language model learns its questions on symbols."""
    tokenizer = make_tokenizer()
    packer, reader = Packer(tokenizer), Reader(tokenizer)
    reader.model.vision_tower.requires_grad_(False)
    reader.model.projector.requires_grad_(False)
    leg = Leg("language", reader, folder, steps, 1e-3)
    shares = np.array([SHARES[k] for k in KINDS])
    early = np.array([EARLY[k] for k in KINDS])  # copying and looking up come first

    def loss_of(step: int):
        rng = np.random.default_rng([SEED["language"], step])
        kind = str(rng.choice(KINDS, p=early if step < 0.2 * steps else shares))
        most = 3 if step < 0.15 * steps else 4 if step < 0.3 * steps else 8
        batch = packer.batch(rng, kind, TOKENS_A_STEP, most)
        logits, want = reader.answer_logits(batch, reader.read_symbols(batch, noise=0.1))
        loss = torch.nn.functional.cross_entropy(logits, want)
        right, total = exact_share(batch, logits.detach())
        return loss, {f"{kind}-loss": loss.item(), f"{kind}-exact": right / total}

    done = leg.run(loss_of, minutes, echo)
    if not done:
        return False
    figures = gate_figures(leg.finish(), packer, reader.read_symbols, GATE_KINDS)
    bounds = {"picture": 0.95, "set of 2": 0.9, "set of 8": 0.8, "strip": 0.8}
    passed = Gates(folder).record("language", figures, bounds, leg.seconds)
    echo(f"language gate {'passed' if passed else 'NOT passed'}: {figures}")
    return passed


# ---------------------------------------------------------------- eyes


def clip_config(tokenizer):
    """Return the configuration of the tiny CLIP; its vision tower is LongVA's."""
    from transformers import CLIPConfig

    # the text ends with <|endoftext|>: CLIP takes an end token of id 2 (our <|im_end|>) as a
    # sign of old checkpoints, and then pools at the largest id instead of at the end
    vision = longva_config(tokenizer).vision_config.to_dict()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 40,
        "projection_dim": 128,
        "bos_token_id": None,
        "eos_token_id": tokenizer.pad_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)


class Looker(torch.nn.Module):
    """The tiny CLIP, and the projector with a head that names what each visual token shows."""

    def __init__(self, tokenizer):
        super().__init__()
        from transformers import CLIPModel

        from numpro.models.longva_model import LongvaProjector

        torch.manual_seed(1)
        config = longva_config(tokenizer)
        self.clip = CLIPModel(clip_config(tokenizer))
        self.projector = LongvaProjector(config)
        self.name = torch.nn.Linear(WIDTH, N_SYMBOLS)
        self.layer = config.vision_feature_layer
        self.tokenizer = tokenizer
        self.grid = config.grid
        self.patch = torch.nn.Linear(config.vision_config.hidden_size, len(OBJECTS) + 1)

    def look(self, pictures: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return visual tokens [N, cells, WIDTH], image embeddings [N, 128] and patch names.

        Embeddings are normalised; names are logits [N, patches, objects + 1].
        """
        out = self.clip.vision_model(
            as_pixels(pictures, self.name.weight.dtype), output_hidden_states=True
        )
        patches = out.hidden_states[self.layer][:, 1:]
        tokens = self.projector(patches)
        image = self.clip.visual_projection(out.pooler_output).float()
        return tokens, torch.nn.functional.normalize(image, dim=-1), self.patch(patches).float()

    def read(self, texts: list[str]) -> torch.Tensor:
        """Return text embeddings [N, 128], normalised."""
        ids = self.tokenizer(
            [t + "<|endoftext|>" for t in texts],
            return_tensors="pt",
            padding=True,
            padding_side="right",
            add_special_tokens=False,
        )
        out = self.clip.text_model(input_ids=ids.input_ids, attention_mask=ids.attention_mask)
        text = self.clip.text_projection(out.pooler_output).float()
        return torch.nn.functional.normalize(text, dim=-1)


def as_pixels(pictures: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Normalise uint8 pictures [N, S, S, 3] as CLIP does: [N, 3, S, S]."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return ((pixels - mean) / std).to(dtype)


def eyes_batch(step: int, count: int = 64, plain: float = 0.6, leg: str = "eyes") -> tuple:
    """Draw a batch of numbered pictures: panels, uint8 pictures, symbols [N, cells, N_SYMBOLS]."""
    from numpro.flipbook import pictures, scenes

    rng = np.random.default_rng([SEED[leg], step])
    panels = [scenes.loose_panels(rng, 1, numbered=rng.random() < 0.85)[0] for _ in range(count)]
    drawn = pictures.draw(panels, (SEED[leg], step), plain, 96)
    return panels, drawn, np.stack([scenes.symbols(p) for p in panels])


def contrast(image: torch.Tensor, text: torch.Tensor, texts: list[str], scale) -> torch.Tensor:
    """Return CLIP's loss where equal texts count as the same class."""
    first = {t: i for i, t in reversed(list(enumerate(texts)))}
    target = torch.tensor([first[t] for t in texts])
    unique = sorted(set(target.tolist()))
    place = {u: i for i, u in enumerate(unique)}
    logits = scale * image @ text[unique].T
    to_text = torch.nn.functional.cross_entropy(
        logits, torch.tensor([place[int(t)] for t in target])
    )
    to_image = -torch.log_softmax(logits, 0)[range(len(texts)), [place[int(t)] for t in target]]
    return 0.5 * (to_text + to_image.mean())


def naming_loss(logits: torch.Tensor, symbols: torch.Tensor) -> torch.Tensor:
    """Tell every visual token what it shows: objects by how much, digits (rare) by which."""
    things = len(OBJECTS)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return 6 * loss(logits[..., :things], symbols[..., :things].clamp(max=1)) + 24 * loss(
        logits[..., things:-1], symbols[..., things:-1]
    )


def eyes_figures(looker: Looker) -> dict:
    """Measure on held-out pictures in the published style: numbers read, objects named."""
    from numpro.flipbook import scenes

    things = len(OBJECTS)
    read = numbers = named = objects = wrong = 0
    with torch.inference_mode():
        for step in range(8):
            panels, drawn, symbols = eyes_batch(step, plain=1.0, leg="gate")
            tokens, _, patches = looker.look(drawn)
            got = looker.name(tokens).float().numpy()[..., things:-1]
            digits = (got > 0).reshape(len(panels), CELLS**2, 3, 10)
            truth = (symbols[..., things:-1] > 0).reshape(digits.shape)
            shown = [p.number is not None for p in panels]
            read += int((digits == truth).all((1, 2, 3))[shown].sum())
            numbers += sum(shown)
            for panel, names in zip(panels, patches.argmax(-1).tolist(), strict=True):
                there = set(scenes.patch_things(panel, looker.grid).tolist()) - {things}
                seen = set(names) - {things}
                named += len(seen & there)
                objects += len(there)
                wrong += len(seen - there)
    return {
        "numbers read": round(read / numbers, 4),
        "objects named": round(named / objects, 4),
        "of the named, there": round(named / max(1, named + wrong), 4),
    }


def eyes(folder: Path, steps: int, minutes: float, echo=print) -> bool:
    """Leg 2: the tiny CLIP; its patches are told what they show, its embedding is contrasted."""
    from numpro.flipbook import pictures, scenes
    from numpro.flipbook.questions import describe

    looker = Looker(make_tokenizer())
    leg = Leg("eyes", looker, folder, steps, 1e-3)
    batches = pictures.ahead(eyes_batch, range(leg.step, steps))

    def loss_of(step: int):
        panels, drawn, symbols = next(batches)
        tokens, image, named = looker.look(drawn)
        naming = naming_loss(looker.name(tokens).float(), torch.from_numpy(symbols))
        things = np.stack([scenes.patch_things(p, looker.grid) for p in panels])
        patches = torch.nn.functional.cross_entropy(
            named.flatten(0, 1), torch.from_numpy(things).flatten()
        )
        captions = [describe(sorted(p.picture().objects, key=OBJECTS.index)) for p in panels]
        written = [i for i, p in enumerate(panels) if p.number is not None]
        numbers = [str(panels[i].number) for i in written]
        scale = looker.clip.logit_scale.float().exp().clamp(max=100)
        texts = looker.read(captions + numbers)
        by_caption = contrast(image, texts[: len(captions)], captions, scale)
        by_number = contrast(image[written], texts[len(captions) :], numbers, scale)
        loss = naming + 2 * patches + 0.15 * (by_caption + by_number)
        return loss, {
            "patch": patches.item(),
            "naming": naming.item(),
            "caption": by_caption.item(),
            "number": by_number.item(),
        }

    if not leg.run(loss_of, minutes, echo):
        return False
    figures = eyes_figures(leg.finish())
    bounds = {"numbers read": 0.97, "objects named": 0.95, "of the named, there": 0.95}
    passed = Gates(folder).record("eyes", figures, bounds, leg.seconds)
    echo(f"eyes gate {'passed' if passed else 'NOT passed'}: {figures}")
    return passed


# ---------------------------------------------------------------- sight


def trained_language(folder: Path, tokenizer) -> Reader:
    """Return the reader as the language leg left it."""
    reader = Reader(tokenizer)
    reader.model.vision_tower.requires_grad_(False)
    reader.model.projector.requires_grad_(False)
    return Leg("language", reader, folder, 1, 0.0).finish()


def trained_eyes(folder: Path, tokenizer) -> Looker:
    """Return the tiny CLIP and its projector as the eyes leg left them."""
    return Leg("eyes", Looker(tokenizer), folder, 1, 0.0).finish()


def assemble(folder: Path, tokenizer) -> Reader:
    """Put the tower and projector of the eyes before the language model."""
    reader, looker = trained_language(folder, tokenizer), trained_eyes(folder, tokenizer)
    reader.model.vision_tower.load_state_dict(looker.clip.vision_model.state_dict())
    reader.model.projector.load_state_dict(looker.projector.state_dict())
    return reader


def align(folder: Path, steps: int, minutes: float, echo=print) -> bool:
    """Leg 3: the projector learns to write what the language model reads."""
    from numpro.flipbook import pictures

    reader = assemble(folder, make_tokenizer()).requires_grad_(False)
    reader.model.projector.requires_grad_(True)
    leg = Leg("align", reader, folder, steps, 1e-3)
    batches = pictures.ahead(eyes_batch, range(leg.step, steps))

    def loss_of(step: int):
        _, drawn, symbols = next(batches)
        with torch.no_grad():
            patches = reader.model.patch_features(as_pixels(drawn, torch.bfloat16), chunk=128)
            want = reader.table(torch.from_numpy(symbols).to(torch.bfloat16)).float()
        got = reader.model.projector(patches).float()
        off = ((got - want) ** 2).mean() / want.var()
        return off, {"unexplained": off.item()}

    if not leg.run(loss_of, minutes, echo):
        return False
    return Gates(folder).record("align", {}, {}, leg.seconds)


SEE_SHARES = {"picture": 0.2, "set": 0.35, "strip": 0.3, "words": 0.05, "video": 0.1}


def sight_batch(step: int, tokenizer=None) -> tuple[Batch, np.ndarray]:
    """Pack and draw the batch of a step of the sight leg."""
    from numpro.flipbook import pictures

    packer = _packer()
    rng = np.random.default_rng([SEED["sight"], step])
    kind = str(rng.choice(KINDS, p=[SEE_SHARES[k] for k in KINDS]))
    batch = packer.batch(rng, kind, 2000, 8)
    return batch, pictures.draw(batch.panels, (SEED["sight"], step), 0.85, 96)


def _packer(kept: list = []) -> Packer:  # noqa: B006  (one per worker process, on purpose)
    if not kept:
        kept.append(Packer(make_tokenizer()))
    return kept[0]


def sight(folder: Path, steps: int, minutes: float, echo=print) -> bool:
    """Leg 4: projector and language model together on drawn pictures; the tower stays."""
    from numpro.flipbook import pictures

    tokenizer = make_tokenizer()
    reader = Leg("align", _projector_only(assemble(folder, tokenizer)), folder, 1, 0.0).finish()
    reader.requires_grad_(True)
    reader.model.vision_tower.requires_grad_(False)
    reader.table.requires_grad_(False)
    leg = Leg("sight", reader, folder, steps, 3e-4)
    batches = pictures.ahead(sight_batch, range(leg.step, steps))

    def look(drawn: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            pixels = as_pixels(drawn, reader.table.weight.dtype)
            patches = reader.model.patch_features(pixels, chunk=128)
        return reader.model.projector(patches).flatten(0, 1)

    def loss_of(step: int):
        batch, drawn = next(batches)
        logits, want = reader.answer_logits(batch, look(drawn))
        loss = torch.nn.functional.cross_entropy(logits, want)
        right, total = exact_share(batch, logits.detach())
        return loss, {f"{batch.kind}-exact": right / total}

    if not leg.run(loss_of, minutes, echo):
        return False

    def see(batch: Batch) -> torch.Tensor:
        return look(pictures.draw(batch.panels, batch.seed, 1.0, 96))

    figures = gate_figures(leg.finish(), Packer(tokenizer), see, GATE_KINDS)
    bounds = {"picture": 0.9, "set of 2": 0.85, "set of 4": 0.8, "set of 8": 0.7, "strip": 0.7}
    passed = Gates(folder).record("sight", figures, bounds, leg.seconds)
    echo(f"sight gate {'passed' if passed else 'NOT passed'}: {figures}")
    return passed


def trained_sight(folder: Path, tokenizer) -> Reader:
    """Return tower, projector and language model as the sight leg left them."""
    reader = assemble(folder, tokenizer).requires_grad_(True)
    reader.model.vision_tower.requires_grad_(False)
    reader.table.requires_grad_(False)
    return Leg("sight", reader, folder, 1, 0.0).finish()


def _projector_only(reader: Reader) -> Reader:
    reader.requires_grad_(False)
    reader.model.projector.requires_grad_(True)
    return reader


# name -> (function, steps); the order is the order of learning
LEGS = {
    "language": (language, 6000),
    "eyes": (eyes, 2500),
    "align": (align, 500),
    "sight": (sight, 1500),
}


def main(arguments: list[str] | None = None) -> None:
    """Run legs one after another; each is resumed where it stopped (``numpro flipbook pretrain``).

    Raises
    ------
    SystemExit
        When a leg did not reach its gate, or its minutes were over.
    """
    import argparse

    from numpro.flipbook.export import export
    from numpro.paths import flipbook_dir, relative

    parser = argparse.ArgumentParser(
        prog="numpro flipbook pretrain",
        description="Make the tiny CLIP and the tiny LongVA from nothing, in resumable legs.",
        epilog="example: numpro flipbook pretrain --work data/flipbook/pretraining --minutes 60",
    )
    parser.add_argument("legs", nargs="*", default=[], help=f"of {', '.join(LEGS)} [all]")
    parser.add_argument("--work", type=Path, default=flipbook_dir("pretraining"))
    parser.add_argument("--out", type=Path, default=flipbook_dir("models"))
    parser.add_argument("--minutes", type=float, default=60.0, help="most minutes a leg [60]")
    parser.add_argument("--steps", type=int, help="steps of each leg instead of its own")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--note", default="", help="a sentence for the model cards")
    parser.add_argument("--force", action="store_true", help="go on past a gate not passed")
    asked = parser.parse_args(arguments)
    if unknown := [leg for leg in asked.legs if leg not in LEGS]:
        parser.error(f"legs must be of {', '.join(LEGS)}; got {', '.join(unknown)}")
    if asked.threads:
        torch.set_num_threads(asked.threads)
    names = list(LEGS)
    for name in asked.legs or names:
        if name != "language" and name != "eyes" and not asked.force:
            for before in names[: names.index(name)]:
                Gates(asked.work).require(before)
        leg, steps = LEGS[name]
        if not leg(asked.work, asked.steps or steps, asked.minutes) and not asked.force:
            parser.exit(1, f"{name} stopped before its gate; see {asked.work / 'gates.json'}\n")
    if not asked.legs or "sight" in asked.legs:
        for folder in export(asked.work, asked.out, asked.note):
            print(f"wrote {relative(folder)}")
