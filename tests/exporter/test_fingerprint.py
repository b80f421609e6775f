"""A fingerprint changes with whatever the result depends on, and with nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import exporter.fingerprint as fingerprint_module
from exporter.fingerprint import fingerprint
from exporter.weights import Planned, Tensor
from runtimes.bundle import HashMemory


def _planned(path: Path, dtype: str = "F32") -> dict[str, Planned]:
    return {"weight": Planned(Tensor(path, "F32", (2, 3), 64), dtype)}


def test_content_counts_and_not_its_place(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_bytes(b"weights")
    shutil.copy(one, same)
    other.write_bytes(b"Weights")
    found = [fingerprint("export", _planned(path), {}) for path in (one, same, other)]
    assert found[0] == found[1]
    assert found[0].differences(found[2]) == ["source"]


def test_changed_file_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    before, stat = fingerprint("export", path, {}), path.stat()
    path.write_bytes(b"Weights")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint("export", path, {}).differences(before) == ["source"]


def test_same_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    fingerprint("export", path, {})

    def refuse(_path: Path) -> str:
        raise AssertionError("hashed again")

    monkeypatch.setattr("runtimes.bundle.hash_file", refuse)
    assert str(HashMemory.open().sha256(path))
    fingerprint("export", path, {})


def test_each_part_of_a_plan_counts(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    plain = fingerprint("export", _planned(path), {"dtype": "source"})
    cast = fingerprint("export", _planned(path, "F16"), {"dtype": "source"})
    assert plain.differences(cast) == ["source"]
    options = fingerprint("export", _planned(path), {"dtype": "fp16"})
    assert plain.differences(options) == ["options"]
    verb = fingerprint("verify", _planned(path), {"dtype": "source"})
    assert plain.differences(verb) == ["verb"]
    assert len({each.sha256() for each in (plain, cast, options, verb)}) == 4


def test_options_that_are_not_given_do_not_count() -> None:
    assert fingerprint("compile", 1, {"height": None}) == fingerprint("compile", 1, {})
    assert fingerprint("compile", 1, {"height": 64}) != fingerprint("compile", 1, {"height": 72})


@pytest.mark.parametrize("tool", ["torch", "onnx-ir", "numpy", "latedge", "python", "machine"])
def test_versions_of_what_shapes_the_bytes_count(tool: str) -> None:
    assert tool in fingerprint("export", 1, {}).versions


def test_other_versions_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint("export", 1, {}, sdk="msgspec")
    assert "msgspec" in before.versions
    monkeypatch.setattr(fingerprint_module, "version", lambda _name: "0.0.1")
    after = fingerprint("export", 1, {}, sdk="msgspec")
    assert after.differences(before) == ["versions"]


def test_packages_that_add_to_our_tables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str) -> list[object]:
        dist = SimpleNamespace(name="latedge-npu", version="3.1")
        return [SimpleNamespace(dist=dist)] if group == "latedge.targets" else []

    before = fingerprint("compile", 1, {})
    monkeypatch.setattr(fingerprint_module, "entry_points", points)
    after = fingerprint("compile", 1, {})
    assert after.versions == before.versions | {"latedge-npu": "3.1"}


def test_what_has_no_content_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="object has no content hash"):
        fingerprint("export", {"source": object()}, {})
