"""The text encoder's states as the latent upscaler takes them: raw ones, and the pooled one."""

from __future__ import annotations

from runtimes.bundle import Bundle
from runtimes.errors import BundleError, UsageError
from runtimes.manifest import Graph

TASK = "latent-upscaling"
POOLED = "pooler_output"
RAW = "hidden_states."
"""States after layer N without the final layer norm, 0 being the embedding."""


def last_raw_state(text_encoder: Graph) -> str:
    """The role of the last layer's states without the final layer norm.

    Raises:
        BundleError: the graph doesn't give them.
    """
    layers = sum(port.role.startswith(RAW) for port in text_encoder.outputs) - 1
    if layers < 1:
        raise BundleError(
            f"{text_encoder.file} doesn't give its layers' states, which {TASK} takes. Export "
            "again."
        )
    return f"{RAW}{layers}"


def check_not_pooled(bundle: Bundle) -> None:
    """Refuses to encode prompts apart for a model that takes a pooled embedding too.

    Raises:
        UsageError: says what to give instead.
    """
    if TASK in bundle.manifest.tasks:
        raise UsageError(
            f"{TASK} takes a pooled embedding beside those of the tokens, which can't be given "
            "or saved; give prompts."
        )
