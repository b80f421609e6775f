"""A graph run piece by piece: the same outputs as in one, and its largest value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from exporter.components import component
from exporter.reference import load_network
from exporter.segments import SegmentedGraph
from exporter.targets.ort import open_lowered
from exporter.weights import read_header
from runtimes.bundle import open_bundle, read_json
from runtimes.noise import Generator


@pytest.mark.parametrize("piece_bytes", [1, 2**30])
def test_pieces_give_what_the_whole_gives(
    exported: Callable[[str], Path], piece_bytes: int
) -> None:
    bundle = open_bundle(exported("tiny-sd15"))
    graph = bundle.graph("vae_decoder")
    feeds = {"latent_sample": Generator(0).randn((1, 4, 6, 8))}
    pieces = SegmentedGraph(bundle.path, graph, piece_bytes)
    both, extreme = pieces.run([feeds, {"latent_sample": np.zeros((1, 4, 6, 8), np.float32)}])
    whole = np.asarray(open_lowered(bundle.path, graph)(feeds)["sample"], np.float32)
    np.testing.assert_allclose(both[0]["sample"], whole, atol=2e-5)
    assert not np.allclose(both[1]["sample"], whole, atol=1e-2)
    assert extreme.magnitude == pytest.approx(_largest_of_torch(bundle.path, feeds), rel=1e-4)


def test_lists_of_sizes_are_handed_on(exported: Callable[[str], Path]) -> None:
    # The size that a U-Net's way up resizes to is computed in another piece.
    bundle = open_bundle(exported("tiny-sd15"))
    graph = bundle.graph("unet")
    draw = Generator(0).randn
    feeds = {
        "sample": draw((1, 4, 12, 20)),
        "timestep": np.array([500.0], np.float32),
        "encoder_hidden_states": draw((1, 77, int(graph.inputs[2].shape[2]))),
    }
    (found,), _ = SegmentedGraph(bundle.path, graph, 1).run([feeds])
    whole = np.asarray(open_lowered(bundle.path, graph)(feeds)["out_sample"], np.float32)
    np.testing.assert_allclose(found["out_sample"], whole, atol=2e-5)


def _largest_of_torch(folder: Path, feeds: dict[str, np.ndarray]) -> float:
    """The largest magnitude of what the network's convolutions and sums give, by hooks.

    The decoder's largest value is a resnet's output.
    """
    wrapper = component("vae_decoder")
    weights = read_header(folder / "vae_decoder" / "model.safetensors")
    config = read_json(folder / "vae_decoder" / "config.json")
    network = load_network(wrapper, config, weights)
    found = [0.0]

    def note(module: torch.nn.Module, args: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            found.append(float(output.abs().max()))

    for module in network.modules():
        module.register_forward_hook(note)
    tensors = {name: torch.from_numpy(value) for name, value in feeds.items()}
    with torch.inference_mode():
        wrapper.reference(network, config, tensors)
    return max(found)


def test_what_is_not_finite_is_the_largest(exported: Callable[[str], Path]) -> None:
    bundle = open_bundle(exported("tiny-sd15"))
    graph = SegmentedGraph(bundle.path, bundle.graph("vae_decoder"))
    _, extreme = graph.run([{"latent_sample": np.full((1, 4, 4, 4), np.inf, np.float32)}])
    assert extreme.magnitude == np.inf
    assert extreme.value.startswith("post_quant_conv")
