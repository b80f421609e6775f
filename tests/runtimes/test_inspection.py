"""What a bundle tells of itself."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from runtimes.errors import BundleError
from runtimes.inspection import inspect
from runtimes.manifest import (
    MANIFEST_NAME,
    File,
    Recipe,
    encode_manifest,
    read_manifest,
)
from tests.runtimes.fakes import hash_file

Write = Callable[..., Path]


def with_unet_file(bundle: Path, name: str, data: bytes, **changes: object) -> Path:
    """Adds a file to the bundle's U-Net."""
    path = bundle / "unet" / name
    path.write_bytes(data)
    manifest = read_manifest(bundle)
    unet = msgspec.structs.replace(manifest.components["unet"], **changes)
    files = {**manifest.files, f"unet/{name}": File(size=len(data), sha256=hash_file(path))}
    changed = msgspec.structs.replace(
        manifest, components={**manifest.components, "unet": unet}, files=files
    )
    (bundle / MANIFEST_NAME).write_bytes(encode_manifest(changed))
    return bundle


def safetensors(shapes: dict[str, tuple[int, ...]]) -> bytes:
    entries = {name: {"dtype": "F16", "shape": shape} for name, shape in shapes.items()}
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    return struct.pack("<Q", len(header)) + header + b"\1" * 64


def test_manifest_is_summed_up(fake_bundle: Write) -> None:
    bundle = fake_bundle()
    found, manifest = inspect(bundle), read_manifest(bundle)
    assert (found.family, found.tasks, found.target) == ("sd1", ("text-to-image",), "fake")
    assert (found.engines, found.precisions) == (("fake",), ("fp32",))
    assert found.defaults == manifest.defaults
    assert found.latents == manifest.latents
    assert found.files == len(manifest.files) == 6
    on_disk = sum((bundle / name).stat().st_size for name in manifest.files)
    assert found.size_bytes == on_disk > 0
    assert found.components["unet"].graphs == manifest.components["unet"].graphs
    assert found.components["unet"].size_bytes == len("unet")
    assert found.components["unet"].weights is None


def test_weights_are_counted_in_safetensors(fake_bundle: Write) -> None:
    data = safetensors({"a": (2, 3), "b": (), "c": (4,)})
    recipe = Recipe(
        component="unet",
        class_name="UNet2DConditionModel",
        config="scheduler/scheduler_config.json",
        weights="unet/model.safetensors",
    )
    bundle = with_unet_file(fake_bundle(), "model.safetensors", data, recipe=recipe)
    unet = inspect(bundle).components["unet"]
    assert (unet.weights, unet.parameters) == (3, 6 + 1 + 4)


def test_weights_are_counted_in_the_weight_map(fake_bundle: Write) -> None:
    entries = {"a": {"tensor": "x", "shape": [2, 3]}, "b": {"tensor": "y", "shape": [5]}}
    data = json.dumps(entries).encode()
    bundle = with_unet_file(
        fake_bundle(), "weight_map.json", data, weight_map="unet/weight_map.json"
    )
    unet = inspect(bundle).components["unet"]
    assert (unet.weights, unet.parameters) == (2, 11)
    assert unet.size_bytes == len("unet") + len(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff" * 16, r"not a safetensors file: its header has \d+ bytes"),
        (struct.pack("<Q", 9) + b"{", "not a safetensors file: Input data was truncated"),
        (struct.pack("<Q", 5) + b'{"a":', "not a safetensors file: Input data was truncated"),
        (struct.pack("<Q", 8) + b'{"a": 1}', "doesn't list weights with their shapes"),
    ],
)
def test_broken_headers_are_named(fake_bundle: Write, data: bytes, message: str) -> None:
    graph = read_manifest(fake_bundle()).components["unet"].graphs["model"]
    graph = msgspec.structs.replace(graph, weights=("unet/model.safetensors",))
    bundle = with_unet_file(fake_bundle(), "model.safetensors", data, graphs={"model": graph})
    with pytest.raises(BundleError, match=message):
        inspect(bundle)


def test_altered_bundles_are_refused(fake_bundle: Write) -> None:
    bundle = fake_bundle()
    (bundle / "unet" / "model.fake").write_text("TENU", encoding="utf-8")
    with pytest.raises(BundleError, match=r"unet/model\.fake is altered"):
        inspect(bundle)
