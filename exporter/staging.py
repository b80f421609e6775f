"""A folder that appears whole or not at all.

It is written as `.<name>.partial` beside its place and renamed in the end. A lock beside it keeps
two writers of one place apart, and goes with its process, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runtimes.errors import LatedgeError, UsageError

_OWN_FILES = {"latedge.json", "model_index.json"}


@contextmanager
def staged(output: Path, *, force: bool) -> Generator[Path]:
    """Gives a fresh folder to write into, and puts it at `output` when the block ends well.

    When the block raises (Ctrl-C too) nothing is left behind and an existing output stays as it
    was. What a killed run left is cleared by the next one.

    Args:
        output: where the folder shall be.
        force: replace an existing output, once the new one is whole.

    Raises:
        UsageError: `output` exists and `force` is not given, or it is not a place for a folder.
        LatedgeError: another process writes there, or the folder can't be made.
    """
    output = output.absolute()
    check_free(output, force=force)
    partial = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(output.with_name(f".{output.name}.lock"))
    except OSError as e:
        raise LatedgeError(f"can't write to {output.parent}: {e.strerror}.") from e
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        _replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _unlock(lock)


def check_free(output: Path, *, force: bool) -> None:
    """Refuses an output that exists; call it before slow work.

    Raises:
        UsageError: `output` exists and `force` is not given, or it is something that latedge
            doesn't write, or it has no name of its own.
    """
    if not output.absolute().name:
        raise UsageError(f"{output} can't be written: give the name of a new folder.")
    if not os.path.lexists(output):
        return
    if not force:
        raise UsageError(f"{output} exists; give another place, or --force to replace it.")
    if not _is_replaceable(output):
        raise UsageError(
            f"{output} is neither a bundle nor a model, and is not replaced; give another place."
        )


def _is_replaceable(output: Path) -> bool:
    """Whether a mistyped --force would lose nothing but what latedge can make again."""
    if not output.is_dir() or output.is_symlink():
        return False
    names = {path.name for path in output.iterdir()}
    return not names or bool(names & _OWN_FILES)


def check_room(folder: Path, needed_bytes: int) -> None:
    """Refuses to start what the disk can't hold.

    Args:
        folder: where it is to be written; need not exist yet.
        needed_bytes: how much is to be written.

    Raises:
        LatedgeError: fewer bytes are free.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise LatedgeError(
            f"{place} has {free / 1e9:.2f} GB free where {needed_bytes / 1e9:.2f} GB are needed."
        )


def _replace(partial: Path, output: Path) -> None:
    """Puts the new folder in place; the old one goes once the new one is there."""
    if not os.path.lexists(output):
        partial.rename(output)
        return
    old = output.with_name(f".{output.name}.old.partial")
    shutil.rmtree(old, ignore_errors=True)
    output.rename(old)
    try:
        partial.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _lock(path: Path) -> tuple[Path, IO[bytes]]:
    file = path.open("ab")
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        file.close()
        place = path.with_name(path.name.removeprefix(".").removesuffix(".lock"))
        raise LatedgeError(f"another process is writing {place}; wait for it to end.") from e
    return path, file


def _unlock(lock: tuple[Path, IO[bytes]]) -> None:
    path, file = lock
    # Removed before it is released: who waits for the name makes a new file.
    with contextlib.suppress(OSError):
        path.unlink()
    file.close()
