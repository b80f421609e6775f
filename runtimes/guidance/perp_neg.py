"""Negative prompts that leave the prompt alone.

M. Armandpour et al., "Re-imagine the Negative Prompt Algorithm" (Perp-Neg), 2023.
"""

from __future__ import annotations

import numpy as np

from runtimes.denoiser import Latents
from runtimes.guidance.condition import Condition, Halves, Network, Predict, of_branches
from runtimes.guidance.rescale import rescale


def perpendicular(direction: Latents, to: Latents) -> Latents:
    """The part of a direction that is at right angles to another, sample by sample.

    Args:
        direction: [n, …].
        to: the other, of the same shape; a direction of no length takes nothing away.
    """
    axes = tuple(range(1, to.ndim))
    dot = np.sum(direction * to, axis=axes, keepdims=True, dtype=np.float64)
    square = np.sum(np.square(to), axis=axes, keepdims=True, dtype=np.float64)
    share = np.divide(dot, square, out=np.zeros_like(dot), where=square > 0)
    return direction - share.astype(direction.dtype) * to


def perp_guide(
    empty: Latents, negative: Latents, cond: Latents, scale: float, negative_weight: float
) -> Latents:
    """Outputs guided to the prompt, and from the negative prompt as far as that is no part of it.

    Args:
        empty: the network's outputs for the empty prompt.
        negative: for the negative prompts.
        cond: for the prompts.
        scale: guidance_scale.
        negative_weight: of the negative direction beside the prompt's.
    """
    towards = cond - empty
    away = perpendicular(negative - empty, towards)
    return empty + scale * (towards - negative_weight * away)


def perp_neg(
    predict: Predict,
    cond: Condition,
    negative: Condition,
    empty: Condition,
    scale: float,
    negative_weight: float,
    *,
    halves: Halves,
    guidance_rescale: float = 0.0,
) -> Network:
    """A network guided by three branches: the empty prompt, negative prompts and prompts.

    Args: as of `classifier_free` and `perp_guide`.
    """

    def combine(nothing: Latents, away: Latents, towards: Latents) -> Latents:
        guided = perp_guide(nothing, away, towards, scale, negative_weight)
        return rescale(guided, towards, guidance_rescale)

    return of_branches(predict, [empty, negative, cond], combine, halves=halves)
