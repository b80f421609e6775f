"""Noise schedules against diffusers' own, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from runtimes.errors import UsageError
from runtimes.schedule import (
    NoiseSchedule,
    check_steps,
    leading,
    linspace,
    sigmas_to_timesteps,
    spaced_timesteps,
    trailing,
)

pytestmark = pytest.mark.usefixtures("ieee_roots")

Config = dict[str, Any]

SD: Config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
CONFIGS: dict[str, Config] = {
    "sd": SD,
    "defaults": {},
    "linear": {"beta_schedule": "linear", "beta_start": 0.0015, "beta_end": 0.0195},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "few": {**SD, "num_train_timesteps": 50},
    "odd": {**SD, "num_train_timesteps": 997},
    "trained": {"trained_betas": [0.01, 0.02, 0.04, 0.3], "num_train_timesteps": 4},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_alphas_cumprod_equal_the_reference_bit_for_bit(config: Config) -> None:
    reference = DDIMScheduler(**config).alphas_cumprod.numpy()
    schedule = NoiseSchedule.from_config(config)
    assert schedule.num_train_timesteps == len(reference)
    np.testing.assert_array_equal(
        schedule.alphas_cumprod, reference.astype(np.float64), strict=True
    )


@pytest.mark.parametrize("config", [SD, {}, CONFIGS["linear"]], ids=["sd", "defaults", "linear"])
def test_zero_terminal_snr_follows_the_reference(config: Config) -> None:
    config = {**config, "rescale_betas_zero_snr": True}
    reference = DDIMScheduler(**config).alphas_cumprod.numpy()
    ours = NoiseSchedule.from_config(config).alphas_cumprod
    assert ours[-1] == reference[-1] == 0
    # A thousand float32 factors of 1 - beta, each of which a square root may move by 6e-8.
    np.testing.assert_allclose(ours[:-1], reference[:-1], rtol=5e-6, atol=0)


@pytest.mark.parametrize("zero_snr", [False, True])
def test_sigmas_follow_the_reference(zero_snr: bool) -> None:
    config: Config = {**SD, "rescale_betas_zero_snr": zero_snr}
    scheduler = EulerDiscreteScheduler(**config)
    reference = scheduler.sigmas.numpy()[:-1][::-1]
    sigmas = NoiseSchedule.from_config(config).sigmas
    assert sigmas.dtype == np.float32
    assert np.all(np.diff(sigmas) > 0)
    # One unit in the last place; with zero SNR the same as above, halved by the root.
    np.testing.assert_allclose(sigmas, reference, rtol=5e-6 if zero_snr else 1.2e-7, atol=0)


def test_a_level_preserves_the_variance() -> None:
    schedule = NoiseSchedule.from_config(SD)
    level = schedule.level(500)
    assert level.timestep == 500.0
    assert level.alpha**2 == pytest.approx(schedule.alphas_cumprod[500], rel=1e-15)
    assert level.alpha**2 + level.sigma**2 == pytest.approx(1, rel=1e-15)


def test_spacings() -> None:
    assert leading(1000, 4).tolist() == [750, 500, 250, 0]
    assert trailing(1000, 4).tolist() == [999, 749, 499, 249]
    assert linspace(1000, 4).tolist() == [999, 666, 333, 0]
    assert spaced_timesteps("leading", 1000, 4, 1).tolist() == [751, 501, 251, 1]
    assert spaced_timesteps("trailing", 1000, 4, 1).tolist() == [999, 749, 499, 249]


def test_trailing_timesteps_never_fall_below_zero() -> None:
    too_long = 0
    for n in range(1, 1001):
        scheduler = DDIMScheduler(timestep_spacing="trailing")
        scheduler.set_timesteps(n)
        reference = scheduler.timesteps.tolist()
        too_long += len(reference) > n
        assert trailing(1000, n).tolist() == reference[:n], n
        assert reference[n:] in ([], [-1])
    assert too_long == 62, "diffusers has mended its spacing; take the comment out"


def test_timesteps_of_the_schedules_own_sigmas() -> None:
    schedule = NoiseSchedule.from_config(SD)
    timesteps = sigmas_to_timesteps(schedule, schedule.sigmas.astype(np.float64))
    # The float32 logarithms are 0.006 apart or more, and good to 2e-7.
    np.testing.assert_allclose(timesteps, np.arange(1000), atol=1e-4)
    beyond = sigmas_to_timesteps(schedule, np.array([1000.0, 1e-3]))
    assert beyond.tolist() == [999, 0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"beta_schedule": "scaled_linaer"},
            "unknown beta_schedule 'scaled_linaer'; known are linear, scaled_linear, "
            "squaredcos_cap_v2. Did you mean 'scaled_linear'?",
        ),
        (
            {"num_train_timesteps": 1},
            "scheduler_config.json: num_train_timesteps is 1; it must be from 2 to 100000",
        ),
        (
            {"trained_betas": [0.1, 0.2]},
            "scheduler_config.json: trained_betas has 2 values, num_train_timesteps is 1000; "
            "they must agree",
        ),
        (
            {"beta_end": 1.5},
            "scheduler_config.json: a beta is 1.5; each must be above 0 and below 1",
        ),
        (
            {"num_train_timesteps": 2, "trained_betas": [0.1, -0.5]},
            "scheduler_config.json: a beta is -0.5; each must be above 0 and below 1",
        ),
        (
            {"beta_start": 0.0},
            "scheduler_config.json: a beta is 0.0; each must be above 0 and below 1",
        ),
        (
            {"beta_start": 1e-9},
            "scheduler_config.json: its betas leave no noise at timestep 0; correct them",
        ),
        (
            {"beta_end": 0.5},
            "scheduler_config.json: its betas leave no signal long before the last timestep; "
            "correct them",
        ),
        (
            {"num_train_timesteps": 10**30},
            "scheduler_config.json: num_train_timesteps is 10"
            f"{'0' * 29}; it must be from 2 to 100000",
        ),
        (
            {"beta_start": "small"},
            "scheduler_config.json: Expected `float`, got `str` - at `$.beta_start`",
        ),
    ],
)
def test_a_config_that_makes_no_schedule_is_refused(config: Config, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        NoiseSchedule.from_config(config)
    assert str(raised.value) == message


@pytest.mark.parametrize("steps", [-1, 0, 1001, 10_000])
def test_a_number_of_steps_out_of_range_is_refused(steps: int) -> None:
    with pytest.raises(UsageError) as raised:
        check_steps(steps, NoiseSchedule.from_config({}))
    assert str(raised.value) == f"num_inference_steps is {steps}; give a number from 1 to 1000"
