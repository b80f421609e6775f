"""What a bundle is, read from its manifest and files without loading an engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from runtimes.bundle import Bundle, open_bundle, read_json
from runtimes.errors import BundleError
from runtimes.manifest import Component, Defaults, Graph, Latents, Provenance

SAFETENSORS = ".safetensors"
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit


class _Entry(msgspec.Struct):
    shape: tuple[int, ...]


class InspectedComponent(msgspec.Struct, frozen=True, kw_only=True):
    """A component of a bundle.

    Attributes:
        graphs: by name, with their inputs and outputs.
        weights: how many weight tensors it has; None where nothing in the bundle says.
        parameters: how many numbers they hold; likewise.
        size_bytes: of all its files.
    """

    graphs: dict[str, Graph]
    weights: int | None
    parameters: int | None
    size_bytes: int


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle whose files are as its manifest says.

    Attributes:
        path: the folder.
        schema: of the manifest.
        family: such as "sd1".
        tasks: what it can do.
        target: what it was compiled for, or None for a portable bundle.
        engines: that run its graphs.
        precisions: how its weights are stored.
        prediction_type: of the U-Net.
        latents: the latent space.
        defaults: settings where `generate` is given none.
        components: by name.
        inferred: whether the folder has no manifest and all this was inferred: what it holds was
            compared with nothing.
        files: how many, without the manifest.
        size_bytes: of them all.
        provenance: where it comes from.
    """

    path: str
    schema: str
    family: str
    tasks: tuple[str, ...]
    target: str | None
    engines: tuple[str, ...]
    precisions: tuple[str, ...]
    prediction_type: str
    latents: Latents
    defaults: Defaults
    components: dict[str, InspectedComponent]
    inferred: bool
    files: int
    size_bytes: int
    provenance: Provenance


def inspect(bundle: Path | str) -> Inspection:
    """Reads what a bundle is and checks its files.

    Raises:
        BundleError: the manifest is refused, or a file is missing, truncated or altered.
    """
    opened = open_bundle(bundle)
    manifest = opened.manifest
    graphs = [graph for part in manifest.components.values() for graph in part.graphs.values()]
    return Inspection(
        path=str(opened.path),
        schema=manifest.schema,
        family=manifest.family,
        tasks=manifest.tasks,
        target=manifest.target,
        engines=tuple(sorted({graph.engine for graph in graphs if graph.engine is not None})),
        precisions=tuple(sorted({graph.precision for graph in graphs})),
        prediction_type=manifest.prediction_type,
        latents=manifest.latents,
        defaults=manifest.defaults,
        components={
            name: _inspect_component(opened, part) for name, part in manifest.components.items()
        },
        inferred=opened.inferred,
        files=len(manifest.files),
        size_bytes=opened.size_bytes(),
        provenance=manifest.provenance,
    )


def _inspect_component(bundle: Bundle, component: Component) -> InspectedComponent:
    shapes = _weight_shapes(bundle, component)
    return InspectedComponent(
        graphs=component.graphs,
        weights=None if shapes is None else len(shapes),
        parameters=None if shapes is None else sum(map(math.prod, shapes)),
        size_bytes=sum(bundle.manifest.files[name].size for name in _files(component)),
    )


def _files(component: Component) -> set[str]:
    files: set[str] = set()
    for graph in component.graphs.values():
        files.update((graph.file, *graph.chunks, *graph.weights))
    if component.recipe is not None:
        files |= {component.recipe.config, component.recipe.weights}
    if component.weight_map is not None:
        files.add(component.weight_map)
    return files


def _weight_shapes(bundle: Bundle, component: Component) -> list[tuple[int, ...]] | None:
    """Shapes of the weights, from safetensors headers or else from the weight map."""
    stored = sorted(name for name in _files(component) if name.endswith(SAFETENSORS))
    if stored:
        tables = {name: _header(bundle.path / name) for name in stored}
    elif component.weight_map is not None:
        tables = {component.weight_map: read_json(bundle.path / component.weight_map)}
    else:
        return None
    return [shape for name, table in tables.items() for shape in _shapes(bundle.path / name, table)]


def _shapes(path: Path, table: Mapping[str, object]) -> list[tuple[int, ...]]:
    try:
        return [entry.shape for entry in msgspec.convert(table, dict[str, _Entry]).values()]
    except msgspec.ValidationError as e:
        raise BundleError(f"{path} doesn't list weights with their shapes: {e}.") from e


def _header(path: Path) -> Mapping[str, object]:
    """The tensors' entries of a safetensors file: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise BundleError(f"{path} is not a safetensors file: its header has {length} bytes.")
        raw = file.read(length)
    try:
        header = msgspec.json.decode(raw, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise BundleError(f"{path} is not a safetensors file: {e}.") from e
    header.pop("__metadata__", None)
    return header
