"""SDXL's second text encoder: what it gives, and where its text ends."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.synthetic.models import MODELS
from exporter.components.text_encoder_2 import TextEncoder2

EOS, PAD = 999, 0
IDS = torch.tensor([[998, 5, 6, EOS, *[PAD] * 73], [998, *[7] * 50, EOS, *[EOS] * 25]])


def config() -> dict[str, Any]:
    given = dict(MODELS["tiny-sdxl"].networks["text_encoder_2"].config)
    found = TextEncoder2().normalise({**given, "architectures": ["CLIPTextModelWithProjection"]})
    return {**found, "eos_token_id": EOS}


def built() -> Any:
    torch.manual_seed(0)
    return TextEncoder2().build(config()).eval()


def test_outputs_are_transformers_own_in_the_order_of_the_ports() -> None:
    network, component = built(), TextEncoder2()
    ports = [port.name for port in component.outputs(config())]
    assert ports == ["last_hidden_state", "text_embeds", *(f"hidden_states.{n}" for n in range(4))]
    with torch.no_grad():
        flat = component.wrap(network, config())(IDS)
        expected = component.reference(network, config(), {"input_ids": IDS})
    assert list(expected) == ports
    for port, found in zip(ports, flat, strict=True):
        torch.testing.assert_close(found, expected[port], rtol=0, atol=1e-6)
    assert expected["text_embeds"].shape == (2, 40)


def test_the_first_end_is_pooled_whatever_pads_behind_it() -> None:
    network = built()
    wrapped = TextEncoder2().wrap(network, config())
    other = IDS.clone()
    other[0, 4:] = EOS
    with torch.no_grad():
        found, moved = wrapped(IDS)[1], wrapped(other)[1]
        last = wrapped(IDS)[0]
        expected = network.text_projection(last[0, 3])
    torch.testing.assert_close(found, moved, rtol=0, atol=1e-6)
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-6)


def test_keys_are_the_published_ones() -> None:
    network, component = built(), TextEncoder2()
    keys = {component.canonical(key) for key in network.state_dict()}
    assert "text_projection.weight" in keys
    assert "text_model.encoder.layers.2.mlp.fc2.weight" in keys
    assert list(component.buffers(config())) == ["text_model.embeddings.position_ids"]
