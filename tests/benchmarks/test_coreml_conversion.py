"""Memory and time of conversions to Core ML: rows, what is refused, and one real conversion."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import coreml_conversion
from benchmarks.coreml_conversion import Form, Row, check_form, job_of, measure, table
from runtimes.bundle import open_bundle
from runtimes.errors import UsageError

ROW = Row(
    model="sd15.bundle",
    component="unet",
    size=(512, 768, 2),
    precision="fp16",
    form=Form("iOS17", "split-einsum", "palette-6"),
    load_average=1.5,
    seconds=40.4,
    cpu_seconds=31.2,
    peak_rss=2_340_000_000,
    peak_own=600_000_000,
    weight_bytes=1_719_000_000,
    package_bytes=650_000_000,
)


def test_a_line_tells_size_form_and_memory() -> None:
    line = table([ROW]).splitlines()[-1]
    assert line == (
        "| sd15.bundle | unet | 512×768, 2 | iOS17, split-einsum | palette-6 | 2.34 GB | 0.60 GB | "
        "40 | 31 | 0.65 GB |"
    )
    untold = dataclasses.replace(ROW, peak_own=None, form=Form())
    assert "| fp16 | 2.34 GB | not told |" in table([untold])


def test_a_row_takes_the_place_of_its_like_alone(tmp_path: Path) -> None:
    output = tmp_path / "r" / "rows.json"
    plain = dataclasses.replace(ROW, form=Form("iOS18", "sdpa"))
    again = dataclasses.replace(ROW, seconds=50.0)
    for row in (ROW, plain, again):
        coreml_conversion._write(output, row)  # pyright: ignore[reportPrivateUsage]
    rows = coreml_conversion._kept(output)  # pyright: ignore[reportPrivateUsage]
    assert rows == [plain, again]


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (Form("iOS17", compression="int4"), "weights as int4: .* from iOS18/"),
        (Form("iOS17", compression="mixed-4.5"), "mixed-4.5 is chosen from"),
        (Form("iOS17", compression="w8a8"), "w8a8 is chosen from"),
        (Form("iOS17", "sdpa"), "iOS18"),
    ],
)
def test_what_is_not_converted_is_refused_before_work(
    exported: Callable[[str], Path], form: Form, told: str
) -> None:
    bundle = open_bundle(exported("tiny-sd15"))
    check_form(Form("iOS17", compression="palette-6"), bundle)
    with pytest.raises(UsageError, match=told):
        check_form(form, bundle)


def test_components_are_a_portable_bundles_own() -> None:
    chosen = coreml_conversion._chosen  # pyright: ignore[reportPrivateUsage]
    manifest = SimpleNamespace(target=None, components={"text_encoder": 1, "unet": 2})
    bundle: Any = SimpleNamespace(path=Path("b"), manifest=manifest)
    assert chosen(bundle, None) == ("text_encoder", "unet")
    assert chosen(bundle, ["unet"]) == ("unet",)
    with pytest.raises(UsageError, match=r"unknown component of b 'unt'.*unet"):
        chosen(bundle, ["unt"])
    manifest.target = "coreml"
    with pytest.raises(UsageError, match="b is compiled for coreml; give a portable bundle"):
        chosen(bundle, None)


@pytest.mark.slow
def test_a_conversion_is_measured(exported: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = open_bundle(exported("tiny-sd15"))
    form = Form(compression="palette-6")
    job = job_of(bundle, "unet", form, tmp_path)
    assert (job.batch, job.precision, job.compression) == (2, "fp16", "palette-6")
    assert job_of(bundle, "vae_decoder", form, tmp_path).compression is None
    row = measure(bundle, "vae_decoder", Form(), tmp_path)
    assert row.size[2] == 1
    assert 0 < row.package_bytes < 2 * row.weight_bytes
    assert row.peak_rss is not None
    assert row.peak_rss > 50_000_000
    assert row.cpu_seconds > 0
    assert list(tmp_path.iterdir()) == []
