"""Sigma rules against diffusers', and the beta distribution's quantiles against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from diffusers import DPMSolverMultistepScheduler

from runtimes.errors import UsageError
from runtimes.schedules.beta_quantile import beta_quantile
from runtimes.schedules.sigma_rules import (
    SIGMA_RULES,
    SigmaRule,
    karras_sigmas,
    polyexponential_sigmas,
    ruled_sigmas,
)

LARGEST, SMALLEST = np.float32(14.614647), np.float32(0.029167553)
# diffusers' rules, by our names; what it calls with sigmas and what with their logarithms.
CONVERTERS: dict[SigmaRule, str] = {
    "karras": "_convert_to_karras",
    "exponential": "_convert_to_exponential",
    "beta": "_convert_to_beta",
    "lu": "_convert_to_lu",
}


@pytest.mark.parametrize(("rule", "converter"), CONVERTERS.items())
@pytest.mark.parametrize("n", [1, 2, 5, 20, 50, 1000])
def test_the_rule_is_the_references(rule: SigmaRule, converter: str, n: int) -> None:
    convert = getattr(DPMSolverMultistepScheduler(), converter)
    ends = np.array([LARGEST, SMALLEST])
    reference = np.exp(convert(np.log(ends), n)) if rule == "lu" else convert(ends, n)
    sigmas = SIGMA_RULES[rule](float(LARGEST), float(SMALLEST), n)
    # Relative: the quantiles' 1e-14 and a power of 7 of doubles.
    np.testing.assert_allclose(sigmas, reference, rtol=2e-12, atol=0, strict=True)


@pytest.mark.parametrize("rule", SIGMA_RULES)
def test_sigmas_fall_from_the_largest_to_the_smallest(rule: SigmaRule) -> None:
    sigmas = SIGMA_RULES[rule](14.6, 0.03, 10)
    # lu's ends pass through a float32 logarithm.
    assert sigmas[[0, -1]] == pytest.approx([14.6, 0.03], rel=2e-7 if rule == "lu" else 1e-14)
    assert np.all(np.diff(sigmas) < 0)
    assert SIGMA_RULES[rule](14.6, 0.03, 1) == pytest.approx([14.6], rel=2e-7)


def test_the_rules_are_even_in_what_they_are_named_for() -> None:
    karras = np.diff(karras_sigmas(14.6, 0.03, 10) ** (1 / 7))
    np.testing.assert_allclose(karras, karras[0])
    for rule in ("exponential", "polyexponential", "lu"):
        steps = np.diff(np.log(SIGMA_RULES[rule](14.6, 0.03, 10)))
        np.testing.assert_allclose(steps, steps[0])
    squared = np.log(polyexponential_sigmas(np.e**4, 1.0, 5, rho=2.0))
    np.testing.assert_allclose(squared, [4, 9 / 4, 1, 1 / 4, 0], atol=1e-15)


def test_beta_quantiles_equal_scipys() -> None:
    shares = np.concatenate([np.linspace(0, 1, 2001), [1e-300, 1e-20, 1e-9, 1 - 1e-9]])
    for shape in (0.3, 0.6, 1.0):
        reference = scipy.stats.beta.ppf(shares, shape, shape)
        ours = beta_quantile(shares, shape)
        np.testing.assert_allclose(ours, reference, rtol=1e-12, atol=1e-15, strict=True)


@pytest.mark.parametrize("rule", SIGMA_RULES)
def test_ends_that_do_not_descend_are_refused(rule: SigmaRule) -> None:
    assert ruled_sigmas(rule, 3.0, 3.0, 1).tolist() == pytest.approx([3.0])
    for largest, smallest in ((0.5, 20.0), (3.0, 3.0)):
        with pytest.raises(UsageError) as raised:
            ruled_sigmas(rule, largest, smallest, 5)
        assert str(raised.value) == (
            f"{rule} sigmas would go from {largest:g} to {smallest:g}; give sigma_min below "
            "sigma_max"
        )
