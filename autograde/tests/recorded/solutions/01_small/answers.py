"""Chapter 01: right answers in other styles, and the mistakes that people make, each with what they should read."""

import torch

from autograde.authoring import right, wrong


@right("softened")
def by_loop(x, scale):
    total, sums = torch.zeros_like(x[..., 0]), []
    for i in range(x.shape[-1]):
        total = total + scale * x[..., i].sigmoid()
        sums.append(total)
    return torch.stack(sums, -1)


@right("softened")
def by_where(x, scale):
    n = x.shape[-1]
    return torch.stack([scale * torch.sigmoid(x[..., : i + 1]).sum(-1) for i in range(n)], -1)


def sums(values):
    return values @ torch.tril(torch.ones(values.shape[-1], values.shape[-1], dtype=values.dtype)).T


@wrong("softened", "the sum must include x_i itself")
def exclusive(x, scale):
    return sums(scale * x.sigmoid()) - scale * x.sigmoid()


@wrong("softened", "the scale is missing")
def no_scale(x, scale):
    return sums(x.sigmoid())


@wrong("softened", "the sigmoid is missing")
def no_sigmoid(x, scale):
    return sums(scale * x)


@wrong("softened", "the sum runs from the end")
def from_the_end(x, scale):
    return sums((scale * x.sigmoid()).flip(-1)).flip(-1)


@wrong("softened", "the sigmoid belongs on each term, not on the sum")
def sigmoid_of_sum(x, scale):
    return scale * sums(x).sigmoid()


@wrong("softened", "the sums are means: do not divide by i")
def means(x, scale):
    return sums(scale * x.sigmoid()) / torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)


@right("noisy")
def in_one_call(x, std, generator=None):
    return torch.normal(x, std * torch.ones_like(x), generator=generator)


@right("noisy")
def by_empty(x, std, generator=None):
    return x + torch.empty_like(x).normal_(0, std, generator=generator)


@wrong("noisy", "the noise has the variance for its standard deviation")
def variance(x, std, generator=None):
    return x + std**2 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


@wrong("noisy", "the noise is uniform, not normal")
def uniform(x, std, generator=None):
    return x + std * 12**0.5 * (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5)


@wrong("noisy", "one draw for the whole batch")
def shared(x, std, generator=None):
    return x + std * torch.randn(x.shape[1:], generator=generator, dtype=x.dtype)


@wrong("noisy", "one draw for the two coordinates")
def shared_coordinate(x, std, generator=None):
    return x + std * torch.randn(x.shape[0], 1, generator=generator, dtype=x.dtype)


@wrong("noisy", "x is forgotten")
def no_x(x, std, generator=None):
    return std * torch.randn(x.shape, generator=generator, dtype=x.dtype)


@wrong("noisy", "the noise does not come from the generator")
def own_stream(x, std, generator=None):
    return x + std * torch.randn(x.shape, dtype=x.dtype)


@right("is_even")
def on_a_grid(f):
    x = torch.arange(-3, 3.001, 0.01, dtype=torch.float64)
    return torch.allclose(f(x), f(-x))


@right("is_even")
def at_random(f):
    x = 6 * torch.rand(4000, dtype=torch.float64) - 3
    return (f(x) - f(-x)).abs().max() < 1e-8


@wrong("is_even", "one point is looked at; a function may differ elsewhere")
def at_two(f):
    return bool((f(torch.tensor(2.0, dtype=torch.float64)) - f(torch.tensor(-2.0, dtype=torch.float64))).abs() < 1e-6)


@wrong("is_even", "the tolerance is too wide for small differences")
def tolerant(f):
    x = torch.linspace(0, 3, 301, dtype=torch.float64)
    return bool((f(x) - f(-x)).abs().max() < 0.5)


@wrong("is_even", "this accepts odd functions: f(-x) = -f(x)")
def odd(f):
    x = torch.linspace(0, 3, 301, dtype=torch.float64)
    return bool((f(x).abs() - f(-x).abs()).abs().max() < 1e-6)


@wrong("is_even", "the mean difference hides a difference in few points")
def on_average(f):
    x = torch.linspace(0, 3, 31, dtype=torch.float64)
    return bool((f(x) - f(-x)).abs().median() < 1e-6)


@wrong("is_even", "a constant function is even as well")
def not_constant(f):
    x = torch.linspace(0, 3, 301, dtype=torch.float64)
    return bool((f(x) - f(-x)).abs().max() < 1e-6 and f(x).std() > 1e-6)


@wrong("is_even", "every verdict is the opposite")
def opposite(f):
    x = torch.linspace(0, 3, 301, dtype=torch.float64)
    return not bool((f(x) - f(-x)).abs().max() < 1e-6)
