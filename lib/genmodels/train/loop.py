"""The training loop, once: a generator that yields after each step of the optimiser."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from genmodels.core import require
from genmodels.train.batches import BatchFn, Minibatches, with_device
from genmodels.train.checkpoint import Streams, load_checkpoint, load_into, save_checkpoint
from genmodels.train.learner import (
    Learner,
    Loss,
    average_of,
    launch,
    make_equal,
    mean_over_processes,
    tensor_cores,
)
from genmodels.train.settings import MakeOptimizer, Settings, check_checkpoint
from genmodels.train.threads import Threads

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Run", "State", "fit", "train"]

PULSE_SECONDS = 0.5  # between two looks at the loss by the bar and the callback: each waits for the accelerator
AGREE_STEPS = 20  # between two questions to the other processes whether the time is up: each waits for all of them


@dataclass(frozen=True, slots=True)
class State:
    """Where the training is, after ``step`` updates."""

    step: int
    """Updates of the optimiser so far."""
    lr: float
    """The learning rate of this update."""
    seconds: float
    """Wall time of the training, runs before a resume included."""
    samples: int
    """Training samples seen by all processes."""
    model: nn.Module
    """The model itself, without wrappers: use its own methods."""
    loss_tensor: Tensor = field(repr=False)
    """The mean loss of this update's batches over all processes, on the device."""
    average: nn.Module | None = field(repr=False, default=None)
    stage: int = 1
    """Which part of a training in stages this update was of; the losses of two stages are different things."""

    @property
    def loss(self) -> float:
        """The mean loss as a number, in nats per sample; on a GPU, reading it waits for the device."""
        return float(self.loss_tensor)

    def ema(self) -> nn.Module:
        """The averaged model, in evaluation mode and changing with the next step; without ``ema``, the model."""
        return self.model if self.average is None else self.average


def train(
    model: nn.Module,
    loss: Loss,
    batch_fn: BatchFn,
    *,
    steps: int,
    lr: float = 1e-3,
    optimizer: str | MakeOptimizer = "adamw",
    schedule: str | Callable[[float], float] = "constant",
    warmup: int = 0,
    clip: float | None = None,
    ema: float | None = None,
    precision: str = "32-true",
    accelerator: str = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    accumulate: int = 1,
    compile: bool | str = False,
    seed: int = 0,
    seconds: float | None = None,
    threads: int | str = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: bool = True,
    progress: bool = True,
    callback: Callable[[State], None] | None = None,
) -> Iterator[State]:
    """Train ``model`` in place; yield a ``State`` after each update. Settings are checked at once, before any step.

    for state in train(model, lambda model, x: -model.log_prob(x), minibatches(x, 100), steps=1000): ...

    loss(model, batch) -> (b,): nats per sample; the loop takes the mean. batch_fn(step, rank): a pure function
    (see ``minibatches``); update k uses the batches number k * accumulate + 0 .. accumulate - 1.

    - optimizer: "adamw" (weight decay 0.01), "adam", "sgd", or a function (parameters, lr) -> Optimizer.
    - warmup, schedule: linear warm-up over so many steps, then "constant", "linear", "cosine" to 0 at ``steps``, or a
      function of the fraction done, in [0, 1], giving the share of ``lr``.
    - clip: largest L2 norm of the gradient. ema: decay of the average of the weights, with warm-up (``decay_at``).
    - precision: "32-true", "bf16-mixed" (autocast; weights stay float32), "64-true".
    - accelerator ("auto", "cpu", "cuda", "mps"), devices (per node), num_nodes, strategy ("auto", "ddp"): several
      processes need a script or the command line, not a notebook; each computes its part of every batch.
    - compile: torch.compile of model and loss together; a string names another backend than inductor.
    - seed: the run's random streams. What the caller draws from torch between two steps changes no step.
    - seconds: stop after the first update past so much wall time of this call; several processes ask each other at
      every 20th update.
    - threads: of the processor; "auto" takes torch's number or one, whichever is faster at present (see ``Threads``).
    - checkpoint: a file, written every ``checkpoint_every`` updates and after the last one; ``resume`` continues from
      it, bit for bit on the CPU with the same number of ``threads``. A finished run yields its last state once more.
    - progress: a bar; callback(state): at most twice a second and after the last update, for a live figure.

    Raises ValueError for a bad setting, FloatingPointError when the loss is not finite.
    """
    settings = Settings(
        steps=steps, lr=lr, optimizer=optimizer, schedule=schedule, warmup=warmup, clip=clip, ema=ema,
        precision=precision, accelerator=accelerator, devices=devices, num_nodes=num_nodes, strategy=strategy,
        accumulate=accumulate, compile=compile, seed=seed, seconds=seconds, threads=threads,
    )  # fmt: skip
    run = Run(settings, checkpoint, checkpoint_every, resume, progress, callback)
    return fit(model, loss, batch_fn, run)


def fit(model: nn.Module, loss: Loss, batch_fn: BatchFn, run: Run) -> Iterator[State]:
    """``train``, with the settings and the bookkeeping of a ``Run``."""
    fabric = run.start(batch_fn)
    learner = Learner(fabric, model, loss, run.settings)
    batches = with_device(batch_fn, fabric.device)
    k = run.settings.accumulate

    def update(step: int) -> tuple[Tensor, float, int]:
        return learner.step([batches(step * k + i, fabric.global_rank) for i in range(k)])

    return run.states(fabric, update, {"": learner}, State)


@dataclass(frozen=True)
class Run:
    """What surrounds the updates whatever they are: settings, checkpoint, resume, bar, callback."""

    settings: Settings
    checkpoint: str | Path | None = None
    checkpoint_every: int = 1000
    resume: bool = True
    progress: bool = True
    callback: Callable[[Any], None] | None = None
    fixed: dict[str, object] = field(default_factory=dict)
    """What a resumed run must share with the checkpoint, beyond the settings."""

    def __post_init__(self) -> None:
        self.settings.check_machine()
        check_checkpoint(self.checkpoint, self.checkpoint_every)

    def start(self, batch_fn: BatchFn) -> Fabric:
        """Start the processes, once the batches are known to fit them."""
        world = self.settings.world
        if isinstance(batch_fn, Minibatches):
            have = batch_fn.world
            require(have == world, f"the batches are cut for {have} processes, not {world}: minibatches(world={world})")
        return launch(self.settings)

    def states(
        self,
        fabric: Fabric,
        update: Callable[[int], tuple[Tensor, float, int]],
        learners: dict[str, Learner],
        make_state: Callable[..., State],
    ) -> Iterator[State]:
        """Call ``update(step)`` until the end and yield a state after each; the first learner's module is averaged."""
        settings = self.settings
        model = next(iter(learners.values())).module
        average = average_of(model, settings.ema)
        streams = Streams(fabric.device, settings.seed, fabric.global_rank)
        done = self._load(fabric, learners, average, streams)
        first, samples, seconds_before = done["step"], done["samples"], done["seconds"]
        averaged = None if average is None else average.module
        if first >= settings.steps:
            yield make_state(first, done["lr"], seconds_before, samples, model, _number(done["loss"]), averaged)
            return
        threads = Threads(settings.thread_numbers)
        begin, pulse = time.perf_counter(), -math.inf
        with self._bar(fabric, first) as bar:
            for step in range(first, settings.steps):
                with streams, threads, tensor_cores(fabric.device):
                    loss, lr, seen = update(step)
                    if step == 0 and fabric.world_size > 1:
                        make_equal(learner.module for learner in learners.values())
                    if average is not None:
                        average.update_parameters(model)
                loss = mean_over_processes(loss)
                last = step + 1 == settings.steps or self._late(fabric, step + 1, time.perf_counter() - begin)
                if last:
                    loss.item()  # so that the clock below counts work that is done, not work that is queued
                now = time.perf_counter() - begin
                samples += seen
                state = make_state(step + 1, lr, seconds_before + now, samples, model, loss, averaged)
                save = self.checkpoint is not None and (last or (step + 1) % self.checkpoint_every == 0)
                if last or save or now - pulse > PULSE_SECONDS:
                    pulse = now
                    self._look(fabric, bar, state)
                if save:
                    self._save(fabric, state, learners, average, streams)
                yield state
                if last:
                    return

    def _late(self, fabric: Fabric, step: int, now: float) -> bool:
        """Whether the time is up; several processes stop at the same step, by the mean of their clocks."""
        limit = self.settings.seconds
        if limit is None or (fabric.world_size > 1 and step % AGREE_STEPS):
            return False
        return mean_over_processes(torch.tensor(now, device=fabric.device)).item() >= limit

    def _look(self, fabric: Fabric, bar: Any, state: State) -> None:
        loss = state.loss
        if not math.isfinite(loss):
            advice = f"lower lr (now {state.lr:g}), add clip=1.0 or warmup"
            raise FloatingPointError(f"the loss is {loss} at step {state.step}: {advice}")
        bar.update(state.step - bar.n)
        bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
        if self.callback is not None and fabric.is_global_zero:
            self.callback(state)

    def _bar(self, fabric: Fabric, first: int) -> Any:
        from tqdm.auto import tqdm

        quiet = not (self.progress and fabric.is_global_zero)
        return tqdm(total=self.settings.steps, initial=first, unit="step", disable=quiet, mininterval=PULSE_SECONDS)

    def _save(self, fabric: Fabric, state: State, learners: dict, average: Any, streams: Streams) -> None:
        header = {key: getattr(state, key) for key in ("step", "lr", "samples", "seconds", "loss")}
        parts: dict[str, Any] = {"ema": None if average is None else average.state_dict()}
        for name, learner in learners.items():
            parts |= {name: learner.state_dict()} if name else learner.state_dict()
        random = [streams.state_dict()]
        if fabric.world_size > 1:
            random = [None] * fabric.world_size
            torch.distributed.all_gather_object(random, streams.state_dict())
        if fabric.is_global_zero:
            fixed = self.settings.fixed_by_checkpoint() | self.fixed
            save_checkpoint(Path(self.checkpoint), {**header, **parts, "settings": fixed, "random": random})
        fabric.barrier()

    def _load(self, fabric: Fabric, learners: dict, average: Any, streams: Streams) -> dict[str, Any]:
        path = None if self.checkpoint is None else Path(self.checkpoint)
        if path is None or not self.resume or not path.exists():
            return {"step": 0, "samples": 0, "seconds": 0.0}
        state = load_checkpoint(path)
        for key, here in (self.settings.fixed_by_checkpoint() | self.fixed).items():
            there = state["settings"].get(key)
            require(
                there == here, f"{path} was trained with {key} = {there!r}, not {here!r}: use that, or resume=False"
            )
        for name, learner in learners.items():
            learner.load_state_dict(state[name] if name else state, path)
        if average is not None:
            load_into(average, state["ema"], path)
        streams.load_state_dict(state["random"][fabric.global_rank])
        return state


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
