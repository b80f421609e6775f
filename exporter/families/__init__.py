"""What each family of models brings beside its networks' configs: one table per family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.components.base import Config
from exporter.errors import SourceError
from exporter.families.latent_upscaler import LATENT_UPSCALER
from exporter.families.ldm import LDM, LDM_SUPER_RESOLUTION
from exporter.families.sd1 import SD1
from exporter.families.sd2 import SD2
from exporter.families.sdxl import SDXL, SDXL_REFINER
from exporter.families.table import Family
from exporter.families.x4_upscaler import X4_UPSCALER
from exporter.source import Source
from runtimes.errors import unknown_name

FAMILIES: tuple[Family, ...] = (
    SD1,
    SD2,
    X4_UPSCALER,
    LATENT_UPSCALER,
    SDXL_REFINER,
    SDXL,
    LDM,
    LDM_SUPER_RESOLUTION,
)
"""In the order in which they are tried."""


@dataclass(frozen=True)
class Recognised:
    """A source whose family is known, with the configs of its networks by folder."""

    family: Family
    configs: Mapping[str, Config]


def recognise(source: Source, folders: tuple[str, ...]) -> Recognised:
    """Finds the family of a source from its pipeline class and its U-Net's config.

    Raises:
        SourceError: the pipeline class is unknown (lists the known ones and the closest), or the
            U-Net is of no known family.
    """
    family = family_of(source)
    return Recognised(family, {folder: source.config(folder) for folder in folders})


def family_of(source: Source) -> Family:
    """The family of a source; see `recognise`.

    Raises:
        SourceError: as `recognise`.
    """
    known = sorted({name for family in FAMILIES for name in family.pipelines})
    if source.pipeline_class not in known:
        raise SourceError(str(unknown_name("pipeline class", source.pipeline_class, known)))
    unet = source.config("unet")
    for family in FAMILIES:
        listed = source.pipeline_class in family.pipelines
        if listed and family.matches(unet) and family.fits(source):
            return family
    raise SourceError(
        f"{source.location}: the U-Net is of no known family "
        f"({', '.join(family.name for family in FAMILIES)})."
    )
