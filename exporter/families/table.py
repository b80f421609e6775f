"""The columns of a family's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporter.components.base import Config


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: as the manifest names it.
        pipelines: diffusers pipeline classes that such models are saved with.
        components: what is exported, in order.
        tokenizers: tokenizer folder by text encoder.
        tasks: by the U-Net's input channels, what the model does.
        guidance_scale: default guidance.
        num_inference_steps: default steps.
        matches: tells a U-Net's config of this family from the others'.
    """

    name: str
    pipelines: tuple[str, ...]
    components: tuple[str, ...]
    tokenizers: Mapping[str, str]
    tasks: Mapping[int, tuple[str, ...]]
    guidance_scale: float
    num_inference_steps: int
    matches: Callable[[Config], bool]
