"""Tiny networks as captured programs, with weights and feeds, and how rewritten ones compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, Node

from benchmarks.synthetic.models import MODELS
from exporter.components import component
from exporter.coreml.program import VALUE, Program, capture_program, evaluate, shape_of, value_of
from exporter.coreml.rewrites.subprogram import subprogram

Array = NDArray[Any]
Arrays = dict[str, Array]

SIZES = {"batch": 2, "height": 24, "width": 32, "sequence": 77}
"""24 · 32 tokens are 768: more than 512 and no multiple of it."""

_ONE_LEVEL = {
    "block_out_channels": (32,),
    "down_block_types": ("CrossAttnDownBlock2D",),
    "up_block_types": ("CrossAttnUpBlock2D",),
    "attention_head_dim": 2,
    "layers_per_block": 1,
}
_TWO_LEVELS = {
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "transformer_layers_per_block": (1, 2),
    "attention_head_dim": (2, 4),
    "layers_per_block": 1,
}
_SMALL_VAE = {
    "block_out_channels": (32,),
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
}
_NETWORKS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "sd15": ("tiny-sd15", "unet", "unet", _ONE_LEVEL),
    "sd21": ("tiny-sd21", "unet", "unet", _ONE_LEVEL),
    "sdxl": ("tiny-sdxl", "unet", "unet", _TWO_LEVELS),
    "upscaler": ("tiny-x2-latent-upscaler", "unet", "unet", {}),
    "clip": ("tiny-sd15", "text_encoder", "text_encoder", {}),
    "vae": ("tiny-sd15", "vae", "vae_decoder", _SMALL_VAE),
}
"""Name → synthetic model, its folder, component, what departs from its config."""


@dataclass(frozen=True)
class Case:
    """A program and what to run it on."""

    program: Program
    weights: Arrays
    feeds: Arrays

    def run(self, program: Program, feeds: Arrays | None = None) -> Arrays:
        return evaluate(program, self.feeds if feeds is None else feeds, self.weights)


def built(
    shapes: dict[str, tuple[int, ...]],
    make: Callable[[Program, dict[str, Node]], Node],
    dtype: torch.dtype = torch.float32,
) -> Program:
    """A program of inputs of these shapes, made by hand."""
    graph, mode = Graph(), FakeTensorMode()
    nodes = {name: graph.placeholder(name) for name in shapes}
    with mode:
        for name, node in nodes.items():
            node.meta[VALUE] = torch.empty(shapes[name], dtype=dtype)
    program = Program(graph, nodes, {}, {}, {}, mode)
    program.outputs["out"] = make(program, nodes)
    graph.output((program.outputs["out"],))
    return program


def copied(program: Program) -> Program:
    return subprogram(program, program.inputs, program.outputs)


def case(name: str, *, half: bool = False) -> Case:
    """A network as captured: once a process, so never rewrite its program itself."""
    return _captured(name, half)


@cache
def _captured(name: str, half: bool) -> Case:
    model, folder, part, own = _NETWORKS[name]
    networks = MODELS[model].networks
    network = networks[folder]
    class_field = {"_class_name": network.class_name, "architectures": [network.class_name]}
    wrapper = component(part)
    config = wrapper.complete(
        wrapper.normalise({**class_field, **network.config, **own}),
        {one: other.config for one, other in networks.items()},
    )
    program = capture_program(wrapper, config, SIZES, half=half)
    return Case(program, _weights(program), _feeds(program))


def _weights(program: Program) -> Arrays:
    """Of a trained network's size: outputs neither vanish nor explode."""
    random, found = np.random.default_rng(0), Arrays()
    for node in program.graph.nodes:
        if node.name in program.weights:
            shape, key = shape_of(node), program.weights[node.name]
            values = random.standard_normal(shape).astype(np.float32)
            if len(shape) > 1:
                found[key] = values / np.sqrt(np.prod(shape[1:]))
            else:
                found[key] = values * 0.1 + (1 if key.endswith("weight") else 0)
    return found


def _feeds(program: Program) -> Arrays:
    random, found = np.random.default_rng(1), Arrays()
    for name, node in program.inputs.items():
        if value_of(node).is_floating_point():
            found[name] = random.standard_normal(shape_of(node)).astype(np.float32)
        else:
            found[name] = random.integers(3, 999, shape_of(node))
    if "timestep" in found:
        found["timestep"] = np.full_like(found["timestep"], 500)
    return found


def channels_first(feeds: Arrays) -> Arrays:
    """Feeds of a rewritten program: the text embedding [b, s, d] as (b, d, 1, s)."""
    text = feeds.get("encoder_hidden_states")
    if text is None:
        return feeds
    return {**feeds, "encoder_hidden_states": text.transpose(0, 2, 1)[:, :, np.newaxis]}


def assert_close(found: Arrays, expected: Arrays, tolerance: float = 1e-5) -> None:
    """Element by element, relative to the range of the outputs."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].shape == values.shape
        span = values.max() - values.min()
        assert np.isfinite(values).all()
        assert span > 0.1, name
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance * span, err_msg=name)


def decibels(found: Array, expected: Array) -> float:
    """Peak signal to noise: of the expected values' range to the mean square of the errors."""
    wide, reference = found.astype(np.float64), expected.astype(np.float64)
    span = reference.max() - reference.min()
    return float(10 * np.log10(span**2 / np.mean((wide - reference) ** 2)))
