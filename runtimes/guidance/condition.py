"""What the U-Net sees of a branch (prompts, negative prompts, …), and calls of it with several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from runtimes.denoiser import Latents
from runtimes.engine import Array


@dataclass(frozen=True)
class Condition:
    """What the U-Net sees of one branch (prompts, or negative prompts) beside the latents.

    Attributes:
        context: text embeddings [n, tokens, d]; of no tokens for a U-Net that takes no text.
        concat: channels that follow the latents in its input: [n, k, h, w].
        feeds: further inputs by role; samples along the first axis of those with two axes or
            more, fewer axes belong to all samples.
    """

    context: Latents
    concat: Latents | None = None
    feeds: Mapping[str, Array] = field(default_factory=dict[str, Any])


Predict = Callable[[Latents, float, Condition], Latents]
"""(model_input, timestep, condition) → the network's output."""

Network = Callable[[Latents, float], Latents]
"""(model_input, timestep) → output, its condition bound."""

Halves = Literal["together", "apart"]
"""Whether branches go through the network in one call of a larger batch, or in a call each."""


def alone(predict: Predict, condition: Condition) -> Network:
    """A network that sees one branch: one call."""
    return lambda x, timestep: predict(x, timestep, condition)


def of_branches(
    predict: Predict,
    conditions: Sequence[Condition],
    combine: Callable[..., Latents],
    *,
    halves: Halves,
) -> Network:
    """A network whose output is made of those of several branches.

    Args:
        predict: the network.
        conditions: of the branches, alike in shapes.
        combine: the branches' outputs, in their order → output. It may write to none of them.
        halves: one call of a multiple of the batch, the branches in their order, or a call each;
            as the engine was built for.
    """
    if halves == "apart":
        return lambda x, timestep: combine(*(predict(x, timestep, each) for each in conditions))
    all_conditions, count = stacked(conditions), len(conditions)

    def together(x: Latents, timestep: float) -> Latents:
        output = predict(np.concatenate([x] * count), timestep, all_conditions)
        return combine(*np.split(output, count))

    return together


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
