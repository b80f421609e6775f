"""What verification feeds SDXL's networks with, and what they hand on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.synthetic.models import MODELS
from exporter.components.unet import UNet
from exporter.errors import SourceError
from exporter.picture_numbers import about_picture
from exporter.reference import PROMPTS, Carried, carried_widths, unet_samples


def unet(name: str, **changes: object) -> dict[str, Any]:
    networks = MODELS[name].networks
    given = {"_class_name": "UNet2DConditionModel", **networks["unet"].config, **changes}
    others = {folder: network.config for folder, network in networks.items()}
    return UNet().complete(UNet().normalise(given), others)


def carried(width: int, pooled: int) -> Carried:
    generator = np.random.default_rng(0)
    return Carried(
        embeddings=generator.standard_normal((len(PROMPTS), 77, width)),
        pooled=generator.standard_normal((len(PROMPTS), pooled)),
        latents=np.zeros((1, 4, 8, 8)),
        picture=np.zeros((1, 3, 64, 64)),
    )


def test_both_encoders_stand_side_by_side() -> None:
    first, second = np.full((len(PROMPTS), 77, 32), 1.0), np.full((len(PROMPTS), 77, 48), 2.0)
    found = carried(80, 40).with_states(first).with_states(second, last=True).embeddings
    np.testing.assert_array_equal(found[..., :32], first)
    np.testing.assert_array_equal(found[..., 32:], second)


def test_an_encoder_by_itself_is_all_there_is() -> None:
    for width in (1, 48):
        alone = carried(width, 1).with_states(np.ones((len(PROMPTS), 77, 48)), last=True)
        np.testing.assert_array_equal(alone.embeddings, np.ones((len(PROMPTS), 77, 48)))


@pytest.mark.parametrize(
    ("name", "widths", "unconditional"),
    [
        ("tiny-sdxl", (80, 40), [1024, 1024, 0, 0, 1024, 1024]),
        ("tiny-sdxl-refiner", (48, 40), [1024, 1024, 0, 0, 2.5]),
    ],
)
def test_numbers_about_the_picture_are_realistic(
    name: str, widths: tuple[int, int], unconditional: list[float]
) -> None:
    config = unet(name)
    assert carried_widths(config) == widths
    before = carried(*widths)
    told = about_picture(config, before.pooled)
    assert told["time_ids"].tolist()[0] == unconditional
    np.testing.assert_array_equal(told["text_embeds"], before.pooled[[2, 0]])


def test_other_unets_are_told_nothing() -> None:
    assert about_picture(unet("tiny-sd15"), np.zeros((4, 1))) == {}
    assert carried_widths(unet("tiny-sd15")) == (32, 1)
    assert carried_widths(None) == (1, 1)


def test_a_count_that_no_model_has_is_refused() -> None:
    config = unet("tiny-sdxl", projection_class_embeddings_input_dim=40 + 3 * 16)
    with pytest.raises(SourceError, match="it takes 3 numbers about a picture, for which no"):
        about_picture(config, np.zeros((4, 40)))


def test_a_refiner_takes_the_last_columns() -> None:
    base, seen = carried(80, 40), list[Mapping[str, Any]]()

    def run(feeds: Mapping[str, Any]) -> Mapping[str, Any]:
        seen.append(feeds)
        return {"out_sample": feeds["sample"][:, :4]}

    alphas = np.linspace(0.99, 0.01, 100)
    unet_samples(
        run,
        unet("tiny-sdxl-refiner"),
        base.embeddings,
        base.pooled,
        alphas,
        "epsilon",
        (8, 8),
    )
    np.testing.assert_array_equal(
        seen[0]["encoder_hidden_states"], base.embeddings[[2, 0]][..., 32:]
    )
    assert seen[0]["time_ids"].shape == (2, 5)
