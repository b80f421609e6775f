"""What compressed weights cost the shapes model: the folder with them, refusals, a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compression as benchmark
from benchmarks.compression import compress_folder, main
from exporter.coreml.compress import compression
from exporter.coreml.compress.compression import Compression, is_compressible
from exporter.coreml.compress.scheme import palette, parse_scheme
from exporter.coreml.compress.tensor import compress
from exporter.weights import read_header

MODEL = Path("benchmarks/shapes/model")
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT_ENCODER = "text_encoder/model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


def test_a_folder_gets_the_values_that_an_engine_reads(
    tiny_sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "SMALLEST", 255)
    monkeypatch.setattr(benchmark, "REST", palette(2))
    before = read_header(tiny_sd15 / UNET)
    keys = sorted(key for key, tensor in before.items() if is_compressible(key, tensor.shape))
    recipe = {key: palette(1 + number % 2) for number, key in enumerate(keys)}
    output = tmp_path / "changed"
    compress_folder(tiny_sd15, output, Compression(parse_scheme("mixed-1.6"), recipe))
    after = read_header(output / UNET)
    assert after.keys() == before.keys()
    for key, tensor in before.items():
        values = tensor.read().astype(np.float16)
        if key in recipe:
            values = compress(values, recipe[key]).decompress()
        np.testing.assert_array_equal(after[key].read(), values, err_msg=key)
    key = "text_model.encoder.layers.0.mlp.fc1.weight"
    values = read_header(tiny_sd15 / TEXT_ENCODER)[key].read().astype(np.float16)
    expected = compress(values, palette(2)).decompress()
    np.testing.assert_array_equal(read_header(output / TEXT_ENCODER)[key].read(), expected)
    for same in (VAE, "model_index.json"):
        assert (output / same).read_bytes() == (tiny_sd15 / same).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schemes", "palette-5"], "unknown compression 'palette-5'"),
        (["--schemes", "int8,w8a8"], "w8a8 rounds more than weights"),
        (["--count", "0"], "--count is at least 1; given 0"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(MODEL), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split())


@pytest.mark.slow
def test_the_shapes_model_at_eight_and_two_bits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(MODEL), "--schemes", "palette-8,palette-2", "--count", "2", "--json"]) == 0
    fine, coarse = json.loads(capsys.readouterr().out)
    assert (fine["scheme"], coarse["scheme"]) == ("palette-8", "palette-2")
    assert 8 < fine["bits"] < 8.1
    assert 2 < coarse["bits"] < 2.01
    assert fine["unet_psnr_db"] > 60 > 35 > coarse["unet_psnr_db"]
    assert fine["picture_psnr_db"] > coarse["picture_psnr_db"] + 10
    assert set(fine["right"]) == {"single", "pair"}
