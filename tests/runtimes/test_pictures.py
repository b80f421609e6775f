"""Value range, bytes, PNG and writing whole."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from runtimes.pictures import png_bytes, to_pillow, to_uint8, to_unit, write_whole


def test_decoder_output_becomes_unit_values_channels_last() -> None:
    sample = np.random.default_rng(0).uniform(-1.5, 1.5, (2, 3, 4, 5)).astype(np.float32)
    found = to_unit(sample)
    assert (found.shape, found.dtype) == ((2, 4, 5, 3), np.float32)
    assert found.flags.c_contiguous
    expected = np.minimum(np.maximum(sample.astype(np.float64) / 2 + 0.5, 0), 1)
    # Values below 2 in float32: half a unit in the last place.
    np.testing.assert_allclose(found, np.moveaxis(expected, 1, 3), atol=1.2e-7, rtol=0)
    assert {0.0, 1.0} <= set(found.flat)


@pytest.mark.parametrize(
    ("unit", "byte"),
    [
        (0.0, 0),
        (1.0, 255),
        (0.5, 128),  # 127.5, to the even neighbour
        (0.499, 127),
        (100.49 / 255, 100),
        (100.51 / 255, 101),
    ],
)
def test_bytes_are_rounded(unit: float, byte: int) -> None:
    assert to_uint8(np.array([unit], np.float32))[0] == byte


def test_pillow_images_hold_the_same_bytes() -> None:
    unit = np.random.default_rng(0).uniform(0, 1, (2, 4, 6, 3)).astype(np.float32)
    images = to_pillow(unit)
    assert [(image.mode, image.size) for image in images] == [("RGB", (6, 4))] * 2
    np.testing.assert_array_equal(np.stack([np.asarray(i) for i in images]), to_uint8(unit))


@pytest.mark.parametrize("text", ["plain", "zwei Zeilen\nmit Ä", "🟥 über ■, 赤い丸"])
def test_png_keeps_pixels_and_texts(text: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    data = png_bytes(Image.fromarray(pixels), {"latedge": "{}", "parameters": text})
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, PngImageFile)
        np.testing.assert_array_equal(np.asarray(image), pixels)
        assert image.text == {"latedge": "{}", "parameters": text}


def test_writing_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("stage", ["write_bytes", "replace"])
def test_failing_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, stage: str
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def fail(partial: Path, *_: object) -> None:
        with partial.open("ab") as file:
            file.write(b"half")
        raise fault

    monkeypatch.setattr(Path, stage, fail)
    with pytest.raises(type(fault)) as caught:
        write_whole(path, b"new")
    if isinstance(caught.value, OSError):
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_whole(tmp_path / "x.png", b"")
    (tmp_path / "y.png").write_bytes(b"")
    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "y.png").stat().st_mode
