"""Classifier-free guidance: J. Ho and T. Salimans, "Classifier-Free Diffusion Guidance", 2022."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from runtimes.denoiser import Latents
from runtimes.engine import Array
from runtimes.errors import UsageError


@dataclass(frozen=True)
class Condition:
    """What the U-Net sees of one branch (prompts, or negative prompts) beside the latents.

    Attributes:
        context: text embeddings [n, tokens, d].
        concat: channels that follow the latents in its input: [n, k, h, w].
        feeds: further inputs by role; samples along the first axis of those with two axes or
            more, fewer axes belong to all samples.
    """

    context: Latents
    concat: Latents | None = None
    feeds: Mapping[str, Array] = field(default_factory=dict[str, Any])


Predict = Callable[[Latents, float, Condition], Latents]
"""(model_input, timestep, condition) → the network's output."""


def guide(uncond: Latents, cond: Latents, scale: float) -> Latents:
    """The unconditional output moved `scale` times as far as to the conditional one."""
    moved = cond - uncond
    moved *= scale
    moved += uncond
    return moved


def classifier_free(
    predict: Predict,
    cond: Condition,
    uncond: Condition | None,
    scale: float,
    *,
    halves: Literal["together", "apart"],
) -> Callable[[Latents, float], Latents]:
    """A network with its condition bound, guided where the scale asks for it.

    Args:
        predict: the network.
        cond: condition of the prompts.
        uncond: condition of the negative prompts, alike in shapes; None for no guidance.
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
    if uncond is None or uncond.context.shape != cond.context.shape:
        given = "none" if uncond is None else f"one of shape {uncond.context.shape}"
        raise UsageError(
            f"guidance_scale {scale} needs a negative context of shape {cond.context.shape}, given "
            f"{given}; give one (an empty prompt's) or a guidance_scale of 1"
        )
    return (_together if halves == "together" else _apart)(predict, cond, uncond, scale)


def stacked(conditions: Sequence[Condition]) -> Condition:
    """Several conditions as one of a larger batch; all have the same feeds."""
    first = conditions[0]
    concats = [each.concat for each in conditions if each.concat is not None]
    return Condition(
        context=np.concatenate([each.context for each in conditions]),
        concat=np.concatenate(concats) if concats else None,
        feeds={
            role: value
            if value.ndim < 2
            else np.concatenate([each.feeds[role] for each in conditions])
            for role, value in first.feeds.items()
        },
    )


def _together(
    predict: Predict, cond: Condition, uncond: Condition, scale: float
) -> Callable[[Latents, float], Latents]:
    both = stacked([uncond, cond])

    def guided(x: Latents, timestep: float) -> Latents:
        output = predict(np.concatenate([x, x]), timestep, both)
        return guide(output[: len(x)], output[len(x) :], scale)

    return guided


def _apart(
    predict: Predict, cond: Condition, uncond: Condition, scale: float
) -> Callable[[Latents, float], Latents]:
    def guided(x: Latents, timestep: float) -> Latents:
        return guide(predict(x, timestep, uncond), predict(x, timestep, cond), scale)

    return guided
