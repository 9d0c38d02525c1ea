"""What workers are given in tests: files that hang, and tasks named by their path."""

import ctypes
import os
import sys
import time
from pathlib import Path

SAMPLING = {"fps": 5.0, "size": (32, 24)}


def hang_in_files(folder: Path) -> Path:
    """Write a file whose reading never ends: a playlist of a pipe that no one writes to."""
    os.mkfifo(folder / "pipe.mp4")
    path = folder / "hangs.mp4"
    path.write_text("ffconcat version 1.0\nfile pipe.mp4\n")
    return path


def planted(path, **sampling):
    """Do what the path says, in the worker."""
    match Path(path).name.split("_"):
        case "pid", *_:
            return os.getpid()
        case "sleep", seconds:
            time.sleep(float(seconds))
        case "hold", seconds:  # C code that never gives the interpreter back
            ctypes.PyDLL(None).sleep(int(seconds))
        case "signal", number:
            os.kill(os.getpid(), int(number))
        case "exit", status:
            os._exit(int(status))
        case "memory", *_:
            raise MemoryError
        case "disk", *_:
            raise OSError(5, "Input/output error")
        case "bug", *_:
            raise ZeroDivisionError("a fault of the program")
        case "modules", *_:
            return sorted(sys.modules)
    return Path(path).name
