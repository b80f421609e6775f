"""Orders of convergence, against an ODE whose solution is known.

The clean latents are Gaussian, so the best denoiser and the path of every point are formulas. All
in float64, over part of the schedule and ending above sigma 0, where orders are lowered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest

from runtimes.denoiser import Latents
from runtimes.noise import Generator
from runtimes.samplers import Sampler
from runtimes.samplers.ddim import DDIM
from runtimes.samplers.deis import DEIS
from runtimes.samplers.dpm2 import DPM2
from runtimes.samplers.dpm_2m import Dpm2M, Dpm3M
from runtimes.samplers.dpm_2s import Dpm2S, Dpm3S
from runtimes.samplers.dpmpp_2m import DpmPP1M, DpmPP2M, DpmPP3M
from runtimes.samplers.dpmpp_2s import DpmPP1S, DpmPP2S, DpmPP3S
from runtimes.samplers.euler import Euler
from runtimes.samplers.heun import Heun
from runtimes.samplers.lms import LMS
from runtimes.samplers.pndm import PNDM
from runtimes.samplers.tcd import TCD
from runtimes.samplers.unipc import UniPC
from runtimes.schedule import Level

MEAN, DEVIATION = 0.7, 0.4
POINTS = np.linspace(-2, 2, 9)
NOISY, CLEAN = 1.5, 0.5  # noise over signal at both ends


def denoiser(x: Latents, level: Level) -> Latents:
    """The mean of the clean latents given x."""
    variance = (level.alpha * DEVIATION) ** 2 + level.sigma**2
    return MEAN + DEVIATION**2 * level.alpha / variance * (x - level.alpha * MEAN)


def solution(level: Level) -> Latents:
    """Where the points are at a level: each keeps its place in the distribution."""
    spread = math.hypot(level.alpha * DEVIATION, level.sigma)
    return cast("Latents", level.alpha * MEAN + spread * POINTS)


def in_sigma(ratios: Sequence[float]) -> list[Level]:
    """Levels in k-diffusion's scaling."""
    return [Level(1.0, ratio, 0.0) for ratio in ratios]


def in_variance(ratios: Sequence[float]) -> list[Level]:
    """Levels of alpha² + sigma² = 1."""
    return [Level(1 / math.hypot(ratio, 1), ratio / math.hypot(ratio, 1), 0.0) for ratio in ratios]


def geometric(n: int) -> list[float]:
    return np.geomspace(NOISY, CLEAN, n + 1).tolist()


def eased(n: int) -> list[float]:
    """As `geometric`, but the first step, which is of first order, is of length h^1.5."""
    first = (math.log(NOISY / CLEAN) / n) ** 1.5
    return [NOISY, *np.geomspace(NOISY * math.exp(-first), CLEAN, n).tolist()]


def even(n: int) -> list[float]:
    """PNDM's weights are of equal steps in noise over signal."""
    return np.linspace(NOISY, CLEAN, n + 1).tolist()


def blocks(length: int) -> Callable[[int], list[float]]:
    """As `geometric`, for samplers whose steps take so many calls each, which must fill them."""
    return lambda n: geometric(n - n % length)


def twice(n: int) -> list[float]:
    """As `geometric`, for Heun: the end of each step is the start of the next, and called twice."""
    ratios = geometric(n)
    return [ratios[0], *(ratio for ratio in ratios[1:-1] for _ in range(2)), ratios[-1], ratios[-1]]


def halved(n: int) -> list[float]:
    """As `geometric`, with the geometric mean between each step's ends, for DPM2."""
    return geometric(2 * n)


def graded(n: int) -> list[float]:
    """As `geometric`, for LMS, with the first two steps as short as makes them of fourth order.

    LMS starts with steps of orders 1 and 2, whose errors are (length)² and (length)³; with equal
    steps they would hold the whole to order 2.
    """
    first, second = n**-2, n ** (-4 / 3)
    shares = np.array([0.0, first, *np.linspace(first + second, 1, n - 1)])
    return (NOISY * (CLEAN / NOISY) ** shares).tolist()


def runge_kutta(n: int) -> list[float]:
    """As `even`, with the four calls of each of the first three steps."""
    ratios = even(n)
    calls: list[float] = []
    for start, end in pairwise(ratios[:4]):
        middle = (start + end) / 2
        calls += [start, middle, middle, end]
    return calls + ratios[3:]


def plms(n: int) -> list[float]:
    """As `even`, with the second call twice."""
    ratios = even(n)
    return [*ratios[:2], *ratios[1:]]


def error(sampler: Sampler, levels: Sequence[Level]) -> float:
    x = solution(levels[0])
    for step in sampler.sample(denoiser, x, levels, Generator(0)):
        x = step.x
    assert x.dtype == np.float64
    return float(np.abs(x - solution(levels[-1])).max())


UNCORRECTED = UniPC(lower_order_final=False, disable_corrector=tuple(range(256)))
CASES: dict[str, tuple[Sampler, Any, Any, int]] = {
    "ddim": (DDIM(clip_sample=False), geometric, in_variance, 1),
    "euler": (Euler(), geometric, in_sigma, 1),
    "dpmpp-2m": (DpmPP2M(lower_order_final=False), geometric, in_variance, 2),
    "dpmpp-2m heun": (
        DpmPP2M(lower_order_final=False, solver_type="heun"),
        geometric,
        in_variance,
        2,
    ),
    # The reference integrates half of the curvature, so that the third order is second.
    "dpmpp-3m": (DpmPP3M(lower_order_final=False), eased, in_variance, 2),
    "dpmpp-1m": (DpmPP1M(), geometric, in_variance, 1),
    "dpm-2m": (Dpm2M(lower_order_final=False), geometric, in_variance, 2),
    "dpm-3m": (Dpm3M(lower_order_final=False), eased, in_variance, 2),
    "dpmpp-1s": (DpmPP1S(), blocks(1), in_variance, 1),
    "dpmpp-2s": (DpmPP2S(), blocks(2), in_variance, 2),
    "dpmpp-3s": (DpmPP3S(), blocks(3), in_variance, 3),
    "dpmpp-3s heun": (DpmPP3S(solver_type="heun"), blocks(3), in_variance, 3),
    "dpm-2s": (Dpm2S(), blocks(2), in_variance, 2),
    "dpm-3s": (Dpm3S(), blocks(3), in_variance, 3),
    "deis 2": (DEIS(lower_order_final=False), geometric, in_variance, 2),
    # 3.0 to 3.6 is measured.
    "deis 3": (DEIS(solver_order=3, lower_order_final=False), eased, in_variance, 3),
    # The corrector adds one order to the predictor's.
    **{
        f"unipc {order} {solver}": (
            UniPC(solver_order=order, solver_type=solver, lower_order_final=False),
            eased,
            in_variance,
            order + 1,
        )
        for order in (1, 2, 3)
        for solver in ("bh1", "bh2")
    },
    "unip": (UNCORRECTED, geometric, in_variance, 2),
    "tcd": (TCD(eta=0.0), geometric, in_variance, 1),
    # Begins with two steps of lower order: their errors are of third order and small beside the
    # others' fourth, so that 3.6 is measured here.
    "heun": (Heun(), twice, in_sigma, 2),
    "dpm2": (DPM2(), halved, in_sigma, 2),
    **{f"lms {order}": (LMS(order=order), graded, in_sigma, order) for order in (1, 2, 3, 4)},
    "plms": (PNDM(skip_prk_steps=True), plms, in_variance, 3),
    # What v is extrapolated to is turned into eps with the latents of the step's start.
    "plms v": (PNDM(skip_prk_steps=True, prediction_type="v_prediction"), plms, in_variance, 1),
    "pndm": (PNDM(), runge_kutta, in_variance, 4),
}


@pytest.mark.parametrize(("sampler", "spread", "scaling", "order"), CASES.values(), ids=CASES)
def test_the_order_of_convergence(sampler: Sampler, spread: Any, scaling: Any, order: int) -> None:
    coarse, fine = (error(sampler, scaling(spread(n))) for n in (128, 256))
    measured = math.log2(coarse / fine)
    assert order - 0.25 < measured < order + 0.75
    assert 0 < fine < 0.01
