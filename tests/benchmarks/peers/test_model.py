"""Which models are measured, and as what."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.peers.model import fingerprint, open_model, single_file
from exporter.weights import read_header
from runtimes.errors import UsageError


def test_shapes_and_folders(tmp_path: Path, tiny_sd15: Path) -> None:
    told: list[str] = []
    shapes = open_model("shapes", tmp_path, told.append)
    assert (shapes.name, shapes.height, shapes.width) == ("shapes", 64, 64)
    tiny = open_model(str(tiny_sd15), tmp_path, told.append)
    assert tiny.folder == tiny_sd15
    assert told == []
    parts = ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")
    stored = sum((tiny_sd15 / f"{part}.safetensors").stat().st_size for part in parts)
    assert tiny.float32_bytes() == pytest.approx(2 * stored, rel=0.1), "they are stored in fp16"


def test_synthetic_models_are_made_once(tmp_path: Path) -> None:
    told: list[str] = []
    first = open_model("tiny-sd21", tmp_path, told.append)
    assert open_model("tiny-sd21", tmp_path, told.append) == first
    assert told == ["making the synthetic model tiny-sd21"]


def test_one_file_is_written_once_per_model(tmp_path: Path, tiny_sd15: Path) -> None:
    told: list[str] = []
    model = open_model(str(tiny_sd15), tmp_path, told.append)
    path = single_file(model, tmp_path / "models", told.append)
    assert single_file(model, tmp_path / "models", told.append) == path
    assert len(told) == 1
    assert any(key.startswith("model.diffusion_model.") for key in read_header(path))


def test_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x", "utf-8")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    (tmp_path / "a").write_text("xy", "utf-8")
    assert fingerprint(tmp_path) != before


def test_other_models_are_refused(tmp_path: Path, tiny_sd15: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown model 'sd51'.*Did you mean"):
        open_model("sd51", tmp_path, print)
    with pytest.raises(UsageError, match=r"no/such is no folder; give a Diffusers folder"):
        open_model("no/such", tmp_path, print)
    with pytest.raises(UsageError, match=r"has no model_index\.json"):
        open_model(str(tmp_path), tmp_path, print)
    shutil.copytree(tiny_sd15, tmp_path / "xl", ignore=shutil.ignore_patterns("*.safetensors"))
    index = {"_class_name": "StableDiffusionXLPipeline"}
    (tmp_path / "xl" / "model_index.json").write_text(json.dumps(index), "utf-8")
    with pytest.raises(UsageError, match="'StableDiffusionXLPipeline'; all peers and latedge"):
        open_model(str(tmp_path / "xl"), tmp_path, print)
