"""Files out of the page cache, so that a load is as cold as after a start of the machine."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LEFT = 0.01
"""Share of the pages that may stay: the kernel keeps those that are being read or written."""


def drop(paths: Iterable[Path]) -> bool | None:
    """Drops files from the page cache, and looks whether they are gone.

    Args:
        paths: files, and folders for all files below them.

    Returns:
        True when they are gone; False when pages stayed, such as those of a file that a process has
        mapped, that lies in memory (tmpfs), or that this user neither owns nor may write, of which
        the kernel tells nothing; None where the system can't drop files (macOS, Windows).
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    files = list(_files(paths))
    for file in files:
        _drop(file)
    resident = [resident_bytes(file) for file in files]
    if None in resident:
        return None
    total = sum(file.stat().st_size for file in files)
    return sum(size for size in resident if size is not None) <= LEFT * total


def resident_bytes(path: Path) -> int | None:
    """Bytes of a file in the page cache, whole pages; None where the system doesn't tell.

    mincore(2) tells it of a mapping, which reads nothing.
    """
    libc: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if not hasattr(libc, "mincore"):
        return None
    size = path.stat().st_size
    if size == 0:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        start = ctypes.c_char.from_buffer(mapped)  # private, so that the buffer counts as writable
        try:
            pages = (ctypes.c_ubyte * (-(-size // mmap.PAGESIZE)))()
            failed = libc.mincore(ctypes.byref(start), ctypes.c_size_t(size), pages)
        finally:
            del start  # or the mapping could not be closed
    return None if failed else sum(page & 1 for page in pages) * mmap.PAGESIZE


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield from (p for p in sorted(path.rglob("*")) if p.is_file()) if path.is_dir() else (path,)


def _drop(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())  # pages that are not yet on the disk are kept
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
