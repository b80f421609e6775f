"""The texts that components are tried on."""

from __future__ import annotations

PROMPTS = (
    "a large red circle above a small blue square on a white background",
    "a photograph of an astronaut riding a horse on mars, highly detailed, 4k",
    "",
    "an oil painting of a lighthouse in a storm, waves, dark clouds, by a flemish master " * 8,
)
"""Plain, usual, empty, and longer than 77 tokens."""

NOISE_LEVEL = 20
"""Class of an upscaler's U-Net; diffusers' own default."""

PICTURE_NUMBERS = {
    6: ((1024, 1024, 0, 0, 1024, 1024), (1024, 1024, 0, 0, 1024, 1024)),
    5: ((1024, 1024, 0, 0, 2.5), (1024, 1024, 0, 0, 6.0)),
}
"""What SDXL's U-Nets are told of a picture, by how many numbers they take: for the unconditional
half and for the prompt's. Original size, crop, then target size or aesthetic score; diffusers' own
defaults."""
