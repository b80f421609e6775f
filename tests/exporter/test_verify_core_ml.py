"""The verb `verify` of Core ML bundles, over an engine that stands in for their packages.

It computes the portable graphs that the bundle was made of, under the names, dtypes and sizes that
Core ML's packages have.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

from exporter.compressed_thresholds import COMPONENTS_DB, PICTURES_DB, asked_db
from exporter.report import Report, require_parity
from exporter.targets.ort import open_lowered
from exporter.verified_engine import engine_told, verifying_device
from exporter.verify import verify
from runtimes.engine import ENGINES, Array
from runtimes.engines.contract import check_feeds
from runtimes.errors import BundleError, UsageError
from runtimes.manifest import (
    MANIFEST_NAME,
    Component,
    Graph,
    Manifest,
    Port,
    encode_manifest,
    read_manifest,
)

Export = Callable[[str], Path]

NAMES = {
    "out_sample": "noise_pred",
    "pooler_output": "pooled_outputs",
    "last_hidden_state": "last_hidden_state",
}
"""Roles of the outputs that are kept → their names."""
OTHER = (96, 64)
"""Height and width of a second size; the model's own is 64×64."""
PORTABLE = "portable.json"


class StandIn:
    """Computes a portable graph in a Core ML package's place.

    Attributes:
        devices: on which engines were loaded.
        error: added to every output.
    """

    devices: ClassVar[set[str]] = set()
    error: ClassVar[float] = 0.0
    version = "stand-in"

    def __init__(self, folder: Path, graph: Graph, *, device: str, threads: int | None) -> None:
        self.graph, self.device = graph, device
        self.devices.add(device)
        components = msgspec.json.decode((folder / PORTABLE).read_bytes(), type=Manifest).components
        self._portable = open_lowered(folder, components[graph.file.split("/")[0]].graphs["model"])

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        check_feeds(self.graph, feeds)
        dtypes = {port.role: port.dtype for port in self._portable.graph.inputs}
        by_role = {
            port.role: feeds[port.name].astype(dtypes[port.role]) for port in self.graph.inputs
        }
        roles = {port.name: port.role for port in self.graph.outputs}
        wanted = list(roles if outputs is None else outputs)
        found = self._portable(by_role, [roles[name] for name in wanted])
        return {name: np.asarray(found[roles[name]], np.float32) + self.error for name in wanted}

    def close(self) -> None:
        self._portable.close()


def as_package(graph: Graph, size: tuple[int, int], compression: str | None) -> Graph:
    """A graph as a Core ML bundle has it: renamed, of one size and batch, in half precision."""
    sizes: dict[str | int, int] = {"height": size[0] // 8, "width": size[1] // 8, "sequence": 77}
    sizes["batch"] = 2 if "unet" in graph.file else 1

    def fixed(port: Port, dtype: Any) -> Port:
        shape = tuple(sizes.get(axis, axis) for axis in port.shape)
        return msgspec.structs.replace(
            port, name=NAMES.get(port.role, f"{port.role}_in"), shape=shape, dtype=dtype
        )

    return msgspec.structs.replace(
        graph,
        inputs=tuple(
            fixed(port, "float32" if port.dtype == "int64" else "float16") for port in graph.inputs
        ),
        outputs=tuple(fixed(port, "float32") for port in graph.outputs if port.role in NAMES),
        engine="coreml",
        compression=compression,
    )


@pytest.fixture(scope="module")
def bundle(exported: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text encoder and U-Net, the latter compressed and of two sizes."""
    folder = tmp_path_factory.mktemp("core-ml") / "bundle"
    shutil.copytree(exported("tiny-sd15"), folder)
    manifest = read_manifest(folder)
    (folder / PORTABLE).write_bytes(encode_manifest(manifest))
    defaults = manifest.defaults
    own = (defaults.height, defaults.width)
    parts = {name: manifest.components[name] for name in ("text_encoder", "unet")}
    text, unet = (part.graphs["model"] for part in parts.values())
    graphs = {
        "text_encoder": {"model": as_package(text, own, None)},
        "unet": {
            "model": as_package(unet, own, "palette-6"),
            f"model.{OTHER[0]}x{OTHER[1]}": as_package(unet, OTHER, "palette-6"),
        },
    }
    components = {
        name: Component(graphs=graphs[name], recipe=part.recipe) for name, part in parts.items()
    }
    changed = msgspec.structs.replace(manifest, target="coreml", components=components)
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(changed))
    return folder


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    monkeypatch.setitem(ENGINES, "coreml", f"{__name__}:StandIn")
    monkeypatch.setattr(StandIn, "error", 0.0)
    StandIn.devices.clear()
    return StandIn


def verified(bundle: Path, **options: Any) -> tuple[Report, list[str]]:
    lines: list[str] = []
    return verify(bundle, progress=lines.append, force=True, **options), lines


def test_components_are_compared_by_roles_at_every_size(bundle: Path) -> None:
    report, lines = verified(bundle)
    require_parity(report)
    assert report.engine == "coreml, reference executor"
    assert StandIn.devices == {"reference"}
    assert list(report.components) == ["text_encoder", "unet", "unet 96x64"]
    outputs = {name: list(found.outputs) for name, found in report.components.items()}
    assert outputs == {
        "text_encoder": ["last_hidden_state", "pooled_outputs"],
        "unet": ["noise_pred"],
        "unet 96x64": ["noise_pred"],
    }
    # Inputs in half precision move them a little.
    figures = [
        found.outputs["noise_pred"].psnr_db for found in list(report.components.values())[1:]
    ]
    assert all(db is not None and 45 < db < 120 for db in figures), figures
    asked = {name: found.threshold_db for name, found in report.components.items()}
    assert asked == {"text_encoder": 45, "unet": 28, "unet 96x64": 28}
    told = "with palette-6 weights 28 dB are asked for"
    assert [line.endswith(told) for line in lines if "agrees" in line] == [False, True, True]


def test_a_departing_component_fails_and_is_not_looked_into(bundle: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(bundle, tmp_path / "alone"))
    manifest = read_manifest(alone)
    components = {"text_encoder": manifest.components["text_encoder"]}
    changed = msgspec.structs.replace(manifest, components=components)
    (alone / MANIFEST_NAME).write_bytes(encode_manifest(changed))
    StandIn.error = 1.0
    report, lines = verified(alone, device="CPU")
    assert report.engine == "coreml on cpu"
    assert StandIn.devices == {"cpu"}
    assert not any(found.passed for found in report.components.values())
    assert "text_encoder: which operation departs isn't looked for in Core ML packages" in lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"locate": True}, "--locate looks into the nodes of ONNX graphs and OpenVINO IRs; Core"),
        ({"by_layer": True}, "--layers looks into the nodes of ONNX graphs and OpenVINO IRs; Core"),
    ],
)
def test_what_looks_into_graphs_is_refused(
    bundle: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        verify(bundle, **options)
    assert not StandIn.devices


def test_devices_and_how_they_are_told(exported: Export, bundle: Path) -> None:
    portable, core_ml = (read_manifest(path) for path in (exported("tiny-sd15"), bundle))
    with pytest.raises(UsageError, match="--device gpu is said of a compiled bundle, and this one"):
        verify(exported("tiny-sd15"), device="gpu")
    assert engine_told(portable, verifying_device(portable)) == "onnxruntime"
    openvino = msgspec.structs.replace(portable, target="openvino")
    assert engine_told(openvino, verifying_device(openvino)) == "openvino"
    assert engine_told(openvino, verifying_device(openvino, "GPU")) == "openvino on gpu"
    told = engine_told(core_ml, verifying_device(core_ml, "reference:FP16"))
    assert told == "coreml, reference executor, fp16"


@pytest.mark.parametrize(
    ("compression", "component", "picture"),
    [
        ("palette-8", 40, 35),
        ("int8", 40, 35),
        ("palette-6", 28, 15),
        ("w8a8", 28, 15),
        ("palette-4-g16", 15, 10),
        ("int4", 15, 10),
        ("mixed-4.5", 15, 10),
        ("mixed-5.99", 15, 10),
        ("mixed-12.5", 40, 35),
        ("palette-1", 2, 0),
    ],
)
def test_compressed_weights_are_asked_for_less(
    compression: str, component: float, picture: float
) -> None:
    assert asked_db(COMPONENTS_DB, compression) == component
    assert asked_db(PICTURES_DB, compression) == picture


@pytest.mark.parametrize("compression", ["sparse", "int0", "palette-"])
def test_unknown_compression_passes_nothing(compression: str) -> None:
    with pytest.raises(BundleError, match=f"compressed as '{compression}', of which this version"):
        asked_db(COMPONENTS_DB, compression)
