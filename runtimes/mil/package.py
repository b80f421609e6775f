"""Opens a `.mlpackage`: a folder with a manifest, the model file and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtimes.bundle_paths import is_inside
from runtimes.errors import BundleError
from runtimes.mil.blob_file import BlobFile
from runtimes.mil.decode import decode_model
from runtimes.mil.program import Argument, BlobReference, Model, Value
from runtimes.mil.values import Array
from runtimes.mil.wire import WireError

MANIFEST_NAME = "Manifest.json"
_MODEL_FOLDER = "@model_path/"
"""How a program calls the folder that its model file lies in."""


class _Item(msgspec.Struct):
    path: str


class _Manifest(msgspec.Struct, rename="camel"):
    item_info_entries: dict[str, _Item]
    root_model_identifier: str


@dataclass(frozen=True)
class Package:
    """An open package.

    Attributes:
        folder: the package.
        path: of its model file.
        model: what that says.
        blobs: the weight files by the names that the program has for them, mapped.
    """

    folder: Path
    path: Path
    model: Model
    blobs: Mapping[str, BlobFile]

    def read(self, value: Value) -> Array | str | tuple[str, ...]:
        """A constant in its stored dtype.

        Raises:
            BundleError: the weight file doesn't hold it.
        """
        if isinstance(value.data, BlobReference):
            return self.blobs[value.data.file].read(value.data.offset, value.type)
        return value.data


def open_package(folder: Path) -> Package:
    """Opens a package, and checks that its weight files hold what its program refers to.

    Raises:
        BundleError: it is no ML Program's package, or a file of it is missing, cut off or altered.
    """
    path = _model_path(folder)
    try:
        model = decode_model(path.read_bytes())
    except OSError as e:
        raise BundleError(f"{path} can't be read: {e.strerror}. Make the package again.") from e
    except WireError as e:
        raise BundleError(f"{path} can't be taken: {e}. Make the package again.") from e
    references = [value for value in _constants(model) if isinstance(value.data, BlobReference)]
    blobs: dict[str, BlobFile] = {}
    for value in references:
        assert isinstance(value.data, BlobReference)
        name = value.data.file
        if name not in blobs:
            blobs[name] = BlobFile.open(_weight_path(path, name))
        blobs[name].check(value.data.offset, value.type)
    return Package(folder, path, model, blobs)


def package_folder(model_path: Path) -> Path:
    """The package that a model file lies in.

    Raises:
        BundleError: there is none.
    """
    for parent in model_path.parents:
        if (parent / MANIFEST_NAME).is_file():
            return parent
    raise BundleError(f"{model_path} lies in no package: no {MANIFEST_NAME} is above it.")


def _model_path(folder: Path) -> Path:
    path = folder / MANIFEST_NAME
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except OSError as e:
        raise BundleError(
            f"{folder} is no Core ML package: {MANIFEST_NAME} can't be read: {e.strerror}."
        ) from e
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise BundleError(f"{path} is no package's manifest: {e}.") from e
    root = manifest.item_info_entries.get(manifest.root_model_identifier)
    if root is None or not is_inside(root.path):
        raise BundleError(f"{path} names no model file. Make the package again.")
    return folder / "Data" / root.path


def _weight_path(model_path: Path, name: str) -> Path:
    rest = name.removeprefix(_MODEL_FOLDER)
    if rest == name or not is_inside(rest):
        raise BundleError(f"{model_path}: its weights lie in {name!r}, outside of the package.")
    return model_path.parent / rest


def _constants(model: Model) -> list[Value]:
    found: list[Value] = []
    for function in model.functions.values():
        for operation in function.block.operations:
            found += operation.attributes.values()
            arguments: list[Argument] = list(operation.inputs.values())
            found += [one for bound in arguments for one in bound if isinstance(one, Value)]
    return found
