"""One small use of each operation, and what torch says it gives.

The uses of an operation set are built into one program, each with an output of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)

from runtimes.mil.values import Array
from tests.runtimes.mil.packages import save_program

Tensors = Mapping[str, torch.Tensor]
Made = Any


@dataclass(frozen=True)
class Case:
    """A use of an operation.

    Attributes:
        op: the operation that is tested.
        make: builds it with coremltools' builder from the program's inputs.
        expect: computes it in torch from the same inputs.
        opset: "iOS16", "iOS17" or "iOS18".
    """

    op: str
    make: Callable[[Any, Mapping[str, Any]], Made]
    expect: Callable[[Tensors], Any]
    opset: str = "iOS16"


def _random(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def feeds() -> dict[str, Array]:
    """What the programs are fed."""
    rng = np.random.default_rng(7)
    return {
        "x": _random(2, 4, 6, 5, seed=1),
        "y": _random(4, 1, 5, seed=2),
        "p": np.abs(_random(2, 4, 6, 5, seed=3)) + np.float32(0.1),
        "a": _random(2, 3, 7, 4, seed=4),
        "b": _random(2, 3, 4, 6, seed=5),
        "i": rng.integers(0, 4, (2, 3)).astype(np.int32),
        "k": rng.integers(-5, 6, (3, 4)).astype(np.int32),
        "j": rng.integers(1, 4, (3, 4)).astype(np.int32),
        "s": np.array([3, 2], np.int32),
    }


FEEDS = feeds()
W = _random(6, 4, 3, 3, seed=10)
"""Of convolutions from 4 to 6 channels."""
GROUPED = _random(6, 2, 3, 2, seed=11)
BACK = _random(4, 3, 3, 2, seed=12)
"""Of transposed convolutions from 4 to 2 · 3 channels."""
LINE = _random(6, 4, 3, seed=13)
CUBE = _random(5, 4, 2, 3, 2, seed=14)
BIAS, BIAS2 = _random(6, seed=15), _random(3, seed=16)
GAMMA, BETA = _random(4, seed=17), _random(4, seed=18)
ROW, ROW2 = _random(5, seed=19), _random(5, seed=20)
TABLE = _random(4, 3, seed=21)
Z, VARIANCE = _random(3, 5, seed=22), np.abs(_random(4, seed=23)) + 1


def _i(*values: int) -> Array:
    return np.array(values, np.int32)


def _b(*values: int) -> Array:
    return np.array(values, np.bool_)


def _f(value: float) -> np.float32:
    return np.float32(value)


def _t(array: Array) -> torch.Tensor:
    return torch.from_numpy(array)


def _unary(op: str, expect: Callable[[torch.Tensor], torch.Tensor], of: str = "x") -> Case:
    return Case(op, lambda mb, v: getattr(mb, op)(x=v[of]), lambda t: expect(t[of]))


def _binary(
    op: str,
    expect: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    of: tuple[str, str] = ("x", "y"),
) -> Case:
    return Case(
        op,
        lambda mb, v: getattr(mb, op)(x=v[of[0]], y=v[of[1]]),
        lambda t: expect(t[of[0]], t[of[1]]),
    )


def _logical(op: str, expect: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Case:
    return Case(
        op,
        lambda mb, v: getattr(mb, op)(
            x=mb.greater(x=v["x"], y=_f(0)), y=mb.less(x=v["x"], y=v["y"])
        ),
        lambda t: expect(t["x"] > 0, t["x"] < t["y"]),
    )


def _reduce(op: str, expect: Callable[[torch.Tensor], torch.Tensor], of: str = "x") -> Case:
    """Over the axes 1 and 3, which `expect` has as the last one."""
    return Case(
        op,
        lambda mb, v: getattr(mb, op)(x=v[of], axes=_i(1, -1), keep_dims=False),
        lambda t: expect(t[of].transpose(1, 2).flatten(2)),
    )


def _conv(make: Mapping[str, Any], expect: Callable[[torch.Tensor], torch.Tensor]) -> Case:
    return Case("conv", lambda mb, v: mb.conv(x=v["x"], **make), lambda t: expect(t["x"]))


def _pool(op: str, make: Mapping[str, Any], expect: Callable[[torch.Tensor], Any]) -> Case:
    return Case(op, lambda mb, v: getattr(mb, op)(x=v["x"], **make), lambda t: expect(t["x"]))


def _resized(mode: str, make: Callable[[torch.Tensor], torch.Tensor], height: int = 9) -> Case:
    return Case(
        "resize_bilinear",
        lambda mb, v: mb.resize_bilinear(
            x=v["x"], target_size_height=height, target_size_width=11, sampling_mode=mode
        ),
        lambda t: make(t["x"]),
    )


def _sampled(x: torch.Tensor, rows: list[float], columns: list[float]) -> torch.Tensor:
    """Bilinear samples at given places, by torch's `grid_sample`."""
    high, wide = (torch.tensor(places, dtype=torch.float64) for places in (rows, columns))
    grid = torch.stack(
        torch.meshgrid(
            high.clamp(0, x.shape[2] - 1) * 2 / (x.shape[2] - 1) - 1,
            wide.clamp(0, x.shape[3] - 1) * 2 / (x.shape[3] - 1) - 1,
            indexing="ij",
        )[::-1],
        -1,
    )
    wanted = grid.expand(x.shape[0], *grid.shape)
    return F.grid_sample(x.double(), wanted, align_corners=True, padding_mode="border").float()


def _attention(mask: Callable[[Any, Mapping[str, Any]], Any] | None) -> Callable[..., Made]:
    return lambda mb, v: mb.scaled_dot_product_attention(
        query=v["a"],
        key=mb.transpose(x=v["b"], perm=_i(0, 1, 3, 2)),
        value=mb.transpose(x=v["b"], perm=_i(0, 1, 3, 2)),
        **({"attn_mask": mask(mb, v)} if mask else {}),
    )


def _attended(t: Tensors, mask: torch.Tensor | None = None) -> torch.Tensor:
    keys = t["b"].transpose(2, 3)
    return F.scaled_dot_product_attention(t["a"], keys, keys, attn_mask=mask)


CASES: dict[str, Case] = {
    # One tensor, element by element.
    "abs": _unary("abs", torch.abs),
    "acos": Case(
        "acos", lambda mb, v: mb.acos(x=mb.tanh(x=v["x"])), lambda t: t["x"].tanh().acos()
    ),
    "asin": Case(
        "asin", lambda mb, v: mb.asin(x=mb.tanh(x=v["x"])), lambda t: t["x"].tanh().asin()
    ),
    "atan": _unary("atan", torch.atan),
    "ceil": _unary("ceil", torch.ceil),
    "clip": Case(
        "clip",
        lambda mb, v: mb.clip(x=v["x"], alpha=_f(-0.5), beta=_f(0.25)),
        lambda t: t["x"].clamp(-0.5, 0.25),
    ),
    "cos": _unary("cos", torch.cos),
    "cosh": _unary("cosh", torch.cosh),
    "erf": _unary("erf", torch.erf),
    "exp": _unary("exp", torch.exp),
    "exp2": _unary("exp2", torch.exp2),
    "floor": _unary("floor", torch.floor),
    "identity": _unary("identity", lambda x: x),
    "inverse": Case(
        "inverse",
        lambda mb, v: mb.inverse(x=v["p"], epsilon=_f(0.5)),
        lambda t: 1 / (t["p"] + 0.5),
    ),
    "inverse of 0": Case(
        "inverse", lambda mb, v: mb.inverse(x=mb.mul(x=v["p"], y=_f(0))), lambda t: 0 * t["p"] + 1e4
    ),
    "log": _unary("log", torch.log, "p"),
    "log with an epsilon": Case(
        "log", lambda mb, v: mb.log(x=v["p"], epsilon=_f(0.5)), lambda t: (t["p"] + 0.5).log()
    ),
    "logical_not": Case(
        "logical_not",
        lambda mb, v: mb.logical_not(x=mb.greater(x=v["x"], y=_f(0))),
        lambda t: ~(t["x"] > 0),
    ),
    "round": _unary("round", torch.round),
    "rsqrt": _unary("rsqrt", torch.rsqrt, "p"),
    "rsqrt with an epsilon": Case(
        "rsqrt", lambda mb, v: mb.rsqrt(x=v["p"], epsilon=_f(0.5)), lambda t: (t["p"] + 0.5).rsqrt()
    ),
    "sign": _unary("sign", torch.sign),
    "sin": _unary("sin", torch.sin),
    "sinh": _unary("sinh", torch.sinh),
    "sqrt": _unary("sqrt", torch.sqrt, "p"),
    "square": _unary("square", torch.square),
    "tan": _unary("tan", torch.tan),
    "tanh": _unary("tanh", torch.tanh),
    "threshold": Case(
        "threshold",
        lambda mb, v: mb.threshold(x=v["x"], alpha=_f(0.3)),
        lambda t: t["x"].clamp(0.3),
    ),
    # Activations.
    "elu": Case("elu", lambda mb, v: mb.elu(x=v["x"], alpha=_f(0.7)), lambda t: F.elu(t["x"], 0.7)),
    "gelu": _unary("gelu", F.gelu),
    "gelu by tanh": Case(
        "gelu",
        lambda mb, v: mb.gelu(x=v["x"], mode="TANH_APPROXIMATION"),
        lambda t: F.gelu(t["x"], approximate="tanh"),
    ),
    "gelu by sigmoid": Case(
        "gelu",
        lambda mb, v: mb.gelu(x=v["x"], mode="SIGMOID_APPROXIMATION"),
        lambda t: t["x"] * torch.sigmoid(1.702 * t["x"]),
    ),
    "leaky_relu": Case(
        "leaky_relu",
        lambda mb, v: mb.leaky_relu(x=v["x"], alpha=_f(0.2)),
        lambda t: F.leaky_relu(t["x"], 0.2),
    ),
    "linear_activation": Case(
        "linear_activation",
        lambda mb, v: mb.linear_activation(x=v["x"], alpha=_f(0.2), beta=_f(1.5)),
        lambda t: t["x"] * 0.2 + 1.5,
    ),
    "prelu": Case(
        "prelu", lambda mb, v: mb.prelu(x=v["x"], alpha=GAMMA), lambda t: F.prelu(t["x"], _t(GAMMA))
    ),
    "relu": _unary("relu", F.relu),
    "relu6": Case(
        "relu6", lambda mb, v: mb.relu6(x=mb.mul(x=v["x"], y=_f(9))), lambda t: F.relu6(9 * t["x"])
    ),
    "scaled_tanh": Case(
        "scaled_tanh",
        lambda mb, v: mb.scaled_tanh(x=v["x"], alpha=_f(0.2), beta=_f(1.5)),
        lambda t: 0.2 * torch.tanh(1.5 * t["x"]),
    ),
    "sigmoid": _unary("sigmoid", torch.sigmoid),
    "sigmoid_hard": Case(
        "sigmoid_hard",
        lambda mb, v: mb.sigmoid_hard(x=v["x"], alpha=_f(0.4), beta=_f(0.3)),
        lambda t: (0.4 * t["x"] + 0.3).clamp(0, 1),
    ),
    "silu": _unary("silu", F.silu),
    "softmax": Case(
        "softmax", lambda mb, v: mb.softmax(x=v["x"], axis=1), lambda t: t["x"].softmax(1)
    ),
    "softmax of the last axis": _unary("softmax", lambda x: x.softmax(-1)),
    "softplus": _unary("softplus", F.softplus),
    "softsign": _unary("softsign", F.softsign),
    # Two tensors, element by element.
    "add": _binary("add", torch.add),
    "sub": _binary("sub", torch.sub),
    "mul": _binary("mul", torch.mul),
    "real_div": _binary("real_div", torch.div),
    "floor_div": _binary("floor_div", lambda x, y: torch.div(x, y, rounding_mode="floor")),
    "floor_div of integers": _binary(
        "floor_div", lambda x, y: torch.div(x, y, rounding_mode="floor"), ("k", "j")
    ),
    "mod": _binary("mod", torch.remainder),
    "mod of integers": _binary("mod", torch.remainder, ("k", "j")),
    "pow": _binary("pow", torch.pow, ("p", "y")),
    "maximum": _binary("maximum", torch.maximum),
    "minimum": _binary("minimum", torch.minimum),
    "equal": _binary("equal", torch.eq, ("k", "j")),
    "not_equal": _binary("not_equal", torch.ne, ("k", "j")),
    "greater": _binary("greater", torch.gt),
    "greater_equal": _binary("greater_equal", torch.ge, ("k", "j")),
    "less": _binary("less", torch.lt),
    "less_equal": _binary("less_equal", torch.le, ("k", "j")),
    "logical_and": _logical("logical_and", torch.logical_and),
    "logical_or": _logical("logical_or", torch.logical_or),
    "logical_xor": _logical("logical_xor", torch.logical_xor),
    # Casts and choices.
    "cast": Case(
        "cast", lambda mb, v: mb.cast(x=v["x"], dtype="int32"), lambda t: t["x"].to(torch.int32)
    ),
    "cast from integers": Case(
        "cast", lambda mb, v: mb.cast(x=v["k"], dtype="fp32"), lambda t: t["k"].float()
    ),
    "cast to bool": Case(
        "cast", lambda mb, v: mb.cast(x=v["k"], dtype="bool"), lambda t: t["k"] != 0
    ),
    "select": Case(
        "select",
        lambda mb, v: mb.select(cond=mb.greater(x=v["x"], y=_f(0)), a=v["x"], b=v["p"]),
        lambda t: torch.where(t["x"] > 0, t["x"], t["p"]),
    ),
    # Products of matrices.
    "linear": Case(
        "linear",
        lambda mb, v: mb.linear(x=mb.reshape(x=v["x"], shape=_i(2, 24, 5)), weight=Z, bias=BIAS2),
        lambda t: F.linear(t["x"].reshape(2, 24, 5), _t(Z), _t(BIAS2)),
    ),
    "matmul": _binary("matmul", torch.matmul, ("a", "b")),
    "matmul of turned": Case(
        "matmul",
        lambda mb, v: mb.matmul(x=v["b"], y=v["a"], transpose_x=True, transpose_y=True),
        lambda t: t["b"].transpose(2, 3) @ t["a"].transpose(2, 3),
    ),
    "einsum": Case(
        "einsum",
        lambda mb, v: mb.einsum(
            values=(
                mb.transpose(x=v["a"], perm=_i(0, 2, 1, 3)),
                mb.transpose(x=v["b"], perm=_i(0, 2, 1, 3)),
            ),
            equation="nchw,nwhu->nchu",
        ),
        lambda t: torch.einsum("nhcw,nhwu->nchu", t["a"], t["b"]),
    ),
    "einsum with broadcasting": Case(
        "einsum",
        lambda mb, v: mb.einsum(
            values=(
                mb.slice_by_size(
                    x=mb.transpose(x=v["a"], perm=_i(0, 2, 1, 3)),
                    begin=_i(1, 0, 0, 0),
                    size=_i(1, -1, 1, -1),
                ),
                mb.transpose(x=v["b"], perm=_i(0, 2, 1, 3)),
            ),
            equation="bkhc,bchq->bkhq",
        ),
        lambda t: torch.einsum("hcw,nhwu->nchu", t["a"][1, :1].expand(3, -1, -1), t["b"]),
    ),
    "einsum of three axes": Case(
        "einsum",
        lambda mb, v: mb.einsum(
            values=(
                mb.transpose(x=mb.gather(x=v["a"], indices=0, axis=0), perm=_i(1, 0, 2)),
                mb.transpose(x=mb.gather(x=v["b"], indices=0, axis=0), perm=_i(1, 0, 2)),
            ),
            equation="chw,whr->chr",
        ),
        lambda t: torch.einsum("hcw,hwr->chr", t["a"][0], t["b"][0]),
    ),
    "scaled_dot_product_attention": Case(
        "scaled_dot_product_attention", _attention(None), _attended, "iOS18"
    ),
    "scaled_dot_product_attention with a mask": Case(
        "scaled_dot_product_attention",
        _attention(lambda mb, v: mb.add(x=Z[:1, :1], y=np.arange(6, dtype=np.float32))),
        lambda t: _attended(t, _t(Z[:1, :1] + np.arange(6, dtype=np.float32))),
        "iOS18",
    ),
    "scaled_dot_product_attention with a boolean mask": Case(
        "scaled_dot_product_attention",
        _attention(lambda mb, v: mb.greater(x=np.arange(6, dtype=np.float32), y=_f(1.5))),
        lambda t: _attended(t, torch.arange(6)[None] > 1.5),
        "iOS18",
    ),
    # Convolution and pooling.
    "conv": _conv(
        {"weight": W, "bias": BIAS, "pad_type": "custom", "pad": _i(1, 1, 1, 1)},
        lambda x: F.conv2d(x, _t(W), _t(BIAS), padding=1),
    ),
    "conv 1×1": _conv(
        {"weight": W[..., :1, :1], "bias": BIAS},
        lambda x: F.conv2d(x, _t(W[..., :1, :1]), _t(BIAS)),
    ),
    "conv 1×1 with strides": _conv(
        {"weight": W[..., :1, :1], "strides": _i(2, 1)},
        lambda x: F.conv2d(x, _t(W[..., :1, :1]), stride=(2, 1)),
    ),
    "conv with strides": _conv(
        {"weight": W, "strides": _i(2, 3), "pad_type": "custom", "pad": _i(0, 1, 2, 1)},
        lambda x: F.conv2d(F.pad(x, (2, 1, 0, 1)), _t(W), stride=(2, 3)),
    ),
    "conv with groups": _conv(
        {"weight": GROUPED, "groups": 2, "bias": BIAS},
        lambda x: F.conv2d(x, _t(GROUPED), _t(BIAS), groups=2),
    ),
    "conv with dilations": _conv(
        {"weight": W, "dilations": _i(2, 1), "pad_type": "custom", "pad": _i(2, 2, 0, 0)},
        lambda x: F.conv2d(x, _t(W), dilation=(2, 1), padding=(2, 0)),
    ),
    "conv same": _conv(
        {"weight": W, "pad_type": "same"}, lambda x: F.conv2d(x, _t(W), padding="same")
    ),
    "conv same with strides": _conv(
        {"weight": W, "pad_type": "same", "strides": _i(2, 2)},
        lambda x: F.conv2d(F.pad(x, (1, 1, 0, 1)), _t(W), stride=2),
    ),
    "conv same_lower with strides": _conv(
        {"weight": W, "pad_type": "same_lower", "strides": _i(2, 2)},
        lambda x: F.conv2d(F.pad(x, (1, 1, 1, 0)), _t(W), stride=2),
    ),
    "conv in one direction": Case(
        "conv",
        lambda mb, v: mb.conv(
            x=mb.reshape(x=v["x"], shape=_i(2, 4, 30)),
            weight=LINE,
            pad_type="custom",
            pad=_i(1, 1),
        ),
        lambda t: F.conv1d(t["x"].reshape(2, 4, 30), _t(LINE), padding=1),
    ),
    "conv in three directions": Case(
        "conv",
        lambda mb, v: mb.conv(
            x=mb.reshape(x=v["x"], shape=_i(2, 4, 3, 5, 2)),
            weight=CUBE,
            pad_type="custom",
            pad=_i(1, 0, 1, 1, 0, 0),
        ),
        lambda t: F.conv3d(F.pad(t["x"].reshape(2, 4, 3, 5, 2), (0, 0, 1, 1, 1, 0)), _t(CUBE)),
    ),
    "conv_transpose": Case(
        "conv_transpose",
        lambda mb, v: mb.conv_transpose(
            x=v["x"],
            weight=BACK,
            bias=BIAS2,
            strides=_i(2, 1),
            pad_type="custom",
            pad=_i(1, 1, 0, 0),
        ),
        lambda t: F.conv_transpose2d(t["x"], _t(BACK), _t(BIAS2), stride=(2, 1), padding=(1, 0)),
    ),
    "conv_transpose with groups": Case(
        "conv_transpose",
        lambda mb, v: mb.conv_transpose(
            x=v["x"], weight=BACK, bias=BIAS, groups=2, dilations=_i(1, 2)
        ),
        lambda t: F.conv_transpose2d(t["x"], _t(BACK), _t(BIAS), groups=2, dilation=(1, 2)),
    ),
    "conv_transpose to a size": Case(
        "conv_transpose",
        lambda mb, v: mb.conv_transpose(
            x=v["x"],
            weight=BACK,
            strides=_i(2, 2),
            pad_type="custom",
            pad=_i(1, 1, 0, 0),
            output_shape=_i(2, 3, 12, 10),
        ),
        lambda t: F.conv_transpose2d(
            t["x"], _t(BACK), stride=2, padding=(1, 0), output_padding=(1, 0)
        ),
    ),
    "conv_transpose same": Case(
        "conv_transpose",
        lambda mb, v: mb.conv_transpose(x=v["x"], weight=BACK, strides=_i(2, 2), pad_type="same"),
        # 13 × 10 without a cut; 12 × 10 are left, and the larger part of an odd cut is behind.
        lambda t: F.conv_transpose2d(t["x"], _t(BACK), stride=2)[:, :, :12],
    ),
    "max_pool": _pool(
        "max_pool",
        {
            "kernel_sizes": _i(3, 2),
            "strides": _i(2, 1),
            "pad_type": "custom",
            "pad": _i(1, 1, 1, 1),
        },
        lambda x: F.max_pool2d(x, (3, 2), (2, 1), 1),
    ),
    "max_pool rounded up": _pool(
        "max_pool",
        {"kernel_sizes": _i(2, 2), "strides": _i(2, 2), "pad_type": "valid", "ceil_mode": True},
        lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True),
    ),
    "avg_pool": _pool(
        "avg_pool",
        {
            "kernel_sizes": _i(3, 2),
            "strides": _i(2, 1),
            "pad_type": "custom",
            "pad": _i(1, 1, 1, 1),
        },
        lambda x: F.avg_pool2d(x, (3, 2), (2, 1), 1),
    ),
    "avg_pool without padding": _pool(
        "avg_pool",
        {
            "kernel_sizes": _i(3, 3),
            "strides": _i(2, 2),
            "pad_type": "custom",
            "pad": _i(1, 1, 1, 1),
            "exclude_padding_from_average": True,
        },
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "avg_pool rounded up": _pool(
        "avg_pool",
        {
            "kernel_sizes": _i(3, 3),
            "strides": _i(2, 3),
            "pad_type": "custom",
            "pad": _i(1, 1, 1, 1),
            "ceil_mode": True,
        },
        lambda x: F.avg_pool2d(x, 3, (2, 3), 1, ceil_mode=True),
    ),
    # Normalisation.
    "batch_norm": Case(
        "batch_norm",
        lambda mb, v: mb.batch_norm(
            x=v["x"], mean=ROW[:4], variance=VARIANCE, gamma=GAMMA, beta=BETA, epsilon=_f(1e-3)
        ),
        lambda t: F.batch_norm(
            t["x"], _t(ROW[:4]), _t(VARIANCE), _t(GAMMA), _t(BETA), False, eps=1e-3
        ),
    ),
    "instance_norm": Case(
        "instance_norm",
        lambda mb, v: mb.instance_norm(x=v["x"], gamma=GAMMA, beta=BETA, epsilon=_f(1e-3)),
        lambda t: F.instance_norm(t["x"], weight=_t(GAMMA), bias=_t(BETA), eps=1e-3),
    ),
    "layer_norm": Case(
        "layer_norm",
        lambda mb, v: mb.layer_norm(x=v["x"], axes=_i(-1), gamma=ROW, beta=ROW2, epsilon=_f(1e-3)),
        lambda t: F.layer_norm(t["x"], (5,), _t(ROW), _t(ROW2), 1e-3),
    ),
    "layer_norm of channels": Case(
        "layer_norm",
        lambda mb, v: mb.layer_norm(x=v["x"], axes=_i(1), gamma=GAMMA, epsilon=_f(1e-3)),
        lambda t: F.layer_norm(t["x"].movedim(1, -1), (4,), _t(GAMMA), None, 1e-3).movedim(-1, 1),
    ),
    "l2_norm": Case(
        "l2_norm",
        lambda mb, v: mb.l2_norm(x=v["x"], epsilon=_f(1e-3)),
        lambda t: t["x"] / (t["x"].square().sum((1, 2, 3), keepdim=True) + 1e-3).sqrt(),
    ),
    # Reductions.
    "reduce_sum": _reduce("reduce_sum", lambda x: x.sum(-1)),
    "reduce_sum of integers": Case(
        "reduce_sum",
        lambda mb, v: mb.reduce_sum(x=v["k"], axes=_i(0), keep_dims=True),
        lambda t: t["k"].sum(0, keepdim=True, dtype=torch.int32),
    ),
    "reduce_mean": _reduce("reduce_mean", lambda x: x.mean(-1)),
    "reduce_mean, axes kept": Case(
        "reduce_mean",
        lambda mb, v: mb.reduce_mean(x=v["x"], axes=_i(2, 3), keep_dims=True),
        lambda t: t["x"].mean((2, 3), keepdim=True),
    ),
    "reduce_max": _reduce("reduce_max", lambda x: x.amax(-1)),
    "reduce_min": _reduce("reduce_min", lambda x: x.amin(-1)),
    "reduce_prod": _reduce("reduce_prod", lambda x: x.prod(-1), "p"),
    "reduce_sum_square": _reduce("reduce_sum_square", lambda x: x.square().sum(-1)),
    "reduce_l1_norm": _reduce("reduce_l1_norm", lambda x: x.abs().sum(-1)),
    "reduce_l2_norm": _reduce("reduce_l2_norm", lambda x: x.norm(dim=-1)),
    "reduce_log_sum": _reduce("reduce_log_sum", lambda x: x.sum(-1).log(), "p"),
    "reduce_log_sum_exp": _reduce("reduce_log_sum_exp", lambda x: x.logsumexp(-1)),
    "reduce_argmax": Case(
        "reduce_argmax",
        lambda mb, v: mb.reduce_argmax(x=v["x"], axis=2),
        lambda t: t["x"].argmax(2),
    ),
    "reduce_argmin": Case(
        "reduce_argmin",
        lambda mb, v: mb.reduce_argmin(x=v["x"], axis=-1, keep_dims=True),
        lambda t: t["x"].argmin(-1, keepdim=True),
    ),
    # Shapes.
    "shape": Case("shape", lambda mb, v: mb.shape(x=v["x"]), lambda t: torch.tensor([2, 4, 6, 5])),
    "reshape": Case(
        "reshape",
        lambda mb, v: mb.reshape(x=v["x"], shape=_i(0, -1, 3, 5)),
        lambda t: t["x"].reshape(2, 8, 3, 5),
    ),
    "reshape with zeros from the right": Case(
        "reshape",
        lambda mb, v: mb.reshape(x=v["k"], shape=_i(1, 0, -1, 0)),
        lambda t: t["k"].reshape(1, 1, 3, 4),
        "iOS17",
    ),
    "reshape_like": Case(
        "reshape_like",
        lambda mb, v: mb.reshape_like(
            x=v["k"],
            ref_tensors=(v["a"], v["x"]),
            begins=(1, 1),
            ends=(2, 2),
            end_masks=(False, False),
        ),
        lambda t: t["k"].reshape(3, 4),
    ),
    "flatten2d": Case(
        "flatten2d", lambda mb, v: mb.flatten2d(x=v["x"], axis=2), lambda t: t["x"].reshape(8, 30)
    ),
    "transpose": Case(
        "transpose",
        lambda mb, v: mb.transpose(x=v["x"], perm=_i(0, -1, 1, 2)),
        lambda t: t["x"].permute(0, 3, 1, 2),
    ),
    "expand_dims": Case(
        "expand_dims",
        lambda mb, v: mb.expand_dims(x=v["k"], axes=_i(0, -1)),
        lambda t: t["k"][None, ..., None],
    ),
    "squeeze": Case(
        "squeeze", lambda mb, v: mb.squeeze(x=v["y"], axes=_i(-2)), lambda t: t["y"].squeeze(1)
    ),
    "squeeze all": Case(
        "squeeze",
        lambda mb, v: mb.squeeze(x=mb.expand_dims(x=v["y"], axes=_i(0))),
        lambda t: t["y"].squeeze(),
    ),
    "concat": Case(
        "concat",
        lambda mb, v: mb.concat(values=(v["x"], v["p"], v["x"]), axis=-3),
        lambda t: torch.cat((t["x"], t["p"], t["x"]), 1),
    ),
    "concat by turns": Case(
        "concat",
        lambda mb, v: mb.concat(values=(v["x"], v["p"]), axis=1, interleave=True),
        lambda t: torch.stack((t["x"], t["p"]), 2).flatten(1, 2),
    ),
    "stack": Case(
        "stack",
        lambda mb, v: mb.stack(values=(v["x"], v["p"]), axis=1),
        lambda t: torch.stack((t["x"], t["p"]), 1),
    ),
    "split": Case(
        "split",
        lambda mb, v: mb.split(x=v["x"], num_splits=2, axis=1),
        lambda t: t["x"].chunk(2, 1),
    ),
    "split in sizes": Case(
        "split",
        lambda mb, v: mb.split(x=v["x"], split_sizes=_i(1, 3, 2), axis=2),
        lambda t: t["x"].split([1, 3, 2], 2),
    ),
    "tile": Case(
        "tile", lambda mb, v: mb.tile(x=v["y"], reps=_i(1, 3, 2)), lambda t: t["y"].tile(1, 3, 2)
    ),
    "reverse": Case(
        "reverse", lambda mb, v: mb.reverse(x=v["x"], axes=_i(1, -1)), lambda t: t["x"].flip(1, 3)
    ),
    "reverse all": Case("reverse", lambda mb, v: mb.reverse(x=v["k"]), lambda t: t["k"].flip(0, 1)),
    "pixel_shuffle": Case(
        "pixel_shuffle",
        lambda mb, v: mb.pixel_shuffle(x=v["x"], upscale_factor=2),
        lambda t: F.pixel_shuffle(t["x"], 2),
    ),
    "pixel_unshuffle": Case(
        "pixel_unshuffle",
        lambda mb, v: mb.pixel_unshuffle(x=v["b"], downscale_factor=np.uint32(2)),
        lambda t: F.pixel_unshuffle(t["b"], 2),
    ),
    "sliding_windows": Case(
        "sliding_windows",
        lambda mb, v: mb.sliding_windows(x=v["x"], axis=2, size=3, stride=2),
        lambda t: t["x"].unfold(2, 3, 2).movedim(-1, 3),
    ),
    # Slices.
    "slice_by_index": Case(
        "slice_by_index",
        lambda mb, v: mb.slice_by_index(
            x=v["x"], begin=_i(0, 1, 0, 1), end=_i(2, 4, -1, 9), stride=_i(1, 2, 1, 2)
        ),
        lambda t: t["x"][0:2, 1:4:2, 0:-1, 1:9:2],
    ),
    "slice_by_index with masks": Case(
        "slice_by_index",
        lambda mb, v: mb.slice_by_index(
            x=v["x"],
            begin=_i(1, 3, -2, 1),
            end=_i(0, 2, 0, 3),
            begin_mask=_b(0, 1, 0, 0),
            end_mask=_b(0, 0, 1, 0),
            squeeze_mask=_b(1, 0, 0, 0),
        ),
        lambda t: t["x"][1, :2, -2:, 1:3],
    ),
    "slice_by_index backwards": Case(
        "slice_by_index",
        lambda mb, v: mb.slice_by_index(
            x=v["k"],
            begin=_i(0, 3),
            end=_i(0, 0),
            stride=_i(1, -1),
            begin_mask=_b(1, 0),
            end_mask=_b(1, 1),
        ),
        lambda t: t["k"].flip(1),
    ),
    "slice_by_size": Case(
        "slice_by_size",
        lambda mb, v: mb.slice_by_size(x=v["x"], begin=_i(0, 1, -3, 0), size=_i(1, 2, 2, -1)),
        lambda t: t["x"][0:1, 1:3, 3:5],
    ),
    "slice_update": Case(
        "slice_update",
        lambda mb, v: mb.slice_update(
            x=v["k"], update=np.full((2, 3), 9, np.int32), begin=_i(1, 0), end=_i(3, 3)
        ),
        lambda t: torch.cat((t["k"][:1], torch.cat((torch.full((2, 3), 9), t["k"][1:, 3:]), 1))),
        "iOS18",
    ),
    "gather": Case(
        "gather",
        lambda mb, v: mb.gather(x=TABLE, indices=v["i"], axis=0),
        lambda t: F.embedding(t["i"], _t(TABLE)),
    ),
    "gather along another axis": Case(
        "gather",
        lambda mb, v: mb.gather(x=v["x"], indices=_i(3, -1, 0), axis=1, validate_indices=False),
        lambda t: t["x"][:, [3, 3, 0]],
        "iOS17",
    ),
    "gather of one": Case(
        "gather", lambda mb, v: mb.gather(x=v["x"], indices=2, axis=2), lambda t: t["x"][:, :, 2]
    ),
    "gather by batch": Case(
        "gather",
        lambda mb, v: mb.gather(x=v["x"], indices=v["i"], axis=2, batch_dims=1),
        lambda t: torch.stack([t["x"][n][:, t["i"][n]] for n in range(2)]),
    ),
    "gather_along_axis": Case(
        "gather_along_axis",
        lambda mb, v: mb.gather_along_axis(x=v["k"], indices=_i(2, 0, 1, 1)[None], axis=0),
        lambda t: t["k"].gather(0, torch.tensor([[2, 0, 1, 1]])),
    ),
    "gather_nd": Case(
        "gather_nd",
        lambda mb, v: mb.gather_nd(x=v["x"], indices=np.array([[1, 3], [0, 2]], np.int32)),
        lambda t: t["x"][[1, 0], [3, 2]],
    ),
    "gather_nd by batch": Case(
        "gather_nd",
        lambda mb, v: mb.gather_nd(
            x=v["x"], indices=np.array([[[1, 3]], [[0, 2]]], np.int32), batch_dims=1
        ),
        lambda t: t["x"][[0, 1], [1, 0], [3, 2]][:, None],
    ),
    "non_zero": Case(
        "non_zero",
        lambda mb, v: mb.shape(x=mb.non_zero(x=v["k"])),
        lambda t: torch.tensor(t["k"].nonzero().shape),
    ),
    # Padding.
    "pad": Case(
        "pad",
        lambda mb, v: mb.pad(x=v["x"], pad=_i(1, 0, 2, 3), mode="constant", constant_val=_f(1.5)),
        lambda t: F.pad(t["x"], (2, 3, 1, 0), value=1.5),
    ),
    "pad by reflection": Case(
        "pad",
        lambda mb, v: mb.pad(x=v["x"], pad=_i(1, 0, 2, 3), mode="reflect"),
        lambda t: F.pad(t["x"], (2, 3, 1, 0), mode="reflect"),
    ),
    "pad by repetition": Case(
        "pad",
        lambda mb, v: mb.pad(x=v["x"], pad=_i(1, 0, 2, 3), mode="replicate"),
        lambda t: F.pad(t["x"], (2, 3, 1, 0), mode="replicate"),
    ),
    # Values from sizes and places.
    "fill": Case(
        "fill",
        lambda mb, v: mb.fill(shape=v["s"], value=_f(2.5)),
        lambda t: torch.full((3, 2), 2.5),
    ),
    "fill_like": Case(
        "fill_like",
        lambda mb, v: mb.fill_like(ref_tensor=v["k"], value=7),
        lambda t: torch.full((3, 4), 7),
    ),
    "range_1d": Case(
        "range_1d",
        lambda mb, v: mb.range_1d(start=_f(0.5), end=_f(4.1), step=_f(1.2)),
        lambda t: torch.tensor([0.5, 1.7, 2.9]),
    ),
    "one_hot": Case(
        "one_hot",
        lambda mb, v: mb.one_hot(
            indices=v["i"], one_hot_vector_size=4, axis=1, on_value=_f(2), off_value=_f(-1)
        ),
        lambda t: F.one_hot(t["i"].long(), 4).movedim(-1, 1) * 3.0 - 1,
    ),
    "band_part": Case(
        "band_part",
        lambda mb, v: mb.band_part(x=v["x"], lower=1, upper=-1),
        lambda t: t["x"].triu(-1),
    ),
    "band_part above": Case(
        "band_part",
        lambda mb, v: mb.band_part(x=v["x"], lower=-1, upper=0),
        lambda t: t["x"].tril(),
    ),
    # Sums and sorting.
    "cumsum": Case("cumsum", lambda mb, v: mb.cumsum(x=v["x"], axis=2), lambda t: t["x"].cumsum(2)),
    "cumsum backwards without itself": Case(
        "cumsum",
        lambda mb, v: mb.cumsum(x=v["k"], axis=1, exclusive=True, reverse=True),
        lambda t: t["k"].flip(1).cumsum(1).flip(1) - t["k"],
    ),
    "argsort": Case(
        "argsort", lambda mb, v: mb.argsort(x=v["x"], axis=1), lambda t: t["x"].argsort(1, True)
    ),
    "argsort from the least": Case(
        "argsort",
        lambda mb, v: mb.argsort(x=v["x"], axis=-1, ascending=True),
        lambda t: t["x"].argsort(-1),
    ),
    "topk": Case("topk", lambda mb, v: mb.topk(x=v["x"], k=2, axis=2), lambda t: t["x"].topk(2, 2)),
    "topk of the least": Case(
        "topk",
        lambda mb, v: mb.topk(x=v["x"], k=3, axis=-1, ascending=True, return_indices=False),
        lambda t: t["x"].topk(3, -1, False).values,
    ),
    # Sizes of pictures.
    "upsample_nearest_neighbor": Case(
        "upsample_nearest_neighbor",
        lambda mb, v: mb.upsample_nearest_neighbor(
            x=v["x"], scale_factor_height=2, scale_factor_width=3
        ),
        lambda t: F.interpolate(t["x"], scale_factor=(2, 3)),
    ),
    "upsample_nearest_neighbor by a fraction": Case(
        "upsample_nearest_neighbor",
        lambda mb, v: mb.upsample_nearest_neighbor(
            x=v["x"], scale_factor_height=_f(1.5), scale_factor_width=_f(1.2)
        ),
        lambda t: F.interpolate(t["x"], size=(9, 6)),
    ),
    "resize_nearest_neighbor": Case(
        "resize_nearest_neighbor",
        lambda mb, v: mb.resize_nearest_neighbor(
            x=v["x"], target_size_height=11, target_size_width=13
        ),
        lambda t: F.interpolate(t["x"], size=(11, 13)),
    ),
    "upsample_bilinear": Case(
        "upsample_bilinear",
        lambda mb, v: mb.upsample_bilinear(
            x=v["x"], scale_factor_height=2, scale_factor_width=3, align_corners=False
        ),
        lambda t: F.interpolate(t["x"], scale_factor=(2, 3), mode="bilinear"),
    ),
    "upsample_bilinear to the corners": Case(
        "upsample_bilinear",
        lambda mb, v: mb.upsample_bilinear(x=v["x"], scale_factor_height=2, scale_factor_width=3),
        lambda t: F.interpolate(t["x"], scale_factor=(2, 3), mode="bilinear", align_corners=True),
    ),
    "resize_bilinear": _resized(
        "UNALIGN_CORNERS", lambda x: F.interpolate(x, size=(9, 11), mode="bilinear")
    ),
    "resize_bilinear to the corners": _resized(
        "STRICT_ALIGN_CORNERS",
        lambda x: F.interpolate(x, size=(9, 11), mode="bilinear", align_corners=True),
    ),
    "resize_bilinear to one row": _resized(
        "ALIGN_CORNERS", lambda x: _sampled(x, [2.5], [i * 4 / 10 for i in range(11)]), height=1
    ),
    "resize_bilinear from the first corner": _resized(
        "DEFAULT",
        lambda x: _sampled(x, [i * 6 / 9 for i in range(9)], [i * 5 / 11 for i in range(11)]),
    ),
    "resize_bilinear within the corners": _resized(
        "OFFSET_CORNERS",
        lambda x: _sampled(
            x, [(i + 0.5) * 5 / 9 for i in range(9)], [(i + 0.5) * 4 / 11 for i in range(11)]
        ),
    ),
    "resize": Case(
        "resize",
        lambda mb, v: mb.resize(
            x=v["x"],
            shape=_i(0, 9, 11),
            resized_dims=np.uint32(2),
            interpolation_mode="LINEAR",
            sampling_mode="UNALIGN_CORNERS",
        ),
        lambda t: F.interpolate(t["x"], size=(9, 11), mode="bilinear"),
        "iOS17",
    ),
    # Quantised activations.
    "quantize": Case(
        "quantize",
        lambda mb, v: mb.cast(
            x=mb.quantize(
                input=v["x"], scale=_f(0.05), zero_point=np.uint8(100), output_dtype="uint8"
            ),
            dtype="int32",
        ),
        lambda t: ((t["x"] / 0.05).round() + 100).clamp(0, 255).int(),
        "iOS17",
    ),
    "quantize by channel": Case(
        "quantize",
        lambda mb, v: mb.cast(
            x=mb.quantize(input=v["x"], scale=VARIANCE / 100, output_dtype="int8", axis=1),
            dtype="int32",
        ),
        lambda t: (t["x"] / _t(VARIANCE / 100).reshape(4, 1, 1)).round().clamp(-128, 127).int(),
        "iOS17",
    ),
    "dequantize": Case(
        "dequantize",
        lambda mb, v: mb.dequantize(
            input=mb.cast(x=v["k"], dtype="int8"), scale=_f(0.3), zero_point=np.int8(2)
        ),
        lambda t: (t["k"] - 2) * 0.3,
        "iOS17",
    ),
    "dequantize by channel": Case(
        "dequantize",
        lambda mb, v: mb.dequantize(
            input=mb.cast(x=v["k"], dtype="int8"),
            scale=VARIANCE,
            zero_point=np.array([1, 2, -3, 0], np.int8),
            axis=-1,
        ),
        lambda t: (t["k"] - torch.tensor([1, 2, -3, 0])) * _t(VARIANCE),
        "iOS17",
    ),
}


def outputs_of(label: str) -> list[str]:
    """The names of a case's outputs in its program."""
    name = "".join(c if c.isalnum() else "_" for c in label)
    expected = expected_of(label)
    return [f"out_{name}_{number}" for number in range(len(expected))]


def expected_of(label: str) -> list[Array]:
    """What torch says, output by output."""
    tensors = {name: torch.from_numpy(array) for name, array in FEEDS.items()}
    found = CASES[label].expect(tensors)
    return [one.numpy() for one in (found if isinstance(found, (tuple, list)) else (found,))]


def write_program(opset: str, path: Path) -> None:
    """Saves the package of all cases of an operation set."""
    from coremltools.converters.mil.mil import types

    def build(mb: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
        made: list[Any] = []
        for label, case in CASES.items():
            if case.opset == opset:
                found = case.make(mb, given)
                several = found if isinstance(found, (tuple, list)) else (found,)
                made += [
                    _as_output(mb, types, one, name)
                    for one, name in zip(several, outputs_of(label), strict=True)
                ]
        return tuple(made)

    dtypes = {"float32": "fp32", "int32": "int32"}
    inputs = {name: (array.shape, dtypes[array.dtype.name]) for name, array in FEEDS.items()}
    save_program(path, opset, inputs, build)


def _as_output(mb: Any, types: Any, variable: Any, name: str) -> Any:
    """A variable as something that a package may give: no bools."""
    if variable.dtype == types.bool:
        return mb.cast(x=variable, dtype="int32", name=name)
    return mb.identity(x=variable, name=name)
