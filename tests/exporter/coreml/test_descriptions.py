"""Packages say what they are."""

from __future__ import annotations

from exporter.coreml.descriptions import FEATURES, MODELS, describe
from exporter.coreml.swift import RESOURCES, TEXT, TEXT_XL, UNET_XL


def test_every_component_has_a_text() -> None:
    assert MODELS.keys() == RESOURCES.keys()
    assert len(set(MODELS.values())) == len(MODELS)


def test_every_feature_that_swift_names_has_a_text() -> None:
    rows = (TEXT, TEXT_XL, UNET_XL)
    named = {name for row in rows for name in (*row.fed, *row.read) if name is not None}
    assert named <= FEATURES.keys()


def test_parts_are_told_apart() -> None:
    assert describe("unet").text == "U-Net of Stable Diffusion."
    assert describe("unet", part=1, parts=2).text == "U-Net of Stable Diffusion, part 2 of 2."
    assert describe("unet").features["timestep"] == "The timestep, once for each sample."
