"""DPM-Solver++ of many steps: C. Lu et al., "DPM-Solver++", 2022, algorithm 2.

Follows diffusers' DPMSolverMultistepScheduler with algorithm_type "dpmsolver++".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from runtimes.samplers.dpm_solver import AlgorithmType
from runtimes.samplers.multistep import Multistep


@dataclass(frozen=True)
class DpmPP2M(Multistep):
    """DPM-Solver++(2M), deterministic."""

    algorithm_type: ClassVar[AlgorithmType] = "dpmsolver++"
    solver_order: ClassVar[int] = 2


@dataclass(frozen=True)
class DpmPP1M(DpmPP2M):
    """DPM-Solver++ of first order: DDIM over these samplers' levels."""

    solver_order: ClassVar[int] = 1


@dataclass(frozen=True)
class DpmPP3M(DpmPP2M):
    """DPM-Solver++(3M), deterministic."""

    solver_order: ClassVar[int] = 3
