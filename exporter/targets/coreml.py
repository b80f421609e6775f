"""Core ML: ML programs in `.mlpackage` folders, laid out as Apple's Swift package takes them.

coremltools writes them on every system; Apple's compiler, which makes `.mlmodelc` of them, and Core
ML itself are on Macs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from exporter.compile_config import CompileConfig
from exporter.coreml.compress.scheme import Scheme, check_scheme, parse_scheme, plain
from exporter.coreml.job import Job
from exporter.coreml.options import (
    ATTENTION,
    DEPLOYMENT_TARGET,
    NO_OPTIONS,
    CoreMlOptions,
    read_sizes,
)
from exporter.coreml.recipe import needs_recipe, write_recipe
from exporter.coreml.resources import write_resources
from exporter.coreml.rewrites import check_attention
from exporter.coreml.sizes import Size, check_sizes
from exporter.coreml.swift import RESOURCES
from exporter.coreml.swift_notes import UNETS, swift_notes
from exporter.coreml.targets import check_target
from exporter.coreml.worker import convert
from exporter.errors import CompileError
from exporter.memory import gigabytes
from exporter.picture_size import check_halves, check_picture_size
from exporter.progress import Progress, silent
from exporter.targets import Compiled, Target
from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.manifest import Arithmetic

COMPRESSED = ("text_encoder", "text_encoder_2", "unet", "unet_refiner")
"""What `--compress` is for. The VAE is small and pictures come out of it: it stays in halves, as in
Apple's converter."""

BATCH = 2
"""Of the U-Net: both guidance halves at once, as Apple's package feeds it."""


@dataclass(frozen=True)
class _Settled:
    """The options with their defaults."""

    deployment_target: str
    attention: str
    sizes: tuple[Size, ...]
    batch: int


class CoreMl(Target):
    """ML programs in half precision, or in fp32 where the values don't fit."""

    sdk = "coremltools"
    precisions = ("fp16", "fp32")
    half_arithmetic = "fp16"

    def __init__(
        self,
        options: CoreMlOptions = NO_OPTIONS,
        max_memory: int | None = None,
        progress: Progress = silent,
    ) -> None:
        """Takes what is Core ML's own.

        Args:
            options: its options.
            max_memory: bytes that a conversion may take; None sets no limit.
            progress: called with lines on what is measured.
        """
        self._options = options
        self._max_memory = max_memory
        self._progress = progress
        self._settled: _Settled | None = None

    def settle(self, bundle: Bundle, config: CompileConfig) -> CompileConfig:
        """Checks the options; packages always have fixed sizes: the model's own unless told.

        Raises:
            UsageError: coremltools is missing, a name is unknown, or the deployment target lacks
                what is asked.
            CompileError: the bundle has a component that no package is made of.
        """
        if find_spec("coremltools") is None:
            raise UsageError(
                "coremltools is missing, which writes Core ML's packages: pip install "
                "'latedge[coreml]'"
            )
        deployment = check_target(self._options.deployment_target or DEPLOYMENT_TARGET)
        attention = self._options.attention or ATTENTION
        check_attention(attention, deployment)
        if self._options.compression is not None:
            check_scheme(parse_scheme(self._options.compression), deployment)
        recipe = self._options.recipe
        if recipe is not None and not recipe.is_file():
            raise UsageError(f"no file at {recipe}; give a quantization.json, or leave it out.")
        _check_components(bundle)
        sizes = self._settled_sizes(bundle, config)
        check_sizes(sizes, deployment)
        for size in sizes:
            check_picture_size(bundle, *size)
            for name in bundle.manifest.components:
                check_halves(bundle, name, *size)
        batch = config.batch or BATCH
        self._settled = _Settled(deployment.ios, attention, sizes, batch)
        height, width = sizes[0]
        return replace(config, height=height, width=width, batch=batch)

    def _settled_sizes(self, bundle: Bundle, config: CompileConfig) -> tuple[Size, ...]:
        given = read_sizes(self._options.sizes)
        asked = (config.height, config.width)
        if given and asked != (None, None):
            raise UsageError("give --sizes, or --height and --width, not both.")
        defaults = bundle.manifest.defaults
        return given or ((config.height or defaults.height, config.width or defaults.width),)

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
        """Converts a component in a process of its own.

        Raises:
            CompileError: it can't be converted.
            StoppedError: it takes more memory than it may, or was killed.
        """
        settled = self._settled
        assert settled is not None, "settle comes first"
        half = precision == "fp16" and (arithmetic is None or arithmetic.dtype == "fp16")
        scheme = self._scheme_of(name)
        job = Job(
            bundle=str(bundle.path.absolute()),
            component=name,
            folder=str(folder.absolute()),
            precision="fp16" if half else "fp32",
            arithmetic=arithmetic,
            deployment_target=settled.deployment_target,
            attention=settled.attention,
            compression=None if scheme is None else scheme.name,
            recipe=self._recipe(bundle, name, scheme, folder / name),
            sizes=settled.sizes,
            batch=sizes["batch"],
            unet_batch=settled.batch,
            chunked=self._options.chunked and name in UNETS,
            max_memory=self._max_memory,
        )
        entry, peak = convert(job)
        return Compiled(entry, note="" if peak is None else f"{gigabytes(peak)} at most")

    def _scheme_of(self, name: str) -> Scheme | None:
        """How a component's weights are compressed; None where they aren't."""
        if self._options.compression is None or name not in COMPRESSED:
            return None
        scheme = parse_scheme(self._options.compression)
        return scheme if name in UNETS else plain(scheme)

    def _recipe(self, bundle: Bundle, name: str, scheme: Scheme | None, folder: Path) -> str | None:
        if scheme is None or not needs_recipe(scheme):
            return None
        given = self._options.recipe
        path = write_recipe(bundle, name, scheme, folder, given, self._progress)
        return str(path.absolute())

    def finish(self, bundle: Bundle, folder: Path) -> tuple[str, ...]:
        """Writes the script and vocabulary that make an app's resources of the packages, on a Mac.

        Returns:
            What keeps Apple's Swift package from running them, or makes its pictures differ.
        """
        settled = self._settled
        assert settled is not None, "settle comes first"
        write_resources(bundle, folder)
        return swift_notes(bundle, batch=settled.batch, sizes=settled.sizes)


def _check_components(bundle: Bundle) -> None:
    for name in bundle.manifest.components:
        if name not in RESOURCES:
            raise CompileError(
                f"{name} is nothing that Core ML packages are made of; they are made of "
                f"{', '.join(RESOURCES)}."
            )
