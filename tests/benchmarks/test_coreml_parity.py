"""One call of a U-Net's packages against torch: rows, what is refused, and one real comparison."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import coreml_parity
from benchmarks.command_line import run_command
from benchmarks.coreml_conversion import Form
from benchmarks.coreml_parity import Row, main, table
from exporter.report import Comparison

FIGURES = Comparison(
    max_abs=1.25e-3, peak=4.0, psnr_db=76.54, cosine=1.0, non_finite=0, reference_non_finite=0
)
ROW = Row("sd15.bundle", (512, 512, 2), Form(), "reference", 1.5, 61.2, FIGURES)


def test_a_line_tells_form_device_and_figures() -> None:
    broken = dataclasses.replace(
        ROW,
        form=Form(compression="palette-6"),
        device="reference:fp16",
        figures=Comparison(
            max_abs=math.inf, peak=4.0, psnr_db=None, cosine=0, non_finite=3, reference_non_finite=0
        ),
    )
    lines = table([ROW, broken]).splitlines()[2:]
    assert lines[0] == (
        "| sd15.bundle | 512×512, 2 | iOS17, split-einsum | fp16 | reference | 76.5 dB | 0.0013 | "
        "61 |"
    )
    assert "| palette-6 | reference:fp16 | 3 values are not finite |" in lines[1]


def test_a_row_takes_the_place_of_its_like_alone(tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    rounded, again = (
        dataclasses.replace(ROW, device="reference:fp16"),
        dataclasses.replace(ROW, seconds=9.0),
    )
    for row in (ROW, rounded, again):
        coreml_parity._write(output, row)  # pyright: ignore[reportPrivateUsage]
    assert coreml_parity._kept(output) == [rounded, again]  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--device", "gpu"], "'gpu'"),
        (["--compress", "palette-7"], "unknown compression 'palette-7'"),
    ],
)
def test_wrong_options_are_told_before_work(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, "x", ["b", *options]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "components", "width", "told"),
    [
        ("coreml", ("unet",), 64, "no portable bundle with a U-Net"),
        (None, ("vae_decoder",), 64, "no portable bundle with a U-Net"),
        (None, ("unet",), 96, "draws 64×96"),
        (None, ("unet",), 64, "weights as int4"),
    ],
)
def test_bundles_that_no_such_call_can_be_made_of_are_refused(
    target: str | None,
    components: tuple[str, ...],
    width: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defaults = SimpleNamespace(height=64, width=width)
    manifest = SimpleNamespace(target=target, components=components, defaults=defaults)
    opened: Any = SimpleNamespace(path=Path("b"), manifest=manifest)
    monkeypatch.setattr(coreml_parity, "open_bundle", lambda path: opened)  # pyright: ignore[reportUnknownLambdaType]
    options = ["--compress", "int4", "--deployment-target", "iOS17"]
    assert run_command(main, "x", ["b", *options]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_a_package_agrees_with_torch(exported: Callable[[str], Path], tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    assert run_command(main, "x", [str(exported("tiny-sd15")), "-o", str(output)]) == 0
    (row,) = coreml_parity._kept(output)  # pyright: ignore[reportPrivateUsage]
    assert row.form == Form()
    assert row.figures.psnr_db is not None
    assert row.figures.psnr_db > 60
