"""From prompts to the text embeddings that the U-Net takes."""

from __future__ import annotations

from runtimes.prompts.chunks import Embeddings
from runtimes.prompts.embed import Prompted, PromptTruncated, embed
from runtimes.prompts.plan import LONG_PROMPTS, SYNTAXES, LongPrompts, Plan, Syntax, plan

__all__ = [
    "LONG_PROMPTS",
    "SYNTAXES",
    "Embeddings",
    "LongPrompts",
    "Plan",
    "PromptTruncated",
    "Prompted",
    "Syntax",
    "embed",
    "plan",
]
