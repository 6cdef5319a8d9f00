"""Writing one token after the other with a causal Transformer, and how likely it finds a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genmodels.core import require, sample_categorical
from genmodels.nets.transformer import Transformer

__all__ = ["choose", "generate", "log_prob", "restrict", "stream"]


def restrict(
    logits: Float[Tensor, "*b v"], *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Float[Tensor, "*b v"]:
    """Logits of the distribution that is sampled: divided by the temperature, then unlikely symbols set to -inf.

    top_k   keep the k likeliest symbols
    top_p   keep the smallest set of likeliest symbols that holds at least this probability (nucleus sampling,
            Holtzman et al. 2019)

    Temperature 0 keeps the likeliest symbol alone.
    """
    require(temperature >= 0, f"temperature must be >= 0 (0 takes the likeliest symbol); got {temperature}")
    require(top_k is None or top_k >= 1, f"top_k must keep at least 1 symbol; got {top_k}")
    require(top_p is None or 0 < top_p <= 1, f"top_p is a probability in (0, 1]; got {top_p}")
    if temperature == 0:
        best = logits.argmax(-1, keepdim=True)
        return torch.full_like(logits, -torch.inf).scatter(-1, best, 0.0)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        order = logits.argsort(dim=-1, descending=True, stable=True)
        logits = logits.scatter(-1, order[..., top_k:], -torch.inf)
    if top_p is not None and top_p < 1:
        ranked, order = logits.sort(dim=-1, descending=True, stable=True)
        p = ranked.softmax(-1)
        before = p.cumsum(-1) - p  # a symbol stays while those above it hold less than top_p
        logits = torch.empty_like(logits).scatter(-1, order, ranked.masked_fill(before >= top_p, -torch.inf))
    return logits


def choose(
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Callable[[Float[Tensor, "b v"]], Int[Tensor, "b"]]:
    """A rule that picks the next token from logits, drawn in float64 from what ``restrict`` leaves."""
    restrict(torch.zeros(1), temperature=temperature, top_k=top_k, top_p=top_p)  # a bad setting stops here

    def pick(logits: Tensor) -> Tensor:
        if temperature == 0:
            return logits.argmax(-1)
        kept = restrict(logits, temperature=temperature, top_k=top_k, top_p=top_p)
        return sample_categorical(kept, generator=generator)

    return pick


@torch.inference_mode()
def stream(
    model: Transformer,
    prompt: Int[Tensor, "b l"],
    n: int,
    *,
    pick: Callable[[Tensor], Tensor] | None = None,
    cached: bool = True,
) -> Iterator[Int[Tensor, "b"]]:
    """Yield ``n`` tokens after the prompt, one for each text of the batch as soon as it is chosen.

    With the cache the model reads each token once, so writing l tokens costs l short calls instead of l long ones;
    the tokens are the same. ``pick`` defaults to a draw at temperature 1.
    """
    b, l = prompt.shape
    require(l >= 1, "the prompt needs at least one token to continue from, such as a line break")
    require(l + n - 1 <= model.max_len, f"{l} + {n} tokens do not fit: max_len is {model.max_len}")
    require(model.causal, "token by token needs a causal model; see generate_blocks or samplers for the others")
    pick = choose() if pick is None else pick
    cache = model.cache(b, max(l + n - 1, 1)) if cached else None
    text = prompt
    for _ in range(n):
        token = pick(model(text, cache=cache)[:, -1])
        yield token
        text = token[:, None] if cached else torch.cat([text, token[:, None]], 1)


def generate(
    model: Transformer,
    prompt: Int[Tensor, "b l"],
    n: int,
    *,
    pick: Callable[[Tensor], Tensor] | None = None,
    cached: bool = True,
) -> Int[Tensor, "b m"]:
    """The prompt with ``n`` tokens added; see ``stream``."""
    return torch.cat([prompt, *(t[:, None] for t in stream(model, prompt, n, pick=pick, cached=cached))], 1)


def log_prob(model: Transformer, x: Int[Tensor, "b l"], *, start: int) -> Float[Tensor, "b"]:
    """log p(x | start) in nats: sum_i log p(x_i | start, x_1 .. x_{i-1}), in one pass."""
    first = torch.full_like(x[:, :1], start)
    log_p = model(torch.cat([first, x[:, :-1]], 1)).log_softmax(-1)
    return log_p.gather(2, x[..., None]).sum((1, 2))
