"""The pictures side by side, and what differs."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.bench.results import Picture, Report, ResultError
from benchmarks.report.pictures import quality
from tests.benchmarks.report.document import Node, read
from tests.benchmarks.report.sample import sample


def prompts(report: Report) -> list[Node]:
    section = quality(report)
    assert section is not None
    return read(f"<!-- -->{section.html()}").all("div", class_="prompt")


def pixels(image: Node) -> NDArray[np.uint8]:
    data = (image.attributes["src"] or "").removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def with_picture(png: bytes) -> Report:
    """The sample, its second subject's first picture replaced."""
    report = sample()
    first, second, _ = report.subjects
    assert second.quality is not None
    picture = Picture(prompt="x", seed=0, png=png)
    altered = msgspec.structs.replace(second.quality, pictures=(picture,))
    replaced = msgspec.structs.replace(second, quality=altered)
    return msgspec.structs.replace(report, subjects=(first, replaced))


def png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (9, 8, 7)).save(file, format="PNG")
    return file.getvalue()


def test_each_prompt_has_the_reference_and_each_subject() -> None:
    report = sample()
    for number, prompt in enumerate(prompts(report)):
        assert report.reference_pictures[number].prompt in prompt.one("h3").text
        cards = prompt.all("figure")
        names = [card.one("figcaption").text for card in cards]
        assert names == ["Reference", "ort-fp32", "openvino-fp16"]
        for card, subject in zip(cards[1:], report.subjects[:2], strict=True):
            assert subject.quality is not None
            own = Image.open(io.BytesIO(subject.quality.pictures[number].png))
            np.testing.assert_array_equal(pixels(card.all("img")[0]), np.asarray(own))


def test_differences_are_ten_times_what_they_are() -> None:
    for prompt in prompts(sample()):
        reference, same, other = prompt.all("figure")
        assert len(reference.all("img")) == 1
        assert not pixels(same.all("img")[1]).any()
        assert "no difference in 8 bits" in same.text
        shown, difference = (pixels(image).astype(int) for image in other.all("img"))
        true = np.abs(shown - pixels(reference.one("img")))
        assert true.max() == 9
        np.testing.assert_array_equal(difference, np.minimum(10 * true, 255))
        assert "at most 9 of 255" in other.text


def test_pictures_of_another_size_have_no_difference() -> None:
    _, _, other = prompts(with_picture(png(32)))[0].all("figure")
    assert len(other.all("img")) == 1
    assert "another size" in other.text


def test_pictures_without_a_reference_stand_alone() -> None:
    report = msgspec.structs.replace(sample(), reference_pictures=())
    first, _ = prompts(report)
    assert [len(card.all("img")) for card in first.all("figure")] == [1, 1]


def test_small_pictures_are_drawn_with_square_pixels() -> None:
    image = prompts(sample())[0].all("img")[0]
    assert image.attributes["class"] == "pixels"
    large = prompts(with_picture(png(256)))[0].all("figure")[2].one("img")
    assert "class" not in large.attributes


def bomb() -> bytes:
    """A PNG that claims 60,000 × 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    length, check = struct.pack(">I", len(header)), struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + length + chunk + check


@pytest.mark.parametrize("data", [b"", b"<svg onload='alert(1)'/>", png(16)[:60], bomb()], ids=str)
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises(ResultError, match=r"a picture of 'openvino-fp16' .* can't be read as PNG"):
        quality(with_picture(data))
