"""Timesteps of the models distilled to few steps: a subset of those they were distilled on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtimes.errors import UsageError
from runtimes.schedule import NoiseSchedule, check_steps
from runtimes.schedules.given import given_timesteps


def distilled_timesteps(
    schedule: NoiseSchedule,
    num_inference_steps: int,
    original_inference_steps: int,
    strength: float,
    timesteps: Sequence[float] | None,
) -> list[int]:
    """The timesteps that diffusers' LCMScheduler and TCDScheduler visit, descending.

    Args:
        schedule: the noise schedule.
        num_inference_steps: how many.
        original_inference_steps: how many timesteps the model was distilled on.
        strength: the share of these, from the cleanest on, that are chosen from.
        timesteps: given in their place; None to choose.

    Raises:
        UsageError: there can't be so many steps, or of such strength.
    """
    if timesteps is not None:
        if strength != 1:
            raise UsageError(f"timesteps are given and strength is {strength}; give one of them")
        train = schedule.num_train_timesteps
        given = given_timesteps(tuple(timesteps), num_inference_steps, train, whole=True)
        return given.astype(int).tolist()
    check_steps(num_inference_steps, schedule)
    train = schedule.num_train_timesteps
    if not 1 <= original_inference_steps <= train:
        raise UsageError(
            f"scheduler_config.json: original_inference_steps is {original_inference_steps}; "
            f"it must be from 1 to {train}"
        )
    n = int(original_inference_steps * strength)
    if num_inference_steps > n:
        raise UsageError(
            f"num_inference_steps is {num_inference_steps}; the model was distilled on "
            f"{original_inference_steps} timesteps, of which {n} are left at strength {strength}; "
            "give fewer steps"
        )
    origin = np.arange(n, 0, -1) * (train // original_inference_steps) - 1
    chosen = np.floor(np.linspace(0, n, num_inference_steps, endpoint=False)).astype(int)
    return origin[chosen].tolist()
