"""Keeps what Core ML's compiler made of packages, in the user's cache folder.

Core ML runs compiled models (`.mlmodelc`), and what it specialises of one for a compute unit it
remembers by the model's place. Compiled anew into a temporary folder at every opening, a U-Net
would take minutes each time on the Neural Engine. An entry is named by a hash of the package and
of the system's version. Trouble with the cache is logged as a warning and never an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtimes.bundle import HashMemory, cache_folder
from runtimes.engines.cache_entries import make_entry, remove
from runtimes.engines.cache_size import limit_bytes, taken_bytes

_LAYOUT = 1
_COMPILED = "model.mlmodelc"

Compile = Callable[[Path, Path], object]
"""(package, place for the compiled model, which ends in .mlmodelc)."""

_log = logging.getLogger("latedge")


@dataclass(frozen=True)
class CompiledModels:
    """Compiled models in a folder of bounded size.

    Attributes:
        folder: where they lie.
        max_bytes: what all of them may take; the least recently used make room for a new one.
    """

    folder: Path
    max_bytes: int

    @classmethod
    def of_user(cls) -> CompiledModels:
        """The user's.

        Raises:
            UsageError: an environment variable has a value that it can't have.
        """
        return cls(cache_folder() / "coreml", limit_bytes())

    def path(self, package: Path, system: str, compile: Compile) -> Path | None:
        """The compiled model of a package, made where there is none.

        Args:
            package: the `.mlpackage`.
            system: whose compiler makes it, such as "macOS 15.5".
            compile: makes it.

        Returns:
            The `.mlmodelc`, or None where none can be kept; a warning then says why.

        Raises:
            Exception: what `compile` raises.
        """
        if self.max_bytes == 0:
            return None
        entry = self.folder / _key(package, system)
        if not entry.exists() and not self._made(entry, package, compile):
            return None
        with contextlib.suppress(OSError):
            os.utime(entry)
        return entry / _COMPILED

    def drop(self, compiled: Path, reason: str) -> None:
        """Removes an entry that turned out to be broken, by the path that it was given as."""
        _log.warning("dropping the compiled model %s: %s", compiled.parent, reason)
        remove(compiled.parent)

    def _made(self, entry: Path, package: Path, compile: Compile) -> bool:
        failed: list[Exception] = []

        def build(partial: Path) -> None:
            try:
                compile(package, partial / _COMPILED)
            except Exception as e:
                # Not the cache's trouble, even where it is an OSError.
                failed.append(e)
                raise

        try:
            make_entry(entry, taken_bytes(package), self.max_bytes, build)
        except OSError as e:
            if failed:
                raise
            _log.warning("no compiled model is kept in %s: %s", self.folder, e)
            return False
        return True


def compiled_in(folder: Path) -> Path:
    """Where the compiled model stands in a folder that holds it alone."""
    return folder / _COMPILED


def _key(package: Path, system: str) -> str:
    memory = HashMemory.open()
    files = sorted(path for path in package.rglob("*") if path.is_file())
    digests = [(path.relative_to(package).as_posix(), memory.sha256(path)) for path in files]
    memory.save()
    return hashlib.sha256(msgspec.json.encode((_LAYOUT, digests, system))).hexdigest()[:32]
