"""Packages of whole components: what they compute, and how the manifest describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import exporter.targets.coreml as target
from exporter.compile import compile
from exporter.coreml.job import make
from exporter.coreml.options import CoreMlOptions
from exporter.coreml.package import MODEL, WEIGHTS
from exporter.report import require_parity
from exporter.verify import verify
from exporter.weight_map import read_weight_map
from exporter.weights import read_header
from runtimes.bundle import open_bundle
from runtimes.engines.mil import MilEngine
from runtimes.manifest import Component
from runtimes.mil.package import open_package
from tests.conftest import Once
from tests.exporter.coreml.rewrites.programs import decibels
from tests.exporter.coreml.test_worker import job

Array = NDArray[Any]
Named = Callable[[str], Path]


@pytest.fixture(scope="module")
def unet(once: Once, exported: Named) -> Path:
    """A folder with the packages of tiny-sd15's U-Net and, as JSON, their entry."""

    def build(folder: Path) -> None:
        (folder / "unet").mkdir(parents=True)
        entry = make(job(exported("tiny-sd15"), folder, attention="split-einsum"))
        (folder / "entry.json").write_bytes(msgspec.json.encode(entry))

    return once("coreml-tiny-sd15-unet", build)


@pytest.fixture(scope="module")
def entry(unet: Path) -> Component:
    return msgspec.json.decode((unet / "entry.json").read_bytes(), type=Component)


def test_a_unet_computes_what_diffusers_does(
    unet: Path, entry: Component, synthesized: Named
) -> None:
    from diffusers import UNet2DConditionModel

    random = np.random.default_rng(0)
    network: Any = UNet2DConditionModel.from_pretrained(
        synthesized("tiny-sd15") / "unet", torch_dtype=torch.float32
    )
    sample = random.standard_normal((2, 4, 8, 8)).astype(np.float16)
    width = int(network.config.cross_attention_dim)
    text = random.standard_normal((2, 77, width)).astype(np.float16)
    with torch.inference_mode():
        expected = network(
            torch.from_numpy(sample).float(), 500, torch.from_numpy(text).float()
        ).sample.numpy()
    feeds = {"sample": sample, "timestep": np.array([500], np.float32)}
    found = run(unet, entry, {**feeds, "encoder_hidden_states": text})["noise_pred"]
    assert found.dtype == np.float32
    assert decibels(found, expected) >= 60


def run(folder: Path, entry: Component, feeds: Mapping[str, Array]) -> dict[str, Array]:
    engine = MilEngine(folder, entry.graphs["model"], device="reference", threads=None)
    return engine(feeds)


def test_the_entry_leads_to_the_package(unet: Path, entry: Component) -> None:
    graph = entry.graphs["model"]
    assert graph.file == f"unet/Unet.mlpackage/{MODEL}"
    assert graph.weights == (f"unet/Unet.mlpackage/{WEIGHTS}",)
    assert (graph.chunks, graph.function, graph.compression) == ((), None, None)
    assert (graph.engine, graph.precision, graph.arithmetic) == ("coreml", "fp16", None)
    assert sorted(path.name for path in (unet / "unet").iterdir()) == [
        "Unet.mlpackage",
        "weight_map.json",
    ]


def test_the_weight_map_leads_to_the_weights(unet: Path, entry: Component, exported: Named) -> None:
    assert entry.weight_map == "unet/weight_map.json"
    mapped = read_weight_map(unet / entry.weight_map)
    tensors = read_header(exported("tiny-sd15") / "unet" / "model.safetensors")
    assert mapped.keys() == tensors.keys()
    constants = constants_of(unet / "unet" / "Unet.mlpackage")
    for key, found in mapped.items():
        assert (found.dtype, found.layout, found.adaptable) == ("float16", "canonical", True)
        np.testing.assert_array_equal(
            constants[found.tensor].reshape(-1), tensors[key].read().reshape(-1), err_msg=key
        )


def constants_of(path: Path) -> dict[str, Array]:
    package = open_package(path)
    operations = package.model.functions["main"].block.operations
    read = {
        op.outputs[0].name: package.read(op.attributes["val"])
        for op in operations
        if op.op == "const"
    }
    return {name: value for name, value in read.items() if isinstance(value, np.ndarray)}


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts in this process: a new one imports torch again for each component."""
    monkeypatch.setattr(target, "convert", lambda job: (make(job), None))


SDPA = CoreMlOptions(deployment_target="iOS18", attention="sdpa")
TWO_SIZES = CoreMlOptions(deployment_target="iOS18", sizes=("64x64", "32x48"))


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("name", "options", "least_db"),
    [
        ("tiny-sd15", {}, 60),
        ("tiny-sd15", {"precision": "fp32"}, 90),
        (
            "tiny-sd15",
            {"coreml": CoreMlOptions(deployment_target="iOS18", attention="sdpa"), "batch": 1},
            60,
        ),
        ("tiny-sd15", {"coreml": CoreMlOptions(attention="original", chunked=True)}, 60),
        (
            "tiny-sd15",
            {"coreml": CoreMlOptions(deployment_target="iOS18", sizes=("64x64", "32x48"))},
            60,
        ),
        ("tiny-sd15", {"coreml": CoreMlOptions(compression="palette-6")}, 15),
        ("tiny-sd21", {"height": 32, "width": 64}, 60),
        ("tiny-sd15-inpaint", {}, 60),
        ("tiny-ip2p", {}, 60),
        ("tiny-lcm", {}, 60),
        ("tiny-sdxl", {}, 60),
        ("tiny-x4-upscaler", {}, 60),
    ],
)
def test_a_bundle_agrees_with_torch(
    portable: Named, tmp_path: Path, name: str, options: dict[str, Any], least_db: float
) -> None:
    source = portable(name)
    compile(source, tmp_path / "c", target="coreml", **options)
    report = verify(tmp_path / "c", against=source, device="reference")
    require_parity(report)
    for component, result in report.components.items():
        for output, figures in result.outputs.items():
            least = least_db if component in target.COMPRESSED else 60
            assert figures.psnr_db is None or figures.psnr_db >= least, (component, output)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_base_and_its_refiner_share_a_bundle(synthesized: Named, tmp_path: Path) -> None:
    from exporter.export import export
    from exporter.source import SourceOptions

    whole = tmp_path / "whole"
    refiner = SourceOptions(refiner=synthesized("tiny-sdxl-refiner"))
    export(synthesized("tiny-sdxl"), whole, verify="none", source_options=refiner)
    options = CoreMlOptions(deployment_target="iOS18", sizes=("64x64", "128x64"), chunked=True)
    compile(whole, tmp_path / "c", target="coreml", coreml=options)
    bundle = open_bundle(tmp_path / "c")
    refined = bundle.manifest.components["unet_refiner"].graphs
    assert {name: graph.function for name, graph in refined.items()} == {
        "model": "main",
        "model.128x64": "size_128x64",
    }
    for part, file in enumerate((refined["model"].file, *refined["model"].chunks), start=1):
        assert file == f"unet_refiner/UnetRefinerChunk{part}.mlpackage/{MODEL}"
    assert bundle.manifest.components["text_encoder_2"].graphs.keys() == {"model"}
    require_parity(verify(tmp_path / "c", against=whole, device="reference"))


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_the_same_bundle_gives_the_same_bytes(portable: Named, tmp_path: Path) -> None:
    options = CoreMlOptions(
        deployment_target="iOS18", compression="palette-6", sizes=("64x64", "32x48")
    )
    for name in ("a", "b"):
        compile(portable("tiny-sd15"), tmp_path / name, target="coreml", coreml=options)
    a, b = (open_bundle(tmp_path / name).manifest for name in ("a", "b"))
    assert [name for name in a.files if a.files[name] != b.files.get(name)] == []
    assert a == b


@pytest.mark.slow
def test_each_component_is_converted_in_a_process_of_its_own(
    portable: Named, tmp_path: Path
) -> None:
    lines: list[str] = []
    compile(portable("tiny-sd15"), tmp_path / "c", target="coreml", progress=lines.append)
    told = [line for line in lines if line.endswith("GB at most")]
    assert len(told) == len(open_bundle(tmp_path / "c", full=True).manifest.components)
