"""What the result of a verb depends on: content of its source, options, versions.

Two runs of the same fingerprint give the same bytes, so that one may go on from what the other
finished.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

import msgspec

from runtimes.bundle import HashMemory
from runtimes.version import VERSION

_TOOLS = (
    "diffusers",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "openvino",
    "openvino-tokenizers",
    "torch",
    "transformers",
)
_OWN_PACKAGES = ("exporter", "runtimes")
_ENTRY_POINTS = ("latedge.components", "latedge.engines", "latedge.targets")


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's result depends on.

    Attributes:
        verb: "export", "compile" or "verify".
        source: SHA-256 of the content that it works on, hex.
        options: those that shape the result.
        versions: of all that has a part in it, and the machine that figures come from.
    """

    verb: str
    source: str
    options: dict[str, str]
    versions: dict[str, str]

    def differences(self, other: Fingerprint) -> list[str]:
        """Names of the attributes in which two fingerprints differ."""
        names = self.__struct_fields__
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def sha256(self) -> str:
        """One hash of all of it, hex."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def fingerprint(
    verb: str, source: object, options: Mapping[str, object], sdk: str | None = None
) -> Fingerprint:
    """The fingerprint of a run.

    Args:
        verb: what is run.
        source: what it works on: any nesting of JSON's types, dataclasses and paths. Each path
            stands for the content of its file, hashed once per file identity.
        options: those that shape the result; None where one is not given.
        sdk: a package beyond the usual ones that has a part in it.

    Raises:
        BundleError, OSError: a file can't be read.
    """
    given = {name: str(value) for name, value in options.items() if value is not None}
    return Fingerprint(
        verb=verb, source=_content_sha256(source), options=given, versions=_versions(sdk)
    )


def _content_sha256(source: object) -> str:
    memory = HashMemory.open()
    known = cache(memory.sha256)  # a weight file stands behind hundreds of tensors

    def content(value: object) -> str:
        if isinstance(value, Path):
            return known(value)
        raise NotImplementedError(f"{type(value).__name__} has no content hash")

    raw = msgspec.json.encode(source, enc_hook=content, order="sorted")
    memory.save()
    return hashlib.sha256(raw).hexdigest()


def _versions(sdk: str | None) -> dict[str, str]:
    found = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()} {platform.node()}",
        "latedge": f"{VERSION} {_own_code_sha256()}",
    }
    for name in (*_TOOLS, sdk):
        try:
            found |= {name: version(name)} if name is not None else {}
        except PackageNotFoundError:
            continue
    for group in _ENTRY_POINTS:
        dists = (point.dist for point in entry_points(group=group))
        found |= {dist.name: dist.version for dist in dists if dist is not None}
    return found


@cache
def _own_code_sha256() -> str:
    """SHA-256 of the project's own code: in a clone it changes while its version stays."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for package in _OWN_PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
