"""Bits for each layer under a budget."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from exporter.coreml.compress.mixed import HALF_BITS, choose
from exporter.coreml.compress.sensitivity import Loss, Sensitivity
from runtimes.errors import UsageError

WIDTHS = (1, 2, 4, 6, 8)


def sensitivity(elements: int, decibels_at_one_bit: float, per_bit: float = 6.0) -> Sensitivity:
    losses = {
        bits: Loss(
            size_bits=bits * elements + 16 * 2**bits,
            psnr_db=decibels_at_one_bit + per_bit * (bits - 1),
        )
        for bits in WIDTHS
    }
    return Sensitivity(elements=elements, losses=losses)


def random_set(seed: int, count: int) -> dict[str, Sensitivity]:
    draw = np.random.default_rng(seed)
    return {
        f"layer.{number}": sensitivity(
            int(draw.integers(3000, 90000)), draw.uniform(10, 50), draw.uniform(4, 7)
        )
        for number in range(count)
    }


def size_bits(found: dict[str, Sensitivity], bits: dict[str, int]) -> int:
    return sum(
        HALF_BITS * found[key].elements if own == HALF_BITS else found[key].losses[own].size_bits
        for key, own in bits.items()
    )


def noise(found: dict[str, Sensitivity], bits: dict[str, int]) -> float:
    return sum(found[k].losses[own].noise for k, own in bits.items() if own != HALF_BITS)


@pytest.mark.parametrize("average", [1.5, 2.5, 4, 4.5, 6, 8, 12])
def test_the_budget_is_kept_and_used(average: float) -> None:
    found = random_set(0, 200)
    chosen = choose(found, average)
    elements = sum(each.elements for each in found.values())
    size = size_bits(found, chosen.bits)
    assert chosen.bits.keys() == found.keys()
    assert size <= average * elements
    assert chosen.average_bits == size / elements
    # What is left is less than the step that didn't fit: of one weight among 200.
    assert chosen.average_bits > average - 0.1
    assert chosen.predicted_psnr_db == pytest.approx(-10 * np.log10(noise(found, chosen.bits)))


@pytest.mark.parametrize("seed", range(4))
def test_no_choice_of_at_most_the_same_size_is_better(seed: int) -> None:
    found = random_set(seed, 5)
    elements = sum(each.elements for each in found.values())
    for average in (2.2, 3.7, 5.1):
        # Where a budget falls between two steps no choice by steps is the best; at its own size.
        chosen = choose(found, choose(found, average).average_bits)
        least = min(
            noise(found, bits)
            for widths in itertools.product((*WIDTHS, HALF_BITS), repeat=len(found))
            if size_bits(found, bits := dict(zip(found, widths, strict=True)))
            <= chosen.average_bits * elements
        )
        assert noise(found, chosen.bits) <= 1.3 * least


def test_weights_that_matter_more_get_more_bits() -> None:
    found = {"calm": sensitivity(50000, 50), "loud": sensitivity(50000, 20)}
    chosen = choose(found, 5.0)
    assert chosen.bits["loud"] > chosen.bits["calm"]


def test_a_weight_stays_as_it_is_where_the_budget_has_room() -> None:
    chosen = choose({"a": sensitivity(3000, 10), "b": sensitivity(90000, 40)}, 8.3)
    assert chosen.bits["a"] == HALF_BITS
    assert choose({"a": sensitivity(3000, 10)}, 15.99).bits == {"a": 8}


def test_equal_outputs_are_no_noise() -> None:
    free = Sensitivity(elements=5000, losses={4: Loss(size_bits=20256, psnr_db=None)})
    chosen = choose({"a": free}, 4.1)
    assert chosen.bits == {"a": 4}
    assert chosen.predicted_psnr_db is None


def test_more_bits_that_lose_more_are_not_taken() -> None:
    odd = sensitivity(50000, 30)
    losses = {**odd.losses, 6: Loss(size_bits=odd.losses[6].size_bits, psnr_db=31.0)}
    chosen = choose({"a": Sensitivity(elements=50000, losses=losses)}, 7.0)
    assert chosen.bits == {"a": 4}


def test_a_budget_below_the_fewest_bits_is_refused() -> None:
    found = {"a": sensitivity(4000, 30)}
    with pytest.raises(UsageError, match=r"1\.005 bits a weight are too few: .* are 1\.008; give"):
        choose(found, 1.005)
    assert choose(found, 1.008).bits == {"a": 1}
