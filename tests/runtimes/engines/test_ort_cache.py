"""The cache on its own: models are files that the tests write."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from runtimes.engines.cache_size import DEFAULT_LIMIT_GB, LIMIT
from runtimes.engines.ort_cache import (
    MIN_WEIGHT_BYTES,
    MODEL_NAME,
    SWITCH,
    WEIGHTS_NAME,
    OrtCache,
    Source,
    cpu_identity,
)
from runtimes.errors import UsageError
from runtimes.manifest import Graph
from tests.runtimes.engines.engine_models import Model, write_bundle

SIZE = 1000


@pytest.fixture(autouse=True)
def hash_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATEDGE_CACHE", str(tmp_path / "memory"))


@pytest.fixture
def cache(tmp_path: Path) -> OrtCache:
    return OrtCache(tmp_path / "cache", max_bytes=10 * SIZE, min_weight_bytes=0)


def builder(made: list[Path], size: int = SIZE) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        made.append(folder)
        (folder / MODEL_NAME).write_bytes(b"model")
        (folder / WEIGHTS_NAME).write_bytes(bytes(size - len(b"model")))

    return build


def keys(cache: OrtCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()}


def test_an_entry_is_made_once_and_whole(cache: OrtCache) -> None:
    made: list[Path] = []
    first = cache.model("a", SIZE, builder(made))
    second = cache.model("a", SIZE, builder(made))
    assert first is not None
    assert first == second == cache.folder / "a" / MODEL_NAME
    assert first.read_bytes() == b"model"
    assert len(made) == 1
    assert made[0].name != "a"
    assert keys(cache) == {"a"}


def test_a_failed_build_leaves_nothing_and_warns(
    cache: OrtCache, caplog: pytest.LogCaptureFixture
) -> None:
    def build(folder: Path) -> None:
        (folder / WEIGHTS_NAME).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with caplog.at_level(logging.WARNING, logger="latedge"):
        assert cache.model("a", SIZE, build) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"no optimised model is kept in {cache.folder}: [Errno 28] No space left on device"
    ]
    assert keys(cache) == set()


def test_an_interrupted_build_leaves_nothing(cache: OrtCache) -> None:
    def build(folder: Path) -> None:
        (folder / WEIGHTS_NAME).write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.model("a", SIZE, build)
    assert keys(cache) == set()


def test_what_a_killed_process_left_is_removed_in_time(cache: OrtCache) -> None:
    for name, age in {".partial-old": 25 * 3600, ".partial-new": 23 * 3600}.items():
        (cache.folder / name).mkdir(parents=True)
        (cache.folder / name / WEIGHTS_NAME).write_bytes(b"half")
        then = time.time() - age
        os.utime(cache.folder / name, times=(then, then))
    cache.model("a", SIZE, builder([]))
    assert keys(cache) == {"a", ".partial-new"}


@pytest.mark.parametrize("count", [2, 8])
def test_makers_at_once_agree_on_one_entry(cache: OrtCache, count: int) -> None:
    made: list[Path] = []
    together = threading.Barrier(count, timeout=20)

    def build(folder: Path) -> None:
        together.wait()
        builder(made)(folder)
        together.wait()

    found: list[Path | None] = []
    workers = [
        threading.Thread(target=lambda: found.append(cache.model("a", SIZE, build)))
        for _ in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [cache.folder / "a" / MODEL_NAME] * count
    assert len(made) == count
    assert keys(cache) == {"a"}
    assert (cache.folder / "a" / WEIGHTS_NAME).stat().st_size == SIZE - 5


def test_the_least_recently_used_make_room(cache: OrtCache) -> None:
    for i, key in enumerate("abc"):
        cache.model(key, 3 * SIZE, builder([], 3 * SIZE - 200))  # the record takes up to 200
        os.utime(cache.folder / key, times=(i, i))
    cache.model("a", SIZE, builder([]))  # used now
    cache.model("d", 3 * SIZE, builder([], 3 * SIZE - 200))
    assert keys(cache) == {"a", "c", "d"}


def test_an_entry_larger_than_foreseen_makes_room_too(cache: OrtCache) -> None:
    for i, key in enumerate("abc"):
        cache.model(key, SIZE, builder([]))
        os.utime(cache.folder / key, times=(i, i))
    cache.model("d", SIZE, builder([], 8 * SIZE))
    assert keys(cache) == {"c", "d"}


@pytest.mark.parametrize(("foreseen", "actual"), [(11 * SIZE, SIZE), (SIZE, 11 * SIZE)])
def test_an_entry_larger_than_the_cache_is_not_kept(
    cache: OrtCache, caplog: pytest.LogCaptureFixture, foreseen: int, actual: int
) -> None:
    with caplog.at_level(logging.WARNING, logger="latedge"):
        assert cache.model("a", foreseen, builder([], actual)) is None
    assert f"and {LIMIT} allows 0.0 GB" in caplog.text
    assert keys(cache) == set()


def test_the_disk_is_not_filled(
    cache: OrtCache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2 * SIZE - 1))
    made: list[Path] = []
    with caplog.at_level(logging.WARNING, logger="latedge"):
        assert cache.model("a", SIZE, builder(made)) is None
    assert made == []
    assert "it takes about 0.0 GB of the 0.0 GB free on the disk" in caplog.text


def test_a_folder_that_can_not_be_made(cache: OrtCache, caplog: pytest.LogCaptureFixture) -> None:
    cache.folder.write_text("in the way")
    made: list[Path] = []
    with caplog.at_level(logging.WARNING, logger="latedge"):
        assert cache.model("a", SIZE, builder(made)) is None
    assert made == []
    assert f"no optimised model is kept in {cache.folder}: " in caplog.text


def _shorten(entry: Path) -> None:
    (entry / WEIGHTS_NAME).write_bytes(b"short")


def _alter(entry: Path) -> None:
    (entry / WEIGHTS_NAME).write_bytes(b"\1" * (SIZE - 5))


def _delete(entry: Path) -> None:
    (entry / MODEL_NAME).unlink()


def _unseal(entry: Path) -> None:
    (entry / "entry.json").unlink()


def _scramble(entry: Path) -> None:
    (entry / "entry.json").write_bytes(b"\xff{")


def _empty(entry: Path) -> None:
    (entry / "entry.json").write_bytes(b'{"files":{}}')


@pytest.mark.parametrize("spoil", [_shorten, _alter, _delete, _unseal, _scramble, _empty])
def test_a_broken_entry_is_made_again(
    cache: OrtCache, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    cache.model("a", SIZE, builder([]))
    spoil(cache.folder / "a")
    made: list[Path] = []
    with caplog.at_level(logging.WARNING, logger="latedge"):
        found = cache.model("a", SIZE, builder(made))
    assert found == cache.folder / "a" / MODEL_NAME
    assert len(made) == 1
    assert (cache.folder / "a" / WEIGHTS_NAME).read_bytes() == bytes(SIZE - 5)
    assert [record.getMessage() for record in caplog.records] == [
        f"dropping the optimised model {cache.folder / 'a'}: altered or incomplete"
    ]


def test_a_broken_entry_that_can_not_be_removed_is_not_used(
    cache: OrtCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.model("a", SIZE, builder([]))
    _alter(cache.folder / "a")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    assert cache.model("a", SIZE, builder([])) is None


SOURCE = Source(("1" * 64, "2" * 64), weight_bytes=5, optimized_bytes=10)
OPTIONS = {"version": "1.32.0", "provider": "CPUExecutionProvider"}


def test_a_key_depends_on_source_machine_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [SOURCE.key(OPTIONS)]
    assert found[0] == SOURCE.key(dict(reversed(OPTIONS.items())))
    assert len(found[0]) == 32
    for i in range(2):
        digests = tuple("3" * 64 if i == j else d for j, d in enumerate(SOURCE.digests))
        found.append(Source(digests, 5, 10).key(OPTIONS))
    found.append(SOURCE.key(OPTIONS | {"version": "1.33.0"}))
    found.append(SOURCE.key(OPTIONS | {"provider": "CUDAExecutionProvider"}))
    monkeypatch.setattr("runtimes.engines.ort_cache.cpu_identity", lambda: "another CPU")
    found.append(SOURCE.key(OPTIONS))
    assert len(set(found)) == len(found)


X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Some CPU
cpu MHz\t\t: {mhz}
flags\t\t: {flags}

processor\t: 1
vendor_id\t: GenuineIntel
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU part\t: {part}
"""


def test_a_cpu_is_its_brand_and_instruction_sets(tmp_path: Path) -> None:
    def identity(text: str) -> str:
        (tmp_path / "cpuinfo").write_text(text)
        return cpu_identity(tmp_path / "cpuinfo")

    first = identity(X86.format(mhz=1000, flags="avx2 fma"))
    assert first == identity(X86.format(mhz=3000, flags="avx2 fma"))
    assert "Some CPU" in first
    others = {
        first,
        identity(X86.format(mhz=1000, flags="avx2 fma avx512f")),
        identity(ARM.format(features="asimd", part="0xd08")),
        identity(ARM.format(features="asimd sve", part="0xd08")),
        identity(ARM.format(features="asimd", part="0xd0b")),
        identity(""),
    }
    assert len(others) == 6


def test_without_cpuinfo_the_host_tells_machines_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "kitchen")
    assert cpu_identity(tmp_path / "none").endswith("kitchen")


def test_a_source_is_what_the_manifest_says(tmp_path: Path) -> None:
    graph = write_bundle(tmp_path / "bundle", "onnxruntime", Model.random())
    found = Source.read(tmp_path / "bundle", graph)
    assert found is not None
    size = (tmp_path / "bundle" / graph.weights[0]).stat().st_size
    assert (found.weight_bytes, found.optimized_bytes) == (size, 2 * size)
    assert len(found.digests) == 2
    single = msgspec.structs.replace(graph, precision="fp32")
    assert Source.read(tmp_path / "bundle", single) == Source(found.digests, size, size)
    unlisted: Graph = msgspec.structs.replace(graph, file="unet/other.onnx")
    assert Source.read(tmp_path / "bundle", unlisted) is None
    assert Source.read(tmp_path / "nothing", graph) is None


def test_the_environment_rules_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.delenv(LIMIT, raising=False)
    folder = tmp_path / "memory" / "onnxruntime"
    limit = int(DEFAULT_LIMIT_GB * 1e9)
    assert OrtCache.from_environment() == OrtCache(folder, limit, MIN_WEIGHT_BYTES)
    monkeypatch.setenv(SWITCH, "on")
    monkeypatch.setenv(LIMIT, "1.5")
    assert OrtCache.from_environment() == OrtCache(folder, 1_500_000_000, 0)
    monkeypatch.setenv(LIMIT, "0")
    assert OrtCache.from_environment() is None
    monkeypatch.delenv(LIMIT)
    monkeypatch.setenv(SWITCH, "off")
    assert OrtCache.from_environment() is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (SWITCH, "onn", f"^unknown {SWITCH} 'onn'; known are off, on. Did you mean 'on'"),
        (LIMIT, "lots", f"^{LIMIT} must be a number of gigabytes from 0, not 'lots'"),
        (LIMIT, "-1", f"^{LIMIT} must be a number of gigabytes from 0, not '-1'"),
        (LIMIT, "inf", f"^{LIMIT} must be a number of gigabytes from 0, not 'inf'"),
        (LIMIT, "nan", f"^{LIMIT} must be a number of gigabytes from 0, not 'nan'"),
    ],
)
def test_a_wrong_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        OrtCache.from_environment()
