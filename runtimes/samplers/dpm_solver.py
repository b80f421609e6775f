"""What DPM-Solver's forms have in common: one step along a polynomial in log-SNR.

C. Lu et al., "DPM-Solver", 2022 (the estimate is of the noise), and "DPM-Solver++", 2022 (of the
clean latents; the SDE forms too). The linear part of the equation is solved exactly; under the
integral stands the estimate as a polynomial of u, the share of the step that is behind:
value + slope * u + curvature * u².
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from runtimes.denoiser import Latents
from runtimes.samplers.log_snr import ahead, epsilon_of
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Noise
from runtimes.schedule import Level

AlgorithmType = Literal["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"]
SolverType = Literal["midpoint", "heun", "bh1", "bh2", "logrho"]
"""The classes take the last three, other classes' own, as "midpoint"."""

# Options of the two DPM-Solver classes of diffusers, beside those of all in log-SNR.
DPM_SOLVER_OPTIONS: Options = {
    "solver_type": ("midpoint", "heun", "bh1", "bh2", "logrho"),
    "lambda_min_clipped": -math.inf,
    # A DDPM config's fixed variances don't matter here; a learned one changes the network.
    "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
}


@dataclass(frozen=True)
class Stride:
    """How an algorithm goes from one level to another: x_t = keep * x - scale * integral + noise.

    Attributes:
        keep: factor of the latents.
        scale: factor of the integral.
        exponent: z of the weight exp((1 - u) z) under the integral; its sign is the estimate's
            kind: below 0 for clean latents, above for noise.
        noise: factor of fresh unit noise.
    """

    keep: float
    scale: float
    exponent: float
    noise: float = 0.0


def _dpmsolver(level: Level, target: Level, h: float) -> Stride:
    return Stride(target.alpha / level.alpha, target.sigma, h)


def _dpmsolver_pp(level: Level, target: Level, h: float) -> Stride:
    return Stride(target.sigma / level.sigma, target.alpha, -h)


def _sde_dpmsolver(level: Level, target: Level, h: float) -> Stride:
    fresh = target.sigma * math.sqrt(max(math.expm1(2 * h), 0.0))
    return Stride(target.alpha / level.alpha, 2 * target.sigma, h, fresh)


def _sde_dpmsolver_pp(level: Level, target: Level, h: float) -> Stride:
    fresh = target.sigma * math.sqrt(max(-math.expm1(-2 * h), 0.0))
    return Stride(target.sigma / level.sigma * math.exp(-h), target.alpha, -2 * h, fresh)


ALGORITHMS: dict[AlgorithmType, Callable[[Level, Level, float], Stride]] = {
    "dpmsolver": _dpmsolver,
    "dpmsolver++": _dpmsolver_pp,
    "sde-dpmsolver": _sde_dpmsolver,
    "sde-dpmsolver++": _sde_dpmsolver_pp,
}


@dataclass(frozen=True)
class Estimate:
    """What is known of the estimate over a step.

    Attributes:
        value: at the step's start.
        slope: its change with u; None where the step is of first order.
        curvature: its coefficient of u²; None where there is none.
        midpoint: whether the integral takes the estimate in the middle of the step, or follows it.
    """

    value: Latents
    slope: Latents | None = None
    curvature: Latents | None = None
    midpoint: bool = False


def estimate_of(algorithm: AlgorithmType, x: Latents, denoised: Latents, level: Level) -> Latents:
    """What an algorithm integrates: the clean latents, or the noise."""
    return denoised if algorithm.endswith("++") else epsilon_of(x, denoised, level)


def advance(
    algorithm: AlgorithmType,
    x: Latents,
    estimate: Estimate,
    level: Level,
    target: Level,
    noise: Noise,
) -> Latents:
    """Latents at `target`, from latents at `level`; SDE algorithms draw noise.

    A step of no length, which a rule's last sigma may give, leaves the latents as they are; the
    reference's third order is not finite there.
    """
    h = ahead(level, target)
    fresh = noise.randn(x.shape) if algorithm.startswith("sde") else None
    if h == 0:
        return x
    stride = ALGORITHMS[algorithm](level, target, h)
    x = stride.keep * x - stride.scale * _integral(algorithm, estimate, stride)
    return x if fresh is None else x + stride.noise * fresh


def _integral(algorithm: AlgorithmType, estimate: Estimate, stride: Stride) -> Latents:
    z = stride.exponent
    whole = math.expm1(z)
    total = whole * estimate.value
    if estimate.slope is None:
        return total
    exact = whole / z - 1
    total = total + (whole / 2 if estimate.midpoint else exact) * estimate.slope
    if estimate.curvature is None:
        return total
    # The reference's SDE has a sign the other way here, so that its third order is none.
    astray = 2 if algorithm == "sde-dpmsolver++" else 0
    return total + (2 * exact / z - 1 + astray) * estimate.curvature
