"""Who may import what: a runtime without torch, engines without each other, no import too early."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

TORCH_SIDE = frozenset(
    {"torch", "torchvision", "diffusers", "transformers", "accelerate", "tokenizers", "regex"}
    | {"onnx", "onnx_ir", "onnxscript", "ml_dtypes", "sympy", "scipy"}
    | {"safetensors", "huggingface_hub"}
)
SDKS = frozenset({"onnxruntime", "openvino", "nncf", "tensorrt", "tensorrt_rtx", "coremltools"})
CONVENIENCES = frozenset({"PIL", "rich", "typer"})
"""Base dependencies that `import latedge` leaves alone too: each is imported on use."""

SDK_FILES: dict[str, frozenset[str]] = {
    "coremltools": frozenset(
        {
            "runtimes/engines/coreml.py",
            "exporter/coreml/compress/emit.py",
            "exporter/coreml/convert.py",
            "exporter/coreml/job.py",
            "exporter/coreml/lower/rules.py",
            "exporter/coreml/package.py",
            "exporter/coreml/targets.py",
        }
    ),
    "onnxruntime": frozenset(
        {"runtimes/engines/ort.py", "benchmarks/peers/workers/diffusers_pipelines.py"}
    ),
    "openvino": frozenset(
        {
            "runtimes/engines/ov.py",
            "exporter/targets/ov.py",
            "exporter/targets/genai.py",
            "exporter/probes/ov.py",
            "benchmarks/bench/limits/ov_graph.py",
            "benchmarks/interop/draw_genai.py",
        }
    ),
}
"""SDK → its engine, target and probe files, which alone import it, what counts its graphs, and what
runs a peer on it."""

TORCH_FILES = frozenset(
    {
        "benchmarks/bench/draw_reference.py",
        "benchmarks/bench/torch_subject.py",
        "benchmarks/bench/limits/onnx_graph.py",
        "benchmarks/bench/limits/onnx_sizes.py",
        "benchmarks/interop/draw_diffusers.py",
        "benchmarks/peers/workers/diffusers_pipelines.py",
        "benchmarks/planted_faults.py",
        "benchmarks/samplers/double.py",
        "benchmarks/samplers/ieee_functions.py",
        "benchmarks/samplers/reference.py",
        "benchmarks/shapes/export.py",
        "benchmarks/shapes/latent_cache.py",
        "benchmarks/shapes/latent_scale.py",
        "benchmarks/shapes/networks.py",
        "benchmarks/shapes/painters.py",
        "benchmarks/shapes/picture_tensors.py",
        "benchmarks/shapes/train.py",
        "benchmarks/shapes/train_diffusion.py",
        "benchmarks/shapes/train_vae.py",
        "benchmarks/shapes/training.py",
        "benchmarks/shapes/training_loop.py",
        "benchmarks/synthetic/folder.py",
        "benchmarks/synthetic/networks.py",
    }
)
"""Outside exporter/, the files that import torch & co: training, references, altered graphs, and
what reads ONNX graphs, with onnx alone."""

FORBIDDEN_PACKAGES: dict[str, frozenset[str]] = {
    "runtimes": frozenset({"exporter", "benchmarks", "latedge", "tests", "scripts"}),
    "exporter": frozenset({"benchmarks", "latedge", "tests", "scripts"}),
    "benchmarks": frozenset({"tests", "scripts"}),
}
"""Package → the parts of the project that none of its files imports."""

IMPORTERS = frozenset({"__import__", "import_module", "import_sdk"})
"""Functions that import what their first argument names."""

COMMAND_LINE_ALONE = frozenset({"rich", "typer"})
COMMAND_LINE_FILES = frozenset(
    {
        "runtimes/clean_exit.py",
        "runtimes/generate_command.py",
        "runtimes/inspection_table.py",
    }
)
"""The files of the runtime that import them."""


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Lines and full names of all imports of a source, those within functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            assert node.module is not None
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and called(node) in IMPORTERS:
            match node.args:
                case [ast.Constant(value=str(name)), *_]:
                    yield node.lineno, name
                case _:  # a name from a table, such as a registry's
                    pass


def called(node: ast.Call) -> str | None:
    """The last part of the name of the function that a call calls."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return None


def violations(file: str, source: str) -> list[str]:
    """What a file of the project imports though it may not, as `file:line imports name`."""
    package = file.split("/")[0].removesuffix(".py")
    return [
        f"{file}:{line} imports {name}"
        for line, name in imported(source)
        if not allowed(file, package, name.split(".")[0])
    ]


def allowed(file: str, package: str, name: str) -> bool:
    """Whether a file may import a package of that name."""
    if name in FORBIDDEN_PACKAGES.get(package, ()):
        return False
    if name in SDKS:
        return file in SDK_FILES.get(name, ())
    if name in TORCH_SIDE:
        return package == "exporter" or file in TORCH_FILES
    if name in COMMAND_LINE_ALONE and package == "runtimes":
        return file in COMMAND_LINE_FILES
    return True


def project_files() -> list[str]:
    """The Python files that ship, relative to the repository."""
    folders = ("runtimes", "exporter", "benchmarks")
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    return sorted(p.relative_to(REPOSITORY).as_posix() for p in (REPOSITORY / "latedge.py", *files))


@pytest.mark.parametrize("file", project_files())
def test_imports_stay_within_bounds(file: str) -> None:
    assert violations(file, (REPOSITORY / file).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("latedge.py", "import torch"),
        ("runtimes/pipeline.py", "from torch.nn import Module"),
        ("runtimes/pipeline.py", "def f():\n    import exporter.export"),
        ("runtimes/pipeline.py", "from benchmarks.synthetic import synthesize"),
        ("runtimes/pipeline.py", "import onnxruntime"),
        ("runtimes/pipeline.py", "from rich.progress import Progress"),
        ("runtimes/engines/ort.py", "import openvino as ov"),
        ("runtimes/engines/ort.py", "import onnx"),
        ("runtimes/engines/ort.py", "import_sdk('openvino', 'openvino')"),
        ("runtimes/pipeline.py", "importlib.import_module('torch.nn')"),
        ("exporter/verify.py", "import onnxruntime as ort"),
        ("exporter/export.py", "if TYPE_CHECKING:\n    import benchmarks.shapes"),
        ("benchmarks/import_time.py", "import torch"),
        ("benchmarks/import_time.py", "from tests.conftest import REPOSITORY"),
    ],
)
def test_each_bound_is_checked(file: str, source: str) -> None:
    assert len(violations(file, source)) == 1


@pytest.mark.parametrize("file", sorted(TORCH_FILES.union(*SDK_FILES.values())))
def test_exceptions_are_in_use(file: str) -> None:
    names = {name.split(".")[0] for _, name in imported((REPOSITORY / file).read_text("utf-8"))}
    assert names & (TORCH_SIDE | SDKS), f"{file} needs no exception"


RUN = """
import importlib, json, pkgutil, sys
{code}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""

EVERY_RUNTIME_MODULE = """
import latedge, runtimes
for found in pkgutil.walk_packages(runtimes.__path__, "runtimes."):
    importlib.import_module(found.name)
assert "runtimes.engines.ort" in sys.modules and "runtimes.samplers.euler" in sys.modules
"""


def loaded_after(code: str) -> frozenset[str]:
    """Top-level names in `sys.modules` of a fresh interpreter that ran `code`."""
    command = [sys.executable, "-c", RUN.format(code=code)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return frozenset(json.loads(result.stdout.splitlines()[-1]))


def test_probe_sees_what_is_loaded() -> None:
    assert {"msgspec", "numpy"} <= loaded_after("import numpy, msgspec")


def test_runtime_loads_neither_torch_nor_an_engine() -> None:
    assert loaded_after(EVERY_RUNTIME_MODULE) & (TORCH_SIDE | SDKS) == set()


def test_importing_latedge_loads_nothing_heavy() -> None:
    loaded = loaded_after("import latedge")
    assert loaded & (TORCH_SIDE | SDKS | CONVENIENCES | {"exporter", "benchmarks"}) == set()


def test_importing_pipeline_loads_nothing_heavy() -> None:
    loaded = loaded_after("from latedge import Pipeline")
    assert "numpy" in loaded
    assert loaded & (TORCH_SIDE | SDKS | {"rich", "typer", "exporter", "benchmarks"}) == set()


@pytest.mark.parametrize("code", ["import exporter", "import exporter.targets as t; t.TARGETS"])
def test_listing_targets_imports_no_sdk(code: str) -> None:
    assert loaded_after(code) & (SDKS | {"torch", "diffusers", "transformers"}) == set()


HELP = """
import contextlib, latedge
sys.argv = ["latedge", {arguments}]
with contextlib.suppress(SystemExit):
    latedge.main()
"""


@pytest.mark.parametrize("arguments", ['"--help"', '"export", "--help"', '"generate", "--help"'])
def test_help_loads_neither_torch_nor_an_engine(arguments: str) -> None:
    loaded = loaded_after(HELP.format(arguments=arguments))
    assert "typer" in loaded
    assert loaded & (SDKS | {"torch", "diffusers", "transformers"}) == set()
