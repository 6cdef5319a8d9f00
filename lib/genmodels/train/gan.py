"""The training loop of two players: n_critic updates of the critic, then one of the generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmodels.core import require
from genmodels.train.batches import BatchFn, with_device
from genmodels.train.learner import Learner, mean_over_processes
from genmodels.train.loop import Run, State
from genmodels.train.settings import MakeOptimizer, Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Game", "GanState", "fit_gan", "train_gan"]

GameLoss = Callable[[nn.Module, nn.Module, Any], Float[Tensor, "b"]]


@dataclass(frozen=True, slots=True)
class GanState(State):
    """A ``State`` whose model, loss and average are the generator's, with the critic beside it."""

    critic: nn.Module | None = None
    """The critic (discriminator) itself, without wrappers."""
    critic_loss_tensor: Tensor | None = field(repr=False, default=None)
    """The mean loss of the critic's last update, on the device; nan in the state of a run that was already finished."""

    @property
    def critic_loss(self) -> float:
        """The critic's mean loss as a number; on a GPU, reading it waits for the device."""
        return float(self.critic_loss_tensor)


def train_gan(
    generator: nn.Module,
    critic: nn.Module,
    generator_loss: GameLoss,
    critic_loss: GameLoss,
    batch_fn: BatchFn,
    *,
    steps: int,
    n_critic: int = 1,
    lr: float = 2e-4,
    critic_lr: float | None = None,
    optimizer: str | MakeOptimizer = "adam",
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
    callback: Callable[[GanState], None] | None = None,
) -> Iterator[GanState]:
    """Train two players in place; yield a ``GanState`` after each update of the generator.

    Both losses are functions (generator, critic, batch) -> (b,) to minimise; the batch holds real data (the
    generator's loss may use its length only). Update k of the generator comes after ``n_critic`` updates of the
    critic, on the batches number k * n_critic + 0 .. n_critic - 1, and uses the last of them again. During one
    player's update the other's parameters ask for no gradient. ``critic_lr`` is ``lr`` unless given; ``ema`` averages
    the generator; everything else is as in ``train``.
    """
    settings = Settings(
        steps=steps, lr=lr, optimizer=optimizer, schedule=schedule, warmup=warmup, clip=clip, ema=ema,
        precision=precision, accelerator=accelerator, devices=devices, num_nodes=num_nodes, strategy=strategy,
        accumulate=accumulate, compile=compile, seed=seed, seconds=seconds, threads=threads,
    )  # fmt: skip
    run = Run(settings, checkpoint, checkpoint_every, resume, progress, callback)
    return fit_gan(generator, critic, generator_loss, critic_loss, batch_fn, run, n_critic, critic_lr)


def fit_gan(
    generator: nn.Module,
    critic: nn.Module,
    generator_loss: GameLoss,
    critic_loss: GameLoss,
    batch_fn: BatchFn,
    run: Run,
    n_critic: int = 1,
    critic_lr: float | None = None,
) -> Iterator[GanState]:
    """``train_gan``, with the settings and the bookkeeping of a ``Run``."""
    require(
        n_critic >= 1, f"n_critic must be at least 1 update of the critic for each of the generator; got {n_critic}"
    )
    rate = run.settings.lr if critic_lr is None else critic_lr
    run = replace(run, fixed=run.fixed | {"n_critic": n_critic, "critic_lr": rate})
    critic_settings = replace(run.settings, lr=rate)  # a bad rate stops before any process starts
    fabric = run.start(batch_fn)
    maker = Learner(fabric, generator, lambda g, batch: generator_loss(g, critic, batch), run.settings)
    judge = Learner(fabric, critic, lambda c, batch: critic_loss(generator, c, batch), critic_settings)
    game = Game(fabric, maker, judge, with_device(batch_fn, fabric.device), n_critic, run.settings.accumulate)
    return run.states(fabric, game.update, {"": maker, "critic": judge}, game.state)


class Game:
    """One round of two learners at a time: the critic's turns, then the generator's."""

    def __init__(
        self, fabric: Fabric, maker: Learner, judge: Learner, batches: BatchFn, n_critic: int, accumulate: int
    ) -> None:
        self._fabric, self._maker, self._judge, self._batches = fabric, maker, judge, batches
        self._n_critic, self._accumulate = n_critic, accumulate
        self._last = torch.tensor(math.nan)

    def update(self, step: int) -> tuple[Tensor, float, int]:
        """Round number ``step``: the generator's mean loss, its learning rate, and the samples that both saw."""
        samples = 0
        for player in (self._maker, self._judge):  # the caller may have drawn samples in evaluation mode
            player.module.train()
        for turn in range(step * self._n_critic, (step + 1) * self._n_critic):
            batch = self.batch(turn)
            with self._maker.frozen():
                self._last, _, seen = self._judge.step(batch)
            samples += seen
        self._last = mean_over_processes(self._last)
        with self._judge.frozen():
            loss, lr, _ = self._maker.step(batch)
        return loss, lr, samples

    def batch(self, turn: int) -> list[Any]:
        """The batches of one update."""
        k = self._accumulate
        return [self._batches(turn * k + i, self._fabric.global_rank) for i in range(k)]

    def state(self, *common: Any) -> GanState:
        """The state that a loop yields: the generator's numbers, with the critic beside it."""
        return GanState(*common, critic=self._judge.module, critic_loss_tensor=self._last)
