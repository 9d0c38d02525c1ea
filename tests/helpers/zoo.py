"""Tiny random checkpoints of video LLM classes, with their own processors at their real geometry.

``zoo_model("molmo2")`` gives a folder as ``save_pretrained`` writes it; made on first use, once a
process. Weights are random. Chat templates are short forms of the published ones: what they write
for one user's turn. Processors are their settings in a file, so that none has to be made here.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tiny_models import build, home, make_tokenizer, save_random


@dataclass(frozen=True)
class Tiny:
    """What a checkpoint is made of.

    Attributes
    ----------
    name
        Its classes are ``NameConfig``, ``NameProcessor`` and ``NameForConditionalGeneration``.
    config
        Fields of the configuration.
    tokenizer
        With the chat template.
    image, video
        Class and settings of its image and video processor.
    more
        Further fields of ``processor_config.json``.
    processor
        The processor's class, where it is another's.
    """

    name: str
    config: dict
    tokenizer: object
    image: tuple[str, dict]
    video: tuple[str, dict]
    more: dict = field(default_factory=dict)
    processor: str = ""


@dataclass(frozen=True)
class Kind:
    """How a type is made, a published checkpoint of it, and what it needs for images."""

    make: Callable[[], Tiny] | None  # None: of `tiny_models`
    checkpoint: str
    needs: tuple[str, ...] = ()

    @property
    def here(self) -> bool:
        """Whether its packages are installed, and transformers is new enough to know it."""
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as known,
        )

        name = next(name for name, one in ZOO.items() if one is self)
        # these two took their images from torchvision only, in earlier versions
        old = name in ("gemma4", "smolvlm") and version("transformers") < "5.23"
        needs = (*self.needs, *(("torchvision",) if old else ()))
        return name in known and all(map(find_spec, needs))


ZOO: dict[str, Kind] = {
    "qwen2_vl": Kind(None, "Qwen/Qwen2-VL-7B-Instruct"),
    "qwen2_5_vl": Kind(None, "Qwen/Qwen2.5-VL-7B-Instruct"),
    "llava_onevision": Kind(None, "llava-hf/llava-onevision-qwen2-7b-ov-hf"),
    "llava_next_video": Kind(None, "llava-hf/LLaVA-NeXT-Video-7B-hf"),
}
_SIDES = {"llava_onevision": 384, "llava_next_video": 336}  # as published


def kind(name: str, checkpoint: str, *needs: str) -> Callable:
    """Add a type to the zoo."""

    def add(make: Callable[[], Tiny]) -> Callable[[], Tiny]:
        ZOO[name] = Kind(make, checkpoint, needs)
        return make

    return add


def build_zoo_model(name: str, folder: Path) -> Path:
    """Write a checkpoint with random weights."""
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # settings of rotary embeddings that a class does not use
    if ZOO[name].make is None:
        return build(name, folder, side=_SIDES.get(name, 56))
    made = ZOO[name].make()
    config = getattr(transformers, f"{made.name}Config")(**made.config)
    torch.manual_seed(0)
    model = getattr(transformers, f"{made.name}ForConditionalGeneration")(config)
    save_random(model, made.tokenizer, folder, std=0.2)
    settings = {"processor_class": made.processor or f"{made.name}Processor", **made.more}
    for part, (kind_of, fields) in (("image", made.image), ("video", made.video)):
        settings[f"{part}_processor"] = {f"{part}_processor_type": kind_of, **fields}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


@cache
def zoo_model(name: str) -> Path:
    """Return the folder of a tiny checkpoint of a type."""
    return build_zoo_model(name, home() / "zoo" / name)


# --- what several have in common -----------------------------------------------------------------

VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
THINK = ("<think>", "</think>")
THINKING = (
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}"
)


def turns(before: str, image: str, video: str, after: str, answer: str, text: str = "c['text']"):
    """Return a template that writes one turn after another, its parts in their order."""
    part = f"{{% if c['type'] == 'image' %}}{image}{{% elif c['type'] == 'video' %}}{video}"
    part += f"{{% else %}}{{{{ {text} }}}}{{% endif %}}"
    return (
        f"{{% for m in messages %}}{before}{{% for c in m['content'] %}}{part}{{% endfor %}}{after}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{answer}{{% endif %}}"
    )


def chatml(image: str, video: str, opening: str = "") -> str:
    """Return a template in the form of Qwen's."""
    start = "<|im_start|>{{ m['role'] }}\n"
    return turns(start, image, video, "<|im_end|>\n", f"<|im_start|>assistant\n{opening}")


def llama(image: str, video: str, start: str, end: str, after: str) -> str:
    """Return a template in the form of Llama 3's."""
    head = f"{start}user{end}\n\n"
    return "{{ bos_token }}" + turns(head, image, video, after, f"{start}assistant{end}\n\n")


PADS = [f"<|vision_start|><|{name}_pad|><|vision_end|>" for name in ("image", "video")]


def text_config(tokenizer, layers: int = 2, **more) -> dict:
    """Return the fields of a tiny language model; those that are None are left out."""
    fields = {
        "vocab_size": len(tokenizer) + -len(tokenizer) % 8, "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": layers, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 65536,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id, **more,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}


def token_ids(tokenizer, **tokens: str) -> dict:
    """Return the ids of tokens, named as a configuration names them."""
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(t) for name, t in tokens.items()}


def tower(**more) -> dict:
    """Return the fields of a tiny vision tower in the words of CLIP and SigLIP."""
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return small | {"num_attention_heads": 2} | more


def qwen_tower(**more) -> dict:
    """Return the fields of a tiny vision tower in the words of Qwen."""
    return {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, **more}


QWEN_IDS = {"image": VISION[2], "video": VISION[3]}
QWEN_ENDS = QWEN_IDS | {"vision_start": VISION[0], "vision_end": VISION[1]}
TOWER3 = qwen_tower(
    patch_size=16, spatial_merge_size=2, temporal_patch_size=2, out_hidden_size=32,
    num_position_embeddings=2304,
)  # fmt: skip
MROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2, 2]}
INTERLEAVED = {**MROPE, "mrope_interleaved": True}
LINEAR = {
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "rope_parameters": {**INTERLEAVED, "partial_rotary_factor": 1.0},
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
SHARED_EXPERT = {**EXPERTS, "shared_expert_intermediate_size": 32}
SLIDING = ["sliding_attention"] * 3 + ["full_attention"]
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
# as the published files of Qwen3-VL have them
PATCHES3 = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
IMAGE3 = {"size": {"shortest_edge": 65536, "longest_edge": 16777216}, **PATCHES3, **HALF}
VIDEO3 = {"size": {"shortest_edge": 4096, "longest_edge": 25165824}, **PATCHES3}


def qwen3(name: str, text: dict, vision: dict, thinking: bool = False, processor: str = "") -> Tiny:
    """Return a class that shares the processor of Qwen3-VL."""
    special = (*VISION, *THINK) if thinking else VISION
    tokenizer = make_tokenizer(chatml(*PADS, THINKING if thinking else ""), special=special)
    layers = len(text.get("layer_types", (1, 2)))
    config = {"text_config": text_config(tokenizer, layers, **text), "vision_config": vision}
    image = dict(IMAGE3) if name != "Lfm3Vl" else {**IMAGE3, "size": {
        "shortest_edge": 4096, "longest_edge": 1048576}}  # fmt: skip
    return Tiny(
        name, config | token_ids(tokenizer, **QWEN_ENDS), tokenizer,
        ("Qwen2VLImageProcessor", image), ("Qwen3VLVideoProcessor", dict(VIDEO3)),
        processor=processor or "Qwen3VLProcessor",
    )  # fmt: skip


# --- the zoo -------------------------------------------------------------------------------------


@kind("qwen3_vl", "Qwen/Qwen3-VL-8B-Instruct")
def qwen3_vl() -> Tiny:
    text = {"rope_parameters": INTERLEAVED}
    return qwen3("Qwen3VL", text, {**TOWER3, "deepstack_visual_indexes": [0]})


@kind("qwen3_vl_moe", "Qwen/Qwen3-VL-30B-A3B-Instruct")
def qwen3_vl_moe() -> Tiny:
    text = {"rope_parameters": INTERLEAVED, **EXPERTS, "decoder_sparse_step": 1}
    return qwen3("Qwen3VLMoe", text, {**TOWER3, "deepstack_visual_indexes": [0]})


@kind("qwen3_5", "Qwen/Qwen3.5-9B")
def qwen3_5() -> Tiny:
    return qwen3("Qwen3_5", LINEAR, dict(TOWER3), thinking=True)


@kind("qwen3_5_moe", "Qwen/Qwen3.5-35B-A3B")
def qwen3_5_moe() -> Tiny:
    return qwen3("Qwen3_5Moe", LINEAR | SHARED_EXPERT, dict(TOWER3), thinking=True)


@kind("qwen4_exp", "none published yet")
def qwen4_exp() -> Tiny:
    more = {
        "hc_count": 2, "hc_lowrank": 8, "ple_layer_ids": [3], "ple_embed_dim": 16, "ngram_size": 3,
        "heads_per_ngram": 2, "ngram_vocab_size_base": 500, "make_ngram_vocab_size_divisible_by": 8,
        "split_ngram_parts": 1, "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16,
        "indexer_budget": 64, "indexer_compress_ratio": 4, "intermediate_size": None,
    }  # fmt: skip
    return qwen3("Qwen4Exp", LINEAR | SHARED_EXPERT | more, dict(TOWER3), thinking=True)


@kind("lfm3_vl", "LFM3-VL 2B")
def lfm3_vl() -> Tiny:
    text = {"model_type": "lfm3", "sliding_window": 64, "layer_types": [
        "conv", "conv", "full_attention", "conv"]}  # fmt: skip
    made = qwen3("Lfm3Vl", text, tower(num_key_value_heads=1), processor="Lfm3VlProcessor")
    made.config["projector_hidden_size"] = 64
    made.video[1].update(max_frames=384, cap_pixels_per_frame=False)
    return made


@kind("cosmos3_edge", "Cosmos3 Edge")
def cosmos3_edge() -> Tiny:
    tokenizer = make_tokenizer(chatml(*PADS), special=VISION)
    text = text_config(tokenizer, rope_parameters=INTERLEAVED)
    config = {"text_config": text, "vision_config": tower(), "projector_hidden_size": 64}
    return Tiny("Cosmos3Edge", config | token_ids(tokenizer, **QWEN_ENDS), tokenizer,
                ("Cosmos3EdgeImageProcessor", {}), ("Cosmos3EdgeVideoProcessor", {}))  # fmt: skip


@kind("cohere_compass", "Cohere Compass")
def cohere_compass() -> Tiny:
    special = ("<|VISION_START|>", "<|VISION_END|>", "<|IMAGE_PAD|>", "<|VIDEO_PAD|>")
    blocks = [f"{special[0]}{token}{special[1]}" for token in special[2:]]
    tokenizer = make_tokenizer(chatml(*blocks), special=special)
    rope = {**INTERLEAVED, "rope_theta": 1e4}
    text = text_config(
        tokenizer, 4, sliding_window=64, layer_types=SLIDING, head_dim=None,
        rope_parameters={"sliding_attention": rope, "full_attention": rope},
    )  # fmt: skip
    names = dict(zip(("vision_start", "vision_end", "image", "video"), special, strict=True))
    config = {"text_config": text, "vision_config": {**TOWER3, "deepstack_visual_indexes": [0]}}
    return Tiny(
        "CohereCompass", config | token_ids(tokenizer, **names), tokenizer,
        ("CohereCompassImageProcessor", {"patch_size": 16}), ("CohereCompassVideoProcessor", {}),
    )  # fmt: skip


@kind("exaone4_5", "EXAONE 4.5 33B")
def exaone4_5() -> Tiny:
    tokenizer = make_tokenizer(chatml(*PADS), special=VISION)
    text = text_config(tokenizer, 4, sliding_window=64, layer_types=SLIDING, model_type="exaone4")
    vision = qwen_tower(
        out_hidden_size=32, num_key_value_heads=1, fullatt_block_indexes=[1], window_size=112
    )
    config = {"text_config": text, "vision_config": vision, **token_ids(tokenizer, **QWEN_IDS)}
    return Tiny("Exaone4_5_", config, tokenizer, ("Qwen2VLImageProcessor", {}),
                ("Qwen2VLVideoProcessor", {}))  # fmt: skip


@kind("internvl", "OpenGVLab/InternVL3_5-8B-HF")
def internvl() -> Tiny:
    named = {"start_image_token": "<img>", "end_image_token": "</img>",
             "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}  # fmt: skip
    tokenizer = make_tokenizer(chatml("<IMG_CONTEXT>\n", "<video>\n"), named=named)
    config = {
        "vision_config": tower(image_size=448, patch_size=14), "image_seq_length": 256,
        "text_config": text_config(tokenizer, model_type="qwen3"),
        **token_ids(tokenizer, image="<IMG_CONTEXT>"),
    }  # fmt: skip
    size = {"size": {"height": 448, "width": 448}}
    image = size | {"crop_to_patches": True, "min_patches": 1, "max_patches": 12}
    return Tiny("InternVL", config, tokenizer, ("GotOcr2ImageProcessor", image),
                ("InternVLVideoProcessor", size), {"image_seq_length": 256})  # fmt: skip


@kind("molmo2", "allenai/Molmo2-8B", "torchvision")
def molmo2() -> Tiny:
    places = {
        "image_start": "<im_start>", "low_res_image_start": "<low_res_im_start>",
        "image_end": "<im_end>", "frame_start": "<frame_start>", "frame_end": "<frame_end>",
    }  # fmt: skip
    special = (*places.values(), "<im_patch>", "<im_col>", "<im_low>", "<|image|>", "<|video|>")
    # all pictures before all words, images numbered from 1: as published
    chat = (
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}{% set ns.n = ns.n + 1 %}Image {{ ns.n }}<|image|>"
        "{% elif c['type'] == 'video' %}<|video|>{% endif %}{% endfor %}{% endfor %}"
        + turns("<|im_start|>user\n", "", "", "<|im_end|>\n", "<|im_start|>assistant\n")
    )
    tokenizer = make_tokenizer(chat, "<|im_end|>", special=special)
    patch = tokenizer.convert_tokens_to_ids("<im_patch>")
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    rope = {"rope_type": "default", "rope_theta": 1e6}
    config = {
        "text_config": text_config(tokenizer, rope_parameters=rope, additional_vocab_size=8),
        "vision_config": tower(num_hidden_layers=3, image_size=[378, 378], patch_size=14, **heads),
        "adapter_config": {"vision_feature_layer": [2, 1], "hidden_size": 32, **heads,
                           "intermediate_size": 64, "text_hidden_size": 32},
        "image_patch_id": patch, **token_ids(tokenizer, **places),
    }  # fmt: skip
    return Tiny("Molmo2", config, tokenizer, ("Molmo2ImageProcessor", {}),
                ("Molmo2VideoProcessor", {}), {"use_single_crop_col_tokens": False})  # fmt: skip


def gemma(name: str, text: dict, vision: dict | None) -> Tiny:
    named = {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
    }
    # fmt: skip
    chat = "{{ bos_token }}" + turns(
        "<|turn>user\n", "<|image|>", "<|video|>", "<turn|>\n", "<|turn>model\n", "c['text'] | trim"
    )
    special = ("<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|video|>")
    tokenizer = make_tokenizer(chat, "<bos>", special=special, named=named, eos="<turn|>")
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    words = text_config(
        tokenizer, 6, global_head_dim=16, sliding_window=64, layer_types=kinds,
        use_bidirectional_attention="vision", **text,
    )  # fmt: skip
    ids = token_ids(tokenizer, image="<|image|>", video="<|video|>", boi="<|image>",
                    eoi="<image|>", audio="<|audio|>", boa="<|audio>")  # fmt: skip
    config = {"text_config": words, "vision_config": vision, "audio_config": None, **ids,
              "eoa_token_index": tokenizer.convert_tokens_to_ids("<audio|>")}  # fmt: skip
    audio = {"feature_extractor": {"feature_extractor_type": f"{name}AudioFeatureExtractor"}}
    return Tiny(name, config, tokenizer, (f"{name}ImageProcessor", {}),
                (f"{name}VideoProcessor", {}), audio)  # fmt: skip


@kind("gemma4", "Gemma 4 E4B")
def gemma4() -> Tiny:
    made = gemma("Gemma4", {"hidden_size_per_layer_input": 8, "num_kv_shared_layers": 3},
                 tower(num_key_value_heads=2, head_dim=16))  # fmt: skip
    text = made.config["text_config"]
    text["vocab_size_per_layer_input"] = text["vocab_size"]
    return made


@kind("gemma4_unified", "Gemma 4 12B", "torchvision")
def gemma4_unified() -> Tiny:
    made = gemma("Gemma4Unified", {}, {"mm_embed_dim": 32, "output_proj_dims": 32})
    return made


def glm(name: str, text: str = "", vision: str = "") -> Tiny:
    places = {"image_start": "<|begin_of_image|>", "image_end": "<|end_of_image|>",
              "video_start": "<|begin_of_video|>", "video_end": "<|end_of_video|>",
              "image": "<|image|>", "video": "<|video|>"}  # fmt: skip
    special = ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", *places.values(), *THINK)
    blocks = [f"<|begin_of_{k}|><|{k}|><|end_of_{k}|>" for k in ("image", "video")]
    chat = "[gMASK]<sop>\n" + turns("<|user|>\n", *blocks, "", "<|assistant|>\n" + THINKING)
    tokenizer = make_tokenizer(chat, special=special, eos="<|endoftext|>")
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3],
            "partial_rotary_factor": 1.0}  # fmt: skip
    kinds = [{"model_type": k} if k else {} for k in (text, vision)]
    config = {
        "text_config": text_config(tokenizer, rope_parameters=rope, **kinds[0]),
        "vision_config": qwen_tower(out_hidden_size=32, image_size=336, patch_size=14, **kinds[1]),
        **token_ids(tokenizer, **places),
    }  # fmt: skip
    return Tiny(name, config, tokenizer, (f"{name}ImageProcessor", {}),
                (f"{name}VideoProcessor", {}))  # fmt: skip


@kind("glm4v", "GLM-4.1V-9B-Thinking")
def glm4v() -> Tiny:
    return glm("Glm4v")


@kind("glm46v", "GLM-4.6V-Flash")
def glm46v() -> Tiny:
    return glm("Glm46V", "glm4v_text", "glm4v_vision")


def minicpm(name: str) -> Tiny:
    named = {f"{k}_{end}_token": f"<{slash}{word}>" for k, word in
             (("image", "image"), ("slice", "slice"), ("image_id", "image_id"))
             for end, slash in (("start", ""), ("end", "/"))}  # fmt: skip
    named |= {"image_token": VISION[2], "video_token": VISION[3]}
    tokenizer = make_tokenizer(chatml(*VISION[2:], THINKING), named=named, special=THINK)
    places = {}
    if name.endswith("7"):
        find = tokenizer.convert_tokens_to_ids
        places = {f"{k}_{end}_id": find(named[f"{k}_{end}_token"])
                  for k in ("image", "slice") for end in ("start", "end")}  # fmt: skip
        places["newline_id"] = tokenizer("\n").input_ids[0]
    config = {
        "text_config": {"model_type": "qwen3_5_text", **text_config(tokenizer, 4, **LINEAR)},
        "vision_config": tower(
            num_hidden_layers=4, image_size=980, patch_size=14, insert_layer_id=1
        ),
        "insert_layer_id": 1, **token_ids(tokenizer, **QWEN_IDS), **places,
    }  # fmt: skip
    return Tiny(name, config, tokenizer, ("MiniCPMV4_6ImageProcessor", {}),
                ("MiniCPMV4_6VideoProcessor", {}))  # fmt: skip


@kind("minicpmv4_6", "MiniCPM-V 4.6")
def minicpmv4_6() -> Tiny:
    return minicpm("MiniCPMV4_6")


@kind("minicpmv4_7", "MiniCPM-V 4.7")
def minicpmv4_7() -> Tiny:
    return minicpm("MiniCPMV4_7")


@kind("video_llama_3", "VideoLLaMA3-7B, converted")
def video_llama_3() -> Tiny:
    tokenizer = make_tokenizer(chatml(*VISION[2:]), special=VISION)
    config = {
        "text_config": text_config(tokenizer, model_type="qwen2"),
        "vision_config": tower(patch_size=14), **token_ids(tokenizer, **QWEN_IDS),
    }  # fmt: skip
    return Tiny("VideoLlama3", config, tokenizer, ("VideoLlama3ImageProcessor", {}),
                ("VideoLlama3VideoProcessor", {}))  # fmt: skip


@kind("perception_lm", "Perception-LM-8B", "torchvision", "timm")
def perception_lm() -> Tiny:
    special = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    named = {"image_token": "<|image|>", "video_token": "<|video|>"}
    chat = llama("<|image|>", "<|video|>", *special)
    tokenizer = make_tokenizer(
        chat, "<|begin_of_text|>", special=special, named=named, eos="<|eot_id|>"
    )
    arguments = {"embed_dim": 32, "img_size": [448, 448], "depth": 2, "num_heads": 2,
                 "global_pool": "", "ref_feat_shape": [32, 32]}  # fmt: skip
    vision = {
        "model_type": "timm_wrapper", "architecture": "vit_pe_core_large_patch14_336",
        "do_pooling": True, "num_classes": 32, "global_pool": "map", "model_args": arguments,
    }  # fmt: skip
    config = {
        "text_config": text_config(tokenizer, model_type="llama"), "vision_config": vision,
        "vision_use_cls_token": True, "projector_pooling_ratio": 2,
        **token_ids(tokenizer, image="<|image|>", video="<|video|>"),
    }  # fmt: skip
    return Tiny(
        "PerceptionLM", config, tokenizer, ("PerceptionLMImageProcessor", {}),
        ("PerceptionLMVideoProcessor", {}), {"patch_size": 14, "pooling_ratio": 2},
    )  # fmt: skip


@kind("smolvlm", "SmolVLM2-2.2B", "num2words")
def smolvlm() -> Tiny:
    named = {"fake_image_token": "<fake_token_around_image>", "image_token": "<image>",
             "end_of_utterance_token": "<end_of_utterance>", "video_token": "<video>",
             "global_image_token": "<global-img>"}  # fmt: skip
    start = (
        "{{ m['role'] | capitalize }}"
        "{% if m['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    )
    chat = "<|im_start|>" + turns(start, "<image>", "<video>", "<end_of_utterance>\n", "Assistant:")
    grid = tuple(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7))
    tokenizer = make_tokenizer(
        chat, "<|im_start|>", special=grid, named=named, eos="<end_of_utterance>", begins=False
    )
    config = {
        "text_config": text_config(tokenizer, model_type="llama"), "scale_factor": 3,
        "vision_config": tower(image_size=384, patch_size=14),
        **token_ids(tokenizer, image="<image>"),
    }  # fmt: skip
    most = {"max_image_size": {"longest_edge": 384}}
    image = {"size": {"longest_edge": 1536}, "do_image_splitting": True, **most, **HALF}
    sampling = {"max_frames": 64, "fps": 1, "video_size": {"longest_edge": 384}}
    video = {"size": {"longest_edge": 384}, "video_sampling": sampling, **most}
    return Tiny("SmolVLM", config, tokenizer, ("SmolVLMImageProcessor", image),
                ("SmolVLMVideoProcessor", video), {"image_seq_len": 81})  # fmt: skip


@kind("video_llava", "Video-LLaVA 7B")
def video_llava() -> Tiny:
    chat = turns("USER: ", "<image>\n", "<video>\n", " ", "ASSISTANT:")
    tokenizer = make_tokenizer(chat, "<s>", special=("<image>", "<video>"), eos="</s>")
    vision = tower(
        model_type="clip_vision_model", num_hidden_layers=3, image_size=224, patch_size=14,
        projection_dim=32,
    )  # fmt: skip
    config = {
        "vision_config": vision, "text_config": text_config(tokenizer, model_type="llama"),
        "image_seq_length": 256, "video_seq_length": 2056,
        **token_ids(tokenizer, image="<image>", video="<video>"),
    }  # fmt: skip
    size = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    more = {"patch_size": 14, "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1}  # fmt: skip
    return Tiny("VideoLlava", config, tokenizer, ("VideoLlavaImageProcessor", {}),
                ("VideoLlavaVideoProcessor", size), more)  # fmt: skip


@kind("muse_glimmer", "Muse Glimmer 30B", "torchvision")
def muse_glimmer() -> Tiny:
    special = ("<|header_start|>", "<|header_end|>", "<|eot|>", "<|patch|>", "<|image_start|>",
               "<|image_end|>", "<|video|>", "<|vid_frame_separator|>", "<|vid_start|>",
               "<|vid_end|>")  # fmt: skip
    chat = llama("<|patch|>", "<|video|>", *special[:3])
    tokenizer = make_tokenizer(chat, "<|begin_of_text|>", special=special, eos="<|eot|>")
    config = {
        "text_config": text_config(tokenizer, 4, sliding_window=64), "vision_config": tower(),
        "out_hidden_size": 128, "projector_hidden_size": 64,
        **token_ids(tokenizer, image="<|patch|>", video="<|video|>"),
    }  # fmt: skip
    return Tiny("MuseGlimmer", config, tokenizer, ("MuseGlimmerImageProcessor", {}),
                ("MuseGlimmerVideoProcessor", {}))  # fmt: skip


@kind("ernie4_5_vl_moe", "ERNIE 4.5 VL 28B-A3B")
def ernie4_5_vl_moe() -> Tiny:
    named = {
        f"{k}_{end}token": f"<|{k.upper()}_{word}|>"
        for k in ("image", "video")
        for end, word in (("", "PLACEHOLDER"), ("start_", "START"), ("end_", "END"))
    }
    # fmt: skip
    image, video = (f"<|{k}_START|><|{k}_PLACEHOLDER|><|{k}_END|>" for k in ("IMAGE", "VIDEO"))
    chat = turns("User: ", "Picture {{ loop.index }}:" + image, "Video 1:" + video, "\n",
                 "Assistant: ")  # fmt: skip
    tokenizer = make_tokenizer(chat, named=named)
    text = text_config(
        tokenizer, 3, moe_intermediate_size=[32, 16], moe_num_experts=4, moe_k=2,
        moe_num_shared_experts=1, head_dim=None,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [3, 3, 2]},
    )  # fmt: skip
    config = {"text_config": text, "vision_config": qwen_tower()} | token_ids(
        tokenizer, **{name.removesuffix("_token"): token for name, token in named.items()}
    )
    import numpro.numbers

    font = Path(numpro.numbers.__file__).parent / "fonts" / "DejaVuSans-Bold.ttf"
    return Tiny("Ernie4_5_VLMoe", config, tokenizer, ("Ernie4_5_VLMoeImageProcessor", {}),
                ("Ernie4_5_VLMoeVideoProcessor", {"font": str(font)}))  # fmt: skip
