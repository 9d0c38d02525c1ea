"""Small checkpoints and adapters in LLaVA's format, written as the original code writes them."""

import json

import torch
from safetensors.torch import save_file

WIDTH, TOWER, LAYERS, SIDE, PATCH = 32, 24, 2, 56, 14
CLIP = {
    "model_type": "clip_vision_model", "hidden_size": TOWER, "intermediate_size": 40,
    "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH,
    "projection_dim": 16,
}  # fmt: skip
LLAVA = {
    "architectures": ["LlavaQwenForCausalLM"], "model_type": "llava_qwen",
    "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 262, "hidden_act": "silu",
    "rms_norm_eps": 1e-6, "rope_theta": 1e6, "rope_scaling": None, "tie_word_embeddings": False,
    "max_position_embeddings": 4096, "bos_token_id": 257, "eos_token_id": 257,
    "mm_hidden_size": TOWER, "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch", "mm_patch_merge_type": "unires",
    "mm_spatial_pool_stride": 2, "mm_spatial_pool_mode": "average", "mm_resampler_type": None,
    "mm_use_im_start_end": False, "image_aspect_ratio": "anyres", "use_cache": True,
}  # fmt: skip
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tensors():
    """Random weights under the names of the original classes."""
    random = torch.Generator().manual_seed(0)

    def made(*shape, scale=0.3):
        return torch.randn(*shape, generator=random) * scale

    def linear(name, out, into, bias=True):
        found = {f"{name}.weight": made(out, into)}
        return found | ({f"{name}.bias": made(out)} if bias else {})

    def norm(name, width, bias=True):
        found = {f"{name}.weight": 1 + made(width, scale=0.1)}
        return found | ({f"{name}.bias": made(width, scale=0.1)} if bias else {})

    clip = "model.vision_tower.vision_tower.vision_model"
    found = {
        "model.embed_tokens.weight": made(262, WIDTH), "lm_head.weight": made(262, WIDTH),
        f"{clip}.embeddings.class_embedding": made(TOWER),
        f"{clip}.embeddings.patch_embedding.weight": made(TOWER, 3, PATCH, PATCH, scale=0.1),
        f"{clip}.embeddings.position_embedding.weight": made((SIDE // PATCH) ** 2 + 1, TOWER),
    }  # fmt: skip
    found |= norm("model.norm", WIDTH, False)
    found |= norm(f"{clip}.pre_layrnorm", TOWER) | norm(f"{clip}.post_layernorm", TOWER)
    for i in range(3):
        layer = f"{clip}.encoder.layers.{i}"
        for part in "kvq":
            found |= linear(f"{layer}.self_attn.{part}_proj", TOWER, TOWER)
        found |= linear(f"{layer}.self_attn.out_proj", TOWER, TOWER)
        found |= linear(f"{layer}.mlp.fc1", 40, TOWER) | linear(f"{layer}.mlp.fc2", TOWER, 40)
        found |= norm(f"{layer}.layer_norm1", TOWER) | norm(f"{layer}.layer_norm2", TOWER)
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        found |= linear(f"{layer}.self_attn.q_proj", WIDTH, WIDTH)
        found |= linear(f"{layer}.self_attn.k_proj", 16, WIDTH)
        found |= linear(f"{layer}.self_attn.v_proj", 16, WIDTH)
        found |= linear(f"{layer}.self_attn.o_proj", WIDTH, WIDTH, False)
        for part, shape in (("gate", (48, WIDTH)), ("up", (48, WIDTH)), ("down", (WIDTH, 48))):
            found |= linear(f"{layer}.mlp.{part}_proj", *shape, False)
        found |= norm(f"{layer}.input_layernorm", WIDTH, False)
        found |= norm(f"{layer}.post_attention_layernorm", WIDTH, False)
    found |= linear("model.mm_projector.0", WIDTH, TOWER)
    return found | linear("model.mm_projector.2", WIDTH, WIDTH)


WEIGHTS = tensors()


def write_tokenizer(folder):
    """Qwen2's files in small: bytes and three merges; eos and chat are not the evaluation's."""
    from tokenizers.pre_tokenizers import ByteLevel

    merges = ["t h", "th e", "r e"]
    words = [*sorted(ByteLevel.alphabet()), *(m.replace(" ", "") for m in merges)]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    added = {len(words) + i: {"content": text, "special": True} for i, text in enumerate(SPECIAL)}
    config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added}
    config |= {"eos_token": SPECIAL[0], "pad_token": SPECIAL[0], "chat_template": "{{ 'no' }}"}
    config |= {"additional_special_tokens": SPECIAL[1:]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_shards(folder, weights, kind="safetensors"):
    """Write weights as two shards with an index."""
    names, (stem, form) = list(weights), {
        "safetensors": ("model", "model-0000{}-of-00002.safetensors"),
        "bin": ("pytorch_model", "pytorch_model-0000{}-of-00002.bin"),
    }[kind]  # fmt: skip
    where = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard, file = {name: weights[name].clone() for name in part}, form.format(number)
        if kind == "bin":
            torch.save(shard, folder / file)
        else:
            save_file(shard, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": where}
    (folder / f"{stem}.{kind}.index.json").write_text(json.dumps(index))


def write_checkpoint(folder, weights=WEIGHTS, kind="safetensors", **settings):
    """Write a checkpoint folder in LLaVA's format; its tower's configuration lies beside it."""
    tower = folder.parent / "clip-tower"
    tower.mkdir(parents=True, exist_ok=True)
    (tower / "config.json").write_text(json.dumps(CLIP))
    folder.mkdir()
    config = LLAVA | {"mm_vision_tower": str(tower)} | settings
    (folder / "config.json").write_text(json.dumps(config))
    generation = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    write_tokenizer(folder)
    write_shards(folder, weights, kind)
    return folder


RANK, ALPHA = 4, 8
_FRONT = "base_model.model.model."


def lora_tensors(tower=True):
    """LoRA's A and B as peft names them on the original classes, and the trained projector."""
    random = torch.Generator().manual_seed(1)
    kinds = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    found = {}
    for name, weight in WEIGHTS.items():
        module = name.removesuffix(".weight")
        wanted = module.endswith(kinds) and (tower or "vision_tower" not in name)
        if weight.ndim == 2 and wanted and name.endswith(".weight"):
            front = f"{_FRONT}{module.removeprefix('model.')}"
            found[f"{front}.lora_A.weight"] = torch.randn(RANK, weight.shape[1], generator=random)
            found[f"{front}.lora_B.weight"] = torch.randn(weight.shape[0], RANK, generator=random)
    found = {name: tensor * 0.1 for name, tensor in found.items()}
    projector = {
        name: torch.randn(WEIGHTS[name].shape, generator=random) * 0.3
        for name in WEIGHTS
        if "mm_projector" in name
    }
    return found, projector


def write_adapter(folder, tower=True, lora=None, projector=None, **settings):
    """Write an adapter as LLaVA's trainer leaves it."""
    made = lora_tensors(tower)
    lora, projector = lora or made[0], made[1] if projector is None else projector
    folder.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.05}
    config |= {"bias": "none", "task_type": "CAUSAL_LM", "modules_to_save": None}
    config |= {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]}
    config |= {"base_model_name_or_path": "./pretrained/LongVA-7B-DPO", "use_dora": False}
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))
    save_file(lora, folder / "adapter_model.safetensors", {"format": "pt"})
    stored = {f"base_model.model.{name}": tensor for name, tensor in projector.items()}
    torch.save(stored, folder / "non_lora_trainables.bin")
    return folder


def merged(tower=True):
    """The weights with LoRA's product added by hand and the projector put in."""
    lora, projector = lora_tensors(tower)
    whole = WEIGHTS | projector
    for name, a in lora.items():
        if name.endswith("lora_A.weight"):
            b = lora[name.replace("lora_A", "lora_B")]
            base = "model." + name.removeprefix(_FRONT).replace(".lora_A", "")
            whole[base] = whole[base] + ALPHA / RANK * b @ a
    return whole


def composition(weights, pixels, before, after):
    """The documented order of operations, step by step; returns the logits of the prompt."""
    from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM

    def under(prefix):
        return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}

    # hidden layer -2 of three layers is what comes out of a tower of two
    tower = CLIPVisionModel(CLIPVisionConfig(**(CLIP | {"num_hidden_layers": 2}))).eval()
    result = tower.load_state_dict(under("model.vision_tower.vision_tower.vision_model."), False)
    assert not result.missing_keys
    patches = tower(pixels).last_hidden_state[:, 1:]  # without the class token
    hidden = torch.nn.functional.gelu(
        patches @ weights["model.mm_projector.0.weight"].T + weights["model.mm_projector.0.bias"]
    )
    hidden = hidden @ weights["model.mm_projector.2.weight"].T
    hidden = hidden + weights["model.mm_projector.2.bias"]
    half = SIDE // PATCH // 2  # pooling is the mean of each 2 x 2 patches
    visual = hidden.reshape(len(pixels), half, 2, half, 2, WIDTH).mean((2, 4)).reshape(-1, WIDTH)
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "rms_norm_eps",
             "num_attention_heads", "num_key_value_heads")  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": LLAVA["rope_theta"]}
    config = Qwen2Config(**{k: LLAVA[k] for k in names}, rope_parameters=rope)
    qwen = Qwen2ForCausalLM(config).eval()
    result = qwen.load_state_dict(weights, strict=False)
    assert not result.missing_keys
    embeds = [qwen.model.embed_tokens(torch.tensor(ids)) for ids in (before, after)]
    row = torch.cat([embeds[0], visual, embeds[1]])[None]
    return qwen(inputs_embeds=row).logits[0]
