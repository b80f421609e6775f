"""What operators of ONNX and OpenVINO do per element, those with matrix products aside.

An exponential, a root or a sine is one operation, as an addition is. The README beside this file
shows these tables.
"""

from __future__ import annotations

from collections.abc import Mapping

MOVES: frozenset[str] = frozenset(
    {
        "And", "Assign", "Broadcast", "Bucketize", "Cast", "CastLike", "Clone", "Compress",
        "Concat", "ConcatFromSequence", "Constant", "ConstantOfShape", "Convert", "ConvertLike",
        "DepthToSpace", "Dropout", "EmbeddingBagOffsetsSum", "Expand", "EyeLike", "Flatten",
        "Gather", "GatherElements", "GatherND", "GatherTree", "Identity", "IsFinite", "IsInf",
        "IsNaN", "LogicalAnd", "LogicalNot", "LogicalOr", "LogicalXor", "NonZero", "Not",
        "OneHot", "Or", "Pad", "RandomNormal", "RandomNormalLike", "Range", "ReadValue",
        "Reshape", "Reverse", "ReverseSequence", "Roll", "Scatter", "ScatterElements",
        "ScatterElementsUpdate", "ScatterND", "ScatterNDUpdate", "ScatterUpdate", "Select",
        "Shape", "ShapeOf", "ShuffleChannels", "Size", "Slice", "SpaceToDepth", "Split",
        "Squeeze", "StridedSlice", "Tile", "Transpose", "Trilu", "Unsqueeze", "VariadicSplit",
        "Where", "Xor",
    }
)  # fmt: skip
"""Operators that move, choose or reinterpret elements and compute nothing."""

VIEWS: frozenset[str] = frozenset(
    {
        "Dropout", "Flatten", "Identity", "Reshape", "Shape", "ShapeOf", "Size", "Squeeze",
        "Unsqueeze",
    }
)  # fmt: skip
"""Those that move nothing either: the same bytes under another shape, or the shape alone."""

PARTIAL_READS: frozenset[str] = frozenset(
    {
        "Gather", "GatherElements", "GatherND", "Slice", "Split", "StridedSlice", "VariadicSplit",
    }
)  # fmt: skip
"""Operators that read of their first input what they give, and no more."""

RESIZES: frozenset[str] = frozenset(
    {
        "Interpolate", "Resize", "Upsample",
    }
)  # fmt: skip
"""Operators that compute nothing where they take the nearest neighbour."""

FLOPS_PER_OUTPUT: dict[float, tuple[str, ...]] = {
    1.0: (
        "Abs", "Add", "BiasAdd", "Ceil", "Cos", "CumSum", "Div", "Divide", "Equal", "Erf", "Exp",
        "Floor", "FloorMod", "Greater", "GreaterEqual", "GreaterOrEqual", "LeakyRelu", "Less",
        "LessEqual", "LessOrEqual", "Log", "Max", "Maximum", "Min", "Minimum", "Mod", "Mul",
        "Multiply", "Neg", "Negative", "NotEqual", "PRelU", "PRelu", "Pow", "Power", "ReLU",
        "Reciprocal", "Relu", "Round", "Sign", "Sin", "Sqrt", "Sub", "Subtract", "Tan", "Tanh",
    ),
    2.0: (
        "BatchNormalization", "Celu", "Clamp", "Clip", "DequantizeLinear", "Elu",
        "QuantizeLinear", "Selu", "SoftPlus", "Softplus", "SquaredDifference",
    ),
    3.0: (
        "HardSigmoid", "LpNormalization", "NormalizeL2", "Sigmoid",
    ),
    4.0: (
        "FakeQuantize", "HSwish", "HardSwish", "Mish", "QuickGelu", "Swish",
    ),
    5.0: (
        "FastGelu", "Gelu", "LogSoftmax", "MVN", "RMS", "RMSNormalization",
        "SimplifiedLayerNormalization", "SoftMax", "Softmax",
    ),
    6.0: (
        "BiasGelu", "BiasSoftmax",
    ),
    7.0: (
        "BiasSplitGelu", "GroupNorm", "GroupNormalization", "InstanceNormalization",
        "LayerNormalization",
    ),
    8.0: (
        "Interpolate", "Resize", "SkipGroupNorm", "SkipLayerNormalization", "Upsample",
    ),
}  # fmt: skip
"""FLOPs per element of the first output → operators."""

FLOPS_PER_INPUT: dict[float, tuple[str, ...]] = {
    1.0: (
        "ArgMax", "ArgMin", "AveragePool", "AvgPool", "GlobalAveragePool", "GlobalMaxPool",
        "MaxPool", "ReduceL1", "ReduceLogSum", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceProd", "ReduceSum", "TopK",
    ),
    2.0: (
        "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare",
    ),
}  # fmt: skip
"""FLOPs per element of the first input → operators."""


def _by_name(groups: Mapping[float, tuple[str, ...]]) -> dict[str, float]:
    return {name: flops for flops, names in groups.items() for name in names}


PER_OUTPUT = _by_name(FLOPS_PER_OUTPUT)
PER_INPUT = _by_name(FLOPS_PER_INPUT)
