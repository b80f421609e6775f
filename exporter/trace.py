"""Captures a component as ONNX. The only place that calls `torch.export` and `torch.onnx`.

The network is built under fake tensors, from its config alone: the capture takes no memory for
weights and is dynamic in batch, height and width. The result's initializers carry Diffusers keys
and have no values yet; `exporter.portable` binds them to a weight file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Container, Generator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO

import onnx_ir as ir
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from exporter.components.base import Component, Config
from exporter.passes.naming import MODULE_KEY, set_origins
from exporter.phases import CAPTURE, CONVERT, begin
from runtimes.manifest import Port

OPSET = 23
"""Attention, GroupNormalization and Gelu are single nodes; TensorRT 11 reads up to 25."""

IR_VERSION = 10
"""The newest that every target reads."""

_TORCH_DTYPE = {"float32": torch.float32, "int64": torch.int64}
_NAME_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class Traced:
    """A capture in both forms.

    Attributes:
        program: torch's own, under fake tensors: its graph has no weights.
        model: the ONNX model made of it; `origins_of` its graph names the program's values.
    """

    program: torch.export.ExportedProgram
    model: ir.Model


def capture(component: Component, config: Config) -> ir.Model:
    """Captures a component at example sizes with dynamic axes.

    Args:
        component: the wrapper.
        config: the network's own config.

    Returns:
        An opset-23 model whose inputs and outputs are named as the component says and whose
        initializers are named by Diffusers keys, without values.
    """
    return trace(component, config).model


def trace(component: Component, config: Config) -> Traced:
    """Captures a component; see `capture`. Gives torch's program beside the model."""
    begin(CAPTURE)
    with FakeTensorMode(allow_non_fake_inputs=True), _quiet():
        network = component.build(config).eval().requires_grad_(False)
        wrapped = component.wrap(network, config)
        program = torch.export.export(
            wrapped, examples(component, config), dynamic_shapes=_dynamic(component, config)
        )
        begin(CONVERT)
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            optimize=False,
            verbose=False,
            input_names=[port.name for port in component.inputs(config)],
            output_names=[port.name for port in component.outputs(config)],
        )
    assert onnx_program is not None
    # The program that was translated: decomposed where ONNX has no such operator.
    program, model = onnx_program.exported_program, onnx_program.model
    assert program is not None
    model.ir_version = IR_VERSION
    model.producer_version = None
    _name_initializers(model, component, config)
    _keep_module_paths(model)
    _name_axes(model, (*component.inputs(config), *component.outputs(config)))
    _note_origins(model, program, [port.name for port in component.outputs(config)])
    return Traced(program, model)


def capture_fixed(
    component: Component,
    config: Config,
    sizes: Mapping[str, int],
    *,
    half: bool,
    exact: Container[str] = (),
    repeat: Mapping[str, int] | None = None,
) -> torch.export.ExportedProgram:
    """Captures a component at fixed sizes, decomposed to ATen's own operators, without weights.

    Args:
        component: the wrapper.
        config: the network's own config.
        sizes: a size for every symbolic axis of the inputs.
        half: in half precision, inputs and weights; what the network computes in float32 whatever
            its weights are, such as the sines of the time embedding, stays so.
        exact: inputs that come in float32 also then.
        repeat: inputs that come as often along their first axis, such as a timestep for each of
            the samples.
    """
    begin(CAPTURE)
    with FakeTensorMode(allow_non_fake_inputs=True), _quiet():
        network = component.build(config).eval()
        if half:
            # `Module.half` swaps tensors in place, which fake ones don't allow.
            state = {key: _halved(value) for key, value in network.state_dict().items()}
            network.load_state_dict(state, assign=True)
        wrapped = component.wrap(network.requires_grad_(False), config)
        often = repeat or {}
        feeds = tuple(
            torch.zeros(
                _fixed(port, sizes, often.get(port.name, 1)),
                dtype=_fed_dtype(port, half=half and port.name not in exact),
            )
            for port in component.inputs(config)
        )
        return torch.export.export(wrapped, feeds).run_decompositions({})


def _fixed(port: Port, sizes: Mapping[str, int], repeat: int) -> list[int]:
    first, *rest = (sizes[n] if isinstance(n, str) else n for n in port.shape)
    return [first * repeat, *rest]


def _fed_dtype(port: Port, *, half: bool) -> torch.dtype:
    return torch.float16 if half and port.dtype == "float32" else _TORCH_DTYPE[port.dtype]


def _halved(value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.is_floating_point() else value


def _note_origins(
    model: ir.Model, program: torch.export.ExportedProgram, outputs: list[str]
) -> None:
    """The exporter names a value as torch's program does; outputs are named as the component says.

    What one operator of the program became is several nodes; the last has its name.
    """
    called = {node.name for node in program.graph.nodes if node.op == "call_function"}
    made = {value.name for node in model.graph for value in node.outputs}
    origins = {name: (name,) for name in called & made}
    returned = program.graph.output_node().args[0]
    assert isinstance(returned, tuple)
    for port, node in zip(outputs, returned, strict=True):
        assert isinstance(node, torch.fx.Node)
        origins[port] = (node.name,)
    set_origins(model.graph, origins)


def examples(component: Component, config: Config) -> tuple[torch.Tensor, ...]:
    """Inputs of the component's example sizes; values don't matter to a capture."""
    sizes = component.example_sizes(config)
    return tuple(
        torch.zeros(
            [sizes[n] if isinstance(n, str) else n for n in port.shape],
            dtype=_TORCH_DTYPE[port.dtype],
        )
        for port in component.inputs(config)
    )


def _dynamic(component: Component, config: Config) -> tuple[Mapping[int, object], ...]:
    parts = {
        name: number * torch.export.Dim(f"{name}_{number}th")
        for name, number in component.multiples(config).items()
    }
    return tuple(
        {
            axis: parts.get(size, torch.export.Dim.DYNAMIC)
            for axis, size in enumerate(port.shape)
            if isinstance(size, str)
        }
        for port in component.inputs(config)
    )


@contextmanager
def _quiet() -> Generator[None]:
    """Torch prints progress and warnings that a user can do nothing about."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "transformers")}
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _name_initializers(model: ir.Model, component: Component, config: Config) -> None:
    buffers = component.buffers(config)
    for value in list(model.graph.initializers.values()):
        assert value.name is not None
        key = component.canonical(value.name.removeprefix("network."))
        del model.graph.initializers[value.name]
        value.name = key
        value.const_value = ir.tensor(buffers[key], name=key) if key in buffers else None
        model.graph.initializers[key] = value


def _keep_module_paths(model: ir.Model) -> None:
    """Drops torch's metadata (it holds paths of the machine) but for the module's path."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph:
        scopes = node.metadata_props.get(_NAME_SCOPES, "")
        node.metadata_props.clear()
        node.doc_string = None
        path = _innermost(scopes)
        if path:
            node.metadata_props[MODULE_KEY] = path
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                value.metadata_props.clear()
                value.doc_string = None


def _innermost(scopes: str) -> str:
    """The module's path from torch's list of scopes, whose last item is the operation."""
    names = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
    return names[-2].removeprefix("network").removeprefix(".") if len(names) > 1 else ""


def _name_axes(model: ir.Model, ports: tuple[Port, ...]) -> None:
    """Gives the graph's inputs and outputs the axes' names; shapes in between are inferred anew."""
    boundary = {port.name: port for port in ports}
    for value in (*model.graph.inputs, *model.graph.outputs):
        assert value.name is not None
        value.shape = ir.Shape(boundary[value.name].shape)
