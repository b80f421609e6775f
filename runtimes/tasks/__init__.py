"""Tasks: the table of their names, and which one a call asks for."""

from __future__ import annotations

from typing import cast

from runtimes import registry
from runtimes.tasks.choice import inputs_of, pick_task
from runtimes.tasks.task import Call, Start, Task

__all__ = ["TASKS", "Call", "Start", "Task", "inputs_of", "load_task", "pick_task"]

TASKS: dict[str, str] = {
    "depth-to-image": "runtimes.tasks.depth_to_image:DepthToImage",
    "image-to-image": "runtimes.tasks.image_to_image:ImageToImage",
    "inpainting": "runtimes.tasks.inpainting:Inpainting",
    "instruct-pix2pix": "runtimes.tasks.instruct_pix2pix:InstructPix2Pix",
    "latent-upscaling": "runtimes.tasks.latent_upscaling:LatentUpscaling",
    "super-resolution": "runtimes.tasks.super_resolution:SuperResolution",
    "text-to-image": "runtimes.tasks.text_to_image:TextToImage",
    "unconditional": "runtimes.tasks.unconditional:Unconditional",
    "upscaling": "runtimes.tasks.upscaling:Upscaling",
}
"""Task, as manifests name it → class."""

ENTRY_POINTS = "latedge.tasks"


def load_task(name: str) -> Task:
    """The task of a name.

    Raises:
        UsageError: no such task.
    """
    return cast("type[Task]", registry.load("task", name, TASKS, ENTRY_POINTS))()
