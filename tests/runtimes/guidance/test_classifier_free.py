"""Classifier-free guidance, both halves in one call or in two."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from runtimes.errors import UsageError
from runtimes.guidance import Condition, classifier_free, guide
from tests.runtimes.guidance.networks import COND, UNCOND, Counted, X, network

HALVES: list[Literal["together", "apart"]] = ["together", "apart"]


@pytest.mark.parametrize(("halves", "batches"), [("together", [4]), ("apart", [2, 2])])
def test_guidance_extrapolates_from_the_negative_prompt(
    halves: Literal["together", "apart"], batches: list[int]
) -> None:
    predict = Counted()
    guided = classifier_free(predict, COND, UNCOND, 7.5, halves=halves)(X, 0.25)
    cond, uncond = network(X, 0.25, COND), network(X, 0.25, UNCOND)
    assert np.abs(cond - uncond).max() > 0.01
    np.testing.assert_array_equal(guided, uncond + 7.5 * (cond - uncond), strict=True)
    assert predict.batches == batches


@pytest.mark.parametrize("halves", HALVES)
@pytest.mark.parametrize("scale", [1.0, 0.0])
@pytest.mark.parametrize("uncond", [None, UNCOND], ids=["none", "given"])
def test_without_guidance_there_is_one_call(
    uncond: Condition | None, scale: float, halves: Literal["together", "apart"]
) -> None:
    predict = Counted()
    output = classifier_free(predict, COND, uncond, scale, halves=halves)(X, 0.25)
    np.testing.assert_array_equal(output, network(X, 0.25, COND))
    assert predict.batches == [2]


def test_guiding_changes_neither_output() -> None:
    cond, uncond = COND.context.copy(), UNCOND.context.copy()
    guide(uncond, cond, 3.0)
    np.testing.assert_array_equal(cond, COND.context)
    np.testing.assert_array_equal(uncond, UNCOND.context)


@pytest.mark.parametrize(
    ("uncond", "scale", "message"),
    [
        (
            None,
            7.5,
            "guidance_scale 7.5 needs a negative context of shape (2, 7, 6), given none; "
            "give one (an empty prompt's) or a guidance_scale of 1",
        ),
        (
            Condition(UNCOND.context[:1]),
            7.5,
            "guidance_scale 7.5 needs a negative context of shape (2, 7, 6), given one of shape "
            "(1, 7, 6); give one (an empty prompt's) or a guidance_scale of 1",
        ),
        (
            UNCOND,
            float("nan"),
            "guidance_scale must be a finite number, not nan.",
        ),
        (
            UNCOND,
            float("inf"),
            "guidance_scale must be a finite number, not inf.",
        ),
        (
            UNCOND,
            0.99,
            "guidance_scale must be 1 or more, not 0.99; 1 (or 0) turns guidance off.",
        ),
    ],
)
def test_guidance_that_cannot_be_is_refused(
    uncond: Condition | None, scale: float, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        classifier_free(network, COND, uncond, scale, halves="apart")
    assert str(raised.value) == message
