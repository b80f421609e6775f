"""Trajectories of diffusers' schedulers, driven by a network given as a function of arrays."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import diffusers
import numpy as np
import torch
from diffusers.utils import logging

from benchmarks.samplers.denoisers import Network
from runtimes.denoiser import Latents
from runtimes.samplers import Sampler

# What a scheduler of several algorithms is told, and its samplers here have of their own.
_SOLVER = ("algorithm_type", "solver_order")


def reference_scheduler(
    sampler: Sampler, config: Mapping[str, object], steps: int, seed: int
) -> Any:
    """The scheduler that a sampler follows, its timesteps set.

    Args:
        sampler: one of the project's own.
        config: of the scheduler; fields that its class lacks are dropped, as by `from_config`.
        steps: as users count them.
        seed: of the Brownian path, where there is one.
    """
    scheduler_class: Any = getattr(diffusers, cast("Any", sampler).REFERENCE)
    solver = {name: getattr(sampler, name) for name in _SOLVER if hasattr(sampler, name)}
    with _quiet():
        scheduler = scheduler_class.from_config(dict(config), **solver)
        if "noise_sampler_seed" in inspect.signature(scheduler_class).parameters:
            scheduler.noise_sampler_seed = seed
        scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        # Else it looks its place up by timestep, and takes the second of two equal ones.
        scheduler.set_begin_index(0)
    return scheduler


def reference_trajectory(
    scheduler: Any, network: Network, noise: Latents, seed: int
) -> list[Latents]:
    """The latents after each step.

    Args:
        scheduler: its timesteps set.
        network: (model_input, timestep) → output.
        noise: unit normal, [n, channels, h, w]; the latents take its dtype.
        seed: of the noise that stochastic schedulers draw.
    """
    told: dict[str, Any] = {}
    taken = inspect.signature(scheduler.step).parameters
    if "eta" in taken:
        told["eta"] = 0.0  # as the pipelines pass it, whatever the scheduler's own default
    if "generator" in taken:
        told["generator"] = torch.Generator().manual_seed(seed)
    x: Any = torch.from_numpy(noise) * scheduler.init_noise_sigma
    trajectory: list[Latents] = []
    with _quiet():
        for timestep in scheduler.timesteps:
            model_input = scheduler.scale_model_input(x, timestep).numpy()
            output = torch.from_numpy(network(model_input, float(timestep)))
            x = scheduler.step(output, timestep, x, **told).prev_sample
            trajectory.append(np.asarray(x.numpy(), noise.dtype))
    return trajectory


@contextmanager
def _quiet() -> Generator[None]:
    """Without what diffusers says of fields that a class lacks, and of NumPy's future."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
