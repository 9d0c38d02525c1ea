"""The tiny LongVA while it is trained, and the first leg: its questions, on symbols.

Three things make looking things up quick to learn; without one of them thousands of steps bring
nothing. A symbol starts as the sum of the word embeddings of its colour and shape, so
that a word can find it. The last matrix of every attention and MLP block starts at zero, so
that embeddings are not drowned in what untrained blocks add. And some heads are guided where to
look (`Reader.look_loss`), as supervised attention does in translation (Liu et al. 2016, arXiv
1609.04186).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from numpro.flipbook import COLOURS, SHAPES
from numpro.flipbook.pretraining.lessons import IGNORED, KINDS, Batch, Packer
from numpro.flipbook.pretraining.symbols import AT_OBJECT, N_SYMBOLS
from numpro.flipbook.pretraining.tokenizer import make_tokenizer
from numpro.flipbook.pretraining.training import ATTENTION, Echo, Leg
from numpro.flipbook.scenes import PAGES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from numpro.models.longva.modeling import LongvaConfig

WIDTH = 256
TOKENS_A_STEP = 2400
SEED = {"language": 11, "eyes": 12, "sight": 13, "gate": 99}
GUIDED_LAYERS, GUIDED_HEADS = (2, 3), 4  # of 5 layers and 8 heads
# What a gate measures: the lesson, and how many pictures at most. Bounds are set for what the
# workbook needs: telling what is on a picture, picking the labelled one of a set, reading strips.
GATE_KINDS = {
    "picture": ("picture", 1),
    "pick of 2": ("pick", 2),
    "pick of 4": ("pick", 4),
    "pick of 8": ("pick", 8),
    "set of 2": ("set", 2),
    "set of 4": ("set", 4),
    "set of 8": ("set", 8),
    "strip": ("strip", 1),
    "video": ("video", 1),
    "words": ("words", 1),
}
# An index is looking up and nothing else. It comes alone for the first steps, and then beside
# every other lesson, which come this often.
SHARES = {"picture": 0.22, "index": 0.0, "set": 0.34, "strip": 0.32, "words": 0.04, "video": 0.08}
INDEX_ALONE = 0.15  # of the steps
# which weights of a `Reader` a leg trains: how their names begin
TRAINED = {
    "language": ("model.language_model", "model.lm_head", "table"),
    "align": ("model.projector",),
    "sight": ("model.projector", "model.language_model", "model.lm_head"),
}


def longva_config(tokenizer: "PreTrainedTokenizerBase") -> "LongvaConfig":
    """Return the configuration of the tiny LongVA."""
    from numpro.models.longva.modeling import LongvaConfig

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
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},  # as Qwen2
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
        from numpro.models.longva.modeling import LongvaForConditionalGeneration

        torch.manual_seed(0)
        self.model = LongvaForConditionalGeneration(longva_config(tokenizer))
        self.model.set_attn_implementation(ATTENTION)
        self.table = torch.nn.Linear(N_SYMBOLS, WIDTH, bias=False)
        words = self.model.get_input_embeddings().weight
        for weight in (self.table.weight, words):
            torch.nn.init.normal_(weight, std=0.04)
        names = [tokenizer(f" {w}", add_special_tokens=False).input_ids for w in COLOURS + SHAPES]
        with torch.no_grad():
            self.table.weight[:, :AT_OBJECT] = words[[first for first, *_ in names]].T
            for layer in self.model.language_model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
        self.image = self.model.config.image_token_id
        self._attended: dict[int, tuple] = {}  # by layer, what its attention was computed from
        for layer in GUIDED_LAYERS:
            attention = self.model.language_model.layers[layer].self_attn
            attention.register_forward_pre_hook(partial(self._keep, layer), with_kwargs=True)

    def _keep(self, layer: int, module, arguments: tuple, kwargs: dict) -> None:
        self._attended[layer] = (kwargs["hidden_states"], kwargs["position_embeddings"])

    def train_for(self, leg: str) -> "Reader":
        """Freeze all weights but those that a leg trains."""
        for name, weight in self.named_parameters():
            weight.requires_grad_(name.startswith(TRAINED[leg]))
        return self

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

    def look_loss(self, batch: Batch) -> tuple[torch.Tensor, float]:
        """Measure how far guided heads look elsewhere, in the forward pass just made.

        Returns
        -------
        loss
            Mean of minus the log of the attention that falls on the right tokens.
        share
            That attention's mean.
        """
        from transformers.models.qwen2.modeling_qwen2 import rotate_half

        sequence, place = torch.from_numpy(batch.rows).T
        right, mask = torch.from_numpy(batch.looks), torch.from_numpy(batch.mask[:, 0])
        config, losses, share = self.model.config.text_config, [], 0.0
        size = config.hidden_size // config.num_attention_heads
        shared = config.num_attention_heads // config.num_key_value_heads
        for layer in GUIDED_LAYERS:
            hidden, (cos, sin) = self._attended[layer]
            attention = self.model.language_model.layers[layer].self_attn
            # heads in the order of Qwen2: `shared` of them have one key head
            query = attention.q_proj(hidden[sequence, place])[:, : GUIDED_HEADS * size]
            query = query.unflatten(-1, (GUIDED_HEADS // shared, shared, size))
            cos_q, sin_q = cos[sequence, place, None, None], sin[sequence, place, None, None]
            query = query * cos_q + rotate_half(query) * sin_q
            key = attention.k_proj(hidden)[..., : GUIDED_HEADS // shared * size]
            key = key.unflatten(-1, (GUIDED_HEADS // shared, size))
            key = key * cos[:, :, None] + rotate_half(key) * sin[:, :, None]
            scores = torch.einsum("nghd,nkgd->nghk", query, key[sequence]).float() / size**0.5
            scores = scores.masked_fill(~mask[sequence, place][:, None, None], -1e9)
            found = scores.log_softmax(-1).masked_fill(~right[:, None, None], -1e9).logsumexp(-1)
            losses.append(-found.mean())
            share += found.exp().mean().item() / len(GUIDED_LAYERS)
        return torch.stack(losses).mean(), share

    def lesson_loss(self, batch: Batch, visual: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """Return a batch's loss, with the heads' guidance, and figures to show."""
        logits, want = self.answer_logits(batch, visual)
        loss = functional.cross_entropy(logits, want)
        right, total = exact_share(batch, logits.detach())
        figures = {f"{batch.kind}-loss": loss.item(), f"{batch.kind}-exact": right / total}
        if len(batch.rows):
            guidance, figures["look"] = self.look_loss(batch)
            loss = loss + guidance
        return loss, figures

    def read_symbols(self, batch: Batch, noise: float = 0.0) -> torch.Tensor:
        """Look the batch's symbols up: visual tokens [N, WIDTH], with noise while training."""
        visual = self.table(torch.from_numpy(batch.symbols()).to(self.table.weight.dtype))
        return visual + noise * visual.std() * torch.randn_like(visual) if noise else visual


def exact_share(batch: Batch, logits: torch.Tensor) -> tuple[int, int]:
    """Count answers whose every token is the likeliest: (right, all)."""
    want = batch.labels[:, 1:]
    rows, columns = np.nonzero(want != IGNORED)
    target = want[rows, columns]
    right = (logits.argmax(-1).numpy() == target).astype(int)
    begins = np.r_[True, target[:-1] == target[-1]]  # every answer ends with the same token
    whole = np.minimum.reduceat(right, np.flatnonzero(begins))
    return int(whole.sum()), len(whole)


@torch.inference_mode()
def gate_figures(reader: Reader, packer: Packer, see: Callable, batches: int = 4) -> dict:
    """Measure the exact share per kind of question on so many batches of held-out scenes."""
    figures = {}
    for label, (kind, most) in GATE_KINDS.items():
        rng = np.random.default_rng([SEED["gate"], most])
        right = total = 0
        for number in range(batches):
            batch = packer.batch(rng, kind, TOKENS_A_STEP, most)
            batch.seed = (SEED["gate"], number)
            got = exact_share(batch, reader.answer_logits(batch, see(batch))[0])
            right, total = right + got[0], total + got[1]
        figures[label] = round(right / total, 4)
    return figures


def portions(shares: dict[str, float], strips: bool) -> list[float]:
    """Return how often each of `KINDS` comes, what strips leave given to the others."""
    kept = np.array([shares[kind] * (strips or kind != "strip") for kind in KINDS])
    return (kept / kept.sum()).tolist()


def language(
    folder: Path, steps: int, minutes: float, echo: Echo = print, strips: bool = True,
    gate_batches: int = 4,
) -> bool:  # fmt: skip
    """Leg 1: the language model learns its questions on symbols."""
    tokenizer = make_tokenizer()
    packer, reader = Packer(tokenizer, strips), Reader(tokenizer).train_for("language")
    leg = Leg("language", reader, folder, steps, 1e-3)
    shares = portions(SHARES, strips)

    def lesson_loss(rng, kind: str, tokens: int, most: int):
        batch = packer.batch(rng, kind, tokens, most)
        return reader.lesson_loss(batch, reader.read_symbols(batch, noise=0.1))

    def loss_of(step: int):
        rng = np.random.default_rng([SEED["language"], step])
        torch.manual_seed(step)
        done = step / steps  # sets grow, so that small ones are found before large ones
        most = 4 if done < 0.1 else 8 if done < 0.2 else 16 if done < 0.35 else PAGES
        if done < INDEX_ALONE:
            return lesson_loss(rng, "index", TOKENS_A_STEP, most)
        index, figures = lesson_loss(rng, "index", TOKENS_A_STEP // 3, most)
        kind = str(rng.choice(KINDS, p=shares))
        loss, more = lesson_loss(rng, kind, 2 * TOKENS_A_STEP // 3, most)
        return loss + 0.5 * index, figures | more

    measure = partial(gate_figures, reader, packer, reader.read_symbols, gate_batches)
    bounds = {"picture": 0.9, "pick of 2": 0.9, "pick of 4": 0.85, "pick of 8": 0.8}
    bounds |= {"strip": 0.8} if strips else {}
    return leg.reach_gate(loss_of, measure, bounds, minutes, echo)
