"""Guidance without overexposure.

S. Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023, section 3.4.
"""

from __future__ import annotations

import numpy as np

from runtimes.denoiser import Latents


def rescale(guided: Latents, cond: Latents, share: float) -> Latents:
    """Brings guided outputs towards the standard deviation of the conditional ones.

    Args:
        guided: what guidance made, [n, …].
        cond: the network's outputs for the prompts, of the same shape.
        share: guidance_rescale, the paper's φ: 0 leaves `guided` as it is, 1 gives it the standard
            deviation of `cond`, sample by sample.
    """
    if share == 0:
        return guided
    factor = share * (_deviation(cond) / _deviation(guided)) + (1 - share)
    return guided * factor.astype(guided.dtype)


def _deviation(outputs: Latents) -> Latents:
    """Of each sample, with N - 1 in the denominator as in the reference: float64 [n, 1, …]."""
    axes = tuple(range(1, outputs.ndim))
    return np.std(outputs, axis=axes, ddof=1, keepdims=True, dtype=np.float64)
