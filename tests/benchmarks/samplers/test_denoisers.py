"""Networks that drive comparisons of trajectories: they are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.samplers.denoisers import Training, analytic_epsilon, as_network, unit_noise
from benchmarks.samplers.parity import BASE
from runtimes.denoiser import PREDICTION_TYPES
from runtimes.schedule import Level, NoiseSchedule

TRAINING = Training.of(NoiseSchedule.from_config(BASE))
X = unit_noise((1, 4, 8, 8), 0)


@pytest.mark.parametrize("timestep", [0.0, 20.25, 400.0, 999.0])
def test_coefficients_are_the_schedules(timestep: float) -> None:
    alpha, sigma = TRAINING.coefficients(timestep)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = np.interp(timestep, np.arange(1000), np.cumprod(1 - betas))
    assert alpha**2 == pytest.approx(kept, rel=1e-6)
    assert alpha**2 + sigma**2 == pytest.approx(1)


@pytest.mark.parametrize("timestep", [5.0, 300.5, 900.0])
def test_the_analytic_network_is_the_posterior_mean(timestep: float) -> None:
    alpha, sigma = TRAINING.coefficients(timestep)
    found = analytic_epsilon(TRAINING, mean=0.7, deviation=0.5)(X, timestep)
    # By quadrature over x0: weights are its law times that of the noise that leads to x.
    clean = np.linspace(-6, 6, 4001)
    law = np.exp(-(((clean - 0.7) / 0.5) ** 2) / 2) + np.exp(-(((clean + 0.7) / 0.5) ** 2) / 2)
    for x, noise in zip(X.ravel()[:20].astype(np.float64), found.ravel()[:20], strict=True):
        away = (x - alpha * clean) / sigma
        weights = law * np.exp(-(away**2) / 2)
        assert noise == pytest.approx((weights @ away) / weights.sum(), abs=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_type_means_the_same(kind: str) -> None:
    epsilon = analytic_epsilon(TRAINING)
    alpha, sigma = TRAINING.coefficients(300)
    level = Level(alpha, sigma, 300)
    output = as_network(epsilon, TRAINING, kind)(X, 300)
    assert output.dtype == np.float32
    clean = (X - sigma * epsilon(X, 300)) / alpha
    np.testing.assert_allclose(PREDICTION_TYPES[kind](X, output, level), clean, atol=1e-5)
