"""What a VAE loses of pictures: planted losses, real halves, each refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.frequency_bands import NAMES
from benchmarks.vae_halves import Floats, Vae, open_vae
from benchmarks.vae_round_trip import Picture, main, measure, round_trip, shapes_pictures
from exporter.compile import compile


def vae(change: Callable[[Floats], Floats]) -> Vae:
    """A VAE that keeps everything but what `change` does."""
    return Vae(encode=lambda x: x, decode=change, factor=8, size=None, engine="x")


@pytest.fixture
def picture() -> Picture:
    """Noise well inside the range, so that nothing is clipped."""
    return np.random.default_rng(0).integers(60, 190, (32, 32, 3)).astype(np.uint8)


def test_nothing_is_lost_where_nothing_changes(picture: Picture) -> None:
    result = round_trip(vae(lambda x: x), "x", picture)
    assert result.lost < 1e-10
    assert result.psnr_db > 120


def test_a_moved_colour_is_lost_outside_the_bands(picture: Picture) -> None:
    result = round_trip(vae(lambda x: x + np.float32(0.02)), "x", picture)
    assert result.psnr_db == pytest.approx(40, abs=0.01)
    variance = float((picture / 255).var(axis=(0, 1)).mean())
    assert result.lost == pytest.approx(1e-4 / variance, rel=1e-3)
    assert sum(result.residual) < 1e-10


def test_a_lost_band_is_found_in_its_band(picture: Picture) -> None:
    def without_checkerboard(x: Floats) -> Floats:
        board = np.where(np.indices(x.shape[2:]).sum(axis=0) % 2, 1, -1).astype(np.float32)
        return (x - board * np.float32(0.1)).astype(np.float32)

    result = round_trip(vae(without_checkerboard), "x", picture)
    assert result.residual[-1] == pytest.approx(0.05**2, rel=1e-4)
    assert sum(result.residual[:-1]) < 1e-9
    assert sum(result.signal) == pytest.approx((picture / 255).var(axis=(0, 1)).mean(), rel=1e-5)


def test_trained_model_brings_shapes_back_alike_on_each_engine(
    shapes_bundle: Path, shapes_model: Path, tmp_path: Path
) -> None:
    compile(shapes_bundle, tmp_path / "c", target="onnxruntime", height=64, width=64)
    found = [measure(path, (), 4) for path in (shapes_bundle, tmp_path / "c", shapes_model)]
    assert [engine.split()[0] for engine, _ in found] == ["onnxruntime", "onnxruntime", "torch"]
    for _, results in found:
        assert [result.name for result in results] == ["single 0", "pair 0", "single 1", "pair 1"]
        for result, reference in zip(results, found[0][1], strict=True):
            # Equal networks: sums in another order move 35 dB by less than 0.001 dB.
            assert result.psnr_db == pytest.approx(reference.psnr_db, abs=0.01)
            assert 25 < result.psnr_db < 60


def test_command_tells_each_picture_and_cuts_it_to_size(
    shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (_, drawn), *_ = shapes_pictures(1)
    wide = np.pad(drawn, ((0, 3), (0, 7), (0, 0)), mode="edge")
    Image.fromarray(wide).save(tmp_path / "x.png")
    assert main([str(shapes_bundle), str(tmp_path / "x.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(str(tmp_path / "x.png"))
    assert lines[1] == "1 pictures through onnxruntime"
    assert [line.split("  ")[0] for line in lines[-5:]] == list(NAMES)
    assert main([str(shapes_bundle), str(tmp_path / "x.png"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with open_vae(shapes_bundle) as opened:
        expected = round_trip(opened, "x", drawn)
    assert found["pictures"][0]["psnr_db"] == pytest.approx(expected.psnr_db, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no folder at nowhere; give a bundle or a Diffusers folder."),
        (["{bundle}", "--count", "0"], "--count is at least 1; given 0."),
        (["{bundle}", "{tmp}/absent.png"], "absent.png can't be read as a picture: "),
        (["{bundle}", "{tmp}/text.png"], "text.png can't be read as a picture: "),
        (["{bundle}", "{tmp}/small.png"], "has 64×4 pixels; the VAE takes 8 and more each way."),
        (["{bundle}", "{tmp}/plain.png"], "is of one colour; give a picture that shows something"),
    ],
)
def test_wrong_usage_ends_in_one_line(
    shapes_bundle: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    Image.new("RGB", (64, 4)).save(tmp_path / "small.png")
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "plain.png")
    given = [word.format(bundle=shapes_bundle, tmp=tmp_path) for word in arguments]
    assert main(given) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


def test_a_bundle_of_one_size_refuses_others(
    shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compile(shapes_bundle, tmp_path / "c", target="onnxruntime", height=64, width=96)
    assert main([str(tmp_path / "c")]) == 2
    assert "single 0 has 64×64 pixels; this VAE was built for 96×64." in capsys.readouterr().err
