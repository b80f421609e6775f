"""A program in two parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.fx import Node

from exporter.coreml.program import Program, shape_of, value_of
from exporter.coreml.rewrites import rewrite_attention
from exporter.coreml.rewrites.halves import split_program
from exporter.errors import CompileError
from tests.exporter.coreml.rewrites.programs import (
    Case,
    assert_close,
    built,
    case,
    channels_first,
    copied,
)

_aten: Any = torch.ops.aten


def rewritten(name: str, attention: str) -> Program:
    program = copied(case(name).program)
    rewrite_attention(program, attention)
    return program


def bytes_of(captured: Case, part: Program) -> int:
    return sum(captured.weights[key].nbytes for key in part.weights.values())


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        ("sd15", "split-einsum"),
        pytest.param("sd15", "sdpa", marks=pytest.mark.slow),
        pytest.param("sdxl", "original", marks=pytest.mark.slow),
    ],
)
def test_two_parts_are_the_whole(name: str, attention: str) -> None:
    captured, whole = case(name), rewritten(name, attention)
    first, second = split_program(whole, lambda key: captured.weights[key].nbytes)
    feeds = channels_first(captured.feeds)
    crossing = captured.run(first, {port: feeds[port] for port in first.inputs})
    given = {**feeds, **crossing}
    found = captured.run(second, {port: given[port] for port in second.inputs})
    assert_close(found, captured.run(whole, feeds), tolerance=1e-6)

    assert not set(first.weights.values()) & set(second.weights.values())
    one, other = bytes_of(captured, first), bytes_of(captured, second)
    assert one + other == bytes_of(captured, whole)
    assert 0.45 <= one / (one + other) <= 0.55

    assert first.outputs.keys() == second.inputs.keys() - captured.feeds.keys()
    assert all(node.name == port for port, node in first.outputs.items())
    assert second.outputs.keys() == {"out_sample"}
    assert first.inputs.keys() <= captured.feeds.keys()
    # The time's embedding and the text's are made in the first, the text is read in both.
    assert "timestep" not in second.inputs
    assert "encoder_hidden_states" in second.inputs
    for node in first.outputs.values():
        assert value_of(node).dtype == torch.float32
        assert len(shape_of(node)) in (2, 4)


def test_the_whole_stays_as_it_is() -> None:
    captured, whole = case("sd15"), rewritten("sd15", "split-einsum")
    before = str(whole.graph)
    split_program(whole, lambda key: captured.weights[key].nbytes)
    assert str(whole.graph) == before


def test_the_cut_is_where_least_crosses() -> None:
    def make(program: Program, given: dict[str, Node]) -> Node:
        found = given["x"]
        for width in ("wide", "narrow", "wide_again", "last"):
            found = program.call(_aten.linear.default, found, given[width])
        return found

    shapes = {"x": (1, 8), "wide": (64, 8), "narrow": (2, 64), "wide_again": (64, 2)}
    program = weighted(built({**shapes, "last": (8, 64)}, make))
    first, second = split_program(program, lambda key: 100)
    assert set(first.weights) == {"wide", "narrow"}
    assert set(second.weights) == {"wide_again", "last"}
    assert [shape_of(node) for node in first.outputs.values()] == [(1, 2)]
    assert list(second.inputs) == list(first.outputs)


def test_values_of_another_dtype_do_not_cross() -> None:
    def make(program: Program, given: dict[str, Node]) -> Node:
        one = program.call(_aten.linear.default, given["x"], given["one"])
        wide = program.call(_aten._to_copy.default, one, dtype=torch.float64)
        narrow = program.call(_aten._to_copy.default, wide, dtype=torch.float32)
        return program.call(_aten.linear.default, narrow, given["two"])

    program = weighted(built({"x": (1, 8), "one": (8, 8), "two": (8, 8)}, make))
    first, _ = split_program(program, lambda key: 100)
    assert {value_of(node).dtype for node in first.outputs.values()} == {torch.float32}


def test_one_heavy_layer_cannot_be_halved() -> None:
    def make(program: Program, given: dict[str, Node]) -> Node:
        one = program.call(_aten.linear.default, given["x"], given["one"])
        return program.call(_aten.linear.default, one, given["two"])

    program = weighted(built({"x": (1, 8), "one": (8, 8), "two": (8, 8)}, make))
    with pytest.raises(CompileError, match=r"can't be cut in two: nowhere do 45% of its weights"):
        split_program(program, lambda key: 900 if key == "one" else 100)


def weighted(program: Program) -> Program:
    """A program made by hand, whose inputs but x are weights of their own names."""
    names = [name for name in program.inputs if name != "x"]
    for name in names:
        program.weights[name] = name
        del program.inputs[name]
    return program


def test_a_part_has_the_weights_and_inputs_that_it_uses_alone() -> None:
    captured, whole = case("sd15"), rewritten("sd15", "split-einsum")
    for part in split_program(whole, lambda key: captured.weights[key].nbytes):
        placeholders = part.graph.find_nodes(op="placeholder")
        assert all(node.users for node in placeholders)
        inputs = {node.name for node in part.inputs.values()}
        assert {node.name for node in placeholders} == {*part.weights, *part.buffers, *inputs}
