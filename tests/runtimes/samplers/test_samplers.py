"""Samplers against the diffusers schedulers of the same name, step by step."""

from __future__ import annotations

import dataclasses
import inspect
import json
from itertools import product
from typing import cast

import diffusers
import numpy as np
import pytest
import torch

from runtimes import samplers
from runtimes.denoiser import EDM_CLASSES, Latents
from runtimes.errors import UsageError
from runtimes.noise import Generator
from runtimes.samplers import SAMPLERS as ALL
from runtimes.samplers import (
    SCHEDULER_CLASSES,
    default_sampler,
    fitting_samplers,
    load_sampler,
    make_sampler,
    sampler_names,
)
from runtimes.samplers.ddim import DDIM
from runtimes.samplers.options import NOISE_FIELDS
from runtimes.schedule import Level, NoiseSchedule
from tests.runtimes.samplers.follow import error
from tests.runtimes.samplers.trajectories import (
    FEW_STEPS_TOLERANCE,
    FROM_4096_TOLERANCE,
    MANY_STEPS_TOLERANCE,
    REFERENCES,
    SD15,
    SD21,
    SDXL,
    TOLERANCE,
    UNIT_NOISE,
    ZERO_SNR,
    Config,
    assert_follows,
    both_trajectories,
    errors,
    first_difference,
    options,
    our_trajectory,
    reference_scheduler,
    reference_trajectory,
    schedules,
)

pytestmark = [
    # diffusers hands tensors to np.array in a way that NumPy will drop.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("ieee_roots"),
]

# Those whose whole matrix runs here; the others have files of their own.
SAMPLERS = ("ddim", "dpmpp-2m", "euler", "pndm")
# Those that the matrix below can't drive as it drives the rest: EDM's needs a config of its own,
# the Brownian noise of one is its own, the references of third order end in NaN or amplify what
# rounding leaves, three are slow: LMS's takes a quadrature for each weight.
APART = ("dpm-3m", "dpmpp-3m-sde", "dpm2", "dpm2-a", "dpmpp-sde", "edm-euler", "lms")
MATRIX = [name for name in ALL if name not in APART]

# What the project promises of every step of every trajectory, and of most.
WORST = 2e-4
MOSTLY = 1e-5


def predictions(name: str) -> tuple[str, ...]:
    """The prediction types that a sampler runs with."""
    row = options(name)["prediction_type"]
    assert isinstance(row, tuple)
    return cast("tuple[str, ...]", row)


@pytest.mark.parametrize("name", MATRIX)
def test_every_prediction_and_schedule_follows_the_reference(name: str) -> None:
    differences: list[str | None] = []
    worst: list[float] = []
    for prediction, schedule, steps in product(predictions(name), schedules(name), (5, 20, 50)):
        config = {**SD15, "prediction_type": prediction}
        ours, theirs = both_trajectories(name, config, steps, schedule)
        difference = first_difference(ours, theirs, WORST)
        differences.append(difference and f"{prediction} {schedule} {steps}: {difference}")
        worst.append(max(errors(ours, theirs)))
    assert not list(filter(None, differences))
    assert np.median(worst) <= MOSTLY


@pytest.mark.parametrize("config", [SD15, SD21, SDXL], ids=["sd15", "sd21", "sdxl"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_models_configs_follow_the_reference(name: str, config: Config) -> None:
    for steps, schedule in product((5, 20), (None, schedules(name)[-1])):
        assert_follows(name, config, steps, FEW_STEPS_TOLERANCE, schedule)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_spacing_follows_the_reference(name: str) -> None:
    row = options(name).get("timestep_spacing")
    spacings = row if isinstance(row, tuple) else (None,)
    # 15 and 7 don't divide 1000: strides and spacing part.
    for spacing, steps in product(cast("tuple[object, ...]", spacings), (1, 2, 7, 15)):
        config = {**SD15, "timestep_spacing": spacing} if spacing else SD15
        assert_follows(name, config, steps, FEW_STEPS_TOLERANCE if steps == 2 else TOLERANCE)


# One row for each option that changes the way: sampler, config, steps.
VARIANTS: list[tuple[str, Config, int]] = [
    ("ddim", {"set_alpha_to_one": True}, 7),
    ("ddim", {"clip_sample": True}, 7),
    ("ddim", {"clip_sample": True, "clip_sample_range": 0.5}, 7),
    ("ddim", {"prediction_type": "sample"}, 7),
    ("ddim", {"beta_schedule": "squaredcos_cap_v2"}, 7),
    ("ddim", {"num_train_timesteps": 50}, 7),
    ("ddim", {"thresholding": True}, 7),
    ("ddim", {"thresholding": True, "sample_max_value": 3.0, "clip_sample": True}, 7),
    ("ddim", {"thresholding": True, "sample_max_value": 3.0, "dynamic_thresholding_ratio": 0.8}, 7),
    ("pndm", {"set_alpha_to_one": True}, 7),
    *(("pndm", {"skip_prk_steps": False, "prediction_type": prediction_type}, steps)
      for prediction_type in ("epsilon", "v_prediction")
      for steps in (4, 7, 20)),
    ("pndm", {"skip_prk_steps": False, "timestep_spacing": "linspace"}, 7),
    ("euler", {"final_sigmas_type": "sigma_min"}, 7),
    ("euler", {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0}, 7),
    ("euler", {"use_karras_sigmas": True, "timestep_spacing": "trailing"}, 7),
    ("euler", {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "leading"}, 7),
    *(("euler", {"interpolation_type": "log_linear", **more}, steps)
      for more in ({}, {"use_karras_sigmas": True}, {"timestep_spacing": "leading"})
      for steps in (1, 7)),
    *(("euler", {"timestep_type": "continuous", "prediction_type": prediction, **more}, 7)
      for prediction in ("epsilon", "v_prediction")
      for more in ({}, {"use_beta_sigmas": True})),
    ("euler", {"use_exponential_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0}, 7),
    ("euler", {"use_beta_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0}, 7),
    ("dpmpp-2m", {"thresholding": True, "sample_max_value": 3.0}, 7),
    *(("dpmpp-2m", {"lambda_min_clipped": -1.5, "timestep_spacing": spacing}, 7)
      for spacing in ("leading", "linspace", "trailing")),
    ("dpmpp-2m", {"lambda_min_clipped": -5.1, "beta_schedule": "squaredcos_cap_v2"}, 7),
    *(("dpmpp-2m", {flag: True, "sigma_min": 0.1, "sigma_max": 10.0, **more}, 7)
      for flag in ("use_lu_lambdas", "use_exponential_sigmas", "use_beta_sigmas")
      for more in ({}, {"beta_schedule": "squaredcos_cap_v2"})),
    *(("dpmpp-2m", {"final_sigmas_type": final, **more}, steps)
      for final in ("zero", "sigma_min")
      for more in ({}, {"lower_order_final": False}, {"euler_at_final": True})
      for steps in (1, 2, 14, 15)),
    ("dpmpp-2m", {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min"}, 7),
    ("dpmpp-2m", {"solver_type": "bh2"}, 7),
    ("dpmpp-2m", {"variance_type": "fixed_small"}, 7),
    ("dpmpp-2m", {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "leading"}, 7),
    ("dpmpp-2m", {"beta_schedule": "squaredcos_cap_v2", "use_karras_sigmas": True}, 7),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "steps"), VARIANTS, ids=[f"{n}-{c}-{s}" for n, c, s in VARIANTS]
)
def test_every_option_follows_the_reference(name: str, changes: Config, steps: int) -> None:
    tolerance = FEW_STEPS_TOLERANCE if steps == 2 or changes.get("thresholding") else TOLERANCE
    assert_follows(name, {**SD15, **changes}, steps, tolerance)


NO_ZERO_SNR = [name for name in SAMPLERS if options(name).get("rescale_betas_zero_snr") == (False,)]


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in NO_ZERO_SNR])
def test_zero_terminal_snr_follows_the_reference(name: str) -> None:
    for schedule, steps in product(schedules(name), (1, 2, 20)):
        sampler = make_sampler(name, ZERO_SNR, schedule=schedule)
        levels = sampler.levels(NoiseSchedule.from_config(ZERO_SNR), steps)
        from_4096 = sampler.init_noise_sigma(levels) > 4000 and steps <= 2
        tolerance = FROM_4096_TOLERANCE if from_4096 else FEW_STEPS_TOLERANCE
        assert_follows(name, ZERO_SNR, steps, tolerance, schedule)


@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m", "euler", "pndm"])
def test_a_thousand_steps_follow_the_reference(name: str) -> None:
    config = {**SD15, "timestep_spacing": "trailing"}
    for schedule in {"plain", "karras"} & set(schedules(name)):
        assert_follows(name, config, 1000, MANY_STEPS_TOLERANCE, schedule)


@pytest.mark.parametrize("name", ["ddim", "euler", "pndm"])
def test_it_begins_in_the_middle_and_takes_latents_back(name: str) -> None:
    for spacing, (steps, begin), inpaint in product(
        ("leading", "trailing"), ((10, 2), (10, 9), (7, 3)), (False, True)
    ):
        config = {**SD15, "timestep_spacing": spacing}
        found = error(name, config, steps, begin=begin, inpaint=inpaint)
        assert found < FEW_STEPS_TOLERANCE, (spacing, steps, begin, inpaint)


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_draws_the_references_noise(eta: float, steps: int) -> None:
    scheduler = reference_scheduler("ddim", SD15, steps)
    torch_generator = torch.Generator().manual_seed(7)
    theirs = reference_trajectory(scheduler, eta=eta, generator=torch_generator)
    sampler = make_sampler("ddim", SD15)
    assert isinstance(sampler, DDIM)
    ours = our_trajectory(dataclasses.replace(sampler, eta=eta), SD15, steps, seed=7)
    assert first_difference(ours, theirs, TOLERANCE) is None
    still = our_trajectory(sampler, SD15, steps)
    assert first_difference(ours, still, 0.01) is not None


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_class_config_is_taken_as_from_config_takes_it(name: str) -> None:
    # EDM's networks are another's; `test_preconditioning_must_be_the_networks` has them.
    for source in sorted({*REFERENCES.values()} - {*EDM_CLASSES}):
        # Not all of the classes have the offset, and all that have spacings read it.
        own: Config = json.loads(getattr(diffusers, source)().to_json_string())
        written = {**own, "steps_offset": 1}
        assert_follows(name, written, 5, FEW_STEPS_TOLERANCE)


NOT_OF_THE_CLASS = {
    ("pndm", "rescale_betas_zero_snr"),
    ("dpmpp-2m", "sigma_min"),
    ("dpmpp-2m", "sigma_max"),
}
"""Options that the diffusers class has not among its fields; the sampler's file says why."""


# Classes that read bounds of sigmas, and overlook the rescaling of betas, without naming them.
BOUNDLESS = ("dpm2", "dpm2-a", "dpmpp-sde", "heun", "lms")


@pytest.mark.parametrize("name", SAMPLERS)
def test_defaults_are_those_of_the_diffusers_class(name: str) -> None:
    reference_class = getattr(diffusers, REFERENCES[name])
    reference = inspect.signature(reference_class.__init__).parameters
    for option, row in options(name).items():
        if option in reference:
            default: object = row[0] if isinstance(row, tuple) else row
            assert default == reference[option].default, option
        else:
            assert (name, option) in NOT_OF_THE_CLASS
    ours = NoiseSchedule.from_config({}).alphas_cumprod
    np.testing.assert_array_equal(ours, reference_class().alphas_cumprod.numpy())


# Fields of diffusers' classes that OPTIONS needn't have, beside those of the noise schedule.
WITHOUT_EFFECT = {
    "flow_shift": "use_flow_sigmas",
    "time_shift_type": "use_dynamic_shifting",
    "solver_order": "the sampler's name",
    "algorithm_type": "the sampler's name",
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_field_of_the_diffusers_class_is_overlooked(name: str) -> None:
    reference = inspect.signature(getattr(diffusers, REFERENCES[name]).__init__).parameters
    known = {"self", *options(name), *NOISE_FIELDS, *WITHOUT_EFFECT}
    assert set(reference) <= known


def config_of(name: str) -> Config:
    """A scheduler config that a sampler runs with."""
    return {"_class_name": "EDMEulerScheduler"} if name == "edm-euler" else SD15


def test_steps_count_calls_of_the_network() -> None:
    once = ("ddim", "dpmpp-2m", "edm-euler", "euler", "euler-a", "lms")
    twice = ("dpm2", "dpm2-a", "dpmpp-sde", "heun")
    calls_of = {**dict.fromkeys(once, 6), **dict.fromkeys(twice, 11), "pndm": 7}
    for name, calls in calls_of.items():
        sampler = make_sampler(name, config_of(name))
        assert sampler.calls_per_step == (2 if name in twice else 1)
        levels = sampler.levels(NoiseSchedule.from_config(SD15), 6)
        seen: list[Level] = []

        def denoiser(x: Latents, level: Level, seen: list[Level] = seen) -> Latents:
            seen.append(level)
            return np.tanh(x)

        steps = list(sampler.sample(denoiser, UNIT_NOISE, levels, Generator(0)))
        assert [step.index for step in steps] == list(range(calls)), name
        assert {step.total for step in steps} == {calls}
        assert [step.level for step in steps] == seen == list(levels[:-1])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_step_keeps_its_latents_and_the_last_one_has_the_result(name: str) -> None:
    sampler = make_sampler(name, config_of(name))
    levels = sampler.levels(NoiseSchedule.from_config(SD15), 6)
    noise = UNIT_NOISE.copy()
    run = sampler.sample(lambda x, level: np.tanh(x), noise, levels, Generator(0))
    kept: list[tuple[Latents, Latents]] = []
    while True:
        try:
            step = next(run)
        except StopIteration as end:
            result = end.value
            break
        assert np.abs(step.denoised).max() <= 1
        kept.append((step.x, step.x.copy()))
    assert result is kept[-1][0]
    for now, then in kept:
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(noise, UNIT_NOISE)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_run_can_be_cut_short(name: str) -> None:
    calls: list[float] = []

    def denoiser(x: Latents, level: Level) -> Latents:
        calls.append(level.timestep)
        return x

    sampler = make_sampler(name, config_of(name))
    levels = sampler.levels(NoiseSchedule.from_config(SD15), 6)
    run = sampler.sample(denoiser, UNIT_NOISE, levels, Generator(0))
    next(run)
    run.close()
    assert calls == [levels[0].timestep]


def test_the_first_differing_step_is_named() -> None:
    trajectory = our_trajectory(make_sampler("euler", SD15), SD15, 5)
    changed = [*trajectory[:3], *(x * np.float32(1.0001) for x in trajectory[3:])]
    message = first_difference(changed, trajectory, TOLERANCE)
    assert message == "step 3 of 5: relative error 1.0e-04 above 2e-06"
    assert first_difference(trajectory[:4], trajectory, 1) == "4 steps, the reference takes 5"
    zeros = [np.zeros_like(x) for x in trajectory]
    assert first_difference(zeros, trajectory, TOLERANCE) is not None


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_a_number_of_steps_out_of_range_is_refused(name: str, steps: int) -> None:
    with pytest.raises(UsageError, match=f"num_inference_steps is {steps}; give a number from 1"):
        make_sampler(name, config_of(name)).levels(NoiseSchedule.from_config(SD15), steps)


@pytest.mark.parametrize("name", ["ddim", "pndm"])
def test_the_reference_fails_past_the_last_timestep(name: str) -> None:
    with pytest.raises(IndexError):
        reference_trajectory(reference_scheduler(name, SD15, 1000))


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpm2", "euler", "pndm"])
def test_a_step_past_the_last_timestep_is_refused(name: str) -> None:
    config = {**SD15, "timestep_spacing": "leading"}
    with pytest.raises(UsageError) as raised:
        make_sampler(name, config).levels(NoiseSchedule.from_config(config), 1000)
    assert str(raised.value) == (
        "num_inference_steps is 1000; with steps_offset 1 that begins at timestep 1000, past the "
        "last, 999; give fewer steps"
    )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_a_repeated_timestep_is_refused_where_the_reference_is_not_finite(spacing: str) -> None:
    config = {**SD15, "timestep_spacing": spacing, "steps_offset": 0}
    reference = reference_trajectory(reference_scheduler("dpmpp-2m", config, 1000))
    assert not np.all(np.isfinite(reference[-2]))
    with pytest.raises(UsageError) as raised:
        make_sampler("dpmpp-2m", config).levels(NoiseSchedule.from_config(config), 1000)
    assert str(raised.value) == (
        f"num_inference_steps is 1000; with {spacing} spacing a timestep would then repeat, "
        "which steps in log-SNR can't; give fewer steps"
    )


@pytest.mark.parametrize("steps", [1, 3])
def test_runge_kutta_steps_need_four(steps: int) -> None:
    config = {**SD15, "skip_prk_steps": False}
    with pytest.raises(ValueError, match="broadcast"):
        reference_scheduler("pndm", config, steps)
    with pytest.raises(UsageError) as raised:
        make_sampler("pndm", config).levels(NoiseSchedule.from_config(config), steps)
    assert str(raised.value) == (
        f"num_inference_steps is {steps}; pndm with skip_prk_steps false takes at least 4"
    )


REFUSED: list[tuple[str, Config, str]] = [
    (
        "ddim",
        {"timestep_spacing": "leding"},
        "timestep_spacing is 'leding'; sampler 'ddim' runs with 'leading', 'linspace', 'trailing'",
    ),
    (
        "pndm",
        {"prediction_type": "sample"},
        "prediction_type is 'sample'; sampler 'pndm' runs with 'epsilon', 'v_prediction'",
    ),
    (
        "pndm",
        {"rescale_betas_zero_snr": True},
        "rescale_betas_zero_snr is True; sampler 'pndm' runs with False",
    ),
    (
        "euler",
        {"use_exponential_sigmas": True, "use_beta_sigmas": True},
        "use_exponential_sigmas and use_beta_sigmas are both true; they exclude each other",
    ),
    (
        "euler",
        {"interpolation_type": "loglinear"},
        "interpolation_type is 'loglinear'; sampler 'euler' runs with 'linear', 'log_linear'",
    ),
    (
        "dpmpp-2m",
        {"solver_type": "huen"},
        "solver_type is 'huen'; sampler 'dpmpp-2m' runs with 'midpoint', 'heun', 'bh1', 'bh2', "
        "'logrho'",
    ),
    (
        "dpmpp-2m",
        {"use_flow_sigmas": True},
        "use_flow_sigmas is True, whose networks know noise of another law than sampler 'dpmpp-2m' "
        "and all others here give them; this bundle can't be run",
    ),
    (
        "dpmpp-2m",
        {"variance_type": "learned_range"},
        "variance_type is 'learned_range'; sampler 'dpmpp-2m' runs with None, 'fixed_small', "
        "'fixed_small_log', 'fixed_large', 'fixed_large_log'",
    ),
    ("euler", {"steps_offset": "1"}, "Expected `int`, got `str` - at `$.steps_offset`"),
    (
        "ddim",
        {"clip_sample_range": None},
        "Expected `float`, got `null` - at `$.clip_sample_range`",
    ),
]


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED)
def test_an_option_that_does_not_run_is_refused_by_name(
    name: str, changes: Config, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        make_sampler(name, {**SD15, **changes})
    assert str(raised.value) == f"scheduler_config.json: {message}"


def test_an_unknown_sampler_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError) as raised:
        load_sampler("pndn")
    assert str(raised.value) == (
        f"unknown sampler 'pndn'; known are {', '.join(sorted(sampler_names()))}. "
        "Did you mean 'pndm'?"
    )


def test_the_default_sampler_follows_the_configs_class() -> None:
    for name in SAMPLERS:
        assert default_sampler({**SD15, "_class_name": REFERENCES[name]}) == name
    with pytest.raises(UsageError) as raised:
        default_sampler({**SD15, "_class_name": "NoScheduler"})
    assert str(raised.value).startswith(
        "scheduler_config.json: unknown scheduler class 'NoScheduler'; known are "
        f"{', '.join(sorted(SCHEDULER_CLASSES))}."
    )
    assert str(raised.value).endswith(f"Name a sampler: {', '.join(sampler_names())}.")


@dataclasses.dataclass(frozen=True)
class ThirdParty(DDIM):
    """A sampler that isn't in the project's own table."""

    strength: float = 0.5


def test_a_third_partys_sampler_takes_what_its_fields_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers.registry, "load", lambda *_: ThirdParty)
    sampler = make_sampler("theirs", {**SD15, "strength": 0.25})
    assert sampler == ThirdParty(
        steps_offset=1, set_alpha_to_one=False, clip_sample=False, strength=0.25
    )


def test_the_samplers_that_fit_a_config_are_those_that_it_makes() -> None:
    assert set(fitting_samplers({"_class_name": "EDMEulerScheduler"})) == {"edm-euler"}
    predicts_sample = fitting_samplers({**SD15, "prediction_type": "sample"})
    assert {"ddim", "heun", "lms"} <= set(predicts_sample)
    assert not {"dpm2", "edm-euler", "pndm"} & set(predicts_sample)


def test_the_table_and_the_options_name_the_same_samplers() -> None:
    assert set(ALL) <= set(sampler_names())
