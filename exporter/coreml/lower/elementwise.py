"""Rules of operators that work element by element."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.lower.rules import MIL_DTYPES, Lowering, Var, argument, rule
from exporter.coreml.program import shape_of, value_of
from exporter.errors import CompileError

_aten: Any = torch.ops.aten

_UNARY = {
    _aten.silu.default: "silu",
    _aten.sigmoid.default: "sigmoid",
    _aten.exp.default: "exp",
    _aten.sin.default: "sin",
    _aten.cos.default: "cos",
    _aten.tanh.default: "tanh",
    _aten.relu.default: "relu",
    _aten.sqrt.default: "sqrt",
    _aten.neg.default: None,
}
_BINARY = {
    _aten.add.Tensor: "add",
    _aten.sub.Tensor: "sub",
    _aten.mul.Tensor: "mul",
    _aten.div.Tensor: "real_div",
    _aten.eq.Scalar: "equal",
    _aten.eq.Tensor: "equal",
    _aten.le.Tensor: "less_equal",
    _aten.lt.Tensor: "less",
    _aten.ge.Scalar: "greater_equal",
}


@rule(*_UNARY)
def unary(low: Lowering, node: Node) -> Var:
    """One tensor in."""
    x = low.var(node.args[0])
    if node.target is _aten.neg.default:
        return low.mb.mul(x=x, y=low.var(-1, node))
    return getattr(low.mb, str(_UNARY[node.target]))(x=x)


@rule(*_BINARY)
def binary(low: Lowering, node: Node) -> Var:
    """Two tensors in, or a tensor and a number, which takes the tensor's dtype.

    Raises:
        CompileError: the second comes times a factor.
    """
    if node.kwargs.get("alpha", 1) != 1:
        raise CompileError(f"{node.name}: an addition with a factor can't be lowered to MIL.")
    tensor = next(arg for arg in node.args if isinstance(arg, Node))
    x, y = (low.var(arg, tensor) for arg in node.args[:2])
    name = _BINARY[node.target]
    if not (value_of(node).dtype.is_floating_point or value_of(node).dtype == torch.bool):
        assert name in ("add", "sub", "mul"), (node, name)
    return getattr(low.mb, name)(x=x, y=y)


@rule(_aten.gelu.default)
def gelu(low: Lowering, node: Node) -> Var:
    """GELU, exact or by the hyperbolic tangent."""
    modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
    return low.mb.gelu(
        x=low.var(node.args[0]), mode=modes[argument(node, 1, "approximate", "none")]
    )


@rule(_aten.rsqrt.default)
def rsqrt(low: Lowering, node: Node) -> Var:
    """1 over the root; MIL would add 1e-12 unless it is told not to."""
    return low.mb.rsqrt(x=low.var(node.args[0]), epsilon=low.var(0.0, node))


@rule(_aten._to_copy.default)
def to_copy(low: Lowering, node: Node) -> Var:
    """A change of dtype."""
    x, wanted = low.var(node.args[0]), MIL_DTYPES[value_of(node).dtype]
    (source,) = node.all_input_nodes
    return x if MIL_DTYPES[value_of(source).dtype] == wanted else low.mb.cast(x=x, dtype=wanted)


@rule(_aten.clone.default, _aten.alias.default, _aten.detach.default, _aten.dropout.default)
def identity(low: Lowering, node: Node) -> Any:
    """What changes nothing."""
    return low.value(node.args[0])


@rule(_aten._assert_tensor_metadata.default)
def assertion(low: Lowering, node: Node) -> None:
    """What torch asserted of the capture."""
    del low, node


@rule(_aten.argmax.default)
def argmax(low: Lowering, node: Node) -> Var:
    """The place of the largest; the first of equal ones, as torch's on a CPU."""
    return low.mb.reduce_argmax(
        x=low.mb.cast(x=low.var(node.args[0]), dtype="fp32"),
        axis=int(argument(node, 1, "dim")) % len(shape_of(node.all_input_nodes[0])),
        keep_dims=bool(argument(node, 2, "keepdim", False)),
    )


@rule(_aten.mean.dim)
def mean(low: Lowering, node: Node) -> Var:
    """The mean over some axes."""
    return low.mb.reduce_mean(
        x=low.var(node.args[0]),
        axes=list(argument(node, 1, "dim")),
        keep_dims=bool(argument(node, 2, "keepdim", False)),
    )
