"""Engines that are slower by a known share, and bundles that are run by them.

They are registered as a third party's engines are, by an entry point of a package that lies in a
folder of its own: the processes of a benchmark find it on PYTHONPATH, and the product knows nothing
of it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtimes.engine import ENGINES, ENTRY_POINTS, Array, Engine, load_engine_class
from runtimes.errors import UsageError
from runtimes.manifest import MANIFEST_NAME, Graph

SHARE = 0.05
PREFIX = "slowed-"


class SlowedEngine:
    """An engine whose every call takes `SHARE` more work.

    It spins for that share of the processor time of the call, each of its threads taken as one that
    was busy. By processor time, not by the clock: where other programs take half of the core, more
    work is delayed by them as well, and a wait of the clock's 5 % turns into 9.
    """

    of: str

    def __init__(self, folder: Path, graph: Graph, *, device: str, threads: int | None) -> None:
        """Loads the graph in the engine that is slowed; see `runtimes.engine.EngineClass`."""
        made = load_engine_class(self.of)(folder, graph, device=device, threads=threads)
        self._engine: Engine = made
        self._threads = threads or len(os.sched_getaffinity(0))
        self.graph, self.device, self.version = made.graph, made.device, made.version

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Runs the graph, then spins."""
        start = time.process_time()
        found = self._engine(feeds, outputs)
        work = (time.process_time() - start) / self._threads
        end = time.thread_time() + work * SHARE
        while time.thread_time() < end:
            pass
        return found

    def close(self) -> None:
        """Frees the engine's memory."""
        self._engine.close()


class SlowedOnnxRuntime(SlowedEngine):
    """ONNX Runtime, slowed."""

    of = "onnxruntime"


class SlowedOpenvino(SlowedEngine):
    """OpenVINO, slowed."""

    of = "openvino"


CLASSES: dict[str, type[SlowedEngine]] = {
    each.of: each for each in (SlowedOnnxRuntime, SlowedOpenvino)
}


def slowed_bundle(bundle: Path, place: Path) -> Path:
    """A copy of a compiled bundle that slowed engines run; it needs `register` to open.

    Args:
        bundle: compiled for an engine of `CLASSES`.
        place: the copy; it must not exist.

    Raises:
        UsageError: the bundle is run by another engine.
    """
    text = (bundle / MANIFEST_NAME).read_text(encoding="utf-8")
    engines = set(_engines(json.loads(text)))
    if not engines or not engines <= set(CLASSES):
        found = ", ".join(sorted(engines)) or "none: it is portable"
        raise UsageError(
            f"{bundle}: its engine is {found}; slowed ones are there for {', '.join(CLASSES)}."
        )
    shutil.copytree(bundle, place)
    manifest = json.loads(text)
    _rename(manifest)
    (place / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8", newline="\n")
    return place


def register(folder: Path) -> None:
    """Makes `folder`, once it is on PYTHONPATH, a place whose packages bring the slowed engines."""
    info = folder / "latedge_slowed-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: latedge-slowed\nVersion: 0\n", encoding="utf-8", newline="\n"
    )
    lines = [
        f"{PREFIX}{name} = {each.__module__}:{each.__name__}" for name, each in CLASSES.items()
    ]
    assert not {PREFIX + name for name in CLASSES} & set(ENGINES)
    (info / "entry_points.txt").write_text(
        "\n".join([f"[{ENTRY_POINTS}]", *lines, ""]), encoding="utf-8", newline="\n"
    )


def _engines(value: object) -> list[str]:
    """All values of the key "engine" within a manifest."""
    if isinstance(value, list):
        return [name for each in value for name in _engines(each)]
    if not isinstance(value, dict):
        return []
    own = [value["engine"]] if isinstance(value.get("engine"), str) else []
    return own + [name for each in value.values() for name in _engines(each)]


def _rename(value: object) -> None:
    """Puts the prefix before all values of the key "engine"."""
    if isinstance(value, list):
        for each in value:
            _rename(each)
    elif isinstance(value, dict):
        if isinstance(value.get("engine"), str):
            value["engine"] = PREFIX + value["engine"]
        for each in value.values():
            _rename(each)
