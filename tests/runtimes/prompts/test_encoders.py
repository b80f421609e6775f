"""Earlier layers' states, against transformers' own modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runtimes.bundle import open_bundle
from runtimes.component import Component
from runtimes.errors import BundleError, UsageError
from runtimes.parts import ROLES
from runtimes.prompts.encoders import check_clip_skip, text_encoders
from tests.runtimes.prompts.words import TOLERANCE, Words

Write = Callable[..., Path]


def test_states_are_those_of_transformers(compiled: Callable[[str], Path], words: Words) -> None:
    bundle = open_bundle(compiled("tiny-sd15"))
    ids = words.tokenizer(["a red circle", ""]).input_ids
    role = "text_encoder"
    encoder = Component.open(bundle, role, ROLES[role], device="cpu", threads=1)
    reference = words.text_encoder
    with torch.no_grad():
        out: Any = reference(torch.from_numpy(ids), output_hidden_states=True)
        expected = [
            # As diffusers takes them: the state that many layers back, through the final norm.
            reference.final_layer_norm(out.hidden_states[-(skip + 1)]).numpy()
            for skip in (0, 1, 2)
        ]
    for skip, states in enumerate(expected):
        output = text_encoders(bundle, skip)[0].states
        found = encoder.run([output], {"input_ids": ids})[output]
        np.testing.assert_allclose(found, states, rtol=0, atol=TOLERANCE)
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    encoder.engine.close()


@pytest.mark.parametrize(("value", "expected"), [(None, 0), (0, 0), (2, 2), (np.int64(1), 1)])
def test_layers_are_counted_from_the_last(fake_bundle: Write, value: object, expected: int) -> None:
    bundle = open_bundle(fake_bundle(layers=2))
    assert check_clip_skip(bundle, value) == expected
    roles = [text_encoders(bundle, skip)[0].states for skip in (0, 1, 2)]
    assert roles == ["last_hidden_state", "normalised_states.1", "normalised_states.0"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "clip_skip must be from 0 to 2, the layers of this text encoder, not 3."),
        (-1, "clip_skip must be a whole number of layers from 0, not -1."),
        (1.0, "clip_skip must be a whole number of layers from 0, not 1.0."),
        (True, "clip_skip must be a whole number of layers from 0, not True."),
    ],
)
def test_other_values_are_refused(fake_bundle: Write, value: object, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_clip_skip(open_bundle(fake_bundle(layers=2)), value)
    assert str(raised.value) == message


def test_text_encoders_of_others_give_the_last_states_alone(fake_bundle: Write) -> None:
    bundle = open_bundle(fake_bundle())
    assert check_clip_skip(bundle, 0) == 0
    message = "clip_skip 1 needs the states of earlier layers, .* export the model again"
    with pytest.raises(BundleError, match=message):
        check_clip_skip(bundle, 1)
