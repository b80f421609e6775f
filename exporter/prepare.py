"""Reads what an export needs of a source, and refuses what doesn't fit, before any slow work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from exporter.components import component as load_component
from exporter.components.base import Component, Config
from exporter.errors import SourceError
from exporter.families import Recognised, recognise
from exporter.match import match
from exporter.source import Source
from exporter.weights import Tensor
from runtimes.errors import LatedgeError, unknown_name
from runtimes.tokenizer import ClipTokenizer


@dataclass(frozen=True)
class Prepared:
    """A component whose weights were matched; nothing has been written yet."""

    component: Component
    config: Config
    weights: Mapping[str, Tensor]


def prepare(
    source: Source, components: tuple[str, ...] | None
) -> tuple[dict[str, Prepared], Recognised]:
    """Reads configs and weight headers of the wanted components and matches the two.

    Raises:
        SourceError, WeightError: the source is refused; says why.
        UsageError: an unknown component.
    """
    folders = tuple(f for f in ("text_encoder", "unet", "vae") if source.has(f))
    if "unet" not in folders:
        raise source.lacks("unet")
    recognised = recognise(source, folders)
    _check_agreement(source, recognised)
    wanted = recognised.family.components if components is None else components
    for name in wanted:
        if name not in recognised.family.components:
            raise unknown_name("component", name, recognised.family.components)
    configs = {
        name: _settle(source, recognised, name)
        for name in recognised.family.components
        if name in wanted
    }
    # Only now the weights: those of a model on the Hub are downloaded when they are asked for.
    matched = {
        name: _match(source, _wrapper(recognised, name), config) for name, config in configs.items()
    }
    return matched, recognised


def _check_agreement(source: Source, recognised: Recognised) -> None:
    """Refuses networks that don't go together, such as one that was given with an option."""
    configs = recognised.configs
    unet = dict(configs["unet"])
    if "out_channels" in unet:
        unet["out_channels"] -= recognised.family.unused_channels
    for folder, field, unet_field, what in (
        ("vae", "latent_channels", "out_channels", "latents of {} channels"),
        ("text_encoder", "hidden_size", "cross_attention_dim", "states of width {}"),
    ):
        found, wanted = configs.get(folder, {}).get(field), unet.get(unet_field)
        if isinstance(found, int) and isinstance(wanted, int) and found != wanted:
            raise SourceError(
                f"{source.location}: the {folder} has {what.format(found)}, the U-Net takes "
                f"{wanted}; they belong to different models."
            )


def _settle(source: Source, recognised: Recognised, name: str) -> Config:
    """A component's config in its one form, once it is known to be supported."""
    component = _wrapper(recognised, name)
    if component.source not in recognised.configs:
        raise source.lacks(component.source)
    given = recognised.configs[component.source]
    component.check(given)
    config = component.normalise(given)
    tokenizer = recognised.family.tokenizers.get(name)
    if tokenizer is not None:
        # SD 1.x's config says 2, a leftover; the tokenizer knows the token that ends a prompt.
        config["eos_token_id"] = _check_tokens(source, tokenizer, name, config)
    return config


def _wrapper(recognised: Recognised, name: str) -> Component:
    return load_component(recognised.family.wrappers.get(name, name))


def _match(source: Source, component: Component, config: Config) -> Prepared:
    return Prepared(component, config, match(component, config, source.tensors(component.source)))


def _check_tokens(source: Source, folder: str, name: str, config: Config) -> int:
    """Refuses a text encoder that can't take what its tokenizer gives; returns the last token."""
    tokenizer = _open_tokenizer(source, folder)
    length, last = tokenizer.model_max_length, tokenizer.eos_token_id
    for field, fits, gives in (
        ("max_position_embeddings", config["max_position_embeddings"] == length, f"{length} ids"),
        ("vocab_size", config["vocab_size"] > last, f"id {last} at a prompt's end"),
    ):
        if not fits:
            raise SourceError(
                f"{source.location}: the {name} has {field} {config[field]}, and its tokenizer "
                f"gives {gives}; they belong to different models. Give the right one with "
                "--tokenizer."
            )
    return last


def _open_tokenizer(source: Source, name: str) -> ClipTokenizer:
    files = source.tokenizer(name)
    with TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        try:
            return ClipTokenizer.open(Path(folder))
        except LatedgeError as e:
            said = str(e).replace(f"{folder}{os.sep}", f"{name}/")
            raise SourceError(f"{source.location}: {said}") from e
