"""Compiled CLIPs in the cache: made once, used while they are whole and of this version."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import exporter.clip
import exporter.clip_cache
from exporter.clip_cache import RECORD_NAME, compiled_clip
from exporter.errors import SourceError
from exporter.sources.clip_folder import ClipFolder, open_clip_folder
from runtimes.bundle import Bundle
from tests.exporter.clip_folders import edit_json

Made = list[str]


@pytest.fixture
def source(tiny_clip: Path) -> ClipFolder:
    return open_clip_folder(tiny_clip)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, portable_clip: Bundle) -> Made:
    """A cache of one's own, and what was told in it; exports are copies of one that was made."""
    monkeypatch.setenv("LATEDGE_CACHE", str(tmp_path / "cache"))

    def copy(source: ClipFolder, folder: Path, progress: object) -> Bundle:
        shutil.copytree(portable_clip.path, folder, dirs_exist_ok=True)
        return Bundle(folder, portable_clip.manifest)

    monkeypatch.setattr(exporter.clip, "export_clip", copy)
    return []


def exports(made: Made) -> int:
    return sum(line.startswith("exporting the CLIP") for line in made)


def test_a_clip_is_made_once(source: ClipFolder, made: Made, tmp_path: Path) -> None:
    folder, compiled = compiled_clip(source, "onnxruntime", made.append)
    assert folder.parent == tmp_path / "cache" / "clip"
    assert compiled_clip(source, "onnxruntime", made.append) == (folder, compiled)
    moved = Path(shutil.copytree(source.path, tmp_path / "elsewhere"))
    assert compiled_clip(open_clip_folder(moved), "onnxruntime", made.append)[0] == folder
    assert exports(made) == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {RECORD_NAME, *compiled.files}


def test_each_target_has_its_own(source: ClipFolder, made: Made) -> None:
    folders = {compiled_clip(source, target)[0] for target in ("onnxruntime", "openvino")}
    assert len(folders) == 2


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "altered weights": lambda folder: flip(folder / "clip_text" / "model.safetensors"),
    "truncated graph": lambda folder: (folder / "clip_image" / "model.onnx").write_bytes(b"x"),
    "missing weights": lambda folder: (folder / "clip_text" / "model.safetensors").unlink(),
    "no record": lambda folder: (folder / RECORD_NAME).unlink(),
    "broken record": lambda folder: (folder / RECORD_NAME).write_bytes(b"{"),
    "another version": lambda folder: edit_json(folder / RECORD_NAME, made_by="0.0.1 abc"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_whole_or_of_this_version_is_made_anew(
    source: ClipFolder, made: Made, damage: str
) -> None:
    folder, compiled = compiled_clip(source, "onnxruntime", made.append)
    DAMAGES[damage](folder)
    assert compiled_clip(source, "onnxruntime", made.append) == (folder, compiled)
    assert exports(made) == 2
    assert compiled_clip(source, "onnxruntime", made.append) == (folder, compiled)
    assert exports(made) == 2


def test_another_weight_is_another_clip(source: ClipFolder, made: Made, tmp_path: Path) -> None:
    folder, _ = compiled_clip(source, "onnxruntime", made.append)
    changed = Path(shutil.copytree(source.path, tmp_path / "changed"))
    flip(changed / "model.safetensors")
    with pytest.raises(exporter.clip.VerificationError):  # the copied export is the other CLIP's
        compiled_clip(open_clip_folder(changed), "onnxruntime", made.append)
    assert exports(made) == 2
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_without_torch_it_says_what_to_install_or_uses_what_is_there(
    source: ClipFolder, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        exporter.clip_cache,
        "find_spec",
        lambda name: None if name in ("torch", "onnxscript") else find_spec(name),
    )
    with pytest.raises(SourceError) as caught:
        compiled_clip(source, "onnxruntime", made.append)
    assert "is not exported yet, which takes torch, onnxscript:" in str(caught.value)
    assert 'pip install "latedge[export]"' in str(caught.value)
    with monkeypatch.context() as with_torch:
        with_torch.setattr(exporter.clip_cache, "find_spec", find_spec)
        expected = compiled_clip(source, "onnxruntime", made.append)
    assert compiled_clip(source, "onnxruntime", made.append) == expected
