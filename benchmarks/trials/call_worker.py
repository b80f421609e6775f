"""`python -m benchmarks.trials.call_worker BUNDLE [THREADS]`: calls of the U-Net, bare and timed.

It reads a line for each block, "KIND COUNT", and answers with the milliseconds of its calls, as
JSON. The kinds are

    engine      the engine with arrays of its own names and dtypes
    component   the same by roles, as the pipeline calls it: cast, batched, checked for NaN
    stopwatch   the same as the benchmark times it: within a lap of the pipeline's stopwatch, the
                garbage collector off
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle, open_bundle
from runtimes.component import Component, as_fed
from runtimes.latents import latent_shape
from runtimes.parts import ROLES
from runtimes.timings import Stopwatch

Floats = NDArray[np.float32]
KINDS = ("engine", "component", "stopwatch")


def main() -> None:
    """Serves until the input ends."""
    bundle = open_bundle(Path(sys.argv[1]))
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else None
    unet = Component.open(bundle, "unet", ROLES["unet"], device="cpu", threads=threads)
    feeds = _feeds(bundle, unet)
    runs = {"engine": _engine, "component": _component, "stopwatch": _stopwatch}
    for line in sys.stdin:
        kind, count = line.split()
        print(json.dumps(runs[kind](unet, feeds, int(count))), flush=True)


def _feeds(bundle: Bundle, unet: Component) -> dict[str, Floats]:
    """Noise in the shapes of a guided picture's call."""
    batch = unet.batch or 2
    rng = np.random.default_rng(0)
    defaults = bundle.manifest.defaults
    shape = latent_shape(bundle.manifest.latents, batch, defaults.height, defaults.width)
    tokens, width = unet.inputs["encoder_hidden_states"].shape[1:]
    context = (batch, *(each if isinstance(each, int) else 77 for each in (tokens, width)))
    return {
        "sample": rng.standard_normal(shape, dtype=np.float32),
        "timestep": np.array([500.0], dtype=np.float32),
        "encoder_hidden_states": rng.standard_normal(context, dtype=np.float32),
    }


def _timed(call: Callable[[], object], count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return times


def _engine(unet: Component, feeds: dict[str, Floats], count: int) -> list[float]:
    named = {
        unet.inputs[role].name: as_fed(value, unet.inputs[role]) for role, value in feeds.items()
    }
    return _timed(lambda: unet.engine(named, [unet.output.name]), count)


def _component(unet: Component, feeds: dict[str, Floats], count: int) -> list[float]:
    return _timed(lambda: unet(**feeds), count)


def _stopwatch(unet: Component, feeds: dict[str, Floats], count: int) -> list[float]:
    watch = Stopwatch()
    gc.disable()
    for _ in range(count):
        with watch.lap("unet"):
            unet(**feeds)
    gc.enable()
    return watch.laps_ms["unet"]


if __name__ == "__main__":
    main()
