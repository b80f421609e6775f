"""The verb `inspect` of a bundle, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import latedge
from runtimes.manifest import Provenance

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def test_inspect_as_json(fake_bundle: Write, capsys: Capture) -> None:
    bundle = fake_bundle()
    assert latedge.main(["inspect", str(bundle), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["family"] == "sd1"
    assert found["engines"] == ["fake"]
    assert found["defaults"]["num_inference_steps"] == 4
    port = found["components"]["unet"]["graphs"]["model"]["inputs"][0]
    assert port == {
        "role": "sample",
        "name": "sample",
        "dtype": "float32",
        "shape": ["batch", 4, "height", "width"],
    }
    assert found["size_bytes"] == sum(
        path.stat().st_size for path in bundle.rglob("*.*") if path.name != "latedge.json"
    )


def test_inspect_for_people(
    fake_bundle: Write, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert latedge.main(["inspect", str(fake_bundle(batch=2))]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for text in (
        "sd1, schema 1.0",
        "text-to-image",
        "24×32, 4 steps of ddim, guidance 7.5",
        "4 channels, 8 pixels a cell, scaled by 0.5",
        "→ encoder_hidden_states float32 [2, sequence, 4]",
        "← out_sample float32 [2, 4, height, width]",
    ):
        assert text in shown.out, text


def test_inspect_tells_what_graphs_may_be_computed_in(
    fake_bundle: Write, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    bundle = fake_bundle()
    manifest = json.loads((bundle / "latedge.json").read_text())
    for name, decided in {
        "vae_decoder": {"dtype": "fp32", "reason": "range", "largest": 3.1e5, "value": "up/Add"},
        "unet": {"dtype": "fp16", "reason": "asked"},
    }.items():
        manifest["components"][name]["graphs"]["model"]["arithmetic"] = decided
    (bundle / "latedge.json").write_text(json.dumps(manifest))
    assert latedge.main(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert "vae_decoder in fp32: it reaches 310000 at up/Add" in shown
    assert "unet in fp16, as asked" in shown
    assert "text_encoder in" not in shown


def test_inspect_tells_where_a_bundle_comes_from(
    fake_bundle: Write, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    hub = Provenance(
        source_sha256="1" * 64,
        tools={},
        options={},
        source_kind="hub",
        hub_id="maker/tiny",
        revision="abc",
    )
    assert latedge.main(["inspect", str(fake_bundle(provenance=hub))]) == 0
    assert f"hub, maker/tiny at abc, SHA-256 {'1' * 64}" in capsys.readouterr().out


def test_inspect_refuses_altered_bundles(fake_bundle: Write, capsys: Capture) -> None:
    bundle = fake_bundle()
    (bundle / "unet/model.fake").write_text("TENU", encoding="utf-8")
    assert latedge.main(["inspect", str(bundle)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: {bundle}/unet/model.fake is altered")


def test_inspect_tells_chunks_functions_and_compression(
    fake_bundle: Write, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    bundle = fake_bundle(batch=2, sequence=77)
    manifest = json.loads((bundle / "latedge.json").read_text())
    graphs = manifest["components"]["unet"]["graphs"]
    plain = graphs["model"]
    plain |= {"precision": "fp16", "compression": "palette-6"}
    for port in plain["inputs"]:
        if port["role"] == "timestep":
            port["repeat"] = 2
        if port["role"] == "encoder_hidden_states":
            port["axes"] = [0, 2, -1, 1]
    graphs["model.48x24"] = {
        **plain,
        "function": "size_48x24",
        "chunks": ["vae_decoder/model.fake"],
    }
    (bundle / "latedge.json").write_text(json.dumps(manifest))
    assert latedge.main(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr().out
    rows = {row.split("│")[1].strip(): row for row in shown.splitlines() if "│ " in row}
    assert "fp16" in rows["unet"]
    assert "unet (model.48x24)" in rows
    for text in (
        "palette-6",
        "2 chunks",
        "function size_48x24",
        # As the graph has them.
        "→ timestep float32 [2]",
        "→ encoder_hidden_states float32 [2, 4, 1, 77]",
    ):
        assert text in shown, text
