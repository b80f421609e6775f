"""One network for both sides, diffusers' schedulers as references, and how trajectories compare.

The network is a bounded, smooth, nonlinear float32 function of latents, timestep and context, under
classifier-free guidance.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from runtimes.denoiser import Denoiser, Latents, network_output
from runtimes.guidance import Condition, classifier_free
from runtimes.noise import Generator
from runtimes.samplers import SAMPLERS, Sampler, load_sampler, make_sampler, options_of
from runtimes.samplers.options import SIGMA_FLAGS, Options
from runtimes.schedule import Level, NoiseSchedule

Config = dict[str, Any]


def options(name: str) -> Options:
    """The options of one of the project's own samplers."""
    found = options_of(name)
    assert found is not None
    return found


def reference_class(name: str) -> str:
    """The diffusers class that one of the project's own samplers follows."""
    sampler: Any = load_sampler(name)
    return sampler.REFERENCE


REFERENCES: dict[str, str] = {name: reference_class(name) for name in SAMPLERS}
"""Sampler → diffusers class."""

# The scheduler_config.json files of Stable Diffusion 1.5, 2.1 (v) and 2.1 base, and of SDXL.
SD15: Config = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
SD21: Config = {**SD15, "_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
SDXL: Config = {
    **SD15,
    "_class_name": "EulerDiscreteScheduler",
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "use_karras_sigmas": False,
}
ZERO_SNR: Config = {**SD21, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

# Largest error of a step over the largest latent of that step; in brackets what is measured.
# Both sides round to float32 once or twice a term, 6e-8 each, in another order [1e-6].
TOLERANCE = 2e-6
# Two steps of unequal stride extrapolate far [3e-6].
FEW_STEPS_TOLERANCE = 5e-6
# A thousand steps add up, and the reference's float32 logarithms of alpha and sigma cancel in
# h = lambda_t - lambda_s, the smaller the step the more [5e-6].
MANY_STEPS_TOLERANCE = 1e-5
# Zero terminal SNR in k-diffusion's scaling begins at sigma 4096: latents of that size are rounded
# by 2e-4, and one or two steps take the difference of two such [3e-5].
FROM_4096_TOLERANCE = 1e-4


def network(x: Latents, timestep: float, context: Latents) -> Latents:
    mixed = x + np.float32(0.3) * np.roll(x, 1, axis=-1)
    return np.tanh(np.float32(0.7) * mixed + context * np.float32(np.cos(0.01 * timestep)))


COND, UNCOND = np.random.default_rng(1).standard_normal((2, 2, 4, 1, 1), dtype=np.float32)
UNIT_NOISE = Generator(0).randn((2, 4, 8, 8))
SCALE = 2.5


def _is_field(sampler: Any, name: str) -> bool:
    return name in {field.name for field in dataclasses.fields(sampler)}


def reference_options(name: str) -> Config:
    """What makes a diffusers class run as a sampler does, where the class runs as several."""
    sampler: Any = load_sampler(name)
    fixed = ("algorithm_type", "solver_order")
    own = {key: getattr(sampler, key) for key in fixed if hasattr(sampler, key)}
    own = {key: value for key, value in own.items() if not _is_field(sampler, key)}
    ends = options(name).get("final_sigmas_type")
    return own | ({"final_sigmas_type": "sigma_min"} if ends == ("sigma_min",) else {})


def reference_scheduler(
    name: str,
    config: Config,
    steps: int,
    given: Mapping[str, Sequence[float]] | None = None,
    **overrides: object,
) -> Any:
    scheduler_class = getattr(diffusers, REFERENCES[name])
    scheduler = scheduler_class.from_config(config, **reference_options(name) | overrides)
    scheduler.set_timesteps(**given) if given else scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        # Else it looks its place up by timestep, and takes the second of two equal ones.
        scheduler.set_begin_index(0)
    return scheduler


def reference_trajectory(scheduler: Any, **step_arguments: object) -> list[Latents]:
    taken = inspect.signature(scheduler.step).parameters
    if "eta" in taken:
        step_arguments = {"eta": 0.0, **step_arguments}  # as the pipelines pass it
    if "generator" in taken:
        step_arguments = {"generator": torch.Generator().manual_seed(0), **step_arguments}
    x = torch.from_numpy(UNIT_NOISE) * scheduler.init_noise_sigma
    trajectory: list[Latents] = []
    for timestep in scheduler.timesteps:
        model_input = scheduler.scale_model_input(x, timestep).numpy()
        uncond, cond = (
            torch.from_numpy(network(model_input, float(timestep), context))
            for context in (UNCOND, COND)
        )
        output = uncond + SCALE * (cond - uncond)
        x = scheduler.step(output, timestep, x, **step_arguments).prev_sample
        trajectory.append(x.numpy())
    return trajectory


def our_trajectory(sampler: Sampler, config: Config, steps: int, seed: int = 0) -> list[Latents]:
    levels = sampler.levels(NoiseSchedule.from_config(config), steps)
    predict = classifier_free(
        lambda x, timestep, condition: network(x, timestep, condition.context),
        Condition(COND),
        Condition(UNCOND),
        SCALE,
        halves="apart",
    )
    predicted = network_output(config, config.get("prediction_type", "epsilon"))
    denoiser = Denoiser(predict, predicted)
    x = UNIT_NOISE * sampler.init_noise_sigma(levels)
    return [step.x for step in sampler.sample(denoiser, x, levels, Generator(seed))]


def errors(ours: Sequence[Latents], reference: Sequence[Latents]) -> list[float]:
    """Of each step, the largest error over the largest latent."""
    return [
        float(np.abs(mine - theirs).max() / np.abs(theirs).max())
        for mine, theirs in zip(ours, reference, strict=True)
    ]


def first_difference(
    ours: Sequence[Latents], reference: Sequence[Latents], tolerance: float
) -> str | None:
    """The first step at which two trajectories part, in words; None where they don't."""
    if len(ours) != len(reference):
        return f"{len(ours)} steps, the reference takes {len(reference)}"
    for index, (mine, theirs) in enumerate(zip(ours, reference, strict=True)):
        if mine.dtype != np.float32 or not np.all(np.isfinite(theirs)):
            return f"step {index}: dtype {mine.dtype}, or a reference that isn't finite"
    for index, error in enumerate(errors(ours, reference)):
        if not error <= tolerance:
            return f"step {index} of {len(ours)}: relative error {error:.1e} above {tolerance}"
    return None


def schedules(name: str) -> list[str]:
    """The schedules of a sampler that its diffusers class has too."""
    flags = {flag: row for flag, row in options(name).items() if flag in SIGMA_FLAGS}
    return ["plain", *(SIGMA_FLAGS[flag] for flag, row in flags.items() if row == (False, True))]


def flags_of(name: str, schedule: str | None) -> dict[str, bool]:
    """A schedule as options of the sampler's diffusers class; None leaves it to the config."""
    known = inspect.signature(getattr(diffusers, REFERENCES[name]).__init__).parameters
    flags = {flag: rule == schedule for flag, rule in SIGMA_FLAGS.items() if flag in known}
    assert schedule in (None, "plain") or any(flags.values())
    return {} if schedule is None else flags


def both_trajectories(
    name: str,
    config: Config,
    steps: int,
    schedule: str | None = None,
    *,
    sigmas: Sequence[float] | None = None,
    timesteps: Sequence[float] | None = None,
    **overrides: object,
) -> tuple[list[Latents], list[Latents]]:
    """Ours and the reference's, whose timesteps and first noise level are compared before.

    Args:
        name: of the sampler.
        config: for both sides.
        steps: num_inference_steps.
        schedule: for both sides, over the config.
        sigmas: for both sides, in place of a number of steps.
        timesteps: likewise.
        **overrides: of the config, for the reference alone.
    """
    given = {"sigmas": sigmas, "timesteps": timesteps}
    scheduler = reference_scheduler(
        name,
        config,
        steps,
        {key: list(value) for key, value in given.items() if value is not None},
        **flags_of(name, schedule),
        **overrides,
    )
    sampler = make_sampler(name, config, schedule=schedule, sigmas=sigmas, timesteps=timesteps)
    levels = sampler.levels(NoiseSchedule.from_config(config), steps)
    assert_timesteps(levels, scheduler, name, from_sigmas=sigmas is not None)
    assert sampler.init_noise_sigma(levels) == pytest.approx(
        float(scheduler.init_noise_sigma), rel=1.2e-7
    )
    ours = our_trajectory(sampler, config, steps)
    return ours, reference_trajectory(scheduler)


def assert_follows(
    name: str,
    config: Config,
    steps: int,
    tolerance: float = TOLERANCE,
    schedule: str | None = None,
    **more: Any,
) -> None:
    """Compares every step of a sampler with the diffusers class of its name.

    Args: as of `both_trajectories`, and tolerance: largest error of a step over the largest latent
        of that step.
    """
    ours, theirs = both_trajectories(name, config, steps, schedule, **more)
    difference = first_difference(ours, theirs, tolerance)
    assert difference is None, f"{name} {config} {schedule}: {difference}"


def assert_timesteps(
    levels: Sequence[Level], scheduler: Any, name: str, *, from_sigmas: bool = False
) -> None:
    ours = [level.timestep for level in levels[:-1]]
    reference = scheduler.timesteps.tolist()
    ruled = from_sigmas or any(scheduler.config.get(flag) for flag in SIGMA_FLAGS)
    if (ruled or scheduler.config.get("timestep_type") == "continuous") and any(
        timestep != int(timestep) for timestep in reference
    ):
        # Fractional, and moved by the last place of torch's square root: see NoiseSchedule.sigmas.
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-4, err_msg=name)
    else:
        assert ours == reference, name
