"""`python -m benchmarks.layer_memory BUNDLE`: what it takes to verify a U-Net a layer at a time.

One call on noise and random embeddings, of as many latent cells as asked: torch runs the network
and then its captured program, the graph runs a layer at a time on the program's values. Peak memory
is this process's own, as the kernel keeps it.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from benchmarks.bench.machine import describe
from benchmarks.command_line import run_command
from exporter.components.base import Config
from exporter.components.unet import TEXT_WIDTH
from exporter.layers import compare_layers
from exporter.reference import Sample, about_picture, recording
from exporter.report import LayersReport
from exporter.verify import references, threshold_db
from runtimes.bundle import open_bundle
from runtimes.noise import Generator
from runtimes.process_memory import peak_rss_bytes

NAME = "python -m benchmarks.layer_memory"
OUTPUT = Path("benchmarks/results/layer-memory.json")
TIMESTEP = 499


def feeds_of(config: Config, cells: int, batch: int) -> dict[str, Any]:
    """One call of a U-Net: noise, a timestep from the middle, random embeddings.

    Args:
        config: the U-Net's.
        cells: sides of its latents.
        batch: 2 is one guided step.
    """
    generator = Generator(5)
    width = int(config["cross_attention_dim"])
    pooled = generator.randn((4, int(config.get(TEXT_WIDTH) or 1)))
    about = about_picture(config, pooled)
    return {
        "sample": generator.randn((batch, int(config["in_channels"]), cells, cells)),
        "timestep": np.array([TIMESTEP], np.float32),
        "encoder_hidden_states": generator.randn((batch, 77, width)),
        **{name: values[:batch] for name, values in about.items()},
    }


def main(
    bundle: Annotated[Path, typer.Argument(help="A portable bundle with a U-Net.")],
    cells: Annotated[int, typer.Option(min=8, help="Sides of the latents.")] = 128,
    batch: Annotated[int, typer.Option(min=1, max=2, help="Samples of the call.")] = 2,
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON of the result.")] = OUTPUT,
) -> None:
    """Verifies a U-Net a layer at a time; writes its figures, peak memory and time."""
    start = time.perf_counter()

    def tell(line: str) -> None:
        held = (peak_rss_bytes() or 0) / 1e9
        print(f"{time.perf_counter() - start:.0f} s, {held:.2f} GB: {line}", file=sys.stderr)

    opened = open_bundle(bundle)
    item = references(opened, None)["unet"]
    samples: list[Sample] = []
    with recording(item.component, item.config, item.weights, samples) as run:
        run(feeds_of(item.config, cells, batch))
    tell("torch ran the network")
    graph, referenced = opened.graph("unet"), time.perf_counter()
    threshold = threshold_db(opened.manifest, graph)
    found = compare_layers(opened.path, graph, item, samples[0], threshold, tell)
    result = {
        "command": NAME,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": msgspec.to_builtins(describe()),
        "model": opened.manifest.family,
        "cells": cells,
        "batch": batch,
        "peak_rss": peak_rss_bytes(),
        "seconds": round(time.perf_counter() - start, 1),
        "seconds_network": round(referenced - start, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "report": msgspec.to_builtins(found.report),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8", newline="\n")
    print(table(result, found.report))


def table(result: dict[str, Any], report: LayersReport) -> str:
    """Markdown: one line of figures, and one of parity."""
    size = f"{result['cells']}×{result['cells']}, batch {result['batch']}"
    return "\n".join(
        [
            "| U-Net | latents | layers | worst | peak RSS | seconds | CPU s |",
            "|---|---|---:|---|---:|---:|---:|",
            f"| {result['model']} | {size} | {len(report.layers)} | {report.worst} | "
            f"{result['peak_rss'] / 1e9:.2f} GB | {result['seconds']:.0f} | "
            f"{result['cpu_seconds']:.0f} |",
            "",
            str(report),
        ]
    )


if __name__ == "__main__":
    raise SystemExit(run_command(main, NAME))
