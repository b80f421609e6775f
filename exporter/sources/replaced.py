"""A source with a VAE, a text encoder or a tokenizer from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.components.base import Config
from exporter.errors import SourceError
from exporter.families import family_of
from exporter.progress import Progress
from exporter.source import Origin, Source, SourceOptions
from exporter.sources.folder import folder_tokenizer
from exporter.sources.part import Part, open_text_encoder, open_vae
from exporter.weights import Tensor
from runtimes.errors import UsageError


@dataclass(frozen=True)
class Replaced:
    """A source some of whose parts are others; see `exporter.source.Source`.

    Attributes:
        base: the source.
        parts: other networks by folder.
        own_tokenizer: the files of another tokenizer, or None for the source's.
    """

    base: Source
    parts: Mapping[str, Part]
    own_tokenizer: Mapping[str, bytes] | None

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
        return self.base.tokenizer(folder) if self.own_tokenizer is None else self.own_tokenizer


def replace_parts(source: Source, options: SourceOptions, progress: Progress) -> Source:
    """Puts the parts that the options name in place of the source's.

    Raises:
        SourceError: there is no such part where an option says.
        UsageError: the model takes no text, and an option gives a part for it.
    """
    _check_taken(source, options)
    parts: dict[str, Part] = {}
    if options.vae is not None:
        parts["vae"] = open_vae(options.vae, progress)
    if options.text_encoder is not None:
        parts["text_encoder"] = open_text_encoder(options.text_encoder, source, progress)
    tokenizer = None if options.tokenizer is None else folder_tokenizer(options.tokenizer)
    if not parts and tokenizer is None:
        return source
    return Replaced(source, parts, tokenizer)


def _check_taken(source: Source, options: SourceOptions) -> None:
    """Refuses a text encoder or a tokenizer for a model that takes no text."""
    for name in ("text_encoder", "tokenizer"):
        if getattr(options, name) is None:
            continue
        family = family_of(source)
        if not family.tokenizers:
            raise UsageError(
                f"{source.location} is of family {family.name}, which takes no text; leave "
                f"--{name.replace('_', '-')} out."
            )
