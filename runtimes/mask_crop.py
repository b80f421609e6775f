"""Inpainting at full resolution: the part of a picture around its mask, and the way back.

Equal to diffusers' `VaeImageProcessor` pixel by pixel (`get_crop_region`, resize mode "fill",
`apply_overlay`).
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image, ImageOps

from runtimes.errors import UsageError
from runtimes.preprocess import LANCZOS


class Box(NamedTuple):
    """A rectangle of pixels, right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int


def crop_box(mask: Image.Image, width: int, height: int, padding: int) -> Box:
    """The rectangle around what a mask shows, widened to the shape of what is painted.

    Args:
        mask: every pixel that isn't black counts.
        width: of the picture that the U-Net paints.
        height: likewise.
        padding: pixels on all four sides.

    Raises:
        UsageError: the mask is black.
    """
    around = mask.convert("L").getbbox()
    if around is None:
        raise UsageError("mask_image is black: it shows nothing to paint anew.")
    left, right = max(around[0] - padding, 0), min(around[2] + padding, mask.width)
    top, bottom = max(around[1] - padding, 0), min(around[3] + padding, mask.height)
    shape = width / height
    if (right - left) / (bottom - top) > shape:
        top, bottom = _widened(top, bottom, (right - left) / shape, mask.height)
    else:
        left, right = _widened(left, right, (bottom - top) * shape, mask.width)
    return Box(left, top, right, bottom)


def _widened(start: int, end: int, wanted: float, limit: int) -> tuple[int, int]:
    """A range brought to a length by as much on both sides, then moved within 0 and the limit."""
    more = int(wanted - (end - start))
    start -= more // 2
    end += more - more // 2
    if end >= limit:
        start, end = start - (end - limit), limit
    if start < 0:
        start, end = 0, end - start
    return start, min(end, limit)


def filled(picture: Image.Image, box: Box, width: int, height: int) -> Image.Image:
    """What a box holds, resized into a frame; where its shape leaves room, its edges go on.

    Args:
        picture: or a mask; a mask comes back as RGB too.
        box: of the picture.
        width: of the frame.
        height: of the frame.
    """
    part = picture.crop(box)
    # Whole numbers for the sides, but true division for which of them is cut: as the reference.
    wider = width / height < part.width / part.height
    inner_width = width if wider else part.width * height // part.height
    inner_height = part.height * width // part.width if wider else height
    inner = part.resize((inner_width, inner_height), LANCZOS)
    frame = Image.new("RGB", (width, height))
    left, top = width // 2 - inner_width // 2, height // 2 - inner_height // 2
    frame.paste(inner, (left, top))
    if wider and top > 0:
        for y, edge in ((0, 0), (top + inner_height, inner_height)):
            frame.paste(inner.resize((width, top), box=(0, edge, width, edge)), (0, y))
    elif not wider and left > 0:
        for x, edge in ((0, 0), (left + inner_width, inner_width)):
            frame.paste(inner.resize((left, height), box=(edge, 0, edge, height)), (x, 0))
    return frame


def pasted_back(
    painted: Image.Image, original: Image.Image, mask: Image.Image, box: Box
) -> Image.Image:
    """The original with what was painted in the box, shining through where the mask is white.

    Args:
        painted: of mode RGB, of any size.
        original: of mode RGB.
        mask: of the original's size; grey is a mixture.
        box: where `painted` belongs.
    """
    width, height = box.right - box.left, box.bottom - box.top
    back = Image.new("RGB", original.size)
    back.paste(_cropped_to(painted, width, height), (box.left, box.top))
    kept = Image.new("RGBa", original.size)
    kept.paste(original.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    layers = back.convert("RGBA")
    layers.alpha_composite(kept.convert("RGBA"))
    return layers.convert("RGB")


def _cropped_to(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Resized until it covers a frame, what juts out cut off on both sides."""
    wider = width / height > picture.width / picture.height
    outer_width = width if wider else picture.width * height // picture.height
    outer_height = picture.height * width // picture.width if wider else height
    outer = picture.resize((outer_width, outer_height), LANCZOS)
    frame = Image.new("RGB", (width, height))
    frame.paste(outer, (width // 2 - outer_width // 2, height // 2 - outer_height // 2))
    return frame
