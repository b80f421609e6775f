"""The verb `verify`: parity of a bundle's components with torch. Returns a report, prints nothing.

Each component runs in the form its target runs: a portable graph is lowered in memory as the ONNX
Runtime target does it; a compiled one runs through its own engine.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from exporter.components import component as load_component
from exporter.errors import SourceError, VerificationError
from exporter.prepare import Prepared, prepare
from exporter.progress import Progress, silent
from exporter.reference import (
    PROMPTS,
    Sample,
    recording,
    text_samples,
    unet_samples,
)
from exporter.source import open_source
from exporter.staged_files import VERIFICATION_NAME
from exporter.weights import read_header
from runtimes.batching import run_batched
from runtimes.bundle import Bundle, open_bundle, read_json
from runtimes.engine import Engine, load_engine_class
from runtimes.errors import BundleError
from runtimes.manifest import MANIFEST_NAME, Graph, Manifest
from runtimes.noise import Generator
from runtimes.schedule import NoiseSchedule
from runtimes.tokenizer import ClipTokenizer
from runtimes.version import VERSION

Array = NDArray[Any]

THRESHOLDS_DB: dict[str, float] = {"fp32": 80.0, "fp16": 45.0, "bf16": 35.0}
"""PSNR that a component must reach, by the precision of its arithmetic or of rounded weights.

Peak is the reference's largest magnitude. Reordered float32 sums over networks of this depth give
100 dB and more; a wrong weight or a lost activation gives below 40. Rounding weights to fp16 has
11 bits a weight, 66 dB each, of which a deep network keeps 50 to 60.
"""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How far an output is from torch's over all samples.

    Attributes:
        max_abs: largest absolute difference.
        peak: largest magnitude of the reference.
        psnr_db: against that peak; None where the two are equal.
        cosine: of the two as vectors.
        non_finite: NaN and Inf values in the output.
        reference_non_finite: those in the reference.
    """

    max_abs: float
    peak: float
    psnr_db: float | None
    cosine: float
    non_finite: int
    reference_non_finite: int


class ComponentReport(msgspec.Struct, frozen=True, kw_only=True):
    """Parity of one component: figures by output, and whether all reach the threshold."""

    samples: int
    threshold_db: float
    outputs: dict[str, Comparison]
    passed: bool
    seconds_reference: float
    seconds_engine: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Parity of a bundle, with the versions and the machine it was measured on."""

    engine: str
    components: dict[str, ComponentReport]
    versions: dict[str, str]
    machine: str


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
    return _verify(opened.path, opened.manifest, prepared, progress)


def verify_portable(
    folder: Path, manifest: Manifest, prepared: Mapping[str, Prepared], progress: Progress
) -> Report:
    """Compares the portable graphs in a staged bundle with torch on the source's own weights."""
    return _verify(folder, manifest, prepared, progress)


def require_parity(report: Report) -> None:
    """Refuses a report in which a component misses its threshold.

    Raises:
        VerificationError: names the first such component and its worst output.
    """
    for name, result in report.components.items():
        if not result.passed:
            output, worst = min(
                result.outputs.items(),
                key=lambda item: np.inf if item[1].psnr_db is None else item[1].psnr_db,
            )
            raise VerificationError(
                f"{name} departs from torch: {output} has PSNR {worst.psnr_db or 0:.1f} dB where "
                f"{result.threshold_db:g} dB are asked for (max abs {worst.max_abs:.3g} of "
                f"{worst.peak:.3g}, {worst.non_finite} NaN or Inf)."
            )


def write_report(folder: Path, report: Report) -> None:
    """Writes `verification.json` beside the manifest."""
    raw = msgspec.json.format(msgspec.json.encode(report, order="sorted"), indent=2)
    (folder / VERIFICATION_NAME).write_bytes(raw + b"\n")


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


def _verify(
    folder: Path, manifest: Manifest, prepared: Mapping[str, Prepared], progress: Progress
) -> Report:
    samples: dict[str, list[Sample]] = {name: [] for name in prepared}
    seconds = _run_references(folder, manifest, prepared, samples, progress)
    results: dict[str, ComponentReport] = {}
    for name in manifest.components:
        graph = manifest.components[name].graphs["model"]
        start = time.perf_counter()
        compared = _compare_component(folder, graph, samples[name])
        threshold = _threshold_db(manifest, graph)
        passed = all(_passes(figures, threshold) for figures in compared.values())
        results[name] = ComponentReport(
            samples=len(samples[name]),
            threshold_db=threshold,
            outputs=compared,
            passed=passed,
            seconds_reference=round(seconds[name], 3),
            seconds_engine=round(time.perf_counter() - start, 3),
        )
        worst = min(compared.values(), key=lambda c: np.inf if c.psnr_db is None else c.psnr_db)
        reached = "equal" if worst.psnr_db is None else f"{worst.psnr_db:.1f} dB"
        progress(f"{name}: {'agrees with torch' if passed else 'DEPARTS from torch'}, {reached}")
        samples[name].clear()
    return Report(
        engine=manifest.target or "onnxruntime",
        components=results,
        versions=_versions(),
        machine=f"{platform.system()} {platform.machine()}, {_processor()}",
    )


def _run_references(
    folder: Path,
    manifest: Manifest,
    prepared: Mapping[str, Prepared],
    samples: dict[str, list[Sample]],
    progress: Progress,
) -> dict[str, float]:
    """Runs torch on each component in the order in which a picture is made."""
    seconds: dict[str, float] = {}
    vae_factor = manifest.latents.vae_factor
    size = _latent_size(manifest)
    generator = Generator(1)
    embeddings: Array | None = None
    latents: Array = generator.randn((1, manifest.latents.channels, *size))
    picture: Array = np.tanh(generator.randn((1, 3, *(n * vae_factor for n in size))))
    for name, item in prepared.items():
        progress(f"{name}: running torch for reference")
        start = time.perf_counter()
        with recording(item.component, item.config, item.weights, samples[name]) as run:
            if name == "text_encoder":
                tokenizer = ClipTokenizer.open(folder / manifest.tokenizers[name])
                embeddings = text_samples(run, tokenizer(PROMPTS).input_ids)
            elif name == "unet":
                if embeddings is None:
                    width = int(item.config["cross_attention_dim"])
                    embeddings = generator.randn((len(PROMPTS), 77, width))
                schedule = NoiseSchedule.from_config(read_json(folder / manifest.scheduler))
                latents = unet_samples(
                    run,
                    item.config,
                    embeddings,
                    np.asarray(schedule.alphas_cumprod),
                    manifest.prediction_type,
                    size,
                )
            elif name == "vae_decoder":
                scaled = latents / np.float32(manifest.latents.scaling_factor)
                picture = run({"latent_sample": scaled})["sample"]
            elif name == "vae_encoder":
                run({"sample": np.clip(picture, -1, 1)})
            else:
                raise SourceError(f"{name}: no verification inputs are known for this component.")
        seconds[name] = time.perf_counter() - start
    return seconds


def _latent_size(manifest: Manifest) -> tuple[int, int]:
    """The size that the graphs were built for, else the model's own."""
    factor = manifest.latents.vae_factor
    return manifest.defaults.height // factor, manifest.defaults.width // factor


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


def compare(pairs: list[tuple[Array, Array]]) -> Comparison:
    """Compares outputs with their references, over all samples at once.

    Args:
        pairs: (reference, output), of the same shape each.
    """
    reference = np.concatenate([np.ravel(a) for a, _ in pairs]).astype(np.float64)
    output = np.concatenate([np.ravel(b) for _, b in pairs]).astype(np.float64)
    both = np.isfinite(reference) & np.isfinite(output)
    a, b = reference[both], output[both]
    peak = float(np.abs(a).max(initial=0.0))
    error = float(np.mean((a - b) ** 2)) if a.size else float("inf")
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return Comparison(
        max_abs=float(np.abs(a - b).max(initial=0.0)),
        peak=peak,
        psnr_db=None if error == 0 else float(10 * np.log10(max(peak, 1e-30) ** 2 / error)),
        cosine=float(a @ b) / norm if norm else float(not a.any() and not b.any()),
        non_finite=int((~np.isfinite(output)).sum()),
        reference_non_finite=int((~np.isfinite(reference)).sum()),
    )


def _passes(figures: Comparison, threshold_db: float) -> bool:
    finite = figures.non_finite == 0 and figures.reference_non_finite == 0
    return finite and (figures.psnr_db is None or figures.psnr_db >= threshold_db)


def _threshold_db(manifest: Manifest, graph: Graph) -> float:
    # A portable graph computes in float32 whatever its weights are stored in, and so does torch.
    return THRESHOLDS_DB["fp32" if manifest.target is None else graph.precision]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "latedge": VERSION}
    for name in ("torch", "diffusers", "transformers", "onnxruntime", "openvino"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
