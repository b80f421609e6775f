"""What the axes of a value mean, where the value lies as (batch, channels, 1, sequence).

A transformer's values are [b, s, c], those of its attention [b, heads, s, d], those around it
[b, h, w, c] and [b, c, h, w]. All are the same numbers, in the same order or transposed. A value
that lies as (b, c, 1, s) is each of these by its *reading*: what its axes but the batch are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Axis:
    """A part of the channels or of the sequence.

    Attributes:
        kind: "c" of the channels, "s" of the sequence.
        place: among the parts of its kind, from the slowest on: heads before their channels, rows
            before columns.
        size: number of elements.
    """

    kind: Literal["c", "s"]
    place: int
    size: int


Reading = tuple[Axis, ...]
"""A value's axes in order, without the batch."""


def sizes_of(reading: Reading) -> tuple[int, ...]:
    """The shape without the batch."""
    return tuple(axis.size for axis in reading)


def in_order(reading: Reading) -> Reading:
    """The axes as they lie: channels before sequence, each kind's parts in their places."""
    return tuple(sorted(reading, key=lambda axis: (axis.kind, axis.place)))


def lies_so(reading: Reading) -> bool:
    """Whether the value has the order of memory of (b, c, 1, s), as a picture [b, c, h, w] has."""
    return reading == in_order(reading)


def channels(reading: Reading) -> int:
    """The number of channels."""
    return math.prod(axis.size for axis in reading if axis.kind == "c")


def length(reading: Reading) -> int:
    """The length of the sequence."""
    return math.prod(axis.size for axis in reading if axis.kind == "s")


def channels_last(reading: Reading) -> bool:
    """Whether the last axis, and no other, is of channels: what linear layers work along."""
    return [axis.kind for axis in reading if axis.kind == "c"] == ["c"] and reading[-1].kind == "c"


def with_channels(reading: Reading, size: int) -> Reading:
    """A reading whose last axis, its channels, has another size."""
    return (*reading[:-1], replace(reading[-1], size=size))


def permuted(reading: Reading, order: Sequence[int]) -> Reading | None:
    """The reading after a permutation of all axes; None where it moves the batch."""
    if order[0] != 0:
        return None
    return tuple(reading[axis - 1] for axis in order[1:])


def reshaped(reading: Reading, sizes: Sequence[int]) -> Reading | None:
    """The reading after a reshape, batch left out.

    Returns:
        None where the new axes aren't neighbours of one kind joined, or parts of one.
    """
    left, found = list(reading), list[tuple[Axis, int]]()
    for size in sizes:
        if not left:
            return None
        axis = left.pop(0)
        while axis.size < size and left and _follows(left[0], axis):
            after = left.pop(0)
            axis = replace(after, size=axis.size * after.size)
        if axis.size % size:
            return None
        found.append((replace(axis, size=size), len(found)))
        if axis.size > size:
            left.insert(0, replace(axis, size=axis.size // size))
    return None if left else _placed(found)


def _follows(axis: Axis, before: Axis) -> bool:
    return (axis.kind, axis.place) == (before.kind, before.place + 1)


def _placed(found: list[tuple[Axis, int]]) -> Reading:
    """Places counted anew; of parts of one axis, and of joined ones, the earlier is the slower."""
    ranked = sorted(found, key=lambda part: (part[0].kind, part[0].place, part[1]))
    counts = {"c": 0, "s": 0}
    places: dict[int, int] = {}
    for axis, order in ranked:
        places[order] = counts[axis.kind]
        counts[axis.kind] += 1
    return tuple(replace(axis, place=places[order]) for axis, order in found)
