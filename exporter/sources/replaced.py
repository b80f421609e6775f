"""A source with a VAE, text encoders or tokenizers from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.components.base import Config
from exporter.errors import SourceError
from exporter.families import family_of
from exporter.progress import Progress
from exporter.source import Origin, Source, SourceOptions
from exporter.sources.folder import folder_tokenizer
from exporter.sources.part import Part, open_text_encoder, open_vae
from exporter.weights import Tensor
from runtimes.errors import UsageError

_PARTS = ("vae", "text_encoder", "text_encoder_2")
_TOKENIZERS = ("tokenizer", "tokenizer_2")
"""Networks and tokenizers that may be others: the options' names, and the folders'."""


@dataclass(frozen=True)
class Replaced:
    """A source some of whose parts are others; see `exporter.source.Source`.

    Attributes:
        base: the source.
        parts: other networks by folder.
        tokenizers: the files of other tokenizers by folder.
    """

    base: Source
    parts: Mapping[str, Part]
    tokenizers: Mapping[str, Mapping[str, bytes]]

    @property
    def location(self) -> str:
        """The source's."""
        return self.base.location

    @property
    def origin(self) -> Origin:
        """The source's."""
        return self.base.origin

    @property
    def pipeline_class(self) -> str:
        """The source's."""
        return self.base.pipeline_class

    def has(self, folder: str) -> bool:
        """Whether either has it."""
        return folder in self.parts or self.base.has(folder)

    def lacks(self, folder: str) -> SourceError:
        """The source's."""
        return self.base.lacks(folder)

    def setting(self, name: str) -> object:
        """The source's."""
        return self.base.setting(name)

    def config(self, folder: str) -> Config:
        """The other part's, or the source's."""
        return self.parts[folder].config if folder in self.parts else self.base.config(folder)

    def scheduler_config(self) -> Config:
        """The source's."""
        return self.base.scheduler_config()

    def low_res_scheduler_config(self) -> Config | None:
        """The source's."""
        return self.base.low_res_scheduler_config()

    def tensors(self, folder: str) -> Mapping[str, Tensor]:
        """The other part's, or the source's."""
        return self.parts[folder].tensors if folder in self.parts else self.base.tensors(folder)

    def tokenizer(self, folder: str) -> Mapping[str, bytes]:
        """The other one, or the source's."""
        return self.tokenizers.get(folder) or self.base.tokenizer(folder)


def replace_parts(source: Source, options: SourceOptions, progress: Progress) -> Source:
    """Puts the parts that the options name in place of the source's.

    Raises:
        SourceError: there is no such part where an option says.
        UsageError: models of the source's family have no such part.
    """
    given = {name: getattr(options, name) for name in (*_PARTS, *_TOKENIZERS)}
    places: dict[str, Path] = {name: path for name, path in given.items() if path is not None}
    if not places:
        return source
    _check_taken(source, places)
    parts: dict[str, Part] = {}
    for name in _PARTS:
        if name in places:
            parts[name] = _open(places[name], name, source, progress)
    tokenizers = {name: folder_tokenizer(places[name]) for name in _TOKENIZERS if name in places}
    return Replaced(source, parts, tokenizers)


def _open(path: Path, name: str, source: Source, progress: Progress) -> Part:
    if name == "vae":
        return open_vae(path, source, progress)
    return open_text_encoder(path, name, source, progress)


def _check_taken(source: Source, places: Mapping[str, Path]) -> None:
    """Refuses a text encoder or a tokenizer that models of the family don't have."""
    family = family_of(source)
    taken = {"vae", *family.tokenizers, *family.tokenizers.values()}
    for name in places:
        if name not in taken:
            raise UsageError(
                f"--{name.replace('_', '-')} {places[name]}: {source.location} is of family "
                f"{family.name}, which has no {name}; it has {', '.join(sorted(taken))}."
            )
