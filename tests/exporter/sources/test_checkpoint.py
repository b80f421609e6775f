"""A single-file checkpoint gives what the Diffusers folder gives that it was made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.synthetic import synthesize
from benchmarks.synthetic.single_file import write_single_file
from exporter.errors import SourceError, WeightError
from exporter.export import export
from exporter.prepare import prepare
from exporter.source import SourceOptions, open_source
from exporter.verify import verify
from exporter.weights import read_header
from runtimes.errors import UsageError
from tests.exporter.checkpoints import assert_same, assert_same_bundle, edit

Named = Callable[[str], Path]
SMALL = ("small-sd15", "small-sd15-inpaint", "small-ip2p", "small-sd21")
TINY = ("tiny-sd15", "tiny-sd15-inpaint", "tiny-sd21")
NETWORKS = ("text_encoder", "unet", "vae")
ORIGINALS = ("cond_stage_model.", "first_stage_model.")
V = SourceOptions(prediction_type="v_prediction")


def options_of(name: str, folder: Path) -> SourceOptions:
    """A tiny model's heads and groups are not the family's: its folder gives them."""
    if name.startswith("tiny-"):
        return SourceOptions(config=folder)
    if name == "sd15":  # its vocabulary is made up
        return SourceOptions(tokenizer=folder / "tokenizer")
    return V if "sd21" in name else SourceOptions()


@pytest.mark.parametrize("name", [*SMALL, *TINY])
def test_parts_are_the_folders(model: Named, checkpoint: Named, name: str) -> None:
    options = options_of(name, model(name))
    assert_same(open_source(checkpoint(name), options), open_source(model(name)))


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_every_dtype_is_read(tmp_path: Path, dtype: str) -> None:
    """SD 2's: its attention is split by bytes."""
    folder = synthesize("tiny-sd21", tmp_path / "model", dtype=dtype)
    path = write_single_file(folder, tmp_path / "m.safetensors")
    assert_same(open_source(path, SourceOptions(config=folder)), open_source(folder))


@pytest.mark.parametrize(
    "name", ["tiny-sd15", *(pytest.param(n, marks=pytest.mark.slow) for n in TINY[1:])]
)
def test_bundle_is_the_folders_byte_for_byte(
    model: Named, checkpoint: Named, exported: Named, tmp_path: Path, name: str
) -> None:
    options = options_of(name, model(name))
    export(checkpoint(name), tmp_path / "bundle", verify="none", source_options=options)
    assert_same_bundle(tmp_path / "bundle", exported(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, "sd15"])
def test_bundle_of_inferred_configs_is_the_folders(
    model: Named, checkpoint: Named, tmp_path: Path, name: str
) -> None:
    options = options_of(name, model(name))
    export(model(name), tmp_path / "folder", verify="none")
    export(checkpoint(name), tmp_path / "file", verify="none", source_options=options)
    assert_same_bundle(tmp_path / "file", tmp_path / "folder")


def test_bundle_verifies_against_its_checkpoint(
    checkpoint: Named, exported: Named, model: Named, tmp_path: Path
) -> None:
    """SD 2.x too: what the U-Net predicts need not be said again to compare networks."""
    path = checkpoint("small-sd21")
    export(path, tmp_path / "b", components=("text_encoder",), verify="none", source_options=V)
    report = verify(tmp_path / "b", against=path)
    assert report.components["text_encoder"].passed


# --- what is not in the file


def test_prediction_type_of_sd2_must_be_said(checkpoint: Named, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="give --prediction-type v_prediction") as caught:
        export(checkpoint("small-sd21"), tmp_path / "b", verify="none")
    assert "or epsilon (the base models at 512), or --config FOLDER" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_prediction_type_settles_size_and_scheduler(checkpoint: Named) -> None:
    for prediction, size in (("epsilon", 64), ("v_prediction", 96)):
        options = SourceOptions(prediction_type=prediction)  # pyright: ignore
        source = open_source(checkpoint("small-sd21"), options)
        assert source.config("unet")["sample_size"] == size
        assert source.scheduler_config().get("prediction_type", "epsilon") == prediction


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (("unet", "vae"), "holds no text encoder: give one with --text-encoder PATH, or choose"),
        (("unet", "text_encoder"), "holds no VAE: give one with --vae PATH, or choose components"),
    ],
)
def test_missing_network_must_be_given(
    model: Named, tmp_path: Path, networks: tuple[str, ...], message: str
) -> None:
    path = write_single_file(model("small-sd15"), tmp_path / "m.safetensors", networks=networks)
    with pytest.raises(SourceError, match=message):
        prepare(open_source(path), None)
    there = {"unet": "unet", "vae": "vae_decoder", "text_encoder": "text_encoder"}
    assert list(prepare(open_source(path), (there[networks[1]], "unet"))[0])


@pytest.mark.parametrize("naming", ["folder", "original", "diffusers", "whole", "model folder"])
def test_missing_vae_is_taken_from_elsewhere(
    model: Named, checkpoint: Named, tmp_path: Path, naming: str
) -> None:
    folder = model("small-sd15")
    bare = tmp_path / "bare.safetensors"
    write_single_file(folder, bare, networks=("unet", "text_encoder"))
    original = tmp_path / "vae.safetensors"
    if naming == "original":
        write_single_file(folder, original, networks=("vae",), leftovers=False)
    places = {
        "folder": folder / "vae",
        "original": original,
        "diffusers": folder / "vae" / "diffusion_pytorch_model.safetensors",
        "whole": checkpoint("small-sd15"),
        "model folder": folder,
    }
    options = SourceOptions(vae=places[naming])
    assert_same(open_source(bare, options), open_source(folder))


@pytest.mark.parametrize("name", ["small-sd15", "small-sd21"])
def test_missing_text_encoder_is_taken_from_elsewhere(
    model: Named, checkpoint: Named, tmp_path: Path, name: str
) -> None:
    folder = model(name)
    bare = write_single_file(folder, tmp_path / "bare.safetensors", networks=("unet", "vae"))
    predicts = options_of(name, folder).prediction_type
    for place in (folder / "text_encoder", checkpoint(name)):
        options = SourceOptions(text_encoder=place, prediction_type=predicts)
        assert_same(open_source(bare, options), open_source(folder))


def test_vae_of_a_folder_is_replaced(model: Named, tmp_path: Path) -> None:
    other = open_source(model("small-sd15"), SourceOptions(vae=model("tiny-sd15") / "vae"))
    found = prepare(other, ("vae_decoder",))[0]["vae_decoder"]
    expected = prepare(open_source(model("tiny-sd15")), ("vae_decoder",))[0]["vae_decoder"]
    assert (found.config, found.weights) == (expected.config, expected.weights)


def test_other_tokenizer_is_taken(model: Named, checkpoint: Named) -> None:
    folder = model("tiny-sd15") / "tokenizer"
    source = open_source(checkpoint("small-sd15"), SourceOptions(tokenizer=folder))
    assert source.tokenizer("tokenizer")["vocab.json"] == (folder / "vocab.json").read_bytes()
    config = prepare(source, ("text_encoder",))[0]["text_encoder"].config
    assert config["eos_token_id"] == 999


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"revision": "main"}, "--revision chooses a version of a model on the Hub, and .* file"),
        ({"prediction_type": "v"}, "unknown prediction type 'v'; known are epsilon, v_prediction"),
        ({"config": "tiny-sd21", "prediction_type": "epsilon"}, "says v_prediction; leave one"),
    ],
)
def test_options_that_contradict_are_refused(
    model: Named, checkpoint: Named, options: dict[str, str], message: str
) -> None:
    given: dict[str, object] = dict(options)
    if "config" in options:
        given["config"] = model(options["config"])
    with pytest.raises(UsageError, match=message):
        open_source(checkpoint("small-sd21"), SourceOptions(**given))  # pyright: ignore


def test_file_is_refused_as_folder_of_configs(checkpoint: Named) -> None:
    path = checkpoint("small-sd21")
    with pytest.raises(SourceError, match="safetensors is a file, not a Diffusers folder"):
        open_source(path, SourceOptions(config=path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"config": Path("x")},
            "--config gives configs to a single-file checkpoint, and .* folder",
        ),
        ({"prediction_type": "epsilon"}, "--prediction-type is said of a single-file checkpoint"),
        ({"revision": "main"}, "--revision chooses a version of a model on the Hub"),
    ],
)
def test_options_of_checkpoints_are_refused_for_folders(
    tiny_sd15: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(tiny_sd15, SourceOptions(**options))  # pyright: ignore[reportArgumentType]


def test_unknown_weights_are_named(checkpoint: Named, tmp_path: Path) -> None:
    add = {"model.diffusion_model.extra.weight": (4,), "oddity": (1,)}
    path = edit(checkpoint("small-sd15"), tmp_path / "m.safetensors", add=add)
    message = "2 unknown weights: model.diffusion_model.extra.weight, oddity. They belong to none"
    with pytest.raises(WeightError, match=message):
        open_source(path)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "model.diffusion_model.input_blocks.1.0.in_layers.2.bias",
            "unet: 1 missing weight: down_blocks.0.resnets.0.conv1.bias",
        ),
        (
            "model.diffusion_model.input_blocks.0.0.weight",
            "unet: conv_in.weight is missing; the architecture is read off it",
        ),
        (
            "first_stage_model.decoder.mid.attn_1.q.weight",
            "vae: 1 missing weight: decoder.mid_block.attentions.0.to_q.weight",
        ),
        (
            "cond_stage_model.transformer.text_model.final_layer_norm.bias",
            "text_encoder: 1 missing weight: text_model.final_layer_norm.bias",
        ),
    ],
)
def test_missing_weights_are_named(
    checkpoint: Named, tmp_path: Path, key: str, message: str
) -> None:
    path = edit(checkpoint("small-sd15"), tmp_path / "m.safetensors", drop=(key,))
    with pytest.raises(WeightError, match=message):
        prepare(open_source(path), None)


def test_quantised_weights_are_refused(checkpoint: Named, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    raw = checkpoint("small-sd15").read_bytes()
    path.write_bytes(raw.replace(b'"F16",', b'"F8" ,', 1))
    message = "has dtype F8; read are .*F16.* Quantised weights are not taken; give the"
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_whole_numbers_as_weights_are_refused(checkpoint: Named, tmp_path: Path) -> None:
    path = edit(
        checkpoint("small-sd15"),
        tmp_path / "m.safetensors",
        drop=("model.diffusion_model.out.2.bias",),
        add={"model.diffusion_model.out.2.bias": (4,)},
        dtype="I8",
    )
    with pytest.raises(WeightError, match=r"conv_out\.bias has dtype I8; read are F32, F16, BF16"):
        prepare(open_source(path), ("unet",))


def test_truncated_checkpoint_is_refused(checkpoint: Named, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(checkpoint("small-sd15").read_bytes()[:-100])
    with pytest.raises(SourceError, match="is truncated: its tensors end at byte"):
        open_source(path)


def test_gguf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(SourceError, match="is a GGUF file, whose weights are quantised"):
        open_source(path)


def test_vae_of_other_latents_is_refused(model: Named, tmp_path: Path) -> None:
    from tests.exporter.checkpoints import write_keys

    tensors = read_header(model("small-sd15") / "vae" / "diffusion_pytorch_model.safetensors")
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    shapes["decoder.conv_in.weight"] = (64, 16, 3, 3)
    path = write_keys(tmp_path / "vae.safetensors", shapes)
    source = open_source(model("small-sd15"), SourceOptions(vae=path))
    with pytest.raises(SourceError, match="the vae has latents of 16 channels, the U-Net takes 4"):
        prepare(source, None)


@pytest.mark.parametrize(
    ("option", "place", "message"),
    [
        ("vae", "text_encoder/model.safetensors", "is no VAE: it seems to be a CLIP text encoder"),
        (
            "vae",
            "text_encoder",
            "holds CLIPTextModel, not AutoencoderKL or AutoencoderTiny or VQModel",
        ),
        ("vae", "missing", "no such file or folder"),
        ("vae", "vae.pt", "is a pickle"),
        (
            "text_encoder",
            "vae/diffusion_pytorch_model.safetensors",
            "is no text encoder: it seems to be a VAE alone",
        ),
        ("text_encoder", "vae", "holds AutoencoderKL, not CLIPTextModel"),
        ("tokenizer", "vae", "holds no CLIP tokenizer"),
        ("config", "missing", "no such file or folder"),
    ],
)
def test_other_parts_must_be_what_they_are_given_as(
    model: Named, checkpoint: Named, option: str, place: str, message: str
) -> None:
    options = SourceOptions(**{option: model("small-sd15") / place})  # pyright: ignore
    with pytest.raises(SourceError, match=message):
        open_source(checkpoint("small-sd15"), options)
