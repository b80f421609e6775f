"""The script that makes a Swift app's resources, with a stand-in for Apple's compiler, and the
vocabulary, read as Apple's package reads it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.coreml.resources import MERGES, SCRIPT, VOCABULARY, write_resources
from runtimes.tokenizer import ClipTokenizer

XCRUN = """#!/bin/sh
[ "$1" = --find ] && exit {finds}
[ "$1 $2" = "coremlcompiler compile" ] || exit 64
case $3 in *{breaks}.mlpackage) exit 1;; esac
name=$(basename "$3" .mlpackage)
mkdir "$4/$name.mlmodelc" && cp -R "$3/." "$4/$name.mlmodelc"
echo "$4/$name.mlmodelc/model.mil"
"""
"""What of Xcode's tool the script uses."""


def bundle_of(tokenizers: Mapping[str, Path]) -> Any:
    """As much of a bundle as has to do with tokenizers."""
    manifest = SimpleNamespace(tokenizers={name: path.name for name, path in tokenizers.items()})
    (parent,) = {path.parent for path in tokenizers.values()} or {Path()}
    return SimpleNamespace(path=parent, manifest=manifest)


@pytest.fixture
def bundle(tmp_path: Path, shapes_model: Path) -> Path:
    """Packages in name alone, with the script and the vocabulary."""
    folder = tmp_path / "a bundle"
    for package in ("unet/UnetChunk1", "unet/UnetChunk2", "text_encoder/TextEncoder"):
        (folder / f"{package}.mlpackage").mkdir(parents=True)
        (folder / f"{package}.mlpackage" / "Manifest.json").write_text(package)
    write_resources(bundle_of({"text_encoder": shapes_model / "tokenizer"}), folder)
    return folder


@dataclass(frozen=True)
class Mac:
    """A PATH with the tools that the script uses, and perhaps a stand-in for xcrun."""

    tools: Path

    @classmethod
    def of(cls, tools: Path) -> Mac:
        tools.mkdir()
        for name in ("dirname", "basename", "mktemp", "rm", "cp", "mv", "mkdir", "chmod", "sh"):
            found = shutil.which(name)
            assert found is not None
            (tools / name).symlink_to(found)
        return cls(tools)

    def with_xcrun(self, *, finds: bool = True, breaks: str = "none") -> Mac:
        xcrun = self.tools / "xcrun"
        xcrun.write_text(XCRUN.format(finds=0 if finds else 72, breaks=breaks))
        xcrun.chmod(0o755)
        return self

    def run(self, bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(bundle / SCRIPT), *arguments],
            env={"PATH": str(self.tools)},
            cwd=self.tools.parent,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    if os.name != "posix":
        pytest.skip("the script is for a Mac")
    return Mac.of(tmp_path / "tools")


def test_packages_are_compiled_beside_the_vocabulary(mac: Mac, bundle: Path) -> None:
    result = mac.with_xcrun().run(bundle)
    assert (result.returncode, result.stderr) == (0, "")
    made = bundle / "Resources"
    assert sorted(path.name for path in made.iterdir()) == [
        "TextEncoder.mlmodelc",
        "UnetChunk1.mlmodelc",
        "UnetChunk2.mlmodelc",
        "merges.txt",
        "vocab.json",
    ]
    assert (made / "UnetChunk2.mlmodelc" / "Manifest.json").read_text() == "unet/UnetChunk2"
    for name, source in (("vocab.json", VOCABULARY), ("merges.txt", MERGES)):
        assert (made / name).read_bytes() == (bundle / source).read_bytes()
    assert made.stat().st_mode & 0o777 == 0o755


def test_another_folder_can_be_given(mac: Mac, bundle: Path) -> None:
    assert mac.with_xcrun().run(bundle, "made here/").returncode == 0
    assert (mac.tools.parent / "made here" / "UnetChunk1.mlmodelc").is_dir()
    assert not (bundle / "Resources").exists()


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of a script that did nothing."""
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    return line


def left(bundle: Path) -> list[str]:
    return sorted(path.name for path in bundle.iterdir() if "Resources" in path.name)


def test_no_xcrun_is_one_line(mac: Mac, bundle: Path) -> None:
    assert refusal(mac.run(bundle)) == (
        "make_resources.sh: there is no xcrun, which comes with Xcode on a Mac; run this there."
    )
    assert left(bundle) == []


def test_no_compiler_is_one_line(mac: Mac, bundle: Path) -> None:
    line = refusal(mac.with_xcrun(finds=False).run(bundle))
    assert line.startswith("make_resources.sh: xcrun finds no coremlcompiler, which comes with")
    assert left(bundle) == []


def test_existing_output_is_left_alone(mac: Mac, bundle: Path) -> None:
    (bundle / "Resources").write_text("mine")
    line = refusal(mac.with_xcrun().run(bundle))
    assert line.endswith("Resources exists; give another folder, or move it.")
    assert (bundle / "Resources").read_text() == "mine"


def test_what_fails_leaves_nothing(mac: Mac, bundle: Path) -> None:
    result = mac.with_xcrun(breaks="UnetChunk2").run(bundle)
    assert "UnetChunk1" in result.stdout, "the one before it was compiled"
    assert "coremlcompiler can't compile" in refusal(result)
    assert left(bundle) == []


def test_missing_vocabulary_is_one_line(mac: Mac, bundle: Path) -> None:
    (bundle / MERGES).unlink()
    result = mac.with_xcrun().run(bundle)
    assert refusal(result).endswith("a bundle/swift lacks merges.txt.")
    assert result.stdout == "", "nothing was compiled"
    assert left(bundle) == []


def test_bundle_without_packages_is_one_line(mac: Mac, bundle: Path) -> None:
    for name in ("unet", "text_encoder"):
        shutil.rmtree(bundle / name)
    assert refusal(mac.with_xcrun().run(bundle)).endswith("a bundle holds no Core ML packages.")
    assert left(bundle) == []


def test_two_folders_are_refused(mac: Mac, bundle: Path) -> None:
    assert refusal(mac.run(bundle, "a", "b")).endswith("takes one folder at most, not 2.")


def test_bundle_without_tokenizer_gets_neither(tmp_path: Path) -> None:
    write_resources(bundle_of({}), tmp_path)
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class SwiftTokenizer:
    """Reads and tokenizes as BPETokenizer.swift and BPETokenizer+Reading.swift do."""

    ids: Mapping[str, int]
    ranks: Mapping[tuple[bytes, ...], int]

    @classmethod
    def read(cls, folder: Path) -> SwiftTokenizer:
        ids = json.loads((folder / VOCABULARY).read_text("utf-8"))
        *lines, unended = (folder / MERGES).read_bytes().split(b"\n")
        assert unended == b"", "a line without an end isn't read"
        ranks: dict[tuple[bytes, ...], int] = {}
        for rank, line in enumerate(lines):
            if line and not line.startswith(b"#"):
                pair = tuple(piece for piece in line.split(b" ") if piece)
                assert len(pair) == 2
                ranks[pair] = rank
        return cls(ids, ranks)

    def tokenize(self, text: str) -> list[int]:
        pieces = [piece for word in text.strip().lower().split() for piece in self._word(word)]
        unknown = self.ids["<|endoftext|>"]
        tokens = ["<|startoftext|>", *pieces, "<|endoftext|>"]
        return [self.ids.get(token, unknown) for token in tokens]

    def _word(self, word: str) -> list[str]:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while found := [pair for pair in pairwise(pieces) if self._rank(pair) is not None]:
            left, right = min(found, key=lambda pair: self._rank(pair) or 0)
            merged: list[str] = []
            while pieces:
                if pieces[:2] == [left, right]:
                    merged, pieces = [*merged, left + right], pieces[2:]
                else:
                    merged, pieces = [*merged, pieces[0]], pieces[1:]
            pieces = merged
        return pieces

    def _rank(self, pair: tuple[str, str]) -> int | None:
        return self.ranks.get(tuple(piece.encode() for piece in pair))


PROMPTS = ("a red circle", "A small  blue square left of a large green triangle", "two white rings")


def test_swift_gives_the_same_ids(tmp_path: Path, shapes_model: Path) -> None:
    folder = shapes_model / "tokenizer"
    write_resources(bundle_of({"text_encoder": folder}), tmp_path)
    swift, own = SwiftTokenizer.read(tmp_path), ClipTokenizer.open(folder)
    for prompt in PROMPTS:
        ids = own(prompt).input_ids[0].tolist()
        known = swift.tokenize(prompt)
        assert known == ids[: len(known)]
        assert set(ids[len(known) :]) <= {own.pad_token_id}


def test_vocabulary_is_made_of_tokenizer_json_too(tmp_path: Path, shapes_model: Path) -> None:
    """As transformers 5 saves it, with a token of a user's own behind the vocabulary."""
    plain = shapes_model / "tokenizer"
    ids = json.loads((plain / "vocab.json").read_text("utf-8"))
    lines = (plain / "merges.txt").read_text("utf-8").splitlines()[1:]
    serialized = tmp_path / "tokenizer"
    serialized.mkdir()
    shutil.copy(plain / "tokenizer_config.json", serialized)
    model = {"type": "BPE", "vocab": ids, "merges": [line.split(" ") for line in lines]}
    (serialized / "tokenizer.json").write_text(json.dumps({"model": model}))
    for name, folder in (("plain", plain), ("made", serialized)):
        write_resources(bundle_of({"text_encoder": folder}), tmp_path / name)
    for name in (VOCABULARY, MERGES):
        assert (tmp_path / "made" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert json.loads((tmp_path / "made" / VOCABULARY).read_text("utf-8")) == ids


def test_sdxls_vocabulary_is_the_first_tokenizers(tmp_path: Path, shapes_model: Path) -> None:
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(shapes_model / "tokenizer", tmp_path / name)
    encoders = {"text_encoder": tmp_path / "tokenizer", "text_encoder_2": tmp_path / "tokenizer_2"}
    (tmp_path / "tokenizer_2" / "vocab.json").unlink()
    write_resources(bundle_of(encoders), tmp_path / "made")
    assert (tmp_path / "made" / VOCABULARY).is_file()
