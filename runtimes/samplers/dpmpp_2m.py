"""DPM-Solver++(2M): C. Lu et al., "DPM-Solver++", 2022, algorithm 2, midpoint form.

Follows diffusers' DPMSolverMultistepScheduler with algorithm_type "dpmsolver++", solver_order 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from runtimes.errors import UsageError
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.samplers.thresholding import Thresholding
from runtimes.schedule import (
    ALPHAS_CUMPROD_MIN,
    SIGMA_RULES,
    FinalSigmasType,
    Float64s,
    Level,
    NoiseSchedule,
    SigmaRule,
    Spacing,
    check_steps,
    final_sigma,
    interpolated_sigmas,
    sigmas_to_timesteps,
    spaced_timesteps,
)
from runtimes.schedules.given import check_given_count, given_timesteps

FEW_STEPS = 15  # below this many the reference ends on a first-order step


@dataclass(frozen=True)
class DpmPP2M:
    """DPM-Solver++(2M), deterministic.

    Attributes:
        timestep_spacing: which timesteps are visited.
        steps_offset: added to leading timesteps.
        sigma_rule: how sigmas follow from the timesteps, or timesteps from the sigmas. The
            reference has no polyexponential ones; here their timesteps are as those of the
            exponential rule.
        sigma_min: the smallest sigma of a rule other than lu; None for the schedule's.
        sigma_max: the largest sigma of a rule other than lu; None for the schedule's.
        final_sigmas_type: where the last step ends. A step to sigma 0 is of first order.
        lower_order_final: whether the last of fewer than 15 steps is of first order.
        euler_at_final: whether the last step is of first order at any number of steps.
        lambda_min_clipped: half the smallest log-SNR that spaced timesteps may have; the largest
            timesteps are left out for it.
        round_timesteps: whether Karras and lu timesteps are rounded, or cut to whole numbers.
        thresholding: whether the denoised estimate is thresholded. Not right for latents.
        dynamic_thresholding_ratio: see `Thresholding`.
        sample_max_value: see `Thresholding`.
        sigmas: in place of all these, those of all steps and where the last one ends. The reference
            takes none; here their timesteps are rounded.
        timesteps: in place of the spaced ones, those of all steps, whole.
    """

    timestep_spacing: Spacing = "linspace"
    steps_offset: int = 0
    sigma_rule: SigmaRule = "interpolated"
    sigma_min: float | None = None
    sigma_max: float | None = None
    final_sigmas_type: FinalSigmasType = "zero"
    lower_order_final: bool = True
    euler_at_final: bool = False
    lambda_min_clipped: float = -math.inf
    round_timesteps: bool = True
    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0
    sigmas: tuple[float, ...] | None = None
    timesteps: tuple[float, ...] | None = None
    calls_per_step: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "DPMSolverMultistepScheduler"
    OPTIONS: ClassVar[Options] = {
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "thresholding": (False, True),
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
        # The class takes the last three, other classes' own, as "midpoint".
        "solver_type": ("midpoint", "bh1", "bh2", "logrho"),
        "lower_order_final": (True, False),
        "euler_at_final": (False, True),
        "use_karras_sigmas": (False, True),
        "use_exponential_sigmas": (False, True),
        "use_beta_sigmas": (False, True),
        "use_lu_lambdas": (False, True),
        "use_flow_sigmas": (False,),
        "use_dynamic_shifting": (False,),
        # Not among the class's fields, but it reads what an Euler config leaves it.
        "sigma_min": None,
        "sigma_max": None,
        "final_sigmas_type": ("zero", "sigma_min"),
        "lambda_min_clipped": -math.inf,
        # A DDPM config's fixed variances don't matter here; a learned one changes the network.
        "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
        "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls, at whole timesteps."""
        check_steps(num_inference_steps, schedule)
        sigmas, timesteps = self._visited(schedule, num_inference_steps)
        sigmas = sigmas.astype(np.float32)
        if np.any(sigmas[1:-1] == sigmas[:-2]):
            raise UsageError(
                f"num_inference_steps is {num_inference_steps}; with {self.timestep_spacing} "
                "spacing a timestep would then repeat, which steps in log-SNR can't; give fewer "
                "steps"
            )
        visited = zip(sigmas.tolist(), [*np.trunc(timesteps).tolist(), 0.0], strict=True)
        return tuple(_level(sigma, timestep) for sigma, timestep in visited)

    def _visited(self, schedule: NoiseSchedule, n: int) -> tuple[Float64s, Float64s]:
        """The sigmas of n steps and of the end, and n timesteps that may be fractions."""
        if self.sigmas is not None:
            check_given_count("sigmas", len(self.sigmas) - 1, n)
            sigmas = np.array(self.sigmas)
            return sigmas, sigmas_to_timesteps(schedule, sigmas[:-1]).round()
        if self.sigma_rule == "interpolated":
            timesteps = self._spaced(schedule, n)
            sigmas = interpolated_sigmas(schedule, timesteps)
        else:
            sigmas, timesteps = self._ruled(schedule, n, self.sigma_rule)
        return np.append(sigmas, final_sigma(schedule, self.final_sigmas_type)), timesteps

    def _spaced(self, schedule: NoiseSchedule, n: int) -> Float64s:
        last = schedule.num_train_timesteps
        if self.timesteps is not None:
            return given_timesteps(self.timesteps, n, last, whole=True)
        spacing, offset = self.timestep_spacing, self.steps_offset
        clipped = last - _count_below(schedule, self.lambda_min_clipped)
        if spacing == "trailing" and clipped < last:
            # The stride stays that of the whole schedule, so there may be fewer steps.
            return np.arange(clipped, 0, -last / n).round()[:n] - 1
        # The reference spreads n + 1 timesteps and drops the last, but for trailing ones.
        spread = n if spacing == "trailing" else n + 1
        return spaced_timesteps(spacing, clipped, spread, offset)[:n].round()

    def _ruled(self, schedule: NoiseSchedule, n: int, rule: SigmaRule) -> tuple[Float64s, Float64s]:
        largest, smallest = schedule.sigmas[[-1, 0]].tolist()
        if rule != "lu":
            largest = self.sigma_max if self.sigma_max is not None else largest
            smallest = self.sigma_min if self.sigma_min is not None else smallest
        sigmas = SIGMA_RULES[rule](largest, smallest, n)
        timesteps = sigmas_to_timesteps(schedule, sigmas)
        rounds = self.round_timesteps and rule in ("karras", "lu")
        return sigmas, timesteps.round() if rounds else timesteps

    def init_noise_sigma(self, levels: Sequence[Level]) -> float:
        """See `Sampler.init_noise_sigma`: latents have unit variance at every level."""
        return 1.0

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; draws no noise."""
        total = len(levels) - 1
        earlier: Latents | None = None
        for index in range(begin, total):
            level, target = levels[index], levels[index + 1]
            denoised = self._thresholded(denoiser(x, level))
            slope = None
            if earlier is not None and not (index == total - 1 and self._first_order_end(levels)):
                slope = _slope(denoised, earlier, levels[index - 1], level, target)
            x = _step(x, denoised, slope, level, target)
            earlier = denoised
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
        return x

    def _thresholded(self, denoised: Latents) -> Latents:
        if not self.thresholding:
            return denoised
        return Thresholding(self.dynamic_thresholding_ratio, self.sample_max_value)(denoised)

    def _first_order_end(self, levels: Sequence[Level]) -> bool:
        few = self.lower_order_final and len(levels) - 1 < FEW_STEPS
        return self.euler_at_final or few or levels[-1].sigma == 0


def _count_below(schedule: NoiseSchedule, log_snr: float) -> int:
    """How many training timesteps have half a log-SNR below `log_snr`; float32, as in diffusers."""
    alphas_cumprod = np.maximum(schedule.alphas_cumprod.astype(np.float32), ALPHAS_CUMPROD_MIN)
    log_snrs = np.log(np.sqrt(alphas_cumprod)) - np.log(np.sqrt(1 - alphas_cumprod))
    return int(np.searchsorted(log_snrs[::-1], np.float32(log_snr)))


def _level(sigma: float, timestep: float) -> Level:
    """A level of noise over signal `sigma`, in the scaling alpha² + sigma² = 1."""
    alpha = 1 / math.hypot(sigma, 1)
    return Level(alpha, sigma * alpha, timestep)


def _log_snr(level: Level) -> float:
    """Half the logarithm of the signal-to-noise ratio: lambda in the paper."""
    return math.log(level.alpha) - math.log(level.sigma) if level.sigma > 0 else math.inf


def _slope(
    denoised: Latents, earlier: Latents, before: Level, level: Level, target: Level
) -> Latents:
    """Half the change of the denoised estimate over the step ahead, from that over the last."""
    ahead = _log_snr(target) - _log_snr(level)
    behind = _log_snr(level) - _log_snr(before)
    return (denoised - earlier) * (0.5 * ahead / behind)


def _step(
    x: Latents, denoised: Latents, slope: Latents | None, level: Level, target: Level
) -> Latents:
    """Equations 9 (no slope) and 12: the linear part exactly, the estimate by a polynomial."""
    shrink = -math.expm1(_log_snr(level) - _log_snr(target))
    estimate = denoised if slope is None else denoised + slope
    return (target.sigma / level.sigma) * x + (target.alpha * shrink) * estimate
