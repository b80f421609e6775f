"""The verb `export`: a source model → a portable bundle, verified."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from exporter.components.base import Config
from exporter.defaults import Wanted, defaults
from exporter.errors import SourceError
from exporter.fingerprint import Fingerprint, fingerprint
from exporter.memory import limited
from exporter.needs import check_needs
from exporter.passes import PORTABLE, apply
from exporter.phases import FINISH, WEIGHTS, WRITE, begin, work_on
from exporter.portable import GRAPH_NAME, WEIGHTS_NAME, bind, save, weight_keys
from exporter.portable_manifest import latents_of, portable_manifest, tasks_of
from exporter.prepare import Prepared
from exporter.progress import Progress, silent
from exporter.refiner import open_refiner, prepare_both, refiner_entry, refiner_texts
from exporter.source import NO_OPTIONS, SourceOptions, open_source
from exporter.sources.canonical import canonical_texts, encode
from exporter.staged_files import write_file, write_manifest
from exporter.staging import BUNDLE, check_free, check_room, resumable
from exporter.trace import capture
from exporter.weights import PRECISIONS, Planned, stream
from runtimes.errors import UsageError, unknown_name
from runtimes.manifest import Manifest
from runtimes.samplers import default_sampler
from runtimes.samplers.config_fields import check_fields

DType = Literal["source", "fp32", "fp16"]
DTYPES: tuple[DType, ...] = ("source", "fp32", "fp16")

Verify = Literal["components", "image", "layers", "none"]
VERIFY: tuple[Verify, ...] = ("components", "image", "layers", "none")

_STORED = {"fp32": "F32", "fp16": "F16"}
_ANY_SCHEDULE = "dpmpp-2m"
_MODELS_OWN = Wanted()


@dataclass(frozen=True)
class ExportConfig:
    """What to export and how.

    Attributes:
        source: a Diffusers folder, a single-file checkpoint, or an id on the Hub.
        output: the new bundle.
        dtype: how weights are stored: as the source has them, or cast.
        components: names of the components wanted; None for all of the family.
        verify: what is compared with torch before the bundle appears.
        force: replace an existing output, and use nothing of an interrupted run.
        source_options: what the source leaves open, and what is taken from elsewhere.
        wanted: defaults in the place of the model's own.
        max_memory: bytes that the process may hold; None sets no limit.
    """

    source: Path
    output: Path
    dtype: DType = "source"
    components: tuple[str, ...] | None = None
    verify: Verify = "components"
    force: bool = False
    source_options: SourceOptions = NO_OPTIONS
    wanted: Wanted = _MODELS_OWN
    max_memory: int | None = None


def export(
    source: Path | str,
    output: Path | str,
    *,
    dtype: DType = "source",
    components: tuple[str, ...] | None = None,
    verify: Verify = "components",
    force: bool = False,
    source_options: SourceOptions = NO_OPTIONS,
    wanted: Wanted = _MODELS_OWN,
    max_memory: int | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Exports a model to a portable bundle.

    After an interruption the same call goes on from the components that were finished.

    Args:
        source: a Diffusers folder, a single-file checkpoint, or `organisation/name` on the Hub.
        output: the bundle, which appears whole or not at all.
        dtype: "source" keeps each weight's dtype, "fp32" and "fp16" cast.
        components: component names; None for all.
        verify: "components" compares each with torch, "image" a whole picture too, "layers" each a
            layer at a time, in little memory, "none" nothing.
        force: replace an existing output, and use nothing of an interrupted run.
        source_options: what the source leaves open, and what is taken from elsewhere.
        wanted: defaults in the place of the model's own.
        max_memory: bytes that this process may hold while it exports, what it held before
            included; None sets no limit.
        progress: called with lines on what is done.

    Returns:
        The bundle's manifest.

    Raises:
        UsageError: an option is wrong, the output exists, or the scheduler's config has a field
            that no scheduler has.
        SourceError: the source is refused.
        WeightError: a weight is missing, unexpected or misshapen.
        VerificationError: a component departs from torch.
        MemoryLimitError: it needs more than `max_memory`.
    """
    config = ExportConfig(
        Path(source),
        Path(output),
        dtype,
        components,
        verify,
        force,
        source_options,
        wanted,
        max_memory,
    )
    _check_options(config)
    with limited(config.max_memory):
        return _export(config, progress)


def _export(config: ExportConfig, progress: Progress) -> Manifest:
    check_free(config.output, force=config.force, known_by=BUNDLE, source=config.source)
    model = open_source(config.source, config.source_options, progress)
    refiner = open_refiner(config.source_options, progress)
    both = prepare_both(model, config.components, refiner, progress)
    prepared, recognised = both.prepared, both.recognised
    scheduler = model.scheduler_config()  # what is missing is told before slow work begins
    check_fields(scheduler)
    if config.verify == "image":
        from exporter.verify_image import check_drawable

        family, tasks = recognised.family.name, tasks_of(recognised, prepared)
        check_drawable(model.location, family, tasks, prepared, scheduler)
    for part, reason in recognised.family.left_out.items():
        if model.has(part):
            progress(f"{part} is left out: {reason}")
    latents = latents_of(recognised, prepared)
    usual = defaults(
        recognised.family,
        recognised.configs["unet"],
        scheduler,
        factor=latents.vae_factor,
        sampler=_default_sampler(scheduler, progress),
        wanted=config.wanted,
    )
    for name, item in prepared.items():
        _check_dtypes(name, item, config.dtype)
    check_needs(prepared, config.max_memory, config.verify)
    plans = {name: _plan(item, config.dtype) for name, item in prepared.items()}
    check_room(config.output, _needed_bytes(plans))
    own = [name for name in recognised.family.components if name in prepared]
    texts = canonical_texts(model, recognised.family, own) | refiner_texts(both.refiner)
    run = _fingerprint(texts, prepared, plans, config)
    with resumable(config.output, run, force=config.force, progress=progress) as journal:
        folder = journal.content
        hashes: dict[str, str] = {}
        for name, item in prepared.items():
            hashes |= journal.step(
                name,
                lambda name=name, item=item: export_component(
                    folder, name, item, plans[name], progress
                ),
                dict[str, str],
                lambda known: known,
            )
        _write_texts(texts, folder)
        manifest = portable_manifest(
            model,
            recognised,
            prepared,
            folder,
            hashes,
            options={
                "dtype": config.dtype,
                **config.source_options.given(),
                **config.wanted.given(),
            },
            defaults=usual,
            latents=latents,
            refiner=refiner_entry(both.refiner),
        )
        if config.verify != "none":
            from exporter.report import require_parity, write_report
            from exporter.verify import verify_components

            report = verify_components(
                folder,
                manifest,
                prepared,
                journal,
                by_layer=config.verify == "layers",
                progress=progress,
            )
            require_parity(report)
            if config.verify == "image":
                from exporter.verify_image import with_image

                report = with_image(folder, manifest, prepared, report, progress)
                require_parity(report)
            write_report(folder, report)
        begin(FINISH)
        write_manifest(folder, manifest)
    return manifest


def _check_options(config: ExportConfig) -> None:
    if config.dtype not in DTYPES:
        raise unknown_name("dtype", config.dtype, DTYPES)
    if config.verify not in VERIFY:
        raise unknown_name("verification", config.verify, VERIFY)
    if config.verify != "none" and find_spec("onnxruntime") is None:
        raise UsageError(
            "verification runs ONNX Runtime, which is not installed: "
            'pip install "latedge[onnxruntime]", or skip it with --verify none.'
        )
    config.wanted.check()
    if config.components is not None and not config.components:
        raise UsageError("no components were asked for; name at least one.")


def _fingerprint(
    texts: Mapping[str, bytes],
    prepared: Mapping[str, Prepared],
    plans: Mapping[str, Mapping[str, Planned]],
    config: ExportConfig,
) -> Fingerprint:
    """Whatever the bundle is made of: an interrupted run of the same may be gone on with."""
    content = {
        "texts": texts,
        "configs": {name: item.config for name, item in prepared.items()},
        "weights": plans,
    }
    return fingerprint("export", content, {"dtype": config.dtype})


def _check_dtypes(name: str, item: Prepared, dtype: DType) -> None:
    """Refuses a component whose weights are of several dtypes, unless they are to be cast to one.

    Raises:
        SourceError: names a weight of each dtype.
    """
    examples = {PRECISIONS[tensor.dtype]: key for key, tensor in item.weights.items()}
    if dtype == "source" and len(examples) > 1:
        found = " and ".join(f"{stored} ({key})" for stored, key in sorted(examples.items()))
        raise SourceError(
            f"{name}: its weights are stored in several dtypes, {found}; choose one with --dtype "
            "fp32 or --dtype fp16."
        )


def _plan(item: Prepared, dtype: DType) -> dict[str, Planned]:
    return {
        key: Planned(tensor, tensor.dtype if dtype == "source" else _STORED[dtype])
        for key, tensor in item.weights.items()
    }


def _needed_bytes(plans: Mapping[str, Mapping[str, Planned]]) -> int:
    graphs = 20_000_000 * len(plans)
    return graphs + sum(
        planned.source.size_bytes
        * (4 if planned.dtype == "F32" else 2)
        // (4 if planned.source.dtype == "F32" else 2)
        for plan in plans.values()
        for planned in plan.values()
    )


def export_component(
    folder: Path, name: str, item: Prepared, plan: Mapping[str, Planned], progress: Progress
) -> dict[str, str]:
    """Writes graph, weights and config of a component into a folder of its own.

    Args:
        folder: of the portable bundle.
        name: of the component.
        item: the component.
        plan: its weights by Diffusers key.
        progress: called with a line on what it took.

    Returns:
        The SHA-256 of its weight file, by path in the bundle.
    """
    with work_on(name):
        return _export_component(folder, name, item, plan, progress)


def _export_component(
    folder: Path, name: str, item: Prepared, plan: Mapping[str, Planned], progress: Progress
) -> dict[str, str]:
    start = time.perf_counter()
    model = apply(capture(item.component, item.config), PORTABLE)
    captured = time.perf_counter()
    begin(WRITE)
    # A half of the VAE uses its own part of the file.
    used = {key: plan[key] for key in weight_keys(model)}
    bind(model, {key: (planned.dtype, planned.source.shape) for key, planned in used.items()})
    target = folder / name
    target.mkdir()
    save(model, target / GRAPH_NAME)
    begin(WEIGHTS)
    sha256 = stream(target / WEIGHTS_NAME, used)
    (target / "config.json").write_bytes(encode(item.config))
    done = time.perf_counter()
    progress(
        f"{name}: captured in {captured - start:.1f} s, {len(model.graph)} nodes; "
        f"{len(used)} weights copied in {done - captured:.1f} s"
    )
    return {f"{name}/{WEIGHTS_NAME}": sha256}


def _write_texts(texts: Mapping[str, bytes], folder: Path) -> None:
    for name, content in texts.items():
        write_file(folder / name, content)


def _default_sampler(scheduler: Config, progress: Progress) -> str:
    """The sampler that follows the source's scheduler, or one that works with every schedule.

    The runtime doesn't take the latter unasked: it would give other pictures than the source.
    """
    try:
        return default_sampler(scheduler)
    except UsageError as e:
        progress(f"{e} The bundle makes pictures where one is named, with {_ANY_SCHEDULE} say.")
        return _ANY_SCHEDULE
