"""Fixtures of the tests of prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtimes.prompts.words import Words


@pytest.fixture(scope="session")
def words(tiny_sd15: Path) -> Words:
    """The text encoder and tokenizers of the tiny model."""
    return Words.open(tiny_sd15)
