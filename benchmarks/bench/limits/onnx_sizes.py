"""Concrete sizes of ONNX nodes' outputs, and the values of what computes with sizes.

ONNX's own inference runs node by node at concrete sizes, and is told the values of shapes that the
graph computes; what only computes with them is run by ONNX's reference implementation. For
operators that it doesn't know there are rules here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnx.checker
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError

from benchmarks.bench.limits.graph import CountError, Shape

Array = NDArray[np.generic]
Typed = tuple[int, Shape]
"""ONNX element type and sizes."""

MAX_KNOWN = 1 << 12
"""Elements of a value that is computed here: shapes and positions have fewer, activations more."""

MICROSOFT = "com.microsoft"
_IR_VERSION = 10


def infer(
    node: onnx.NodeProto,
    opsets: Mapping[str, int],
    inputs: Sequence[Typed | None],
    known: Sequence[Array | None],
) -> list[Typed] | None:
    """Types and sizes of a node's outputs.

    Args:
        node: the node.
        opsets: domain → version.
        inputs: of the node, None for those left out.
        known: values of the inputs, where they are known.

    Returns:
        One per output; None where nobody knows the operator.

    Raises:
        CountError: the sizes depend on data, or contradict the operator.
    """
    rule = _RULES.get((node.domain, node.op_type))
    if rule is not None:
        return rule(node, [item for item in inputs if item is not None])
    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        return None
    found = _by_onnx(schema, node, opsets, inputs, known)
    typed = [found.get(name) for name in node.output if name]
    if all(item is not None for item in typed):
        return [item for item in typed if item is not None]
    values = evaluate(node, opsets, known)
    if values is None:
        raise CountError(
            f"the sizes that {_called(node)} gives can't be told from the sizes of the inputs."
        )
    return [(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape) for value in values]


def _by_onnx(
    schema: Any,
    node: onnx.NodeProto,
    opsets: Mapping[str, int],
    inputs: Sequence[Typed | None],
    known: Sequence[Array | None],
) -> dict[str, Typed]:
    given = list(zip(node.input, inputs, known, strict=True))
    types = {
        name: helper.make_tensor_type_proto(*item) for name, item, _ in given if item is not None
    }
    data = {name: numpy_helper.from_array(np.asarray(v)) for name, _, v in given if v is not None}
    try:
        found: dict[str, Any] = onnx.shape_inference.infer_node_outputs(
            schema,
            node,
            types,
            data,
            opset_imports=[helper.make_opsetid(*item) for item in opsets.items()],
            ir_version=_IR_VERSION,
        )
    except (RuntimeError, ValueError, onnx.checker.ValidationError, InferenceError) as e:
        raise CountError(f"{_called(node)} doesn't fit its inputs: {_line(e)}") from e
    typed = ((name, _concrete(proto)) for name, proto in found.items())
    return {name: item for name, item in typed if item is not None}


def _concrete(proto: onnx.TypeProto) -> Typed | None:
    tensor = proto.tensor_type
    if not proto.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    sizes = tensor.shape.dim
    if not all(size.HasField("dim_value") for size in sizes):
        return None
    return tensor.elem_type, tuple(size.dim_value for size in sizes)


def evaluate(
    node: onnx.NodeProto, opsets: Mapping[str, int], known: Sequence[Array | None]
) -> list[Array] | None:
    """A node's outputs; None where an input isn't known or the operator can't be run here."""
    names = [name for name in node.input if name]
    values = [value for name, value in zip(node.input, known, strict=True) if name]
    if any(value is None for value in values):
        return None
    # The same operator under the same names, whose evaluator is kept.
    alike = onnx.NodeProto()
    alike.CopyFrom(node)
    alike.name, alike.doc_string = "", ""
    del alike.metadata_props[:]
    alike.input[:] = [f"i{names.index(name)}" if name else "" for name in node.input]
    alike.output[:] = [f"o{i}" if name else "" for i, name in enumerate(node.output)]
    feeds = {f"i{names.index(name)}": v for name, v in zip(names, values, strict=True)}
    try:
        run = _evaluator(alike.SerializeToString(), tuple(opsets.items()))
        return [np.asarray(value) for value in run.run(None, feeds)]
    # The reference implementation raises whatever comes; what it can't do stays unknown.
    except Exception:
        return None


@lru_cache(maxsize=512)
def _evaluator(node: bytes, opsets: tuple[tuple[str, int], ...]) -> Any:
    proto = onnx.NodeProto.FromString(node)
    graph = helper.make_graph(
        [proto],
        "node",
        [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(proto.input) if name],
        [onnx.ValueInfoProto(name=name) for name in proto.output if name],
    )
    opset_imports = [helper.make_opsetid(*item) for item in opsets]
    model = helper.make_model(graph, opset_imports=opset_imports, ir_version=_IR_VERSION)
    return ReferenceEvaluator(model)


def _called(node: onnx.NodeProto) -> str:
    operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return f"{node.name or node.output[0]} ({operator})"


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


_Rule = Callable[[onnx.NodeProto, list[Typed]], list[Typed]]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values; graphs and tensors as protos."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _same(node: onnx.NodeProto, inputs: list[Typed]) -> list[Typed]:
    """Every output as the first input."""
    return [inputs[0]] * sum(map(bool, node.output))


def _as(op_type: str) -> _Rule:
    """Sizes as of an operator that ONNX knows, in its newest version."""

    def rule(node: onnx.NodeProto, inputs: list[Typed]) -> list[Typed]:
        known = onnx.defs.get_schema(op_type, onnx.defs.onnx_opset_version(), "")
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        plain.op_type, plain.domain = op_type, ""
        kept = [item for item in node.attribute if item.name in known.attributes]
        del plain.attribute[:]
        plain.attribute.extend(kept)
        most = min(known.max_input, len(inputs))
        plain.input[:] = list(node.input)[:most]
        opsets = {"": onnx.defs.onnx_opset_version()}
        found = _by_onnx(known, plain, opsets, inputs[:most], [None] * most)
        return [found[name] for name in plain.output if name]

    return rule


def _fused_matmul(node: onnx.NodeProto, inputs: list[Typed]) -> list[Typed]:
    """MatMul with operands whose last two axes may be exchanged."""
    flags = attributes(node)
    if flags.get("transBatchA") or flags.get("transBatchB"):
        raise CountError(f"{_called(node)} exchanges batch axes; it can't be counted.")
    (dtype, a), (_, b) = inputs[:2]
    a = (*a[:-2], a[-1], a[-2]) if flags.get("transA") and len(a) > 1 else a
    b = (*b[:-2], b[-1], b[-2]) if flags.get("transB") and len(b) > 1 else b
    plain = helper.make_node("MatMul", ["a", "b"], [node.output[0]])
    return _as("MatMul")(plain, [(dtype, a), (dtype, b)])


def _multi_head_attention(node: onnx.NodeProto, inputs: list[Typed]) -> list[Typed]:
    """[n, rows, width of all heads' values]; keys and values for a later call may follow."""
    dtype, query = inputs[0]
    heads = int(attributes(node)["num_heads"])
    if len(query) == 5:
        return _only(node, (dtype, (query[0], query[1], heads * query[4])))
    value = inputs[2][1] if len(node.input) > 2 and node.input[2] else None
    width = query[2]
    if value is not None:
        width = heads * value[3] if len(value) == 4 else value[2]
    return _only(node, (dtype, (query[0], query[1], width)))


def _packed_attention(node: onnx.NodeProto, inputs: list[Typed]) -> list[Typed]:
    (dtype, (n, rows, _)), (_, weights) = inputs[:2]
    return _only(node, (dtype, (n, rows, weights[1] // 3)))


def _split_gelu(node: onnx.NodeProto, inputs: list[Typed]) -> list[Typed]:
    dtype, shape = inputs[0]
    return _only(node, (dtype, (*shape[:-1], shape[-1] // 2)))


def _quantized_matmul(node: onnx.NodeProto, inputs: list[Typed]) -> list[Typed]:
    """MatMulNBits: columns are an attribute."""
    dtype, shape = inputs[0]
    return _only(node, (dtype, (*shape[:-1], int(attributes(node)["N"]))))


def _only(node: onnx.NodeProto, output: Typed) -> list[Typed]:
    if sum(map(bool, node.output)) > 1:
        raise CountError(f"{_called(node)} keeps keys and values; it can't be counted.")
    return [output]


_SAME = (
    *("Gelu", "FastGelu", "BiasGelu", "QuickGelu", "GroupNorm", "SkipGroupNorm", "BiasAdd"),
    *("SkipLayerNormalization", "SimplifiedLayerNormalization", "BiasSoftmax"),
)

_RULES: dict[tuple[str, str], _Rule] = {
    # A function in ONNX, whose inference gives no sizes.
    ("", "GroupNormalization"): _same,
    ("", "SimplifiedLayerNormalization"): _same,
    (MICROSOFT, "MultiHeadAttention"): _multi_head_attention,
    (MICROSOFT, "Attention"): _packed_attention,
    (MICROSOFT, "FusedConv"): _as("Conv"),
    (MICROSOFT, "FusedGemm"): _as("Gemm"),
    (MICROSOFT, "FusedMatMul"): _fused_matmul,
    (MICROSOFT, "DynamicQuantizeMatMul"): _as("MatMul"),
    (MICROSOFT, "MatMulIntegerToFloat"): _as("MatMul"),
    (MICROSOFT, "MatMulNBits"): _quantized_matmul,
    (MICROSOFT, "BiasSplitGelu"): _split_gelu,
    **{(MICROSOFT, name): _same for name in _SAME},
}
"""Operators that ONNX can't infer, or doesn't know."""
