"""Chapter 09: the cases of each exercise, and the truth of each."""

import math
from itertools import pairwise

import torch

from autograde.authoring import Exercise
from coursekit.checks import Sampled, Wrong

# ---------------------------------------------------------------- ancestral_sample


def walk(answer, abar, steps, gain, shift, c_x, c_0, std, seed):
    """Run the sampler on a straight denoiser; z = (x_j - the mean that the last state asks for) / the right deviation."""
    asked, n, shape = [], 4000, gain.shape[1:]
    make = lambda s: torch.Generator().manual_seed(s)

    def denoise(x, k):
        if asked[-1:] != [int(k)]:
            asked.append(int(k))
        return gain[int(k)] * x + shift[int(k)]

    start = 0.6 + 1.2 * torch.randn(n, *shape, generator=make(seed), dtype=gain.dtype)
    x = start.clone()
    got = answer(denoise, x, abar, list(steps), make(seed + 1))
    want = (len(steps) - 1, n, *shape)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"a {type(got).__name__} came back, not one tensor: torch.stack(states)")
    if got.shape != want:
        raise Wrong(
            f"the shape is {tuple(got.shape)}, not {want}: all states after the start, stacked"
        )
    if not torch.equal(x, start):
        raise Wrong("the x that was given has changed: work on a copy")
    first, few = asked[:], start[:50]
    again = [answer(denoise, few.clone(), abar, list(steps), make(s)) for s in (1, 1, 2)]
    before = torch.stack([start, *got[:-1]])
    mean = torch.stack(
        [a * b + c * (gain[k] * b + shift[k]) for a, c, b, k in zip(c_x, c_0, before, steps)]
    )
    noisy = std > 0
    exact = {
        "the levels that the denoiser is asked about": first,
        "entries of another dtype than x": int(got.dtype != x.dtype),
        "difference of two runs with equal generators": (again[0] - again[1]).abs().max(),
        "two runs with different generators are alike": int(torch.equal(again[0], again[2])),
        "last state minus the guess, in the step to 0": (got - mean)[~noisy].abs().max(),
    }
    if not noisy.any():
        return exact
    size = std[noisy].reshape(-1, *[1] * (got.ndim - 1))
    rows = [
        f"the step {k} to {j}" for (k, j), on in zip(zip(steps, steps[1:]), noisy.tolist()) if on
    ]
    z = ((got - mean)[noisy] / size).movedim(1, 0).flatten(2)
    old = before[noisy].movedim(1, 0).flatten(2)
    noise = {
        "mean of the noise z": Sampled(z, rows),
        "mean of z^2": Sampled(z**2, rows),
        "mean of |z|": Sampled(z.abs(), rows),
        "z times the state before": Sampled(z * (old - old.mean(0)) / old.std(0), rows),
        "z times the z of the step before": Sampled(z[:, 1:] * z[:, :-1], rows[1:]),
        "z times the z of the next sample": Sampled(z * z.roll(1, 0), rows),
        "z of one coordinate times z of the next": Sampled(z * z.roll(1, 2), rows),
    }
    return exact | noise


CENTRE, WIDTH = (
    torch.tensor([0.8, -1.5], dtype=torch.float64),
    torch.tensor([0.5, 1.3], dtype=torch.float64),
)
ABOUT = "z = (x_j - the posterior's mean, from the guess and your own x_k) / its standard deviation: N(0, 1), fresh for each step, sample, entry"
ancestral_sample = Exercise(view=walk, atol=1e-5, about=ABOUT, show=False)


def chain(text, betas, steps, hidden=False, dtype=torch.float64, shape=(2,)):
    """Data N(CENTRE, WIDTH^2): the perfect denoiser is a straight line, and all the numbers of a step are known."""
    abar = torch.cat(
        [torch.ones(1), (1 - torch.tensor(betas, dtype=torch.float64)).cumprod(0)]
    ).double()
    a, b = abar[torch.tensor(steps[:-1])], abar[torch.tensor(steps[1:])]
    gain = abar.sqrt()[:, None] * WIDTH**2 / (abar[:, None] * WIDTH**2 + 1 - abar[:, None])
    shift = CENTRE * (1 - gain * abar.sqrt()[:, None])
    c_0, c_x = b.sqrt() * (1 - a / b) / (1 - a), (a / b).sqrt() * (1 - b) / (1 - a)
    std = ((1 - a / b) * (1 - b) / (1 - a)).sqrt()
    gain, shift = (v.reshape(-1, *shape).to(dtype) for v in (gain, shift))
    m = len(steps) - 2
    want = {
        "the levels that the denoiser is asked about": steps[:-1],
        "entries of another dtype than x": 0,
        "difference of two runs with equal generators": 0.0,
        "two runs with different generators are alike": int(m == 0),
        "last state minus the guess, in the step to 0": 0.0,
    }
    table = lambda value, n=m: torch.full((n, 2), float(value))
    want |= (
        {
            "mean of the noise z": table(0),
            "mean of z^2": table(1),
            "mean of |z|": table((2 / math.pi) ** 0.5),
            "z times the state before": table(0),
            "z times the z of the step before": table(0, m - 1),
            "z times the z of the next sample": table(0),
            "z of one coordinate times z of the next": table(0),
        }
        if m > 0
        else {}
    )
    inputs = (
        abar,
        steps,
        gain,
        shift,
        c_x.to(dtype),
        c_0.to(dtype),
        std.to(dtype),
        10 * len(ancestral_sample.cases),
    )
    left_out = any(k - j > 1 for k, j in pairwise(steps))
    ancestral_sample.case(
        text,
        inputs,
        want,
        hidden=hidden,
        states_left_out=left_out,
        entries=str(dtype)[6:],
        shape_of_a_sample=str(shape),
    )


BETAS = [0.05, 0.1, 0.15, 0.3, 0.4, 0.5, 0.7]
chain("all steps [7, 6, ..., 0]", BETAS, [7, 6, 5, 4, 3, 2, 1, 0])
chain("the steps [7, 4, 1, 0]", BETAS, [7, 4, 1, 0])
chain("the steps [6, 3, 2, 0]", BETAS, [6, 3, 2, 0])
chain("all steps [4, 3, 2, 1, 0]", BETAS[3:], [4, 3, 2, 1, 0], hidden=True)
chain("the steps [5, 0]", BETAS, [5, 0], hidden=True)
cosine = [math.cos((k / 60 + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(61)]
cosine = [min(1 - cosine[k + 1] / cosine[k], 0.999) for k in range(60)]
chain(
    "the steps [60, 45, 30, 12, 3, 0] of a cosine chain",
    cosine,
    [60, 45, 30, 12, 3, 0],
    hidden=True,
)
chain(
    "all steps [3, 2, 1, 0], samples of shape (1, 2)",
    BETAS[4:],
    [3, 2, 1, 0],
    hidden=True,
    shape=(1, 2),
)
