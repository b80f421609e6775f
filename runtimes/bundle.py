"""Opens a bundle and checks that it is what its manifest says.

Opening checks every size and hashes the graphs and small files. Weight files are hashed once per
file identity (device, inode, size, mtime, ctime) and the result is remembered in the cache folder,
so that the second opening is quick; `full=True` hashes everything anew. A folder that Optimum
exported has no manifest, and gets one that is inferred.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import msgspec

from runtimes.errors import BundleError
from runtimes.manifest import MANIFEST_NAME, Graph, Manifest, encode_manifest, read_manifest

SMALL_FILE_BYTES = 16 * 2**20
"""Files up to this size are hashed at every opening: at 1.5 GB/s that is 10 ms at most."""

PLAIN = "model"
"""The graph of a component that is meant where nothing else is said."""

_CHUNK_BYTES = 2**22
_REMEMBERED = 4096


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose manifest was read and whose files were checked.

    Attributes:
        path: the folder.
        manifest: its manifest.
        inferred: whether the folder has none, and this one was made from what it holds.
        size: height and width in pixels of the pictures that are meant, where components have
            graphs for several; None for the default.
    """

    path: Path
    manifest: Manifest
    inferred: bool = False
    size: tuple[int, int] | None = None

    @cached_property
    def sha256(self) -> str:
        """Of the manifest, which holds the hashes of all files; hex."""
        if self.inferred:
            return hashlib.sha256(encode_manifest(self.manifest)).hexdigest()
        return hash_file(self.path / MANIFEST_NAME)

    @cached_property
    def scheduler_config(self) -> Mapping[str, object]:
        """The source's scheduler_config.json."""
        return read_json(self.path / self.manifest.scheduler)

    def at(self, height: int, width: int) -> Bundle:
        """The same bundle, of which the graphs for pictures of a size are meant.

        Args:
            height: in pixels.
            width: likewise.
        """
        return replace(self, size=(height, width))

    def graph_name(self, component: str) -> str:
        """The name of a component's graph for the size that is meant: "model" where it has one.

        Others are called by height and width in pixels, such as "model.768x512". A component
        without such a graph, as text encoders are, has its plain one for every size.
        """
        known = self.manifest.components.get(component)
        if self.size is None or known is None:
            return PLAIN
        height, width = self.size
        name = f"{PLAIN}.{height}x{width}"
        return name if name in known.graphs else PLAIN

    def graph(self, component: str, name: str | None = None) -> Graph:
        """A graph of a component.

        Args:
            component: the component.
            name: the graph; None for that of the size that is meant.

        Raises:
            BundleError: the bundle lacks the component or the graph.
        """
        components = self.manifest.components
        if component not in components:
            known = ", ".join(sorted(components))
            raise BundleError(f"{self.path} has no {component} (it has: {known}).")
        graphs = components[component].graphs
        name = self.graph_name(component) if name is None else name
        if name not in graphs:
            known = ", ".join(sorted(graphs))
            raise BundleError(f"{component} in {self.path} has no graph {name!r} (it has: {known})")
        return graphs[name]

    def size_bytes(self) -> int:
        """The sum of the sizes of the files that the manifest lists."""
        return sum(file.size for file in self.manifest.files.values())


def open_bundle(path: Path | str, *, full: bool = False) -> Bundle:
    """Opens a bundle folder and checks its files.

    Args:
        path: the folder, of a bundle or of an export by Optimum.
        full: hash every file now, whatever is remembered.

    Raises:
        BundleError: the manifest is refused, or a file is missing, of another size or altered; or
            the folder has no manifest and none can be inferred.
    """
    # Imported on use: it needs this module.
    from runtimes.optimum.folder import infer_manifest, is_without_manifest

    folder = Path(path)
    if is_without_manifest(folder):
        return Bundle(folder, infer_manifest(folder, full=full), inferred=True)
    manifest = read_manifest(folder)
    check_files(folder, manifest, full=full)
    return Bundle(folder, manifest)


def check_files(folder: Path, manifest: Manifest, *, full: bool) -> None:
    """Compares the size and SHA-256 of every listed file with the manifest.

    Raises:
        BundleError: names the first file that is missing, unreadable, of another size or altered.
    """
    sizes = {name: _size_bytes(folder, name) for name in manifest.files}
    for name, file in manifest.files.items():
        if sizes[name] != file.size:
            raise BundleError(
                f"{folder / name} has {sizes[name]} bytes where the manifest says {file.size}: "
                "truncated or altered. Make the bundle again."
            )
    memory = HashMemory.open()
    for name, file in manifest.files.items():
        remember = file.size > SMALL_FILE_BYTES and not full
        found = memory.sha256(folder / name) if remember else hash_file(folder / name)
        if found != file.sha256:
            raise BundleError(
                f"{folder / name} is altered: its SHA-256 is {found[:12]}…, the manifest says "
                f"{file.sha256[:12]}…. Make the bundle again."
            )
    memory.save()


def _size_bytes(folder: Path, name: str) -> int:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{path} is a link that leaves the bundle.")
    try:
        return path.stat().st_size
    except OSError as e:
        raise BundleError(f"{path} is missing from the bundle: {e.strerror}.") from e


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hex; about 1.5 GB/s.

    Raises:
        BundleError: the file can't be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as e:
        raise BundleError(f"{path} can't be read: {e.strerror}.") from e
    return digest.hexdigest()


def read_json(path: Path) -> Mapping[str, object]:
    """Reads a JSON object.

    Raises:
        BundleError: the file can't be read or isn't a JSON object.
    """
    try:
        # Not msgspec: diffusers writes -Infinity, which strict JSON doesn't have.
        found = json.loads(path.read_bytes())
    except OSError as e:
        raise BundleError(f"{path} can't be read: {e.strerror}.") from e
    except (ValueError, RecursionError) as e:
        raise BundleError(f"{path} is not valid JSON: {e}.") from e
    if not isinstance(found, dict):
        raise BundleError(f"{path} holds {type(found).__name__}, not a JSON object.")
    return cast("Mapping[str, object]", found)


def cache_folder() -> Path:
    """Where latedge keeps what it can make again: `LATEDGE_CACHE`, else the user's cache folder."""
    given = os.environ.get("LATEDGE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "latedge"


@dataclass
class HashMemory:
    """SHA-256 by file identity, kept in the cache folder; a lost or broken memory costs time only.

    Attributes:
        path: the JSON file behind it.
        known: identity → hex digest, oldest first.
    """

    path: Path
    known: dict[str, str]
    changed: bool = False

    @classmethod
    def open(cls) -> HashMemory:
        """The memory of this user; empty where there is none or it can't be read."""
        path = cache_folder() / "sha256.json"
        try:
            known = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            known = {}
        return cls(path, known)

    def sha256(self, path: Path) -> str:
        """The digest of a file, hashed unless its identity is known."""
        stat = path.stat()
        # ctime too: an mtime can be set back after a change, a ctime can't.
        parts = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        identity = ":".join(map(str, parts))
        if identity not in self.known:
            self.known[identity] = hash_file(path)
            self.changed = True
        return self.known[identity]

    def save(self) -> None:
        """Keeps what was learnt, newest last, at most a few thousand files."""
        if not self.changed:
            return
        kept = dict(list(self.known.items())[-_REMEMBERED:])
        # Not being able to remember is no reason to fail: the next opening hashes again.
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix="sha256.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(msgspec.json.encode(kept))
                os.replace(name, self.path)
            except OSError:  # on Windows also while another process reads the file
                os.unlink(name)
