"""Attention's choices on whole networks: results stay, and each has the form that it promises."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from exporter.coreml.program import VALUE, Program, shape_of, value_of
from exporter.coreml.rewrites import ATTENTIONS, check_attention, rewrite_attention
from exporter.coreml.targets import check_target, target_names
from runtimes.errors import UsageError
from tests.exporter.coreml.rewrites.programs import (
    assert_close,
    case,
    channels_first,
    copied,
    decibels,
)

_aten: Any = torch.ops.aten

UNETS = ("sd15", "sdxl")
HEADS = {"sd15": [2] * 8, "sdxl": [4] * 12}
"""The heads of each attention. Two to a block; transformers of one block, or of two."""


@cache
def rewritten(name: str, attention: str, *, half: bool = False) -> Program:
    program = copied(case(name, half=half).program)
    rewrite_attention(program, attention)
    return program


def count(program: Program) -> Counter[Any]:
    return Counter(node.target for node in program.graph.nodes if node.op == "call_function")


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(
    "name",
    [
        *UNETS,
        "clip",
        "vae",
        pytest.param("sd21", marks=pytest.mark.slow),
        pytest.param("upscaler", marks=pytest.mark.slow),
    ],
)
def test_results_stay(name: str, attention: str) -> None:
    captured = case(name)
    found = captured.run(rewritten(name, attention), channels_first(captured.feeds))
    assert_close(found, captured.run(captured.program))


@pytest.mark.parametrize(
    "attention",
    [
        "split-einsum",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ATTENTIONS
            if name != "split-einsum"
        ),
    ],
)
def test_half_precision_is_close_to_float32(attention: str) -> None:
    exact = case("sd15").run(case("sd15").program)["out_sample"]
    found = case("sd15", half=True).run(
        rewritten("sd15", attention, half=True), channels_first(case("sd15").feeds)
    )["out_sample"]
    assert found.dtype == np.float16
    assert decibels(found, exact) >= 60


@pytest.mark.parametrize("name", UNETS)
def test_the_text_comes_channels_first(name: str) -> None:
    for attention in ATTENTIONS:
        program = rewritten(name, attention)
        batch, tokens, width = shape_of(case(name).program.inputs["encoder_hidden_states"])
        assert shape_of(program.inputs["encoder_hidden_states"]) == (batch, width, 1, tokens)


@pytest.mark.parametrize("name", [*UNETS, "clip", "vae"])
def test_sdpa_leaves_attention_whole(name: str) -> None:
    kept = count(rewritten(name, "sdpa"))[_aten.scaled_dot_product_attention.default]
    assert kept == count(case(name).program)[_aten.scaled_dot_product_attention.default] > 0


@pytest.mark.parametrize("name", [*UNETS, "clip", "vae"])
def test_original_has_two_products_and_a_softmax_per_attention(name: str) -> None:
    whole = count(case(name).program)[_aten.scaled_dot_product_attention.default]
    found = count(rewritten(name, "original"))
    assert found[_aten.scaled_dot_product_attention.default] == 0
    assert found[_aten.matmul.default] == 2 * found[_aten.softmax.int] == 2 * whole


@pytest.mark.parametrize("name", UNETS)
def test_split_einsum_has_two_products_per_head(name: str) -> None:
    found = count(rewritten(name, "split-einsum"))
    assert found[_aten.scaled_dot_product_attention.default] == found[_aten.matmul.default] == 0
    assert found[_aten.einsum.default] == 2 * found[_aten.softmax.int] == 2 * sum(HEADS[name])


@pytest.mark.parametrize("name", UNETS)
def test_split_einsum_transposes_keys_alone(name: str) -> None:
    program = rewritten(name, "split-einsum")
    found = count(program)
    assert found[_aten.permute.default] == 0
    assert found[_aten.transpose.int] == len(HEADS[name])
    for node in program.graph.find_nodes(op="call_function", target=_aten.transpose.int):
        assert {user.target for user in node.users} == {_aten.slice.Tensor}


@pytest.mark.parametrize("name", UNETS)
def test_split_einsum_has_no_linear_layers_in_transformers(name: str) -> None:
    program = rewritten(name, "split-einsum")
    linear = program.graph.find_nodes(op="call_function", target=_aten.linear.default)
    assert {len(shape_of(node)) for node in linear} == {2}  # The time embedding's.
    assert count(program)[_aten.layer_norm.default] == 0


def test_every_layer_of_a_transformer_lies_channels_first() -> None:
    program = rewritten("sd15", "split-einsum")
    values: list[Any] = [value_of(node) for node in program.graph.nodes if VALUE in node.meta]
    shapes = [tuple(value.shape) for value in values if isinstance(value, torch.Tensor)]
    tokens = 24 * 32
    assert (2, 32, 1, tokens) in shapes
    assert not [shape for shape in shapes if len(shape) == 3 and tokens in shape]


@pytest.mark.parametrize(("name", "chunks"), [("sd15", {512, 256}), ("sdxl", {192})])
def test_v2_takes_at_most_512_queries_at_a_time(name: str, chunks: set[int]) -> None:
    program = rewritten(name, "split-einsum-v2")
    softmax = program.graph.find_nodes(op="call_function", target=_aten.softmax.int)
    queries = Counter(shape_of(node)[3] for node in softmax)
    assert queries == dict.fromkeys(chunks, sum(HEADS[name]))
    assert count(program)[_aten.einsum.default] == 2 * len(softmax)


@pytest.mark.parametrize("name", ["clip", "vae"])
@pytest.mark.parametrize("attention", ["split-einsum", "split-einsum-v2"])
def test_networks_without_transformers_on_pictures_get_original(name: str, attention: str) -> None:
    assert count(rewritten(name, attention)) == count(rewritten(name, "original"))


def test_an_unknown_attention_lists_the_known_ones() -> None:
    message = (
        "unknown attention 'split-einsum-v3'; known are original, sdpa, split-einsum, "
        r"split-einsum-v2. Did you mean 'split-einsum-v2'\?"
    )
    with pytest.raises(UsageError, match=message):
        rewrite_attention(copied(case("clip").program), "split-einsum-v3")
    with pytest.raises(UsageError, match=message):
        check_attention("split-einsum-v3", check_target("iOS18"))


@pytest.mark.parametrize("target", ["iOS16", "iOS17", "macOS13", "macOS14"])
def test_sdpa_needs_ios_18(target: str) -> None:
    deployment = check_target(target)
    message = (
        f"'sdpa': Core ML has it from iOS18/macOS15 on, and the deployment target is {deployment}"
    )
    with pytest.raises(UsageError, match=message):
        check_attention("sdpa", deployment)


def test_every_other_choice_is_free() -> None:
    for target in target_names():
        for attention in ATTENTIONS:
            if attention != "sdpa" or target in ("iOS18", "iOS26", "macOS15", "macOS26"):
                check_attention(attention, check_target(target))
