"""The classes of video LLMs by the model type of a checkpoint, and how one is loaded."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module

from numpro.models.base import VideoModel
from numpro.models.files import FACTS, check_space, not_found
from numpro.paths import find_model

# model_type of the checkpoint's config -> (module, class)
_CLASSES = {
    "longva": ("numpro.models.longva.video_model", "Longva"),
    "llava_qwen": ("numpro.models.longva.video_model", "OriginalLongva"),
}
_GENERIC = ("numpro.models.transformers_vlm", "TransformersVlm")


def load_model(
    name: str, adapter: str | None = None, device: str = "auto", dtype: str = "auto", **options
) -> VideoModel:
    """Load a video LLM, with a fine-tuned adapter when one is given.

    A checkpoint that brings code of its own is refused: none is ever run.

    Parameters
    ----------
    name
        A checkpoint folder, an embedded model such as ``flipbook/longva``, a hub id, or
        ``openai:MODEL`` for a model behind an OpenAI-compatible server.
    adapter
        A peft adapter folder or an embedded one such as ``flipbook/numpro-ft``; None or ``""``
        loads none.
    device
        ``auto`` takes a GPU where there is one, else the CPU; or a torch device name.
    dtype
        ``auto``, ``float32``, ``bfloat16`` or ``float16``. ``auto`` is bfloat16, but float32 on a
        CPU without instructions for bfloat16; name one where processes run on unlike machines.
    **options
        Of every local model: ``quantization`` (None, ``8bit``, ``4bit``), ``attention``
        (``sdpa``, ``flash_attention_2``, ``eager``) and ``constrained`` (True holds answers to
        the form that is asked for, `numpro.models.constrained`). Of transformers' own:
        ``frames_as`` (``images``, ``video``), ``min_pixels`` and ``max_pixels`` of a frame,
        ``processor_kwargs`` and ``template_kwargs`` (mappings). Of a server: ``base_url``.

    Raises
    ------
    FileNotFoundError
        When the model or adapter is not there.
    ValueError
        When the checkpoint's class is not one that can be asked here, or for an unknown option.
    ImportError
        When an option needs a package that is not installed.
    """
    name, served = str(name), ("numpro.models.openai_api", "ServedModel")
    module, kind = served if name.startswith("openai:") else _class(name)
    options |= {"adapter": adapter or None, "device": device, "dtype": dtype}
    return getattr(import_module(module), kind).load(name, **options)


def check_model(name: str, adapters: Iterable[str] = ()) -> None:
    """Refuse what `load_model` would, as far as can be told without loading the weights."""
    if not name.startswith("openai:"):
        from numpro.models.adapters import open_adapter

        _class(name)
        check_space(name)
        for adapter in adapters:
            open_adapter(adapter, name)


def _class(name: str) -> tuple[str, str]:
    """Return module and class for a checkpoint, as its configuration says."""
    from transformers import PreTrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    with not_found(f"no model at {name!r}"):
        config, _ = PreTrainedConfig.get_config_dict(find_model(name))
    kind = config.get("model_type")
    if kind in _CLASSES:
        return _CLASSES[kind]
    known = kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    by_config = "an encoder-decoder" if config.get("is_encoder_decoder") else ""
    fault = FACTS["refused"].get(kind, by_config)
    if known and not fault:
        return _GENERIC
    note = f", {fault}" if fault else ""
    note += "; it brings its own code, which is not run" if "auto_map" in config else ""
    near = get_close_matches(str(kind), [*_CLASSES, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES], 3)
    note += f"; near are {', '.join(near)}" if near and not known else ""
    raise ValueError(
        f"model type must be one that transformers loads as image-text-to-text, with frames in a "
        f"user's turn, or {' or '.join(_CLASSES)}; {name!r} is {kind!r}{note}"
    )
