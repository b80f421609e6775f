"""UniPC: W. Zhao et al., "UniPC: A Unified Predictor-Corrector Framework", 2023.

Each estimate of the network serves twice: to correct the step that led to it, and for the next
step. Follows diffusers' UniPCMultistepScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from runtimes.denoiser import Latents
from runtimes.errors import UsageError
from runtimes.samplers.dpm_solver import ALGORITHMS, AlgorithmType, estimate_of
from runtimes.samplers.log_snr import LOG_SNR_OPTIONS, LogSnr, ahead
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Denoise, Noise, Run, Step, replaced
from runtimes.schedule import Float64s, Level, NoiseSchedule


@dataclass(frozen=True)
class UniPC(LogSnr):
    """UniPC, deterministic.

    Attributes:
        solver_order: of the predictor, 1 to 3; the corrector makes it one more.
        solver_type: B of the paper: h itself ("bh1"), or expm1(h) ("bh2"; the other names, other
            classes' own, mean that too).
        predict_x0: whether the clean latents are integrated, or the noise.
        lower_order_final: whether the order falls to 1 over the last steps.
        disable_corrector: the steps, counted from 0, that are not corrected.
    """

    solver_order: int = 2
    solver_type: Literal["bh1", "bh2", "midpoint", "heun", "logrho"] = "bh2"
    predict_x0: bool = True
    lower_order_final: bool = True
    disable_corrector: tuple[int, ...] = ()
    REFERENCE: ClassVar[str] = "UniPCMultistepScheduler"
    OPTIONS: ClassVar[Options] = {
        **LOG_SNR_OPTIONS,
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        "final_sigmas_type": ("zero", "sigma_min"),
        "solver_order": (2, 1, 3),
        "solver_type": ("bh2", "bh1", "midpoint", "heun", "logrho"),
        "predict_x0": (True, False),
        "lower_order_final": (True, False),
        "disable_corrector": [],
        "solver_p": (None,),
        "shift_terminal": (None,),
    }

    def check_clean_end(self) -> None:
        """See `LogSnr.check_clean_end`."""
        for option, value in (
            ("predict_x0", self.predict_x0),
            ("lower_order_final", self.lower_order_final or self.solver_order == 1),
        ):
            if not value:
                raise UsageError(
                    f"scheduler_config.json: {option} is False and the last step ends at sigma 0, "
                    "where unipc is then not finite; final_sigmas_type 'sigma_min' runs"
                )

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; draws no noise.

        Latents sent in exchange for a step bear on the next estimate alone where that step is
        corrected: the corrector begins with the latents before it.
        """
        total = len(levels) - 1
        estimates: list[Latents] = []
        start, order = x, 0
        for index in range(begin, total):
            level = levels[index]
            denoised = denoiser(x, level)
            new = self._estimate(x, denoised, level)
            if estimates and index - 1 not in self.disable_corrector:
                x = self._update(start, estimates[:order], levels, index - 1, new)
            estimates = [new, *estimates[: self.solver_order - 1]]
            left = total - index if self.lower_order_final else self.solver_order
            start, order = x, min(self.solver_order, left, len(estimates))
            x = self._update(x, estimates[:order], levels, index)
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
        return x

    @property
    def _algorithm(self) -> AlgorithmType:
        return "dpmsolver++" if self.predict_x0 else "dpmsolver"

    def _estimate(self, x: Latents, denoised: Latents, level: Level) -> Latents:
        # The reference thresholds clean latents alone.
        denoised = self.bounded(denoised) if self.predict_x0 else denoised
        return estimate_of(self._algorithm, x, denoised, level)

    def _update(
        self,
        x: Latents,
        estimates: Sequence[Latents],
        levels: Sequence[Level],
        index: int,
        new: Latents | None = None,
    ) -> Latents:
        """The step from `levels[index]`: predicted, or corrected by the estimate at its end.

        Args:
            x: latents at the step's start.
            estimates: at the step's start and at the steps before, newest first.
            levels: all levels.
            index: of the level at the step's start.
            new: the estimate at the step's end; None to predict.
        """
        level, target = levels[index], levels[index + 1]
        h = ahead(level, target)
        if h == 0:
            return x
        stride = ALGORITHMS[self._algorithm](level, target, h)
        value, z = estimates[0], stride.exponent
        places = [-ahead(levels[index - k], level) / h for k in range(1, len(estimates))]
        changes = [(m - value) / r for m, r in zip(estimates[1:], places, strict=True)]
        if new is not None:
            places, changes = [*places, 1.0], [*changes, new - value]
        integral = math.expm1(z) * value
        if places:
            b = z if self.solver_type == "bh1" else math.expm1(z)
            for weight, change in zip(_weights(places, z, b).tolist(), changes, strict=True):
                integral = integral + (b * weight) * change
        return stride.keep * x - stride.scale * integral

    def _final_sigma(self, schedule: NoiseSchedule, sigmas: Float64s) -> float:
        if (
            self.sigmas is None
            and self.sigma_rule != "interpolated"
            and self.final_sigmas_type == "sigma_min"
        ):
            return float(sigmas[-1])
        return super()._final_sigma(schedule, sigmas)


def _weights(places: Sequence[float], z: float, b: float) -> Float64s:
    """How much each change of the estimate counts: equation 7, and 1/2 where there is one.

    Args:
        places: where the estimates stand, 0 at the step's start and 1 at its end.
        z: the exponent of the integral's weight.
        b: B(h).
    """
    n = len(places)
    if n == 1:
        return np.array([0.5])
    moments: list[float] = []
    moment = math.expm1(z) / z - 1
    for k in range(1, n + 1):
        moments.append(moment * math.factorial(k) / b)
        moment = moment / z - 1 / math.factorial(k + 1)
    return np.linalg.solve(np.vander(places, increasing=True).T, np.array(moments))
