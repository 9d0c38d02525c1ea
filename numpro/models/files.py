"""The files of a checkpoint or adapter: where they lie, a hash of the weights, the notes."""

import ctypes
import hashlib
import json
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from numpro.paths import find_model, write_whole, yaml_beside

FACTS = yaml_beside(__file__, "facts.yaml")
# The file in an adapter folder that says how it was trained and so how it must be asked.
ADAPTER_NOTES = "numpro.json"
# What a checkpoint needs beside its weights: one of each.
PREPROCESSOR = ("preprocessor_config.json", "processor_config.json")
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")

# of a model on the hub, the first of these that it has is downloaded
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


def weights_folder(name: str) -> Path:
    """Return the folder a checkpoint lies in: its own, or the hub cache's for a hub id."""
    found = Path(find_model(name))
    if found.is_dir() or name.startswith("openai:"):  # a server's weights lie elsewhere
        return found
    from huggingface_hub import try_to_load_from_cache

    # not the whole snapshot, which lacks what was not asked for (a README)
    for file in ("config.json", "adapter_config.json"):
        cached = try_to_load_from_cache(name, file)
        if isinstance(cached, str):
            return Path(cached).parent
    return found


def check_space(name: str) -> None:
    """Print what is still to be downloaded of a model on the hub, as far as the hub tells.

    Raises
    ------
    OSError
        When it does not fit on the disk.
    """
    if Path(find_model(name)).is_dir():
        return
    from huggingface_hub import constants, model_info, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    cache = Path(constants.HF_HUB_CACHE)
    place = next(path for path in (cache, *cache.parents) if path.is_dir())
    free = f"{(left := shutil.disk_usage(place).free) / 1e9:.1f} GB are free in {place}"
    try:
        files = model_info(name, files_metadata=True, timeout=10).siblings or []
    except (OSError, *HfHubHTTPError.__bases__) as error:  # and of the HTTP client, by version
        if not any(weights_folder(name).glob("*.safetensors")):
            why = f"the hub does not tell: {type(error).__name__}"
            print(f"what {name} needs on the disk is not known ({why}); {free}")
        return
    wanted = [[f for f in files if fnmatch(f.rfilename, kind)] for kind in _WEIGHTS]
    missing = sum(
        file.size or 0
        for file in next(filter(None, wanted), [])
        if not isinstance(try_to_load_from_cache(name, file.rfilename), str)
    )
    text = f"{name}: {missing / 1e9:.1f} GB are to be downloaded, {free}"
    if missing > left:
        raise OSError(f"{text}: make room, or let HF_HOME name a folder on another disk")
    if missing:
        print(text)


@contextmanager
def not_found(message: str) -> Iterator[None]:
    """Let what is looked for and is not there be a FileNotFoundError that begins with a message."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"{message}: {error}") from error


def find_file(folder: str, name: str) -> str | None:
    """Return the path of a checkpoint's file, here or in the hub's cache; None without one."""
    from transformers.utils import cached_file

    errors = ("missing_entries", "gated_repo", "connection_errors")
    quiet = {f"_raise_exceptions_for_{error}": False for error in errors}
    return cached_file(folder, name, **quiet)


def need_new(out: Path) -> None:
    """Raise a ValueError when there is something at a place that a folder is to be written to."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} must be a new or an empty folder; it holds something")


def need_file(folder: str, *names: str) -> None:
    """Raise a FileNotFoundError when a checkpoint has none of the files, naming the first."""
    if not any(find_file(folder, name) for name in names):
        raise FileNotFoundError(
            f"{folder} has no {names[0]}; copy it from the base checkpoint (training saves "
            "weights, and not always the files beside them)"
        )


def need_template(folder: str, template: str | None) -> None:
    """Raise a ValueError when a checkpoint has no chat template, or one that could take for ever.

    A power of large numbers is the one step of a template that nothing can stop.
    """
    from jinja2 import Environment

    if not template:
        lacks = "it lacks chat_template.jinja; copy it from the base checkpoint"
        raise ValueError(f"{folder} has no chat template, so it cannot be asked: {lacks}")
    if any(text == "**" and kind == "operator" for _, kind, text in Environment().lex(template)):
        raise ValueError(f"{_template_file(folder)} takes a power (**), which no chat needs")


def _template_file(folder: str) -> str:
    names = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
    return next(filter(None, (find_file(folder, name) for name in names)), folder)


def render_chat(folder: str, tokenizer: Any, turn: Any, limit: float = 10.0, **options) -> str:
    """Return the chat of one turn by a checkpoint's template, which comes from whoever made it.

    Parameters
    ----------
    folder, tokenizer
        The checkpoint, and its tokenizer.
    turn
        What the user says.
    limit
        Seconds that rendering may take.
    **options
        As ``apply_chat_template`` takes them.

    Raises
    ------
    ValueError
        When it takes longer, naming the file.
    """
    late = type("_Late", (Exception,), {})
    thread, stop = ctypes.c_ulong(threading.get_ident()), ctypes.pythonapi.PyThreadState_SetAsyncExc
    timer = threading.Timer(limit, stop, (thread, ctypes.py_object(late)))
    timer.daemon, messages = True, [{"role": "user", "content": turn}]
    try:
        timer.start()
        try:
            return tokenizer.apply_chat_template(messages, tokenize=False, **options)
        finally:
            timer.cancel()
            timer.join()  # what it has raised is raised here
    except late:
        reason = f"not rendered within {limit:g} s, does it loop? Take the base checkpoint's"
        raise ValueError(f"{_template_file(folder)}: the chat template was {reason}") from None


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises
    ------
    ValueError
        When the file is no JSON object.
    FileNotFoundError
        When it is not there.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON; {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be a JSON object; got {content!r:.80}")
    return content


def fingerprint_files(names: Iterable[str]) -> str:
    """Hash the weight files in folders: their names, sizes and both ends of their content."""
    digest = hashlib.sha256()
    for name in names:
        folder = weights_folder(name)
        for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
            size = path.stat().st_size
            digest.update(f"{path.name} {size}".encode())
            with open(path, "rb") as file:
                digest.update(file.read(1 << 20))
                file.seek(max(0, size - (1 << 20)))
                digest.update(file.read())
    return digest.hexdigest()[:16]


def read_notes(folder: str | Path) -> dict:
    """Return the notes in an adapter folder, {} when it has none.

    Raises
    ------
    ValueError
        When the file is there and is not JSON, or not an object.
    """
    path = Path(folder) / ADAPTER_NOTES
    return read_json(path) if path.is_file() else {}


def write_notes(folder: Path, notes: dict) -> None:
    """Write the notes of a folder, whole or not at all."""
    write_whole(folder / ADAPTER_NOTES, json.dumps(notes, indent=1) + "\n")
