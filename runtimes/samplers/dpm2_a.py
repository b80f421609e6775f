"""DPM2 with ancestral noise: K. Crowson, k-diffusion, 2022.

Follows diffusers' KDPM2AncestralDiscreteScheduler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from runtimes.samplers.ancestral import ancestral
from runtimes.samplers.dpm2 import DPM2
from runtimes.samplers.k_levels import log_midpoints
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Latents, Noise
from runtimes.schedule import Float32s, Level


@dataclass(frozen=True)
class DPM2Ancestral(DPM2):
    """DPM2 ancestral, stochastic, two calls a step but for a last one to sigma 0.

    Each step is DPM2's to the lower sigma of an ancestral one, and noise is drawn at its end; one
    to sigma 0 is Euler's and draws none. Attributes: those of `KSampler`.
    """

    REFERENCE: ClassVar[str] = "KDPM2AncestralDiscreteScheduler"
    OPTIONS: ClassVar[Options] = {**DPM2.OPTIONS}

    def _middles(self, sigmas: Float32s) -> Float32s:
        """Between each step's start and its lower sigma, in the float32 steps of the reference."""
        start, end = sigmas[:-1], sigmas[1:]
        up = np.sqrt(end**2 * (start**2 - end**2) / start**2)
        lower = np.sqrt(np.maximum(end**2 - up**2, 0))
        # A step of a factor of 4000 leaves nothing of that difference, and the reference no number.
        return log_midpoints(start, np.where(lower > 0, lower, end**2 / start))

    def _whole_step(
        self, x: Latents, slope: Latents, level: Level, target: Level, noise: Noise
    ) -> Latents:
        down, up = ancestral(level.sigma, target.sigma)
        return x + slope * (down - level.sigma) + up * noise.randn(x.shape)
