"""What comes before a subject is measured: its environment, its export, memory enough for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.bench.client import Program
from benchmarks.bench.entry import Entry, files_of
from benchmarks.bench.results import Build
from benchmarks.environments.environment import (
    REPOSITORY,
    VARIABLES,
    Environment,
    folder_bytes,
    pinned,
    prepare,
)
from benchmarks.peers.exports import EXPORTS, Exporter
from benchmarks.peers.model import Model, single_file
from benchmarks.peers.subjects import SINGLE, SOURCE, Peer
from runtimes.bundle import Bundle
from runtimes.errors import LatedgeError
from runtimes.manifest import read_manifest

T = TypeVar("T")

TOLD = (
    *("stable-diffusion-cpp-python", "openvino-genai", "optimum-onnx", "optimum-intel", "optimum"),
    *("diffusers", "transformers", "torch", "onnxruntime", "openvino", "openvino-tokenizers"),
    "numpy",
)
"""The packages whose versions a row tells."""

CODE = {"latedge-onnxruntime": ("runtimes",), "latedge-openvino": ("runtimes",)}
"""Environment → the packages of this repository that belong to it, and aren't installed in it."""


@dataclass(frozen=True)
class Ready:
    """A peer that can be measured.

    Attributes:
        peer: which.
        entry: for the measuring.
        build: what it took to have it.
        notes: on that, a line each.
    """

    peer: Peer
    entry: Entry
    build: Build
    notes: tuple[str, ...] = ()


@dataclass
class Workshop:
    """Makes what the peers need, each thing once.

    Attributes:
        model: that all run.
        work: folder of environments, exports and caches.
        threads: within an operation.
        timeout_s: how long one installation, export or measuring process may take.
        progress: told what is done.
    """

    model: Model
    work: Path
    threads: int
    timeout_s: float
    progress: Callable[[str], None]
    _failed: dict[str, LatedgeError] = field(default_factory=dict[str, LatedgeError])

    def ready(self, peer: Peer) -> Ready:
        """Makes environment and export of a peer, or takes what was made before.

        Raises:
            LatedgeError: something failed; what other peers need as well fails for them at once.
        """
        environment = self.environment(peer.environment)
        path, build, notes = self._model_of(peer, environment)
        self.check_memory(peer.name, peer.memory)
        entry = Entry(
            name=peer.name,
            program=self._program(peer, environment, path),
            label=peer.program,
            path=path,
            files=(path,) if path.is_file() else files_of(path),
            bundle=Bundle(path, read_manifest(path)) if peer.is_bundle else None,
        )
        return Ready(peer, entry, build, (told_versions(environment.name), *notes))

    @property
    def cache(self) -> Path:
        """Folder of the caches that latedge and torch fill."""
        return self.work / "cache"

    def environment(self, name: str) -> Environment:
        """An environment by its name; one that could not be made isn't tried again."""
        base = self.work / "environments"
        return self._once(
            f"environment {name}",
            lambda: prepare(name, base, self.progress, timeout_s=self.timeout_s),
        )

    def check_memory(self, what: str, times: float) -> None:
        """Refuses work that asks for more memory than is free.

        Args:
            what: would be done.
            times: what it asks for, by the model's weights in float32.

        Raises:
            LatedgeError: gives both sizes.
        """
        import psutil

        needed, free = times * self.model.float32_bytes(), psutil.virtual_memory().available
        if needed > free:
            raise LatedgeError(
                f"{what} asks for about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
                "are free."
            )

    def _model_of(
        self, peer: Peer, environment: Environment
    ) -> tuple[Path, Build, tuple[str, ...]]:
        """What a peer opens, what it took to have it, and notes on that."""
        installed = environment.size_bytes()
        for package in CODE.get(environment.name, ()):
            installed += folder_bytes(REPOSITORY / package)
        if peer.opens == SOURCE:
            return self.model.folder, Build(installed=installed), ()
        if peer.opens == SINGLE:
            models = self.work / "models"
            path = self._once(SINGLE, lambda: single_file(self.model, models, self.progress))
            return path, Build(installed=installed), ()
        exporter = Exporter(
            model=self.model,
            base=self.work / "exports" / self.model.name,
            prepare=self.environment,
            timeout_s=self.timeout_s,
            progress=self.progress,
            check_memory=self.check_memory,
        )
        made = self._once(f"export {peer.opens}", lambda: exporter.make(peer.opens))
        exported_in = self.environment(EXPORTS[peer.opens].environment)
        other = exported_in.name != environment.name
        build = Build(
            seconds=made.seconds,
            peak_rss=made.peak_rss,
            installed=installed,
            installed_export=exported_in.size_bytes() if other else None,
        )
        return exporter.path(peer.opens), build, made.notes

    def _program(self, peer: Peer, environment: Environment, path: Path) -> Program:
        python, _, *module = peer.command(str(environment.python), str(path), self.threads)
        limit = ("-m", "benchmarks.peers.limited", f"{self.timeout_s:g}")
        variables = {name: value for name, value in VARIABLES.items() if name != "PYTHONPATH"}
        # Beside latedge's own, so that a run starts with both empty.
        variables["TORCHINDUCTOR_CACHE_DIR"] = str(self.cache / "torchinductor")
        return Program((python, *limit, *module), variables)

    def _once(self, key: str, work: Callable[[], T]) -> T:
        """Does what may be asked for again; a failure is kept and raised again."""
        if key in self._failed:
            raise self._failed[key]
        try:
            return work()
        except LatedgeError as e:
            self._failed[key] = e
            raise
        except OSError as e:
            where = f"{e.filename}: " if e.filename else ""
            self._failed[key] = LatedgeError(f"{where}{e.strerror or e}.")
            raise self._failed[key] from e


def told_versions(environment: str) -> str:
    """The packages of an environment that matter to the figures, in a line."""
    pins = pinned(environment)
    listed = ", ".join(f"{name} {pins[name]}" for name in TOLD if name in pins)
    return f"environment {environment}: {listed}"


def all_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
