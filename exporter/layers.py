"""Compares a component with torch one layer at a time, each on torch's own input.

A layer is a resnet, a transformer block, an encoder layer, or what lies between such. Torch runs
the captured program operator by operator and reads each weight when it is used; the part of the
graph that is a layer runs as a graph of its own. So the memory is that of one layer and of the
activations that later ones need, where the whole would need all weights in the engine.

That program is the one that the graph was made from; whether the capture itself is right shows
where its outputs are compared with those of the network.
"""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter.departure import find_within
from exporter.locate import SEARCHED, Recaptured, running, subject_of
from exporter.prepare import Prepared
from exporter.probes import Array, Step
from exporter.progress import Progress
from exporter.reference import Sample
from exporter.report import Comparison, Departure, LayersReport, compare, passes
from exporter.side_by_side import SideBySide, shared_values
from runtimes.batching import built_batch
from runtimes.errors import UsageError
from runtimes.manifest import Graph
from runtimes.process_memory import return_freed_memory

LIMITS_DB: dict[str, float] = {"fp32": 90.0, "fp16": 45.0, "bf16": 35.0}
"""PSNR that a layer's output must reach, by the precision of its weights or arithmetic.

A layer is at most some dozens of nodes, each of which alone reaches 120 dB in float32.
"""

_LAYER = re.compile(
    r"(?:.*\.)?(?:resnets|transformer_blocks|attentions|layers|downsamplers|upsamplers)\.\d+"
)
_BLOCK = re.compile(r"[^.]+(?:\.\d+)?")


@dataclass(frozen=True)
class Layered:
    """What a comparison by layers found.

    Attributes:
        report: figures by layer.
        outputs: of the layers that give the component's own outputs.
        departure: the first departing node of the first departing layer.
    """

    report: LayersReport
    outputs: dict[str, Comparison]
    departure: Departure | None


def layer_of(step: Step) -> str:
    """The layer that a node belongs to, by its module's path; "" outside all modules."""
    path = step.name.rpartition("/")[0]
    found = _LAYER.match(path) or _BLOCK.match(path)
    return found[0] if found else ""


def bounds_of(steps: Sequence[Step], outputs: Sequence[str]) -> dict[str, str]:
    """The values that one layer hands to another or to the outside → the layer that gives each."""
    givers = {value: layer_of(step) for step in steps for value in step.outputs}
    crossing = {
        value
        for step in steps
        for value in step.inputs
        if not step.reads_shape and givers.get(value, layer_of(step)) != layer_of(step)
    }
    return {value: giver for value, giver in givers.items() if value in crossing | {*outputs}}


def compare_layers(
    folder: Path,
    graph: Graph,
    item: Prepared,
    sample: Sample,
    threshold_db: float,
    progress: Progress,
) -> Layered:
    """Compares each layer of a component's graph with torch.

    Args:
        folder: the bundle, which may be staged still.
        graph: the component's plain graph.
        item: the component, with the weights that torch takes.
        sample: one call of the component's network.
        threshold_db: what the component's outputs must reach.
        progress: called with lines on what is done.

    Raises:
        UsageError: the engine's graphs can't be looked into.
        EngineError: the engine failed.
    """
    if graph.engine is not None and graph.engine not in SEARCHED:
        raise UsageError(
            f"the graphs of {graph.engine} can't be verified a layer at a time; verify whole "
            "components."
        )
    start = time.perf_counter()
    feeds, outputs = _one_call(graph, sample.feeds), _one_call(graph, sample.outputs)
    progress(f"{item.component.name}: capturing it again, to run it a layer at a time")
    captured = Recaptured.of(item)
    probe, origins = running(folder, graph, captured)
    program = captured.program
    shared = shared_values(probe, program, origins)
    bounds = {v: layer for v, layer in bounds_of(probe.steps, probe.outputs).items() if v in shared}
    del captured
    gc.collect()
    return_freed_memory()
    both = SideBySide(probe, program, origins, bounds)
    limit_db = LIMITS_DB["fp32" if graph.engine is None else graph.precision]
    layers: dict[str, Comparison] = {}
    found: dict[str, Comparison] = {}
    own: dict[str, Comparison] = {}
    for pair in both.pairs(feeds):
        figures = compare([(pair.reference, pair.found)])
        layer = bounds[pair.value] or pair.value
        layers[layer] = _worse(layers.get(layer), figures)
        if pair.value in outputs:
            found[pair.value] = figures
            own[pair.value] = compare([(outputs[pair.value], pair.reference)])
    missing = [name for name in probe.outputs if name not in found]
    assert not missing, f"outputs that torch's program doesn't share: {missing}"
    departing = [name for name, figures in layers.items() if not passes(figures, limit_db)]
    report = LayersReport(
        layers=layers,
        worst=min(layers, key=lambda name: _rank(layers[name])),
        limit_db=limit_db,
        departing=tuple(departing),
        program=own,
        sizes={name: array.shape for name, array in feeds.items()},
        seconds=round(time.perf_counter() - start, 3),
        passed=not departing and all(passes(each, threshold_db) for each in own.values()),
    )
    progress(f"{item.component.name}: {report}")
    departure = None
    if departing:
        del both, probe, program
        departure = _node_within(folder, graph, item, feeds, threshold_db, departing[0])
    return Layered(report, found, departure)


def _node_within(
    folder: Path,
    graph: Graph,
    item: Prepared,
    feeds: Mapping[str, Array],
    threshold_db: float,
    layer: str,
) -> Departure | None:
    """The first node of a layer that departs by itself."""
    subject = subject_of(folder, graph, Recaptured.of(item), threshold_db)
    steps = subject.probe.steps
    bounds = bounds_of(steps, subject.probe.outputs)
    within = [v for step in steps for v in step.outputs if (layer_of(step) or v) == layer]
    return find_within(subject, feeds, bounds, within)


def _worse(one: Comparison | None, other: Comparison) -> Comparison:
    return other if one is None else min(one, other, key=_rank)


def _rank(figures: Comparison) -> float:
    if figures.non_finite or figures.reference_non_finite:
        return -np.inf
    return np.inf if figures.psnr_db is None else figures.psnr_db


def _one_call(graph: Graph, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The first samples, as many as the graph was built for."""
    batch = built_batch(graph)
    return {
        name: array if batch is None or array.ndim < 2 else array[:batch]
        for name, array in arrays.items()
    }
