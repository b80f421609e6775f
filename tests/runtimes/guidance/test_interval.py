"""Which calls are guided, and that the others cost half."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from diffusers.guiders import ClassifierFreeGuidance

from runtimes.guidance import Branches, guided_network
from runtimes.guidance.interval import WHOLE, guided_calls, within
from runtimes.settings import Settings
from tests.runtimes.guidance.networks import COND, EMPTY, UNCOND, Counted, X, network


def settings(**changes: object) -> Settings:
    given: dict[str, Any] = {
        "prompt": ("a",),
        "negative_prompt": ("b",),
        "num_inference_steps": 4,
        "guidance_scale": 7.5,
        "seed": 0,
        "sampler": "ddim",
        "height": 8,
        "width": 8,
        "num_images_per_prompt": 1,
        **changes,
    }
    return Settings(**given)


@pytest.mark.parametrize("total", [1, 7, 10, 20, 50])
@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.1, 0.8), (0.29, 0.57), (0.5, 1.0)])
def test_guided_calls_are_those_of_diffusers(interval: tuple[float, float], total: int) -> None:
    guider = ClassifierFreeGuidance(start=interval[0], stop=interval[1])
    expected: list[bool] = []
    for step in range(total):
        guider.set_state(step=step, num_inference_steps=total, timestep=None)  # pyright: ignore
        expected.append(guider._is_cfg_enabled())  # pyright: ignore[reportPrivateUsage]
    found = guided_calls(interval, total)
    assert [step in found for step in range(total)] == expected


def test_calls_outside_are_of_the_prompts_alone() -> None:
    predict = Counted()
    asked = settings(guidance_interval=(0.25, 0.75))
    guided = guided_network(predict, Branches(COND, UNCOND), asked, calls=4, halves="together")
    # The timesteps are the same throughout: calls are told apart by their number.
    outputs = [guided(X, 0.25) for _ in range(4)]
    assert predict.batches == [2, 4, 4, 2]
    alone = network(X, 0.25, COND)
    np.testing.assert_array_equal(outputs[0], alone)
    np.testing.assert_array_equal(outputs[3], alone)
    assert np.abs(outputs[1] - alone).max() > 0.1


def test_whole_interval_is_the_network_itself() -> None:
    def guided(x: object, timestep: object) -> np.ndarray:
        raise AssertionError

    assert within(WHOLE, 4, guided, guided) is guided


def test_perp_neg_has_an_interval_too() -> None:
    predict = Counted()
    asked = settings(guidance_interval=(0.5, 1.0), perp_neg=True)
    guided = guided_network(predict, Branches(COND, UNCOND, EMPTY), asked, calls=2, halves="apart")
    for _ in range(2):
        guided(X, 0.25)
    assert predict.batches == [2, 2, 2, 2]
