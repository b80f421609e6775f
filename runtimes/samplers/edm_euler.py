"""Euler's method for networks with EDM's preconditioning.

T. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
algorithm 2 without its second order, and table 1. Follows diffusers' EDMEulerScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from runtimes.denoiser import EDM_CLASSES
from runtimes.samplers.churn import Churn
from runtimes.samplers.options import Options
from runtimes.samplers.ranges import Factor, NotNegative, Positive, Sigma
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.schedule import FinalSigmasType, Level, NoiseSchedule, check_steps
from runtimes.schedules.sigma_rules import check_ends, exponential_sigmas, karras_sigmas


@dataclass(frozen=True)
class EDMEuler:
    """Euler with sigmas of its own, not the noise schedule's, and 0.25 log(sigma) as timesteps.

    diffusers' `set_timesteps(sigmas=…)` reads what it is given as positions of a ramp, not as
    sigmas; that is not followed.

    Attributes:
        sigma_min: the smallest sigma.
        sigma_max: the largest.
        sigma_data: the standard deviation of clean latents that the network was trained for.
        sigma_schedule: how sigmas are spread. One exponential sigma is the largest; the reference,
            which then begins at the smallest, isn't followed in that.
        rho: the exponent of Karras sigmas.
        final_sigmas_type: where the last step ends; "sigma_min" repeats the last sigma.
        s_churn: how much noise all steps together add; `Churn` has these four.
        s_tmin: the smallest sigma at which noise is added.
        s_tmax: the largest.
        s_noise: the deviation of the noise that is added.
    """

    sigma_min: Sigma = 0.002
    sigma_max: Sigma = 80.0
    sigma_data: Positive = 0.5
    sigma_schedule: Literal["karras", "exponential"] = "karras"
    rho: Positive = 7.0
    final_sigmas_type: FinalSigmasType = "zero"
    s_churn: NotNegative = 0.0
    s_tmin: NotNegative = 0.0
    s_tmax: NotNegative = math.inf
    s_noise: Factor = 1.0
    calls_per_step: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "EDMEulerScheduler"
    OPTIONS: ClassVar[Options] = {
        "sigma_min": 0.002,
        "sigma_max": 80.0,
        "sigma_data": 0.5,
        "sigma_schedule": ("karras", "exponential"),
        "prediction_type": ("epsilon", "v_prediction"),
        "rho": 7.0,
        "final_sigmas_type": ("zero", "sigma_min"),
        # Another class's network isn't preconditioned so; diffusers would draw garbage with it.
        "_class_name": EDM_CLASSES,
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls, at fractional timesteps."""
        check_steps(num_inference_steps, schedule)
        check_ends(self.sigma_schedule, self.sigma_max, self.sigma_min, num_inference_steps)
        if self.sigma_schedule == "karras":
            sigmas = karras_sigmas(self.sigma_max, self.sigma_min, num_inference_steps, self.rho)
        else:
            sigmas = exponential_sigmas(self.sigma_max, self.sigma_min, num_inference_steps)
        sigmas = sigmas.astype(np.float32)
        timesteps = (np.float32(0.25) * np.log(sigmas)).tolist()
        final = float(sigmas[-1]) if self.final_sigmas_type == "sigma_min" else 0.0
        return (
            *(self._level(*pair) for pair in zip(sigmas.tolist(), timesteps, strict=True)),
            self._level(final, 0.0),
        )

    def _level(self, sigma: float, timestep: float) -> Level:
        return Level(1.0, sigma, timestep, sigma_data=self.sigma_data)

    def init_noise_sigma(self, levels: Sequence[Level]) -> float:
        """See `Sampler.init_noise_sigma`: sqrt(sigma_max² + 1), as the reference has it."""
        return math.hypot(self.sigma_max, 1.0)

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; draws noise where churn asks for some.

        As in the reference, noise is added after the network was called, and the network's output
        stands for the noisier latents.
        """
        total = len(levels) - 1
        churn = Churn(self.s_churn, self.s_tmin, self.s_tmax, self.s_noise)
        for index in range(begin, total):
            level, target = levels[index], levels[index + 1]
            denoised = denoiser(x, level)
            noisier, sigma = churn(x, level, total, noise)
            if sigma != level.sigma:
                denoised = self._moved(denoised, x, level.sigma, noisier, sigma)
            slope = (noisier - denoised) / sigma
            x = noisier + slope * (target.sigma - sigma)
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
        return x

    def _moved(
        self, denoised: Latents, x: Latents, sigma: float, noisier: Latents, raised: float
    ) -> Latents:
        """What the output that gave `denoised` at `x` and `sigma` gives at `noisier`, `raised`."""
        skip, out = self._shares(sigma)
        raised_skip, raised_out = self._shares(raised)
        return raised_skip * noisier + (raised_out / out) * (denoised - skip * x)

    def _shares(self, sigma: float) -> tuple[float, float]:
        """c_skip and c_out of table 1."""
        deviation = math.hypot(sigma, self.sigma_data)
        return (self.sigma_data / deviation) ** 2, sigma * self.sigma_data / deviation
