"""What every module needs and no paper names: shapes, seeds, devices and exact categorical sampling."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

__all__ = [
    "device",
    "expand",
    "generator",
    "gumbel",
    "holds",
    "log_mean_exp",
    "parameter_count",
    "require",
    "sample_categorical",
    "straight_through",
    "sum_except_batch",
]


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless the condition holds; the message names the value, the range and the fix."""
    if not condition:
        raise ValueError(message)


def holds(condition: Bool[Tensor, "*s"]) -> bool:
    """Whether all is true, as far as one can know for free: False means that something is not.

    Reading a number waits for an accelerator, and breaks the graph of a compiler: there, values are not looked at.
    """
    return torch.compiler.is_compiling() or condition.device.type != "cpu" or bool(condition.all())


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
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A private random stream: the same seed gives the same draws whatever else the program samples."""
    return torch.Generator(device=device).manual_seed(seed)


def gumbel(
    shape: tuple[int, ...], *, generator: torch.Generator | None = None, device: str | torch.device = "cpu"
) -> Float[Tensor, "..."]:
    """Standard Gumbel noise -log(-log u) in float64, as -log of an exponential draw.

    In float32 the largest possible draw is about 17, which lowers the temperature of a large vocabulary
    (arXiv 2409.02908).
    """
    e = torch.empty(shape, dtype=torch.float64, device=device).exponential_(generator=generator)
    return -e.clamp_min(torch.finfo(torch.float64).tiny).log()


def sample_categorical(
    logits: Float[Tensor, "... v"], *, generator: torch.Generator | None = None
) -> Int[Tensor, "..."]:
    """Exact draws from softmax(logits) by the Gumbel-max trick in float64; logits may be -inf, not all of them."""
    noise = gumbel(tuple(logits.shape), generator=generator, device=logits.device)
    return (logits.double() + noise).argmax(-1)


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
