"""How operators work on values that lie as (batch, channels, 1, sequence)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.operators import CHANNEL_NORM
from exporter.coreml.program import Program, shape_of, value_of
from exporter.coreml.rewrites.attention import SDPA, Attention, attention_of
from exporter.coreml.rewrites.axes import (
    Axis,
    Reading,
    channels_last,
    lies_so,
    permuted,
    reshaped,
    with_channels,
)
from exporter.coreml.rewrites.channel_layout import ChannelLayout, Rule, Twin

_aten: Any = torch.ops.aten

_CHANNELS, _SEQUENCE = 1, 3

Heads = Callable[[Program, Attention, int], Node]
"""Makes attention whose query, key and value are (b, channels, 1, sequence), of so many heads."""


def rules(heads: Heads) -> Mapping[object, Rule]:
    """The rule of each operator.

    Args:
        heads: what attention becomes.
    """
    return {
        **dict.fromkeys(_UNARY, _unary),
        **dict.fromkeys(_BINARY, _binary),
        **dict.fromkeys(_SAME, _same),
        _aten.reshape.default: _reshape,
        _aten.permute.default: _permute,
        _aten.transpose.int: _transpose,
        _aten.linear.default: _linear,
        _aten.layer_norm.default: _layer_norm,
        _aten.split.Tensor: _split,
        operator.getitem: _getitem,
        _aten.cat.default: _concat,
        SDPA: lambda layout, node: _attention(layout, node, heads),
    }


_UNARY: tuple[object, ...] = (
    _aten.gelu.default,
    _aten.silu.default,
    _aten.sigmoid.default,
    _aten.relu.default,
    _aten._to_copy.default,
)
_BINARY: tuple[object, ...] = (
    _aten.add.Tensor,
    _aten.sub.Tensor,
    _aten.mul.Tensor,
    _aten.div.Tensor,
)
_SAME: tuple[object, ...] = (
    _aten.clone.default,
    _aten.alias.default,
    _aten.detach.default,
)


def _unary(layout: ChannelLayout, node: Node) -> Twin | None:
    twin = layout.twins[_first(node)]
    if lies_so(twin.reading):
        return None  # A picture again: what follows is no transformer's.
    return Twin(layout.call(node.target, twin.node, *node.args[1:], **node.kwargs), twin.reading)


def _binary(layout: ChannelLayout, node: Node) -> Twin | None:
    """Two values of one shape, of which one has a twin, or a value and a number."""
    given = [one for one in node.args[:2] if isinstance(one, Node)]
    reading = next(layout.twins[one].reading for one in given if one in layout.twins)
    if lies_so(reading) or any(not _read_so(layout, one, node, reading) for one in given):
        return None
    twins = {one: layout.bring(one, reading).node for one in given}
    args = [twins[one] if isinstance(one, Node) else one for one in node.args]
    return Twin(layout.call(node.target, *args, **node.kwargs), reading)


def _read_so(layout: ChannelLayout, given: Node, node: Node, reading: Reading) -> bool:
    if given in layout.twins:
        return layout.twins[given].reading == reading
    return shape_of(given) == shape_of(node)


def _same(layout: ChannelLayout, node: Node) -> Twin:
    return layout.twins[_first(node)]


def _reshape(layout: ChannelLayout, node: Node) -> Twin | None:
    twin, (batch, *sizes) = layout.twins[_first(node)], shape_of(node)
    kept = batch == shape_of(twin.node)[0]
    return _read_anew(twin, reshaped(twin.reading, sizes) if kept else None)


def _permute(layout: ChannelLayout, node: Node) -> Twin | None:
    twin, given = layout.twins[_first(node)], _listed(node.args[1])
    rank = len(shape_of(node))
    return _read_anew(twin, permuted(twin.reading, [int(axis) % rank for axis in given]))


def _transpose(layout: ChannelLayout, node: Node) -> Twin | None:
    twin, rank = layout.twins[_first(node)], len(shape_of(node))
    order = list(range(rank))
    one, other = (int(str(axis)) % rank for axis in node.args[1:3])
    order[one], order[other] = other, one
    return _read_anew(twin, permuted(twin.reading, order))


def _read_anew(twin: Twin, reading: Reading | None) -> Twin | None:
    return None if reading is None else Twin(twin.node, reading)


def _linear(layout: ChannelLayout, node: Node) -> Twin | None:
    """A 1×1 convolution."""
    twin, weight = layout.twins[_first(node)], node.args[1]
    assert isinstance(weight, Node)
    if not channels_last(twin.reading):
        return None
    given, taken = shape_of(weight)
    kernel = layout.call(_aten.reshape.default, weight, [given, taken, 1, 1])
    bias = _argument(node, 2, "bias", None)
    found = layout.call(_aten.conv2d.default, twin.node, kernel, bias)
    return Twin(found, with_channels(twin.reading, given))


def _layer_norm(layout: ChannelLayout, node: Node) -> Twin | None:
    twin, sizes = layout.twins[_first(node)], _listed(node.args[1])
    if not channels_last(twin.reading) or len(sizes) != 1:
        return None
    weight, bias = _argument(node, 2, "weight", None), _argument(node, 3, "bias", None)
    eps = _argument(node, 4, "eps", 1e-5)
    return Twin(layout.call(CHANNEL_NORM, twin.node, weight, bias, eps), twin.reading)


def _split(layout: ChannelLayout, node: Node) -> Twin | None:
    """Pieces of the channels; each is found by `_getitem`."""
    twin = layout.twins[_first(node)]
    size, axis = node.args[1], int(_argument(node, 2, "dim", 0))
    if not channels_last(twin.reading) or axis % (len(twin.reading) + 1) != len(twin.reading):
        return None
    found = layout.call(_aten.split.Tensor, twin.node, size, _CHANNELS)
    layout.pieces[node] = [
        Twin(layout.call(operator.getitem, found, n), with_channels(twin.reading, piece.shape[1]))
        for n, piece in enumerate(value_of(found))
    ]
    return None


def _getitem(layout: ChannelLayout, node: Node) -> Twin | None:
    source, place = node.args
    return layout.pieces[source][int(str(place))] if source in layout.pieces else None


def _concat(layout: ChannelLayout, node: Node) -> Twin | None:
    """Side by side along the channels or the sequence of [b, s, c]."""
    given: Any = node.args[0]
    axis = int(_argument(node, 1, "dim", 0)) % len(shape_of(node))
    if len(shape_of(node)) != 3 or axis == 0:
        return None
    readings = {one: _sequence(one) for one in given}
    if any(layout.twins[one].reading != readings[one] for one in given if one in layout.twins):
        return None
    twins = [layout.bring(one, readings[one]).node for one in given]
    along = _CHANNELS if axis == 2 else _SEQUENCE
    return Twin(layout.call(_aten.cat.default, twins, along), _sequence(node))


def _sequence(node: Node) -> Reading:
    """The reading of [b, s, c]."""
    _, size, width = shape_of(node)
    return (Axis("s", 0, size), Axis("c", 0, width))


def _attention(layout: ChannelLayout, node: Node, heads: Heads) -> Twin | None:
    """Heads apart; None with a mask, which the text encoders have and the U-Net hasn't."""
    attention = attention_of(node)
    given = (attention.query, attention.key, attention.value)
    readings = {one: _by_head(one) for one in given}
    twinned = [one for one in given if one in layout.twins]
    if attention.mask is not None or any(
        layout.twins[one].reading != readings[one] for one in twinned
    ):
        return None
    query, key, value = (layout.bring(one, readings[one]).node for one in given)
    split = replace(attention, query=query, key=key, value=value)
    found = heads(layout.program, split, shape_of(attention.query)[1])
    return Twin(found, _by_head(node))


def _by_head(node: Node) -> Reading:
    """The reading of [b, heads, s, d]."""
    _, count, size, width = shape_of(node)
    return (Axis("c", 0, count), Axis("s", 0, size), Axis("c", 1, width))


def _first(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def _argument(node: Node, place: int, name: str, default: Any) -> Any:
    """By place or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _listed(given: Any) -> list[int]:
    return [int(one) for one in given]
