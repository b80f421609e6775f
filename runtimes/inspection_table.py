"""What a bundle is, printed for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runtimes.engines.layout import graph_shape
from runtimes.inspection import InspectedComponent, Inspection
from runtimes.manifest import Graph, Port, Provenance

_PORTS_SHOWN = 4


def show(found: Inspection) -> None:
    """Prints an inspection on stdout."""
    console = Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(found).items():
        facts.add_row(name, escape(value))
    for index, line in enumerate(_arithmetic(found)):
        facts.add_row("" if index else "computed in", escape(line))
    console.print(facts)
    parts = Table("component", "stored", "weights", "size", "inputs and outputs")
    for name, component in found.components.items():
        for key, graph in component.graphs.items():
            lines = [*_lines("→", graph.inputs), *_lines("←", graph.outputs)]
            title = name if key == "model" else f"{name} ({key})"
            parts.add_row(
                title,
                "\n".join(_stored(graph)),
                _weights(component),
                _mb(component.size_bytes),
                escape("\n".join(lines)),
            )
    console.print(parts)


def _stored(graph: Graph) -> list[str]:
    """How a graph lies in its files."""
    lines = [graph.precision]
    if graph.compression is not None:
        lines.append(graph.compression)
    if graph.chunks:
        lines.append(f"{1 + len(graph.chunks)} chunks")
    if graph.function is not None:
        lines.append(f"function {graph.function}")
    return lines


def _facts(found: Inspection) -> dict[str, str]:
    latents, defaults, provenance = found.latents, found.defaults, found.provenance
    return {
        "bundle": found.path,
        "family": f"{found.family}, schema {found.schema}",
        "tasks": ", ".join(found.tasks) or "none",
        "target": found.target or "none: portable, to be compiled",
        "engine": ", ".join(found.engines) or "none",
        "predicts": found.prediction_type,
        "latents": f"{latents.channels} channels, {latents.vae_factor} pixels a cell, "
        f"scaled by {latents.scaling_factor:g}"
        + (f", sides of whole {latents.multiple} cells" if latents.multiple > 1 else ""),
        "defaults": f"{defaults.width}×{defaults.height}, {defaults.num_inference_steps} steps of "
        f"{defaults.sampler}, guidance {defaults.guidance_scale:g}",
        "files": f"{found.files}, {_mb(found.size_bytes)}, {_checked(found)}",
        "source": _origin(provenance),
        "made with": ", ".join(f"{tool} {number}" for tool, number in provenance.tools.items()),
        "options": "; ".join(
            f"{verb} {', '.join(f'{key}={value}' for key, value in options.items())}"
            for verb, options in provenance.options.items()
        ),
    }


def _arithmetic(found: Inspection) -> list[str]:
    """What each graph may be computed in, where that was decided."""
    lines = [
        f"{name} in {graph.arithmetic}"
        for name, component in found.components.items()
        for graph in component.graphs.values()
        if graph.arithmetic is not None
    ]
    return list(dict.fromkeys(lines))


def _origin(provenance: Provenance) -> str:
    kind = f"{provenance.source_kind}, " if provenance.source_kind else ""
    model = f"{provenance.hub_id} at {provenance.revision}, " if provenance.hub_id else ""
    return f"{kind}{model}SHA-256 {provenance.source_sha256}"


def _checked(found: Inspection) -> str:
    if found.inferred:
        return "compared with nothing: there is no manifest, all this was inferred"
    return "as the manifest says"


def _lines(arrow: str, ports: Sequence[Port]) -> list[str]:
    shown = [
        f"{arrow} {port.name} {port.dtype} [{', '.join(map(str, graph_shape(port)))}]"
        for port in ports[:_PORTS_SHOWN]
    ]
    more = len(ports) - len(shown)
    return [*shown, f"{arrow} and {more} more"] if more else shown


def _weights(component: InspectedComponent) -> str:
    if component.weights is None or component.parameters is None:
        return "?"
    return f"{component.weights} tensors\n{component.parameters:,} parameters"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
