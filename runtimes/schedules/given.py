"""Sigmas and timesteps that a caller gives in place of a rule's: what they must be."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from runtimes.checks import check_number
from runtimes.errors import UsageError

Float64s = NDArray[np.float64]

MAX_SIGMA = 1e6
"""The largest sigma: float32 latents with so much noise hold hardly a bit of the picture."""


def check_sigmas(sigmas: object) -> tuple[float, ...]:
    """Sigmas of all steps, descending, and the one where the last step ends, mostly 0.

    Raises:
        UsageError: fewer than two, or one isn't a number from 0 to `MAX_SIGMA`, or isn't below the
            one before it, also as float32.
    """
    found = _descending("sigmas", sigmas)
    if len(found) < 2:
        raise UsageError(
            f"sigmas has {len(found)} value(s); give those of all steps and, last, where the last "
            "step ends, such as 14.6,3.9,0.9,0"
        )
    if found[0] > MAX_SIGMA:
        raise UsageError(f"sigmas begin at {found[0]:g}; give none above {MAX_SIGMA:g}")
    for before, value in pairwise(found):
        if np.float32(before) == np.float32(value):
            raise UsageError(
                f"sigmas must descend, but {before!r} and {value!r} are the same in float32"
            )
    return found


def check_timesteps(timesteps: object) -> tuple[float, ...]:
    """Timesteps of all steps, descending.

    Raises:
        UsageError: none, or one isn't a finite number of at least 0, or isn't below the one before.
    """
    found = _descending("timesteps", timesteps)
    if not found:
        raise UsageError("timesteps is empty; give those of all steps, such as 999,666,333")
    return found


def _descending(name: str, values: object) -> tuple[float, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UsageError(f"{name} must be a list of numbers, not {type(values).__name__}")
    found = tuple(
        check_number(f"each of {name}", value, 0) for value in cast("Iterable[object]", values)
    )
    for index, (before, value) in enumerate(pairwise(found)):
        if value >= before:
            wrong = "the same as" if value == before else f"above {before:g},"
            raise UsageError(
                f"{name} must descend, but value {index + 2} is {value:g}, {wrong} the one before"
            )
    return found


def check_given_count(name: str, steps: int, num_inference_steps: int) -> None:
    """Refuses another number of steps than the sigmas or timesteps make.

    Raises:
        UsageError: they differ.
    """
    if steps != num_inference_steps:
        raise UsageError(
            f"num_inference_steps is {num_inference_steps}, but the {name} given make {steps} "
            f"step(s); leave num_inference_steps out, or give {name} for as many"
        )


def check_rule(name: str, sigma_rule: str) -> None:
    """Refuses a sigma rule beside sigmas or timesteps that are given.

    Raises:
        UsageError: there is one.
    """
    if sigma_rule != "interpolated":
        raise UsageError(
            f"{name} are given, and so is sigma rule {sigma_rule!r}, which makes them; give one of "
            "them"
        )


def given_timesteps(
    timesteps: tuple[float, ...], num_inference_steps: int, num_train_timesteps: int, *, whole: bool
) -> Float64s:
    """A caller's timesteps, checked against the schedule they are of.

    Args:
        timesteps: what `check_timesteps` gave.
        num_inference_steps: how many they must be.
        num_train_timesteps: one more than the largest.
        whole: whether the sampler visits whole ones only.

    Raises:
        UsageError: another number of them, or one is past the schedule's end or a fraction.
    """
    check_given_count("timesteps", len(timesteps), num_inference_steps)
    if timesteps[0] > num_train_timesteps - 1:
        raise UsageError(
            f"timesteps begin at {timesteps[0]:g}; the schedule's are 0 to "
            f"{num_train_timesteps - 1}"
        )
    fractions = [timestep for timestep in timesteps if whole and not timestep.is_integer()]
    if fractions:
        raise UsageError(
            f"timesteps hold {fractions[0]:g}; this sampler visits whole ones only (euler takes "
            "fractions)"
        )
    return np.array(timesteps, np.float64)
