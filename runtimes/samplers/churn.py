"""Churn: noise that is added before a step and taken away in it.

T. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
algorithm 2, lines 4 to 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtimes.denoiser import Latents
from runtimes.samplers.sampler import Noise
from runtimes.schedule import Level

LARGEST = math.sqrt(2) - 1  # more would more than double the noise's variance


@dataclass(frozen=True)
class Churn:
    """How much noise a step begins with.

    Attributes:
        s_churn: how much in all the steps together.
        s_tmin: the smallest sigma at which noise is added.
        s_tmax: the largest.
        s_noise: the deviation of the noise that is added.
    """

    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    def __call__(self, x: Latents, level: Level, steps: int, noise: Noise) -> tuple[Latents, float]:
        """Adds noise to latents.

        Args:
            x: latents at `level`.
            level: where a step begins.
            steps: how many steps there are in all.
            noise: drawn from only where some is added.

        Returns:
            The latents, and the sigma that they then have.
        """
        asked = self.s_tmin <= level.sigma <= self.s_tmax
        gamma = min(self.s_churn / steps, LARGEST) if asked else 0.0
        if gamma <= 0:
            return x, level.sigma
        sigma = level.sigma * (1 + gamma)
        fresh = self.s_noise * math.sqrt(sigma**2 - level.sigma**2)
        return x + fresh * noise.randn(x.shape), sigma
