"""Synthetic models: whole, loadable by the reference libraries, seeded, and numerically sane."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from typer import Typer
from typer.testing import CliRunner

from benchmarks.synthetic import MODELS, command, synthesize
from benchmarks.synthetic.laws import bf16_bits, draw, laws_of, near_normal
from benchmarks.synthetic.models import CLIP_SIZE
from benchmarks.synthetic.networks import build
from benchmarks.synthetic.vocabulary import END_OF_WORD, make_merges, write_tokenizer
from runtimes.errors import LatedgeError, UsageError

TINY = [name for name in MODELS if name.startswith("tiny-")]
OFTEN = [
    # Of SDXL's one in the default run: its models differ from each other in a few fields.
    name if "xl" not in name or name == "tiny-sdxl" else pytest.param(name, marks=pytest.mark.slow)
    for name in TINY
]
TOLD_TEXT = [each for each in OFTEN if "ldm" not in str(each)]
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes each model that is asked for once."""
    made: dict[tuple[object, ...], Path] = {}

    def once(name: str, **options: Any) -> Path:
        key = (name, *sorted(options.items()))
        if key not in made:
            made[key] = synthesize(name, tmp_path_factory.mktemp("synthetic") / name, **options)
        return made[key]

    return once


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """`component/name` → tensor, of all safetensors files."""
    return {
        f"{file.parent.name}/{name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def load(folder: Path, component: str) -> Any:
    """A network in float32; a missing, unexpected or misshapen weight fails."""
    library, class_name = json.loads((folder / "model_index.json").read_text())[component]
    network, report = getattr(import_module(library), class_name).from_pretrained(
        folder,
        subfolder=component,
        output_loading_info=True,
        local_files_only=True,
        dtype=torch.float32,
    )
    assert not {kind: names for kind, names in report.items() if names}
    return network


@pytest.mark.parametrize("name", OFTEN)
def test_every_written_weight_arrives_in_its_network(make: Make, name: str) -> None:
    written = weights(make(name))
    for component in MODELS[name].networks:
        state = load(make(name), component).state_dict()
        prefix = "text_model." if component == "text_encoder" else ""
        assert {f"{component}/{prefix}{key}" for key in state} == {
            path for path in written if path.startswith(f"{component}/")
        }
        for key, value in state.items():
            expected = written[f"{component}/{prefix}{key}"]
            assert expected.dtype == torch.float16
            torch.testing.assert_close(value, expected.float(), rtol=0, atol=0)


@pytest.mark.parametrize("name", TOLD_TEXT)
def test_the_pipeline_opens_and_makes_a_picture(make: Make, name: str) -> None:
    pipeline_class = getattr(diffusers, MODELS[name].pipeline)
    absent = {} if "depth" not in name else {"depth_estimator": None, "feature_extractor": None}
    pipe = pipeline_class.from_pretrained(
        make(name), dtype=torch.float32, local_files_only=True, **absent
    )
    pipe.set_progress_bar_config(disable=True)
    pictures: dict[str, Any] = {"height": 64, "width": 64}
    picture = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    if "x2-latent" in name:
        pictures = {"image": torch.linspace(0, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)}
    elif "upscaler" in name:
        pictures = {"image": torch.linspace(0, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)}
    elif "sdxl-ip2p" in name:
        pictures |= {"image": picture}
    elif "ip2p" in name:
        pictures = {"image": picture}
    elif "refiner" in name:
        pictures = {"image": picture, "strength": 1.0}
    elif "depth" in name:
        pictures = {"image": picture, "depth_map": picture[:, 0], "strength": 1.0}
    elif "inpaint" in name:
        pictures |= {"image": picture, "mask_image": (picture[:, :1] > 0.1).float()}
    image = pipe(
        "a red circle",
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **pictures,
    ).images[0]
    assert image.shape == (64, 64, 3)
    assert np.isfinite(image).all()
    assert image.std() > 0.05
    assert type(pipe.scheduler).__name__ == MODELS[name].scheduler[0]
    assert pipe.vae_scale_factor == (4 if "x4-upscaler" in name else 8)


@pytest.mark.parametrize(
    ("name", "encoders", "unet"),
    [
        ("sd15", [123_060_480], 859_520_964),
        ("sd15-inpaint", [123_060_480], 859_535_364),
        ("sd21", [340_387_840], 865_910_724),
        ("sd2-depth", [340_387_840], 865_913_604),
        ("sdxl", [123_060_480, 694_659_840], 2_567_463_684),
        ("sdxl-refiner", [694_659_840], 2_259_526_660),
        ("ssd-1b", [123_060_480, 694_659_840], 1_331_334_404),
        ("segmind-vega", [123_060_480, 694_659_840], 745_225_604),
    ],
)
def test_true_models_have_the_published_numbers_of_parameters(
    name: str, encoders: list[int], unet: int
) -> None:
    built = {folder: build(network) for folder, network in MODELS[name].networks.items()}
    assert [each.size for each in built.values()] == [*encoders, unet, 83_653_863]
    for folder, each in built.items():
        for weight in each.shapes:
            assert laws_of(f"{folder}/{weight}")


@pytest.mark.parametrize(
    ("name", "unet"), [("ldm", 274_056_163), ("ldm-super-resolution", 113_622_563)]
)
def test_first_latent_diffusion_models_have_the_published_numbers_of_parameters(
    name: str, unet: int
) -> None:
    built = {folder: build(network) for folder, network in MODELS[name].networks.items()}
    assert {folder: each.size for folder, each in built.items()} == {
        "unet": unet,
        "vqvae": 55_322_782,
    }
    assert all(laws_of(f"{folder}/{key}") for folder, each in built.items() for key in each.shapes)


def test_a_refiner_shares_the_bases_second_encoder_and_vae(make: Make) -> None:
    base, refiner = weights(make("tiny-sdxl")), weights(make("tiny-sdxl-refiner"))
    shared = {path for path in base if path.startswith(("text_encoder_2/", "vae/"))}
    assert shared < refiner.keys()
    assert all(torch.equal(base[path], refiner[path]) for path in shared)


def test_the_configs_say_what_sets_the_families_apart(make: Make) -> None:
    def config(name: str, file: str) -> dict[str, Any]:
        return json.loads((make(name) / file).read_text())

    unet = config("tiny-sd21", "unet/config.json")
    assert unet["_class_name"] == "UNet2DConditionModel"
    assert (unet["use_linear_projection"], unet["attention_head_dim"]) == (True, [2, 4])
    assert config("tiny-sd15-inpaint", "unet/config.json")["in_channels"] == 9
    scheduler = config("tiny-sd21", "scheduler/scheduler_config.json")
    assert scheduler["prediction_type"] == "v_prediction"
    assert config("tiny-sd21", "text_encoder/config.json")["hidden_act"] == "gelu"
    assert config("tiny-sd15", "text_encoder/config.json")["hidden_act"] == "quick_gelu"
    assert config("tiny-sd15", "vae/config.json")["scaling_factor"] == 0.18215


def test_the_same_seed_gives_the_same_bytes(make: Make, tmp_path: Path) -> None:
    again = synthesize("tiny-sd15", tmp_path / "again")
    assert digests(again) == digests(make("tiny-sd15"))
    assert len(digests(again)) == 12


def test_another_seed_changes_every_weight_and_nothing_else(make: Make) -> None:
    one, other = weights(make("tiny-sd15")), weights(make("tiny-sd15", seed=1))
    assert one.keys() == other.keys()
    assert [path for path in one if torch.equal(one[path], other[path])] == []
    changed = digests(make("tiny-sd15")).items() ^ digests(make("tiny-sd15", seed=1)).items()
    assert {Path(file).suffix for file, _ in changed} == {".safetensors"}


@pytest.mark.parametrize("name", OFTEN)
def test_no_two_tensors_are_alike(make: Make, name: str) -> None:
    by_bytes: dict[bytes, list[str]] = {}
    for path, tensor in weights(make(name)).items():
        by_bytes.setdefault(tensor.numpy().tobytes()[:64], []).append(path)
    assert [paths for paths in by_bytes.values() if len(paths) > 1] == []


def statistics(network: torch.nn.Module) -> dict[str, tuple[float, float]]:
    """Module → (largest magnitude, standard deviation) of its last output; fills as it runs."""
    found: dict[str, tuple[float, float]] = {}

    def watch(name: str) -> Callable[..., None]:
        def record(module: object, inputs: object, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, torch.Tensor):
                found[name] = (first.abs().max().item(), first.std().item())

        return record

    for name, module in network.named_modules():
        module.register_forward_hook(watch(name))
    return found


def assert_sane(found: dict[str, tuple[float, float]], least: int) -> None:
    """No activation near fp16's 65504, none vanishing; measured: at most 24, at least 0.24."""
    assert len(found) > least
    assert {name: top for name, (top, _) in found.items() if not top < 100} == {}
    assert {name: std for name, (_, std) in found.items() if not std > 0.1} == {}


@torch.no_grad()
@pytest.mark.parametrize("name", TOLD_TEXT)
def test_activations_neither_vanish_nor_overflow(make: Make, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 1000, (2, 77), generator=generator)
    states: list[torch.Tensor] = []
    about: dict[str, torch.Tensor] = {}
    for folder in ("text_encoder", "text_encoder_2"):
        if folder not in MODELS[name].networks:
            continue
        encoder = load(make(name), folder)
        found = statistics(encoder)
        out = encoder(ids, output_hidden_states=True)
        assert_sane(found, least=20)
        if folder == "text_encoder_2":
            about = {"text_embeds": out.text_embeds[:1]}
        states.append(out.last_hidden_state)
    embeds = torch.cat(states, dim=-1)
    assert 0.5 < (embeds[0] - embeds[1]).std() < 2

    unet = load(make(name), "unet")
    found = statistics(unet)
    latents = torch.randn(1, unet.config.in_channels, 16, 16, generator=generator)

    classes = unet.config.num_class_embeds
    # A K-U-Net is told how noisy latents are by log(sigma) / 4: from 14.6 to 0.03.
    late, early = (0.67, -0.88) if unet.config.time_embedding_type == "fourier" else (801, 1)
    width = unet.config.time_cond_proj_dim
    numbers = None
    if unet.config.addition_embed_type is not None:
        score = 6.0 if "refiner" in name else 1024.0
        numbers = torch.tensor([[1024.0, 1024, 0, 0, score, 1024][: 5 if score < 9 else 6]])

    def predict(timestep: float, prompt: int, label: int = 20) -> torch.Tensor:
        labels = None if classes is None else torch.tensor([label])
        context = embeds[prompt : prompt + 1]
        told = None if width is None else torch.ones(1, width)
        return unet(
            latents,
            torch.tensor([timestep]),
            context,
            class_labels=labels,
            timestep_cond=told,
            added_cond_kwargs=None if numbers is None else {**about, "time_ids": numbers},
        ).sample

    noise = predict(late, 0)
    assert_sane(found, least=100)
    assert 0.5 < noise.std() < 2
    # The picture must depend on prompt and timestep, or a wrong one would not be noticed.
    assert (noise - predict(late, 1)).std() > 0.1
    assert (noise - predict(early, 0)).std() > 0.1
    if classes is not None:
        assert (noise - predict(late, 0, label=200)).std() > 0.1


@torch.no_grad()
def test_models_that_take_no_text_are_sane_too(make: Make) -> None:
    generator = torch.Generator().manual_seed(0)
    folder = make("tiny-ldm-super-resolution")
    unet, vqvae = load(folder, "unet"), load(folder, "vqvae")
    found = statistics(unet)
    sample = torch.randn(1, 6, 16, 16, generator=generator)
    noise = unet(sample, torch.tensor([801])).sample
    assert_sane(found, least=80)
    assert 0.5 < noise.std() < 2
    assert (noise - unet(sample, torch.tensor([1])).sample).std() > 0.1
    assert (
        noise
        - unet(sample * torch.tensor([1, 0]).repeat_interleave(3).view(1, 6, 1, 1), 801).sample
    ).std() > 0.1, "the picture plays no part"
    latents = sample[:, :3]
    image = vqvae.decode(latents).sample
    assert 0.1 < image.std() < 0.5
    # Of 64 vectors most are the nearest to some latent.
    nearest = vqvae.quantize(latents)[2][2]
    assert len(nearest.unique()) > 20


@torch.no_grad()
def test_the_vae_gives_pictures_and_latents_in_range(make: Make) -> None:
    vae = load(make("tiny-sd15"), "vae")
    found = statistics(vae)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    image = vae.decode(latents / vae.config.scaling_factor).sample
    assert 0.1 < image.std() < 0.5
    assert image.abs().max() < 2
    moments = vae.encode(image * 3).latent_dist
    assert 0.3 < (moments.mean * vae.config.scaling_factor).std() < 3
    assert moments.std.max() < 0.1
    assert_sane(found, least=90)


def test_fp16_and_bf16_are_fp32_rounded(make: Make) -> None:
    exact = weights(make("tiny-sd15", dtype="fp32"))
    for dtype, given in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        rounded = weights(make("tiny-sd15", dtype=dtype))
        assert rounded.keys() == exact.keys()
        for path, tensor in rounded.items():
            assert tensor.dtype == given
            assert torch.equal(tensor, exact[path].to(given)), path
    assert {tensor.dtype for tensor in exact.values()} == {torch.float32}


def test_bf16_rounds_to_nearest_and_ties_to_even() -> None:
    values = np.random.default_rng(0).integers(0, 2**32, 10_000, dtype=np.uint32)
    values[:4] = [0x3F808000, 0x3F818000, 0x3F808001, 0x80000000]  # two ties, above a tie, -0
    floats = values.view(np.float32)
    floats = floats[np.isfinite(floats)]
    expected = torch.from_numpy(floats).to(torch.bfloat16).view(torch.uint16).numpy()
    np.testing.assert_array_equal(bf16_bits(floats), expected)


def test_near_normal_has_the_moments_it_claims() -> None:
    extremes = near_normal(np.array([0, 2**64 - 1], np.uint64))
    np.testing.assert_allclose(extremes, [-np.sqrt(12), np.sqrt(12)], rtol=1e-4)
    values = near_normal(np.random.Philox(key=0).random_raw(10**6)).astype(np.float64)
    # Four standard errors of a million values: 0.004 on the mean, 0.005 on the square.
    assert abs(values.mean()) < 0.004
    assert abs((values**2).mean() - 1) < 0.005
    assert abs((values**4).mean() - 2.7) < 0.03


def test_a_weight_has_the_scale_of_its_fan_in_and_comes_in_chunks() -> None:
    chunks = list(draw("unet/conv_in.weight", (320, 64, 3, 3), "fp32", 0))
    values = np.concatenate(chunks)
    assert values.shape == (320 * 64 * 9,)
    assert max(chunk.size for chunk in chunks) == 2**16
    np.testing.assert_allclose(values.std(), 1 / 24, rtol=0.01)  # fan-in 64·3·3 = 24²
    bias: Any = np.concatenate(list(draw("vae/quant_conv.bias", (8,), "fp32", 0)))
    assert (np.abs(bias[:4]) < 1).all()
    assert (np.abs(bias[4:] + 10) < 1).all()
    with pytest.raises(LookupError, match="no law for unet/mystery"):
        laws_of("unet/mystery")


def test_the_clip_sized_vocabulary_is_well_formed(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, CLIP_SIZE, "!")
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    lines = (tmp_path / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#version: 0.2"
    assert sorted(vocabulary.values()) == list(range(49408))
    assert len(lines) - 1 == 48894
    for rank, line in enumerate(lines[1:]):
        left, right = line.split(" ")
        assert vocabulary[left + right] == 512 + rank
        assert vocabulary[left] < 512 + rank
        assert vocabulary[right] < 512 + rank
        assert END_OF_WORD not in left
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert len(tokenizer) == 49408
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (49406, 49407)
    assert (tokenizer.pad_token_id, tokenizer.model_max_length) == (0, 77)


def test_the_tokenizer_reads_any_text_back(make: Make) -> None:
    tokenizer = transformers.CLIPTokenizer.from_pretrained(
        make("tiny-sd15"), subfolder="tokenizer", local_files_only=True
    )
    assert (len(tokenizer), tokenizer.pad_token_id) == (1000, 999)
    text = "a red circle, café ... 😀 日本語"
    ids = tokenizer(text).input_ids
    assert ids[0] == 998
    assert ids[-1] == 999
    assert 999 not in ids[:-1]  # no unknown token, which is the end's
    read = tokenizer.decode(ids, skip_special_tokens=True)
    assert read.replace(" ", "") == text.replace(" ", "")
    assert any(vocabulary_id >= 512 for vocabulary_id in ids[1:-1])  # some merges do apply


def test_a_smaller_vocabulary_has_the_first_merges_of_a_larger() -> None:
    assert make_merges(486) == make_merges(2000)[:486]
    assert make_merges(1000) == list(itertools.islice(make_merges(1001), 1000))


@pytest.mark.parametrize("component", ["text_encoder", "unet"])
def test_shards_hold_the_same_weights(make: Make, component: str) -> None:
    sharded = make("tiny-sd15", shards=3)
    files = sorted((sharded / component).glob("*.safetensors"))
    (index,) = (sharded / component).glob("*.safetensors.index.json")
    assert len(files) > 1
    assert files[0].name.endswith(f"-00001-of-{len(files):05}.safetensors")
    weight_map = json.loads(index.read_text())["weight_map"]
    for file in files:
        assert set(load_file(file)) == {name for name, at in weight_map.items() if at == file.name}
    whole = load(make("tiny-sd15"), component).state_dict()
    for name, value in load(sharded, component).state_dict().items():
        assert torch.equal(value, whole[name]), name


def test_an_existing_folder_is_refused_and_replaced_with_force(make: Make, tmp_path: Path) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "model_index.json").write_text("an older one")
    with pytest.raises(UsageError, match="exists; give another place, or --force"):
        synthesize("tiny-sd15", output)
    assert [file.name for file in output.iterdir()] == ["model_index.json"]
    synthesize("tiny-sd15", output, force=True)
    assert digests(output) == digests(make("tiny-sd15"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "tiny-sd51",
            {},
            r"unknown synthetic model 'tiny-sd51'; known are ip2p, .*tiny-sd15",
        ),
        ("sd12", {}, r"Did you mean 'sd15'\?|Did you mean 'sd21'\?"),
        ("tiny-sd15", {"dtype": "fp8"}, "unknown dtype 'fp8'; known are bf16, fp16, fp32"),
        ("tiny-sd15", {"shards": 0}, "shards is 0; it must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        synthesize(name, tmp_path / "model", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("failure", "expected", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (OSError(errno.ENOSPC, "No space left on device"), LatedgeError, "No space left"),
    ],
)
def test_a_run_that_ends_early_leaves_nothing(
    tmp_path: Path, failure: BaseException, expected: type[BaseException], message: str | None
) -> None:
    def progress(network: str, done: int, total: int) -> None:
        if done > total / 2:
            raise failure

    with pytest.raises(expected, match=message):
        synthesize("tiny-sd15", tmp_path / "model", progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)  # pyright: ignore
    with pytest.raises(LatedgeError, match=r"1\.00 GB free where 2\.14 GB are needed"):
        synthesize("sd15", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_progress_adds_up_to_the_weights(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    folder = synthesize("tiny-sd15", tmp_path / "model", progress=lambda *call: calls.append(call))
    total = sum(tensor.nbytes for tensor in weights(folder).values())
    assert calls[-1][1:] == (total, total)
    assert {network for network, _, _ in calls} == {"text_encoder", "unet", "vae"}
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_the_command_gives_its_result_as_json(make: Make, tmp_path: Path) -> None:
    app = Typer()
    app.command("synth")(command)
    output = tmp_path / "model"
    outcome = CliRunner().invoke(app, ["tiny-sd15", "-o", str(output), "--seed", "1", "--json"])
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    assert (result["path"], result["seed"], result["dtype"]) == (str(output), 1, "fp16")
    assert result["size_bytes"] == sum(
        file.stat().st_size for file in output.rglob("*") if file.is_file()
    )
    assert digests(output) == digests(make("tiny-sd15", seed=1))
    again = CliRunner().invoke(app, ["tiny-sd15", "-o", str(output), "--force"])
    assert again.stdout == f"{output}: {MODELS['tiny-sd15'].title}, fp16, 4.5 MB\n"


def test_a_usage_error_stands_alone(tmp_path: Path) -> None:
    app = Typer()
    app.command("synth")(command)
    outcome = CliRunner().invoke(app, ["sd16", "-o", str(tmp_path / "model")])
    assert isinstance(outcome.exception, UsageError)
    assert outcome.output == ""  # the message is the caller's to print, and nothing came before it
