"""How much the engines may keep in the user's cache folder, and what goes when it is too much."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from runtimes.errors import UsageError

LIMIT = "LATEDGE_CACHE_MAX_GB"
"""Environment variable: what each engine may keep, in GB of 10^9 bytes; 0 keeps nothing."""

DEFAULT_LIMIT_GB = 20.0
"""Four true-size SD 1.5, or one SDXL, as ONNX Runtime optimises them."""


def limit_bytes() -> int:
    """What each engine may keep.

    Raises:
        UsageError: the environment variable is no number from 0.
    """
    given = os.environ.get(LIMIT) or str(DEFAULT_LIMIT_GB)
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise UsageError(f"{LIMIT} must be a number of gigabytes from 0, not {given!r}.")
    return int(found * 1e9)


def make_room(
    entries: Iterable[Path], size_bytes: int, max_bytes: int, remove: Callable[[Path], None]
) -> None:
    """Removes the least recently used entries until another fits.

    Args:
        entries: files, or folders of files.
        size_bytes: what the other one takes.
        max_bytes: what all of them may take.
        remove: removes an entry, or leaves one that is in use.

    Raises:
        OSError: the other one alone takes more.
    """
    if size_bytes > max_bytes:
        raise OSError(f"it takes about {show(size_bytes)}, and {LIMIT} allows {show(max_bytes)}")
    oldest_first = sorted(entries, key=last_use)
    taken = sum(map(taken_bytes, oldest_first))
    for entry in oldest_first:
        if taken + size_bytes <= max_bytes:
            break
        taken -= taken_bytes(entry)
        remove(entry)


def last_use(entry: Path) -> float:
    """When an entry was last touched: made, or used by someone who then touches it."""
    with contextlib.suppress(OSError):
        return entry.stat().st_mtime
    return 0.0


def taken_bytes(entry: Path) -> int:
    """The size of a file, or of all files in a folder; 0 where it is gone."""
    with contextlib.suppress(OSError):
        files = entry.rglob("*") if entry.is_dir() else [entry]
        return sum(path.stat().st_size for path in files if path.is_file())
    return 0


def show(size_bytes: int) -> str:
    """A size in GB."""
    return f"{size_bytes / 1e9:.1f} GB"
