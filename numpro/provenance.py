"""Where results come from: versions, machine, commit. No names of hosts or people."""

import os
import platform
import re
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from numpro import __version__
from numpro.paths import root

PACKAGES = ("torch", "transformers", "peft", "decord", "av", "pillow", "numpy")


def count_cores() -> int:
    """Return how many cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


def provenance() -> dict:
    """Return ``versions``, ``machine``, ``commit`` and ``dirty`` for a results file.

    ``commit`` is None without git, ``dirty`` tells whether tracked or new files outside
    ``papermill_runs`` differ from it.
    """
    import torch

    versions = {"numpro": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        versions[name] = None
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    processor = platform.processor() or platform.machine()
    with suppress(OSError):
        # the two above name only the kind of processor on Linux
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        named = re.search(r"^model name\s*:\s*(.+)$", about, re.MULTILINE)
        processor = named[1] if named else processor
    machine = {"processor": processor, "cores": count_cores(), "accelerators": names}
    # a repository around the project says nothing about it
    ours = git("rev-parse", "--show-toplevel") == str(root())
    commit = git("rev-parse", "HEAD") if ours else None
    dirty = bool(git("status", "--porcelain", "--", ":!papermill_runs")) if commit else None
    return {"versions": versions, "machine": machine, "commit": commit, "dirty": dirty}


def git(*arguments: str) -> str | None:
    """Return git's answer about the project root; None without git, repository or commit."""
    with suppress(FileNotFoundError):
        command = ["git", "-C", str(root()), *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None
