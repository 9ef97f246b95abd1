"""The part that all training stages share: a resumable loop with a cosine schedule and averaged weights."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

SAVE_EVERY = 200.0
"""The seconds between two saved states, the most that a killed run loses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The training plan of a stage. Everything random in a step follows from `seed` and the step's number."""

    work: Path
    name: str
    steps: int
    rate: float
    seed: int
    average: float = 0.995
    warmup: int = 50


def arguments(description: str) -> argparse.ArgumentParser:
    """Build a parser with `--work`, which every stage has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True, help="folder of states and encoded clips (large)")
    return parser


def rate_at(plan: Plan, step: int) -> float:
    """Compute the learning rate: a short warm-up, then half a cosine down to a hundredth."""
    rise = min(1.0, (step + 1) / plan.warmup)
    return plan.rate * rise * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, step / plan.steps))) / 2)


def train(
    plan: Plan,
    parameters: Iterable[nn.Parameter],
    loss_of: Callable[[int, torch.Generator], dict[str, torch.Tensor]],
    *,
    watch: Callable[[int], None] | None = None,
) -> None:
    """Train to the end of the plan, resuming from the state in the work folder; leaves the averaged weights loaded.

    `loss_of(step, random)` returns named losses, the first of which is followed downhill; `watch(step)` is called with
    the averaged weights in place whenever a state is saved.
    """
    weights = [weight for weight in parameters if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01)
    average = [weight.detach().clone() for weight in weights]
    state_file, log_file = plan.work / f"{plan.name}.pt", plan.work / f"{plan.name}.jsonl"
    step = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        step, average = state["step"], state["average"]
        for weight, saved in zip(weights, state["weights"], strict=True):
            weight.data.copy_(saved)
        print(f"{plan.name}: goes on at step {step}", flush=True)

    def save() -> None:
        plan.work.mkdir(parents=True, exist_ok=True)
        state = {
            "step": step,
            "weights": [w.data for w in weights],
            "average": average,
            "optimizer": optimizer.state_dict(),
        }
        torch.save(state, state_file.with_suffix(".new"))
        state_file.with_suffix(".new").replace(state_file)
        swap()
        if watch is not None:
            with torch.no_grad():
                watch(step)
        swap()

    def swap() -> None:
        for weight, mean in zip(weights, average, strict=True):
            weight.data, mean.data = mean.data, weight.data

    saved, started, first = time.monotonic(), time.monotonic(), step
    sums: dict[str, float] = {}
    while step < plan.steps:
        for group in optimizer.param_groups:
            group["lr"] = rate_at(plan, step)
        losses = loss_of(step, torch.Generator().manual_seed(plan.seed * 1_000_003 + step))
        optimizer.zero_grad()
        torch.autograd.backward(next(iter(losses.values())))
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        decay = min(plan.average, (1 + step) / (10 + step))
        for weight, mean in zip(weights, average, strict=True):
            mean.lerp_(weight.data, 1 - decay)
        step += 1
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + float(loss.detach()) / 50
        if step % 50 == 0:
            seconds = (time.monotonic() - started) / (step - first)
            line = {
                "step": step,
                **{name: round(value, 6) for name, value in sums.items()},
                "seconds": round(seconds, 3),
            }
            print(f"{plan.name}: {json.dumps(line)}", flush=True)
            with log_file.open("a") as log:
                log.write(json.dumps(line) + "\n")
            sums = {}
        if time.monotonic() - saved > SAVE_EVERY:
            save()
            saved = time.monotonic()
    save()
    swap()
