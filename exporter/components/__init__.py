"""The networks that are exported, one wrapper per file."""

from __future__ import annotations

from typing import cast

from exporter.components.base import Component
from runtimes import registry

COMPONENTS: dict[str, str] = {
    "clip_image": "exporter.components.clip_image:ClipImage",
    "clip_text": "exporter.components.clip_text:ClipText",
    "text_encoder": "exporter.components.text_encoder:TextEncoder",
    "text_encoder_2": "exporter.components.text_encoder_2:TextEncoder2",
    "unet": "exporter.components.unet:UNet",
    "unet_2d": "exporter.components.unet_2d:UNet2D",
    "vae_decoder": "exporter.components.vae:VaeDecoder",
    "vae_encoder": "exporter.components.vae:VaeEncoder",
}
"""Component name, or a name of a component's other wrapper, → class, imported on use (the modules
import torch)."""

ENTRY_POINTS = "latedge.components"


def component(name: str) -> Component:
    """The wrapper of a component.

    Raises:
        UsageError: no such component; lists the known ones and the closest.
    """
    cls = cast("type[Component]", registry.load("component", name, COMPONENTS, ENTRY_POINTS))
    return cls()
