"""Gives the autoencoder's latents one scale in all channels, without changing what it reconstructs.

An autoencoder leaves its channels at scales ten times apart, and a denoiser would hear the quiet
ones only near the end. The 1×1 convolutions on both sides of the latents take any such change in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from benchmarks.shapes.generator import CLASSES, draw, scene
from benchmarks.shapes.picture_tensors import to_tensor

# Not 1, so that the scaling factor in the config matters, as Stable Diffusion's does.
STANDARD_DEVIATION = 2.0
SCALING_FACTOR = 1 / STANDARD_DEVIATION


@torch.no_grad()
def channel_statistics(vae: AutoencoderKL, count: int = 2000) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel over scenes of both classes."""
    means: list[Tensor] = []
    for first in range(0, count, 100):
        drawn = [draw(scene(CLASSES[i % 2], i)) for i in range(first, first + 100)]
        encoded: Any = vae.encode(to_tensor(np.stack(drawn)))
        means.append(encoded.latent_dist.mode())
    latents = torch.cat(means)
    return latents.mean((0, 2, 3)), latents.std((0, 2, 3))


@torch.no_grad()
def rescale(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Changes the weights, in place, so that latents z become 2 (z - mean) / std.

    Args:
        vae: With both of its 1×1 convolutions.
        mean: float32, shape (channels,), of the present latents.
        std: Likewise.
    """
    gain = STANDARD_DEVIATION / std
    channels = len(gain)
    inward: Any = vae.quant_conv
    outward: Any = vae.post_quant_conv
    inward.weight[:channels] *= gain.view(-1, 1, 1, 1)
    inward.bias[:channels] = (inward.bias[:channels] - mean) * gain
    # The second half is the logarithm of the variance.
    inward.bias[channels:] += 2 * gain.log()
    outward.bias += outward.weight[:, :, 0, 0] @ mean
    outward.weight /= gain.view(1, -1, 1, 1)
