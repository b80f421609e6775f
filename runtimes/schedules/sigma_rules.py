"""Sigma rules: how n noise levels lie between the largest and the smallest.

All descend from the largest sigma to the smallest, both included (one sigma alone is the largest),
and are float64. The reference is diffusers, where it has the rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError
from runtimes.schedules.beta_quantile import beta_quantile

Float64s = NDArray[np.float64]
SigmaRule = Literal["interpolated", "karras", "exponential", "beta", "polyexponential", "lu"]
"""`SIGMA_RULES` has all but "interpolated", which takes the schedule's sigmas at its timesteps."""

RHO = 7.0  # Karras et al., "Elucidating the Design Space", 2022, equation 5
BETA_SHAPE = 0.6  # T. Lee et al., "Beta Sampling is All You Need", 2024, both parameters


def karras_sigmas(sigma_max: float, sigma_min: float, n: int, rho: float = RHO) -> Float64s:
    """Sigmas evenly spaced in sigma^(1/rho), descending: Karras et al., 2022, equation 5."""
    ramp = np.linspace(0, 1, n)
    start, end = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (start + ramp * (end - start)) ** rho


def exponential_sigmas(sigma_max: float, sigma_min: float, n: int) -> Float64s:
    """Sigmas evenly spaced in log(sigma), descending."""
    return np.exp(np.linspace(math.log(sigma_max), math.log(sigma_min), n))


def polyexponential_sigmas(
    sigma_max: float, sigma_min: float, n: int, rho: float = 1.0
) -> Float64s:
    """Sigmas whose logarithms follow a ramp to the power `rho`: k-diffusion's rule of that name.

    At rho 1, k-diffusion's default, these are the exponential ones.
    """
    ramp = np.linspace(1, 0, n) ** rho
    return np.exp(math.log(sigma_min) + ramp * (math.log(sigma_max) - math.log(sigma_min)))


def beta_sigmas(sigma_max: float, sigma_min: float, n: int) -> Float64s:
    """Sigmas at even quantiles of the beta distribution: dense at both ends.

    T. Lee et al., "Beta Sampling is All You Need", 2024.
    """
    shares = beta_quantile(1 - np.linspace(0, 1, n), BETA_SHAPE)
    return sigma_min + shares * (sigma_max - sigma_min)


def lu_sigmas(sigma_max: float, sigma_min: float, n: int) -> Float64s:
    """Sigmas evenly spaced in lambda = -log(sigma): C. Lu et al., "DPM-Solver", 2022.

    The exponential ones, but for the reference's float32 logarithms of both ends.
    """
    start, end = (float(np.log(np.float32(sigma))) for sigma in (sigma_max, sigma_min))
    return np.exp(start + np.linspace(0, 1, n) * (end - start))


SIGMA_RULES: dict[SigmaRule, Callable[[float, float, int], Float64s]] = {
    "karras": karras_sigmas,
    "exponential": exponential_sigmas,
    "beta": beta_sigmas,
    "polyexponential": polyexponential_sigmas,
    "lu": lu_sigmas,
}
"""(sigma_max, sigma_min, n) → n sigmas, descending."""


def ruled_sigmas(rule: SigmaRule, sigma_max: float, sigma_min: float, n: int) -> Float64s:
    """The n sigmas of a rule, descending: float64.

    Raises:
        UsageError: they would not descend.
    """
    check_ends(rule, sigma_max, sigma_min, n)
    return SIGMA_RULES[rule](sigma_max, sigma_min, n)


def check_ends(rule: str, sigma_max: float, sigma_min: float, n: int) -> None:
    """Refuses ends between which no n sigmas descend.

    Raises:
        UsageError: the smallest isn't below the largest.
    """
    if n > 1 and not sigma_min < sigma_max:
        raise UsageError(
            f"{rule} sigmas would go from {sigma_max:.4g} to {sigma_min:.4g}; give sigma_min below "
            "sigma_max"
        )
