"""Scaled dot-product attention (the operation of iOS 18)."""

from __future__ import annotations

import math

import numpy as np

from runtimes.mil.ops.activation import softmax
from runtimes.mil.values import Array

_SCORE_BYTES = 16 << 20
"""What the scores of some queries of one head may take."""


def scaled_dot_product_attention(
    query: Array, key: Array, value: Array, attn_mask: Array | None = None
) -> Array:
    """softmax(query · keyᵀ / sqrt(e) + mask) · value, of [*, l, e], [*, s, e] and [*, s, v].

    A boolean mask tells which keys take part; another one is added to the scores.
    """
    queries, keys = query.shape[-2], key.shape[-2]
    scale = np.float32(1 / math.sqrt(query.shape[-1]))
    result = np.empty((*query.shape[:-1], value.shape[-1]), np.float32)
    mask = None
    if attn_mask is not None:
        mask = np.broadcast_to(attn_mask, (*query.shape[:-1], keys))
    count = max(1, _SCORE_BYTES // (keys * 4))
    for head in np.ndindex(query.shape[:-2]):
        for start in range(0, queries, count):
            some = (*head, slice(start, start + count))
            scores = np.matmul(query[some] * scale, key[head].T)
            if mask is not None:
                scores = _masked(scores, mask[some])
            result[some] = np.matmul(softmax(scores), value[head])
    return result


def _masked(scores: Array, mask: Array) -> Array:
    if mask.dtype == np.bool_:
        return np.where(mask, scores, np.float32(-np.inf))
    return scores + mask
