"""DPM-Solver of many steps, which integrates the noise: C. Lu et al., "DPM-Solver", 2022.

Follows diffusers' DPMSolverMultistepScheduler with algorithm_type "dpmsolver" and "sde-dpmsolver".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from runtimes.samplers.dpm_solver import AlgorithmType
from runtimes.samplers.multistep import Multistep
from runtimes.samplers.options import Options
from runtimes.schedule import FinalSigmasType


@dataclass(frozen=True)
class Dpm2M(Multistep):
    """DPM-Solver(2M), deterministic. It can't end at sigma 0, where noise says nothing."""

    final_sigmas_type: FinalSigmasType = "sigma_min"
    algorithm_type: ClassVar[AlgorithmType] = "dpmsolver"
    ends_clean: ClassVar[bool] = False
    solver_order: ClassVar[int] = 2
    OPTIONS: ClassVar[Options] = {**Multistep.OPTIONS, "final_sigmas_type": ("sigma_min",)}


@dataclass(frozen=True)
class Dpm1M(Dpm2M):
    """DPM-Solver of first order."""

    solver_order: ClassVar[int] = 1


@dataclass(frozen=True)
class Dpm3M(Dpm2M):
    """DPM-Solver(3M), deterministic."""

    solver_order: ClassVar[int] = 3


@dataclass(frozen=True)
class Dpm2MSde(Dpm2M):
    """SDE-DPM-Solver(2M)."""

    algorithm_type: ClassVar[AlgorithmType] = "sde-dpmsolver"


@dataclass(frozen=True)
class Dpm1MSde(Dpm2MSde):
    """SDE-DPM-Solver of first order."""

    solver_order: ClassVar[int] = 1
