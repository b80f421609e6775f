"""A subject that draws one level of grey: `drawing_worker [KEY=VALUE …]`."""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.bench.protocol import Ask, Drawn, Opened, serve


class DrawingSubject:
    def __init__(self, **given: str) -> None:
        self.given = given

    def open(self) -> Opened:
        if "refuse" in self.given:
            raise ValueError(self.given["refuse"])
        if "block" in self.given:
            time.sleep(3600)
        return Opened(engine="fake 1.0", device="cpu", precision="fp32")

    def draw(self, ask: Ask) -> Drawn:
        if ask.picture is not None:
            side = int(self.given.get("size", ask.height))
            level = float(self.given["level"])
            np.save(ask.picture, np.full((1, side, side, 3), level, np.float32))
        return Drawn({"unet_call": [1.0] * ask.num_inference_steps, "picture": [6.0]})


if __name__ == "__main__":
    serve(DrawingSubject(**dict(each.split("=", 1) for each in sys.argv[1:])))
