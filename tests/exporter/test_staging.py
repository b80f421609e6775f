"""A staged folder appears whole or not at all, whatever stops it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.staging import check_room, staged
from runtimes.errors import LatedgeError, UsageError


def test_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with staged(tmp_path / "out", force=False) as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "1"


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_nothing_is_left_when_it_fails(tmp_path: Path, error: BaseException) -> None:
    def write_and_fail(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise error

    with pytest.raises(type(error)), staged(tmp_path / "out", force=False) as folder:
        write_and_fail(folder)
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(UsageError, match="exists; give another place, or --force"),
        staged(tmp_path / "out", force=False),
    ):
        pass
    assert (tmp_path / "out").is_dir()


def test_force_replaces_only_when_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "latedge.json").write_text("1")
    with pytest.raises(KeyboardInterrupt), staged(out, force=True):
        raise KeyboardInterrupt
    assert (out / "latedge.json").exists()
    with staged(out, force=True) as folder:
        (folder / "new").write_text("2")
    assert [path.name for path in out.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "stale").write_text("1")
    with staged(tmp_path / "out", force=False) as folder:
        assert list(folder.iterdir()) == []


def test_two_writers_of_one_place_are_kept_apart(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out, force=False):
        with (
            pytest.raises(LatedgeError, match="another process is writing"),
            staged(out, force=False),
        ):
            pass
        assert (tmp_path / ".out.partial").is_dir()
    assert out.is_dir()


def test_place_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(LatedgeError, match="can't write to"),
        staged(tmp_path / "file" / "out", force=False),
    ):
        pass


def test_too_small_a_disk_is_refused_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(LatedgeError, match=r"GB free where 1000000000\.00 GB are needed"):
        check_room(tmp_path / os.sep.join("abc"), 10**18)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_force_replaces_only_what_latedge_writes(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "precious"
    if kind == "file":
        out.write_text("1")
    else:
        out.mkdir()
        (out / "thesis.txt").write_text("1")
    with (
        pytest.raises(UsageError, match="neither a bundle nor a model, and is not replaced"),
        staged(out, force=True),
    ):
        pass
    assert out.exists()
