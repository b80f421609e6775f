"""Where a strength enters the schedule, and how pictures are spread over prompts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from diffusers import HeunDiscreteScheduler, PNDMScheduler, StableDiffusionImg2ImgPipeline

from runtimes.errors import UsageError
from runtimes.span import first_level
from runtimes.tasks.from_picture import spread


@pytest.mark.parametrize(
    "made", [PNDMScheduler(skip_prk_steps=True), HeunDiscreteScheduler()], ids=["pndm", "heun"]
)
def test_entry_is_the_references(made: Any) -> None:
    pipe = cast("Any", SimpleNamespace(scheduler=made))
    for steps in (1, 3, 10, 50):
        made.set_timesteps(steps)
        for strength in np.linspace(0, 1, 37).tolist():
            timesteps, left = StableDiffusionImg2ImgPipeline.get_timesteps(
                pipe, steps, strength, "cpu"
            )
            if left < 1:
                with pytest.raises(UsageError, match="makes no step at all"):
                    first_level(steps, strength, made.order)
            else:
                skipped = len(made.timesteps) - len(timesteps)
                assert first_level(steps, strength, made.order) == skipped, (steps, strength)


def test_pictures_of_one_lie_side_by_side() -> None:
    pair = np.arange(2).reshape(2, 1, 1, 1)
    assert spread(pair, 6).ravel().tolist() == [0, 0, 0, 1, 1, 1]
    assert spread(pair[1:], 3).ravel().tolist() == [1, 1, 1]
