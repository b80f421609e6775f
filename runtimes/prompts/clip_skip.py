"""Which of the text encoder's states the U-Net gets: the last, or an earlier layer's."""

from __future__ import annotations

from runtimes.bundle import Bundle
from runtimes.checks import is_whole
from runtimes.errors import BundleError, UsageError
from runtimes.manifest import Graph

LAST = "last_hidden_state"
EARLIER = "normalised_states."
"""States after layer N through the final layer norm, as diffusers takes them: outputs that the
exporter adds, 0 being the embedding."""


def check_clip_skip(bundle: Bundle, value: object) -> int:
    """How many layers are left out, as diffusers counts: 1 takes the penultimate one's states.

    Raises:
        UsageError: not a whole number, or more layers than there are.
        BundleError: the text encoder gives the last states alone.
    """
    if value is None:
        return 0
    if not is_whole(value) or value < 0:
        raise UsageError(f"clip_skip must be a whole number of layers from 0, not {value!r}.")
    if not value:
        return 0
    layers = _layers(bundle.graph("text_encoder"))
    if not layers:
        raise BundleError(
            f"{bundle.path}: clip_skip {value} needs the states of earlier layers, which this text "
            "encoder doesn't give normalised; export the model again with this version of latedge."
        )
    if value > layers:
        raise UsageError(
            f"clip_skip must be from 0 to {layers}, the layers of this text encoder, not {value}."
        )
    return int(value)


def state_role(text_encoder: Graph, clip_skip: int) -> str:
    """The role of the output that a `clip_skip` asks for."""
    return f"{EARLIER}{_layers(text_encoder) - clip_skip}" if clip_skip else LAST


def _layers(text_encoder: Graph) -> int:
    return sum(port.role.startswith(EARLIER) for port in text_encoder.outputs)
