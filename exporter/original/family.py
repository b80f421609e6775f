"""Which family a checkpoint is of, from the keys and shapes of its networks alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.families.sd1 import SD1
from exporter.families.sd2 import SD2
from exporter.families.sdxl import SDXL, SDXL_REFINER, SECOND_WIDTH
from exporter.families.table import Family
from exporter.original.configs import is_linear, text_width
from exporter.source import Source
from exporter.weights import Tensor

_ADDED = "add_embedding.linear_1.weight"
_TOKENS = "text_model.embeddings.token_embedding.weight"


@dataclass(frozen=True)
class Found:
    """A family, and the shape that decided."""

    family: Family
    reason: str


def find_family(networks: Mapping[str, Mapping[str, Tensor]]) -> Found:
    """The family of a checkpoint's networks.

    Args:
        networks: folder → Diffusers key → tensor; the U-Net is there.

    Raises:
        WeightError: SDXL's U-Net has no attention on text.
    """
    unet = networks["unet"]
    if _ADDED not in unet:
        linear = is_linear(unet)
        how = "a matrix" if linear else "a convolution"
        return Found(SD2 if linear else SD1, f"attention's proj_in is {how}")
    width = text_width(unet)
    tokens = networks.get("text_encoder_2", {}).get(_TOKENS)
    alone = width == (SECOND_WIDTH if tokens is None else tokens.shape[-1])
    whose = "the second text encoder's states alone" if alone else "both text encoders' states"
    return Found(SDXL_REFINER if alone else SDXL, f"the U-Net takes {whose}, {width} wide")


def family_of_configs(source: Source) -> Family | None:
    """The family among them that configs are of; None where they are of none.

    Raises:
        SourceError: a config is missing or can't be read.
    """
    unet = source.config("unet")
    known = (SDXL_REFINER, SDXL, SD2, SD1)
    return next((f for f in known if f.matches(unet) and f.fits(source)), None)
