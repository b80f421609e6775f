"""Readings: each is checked by torch, on a tensor that lies as (batch, channels, 1, sequence)."""

from __future__ import annotations

import pytest
import torch

from exporter.coreml.rewrites.axes import (
    Axis,
    Reading,
    channels,
    channels_last,
    in_order,
    length,
    lies_so,
    permuted,
    reshaped,
    sizes_of,
)

PICTURE: Reading = (Axis("c", 0, 6), Axis("s", 0, 4), Axis("s", 1, 5))


def values(reading: Reading) -> torch.Tensor:
    """The captured value of numbers that lie as (1, channels, 1, sequence)."""
    lying = in_order(reading)
    order = [0, *(lying.index(axis) + 1 for axis in reading)]
    count = channels(reading) * length(reading)
    return torch.arange(count).reshape(1, *sizes_of(lying)).permute(order)


def read(*axes: str) -> Reading:
    """Such as "c1:3": the second part of the channels, of size 3."""
    parts = [axis.split(":") for axis in axes]
    return tuple(
        Axis("c" if name[0] == "c" else "s", int(name[1:]), int(size)) for name, size in parts
    )


@pytest.mark.parametrize(
    ("before", "sizes", "after"),
    [
        (read("s0:4", "s1:5", "c0:6"), (20, 6), read("s0:20", "c0:6")),
        (read("s0:20", "c0:6"), (4, 5, 6), read("s0:4", "s1:5", "c0:6")),
        (read("s0:20", "c0:6"), (20, 2, 3), read("s0:20", "c0:2", "c1:3")),
        (read("s0:20", "c0:6"), (20, 1, 6), read("s0:20", "c0:1", "c1:6")),
        (read("s0:20", "c0:2", "c1:3"), (20, 6), read("s0:20", "c0:6")),
        (read("c0:2", "s0:20", "c1:3"), (2, 4, 5, 3), read("c0:2", "s0:4", "s1:5", "c1:3")),
        (read("c0:6", "s0:1", "s1:7"), (6, 7), read("c0:6", "s0:7")),
        (read("s0:8", "c0:6"), (2, 2, 2, 6), read("s0:2", "s1:2", "s2:2", "c0:6")),
        (read("s0:6", "s1:4", "c0:6"), (8, 3, 6), read("s0:8", "s1:3", "c0:6")),
        # Not neighbours in memory, of two kinds, or parts of neither.
        (read("c0:2", "s0:20", "c1:3"), (2, 60), None),
        (read("s0:20", "c0:6"), (120,), None),
        (read("s1:5", "s0:4", "c0:6"), (20, 6), None),
        (read("s0:20", "c0:6"), (3, 40), None),
        (read("s0:20", "c0:6"), (20, 6, 1), None),
    ],
)
def test_a_reshape_joins_neighbours_and_parts_axes(
    before: Reading, sizes: tuple[int, ...], after: Reading | None
) -> None:
    assert reshaped(before, sizes) == after
    if after is not None:
        assert torch.equal(values(before).reshape(1, *sizes), values(after))


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 2, 3), (0, 3, 2, 1)])
def test_a_permutation_moves_axes(order: tuple[int, ...]) -> None:
    after = permuted(PICTURE, order)
    assert after is not None
    assert torch.equal(values(PICTURE).permute(order), values(after))


def test_the_batch_stays_first() -> None:
    assert permuted(PICTURE, (1, 0, 2, 3)) is None


def test_a_picture_lies_so_and_a_sequence_does_not() -> None:
    assert lies_so(PICTURE)
    assert not lies_so(read("s0:20", "c0:6"))
    assert not lies_so(read("c0:6", "s1:5", "s0:4"))


@pytest.mark.parametrize(
    ("reading", "last"),
    [
        (read("s0:20", "c0:6"), True),
        (read("s0:4", "s1:5", "c0:6"), True),
        (PICTURE, False),
        (read("s0:20", "c0:2", "c1:3"), False),
    ],
)
def test_linear_layers_need_all_channels_last(reading: Reading, last: bool) -> None:
    assert channels_last(reading) == last
