"""Checks of distributions: probabilities that sum to 1, unbiased estimators, exact samplers, orders of convergence.

Each states its sample size and standard error. The thresholds, 4.5 standard errors and p > 1e-4, are such that with
a fixed seed a right answer does not fail, and a biased one does as soon as the bias exceeds a few standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from genmodels.core import require

from .report import fail, number, place, show, to_tensor
from .slips import diagnose
from .values import known_mistake, shape

__all__ = ["distributed", "normalised", "order", "unbiased"]

Mistakes = Mapping[str, Any]


def normalised(
    log_prob: Callable[[Tensor], Tensor] | Tensor,
    states: Tensor,
    what: str = "",
    mistakes: Mistakes | None = None,
    atol: float = 1e-6,
    cell: float = 1.0,
) -> None:
    """Fail unless sum over all ``states`` (n, *d) of exp(log_prob) times ``cell`` is 1 within ``atol``.

    cell      the volume of one state: 1 when the states are enumerated, the cell of the grid for a density
    mistakes  {sentence: the total, or the (n,) log-probabilities, that the mistake gives}
    """
    what = what or "log_prob"
    lp = to_tensor(log_prob(states) if callable(log_prob) else log_prob, what).double()
    shape(lp, (len(states),), what)
    total = lp.exp().sum() * cell
    if abs(total - 1) <= atol:
        return
    sentence = known_mistake(total, {s: v for s, v in _values(mistakes) if v.ndim == 0}, atol, 1e-5)
    sentence = sentence or known_mistake(lp, {s: v for s, v in _values(mistakes) if v.ndim}, atol, 1e-5)
    rows = {"got": f"a total of {number(total)} over {len(states)} states", "expected": "1"}
    raise fail(f"exp({what}) does not sum to 1", rows, sentence or _total_slip(lp, states[0].numel(), cell, atol))


def _values(mistakes: Mistakes | None) -> list[tuple[str, Tensor]]:
    return [(s, to_tensor(v() if callable(v) else v, s)) for s, v in (mistakes or {}).items()]


def _total_slip(lp: Tensor, d: int, cell: float, atol: float) -> str | None:
    """Transformations of the log-probabilities after which they do sum to 1."""
    if lp.isnan().any():
        return "NaN: 0 * log 0, or log of a negative number."
    slips = {
        "these are negative log-likelihoods: the sign is reversed.": -lp,
        "these are probabilities: a log is missing.": lp.log(),
        "these are in bits; nats are expected (multiply by log 2).": lp * math.log(2),
        f"the log-probabilities are averaged over the {d} dimensions; they must be summed.": lp * d,
        "half the log-probability: a factor 2 is missing, or there is a 1/2 too many.": lp * 2,
        "twice the log-probability: something is counted twice.": lp / 2,
    }
    for sentence, value in slips.items():
        if abs(value.exp().sum() * cell - 1) <= max(atol, 1e-6):
            return sentence
    if cell == 1.0 and (lp > 1e-9).any():
        return "some probabilities exceed 1: logits taken for log-probabilities, or a sign."
    return None


def unbiased(
    samples: Any,
    truth: Any,
    what: str = "",
    sigmas: float = 4.5,
    mistakes: Mistakes | None = None,
    std_error: float | None = None,
) -> None:
    """Fail unless the mean of independent ``samples`` (n, *d) lies within ``sigmas`` standard errors of ``truth`` (*d).

    ``std_error`` bounds the standard error itself: a right but needlessly noisy estimator fails by that.
    """
    what = what or "the estimator"
    x, t = to_tensor(samples, what).double(), to_tensor(truth, "the expected value").double()
    require(len(x) >= 30, f"unbiased: {len(x)} samples are too few for a standard error; give at least 30")
    shape(x, (len(x), *t.shape), what)
    mean, error = x.mean(0), x.std(0) / math.sqrt(len(x))
    slack = sigmas * error + 1e-9 * (1 + t.abs())
    if not ((mean - t).abs() <= slack).all():  # also when NaN

        def same(a: Tensor, b: Tensor) -> bool:
            room = slack if a.shape == slack.shape else slack.max()
            return a.shape == b.shape and bool(((a - b).abs() <= room).all())

        sentence = next((s for s, v in _values(mistakes) if same(mean, v.double())), None) or diagnose(mean, t, same)
        z = ((mean - t) / error.clamp_min(1e-300)).abs().nan_to_num(nan=math.inf)
        rows = {"mean": show(mean), "expected": show(t)}
        if t.numel() > 40 or t.ndim > 2:
            k = place(z.argmax(), z.shape)
            rows = {"mean": f"{number(mean[k])} at {list(k)}", "expected": f"{number(t[k])} at {list(k)}"}
        rows["off by"] = f"{number(z.max(), 3)} standard errors over n = {len(x)} (allowed {sigmas})"
        raise fail(f"{what} has the wrong mean", rows, sentence)
    if std_error is not None and (error > std_error).any():
        rows = {"got": f"a standard error of {number(error.max(), 3)} with n = {len(x)}"}
        raise fail(f"{what} is unbiased but too noisy", rows | {"expected": f"at most {number(std_error, 3)}"})


def distributed(
    samples: Any,
    probs: Any,
    what: str = "",
    states: Tensor | None = None,
    p_min: float = 1e-4,
    mistakes: Mistakes | None = None,
) -> None:
    """Fail unless independent samples follow ``probs`` (k,) by Pearson's chi-square test at p > ``p_min``.

    samples   (n,) categories 0..k-1, or (n, d) rows each of which is one of ``states`` (k, d)
    mistakes  {sentence: probabilities (k,) that the mistake gives}; the best-fitting one is named
    Categories with fewer than five expected samples are pooled; a category of probability 0 must never be drawn.
    """
    what = what or "the sampler"
    x, q = to_tensor(samples, what), to_tensor(probs, "the expected probabilities").double()
    index = _index(x, states, what) if states is not None else x
    shape(index, (None,), what)
    k, n = len(q), len(index)
    if index.is_floating_point() or index.min() < 0 or index.max() >= k:
        rows = {"got": _range(index), "expected": f"whole numbers from 0 to {k - 1}"}
        raise fail(f"{what} gave values that are no category", rows)
    counts = torch.bincount(index.long(), minlength=k).double()
    p, chi2, dof = chi_square(counts, q)
    if p > p_min:
        return
    candidates = _values(mistakes) + _sampling_slips(q, states)
    fits = [(chi_square(counts, v.double())[0], -i, s) for i, (s, v) in enumerate(candidates)]
    best = max(fits, default=(0.0, 0, ""))
    sentence = best[2] if best[0] > p_min else None
    if (counts > 0).sum() == 1 and n > 20:
        sentence = "every sample is the same: argmax where a draw is asked, or one seed inside the sampler."
    worst = int(((counts - n * q).abs() / (n * q).clamp_min(1e-12).sqrt()).argmax())
    name = f"state {states[worst].tolist()}" if states is not None and states[worst].numel() <= 16 else f"{worst}"
    rows = {
        "got": f"{name} in {number(counts[worst] / n, 4)} of n = {n} samples",
        "expected": f"a probability of {number(q[worst], 4)}",
        "test": f"chi-square {chi2:.4g} with {dof} degrees of freedom, p = {p:.2g} (must exceed {p_min:g})",
    }
    raise fail(f"{what} does not follow the expected distribution", rows, sentence)


def _range(x: Tensor) -> str:
    """What kind of numbers came back, for a message."""
    return f"{str(x.dtype).removeprefix('torch.')} from {number(x.min())} to {number(x.max())}"


def _index(x: Tensor, states: Tensor, what: str) -> Tensor:
    """The row of ``states`` that each sample equals."""
    rows, s = x.reshape(len(x), -1).double(), states.reshape(len(states), -1).double()
    shape(rows, (None, s.shape[1]), what)
    keys, inverse = torch.unique(torch.cat([s, rows]), dim=0, return_inverse=True)
    lookup = torch.full((len(keys),), -1)
    lookup[inverse[: len(s)]] = torch.arange(len(s))
    found = lookup[inverse[len(s) :]]
    if (found < 0).any():
        bad = rows[int((found < 0).nonzero()[0])]
        raise fail(
            f"{what} drew a state that does not exist", {"got": show(bad), "expected": f"one of {len(s)} states"}
        )
    return found


def chi_square(counts: Tensor, probs: Tensor) -> tuple[float, float, int]:
    """Pearson's test of counts (k,) against probabilities (k,): p-value, statistic, degrees of freedom."""
    from scipy.stats import chi2

    n = counts.sum()
    if ((probs <= 0) & (counts > 0)).any() or counts.shape != probs.shape:
        return 0.0, math.inf, len(probs) - 1
    expected = n * probs / probs.sum()
    small = expected < 5
    observed = torch.cat([counts[~small], counts[small].sum()[None]])
    expected = torch.cat([expected[~small], expected[small].sum()[None]])
    keep = expected > 0
    statistic = float(((observed[keep] - expected[keep]) ** 2 / expected[keep]).sum())
    dof = max(int(keep.sum()) - 1, 1)
    return float(chi2.sf(statistic, dof)), statistic, dof


def _sampling_slips(q: Tensor, states: Tensor | None) -> list[tuple[str, Tensor]]:
    slips = [
        ("every state is equally likely: the probabilities are not used.", torch.ones_like(q)),
        ("the squared probabilities, renormalised: logits used twice, or a temperature of 1/2.", q.square()),
        ("the roots of the probabilities, renormalised: logits halved, or a temperature of 2.", q.sqrt()),
        ("the categories are in reverse order.", q.flip(0)),
    ]
    if states is not None:
        s = states.reshape(len(states), -1)
        marginal = torch.ones_like(q)
        for column in s.T:
            marginal *= (column[:, None] == column[None, :]).double() @ (q / q.sum())
        slips.insert(0, ("right marginals, but the variables are drawn independently of each other.", marginal))
    return [(s, v / v.sum()) for s, v in slips]


def order(errors: Any, steps: Any, want: float, what: str = "", tolerance: float = 0.25) -> None:
    """Fail unless the error falls like (number of steps) ** -want: the slope of log error against log steps.

    errors, steps  (k,) absolute errors at increasing numbers of steps; k >= 3, none of them at rounding level
    """
    what = what or "the solver"
    e, n = to_tensor(errors, what).double(), to_tensor(steps, "the numbers of steps").double()
    require(len(n) >= 3, f"order: {len(n)} step counts do not give a slope; give at least 3")
    shape(e, n.shape, what)
    rows = {"errors": show(e), "at steps": show(n)}
    if not e.isfinite().all() or not (e > 0).all():
        raise fail(f"the errors of {what} are not positive numbers", rows)
    u, v = n.log() - n.log().mean(), e.log() - e.log().mean()
    slope = -float((u * v).sum() / (u * u).sum())
    if abs(slope - want) <= tolerance:
        return
    mistake = None
    if slope < 0.2:
        mistake = "more steps do not help: the solver goes to another answer (a wrong coefficient or end point)."
    elif want > 1.5 and abs(slope - 1) <= 0.3:
        mistake = "this is Euler's order: the second slope is unused, or taken at the old point or time."
    elif slope > want + tolerance:
        mistake = "faster than expected: a higher-order rule than the one asked for?"
    rows["got"], rows["expected"] = f"order {slope:.3g}", f"order {want:g} (+- {tolerance:g})"
    raise fail(f"{what} converges with the wrong order", rows, mistake)
