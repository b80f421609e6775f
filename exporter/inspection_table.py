"""What a source is, printed for people."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.inspection import SourceInspection


def show(found: SourceInspection) -> None:
    """Prints an inspection on stdout."""
    console = Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(found).items():
        facts.add_row(name, escape(value))
    console.print(facts)
    if not found.networks:
        return
    parts = Table(show_lines=True)
    parts.add_column("network", overflow="fold")
    parts.add_column("architecture", overflow="fold")
    for name, network in found.networks.items():
        lines = (
            f"{name}: {network.class_name}",
            network.known_from,
            f"{', '.join(network.dtypes)}, {network.size_bytes / 1e6:.1f} MB",
            f"{network.weights} tensors, {network.parameters:,} parameters",
        )
        architecture = (f"{key} {value}" for key, value in network.architecture.items())
        parts.add_row(escape("\n".join(lines)), escape("\n".join(architecture)))
    console.print(parts)


def _facts(found: SourceInspection) -> dict[str, str]:
    facts = {
        "source": found.path,
        "is": found.title,
        "since": found.reason,
        "family": found.family or "none that is known: it can't be exported",
    }
    if found.family is not None:
        facts |= {
            "pipeline": str(found.pipeline_class),
            "tasks": ", ".join(found.tasks) or "none",
            "predicts": f"{found.prediction_type or 'unknown'} ({found.prediction_known_from})",
            "missing": ", ".join(found.missing) or "nothing",
            "unused": f"{found.unused_weights} tensors",
        }
    if found.metadata:
        facts["notes"] = "\n".join(f"{key}={value[:80]}" for key, value in found.metadata.items())
    return facts
