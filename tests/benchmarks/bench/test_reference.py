"""Reference pictures: drawn by torch and by a bundle, and what can't draw them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import benchmarks.bench.reference as reference
from benchmarks.bench.quality import compare
from benchmarks.bench.reference import Ask, check_reference, default_reference, draw_reference
from benchmarks.bench.results import Settings
from exporter.compile import compile
from exporter.errors import SourceError
from runtimes.bundle import Bundle
from runtimes.errors import BundleError, LatedgeError, UsageError
from runtimes.manifest import MANIFEST_NAME, encode_manifest, read_manifest
from runtimes.pipeline import Pipeline
from tests.runtimes.fakes import write_fake_bundle

Once = Callable[[str, Callable[[Path], object]], Path]

SETTINGS = Settings(
    prompt="not drawn: every ask has its own",
    negative_prompt="a blue square",
    num_inference_steps=4,
    guidance_scale=2.0,
    sampler="dpmpp-2m",
    seed=99,
    height=64,
    width=64,
)
ASKS = (Ask("a large red circle on a white background", 3), Ask("", 2**40))


def changed(**changes: Any) -> Settings:
    return msgspec.structs.replace(SETTINGS, **changes)


@pytest.fixture(scope="module")
def shapes_ort(once: Once, shapes_bundle: Path) -> Path:
    """The shapes model for ONNX Runtime, its weights stored in fp32."""
    return once(
        "shapes-onnxruntime", lambda folder: compile(shapes_bundle, folder, target="onnxruntime")
    )


def test_torch_and_a_bundle_draw_the_same_pictures(shapes_model: Path, shapes_ort: Path) -> None:
    lines: list[str] = []
    by_torch = draw_reference(shapes_model, ASKS, SETTINGS, threads=1, progress=lines.append)
    by_bundle = draw_reference(shapes_ort, ASKS, SETTINGS, threads=1)
    assert lines == ["reference picture 1 of 2", "reference picture 2 of 2"]
    assert by_torch.label == f"torch fp32, {shapes_model}"
    assert by_bundle.label == f"latedge on onnxruntime, U-Net stored in fp32, {shapes_ort}"
    for picture in by_torch.pictures:
        assert (picture.dtype, picture.shape) == (np.float32, (64, 64, 3))
        assert picture.std() > 0.05
    found = compare(by_bundle.pictures, by_torch.pictures)
    # float32 on both sides, the same noise: only the order of sums differs.
    assert min(value or np.inf for value in found.psnr_db) > 80
    assert (compare(by_torch.pictures[:1], by_torch.pictures[1:]).psnr_db[0] or np.inf) < 25


def test_a_bundle_draws_what_the_pipeline_draws(shapes_ort: Path) -> None:
    settings = changed(sampler="ddim", num_inference_steps=2)
    found = draw_reference(shapes_ort, ASKS, settings, threads=1).pictures
    with Pipeline.open(shapes_ort, threads=1) as pipe:
        for ask, picture in zip(ASKS, found, strict=True):
            expected = pipe(
                ask.prompt,
                "a blue square",
                num_inference_steps=2,
                guidance_scale=2.0,
                sampler="ddim",
                seed=ask.seed,
                output_type="np",
            ).images
            np.testing.assert_array_equal(picture, expected[0])


def test_a_process_that_fails_is_told_in_one_line(shapes_ort: Path) -> None:
    with pytest.raises(LatedgeError) as caught:
        draw_reference(shapes_ort, ASKS, SETTINGS, device="abacus")
    assert str(caught.value).startswith(
        "the reference could not be drawn: unknown device 'abacus'; known are"
    )
    assert "\n" not in str(caught.value)


def test_a_process_that_is_killed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_sd15: Path
) -> None:
    (tmp_path / "kills_itself.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setattr(reference, "_SCRIPT", "kills_itself")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(LatedgeError, match="its process was ended by signal 9"):
        draw_reference(tiny_sd15, ASKS, SETTINGS)


def with_unet(path: Path, precision: str, engine: str | None) -> Bundle:
    """A bundle whose U-Net is described otherwise."""
    manifest = read_manifest(path)
    unet = manifest.components["unet"]
    graph = msgspec.structs.replace(unet.graphs["model"], precision=precision, engine=engine)
    entry = msgspec.structs.replace(unet, graphs={"model": graph})
    components = {**manifest.components, "unet": entry}
    return Bundle(path, msgspec.structs.replace(manifest, components=components))


def test_the_first_compiled_bundle_in_fp32_is_the_default(tmp_path: Path) -> None:
    path = write_fake_bundle(tmp_path / "fake")
    half = with_unet(path, "fp16", "fake")
    portable = with_unet(path, "fp32", None)
    first, second = with_unet(path, "fp32", "fake"), with_unet(path, "fp32", "other")
    assert default_reference([half, portable, first, second]) is first
    assert default_reference([half, portable]) is None
    assert default_reference([]) is None


def test_neither_model_nor_bundle_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match="is neither a Diffusers folder nor a compiled bundle"):
            check_reference(path, SETTINGS)


def test_a_bundle_is_checked_before_it_draws(tmp_path: Path) -> None:
    fake = write_fake_bundle(tmp_path / "fake")
    check_reference(fake, SETTINGS)
    with pytest.raises(UsageError, match="unknown sampler 'magic'"):
        check_reference(fake, changed(sampler="magic"))
    with pytest.raises(UsageError, match="height"):
        check_reference(fake, changed(height=63))
    portable = with_unet(fake, "fp32", None).manifest
    (fake / MANIFEST_NAME).write_bytes(encode_manifest(portable))
    with pytest.raises(BundleError, match=r"is portable and can't draw yet\. Compile it first"):
        check_reference(fake, SETTINGS)
    (fake / "unet" / "model.fake").write_bytes(b"altered")
    with pytest.raises(BundleError, match=r"model\.fake"):
        check_reference(fake, SETTINGS)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}), encoding="utf-8")


DAMAGES: Mapping[str, tuple[Callable[[Path], Any], type[LatedgeError], str]] = {
    "a truncated network": (
        lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"x"),
        SourceError,
        "is not a safetensors file",
    ),
    "a pickle": (
        lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").rename(
            folder / "vae" / "diffusion_pytorch_model.bin"
        ),
        SourceError,
        "is a pickle",
    ),
    "another pipeline": (
        lambda folder: edit(folder / "model_index.json", _class_name="FluxPipeline"),
        SourceError,
        "unknown pipeline class 'FluxPipeline'",
    ),
    "inpainting": (
        lambda folder: edit(folder / "unet" / "config.json", in_channels=9),
        UsageError,
        "can't make pictures from text; it is made for inpainting",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_model_is_checked_before_torch_draws(
    tmp_path: Path, tiny_sd15: Path, damage: str
) -> None:
    folder = Path(shutil.copytree(tiny_sd15, tmp_path / "model"))
    check_reference(folder, SETTINGS)
    harm, error, message = DAMAGES[damage]
    harm(folder)
    with pytest.raises(error, match=message):
        check_reference(folder, SETTINGS)


def test_what_torch_lacks_is_told(tiny_sd15: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown sampler with diffusers 'magic'"):
        check_reference(tiny_sd15, changed(sampler="magic"))
    monkeypatch.setattr(reference, "find_spec", lambda name: None)
    with pytest.raises(LatedgeError) as caught:
        check_reference(tiny_sd15, SETTINGS)
    assert "needs torch, diffusers, transformers, not installed here" in str(caught.value)
    assert 'pip install "latedge[export]"' in str(caught.value)
