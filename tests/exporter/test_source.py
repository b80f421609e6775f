"""Sources that are refused, each in one line that says what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.errors import SourceError, WeightError
from exporter.prepare import prepare
from exporter.source import open_source
from exporter.weights import read_header
from runtimes.errors import UsageError


@pytest.fixture
def copy(tiny_sd15: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_sd15, tmp_path / "model"))


def _edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _pickle(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def _truncate(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "no model_index.json"),
    "index no JSON": (lambda f: (f / "model_index.json").write_text("{"), "not valid JSON"),
    "no config": (lambda f: (f / "unet" / "config.json").unlink(), "config.json is missing"),
    "no folder": (lambda f: shutil.rmtree(f / "vae"), "is missing; download the whole folder"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "scheduler_config.json is missing"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "holds no CLIP tokenizer"),
    "pickle": (_pickle, "is a pickle, which can run code.*safe_serialization"),
    "truncated": (_truncate, "truncated: its tensors end at byte"),
    "pipeline": (
        lambda f: _edit(f / "model_index.json", _class_name="StableDifusionPipeline"),
        "unknown pipeline class 'StableDifusionPipeline'.*Did you mean 'StableDiffusionPipeline'",
    ),
    "class": (
        lambda f: _edit(f / "unet" / "config.json", _class_name="Transformer2DModel"),
        "unet is of class 'Transformer2DModel'; supported: UNet2DConditionModel",
    ),
    "sdxl": (
        lambda f: _edit(f / "unet" / "config.json", addition_embed_type="text_time"),
        "addition_embed_type is 'text_time', which takes the embedding of a text_encoder_2",
    ),
    "shards without an index": (
        lambda f: (f / "unet" / "diffusion_pytorch_model.safetensors").rename(
            f / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors"
        ),
        "holds diffusion_pytorch_model-00001-of-00002.safetensors, and neither .* nor an index",
    ),
    "other shape": (
        lambda f: _edit(f / "unet" / "config.json", in_channels=5),
        r"conv_in.weight has shape \[32, 4, 3, 3\], the config asks for \[32, 5, 3, 3\]",
    ),
    "other text encoder": (
        lambda f: _edit(f / "unet" / "config.json", cross_attention_dim=48),
        "the text_encoder has states of width 32, the U-Net takes 48; they belong to different",
    ),
    "other vae": (
        lambda f: _edit(f / "vae" / "config.json", latent_channels=16),
        "the vae has latents of 16 channels, the U-Net takes 4; they belong to different models",
    ),
    "size in words": (
        lambda f: _edit(f / "unet" / "config.json", in_channels="four"),
        r"unet.config\.json: in_channels is 'four', not a whole number",
    ),
    "nested too deep": (
        lambda f: _write(f / "unet" / "config.json", "[" * 99_999),
        r"unet.config\.json is not valid JSON",
    ),
    "fewer words": (
        lambda f: _edit(f / "text_encoder" / "config.json", vocab_size=9),
        r"text_encoder has vocab_size 9, and its tokenizer gives id \d+ at a prompt's end",
    ),
    "fewer places": (
        lambda f: _edit(f / "text_encoder" / "config.json", max_position_embeddings=50),
        "text_encoder has max_position_embeddings 50, and its tokenizer gives 77 ids; they belong",
    ),
    "broken tokenizer": (
        lambda f: _write(f / "tokenizer" / "vocab.json", '{"a": "b"}'),
        r"model: tokenizer.vocab\.json: not the JSON of a CLIP tokenizer",
    ),
    "exported already": (
        lambda f: _write(f / "unet" / "model.onnx", ""),
        "model holds exported graphs; give the model that they were exported from",
    ),
    "fewer layers": (
        lambda f: _edit(f / "text_encoder" / "config.json", num_hidden_layers=1),
        "unexpected weights: text_model.encoder.layers.1",
    ),
    "more layers": (
        lambda f: _edit(f / "text_encoder" / "config.json", num_hidden_layers=3),
        "missing weights: text_model.encoder.layers.2",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_source_is_refused_in_one_line(copy: Path, case: str) -> None:
    spoil, message = BROKEN[case]
    spoil(copy)
    with pytest.raises((SourceError, WeightError), match=message) as caught:
        prepare(open_source(copy), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no such file or folder"),
        ("x.ckpt", "is a pickle"),
        ("x.safetensors", "not a safetensors file"),
    ],
)
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str, message: str) -> None:
    if name == "x.safetensors":
        (tmp_path / name).write_text("")
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / name)


def test_unknown_component_lists_the_known_ones(tiny_sd15: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown component 'vae_decode'.*vae_decoder"):
        prepare(open_source(tiny_sd15), ("vae_decode",))


def test_clip_keys_are_read_with_and_without_prefix(copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    with_prefix = prepare(open_source(copy), ("text_encoder",))[0]["text_encoder"].weights
    path = copy / "text_encoder" / "model.safetensors"
    save_file({k.removeprefix("text_model."): v for k, v in load_file(path).items()}, path)
    assert "embeddings.token_embedding.weight" in read_header(path)
    without = prepare(open_source(copy), ("text_encoder",))[0]["text_encoder"].weights
    assert with_prefix.keys() == without.keys()
    assert all(key.startswith("text_model.") for key in without)


def test_buffers_and_old_attention_names_of_public_checkpoints_are_read(copy: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    path = copy / "text_encoder" / "model.safetensors"
    positions = {"text_model.embeddings.position_ids": np.arange(77)[None]}
    save_file(load_file(path) | positions, path)
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for key, value in load_file(path).items():
        for new, name in old.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{name}.")
        renamed[key] = value
    assert any(".proj_attn." in key for key in renamed)
    save_file(renamed, path)
    prepared = prepare(open_source(copy), None)[0]
    assert "decoder.mid_block.attentions.0.to_out.0.weight" in prepared["vae_decoder"].weights
    assert "text_model.embeddings.position_ids" not in prepared["text_encoder"].weights
