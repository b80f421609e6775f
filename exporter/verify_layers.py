"""Parity of one component with torch, a layer at a time: its reference, its layers, its report."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from exporter.layers import compare_layers
from exporter.prepare import Prepared
from exporter.progress import Progress
from exporter.reference import Carried, run_reference
from exporter.report import ComponentReport
from runtimes.manifest import Graph, Manifest

VAE_CELLS = 64
"""Sides of the latents on which a half of the VAE is compared, at most: 512×512 pixels. A decoder's
activations at 1024×1024 take 1 GB each, and a layer that agrees here agrees on more of the same."""


def verify_layers(
    folder: Path,
    manifest: Manifest,
    name: str,
    item: Prepared,
    carried: Carried,
    threshold_db: float,
    progress: Progress,
) -> tuple[ComponentReport, Carried]:
    """Compares one component with torch a layer at a time, each on torch's own input.

    Args:
        folder: the bundle, which may be staged still.
        manifest: its manifest, as the component takes it.
        name: the component's.
        item: the component, with the weights that torch takes.
        carried: what the components before it handed on.
        threshold_db: what torch's captured program must reach beside the network.
        progress: called with lines on what is done.

    Returns:
        Its figures and what later components are fed with.
    """
    graph = manifest.components[name].graphs["model"]
    if item.component.source == "vae":
        carried = smaller(carried, manifest.latents.vae_factor, graph, name, progress)
    progress(f"{name}: running torch for reference")
    start = time.perf_counter()
    samples, carried = run_reference(folder, manifest, item, carried)
    referenced = time.perf_counter()
    # From the middle of a trajectory: neither noise alone nor nearly the picture.
    sample = samples[len(samples) // 2]
    found = compare_layers(folder, graph, item, sample, threshold_db, progress)
    verdict = "agrees with torch" if found.report.passed else "DEPARTS from torch"
    progress(f"{name}: {verdict} layer by layer; {found.departure or 'no node departs'}")
    result = ComponentReport(
        samples=1,
        threshold_db=threshold_db,
        outputs=found.outputs,
        passed=found.report.passed,
        seconds_reference=round(referenced - start, 3),
        seconds_engine=round(time.perf_counter() - referenced, 3),
        departure=found.departure,
        layers=found.report,
    )
    return result, carried


def smaller(carried: Carried, factor: int, graph: Graph, name: str, progress: Progress) -> Carried:
    """The first rows and columns of large latents and pictures, where the graph takes any size.

    Args:
        carried: what the component is fed with.
        factor: pixels of a latent's side.
        graph: the component's.
        name: its name.
        progress: told where something is cut.
    """
    sizes = carried.latents.shape[2:]
    built = any(isinstance(size, int) for size in graph.inputs[0].shape[2:])
    if built or max(sizes) <= VAE_CELLS:
        return carried
    pixels = VAE_CELLS * factor
    progress(f"{name}: compared on {pixels}×{pixels} pixels, for the memory of its activations")
    return replace(
        carried,
        latents=carried.latents[..., :VAE_CELLS, :VAE_CELLS].copy(),
        picture=carried.picture[..., :pixels, :pixels].copy(),
    )
