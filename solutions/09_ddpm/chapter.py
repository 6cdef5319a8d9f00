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
# # 09 · Denoising diffusion (DDPM)
#
# ![Four rows of small pictures. At the left coloured noise; from left to right it clears, and at the right stand four
# portraits that nobody ever drew.](../assets/09_ddpm.png)
#
# To burn a letter is easy, and nobody has to learn it. To put the ashes together again is impossible, if you must do
# it at once. But if the letter fades a *little*, a careful reader can guess what stood there, and undo that much.
#
# **The one idea.** Destroy the data in many small steps of Gaussian noise, and learn to undo each. Nothing about the
# destroying is learned; undoing a small step is again a Gaussian; and all that it needs is the answer to one question,
# *what was the clean picture, on average?* That is least squares.
#
# | | |
# |---|---|
# | **You will build** | the forward chain, its posterior, the bound term by term, one table of prediction targets, the training loss with class labels, the ancestral sampler, and a test that tells right samplers from broken ones |
# | **Time** | about 2½ hours: 60 minutes of reading and {{minutes}} of exercises ({{exercises}} exercises, {{points}} points) |
# | **You need** | the ELBO and the KL of two Gaussians (chapter 04); log-likelihood, nats, bits a dimension (chapter 00) |
# | **Computing** | {{budget}} |
#
# <details><summary><b>Sources</b></summary>
#
# - The chain, its reverse, the bound: J. Sohl-Dickstein et al., 2015, [arXiv 1503.03585](https://arxiv.org/abs/1503.03585)
# - DDPM: J. Ho, A. Jain, P. Abbeel, 2020, [arXiv 2006.11239](https://arxiv.org/abs/2006.11239)
# - Cosine schedule, bits a dimension: A. Nichol and P. Dhariwal, 2021, [arXiv 2102.09672](https://arxiv.org/abs/2102.09672)
# - The bound through the signal-to-noise ratio: D. Kingma et al., 2021, [arXiv 2107.00630](https://arxiv.org/abs/2107.00630)
# - v-prediction: T. Salimans and J. Ho, 2022, [arXiv 2202.00512](https://arxiv.org/abs/2202.00512)
# - Denoising score matching: P. Vincent, 2011, *A connection between score matching and denoising autoencoders*
# - Langevin at many noise levels: Y. Song and S. Ermon, 2019, [arXiv 1907.05600](https://arxiv.org/abs/1907.05600)
# - Classifier-free guidance: J. Ho and T. Salimans, 2022, [arXiv 2207.12598](https://arxiv.org/abs/2207.12598)
# </details>
#
# **Notation of chapters 09 to 12.** Time runs from $t=0$, data, to $t=1$, noise, and $x_t=\alpha(t)\,x_0+\sigma(t)\,\varepsilon$. In
# this chapter time has $T$ steps; $k$ counts them.
#
# | symbol | meaning | in code | in Ho et al. |
# |---|---|---|---|
# | $k=0,\dots,T$; $t=k/T$ | how far the picture has faded | `k`, `k / T` | $t$ |
# | $j<k$ | a less noisy step, mostly $k-1$ | `j` | $t-1$ |
# | $\beta_k$ | variance of the noise that step $k$ adds | `betas[k - 1]` | $\beta_t$ |
# | $\bar\alpha_k=\prod_{i\le k}(1-\beta_i)$, $\bar\alpha_0=1$ | what is left of the data's variance | `abar[k]` | $\bar\alpha_t$ |
# | $\alpha=\sqrt{\bar\alpha_k}$, $\sigma=\sqrt{1-\bar\alpha_k}$ | size of the signal, size of the noise | `abar[k].sqrt()`, `(1 - abar[k]).sqrt()` | $\sqrt{\bar\alpha_t},\sqrt{1-\bar\alpha_t}$ |
# | $\mathrm{SNR}_k=\alpha^2/\sigma^2$ | signal-to-noise ratio, of variances | `snr` | |
# | $\varepsilon$ | the noise, $\mathcal N(0,I)$ | `eps` | $\epsilon$ |
# | $\hat x_0(x_k,k)$ | the denoiser: a guess at the clean picture | `denoise(x, k)` | from $\epsilon_\theta$ |
#
# **What was left open.** Chapter 04 learned to encode *and* to decode, and the two had to be kept from cheating each other.
# Chapter 05's game can be lost by both. The flows of chapter 08 are exact, but every layer must be invertible. Here the
# encoder is fixed, there is one player, and the network may be anything.

# %% tags=["parameters"]
PROFILE = "laptop"  # or "smoke" (seconds, to see that all runs), or "gpu" (the size of the papers)
TRAIN = True  # False: skip the training and load the ready weights

# %% nbgrader={"grade_id": "setup", "locked": true}
import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from coursekit import checks
from coursekit.views import chain as library
from genmodels import core, samplers, schedule, toy

SEED = 0
torch.manual_seed(SEED)


def noise(*shape: int, seed: int = SEED) -> Tensor:
    """Standard normal numbers, float64, the same for everybody."""
    return torch.randn(*shape, generator=core.generator(seed), dtype=torch.float64)


# %% tags=["lab"]
import itertools
import time

import figures
from IPython.display import display

from coursekit import lab, plot, report
from genmodels import data, metrics, train
from genmodels.nets import MLP, UNet

# %% [markdown]
# ## 1 · Pretend you have read no paper
#
# A generative model turns noise into pictures. So take a network, give it noise, ask for a portrait, and train it with
# the loss that always works, the squared error. Which portrait belongs to which noise? We have no idea; pair them at
# random. What will the network learn? We need not train it to find out. The best answer to a squared error is known,
# it is the *mean* of all answers that were possible, and for a finite set of portraits we can compute it.
#
# Below: the same portrait with more and more noise, and under each the best possible guess, given 4,000 portraits of which it is one.

# %% tags=["lab"]
people = data.portraits("train")
faces = people.x * 2 - 1  # from here on pixels live on [-1, 1]: their mean is not far from 0
circle = schedule.cosine()
best_guess = toy.EmpiricalDenoiser(faces[:4000]).denoiser(circle)  # the mean, exactly
one = faces[5:6]
fading = [(one, one)]
for t in (0.3, 0.6, 0.8, 0.85, 0.9, 0.95, 1.0):
    faded, _ = circle.corrupt(one, t, generator=core.generator(3))
    fading.append((faded, best_guess(faded, t)))

plot.show(figures.fading(fading))

# %% [markdown]
# From pure noise the best guess is **the average face**, always the same one. That is the naive generator: one jump, one blur.
# No bigger network will help, since the blur *is* the right answer to the question that we asked.
#
# But look at the left half. When little is lost, little has to be guessed. So do not ask for everything at once. The plan:
#
# 1. add noise in $T$ small steps, until nothing but noise is left (sections 2 and 3);
# 2. understand exactly what it takes to undo *one* step (4);
# 3. learn that from data, by maximising the likelihood (5 to 7);
# 4. start from fresh noise and undo all steps (8).
#
# ## 2 · The forward chain
#
# Adding noise alone would let the numbers grow for ever. So shrink the picture a little first:
#
# $$q(x_k\mid x_{k-1})=\mathcal N\bigl(\sqrt{1-\beta_k}\,x_{k-1},\;\beta_k I\bigr)\qquad\text{in code}\qquad
# \texttt{(1 - beta).sqrt() * x + beta.sqrt() * eps} \tag{1}$$
#
# *With a pencil:* if $x_{k-1}$ has variance 1, then $x_k$ has variance $(1-\beta_k)\cdot1+\beta_k=1$. This is a Markov chain: each state
# depends on the one before it and on nothing else. The numbers $\beta_1,\dots,\beta_T$, between 0 and 1, are the **variance schedule**.
#
# To train at step 700 we do not want to walk there. What is $x_2$, seen from $x_0$? Put (1) into itself:
#
# $$x_2=\sqrt{(1-\beta_2)(1-\beta_1)}\;x_0+\underbrace{\sqrt{(1-\beta_2)\beta_1}\;\varepsilon_1+\sqrt{\beta_2}\;\varepsilon_2}_{
# \text{two independent Gaussians: one of variance }(1-\beta_2)\beta_1+\beta_2\;=\;1-(1-\beta_2)(1-\beta_1)} \tag{2}$$
#
# Signal $\sqrt{\bar\alpha_2}$, variance $1-\bar\alpha_2$. The step from $k-1$ to $k$ is the same sum again, so by induction
#
# $$q(x_k\mid x_0)=\mathcal N\bigl(\sqrt{\bar\alpha_k}\,x_0,\;(1-\bar\alpha_k)I\bigr),\qquad \bar\alpha_k=\prod_{i=1}^{k}(1-\beta_i) \tag{3}$$
#
# The whole chain in one jump. You need not believe the induction: the next cell walks $T$ steps with the mean and the
# variance, by equation (1) alone, and compares with (3) at *every* $k$, for three schedules.

# %%
SCHEDULES = {
    "linear": torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64),  # Ho et al. 2020
    "cosine": schedule.cosine_betas(1000),  # Nichol and Dhariwal 2021; section 3
    "random": torch.rand(37, generator=core.generator(SEED), dtype=torch.float64),
}
for name, betas in SCHEDULES.items():
    signal, variance, walked = 1.0, 0.0, []
    for beta in betas.tolist():
        signal *= math.sqrt(1 - beta)  # equation (1), for the mean ...
        variance = (1 - beta) * variance + beta  # ... and for the variance
        walked.append([signal, variance])
    product = (1 - betas).cumprod(0)
    jumped = torch.stack([product.sqrt(), 1 - product], 1)  # equation (3)
    checks.close(torch.tensor(walked), jumped, f"(3) against the chain, {name}", atol=1e-12)
    print(f"{name:7s} {len(betas):5d} steps walked: (3) holds at every k")


# %% [markdown] exercise={"id": "jump", "difficulty": 1, "importance": 5, "minutes": 8}
# ### Exercise · Fade a picture in one jump
#
# Equation (3) with the noise given: $x_k=\sqrt{\bar\alpha_k}\,x_0+\sqrt{1-\bar\alpha_k}\,\varepsilon$. Each picture of the batch has its own $k$, from 0
# (nothing happened) to $T$. Every training step of this chapter, and of the next three, begins with this line.
#
# <details><summary>Hint: how do I begin?</summary>
#
# What is left of the data's variance after $k$ steps, for every $k$ at once? A running product: `cumprod(0)`. Each sample then looks up its own entry.
# </details>
# <details><summary>Hint: the case k = 0</summary>
#
# $\bar\alpha_0=1$ is an empty product. Put a 1 in front of the running product: `torch.cat([betas.new_ones(1), ...])`. Then `abar[k]` is right for
# every $k$ from 0 to $T$, and no index is ever $-1$, which Python would take from the end without a word.
# </details>
# <details><summary>Hint: "the size of tensor a must match", or one sample gets another one's noise</summary>
#
# `abar[k]` has shape (b,), the pictures (b, c, h, w). PyTorch lines shapes up from the *right*. Make it (b, 1, 1, 1):
# `core.expand(abar[k], x0)`, or `abar[k].reshape(-1, *[1] * (x0.ndim - 1))`.
# </details>
# <details><summary>Hint: my pictures stay too clean</summary>
#
# A variance of 0.01 is noise of size 0.1: the noise is multiplied by the *root* of $1-\bar\alpha_k$.
# </details>


# %% nbgrader={"grade_id": "jump", "solution": true} autograde={"library": ["genmodels.schedule.from_betas", "coursekit.views.chain.jump"]}
def jump(
    x0: Float[Tensor, "b *d"],
    k: Int[Tensor, "b"],
    betas: Float[Tensor, "T"],
    eps: Float[Tensor, "b *d"],
) -> Float[Tensor, "b *d"]:
    """x_k = sqrt(abar_k) x_0 + sqrt(1 - abar_k) eps, k = 0 .. T [Ho et al. 2020, eq. 4; equation 3].

    ``betas[0]`` is beta_1, the variance of the first step.
    """
    # TODO      fade each picture to its own step
    ### BEGIN SOLUTION
    abar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    left = core.expand(abar[k], x0)
    return left.sqrt() * x0 + (1 - left).sqrt() * eps
    ### END SOLUTION


# %% nbgrader={"grade_id": "jump_check", "grade": true, "points": 2}
# The truth walks the chain step by step, by equation (1) alone: vectors and pictures, each
# sample with its own k, in one case as many samples as the last axis is long. You should
# see: 6 cases right.
checks.run("jump", jump)


# %%
betas = torch.tensor([0.19, 0.28]).double()
jump_to = checks.fallback(
    jump,
    library.jump,
    at=(noise(3, 2, seed=1), torch.tensor([2, 0, 1]), betas, noise(3, 2, seed=2)),
)


def abar_of(betas: Tensor) -> Tensor:
    """abar_0 = 1, abar_1, ..., abar_T."""
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])


# %% [markdown]
# ## 3 · Does it arrive? Schedules
#
# We shall start sampling from $\mathcal N(0,I)$, so the chain must have arrived there: $\bar\alpha_T\approx0$. Two classical schedules, both your
# `jump`:
#
# - **linear** [Ho et al.]: $\beta_k$ grows evenly from $10^{-4}$ to $0.02$, for $T=1000$;
# - **cosine** [Nichol and Dhariwal]: choose the *result*, $\bar\alpha(t)=\cos^2\!\bigl(\tfrac\pi2\tfrac{t+0.008}{1.008}\bigr)/\cos^2\!\bigl(\tfrac\pi2\tfrac{0.008}{1.008}\bigr)$, and
#   compute $\beta_k=1-\bar\alpha_k/\bar\alpha_{k-1}$ from it, clipped at 0.999, for the last one would be 1.

# %% tags=["lab"]
show_at = torch.arange(0, 1001, 100)
repeated, faded = one.expand(len(show_at), -1, -1, -1), {}
for name in ("linear", "cosine"):
    eps = torch.randn(repeated.shape, generator=core.generator(3))
    faded[name] = jump_to(repeated, show_at, SCHEDULES[name].float(), eps)
plot.show(figures.strips(faded))
curves_of = {name: abar_of(SCHEDULES[name]) for name in ("linear", "cosine")}
plot.show(figures.schedules(curves_of))

# %% [markdown]
# The linear schedule spends its last third on pictures that are noise already; the cosine fades evenly. Did they arrive?
# The distance of $q(x_T\mid x_0)$ from $\mathcal N(0,I)$ is a KL of two Gaussians (chapter 04), here in nats for a whole portrait of 768 numbers:
#
# $$L_T=\mathrm{KL}\bigl(q(x_T\mid x_0)\,\|\,\mathcal N(0,I)\bigr)=\tfrac12\sum_i\bigl(\bar\alpha_T\,x_{0,i}^2+(1-\bar\alpha_T)-1-\log(1-\bar\alpha_T)\bigr) \tag{4}$$
#
# A trap hides here. Somebody who wants to be quick takes *the same* $10^{-4}\dots0.02$ with $T=50$.


# %% tags=["lab"]
def distance_to_noise(abar_T: Tensor, x0: Tensor) -> float:
    """Equation (4), the mean over the pictures, in nats."""
    terms = abar_T * x0**2 + (1 - abar_T) - 1 - (1 - abar_T).log()
    return float(terms.flatten(1).sum(1).mean() / 2)


linear = lambda first, last, T: torch.linspace(first, last, T, dtype=torch.float64)
candidates = {
    "linear, T = 1000": linear(1e-4, 0.02, 1000),
    "linear, T = 50, as if nothing had changed": linear(1e-4, 0.02, 50),
    "linear, T = 50, rescaled: betas x 1000 / T": linear(2e-3, 0.4, 50),
    "cosine, T = 1000": schedule.cosine_betas(1000),
    "cosine, T = 50": schedule.cosine_betas(50),
}
rows = {}
for name, betas in candidates.items():
    end = abar_of(betas)[-1]
    far = distance_to_noise(end, faces[:500].double())
    rows[name] = {"abar_T": f"{end:.1e}", "L_T, nats a portrait": f"{far:.4f}"}
plot.show(plot.table(rows, "How far from N(0, I) does the chain end?", first="schedule"))

# %% [markdown]
# 260 nats are not a rounding error: 60 % of the data's variance is still there at the end. To see what that does, take data of which we know
# everything, a mixture of three Gaussians in the plane with weights 0.30, 0.15 and 0.55. For it the perfect denoiser is a formula
# (`toy.GaussianMixture`), so whatever goes wrong is the schedule's fault. All three runs start from $\mathcal N(0,I)$ and take 50 steps.

# %%
mixture = toy.GaussianMixture(
    torch.tensor([0.3, 0.15, 0.55], dtype=torch.float64),
    torch.tensor([[-1.6, -0.8], [1.8, -0.9], [0.3, 1.9]], dtype=torch.float64),
    torch.tensor(
        [[[0.16, 0.1], [0.1, 0.16]], [[0.09, 0.0], [0.0, 0.2]], [[0.3, 0.0], [0.0, 0.04]]],
        dtype=torch.float64,
    ),
)


# %% tags=["lab"]
def from_noise(betas: Tensor, n: int = 2000) -> Tensor:
    """Ancestral sampling (section 8) by the library, from N(0, I), with the perfect denoiser."""
    path, random = schedule.from_betas(betas), core.generator(SEED)
    step = samplers.ddim(mixture.denoiser(path), path, eta=1.0, generator=random)
    start = torch.randn(n, 2, generator=random, dtype=torch.float64)
    return samplers.last(samplers.sample(step, start, schedule.uniform_grid(path, len(betas))))


truth = mixture.sample(2000, generator=core.generator(SEED + 1))[0]
plane = {
    "data": truth,
    "not rescaled": from_noise(candidates["linear, T = 50, as if nothing had changed"]),
    "rescaled": from_noise(candidates["linear, T = 50, rescaled: betas x 1000 / T"]),
    "cosine": from_noise(candidates["cosine, T = 50"]),
}
w2 = lambda x: float(metrics.sliced_w2(x, truth, generator=core.generator(0)))
w2_floor = w2(mixture.sample(2000, generator=core.generator(SEED + 2))[0])
plot.show(plot.samples2d(plane, limit=3.6, title="The same perfect denoiser, three schedules"))


def facts(x: Tensor | None = None) -> dict[str, str]:
    """Distance to the data, and the shares of the clusters; of real samples if no points are given."""
    if x is None:
        return {"sliced W2": f"{w2_floor:.3f}", "shares of the clusters": "0.30  0.15  0.55"}
    shares = "  ".join(f"{share:.2f}" for share in mixture.responsibilities(x).mean(0))
    return {"sliced W2": f"{w2(x):.3f}", "shares of the clusters": shares}


rows = {name: facts(x) for name, x in plane.items() if name != "data"} | {"real samples": facts()}
plot.show(plot.table(rows, first="schedule"))

# %% [markdown]
# The shapes look right. The *shares* are not: where a point starts has a say in where it ends, and it was started at a place that the data, after 50 such
# steps, does not reach. A mistake that no picture shows. **Check $\bar\alpha_T<10^{-3}$ before you train.**
#
# ## 4 · Undo one step: the posterior
#
# We want to go back, $x_k\to x_j$ with $j<k$. Two questions that look alike, and are not:
#
# - *If we knew $x_0$*: $q(x_j\mid x_k,x_0)$. We know where the picture started and where it is now; where was it in between? Bayes'
#   rule, and everything in it is Gaussian:
#
# $$q(x_j\mid x_k,x_0)=\frac{q(x_k\mid x_j)\,q(x_j\mid x_0)}{q(x_k\mid x_0)} \tag{5}$$
#
# - *In earnest* we know only $x_k$, and must average (5) over all $x_0$ that are possible. That is not a Gaussian. But the
#   smaller the step, the nearer it is to one, whatever the data looks like: this is why the steps must be small.
#
# First the second question, to see it. Data: two narrow bumps in one dimension, everything computed on a grid. The chain stands at
# $x_k=0.1$, at time $0.7$. Where was it at the earlier time $s$? Grey: the truth. Orange: a Gaussian with the mean and variance that
# the best possible denoiser gives, (5) with $x_0$ replaced by $\mathbb E[x_0\mid x_k]$.


# %% tags=["lab"]
bumps = toy.GaussianMixture(
    torch.tensor([0.6, 0.4], dtype=torch.float64),
    torch.tensor([[-1.2], [1.0]], dtype=torch.float64),
    torch.tensor([0.15, 0.2], dtype=torch.float64),
)


def one_step_back(s: float = 0.3) -> plot.Picture:
    """The true density of x_s given x_t = 0.1 at t = 0.7, and its Gaussian."""
    p, q, axis = circle.at(0.7), circle.at(s), torch.linspace(-2.4, 2.4, 1201, dtype=torch.float64)
    here = torch.tensor([[0.1]], dtype=torch.float64)
    signal = p.alpha / q.alpha
    spread = p.sigma**2 - (signal * q.sigma) ** 2  # variance that the steps from s to t add
    log_q = bumps.log_prob(axis[:, None], q.alpha, q.sigma)
    log_q = log_q - (0.1 - signal * axis) ** 2 / (2 * spread)
    exact = log_q.exp() / torch.trapezoid(log_q.exp(), axis)
    c_x, c_0, std = samplers.ddim_coefficients(p, q, 1.0)
    mean = float(c_x * here + c_0 * bumps.denoise(here, p.alpha, p.sigma))
    bell = torch.exp(-((axis - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
    return figures.one_step_back(s, axis, exact, bell)


lab.scrub(one_step_back, fps=2, s=[0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.69])

# %% [markdown]
# One big step back (slide to $s=0.1$) has two bumps, and the Gaussian lands *between* them, where no data is: the average face of section 1
# again. A small step is as good as Gaussian. So the plan works, and it needs (5). Write $a=\bar\alpha_k/\bar\alpha_j$, the share of the variance that the steps
# between keep (for $j=k-1$ it is $1-\beta_k$). As a function of $x_j$, (5) is a product of two Gaussians,
#
# $$q(x_k\mid x_j)\propto e^{-\frac{(x_k-\sqrt a\,x_j)^2}{2(1-a)}},\qquad q(x_j\mid x_0)\propto e^{-\frac{(x_j-\sqrt{\bar\alpha_j}\,x_0)^2}{2(1-\bar\alpha_j)}}$$
#
# *With a pencil:* in a product of Gaussians the precisions (1/variance) add, and the mean is the precision-weighted mean. The first has precision
# $a/(1-a)$ and says $x_k/\sqrt a$; the second has $1/(1-\bar\alpha_j)$ and says $\sqrt{\bar\alpha_j}x_0$. With $a\,(1-\bar\alpha_j)+(1-a)=1-\bar\alpha_k$:
#
# $$\tilde\beta=\frac{(1-a)(1-\bar\alpha_j)}{1-\bar\alpha_k},\qquad
# \tilde\mu=\frac{\sqrt{\bar\alpha_j}\,(1-a)\,x_0+\sqrt a\,(1-\bar\alpha_j)\,x_k}{1-\bar\alpha_k} \tag{6}$$

# %% [markdown] exercise={"id": "posterior", "difficulty": 2, "importance": 5, "minutes": 12}
# ### Exercise · Where was it in between?
#
# Mean and **variance** of $q(x_j\mid x_k,x_0)$ for any $0\le j<k$, not only for $j=k-1$: then you can take big steps with it as well as small
# ones. `abar_k` and `abar_j` are plain numbers. This is the sampler's heart, and the bound's.
#
# <details><summary>Hint: how do I begin?</summary>
#
# Nothing has to be derived any more: name $a$ first, then write equation (6) down term by term. `abar_k` and `abar_j` are numbers, so `** 0.5` will do.
# The variance is the same for every entry: one number.
# </details>
# <details><summary>Hint: what is beta for a step from k to j?</summary>
#
# $1-a$ with $a=$ `abar_k / abar_j`. For neighbours it is $\beta_k$.
# </details>
# <details><summary>Hint: test it at the end</summary>
#
# At $j=0$, `abar_j = 1`: the mean must be exactly $x_0$, and the variance 0. If yours divides by zero there, you have divided by $1-\bar\alpha_j$.
# </details>
# <details><summary>Hint: the mean is off by a little</summary>
#
# Which factor goes with which? The coefficient of $x_k$ contains $1-\bar\alpha_j$: the noisier $j$ is, the more $x_k$ knows about it.
# </details>


# %% nbgrader={"grade_id": "posterior", "solution": true} autograde={"library": ["genmodels.samplers.ddim_coefficients", "genmodels.samplers.ddim", "coursekit.views.chain.posterior"]}
def posterior(
    x0: Float[Tensor, "b *d"], xk: Float[Tensor, "b *d"], abar_k: float, abar_j: float
) -> tuple[Float[Tensor, "b *d"], float]:
    """Mean and variance of q(x_j | x_k, x_0), j < k [Ho et al. 2020, eqs. 6 and 7; equation 6]."""
    # TODO      the pair (mean, variance)
    ### BEGIN SOLUTION
    a = abar_k / abar_j
    variance = (1 - a) * (1 - abar_j) / (1 - abar_k)
    mean = (abar_j**0.5 * (1 - a) * x0 + a**0.5 * (1 - abar_j) * xk) / (1 - abar_k)
    return mean, variance
    ### END SOLUTION


# %% nbgrader={"grade_id": "posterior_check", "grade": true, "points": 4}
# The truth multiplies the two densities of (5) on a grid and takes mean and variance there:
# short steps, long ones, and steps to j = 0. You should see: 5 cases right.
checks.run("posterior", posterior)


# %%
posterior_of = checks.fallback(
    posterior, library.posterior, at=(noise(3, 2, seed=1), noise(3, 2, seed=2), 0.25, 0.5)
)

# %% [markdown]
# ## 5 · The bound: chapter 04 with $T$ latents
#
# Now the learning. Let the reverse chain imitate (6) with the one thing put in that we do not have, a guess at $x_0$:
#
# $$p(x_T)=\mathcal N(0,I),\qquad p(x_j\mid x_k)=q\bigl(x_j\mid x_k,\;x_0\!=\!\hat x_0(x_k,k)\bigr) \tag{7}$$
#
# It is a VAE: the latents are $x_1,\dots,x_T$, the encoder is the forward chain, the decoder is (7). So the ELBO of chapter 04 holds,
# $-\log p(x_0)\le\mathbb E_q[\log q(x_{1:T}\mid x_0)-\log p(x_{0:T})]$. Turn every forward factor round with (5); the marginals telescope, and what remains is
#
# $$-\log p(x_0)\;\le\;\underbrace{\mathrm{KL}\bigl(q(x_T|x_0)\|\mathcal N(0,I)\bigr)}_{L_T:\text{ did it arrive?}}
# +\sum_{k=2}^{T}\underbrace{\mathbb E\,\mathrm{KL}\bigl(q(x_{k-1}|x_k,x_0)\,\|\,p(x_{k-1}|x_k)\bigr)}_{L_{k-1}:\text{ undo one step}}
# \;\underbrace{-\,\mathbb E\log p(x_0|x_1)}_{L_0:\text{ the last word}} \tag{8}$$
#
# **$L_T$** is equation (4); it has no parameters. **$L_{k-1}$** is a KL of two Gaussians with *the same* variance $\tilde\beta$, so only the means count, and those
# differ by $\tfrac{\sqrt{\bar\alpha_j}(1-a)}{1-\bar\alpha_k}(x_0-\hat x_0)$. *With a pencil:* square that, divide by $2\tilde\beta$, and use
# $\mathrm{SNR}=\bar\alpha/(1-\bar\alpha)$; all of it collapses into
#
# $$L_{k-1}=\tfrac12\bigl(\mathrm{SNR}_{k-1}-\mathrm{SNR}_{k}\bigr)\,\mathbb E_{x_k}\bigl\|x_0-\hat x_0(x_k,k)\bigr\|^2 \tag{9}$$
#
# **This is the surprise of the chapter:** maximum likelihood, through a chain of a thousand latents, is least squares with a weight.
#
# **$L_0$** speaks about *pixels*, which are whole numbers: grey level $v$ of `levels` sits at $-1+2v/(\texttt{levels}-1)$. Its probability is the mass that a Gaussian
# puts into the bin around it, of half-width $1/(\texttt{levels}-1)$. The two **edge bins** reach to infinity, or the masses would not sum to 1:
#
# $$p(x_0|x_1)=\prod_i\int_{\text{bin}(x_{0,i})}\mathcal N\bigl(y;\;\hat x_{0,i}(x_1,1),\;s^2\bigr)\,dy,\qquad s^2=\tfrac{1-\bar\alpha_1}{\bar\alpha_1} \tag{10}$$
#
# (Equation (6) has no variance to offer for the last step, it is 0; we take the noise left in $x_1$, for a small $\beta_1$ the same as Ho et al.'s $\beta_1$.)
# The check that (8) is what it says comes right after the exercise, where $\log p(x_0)$ is known.


# %%
def log_mass(lower: Tensor, upper: Tensor) -> Tensor:
    """log P(lower < N(0, 1) < upper), accurate also far out in a tail; the ends may be infinite."""
    right = lower + upper > 0  # mirror it to the left, where the normal cdf is not rounded to 1
    lower, upper = torch.where(right, -upper, lower), torch.where(right, -lower, upper)
    top = torch.special.log_ndtr(upper)
    return top + torch.log(-torch.expm1(torch.special.log_ndtr(lower) - top))


# %% [markdown] exercise={"id": "bound_terms", "difficulty": 4, "importance": 4, "minutes": 20}
# ### Exercise · The three terms
#
# Return $L_T$ with shape (b,), all $L_{k-1}$ for $k=2,\dots,T$ with shape (T-1, b), and $L_0$ with shape (b,), in nats, summed over all numbers of a picture. The noise is
# given: `eps[k - 1]` makes $x_k$, and this one draw stands for the mean in (9). `log_mass(lower, upper)` above does the integral, in units of the standard deviation.
#
# <details><summary>Hint: how do I begin?</summary>
#
# `x = abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1]`, then `error = x0 - denoise(x, k)`. Do that for $k=T,\dots,2$ and once more for $k=1$.
# </details>
# <details><summary>Hint: the bins</summary>
#
# Standardise: the bin runs from $(x_0-h-\hat x_0)/s$ to $(x_0+h-\hat x_0)/s$ with $h=$ `1 / (levels - 1)`. For the edges,
# `torch.where(x0 > 1 - h, math.inf, upper)`, and the other one likewise.
# </details>
# <details><summary>Hint: some L are negative</summary>
#
# A KL cannot be. The signal-to-noise ratio *falls* with $k$, so it is $\mathrm{SNR}_{k-1}-\mathrm{SNR}_k$.
# </details>
# <details><summary>Hint: the probabilities of all grey levels sum to less than 1</summary>
#
# Dark and bright pixels: the first bin begins at $-\infty$, the last one ends at $+\infty$.
# </details>


# %% nbgrader={"grade_id": "bound_terms", "solution": true} autograde={"library": ["genmodels.diffusion.variational_bound", "coursekit.views.chain.bound_terms"]}
def bound_terms(
    x0: Float[Tensor, "b *d"],
    denoise: Callable[[Float[Tensor, "b *d"], int], Float[Tensor, "b *d"]],
    abar: Float[Tensor, "T+1"],
    eps: Float[Tensor, "T b *d"],
    levels: int,
) -> tuple[Float[Tensor, "b"], Float[Tensor, "T-1 b"], Float[Tensor, "b"]]:
    """(L_T, [L_1, ..., L_{T-1}], L_0) in nats [Ho et al. 2020, eqs. 5 and 13; equations 4, 9, 10].

    ``denoise(x_k, k)`` guesses x_0; x_0 has ``levels`` grey levels on [-1, 1]; abar[0] is 1.
    """
    # TODO      three tensors, each summed over the numbers of a picture
    ### BEGIN SOLUTION
    T = len(abar) - 1
    snr = abar / (1 - abar)

    def guess(k: int) -> Tensor:
        return denoise(abar[k].sqrt() * x0 + (1 - abar[k]).sqrt() * eps[k - 1], k)

    arrived = core.sum_except_batch(abar[T] * x0**2 - abar[T] - (1 - abar[T]).log()) / 2
    steps = [
        (snr[k - 1] - snr[k]) / 2 * core.sum_except_batch((x0 - guess(k)) ** 2)
        for k in range(2, T + 1)
    ]
    h, s, error = 1 / (levels - 1), (1 / snr[1]).sqrt(), x0 - guess(1)
    lower = torch.where(x0 < -1 + h, -math.inf, (error - h) / s)
    upper = torch.where(x0 > 1 - h, math.inf, (error + h) / s)
    return arrived, torch.stack(steps), -core.sum_except_batch(log_mass(lower, upper))
    ### END SOLUTION


# %% nbgrader={"grade_id": "bound_terms_check", "grade": true, "points": 4}
# Small pictures with dark, bright and grey pixels, and a denoiser that is wrong in its own
# way at every k. The truth takes the KLs from torch and the masses between bin edges. You
# should see: 4 cases right.
checks.run("bound_terms", bound_terms)


# %%
brief = torch.tensor([1.0, 0.8, 0.5, 0.2]).double()  # abar of three steps, to try answers on
grey = torch.tensor([[-1.0, 0.0], [1.0, 0.5]]).double()  # two small pictures with five grey levels
terms_of = checks.fallback(
    bound_terms,
    library.bound_terms,
    at=(grey, lambda x, k: 0.1 * k + x / 2, brief, noise(3, 2, 2, seed=1), 5),
)

# %% [markdown]
# ### Exact lab: is it really a bound on $-\log p$?
#
# Take data $\mathcal N(0.2, 0.3^2)$, rounded to 4,001 levels. Its perfect denoiser is a straight line and $-\log p(x_0)$ is known, so we see all
# of the bound and all of its gap. The chains all run from $\mathrm{SNR}=e^{9}$ to $e^{-9}$, in few steps or in many.

# %% tags=["lab"]
mean, std, levels = 0.2, 0.3, 4001
x0 = ((mean + std * noise(20_000, 1)).clamp(-1, 1) * 2000).round() / 2000
exact = ((x0 - mean) ** 2 / (2 * std**2)).mean().item()
exact += math.log(std * math.sqrt(2 * math.pi) * 2000)
gaps = {}
for T in (10, 20, 40, 80, 160, 320):
    log_snr = torch.linspace(9, -9, T)
    abar = torch.cat([torch.ones(1), log_snr.sigmoid()]).double()

    def line(x: Tensor, k: int, abar: Tensor = abar) -> Tensor:
        """E[x_0 | x_k] of Gaussian data: the prior mean, corrected by what x_k says."""
        gain = abar[k].sqrt() * std**2 / (abar[k] * std**2 + 1 - abar[k])
        return mean + gain * (x - abar[k].sqrt() * mean)

    arrived, steps, last = terms_of(x0, line, abar, noise(T, *x0.shape, seed=T), levels)
    arrived, steps, last = (float(v.mean()) for v in (arrived, steps.sum(0), last))
    gaps[T] = arrived + steps + last - exact
    print(
        f"T = {T:3d}:  L_T {arrived:.5f} + steps {steps:6.3f} + L_0 {last:.3f} = {exact + gaps[T]:6.3f} nats;"
        f"   -log p = {exact:.3f};  gap {gaps[T]:.3f}"
    )
assert all(gap > 0 for gap in gaps.values()), "a bound on -log p lies above it"
many = torch.tensor([80, 160, 320])
checks.order(torch.tensor([gaps[T] for T in many.tolist()]), many, 1.0, "the gap")

# %% [markdown]
# Twice the steps, half the gap: it falls like $1/T$. In few steps (7) is a poor imitation of the reverse chain; more steps are a *better model* with
# the same network. That is why $T$ is 1000. (It is also why nobody likes to sample: chapter 10.)
#
# ## 6 · What should the network say?
#
# So far the network says $\hat x_0$. But $x_k=\alpha x_0+\sigma\varepsilon$ is known, so whoever knows $x_0$ knows $\varepsilon$, and every mixture of the two:
#
# | the network predicts | $a\,x_0+b\,\varepsilon$ with $(a,b)=$ | who |
# |---|---|---|
# | the picture, $x_0$ | $(1,0)$ | tried by Ho et al., and dropped |
# | the noise, $\varepsilon$ | $(0,1)$ | Ho et al.: "predict the noise" |
# | $v$, the rest of a right angle | $(-\sigma,\alpha)$ | Salimans and Ho |
#
# One line of code each ($a$ is a coefficient from here on, no longer the ratio of section 4), and **one solve for all**: two equations, two unknowns.
#
# $$\begin{aligned}x_k&=\alpha\,x_0+\sigma\,\varepsilon\\ F&=a\,x_0+b\,\varepsilon\end{aligned}\qquad\Longrightarrow\qquad
# x_0=\frac{b\,x_k-\sigma F}{\alpha b-\sigma a},\qquad \varepsilon=\frac{\alpha F-a\,x_k}{\alpha b-\sigma a} \tag{11}$$

# %%
TARGETS: dict[str, Callable] = {
    "x0": lambda alpha, sigma: (torch.ones_like(alpha), torch.zeros_like(alpha)),
    "eps": lambda alpha, sigma: (torch.zeros_like(alpha), torch.ones_like(alpha)),
    "v": lambda alpha, sigma: (-sigma, alpha),
}

# %% [markdown] exercise={"id": "solve_target", "difficulty": 2, "importance": 4, "minutes": 8}
# ### Exercise · From any prediction to $x_0$ and $\varepsilon$
#
# Equation (11). All coefficients come in a shape that multiplies `x`, for example (b, 1, 1, 1). These two lines replace all the conversion formulas
# between parametrisations that you will meet in papers and code bases; chapters 11 and 12 add rows to the table, not code.
#
# <details><summary>Hint: how do I begin?</summary>
#
# Multiply the first equation by $b$ and the second by $\sigma$, and subtract: $\varepsilon$ is gone. The same trick with $a$ and $\alpha$ gives the other.
# </details>
# <details><summary>Hint: nan or inf at the end of the path</summary>
#
# At $\alpha=0$ there is no signal. From $\varepsilon$ nobody can tell $x_0$ there, but from $v$ or $x_0$ one can: divide only by the determinant
# $\alpha b-\sigma a$, never by $\alpha$ or $\sigma$ alone.
# </details>
# <details><summary>Hint: the sign of one of them is wrong</summary>
#
# Test it with $F=\varepsilon$, $a=0$, $b=1$: then $x_0=(x_k-\sigma\varepsilon)/\alpha$, and the second formula must give back $F$.
# </details>


# %% nbgrader={"grade_id": "solve_target", "solution": true} autograde={"library": ["genmodels.diffusion.solve", "genmodels.diffusion.express", "coursekit.views.chain.solve_target"]}
def solve_target(
    prediction: Float[Tensor, "b *d"],
    x: Float[Tensor, "b *d"],
    a: Float[Tensor, "b *one"],
    b: Float[Tensor, "b *one"],
    alpha: Float[Tensor, "b *one"],
    sigma: Float[Tensor, "b *one"],
) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
    """(x_0, eps) with x = alpha x_0 + sigma eps and prediction = a x_0 + b eps [equation 11]."""
    # TODO      solve two equations with two unknowns
    ### BEGIN SOLUTION
    determinant = alpha * b - sigma * a
    return (b * x - sigma * prediction) / determinant, (alpha * prediction - a * x) / determinant
    ### END SOLUTION


# %% nbgrader={"grade_id": "solve_target_check", "grade": true, "points": 3}
# The truth solves the two equations for every entry: the three rows of the table, mixtures
# that are in no table, paths whose alpha^2 + sigma^2 is not 1, and the two ends of the
# path. You should see: 6 cases right.
checks.run("solve_target", solve_target)


# %%
column = lambda *v: torch.tensor(v).double()[:, None]
solve = checks.fallback(
    solve_target,
    library.solve_target,
    at=(noise(2, 3, seed=1), noise(2, 3, seed=2))
    + (column(-0.8, 1), column(0.6, 0.5), column(0.6, 0.8), column(0.8, 0.6)),
)

# %% [markdown]
# If all are equivalent, why choose? Because a network makes *errors*, and (11) passes them on: an error of size $\delta$ in $F$ becomes one of
#
# $$|\hat x_0-x_0|=\frac{\sigma}{|\alpha b-\sigma a|}\,\delta\;=\;\begin{cases}\delta&x_0\\ (\sigma/\alpha)\,\delta&\varepsilon\\ \sigma\,\delta&v\end{cases} \tag{12}$$
#
# Near $t=1$ the factor $\sigma/\alpha$ passes 100: a network that is very good at naming the noise may know *nothing* about the picture.
# Near $t=0$ it is the other way: who predicts $x_0$ keeps the whole $\delta$, even where $x_k$ itself is nearer to $x_0$ than that. $v$ never amplifies. We shall see this happen
# at the end of section 7, to three networks that differ in nothing else.
#
# ## 7 · The loss
#
# Ho et al. predicted $\varepsilon$ and simply dropped the weights of the bound:
#
# $$L_{\text{simple}}=\mathbb E_{k,\varepsilon}\bigl\|\varepsilon-\hat\varepsilon(x_k,k)\bigr\|^2
# =\mathbb E\;\mathrm{SNR}_k\,\bigl\|x_0-\hat x_0\bigr\|^2,\qquad
# \mathbb E\bigl\|v-\hat v\bigr\|^2=\mathbb E\,(1+\mathrm{SNR}_k)\bigl\|x_0-\hat x_0\bigr\|^2 \tag{13}$$
#
# (both by (12): $1/\mathrm{factor}^2$). So each of them is the bound (9) with *other weights* on the same squared errors. Numbers, before you
# believe it, and then the picture:

# %%
left = torch.tensor([0.81, 0.25, 0.01], dtype=torch.float64)[:, None, None]  # abar of three samples
alpha, sigma = left.sqrt(), (1 - left).sqrt()
clean, eps, guess = noise(3, 4, 4, seed=1), noise(3, 4, 4, seed=2), noise(3, 4, 4, seed=3)
xk = alpha * clean + sigma * eps
eps_guess = (xk - alpha * guess) / sigma  # the noise that belongs to the guess
snr = (alpha / sigma).squeeze() ** 2
square = lambda v: core.sum_except_batch(v**2)
checks.close(square(eps - eps_guess), snr * square(clean - guess), "L_simple is SNR |x_0 error|^2")
v, v_guess = alpha * eps - sigma * clean, alpha * eps_guess - sigma * guess
by_snr = (1 + snr) * square(clean - guess)
checks.close(square(v - v_guess), by_snr, "the loss of v is (1 + SNR) |x_0 error|^2")
print("Equation (13) holds: the three losses are one squared error with three weights.")

# %% tags=["lab"]
plot.show(figures.weights(curves_of["cosine"]))

# %% [markdown]
# The bound cares most about the last, invisible bit of noise, since that costs the most nats. $L_{\text{simple}}$ cares less about it, and so spends the network on what
# people see. But at the noisy end it cares about nothing: weight 0.0002 at $t=0.99$, where it is decided how bright the portrait will be. The loss of $v$ never falls
# below 1. *How often each $k$ is drawn is one more weight*: twice as often counts twice.
#
# ### The same thing under another name: denoising score matching
#
# Chapter 11 speaks of the **score**, $\nabla_x\log q(x_k)$, the direction in which data becomes more likely. For a *known* $x_0$ it is simple, since $q(x_k|x_0)$ is a Gaussian:
# $\nabla\log q(x_k|x_0)=-(x_k-\alpha x_0)/\sigma^2=-\varepsilon/\sigma$. Vincent's theorem: fit that by least squares, and you have fitted the true score, because
# a least-squares fit finds the mean, and the mean of $-\varepsilon/\sigma$ over all $x_0$ that could be behind $x_k$ is the score of the mixture of them:
#
# $$\mathbb E\Bigl\|s(x_k)+\frac{\varepsilon}{\sigma}\Bigr\|^2=\mathbb E\bigl\|s(x_k)-\nabla\log q(x_k)\bigr\|^2+\text{const},\qquad
# \nabla\log q(x_k)=-\frac{\mathbb E[\varepsilon|x_k]}{\sigma}=\frac{\alpha\hat x_0-x_k}{\sigma^2} \tag{14}$$
#
# So **predicting noise is estimating the score**, and $L_{\text{simple}}$ is denoising score matching with the weight $\sigma^2$. Both halves, checked: the second by
# autograd through the exact density, the first by quadrature for three quite different functions $s$.

# %% tags=["lab"]
x, (a, s) = 2 * noise(50, 2), (0.8, 0.6)
by_autograd = checks.grad(lambda x: mixture.log_prob(x, a, s), x)
by_denoiser = (a * mixture.denoise(x, a, s) - x) / s**2
checks.close(by_denoiser, by_autograd, "the score from the denoiser, equation (14)")

axis = torch.linspace(-2.5, 2.5, 601, dtype=torch.float64)
pairs = torch.cartesian_prod(axis, 2.4 * axis)  # every pair of x_0 and eps, one dimension each
mass = (bumps.log_prob(pairs[:, :1]) - pairs[:, 1] ** 2 / 2).exp()
mass = mass / mass.sum()
seen = a * pairs[:, :1] + s * pairs[:, 1:]
score = bumps.score(seen, a, s)[:, 0]
constants = []
for candidate in (torch.sin, lambda x: -x, lambda x: x**3 - 2):
    value = candidate(seen[:, 0])
    denoising = (mass * (value + pairs[:, 1] / s) ** 2).sum()
    explicit = (mass * (value - score) ** 2).sum()
    constants.append(float(denoising - explicit))
found = torch.tensor(constants)
checks.close(found, found[:1].expand(3), "the constant of (14)", atol=1e-4)
said = "  ".join(f"{c:.5f}" for c in constants)
print("denoising loss - explicit loss, for three functions s:", said)

# %% [markdown]
# ### Class labels, and where guidance begins
#
# Our portraits come with eleven attributes (hair, hat, glasses ...). A network that is told them, $\hat x_0(x_k,k,y)$, is a model of $p(x\mid y)$; nothing in the derivation changes. But
# one thing is worth doing at once: **hide the labels of some samples**, each sample on its own with probability 0.1 or 0.2, by a value that means "not told", the *null label* $-1$. The same network then
# knows $p(x\mid y)$ *and* $p(x)$, and sampling can compare the two (section 9). The whole training step:
#
# $$L=\bigl\|\,F\bigl(x_k,\tfrac kT,\tilde y\bigr)-(a\,x_0+b\,\varepsilon)\bigr\|^2,\qquad
# \tilde y=\begin{cases}\varnothing=-1 & u<p_{\text{drop}}\\ y&\text{else}\end{cases} \tag{15}$$

# %% [markdown] exercise={"id": "diffusion_loss", "difficulty": 3, "importance": 5, "minutes": 15}
# ### Exercise · The loss that trains everything
#
# Equation (15), for each picture of the batch, summed over its numbers. All random numbers are given: `k`, `eps`, and `u`, uniform in [0, 1), which decides
# whose labels are hidden. These lines train the portraits in section 9.
#
# <details><summary>Hint: how do I begin?</summary>
#
# `alpha = core.expand(abar[k].sqrt(), x0)`, `sigma` likewise; make $x_k$; ask `network(x, k / T, told)` with $T=$ `len(abar) - 1`; compare with $a x_0+b\varepsilon$,
# where `a, b = TARGETS[target](alpha, sigma)`.
# </details>
# <details><summary>Hint: all labels of the batch vanish together, or none</summary>
#
# `u < drop` has one entry for each sample: `torch.where((u < drop)[:, None], -1, labels)`. Each sample loses *all* of its labels or none.
# </details>
# <details><summary>Hint: about 1/768 of the expected value</summary>
#
# `mean` over the numbers of a picture; here they are summed (`core.sum_except_batch`), as in the bound.
# </details>


# %% nbgrader={"grade_id": "diffusion_loss", "solution": true} autograde={"library": ["genmodels.diffusion.loss", "coursekit.views.chain.diffusion_loss"]}
def diffusion_loss(
    network: Callable[
        [Float[Tensor, "b *d"], Float[Tensor, "b"], Int[Tensor, "b n"]], Float[Tensor, "b *d"]
    ],
    x0: Float[Tensor, "b *d"],
    labels: Int[Tensor, "b n"],
    k: Int[Tensor, "b"],
    eps: Float[Tensor, "b *d"],
    u: Float[Tensor, "b"],
    abar: Float[Tensor, "T+1"],
    target: str = "v",
    drop: float = 0.1,
) -> Float[Tensor, "b"]:
    """|network(x_k, k / T, labels or -1) - (a x_0 + b eps)|^2 [Ho et al. 2020, eq. 14; equation 15].

    ``target`` names a row of TARGETS; a sample with u < drop is told nothing: all its labels become -1.
    """
    # TODO      one number for each sample
    ### BEGIN SOLUTION
    alpha, sigma = core.expand(abar[k].sqrt(), x0), core.expand((1 - abar[k]).sqrt(), x0)
    told = torch.where((u < drop)[:, None], -1, labels)
    a, b = TARGETS[target](alpha, sigma)
    error = network(alpha * x0 + sigma * eps, k / (len(abar) - 1), told) - (a * x0 + b * eps)
    return core.sum_except_batch(error**2)
    ### END SOLUTION


# %% nbgrader={"grade_id": "diffusion_loss_check", "grade": true, "points": 4}
# The network reacts to the picture, the time and the labels; all three targets, labels
# hidden sample by sample. The loss must also be differentiable: the check asks for its
# slope. You should see: 5 cases right.
checks.run("diffusion_loss", diffusion_loss)


# %%
repeat = lambda x, t, y: 0.5 * x + t[:, None] + y[:, :1]  # a network to try answers on
given = noise(2, 3, seed=1), torch.tensor([[2, 1], [3, 0]]), torch.tensor([1, 3])
chance = noise(2, 3, seed=2), torch.tensor([0.9, 0.1]).double()
loss_of = checks.fallback(
    diffusion_loss, library.diffusion_loss, at=(repeat, *given, *chance, brief, "eps", 0.5)
)

# %% [markdown]
# ### Three networks that differ in nothing else
#
# Here is **the training loop**, once and in full, with your loss. Three small networks learn the mixture of section 3, predicting $x_0$, $\varepsilon$ and $v$; same
# start, same data, same noise, same number of steps. The truth, $\mathbb E[x_0\mid x_k]$, is known, so we can measure how far each one's $\hat x_0$ is from it at every time.


# %% tags=["lab"]
class Plane(nn.Module):
    """A small network for points of the plane; labels are taken and not listened to."""

    def __init__(self):
        super().__init__()
        self.layers = MLP(10, (96, 96), 2)

    def forward(self, x: Float[Tensor, "b 2"], t: Float[Tensor, "b"], labels=None) -> Tensor:
        """One answer a point."""
        turns = t[:, None] * math.pi * torch.tensor([0.5, 1.0, 2.0, 4.0])
        return self.layers(torch.cat([x, turns.sin(), turns.cos()], 1))


T = 1000
abar = abar_of(schedule.cosine_betas(T)).float()
points = mixture.sample(20_000, generator=core.generator(SEED))[0].float()
nothing = torch.full((256, 1), -1)
three = {}
for target in TARGETS:
    torch.manual_seed(SEED)
    net = Plane()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, fused=True)
    for step in range(60 if PROFILE == "smoke" else 1500 if TRAIN else 1000):
        x0, k = points[torch.randint(len(points), (256,))], torch.randint(1, T + 1, (256,))
        chance = torch.randn(256, 2), torch.rand(256)
        loss = loss_of(net, x0, nothing, k, *chance, abar, target).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    three[target] = net


@torch.no_grad()
def error_in_x0(net: nn.Module, target: str, k: int) -> float:
    """Root mean square of x_0 hat - E[x_0 | x_k] over fresh points."""
    random = core.generator(k)
    x0 = mixture.sample(2000, generator=random)[0].float()
    alpha, sigma = (v.expand(2000, 1) for v in (abar[k].sqrt(), (1 - abar[k]).sqrt()))
    x = alpha * x0 + sigma * torch.randn(2000, 2, generator=random)
    answer = net(x, torch.full((2000,), k / T))
    guess, _ = solve(answer, x, *TARGETS[target](alpha, sigma), alpha, sigma)
    truth = mixture.denoise(x, float(alpha[0]), float(sigma[0]))
    return float((guess - truth).square().mean().sqrt())


ks = [2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 950, 980, 990, 995, 998]
errors = {name: [error_in_x0(net, name, k) for k in ks] for name, net in three.items()}
plot.show(figures.three_targets([k / T for k in ks], errors))

# %% [markdown]
# As (12) said. The $\varepsilon$-network is excellent at the clean end and useless at the noisy one, the $x_0$-network is good
# at the noisy one and keeps its error where $x_k$ is nearly clean, and $v$ is good at both. DDPM gets away with $\varepsilon$ by clipping $\hat x_0$ to the range of the data, and by long training. A training of
# minutes cannot count on that. **So we predict $v$.**
#
# ## 8 · Ancestral sampling: the way back
#
# Everything is ready. Start from noise and walk the chain back, each time asking the denoiser and drawing from (6):
#
# $$x_T\sim\mathcal N(0,I),\qquad x_j=\tilde\mu\bigl(\hat x_0(x_k,k),\,x_k\bigr)+\sqrt{\tilde\beta}\;z,\qquad z\sim\mathcal N(0,I)\text{ fresh} \tag{16}$$
#
# "Ancestral" as in chapter 01: each state is drawn given its parent, $x_T$, then $x_{T-1}$, down to $x_0$. In the last step $\tilde\beta=0$: the answer is $\hat x_0$ itself, without noise.
# `steps` names the states to visit, from the first to 0. All of them, `[T, T-1, ..., 0]`, or only some, `[1000, 980, ..., 20, 0]`; your `posterior` does not mind.
# (Ho et al. also tried the forward $\beta_k$ as the variance. In 1000 steps it makes little difference; in 20, on pictures, it leaves grain: section 13 of chapter 10.)

# %% [markdown] exercise={"id": "ancestral_sample", "difficulty": 3, "importance": 5, "minutes": 12}
# ### Exercise · From noise to data
#
# Return all states after the start, stacked: (len(steps) - 1, b, ...). The last one is the sample, the others are the film. With this function you will draw everything from here on.
#
# <details><summary>Hint: how do I begin?</summary>
#
# A step goes from a state to its neighbour in the list. What do you know once `denoise` has answered, and which function
# from above turns that into a mean and a variance?
# </details>
# <details><summary>Hint: <code>math domain error</code></summary>
#
# A negative variance: `posterior_of` wants the noisier level first, `abar[k]`, then `abar[j]`.
# </details>
# <details><summary>Hint: the samples are grainy</summary>
#
# Noise in the last step? There `variance` is 0 and must stay so; a step from 1 to 0 adds nothing.
# </details>
# <details><summary>Hint: the samples are too narrow, too smooth, or all alike</summary>
#
# The noise has size $\sqrt{\tilde\beta}$, not $\tilde\beta$. It is fresh at every step, and different for each sample and each entry.
# </details>


# %% nbgrader={"grade_id": "ancestral_sample", "solution": true} autograde={"library": ["genmodels.samplers.sample", "genmodels.samplers.ddim", "coursekit.views.chain.ancestral_sample"]}
def ancestral_sample(
    denoise: Callable[[Float[Tensor, "b *d"], int], Float[Tensor, "b *d"]],
    x: Float[Tensor, "b *d"],
    abar: Float[Tensor, "T+1"],
    steps: list[int],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n b *d"]:
    """The states at steps[1:], from x at steps[0] [Ho et al. 2020, algorithm 2; equation 16].

    ``denoise(x, k)`` guesses x_0 from x_k = x; all noise comes from ``generator``.
    """
    # TODO      one state for each pair of neighbours in `steps`
    ### BEGIN SOLUTION
    states = []
    for k, j in pairwise(steps):
        mean, variance = posterior_of(denoise(x, k), x, float(abar[k]), float(abar[j]))
        x = mean + math.sqrt(variance) * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        states.append(x)
    return torch.stack(states)
    ### END SOLUTION


# %% nbgrader={"grade_id": "ancestral_sample_check", "grade": true, "points": 4}
# Data from one Gaussian, whose perfect denoiser is a straight line: every number of a step
# is known, so the check sees your noise itself, step by step. You should see: 3 cases
# right.
checks.run("ancestral_sample", ancestral_sample)


# %%
def one_point_right(f) -> bool:
    """Data that is always 2: the end is 2, and half way there is noise."""
    always = lambda x, k: torch.full_like(x, 2.0)
    states = f(always, torch.randn(50, 1), brief.float(), [3, 1, 0], core.generator(0))
    noisy = states.shape == (2, 50, 1) and 0.2 < float(states[0].std()) < 1.2
    return noisy and bool((states[1] - 2).abs().max() < 1e-5)


draw = checks.fallback(ancestral_sample, library.ancestral_sample, works=one_point_right)

# %% [markdown]
# ### Exact lab: your sampler with a perfect denoiser
#
# Before any network is trained, the mixture of section 3. Nothing here can be the network's fault: if the samples are right, the sampler is. And the number of steps can be
# studied alone: (7) is a Gaussian, and in few steps that is not good enough (section 4).


# %% tags=["lab"]
def perfect(abar: Tensor) -> Callable[[Tensor, int], Tensor]:
    """The perfect denoiser of the mixture along a chain."""
    return lambda x, k: mixture.denoise(x, float(abar[k].sqrt()), float((1 - abar[k]).sqrt()))


def chain_of(name: str, T: int) -> Tensor:
    """abar of a schedule with T steps, the linear one rescaled."""
    rescaled = linear(0.1 / T, min(20 / T, 0.999), T)
    return abar_of(schedule.cosine_betas(T) if name == "cosine" else rescaled)


def from_scratch(name: str, T: int, n: int, seed: int = SEED) -> Tensor:
    """All states of n points, the start included."""
    random, abar = core.generator(seed), chain_of(name, T)
    start = torch.randn(n, 2, generator=random, dtype=torch.float64)
    states = draw(perfect(abar), start, abar, list(range(T, -1, -1)), random)
    return torch.cat([start[None], states])


rows = {f"{T}": facts(from_scratch("cosine", T, 2000)[-1]) for T in (2, 5, 10, 20, 50, 100)}
rows["real samples"] = facts()
title = "Your sampler, a perfect denoiser, cosine schedule, 2,000 points"
plot.show(plot.table(rows, title, first="steps"))

# %% [markdown]
# From about 10 steps on, the distance only wobbles around that of other real samples: 2,000 points can see no more. Now watch them come. The shade is the data's density, the dots are
# yours; the chart shows where on the path they are. With few steps, see *when* the points have to decide.


# %% tags=["lab"]
def watch(steps: int = 20, schedule: str = "cosine", seed: int = 0) -> lab.Take:
    """Your sampler's whole film, 400 points."""
    states = from_scratch(schedule, steps, 400, seed)
    abar, t = chain_of(schedule, steps), [k / steps for k in range(steps, -1, -1)]
    size = {"signal": abar.flip(0).sqrt(), "noise": (1 - abar.flip(0)).sqrt()}
    charts = {"signal and noise": {name: (t, v.tolist()) for name, v in size.items()}}
    caption = f"{steps} evaluations of the denoiser"
    return lab.Take(states, times=t, caption=caption, charts=charts)


lab.play(
    watch,
    lab.Particles(density=mixture.log_prob, limit=3.6, trails=2),
    alt="400 points start as a round cloud of noise and gather in three clusters, "
    "the data's density in grey behind them.",
    charts=(lab.Chart("signal and noise", x="t", y="size", log_x=False, log_y=False),),
    steps=lab.pick([2, 5, 10, 20, 50, 100], start=20),
    schedule=["cosine", "linear"],
    seed=range(8),
)

# %% [markdown]
# ### Is this not just Langevin dynamics?
#
# Both follow a score and add noise, so people mix them up. **Langevin** at one noise level walks
#
# $$x\leftarrow x+\delta\,\nabla\log q(x)+\sqrt{2\delta}\,z \tag{17}$$
#
# again and again, and *if it walks long enough* its samples come from $q$. It knows no schedule. From one cluster to another it must cross a desert where the density is next to nothing, which
# takes for ever; so the shares of the clusters are those of the start. **Annealed Langevin** [Song and Ermon] walks at large noise first, where there is no desert, then lowers the noise level by
# level, walking at each. **Ancestral sampling** makes *one* step a level, and that step is exact (up to section 4's Gaussian): it moves the distribution from level $k$ to level $j$ and need
# not wait until it has settled. No step size to choose (Langevin's leaves a bias of its own), no waiting. All
# with the same perfect score:


# %% tags=["lab"]
def langevin_film(levels: list[float], each: int, share: float, n: int, seed: int = SEED) -> Tensor:
    """Equation (17) at each level of abar in turn; the step is a share of the smallest variance at that level."""
    random = core.generator(seed)
    x = torch.randn(n, 2, generator=random, dtype=torch.float64)
    states = [x]
    for level in levels:
        alpha, sigma = math.sqrt(level), math.sqrt(1 - level)
        delta = share * (0.04 * level + 1 - level)
        for _ in range(each):
            z = torch.randn(n, 2, generator=random, dtype=torch.float64)
            drift = delta * mixture.score(x, alpha, sigma)
            x = x + drift + math.sqrt(2 * delta) * z  # equation (17)
            states.append(x)
    return torch.stack(states)


def film_of(method: str, evaluations: int, n: int, seed: int = SEED) -> Tensor:
    """All states of one of the three methods."""
    if method == "ancestral":
        return from_scratch("cosine", evaluations, n, seed)
    if method == "Langevin":
        return langevin_film([0.999], evaluations, 0.2, n, seed)
    count = max(2, evaluations // 10)
    levels = torch.linspace(-4, 6, count).sigmoid().tolist()
    return langevin_film(levels, evaluations // count, 0.2, n, seed)


rows = []
for method in ("ancestral", "Langevin", "annealed Langevin"):
    for evaluations in (100, 1000) if method != "ancestral" else (100,):
        evaluations = 20 if PROFILE == "smoke" else evaluations
        x = film_of(method, evaluations, 2000)[-1]
        rows.append({"method": method, "evaluations": evaluations, **facts(x)})
rows.append({"method": "**real samples**", "evaluations": "", **facts()})
plot.show(plot.table(rows, title="The same perfect score, three ways to use it"))


# %% tags=["lab"]
def compare(method: str = "ancestral", evaluations: int = 100, seed: int = 0) -> lab.Take:
    """One of the three methods as a film."""
    states = film_of(method, evaluations, 300, seed)
    shares = facts(states[-1])["shares of the clusters"]
    said = f"shares of the clusters {shares} (truth 0.30  0.15  0.55)"
    return lab.Take(states, caption=f"{method}, {len(states) - 1} evaluations: {said}")


lab.play(
    compare,
    lab.Particles(density=mixture.log_prob, limit=3.6, trails=2),
    alt="300 points go from noise to three clusters: by ancestral sampling all at once, "
    "by Langevin dynamics each into the cluster next to it.",
    method=["ancestral", "Langevin", "annealed Langevin"],
    evaluations=lab.pick([20, 50, 100, 200], start=100),
    seed=range(8),
)

# %% [markdown]
# Langevin's shares stay those of its start however long it walks (1,000 evaluations change nothing); annealed Langevin gets there with ten times the evaluations; ancestral sampling is
# there at once.
#
# ## 9 · Train it: portraits
#
# Now for real: a UNet, 16 x 16 colour portraits, eleven attributes. The loss is yours. The pixels live on $[-1,1]$, not on $[0,1]$: the chain shrinks every picture towards 0, and that should be
# a middle grey, not black. Three more choices, each explained above:
#
# - it predicts $v$ (section 7), along the cosine schedule (section 3);
# - each sample loses all its labels with probability 0.2, and before that each attribute is hidden on its own with a probability drawn for the sample: then the network can also be
#   told "glasses" and nothing else;
# - $k$ is drawn more often from the middle of the path, $k=\lceil T\,\mathrm{sigmoid}(1.2\,z)\rceil$, $z\sim\mathcal N(0,1)$: one more weighting (chapter 12 returns to it).
#
# As nearly everybody does, we draw with an **average** of the weights over the last thousand updates or so (*exponential moving average*): single updates shake the colours of a portrait
# visibly, their mean does not.

# %% tags=["lab"]
SETTINGS = {  # batch, steps, widths of the UNet, levels with attention, decay of the averaged weights
    "smoke": (12, 20, (8, 16), (), 0.9),
    "laptop": (32, 2000, (32, 64, 96), (2,), 0.999),
    "gpu": (256, 60_000, (128, 256, 256), (1, 2), 0.9999),
}
BATCH, STEPS, WIDTHS, ATTENTION, EMA = SETTINGS[PROFILE]
T = 1000
abar = abar_of(schedule.cosine_betas(T)).float()
labels = torch.stack(list(people.attributes.values()), 1)  # (8000, 11)
names, words = list(people.words), people.words
classes = tuple(len(w) for w in words.values())


def tell_a_few(batch: tuple[Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each attribute hidden on its own, more often than not."""
    x, told = batch
    hide = torch.rand(len(x), 1, generator=generator).sqrt()
    return x, told.masked_fill(torch.rand(told.shape, generator=generator) < hide, -1)


def portrait_loss(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Your loss with fresh random numbers."""
    x0, told = batch
    z = torch.randn(len(x0), device=x0.device)
    k = (T * torch.sigmoid(1.2 * z)).ceil().long().clamp(1, T)
    chance = torch.randn_like(x0), torch.rand_like(z)
    return loss_of(net, x0, told, k, *chance, abar.to(x0.device), "v", 0.2)


def denoiser_of(net: nn.Module, told: Tensor | None = None) -> Callable[[Tensor, int], Tensor]:
    """The guess at x_0 of a network that predicts v, told these labels or none."""

    @torch.no_grad()
    def denoise(x: Tensor, k: int) -> Tensor:
        alpha, sigma = abar[k].sqrt(), (1 - abar[k]).sqrt()
        alpha, sigma = (v.expand(len(x), 1, 1, 1) for v in (alpha, sigma))
        v = net(x, torch.full((len(x),), k / T), told)
        return solve(v, x, *TARGETS["v"](alpha, sigma), alpha, sigma)[0]

    return denoise


def every(n: int) -> list[int]:
    """n + 1 states of the chain from T to 0, evenly spaced."""
    return [round(T * i / n) for i in range(n, -1, -1)]


def portraits_by(denoise: Callable, n: int, steps: int, seed: int = SEED) -> Tensor:
    """All states, on [-1, 1], by your sampler; the start included."""
    random = core.generator(seed)
    start = torch.randn(n, 3, 16, 16, generator=random)
    return torch.cat([start[None], draw(denoise, start, abar, every(steps), random)])


# %% tags=["lab", "train"]
torch.manual_seed(SEED)
blocks = 2 if PROFILE == "gpu" else 1
net = UNet(3, widths=WIDTHS, attention=ATTENTION, classes=classes, blocks=blocks)
SIZE, growing = core.parameter_count(net), {}
canvas = display(display_id=True)  # a place on the page for the samples; the loop below fills it
if TRAIN:
    batches = train.minibatches((faces, labels), BATCH, seed=SEED, transform=tell_a_few)
    how = {"schedule": "cosine", "warmup": STEPS // 20, "clip": 1000.0, "ema": EMA, "seed": SEED}
    how["precision"] = "bf16-mixed" if PROFILE == "gpu" else "32-true"
    lr, begin = 5e-4 if PROFILE == "gpu" else 2e-3, time.perf_counter()
    for state in train.train(net, portrait_loss, batches, steps=STEPS, lr=lr, **how):
        if state.step in (STEPS // 40, STEPS // 10, STEPS // 4, STEPS):
            average = state.ema()
            device = next(average.parameters()).device
            drawn = portraits_by(denoiser_of(average.cpu()), 12, 20)[-1]
            average.to(device)
            growing[f"step {state.step}"] = drawn
            canvas.update(figures.growing(growing))
    net = state.ema().cpu().eval().requires_grad_(False)
    print(f"{STEPS} steps of {BATCH} portraits in {time.perf_counter() - begin:.0f} s")
else:
    net = train.load_pretrained("ddpm").network.requires_grad_(False)
    canvas.update(figures.growing({"ready weights": portraits_by(denoiser_of(net), 12, 20)[-1]}))

# %% [markdown]
# **How good are they?** Your eyes say one thing; a number must say it too. The Fréchet distance compares the mean and covariance of *features* of the portraits, taken from a small network of this
# course that recognises attributes (so this is not the FID, which needs one particular network). Two sets of real portraits do not have distance 0 either: that is the **floor**, printed beside.
# (300 portraits; 150 if you took the ready weights, and then everything scores higher, the floor too: a smaller set is further away.)

# %% tags=["lab"]
COUNT, USED = (20, 5) if PROFILE == "smoke" else (300 if TRAIN else 150, 50)
begin = time.perf_counter()
film = portraits_by(denoiser_of(net), COUNT, USED)
per_portrait = (time.perf_counter() - begin) / COUNT * 1000
features, real = train.load_features(), data.portraits("test").x
distance = lambda x, y: float(metrics.frechet(x, y, features=features))
floor = metrics.floor(distance, people.x[: 6 * COUNT], COUNT, 3, generator=core.generator(SEED))
ours = distance(film[-1] / 2 + 0.5, real[:COUNT])
jitter = 0.02 * torch.randn(COUNT, 3, 16, 16, generator=core.generator(SEED))
average_face = people.x.mean(0) + jitter
yours = {"distance": ours, "evaluations": USED, "ms a portrait": per_portrait}
board = {
    "real portraits (the floor)": {"distance": floor.mean},
    f"yours, {USED} steps": yours,
    "the average face of section 1": {"distance": distance(average_face, real[:COUNT])},
}
plot.show(plot.table(board, title=f"Distance to {COUNT} real portraits, smaller is better"))
note = f"{COUNT} portraits, {USED} steps"
report.metric("Fréchet distance in our features", ours, floor=floor.mean, note=note)
report.metric("sampling", per_portrait, "ms a portrait", note=f"{USED} steps")
at_start = denoiser_of(net)(film[0, :16], T)
plot.show(figures.real_drawn_guessed(real[:16], film[-1, :16], at_start))

# %% [markdown]
# The last row is section 1's average face, with a trace of the noise: the answer to pure noise is still the blur, as it must be. The chain of small steps makes portraits of it.
#
# **And the bound?** Your `bound_terms` runs on the trained network just as well. We visit about a hundred of the 1000 states, spaced evenly in log SNR (any subset of the states is a chain too), and
# count in bits for each of the 768 numbers: $\text{bits/dim}=\text{nats}/(768\log 2)$.

# %% tags=["lab"]
log_snr = (abar[1:-1] / (1 - abar[1:-1])).log().double()
wanted = torch.linspace(float(log_snr[0]), float(log_snr[-1]), 6 if PROFILE == "smoke" else 150)
kept = sorted({0, T, *[int((log_snr - w).abs().argmin()) + 1 for w in wanted]})
measured = real[: 4 if PROFILE == "smoke" else 48 if TRAIN else 24] * 2 - 1
guess = denoiser_of(net)
eps = torch.randn(len(kept) - 1, *measured.shape, generator=core.generator(SEED))
arrived, steps, last = terms_of(measured, lambda x, i: guess(x, kept[i]), abar[kept], eps, 256)
bits = lambda nats: float(metrics.bits_per_dim(nats.mean(), 768))
total = arrived + steps.sum(0) + last
print(
    f"L_T {abs(bits(arrived)):.4f} + steps {bits(steps.sum(0)):.3f} + L_0 {bits(last):.3f} = {bits(total):.3f} bits a number"
)
error = bits(total.std() / len(total) ** 0.5)
note = f"± {error:.2f} on {len(measured)} test portraits, {len(kept) - 1} steps"
report.metric("bound", bits(total), "bits/dim", note=note)
paid = [bits(steps[i:].sum(0)) for i in range(len(steps))]
plot.show(figures.where_the_bits_are([k / T for k in kept[2:]], paid))

# %% [markdown]
# Nearly all bits are paid where $t<0.1$, for noise that nobody can see. *What* the portrait shows, glasses, a hat, the colour of the hair, costs next to nothing in comparison. That is why
# $L_{\text{simple}}$ makes better pictures than the bound, and why a good likelihood does not mean good pictures. (For CIFAR-10, Ho et al. report at most 3.75 bits/dim; a different data set,
# so no comparison.)
#
# ### Tell it what to draw
#
# The same network, told one attribute and nothing else. And because it also knows what it would draw *untold*, we can exaggerate the difference, with a **guidance scale** $w$:
#
# $$\hat x_0=\hat x_0(x_k,\varnothing)+w\,\bigl(\hat x_0(x_k,y)-\hat x_0(x_k,\varnothing)\bigr) \tag{18}$$
#
# $w=0$ forgets the label, $w=1$ is the conditional model, $w>1$ is **classifier-free guidance** (the paper's $w$ is ours minus 1). It costs two evaluations a step. What it does, and what it costs in variety, is chapter 10's
# subject; here is its beginning.


# %% tags=["lab"]
def told_only(attribute: str, word: str, n: int) -> Tensor:
    """Labels that say one thing: a column of -1 but for one attribute; "any" takes each of its kinds in turn."""
    told = torch.full((n, len(names)), -1)
    kinds = len(words[attribute]) - 1
    in_turn = torch.arange(n) % kinds + 1
    told[:, names.index(attribute)] = in_turn if word == "any" else words[attribute].index(word)
    return told


def guided(net: nn.Module, told: Tensor, w: float) -> Callable[[Tensor, int], Tensor]:
    """Equation (18)."""
    with_labels, without = denoiser_of(net, told), denoiser_of(net)
    return lambda x, k: without(x, k) + w * (with_labels(x, k) - without(x, k))


WISHES = {
    "nothing": None,
    "glasses": ("glasses", "any"),
    "a hat": ("hat", "any"),
    "green hair": ("hairColor", "#91cb15"),
    "a beard": ("beard", "any"),
}


def wished(wish: str, w: float, n: int, steps: int, seed: int = SEED) -> Tensor:
    """All states of n portraits with this wish."""
    wanted = WISHES[wish]
    guess = guided(net, told_only(*wanted, n), w) if wanted else denoiser_of(net)
    return portraits_by(guess, n, steps, seed)


rows, tried = {}, itertools.product(("green hair", "glasses"), (1, 3))
for wish, w in [("nothing", 0), *tried]:
    rows[f"{wish}, w = {w}"] = wished(wish, w, 12, 5 if PROFILE == "smoke" else 25)[-1]
plot.show(figures.told(rows))

# %% [markdown]
# ## 10 · Live lab: noise becomes portraits
#
# Your sampler, your loss, your network. Play the film, or drag it. Then change the number of steps, the wish, the scale, the seed. Things to see: when does it become clear what the portrait will
# be? What happens with 5 steps? With the same seed and another wish, what stays?


# %% tags=["lab"]
def portrait_film(steps=20, wish="nothing", scale=2.0, seed=0) -> lab.Take:
    """Sixteen portraits from noise, by your sampler."""
    steps = min(steps, 5) if PROFILE == "smoke" else steps
    states = wished(wish, scale, 16, steps, seed)
    cost = steps if WISHES[wish] is None else 2 * steps
    caption = f"{cost} evaluations of the network for each portrait"
    return lab.Take(states, times=[k / T for k in every(steps)], caption=caption)


lab.play(
    portrait_film,
    lab.Pictures(columns=4, zoom=6),
    fps=8,
    alt="Sixteen pictures of noise that clear, step by step, and become portraits.",
    steps=lab.pick([5, 10, 20, 50, 100], start=20),
    wish=list(WISHES),
    scale=lab.pick([0.0, 1.0, 2.0, 3.0, 5.0], start=2.0),
    seed=range(8),
)

# %% [markdown]
# ## 11 · Break it
#
# Four bugs in the sampler that people really make. The network is the trained one, and nothing raises an error. Before you move the slider, **predict** what the portraits look like:
#
# 1. noise is added in the last step too
# 2. no noise is added at all: every step takes the posterior's mean
# 3. the noise is multiplied by the variance instead of its root
# 4. the schedule is read one state too late, `abar[k]` where `abar[j]` belongs


# %% tags=["lab"]
def sampler_with(bug: str, denoise, x, abar: Tensor, steps: list[int], generator) -> Tensor:
    """The library's posterior with one thing wrong."""
    states = []
    for k, j in pairwise(steps):
        a, b = float(abar[k]), float(abar[j])
        if bug.startswith("4"):  # one state of the list late
            a = float(abar[min(k + (k - j), len(abar) - 1)]) if k < steps[0] else a
            b = float(abar[k]) if j else b
        mean, variance = library.posterior(denoise(x, k), x, min(a, b * 0.9999), b)
        size = math.sqrt(variance)
        if bug.startswith("1") and j == 0:
            size = 0.25
        if bug.startswith("2"):
            size = 0.0
        if bug.startswith("3"):
            size = variance
        x = mean + size * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        states.append(x)
    return torch.stack(states)


BUGS = [
    "no bug",
    "1  noise in the last step",
    "2  no noise at all",
    "3  variance for its root",
    "4  schedule one state late",
]


def symptom(bug: str) -> plot.Picture:
    """Left twelve portraits, right the spread of the states when the data is one single point."""
    random, visited = core.generator(SEED), every(25)
    start = torch.randn(12, 3, 16, 16, generator=random)
    few = every(5 if PROFILE == "smoke" else 25)
    x = sampler_with(bug, denoiser_of(net), start, abar, few, random)[-1]
    point, noisy = torch.full((4000, 1), 0.5), torch.randn(4000, 1, generator=random)
    states = sampler_with(bug, lambda x, k: point, noisy, abar, visited, random)
    t, sigma = [k / T for k in visited[1:]], (1 - abar[visited[1:]]).sqrt().tolist()
    return figures.symptom(bug, x, t, sigma, states.std(1).flatten())


lab.scrub(symptom, fps=1, bug=lab.pick(BUGS, start=BUGS[0]))

# %% [markdown]
# All five side by side, when you have made your predictions:

# %% tags=["lab"]
for bug in BUGS:
    plot.show(symptom(bug))

# %% [markdown]
# Number 3 is the treacherous one: its portraits look *cleaner* than the right ones. But compare the hair and the hats: there are fewer kinds. Too little noise, and the samples gather
# where the data is most ordinary. Nice pictures prove nothing about a sampler.
#
# The right-hand charts show a test that needs no network and no eyes. Take data that is **one single point** $c$. Its perfect denoiser always says $c$, and for it the posterior (6) is not an
# approximation: started at $x_T\sim q(x_T\mid x_0=c)$, the way back must retrace the way there, *state by state*,
#
# $$x_j\sim\mathcal N\bigl(\sqrt{\bar\alpha_j}\,c,\;1-\bar\alpha_j\bigr)\quad\text{for every }j\text{ visited, and }x_0=c\text{ exactly} \tag{19}$$

# %% [markdown] exercise={"id": "retraces", "difficulty": 4, "importance": 5, "minutes": 18}
# ### Exercise · The test that catches them all
#
# You get a sampler as a function: `reverse(c, x, abar, steps, seed)` runs it with the perfect denoiser of the point $c$, from `x` (n, 1) at `steps[0]`, and returns the states at `steps[1:]`,
# shape (len(steps) - 1, n, 1). Return `True` exactly if it retraces the forward chain, equation (19). You choose $c$, `abar`, `steps` and `seed`. Your test is graded by what it says of right and of broken
# samplers.
#
# <details><summary>Hint: how do I begin?</summary>
#
# `abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()])` is a chain of ten steps. Draw starts from $q(x_T\mid c)$, run the sampler,
# and compare each state that comes back with equation (19).
# </details>
# <details><summary>Hint: a right sampler is rejected</summary>
#
# Means fluctuate: with n samples, the mean of a state has standard error $\sigma/\sqrt n$, and its standard deviation about $\sigma/\sqrt{2n}$. Allow five of them. And start where the chain says, at
# $\sqrt{\bar\alpha_T}c+\sqrt{1-\bar\alpha_T}\,\varepsilon$.
# </details>
# <details><summary>Hint: a broken sampler is accepted</summary>
#
# Look at *every* state, at its mean *and* its standard deviation; the last one must be $c$ to rounding. With $c=0$ a wrong mean hides. And some samplers are right only as long as no state is skipped:
# try a list of steps with holes as well.
# </details>
# <details><summary>Hint: it is nearly right and still accepted</summary>
#
# At five standard errors, a spread that is 6 % too small shows from about 4,000 samples on.
# </details>


# %% nbgrader={"grade_id": "retraces", "solution": true}
def retraces(
    reverse: Callable[
        [float, Float[Tensor, "n 1"], Float[Tensor, "T+1"], list[int], int], Float[Tensor, "k n 1"]
    ],
) -> bool:
    """Whether the states have the forward chain's mean and spread, and end at the data [equation 19]."""
    # TODO      True for a right sampler, False for a broken one
    ### BEGIN SOLUTION
    n, c = 8000, 1.5
    abar = torch.cat([torch.ones(1), torch.linspace(3, -6, 10).sigmoid()]).double()
    for steps in (list(range(10, -1, -1)), [10, 7, 4, 3, 0]):
        noise_at_start = torch.randn(
            n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
        start = abar[10].sqrt() * c + (1 - abar[10]).sqrt() * noise_at_start
        for j, x in zip(steps[1:], reverse(c, start, abar, steps, 2)):
            spread = float((1 - abar[j]).sqrt())
            if j == 0 and float((x - c).abs().max()) > 1e-6:
                return False
            if abs(float(x.mean() - abar[j].sqrt() * c)) > 5 * spread / n**0.5 + 1e-6:
                return False
            if abs(float(x.std()) - spread) > 5 * spread / (2 * n) ** 0.5 + 1e-6:
                return False
    return True
    ### END SOLUTION


# %% nbgrader={"grade_id": "retraces_check", "grade": true, "points": 4}
# Your test meets right samplers, which it must accept, and broken ones, which it must not:
# in every state or in one alone, too high or too low, too wide or too narrow. You should
# see: 21 cases right.
checks.run("retraces", retraces)

# %% [markdown]
# ## 12 · Your line in the leaderboard
#
# One line a model; chapter 16 collects them all.

# %% tags=["lab"]
line = {
    "bits a number, at most": bits(total),
    f"distance (floor {floor.mean:.0f})": ours,
    "evaluations": float(USED),
    "ms a portrait": per_portrait,
    "parameters": float(SIZE),
}
plot.show(plot.table({"DDPM, portraits": line}))
report.metric("parameters", SIZE, "")

# %% [markdown]
# **What you can now do.** Fade data in one jump and know why it is exact; turn a chain round by Bayes; take a likelihood bound apart, term by term; move between $x_0$, $\varepsilon$ and $v$ with one solve;
# train a generative model by least squares; draw from it; and prove that a sampler is right, without a network and without looking.
#
# **What is still missing.** Look at the chain again. Training by (15) used only the marginals $q(x_k\mid x_0)$; that the forward chain is *Markov* entered through the posterior (6) alone. So why should the way back take a thousand
# small random steps? Chapter 10 keeps the marginals and drops the chain: the same trained network then draws in twenty steps, without any noise, and can run *backwards*, from a portrait to its own
# noise. One number changes in your sampler. It is called $\eta$.
