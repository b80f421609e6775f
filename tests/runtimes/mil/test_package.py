"""Packages on disk: what is read of one, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtimes.errors import BundleError
from runtimes.mil.executor import Executor
from runtimes.mil.package import MANIFEST_NAME, open_package, package_folder
from runtimes.mil.program import Feature
from tests.runtimes.mil.packages import small_feeds, small_results

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture
def private(small_package: Path, tmp_path: Path) -> Path:
    """A copy that the test may break."""
    return Path(shutil.copytree(small_package, tmp_path / "private.mlpackage"))


def test_a_saved_package_is_read_and_evaluated(small_package: Path) -> None:
    package = open_package(small_package)
    assert package.path == small_package / MODEL
    assert package.model.specification_version == 7
    assert package.model.interfaces["main"].inputs == (
        Feature("sample", "float32", (2, 4, 5, 7)),
        Feature("timestep", "float32", (1,)),
        Feature("context", "float32", (2, 6)),
    )
    assert [one.name for one in package.model.interfaces["main"].outputs] == [
        "out_sample",
        "projected",
    ]
    found = Executor(package)(small_feeds())
    for name, expected in small_results(small_feeds()).items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=2e-5)


def test_a_model_files_package_is_found(small_package: Path, tmp_path: Path) -> None:
    assert package_folder(small_package / MODEL) == small_package
    with pytest.raises(BundleError, match=f"lies in no package: no {MANIFEST_NAME} is above it"):
        package_folder(tmp_path / "model.mlmodel")


def manifest_of(folder: Path, path: str, root: str = "r") -> None:
    found = {"fileFormatVersion": "1.0.0", "itemInfoEntries": {"r": {"path": path}}}
    text = json.dumps(found | {"rootModelIdentifier": root})
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")


def change(name: str, alter: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(alter((folder / name).read_bytes()))


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no manifest": (lambda folder: (folder / MANIFEST_NAME).unlink(), "", "is no Core ML package"),
    "broken manifest": (change(MANIFEST_NAME, lambda _: b"{"), MANIFEST_NAME, "no package's man"),
    "empty manifest": (change(MANIFEST_NAME, lambda _: b"{}"), MANIFEST_NAME, "no package's man"),
    "no root": (lambda folder: manifest_of(folder, "m", "s"), MANIFEST_NAME, "names no model file"),
    "root outside": (lambda folder: manifest_of(folder, "../m"), MANIFEST_NAME, "names no model"),
    "no model": (lambda folder: (folder / MODEL).unlink(), MODEL, "can't be read"),
    "cut model": (change(MODEL, lambda raw: raw[:-7]), MODEL, "can't be taken: it is cut off"),
    "empty model": (change(MODEL, lambda _: b""), MODEL, "it is no ML Program"),
    "other function": (
        change(MODEL, lambda raw: raw.replace(b"\x04main", b"\x04mean")),
        MODEL,
        "describes the functions main, and has mean",
    ),
    "weights outside": (
        change(MODEL, lambda raw: raw.replace(b"@model_path/weights", b"@model_path/../../.")),
        MODEL,
        "outside of the package",
    ),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), WEIGHTS, "can't be read"),
    "cut weights": (change(WEIGHTS, lambda raw: raw[:200]), WEIGHTS, "is cut off or altered"),
    "altered weights": (
        change(WEIGHTS, lambda raw: raw.replace(b"\xef\xbe\xad\xde", b"\0" * 4)),
        WEIGHTS,
        "is cut off or altered: there is no tensor",
    ),
}


@pytest.mark.parametrize("label", DAMAGES)
def test_damaged_packages_are_refused(label: str, private: Path) -> None:
    damage, file, message = DAMAGES[label]
    damage(private)
    with pytest.raises(BundleError, match=message) as caught:
        open_package(private)
    assert str(private / file) in str(caught.value)
