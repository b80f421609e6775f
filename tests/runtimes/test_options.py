"""The one list of options: whole, documented, and the same wherever options are taken."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtimes import options
from runtimes.bundle import open_bundle
from runtimes.errors import UsageError
from runtimes.generate_command import generate
from runtimes.inputs import Inputs
from runtimes.options import CallOptions, Changes, Given, names_of, split
from runtimes.pipeline import Pipeline
from runtimes.settings import Settings
from runtimes.settle import settle

Write = Callable[..., Path]

FOLLOWING = {
    "task",
    "input_sha256",
    "guidance_embedded",
    "embeddings_sha256",
    "zero_negative",
}
"""Settings that follow from what is given and from the bundle."""


def test_options_and_settings_are_the_same() -> None:
    assert names_of(Changes) == set(Settings.__struct_fields__) - FOLLOWING
    assert names_of(Given) == {field.name for field in fields(Inputs)}


def test_options_have_flags() -> None:
    flags = set(inspect.signature(generate).parameters)
    # Latents are handed over in Python alone.
    assert names_of(Changes) - flags == {"denoising_start", "denoising_end"}


def test_each_option_is_told_once() -> None:
    classes = [each for each in vars(options).values() if hasattr(each, "__optional_keys__")]
    told = Counter(
        name for each in classes for name in re.findall(r"(?m)^        (\w+): ", each.__doc__ or "")
    )
    assert told == Counter(names_of(CallOptions) | names_of(Changes))


def test_none_is_absence(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        none: Any = dict.fromkeys(names_of(CallOptions) - {"seed"})
        assert pipe("x", seed=0, **none).settings == pipe("x", seed=0).settings


@pytest.mark.parametrize(
    ("name", "close"), [("stepz", None), ("guidance_scal", "guidance_scale"), ("imag", "image")]
)
def test_unknown_options_are_refused(fake_bundle: Write, name: str, close: str | None) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        call: Any = pipe
        with pytest.raises(
            UsageError, match=f"unknown option '{name}'; known are aesthetic_score, "
        ) as e:
            call("x", **{name: 1})
    assert str(e.value).endswith(f" Did you mean '{close}'?" if close else ".")


def test_what_is_given_is_no_option_of_settings(fake_bundle: Write) -> None:
    settle_any: Any = settle
    with pytest.raises(UsageError, match="unknown option 'latents'"):
        settle_any(open_bundle(fake_bundle()), "x", latents=np.zeros(1))


def test_options_are_split() -> None:
    latents = np.zeros((1, 4, 4, 3), np.float32)
    assert split({"seed": 1, "latents": latents, "width": None}) == (
        {"latents": latents},
        {"seed": 1, "width": None},
    )
