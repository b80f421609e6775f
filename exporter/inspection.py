"""What a source is and how that is known, from configs and weight headers; imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from exporter.components.base import Config, class_name
from exporter.errors import SourceError
from exporter.families import family_of
from exporter.families.table import networks_of
from exporter.original.identify import CHECKPOINT, identify
from exporter.source import NETWORKS, Source, SourceOptions, refuse_pickle
from exporter.sources.checkpoint import Checkpoint, Inferred, open_checkpoint
from exporter.sources.folder import open_folder
from exporter.weights import PRECISIONS, Tensor, read_header, read_metadata

_TEXT_FIELDS = ("hidden_size", "num_hidden_layers", "hidden_act", "vocab_size")
_SHOWN_FIELDS = {
    "text_encoder": _TEXT_FIELDS,
    "text_encoder_2": (*_TEXT_FIELDS, "projection_dim"),
    "unet": (
        "in_channels",
        "block_out_channels",
        "layers_per_block",
        "cross_attention_dim",
        "attention_head_dim",
        "transformer_layers_per_block",
        "reverse_transformer_layers_per_block",
        "mid_block_type",
        "addition_embed_type",
        "time_cond_proj_dim",
        "use_linear_projection",
        "sample_size",
    ),
    "vae": ("latent_channels", "block_out_channels", "layers_per_block"),
}


class InspectedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network of a source.

    Attributes:
        class_name: its class in diffusers or transformers.
        known_from: how the file names its weights, or where its config is.
        architecture: what matters of its config.
        weights: how many tensors it has.
        parameters: how many numbers they hold.
        dtypes: how these are stored: fp32, fp16, bf16, or a safetensors dtype.
        size_bytes: of the tensors.
    """

    class_name: str
    known_from: str
    architecture: dict[str, object]
    weights: int
    parameters: int
    dtypes: tuple[str, ...]
    size_bytes: int


class SourceInspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a source is.

    Attributes:
        path: the file or folder.
        kind: "folder", "checkpoint" or, of a file that is no model, "other".
        title: in words.
        reason: the keys or fields that decided.
        family: of models, such as "sd1"; None where it is of none that is known.
        pipeline_class: diffusers' class for it.
        tasks: what it can do.
        prediction_type: what the U-Net predicts; None where nothing says.
        prediction_known_from: what says so, or what to do.
        networks: by their folders in a Diffusers model.
        missing: networks that the family has and the source lacks.
        unused_weights: tensors that nothing needs, such as copies from the training.
        metadata: what the file notes about itself.
    """

    path: str
    kind: str
    title: str
    reason: str
    family: str | None = None
    pipeline_class: str | None = None
    tasks: tuple[str, ...] = ()
    prediction_type: str | None = None
    prediction_known_from: str | None = None
    networks: dict[str, InspectedNetwork] = {}
    missing: tuple[str, ...] = ()
    unused_weights: int = 0
    metadata: dict[str, str] = {}


def inspect_source(path: Path | str) -> SourceInspection:
    """Reads what a .safetensors file or a Diffusers folder is.

    Raises:
        SourceError: it isn't there, is broken, or is a folder of no known family.
        WeightError: a checkpoint has weights that are unknown.
    """
    place = Path(path)
    refuse_pickle(place)
    if place.is_dir():
        return _inspect_folder(place)
    if not place.is_file():
        raise SourceError(f"nothing at {place}: no such file or folder.")
    identity = identify(read_header(place))
    if identity.kind == CHECKPOINT:
        return _inspect_checkpoint(place)
    return SourceInspection(
        path=str(place),
        kind="other",
        title=identity.title,
        reason=identity.reason,
        metadata=read_metadata(place),
    )


def _inspect_checkpoint(path: Path) -> SourceInspection:
    opened = open_checkpoint(path, SourceOptions())
    identity = identify(read_header(path))
    inferred = opened.beside
    assert isinstance(inferred, Inferred)
    prediction = inferred.prediction
    projection = "a matrix" if opened.family.name == "sd2" else "a convolution"
    return _inspected(
        opened,
        title=f"a checkpoint of {opened.family.unsaid.title}",
        reason=f"{identity.reason} is there; attention's proj_in is {projection}",
        prediction=(
            (prediction.type, prediction.known_from)
            if prediction
            else (None, "not in the file: give --prediction-type to export")
        ),
        networks={
            name: _network(opened, name, opened.parts.naming[name])
            for name in NETWORKS
            if opened.has(name)
        },
        metadata=read_metadata(path),
    )


def _inspect_folder(path: Path) -> SourceInspection:
    opened = open_folder(path)
    if not opened.has("unet"):
        raise opened.lacks("unet")
    family = family_of(opened)
    scheduler = opened.scheduler_config()
    said = "prediction_type" in scheduler
    return _inspected(
        opened,
        title=f"a Diffusers folder of {family.unsaid.title}",
        reason=f"model_index.json says {opened.pipeline_class}; unet/config.json says "
        f"{_said(opened.config('unet'))}",
        prediction=(
            (family.predicts, "the pipeline")
            if family.predicts is not None
            else (
                str(scheduler.get("prediction_type", "epsilon")),
                f"scheduler_config.json{'' if said else ', which names none'}",
            )
        ),
        networks={
            name: _network(opened, name, f"{opened.named(name)}/config.json")
            for name in NETWORKS
            if opened.has(name)
        },
        metadata={},
    )


def _said(unet: Config) -> str:
    """The fields of a U-Net's config that tell families apart."""
    if class_name(unet) != "UNet2DConditionModel":
        return f"_class_name={class_name(unet)}"
    if (added := unet.get("addition_embed_type")) is not None:
        width = unet.get("cross_attention_dim")
        return f"addition_embed_type={added} and cross_attention_dim={width}"
    return f"use_linear_projection={str(bool(unet.get('use_linear_projection'))).lower()}"


def _inspected(
    source: Source,
    *,
    title: str,
    reason: str,
    prediction: tuple[str | None, str],
    networks: dict[str, InspectedNetwork],
    metadata: dict[str, str],
) -> SourceInspection:
    family = family_of(source)
    channels = int(source.config("unet")["in_channels"])
    return SourceInspection(
        path=source.location,
        kind=source.origin.kind,
        title=title,
        reason=reason,
        family=family.name,
        pipeline_class=source.pipeline_class,
        tasks=family.tasks.get(channels, ()),
        prediction_type=prediction[0],
        prediction_known_from=prediction[1],
        networks=networks,
        missing=tuple(name for name in networks_of(family.components) if name not in networks),
        unused_weights=len(source.parts.unused) if isinstance(source, Checkpoint) else 0,
        metadata=metadata,
    )


def _network(source: Source, folder: str, known_from: str) -> InspectedNetwork:
    config, tensors = source.config(folder), source.tensors(folder)
    return InspectedNetwork(
        class_name=class_name(config),
        known_from=known_from,
        architecture=_architecture(folder, config),
        weights=len(tensors),
        parameters=sum(math.prod(tensor.shape) for tensor in tensors.values()),
        dtypes=_dtypes(tensors),
        size_bytes=sum(tensor.size_bytes for tensor in tensors.values()),
    )


def _architecture(folder: str, config: Config) -> dict[str, object]:
    known = {name: config.get(name) for name in _SHOWN_FIELDS[folder]}
    return {name: value for name, value in known.items() if value is not None}


def _dtypes(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    stored = {tensor.dtype for tensor in tensors.values()}
    return tuple(sorted(PRECISIONS.get(dtype, dtype) for dtype in stored))
