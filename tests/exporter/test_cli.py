"""The exporter's verbs from the command line: what reaches the functions behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import latedge
from exporter.coreml.options import NO_OPTIONS, CoreMlOptions
from exporter.source import SourceOptions
from runtimes.bundle import open_bundle

Named = Callable[[str], Path]
Capture = pytest.CaptureFixture[str]


def test_options_of_the_source_reach_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def export(*arguments: object, **options: object) -> None:
        seen.append((arguments, options))
        raise KeyboardInterrupt

    monkeypatch.setattr("exporter.export.export", export)
    flags = "--config c --tokenizer t --vae v --text-encoder e --prediction-type epsilon"
    flags += " --revision r --text-encoder-2 e2 --tokenizer-2 t2"
    command = ["export", "org/name", "-o", "b", *flags.split()]
    assert latedge.main(command) != 0
    ((source, output), options) = seen[0]
    assert (source.as_posix(), output) == ("org/name", Path("b"))
    expected = SourceOptions(
        *(Path("c"), Path("t"), Path("v"), Path("e"), "epsilon", "r"),
        text_encoder_2=Path("e2"),
        tokenizer_2=Path("t2"),
    )
    assert options["source_options"] == expected


def test_options_of_core_ml_reach_the_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def compile(*arguments: object, **options: Any) -> None:
        seen.append({"arguments": arguments, **options})
        raise KeyboardInterrupt

    monkeypatch.setattr("exporter.compile.compile", compile)
    command = ["compile", "b", "-o", "c", "--target", "coreml"]
    assert latedge.main(command) != 0
    flags = "--deployment-target iOS18 --attention sdpa --compress int8 --sizes 64x64,8x16"
    flags += " --chunk-unet --max-memory 4GB --batch 1"
    assert latedge.main([*command, *flags.split()]) != 0
    plain, given = seen
    assert plain["arguments"] == (Path("b"), Path("c"))
    assert (plain["coreml"], plain["max_memory"]) == (NO_OPTIONS, None)
    assert given["coreml"] == CoreMlOptions(
        deployment_target="iOS18",
        attention="sdpa",
        compression="int8",
        sizes=("64x64", "8x16"),
        chunked=True,
    )
    assert (given["target"], given["max_memory"], given["batch"]) == ("coreml", 4 * 10**9, 1)


def test_checkpoint_becomes_a_bundle(checkpoint: Named, tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "bundle"
    flags = ["--component", "text_encoder", "--verify", "none", "--prediction-type", "epsilon"]
    assert latedge.main(["export", str(checkpoint("small-sd21")), "-o", str(output), *flags]) == 0
    manifest = open_bundle(output, full=True).manifest
    assert (manifest.family, manifest.prediction_type) == ("sd2", "epsilon")
    assert manifest.provenance.source_kind == "checkpoint"
    assert manifest.provenance.options["export"]["prediction-type"] == "epsilon"
    assert (manifest.defaults.height, manifest.latents.vae_factor) == (512, 8)
    assert "sd2, portable, text_encoder" in capsys.readouterr().out


def test_refused_source_is_one_line(checkpoint: Named, tmp_path: Path, capsys: Capture) -> None:
    command = ["export", str(checkpoint("small-sd21")), "-o", str(tmp_path / "b")]
    assert latedge.main([*command, "--verify", "none"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert "--prediction-type v_prediction" in shown.err
    assert latedge.main([*command, "--prediction-type", "v"]) == 2
    assert "unknown prediction type 'v'" in capsys.readouterr().err
