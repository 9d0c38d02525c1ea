"""A checkpoint's weights, all of them and no others.

The library fills what a file lacks with random numbers and leaves out what it does not know, with a
warning. A model that was read so answers, and its answers mean nothing: here it is refused.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from transformers import PreTrainedModel
from transformers.utils import logging as library

from numpro.models.files import FACTS

# Computed anew by every version of the library, though some store them.
COMPUTED = re.compile(r"(rotary_emb\.(original_)?inv_freq|position_ids|num_batches_tracked)$")
UNGATHERED = (
    "empty tensors are what DeepSpeed's ZeRO-3 leaves in a file when each process saves its own "
    "part: gather them with zero_to_fp32.py, or save with stage3_gather_16bit_weights_on_model_save"
)


def read_weights(auto: type, folder: str, options: Mapping, **more) -> PreTrainedModel:
    """Read a model, and refuse it when its files lack a tensor or hold one that nothing takes.

    Parameters
    ----------
    auto
        What has ``from_pretrained``.
    folder
        The checkpoint: folder or hub id.
    options, more
        Arguments of ``from_pretrained``.

    Raises
    ------
    ValueError
        Naming the tensors, what their names look like and what to do.
    """
    before = library.get_verbosity()
    library.set_verbosity_error()  # its own table of them is a page long
    try:
        model, found = auto.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **options, **more
        )
    finally:
        library.set_verbosity(before)
    odd = found["mismatched_keys"]
    shapes = {n: f"{n} {tuple(stored)} for {tuple(ours)}" for n, stored, ours in odd}
    missing = {*found["missing_keys"]} - {*shapes}
    faults = {"missing": missing, "left over": found["unexpected_keys"]}
    refuse_weights(folder, faults | {"of another shape": shapes.values()})
    return model


def refuse_weights(folder: str | Path, faults: Mapping[str, Iterable[str]]) -> None:
    """Raise a ValueError when tensors of a checkpoint are at fault.

    Parameters
    ----------
    folder
        The checkpoint.
    faults
        What is wrong, and the names of the tensors it is wrong with.
    """
    faults = {what: {n for n in names if not COMPUTED.search(n)} for what, names in faults.items()}
    lines = [f"{len(names)} {what}: {shorten(names)}" for what, names in faults.items() if names]
    if not lines:
        return
    every = {name for names in faults.values() for name in names}
    advice = "copy what lacks from the base checkpoint, or fetch it again"
    if not faults.get("missing") and not faults.get("of another shape"):
        advice = "the checkpoint is of another class, or remove from it what this one does not have"
    hints = [f"names look like {origin}" for form, origin in FACTS["origins"].items()
             if any(re.search(form, name) for name in every)]  # fmt: skip
    files = Path(folder).glob("*.safetensors")  # one without tensors has 40 bytes
    if any(" (0,) for " in name for name in every) or any(f.stat().st_size < 99 for f in files):
        hints = [UNGATHERED]
    advice = "; ".join(hints) or advice
    raise ValueError(f"{folder} does not hold the model's weights; tensors {'; '.join(lines)}; "
                     f"{advice}")  # fmt: skip


def shorten(names: Iterable[str], limit: int = 5) -> str:
    """Return the first of the names, in order, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
