"""A journal in the cache folder, for work that is long and writes nothing where the user looks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from exporter.fingerprint import Fingerprint
from exporter.journal import Journal
from exporter.lock import LockedError, locked
from exporter.progress import Progress
from exporter.staging import KEPT_NOTE, is_interruption
from runtimes.bundle import cache_folder

_STALE_SECONDS = 7 * 24 * 3600


@contextmanager
def cached_journal(
    fingerprint: Fingerprint, *, force: bool, progress: Progress
) -> Generator[Journal]:
    """Gives a journal that the next run of the same fingerprint goes on with after an interruption.

    It is removed when the block ends well or fails. Where the same work runs elsewhere at this
    moment, or the cache folder can't be written, the journal is a temporary one: the cache may cost
    time and nothing else.

    Args:
        fingerprint: of this run.
        force: start afresh.
        progress: told what is taken from an interrupted run.
    """
    folder = cache_folder() / fingerprint.verb / fingerprint.sha256()[:32]
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder.with_suffix(".lock")))
            _remove_stale(folder)
            journal = Journal.open(folder, fingerprint, afresh=force, progress=progress)
            lasting = True
        except (LockedError, OSError):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="latedge-")))
            journal = Journal.open(folder, fingerprint, afresh=True, progress=progress)
            lasting = False
        try:
            yield journal
        except BaseException as e:
            if lasting and is_interruption(e) and journal.finished:
                e.add_note(KEPT_NOTE)
            else:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Removes what interrupted runs left beside `folder` more than a week ago."""
    for other in folder.parent.iterdir():
        old = time.time() - other.stat().st_mtime > _STALE_SECONDS
        if old and other.is_dir() and other != folder:
            shutil.rmtree(other, ignore_errors=True)
