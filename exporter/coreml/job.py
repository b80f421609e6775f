"""Makes the packages of one component: capture, rewrites, lowering, writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from exporter.components import component as load_component
from exporter.coreml.compress.compression import Compression
from exporter.coreml.compress.quantization import read_quantization, read_rounded_reads
from exporter.coreml.compress.scheme import parse_scheme
from exporter.coreml.constants import PackageWeights
from exporter.coreml.convert import Feature, add_function
from exporter.coreml.descriptions import describe
from exporter.coreml.mapped_weights import Array, mapped_weights
from exporter.coreml.package import MODEL, WEIGHTS, fresh_names, save
from exporter.coreml.ports import EXACT, package_ports
from exporter.coreml.program import Program, capture_program
from exporter.coreml.recipe import weights_sha256
from exporter.coreml.rewrites import rewrite_attention
from exporter.coreml.rewrites.halves import split_program
from exporter.coreml.sizes import Size, function_name, graph_name
from exporter.coreml.swift import check_packages, package_names
from exporter.coreml.swift_notes import obstacles
from exporter.coreml.targets import check_target
from exporter.phases import CONVERT, begin
from exporter.picture_size import picture_axes
from exporter.rebuilt import recipe_of
from exporter.weight_map import Mapped, write_weight_map
from runtimes.bundle import Bundle, open_bundle, read_json
from runtimes.manifest import Arithmetic, Component, DType, Graph, Port

_STORED = {"fp16": "F16", "fp32": "F32"}
_DTYPES: dict[str, DType] = {"fp16": "float16", "fp32": "float32"}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The work on one component.

    Attributes:
        bundle: the portable bundle.
        component: its name there.
        folder: the staged bundle, where the component's folder exists.
        precision: what the program computes in: "fp16" or "fp32".
        arithmetic: why; for the manifest.
        deployment_target: such as "iOS17".
        attention: how attention is written.
        compression: a scheme's name, or None.
        sizes: heights and widths of pictures in pixels, the default first.
        batch: samples of a call.
        unet_batch: the same of the bundle's U-Nets.
        chunked: whether in two packages.
        max_memory: bytes that the process may take, or None.
        recipe: path of the `quantization.json` of a scheme that needs one.
    """

    bundle: str
    component: str
    folder: str
    precision: str
    arithmetic: Arithmetic | None
    deployment_target: str
    attention: str
    compression: str | None
    sizes: tuple[Size, ...]
    batch: int
    unet_batch: int
    chunked: bool
    max_memory: int | None
    recipe: str | None = None


class _Form(msgspec.Struct, frozen=True):
    """A component at one size.

    Attributes:
        size: height and width in pixels.
        parts: its program, or two that run one after the other.
        inputs: of the component.
        outputs: likewise.
    """

    size: Size
    parts: tuple[Program, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def make(job: Job) -> Component:
    """Writes a component's packages and gives its entry in the manifest.

    Raises:
        CompileError: the network can't be lowered, or Core ML can't run it, or Apple's Swift
            package can't, where it can run the bundle's models otherwise.
        SourceError: a weight overflows half precision.
    """
    bundle = open_bundle(job.bundle)
    folder = Path(job.folder) / job.component
    recipe = recipe_of(bundle, job.component)
    deployment = check_target(job.deployment_target)
    with mapped_weights(bundle.path / recipe.weights, _STORED[job.precision], folder) as arrays:
        forms = [_form(job, bundle, size, arrays) for size in _own_sizes(job, bundle)]
        begin(CONVERT)
        names = package_names(job.component, chunked=job.chunked)
        weight_map: dict[str, Mapped] = {}
        for part, name in enumerate(names):
            weights = PackageWeights(arrays, *_compression(job, bundle), deployment)
            _write(job, forms, part, folder / name, weights)
            weight_map |= weights.weight_map()
    graphs = {
        graph_name(job.sizes, form.size): _graph(job, form, names, several=len(forms) > 1)
        for form in forms
    }
    if not obstacles(bundle, batch=job.unet_batch):
        packages = [folder / name for name in names]
        check_packages(job.component, packages, is_xl=bundle.manifest.conditioning is not None)
    map_name = write_weight_map(folder, weight_map)
    return Component(graphs=graphs, weight_map=f"{job.component}/{map_name}")


def _own_sizes(job: Job, bundle: Bundle) -> tuple[Size, ...]:
    """The sizes that make a difference: none but the first for what takes no picture."""
    ports = bundle.graph(job.component).inputs
    return job.sizes if any(len(port.shape) == 4 for port in ports) else job.sizes[:1]


def _form(job: Job, bundle: Bundle, size: Size, arrays: Mapping[str, Array]) -> _Form:
    """Captures and rewrites a component at one size."""
    recipe = recipe_of(bundle, job.component)
    wrapper, config = load_component(recipe.component), read_json(bundle.path / recipe.config)
    axes = {**picture_axes(bundle, *size), "batch": job.batch}
    half = job.precision == "fp16"
    inputs, outputs = package_ports(bundle, job.component, axes, _DTYPES[job.precision])
    repeat = {port.role: port.repeat for port in inputs}
    program = capture_program(wrapper, config, axes, half=half, exact=EXACT, repeat=repeat)
    program.keep_outputs([port.role for port in outputs])
    rewrite_attention(program, job.attention)
    parts = (program,)
    if job.chunked:
        parts = split_program(program, lambda key: arrays[key].nbytes)
    return _Form(size, parts, inputs, outputs)


def _write(
    job: Job, forms: Sequence[_Form], part: int, path: Path, weights: PackageWeights
) -> None:
    """Lowers one part at all sizes and writes its package."""
    from coremltools.converters.mil.mil import Program as MilProgram

    target, mil = check_target(job.deployment_target).sdk, MilProgram()
    with fresh_names():
        for form in forms:
            program = form.parts[part]
            inputs = _features(job, program.inputs, form.inputs)
            outputs = _features(job, program.outputs, form.outputs)
            name = function_name(job.sizes, form.size)
            add_function(mil, name, program, inputs, outputs, weights.constants(), target)
    description = describe(job.component, part=part, parts=len(forms[0].parts))
    save(mil, path, target=target, description=description)


def _compression(job: Job, bundle: Bundle) -> tuple[Compression | None, Mapping[str, float]]:
    """How weights are compressed, and the scales of what layers read in 8 bits."""
    if job.compression is None:
        return None, {}
    scheme = parse_scheme(job.compression)
    if job.recipe is None:
        return Compression(scheme), {}
    path, sha256 = Path(job.recipe), weights_sha256(bundle, job.component)
    if scheme.activations:
        reads = read_rounded_reads(path, weights_sha256=sha256)
        return Compression(scheme), reads.activations.scales
    return read_quantization(path, weights_sha256=sha256).compression, {}


def _features(
    job: Job, nodes: Mapping[str, object], ports: tuple[Port, ...]
) -> tuple[Feature, ...]:
    """A part's inputs or outputs: the component's, and what one part hands to the other."""
    by_role = {port.role: port for port in ports}
    handed_on = _DTYPES[job.precision]
    return tuple(
        Feature(name, by_role[name].name, by_role[name].dtype)
        if name in by_role
        else Feature(name, name, handed_on)
        for name in nodes
    )


def _graph(job: Job, form: _Form, names: Sequence[str], *, several: bool) -> Graph:
    """The entry of one size in the manifest."""
    function = function_name(job.sizes, form.size) if several else None
    files = [f"{job.component}/{name}/{MODEL}" for name in names]
    return Graph(
        file=files[0],
        chunks=tuple(files[1:]),
        inputs=form.inputs,
        outputs=form.outputs,
        weights=tuple(f"{job.component}/{name}/{WEIGHTS}" for name in names),
        precision=job.precision,
        engine="coreml",
        arithmetic=job.arithmetic,
        function=function,
        compression=job.compression,
    )
