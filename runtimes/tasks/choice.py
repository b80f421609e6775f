"""Which task a call's inputs ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from runtimes.errors import UsageError
from runtimes.inputs import Inputs

ASKED_BY: Mapping[frozenset[str], tuple[str, ...]] = {
    frozenset(): ("text-to-image", "unconditional"),
    frozenset({"image"}): (
        "image-to-image",
        "instruct-pix2pix",
        "upscaling",
        "latent-upscaling",
        "super-resolution",
    ),
    frozenset({"image", "mask_image"}): ("inpainting",),
    frozenset({"image", "depth_map"}): ("depth-to-image",),
    frozenset({"image_latents"}): ("image-to-image", "latent-upscaling"),
}
"""Pictures that are given → tasks they may mean; the first that the bundle is made for is taken."""

PICTURES = ("image", "mask_image", "depth_map", "image_latents")


def pick_task(inputs: Inputs, tasks: Collection[str]) -> str:
    """The task that a call's inputs ask for.

    Args:
        inputs: of the call.
        tasks: what the bundle is made for.

    Returns:
        One of those tasks; where none of them takes such inputs, the task that would.

    Raises:
        UsageError: no task takes such inputs together.
    """
    given = frozenset(name for name in PICTURES if getattr(inputs, name) is not None)
    if given not in ASKED_BY:
        ways = "; ".join(" and ".join(sorted(names)) for names in ASKED_BY if names)
        raise UsageError(
            f"{' and '.join(sorted(given))} can't be given like this; what can is {ways}."
        )
    meant = ASKED_BY[given]
    return next((task for task in meant if task in tasks), meant[0])


def inputs_of(task: str) -> str:
    """The pictures that a task takes, as an error names them."""
    ways = [
        " and ".join(sorted(names)) or "no pictures"
        for names, meant in ASKED_BY.items()
        if task in meant
    ]
    return " or ".join(ways) or "inputs of its own"
