"""A component's weights as arrays that lie in a file in the dtype that its program takes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.weights import Planned, Tensor, read_header, stream

Array = NDArray[Any]

_NUMPY = {"F16": "<f2", "F32": "<f4"}


@contextmanager
def mapped_weights(file: Path, dtype: str, scratch: Path) -> Generator[dict[str, Array]]:
    """The weights of a canonical file, each an array mapped from a file: none is in memory.

    Those stored otherwise are streamed into a file that goes again.

    Args:
        file: canonical safetensors.
        dtype: "F16" or "F32", of the arrays.
        scratch: folder for that file.

    Raises:
        SourceError: a weight overflows half precision.
    """
    tensors = read_header(file)
    if all(tensor.dtype == dtype for tensor in tensors.values()):
        yield _mapped(file, tensors)
        return
    with TemporaryDirectory(dir=scratch, prefix=".weights-") as folder:
        cast = Path(folder) / "weights.safetensors"
        stream(cast, {key: Planned(tensor, dtype) for key, tensor in tensors.items()})
        yield _mapped(cast, read_header(cast))


def _mapped(file: Path, tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    whole = np.memmap(file, dtype=np.uint8, mode="r")
    return {
        key: whole[tensor.offset : tensor.offset + tensor.size_bytes]
        .view(_NUMPY[tensor.dtype])
        .reshape(tensor.shape)
        for key, tensor in tensors.items()
    }
