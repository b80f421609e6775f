"""Folders without a manifest: what is inferred, drawn and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latedge
from exporter.compile import compile
from runtimes.bundle import open_bundle
from runtimes.errors import BundleError, UsageError
from runtimes.inspection import inspect
from runtimes.manifest import MANIFEST_NAME, Manifest
from runtimes.pipeline import Pipeline
from runtimes.settle import settle
from tests.runtimes.optimum.exports import as_optimum, as_optimum_intel

Once = Callable[[str, Callable[[Path], object]], Path]
Capture = pytest.CaptureFixture[str]
Make = Callable[[str], Path]

MAKERS = {"onnxruntime": as_optimum, "openvino": as_optimum_intel}
PROMPT = {"prompt": "a red circle", "num_inference_steps": 3, "sampler": "ddim", "seed": 5}


@pytest.fixture(scope="module")
def compiled(once: Once, exported: Make) -> Make:
    """The compiled bundle of a target, from the tiny SD 2.1: v-prediction."""

    def make(target: str) -> Path:
        return once(
            f"tiny-sd21-{target}",
            lambda folder: compile(exported("tiny-sd21"), folder, target=target, precision="fp32"),
        )

    return make


@pytest.fixture(scope="module")
def bare(once: Once, compiled: Make) -> Make:
    """The same as the target's Optimum exports it; not to be written into."""

    def make(target: str) -> Path:
        return once(f"bare-{target}", lambda folder: MAKERS[target](compiled(target), folder))

    return make


@pytest.fixture
def copied(bare: Make, tmp_path: Path) -> Make:
    """A copy that a test may damage."""
    return lambda target: shutil.copytree(bare(target), tmp_path / target)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def draw(folder: Path, **options: Any) -> np.ndarray:
    with Pipeline.open(folder) as pipe:
        images = pipe(output_type="np", **PROMPT, **options).images
    assert isinstance(images, np.ndarray)
    return images


@pytest.mark.parametrize("target", MAKERS)
def test_picture_is_that_of_the_bundle(compiled: Make, bare: Make, target: str) -> None:
    expected, found = draw(compiled(target)), draw(bare(target))
    assert expected.std() > 0.05
    # The same graph but for its timestep's type: nothing is rounded otherwise.
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("target", MAKERS)
def test_manifest_is_that_of_the_bundle(compiled: Make, bare: Make, target: str) -> None:
    opened = open_bundle(bare(target))
    expected, found = open_bundle(compiled(target)).manifest, opened.manifest
    assert opened.inferred
    assert not open_bundle(compiled(target)).inferred
    for field in ("family", "tasks", "prediction_type", "scheduler", "tokenizers", "latents"):
        assert getattr(found, field) == getattr(expected, field), field
    assert (found.defaults, found.target) == (expected.defaults, expected.target)
    assert ports(found) == ports(expected)
    for name, file in found.files.items():
        if file.size == (compiled(target) / name).stat().st_size and "unet" not in name:
            assert file.sha256 == expected.files[name].sha256 or name.endswith(".onnx")


def ports(manifest: Manifest) -> dict[str, list[tuple[str, str, int]]]:
    """Role, name and rank of all ports but the timestep, which the exporters differ in."""
    return {
        name: [
            (port.role, port.name, len(port.shape))
            for port in (*graph.inputs, *graph.outputs)
            if port.name != "timestep"
        ]
        for name, component in manifest.components.items()
        for graph in component.graphs.values()
    }


def test_timesteps_are_fed_as_each_graph_wants_them(bare: Make) -> None:
    onnx = {port.name: port for port in open_bundle(bare("onnxruntime")).graph("unet").inputs}
    assert (onnx["timestep"].dtype, onnx["timestep"].shape) == ("float32", ())
    ir = {port.name: port for port in open_bundle(bare("openvino")).graph("unet").inputs}
    assert (ir["timestep"].dtype, ir["timestep"].shape) == ("int64", ("steps",))
    with Pipeline.open(bare("openvino")) as pipe, pytest.raises(latedge.UsageError, match="whole"):
        pipe("x", sampler="euler", schedule="karras", num_inference_steps=3)


@pytest.mark.parametrize("target", MAKERS)
def test_fixed_sizes_are_found_in_the_graphs(exported: Make, tmp_path: Path, target: str) -> None:
    options: dict[str, Any] = {"height": 32, "width": 48, "batch": 1, "precision": "fp32"}
    compile(exported("tiny-sd21"), tmp_path / "c", target=target, **options)
    folder = tmp_path / "bare"
    shutil.copytree(tmp_path / "c", folder)
    (folder / MANIFEST_NAME).unlink()
    found = draw(folder)
    assert found.shape == (1, 32, 48, 3)
    np.testing.assert_array_equal(found, draw(tmp_path / "c"))
    with pytest.raises(latedge.UsageError, match="built for height 32"):
        draw(folder, height=64)


@pytest.mark.parametrize("target", MAKERS)
def test_verbs_take_the_folder(bare: Make, tmp_path: Path, capsys: Capture, target: str) -> None:
    folder, output = str(bare(target)), tmp_path / "x.png"
    assert latedge.main(["inspect", folder]) == 0
    assert "compared with nothing" in capsys.readouterr().out
    assert latedge.main(["inspect", folder, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["inferred"], shown["target"]) == (True, target)
    assert latedge.main(["generate", folder, "x", "-o", str(output), "--steps", "2"]) == 0
    assert output.stat().st_size > 0


@pytest.mark.parametrize(("target", "precision"), [("onnxruntime", "fp32"), ("openvino", "fp16")])
def test_inspection_tells_what_the_folder_holds(bare: Make, target: str, precision: str) -> None:
    folder = bare(target)
    found = inspect(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert found.files == len(files)
    assert found.size_bytes == sum(path.stat().st_size for path in files)
    # For OpenVINO, "fp32" leaves the source's fp16 weights as they are.
    assert found.precisions == (precision,)


def test_pictures_name_the_files_they_come_from(copied: Make) -> None:
    folder = copied("onnxruntime")
    first, again = open_bundle(folder).sha256, open_bundle(folder).sha256
    edit(folder / "scheduler" / "scheduler_config.json", steps_offset=0)
    assert first == again != open_bundle(folder).sha256


def test_large_files_are_hashed_once_unless_all_are(
    copied: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied("openvino")
    monkeypatch.setattr("runtimes.optimum.folder.SMALL_FILE_BYTES", 0)
    first = open_bundle(folder).sha256
    monkeypatch.setattr("runtimes.bundle.hash_file", lambda path: "0" * 64)  # pyright: ignore
    assert open_bundle(folder).sha256 == first, "what is remembered was hashed again"
    monkeypatch.setattr("runtimes.optimum.folder.hash_file", lambda path: "1" * 64)  # pyright: ignore
    assert open_bundle(folder, full=True).sha256 != first


def test_without_vae_encoder_it_draws_from_text_alone(copied: Make) -> None:
    folder = copied("onnxruntime")
    shutil.rmtree(folder / "vae_encoder")
    assert open_bundle(folder).manifest.tasks == ("text-to-image",)
    assert draw(folder).shape == (1, 128, 128, 3)


def test_unknown_schedulers_leave_the_sampler_that_suits_all(copied: Make) -> None:
    folder = copied("onnxruntime")
    edit(folder / "scheduler" / "scheduler_config.json", _class_name="NewScheduler")
    bundle = open_bundle(folder)
    assert bundle.manifest.defaults.sampler == "dpmpp-2m"
    with pytest.raises(UsageError, match="unknown scheduler class 'NewScheduler'; known are"):
        settle(bundle, "x")
    assert settle(bundle, "x", sampler="dpmpp-2m").sampler == "dpmpp-2m"


@pytest.mark.parametrize("name", ["ORTStableDiffusionPipeline", "OVStableDiffusionPipeline"])
def test_the_libraries_own_pipelines_are_known(copied: Make, name: str) -> None:
    folder = copied("onnxruntime")
    edit(folder / "model_index.json", _class_name=name)
    assert open_bundle(folder).manifest.family == "sd2"


def test_inpainting_is_told(copied: Make) -> None:
    folder = copied("onnxruntime")
    edit(folder / "unet" / "config.json", in_channels=9)
    with pytest.raises(BundleError, match="can't make pictures"):
        Pipeline.open(folder)


def config(name: str, **changes: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder / name / "config.json", **changes)


def index(name: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "model_index.json", _class_name=name)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_both(folder: Path) -> None:
    (folder / "unet" / "model.onnx").write_bytes(b"")


def of_two_engines(folder: Path) -> None:
    _ = shutil.copy(folder.parent / "onnxruntime" / "unet" / "model.onnx", folder / "unet")
    (folder / "unet" / "openvino_model.xml").unlink()


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "SDXL": (
        index("StableDiffusionXLPipeline"),
        r"an export of StableDiffusionXLPipeline without a latedge\.json.*of StableDiffusionPipe",
    ),
    "no graph": (
        without("unet/openvino_model.xml"),
        r"unet has neither model\.onnx nor openvino_model\.xml",
    ),
    "two graphs": (with_both, r"unet holds model\.onnx and openvino_model\.xml; move one"),
    "two engines": (of_two_engines, "graphs of several engines: onnxruntime, openvino"),
    "no weights": (without("unet/openvino_model.bin"), r"unet/openvino_model\.bin is missing"),
    "no scheduler": (without("scheduler/scheduler_config.json"), r"scheduler_config\.json can't"),
    "no config": (without("vae_decoder/config.json"), r"vae_decoder/config\.json can't be read"),
    "no blocks": (
        config("vae_decoder", block_out_channels=3),
        r"vae_decoder/config\.json: block_out_channels is 3, not a list",
    ),
    "no scale": (
        config("vae_decoder", scaling_factor="0.5"),
        r"vae_decoder/config\.json: scaling_factor is '0\.5', not a number above 0",
    ),
    "no size": (config("unet", sample_size=[8, 8]), r"unet/config\.json: sample_size is \[8, 8\]"),
    "no channels": (
        config("vae_decoder", latent_channels=0),
        r"latent_channels is 0, not a whole number from 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_damaged_folders_are_refused(copied: Make, case: str) -> None:
    damage, message = WRONG[case]
    if case == "two engines":
        copied("onnxruntime")
    folder = copied("openvino")
    damage(folder)
    with pytest.raises(BundleError, match=message) as caught:
        open_bundle(folder)
    assert "\n" not in str(caught.value)


def test_diffusers_folders_are_exported_first(tiny_sd21: Path) -> None:
    message = rf"is a Diffusers folder.*export it first: latedge export {tiny_sd21} -o "
    with pytest.raises(BundleError, match=message):
        open_bundle(tiny_sd21)


def test_compiling_an_export_is_refused(bare: Make, tmp_path: Path) -> None:
    with pytest.raises(latedge.LatedgeError, match="compiled for openvino already"):
        compile(bare("openvino"), tmp_path / "c", target="onnxruntime")


@pytest.mark.parametrize("target", MAKERS)
def test_exports_are_verified_against_their_source(
    bare: Make, tiny_sd21: Path, capsys: Capture, target: str
) -> None:
    folder = str(bare(target))
    assert latedge.main(["verify", folder, "--against", str(tiny_sd21)]) == 0
    assert capsys.readouterr().out == f"{folder}: every component agrees with torch\n"
    assert latedge.main(["verify", folder]) == 1
    assert "give the source" in capsys.readouterr().err
