"""SDE-DPM-Solver++ of single steps.

Follows diffusers' DPMSolverSinglestepScheduler with algorithm_type "sde-dpmsolver++".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from runtimes.samplers.dpm_solver import AlgorithmType
from runtimes.samplers.singlestep import Singlestep


@dataclass(frozen=True)
class DpmPP2SSde(Singlestep):
    """SDE-DPM-Solver++(2S)."""

    algorithm_type: ClassVar[AlgorithmType] = "sde-dpmsolver++"
    solver_order: ClassVar[int] = 2


@dataclass(frozen=True)
class DpmPP1SSde(DpmPP2SSde):
    """SDE-DPM-Solver++ of first order."""

    solver_order: ClassVar[int] = 1


@dataclass(frozen=True)
class DpmPP3SSde(DpmPP2SSde):
    """SDE-DPM-Solver++(3S)."""

    solver_order: ClassVar[int] = 3
