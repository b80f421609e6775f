"""Which levels of a schedule are visited, and where one model hands over to another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
from PIL import Image

from runtimes.bundle import open_bundle
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.pipeline import Pipeline
from runtimes.plan import make_plan
from runtimes.samplers.choice import ScheduleChoice
from runtimes.settle import settle
from runtimes.span import handover
from tests.runtimes.fakes import SCHEDULER

Write = Callable[..., Path]

LATENTS = np.ones((1, 4, 4, 3), np.float32)
PHOTO = Image.new("RGB", (24, 32))


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        ("ddim", "DDIMScheduler"),
        ("euler", "EulerDiscreteScheduler"),
        ("euler-a", "EulerAncestralDiscreteScheduler"),
        ("dpmpp-2m", "DPMSolverMultistepScheduler"),
        ("unipc", "UniPCMultistepScheduler"),
        ("pndm", "PNDMScheduler"),
        ("lcm", "LCMScheduler"),
        ("heun", "HeunDiscreteScheduler"),
    ],
)
def test_hand_over_is_where_the_reference_has_it(
    fake_bundle: Write, sampler: str, scheduler: str
) -> None:
    """Both sides, at shares that lie between timesteps and on them."""
    bundle = open_bundle(fake_bundle(sdxl="base"))
    made: Any = getattr(diffusers, scheduler).from_config(dict(SCHEDULER))
    for steps in (4, 25, 40):
        made.set_timesteps(steps)
        plan = make_plan(bundle, sampler, steps, ScheduleChoice())
        for share in (0.1, 0.3, 0.5, 0.799, 0.8, 0.95):
            # As the reference's pipelines cut them: what is kept, and what is left.
            cutoff = round(1000 - share * 1000)
            kept = len([t for t in made.timesteps if t >= cutoff])
            left = int((made.timesteps < cutoff).sum())
            found = handover(plan, share)
            if made.order == 1:
                assert found == kept == len(made.timesteps) - left
            else:
                # There a step may be cut in its middle on one side; here on neither.
                assert found % 2 == 0
                assert found in (kept, kept - 1)


def test_two_halves_visit_every_level_once(fake_bundle: Write) -> None:
    bundle = fake_bundle(unet_channels=4, tasks=("text-to-image", "image-to-image"))
    options: dict[str, Any] = {"num_inference_steps": 10, "sampler": "euler", "seed": 1}
    seen: list[float] = []
    with Pipeline.open(bundle) as pipe:

        def keep(step: Any) -> None:
            seen.append(step.timestep)

        whole = pipe("x", callback=keep, **options)
        expected, seen = seen, []
        first = pipe("x", denoising_end=0.6, output_type="latent", callback=keep, **options)
        count = len(seen)
        second = pipe(
            "x", denoising_start=0.6, image_latents=first.latents, callback=keep, **options
        )
    assert 0 < count < 10
    assert seen == expected
    np.testing.assert_array_equal(second.latents, whole.latents)


LEFT_OVER: dict[str, Any] = {"image_latents": LATENTS}
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"denoising_end": 0}, {}, "denoising_end must lie between 0 and 1, not 0"),
    ({"denoising_end": 1.0}, {}, "denoising_end must lie between 0 and 1, not 1"),
    ({"denoising_start": 1.5}, LEFT_OVER, "denoising_start must lie between 0 and 1, not 1.5"),
    ({"denoising_end": "0.5"}, {}, "denoising_end must be a finite number, not '0.5'"),
    (
        {"denoising_start": 0.8, "denoising_end": 0.8},
        LEFT_OVER,
        "denoising_start 0.8 must lie below denoising_end 0.8.",
    ),
    (
        {"denoising_start": 0.5, "strength": 0.5},
        LEFT_OVER,
        "denoising_start 0.5 and strength 0.5 both say where sampling begins; leave one out.",
    ),
    ({"denoising_start": 0.5}, {}, "give image_latents, and no picture."),
    ({"denoising_start": 0.5}, {"image": PHOTO}, "give image_latents, and no picture."),
    ({"denoising_end": 0.1}, {}, "denoising_end 0.1 of 4 steps leave none; give more steps."),
    (
        {"denoising_end": 0.3, "strength": 0.3},
        LEFT_OVER,
        "strength 0.3 and denoising_end 0.3 of 4 steps leave none; give more steps.",
    ),
    (
        {"denoising_start": 0.9, "sampler": "euler", "spacing": "trailing"},
        LEFT_OVER,
        "denoising_start 0.9 of 4 steps leave none; give more steps.",
    ),
]


@pytest.mark.parametrize(("options", "inputs", "message"), REFUSED)
def test_what_leaves_no_step_or_conflicts_is_refused(
    fake_bundle: Write, options: dict[str, Any], inputs: dict[str, Any], message: str
) -> None:
    bundle = fake_bundle(unet_channels=4, tasks=("text-to-image", "image-to-image"))
    with pytest.raises(UsageError) as e:
        settle(open_bundle(bundle), "x", inputs=Inputs(**inputs), **options)
    assert message in str(e.value)
