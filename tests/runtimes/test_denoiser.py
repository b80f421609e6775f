"""From a network's output to the clean latents it implies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from runtimes.denoiser import Denoiser, Latents, network_output
from runtimes.errors import UsageError
from runtimes.samplers.euler import Euler
from runtimes.samplers.options import resolve
from runtimes.schedule import Level, NoiseSchedule

SHAPE = (2, 4, 6, 5)
SCHEDULE = NoiseSchedule.from_config(
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
)
LEVELS = {
    "clean": SCHEDULE.level(1),
    "middle": SCHEDULE.level(500),
    "noisy": SCHEDULE.level(999),
    "k-diffusion clean": Level(1.0, 0.03, 0.5),
    "k-diffusion noisy": Level(1.0, 14.6146, 999.0),
}


def truth() -> tuple[Latents, Latents]:
    rng = np.random.default_rng(0)
    x0, eps = rng.standard_normal((2, *SHAPE), dtype=np.float32)
    return x0, eps


def target(prediction_type: str, x0: Latents, eps: Latents, level: Level) -> Latents:
    """What a perfect network gives, in the scaling it knows."""
    scale = math.hypot(level.alpha, level.sigma)
    v = (level.alpha * eps - level.sigma * x0) / scale
    return {"epsilon": eps, "sample": x0, "v_prediction": v}[prediction_type]


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_a_perfect_network_gives_the_clean_latents(prediction_type: str, level: Level) -> None:
    x0, eps = truth()
    x = level.alpha * x0 + level.sigma * eps
    scale = math.hypot(level.alpha, level.sigma)
    calls: list[float] = []

    def predict(model_input: Latents, timestep: float) -> Latents:
        assert model_input.dtype == np.float32
        np.testing.assert_allclose(model_input, x / scale, rtol=3e-7)
        calls.append(timestep)
        return target(prediction_type, x0, eps, level)

    denoised = Denoiser(predict, prediction_type)(x, level)
    assert calls == [level.timestep]
    assert denoised.dtype == np.float32
    # x is rounded to float32 at its own scale, and what is left of it divided by alpha.
    tolerance = 4 * 2**-23 * float(np.abs(x).max()) / level.alpha
    np.testing.assert_allclose(denoised, x0, rtol=0, atol=tolerance)


def test_variance_preserving_latents_are_not_copied() -> None:
    x, _ = truth()

    def predict(model_input: Latents, timestep: float) -> Latents:
        assert model_input is x
        return x

    Denoiser(predict, "sample")(x, SCHEDULE.level(500))


def test_v_says_something_where_there_is_no_signal() -> None:
    x0, eps = truth()
    level = Level(0.0, 1.0, 999.0)
    denoised = Denoiser(lambda x, t: -x0, "v_prediction")(eps, level)
    np.testing.assert_array_equal(denoised, x0)


def test_eps_where_there_is_no_signal_is_refused_before_the_network_runs() -> None:
    def predict(x: Latents, timestep: float) -> Latents:
        raise AssertionError("called")

    with pytest.raises(UsageError, match=r"'epsilon' and the first level has no signal .*euler"):
        Denoiser(predict)(truth()[1], Level(0.0, 1.0, 999.0))


@pytest.mark.parametrize(("prediction_type", "sign"), [("edm", 1), ("v_prediction", -1)])
def test_edms_preconditioning_is_table_1s(prediction_type: str, sign: int) -> None:
    data, sigma = 0.5, 2.5
    unit, eps = truth()
    x0 = np.float32(data) * unit
    x = x0 + np.float32(sigma) * eps
    variance = sigma**2 + data**2

    def predict(model_input: Latents, timestep: float) -> Latents:
        np.testing.assert_allclose(model_input, x / math.sqrt(variance), rtol=3e-7)
        skip, out = data**2 / variance, sign * sigma * data / math.sqrt(variance)
        return (x0 - np.float32(skip) * x) / np.float32(out)

    level = Level(1.0, sigma, 0.25 * math.log(sigma), sigma_data=data)
    denoised = Denoiser(predict, prediction_type)(x, level)
    np.testing.assert_allclose(denoised, x0, rtol=0, atol=2e-6)


def test_edms_classes_have_an_epsilon_of_their_own() -> None:
    edm = {"_class_name": "EDMEulerScheduler"}
    assert network_output(edm, "epsilon") == "edm"
    assert network_output(edm, "v_prediction") == "v_prediction"
    assert network_output({"_class_name": "EulerDiscreteScheduler"}, "epsilon") == "epsilon"


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_a_k_unet_is_told_the_noise_level_in_any_scaling(level: Level) -> None:
    """c_skip, c_in, c_out and c_noise of table 1, for data of unit deviation."""
    x0, eps = truth()
    x = level.alpha * x0 + level.sigma * eps
    sigma = level.sigma / level.alpha
    variance, calls = sigma**2 + 1, list[float]()

    def predict(model_input: Latents, timestep: float) -> Latents:
        calls.append(timestep)
        np.testing.assert_allclose(model_input, (x / level.alpha) / math.sqrt(variance), rtol=4e-7)
        return (x0 - (x / level.alpha) / variance) / (sigma / math.sqrt(variance))

    denoised = Denoiser(predict, "k_unet")(x, level)
    assert calls == pytest.approx([0.25 * math.log(sigma)], rel=1e-5)
    tolerance = 8 * 2**-23 * float(np.abs(x).max()) / level.alpha
    np.testing.assert_allclose(denoised, x0, rtol=0, atol=tolerance)


def test_schedulers_have_two_names_for_samples() -> None:
    euler = {"_class_name": "EulerDiscreteScheduler"}
    assert network_output(euler, "original_sample") == "sample"
    found = resolve("euler", Euler.OPTIONS, {"prediction_type": "original_sample"})
    assert found["prediction_type"] == "sample"


def test_an_unknown_prediction_type_is_refused() -> None:
    with pytest.raises(UsageError) as raised:
        Denoiser(lambda x, t: x, "v-prediction")
    assert str(raised.value) == (
        "unknown prediction_type 'v-prediction'; known are edm, epsilon, k_unet, sample, "
        "v_prediction. Did you mean 'v_prediction'?"
    )
