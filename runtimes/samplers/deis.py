"""DEIS: Q. Zhang and Y. Chen, "Fast Sampling of Diffusion Models with Exponential Integrator".

2023, the log-rho form: the noise as a polynomial in log(rho), rho the noise over signal, which is
integrated over rho exactly. Follows diffusers' DEISMultistepScheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from runtimes.denoiser import Latents
from runtimes.samplers.dpm_solver import AlgorithmType
from runtimes.samplers.log_snr import LOG_SNR_OPTIONS
from runtimes.samplers.multistep import Multistep
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Noise
from runtimes.schedule import FinalSigmasType, Float64s, Level, NoiseSchedule


@dataclass(frozen=True)
class DEIS(Multistep):
    """DEIS, deterministic. It ends at the schedule's smallest sigma.

    Attributes:
        solver_order: 1 to 3.
    """

    solver_type: Literal["heun"] = "heun"
    final_sigmas_type: FinalSigmasType = "sigma_min"
    solver_order: int = 2  # pyright: ignore[reportIncompatibleVariableOverride]
    algorithm_type: ClassVar[AlgorithmType] = "dpmsolver"
    ends_clean: ClassVar[bool] = False
    REFERENCE: ClassVar[str] = "DEISMultistepScheduler"
    OPTIONS: ClassVar[Options] = {
        **LOG_SNR_OPTIONS,
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        "solver_order": (2, 1, 3),
        "lower_order_final": (True, False),
        # Not among the class's fields: it would drop what `NoiseSchedule` takes up.
        "rescale_betas_zero_snr": (False,),
    }

    def _step(
        self,
        x: Latents,
        estimates: Sequence[Latents],
        levels: Sequence[Level],
        index: int,
        noise: Noise,
    ) -> Latents:
        if len(estimates) == 1:
            return super()._step(x, estimates, levels, index, noise)
        level, target = levels[index], levels[index + 1]
        rhos = [_rho(level, x.dtype) for level in levels[index + 1 - len(estimates) : index + 1]]
        weights = _weights(rhos[::-1], _rho(target, x.dtype))
        total = x / level.alpha
        for weight, eps in zip(weights, estimates, strict=True):
            total = total + weight * eps
        return target.alpha * total

    def _final_sigma(self, schedule: NoiseSchedule, sigmas: Float64s) -> float:
        if self.sigmas is None and self.sigma_rule != "interpolated":
            return float(sigmas[-1])
        return super()._final_sigma(schedule, sigmas)


def _rho(level: Level, dtype: np.dtype[Any]) -> np.floating[Any]:
    """Noise over signal, rounded as the reference's: the quotient of two that are rounded."""
    sigma = dtype.type(level.sigma / level.alpha)
    alpha = 1 / np.sqrt(sigma**2 + 1)
    return sigma * alpha / alpha


def _weights(rhos: Sequence[np.floating[Any]], end: np.floating[Any]) -> list[float]:
    """How much each estimate counts from `rhos[0]` to `end`: equation 15.

    In the latents' dtype, as the reference's are: these are differences of nearly equal numbers,
    over squares of small ones. In float32 they lose half of their digits at 50 steps, and with
    them any other arithmetic would lose the reference.

    Args:
        rhos: where the estimates stand, newest first.
        end: where the step ends.
    """
    integral = _line if len(rhos) == 2 else _parabola
    turned = [[*rhos[k:], *rhos[:k]] for k in range(len(rhos))]
    return [float(integral(end, *turn) - integral(rhos[0], *turn)) for turn in turned]


def _line(t: Any, b: Any, c: Any) -> Any:
    """The antiderivative of the line in log(t) that is 1 at b and 0 at c."""
    log_b, log_c, log_t = np.log(b), np.log(c), np.log(t)
    return t * (-log_c + log_t - 1) / (log_b - log_c)


def _parabola(t: Any, b: Any, c: Any, d: Any) -> Any:
    """The antiderivative of the parabola in log(t) that is 1 at b and 0 at c and d."""
    log_b, log_c, log_d, log_t = np.log(b), np.log(c), np.log(d), np.log(t)
    value = log_c * (log_d - log_t + 1) - log_d * log_t + log_d + log_t**2 - 2 * log_t + 2
    return t * value / ((log_b - log_c) * (log_b - log_d))
