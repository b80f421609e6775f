"""What both training stages share: the clock, the moving average, checkpoints, precision."""

from __future__ import annotations

import logging
import math
import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

log = logging.getLogger("benchmarks.shapes")


@dataclass(frozen=True)
class TrainConfig:
    """How a stage is trained.

    Attributes:
        run: Folder of checkpoints and of what one stage leaves for the next.
        minutes: Active time this stage may take, in minutes, over all its resumed runs.
        batch: Pictures a step and process.
        learning_rate: Peak of the schedule.
        warmup: Steps until the peak.
        weight_decay: AdamW's.
        ema_decay: Of the moving average that is shipped.
        checkpoint_every: Active seconds between checkpoints.
        log_every: Steps between progress lines.
        resume: Go on from the folder's checkpoint.
        device: `cuda` or `cpu`.
    """

    run: Path
    minutes: float
    batch: int
    learning_rate: float
    warmup: int = 200
    weight_decay: float = 0.0
    ema_decay: float = 0.996
    checkpoint_every: float = 60.0
    log_every: int = 50
    resume: bool = False
    device: str = "cpu"


class Clock:
    """Adds up active time.

    On a CPU it is the process's own CPU time, so that neither a pause nor other processes use up
    the budget; on a GPU the time that passes.
    """

    def __init__(self, device: str, seconds: float = 0.0) -> None:
        self._now = time.process_time if device == "cpu" else time.perf_counter
        self._threads = torch.get_num_threads() if device == "cpu" else 1
        self._start = self._now() - seconds * self._threads

    @property
    def seconds(self) -> float:
        """Active seconds so far; on a CPU, those of one thread."""
        return (self._now() - self._start) / self._threads


@dataclass(frozen=True)
class Workers:
    """The processes that train together, each on its own share of every step's pictures.

    Two processes of one thread each train nearly twice as fast as one of two threads: the networks
    are too small for threads to help. Torch's usual variables (`RANK`, `WORLD_SIZE`, …; `torchrun`
    sets them) say who they are; without them there is one.

    Attributes:
        rank: This process's number.
        count: Number of processes.
    """

    rank: int
    count: int

    @classmethod
    def join(cls) -> Workers:
        """Waits for all processes."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1:
            distributed.init_process_group("gloo")
        return cls(int(os.environ.get("RANK", "0")), count)

    def average_gradients(self, parameters: list[nn.Parameter], seconds: float) -> float:
        """Averages the gradients, in place, and the active time, over all processes.

        Returns:
            The average of `seconds`, the same everywhere, so that all stop at the same step.
        """
        if self.count == 1:
            return seconds
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([*(g.flatten() for g in gradients), gradients[0].new_tensor([seconds])])
        distributed.all_reduce(flat)
        flat /= self.count
        *parts, shared = flat.split([*(g.numel() for g in gradients), 1])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return shared.item()

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self.count > 1:
            distributed.barrier()


class Ema:
    """Moving average of the trainable tensors of some modules, warmed up over the first steps."""

    def __init__(self, modules: dict[str, nn.Module], decay: float) -> None:
        self.decay = decay
        self.shadow = {
            name: {key: value.detach().clone() for key, value in module.state_dict().items()}
            for name, module in modules.items()
        }

    def load(self, shadow: dict[str, dict[str, Tensor]]) -> None:
        """Goes on from the averages of a checkpoint."""
        for name, weights in shadow.items():
            for key, value in weights.items():
                self.shadow[name][key].copy_(value)

    @torch.no_grad()
    def update(self, modules: dict[str, nn.Module], step: int) -> None:
        """Moves the average towards the modules' present weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, module in modules.items():
            shadow = self.shadow[name]
            for key, value in module.state_dict().items():
                if value.is_floating_point():
                    shadow[key].lerp_(value, 1 - decay)


def learning_rate(config: TrainConfig, step: int, seconds: float) -> float:
    """Linear warm-up in steps, then a cosine over the time budget, down to 2 % of the peak."""
    done = min(1.0, seconds / (60 * config.minutes))
    cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * min(1.0, (step + 1) / config.warmup) * cosine


def autocast(device: str) -> AbstractContextManager[Any]:
    """bfloat16 autocast: on a CPU with AMX about twice as fast as float32 for these networks."""
    return torch.autocast(device, torch.bfloat16)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint beside its place and renames it: an interruption costs nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint.

    Raises:
        FileNotFoundError: There is none; says what makes one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; train that stage first")
    return torch.load(path, map_location="cpu", weights_only=True)
