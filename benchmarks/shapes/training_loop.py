"""The loop that trains every stage: steps, moving average, progress, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.shapes.training import (
    Clock,
    Ema,
    TrainConfig,
    Workers,
    learning_rate,
    load_checkpoint,
    log,
    save_checkpoint,
)

Modules = dict[str, nn.Module]
Weights = dict[str, dict[str, Tensor]]
Loss = Callable[[int], Tensor]
"""From the number of this process's step, counted over all processes, to the loss of its batch."""


def train(
    config: TrainConfig, stage: str, modules: Modules, loss_of_step: Loss, workers: Workers
) -> Weights:
    """Trains modules until the stage's time is used up.

    Args:
        config: How.
        stage: Its name; the checkpoint is `<stage>.pt` in the run's folder.
        modules: By name; parameters that need no gradient are left alone.
        loss_of_step: Draws a batch and gives its loss.
        workers: The processes that train together.

    Returns:
        The moving averages of the modules' weights.
    """
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    path = config.run / f"{stage}.pt"
    ema, clock, step = Ema(modules, config.ema_decay), Clock(config.device), 0
    if config.resume:
        state = load_checkpoint(path)
        for name, module in modules.items():
            module.load_state_dict(state[name])
        optimizer.load_state_dict(state["optimizer"])
        ema.load(state["ema"])
        clock, step = Clock(config.device, state["seconds"]), state["step"]
    torch.manual_seed(step * workers.count + workers.rank)
    saved = seconds = clock.seconds
    total = 0.0
    while seconds < 60 * config.minutes:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, seconds)
        loss = loss_of_step(step * workers.count + workers.rank)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        seconds = workers.average_gradients(parameters, clock.seconds)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        ema.update(modules, step)
        total += loss.item()
        if step % config.log_every == 0:
            if workers.rank == 0:
                mean, spent = total / config.log_every, f"{seconds / 60:.1f} of {config.minutes:g}"
                log.info("%s step %d, %s min, loss %.4f", stage, step, spent, mean)
            total = 0.0
        if seconds - saved > config.checkpoint_every or seconds >= 60 * config.minutes:
            saved = seconds
            if workers.rank == 0:
                save_checkpoint(path, _state(modules, optimizer, ema, seconds, step))
    return ema.shadow


def _state(
    modules: Modules, optimizer: torch.optim.Optimizer, ema: Ema, seconds: float, step: int
) -> dict[str, Any]:
    weights = {name: module.state_dict() for name, module in modules.items()}
    progress = {"seconds": seconds, "step": step}
    return {**weights, "optimizer": optimizer.state_dict(), "ema": ema.shadow, **progress}
