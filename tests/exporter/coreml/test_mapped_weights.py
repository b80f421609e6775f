"""Weights as arrays that lie in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from exporter.coreml.mapped_weights import mapped_weights
from exporter.errors import SourceError

VALUES = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3) / 3,
    "b": np.array([1e-3], dtype=np.float32),
}


def write(folder: Path, dtype: str) -> Path:
    file = folder / "model.safetensors"
    safetensors.numpy.save_file({key: v.astype(dtype) for key, v in VALUES.items()}, file)
    return file


@pytest.mark.parametrize(("stored", "dtype"), [("float16", "F16"), ("float32", "F32")])
def test_those_of_the_same_dtype_are_the_files_own(tmp_path: Path, stored: str, dtype: str) -> None:
    file, scratch = write(tmp_path, stored), tmp_path / "scratch"
    with mapped_weights(file, dtype, scratch) as arrays:  # which isn't even there
        assert arrays.keys() == VALUES.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, VALUES[key].astype(stored), strict=True)
            assert is_mapped(array)


@pytest.mark.parametrize(("stored", "dtype"), [("float32", "float16"), ("float16", "float32")])
def test_others_are_cast_in_a_file_that_goes(tmp_path: Path, stored: str, dtype: str) -> None:
    file, scratch = write(tmp_path, stored), tmp_path / "scratch"
    scratch.mkdir()
    with mapped_weights(file, {"float16": "F16", "float32": "F32"}[dtype], scratch) as arrays:
        for key, array in arrays.items():
            wanted = VALUES[key].astype(stored).astype(dtype)
            np.testing.assert_array_equal(array, wanted, strict=True)
            assert is_mapped(array)
        assert len(list(scratch.iterdir())) == 1
    assert list(scratch.iterdir()) == []


def test_what_overflows_halves_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    file, scratch = tmp_path / "model.safetensors", tmp_path / "scratch"
    scratch.mkdir()
    safetensors.numpy.save_file({"a": np.array([1e6], np.float32)}, file)
    with pytest.raises(SourceError, match="overflows fp16"), mapped_weights(file, "F16", scratch):
        pass
    assert list(scratch.iterdir()) == []


def is_mapped(array: object) -> bool:
    """Whether an array is a view of a file."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None
