"""One module with its loss and its optimiser: the part of a training step that a loop repeats."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from genmodels.core import require
from genmodels.train.checkpoint import load_into
from genmodels.train.settings import Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision

__all__ = ["Learner", "average_of", "decay_at", "launch", "make_equal", "mean_over_processes", "tensor_cores"]

Loss = Callable[[nn.Module, Any], Float[Tensor, "b"]]


def launch(settings: Settings) -> Fabric:
    """Lightning Fabric for these settings, with its processes started; without its banners."""
    from lightning_fabric import Fabric  # its import sets its loggers' levels, so it comes before they are silenced

    mixed = settings.precision == "bf16-mixed"
    with _quiet():
        fabric = Fabric(
            accelerator=settings.hardware,
            devices=settings.devices,
            num_nodes=settings.num_nodes,
            strategy=settings.strategy,
            precision=None if mixed else settings.precision,
            plugins=autocast(settings.hardware) if mixed else None,
        )
        fabric.launch()
    return fabric


def autocast(device: str) -> MixedPrecision:
    """bf16 for the layers only. Fabric's own plugin also rounds the batch to bf16: data, targets and all."""
    from lightning_fabric.plugins import MixedPrecision

    class Autocast(MixedPrecision):
        def convert_input(self, data: Any) -> Any:
            """The data stay as they are."""
            return data

    return Autocast("bf16-mixed", device)


class Objective(nn.Module):
    """The per-sample loss as the forward pass of a module, so that any method of the model may be called in it.

    DDP, autocast and the compiler only see what happens inside ``forward``.
    """

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.module = module
        self._loss = loss

    def forward(self, batch: Any) -> Float[Tensor, "b"]:
        """The loss of each sample."""
        losses = self._loss(self.module, batch)
        require(
            losses.ndim == 1,
            f"loss(model, batch) must return one number for each sample, shape (b,); got {tuple(losses.shape)}",
        )
        return losses


class Learner:
    """Updates one module: gradient over some batches, clipping, optimiser, learning rate."""

    def __init__(self, fabric: Fabric, module: nn.Module, loss: Loss, settings: Settings) -> None:
        self.module = module
        self._fabric, self._settings = fabric, settings
        objective: nn.Module = Objective(module, loss)
        if settings.compile:
            backend = settings.compile if isinstance(settings.compile, str) else "inductor"
            objective = torch.compile(objective, backend=backend)
        with _quiet():
            self._objective = fabric.setup_module(objective)
            self._parameters = [p for p in module.parameters() if p.requires_grad]
            require(len(self._parameters) > 0, "the model has no parameter to train (all requires_grad are False)")
            self._raw_optimizer = settings.make_optimizer(self._parameters)
            self._optimizer = fabric.setup_optimizers(self._raw_optimizer)
        self._schedule = LambdaLR(self._raw_optimizer, settings.lr_factor)

    def step(self, batches: Sequence[Any]) -> tuple[Float[Tensor, ""], float, int]:
        """One update from the mean loss over ``batches``: (that mean, the learning rate used, samples seen)."""
        if not self.module.training:  # the caller may have drawn samples in evaluation mode
            self.module.train()
        self._raw_optimizer.zero_grad(set_to_none=True)
        total, samples = None, 0
        for i, batch in enumerate(batches):
            last = i == len(batches) - 1
            with self._fabric.no_backward_sync(self._objective, enabled=not last):
                losses = self._objective(batch)
                mean = losses.mean() / len(batches)
                self._fabric.backward(mean)
            total = mean.detach() if total is None else total + mean.detach()
            samples += len(losses)
        if self._settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.clip)
        lr = self._raw_optimizer.param_groups[0]["lr"]
        self._optimizer.step()
        self._schedule.step()
        return total, lr, samples * self._fabric.world_size

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, no gradient reaches this module's parameters: it is another learner's turn."""
        for p in self._parameters:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in self._parameters:
                p.requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and schedule."""
        optimizer, schedule = self._raw_optimizer.state_dict(), self._schedule.state_dict()
        schedule.pop("lr_lambdas", None)  # code is not state
        return {"model": self.module.state_dict(), "optimizer": optimizer, "schedule": schedule}

    def load_state_dict(self, state: dict[str, Any], path: Path) -> None:
        """Continue from what ``state_dict`` returned."""
        load_into(self.module, state["model"], path)
        self._raw_optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict({**state["schedule"], "lr_lambdas": [None] * len(self._schedule.lr_lambdas)})
        # More steps than before stretch the schedule: its value now comes from this run's settings.
        for group, base in zip(self._raw_optimizer.param_groups, self._schedule.base_lrs, strict=True):
            group["lr"] = base * self._settings.lr_factor(self._schedule.last_epoch)


def decay_at(n: int, decay: float) -> float:
    """Decay of the average's n-th update, n = 1, 2, ...: min(decay, (1 + n) / (10 + n)).

    The average starts as a copy of the weights after the first step, then forgets fast while it is young: after n
    steps it averages over about the last n / 9 of them, until ``decay`` is reached. So an early average is neither
    the initialisation nor behind by 1 / (1 - decay) steps (a power-law average, as in EDM2, arXiv 2312.02696, sec. 3).
    """
    return min(decay, (1 + n) / (10 + n))


class Average(AveragedModel):
    """The exponential moving average of a model with warm-up, in evaluation mode; buffers are copies, not means.

    Torch's own update reads its counter back from the device at every step; here the count stays on the CPU.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self._decay = decay
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards the weights of ``model``; the first call copies them."""
        n = int(self.n_averaged)
        weight = 1 - decay_at(n, self._decay) if n else 1.0
        torch._foreach_lerp_(list(self.module.parameters()), list(model.parameters()), weight)
        for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
        self.n_averaged += 1


def average_of(model: nn.Module, decay: float | None) -> Average | None:
    """The ``Average`` of ``model``, or None without a decay."""
    return None if decay is None else Average(model, decay)


def mean_over_processes(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """The mean of the processes' numbers, on the device: nothing waits for it."""
    if not (torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return x
    total = x.double()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def make_equal(modules: Iterable[nn.Module]) -> None:
    """Give every process the weights and buffers of the first.

    What starts from its first batch (ActNorm, a codebook) has started from another one in each process.
    """
    for module in modules:
        for x in module.state_dict().values():
            torch.distributed.broadcast(x, 0)


@contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """Inside, float32 products on an NVIDIA GPU from Ampere on are TF32: 10 bits of mantissa, several times as fast."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Fabric's banners and advice for a while; its errors, and everyone else's warnings, still come."""
    loggers = [logging.getLogger(name) for name in ("lightning_fabric", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning(_fabric|\.fabric)")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
