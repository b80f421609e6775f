"""Torch with the square root that IEEE 754 asks for, so that a reference is the same everywhere.

Torch takes float32 square roots by MKL's vector library, which rounds some of them to the wrong
side: of Stable Diffusion's 1000 sigmas 6 on an Intel Xeon, 190 on an AMD EPYC. What the reference
makes of them differs from machine to machine then: fractional Karras timesteps by 4e-4, first steps
from sigma 4096 by 2e-4. NumPy's root is IEEE's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_ROOTS = (torch.sqrt, torch.Tensor.sqrt)
_POWERS = (torch.pow, torch.Tensor.pow, torch.Tensor.__pow__)


_LOGARITHMS = (torch.log, torch.Tensor.log)
_EXPONENTIALS = (torch.exp, torch.Tensor.exp)


class IeeeRoots(TorchFunctionMode):
    """While it is active, roots of float32 tensors are taken in float64 and rounded once more.

    A root of 53 bits rounded to 24 is the root of 24 bits rounded once.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls a function of torch's."""
        is_root = func in _ROOTS or (func in _POWERS and args[1:] == (0.5,))
        if is_root and args[0].dtype == torch.float32:
            return torch.Tensor.sqrt(args[0].double()).float()
        return func(*args, **(kwargs or {}))


class IeeeFunctions(IeeeRoots):
    """Also logarithms and exponentials, rounded once.

    Torch's are off by one unit in the last place at times, other ones on each machine. Where a
    Brownian path is read hangs on them, and the path is rough: 1e-6 beside, it is another by 1e-3.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls a function of torch's."""
        if func in (*_LOGARITHMS, *_EXPONENTIALS) and args[0].dtype == torch.float32:
            return func(args[0].double()).float()
        return super().__torch_function__(func, types, args, kwargs)
