# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · DDIM and guidance
#
# ![Portraits by 1000 steps of DDPM and by 20 steps of DDIM from the same network; below, portraits that were asked for glasses and for a hat.](../assets/10_ddim.png)
#
# Chapter 09 ended with a network that turns noise into portraits, and with a bill: a thousand calls of the
# network for each picture. Must it be a thousand? We shall not touch the network. We shall only look again
# at what it was trained for, and find that the chain of a thousand steps was never part of it.
#
# **The one idea.** Training sees one noisy picture at a time, never two in a row. So any process with the
# same noisy pictures *at each single time* may use the same network: also one that takes 20 steps instead
# of 1000, and also one that tosses no coin at all.
#
# | | |
# |---|---|
# | **You will build** | a sampler with a knob from DDPM to DDIM; interpolation, inversion and editing of portraits; guidance to glasses and hats |
# | **Time** | about 2 hours: 45 minutes of reading and {{minutes}} of exercises ({{exercises}} exercises, {{points}} points) |
# | **You need** | chapter 09: the noising path, the posterior by Bayes, a denoiser |
# | **Computing** | {{budget}} |
#
# <details><summary><b>Sources</b></summary>
#
# - DDIM: Song, Meng, Ermon, *Denoising diffusion implicit models*, ICLR 2021, [arXiv 2010.02502](https://arxiv.org/abs/2010.02502)
# - DDPM: Ho, Jain, Abbeel, 2020, [arXiv 2006.11239](https://arxiv.org/abs/2006.11239)
# - Cosine path: Nichol, Dhariwal, 2021, [arXiv 2102.09672](https://arxiv.org/abs/2102.09672)
# - The same process as an ODE: Song et al., *Score-based generative modeling through SDEs*, 2021, [arXiv 2011.13456](https://arxiv.org/abs/2011.13456)
# - The width of a reverse step: learned, Nichol and Dhariwal (above); estimated, Bao, Li, Zhu, Zhang, *Analytic-DPM*, ICLR 2022, [arXiv 2201.06503](https://arxiv.org/abs/2201.06503)
# - Classifier-free guidance: Ho, Salimans, 2022, [arXiv 2207.12598](https://arxiv.org/abs/2207.12598)
# - Spherical interpolation: Shoemake, *Animating rotation with quaternion curves*, SIGGRAPH 1985
# </details>

# %% tags=["parameters"]
PROFILE = "laptop"  # or "smoke" (seconds, to see that all runs), or "gpu" (more portraits, smaller errors)
TRAIN = True  # nothing is trained here; False measures on few portraits, with large errors, in half a minute

# %% nbgrader={"grade_id": "setup", "locked": true}
import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coursekit import checks
from genmodels import core, samplers, schedule, toy
from genmodels.diffusion import guided as library_guided

SEED = 0
torch.manual_seed(SEED)

Path = Callable[[float], tuple[float, float]]  # a time to (alpha, sigma)


def circle(t: float) -> tuple[float, float]:
    """The simplest path that keeps the variance: alpha = cos(pi t / 2), sigma = sin(pi t / 2)."""
    return math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)


def straight(t: float) -> tuple[float, float]:
    """The straight path of chapter 12: alpha = 1 - t, sigma = t. Its variance is not 1."""
    return 1 - t, t


def insist(condition: bool, message: str) -> None:
    """A check of one sentence."""
    if not condition:
        raise checks.CheckFailed(message)


# %% tags=["lab"]
import functools
import time

import figures

from coursekit import lab, plot, report
from genmodels import data, metrics, train

# %% [markdown]
# ## 1 · Pretend you have read no paper: just skip steps
#
# The notation is that of chapters 09 to 12: time $t=0$ is data, $t=1$ is noise, and
#
# $$x_t=\alpha(t)\,x_0+\sigma(t)\,\varepsilon,\qquad \varepsilon\sim\mathcal N(0,I) \tag{1}$$
#
# | symbol | meaning | in code | in the papers of DDPM and DDIM |
# |---|---|---|---|
# | $t$, $s$ | a time, and the next, less noisy one: $s<t$ | `t`, `s` | step $t$ of $T$, and $t-1$ or $\tau_{i-1}$ |
# | $\alpha_t$ | how much signal is left | `alpha_t` | $\sqrt{\bar\alpha_t}$ (DDIM writes $\sqrt{\alpha_t}$) |
# | $\sigma_t$ | how much noise there is | `sigma_t` | $\sqrt{1-\bar\alpha_t}$ |
# | $\hat x_0(x_t,t)$ | the network's guess of the clean picture, $\mathbb E[x_0\mid x_t]$ if it is perfect | `denoise(x, t)` | $f_\theta$, "predicted $x_0$" |
# | $\hat\varepsilon$ | the noise that goes with it, $(x_t-\alpha_t\hat x_0)/\sigma_t$ | `eps` | $\epsilon_\theta$ |
# | $k$, $\tau$ | size of the old and of the fresh noise in $x_s$ ($k$ counts no steps here, as it did in chapter 09) | `k`, `tau` | $\sqrt{1-\bar\alpha_{t-1}-\sigma_t^2}$, $\sigma_t(\eta)$ |
# | $\eta$ | 1: DDPM, 0: DDIM | `eta` | $\eta$ |
#
# **What chapter 09 left open.** Its sampler goes through $t=1,\ \tfrac{999}{1000},\dots,0$. At each step it
# draws from the posterior $q(x_s\mid x_t,x_0)$ with the network's guess in the place of $x_0$. Why not take
# the same formula with bigger steps? Nothing in it asks for $t-s=\tfrac1{1000}$. Here are the ready weights
# of chapter 09, sampled *ancestrally* (that is the name of its sampler) in 1000, 100, 20, 10 and 5 steps.

# %% tags=["lab"]
net = train.load_pretrained("ddpm").requires_grad_(False)  # guesses x_0; may be told attributes
TOP = 0.999  # where sampling starts: at t = 1 exactly, alpha = 0 and nothing is left to guess from
FEW = 2 if PROFILE == "smoke" else 10 if TRAIN else 4  # portraits in a row


def net_path(t: float) -> tuple[float, float]:
    """The path on which the network was trained, as two numbers."""
    p = net.schedule.at(t)
    return p.alpha, p.sigma


@torch.no_grad()
def ancestral(count: int, steps: int, seed: int = SEED) -> Tensor:
    """Portraits on [-1, 1] by chapter 09's sampler with so many equal steps."""
    g = core.generator(seed)
    x = torch.randn(count, 3, 16, 16, generator=g)
    times = schedule.uniform_grid(net.schedule, steps, start=TOP)
    return samplers.last(
        samplers.sample(samplers.ddim(net, net.schedule, eta=1.0, generator=g), x, times)
    )


def spread(x: Tensor) -> float:
    """How far portraits differ from one another: root mean square over all pairs and pixels."""
    return float(2**0.5 * x.std(0).square().mean().sqrt())


naive, took = {}, {}  # portraits, and seconds for each
for steps in (1000, 100, 20, 10, 5):
    begin = time.perf_counter()
    naive[f"{steps} steps"] = ancestral(FEW, 20 if PROFILE == "smoke" and steps > 20 else steps)
    took[steps] = (time.perf_counter() - begin) / FEW
    print(
        f"{steps:4d} steps: {took[steps]:6.3f} s a portrait; spread {spread(naive[f'{steps} steps']):.2f}"
    )
print(f"real portraits:              spread {spread(data.portraits('test').x * 2 - 1):.2f}")


# %% tags=["lab"]
plot.show(
    figures.rows_of(
        naive,
        "The sampler of chapter 09 with fewer steps",
        alt="Five rows of portraits by ancestral sampling. With 1000 and 100 steps they are faces; with 20 and 10 steps "
        "the skins grow browner, and with 5 all colours are dull and details vanish.",
    )
)

# %% [markdown]
# The fewer the steps, the browner the faces and the duller their details: the portraits collapse
# towards their average, and the printed spread says how far. **Why?**
#
# Look at one reverse step in one dimension, where everything is known. The data are two peaks. Given
# $x_t$, the true $q(x_s\mid x_t)$ follows from Bayes' rule; the sampler draws from
# $q(x_s\mid x_t,\hat x_0)$ instead, *one* Gaussian around *one* guess. Since $\hat x_0$ is an average over
# all clean pictures that are still possible, it may lie where no picture is.

# %% tags=["lab"]
plot.show(figures.one_reverse_step(circle))

# %% [markdown]
# For a small step ancestral sampling is right; for a large one it puts its mass between the peaks, where no data
# are. Two things are wrong with it. It draws from *one Gaussian* where there may be two peaks. And it treats the guess
# as if it were the truth, so what the guess does not know, $\operatorname{Var}[x_0\mid x_t]$, is missing from its
# width: it comes out too narrow. The dashed line is the best that one Gaussian can do. At a step of 1/10 it is nearly
# right, so **there the harm is the guess that is taken for the truth**, and the missing width is what made
# the portraits alike; at 1/2 the shape is lost as well.
#
# ## 2 · Drop the chain, keep the marginals
#
# What did the network learn from? From pairs $(x_t, x_0)$ with *one* time each:
#
# $$L=\mathbb E_{t,x_0,\varepsilon}\;w(t)\,\bigl\|x_0-\hat x_0(x_t,t)\bigr\|^2,\qquad x_t=\alpha_t x_0+\sigma_t\varepsilon$$
#
# Only the marginals $q(x_t\mid x_0)=\mathcal N(\alpha_t x_0,\sigma_t^2)$ occur. How $x_t$ and $x_s$
# depend on each other, the Markov chain of chapter 09, does not. So let us ask for *every* way to go from $x_t$ to $x_s$
# that keeps the marginals. Try the sum of what is known, what is kept and what is fresh:
#
# $$x_s=\alpha_s x_0+k\,\varepsilon+\tau\,z,\qquad \varepsilon=\frac{x_t-\alpha_t x_0}{\sigma_t},\quad z\sim\mathcal N(0,I)\ \text{new} \tag{2}$$
#
# *With a pencil:* given $x_0$, both $\varepsilon$ and $z$ are standard normal and independent, so
# $x_s\mid x_0\sim\mathcal N(\alpha_s x_0,\;k^2+\tau^2)$. It is the right marginal exactly if
#
# $$k^2+\tau^2=\sigma_s^2 \tag{3}$$
#
# That is all. The noise of $x_s$ may be *old* or *fresh*, in any proportion: two legs of a right triangle
# whose hypotenuse is $\sigma_s$. One free number $\tau$, for each step. (Then $x_t$ depends on $x_s$ *and*
# $x_0$: the process is no Markov chain any more. Nobody minds.)
#
# **Where is DDPM?** It is the triangle that comes from the chain. *With a pencil:* in the chain
# $x_t=\frac{\alpha_t}{\alpha_s}x_s+$ noise of variance
# $\sigma_{t|s}^2=\sigma_t^2-\frac{\alpha_t^2}{\alpha_s^2}\sigma_s^2$; Bayes' rule adds precisions,
# $\frac1{\tau^2}=\frac1{\sigma_s^2}+\frac{\alpha_t^2}{\alpha_s^2}\frac1{\sigma_{t|s}^2}$, and on one
# denominator this is
#
# $$\tau_{\text{DDPM}}=\frac{\sigma_s}{\sigma_t}\sqrt{\sigma_t^2-\frac{\alpha_t^2}{\alpha_s^2}\sigma_s^2},\qquad
# \tau=\eta\,\tau_{\text{DDPM}},\quad k=\sqrt{\sigma_s^2-\tau^2} \tag{4}$$
#
# $\eta=1$ is DDPM. $\eta=0$ tosses no coin: **DDIM**. All between are allowed.


# %% tags=["lab"]
lab.scrub(functools.partial(figures.triangle, circle), fps=4, eta=[0.0, 0.25, 0.5, 0.75, 1.0])

# %% [markdown] exercise={"id": "split_noise", "difficulty": 2, "importance": 5, "minutes": 10}
# ### Exercise · Old noise and fresh noise
#
# Two numbers for one step: how much of the noise in $x_s$ is kept, and how much is fresh, equations (3) and
# (4). Use no property of the path, such as $\alpha^2+\sigma^2=1$: the formula holds on every one.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# $\tau$ first: the $\tau_{\text{DDPM}}$ of (4), times $\eta$. Then $k$, by (3), from the $\tau$ that is really used.
# </details>
# <details><summary>Hint: <code>math domain error</code></summary>
#
# In exact arithmetic both radicands are at least 0; on a computer they may come out as $-10^{-17}$. Take
# `max(..., 0.0)` before the root.
# </details>
# <details><summary>Hint: it is right for eta = 1 and wrong for 0.5</summary>
#
# $\eta$ multiplies $\tau$, not $\tau^2$; and which $\tau$ does $k$ make room for?
# </details>


# %% nbgrader={"grade_id": "split_noise", "solution": true} autograde={"library": ["genmodels.samplers.ddim_coefficients"]}
def split_noise(
    alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float
) -> tuple[float, float]:
    """(k, tau): the sizes of the old and of the fresh noise in x_s [Song et al. 2021, eq. 12 and 16; (3), (4) here]."""
    # TODO      the two legs of the triangle
    ### BEGIN SOLUTION
    left = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2
    tau = eta * sigma_s / sigma_t * math.sqrt(max(left, 0.0))
    return math.sqrt(max(sigma_s**2 - tau**2, 0.0)), tau
    ### END SOLUTION


# %% nbgrader={"grade_id": "split_noise_check", "grade": true, "points": 3}
# The truth comes from the covariance of x_s and x_t in the chain, by conditioning. Six
# steps, on two paths and from no signal at all. You should see: 6 cases right.
checks.run("split_noise", split_noise)

# %% [markdown]
# ## 3 · The whole family in one loop
#
# In (2) put the network's guess for $x_0$ and the noise that goes with it, and you have a sampler:
#
# $$\hat x_0=\texttt{denoise}(x_t,t),\qquad \hat\varepsilon=\frac{x_t-\alpha_t\hat x_0}{\sigma_t},\qquad
# x_s=\alpha_s\hat x_0+k\,\hat\varepsilon+\tau z \tag{5}$$
#
# Guess the clean picture; ask what noise is then in $x_t$; build the picture of time $s$ from both. Note
# that $\hat\varepsilon$ must be computed from the *same* $\hat x_0$ that is used beside it. Only then
# does $\alpha_t\hat x_0+\sigma_t\hat\varepsilon$ give $x_t$ back.

# %% [markdown] exercise={"id": "generate", "difficulty": 3, "importance": 5, "minutes": 15}
# ### Exercise · Noise becomes data, for every eta
#
# `denoise(x, t)` returns the guess $\hat x_0$, of the shape of `x`; `path(t)` returns `(alpha, sigma)`; the
# `times` go down, from noise to data. Return the list of the states *after* each step, so that
# `generate(...)[-1]` is the sample (stacked into one tensor, as in chapter 09, they will do as well). This loop
# drives all labs of this chapter.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# `for t, s in pairwise(times):` walks down the grid. In the body: `path(t)`, `path(s)`, your two legs
# `split(...)`, then the three lines of (5).
# </details>
# <details><summary>Hint: at eta = 0 the result depends on the seed</summary>
#
# The fresh noise has size `tau`, which is 0 then. Did you add noise of another size?
# </details>
# <details><summary>Hint: how do I draw the noise?</summary>
#
# `torch.randn` takes the shape, `generator=` and `dtype=`; both belong to `x` and to the caller.
# </details>
# <details><summary>Hint: the samples come out too narrow, or too wide</summary>
#
# Is $\hat\varepsilon$ divided by $\sigma_t$ (not $\sigma_s$)? Is the network asked about time $t$, where
# $x$ is *now*, and not about the index of the loop?
# </details>


# %% nbgrader={"grade_id": "generate_split", "locked": true}
def library_split(
    alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float
) -> tuple[float, float]:
    """The library's coefficients of x_t, x_0 and z as the two legs."""
    c_x, _, tau = samplers.ddim_coefficients(
        schedule.Point(alpha_t, sigma_t, tuple), schedule.Point(alpha_s, sigma_s, tuple), eta
    )
    return c_x * sigma_t, tau


split = checks.fallback(
    split_noise,
    library_split,
    works=lambda f: abs(sum(v * v for v in f(0.6, 0.8, 0.8, 0.6, 0.5)) - 0.36) < 1e-9,
)


# %% nbgrader={"grade_id": "generate", "solution": true} autograde={"library": ["genmodels.samplers.ddim", "genmodels.samplers.sample", "genmodels.samplers.ddim_coefficients"]}
def generate(
    denoise: Callable[[Float[Tensor, "b *d"], float], Float[Tensor, "b *d"]],
    path: Path,
    x: Float[Tensor, "b *d"],
    times: list[float],
    eta: float,
    generator: torch.Generator | None = None,
) -> list[Float[Tensor, "b *d"]]:
    """The states after each step from x at times[0] down to times[-1] [equation 5].

    All fresh noise comes from ``generator``; it has the dtype of x.
    """
    # TODO      walk down the times; len(times) - 1 steps, one call of `denoise` each
    ### BEGIN SOLUTION
    states = []
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(t), path(s)
        kept, fresh = split(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t
        x = alpha_s * x0 + kept * eps
        if fresh > 0:
            x = x + fresh * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        states.append(x)
    return states
    ### END SOLUTION


# %% nbgrader={"grade_id": "generate_check", "grade": true, "points": 4}
# At eta = 0 every state is compared; at eta > 0 the check looks through to your z, step by
# step: normal, and fresh for each step, sample and entry? You should see: 4 cases right.
checks.run("generate", generate)

# %%
weights = torch.tensor([0.25, 0.2, 0.35, 0.2]).double()
centres = torch.tensor([[-1.6, 0.9], [1.5, 1.3], [0.2, -1.4], [2.1, -1.0]]).double()
shapes = [[0.06, 0.04, 0.09], [0.03, 0.0, 0.10], [0.16, -0.03, 0.02], [0.02, 0.0, 0.02]]
shapes = torch.tensor([[[a, b], [b, c]] for a, b, c in shapes]).double()
mixture = toy.GaussianMixture(weights, centres, shapes)


def perfect(target: toy.GaussianMixture, path: Path) -> Callable[[Tensor, float], Tensor]:
    """The perfect network for these data on this path: the exact E[x_0 | x_t]."""
    return lambda x, t: target.denoise(x, *path(t))


def library_generate(denoise, path, x, times, eta, generator=None) -> list[Tensor]:
    """The same by the library's coefficients."""
    states = []
    for t, s in pairwise(times):
        p, q = (schedule.Point(*path(u), tuple) for u in (t, s))
        c_x, c_0, tau = samplers.ddim_coefficients(p, q, eta)
        x = c_x * x + c_0 * denoise(x, t)
        x = x + tau * torch.randn(x.shape, generator=generator, dtype=x.dtype) if tau > 0 else x
        states.append(x)
    return states


def two_steps_right(f) -> bool:
    """Two steps to the mean of a constant guess."""
    x = torch.ones(2, 3)
    states = f(lambda x, t: torch.full_like(x, 0.25), circle, x, [0.9, 0.5, 0.0], 0.0, None)
    return len(states) == 2 and (states[-1] - 0.25).abs().max() < 1e-5


sampler = checks.fallback(generate, library_generate, works=two_steps_right)

# %% [markdown]
# ### Exact lab: four hills and a perfect network
#
# Your loop, driven by a network that makes no mistakes: the exact $\mathbb E[x_0\mid x_t]$ of a mixture of
# four Gaussians. Play it, then change the number of steps and eta. Watch two things: at $\eta=0$ the
# particles glide along smooth curves, at $\eta=1$ they jitter; and with 5 steps, $\eta=1$ leaves more of them
# between the hills. The chart's line is a mean over several runs with many more particles than you see.

# %% tags=["lab"]
points = mixture.sample(8000, generator=core.generator(SEED))[0]


def w2(x: Tensor) -> float:
    """Sliced Wasserstein-2 distance to samples of the mixture, along 32 fixed directions."""
    return float(metrics.sliced_w2(x, points, 32, generator=core.generator(SEED)))


CROWD, RUNS = (1000, 2) if PROFILE == "smoke" else (8000 if TRAIN else 3000, 4)
draws = [w2(mixture.sample(CROWD, generator=core.generator(k))[0]) for k in range(1, 9)]
W2_FLOOR = metrics.mean_and_error(torch.tensor(draws))


@functools.lru_cache(maxsize=64)
def w2_after(steps: int, eta: float) -> metrics.Estimate:
    """The distance after so many steps: mean and standard error over independent runs."""
    found, times = [], [TOP * k / steps for k in range(steps, -1, -1)]
    for seed in range(RUNS):
        g = core.generator(seed)
        x = torch.randn(CROWD, 2, generator=g, dtype=torch.float64)
        found.append(w2(sampler(perfect(mixture, circle), circle, x, times, eta, g)[-1]))
    return metrics.mean_and_error(torch.tensor(found))


def fly(steps: int, eta: float, seed: int) -> lab.Take:
    """512 particles by your sampler; linked: the distance for every number of steps at this eta."""
    g = core.generator(seed)
    x = torch.randn(512, 2, generator=g, dtype=torch.float64)
    times = [TOP * k / steps for k in range(steps, -1, -1)]
    states = [x, *sampler(perfect(mixture, circle), circle, x, times, eta, g)]
    tried, now = [5, 10, 20, 50], w2(states[-1])
    crowd = f"eta = {eta:g}, {CROWD} particles"
    return lab.Take(
        states,
        times,
        caption=f"{steps} evaluations, eta = {eta:g}: sliced W2 {now:.3f} (with {CROWD}: floor {W2_FLOOR.mean:.3f})",
        charts={
            "distance": {
                crowd: (tried, [w2_after(n, eta).mean for n in tried]),
                "exact: floor": (tried, [W2_FLOOR.mean] * 4),
                "this run, 512 particles": ([steps], [now]),
            }
        },
    )


lab.play(
    fly,
    lab.Particles(mixture.log_prob, limit=3.2, trails=6),
    alt="512 particles move from noise to the four hills of the density; the linked chart shows their distance to exact samples.",
    charts=[lab.Chart("distance", y="sliced W2", log_x=False, log_y=False)],
    steps=lab.pick([5, 10, 20, 50], start=20),
    eta=lab.pick([0.0, 0.25, 0.5, 0.75, 1.0], start=0.0),
    seed=range(8),
)

# %% [markdown]
# **Which differences are real?** The same distances with their standard errors, over independent runs; the floor is
# what exact samples score against others.

# %% tags=["lab"]
both = lambda n: {f"eta = {eta:g}": str(w2_after(n, eta)) for eta in (0.0, 1.0)}
rows = [{"steps": n} | both(n) for n in (5, 10, 20, 50)]
title = f"Sliced W2, {RUNS} runs of {CROWD} particles; exact samples: {W2_FLOOR}"
plot.show(plot.table(rows, title=title))

# %% [markdown]
# Compare two entries only if they lie further apart than their errors. (Most of the floor is chance in how many
# particles fall on each hill, so a good sampler may score a little below its mean.) With few steps the order is
# clear; with 50 the two samplers are hard to tell apart, and more particles, not more looking, would decide.
#
# ## 4 · Is the sampler right? A case where everything is a formula
#
# We kept the marginals for the *true* $x_0$. The sampler puts a guess in its place, so after finitely many
# steps something must be lost. How much? Take Gaussian data, $x_0\sim\mathcal N(m,v)$. The perfect
# network is a straight line, the mean of a Gaussian posterior (chapter 09):
# $\hat x_0=m+g_t\,(x_t-\alpha_t m)$ with $g_t=\alpha_t v/(\alpha_t^2v+\sigma_t^2)$.
#
# *With a pencil:* put it into (5). One step is $x_s=\alpha_s m+A\,(x_t-\alpha_t m)+\tau z$, so mean $M$
# and variance $V$ obey
#
# $$M_s-\alpha_s m=A\,(M_t-\alpha_t m),\qquad V_s=A^2V_t+\tau^2,\qquad A=\alpha_s g_t+k\,\frac{1-\alpha_t g_t}{\sigma_t} \tag{6}$$
#
# The mean, if it starts right, stays exact for every $\eta$. The variance does not. In the next cell the lines are (6), and the dots
# are 20,000 samples of your loop.

# %%
VAR = 0.25**2  # as a portrait's pixel: its values lie within [-1, 1]
STEPS, TRIED = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000), (2, 5, 10, 20, 50)


def recursion(
    mean: float, var: float, path: Path, times: list[float], eta: float, put_back: bool = False
) -> list[tuple[float, float]]:
    """Mean and variance after each step for data N(mean, var) and the perfect network, equation (6).

    ``put_back``: each step also adds the variance that the guess leaves out, as in (6').
    """
    m, v, out = 0.0, 1.0, []
    for t, s in pairwise(times):
        (alpha, sigma), (alpha_s, sigma_s) = path(t), path(s)
        kept, fresh = library_split(alpha, sigma, alpha_s, sigma_s, eta)
        gain = alpha * var / (alpha**2 * var + sigma**2)
        slope = alpha_s * gain + kept * (1 - alpha * gain) / sigma
        m = slope * m + (alpha_s - kept * alpha / sigma) * (1 - alpha * gain) * mean
        v = slope**2 * v + fresh**2
        if put_back:  # of x_0, given x_t; and by how much x_s moves with x_0
            v += (alpha_s - kept * alpha / sigma) ** 2 * var * (1 - alpha * gain)
        out.append((m, v))
    return out


def equal_steps(n: int) -> list[float]:
    """Equal steps from close to 1 down to 0."""
    return [0.999 * k / n for k in range(n, -1, -1)]


lost = {
    eta: [1 - recursion(0.4, VAR, circle, equal_steps(n), eta)[-1][1] / VAR for n in STEPS]
    for eta in (0.0, 0.5, 1.0)
}
gauss = toy.GaussianMixture(
    torch.ones(1).double(), torch.tensor([[0.4]]).double(), torch.tensor([VAR**0.5]).double()
)
drawn: dict[float, list[float]] = {}
for eta in lost:
    drawn[eta] = []
    for n in TRIED:
        g = core.generator(SEED)
        noise = torch.randn(20_000, 1, generator=g, dtype=torch.float64)
        x = sampler(perfect(gauss, circle), circle, noise, equal_steps(n), eta, g)[-1]
        drawn[eta].append(float(1 - x.var() / VAR))
        miss = abs(drawn[eta][-1] - lost[eta][STEPS.index(n)])
        insist(
            miss < 6 * math.sqrt(2 / 20_000),
            f"eta = {eta:g}, {n} steps: your loop and equation (6) differ by {miss:.3f}",
        )
for n in (10, 20, 100, 1000):
    print(
        f"{n:4d} steps: variance lost  "
        + "   ".join(f"eta = {eta:g}: {lost[eta][STEPS.index(n)]:6.1%}" for eta in lost)
    )
even = next(
    n
    for n in range(300, 1001)
    if recursion(0.4, VAR, circle, equal_steps(n), 0.0)[-1][1] >= VAR * (1 - lost[1.0][-1])
)
print(f"as much as 1000 steps of DDPM keep, DDIM keeps with {even}")

# %% tags=["lab"]
plot.show(figures.variance_lost(STEPS, lost, TRIED, drawn))

# %% [markdown]
# Here is the collapse of section 1 as a number: see how much of the variance 10 steps lose. The data are one
# Gaussian here, and so is each true reverse step. So the *shape* of the step cannot be to blame. **Is it the guess
# that is taken for the truth?** *With a pencil:* the true $x_0$ scatters around $\hat x_0$ with the variance
# $\operatorname{Var}[x_0\mid x_t]=v\,(1-\alpha_tg_t)$, and by (2) $x_s$ moves with $x_0$ by the factor
# $\alpha_s-k\,\alpha_t/\sigma_t$. So (6) misses the term
#
# $$\Bigl(\alpha_s-\frac{k\,\alpha_t}{\sigma_t}\Bigr)^2\operatorname{Var}[x_0\mid x_t] \tag{6'}$$
#
# Put it back, and nothing else:

# %%
print("variance lost            plugged in       put back")
for eta in lost:
    for n in (1, 10, 100):
        back = 1 - recursion(0.4, VAR, circle, equal_steps(n), eta, put_back=True)[-1][1] / VAR
        print(f"eta = {eta:<4g}{n:4d} steps: {lost[eta][STEPS.index(n)]:14.1%} {back:14.0e}")
        insist(abs(back) < 1e-5, f"eta = {eta:g}, {n} steps: (6') must give all of it back")

# %% [markdown]
# **All of it is back, at each eta, even with a single step.** (What little remains comes from the start: at
# $t=0.999$ the variance is not exactly 1. At $\eta=1$ each step forgets it.) So it was not the length of the step, and
# not the coin. It was the variance that the guess drops. On pictures nobody knows it exactly, and it is one
# matrix for each $x_t$; but a network may be trained to give the width of its step (Nichol and Dhariwal), or one
# number for each time can be estimated from a trained network (Bao et al.). One Gaussian of the right width still
# cannot have two peaks: that is the dashed line of section 1, and what small steps are for.
#
# Without that term each $\eta$ loses *something*, and in proportion to $1/n$ in the end. The last line printed
# above says how many steps of DDIM keep as much as 1000 of DDPM: dropping the coin buys less than a factor of 3
# on these data. The rest of the famous speed-up must come from somewhere else: let us measure it.
#
# ## 5 · Which times to visit
#
# The chain of chapter 09 has $T=1000$ noise levels, numbered $T,T-1,\dots,0$. A quick sampler visits a
# **sub-sequence** $T=\ell_n>\dots>\ell_1>\ell_0=0$ of them, $n$ steps instead of $T$, and the formulas do not
# care: $s$ is simply the *next time that is visited*, not $t-1$. Sounds too easy to go wrong? It is the most
# popular bug of all DDIM code on the web: a grid that ends above 0, so that noise is left in, or starts
# below $T$, so that the sampler is handed pure noise and told that it is nearly a picture.

# %% [markdown] exercise={"id": "subsequence", "difficulty": 1, "importance": 4, "minutes": 6}
# ### Exercise · A grid that really ends
#
# Return $n+1$ whole numbers from $T$ down to 0, both included, spread evenly: two gaps differ by at most 1.
# If there are more steps than levels, raise a `ValueError`.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Which real numbers cut the way from $T$ to 0 into $n$ equal parts? Make each of them whole.
# </details>
# <details><summary>Hint: <code>range(T, 0, -T // n)</code> gives too many or too few</summary>
#
# A fixed stride fits only if $n$ divides $T$. Divide for each step anew; `//` is the division of whole numbers.
# </details>


# %% nbgrader={"grade_id": "subsequence", "solution": true} autograde={"library": ["genmodels.schedule.uniform_grid"]}
def subsequence(T: int, n: int) -> list[int]:
    """n + 1 whole numbers from T down to 0, evenly spread; ValueError if n > T."""
    # TODO      the levels that a sampler of n steps visits
    ### BEGIN SOLUTION
    if n > T:
        raise ValueError(f"{n} steps need {n} different levels above 0; there are {T}")
    return [T * (n - i) // n for i in range(n + 1)]
    ### END SOLUTION


# %% nbgrader={"grade_id": "subsequence_check", "grade": true, "points": 2}
# Whole, falling, from T to 0, n steps, even gaps; a ValueError where n > T. You should see:
# 8 cases right.
checks.run("subsequence", subsequence)

# %%
grid = checks.fallback(
    subsequence,
    lambda T, n: [T * (n - i) // n for i in range(n + 1)],
    works=lambda f: list(f(9, 3)) == [9, 6, 3, 0],
)


# %% [markdown]
# ## 6 · The speed-up, measured
#
# The claim of the paper: samples of the same quality **10 to 50 times faster** than DDPM. Now you have all
# that is needed to test it: the sampler, the grid, a network. Quality is a distance to *test* portraits:
# the energy distance between features of a small recogniser,
#
# $$D=2\,\mathbb E\|f-r\|-\mathbb E\|f-f'\|-\mathbb E\|r-r'\|,\qquad f\text{: ours},\ r\text{: real} \tag{7}$$
#
# It is 0 for equal distributions, and its estimate is unbiased for any number of portraits. That is why we
# take it here and not a Fréchet distance, whose bias depends on the number: at 1000 steps we can afford
# fewer portraits than at 10. The **floor** is what as many *real* portraits score.

# %% tags=["lab"]
T = 1000
features = train.load_features()
real = features(data.portraits("test").x).double()
REAL_SPREAD = torch.cdist(real, real).sum() / (len(real) * (len(real) - 1))


def distance(x: Tensor) -> metrics.Estimate:
    """Equation (7) for portraits on [-1, 1], with the standard error of our sample."""
    f = features((x + 1) / 2).double()
    to_real, own = torch.cdist(f, real).mean(1), torch.cdist(f, f).sum(1) / (len(f) - 1)
    value = 2 * to_real.mean() - own.mean() - REAL_SPREAD
    return metrics.Estimate(
        float(value), float((2 * (to_real - own)).std()) / math.sqrt(len(f)), len(f)
    )


@torch.no_grad()
def draw(
    count: int,
    steps: int,
    eta: float,
    seed: int = SEED,
    denoise: Callable = net,
    x: Tensor | None = None,
) -> Tensor:
    """Portraits on [-1, 1] by your sampler on your grid."""
    g = core.generator(seed)
    x = torch.randn(count, 3, 16, 16, generator=g) if x is None else x
    return sampler(denoise, net_path, x, [TOP * k / T for k in grid(T, steps)], eta, g)[-1]


MANY, SLOW = {"smoke": (4, 3), "laptop": (200, 64) if TRAIN else (12, FEW)}.get(
    PROFILE, (1000, 500)
)
LADDER = (5, 10, 20, 50, 100, 1000)
# With the ready weights a thousand steps are drawn once only, by DDPM, whom the others are compared with.
RUNGS = {1.0: LADDER, 0.0: LADDER if TRAIN or PROFILE == "smoke" else LADDER[:-1]}
held_out = data.portraits("valid").x * 2 - 1
floors = torch.tensor([distance(part).mean for part in held_out.split(100)])
FLOOR, FLOOR_SPREAD = float(floors.mean()), float(floors.std())

speed: dict[tuple[float, int], tuple[metrics.Estimate, float]] = {}
shown: dict[tuple[float, int], Tensor] = {}
for eta, rungs in RUNGS.items():
    for steps in rungs:
        begin, count = time.perf_counter(), SLOW if steps == 1000 else MANY
        if (eta, steps, TRAIN) == (1.0, 1000, False):  # section 1 has drawn them, by the library
            x, seconds = naive["1000 steps"], took[1000]
        else:
            x = draw(count, 12 if PROFILE == "smoke" and steps > 12 else steps, eta)
            seconds = (time.perf_counter() - begin) / count
        speed[eta, steps] = distance(x), seconds
        shown[eta, steps] = x

x = shown[0.0, 20]
gap = distance(x).mean - float(metrics.energy(features((x + 1) / 2), real))
insist(abs(gap) < 1e-3, "equation (7) and the library's energy distance must agree")
rows = []
for steps in LADDER:
    (ddpm, seconds), (ddim, _) = speed[1.0, steps], speed.get((0.0, steps), (None, 0.0))
    rows.append(
        {
            "steps": steps,
            "DDPM, eta = 1": f"{ddpm.mean:.2f} ± {ddpm.error:.2f}",
            "DDIM, eta = 0": f"{ddim.mean:.2f} ± {ddim.error:.2f}" if ddim else "not drawn",
            "portraits": ddpm.n,
            "ms a portrait": f"{1000 * seconds:.1f}",
            "faster than 1000": f"{speed[1.0, 1000][1] / seconds:.0f} x",
        }
    )
print(f"floor: {FLOOR:.2f}, give or take {FLOOR_SPREAD:.2f} (10 sets of 100 real portraits)")
plot.show(plot.table(rows, title="Distance to data (smaller is better) and time against steps"))

# %% tags=["lab"]
plot.show(figures.speed(speed, RUNGS, FLOOR))
plot.show(
    figures.rows_of(
        {
            f"{name}, {steps}": shown[eta, steps][: min(10, SLOW)]
            for steps in (1000, 20, 5)
            for eta, name in ((1.0, "DDPM"), (0.0, "DDIM"))
            if steps in RUNGS[eta]
        },
        "The same first noise, by sampler and steps",
    )
)

# %% tags=["lab"]
target = speed[1.0, 1000][0]


def as_good(eta: float) -> int | None:
    """The fewest steps of our ladder that are not worse than 1000 of DDPM by more than one standard error."""
    for steps in RUNGS[eta]:
        here = speed[eta, steps][0]
        if here.mean - target.mean < math.hypot(here.error, target.error):
            return steps
    return None


for eta, name in ((0.0, "DDIM"), (1.0, "DDPM")):
    if steps := as_good(eta):
        gain = speed[1.0, 1000][1] / speed[eta, steps][1]
        print(
            f"{name} reaches 1000 steps of DDPM, to one standard error, with {steps}: {gain:.0f} times faster"
        )

PAPER = {  # FID on CIFAR-10, quoted approximately from Song et al. 2021, table 1
    "eta = 1": (41.07, 18.36, 8.01, 5.78, 4.73),
    "eta = 0": (13.36, 6.84, 4.67, 4.16, 4.04),
}
rows = [
    {"steps": n} | {f"paper, FID, {name}": f"≈ {values[k]:.2f}" for name, values in PAPER.items()}
    for k, n in enumerate(LADDER[1:])
]
plot.show(
    plot.table(
        rows,
        title="The paper's own measurement on CIFAR-10 (not comparable with our distance, only in its shape)",
    )
)

# %% [markdown]
# **Read it with care.** (What follows is said of 200 portraits, 64 at a thousand steps. The few of `TRAIN = False`
# have errors too large to compare samplers, and then the lines above mean little.) With 5 or 10 steps DDIM is about twice as close to the data as DDPM. From about 50 on, our
# ruler cannot tell it from a thousand steps of DDPM: some 20 times faster, for time goes strictly with the
# evaluations. The paper's own table reads the same way: 50 steps of DDIM (about 4.67) equal 1000 of DDPM (about 4.73), and
# the famous 50 times means 20 steps, with some loss. (DDPM's published 3.17 is its 1000 steps with the larger
# noise that section 13 calls bug 2.) So **10 to 50 times** holds here too, as far as our error
# bars reach. (A coarse ruler flatters the quick sampler: all looks alike to it. Hence one standard error, and
# not two, in the lines printed above.)
#
# Who did the work? *Two* things, which are often mixed up. A thousand steps are more than such a network needs
# at all: on our small pictures DDPM itself loses little with 50 or 100. The coin is dear where steps are *few*:
# there DDIM is as good as DDPM with about twice the steps (compare its 5 and 10 with DDPM's 10 and 20), much as
# equation (6) promised. Whatever remains above the floor with many steps belongs to the *network*; no sampler
# can close that gap.
#
# ## 7 · No coin, no chance: one noise, one picture
#
# At $\eta=0$ the sample is a *function* of the first noise. That sounds like a loss (where is the
# randomness? all in $x_1$) and is a gift. Take the same noise with 10, 20, 50 and 100 steps:

# %% tags=["lab"]
for eta in (0.0, 1.0):
    same = {
        f"{steps} steps": draw(max(FEW, 6), steps, eta, seed=4)
        for steps in ((10, 20) if PROFILE == "smoke" else (10, 20, 50, 100))
    }
    plot.show(figures.rows_of(same, f"eta = {eta:g}: one column, one first noise"))

# %% [markdown]
# With $\eta=0$ a column shows the *same person*, drawn ever more carefully: the noise is a **code** of the
# picture, and 10 steps are a preview of 100. With $\eta=1$ each number of steps tosses other coins, and the
# columns drift apart. The next lab lets you look inside, with your own loop.


# %% tags=["lab"]
@functools.lru_cache(maxsize=64)
def portraits_path(steps: int, eta: float, seed: int) -> tuple[list[Tensor], list[float]]:
    """12 portraits after each step of your sampler."""
    g = core.generator(seed)
    x, times = torch.randn(12, 3, 16, 16, generator=g), [TOP * k / T for k in grid(T, steps)]
    with torch.no_grad():
        return [x, *sampler(net, net_path, x, times, eta, g)], times


def develop(steps: int, eta: float, seed: int) -> lab.Take:
    """The portraits as they appear; linked: how much of x_t is signal."""
    states, times = portraits_path(steps, eta, seed)
    levels = [net_path(t) for t in times]
    return lab.Take(
        states,
        times,
        caption=f"{steps} evaluations of the network a portrait, eta = {eta:g}",
        charts={
            "signal and noise": {
                "data: alpha": (times, [a for a, _ in levels]),
                "noise: sigma": (times, [b for _, b in levels]),
            }
        },
    )


lab.play(
    develop,
    lab.Pictures(columns=6, zoom=6),
    alt="Twelve portraits emerge from noise, one frame a step.",
    charts=[lab.Chart("signal and noise", x="t", y="size", log_x=False, log_y=False)],
    fps=10,
    steps=lab.pick([5, 10, 20, 50], start=20),
    eta=lab.pick([0.0, 0.5, 1.0], start=0.0),
    seed=range(8),
)

# %% [markdown]
# ## 8 · Between two faces
#
# If noise is a code, then *between* two codes there should be faces between two faces. The naive attempt
# is the straight line $(1-w)a+wb$. *With a pencil:* for independent $a,b\sim\mathcal N(0,I)$ each entry
# has variance $(1-w)^2+w^2$, which is $\tfrac12$ in the middle. But in $d=768$ dimensions the length of
# noise is nearly fixed, $\|a\|\approx\sqrt{768}\approx27.7\pm0.7$: a vector of length 19.6 is *nothing
# the network has ever seen*. Walk along the sphere instead (**slerp**). With $\theta$ the angle between
# $a$ and $b$:
#
# $$\mathrm{slerp}(a,b,w)=\frac{\sin((1-w)\theta)}{\sin\theta}\,a+\frac{\sin(w\theta)}{\sin\theta}\,b,\qquad
# \cos\theta=\frac{\langle a,b\rangle}{\|a\|\,\|b\|} \tag{8}$$

# %% [markdown] exercise={"id": "slerp", "difficulty": 2, "importance": 3, "minutes": 10}
# ### Exercise · Along the sphere
#
# For each pair of a batch, equation (8), lengths as they are. There is one angle for each sample, over *all* its
# dimensions. Where two codes point the same way, $\sin\theta=0$ to rounding, and only there the straight line is right:
# it errs by about $\theta^2/10$, so take it below $\theta=10^{-5}$ and not above $10^{-4}$.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# `a.flatten(1)` has one row for each sample. Two norms, one sum of products, `torch.acos`; bring the angle
# back to a shape such as (b, 1, 1, 1) with `core.expand(theta, a)`.
# </details>
# <details><summary>Hint: I get <code>nan</code></summary>
#
# Rounding can make a cosine of 1.0000001: `clamp(-1, 1)`. And 0 / 0 where $\theta=0$: choose with
# `torch.where`, after making both branches finite.
# </details>
# <details><summary>Hint: the lengths of the codes shrink in the middle</summary>
#
# Is the angle taken for each sample, in radians, over all dimensions?
# </details>


# %% nbgrader={"grade_id": "slerp", "solution": true}
def slerp(a: Float[Tensor, "b *d"], b: Float[Tensor, "b *d"], w: float) -> Float[Tensor, "b *d"]:
    """The point at share w of the way from a to b along the great circle [Shoemake 1985; (8) here]."""
    # TODO      equation (8), with one angle for each sample
    ### BEGIN SOLUTION
    u, v = a.flatten(1), b.flatten(1)
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    theta = torch.acos(cosine.clamp(-1, 1))
    sine = theta.sin()
    near = sine < 1e-6
    sine = torch.where(near, 1.0, sine)
    of_a = torch.where(near, 1 - w, ((1 - w) * theta).sin() / sine)
    of_b = torch.where(near, w, (w * theta).sin() / sine)
    return core.expand(of_a, a) * a + core.expand(of_b, b) * b
    ### END SOLUTION


# %% nbgrader={"grade_id": "slerp_check", "grade": true, "points": 2}
# Along the sphere is a rotation in the plane of the two codes; the truth is computed as one.
# You should see: 7 cases right.
checks.run("slerp", slerp)


# %%
def pulled_back(a: Tensor, b: Tensor, w: float) -> Tensor:
    """Nearly the same, if the lengths are alike: the straight line, pulled back to the sphere."""
    length = lambda x: core.expand(x.flatten(1).norm(dim=1), x)
    line = (1 - w) * a + w * b
    return line / length(line) * ((1 - w) * length(a) + w * length(b))


walk = checks.fallback(
    slerp,
    pulled_back,
    works=lambda f: abs(f(torch.eye(2)[:1], torch.eye(2)[1:], 0.5).norm() - 1) < 1e-5,
)

# %% tags=["lab"]
ends = torch.randn(2, 3, 3, 16, 16, generator=core.generator(11))
ways = {"slerp": walk, "line": lambda a, b, w: (1 - w) * a + w * b}
between = {
    f"{name} {k + 1}": draw(
        9,
        10 if PROFILE == "smoke" else 30,
        0.0,
        x=torch.cat([way(ends[:1, k], ends[1:, k], i / 8) for i in range(9)]),
    )
    for k in range(3)
    for name, way in ways.items()
}
plot.show(
    figures.rows_of(
        between,
        "From one face to another, in 8 steps, along the sphere and along the straight line",
    )
)

# %% [markdown]
# Along the sphere every stop is a person with all that belongs to one: hair, skin and shirt
# change one after the other. Along the straight line the middle is tidier and *plainer*; long hair and
# other details vanish, for there is too little noise to develop them from.
#
# ## 9 · Backwards: from a face to its noise
#
# A function can be inverted. At $\eta=0$, equation (5) says: in $x_t$ there is a clean picture $\hat x_0$
# and a noise $\hat\varepsilon$; keep both, and change their shares from those of $t$ to those of $s$.
# Nothing asks $s$ to be *smaller*. Up the grid, from data to noise:
#
# $$\hat x_0=\texttt{denoise}(x_s,s),\qquad\hat\varepsilon=\frac{x_s-\alpha_s\hat x_0}{\sigma_s},\qquad
# x_t=\alpha_t\hat x_0+\sigma_t\hat\varepsilon\qquad (t>s) \tag{9}$$
#
# It starts at a small $s>0$: at $s=0$ the division by $\sigma_s=0$ has no meaning. And it is not *exactly* the
# inverse, for on the way back the network is asked at $t$, here at $s$. So going there and back again
# leaves an error, which must vanish as the steps get smaller.

# %% [markdown] exercise={"id": "encode", "difficulty": 2, "importance": 4, "minutes": 10}
# ### Exercise · The noise of a given picture
#
# The `times` go *up*; `x` is the picture at `times[0]` (greater than 0). Return the code, the state at
# `times[-1]`.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# It is the loop of `generate` with $\eta=0$, and where there stood $t\to s$ it is now $s\to t$.
# </details>
# <details><summary>Hint: my check says that the error does not vanish</summary>
#
# Each step must use the network at the time where `x` *is*, and $\alpha,\sigma$ of *that* time to take
# $\hat\varepsilon$ out.
# </details>


# %% nbgrader={"grade_id": "encode", "solution": true} autograde={"library": ["genmodels.samplers.ddim", "genmodels.samplers.ddim_coefficients", "genmodels.samplers.invert", "genmodels.samplers.sample"]}
def encode(
    denoise: Callable[[Float[Tensor, "b *d"], float], Float[Tensor, "b *d"]],
    path: Path,
    x: Float[Tensor, "b *d"],
    times: list[float],
) -> Float[Tensor, "b *d"]:
    """The code of x: up the times, from data to noise, without a coin [Song et al. 2021, section 5.4; (9) here]."""
    # TODO      walk up the times and return the last state
    ### BEGIN SOLUTION
    for s, t in pairwise(times):
        (alpha_s, sigma_s), (alpha_t, sigma_t) = path(s), path(t)
        x0 = denoise(x, s)
        eps = (x - alpha_s * x0) / sigma_s
        x = alpha_t * x0 + sigma_t * eps
    return x
    ### END SOLUTION


# %% nbgrader={"grade_id": "encode_check", "grade": true, "points": 3}
# The truth is Euler's method in the coordinates x / alpha, equation (12) below. You should
# see: 3 cases right.
checks.run("encode", encode)


# %%
def library_encode(denoise, path, x, times) -> Tensor:
    """The same by the library's coefficients."""
    for s, t in pairwise(times):
        p, q = (schedule.Point(*path(u), tuple) for u in (s, t))
        c_x, c_0, _ = samplers.ddim_coefficients(p, q, 0.0)
        x = c_x * x + c_0 * denoise(x, s)
    return x


coder = checks.fallback(
    encode,
    library_encode,
    works=lambda f: (
        abs(f(lambda x, t: 0 * x, straight, torch.ones(1, 1), [0.25, 0.5]).item() - 2) < 1e-5
    ),
)

# %% [markdown]
# ### There and back again, and somewhere else
#
# Encode a *test* portrait, then run your sampler down the same grid. In the next cell the error of the way
# there and back, against the number of steps: it falls, and what is left at 100 steps is invisible.
#
# **Editing.** The network may be *told* attributes: `net(x, t, labels)`, eleven of them, -1 where it is told
# nothing. Encode a portrait with its true attributes, then decode the *same code* with one of them changed.
# What the code fixes (pose, colours, shirt) stays; what you changed, changes.

# %% tags=["lab"]
people = data.portraits("test")
NAMES = list(people.attributes)  # the order of the columns
LABELS = torch.stack(list(people.attributes.values()), 1)
nothing_on = (people.attributes["glasses"] == 0) & (people.attributes["hat"] == 0)
bare = nothing_on.nonzero().flatten()[: max(FEW, 6)]
EDIT_STEPS = 5 if PROFILE == "smoke" else 50 if TRAIN else 25
LOW = 0.05  # the first time of the way up; the noise there is small


def told(labels: Tensor) -> Callable[[Tensor, float], Tensor]:
    """The network, told these attributes."""
    return lambda x, t: net(x, t, labels)


@torch.no_grad()
def code_of(x: Tensor, labels: Tensor, steps: int, high: float = TOP) -> tuple[Tensor, list[float]]:
    """The code of portraits told their own attributes, and the grid that leads there."""
    times = [LOW + (high - LOW) * i / steps for i in range(steps + 1)]
    return coder(told(labels), net_path, x, times), times


@torch.no_grad()
def decode(code: Tensor, times: list[float], denoise: Callable) -> Tensor:
    """Down the same grid, without a coin."""
    return sampler(denoise, net_path, code, times[::-1], 0.0)[-1]


original = people.x[bare] * 2 - 1
back = {}
for steps in (5, 10) if PROFILE == "smoke" else (10, 20, 50, 100)[: 4 if TRAIN else 3]:
    code, times = code_of(original, LABELS[bare], steps)
    back[steps] = decode(code, times, told(LABELS[bare]))
    error = (back[steps] - original).square().mean().sqrt()
    print(
        f"{steps:3d} steps up and down: root mean square error {error:.4f} on a scale from -1 to 1"
    )
plot.show(
    figures.rows_of(
        {"original": original} | {f"{n} steps": x for n, x in back.items()},
        "Test portraits, encoded and decoded",
    )
)
alpha, sigma = net_path(LOW)
starts = {
    "the picture itself": original,
    f"the picture with the noise of its time ({sigma:.2f})": alpha * original
    + sigma * torch.randn(original.shape, generator=core.generator(SEED)),
}
for name, start in starts.items():
    ends = code_of(start, LABELS[bare], EDIT_STEPS)[0]
    lengths = ends.flatten(1).norm(dim=1)
    print(f"length of the codes of {name}: {lengths.mean():.1f}; noise has {768**0.5:.1f}")


# %% tags=["lab"]
def changed(labels: Tensor, **attributes: int) -> Tensor:
    """A copy of the labels with some attributes set, for all portraits."""
    labels = labels.clone()
    for name, value in attributes.items():
        labels[:, NAMES.index(name)] = value
    return labels


EDITS = {
    "glasses": {"glasses": people.words["glasses"].index("dark03")},
    "a hat": {"hat": people.words["hat"].index("variant05")},
    "red hair": {"hairColor": people.words["hairColor"].index("#bd1700")},
}
code, times = code_of(original, LABELS[bare], EDIT_STEPS)
edited = {"original": original, "decoded": decode(code, times, told(LABELS[bare]))}
recogniser = train.load_pretrained("features")


@torch.no_grad()
def found(x: Tensor, name: str) -> Int[Tensor, "b"]:
    """The value of an attribute that the recogniser finds likeliest, for each portrait on [-1, 1]."""
    return recogniser(((x + 1) / 2).clamp(0, 1))[NAMES.index(name)].argmax(1)


def granted(x: Tensor, **attributes: int) -> float:
    """Share of portraits in which the recogniser finds the attribute: any glasses or hat, but this colour of hair."""
    ((name, value),) = attributes.items()
    return float(
        ((found(x, name) > 0) if name in ("glasses", "hat") else (found(x, name) == value))
        .float()
        .mean()
    )


for name, change in EDITS.items():
    edited[name] = decode(code, times, told(changed(LABELS[bare], **change)))
    print(
        f"{name}: found in {granted(edited[name], **change):.0%} of the edited portraits, in {granted(original, **change):.0%} before"
    )
plot.show(figures.rows_of(edited, "One code, other attributes"))

# %% [markdown]
# The same people! Face, skin and shirt stay. But hair turns reddish rather than red, and hats and glasses
# come out as shadows, if at all; the recogniser finds few of them. The code still holds
# the old attributes, and our labels alone seldom outweigh it. Guidance will add weight.
#
# *A caution that papers skip.* A code should look like noise, of length $\sqrt{768}=27.7$. Read the first
# line printed above: ours is only half as long. The reason is the start. A clean picture is *not* a
# typical $x_s$: the network looks for noise of size $\sigma_s$ and finds none. Put that little noise in
# first, and the length is right (the second line); the way back then returns the picture up to about that
# noise.
#
# ## 10 · Guidance: "glasses, please", and louder
#
# Tell the network "glasses" and many portraits get some, but not all: an honest conditional model is as
# hesitant as its network. **Classifier-free guidance** turns up the volume. The network was trained with its
# labels hidden now and then, so it can be asked twice, told and untold, and the difference of the two
# guesses is the direction "more like glasses". Go further in it:
#
# $$\hat x_0^{(w)}=\hat x_0(x_t,t,\varnothing)+w\,\bigl[\hat x_0(x_t,t,c)-\hat x_0(x_t,t,\varnothing)\bigr] \tag{10}$$
#
# $w=0$ ignores the label, $w=1$ is the conditional model, $w>1$ exaggerates. (The paper writes $1+w$ for our
# $w$: half of the world follows it, so look which half you are reading.) **The cost: two evaluations a step.**

# %% [markdown] exercise={"id": "guided", "difficulty": 2, "importance": 5, "minutes": 8}
# ### Exercise · Turn up the volume
#
# `denoise(x, t, labels)` is a network that can be told attributes, `labels` (b, k) whole numbers, -1
# where it is told nothing. Return (10), where "told nothing" hides *all* attributes. The caller's labels
# stay as they are.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# `torch.full_like(labels, -1)` tells nothing. Two calls, one line.
# </details>
# <details><summary>Hint: the result does not depend on the scale</summary>
#
# If both guesses are equal: did `labels[:] = -1` overwrite the labels before they were used?
# </details>


# %% nbgrader={"grade_id": "guided", "solution": true} autograde={"library": ["genmodels.diffusion.guided"]}
def guided(
    denoise: Callable[[Float[Tensor, "b *d"], float, Int[Tensor, "b k"]], Float[Tensor, "b *d"]],
    x: Float[Tensor, "b *d"],
    t: float,
    labels: Int[Tensor, "b k"],
    scale: float,
) -> Float[Tensor, "b *d"]:
    """The guided guess of x_0 [Ho and Salimans 2022, whose w is scale - 1; (10) here]."""
    # TODO      untold + scale * (told - untold)
    ### BEGIN SOLUTION
    told = denoise(x, t, labels)
    untold = denoise(x, t, torch.full_like(labels, -1))
    return untold + scale * (told - untold)
    ### END SOLUTION


# %% nbgrader={"grade_id": "guided_check", "grade": true, "points": 3}
# A network that can be told up to three attributes: the guess, its derivative, and how
# often it is asked. You should see: 5 cases right.
checks.run("guided", guided)

# %%
tell = lambda x, t, y: x + y.sum(1, keepdim=True)
guide = checks.fallback(
    guided,
    lambda denoise, x, t, labels, scale: library_guided(
        lambda x, t: denoise(x, t, labels),
        lambda x, t: denoise(x, t, torch.full_like(labels, -1)),
        scale,
    )(x, t),
    works=lambda f: f(tell, torch.zeros(1, 1), 0.5, torch.tensor([[2]]), 3.0).item() == 8,
)

# %% [markdown]
# Now ask for glasses, and for a hat, at growing scale. All portraits of a column start from the same noise.
# How many *got* glasses is judged by a recogniser that has never seen a generated picture; how varied they
# still are, by the mean distance between two of them.

# %% tags=["lab"]
GUIDE_STEPS = {"smoke": 3}.get(PROFILE, 20 if TRAIN else 10)
GUIDE_COUNT = {"smoke": 6, "laptop": 64 if TRAIN else 16}.get(PROFILE, 500)
SCALES = (0.0, 1.0, 2.0, 4.0, 8.0)


def asked_for(count: int, **attributes: int) -> Tensor:
    """Labels that tell only these attributes."""
    return changed(torch.full((count, len(NAMES)), -1), **attributes)


def with_scale(labels: Tensor, scale: float) -> Callable[[Tensor, float], Tensor]:
    """The guided network as a denoiser."""
    return lambda x, t: guide(net, x, t, labels, scale)


def share(x: Tensor, name: str, value: int) -> float:
    """Share of portraits in which the recogniser finds exactly this value."""
    return float((found(x, name) == value).float().mean())


def variety(x: Tensor) -> float:
    """Mean distance between the features of two portraits."""
    f = features((x + 1) / 2)
    return float(torch.cdist(f, f).sum() / (len(f) * (len(f) - 1)))


WISHES = {
    "glasses": people.words["glasses"].index("dark03"),
    "hat": people.words["hat"].index("variant05"),
}
for name, value in WISHES.items():
    is_there = people.attributes[name] == value
    hits, false = (
        share(people.x[is_there] * 2 - 1, name, value),
        share(people.x[~is_there] * 2 - 1, name, value),
    )
    print(
        f"{name}, real portraits: the recogniser finds {hits:.0%} of those there are, and {false:.1%} where there are none"
    )
wished: dict[tuple[str, float], Tensor] = {}
sweep: dict[str, list[tuple[float, float, float, float]]] = {}
for name, value in WISHES.items():
    sweep[name] = []
    for scale in SCALES:
        begin = time.process_time()
        x = draw(
            GUIDE_COUNT,
            GUIDE_STEPS,
            0.0,
            denoise=with_scale(asked_for(GUIDE_COUNT, **{name: value}), scale),
        )
        spent = (time.process_time() - begin) / GUIDE_COUNT
        wished[name, scale] = x
        sweep[name].append((granted(x, **{name: value}), share(x, name, value), variety(x), spent))
begin = time.process_time()
draw(GUIDE_COUNT, GUIDE_STEPS, 0.0)
plain = (time.process_time() - begin) / GUIDE_COUNT
cost = sum(s for *_, s in sweep["glasses"]) / len(SCALES) / plain
print(
    f"{GUIDE_STEPS} steps: {1000 * plain:.1f} ms of processor time a portrait without guidance, {cost:.1f} times as much with it"
)
for name in WISHES:
    plot.show(
        figures.rows_of(
            {f"scale {s:g}": wished[name, s][:10] for s in SCALES},
            f"{'a ' * (name == 'hat')}{name}, please",
            alt=f"Rows of portraits asked for {name} at guidance scales {SCALES}: the higher, the more of them have it, and the more alike they become.",
        )
    )

# %% tags=["lab"]
plot.show(figures.guidance(SCALES, sweep, variety(people.x[:500] * 2 - 1)))

# %% [markdown]
# At scale 0 the noise alone decides; at 1, the honest conditional model, only some get what was asked for; at
# 4 nearly all wear *something* of the kind. Which of ten hats, that is another matter (dotted): guidance exaggerates
# what the network knows, and cannot teach it what it does not. The bill comes in two currencies: **every step
# costs two evaluations**, and **variety falls**. At 8 the colours are burnt as well, for the guess (10) leaves
# the range of pictures. Most people stop between 2 and 4.
#
# **Edit, with volume.** The same guess inside the decoding of section 9: invert, change an attribute,
# regenerate with guidance. And the lab: choose attribute and scale yourself.

# %% tags=["lab"]
louder = {"original": original}
for name, change in EDITS.items():
    for scale in (1.0, 3.0):
        if scale == 1:
            x = edited[name]  # nothing is exaggerated: these are section 9's
        else:
            x = decode(code, times, with_scale(changed(LABELS[bare], **change), scale))
        louder[f"{name}, {scale:g}"] = x
        print(f"{name} at scale {scale:g}: found in {granted(x, **change):.0%}")
plot.show(figures.rows_of(louder, "The same codes, decoded at scales 1 and 3"))


# %% tags=["lab"]
@functools.lru_cache(maxsize=64)
def wish(ask: str, scale: float, steps: int, seed: int) -> tuple[list[Tensor], list[float], int]:
    """8 portraits with a wish, after each step; and how often the network was asked."""
    g, labels = core.generator(seed), asked_for(8, **{ask: WISHES[ask]} if ask in WISHES else {})
    x, times = torch.randn(8, 3, 16, 16, generator=g), [TOP * k / T for k in grid(T, steps)]
    with torch.no_grad():
        return (
            [x, *sampler(with_scale(labels, scale), net_path, x, times, 0.0, g)],
            times,
            2 * steps,
        )


def wishes(scale: float, ask: str, steps: int, seed: int) -> lab.Take:
    """The wish being granted."""
    states, times, evaluations = wish(ask, scale, steps, seed)
    return lab.Take(
        states, times, caption=f"{ask}, scale {scale:g}: {evaluations} evaluations a portrait"
    )


lab.play(
    wishes,
    lab.Pictures(columns=8, zoom=6),
    alt="Eight portraits develop from noise, asked for glasses or a hat.",
    fps=10,
    scale=lab.pick([0.0, 1.0, 2.0, 3.0, 5.0, 8.0], start=3.0),
    ask=["glasses", "hat", "nothing"],
    steps=lab.pick([10, 20, 50], start=20),
    seed=range(8),
)

# %% [markdown]
# ## 11 · What guidance is not
#
# Everywhere you can read that guidance samples from $\tilde p(x)\propto p(x)^{1-w}\,p(x\mid c)^w$. *With a
# pencil:* where the noise vanishes, scores are gradients of logarithms, and (10) is linear, so the guided
# score **is** $\nabla\log\tilde p$. But the sampler works at all noise levels, and there it would need the
# score of the *noised* $\tilde p$,
#
# $$\nabla\log\int \tilde p(x_0)\,\mathcal N(x_t;\alpha_tx_0,\sigma_t^2)\,dx_0\;\ne\;
# (1-w)\,\nabla\log p_t(x_t)+w\,\nabla\log p_t(x_t\mid c)\qquad\text{in general} \tag{11}$$
#
# since a power of an integral is not the integral of a power. On two Gaussian classes in one dimension
# everything can be computed, so let us *assert* it: equal as $\sigma\to0$, different before.

# %%
classes = toy.GaussianMixture(
    torch.tensor([0.5, 0.5]).double(),
    torch.tensor([[-1.0], [1.0]]).double(),
    torch.tensor([0.5, 0.5]).double(),
)
wanted, W = classes.component(1), 3.0
line = torch.linspace(-7, 9, 4001, dtype=torch.float64)[:, None]
log_tilted = (1 - W) * classes.log_prob(line) + W * wanted.log_prob(line)
tilted = torch.softmax(log_tilted, 0)  # the probabilities of the cells of the line


def noised_score(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The score of the noised tilted density: Tweedie's formula with the exact posterior mean, by quadrature."""
    posterior = torch.softmax(tilted.log() - (x - alpha * line.T) ** 2 / (2 * sigma**2), 1)
    return (alpha * posterior @ line - x) / sigma**2


def guided_score(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The score that the guided guess stands for."""
    return (1 - W) * classes.score(x, alpha, sigma) + W * wanted.score(x, alpha, sigma)


at = torch.linspace(-1.5, 2.5, 41, dtype=torch.float64)[:, None]
gap = {}
for t in (0.005, 0.01, 0.02, 0.05, 0.2, 0.5):
    alpha, sigma = circle(t)
    gap[t] = float(
        (noised_score(alpha * at, alpha, sigma) - guided_score(alpha * at, alpha, sigma))
        .abs()
        .max()
    )
    print(f"sigma = {sigma:.3f}: largest difference of the two scores {gap[t]:.4f}")
insist(
    3.8 < gap[0.01] / gap[0.005] < 4.2,
    "the difference must vanish like sigma^2: a quarter for half the noise",
)
insist(
    gap[0.5] > 1.0 and gap[0.2] > 5.0,
    "at larger noise the two scores must differ: that is the lesson",
)

told_guess = lambda x, t, labels: (wanted if labels[0, 0] == 1 else classes).denoise(x, *circle(t))
ones = torch.ones(20_000, 1, dtype=torch.long)
x = sampler(
    lambda x, t: guide(told_guess, x, t, ones, W),
    circle,
    torch.randn(20_000, 1, generator=core.generator(SEED)).double(),
    equal_steps(200),
    0.0,
)[-1]
mean = float((tilted * line[:, 0]).sum())
deviation = float((tilted * (line[:, 0] - mean) ** 2).sum().sqrt())
print(
    f"tilted density: mean {mean:.3f}, std {deviation:.3f};   guided sampler: mean {x.mean():.3f}, std {x.std():.3f}"
)
insist(
    abs(float(x.std()) - deviation) > 0.05, "the guided sampler must miss the tilted density here"
)

# %% tags=["lab"]
alpha, sigma = circle(0.5)
scores = [score(alpha * at, alpha, sigma) for score in (noised_score, guided_score)]
plot.show(figures.tilted_and_guided(line, wanted.log_prob(line).exp(), tilted, x, at, scores))

# %% [markdown]
# The two scores part by $\sigma^2$: a quarter of the difference for half of the noise, and
# much where the noise is large. There the guided score pushes too hard, so the guided samples (vermilion)
# lie too far from the other class, and too close together; the tilted density (black) is hardly different
# from the class itself. **Guidance is a useful exaggeration. It is not a sampler of
# $p(x)^{1-w}p(x\mid c)^w$**, except at $w=0$ and $w=1$. (To sample the tilted density one needs corrections
# at each noise level, for instance Langevin steps, and more evaluations.)
#
# ## 12 · Smaller and smaller steps: an ODE
#
# Divide (5) at $\eta=0$ by $\alpha$, and write $\bar x=x/\alpha$ and $u=\sigma/\alpha$ for the
# noise-to-signal ratio. *With a pencil:* $\bar x_t=\hat x_0+u_t\hat\varepsilon$ and $\bar x_s=\hat
# x_0+u_s\hat\varepsilon$; subtract:
#
# $$\bar x_s=\bar x_t+(u_s-u_t)\,\hat\varepsilon\qquad\text{in code}\qquad\texttt{bar + (u\_s - u\_t) * eps} \tag{12}$$
#
# That is a step of **Euler's method** for the ordinary differential equation $d\bar x/du=\hat\varepsilon$. So
# DDIM is not a trick: it follows a smooth flow from noise to data, the same for every grid, and it *is*
# a solver of first order. The next cell asserts both, to the last digit and to the slope.


# %%
g = core.generator(SEED)
noise = torch.randn(100, 2, generator=g, dtype=torch.float64)
flow_end = mixture.flow(
    noise, schedule.cosine(0.0), 0.95, 0.02
)  # the ODE itself, by scipy, to ten digits
counts, euler_errors = [32, 64, 128, 256], []
for n in counts:
    times_n = [0.02 + 0.93 * k / n for k in range(n, -1, -1)]
    ours = sampler(perfect(mixture, circle), circle, noise, times_n, 0.0)[-1]
    bar = (
        noise / circle(times_n[0])[0]
    )  # equation (12), in the coordinates x / alpha and sigma / alpha
    for t, s in pairwise(times_n):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = circle(t), circle(s)
        eps = (alpha_t * bar - alpha_t * perfect(mixture, circle)(alpha_t * bar, t)) / sigma_t
        bar = bar + (sigma_s / alpha_s - sigma_t / alpha_t) * eps
    same = (ours - circle(times_n[-1])[0] * bar).abs().max()
    insist(same < 1e-9, f"your sampler at eta = 0 and Euler's method differ by {same:.1e}")
    euler_errors.append(float((ours - flow_end).norm(dim=1).median()))
    print(
        f"{n:3d} steps: differs from Euler's method by {same:.0e}, from the exact flow by {euler_errors[-1]:.4f}"
    )
checks.order(euler_errors, counts, 1, "DDIM", tolerance=0.25)

# %% tags=["lab"]
ends, tracks = mixture.sample(9, generator=core.generator(5))[0], {}
for n in (128, 8):
    grid_n = [0.02 + 0.93 * k / n for k in range(n, -1, -1)]
    if n == 128:
        start = library_encode(perfect(mixture, circle), circle, ends, grid_n[::-1])
    states = sampler(perfect(mixture, circle), circle, start, grid_n, 0.0)
    tracks[n] = torch.stack([start, *states])
plot.show(figures.trajectories(tracks, counts, euler_errors))

# %% [markdown]
# First order means: twice the steps, half the error. If it is an ODE, why not solve it with something better
# than Euler's method of 1768? That is chapter 11.
#
# ## 13 · Break it
#
# Five bugs that people really make, each in the two legs of the triangle or in the grid. **Predict** for
# each: will the portraits at 20 steps and $\eta=1$ be too noisy, too smooth, or will you see nothing?
#
# 1. $\tau$ without its root: the variance is used as a standard deviation
# 2. the noise that the *chain* adds, $\sigma_{t|s}$, instead of the posterior's $\tau$
# 3. $k$ is not reduced: all of the old noise stays, and fresh noise comes on top
# 4. $\alpha,\sigma$ of the level $t-1$ instead of the next level that is *visited*
# 5. the guess is clipped to $[-\frac12,\frac12]$ for the clean part, but $\hat\varepsilon$ comes from the guess before


# %% tags=["lab"]
def chain_std(a: float, b: float, c: float, d: float) -> float:
    """sigma_t|s, the noise that the chain adds from s to t."""
    return math.sqrt(max(b**2 - (a / c * d) ** 2, 0.0))


LEGS: dict[str, Callable] = {
    "no bug": library_split,
    "1  tau without its root": lambda a, b, c, d, eta: (
        library_split(a, b, c, d, eta)[0],
        (d / b * chain_std(a, b, c, d)) ** 2 * eta,
    ),
    "2  noise of the chain": lambda a, b, c, d, eta: (
        library_split(a, b, c, d, eta)[0],
        eta * chain_std(a, b, c, d) * (d > 1e-9),
    ),
    "3  k not reduced": lambda a, b, c, d, eta: (d, library_split(a, b, c, d, eta)[1]),
    "4  level t - 1": library_split,
    "5  clipped, eps is not": library_split,
}


@torch.no_grad()
def broken(bug: str, denoise: Callable, path: Path, x: Tensor, eta: float, bound: float) -> Tensor:
    """The sample of a sampler of 20 steps with this bug."""
    g, times = core.generator(1), [TOP * k / T for k in range(1000, -1, -50)]
    for t, s in pairwise(times):
        (a, b), (c, d) = path(t), path(max(t - TOP / T, 0.0) if bug.startswith("4") else s)
        kept, fresh = LEGS[bug](a, b, c, d, eta)
        x0 = denoise(x, t)
        eps = (x - a * x0) / b
        if bug.startswith("5"):
            x0 = x0.clamp(-bound, bound)
        x = c * x0 + kept * eps + fresh * torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x


def symptom(bug: str, eta: float = 1.0) -> plot.Picture:
    """One row: particles of the mixture, portraits."""
    start = torch.randn(4000, 2, generator=core.generator(SEED), dtype=torch.float64)
    x = broken(bug, perfect(mixture, circle), circle, start, eta, 1.0)
    begin = torch.randn(8, 3, 16, 16, generator=core.generator(3))
    faces = broken(bug, net, net_path, begin, eta, 0.5)
    return figures.symptom(f"{bug}   (eta = {eta:g}, 20 steps)", points[:1500], x, w2(x), faces)


lab.scrub(symptom, fps=1, bug=lab.pick(list(LEGS), "no bug"), eta=[1.0, 0.0])

# %% [markdown]
# All six side by side, when you have made your predictions:

# %% tags=["lab"]
for bug in LEGS:
    plot.show(symptom(bug))

# %% [markdown]
# The first is treacherous: too *little* fresh noise makes the portraits smooth and tidy, as
# if they were better. The particles show what is lost: they huddle in the middle of their hills. The
# second is the hardest to see. Its hills are as good as with no bug, for the extra noise happens to make up
# for the variance that 20 steps lose (section 4); only a little grain on the white gives it away. (With a
# thousand steps it is harmless, and the authors of DDPM offered it as an option; in DDIM's table it falls
# apart first, with an FID of about 367 at 10 steps.) In the third noise piles up. The fourth never comes down:
# it believes in a level that the picture has not reached. The fifth guesses one thing and remembers
# another. At $\eta=0$ the first three vanish without a trace: **a sampler that was tried at one eta only
# has not been tried.**
#
# A picture that looks right is no proof. But (2) and (3) *are* one: a step keeps the marginals, or it does
# not. Write that down as a test that never tires.

# %% [markdown] exercise={"id": "keeps_marginals", "difficulty": 4, "importance": 5, "minutes": 15}
# ### Exercise · The test that catches them all
#
# `step(x, x0, alpha_t, sigma_t, alpha_s, sigma_s, eta, z)` returns $x_s$, where `x0` is the **true**
# clean picture and `z` the fresh noise, all of one shape (b, d). Return `True` exactly if it keeps the
# marginals: whenever $x_t=\alpha_tx_0+\sigma_t\varepsilon$, then $x_s\mid x_0\sim\mathcal
# N(\alpha_sx_0,\sigma_s^2)$, for **every** $\eta$ in $[0,1]$, every path, every pair of times. All steps
# you will meet are linear in `x`, `x0` and `z`, and treat every entry alike. Your test is graded by what it says of right and of
# broken steps.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# A linear function is known by three calls. Give it $x_0=1,\varepsilon=0,z=0$ and read off the factor of
# $x_0$; likewise for $\varepsilon$ and for $z$. What must the three numbers fulfil?
# </details>
# <details><summary>Hint: a right step is rejected</summary>
#
# There is more than one right step: the noise may be split in other ways than (4), and $k$ may even be
# negative. Only the *sum of squares* counts. Differences of 1e-7 are rounding.
# </details>
# <details><summary>Hint: a broken step is accepted</summary>
#
# Some are right at $\eta=0$ and $1$ and wrong between, some only on paths with $\alpha^2+\sigma^2=1$, some are
# wrong only in the last step, to $\sigma_s=0$.
# </details>


# %% nbgrader={"grade_id": "keeps_marginals", "solution": true}
def keeps_marginals(step: Callable[..., Float[Tensor, "b d"]]) -> bool:
    """Whether x_s ~ N(alpha_s x_0, sigma_s^2) for every eta, path and pair of times."""
    # TODO      True for a right step, False for a broken one
    ### BEGIN SOLUTION
    zero, one = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    pairs = [
        (0.3, 0.95, 0.8, 0.6),
        (0.2, 0.8, 0.7, 0.3),
        (1.0, 4.0, 1.0, 0.5),
        (0.6, 0.8, 1.0, 0.0),
    ]
    for alpha_t, sigma_t, alpha_s, sigma_s in pairs:
        for eta in (0.0, 0.4, 1.0):

            def at(x0, eps, z):
                x = alpha_t * x0 + sigma_t * eps
                return float(step(x, x0, alpha_t, sigma_t, alpha_s, sigma_s, eta, z))

            signal, old, fresh = at(one, zero, zero), at(zero, one, zero), at(zero, zero, one)
            if abs(signal - alpha_s) > 1e-4 or abs(old**2 + fresh**2 - sigma_s**2) > 1e-4:
                return False
    return True
    ### END SOLUTION


# %% nbgrader={"grade_id": "keeps_marginals_check", "grade": true, "points": 4}
# Your test meets 6 right steps and 14 broken ones, most of them broken in one place only.
# You should see: 20 cases right.
checks.run("keeps_marginals", keeps_marginals)

# %% [markdown]
# ## 14 · Your line in the leaderboard
#
# One line for each sampler of the *same* network; chapter 16 collects them all.

# %% tags=["lab"]
board = {}
for eta, name in ((1.0, "DDPM"), (0.0, "DDIM")):
    for steps in [n for n in (1000, 100, 20) if n in RUNGS[eta]]:
        here, seconds = speed[eta, steps]
        board[f"{name}, {steps} steps"] = {
            "distance to data": here.mean,
            "evaluations": steps,
            "ms a portrait": 1000 * seconds,
            "parameters": sum(p.numel() for p in net.parameters()),
        }
        report.metric(
            f"{name} {steps} steps distance to data",
            here.mean,
            floor=FLOOR,
            note=f"± {here.error:.2f} on {here.n} portraits",
        )
        report.metric(f"{name} {steps} steps sampling", 1000 * seconds, "ms a portrait")
plot.show(plot.table(board, best={"distance to data": "min", "ms a portrait": "min"}))

# %% [markdown]
# **What you can now do.** Say what a diffusion network was trained for, and what not; sample it with any
# number of steps and any amount of chance; *prove* that a step keeps the marginals; walk between faces; turn
# a face into its noise and back, with another hat on; turn up a wish, and know what that distorts.
#
# **What is still missing.** DDIM is Euler's method, of first order, in coordinates that nobody chose. Which
# path, which times, which solver, which form of the network are *best*? Chapter 11 lays them out as one
# design space, and answers each question on its own. And where the paths of this chapter are curved, chapter
# 12 will make them straight.
