"""Prompt embeddings as a value, and as a file: .safetensors, or .npz without pickled objects."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError
from runtimes.pictures import write_whole

Embeddings = NDArray[np.float32]

SUFFIXES = (".safetensors", ".npz")
NAMES = (
    "prompt_embeds",
    "negative_prompt_embeds",
    "pooled_prompt_embeds",
    "negative_pooled_prompt_embeds",
)
_DTYPES: Mapping[str, str] = {"F32": "<f4", "F16": "<f2"}
_LONGEST_HEADER = 2**20
_BROKEN = (
    *(ValueError, KeyError, TypeError, EOFError, RecursionError, MemoryError),
    *(struct.error, zipfile.BadZipFile),
)
"""What a file that isn't what its name says raises."""


@dataclass(frozen=True)
class PromptEmbeddings:
    """What `Pipeline.encode` gives, and a call takes in place of prompts.

    Attributes:
        prompt_embeds: of the prompts, float32 [n, tokens, d].
        negative_prompt_embeds: of the negative prompts, of the same shape; None where there are
            none, and the empty text's are taken.
        pooled_prompt_embeds: of the prompts, float32 [n, d]; None for models that take none.
        negative_pooled_prompt_embeds: of the negative prompts, likewise.
    """

    prompt_embeds: Embeddings
    negative_prompt_embeds: Embeddings | None = None
    pooled_prompt_embeds: Embeddings | None = None
    negative_pooled_prompt_embeds: Embeddings | None = None

    def save(self, path: Path | str) -> None:
        """Writes them, bit by bit as they are.

        Args:
            path: a .safetensors or .npz file; one that exists is replaced.

        Raises:
            UsageError: the path has another suffix, or is in no folder.
            OSError: it can't be written.
        """
        place = Path(path)
        _check_suffix(place)
        if not place.parent.is_dir():
            raise UsageError(f"{place} can't be written: the folder {place.parent} does not exist.")
        given = {name: getattr(self, name) for name in NAMES}
        arrays = {
            name: np.ascontiguousarray(array, "<f4")
            for name, array in given.items()
            if array is not None
        }
        npz = place.suffix.lower() == ".npz"
        write_whole(place, _npz_bytes(arrays) if npz else _safetensors_bytes(arrays))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads what `save` wrote, or a file of others with tensors of these names.

        Raises:
            UsageError: there is no such file, it is of another format or broken, or it holds no
                float tensor `prompt_embeds`.
        """
        place = Path(path)
        _check_suffix(place)
        try:
            read = _read_npz if place.suffix.lower() == ".npz" else _read_safetensors
            found = read(place)
        except OSError as e:
            raise UsageError(f"{place} can't be read: {e.strerror or e}.") from e
        except _BROKEN as e:
            raise UsageError(f"{place} is no file of prompt embeddings: {e}.") from e
        if NAMES[0] not in found:
            held = ", ".join(sorted(found)) or "nothing"
            raise UsageError(f"{place} holds {held}, and no {NAMES[0]}.")
        return cls(**{name: found[name] for name in NAMES if name in found})


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"prompt embeddings are kept as {' or '.join(SUFFIXES)}, not as {path}.")


def _npz_bytes(arrays: Mapping[str, Embeddings]) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **cast("Mapping[str, Any]", arrays))
    return buffer.getvalue()


def _read_npz(path: Path) -> dict[str, Embeddings]:
    opened = np.load(path, allow_pickle=False)
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise ValueError("it holds one array without a name")
    with cast("Any", opened) as file:
        arrays = cast("Mapping[str, NDArray[Any]]", file)
        return {name: _floats(name, arrays[name]) for name in NAMES if name in arrays}


def _safetensors_bytes(arrays: Mapping[str, Embeddings]) -> bytes:
    header: dict[str, object] = {}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(array.tobytes() for array in arrays.values())
    return struct.pack("<Q", len(text)) + text + data


def _read_safetensors(path: Path) -> dict[str, Embeddings]:
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    if length > min(_LONGEST_HEADER, len(raw) - 8):
        raise ValueError("its header is longer than the file, or than 1 MB")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    data = memoryview(raw)[8 + length :]
    return {name: _tensor(name, header[name], data) for name in NAMES if name in header}


def _tensor(name: str, entry: Mapping[str, Any], data: memoryview) -> Embeddings:
    dtype, shape = entry["dtype"], [int(size) for size in entry["shape"]]
    start, end = (int(offset) for offset in entry["data_offsets"])
    if dtype not in _DTYPES:
        raise ValueError(f"{name} is of dtype {dtype}; known are {', '.join(_DTYPES)}")
    size = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if not 0 <= start <= end <= len(data) or end - start != size:
        raise ValueError(f"{name} doesn't lie where the header says")
    return _floats(name, np.frombuffer(data[start:end], _DTYPES[dtype]).reshape(shape))


def _floats(name: str, array: NDArray[Any]) -> Embeddings:
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name} is of dtype {array.dtype}, which is no float type")
    return array.astype(np.float32)
