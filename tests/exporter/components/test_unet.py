"""The U-Net's inputs beyond latents, timestep and text: which there are, and where they go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

from benchmarks.synthetic.models import MODELS
from exporter.components.unet import UNet
from exporter.errors import SourceError

TINY = MODELS["tiny-sd15"].networks["unet"]
SIZES = {"batch": 2, "height": 9, "width": 7, "sequence": 77}

ADDED: Mapping[str, Mapping[str, tuple[str, tuple[int | str, ...]]]] = {
    "num_class_embeds": {"class_labels": ("int64", (1,))},
    "class_embed_type": {"class_labels": ("float32", (1,))},
    "time_cond_proj_dim": {"timestep_cond": ("float32", ("batch", 12))},
    "num_class_embeds time_cond_proj_dim": {
        "class_labels": ("int64", (1,)),
        "timestep_cond": ("float32", ("batch", 12)),
    },
}
VALUES = {"num_class_embeds": 50, "class_embed_type": "timestep", "time_cond_proj_dim": 12}

XL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24 + 6 * 8,
}
TEXT_2 = {"text_encoder_2": {"projection_dim": 24}}


def tiny(**changes: object) -> dict[str, Any]:
    config = {"_class_name": "UNet2DConditionModel", **TINY.config, **changes}
    UNet().check(config)
    return UNet().normalise(config)


@pytest.mark.parametrize("fields", ADDED)
def test_config_says_which_inputs_there_are(fields: str) -> None:
    config = tiny(**{field: VALUES[field] for field in fields.split()})
    ports = UNet().inputs(config)
    assert [port.name for port in ports[:3]] == ["sample", "timestep", "encoder_hidden_states"]
    assert {p.role: (p.dtype, p.shape) for p in ports[3:]} == ADDED[fields]


def test_plain_unet_has_no_others() -> None:
    assert len(UNet().inputs(tiny())) == 3


@pytest.mark.parametrize("fields", ADDED)
def test_each_goes_where_diffusers_takes_it(fields: str) -> None:
    config = tiny(**{field: VALUES[field] for field in fields.split()})
    torch.manual_seed(0)
    network: Any = UNet().build(config).eval()
    feeds: dict[str, torch.Tensor] = {}
    for port in UNet().inputs(config):
        shape = [SIZES[n] if isinstance(n, str) else n for n in port.shape]
        feeds[port.name] = torch.randn(shape)
    if "num_class_embeds" in fields:
        feeds["class_labels"] = torch.tensor([7])
    given = (
        {**feeds, "class_labels": feeds["class_labels"].repeat(2)} if "class" in fields else feeds
    )
    with torch.no_grad():
        found = UNet().reference(network, config, feeds)["out_sample"]
        expected = network(**given).sample
        feeds[list(feeds)[-1]] = feeds[list(feeds)[-1]] + 1
        moved = UNet().reference(network, config, feeds)["out_sample"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (moved - found).abs().max() > 1e-4, "the last input plays no part"


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("class_embed_type", "projection", "None and 'timestep'"),
        ("class_embeddings_concat", True, "None and False"),
        ("addition_embed_type", "image", "None and 'text_time'"),
    ],
)
def test_inputs_that_nothing_feeds_are_refused(field: str, value: object, allowed: str) -> None:
    message = f"unet/config.json: {field} is {value!r}, which is not supported; supported: "
    with pytest.raises(SourceError, match=f"{message}{allowed}."):
        tiny(**{field: value})


def completed(**changes: object) -> dict[str, Any]:
    return UNet().complete(tiny(**changes), TEXT_2)


@pytest.mark.parametrize(("numbers", "told"), [(6, False), (5, False), (6, True)])
def test_numbers_of_the_picture_follow_from_both_configs(numbers: int, told: bool) -> None:
    widths = {**XL, "projection_class_embeddings_input_dim": 24 + numbers * 8}
    ports = UNet().inputs(completed(**widths, time_cond_proj_dim=12 if told else None))
    found = {port.role: port.shape for port in ports[3:]}
    assert list(found) == [*["timestep_cond"] * told, "text_embeds", "time_ids"]
    assert found["text_embeds"] == ("batch", 24)
    assert found["time_ids"] == ("batch", numbers)
    assert {port.dtype for port in ports} == {"float32"}


def test_text_and_numbers_go_where_diffusers_takes_them() -> None:
    config = completed(**XL, time_cond_proj_dim=12)
    torch.manual_seed(0)
    network: Any = UNet().build(config).eval()
    feeds = {
        port.name: torch.randn([SIZES[n] if isinstance(n, str) else n for n in port.shape])
        for port in UNet().inputs(config)
    }
    about = {name: feeds[name] for name in ("text_embeds", "time_ids")}
    plain = {name: value for name, value in feeds.items() if name not in about}
    with torch.no_grad():
        found = UNet().reference(network, config, feeds)["out_sample"]
        expected = network(**plain, added_cond_kwargs=about).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for name in about:
        with torch.no_grad():
            moved = UNet().reference(network, config, {**feeds, name: feeds[name] + 1})
        assert (moved["out_sample"] - found).abs().max() > 1e-4, f"{name} plays no part"


def test_the_width_of_the_text_survives_a_bundles_config() -> None:
    config = completed(**XL)
    assert UNet().normalise(config) == config
    assert type(UNet().build(config)).__name__ == "UNet2DConditionModel"


@pytest.mark.parametrize(
    ("others", "changes", "message"),
    [
        ({}, {}, "takes the embedding of a text_encoder_2, and the model has none"),
        (
            TEXT_2,
            {"projection_class_embeddings_input_dim": 71},
            "projection_class_embeddings_input_dim 71 is not text_encoder_2's projection_dim 24 "
            "and a multiple of addition_time_embed_dim 8; the two belong to different models",
        ),
        (
            TEXT_2,
            {"addition_time_embed_dim": None},
            "are 72, 24 and None; all three must be whole numbers above 0",
        ),
    ],
)
def test_widths_that_do_not_add_up_are_refused(
    others: dict[str, Any], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        UNet().complete(tiny(**{**XL, **changes}), others)


THERE, BACK = "transformer_layers_per_block", "reverse_transformer_layers_per_block"


@pytest.mark.parametrize(
    ("there", "back", "expected"),
    [
        ([2, 2], None, (2, None)),
        ([1, 2], [2, 1], ([1, 2], None)),
        ([1, 2], [1, 2], ([1, 2], [1, 2])),
        (2, [2, 2], (2, None)),
        ([[1, 1], [1, 1]], [[1, 1, 1], [1, 1, 1]], (1, None)),
        ([1, [2, 2]], [[2, 2, 2], 1], ([1, 2], None)),
        ([1, [2, 2]], [[2, 2, 3], 1], ([1, 2], [[2, 2, 3], 1])),
        ([[1, 2], [1, 2]], [[1, 2], [1, 2]], ([[1, 2], [1, 2]], [[1, 2], [1, 2]])),
    ],
)
def test_layers_of_transformers_have_one_form(
    there: object, back: object, expected: tuple[object, object]
) -> None:
    config = tiny(**{THERE: there, BACK: back})
    assert (config[THERE], config[BACK]) == expected


def test_one_text_cannot_be_of_several_widths() -> None:
    assert tiny(cross_attention_dim=[32, 32])["cross_attention_dim"] == 32
    with pytest.raises(SourceError, match=r"cross_attention_dim is \[32, 48\], and one text"):
        tiny(cross_attention_dim=[32, 48])


PRUNED: Mapping[str, Mapping[str, object]] = {
    "no middle": {"mid_block_type": None},
    "a middle without attention": {"mid_block_type": "UNetMidBlock2D"},
    "one layer a block": {"layers_per_block": 1, "mid_block_type": None},
    "other counts by level": {"layers_per_block": [1, 2]},
    "layers named one by one": {
        "transformer_layers_per_block": [[1, 2], 1],
        "reverse_transformer_layers_per_block": [1, [2, 1, 1]],
        "mid_block_type": "UNetMidBlock2D",
    },
    "cross attention alone": {"only_cross_attention": [True, False]},
}


@pytest.mark.parametrize("layout", PRUNED)
def test_pruned_layouts_are_what_diffusers_makes_of_the_file(layout: str) -> None:
    config = tiny(**PRUNED[layout])
    as_filed = {**TINY.config, **PRUNED[layout]}
    with torch.device("meta"):
        network = UNet().build(config)
        expected: Any = UNet2DConditionModel.from_config(dict(as_filed))
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    assert shapes == {name: value.shape for name, value in expected.state_dict().items()}
    assert UNet().normalise(config) == config
