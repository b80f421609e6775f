"""The samplers in k-diffusion's scaling against the diffusers schedulers of the same name.

One scheduler a class is made and told another config for each case: making one takes long.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, cast

import diffusers
import numpy as np
import pytest
import torch

from runtimes.denoiser import Denoiser, Latents, network_output
from runtimes.errors import UsageError
from runtimes.guidance import Condition, classifier_free
from runtimes.noise import Generator
from runtimes.samplers import Sampler, Step, make_sampler, noise_schedule
from runtimes.samplers.dpmpp_2m import DpmPP2M
from runtimes.samplers.dpmpp_sde import DpmPPSDE
from runtimes.samplers.edm_euler import EDMEuler
from runtimes.samplers.euler import Euler
from runtimes.samplers.euler_a import EulerAncestral
from runtimes.samplers.heun import Heun
from runtimes.samplers.lms import LMS
from runtimes.schedule import Level, NoiseSchedule
from tests.runtimes.samplers.trajectories import (
    COND,
    MANY_STEPS_TOLERANCE,
    REFERENCES,
    SCALE,
    SD15,
    UNCOND,
    UNIT_NOISE,
    ZERO_SNR,
    Config,
    first_difference,
    network,
    options,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning"),
    # torchsde, where a time is rounded to just beyond the path's end; it takes the end.
    pytest.mark.filterwarnings("ignore:Should have t:UserWarning"),
    pytest.mark.usefixtures("ieee_functions"),
]

PLAIN: Config = {**SD15, "timestep_spacing": "linspace", "prediction_type": "epsilon"}
NAMES = ("dpm2", "dpm2-a", "dpmpp-sde", "euler-a", "heun", "lms")
SEED = 3
SPACINGS = ("linspace", "leading", "trailing")
FLAGS = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
    "beta": "use_beta_sigmas",
}
# Largest error of a step over its largest latent; in brackets what is measured.
# Both sides round to float32 once or twice a term, 6e-8 each, in another order [2.8e-6].
TOLERANCE = 5e-6
# The reference integrates LMS's polynomials with float32 values of them, which cancel; the more
# the less the steps differ [2.9e-6 at 20 steps, 3.2e-5 at 50].
LMS_TOLERANCE = {5: 5e-6, 20: 1e-5, 50: 1e-4}
# Timesteps of a midpoint come from three float32 roundings, each of 3e-5 near 1000 [1e-4], those of
# a sigma rule from float64 powers that differ in the last place.
TIMESTEP_TOLERANCE = 2e-4
# A step's noise is a short piece of a path of values near 10, in float32 [5.1e-6 of 50 steps].
SDE_TOLERANCE = 1e-5
# From sigma 4096 latents are rounded by 2e-4, and the reference takes the lower sigma of an
# ancestral step from the difference of two float32 squares, which leaves few bits of it [1.2e-4].
FROM_4096_TOLERANCE = 2e-4


class RememberingLMS(diffusers.LMSDiscreteScheduler):
    """The reference, which takes a quadrature for each weight; of each it now takes one."""

    weights: dict[Any, float] = {}  # noqa: RUF012

    def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
        key = (*self.sigmas.tolist(), order, t, current_order)
        if key not in self.weights:
            self.weights[key] = super().get_lms_coefficient(order, t, current_order)
        return self.weights[key]


@functools.cache
def made_once(name: str) -> Any:
    scheduler_class = RememberingLMS if name == "lms" else getattr(diffusers, REFERENCES[name])
    return scheduler_class.from_config(SD15)


def reference(name: str, config: Config, steps: int, begin: int = 0, **given: Any) -> Any:
    """The reference scheduler, told a config and set to begin at a call."""
    scheduler = made_once(name)
    plain = dict.fromkeys(FLAGS.values(), False) | {"sigma_min": None, "sigma_max": None}
    scheduler.register_to_config(**{"clip_sample": False, **plain, **PLAIN, **config})
    scheduler.noise_sampler_seed = SEED
    if given:
        scheduler.set_timesteps(**given)
    else:
        scheduler.set_timesteps(steps)
    scheduler.set_begin_index(begin)
    return scheduler


def known_region(x: Latents, index: int) -> Latents:
    """Latents with a part set to what a caller knows, as in inpainting."""
    changed = x.copy()
    changed[..., :3] = np.float32(0.5) * UNIT_NOISE[..., 3:6] * np.float32(1 + index % 3)
    return changed


def reference_run(
    scheduler: Any, x: Latents, begin: int = 0, known: bool = False, **step_arguments: Any
) -> list[Latents]:
    latents = torch.from_numpy(x)
    trajectory: list[Latents] = []
    for index, timestep in enumerate(scheduler.timesteps[begin:], begin):
        model_input = scheduler.scale_model_input(latents, timestep).numpy()
        uncond, cond = (
            torch.from_numpy(network(model_input, float(timestep), context))
            for context in (UNCOND, COND)
        )
        output = uncond + SCALE * (cond - uncond)
        latents = scheduler.step(output, timestep, latents, **step_arguments).prev_sample
        trajectory.append(latents.numpy())
        if known:
            latents = torch.from_numpy(known_region(latents.numpy(), index))
    return trajectory


def denoiser_of(config: Config) -> Denoiser:
    predict = classifier_free(
        lambda x, timestep, condition: network(x, timestep, condition.context),
        Condition(COND),
        Condition(UNCOND),
        SCALE,
        halves="apart",
    )
    return Denoiser(predict, network_output(config, config.get("prediction_type", "epsilon")))


def our_run(
    sampler: Sampler,
    config: Config,
    levels: Sequence[Level],
    x: Latents,
    begin: int = 0,
    known: bool = False,
) -> list[Latents]:
    run = sampler.sample(denoiser_of(config), x, levels, Generator(SEED), begin=begin)
    trajectory: list[Latents] = []
    sent: Latents | None = None
    for _ in range(len(levels) - 1 - begin):
        step: Step = run.send(sent) if sent is not None else next(run)
        trajectory.append(step.x)
        sent = known_region(step.x, step.index) if known else None
    return trajectory


def noise_of(name: str) -> dict[str, Any]:
    drawn = name in ("euler-a", "dpm2-a")
    return {"generator": torch.Generator().manual_seed(SEED)} if drawn else {}


def assert_follows(
    name: str,
    config: Config,
    steps: int,
    tolerance: float = TOLERANCE,
    sampler: Sampler | None = None,
    given: Config | None = None,
    **step_arguments: Any,
) -> None:
    config = {**PLAIN, **config}
    scheduler = reference(name, config, steps, **(given or {}))
    sampler = sampler or make_sampler(name, config)
    levels = sampler.levels(noise_schedule(name, config), steps)
    assert_timesteps(name, config, levels, scheduler)
    sigma = sampler.init_noise_sigma(levels)
    assert sigma == pytest.approx(float(scheduler.init_noise_sigma), rel=1.2e-7)
    theirs = reference_run(
        scheduler, UNIT_NOISE * np.float32(sigma), **step_arguments, **noise_of(name)
    )
    ours = our_run(sampler, config, levels, UNIT_NOISE * np.float32(sigma))
    assert first_difference(ours, theirs, tolerance) is None, (name, config, steps)


def assert_timesteps(name: str, config: Config, levels: Sequence[Level], scheduler: Any) -> None:
    ours = [level.timestep for level in levels[:-1]]
    exact = name in ("euler-a", "heun", "lms") and not any(map(config.get, FLAGS.values()))
    atol = 0 if exact else TIMESTEP_TOLERANCE
    np.testing.assert_allclose(ours, scheduler.timesteps.tolist(), rtol=0, atol=atol)


def configs(name: str) -> Iterator[Config]:
    """Each sigma rule, spacing and prediction type that a class has, with each other."""
    rows = options(name)
    flags = [{flag: True} for flag in FLAGS.values() if flag in rows]
    predictions = rows["prediction_type"]
    assert isinstance(predictions, tuple)
    for flag, spacing, prediction in product([{}, *flags], SPACINGS, predictions):
        yield {**flag, "timestep_spacing": spacing, "prediction_type": prediction}


def tolerance(name: str, steps: int) -> float:
    if name == "lms":
        return LMS_TOLERANCE[steps]
    return SDE_TOLERANCE if name == "dpmpp-sde" else TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_trajectory_equals_the_reference(name: str) -> None:
    """Each rule, spacing and prediction type at 5 steps, and the rules at more.

    The references of LMS and DPM++ SDE take long: a quadrature and torchsde.
    """
    for config, steps in product(configs(name), (5, 20, 50)):
        linspace = config["timestep_spacing"] == "linspace"
        epsilon = config["prediction_type"] == "epsilon"
        if steps == 5 or (linspace and epsilon and (steps == 20 or len(config) == 2)):
            assert_follows(name, config, steps, tolerance(name, steps))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_whole_trajectory_equals_the_reference(name: str) -> None:
    for config, steps in product(configs(name), (5, 20, 50)):
        assert_follows(name, config, steps, tolerance(name, steps))


@pytest.mark.parametrize("name", NAMES)
def test_few_steps_and_other_counts_follow_the_reference(name: str) -> None:
    for spacing, steps in product(SPACINGS, (1, 2, 7)):
        assert_follows(name, {"timestep_spacing": spacing}, steps)


@pytest.mark.parametrize("name", NAMES)
def test_beginning_in_the_middle_and_latents_sent_back_follow_the_reference(name: str) -> None:
    config = {**SD15, "timestep_spacing": "leading", "prediction_type": "v_prediction"}
    sampler = make_sampler(name, config)
    levels = sampler.levels(noise_schedule(name, config), 8)
    image = np.float32(0.8) * np.roll(UNIT_NOISE, 2, axis=2)
    for step, known in product((0, 1, 5, 7), (False, True)):
        begin = step * sampler.calls_per_step
        scheduler = reference(name, config, 8, begin)
        first = scheduler.timesteps[begin : begin + 1]
        start = scheduler.add_noise(torch.from_numpy(image), torch.from_numpy(UNIT_NOISE), first)
        x = image + np.float32(levels[begin].sigma) * UNIT_NOISE
        np.testing.assert_allclose(x, start.numpy(), rtol=0, atol=2e-6)
        theirs = reference_run(scheduler, x, begin, known, **noise_of(name))
        ours = our_run(sampler, config, levels, x, begin, known)
        assert first_difference(ours, theirs, TOLERANCE) is None, (step, known)


@pytest.mark.parametrize("name", ["dpm2", "dpm2-a", "dpmpp-sde", "heun", "lms"])
def test_bounds_that_an_euler_config_leaves_follow_the_reference(name: str) -> None:
    bounds = {"sigma_min": 0.1, "sigma_max": 10.0}
    for flag in FLAGS.values():
        assert_follows(name, {**bounds, flag: True}, 5)


def test_euler_ancestral_follows_the_reference_from_zero_terminal_snr() -> None:
    scheduler = cast("Any", diffusers.EulerAncestralDiscreteScheduler.from_config(ZERO_SNR))
    for spacing, steps in product(SPACINGS, (1, 2, 20)):
        config = {**ZERO_SNR, "timestep_spacing": spacing}
        scheduler.register_to_config(timestep_spacing=spacing)
        scheduler.set_timesteps(steps)
        scheduler.set_begin_index(0)
        sampler = make_sampler("euler-a", config)
        levels = sampler.levels(noise_schedule("euler-a", config), steps)
        x = UNIT_NOISE * np.float32(sampler.init_noise_sigma(levels))
        theirs = reference_run(scheduler, x, **noise_of("euler-a"))
        ours = our_run(sampler, config, levels, x)
        assert first_difference(ours, theirs, FROM_4096_TOLERANCE) is None, (spacing, steps)


@pytest.mark.parametrize("name", ["dpm2", "dpm2-a", "euler-a", "heun"])
def test_many_steps_follow_the_reference(name: str) -> None:
    assert_follows(name, {"timestep_spacing": "trailing"}, 200, MANY_STEPS_TOLERANCE)


def test_heun_clips_as_the_reference() -> None:
    for clip_range, prediction in product((0.5, 1.0), ("epsilon", "sample")):
        clipping = {"clip_sample": True, "clip_sample_range": clip_range}
        assert_follows("heun", {**clipping, "prediction_type": prediction}, 7)


def test_heun_takes_timesteps_as_the_reference() -> None:
    for timesteps in ([999, 500, 3], [950.5, 400.25], [7]):
        sampler = Heun(steps_offset=1, timesteps=tuple(map(float, timesteps)))
        given = {"timesteps": timesteps}
        assert_follows("heun", {}, len(timesteps), sampler=sampler, given=given)


@pytest.mark.parametrize("name", [*NAMES, "euler"])
def test_given_sigmas_are_the_schedules_own_where_they_are_those(name: str) -> None:
    """The reference takes sigmas for Euler alone: the others are held to their own spaced ones."""
    config = {**PLAIN, "timestep_spacing": "trailing"}
    schedule = noise_schedule(name, config)
    spaced = make_sampler(name, config).levels(schedule, 6)
    sampler = make_sampler(name, config)
    starts = [*spaced[: -1 : sampler.calls_per_step], spaced[-1]]
    given = make_sampler(name, config, sigmas=[level.sigma for level in starts])
    levels = given.levels(schedule, 6)
    assert [level.sigma for level in levels] == [level.sigma for level in spaced]
    timesteps = [level.timestep for level in levels]
    np.testing.assert_allclose(timesteps, [level.timestep for level in spaced], atol=2e-3)
    by_timesteps = make_sampler(name, config, timesteps=[level.timestep for level in starts[:-1]])
    assert by_timesteps.levels(schedule, 6) == spaced


@pytest.mark.parametrize("name", [*NAMES, "euler"])
def test_given_sigmas_that_end_with_noise_end_where_the_next_step_would_begin(name: str) -> None:
    """Two calls a step in the last one too: what is left out is the steps after it, no more."""
    sampler = make_sampler(name, PLAIN, sigmas=[14.0, 5.0, 1.5, 0.4, 0.0])
    cut = make_sampler(name, PLAIN, sigmas=[14.0, 5.0, 1.5])
    schedule = noise_schedule(name, PLAIN)
    whole, part = sampler.levels(schedule, 4), cut.levels(schedule, 2)
    calls = 2 * sampler.calls_per_step
    assert part[:calls] == whole[:calls]
    assert (part[-1].sigma, part[-1].timestep, len(part)) == (1.5, 0.0, calls + 1)
    if name in ("lms", "dpmpp-sde"):
        return  # whose steps hang on the schedule's length or its ends
    x = UNIT_NOISE * np.float32(14)
    ours = our_run(cut, PLAIN, part, x)
    assert first_difference(ours, our_run(sampler, PLAIN, whole, x)[:calls], 0) is None


@pytest.mark.parametrize("given", [{"sigmas": (9.0, 1.0, 0.0)}, {"timesteps": (900.0, 3.5)}])
def test_given_levels_and_a_rule_exclude_each_other(given: dict[str, Any]) -> None:
    name = next(iter(given))
    for sampler in (Heun(sigma_rule="karras", **given), DpmPP2M(sigma_rule="karras", **given)):
        with pytest.raises(UsageError) as raised:
            sampler.levels(NoiseSchedule.from_config(SD15), 2)
        assert str(raised.value) == (
            f"{name} are given, and so is sigma rule 'karras', which makes them; give one of them"
        )


def test_lms_takes_lower_orders_as_the_reference() -> None:
    for order in (1, 2, 3):
        sampler = make_sampler("lms", SD15)
        assert isinstance(sampler, LMS)
        lower = dataclasses.replace(sampler, order=order)
        assert_follows("lms", {}, 7, sampler=lower, order=order)


def test_euler_ancestral_has_the_sigma_rules_of_euler() -> None:
    schedule = NoiseSchedule.from_config(SD15)
    euler = make_sampler("euler", {**SD15, "use_karras_sigmas": True})
    assert EulerAncestral("linspace", 1, "karras").levels(schedule, 9) == euler.levels(schedule, 9)


def test_the_brownian_path_is_of_the_calls_seed_unless_one_is_given() -> None:
    config = {**SD15, "prediction_type": "epsilon"}
    own = make_sampler("dpmpp-sde", config)
    given = make_sampler("dpmpp-sde", {**config, "noise_sampler_seed": SEED})
    other = make_sampler("dpmpp-sde", {**config, "noise_sampler_seed": SEED + 1})
    levels = own.levels(noise_schedule("dpmpp-sde", config), 5)
    runs = [our_run(sampler, config, levels, UNIT_NOISE) for sampler in (own, given, other)]
    assert first_difference(runs[0], runs[1], 0) is None
    assert first_difference(runs[0], runs[2], 0.01) is not None


def test_the_noise_of_dpmpp_sde_can_be_scaled_as_the_references() -> None:
    sampler = DpmPPSDE(steps_offset=1, noise_sampler_seed=SEED, s_noise=0.7)
    assert_follows("dpmpp-sde", {}, 5, sampler=sampler, s_noise=0.7)


def test_euler_churns_as_the_reference() -> None:
    churned = {"s_churn": 8.0, "s_tmin": 0.05, "s_tmax": 12.0, "s_noise": 1.003}
    for prediction, karras in product(("epsilon", "v_prediction", "sample"), (False, True)):
        config: Config = {"prediction_type": prediction, "use_karras_sigmas": karras}
        euler = make_sampler("euler", {**PLAIN, **config})
        assert isinstance(euler, Euler)
        sampler = dataclasses.replace(euler, **churned)
        for steps in (2, 5, 20, 50):
            drawn: Config = {**churned, "generator": torch.Generator().manual_seed(SEED)}
            assert_follows("euler", config, steps, sampler=sampler, **drawn)


EDM: Config = {"_class_name": "EDMEulerScheduler"}
EDM_CONFIGS: list[Config] = [
    {},
    {"prediction_type": "v_prediction"},
    {"sigma_schedule": "exponential"},
    {"final_sigmas_type": "sigma_min"},
    {"rho": 5.0, "sigma_data": 1.3, "sigma_min": 0.01, "sigma_max": 20.0},
]


def edm_trajectories(
    config: Config, steps: int, churn: Config, begin: int = 0
) -> tuple[list[Latents], list[Latents]]:
    config = {**EDM, **config}
    scheduler = cast("Any", diffusers.EDMEulerScheduler.from_config(config))
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(begin)
    sampler = make_sampler("edm-euler", config)
    assert isinstance(sampler, EDMEuler)
    sampler = dataclasses.replace(sampler, **churn)
    levels = sampler.levels(noise_schedule("edm-euler", config), steps)
    timesteps = [level.timestep for level in levels[:-1]]
    np.testing.assert_allclose(timesteps, scheduler.timesteps.tolist(), rtol=0, atol=2e-7)
    sigma = sampler.init_noise_sigma(levels)
    assert sigma == pytest.approx(scheduler.init_noise_sigma, rel=1e-12)
    x = UNIT_NOISE * np.float32(sigma)
    generator = torch.Generator().manual_seed(SEED)
    theirs = reference_run(scheduler, x, begin, generator=generator, **churn)
    return our_run(sampler, config, levels, x, begin), theirs


def test_edm_euler_follows_the_reference() -> None:
    churned = {"s_churn": 8.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003}
    for config, churn, steps in product(EDM_CONFIGS, ({}, churned), (2, 5, 20, 50)):
        ours, theirs = edm_trajectories(config, steps, churn)
        assert first_difference(ours, theirs, TOLERANCE) is None, (config, churn, steps)
    ours, theirs = edm_trajectories({}, 8, churned, begin=3)
    assert first_difference(ours, theirs, TOLERANCE) is None
    still, _ = edm_trajectories({}, 8, {}, begin=3)
    assert first_difference(still, theirs, 0.01) is not None


def test_a_single_sigma_of_edm_is_the_largest() -> None:
    """The reference's exponential one is the smallest, which the noise it starts with isn't."""
    for config in EDM_CONFIGS:
        sampler = make_sampler("edm-euler", {**EDM, **config})
        levels = sampler.levels(NoiseSchedule.from_config({}), 1)
        assert levels[0].sigma == pytest.approx(config.get("sigma_max", 80.0), rel=1e-7)


def test_preconditioning_must_be_the_networks() -> None:
    with pytest.raises(UsageError) as raised:
        make_sampler("edm-euler", SD15)
    assert str(raised.value) == (
        "scheduler_config.json: _class_name is 'PNDMScheduler'; sampler 'edm-euler' runs with "
        "'EDMEulerScheduler', 'EDMDPMSolverMultistepScheduler'"
    )
    with pytest.raises(UsageError) as raised:
        make_sampler("heun", EDM)
    assert str(raised.value) == (
        "scheduler_config.json: _class_name is 'EDMEulerScheduler', whose networks have EDM's "
        "preconditioning, which sampler 'heun' doesn't know; take 'edm-euler'"
    )


@pytest.mark.parametrize("name", ["dpmpp-sde", "lms"])
def test_a_repeated_sigma_is_refused_where_the_sampler_divides_by_the_distance(name: str) -> None:
    # Of float32 numbers ten or so lie between these.
    bounds = {"sigma_min": 10.0, "sigma_max": 10.00001}
    config = {**PLAIN, "use_exponential_sigmas": True, **bounds}
    with pytest.raises(UsageError) as raised:
        make_sampler(name, config).levels(NoiseSchedule.from_config(config), 100)
    assert str(raised.value) == (
        f"num_inference_steps is 100; {name} would then repeat a sigma, which it can't; "
        "give fewer steps"
    )


@pytest.mark.parametrize("name", ["dpm2", "dpm2-a", "dpmpp-sde", "heun", "lms"])
def test_a_schedule_that_the_class_overlooks_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_sampler(name, ZERO_SNR)
    assert str(raised.value) == (
        f"scheduler_config.json: rescale_betas_zero_snr is True; sampler {name!r} runs with False"
    )


@pytest.mark.parametrize("name", ["dpm2", "dpm2-a", "dpmpp-sde", "euler-a"])
def test_a_prediction_that_the_class_cannot_take_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_sampler(name, {**SD15, "prediction_type": "sample"})
    assert str(raised.value) == (
        f"scheduler_config.json: prediction_type is 'sample'; sampler {name!r} runs with "
        "'epsilon', 'v_prediction'"
    )


@pytest.mark.parametrize("name", NAMES)
def test_absent_betas_are_those_of_the_diffusers_class(name: str) -> None:
    theirs = getattr(diffusers, REFERENCES[name])().alphas_cumprod.numpy()
    np.testing.assert_array_equal(noise_schedule(name, {}).alphas_cumprod, theirs)
    said = noise_schedule(name, SD15).alphas_cumprod
    np.testing.assert_array_equal(said, NoiseSchedule.from_config(SD15).alphas_cumprod)
