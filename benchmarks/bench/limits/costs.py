"""Floating-point operations of one node. A multiplication and an addition are two.

Matrix products and convolutions are counted exactly; a bias is where an accumulation begins, and
costs nothing more. What other operators do per element is in tables, an exponential or a root being
one operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench.limits.graph import CountError, Node, Tensor
from benchmarks.bench.limits.operators import MOVES, PER_INPUT, PER_OUTPUT, RESIZES

SCALED_SOFTMAX = PER_OUTPUT["Softmax"] + 1
"""Per score of a fused attention, which is scaled as well."""

DEFAULT = 1.0
"""Per element of the output, of operators that stand in no table."""


@dataclass(frozen=True)
class Cost:
    """What a node computes.

    Attributes:
        products: FLOPs of matrix products and convolutions.
        others: all other FLOPs.
        known: whether the operator stands in a table.
    """

    products: float
    others: float
    known: bool = True

    @property
    def flops(self) -> float:
        """All of them."""
        return self.products + self.others


def cost(node: Node) -> Cost:
    """The FLOPs of one call of a node.

    Raises:
        CountError: a product whose form isn't known.
    """
    if node.kind in PRODUCTS:
        return PRODUCTS[node.kind](node)
    known = node.kind in MOVES or node.kind in PER_OUTPUT or node.kind in PER_INPUT
    if node.kind in MOVES or _takes_nearest(node) or not _computes_floats(node):
        return Cost(0, 0, known)
    if node.kind in PER_INPUT:
        return Cost(0, PER_INPUT[node.kind] * node.given(0).size)
    per_element = PER_OUTPUT.get(node.kind, DEFAULT)
    return Cost(0, per_element * node.outputs[0].size if node.outputs else 0, known)


def _computes_floats(node: Node) -> bool:
    tensors = [tensor for tensor in node.inputs if tensor is not None]
    return any(tensor.is_float for tensor in (*tensors, *node.outputs))


def _takes_nearest(node: Node) -> bool:
    return node.kind in RESIZES and _text(node.attributes.get("mode", "nearest")) == "nearest"


def _text(attribute: object) -> str:
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute or "")


def _conv(node: Node) -> Cost:
    """Weights [out, in / groups, *kernel]."""
    return _products(node, node.outputs[0].size * math.prod(node.given(1).shape[1:]))


def _group_conv(node: Node) -> Cost:
    """OpenVINO's, weights [groups, out / groups, in / groups, *kernel]."""
    return _products(node, node.outputs[0].size * math.prod(node.given(1).shape[2:]))


def _conv_transpose(node: Node) -> Cost:
    """Weights [in, out / groups, *kernel]."""
    return _products(node, node.given(0).size * math.prod(node.given(1).shape[1:]))


def _group_conv_transpose(node: Node) -> Cost:
    """OpenVINO's, weights [groups, in / groups, out / groups, *kernel]."""
    return _products(node, node.given(0).size * math.prod(node.given(1).shape[2:]))


def _quantized_conv(node: Node) -> Cost:
    return _products(node, node.outputs[0].size * math.prod(node.given(3).shape[1:]))


def _matmul(node: Node) -> Cost:
    shape = node.given(0).shape
    flags = ("transpose_a", "transA")
    transposed = len(shape) > 1 and any(node.attributes.get(flag) for flag in flags)
    return _products(node, node.outputs[0].size * shape[-2 if transposed else -1])


def _einsum(node: Node) -> Cost:
    """A product for each combination of the indices of both operands."""
    terms = _text(node.attributes.get("equation")).replace(" ", "").split("->")[0].split(",")
    if len(terms) != 2 or any("." in term for term in terms):
        raise CountError(f"{node.name} (Einsum) has an equation that can't be counted.")
    sizes = {
        index: size
        for position, term in enumerate(terms)
        for index, size in zip(term, node.given(position).shape, strict=True)
    }
    return Cost(2.0 * math.prod(sizes.values()), 0)


def _products(node: Node, multiply_adds: int) -> Cost:
    """With the activation that a fused node applies."""
    name = _text(node.attributes.get("activation"))
    after = PER_OUTPUT.get(name, DEFAULT) if name else 0.0
    return Cost(2.0 * multiply_adds, after * node.outputs[0].size)


def _attention(rows: int, keys: int, width: int, value_width: int, heads: int) -> Cost:
    """Of `rows` queries (of all samples) over `keys` keys, widths of all heads together.

    A causal mask leaves out no product here, though an engine may.
    """
    products = 2.0 * rows * keys * (width + value_width)
    return Cost(products, SCALED_SOFTMAX * rows * keys * heads)


def _multi_head_attention(node: Node) -> Cost:
    """com.microsoft's: query [n, rows, width]; keys and values likewise, or packed, or by head."""
    query, heads = node.given(0).shape, int(node.attributes["num_heads"])
    key, value = node.optional(1), node.optional(2)
    if len(query) == 5:  # [n, rows, heads, 3, width of a head]
        n, rows, _, _, size = query
        return _attention(n * rows, rows, heads * size, heads * size, heads)
    n, rows, width = query
    if key is None:
        raise CountError(f"{node.name} ({node.operator}) has no keys; it can't be counted.")
    if value is None:  # [n, keys, heads, 2, width of a head]
        return _attention(n * rows, key.shape[1], width, width, heads)
    by_head = len(value.shape) == 4  # [n, heads, keys, width of a head]
    keys = value.shape[2] if by_head else value.shape[1]
    value_width = heads * value.shape[3] if by_head else value.shape[2]
    return _attention(n * rows, keys + _past(node.optional(6)), width, value_width, heads)


def _past(cached: Tensor | None) -> int:
    """Keys of earlier calls: [n, heads, keys, width of a head]."""
    return 0 if cached is None else cached.shape[2]


def _any_attention(node: Node) -> Cost:
    return _packed_attention(node) if node.domain == "com.microsoft" else _onnx_attention(node)


def _packed_attention(node: Node) -> Cost:
    """com.microsoft's: the input [n, rows, channels] by weights [channels, 3 · width] as well."""
    n, rows, channels = node.given(0).shape
    width = node.given(1).shape[1] // 3
    heads = int(node.attributes["num_heads"])
    inner = _attention(n * rows, rows, width, width, heads)
    return Cost(inner.products + 2.0 * n * rows * channels * 3 * width, inner.others)


def _onnx_attention(node: Node) -> Cost:
    """ONNX's: query [n, heads, rows, width of a head], or [n, rows, width]."""
    query, value = node.given(0).shape, node.given(2).shape
    if len(query) == 4:
        n, heads, rows, size = query
        keys, value_size = value[2], value[3]
    else:
        n, rows, width = query
        heads, keys = int(node.attributes["q_num_heads"]), value[1]
        size, value_size = width // heads, value[2] // int(node.attributes["kv_num_heads"])
    keys += _past(node.optional(4))
    return _attention(n * rows, keys, heads * size, heads * value_size, heads)


def _scaled_dot_product_attention(node: Node) -> Cost:
    """OpenVINO's: query [..., rows, width], each leading axis a sample or a head."""
    query, value = node.given(0).shape, node.given(2).shape
    rows = math.prod(query[:-1])
    return _attention(rows, value[-2], query[-1], value[-1], 1)


PRODUCTS: dict[str, Callable[[Node], Cost]] = {
    **dict.fromkeys(["Conv", "FusedConv", "NhwcConv", "NhwcFusedConv", "ConvInteger"], _conv),
    **dict.fromkeys(["Convolution", "BinaryConvolution"], _conv),
    "GroupConvolution": _group_conv,
    **dict.fromkeys(["ConvTranspose", "ConvolutionBackpropData"], _conv_transpose),
    "GroupConvolutionBackpropData": _group_conv_transpose,
    "QLinearConv": _quantized_conv,
    **dict.fromkeys(["MatMul", "Gemm", "FusedMatMul", "FusedGemm", "TransposeMatMul"], _matmul),
    **dict.fromkeys(["MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"], _matmul),
    **dict.fromkeys(["QLinearMatMul", "MatMulNBits"], _matmul),
    "Einsum": _einsum,
    "MultiHeadAttention": _multi_head_attention,
    "Attention": _any_attention,
    "ScaledDotProductAttention": _scaled_dot_product_attention,
}
"""Operators with matrix products."""
