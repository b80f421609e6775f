"""Reads what an export needs of a source, and refuses what doesn't fit, before any slow work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from exporter.components import component as load_component
from exporter.components.base import Component, Config
from exporter.conditioning import check_conditioning
from exporter.errors import SourceError
from exporter.families import Recognised, recognise
from exporter.families.sdxl import SDXL_REFINER, takes_second_alone
from exporter.match import match
from exporter.source import NETWORKS, Source
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
    folders = tuple(f for f in NETWORKS if source.has(f))
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
    if "unet" in configs:
        check_conditioning(source, _wrapper(recognised, "unet").inputs(configs["unet"]))
    # Only now the weights: those of a model on the Hub are downloaded when they are asked for.
    matched = {
        name: _match(source, _wrapper(recognised, name), config) for name, config in configs.items()
    }
    return matched, recognised


def _check_agreement(source: Source, recognised: Recognised) -> None:
    """Refuses networks that don't go together, such as one that was given with an option."""
    _check_encoders(source, recognised)
    _check_vae(source, recognised)


def _check_vae(source: Source, recognised: Recognised) -> None:
    channels = recognised.configs.get("vae", {}).get("latent_channels")
    made = recognised.configs["unet"].get("out_channels")
    if not isinstance(channels, int) or not isinstance(made, int):
        return
    taken = made - recognised.family.unused_channels
    if channels != taken:
        raise SourceError(
            f"{source.location}: the vae has latents of {channels} channels, the U-Net takes "
            f"{taken}; they belong to different models."
        )


def _check_encoders(source: Source, recognised: Recognised) -> None:
    """Text encoders are side by side: the U-Net takes states as wide as all of them together."""
    family, configs = recognised.family, recognised.configs
    encoders = tuple(family.tokenizers)
    missing = [name for name in encoders if name not in configs]
    if missing:
        if len(encoders) > 1:
            raise _lacks_encoder(source, recognised, missing)
        return
    widths = [configs[name].get("hidden_size") for name in encoders]
    width = sum(each for each in widths if isinstance(each, int))
    wanted = configs["unet"].get("cross_attention_dim")
    if isinstance(wanted, int) and all(widths) and width != wanted:
        have = "has" if len(encoders) == 1 else "together have"
        raise SourceError(
            f"{source.location}: the {' and the '.join(encoders)} {have} states of width {width}, "
            f"the U-Net takes {wanted}; they belong to different models."
        )


def _lacks_encoder(source: Source, recognised: Recognised, missing: list[str]) -> SourceError:
    family = recognised.family
    if takes_second_alone(source):
        return SourceError(
            f"{source.location}: model_index.json says {source.pipeline_class}, and the U-Net is "
            "that of a refiner: it takes the states of text_encoder_2 alone. Give the base, or "
            f"name the refiner's own pipeline class, {SDXL_REFINER.pipelines[0]}."
        )
    return SourceError(
        f"{source.location} has no {' and no '.join(missing)}; a model of {family.unsaid.title} "
        f"has {' and '.join(family.tokenizers)}."
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
    return component.complete(config, recognised.configs)


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
