"""Entries of an engine's cache: folders that appear whole or not at all, and vanish as a whole.

Two processes may make the same one at once; what a killed process left is removed in time.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runtimes.engines.cache_size import last_use, make_room, show, taken_bytes

_PARTIAL = ".partial-"
_STALE_SECONDS = 24 * 3600


def make_entry(
    entry: Path, size_bytes: int, max_bytes: int, build: Callable[[Path], object]
) -> None:
    """Makes an entry beside others, of which the least recently used make room for it.

    Args:
        entry: the folder that shall be there.
        size_bytes: about what it takes.
        max_bytes: what all entries may take.
        build: fills the folder that it is given.

    Raises:
        OSError: it takes more than is allowed or free.
    """
    folder = entry.parent
    folder.mkdir(parents=True, exist_ok=True)
    make_room(entries(folder), size_bytes, max_bytes, remove)
    free = shutil.disk_usage(folder).free
    if free < 2 * size_bytes:
        raise OSError(f"it takes about {show(size_bytes)} of the {show(free)} free on the disk")
    partial = Path(tempfile.mkdtemp(dir=folder, prefix=_PARTIAL))
    try:
        build(partial)
        make_room(entries(folder), taken_bytes(partial), max_bytes, remove)
        _put(partial, entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def entries(folder: Path) -> list[Path]:
    """All entries. What was left behind by a process that was killed is removed."""
    found: list[Path] = []
    for path in folder.iterdir():
        if not path.name.startswith(_PARTIAL):
            found.append(path)
        elif time.time() - last_use(path) > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
    return found


def remove(entry: Path) -> None:
    """Takes an entry out of sight first, so that nobody finds half of it."""
    with contextlib.suppress(OSError):
        # Fails on Windows while a process has its files open: then it stays.
        gone = Path(tempfile.mkdtemp(dir=entry.parent, prefix=_PARTIAL))
        entry.rename(gone / entry.name)
        shutil.rmtree(gone, ignore_errors=True)


def _put(partial: Path, entry: Path) -> None:
    try:
        partial.rename(entry)
    except OSError:
        # Another process was faster: its entry is as good.
        if not entry.exists():
            raise
