"""Right and wrong answers to the tiny chapter."""

import torch

from autograde.authoring.variants import alternative, mutant


@alternative("running_sum")
def with_a_loop(x):
    out, total = torch.zeros_like(x), 0.0
    for i, value in enumerate(x):
        total = total + value
        out[i] = total
    return out


@alternative("running_sum")
def recursive(x):
    return x if len(x) < 2 else torch.cat([recursive(x[:-1]), x.sum().reshape(1)])


@mutant("running_sum", says="must include x_i itself")
def exclusive(x):
    return torch.tril(torch.ones(len(x), len(x), dtype=x.dtype), -1) @ x


@mutant("running_sum", says="negative numbers count too")
def positive_part(x):
    return torch.tril(torch.ones(len(x), len(x), dtype=x.dtype)) @ x.clamp_min(0)


@mutant("running_sum", says="twice")
def doubled(x):
    return 2 * torch.tril(torch.ones(len(x), len(x), dtype=x.dtype)) @ x


@mutant("running_sum", says="shape")
def only_the_last(x):
    return x.sum()


@mutant("running_sum", says="did not stop")
def forever(x):
    while True:
        x = x + 1


@mutant("running_sum", says="ended the Python process")
def leaves(x):
    import os

    os._exit(0)


@alternative("noisy")
def by_normal(x, generator=None):
    return torch.normal(x, torch.ones_like(x), generator=generator)


@alternative("noisy")
def in_place(x, generator=None):
    return x.clone().add_(torch.empty_like(x).normal_(generator=generator))


@mutant("noisy", says="the variance of noisy(0)")
def no_noise(x, generator=None):
    return x


@mutant("noisy", says="the variance of noisy(0)")
def half_noise(x, generator=None):
    return x + 0.5 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


@mutant("noisy", says="the variance of noisy(0)")
def double_noise(x, generator=None):
    return x + 2 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


@mutant("noisy", says="the mean of noisy(0)")
def uniform(x, generator=None):
    return x + torch.rand(x.shape, generator=generator, dtype=x.dtype)


@mutant("noisy", says="the mean of noisy(3)")
def forgets_x(x, generator=None):
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


@mutant("noisy", says="NotImplementedError")
def blank(x, generator=None):
    raise NotImplementedError
