"""Spacings: which training timesteps are visited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError

Float64s = NDArray[np.float64]
Spacing = Literal["leading", "linspace", "trailing"]


def leading(num_train_timesteps: int, n: int) -> Float64s:
    """Whole strides up from 0, descending; the largest lies a stride below the end."""
    return np.arange(n, dtype=np.float64)[::-1] * (num_train_timesteps // n)


def trailing(num_train_timesteps: int, n: int) -> Float64s:
    """Strides down from the last timestep: Lin et al., 2023, table 2."""
    strides = np.arange(num_train_timesteps, 0, -num_train_timesteps / n, dtype=np.float64)
    # For 62 of the counts up to 1000 (the first is 61) float rounding makes the range one too
    # long, and the reference goes on to a timestep of -1 that it reads as 999. Stop at n.
    return np.round(strides[:n]) - 1


def linspace(num_train_timesteps: int, n: int) -> Float64s:
    """Evenly from the last timestep to 0, both included, not rounded."""
    return np.linspace(0, num_train_timesteps - 1, n, dtype=np.float64)[::-1]


SPACINGS: dict[Spacing, Callable[[int, int], Float64s]] = {
    "leading": leading,
    "linspace": linspace,
    "trailing": trailing,
}


def spaced_timesteps(
    spacing: Spacing, num_train_timesteps: int, n: int, steps_offset: int
) -> Float64s:
    """The n timesteps that a sampler visits, descending.

    Args:
        spacing: the rule.
        num_train_timesteps: one more than the largest timestep.
        n: how many.
        steps_offset: added to leading timesteps, and to no others.
    """
    timesteps = SPACINGS[spacing](num_train_timesteps, n)
    return timesteps + steps_offset if spacing == "leading" else timesteps


def check_first(timesteps: Float64s, num_train_timesteps: int, steps_offset: int) -> Float64s:
    """The timesteps of steps, if the first is one of training.

    Raises:
        UsageError: the offset shifts it past the last. Some of the reference's classes fail there,
            others tell the network a timestep that it never saw.
    """
    if timesteps[0] > num_train_timesteps - 1:
        raise UsageError(
            f"num_inference_steps is {len(timesteps)}; with steps_offset {steps_offset} that "
            f"begins at timestep {timesteps[0]:.0f}, past the last, {num_train_timesteps - 1}; "
            "give fewer steps"
        )
    return timesteps
