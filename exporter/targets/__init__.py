"""One file per target: the portable form of a component → what an engine loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import msgspec

from runtimes import registry
from runtimes.bundle import Bundle
from runtimes.errors import UsageError, unknown_name
from runtimes.manifest import Arithmetic, Component, Port

TARGETS: dict[str, str] = {
    "onnxruntime": "exporter.targets.ort:OnnxRuntime",
    "openvino": "exporter.targets.ov:OpenVino",
}
"""Target name → class, imported on use. Third parties register theirs in the group below."""

ENTRY_POINTS = "latedge.targets"

GENAI = "genai"
LAYOUTS = ("optimum", GENAI)
"""How a compiled bundle is laid out; the first is the default."""


@dataclass(frozen=True)
class Compiled:
    """What a target made of a component.

    Attributes:
        entry: the component as the new manifest describes it.
        hashes: hashes that are known already, by path in the new bundle.
    """

    entry: Component
    hashes: Mapping[str, str] = field(default_factory=dict[str, str])


class Target(Protocol):
    """Compiles one component at a time."""

    precisions: tuple[str, ...]
    """What `--precision` may be; the first is the default."""

    half_arithmetic: str | None
    """What `--arithmetic` is for half weights where nothing is said; None where graphs compute in
    float32 on every device, unless they are asked to do otherwise. See `exporter.arithmetic`."""

    def compile(
        self,
        bundle: Bundle,
        name: str,
        folder: Path,
        *,
        precision: str,
        sizes: Mapping[str, int],
        arithmetic: Arithmetic | None = None,
    ) -> Compiled:
        """Compiles a component of a portable bundle; all that it writes is new files.

        Args:
            bundle: the portable bundle.
            name: the component.
            folder: the staged bundle; the component's folder in it exists.
            precision: one of `precisions`.
            sizes: sizes by symbolic axis, for the axes that are to be fixed.
            arithmetic: what it may be computed in; None leaves it to graph and device.

        Raises:
            CompileError: the component can't be compiled so.
        """
        ...


def target_names() -> tuple[str, ...]:
    """The names of all targets."""
    return registry.names(TARGETS, ENTRY_POINTS)


def load_target(name: str) -> Target:
    """The target of a name.

    Raises:
        UsageError: no such target; lists the known ones and the closest.
    """
    return cast("type[Target]", registry.load("target", name, TARGETS, ENTRY_POINTS))()


def layout_target(layout: str, target: str) -> Target:
    """The target of a name, as it compiles for a layout.

    Raises:
        UsageError: no such layout or target, or the layout isn't for that target.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if layout != GENAI:
        return load_target(target)
    if target != "openvino":
        load_target(target)  # an unknown one is told as such
        raise UsageError(f"layout 'genai' is OpenVINO GenAI's: --target openvino, not {target}.")
    from exporter.targets.genai import GenAI

    return cast("Target", GenAI())


def fixed_ports(ports: tuple[Port, ...], sizes: Mapping[str, int]) -> tuple[Port, ...]:
    """Ports whose symbolic axes are replaced by the sizes that are given for them."""
    return tuple(
        msgspec.structs.replace(
            port, shape=tuple(sizes.get(n, n) if isinstance(n, str) else n for n in port.shape)
        )
        for port in ports
    )
