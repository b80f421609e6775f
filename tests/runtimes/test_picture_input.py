"""What pictures are taken, how they are read, and what is refused in one line."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtimes.errors import UsageError
from runtimes.picture_input import (
    open_picture,
    read_depth_maps,
    read_masks,
    read_pictures,
    sha256,
    size_of,
)

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4
GREY = np.arange(20, dtype=np.uint8).reshape(4, 5) * 12


def png(depth: int, colour: int, row: bytes, tail: bytes = b"") -> bytes:
    """One pixel as PNG, made by hand: Pillow writes no RGB of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 1, 1, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), tail, chunk(b"IDAT", zlib.compress(b"\0" + row))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


# --- what is taken


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_modes_come_as_rgb(mode: str) -> None:
    given = Image.fromarray(RGB).convert(mode)
    (found,) = read_pictures(given)
    assert isinstance(found, Image.Image)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(given.convert("RGB")))


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_advice_on_transparent_colours_helps(mode: str, tmp_path: Path) -> None:
    Image.fromarray(RGB).convert(mode).save(
        tmp_path / "x.png", transparency=(0, 0, 0) if mode == "RGB" else 0
    )
    given = open_picture(tmp_path / "x.png", "image")
    with pytest.raises(UsageError, match=r'image\.convert\("RGBA"\)\.convert\("RGB"\), or paste'):
        read_pictures(given)
    assert len(read_pictures(given.convert("RGBA").convert("RGB"))) == 1


def test_folders_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"image: .* can't be read: Is a directory\."):
        open_picture(tmp_path, "image")


def test_bytes_are_pictures_and_floats_stay() -> None:
    (image,) = read_pictures(RGB)
    np.testing.assert_array_equal(np.asarray(image), RGB)
    (floats,) = read_pictures(RGB / 255)
    assert isinstance(floats, np.ndarray)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, (RGB / 255).astype(np.float32))
    assert size_of(image) == size_of(floats) == (4, 5)


def test_several_are_a_list_or_an_array_of_four_axes() -> None:
    pair = np.stack([RGB, RGB[::-1]])
    for given in (pair, list(pair), tuple(Image.fromarray(each) for each in pair)):
        found = read_pictures(given)
        assert len(found) == 2
        np.testing.assert_array_equal(np.asarray(found[1]), pair[1])


def test_turned_pictures_are_set_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: a quarter to the right sets it upright
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    (found,) = read_pictures(open_picture(tmp_path / "turned.png", "image"))
    np.testing.assert_array_equal(np.asarray(found), np.rot90(RGB, -1))


@pytest.mark.parametrize("given", [GREY, GREY / 255, Image.fromarray(GREY)])
def test_masks_of_grey(given: Any) -> None:
    (found,) = read_masks(given)
    assert found.mode == "L"
    np.testing.assert_array_equal(np.asarray(found), GREY)


def test_masks_of_black_and_white() -> None:
    (found,) = read_masks(GREY > 100)
    np.testing.assert_array_equal(np.asarray(found), np.where(GREY > 100, 255, 0))
    assert read_masks(Image.fromarray(GREY).convert("1"))[0].mode == "1"
    assert len(read_masks(np.stack([GREY, GREY]))) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_depth_maps_of_any_numbers(dtype: Any) -> None:
    (found,) = read_depth_maps(GREY.astype(dtype))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, GREY)


def test_depth_maps_of_sixteen_bits_are_whole(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "d.png")
    (found,) = read_depth_maps(open_picture(tmp_path / "d.png", "depth_map"))
    np.testing.assert_array_equal(found, GREY.astype(np.float32) * 257)


def test_digest_is_of_the_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.tiff")
    files = [read_pictures(open_picture(tmp_path / name, "image")) for name in ("a.png", "b.tiff")]
    assert sha256(files[0]) == sha256(files[1]) == sha256(read_pictures(RGB))
    others = [RGB[::-1], RGB.reshape(5, 4, 3), np.stack([RGB, RGB]), RGB / 255]
    assert len({sha256(read_pictures(each)) for each in (RGB, *others)}) == 5


# --- what is refused


def turned_transparent() -> Image.Image:
    image = Image.fromarray(GREY)
    image.info["transparency"] = 3
    return image


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Image.new("RGBA", (4, 4)), r"alpha channel \(mode RGBA\); convert it with image.convert"),
        (Image.new("LA", (4, 4)), r"alpha channel \(mode LA\)"),
        (turned_transparent(), r"colour that is transparent \(mode L\); convert it with .*RGBA"),
        (Image.new("I;16", (4, 4)), "has 16 bits a channel, where 8 are taken: save it with 8"),
        (Image.new("I", (4, 4)), r"has mode I; taken are RGB, L, P: convert it with image.conv"),
        (Image.new("CMYK", (4, 4)), "has mode CMYK; taken are RGB, L, P"),
        (RGB.astype(np.uint16), "is an array of uint16; taken are uint8 .* divide 16-bit values"),
        (RGB[:, :, :2], r"is an array of shape \(4, 5, 2\), not \[H, W, 3\]\."),
        (np.zeros((4, 5, 4), np.uint8), r"shape \(4, 5, 4\), .*: drop the alpha channel\."),
        (GREY, r"is an array of shape \(4, 5\), not \[H, W, 3\]"),
        (RGB.astype(float), "holds values from 0 to 236; floats are taken from 0 to 1"),
        (RGB / -255, "holds values from -0.925"),
        (np.full((4, 4, 3), np.nan), "image holds NaN or infinite values"),
        ([], "image holds no picture; give one, or leave it out"),
        ("cat.png", "image must be a Pillow image or a NumPy array, or several, not str"),
        ([Path("cat.png")], "not PosixPath"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"),
    ],
)
def test_other_pictures_are_refused(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_pictures(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Image.fromarray(RGB), r'mask_image has mode RGB; taken are L, 1: convert .*convert\("L"'),
        (Image.new("LA", (4, 4)), "mask_image has an alpha channel"),
        (Image.new("I;16", (4, 4)), "mask_image has 16 bits a channel"),
        (RGB, r"mask_image is an array of shape \(4, 5, 3\), not \[H, W\]"),
        (GREY.astype(float), "mask_image holds values from 0 to 228"),
        (GREY.astype(np.int64), "mask_image is an array of int64"),
    ],
)
def test_other_masks_are_refused(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_masks(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4)), "depth_map is 0 everywhere; it shows no depth"),
        (np.array([[0, np.inf]]), "depth_map holds NaN or infinite values"),
        (Image.fromarray(RGB), "depth_map has mode RGB; taken are L, I, F, I;16"),
        (np.zeros((2, 2), complex), "depth_map is an array of complex128"),
        (np.zeros(4), r"depth_map is an array of shape \(4,\), not \[H, W\]"),
    ],
)
def test_other_depth_maps_are_refused(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_depth_maps(given)


# --- files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "is no picture that Pillow knows"),
        (png(16, 2, b"\1\2\3\4\5\6"), "image has 16 bits a channel"),
        (png(16, 0, b"\1\2"), "image has 16 bits a channel"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        open_picture(path, "image")


def test_sixteen_bits_are_seen_before_pillow_drops_them() -> None:
    """It opens them as RGB of 8 bits, and says so nowhere."""
    image = Image.open(io.BytesIO(png(16, 2, b"\1\2\3\4\5\6")))
    assert image.mode == "RGB"
    with pytest.raises(UsageError, match="image has 16 bits a channel"):
        read_pictures(image)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mask_image: .*no.png does not exist\."):
        open_picture(tmp_path / "no.png", "mask_image")
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    with pytest.raises(UsageError, match=r"image: .*cut.png can't be read: "):
        open_picture(tmp_path / "cut.png", "image")
    with pytest.raises(UsageError, match=r"can't be read: .*directory"):
        open_picture(tmp_path, "image")
