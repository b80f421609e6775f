"""Rules of what has weights: convolution, linear layers, normalisation, embedding, upsampling."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.lower.rules import Lowering, Var, argument, rule
from exporter.coreml.operators import CHANNEL_NORM
from exporter.coreml.program import shape_of
from exporter.errors import CompileError

_aten: Any = torch.ops.aten


@rule(_aten.linear.default)
def linear(low: Lowering, node: Node) -> Var:
    """Products with a matrix, and a bias."""
    bias = argument(node, 2, "bias")
    given = {} if bias is None else {"bias": low.var(bias)}
    return low.mb.linear(x=low.read(*node.args[:2]), weight=low.matrix(node.args[1]), **given)


@rule(_aten.conv2d.default)
def conv2d(low: Lowering, node: Node) -> Var:
    """A convolution with zeros around."""
    bias, pads = argument(node, 2, "bias"), _pair(argument(node, 4, "padding", 0))
    given = {} if bias is None else {"bias": low.var(bias)}
    around = {"pad_type": "valid"}
    if any(pads):
        around = {"pad_type": "custom", "pad": [pads[0], pads[0], pads[1], pads[1]]}
    return low.mb.conv(
        x=low.read(*node.args[:2]),
        weight=low.matrix(node.args[1]),
        strides=_pair(argument(node, 3, "stride", 1)),
        dilations=_pair(argument(node, 5, "dilation", 1)),
        groups=int(argument(node, 6, "groups", 1)),
        **around,
        **given,
    )


@rule(_aten.group_norm.default)
def group_norm(low: Lowering, node: Node) -> Var:
    """Over each group of channels: an instance norm of as many channels as there are groups.

    One operator leaves the squares to the engine: written out, as Core ML's own converter does it,
    those of deviations above 255 are infinite in half precision.
    """
    x, source, groups = low.var(node.args[0]), node.args[0], node.args[1]
    assert isinstance(source, Node)
    assert isinstance(groups, int)
    shape = shape_of(source)
    ones = [1] * (len(shape) - 2)
    grouped = low.mb.reshape(x=x, shape=_grouped(shape, groups))
    normed = low.mb.instance_norm(x=grouped, epsilon=low.var(argument(node, 4, "eps", 1e-5), node))
    found = low.mb.reshape(x=normed, shape=list(shape))
    for place, name, operation in ((2, "weight", "mul"), (3, "bias", "add")):
        given = argument(node, place, name)
        if given is not None:
            by_channel = low.mb.reshape(x=low.var(given), shape=[1, shape[1], *ones])
            found = getattr(low.mb, operation)(x=found, y=by_channel)
    return found


def _grouped(shape: tuple[int, ...], groups: int) -> list[int]:
    """[b, c, …] by groups; the channels of one lie along the first axis of the picture."""
    batch, channels, *rest = shape
    first, *others = rest or [1]
    return [batch, groups, channels // groups * first, *others]


@rule(_aten.layer_norm.default)
def layer_norm(low: Lowering, node: Node) -> Var:
    """Over the last axes."""
    source, sizes = node.args[0], argument(node, 1, "normalized_shape")
    assert isinstance(source, Node)
    rank = len(shape_of(source))
    weight, bias = argument(node, 2, "weight"), argument(node, 3, "bias")
    given = {"gamma": weight, "beta": bias}
    return low.mb.layer_norm(
        x=low.var(source),
        axes=list(range(rank - len(sizes), rank)),
        epsilon=low.var(argument(node, 4, "eps", 1e-5), node),
        **{name: low.var(value) for name, value in given.items() if value is not None},
    )


@rule(CHANNEL_NORM)
def channel_norm(low: Lowering, node: Node) -> Var:
    """Layer norm over the channels of a picture."""
    given = {"gamma": node.args[1], "beta": node.args[2]}
    return low.mb.layer_norm(
        x=low.var(node.args[0]),
        axes=[1],
        epsilon=low.var(node.args[3], node),
        **{name: low.var(value) for name, value in given.items() if value is not None},
    )


@rule(_aten.embedding.default)
def embedding(low: Lowering, node: Node) -> Var:
    """Rows of a table."""
    return low.mb.gather(x=low.var(node.args[0]), indices=low.var(node.args[1]), axis=0)


@rule(_aten.upsample_nearest2d.vec)
def upsample_nearest(low: Lowering, node: Node) -> Var:
    """Each value as often as the side grows, a whole number.

    Raises:
        CompileError: it isn't one.
    """
    source = node.args[0]
    assert isinstance(source, Node)
    before, after = shape_of(source)[2:], shape_of(node)[2:]
    if any(new % old for old, new in zip(before, after, strict=True)):
        raise CompileError(
            f"{node.name} upsamples {list(before)} to {list(after)}, which are no multiples; give "
            "a height and width that the U-Net halves without a rest."
        )
    scales = [float(new // old) for old, new in zip(before, after, strict=True)]
    return low.mb.upsample_nearest_neighbor(
        x=low.var(source), scale_factor_height=scales[0], scale_factor_width=scales[1]
    )


def _pair(given: Any) -> list[int]:
    values = list(given) if isinstance(given, list | tuple) else [given]
    return [int(value) for value in (values * 2 if len(values) == 1 else values)]
