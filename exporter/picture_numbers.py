"""What verification tells an SDXL U-Net of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.components.base import Config
from exporter.components.unet import numbers_of_picture
from exporter.conditioning import TEXT_TIME
from exporter.errors import SourceError

Array = NDArray[Any]

PICTURE_NUMBERS = {
    6: ((1024, 1024, 0, 0, 1024, 1024), (1024, 1024, 0, 0, 1024, 1024)),
    5: ((1024, 1024, 0, 0, 2.5), (1024, 1024, 0, 0, 6.0)),
}
"""What SDXL's U-Nets are told of a picture, by how many numbers they take: for the unconditional
half and for the prompt's. Original size, crop, then target size or aesthetic score; diffusers' own
defaults."""


def about_picture(config: Config, pooled: Array) -> dict[str, Array]:
    """What an SDXL U-Net is told beside the states, for both halves; nothing for others."""
    if config.get("addition_embed_type") != TEXT_TIME:
        return {}
    count = numbers_of_picture(config)
    if count not in PICTURE_NUMBERS:
        raise SourceError(
            f"unet: it takes {count} numbers about a picture, for which no verification inputs are "
            f"known; known are {' and '.join(map(str, sorted(PICTURE_NUMBERS)))}."
        )
    return {
        "text_embeds": np.concatenate([pooled[2:3], pooled[:1]]),
        "time_ids": np.array(PICTURE_NUMBERS[count], np.float32),
    }
