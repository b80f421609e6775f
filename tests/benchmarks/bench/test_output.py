"""Where a result is not written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmarks.bench.output import check_output
from benchmarks.bench.results import encode
from runtimes.errors import UsageError
from tests.benchmarks.bench.reports import report


def test_a_new_place_and_an_older_result_are_taken(tmp_path: Path) -> None:
    output = tmp_path / "x.json"
    check_output(output, [tmp_path / "bundle"])
    assert list(tmp_path.iterdir()) == []
    output.touch()
    check_output(output, [])
    output.write_bytes(encode(report()))
    check_output(output, [])


def test_a_folder_that_takes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(UsageError, match=r"x\.json can't be written: Read-only file system"):
        check_output(tmp_path / "x.json", [])


def test_what_is_not_replaced(tmp_path: Path) -> None:
    other = tmp_path / "notes.json"
    other.write_text("{}", encoding="utf-8")
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "nowhere")
    for place in (other, link, Path("/dev/null")):
        with pytest.raises(UsageError, match="something else than a result, and is not replaced"):
            check_output(place, [])
    with pytest.raises(UsageError, match="a folder is there"):
        check_output(tmp_path, [])
    with pytest.raises(UsageError, match="absent does not exist"):
        check_output(tmp_path / "absent" / "x.json", [])


def test_nothing_is_written_into_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "bundle" / "unet").mkdir(parents=True)
    with pytest.raises(UsageError, match="lies in the bundle"):
        check_output(tmp_path / "bundle" / "unet" / "x.json", [tmp_path / "bundle"])
