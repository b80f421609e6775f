"""`latedge report` from the command line."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import msgspec
import pytest

from benchmarks.bench.results import Peaks, encode
from latedge import main
from tests.benchmarks.report.sample import sample

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "x.json"
    path.write_bytes(encode(sample()))
    return path


def refused(arguments: list[str], status: int, capsys: Capture) -> str:
    """The one line of an error."""
    assert main(["report", *arguments]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip()


def test_page_is_written(result: Path, capsys: Capture) -> None:
    output = result.with_suffix(".html")
    assert main(["report", str(result), "-o", str(output)]) == 0
    page = output.read_bytes()
    assert page.startswith(b"<!DOCTYPE html>\n<!-- made by `latedge report` -->")
    assert capsys.readouterr().out == f"{output}: 3 subjects, {len(page) / 1e6:.1f} MB\n"
    assert sorted(path.name for path in result.parent.iterdir()) == ["x.html", "x.json"]


def test_outcome_as_json(result: Path, capsys: Capture) -> None:
    output = result.with_suffix(".html")
    assert main(["report", str(result), "-o", str(output), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"path": str(output), "size_bytes": output.stat().st_size, "subjects": 3}


def test_existing_reports_are_replaced_with_force_alone(result: Path, capsys: Capture) -> None:
    output = result.with_suffix(".html")
    arguments = [str(result), "-o", str(output)]
    output.write_text("<!DOCTYPE html>\n<!-- made by `latedge report` -->\nold")
    assert "exists; give another place, or --force" in refused(arguments, 2, capsys)
    assert output.read_text().endswith("old")
    assert main(["report", *arguments, "--force"]) == 0
    assert output.stat().st_size > 1e6


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_force_replaces_nothing_else(result: Path, kind: str, capsys: Capture) -> None:
    output = result.with_suffix(".html")
    if kind == "file":
        output.write_text("<!DOCTYPE html>\nmine")
    elif kind == "folder":
        output.mkdir()
    else:
        output.symlink_to(result)
    told = refused([str(result), "-o", str(output), "--force"], 2, capsys)
    assert "is something else than a report, and is not replaced" in told


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("x.json", "must end in .html."),
        ("report", "must end in .html."),
        ("missing/x.html", "missing does not exist."),
    ],
)
def test_wrong_places(result: Path, output: str, told: str, capsys: Capture) -> None:
    place = result.parent / output
    assert refused([str(result), "-o", str(place)], 2, capsys).endswith(told)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "can't be read: No such file or directory."),
        (b"no JSON", "is not a result of `latedge bench`"),
        (b"\xff\xfe{}", "is not a result of `latedge bench`"),
        (b"[" * 100_000, "is not a result of `latedge bench`"),
        (b'{"x": ' + b"[" * 1_000_000, "is not a result of `latedge bench`"),
        (b"{}", "its `format` is ''"),
        (b'{"format": "latedge-bench", "schema": "2.0"}', "schema 2.0 can't be read"),
        (b'{"format": "latedge-bench", "schema": "one"}', "`schema` is 'one'"),
        (b'{"format": "latedge-bench", "schema": "1.0"}', "missing required field"),
    ],
)
def test_wrong_results(tmp_path: Path, content: bytes | None, told: str, capsys: Capture) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    assert told in refused([str(path), "-o", str(tmp_path / "x.html")], 1, capsys)
    assert not (tmp_path / "x.html").exists()


def test_results_cut_short(result: Path, capsys: Capture) -> None:
    data = result.read_bytes()
    result.write_bytes(data[: len(data) // 2])
    output = result.with_suffix(".html")
    assert "is not a result" in refused([str(result), "-o", str(output)], 1, capsys)


@pytest.mark.parametrize("figures", [(1e308, 1e-308), (-1.0, 1e10), (1e12, 0.0)])
def test_absurd_figures(result: Path, figures: tuple[float, float], capsys: Capture) -> None:
    flops, moved = figures
    peaks = Peaks(flops_per_s=flops, bytes_per_s=moved, threads=1)
    result.write_bytes(encode(msgspec.structs.replace(sample(), peaks=peaks)))
    output = result.with_suffix(".html")
    told = refused([str(result), "-o", str(output)], 1, capsys)
    assert told.startswith(f"{result} has figures that can't be drawn: ")
    assert not output.exists()


def test_full_disk_leaves_the_old_report(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    output = result.with_suffix(".html")
    assert main(["report", str(result), "-o", str(output)]) == 0
    old = output.read_bytes()
    capsys.readouterr()

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    told = refused([str(result), "-o", str(output), "--force"], 1, capsys)
    assert told == f"{output} can't be written: No space left on device."
    assert output.read_bytes() == old
    assert sorted(path.name for path in result.parent.iterdir()) == ["x.html", "x.json"]
