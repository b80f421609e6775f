"""Folders of the original latent diffusion models: names, families, what doesn't go with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.components.base import class_name
from exporter.defaults import Wanted, defaults
from exporter.errors import SourceError
from exporter.families import FAMILIES
from exporter.inspection import inspect_source
from exporter.portable_manifest import tasks_of
from exporter.prepare import prepare
from exporter.source import SourceOptions, open_source
from exporter.sources.canonical import canonical_texts
from runtimes.errors import LatedgeError, UsageError

Named = Callable[[str], Path]


@pytest.fixture(scope="module")
def model(synthesized: Named) -> Path:
    return synthesized("tiny-ldm-super-resolution")


def test_autoencoder_is_found_by_its_other_name(model: Path) -> None:
    source = open_source(model)
    assert source.has("vae")
    assert not source.has("text_encoder")
    assert class_name(source.config("vae")) == "VQModel"
    assert "quantize.embedding.weight" in source.tensors("vae")


def test_family_and_task_are_known(model: Path) -> None:
    prepared, recognised = prepare(open_source(model), None)
    assert recognised.family.name == "ldm-super-resolution"
    assert list(prepared) == ["unet", "vae_decoder"]
    assert prepared["unet"].component.wrapper == "unet_2d"
    assert tasks_of(recognised, prepared) == ("super-resolution",)
    texts = canonical_texts(open_source(model), recognised.family, prepared)
    assert json.loads(texts["model_index.json"])["unet"] == ["diffusers", "UNet2DModel"]
    assert not any(name.startswith("tokenizer") for name in texts)


def test_other_unets_are_of_no_such_family(model: Path) -> None:
    assert [f.name for f in FAMILIES if f.matches({"_class_name": "UNet2DModel"})][-2:] == [
        "ldm",
        "ldm-super-resolution",
    ]
    ldm = next(family for family in FAMILIES if family.name == "ldm")
    assert not ldm.matches({"_class_name": "UNet2DConditionModel"})


def test_inspection_misses_no_text_encoder(model: Path) -> None:
    found = inspect_source(model)
    assert found.missing == ()
    assert (found.family, found.tasks) == ("ldm-super-resolution", ("super-resolution",))
    assert found.reason == (
        "model_index.json says LDMSuperResolutionPipeline; unet/config.json says "
        "_class_name=UNet2DModel"
    )
    assert found.networks["vae"].known_from == "vqvae/config.json"


@pytest.mark.parametrize("name", ["text_encoder", "tokenizer"])
def test_parts_for_text_are_refused(model: Path, tiny_sd15: Path, name: str) -> None:
    given: dict[str, Any] = {name: tiny_sd15 / name}
    message = f"is of family ldm-super-resolution, which takes no text; leave --{name}"
    with pytest.raises(UsageError, match=message.replace("_", "-")):
        open_source(model, SourceOptions(**given))


def test_default_guidance_is_refused() -> None:
    ldm = next(family for family in FAMILIES if family.name == "ldm")
    with pytest.raises(UsageError, match=r"guidance_scale is 7\.5, and models of family ldm take"):
        defaults(ldm, {}, {}, factor=4, sampler="ddim", wanted=Wanted(guidance_scale=7.5))
    usual = defaults(ldm, {}, {}, factor=4, sampler="ddim", wanted=Wanted())
    assert usual.guidance_scale == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "LDMTextToImagePipeline"}, "unknown pipeline class 'LDMTextToImagePipel"),
        ({"vqvae": [None, None]}, "model_index.json lists no vae"),
    ],
)
def test_other_pipelines_are_refused(
    model: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | change))
    with pytest.raises(LatedgeError, match=message) as caught:
        prepare(open_source(copy), None)
    assert isinstance(caught.value, SourceError)
