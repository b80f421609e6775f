"""The lists of passes on whole networks: numbers, names, sizes, and what is left alone."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import onnx_ir as ir
import pytest

from exporter.passes import ONNXRUNTIME, PORTABLE, apply
from exporter.passes.constants import weight_names
from exporter.passes.fix_sizes import axes_of, fix_sizes
from exporter.passes.naming import MODULE_KEY
from exporter.portable import bind
from exporter.trace import MODULE_KEY as TRACE_MODULE_KEY
from exporter.trace import capture
from tests.exporter.passes.networks import (
    ENGINES,
    EVEN,
    NETWORKS,
    ODD,
    assert_close,
    captured,
    give_weights,
    portable,
    run_onnxruntime,
)


def fixed(model: ir.Model, sizes: dict[str, int]) -> ir.Model:
    return fix_sizes(model, {axis: sizes[axis] for axis in axes_of(model)})


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_portable_graph_gives_the_networks_outputs_at_any_size(name: str, engine: str) -> None:
    network = captured(name)
    model = give_weights(portable(name), network.state())
    for sizes in (EVEN, ODD):
        assert_close(ENGINES[engine](model, network.feeds(sizes)), network.expected(sizes))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_fixed_graph_gives_the_networks_outputs(name: str, engine: str) -> None:
    network = captured(name)
    model = give_weights(fixed(portable(name), ODD), network.state())
    assert_close(ENGINES[engine](model, network.feeds(ODD)), network.expected(ODD))


@pytest.mark.parametrize("name", NETWORKS)
def test_lowered_graph_gives_the_networks_outputs_at_any_size(name: str) -> None:
    network = captured(name)
    model = give_weights(apply(portable(name), ONNXRUNTIME), network.state())
    for sizes in (EVEN, ODD):
        assert_close(run_onnxruntime(model, network.feeds(sizes)), network.expected(sizes))


@pytest.mark.parametrize("name", NETWORKS)
def test_lowered_fixed_graph_gives_the_networks_outputs(name: str) -> None:
    network = captured(name)
    model = apply(fixed(portable(name), EVEN), ONNXRUNTIME)
    give_weights(model, network.state())
    assert_close(run_onnxruntime(model, network.feeds(EVEN)), network.expected(EVEN))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_keeps_its_key(name: str) -> None:
    network = captured(name)
    model = portable(name)
    assert weight_names(model.graph) == network.weights()
    model = apply(fixed(model, EVEN), ONNXRUNTIME)
    assert weight_names(model.graph) == network.weights()


@pytest.mark.parametrize("name", NETWORKS)
def test_lowered_graph_has_nothing_that_the_cpu_provider_expands(name: str) -> None:
    count = operators(apply(portable(name), ONNXRUNTIME))
    assert count["GroupNormalization"] == 0
    assert count["Attention"] == 0
    assert count["MultiHeadAttention"] > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_declares_what_every_target_reads(name: str) -> None:
    model = portable(name)
    assert dict(model.graph.opset_imports) == {"": 23}
    lowered = apply(model, ONNXRUNTIME)
    assert dict(lowered.graph.opset_imports) == {"": 23, "com.microsoft": 1}
    assert lowered.ir_version == 10


def test_two_captures_give_the_same_bytes() -> None:
    network = captured("text_encoder")
    again = apply(capture(network.component, network.config), PORTABLE)
    first = ir.to_proto(portable("text_encoder")).SerializeToString(deterministic=True)
    assert ir.to_proto(again).SerializeToString(deterministic=True) == first


@pytest.mark.parametrize("name", NETWORKS)
def test_running_the_passes_again_changes_nothing(name: str) -> None:
    model = portable(name)
    first = ir.to_proto(model).SerializeToString(deterministic=True)
    again = ir.to_proto(apply(model, PORTABLE)).SerializeToString(deterministic=True)
    assert again == first


@pytest.fixture
def halves_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ir.Model:
    """A U-Net bound to fp16 weights in a file that nothing may read, and that isn't there."""

    def refuse(tensor: ir.ExternalTensor, *_: object) -> None:
        raise AssertionError(f"{tensor.name} was read")

    monkeypatch.chdir(tmp_path)
    for method in ("numpy", "tobytes", "tofile", "__array__"):
        monkeypatch.setattr(ir.ExternalTensor, method, refuse)
    network = captured("unet")
    model = portable("unet")
    bind(model, {key: ("F16", tuple(t.shape)) for key, t in network.state().items()})
    return model


def test_weights_in_a_file_are_never_read(
    halves_out_of_reach: ir.Model, caplog: pytest.LogCaptureFixture
) -> None:
    model = halves_out_of_reach
    with caplog.at_level(logging.WARNING):
        model = apply(fixed(apply(model, PORTABLE), ODD), ONNXRUNTIME)
    assert not caplog.records
    weights = [model.graph.initializers[key] for key in captured("unet").weights()]
    assert all(isinstance(weight.const_value, ir.ExternalTensor) for weight in weights)


def test_half_weights_behind_casts_give_the_outputs_of_the_rounded_network(
    halves_out_of_reach: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = captured("unet")
    model = apply(fixed(halves_out_of_reach, ODD), ONNXRUNTIME)
    assert operators(model)["Cast"] == len(network.weights())
    monkeypatch.undo()
    halves = {key: tensor.half() for key, tensor in network.state().items()}
    rounded = network.component.build(network.config).eval().requires_grad_(False)
    rounded.load_state_dict({key: tensor.float() for key, tensor in halves.items()})
    expected = network.component.reference(rounded, network.config, network.feeds(ODD))
    found = run_onnxruntime(give_weights(model, halves), network.feeds(ODD))
    assert_close(found, {name: tensor.numpy() for name, tensor in expected.items()})


def test_capture_and_passes_agree_on_where_modules_are_told() -> None:
    assert MODULE_KEY == TRACE_MODULE_KEY
