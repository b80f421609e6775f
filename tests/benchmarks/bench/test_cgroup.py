"""Limits of both versions of cgroups, on made trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bench.cgroup import Limits, read_limits


def limits(tmp_path: Path, groups: str, files: dict[str, str]) -> Limits:
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return read_limits(tmp_path / "groups", tmp_path / "fs")


def test_version_2_takes_the_tightest_of_the_groups_around(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        "0::/user/job\n",
        {
            "user/job/cpu.max": "max 100000",
            "user/cpu.max": "150000 100000",
            "user/job/memory.max": "4000000",
            "user/memory.max": "3000000",
            "other/memory.max": "1",
        },
    )
    assert found == Limits(cores=1.5, memory_bytes=3_000_000)


def test_version_1(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n",
        {
            "cpu,cpuacct/job/cpu.cfs_quota_us": "50000",
            "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "memory/job/memory.limit_in_bytes": "2000000",
        },
    )
    assert found == Limits(cores=0.5, memory_bytes=2_000_000)


def test_group_of_a_container_is_the_mount_itself(tmp_path: Path) -> None:
    found = limits(tmp_path, "0::/docker/0123\n", {"memory.max": "77", "cpu.max": "300000 100000"})
    assert found == Limits(cores=3.0, memory_bytes=77)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000", "memory.max": "max"},
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        {"memory/memory.limit_in_bytes": "9223372036854771712"},
    ],
)
def test_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    assert limits(tmp_path, "2:cpu:/\n1:memory:/\n0::/\n", files) == Limits(None, None)


def test_system_without_groups(tmp_path: Path) -> None:
    assert read_limits(tmp_path / "absent", tmp_path) == Limits(None, None)
