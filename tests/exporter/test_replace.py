"""A finished folder gets its place in one step, and what a kill in between left is taken back."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import exporter.replace as replace_module
from exporter.replace import OLD, clear, exchange, put_in_place, recover


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    content = tmp_path / ".out.partial" / "bundle"
    content.mkdir(parents=True)
    (content / "new").write_text("2")
    return content.parent


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("1")
    return tmp_path / "out"


def _without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replace_module, "exchange", lambda *_: False)


def test_new_place_is_taken(partial: Path, tmp_path: Path) -> None:
    put_in_place(partial / "bundle", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["new"]
    assert os.listdir(partial) == []


@pytest.mark.parametrize("atomic", [True, False])
def test_old_folder_ends_beside_the_new_one(
    partial: Path, out: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    if not atomic:
        _without_exchange(monkeypatch)
    put_in_place(partial / "bundle", out)
    assert os.listdir(out) == ["new"]
    clear(partial, out)
    assert os.listdir(out.parent) == ["out"]
    assert os.listdir(out) == ["new"]


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="no such call there")
def test_exchange_swaps_two_folders(partial: Path, out: Path) -> None:
    inodes = (out.stat().st_ino, (partial / "bundle").stat().st_ino)
    assert exchange(partial / "bundle", out)
    assert ((partial / "bundle").stat().st_ino, out.stat().st_ino) == inodes
    with pytest.raises(OSError, match=r"nowhere.* -> .*out") as caught:
        exchange(out.with_name("nowhere"), out)
    assert caught.value.errno == errno.ENOENT


class Library:
    """A C library that has the named function, which fails with an error code, or doesn't at 0."""

    def __init__(self, name: str, code: int) -> None:
        self.calls: list[tuple[object, ...]] = []

        def function(*arguments: object) -> int:
            self.calls.append(arguments)
            ctypes.set_errno(code)
            return -1 if code else 0

        setattr(self, name, function)


def _library(monkeypatch: pytest.MonkeyPatch, platform: str, name: str, code: int = 0) -> Library:
    library = Library(name, code)

    def load(_name: None, use_errno: bool) -> Library:
        assert use_errno
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(sys, "platform", platform)
    return library


@pytest.mark.parametrize(
    ("platform", "name", "arguments"),
    [
        ("linux", "renameat2", (-100, b"a", -100, b"b", 2)),
        ("darwin", "renamex_np", (b"a", b"b", 2)),
    ],
)
def test_each_systems_call_is_asked_to_exchange(
    monkeypatch: pytest.MonkeyPatch, platform: str, name: str, arguments: tuple[object, ...]
) -> None:
    library = _library(monkeypatch, platform, name)
    assert exchange(Path("a"), Path("b"))
    assert library.calls == [arguments]


@pytest.mark.parametrize(
    ("platform", "name", "code"),
    [
        ("linux", "renameat2", errno.EINVAL),  # the file system can't
        ("linux", "renameat2", errno.ENOSYS),  # the kernel can't
        ("darwin", "renamex_np", errno.ENOTSUP),
        ("linux", "another", 0),
        ("win32", "renameat2", 0),
    ],
)
def test_system_that_can_not_exchange_is_told_from_a_failure(
    monkeypatch: pytest.MonkeyPatch, platform: str, name: str, code: int
) -> None:
    _library(monkeypatch, platform, name, code)
    assert not exchange(Path("a"), Path("b"))


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), KeyboardInterrupt()])
def test_second_rename_that_fails_leaves_the_old_folder(
    partial: Path, out: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    _without_exchange(monkeypatch)
    real: Callable[[Path, Path], Path] = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "bundle":
            raise error
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(type(error)):
        put_in_place(partial / "bundle", out)
    assert os.listdir(out) == ["old"]
    assert os.listdir(partial) == ["bundle"]


def test_old_folder_comes_back_after_a_kill_between_two_renames(partial: Path, out: Path) -> None:
    out.rename(partial / OLD)
    recover(partial, out)
    assert os.listdir(out) == ["old"]
    recover(partial, out)
    assert os.listdir(out) == ["old"]


def test_old_folder_stays_away_where_the_new_one_is(partial: Path, out: Path) -> None:
    out.rename(partial / OLD)
    (partial / "bundle").rename(out)
    recover(partial, out)
    assert os.listdir(out) == ["new"]
    # Half of it, as a kill during its removal leaves it, does not come back either.
    for path in out.iterdir():
        path.unlink()
    out.rmdir()
    recover(partial, out)
    assert not out.exists()


def test_files_are_on_the_disk_before_they_get_their_name(
    partial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (partial / "bundle" / "unet").mkdir()
    (partial / "bundle" / "unet" / "weights").write_text("3")
    files = [path for path in partial.rglob("*") if path.is_file()]
    inodes = {path.stat().st_ino for path in files}
    flushed: set[int] = set()

    def fsync(handle: int) -> None:
        if not (tmp_path / "out").exists():
            flushed.add(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    put_in_place(partial / "bundle", tmp_path / "out")
    assert inodes <= flushed
