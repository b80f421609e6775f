"""Heights and widths of pictures that a network can be fixed to."""

from __future__ import annotations

from typing import cast

from runtimes.bundle import Bundle, read_json
from runtimes.errors import UsageError
from runtimes.tokenizer_files import CONTEXT_LENGTH


def picture_axes(bundle: Bundle, height: int, width: int) -> dict[str, int]:
    """Sizes by symbolic axis, for all but the batch.

    Args:
        bundle: the portable bundle.
        height: pixels.
        width: likewise.
    """
    factor = bundle.manifest.latents.vae_factor
    return {
        "image_height": height,
        "image_width": width,
        "height": height // factor,
        "width": width // factor,
        "sequence": CONTEXT_LENGTH,
    }


def check_picture_size(bundle: Bundle, height: int, width: int) -> None:
    """Refuses a size that has no latents.

    Args:
        bundle: the portable bundle.
        height: pixels.
        width: likewise.

    Raises:
        UsageError: one is not a positive multiple of the VAE's factor; names the nearest.
    """
    space = bundle.manifest.latents
    whose = "the VAE's factor" if space.multiple == 1 else "as the U-Net takes them"
    _check_multiple(height, width, space.vae_factor * space.multiple, whose)


def check_halves(bundle: Bundle, name: str, height: int, width: int) -> None:
    """Refuses a size that a U-Net can't halve at each of its levels without a rest.

    Torch widens again to the odd size that was; where shapes are fixed to whole factors no operator
    does.

    Args:
        bundle: the portable bundle.
        name: a component of it; one that is no U-Net takes every size.
        height: pixels.
        width: likewise.

    Raises:
        UsageError: it leaves a rest; names the nearest that don't.
    """
    recipe = bundle.manifest.components[name].recipe
    if recipe is None or recipe.component != "unet":
        return
    channels = read_json(bundle.path / recipe.config)["block_out_channels"]
    assert isinstance(channels, list), "such a config was exported"
    factor = bundle.manifest.latents.vae_factor * 2 ** (len(cast("list[int]", channels)) - 1)
    _check_multiple(height, width, factor, f"which the {name} halves without a rest")


def _check_multiple(height: int, width: int, factor: int, whose: str) -> None:
    for name, size in (("height", height), ("width", width)):
        if size <= 0 or size % factor:
            below = max(size // factor, 1) * factor
            raise UsageError(
                f"{name} {size} is not a positive multiple of {factor}, {whose}; nearest "
                f"are {below} and {below + factor}."
            )
