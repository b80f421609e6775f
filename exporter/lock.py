"""Keeps two writers of one place apart, through a lock that goes with its process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class LockedError(Exception):
    """Another process, or another call in this one, holds the lock."""


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Holds a lock while the block runs. A file that a killed process left behind locks nothing.

    Args:
        path: the lock's file, in a folder that exists; removed in the end.

    Raises:
        LockedError: it is held already.
        OSError: the file can't be made.
    """
    file = _acquire(path)
    try:
        yield
    finally:
        # Removed before it is released: who waits for the name makes a new file.
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()


def _acquire(path: Path) -> IO[bytes]:
    while True:
        file = path.open("ab")
        try:
            _lock(file)
        except OSError as e:
            file.close()
            raise LockedError(str(path)) from e
        if _is_at(path, file):
            return file
        # Between open and lock its holder ended and removed it: the lock is of a nameless file.
        file.close()


def _lock(file: IO[bytes]) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False
