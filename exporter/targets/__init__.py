"""One file per target: the portable form of a component → what an engine loads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, cast

import msgspec

from exporter.compile_config import CompileConfig
from exporter.progress import Progress, silent
from runtimes import registry
from runtimes.bundle import Bundle
from runtimes.errors import UsageError, unknown_name
from runtimes.manifest import Arithmetic, Component, Port

COREML = "coreml"

TARGETS: dict[str, str] = {
    "onnxruntime": "exporter.targets.ort:OnnxRuntime",
    "openvino": "exporter.targets.ov:OpenVino",
    COREML: "exporter.targets.coreml:CoreMl",
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
        note: what the user is told beside its name and precision.
    """

    entry: Component
    hashes: Mapping[str, str] = field(default_factory=dict[str, str])
    note: str = ""


class Target(ABC):
    """Compiles one component at a time.

    Attributes:
        sdk: the package that does it, whose version is noted.
        precisions: what `--precision` may be; the first is the default.
        half_arithmetic: what `--arithmetic` is for half weights where nothing is said; None where
            graphs compute in float32 on every device, unless they are asked to do otherwise. See
            `exporter.arithmetic`.
    """

    sdk: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    half_arithmetic: ClassVar[str | None]

    def settle(self, bundle: Bundle, config: CompileConfig) -> CompileConfig:
        """Checks what the target can't do, before slow work, and fills in its own defaults.

        Args:
            bundle: the portable bundle.
            config: as the user gave it.

        Raises:
            UsageError: an option can't be kept.
            CompileError: the bundle can't be compiled for this target.
        """
        del bundle
        return config

    @abstractmethod
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

    def finish(self, bundle: Bundle, folder: Path) -> tuple[str, ...]:
        """Writes what lies beside the components, once those and the texts are there.

        Args:
            bundle: the portable bundle.
            folder: the staged bundle.

        Returns:
            What the user is told.

        Raises:
            CompileError: it can't be made.
        """
        del bundle, folder
        return ()


def target_names() -> tuple[str, ...]:
    """The names of all targets."""
    return registry.names(TARGETS, ENTRY_POINTS)


def load_target(name: str) -> Target:
    """The target of a name.

    Raises:
        UsageError: no such target; lists the known ones and the closest.
    """
    return cast("type[Target]", registry.load("target", name, TARGETS, ENTRY_POINTS))()


def configured_target(config: CompileConfig, progress: Progress = silent) -> Target:
    """The target of a config, as it compiles for a layout and with options of its own.

    Args:
        config: what is compiled, and how.
        progress: called with lines on what a target measures.

    Raises:
        UsageError: no such layout or target, or the layout or an option isn't for that target.
    """
    name, layout = config.target, config.layout
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if name == COREML and layout == LAYOUTS[0]:
        from exporter.targets.coreml import CoreMl

        return CoreMl(config.coreml, config.max_memory, progress)
    plain = load_target(name)
    if given := config.coreml.given():
        raise UsageError(f"--{given[0]} is for --target {COREML}, not for {name}.")
    if layout != GENAI:
        return plain
    if name != "openvino":
        raise UsageError(f"layout 'genai' is OpenVINO GenAI's: --target openvino, not {name}.")
    from exporter.targets.genai import GenAI

    return GenAI()


def fixed_ports(ports: tuple[Port, ...], sizes: Mapping[str, int]) -> tuple[Port, ...]:
    """Ports whose symbolic axes are replaced by the sizes that are given for them."""
    return tuple(
        msgspec.structs.replace(
            port, shape=tuple(sizes.get(n, n) if isinstance(n, str) else n for n in port.shape)
        )
        for port in ports
    )
