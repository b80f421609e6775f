"""The weight stream against the safetensors library, and every way a file can be broken."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file

from exporter.errors import SourceError
from exporter.weights import Planned, cast_to, layout, read_header, read_index, stream

VALUES = {
    "b": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "a": np.linspace(-3, 3, 10, dtype=np.float16),
    "scalar": np.array(2.5, np.float32),
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "in.safetensors"
    save_file(VALUES, path)
    return path


def test_header_gives_every_tensor_in_place(written: Path) -> None:
    tensors = read_header(written)
    assert tensors.keys() == VALUES.keys()
    for name, values in VALUES.items():
        np.testing.assert_array_equal(tensors[name].read(), values)


def test_bfloat16_is_widened_without_loss(tmp_path: Path) -> None:
    values = torch.randn(33, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    save_torch_file({"w": values}, tmp_path / "bf16.safetensors")
    read = read_header(tmp_path / "bf16.safetensors")["w"].read()
    np.testing.assert_array_equal(read, values.float().numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_transposed_matrix_is_read_and_streamed_by_its_rows(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_torch_file({"w": values}, tmp_path / "in.safetensors")
    stored = read_header(tmp_path / "in.safetensors")["w"]
    tensor = replace(stored, shape=(5, 3), transposed=True)
    np.testing.assert_array_equal(tensor.read(), values.T.float().numpy())
    for kept, out in ((stored.dtype, "same"), ("F32", "cast")):
        stream(tmp_path / out, {"w": Planned(tensor, kept)})
        copied = read_header(tmp_path / out)["w"]
        assert (copied.dtype, copied.shape, copied.transposed) == (kept, (5, 3), False)
        np.testing.assert_array_equal(copied.read(), values.T.float().numpy())


def test_stream_renames_casts_and_hashes(written: Path, tmp_path: Path) -> None:
    tensors = read_header(written)
    plan = {"x.b": Planned(tensors["b"], "F16"), "x.a": Planned(tensors["a"], "F16")}
    out = tmp_path / "out.safetensors"
    assert stream(out, plan) == hashlib.sha256(out.read_bytes()).hexdigest()
    found = load_file(out)
    assert found["x.b"].dtype == np.float16
    np.testing.assert_array_equal(found["x.b"], VALUES["b"].astype(np.float16))
    np.testing.assert_array_equal(found["x.a"], VALUES["a"])


def test_layout_aligns_every_tensor_to_its_element() -> None:
    entries = {"c": ("F16", (3,)), "a": ("F32", (1,)), "b": ("F16", (1,))}
    prefix, offsets = layout(entries)
    assert len(prefix) % 4096 == 0
    assert list(offsets) == ["a", "b", "c"]
    assert all(offsets[name] % (4 if entries[name][0] == "F32" else 2) == 0 for name in entries)


def test_layout_does_not_depend_on_the_order_given() -> None:
    entries = {"a": ("F32", (2,)), "b": ("F16", (2,))}
    assert layout(entries) == layout(dict(reversed(entries.items())))


def test_overflow_of_fp16_is_refused() -> None:
    with pytest.raises(SourceError, match=r"70000 overflows fp16"):
        cast_to(np.array([1.0, 70000.0], np.float32), "F16")


def test_truncated_file_is_refused(written: Path) -> None:
    written.write_bytes(written.read_bytes()[:-1])
    with pytest.raises(SourceError, match="truncated: its tensors end at byte"):
        read_header(written)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "has 0 bytes"),
        (struct.pack("<Q", 10**6) + b"{}", "truncated or not a safetensors file"),
        (struct.pack("<Q", 4) + b"nope", "its header is not JSON"),
        (struct.pack("<Q", 2) + b"[]", "its header is no JSON object"),
        (struct.pack("<Q", 99_999) + b"[" * 99_999, "its header is not JSON .*recursion"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer.*`git lfs pull`"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw)
    with pytest.raises(SourceError, match=message):
        read_header(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": [2]}, "entry for 'w' is malformed"),
        ({"dtype": "F8", "shape": [2], "data_offsets": [0, 8]}, "dtype F8"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}, "offsets don't fit"),
    ],
)
def test_contradicting_header_is_refused(
    tmp_path: Path, entry: dict[str, object], message: str
) -> None:
    header = json.dumps({"w": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(SourceError, match=message):
        read_header(path)


def _sharded(folder: Path, weight_map: dict[str, str]) -> Path:
    save_file({"a": VALUES["a"]}, folder / "1.safetensors")
    save_file({"b": VALUES["b"]}, folder / "2.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    index = _sharded(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    np.testing.assert_array_equal(read_index(index)["b"].read(), VALUES["b"])


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "1.safetensors", "b": "3.safetensors"}, "3.safetensors is missing"),
        ({"a": "1.safetensors"} | {"c": "2.safetensors"}, "is in "),
        ({"a": "../1.safetensors"}, "not in the same folder"),
        (
            {"a": "2.safetensors", "b": "1.safetensors"},
            "b is in 2.safetensors, and the index has it in 1.safetensors|"
            "a is in 1.safetensors, and the index has it in 2.safetensors",
        ),
    ],
)
def test_index_that_disagrees_is_refused(
    tmp_path: Path, weight_map: dict[str, str], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        read_index(_sharded(tmp_path, weight_map))
