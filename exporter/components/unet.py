"""The U-Net of Stable Diffusion: `UNet2DConditionModel` conditioned on text embeddings.

Its config says which further inputs it has: class labels (one number for all samples, such as the
noise level of an upscaler's picture), an embedding that is added to that of the timestep, and
SDXL's pooled text embedding and numbers about the picture (sizes, crop, aesthetic score).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

from exporter.components.base import (
    Array,
    Component,
    Config,
    fields,
    parameters_of,
    port,
    uniform,
)
from exporter.components.k_blocks import by_channel, has_k_blocks, kernels
from exporter.errors import SourceError
from runtimes.manifest import Port

_PLAIN: dict[str, tuple[object, ...]] = {
    "addition_embed_type": (None, "text_time"),
    "class_embed_type": (None, "timestep"),
    "class_embeddings_concat": (None, False),
    "encoder_hid_dim_type": (None,),
    "center_input_sample": (None, False),
}
"""Config fields that add inputs to the network, and the values that are supported."""

_PER_LEVEL = (
    "attention_head_dim",
    "cross_attention_dim",
    "layers_per_block",
    "num_attention_heads",
    "only_cross_attention",
    "transformer_layers_per_block",
)
"""Fields that have one value for all levels, or a list with one for each."""

TEXT_WIDTH = "_text_embeds_dim"
"""What SDXL's U-Net leaves open: its config has the sum of the widths of text and numbers alone.

Readers of diffusers' configs pass over names that begin so.
"""

_IN_A_DICT = ("text_embeds", "time_ids")
"""Inputs that diffusers takes as `added_cond_kwargs`."""


class UNet(Component):
    """`sample`, `timestep`, `encoder_hidden_states`, and what the config adds → `out_sample`.

    `class_labels` is there with `num_class_embeds` or a `class_embed_type`, `timestep_cond` with
    `time_cond_proj_dim`, `text_embeds` and `time_ids` with the `addition_embed_type` "text_time".
    """

    name = "unet"
    source = "unet"
    classes = ("UNet2DConditionModel",)

    def check(self, config: Config) -> None:
        """Refuses U-Nets with inputs that `inputs` doesn't list."""
        super().check(config)
        for field, plain in _PLAIN.items():
            if config.get(field) not in plain:
                raise SourceError(
                    f"unet/config.json: {field} is {config[field]!r}, which is not supported; "
                    f"supported: {' and '.join(map(repr, plain))}."
                )
        widths = uniform(config.get("cross_attention_dim"))
        if isinstance(widths, list):
            raise SourceError(
                f"unet/config.json: cross_attention_dim is {widths}, and one text embedding can't "
                "be of several widths; supported is one for all levels."
            )

    def normalise(self, config: Config) -> dict[str, Any]:
        """The fields of `UNet2DConditionModel`; per-level lists of one value as that value."""
        found = fields(parameters_of(UNet2DConditionModel), config)
        found |= transformer_layers(found)
        found |= {name: uniform(found[name]) for name in _PER_LEVEL}
        completed = {name: config[name] for name in (TEXT_WIDTH,) if name in config}
        return {"_class_name": self.classes[0], **found, **completed}

    def complete(self, config: Config, others: Mapping[str, Config]) -> dict[str, Any]:
        """The width of the text embedding, which is the second text encoder's."""
        if config["addition_embed_type"] != "text_time":
            return dict(config)
        if "text_encoder_2" not in others:
            raise SourceError(
                "unet/config.json: addition_embed_type is 'text_time', which takes the embedding "
                "of a text_encoder_2, and the model has none."
            )
        completed = {**config, TEXT_WIDTH: others["text_encoder_2"].get("projection_dim")}
        numbers_of_picture(completed)
        return completed

    def build(self, config: Config) -> torch.nn.Module:
        """The U-Net; diffusers names its parameters as its files do."""
        return cast("torch.nn.Module", UNet2DConditionModel.from_config(dict(config)))

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """The U-Net without its output dataclass; K blocks resample channel by channel."""
        by_channel(network)
        return _flat(network, config)

    def reference(
        self, network: torch.nn.Module, config: Config, feeds: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """See `Component.reference`: of diffusers' own blocks."""
        output = _flat(network, config)(*(feeds[port.name] for port in self.inputs(config)))
        return {"out_sample": output}

    def buffers(self, config: Config) -> Mapping[str, Array]:
        """The blur of K blocks."""
        return kernels(config)

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """Latents [b, c, h, w], the timestep [1] and text embeddings [b, s, d], all float32.

        Behind them what the config adds: `class_labels` [1], the same for all samples, int64 where
        they choose a row of a table and float32 else; `timestep_cond` [b, k], `text_embeds` [b, e]
        and `time_ids` [b, n], float32.
        """
        return (
            port("sample", "float32", "batch", int(config["in_channels"]), "height", "width"),
            port("timestep", "float32", 1),
            port(
                "encoder_hidden_states",
                "float32",
                "batch",
                "sequence",
                int(config["cross_attention_dim"]),
            ),
            *_added_inputs(config),
        )

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """The prediction [b, c, h, w], float32."""
        channels = int(config["out_channels"])
        return (port("out_sample", "float32", "batch", channels, "height", "width"),)

    def example_sizes(self, config: Config) -> Mapping[str, int]:
        """63 × 65 latents: odd, so that the captured graph holds for every size.

        K blocks take multiples of their own sizes alone.
        """
        height, width = (48, 80) if has_k_blocks(config) else (63, 65)
        return {"batch": 2, "height": height, "width": width, "sequence": 77}

    def multiples(self, config: Config) -> Mapping[str, int]:
        """What K blocks halve again and again."""
        if not has_k_blocks(config):
            return {}
        return dict.fromkeys(("height", "width"), 2 ** (len(config["block_out_channels"]) - 1))


def transformer_layers(config: Config) -> dict[str, Any]:
    """A config's fields on the layers of transformers in one form.

    A level whose attentions have all the same has one number, and a way up that mirrors the way
    down is left unsaid.
    """
    there, back = (
        [uniform(level) for level in found] if isinstance(found := config[name], list) else found
        for name in ("transformer_layers_per_block", "reverse_transformer_layers_per_block")
    )
    levels = there if isinstance(there, list) else [there] * len(config["block_out_channels"])
    if back == levels[::-1] and not any(isinstance(level, list) for level in levels):
        back = None
    return {
        "transformer_layers_per_block": there,
        "reverse_transformer_layers_per_block": back,
    }


def _added_inputs(config: Config) -> tuple[Port, ...]:
    """The inputs that a config asks for beside those of every U-Net."""
    added: list[Port] = []
    if config.get("class_embed_type") == "timestep":
        added.append(port("class_labels", "float32", 1))
    elif config.get("num_class_embeds") is not None:
        added.append(port("class_labels", "int64", 1))
    if config.get("time_cond_proj_dim") is not None:
        width = int(config["time_cond_proj_dim"])
        added.append(port("timestep_cond", "float32", "batch", width))
    if config.get("addition_embed_type") == "text_time":
        added.append(port("text_embeds", "float32", "batch", int(config[TEXT_WIDTH])))
        added.append(port("time_ids", "float32", "batch", numbers_of_picture(config)))
    return tuple(added)


def numbers_of_picture(config: Config) -> int:
    """How many numbers about a picture a U-Net of "text_time" takes: SDXL's base 6, its refiner 5.

    Args:
        config: completed with the width of the text embedding.

    Raises:
        SourceError: the widths leave no whole number.
    """
    whole, text = config.get("projection_class_embeddings_input_dim"), config[TEXT_WIDTH]
    each = config.get("addition_time_embed_dim")
    widths = (whole, text, each)
    if not all(type(width) is int and width > 0 for width in widths):
        raise SourceError(
            "unet/config.json: projection_class_embeddings_input_dim, text_encoder_2's "
            f"projection_dim and addition_time_embed_dim are {whole}, {text} and {each}; all three "
            "must be whole numbers above 0."
        )
    count, left = divmod(whole - text, each)
    if left or count < 1:
        raise SourceError(
            f"unet/config.json: projection_class_embeddings_input_dim {whole} is not "
            f"text_encoder_2's projection_dim {text} and a multiple of addition_time_embed_dim "
            f"{each}; the two belong to different models."
        )
    return count


def _flat(network: torch.nn.Module, config: Config) -> _Flat:
    return _Flat(network, [port.name for port in _added_inputs(config)])


class _Flat(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, added: Sequence[str]) -> None:
        super().__init__()
        self.network: Any = network
        self.added = tuple(added)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        first: torch.Tensor | None = None,
        second: torch.Tensor | None = None,
        third: torch.Tensor | None = None,
        fourth: torch.Tensor | None = None,
    ) -> torch.Tensor:
        # A capture binds inputs by position; which these are, the config says.
        named = dict(zip(self.added, (first, second, third, fourth), strict=False))
        about = {name: named.pop(name) for name in _IN_A_DICT if name in named}
        return self.network(
            sample,
            timestep,
            encoder_hidden_states,
            added_cond_kwargs=about or None,
            return_dict=False,
            **named,
        )[0]
