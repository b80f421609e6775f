"""Graph rewrites, one per file. A pass takes a model, may change it in place, and returns it.

No pass renames, transposes, folds, merges or reads a weight: see `exporter.passes.constants`.

What ONNX Runtime 1.32 doesn't get, by measurement (CPU time of one thread, U-Net sizes at 64², 32²
and 16² latents): SkipLayerNormalization takes 12.3, 6.2 and 3.1 ms where Add and LayerNormalization
take 4.7, 2.2 and 1.1; the 1×1 convolutions around a transformer take 38, 28 and 23 ms as matrix
products, 31, 23 and 23 as they are. SiLU and CLIP's GELU it fuses by itself when it loads a graph.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from exporter.passes.attention_layout import attention_layout
from exporter.passes.causal_masks import causal_masks
from exporter.passes.lower_attention import lower_attention
from exporter.passes.lower_group_norm import lower_group_norm
from exporter.passes.simplify import finish, simplify

Pass = Callable[[ir.Model], ir.Model]

PORTABLE: tuple[Pass, ...] = (simplify, causal_masks, attention_layout, finish)
"""What every captured graph gets."""

ONNXRUNTIME: tuple[Pass, ...] = (lower_attention, lower_group_norm, finish)
"""From a portable graph, sizes fixed or not, to what ONNX Runtime's CPU provider runs fastest."""


def apply(model: ir.Model, passes: tuple[Pass, ...]) -> ir.Model:
    """Runs passes in order; the model may be changed in place."""
    for rewrite in passes:
        model = rewrite(model)
    return model
