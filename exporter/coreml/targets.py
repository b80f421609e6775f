"""Deployment targets: the oldest systems that shall open a package, and what newer ones gain.

A package for iOS 17 is one for macOS 14 too: both systems have the same Core ML. What such a Core
ML knows is a version of its file format, coremltools' "specification version".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runtimes.errors import UsageError, unknown_name


@dataclass(frozen=True, order=True)
class Deployment:
    """A generation of systems; later ones are greater.

    Attributes:
        specification: version of the file format.
        ios: its iOS, and iPadOS.
        macos: its macOS.
        gains: what its packages can have that those of the generation before can't.
    """

    specification: int
    ios: str = field(compare=False)
    macos: str = field(compare=False)
    gains: str = field(compare=False)

    def __str__(self) -> str:
        """Both systems, as `check_target` takes either."""
        return f"{self.ios}/{self.macos}"

    @property
    def sdk(self) -> Any:
        """What coremltools calls it, a `coremltools.target`."""
        import coremltools

        return coremltools.target[self.ios]

    def require(self, since: str, what: str) -> None:
        """Refuses what only later systems can do.

        Args:
            since: the first system that can, such as "iOS18".
            what: what is asked, as the subject of a sentence: "several sizes in one package".

        Raises:
            UsageError: this is an earlier generation.
        """
        needed = check_target(since)
        if self < needed:
            raise UsageError(
                f"{what}: Core ML has it from {needed} on, and the deployment target is {self}. "
                f"Ask for --deployment-target {needed.ios}, or do without."
            )


DEPLOYMENTS = (
    Deployment(
        7,
        "iOS16",
        "macOS13",
        "half-precision inputs and outputs; weights as palettes of up to 8 bits, and as int8",
    ),
    Deployment(
        8,
        "iOS17",
        "macOS14",
        "int8 activations beside int8 weights; the first that Apple's Swift package runs SDXL on",
    ),
    Deployment(
        9,
        "iOS18",
        "macOS15",
        "attention as one operator; int4 weights by blocks; a palette for each group of channels; "
        "several sizes in one package, over the same weights",
    ),
    Deployment(
        10,
        "iOS26",
        "macOS26",
        "int8 inputs and outputs, which these networks have none of: nothing beyond iOS18",
    ),
)
"""Oldest first. Packages for later systems than a device's own don't open there."""


def target_names() -> tuple[str, ...]:
    """What `--deployment-target` may be."""
    return (*(each.ios for each in DEPLOYMENTS), *(each.macos for each in DEPLOYMENTS))


def check_target(name: str) -> Deployment:
    """The generation of a system such as "iOS17" or "macOS14".

    Raises:
        UsageError: no such system; lists the known ones and the closest.
    """
    for deployment in DEPLOYMENTS:
        if name in (deployment.ios, deployment.macos):
            return deployment
    raise unknown_name("deployment target", name, target_names())
