"""Options of guidance that have no sense, alone or together."""

from __future__ import annotations

from typing import Any

import pytest

from runtimes.errors import UsageError
from runtimes.guidance.check import check_guidance
from runtimes.options import GuidanceOptions

NAN = float("nan")


def test_options_that_are_not_given_have_no_effect() -> None:
    found = check_guidance(GuidanceOptions(), 1.0, embedded=True, negative=False)
    assert found == {
        "guidance_rescale": 0.0,
        "guidance_interval": (0.0, 1.0),
        "perp_neg": False,
        "negative_weight": 1.0,
    }


def test_options_are_taken() -> None:
    options = GuidanceOptions(
        guidance_rescale=0.7, guidance_interval=[0.1, 0.8], perp_neg=True, negative_weight=2
    )
    found = check_guidance(options, 7.5, embedded=False, negative=True)
    assert found == {
        "guidance_rescale": 0.7,
        "guidance_interval": (0.1, 0.8),
        "perp_neg": True,
        "negative_weight": 2.0,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance_rescale": 1.5}, "guidance_rescale must be from 0 (off) to 1, not 1.5."),
        ({"guidance_rescale": -0.1}, "guidance_rescale must be from 0 (off) to 1, not -0.1."),
        ({"guidance_rescale": NAN}, "guidance_rescale must be a finite number, not nan."),
        ({"guidance_interval": "0,1"}, "such as (0.1, 0.8), not '0,1'."),
        ({"guidance_interval": 0.5}, "such as (0.1, 0.8), not 0.5."),
        ({"guidance_interval": (0.1,)}, "such as (0.1, 0.8), not (0.1,)."),
        ({"guidance_interval": (0.8, 0.1)}, "such as (0.1, 0.8), not (0.8, 0.1)."),
        ({"guidance_interval": (0.5, 0.5)}, "such as (0.1, 0.8), not (0.5, 0.5)."),
        ({"guidance_interval": (-0.1, 0.5)}, "such as (0.1, 0.8), not (-0.1, 0.5)."),
        ({"guidance_interval": (0, NAN)}, "guidance_interval's ends must be a finite number"),
        ({"perp_neg": 0.5}, "perp_neg must be True or False, not 0.5."),
        ({"negative_weight": 1.0}, "negative_weight is an option of perp_neg, which is off"),
        ({"perp_neg": True, "negative_weight": -1}, "negative_weight must be 0 or more, not -1."),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_guidance(GuidanceOptions(**options), 7.5, embedded=False, negative=True)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [{"guidance_rescale": 0.5}, {"guidance_interval": (0.1, 0.8)}, {"perp_neg": True}],
    ids=["rescale", "interval", "perp-neg"],
)
def test_options_without_guidance_are_refused(options: dict[str, Any]) -> None:
    (name,) = options
    message = f"{name} needs guidance, which guidance_scale 1 turns off; give a guidance_scale abov"
    with pytest.raises(UsageError, match=message):
        check_guidance(GuidanceOptions(**options), 1.0, embedded=False, negative=True)
    message = f"{name} needs two calls of the U-Net .* guides itself in one"
    with pytest.raises(UsageError, match=message):
        check_guidance(GuidanceOptions(**options), 7.5, embedded=True, negative=True)


def test_perp_neg_without_a_negative_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="perp_neg needs a negative prompt to lead away from"):
        check_guidance(GuidanceOptions(perp_neg=True), 7.5, embedded=False, negative=False)
