"""One holder at a time, and none after its process is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import exporter.lock as lock_module
from exporter.lock import LockedError, locked

REPOSITORY = Path(__file__).resolve().parents[2]

HOLD = """
import sys, time
from pathlib import Path
from exporter.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_lock_is_held_by_one_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        with pytest.raises(LockedError), locked(path):
            pass
        assert path.exists(), "who was refused leaves the holder's file alone"
        with pytest.raises(LockedError), locked(path):
            pass
    assert not path.exists()
    with locked(path):
        pass


def test_killed_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(LockedError), locked(path):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    assert path.exists()
    with locked(path):
        pass
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can't be removed there")
def test_lock_of_a_removed_file_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    real = lock_module._lock  # pyright: ignore[reportPrivateUsage]
    times: list[int] = []

    def holder_ends_before(file: object) -> None:
        if not times:
            path.unlink()
        times.append(1)
        real(file)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(lock_module, "_lock", holder_ends_before)
    with locked(path):
        assert len(times) == 2
        with pytest.raises(LockedError), locked(path):
            pass
