"""Guidance by text and picture, against its formula, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from runtimes.denoiser import Latents
from runtimes.errors import UsageError
from runtimes.guidance import Condition
from runtimes.guidance.image_guided import image_guided, settle_image_scale
from runtimes.options import GuidanceOptions
from tests.runtimes.guidance.networks import COND, RNG, UNCOND, X, network

PICTURE = RNG.standard_normal((2, 4, 3, 5), dtype=np.float32)
BOTH, IMAGE = (replace(each, concat=PICTURE) for each in (COND, UNCOND))
NEITHER = replace(UNCOND, concat=np.zeros_like(PICTURE))
BATCHES: list[int] = []


def seeing(x: Latents, timestep: float, condition: Condition) -> Latents:
    """The network of the tests, which sees a picture too."""
    BATCHES.append(len(x))
    assert condition.concat is not None
    return network(x + condition.concat, timestep, condition)


@pytest.mark.parametrize(
    ("halves", "batches"), [("together", [6]), ("apart", [2, 2, 2])], ids=["together", "apart"]
)
@pytest.mark.parametrize("share", [0.0, 0.7])
def test_three_branches_are_combined_as_the_paper_says(
    halves: Literal["together", "apart"], batches: list[int], share: float
) -> None:
    BATCHES.clear()
    guided = image_guided(seeing, BOTH, IMAGE, 7.5, 1.6, halves=halves, guidance_rescale=share)
    found = guided(X, 0.25)
    assert batches == BATCHES
    neither, image, both = (
        seeing(X, 0.25, each).astype(np.float64) for each in (NEITHER, IMAGE, BOTH)
    )
    expected = neither + 1.6 * (image - neither) + 7.5 * (both - image)
    factor = both.std((1, 2, 3), ddof=1) / expected.std((1, 2, 3), ddof=1)
    expected *= (share * factor + 1 - share)[:, None, None, None]
    # float32 on values up to 15.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert found.dtype == np.float32


def test_at_scale_1_the_branch_that_has_no_weight_is_not_computed() -> None:
    BATCHES.clear()
    found = image_guided(seeing, BOTH, IMAGE, 7.5, 1.0, halves="together")(X, 0.25)
    assert BATCHES == [4]
    image, both = (seeing(X, 0.25, each) for each in (IMAGE, BOTH))
    np.testing.assert_allclose(found, image + 7.5 * (both - image), rtol=0, atol=1e-5)


def test_the_scale_is_settled() -> None:
    def settled(task: str, *, embedded: bool = False, **options: Any) -> float | None:
        return settle_image_scale(
            task, GuidanceOptions(**options), embedded=embedded, perp_neg=False
        )

    assert settled("instruct-pix2pix") == 1.5
    assert settled("instruct-pix2pix", image_guidance_scale=1) == 1.0
    assert settled("instruct-pix2pix", embedded=True) is None
    assert settled("image-to-image") is None


@pytest.mark.parametrize(
    ("value", "changes", "message"),
    [
        (0.5, {}, "image_guidance_scale must be 1 or more, not 0.5; at 1 the text alone leads."),
        ("2", {}, "image_guidance_scale must be a finite number, not '2'."),
        (2, {"task": "inpainting"}, "keeps to its image, and this is inpainting; leave it out."),
        (2, {"embedded": True}, "and this bundle's U-Net guides itself; leave it out."),
        (None, {"perp_neg": True}, "perp_neg leads away from negative prompts in a way that"),
    ],
)
def test_what_has_no_sense_is_refused(value: Any, changes: dict[str, Any], message: str) -> None:
    options = GuidanceOptions(image_guidance_scale=value)
    how: dict[str, Any] = {"task": "instruct-pix2pix", "embedded": False, "perp_neg": False}
    with pytest.raises(UsageError) as e:
        settle_image_scale(options=options, **{**how, **changes})
    assert message in str(e.value)
