"""Lowers a captured program to MIL, Core ML's intermediate language, operator by operator.

Each operator of ATen that Stable Diffusion's networks use has a rule, by topic in a file. Dtypes
are the program's own: nothing is cast that the program doesn't cast. What depends on no input (the
time embedding's frequencies, a causal mask) is computed here and becomes a constant.

Core ML's own converter reads torch's programs too, but casts a float32 program to half precision as
a whole, the sines of the time embedding included, and takes no program in half precision.
"""

from __future__ import annotations

import importlib

_TOPICS = ("elementwise", "layers", "shapes", "attention")


def load_rules() -> None:
    """Fills the table of rules."""
    for topic in _TOPICS:
        importlib.import_module(f"exporter.coreml.lower.{topic}")
