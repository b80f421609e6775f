"""What a kill would leave at every moment of a run: copies of a folder before each change in it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
"""Audit events that Python raises before calls to the file system."""

_watching: list[Moments] = []


class Moments:
    """Copies of a folder, one for each state that it was in."""

    def __init__(self, place: Path, copies: Path) -> None:
        self.place = place
        self.copies = copies
        self.found: list[Path] = []
        self._state: object = None

    def take(self) -> None:
        """Copies the folder as it lies on the disk, if it has changed."""
        state = {
            path.relative_to(self.place): (path.is_dir() or path.read_bytes())
            for path in self.place.rglob("*")
        }
        if state != self._state:
            self._state = state
            copy = self.copies / f"{len(self.found):03}"
            shutil.copytree(self.place, copy)
            self.found.append(copy)


@contextmanager
def moments(place: Path, copies: Path) -> Generator[Moments]:
    """Copies `place` before every call to the file system in the block, and at its end."""
    _install()
    watcher = Moments(place, copies)
    _watching.append(watcher)
    try:
        yield watcher
    finally:
        _watching.clear()
    watcher.take()


def _on_event(event: str, _args: tuple[object, ...]) -> None:
    if _watching and event in _CHANGES:
        watcher = _watching.pop()  # its own calls are not watched
        watcher.take()
        _watching.append(watcher)


_installed: list[bool] = []


def _install() -> None:
    """Once per process: an audit hook stays."""
    if not _installed:
        sys.addaudithook(_on_event)
        _installed.append(True)
