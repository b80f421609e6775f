"""A journal in the cache folder costs a user nothing but, at worst, time."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from exporter.cached_journal import cached_journal
from exporter.fingerprint import Fingerprint
from exporter.journal import Journal
from exporter.staging import KEPT_NOTE
from runtimes.errors import LatedgeError

RUN = Fingerprint(verb="verify", source="ab", options={}, versions={})
WEEK_SECONDS = 7 * 24 * 3600


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATEDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _journal(*, force: bool = False) -> AbstractContextManager[Journal]:
    return cached_journal(RUN, force=force, progress=lambda _: None)


def _stop(error: BaseException) -> None:
    """Finishes a step and ends by that error."""

    def run(journal: Journal) -> None:
        journal.step("unet", lambda: (journal.kept / "a.npy").write_text("1"), int)
        raise error

    with pytest.raises(type(error)), _journal() as journal:
        run(journal)


def test_finished_run_leaves_nothing(cache: Path) -> None:
    with _journal() as journal:
        journal.step("unet", lambda: 1, int)
        assert journal.root.is_relative_to(cache / "verify")
    assert os.listdir(cache / "verify") == []


def test_failed_run_leaves_nothing(cache: Path) -> None:
    _stop(LatedgeError("no"))
    assert os.listdir(cache / "verify") == []


def test_interrupted_run_is_gone_on_with_unless_forced(cache: Path) -> None:
    error = KeyboardInterrupt()
    _stop(error)
    assert error.__notes__ == [KEPT_NOTE]
    with _journal() as journal:
        assert journal.finished == ("unet",)
    _stop(KeyboardInterrupt())
    with _journal(force=True) as journal:
        assert journal.finished == ()
    assert os.listdir(cache / "verify") == []


def test_same_work_at_once_goes_its_own_way(cache: Path) -> None:
    _stop(KeyboardInterrupt())
    with _journal() as first:
        with _journal() as second:
            assert (second.finished, second.root.exists()) == ((), True)
            assert not second.root.is_relative_to(cache)
        assert not second.root.exists()
        assert first.finished == ("unet",)
        assert (first.kept / "a.npy").read_text() == "1"


def test_cache_that_can_not_be_written_is_done_without(cache: Path) -> None:
    cache.write_text("a file")
    error = KeyboardInterrupt()
    _stop(error)
    assert not hasattr(error, "__notes__"), "nothing is kept, and nothing else is said"
    with _journal() as journal:
        assert journal.finished == ()


def test_what_was_left_long_ago_is_removed(cache: Path) -> None:
    for name, age in (("older", WEEK_SECONDS + 60), ("newer", WEEK_SECONDS - 3600)):
        (cache / "verify" / name).mkdir(parents=True)
        then = time.time() - age
        os.utime(cache / "verify" / name, (then, then))
    with _journal():
        pass
    assert os.listdir(cache / "verify") == ["newer"]
