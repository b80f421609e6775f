"""A tokenizer and a text encoder that are alike on both sides, few and narrow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from runtimes.prompts.chunks import Embeddings, Row
from runtimes.tokenizer import ClipTokenizer

# States have values up to 4; a weight of 2 and more and a few sums in float32 on top.
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Words:
    """A text encoder and its tokenizer, ours and transformers'."""

    tokenizer: ClipTokenizer
    reference_tokenizer: Any
    text_encoder: Any

    @classmethod
    def open(cls, model: Path) -> Words:
        """Those of a Diffusers folder."""
        return cls(
            ClipTokenizer.open(model / "tokenizer"),
            CLIPTokenizer.from_pretrained(model / "tokenizer"),
            CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.float32).eval(),
        )

    @torch.no_grad()
    def states(self, row: Row) -> Embeddings:
        """The text encoder's last states of 77 ids, by torch."""
        found: Any = self.text_encoder(torch.tensor([row]))
        return found.last_hidden_state[0].numpy()


def close(found: Embeddings, expected: Any, tolerance: float = TOLERANCE) -> None:
    """Asserts that embeddings are the reference's."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
