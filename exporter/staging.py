"""A folder that appears whole or not at all.

It is written in `.<name>.partial` beside its place and put there in the end. A lock beside it keeps
two writers of one place apart. What an interrupted run finished is left for the next one where the
writer keeps a journal.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from exporter.errors import StoppedError
from exporter.fingerprint import Fingerprint
from exporter.journal import CONTENT, Journal
from exporter.lock import LockedError, locked
from exporter.progress import Progress
from exporter.replace import clear, put_in_place, recover
from runtimes.errors import LatedgeError, UsageError

KEPT_NOTE = "what is finished is kept: run the same again, without --force, to go on from there."
"""What a user is told beside "interrupted"."""

BUNDLE, MODEL = "latedge.json", "model_index.json"
"""Files by which a folder is known that --force may replace: by a bundle, or a synthetic model."""


@contextmanager
def staged(output: Path, *, force: bool) -> Generator[Path]:
    """Gives a fresh folder to write a model into; puts it at `output` when the block ends well.

    When the block raises (Ctrl-C too) nothing is left behind and an existing output stays as it
    was. What a killed run left is cleared by the next one.

    Args:
        output: where the folder shall be.
        force: replace an existing output, once the new one is whole.

    Raises:
        UsageError: `output` exists and `force` is not given, or it is not a place for a folder.
        LatedgeError: another process writes there, or the folder can't be made.
    """
    with _reserved(output, force=force, known_by=MODEL) as (place, partial):
        try:
            clear(partial, place)
            content = partial / CONTENT
            content.mkdir(parents=True)
            yield content
            put_in_place(content, place)
        finally:
            clear(partial, place)


@contextmanager
def resumable(
    output: Path, fingerprint: Fingerprint, *, force: bool, progress: Progress
) -> Generator[Journal]:
    """Gives a journal, and puts what its steps wrote at `output` when the block ends well.

    When the block is interrupted (Ctrl-C, a kill, too little memory) the finished steps are left
    for the next run of the same fingerprint; when it fails, nothing is. An existing output stays as
    it was.

    Args:
        output: where `Journal.content` shall be.
        fingerprint: of this run.
        force: start afresh, and replace an existing output once the new one is whole.
        progress: told what is taken from an interrupted run.

    Raises:
        UsageError: `output` exists and `force` is not given, or it is not a place for a folder.
        LatedgeError: another process writes there, or the folder can't be made.
    """
    with _reserved(output, force=force, known_by=BUNDLE) as (place, partial):
        journal = None
        try:
            journal = Journal.open(partial, fingerprint, afresh=force, progress=progress)
            yield journal
            put_in_place(journal.content, place)
        except BaseException as e:
            # Where an output is to be replaced the next run needs --force, and starts afresh.
            if is_interruption(e) and journal and journal.finished and not os.path.lexists(place):
                e.add_note(KEPT_NOTE)
            else:
                clear(partial, place)
            raise
        clear(partial, place)


def is_interruption(error: BaseException) -> bool:
    """Whether the work was stopped, rather than found to be impossible."""
    return isinstance(error, MemoryError | StoppedError) or not isinstance(error, Exception)


@contextmanager
def _reserved(output: Path, *, force: bool, known_by: str) -> Generator[tuple[Path, Path]]:
    """Keeps an output's place for one writer; gives the place and the folder to write in."""
    place = output.absolute()
    check_free(place, force=force, known_by=known_by)
    partial = partial_folder(place)
    with ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(place.with_name(f".{place.name}.lock")))
            recover(partial, place)
        except LockedError as e:
            raise LatedgeError(f"another process is writing {place}; wait for it to end.") from e
        except OSError as e:
            raise LatedgeError(f"can't write to {place.parent}: {e.strerror}.") from e
        # Again: it may have been put there, or taken back, by now.
        check_free(place, force=force, known_by=known_by)
        yield place, partial


def partial_folder(output: Path) -> Path:
    """Where an output is written before it appears."""
    return output.absolute().with_name(f".{output.absolute().name}.partial")


def check_free(output: Path, *, force: bool, known_by: str, source: Path | None = None) -> None:
    """Refuses an output that exists; call it before slow work.

    Args:
        output: the folder to be written.
        force: replace it if it exists.
        known_by: `BUNDLE` or `MODEL`: the file that a folder must have to be replaced.
        source: what the output is made from, and must not replace.

    Raises:
        UsageError: `output` exists and `force` is not given, or it is something else than what is
            written, or holds the source, or it has no name of its own.
    """
    if not output.absolute().name:
        raise UsageError(f"{output} can't be written: give the name of a new folder.")
    if not os.path.lexists(output):
        return
    if not force:
        raise UsageError(f"{output} exists; give another place, or --force to replace it.")
    if not _is_replaceable(output, known_by):
        raise UsageError(
            f"{output} is something else than a folder with {known_by}, and is not replaced; give "
            "another place."
        )
    place = output.resolve()
    if source is not None and place in (source.resolve(), *source.resolve().parents):
        raise UsageError(f"{output} holds the source {source}, and is not replaced.")


def _is_replaceable(output: Path, known_by: str) -> bool:
    """Whether a mistyped --force would lose nothing but what latedge can make again."""
    if not output.is_dir() or output.is_symlink():
        return False
    names = {path.name for path in output.iterdir()}
    return not names or known_by in names


def check_room(output: Path, needed_bytes: int) -> None:
    """Refuses to start what the disk can't hold.

    Args:
        output: the folder to be written. What an interrupted run left beside it counts as free: it
            is used or cleared.
        needed_bytes: how much is to be written.

    Raises:
        LatedgeError: fewer bytes are free.
    """
    place = output.absolute()
    while not place.exists():
        place = place.parent
    left = (path for path in partial_folder(output).rglob("*") if path.is_file())
    free = shutil.disk_usage(place).free + sum(path.stat().st_size for path in left)
    if free < needed_bytes:
        raise LatedgeError(
            f"{place} has {free / 1e9:.2f} GB free where {needed_bytes / 1e9:.2f} GB are needed."
        )
