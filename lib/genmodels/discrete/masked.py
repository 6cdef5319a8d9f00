"""Masked prediction as a generative model: the SUBS output, the bound without its sampling noise, and guidance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genmodels.core import random, require, to_float64_device
from genmodels.discrete.process import Time

__all__ = ["estimator_moments", "exact_masked_nelbo", "guided", "llada_nelbo", "subs"]

Predict = Callable[[Tensor], Tensor]


def subs(logits: Float[Tensor, "b l states"], x_t: Int[Tensor, "b l"], mask: int) -> Float[Tensor, "b l states"]:
    """Log-probabilities that respect what masking noise implies [MDLM, Sahoo et al. 2024, section 3.2.3].

    The clean token is never the mask (its logit becomes -inf), and a visible token is certain: carried over.
    """
    require(0 <= mask < logits.shape[-1], f"mask must be one of the {logits.shape[-1]} symbols of logits; got {mask}")
    require(
        logits.shape[:-1] == x_t.shape,
        f"expected logits for each token of {tuple(x_t.shape)}; got {tuple(logits.shape)}",
    )
    symbols = torch.arange(logits.shape[-1], device=logits.device)
    log_p = logits.masked_fill(symbols == mask, -torch.inf).log_softmax(-1)
    carried = torch.zeros_like(log_p).masked_fill(symbols != x_t[..., None], -torch.inf)
    return torch.where((x_t == mask)[..., None], log_p, carried)


def llada_nelbo(
    predict: Predict, x0: Int[Tensor, "b l"], mask: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "b"]:
    """One-sample estimate of the masked bound: k ~ uniform{1..l}, exactly k tokens masked, l/k times their loss.

    Same mean as ``Masking.nelbo`` and less variance, because the share of masks is not drawn twice [LLaDA, Nie et al.
    2025, eq. 6]. ``predict(x_t)`` returns log-probabilities.
    """
    b, l = x0.shape
    k = random(torch.randint, 1, l + 1, (b, 1), generator=generator, device=x0.device)
    order = random(torch.rand, b, l, generator=generator, dtype=torch.float64, device=x0.device).argsort(1).argsort(1)
    hidden = order.to(k) < k
    return (l / k[:, 0]) * _hidden_nll(predict, x0, hidden, mask)


def exact_masked_nelbo(
    predict: Predict, x0: Int[Tensor, "b l"], mask: int, *, block: int | None = None
) -> Float[Tensor, "b"]:
    """The masked bound on -log p(x_0), the expectation over times and masks done exactly; 2^block - 1 calls.

    Integrating t out, a set of k masked tokens out of n weighs B(k, n - k + 1) = (k-1)! (n-k)! / n!; this is also the
    mean any-order autoregressive loss [Uria et al. 2014; Ou et al. 2024, arXiv 2406.03736]. With ``block``, the bound
    of block diffusion: the same set is masked in every block at once, so ``predict`` must let a block see no other
    noisy block.
    """
    l = x0.shape[1]
    n = l if block is None else block
    require(n >= 1 and l % n == 0, f"block must divide the length {l}; got {n}")
    require(n <= 16, f"2^{n} masks are too many to enumerate; estimate the bound with Masking.nelbo instead")
    bound = to_float64_device(torch.zeros(len(x0), device=x0.device)).double()
    for pattern in itertools.product([False, True], repeat=n):
        if k := sum(pattern):
            weight = math.factorial(k - 1) * math.factorial(n - k) / math.factorial(n)
            hidden = torch.tensor(pattern, device=x0.device).repeat(l // n).expand_as(x0)
            bound = bound + weight * _hidden_nll(predict, x0, hidden, mask).to(bound)
    return bound


def estimator_moments(
    loss: Float[Tensor, "s"], hidden: Bool[Tensor, "s n"], low: float
) -> tuple[float, float, float, float]:
    """(mean, variance) of the masked loss with a drawn time, then with a drawn count of masks, by enumeration.

    loss     for every set of hidden tokens out of n, the sum of -log p over the hidden ones: 2^n numbers
    hidden   the sets, one a row
    low      the least time: L / t with t ~ U(low, 1) and each token hidden with chance t [BD3-LM, section 5.2]

    By count: n L / k with k ~ U{1..n}, every set of k equally likely, as in ``llada_nelbo``.
    """
    n = hidden.shape[1]
    require(0 < low < 1, f"low must lie between 0 and 1; got {low}")
    require(len(loss) == len(hidden) == 2**n, f"one loss for each of the {2**n} sets; got {len(loss)}, {len(hidden)}")

    def integral(a: int, b: int) -> float:  # of t^a (1 - t)^b from low to 1
        powers = [a + j + 1 for j in range(b + 1)]
        terms = [-math.log(low) if p == 0 else (1 - low**p) / p for p in powers]
        return sum(math.comb(b, j) * (-1) ** j * term for j, term in enumerate(terms))

    loss, k = loss.double().cpu(), hidden.sum(1).cpu()
    table = lambda f: torch.tensor([0.0] + [f(j) for j in range(1, n + 1)], dtype=torch.float64)[k]
    by_time, by_count = loss, n * loss / k.clamp_min(1)
    time = [float((table(lambda j, p=p: integral(j - p, n - j) / (1 - low)) * by_time**p).sum()) for p in (1, 2)]
    chance = table(lambda j: 1 / (n * math.comb(n, j)))
    mean = float((chance * by_count).sum())
    return time[0], time[1] - time[0] ** 2, mean, float((chance * (by_count - mean) ** 2).sum())


def guided(
    denoise: Callable[[Tensor, Time], Tensor], prompt: Bool[Tensor, "b l"], mask: int, scale: float
) -> Callable[[Tensor, Time], Tensor]:
    """Classifier-free guidance of a denoiser by the tokens marked in ``prompt``, uncond + scale (cond - uncond) in
    log-probabilities: 0 and 1 are the two predictions exactly, as in ``diffusion.guided``.

    The unconditional prediction hides the prompt [LLaDA, appendix A.2; their w is scale - 1]. At scale 1 it is not
    asked for.
    """
    require(0 <= scale < math.inf, f"the scale of guidance must be finite and not negative; got {scale}")
    if scale == 1:
        return denoise

    def both(x: Tensor, t: Time) -> Tensor:
        conditional = denoise(x, t)
        unconditional = denoise(torch.where(prompt, mask, x), t)
        if scale == 0:
            return unconditional
        # Where one of the two finds a symbol impossible (-inf) the formula says nothing: the condition decides.
        finite = unconditional.isfinite() & conditional.isfinite()
        logits = torch.lerp(*(torch.where(finite, v, 0.0) for v in (unconditional, conditional)), scale)
        return torch.where(finite, logits, conditional).log_softmax(-1)

    return both


def _hidden_nll(predict: Predict, x0: Tensor, hidden: Bool[Tensor, "b l"], mask: int) -> Float[Tensor, "b"]:
    """Cross-entropy of the hidden tokens, given the others."""
    log_p = predict(torch.where(hidden, mask, x0))
    nll = -log_p.gather(2, x0[..., None])[..., 0]
    return torch.where(hidden, nll, 0.0).sum(1)
