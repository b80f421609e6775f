"""Guidance that the network was distilled to make itself: it is told the scale.

C. Meng et al., "On Distillation of Guided Diffusion Models", 2023; the sinusoids are those of
D. Kingma et al., "Variational Diffusion Models", 2021, for a thousand times the weight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle
from runtimes.errors import BundleError
from runtimes.manifest import Graph
from runtimes.prompts.encoders import LATENT_UPSCALING

ROLE = "timestep_cond"
"""The U-Net's input that takes the embedding."""


def guides_itself(bundle: Bundle) -> bool:
    """Whether a bundle's U-Net is told the guidance scale; an upscaler's is told other things.

    Raises:
        BundleError: the bundle has no U-Net, or its graph doesn't tell.
    """
    return (
        LATENT_UPSCALING not in bundle.manifest.tasks
        and embedded_width(bundle.graph("unet")) is not None
    )


def embedded_width(unet: Graph) -> int | None:
    """How wide the embedding is that a U-Net takes, or None where it takes none.

    Raises:
        BundleError: the graph doesn't tell.
    """
    for port in unet.inputs:
        if port.role == ROLE:
            width = port.shape[-1] if port.shape else None
            if not isinstance(width, int):
                raise BundleError(
                    f"{unet.file}: input {port.name} has shape {list(port.shape)}, where its last "
                    "axis must be of a fixed size. Export again."
                )
            return width
    return None


def guidance_embedding(scale: float, width: int) -> NDArray[np.float32]:
    """The embedding of a guidance scale: float32 [1, width], sines first, then cosines.

    Args:
        scale: guidance_scale; what is embedded is scale - 1.
        width: time_cond_proj_dim of the U-Net; where it is odd, the last value is 0.
    """
    half = width // 2
    # The reference's float32, operation by operation: angles reach thousands of radians, where one
    # unit in the last place of a frequency moves a sine by 4e-4.
    weight = np.float32(scale - 1) * np.float32(1000)
    step = np.log(np.float32(10000)) / np.float32(half - 1)
    exponents = np.arange(half, dtype=np.float32) * -step
    frequencies = np.exp(exponents.astype(np.float64)).astype(np.float32)
    angles = (weight * frequencies).astype(np.float64)
    found = np.zeros((1, width), np.float32)
    found[0, :half], found[0, half : 2 * half] = np.sin(angles), np.cos(angles)
    return found
