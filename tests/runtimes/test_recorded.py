"""Pictures that are made again by what their files say."""

from __future__ import annotations

import json
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import latedge
from exporter.compile import compile
from runtimes import pipeline
from runtimes.bundle import open_bundle
from runtimes.errors import UsageError
from runtimes.inputs import NO_INPUTS, Inputs
from runtimes.manifest import Provenance
from runtimes.metadata import Origin
from runtimes.pipeline import Pipeline
from runtimes.prompts.given import with_embeddings
from runtimes.recorded import ORIGIN_TITLES, NotTheSame, Recorded, read_recorded
from runtimes.settings import Settings
from tests.conftest import Once
from tests.runtimes.fakes import FakeEngine

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def bundle(fake_bundle: Write) -> Path:
    return fake_bundle()


@pytest.fixture
def picture(bundle: Path, tmp_path: Path) -> Path:
    """A picture of some settings, none of them the bundle's defaults."""
    with Pipeline.open(bundle, threads=2) as pipe:
        result = pipe(
            "a red circle",
            "blue ●",
            num_inference_steps=3,
            guidance_scale=1.5,
            seed=2**63 + 7,
            sampler="dpmpp-2m",
            schedule="karras",
            height=16,
            width=40,
        )
    return result.save(tmp_path / "first.png")[0]


def generate(bundle: Path, output: Path, *flags: str) -> int:
    return latedge.main(["generate", str(bundle), "-o", str(output), *flags])


# --- the same picture


def test_the_file_is_the_same_to_the_byte(
    bundle: Path, picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert generate(bundle, tmp_path / "again.png", "--from", str(picture)) == 0
    assert (tmp_path / "again.png").read_bytes() == picture.read_bytes()
    assert capsys.readouterr().err == ""
    assert FakeEngine.made[-1].threads == 2


def test_python_has_it_too(bundle: Path, picture: Path, tmp_path: Path) -> None:
    with Pipeline.open(bundle, threads=2) as pipe, warnings.catch_warnings():
        warnings.simplefilter("error")
        result = pipe.repeat(picture)
    assert result.save(tmp_path / "again.png")[0].read_bytes() == picture.read_bytes()


def test_a_record_holds_all_settings(picture: Path) -> None:
    recorded = read_recorded(str(picture))
    assert recorded.settings.prompt == ("a red circle",)
    assert recorded.settings.negative_prompt == ("blue ●",)
    assert recorded.settings.seed == 2**63 + 7
    assert (recorded.settings.schedule, recorded.settings.sampler) == ("karras", "dpmpp-2m")
    assert (recorded.origin.threads, recorded.index) == (2, 0)


@pytest.mark.parametrize("batch", ["batch", 3])
def test_pictures_of_a_batch_are_made_again(
    fake_bundle: Write, tmp_path: Path, batch: int | str
) -> None:
    folder = fake_bundle(batch=batch)
    with Pipeline.open(folder) as pipe:
        paths = pipe(["red", "blue"], ["dark", "bright"], seed=5, num_images_per_prompt=2).save(
            tmp_path / "x.png"
        )
    for path in paths:
        assert generate(folder, tmp_path / "again.png", "--from", str(path)) == 0
        assert (tmp_path / "again.png").read_bytes() == path.read_bytes()
    assert len({path.read_bytes() for path in paths}) == 4


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_true_engines_make_the_same_bits(
    once: Once, shapes_bundle: Path, tmp_path: Path, target: str
) -> None:
    folder = once(f"shapes-{target}", lambda out: compile(shapes_bundle, out, target=target))
    with Pipeline.open(folder, threads=2) as pipe:
        first = pipe("a red circle", seed=3, num_inference_steps=4, num_images_per_prompt=3)
    paths = first.save(tmp_path / "x.png")
    assert generate(folder, tmp_path / "again.png", "--from", str(paths[1]), "--memory", "low") == 0
    assert (tmp_path / "again.png").read_bytes() == paths[1].read_bytes()


def test_settings_and_origin_share_no_names() -> None:
    settings, origin = set(Settings.__struct_fields__), set(Origin.__struct_fields__)
    assert not settings & origin
    assert not {"index", "prompts", "negative_prompts"} & (settings | origin)
    assert set(ORIGIN_TITLES) == origin


# --- changes on purpose


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["--seed", "8"], {"seed": 8}),
        (["--steps", "5"], {"num_inference_steps": 5}),
        (["--sampler", "euler", "--schedule", "plain"], {"sampler": "euler", "schedule": "plain"}),
        (
            ["--sampler", "euler", "--spacing", "trailing"],
            {"sampler": "euler", "spacing": "trailing"},
        ),
        (
            ["--timesteps", "900,20"],
            {
                "timesteps": (900.0, 20.0),
                "num_inference_steps": 2,
                "schedule": None,
                "spacing": None,
            },
        ),
        (
            ["--sampler-option", "steps_offset=3", "--schedule", "plain"],
            {"sampler_options": {"steps_offset": 3}, "schedule": "plain"},
        ),
        (["--guidance-scale", "3"], {"guidance_scale": 3.0}),
        (["--negative-prompt", ""], {"negative_prompt": ("",)}),
        (["--height", "32"], {"height": 32}),
        (["a blue square"], {"prompt": ("a blue square",)}),
    ],
)
def test_flags_change_what_was_recorded(
    bundle: Path,
    picture: Path,
    tmp_path: Path,
    capsys: Capture,
    flags: list[str],
    changes: dict[str, object],
) -> None:
    output = tmp_path / "other.png"
    assert generate(bundle, output, "--from", str(picture), *flags) == 0
    assert capsys.readouterr().err == ""
    before, after = read_recorded(picture), read_recorded(output)
    assert after.settings == msgspec.structs.replace(before.settings, **changes)
    with Image.open(picture) as one, Image.open(output) as other:
        assert one.tobytes() != other.tobytes()


def test_a_schedule_takes_the_place_of_given_sigmas(bundle: Path, tmp_path: Path) -> None:
    with Pipeline.open(bundle) as pipe:
        first = pipe("x", seed=1, sampler="euler", sigmas=[9, 1, 0]).save(tmp_path / "x.png")[0]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            same = pipe.repeat(first).settings
            karras = pipe.repeat(first, schedule="karras").settings
        with pytest.warns(NotTheSame, match="schedule is 'plain'; .* was made with None"):
            longer = pipe.repeat(first, num_inference_steps=6).settings
    assert same.sigmas == (9.0, 1.0, 0.0)
    assert (karras.schedule, karras.sigmas, karras.num_inference_steps) == ("karras", None, 2)
    assert (longer.schedule, longer.sigmas, longer.num_inference_steps) == ("plain", None, 6)


def test_other_numbers_of_pictures_give_all_of_them(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    flags = ["--from", str(picture), "--num-images", "2"]
    assert generate(bundle, tmp_path / "x.png", *flags) == 0
    assert [read_recorded(tmp_path / f"x-{i}.png").index for i in range(2)] == [0, 1]


def test_one_new_prompt_may_take_the_place_of_many(fake_bundle: Write, tmp_path: Path) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        paths = pipe(["red", "blue"], "dark", seed=5).save(tmp_path / "x.png")
        again = pipe.repeat(paths[1], prompt="green")
        assert (again.settings.prompt, again.settings.negative_prompt) == (("green",), ("dark",))
        assert len(again.images) == 1
        paths = pipe(["red", "blue"], ["dark", "dim"], seed=5).save(tmp_path / "x.png")
        with pytest.raises(UsageError, match="there are 1 prompts, but 2 negative prompts"):
            pipe.repeat(paths[1], prompt="green")


@pytest.mark.parametrize(
    "flags",
    [
        "--perp-neg --negative-weight 0.5 --negative-prompt blue",
        "--sampler euler --sampler-option steps_offset=3",
        "--variation-seed 7 --variation-strength 0.4",
        "--prompt-syntax a1111 --long-prompts truncate --guidance-interval 0.2,0.9",
    ],
)
def test_options_without_a_flag_now_are_those_of_the_record(
    bundle: Path, tmp_path: Path, capsys: Capture, flags: str
) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    assert generate(bundle, first, "a red circle", "--seed", "1", *flags.split()) == 0
    assert generate(bundle, again, "--from", str(first)) == 0
    assert again.read_bytes() == first.read_bytes()
    assert capsys.readouterr().err == ""


def test_one_of_several_options_that_go_together_is_changed(bundle: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    flags = "--perp-neg --negative-prompt blue --variation-seed 7 --variation-strength 0.4"
    assert generate(bundle, first, "red", "--seed", "1", *flags.split()) == 0
    changes = "--negative-weight 0.5 --variation-seed 8"
    assert generate(bundle, again, "--from", str(first), *changes.split()) == 0
    found = read_recorded(again).settings
    assert (found.perp_neg, found.negative_weight) == (True, 0.5)
    assert (found.variation_seed, found.variation_strength) == (8, 0.4)
    assert generate(bundle, again, "--from", str(first), "--no-perp-neg") == 0
    assert not read_recorded(again).settings.perp_neg


def test_what_follows_from_a_change_is_not_told(bundle: Path, tmp_path: Path) -> None:
    with Pipeline.open(bundle) as pipe:
        path = pipe("x", seed=1, variation_strength=0.4).save(tmp_path / "x.png")[0]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert pipe.repeat(path, variation_strength=0).settings.variation_seed is None


def test_unknown_changes_are_refused(bundle: Path, picture: Path) -> None:
    with (
        Pipeline.open(bundle) as pipe,
        pytest.raises(UsageError, match=r"unknown option 'sead'; .* Did you mean 'seed'"),
    ):
        pipe.repeat(picture, sead=1)  # pyright: ignore[reportCallIssue]


class More(Settings, frozen=True, kw_only=True):
    """Settings with an option that goes with another."""

    blur: float = 0.0
    mask: str = ""


@pytest.mark.parametrize("options", [{}, {"mask": "m"}, {"mask": "m", "blur": 2.0}])
def test_options_are_asked_for_where_they_were(
    bundle: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    plain = read_recorded(picture)
    base = More(**msgspec.structs.asdict(plain.settings))

    def settle_more(
        bundle: object,
        *,
        inputs: object,
        seed: int,
        blur: float | None = None,
        mask: str | None = None,
    ) -> More:
        assert blur is None or mask, "a blur goes with a mask"
        return msgspec.structs.replace(base, seed=seed, blur=blur or 0.0, mask=mask or "")

    monkeypatch.setattr("runtimes.recorded.settle", settle_more)
    monkeypatch.setattr("runtimes.recorded.ARGUMENTS", {"seed", "blur", "mask"})
    settings = msgspec.structs.replace(base, **options)
    found = Recorded(picture, settings, plain.origin, 0).settle(open_bundle(bundle), NO_INPUTS, {})
    assert found == settings


# --- what differs by itself


def test_each_difference_is_told_in_a_line(
    fake_bundle: Write,
    picture: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_by = read_recorded(picture).origin
    other = fake_bundle(provenance=Provenance(source_sha256="1" * 64, tools={}, options={}))
    monkeypatch.setattr(pipeline, "VERSION", "9.9")
    monkeypatch.setattr(pipeline, "machine", lambda: "a toaster, 1 core")
    flags = ["--from", str(picture), "--threads", "3", "--device", "npu"]
    assert generate(other, tmp_path / "x.png", *flags) == 0
    then = f"; {picture} was made with"
    assert capsys.readouterr().err.splitlines() == [
        f"warning: bundle is {open_bundle(other).sha256[:10]}{then} {made_by.bundle_sha256[:10]}.",
        f"warning: device is npu{then} cpu.",
        f"warning: version of latedge is 9.9{then} {made_by.latedge_version}.",
        f"warning: machine is a toaster, 1 core{then} {made_by.machine}.",
        f"warning: number of threads is 3{then} 2.",
    ]


def test_python_warns_where_it_is_called(bundle: Path, picture: Path) -> None:
    with Pipeline.open(bundle) as pipe, pytest.warns(NotTheSame) as caught:
        pipe.repeat(picture)
    line = f"number of threads is the engine's choice; {picture} was made with 2."
    assert [str(warning.message) for warning in caught] == [line]
    assert caught[0].filename == __file__


def test_another_engine_or_setting_is_told(picture: Path) -> None:
    recorded = read_recorded(picture)
    origin = msgspec.structs.replace(recorded.origin, engine="fake 2")
    settings = msgspec.structs.replace(recorded.settings, width=48, seed=1)
    told = recorded.differences(settings, origin, {"seed": 1})
    then = f"; {picture} was made with"
    assert told == [f"width is 48{then} 40.", f"engine is fake 2{then} fake 1.2.3."]


def test_older_records_tell_no_machine(picture: Path, tmp_path: Path) -> None:
    record = record_of(picture)
    del record["machine"]
    old = rewritten(picture, tmp_path / "old.png", json.dumps(record))
    told = read_recorded(old)
    now = read_recorded(picture)
    assert told.differences(told.settings, now.origin, {}) == [
        f"machine is {now.origin.machine}; {old} was made with one that it doesn't name."
    ]


def test_what_was_given_is_asked_for_and_compared(bundle: Path, tmp_path: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((1, 4, 4, 3), np.float32)
    with Pipeline.open(bundle) as pipe:
        path = pipe("x", seed=0, latents=latents).save(tmp_path / "x.png")[0]
        message = "was made from latents, of which its record holds the SHA-256 alone; give the"
        with pytest.raises(UsageError, match=message):
            pipe.repeat(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = pipe.repeat(path, inputs=Inputs(latents=latents))
        assert again.save(tmp_path / "y.png")[0].read_bytes() == path.read_bytes()
        settings = read_recorded(path).settings
        with pytest.raises(UsageError, match=r"made for values of SHA-256 .* as latents, and none"):
            pipe.run(settings)
        with pytest.warns(
            NotTheSame, match="latents is one of SHA-256 .*; .* was made with one of SHA-256 "
        ):
            pipe.repeat(path, inputs=Inputs(latents=latents + 1))


def test_embeddings_are_asked_for_again(bundle: Path, tmp_path: Path) -> None:
    with Pipeline.open(bundle) as pipe:
        embeddings = pipe.encode("a red circle", "blue")
        path = pipe(prompt_embeds=embeddings, seed=0).save(tmp_path / "x.png")[0]
        with pytest.raises(UsageError, match="was made from prompt_embeds, of which its record"):
            pipe.repeat(path)
        inputs = with_embeddings(NO_INPUTS, embeddings)
        again = pipe.repeat(path, inputs=inputs)
    assert again.save(tmp_path / "y.png")[0].read_bytes() == path.read_bytes()


def test_variations_are_made_again(bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    with Pipeline.open(bundle) as pipe:
        plain = pipe("x", seed=0).latents
        for share, apart in ((0.0, False), (0.5, True)):
            result = pipe("x", seed=0, variation_seed=5, variation_strength=share)
            assert (np.abs(result.latents - plain).max() > 0.01) == apart
            path = result.save(tmp_path / "x.png")[0]
            assert generate(bundle, tmp_path / "y.png", "--from", str(path)) == 0
            assert (tmp_path / "y.png").read_bytes() == path.read_bytes()
            assert capsys.readouterr().err == ""


def test_what_the_command_line_cant_give_is_told(
    bundle: Path, picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    record = json.dumps(record_of(picture) | {"input_sha256": {"image": "1", "mask_image": "2"}})
    path = rewritten(picture, tmp_path / "x.png", record)
    FakeEngine.made.clear()
    assert generate(bundle, tmp_path / "y.png", "--from", str(path)) == 2
    assert "was made from image and mask_image, of which" in capsys.readouterr().err
    assert FakeEngine.made == []


# --- what can't be read


def record_of(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        return json.loads(image.info["latedge"])


def rewritten(picture: Path, output: Path, record: str) -> Path:
    """The picture with another record."""
    chunks = PngInfo()
    chunks.add_text("latedge", record)
    with Image.open(picture) as image:
        image.save(output, pnginfo=chunks)
    return output


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_recorded(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


BY_HAND = "Give the prompt and the settings yourself."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps_of_2030": 3, "future": 1}, "latedge doesn't know: future, steps_of_2030. Use the"),
        ({"seed": "7"}, "altered or incomplete: Expected `int`, got `str` - at `$.seed`. Give"),
        ({"seed": None}, "Expected `int`, got `null` - at `$.seed`"),
        ({"prompt": 3}, "Expected `str`, got `int` - at `$.prompt[0]`"),
        ({"prompts": "ab"}, "Expected `array`, got `str` - at `$.prompt`"),
        ({"threads": 1.5}, "Expected `int | null`, got `float` - at `$.threads`"),
        ({"index": 1}, "altered: index is 1, of 1 pictures."),
        ({"index": -1}, "altered: index is -1, of 1 pictures."),
        ({"index": True}, "altered: index is True, of 1 pictures."),
        ({"index": None}, "altered: index is None, of 1 pictures."),
    ],
)
def test_altered_records_are_refused(
    picture: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    record = json.dumps(record_of(picture) | change)
    assert said in refused(rewritten(picture, tmp_path / "x.png", record))


@pytest.mark.parametrize("name", ["prompt", "seed", "sampler", "engine", "bundle_sha256"])
def test_incomplete_records_are_refused(picture: Path, tmp_path: Path, name: str) -> None:
    record = record_of(picture)
    del record[name]
    said = refused(rewritten(picture, tmp_path / "x.png", json.dumps(record)))
    assert f"`{name}`" in said or f"$.{name}" in said


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"seed": 1', "{} {}", "[" * 100_000, '{"a": "\\ud83d"}']
)
def test_other_texts_are_refused(picture: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.png"
    rewritten(picture, path, text)
    said = refused(path)
    assert "its record is altered" in said
    assert said.endswith(BY_HAND)


def test_values_are_checked_as_a_callers(bundle: Path, picture: Path, tmp_path: Path) -> None:
    record = json.dumps(record_of(picture) | {"num_inference_steps": 10_000})
    path = rewritten(picture, tmp_path / "x.png", record)
    with Pipeline.open(bundle) as pipe:
        with pytest.raises(UsageError, match=r"num_inference_steps must be .* not 10000"):
            pipe.repeat(path)
        assert FakeEngine.made[-1].calls == []


def test_pictures_of_other_tools_are_refused(picture: Path, tmp_path: Path) -> None:
    chunks = PngInfo()
    chunks.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler")
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png", pnginfo=chunks)
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    said = refused(tmp_path / "other.png")
    assert (
        "holds no 'latedge' record of how it was made (another tool's 'parameters' alone)" in said
    )
    assert said.endswith(BY_HAND)
    assert "made: another program made it, or took" in refused(tmp_path / "plain.png")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(picture: Path, output: Path, extra: bytes) -> Path:
    """The picture with a chunk right after its header, and without its own record."""
    data = picture.read_bytes()
    header, rest = data[:33], data[33:]
    at = rest.index(b"IDAT") - 4
    output.write_bytes(header + extra + rest[at:])
    return output


def test_texts_that_unpack_to_gigabytes_are_refused(picture: Path, tmp_path: Path) -> None:
    bomb = b"latedge\0\0" + zlib.compress(b" " * 2**24)
    path = with_chunk(picture, tmp_path / "x.png", chunk(b"zTXt", bomb))
    assert "can't be read as a PNG: Decompressed data too large" in refused(path)


def test_long_prompts_are_read(bundle: Path, tmp_path: Path) -> None:
    prompt = "a" * 300_000
    with Pipeline.open(bundle) as pipe, pytest.warns(UserWarning, match="more than 77 tokens"):
        path = pipe(prompt, seed=0, num_inference_steps=1).save(tmp_path / "x.png")[0]
    assert read_recorded(path).settings.prompt == (prompt,)


def test_files_that_are_no_png_are_refused(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello", encoding="utf-8")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg")
    for name in ("text.png", "empty.png", "x.jpg"):
        assert "can't be read as a PNG: another format, or cut off." in refused(tmp_path / name)
    assert "can't be read: No such file or directory." in refused(tmp_path / "none.png")
    assert "can't be read: Is a directory." in refused(tmp_path)


def test_a_picture_that_was_cut_off_is_read_or_refused(picture: Path, tmp_path: Path) -> None:
    data, path = picture.read_bytes(), tmp_path / "x.png"
    whole = read_recorded(picture)
    read = 0
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        try:
            found = read_recorded(path)
        except UsageError as e:
            assert str(path) in str(e)  # noqa: PT017
        else:
            assert (found.settings, found.index) == (whole.settings, whole.index)
            read += 1
    # The record precedes the pixels, which aren't needed.
    assert read > 0


def test_faults_are_one_line_before_an_engine_is_loaded(
    bundle: Path, tmp_path: Path, capsys: Capture
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert generate(bundle, tmp_path / "x.png", "--from", str(tmp_path / "plain.png")) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert FakeEngine.made == []
