"""What a call says of the schedule, over the scheduler config: taken or refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runtimes.errors import UsageError
from runtimes.samplers import make_sampler
from runtimes.samplers.choice import SCHEDULES
from runtimes.samplers.ddim import DDIM
from runtimes.samplers.euler import Euler
from runtimes.schedule import SIGMA_RULES, NoiseSchedule
from tests.runtimes.samplers.trajectories import SD15, TOLERANCE, Config, assert_follows

# diffusers hands tensors to np.array in a way that NumPy will drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_a_schedule_is_said_by_the_config_or_over_it() -> None:
    karras = make_sampler("euler", {**SD15, "use_karras_sigmas": True})
    assert karras == make_sampler("euler", SD15, schedule="karras")
    # One rule excludes the others, so naming one lifts what the config says of another.
    exponential = {**SD15, "use_exponential_sigmas": True}
    assert karras == make_sampler("euler", exponential, schedule="karras")
    plain = make_sampler("euler", {**SD15, "use_karras_sigmas": True}, schedule="plain")
    assert plain == make_sampler("euler", SD15) != karras
    assert make_sampler("ddim", SD15, schedule="plain") == make_sampler("ddim", SD15)


def test_every_rule_reaches_a_sampler_that_has_sigmas() -> None:
    assert set(SCHEDULES) == {"plain", *SIGMA_RULES, "ays"}
    for rule in SIGMA_RULES:
        for name in ("euler", "dpmpp-2m"):
            sampler = make_sampler(name, SD15, schedule=rule)
            assert getattr(sampler, "sigma_rule") == rule  # noqa: B009 (not of the protocol)
            levels = sampler.levels(NoiseSchedule.from_config(SD15), 5)
            noise = [level.sigma / level.alpha for level in levels]
            largest = noise[0]
            # leading spacing with an offset of 1: Euler's rules run from 801 to 1.
            expected = SIGMA_RULES[rule](largest, noise[-2], 5)
            assert noise[:-1] == pytest.approx(expected, rel=1e-6)


def test_a_spacing_is_said_over_the_config() -> None:
    trailing = make_sampler("ddim", SD15, spacing="trailing")
    assert trailing == make_sampler("ddim", {**SD15, "timestep_spacing": "trailing"})
    assert trailing != make_sampler("ddim", SD15)


def test_options_lie_over_the_config_as_from_config_takes_them() -> None:
    options = {"timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"}
    assert make_sampler("dpmpp-2m", SD15, sampler_options=options) == make_sampler(
        "dpmpp-2m", {**SD15, **options}
    )
    assert_follows("dpmpp-2m", {**SD15, **options}, 5, TOLERANCE)
    flag = make_sampler("euler", SD15, sampler_options={"use_beta_sigmas": True})
    assert flag == make_sampler("euler", SD15, schedule="beta")


def test_options_may_be_the_samplers_own() -> None:
    sampler = make_sampler("ddim", SD15, sampler_options={"eta": 1})
    assert isinstance(sampler, DDIM)
    assert sampler.eta == 1.0


def test_numbers_are_taken_as_tuples_of_floats() -> None:
    sampler = make_sampler("euler", SD15, sigmas=[10, 1, 0])
    assert isinstance(sampler, Euler)
    assert sampler.sigmas == (10.0, 1.0, 0.0)
    lifted = make_sampler("euler", {**SD15, "use_karras_sigmas": True}, timesteps=[900, 1.5])
    assert lifted == make_sampler("euler", SD15, timesteps=[900, 1.5])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "euler",
        {"schedule": "karas"},
        "unknown schedule 'karas'; known are ays, beta, exponential, karras, lu, plain, "
        "polyexponential. Did you mean 'karras'?",
    ),
    (
        "euler",
        {"spacing": "trailling"},
        "unknown spacing 'trailling'; known are leading, linspace, trailing. "
        "Did you mean 'trailing'?",
    ),
    (
        "euler",
        {"sigmas": [1, 0], "timesteps": [999]},
        "sigmas and timesteps are both given; give one of them",
    ),
    (
        "euler",
        {"sigmas": [1, 0], "schedule": "karras"},
        "schedule is 'karras', and sigmas are given, which are a schedule of their own; "
        "give one of them",
    ),
    (
        "euler",
        {"timesteps": [999], "spacing": "leading"},
        "spacing is 'leading', and timesteps are given, which are a schedule of their own; "
        "give one of them",
    ),
    (
        "euler",
        {"schedule": "beta", "sampler_options": {"use_karras_sigmas": True}},
        "sampler option 'use_karras_sigmas' is given beside schedule; give one of them",
    ),
    (
        "euler",
        {"timesteps": [999], "sampler_options": {"timestep_spacing": "leading"}},
        "sampler option 'timestep_spacing' is given beside timesteps; give one of them",
    ),
    (
        "euler",
        {"schedule": "ays", "spacing": "leading"},
        "spacing is 'leading', and schedule 'ays' is a table of timesteps; give one of them",
    ),
    (
        "euler",
        {"schedule": "ays"},
        "schedule 'ays' is a table of the model's family, which a scheduler config doesn't tell; "
        "see runtimes.plan",
    ),
    (
        "ddim",
        {"schedule": "karras"},
        "sampler 'ddim' has no sigmas to follow schedule 'karras'; the nearest that has is 'euler'",
    ),
    (
        "pndm",
        {"sigmas": [1, 0]},
        "sampler 'pndm' has no sigmas that can be given; the nearest that has is 'dpmpp-2m'",
    ),
    (
        "ddim",
        {"sampler_options": {"etta": 1.0}},
        "sampler 'ddim' has no option 'etta'; it has beta_end, beta_schedule, beta_start, "
        "clip_sample, clip_sample_range, dynamic_thresholding_ratio, eta, num_train_timesteps, "
        "prediction_type, rescale_betas_zero_snr, sample_max_value, set_alpha_to_one, "
        "steps_offset, thresholding, timestep_spacing, trained_betas. Did you mean 'eta'?",
    ),
    (
        "ddim",
        {"sampler_options": {"eta": 1.5}},
        "sampler options: Expected `float` <= 1.0 - at `$.eta`",
    ),
    *(
        (
            name,
            {"sampler_options": {option: value}},
            f"sampler options: Expected `{kind}` {allowed} - at `$.{option}`",
        )
        for name, option, value, kind, allowed in (
            ("heun", "sigma_min", 0, "float", "> 0.0"),
            ("dpmpp-2m", "sigma_max", math.inf, "float", "<= 1000000.0"),
            ("dpmpp-2m", "sigma_max", math.nan, "float", "> 0.0"),
            ("dpmpp-2m", "lambda_min_clipped", math.nan, "float", "<= 100.0"),
            ("dpmpp-sde", "s_noise", -1, "float", ">= 0.0"),
            ("euler", "s_churn", math.nan, "float", ">= 0.0"),
            ("ddpm", "steps_offset", -1, "int", ">= 0"),
            ("ddim", "clip_sample_range", -1, "float", "> 0.0"),
            ("ddim", "dynamic_thresholding_ratio", 1.5, "float", "<= 1.0"),
            ("lcm", "strength", 2.5, "float", "<= 1.0"),
            ("lcm", "timestep_scaling", math.inf, "float", "<= 1000000.0"),
            ("tcd", "eta", 1.1, "float", "<= 1.0"),
            ("tcd", "strength", 0, "float", "> 0.0"),
        )
    ),
    (
        "ddim",
        {"sampler_options": {"eta": None}},
        "sampler option 'eta' is None; it must be a number, text, true or false",
    ),
    (
        "ddim",
        {"sampler_options": ["eta"]},
        "sampler_options must be a mapping of names to values, not list",
    ),
    (
        "euler",
        {"sampler_options": {"final_sigmas_type": "one"}},
        "sampler options: final_sigmas_type is 'one'; sampler 'euler' runs with 'zero', "
        "'sigma_min'",
    ),
]


@pytest.mark.parametrize(("name", "said", "message"), REFUSED)
def test_what_cannot_be_is_refused(name: str, said: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_sampler(name, SD15, **said)
    assert str(raised.value) == message


def test_timesteps_are_not_made_twice() -> None:
    config: Config = {**SD15, "timestep_type": "continuous", "prediction_type": "v_prediction"}
    sampler = make_sampler("euler", config, timesteps=[900, 100])
    with pytest.raises(UsageError) as raised:
        sampler.levels(NoiseSchedule.from_config(config), 2)
    assert str(raised.value) == (
        "timesteps are given, and timestep_type 'continuous' makes them from sigmas; give sigmas"
    )
