"""The random stream against torch's CPU generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from runtimes.errors import UsageError
from runtimes.noise import SEED_MAX, SEED_MIN, Generator

# One unit in the last place of a float32 above 4. torch's own normals differ by as much from one
# instruction set to the next.
NORMAL_TOLERANCE = 5e-7

SEEDS = [0, 1, 42, 1234567890, 2**32 - 1, 2**32, 2**32 + 5, SEED_MAX, -1, -2, SEED_MIN]
SIZES = [0, 1, 2, 5, 15, 16, 17, 31, 32, 33, 1000, 65541]


def torch_generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def assert_normals(ours: object, reference: torch.Tensor, what: str) -> None:
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == np.float32
    assert ours.shape == tuple(reference.shape), what
    worst = np.abs(ours - reference.numpy()).max(initial=0)
    assert worst <= NORMAL_TOLERANCE, f"{what}: off by {worst}"


@pytest.mark.parametrize("seed", SEEDS)
def test_uniforms_equal_torch_bit_for_bit(seed: int) -> None:
    ours, reference = Generator(seed), torch_generator(seed)
    for n in SIZES:
        expected = torch.rand(n, generator=reference).numpy()
        np.testing.assert_array_equal(ours.uniform(n), expected, strict=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", SEEDS)
def test_normals_equal_torch(seed: int, size: int) -> None:
    reference = torch.randn(size, generator=torch_generator(seed))
    assert_normals(Generator(seed).randn((size,)), reference, f"seed {seed}, size {size}")


def test_the_tails_of_a_million_normals_equal_torch() -> None:
    reference = torch.randn(1_000_000, generator=torch_generator(3))
    assert reference.abs().max() > 4.5
    assert_normals(Generator(3).randn((1_000_000,)), reference, "a million")


@given(
    seed=st.integers(SEED_MIN, SEED_MAX),
    shapes=st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=8),
)
# An odd count below 16 leaves a value over, which waits through a draw in blocks.
@example(seed=7, shapes=[[5], [17], [1], [], [4, 4], [3, 5], [0], [1]])
def test_successive_draws_go_on_as_torch_does(seed: int, shapes: list[list[int]]) -> None:
    ours, reference = Generator(seed), torch_generator(seed)
    for index, shape in enumerate(shapes):
        expected = torch.randn(shape, generator=reference)
        assert_normals(ours.randn(shape), expected, f"draw {index} of {shapes}, seed {seed}")
        np.testing.assert_array_equal(ours.uniform(1), torch.rand(1, generator=reference).numpy())


def test_only_the_low_32_bits_of_a_seed_count() -> None:
    np.testing.assert_array_equal(Generator(5).uniform(4), Generator(2**32 + 5).uniform(4))
    assert not np.array_equal(Generator(5).uniform(4), Generator(6).uniform(4))


@pytest.mark.parametrize("seed", [SEED_MIN - 1, SEED_MAX + 1])
def test_a_seed_out_of_range_is_refused_as_in_torch(seed: int) -> None:
    with pytest.raises(ValueError, match="Overflow"):
        torch_generator(seed)
    with pytest.raises(UsageError, match=rf"seed {seed} is out of range; give one from -2\*\*63"):
        Generator(seed)
