"""Sizes of latents, the checks of those a caller brings, and their way to the VAE decoder."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle
from runtimes.checks import is_whole
from runtimes.errors import BundleError, UsageError
from runtimes.manifest import Latents

MAX_PIXELS = 8192
"""The longest side accepted. Attention at this size is far beyond any machine; a longer side is
a slip of the keyboard."""

_LATENT_ROLES = {
    "unet": ("sample",),
    "unet_refiner": ("sample",),
    "vae_decoder": ("latent_sample",),
    "vae_encoder": ("latent_parameters", "latents"),
}
"""Component → roles of the port that has the latents' size."""


def check_side(name: str, pixels: object, factor: int, built: int | None) -> int:
    """Checks a picture's height or width.

    Args:
        name: "height" or "width".
        pixels: what was asked.
        factor: pixels per latent cell.
        built: pixels that the graphs were built for, or None where they take any.

    Raises:
        UsageError: not a positive multiple of the factor, too long, or not what was built.
    """
    if not is_whole(pixels):
        raise UsageError(f"{name} must be a whole number of pixels, not {pixels!r}.")
    side = int(pixels)
    if built is not None and side != built:
        raise UsageError(f"{name} {side} can't be made: this bundle was built for {name} {built}.")
    if not factor <= side <= MAX_PIXELS:
        raise UsageError(f"{name} must be from {factor} to {MAX_PIXELS} pixels, not {side}.")
    if side % factor:
        below = side // factor * factor
        raise UsageError(
            f"{name} {side} is not a multiple of {factor}, the VAE's factor; "
            f"nearest are {below} and {below + factor}."
        )
    return side


def built_side(bundle: Bundle, name: Literal["height", "width"]) -> int | None:
    """Height or width in pixels that a bundle's graphs were built for; None where they take any.

    A VAE decoder that was built for less than the U-Net works in tiles of its size.

    Raises:
        BundleError: the VAE decoder was built for more than the U-Net.
    """
    axis = 0 if name == "height" else 1
    unet, decoder = (built_cells(bundle, part)[axis] for part in ("unet", "vae_decoder"))
    if unet is not None and decoder is not None and decoder > unet:
        raise BundleError(
            f"{bundle.path}: the U-Net was built for a latent {name} of {unet}, the VAE decoder "
            f"for {decoder}. Compile both for the same size."
        )
    built = decoder if unet is None else unet
    return None if built is None else built * bundle.manifest.latents.vae_factor


def built_cells(bundle: Bundle, component: str) -> tuple[int | None, int | None]:
    """Height and width in latent cells that a component was built for; None where it takes any."""
    graph = bundle.graph(component)
    for port in (*graph.inputs, *graph.outputs):
        if port.role in _LATENT_ROLES[component] and len(port.shape) == 4:
            height, width = (size if isinstance(size, int) else None for size in port.shape[-2:])
            return height, width
    return None, None


def check_multiples(bundle: Bundle, height: int, width: int) -> None:
    """Refuses sizes that the U-Net can't take, which some halve again and again.

    Args:
        bundle: whose U-Net.
        height: of the pictures in pixels, a multiple of the VAE's factor.
        width: likewise.

    Raises:
        UsageError: names the side, and the nearest that can be made.
    """
    space = bundle.manifest.latents
    multiple = space.multiple * space.vae_factor
    for name, side in (("height", height), ("width", width)):
        if side % multiple:
            below = max(1, side // multiple) * multiple
            raise UsageError(
                f"{name} {side} is not a multiple of {multiple}, as this bundle's U-Net takes "
                f"them; nearest are {below} and {below + multiple}."
            )


def latent_shape(space: Latents, count: int, height: int, width: int) -> tuple[int, int, int, int]:
    """The shape [count, channels, height / factor, width / factor] of the latents of pictures."""
    return count, space.channels, height // space.vae_factor, width // space.vae_factor


def check_latents(latents: object, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Checks latents that a caller brings, and copies them.

    Args:
        latents: unit normal noise, before the sampler's own scaling.
        shape: what the settings ask for.

    Raises:
        UsageError: not an array of floats, of another shape, or not finite.
    """
    if not isinstance(latents, np.ndarray):
        raise UsageError(f"latents must be a NumPy array, not {type(latents).__name__}.")
    given: NDArray[np.generic] = latents  # pyright: ignore[reportUnknownVariableType]
    if not np.issubdtype(given.dtype, np.floating):
        raise UsageError(f"latents must be of a float type, not {given.dtype}.")
    if given.shape != shape:
        raise UsageError(f"latents have shape {given.shape}; the settings ask for {shape}.")
    copied = given.astype(np.float32)
    if not np.isfinite(copied).all():
        raise UsageError("latents hold NaN or infinite values.")
    return copied


def to_decoder(latents: NDArray[np.float32], space: Latents) -> NDArray[np.float32]:
    """Latents of unit variance, in the scale that the VAE decoder takes."""
    if space.latents_mean is None or space.latents_std is None:
        return latents / np.float32(space.scaling_factor)
    mean, std = _per_channel(space.latents_mean), _per_channel(space.latents_std)
    return latents * std / np.float32(space.scaling_factor) + mean


def from_encoder(latents: NDArray[np.float32], space: Latents) -> NDArray[np.float32]:
    """Latents as the VAE encoder gives them, brought to unit variance."""
    if space.latents_mean is None or space.latents_std is None:
        return np.float32(space.scaling_factor) * latents
    mean, std = _per_channel(space.latents_mean), _per_channel(space.latents_std)
    return (latents - mean) * np.float32(space.scaling_factor) / std


def _per_channel(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)
