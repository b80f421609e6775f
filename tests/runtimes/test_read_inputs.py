"""A call's pictures are read once, and those of another call anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtimes import read_inputs
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.picture_input import Read, read_masks, read_pictures
from runtimes.pipeline import Pipeline
from runtimes.read_inputs import ReadInputs
from runtimes.settle import settle

PHOTO = np.arange(32 * 24 * 3, dtype=np.uint8).reshape(32, 24, 3)
MASK = np.full((32, 24), 255, np.uint8)
TASKS = ("text-to-image", "image-to-image", "inpainting")


@pytest.fixture
def pipe(fake_bundle: Callable[..., Path]) -> Pipeline:
    return Pipeline.open(fake_bundle(unet_channels=4, tasks=TASKS))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was read, in order."""
    found: list[str] = []
    for name, read in (("read_pictures", read_pictures), ("read_masks", read_masks)):

        def counted(
            given: object,
            name: str = name,
            read: Callable[[object], tuple[Read, ...]] = read,
        ) -> tuple[Read, ...]:
            found.append(name)
            return read(given)

        monkeypatch.setattr(read_inputs, name, counted)
    return found


def test_a_call_reads_each_picture_once(pipe: Pipeline, reads: list[str], tmp_path: Path) -> None:
    made = pipe("x", image=PHOTO, mask_image=MASK, seed=0)
    assert sorted(reads) == ["read_masks", "read_pictures"]
    (path,) = made.save(tmp_path / "x.png")
    again = pipe.repeat(path, inputs=Inputs(image=PHOTO, mask_image=MASK))
    assert len(reads) == 4
    np.testing.assert_array_equal(again.latents, made.latents)


def test_inputs_that_changed_since_are_refused(pipe: Pipeline) -> None:
    inputs = Inputs(image=PHOTO.copy())
    settings = settle(pipe.bundle, "x", inputs=inputs, seed=0)
    assert isinstance(inputs.image, np.ndarray)
    inputs.image[0, 0, 0] += 1
    with pytest.raises(UsageError, match="as image, and another one was given"):
        pipe.run(settings, inputs)


def test_inputs_are_read_when_they_are_asked_for(reads: list[str]) -> None:
    read = ReadInputs.of(Inputs(image=PHOTO))
    assert ReadInputs.of(read) is read
    assert reads == []
    assert len(read.image) == read.count == 1
    assert read.mask_image == read.depth_map == ()
    assert read.sha256.keys() == {"image"}
    assert reads == ["read_pictures"]
