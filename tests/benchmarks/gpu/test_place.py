"""Commands of the checks: what they are given, and how a failure is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.gpu.place import CommandError, Place


def place(tmp_path: Path, device: str = "cuda:0") -> Place:
    return Place(tmp_path, device, tmp_path / "source", 5, 2.0, 1, 2, 0.5)


def test_output_is_given_and_what_failed_is_told(tmp_path: Path) -> None:
    here = place(tmp_path)
    assert here.python("-c", "import sys; print(7); print('aside', file=sys.stderr)") == "7\n"
    assert "aside" in (tmp_path / "log.txt").read_text()
    with pytest.raises(CommandError, match=r"^python -c .*: no such thing$"):
        here.python("-c", "import sys; print('first', file=sys.stderr); sys.exit('no such thing')")
    with pytest.raises(CommandError, match="exit status 3"):
        here.python("-c", "raise SystemExit(3)")
    with pytest.raises(CommandError, match="No such command 'nothing'"):
        here.latedge("nothing")


def test_bundles_and_pictures_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)

    def latedge(self: Place, *arguments: object) -> str:
        words = tuple(map(str, arguments))
        ran.append(words)
        if words[0] == "generate":
            Image.fromarray(pixels).save(words[-1])
        return json.dumps({"origin": {"device": "cuda:0"}, "timings_ms": {"unet": [9, 1, 2]}})

    monkeypatch.setattr(Place, "latedge", latedge)
    here = place(tmp_path)
    assert here.kind == "cuda"
    bundle = here.bundle("onnxruntime", "fp32")
    assert here.bundle("onnxruntime", "fp32") == bundle
    assert here.bundle("onnxruntime", "fp16") != bundle
    drawn = here.draw(bundle, "cuda:0")
    assert here.draw(bundle, "cuda:0") is drawn
    assert here.draw(bundle, "cuda:0", "reference") is not drawn
    assert (drawn.device, drawn.unet_ms) == ("cuda:0", 2.0)
    np.testing.assert_allclose(drawn.picture, pixels / 255, rtol=1e-6)
    assert [words[0] for words in ran] == ["export", "compile", "compile", "generate", "generate"]
    assert ran[1][ran[1].index("--precision") + 1] == "fp32"
    assert ran[3][ran[3].index("--device") + 1] == "cuda:0"
