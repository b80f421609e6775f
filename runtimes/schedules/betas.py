"""Betas: how much noise each training timestep adds, as diffusers computes it, in float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError, unknown_name

Float32s = NDArray[np.float32]

MAX_TRAIN_TIMESTEPS = 100_000  # a hundred times what models have


class BetaConfig(msgspec.Struct, frozen=True):
    """The fields of a scheduler_config.json that say how noisy each training timestep is.

    The defaults are those of diffusers' classes, all alike in this.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: list[float] | None = None
    rescale_betas_zero_snr: bool = False


def torch_linspace(start: float, end: float, n: int) -> Float32s:
    """`torch.linspace` in float32: from both ends inwards, each product and sum rounded once."""
    first, last = np.float32(start), np.float32(end)
    step = float((last - first) / np.float32(max(n - 1, 1)))
    i = np.arange(n)
    upwards, downwards = float(first) + step * i, float(last) - step * (n - 1 - i)
    return np.where(i < n // 2, upwards, downwards).astype(np.float32)


def _linear(config: BetaConfig) -> Float32s:
    return torch_linspace(config.beta_start, config.beta_end, config.num_train_timesteps)


def _scaled_linear(config: BetaConfig) -> Float32s:
    """Linear in sqrt(beta); the schedule of latent diffusion."""
    start, end = math.sqrt(config.beta_start), math.sqrt(config.beta_end)
    return torch_linspace(start, end, config.num_train_timesteps) ** 2


def _squared_cosine(config: BetaConfig) -> Float32s:
    """Nichol and Dhariwal, "Improved DDPM", 2021, equation 17, betas capped at 0.999."""
    n = config.num_train_timesteps
    alpha_bar = [math.cos((i / n + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(n + 1)]
    betas = [min(1 - alpha_bar[i + 1] / alpha_bar[i], 0.999) for i in range(n)]
    return np.array(betas, np.float32)


BETA_SCHEDULES: dict[str, Callable[[BetaConfig], Float32s]] = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": _squared_cosine,
}


def cumprod(factors: Float32s) -> Float32s:
    """Cumulative product as torch's: kept in float64, each value rounded to float32."""
    return np.cumprod(factors.astype(np.float64)).astype(np.float32)


def _rescale_zero_snr(betas: Float32s) -> Float32s:
    """Betas with no signal left at the last timestep: Lin et al., 2023, algorithm 1."""
    root = np.sqrt(cumprod(1 - betas))
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    alphas_cumprod = root**2
    alphas = np.concatenate([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
    return 1 - alphas


def betas(config: BetaConfig) -> Float32s:
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


def _check(config: BetaConfig) -> None:
    if config.beta_schedule not in BETA_SCHEDULES:
        raise unknown_name("beta_schedule", config.beta_schedule, BETA_SCHEDULES)
    if not 2 <= config.num_train_timesteps <= MAX_TRAIN_TIMESTEPS:
        raise UsageError(
            f"scheduler_config.json: num_train_timesteps is {config.num_train_timesteps}; "
            f"it must be from 2 to {MAX_TRAIN_TIMESTEPS}"
        )
    trained = config.trained_betas
    if trained is not None and len(trained) != config.num_train_timesteps:
        raise UsageError(
            f"scheduler_config.json: trained_betas has {len(trained)} values, "
            f"num_train_timesteps is {config.num_train_timesteps}; they must agree"
        )
    for beta in trained or (config.beta_start, config.beta_end):
        if not 0 < beta < 1:  # 0 adds no noise: samplers divide by it, or by its distance
            raise UsageError(
                f"scheduler_config.json: a beta is {beta}; each must be above 0 and below 1"
            )
