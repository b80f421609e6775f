"""One small use of each form of compressed constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtimes.mil.values import Array
from tests.runtimes.mil.packages import save_program

_RNG = np.random.default_rng(5)
HALVES = _RNG.standard_normal((12, 16)).astype(np.float16)
SCALES = np.abs(HALVES[:, 0]) + np.float16(0.1)


@dataclass(frozen=True)
class Case:
    """A use of an operation: `make` builds it with the builder and a caster to small integers."""

    op: str
    opset: str
    make: Callable[[Any, Callable[[Array, str], Array]], Any]


def _whole(low: int, high: int, *shape: int) -> Array:
    return _RNG.integers(low, high + 1, shape)


def _table(bits: int, *groups: int, vector: int = 1) -> Array:
    return _RNG.standard_normal((*groups, 1 << bits, vector)).astype(np.float16)


def _lut(bits: int, groups: tuple[int, int], vector: int = 1, axis: int | None = None) -> Case:
    indices, table = _whole(0, (1 << bits) - 1, 12, 16), _table(bits, *groups, vector=vector)
    more = {} if axis is None else {"vector_axis": axis}
    return Case(
        "constexpr_lut_to_dense",
        "iOS18",
        lambda mb, small: mb.constexpr_lut_to_dense(
            indices=small(indices, f"uint{bits}"), lut=table, **more
        ),
    )


def _blockwise(dtype: str, low: int, high: int, blocks: tuple[int, int], shifted: bool) -> Case:
    data = _whole(low, high, 12, 16)
    scale = np.abs(_RNG.standard_normal(blocks)).astype(np.float16)
    offset = _whole(low, high, *blocks)
    return Case(
        "constexpr_blockwise_shift_scale",
        "iOS18",
        lambda mb, small: mb.constexpr_blockwise_shift_scale(
            data=small(data, dtype),
            scale=scale,
            **({"offset": small(offset, dtype)} if shifted else {}),
        ),
    )


def _packed_lut(bits: int) -> Case:
    count = 5 * 7
    packed = _whole(0, 255, -(-count * bits // 8)).astype(np.uint8)
    table = _table(bits)[:, 0]
    return Case(
        "constexpr_lut_to_dense",
        "iOS16",
        lambda mb, small: mb.constexpr_lut_to_dense(
            indices=packed, lut=table, shape=np.array([5, 7], np.uint32)
        ),
    )


MASK = _whole(0, 1, 12, 16)
KEPT = HALVES[MASK != 0]
LEVELS = _whole(-8, 7, int(MASK.sum()))
ENTRIES = _whole(0, 3, int(MASK.sum()))
ENTRY, PAIR = _table(2, 1, 1), _table(2, 1, 1, vector=2)
BYTES = _whole(0, 255, 12, 16)


COMPRESSED: dict[str, Case] = {
    "affine": Case(
        "constexpr_affine_dequantize",
        "iOS16",
        lambda mb, small: mb.constexpr_affine_dequantize(
            quantized_data=BYTES.astype(np.uint8),
            zero_point=np.uint8(77),
            scale=np.float16(0.3),
            axis=0,
        ),
    ),
    "affine by channel": Case(
        "constexpr_affine_dequantize",
        "iOS16",
        lambda mb, small: mb.constexpr_affine_dequantize(
            quantized_data=(BYTES - 128).astype(np.int8),
            zero_point=np.arange(-6, 6, dtype=np.int8),
            scale=SCALES,
            axis=0,
        ),
    ),
    "cast": Case(
        "constexpr_cast",
        "iOS16",
        lambda mb, small: mb.constexpr_cast(source_val=HALVES, output_dtype="fp32"),
    ),
    **{f"packed table of {bits} bits": _packed_lut(bits) for bits in (1, 2, 4, 6, 8)},
    "packed mask": Case(
        "constexpr_sparse_to_dense",
        "iOS16",
        lambda mb, small: mb.constexpr_sparse_to_dense(
            nonzero_data=KEPT,
            mask=np.packbits(MASK.astype(bool).reshape(-1), bitorder="little"),
            shape=np.array(MASK.shape, np.uint32),
        ),
    ),
    **{f"table of {bits} bits": _lut(bits, (1, 1)) for bits in (1, 2, 3, 4, 6, 8)},
    "tables by rows": _lut(3, (4, 1)),
    "tables by blocks": _lut(4, (3, 2)),
    "table of pairs by rows": _lut(2, (1, 1), vector=2, axis=0),
    "tables of triples by columns": _lut(2, (2, 1), vector=3, axis=-1),
    "int8 by channel": _blockwise("int8", -128, 127, (12, 1), shifted=False),
    "uint8 by channel, shifted": _blockwise("uint8", 0, 255, (12, 1), shifted=True),
    "int4 by block": _blockwise("int4", -8, 7, (12, 4), shifted=False),
    "uint4 by block, shifted": _blockwise("uint4", 0, 15, (6, 2), shifted=True),
    "mask": Case(
        "constexpr_sparse_to_dense",
        "iOS18",
        lambda mb, small: mb.constexpr_sparse_to_dense(
            nonzero_data=KEPT, mask=small(MASK, "uint1")
        ),
    ),
    "sparse levels": Case(
        "constexpr_sparse_blockwise_shift_scale",
        "iOS18",
        lambda mb, small: mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=small(MASK, "uint1"),
            nonzero_data=small(LEVELS, "int4"),
            scale=SCALES[:, None],
        ),
    ),
    "sparse table": Case(
        "constexpr_lut_to_sparse",
        "iOS18",
        lambda mb, small: mb.constexpr_lut_to_sparse(
            indices_mask=small(MASK, "uint1"),
            indices_nonzero_data=small(ENTRIES, "uint2"),
            lut=ENTRY,
        ),
    ),
    "sparse table of pairs": Case(
        "constexpr_lut_to_sparse",
        "iOS18",
        lambda mb, small: mb.constexpr_lut_to_sparse(
            indices_mask=small(MASK, "uint1"),
            indices_nonzero_data=small(ENTRIES, "uint2"),
            lut=PAIR,
            vector_axis=1,
        ),
    ),
}


def write_compressed(opset: str, path: Path) -> dict[str, Array]:
    """Saves the package of an operation set's cases; returns what coremltools makes of each.

    The results are the program's outputs, named by `output_of`; one more operation makes sparse
    ones dense.
    """
    from coremltools.converters.mil.mil.types.type_mapping import string_to_nptype

    def small(array: Array, dtype: str) -> Array:
        return array.astype(string_to_nptype(dtype))

    expected: dict[str, Array] = {}

    def build(mb: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
        made: list[Any] = [mb.identity(x=given["one"], name="fed")]
        for label, case in COMPRESSED.items():
            if case.opset == opset:
                found = case.make(mb, small)
                if isinstance(found, (tuple, list)):
                    found = mb.constexpr_sparse_to_dense(nonzero_data=found[1], mask=found[0])
                expected[label] = np.array(found.op.materialized_val_inference())
                made.append(mb.identity(x=found, name=output_of(label)))
        return tuple(made)

    save_program(path, opset, {"one": ((1,), "fp32")}, build)
    return expected


def output_of(label: str) -> str:
    """The name of a case's output in its program."""
    return label.replace(" ", "_").replace(",", "")
