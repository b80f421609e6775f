"""`python -m benchmarks.step_worker`: one call of a U-Net, in the process that it is measured in.

Takes a bundle, a folder with `feeds.npz`, and where the output goes. A portable bundle is run by
torch in float32, with the bundle's weights.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle, open_bundle
from runtimes.engine import Array, load_engine_class
from runtimes.process_memory import peak_rss_bytes

NAME = "unet"

Call = Callable[[Mapping[str, Array]], NDArray[np.float32]]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a process took.

    Attributes:
        version: what ran.
        load_s: loading, wall clock.
        call_s: the one call, wall clock.
        call_cpu_s: its CPU time, over all threads: what other programs on the machine don't alter.
        loaded_rss_bytes: peak of the resident set until it was loaded.
        peak_rss_bytes: of the whole process.
        mapped_bytes: of files, resident at the end; the system may take them back.
    """

    version: str
    load_s: float
    call_s: float
    call_cpu_s: float
    loaded_rss_bytes: int
    peak_rss_bytes: int
    mapped_bytes: int


def main(arguments: list[str]) -> None:
    """Runs the call and prints what it took, as JSON."""
    bundle, folder, output = open_bundle(Path(arguments[0])), Path(arguments[1]), arguments[2]
    with np.load(folder / "feeds.npz") as stored:
        feeds = {name: stored[name] for name in stored.files}
    begin = time.perf_counter()
    is_portable = bundle.manifest.target is None
    with ExitStack() as opened:
        ran, call = _torch(bundle, opened) if is_portable else _engine(bundle)
        loaded, loaded_rss, cpu = time.perf_counter(), peak_rss_bytes(), time.process_time()
        found = call(feeds)
        end, cpu = time.perf_counter(), time.process_time() - cpu
    np.save(output, found)
    measured = Measured(
        version=ran,
        load_s=round(loaded - begin, 2),
        call_s=round(end - loaded, 2),
        call_cpu_s=round(cpu, 2),
        loaded_rss_bytes=loaded_rss or 0,
        peak_rss_bytes=peak_rss_bytes() or 0,
        mapped_bytes=_mapped_bytes(),
    )
    print(msgspec.json.encode(measured).decode())


def _engine(bundle: Bundle) -> tuple[str, Call]:
    graph = bundle.graph(NAME)
    loaded = load_engine_class(str(graph.engine))(bundle.path, graph, device="cpu", threads=None)
    (output,) = (port.name for port in graph.outputs)

    def call(feeds: Mapping[str, Array]) -> NDArray[np.float32]:
        return loaded(feeds)[output].astype(np.float32, copy=False)

    return loaded.version, call


def _torch(bundle: Bundle, opened: ExitStack) -> tuple[str, Call]:
    from exporter.reference import recording
    from exporter.verify import references

    item = references(bundle, None)[NAME]
    run = opened.enter_context(recording(item.component, item.config, item.weights, []))
    (output,) = (port.name for port in bundle.graph(NAME).outputs)
    return f"torch {version('torch')}", lambda feeds: run(feeds)[output]


def _mapped_bytes() -> int:
    """Resident pages of files; 0 where the system doesn't tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("RssFile:")), 0)


if __name__ == "__main__":
    main(sys.argv[1:])
