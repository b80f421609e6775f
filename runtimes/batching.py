"""Runs any number of samples through a graph that may be built for a fixed batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from runtimes.engine import Array, Engine
from runtimes.manifest import Graph


def built_batch(graph: Graph) -> int | None:
    """The batch that a graph was built for, or None where it takes any."""
    for port in graph.inputs:
        if len(port.shape) >= 2:
            axis = port.shape[0]
            return axis if isinstance(axis, int) else None
    return None


def run_batched(
    engine: Engine, feeds: Mapping[str, Array], outputs: Sequence[str]
) -> dict[str, Array]:
    """Calls an engine as often as its batch asks for.

    A graph that takes any batch is called once. For one built for a batch of b, the samples go
    through b at a time; the last call is filled up with copies of the last sample, and what they
    give is cut off.

    Args:
        engine: the loaded graph.
        feeds: by the graph's names; the samples lie along the first axis. Arrays of fewer than two
            axes, such as `timestep` of shape [1], belong to all samples and go to every call.
        outputs: names of the outputs wanted; samples lie along their first axis.

    Raises:
        EngineError: the engine failed.
    """
    batch, count = built_batch(engine.graph), _count(feeds)
    if batch is None or batch == count:
        return engine(feeds, outputs)
    parts = [engine(_rows(feeds, start, batch), outputs) for start in range(0, count, batch)]
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in outputs}


def first_rows(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Feeds of one call: as they are for a graph that takes any batch, else its first samples."""
    batch = built_batch(graph)
    return dict(feeds) if batch is None else _rows(feeds, 0, batch)


def _count(feeds: Mapping[str, Array]) -> int:
    counts = {len(array) for array in feeds.values() if array.ndim >= 2}
    assert len(counts) == 1, f"feeds of different batches: {sorted(counts)}"
    return counts.pop()


def _rows(feeds: Mapping[str, Array], start: int, batch: int) -> dict[str, Array]:
    return {
        name: array if array.ndim < 2 else _filled(array[start : start + batch], batch)
        for name, array in feeds.items()
    }


def _filled(rows: Array, batch: int) -> Array:
    missing = batch - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
