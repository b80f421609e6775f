"""What keeps the project the same on Windows, macOS, ARM and big-endian machines."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtimes.engines.sdk import import_sdk
from runtimes.errors import EngineError

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("runtimes", "exporter", "benchmarks", "scripts")


def sources() -> list[str]:
    files = [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py")]
    return sorted(p.relative_to(REPOSITORY).as_posix() for p in (REPOSITORY / "latedge.py", *files))


def careless(source: str) -> Iterator[str]:
    """Calls whose text depends on the system: its encoding, or its line ends."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        given = {keyword.arg for keyword in node.keywords}
        if name == "write_text" and not {"encoding", "newline"} <= given:
            yield f"line {node.lineno}: write_text without encoding or newline"
        if name == "read_text" and "encoding" not in given:
            yield f"line {node.lineno}: read_text without encoding"
        if name in ("open", "fdopen") and text_mode(node) and "encoding" not in given:
            yield f"line {node.lineno}: {name} in text mode without encoding"


def text_mode(call: ast.Call) -> bool:
    """Whether a call opens a file as text: its mode is a literal without "b"."""
    literals = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    modes = [text for text in literals if isinstance(text, str) and 0 < len(text) <= 3]
    return any(set(mode) <= set("rwaxt+") for mode in modes)


@pytest.mark.parametrize("file", sources())
def test_text_is_read_and_written_alike_everywhere(file: str) -> None:
    assert list(careless((REPOSITORY / file).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "p.write_text('x', encoding='utf-8')",
        "p.write_text('x', newline='\\n')",
        "p.read_text()",
        "open(p, 'w')",
        "p.open('r')",
        "os.fdopen(f, 'a+')",
    ],
)
def test_careless_calls_are_seen(source: str) -> None:
    assert len(list(careless(source))) == 1


@pytest.mark.parametrize("source", ["p.open('rb')", "p.write_bytes(b'')", "C.open(folder)"])
def test_careful_calls_pass(source: str) -> None:
    assert list(careless(source)) == []


def test_no_source_has_windows_line_ends() -> None:
    suffixes = {".py", ".json", ".md", ".toml", ".txt", ".yaml"}
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    names = [name for name in listed.stdout.split("\0") if Path(name).suffix in suffixes]
    if listed.returncode:  # an unpacked source distribution
        names = sources()
    assert len(names) > 100
    assert [name for name in names if b"\r" in (REPOSITORY / name).read_bytes()] == []


def test_checkouts_keep_line_ends_and_leave_weights_alone() -> None:
    lines = (REPOSITORY / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "* text=auto eol=lf"
    assert "*.safetensors binary" in lines


def test_wheel_holds_no_machine_code() -> None:
    """What would make the wheel more than py3-none-any: a build hook, or a compiled file."""
    compiled = {".so", ".pyd", ".dll", ".dylib", ".c", ".cpp", ".pyx", ".rs"}
    found = [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*")]
    assert [path for path in found if path.suffix in compiled] == []
    assert "hooks" not in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def test_big_endian_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(EngineError, match=r"stores numbers big-endian.*little-endian machine"):
        import_sdk("onnxruntime", "onnxruntime")
