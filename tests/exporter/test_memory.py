"""A limit of memory: its size, what is foreseen, and what is noticed while it works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import exporter.export as export_module
import latedge
from exporter import needs
from exporter.export import export
from exporter.memory import MemoryLimitError, limited, read_size
from exporter.needs import announce, float32_bytes, largest_bytes
from exporter.phases import begin, observed, work_on
from exporter.prepare import prepare
from exporter.source import open_source
from runtimes.errors import UsageError

GB = 10**9


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * GB), ("1.5 GB", 1_500_000_000), ("512MiB", 2**29), ("2GiB", 2**31)],
)
def test_sizes_are_read_with_their_unit(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["4", "GB", "-1GB", "0GB", "4 TB", "four GB", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no size of memory; .* such as 4GB"):
        read_size(text)


def _work() -> None:
    """Runs until it is interrupted, and at most for 20 seconds."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(0.001)


def test_work_above_the_limit_is_interrupted_where_it_is() -> None:
    taken = [1 * GB]

    def work() -> None:
        with limited(2 * GB, lambda: taken[0]), work_on("unet"):
            begin("capture")
            taken[0] = 3 * GB
            _work()

    with pytest.raises(MemoryLimitError, match=r"unet: capture took 3\.00 GB .* allows 2\.00 GB"):
        work()


def test_a_library_that_keeps_the_interruption_to_itself_does_not_save_the_work() -> None:
    taken, reached = [3 * GB], list[str]()

    def work() -> None:
        with limited(2 * GB, lambda: taken[0]):
            try:
                _work()
            except BaseException:
                taken[0] = 1 * GB
            reached.append("end of the phase")
            begin("write")
            reached.append("next phase")

    with pytest.raises(MemoryLimitError):
        work()
    assert reached == ["end of the phase"]


def test_work_within_the_limit_is_left_alone() -> None:
    with limited(2 * GB, lambda: 1 * GB):
        time.sleep(0.1)
    with limited(None, lambda: None):
        pass


def test_a_system_that_tells_nothing_is_said_so() -> None:
    with pytest.raises(UsageError, match="doesn't tell what a process holds"), limited(1, _nothing):
        pass


def _nothing() -> None:
    return None


def test_an_export_above_its_limit_leaves_nothing(
    tiny_sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: list[str] = []

    def grown() -> int:
        return 30 * GB if "capture" in phases else 1000

    def capture(*_: object) -> None:
        begin("capture")
        _work()

    monkeypatch.setattr(needs, "rss_bytes", lambda: 0)
    monkeypatch.setattr(export_module, "limited", lambda limit: limited(limit, grown))
    monkeypatch.setattr(export_module, "capture", capture)
    with (
        observed(lambda _, phase: phases.append(phase)),
        pytest.raises(MemoryLimitError, match=r"text_encoder: capture took 30\.00 GB"),
    ):
        export(tiny_sd15, tmp_path / "b", verify="none", max_memory=20 * GB)
    assert list(tmp_path.iterdir()) == []


def test_what_a_verification_needs_is_foreseen(
    tiny_sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "rss_bytes", lambda: 0)
    monkeypatch.setattr(export_module, "capture", None)  # before slow work
    monkeypatch.setattr(export_module, "limited", lambda limit: limited(limit, lambda: 0))
    with pytest.raises(
        MemoryLimitError, match=r"verifying it needs about 0\.00 GB .* --verify layers or --verify"
    ):
        export(tiny_sd15, tmp_path / "b", max_memory=100_000)


def test_too_small_a_limit_is_one_line(
    tiny_sd15: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(tiny_sd15), "-o", str(tmp_path / "b"), "--max-memory"]
    assert latedge.main([*command, "10MB"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert "--max-memory allows 0.01 GB" in shown
    assert latedge.main([*command, "10kB"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_needs_are_said_by_what_the_headers_have(tiny_sd15: Path) -> None:
    item = prepare(open_source(tiny_sd15), ("unet",))[0]["unet"]
    stored = sum(tensor.size_bytes for tensor in item.weights.values())
    assert float32_bytes(item) == 2 * stored  # fp16 in the file
    assert largest_bytes(item) == 2 * max(each.size_bytes for each in item.weights.values())
    lines: list[str] = []
    announce("unet", item, lines.append, by_layer=False)
    announce("unet", item, lines.append, by_layer=True)
    assert "for its weights in the engine" in lines[0]
    assert "a layer at a time" in lines[1]


@pytest.fixture(autouse=True)
def nothing_is_interrupted_later() -> Iterator[Callable[[], None]]:
    """An interruption that arrives after its block would end another test."""
    yield _work
    time.sleep(0.03)
