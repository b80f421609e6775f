"""A part of a picture painted anew, the rest kept.

A U-Net of nine channels was trained for it: it sees the mask, and the picture without what is
masked. With one of four the rest is put back after every step, with the noise of the next level:
O. Avrahami et al., "Blended Latent Diffusion", 2023, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from runtimes.bundle import Bundle
from runtimes.errors import BundleError, UsageError
from runtimes.mask_crop import crop_box, filled, pasted_back
from runtimes.picture_input import Read, size_of
from runtimes.pictures import to_pillow
from runtimes.preprocess import to_cells, to_mask
from runtimes.read_inputs import ReadInputs
from runtimes.samplers import Latents
from runtimes.settings import Settings
from runtimes.tasks.from_picture import (
    check_number,
    check_pictures,
    noised,
    samples,
    spread,
    step_end,
)
from runtimes.tasks.start_noise import check_noise, start_noise
from runtimes.tasks.task import Call, Start
from runtimes.vae_codec import encode

Floats = NDArray[np.float32]


class Inpainting:
    """As diffusers' inpainting pipelines of Stable Diffusion and SDXL: nine channels or four.

    Two things differ. Where the caller brings latents and strength is below 1, they are the noise
    that is added to the picture; there the picture is then forgotten. And where sampling stops at
    denoising_end, what is kept of the picture has the noise of that level, as what is painted has;
    there it is clean, and the model that goes on takes it for something else.
    """

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`: masks of the pictures' sizes, with something to paint."""
        check_noise(bundle, settings, inputs)
        _sees_mask(bundle)
        given = _given(settings, inputs)
        check_pictures(bundle, settings, given.pictures)
        if not all(cells.any() for cells in to_cells(given.mask, _factor(bundle))):
            less = ", or blur it less" if settings.mask_blur else ""
            raise UsageError(
                f"mask_image leaves no latent cell ({_factor(bundle)} pixels square) to paint "
                f"anew; paint white, or more widely, what shall change{less}."
            )

    def start(self, call: Call) -> Start:
        """See `Task.start`. Draws as the reference: picture, noise, masked picture."""
        settings = call.settings
        given = _given(settings, call.inputs)
        pixels = samples(given.pictures, settings)
        cells = spread(to_cells(given.mask, _factor(call.bundle)), settings.count)
        known_pixels = pixels * (given.mask < np.float32(0.5))
        sees_mask, anew = _sees_mask(call.bundle), settings.strength == 1
        clean = None if sees_mask and anew else spread(encode(call, pixels), settings.count)
        noise = start_noise(call)
        if anew or clean is None:
            x = noise * np.float32(call.sampler.init_noise_sigma(call.levels))
        else:
            x = noised(clean, noise, call.levels[call.begin])
        if sees_mask:
            known = spread(encode(call, known_pixels), settings.count)
            concat = np.concatenate([cells, known], axis=1)
            return Start(x, concat=concat, finish=given.finish)
        # The reference encodes the masked picture here too, and uses it no more; but samplers that
        # draw noise of their own go on after that draw.
        call.generator.randn((len(pixels), *x.shape[1:]))
        assert clean is not None
        return Start(x, hold=_hold(call, clean, noise, cells), finish=given.finish)


@dataclass(frozen=True)
class _Given:
    """What is painted, blurred and cropped as asked.

    Attributes:
        pictures: the pictures, or the one picture's part around the mask.
        mask: float32 [k or 1, 1, height, width], 1 where a pixel is painted anew.
        finish: puts the part back into the picture.
    """

    pictures: tuple[Read, ...]
    mask: Floats
    finish: Callable[[Floats], Floats] | None = None


def _given(settings: Settings, inputs: ReadInputs) -> _Given:
    pictures, masks = inputs.image, inputs.mask_image
    check_number("mask_image", len(masks), len(pictures), "images")
    for picture in pictures:
        for mask in masks:
            _check_size(picture, mask)
    masks = tuple(_blurred(mask, settings.mask_blur) for mask in masks)
    if settings.padding_mask_crop is not None:
        return _cropped(settings, settings.padding_mask_crop, pictures, masks)
    return _Given(pictures, _pixel_masks(masks, settings))


def _cropped(
    settings: Settings, padding: int, pictures: tuple[Read, ...], masks: tuple[Image.Image, ...]
) -> _Given:
    picture, mask = pictures[0], masks[0]
    if len(pictures) > 1 or not isinstance(picture, Image.Image):
        found = f"{len(pictures)} images" if len(pictures) > 1 else "an array of floats"
        raise UsageError(
            f"padding_mask_crop takes one image, Pillow's or of uint8, and was given {found}."
        )
    width, height = settings.width, settings.height
    box = crop_box(mask, width, height, padding)

    def finish(unit: Floats) -> Floats:
        whole = [pasted_back(part, picture, mask, box) for part in to_pillow(unit)]
        return np.stack([np.asarray(each) for each in whole]).astype(np.float32) / np.float32(255)

    part = filled(picture, box, width, height)
    masked = filled(mask, box, width, height)
    return _Given((part,), _pixel_masks((masked,), settings), finish)


def _pixel_masks(masks: tuple[Image.Image, ...], settings: Settings) -> Floats:
    return np.stack([to_mask(mask, settings.height, settings.width) for mask in masks])


def _blurred(mask: Image.Image, radius: float) -> Image.Image:
    return mask.convert("L").filter(ImageFilter.GaussianBlur(radius)) if radius else mask


def _check_size(picture: Read, mask: Image.Image) -> None:
    height, width = size_of(picture)
    if (mask.height, mask.width) != (height, width):
        raise UsageError(
            f"mask_image is {mask.width}×{mask.height} pixels, its image {width}×{height}; both "
            "must have one size."
        )


def _factor(bundle: Bundle) -> int:
    return bundle.manifest.latents.vae_factor


def _sees_mask(bundle: Bundle) -> bool:
    """Whether the U-Net takes mask and masked picture beside the latents."""
    ports = {port.role: port for port in bundle.graph("unet").inputs}
    channels, plain = ports["sample"].shape[1], bundle.manifest.latents.channels
    # A graph of Optimum's may leave the channels open; such bundles have plain U-Nets.
    if isinstance(channels, str) or channels == plain:
        return False
    if channels == 2 * plain + 1:
        return True
    raise BundleError(
        f"{bundle.path}: the U-Net takes {channels} channels; inpainting takes {plain} or "
        f"{2 * plain + 1}."
    )


def _hold(
    call: Call, clean: Floats, noise: Floats, cells: Floats
) -> Callable[[Latents, int], Latents]:
    """Puts the picture back where the mask is black, as noisy as the step's end."""
    last = len(call.levels) - 2

    def hold(x: Latents, index: int) -> Latents:
        known = clean if index == last else noised(clean, noise, step_end(call, index))
        return (1 - cells) * known + cells * x

    return hold
