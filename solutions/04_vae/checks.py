"""Chapter 04: the cases of each exercise, and the truth of each."""

import math

import torch
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from autograde.authoring import Exercise, recipe


def numbers(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def decoder(k, n, seed, dtype, std=1.0):
    """A small random network from k latents to n logits."""
    a, b = std * numbers(k, 5, seed=100 * seed), std * numbers(5, seed=100 * seed + 1)
    c, d = std * numbers(5, n, seed=100 * seed + 2), std * numbers(n, seed=100 * seed + 3)
    a, b, c, d = (v.to(dtype) for v in (a, b, c, d))
    return lambda z: torch.tanh(z @ a + b) @ c + d


# ---------------------------------------------------------------- gaussian_kl


def by_quadrature(mean, logvar):
    """The integral of q log(q / p) over a fine grid that reaches twelve standard deviations to each side."""
    std = (logvar / 2).exp()
    q, p = Normal(mean[..., None], std[..., None]), Normal(0.0, 1.0)
    z = mean[..., None] + std[..., None] * torch.linspace(-12, 12, 4001, dtype=mean.dtype)
    return torch.trapezoid(q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z)), z)


gaussian_kl = Exercise(truth=by_quadrature, gradient=["mean", "logvar"], atol=1e-9)


def guesses(text, mean, logvar, hidden=False):
    mean, logvar = (torch.as_tensor(v, dtype=torch.float64) for v in (mean, logvar))
    return gaussian_kl.case(
        text, (mean, logvar), hidden=hidden, pictures=len(mean), latents=mean.shape[1]
    )


three = guesses(
    "3 pictures, 2 latents",
    [[0.0, 1.3], [-0.7, 0.4], [2.0, -1.1]],
    [[0.0, 0.8], [-1.5, 0.3], [0.9, -2.2]],
)
guesses(
    "2 pictures, 3 latents",
    [[0.6, -1.2, 0.3], [1.7, 0.1, -0.4]],
    [[0.5, -0.9, 1.1], [-2.0, 0.2, 0.7]],
)
guesses("a far and a very sharp guess", [[30.0, 0.2]], [[0.3, -40.0]])
guesses("7 pictures, 5 latents", 3 * numbers(7, 5, seed=0), 2 * numbers(7, 5, seed=1), hidden=True)
guesses(
    "a guess that is far, and one that is sharper still",
    [[-25.0], [0.4]],
    [[0.1], [-44.0]],
    hidden=True,
)
gaussian_kl.again(three)

# ---------------------------------------------------------------- elbo


def elbo_problem(b, k, n, beta, seed, dtype=torch.float64):
    x = (numbers(b, n, seed=seed) > 0).to(dtype)
    parts = [numbers(b, k, seed=seed + i).to(dtype) for i in (1, 2, 3)]
    return x, *parts, decoder(k, n, seed, dtype), beta


def by_distributions(x, mean, logvar, eps, decode, beta=1.0):
    q = Normal(mean, (logvar / 2).exp())
    inked = Bernoulli(logits=decode(q.mean + q.stddev * eps)).log_prob(x)
    return inked.sum(1) - beta * kl_divergence(q, Normal(torch.zeros_like(mean), 1.0)).sum(1)


elbo = Exercise(truth=by_distributions, gradient=["mean", "logvar"])
for b, k, n, beta, seed, hidden, dtype in [
    (5, 3, 7, 1.0, 11, False, torch.float64),
    (5, 3, 7, 4.0, 11, False, torch.float64),
    (3, 2, 4, 1.0, 12, False, torch.float64),
    (2, 6, 3, 0.5, 23, True, torch.float64),
    (1, 1, 9, 2.0, 31, True, torch.float64),
    (4, 2, 5, 1.5, 41, True, torch.float32),
]:
    name = str(dtype)[6:]
    elbo.case(
        f"{b} pictures of {n} pixels, {k} latents, beta = {beta:g}",
        recipe(elbo_problem, b=b, k=k, n=n, beta=beta, seed=seed, dtype=dtype),
        hidden=hidden,
        room=1.0 if dtype == torch.float64 else 1e3,
        beta=beta,
        pictures=b,
        latents=k,
        dtype=name,
    )

# ---------------------------------------------------------------- linear_posterior


def mean_and_covariance(answer, x, W, bias, std):
    found = answer(x, W, bias, std)
    return dict(zip(("mean", "covariance"), found)) | {"number of results": len(found)}


def by_conditioning(x, W, bias, std):
    """Condition the joint Gaussian of (z, x) on x: never looks at a precision, inverts a (d, d) matrix instead."""
    gain = W.T @ torch.linalg.inv(W @ W.T + std**2 * torch.eye(len(W), dtype=W.dtype))
    return (x - bias) @ gain.T, torch.eye(W.shape[1], dtype=W.dtype) - gain @ W


# the course never differentiates the perfect encoder
linear_posterior = Exercise(
    truth=by_conditioning,
    view=mean_and_covariance,
    atol=1e-9,
    rtol=1e-7,
    equivalent=["the gradient is cut"],
)
for b, d, k, std, seed, hidden in [
    (4, 5, 3, 0.7, 3, False),
    (3, 4, 2, 1.5, 5, False),
    (2, 3, 4, 0.6, 7, False),
    (3, 2, 4, 1.6, 13, True),
    (1, 6, 1, 0.2, 17, True),
    (6, 1, 2, 1.0, 19, True),
]:
    inputs = numbers(b, d, seed=seed), numbers(d, k, seed=seed + 1), numbers(d, seed=seed + 2), std
    case = linear_posterior.case(
        f"{b} pictures of {d} pixels, {k} latents, s = {std}",
        inputs,
        hidden=hidden,
        pictures=b,
        latents=k,
        s=std,
    )
    if (b, d) == (4, 5):
        linear_posterior.again(case)

# ---------------------------------------------------------------- iwae


def iwae_problem(K, b, k, n, seed, dtype=torch.float64):
    x = (numbers(b, n, seed=seed) > 0).to(dtype)
    mean, logvar = (numbers(b, k, seed=seed + i).to(dtype) for i in (1, 2))
    return x, mean, logvar, numbers(K, b, k, seed=seed + 7).to(dtype), decoder(k, n, seed, dtype)


def weight_by_weight(x, mean, logvar, eps, decode):
    """Guess by guess with torch.distributions; the largest weight is taken out before the mean."""
    q = Normal(mean, (logvar / 2).exp())
    z = mean + q.stddev * eps
    inked = torch.stack([Bernoulli(logits=decode(guess)).log_prob(x).sum(1) for guess in z])
    log_w = inked + Normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
    top = log_w.amax(0)
    return top + (log_w - top).exp().mean(0).log()


iwae = Exercise(truth=weight_by_weight, gradient=["mean", "logvar"], atol=1e-9)
for K, b, k, n, seed, hidden, dtype in [
    (6, 4, 3, 5, 51, False, torch.float64),
    (3, 2, 2, 6, 53, False, torch.float64),
    (4, 5, 1, 3, 55, False, torch.float64),
    (5, 2, 3, 2000, 91, False, torch.float64),
    (1, 3, 2, 4, 71, True, torch.float64),
    (9, 1, 1, 6, 81, True, torch.float64),
    (4, 4, 4, 4, 85, True, torch.float64),
    (2, 3, 2, 3000, 95, True, torch.float64),
    (3, 2, 2, 5, 97, True, torch.float32),
]:
    iwae.case(
        f"{K} guesses for {b} pictures of {n} pixels, {k} latents",
        recipe(iwae_problem, K=K, b=b, k=k, n=n, seed=seed, dtype=dtype),
        hidden=hidden,
        room=1.0 if dtype == torch.float64 else 3e3,
        guesses=K,
        pictures=b,
        pixels=n,
        dtype=str(dtype)[6:],
    )

# ---------------------------------------------------------------- free_bits


def by_hand(kl, floor):
    columns = [[row[j] for row in kl.tolist()] for j in range(kl.shape[1])]
    total = sum(max(floor, math.fsum(column) / len(column)) for column in columns)
    return torch.tensor(total, dtype=kl.dtype)


free_bits = Exercise(truth=by_hand, gradient=["kl"])
TABLE = [[2.0, 0.1, 0.0], [0.2, 0.2, 0.0], [3.0, 0.1, 1.2], [2.5, 0.0, 0.0]]
talk = free_bits.case(
    "a latent that talks, one that whispers, one that speaks up once",
    (torch.tensor(TABLE, dtype=torch.float64), 0.5),
    floor=0.5,
)
free_bits.case("3 pictures, 4 latents, floor 1.2", (numbers(3, 4, seed=4).exp(), 1.2), floor=1.2)
free_bits.case("4 pictures, 3 latents, floor 9", (numbers(4, 3, seed=7).exp(), 9.0), floor=9.0)
SPREAD = torch.tensor(
    [0.2, 1.0, 3.0, 0.5, 1.6], dtype=torch.float64
)  # columns below the floor and above it
free_bits.case(
    "6 pictures, 5 latents, floor 1.1", (SPREAD * numbers(6, 5, seed=5).exp(), 1.1), floor=1.1
)
free_bits.case(
    "2 pictures, 5 latents, floor 0.8", (SPREAD * numbers(2, 5, seed=6).exp(), 0.8), floor=0.8
)
for floor in (0.0, 0.9, 1.7, 50.0):
    free_bits.case(
        f"7 pictures, 5 latents, floor {floor:g}",
        (numbers(7, 5, seed=8).exp(), floor),
        hidden=True,
        floor=floor,
    )
free_bits.again(talk)

# ---------------------------------------------------------------- categorical_elbo


def word_problem(b, g, v, n, tau, seed, size=1.5, dtype=torch.float64):
    x = (numbers(b, n, seed=seed) > 0).to(dtype)
    u = torch.rand(b, g, v, generator=torch.Generator().manual_seed(seed + 2), dtype=torch.float64)
    gumbel = -(-u.clamp(1e-9, 1 - 1e-9).log()).log()
    return (
        x,
        (size * numbers(b, g, v, seed=seed + 1)).to(dtype),
        gumbel.to(dtype),
        tau,
        decoder(g * v, n, seed, dtype),
    )


def word_by_word(x, logits, gumbel, tau, decode):
    uniform = Categorical(logits=torch.zeros_like(logits))
    rate = kl_divergence(Categorical(logits=logits), uniform).sum(1)
    y = torch.softmax((logits + gumbel) / tau, -1)
    return Bernoulli(logits=decode(y.flatten(1))).log_prob(x).sum(1) - rate


categorical_elbo = Exercise(truth=word_by_word, gradient=["logits"], atol=1e-9)
for b, g, v, n, tau, seed, size, hidden, dtype in [
    (4, 3, 2, 5, 0.7, 4, 1.5, False, torch.float64),
    (4, 3, 2, 5, 2.0, 4, 1.5, False, torch.float64),
    (3, 2, 4, 6, 0.5, 6, 1.5, False, torch.float64),
    (2, 5, 3, 7, 0.3, 24, 1.5, True, torch.float64),
    (3, 1, 6, 2, 1.0, 34, 1.5, True, torch.float64),
    (3, 2, 4, 5, 0.5, 44, 900.0, True, torch.float64),
    (2, 3, 3, 4, 0.8, 46, 1200.0, True, torch.float64),
    (2, 3, 3, 4, 0.8, 48, 1.0, True, torch.float32),
]:
    sure = ", a very sure encoder" if size > 10 else ""
    categorical_elbo.case(
        f"{b} pictures, {g} symbols of {v} values, tau = {tau}{sure}",
        recipe(word_problem, b=b, g=g, v=v, n=n, tau=tau, seed=seed, size=size, dtype=dtype),
        hidden=hidden,
        room=1.0 if dtype == torch.float64 else 1e3,
        tau=tau,
        symbols=g,
        values=v,
        sure_encoder=size > 10,
        dtype=str(dtype)[6:],
    )

# ---------------------------------------------------------------- is_honest


def bound_from(table, noise, n):
    """A bound that is known picture by picture: the mean of its draws, and their standard deviation."""
    table, noise = (torch.tensor(v, dtype=torch.float64) for v in (table, noise))

    def bound(x):
        code = (x.double() @ 2.0 ** torch.arange(n - 1, -1, -1).double()).long()
        return table[code] + noise[code] * torch.randn(len(x), dtype=torch.float64)

    return bound, n


def world(n, seed):
    """A decoder from 2 latents to n pixels; log p of all pictures and a nearly perfect q, by quadrature."""
    decode = decoder(2, n, seed, torch.float64, std=1.3)
    axis = torch.linspace(-6, 6, 121, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n).reshape(
        -1, n
    )
    logits = decode(z)
    joint = logits @ states.T - torch.nn.functional.softplus(logits).sum(1, keepdim=True)
    joint = joint + Normal(0.0, 1.0).log_prob(z).sum(1, keepdim=True)
    share = joint.softmax(0)
    mean = share.T @ z
    return (
        states,
        torch.logsumexp(joint, 0) + 2 * math.log(0.1),
        mean,
        (share.T @ z**2 - mean**2).log(),
        decode,
    )


def draws_of(n, seed, kind, runs=4000):
    """Many draws (runs, 2^n) of a real bound, right or with a slip in it."""
    states, log_p, mean, logvar, decode = world(n, seed)
    g = torch.Generator().manual_seed(1000 + seed)
    logvar = logvar + (2.0 if kind == "wide" else 0.0)
    std = (logvar / 2).exp()
    scale = {"no noise": 0 * std, "variance": logvar.exp()}.get(kind, std)
    rate = kl_divergence(Normal(mean, std), Normal(torch.zeros_like(mean), 1.0))

    def once():
        eps = torch.randn(mean.shape, generator=g, dtype=torch.float64)
        z = mean + scale * eps
        inked = Bernoulli(logits=decode(z)).log_prob(states)
        return inked, inked.sum(1) - z.square().sum(1) / 2 + (eps.square() + logvar).sum(1) / 2

    if kind.startswith("pool"):
        log_w = [
            torch.logsumexp(torch.stack([once()[1] for _ in range(4)]), 0) for _ in range(runs // 4)
        ]
        return torch.stack(log_w) - (0.0 if kind == "pool sum" else math.log(4))
    inked = torch.stack([once()[0] for _ in range(runs)])
    beta = {"no rate": 0.0, "half": 0.5}.get(kind, 1.0)
    pixels = inked.mean(2) if kind == "mean pixels" else inked.sum(2)
    return pixels - beta * (rate.mean(1) if kind == "mean latents" else rate.sum(1))


is_honest = Exercise(verdict="bound", show=False)


def judged(text, n, seed, want, kind="", shift=0.0, spread=0.0, hidden=False, fact="", last=None):
    if kind:
        draws = draws_of(n, seed, kind)
        table, noise = draws.mean(0), draws.std(0)
    else:
        table = world(n, seed)[1] + shift
        noise = torch.full_like(table, spread)
    if last is not None:
        table[last] = 0.0
    table, noise = ([round(v, 6) for v in part.tolist()] for part in (table, noise))
    total = sum(map(math.exp, table))
    is_honest.case(
        f"{text} ({2**n} pictures)",
        recipe(bound_from, table=table, noise=noise, n=n),
        want,
        hidden=hidden,
        fact=fact or f"exp of its mean sums to {total:.3f} over all pictures",
        sum_over_all_pictures=round(total, 3),
        noise_of_one_draw=round(sum(noise) / len(noise), 2),
        pixels=n,
    )


judged("log p(x) less half a nat, without any noise", 5, 1, True, shift=-0.5)
judged("the ELBO", 5, 1, True, "elbo")
judged("IWAE with 4 guesses", 5, 1, True, "pool")
judged("log p(x) itself", 5, 1, True)
judged("one nat more than log p(x) for every picture, without any noise", 5, 1, False, shift=1.0)
judged("the KL is averaged over the latents", 5, 1, False, "mean latents")
judged("the pixels are averaged", 5, 1, False, "mean pixels")
judged("the noise is forgotten", 5, 1, False, "no noise")
judged("the KL is missing", 5, 1, False, "no rate")
judged(
    "an honest bound whose single draws vary by a nat and a half",
    4,
    2,
    True,
    shift=-0.5,
    spread=1.5,
)
judged("the ELBO of another world", 3, 3, True, "elbo")
judged("3 % too much for every picture", 5, 1, False, shift=math.log(1.03))
judged("2.5 % too much for every picture of another world", 4, 2, False, shift=math.log(1.025))
judged("right for all pictures but one, which claims all the probability", 4, 3, False, last=14)
judged("the ELBO of a bad encoder", 4, 2, True, "wide", hidden=True)
judged(
    "an honest bound whose single draws vary by several nats",
    4,
    2,
    True,
    shift=-0.4,
    spread=1.8,
    hidden=True,
)
judged("log p(x) of another world", 4, 2, True, hidden=True)
judged("the variance is used as the standard deviation", 4, 2, False, "variance", hidden=True)
judged("IWAE without its - log K", 4, 2, False, "pool sum", hidden=True)
judged("beta = 0.5 is reported as the ELBO", 4, 2, False, "half", hidden=True)
judged("3 % too much in a small world", 3, 3, False, shift=math.log(1.03), hidden=True)
judged(
    "honest for most pictures, but the first claims everything", 3, 3, False, last=0, hidden=True
)
