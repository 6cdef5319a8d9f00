"""Training in two stages: a game of two players for all of the model but its prior, then the prior alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from genmodels.core import require
from genmodels.train.batches import BatchFn, with_device
from genmodels.train.gan import Game, GameLoss, GanState
from genmodels.train.learner import Learner, Loss
from genmodels.train.loop import Run

__all__ = ["fit_stages"]


def fit_stages(
    model: nn.Module,
    critic: nn.Module,
    generator_loss: GameLoss,
    critic_loss: GameLoss,
    prior_loss: Loss,
    batch_fn: BatchFn,
    run: Run,
    share: float,
    prior_lr: float | None = None,
) -> Iterator[GanState]:
    """Train ``model`` in place; one run, one checkpoint and one average for both stages, so that any step resumes.

    The first ``share`` of the steps are rounds of the game (see ``train_gan``; one turn of the critic) in which
    ``model.prior`` rests; in the others the prior learns by ``prior_loss(model, batch)`` -> (b,), and the rest of the
    model rests. Each stage has its own warm-up and schedule. The states say which ``stage`` they are of: the losses of
    the two are different things.
    """
    settings = run.settings
    first = round(share * settings.steps)
    require(0 < first < settings.steps, f"two stages need 2 steps or more, and a share in (0, 1); got {share}")
    rate = settings.lr if prior_lr is None else prior_lr
    run = replace(run, fixed=run.fixed | {"first stage": first, "prior_lr": rate})
    game_settings = replace(settings, steps=first, warmup=min(settings.warmup, first // 10))
    later = settings.steps - first
    prior_settings = replace(settings, steps=later, warmup=min(settings.warmup, later // 10), lr=rate)
    fabric = run.start(batch_fn)
    model.prior.requires_grad_(False)  # a learner moves what asks for a gradient when it is made
    maker = Learner(fabric, model, lambda g, batch: generator_loss(g, critic, batch), game_settings)
    model.prior.requires_grad_(True)
    judge = Learner(fabric, critic, lambda c, batch: critic_loss(model, c, batch), game_settings)
    prior = Learner(fabric, model.prior, lambda _, batch: prior_loss(model, batch), prior_settings)
    game = Game(fabric, maker, judge, with_device(batch_fn, fabric.device), 1, settings.accumulate)

    def update(step: int) -> tuple[Tensor, float, int]:
        if step < first:
            return game.update(step)
        with maker.frozen():
            return prior.step(game.batch(step))

    def make_state(step: int, *common: Any) -> GanState:
        return replace(game.state(step, *common), stage=1 if step <= first else 2)

    return run.states(fabric, update, {"": maker, "critic": judge, "prior": prior}, make_state)
