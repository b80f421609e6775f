"""The decision what may be computed in fp16, and what comes of one that is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.arithmetic import check_mode, decide
from exporter.compile import compile
from exporter.report import require_parity
from exporter.segments import Extreme
from exporter.verify import verify
from exporter.weights import read_header
from runtimes.bundle import hash_file, open_bundle
from runtimes.component import Component, NotFiniteError
from runtimes.errors import UsageError
from runtimes.manifest import MANIFEST_NAME, Conditioning, File, Manifest, encode_manifest
from runtimes.noise import Generator
from runtimes.parts import ROLES
from runtimes.vae import decode

_XL = Conditioning(force_zeros_for_empty_prompt=True, requires_aesthetics_score=False)


@pytest.fixture(scope="module")
def overflowing(exported: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose VAE decoder has values of 1e6, which its last normalisation brings back."""
    folder = tmp_path_factory.mktemp("overflowing") / "bundle"
    shutil.copytree(exported("tiny-sd15"), folder)
    name = "vae_decoder/model.safetensors"
    tensors = read_header(folder / name)
    with (folder / name).open("r+b") as file:
        for key in ("decoder.conv_in.weight", "decoder.conv_in.bias"):
            values = np.asarray(tensors[key].read(), np.float32)
            file.seek(tensors[key].offset)
            file.write((values * (5e4 / np.abs(values).max())).astype(np.float16).tobytes())
    manifest = open_manifest(folder)
    entry = File(size=(folder / name).stat().st_size, sha256=hash_file(folder / name))
    changed = msgspec.structs.replace(manifest, files={**manifest.files, name: entry})
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(changed))
    return folder


def open_manifest(folder: Path) -> Manifest:
    return msgspec.json.decode((folder / MANIFEST_NAME).read_bytes(), type=Manifest)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_what_overflows_is_computed_in_fp32_and_draws_the_picture(
    overflowing: Path, tmp_path: Path, target: str
) -> None:
    out = tmp_path / "compiled"
    compile(overflowing, out, target=target, precision="fp16", arithmetic="fp16")
    bundle = open_bundle(out)
    found = bundle.graph("vae_decoder").arithmetic
    assert found is not None
    assert (found.dtype, found.reason) == ("fp32", "range")
    assert found.largest is not None
    assert found.largest > 65504
    others = {bundle.graph(name).arithmetic for name in ("text_encoder", "unet", "vae_encoder")}
    assert {each.dtype for each in others if each is not None} == {"fp16"}
    report = verify(out, against=overflowing)
    require_parity(report)
    (decoded,) = report.components["vae_decoder"].outputs.values()
    assert decoded.psnr_db is None or decoded.psnr_db > 80
    assert np.std(_picture(out)) > 0.01


def test_forced_fp16_stops_where_it_overflows(overflowing: Path, tmp_path: Path) -> None:
    out = tmp_path / "compiled"
    compile(overflowing, out, target="onnxruntime", precision="fp16", arithmetic="force-fp16")
    message = "^vae_decoder gave NaN or infinite values. Where .* --arithmetic fp32`"
    with pytest.raises(NotFiniteError, match=message):
        _picture(out)


def _picture(folder: Path) -> NDArray[np.float32]:
    """What a bundle's VAE decoder makes of noise, as a pipeline decodes it."""
    bundle = open_bundle(folder)
    decoder = Component.open(bundle, "vae_decoder", ROLES["vae_decoder"], device="cpu", threads=1)
    return decode(decoder, Generator(0).randn((1, 4, 8, 8)), bundle.manifest.latents, (8, 8))


@pytest.mark.parametrize(
    ("magnitude", "upcast", "conditioning", "dtype", "reason"),
    [
        (16376.0, False, _XL, "fp16", "range"),
        (16377.0, False, _XL, "fp32", "range"),
        (3.0, True, _XL, "fp32", "force_upcast"),
        (3e5, True, _XL, "fp32", "range"),
        (3.0, True, None, "fp16", "range"),  # diffusers heeds the field in SDXL's pipelines
        (np.inf, False, None, "fp32", "range"),
    ],
)
def test_a_scan_and_the_config_decide(
    overflowing: Path,
    magnitude: float,
    upcast: bool,
    conditioning: Conditioning | None,
    dtype: str,
    reason: str,
) -> None:
    manifest = msgspec.structs.replace(open_manifest(overflowing), conditioning=conditioning)
    config = {"force_upcast": upcast}
    found = decide("fp16", manifest, config, lambda: Extreme(magnitude, "up/Add"))
    assert (found.dtype, found.reason, found.value) == (dtype, reason, "up/Add")
    finite = np.isfinite(magnitude)
    assert found.largest == (float(f"{magnitude:.2g}") if finite else None)


@pytest.mark.parametrize(("mode", "dtype"), [("fp32", "fp32"), ("force-fp16", "fp16")])
def test_what_is_asked_for_needs_no_scan(overflowing: Path, mode: str, dtype: str) -> None:
    def scan() -> Extreme:
        raise AssertionError("scanned")

    found = decide(mode, open_manifest(overflowing), {"force_upcast": True}, scan)
    assert (found.dtype, found.reason, str(found)) == (dtype, "asked", f"{dtype}, as asked")


def test_a_target_has_a_default_for_half_weights() -> None:
    assert check_mode(None, "fp16", default="fp16") == "fp16"
    assert check_mode(None, "fp32", default="fp16") is None
    assert check_mode(None, "fp16", default=None) is None
    assert check_mode("fp32", "fp32", default=None) == "fp32"


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("fp8", "unknown arithmetic 'fp8'"),
        ("fp16", "--arithmetic fp16 needs weights in half precision: --precision fp16, not fp32."),
        ("force-fp16", "--arithmetic force-fp16 needs weights in half precision"),
    ],
)
def test_modes_that_are_refused(mode: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_mode(mode, "fp32", default=None)
