"""Getting a local checkpoint into memory: where it lies, which device, which numbers."""

from importlib.util import find_spec

import torch
from transformers import BitsAndBytesConfig
from transformers.utils import logging as library

from numpro.spans import one_of

QUANTIZATIONS = ("8bit", "4bit")
ATTENTIONS = ("sdpa", "flash_attention_2", "eager")
# what lies between vision tower and language model: in LongVA, LLaVA, Qwen-VL
PROJECTORS = ("projector", "multi_modal_projector", "merger", "deepstack_merger_list")
# Parts that are small or trained in full, and so never quantized; as regular expressions from a
# name's beginning, which is how the library reads them.
KEPT_WHOLE = [rf"(.*\.)?{part}" for part in ("lm_head", "vision_tower", "visual", *PROJECTORS)]


def pick_device(device: str = "auto") -> str:
    """Return a torch device name; ``auto`` is a GPU where there is one."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_dtype(dtype: str, device: str) -> torch.dtype:
    """Return a torch dtype; ``auto`` is bfloat16 but for a CPU that does not compute in it.

    What the CPU can do is asked and not timed: the processes of a run must not differ.

    Raises
    ------
    ValueError
        For a name that is not float32, bfloat16, float16 or auto.
    """
    one_of("dtype", dtype, ("auto", "float32", "bfloat16", "float16"))
    if dtype != "auto":
        return getattr(torch, dtype)
    if device != "cpu":
        return torch.bfloat16
    able = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch do not tell
    computes = any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if computes else torch.float32


def weight_options(device: str, dtype: str, quantization: str | None, attention: str) -> dict:
    """Return what ``from_pretrained`` is told: numbers, quantization, attention, no foreign code.

    Parameters
    ----------
    device, dtype
        As `pick_device` gave it; as `pick_dtype` takes it.
    quantization
        None, ``8bit`` or ``4bit`` (bitsandbytes, NF4 with double quantization).
    attention
        ``sdpa``, ``flash_attention_2`` (where it is installed) or ``eager``.

    Raises
    ------
    ValueError
        For a name that is none of these.
    ImportError
        When bitsandbytes or flash-attention is asked for and is not installed.
    """
    one_of("attention", attention, ATTENTIONS)
    library.disable_progress_bar()
    kind = pick_dtype(dtype, device)
    options = {"dtype": kind, "attn_implementation": attention, "trust_remote_code": False}
    if attention == "flash_attention_2" and not find_spec("flash_attn"):
        needed = "attention='flash_attention_2' needs the package flash-attn and a GPU it knows"
        raise ImportError(f"{needed}; without it use attention='sdpa'")
    if quantization is not None:
        one_of("quantization", quantization, QUANTIZATIONS)
        if not find_spec("bitsandbytes"):
            raise ImportError(
                f"quantization={quantization!r} needs bitsandbytes; pip install 'numpro[quantize]'"
            )
        options["quantization_config"] = BitsAndBytesConfig(
            **{f"load_in_{quantization}": True},
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=kind,
            llm_int8_skip_modules=KEPT_WHOLE,
        )
    if quantization is not None or device != "cpu":
        options["device_map"] = device  # straight to its place, not by way of the CPU
    return options
