"""`latedge` as a module and as a command, each in an interpreter of its own."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import latedge
from runtimes.version import VERSION

REPOSITORY = Path(__file__).resolve().parents[2]

HEAVY = {"torch", "diffusers", "transformers", "onnx", "onnxruntime", "openvino", "scipy"}


def python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_public_names_are_there() -> None:
    for name in latedge.__all__:
        if name not in {"compile", "export", "verify"}:
            assert getattr(latedge, name) is not None, name


@pytest.mark.parametrize("name", ["compile", "export", "verify"])
def test_verbs_of_the_exporter_are_where_they_are_looked_for(name: str) -> None:
    # Read, not imported: torch takes seconds.
    assert latedge._HOMES[name] == f"exporter.{name}"  # pyright: ignore[reportPrivateUsage]
    tree = ast.parse((REPOSITORY / f"exporter/{name}.py").read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_public_names_are_listed() -> None:
    assert set(latedge.__all__) <= set(dir(latedge))
    assert latedge.__version__ == VERSION


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="module 'latedge' has no attribute 'Pipelin'"):
        _ = latedge.Pipelin  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]


GENERATE = """
import json, sys
import latedge
from runtimes.engine import ENGINES
before = sorted(sys.modules)
ENGINES["fake"] = "tests.runtimes.fakes:FakeEngine"
pipe = latedge.Pipeline.open(sys.argv[1])
result = pipe("a red circle", seed=0)
result.save(sys.argv[2])
names = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([before, names, list(result.latents.shape)]))
"""


def test_pictures_are_made_without_torch(fake_bundle: Callable[..., Path], tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    before, after, shape = json.loads(python(GENERATE, str(fake_bundle()), str(picture)))
    assert shape == [1, 4, 4, 3]
    assert picture.stat().st_size > 100
    assert "PIL" in after
    assert HEAVY & set(after) == set()
    assert "PIL" not in before
    assert "runtimes.pipeline" not in before


def test_help_of_every_verb_needs_no_torch() -> None:
    code = (
        "import sys\n"
        f"for name in {HEAVY!r}: sys.modules[name] = None\n"
        "import latedge\n"
        "for verb in ([], *([verb] for verb in latedge.VERBS)):\n"
        "    assert latedge.main([*verb, '--help']) == 0, verb\n"
    )
    shown = python(code)
    for verb in ("[OPTIONS]", *latedge.VERBS):
        assert f"Usage: latedge {verb} " in shown, verb


def test_every_verb_has_a_docstring() -> None:
    for place in latedge.VERBS.values():
        module, _, function = place.partition(":")
        assert getattr(importlib.import_module(module), function).__doc__, place


def test_module_runs() -> None:
    command = [sys.executable, "-m", "latedge", "--version"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"latedge {VERSION}\n"


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert latedge.main([]) == 0
    assert "Usage: latedge [OPTIONS] COMMAND" in capsys.readouterr().out


def test_unknown_verbs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert latedge.main(["genrate"]) == 2
    line = "error: No such command 'genrate'. Did you mean 'generate'? See: latedge --help\n"
    assert capsys.readouterr().err == line


def test_a_missing_package_is_told_with_the_command_that_installs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    assert latedge.main(["export", str(tmp_path), "-o", str(tmp_path / "x")]) == 1
    line = 'error: onnx_ir is not installed: pip install "latedge[export]"\n'
    assert capsys.readouterr().err == line


def test_importing_is_quick() -> None:
    code = (
        "import numpy, time\n"
        "start = time.perf_counter()\n"
        "import latedge\n"
        "print(time.perf_counter() - start)"
    )
    # The bound is 0.2 s; 0.003 s are usual. The best of three, since tests run beside others.
    assert any(float(python(code)) < 0.2 for _ in range(3))
