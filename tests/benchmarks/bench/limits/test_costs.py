"""FLOPs of single nodes, worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import benchmarks.bench.limits
from benchmarks.bench.limits.costs import PRODUCTS, Cost, cost
from benchmarks.bench.limits.graph import CountError, Node, Shape, Tensor
from benchmarks.bench.limits.operators import (
    FLOPS_PER_INPUT,
    FLOPS_PER_OUTPUT,
    MOVES,
    PARTIAL_READS,
    PER_INPUT,
    PER_OUTPUT,
    VIEWS,
)

README = Path(benchmarks.bench.limits.__path__[0]) / "README.md"


def tensor(shape: Shape | None) -> Tensor | None:
    return None if shape is None else Tensor(shape, 32, True)


def node(
    kind: str, inputs: list[Shape | None], output: Shape, domain: str = "", **attributes: Any
) -> Node:
    given = tuple(tensor(shape) for shape in inputs)
    return Node("n", kind, given, (Tensor(output, 32, True),), attributes, domain)


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "attributes", "products"),
    [
        ("Conv", [(2, 8, 9, 9), (6, 4, 3, 3), (6,)], (2, 6, 9, 9), {}, 2 * 2 * 6 * 81 * 4 * 9),
        ("Convolution", [(1, 8, 4), (6, 8, 3)], (1, 6, 4), {}, 2 * 6 * 4 * 8 * 3),
        ("GroupConvolution", [(1, 8, 4), (2, 3, 4, 3)], (1, 6, 4), {}, 2 * 6 * 4 * 4 * 3),
        ("ConvTranspose", [(1, 8, 4), (8, 3, 2)], (1, 3, 8), {}, 2 * 8 * 4 * 3 * 2),
        ("ConvolutionBackpropData", [(1, 8, 4), (8, 3, 2)], (1, 3, 8), {}, 2 * 8 * 4 * 3 * 2),
        (
            "GroupConvolutionBackpropData",
            [(1, 8, 4), (2, 4, 3, 2)],
            (1, 6, 8),
            {},
            2 * 8 * 4 * 3 * 2,
        ),
        ("QLinearConv", [(1, 8, 4), (), (), (6, 8, 3)], (1, 6, 4), {}, 2 * 6 * 4 * 8 * 3),
        ("MatMul", [(5, 2, 3), (3, 4)], (5, 2, 4), {}, 2 * 5 * 2 * 4 * 3),
        ("MatMul", [(3,), (3, 4)], (4,), {"transpose_a": True}, 2 * 4 * 3),
        ("MatMul", [(3, 2), (3, 4)], (2, 4), {"transpose_a": True}, 2 * 2 * 4 * 3),
        ("Gemm", [(3, 2), (4, 3), (4,)], (2, 4), {"transA": 1, "transB": 1}, 2 * 2 * 4 * 3),
        ("Einsum", [(5, 2, 3), (5, 4, 3)], (5, 2, 4), {"equation": b"bik, bjk -> bij"}, 240),
    ],
)
def test_products_are_two_operations_for_each_multiplication(
    kind: str, inputs: list[Shape | None], output: Shape, attributes: Any, products: float
) -> None:
    assert cost(node(kind, inputs, output, **attributes)) == Cost(products, 0)


ROWS, KEYS, HEADS, SIZE, N = 6, 5, 4, 3, 2
INNER = 2 * N * HEADS * ROWS * KEYS * SIZE * 2
SCORES = N * HEADS * ROWS * KEYS
Q, K = (N, ROWS, HEADS * SIZE), (N, KEYS, HEADS * SIZE)
Q4, K4 = (N, HEADS, ROWS, SIZE), (N, HEADS, KEYS, SIZE)
MS = "com.microsoft"


@pytest.mark.parametrize(
    ("kind", "domain", "inputs", "attributes"),
    [
        ("MultiHeadAttention", MS, [Q, K, K], {"num_heads": HEADS}),
        ("MultiHeadAttention", MS, [Q, K4, K4], {"num_heads": HEADS}),
        ("MultiHeadAttention", MS, [Q, (N, KEYS, HEADS, 2, SIZE)], {"num_heads": HEADS}),
        ("Attention", "", [Q4, K4, K4], {}),
        ("Attention", "", [Q, K, K], {"q_num_heads": HEADS, "kv_num_heads": HEADS}),
        ("ScaledDotProductAttention", "", [Q4, K4, K4], {}),
    ],
)
def test_attention_is_two_products_and_a_softmax(
    kind: str, domain: str, inputs: list[Shape | None], attributes: Mapping[str, Any]
) -> None:
    found = cost(node(kind, inputs, Q, domain, **attributes))
    assert found == Cost(INNER, 6 * SCORES)


def test_keys_of_earlier_calls_count() -> None:
    past = (N, HEADS, KEYS, SIZE)
    cached = node(
        "MultiHeadAttention", [Q, K, K, None, None, None, past, past], Q, MS, num_heads=HEADS
    )
    assert cost(cached) == Cost(2 * INNER, 12 * SCORES)
    assert cost(node("Attention", [Q4, K4, K4, None, past, past], Q4)) == Cost(
        2 * INNER, 12 * SCORES
    )


def test_fewer_heads_of_keys_than_of_queries() -> None:
    shared = (N, KEYS, 2 * SIZE)
    grouped = node("Attention", [Q, shared, shared], Q, q_num_heads=HEADS, kv_num_heads=2)
    assert cost(grouped) == Cost(INNER, 6 * SCORES)


def test_packed_attention_has_its_projection_and_packed_rows() -> None:
    width, inner = HEADS * SIZE, 2 * N * HEADS * ROWS * ROWS * SIZE * 2
    packed = node("Attention", [(N, ROWS, 7), (7, 3 * width)], Q, MS, num_heads=HEADS)
    assert cost(packed).products == inner + 2 * N * ROWS * 7 * 3 * width
    together = node("MultiHeadAttention", [(N, ROWS, HEADS, 3, SIZE)], Q, MS, num_heads=HEADS)
    assert cost(together).products == inner


def test_a_fused_convolution_has_its_activation() -> None:
    fused = node("FusedConv", [(1, 8, 4), (6, 8, 3)], (1, 6, 4), MS, activation=b"Sigmoid")
    assert cost(fused) == Cost(2 * 6 * 4 * 8 * 3, 3 * 6 * 4)


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "flops"),
    [
        ("Add", [(2, 3), (3,)], (2, 3), 6),
        ("Sigmoid", [(2, 3)], (2, 3), 18),
        ("Softmax", [(2, 3)], (2, 3), 30),
        ("LayerNormalization", [(2, 3), (3,), (3,)], (2, 3), 42),
        ("ReduceMean", [(2, 3)], (2,), 6),
        ("Transpose", [(2, 3)], (3, 2), 0),
    ],
)
def test_per_element(kind: str, inputs: list[Shape | None], output: Shape, flops: float) -> None:
    assert cost(node(kind, inputs, output)) == Cost(0, flops)


@pytest.mark.parametrize("mode", [b"nearest", "nearest"], ids=["onnx", "openvino"])
def test_nearest_neighbours_are_moved(mode: object) -> None:
    assert cost(node("Resize", [(2, 3)], (4, 6), mode=mode)) == Cost(0, 0)
    assert cost(node("Resize", [(2, 3)], (4, 6), mode="linear")) == Cost(0, 8 * 24)


def test_sums_of_whole_numbers_are_no_floating_point_operations() -> None:
    whole = Tensor((4,), 64, False)
    assert cost(Node("n", "Add", (whole, whole), (whole,))) == Cost(0, 0)


def test_an_unknown_operator_counts_as_element_wise() -> None:
    assert cost(node("Wavelet", [(2, 3)], (2, 4))) == Cost(0, 8, known=False)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (
            node("Einsum", [(2, 3)], (2,), equation="ij->i"),
            "n (Einsum) has an equation that can't be counted.",
        ),
        (
            node("MultiHeadAttention", [(2, 3, 4)], (2, 3, 4), MS, num_heads=2),
            "n (com.microsoft.MultiHeadAttention) has no keys; it can't be counted.",
        ),
        (node("Conv", [(1, 8, 4), None], (1, 6, 4)), "n (Conv) has no input 1."),
    ],
)
def test_what_can_not_be_counted(bad: Node, error: str) -> None:
    with pytest.raises(CountError, match=f"^{re.escape(error)}$"):
        cost(bad)


def test_an_operator_has_one_place() -> None:
    tables = [MOVES, set(PER_OUTPUT), set(PER_INPUT), set(PRODUCTS)]
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))
    assert sum(map(len, FLOPS_PER_OUTPUT.values())) == len(PER_OUTPUT)
    assert sum(map(len, FLOPS_PER_INPUT.values())) == len(PER_INPUT)
    assert VIEWS <= MOVES
    assert PARTIAL_READS <= MOVES


def test_the_readme_shows_the_tables() -> None:
    text = README.read_text(encoding="utf-8")
    for title, table in (("output", FLOPS_PER_OUTPUT), ("input", FLOPS_PER_INPUT)):
        for flops, names in table.items():
            assert f"| {flops:g} per {title} element | {', '.join(names)} |" in text
    assert f"| 0 | {', '.join(sorted(MOVES))} |" in text
