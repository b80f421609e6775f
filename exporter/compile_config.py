"""What is compiled, and how."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.coreml.options import NO_OPTIONS, CoreMlOptions


@dataclass(frozen=True)
class CompileConfig:
    """What to compile and how.

    Attributes:
        target: name of the target.
        precision: how the engine stores weights and may compute; None for the target's default.
        height: of the pictures in pixels; None leaves the height free.
        width: likewise.
        batch: what the U-Net takes in one call: 2 for both guidance halves of a picture at once,
            1 for one after the other; None leaves the batch free.
        force: replace an existing output, and use nothing of an interrupted run.
        layout: "optimum", or "genai" for what OpenVINO GenAI opens.
        arithmetic: what engines may compute in: "fp32", "fp16" for half precision in the components
            whose values fit, "force-fp16" for half precision in all; None for the target's default.
        coreml: what the target "coreml" takes beside.
        max_memory: bytes that this process may take, and each that it starts; None sets no limit.
    """

    target: str
    precision: str | None = None
    height: int | None = None
    width: int | None = None
    batch: int | None = None
    force: bool = False
    layout: str = "optimum"
    arithmetic: str | None = None
    coreml: CoreMlOptions = NO_OPTIONS
    max_memory: int | None = None
