"""Singlestep DPM-Solvers: blocks of one, two or three calls that make one step of that order.

C. Lu et al., "DPM-Solver", 2022, and "DPM-Solver++", 2022, algorithm 1. Follows diffusers'
DPMSolverSinglestepScheduler, where the calls of a block stand at levels of the schedule: after its
first call a block is at the next level by a first-order step, then by a second-order one that
begins anew where the block began, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from runtimes.denoiser import Latents
from runtimes.samplers.dpm_solver import (
    DPM_SOLVER_OPTIONS,
    AlgorithmType,
    Estimate,
    SolverType,
    advance,
    estimate_of,
)
from runtimes.samplers.log_snr import LOG_SNR_OPTIONS, LogSnr, ahead
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Denoise, Noise, Run, Step, replaced
from runtimes.schedule import Level


@dataclass(frozen=True)
class Singlestep(LogSnr):
    """A singlestep DPM-Solver; what differs among them stands in the subclasses.

    Attributes:
        solver_type: which step of second order or, for "midpoint", third-order step without its
            curvature.
        lower_order_final: whether the last block is of lower order. So it is too where the calls
            don't fill the last block, and where the last step ends at sigma 0.
    """

    solver_type: SolverType = "midpoint"
    lower_order_final: bool = False
    solver_order: ClassVar[int]
    algorithm_type: ClassVar[AlgorithmType]
    REFERENCE: ClassVar[str] = "DPMSolverSinglestepScheduler"
    OPTIONS: ClassVar[Options] = {
        **LOG_SNR_OPTIONS,
        **DPM_SOLVER_OPTIONS,
        "lower_order_final": (False, True),
        "final_sigmas_type": ("zero", "sigma_min"),
        # Not among the class's fields: it would drop what `NoiseSchedule` takes up.
        "rescale_betas_zero_snr": (False,),
    }

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; the SDE forms draw noise at every call.

        Latents sent in exchange for a step bear on the next estimate alone within a block, which
        goes on from the latents where it began.
        """
        total = len(levels) - 1
        orders = self._orders(total, ends_clean=levels[-1].sigma == 0)
        estimates: list[Latents] = []
        start = x
        for index in range(begin, total):
            level, target = levels[index], levels[index + 1]
            denoised = denoiser(x, level)
            new = estimate_of(self.algorithm_type, x, self.bounded(denoised), level)
            estimates = [new, *estimates[: self.solver_order - 1]]
            order = min(orders[index], len(estimates))
            if order == 1:
                start = x
            first = index - order + 1
            estimate = self._estimate(estimates[:order], levels[first : index + 2])
            x = advance(self.algorithm_type, start, estimate, levels[first], target, noise)
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
        return x

    def _orders(self, total: int, *, ends_clean: bool) -> list[int]:
        """The order of each call: 1, 2, 3, 1, 2, 3, … up to the solver's, but at the end."""
        order = self.solver_order
        orders = [1 + index % order for index in range(total)]
        uneven = total % order != 0
        if order > 1 and not uneven and (self.lower_order_final or ends_clean):
            orders[-2:] = [2, 1] if order == 3 else [1, 1]
        return [*orders[:-1], 1] if ends_clean else orders

    def _estimate(self, estimates: Sequence[Latents], levels: Sequence[Level]) -> Estimate:
        """The polynomial through a block's estimates.

        Args:
            estimates: newest first; the last is the block's first.
            levels: of the block, and where it goes.
        """
        value = estimates[-1]
        if len(estimates) == 1:
            return Estimate(value)
        h = ahead(levels[0], levels[-1])
        near = ahead(levels[0], levels[-2])
        chord = (estimates[0] - value) * (h / near)
        heun = self.solver_type == "heun"
        if len(estimates) == 2:
            return Estimate(value, chord, midpoint=not heun)
        middle = ahead(levels[0], levels[1])
        if not heun:
            return Estimate(value, chord)
        inner = (estimates[1] - value) * (h / middle)
        slope = (near * inner - middle * chord) / (near - middle)
        return Estimate(value, slope, (chord - inner) * (h / (near - middle)))
