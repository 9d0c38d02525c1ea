"""Adapter folders: written whole, read back, and put on the right base.

A folder holds peft's own files, so that plain peft loads it, and ``numpro.json``: what it was
trained on and how, and so how it must be asked.
"""

import csv
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jinja2
from peft import PeftConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from transformers import PreTrainedModel

from numpro.models import files
from numpro.models.adapter_names import IN_FILES, FittedAdapter, fit_adapter, read_weights
from numpro.models.weights import fetch, shorten
from numpro.paths import write_whole

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
    form = Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8")
    card = jinja2.Template(form, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return card.render(notes | {"notes": files.ADAPTER_NOTES})


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


def open_adapter(adapter: str, base: str) -> tuple[Path, PeftConfig, dict]:
    """Return the folder, configuration and notes of an adapter, which must be one of this base.

    Raises
    ------
    FileNotFoundError
        When there is no adapter.
    ValueError
        When its notes name other weights than the base has (where these are on this machine).
    """
    folder = fetch(adapter, "adapter")
    with files.not_found(f"no adapter at {adapter!r}"):
        config = PeftConfig.from_pretrained(str(folder))
    notes = files.read_notes(folder)
    trained = notes.get("base_fingerprint")
    here = trained and files.weights_folder(base).is_dir()
    if here and trained not in (base_fingerprint(base), files.fingerprint_files([base])):
        owner = f"{notes['base_model']!r} (weights {trained})"
        raise ValueError(f"adapter {adapter!r} belongs to {owner}; {base!r} has other weights")
    return folder, config, notes


def attach_adapter(
    model: PreTrainedModel, base: str, adapter: str, fitted: FittedAdapter | None = None
) -> tuple[PeftModel, dict]:
    """Put an adapter on a base model, whatever names its file gives the base's modules.

    Parameters
    ----------
    model
        The transformers model of `base`, without adapter.
    base, adapter
        Their names, as given to `numpro.models.load_model`.
    fitted
        The adapter, where its files have another format than peft's; None reads them.

    Returns
    -------
    peft.PeftModel, dict
        The model with its adapter, and the adapter's notes.

    Raises
    ------
    FileNotFoundError
        When there is no adapter.
    ValueError
        When it belongs to another base, a file of it is broken, or it holds a weight for which
        there is no place.

    Warns
    -----
    UserWarning
        When it names another base, and has no notes by which its weights could be told.
    """
    folder, config, notes = open_adapter(adapter, base)
    theirs = None if notes.get("base_fingerprint") else config.base_model_name_or_path
    weights = () if fitted else read_weights(folder)
    try:
        adapted = _put_on(model, fitted or fit_adapter(model, config, *weights))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"adapter {adapter!r} does not fit {base!r}: {reason}") from error
    _warn_other_base(adapter, theirs, base)
    return adapted, notes


def _put_on(model: PreTrainedModel, fitted: FittedAdapter) -> PeftModel:
    """Put a fitted adapter on its model.

    Raises
    ------
    RuntimeError
        When a weight has another shape (torch's words).
    ValueError
        When the adapter has a weight for which there is no place, or lacks one.
    """
    if fitted.whole:
        model.load_state_dict(fitted.whole, strict=False)
    fitted.config.inference_mode = True
    fitted.config.base_model_name_or_path = None  # peft fills in where the base lies
    with quiet_peft():
        wrapped = get_peft_model(model, fitted.config)
        try:
            result = set_peft_model_state_dict(wrapped, fitted.tensors)
        except KeyError as error:
            raise ValueError(f"it should hold {error}, and does not") from error
    prefix = getattr(wrapped.base_model, "prefix", "")
    missing = [name for name in result.missing_keys if prefix and prefix in name]
    for what, names in (("there is no", result.unexpected_keys), ("it lacks", missing)):
        if names:
            raise ValueError(f"{what} {shorten(name.removeprefix(IN_FILES) for name in names)}")
    return wrapped.eval()


def _warn_other_base(adapter: str, theirs: str | None, ours: str) -> None:
    """Warn when an adapter names another base than the one it is put on."""
    if theirs and _last_part(theirs) != _last_part(ours):
        warnings.warn(
            f"adapter {adapter!r} was trained on {theirs!r} and is put on {ours!r}; unless these "
            "are the same weights, its answers mean nothing", stacklevel=3,
        )  # fmt: skip


def _last_part(name: str) -> str:
    """Return the name of a model without its place: folder, hub, or the cache of one.

    >>> _last_part("/cache/models--Qwen--Qwen2-VL-2B/snapshots/1f"), _last_part("Qwen/Qwen2-VL-2B/")
    ('qwen2-vl-2b', 'qwen2-vl-2b')
    """
    parts = re.split(r"[/\\]+", str(name).rstrip("/\\"))
    hub = [part.split("--")[-1] for part in parts if part.startswith("models--")]
    return [*parts, *hub][-1].replace("___", ".").lower()  # ModelScope writes a dot as ___
