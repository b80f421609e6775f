"""A subject that answers at once, and fails where it is told to: `fake_worker.py [KEY=VALUE …]`."""

from __future__ import annotations

import os
import signal
import sys
import time

from benchmarks.bench.protocol import Ask, Drawn, Opened, serve


class FakeSubject:
    def __init__(self, **given: str) -> None:
        self.given = given
        self.drawn = 0

    def open(self) -> Opened:
        if "noisy" in self.given:
            print("a library prints on standard output")
        if "refuse" in self.given:
            raise ValueError(self.given["refuse"])
        if "block" in self.given:
            time.sleep(3600)
        return Opened(engine="fake 1.0", device="cpu", precision="fp32", load_ms=-1.0)

    def draw(self, ask: Ask) -> Drawn:
        self.drawn += 1
        if self.drawn == int(self.given.get("die", 0)):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.drawn == int(self.given.get("exit", 0)):
            print("the last words", file=sys.stderr)
            os._exit(3)
        if ask.height == int(self.given.get("too_large", 0)):
            raise ValueError(f"{ask.height} is too large\nand more lines")
        number = float(self.given.get("ms", 1)) * ask.count * ask.height * ask.width / 64**2
        stages = {
            "text_encoder": [number],
            "unet_call": [number] * ask.num_inference_steps,
            "sampler": [number],
            "vae_decoder": [number],
            "picture": [10 * number + self.drawn],
        }
        if ask.picture is not None:
            import numpy as np

            shape = (ask.count, ask.height, ask.width, 3)
            np.save(ask.picture, np.full(shape, ask.seed / 10, np.float32))
        if "no_time" in self.given:
            stages[self.given["no_time"]] = [0.0]
        return Drawn(stages)


if __name__ == "__main__":
    serve(FakeSubject(**dict(each.split("=", 1) for each in sys.argv[1:])))
