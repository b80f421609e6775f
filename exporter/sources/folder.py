"""A Diffusers folder as a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from exporter.components.base import Config
from exporter.errors import SourceError
from exporter.source import PICKLES, Origin, pickle_refused
from exporter.weights import Tensor, read_header, read_index
from runtimes.bundle import read_json
from runtimes.errors import BundleError
from runtimes.optimum.folder import holds_graphs

WEIGHT_STEMS = ("diffusion_pytorch_model", "model")
VARIANTS = ("", ".fp16")
"""Of weight files, in the order in which they are taken."""

TOKENIZER_FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
MODEL_INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
LOW_RES_SCHEDULER = "low_res_scheduler/scheduler_config.json"
OTHER_NAMES = {"vae": "vqvae"}
"""Network → what it is called in the original latent diffusion models' pipelines."""

_FOLDER = Origin("folder")
_WHOLE_NUMBERS = frozenset(
    (
        "hidden_size",
        "in_channels",
        "intermediate_size",
        "latent_channels",
        "max_position_embeddings",
        "num_hidden_layers",
        "out_channels",
        "vocab_size",
    )
)
"""Fields of configs that are read before a network is built."""


@dataclass(frozen=True)
class DiffusersFolder:
    """A Diffusers folder whose model_index.json was read; see `exporter.source.Source`.

    Attributes:
        path: the folder.
        index: its model_index.json.
        origin: where the folder comes from.
        fetch_weights: called with a network's folder before its weights are read: those of a model
            on the Hub are downloaded then.
    """

    path: Path
    index: Mapping[str, Any]
    origin: Origin = _FOLDER
    fetch_weights: Callable[[str], None] | None = None

    @property
    def location(self) -> str:
        """The folder, or the model's id on the Hub."""
        return self.origin.hub_id or str(self.path)

    @property
    def pipeline_class(self) -> str:
        """What model_index.json says."""
        return str(self.index.get("_class_name", "an unnamed pipeline"))

    def has(self, folder: str) -> bool:
        """Whether model_index.json lists the network, by whichever of its names."""
        return self._lists(folder) or self._lists(OTHER_NAMES.get(folder, folder))

    def lacks(self, folder: str) -> SourceError:
        """Says that model_index.json doesn't list it."""
        return SourceError(f"{self.location}: {MODEL_INDEX} lists no {folder}.")

    def setting(self, name: str) -> object:
        """What model_index.json says."""
        return self.index.get(name)

    def config(self, folder: str) -> Config:
        """The network's config.json."""
        return read_config(self.path / self.named(folder) / "config.json")

    def scheduler_config(self) -> Config:
        """The file as it is."""
        return read_config(self.path / SCHEDULER)

    def low_res_scheduler_config(self) -> Config | None:
        """The file as it is, where model_index.json lists one."""
        has_one = self.has("low_res_scheduler")
        return read_config(self.path / LOW_RES_SCHEDULER) if has_one else None

    def tensors(self, folder: str) -> dict[str, Tensor]:
        """The unsuffixed variant before fp16."""
        named = self.named(folder)
        if self.fetch_weights is not None:
            self.fetch_weights(named)
        return folder_tensors(self.path / named)

    def tokenizer(self, folder: str) -> dict[str, bytes]:
        """The tokenizer's files as they are."""
        return folder_tokenizer(self.path / folder)

    def named(self, folder: str) -> str:
        """What the model itself calls a network."""
        other = OTHER_NAMES.get(folder, folder)
        return other if self._lists(other) and not self._lists(folder) else folder

    def _lists(self, folder: str) -> bool:
        entry = cast("list[Any] | None", self.index.get(folder))
        return isinstance(entry, list) and any(part is not None for part in entry)


def open_folder(
    folder: Path, origin: Origin = _FOLDER, fetch_weights: Callable[[str], None] | None = None
) -> DiffusersFolder:
    """Opens a Diffusers folder; see `DiffusersFolder` for the arguments.

    Raises:
        SourceError: it isn't there, is an export, holds pickles alone, or lacks model_index.json
            or the scheduler's config.
    """
    if folder.is_file():
        raise SourceError(f"{folder} is a file, not a Diffusers folder.")
    if not folder.is_dir():
        raise SourceError(f"no model at {folder}: no such file or folder.")
    if holds_graphs(folder):
        raise SourceError(
            f"{folder} holds exported graphs; give the model that they were exported from."
        )
    index = folder / MODEL_INDEX
    if not index.is_file():
        pickles = sorted(p for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            raise pickle_refused(pickles[0])
        raise SourceError(
            f"{folder} is not a Diffusers folder: it has no {MODEL_INDEX} (half downloaded?)."
        )
    if not (folder / SCHEDULER).is_file():
        raise _missing(folder / SCHEDULER)
    return DiffusersFolder(folder, read_source_json(index), origin, fetch_weights)


def folder_tensors(where: Path) -> dict[str, Tensor]:
    """The weights in a network's folder.

    Raises:
        SourceError: there are none in safetensors, or they are broken.
    """
    for variant in VARIANTS:
        for stem in WEIGHT_STEMS:
            single = where / f"{stem}{variant}.safetensors"
            sharded = where / f"{stem}.safetensors.index{variant}.json"
            if single.is_file():
                return read_header(single)
            if sharded.is_file():
                return read_index(sharded)
    raise _no_weights(where)


def folder_tokenizer(where: Path) -> dict[str, bytes]:
    """The files of the tokenizer in a folder, by name.

    Raises:
        SourceError: it holds no CLIP tokenizer.
    """
    found = [where / name for name in TOKENIZER_FILES]
    found = [path for path in found if path.is_file()]
    names = {path.name for path in found}
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise SourceError(
            f"{where} holds no CLIP tokenizer: it needs vocab.json and merges.txt, or "
            "tokenizer.json."
        )
    return {path.name: path.read_bytes() for path in found}


def read_config(path: Path) -> Config:
    """A config of a source.

    Raises:
        SourceError: the file is missing, isn't JSON, or has something else for a size.
    """
    if not path.is_file():
        raise _missing(path)
    config = read_source_json(path)
    for name in _WHOLE_NUMBERS & config.keys():
        if type(config[name]) is not int:
            raise SourceError(f"{path}: {name} is {config[name]!r}, not a whole number.")
    return config


def read_source_json(path: Path) -> Config:
    """A JSON object of a source.

    Raises:
        SourceError: it can't be read or is no JSON object.
    """
    try:
        return read_json(path)
    except BundleError as e:
        raise SourceError(str(e)) from e


def _missing(path: Path) -> SourceError:
    return SourceError(f"{path} is missing; download the whole folder again.")


def _no_weights(where: Path) -> SourceError:
    if not where.is_dir():
        return _missing(where)
    shards = sorted(p for p in where.iterdir() if p.suffix == ".safetensors")
    if shards:
        stems = " or ".join(f"{stem}.safetensors" for stem in WEIGHT_STEMS)
        return SourceError(
            f"{where} holds {shards[0].name}, and neither {stems} nor an index that lists it "
            "(half downloaded?)."
        )
    pickles = sorted(p for p in where.iterdir() if p.suffix in PICKLES)
    if pickles:
        return pickle_refused(pickles[0])
    return SourceError(f"{where} holds no .safetensors weights (half downloaded?).")
