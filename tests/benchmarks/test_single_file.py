"""Synthetic models as one file in the original naming."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer import Typer
from typer.testing import CliRunner

from benchmarks.synthetic import command
from benchmarks.synthetic.single_file import synthesize_file, write_single_file
from exporter.weights import read_header
from runtimes.errors import UsageError

Synthesize = Callable[[str], Path]

# From the listings of v1-5-pruned-emaonly, v2-1_768-ema-pruned, sd_xl_base_1.0 and
# sd_xl_refiner_1.0.
PUBLIC_KEYS = {
    "tiny-sd15": {
        "model.diffusion_model.time_embed.0.weight",
        "model.diffusion_model.input_blocks.1.0.emb_layers.1.weight",
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.ff.net.0.proj.weight",
        "model.diffusion_model.input_blocks.3.0.op.weight",
        "model.diffusion_model.middle_block.1.proj_in.weight",
        "model.diffusion_model.output_blocks.2.1.conv.weight",
        "model.diffusion_model.output_blocks.5.1.norm.weight",
        "model.diffusion_model.out.2.bias",
        "first_stage_model.encoder.down.0.downsample.conv.weight",
        "first_stage_model.encoder.down.2.block.0.nin_shortcut.weight",
        "first_stage_model.encoder.mid.attn_1.proj_out.weight",
        "first_stage_model.decoder.up.3.upsample.conv.weight",
        "first_stage_model.decoder.norm_out.weight",
        "first_stage_model.post_quant_conv.weight",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight",
        "alphas_cumprod",
    },
    "tiny-sd21": {
        "cond_stage_model.model.positional_embedding",
        "cond_stage_model.model.token_embedding.weight",
        "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight",
        "cond_stage_model.model.transformer.resblocks.3.mlp.c_fc.weight",
        "cond_stage_model.model.ln_final.weight",
        "cond_stage_model.model.text_projection",
        "cond_stage_model.model.logit_scale",
    },
    "tiny-sdxl": {
        "model.diffusion_model.label_emb.0.0.weight",
        "model.diffusion_model.label_emb.0.2.bias",
        "model.diffusion_model.input_blocks.5.1.transformer_blocks.1.attn2.to_k.weight",
        "model.diffusion_model.middle_block.1.transformer_blocks.1.attn1.to_out.0.bias",
        "model.diffusion_model.output_blocks.1.2.conv.weight",
        "first_stage_model.decoder.up.3.upsample.conv.weight",
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
        "conditioner.embedders.1.model.positional_embedding",
        "conditioner.embedders.1.model.transformer.resblocks.2.attn.in_proj_bias",
        "conditioner.embedders.1.model.text_projection",
        "conditioner.embedders.1.model.logit_scale",
    },
    "tiny-sdxl-refiner": {
        "model.diffusion_model.label_emb.0.0.weight",
        "conditioner.embedders.0.model.ln_final.weight",
        "conditioner.embedders.0.model.text_projection",
    },
}


@pytest.mark.parametrize("name", PUBLIC_KEYS)
def test_keys_are_those_of_public_checkpoints(
    synthesized: Synthesize, tmp_path: Path, name: str
) -> None:
    path = write_single_file(synthesized(name), tmp_path / "m.safetensors")
    assert PUBLIC_KEYS[name] <= read_header(path).keys()


def test_every_weight_is_there_once(synthesized: Synthesize, tmp_path: Path) -> None:
    folder = synthesized("tiny-sd21")
    path = write_single_file(folder, tmp_path / "m.safetensors", leftovers=False)
    size = sum(tensor.size_bytes for tensor in read_header(path).values())
    files = folder.rglob("*.safetensors")
    assert size == sum(t.size_bytes for file in files for t in read_header(file).values())


def test_attention_is_stored_as_the_original_does(synthesized: Synthesize, tmp_path: Path) -> None:
    folder = synthesized("tiny-sd21")
    found = load_file(write_single_file(folder, tmp_path / "m.safetensors"))
    text = load_file(folder / "text_encoder" / "model.safetensors")
    layer = "text_model.encoder.layers.1.self_attn."
    packed = found["cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight"]
    rows = np.concatenate([text[f"{layer}{letter}_proj.weight"] for letter in "qkv"])
    np.testing.assert_array_equal(packed, rows)
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    query = vae["decoder.mid_block.attentions.0.to_q.weight"]
    stored = found["first_stage_model.decoder.mid.attn_1.q.weight"]
    np.testing.assert_array_equal(stored, query[:, :, None, None])


def test_projection_of_sdxl_is_stored_as_open_clip_does(
    synthesized: Synthesize, tmp_path: Path
) -> None:
    folder = synthesized("tiny-sdxl")
    found = load_file(write_single_file(folder, tmp_path / "m.safetensors"))
    text = load_file(folder / "text_encoder_2" / "model.safetensors")
    stored = found["conditioner.embedders.1.model.text_projection"]
    assert stored.shape == (48, 40)
    np.testing.assert_array_equal(stored, text["text_projection.weight"].T)
    assert "conditioner.embedders.1.model.transformer.resblocks.3.ln_1.bias" not in found


def test_weight_without_an_original_name_is_refused(
    synthesized: Synthesize, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(UsageError, match=r"no name for the U-Net's time_embedding\.cond_proj"):
        write_single_file(synthesized("tiny-lcm"), path)
    assert not path.exists()


def test_command_writes_the_weights_of_the_folder(synthesized: Synthesize, tmp_path: Path) -> None:
    app = Typer()
    app.command("synth")(command)
    path = tmp_path / "new" / "m.safetensors"
    arguments = ["tiny-sd15", "--layout", "single", "-o", str(path), "--json"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    assert (result["path"], result["layout"]) == (str(path), "single")
    assert result["size_bytes"] == path.stat().st_size
    expected = write_single_file(synthesized("tiny-sd15"), tmp_path / "m.safetensors")
    assert path.read_bytes() == expected.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.ckpt", "--layout", "single"], r"x\.ckpt must end in \.safetensors"),
        (["-o", "x.safetensors", "--layout", "one"], "unknown layout 'one'; known are diffusers"),
        (
            ["-o", "x.safetensors", "--layout", "single", "--shards", "2"],
            "--shards 2 doesn't go with --layout single",
        ),
    ],
)
def test_wrong_usage_is_refused(arguments: list[str], message: str) -> None:
    app = Typer()
    app.command("synth")(command)
    outcome = CliRunner().invoke(app, ["tiny-sd15", *arguments])
    assert isinstance(outcome.exception, UsageError)
    assert outcome.exception.args[0].startswith(message.replace("\\", ""))


def test_existing_file_is_replaced_on_demand_alone(synthesized: Synthesize, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists; give another place, or --force"):
        synthesize_file("tiny-sd15", path)
    assert path.read_bytes() == b"mine"
    assert write_single_file(synthesized("tiny-sd15"), path, force=True).stat().st_size > 1e6
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]
