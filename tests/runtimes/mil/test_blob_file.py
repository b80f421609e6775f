"""The reader of weight files against the file that coremltools' own writer makes."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtimes.errors import BundleError
from runtimes.mil.blob_file import BlobFile
from runtimes.mil.values import BY_NAME, Array, TensorType

WRITERS = {
    "fp16": "write_fp16_data",
    "fp32": "write_float_data",
    **{f"{name}": f"write_{name}_data" for name in ("int8", "uint8", "int16", "uint16", "int32")},
    **{f"{name}": f"write_{name}_data" for name in ("uint32", "int4", "uint4", "uint1", "uint2")},
    **{f"{name}": f"write_{name}_data" for name in ("uint3", "uint6")},
}
COUNT = 11


def values(dtype: str) -> Array:
    kind = BY_NAME[dtype]
    rng = np.random.default_rng(kind.bits)
    if kind.is_float:
        return rng.standard_normal(COUNT).astype(kind.stored)
    low = -(1 << kind.bits - 1) if dtype.startswith("int") else 0
    return rng.integers(low, low + (1 << kind.bits), COUNT).astype(kind.stored)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A file with a tensor of each type, and where each is."""
    from coremltools.libmilstoragepython import (
        _BlobStorageWriter,  # pyright: ignore[reportPrivateUsage]
    )

    path = tmp_path_factory.mktemp("blob") / "weight.bin"
    writer: Any = _BlobStorageWriter(str(path))
    offsets: dict[str, int] = {}
    for dtype, name in WRITERS.items():
        array = values(dtype)
        raw = array.view(np.uint16) if dtype == "fp16" else array
        offsets[dtype] = getattr(writer, name)(raw)
    return path, offsets


def kind(dtype: str, *shape: int) -> TensorType:
    return TensorType(BY_NAME[dtype], shape or (COUNT,))


@pytest.mark.parametrize("dtype", WRITERS)
def test_tensors_are_read(dtype: str, written: tuple[Path, dict[str, int]]) -> None:
    path, offsets = written
    found = BlobFile.open(path).read(offsets[dtype], kind(dtype, 1, COUNT))
    assert found.dtype == BY_NAME[dtype].stored
    np.testing.assert_array_equal(found, values(dtype)[None])


def test_tensors_are_mapped(written: tuple[Path, dict[str, int]]) -> None:
    path, offsets = written
    blob = BlobFile.open(path)
    assert np.shares_memory(blob.read(offsets["fp16"], kind("fp16")), blob.mapped)


Alter = Callable[[bytearray, int], None]


def pack(form: str, place: int, value: int) -> Alter:
    """Writes a number at a place in the metadata."""
    return lambda raw, offset: struct.pack_into(form, raw, offset + place, value)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (pack("<I", 0, 0), "there is no tensor at byte"),
        (pack("<I", 4, 2), "22 bytes of fp32, where the program has fp16"),
        (pack("<I", 4, 99), "of element type 99, where"),
        (pack("<Q", 8, 24), "24 bytes of fp16, where"),
        (pack("<Q", 16, 1 << 40), r"ends at 1099511627798 of"),
        (lambda raw, offset: raw.__delitem__(slice(offset + 20, None)), "points to byte"),
        (lambda raw, offset: raw.__delitem__(slice(offset + 70, None)), r"ends at \d+ of"),
    ],
)
def test_altered_files_are_refused(
    alter: Alter, message: str, written: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    path, offsets = written
    raw = bytearray(path.read_bytes())
    alter(raw, offsets["fp16"])
    (tmp_path / "weight.bin").write_bytes(raw)
    blob = BlobFile.open(tmp_path / "weight.bin")
    for call in (blob.read, blob.check):
        with pytest.raises(BundleError, match=message) as caught:
            call(offsets["fp16"], kind("fp16"))
        assert str(tmp_path / "weight.bin") in str(caught.value)


def test_other_types_shapes_and_places_are_refused(written: tuple[Path, dict[str, int]]) -> None:
    path, offsets = written
    blob = BlobFile.open(path)
    for dtype, shape in (("fp32", (COUNT,)), ("fp16", (COUNT + 1,)), ("uint4", (COUNT,))):
        with pytest.raises(BundleError, match="where the program has"):
            blob.check(offsets["fp16"], kind(dtype, *shape))
    for offset in (offsets["fp16"] + 1, -64, 1 << 40):
        with pytest.raises(BundleError, match="points to byte"):
            blob.check(offset, kind("fp16"))
    with pytest.raises(BundleError, match=r"where the program has uint3 \[9\]"):
        blob.check(offsets["uint3"], kind("uint3", 9))


def test_what_is_no_weight_file_is_refused(
    tmp_path: Path, written: tuple[Path, dict[str, int]]
) -> None:
    path = tmp_path / "weight.bin"
    with pytest.raises(BundleError, match="can't be read"):
        BlobFile.open(path)
    path.write_bytes(b"\0" * 10)
    with pytest.raises(BundleError, match="cut off: it has 10 bytes"):
        BlobFile.open(path)
    shutil.copy(written[0], path)
    with path.open("r+b") as file:
        file.seek(4)
        file.write(struct.pack("<I", 3))
    with pytest.raises(BundleError, match="no weight file of version 2: it says 3"):
        BlobFile.open(path)
