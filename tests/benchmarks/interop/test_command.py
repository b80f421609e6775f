"""Jobs, figures, the table, and results that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.bench.quality import psnr_db
from benchmarks.interop.command import CASES, as_table, check
from benchmarks.interop.folders import OURS, Folder
from benchmarks.interop.job import Job
from benchmarks.interop.pictures import OPENED, PEERS, Drawn, lowest_db
from runtimes.errors import LatedgeError


def test_jobs_come_back_as_they_were(tmp_path: Path) -> None:
    drawing = CASES[0].drawing
    job = Job("folder", "diffusers", "l.npy", str(tmp_path / "p.npy"), drawing)
    job.write(tmp_path / "job.json")
    assert Job.read([str(tmp_path / "job.json")]) == job
    picture = np.random.default_rng(0).random((4, 4, 3))
    job.save(picture.astype(np.float32))
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), picture.astype(np.float32))


def test_every_program_and_folder_is_known() -> None:
    theirs = {"source", "onnx fp32", "ir fp32", "ir fp32 fixed", "ir fp16", "ir int8"}
    for program, name in OPENED:
        assert program == "latedge" or program in PEERS
        assert name in OURS or name in theirs
    assert {name for _, name in OPENED} == {*OURS, *theirs}
    assert len(set(OPENED)) == len(OPENED)


def test_psnr() -> None:
    a = np.zeros((2, 2, 3), np.float32)
    assert psnr_db(a, a) is None
    assert psnr_db(a, a + np.float32(0.1)) == pytest.approx(20, abs=1e-5)


def test_lowest_is_that_of_the_worst_pair() -> None:
    folder = Folder("x", "latedge", Path("x"), "fp32")
    levels = (0.5, 0.5, 0.51, 0.4)
    drawn = [Drawn("p", folder, np.full((1, 1, 3), level, np.float32)) for level in levels]
    assert lowest_db(drawn) == pytest.approx(-20 * np.log10(0.11), abs=1e-4)
    assert lowest_db(drawn[:2]) is None


def results(lowest: float | None = 60.0) -> dict[str, Any]:
    row = {"opened_by": "latedge", "made_by": "optimum-onnx", "folder": "onnx fp32"}
    figures = {"psnr_db_to_torch": 128.44, "psnr_db_to_latedge": None}
    return {
        "shapes": {
            "rows": [{**row, **figures}],
            "lowest_pair_of_fp32_psnr_db": lowest,
        },
        "tiny": {
            "rows": [{**row, **figures, "psnr_db_to_torch": None}],
            "lowest_pair_of_fp32_psnr_db": None,
        },
    }


def test_table_has_a_column_for_each_model() -> None:
    header, _, row = as_table(results()).splitlines()
    assert header == "| opened by | folder | shapes, PSNR dB | tiny, PSNR dB |"
    assert row == "| latedge | optimum-onnx's onnx fp32 | 128.4 | equal |"


def test_pictures_that_differ_are_refused() -> None:
    check(results())
    with pytest.raises(LatedgeError, match=r"shapes: two float32 pictures agree to 44\.9 dB"):
        check(results(lowest=44.9))
