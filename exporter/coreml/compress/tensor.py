"""One weight, compressed by a scheme."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.coreml.compress.linear import Affine, Blockwise, affine, blockwise
from exporter.coreml.compress.palette import Palette, palettize
from exporter.coreml.compress.scheme import Kind, Scheme

Compressed = Palette | Affine | Blockwise


def compress(values: NDArray[Any], scheme: Scheme, *, key: str = "the weight") -> Compressed:
    """Compresses a weight.

    Args:
        values: float16 or float32 [output channels, input channels, …], in memory or mapped.
        scheme: of this weight: not a mixed one, which says nothing of a single weight.
        key: the weight's, for the error.

    Raises:
        CompileError: a value is NaN or infinite.
    """
    assert values.dtype in (np.float16, np.float32), (key, values.dtype)
    if scheme.kind is Kind.PALETTE:
        return palettize(values, int(scheme.bits), scheme.group, key=key)
    assert scheme.kind is Kind.LINEAR, scheme
    if scheme.block is None:
        return affine(values, key=key)
    return blockwise(values, scheme.block, key=key)
