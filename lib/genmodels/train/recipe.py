"""A recipe: everything that turns a name and a profile into a trained model, as one frozen object."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from genmodels.core import require
from genmodels.train.batches import Batch, Minibatches, Transform, minibatches, with_device
from genmodels.train.checkpoint import seed_everything
from genmodels.train.gan import GameLoss, GanState, fit_gan
from genmodels.train.learner import Loss
from genmodels.train.loop import Run, State, fit
from genmodels.train.settings import Settings, check_batch
from genmodels.train.stages import fit_stages

__all__ = ["GanRecipe", "Profile", "Recipe", "TwoStageRecipe"]

COUNTED = 4  # samples whose operations are counted


@dataclass(frozen=True)
class Profile:
    """One size of a recipe: the model to build, the global batch, and how to train it."""

    model: Callable[[], nn.Module]
    batch: int
    settings: Settings


class Operations(TorchDispatchMode):
    """Adds up the floating point operations inside, by torch's own formulas.

    Not torch's ``FlopCounterMode``, which also follows the modules and fails on a gradient within a loss.
    """

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ARG002
        """Run the operation and count it."""
        out = function(*args, **(kwargs or {}))
        if (formula := flop_registry.get(function._overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


@dataclass(frozen=True)
class Recipe:
    """How one model is trained: ``python -m genmodels.train NAME``.

    ``data()`` loads the training tensors; ``transform`` is ``minibatches``'s. ``loss(model, batch)`` gives (b,).
    ``metric(model)`` measures the finished model on held-out data, ``metric_name`` says what and in which unit.
    """

    name: str
    about: str
    data: Callable[[], Batch]
    loss: Loss | GameLoss
    metric: Callable[[nn.Module], float]
    metric_name: str
    profiles: Mapping[str, Profile]
    transform: Transform | None = None
    prepare: Callable[[nn.Module, Batch], None] | None = None
    """Called once with the fresh model and a first batch, the same one in every process (ActNorm sets itself)."""
    details: Callable[[nn.Module], str] | None = None
    """What else the finished model is measured by, as one sentence with units."""
    unit: str = "images"
    """What the speed of training is counted in."""
    units: int = 1
    """How many of them are in a sample."""

    def profile(self, name: str) -> Profile:
        """The named profile; ValueError lists the names."""
        require(
            name in self.profiles, f"{self.name} has no profile {name!r}: use one of {', '.join(sorted(self.profiles))}"
        )
        return self.profiles[name]

    def start(self, profile: str, run: Run) -> Iterator[State]:
        """Check, load the data, build the model from the run's seed, and train it."""
        sized = self.profile(profile)
        check_batch(sized.batch, run.settings.world)
        batches = minibatches(
            self.data(), sized.batch, run.settings.seed, world=run.settings.world, transform=self.transform
        )
        seed_everything(run.settings.seed)
        model = sized.model()
        if self.prepare is not None:
            self.prepare(model, batches(0, 0))
        return self.train(model, batches, run, profile)

    def train(self, model: nn.Module, batches: Minibatches, run: Run, profile: str) -> Iterator[State]:  # noqa: ARG002
        """The loop itself; a recipe with another loop overrides this."""
        return fit(model, self.loss, batches, run)

    def flops(self, state: State) -> float:
        """Floating point operations of the loss and its gradient for one sample, a product and a sum being two.

        Torch counts those of matrices, convolutions and attention; the optimiser's are left out.
        """
        return self._count(state, lambda model, batch: [(model, self.loss(model, batch))])

    def _count(self, state: State, losses: Callable[[nn.Module, Batch], list[tuple[nn.Module, Tensor]]]) -> float:
        """Operations for a sample of ``losses(model, batch)``: pairs of the module that learns and its loss."""
        model = copy.deepcopy(state.model).train()
        batch = with_device(
            minibatches(self.data(), COUNTED, transform=self.transform), next(model.parameters()).device
        )
        # Attention as products of matrices, on every device: torch counts no other on a CPU.
        with torch.random.fork_rng(), sdpa_kernel(SDPBackend.MATH), Operations() as counter:
            for learner, loss in losses(model, batch(0, 0)):
                torch.autograd.grad(
                    loss.mean(), [p for p in learner.parameters() if p.requires_grad], allow_unused=True
                )
        return counter.total / COUNTED

    def resized(self, profile: str, batch: int | None) -> Recipe:
        """The same recipe with another global batch in one profile."""
        if batch is None:
            return self
        return replace(self, profiles={**self.profiles, profile: replace(self.profile(profile), batch=batch)})


@dataclass(frozen=True)
class GanRecipe(Recipe):
    """A recipe of two players: ``model``, ``loss`` and ``metric`` are the generator's.

    Both losses are functions (generator, critic, batch) -> (b,). ``critics`` makes the critic of each profile.
    """

    critics: Mapping[str, Callable[[], nn.Module]] = field(default_factory=dict)
    critic_loss: GameLoss | None = None
    n_critic: int = 1
    critic_lr: float | None = None

    def __post_init__(self) -> None:
        require(self.critic_loss is not None, f"{self.name}: a recipe of two players needs critic_loss")
        lacking = sorted(set(self.profiles) - set(self.critics))
        require(not lacking, f"{self.name}: no critic for the profiles {', '.join(lacking)}")

    def train(self, model: nn.Module, batches: Minibatches, run: Run, profile: str) -> Iterator[State]:
        """The loop of two players."""
        critic = self.critics[profile]()
        return fit_gan(model, critic, self.loss, self.critic_loss, batches, run, self.n_critic, self.critic_lr)

    def flops(self, state: GanState) -> float:
        """Of one sample that the critic sees, and its share of the generator's update."""
        critic = copy.deepcopy(state.critic)
        turns = self._count(state, lambda g, x: [(critic, self.critic_loss(g, critic, x))])
        return turns + self._count(state, lambda g, x: [(g, self.loss(g, critic, x))]) / self.n_critic


@dataclass(frozen=True)
class TwoStageRecipe(GanRecipe):
    """A game for all of the model but its ``prior``, during ``share`` of the steps; then the prior by ``prior_loss``.

    ``loss`` and ``critic_loss`` are those of the game; ``prior_loss(model, batch)`` gives (b,).
    """

    prior_loss: Loss | None = None
    prior_lr: float | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.prior_loss is not None, f"{self.name}: a recipe of two stages needs prior_loss")
        require(self.n_critic == 1 and self.critic_lr is None, f"{self.name}: two stages share one rhythm and one rate")

    def train(self, model: nn.Module, batches: Minibatches, run: Run, profile: str) -> Iterator[State]:
        """The loop of two stages."""
        losses = self.loss, self.critic_loss, self.prior_loss
        return fit_stages(model, self.critics[profile](), *losses, batches, run, self.share, self.prior_lr)

    def flops(self, state: GanState) -> float:
        """Of one sample in the stage that the state is of."""
        if state.stage == 1:
            return super().flops(state)
        return self._count(state, lambda model, x: [(model.prior, self.prior_loss(model, x))])
