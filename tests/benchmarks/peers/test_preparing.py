"""What a peer needs is made once; what fails is told for all who need it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.environments import environment
from benchmarks.environments.environment import Environment, names
from benchmarks.peers import preparing
from benchmarks.peers.exports import EXPORTS, Exporter, Made
from benchmarks.peers.model import open_model
from benchmarks.peers.preparing import Workshop
from benchmarks.peers.subjects import PEERS, SINGLE, SOURCE, Peer
from runtimes.errors import LatedgeError

BY_NAME = {peer.name: peer for peer in PEERS}


@pytest.fixture
def workshop(tmp_path: Path, tiny_sd15: Path) -> Workshop:
    model = open_model(str(tiny_sd15), tmp_path, print)
    return Workshop(model, tmp_path / "work", 2, 60, lambda line: None)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, workshop: Workshop) -> list[str]:
    """Environments that are made at once."""
    found: list[str] = []

    def prepare(name: str, base: Path, progress: Callable[[str], None], **_: object) -> Environment:
        found.append(name)
        (base / name).mkdir(parents=True, exist_ok=True)
        (base / name / "file").write_bytes(bytes(5000))
        return Environment(name, base / name, base / "log")

    monkeypatch.setattr(preparing, "prepare", prepare)
    return found


def test_rows_are_whole() -> None:
    assert len(BY_NAME) == len(PEERS)
    for peer in PEERS:
        assert peer.environment in names()
        assert peer.opens in (SOURCE, SINGLE, *EXPORTS)
    programs = {peer.program for peer in PEERS}
    assert programs == {
        *("diffusers", "optimum-onnx", "optimum-intel", "openvino-genai"),
        *("stable-diffusion.cpp", "latedge"),
    }


@pytest.mark.usefixtures("made")
def test_source_is_opened_as_it_is(workshop: Workshop) -> None:
    ready = workshop.ready(BY_NAME["diffusers compiled"])
    python, *words = ready.entry.program.command
    assert python == str(workshop.work / "environments" / "diffusers" / "bin" / "python")
    assert words == [
        *("-m", "benchmarks.peers.limited", "60"),
        *("benchmarks.peers.workers.diffusers_pipelines", "diffusers"),
        *(str(workshop.model.folder), "--threads", "2", "--precision", "fp32", "--compile"),
    ]
    variables = ready.entry.program.variables
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert Path(variables["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(workshop.cache)
    assert ready.notes[0].startswith("environment diffusers: diffusers 0.")
    assert ready.build.seconds is None
    assert ready.build.installed is not None
    assert ready.build.installed >= 5000
    assert sum(file.stat().st_size for file in ready.entry.files) > 1_000_000


@pytest.mark.usefixtures("made")
def test_single_file(workshop: Workshop) -> None:
    ready = workshop.ready(BY_NAME["stable-diffusion.cpp"])
    assert ready.entry.files == (ready.entry.path,)
    assert ready.entry.path.suffix == ".safetensors"
    assert "--precision" in ready.entry.program.command


@pytest.mark.usefixtures("made")
def test_export_belongs_to_the_build(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(self: Exporter, name: str) -> Made:
        self.path(name).mkdir(parents=True)
        (self.path(name) / "graph").write_bytes(bytes(123))
        return Made(made_from="x", seconds=7.0, peak_rss=9)

    monkeypatch.setattr(Exporter, "make", make)
    build = workshop.ready(BY_NAME["OpenVINO GenAI int8"]).build
    assert (build.seconds, build.peak_rss) == (7.0, 9)
    assert build.installed_export is not None, "Optimum-Intel's environment is another"
    build = workshop.ready(BY_NAME["Optimum ONNX Runtime"]).build
    assert build.installed_export is None


def test_failed_environment_is_not_tried_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fail(command: object, log: Path, variables: object, **_: object) -> str:
        tried.append(str(log))
        raise LatedgeError("python failed: no room")

    monkeypatch.setattr(environment, "run_logged", fail)
    for name in ("diffusers eager", "diffusers compiled"):
        with pytest.raises(LatedgeError, match="python failed: no room"):
            workshop.ready(BY_NAME[name])
    assert len(tried) == 1


@pytest.mark.usefixtures("made")
def test_memory_is_asked_for_before_work(workshop: Workshop) -> None:
    workshop.check_memory("x", 1.0)
    with pytest.raises(LatedgeError, match=r"x asks for about \d+\.\d GB of memory, and \d+"):
        workshop.check_memory("x", 1e9)


@pytest.mark.usefixtures("made")
def test_unreadable_model_is_an_error_of_the_row(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise OSError(28, "No space left on device", "models/x")

    monkeypatch.setattr(preparing, "single_file", fail)
    peer: Peer = BY_NAME["stable-diffusion.cpp"]
    with pytest.raises(LatedgeError, match=r"models/x: No space left on device\."):
        workshop.ready(peer)
