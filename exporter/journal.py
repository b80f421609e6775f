"""What a run has finished, so that the next one goes on from there when it is interrupted.

The journal lies in a folder of its own with all that the run writes:

    journal.json    the run's fingerprint; each finished step with its files and its result
    bundle/         what shall appear at the output
    kept/           what later steps need of earlier ones, and no bundle has

A step is written down when all its files are. Nothing is used because it exists: the next run takes
a step if the fingerprint is the same and all files of that step, and of those before it, still have
the size and the SHA-256 that were written down. What belongs to no such step is removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from exporter.fingerprint import Fingerprint
from exporter.progress import Progress
from runtimes.bundle import hash_file
from runtimes.manifest import File

JOURNAL_NAME = "journal.json"
CONTENT = "bundle"
KEPT = "kept"

T = TypeVar("T")


class _Step(msgspec.Struct, frozen=True):
    files: dict[str, File]
    result: msgspec.Raw


class _Record(msgspec.Struct, frozen=True):
    fingerprint: Fingerprint
    steps: dict[str, _Step]


@dataclass
class Journal:
    """The steps that are finished, in this run or in the interrupted one.

    Attributes:
        root: the journal's folder, which nobody else writes into.
        fingerprint: of this run.
        progress: told which steps are taken from the interrupted run.
    """

    root: Path
    fingerprint: Fingerprint
    progress: Progress
    _steps: dict[str, _Step]

    @classmethod
    def open(
        cls, root: Path, fingerprint: Fingerprint, *, afresh: bool, progress: Progress
    ) -> Journal:
        """Keeps of the folder what an interrupted run of the same fingerprint finished.

        Args:
            root: the folder; made if it isn't there, cleared of all else if it is.
            fingerprint: of this run.
            afresh: keep nothing.
            progress: told what is cleared and why.

        Raises:
            OSError: the folder can't be made or cleared.
        """
        record = None if afresh else _read(root / JOURNAL_NAME)
        steps: dict[str, _Step] = {}
        if record is not None:
            if others := fingerprint.differences(record.fingerprint):
                progress(f"starting afresh: the interrupted run differs in {', '.join(others)}")
            else:
                steps = _whole(root, record.steps, progress)
        _clear_all_but(root, {name for step in steps.values() for name in step.files})
        journal = cls(root, fingerprint, progress, steps)
        journal.content.mkdir(parents=True, exist_ok=True)
        journal.kept.mkdir(exist_ok=True)
        journal._write()
        return journal

    @property
    def content(self) -> Path:
        """The folder that shall appear at the output."""
        return self.root / CONTENT

    @property
    def kept(self) -> Path:
        """The folder for what later steps need and the output has not."""
        return self.root / KEPT

    @property
    def finished(self) -> tuple[str, ...]:
        """Names of the finished steps, in their order."""
        return tuple(self._steps)

    def step(
        self,
        name: str,
        run: Callable[[], T],
        kind: type[T],
        hashes: Callable[[T], Mapping[str, str]] = lambda _: {},
    ) -> T:
        """Runs a step, unless the interrupted run finished it, and writes it down.

        Args:
            name: of the step, in words that a user reads.
            run: does it; all that it writes is new files in `content` and `kept`.
            kind: type of its result, which msgspec can write as JSON and read back.
            hashes: gives, from the result, the SHA-256 that are known already, by path in
                `content`.

        Returns:
            The result.
        """
        if name in self._steps:
            self.progress(f"{name}: taken from the interrupted run")
            return msgspec.json.decode(self._steps[name].result, type=kind)
        before = set(_files(self.root))
        result = run()
        known = {f"{CONTENT}/{path}": sha256 for path, sha256 in hashes(result).items()}
        new = [path for path in _files(self.root) if path not in before]
        files = {path: self._listed(path, known) for path in new}
        self._steps[name] = _Step(files, msgspec.Raw(msgspec.json.encode(result)))
        self._write()
        return result

    def _listed(self, name: str, known: Mapping[str, str]) -> File:
        path = self.root / name
        return File(size=path.stat().st_size, sha256=known.get(name) or hash_file(path))

    def _write(self) -> None:
        # Not flushed to the disk: what a loss of power takes is missed by size or hash.
        new = self.root / f"{JOURNAL_NAME}.new"
        new.write_bytes(msgspec.json.encode(_Record(self.fingerprint, self._steps)))
        os.replace(new, self.root / JOURNAL_NAME)


def _read(path: Path) -> _Record | None:
    """What an interrupted run wrote down; None where it wrote nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _whole(root: Path, steps: Mapping[str, _Step], progress: Progress) -> dict[str, _Step]:
    """The steps up to the first whose files are not as they were written down."""
    found: dict[str, _Step] = {}
    for name, step in steps.items():
        if not all(_is_as_listed(root / path, file) for path, file in step.files.items()):
            progress(f"{name}: made again, what the interrupted run left of it was altered")
            break
        found[name] = step
    return found


def _is_as_listed(path: Path, file: File) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
        return False
    return hash_file(path) == file.sha256


def _files(root: Path) -> Iterable[str]:
    """All files of the steps, relative to the folder."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_dir() and not name.startswith(JOURNAL_NAME):
            yield name


def _clear_all_but(root: Path, kept: set[str]) -> None:
    """Removes files that are not listed, and folders in which nothing is left."""
    if not kept:
        if root.is_dir():
            shutil.rmtree(root)
        return
    for path in sorted(root.rglob("*"), reverse=True):
        if not path.is_dir() or path.is_symlink():
            if path.relative_to(root).as_posix() not in kept:
                path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()
