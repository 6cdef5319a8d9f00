"""How to train, as one frozen object that refuses bad values with a sentence before anything is loaded."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from genmodels.core import require

__all__ = ["OPTIMIZERS", "PRECISIONS", "SCHEDULES", "Settings", "check_batch", "check_checkpoint"]

MakeOptimizer = Callable[[Iterable[nn.Parameter], float], Optimizer]

# The fused kernels update all parameters in one call: on a small model they halve the time of the optimiser.
OPTIMIZERS: dict[str, MakeOptimizer] = {
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, fused=True),
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, fused=True),
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
}

# What remains of the learning rate after the fraction p of the steps that follow the warm-up.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda p: 1.0 - p,
    "cosine": lambda p: 0.5 * (1.0 + math.cos(math.pi * p)),
}

PRECISIONS = ("32-true", "bf16-mixed", "64-true")
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")
STRATEGIES = ("auto", "ddp")


@dataclass(frozen=True)
class Settings:
    """Everything about a run but the model, its loss and its data; ``train`` documents each value."""

    steps: int
    lr: float = 1e-3
    optimizer: str | MakeOptimizer = "adamw"
    schedule: str | Callable[[float], float] = "constant"
    warmup: int = 0
    clip: float | None = None
    ema: float | None = None
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    accumulate: int = 1
    compile: bool | str = False
    seed: int = 0
    seconds: float | None = None
    threads: int | str = "auto"

    def __post_init__(self) -> None:
        _whole("steps", self.steps, 1)
        _whole("warmup", self.warmup, 0)
        _whole("accumulate", self.accumulate, 1)
        _whole("devices", self.devices, 1)
        _whole("num_nodes", self.num_nodes, 1)
        _whole("seed", self.seed, 0)
        require(self.warmup < self.steps, f"warmup = {self.warmup} steps leave none of the {self.steps} steps to train")
        require(0 <= self.lr < math.inf, f"lr must lie in [0, inf); got {self.lr}")
        require(self.clip is None or self.clip > 0, f"clip is the largest norm of the gradient, > 0; got {self.clip}")
        require(self.ema is None or 0 <= self.ema < 1, f"ema is a decay in [0, 1), such as 0.999; got {self.ema}")
        require(self.seconds is None or self.seconds > 0, f"seconds must be positive or None; got {self.seconds}")
        whole = isinstance(self.threads, int) and not isinstance(self.threads, bool) and self.threads >= 1
        good = whole or self.threads == "auto"
        require(good, f"threads must be 'auto' or a whole number of at least 1; got {self.threads!r}")
        _known("optimizer", self.optimizer, OPTIMIZERS)
        _known("schedule", self.schedule, SCHEDULES)
        _known("precision", self.precision, PRECISIONS)
        _known("accelerator", self.accelerator, ACCELERATORS)
        _known("strategy", self.strategy, STRATEGIES)

    @property
    def world(self) -> int:
        """Number of processes: devices on each node, times nodes."""
        return self.devices * self.num_nodes

    @property
    def thread_numbers(self) -> list[int]:
        """The numbers of processor threads that a step may take; where there are two, the faster one is found out."""
        if self.threads != "auto":
            return [self.threads]
        now = torch.get_num_threads()
        alone = self.hardware == "cpu" and self.world == 1 and not self.compile
        return [now, 1] if alone and now > 1 else [now]

    @property
    def hardware(self) -> str:
        """What "auto" and "gpu" mean on this machine: cuda, then mps, then (for "auto" only) the CPU."""
        if self.accelerator not in ("auto", "gpu"):
            return self.accelerator
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        require(self.accelerator == "auto" or best != "cpu", "accelerator='gpu', but torch sees none: use 'auto'")
        return best

    def lr_factor(self, step: int) -> float:
        """Share of ``lr`` at ``step`` (0-based): a linear warm-up, then the schedule over the steps that remain."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        shape = SCHEDULES[self.schedule] if isinstance(self.schedule, str) else self.schedule
        return shape(min(1.0, (step - self.warmup) / (self.steps - self.warmup)))

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The named or given optimiser over ``parameters``."""
        make = OPTIMIZERS[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer
        return make(parameters, self.lr)

    def fixed_by_checkpoint(self) -> dict[str, object]:
        """The settings that a resumed run must share with the run that wrote the checkpoint."""
        name = self.optimizer if isinstance(self.optimizer, str) else "a function"
        keys = ("ema", "precision", "accumulate", "seed", "world")
        return {"optimizer": name} | {key: getattr(self, key) for key in keys}

    def check_machine(self) -> None:
        """Refuse what this machine cannot do; apart from the rest, since a recipe for a GPU may be read anywhere."""
        hardware = self.hardware
        if hardware == "cuda":
            require(torch.cuda.is_available(), "accelerator='cuda', but torch sees no CUDA device: use 'auto' or 'cpu'")
            count = torch.cuda.device_count()
            require(self.devices <= count, f"devices = {self.devices}, but this machine has {count} CUDA devices")
            bf16 = self.precision != "bf16-mixed" or torch.cuda.is_bf16_supported(including_emulation=False)
            require(bf16, f"{torch.cuda.get_device_name()} has no bf16: use precision='32-true'")
        if hardware == "mps":
            require(torch.backends.mps.is_available(), "accelerator='mps', but torch sees no Apple GPU: use 'cpu'")
            require(self.devices == 1, f"devices = {self.devices}, but Apple's MPS is one device")
            require(self.precision == "32-true", f"precision {self.precision!r} does not run on MPS: use '32-true'")
        launched = os.environ.get("WORLD_SIZE") if "TORCHELASTIC_RUN_ID" in os.environ else None
        require(
            launched is None or int(launched) == self.world,
            f"torchrun started {launched} processes, the settings ask for {self.devices} devices x {self.num_nodes} "
            "nodes: make them equal",
        )
        require(
            self.world == 1 or "ipykernel" not in sys.modules,
            f"{self.world} processes cannot start inside a notebook: use devices=1 here, or the command line "
            "(python -m genmodels.train NAME --devices N)",
        )


def check_batch(batch: int, world: int) -> None:
    """Refuse a global batch that does not split evenly over ``world`` processes."""
    _whole("batch", batch, 1)
    _whole("world", world, 1)
    nearest = max(world, batch - batch % world)
    require(batch % world == 0, f"a batch of {batch} does not split evenly over {world} processes: use {nearest}")


def check_checkpoint(path: str | Path | None, every: int) -> Path | None:
    """The path of the checkpoint, after making its folder and trying to write there; None stays None."""
    _whole("checkpoint_every", every, 1)
    if path is None:
        return None
    path = Path(path)
    require(not path.is_dir(), f"checkpoint = {path} is a folder: name a file in it, such as {path / 'model.pt'}")
    probe = path.with_name(f".{path.name}.probe-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ValueError(f"cannot write the checkpoint {path}: {error.strerror}; choose another folder") from error
    return path


def _whole(name: str, value: int, least: int) -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(good, f"{name} must be a whole number of at least {least}; got {value!r}")


def _known(name: str, value: object, names: Iterable[str]) -> None:
    good = value in names if isinstance(value, str) else callable(value)
    require(good, f"unknown {name} {value!r}: use one of {', '.join(names)}")
