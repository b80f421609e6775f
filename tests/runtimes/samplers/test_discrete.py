"""DDPM, LCM and TCD against diffusers, step by step, noise included."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import diffusers
import numpy as np
import pytest

from runtimes.errors import UsageError
from runtimes.samplers import default_sampler, make_sampler
from runtimes.samplers.ddpm import DDPM
from runtimes.samplers.lcm import LCM
from runtimes.samplers.tcd import TCD
from runtimes.schedule import NoiseSchedule
from tests.runtimes.samplers.follow import error, ours, reference, scheduler_of, worst
from tests.runtimes.samplers.trajectories import SD15, ZERO_SNR, Config, options, reference_class

pytestmark = pytest.mark.usefixtures("ieee_roots")

NAMES = ("ddpm", "lcm", "tcd")
TIMESTEPS = (999, 759, 499, 259, 39)

# Largest error of a step over the largest latent of that step: both sides round to float32 a few
# times a step, in another order, and their normal draws differ by 5e-7 [2.5e-6].
# Of small steps the reference's betas are differences of float32 alphas near 1 [1.2e-5].
TOLERANCE = 2e-5

SPACINGS: list[Config] = [{"timestep_spacing": s} for s in ("leading", "linspace", "trailing")]
VARIANTS: dict[str, list[Config]] = {
    "ddpm": [
        *SPACINGS,
        *({"variance_type": variance} for variance in ("fixed_small_log", "fixed_large", None)),
        {"clip_sample": True, "clip_sample_range": 2.0},
        {"thresholding": True, "sample_max_value": 2.0, "clip_sample": True},
        {"beta_schedule": "squaredcos_cap_v2", "clip_sample": True},
        {"num_train_timesteps": 60},
    ],
    "lcm": [
        {},
        {"original_inference_steps": 100},
        {"timestep_scaling": 0.01},
        {"clip_sample": True, "clip_sample_range": 2.0},
        {"thresholding": True, "sample_max_value": 2.0, "clip_sample": True},
        *SPACINGS,
    ],
    "tcd": [
        {},
        {"original_inference_steps": 100},
        # The class has these and does nothing with them.
        {"clip_sample": True, "thresholding": True},
        *SPACINGS,
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_follows_the_reference(name: str) -> None:
    for changes in VARIANTS[name]:
        for prediction_type in ("epsilon", "v_prediction", "sample"):
            config = {**SD15, "prediction_type": prediction_type, **changes}
            assert error(name, config, 5) < TOLERANCE, config
        for steps in (1, 20, 50):
            assert error(name, {**SD15, **changes}, steps) < TOLERANCE, (changes, steps)


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_in_the_middle_and_takes_latents_back(name: str) -> None:
    for steps, begin in ((4, 2), (20, 7)):
        assert error(name, SD15, steps, begin=begin) < TOLERANCE
        assert error(name, SD15, steps, begin=begin, inpaint=True) < TOLERANCE
    assert error(name, SD15, 7, inpaint=True) < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_zero_terminal_snr_follows_the_reference(name: str) -> None:
    for steps in (1, 4, 20):
        assert error(name, ZERO_SNR, steps) < TOLERANCE


def test_the_first_timesteps_of_a_schedule_draw_noise_and_timestep_0_none() -> None:
    # steps_offset 1: the last step is from timestep 1, and the reference draws for it.
    config = {**SD15, "variance_type": "fixed_large"}
    last = ours(make_sampler("ddpm", config), config, 5)[-1]
    without = {**config, "steps_offset": 0}
    assert np.abs(last - ours(make_sampler("ddpm", without), without, 5)[-1]).max() > 0.01
    assert error("ddpm", config, 5) < TOLERANCE
    assert error("ddpm", without, 5) < TOLERANCE


@pytest.mark.parametrize("eta", [0.0, 0.5, 0.7, 1.0])
def test_tcd_follows_the_reference_at_any_eta(eta: float) -> None:
    for steps in (4, 20):
        theirs = reference(scheduler_of("tcd", SD15, steps), eta=eta)
        assert worst(ours(TCD(eta=eta), SD15, steps), theirs) < TOLERANCE


@pytest.mark.parametrize("name", ["lcm", "tcd"])
@pytest.mark.parametrize("strength", [0.3, 0.55, 0.8])
def test_strength_chooses_among_the_cleaner_timesteps(name: str, strength: float) -> None:
    made = make_sampler(name, SD15)
    assert isinstance(made, LCM | TCD)
    sampler = dataclasses.replace(made, strength=strength)
    scheduler = scheduler_of(name, SD15, 4)
    scheduler.set_timesteps(4, strength=strength)
    levels = sampler.levels(NoiseSchedule.from_config(SD15), 4)
    assert [level.timestep for level in levels[:-1]] == scheduler.timesteps.tolist()
    assert worst(ours(sampler, SD15, 4), reference(scheduler)) < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_given_timesteps_follow_the_reference(name: str) -> None:
    scheduler = scheduler_of(name, SD15, 5)
    scheduler.set_timesteps(timesteps=list(TIMESTEPS))
    made: Any = make_sampler(name, SD15)
    sampler = dataclasses.replace(made, timesteps=tuple(map(float, TIMESTEPS)))
    assert worst(ours(sampler, SD15, 5), reference(scheduler)) < TOLERANCE
    with pytest.raises(UsageError, match="the timesteps given make 5 step"):
        sampler.levels(NoiseSchedule.from_config(SD15), 6)


REFUSED: list[tuple[DDPM | LCM | TCD, int, str]] = [
    (
        LCM(),
        51,
        "num_inference_steps is 51; the model was distilled on 50 timesteps, of which 50 are left "
        "at strength 1.0; give fewer steps",
    ),
    (
        TCD(strength=0.3),
        16,
        "num_inference_steps is 16; the model was distilled on 50 timesteps, of which 15 are left "
        "at strength 0.3; give fewer steps",
    ),
    (
        LCM(original_inference_steps=1001),
        4,
        "scheduler_config.json: original_inference_steps is 1001; it must be from 1 to 1000",
    ),
    (
        LCM(strength=0.5, timesteps=(999.0, 499.0)),
        2,
        "timesteps are given and strength is 0.5; give one of them",
    ),
    (LCM(), 0, "num_inference_steps is 0; give a number from 1 to 1000"),
    (DDPM(), 1001, "num_inference_steps is 1001; give a number from 1 to 1000"),
    (
        DDPM(steps_offset=1),
        1000,
        "num_inference_steps is 1000; with steps_offset 1 that begins at timestep 1000, past the "
        "last, 999; give fewer steps",
    ),
]


@pytest.mark.parametrize(("sampler", "steps", "message"), REFUSED)
def test_steps_that_can_not_be_are_refused(
    sampler: DDPM | LCM | TCD, steps: int, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        sampler.levels(NoiseSchedule.from_config(SD15), steps)
    assert str(raised.value) == message


@pytest.mark.parametrize("variance", ["fixed_large_log", "learned", "learned_range"])
def test_a_variance_that_does_not_run_is_refused(variance: str) -> None:
    config = {**SD15, "variance_type": variance}
    with pytest.raises(UsageError) as raised:
        make_sampler("ddpm", config)
    assert str(raised.value) == (
        f"scheduler_config.json: variance_type is '{variance}'; sampler 'ddpm' runs with "
        "'fixed_small', 'fixed_small_log', 'fixed_large', None"
    )
    if variance == "fixed_large_log":  # the root of a logarithm below 0
        assert np.all(np.isnan(reference(scheduler_of("ddpm", config, 5))[0]))


# Fields of diffusers' classes that OPTIONS needn't have.
NOISE_FIELDS = {
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_options_are_the_classs_fields_and_defaults(name: str) -> None:
    fields = inspect.signature(getattr(diffusers, reference_class(name)).__init__).parameters
    rows = options(name)
    assert set(fields) == {"self", *rows, *NOISE_FIELDS}
    for option, row in rows.items():
        default: object = row[0] if isinstance(row, tuple) else row
        assert default == fields[option].default, option
    assert default_sampler({**SD15, "_class_name": reference_class(name)}) == name
