"""One call of a U-Net in each engine, beside torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks.unet_step import StepError, StepReport, main
from exporter.compile import compile

pytestmark = pytest.mark.slow


def test_engines_agree_with_torch_and_tell_what_they_took(
    exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    portable = exported("tiny-sdxl")
    bundles = [tmp_path / target for target in ("onnxruntime", "openvino")]
    for bundle in bundles:
        compile(portable, bundle, target=bundle.name)
    main(portable, bundles, tmp_path / "report.json", height=128, width=192, batch=2)
    report = msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=StepReport)
    assert report.shapes["sample"] == (2, 4, 16, 24)
    assert [row.ran.split()[0] for row in report.rows] == ["torch", "onnxruntime", "openvino"]
    for row in report.rows[1:]:
        assert row.psnr_db is not None
        assert row.psnr_db > 100
        assert 0 < row.max_abs < 1e-3
        assert row.measured.peak_rss_bytes > row.measured.mapped_bytes > 0


def test_a_process_that_fails_is_told_in_a_line(
    exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    absent = [tmp_path / "nothing"]
    with pytest.raises(StepError, match=r"nothing did not run: .*no bundle at"):
        main(exported("tiny-sdxl"), absent, tmp_path / "r.json", height=64, width=64)
