"""How many pictures are made, and of which size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from runtimes.bundle import Bundle
from runtimes.checks import MAX_IMAGES, check_count
from runtimes.errors import UsageError
from runtimes.image_latents import read_image_latents
from runtimes.latents import built_side, check_side
from runtimes.options import Options
from runtimes.picture_input import Read, size_of
from runtimes.preprocess import floored
from runtimes.read_inputs import ReadInputs
from runtimes.tasks import latent_upscaling, super_resolution, upscaling
from runtimes.vae import check_vae_tile

SIDES = ("height", "width")


class OutputFields(TypedDict):
    """The fields of `Settings` that `settle_output` settles."""

    height: int
    width: int
    num_images_per_prompt: int
    vae_tile: int | None


def settle_output(bundle: Bundle, task: str, inputs: ReadInputs, options: Options) -> OutputFields:
    """Checks what is asked of the pictures that are made.

    Args:
        bundle: whose graphs may have been built for one size.
        task: that was picked; the bundle can do it.
        inputs: of the call.
        options: of the call.

    Raises:
        UsageError: a number is out of range, or a size isn't the task's or the bundle's.
    """
    # What is painted of a cropped picture has the model's own size, not the picture's.
    sized_by = inputs.image if options.get("padding_mask_crop") is None else ()
    own, count = _own_size(bundle, task, inputs), options.get("num_images_per_prompt")
    return {
        "height": _side(bundle, "height", options.get("height"), sized_by, own),
        "width": _side(bundle, "width", options.get("width"), sized_by, own),
        "num_images_per_prompt": check_count(
            "num_images_per_prompt", 1 if count is None else count, MAX_IMAGES
        ),
        "vae_tile": check_vae_tile(bundle, options.get("vae_tile")),
    }


def _own_size(bundle: Bundle, task: str, inputs: ReadInputs) -> tuple[int, int] | None:
    """Height and width that an upscaling gives, or latents have; None for others."""
    if task == "upscaling":
        return upscaling.upscaled_size(inputs.image[0], bundle.manifest.latents.vae_factor)
    if task == "super-resolution":
        return super_resolution.upscaled_size(bundle, inputs.image[0])
    if task == "latent-upscaling":
        return latent_upscaling.upscaled_size(bundle, inputs)
    if inputs.given.image_latents is not None:
        space = bundle.manifest.latents
        found = read_image_latents(inputs.given.image_latents, space.channels)
        return found.shape[2] * space.vae_factor, found.shape[3] * space.vae_factor
    return None


def _side(
    bundle: Bundle,
    name: Literal["height", "width"],
    given: int | None,
    pictures: Sequence[Read],
    own: tuple[int, int] | None,
) -> int:
    """What was asked, or the graphs were built for, or the picture's or the model's own."""
    built, factor = built_side(bundle, name), bundle.manifest.latents.vae_factor
    axis = SIDES.index(name)
    if given is not None:
        side = given
    elif built is not None:
        side = built
    elif own is not None:
        side = own[axis]
    elif pictures:
        side = _whole_cells(pictures[0], axis, factor)
    else:
        side = getattr(bundle.manifest.defaults, name)
    return check_side(name, side, factor, built)


def _whole_cells(picture: Read, axis: int, factor: int) -> int:
    """A picture's height (0) or width (1), down to whole latent cells."""
    size = size_of(picture)
    if size[axis] < factor:
        raise UsageError(
            f"an image of {size[1]}×{size[0]} pixels is smaller than a latent cell of {factor}; "
            "give a larger one, or height and width to which it is resized."
        )
    return floored(size[axis], factor)
