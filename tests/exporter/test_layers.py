"""A component compared a layer at a time: which layers there are, and a fault in one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

import exporter.layers as layers_module
from benchmarks.planted_faults import plant
from exporter.errors import VerificationError
from exporter.layers import Layered, bounds_of, compare_layers, layer_of
from exporter.locate import Recaptured
from exporter.prepare import prepare
from exporter.probes import Step
from exporter.progress import silent
from exporter.reference import Carried, Sample, recording
from exporter.report import ComponentReport, Report, require_parity
from exporter.source import open_source
from exporter.verify import verify
from exporter.verify_layers import smaller
from runtimes.errors import UsageError
from runtimes.manifest import read_manifest
from runtimes.noise import Generator

Export = Callable[[str], Path]
THRESHOLD_DB = 80.0


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("down_blocks.0.resnets.1.conv1/Conv", "down_blocks.0.resnets.1"),
        (
            "up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_q/MatMul",
            "up_blocks.1.attentions.2.transformer_blocks.0",
        ),
        ("up_blocks.1.attentions.2.proj_in/Conv", "up_blocks.1.attentions.2"),
        ("up_blocks.1/Concat.2", "up_blocks.1"),
        ("mid_block.attentions.0.to_out.0/MatMul", "mid_block.attentions.0"),
        ("down_blocks.0.downsamplers.0.conv/Conv", "down_blocks.0.downsamplers.0"),
        ("time_embedding.linear_1/Gemm", "time_embedding"),
        ("conv_in/Conv", "conv_in"),
        ("encoder.layers.3.mlp.fc1/Gemm", "encoder.layers.3"),
        ("encoder.mid_block.resnets.0.norm1/Mul", "encoder.mid_block.resnets.0"),
        ("/Concat", ""),
    ],
)
def test_a_node_belongs_to_the_innermost_layer(node: str, layer: str) -> None:
    assert layer_of(Step(node, "x", (), (), ())) == layer


def test_bounds_are_what_layers_hand_on() -> None:
    steps = [
        Step("conv_in/Conv", "Conv", ("sample",), ("a",), ()),
        Step("down_blocks.0.resnets.0.norm1/Mul", "Mul", ("a",), ("b",), ()),
        Step("down_blocks.0.resnets.0.conv1/Conv", "Conv", ("b",), ("c",), ()),
        Step("mid/Shape", "Shape", ("b",), ("d",), (), reads_shape=True),
        Step("conv_out/Conv", "Conv", ("c",), ("out",), ()),
    ]
    assert bounds_of(steps, ["out"]) == {
        "a": "conv_in",
        "c": "down_blocks.0.resnets.0",
        "out": "conv_out",
    }


@dataclass(frozen=True)
class Case:
    """A tiny U-Net, captured once for all tests of this file, and one call of it."""

    bundle: Path
    captured: Recaptured
    sample: Sample

    def compare(self, folder: Path) -> Layered:
        graph = read_manifest(folder).components["unet"].graphs["model"]
        item = self.captured.item
        return compare_layers(folder, graph, item, self.sample, THRESHOLD_DB, silent)


@pytest.fixture(scope="module")
def captured_once(exported: Export, tiny_sd15: Path) -> Case:
    item = prepare(open_source(tiny_sd15), ("unet",))[0]["unet"]
    generator = Generator(3)
    feeds = {
        "sample": generator.randn((2, 4, 9, 8)),
        "timestep": np.array([500], np.float32),
        "encoder_hidden_states": generator.randn((2, 77, int(item.config["cross_attention_dim"]))),
    }
    samples: list[Sample] = []
    with recording(item.component, item.config, item.weights, samples) as run:
        run(feeds)
    return Case(exported("tiny-sd15"), Recaptured.of(item), samples[0])


@pytest.fixture
def case(captured_once: Case, monkeypatch: pytest.MonkeyPatch) -> Case:
    captured = captured_once.captured
    monkeypatch.setattr(layers_module.Recaptured, "of", lambda _item: captured)
    return captured_once


def test_every_layer_of_a_sound_graph_agrees(case: Case) -> None:
    found = case.compare(case.bundle)
    report = found.report
    assert report.passed
    assert (report.departing, found.departure) == ((), None)
    names = set(report.layers)
    assert {"conv_in", "time_embedding", "down_blocks.0.resnets.0", "conv_out"} <= names
    assert any(name.endswith("transformer_blocks.0") for name in names)
    assert found.outputs.keys() == report.program.keys() == {"out_sample"}
    for figures in (*report.layers.values(), *report.program.values()):
        assert figures.peak > 0.001
    assert f"{len(names)} layers, all reach 90 dB; worst is {report.worst}, " in str(report)
    assert report.sizes["sample"] == (2, 4, 9, 8)


@pytest.mark.parametrize(
    ("kind", "seed"), [("a bias lost", 1), ("another layer's weight", 2), ("a NaN in a weight", 0)]
)
def test_the_layer_of_a_fault_is_named_and_the_node_in_it(
    case: Case, tmp_path: Path, kind: str, seed: int
) -> None:
    planted = plant(case.bundle, "unet", kind, seed, tmp_path / "b")
    found = case.compare(tmp_path / "b")
    layer = layer_of(Step(planted.node, "x", (), (), ()))
    # On torch's own inputs the layers behind it are sound.
    assert found.report.departing == (layer,)
    assert found.report.worst == layer
    assert not found.report.passed
    assert found.departure is not None
    assert found.departure.node == planted.node
    report = Report(engine="x", components={"unet": _component(found)}, versions={}, machine="m")
    with pytest.raises(VerificationError, match=rf"1 miss 90 dB; worst is {layer}, .*{layer}"):
        require_parity(report)


def _component(found: Layered) -> ComponentReport:
    report = ComponentReport(
        samples=1,
        threshold_db=THRESHOLD_DB,
        outputs=found.outputs,
        passed=found.report.passed,
        seconds_reference=0,
        seconds_engine=0,
        departure=found.departure,
        layers=found.report,
    )
    return msgspec.json.decode(msgspec.json.encode(report), type=ComponentReport)


def test_a_program_that_is_not_the_network_is_no_reference(case: Case) -> None:
    """The graph may agree with its own capture; the capture must agree with the network."""
    other = {name: values + 0.01 for name, values in case.sample.outputs.items()}
    graph = read_manifest(case.bundle).components["unet"].graphs["model"]
    sample = Sample(case.sample.feeds, other)
    found = compare_layers(case.bundle, graph, case.captured.item, sample, THRESHOLD_DB, silent)
    assert found.report.departing == ()
    assert not found.report.passed


def test_large_latents_of_a_vae_are_cut_where_the_graph_takes_any_size(exported: Export) -> None:
    graph = read_manifest(exported("tiny-sd15")).components["vae_decoder"].graphs["model"]
    carried = Carried(
        embeddings=np.zeros((4, 77, 8), np.float32),
        pooled=np.zeros((4, 1), np.float32),
        latents=np.ones((1, 4, 96, 128), np.float32),
        picture=np.ones((1, 3, 768, 1024), np.float32),
    )
    lines: list[str] = []
    found = smaller(carried, 8, graph, "vae_decoder", lines.append)
    assert (found.latents.shape, found.picture.shape) == ((1, 4, 64, 64), (1, 3, 512, 512))
    assert lines == ["vae_decoder: compared on 512×512 pixels, for the memory of its activations"]
    assert smaller(found, 8, graph, "vae_decoder", lines.append) is found
    port = msgspec.structs.replace(graph.inputs[0], shape=(1, 4, 96, 128))
    built = msgspec.structs.replace(graph, inputs=(port,))
    assert smaller(carried, 8, built, "vae_decoder", lines.append) is carried
    assert len(lines) == 1


def test_an_engine_that_shows_nothing_is_refused(case: Case) -> None:
    graph = read_manifest(case.bundle).components["unet"].graphs["model"]
    other = msgspec.structs.replace(graph, engine="tensorrt")
    with pytest.raises(UsageError, match="graphs of tensorrt can't be verified a layer at a time"):
        compare_layers(case.bundle, other, case.captured.item, case.sample, THRESHOLD_DB, silent)


@pytest.mark.slow
def test_a_bundle_is_verified_by_layers(exported: Export) -> None:
    report = verify(exported("tiny-sd15"), by_layer=True)
    require_parity(report)
    for result in report.components.values():
        assert result.layers is not None
        assert len(result.layers.layers) > 3
