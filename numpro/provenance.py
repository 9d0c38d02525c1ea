"""Where results come from: versions, machine, commit. No names of hosts or people."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from . import __version__
from .paths import root

PACKAGES = ("torch", "transformers", "peft", "decord", "av", "pillow", "numpy")


def provenance() -> dict:
    """Return ``versions``, ``machine``, ``commit`` and ``dirty`` for a results file.

    ``commit`` is None without git, ``dirty`` tells whether tracked or new files outside
    ``papermill_runs`` differ from it.
    """
    versions = {"numpro": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    # a repository around the project says nothing about it
    ours = _git("rev-parse", "--show-toplevel") == str(root())
    commit = _git("rev-parse", "HEAD") if ours else None
    dirty = (
        None if commit is None else bool(_git("status", "--porcelain", "--", ":!papermill_runs"))
    )
    return {"versions": versions, "machine": machine(), "commit": commit, "dirty": dirty}


def machine() -> dict:
    """Return processor, number of usable cores and accelerators of this machine."""
    import torch

    cuda = torch.cuda
    names = [cuda.get_device_name(i) for i in range(cuda.device_count())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "cores": cores, "accelerators": names}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    """Return git's answer about the project root; None without git, repository or commit."""
    command = ["git", "-C", str(root()), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
