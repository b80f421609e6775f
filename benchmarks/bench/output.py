"""Where a result may be written: looked at before anything is measured."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench.results import FORMAT
from runtimes.errors import UsageError

_HEAD_BYTES = 200


def check_output(output: Path, bundles: Sequence[Path]) -> None:
    """Refuses a place where the result could not be written, or where something would be lost.

    Args:
        output: the file.
        bundles: what is measured; nothing is written into them.

    Raises:
        UsageError: says why.
    """
    folder = output.parent
    if not folder.is_dir():
        raise UsageError(f"{output} can't be written: the folder {folder} does not exist.")
    if output.is_dir():
        raise UsageError(f"{output} can't be written: a folder is there.")
    if os.path.lexists(output) and not _is_replaceable(output):
        raise UsageError(
            f"{output} is something else than a result, and is not replaced; give another place, "
            "or --json for the result on standard output."
        )
    for bundle in bundles:
        if output.resolve().is_relative_to(bundle.resolve()):
            raise UsageError(f"{output} lies in the bundle {bundle}; give another place.")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        raise UsageError(f"{output} can't be written: {e.strerror}.") from e


def _is_replaceable(path: Path) -> bool:
    """An older result, or the empty file that `mktemp` leaves."""
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return not head or f'"{FORMAT}"'.encode() in head
