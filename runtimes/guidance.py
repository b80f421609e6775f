"""Classifier-free guidance: J. Ho and T. Salimans, "Classifier-Free Diffusion Guidance", 2022."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from runtimes.denoiser import Latents
from runtimes.errors import UsageError

Predict = Callable[[Latents, float, Latents], Latents]
"""(model_input, timestep, context) → the network's output, of model_input's shape."""


def guide(uncond: Latents, cond: Latents, scale: float) -> Latents:
    """The unconditional output moved `scale` times as far as to the conditional one."""
    moved = cond - uncond
    moved *= scale
    moved += uncond
    return moved


def classifier_free(
    predict: Predict,
    cond: Latents,
    uncond: Latents | None,
    scale: float,
    *,
    halves: Literal["together", "apart"],
) -> Callable[[Latents, float], Latents]:
    """A network with its context bound, guided where the scale asks for it.

    Args:
        predict: the network.
        cond: context of the prompts: [batch, tokens, channels].
        uncond: context of the negative prompts, of cond's shape; None for no guidance.
        scale: guidance_scale. At 1 and below there is no guidance and one call of the network, as
            in diffusers.
        halves: one call of twice the batch, the unconditional half first, or two calls; as the
            engine was built for.

    Returns:
        (model_input, timestep) → output.

    Raises:
        UsageError: the scale isn't finite, or asks for guidance that `uncond` doesn't allow.
    """
    if not math.isfinite(scale):
        raise UsageError(f"guidance_scale is {scale}; give a finite number, 1 for no guidance")
    if scale <= 1:
        return lambda x, timestep: predict(x, timestep, cond)
    if uncond is None or uncond.shape != cond.shape:
        given = "none" if uncond is None else f"one of shape {uncond.shape}"
        raise UsageError(
            f"guidance_scale {scale} needs a negative context of shape {cond.shape}, given "
            f"{given}; give one (an empty prompt's) or a guidance_scale of 1"
        )
    return (_together if halves == "together" else _apart)(predict, cond, uncond, scale)


def _together(
    predict: Predict, cond: Latents, uncond: Latents, scale: float
) -> Callable[[Latents, float], Latents]:
    context = np.concatenate([uncond, cond])

    def guided(x: Latents, timestep: float) -> Latents:
        output = predict(np.concatenate([x, x]), timestep, context)
        return guide(output[: len(x)], output[len(x) :], scale)

    return guided


def _apart(
    predict: Predict, cond: Latents, uncond: Latents, scale: float
) -> Callable[[Latents, float], Latents]:
    def guided(x: Latents, timestep: float) -> Latents:
        return guide(predict(x, timestep, uncond), predict(x, timestep, cond), scale)

    return guided
