"""The first node that departs from torch: every kind of planted fault, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.planted_faults import KINDS, plant
from exporter.compile import compile
from exporter.departure import Subject, find_departure
from exporter.locate import Recaptured, subject_of
from exporter.prepare import prepare
from exporter.probes import Array, Probe
from exporter.progress import silent
from exporter.source import open_source
from exporter.targets.ort import OnnxRuntime
from runtimes.bundle import open_bundle
from runtimes.manifest import Graph
from runtimes.noise import Generator

Export = Callable[[str], Path]

THRESHOLD_DB = 80.0


@dataclass(frozen=True)
class Case:
    """A tiny U-Net, captured once for all tests of this file, and one call of it."""

    bundle: Path
    captured: Recaptured
    feeds: Mapping[str, Array]

    def subject(self, folder: Path) -> Subject:
        graph = open_bundle(folder).graph("unet")
        return subject_of(folder, graph, self.captured, THRESHOLD_DB)


@pytest.fixture(scope="module")
def case(exported: Export, tiny_sd15: Path) -> Case:
    prepared, _ = prepare(open_source(tiny_sd15), ("unet",))
    captured = Recaptured.of(prepared["unet"])
    generator = Generator(3)
    width = int(captured.item.config["cross_attention_dim"])
    feeds = {
        "sample": generator.randn((2, 4, 9, 8)),
        "timestep": np.array([500], np.float32),
        "encoder_hidden_states": generator.randn((2, 77, width)),
    }
    return Case(exported("tiny-sd15"), captured, feeds)


@pytest.mark.parametrize("kind", KINDS)
def test_planted_fault_is_named(case: Case, tmp_path: Path, kind: str) -> None:
    planted = plant(case.bundle, "unet", kind, 0, tmp_path / "b")
    found = find_departure(case.subject(tmp_path / "b"), case.feeds, silent)
    assert found is not None
    assert found.node == planted.node, planted.what
    assert found.where == "apart"
    assert found.module == planted.node.rpartition("/")[0]
    assert found.psnr_db is not None
    if kind == "a NaN in a weight":
        assert found.output.non_finite > 0
    else:
        assert found.psnr_db < found.limit_db
        assert found.max_abs is not None
        assert found.max_abs > 0


def test_sound_graph_has_no_departing_node(case: Case) -> None:
    subject = case.subject(case.bundle)
    lines: list[str] = []
    assert find_departure(subject, case.feeds, lines.append) is None
    # Far more than half of the operators' values are shared, so that few nodes hide behind one.
    compared = int(lines[0].split()[1])
    assert compared > len(case.captured.portable.graph) / 2


def test_message_has_node_module_ranges_and_error(case: Case, tmp_path: Path) -> None:
    planted = plant(case.bundle, "unet", "a bias lost", 1, tmp_path / "b")
    found = find_departure(case.subject(tmp_path / "b"), case.feeds, silent)
    line = str(found)
    assert line.startswith(f"{planted.node} (Conv with ")
    assert planted.what.split()[0] in line, "the bias is named"
    assert " to " in line.partition("torch gives")[2]
    assert "dB where 100 dB are asked for" in line


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_wrong_weight_of_a_compiled_graph_is_named(case: Case, tmp_path: Path, target: str) -> None:
    planted = plant(case.bundle, "unet", "another layer's weight", 2, tmp_path / "b")
    compile(tmp_path / "b", tmp_path / "c", target=target, precision="fp32")
    found = find_departure(case.subject(tmp_path / "c"), case.feeds, silent)
    assert found is not None
    assert (found.node, found.op) == (planted.node, "Conv")


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_compiled_graph_of_fixed_sizes_is_sound(
    case: Case, exported: Export, tmp_path: Path, target: str
) -> None:
    compile(
        exported("tiny-sd15"),
        tmp_path / "c",
        target=target,
        precision="fp16",
        height=64,
        width=64,
        batch=2,
    )
    factor = open_bundle(tmp_path / "c").manifest.latents.vae_factor
    sample = Generator(4).randn((2, 4, 64 // factor, 64 // factor))
    found = find_departure(case.subject(tmp_path / "c"), {**case.feeds, "sample": sample}, silent)
    assert found is None


class _Together:
    """A probe whose nodes are sound apart, and whose whole graph is that of another probe."""

    def __init__(self, apart: Probe, whole: Probe) -> None:
        self.steps, self.inputs, self.outputs = apart.steps, apart.inputs, apart.outputs
        self.apart, self.whole = apart.apart, whole
        self.runs = 0

    def in_place(self, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.runs += 1
        return self.whole.in_place(names, feeds)


def test_what_only_the_whole_graph_does_is_bisected(case: Case, tmp_path: Path) -> None:
    planted = plant(case.bundle, "unet", "another layer's weight", 2, tmp_path / "b")
    sound, faulty = case.subject(case.bundle), case.subject(tmp_path / "b")
    probe = _Together(sound.probe, faulty.probe)
    found = find_departure(replace(sound, probe=probe), case.feeds, silent)
    assert found is not None
    assert (found.node, found.where) == (planted.node, "in place")
    assert found.limit_db == THRESHOLD_DB
    assert probe.runs <= 4, "the graph runs a few times, not once a node"


def test_another_shape_is_a_departure(case: Case, tmp_path: Path) -> None:
    """A node's output of another shape has ranges and no error."""
    planted = plant(case.bundle, "unet", "another interpolation", 0, tmp_path / "b")
    path = tmp_path / "b" / "unet" / "model.onnx"
    model = ir.load(path)
    node = next(node for node in model.graph if node.name == planted.node)
    transposed = ir.node("Transpose", [node.outputs[0]], {"perm": [0, 1, 3, 2]}, name="x/T")
    node.outputs[0].replace_all_uses_with(transposed.outputs[0])
    transposed.replace_input_with(0, node.outputs[0])
    model.graph.insert_after(node, transposed)
    name, node.outputs[0].name = node.outputs[0].name, "x/before"
    transposed.outputs[0].name = name
    ir.save(model, path)
    graph = open_portable(tmp_path / "b")
    subject = subject_of(tmp_path / "b", graph, case.captured, THRESHOLD_DB)
    found = find_departure(subject, case.feeds, silent)
    assert found is not None
    assert (found.node, found.max_abs, found.psnr_db) == (planted.node, None, None)
    assert f"in place of {list(found.reference.shape)}" in str(found)


def open_portable(folder: Path) -> Graph:
    """The graph's entry of a bundle whose files are no longer as its manifest says."""
    from runtimes.manifest import read_manifest

    return read_manifest(folder).components["unet"].graphs["model"]


def test_recaptured_graph_is_lowered_as_the_target_does(case: Case, tmp_path: Path) -> None:
    """Same names as in a compiled bundle, or values would be compared with others."""
    bundle = open_bundle(case.bundle)
    (tmp_path / "unet").mkdir()
    OnnxRuntime().compile(bundle, "unet", tmp_path, precision="fp32", sizes={})
    stored = ir.load(tmp_path / "unet" / "model.onnx")
    again = case.captured.graph({})
    assert [n.name for n in again.graph] == [n.name for n in stored.graph]
