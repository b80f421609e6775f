"""A small package that several files of tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Once
from tests.runtimes.mil.packages import write_small


@pytest.fixture(scope="session")
def small_package(once: Once) -> Path:
    """The package of `write_small`; never write into it."""
    return once("small.mlpackage", write_small)
