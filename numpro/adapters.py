"""Adapter folders: written whole, read back, and put on the right base.

A folder holds peft's own files, so that plain peft loads it, and ``numpro.json``: what it was
trained on and how, and so how it must be asked.
"""

import csv
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from numpro.models.base import ADAPTER_NOTES, read_notes
from numpro.models.loading import fingerprint_files, weights_folder
from numpro.paths import find_model, write_whole

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

LOG_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "val_mIoU")


def write_log(folder: Path, log: list[dict]) -> None:
    """Write ``log.csv`` in an adapter folder, whole or not at all."""
    rows = [",".join("" if row[c] is None else repr(row[c]) for c in LOG_COLUMNS) for row in log]
    write_whole(folder / "log.csv", "\n".join([",".join(LOG_COLUMNS), *rows]) + "\n")


def read_log(adapter: str | os.PathLike) -> list[dict]:
    """Read ``log.csv`` of an adapter folder: rows with step and loss, as `finetune` gave them.

    Raises
    ------
    FileNotFoundError
        When the folder has no log.
    """
    with open(Path(adapter) / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: float(v) if v else None for k, v in row.items()} for row in rows]


def save_adapter(
    peft_model: "PeftModel", out: Path, notes: dict, log: list[dict], state: dict | None = None
) -> None:
    """Write the adapter, its card and log, and last its notes.

    Everything is written beside its place first, so a full disk leaves what was there before.
    `state` are the weights where the model does not hold them whole (FSDP).
    """
    out.mkdir(parents=True, exist_ok=True)
    # the name, not the place on this machine; peft's own card would tell the place again
    peft_model.peft_config["default"].base_model_name_or_path = notes["base_model"]
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=out) as half:
        peft_model.save_pretrained(half, state_dict=state, save_embedding_layers=False)
        (Path(half) / "README.md").write_text(_card(notes), encoding="utf-8")
        for path in Path(half).iterdir():
            os.replace(path, out / path.name)
    write_log(out, log)
    write_whole(out / ADAPTER_NOTES, json.dumps(notes, indent=1) + "\n")


def _card(notes: dict) -> str:
    """Return the adapter's model card, in place of peft's empty form."""
    data, config = notes["data"], notes["config"]
    return (
        f"# LoRA adapter for {notes['base_model']}\n\n"
        f"Fine-tuned by numpro {notes['numpro']} (NumPro-FT, arXiv 2411.10332, section 4.1) on "
        f"{data['samples']} samples of {', '.join(data['parts'])}, fingerprint "
        f"{data['fingerprint']}: time encoding `{notes['time_encoding']}`, {notes['fps']:g} fps, "
        f"rank {config['lora_rank']}, alpha {config['lora_alpha']}, learning rate "
        f"{config['learning_rate']:g}, seed {config['seed']}. How it must be asked is in "
        f"`{ADAPTER_NOTES}`, the losses in `log.csv`.\n"
    )


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Let peft ask a model by a name that transformers 5.23 has renamed, without its warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield


def base_fingerprint(base: str) -> str:
    """Return the fingerprint that an adapter of a base notes.

    A converted checkpoint has that of its source, as long as its files are those that the
    conversion wrote: the weights are the same, so an adapter of the one fits the other.
    """
    own = fingerprint_files([base])
    converted = read_notes(weights_folder(base)).get("converted", {})
    return converted["source"] if converted.get("weights") == own else own


def attach(model: "PreTrainedModel", base: str, adapter: str) -> "tuple[PeftModel, dict]":
    """Put an adapter on a base model.

    Parameters
    ----------
    model
        The transformers model of `base`, without adapter.
    base, adapter
        Their names, as given to `numpro.models.load_model`.

    Returns
    -------
    peft.PeftModel, dict
        The model with its adapter, and the adapter's notes.

    Raises
    ------
    FileNotFoundError
        When there is no adapter.
    ValueError
        When it belongs to another base, or a file of it is broken.
    """
    from peft import PeftConfig, PeftModel
    from safetensors import SafetensorError

    from numpro.models.llava_adapter import adapter_notes, is_llava_adapter
    from numpro.models.llava_adapter import attach as attach_llava

    where = find_model(adapter)
    if is_llava_adapter(where):  # as the authors published it
        return attach_llava(model, where), adapter_notes(where)
    try:
        PeftConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"no adapter at {adapter!r}: {error}") from error
    notes = read_notes(weights_folder(adapter))
    trained = notes.get("base_fingerprint")
    if trained and trained not in (base_fingerprint(base), fingerprint_files([base])):
        raise ValueError(
            f"adapter {adapter!r} belongs to {notes['base_model']!r} (weights {trained}); "
            f"{base!r} has other weights"
        )
    try:
        with quiet_peft():
            # peft tells of keys it did not find by a warning only
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, where), notes
    except SafetensorError as error:
        raise ValueError(f"adapter {adapter!r} is broken: {error}; copy it anew") from error
    except (RuntimeError, ValueError, UserWarning) as error:
        reason = " ".join(str(error).split())[:160]
        trained = notes.get("base_model", "another base")
        raise ValueError(
            f"adapter {adapter!r}, trained on {trained!r}, does not fit {base!r}: {reason}"
        ) from error


def asked_otherwise(
    notes: dict, task: str, time_encoding: str, style: dict, seconds: Sequence[float]
) -> list[str]:
    """Say in what a question differs from how an adapter was trained.

    Parameters
    ----------
    notes
        The adapter's own; {} of a plain peft adapter, of which nothing is known.
    task, time_encoding, style
        As asked; the style as `numpro.models.base.as_dict` gives it.
    seconds
        Of the frames. A single one has no rate, and a video thinned to the most frames that
        training took has one of its own.

    Examples
    --------
    >>> trained = {"fps": 0.5, "time_encoding": "none"}
    >>> asked_otherwise(trained, "moment_retrieval", "none", {}, [0.0, 1.0, 2.0])
    ['was trained at 0.5 frames a second, it is asked at 1']
    """
    told = []
    trained = notes.get("time_encoding")
    if trained and trained != time_encoding:
        told.append(
            f"was trained with time encoding {trained!r}, it is asked with {time_encoding!r}"
        )
    drawn = notes.get("style")
    if drawn and trained == time_encoding == "overlay-index" and drawn != style:
        told.append(f"was trained with numbers {drawn}, it is asked with {style}")
    rate = notes.get("fps" if task == "moment_retrieval" else "highlight_fps")
    if rate and 1 < len(seconds) < (notes.get("max_frames") or 240):
        asked = (len(seconds) - 1) / (seconds[-1] - seconds[0])
        if abs(asked / rate - 1) > 0.02:
            told.append(f"was trained at {rate:g} frames a second, it is asked at {asked:.3g}")
    return told
