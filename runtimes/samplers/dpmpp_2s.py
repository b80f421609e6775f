"""DPM-Solver++ of single steps: C. Lu et al., "DPM-Solver++", 2022, algorithm 1.

Follows diffusers' DPMSolverSinglestepScheduler with algorithm_type "dpmsolver++".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from runtimes.samplers.dpm_solver import AlgorithmType
from runtimes.samplers.singlestep import Singlestep


@dataclass(frozen=True)
class DpmPP2S(Singlestep):
    """DPM-Solver++(2S), deterministic."""

    algorithm_type: ClassVar[AlgorithmType] = "dpmsolver++"
    solver_order: ClassVar[int] = 2


@dataclass(frozen=True)
class DpmPP1S(DpmPP2S):
    """DPM-Solver++ of first order: DDIM over these samplers' levels."""

    solver_order: ClassVar[int] = 1


@dataclass(frozen=True)
class DpmPP3S(DpmPP2S):
    """DPM-Solver++(3S), deterministic."""

    solver_order: ClassVar[int] = 3
