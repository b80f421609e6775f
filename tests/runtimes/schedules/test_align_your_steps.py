"""The aligned steps: diffusers' tables, and what lies between."""

from __future__ import annotations

import numpy as np
import pytest
from diffusers.schedulers.scheduling_utils import AysSchedules

from runtimes.errors import UsageError
from runtimes.schedules.align_your_steps import TABLES, aligned, aligned_sigmas

TITLES = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL"}


@pytest.mark.parametrize("family", TABLES)
def test_the_tables_are_those_that_diffusers_has(family: str) -> None:
    table = aligned(family)
    assert list(table.timesteps) == AysSchedules[f"{TITLES[family]}Timesteps"]
    reference = AysSchedules[f"{TITLES[family]}Sigmas"]
    assert [*table.sigmas[:-1], 0.0] == reference
    np.testing.assert_allclose(aligned_sigmas(table, 10), reference, rtol=1e-14)


@pytest.mark.parametrize("family", TABLES)
def test_other_counts_lie_on_lines_in_log_sigma(family: str) -> None:
    table = aligned(family)
    np.testing.assert_allclose(aligned_sigmas(table, 5), [*table.sigmas[:10:2], 0.0], rtol=1e-14)
    twice = aligned_sigmas(table, 20)
    np.testing.assert_allclose(twice[:-1:2], table.sigmas[:-1], rtol=1e-14)
    between = np.sqrt(np.array(table.sigmas[:-1]) * table.sigmas[1:])
    np.testing.assert_allclose(twice[1::2], between, rtol=1e-14)
    for n in (1, 3, 7, 50, 1000):
        sigmas = aligned_sigmas(table, n)
        assert (len(sigmas), sigmas[0], sigmas[-1]) == (n + 1, pytest.approx(14.615), 0)
        assert np.all(np.diff(sigmas) < 0)


def test_a_family_without_a_table_is_refused() -> None:
    with pytest.raises(UsageError) as raised:
        aligned("sd2")
    assert str(raised.value) == (
        "schedule 'ays' has tables for the families sd1 and sdxl, not for 'sd2'; take karras, or "
        "give timesteps of your own"
    )
