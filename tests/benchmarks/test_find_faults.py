"""The command that plants faults and tells whether verification names their nodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import find_faults
from benchmarks.command_line import run_command
from benchmarks.planted_faults import KINDS, plant
from runtimes.bundle import open_bundle

Export = Callable[[str], Path]


def command(*arguments: object) -> int:
    return run_command(find_faults.command, find_faults.NAME, [str(a) for a in arguments])


@pytest.mark.parametrize("how", [(), ("--search-alone",)])
def test_fault_is_planted_found_and_paid_for(
    exported: Export, tiny_sd15: Path, capfd: pytest.CaptureFixture[str], how: tuple[str, ...]
) -> None:
    bundle = exported("tiny-sd15")
    kind = "one wrong value in a weight"
    options = ("--component", "text_encoder", "--kind", kind, "--json", *how)
    assert command(bundle, "--against", tiny_sd15, *options) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert row["right"]
    assert row["found"] == row["planted"]
    assert row["seconds"] > 0
    assert row["peak_rss_gb"] > 0.1
    assert [path.name for path in bundle.parent.iterdir() if "tmp" in path.name] == []


def test_planted_bundle_is_as_its_manifest_says_and_another(
    exported: Export, tmp_path: Path
) -> None:
    before = open_bundle(exported("tiny-sd15"), full=True)
    plant(before.path, "unet", "a bias lost", 0, tmp_path / "b")
    after = open_bundle(tmp_path / "b", full=True)
    assert list(after.manifest.components) == ["unet"]
    name = "unet/model.safetensors"
    assert after.manifest.files[name] != before.manifest.files[name]
    assert after.manifest.files["unet/model.onnx"] == before.manifest.files["unet/model.onnx"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--kind", "a fault"), 2, "unknown kind of fault 'a fault'; known are"),
        (("--component", "unett"), 1, "has no unett"),
        (("--component", "text_encoder", "--kind", "another interpolation"), 1, "no fault was"),
    ],
)
def test_what_cannot_be_planted_is_one_line(
    exported: Export,
    tiny_sd15: Path,
    capfd: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    assert command(exported("tiny-sd15"), "--against", tiny_sd15, *options) == code
    assert message in capfd.readouterr().err


def test_there_are_ten_kinds_and_more() -> None:
    assert len(KINDS) >= 10
