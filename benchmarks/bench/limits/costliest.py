"""The nodes that cost most, as the engine's own profiler tells it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

from benchmarks.bench.results import NodeCost
from runtimes.bundle import Bundle
from runtimes.engine import (
    Array,
    NodeTime,
    ProfiledClass,
    ProfiledEngine,
    load_engine_class,
)
from runtimes.errors import BundleError, EngineError

SHOWN = 10
"""Nodes that are told."""


def costliest(
    bundle: Bundle,
    component: str,
    feeds: Mapping[str, Array],
    device: str,
    threads: int | None,
    calls: int = 5,
) -> tuple[NodeCost, ...]:
    """Runs a component with its engine's profiler.

    The session is the one that the pipeline runs, with the same options and the same optimised
    model; it is loaded here and freed. A call before the counted ones warms it up.

    Args:
        bundle: compiled.
        component: such as "unet".
        feeds: of a call of the engine, by the graph's names, as `picture_calls` gives them.
        device: as the engine names it.
        threads: within an operation; None leaves it to the engine.
        calls: over which each node's median is taken, from 1.

    Returns:
        The ten that take most time, the costliest first.

    Raises:
        BundleError: the bundle lacks the component, or isn't compiled.
        EngineError: the engine has no profiler or it fails, the engine can't be loaded, or a call
            fails.
        UsageError: the device isn't known, or `threads` is below 1.
    """
    engine = _open(bundle, component, device, threads)
    try:
        for _ in range(calls + 1):
            engine(feeds)
        times = engine.node_times()[1:]
    finally:
        engine.close()
    return most_of(times)


def _open(bundle: Bundle, component: str, device: str, threads: int | None) -> ProfiledEngine:
    graph = bundle.graph(component)
    if graph.engine is None:
        raise BundleError(f"{bundle.path} is portable and can't run yet. Compile it first.")
    engine_class: Any = load_engine_class(graph.engine)
    if not hasattr(engine_class, "profiled"):
        raise EngineError(f"engine {graph.engine!r} tells no times of nodes.")
    profiled = cast("ProfiledClass", engine_class).profiled
    return profiled(bundle.path, graph, device=device, threads=threads)


def most_of(times: Sequence[Sequence[NodeTime]], shown: int = SHOWN) -> tuple[NodeCost, ...]:
    """The costliest nodes.

    Args:
        times: of the nodes, by call; a node that runs several times in a call counts in all.
        shown: how many are wanted.

    Raises:
        EngineError: no node has a time.
    """
    by_node: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for call in times:
        spent: defaultdict[tuple[str, str], float] = defaultdict(float)
        for node in call:
            spent[node.name, node.kind] += node.time_ms
        for key, time_ms in spent.items():
            by_node[key].append(time_ms)
    medians = {key: statistics.median(found) for key, found in by_node.items()}
    total = sum(medians.values())
    if total <= 0:
        raise EngineError("the engine's profiler told no times of nodes.")
    ranked = sorted(medians.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        NodeCost(name=name, kind=kind, time_ms=time_ms, share=time_ms / total)
        for (name, kind), time_ms in ranked[:shown]
    )
