"""Keeps the models that ONNX Runtime optimised for this machine, in the user's cache folder.

ONNX Runtime converts fp16 weights to fp32, transposes and re-orders them whenever it opens a
bundle's graph. What comes out fits one processor and keeps none of the weights' names, so that it
has no place in a bundle. It is saved here instead, once: weights in a file that later sessions map
into memory.

SD 1.5's U-Net with fp16 weights, ONNX Runtime 1.32, 2 cores of a Xeon with AVX-512, seconds of CPU
time and peak memory of the process while it loads:

    without the cache                  10.2 s   6.1 GB, of which it keeps 4.2
    the first time, writes 3.4 GB      20.2 s   6.1 GB, of which it keeps 1.6
    every other time                    1.6 s   1.1 GB, of which it keeps 1.1

The VAE decoder, of 99 MB: 0.6 s and 0.60 GB without, 0.06 s and 0.07 GB with it. The mapped weights
(2.3 GB of the U-Net's) come in with the first step, and the system may drop them when it needs the
memory. Steps take the same time and give the same bits. So it is on by default.

Knows no SDK: the engine builds and opens the models, this file keeps them. An entry is a folder
named by a hash of all that it depends on. It appears whole or not at all, and two processes may
make the same one at once. Trouble with the cache is logged as a warning and never an error: the
engine then opens the bundle's own graph.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtimes.bundle import HashMemory, cache_folder
from runtimes.engines.cache_entries import make_entry, remove
from runtimes.engines.cache_size import limit_bytes
from runtimes.errors import BundleError, unknown_name
from runtimes.manifest import File, Graph, read_manifest

SWITCH = "LATEDGE_ORT_CACHE"
"""Environment variable: "on" caches every model, "off" none; unset, those where it pays."""

MIN_WEIGHT_BYTES = 64 * 2**20
"""Smaller models load in less than 0.5 s, at less than 0.4 GB, without a cache."""

MODEL_NAME = "model.onnx"
WEIGHTS_NAME = "weights.bin"
_ENTRY_NAME = "entry.json"
_LAYOUT = 1
_GROWTH = {"fp16": 2, "bf16": 2}

_log = logging.getLogger("latedge")


class _Entry(msgspec.Struct, frozen=True):
    files: dict[str, File]


@dataclass(frozen=True)
class Source:
    """A bundle's graph, as far as its optimised form depends on it.

    Attributes:
        digests: SHA-256 of the graph and its weight files.
        weight_bytes: size of the weight files.
        optimized_bytes: about what the optimised model takes: its weights in fp32.
    """

    digests: tuple[str, ...]
    weight_bytes: int
    optimized_bytes: int

    @classmethod
    def read(cls, bundle: Path, graph: Graph) -> Source | None:
        """What the manifest says of a graph; None where there is none or it doesn't list it."""
        try:
            files = read_manifest(bundle).files
            found = [files[name] for name in (graph.file, *graph.weights)]
        except (BundleError, KeyError):
            return None
        size = sum(file.size for file in found[1:])
        grown = size * _GROWTH.get(graph.precision, 1)
        return cls(tuple(file.sha256 for file in found), size, grown)

    def key(self, options: Mapping[str, str]) -> str:
        """The name of the entry: hex, of the source, this machine and the engine's options."""
        parts = (_LAYOUT, self.digests, cpu_identity(), sorted(options.items()))
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def cpu_identity(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What tells this processor's kind from others: its brand and instruction sets.

    Args:
        cpuinfo: where Linux tells it. On systems without it the host's name stands in for the
            instruction sets.
    """
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").strip().split("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    lines = (line.partition(":") for line in first.splitlines())
    told = {name.strip(): value.strip() for name, _, value in lines}
    kept = ("vendor_id", "model name", "flags", "isa", "Features")
    kept += ("CPU implementer", "CPU architecture", "CPU variant", "CPU part")
    return f"{platform.machine()} {[told.get(name) for name in kept]}"


@dataclass(frozen=True)
class OrtCache:
    """Entries of optimised models in a folder of bounded size.

    Attributes:
        folder: where they lie.
        max_bytes: what all of them may take; the least recently used make room for a new one.
        min_weight_bytes: models with less weights aren't cached.
    """

    folder: Path
    max_bytes: int
    min_weight_bytes: int

    @classmethod
    def from_environment(cls) -> OrtCache | None:
        """The user's cache, or None where it is switched off.

        Raises:
            UsageError: an environment variable has a value that it can't have.
        """
        switch = os.environ.get(SWITCH) or "auto"
        if switch not in ("auto", "on", "off"):
            raise unknown_name(SWITCH, switch, ("on", "off"))
        max_bytes = limit_bytes()
        if switch == "off" or max_bytes == 0:
            return None
        smallest = 0 if switch == "on" else MIN_WEIGHT_BYTES
        return cls(cache_folder() / "onnxruntime", max_bytes, smallest)

    def model(self, key: str, size_bytes: int, build: Callable[[Path], None]) -> Path | None:
        """The model file of an entry, made where there is none.

        Args:
            key: name of the entry.
            size_bytes: about what it takes, to make room for it.
            build: writes `MODEL_NAME` and `WEIGHTS_NAME` into the folder it is given.

        Returns:
            The path, or None where it can't be kept; a warning then says why.
        """
        entry = self.folder / key
        if entry.exists() and not self._is_whole(entry):
            self.drop(key, "altered or incomplete")
            if entry.exists():
                return None
        if not entry.exists():
            try:
                self._make(entry, size_bytes, build)
            # Whatever the engine or the disk says: the bundle's own graph can still be run.
            except Exception as e:
                _log.warning("no optimised model is kept in %s: %s", self.folder, e)
                return None
        with contextlib.suppress(OSError):
            os.utime(entry)
        return entry / MODEL_NAME

    def drop(self, key: str, reason: str) -> None:
        """Removes an entry that turned out to be broken."""
        _log.warning("dropping the optimised model %s: %s", self.folder / key, reason)
        remove(self.folder / key)

    def _is_whole(self, entry: Path) -> bool:
        memory = HashMemory.open()
        try:
            files = msgspec.json.decode((entry / _ENTRY_NAME).read_bytes(), type=_Entry).files
            for name, file in files.items():
                # The size first: a hash of gigabytes takes seconds.
                if (entry / name).stat().st_size != file.size:
                    return False
                if memory.sha256(entry / name) != file.sha256:
                    return False
        except (OSError, BundleError, msgspec.DecodeError, UnicodeDecodeError):
            return False
        memory.save()
        return MODEL_NAME in files

    def _make(self, entry: Path, size_bytes: int, build: Callable[[Path], None]) -> None:
        def sealed(partial: Path) -> None:
            build(partial)
            _seal(partial)

        make_entry(entry, size_bytes, self.max_bytes, sealed)


def _seal(partial: Path) -> None:
    """Brings the files to the disk and notes their sizes and hashes beside them."""
    memory, files = HashMemory.open(), dict[str, File]()
    for path in sorted(partial.iterdir()):
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        files[path.name] = File(size=path.stat().st_size, sha256=memory.sha256(path))
    (partial / _ENTRY_NAME).write_bytes(msgspec.json.encode(_Entry(files)))
    memory.save()
