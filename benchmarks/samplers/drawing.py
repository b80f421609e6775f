"""The shapes model's pictures by a sampler at a number of steps; how right and near they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.shapes.generator import PICTURE_SIZE, SceneClass
from benchmarks.shapes.score import Prompt, score_pictures
from runtimes.errors import UsageError, unknown_name
from runtimes.latents import latent_shape
from runtimes.noise import Generator
from runtimes.pictures import to_uint8
from runtimes.pipeline import Pipeline
from runtimes.samplers import options_of, sampler_names
from runtimes.settle import settle

Floats = NDArray[np.float32]
Asked = Mapping[SceneClass, tuple[Prompt, ...]]

_KARRAS = "+karras"
_MOST_DB = 120.0
"""Of pictures that are equal."""


@dataclass(frozen=True)
class Way:
    """A sampler with the rule of its noise levels.

    Attributes:
        sampler: its name.
        karras: whether Karras' levels are used; else those of the bundle's scheduler config.
    """

    sampler: str
    karras: bool = False

    @classmethod
    def parse(cls, name: str) -> Self:
        """Of a name such as "euler" or "euler+karras".

        Raises:
            UsageError: no such sampler, or it has no Karras levels.
        """
        sampler, karras = name.removesuffix(_KARRAS), name.endswith(_KARRAS)
        if sampler not in sampler_names():
            raise unknown_name("sampler", sampler, sampler_names())
        if karras and not has_karras(sampler):
            raise UsageError(
                f"sampler {sampler!r} has no Karras sigmas; give it without {_KARRAS}."
            )
        return cls(sampler, karras)

    @property
    def asked(self) -> dict[str, Any]:
        """As arguments of the pipeline."""
        return {"sampler": self.sampler, "schedule": "karras" if self.karras else None}

    def __str__(self) -> str:
        return f"{self.sampler}{_KARRAS if self.karras else ''}"


@dataclass(frozen=True)
class Drawing:
    """How pictures are drawn, whichever way.

    Attributes:
        guidance_scale: classifier-free guidance.
        batch: pictures drawn at once.
    """

    guidance_scale: float = 2.0
    batch: int = 25


def has_karras(sampler: str) -> bool:
    """Whether a sampler takes Karras' levels."""
    return "use_karras_sigmas" in (options_of(sampler) or {})


def refusal(pipe: Pipeline, way: Way, steps: int) -> str | None:
    """Why a sampler doesn't run with the bundle at a number of steps; None where it does."""
    try:
        settle(
            pipe.bundle,
            "x",
            num_inference_steps=steps,
            **way.asked,
        )
    except UsageError as e:
        return str(e)
    return None


def draw(pipe: Pipeline, asked: Sequence[Prompt], way: Way, steps: int, drawing: Drawing) -> Floats:
    """Pictures of prompts, each from the noise of its own seed.

    Returns:
        float32 [prompts, height, width, 3], in [0, 1].
    """
    space = pipe.bundle.manifest.latents
    shape = latent_shape(space, 1, PICTURE_SIZE, PICTURE_SIZE)
    parts: list[Floats] = []
    for first in range(0, len(asked), drawing.batch):
        part = asked[first : first + drawing.batch]
        images = pipe(
            [prompt.text for prompt in part],
            num_inference_steps=steps,
            guidance_scale=drawing.guidance_scale,
            **way.asked,
            # Of a sampler with noise of its own, which all pictures of a call share.
            seed=part[0].seed,
            latents=np.concatenate([Generator(prompt.seed).randn(shape) for prompt in part]),
            output_type="np",
        ).images
        assert isinstance(images, np.ndarray)
        parts.append(images)
    return np.concatenate(parts)


def is_deterministic(pipe: Pipeline, way: Way, steps: int) -> bool:
    """Whether a picture depends on the noise that it starts from alone, and not on the seed."""
    space = pipe.bundle.manifest.latents
    latents = Generator(0).randn(latent_shape(space, 1, PICTURE_SIZE, PICTURE_SIZE))
    first, second = (
        pipe(
            "",
            num_inference_steps=steps,
            guidance_scale=1,
            **way.asked,
            seed=seed,
            latents=latents,
            output_type="latent",
        ).latents
        for seed in (1, 2)
    )
    return np.array_equal(first, second)


def judged(asked: Asked, pictures: Floats) -> dict[SceneClass, tuple[bool, ...]]:
    """Which pictures are right in every attribute, by class; they come in the classes' order."""
    right: dict[SceneClass, tuple[bool, ...]] = {}
    shown, start = to_uint8(pictures), 0
    for kind, questions in asked.items():
        right[kind] = score_pictures(questions, shown[start : start + len(questions)]).right()
        start += len(questions)
    return right


def psnr_db(pictures: Floats, reference: Floats) -> tuple[float, ...]:
    """Peak signal-to-noise ratio of each picture, of values in [0, 1]; at most 120 dB."""
    errors = np.mean((pictures.astype(np.float64) - reference) ** 2, axis=(1, 2, 3))
    return tuple((-10 * np.log10(np.maximum(errors, 10 ** (-_MOST_DB / 10)))).tolist())
