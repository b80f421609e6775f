"""Sizes that networks can be fixed to."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.picture_size import check_halves, check_picture_size
from runtimes.errors import UsageError


def bundle(path: Path, *, levels: int = 4, multiple: int = 1) -> Any:
    """As much of one as has to do with sizes."""
    (path / "config.json").write_text(json.dumps({"block_out_channels": [32] * levels}))
    recipes = {
        name: SimpleNamespace(recipe=SimpleNamespace(component=kind, config="config.json"))
        for name, kind in (("unet_refiner", "unet"), ("vae_decoder", "vae_decoder"))
    }
    latents = SimpleNamespace(vae_factor=8, multiple=multiple)
    manifest = SimpleNamespace(latents=latents, components=recipes)
    return SimpleNamespace(path=path, manifest=manifest)


def test_multiples_are_taken(tmp_path: Path) -> None:
    check_picture_size(bundle(tmp_path), 72, 8)
    check_picture_size(bundle(tmp_path, multiple=8), 64, 128)
    check_halves(bundle(tmp_path), "unet_refiner", 64, 192)
    check_halves(bundle(tmp_path, levels=1), "unet_refiner", 72, 8)


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (60, 64, r"height 60 .* multiple of 8, the VAE's factor; nearest are 56 and 64\.$"),
        (64, 4, r"width 4 .* multiple of 8, the VAE's factor; nearest are 8 and 16\.$"),
        (0, 64, "height 0 is not a positive multiple"),
        (64, -8, "width -8 is not a positive multiple"),
    ],
)
def test_others_are_refused(tmp_path: Path, height: int, width: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_picture_size(bundle(tmp_path), height, width)


def test_some_unets_take_larger_multiples(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="multiple of 64, as the U-Net takes them"):
        check_picture_size(bundle(tmp_path, multiple=8), 72, 64)


def test_a_rest_of_halving_is_refused(tmp_path: Path) -> None:
    expected = "width 72 is not a positive multiple of 64, which the unet_refiner halves without a "
    with pytest.raises(UsageError, match=f"{expected}rest; nearest are 64 and 128"):
        check_halves(bundle(tmp_path), "unet_refiner", 64, 72)
    check_halves(bundle(tmp_path), "vae_decoder", 64, 72)
