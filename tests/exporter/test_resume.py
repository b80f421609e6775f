"""Interrupted exports, compilations and verifications go on, and end in the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

import exporter.export as export_module
import exporter.verify as verify_module
from exporter.compile import compile
from exporter.components.base import Component, Config
from exporter.errors import VerificationError
from exporter.export import export
from exporter.report import ComponentReport, Report
from exporter.targets import Compiled, load_target
from exporter.verify import verify, verify_component
from exporter.weights import Planned, stream
from runtimes.bundle import cache_folder, open_bundle

Export = Callable[[str], Path]
REPOSITORY = Path(__file__).resolve().parents[2]
COMPONENTS = ("text_encoder", "vae_encoder")
TAKEN = "taken from the interrupted run"

_captured: dict[str, ir.Model] = {}


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The components that are captured. A network is really captured once and then copied."""
    asked: list[str] = []
    capture, apply = export_module.capture, export_module.apply

    def capture_once(component: Component, config: Config) -> ir.Model:
        asked.append(component.name)
        key = f"{component.name} {json.dumps(dict(config), sort_keys=True)}"
        if key not in _captured:
            _captured[key] = apply(capture(component, config), export_module.PORTABLE)
        return _captured[key].clone()

    monkeypatch.setattr(export_module, "capture", capture_once)
    monkeypatch.setattr(export_module, "apply", lambda model, _passes: model)
    return asked


def _bytes(bundle: Path) -> dict[str, bytes]:
    """All files, the verification's without the seconds that it took."""
    found = {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file()
    }
    if raw := found.get("verification.json"):
        found["verification.json"] = json.dumps(_figures(json.loads(raw))).encode()
    return found


def _figures(report: Mapping[str, Any]) -> dict[str, Any]:
    seconds = ("seconds_reference", "seconds_engine")
    return {
        name: {key: value for key, value in result.items() if key not in seconds}
        for name, result in report["components"].items()
    }


class Killed(BaseException):
    """Ends a run as Ctrl-C does."""


def _kill_in_second_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def streamed(path: Path, plan: Mapping[str, Planned]) -> str:
        calls.append(path)

        def tell(_size: int) -> None:
            if len(calls) == 2 and path.stat().st_size > 100_000:
                raise Killed

        return stream(path, plan, tell)

    monkeypatch.setattr(export_module, "stream", streamed)


def _kill_before_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(export_module, "write_manifest", kill)


def _kill_in_second_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(folder: Path, manifest: Any, name: str, *rest: Any, **given: Any) -> Any:
        if name == COMPONENTS[1]:
            raise Killed
        return verify_component(folder, manifest, name, *rest, **given)

    monkeypatch.setattr(verify_module, "verify_component", kill)


@pytest.mark.parametrize(
    ("kill", "taken"),
    [
        (_kill_in_second_stream, ["text_encoder"]),
        (_kill_in_second_verification, [*COMPONENTS, "text_encoder, verification"]),
        (
            _kill_before_manifest,
            [*COMPONENTS, "text_encoder, verification", "vae_encoder, verification"],
        ),
    ],
)
def test_export_goes_on_to_the_same_bytes(
    tiny_sd15: Path,
    tmp_path: Path,
    captures: list[str],
    kill: Callable[[pytest.MonkeyPatch], None],
    taken: list[str],
) -> None:
    export(tiny_sd15, tmp_path / "undisturbed", components=COMPONENTS)
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        kill(patch)
        with pytest.raises(Killed):
            export(tiny_sd15, out, components=COMPONENTS)
    assert not out.exists()
    captures.clear()
    lines: list[str] = []
    export(tiny_sd15, out, components=COMPONENTS, progress=lines.append)
    assert [line for line in lines if TAKEN in line] == [f"{name}: {TAKEN}" for name in taken]
    assert captures == [name for name in COMPONENTS if name not in taken]
    assert _bytes(out) == _bytes(tmp_path / "undisturbed")
    assert open_bundle(out, full=True)
    assert sorted(os.listdir(tmp_path)) == ["out", "undisturbed"]


@pytest.fixture
def interrupted(
    tiny_sd15: Path, tmp_path: Path, captures: list[str]
) -> Callable[[], tuple[Path, Path]]:
    """Makes a source of its own and an export of it that was stopped before its manifest."""

    def make() -> tuple[Path, Path]:
        source, out = tmp_path / "source", tmp_path / "out"
        shutil.copytree(tiny_sd15, source)
        with pytest.MonkeyPatch.context() as patch:
            _kill_before_manifest(patch)
            with pytest.raises(Killed):
                export(source, out, components=COMPONENTS, verify="none")
        captures.clear()
        return source, out

    return make


def _flip_last_bit(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))


def _other_weights(source: Path, _out: Path) -> dict[str, object]:
    _flip_last_bit(source / "text_encoder" / "model.safetensors")
    return {}


def _other_scheduler(source: Path, _out: Path) -> dict[str, object]:
    path = source / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("{", '{"_note": 1, ', 1))
    return {}


def _altered_leftover(_source: Path, out: Path) -> dict[str, object]:
    _flip_last_bit(out.with_name(".out.partial") / "bundle" / "text_encoder" / "model.safetensors")
    return {}


def _other_dtype(_source: Path, _out: Path) -> dict[str, object]:
    return {"dtype": "fp32"}


def _force(_source: Path, _out: Path) -> dict[str, object]:
    return {"force": True}


@pytest.mark.parametrize(
    "change", [_other_weights, _other_scheduler, _altered_leftover, _other_dtype, _force]
)
def test_what_may_differ_is_exported_anew(
    tmp_path: Path,
    captures: list[str],
    interrupted: Callable[[], tuple[Path, Path]],
    change: Callable[[Path, Path], dict[str, object]],
) -> None:
    source, out = interrupted()
    options: dict[str, Any] = {"components": COMPONENTS, "verify": "none", **change(source, out)}
    export(source, out, **options)
    assert captures == list(COMPONENTS)
    export(source, tmp_path / "undisturbed", **options)
    assert _bytes(out) == _bytes(tmp_path / "undisturbed")


def test_what_is_the_same_is_taken_whether_verified_or_not(
    captures: list[str], interrupted: Callable[[], tuple[Path, Path]]
) -> None:
    source, out = interrupted()
    shutil.move(source, source.with_name("moved"))
    export(source.with_name("moved"), out, components=COMPONENTS)
    assert captures == []
    assert (out / "verification.json").is_file()


def test_failed_verification_clears_what_was_finished(
    tiny_sd15: Path, tmp_path: Path, captures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_report: Report) -> None:
        raise VerificationError("departs")

    monkeypatch.setattr("exporter.report.require_parity", fail)
    with pytest.raises(VerificationError):
        export(tiny_sd15, tmp_path / "out", components=("text_encoder",))
    assert captures == ["text_encoder"]
    assert os.listdir(tmp_path) == []


def _compile_until(
    stop: str | None, source: Path, out: Path, target: str, **options: Any
) -> tuple[list[str], list[str]]:
    """Compiles and stops within a component; returns those that were compiled, and what is told."""
    compiled: list[str] = []
    lines: list[str] = []
    target_class = type(load_target(target))
    compile_component = target_class.compile

    def compile_and_note(self: Any, bundle: Any, name: str, folder: Path, **rest: Any) -> Compiled:
        if name == stop:
            (folder / name / "half").write_text("")
            raise Killed
        compiled.append(name)
        return compile_component(self, bundle, name, folder, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target_class, "compile", compile_and_note)
        end = pytest.raises(Killed) if stop is not None else nullcontext()
        with end:
            compile(source, out, target=target, progress=lines.append, **options)
    assert out.exists() == (stop is None)
    return compiled, lines


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_compile_goes_on_to_the_same_bytes(exported: Export, tmp_path: Path, target: str) -> None:
    source, out = exported("tiny-sd15"), tmp_path / "out"
    compile(source, tmp_path / "undisturbed", target=target)
    assert _compile_until("unet", source, out, target)[0] == ["text_encoder"]
    assert _compile_until("vae_encoder", source, out, target)[0] == ["unet", "vae_decoder"]
    compiled, lines = _compile_until(None, source, out, target)
    assert compiled == ["vae_encoder"]
    assert lines[:3] == [f"{name}: {TAKEN}" for name in ("text_encoder", "unet", "vae_decoder")]
    assert _bytes(out) == _bytes(tmp_path / "undisturbed")
    assert sorted(os.listdir(tmp_path)) == ["out", "undisturbed"]


@pytest.mark.parametrize(
    "options", [{"precision": "fp32"}, {"height": 64, "width": 64}, {"batch": 1}, {"force": True}]
)
def test_compile_with_other_options_starts_afresh(
    exported: Export, tmp_path: Path, options: dict[str, Any]
) -> None:
    source, out = exported("tiny-sd15"), tmp_path / "out"
    assert _compile_until("unet", source, out, "openvino")[0] == ["text_encoder"]
    compiled, _ = _compile_until("vae_decoder", source, out, "openvino", **options)
    assert compiled == ["text_encoder", "unet"]


HANG = """
import sys, time
import exporter.compile, latedge
def hang(*_):
    print("hangs", file=sys.stderr, flush=True)
    time.sleep(600)
exporter.compile.list_files = hang
raise SystemExit(latedge.main(sys.argv[1:]))
"""
"""The command line, which stands still once all components are compiled."""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_killed_processes_are_gone_on_from(exported: Export, tmp_path: Path) -> None:
    source, out = exported("tiny-sd15"), tmp_path / "out"
    arguments = ["compile", str(source), "--target", "openvino", "-o", str(out)]
    kept = "error: interrupted; what is finished is kept: run the same again, without --force, "
    told = {signal.SIGKILL: "", signal.SIGTERM: "", signal.SIGINT: f"{kept}to go on from there.\n"}
    for number, (kind, last) in enumerate(told.items()):
        process = subprocess.Popen(
            [sys.executable, "-c", HANG, *arguments],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        lines = list(iter(process.stderr.readline, "hangs\n"))
        finished = [line for line in lines if "compiled for" in line or TAKEN in line]
        assert len(finished) == 4, lines
        assert [line for line in lines if TAKEN in line] == (lines if number else [])
        process.send_signal(kind)
        assert process.communicate()[1] == last
        assert process.returncode == (1 if last else -kind)
        assert not out.exists()
    compile(source, out, target="openvino")
    compile(source, tmp_path / "undisturbed", target="openvino")
    assert _bytes(out) == _bytes(tmp_path / "undisturbed")
    assert sorted(os.listdir(tmp_path)) == ["out", "undisturbed"]


def test_verification_goes_on_with_the_same_figures(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = exported("tiny-sd15")
    undisturbed = verify(bundle)
    for stop, compared in (("unet", ["text_encoder"]), ("vae_encoder", ["unet", "vae_decoder"])):
        assert _verify_until(bundle, stop, monkeypatch) == compared
    lines: list[str] = []
    monkeypatch.setattr(verify_module, "verify_component", verify_component)
    report = verify(bundle, progress=lines.append)
    taken = [f"{name}, verification: {TAKEN}" for name in ("text_encoder", "unet", "vae_decoder")]
    assert lines[:3] == taken
    assert lines[3].startswith("vae_encoder: verifying it takes about ")
    assert lines[4] == "vae_encoder: running torch for reference"
    for name, result in report.components.items():
        assert result.outputs == undisturbed.components[name].outputs, name
    assert os.listdir(cache_folder() / "verify") == []


def test_verification_starts_afresh_with_force(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = exported("tiny-sd15")
    assert _verify_until(bundle, "unet", monkeypatch) == ["text_encoder"]
    assert _verify_until(bundle, "unet", monkeypatch, force=True) == ["text_encoder"]
    shutil.rmtree(cache_folder() / "verify")


def _verify_until(
    bundle: Path, stop: str, monkeypatch: pytest.MonkeyPatch, *, force: bool = False
) -> list[str]:
    """Verifies and stops before a component; returns those that were compared."""
    compared: list[str] = []

    def verify_and_note(
        folder: Path, manifest: Any, name: str, *rest: Any, **given: Any
    ) -> tuple[ComponentReport, Any]:
        if name == stop:
            raise Killed
        compared.append(name)
        return verify_component(folder, manifest, name, *rest, **given)

    monkeypatch.setattr(verify_module, "verify_component", verify_and_note)
    with pytest.raises(Killed):
        verify(bundle, force=force)
    return compared
