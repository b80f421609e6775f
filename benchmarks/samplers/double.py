"""diffusers' schedulers in float64, to tell their rounding from an error of ours.

A scheduler computes in the precision of its sigmas and of the latents, but for places that ask for
float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.samplers.ieee_functions import IeeeFunctions


class Double(IeeeFunctions):
    """While it is active, float64 tensors stay so, and what float32 gives is rounded once.

    Noise is drawn in float32, since torch draws another one in float64.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls a function of torch's."""
        asked = dict(kwargs or {})
        if func is torch.Tensor.to and args[0].dtype == torch.float64:
            asked = {name: value for name, value in asked.items() if value is not torch.float32}
            kept = tuple(arg for arg in args[1:] if arg is not torch.float32)
            return func(args[0], *kept, **asked) if kept or asked else args[0]
        if func is torch.randn and asked.get("dtype") == torch.float64:
            return func(*args, **{**asked, "dtype": torch.float32}).double()
        return super().__torch_function__(func, types, args, asked)


def to_double(scheduler: Any) -> None:
    """Gives a scheduler sigmas in float64, but for one that reads a Brownian path at them.

    The path is rough, and read at times that are rounded to float32.
    """
    if hasattr(scheduler, "sigmas") and not hasattr(scheduler, "noise_sampler_seed"):
        scheduler.sigmas = scheduler.sigmas.double()
