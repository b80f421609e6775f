"""Bits for each layer, under a budget: where they are needed most.

Losses are measured one weight at a time. Errors of different weights are about independent, so
that their powers add, and what is minimised is the sum of noise over all weights at a total size.
Each weight's choices that are worth taking lie on the lower convex hull of noise over size; going
up all hulls by the steepest step first is the solution of the Lagrangian at every budget it passes
(Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers", 1988).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.coreml.compress.sensitivity import Sensitivity
from runtimes.errors import UsageError

HALF_BITS = 16
"""Of a weight that stays as it is, which costs nothing of the quality."""


@dataclass(frozen=True)
class Choice:
    """Bits for each weight.

    Attributes:
        bits: key → bits of an index; `HALF_BITS` where the weight stays as it is.
        average_bits: what a weight takes on average, tables included.
        predicted_psnr_db: of the outputs, if noise adds up; None where there is none.
    """

    bits: dict[str, int]
    average_bits: float
    predicted_psnr_db: float | None


def choose(sensitivities: Mapping[str, Sensitivity], average_bits: float) -> Choice:
    """The bits that lose least of all that fit into a budget.

    Args:
        sensitivities: key → what each width costs and gives.
        average_bits: the budget: what a weight may take on average, tables included.

    Raises:
        UsageError: even the fewest bits take more.
    """
    elements = sum(each.elements for each in sensitivities.values())
    budget = math.floor(average_bits * elements)
    hulls = {key: _hull(each) for key, each in sensitivities.items()}
    at = dict.fromkeys(hulls, 0)
    size = sum(hull[0].size_bits for hull in hulls.values())
    if size > budget:
        raise UsageError(
            f"{average_bits:g} bits a weight are too few: with tables of values, the fewest that "
            f"these weights take are {math.ceil(1000 * size / elements) / 1000:g}; give as many."
        )
    for _, _, key, step in _steps(hulls):
        more = hulls[key][step].size_bits - hulls[key][step - 1].size_bits
        # A step that doesn't fit ends its weight's way up; smaller ones of others may fit still.
        if at[key] == step - 1 and size + more <= budget:
            at[key] = step
            size += more
    taken = {key: hull[at[key]] for key, hull in hulls.items()}
    noise = sum(option.noise for option in taken.values())
    return Choice(
        bits={key: option.bits for key, option in taken.items()},
        average_bits=size / elements,
        predicted_psnr_db=-10 * math.log10(noise) if noise else None,
    )


@dataclass(frozen=True)
class _Option:
    bits: int
    size_bits: int
    noise: float


def _hull(sensitivity: Sensitivity) -> list[_Option]:
    """A weight's options on the lower convex hull of noise over size, the smallest first."""
    options = [
        _Option(bits, loss.size_bits, loss.noise) for bits, loss in sensitivity.losses.items()
    ]
    options.append(_Option(HALF_BITS, HALF_BITS * sensitivity.elements, 0.0))
    hull: list[_Option] = []
    for option in sorted(options, key=lambda each: (each.size_bits, each.noise)):
        if hull and option.noise >= hull[-1].noise:
            continue
        while len(hull) > 1 and _slope(hull[-1], option) >= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(option)
    return hull


def _slope(smaller: _Option, larger: _Option) -> float:
    """Noise that a bit takes away."""
    return (smaller.noise - larger.noise) / (larger.size_bits - smaller.size_bits)


def _steps(hulls: Mapping[str, list[_Option]]) -> list[tuple[float, int, str, int]]:
    """All steps up, the steepest first; equal ones by size, then by key, so that runs agree."""
    return sorted(
        (-_slope(hull[step - 1], hull[step]), hull[step].size_bits, key, step)
        for key, hull in hulls.items()
        for step in range(1, len(hull))
    )
