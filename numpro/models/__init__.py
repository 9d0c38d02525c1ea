"""Video LLMs behind one protocol: `load_model` gives a `VideoModel`, whose `answer` is asked."""

from numpro.models.base import VideoModel

__all__ = ["VideoModel", "load_model"]

# model_type of the checkpoint's config -> (module, class)
_CLASSES = {"longva": ("numpro.models.longva", "Longva")}


def load_model(
    name_or_path: str, adapter: str | None = None, device: str = "auto", dtype: str = "auto"
) -> VideoModel:
    """Load a video LLM, with a fine-tuned adapter when one is given.

    Parameters
    ----------
    name_or_path
        A checkpoint folder, an embedded model such as ``flipbook/longva``, or a hub id.
    adapter
        A peft adapter folder or an embedded one such as ``flipbook/numpro-ft``; None or ``""``
        loads none.
    device
        ``auto`` takes a GPU where there is one, else the CPU; or a torch device name.
    dtype
        ``auto``, ``float32``, ``bfloat16`` or ``float16``. ``auto`` is bfloat16 on a GPU; on a
        CPU it is what a short matrix product shows to be faster.

    Raises
    ------
    FileNotFoundError
        When the model or adapter is not there.
    ValueError
        When the checkpoint's class is not one that can be asked here.
    """
    from importlib import import_module

    from transformers import AutoConfig

    import numpro.models.longva_model  # noqa: F401  (registers "longva" with the Auto classes)
    from numpro.paths import find_model

    folder = find_model(name_or_path)
    try:
        kind = AutoConfig.from_pretrained(folder).model_type
    except OSError as error:
        raise FileNotFoundError(f"no model at {name_or_path!r}: {error}") from error
    if kind not in _CLASSES:
        known = ", ".join(sorted(_CLASSES))
        raise ValueError(f"model type must be one of {known}; {name_or_path!r} is {kind!r}")
    module, cls = _CLASSES[kind]
    made = getattr(import_module(module), cls)
    return made.load(str(name_or_path), adapter=adapter or None, device=device, dtype=dtype)
