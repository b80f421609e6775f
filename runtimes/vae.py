"""The two halves of the VAE on whole pictures, in tiles where they are large."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle
from runtimes.checks import is_whole
from runtimes.component import Component
from runtimes.errors import UsageError
from runtimes.latents import MAX_PIXELS, built_cells, to_decoder
from runtimes.manifest import Latents, Manifest
from runtimes.pictures import to_unit
from runtimes.settings import Settings
from runtimes.tiling import tiled

Floats = NDArray[np.float32]
Half = Literal["vae_decoder", "vae_encoder"]

AT_ONCE = 512 * 512
"""Pixels that a half of the VAE gets in one call, if that makes a picture: its activations are the
largest of all, and memory shall not grow with the number of pictures."""

TILE = 512
"""Pixels of a tile's side where none is asked for: large pictures take no more memory than those
that go through whole."""

LEAST_CELLS = 16
"""Of a tile's side. Smaller ones see too little of the picture: at 8 cells, tiles of the shapes
model take other colours than the whole picture has."""


def check_vae_tile(bundle: Bundle, value: object) -> int | None:
    """A tile's side in pixels, or None for the automatic one.

    Raises:
        UsageError: no multiple of the VAE's factor, too small or too large, or the VAE was built
            for one size.
    """
    if value is None:
        return None
    factor = bundle.manifest.latents.vae_factor
    least = LEAST_CELLS * factor
    if not is_whole(value) or not least <= (tile := int(value)) <= MAX_PIXELS:
        raise UsageError(
            f"vae_tile must be a whole number of pixels from {least} to {MAX_PIXELS}, not "
            f"{value!r}; leave it out for the automatic size."
        )
    if tile % factor:
        below = tile // factor * factor
        raise UsageError(
            f"vae_tile {tile} is not a multiple of {factor}, the VAE's factor; nearest are {below} "
            f"and {below + factor}."
        )
    for built in built_cells(bundle, "vae_decoder"):
        if built is not None and tile < built * factor:
            raise UsageError(
                f"vae_tile {tile} can't be used: this bundle's VAE was built for {built * factor} "
                "pixels, which is the side of its tiles; leave it out."
            )
    return tile


def tile_of(bundle: Bundle, half: Half, settings: Settings) -> tuple[int, int]:
    """Cells of a tile, down and across, for the pictures of a call; one tile may hold a picture.

    Where none is asked for, pictures of 512×512 and of the model's own size go through whole, as
    in diffusers; larger ones in tiles.
    """
    height, width = _free_tile(bundle.manifest, settings)
    built_height, built_width = built_cells(bundle, half)
    return built_height or height, built_width or width


def _free_tile(manifest: Manifest, settings: Settings) -> tuple[int, int]:
    factor, asked = manifest.latents.vae_factor, settings.vae_tile
    own = manifest.defaults.height * manifest.defaults.width
    if asked is None and settings.height * settings.width <= max(AT_ONCE, own):
        return settings.height // factor, settings.width // factor
    side = (TILE if asked is None else asked) // factor
    return side, side


def decode(decoder: Component, latents: Floats, space: Latents, tile: tuple[int, int]) -> Floats:
    """Latents to pictures.

    Args:
        decoder: the decoder.
        latents: of unit variance, [n, c, h, w].
        space: what the manifest says of them.
        tile: see `tile_of`.

    Returns:
        Pictures with values in [0, 1]: [n, H, W, 3].

    Raises:
        NotFiniteError, EngineError: as the component.
    """
    scaled = to_decoder(latents, space)

    def run(part: Floats) -> Floats:
        return decoder(latent_sample=part)

    cells = min(scaled.shape[2], tile[0]) * min(scaled.shape[3], tile[1])
    at_once = max(1, AT_ONCE // (cells * space.vae_factor**2), decoder.batch or 1)
    parts = [
        tiled(run, scaled[i : i + at_once], tile=tile, in_cell=1, out_cell=space.vae_factor)
        for i in range(0, len(scaled), at_once)
    ]
    return to_unit(np.concatenate(parts))


def encode(encoder: Component, pixels: Floats, space: Latents, tile: tuple[int, int]) -> Floats:
    """Pictures to what the encoder says of their latents, one picture after the other.

    Args:
        encoder: the encoder.
        pixels: [n, 3, H, W] in [-1, 1].
        space: what the manifest says of the latents.
        tile: see `tile_of`.

    Returns:
        The output that the encoder has: latents [n, c, h, w], not scaled, or the mean and the
        logarithm of the variance of each, [n, 2c, h, w].

    Raises:
        NotFiniteError, EngineError: as the component.
    """

    def run(part: Floats) -> Floats:
        return encoder(sample=part)

    parts = [
        tiled(run, picture[np.newaxis], tile=tile, in_cell=space.vae_factor, out_cell=1)
        for picture in pixels
    ]
    return np.concatenate(parts)
