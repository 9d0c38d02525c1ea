"""Checkpoints of a training: which are whole, which run they or an adapter belong to; a full disk.

A checkpoint is the Trainer's own folder (adapter, optimizer, scheduler, random state of each
process, trainer state), the best validation so far, and last a mark that says of which run it is.
One without a mark was broken while it was written; it is not taken up.
"""

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import TrainerCallback

from numpro.models import read_notes
from numpro.paths import write_whole

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

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
        Fingerprints of what is learned, of what is held out, and of the base model.
    processes
        How many train together: each has a random state of its own.
    """
    kept = {name: value for name, value in settings.items() if name not in _FREE}
    return kept | {
        "training data": data,
        "validation data": validation,
        "base model": base,
        "processes": processes,
    }


def _differing(there: Mapping, here: Mapping) -> str:
    """Name what two runs do not share; an empty text when it is nothing."""
    missing = "nothing"
    return "; ".join(
        f"{name} is {there.get(name, missing)!r} there and {here.get(name, missing)!r} here"
        for name in {**there, **here}
        if there.get(name, missing) != here.get(name, missing)
    )


def is_finished(out: Path, facts: Mapping) -> bool:
    """Tell whether `out` holds the finished adapter of the run that `facts` tell of.

    A run that has checkpoints in `out` is not finished, whatever adapter is there beside them.

    Parameters
    ----------
    out
        The folder of an adapter.
    facts
        As `run_facts` gives them.

    Raises
    ------
    ValueError
        When the adapter there, or a checkpoint, is another run's; what differs is named.
    """
    if last_checkpoint(out / "checkpoints", facts):
        return False
    there = _adapter_facts(out)
    if there and (differ := _differing(there, facts)):
        raise ValueError(
            f"{out} holds the finished adapter of another run: {differ}; choose another folder, "
            "or say --overwrite to train anew and replace it"
        )
    return bool(there)


def holds_adapter_of(out: Path, facts: Mapping) -> bool:
    """Tell whether `out` holds the finished adapter of this very run, and nothing half done.

    As `is_finished`, for where another run's adapter may be replaced.
    """
    there = None if last_checkpoint(out / "checkpoints", facts) else _adapter_facts(out)
    return bool(there) and not _differing(there, facts)


def _adapter_facts(out: Path) -> dict | None:
    """Return `run_facts` of the adapter in `out`; None where there is none."""
    notes = read_notes(out)
    if not notes or not (out / "adapter_model.safetensors").is_file():
        return None
    data = notes.get("data", {})
    return run_facts(
        notes.get("config", {}),
        data.get("fingerprint"),
        data.get("validation", "none"),
        notes.get("base_fingerprint"),
        notes.get("processes", 1),
    )


def last_checkpoint(folder: Path, facts: Mapping) -> Path | None:
    """Return the newest whole checkpoint under `folder`; None when there is none.

    Raises
    ------
    ValueError
        When it is another run's; what differs is named.
    """
    found = sorted(folder.glob("checkpoint-*/" + MARK), key=lambda p: int(p.parent.name[11:]))
    if not found:
        return None
    if differ := _differing(json.loads(found[-1].read_text(encoding="utf-8")), facts):
        raise ValueError(
            f"{folder} holds checkpoints of another run: {differ}; choose another "
            "folder for the adapter, or delete the checkpoints"
        )
    return found[-1].parent


def drop_broken(folder: Path) -> None:
    """Delete the checkpoints that were not written to their end."""
    for path in folder.glob("checkpoint-*"):
        if not (path / MARK).is_file():
            shutil.rmtree(path)


class Bookkeeper(TrainerCallback):
    """Marks whole checkpoints, logs wherever one is written, and hands on what was logged.

    The Trainer's loss is a mean since the row before. A row at each checkpoint makes the curve of
    a run that was taken up the same as that of one that never broke.
    """

    def __init__(self, facts: Mapping, held_out=None, told: Callable = lambda history: None):
        self.facts, self.held_out, self.told = facts, held_out, told

    def on_step_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs
    ) -> None:
        """Ask for a row where a checkpoint is due; called by the Trainer."""
        due = args.save_strategy == "steps" and state.global_step % args.save_steps == 0
        control.should_log |= bool(due or control.should_training_stop)

    def on_log(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs
    ) -> None:
        """Hand on the history so far."""
        if state.is_world_process_zero:
            self.told(state.log_history)

    def on_save(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs
    ) -> None:
        """Finish the checkpoint that was just written."""
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            dist.barrier()  # each process writes its own random state
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self.held_out:
            self.held_out.save(folder)
        write_whole(folder / MARK, json.dumps(self.facts, indent=1) + "\n")


@contextmanager
def one_line_when_full(folder: Path) -> Iterator[None]:
    """Turn a disk that is full while `folder` is written into one line about what is left.

    Raises
    ------
    OSError
        When the disk, a quota or a limit on file sizes stopped the writing.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _is_full(error):
            raise
        drop_broken(folder / "checkpoints")
        whole = sorted(int(p.name[11:]) for p in (folder / "checkpoints").glob("checkpoint-*"))
        left = f"the checkpoint of step {whole[-1]} is whole" if whole else "no checkpoint is left"
        raise OSError(
            errno.ENOSPC,
            f"no room to write to {folder}: {left}; make room and run the same again to go on",
        ) from error


def _is_full(error: Exception) -> bool:
    """Tell a full disk from other failures; torch and safetensors hide the error number."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    signs = ("os error 28)", "os error 27)", "os error 122)", "StorageFull", "FileTooLarge")
    signs += ("PytorchStreamWriter", "inline_container")
    return any(sign in str(error) for sign in signs)
