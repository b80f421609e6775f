"""The verb `verify` and its figures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.planted_faults import plant
from exporter.compile import compile
from exporter.errors import SourceError, VerificationError
from exporter.export import export
from exporter.report import ComponentReport, Report, compare, require_parity
from exporter.source import SourceOptions
from exporter.verify import verify
from runtimes.bundle import open_bundle
from runtimes.errors import BundleError, UsageError

Export = Callable[[str], Path]


def test_figures_of_a_known_difference() -> None:
    reference = np.array([[3.0, -4.0], [0.0, 0.0]], np.float32)
    output = reference + np.array([[0.4, 0.0], [0.0, 0.0]], np.float32)
    figures = compare([(reference, output)])
    assert figures.max_abs == pytest.approx(0.4)
    assert figures.peak == 4
    assert figures.psnr_db == pytest.approx(10 * np.log10(16 / 0.04))
    assert figures.cosine == pytest.approx((3 * 3.4 + 16) / (5 * np.hypot(3.4, 4)))


def test_equal_outputs_have_no_psnr() -> None:
    values = np.ones((2, 3), np.float32)
    figures = compare([(values, values)])
    assert (figures.psnr_db, figures.max_abs) == (None, 0)


def test_nan_and_infinity_are_counted_and_refused() -> None:
    reference = np.ones(4, np.float32)
    output = np.array([1, np.nan, np.inf, 1], np.float32)
    figures = compare([(reference, output)])
    assert (figures.non_finite, figures.reference_non_finite) == (2, 0)


def _report(passed: bool) -> Report:
    figures = compare([(np.ones(4), np.full(4, 0.5))])
    result = ComponentReport(
        samples=1,
        threshold_db=80.0,
        outputs={"out_sample": figures},
        passed=passed,
        seconds_reference=0,
        seconds_engine=0,
    )
    return Report(engine="x", components={"unet": result}, versions={}, machine="m")


def test_departing_component_is_named_with_its_figures() -> None:
    require_parity(_report(passed=True))
    with pytest.raises(VerificationError, match=r"unet departs.*out_sample has PSNR 6\.0 dB"):
        require_parity(_report(passed=False))


def test_portable_bundle_verifies_from_its_own_weights(exported: Export) -> None:
    report = verify(exported("tiny-sd15"))
    require_parity(report)
    assert set(report.components) == {"text_encoder", "unet", "vae_decoder", "vae_encoder"}
    assert report.components["unet"].samples == 4


def test_altered_weight_is_found_by_its_hash(exported: Export, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported("tiny-sd15"), tmp_path / "b"))
    path = folder / "unet" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 0x40
    path.write_bytes(raw)
    with pytest.raises(BundleError, match=r"unet/model.safetensors is altered"):
        verify(folder)


def test_engine_bundle_needs_something_to_compare_with(exported: Export, tmp_path: Path) -> None:
    compile(exported("tiny-sd15"), tmp_path / "c", target="openvino")
    with pytest.raises(BundleError, match=r"give the source or the portable bundle.*--against"):
        verify(tmp_path / "c")


def test_other_weights_than_the_sources_are_found(exported: Export, tmp_path: Path) -> None:
    from benchmarks.synthetic import synthesize

    other = synthesize("tiny-sd15", tmp_path / "other", seed=1)
    lines: list[str] = []
    report = verify(exported("tiny-sd15"), against=other, progress=lines.append)
    assert not any(result.passed for result in report.components.values())
    departures = {name: result.departure for name, result in report.components.items()}
    nodes = {name: found and found.node for name, found in departures.items()}
    # The first node that reads a weight.
    assert nodes == {
        "text_encoder": "embeddings.token_embedding/Gather",
        "unet": "time_embedding.linear_1/Gemm",
        "vae_decoder": "post_quant_conv/Conv",
        "vae_encoder": "encoder.conv_in/Conv",
    }
    assert any("unet: time_embedding.linear_1/Gemm" in line for line in lines)
    with pytest.raises(VerificationError, match=r"token_embedding/Gather \(Gather with .*weight\)"):
        require_parity(report)


def test_model_of_another_architecture_is_refused_before_it_runs(
    exported: Export, tiny_sd21: Path
) -> None:
    lines: list[str] = []
    with pytest.raises(SourceError, match=r"another model than .*: text_encoder's .*layers\.2\."):
        verify(exported("tiny-sd15"), against=tiny_sd21, progress=lines.append)
    assert not [line for line in lines if "running" in line]


def test_departing_node_is_looked_for_on_request_alone_where_all_agree(
    exported: Export, tiny_sd15: Path, tmp_path: Path
) -> None:
    """A Conv in fp16 moves the decoder's picture by less than its threshold."""
    planted = plant(exported("tiny-sd15"), "vae_decoder", "a node in fp16", 0, tmp_path / "b")
    plain = verify(tmp_path / "b", against=tiny_sd15).components["vae_decoder"]
    assert (plain.passed, plain.departure) == (True, None)
    found = verify(tmp_path / "b", against=tiny_sd15, locate=True).components["vae_decoder"]
    assert found.passed
    assert found.departure is not None
    assert found.departure.node == planted.node


def test_parts_from_elsewhere_are_given_again(
    exported: Export, tiny_sd15: Path, tmp_path: Path
) -> None:
    from benchmarks.synthetic import synthesize

    other = synthesize("tiny-sd15", tmp_path / "other", seed=1)
    options = SourceOptions(vae=other / "vae")
    export(
        tiny_sd15,
        tmp_path / "b",
        components=("vae_encoder",),
        verify="none",
        source_options=options,
    )
    require_parity(verify(tmp_path / "b", against=tiny_sd15, source_options=options))
    with pytest.raises(VerificationError, match="vae_encoder departs"):
        require_parity(verify(tmp_path / "b", against=tiny_sd15))
    with pytest.raises(UsageError, match=r"--vae is said of the source.*--against"):
        verify(tmp_path / "b", source_options=options)


def test_bundle_of_a_single_component_is_verified_alone(tiny_sd15: Path, tmp_path: Path) -> None:
    export(tiny_sd15, tmp_path / "b", components=("unet",))
    assert list(open_bundle(tmp_path / "b").manifest.components) == ["unet"]
