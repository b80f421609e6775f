"""Attention head by head in the layout of the Neural Engine: Apple's SPLIT_EINSUM and its V2.

After Apple, "Deploying Transformers on the Apple Neural Engine" (2022). The engine's caches hold
the scores of one head, and of 512 queries, better than those of all. What lies outside of the
layout, as the text encoders' attention and the VAE's single head do, is as in `original`: the text
encoders run once a picture, on 77 tokens, and the VAE's is one of its 30 layers, which are
convolutions.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.program import Program, shape_of
from exporter.coreml.rewrites.attention import Attention
from exporter.coreml.rewrites.channel_layout import ChannelLayout
from exporter.coreml.rewrites.channel_rules import rules
from exporter.coreml.rewrites.original import original

_aten: Any = torch.ops.aten

QUERIES_AT_A_TIME = 512
"""A chunk of `split-einsum-v2`."""

_CHANNELS, _SEQUENCE = 1, 3


def split_einsum(program: Program) -> None:
    """Transformers in the layout (batch, channels, 1, sequence), attention head by head.

    Raises:
        CompileError: attention of a kind that no rewrite covers.
    """
    ChannelLayout(program, rules(partial(_split, chunk=None))).run()
    original(program)


def split_einsum_v2(program: Program) -> None:
    """As `split_einsum`, at most 512 queries at a time.

    Raises:
        CompileError: attention of a kind that no rewrite covers.
    """
    ChannelLayout(program, rules(partial(_split, chunk=QUERIES_AT_A_TIME))).run()
    original(program)


def _split(program: Program, attention: Attention, heads: int, *, chunk: int | None) -> Node:
    """Attention by heads and chunks of queries; the queries are scaled, as `original` says why."""
    scaled = program.call(_aten.mul.Tensor, attention.query, attention.scale)
    keys = program.call(_aten.transpose.int, attention.key, _CHANNELS, _SEQUENCE)
    found: list[Node] = []
    for head in range(heads):
        q = _part(program, scaled, _CHANNELS, head, heads)
        k = _part(program, keys, _SEQUENCE, head, heads)
        v = _part(program, attention.value, _CHANNELS, head, heads)
        chunks = [_one_head(program, part, k, v) for part in _chunks(program, q, chunk)]
        found.append(_joined(program, chunks, _SEQUENCE))
    return _joined(program, found, _CHANNELS)


def _one_head(program: Program, query: Node, key: Node, value: Node) -> Node:
    """Attention of queries (b, d, 1, s) to keys (b, t, 1, d) and values (b, e, 1, t)."""
    scores = program.call(_aten.einsum.default, "bchq,bkhc->bkhq", [query, key])
    weights = program.call(_aten.softmax.int, scores, 1)
    return program.call(_aten.einsum.default, "bkhq,bchk->bchq", [weights, value])


def _part(program: Program, whole: Node, axis: int, place: int, parts: int) -> Node:
    size = shape_of(whole)[axis] // parts
    return _slice(program, whole, axis, place * size, (place + 1) * size)


def _chunks(program: Program, query: Node, chunk: int | None) -> list[Node]:
    whole = shape_of(query)[_SEQUENCE]
    size = chunk or whole
    return [
        _slice(program, query, _SEQUENCE, start, min(start + size, whole))
        for start in range(0, whole, size)
    ]


def _slice(program: Program, whole: Node, axis: int, start: int, end: int) -> Node:
    if (start, end) == (0, shape_of(whole)[axis]):
        return whole
    return program.call(_aten.slice.Tensor, whole, axis, start, end)


def _joined(program: Program, parts: list[Node], axis: int) -> Node:
    return parts[0] if len(parts) == 1 else program.call(_aten.cat.default, parts, axis)
