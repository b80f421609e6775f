"""Sets up the search for the first node of a bundle's component that departs from torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from exporter.departure import LIMITS_DB, Shown, Subject, find_departure
from exporter.passes import PORTABLE, apply
from exporter.passes.naming import Origins, origins_of, set_origins
from exporter.portable import unbind
from exporter.prepare import Prepared
from exporter.probes import Array, Dependencies, Probe
from exporter.probes.ort import OnnxProbe
from exporter.progress import Progress
from exporter.report import Departure
from exporter.targets.ort import lower
from exporter.torch_program import TorchProgram
from exporter.trace import trace
from exporter.weights import read_header
from runtimes.batching import first_rows
from runtimes.manifest import Graph

SEARCHED = ("onnxruntime", "openvino")
"""Engines whose graphs can be looked into; a portable graph can be, too."""


@dataclass(frozen=True)
class Recaptured:
    """A component captured anew, from its config.

    Attributes:
        item: the component, with the weights that torch takes.
        program: torch's program with those weights.
        portable: the portable graph, bound to no weights.
        origins: value of that graph → the program's names of it.
    """

    item: Prepared
    program: TorchProgram
    portable: ir.Model
    origins: Origins

    @classmethod
    def of(cls, item: Prepared) -> Recaptured:
        """Captures a component."""
        traced = trace(item.component, item.config)
        portable = apply(traced.model, PORTABLE)
        program = TorchProgram(traced.program, item.component, item.config, item.weights)
        return cls(item, program, portable, dict(origins_of(portable.graph)))

    def graph(self, sizes: Mapping[str, int] | None = None) -> ir.Model:
        """A copy of the portable graph that knows its origins, lowered where sizes are given."""
        model = self.portable.clone()
        set_origins(model.graph, self.origins)
        return model if sizes is None else lower(model, sizes)

    def shown(self) -> Shown:
        """The portable graph's nodes."""
        steps = OnnxProbe(self.graph(), self.item.weights).steps
        producers = Dependencies.of(steps).producers
        known = {value: names for value, names in self.origins.items() if value in producers}
        return Shown(steps, {name: producers[v] for v, names in known.items() for name in names})


def find_in_bundle(
    folder: Path,
    graph: Graph,
    item: Prepared,
    feeds: Mapping[str, Array],
    threshold_db: float,
    progress: Progress,
) -> Departure | None:
    """Finds the first node of a component's graph that departs from torch.

    Args:
        folder: the bundle, which may be staged still.
        graph: the component's plain graph.
        item: the component, with the weights that torch takes.
        feeds: one call of the component, by port name.
        threshold_db: what the component's outputs must reach.
        progress: called with lines on what is done.

    Returns:
        The node, or None where none departs, or where the engine's graphs can't be looked into.

    Raises:
        EngineError: the engine failed.
    """
    if graph.engine is not None and graph.engine not in SEARCHED:
        progress(f"the graphs of {graph.engine} can't be looked into for the first departing node")
        return None
    progress(f"{item.component.name}: capturing it again to look for the first departing node")
    subject = subject_of(folder, graph, Recaptured.of(item), threshold_db)
    return find_departure(subject, first_rows(graph, feeds), progress)


def subject_of(folder: Path, graph: Graph, captured: Recaptured, threshold_db: float) -> Subject:
    """A bundle's graph as it runs, beside what it should be.

    Args:
        folder: the bundle.
        graph: the component's graph: portable, or of an engine in `SEARCHED`.
        captured: the component, captured anew.
        threshold_db: what the component's outputs must reach.
    """
    probe, pristine, origins = _probes(folder, graph, captured)
    return Subject(
        probe=probe,
        pristine=pristine,
        program=captured.program,
        origins=origins,
        shown=captured.shown() if graph.engine is None else None,
        # A portable graph widens its weights without loss, whatever they are stored in.
        limit_db=LIMITS_DB["fp32" if graph.engine is None else graph.precision],
        threshold_db=threshold_db,
    )


def running(
    folder: Path, graph: Graph, captured: Recaptured, lowered: ir.Model | None = None
) -> tuple[Probe, Origins]:
    """A bundle's graph as it runs, and what its values are to torch's program.

    Args:
        folder: the bundle.
        graph: the component's graph: portable, or of an engine in `SEARCHED`.
        captured: the component, captured anew.
        lowered: `captured` in the form of a compiled graph, where it is there already.
    """
    item = captured.item
    if graph.engine == "openvino":
        from exporter.probes.ov import OvProbe

        probe = OvProbe(folder / graph.file, item.weights.keys(), graph)
        return probe, captured.origins
    sizes = _sizes(item, graph)
    stored = ir.load(folder / graph.file)
    unbind(stored)
    if graph.engine is None:
        set_origins(stored.graph, captured.origins)
        named = stored = lower(stored, sizes)
    else:
        named = lowered or captured.graph(sizes)
    origins = dict(origins_of(named.graph))
    return OnnxProbe(stored, read_header(folder / graph.weights[0])), origins


def _probes(folder: Path, graph: Graph, captured: Recaptured) -> tuple[Probe, Probe, Origins]:
    """The bundle's graph, the same as it should be, and what they have in common with torch."""
    item = captured.item
    lowered = None if graph.engine == "openvino" else captured.graph(_sizes(item, graph))
    probe, origins = running(folder, graph, captured, lowered)
    pristine = OnnxProbe(captured.graph() if lowered is None else lowered, item.weights)
    return probe, pristine, origins


def _sizes(item: Prepared, graph: Graph) -> dict[str, int]:
    """The axes that a compiled graph was built for."""
    free = item.component.inputs(item.config)
    pairs = (
        pair
        for port, built in zip(free, graph.inputs, strict=True)
        for pair in zip(port.shape, built.shape, strict=True)
    )
    return {axis: n for axis, n in pairs if isinstance(axis, str) and isinstance(n, int)}
