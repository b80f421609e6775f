"""How the random weights are drawn: a law per kind of tensor, and a stream per tensor.

The laws keep activations of order 1 through hundreds of layers: weights are scaled by the square
root of their fan-in, the last layer of every residual branch is smaller, queries and keys are
larger (otherwise attention over 4096 tokens averages its values away). Outputs lie where a trained
model's do: predicted noise of standard deviation about 1, pictures within about [-1.5, 1.5],
latents of standard deviation about 1 after scaling.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Dtype = Literal["fp16", "fp32", "bf16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)

Values = NDArray[np.generic]

_STORED: Mapping[Dtype, str] = {"fp16": "<f2", "fp32": "<f4", "bf16": "<u2"}
_CHUNK = 2**16
_LOW_HALVES = np.uint64(0x0000FFFF0000FFFF)
_LOW_WORD = np.uint64(0xFFFFFFFF)
# The sum of four 16-bit integers: its mean, and the inverse of its standard deviation.
_MEAN = np.float32(2 * (2**16 - 1))
_INVERSE_STD = np.float32(1 / math.sqrt(4 * (2**32 - 1) / 12))


@dataclass(frozen=True)
class Law:
    """value = mean + std · z, with z near-normal of variance 1.

    Attributes:
        mean: the mean.
        std: the standard deviation; with `per_fan_in`, that of a sum of fan-in terms of variance 1.
        per_fan_in: divide `std` by the square root of the tensor's fan-in.
    """

    mean: float = 0.0
    std: float = 1.0
    per_fan_in: bool = True


def _weight(gain: float) -> Law:
    return Law(std=gain)


def _value(mean: float, std: float) -> Law:
    return Law(mean, std, per_fan_in=False)


# E[silu(z)²] = 0.356 for normal z: 1/sqrt(0.356) = 1.68 makes up for it after norm and SiLU.
_AFTER_SILU = 1.68

LAWS: Sequence[tuple[str, tuple[Law, ...]]] = (
    # The VAE's moments: means of standard deviation 1/0.18215, log variances near -10.
    (r"^vae/quant_conv\.weight$", (_weight(5.5), _weight(0.3))),
    (r"^vae/quant_conv\.bias$", (_value(0, 0.05), _value(-10, 0.05))),
    (r"^vae/post_quant_conv\.weight$", (_weight(0.18),)),
    (r"^(vae|vqvae)/decoder\.conv_out\.weight$", (_weight(0.4),)),
    (r"conv_out\.weight$", (_weight(_AFTER_SILU),)),
    # The codebook's vectors lie as latents do, or one would be the nearest to all.
    (r"quantize\.embedding\.weight$", (_value(0, 1),)),
    (r"norm\w*\.weight$", (_value(1, 0.1),)),
    (r"norm\w*\.bias$", (_value(0, 0.1),)),
    # Adaptive norms: deviations from a scale of 1 and a shift of 0.
    (r"norm\w*\.linear\.weight$", (_weight(0.5),)),
    (r"\.bias$", (_value(0, 0.05),)),
    (r"token_embedding\.weight$", (_value(0, 0.7),)),
    (r"position_embedding\.weight$", (_value(0, 0.3),)),
    (r"class_embedding\.weight$", (_value(0, 0.7),)),
    (r"(to_q|to_k|q_proj|k_proj)\.weight$", (_weight(1.5),)),
    (r"(conv2|to_out\.0|net\.2|proj_out|out_proj|fc2)\.weight$", (_weight(0.7),)),
    (r"time_embedding\.linear_1\.weight$", (_weight(math.sqrt(2)),)),
    (
        r"(time_embedding\.linear_2|add_embedding\.linear_2|time_emb_proj|conv1)\.weight$",
        (_weight(_AFTER_SILU),),
    ),
    (r"\.weight$", (_weight(1),)),
)
"""Pattern of `component/weight name` → laws; the first that matches holds.

Several laws share the first axis in equal parts.
"""


def laws_of(path: str) -> tuple[Law, ...]:
    """The laws of a weight, by `component/name`.

    Raises:
        LookupError: no pattern matches: a new kind of tensor wants a line in `LAWS`.
    """
    for pattern, laws in LAWS:
        if re.search(pattern, path):
            return laws
    raise LookupError(f"no law for {path}")


def draw(path: str, shape: Sequence[int], dtype: Dtype, seed: int) -> Iterator[Values]:
    """Draws one tensor, in chunks. Its values depend on nothing but the arguments.

    Args:
        path: `component/name`, the name as in the Diffusers folder.
        shape: the tensor's shape.
        dtype: "fp16", "fp32" or "bf16" (as uint16 bits).
        seed: any integer.

    Yields:
        The flat tensor's chunks, little-endian.

    Raises:
        LookupError: no law fits the path.
    """
    key = hashlib.sha256(f"{seed}:{path}".encode()).digest()[:16]
    stream = np.random.Philox(key=int.from_bytes(key, "little"))
    fan_in = math.prod(shape[1:])
    laws = laws_of(path)
    size = math.prod(shape) // len(laws)
    for law in laws:
        std = law.std / math.sqrt(fan_in) if law.per_fan_in else law.std
        for start in range(0, size, _CHUNK):
            values = near_normal(stream.random_raw(min(_CHUNK, size - start)))
            values = values * np.float32(std) + np.float32(law.mean)
            yield _store(values, dtype)


def _store(values: NDArray[np.float32], dtype: Dtype) -> Values:
    stored = bf16_bits(values) if dtype == "bf16" else values
    return stored.astype(_STORED[dtype], copy=False)


def near_normal(raw: NDArray[np.uint64]) -> NDArray[np.float32]:
    """The standardised sum of the four 16-bit words of each integer: within ±3.47, variance 1.

    Irwin–Hall of order 4; its kurtosis is 2.7 where a normal has 3. NumPy keeps the stream of raw
    integers from version to version, and that of its normals not.
    """
    pairs = (raw & _LOW_HALVES) + ((raw >> np.uint64(16)) & _LOW_HALVES)
    sums = (pairs + (pairs >> np.uint64(32))) & _LOW_WORD
    return (sums.astype(np.float32) - _MEAN) * _INVERSE_STD


def bf16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounds finite float32 to bfloat16, to nearest and ties to even; returns the bits."""
    bits = values.view(np.uint32)
    rounding = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + rounding) >> np.uint32(16)).astype(np.uint16)
