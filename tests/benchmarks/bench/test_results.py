from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs

from benchmarks.bench.results import (
    Machine,
    Memory,
    MemoryPoint,
    Picture,
    Plan,
    Report,
    ResultError,
    Subject,
    encode,
    read,
)
from benchmarks.bench.statistics import stage


def report() -> Report:
    memory = Memory(peak_rss=5, timeline=(MemoryPoint(1.5, 4), MemoryPoint(2.5, 5)))
    picture = Picture(prompt="ö", seed=1, png=b"\x89PNG\xff")
    row = Subject(name="a", program="latedge", path="p", memory=memory)
    return Report(
        date="2026-11-25T00:00:00+00:00",
        command="latedge bench a",
        version="0",
        machine=Machine(system="s", processor="p", cores=2, memory_bytes=8),
        plan=Plan(sessions=1, rounds=1, warmup=1),
        subjects=(row,),
        reference_pictures=(picture,),
    )


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(encode(report()))
    assert read(path) == report()
    assert b'"timeline": [\n          [' in path.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"1.0"', '"2.0"', r"schema 2\.0 can't be read .* reads 1\.x"),
        ('"1.0"', '"one"', "`schema` is 'one', not major.minor"),
        ('"latedge-bench"', '"other"', "its `format` is 'other'"),
        ('"sessions": 1', '"sessions": "1"', r"Expected `int`, got `str` .*plan\.sessions"),
        ("{", "", "is not a result"),
    ],
)
def test_another_result_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(encode(report()).replace(old.encode(), new.encode(), 1))
    with pytest.raises(ResultError, match=message):
        read(path)


def test_a_later_minor_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    raw = encode(report()).replace(b'"1.0"', b'"1.7"').replace(b'"date"', b'"later": 3, "date"', 1)
    path.write_bytes(raw)
    assert read(path).subjects == report().subjects


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"x\.json can't be read: No such file"):
        read(tmp_path / "x.json")


def with_stage(old: str, new: str) -> bytes:
    """A result of one subject with a stage of two samples, altered."""
    row = structs.replace(report().subjects[0], stages={"load": stage([[2.0], [3.0]])})
    raw = encode(structs.replace(report(), subjects=(row,)))
    found = json.dumps(json.loads(raw))
    assert old in found
    return found.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[2.0], [3.0]]", "[[2.0], [0.0]]", r"Expected `float` > 0\.0 - at .*sessions"),
        ('"p50": 2.5', '"p50": -1', r"Expected `float` > 0\.0 - at .*summary\.p50"),
        ("[[2.0], [3.0]]", "[[], []]", "load of 'a' has no samples"),
    ],
)
def test_times_that_are_none_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(with_stage(old, new))
    with pytest.raises(ResultError, match=message):
        read(path)


def test_subjects_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(encode(structs.replace(report(), subjects=report().subjects * 2)))
    with pytest.raises(ResultError, match="two subjects have the name 'a'"):
        read(path)
