"""What `latedge bench` refuses, before anything is measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import latedge
from benchmarks.bench import reference
from benchmarks.bench.entry import unique_names
from benchmarks.bench.request import parse_counts, parse_sizes
from runtimes.errors import UsageError
from runtimes.manifest import MANIFEST_NAME

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, *arguments: object) -> tuple[int, str]:
    """Status and the one line of a command that fails."""
    status = latedge.main(["bench", *map(str, arguments)])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1, shown.err
    return status, shown.err.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no bundle is given"),
        (("{ort}", "--json", "--csv"), "--json and --csv exclude each other"),
        (("{ort}", "--sessions", "0"), "--sessions must be a whole number from 1 to 10000, not 0"),
        (("{ort}", "--rounds", "-3"), "--rounds must be a whole number"),
        (("{ort}", "--warmup", "0"), "--warmup must be a whole number"),
        (("{ort}", "--steps", "1001"), "num_inference_steps must be a whole number from 1 to 1000"),
        (("{ort}", "--threads", "0"), "--threads must be a whole number from 1 to 4096, not 0"),
        (("{ort}", "--sampler", "nonsense"), "nonsense"),
        (
            ("{ort}", "--device", "Reference:fp16"),
            "--device Reference:fp16 evaluates Core ML's pack",
        ),
        (("{ort}", "--height", "63"), "height"),
        (("{ort}", "--batches", "1,two"), "--batches takes whole numbers from 1"),
        (("{ort}", "--batches", "0"), "--batches takes whole numbers from 1"),
        (("{ort}", "--batches", "1001"), "--batches takes whole numbers from 1 to 1000"),
        (("{ort}", "--sizes", "64"), "--sizes takes width x height"),
        (("{ort}", "--sizes", "64x64,64x65"), "--sizes: height 65 is not a multiple of"),
        (("{ort}", "--guidance-scale", "nan"), "guidance_scale must be a finite number, not nan"),
        (("{ort}", "--seed", str(2**64 - 1)), "seed must be a whole number from -2^63 to 2^64-1"),
        (("{ort}", "--prompt", "\udcff"), "'\\udcff' is not valid UTF-8"),
        (("{ort}", "--quality", "-1"), "--quality and --shapes-prompts are 0 or more"),
        (("{ort}", "--quality", "0", "--clip", "x"), "--quality must be 1 or more"),
        (("{ort}", "--shapes-prompts", "5", "--height", "128"), "64×64"),
        (("{ort}", "--reference", "no/where"), "no/where"),
        (("{ort}", "--against", "jax"), "torch, torch-compiled"),
        (("{ort}", "--against", "torch", "--source", "no/where"), "no/where"),
        (("{ort}", "--fail-over", "5%"), "--fail-over: only --compare fails by it"),
        (("--compare", "a.json", "b.json", "-o", "c.json"), "--output: --compare measures nothing"),
        (("--compare", "a.json", "b.json", "--steps", "2"), "--steps: --compare measures nothing"),
        (("{ort}", "--source", "x"), "--source is for --against torch"),
        (("{ort}", "-o", "no/folder/x.json"), "the folder no/folder does not exist"),
        (("{ort}", "--compare", "a.json", "b.json"), "--compare takes two results and no bundles"),
        (("--compare", "a.json", "b.json"), "a.json can't be read: No such file"),
        (("--compare", "a.json", "b.json", "--fail-over", "abc"), "abc"),
    ],
)
def test_wrong_usage_is_one_line(
    shapes_ort: Path, capsys: Capture, arguments: tuple[str, ...], message: str
) -> None:
    status, line = refused(capsys, *(each.format(ort=shapes_ort) for each in arguments))
    assert status in (1, 2)
    assert message in line


def test_a_portable_bundle_is_to_be_compiled(shapes_bundle: Path, capsys: Capture) -> None:
    status, line = refused(capsys, shapes_bundle)
    assert status == 1
    assert "is portable and can't run yet. Compile it first" in line


def test_no_bundle_at_all(tmp_path: Path, capsys: Capture) -> None:
    _, line = refused(capsys, tmp_path / "absent")
    assert "no bundle at" in line


def test_bundles_of_different_models(shapes_ort: Path, tmp_path: Path, capsys: Capture) -> None:
    other = tmp_path / "other"
    shutil.copytree(shapes_ort, other)
    manifest = other / MANIFEST_NAME
    text = manifest.read_text("utf-8")
    start = text.index('"source_sha256": "') + len('"source_sha256": "')
    changed = text[:start] + "0" * 64 + text[start + 64 :]
    manifest.write_text(changed, encoding="utf-8", newline="\n")
    for given in ((shapes_ort, other), (shapes_ort, "--reference", other)):
        status, line = refused(capsys, *given)
        assert status == 2
        assert "were made from different models" in line
        assert "--different-models" in line


def test_counts_and_sizes_are_read() -> None:
    assert parse_counts("1, 2,16") == (1, 2, 16)
    assert parse_counts("") == ()
    assert parse_sizes("256x512,64×32") == ((512, 256), (32, 64))
    with pytest.raises(UsageError, match="width x height"):
        parse_sizes("256x")


def test_torch_is_looked_for_before_anything_is_measured(
    shapes_ort: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "find_spec", lambda name: None)
    status, line = refused(capsys, shapes_ort, "--against", "torch")
    assert status == 1
    assert "--against torch needs torch, diffusers, transformers, not installed here" in line


def test_names_tell_subjects_apart() -> None:
    paths = [Path("/a/x.ort"), Path("/b/x.ort"), Path("/b/y"), Path("/b/y")]
    assert unique_names(paths) == ["a/x.ort", "b/x.ort", "y", "y (2)"]
    assert unique_names([Path("/a/x"), Path("/a/x"), Path("/a/x (2)")]) == [
        "x",
        "x (2)",
        "x (2) (2)",
    ]
    assert unique_names([Path("/a/torch")], ["torch"]) == ["torch (2)"]
