"""What SDXL's U-Nets are told of their pictures, over networks that are formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from runtimes.bundle import open_bundle
from runtimes.errors import BundleError, UsageError
from runtimes.manifest import Graph, Manifest
from runtimes.micro_conditioning import takes_score
from runtimes.pipeline import Pipeline
from runtimes.settle import settle
from tests.runtimes.fakes import made

Write = Callable[..., Path]

PHOTO = Image.new("RGB", (24, 32), (200, 100, 50))


def told(bundle: Path, **options: Any) -> tuple[list[float], list[float]]:
    """The numbers that the negative and the conditional branch were given."""
    with Pipeline.open(bundle) as pipe:
        pipe("x", seed=0, num_inference_steps=2, **options)
    ids: Any = made("unet").calls[0]["time_ids"]
    assert ids.dtype == np.float32
    negative, positive = ids.tolist()
    return negative, positive


BASE: list[tuple[Mapping[str, Any], list[float], list[float]]] = [
    ({}, [32, 24, 0, 0, 32, 24], [32, 24, 0, 0, 32, 24]),
    ({"height": 40, "width": 64}, [40, 64, 0, 0, 40, 64], [40, 64, 0, 0, 40, 64]),
    (
        {"original_size": (300, 200), "crops_coords_top_left": [5, 6], "target_size": (64, 50)},
        [300, 200, 5, 6, 64, 50],
        [300, 200, 5, 6, 64, 50],
    ),
    (
        {
            "original_size": (300, 200),
            "negative_original_size": (1, 2),
            "negative_crops_coords_top_left": (3, 4),
            "negative_target_size": (5, 6),
        },
        [1, 2, 3, 4, 5, 6],
        [300, 200, 0, 0, 32, 24],
    ),
]


@pytest.mark.parametrize(("options", "negative", "positive"), BASE)
def test_base_is_told_sizes_and_crop(
    fake_bundle: Write, options: dict[str, Any], negative: list[float], positive: list[float]
) -> None:
    assert told(fake_bundle(sdxl="base"), **options) == (negative, positive)


REFINER: list[tuple[Mapping[str, Any], list[float], list[float]]] = [
    ({}, [32, 24, 0, 0, 2.5], [32, 24, 0, 0, 6]),
    (
        {
            "original_size": (300, 200),
            "crops_coords_top_left": (5, 6),
            "aesthetic_score": 7.5,
            "negative_aesthetic_score": 0,
        },
        [300, 200, 0, 0, 0],
        [300, 200, 5, 6, 7.5],
    ),
    ({"negative_crops_coords_top_left": (7, 8)}, [32, 24, 7, 8, 2.5], [32, 24, 0, 0, 6]),
]


@pytest.mark.parametrize(("options", "negative", "positive"), REFINER)
def test_refiner_is_told_a_score(
    fake_bundle: Write, options: dict[str, Any], negative: list[float], positive: list[float]
) -> None:
    bundle = fake_bundle(sdxl="refiner", tasks=("image-to-image",), unet_channels=4)
    assert told(bundle, image=PHOTO, strength=1.0, **options) == (negative, positive)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"original_size": (0, 5)},
            "original_size must be height and width in whole pixels from 1",
        ),
        (
            {"target_size": (5, 70000)},
            "target_size must be height and width in whole pixels from 1",
        ),
        ({"target_size": 5}, "from 1 to 65536, not 5."),
        ({"original_size": (1.5, 2)}, "from 1 to 65536, not (1.5, 2)."),
        (
            {"crops_coords_top_left": (-1, 0)},
            "be top and left in whole pixels from 0 to 65536, not",
        ),
        ({"negative_crops_coords_top_left": (0, -2)}, "from 0 to 65536, not (0, -2)."),
        ({"crops_coords_top_left": (1, 2, 3)}, "from 0 to 65536, not (1, 2, 3)."),
        ({"aesthetic_score": 6.0}, "aesthetic_score is given, and this bundle's U-Net isn't told"),
    ],
)
def test_values_that_cant_be_are_refused(
    fake_bundle: Write, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as e:
        settle(open_bundle(fake_bundle(sdxl="base")), "x", **options)
    assert message in str(e.value)


@pytest.mark.parametrize("score", [11, -0.1, "7"])
@pytest.mark.parametrize("name", ["aesthetic_score", "negative_aesthetic_score"])
def test_scores_are_of_ten(fake_bundle: Write, name: str, score: Any) -> None:
    bundle = open_bundle(fake_bundle(sdxl="refiner"))
    options: dict[str, Any] = {name: score}
    with pytest.raises(UsageError, match=rf"{name} must be (from 0 to 10|a finite number), not"):
        settle(bundle, "x", **options)


@pytest.mark.parametrize(
    "options",
    [{"original_size": (64, 64)}, {"aesthetic_score": 6}, {"negative_target_size": (8, 8)}],
    ids=lambda options: next(iter(options)),
)
def test_models_that_are_told_nothing_refuse_it(
    fake_bundle: Write, options: dict[str, Any]
) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"{name} is given, and this bundle's U-Net isn't told"):
        settle(open_bundle(fake_bundle()), "x", **options)


def test_another_number_of_values_is_no_known_model(fake_bundle: Write) -> None:
    bundle = open_bundle(fake_bundle(sdxl="base"))
    unet = bundle.graph("unet")
    inputs = tuple(
        msgspec.structs.replace(port, shape=("batch", 7)) if port.role == "time_ids" else port
        for port in unet.inputs
    )
    graphs: dict[str, Graph] = {"model": msgspec.structs.replace(unet, inputs=inputs)}
    component = msgspec.structs.replace(bundle.manifest.components["unet"], graphs=graphs)
    components = {**bundle.manifest.components, "unet": component}
    manifest: Manifest = msgspec.structs.replace(bundle.manifest, components=components)
    with pytest.raises(BundleError, match=r"unet takes 7 time_ids, where 6 \(sizes\) or 5"):
        takes_score(type(bundle)(bundle.path, manifest), "unet")
