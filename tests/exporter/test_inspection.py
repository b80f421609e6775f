"""`latedge inspect` of models and weight files, which needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import latedge
from benchmarks.synthetic.single_file import write_single_file
from exporter.inspection import inspect_source
from exporter.weights import read_header
from tests.conftest import REPOSITORY
from tests.exporter.checkpoints import write_keys

Named = Callable[[str], Path]
Capture = pytest.CaptureFixture[str]


def test_checkpoint_is_told_with_reasons(checkpoint: Named) -> None:
    found = inspect_source(checkpoint("small-sd15-inpaint"))
    assert (found.kind, found.family) == ("checkpoint", "sd1")
    assert found.title == "a checkpoint of Stable Diffusion 1.x"
    assert found.reason == (
        "model.diffusion_model.input_blocks.0.0.weight is there; attention's proj_in is a "
        "convolution"
    )
    assert (found.pipeline_class, found.tasks) == (
        "StableDiffusionInpaintPipeline",
        ("inpainting",),
    )
    assert found.prediction_type == "epsilon"
    assert found.prediction_known_from == "the family's usual one"
    assert (found.missing, found.unused_weights) == ((), 4)
    unet = found.networks["unet"]
    assert unet.known_from == "original, model.diffusion_model.*"
    assert unet.architecture["in_channels"] == 9
    assert unet.architecture["block_out_channels"] == [64, 128]
    assert unet.dtypes == ("fp16",)
    assert unet.size_bytes == 2 * unet.parameters
    # Position ids are among them, whole numbers.
    assert found.networks["text_encoder"].dtypes == ("I64", "fp16")


def test_checkpoint_of_sd2_says_what_must_be_given(model: Named, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_single_file(model("small-sd21"), path, networks=("unet",))
    found = inspect_source(path)
    assert (found.family, found.prediction_type) == ("sd2", None)
    assert found.prediction_known_from == "not in the file: give --prediction-type to export"
    assert found.missing == ("text_encoder", "vae")
    assert found.reason.endswith("proj_in is a matrix")


def test_checkpoint_of_sdxls_refiner_is_told_with_reasons(checkpoint: Named) -> None:
    found = inspect_source(checkpoint("small-xl-refiner"))
    assert (found.family, found.tasks) == ("sdxl-refiner", ("image-to-image",))
    assert found.title == "a checkpoint of Stable Diffusion XL's refiner"
    labels = "model.diffusion_model.label_emb.0.0.weight"
    assert found.reason.startswith(f"{labels}, conditioner.embedders.0.model.")
    assert found.reason.endswith("the U-Net takes the second text encoder's states alone, 128 wide")
    assert (found.pipeline_class, found.missing) == ("StableDiffusionXLImg2ImgPipeline", ())
    assert (
        found.networks["text_encoder_2"].known_from == "OpenCLIP, conditioner.embedders.0.model.*"
    )
    assert found.networks["text_encoder_2"].architecture["projection_dim"] == 64


def test_folder_is_told_with_reasons(model: Named) -> None:
    found = inspect_source(model("small-sd21"))
    assert (found.kind, found.family) == ("folder", "sd2")
    assert found.reason == (
        "model_index.json says StableDiffusionPipeline; unet/config.json says "
        "use_linear_projection=true"
    )
    assert found.prediction_type == "v_prediction"
    assert found.prediction_known_from == "scheduler_config.json"
    weights = read_header(model("small-sd21") / "vae" / "diffusion_pytorch_model.safetensors")
    assert found.networks["vae"].weights == len(weights)
    epsilon = inspect_source(model("small-sd15"))
    assert epsilon.prediction_known_from == "scheduler_config.json, which names none"


def test_other_files_are_told_too(tmp_path: Path, capsys: Capture) -> None:
    key = "lora_unet_mid_block_attentions_0.lora_down.weight"
    path = write_keys(tmp_path / "lora.safetensors", {key: (4, 320)})
    assert latedge.main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "a LoRA (an adapter, not a model)" in shown
    assert key in shown
    assert "none that is known: it can't be exported" in shown


def test_json_has_every_field(checkpoint: Named, capsys: Capture) -> None:
    path = checkpoint("small-sd15")
    assert latedge.main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == str(path)
    assert found["networks"]["unet"]["parameters"] > 1_000_000
    assert found["family"] == "sd1"


def test_table_has_networks_and_prediction(checkpoint: Named, capsys: Capture) -> None:
    assert latedge.main(["inspect", str(checkpoint("small-sd21"))]) == 0
    shown = capsys.readouterr().out
    for part in ("text_encoder", "unet", "vae", "sd2", "unknown (not in the file"):
        assert part in shown


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no bundle at"),
        ("empty", "is not a latedge bundle"),
        ("x.ckpt", "is a pickle, which can run code"),
        ("broken.safetensors", "is not a safetensors file"),
        ("x.gguf", "is a GGUF file"),
    ],
)
def test_what_can_not_be_read_is_one_line(
    tmp_path: Path, capsys: Capture, name: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(20))
    assert latedge.main(["inspect", str(tmp_path / name)]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


WITHOUT_TORCH = """
import json, sys
for name in ("torch", "diffusers", "transformers", "onnx", "onnx_ir", "huggingface_hub"):
    sys.modules[name] = None
import latedge
raise SystemExit(latedge.main(["inspect", sys.argv[1], "--json"]))
"""


@pytest.mark.parametrize("kind", ["checkpoint", "folder"])
def test_inspect_works_without_torch(model: Named, checkpoint: Named, kind: str) -> None:
    path = checkpoint("small-sd15") if kind == "checkpoint" else model("small-sd15")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(path)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["kind"] == kind
