"""A whole picture against diffusers', and the faults that components alone don't show."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import latedge
from exporter.compile import compile
from exporter.errors import VerificationError
from exporter.export import export
from exporter.image_report import ImageReport, require_same_picture
from exporter.report import Report, require_parity
from exporter.staged_files import VERIFICATION_NAME
from exporter.verify import references, verify
from exporter.verify_image import (
    PROMPT,
    SAMPLER,
    STEPS,
    Drawn,
    check_drawable,
    compare,
    draw_bundle,
    draw_reference,
    with_image,
)
from exporter.weights import read_header
from runtimes.bundle import hash_file, open_bundle
from runtimes.errors import EngineError, UsageError
from runtimes.manifest import MANIFEST_NAME
from runtimes.micro_conditioning import time_ids
from runtimes.settings import Settings

Export = Callable[[str], Path]

SETTINGS = Settings(
    prompt=("x",),
    negative_prompt=("",),
    num_inference_steps=4,
    guidance_scale=7.5,
    seed=0,
    sampler=SAMPLER,
    height=8,
    width=8,
    num_images_per_prompt=1,
)


def image_of(report: Report) -> ImageReport:
    assert report.image is not None
    return report.image


def altered(source: Path, copy: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a bundle with another manifest."""
    shutil.copytree(source, copy)
    manifest = json.loads((copy / MANIFEST_NAME).read_bytes())
    change(manifest)
    (copy / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8", newline="\n")
    return copy


def with_other_weight(source: Path, copy: Path, value: float) -> Path:
    """A copy whose U-Net has one other bias, with a manifest that has the new hash."""
    name = "unet/model.safetensors"

    def rehash(manifest: dict[str, Any]) -> None:
        tensor = read_header(copy / name)["conv_out.bias"]
        dtype = {"F16": "<f2", "F32": "<f4"}[tensor.dtype]
        with tensor.file.open("r+b") as file:
            file.seek(tensor.offset)
            file.write(np.full(tensor.shape, value, dtype).tobytes())
        manifest["files"][name]["sha256"] = hash_file(copy / name)

    return altered(source, copy, rehash)


def test_picture_of_the_trained_model_equals_diffusers(shapes_bundle: Path) -> None:
    told: list[str] = []
    report = verify(shapes_bundle, image=True, progress=told.append)
    require_parity(report)
    image = image_of(report)
    assert image.psnr_db is None or image.psnr_db >= 80
    assert (image.prompt, image.steps, image.sampler) == (PROMPT, STEPS, SAMPLER)
    assert (image.height, image.width) == (64, 64)
    assert len(image.latents_psnr_db) == len(image.latents_max_abs) == STEPS
    assert image.departs_at is None
    cost, verdict = told[-2:]
    assert cost.startswith("whole picture: 5 guided steps of ddim at 64×64 will take about ")
    assert "Weights take up to 0.03 GB, first in torch and then in the engine" in cost
    assert verdict.startswith("whole picture: agrees with diffusers, ")


def test_the_reference_shows_something(shapes_bundle: Path) -> None:
    """Two empty pictures would agree, too."""
    bundle = open_bundle(shapes_bundle)
    settings = msgspec.structs.replace(SETTINGS, prompt=(PROMPT,), height=64, width=64)
    drawn = draw_reference(shapes_bundle, bundle.manifest, references(bundle, None), settings)
    assert drawn.picture.shape == (1, 64, 64, 3)
    assert drawn.picture.std() > 0.05
    assert len({latents.tobytes() for latents in drawn.latents}) == 4


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_compiled_bundle_is_drawn_by_its_own_engine(
    exported: Export, tiny_sd21: Path, tmp_path: Path, target: str
) -> None:
    folder = tmp_path / "c"
    compile(exported("tiny-sd21"), folder, target=target, height=64, width=96, batch=1)
    report = verify(folder, against=tiny_sd21, image=True)
    require_parity(report)
    assert report.engine == target
    assert (image_of(report).height, image_of(report).width) == (64, 96)


def test_wrong_scaling_is_found_behind_latents_that_agree(
    shapes_bundle: Path, tmp_path: Path
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["latents"]["scaling_factor"] *= 1.1

    report = verify(altered(shapes_bundle, tmp_path / "b", change), image=True)
    assert all(result.passed for result in report.components.values())
    assert image_of(report).departs_at is None
    with pytest.raises(VerificationError, match=r"agree, so the decoder or what it is fed departs"):
        require_parity(report)


def test_wrong_prediction_type_is_found_at_the_first_step(
    shapes_bundle: Path, tmp_path: Path
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["prediction_type"] = "v_prediction"

    report = verify(altered(shapes_bundle, tmp_path / "b", change), image=True)
    assert all(result.passed for result in report.components.values())
    assert image_of(report).departs_at == 1
    with pytest.raises(VerificationError, match=r"latents depart first at step 1 of 5, where they"):
        require_parity(report)


def test_altered_weight_is_found_in_the_picture(exported: Export, tmp_path: Path) -> None:
    """Components would find it first; here the picture alone is asked."""
    source = exported("tiny-sd15")
    opened = open_bundle(with_other_weight(source, tmp_path / "b", 0.5))
    prepared = references(opened, source)
    report = msgspec.json.decode((source / VERIFICATION_NAME).read_bytes(), type=Report)
    found = with_image(opened.path, opened.manifest, prepared, report, lambda line: None)
    assert image_of(found).departs_at == 1
    assert not image_of(found).passed


def test_no_picture_is_drawn_where_a_component_departs(exported: Export, tmp_path: Path) -> None:
    told: list[str] = []
    folder = with_other_weight(exported("tiny-sd15"), tmp_path / "b", 0.5)
    report = verify(folder, against=exported("tiny-sd15"), image=True, progress=told.append)
    assert not report.components["unet"].passed
    assert report.image is None
    assert told[-1] == "whole picture: not drawn, since a component departs already"


def test_reference_without_finite_latents_is_no_reference(exported: Export, tmp_path: Path) -> None:
    folder = with_other_weight(exported("tiny-sd15"), tmp_path / "b", float("nan"))
    opened = open_bundle(folder)
    settings = msgspec.structs.replace(SETTINGS, height=64, width=64)
    prepared = references(opened, None)
    with pytest.raises(VerificationError, match=r"diffusers itself gives NaN.* at step 1 of 4"):
        draw_reference(folder, opened.manifest, prepared, settings)
    with pytest.raises(EngineError, match="at step 1"):
        draw_bundle(folder, opened.manifest, settings)


def test_first_departing_step_is_named() -> None:
    rng = np.random.default_rng(0)
    latents = tuple(rng.standard_normal((1, 4, 1, 1)).astype(np.float32) for _ in range(4))
    picture = rng.random((1, 8, 8, 3), np.float32)
    other = (*latents[:2], latents[2] + np.float32(0.5), latents[3] + np.float32(0.25))
    report = compare(SETTINGS, Drawn(picture, latents), Drawn(picture, other), 45.0, (1.0, 2.0))
    assert (report.departs_at, report.psnr_db, report.passed) == (3, None, False)
    assert report.latents_psnr_db[:2] == (None, None)
    peak = float(np.abs(latents[2]).max())
    assert report.latents_psnr_db[2] == pytest.approx(20 * np.log10(peak / 0.5), abs=1e-4)
    assert report.latents_max_abs[2:] == pytest.approx((0.5, 0.25))
    with pytest.raises(VerificationError) as caught:
        require_same_picture(report)
    assert "an equal picture where" in str(caught.value)
    assert "depart first at step 3 of 4" in str(caught.value)


def test_picture_alone_is_measured_against_one() -> None:
    latents = (np.ones((1, 4, 1, 1), np.float32),)
    picture = np.full((1, 8, 8, 3), 0.5, np.float32)
    other = picture + np.float32(0.01)
    report = compare(SETTINGS, Drawn(picture, latents), Drawn(other, latents), 45.0, (1.0, 2.0))
    assert report.psnr_db == pytest.approx(40, abs=1e-3)
    assert (report.max_abs, report.passed) == (pytest.approx(0.01), False)


def test_export_writes_the_pictures_figures(shapes_bundle: Path) -> None:
    raw = (shapes_bundle / VERIFICATION_NAME).read_bytes()
    assert image_of(msgspec.json.decode(raw, type=Report)).passed


def test_figures_without_a_picture_have_no_entry_for_it(exported: Export) -> None:
    assert "image" not in json.loads((exported("tiny-sd15") / VERIFICATION_NAME).read_bytes())


def test_export_refuses_a_picture_that_no_text_gives(
    tiny_sd15_inpaint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.export.capture", None)  # slow work, which must not begin
    with pytest.raises(UsageError, match=r"can't draw a whole picture from text; it is made for "):
        export(tiny_sd15_inpaint, tmp_path / "b", verify="image")
    assert list(tmp_path.iterdir()) == []


def test_export_refuses_a_picture_without_its_components(
    tiny_sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.export.capture", None)
    with pytest.raises(UsageError, match=r"without text_encoder and vae_decoder: take all"):
        export(tiny_sd15, tmp_path / "b", components=("unet",), verify="image")


def test_verify_refuses_a_picture_before_it_runs_torch(exported: Export, tmp_path: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["tasks"] = ["inpainting"]

    told: list[str] = []
    folder = altered(exported("tiny-sd15"), tmp_path / "b", change)
    with pytest.raises(UsageError, match="it is made for inpainting: verify its components alone"):
        verify(folder, image=True, progress=told.append)
    assert told == []


def test_schedule_that_the_sampler_cannot_follow_is_refused() -> None:
    names = ("text_encoder", "unet", "vae_decoder")
    with pytest.raises(UsageError, match=r"verified with ddim, which can't run here \(.*spacing"):
        check_drawable("m", "sd1", ("text-to-image",), names, {"timestep_spacing": "odd"})


def test_sdxl_takes_both_text_encoders_and_its_refiner_one() -> None:
    names = ("text_encoder", "unet", "vae_decoder")
    with pytest.raises(UsageError, match="without text_encoder_2: take all"):
        check_drawable("m", "sdxl", ("text-to-image",), names, {})
    check_drawable("m", "sdxl", ("text-to-image",), (*names, "text_encoder_2"), {})
    second = ("text_encoder_2", "unet", "vae_decoder")
    check_drawable("m", "sdxl-refiner", ("image-to-image",), second, {})
    with pytest.raises(UsageError, match="it is made for inpainting: verify its components alone"):
        check_drawable("m", "sdxl", ("inpainting",), (*names, "text_encoder_2"), {})


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny-sdxl", "tiny-sdxl-refiner"])
def test_sdxl_is_drawn_and_faults_of_its_conditioning_are_found(
    exported: Export, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    bundle = exported(model)
    report = verify(bundle, image=True)
    image = image_of(report)
    require_same_picture(image)
    assert len(image.latents_psnr_db) == (STEPS if model == "tiny-sdxl" else 3)
    assert image.psnr_db is None or image.psnr_db > 90
    # Half the picture's size is told.
    monkeypatch.setattr(
        "runtimes.sampling.time_ids", lambda *args, **options: time_ids(*args, **options) / 2
    )
    assert not image_of(verify(bundle, image=True)).passed


def test_command_tells_of_the_picture(
    shapes_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert latedge.main(["verify", str(shapes_bundle), "--image"]) == 0
    assert capsys.readouterr().out.endswith("agrees with torch, and so does the whole picture\n")


def test_command_fails_where_the_picture_departs(
    shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["latents"]["scaling_factor"] *= 2

    folder = altered(shapes_bundle, tmp_path / "b", change)
    assert latedge.main(["verify", str(folder), "--image", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["image"]["passed"] is False
    assert "the whole picture departs from diffusers" in said.err.splitlines()[-1]
