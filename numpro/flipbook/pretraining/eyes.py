"""The second leg: the tiny CLIP learns captions and numbers, its patches what they show."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from numpro.flipbook import OBJECTS
from numpro.flipbook.pretraining.language import SEED, WIDTH, longva_config
from numpro.flipbook.pretraining.tokenizer import make_tokenizer
from numpro.flipbook.pretraining.training import Gates, Leg
from numpro.flipbook.scenes import AT_CONSTANT, AT_DIGITS, AT_OBJECT, N_DIGITS, N_SYMBOLS

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


def contrast(
    image: torch.Tensor, text: torch.Tensor, texts: list[str], scale: "torch.Tensor"
) -> torch.Tensor:
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


def digit_logits(said: torch.Tensor) -> torch.Tensor:
    """Return the logits of each place's digit [..., 3, 11] from a naming [..., N_SYMBOLS].

    Class 10 is "no digit here".
    """
    digits = said[..., AT_DIGITS:AT_CONSTANT].unflatten(-1, (N_DIGITS, 10))
    return torch.nn.functional.pad(digits, (0, 1))


def naming_loss(said: torch.Tensor, symbols: torch.Tensor) -> torch.Tensor:
    """Tell every visual token what it shows, and which number its picture bears."""
    things = torch.nn.functional.binary_cross_entropy_with_logits(
        said[..., :AT_DIGITS], symbols[..., :AT_DIGITS].clamp(max=1)
    )
    written = torch.nn.functional.pad(
        symbols[..., AT_DIGITS:AT_CONSTANT].unflatten(-1, (N_DIGITS, 10)), (0, 1), value=0.5
    ).argmax(-1)
    digits = torch.nn.functional.cross_entropy(digit_logits(said).flatten(0, -2), written.flatten())
    return 6 * things + 2 * digits


def adopt_eyes(models: Path, folder: Path) -> None:
    """Leave published eyes in `folder` as if the leg had just been run there.

    A control pretrained on other lessons looks through the same eyes; training them anew would
    take an hour and show nothing. A projector maps one visual token at a time, so what pictures
    have to do with each other cannot come with it.

    Parameters
    ----------
    models
        Folder with ``clip/`` and ``longva/``, such as ``data/flipbook/models``: the tower is the
        one's, the projector the other's.
    folder
        Where legs leave their states.

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
    at = "projector."
    parts = {name.split(at)[1]: w.float() for name, w in whole.items() if at in name}
    looker.projector.load_state_dict(parts)
    wanted = [p.detach().clone() for p in looker.parameters()]
    leg = Leg("eyes", looker, folder, 1, 0.0)  # takes up what is there
    if any(not torch.equal(a, b) for a, b in zip(wanted, leg.masters, strict=True)):
        raise FileExistsError(f"{leg.path} holds other eyes; name another --work")
    leg.step = leg.steps
    leg.save()
    published = Gates(models / "clip").reached["eyes"]
    gates = Gates(folder)
    gates.record("eyes", published["figures"], published["bounds"], published["seconds"])


def eyes_figures(looker: Looker) -> dict:
    """Measure on held-out pictures in the published style: numbers read, objects named.

    A number counts as read when every visual token tells all its digits, an object as named
    when a token tells it.
    """
    read = numbers = named = objects = wrong = 0
    with torch.inference_mode():
        for step in range(8):
            panels, drawn, symbols = eyes_batch(step, plain=1.0, leg="gate")
            said = looker.name(looker.look(drawn)[0]).float()
            digits = torch.nn.functional.one_hot(digit_logits(said).argmax(-1), 11)[..., :10]
            right = (digits.flatten(2).numpy() == symbols[..., AT_DIGITS:AT_CONSTANT]).all((1, 2))
            shown = [p.number is not None for p in panels]
            read += int(right[shown].sum())
            numbers += sum(shown)
            seen = (said[..., AT_OBJECT:AT_DIGITS] > 0).any(1).numpy()
            there = (symbols[..., AT_OBJECT:AT_DIGITS] > 0).any(1)
            named += int((seen & there).sum())
            objects += int(there.sum())
            wrong += int((seen & ~there).sum())
    return {
        "numbers read": round(read / numbers, 4),
        "objects named": round(named / objects, 4),
        "of the named, there": round(named / max(1, named + wrong), 4),
    }


def eyes(folder: Path, steps: int, minutes: float, echo: Callable[[str], object] = print) -> bool:
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
