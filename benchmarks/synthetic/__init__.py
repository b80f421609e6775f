"""Models of true architecture with random weights: for figures and tests without a download."""

from benchmarks.synthetic.command import command
from benchmarks.synthetic.folder import synthesize
from benchmarks.synthetic.models import MODELS

__all__ = ["MODELS", "command", "synthesize"]
