"""Adapter folders: written whole, read back, and put on the right base.

A folder holds peft's own files, so that plain peft loads it, and ``numpro.json``: what it was
trained on and how, and so how it must be asked.
"""

import csv
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import PreTrainedModel

from numpro.models import files
from numpro.paths import find_model, write_whole

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
    peft_model: PeftModel, out: Path, notes: dict, log: list[dict], state: dict | None = None
) -> None:
    """Write the adapter, its card and log, and last its notes.

    Everything is written beside its place first, so a full disk leaves what was there before.
    `state` are the weights where the model does not hold them whole (FSDP).
    """
    out.mkdir(parents=True, exist_ok=True)
    # the name, not the place on this machine; peft's own card would tell the place again
    peft_model.peft_config["default"].base_model_name_or_path = notes["base_model"]
    for left in out.glob(".writing-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=out) as half:
        peft_model.save_pretrained(half, state_dict=state, save_embedding_layers=False)
        (Path(half) / "README.md").write_text(_card(notes), encoding="utf-8")
        for path in Path(half).iterdir():
            os.replace(path, out / path.name)
    write_log(out, log)
    files.write_notes(out, notes)


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
        f"`{files.ADAPTER_NOTES}`, the losses in `log.csv`.\n"
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
    weights = files.fingerprint_files([base])
    converted = files.read_notes(files.weights_folder(base)).get("converted", {})
    return converted["source"] if converted.get("weights") == weights else weights


def attach_adapter(model: PreTrainedModel, base: str, adapter: str) -> tuple[PeftModel, dict]:
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
    where = find_model(adapter)
    try:
        PeftConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"no adapter at {adapter!r}: {error}") from error
    notes = files.read_notes(files.weights_folder(adapter))
    trained = notes.get("base_fingerprint")
    if trained and trained not in (base_fingerprint(base), files.fingerprint_files([base])):
        owner = f"{notes['base_model']!r} (weights {trained})"
        raise ValueError(f"adapter {adapter!r} belongs to {owner}; {base!r} has other weights")
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
