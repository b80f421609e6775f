"""Guidance: how the network's outputs for prompts and for negative prompts become one."""

from __future__ import annotations

from runtimes.guidance.classifier_free import classifier_free, guide
from runtimes.guidance.condition import Condition, Network, Predict, stacked
from runtimes.guidance.guided import Branches, guided_network

__all__ = [
    "Branches",
    "Condition",
    "Network",
    "Predict",
    "classifier_free",
    "guide",
    "guided_network",
    "stacked",
]
