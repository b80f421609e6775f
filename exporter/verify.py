"""The verb `verify`: parity of a bundle's components with torch. Returns a report, prints nothing.

Each component runs in the form its target runs: a portable graph is lowered in memory as the ONNX
Runtime target does it; a compiled one runs through its own engine. Components come one after the
other, torch before the engine, so that one network is in memory at a time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from exporter.components import component as load_component
from exporter.prepare import Prepared, prepare
from exporter.progress import Progress, silent
from exporter.reference import Carried, Sample, run_reference
from exporter.report import (
    THRESHOLDS_DB,
    Array,
    Comparison,
    ComponentReport,
    Report,
    compare,
    machine,
    passes,
    tool_versions,
    worst_output,
)
from exporter.source import open_source
from exporter.weights import read_header
from runtimes.batching import run_batched
from runtimes.bundle import Bundle, open_bundle, read_json
from runtimes.engine import Engine, load_engine_class
from runtimes.errors import BundleError
from runtimes.manifest import MANIFEST_NAME, Graph, Manifest


def verify(
    bundle: Path | str,
    *,
    against: Path | str | None = None,
    progress: Progress = silent,
) -> Report:
    """Hashes every file of a bundle and compares its components with torch.

    Args:
        bundle: a portable or compiled bundle.
        against: the source (a Diffusers folder) or the portable bundle that torch's weights come
            from; None takes the bundle's own weights, which a portable one has.
        progress: called with lines on what is done.

    Raises:
        BundleError: the bundle is damaged, or holds no weights that torch can take.
        SourceError, WeightError: `against` is refused.
    """
    opened = open_bundle(bundle, full=True)
    prepared = _references(opened, None if against is None else Path(against))
    return verify_components(opened.path, opened.manifest, prepared, progress)


def verify_components(
    folder: Path, manifest: Manifest, prepared: Mapping[str, Prepared], progress: Progress
) -> Report:
    """Compares the graphs of a bundle, which may be staged still, with torch.

    Args:
        folder: the bundle.
        manifest: its manifest.
        prepared: each of its components with the weights that torch takes, in the order in which a
            picture is made.
        progress: called with lines on what is done.
    """
    carried = Carried.initial(manifest, _embedding_width(prepared))
    results: dict[str, ComponentReport] = {}
    for name in manifest.components:
        results[name], carried = verify_component(
            folder, manifest, name, prepared[name], carried, progress
        )
    return Report(
        engine=manifest.target or "onnxruntime",
        components=results,
        versions=tool_versions(),
        machine=machine(),
    )


def verify_component(
    folder: Path,
    manifest: Manifest,
    name: str,
    item: Prepared,
    carried: Carried,
    progress: Progress,
) -> tuple[ComponentReport, Carried]:
    """Compares one component with torch; returns its figures and what later ones are fed with."""
    graph = manifest.components[name].graphs["model"]
    progress(f"{name}: running torch for reference")
    start = time.perf_counter()
    samples, carried = run_reference(folder, manifest, item, carried)
    referenced = time.perf_counter()
    compared = _compare_component(folder, graph, samples)
    threshold = threshold_db(manifest, graph)
    result = ComponentReport(
        samples=len(samples),
        threshold_db=threshold,
        outputs=compared,
        passed=all(passes(figures, threshold) for figures in compared.values()),
        seconds_reference=round(referenced - start, 3),
        seconds_engine=round(time.perf_counter() - referenced, 3),
    )
    _, worst = worst_output(result)
    reached = "equal" if worst.psnr_db is None else f"{worst.psnr_db:.1f} dB"
    progress(f"{name}: {'agrees with torch' if result.passed else 'DEPARTS from torch'}, {reached}")
    return result, carried


def _references(bundle: Bundle, against: Path | None) -> dict[str, Prepared]:
    names = tuple(bundle.manifest.components)
    if against is not None and not (against / MANIFEST_NAME).is_file():
        return prepare(open_source(against), names)[0]
    reference = bundle if against is None else open_bundle(against)
    return {name: _from_recipe(reference, name) for name in names}


def _from_recipe(bundle: Bundle, name: str) -> Prepared:
    bundle.graph(name)
    recipe = bundle.manifest.components[name].recipe
    if recipe is None:
        raise BundleError(
            f"{bundle.path} holds {name} in its engine's form alone; give the source or the "
            "portable bundle to compare with: --against."
        )
    component = load_component(recipe.component)
    weights = read_header(bundle.path / recipe.weights)
    return Prepared(component, read_json(bundle.path / recipe.config), weights)


def _embedding_width(prepared: Mapping[str, Prepared]) -> int:
    return int(prepared["unet"].config["cross_attention_dim"]) if "unet" in prepared else 1


def _compare_component(folder: Path, graph: Graph, samples: list[Sample]) -> dict[str, Comparison]:
    engine = _open(folder, graph)
    names = [port.name for port in graph.outputs]
    pairs: dict[str, list[tuple[Array, Array]]] = {name: [] for name in names}
    try:
        for sample in samples:
            found = run_batched(engine, sample.feeds, names)
            for name in names:
                pairs[name].append((sample.outputs[name], found[name]))
    finally:
        engine.close()
    return {name: compare(both) for name, both in pairs.items()}


def _open(folder: Path, graph: Graph) -> Engine:
    if graph.engine is None:
        from exporter.targets.ort import open_lowered

        return open_lowered(folder, graph)
    return load_engine_class(graph.engine)(folder, graph, device="cpu", threads=None)


def threshold_db(manifest: Manifest, graph: Graph) -> float:
    """The PSNR asked of a graph's outputs."""
    # A portable graph computes in float32 whatever its weights are stored in, and so does torch.
    return THRESHOLDS_DB["fp32" if manifest.target is None else graph.precision]
