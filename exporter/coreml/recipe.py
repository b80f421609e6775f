"""Measures what a mixed or W8A8 compression of a component's weights rests on.

The samples are those that a verification compares on: torch runs the components before it on real
prompts, and the component itself along a guided trajectory.
"""

from __future__ import annotations

from pathlib import Path

from exporter.coreml.compress.activations import calibrate
from exporter.coreml.compress.quantization import (
    QUANTIZATION_NAME,
    Quantization,
    RoundedReads,
    quantization,
    read_quantization,
    read_rounded_reads,
    write_quantization,
)
from exporter.coreml.compress.scheme import Kind, Scheme
from exporter.coreml.compress.sensitivity import measure_sensitivity
from exporter.prepare import Prepared
from exporter.progress import Progress
from exporter.rebuilt import rebuilt, recipe_of
from exporter.reference import Carried, Sample, carried_widths, run_reference
from exporter.refiner import as_seen
from runtimes.bundle import Bundle

_EVERY = 2
"""Of a trajectory's calls every second is taken: each costs a run for every weight and width."""


def weights_sha256(bundle: Bundle, name: str) -> str:
    """Of a component's weight file in a portable bundle."""
    return bundle.manifest.files[recipe_of(bundle, name).weights].sha256


def needs_recipe(scheme: Scheme) -> bool:
    """Whether a scheme says of itself what becomes of each layer."""
    return scheme.kind is Kind.MIXED or scheme.activations


def write_recipe(
    bundle: Bundle, name: str, scheme: Scheme, folder: Path, given: Path | None, progress: Progress
) -> Path:
    """Writes `quantization.json` of a component: measured, or from one that was measured before.

    Args:
        bundle: the portable bundle.
        name: a component with a U-Net.
        scheme: a mixed one, or W8A8.
        folder: of the component in the staged bundle.
        given: a file of the same weights, whose measurements are taken; None measures.
        progress: called with lines on what is done.

    Raises:
        BundleError: the given file can't be read, or is of other weights.
        UsageError: the budget is too small.
        SourceError: the network's values aren't finite.
    """
    item, sha256 = rebuilt(bundle, name), weights_sha256(bundle, name)
    found: Quantization | RoundedReads
    if scheme.activations:
        found = _reads(bundle, name, item, sha256, given, progress)
    else:
        found = _mixed(bundle, name, item, sha256, scheme, given, progress)
    path = folder / QUANTIZATION_NAME
    write_quantization(path, found)
    return path


def _mixed(
    bundle: Bundle,
    name: str,
    item: Prepared,
    sha256: str,
    scheme: Scheme,
    given: Path | None,
    progress: Progress,
) -> Quantization:
    """Bits by layer; another budget than the given file's is chosen for without measuring."""
    if given is not None:
        before = read_quantization(given, weights_sha256=sha256)
        measured, count = before.sensitivities, before.samples
    else:
        samples = _samples(bundle, name, item, progress)
        measured, count = measure_sensitivity(item, samples, progress=progress), len(samples)
    found = quantization(name, sha256, scheme, measured, samples=count)
    expected = "" if found.predicted_psnr_db is None else f", {found.predicted_psnr_db:.1f} dB"
    progress(f"{name}: {found.average_bits:.2f} bits a weight{expected} expected")
    return found


def _reads(
    bundle: Bundle,
    name: str,
    item: Prepared,
    sha256: str,
    given: Path | None,
    progress: Progress,
) -> RoundedReads:
    if given is not None:
        return read_rounded_reads(given, weights_sha256=sha256)
    samples = _samples(bundle, name, item, progress)
    activations = calibrate(item, samples, progress=progress)
    tried, kept = len(activations.psnr_db), len(activations.scales)
    progress(f"{name}: {kept} of {tried} layers read 8 bits, the others lose too much")
    return RoundedReads(
        component=name, weights_sha256=sha256, activations=activations, samples=len(samples)
    )


def _samples(bundle: Bundle, name: str, item: Prepared, progress: Progress) -> list[Sample]:
    """Calls of a component on what torch makes of real prompts in those before it."""
    progress(f"{name}: running torch for the calls that its losses are measured on")
    carried = Carried.initial(bundle.manifest, *carried_widths(item.config))
    for encoder in bundle.manifest.tokenizers:
        _, carried = run_reference(bundle.path, bundle.manifest, rebuilt(bundle, encoder), carried)
    samples, _ = run_reference(bundle.path, as_seen(bundle.manifest, name), item, carried)
    return samples[1::_EVERY]
