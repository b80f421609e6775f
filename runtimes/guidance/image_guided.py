"""Guidance by a text and by a picture, each with a scale of its own.

T. Brooks et al., "InstructPix2Pix: Learning to Follow Image Editing Instructions", 2023,
equation 3.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtimes.checks import check_number
from runtimes.denoiser import Latents
from runtimes.errors import UsageError
from runtimes.guidance.classifier_free import classifier_free
from runtimes.guidance.condition import Condition, Halves, Network, Predict, of_branches
from runtimes.guidance.rescale import rescale
from runtimes.options import GuidanceOptions

TASK = "instruct-pix2pix"

IMAGE_GUIDANCE_SCALE = 1.5
"""The paper's usual one, and diffusers' default."""


def image_guide(
    neither: Latents, image: Latents, both: Latents, scale: float, image_scale: float
) -> Latents:
    """Outputs guided to the picture, and from there to the text.

    Args:
        neither: the network's outputs without text and picture.
        image: with the picture alone.
        both: with both.
        scale: guidance_scale.
        image_scale: image_guidance_scale.
    """
    return neither + scale * (both - image) + image_scale * (image - neither)


def image_guided(
    predict: Predict,
    cond: Condition,
    uncond: Condition,
    scale: float,
    image_scale: float,
    *,
    halves: Halves,
    guidance_rescale: float = 0.0,
) -> Network:
    """A network guided by three branches; by two where the picture's scale is 1.

    At 1 the branch without the picture has no weight: what is left is `classifier_free`.

    Args: as of it; `uncond` sees the picture too, and zeros in its place are made here.
    """
    if image_scale == 1:
        return classifier_free(
            predict, cond, uncond, scale, halves=halves, guidance_rescale=guidance_rescale
        )
    assert uncond.concat is not None
    blank = replace(uncond, concat=np.zeros_like(uncond.concat))

    def combine(neither: Latents, image: Latents, both: Latents) -> Latents:
        guided = image_guide(neither, image, both, scale, image_scale)
        return rescale(guided, both, guidance_rescale)

    return of_branches(predict, [blank, uncond, cond], combine, halves=halves)


def settle_image_scale(
    task: str, options: GuidanceOptions, *, embedded: bool, perp_neg: bool
) -> float | None:
    """How closely a picture is kept to; None for tasks and networks that aren't guided so.

    Args:
        task: that was picked.
        options: of the call.
        embedded: whether the U-Net is told guidance_scale, and guides itself.
        perp_neg: whether negative prompts are to lead in a way of their own.

    Raises:
        UsageError: no number from 1 on, or it has nothing to work on.
    """
    value = options.get("image_guidance_scale")
    if value is not None and (task != TASK or embedded):
        why = f"this is {task}" if task != TASK else "this bundle's U-Net guides itself"
        raise UsageError(
            f"image_guidance_scale {value} says how closely {TASK} keeps to its image, and {why}; "
            "leave it out."
        )
    if task != TASK or embedded:
        return None
    if perp_neg:
        raise UsageError(
            f"perp_neg leads away from negative prompts in a way that {TASK}, which is led by its "
            "image too, has no place for; leave it out."
        )
    scale = IMAGE_GUIDANCE_SCALE if value is None else check_number("image_guidance_scale", value)
    if scale < 1:
        raise UsageError(
            f"image_guidance_scale must be 1 or more, not {scale:g}; at 1 the text alone leads."
        )
    return scale
