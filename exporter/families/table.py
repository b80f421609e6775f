"""The columns of a family's table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from exporter.components.base import Config
from exporter.source import Source

_CHECKED: Config = {
    "feature_extractor": (None, None),
    "safety_checker": (None, None),
    "requires_safety_checker": False,
}


@dataclass(frozen=True)
class Unsaid:
    """What neither the keys nor the shapes of a single-file checkpoint say.

    Attributes:
        title: the family's name for people.
        attention_head_dim: the U-Net config's field, by its channels per level.
        unet: further fields of the U-Net's config.
        text_encoder: fields of the text encoder's config.
        pad_token: what fills a prompt up.
        scheduler: the scheduler's config, without the prediction type.
        prediction_type: what the U-Net predicts where nothing says; None: it must be said.
        sample_sizes: the U-Net's own latent size by prediction type.
    """

    title: str
    attention_head_dim: Callable[[list[int]], int | list[int]]
    unet: Config
    text_encoder: Config
    pad_token: str
    scheduler: Config
    prediction_type: str | None
    sample_sizes: Mapping[str, int]


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: as the manifest names it.
        pipelines: diffusers pipeline classes that such models are saved with.
        components: what is exported, in order.
        tokenizers: tokenizer folder by text encoder.
        tasks: by the U-Net's input channels, what the model does with all its components.
        guidance_scale: default guidance.
        num_inference_steps: default steps.
        matches: tells a U-Net's config of this family from the others'.
        unsaid: what a single-file checkpoint of the family leaves open.
        left_out: networks that such models may have and no bundle takes → why.
        predicts: what the U-Net gives, where that is the pipeline's knowledge and not the scheduler
            config's; a key of `runtimes.denoiser.PREDICTION_TYPES`.
        unused_channels: of the U-Net's output, behind the prediction: learnt variances.
        fits: tells a source of this family from those of others with such a U-Net.
        index: entries of model_index.json beside those of networks and tokenizers.
        wrappers: component → its name in `exporter.components.COMPONENTS`, where that is another.
        scaling_factor: of the latents, where that is the pipeline's knowledge and not the
            autoencoder's config's.
    """

    name: str
    pipelines: tuple[str, ...]
    components: tuple[str, ...]
    tokenizers: Mapping[str, str]
    tasks: Mapping[int, tuple[str, ...]]
    guidance_scale: float
    num_inference_steps: int
    matches: Callable[[Config], bool]
    unsaid: Unsaid
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    predicts: str | None = None
    unused_channels: int = 0
    fits: Callable[[Source], bool] = lambda _source: True
    index: Config = field(default_factory=lambda: _CHECKED)
    wrappers: Mapping[str, str] = field(default_factory=dict[str, str])
    scaling_factor: float | None = None


_NETWORK_OF = {"vae_decoder": "vae", "vae_encoder": "vae"}
"""Component → the network that it is a part of, by its folder in a Diffusers model."""


def networks_of(components: Iterable[str]) -> tuple[str, ...]:
    """The folders, in a Diffusers model, of the networks that components are made from."""
    return tuple(dict.fromkeys(_NETWORK_OF.get(name, name) for name in components))
