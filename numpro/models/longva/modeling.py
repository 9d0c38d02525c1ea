"""LongVA as one transformers model class.

A CLIP vision tower (hidden layer -2, patch tokens) -> two-layer GELU projector -> average
pooling over the patch grid, after the projector -> Qwen2. The frames of a video are
concatenated in order, without separators. This is the model family of NumPro-FT
(LongVA, arXiv 2406.16852, "UniRes" encoding of frames).
"""

import torch
from torch import nn
from transformers import Cache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.auto import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.clip import CLIPVisionConfig, CLIPVisionModel
from transformers.models.qwen2 import Qwen2Config, Qwen2Model

PROJECTOR = "projector"


class LongvaConfig(PreTrainedConfig):
    """Configuration of `LongvaForConditionalGeneration`.

    Parameters
    ----------
    vision_config, text_config
        `CLIPVisionConfig` and `Qwen2Config`, or dicts of their fields.
    vision_feature_layer : int
        Which hidden layer of the tower is read (-2: the last but one).
    pool_stride : int
        Side of the pooling window over the patch grid.
    image_token_id : int
        The placeholder token that stands for one visual token.
    """

    model_type = "longva"
    sub_configs = {"vision_config": CLIPVisionConfig, "text_config": Qwen2Config}
    vision_config: CLIPVisionConfig | dict | None = None
    text_config: Qwen2Config | dict | None = None
    vision_feature_layer: int = -2
    pool_stride: int = 2
    image_token_id: int = 0
    tie_word_embeddings: bool | None = None  # None: as the text's

    def __post_init__(self, **kwargs):
        for name, kind in self.sub_configs.items():
            if not isinstance(part := getattr(self, name), kind):
                setattr(self, name, kind(**(part or {})))
        if self.tie_word_embeddings is None:
            self.tie_word_embeddings = self.text_config.tie_word_embeddings
        super().__post_init__(**kwargs)

    @property
    def grid(self) -> int:
        """Side of the patch grid of a frame, before pooling."""
        return self.vision_config.image_size // self.vision_config.patch_size

    @property
    def tokens_per_frame(self) -> int:
        """Number of visual tokens a frame becomes (144 for LongVA at 336 px)."""
        return (self.grid // self.pool_stride) ** 2


class LongvaProjector(nn.Module):
    """The two-layer GELU projector, then average pooling over the patch grid."""

    def __init__(self, config: LongvaConfig):
        super().__init__()
        width = config.text_config.hidden_size
        self.linear_1 = nn.Linear(config.vision_config.hidden_size, width)
        self.linear_2 = nn.Linear(width, width)
        self.grid, self.stride = config.grid, config.pool_stride

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Turn patch features [F, grid * grid, D] into visual tokens [F, tokens, width]."""
        hidden = self.linear_2(nn.functional.gelu(self.linear_1(patches)))
        hidden = hidden.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return nn.functional.avg_pool2d(hidden, self.stride).flatten(2).transpose(1, 2)


class LongvaForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """LongVA with its language-model head; works with ``generate`` and peft."""

    config: LongvaConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["Qwen2DecoderLayer", "CLIPEncoderLayer"]
    _tied_weights_keys = {"lm_head.weight": "language_model.embed_tokens.weight"}

    def __init__(self, config: LongvaConfig):
        super().__init__(config)
        self.vision_tower = CLIPVisionModel(config.vision_config)
        self.projector = LongvaProjector(config)
        self.language_model = Qwen2Model(config.text_config)
        text = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are recomputed; peft asks by this name, transformers 5.23 warns."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    def patch_features(self, pixel_values: torch.Tensor, chunk: int = 32) -> torch.Tensor:
        """Run the vision tower: [F, 3, H, W] -> patch features [F, grid * grid, D]."""
        parts = []
        for pixels in pixel_values.split(chunk):
            states = self.vision_tower(pixels, output_hidden_states=True).hidden_states
            parts.append(states[self.config.vision_feature_layer][:, 1:])
        return torch.cat(parts)

    def _embed(self, input_ids, pixel_values, image_patches) -> torch.Tensor:
        """Embed tokens, visual tokens in the places of the image token.

        Raises
        ------
        ValueError
            When the number of image tokens is not the number of visual tokens.
        """
        here = input_ids == self.config.image_token_id
        # the image token need not have a row: a vocabulary may end before it
        embeds = self.get_input_embeddings()(input_ids.masked_fill(here, 0))
        if pixel_values is None and image_patches is None:
            return embeds
        if image_patches is None:
            image_patches = self.patch_features(pixel_values)
        visual = self.projector(image_patches).flatten(0, 1).to(embeds.dtype)
        if here.sum() != len(visual):
            found = f"the prompt has {int(here.sum())} image tokens, the frames give {len(visual)}"
            raise ValueError(f"{found}; each frame needs {self.config.tokens_per_frame}")
        return embeds.masked_scatter(here.unsqueeze(-1), visual)

    def forward(
        self, input_ids: torch.Tensor | None = None, pixel_values: torch.Tensor | None = None,
        image_patches: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None, past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None, labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0, **kwargs,
    ) -> CausalLMOutputWithPast:  # fmt: skip
        """Run the model.

        Parameters
        ----------
        input_ids : int64 [B, L]
            With one image token for each visual token, frames in the order of the batch.
        pixel_values : float [F, 3, H, W], optional
            All frames of the batch.
        image_patches : float [F, grid * grid, D], optional
            What `patch_features` gave for them, instead of `pixel_values`: the frozen tower
            need not run again. ``generate`` takes pixels only.
        labels : int64 [B, L], optional
            Targets; -100 is ignored.
        **kwargs
            Of the language model; and ``num_items_in_batch``, what the loss is divided by instead
            of this batch's own targets: the Trainer gives the targets of all it accumulates.

        Returns
        -------
        transformers.modeling_outputs.CausalLMOutputWithPast
        """
        if inputs_embeds is None:
            inputs_embeds = self._embed(input_ids, pixel_values, image_patches)
        outputs = self.language_model(
            inputs_embeds=inputs_embeds, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=past_key_values, **kwargs,
        )  # fmt: skip
        last = isinstance(logits_to_keep, int)
        places = slice(-logits_to_keep or None, None) if last else logits_to_keep
        logits, loss = self.lm_head(outputs.last_hidden_state[:, places]), None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.text_config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss, logits, outputs.past_key_values, outputs.hidden_states, outputs.attentions
        )


# The Auto classes know LongVA from now on.
AutoConfig.register("longva", LongvaConfig, exist_ok=True)
for _auto in (AutoModelForImageTextToText, AutoModelForCausalLM):
    _auto.register(LongvaConfig, LongvaForConditionalGeneration, exist_ok=True)
