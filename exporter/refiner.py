"""Base and refiner of SDXL in one bundle: the refiner's U-Net beside the base's networks.

diffusers' documented ensemble gives the refiner the base's second text encoder and VAE; so does the
bundle, and what the refiner has of its own in their place is compared and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from exporter.components import component as load_component
from exporter.components.base import Config
from exporter.conditioning import conditioning
from exporter.errors import SourceError
from exporter.families import Recognised
from exporter.families.sdxl import SDXL, SDXL_REFINER
from exporter.prepare import Prepared, prepare
from exporter.progress import Progress
from exporter.source import Source, SourceOptions, open_source
from exporter.sources.canonical import canonical_scheduler, encode
from exporter.weights import Tensor, cast_to
from runtimes.errors import UsageError
from runtimes.manifest import Manifest, Refiner
from runtimes.samplers.config_fields import check_fields

COMPONENT = "unet_refiner"
SCHEDULER = "refiner_scheduler/scheduler_config.json"

_SHARED = {"text_encoder_2": "text_encoder_2", "vae": "vae_decoder"}
"""Folder of a network that both have → a component of it."""

_UNUSED_FIELDS = ("sample_size",)
"""Of their configs: what nothing that runs depends on."""


@dataclass(frozen=True)
class Both:
    """A base and, where one was given, its refiner.

    Attributes:
        prepared: the components of both, in the order in which a picture is made.
        recognised: the base.
        refiner: the other model.
    """

    prepared: dict[str, Prepared]
    recognised: Recognised
    refiner: Source | None


def open_refiner(options: SourceOptions, progress: Progress) -> Source | None:
    """Opens the refiner that the options name.

    Raises:
        SourceError: as `exporter.source.open_source`.
    """
    if options.refiner is None:
        return None
    return open_source(options.refiner, progress=progress)


def prepare_both(
    base: Source, components: tuple[str, ...] | None, refiner: Source | None, progress: Progress
) -> Both:
    """Prepares the components of a base and, where one is given, the refiner's U-Net.

    Args:
        base: the model.
        components: names of components, `COMPONENT` among them; None for all.
        refiner: the other model.
        progress: told where the refiner's own networks are left out for the base's.

    Raises:
        SourceError, WeightError: one of the two is refused, or they don't go together; says why.
        UsageError: an unknown component, or the refiner's without a refiner.
    """
    if components is not None and COMPONENT in components and refiner is None:
        raise UsageError(f"{COMPONENT} is of a second model; give that with --refiner.")
    own = None if components is None else tuple(name for name in components if name != COMPONENT)
    prepared, recognised = prepare(base, own)
    if refiner is None or (components is not None and COMPONENT not in components):
        return Both(prepared, recognised, None)
    unet, other = prepare(refiner, ("unet",))
    _check_families(base, recognised, refiner, other)
    for folder in _SHARED:
        _check_config(folder, recognised, refiner, other)
    check_fields(refiner.scheduler_config())
    for folder in _SHARED:
        if folder in other.configs:
            _compare(folder, base, refiner, progress)
    return Both(_behind_unet(prepared, unet["unet"]), recognised, refiner)


def refiner_texts(refiner: Source | None) -> dict[str, bytes]:
    """The refiner's scheduler, by its path in the bundle; nothing without a refiner."""
    if refiner is None:
        return {}
    return {SCHEDULER: encode(canonical_scheduler(refiner.scheduler_config()))}


def refiner_entry(refiner: Source | None) -> Refiner | None:
    """What the manifest says of a refiner; None without one."""
    if refiner is None:
        return None
    told = conditioning(refiner)
    assert told is not None  # its family has it
    return Refiner(
        component=COMPONENT,
        prediction_type=str(refiner.scheduler_config().get("prediction_type", "epsilon")),
        scheduler=SCHEDULER,
        conditioning=told,
    )


def _behind_unet(prepared: Mapping[str, Prepared], refiner: Prepared) -> dict[str, Prepared]:
    order = [*prepared]
    order.insert(order.index("unet") + 1 if "unet" in order else len(order), COMPONENT)
    return {name: prepared.get(name, refiner) for name in order}


def _check_families(
    base: Source, recognised: Recognised, refiner: Source, other: Recognised
) -> None:
    if recognised.family.name != SDXL.name:
        raise UsageError(
            f"--refiner goes with a base of {SDXL.unsaid.title}; {base.location} is of family "
            f"{recognised.family.name}."
        )
    if other.family.name != SDXL_REFINER.name:
        raise SourceError(
            f"--refiner {refiner.location} is no refiner but of family {other.family.name}; a "
            "refiner's U-Net takes the states of text_encoder_2 alone."
        )


def _check_config(folder: str, recognised: Recognised, refiner: Source, other: Recognised) -> None:
    """Refuses a refiner that was made for another text encoder or VAE."""
    if folder not in recognised.configs or folder not in other.configs:
        return
    mine = _known(folder, recognised.configs[folder])
    its = _known(folder, other.configs[folder])
    fields = sorted(name for name in mine.keys() | its.keys() if mine.get(name) != its.get(name))
    if fields:
        raise SourceError(
            f"--refiner {refiner.location}: its {folder} has {fields[0]} {its.get(fields[0])!r} "
            f"where the base's has {mine.get(fields[0])!r}; in one bundle they share it."
        )


def _known(folder: str, config: Config) -> dict[str, object]:
    component = load_component(_SHARED[folder])
    component.check(config)
    found = component.normalise(config)
    return {name: value for name, value in found.items() if name not in _UNUSED_FIELDS}


def _compare(folder: str, base: Source, refiner: Source, progress: Progress) -> None:
    """Tells where the refiner's own weights of a shared network are others than the base's."""
    if refiner.origin.kind == "hub":  # gigabytes, to be left out
        progress(f"refiner: its own {folder} is not downloaded; the base's is used")
        return
    try:
        its = refiner.tensors(folder)
    except SourceError as e:
        progress(f"refiner: its own {folder} is not compared with the base's, which is used: {e}")
        return
    component = load_component(_SHARED[folder])
    mine = {component.canonical(key): tensor for key, tensor in base.tensors(folder).items()}
    for key, tensor in its.items():
        name = component.canonical(key)
        if name in mine and not _same(mine[name], tensor):
            progress(
                f"WARNING: the refiner's own {folder} has other weights than the base's "
                f"({name} is the first); the base's is used"
            )
            return


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal in the narrower of their dtypes."""
    if one.shape != other.shape:
        return False
    if one.dtype == other.dtype:
        return np.array_equal(one.read(), other.read())
    narrow, wide = sorted((one, other), key=lambda tensor: tensor.size_bytes)
    if narrow.dtype != "F16":
        return np.allclose(one.read(), other.read(), rtol=2**-8, atol=0)
    try:
        return np.array_equal(narrow.read(), cast_to(wide.read(), "F16"))
    except SourceError:  # it overflows
        return False


def as_seen(manifest: Manifest, name: str) -> Manifest:
    """A manifest as a component takes it: a refiner has its own scheduler and prediction."""
    refiner = manifest.refiner
    if refiner is None or name != refiner.component:
        return manifest
    own = {"prediction_type": refiner.prediction_type, "scheduler": refiner.scheduler}
    return msgspec.structs.replace(manifest, **own)
