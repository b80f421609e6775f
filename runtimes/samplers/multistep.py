"""Multistep DPM-Solvers: each step's polynomial comes from the estimates of the steps before.

C. Lu et al., "DPM-Solver++", 2022, algorithm 2. Follows diffusers' DPMSolverMultistepScheduler.
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
from runtimes.schedule import Float64s, Level

FEW_STEPS = 15  # below this many the reference lowers the order of the last two steps


@dataclass(frozen=True)
class Multistep(LogSnr):
    """A multistep DPM-Solver; what differs among them stands in the subclasses.

    Attributes:
        solver_type: which second-order step, where the order is 2.
        lower_order_final: whether the last of fewer than 15 steps is of first order, and the one
            before it of second.
        euler_at_final: whether the last step is of first order at any number of steps.
        round_timesteps: whether the timesteps of Karras and Lu sigmas are rounded, or cut to
            whole numbers.
    """

    solver_type: SolverType = "midpoint"
    lower_order_final: bool = True
    euler_at_final: bool = False
    round_timesteps: bool = True
    solver_order: ClassVar[int]
    algorithm_type: ClassVar[AlgorithmType]
    REFERENCE: ClassVar[str] = "DPMSolverMultistepScheduler"
    OPTIONS: ClassVar[Options] = {
        **LOG_SNR_OPTIONS,
        **DPM_SOLVER_OPTIONS,
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        "lower_order_final": (True, False),
        "euler_at_final": (False, True),
        "use_lu_lambdas": (False, True),
        "final_sigmas_type": ("zero", "sigma_min"),
        "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
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
        """See `Sampler.sample`; the SDE forms draw noise at every step."""
        total = len(levels) - 1
        estimates: list[Latents] = []
        for index in range(begin, total):
            level = levels[index]
            denoised = denoiser(x, level)
            new = estimate_of(self.algorithm_type, x, self.bounded(denoised), level)
            estimates = [new, *estimates[: self.solver_order - 1]]
            order = min(self._order(levels, index), len(estimates))
            x = self._step(x, estimates[:order], levels, index, noise)
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
        return x

    def _order(self, levels: Sequence[Level], index: int) -> int:
        """The order of a step that has all the history it wants."""
        left = len(levels) - 1 - index
        few = self.lower_order_final and len(levels) - 1 < FEW_STEPS
        if left == 1 and (self.euler_at_final or few or levels[-1].sigma == 0):
            return 1
        return min(self.solver_order, 2) if left == 2 and few else self.solver_order

    def _step(
        self,
        x: Latents,
        estimates: Sequence[Latents],
        levels: Sequence[Level],
        index: int,
        noise: Noise,
    ) -> Latents:
        """The step from `levels[index]`, by as many estimates as its order; newest first."""
        estimate = self._estimate(estimates, levels, index)
        return advance(self.algorithm_type, x, estimate, levels[index], levels[index + 1], noise)

    def _estimate(
        self, estimates: Sequence[Latents], levels: Sequence[Level], index: int
    ) -> Estimate:
        """The polynomial through the estimates at the steps behind, newest first."""
        value = estimates[0]
        h = ahead(levels[index], levels[index + 1])
        if len(estimates) == 1 or h == 0:
            return Estimate(value)
        behind = ahead(levels[index - 1], levels[index])
        slope = (value - estimates[1]) * (h / behind)
        if len(estimates) == 2:
            return Estimate(value, slope, midpoint=self.solver_type != "heun")
        before = ahead(levels[index - 2], levels[index - 1])
        bend = slope - (estimates[1] - estimates[2]) * (h / before)
        # The reference integrates half of the curvature, which makes 3M second order.
        curvature = bend * (0.5 * h / (behind + before))
        return Estimate(value, slope + bend * (behind / (behind + before)), curvature)

    def _whole(self, timesteps: Float64s) -> Float64s:
        rounded = self.round_timesteps and self.sigma_rule in ("karras", "lu")
        return timesteps.round() if rounded else timesteps
