"""What a call is given beside its settings: pictures and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]
Picture = Image.Image | NDArray[Any]
Pictures = Picture | Sequence[Picture]
"""One or several; `runtimes.picture_input` says what is taken."""


@dataclass(frozen=True)
class Inputs:
    """Pictures and arrays of a call; which are there decides the task.

    Attributes:
        latents: unit normal noise [n, channels, h, w] in place of the seed's.
        image: the picture that is changed, one for all prompts or one each.
        mask_image: white where the picture is painted anew; one for all pictures or one each.
        depth_map: larger where the picture is nearer; one for all pictures or one each.
        prompt_embeds: text embeddings [n, tokens, d] in place of n prompts.
        negative_prompt_embeds: likewise of negative prompts, as many and as long.
        pooled_prompt_embeds: pooled text embeddings [n, d] beside `prompt_embeds`, for SDXL.
        negative_pooled_prompt_embeds: likewise beside `negative_prompt_embeds`.
        image_latents: latents of the picture, [n, channels, h, w], in place of `image`.
    """

    latents: Floats | None = None
    image: Pictures | None = None
    mask_image: Pictures | None = None
    depth_map: Pictures | None = None
    prompt_embeds: Floats | None = None
    negative_prompt_embeds: Floats | None = None
    image_latents: Floats | None = None
    pooled_prompt_embeds: Floats | None = None
    negative_pooled_prompt_embeds: Floats | None = None


NO_INPUTS = Inputs()
"""Nothing beside the settings."""
