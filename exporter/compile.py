"""The verb `compile`: a portable bundle → a bundle of one engine's own files."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import msgspec

from exporter.arithmetic import check_mode, decide
from exporter.compile_config import CompileConfig
from exporter.coreml.options import NO_OPTIONS, CoreMlOptions
from exporter.errors import CompileError
from exporter.fingerprint import Fingerprint, fingerprint
from exporter.memory import limited
from exporter.picture_size import check_picture_size, picture_axes
from exporter.progress import Progress, silent
from exporter.scan import Scan
from exporter.staged_files import copy_file, list_files, write_manifest
from exporter.staging import BUNDLE, check_free, check_room, resumable
from exporter.targets import LAYOUTS, Compiled, Target, configured_target
from runtimes.bundle import Bundle, open_bundle, read_json
from runtimes.errors import UsageError, unknown_name
from runtimes.manifest import Arithmetic, Component, Defaults, Manifest, Provenance


def compile(  # the verb's name, which design gives to the Python call as well
    bundle: Path | str,
    output: Path | str,
    *,
    target: str,
    precision: str | None = None,
    height: int | None = None,
    width: int | None = None,
    batch: int | None = None,
    force: bool = False,
    layout: str = "optimum",
    arithmetic: str | None = None,
    coreml: CoreMlOptions = NO_OPTIONS,
    max_memory: int | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Compiles a portable bundle for a target.

    After an interruption the same call goes on from the components that were finished.

    Args:
        bundle: the portable bundle.
        output: the new bundle, which appears whole or not at all.
        target: "onnxruntime", "openvino" or "coreml".
        precision: see `CompileConfig`.
        height: see `CompileConfig`.
        width: see `CompileConfig`.
        batch: see `CompileConfig`.
        force: replace an existing output, and use nothing of an interrupted run.
        layout: see `CompileConfig`.
        arithmetic: see `CompileConfig`.
        coreml: see `exporter.coreml.options.CoreMlOptions`.
        max_memory: see `CompileConfig`.
        progress: called with lines on what is done.

    Returns:
        The new bundle's manifest.

    Raises:
        UsageError: an option is wrong or the output exists.
        BundleError: the bundle is damaged.
        CompileError: it is compiled already, or the target can't take it.
        MemoryLimitError: it takes more memory than it may.
    """
    config = CompileConfig(
        target, precision, height, width, batch, force, layout, arithmetic, coreml, max_memory
    )
    with limited(max_memory):
        return _compile(Path(bundle), Path(output), config, progress)


def _compile(bundle: Path, output: Path, config: CompileConfig, progress: Progress) -> Manifest:
    target, precision, force = config.target, config.precision, config.force
    compiler = configured_target(config, progress)
    chosen = precision or compiler.precisions[0]
    if chosen not in compiler.precisions:
        raise unknown_name(f"precision of {target}", chosen, compiler.precisions)
    mode = check_mode(config.arithmetic, chosen, default=compiler.half_arithmetic)
    check_free(output, force=force, known_by=BUNDLE, source=bundle)
    opened = open_bundle(bundle)
    _check(opened, config)
    config = compiler.settle(opened, config)
    # Weights may be widened from fp16; graphs are small beside them.
    check_room(output, opened.size_bytes() * (2 if chosen == "fp32" else 1))
    run = _fingerprint(opened, config, chosen, compiler.sdk)
    decided = _Decisions(opened, mode, progress)
    with resumable(output, run, force=force, progress=progress) as journal:
        folder = journal.content
        entries: dict[str, Component] = {}
        hashes: dict[str, str] = {}
        for name in opened.manifest.components:
            compiled = journal.step(
                name,
                lambda name=name: _compile_component(
                    compiler, opened, name, folder, config, chosen, decided, progress
                ),
                Compiled,
                lambda compiled: compiled.hashes,
            )
            entries[name] = compiled.entry
            hashes |= compiled.hashes
        _copy_texts(opened, folder)
        for line in compiler.finish(opened, folder):
            progress(line)
        manifest = msgspec.structs.replace(
            opened.manifest,
            target=target,
            components=entries,
            defaults=_defaults(opened.manifest, config),
            files=list_files(folder, hashes),
            provenance=_provenance(opened.manifest, config, chosen, compiler.sdk),
        )
        write_manifest(folder, manifest)
    return manifest


def _fingerprint(bundle: Bundle, config: CompileConfig, precision: str, sdk: str) -> Fingerprint:
    options = {**asdict(config), "precision": precision, "force": None, "max_memory": None}
    # The manifest has the hashes of all files, and opening has compared them.
    return fingerprint("compile", [bundle.sha256, config.coreml.recipe], options, sdk=sdk)


class _Decisions:
    """What each component may be computed in, found when it is asked for."""

    def __init__(self, bundle: Bundle, mode: str | None, progress: Progress) -> None:
        self._bundle, self._mode, self._progress = bundle, mode, progress
        self._scan = Scan(bundle)

    def of(self, name: str) -> Arithmetic | None:
        if self._mode is None:
            return None
        config = read_json(self._bundle.path / name / "config.json")
        found = decide(self._mode, self._bundle.manifest, config, lambda: self._scan.largest(name))
        self._progress(f"{name}: may be computed in {found}")
        return found


def _compile_component(
    compiler: Target,
    bundle: Bundle,
    name: str,
    folder: Path,
    config: CompileConfig,
    precision: str,
    decided: _Decisions,
    progress: Progress,
) -> Compiled:
    (folder / name).mkdir()
    copy_file(bundle.path / name / "config.json", folder / name / "config.json")
    sizes = _sizes(bundle, name, config)
    arithmetic = decided.of(name)
    compiled = compiler.compile(
        bundle, name, folder, precision=precision, sizes=sizes, arithmetic=arithmetic
    )
    note = f"; {compiled.note}" if compiled.note else ""
    (stored, *_) = {graph.precision for graph in compiled.entry.graphs.values()}
    progress(f"{name}: compiled for {config.target}, {stored}{note}")
    return compiled


def _check(bundle: Bundle, config: CompileConfig) -> None:
    manifest = bundle.manifest
    if manifest.target is not None:
        raise CompileError(
            f"{bundle.path} is compiled for {manifest.target} already; give the portable bundle "
            "that `latedge export` wrote."
        )
    if (config.height is None) != (config.width is None):
        raise UsageError("give both --height and --width, or neither.")
    if config.height is not None and config.width is not None:
        check_picture_size(bundle, config.height, config.width)
    if config.batch is not None and config.batch < 1:
        raise UsageError(f"batch {config.batch} is not positive; 1 or 2 are usual.")


def _sizes(bundle: Bundle, name: str, config: CompileConfig) -> dict[str, int]:
    """The axes of a component that are fixed.

    `batch` is the U-Net's; what runs once a picture is fixed to one sample with it. The runtime
    calls a graph as often as its batch asks for.
    """
    sizes: dict[str, int] = {}
    if config.height is not None and config.width is not None:
        sizes = picture_axes(bundle, config.height, config.width)
    if config.batch is not None:
        sizes["batch"] = config.batch if _is_unet(bundle, name) else 1
    ports = (*bundle.graph(name).inputs, *bundle.graph(name).outputs)
    axes = {axis for port in ports for axis in port.shape}
    return {axis: size for axis, size in sizes.items() if axis in axes}


def _is_unet(bundle: Bundle, name: str) -> bool:
    """Whether a component is the U-Net, or the refiner's."""
    recipe = bundle.manifest.components[name].recipe
    return recipe is not None and recipe.component == "unet"


def _copy_texts(bundle: Bundle, folder: Path) -> None:
    manifest = bundle.manifest
    texts = {"model_index.json", manifest.scheduler}
    if manifest.low_res_scheduler is not None:
        texts.add(manifest.low_res_scheduler)
    if manifest.refiner is not None:
        texts.add(manifest.refiner.scheduler)
    for tokenizer in manifest.tokenizers.values():
        texts |= {name for name in manifest.files if name.startswith(f"{tokenizer}/")}
    for name in sorted(texts & manifest.files.keys()):
        copy_file(bundle.path / name, folder / name)


def _defaults(manifest: Manifest, config: CompileConfig) -> Defaults:
    defaults = manifest.defaults
    return msgspec.structs.replace(
        defaults,
        height=config.height or defaults.height,
        width=config.width or defaults.width,
    )


def _provenance(manifest: Manifest, config: CompileConfig, precision: str, sdk: str) -> Provenance:
    given = {
        "target": config.target,
        "precision": precision,
        "height": config.height,
        "width": config.width,
        "batch": config.batch,
        "layout": None if config.layout == LAYOUTS[0] else config.layout,
        "arithmetic": config.arithmetic,
        **config.coreml.as_options(),
    }
    options = {key: str(value) for key, value in given.items() if value is not None}
    provenance = manifest.provenance
    return msgspec.structs.replace(
        provenance,
        options={**provenance.options, "compile": options},
        tools={**provenance.tools, sdk: version(sdk)},
    )
