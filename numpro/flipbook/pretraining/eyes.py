"""The second leg: the tiny CLIP learns captions and numbers, its patches what they show."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from numpro.flipbook import OBJECTS, pictures, scenes
from numpro.flipbook.pretraining.language import SEED, WIDTH, longva_config
from numpro.flipbook.pretraining.symbols import (
    AT_CONSTANT,
    AT_DIGITS,
    AT_OBJECT,
    N_DIGITS,
    N_SYMBOLS,
    name_patches,
    write_symbols,
)
from numpro.flipbook.pretraining.tokenizer import make_tokenizer
from numpro.flipbook.pretraining.training import ATTENTION, Echo, Gates, Leg

if TYPE_CHECKING:
    from transformers import CLIPConfig, PreTrainedTokenizerBase


def clip_config(tokenizer: "PreTrainedTokenizerBase") -> "CLIPConfig":
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

        from numpro.models.longva.modeling import LongvaProjector

        torch.manual_seed(1)
        config = longva_config(tokenizer)
        self.clip = CLIPModel(clip_config(tokenizer))
        self.clip.set_attn_implementation(ATTENTION)
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
        return tokens, functional.normalize(image, dim=-1), self.patch(patches).float()

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
        return functional.normalize(text, dim=-1)


def as_pixels(pictures: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Normalise uint8 pictures [N, S, S, 3] as CLIP does: [N, 3, S, S]."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return ((pixels - mean) / std).to(dtype)


def eyes_batch(step: int, count: int = 64, plain: float = 0.6, leg: str = "eyes") -> tuple:
    """Draw a batch of numbered pictures: panels, uint8 pictures, symbols [N, cells, N_SYMBOLS]."""
    rng = np.random.default_rng([SEED[leg], step])
    panels = [scenes.loose_panels(rng, 1, numbered=rng.random() < 0.85)[0] for _ in range(count)]
    drawn = pictures.draw(panels, (SEED[leg], step), plain, 96)
    return panels, drawn, np.stack([write_symbols(p) for p in panels])


def contrast(
    image: torch.Tensor, text: torch.Tensor, texts: list[str], scale: torch.Tensor
) -> torch.Tensor:
    """Return CLIP's loss where equal texts count as the same class."""
    classes = {t: number for number, t in enumerate(dict.fromkeys(texts))}
    target = torch.tensor([classes[t] for t in texts])
    logits = scale * image @ text[[texts.index(t) for t in classes]].T
    to_text = functional.cross_entropy(logits, target)
    to_image = -torch.log_softmax(logits, 0)[range(len(texts)), target]
    return 0.5 * (to_text + to_image.mean())


def digit_logits(naming: torch.Tensor) -> torch.Tensor:
    """Return the logits of each place's digit [..., 3, 11] from a naming [..., N_SYMBOLS].

    Class 10 is "no digit here".
    """
    digits = naming[..., AT_DIGITS:AT_CONSTANT].unflatten(-1, (N_DIGITS, 10))
    return functional.pad(digits, (0, 1))


def naming_loss(naming: torch.Tensor, symbols: torch.Tensor) -> torch.Tensor:
    """Measure how far visual tokens are from naming what they show and their picture's number."""
    things = functional.binary_cross_entropy_with_logits(
        naming[..., :AT_DIGITS], symbols[..., :AT_DIGITS].clamp(max=1)
    )
    # a place without a digit has its 0.5 as the greatest
    digits = symbols[..., AT_DIGITS:AT_CONSTANT].unflatten(-1, (N_DIGITS, 10))
    written = functional.pad(digits, (0, 1), value=0.5).argmax(-1)
    read = functional.cross_entropy(digit_logits(naming).flatten(0, -2), written.flatten())
    return 6 * things + 2 * read


def adopt_eyes(models: Path, folder: Path) -> None:
    """Write published eyes into `folder` as if the leg had just been run there.

    A control pretrained on other lessons looks through the same eyes; training them anew would
    take an hour and show nothing. A projector maps one visual token at a time, so what pictures
    have to do with each other cannot come with it.

    Parameters
    ----------
    models
        Folder with ``clip/`` and ``longva/``, such as ``data/flipbook/models``: the tower is the
        one's, the projector the other's.
    folder
        Where legs write their states.

    Raises
    ------
    FileNotFoundError
        When one of the models is not there.
    FileExistsError
        When `folder` holds other eyes, which would be lost.
    """
    from safetensors.torch import load_file

    for name in ("clip", "longva"):
        if not (models / name / "model.safetensors").is_file():
            raise FileNotFoundError(f"no published model at {models / name}")
    looker = Looker(make_tokenizer())
    clip = load_file(models / "clip" / "model.safetensors")
    whole = load_file(models / "longva" / "model.safetensors")
    looker.clip.load_state_dict({name: weight.float() for name, weight in clip.items()})
    parts = {
        name.split("projector.")[-1]: w.float() for name, w in whole.items() if "projector." in name
    }
    looker.projector.load_state_dict(parts)
    wanted = [p.detach().clone() for p in looker.parameters()]
    leg = Leg("eyes", looker, folder, 1, 0.0)  # takes up what is there
    if any(not torch.equal(a, b) for a, b in zip(wanted, leg.masters, strict=True)):
        raise FileExistsError(f"{leg.path} holds other eyes; name another --work")
    leg.step = leg.steps
    leg.save()
    published = Gates(models / "clip").reached["eyes"]
    gates = Gates(folder)
    gates.record("eyes", published["figures"], published["bounds"], published["seconds"],
                 published.get("cpu_seconds", published["seconds"]))  # fmt: skip


def eyes_figures(looker: Looker) -> dict:
    """Measure on held-out pictures in the published style: numbers read, objects named.

    A number counts as read when every visual token tells all its digits, an object as named
    when a token tells it.
    """
    read, named, there = [], [], []
    with torch.inference_mode():
        for step in range(8):
            panels, drawn, symbols = eyes_batch(step, plain=1.0, leg="gate")
            naming = looker.name(looker.look(drawn)[0]).float()
            digits = functional.one_hot(digit_logits(naming).argmax(-1), 11)[..., :10]
            right = (digits.flatten(2).numpy() == symbols[..., AT_DIGITS:AT_CONSTANT]).all((1, 2))
            read.append(right[[panel.number is not None for panel in panels]])
            named.append((naming[..., AT_OBJECT:AT_DIGITS] > 0).any(1).numpy())
            there.append((symbols[..., AT_OBJECT:AT_DIGITS] > 0).any(1))
    named, there = np.concatenate(named), np.concatenate(there)
    right = (named & there).sum()
    shares = {
        "numbers read": np.concatenate(read).mean(),
        "objects named": right / there.sum(),
        "of the named, there": right / max(1, named.sum()),
    }
    return {name: round(float(share), 4) for name, share in shares.items()}


def eyes(folder: Path, steps: int, minutes: float, echo: Echo = print, strips: bool = True) -> bool:
    """Leg 2: the tiny CLIP; its patches learn what they show, its embedding is contrasted.

    Without `strips` it is the same: no picture stands beside another here.
    """
    looker = Looker(make_tokenizer())
    leg = Leg("eyes", looker, folder, steps, 1e-3)
    batches = leg.make_ahead(eyes_batch)

    def loss_of(step: int):
        panels, drawn, symbols = next(batches)
        tokens, image, named = looker.look(drawn)
        naming = naming_loss(looker.name(tokens).float(), torch.from_numpy(symbols))
        shown = torch.from_numpy(np.stack([name_patches(p, looker.grid) for p in panels]))
        patches = functional.cross_entropy(named.flatten(0, 1), shown.flatten())
        captions = [scenes.describe(panel.named) for panel in panels]
        written = [i for i, panel in enumerate(panels) if panel.number is not None]
        numbers = [str(panels[i].number) for i in written]
        scale = looker.clip.logit_scale.float().exp().clamp(max=100)
        texts = looker.read(captions + numbers)
        by_caption = contrast(image, texts[: len(captions)], captions, scale)
        by_number = contrast(image[written], texts[len(captions) :], numbers, scale)
        figures = {"patch": patches, "naming": naming, "caption": by_caption, "number": by_number}
        loss = naming + 2 * patches + 0.15 * (by_caption + by_number)
        return loss, {name: figure.item() for name, figure in figures.items()}

    bounds = {"numbers read": 0.97, "objects named": 0.95, "of the named, there": 0.95}
    return leg.reach_gate(loss_of, partial(eyes_figures, looker), bounds, minutes, echo)
