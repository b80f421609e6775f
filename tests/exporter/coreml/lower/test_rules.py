"""Each operator that is lowered computes in MIL what torch computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx import Node

from exporter.coreml.constants import PackageWeights
from exporter.coreml.convert import Feature, add_function
from exporter.coreml.lower import load_rules
from exporter.coreml.lower.rules import RULES
from exporter.coreml.package import Description, fresh_names, save
from exporter.coreml.program import Program, evaluate, program_of
from exporter.coreml.targets import check_target
from exporter.errors import CompileError
from runtimes.mil.executor import Executor
from runtimes.mil.package import open_package
from tests.exporter.coreml.rewrites.programs import built


class _Calls(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return self.function(*given)


def _rows(ids: torch.Tensor) -> torch.Tensor:
    """The state at the first 7, as the text encoder takes that at the end of a text."""
    table = torch.arange(40, dtype=torch.float32).view(10, 4)
    states = nn.functional.embedding(ids, table)
    at = (ids == 7).to(torch.int64).argmax(dim=-1, keepdim=True)
    return states.gather(1, at.unsqueeze(-1).expand(-1, 1, 4)).squeeze(1)


def _causal(x: torch.Tensor) -> torch.Tensor:
    places = torch.arange(x.shape[-2])
    mask = (places[None] <= places[:, None])[None, None]
    return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)


_aten: Any = torch.ops.aten

PICTURE = (2, 8, 6, 10)
CASES: dict[str, tuple[nn.Module, tuple[tuple[int, ...], ...]]] = {
    "convolution": (nn.Conv2d(8, 4, 3, padding=1), (PICTURE,)),
    "strided convolution": (nn.Conv2d(8, 4, 3, stride=2, padding=(0, 1)), (PICTURE,)),
    "grouped convolution": (nn.Conv2d(8, 4, 3, dilation=2, groups=2, bias=False), (PICTURE,)),
    "linear": (nn.Linear(10, 3), (PICTURE,)),
    "linear without bias": (nn.Linear(10, 3, bias=False), ((2, 5, 10),)),
    "group norm": (nn.GroupNorm(4, 8), (PICTURE,)),
    "group norm of a sequence": (nn.GroupNorm(4, 8), ((2, 8, 12),)),
    "layer norm": (nn.LayerNorm([6, 10]), (PICTURE,)),
    "gelu": (nn.GELU(), (PICTURE,)),
    "gelu by tanh": (nn.GELU(approximate="tanh"), (PICTURE,)),
    "silu": (nn.SiLU(), (PICTURE,)),
    "upsampling": (nn.Upsample(scale_factor=2), (PICTURE,)),
    "arithmetic": (_Calls(lambda x, y: (x - 2 * y) * y / 3 + (-x).sigmoid()), (PICTURE, PICTURE)),
    "functions": (_Calls(lambda x: (x.sin() + x.cos()).exp().tanh().relu()), (PICTURE,)),
    "roots": (_Calls(lambda x: (x * x + 1e-6).rsqrt() + (x * x).sqrt()), (PICTURE,)),
    "mean": (_Calls(lambda x: x - x.mean(dim=(1, 2), keepdim=True)), (PICTURE,)),
    "softmax": (_Calls(lambda x: x.softmax(dim=1)), (PICTURE,)),
    "products": (_Calls(lambda x, y: x @ y.transpose(-1, -2)), (PICTURE, PICTURE)),
    "einsum": (
        _Calls(lambda q, k: torch.einsum("bchq,bkhc->bkhq", q, k)),
        ((2, 4, 1, 6), (2, 5, 1, 4)),
    ),
    "pieces": (_Calls(lambda x: torch.cat([*x.split([1, 3, 4], dim=1)][::-1], dim=1)), (PICTURE,)),
    "chunks": (_Calls(lambda x: x.chunk(3, dim=1)[2]), (PICTURE,)),
    "slices": (_Calls(lambda x: x[:, 1:-2, ::2, -3:]), (PICTURE,)),
    "permutation": (_Calls(lambda x: x.permute(0, 2, 3, 1).reshape(2, 60, 8)), (PICTURE,)),
    "padding": (_Calls(lambda x: nn.functional.pad(x, (0, 1, 2, 0))), (PICTURE,)),
    "broadcast": (_Calls(lambda x, y: x.expand(4, -1)[:, None] + y), ((1, 5), (4, 3, 5))),
    "attention": (
        _Calls(lambda q, k: nn.functional.scaled_dot_product_attention(q, k, k)),
        ((2, 3, 7, 4), (2, 3, 5, 4)),
    ),
    "causal attention": (_Calls(_causal), ((2, 3, 7, 4),)),
    "rows of a table": (_Calls(_rows), ((2, 9),)),
}


def _captured(module: nn.Module, feeds: tuple[torch.Tensor, ...]) -> Program:
    exported = torch.export.export(module.eval().requires_grad_(False), feeds)
    names = [f"x{n}" for n in range(len(feeds))]
    constants = {name: np.asarray(value) for name, value in exported.constants.items()}
    return program_of(exported.run_decompositions({}), names, ["y"], buffers=constants)


def _evaluated(
    program: Program, feeds: dict[str, Any], weights: dict[str, Any], path: Path
) -> np.ndarray[Any, Any]:
    """What the package made of a program gives."""
    from coremltools.converters.mil.mil import Program as MilProgram

    target, mil = check_target("iOS18").sdk, MilProgram()
    inputs = tuple(Feature(name, name, "float32") for name in program.inputs)
    with fresh_names():
        constants = PackageWeights(weights).constants()
        add_function(
            mil, "main", program, inputs, (Feature("y", "y", "float32"),), constants, target
        )
    save(mil, path, target=target, description=Description())
    given = {name: value.astype(np.float32) for name, value in feeds.items()}
    return Executor(open_package(path))(given)["y"]


@dataclass(frozen=True)
class _Case:
    """A captured case with its feeds and weights."""

    program: Program
    feeds: dict[str, Any]
    weights: dict[str, Any]


@cache
def _case(name: str) -> _Case:
    """Captured once a process."""
    module, shapes = CASES[name]
    torch.manual_seed(3)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    if name == "rows of a table":
        given = (torch.tensor([[1, 2, 7, 3, 4, 7, 5, 6, 0], [7, 1, 2, 3, 4, 5, 6, 8, 9]]),)
    else:
        given = tuple(torch.randn(shape) for shape in shapes)
    return _Case(
        _captured(module, given),
        {f"x{n}": value.numpy() for n, value in enumerate(given)},
        {key: value.detach().numpy() for key, value in module.named_parameters()},
    )


@pytest.mark.parametrize("name", CASES)
def test_mil_computes_what_torch_computes(name: str, tmp_path: Path) -> None:
    case = _case(name)
    expected = evaluate(case.program, case.feeds, case.weights)["y"]
    found = _evaluated(case.program, case.feeds, case.weights, tmp_path / "X.mlpackage")
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2e-6 * max(np.abs(expected).max(), 1)


def test_the_cases_use_every_rule() -> None:
    load_rules()
    used = {node.target for name in CASES for node in _case(name).program.graph.nodes}
    untried = {str(target) for target in RULES if target not in used | BY_HAND.keys()}
    assert untried == {ELSEWHERE}


ELSEWHERE = "latedge.channel_norm.default"
"""Of the split attentions' own; `tests/exporter/coreml/test_job.py` compares a U-Net with it."""

FLAT = (2, 480)
BY_HAND: dict[Any, tuple[tuple[tuple[int, ...], ...], Callable[..., tuple[Any, ...]]]] = {
    _aten._softmax.default: ((PICTURE,), lambda x: (x, 1, False)),
    _aten._unsafe_view.default: ((PICTURE,), lambda x: (x, FLAT)),
    _aten.alias.default: ((PICTURE,), lambda x: (x,)),
    _aten.bmm.default: (((2, 3, 4), (2, 4, 5)), lambda x, y: (x, y)),
    _aten.clone.default: ((PICTURE,), lambda x: (x,)),
    _aten.concat.default: ((PICTURE, PICTURE), lambda x, y: ([x, y], 1)),
    _aten.constant_pad_nd.default: ((PICTURE,), lambda x: (x, [1, 2, 0, 3])),
    _aten.detach.default: ((PICTURE,), lambda x: (x,)),
    _aten.dropout.default: ((PICTURE,), lambda x: (x, 0.5, False)),
    _aten.eq.Tensor: ((PICTURE, PICTURE), lambda x, y: (x, y)),
    _aten.flatten.using_ints: ((PICTURE,), lambda x: (x, 1, 2)),
    _aten.ge.Scalar: ((PICTURE,), lambda x: (x, 0.25)),
    _aten.lt.Tensor: ((PICTURE, PICTURE), lambda x, y: (x, y)),
    _aten.reshape.default: ((PICTURE,), lambda x: (x, FLAT)),
    _aten.squeeze.dims: (((2, 1, 3, 1),), lambda x: (x, [1, 3])),
}
"""Operators that rewrites or other captures have: the shapes of inputs, and the arguments."""


@pytest.mark.parametrize("target", BY_HAND, ids=str)
def test_mil_computes_what_torch_computes_by_hand(target: Any, tmp_path: Path) -> None:
    shapes, arguments = BY_HAND[target]

    def make(program: Program, given: dict[str, Node]) -> Node:
        found = program.call(target, *arguments(*given.values()))
        return program.call(_aten._to_copy.default, found, dtype=torch.float32)

    program = built({f"x{n}": shape for n, shape in enumerate(shapes)}, make)
    program.outputs["y"] = program.outputs.pop("out")
    random = np.random.default_rng(0)
    # Halves of whole numbers: some are equal.
    feeds = {
        f"x{n}": random.integers(-4, 5, shape).astype(np.float32) / 2
        for n, shape in enumerate(shapes)
    }
    expected = evaluate(program, feeds, {})["y"]
    assert np.ptp(expected) > 0
    found = _evaluated(program, feeds, {}, tmp_path / "X.mlpackage")
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6, strict=True)


def test_an_operator_without_a_rule_is_named(tmp_path: Path) -> None:
    program = _captured(_Calls(lambda x: torch.special.zeta(x, x)), (torch.ones(2, 3),))
    with pytest.raises(CompileError, match=r"special_zeta.*counterpart"):
        _evaluated(program, {"x0": np.ones((2, 3))}, {}, tmp_path / "X.mlpackage")


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    program = _captured(nn.Linear(3, 2), (torch.ones(2, 3),))
    with pytest.raises(CompileError, match="has no weight"):
        _evaluated(program, {"x0": np.ones((2, 3))}, {}, tmp_path / "X.mlpackage")
