"""What a U-Net is called with when its layers' memory is measured, and the table."""

from __future__ import annotations

from benchmarks.layer_memory import feeds_of, table
from exporter.components.unet import TEXT_WIDTH
from exporter.report import Comparison, LayersReport

_SDXL = {
    "in_channels": 4,
    "cross_attention_dim": 80,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 40,
    TEXT_WIDTH: 40,
}


def test_feeds_are_those_of_one_call() -> None:
    for batch in (1, 2):
        shapes = {name: array.shape for name, array in feeds_of(_SDXL, 16, batch).items()}
        assert shapes == {
            "sample": (batch, 4, 16, 16),
            "timestep": (1,),
            "encoder_hidden_states": (batch, 77, 80),
            "text_embeds": (batch, 40),
            "time_ids": (batch, 6),
        }
    plain = feeds_of({"in_channels": 9, "cross_attention_dim": 8}, 8, 2)
    assert list(plain) == ["sample", "timestep", "encoder_hidden_states"]


def test_table_has_size_memory_and_the_worst_layer() -> None:
    figures = Comparison(
        max_abs=1e-5, peak=2.0, psnr_db=110.0, cosine=1.0, non_finite=0, reference_non_finite=0
    )
    report = LayersReport(
        layers={"conv_in": figures},
        worst="conv_in",
        limit_db=90.0,
        departing=(),
        program={"out_sample": figures},
        sizes={},
        seconds=20.0,
        passed=True,
    )
    result = {"cells": 64, "batch": 2, "model": "sdxl", "peak_rss": 3_210_000_000}
    shown = table({**result, "seconds": 30.4, "cpu_seconds": 50.1}, report)
    assert "| sdxl | 64×64, batch 2 | 1 | conv_in | 3.21 GB | 30 | 50 |" in shown
    assert "all reach 90 dB; worst is conv_in, 110.0 dB" in shown
