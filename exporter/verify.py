"""The verb `verify`: parity of a bundle with torch. Returns a report, prints nothing.

Each component runs in the form its target runs: a portable graph is lowered in memory as the ONNX
Runtime target does it; a compiled one runs through its own engine, Core ML's packages through the
reference executor where no device of a Mac's is asked for. Components come one after the
other, torch before the engine, so that one network is in memory at a time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from exporter.cached_journal import cached_journal
from exporter.compressed_thresholds import COMPONENTS_DB, asked_db
from exporter.errors import SourceError
from exporter.fingerprint import Fingerprint, fingerprint
from exporter.journal import Journal
from exporter.locate import find_in_bundle
from exporter.match import parameters
from exporter.needs import announce
from exporter.phases import VERIFY, begin, work_on
from exporter.prepare import Prepared
from exporter.progress import Progress, silent
from exporter.rebuilt import rebuilt
from exporter.reference import Carried, Sample, carried_widths, run_reference
from exporter.refiner import as_seen, open_refiner, prepare_both
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
from exporter.source import NO_OPTIONS, SourceOptions, open_source
from exporter.verified_engine import CORE_ML, check_nodes, engine_told, verifying_device
from exporter.verified_sizes import each_size
from exporter.verify_image import check_drawable, with_image
from exporter.verify_layers import verify_layers
from runtimes.batching import run_batched
from runtimes.bundle import Bundle, open_bundle, read_json
from runtimes.component import as_fed
from runtimes.engine import Engine, load_engine_class
from runtimes.errors import UsageError
from runtimes.manifest import MANIFEST_NAME, Graph, Manifest


def verify(
    bundle: Path | str,
    *,
    against: Path | str | None = None,
    source_options: SourceOptions = NO_OPTIONS,
    locate: bool = False,
    image: bool = False,
    by_layer: bool = False,
    force: bool = False,
    device: str | None = None,
    progress: Progress = silent,
) -> Report:
    """Hashes every file of a bundle and compares its components with torch.

    Where a component misses its threshold, the first node that departs from torch is looked for.
    After an interruption the same call goes on from the components that were compared.

    Args:
        bundle: a portable or compiled bundle.
        against: the source (see `exporter.source.open_source`) or the portable bundle that torch's
            weights come from; None takes the bundle's own weights, which a portable one has.
        source_options: as at the export, where the source is given.
        locate: look for a departing node in every component, also in those that pass.
        image: also compare a whole picture with diffusers', where all components agree.
        by_layer: compare the components a layer at a time, each on torch's own input: in the memory
            of one layer and of the activations.
        force: use nothing of an interrupted run.
        device: of a compiled bundle's engine; None for its CPU, or the reference executor for Core
            ML packages.
        progress: called with lines on what is done.

    Raises:
        BundleError: the bundle is damaged, or holds no weights that torch can take.
        SourceError, WeightError: `against` is refused.
        UsageError: a whole picture is asked for, which the bundle can't draw from text, or options
            of a source without a source, a device of a portable bundle, or nodes of Core ML's.
    """
    opened = open_bundle(bundle, full=True)
    folder, manifest = opened.path, opened.manifest
    for flag, asked in (("--locate", locate), ("--layers", by_layer)):
        if asked:
            check_nodes(manifest, flag)
    where = verifying_device(manifest, device)
    if image:
        config = opened.scheduler_config
        check_drawable(folder, manifest.family, manifest.tasks, manifest.components, config)
    prepared = references(
        opened, None if against is None else Path(against), source_options, progress
    )
    run = _fingerprint(opened, prepared, locate=locate, by_layer=by_layer, device=where)
    with cached_journal(run, force=force, progress=progress) as journal:
        report = verify_components(
            folder,
            manifest,
            prepared,
            journal,
            locate=locate,
            by_layer=by_layer,
            device=where,
            progress=progress,
        )
        if not image:
            return report
        if not all(result.passed for result in report.components.values()):
            progress("whole picture: not drawn, since a component departs already")
            return report
        return with_image(folder, manifest, prepared, report, progress, device=where)


def _fingerprint(
    bundle: Bundle, prepared: Mapping[str, Prepared], **options: bool | str
) -> Fingerprint:
    content = {
        # It has the hashes of all files, and opening has compared them.
        "manifest": bundle.sha256,
        "references": {name: [item.config, item.weights] for name, item in prepared.items()},
    }
    return fingerprint("verify", content, options)


def verify_components(
    folder: Path,
    manifest: Manifest,
    prepared: Mapping[str, Prepared],
    journal: Journal,
    *,
    locate: bool = False,
    by_layer: bool = False,
    device: str | None = None,
    progress: Progress,
) -> Report:
    """Compares the graphs of a bundle, which may be staged still, with torch.

    Graphs for further sizes are compared behind the others, on a trajectory of their own.

    Args:
        folder: the bundle.
        manifest: its manifest.
        prepared: each of its components with the weights that torch takes, in the order in which a
            picture is made.
        journal: keeps the figures of each component, and what it hands on.
        locate: look for a departing node also where a component passes.
        by_layer: compare each a layer at a time.
        device: as `exporter.verified_engine.verifying_device` gave it; None for its choice.
        progress: called with lines on what is done.
    """
    device = verifying_device(manifest) if device is None else device
    unet = next((i.config for i in prepared.values() if i.component.name == "unet"), None)
    widths = carried_widths(unet)
    carried = Carried.initial(manifest, *widths)
    results: dict[str, ComponentReport] = {}
    kind = "verification by layer" if by_layer else "verification"
    for sized in each_size(folder, manifest):
        carried = carried.of_size(sized.manifest, *widths)
        for name in sized.components:
            label = name + sized.suffix
            handed_on = journal.kept / label

            def run(
                name: str = name,
                label: str = label,
                sized: Manifest = sized.manifest,
                carried: Carried = carried,
                handed_on: Path = handed_on,
            ):
                given = (folder, sized, name, prepared[name], carried)
                with work_on(name):
                    begin(VERIFY)
                    announce(name, prepared[name], progress, by_layer=by_layer)
                    if by_layer:
                        result, left = _by_layer(*given, progress)
                    else:
                        result, left = verify_component(
                            *given, locate=locate, device=device, label=label, progress=progress
                        )
                left.save(handed_on)
                return result

            results[label] = journal.step(f"{label}, {kind}", run, ComponentReport)
            carried = Carried.load(handed_on)
    return Report(
        engine=engine_told(manifest, device),
        components=results,
        versions=tool_versions(),
        machine=machine(),
    )


def _by_layer(
    folder: Path,
    manifest: Manifest,
    name: str,
    item: Prepared,
    carried: Carried,
    progress: Progress,
) -> tuple[ComponentReport, Carried]:
    threshold = threshold_db(manifest, manifest.components[name].graphs["model"])
    seen = as_seen(manifest, name)
    return verify_layers(folder, seen, name, item, carried, threshold, progress)


def verify_component(
    folder: Path,
    manifest: Manifest,
    name: str,
    item: Prepared,
    carried: Carried,
    *,
    locate: bool = False,
    device: str | None = None,
    label: str | None = None,
    progress: Progress,
) -> tuple[ComponentReport, Carried]:
    """Compares one component with torch; returns its figures and what later ones are fed with.

    Args and the rest as of `verify_components`; `label` is how lines call the component.
    """
    graph = manifest.components[name].graphs["model"]
    device = verifying_device(manifest) if device is None else device
    label = name if label is None else label
    progress(f"{label}: running torch for reference")
    start = time.perf_counter()
    samples, carried = run_reference(folder, as_seen(manifest, name), item, carried)
    referenced = time.perf_counter()
    found = _run_engine(folder, graph, samples, device)
    compared = _compare(graph, samples, found)
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
    verdict = "agrees with torch" if result.passed else "DEPARTS from torch"
    progress(f"{label}: {verdict}, {reached}{_asked(graph, threshold)}")
    if not result.passed and manifest.target == CORE_ML:
        progress(f"{label}: which operation departs isn't looked for in Core ML packages")
    elif locate or not result.passed:
        feeds = _worst_sample(graph, samples, found).feeds
        departure = find_in_bundle(folder, graph, item, feeds, threshold, progress)
        progress(f"{name}: {departure or 'no node departs'}")
        result = msgspec.structs.replace(result, departure=departure)
    return result, carried


def references(
    bundle: Bundle,
    against: Path | None,
    options: SourceOptions = NO_OPTIONS,
    progress: Progress = silent,
) -> dict[str, Prepared]:
    """The components of a bundle with the weights that torch takes.

    Args:
        bundle: the bundle.
        against: a source or a portable bundle; None takes the bundle's own weights.
        options: what the source leaves open, and what is taken from elsewhere.
        progress: called with lines on what is downloaded.

    Raises:
        BundleError: there are no such weights in the bundle.
        SourceError, WeightError: `against` is refused, or is of another architecture.
        UsageError: there are options, and `against` is no source.
    """
    names = tuple(bundle.manifest.components)
    if against is not None and not (against / MANIFEST_NAME).is_file():
        source = open_source(against, options, progress)
        found = prepare_both(source, names, open_refiner(options, progress), progress).prepared
    elif given := options.given():
        raise UsageError(
            f"--{next(iter(given))} is said of the source that the bundle was exported from; give "
            "that with --against."
        )
    else:
        reference = bundle if against is None else open_bundle(against)
        found = {name: rebuilt(reference, name) for name in names}
    for name, item in found.items():
        _check_same_network(bundle, name, item, against or bundle.path)
    return found


def _check_same_network(bundle: Bundle, name: str, item: Prepared, against: Path) -> None:
    """Refuses weights of another architecture: no figures could come of them."""
    config = item.component.normalise(read_json(bundle.path / name / "config.json"))
    expected = parameters(item.component, config)
    for key, tensor in item.weights.items():
        if expected.get(key) != tensor.shape:
            wanted = list(expected[key]) if key in expected else "no such weight"
            raise SourceError(
                f"{against} is another model than {bundle.path} was made from: {name}'s {key} is "
                f"{list(tensor.shape)} in place of {wanted}."
            )


def _asked(graph: Graph, threshold: float) -> str:
    """What was asked of compressed weights, which is less than of others."""
    if graph.compression is None:
        return ""
    return f"; with {graph.compression} weights {threshold:g} dB are asked for"


def _run_engine(
    folder: Path, graph: Graph, samples: list[Sample], device: str
) -> list[dict[str, Array]]:
    """What the engine makes of each sample, by output."""
    engine = _open(folder, graph, device)
    names = [port.name for port in graph.outputs]
    try:
        return [
            run_batched(
                engine,
                {port.name: as_fed(sample.feeds[port.role], port) for port in graph.inputs},
                names,
            )
            for sample in samples
        ]
    finally:
        engine.close()


def _compare(
    graph: Graph, samples: list[Sample], found: list[dict[str, Array]]
) -> dict[str, Comparison]:
    """Figures by output, over all samples."""
    pairs = list(zip(samples, found, strict=True))
    return {
        port.name: compare([(sample.outputs[port.role], out[port.name]) for sample, out in pairs])
        for port in graph.outputs
    }


def _worst_sample(graph: Graph, samples: list[Sample], found: list[dict[str, Array]]) -> Sample:
    """The sample of which some output is furthest from torch; the first with NaN, if one has."""

    def reached(pair: tuple[Sample, dict[str, Array]]) -> float:
        figures = _compare(graph, [pair[0]], [pair[1]]).values()
        if any(one.non_finite or one.reference_non_finite for one in figures):
            return -math.inf
        return min(math.inf if one.psnr_db is None else one.psnr_db for one in figures)

    return min(zip(samples, found, strict=True), key=reached)[0]


def _open(folder: Path, graph: Graph, device: str) -> Engine:
    if graph.engine is None:
        from exporter.targets.ort import open_lowered

        return open_lowered(folder, graph)
    return load_engine_class(graph.engine)(folder, graph, device=device, threads=None)


def threshold_db(manifest: Manifest, graph: Graph) -> float:
    """The PSNR asked of a graph's outputs."""
    if graph.compression is not None:
        return asked_db(COMPONENTS_DB, graph.compression)
    # A portable graph computes in float32 whatever its weights are stored in, and so does torch.
    return THRESHOLDS_DB["fp32" if manifest.target is None else graph.precision]
