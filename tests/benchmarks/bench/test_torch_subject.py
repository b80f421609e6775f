"""torch under latedge's runtime: the bundle's own picture, and weights that aren't there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench.client import REPOSITORY, Program, Worker, WorkerError
from benchmarks.bench.protocol import Ask, Drawn
from benchmarks.bench.torch_subject import TorchSubject, open_torch, weights_bundle
from benchmarks.bench.worker import BundleSubject
from exporter.compile import compile
from runtimes.bundle import Bundle, open_bundle
from runtimes.errors import BundleError, EngineError, LatedgeError, UsageError
from tests.conftest import Once, Synthesize


def ask(picture: Path) -> Ask:
    return Ask("a lighthouse", "blurry", 3, 7.5, "ddim", 5, 64, 64, picture=str(picture))


def draw(subject: BundleSubject, place: Path) -> tuple[Drawn, np.ndarray]:
    subject.open()
    drawn = subject.draw(ask(place))
    return drawn, np.load(place)


@pytest.fixture(scope="module")
def bundles(once: Once, exported: Synthesize) -> dict[str, Path]:
    portable = exported("tiny-sd15")

    def made(target: str, batch: int | None = None) -> Path:
        name = f"torch-subject-{target}-{batch}"
        return once(name, lambda folder: compile(portable, folder, target=target, batch=batch))

    return {
        "onnxruntime": made("onnxruntime"),
        "openvino": made("openvino"),
        "batch": made("onnxruntime", batch=1),
    }


@pytest.mark.parametrize("name", ["onnxruntime", "batch"])
def test_torch_draws_the_bundles_picture(
    name: str, bundles: dict[str, Path], tmp_path: Path
) -> None:
    bundle = bundles[name]
    theirs, expected = draw(BundleSubject(bundle, "cpu", 1), tmp_path / "ort.npy")
    subject = TorchSubject(bundle, None, 1, compiled=False)
    ours, found = draw(subject, tmp_path / "torch.npy")
    assert expected.std() > 0.01
    # Float32 sums in another order, over three guided steps.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
    counts = {stage: len(times) for stage, times in theirs.stages.items()}
    assert {stage: len(times) for stage, times in ours.stages.items()} == counts, (
        "a graph for a batch of one is called as often in torch"
    )
    assert all(time > 0 for times in ours.stages.values() for time in times)
    opened = subject.open()
    assert opened.engine.startswith("torch 2.")
    assert (opened.precision, opened.threads) == ("fp32", 1)


def test_weights_come_from_a_source(
    bundles: dict[str, Path], tiny_sd15: Path, tmp_path: Path
) -> None:
    _, expected = draw(BundleSubject(bundles["onnxruntime"], "cpu", 1), tmp_path / "ort.npy")
    subject = TorchSubject(bundles["openvino"], tiny_sd15, 1, compiled=False)
    _, found = draw(subject, tmp_path / "torch.npy")
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)


def test_bundle_without_float_weights_is_told(bundles: dict[str, Path], tiny_sd15: Path) -> None:
    openvino, onnxruntime = (open_bundle(bundles[name]) for name in ("openvino", "onnxruntime"))
    assert weights_bundle([openvino, onnxruntime], None) == onnxruntime
    assert weights_bundle([openvino, onnxruntime], tiny_sd15) == openvino
    with pytest.raises(UsageError, match=r"which torch doesn't read\. Give the Diffusers folder"):
        weights_bundle([openvino], None)
    with pytest.raises(BundleError, match=r"in the engine's form alone; .*: --source"):
        open_torch(openvino, None, compiled=False)


def test_source_of_another_model_is_refused(bundles: dict[str, Path], tiny_sd21: Path) -> None:
    bundle: Bundle = open_bundle(bundles["onnxruntime"])
    with pytest.raises(LatedgeError, match="another model"):
        open_torch(bundle, tiny_sd21, compiled=False)


def test_closed_engine_says_so(bundles: dict[str, Path]) -> None:
    pipeline = open_torch(open_bundle(bundles["onnxruntime"]), None, compiled=False)
    pipeline.close()
    with pytest.raises(EngineError, match="the pipeline is closed"):
        pipeline("x", num_inference_steps=1)


def test_it_serves_in_a_process_of_its_own(bundles: dict[str, Path], tmp_path: Path) -> None:
    module = (sys.executable, "-m", "benchmarks.bench.torch_subject")
    with Worker(Program((*module, str(bundles["onnxruntime"]), "--threads", "1"))) as worker:
        assert worker.open().threads == 1
        assert len(worker.draw(ask(tmp_path / "picture.npy")).stages["unet_call"]) == 3
    assert np.load(tmp_path / "picture.npy").shape == (1, 64, 64, 3)
    with (
        Worker(Program((*module, str(bundles["openvino"])))) as worker,
        pytest.raises(WorkerError, match=r"--source"),
    ):
        worker.open()


def test_importing_it_leaves_torch_alone() -> None:
    code = "import sys, benchmarks.bench.torch_subject; sys.exit('torch' in sys.modules)"
    assert not subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode


@pytest.mark.slow
def test_compiled_draws_the_same(bundles: dict[str, Path], tmp_path: Path) -> None:
    _, expected = draw(BundleSubject(bundles["onnxruntime"], "cpu", 1), tmp_path / "ort.npy")
    subject = TorchSubject(bundles["onnxruntime"], None, 1, compiled=True)
    _, found = draw(subject, tmp_path / "torch.npy")
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
    assert subject.open().engine.endswith(", compiled")
