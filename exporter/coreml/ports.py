"""Inputs and outputs of a component's packages: the names, dtypes and layouts of Apple's converter.

Apps are written for those; `exporter.coreml.swift` compares what was written with Apple's source.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from exporter.rebuilt import recipe_of
from exporter.targets import fixed_ports
from runtimes.bundle import Bundle
from runtimes.manifest import DType, Graph, Port
from runtimes.prompts.encoders import LAST, POOLER, PROJECTED, RAW, takes_pooled

_NAMES = {
    "text_encoder": {LAST: "last_hidden_state", POOLER: "pooled_outputs"},
    "unet": {"out_sample": "noise_pred"},
    "vae_decoder": {"latent_sample": "z", "sample": "image"},
    "vae_encoder": {"sample": "x", "latent_parameters": "latent", "latents": "latent"},
}
"""Kind of component → names of roles where they aren't the roles themselves."""

EXACT = ("timestep", "time_ids")
"""Roles that stay in float32. Their sines are computed so, and half precision has steps of 0.5 from
512 on, where samplers visit timesteps in between. Apple's package feeds float32 to either."""

_CHANNELS_FIRST = (0, 2, -1, 1)
"""[b, tokens, width] as (b, width, 1, tokens)."""


def package_ports(
    bundle: Bundle, name: str, sizes: Mapping[str, int], dtype: DType
) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """What a component's package takes and gives.

    Args:
        bundle: the portable bundle.
        name: the component.
        sizes: a size for every symbolic axis.
        dtype: of its inputs, as the program computes. Token ids and outputs are float32.
    """
    graph = bundle.graph(name)
    kind = _kind(bundle, name)
    names = _text_outputs(bundle, graph) if kind == "text_encoder" else _NAMES[kind]
    inputs = fixed_ports(graph.inputs, sizes)
    outputs = [port for port in fixed_ports(graph.outputs, sizes) if port.role in names]
    return (
        tuple(_input(port, names, dtype, sizes) for port in inputs),
        tuple(
            msgspec.structs.replace(port, name=names[port.role], dtype="float32")
            for port in outputs
        ),
    )


def _kind(bundle: Bundle, name: str) -> str:
    """A text encoder of either kind, a U-Net of base or refiner, a half of the VAE."""
    recipe = recipe_of(bundle, name)
    return "text_encoder" if recipe.component.startswith("text_encoder") else recipe.component


def _text_outputs(bundle: Bundle, graph: Graph) -> Mapping[str, str]:
    """SDXL's U-Net takes the states before the last layer, and the second encoder's embedding."""
    if not takes_pooled(bundle):
        return _NAMES["text_encoder"]
    roles = [port.role for port in graph.outputs]
    layers = sum(role.startswith(RAW) for role in roles) - 1
    pooled = PROJECTED if PROJECTED in roles else POOLER
    return {f"{RAW}{layers - 1}": "hidden_embeds", pooled: "pooled_outputs"}


def _input(port: Port, names: Mapping[str, str], dtype: DType, sizes: Mapping[str, int]) -> Port:
    is_text = port.role == "encoder_hidden_states"
    return msgspec.structs.replace(
        port,
        name=names.get(port.role, port.role),
        dtype="float32" if port.dtype == "int64" or port.role in EXACT else dtype,
        axes=_CHANNELS_FIRST if is_text else None,
        repeat=sizes["batch"] if port.role == "timestep" else 1,
    )
