"""The LLaVA format of LongVA-7B-DPO: how its files are read, and what is called how in ours.

`LlavaQwenForCausalLM` (LongVA repository, ``llava_arch.py``) makes of the frames of a video:
hidden layer -2 of the CLIP tower without its class token, then the two-layer projector, then
average pooling over the patch grid, all frames in one row where ``<image>`` stands. That is what
`numpro.models.longva.modeling` computes, so a checkpoint needs other names only.
"""

import re
from pathlib import Path

import torch
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel
from transformers.models.qwen2 import Qwen2Config, Qwen2Tokenizer

from numpro.models.files import not_found, read_json
from numpro.models.longva.modeling import LongvaConfig, LongvaForConditionalGeneration
from numpro.models.weights import load_tensors, refuse_weights, weight_files
from numpro.paths import find_model, yaml_beside

FACTS = yaml_beside(__file__, "llava.yaml")
IMAGE, TURN_START, TURN_END, PAD = "<image>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"


def rename(name: str) -> str:
    """Return our name of a tensor.

    >>> rename("model.layers.3.mlp.up_proj.weight"), rename("lm_head.weight")
    ('language_model.layers.3.mlp.up_proj.weight', 'lm_head.weight')
    """
    for pattern, ours in FACTS["names"].items():
        name = re.sub(pattern, ours, name)  # ours fit no pattern
    return name


def tower_config(name: str) -> CLIPVisionConfig:
    """Return the configuration of the vision tower that a checkpoint names.

    Raises
    ------
    ValueError
        For a tower that is not CLIP's.
    FileNotFoundError
        When the tower is neither a folder here nor on the hub.
    """
    where = find_model(name)
    if not Path(where).is_dir() and name.rstrip("/").endswith("clip-vit-large-patch14-336"):
        return CLIPVisionConfig(**FACTS["clip_336"])
    advice = "fetch it, and name its folder as the vision tower"
    with not_found(f"no vision tower at {name!r}; {advice}"):
        kind = CLIPVisionConfig.get_config_dict(where)[0].get("model_type")
    if kind not in ("clip", "clip_vision_model"):
        raise ValueError(f"the vision tower must be CLIP's; {name!r} is {kind!r}")
    return CLIPVisionConfig.from_pretrained(where)


def load_tower(tower: str) -> CLIPVisionModel:
    """Load the vision tower a checkpoint names but does not hold.

    Raises
    ------
    FileNotFoundError
        When its weights are neither here nor on the hub.
    """
    advice = "the checkpoint names it and does not hold its weights; fetch it"
    with not_found(f"no vision tower at {tower!r}: {advice}"):
        return CLIPVisionModel.from_pretrained(find_model(tower))


def read_config(folder: Path, tower: str | None = None) -> tuple[LongvaConfig, str]:
    """Turn the ``config.json`` of a checkpoint into ours; return it and the tower's name.

    ``rope_scaling`` is left out as the original class does.

    Raises
    ------
    ValueError
        For a setting our class does not compute, naming it.
    """
    raw = read_json(folder / "config.json")
    for key, setting in FACTS["settings"].items():
        value = setting["default"] if raw.get(key) is None else raw[key]
        if value not in setting["accepted"]:
            known = " or ".join(map(repr, setting["accepted"]))
            raise ValueError(f"{folder}: {key} must be {known} to be LongVA; got {value!r}")
    tower = tower or raw.get("mm_vision_tower")
    if not tower:
        raise ValueError(f"{folder}: config.json names no mm_vision_tower; give its folder")
    vision = tower_config(tower)
    if raw.get("mm_hidden_size", vision.hidden_size) != vision.hidden_size:
        difference = f"mm_hidden_size is {raw['mm_hidden_size']}, the tower's {vision.hidden_size}"
        raise ValueError(f"{folder}: {difference}; name the folder of the tower of its training")
    tokens = read_tokenizer(folder)
    text = {key: value for key, value in raw.items() if key in FACTS["text"]}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": raw.get("rope_theta", 1e4)}}
    ids = {"bos_token_id": None, "eos_token_id": tokens.eos_token_id}
    config = LongvaConfig(
        vision_config=vision,
        text_config=Qwen2Config(**text, **ids, pad_token_id=tokens.pad_token_id),
        vision_feature_layer=raw.get("mm_vision_select_layer", -2),
        pool_stride=raw.get("mm_spatial_pool_stride") or 2,
        image_token_id=tokens.convert_tokens_to_ids(IMAGE),
    )
    config.architectures = [LongvaForConditionalGeneration.__name__]
    return config, tower


def read_tokenizer(folder: Path) -> Qwen2Tokenizer:
    """Return the checkpoint's tokenizer, set up as the published evaluation uses it.

    One token more stands for a visual token. The original has no such token: it cuts the text at
    ``<image>``, which gives the same tokens on both sides.

    Raises
    ------
    ValueError
        When it lacks the tokens of the chat.
    """
    tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    if lacking := {TURN_START, TURN_END, PAD} - set(tokenizer.get_vocab()):
        names = ", ".join(sorted(lacking))
        raise ValueError(f"{folder}: the tokenizer must be Qwen2's; it has no token {names}")
    tokenizer.eos_token, tokenizer.pad_token = TURN_END, PAD
    tokenizer.chat_template = FACTS["chat"]
    extra = {"extra_special_tokens": [TURN_START, IMAGE]}
    tokenizer.add_special_tokens(extra, replace_extra_special_tokens=False)
    return tokenizer


def image_processor(config: LongvaConfig, tower: str) -> CLIPImageProcessorPil:
    """Return the tower's image processor: its own where it lies here, else CLIP's."""
    where = Path(find_model(tower))
    if (where / "preprocessor_config.json").is_file():
        return CLIPImageProcessorPil.from_pretrained(where)
    side = config.vision_config.image_size
    crop = {"height": side, "width": side}
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=crop)


def our_tensors(folder: Path, config: LongvaConfig, tower: str) -> dict[str, torch.Tensor]:
    """Return a checkpoint's tensors under our names, with those of a tower that lies elsewhere.

    They are mapped into memory: names and shapes are compared before a value is read.

    Raises
    ------
    ValueError
        Naming what is missing, not known, or of another shape.
    FileNotFoundError
        When the weights of the tower are in none of the two places.
    """
    stored = {name: t for file in weight_files(folder) for name, t in load_tensors(file).items()}
    # that one is never used for a video; what is computed anew is not wanted, nor a fault
    names = {rename(name): name for name in stored if not name.endswith("image_newline")}
    with torch.device("meta"):
        wanted = LongvaForConditionalGeneration(config).state_dict()
    if config.tie_word_embeddings and "lm_head.weight" not in names:
        del wanted["lm_head.weight"]
    missing = set(wanted) - set(names)
    outside = {name for name in wanted if name.startswith("vision_tower.")}
    outside = outside if outside <= missing else set()
    unknown = {names[n] for n in set(names) - set(wanted)}
    shapes = {n: (stored[names[n]].shape, wanted[n].shape) for n in set(names) & set(wanted)}
    odd = {f"{names[n]} {tuple(a)} for {tuple(b)}" for n, (a, b) in shapes.items() if a != b}
    faults = {"missing": missing - outside, "not known": unknown, "of another shape": odd}
    refuse_weights(folder, faults)
    tensors = {ours: stored[name] for ours, name in names.items() if ours in wanted}
    if outside:
        tensors |= {f"vision_tower.{n}": t for n, t in load_tower(tower).state_dict().items()}
    return tensors
