"""Puts a finished folder in its place, in one step of the file system where that has one.

A new name is one rename. An existing folder changes places with the new one: on Linux by
renameat2's RENAME_EXCHANGE, on macOS by renamex_np's RENAME_SWAP. Where neither is known (Windows,
some network file systems) two renames follow each other, and a kill between them leaves the old
folder in `OLD`, from where `recover` takes it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

OLD = "old"
"""The replaced folder, between two renames; whole."""

_DISCARDED = "discarded"
_AT_FDCWD = -100  # <fcntl.h> of Linux: paths are relative to the working directory
_RENAME_EXCHANGE = 2  # <linux/fs.h>
_RENAME_SWAP = 2  # <sys/stdio.h> of macOS
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


def put_in_place(content: Path, output: Path) -> None:
    """Moves a folder to its place, and what is there into the folder around `content`.

    All of it is on the disk before it gets its name, so that a loss of power can't leave a folder
    of empty files there.

    Args:
        content: the finished folder, in a folder of its own beside `output`.
        output: its place.

    Raises:
        OSError: it can't be moved; what was at `output` is there still.
    """
    _flush(content)
    if not os.path.lexists(output):
        content.rename(output)
    elif not exchange(content, output):
        _rename_twice(content, output)
    _flush_entry(output.parent)


def recover(partial: Path, output: Path) -> None:
    """Takes back the folder that a kill between two renames left without its name."""
    old = partial / OLD
    if not old.is_dir():
        return
    if not os.path.lexists(output):
        old.rename(output)
    else:
        # Renamed before it is removed: half of it must never come back.
        old.rename(partial / _DISCARDED)


def clear(partial: Path, output: Path) -> None:
    """Removes the folder around the content; what belongs at `output` goes back there first."""
    if partial.is_dir():
        recover(partial, output)
        shutil.rmtree(partial, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Lets two names of one file system change places in one step.

    Returns:
        Whether that was done; False where the system or the file system can't.

    Raises:
        OSError: it can, but failed.
    """
    call = _exchange_call(os.fsencode(one), os.fsencode(other))
    if call is None:
        return False
    if call() == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def _exchange_call(one: bytes, other: bytes) -> Callable[[], int] | None:
    """The system's own call, ready to be made; None where its C library has none."""
    if sys.platform not in ("linux", "darwin"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            swap = library.renamex_np
            swap.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint)
            return lambda: swap(one, other, _RENAME_SWAP)
        rename = library.renameat2
    except AttributeError:  # musl, glibc before 2.28
        return None
    rename.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )
    return lambda: rename(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE)


def _rename_twice(content: Path, output: Path) -> None:
    old = content.with_name(OLD)
    output.rename(old)
    try:
        content.rename(output)
    finally:
        # Back where it was if the second failed, and Ctrl-C between the two counts as that.
        recover(content.parent, output)


def _flush(folder: Path) -> None:
    """Has the system write a folder's files to the disk: 0.2 s for 0.5 GB just written."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        else:
            _flush_entry(path)
    _flush_entry(folder)


def _flush_entry(folder: Path) -> None:
    # Windows opens no folders, and some file systems flush none.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
