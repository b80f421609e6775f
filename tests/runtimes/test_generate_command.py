"""The verb `generate` from the command line."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import latedge
from runtimes.engine import Array
from runtimes.pipeline import Pipeline
from tests.runtimes import fakes
from tests.runtimes.fakes import FakeEngine, made

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def pixels(path: Path) -> Array:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_schedule_of_ones_own_is_read(
    fake_bundle: Write, tmp_path: Path, capsys: Capture
) -> None:
    bundle, output = str(fake_bundle()), str(tmp_path / "x.png")
    rest = ["x", "--seed", "1", "-o", output, "--json"]
    for flags, expected, shown in (
        (
            "--sampler euler --sigmas 14,3.5,0 --sampler-option steps_offset=2",
            {"sigmas": [14.0, 3.5, 0.0], "sampler_options": {"steps_offset": 2}},
            "2 steps of euler (given sigmas)",
        ),
        ("--timesteps 999,20", {"timesteps": [999.0, 20.0]}, "2 steps of ddim (given timesteps)"),
        ("--spacing trailing", {"spacing": "trailing"}, "4 steps of ddim, guidance"),
    ):
        assert latedge.main(["generate", bundle, *rest, *flags.split()]) == 0
        settings = json.loads(capsys.readouterr().out)["settings"]
        assert {key: settings[key] for key in expected} == expected
        assert latedge.main(["generate", bundle, *rest[:-1], *flags.split()]) == 0
        assert shown in capsys.readouterr().out


def test_picture_is_the_pipelines(fake_bundle: Write, tmp_path: Path, capsys: Capture) -> None:
    bundle, output = fake_bundle(), tmp_path / "x.png"
    flags = "--steps 3 --guidance-scale 5 --negative-prompt blue --seed 4 --sampler dpmpp-2m"
    flags += " --schedule karras --height 16 --width 40"
    status = latedge.main(
        ["generate", str(bundle), "a red circle", "-o", str(output), *flags.split()]
    )
    shown = capsys.readouterr()
    assert (status, shown.err) == (0, "")
    assert shown.out.startswith(
        f"{output}: 40×16, 3 steps of dpmpp-2m (karras), guidance 5, seed 4, "
    )
    assert shown.out.count("\n") == 1
    with Pipeline.open(bundle) as pipe:
        expected = pipe(
            "a red circle",
            "blue",
            num_inference_steps=3,
            guidance_scale=5,
            seed=4,
            sampler="dpmpp-2m",
            schedule="karras",
            height=16,
            width=40,
        )
    assert isinstance(expected.images, list)
    np.testing.assert_array_equal(pixels(output), np.asarray(expected.images[0]))


def test_tiles_of_the_vae_are_said(fake_bundle: Write, tmp_path: Path, capsys: Capture) -> None:
    command = ["generate", str(fake_bundle()), "x", "-o", str(tmp_path / "x.png"), "--json"]
    command += ["--height", "256", "--width", "128", "--vae-tile", "128"]
    assert latedge.main(command) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["vae_tile"] == 128
    assert len(made("vae_decoder").calls) == 3


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "image: {path} does not exist."),
        (b"no picture", "image: {path} is no picture that Pillow knows."),
    ],
)
def test_picture_that_can_t_be_read_is_told(
    fake_bundle: Write, tmp_path: Path, capsys: Capture, content: bytes | None, line: str
) -> None:
    given = tmp_path / "small.png"
    if content is not None:
        given.write_bytes(content)
    command = ["generate", str(fake_bundle()), "x", "-o", str(tmp_path / "x.png")]
    assert latedge.main([*command, "--image", str(given)]) == 2
    assert capsys.readouterr().err == f"error: {line.format(path=given)}\n"


def test_json_tells_all(fake_bundle: Write, tmp_path: Path, capsys: Capture) -> None:
    command = ["generate", str(fake_bundle()), "x", "-o", str(tmp_path / "x.png"), "--json"]
    assert latedge.main([*command, "--num-images", "2", "--device", "npu", "--threads", "3"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert shown.err == ""
    assert found["paths"] == [str(tmp_path / "x-0.png"), str(tmp_path / "x-1.png")]
    assert found["seed"] == found["settings"]["seed"]
    assert 0 <= found["seed"] < 2**32
    assert found["settings"]["prompt"] == ["x"]
    assert (found["origin"]["device"], found["origin"]["threads"]) == ("npu", 3)
    assert len(found["timings_ms"]["unet"]) == 4
    assert found["timings_ms"]["total"] > sum(found["timings_ms"]["unet"])
    assert found["peak_rss_bytes"] > 20_000_000
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["x-0.png", "x-1.png"]


def test_ways_to_guide_and_to_prompt_are_the_pipelines(
    fake_bundle: Write, tmp_path: Path, capsys: Capture
) -> None:
    bundle, output = fake_bundle(layers=2), tmp_path / "x.png"
    flags = "--guidance-rescale 0.7 --guidance-interval 0.1,0.8 --perp-neg --negative-weight 2 "
    flags += "--prompt-syntax a1111 --long-prompts truncate --clip-skip 1 --negative-prompt blue"
    command = ["generate", str(bundle), "a (red:1.3) circle", "-o", str(output), "--json"]
    assert latedge.main([*command, *flags.split()]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    expected = {
        "guidance_rescale": 0.7,
        "guidance_interval": [0.1, 0.8],
        "perp_neg": True,
        "negative_weight": 2.0,
        "prompt_syntax": "a1111",
        "long_prompts": "truncate",
        "clip_skip": 1,
    }
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_saved_embeddings_make_the_picture_again(
    fake_bundle: Write, tmp_path: Path, suffix: str
) -> None:
    bundle, saved = fake_bundle(), tmp_path / f"x{suffix}"
    with Pipeline.open(bundle) as pipe:
        pipe.encode("a red circle", "blue").save(saved)
        expected = pipe("a red circle", "blue", seed=4)
    output = tmp_path / "x.png"
    command = ["generate", str(bundle), "-o", str(output), "--prompt-embeds", str(saved)]
    assert latedge.main([*command, "--seed", "4"]) == 0
    assert isinstance(expected.images, list)
    np.testing.assert_array_equal(pixels(output), np.asarray(expected.images[0]))


def test_existing_pictures_are_replaced(fake_bundle: Write, tmp_path: Path) -> None:
    output = tmp_path / "x.png"
    output.write_bytes(b"old")
    assert latedge.main(["generate", str(fake_bundle()), "x", "-o", str(output)]) == 0
    assert pixels(output).shape == (32, 24, 3)


def test_low_memory_tells_what_loading_took(
    fake_bundle: Write, tmp_path: Path, capsys: Capture
) -> None:
    command = ["generate", str(fake_bundle()), "x", "-o", str(tmp_path / "x.png"), "--json"]
    assert latedge.main([*command, "--memory", "low"]) == 0
    loads = json.loads(capsys.readouterr().out)["timings_ms"]["load"]
    assert sorted(loads) == ["text_encoder", "unet", "vae_decoder"]
    assert min(loads.values()) > 0


def test_a_prompt_or_a_picture_is_needed(
    fake_bundle: Write, tmp_path: Path, capsys: Capture
) -> None:
    assert latedge.main(["generate", str(fake_bundle()), "-o", str(tmp_path / "x.png")]) == 2
    line = (
        "error: a PROMPT is missing; give one, or --prompt-embeds, or --from with a picture to "
        "make again.\n"
    )
    assert capsys.readouterr().err == line


def test_long_prompts_are_one_line_of_warning(
    fake_bundle: Write, tmp_path: Path, capsys: Capture
) -> None:
    prompt = "a" * 10_000
    command = ["generate", str(fake_bundle()), prompt, "-o", str(tmp_path / "x.png")]
    assert latedge.main(command) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: a prompt has more than 77 tokens; its end was dropped: ")


@pytest.mark.parametrize(
    ("flags", "status", "line"),
    [
        (["--steps", "0"], 2, "num_inference_steps must be a whole number from 1 to 1000, not 0."),
        (
            ["--steps", "10000"],
            2,
            "num_inference_steps must be a whole number from 1 to 1000, not 1",
        ),
        (["--memory", "lo"], 2, "unknown memory 'lo'; known are high, low. Did you mean 'low'?"),
        (["--sampler", "eulr"], 2, "Did you mean 'euler'?"),
        (["--height", "515"], 2, "height 515 is not a multiple of 8, the VAE's factor; nearest"),
        (["--steps", "many"], 2, "Invalid value for '--steps'"),
        (["--threads", "0"], 2, "threads must be a whole number from 1 to 4096, not 0."),
        (["--num-images", "0"], 2, "num_images_per_prompt must be a whole number from 1"),
        (["--guidance-scale", "nan"], 2, "guidance_scale must be a finite number, not nan."),
        (["--seed", "99999999999999999999"], 2, "seed must be a whole number from"),
        (["--colour"], 2, "No such option: --colour"),
        (["--guidance-scale", "0.5"], 2, "guidance_scale must be 1 or more, not 0.5; 1 (or 0)"),
        (["--guidance-interval", "0.1-0.8"], 2, "--guidance-interval holds '0.1-0.8', which is no"),
        (["--guidance-interval", "0.8,0.1"], 2, "two rising numbers from 0 to 1 such as"),
        (["--prompt-syntax", "a111"], 2, "Did you mean 'a1111'?"),
        (["--prompt-embeds", "none.npz"], 2, "none.npz can't be read: No such file"),
    ],
)
def test_wrong_flags_are_refused_before_an_engine_is_loaded(
    fake_bundle: Write, tmp_path: Path, capsys: Capture, flags: list[str], status: int, line: str
) -> None:
    output = tmp_path / "x.png"
    command = ["generate", str(fake_bundle()), "x", "-o", str(output), *flags]
    assert latedge.main(command) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert line in shown.err
    assert shown.err.count("\n") == 1
    assert FakeEngine.made == []
    assert not output.exists()


@pytest.mark.parametrize(
    ("output", "line"),
    [("x.jpg", "x.jpg must end in .png."), ("none/x.png", "does not exist.")],
)
def test_wrong_places_are_refused_before_an_engine_is_loaded(
    fake_bundle: Write, tmp_path: Path, capsys: Capture, output: str, line: str
) -> None:
    assert latedge.main(["generate", str(fake_bundle()), "x", "-o", str(tmp_path / output)]) == 2
    assert line in capsys.readouterr().err
    assert FakeEngine.made == []


def test_missing_bundle(tmp_path: Path, capsys: Capture) -> None:
    missing = tmp_path / "missing"
    assert latedge.main(["generate", str(missing), "x", "-o", "x.png"]) == 1
    line = f"error: no bundle at {missing}: not a folder. Make one with `latedge export`.\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "{output}: No space left on device."),
        (KeyboardInterrupt(), "interrupted; nothing half-written is left."),
    ],
)
def test_faults_while_writing_leave_nothing(
    fake_bundle: Write,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
    line: str,
) -> None:
    output = tmp_path / "x.png"
    command = ["generate", str(fake_bundle()), "x", "-o", str(output)]

    def fail(_: Path, data: bytes) -> None:
        raise fault

    monkeypatch.setattr(Path, "write_bytes", fail)
    before = sorted(tmp_path.iterdir())
    assert latedge.main(command) == 1
    assert capsys.readouterr().err == f"error: {line.format(output=output)}\n"
    assert sorted(tmp_path.iterdir()) == before


def test_interrupting_a_step_frees_the_engines(
    fake_bundle: Write, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> Mapping[str, Array]:
        raise KeyboardInterrupt

    monkeypatch.setattr(fakes, "predict", interrupt)
    assert latedge.main(["generate", str(fake_bundle()), "x", "-o", str(tmp_path / "x.png")]) == 1
    assert capsys.readouterr().err == "error: interrupted; nothing half-written is left.\n"
    assert [engine.closed for engine in FakeEngine.made] == [True] * 3
    assert not (tmp_path / "x.png").exists()
