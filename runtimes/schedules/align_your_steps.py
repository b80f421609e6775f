"""Align Your Steps: noise levels optimised for a model family.

A. Sabour, S. Fidler and K. Kreis, "Align Your Steps", 2024: the tables of ten steps that they
published, and their log-linear interpolation to other counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError

Float64s = NDArray[np.float64]


@dataclass(frozen=True)
class Aligned:
    """The published table of a family.

    Attributes:
        timesteps: of each step, descending.
        sigmas: of each step, and the smallest, where the paper's last step ends.
    """

    timesteps: tuple[int, ...]
    sigmas: tuple[float, ...]


TABLES: dict[str, Aligned] = {
    "sd1": Aligned(
        (999, 850, 736, 645, 545, 455, 343, 233, 124, 24),
        (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    ),
    "sdxl": Aligned(
        (999, 845, 730, 587, 443, 310, 193, 116, 53, 13),
        (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    ),
}
"""A manifest's family → its table."""


def aligned(family: str) -> Aligned:
    """The table of a family.

    Raises:
        UsageError: there is none.
    """
    if family not in TABLES:
        raise UsageError(
            f"schedule 'ays' has tables for the families {' and '.join(TABLES)}, not for "
            f"{family!r}; take karras, or give timesteps of your own"
        )
    return TABLES[family]


def aligned_sigmas(table: Aligned, n: int) -> Float64s:
    """The sigmas of n steps, descending, and 0, where the last one ends.

    Between those published, log(sigma) is linear in the step. As in diffusers the last step ends
    at 0, not at the table's smallest.
    """
    last = len(table.sigmas) - 1
    at = np.linspace(0, last, n + 1)[:-1]
    return np.append(np.exp(np.interp(at, np.arange(last + 1), np.log(table.sigmas))), 0.0)
