"""Processes that train together, as accelerate and torchrun start them."""

import os


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank(name: str = "RANK") -> int:
    """Return this process's number: 0 prints and writes for all. ``LOCAL_RANK``: on its machine."""
    return int(os.environ.get(name, "0"))


def rows_of_all(rows: list) -> list:
    """Return the rows of every process, in the order of their ranks."""
    from accelerate.utils import gather_object

    return gather_object(rows) if world_size() > 1 else rows
