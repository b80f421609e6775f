"""Networks that drive both sides of a comparison of trajectories: one function of arrays.

Each knows the clean latents or the noise, and gives what a network of a prediction type would give
at a timestep of the schedule it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtimes.denoiser import Latents
from runtimes.noise import Generator
from runtimes.parts import Parts
from runtimes.schedule import NoiseSchedule

Floats = NDArray[np.float32]
Network = Callable[[Latents, float], Latents]
"""(model_input, timestep) → output, of model_input's dtype."""
Epsilon = Callable[[Latents, float], Latents]
"""(model_input, timestep) → the noise in it, likewise."""

CAPTION = "a large red circle on a white background"


@dataclass(frozen=True)
class Training:
    """The schedule that a network was trained on, at any timestep between the whole ones.

    Attributes:
        alphas_cumprod: float64, one a timestep.
    """

    alphas_cumprod: NDArray[np.float64]

    @classmethod
    def of(cls, schedule: NoiseSchedule) -> Training:
        """Of a noise schedule."""
        return cls(np.asarray(schedule.alphas_cumprod, np.float64))

    def coefficients(self, timestep: float) -> tuple[float, float]:
        """The factors of x = alpha * x0 + sigma * noise, alpha² + sigma² = 1."""
        places = np.arange(len(self.alphas_cumprod))
        kept = float(np.interp(timestep, places, self.alphas_cumprod))
        return kept**0.5, (1 - kept) ** 0.5


def as_network(epsilon: Epsilon, training: Training, prediction_type: str) -> Network:
    """What a network of a prediction type gives, from the noise it sees.

    Args:
        epsilon: the noise in the latents.
        training: the schedule of the timesteps.
        prediction_type: "epsilon", "v_prediction" or "sample".
    """

    def network(x: Latents, timestep: float) -> Latents:
        noise = epsilon(x, timestep).astype(np.float64)
        alpha, sigma = training.coefficients(timestep)
        clean = (x - sigma * noise) / alpha
        outputs = {
            "epsilon": noise,
            "v_prediction": alpha * noise - sigma * clean,
            "sample": clean,
        }
        return outputs[prediction_type].astype(x.dtype)

    return network


def analytic_epsilon(training: Training, mean: float = 0.7, deviation: float = 0.5) -> Epsilon:
    """The exact noise estimate where each latent is drawn from two normal laws, at ±`mean`.

    With x = alpha * x0 + sigma * noise and variance v = alpha² deviation² + sigma², the posterior
    mean of a law at m is m + (alpha deviation² / v)(x - alpha m), and the share of the upper law is
    the logistic function of 2 alpha mean x / v.
    """

    def epsilon(x: Latents, timestep: float) -> Latents:
        alpha, sigma = training.coefficients(timestep)
        wide = x.astype(np.float64)
        variance = (alpha * deviation) ** 2 + sigma**2
        # The mean of the laws' means under their shares: mean * (2 share - 1).
        middle = mean * np.tanh(alpha * mean * wide / variance)
        clean = middle + alpha * deviation**2 / variance * (wide - alpha * middle)
        return ((wide - alpha * clean) / sigma).astype(x.dtype)

    return epsilon


def unet_epsilon(parts: Parts) -> Epsilon:
    """The shapes model's U-Net with the embedding of one caption, without guidance.

    Args:
        parts: of the shapes model, which predicts noise.
    """
    tokens = parts.tokenizers["text_encoder"]([CAPTION])
    with parts.use("text_encoder") as text_encoder:
        context = text_encoder(input_ids=tokens.input_ids)

    def epsilon(x: Latents, timestep: float) -> Latents:
        with parts.use("unet") as unet:
            noise = unet(
                sample=x.astype(np.float32),
                timestep=np.array([timestep], np.float32),
                encoder_hidden_states=np.repeat(context, len(x), axis=0),
            )
        return noise.astype(x.dtype)

    return epsilon


def unit_noise(shape: tuple[int, int, int, int], seed: int) -> Floats:
    """Where both sides begin."""
    return Generator(seed).randn(shape)
