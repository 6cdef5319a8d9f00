"""What every module needs and no paper names: shapes, seeds, devices and exact categorical sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

__all__ = [
    "device",
    "expand",
    "full_precision",
    "generator",
    "gumbel",
    "log_mean_exp",
    "lacks_float64",
    "parameter_count",
    "random",
    "require",
    "require_all",
    "sample_categorical",
    "straight_through",
    "sum_except_batch",
    "to_float64_device",
]


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless the condition holds; the message names the value, the range and the fix."""
    if not condition:
        raise ValueError(message)


def require_all(holds: Bool[Tensor, "*s"], message: str) -> None:
    """``require`` for every entry, on the CPU: elsewhere, and in a compiled graph, a look would wait for the device."""
    if holds.device.type == "cpu" and not torch.compiler.is_compiling():
        require(bool(holds.all()), message)


def expand(v: Float[Tensor, "b"] | Float[Tensor, ""] | float, x: Float[Tensor, "b *d"]) -> Tensor:
    """Per-sample numbers (b,) or one number, shaped to multiply x (b, *d): (b, 1, ..., 1)."""
    v = torch.as_tensor(v, dtype=x.dtype, device=x.device)
    if v.ndim == 0:
        return v
    require(v.shape == x.shape[:1], f"expected one value for each of the {len(x)} samples, got shape {tuple(v.shape)}")
    return v.reshape(-1, *[1] * (x.ndim - 1))


def sum_except_batch(x: Float[Tensor, "b *d"]) -> Float[Tensor, "b"]:
    """Sum over everything but the batch: log-densities of dimensions become the log-density of a sample."""
    return x.reshape(len(x), x.shape[1:].numel()).sum(1)  # not -1, which an empty batch leaves open


def log_mean_exp(x: Tensor, dim: int) -> Tensor:
    """log of the mean of exp(x) along ``dim``, without overflow."""
    require(x.shape[dim] > 0, f"the mean of no values is 0 / 0: x has shape {tuple(x.shape)}")
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A private random stream: the same seed gives the same draws whatever else the program samples."""
    return torch.Generator(device=device).manual_seed(seed)


def lacks_float64(device: str | torch.device) -> bool:
    """Whether the device has no double precision: Apple's GPU."""
    return torch.device(device).type == "mps"


def to_float64_device(x: Tensor) -> Tensor:
    """x where float64 exists: as it is, or on the CPU if its device lacks it. What follows is computed there."""
    return x.cpu() if lacks_float64(x.device) else x


def full_precision(device: torch.device) -> AbstractContextManager:
    """Within it autocast is off: products whose low bits matter (near codes, volumes) are not rounded to bf16."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def random(
    draw: Callable[..., Tensor],
    *size: int | tuple[int, ...],
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Draws of torch.rand, randn, randint or randperm, made where the generator lives and moved to ``device``.

    So a generator of any device serves tensors of any other. float64 draws for a device that lacks it stay on the CPU;
    there a generator of such a device seeds one of the CPU's.
    """
    where = torch.device(device) if generator is None else generator.device
    wide = dtype is torch.float64
    if wide and lacks_float64(where):
        if generator is not None:
            seed = int(torch.randint(2**31 - 1, (), generator=generator, device=where))
            generator = torch.Generator().manual_seed(seed)
        where = torch.device("cpu")
    drawn = draw(*size, generator=generator, device=where, dtype=dtype)
    return drawn if wide and lacks_float64(device) else drawn.to(device)


def _exponential(shape: tuple[int, ...], *, generator: torch.Generator | None, **kind) -> Tensor:
    return torch.empty(shape, **kind).exponential_(generator=generator)


def gumbel(
    shape: tuple[int, ...], *, generator: torch.Generator | None = None, device: str | torch.device = "cpu"
) -> Float[Tensor, "..."]:
    """Standard Gumbel noise -log(-log u) in float64 (on the CPU for a device that lacks it), as -log of an exponential
    draw.

    In float32 the largest possible draw is about 17, which lowers the temperature of a large vocabulary
    (arXiv 2409.02908).
    """
    e = random(_exponential, shape, generator=generator, device=device, dtype=torch.float64)
    return -e.clamp_min(torch.finfo(torch.float64).tiny).log()


def sample_categorical(
    logits: Float[Tensor, "... v"], *, generator: torch.Generator | None = None
) -> Int[Tensor, "..."]:
    """Exact draws from softmax(logits) by the Gumbel-max trick in float64; logits may be -inf, not all of them.

    ValueError for a row without a possible symbol, or with NaN or +inf (not looked for on another device than the CPU).
    """
    require(logits.shape[-1] > 0, f"there is no symbol to draw: logits have shape {tuple(logits.shape)}")
    top = logits.detach().amax(-1)  # NaN where any entry is
    require_all(
        top.abs() < torch.inf, "logits need a finite largest entry in each row: nothing is possible, or one is NaN"
    )
    noise = gumbel(tuple(logits.shape), generator=generator, device=logits.device)
    return (logits.detach().to(noise) + noise).argmax(-1).to(logits.device)


class _StraightThrough(torch.autograd.Function):
    """Forward: the hard value, bit for bit. Backward: the gradient of the soft one."""

    @staticmethod
    def forward(ctx, hard, soft):  # noqa: ARG004
        return hard.clone()

    @staticmethod
    def backward(ctx, grad):  # noqa: ARG004
        return None, grad


def straight_through(hard: Float[Tensor, "*s"], soft: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """``hard`` on the way forward, exactly; the gradient of ``soft`` on the way back [Bengio et al. 2013]. Biased."""
    require(hard.shape == soft.shape, f"hard {tuple(hard.shape)} and soft {tuple(soft.shape)} must have the same shape")
    return _StraightThrough.apply(hard, soft)


def device(name: str | None = None) -> torch.device:
    """The named device, or the best one here: CUDA, then Apple's MPS, then the CPU."""
    if name is not None:
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def parameter_count(model: nn.Module) -> int:
    """Number of trainable numbers; tied parameters count once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
