"""The files of a bundle in the making: written, copied and listed with their size and hash."""

from __future__ import annotations

import shutil
from pathlib import Path

from runtimes.bundle import hash_file
from runtimes.manifest import MANIFEST_NAME, File, Manifest, encode_manifest

VERIFICATION_NAME = "verification.json"


def list_files(folder: Path, known: dict[str, str]) -> dict[str, File]:
    """Size and SHA-256 of every file of a staged bundle, but manifest and verification report.

    Args:
        folder: the staged bundle.
        known: hashes by path that need not be computed again.
    """
    found: dict[str, File] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (MANIFEST_NAME, VERIFICATION_NAME):
            sha256 = known[name] if name in known else hash_file(path)
            found[name] = File(size=path.stat().st_size, sha256=sha256)
    return found


def copy_file(source: Path, target: Path) -> None:
    """Copies a file's bytes, making its folder; a link to it would tie the two bundles together."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def write_file(target: Path, content: bytes) -> None:
    """Writes a file, making its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `latedge.json`, the last file of a bundle."""
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(manifest))
