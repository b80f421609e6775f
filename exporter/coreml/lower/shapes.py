"""Rules of operators that move values and compute none."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.lower.rules import Lowering, Var, Weight, argument, rule
from exporter.coreml.program import shape_of

_aten: Any = torch.ops.aten


@rule(
    _aten.view.default,
    _aten.reshape.default,
    _aten._unsafe_view.default,
    _aten.unsqueeze.default,
    _aten.squeeze.dim,
    _aten.squeeze.dims,
    _aten.flatten.using_ints,
)
def reshape(low: Lowering, node: Node) -> Any:
    """The same values in another shape, a weight's too."""
    found, shape = low.value(node.args[0]), shape_of(node)
    if isinstance(found, Weight):
        return Weight(found.key, shape, found.dtype)
    return low.mb.reshape(x=low.var(node.args[0]), shape=list(shape))


@rule(_aten.permute.default)
def permute(low: Lowering, node: Node) -> Var:
    """Axes in another order."""
    rank = len(shape_of(node))
    order = [int(axis) % rank for axis in argument(node, 1, "dims")]
    return low.mb.transpose(x=low.var(node.args[0]), perm=order)


@rule(_aten.transpose.int)
def transpose(low: Lowering, node: Node) -> Var:
    """Two axes exchanged."""
    rank = len(shape_of(node))
    order = list(range(rank))
    one, other = (int(axis) % rank for axis in node.args[1:3])  # pyright: ignore[reportArgumentType]
    order[one], order[other] = order[other], order[one]
    return low.mb.transpose(x=low.var(node.args[0]), perm=order)


@rule(_aten.cat.default, _aten.concat.default)
def concat(low: Lowering, node: Node) -> Var:
    """Tensors side by side, in the widest of their dtypes."""
    listed: Any = node.args[0]
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(node))
    return low.mb.concat(values=[low.widened(one, node) for one in listed], axis=axis)


@rule(_aten.split.Tensor, _aten.split_with_sizes.default)
def split(low: Lowering, node: Node) -> list[Var]:
    """Pieces along an axis."""
    source = node.args[0]
    assert isinstance(source, Node)
    shape = shape_of(source)
    axis = int(argument(node, 2, "dim", 0)) % len(shape)
    given: Any = node.args[1]
    sizes = _pieces(shape[axis], given) if isinstance(given, int) else [int(n) for n in given]
    pieces = low.mb.split(x=low.var(source), split_sizes=sizes, axis=axis)
    return list(pieces) if isinstance(pieces, list | tuple) else [pieces]


def _pieces(whole: int, size: int) -> list[int]:
    return [min(size, whole - start) for start in range(0, whole, size)]


@rule(_aten.slice.Tensor)
def slice_axis(low: Lowering, node: Node) -> Var:
    """A stretch of an axis."""
    source = node.args[0]
    assert isinstance(source, Node)
    shape, result = shape_of(source), shape_of(node)
    if shape == result:
        return low.value(source)
    axis = int(argument(node, 1, "dim", 0)) % len(shape)
    start, step = int(argument(node, 2, "start") or 0), int(argument(node, 4, "step", 1))
    start = max(start + shape[axis], 0) if start < 0 else start
    begin, end, stride = [0] * len(shape), list(shape), [1] * len(shape)
    begin[axis], end[axis], stride[axis] = start, start + (result[axis] - 1) * step + 1, step
    return low.mb.slice_by_index(x=low.var(source), begin=begin, end=end, stride=stride)


@rule(_aten.expand.default)
def expand(low: Lowering, node: Node) -> Any:
    """Axes of one repeated."""
    source = node.args[0]
    assert isinstance(source, Node)
    before, after = shape_of(source), shape_of(node)
    if before == after:
        return low.value(source)
    padded = (1,) * (len(after) - len(before)) + before
    x = low.var(source)
    x = x if padded == before else low.mb.reshape(x=x, shape=list(padded))
    reps = [new if old != new else 1 for old, new in zip(padded, after, strict=True)]
    return low.mb.tile(x=x, reps=reps)


@rule(_aten.pad.default, _aten.constant_pad_nd.default)
def pad(low: Lowering, node: Node) -> Var:
    """Zeros around the last axes; torch counts from the last, MIL from the first."""
    source, given = node.args[0], [int(n) for n in argument(node, 1, "pad")]
    assert isinstance(source, Node)
    assert argument(node, 2, "mode", "constant") in ("constant", 0, 0.0), node
    around = [0, 0] * (len(shape_of(source)) - len(given) // 2)
    for place in range(len(given) - 2, -1, -2):
        around += given[place : place + 2]
    return low.mb.pad(
        x=low.var(source), pad=around, mode="constant", constant_val=low.var(0.0, source)
    )


@rule(_aten.gather.default)
def gather(low: Lowering, node: Node) -> Var:
    """Values along an axis, each by its own index."""
    return low.mb.gather_along_axis(
        x=low.var(node.args[0]), indices=low.var(node.args[2]), axis=int(argument(node, 1, "dim"))
    )
