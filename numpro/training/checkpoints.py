"""Checkpoints of a training: which are whole, which run they or an adapter belong to; a full disk.

A checkpoint is the Trainer's own folder (adapter, optimizer, scheduler, random state of each
process, trainer state), the best validation so far, and last a mark that says of which run it is.
One without a mark was broken while it was written; no run is resumed from it.
"""

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from accelerate.utils import wait_for_everyone
from transformers import TrainerCallback, TrainerControl, TrainerState

from numpro.models import read_notes
from numpro.models.adapters import LOG_COLUMNS, write_log
from numpro.paths import write_whole
from numpro.training.validation import Validation

MARK = "numpro_run.json"
# values that change neither what is learned nor what is logged
_FREE = {"cache", "cache_gib", "feature_cache_gib", "report_to", "video_limit", "workers"}


def run_facts(settings: Mapping, data: str, validation: str, base: str, processes: int) -> dict:
    """Return what two runs must share for one to go on with the other's checkpoint.

    Parameters
    ----------
    settings
        Every value of the run, as JSON holds them; those that change no result are left out.
    data, validation, base
        Fingerprints of what is learned, of what it is validated on, and of the base model.
    processes
        How many train together: each has a random state of its own.
    """
    facts = {name: value for name, value in settings.items() if name not in _FREE}
    keys = ("training data", "validation data", "base model", "processes")
    return facts | dict(zip(keys, (data, validation, base, processes), strict=True))


def _differing(there: Mapping, here: Mapping) -> str:
    """Name what two runs do not share, if anything; a run made before a value was has None."""
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return "; ".join(f"{n} is {there.get(n)!r} there and {here.get(n)!r} here" for n in names)


def is_finished(out: Path, facts: Mapping, replace: bool = False) -> bool:
    """Tell whether `out` holds the finished adapter of this very run.

    A run that has checkpoints in `out` is not finished, whatever adapter is there beside them.

    Parameters
    ----------
    out
        The folder of an adapter.
    facts
        Of the run, as `run_facts` gives them.
    replace
        Whether another run's adapter may be replaced: then it is no error.

    Raises
    ------
    ValueError
        When the adapter there, or a checkpoint, is another run's; what differs is named.
    """
    if last_checkpoint(out / "checkpoints", facts):
        return False
    notes = read_notes(out)
    if not notes or not (out / "adapter_model.safetensors").is_file():
        return False
    data, base = notes.get("data", {}), notes.get("base_fingerprint")
    fingerprints = data.get("fingerprint"), data.get("validation", "none"), base
    there = run_facts(notes.get("config", {}), *fingerprints, notes.get("processes", 1))
    differing = _differing(there, facts)
    if differing and not replace:
        remedy = "choose another folder, or say --overwrite to train anew and replace it"
        raise ValueError(f"{out} holds the finished adapter of another run: {differing}; {remedy}")
    return not differing


def last_checkpoint(folder: Path, facts: Mapping) -> Path | None:
    """Return the newest whole checkpoint under `folder`; None when there is none.

    Raises
    ------
    ValueError
        When it is another run's; what differs is named.
    """
    if not (whole := _whole_checkpoints(folder)):
        return None
    if differing := _differing(json.loads((whole[-1] / MARK).read_text("utf-8")), facts):
        remedy = "choose another folder for the adapter, or delete the checkpoints"
        raise ValueError(f"{folder} holds checkpoints of another run: {differing}; {remedy}")
    return whole[-1]


def _whole_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints that were written to their end, by step."""
    whole = (mark.parent for mark in folder.glob(f"checkpoint-*/{MARK}"))
    return sorted(whole, key=lambda path: int(path.name[11:]))


def drop_broken(folder: Path) -> None:
    """Delete the checkpoints that were not written to their end."""
    for path in folder.glob("checkpoint-*"):
        if not (path / MARK).is_file():
            shutil.rmtree(path)


class Bookkeeper(TrainerCallback):
    """Marks whole checkpoints, asks for a row of the log wherever one is written, and writes it.

    The Trainer's loss is a mean since the row before. A row at each checkpoint makes the curve of
    a run that was resumed the same as that of one that never broke.
    """

    def __init__(self, out: Path, facts: Mapping, validation: Validation):
        self.out, self.facts, self.validation = out, facts, validation

    def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **_) -> None:
        """Ask for a row where a checkpoint is due; called by the Trainer."""
        every = self.validation.config.save_every
        due = every and state.global_step % every == 0
        control.should_log |= bool(due or control.should_training_stop)

    def on_log(self, args: object, state: TrainerState, control: object, **_) -> None:
        """Write the log so far."""
        if state.is_world_process_zero:
            write_log(self.out, log_rows(state.log_history, self.validation.scores))

    def on_save(self, args: object, state: TrainerState, control: object, **_) -> None:
        """Finish the checkpoint that was just written."""
        wait_for_everyone()  # each process writes its own random state
        if state.is_world_process_zero:
            folder = self.out / "checkpoints" / f"checkpoint-{state.global_step}"
            self.validation.save(folder)
            write_whole(folder / MARK, json.dumps(self.facts, indent=1) + "\n")


def log_rows(history: list[dict], scores: Mapping[int, float]) -> list[dict]:
    """Return the rows of ``log.csv``: what the Trainer logged, and the validations, by step."""
    rows = {h["step"]: {k: h.get(k) for k in LOG_COLUMNS} for h in history if "loss" in h}
    for step, score in scores.items():
        rows.setdefault(step, dict.fromkeys(LOG_COLUMNS) | {"step": step})["val_mIoU"] = score
    return [rows[step] for step in sorted(rows)]


@contextmanager
def one_line_when_full(folder: Path) -> Iterator[None]:
    """Turn a disk that is full while `folder` is written into one line about what is left.

    Raises
    ------
    OSError
        When the disk, a quota or a limit on file sizes stopped the writing.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        drop_broken(folder / "checkpoints")
        left, whole = "no checkpoint is left", _whole_checkpoints(folder / "checkpoints")
        if whole:
            left = f"the checkpoint of step {whole[-1].name[11:]} is whole"
        remedy = "make room and run the same again to go on"
        message = f"no room to write to {folder}: {left}; {remedy}"
        raise OSError(errno.ENOSPC, message) from error


def _is_full(error: Exception) -> bool:
    """Tell a full disk from other failures; torch and safetensors hide the error number."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    signs = ("os error 28)", "os error 27)", "os error 122)", "StorageFull", "FileTooLarge")
    signs += ("PytorchStreamWriter", "inline_container")
    return any(sign in str(error) for sign in signs)
