"""Reads what an export needs of a source, and refuses what doesn't fit, before any slow work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.components import component as load_component
from exporter.components.base import Component, Config
from exporter.errors import SourceError
from exporter.families import Recognised, recognise
from exporter.match import match
from exporter.source import Source
from exporter.weights import Tensor
from runtimes.errors import unknown_name
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
        raise SourceError(f"{source.path}: model_index.json lists no unet.")
    _ = source.scheduler_path  # what is missing is told before slow work begins
    recognised = recognise(source, folders)
    wanted = recognised.family.components if components is None else components
    for name in wanted:
        if name not in recognised.family.components:
            raise unknown_name("component", name, recognised.family.components)
    return {
        name: _prepare(source, recognised, name)
        for name in recognised.family.components
        if name in wanted
    }, recognised


def _prepare(source: Source, recognised: Recognised, name: str) -> Prepared:
    component = load_component(name)
    if component.source not in recognised.configs:
        raise SourceError(f"{source.path}: model_index.json lists no {component.source}.")
    config = dict(recognised.configs[component.source])
    component.check(config)
    tokenizer = recognised.family.tokenizers.get(name)
    if tokenizer is not None:
        # SD 1.x's config says 2, a leftover; the tokenizer knows the token that ends a prompt.
        source.tokenizer_files(tokenizer)
        config["eos_token_id"] = ClipTokenizer.open(source.path / tokenizer).eos_token_id
    return Prepared(component, config, match(component, config, source.tensors(component.source)))
