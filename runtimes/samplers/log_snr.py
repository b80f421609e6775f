"""Levels of the samplers that step in log-SNR, in the scaling alpha² + sigma² = 1.

All of diffusers' DPM-Solver, UniPC and DEIS schedulers choose them alike: n of n + 1 timesteps,
whole; sigmas from these, or these from sigmas of a rule; and sigmas rounded to float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from runtimes.denoiser import Latents
from runtimes.errors import UsageError
from runtimes.samplers.options import Options
from runtimes.samplers.ranges import HalfLogSnr, Offset, Positive, Share, Sigma
from runtimes.samplers.thresholding import Thresholding
from runtimes.schedule import (
    ALPHAS_CUMPROD_MIN,
    FinalSigmasType,
    Float64s,
    Level,
    NoiseSchedule,
    SigmaRule,
    Spacing,
    check_first,
    check_steps,
    final_sigma,
    interpolated_sigmas,
    ruled_sigmas,
    sigmas_to_timesteps,
    spaced_timesteps,
)
from runtimes.schedules.given import check_given_count, check_rule, given_timesteps

ROUNDING = 1e-6

LOG_SNR_OPTIONS: Options = {
    "prediction_type": ("epsilon", "sample", "v_prediction"),
    "thresholding": (False, True),
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
    "use_karras_sigmas": (False, True),
    "use_exponential_sigmas": (False, True),
    "use_beta_sigmas": (False, True),
    "use_flow_sigmas": (False,),
    "use_dynamic_shifting": (False,),
    # Not all of the classes have these two, but all read what an Euler config leaves them.
    "sigma_min": None,
    "sigma_max": None,
}
"""The options that all of these samplers have."""


@dataclass(frozen=True)
class LogSnr:
    """What the samplers in log-SNR have in common.

    Attributes:
        timestep_spacing: which timesteps are visited.
        steps_offset: added to leading timesteps.
        sigma_rule: how sigmas follow from the timesteps, or timesteps from the sigmas.
        sigma_min: the smallest sigma of a rule; None for the schedule's.
        sigma_max: the largest sigma of a rule; None for the schedule's.
        sigmas: in place of a rule's, those of all steps and where the last one ends. The reference
            takes none; here their timesteps are rounded.
        timesteps: in place of the spaced ones, those of all steps, whole.
        final_sigmas_type: where the last step ends. A step to sigma 0 is of first order.
        lambda_min_clipped: half the log-SNR below which no timestep is visited.
        thresholding: whether the denoised estimate is thresholded.
        dynamic_thresholding_ratio: see `Thresholding`.
        sample_max_value: see `Thresholding`.
    """

    timestep_spacing: Spacing = "linspace"
    steps_offset: Offset = 0
    sigma_rule: SigmaRule = "interpolated"
    sigma_min: Sigma | None = None
    sigma_max: Sigma | None = None
    sigmas: tuple[float, ...] | None = None
    timesteps: tuple[float, ...] | None = None
    final_sigmas_type: FinalSigmasType = "zero"
    lambda_min_clipped: HalfLogSnr = -math.inf
    thresholding: bool = False
    dynamic_thresholding_ratio: Share = 0.995
    sample_max_value: Positive = 1.0
    calls_per_step: ClassVar[int] = 1
    # Whether a step may end at sigma 0, where the noise that some integrate says nothing.
    ends_clean: ClassVar[bool] = True

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls, at whole timesteps."""
        check_steps(num_inference_steps, schedule)
        sigmas, timesteps = self._visited(schedule, num_inference_steps)
        final = self._final_sigma(schedule, sigmas)
        if final == 0:
            self.check_clean_end()
        sigmas = sigmas.astype(np.float32)
        if np.any(sigmas[1:] >= sigmas[:-1] * np.float32(1 - 4 * ROUNDING)):
            self._refuse_repeats(num_inference_steps)
        visited = zip(sigmas.tolist(), np.trunc(timesteps).tolist(), strict=True)
        end = level_of_sigma(float(np.float32(final)), 0.0)
        return (*(level_of_sigma(sigma, timestep) for sigma, timestep in visited), end)

    def _refuse_repeats(self, n: int) -> None:
        if self.sigmas is not None:
            raise UsageError(
                "two of the sigmas given lie so near to each other that a step in log-SNR between "
                f"them has no length; give some whose quotient is above {1 + 4 * ROUNDING}"
            )
        raise UsageError(
            f"num_inference_steps is {n}; with {self.timestep_spacing} spacing a timestep would "
            "then repeat, which steps in log-SNR can't; give fewer steps"
        )

    def check_clean_end(self) -> None:
        """Refuses a last step to sigma 0 where the sampler can't take it.

        Raises:
            UsageError: says what runs.
        """
        if not self.ends_clean:
            raise UsageError(
                "the last step would end at sigma 0, where samplers that integrate the noise "
                "(deis, dpm-…) are not finite; end it above, as final_sigmas_type 'sigma_min' "
                "does, or take 'dpmpp-2m'"
            )

    def init_noise_sigma(self, levels: Sequence[Level]) -> float:
        """See `Sampler.init_noise_sigma`: latents have unit variance at every level."""
        return 1.0

    def bounded(self, denoised: Latents) -> Latents:
        """The denoised estimate, thresholded if that is asked for."""
        if not self.thresholding:
            return denoised
        return Thresholding(self.dynamic_thresholding_ratio, self.sample_max_value)(denoised)

    def _visited(self, schedule: NoiseSchedule, n: int) -> tuple[Float64s, Float64s]:
        """The sigmas of n steps and their timesteps, which may be fractions."""
        if self.sigmas is not None:
            check_given_count("sigmas", len(self.sigmas) - 1, n)
            check_rule("sigmas", self.sigma_rule)
            sigmas = np.array(self.sigmas[:-1])
            return sigmas, sigmas_to_timesteps(schedule, sigmas).round()
        if self.sigma_rule == "interpolated":
            timesteps = self._timesteps(schedule, n)
            return interpolated_sigmas(schedule, timesteps), timesteps
        if self.timesteps is not None:
            check_rule("timesteps", self.sigma_rule)
        sigmas = ruled_sigmas(self.sigma_rule, *self._ends(schedule), n)
        return sigmas, self._whole(sigmas_to_timesteps(schedule, sigmas))

    def _ends(self, schedule: NoiseSchedule) -> tuple[float, float]:
        """The largest and the smallest sigma of a rule."""
        own = float(schedule.sigmas[-1]), float(schedule.sigmas[0])
        if self.sigma_rule == "lu":  # which takes no other, in the reference
            return own
        return (
            own[0] if self.sigma_max is None else self.sigma_max,
            own[1] if self.sigma_min is None else self.sigma_min,
        )

    def _timesteps(self, schedule: NoiseSchedule, n: int) -> Float64s:
        if self.timesteps is not None:
            train = schedule.num_train_timesteps
            return given_timesteps(self.timesteps, n, train, whole=True)
        last = self._last_timestep(schedule)
        if self.timestep_spacing == "trailing":
            # `trailing` but for a cut end: the stride stays that of the whole schedule.
            strides = np.arange(last + 1, 0, -schedule.num_train_timesteps / n)
            return strides[:n].round() - 1
        # The reference spreads n + 1 timesteps and drops the last, but for trailing ones.
        offset = self.steps_offset
        spaced = spaced_timesteps(self.timestep_spacing, last + 1, n + 1, offset)[:n].round()
        return check_first(spaced, schedule.num_train_timesteps, offset)

    def _last_timestep(self, schedule: NoiseSchedule) -> int:
        """The noisiest timestep at or above `lambda_min_clipped`."""
        # float32, as the reference has them.
        alphas_cumprod = schedule.alphas_cumprod.astype(np.float32)
        alphas_cumprod = np.where(alphas_cumprod == 0, ALPHAS_CUMPROD_MIN, alphas_cumprod)
        log_snrs = np.log(np.sqrt(alphas_cumprod)) - np.log(np.sqrt(1 - alphas_cumprod))
        clipped = int(np.count_nonzero(log_snrs < np.float32(self.lambda_min_clipped)))
        if clipped >= schedule.num_train_timesteps - 1:
            raise UsageError(
                f"scheduler_config.json: lambda_min_clipped is {self.lambda_min_clipped}; hardly a "
                f"timestep has so little noise, give a number below {log_snrs[1]:.4g}"
            )
        return schedule.num_train_timesteps - 1 - clipped

    def _whole(self, timesteps: Float64s) -> Float64s:
        """The timesteps of a rule's sigmas, before what is left of fractions is cut off."""
        return timesteps.round() if self.sigma_rule == "karras" else timesteps

    def _final_sigma(self, schedule: NoiseSchedule, sigmas: Float64s) -> float:
        if self.sigmas is not None:
            return self.sigmas[-1]
        return final_sigma(schedule, self.final_sigmas_type)


def level_of_sigma(sigma: float, timestep: float) -> Level:
    """A level of noise over signal `sigma`, in the scaling alpha² + sigma² = 1."""
    alpha = 1 / math.hypot(sigma, 1)
    return Level(alpha, sigma * alpha, timestep)


def log_snr(level: Level) -> float:
    """Half the logarithm of the signal-to-noise ratio: lambda in the papers."""
    return math.log(level.alpha) - math.log(level.sigma) if level.sigma > 0 else math.inf


def ahead(level: Level, target: Level) -> float:
    """How far a step goes in log-SNR.

    0 below what rounding a sigma to float32 may make: where a rule's last sigma is also the one
    where the last step ends.
    """
    h = log_snr(target) - log_snr(level)
    return 0.0 if abs(h) < ROUNDING else h


def epsilon_of(x: Latents, denoised: Latents, level: Level) -> Latents:
    """The noise that a denoised estimate implies."""
    return (x - level.alpha * denoised) / level.sigma
