"""Measures stable-diffusion.cpp, by when it says what it has done.

`python -m benchmarks.peers.workers.sd_cpp FILE --threads N`, in its environment. Its Python package
loads the C++ library; progress and log lines come back through callbacks.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from benchmarks.bench.protocol import Ask, Drawn, Opened, serve, uncollected
from benchmarks.peers.workers.arguments import engine_of, parse, versions

# It has DDIM with trailing timesteps alone; the model's own spacing is leading. As many calls of
# the U-Net, at other noise levels: the picture is another.
SAMPLERS = {"ddim": "ddim_trailing"}

_ENCODED = re.compile(r"get_learned_condition completed, taking ([\d.]+)s")
_DECODING = re.compile(r"decoding \d+ latents")
_DECODED = re.compile(r"decode_first_stage completed")


ERROR = 3
"""The library's level of an error's line."""


class LogClock:
    """Makes stages of progress reports and log lines, by the time at which they come.

    Attributes:
        failure: the first line of an error, which says why; None before there is one.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self._stages: dict[str, list[float]] = {}
        self._step_s = self._decoding_s = 0.0

    def progress(self, step: int) -> None:
        """Takes a report: step 0 as the first step begins, then one as each ends."""
        now = time.perf_counter()
        if step > 0:
            self._add("unet_call", now - self._step_s)
        self._step_s = now

    def line(self, level: int, text: str) -> None:
        """Takes a line of the log."""
        now = time.perf_counter()
        if level >= ERROR and self.failure is None:
            self.failure = text.strip()
        elif found := _ENCODED.search(text):
            # In hundredths of a second: it doesn't say when it begins.
            self._add("text_encoder", float(found[1]))
        elif _DECODING.search(text):
            self._decoding_s = now
        elif _DECODED.search(text):
            self._add("vae_decoder", now - self._decoding_s)

    def take(self) -> dict[str, list[float]]:
        """Milliseconds by stage since the last call of this."""
        found, self._stages = self._stages, {}
        return found

    def _add(self, stage: str, seconds: float) -> None:
        self._stages.setdefault(stage, []).append(seconds * 1000)


class StableDiffusionCpp:
    """A model in stable-diffusion.cpp.

    Args:
        file: the model, one file.
        threads: within an operation; by itself it takes half the cores.
        precision: of the weights as stored.
    """

    def __init__(self, file: str, threads: int, precision: str) -> None:
        self._file, self._threads, self._precision = file, threads, precision
        self._clock = LogClock()
        self._model: Any = None
        self._callback: Any = None

    def open(self) -> Opened:
        """Loads the file, weights as they are stored in it."""
        library: Any = import_module("stable_diffusion_cpp")

        def line(level: int, text: bytes, data: Any) -> None:
            del data
            self._clock.line(level, text.decode("utf-8", errors="replace"))

        self._callback = library.sd_log_callback(line)  # as long as the library may call it
        library.sd_set_log_callback(self._callback, ctypes.c_void_p(0))
        with self._telling():
            self._model = library.StableDiffusion(
                model_path=self._file, n_threads=self._threads, rng_type="cpu", verbose=False
            )
        packages = versions("stable-diffusion-cpp-python")
        return Opened(
            engine=engine_of(packages),
            device="cpu",
            precision=self._precision,
            threads=self._threads,
            packages=packages,
        )

    def draw(self, ask: Ask) -> Drawn:
        """Draws; it takes no latents, so that its picture is of its own noise."""
        import numpy as np

        if ask.sampler not in SAMPLERS:
            raise ValueError(f"sampler {ask.sampler!r}: known here is {', '.join(SAMPLERS)}")

        def progress(step: int, steps: int, seconds: float) -> None:
            del steps, seconds
            self._clock.progress(step)

        self._clock.take()
        with self._telling(), uncollected():
            start = time.perf_counter()
            images = self._model.generate_image(
                prompt=ask.prompt,
                negative_prompt=ask.negative_prompt,
                width=ask.width,
                height=ask.height,
                cfg_scale=ask.guidance_scale,
                sample_method=SAMPLERS[ask.sampler],
                sample_steps=ask.num_inference_steps,
                seed=ask.seed,
                batch_count=ask.count,
                progress_callback=progress,
            )
            picture_ms = (time.perf_counter() - start) * 1000
        if ask.picture is not None:
            np.save(ask.picture, np.stack([_unit(image) for image in images]))
        return Drawn({**self._clock.take(), "picture": [picture_ms]})

    @contextmanager
    def _telling(self) -> Generator[None]:
        """Puts what the library logged in the place of its Python package's error."""
        try:
            yield
        except Exception as e:
            if self._clock.failure is None:
                raise
            raise RuntimeError(self._clock.failure) from e


def _unit(image: Any) -> Any:
    """A Pillow image, which has an alpha channel, as float32 [H, W, 3] in [0, 1]."""
    import numpy as np

    return np.asarray(image.convert("RGB"), np.float32) / np.float32(255)


def main() -> None:
    """Reads what to open from the command line and serves."""
    given = parse()
    serve(StableDiffusionCpp(given.model, given.threads, given.precision))


if __name__ == "__main__":
    main()
