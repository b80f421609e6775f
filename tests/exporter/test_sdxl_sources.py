"""Sources of SDXL: which family they are of, what follows from their configs, what is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.conditioning import conditioning
from exporter.defaults import Wanted, defaults
from exporter.errors import SourceError
from exporter.families import FAMILIES, family_of
from exporter.families.table import Family
from exporter.portable_manifest import latents_of, tasks_of
from exporter.prepare import prepare
from exporter.source import open_source
from exporter.sources.canonical import canonical_texts
from runtimes.errors import UsageError
from runtimes.manifest import Conditioning

Named = Callable[[str], Path]
FAMILY: Mapping[str, Family] = {family.name: family for family in FAMILIES}


def linked(model: Path, copy: Path) -> Path:
    """A copy whose weights are links, and whose configs may be edited."""

    def put(source: str, target: str) -> object:
        if source.endswith(".safetensors"):
            return os.link(source, target)
        return shutil.copy2(source, target)

    return Path(shutil.copytree(model, copy, copy_function=put))


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("name", "family", "tasks"),
    [
        ("tiny-sdxl", "sdxl", ("text-to-image", "image-to-image", "inpainting")),
        ("tiny-sdxl-refiner", "sdxl-refiner", ("image-to-image",)),
        ("tiny-sdxl-inpaint", "sdxl", ("inpainting",)),
        ("tiny-sdxl-ip2p", "sdxl", ("instruct-pix2pix",)),
        ("tiny-ip2p", "sd1", ("instruct-pix2pix",)),
    ],
)
def test_family_and_tasks(
    synthesized: Named, name: str, family: str, tasks: tuple[str, ...]
) -> None:
    prepared, recognised = prepare(open_source(synthesized(name)), None)
    assert recognised.family.name == family
    assert tuple(prepared) == recognised.family.components
    assert tasks_of(recognised, prepared) == tasks


def test_a_base_under_the_refiners_pipeline_class_is_a_base(
    synthesized: Named, tmp_path: Path
) -> None:
    copy = linked(synthesized("tiny-sdxl"), tmp_path / "model")
    edit(copy / "model_index.json", _class_name="StableDiffusionXLImg2ImgPipeline")
    assert family_of(open_source(copy)).name == "sdxl"


def test_settings_of_the_pipeline(synthesized: Named, tmp_path: Path) -> None:
    assert conditioning(open_source(synthesized("tiny-sd15"))) is None
    assert conditioning(open_source(synthesized("tiny-sdxl"))) == Conditioning(
        force_zeros_for_empty_prompt=True, requires_aesthetics_score=False
    )
    assert conditioning(open_source(synthesized("tiny-sdxl-refiner"))) == Conditioning(
        force_zeros_for_empty_prompt=False, requires_aesthetics_score=True
    )
    copy = linked(synthesized("tiny-sdxl-ip2p"), tmp_path / "model")
    edit(copy / "model_index.json", is_cosxl_edit=True)
    found = conditioning(open_source(copy))
    assert found is not None
    assert found.is_cosxl_edit


def test_the_bundles_index_is_one_that_diffusers_opens(synthesized: Named) -> None:
    source = open_source(synthesized("tiny-sdxl-refiner"))
    family = family_of(source)
    texts = canonical_texts(source, family, family.components)
    index = json.loads(texts["model_index.json"])
    assert index["text_encoder_2"] == ["transformers", "CLIPTextModelWithProjection"]
    assert index["text_encoder"] == index["tokenizer"] == [None, None]
    assert index["requires_aesthetics_score"] is True
    assert index["force_zeros_for_empty_prompt"] is False
    assert not {"safety_checker", "is_cosxl_edit"} & index.keys()
    assert "tokenizer_2/vocab.json" in texts
    assert "tokenizer/vocab.json" not in texts


Spoil = Callable[[Path], object]
INDEX = "model_index.json"

REFUSED: Mapping[str, tuple[str, Spoil, str]] = {
    "refiner as a base": (
        "tiny-sdxl-refiner",
        lambda f: edit(f / INDEX, _class_name="StableDiffusionXLPipeline"),
        "says StableDiffusionXLPipeline, and the U-Net is that of a refiner: it takes the states "
        "of text_encoder_2 alone. Give the base, or name .*StableDiffusionXLImg2ImgPipeline",
    ),
    "refiner's U-Net in a base": (
        "tiny-sdxl",
        lambda f: edit(f / "unet/config.json", cross_attention_dim=48),
        "text_encoder and the text_encoder_2 together have states of width 80, the U-Net takes 48",
    ),
    "no second encoder": (
        "tiny-sdxl",
        lambda f: edit(f / INDEX, text_encoder_2=[None, None]),
        "has no text_encoder_2; a model of Stable Diffusion XL has text_encoder and text_encoder_2",
    ),
    "no first encoder": (
        "tiny-sdxl",
        lambda f: edit(f / INDEX, text_encoder=[None, None]),
        "has no text_encoder; a model of Stable Diffusion XL has",
    ),
    "a score that isn't asked for": (
        "tiny-sdxl-refiner",
        lambda f: edit(f / INDEX, requires_aesthetics_score=False),
        "requires_aesthetics_score=false, with which a U-Net takes 6 numbers about a picture, and "
        "this one takes 5",
    ),
    "a setting in words": (
        "tiny-sdxl",
        lambda f: edit(f / INDEX, force_zeros_for_empty_prompt="yes"),
        "force_zeros_for_empty_prompt='yes'; it must be true or false",
    ),
    "another second encoder": (
        "tiny-sdxl",
        lambda f: edit(f / "text_encoder_2/config.json", projection_dim=41),
        "is not text_encoder_2's projection_dim 41 and a multiple of addition_time_embed_dim 16",
    ),
    "asymmetric without the way up": (
        "tiny-ssd",
        lambda f: edit(f / "unet/config.json", reverse_transformer_layers_per_block=None),
        "unet/config.json describes no network that UNet2DConditionModel can be: Must provide",
    ),
    "no second tokenizer": (
        "tiny-sdxl",
        lambda f: shutil.rmtree(f / "tokenizer_2"),
        "tokenizer_2 holds no CLIP tokenizer",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_one_line(
    synthesized: Named, tmp_path: Path, case: str
) -> None:
    name, spoil, message = REFUSED[case]
    copy = linked(synthesized(name), tmp_path / "model")
    spoil(copy)
    with pytest.raises(SourceError, match=message) as caught:
        prepare(open_source(copy), None)
    assert "\n" not in str(caught.value)


TRAILING = {"timestep_spacing": "trailing"}
TURBO = {"_class_name": "EulerAncestralDiscreteScheduler", **TRAILING}


@pytest.mark.parametrize(
    ("family", "unet", "scheduler", "steps", "guidance"),
    [
        ("sdxl", {}, {"_class_name": "EulerDiscreteScheduler"}, 50, 5.0),
        ("sd1", {}, {"_class_name": "PNDMScheduler"}, 20, 7.5),
        ("sdxl", {}, TURBO, 1, 0.0),
        ("sd2", {}, TURBO, 1, 0.0),
        ("sdxl", {}, {**TURBO, "timestep_spacing": "leading"}, 50, 5.0),
        ("sd2", {}, {**TURBO, "prediction_type": "v_prediction"}, 20, 7.5),
        ("sdxl", {}, {"_class_name": "EulerDiscreteScheduler", **TRAILING}, 50, 5.0),
        ("sdxl", {"time_cond_proj_dim": 8}, {"_class_name": "LCMScheduler"}, 4, 8.5),
        ("sd1", {}, {"_class_name": "LCMScheduler"}, 4, 1.0),
        ("sdxl", {}, {"_class_name": "TCDScheduler"}, 4, 0.0),
    ],
)
def test_steps_and_guidance_follow_the_scheduler(
    family: str, unet: dict[str, Any], scheduler: dict[str, Any], steps: int, guidance: float
) -> None:
    def made(wanted: Wanted) -> tuple[int, float]:
        found = defaults(FAMILY[family], unet, scheduler, factor=8, sampler="s", wanted=wanted)
        return found.num_inference_steps, found.guidance_scale

    assert made(Wanted()) == (steps, guidance)
    assert made(Wanted(num_inference_steps=8, guidance_scale=0.0)) == (8, 0.0)
    assert made(Wanted(num_inference_steps=8)) == (8, guidance)


@pytest.mark.parametrize(
    ("size", "expected"), [(128, (1024, 1024)), ([96, 64], (768, 512)), (None, (512, 512))]
)
def test_pictures_have_the_size_of_the_unet(size: object, expected: tuple[int, int]) -> None:
    found = defaults(
        FAMILY["sdxl"], {"sample_size": size}, {}, factor=8, sampler="s", wanted=Wanted()
    )
    assert (found.height, found.width) == expected


@pytest.mark.parametrize("size", ["large", [64], [64, 0], 1.5])
def test_a_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(SourceError, match=r"sample_size is .*; it must be a whole number"):
        defaults(FAMILY["sdxl"], {"sample_size": size}, {}, factor=8, sampler="", wanted=Wanted())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(num_inference_steps=0), "num_inference_steps is 0; it must be 1 to 1000"),
        (Wanted(guidance_scale=-1.0), "guidance_scale must be 1 or more"),
    ],
)
def test_wrong_defaults_are_refused(wanted: Wanted, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        wanted.check()


def test_means_of_the_latents_come_from_the_vae(synthesized: Named, tmp_path: Path) -> None:
    copy = linked(synthesized("tiny-sdxl"), tmp_path / "model")
    prepared, plain = prepare(open_source(copy), ("vae_decoder",))
    found = latents_of(plain, prepared)
    assert (found.latents_mean, found.scaling_factor) == (None, 0.13025)
    edit(copy / "vae/config.json", latents_mean=[1, 2, 3, 4.5], latents_std=[1, 1, 1, 2])
    prepared, told = prepare(open_source(copy), ("vae_decoder",))
    assert latents_of(told, prepared).latents_mean == (1.0, 2.0, 3.0, 4.5)
    assert latents_of(told, prepared).latents_std == (1.0, 1.0, 1.0, 2.0)
    edit(copy / "vae/config.json", latents_mean=[1, 2, 3])
    prepared, short = prepare(open_source(copy), ("vae_decoder",))
    with pytest.raises(SourceError, match=r"latents_mean is \[1, 2, 3\]; it must be 4 numbers"):
        latents_of(short, prepared)
