"""Pictures on disk: where they are put and what they say about themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from runtimes.errors import UsageError
from runtimes.pipeline import Pipeline
from runtimes.prompts.check import NegativePromptUnused
from runtimes.result import check_writable, picture_paths

Write = Callable[..., Path]


def texts(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        assert isinstance(image, PngImageFile)
        return {name: str(text) for name, text in image.text.items()}


def test_one_picture_is_written_at_the_path(fake_bundle: Write, tmp_path: Path) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        result = pipe("a red circle", seed=0)
    assert result.save(tmp_path / "x.png") == [tmp_path / "x.png"]
    assert isinstance(result.images, list)
    with Image.open(tmp_path / "x.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(result.images[0]))


def test_several_pictures_are_numbered(fake_bundle: Write, tmp_path: Path) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        result = pipe(["red", "blue"], seed=0, num_images_per_prompt=2)
    paths = result.save(str(tmp_path / "x.y.png"))
    assert [path.name for path in paths] == [f"x.y-{i}.png" for i in range(4)]
    records = [json.loads(texts(path)["latedge"]) for path in paths]
    assert [record["index"] for record in records] == [0, 1, 2, 3]
    assert [record["prompt"] for record in records] == ["red", "red", "blue", "blue"]
    assert [record["prompts"] for record in records] == [["red", "blue"]] * 4


def test_one_picture_of_several_keeps_its_place(fake_bundle: Write, tmp_path: Path) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        result = pipe(["red", "blue"], seed=0)
    one = result.picture(1)
    assert (len(one.images), one.picture(0).first) == (1, 1)
    np.testing.assert_array_equal(one.latents, result.latents[1:])
    both = [path.read_bytes() for path in result.save(tmp_path / "both.png")]
    assert one.save(tmp_path / "one.png")[0].read_bytes() == both[1] != both[0]


def test_result_tells_the_peak_of_memory(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        peak = pipe("x", seed=0).peak_rss_bytes
    assert peak is not None
    assert 20_000_000 < peak < 2**40


def test_pictures_hold_their_settings(fake_bundle: Write, tmp_path: Path) -> None:
    with Pipeline.open(fake_bundle(), device="npu", threads=2) as pipe:
        result = pipe(
            "a red ● circle",
            "blue",
            seed=7,
            sampler="dpmpp-2m",
            schedule="karras",
            guidance_scale=5,
        )
    found = texts(result.save(tmp_path / "x.png")[0])
    assert found["latedge"].isascii()
    assert json.loads(found["latedge"]) == {
        "prompt": "a red ● circle",
        "negative_prompt": "blue",
        "num_inference_steps": 4,
        "guidance_scale": 5.0,
        "seed": 7,
        "sampler": "dpmpp-2m",
        "height": 32,
        "width": 24,
        "num_images_per_prompt": 1,
        "task": "text-to-image",
        "strength": None,
        "mask_blur": 0.0,
        "padding_mask_crop": None,
        "variation_seed": None,
        "variation_strength": 0.0,
        "input_sha256": {},
        "vae_tile": None,
        "guidance_rescale": 0.0,
        "guidance_interval": [0.0, 1.0],
        "guidance_embedded": False,
        "perp_neg": False,
        "negative_weight": 1.0,
        "prompt_syntax": "plain",
        "long_prompts": "truncate",
        "clip_skip": 0,
        "embeddings_sha256": None,
        "noise_level": None,
        "schedule": "karras",
        "spacing": "linspace",
        "sigmas": None,
        "timesteps": None,
        "sampler_options": {},
        "prompt_2": None,
        "negative_prompt_2": None,
        "zero_negative": False,
        "original_size": None,
        "crops_coords_top_left": None,
        "target_size": None,
        "aesthetic_score": None,
        "negative_original_size": None,
        "negative_crops_coords_top_left": None,
        "negative_target_size": None,
        "negative_aesthetic_score": None,
        "denoising_end": None,
        "denoising_start": None,
        "refiner_start": None,
        "image_guidance_scale": None,
        "index": 0,
        "bundle_sha256": result.origin.bundle_sha256,
        "engine": "fake 1.2.3",
        "device": "npu",
        "threads": 2,
        "latedge_version": result.origin.latedge_version,
        "machine": result.origin.machine,
    }
    assert found["parameters"].splitlines() == [
        "a red ● circle",
        "Negative prompt: blue",
        "Steps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, Seed: 7, Size: 24x32, "
        f"Model hash: {result.origin.bundle_sha256[:10]}, "
        f"Version: latedge {result.origin.latedge_version}",
    ]


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ({"schedule": "plain"}, ""),
        ({"schedule": "beta"}, "Schedule type: Beta, "),
        ({"schedule": "ays", "num_inference_steps": 10}, "Schedule type: Align Your Steps, "),
        ({"sigmas": [14.5, 1, 0]}, 'Sigmas: "14.5, 1, 0", '),
        ({"timesteps": [999, 4.5]}, 'Timesteps: "999, 4.5", '),
    ],
)
def test_schedules_are_told_as_other_tools_tell_them(
    fake_bundle: Write, tmp_path: Path, said: dict[str, Any], written: str
) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        result = pipe("red", seed=0, sampler="euler", **said)
    found = texts(result.save(tmp_path / "x.png")[0])["parameters"]
    assert f"Sampler: Euler, {written}CFG scale: 7.5" in found


def test_settings_of_a_picture_make_it_again(fake_bundle: Write, tmp_path: Path) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        first = pipe("a red circle", "blue", sampler="euler", schedule="karras")
        said = json.loads(texts(first.save(tmp_path / "x.png")[0])["latedge"])
        names = ("prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "seed")
        names += ("sampler", "schedule", "spacing", "height", "width", "num_images_per_prompt")
        again = pipe(**{name: said[name] for name in names})
    np.testing.assert_array_equal(first.latents, again.latents)


def test_unused_negative_prompts_are_not_told_to_other_tools(
    fake_bundle: Write, tmp_path: Path
) -> None:
    with Pipeline.open(fake_bundle()) as pipe, pytest.warns(NegativePromptUnused):
        result = pipe("red", "blue", seed=0, guidance_scale=1)
    found = texts(result.save(tmp_path / "x.png")[0])
    assert "blue" not in found["parameters"]
    assert json.loads(found["latedge"])["negative_prompt"] == "blue"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("x.jpg", "pictures are written as PNG: .*x.jpg must end in .png."),
        ("x", "pictures are written as PNG: .*x must end in .png."),
        ("none/x.png", "x.png can't be written: the folder .*none does not exist."),
        ("folder.png", "folder.png can't be written: a folder is there."),
    ],
)
def test_bad_places_are_refused(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match=message):
        picture_paths(tmp_path / path, 1)


def test_folders_that_take_no_file_are_refused(tmp_path: Path) -> None:
    check_writable(tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
    # A folder without rights would stop others, but not the superuser.
    with pytest.raises(UsageError, match=r"x\.png can't be written: no file can be made in .*: No"):
        check_writable(tmp_path / "none" / "x.png")


def test_places_of_several_are_checked_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "x-1.png").mkdir()
    with pytest.raises(UsageError, match=r"x-1\.png can't be written: a folder is there\."):
        picture_paths(tmp_path / "x.png", 3)


def test_endings_may_be_of_either_case(tmp_path: Path) -> None:
    assert picture_paths(tmp_path / "X.PNG", 1) == [tmp_path / "X.PNG"]


def test_only_pillow_images_are_saved(fake_bundle: Write, tmp_path: Path) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        result = pipe("x", seed=0, output_type="np")
    with pytest.raises(UsageError, match='only pictures of output_type "pil" can be saved'):
        result.save(tmp_path / "x.png")
