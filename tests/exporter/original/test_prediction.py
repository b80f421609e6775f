"""What a U-Net predicts: which source of knowledge comes first."""

from __future__ import annotations

import pytest

from exporter.families.sd1 import SD1
from exporter.families.sd2 import SD2
from exporter.families.sdxl import SDXL
from exporter.original.prediction import Prediction, find_prediction, resolution
from exporter.sources.checkpoint import scheduler_config
from runtimes.samplers import default_sampler
from runtimes.schedule import NoiseSchedule

SPEC, ARCHITECTURE = "modelspec.prediction_type", "modelspec.architecture"


@pytest.mark.parametrize(
    ("keys", "metadata", "given", "usual", "expected"),
    [
        ((), {}, None, None, None),
        ((), {}, None, "epsilon", ("epsilon", "the family's usual one")),
        ((), {SPEC: "v"}, None, "epsilon", ("v_prediction", f"the metadata {SPEC}=v")),
        ((), {SPEC: "epsilon"}, None, None, ("epsilon", f"the metadata {SPEC}=epsilon")),
        ((), {SPEC: "v"}, "epsilon", None, ("epsilon", "--prediction-type")),
        (("v_pred",), {SPEC: "epsilon"}, None, "epsilon", ("v_prediction", "the key v_pred")),
        (
            (),
            {ARCHITECTURE: "stable-diffusion-v2-768-v"},
            None,
            None,
            ("v_prediction", f"the metadata {ARCHITECTURE}=stable-diffusion-v2-768-v"),
        ),
        ((), {SPEC: "rectified flow"}, None, None, None),
    ],
)
def test_first_source_that_says_it_decides(
    keys: tuple[str, ...],
    metadata: dict[str, str],
    given: str | None,
    usual: str | None,
    expected: tuple[str, str] | None,
) -> None:
    found = find_prediction(keys, metadata, given, usual)
    assert found == (None if expected is None else Prediction(*expected))


@pytest.mark.parametrize(
    ("noted", "size"),
    [("768x768", 768), ("512", 512), ("1024x576", 576), ("large", None), ("0x0", None)],
)
def test_resolution_is_the_shorter_side(noted: str, size: int | None) -> None:
    assert resolution({"modelspec.resolution": noted}) == size
    assert resolution({}) is None


def test_schedulers_run() -> None:
    assert default_sampler(scheduler_config(SDXL, Prediction("epsilon", "x"))) == "euler"
    assert default_sampler(scheduler_config(SD1, Prediction("epsilon", "x"))) == "pndm"
    assert default_sampler(scheduler_config(SD2, Prediction("v_prediction", "x"))) == "ddim"


def test_mark_of_zero_terminal_snr_gives_a_schedule_that_has_it() -> None:
    prediction = find_prediction(("v_pred", "ztsnr"), {}, None, "epsilon")
    assert prediction is not None
    config = scheduler_config(SD1, prediction)
    assert default_sampler(config) == "ddim"
    assert NoiseSchedule.from_config(config).alphas_cumprod[-1] == pytest.approx(0, abs=1e-12)
