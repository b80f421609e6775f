"""How far a sampler's trajectory is from diffusers', with noise, image to image and inpainting."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from runtimes.denoiser import Denoiser, Latents
from runtimes.noise import Generator
from runtimes.samplers import Sampler, make_sampler
from runtimes.schedule import NoiseSchedule
from tests.runtimes.samplers.trajectories import (
    COND,
    SCALE,
    UNCOND,
    UNIT_NOISE,
    Config,
    assert_timesteps,
    network,
    reference_class,
    reference_options,
)

SEED = 7
PICTURE = Generator(3).randn(UNIT_NOISE.shape)


def predict(x: Latents, timestep: float) -> Latents:
    """The shared network under guidance."""
    uncond, cond = (network(x, timestep, context) for context in (UNCOND, COND))
    return uncond + np.float32(SCALE) * (cond - uncond)


def scheduler_of(name: str, config: Config, steps: int, **overrides: object) -> Any:
    """diffusers' scheduler behind a sampler, its timesteps set."""
    options = reference_options(name) | overrides
    scheduler: Any = getattr(diffusers, reference_class(name)).from_config(config, **options)
    scheduler.set_timesteps(steps)
    return scheduler


def reference(
    scheduler: Any, *, begin: int = 0, inpaint: bool = False, **step_arguments: object
) -> list[Latents]:
    """The latents after each step, from pure noise or from a picture with noise added.

    Args:
        scheduler: diffusers', its timesteps set.
        begin: the first step; above 0 a picture is begun with.
        inpaint: whether half of the latents is replaced after each step but the last.
        step_arguments: of `scheduler.step`.
    """
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    taken = inspect.signature(scheduler.step).parameters
    if "eta" in taken:
        step_arguments = {"eta": 0.0, **step_arguments}  # as the pipelines pass it
    if "generator" in taken:
        step_arguments["generator"] = torch.Generator().manual_seed(SEED)
    timesteps = scheduler.timesteps[begin:]
    x = torch.from_numpy(UNIT_NOISE)
    if begin:
        x = scheduler.add_noise(torch.from_numpy(PICTURE), x, timesteps[:1])
    trajectory: list[Latents] = []
    for index, timestep in enumerate(timesteps):
        model_input = scheduler.scale_model_input(x, timestep).numpy()
        output = torch.from_numpy(predict(model_input, float(timestep)))
        x = scheduler.step(output, timestep, x, **step_arguments).prev_sample
        trajectory.append(x.numpy())
        if inpaint and index + 1 < len(timesteps):
            x = torch.from_numpy(replacement(trajectory[-1]))
    return trajectory


def ours(
    sampler: Sampler, config: Config, steps: int, *, begin: int = 0, inpaint: bool = False
) -> list[Latents]:
    """As `reference`, by one of the project's samplers."""
    levels = sampler.levels(NoiseSchedule.from_config(config), steps)
    x = UNIT_NOISE
    if begin:
        first = levels[begin]
        x = np.float32(first.alpha) * PICTURE + np.float32(first.sigma) * UNIT_NOISE
    denoiser = Denoiser(predict, config.get("prediction_type", "epsilon"))
    run = sampler.sample(denoiser, x, levels, Generator(SEED), begin=begin)
    trajectory: list[Latents] = []
    sent: Latents | None = None
    while True:
        try:
            step = run.send(sent)
        except StopIteration:
            return trajectory
        trajectory.append(step.x)
        sent = replacement(step.x) if inpaint and step.index + 1 < step.total else None


def replacement(x: Latents) -> Latents:
    """Latents of which one half is another picture's, as inpainting replaces them."""
    return np.where(np.arange(x.shape[-1]) < 4, x, PICTURE)


def worst(mine: Sequence[Latents], theirs: Sequence[Latents]) -> float:
    """The largest error of a step over the largest latent of that step; NaN is an error too."""
    assert len(mine) == len(theirs)
    assert all(x.dtype == np.float32 and np.all(np.isfinite(x)) for x in theirs)
    return max(
        float(np.abs(x - y).max() / np.abs(y).max()) for x, y in zip(mine, theirs, strict=True)
    )


def error(
    name: str,
    config: Config,
    steps: int,
    *,
    begin: int = 0,
    inpaint: bool = False,
    **overrides: object,
) -> float:
    """How far a sampler is from its reference under a config, at the worst step."""
    scheduler = scheduler_of(name, config, steps, **overrides)
    sampler = make_sampler(name, config)
    assert_timesteps(sampler.levels(NoiseSchedule.from_config(config), steps), scheduler, name)
    mine = ours(sampler, config, steps, begin=begin, inpaint=inpaint)
    theirs = reference(scheduler, begin=begin, inpaint=inpaint)
    if not np.all(np.isfinite(theirs[-1])):
        # A last step that goes nowhere, up to rounding: not finite in the reference.
        assert float(scheduler.sigmas[-1]) == pytest.approx(float(scheduler.sigmas[-2]), rel=1e-6)
        assert np.all(np.isfinite(mine[-1]))
        return worst(mine[:-1], theirs[:-1])
    return worst(mine, theirs)
