"""Prompt embeddings on disk: what is saved comes back bit by bit, and what is broken is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from runtimes.embeddings_file import PromptEmbeddings
from runtimes.errors import UsageError

COND, UNCOND = np.random.default_rng(0).standard_normal((2, 2, 7, 3), dtype=np.float32)
SUFFIXES = [".npz", ".safetensors"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("negative", [UNCOND, None], ids=["both", "one"])
def test_what_is_saved_is_loaded(tmp_path: Path, suffix: str, negative: Any) -> None:
    path = tmp_path / f"x{suffix}"
    PromptEmbeddings(COND, negative).save(path)
    PromptEmbeddings(COND, negative).save(str(path))
    found = PromptEmbeddings.load(path)
    np.testing.assert_array_equal(found.prompt_embeds, COND, strict=True)
    if negative is None:
        assert found.negative_prompt_embeds is None
    else:
        np.testing.assert_array_equal(found.negative_prompt_embeds, UNCOND, strict=True)


def test_safetensors_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    ours, its = tmp_path / "ours.safetensors", tmp_path / "its.safetensors"
    PromptEmbeddings(COND, UNCOND).save(ours)
    read = load_file(ours)
    np.testing.assert_array_equal(read["prompt_embeds"], COND, strict=True)
    np.testing.assert_array_equal(read["negative_prompt_embeds"], UNCOND, strict=True)
    half = COND.astype(np.float16)
    save_file({"prompt_embeds": half, "other": UNCOND}, its, metadata={"a": "b"})
    found = PromptEmbeddings.load(its)
    np.testing.assert_array_equal(found.prompt_embeds, half.astype(np.float32), strict=True)
    assert found.negative_prompt_embeds is None


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(**changes: object) -> dict[str, object]:
    whole = {"dtype": "F32", "shape": [1, 1, 2], "data_offsets": [0, 8], **changes}
    return {"prompt_embeds": whole}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is no file of prompt embeddings: "),
        (b"abc", "is no file of prompt embeddings: "),
        (safetensors({}, length=2**60), "its header is longer than the file, or than 1 MB"),
        (safetensors(entry(), b"1234567"), "prompt_embeds doesn't lie where the header says"),
        (safetensors(entry(shape=[1, 1, 3]), b"12345678"), "doesn't lie where the header says"),
        (safetensors(entry(data_offsets=[-8, 0]), b"12345678"), "doesn't lie where"),
        (safetensors(entry(dtype="I32"), b"12345678"), "is of dtype I32; known are F32, F16"),
        (safetensors({"prompt_embeds": {}}), "is no file of prompt embeddings: "),
        (safetensors([1]), "holds nothing, and no prompt_embeds."),
        (safetensors({"other": {}}), "holds nothing, and no prompt_embeds."),
    ],
)
def test_broken_safetensors_are_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw)
    with pytest.raises(UsageError) as raised:
        PromptEmbeddings.load(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


def test_npz_with_other_things_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, prompt_embeds=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UsageError, match="is no file of prompt embeddings: Object arrays cannot"):
        PromptEmbeddings.load(path)
    np.savez(path, prompt_embeds=np.arange(3))
    with pytest.raises(UsageError, match="prompt_embeds is of dtype int64, which is no float"):
        PromptEmbeddings.load(path)
    np.savez(path, negative_prompt_embeds=UNCOND)
    with pytest.raises(UsageError, match="holds negative_prompt_embeds, and no prompt_embeds"):
        PromptEmbeddings.load(path)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UsageError, match="is no file of prompt embeddings: "):
        PromptEmbeddings.load(path)
    with path.open("wb") as file:
        np.save(file, COND)
    with pytest.raises(UsageError, match="it holds one array without a name"):
        PromptEmbeddings.load(path)


def test_places_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"are kept as .safetensors or .npz, not as .*x.pt"):
        PromptEmbeddings.load(tmp_path / "x.pt")
    with pytest.raises(UsageError, match=r"are kept as .safetensors or .npz, not as .*x.pt"):
        PromptEmbeddings(COND).save(tmp_path / "x.pt")
    with pytest.raises(UsageError, match=r"none.npz can't be read: No such file or directory"):
        PromptEmbeddings.load(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"can't be written: the folder .* does not exist"):
        PromptEmbeddings(COND).save(tmp_path / "none" / "x.npz")
