"""Noise schedules: how noisy each training timestep is, and the levels that samplers visit.

Four axes, each its own functions: how much noise a training timestep carries (`BETA_SCHEDULES`),
which timesteps are visited (`SPACINGS`), which sigmas stand for them (`interpolated_sigmas`,
`SIGMA_RULES`), and where the last step ends (`final_sigma`).

The reference is diffusers. It builds its schedules in float32, and what a network sees hangs on
that: a timestep is rounded after a float32 logarithm. So whatever a timestep comes from follows
the reference's dtypes operation by operation; coefficients are float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError
from runtimes.schedules.betas import BETA_SCHEDULES, BetaConfig, betas, cumprod, torch_linspace
from runtimes.schedules.sigma_rules import RHO, SIGMA_RULES, SigmaRule, karras_sigmas, ruled_sigmas
from runtimes.schedules.spacings import (
    SPACINGS,
    Spacing,
    check_first,
    leading,
    linspace,
    spaced_timesteps,
    trailing,
)

__all__ = [
    "ALPHAS_CUMPROD_MIN",
    "BETA_SCHEDULES",
    "RHO",
    "SIGMA_RULES",
    "SPACINGS",
    "FinalSigmasType",
    "Float32s",
    "Float64s",
    "Level",
    "NoiseSchedule",
    "SigmaRule",
    "Spacing",
    "betas",
    "check_first",
    "check_steps",
    "final_sigma",
    "interpolated_sigmas",
    "karras_sigmas",
    "leading",
    "linspace",
    "log_linear_sigmas",
    "ruled_sigmas",
    "sigmas_to_timesteps",
    "spaced_timesteps",
    "trailing",
    "variance_preserving",
]

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
FinalSigmasType = Literal["zero", "sigma_min"]

# What diffusers puts for alphas_cumprod = 0 where it divides by it: float16's smallest number.
ALPHAS_CUMPROD_MIN = np.float32(2**-24)
# Of signal, before the last timestep: sigma 10^6, above which float32 latents are noise alone.
SIGNAL_MIN = 1e-12


@dataclass(frozen=True)
class Level:
    """How noisy latents are: x = alpha * x0 + sigma * noise, and what the network is told.

    Attributes:
        alpha: factor of the clean latents. 1 in the scaling of k-diffusion's samplers, else
            alpha² + sigma² = 1.
        sigma: factor of the unit noise.
        timestep: what the network gets as `timestep`; exactly the reference's value. 0 at a level
            where no network is called.
        sigma_data: the standard deviation of clean latents that the network's input and output
            are scaled for (Karras et al., 2022, table 1); 1 but for EDM's networks.
    """

    alpha: float
    sigma: float
    timestep: float
    sigma_data: float = field(default=1.0, kw_only=True)


@dataclass(frozen=True)
class NoiseSchedule:
    """How much signal is left at each training timestep.

    Attributes:
        alphas_cumprod: float64 of shape [num_train_timesteps], falling from near 1; float32 values,
            the reference's own. 0 at the end when rescaled to zero terminal SNR.
    """

    alphas_cumprod: Float64s

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> Self:
        """Builds the schedule of a diffusers scheduler_config.json.

        Args:
            config: the file's content. Fields that don't bear on the schedule are ignored, fields
                that are absent have diffusers' defaults.

        Raises:
            UsageError: a field has the wrong type or range, or an unknown beta schedule, or the
                betas leave no noise at the first timestep or no signal before the last.
        """
        try:
            fields = msgspec.convert(dict(config), BetaConfig)
        except msgspec.ValidationError as error:
            raise UsageError(f"scheduler_config.json: {error}") from error
        alphas_cumprod = cumprod(1 - betas(fields)).astype(np.float64)
        _check_signal(alphas_cumprod)
        return cls(alphas_cumprod)

    @property
    def num_train_timesteps(self) -> int:
        """How many timesteps the network was trained on."""
        return len(self.alphas_cumprod)

    @property
    def sigmas(self) -> Float32s:
        """Noise over signal, sqrt((1 - ac) / ac), at each training timestep: float32, rising.

        Torch's square root isn't IEEE's: with MKL it is off by one unit in the last place for 6 of
        Stable Diffusion's 1000 on an Intel Xeon, for 190 on an AMD EPYC. There the reference's
        fractional Karras timesteps are off by up to 6e-5 and 4e-4 of a timestep. Whole timesteps
        are not touched by that.
        """
        alphas_cumprod = self.alphas_cumprod.astype(np.float32)
        alphas_cumprod = np.where(alphas_cumprod == 0, ALPHAS_CUMPROD_MIN, alphas_cumprod)
        return np.sqrt((1 - alphas_cumprod) / alphas_cumprod)

    def level(self, timestep: int) -> Level:
        """The level of a training timestep, in the scaling alpha² + sigma² = 1."""
        return variance_preserving(float(self.alphas_cumprod[timestep]), timestep)


def _check_signal(alphas_cumprod: Float64s) -> None:
    """Refuses a schedule with levels that float32 doesn't tell from pure signal or pure noise."""
    first, least = float(alphas_cumprod[0]), float(alphas_cumprod[:-1].min())
    if first == 1 or least < SIGNAL_MIN:
        what = "no noise at timestep 0" if first == 1 else "no signal long before the last timestep"
        raise UsageError(f"scheduler_config.json: its betas leave {what}; correct them")


def variance_preserving(alphas_cumprod: float, timestep: float) -> Level:
    """The level at which the share `alphas_cumprod` of the variance is signal."""
    return Level(math.sqrt(alphas_cumprod), math.sqrt(1 - alphas_cumprod), float(timestep))


def check_steps(num_inference_steps: int, schedule: NoiseSchedule) -> None:
    """Refuses a number of steps that the schedule can't take.

    Raises:
        UsageError: it is below 1 or above the number of training timesteps.
    """
    if not 1 <= num_inference_steps <= schedule.num_train_timesteps:
        raise UsageError(
            f"num_inference_steps is {num_inference_steps}; "
            f"give a number from 1 to {schedule.num_train_timesteps}"
        )


def interpolated_sigmas(schedule: NoiseSchedule, timesteps: NDArray[np.floating[Any]]) -> Float64s:
    """The schedule's sigmas at timesteps that may lie between two of training."""
    return np.interp(timesteps, np.arange(schedule.num_train_timesteps), schedule.sigmas)


def log_linear_sigmas(schedule: NoiseSchedule, n: int) -> Float32s:
    """As many sigmas from the largest to the smallest, even in their float32 logarithms."""
    largest, smallest = np.log(schedule.sigmas[[-1, 0]]).tolist()
    return np.exp(torch_linspace(largest, smallest, n))


def sigmas_to_timesteps(schedule: NoiseSchedule, sigmas: NDArray[np.floating[Any]]) -> Float64s:
    """The timesteps of sigmas, linear in log(sigma) between two of training."""
    log_sigmas, log_sigma = np.log(schedule.sigmas), np.log(np.maximum(sigmas, 1e-10))
    above = np.searchsorted(log_sigmas, log_sigma, side="right")
    low = np.clip(above - 1, 0, len(log_sigmas) - 2)
    # float32 difference below, float64 above: as in the reference.
    share = (log_sigmas[low] - log_sigma) / (log_sigmas[low] - log_sigmas[low + 1])
    share = np.clip(share, 0, 1)
    return (1 - share) * low + share * (low + 1)


def final_sigma(schedule: NoiseSchedule, final_sigmas_type: FinalSigmasType) -> float:
    """The sigma at which the last step ends: 0, or that of the first training timestep."""
    return 0.0 if final_sigmas_type == "zero" else float(schedule.sigmas[0])
