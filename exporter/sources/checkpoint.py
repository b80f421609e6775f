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
from exporter.families.table import Family
from exporter.original.configs import text_config, unet_config, vae_config
from exporter.original.family import Found, family_of_configs, find_family
from exporter.original.identify import CHECKPOINT, identify
from exporter.original.parts import Parts, take_apart
from exporter.original.prediction import Prediction, find_prediction, resolution
from exporter.source import Origin, Source, SourceOptions
from exporter.sources.folder import open_folder
from exporter.weights import Tensor, read_header, read_metadata
from runtimes.errors import UsageError

_FACTOR = 8
_TITLES = {
    "vae": "VAE",
    "text_encoder": "text encoder",
    "text_encoder_2": "second text encoder (OpenCLIP's ViT-bigG)",
}


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
        found: its family, and what told it.
        beside: gives configs, scheduler and tokenizer.
    """

    path: Path
    parts: Parts
    found: Found
    beside: _Conditions
    origin: Origin = field(default=Origin("checkpoint"))

    @property
    def location(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def family(self) -> Family:
        """The family that its keys and shapes tell."""
        return self.found.family

    @property
    def pipeline_class(self) -> str:
        """The family's, by the U-Net's input channels."""
        known = self.family.unsaid.pipelines
        return known.get(int(self.config("unet")["in_channels"]), known[4])

    def has(self, folder: str) -> bool:
        """Whether the file holds the network's weights."""
        return folder in self.parts.networks

    def lacks(self, folder: str) -> SourceError:
        """Says what to give."""
        title, held = _TITLES.get(folder, folder), ", ".join(self.parts.networks)
        # SDXL's U-Net can't be described without its text encoders.
        bound = folder != "vae" and "text_encoder_2" in self.family.tokenizers
        choose = "" if bound else ", or choose components with --component"
        return SourceError(
            f"{self.path} holds no {title}: give one with --{folder.replace('_', '-')} PATH"
            f"{choose} (it holds: {held})."
        )

    def setting(self, name: str) -> object:
        """The family's, or what the folder given with --config says."""
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
        """The family's."""
        return self.family.unsaid.settings.get(name)

    def config(self, folder: str) -> Config:
        """Read off the shapes."""
        tensors, unsaid = self.parts.networks[folder], self.family.unsaid
        if folder == "unet":
            return unet_config(tensors, unsaid, self.sample_size)
        if folder == "vae":
            return vae_config(tensors, unsaid, self.sample_size * _FACTOR)
        return text_config(folder, tensors, unsaid.text_encoders[folder])

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
        """CLIP's own, with what its text encoder is filled up with."""
        encoder = next(name for name, own in self.family.tokenizers.items() if own == folder)
        return clip_tokenizer(self.family.unsaid.text_encoders[encoder].pad_token)


def scheduler_config(family: Family, prediction: Prediction) -> Config:
    """The scheduler's config of a checkpoint, as public models of its family have it."""
    config = dict(family.unsaid.scheduler)
    if prediction.type != "epsilon":
        config["prediction_type"] = prediction.type
    if prediction.zero_terminal_snr:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        if config["_class_name"] == "PNDMScheduler":
            # It divides by alpha at its first step, which is 0 there.
            config["_class_name"] = "DDIMScheduler"
    return config


def open_checkpoint(path: Path, options: SourceOptions) -> Checkpoint:
    """Opens a single-file checkpoint.

    Raises:
        SourceError: the file is broken, or something else than a checkpoint of Stable Diffusion
            1, 2 or XL (says what it seems to be), or the configs that are given are of another
            family.
        WeightError: it has weights that are unknown.
        UsageError: the prediction type that is given contradicts the folder of configs.
    """
    tensors = read_header(path)
    identity = identify(tensors)
    if identity.kind != CHECKPOINT:
        raise SourceError(
            f"{path} is no checkpoint of Stable Diffusion 1, 2 or XL: it seems to be "
            f"{identity.title} ({identity.reason})."
        )
    parts = take_apart(path, tensors)
    found = find_family(parts.networks)
    if options.config is not None:
        folder = open_folder(options.config)
        _check_family(path, found, folder)
        _check_agreement(folder, options)
        return Checkpoint(path, parts, found, folder)
    metadata = read_metadata(path)
    prediction = find_prediction(
        tensors, metadata, options.prediction_type, found.family.unsaid.prediction_type
    )
    inferred = Inferred(path, parts, found.family, prediction, resolution(metadata))
    return Checkpoint(path, parts, found, inferred)


def _check_family(path: Path, found: Found, folder: Source) -> None:
    """Refuses the configs of a base for a refiner's weights, and the like."""
    given = family_of_configs(folder)
    if given is None or given.name != found.family.name:
        of = "no family of checkpoints" if given is None else given.unsaid.title
        raise SourceError(
            f"{path} is a checkpoint of {found.family.unsaid.title} ({found.reason}), and the "
            f"configs in --config {folder.location} are of {of}; give the checkpoint's own."
        )


def _check_agreement(folder: Source, options: SourceOptions) -> None:
    given = options.prediction_type
    said = folder.scheduler_config().get("prediction_type", "epsilon")
    if given is not None and given != said:
        raise UsageError(
            f"--prediction-type is {given}, and the scheduler in --config {folder.location} says "
            f"{said}; leave one of them out."
        )
