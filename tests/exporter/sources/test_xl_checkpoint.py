"""Single files of SDXL: each gives what the Diffusers folder gives that it was made from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.synthetic import synthesize
from benchmarks.synthetic.single_file import write_single_file
from exporter.errors import SourceError, WeightError
from exporter.export import export
from exporter.prepare import prepare
from exporter.refiner import prepare_both
from exporter.source import SourceOptions, open_source
from exporter.weights import read_header
from runtimes.errors import UsageError
from tests.exporter.checkpoints import assert_same, assert_same_bundle, edit, write_keys

Named = Callable[[str], Path]
# The base is a pruned one: what holds for it holds for the plain one, which is compared below.
BASE, REFINER = "small-xl-ssd", "small-xl-refiner"
TEXTS = ("text_encoder", "text_encoder_2")
SECOND = "conditioner.embedders.1.model."


def slowly(*names: str) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def without(model: Named, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A single file of the small base that lacks some networks."""
    folder = tmp_path_factory.mktemp("bare")

    def make(*left_out: str) -> Path:
        path = folder / f"{'-'.join(left_out)}.safetensors"
        if not path.exists():
            networks = tuple(n for n in (*TEXTS, "unet", "vae") if n not in left_out)
            write_single_file(model(BASE), path, networks=networks)
        return path

    return make


# --- what is in the file


@pytest.mark.parametrize(
    "name", [BASE, REFINER, *slowly("small-xl", "small-xl-inpaint", "small-xl-ip2p")]
)
def test_configs_read_off_the_file_are_the_folders(
    model: Named, checkpoint: Named, name: str
) -> None:
    assert_same(open_source(checkpoint(name)), open_source(model(name)))


@pytest.mark.parametrize(
    "name",
    [
        "tiny-sdxl-turbo",
        *slowly("tiny-sdxl", "tiny-sdxl-refiner", "tiny-sdxl-inpaint", "tiny-sdxl-ip2p"),
        *slowly("tiny-ssd", "tiny-ip2p"),
    ],
)
def test_configs_given_beside_the_file_are_taken(
    model: Named, checkpoint: Named, name: str
) -> None:
    options = SourceOptions(config=model(name))
    assert_same(open_source(checkpoint(name), options), open_source(model(name)))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_every_dtype_is_read(tmp_path: Path, dtype: str) -> None:
    """The projection is transposed as it is read."""
    folder = synthesize("tiny-sdxl", tmp_path / "model", dtype=dtype)
    path = write_single_file(folder, tmp_path / "m.safetensors")
    assert_same(open_source(path, SourceOptions(config=folder)), open_source(folder))


@pytest.mark.slow
def test_bundle_is_the_folders_byte_for_byte(
    model: Named, checkpoint: Named, tmp_path: Path
) -> None:
    export(model(BASE), tmp_path / "folder", verify="none")
    export(checkpoint(BASE), tmp_path / "file", verify="none")
    assert_same_bundle(tmp_path / "file", tmp_path / "folder")


@pytest.mark.slow
def test_base_and_refiner_are_exported_and_verified_as_files(
    checkpoint: Named, tmp_path: Path
) -> None:
    options = SourceOptions(refiner=checkpoint(REFINER))
    manifest = export(checkpoint(BASE), tmp_path / "bundle", source_options=options)
    assert "unet_refiner" in manifest.components
    assert manifest.refiner is not None
    assert manifest.refiner.conditioning.requires_aesthetics_score


def test_refiner_is_taken_as_a_file(checkpoint: Named) -> None:
    said: list[str] = []
    refiner = open_source(checkpoint(REFINER))
    both = prepare_both(open_source(checkpoint(BASE)), None, refiner, said.append)
    assert "unet_refiner" in both.prepared
    assert said == []  # the networks that both have are the same


def test_marks_of_v_prediction_are_read(checkpoint: Named, tmp_path: Path) -> None:
    path = edit(checkpoint(BASE), tmp_path / "m.safetensors", add={"v_pred": (), "ztsnr": ()})
    scheduler = open_source(path).scheduler_config()
    assert scheduler["_class_name"] == "EulerDiscreteScheduler"
    assert scheduler["prediction_type"] == "v_prediction"
    assert scheduler["rescale_betas_zero_snr"] is True


# --- what is taken from elsewhere


@pytest.mark.parametrize("network", TEXTS)
@pytest.mark.parametrize("kind", ["folder", "model folder", "whole file"])
def test_missing_text_encoder_is_taken_from_elsewhere(
    model: Named, checkpoint: Named, without: Callable[..., Path], network: str, kind: str
) -> None:
    folder, whole = model(BASE), checkpoint(BASE)
    places = {"folder": folder / network, "model folder": folder, "whole file": whole}
    found = open_source(without(network), SourceOptions(**{network: places[kind]}))  # pyright: ignore
    expected = open_source(whole if kind == "whole file" else folder)
    assert found.has(network)
    assert found.config(network) == expected.config(network)
    assert found.tensors(network) == expected.tensors(network)


@pytest.mark.parametrize("kind", ["OpenCLIP", "transformers", "refiner"])
def test_second_encoder_is_taken_from_a_file_that_holds_it_alone(
    model: Named, checkpoint: Named, without: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    alone = tmp_path / "m.safetensors"
    if kind == "transformers":
        os.link(model(BASE) / "text_encoder_2" / "model.safetensors", alone)
    else:
        folder = model(BASE if kind == "OpenCLIP" else REFINER)
        write_single_file(folder, alone, networks=("text_encoder_2",), leftovers=False)
    found = open_source(without("text_encoder_2"), SourceOptions(text_encoder_2=alone))
    expected = open_source(checkpoint(BASE))
    assert found.config("text_encoder_2") == expected.config("text_encoder_2")
    tensors, others = found.tensors("text_encoder_2"), expected.tensors("text_encoder_2")
    assert tensors.keys() == others.keys()
    key = "text_projection.weight"
    np.testing.assert_array_equal(tensors[key].read(), others[key].read())


def test_vae_has_the_familys_scale(model: Named, without: Callable[..., Path]) -> None:
    file = model(BASE) / "vae" / "diffusion_pytorch_model.safetensors"
    source = open_source(without("vae"), SourceOptions(vae=file))
    assert source.config("vae")["scaling_factor"] == 0.13025
    other = open_source(model("small-sd15"), SourceOptions(vae=file))
    assert other.config("vae")["scaling_factor"] == 0.18215


def test_each_encoder_has_its_own_tokenizer(model: Named, checkpoint: Named) -> None:
    folder = model("tiny-sdxl")
    path = checkpoint(BASE)
    options = SourceOptions(tokenizer_2=folder / "tokenizer_2")
    source, plain = open_source(path, options), open_source(path)
    assert source.tokenizer("tokenizer") == plain.tokenizer("tokenizer")
    vocabulary = (folder / "tokenizer_2" / "vocab.json").read_bytes()
    assert source.tokenizer("tokenizer_2")["vocab.json"] == vocabulary
    assert b'"pad_token": "!"' in plain.tokenizer("tokenizer_2")["tokenizer_config.json"]
    assert b'"pad_token": "!"' not in plain.tokenizer("tokenizer")["tokenizer_config.json"]


# --- what is refused


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("vae", r"holds no VAE: give one with --vae PATH, or choose components with --component"),
        (
            "text_encoder",
            r"holds no text encoder: give one with --text-encoder PATH \(it holds: unet, vae,",
        ),
        (
            "text_encoder_2",
            r"holds no second text encoder \(OpenCLIP's ViT-bigG\): give one with "
            r"--text-encoder-2 PATH \(it holds: ",
        ),
    ],
)
def test_missing_network_must_be_given(
    without: Callable[..., Path], network: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        prepare(open_source(without(network)), None)
    assert "\n" not in str(caught.value)


def test_refiner_without_its_encoder_is_told_what_to_give(
    checkpoint: Named, tmp_path: Path
) -> None:
    """As wide as the public refiner's text, a U-Net by itself says what it is."""
    tensors = read_header(checkpoint(REFINER))
    shapes = {key: t.shape for key, t in tensors.items() if not key.startswith("conditioner.")}
    text = [key for key in shapes if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]
    shapes |= {key: (shapes[key][0], 1280) for key in text}
    source = open_source(write_keys(tmp_path / "m.safetensors", shapes))
    assert source.pipeline_class == "StableDiffusionXLImg2ImgPipeline"
    with pytest.raises(SourceError, match=r"holds no second text encoder .*--text-encoder-2 PATH"):
        prepare(source, None)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        (
            REFINER,
            BASE,
            r"is a checkpoint of Stable Diffusion XL's refiner \(the U-Net takes the second text "
            r"encoder's states alone, 128 wide\), and the configs in --config .* are of Stable "
            r"Diffusion XL; give the checkpoint's own",
        ),
        (BASE, REFINER, "both text encoders' states, 192 wide.* are of Stable Diffusion XL's ref"),
        (BASE, "small-sd15", "are of Stable Diffusion 1.x; give the checkpoint's own"),
        ("small-sd21", "small-sd15", "proj_in is a matrix.*are of Stable Diffusion 1.x"),
    ],
)
def test_configs_of_another_family_are_refused(
    model: Named, checkpoint: Named, name: str, config: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(checkpoint(name), SourceOptions(config=model(config)))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_refiner_and_base_in_each_others_place_are_refused(checkpoint: Named) -> None:
    base, refiner = open_source(checkpoint(BASE)), open_source(checkpoint(REFINER))
    with pytest.raises(UsageError, match=r"--refiner goes with a base of .*XL; .* is of"):
        prepare_both(refiner, None, base, print)
    with pytest.raises(SourceError, match="is no refiner but of family sdxl"):
        prepare_both(base, None, base, print)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("small-sd15", "text_encoder_2", "is of family sd1, which has no text_encoder_2; it has"),
        ("small-sd15", "tokenizer_2", "--tokenizer-2 .* family sd1, which has no tokenizer_2"),
        (REFINER, "text_encoder", "is of family sdxl-refiner, which has no text_encoder; it has"),
        (REFINER, "tokenizer", "which has no tokenizer; it has text_encoder_2, tokenizer_2, vae"),
    ],
)
def test_parts_that_the_family_lacks_are_refused(
    model: Named, checkpoint: Named, name: str, option: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(checkpoint(name), SourceOptions(**{option: model(BASE)}))  # pyright: ignore


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        (
            "text_encoder",
            SourceError,
            "--text-encoder-2 .* holds CLIPTextModel, not CLIP",
        ),
        (
            "text_encoder/model.safetensors",
            WeightError,
            r"text_encoder_2: text_projection\.weight is missing",
        ),
        (
            "vae/diffusion_pytorch_model.safetensors",
            SourceError,
            "is no text encoder 2: it seems to be a VAE alone",
        ),
    ],
)
def test_something_else_as_second_encoder_is_refused(
    model: Named, checkpoint: Named, place: str, error: type[Exception], message: str
) -> None:
    options = SourceOptions(text_encoder_2=model(BASE) / place)
    with pytest.raises(error, match=message):
        open_source(checkpoint(BASE), options)


def test_file_without_the_wanted_encoder_is_refused(
    model: Named, checkpoint: Named, tmp_path: Path
) -> None:
    path = write_single_file(model(BASE), tmp_path / "m.safetensors", networks=("text_encoder",))
    edited = edit(path, tmp_path / "alone.safetensors", drop=("betas", "alphas", "model_ema"))
    with pytest.raises(WeightError, match="holds text_encoder, and no text_encoder_2"):
        open_source(checkpoint(BASE), SourceOptions(text_encoder_2=edited))


def test_several_dtypes_in_one_network_are_refused(checkpoint: Named, tmp_path: Path) -> None:
    key = f"{SECOND}ln_final.bias"
    path = edit(
        checkpoint(BASE), tmp_path / "m.safetensors", drop=(key,), add={key: (128,)}, dtype="F32"
    )
    message = (
        r"text_encoder_2: its weights are stored in several dtypes, fp16 \(.*\) and fp32 "
        r"\(text_model\.final_layer_norm\.bias\); choose one with --dtype"
    )
    with pytest.raises(SourceError, match=message):
        export(path, tmp_path / "b", verify="none")
    assert not (tmp_path / "b").exists()


def test_truncated_file_is_refused(checkpoint: Named, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(checkpoint(REFINER).read_bytes()[:-100])
    with pytest.raises(SourceError, match="is truncated: its tensors end at byte"):
        open_source(path)


def test_pruned_layout_that_diffusers_lacks_is_one_line(checkpoint: Named, tmp_path: Path) -> None:
    drop = ("model.diffusion_model.input_blocks.4.1.",)
    path = edit(checkpoint(BASE), tmp_path / "m.safetensors", drop=drop)
    with pytest.raises(WeightError, match=r"down_blocks\.1 has attention in some of its layers"):
        prepare(open_source(path), None)
