"""The verb `compile`: a portable bundle → a bundle of one engine's own files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from exporter.arithmetic import check_mode, decide
from exporter.errors import CompileError
from exporter.fingerprint import Fingerprint, fingerprint
from exporter.progress import Progress, silent
from exporter.scan import Scan
from exporter.staged_files import copy_file, list_files, write_manifest
from exporter.staging import BUNDLE, check_free, check_room, resumable
from exporter.targets import GENAI, LAYOUTS, Compiled, Target, layout_target
from runtimes.bundle import Bundle, open_bundle, read_json
from runtimes.errors import UsageError, unknown_name
from runtimes.manifest import Arithmetic, Component, Defaults, Manifest, Provenance

_TEXT_LENGTH = 77
"""Tokens that CLIP reads: an engine of fixed sizes takes one such stretch of text."""


@dataclass(frozen=True)
class CompileConfig:
    """What to compile and how.

    Attributes:
        target: name of the target.
        precision: how the engine stores weights and may compute; None for the target's default.
        height: of the pictures in pixels; None leaves the height free.
        width: likewise.
        batch: what the U-Net takes in one call: 2 for both guidance halves of a picture at once,
            1 for one after the other; None leaves the batch free.
        force: replace an existing output, and use nothing of an interrupted run.
        layout: "optimum", or "genai" for what OpenVINO GenAI opens.
        arithmetic: what engines may compute in: "fp32", "fp16" for half precision in the components
            whose values fit, "force-fp16" for half precision in all; None for the target's default.
    """

    target: str
    precision: str | None = None
    height: int | None = None
    width: int | None = None
    batch: int | None = None
    force: bool = False
    layout: str = "optimum"
    arithmetic: str | None = None


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
    progress: Progress = silent,
) -> Manifest:
    """Compiles a portable bundle for a target.

    After an interruption the same call goes on from the components that were finished.

    Args:
        bundle: the portable bundle.
        output: the new bundle, which appears whole or not at all.
        target: "onnxruntime" or "openvino".
        precision: see `CompileConfig`.
        height: see `CompileConfig`.
        width: see `CompileConfig`.
        batch: see `CompileConfig`.
        force: replace an existing output, and use nothing of an interrupted run.
        layout: see `CompileConfig`.
        arithmetic: see `CompileConfig`.
        progress: called with lines on what is done.

    Returns:
        The new bundle's manifest.

    Raises:
        UsageError: an option is wrong or the output exists.
        BundleError: the bundle is damaged.
        CompileError: it is compiled already, or the target can't take it.
    """
    config = CompileConfig(target, precision, height, width, batch, force, layout, arithmetic)
    compiler = layout_target(layout, target)
    chosen = precision or compiler.precisions[0]
    if chosen not in compiler.precisions:
        raise unknown_name(f"precision of {target}", chosen, compiler.precisions)
    mode = check_mode(arithmetic, chosen, default=compiler.half_arithmetic)
    check_free(Path(output), force=force, known_by=BUNDLE, source=Path(bundle))
    opened = open_bundle(bundle)
    _check(opened, config)
    _check_layout(opened, config)
    # Weights may be widened from fp16; graphs are small beside them.
    check_room(Path(output), opened.size_bytes() * (2 if chosen == "fp32" else 1))
    run = _fingerprint(opened, config, chosen)
    decided = _Decisions(opened, mode, progress)
    with resumable(Path(output), run, force=force, progress=progress) as journal:
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
        _add_layout(opened, folder, config)
        manifest = msgspec.structs.replace(
            opened.manifest,
            target=target,
            components=entries,
            defaults=_defaults(opened.manifest, config),
            files=list_files(folder, hashes),
            provenance=_provenance(opened.manifest, config, chosen),
        )
        write_manifest(folder, manifest)
    return manifest


def _fingerprint(bundle: Bundle, config: CompileConfig, precision: str) -> Fingerprint:
    options = {**asdict(config), "precision": precision, "force": None}
    # The manifest has the hashes of all files, and opening has compared them.
    return fingerprint("compile", bundle.sha256, options, sdk=config.target)


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
    progress(f"{name}: compiled for {config.target}, {precision}")
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
    space = manifest.latents
    factor = space.vae_factor * space.multiple
    whose = "the VAE's factor" if space.multiple == 1 else "as the U-Net takes them"
    for name, size in (("height", config.height), ("width", config.width)):
        if size is not None and (size <= 0 or size % factor):
            below = max(size // factor, 1) * factor
            raise UsageError(
                f"{name} {size} is not a positive multiple of {factor}, {whose}; nearest "
                f"are {below} and {below + factor}."
            )
    if config.batch is not None and config.batch < 1:
        raise UsageError(f"batch {config.batch} is not positive; 1 or 2 are usual.")


def _check_layout(bundle: Bundle, config: CompileConfig) -> None:
    if config.layout == GENAI:
        from exporter.targets.genai import check_genai

        check_genai(bundle, batch=config.batch)


def _add_layout(bundle: Bundle, folder: Path, config: CompileConfig) -> None:
    """Writes what the layout has beside the components, once the texts are there."""
    if config.layout == GENAI:
        from exporter.targets.genai import write_tokenizers

        write_tokenizers(bundle, folder)


def _sizes(bundle: Bundle, name: str, config: CompileConfig) -> dict[str, int]:
    """The axes of a component that are fixed.

    `batch` is the U-Net's; what runs once a picture is fixed to one sample with it. The runtime
    calls a graph as often as its batch asks for.
    """
    sizes: dict[str, int] = {}
    if config.height is not None and config.width is not None:
        factor = bundle.manifest.latents.vae_factor
        sizes = {
            "image_height": config.height,
            "image_width": config.width,
            "height": config.height // factor,
            "width": config.width // factor,
            "sequence": _TEXT_LENGTH,
        }
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


def _provenance(manifest: Manifest, config: CompileConfig, precision: str) -> Provenance:
    given = {
        "target": config.target,
        "precision": precision,
        "height": config.height,
        "width": config.width,
        "batch": config.batch,
        "layout": None if config.layout == LAYOUTS[0] else config.layout,
        "arithmetic": config.arithmetic,
    }
    options = {key: str(value) for key, value in given.items() if value is not None}
    provenance = manifest.provenance
    return msgspec.structs.replace(
        provenance,
        options={**provenance.options, "compile": options},
        tools={**provenance.tools, config.target: version(config.target)},
    )
