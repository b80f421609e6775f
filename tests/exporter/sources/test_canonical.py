"""A source's small files in one form, whatever wrote them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.components import component
from exporter.families.sd1 import SD1
from exporter.source import open_source
from exporter.sources.canonical import canonical_scheduler, canonical_texts, encode


def config(folder: Path, network: str) -> dict[str, Any]:
    return json.loads((folder / network / "config.json").read_text())


def test_index_lists_what_the_bundle_has(tiny_sd15: Path) -> None:
    source = open_source(tiny_sd15)
    texts = canonical_texts(source, SD1, ("text_encoder", "unet", "vae_decoder"))
    index = json.loads(texts["model_index.json"])
    networks = {name for name, entry in index.items() if isinstance(entry, list) and entry[0]}
    assert networks == {"scheduler", "text_encoder", "tokenizer", "unet", "vae"}
    assert index["safety_checker"] == index["feature_extractor"] == [None, None]
    assert index["requires_safety_checker"] is False
    alone = canonical_texts(source, SD1, ("vae_encoder",))
    assert "tokenizer/vocab.json" in texts
    assert sorted(alone) == ["model_index.json", "scheduler/scheduler_config.json"]
    assert "unet" not in json.loads(alone["model_index.json"])


def test_diffusers_opens_an_inpainting_index(tiny_sd15_inpaint: Path, tmp_path: Path) -> None:
    """Its loader reads the index's version of diffusers for this class alone."""
    import shutil

    from diffusers import StableDiffusionInpaintPipeline

    folder = Path(shutil.copytree(tiny_sd15_inpaint, tmp_path / "model"))
    source = open_source(tiny_sd15_inpaint)
    for name, content in canonical_texts(source, SD1, SD1.components).items():
        (folder / name).write_bytes(content)
    pipe: Any = StableDiffusionInpaintPipeline.from_pretrained(folder, local_files_only=True)
    assert pipe.safety_checker is None
    assert pipe.unet.config.in_channels == 9


def test_scheduler_keeps_what_it_says_and_no_more() -> None:
    given = {"_class_name": "PNDMScheduler", "steps_offset": 1, "clip_sample": False}
    noted = {"_diffusers_version": "0.6.0", "trained_betas": None}
    # A default that is filled in would look like the model's own to another class.
    assert canonical_scheduler({**given, **noted}) == given
    assert canonical_scheduler({"trained_betas": [0.1]}) == {"trained_betas": [0.1]}


def test_infinity_survives() -> None:
    assert json.loads(encode({"lambda_min_clipped": -math.inf})) == {
        "lambda_min_clipped": -math.inf
    }


def without_defaults(part: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a writer of another version may leave out: fields that have the class's default."""
    kept = ("_class_name", "architectures")
    defaults = component(part).normalise({k: given[k] for k in kept if k in given})
    return {k: v for k, v in given.items() if k in kept or defaults.get(k, object()) != v}


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae_decoder"])
def test_configs_of_other_writers_are_the_same(tiny_sd15: Path, part: str) -> None:
    wrapper = component(part)
    given = config(tiny_sd15, wrapper.source)
    expected = wrapper.normalise(given)
    short = without_defaults(part, given)
    assert len(short) < len(given)
    noted = {"_diffusers_version": "0.1", "transformers_version": "4", "torch_dtype": "float16"}
    assert wrapper.normalise({**short, **noted, "_name_or_path": "/home/me"}) == expected
    assert encode(wrapper.normalise(expected)) == encode(expected)
    assert not {"_diffusers_version", "transformers_version", "dtype"} & expected.keys()


def test_equal_values_in_other_forms_are_one(tiny_sd15: Path) -> None:
    wrapper = component("unet")
    given = config(tiny_sd15, "unet")
    expected = encode(wrapper.normalise(given))
    layers, heads = given["layers_per_block"], given["attention_head_dim"]
    other = {**given, "layers_per_block": [layers] * 2, "attention_head_dim": (heads, heads)}
    other |= {"mid_block_scale_factor": 1.0, "dropout": 0, "norm_eps": 1e-05}
    assert encode(wrapper.normalise(other)) == expected
    different = {**given, "layers_per_block": [layers, layers + 1]}
    assert encode(wrapper.normalise(different)) != expected


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae_decoder"])
def test_normalised_config_builds_the_same_network(tiny_sd15: Path, part: str) -> None:
    from exporter.match import parameters

    wrapper = component(part)
    given = config(tiny_sd15, wrapper.source)
    assert parameters(wrapper, wrapper.normalise(given)) == parameters(wrapper, given)
