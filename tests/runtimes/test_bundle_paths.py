"""Paths that a bundle may hold, on every system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runtimes.bundle_paths import collision, is_inside, unportable
from runtimes.errors import BundleError
from runtimes.manifest import File, read_manifest

Write = Callable[..., Path]


@pytest.mark.parametrize("path", ["a", "unet/model.onnx", "./a/b", "a/..b", "tokenizer/vocab.json"])
def test_paths_inside(path: str) -> None:
    assert is_inside(path)


@pytest.mark.parametrize(
    "path", ["", ".", "/a", "..", "a/../../b", "a/..", "a\\b", "c:a", "C:/a", "//host/a", "a\0b"]
)
def test_paths_that_leave_on_some_system(path: str) -> None:
    assert not is_inside(path)


@pytest.mark.parametrize(
    "path",
    [
        "unet/model.onnx",
        "unet/Unet_FP16-1.mlpackage",
        ".hidden",
        "com10",
        "console",
        "é/ü",
        "a b.c",
    ],
)
def test_names_that_every_system_holds(path: str) -> None:
    assert unportable(path) is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("aux.json", "device"),
        ("unet/NUL", "device"),
        ("Con.tar.gz", "device"),
        ("com1/model.onnx", "device"),
        ("lpt\u00b2.txt", "device"),
        ("nul .txt", "device"),
        ("unet./model.onnx", "ends in a dot"),
        ("model.onnx ", "ends in a dot or a space"),
        ("a?b", "holds '?'"),
        ("a\nb", "holds '\\n'"),
        ("a<b", "holds '<'"),
        ("ü" * 128, "more than 255 bytes"),
    ],
)
def test_names_that_windows_cannot_hold(path: str, reason: str) -> None:
    found = unportable(path)
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    ("paths", "both"),
    [
        (["a/b", "a/c"], None),
        (["unet/model.onnx", "UNet/model.onnx"], ("UNet", "unet")),
        (["a/model.onnx", "a/Model.onnx"], ("a/Model.onnx", "a/model.onnx")),
        (["caf\u00e9", "cafe\u0301"], ("cafe\u0301", "caf\u00e9")),
        (["A", "a/b"], ("A", "a")),
    ],
)
def test_paths_that_are_one_without_case(paths: list[str], both: tuple[str, str] | None) -> None:
    assert collision(paths) == both


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unet/aux.onnx", r"files\.unet/aux\.onnx is 'unet/aux\.onnx', but .* device on Windows"),
        ("../model.onnx", r"files\.\.\./model\.onnx is .* a path that leaves the bundle"),
        ("UNet/model.fake", r"`files` lists 'UNet' and 'unet', which are one on systems"),
    ],
)
def test_manifest_with_such_a_path_is_refused(fake_bundle: Write, name: str, message: str) -> None:
    bundle = fake_bundle()
    listed = {**read_manifest(bundle).files, name: File(size=1, sha256="0" * 64)}
    with pytest.raises(BundleError, match=message):
        read_manifest(fake_bundle(files=listed))
