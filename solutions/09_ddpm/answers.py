"""Chapter 09: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math
from itertools import pairwise

import torch

from autograde.authoring import right, wrong


def posterior_of(x0, xk, abar_k, abar_j):
    a = abar_k / abar_j
    mean = (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k)
    return mean, (1 - a) * (1 - abar_j) / (1 - abar_k)


@right("ancestral_sample")
def by_hand(denoise, x, abar, steps, generator=None):
    states = torch.empty(len(steps) - 1, *x.shape, dtype=x.dtype)
    for i in range(len(steps) - 1):
        k, j = steps[i], steps[i + 1]
        ak, aj = float(abar[k]), float(abar[j])
        a = ak / aj
        z = torch.empty_like(x).normal_(generator=generator)
        guess = denoise(x, k)
        x = (aj**0.5 * (1 - a) * guess + a**0.5 * (1 - aj) * x) / (1 - ak)
        if j > 0:
            x = x + ((1 - a) * (1 - aj) / (1 - ak)) ** 0.5 * z
        states[i] = x
    return states


@right("ancestral_sample")
def through_the_noise(denoise, x, abar, steps, generator=None):
    states = []
    for k, j in zip(steps[:-1], steps[1:]):
        clean = denoise(x, k)
        eps = (x - abar[k].sqrt() * clean) / (1 - abar[k]).sqrt()
        tau = ((1 - abar[j]) / (1 - abar[k]) * (1 - abar[k] / abar[j])).sqrt()
        x = abar[j].sqrt() * clean + (1 - abar[j] - tau**2).clamp_min(0).sqrt() * eps
        x = x + tau * torch.randn(*x.shape, generator=generator, dtype=x.dtype)
        states += [x]
    return torch.stack(states)


def step(mean, variance, z, **_):
    return mean + math.sqrt(variance) * z


def loop(
    denoise,
    x,
    abar,
    steps,
    generator,
    step=step,
    pairs=pairwise,
    keep=None,
    level=lambda k, j: j,
    ask=lambda k, j: k,
    draw=None,
    guess_of=lambda g: g,
    swap=False,
    carry=True,
    before=False,
):
    """The sampler with one thing changed."""
    draw, states = draw or (lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)), []
    for k, j in pairs(steps):
        guess = guess_of(denoise(x, ask(k, j)))
        first = (x, guess) if swap else (guess, x)
        mean, variance = posterior_of(*first, float(abar[k]), float(abar[level(k, j)]))
        new = step(mean, variance, draw(x), k=k, j=j, abar=abar, guess=guess)
        states.append(x if before else guess if keep else new)
        x = new if carry else x
    return torch.stack(states)


@wrong(
    "ancestral_sample",
    "no noise is added: each step must draw from the posterior, not take its mean",
)
def no_noise_anywhere(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, step=lambda m, v, z, **_: m)


@wrong(
    "ancestral_sample", "almost no noise is added: its size is the root of the posterior's variance"
)
def only_the_mean(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, step=lambda m, v, z, **_: m + 1e-4 * z)


@wrong("ancestral_sample", "the noise is multiplied by the variance; it needs its root")
def variance_for_root(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, step=lambda m, v, z, **_: m + v * z)


@wrong("ancestral_sample", "noise is added in the last step; the posterior's variance is 0 there")
def noise_at_the_end(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        step=lambda m, v, z, j, k, abar, **_: m + math.sqrt(v if j else 1 - float(abar[k])) * z,
    )


@wrong(
    "ancestral_sample",
    "the noise has the forward variance beta; the posterior's is smaller, and 0 in the last step",
)
def forward_noise(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        step=lambda m, v, z, j, k, abar, **_: (
            m + math.sqrt(1 - float(abar[k]) / float(abar[j])) * z
        ),
    )


@wrong(
    "ancestral_sample",
    "x_k is forgotten: this draws from q(x_j | x_0 hat), not from q(x_j | x_k, x_0 hat)",
)
def noised_again(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        step=lambda m, v, z, j, abar, guess, **_: (
            float(abar[j]) ** 0.5 * guess + (1 - float(abar[j])) ** 0.5 * z
        ),
    )


@wrong("ancestral_sample", "the denoiser was asked about j; the picture that it sees is x_k")
def asks_about_j(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, ask=lambda k, j: j)


@wrong("ancestral_sample", "x_0 hat and x_k are exchanged: posterior_of(guess, x, ...)")
def guess_and_state_exchanged(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, swap=True)


@wrong("ancestral_sample", "every step begins again at the first x: carry the new state on")
def always_from_the_first(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, carry=False)


@wrong(
    "ancestral_sample",
    "the posterior is that of one step, from k to k - 1; j is the next state of `steps`",
)
def posterior_of_one_step(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, level=lambda k, j: k - 1)


@wrong("ancestral_sample", "the step to j = 1 adds noise as well; only the step to j = 0 does not")
def quiet_one_step_early(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        step=lambda m, v, z, j, **_: m + (math.sqrt(v) * z if j > 1 else 0),
    )


@wrong("ancestral_sample", "the guess was clipped to [-1, 1]; not all data lives there")
def guess_clipped_on_the_way(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, guess_of=lambda g: g.clamp(-1, 1))


@wrong("ancestral_sample", "the states are kept before the step: keep x after it")
def kept_before_the_step(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, before=True)


@wrong("ancestral_sample", "the guesses x_0 hat came back; return the states x_j that were drawn")
def guesses_for_states(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, keep=True)


@wrong("ancestral_sample", "`steps` goes from the noise to 0, in this order; do not sort it")
def ascending(denoise, x, abar, steps, generator=None):
    return loop(
        denoise, x, abar, steps, generator, pairs=lambda s: [(k, j) for j, k in pairwise(sorted(s))]
    )


@wrong("ancestral_sample", "every level was walked through; `steps` says which states to visit")
def every_step_whatever(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, pairs=lambda s: pairwise(range(s[0], -1, -1)))


@wrong("ancestral_sample", "the first step is left out: it goes from steps[0] to steps[1]")
def first_state_left_out(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator, pairs=lambda s: pairwise(s[1:]))


@wrong(
    "ancestral_sample",
    "all samples get the same noise: each needs its own, torch.randn(x.shape, ...)",
)
def one_noise_for_all(denoise, x, abar, steps, generator=None):
    return loop(
        denoise,
        x,
        abar,
        steps,
        generator,
        draw=lambda x: torch.randn(x.shape[1:], generator=generator, dtype=x.dtype),
    )


@wrong("ancestral_sample", "all noise must come from `generator`")
def another_generator(denoise, x, abar, steps, generator=None):
    return loop(
        denoise, x, abar, steps, generator, draw=lambda x: torch.randn(x.shape, dtype=x.dtype)
    )


@wrong("ancestral_sample", "every step adds the same z: draw anew in each")
def one_noise_for_all_steps_back(denoise, x, abar, steps, generator=None):
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return loop(denoise, x, abar, steps, generator, draw=lambda x: z)


@wrong("ancestral_sample", "the walk must begin at the x that is given, not at noise of its own")
def begins_at_its_own_noise(denoise, x, abar, steps, generator=None):
    return loop(
        denoise, torch.randn(x.shape, generator=generator, dtype=x.dtype), abar, steps, generator
    )


@wrong("ancestral_sample", "all states after the start are asked for, not the last alone")
def only_the_last(denoise, x, abar, steps, generator=None):
    return loop(denoise, x, abar, steps, generator)[-1]


@wrong("ancestral_sample", "one tensor is asked for: torch.stack(states)")
def a_list_of_states(denoise, x, abar, steps, generator=None):
    return list(loop(denoise, x, abar, steps, generator))
