"""Noise schedules: betas, timestep spacing, sigma rules and the levels that samplers visit.

Four axes, each its own functions: how much noise a training timestep carries (`BETA_SCHEDULES`),
which timesteps are visited (`SPACINGS`), which sigmas stand for them (`interpolated_sigmas`,
`karras_sigmas`), and where the last step ends (`final_sigma`).

The reference is diffusers. It builds its schedules in float32, and what a network sees hangs on
that: a timestep is rounded after a float32 logarithm. So whatever a timestep comes from follows
the reference's dtypes operation by operation; coefficients are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError, unknown_name

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Spacing = Literal["leading", "linspace", "trailing"]
SigmaRule = Literal["interpolated", "karras", "exponential"]
FinalSigmasType = Literal["zero", "sigma_min"]

# What diffusers puts for alphas_cumprod = 0 where it divides by it: float16's smallest number.
ALPHAS_CUMPROD_MIN = np.float32(2**-24)
RHO = 7.0  # Karras et al., "Elucidating the Design Space", 2022, equation 5


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


class _Betas(msgspec.Struct, frozen=True):
    """The fields of a scheduler_config.json that say how noisy each training timestep is.

    The defaults are those of diffusers' classes, all alike in this.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: list[float] | None = None
    rescale_betas_zero_snr: bool = False


def _linspace(start: float, end: float, n: int) -> Float32s:
    """`torch.linspace` in float32: from both ends inwards, each product and sum rounded once."""
    first, last = np.float32(start), np.float32(end)
    step = float((last - first) / np.float32(max(n - 1, 1)))
    i = np.arange(n)
    upwards, downwards = float(first) + step * i, float(last) - step * (n - 1 - i)
    return np.where(i < n // 2, upwards, downwards).astype(np.float32)


def _linear(config: _Betas) -> Float32s:
    return _linspace(config.beta_start, config.beta_end, config.num_train_timesteps)


def _scaled_linear(config: _Betas) -> Float32s:
    """Linear in sqrt(beta); the schedule of latent diffusion."""
    start, end = math.sqrt(config.beta_start), math.sqrt(config.beta_end)
    return _linspace(start, end, config.num_train_timesteps) ** 2


def _squared_cosine(config: _Betas) -> Float32s:
    """Nichol and Dhariwal, "Improved DDPM", 2021, equation 17, betas capped at 0.999."""
    n = config.num_train_timesteps
    alpha_bar = [math.cos((i / n + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(n + 1)]
    betas = [min(1 - alpha_bar[i + 1] / alpha_bar[i], 0.999) for i in range(n)]
    return np.array(betas, np.float32)


BETA_SCHEDULES: dict[str, Callable[[_Betas], Float32s]] = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": _squared_cosine,
}


def _cumprod(factors: Float32s) -> Float32s:
    """Cumulative product as torch's: kept in float64, each value rounded to float32."""
    return np.cumprod(factors.astype(np.float64)).astype(np.float32)


def _rescale_zero_snr(betas: Float32s) -> Float32s:
    """Betas with no signal left at the last timestep: Lin et al., 2023, algorithm 1."""
    root = np.sqrt(_cumprod(1 - betas))
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    alphas_cumprod = root**2
    alphas = np.concatenate([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
    return 1 - alphas


def betas(config: _Betas) -> Float32s:
    """The variance that each training timestep adds: float32 of shape [num_train_timesteps].

    Raises:
        UsageError: the beta schedule is unknown, or the betas can't be variances.
    """
    _check(config)
    if config.trained_betas is None:
        variances = BETA_SCHEDULES[config.beta_schedule](config)
    else:
        variances = np.array(config.trained_betas, np.float32)
    return _rescale_zero_snr(variances) if config.rescale_betas_zero_snr else variances


def _check(config: _Betas) -> None:
    if config.beta_schedule not in BETA_SCHEDULES:
        raise unknown_name("beta_schedule", config.beta_schedule, BETA_SCHEDULES)
    if config.num_train_timesteps < 2:
        raise UsageError(
            f"scheduler_config.json: num_train_timesteps is {config.num_train_timesteps}; "
            "it must be at least 2"
        )
    trained = config.trained_betas
    if trained is not None and len(trained) != config.num_train_timesteps:
        raise UsageError(
            f"scheduler_config.json: trained_betas has {len(trained)} values, "
            f"num_train_timesteps is {config.num_train_timesteps}; they must agree"
        )
    for beta in trained or (config.beta_start, config.beta_end):
        if not 0 <= beta < 1:
            raise UsageError(
                f"scheduler_config.json: a beta is {beta}; each must be at least 0 and below 1"
            )


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
            UsageError: a field has the wrong type or range, or an unknown beta schedule.
        """
        try:
            fields = msgspec.convert(dict(config), _Betas)
        except msgspec.ValidationError as error:
            raise UsageError(f"scheduler_config.json: {error}") from error
        return cls(_cumprod(1 - betas(fields)).astype(np.float64))

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


def leading(num_train_timesteps: int, n: int) -> Float64s:
    """Whole strides up from 0, descending; the largest lies a stride below the end."""
    return np.arange(n, dtype=np.float64)[::-1] * (num_train_timesteps // n)


def trailing(num_train_timesteps: int, n: int) -> Float64s:
    """Strides down from the last timestep: Lin et al., 2023, table 2."""
    strides = np.arange(num_train_timesteps, 0, -num_train_timesteps / n, dtype=np.float64)
    # For 62 of the counts up to 1000 (the first is 61) float rounding makes the range one too
    # long, and the reference goes on to a timestep of -1 that it reads as 999. Stop at n.
    return np.round(strides[:n]) - 1


def linspace(num_train_timesteps: int, n: int) -> Float64s:
    """Evenly from the last timestep to 0, both included, not rounded."""
    return np.linspace(0, num_train_timesteps - 1, n, dtype=np.float64)[::-1]


SPACINGS: dict[Spacing, Callable[[int, int], Float64s]] = {
    "leading": leading,
    "linspace": linspace,
    "trailing": trailing,
}


def spaced_timesteps(
    spacing: Spacing, num_train_timesteps: int, n: int, steps_offset: int
) -> Float64s:
    """The n timesteps that a sampler visits, descending.

    Args:
        spacing: the rule.
        num_train_timesteps: one more than the largest timestep.
        n: how many.
        steps_offset: added to leading timesteps, and to no others.
    """
    timesteps = SPACINGS[spacing](num_train_timesteps, n)
    return timesteps + steps_offset if spacing == "leading" else timesteps


def interpolated_sigmas(schedule: NoiseSchedule, timesteps: NDArray[np.floating[Any]]) -> Float64s:
    """The schedule's sigmas at timesteps that may lie between two of training."""
    return np.interp(timesteps, np.arange(schedule.num_train_timesteps), schedule.sigmas)


def karras_sigmas(sigma_max: float, sigma_min: float, n: int, rho: float = RHO) -> Float64s:
    """Sigmas evenly spaced in sigma^(1/rho), descending: Karras et al., 2022, equation 5."""
    ramp = np.linspace(0, 1, n)
    start, end = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (start + ramp * (end - start)) ** rho


def exponential_sigmas(sigma_max: float, sigma_min: float, n: int) -> Float64s:
    """Sigmas evenly spaced in log(sigma), descending."""
    return np.exp(np.linspace(math.log(sigma_max), math.log(sigma_min), n))


SIGMA_RULES: dict[SigmaRule, Callable[[float, float, int], Float64s]] = {
    "exponential": exponential_sigmas,
    "karras": karras_sigmas,
}
"""Rule → (largest, smallest, n) → sigmas, descending. "interpolated" takes the schedule's own."""


def sigmas_to_timesteps(schedule: NoiseSchedule, sigmas: Float64s) -> Float64s:
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
