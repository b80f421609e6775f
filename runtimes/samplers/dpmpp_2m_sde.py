"""SDE-DPM-Solver++ of many steps: C. Lu et al., "DPM-Solver++", 2022, section 5.

Follows diffusers' DPMSolverMultistepScheduler with algorithm_type "sde-dpmsolver++".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from runtimes.samplers.dpm_solver import AlgorithmType
from runtimes.samplers.multistep import Multistep


@dataclass(frozen=True)
class DpmPP2MSde(Multistep):
    """SDE-DPM-Solver++(2M)."""

    algorithm_type: ClassVar[AlgorithmType] = "sde-dpmsolver++"
    solver_order: ClassVar[int] = 2


@dataclass(frozen=True)
class DpmPP1MSde(DpmPP2MSde):
    """SDE-DPM-Solver++ of first order."""

    solver_order: ClassVar[int] = 1


@dataclass(frozen=True)
class DpmPP3MSde(DpmPP2MSde):
    """SDE-DPM-Solver++(3M), as the reference has it."""

    solver_order: ClassVar[int] = 3
