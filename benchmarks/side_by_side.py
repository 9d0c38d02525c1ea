"""What benchmarks of two builds share: one run in a process of its own, and its memory."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path


def run_child(script, arguments, checkout, paths=()):
    """Run a script with the package of a checkout, one thread; return the JSON it prints last."""
    found = os.pathsep.join(map(str, [checkout, *paths, Path(__file__).parent]))
    environment = os.environ | {"PYTHONPATH": found, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=checkout)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} of {checkout}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def memory_kib(name):
    """Return a line of this process's memory, such as VmHWM, its peak.

    What the operating system tells as the peak otherwise begins with the parent's.
    """
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])
