"""Tiny random checkpoints of every class of transformers that can be asked, saved as it saves them.

``tiny_model("qwen2_vl")`` gives a folder with weights, a byte-level BPE tokenizer, the chat
template and the image processor of that class; made on first use, once a process.
"""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
)
QWEN_WORDS += r"|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
CORPUS = [
    "The event happens From Frame 3 to Frame 12.", "You are a helpful assistant. system user",
    "During which frames can we see a person opens the door? USER: ASSISTANT: <1.5 seconds>",
    "The red numbers on each frame represent the frame number. Answer in the format",
]  # fmt: skip
# as the published checkpoints have them
QWEN_CHAT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>"
    "system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<|vision_start|>"
    "<|image_pad|><|vision_end|>{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|>"
    "<|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_PARTS = "".join(
    "{% for content in message['content'] | selectattr('type', 'equalto', '" + kind + "') %}"
    "{{ '<" + kind + ">\n' }}{% endfor %}"
    for kind in ("image", "video")
)
_TEXT = "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
ONEVISION_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' \n' }}" + _PARTS + _TEXT
    + "{{ '\n' + content['text'] }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)  # fmt: skip
NEXT_CHAT = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}" + _PARTS + _TEXT
    + "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)  # fmt: skip
CLASSES = {
    "qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL",
    "llava_onevision": "LlavaOnevision", "llava_next_video": "LlavaNextVideo",
}  # fmt: skip
QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
LLAVA = ("llava_onevision", "llava_next_video")
KINDS = QWEN + LLAVA


def make_tokenizer(
    chat: str, bos: str | None = None, special: tuple[str, ...] | None = None,
    named: dict | None = None, eos: str = "<|im_end|>", begins: bool = True,
):  # fmt: skip
    """Train a byte-level BPE of some 400 tokens; with `bos` texts begin with it, as Llama's do.

    `special` are further tokens beside those that begin and end a turn; `named` those that the
    tokenizer knows by a name, such as ``image_token``. Without `begins`, `bos` is in the chat.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokens = (*SPECIAL, "<image>", "<video>") if special is None else (*SPECIAL[:3], *special)
    tokens = list(dict.fromkeys(filter(None, [*tokens, *(named or {}).values(), bos, eos])))
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    bytes_ = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400 if special is None and not named else 440, special_tokens=tokens,
        initial_alphabet=bytes_, show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(CORPUS * 50, trainer)
    if bos and begins:
        number = made.token_to_id(bos)
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, number)]
        )
    taken = {bos, eos, "<|endoftext|>", *(named or {}).values()}
    result = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=bos, eos_token=eos, pad_token="<|endoftext|>",
        padding_side="left", chat_template=chat, extra_special_tokens=named,
    )  # fmt: skip
    others = {"additional_special_tokens": [token for token in tokens if token not in taken]}
    result.add_special_tokens(others, replace_extra_special_tokens=False)
    return result


def _text(tokenizer, **more) -> dict:
    return {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 32768, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, **more,
    }  # fmt: skip


def qwen_config(kind: str, tokenizer, text: dict | None = None, vision: dict | None = None):
    """The configuration of a Qwen, tiny unless `text` and `vision` say otherwise."""
    import transformers

    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    tower = {"num_heads": 2, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
    if kind == "qwen2_vl":
        tower |= {"depth": 2, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
    else:
        tower |= {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 64, "depth": 2}
    if kind == "qwen2_5_vl":
        tower |= {"window_size": 56, "fullatt_block_indexes": [1], "tokens_per_second": 2}
    if kind == "qwen3_vl":
        rope |= {"mrope_section": [4, 2, 2], "mrope_interleaved": True}
        tower |= {"patch_size": 16, "num_position_embeddings": 256, "deepstack_visual_indexes": [0]}
    tokens = {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    tokens |= {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    return getattr(transformers, f"{CLASSES[kind]}Config")(
        text_config=_text(tokenizer, rope_parameters=rope, head_dim=16) | (text or {}),
        vision_config=tower | (vision or {}),
        tie_word_embeddings=True,
        **{f"{k}_token_id": tokenizer.convert_tokens_to_ids(v) for k, v in tokens.items()},
    )


def _llava_config(kind: str, tokenizer, text: dict, side: int):
    import transformers

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    tower |= {"image_size": side, "patch_size": 14, "num_hidden_layers": 2}
    words = {"model_type": "qwen2", **_text(tokenizer), **text}
    more = {"image_grid_pinpoints": [[side, side], [side, 2 * side], [2 * side, side]]}
    if kind == "llava_onevision":
        tower |= {"model_type": "siglip_vision_model", "vision_use_head": False}
        more |= {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}
        more |= {"tie_word_embeddings": True}
    else:
        tower |= {"model_type": "clip_vision_model", "projection_dim": 32, "num_hidden_layers": 3}
        words = {**words, "model_type": text.get("model_type", "llama")}
        grid = (side // 14) ** 2
        more |= {"image_seq_length": grid, "video_seq_length": grid // 4, "spatial_pool_stride": 2}
        more |= {"vision_feature_select_strategy": "default", "vision_feature_layer": -2}
    ids = {f"{k}_token_id": tokenizer.convert_tokens_to_ids(f"<{k}>") for k in ("image", "video")}
    made = getattr(transformers, f"{CLASSES[kind]}Config")
    return made(vision_config=tower, text_config=words, **more, **ids)


def _processors(kind: str, config) -> tuple[dict, dict]:
    """Return the image processor's and the video processor's settings, as files have them."""
    if kind in QWEN:
        size = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 256}
        patch = {"patch_size": config.vision_config.patch_size, "temporal_patch_size": 2}
        same = {"size": size, "merge_size": 2, **patch}
        half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3} if kind == "qwen3_vl" else {}
        video = "Qwen3VL" if kind == "qwen3_vl" else "Qwen2VL"
        return (
            {"image_processor_type": "Qwen2VLImageProcessor", **same, **half},
            {"video_processor_type": f"{video}VideoProcessor", **same, **half},
        )
    side = config.vision_config.image_size
    square = {"height": side, "width": side}
    size = {"size": square}
    if kind == "llava_next_video":
        size = {"size": {"shortest_edge": side}, "crop_size": square}
    pins = {"image_grid_pinpoints": config.image_grid_pinpoints}
    name = {"llava_onevision": "LlavaOnevision", "llava_next_video": "LlavaNext"}[kind]
    video = {"llava_onevision": "LlavaOnevision", "llava_next_video": "LlavaNextVideo"}[kind]
    return (
        {"image_processor_type": f"{name}ImageProcessor", **size, **pins},
        {"video_processor_type": f"{video}VideoProcessor", **size},
    )


def save_random(model, tokenizer, folder, std: float) -> None:
    """Save a model with weights so large that answers differ by film and by query."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=std)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build(kind: str, folder: Path, text: dict | None = None, side: int = 56) -> Path:
    """Write a checkpoint with random weights.

    `text` changes the language model's settings; `side` is that of the picture LLaVA's towers see.
    """
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    bos, chat = None, ONEVISION_CHAT
    if kind in QWEN:
        chat = QWEN_CHAT
    elif kind == "llava_next_video":
        bos, chat = "<s>", NEXT_CHAT
    tokenizer = make_tokenizer(chat, bos)
    if kind in QWEN:
        config = qwen_config(kind, tokenizer, text)
    else:
        config = _llava_config(kind, tokenizer, text or {}, side)
    torch.manual_seed(0)
    model = getattr(transformers, f"{CLASSES[kind]}ForConditionalGeneration")(config)
    save_random(model, tokenizer, folder, std=0.25)
    image, video = _processors(kind, config)
    processor = {"processor_class": f"{CLASSES[kind]}Processor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(image | processor))
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video | processor))
    if kind in LLAVA:
        more = {"num_image_tokens": (side // 14) ** 2, "vision_feature_select_strategy": "full"}
        if kind == "llava_next_video":
            more = {"patch_size": 14, "vision_feature_select_strategy": "default"}
            more |= {"num_additional_image_tokens": 1}
        (folder / "processor_config.json").write_text(json.dumps(more | processor))
    return folder


@cache
def _home() -> TemporaryDirectory:
    return TemporaryDirectory(prefix="tiny_models_")  # removed when the process ends


def home() -> Path:
    """Return the folder that tiny checkpoints of this process lie in."""
    return Path(_home().name)


@cache
def tiny_model(kind: str) -> Path:
    """Return the folder of a tiny checkpoint of a model type."""
    return build(kind, home() / kind)
