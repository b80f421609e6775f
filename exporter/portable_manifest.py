"""The manifest of a portable bundle: what its graphs take and give, and where it comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path

from exporter.components.autoencoders import vae_factor
from exporter.components.base import Config, class_name
from exporter.components.vae import VaeDecoder
from exporter.conditioning import conditioning
from exporter.errors import SourceError
from exporter.families import Recognised
from exporter.families.table import Family
from exporter.portable import GRAPH_NAME, WEIGHTS_NAME
from exporter.prepare import Prepared
from exporter.source import Source
from exporter.sources.canonical import LOW_RES_SCHEDULER, SCHEDULER
from exporter.staged_files import list_files
from exporter.weights import PRECISIONS
from runtimes.manifest import (
    SCHEMA_MAJOR,
    SCHEMA_MINOR,
    Defaults,
    File,
    Graph,
    Latents,
    Manifest,
    Provenance,
    Recipe,
    Refiner,
)
from runtimes.manifest import (
    Component as ComponentEntry,
)
from runtimes.version import VERSION

_TOOLS = ("torch", "diffusers", "transformers", "onnx-ir", "onnxscript")


def portable_manifest(
    source: Source,
    recognised: Recognised,
    prepared: Mapping[str, Prepared],
    folder: Path,
    hashes: dict[str, str],
    *,
    options: Mapping[str, str],
    defaults: Defaults,
    latents: Latents,
    refiner: Refiner | None = None,
) -> Manifest:
    """Makes the manifest of a portable bundle.

    Args:
        source: the model.
        recognised: its family and its networks' configs.
        prepared: the components in the bundle.
        folder: the bundle, complete but for the manifest.
        hashes: SHA-256 of files in it, where they are known already.
        options: what `latedge export` was given; "dtype" has the key of that name.
        defaults: what pictures are drawn with where the caller says nothing.
        latents: the latent space.
        refiner: what is said of a refiner that the bundle has, too.

    Raises:
        SourceError: the scheduler's config can't be read.
    """
    family = recognised.family
    scheduler = source.scheduler_config()
    files = list_files(folder, hashes)
    return Manifest(
        schema=f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}",
        family=family.name,
        tasks=tasks_of(recognised, prepared),
        prediction_type=family.predicts or str(scheduler.get("prediction_type", "epsilon")),
        scheduler=SCHEDULER,
        low_res_scheduler=LOW_RES_SCHEDULER if LOW_RES_SCHEDULER in files else None,
        tokenizers={k: v for k, v in family.tokenizers.items() if k in prepared},
        latents=latents,
        defaults=defaults,
        components={
            name: component_entry(name, item, options["dtype"]) for name, item in prepared.items()
        },
        files=files,
        provenance=Provenance(
            source_sha256=_source_sha256(files),
            tools={"latedge": VERSION, **{tool: version(tool) for tool in _TOOLS}},
            options={"export": dict(options)},
            source_kind=source.origin.kind,
            hub_id=source.origin.hub_id,
            revision=source.origin.revision,
        ),
        conditioning=conditioning(source),
        refiner=refiner,
    )


def latents_of(recognised: Recognised, prepared: Mapping[str, Prepared]) -> Latents:
    """The latent space of a model, SD 1.x's where it has no VAE.

    Args:
        recognised: the model.
        prepared: its components in the bundle.

    Raises:
        SourceError: the VAE's config has another count of numbers than of channels.
    """
    given = recognised.configs.get("vae")
    vae = {} if given is None else VaeDecoder().normalise(given)
    return Latents(
        channels=int(vae.get("latent_channels", 4)),
        scaling_factor=_scaling_factor(recognised.family, vae),
        vae_factor=vae_factor(vae) if vae else 8,
        multiple=_multiple(prepared),
        latents_mean=_by_channel(vae, "latents_mean"),
        latents_std=_by_channel(vae, "latents_std"),
    )


def _scaling_factor(family: Family, vae: Config) -> float:
    own = family.scaling_factor
    return float(vae.get("scaling_factor", 0.18215)) if own is None else own


def _multiple(prepared: Mapping[str, Prepared]) -> int:
    """What the U-Net's sides must be multiples of, in latent cells."""
    unet = prepared.get("unet")
    return 1 if unet is None else max(unet.component.multiples(unet.config).values(), default=1)


def _by_channel(vae: Config, field: str) -> tuple[float, ...] | None:
    """A number for each channel of the latents, where the VAE's config has them."""
    values = vae.get(field)
    if values is None:
        return None
    channels = int(vae["latent_channels"])
    numbers = [v for v in values if isinstance(v, int | float)] if isinstance(values, list) else []
    if len(numbers) != channels:
        raise SourceError(
            f"vae/config.json: {field} is {values!r}; it must be {channels} numbers, one for each "
            "of latent_channels."
        )
    return tuple(map(float, numbers))


_WITHOUT_VAE_ENCODER = (
    "text-to-image",
    "unconditional",
    "upscaling",
    "latent-upscaling",
    "super-resolution",
)
"""Tasks that encode no picture, or need not."""


def tasks_of(recognised: Recognised, components: Collection[str]) -> tuple[str, ...]:
    """What a bundle does, by its U-Net's input channels and by what it has.

    Args:
        recognised: the model.
        components: those that the bundle has or shall have.
    """
    channels = int(recognised.configs["unet"]["in_channels"])
    tasks = recognised.family.tasks.get(channels, ())
    return tuple(
        task for task in tasks if "vae_encoder" in components or task in _WITHOUT_VAE_ENCODER
    )


def _source_sha256(files: Mapping[str, File]) -> str:
    """One hash over what came from the source: all but the graphs, which torch's version shapes."""
    digest = hashlib.sha256()
    for name in sorted(files):
        if not name.endswith(GRAPH_NAME):
            digest.update(f"{name} {files[name].sha256}\n".encode())
    return digest.hexdigest()


def component_entry(name: str, item: Prepared, dtype: str) -> ComponentEntry:
    """A component of a portable bundle as its manifest describes it.

    Args:
        name: of the component.
        item: the component.
        dtype: of its weights: "source" for as the source has them, else a precision.
    """
    stored = {PRECISIONS[tensor.dtype] for tensor in item.weights.values()}
    precision = dtype if dtype != "source" else stored.pop() if len(stored) == 1 else "mixed"
    component, config = item.component, item.config
    graph = Graph(
        file=f"{name}/{GRAPH_NAME}",
        inputs=component.inputs(config),
        outputs=component.outputs(config),
        weights=(f"{name}/{WEIGHTS_NAME}",),
        precision=precision,
    )
    recipe = Recipe(
        component=component.wrapper,
        class_name=class_name(config),
        config=f"{name}/config.json",
        weights=f"{name}/{WEIGHTS_NAME}",
    )
    return ComponentEntry(graphs={"model": graph}, recipe=recipe)
