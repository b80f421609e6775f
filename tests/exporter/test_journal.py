"""A journal gives back what was finished and is whole still, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from exporter.fingerprint import Fingerprint
from exporter.journal import JOURNAL_NAME, Journal
from runtimes.bundle import hash_file

RUN = Fingerprint(verb="export", source="ab", options={"dtype": "fp16"}, versions={"torch": "2.13"})
NAMES = ["text_encoder", "unet", "vae_decoder"]


class Done(msgspec.Struct, frozen=True):
    name: str
    seconds: float


class Writer:
    """Writes components of a few bytes; remembers which it wrote and what it was told."""

    def __init__(self, root: Path, run: Fingerprint = RUN, *, afresh: bool = False) -> None:
        self.wrote: list[str] = []
        self.lines: list[str] = []
        self.journal = Journal.open(root, run, afresh=afresh, progress=self.lines.append)

    def step(self, name: str) -> Done:
        return self.journal.step(name, lambda: self._write(name), Done)

    def _write(self, name: str) -> Done:
        self.wrote.append(name)
        (self.journal.content / name).mkdir()
        (self.journal.content / name / "model.onnx").write_text(f"graph of {name}")
        (self.journal.content / name / "model.safetensors").write_text(f"weights of {name}")
        (self.journal.kept / f"{name}.npy").write_text(f"latents of {name}")
        return Done(name, 0.1 + 0.2)


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A journal of two finished steps, with a third begun and files that no step wrote."""
    root = tmp_path / ".out.partial"
    writer = Writer(root)
    for name in NAMES[:2]:
        writer.step(name)
    (root / "bundle" / "vae_decoder").mkdir()
    (root / "bundle" / "vae_decoder" / "model.onnx").write_text("half a gra")
    (root / "bundle" / "latedge.json").write_text("{}")
    (root / "discarded").mkdir()
    (root / f"{JOURNAL_NAME}.new").write_text("{")
    return root


def test_finished_steps_are_taken_and_the_rest_is_removed(root: Path) -> None:
    writer = Writer(root)
    assert writer.journal.finished == ("text_encoder", "unet")
    assert set(_files(root)) == {
        JOURNAL_NAME,
        *(f"bundle/{n}/model.{end}" for n in NAMES[:2] for end in ("onnx", "safetensors")),
        *(f"kept/{n}.npy" for n in NAMES[:2]),
    }
    assert not (root / "bundle" / "vae_decoder").exists()
    assert not (root / "discarded").exists()
    results = [writer.step(name) for name in NAMES]
    assert results == [Done(name, 0.1 + 0.2) for name in NAMES]
    assert writer.wrote == ["vae_decoder"]
    assert writer.lines == [
        "text_encoder: taken from the interrupted run",
        "unet: taken from the interrupted run",
    ]


def test_result_is_the_same_whether_interrupted_or_not(root: Path, tmp_path: Path) -> None:
    resumed, undisturbed = Writer(root), Writer(tmp_path / "undisturbed")
    for name in NAMES:
        resumed.step(name)
        undisturbed.step(name)
    assert _files(root) == _files(tmp_path / "undisturbed")


def test_steps_list_their_files_with_size_and_hash(root: Path) -> None:
    steps = json.loads((root / JOURNAL_NAME).read_text())["steps"]
    assert list(steps) == ["text_encoder", "unet"]
    for step in steps.values():
        assert len(step["files"]) == 3
        for name, file in step["files"].items():
            assert file["size"] == len((root / name).read_bytes())
            assert file["sha256"] == hash_file(root / name)


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))


def _link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target.name)


@pytest.mark.parametrize("alter", [_shorten, _flip, Path.unlink, _link])
@pytest.mark.parametrize("name", ["bundle/unet/model.safetensors", "kept/unet.npy"])
def test_altered_step_is_made_again(root: Path, name: str, alter: Callable[[Path], None]) -> None:
    alter(root / name)
    writer = Writer(root)
    assert writer.journal.finished == ("text_encoder",)
    assert writer.lines == ["unet: made again, what the interrupted run left of it was altered"]
    for name in NAMES:
        writer.step(name)
    assert writer.wrote == ["unet", "vae_decoder"]


def test_steps_behind_an_altered_one_are_made_again(root: Path) -> None:
    _flip(root / "bundle" / "text_encoder" / "model.onnx")
    writer = Writer(root)
    for name in NAMES:
        writer.step(name)
    assert writer.wrote == NAMES


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"source": "ac"}, "starting afresh: the interrupted run differs in source"),
        ({"options": {}}, "starting afresh: the interrupted run differs in options"),
        (
            {"verb": "compile", "versions": {"torch": "2.14"}},
            "starting afresh: the interrupted run differs in verb, versions",
        ),
    ],
)
def test_another_runs_steps_are_not_taken(root: Path, change: dict[str, object], line: str) -> None:
    writer = Writer(root, msgspec.structs.replace(RUN, **change))
    assert writer.lines == [line]
    assert writer.journal.finished == ()
    assert set(_files(root)) == {JOURNAL_NAME}
    # What was cleared does not come back for the first run either.
    assert Writer(root).journal.finished == ()


def test_afresh_takes_nothing(root: Path) -> None:
    writer = Writer(root, afresh=True)
    assert (writer.journal.finished, writer.lines) == ((), [])
    assert set(_files(root)) == {JOURNAL_NAME}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"steps": {}}', b"\xff"])
def test_files_without_a_readable_journal_are_removed(root: Path, raw: bytes) -> None:
    (root / JOURNAL_NAME).write_bytes(raw)
    writer = Writer(root)
    assert writer.journal.finished == ()
    assert set(_files(root)) == {JOURNAL_NAME}


def test_step_that_fails_is_not_written_down(root: Path) -> None:
    def fail() -> Done:
        raise OSError("full")

    writer = Writer(root)
    with pytest.raises(OSError, match="full"):
        writer.journal.step("vae_decoder", fail, Done)
    assert Writer(root).journal.finished == ("text_encoder", "unet")


def test_hash_that_is_known_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def hash_and_note(path: Path) -> str:
        hashed.append(path.name)
        return hash_file(path)

    monkeypatch.setattr("exporter.journal.hash_file", hash_and_note)
    root = tmp_path / "journal"
    journal = Journal.open(root, RUN, afresh=False, progress=lambda _: None)

    def write() -> dict[str, str]:
        (journal.content / "weights").write_text("1")
        (journal.content / "graph").write_text("2")
        return {"weights": hash_file(journal.content / "weights")}

    known = journal.step("unet", write, dict[str, str], lambda known: known)
    assert hashed == ["graph"]
    again = Journal.open(root, RUN, afresh=False, progress=lambda _: None)
    assert sorted(hashed) == ["graph", "graph", "weights"], "what was left is hashed all the same"
    assert again.step("unet", write, dict[str, str], lambda known: known) == known
