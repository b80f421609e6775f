"""A single-file checkpoint in the original naming as a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from exporter.clip_tokenizer import clip_tokenizer
from exporter.components.base import Config
from exporter.errors import SourceError
from exporter.families import FAMILIES
from exporter.families.table import Family
from exporter.original.configs import is_linear, text_config, unet_config, vae_config
from exporter.original.identify import CHECKPOINT, identify
from exporter.original.parts import Parts, take_apart
from exporter.original.prediction import Prediction, find_prediction, resolution
from exporter.source import Origin, Source, SourceOptions
from exporter.sources.folder import open_folder
from exporter.weights import Tensor, read_header, read_metadata
from runtimes.errors import UsageError

_FACTOR = 8
_PIPELINES = {5: "StableDiffusionDepth2ImgPipeline", 9: "StableDiffusionInpaintPipeline"}
"""By the U-Net's input channels; `StableDiffusionPipeline` for others."""

_TITLES = {"vae": "VAE", "text_encoder": "text encoder"}


class _Conditions(Protocol):
    """What stands for the files that a checkpoint lacks."""

    def setting(self, name: str) -> object: ...

    def config(self, folder: str) -> Config: ...

    def scheduler_config(self) -> Config: ...

    def tokenizer(self, folder: str) -> Mapping[str, bytes]: ...


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose weights were sorted and renamed; see `exporter.source.Source`.

    Attributes:
        path: the file.
        parts: its tensors by network.
        family: Stable Diffusion 1 or 2.
        beside: gives configs, scheduler and tokenizer.
    """

    path: Path
    parts: Parts
    family: Family
    beside: _Conditions
    origin: Origin = field(default=Origin("checkpoint"))

    @property
    def location(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def pipeline_class(self) -> str:
        """By the U-Net's input channels."""
        channels = int(self.config("unet")["in_channels"])
        return _PIPELINES.get(channels, "StableDiffusionPipeline")

    def has(self, folder: str) -> bool:
        """Whether the file holds the network's weights."""
        return folder in self.parts.networks

    def lacks(self, folder: str) -> SourceError:
        """Says what to give."""
        title = _TITLES.get(folder, folder)
        return SourceError(
            f"{self.path} holds no {title}: give one with --{folder.replace('_', '-')} PATH, or "
            f"choose components with --component (it holds: {', '.join(self.parts.networks)})."
        )

    def setting(self, name: str) -> object:
        """What the folder given with --config says; a file by itself has no such settings."""
        return self.beside.setting(name)

    def config(self, folder: str) -> Config:
        """Read off the shapes, or from the folder given with --config."""
        return self.beside.config(folder)

    def scheduler_config(self) -> Config:
        """The family's, or from the folder given with --config."""
        return self.beside.scheduler_config()

    def low_res_scheduler_config(self) -> Config | None:
        """None: no family of upscalers is read from a single file."""
        return None

    def tensors(self, folder: str) -> Mapping[str, Tensor]:
        """The network's weights under Diffusers keys."""
        return self.parts.networks[folder]

    def tokenizer(self, folder: str) -> Mapping[str, bytes]:
        """CLIP's own, or from the folder given with --config."""
        return self.beside.tokenizer(folder)


@dataclass(frozen=True)
class Inferred:
    """Configs from shapes, scheduler from the family, and CLIP's tokenizer.

    Attributes:
        path: the checkpoint.
        parts: its tensors by network.
        family: its family.
        prediction: what the U-Net predicts, or None where nothing says.
        size: the model's own picture size in pixels, where the file says so.
    """

    path: Path
    parts: Parts
    family: Family
    prediction: Prediction | None
    size: int | None

    @cached_property
    def sample_size(self) -> int:
        """Latents' own size. An unknown prediction type keeps `export` from getting this far."""
        known = self.family.unsaid.sample_sizes
        usual = known[self.prediction.type] if self.prediction else min(known.values())
        return usual if self.size is None else self.size // _FACTOR

    def setting(self, name: str) -> object:
        """Nothing says it."""
        del name
        return None

    def config(self, folder: str) -> Config:
        """Read off the shapes."""
        tensors, unsaid = self.parts.networks[folder], self.family.unsaid
        if folder == "unet":
            return unet_config(tensors, unsaid, self.sample_size)
        if folder == "vae":
            return vae_config(tensors, self.sample_size * _FACTOR)
        return text_config(tensors, unsaid)

    def scheduler_config(self) -> Config:
        """The family's usual one, with what this model predicts."""
        if self.prediction is None:
            raise SourceError(
                f"{self.path}: what the U-Net of a {self.family.unsaid.title} checkpoint predicts "
                "is not known from its keys; give --prediction-type v_prediction (2.0 and 2.1 at "
                "768 pixels) or epsilon (the base models at 512), or --config FOLDER."
            )
        return scheduler_config(self.family, self.prediction)

    def tokenizer(self, folder: str) -> Mapping[str, bytes]:
        """CLIP's own."""
        del folder
        return clip_tokenizer(self.family.unsaid.pad_token)


def scheduler_config(family: Family, prediction: Prediction) -> Config:
    """The scheduler's config of a checkpoint, as public models of its family have it."""
    config = dict(family.unsaid.scheduler)
    if prediction.type != "epsilon":
        config["prediction_type"] = prediction.type
    if prediction.zero_terminal_snr:
        # PNDM divides by alpha at its first step, which is 0 there.
        config |= {
            "_class_name": "DDIMScheduler",
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
        }
    return config


def open_checkpoint(path: Path, options: SourceOptions) -> Checkpoint:
    """Opens a single-file checkpoint.

    Raises:
        SourceError: the file is broken, or something else than a checkpoint of Stable Diffusion
            1 or 2; says what it seems to be.
        WeightError: it has weights that are unknown.
        UsageError: the prediction type that is given contradicts the folder of configs.
    """
    tensors = read_header(path)
    identity = identify(tensors)
    if identity.kind != CHECKPOINT:
        raise SourceError(
            f"{path} is no checkpoint of Stable Diffusion 1 or 2: it seems to be {identity.title} "
            f"({identity.reason})."
        )
    parts = take_apart(path, tensors)
    projection = {"use_linear_projection": is_linear(parts.networks["unet"])}
    family = next(family for family in FAMILIES if family.matches(projection))
    if options.config is not None:
        folder = open_folder(options.config)
        _check_agreement(folder, options)
        return Checkpoint(path, parts, family, folder)
    metadata = read_metadata(path)
    prediction = find_prediction(
        tensors, metadata, options.prediction_type, family.unsaid.prediction_type
    )
    inferred = Inferred(path, parts, family, prediction, resolution(metadata))
    return Checkpoint(path, parts, family, inferred)


def _check_agreement(folder: Source, options: SourceOptions) -> None:
    given = options.prediction_type
    said = folder.scheduler_config().get("prediction_type", "epsilon")
    if given is not None and given != said:
        raise UsageError(
            f"--prediction-type is {given}, and the scheduler in --config {folder.location} says "
            f"{said}; leave one of them out."
        )
