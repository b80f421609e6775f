"""Opens a source model: reads its configs and weight headers, no weights.

A source is a Diffusers folder. Only safetensors, JSON and text are ever read from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from exporter.components.base import Config
from exporter.errors import SourceError
from exporter.weights import Tensor, read_header, read_index
from runtimes.bundle import hash_file, read_json
from runtimes.errors import BundleError

_STEMS = ("diffusion_pytorch_model", "model")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_TOKENIZER_FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


@dataclass(frozen=True)
class Source:
    """A source model whose model_index.json was read.

    Attributes:
        path: the Diffusers folder.
        index: its model_index.json.
    """

    path: Path
    index: Mapping[str, Any]

    @property
    def pipeline_class(self) -> str:
        """The diffusers pipeline that the model is of."""
        return str(self.index.get("_class_name", "an unnamed pipeline"))

    def has(self, folder: str) -> bool:
        """Whether the model has a network in that folder."""
        entry = cast("list[Any] | None", self.index.get(folder))
        return isinstance(entry, list) and any(part is not None for part in entry)

    def config(self, folder: str) -> Config:
        """The config.json of a network.

        Raises:
            SourceError: the folder or the file is missing or isn't JSON.
        """
        path = self.path / folder / "config.json"
        if not path.is_file():
            raise SourceError(f"{path} is missing; download the whole folder again.")
        return _json(path)

    @cached_property
    def scheduler_path(self) -> Path:
        """Where the scheduler's config is.

        Raises:
            SourceError: it is missing.
        """
        path = self.path / "scheduler" / "scheduler_config.json"
        if not path.is_file():
            raise SourceError(f"{path} is missing; download the whole folder again.")
        return path

    def tensors(self, folder: str) -> dict[str, Tensor]:
        """Names and places of a network's weights; the unsuffixed variant before fp16.

        Raises:
            SourceError: there are no safetensors weights (says how to convert a pickle), or they
                are truncated or contradict themselves.
        """
        where = self.path / folder
        for variant in ("", ".fp16"):
            for stem in _STEMS:
                single = where / f"{stem}{variant}.safetensors"
                sharded = where / f"{stem}.safetensors.index{variant}.json"
                if single.is_file():
                    return read_header(single)
                if sharded.is_file():
                    return read_index(sharded)
        raise _no_weights(where)

    def tokenizer_files(self, folder: str) -> list[Path]:
        """The files of a tokenizer that are copied into a bundle.

        Raises:
            SourceError: the folder has no tokenizer.
        """
        found = [self.path / folder / name for name in _TOKENIZER_FILES]
        found = [path for path in found if path.is_file()]
        names = {path.name for path in found}
        if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
            raise SourceError(
                f"{self.path / folder} holds no CLIP tokenizer: it needs vocab.json and "
                "merges.txt, or tokenizer.json."
            )
        return found

    def sha256(self, weights: Mapping[str, str], folders: tuple[str, ...]) -> str:
        """One hash over the configs, the tokenizers and the given hashes of the weights."""
        digest = hashlib.sha256()
        files = [self.path / "model_index.json", self.scheduler_path]
        files += [self.path / folder / "config.json" for folder in folders]
        for path in files:
            digest.update(f"{path.relative_to(self.path).as_posix()} {hash_file(path)}\n".encode())
        for name in sorted(weights):
            digest.update(f"{name} {weights[name]}\n".encode())
        return digest.hexdigest()


def open_source(path: Path | str) -> Source:
    """Opens a Diffusers folder.

    Raises:
        SourceError: it isn't there, is a pickle or a single file, or has no model_index.json.
    """
    folder = Path(path)
    if folder.suffix in _PICKLES:
        raise _pickle_refused(folder)
    if folder.is_file():
        raise SourceError(f"{folder} is a file; give the Diffusers folder of the model.")
    if not folder.is_dir():
        raise SourceError(f"no model at {folder}: no such folder.")
    index = folder / "model_index.json"
    if not index.is_file():
        pickles = sorted(p for p in folder.iterdir() if p.suffix in _PICKLES)
        if pickles:
            raise _pickle_refused(pickles[0])
        raise SourceError(
            f"{folder} is not a Diffusers folder: it has no model_index.json (half downloaded?)."
        )
    return Source(folder, _json(index))


def _json(path: Path) -> Config:
    try:
        return read_json(path)
    except BundleError as e:
        raise SourceError(str(e)) from e


def _no_weights(where: Path) -> SourceError:
    if not where.is_dir():
        return SourceError(f"{where} is missing; download the whole folder again.")
    pickles = sorted(p for p in where.iterdir() if p.suffix in _PICKLES)
    if pickles:
        return _pickle_refused(pickles[0])
    return SourceError(f"{where} holds no .safetensors weights (half downloaded?).")


def _pickle_refused(path: Path) -> SourceError:
    return SourceError(
        f"{path} is a pickle, which can run code when it is loaded, and is refused. Convert it to "
        "safetensors where you trust it: `DiffusionPipeline.from_pretrained(FOLDER)"
        ".save_pretrained(NEW, safe_serialization=True)`, or "
        "`StableDiffusionPipeline.from_single_file(FILE)` for a .ckpt."
    )
