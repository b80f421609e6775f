"""The samplers in log-SNR against diffusers, step by step: DPM-Solver's, UniPC and DEIS."""

from __future__ import annotations

import inspect
import json
import math
from itertools import cycle

import diffusers
import numpy as np
import pytest

from runtimes.denoiser import EDM_CLASSES, Latents
from runtimes.errors import UsageError
from runtimes.noise import Generator
from runtimes.samplers import SAMPLERS, SOLVERS, default_sampler, load_sampler, make_sampler
from runtimes.samplers.log_snr import LogSnr
from runtimes.samplers.multistep import Multistep
from runtimes.samplers.singlestep import Singlestep
from runtimes.samplers.unipc import UniPC
from runtimes.schedule import Level, NoiseSchedule
from tests.runtimes.samplers.follow import error, ours, reference, scheduler_of, worst
from tests.runtimes.samplers.trajectories import SD15, ZERO_SNR, Config, options, reference_class

pytestmark = [
    # diffusers hands tensors to np.array in a way that NumPy will drop.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    # algorithm_type "dpmsolver" is deprecated in diffusers.
    pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning"),
    pytest.mark.usefixtures("ieee_roots"),
]

NAMES = [name for name in SAMPLERS if issubclass(load_sampler(name), LogSnr)]
MULTISTEP = [name for name in NAMES if issubclass(load_sampler(name), Multistep)]
SINGLESTEP = [name for name in NAMES if issubclass(load_sampler(name), Singlestep)]
RULES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")

# Largest error of a step over the largest latent of that step; in brackets what is measured. Both
# sides round latents to float32, 6e-8 a term, and the reference its logarithms too, which cancel in
# h = lambda_t - lambda_s: the smaller the step the more. Nine of ten are below 2e-6 [1e-5].
TOLERANCE = 1.5e-5
# The noise is extrapolated over steps as long as the schedule [2.5e-5].
FEW_STEPS_TOLERANCE = 5e-5
# The reference's weights of third order are differences of float32 numbers, over h³ [7e-5].
THIRD_ORDER_TOLERANCE = 1e-4
# The noise is integrated from sigma 4096 on: latents of that size are rounded by 2e-4, and that is
# what is left of them at the next level [2 steps 3e-3, 5 steps 3e-4, 20 steps 3e-5].
FROM_4096_TOLERANCE = {2: 6e-3, 5: 1e-3, 20: 1e-4}


def end(name: str) -> Config:
    """The one end that an algorithm of the noise can have."""
    ends = options(name).get("final_sigmas_type")
    return {"final_sigmas_type": "sigma_min"} if ends == ("sigma_min",) else {}


def tolerance(name: str, steps: int) -> float:
    if name == "dpmpp-3m-sde":
        return THIRD_ORDER_TOLERANCE
    return FEW_STEPS_TOLERANCE if name in ("dpm-3s", "dpm-3m") and steps < 10 else TOLERANCE


def test_all_of_them_are_here() -> None:
    assert len(NAMES) == 22
    assert {*MULTISTEP, *SINGLESTEP} == {*NAMES} - {"unipc"}


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_trajectory_equals_the_reference(name: str) -> None:
    rules: list[Config] = [{}, *({rule: True} for rule in RULES if rule in options(name))]
    turn = cycle((5, 20))
    for rule in rules:
        for prediction_type in ("epsilon", "v_prediction", "sample"):
            config = {**SD15, "prediction_type": prediction_type, **rule, **end(name)}
            steps = next(turn)
            assert error(name, config, steps) < tolerance(name, steps), (config, steps)
    for changes in ({}, {"prediction_type": "v_prediction", "use_karras_sigmas": True}):
        assert error(name, {**SD15, **changes, **end(name)}, 50) < TOLERANCE, changes


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_in_the_middle_and_takes_latents_back(name: str) -> None:
    # Image to image: the rules of a schedule's end count all of it, the history begins anew.
    # Inpainting: what is sent is gone on with as the reference does with replaced latents.
    for steps, begin in ((12, 5), (12, 10), (20, 7)):
        found = error(name, {**SD15, **end(name)}, steps, begin=begin)
        assert found < TOLERANCE, (steps, begin)
    assert error(name, {**SD15, **end(name)}, 12, begin=4, inpaint=True) < TOLERANCE
    assert error(name, {**SD15, **end(name)}, 7, inpaint=True) < tolerance(name, 7)


SIGMA_MIN: Config = {"final_sigmas_type": "sigma_min"}
SQUARED_COSINE: Config = {"beta_schedule": "squaredcos_cap_v2"}
SPACINGS: list[Config] = [{"timestep_spacing": spacing} for spacing in ("leading", "trailing")]
# One row for each option that changes the way.
OF_MULTISTEP: list[Config] = [
    *SPACINGS,
    SIGMA_MIN,
    {"solver_type": "heun"},
    {"solver_type": "bh2"},
    {"lower_order_final": False, **SIGMA_MIN},
    {"euler_at_final": True, **SIGMA_MIN},
    {"lambda_min_clipped": -1.0},
    *({"lambda_min_clipped": -1.0, **spacing} for spacing in SPACINGS),
    {"lambda_min_clipped": -5.1, **SQUARED_COSINE},
    {"use_karras_sigmas": True, **SQUARED_COSINE},
    {"use_lu_lambdas": True, "sigma_min": 0.1, **SQUARED_COSINE},
    {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0, **SIGMA_MIN},
    {"use_exponential_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0},
    {"thresholding": True, "sample_max_value": 2.0},
    {"thresholding": True, "dynamic_thresholding_ratio": 0.5},
    {"variance_type": "fixed_small"},
]
OF_SINGLESTEP: list[Config] = [
    SIGMA_MIN,
    {"solver_type": "heun"},
    {"solver_type": "heun", **SIGMA_MIN},
    {"lower_order_final": True},
    {"lower_order_final": True, **SIGMA_MIN},
    {"lambda_min_clipped": -1.0},
    {"use_beta_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0},
    # The class spaces its timesteps in one way.
    {"timestep_spacing": "trailing", "steps_offset": 3},
]
VARIANTS: dict[str, list[Config]] = {
    "dpmpp-2m": OF_MULTISTEP,
    "dpmpp-3m": OF_MULTISTEP,
    "dpmpp-2m-sde": OF_MULTISTEP,
    "dpm-3m": OF_MULTISTEP,
    "dpmpp-2s": [*OF_SINGLESTEP, {"use_karras_sigmas": True, **SQUARED_COSINE}],
    "dpmpp-3s": [*OF_SINGLESTEP, {"thresholding": True, "sample_max_value": 2.0}],
    "dpmpp-2s-sde": OF_SINGLESTEP,
    "dpm-2s": OF_SINGLESTEP,
    "deis": [
        *({"solver_order": order, **spacing} for order in (1, 3) for spacing in SPACINGS),
        {"solver_order": 3, "lower_order_final": False},
        {"solver_order": 3, "use_beta_sigmas": True},
        {"solver_order": 3, "use_karras_sigmas": True, "lower_order_final": False},
        {"solver_type": "midpoint", "algorithm_type": "dpmsolver++"},
        {"thresholding": True, "sample_max_value": 2.0},
        {"use_karras_sigmas": True, **SQUARED_COSINE},
        {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0},
    ],
    "unipc": [
        *SPACINGS,
        *(
            {"solver_order": order, "solver_type": solver, "predict_x0": predicted, **SIGMA_MIN}
            for order in (1, 2, 3)
            for solver in ("bh1", "bh2")
            for predicted in (True, False)
        ),
        {"solver_order": 3},
        {"solver_order": 2, "lower_order_final": False, **SIGMA_MIN},
        {"solver_order": 3, "lower_order_final": False, **SIGMA_MIN},
        {"solver_type": "midpoint"},
        {"disable_corrector": [0, 3]},
        {"use_karras_sigmas": True, **SIGMA_MIN},
        {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0, **SIGMA_MIN},
        {"use_karras_sigmas": True, **SQUARED_COSINE},
        {"thresholding": True, "sample_max_value": 2.0},
        {"thresholding": True, "predict_x0": False, **SIGMA_MIN},
    ],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_follows_the_reference(name: str) -> None:
    for changes in VARIANTS[name]:
        config = {**SD15, **changes, **end(name)}
        # 14 steps end as few do, 15 as many. 15 don't fill blocks of two, 2 none of three.
        ends = any("order" in option or "final" in option for option in changes)
        for steps in (2, 14, 15) if ends else (7,):
            allowed = FEW_STEPS_TOLERANCE if steps == 2 else TOLERANCE
            assert error(name, config, steps) < allowed, (changes, steps)


def test_unipc_of_third_order_stays_within_what_rounding_leaves_of_the_reference() -> None:
    for changes in ({}, {"use_beta_sigmas": True}, {"predict_x0": False, **SIGMA_MIN}):
        found = error("unipc", {**SD15, "solver_order": 3, **changes}, 50)
        assert found < THIRD_ORDER_TOLERANCE, changes


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_zero_terminal_snr_follows_the_reference(steps: int) -> None:
    for name in ("dpmpp-1m", "dpmpp-3m", "dpmpp-2m-sde", "dpm-2m", "dpm-2m-sde", "unipc"):
        for rule in ({}, {"use_karras_sigmas": True}):
            allowed = FROM_4096_TOLERANCE[steps] if name == "dpm-2m" else TOLERANCE
            assert error(name, {**ZERO_SNR, **rule}, steps) < allowed, (name, rule)


@pytest.mark.parametrize("name", ["dpmpp-3m", "dpmpp-2s", "dpmpp-2m-sde"])
def test_given_timesteps_follow_the_reference(name: str) -> None:
    timesteps = (999.0, 850.0, 736.0, 645.0, 545.0, 455.0, 343.0, 233.0, 124.0, 24.0)
    scheduler = scheduler_of(name, SD15, 10)
    scheduler.set_timesteps(timesteps=[int(timestep) for timestep in timesteps])
    made = make_sampler(name, SD15)
    assert isinstance(made, LogSnr)
    sampler = type(made)(timesteps=timesteps)
    assert worst(ours(sampler, SD15, 10), reference(scheduler)) < TOLERANCE
    with pytest.raises(UsageError) as raised:
        type(made)(timesteps=timesteps, sigma_rule="lu").levels(NoiseSchedule.from_config(SD15), 10)
    assert str(raised.value) == (
        "timesteps are given, and so is sigma rule 'lu', which makes them; give one of them"
    )


def test_given_sigmas_are_the_levels() -> None:
    sigmas = (14.6, 3.9, 0.9, 0.1)
    levels = UniPC(sigmas=sigmas).levels(NoiseSchedule.from_config(SD15), 3)
    np.testing.assert_allclose([level.sigma / level.alpha for level in levels], sigmas, rtol=1e-7)
    assert [level.timestep for level in levels] == [999, 738, 323, 0]


def test_the_sde_of_third_order_is_the_references_but_for_its_rounding() -> None:
    # 1/2 has the wrong sign in the reference's weight of the curvature, which is taken over: of
    # steps as small as the beta rule's first it multiplies what rounding h leaves. The reference
    # in float64 [4e-6] says that this is all [in float32 1.2e-3].
    config = {**SD15, "use_beta_sigmas": True}
    scheduler = scheduler_of("dpmpp-3m-sde", config, 50)
    scheduler.sigmas = scheduler.sigmas.double()
    mine = ours(make_sampler("dpmpp-3m-sde", config), config, 50)
    theirs = [x.astype(np.float32) for x in reference(scheduler)]
    assert worst(mine, theirs) < TOLERANCE
    # In blocks of three it is not stable: an error of rounding grows up to 1e-3 in 51 steps, and
    # beyond where the network predicts the sample.
    config = {**SD15, "solver_type": "heun"}
    assert error("dpmpp-3s-sde", config, 20) < THIRD_ORDER_TOLERANCE  # [3e-5]
    assert error("dpmpp-3s-sde", config, 51) < 5e-3  # [7e-4]


def test_what_the_reference_can_not_end_is_refused_or_ended() -> None:
    for changes, option in (
        ({"predict_x0": False}, "predict_x0"),
        ({"lower_order_final": False}, "lower_order_final"),
    ):
        config = {**SD15, **changes}
        theirs = reference(scheduler_of("unipc", config, 7))
        assert not np.all(np.isfinite(theirs[-1]))
        with pytest.raises(UsageError) as raised:
            make_sampler("unipc", config).levels(NoiseSchedule.from_config(config), 7)
        assert str(raised.value) == (
            f"scheduler_config.json: {option} is False and the last step ends at sigma 0, where "
            "unipc is then not finite; final_sigmas_type 'sigma_min' runs"
        )
        # Given sigmas say the end themselves.
        schedule = NoiseSchedule.from_config(config)
        above = make_sampler("unipc", config, sigmas=[9, 3, 0.5]).levels(schedule, 2)
        assert above[-1].sigma > 0
        at_zero = make_sampler("unipc", {**config, **SIGMA_MIN}, sigmas=[9, 3, 0])
        with pytest.raises(UsageError, match=f"{option} is False and the last step ends at"):
            at_zero.levels(schedule, 2)
    # The reference's bh1 multiplies an empty sum by infinity.
    config = {**SD15, "solver_type": "bh1"}
    theirs = reference(scheduler_of("unipc", config, 7))
    mine = ours(make_sampler("unipc", config), config, 7)
    assert not np.all(np.isfinite(theirs[-1]))
    assert np.all(np.isfinite(mine[-1]))
    assert worst(mine[:-1], theirs[:-1]) < TOLERANCE


def test_a_step_of_no_length_leaves_the_latents() -> None:
    # Karras sigmas end at the schedule's smallest, and so does the last step.
    config = {**SD15, **SIGMA_MIN, "use_karras_sigmas": True}
    for name in ("dpmpp-3m", "dpm-3m"):
        theirs = reference(scheduler_of(name, config, 20))
        mine = ours(make_sampler(name, config), config, 20)
        assert not np.all(np.isfinite(theirs[-1]))
        np.testing.assert_array_equal(mine[-1], mine[-2])
        assert worst(mine[:-1], theirs[:-1]) < TOLERANCE


def test_clipping_away_the_schedule_is_refused() -> None:
    config = {**SD15, "lambda_min_clipped": 4.0}
    with pytest.raises(UsageError) as raised:
        make_sampler("dpmpp-2m", config).levels(NoiseSchedule.from_config(config), 5)
    assert str(raised.value) == (
        "scheduler_config.json: lambda_min_clipped is 4.0; hardly a timestep has so little noise, "
        "give a number below 3.187"
    )


@pytest.mark.parametrize("name", NAMES)
def test_another_class_config_is_taken_as_from_config_takes_it(name: str) -> None:
    # EDM's networks are another's; `test_preconditioning_must_be_the_networks` has them.
    for source in sorted({reference_class(other) for other in SAMPLERS} - {*EDM_CLASSES}):
        written: Config = json.loads(getattr(diffusers, source)().to_json_string())
        if written.get("lower_order_final") is False and name == "unipc":
            continue  # refused, as below
        allowed = THIRD_ORDER_TOLERANCE
        assert error(name, {**written, **end(name)}, 4) < allowed, source


# Fields of diffusers' classes that OPTIONS needn't have.
NOISE_FIELDS = {
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
}
WITHOUT_EFFECT = {
    "flow_shift": "use_flow_sigmas",
    "time_shift_type": "use_dynamic_shifting",
}
BY_NAME = {"solver_order", "algorithm_type"}
# One value of `algorithm_type` and of `solver_type` is left, whichever is given.
OF_DEIS = {"algorithm_type", "solver_type"}


@pytest.mark.parametrize("name", NAMES)
def test_the_options_are_the_classs_fields_and_defaults(name: str) -> None:
    fields = inspect.signature(getattr(diffusers, reference_class(name)).__init__).parameters
    rows = options(name)
    known = {"self", *rows, *NOISE_FIELDS, *WITHOUT_EFFECT}
    known |= OF_DEIS if name == "deis" else BY_NAME
    assert set(fields) <= known
    for option, row in rows.items():
        if option not in fields:
            assert option in {"sigma_min", "sigma_max", "rescale_betas_zero_snr"}
        elif option != "final_sigmas_type":
            default: object = row[0] if isinstance(row, tuple) else row
            assert default == fields[option].default, option


@pytest.mark.parametrize("class_name", SOLVERS)
def test_the_default_sampler_runs_the_configs_algorithm_and_order(class_name: str) -> None:
    for (algorithm, order), name in SOLVERS[class_name].items():
        config = {"_class_name": class_name, "algorithm_type": algorithm, "solver_order": order}
        assert default_sampler({**SD15, **config}) == name
        made = make_sampler(name, SD15)
        assert isinstance(made, Multistep | Singlestep)
        assert (made.algorithm_type, made.solver_order) == (algorithm, order)
        assert reference_class(name) == class_name
    config = {**SD15, "_class_name": class_name}
    assert default_sampler({**config, "algorithm_type": "deis"}) in ("dpmpp-2m", "dpmpp-2s")
    with pytest.raises(UsageError) as raised:
        default_sampler({**config, "algorithm_type": "sde-dpmsolver", "solver_order": 3})
    assert str(raised.value) == (
        "scheduler_config.json: algorithm_type 'sde-dpmsolver' of solver_order 3 has no sampler; "
        f"the nearest is '{default_sampler(config)}'; {class_name}'s are "
        f"{', '.join(SOLVERS[class_name].values())}"
    )


def test_unipc_and_deis_take_their_order_from_the_config() -> None:
    for name in ("unipc", "deis"):
        config: Config = {**SD15, "_class_name": reference_class(name), "solver_order": 3}
        assert default_sampler(config) == name
        assert make_sampler(name, config) != make_sampler(name, SD15)


REFUSED: list[tuple[str, Config, str]] = [
    ("unipc", {"solver_order": 4}, "solver_order is 4; sampler 'unipc' runs with 2, 1, 3"),
    (
        "unipc",
        {"use_flow_sigmas": True},
        "use_flow_sigmas is True, whose networks know noise of another law than sampler 'unipc' "
        "and all others here give them; this bundle can't be run",
    ),
    (
        "deis",
        {"rescale_betas_zero_snr": True},
        "rescale_betas_zero_snr is True; sampler 'deis' runs with False",
    ),
    (
        "dpmpp-2s",
        {"rescale_betas_zero_snr": True},
        "rescale_betas_zero_snr is True; sampler 'dpmpp-2s' runs with False",
    ),
    (
        "dpm-2m",
        {"final_sigmas_type": "zero"},
        "final_sigmas_type is 'zero'; sampler 'dpm-2m' runs with 'sigma_min'",
    ),
    ("dpm-2s", {"thresholding": True}, "thresholding is True; sampler 'dpm-2s' runs with False"),
    (
        "dpmpp-3m",
        {"variance_type": "learned"},
        "variance_type is 'learned'; sampler 'dpmpp-3m' runs with None, 'fixed_small', "
        "'fixed_small_log', 'fixed_large', 'fixed_large_log'",
    ),
]


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED)
def test_an_option_that_does_not_run_is_refused_by_name(
    name: str, changes: Config, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        make_sampler(name, {**SD15, **changes})
    assert str(raised.value) == f"scheduler_config.json: {message}"


def tanh(x: Latents, level: Level) -> Latents:
    return np.tanh(x)


def test_a_run_takes_levels_that_are_no_float32() -> None:
    # As the orders of convergence are measured: float64 latents stay float64.
    levels = [Level(1 / math.hypot(r, 1), r / math.hypot(r, 1), 0.0) for r in (3.0, 1.0, 0.3, 0.1)]
    for name in NAMES:
        x = np.linspace(-1, 1, 8).reshape(1, 8)
        run = make_sampler(name, SD15).sample(tanh, x, levels, Generator(0))
        assert [step.x.dtype for step in run] == [np.float64] * 3, name
