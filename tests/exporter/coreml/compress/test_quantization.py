"""The file of chosen bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.coreml.compress.quantization import (
    Quantization,
    quantization,
    read_quantization,
    write_quantization,
)
from exporter.coreml.compress.scheme import palette, parse_scheme
from exporter.coreml.compress.sensitivity import Loss, Sensitivity
from runtimes.errors import BundleError

SHA256 = "ab" * 32


def _loss(bits: int, decibels: float) -> Loss:
    return Loss(size_bits=bits * 10000 + 16 * 2**bits, psnr_db=float(decibels))


SENSITIVITIES = {
    "calm.weight": Sensitivity(elements=10000, losses={2: _loss(2, 60), 8: _loss(8, 90)}),
    "loud.weight": Sensitivity(elements=10000, losses={2: _loss(2, 20), 8: _loss(8, 50)}),
    "vital.weight": Sensitivity(elements=10000, losses={2: _loss(2, 5), 8: _loss(8, 10)}),
}


@pytest.fixture
def found() -> Quantization:
    scheme = parse_scheme("mixed-9")
    return quantization("unet", SHA256, scheme, SENSITIVITIES, samples=4)


@pytest.fixture
def path(found: Quantization, tmp_path: Path) -> Path:
    path = tmp_path / "quantization.json"
    write_quantization(path, found)
    return path


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **fields}))


def test_bits_become_schemes(found: Quantization) -> None:
    assert found.schemes == {
        "calm.weight": "palette-2",
        "loud.weight": "palette-8",
        "vital.weight": None,
    }
    compression = found.compression
    assert compression.scheme == parse_scheme("mixed-9")
    assert compression.scheme_of("calm.weight", (100, 100)) == palette(2)
    assert compression.scheme_of("vital.weight", (100, 100)) is None


def test_what_is_written_is_read(found: Quantization, path: Path) -> None:
    assert read_quantization(path, weights_sha256=SHA256) == found
    again = path.with_name("again.json")
    write_quantization(again, read_quantization(path, weights_sha256=SHA256))
    assert again.read_bytes() == path.read_bytes()


def test_a_file_of_other_weights_is_refused(path: Path) -> None:
    with pytest.raises(BundleError, match=r"SHA-256 abababababab…, those here have 000000000000…"):
        read_quantization(path, weights_sha256="00" * 32)


def test_altered_choices_are_refused(path: Path, found: Quantization) -> None:
    change(path, schemes={**found.schemes, "loud.weight": "palette-2"})
    with pytest.raises(
        BundleError, match=r"loud\.weight has palette-2, and .* mixed-9 give palette-8; .* altered"
    ):
        read_quantization(path, weights_sha256=SHA256)
    change(path, schemes={"calm.weight": "palette-2", "vital.weight": None})
    with pytest.raises(BundleError, match=r"loud\.weight has no scheme"):
        read_quantization(path, weights_sha256=SHA256)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schema": "2.0"}, r"has schema 2\.0; read is 1\.0"),
        ({"scheme": "palette-4"}, "scheme is palette-4; it must be a mixed one"),
        ({"scheme": "mixed-1.5"}, r"1\.5 bits a weight are too few"),
        ({"scheme": "mixed"}, "unknown compression 'mixed'"),
        ({"samples": "four"}, r"not a recipe of compressed weights: .*samples"),
    ],
)
def test_contradictions_are_refused(path: Path, fields: dict[str, Any], message: str) -> None:
    change(path, **fields)
    with pytest.raises(BundleError, match=message) as raised:
        read_quantization(path, weights_sha256=SHA256)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none\.json can't be read: No such file"):
        read_quantization(tmp_path / "none.json", weights_sha256=SHA256)
