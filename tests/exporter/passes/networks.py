"""Tiny networks as captured, and what runs their graphs: torch, ONNX Runtime, OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import openvino as ov
import torch
from numpy.typing import NDArray

from exporter.components import component
from exporter.components.base import Component
from exporter.passes import PORTABLE, apply
from exporter.passes.constants import array_of
from exporter.trace import capture

Array = NDArray[Any]
Arrays = dict[str, Array]

TOLERANCE = 1e-5
"""Largest error relative to the largest output (or 1): float32 sums in another order."""

_VAE = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (32, 64),
    "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
    "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
    "layers_per_block": 1,
    "sample_size": 32,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "unet": {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "layers_per_block": 1,
        "attention_head_dim": 4,
    },
    "text_encoder": {
        "architectures": ["CLIPTextModel"],
        "vocab_size": 1000,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "eos_token_id": 999,
        "bos_token_id": 998,
        "pad_token_id": 999,
        "max_position_embeddings": 77,
    },
    "vae_decoder": _VAE,
    "vae_encoder": _VAE,
}

NETWORKS = tuple(CONFIGS)

EVEN = {
    "batch": 1,
    "height": 8,
    "width": 8,
    "sequence": 77,
    "image_height": 16,
    "image_width": 16,
}
ODD = {
    "batch": 3,
    "height": 9,
    "width": 13,
    "sequence": 11,
    "image_height": 18,
    "image_width": 26,
}


@dataclass(frozen=True)
class Captured:
    """A network with random weights, and its capture, which has none."""

    component: Component
    config: Mapping[str, Any]
    network: torch.nn.Module
    model: ir.Model

    def fresh(self) -> ir.Model:
        """The capture, for a test to change."""
        return _own_types(self.model.clone())

    def weights(self) -> set[str]:
        """Keys of the weights that the graph uses."""
        return {key for key, value in self.model.graph.initializers.items() if value.uses()}

    def state(self) -> dict[str, torch.Tensor]:
        """The network's weights by key."""
        state = self.network.state_dict()
        return {self.component.canonical(name): tensor for name, tensor in state.items()}

    def feeds(self, sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
        """Seeded inputs of these sizes."""
        generator = torch.Generator().manual_seed(1)
        feeds: dict[str, torch.Tensor] = {}
        for port in self.component.inputs(self.config):
            shape = [sizes[size] if isinstance(size, str) else size for size in port.shape]
            if port.dtype == "int64":
                feeds[port.name] = torch.randint(1, 999, shape, generator=generator)
                feeds[port.name][:, 5] = 999  # the end of the text, where the state is pooled
            else:
                feeds[port.name] = torch.randn(shape, generator=generator)
        if "timestep" in feeds:
            feeds["timestep"] = torch.tensor([481.0])
        return feeds

    def expected(self, sizes: Mapping[str, int]) -> Arrays:
        """What the network itself gives."""
        outputs = self.component.reference(self.network, self.config, self.feeds(sizes))
        return {name: tensor.numpy() for name, tensor in outputs.items()}


@cache
def captured(name: str) -> Captured:
    """Captures a network once per process; never change what it returns."""
    wrapper, config = component(name), CONFIGS[name]
    network = wrapper.build(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for key, tensor in network.named_parameters():
        drawn = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim == 1:  # a bias, or the scale of a norm
            tensor.copy_(0.3 * drawn + float(key.endswith("weight")))
        else:
            tensor.copy_(drawn / tensor[0].numel() ** 0.5)
    return Captured(wrapper, config, network, capture(wrapper, config))


@cache
def _portable(name: str) -> ir.Model:
    return apply(captured(name).fresh(), PORTABLE)


def portable(name: str) -> ir.Model:
    """A network's portable graph, without weights, for a test to change."""
    return _own_types(_portable(name).clone())


def _own_types(model: ir.Model) -> ir.Model:
    """A clone shares the type objects, in which a value's dtype is set."""
    for value in model.graph.initializers.values():
        value.type = None if value.dtype is None else ir.TensorType(value.dtype)
    return model


def elements(value: ir.Value | None) -> Array:
    """The value of a constant, which must be one."""
    array = array_of(value)
    assert array is not None
    return array


def maker(value: ir.Value | None) -> str:
    """The operator that a value comes from, which must come from one."""
    node = None if value is None else value.producer()
    assert node is not None
    return node.op_type


def give_weights(model: ir.Model, state: Mapping[str, torch.Tensor]) -> ir.Model:
    """The model, with values for its weights."""
    for key, value in model.graph.initializers.items():
        if key in state:
            value.const_value = ir.tensor(state[key].numpy(), name=key)
    return model


def run_onnxruntime(model: ir.Model, feeds: Mapping[str, torch.Tensor | Array]) -> Arrays:
    """Outputs by name, from the CPU provider."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    raw = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    results = session.run(names, _numpy(feeds))
    return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}


def run_openvino(model: ir.Model, feeds: Mapping[str, torch.Tensor | Array]) -> Arrays:
    """Outputs by name, from the CPU plugin."""
    core = ov.Core()
    read = core.read_model(ir.to_proto(model).SerializeToString())
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(_numpy(feeds))
    return {output.get_any_name(): results[output] for output in compiled.outputs}


ENGINES = {"onnxruntime": run_onnxruntime, "openvino": run_openvino}


def assert_close(found: Arrays, expected: Arrays, tolerance: float = TOLERANCE) -> None:
    """Compares element by element, relative to the largest element of an output (or 1)."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        assert np.abs(array).max() > 0.1, f"{name} says nothing"
        atol = tolerance * max(1.0, float(np.abs(array).max()))
        np.testing.assert_allclose(found[name], array, rtol=0, atol=atol, err_msg=name)


def _numpy(feeds: Mapping[str, torch.Tensor | Array]) -> Arrays:
    return {
        name: value.numpy() if isinstance(value, torch.Tensor) else value
        for name, value in feeds.items()
    }
