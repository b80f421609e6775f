"""Opens a source model: reads its configs and weight headers, no weights.

A source is a Diffusers folder, a single-file checkpoint in the original naming, or the id of a
model on the Hugging Face Hub. Only safetensors, JSON and text are ever read from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Protocol

from exporter.components.base import Config
from exporter.errors import SourceError
from exporter.progress import Progress, silent
from exporter.weights import Tensor
from runtimes.errors import UsageError, unknown_name

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")

NETWORKS = ("text_encoder", "text_encoder_2", "unet", "vae")
"""Networks of a model, by their folders in Diffusers."""

Kind = Literal["folder", "checkpoint", "hub"]
PredictionType = Literal["epsilon", "v_prediction"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class Origin:
    """What kind of source it is, and its id and commit on the Hub."""

    kind: Kind
    hub_id: str | None = None
    revision: str | None = None


class Source(Protocol):
    """A source model. Networks, tokenizers and pipeline go by their names in a Diffusers folder."""

    @property
    def location(self) -> str:
        """What the user calls it, for messages."""
        ...

    @property
    def origin(self) -> Origin:
        """Where it comes from."""
        ...

    @property
    def pipeline_class(self) -> str:
        """The diffusers pipeline that the model is of."""
        ...

    def has(self, folder: str) -> bool:
        """Whether the model has that network."""
        ...

    def lacks(self, folder: str) -> SourceError:
        """The error that says a network is absent and what to do."""
        ...

    def setting(self, name: str) -> object:
        """A setting of the pipeline, as model_index.json has them beside networks; None: unsaid."""
        ...

    def config(self, folder: str) -> Config:
        """The config of a network.

        Raises:
            SourceError: it is missing or can't be read.
        """
        ...

    def scheduler_config(self) -> Config:
        """The content of scheduler_config.json.

        Raises:
            SourceError: it is missing, can't be read, or the prediction type must be given.
        """
        ...

    def low_res_scheduler_config(self) -> Config | None:
        """That of the noise which an upscaler adds to its picture; None for other models.

        Raises:
            SourceError: it can't be read.
        """
        ...

    def tensors(self, folder: str) -> Mapping[str, Tensor]:
        """The weights of a network by Diffusers key, older or newer.

        Raises:
            SourceError: there are none in safetensors (says how to convert a pickle), or they are
                truncated or contradict themselves.
        """
        ...

    def tokenizer(self, folder: str) -> Mapping[str, bytes]:
        """The files of a tokenizer by name.

        Raises:
            SourceError: there is no CLIP tokenizer.
        """
        ...


@dataclass(frozen=True)
class SourceOptions:
    """What a source leaves open, and what is taken from elsewhere.

    Attributes:
        config: Diffusers folder with the configs, scheduler and tokenizer of a checkpoint.
        tokenizer: folder with another tokenizer.
        vae: folder or file of another VAE.
        text_encoder: folder or file of another text encoder, SDXL's first.
        prediction_type: what a checkpoint's U-Net predicts.
        revision: branch, tag or commit of a model on the Hub.
        refiner: the refiner that goes into the same bundle as a base of SDXL.
        text_encoder_2: folder or file of another second text encoder of SDXL.
        tokenizer_2: folder with another tokenizer for it.
    """

    config: Path | None = None
    tokenizer: Path | None = None
    vae: Path | None = None
    text_encoder: Path | None = None
    prediction_type: PredictionType | None = None
    revision: str | None = None
    refiner: Path | None = None
    text_encoder_2: Path | None = None
    tokenizer_2: Path | None = None

    def given(self) -> dict[str, str]:
        """The options that were given, and of a path its last part: the rest is the machine's."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name.replace("_", "-"): value.name if isinstance(value, Path) else str(value)
            for name, value in values.items()
            if value is not None
        }


NO_OPTIONS = SourceOptions()
_CHECKPOINTS_ALONE = ("config", "prediction-type")


def open_source(
    path: Path | str, options: SourceOptions = NO_OPTIONS, progress: Progress = silent
) -> Source:
    """Opens a source model.

    Args:
        path: a Diffusers folder, a .safetensors file, or `organisation/name` on the Hub where no
            such folder is here.
        options: what the source leaves open, and what is taken from elsewhere.
        progress: called with lines on what is downloaded.

    Raises:
        SourceError: it isn't there, is a pickle, or is no model of a known family.
        WeightError: a checkpoint has weights that are unknown.
        UsageError: an option doesn't go with this kind of source.
    """
    from exporter.hub import is_hub_id, open_hub_model
    from exporter.sources.checkpoint import open_checkpoint
    from exporter.sources.folder import open_folder
    from exporter.sources.replaced import replace_parts

    _check(options)
    place = Path(path)
    refuse_pickle(place)
    if place.is_file():
        _refuse(options, ("revision",), f"{place} is a file")
        opened: Source = open_checkpoint(place, options)
    elif is_hub_id(place):
        _refuse(options, _CHECKPOINTS_ALONE, f"{place.as_posix()} is a model on the Hub")
        model = open_hub_model(place.as_posix(), options.revision, progress)
        origin = Origin("hub", model.hub_id, model.revision)
        opened = open_folder(model.folder, origin, model.fetch_weights)
    else:
        _refuse(options, ("revision", *_CHECKPOINTS_ALONE), f"{place} is a folder")
        opened = open_folder(place)
    return replace_parts(opened, options, progress)


def _check(options: SourceOptions) -> None:
    given = options.prediction_type
    if given is not None and given not in PREDICTION_TYPES:
        raise unknown_name("prediction type", given, PREDICTION_TYPES)


def _refuse(options: SourceOptions, names: tuple[str, ...], why: str) -> None:
    given = [name for name in names if name in options.given()]
    if given:
        purpose = {
            "revision": "chooses a version of a model on the Hub",
            "config": "gives configs to a single-file checkpoint",
            "prediction-type": "is said of a single-file checkpoint, a folder's scheduler has it",
        }
        raise UsageError(f"--{given[0]} {purpose[given[0]]}, and {why}; leave it out.")


def refuse_pickle(path: Path) -> None:
    """Refuses a file that can run code when it is loaded.

    Raises:
        SourceError: its name says that it is a pickle; says how to convert it.
    """
    if path.suffix in PICKLES:
        raise pickle_refused(path)


def pickle_refused(path: Path | str) -> SourceError:
    """The error for a pickle."""
    return SourceError(
        f"{path} is a pickle, which can run code when it is loaded, and is refused. Convert it to "
        "safetensors where you trust it: `DiffusionPipeline.from_pretrained(FOLDER)"
        ".save_pretrained(NEW, safe_serialization=True)`, or "
        "`StableDiffusionPipeline.from_single_file(FILE)` for a .ckpt."
    )
