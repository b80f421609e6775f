"""A source's small files as a bundle has them: in one form, whatever wrote them.

So a checkpoint and the Diffusers folder it was made from give the same bundle.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib.metadata import version

from exporter.components.base import Config, class_name
from exporter.conditioning import settings
from exporter.families.table import Family, networks_of
from exporter.source import Source
from exporter.sources.folder import LOW_RES_SCHEDULER, MODEL_INDEX, SCHEDULER

__all__ = ["LOW_RES_SCHEDULER", "SCHEDULER", "canonical_texts", "encode"]

_CLASSES = {
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
}


def canonical_texts(
    source: Source, family: Family, components: Collection[str]
) -> dict[str, bytes]:
    """model_index.json, the scheduler's config, and the tokenizers as they are.

    Args:
        source: the source.
        family: its family.
        components: those that the bundle has.

    Returns:
        Path in the bundle → content.
    """
    scheduler = canonical_scheduler(source.scheduler_config())
    tokenizers = {
        folder: source.tokenizer(folder)
        for encoder, folder in family.tokenizers.items()
        if encoder in components
    }
    index = {
        "_class_name": source.pipeline_class,
        # diffusers asks inpainting models for it.
        "_diffusers_version": version("diffusers"),
        "scheduler": ("diffusers", scheduler.get("_class_name")),
        **{name: _class_of(source, name) for name in networks_of(components)},
        **dict.fromkeys(tokenizers, ("transformers", "CLIPTokenizer")),
        **family.index,
        **settings(source),
    }
    texts = {SCHEDULER: encode(scheduler)}
    low_res = source.low_res_scheduler_config()
    if low_res is not None:
        index["low_res_scheduler"] = ("diffusers", low_res.get("_class_name"))
        texts[LOW_RES_SCHEDULER] = encode(canonical_scheduler(low_res))
    texts[MODEL_INDEX] = encode(index)
    for folder, files in tokenizers.items():
        texts |= {f"{folder}/{name}": content for name, content in files.items()}
    return texts


def _class_of(source: Source, folder: str) -> tuple[str, str]:
    """Library and class of a network; diffusers' are of several."""
    return _CLASSES.get(folder) or ("diffusers", class_name(source.config(folder)))


def canonical_scheduler(config: Config) -> Config:
    """A scheduler's config without its writer's version.

    Defaults are not filled in: another scheduler that is made from the file takes its own defaults
    for what is absent, and would take these for the model's.
    """
    return {
        key: value
        for key, value in config.items()
        if key != "_diffusers_version" and not (key == "trained_betas" and value is None)
    }


def encode(config: Mapping[str, object]) -> bytes:
    """A config's bytes: sorted keys, two spaces of indent, a line end."""
    # Not msgspec: a scheduler's config may hold -Infinity, for which strict JSON has null alone.
    return f"{json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)}\n".encode()
