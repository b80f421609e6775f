"""Inputs and outputs of packages: those that apps made for Apple's converter feed and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from exporter.coreml.ports import package_ports
from runtimes.bundle import Bundle, open_bundle
from runtimes.engines.layout import graph_shape
from runtimes.manifest import Port

Named = Callable[[str], Path]
Row = tuple[str, tuple[int, ...], str]

SIZES = {
    **{"batch": 2, "sequence": 77, "height": 8, "width": 6},
    **{"image_height": 64, "image_width": 48},
}
ONE = {**SIZES, "batch": 1}
HALF, WHOLE = "float16", "float32"
SAMPLE = {"sample": ("sample", (2, 4, 8, 6), HALF), "timestep": ("timestep", (2,), WHOLE)}
NOISE = {"out_sample": ("noise_pred", (2, 4, 8, 6), WHOLE)}


@pytest.fixture(scope="module")
def sd15(exported: Named) -> Bundle:
    return open_bundle(exported("tiny-sd15"))


@pytest.fixture(scope="module")
def sdxl(portable: Named) -> Bundle:
    return open_bundle(portable("tiny-sdxl"))


def rows(ports: tuple[Port, ...]) -> dict[str, Row]:
    """By role: name, shape and dtype in the package."""
    found: dict[str, Row] = {}
    for port in ports:
        shape = tuple(int(side) for side in graph_shape(port))
        found[port.role] = port.name, shape, port.dtype
    return found


def test_text_encoder_of_sd(sd15: Bundle) -> None:
    inputs, outputs = package_ports(sd15, "text_encoder", ONE, HALF)
    width = sd15.graph("text_encoder").outputs[0].shape[-1]
    assert isinstance(width, int)
    assert rows(inputs) == {"input_ids": ("input_ids", (1, 77), WHOLE)}
    assert rows(outputs) == {
        "last_hidden_state": ("last_hidden_state", (1, 77, width), WHOLE),
        "pooler_output": ("pooled_outputs", (1, width), WHOLE),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pooled"), [("text_encoder", "pooler_output"), ("text_encoder_2", "text_embeds")]
)
def test_text_encoders_of_sdxl_give_the_states_before_the_last(
    sdxl: Bundle, name: str, pooled: str
) -> None:
    inputs, outputs = package_ports(sdxl, name, ONE, HALF)
    states = {port.role: port for port in sdxl.graph(name).outputs}
    layers = max(int(role.split(".")[1]) for role in states if role.startswith("hidden_states."))
    width, embedding = (states[r].shape[-1] for r in ("hidden_states.0", pooled))
    assert rows(inputs) == {"input_ids": ("input_ids", (1, 77), WHOLE)}
    assert rows(outputs) == {
        f"hidden_states.{layers - 1}": ("hidden_embeds", (1, 77, width), WHOLE),
        pooled: ("pooled_outputs", (1, embedding), WHOLE),
    }


def test_unet_of_sd(sd15: Bundle) -> None:
    inputs, outputs = package_ports(sd15, "unet", SIZES, HALF)
    width = text_width(sd15)
    text = ("encoder_hidden_states", (2, width, 1, 77), HALF)
    assert rows(inputs) == {**SAMPLE, "encoder_hidden_states": text}
    assert rows(outputs) == NOISE


@pytest.mark.slow
def test_unet_of_sdxl(sdxl: Bundle) -> None:
    inputs, outputs = package_ports(sdxl, "unet", SIZES, HALF)
    embedding = {port.role: port.shape[-1] for port in sdxl.graph("unet").inputs}["text_embeds"]
    assert rows(inputs) == {
        **SAMPLE,
        "encoder_hidden_states": ("encoder_hidden_states", (2, text_width(sdxl), 1, 77), HALF),
        "text_embeds": ("text_embeds", (2, embedding), HALF),
        "time_ids": ("time_ids", (2, 6), WHOLE),
    }
    assert rows(outputs) == NOISE


def test_the_pipeline_feeds_what_it_always_feeds(sd15: Bundle) -> None:
    inputs, _ = package_ports(sd15, "unet", SIZES, HALF)
    by_role = {port.role: port for port in inputs}
    assert (by_role["timestep"].shape, by_role["timestep"].repeat) == ((1,), 2)
    text = by_role["encoder_hidden_states"]
    assert (text.shape, text.axes) == ((2, 77, text_width(sd15)), (0, 2, -1, 1))
    plain = msgspec.structs.replace(by_role["sample"])
    assert (plain.axes, plain.repeat) == (None, 1)


@pytest.mark.parametrize("dtype", [HALF, WHOLE])
def test_vae(sd15: Bundle, dtype: str) -> None:
    picture = (1, 3, 64, 48)
    inputs, outputs = package_ports(sd15, "vae_decoder", ONE, dtype)  # pyright: ignore[reportArgumentType]
    assert rows(inputs) == {"latent_sample": ("z", (1, 4, 8, 6), dtype)}
    assert rows(outputs) == {"sample": ("image", picture, WHOLE)}
    inputs, outputs = package_ports(sd15, "vae_encoder", ONE, dtype)  # pyright: ignore[reportArgumentType]
    assert rows(inputs) == {"sample": ("x", picture, dtype)}
    assert rows(outputs) == {"latent_parameters": ("latent", (1, 8, 8, 6), WHOLE)}


def text_width(bundle: Bundle) -> int:
    shapes = {port.role: port.shape for port in bundle.graph("unet").inputs}
    width = shapes["encoder_hidden_states"][-1]
    assert isinstance(width, int)
    return width
