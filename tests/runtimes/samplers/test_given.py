"""Sigmas and timesteps that a caller gives: against diffusers where it takes them, and refusals."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
from diffusers.schedulers.scheduling_utils import AysSchedules

from runtimes.errors import UsageError
from runtimes.samplers import make_sampler
from runtimes.schedule import NoiseSchedule
from tests.runtimes.samplers.trajectories import (
    FEW_STEPS_TOLERANCE,
    SD15,
    TOLERANCE,
    Config,
    assert_follows,
    first_difference,
    our_trajectory,
    reference_trajectory,
)

pytestmark = [
    # diffusers hands tensors to np.array in a way that NumPy will drop.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("ieee_roots"),
]

SIGMAS: Any = AysSchedules["StableDiffusionSigmas"]
TIMESTEPS: Any = AysSchedules["StableDiffusionTimesteps"]
WITHOUT_NOISE_AT_THE_END: Config = {**SD15, "set_alpha_to_one": True}


def test_given_sigmas_follow_the_reference() -> None:
    assert_follows("euler", SD15, 10, TOLERANCE, sigmas=SIGMAS)
    assert_follows("euler", SD15, 1, TOLERANCE, sigmas=[14.0, 0.0])
    # The last is where the last step ends, whatever the config says of that.
    assert_follows("euler", {**SD15, "final_sigmas_type": "sigma_min"}, 2, sigmas=[9.0, 3.0, 0.5])
    v: Config = {**SD15, "prediction_type": "v_prediction", "timestep_type": "continuous"}
    assert_follows("euler", v, 10, TOLERANCE, sigmas=SIGMAS)


@pytest.mark.parametrize("name", ["euler", "dpmpp-2m"])
def test_given_timesteps_follow_the_reference(name: str) -> None:
    assert_follows(name, SD15, 10, TOLERANCE, timesteps=TIMESTEPS)
    assert_follows(name, SD15, 1, TOLERANCE, timesteps=[900])
    assert_follows(name, {**SD15, "final_sigmas_type": "sigma_min"}, 2, timesteps=[900, 30])


def test_euler_takes_fractions_as_the_reference_does() -> None:
    assert_follows("euler", SD15, 3, TOLERANCE, timesteps=[998.5, 400.25, 0.5])


def test_dpmpp_2m_takes_the_schedules_own_sigmas_as_their_timesteps() -> None:
    schedule = NoiseSchedule.from_config(SD15)
    sigmas = [*schedule.sigmas[TIMESTEPS].tolist(), 0.0]
    by_sigmas = make_sampler("dpmpp-2m", SD15, sigmas=sigmas)
    by_timesteps = make_sampler("dpmpp-2m", SD15, timesteps=TIMESTEPS)
    assert by_sigmas.levels(schedule, 10) == by_timesteps.levels(schedule, 10)
    ours, theirs = (our_trajectory(sampler, SD15, 10) for sampler in (by_sigmas, by_timesteps))
    assert first_difference(ours, theirs, 1e-12) is None


def test_ddim_at_given_timesteps_is_a_solver_of_first_order() -> None:
    """diffusers' DDIM takes no timesteps; its DPM-Solver++ of order 1 is DDIM, and does."""
    scheduler: Any = diffusers.DPMSolverMultistepScheduler.from_config(SD15, solver_order=1)
    scheduler.set_timesteps(timesteps=TIMESTEPS)
    theirs = reference_trajectory(scheduler)
    sampler = make_sampler("ddim", WITHOUT_NOISE_AT_THE_END, timesteps=TIMESTEPS)
    ours = our_trajectory(sampler, SD15, 10)
    assert first_difference(ours, theirs, FEW_STEPS_TOLERANCE) is None


@pytest.mark.parametrize("name", ["ddim", "pndm"])
def test_given_timesteps_that_are_the_spaced_ones_change_nothing(name: str) -> None:
    for set_alpha_to_one in (False, True):
        config = {**SD15, "set_alpha_to_one": set_alpha_to_one}
        for timesteps in ([901, 801, 701, 601, 501, 401, 301, 201, 101, 1], [1]):
            given = make_sampler(name, config, timesteps=timesteps)
            spaced = make_sampler(name, config)
            ours, theirs = (
                our_trajectory(sampler, config, len(timesteps)) for sampler in (given, spaced)
            )
            assert first_difference(ours, theirs, 1e-12) is None


def test_pndm_steps_from_each_given_timestep_to_the_next() -> None:
    sampler = make_sampler("pndm", SD15, timesteps=TIMESTEPS)
    schedule = NoiseSchedule.from_config(SD15)
    levels = sampler.levels(schedule, 10)
    visited = [999, 850, 850, *TIMESTEPS[2:]]
    assert [level.timestep for level in levels] == [*visited, 0]
    x = np.ones((1, 4, 2, 2))
    # A denoiser that finds the same eps everywhere keeps x on the line through it.
    eps, clean = 0.7, -0.2
    x = levels[0].alpha * clean * x + levels[0].sigma * eps
    steps = list(sampler.sample(lambda x, level: np.full_like(x, clean), x, levels, no_noise()))
    for step, target in zip(steps[1:], [*levels[2:10], schedule.level(24)], strict=False):
        expected = target.alpha * clean + target.sigma * eps
        np.testing.assert_allclose(step.x, expected, rtol=1e-12)


def no_noise() -> Any:
    """What a sampler without noise is given."""
    return None


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "euler",
        {"sigmas": [1, 2, 0]},
        "sigmas must descend, but value 2 is 2, above 1, the one before",
    ),
    (
        "euler",
        {"sigmas": [3, 1, 1, 0]},
        "sigmas must descend, but value 3 is 1, the same as the one before",
    ),
    ("euler", {"sigmas": [3, -1]}, "each of sigmas must be a finite number of at least 0, not -1."),
    (
        "euler",
        {"sigmas": [3, float("nan")]},
        "each of sigmas must be a finite number of at least 0, not nan.",
    ),
    (
        "euler",
        {"sigmas": [float("inf"), 0]},
        "each of sigmas must be a finite number of at least 0, not inf.",
    ),
    (
        "euler",
        {"sigmas": ["3", 0]},
        "each of sigmas must be a finite number of at least 0, not '3'.",
    ),
    (
        "euler",
        {"sigmas": [True, 0]},
        "each of sigmas must be a finite number of at least 0, not True.",
    ),
    ("euler", {"sigmas": [2e6, 0]}, "sigmas begin at 2e+06; give none above 1e+06"),
    (
        "euler",
        {"sigmas": [3.0, 2.99999999, 0]},
        "sigmas must descend, but 3.0 and 2.99999999 are the same in float32",
    ),
    ("euler", {"sigmas": "3,0"}, "sigmas must be a list of numbers, not str"),
    ("euler", {"sigmas": 3.0}, "sigmas must be a list of numbers, not float"),
    (
        "euler",
        {"sigmas": [3]},
        "sigmas has 1 value(s); give those of all steps and, last, where the last step ends, "
        "such as 14.6,3.9,0.9,0",
    ),
    ("ddim", {"timesteps": []}, "timesteps is empty; give those of all steps, such as 999,666,333"),
    (
        "ddim",
        {"timesteps": [1, 500]},
        "timesteps must descend, but value 2 is 500, above 1, the one before",
    ),
    (
        "ddim",
        {"timesteps": [5, -1]},
        "each of timesteps must be a finite number of at least 0, not -1.",
    ),
]


@pytest.mark.parametrize(("name", "given", "message"), REFUSED)
def test_what_is_no_schedule_is_refused(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_sampler(name, SD15, **given)
    assert str(raised.value) == message


@pytest.mark.parametrize("name", ["ddim", "pndm", "dpmpp-2m", "euler"])
def test_timesteps_past_the_schedule_are_refused(name: str) -> None:
    sampler = make_sampler(name, SD15, timesteps=[1000, 10])
    with pytest.raises(UsageError) as raised:
        sampler.levels(NoiseSchedule.from_config(SD15), 2)
    assert str(raised.value) == "timesteps begin at 1000; the schedule's are 0 to 999"


@pytest.mark.parametrize("name", ["ddim", "pndm", "dpmpp-2m"])
def test_fractions_are_refused_where_timesteps_are_whole(name: str) -> None:
    sampler = make_sampler(name, SD15, timesteps=[10.0, 0.5])
    with pytest.raises(UsageError) as raised:
        sampler.levels(NoiseSchedule.from_config(SD15), 2)
    assert str(raised.value) == (
        "timesteps hold 0.5; this sampler visits whole ones only (euler takes fractions)"
    )


@pytest.mark.parametrize(
    ("given", "steps", "said"),
    [({"sigmas": [3, 1, 0]}, 2, "sigmas"), ({"timesteps": [999, 3]}, 2, "timesteps")],
)
@pytest.mark.parametrize("name", ["dpmpp-2m", "euler"])
def test_another_number_of_steps_is_refused(
    name: str, given: dict[str, Any], steps: int, said: str
) -> None:
    sampler = make_sampler(name, SD15, **given)
    with pytest.raises(UsageError) as raised:
        sampler.levels(NoiseSchedule.from_config(SD15), 5)
    assert str(raised.value) == (
        f"num_inference_steps is 5, but the {said} given make {steps} step(s); leave "
        f"num_inference_steps out, or give {said} for as many"
    )


@pytest.mark.parametrize("name", ["deis", "dpm-2m", "dpm-2s", "dpm-1m-sde", "dpm-3s"])
def test_sigmas_that_end_clean_are_refused_where_the_noise_is_integrated(name: str) -> None:
    schedule = NoiseSchedule.from_config(SD15)
    above = make_sampler(name, SD15, sigmas=[9, 3, 0.5]).levels(schedule, 2)
    assert above[-1].sigma / above[-1].alpha == pytest.approx(0.5)
    with pytest.raises(UsageError) as raised:
        make_sampler(name, SD15, sigmas=[9, 3, 0]).levels(schedule, 2)
    assert str(raised.value) == (
        "the last step would end at sigma 0, where samplers that integrate the noise (deis, dpm-…) "
        "are not finite; end it above, as final_sigmas_type 'sigma_min' does, or take 'dpmpp-2m'"
    )


def test_sigmas_without_a_step_between_them_are_refused() -> None:
    sampler = make_sampler("dpmpp-2m", SD15, sigmas=[14.6, 14.5999999, 1, 0])
    with pytest.raises(UsageError) as raised:
        sampler.levels(NoiseSchedule.from_config(SD15), 3)
    assert str(raised.value) == (
        "two of the sigmas given lie so near to each other that a step in log-SNR between them has "
        "no length; give some whose quotient is above 1.000004"
    )


def test_runge_kutta_calls_take_no_given_timesteps() -> None:
    sampler = make_sampler("pndm", {**SD15, "skip_prk_steps": False}, timesteps=TIMESTEPS)
    with pytest.raises(UsageError) as raised:
        sampler.levels(NoiseSchedule.from_config(SD15), 10)
    assert str(raised.value) == (
        "pndm with skip_prk_steps false takes no timesteps that are given, since its "
        "Runge-Kutta calls lie between them; set skip_prk_steps, or take another sampler"
    )
