"""DPM-Solver of single steps, which integrates the noise: C. Lu et al., "DPM-Solver", 2022.

Follows diffusers' DPMSolverSinglestepScheduler with algorithm_type "dpmsolver".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from runtimes.samplers.dpm_solver import AlgorithmType
from runtimes.samplers.options import Options
from runtimes.samplers.singlestep import Singlestep
from runtimes.schedule import FinalSigmasType


@dataclass(frozen=True)
class Dpm2S(Singlestep):
    """DPM-Solver(2S), deterministic. It can't end at sigma 0, where noise says nothing."""

    final_sigmas_type: FinalSigmasType = "sigma_min"
    algorithm_type: ClassVar[AlgorithmType] = "dpmsolver"
    ends_clean: ClassVar[bool] = False
    solver_order: ClassVar[int] = 2
    OPTIONS: ClassVar[Options] = {
        **Singlestep.OPTIONS,
        "final_sigmas_type": ("sigma_min",),
        "thresholding": (False,),  # the reference fails
    }


@dataclass(frozen=True)
class Dpm1S(Dpm2S):
    """DPM-Solver of first order."""

    solver_order: ClassVar[int] = 1


@dataclass(frozen=True)
class Dpm3S(Dpm2S):
    """DPM-Solver(3S), deterministic."""

    solver_order: ClassVar[int] = 3
