"""Confidence intervals of an accuracy and of the paired difference of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Standard normal quantile of a two-sided interval of 95 %.
Z = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval.

    Attributes:
        estimate: The observed proportion, or difference of proportions.
        low: Lower end.
        high: Upper end.
    """

    estimate: float
    low: float
    high: float


def wilson(successes: int, count: int) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927).

    Raises:
        ValueError: There are no trials, or more successes than trials.
    """
    if not 0 <= successes <= count or count == 0:
        raise ValueError(f"expected 0 <= successes <= count, count > 0; given {successes}, {count}")
    proportion = successes / count
    scale = 1 + Z**2 / count
    middle = (proportion + Z**2 / (2 * count)) / scale
    half = Z / scale * math.sqrt(proportion * (1 - proportion) / count + (Z / (2 * count)) ** 2)
    return Interval(proportion, middle - half, middle + half)


def paired_difference(a: Sequence[bool], b: Sequence[bool]) -> Interval:
    """The difference in accuracy, b minus a, of two sets of answers to the same questions.

    Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data": one is added to both kinds of disagreement, so that two equal
    sets give an interval around 0 that is not empty.

    Raises:
        ValueError: The sets are empty or differ in length.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"paired answers need equal, positive counts; given {len(a)} and {len(b)}")
    gained = sum(right and not before for before, right in zip(a, b, strict=True))
    lost = sum(before and not right for before, right in zip(a, b, strict=True))
    up, down = (gained + 1) / (len(a) + 2), (lost + 1) / (len(a) + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (len(a) + 2))
    return Interval((gained - lost) / len(a), up - down - half, up - down + half)
