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
# # 00 · Foundations: what is a generative model?
#
# ![A map of the course. From a blue cloud of samples, chapter 00, seven roads lead to the vermilion cloud of chapter 16:
# weigh it piece by piece (01, 02); suppose a hidden cause (03, 04); never weigh, compare samples (05, 06); compress, then
# generate (07); bend a simple density (08); remove noise in small steps (09 to 12); the same with words (13 to
# 15).](../assets/00_foundations.png)
#
# Somebody hands you the blue dots. You are not told how they were made. Make more of them: new ones, but from the
# same source. This is the whole problem. The dots may be pictures or poems, and the seven roads of the map are
# seven answers. Before we set out, we need a scale (how good is an answer?), and this chapter makes it.
#
# **The one idea.** Learning a distribution means making $p_\theta$ *close* to $p_{\text{data}}$. There is more
# than one way to be close, and **the ruler you choose decides what you get.** You will fit one model to one truth
# with four rulers. One ruler will place it across two humps, another on a single hump.
#
# | | |
# |---|---|
# | **You will build** | maximum likelihood, a mixture's density, a ruler between distributions, an honest number with its error, a sampler from one uniform number, the density of a bent plane, and a test that catches models which do not draw what they claim |
# | **Time** | about 2 hours: 50 minutes of reading and {{minutes}} of exercises ({{exercises}} exercises, {{points}} points) |
# | **You need** | Python, PyTorch tensors, what a probability density is |
# | **Computing** | {{budget}} |
#
# <details><summary><b>Sources</b></summary>
#
# - Entropy and bits: C. Shannon, *A mathematical theory of communication*, 1948
# - KL divergence: S. Kullback and R. Leibler, *On information and sufficiency*, 1951
# - Jensen-Shannon divergence: J. Lin, *Divergence measures based on the Shannon entropy*, 1991
# - Mode covering and mode seeking: T. Minka, *Divergence measures and message passing*, 2005
# - Drawing by the inverse CDF: L. Devroye, *Non-uniform random variate generation*, 1986, chapter II.2
# - Kernel density estimation, and how many points it needs: B. Silverman, *Density estimation*, 1986
# - Likelihood and samples need not agree, and adding uniform noise to grey levels gives a bound: Theis, van den Oord,
#   Bethge, 2016, [arXiv 1511.01844](https://arxiv.org/abs/1511.01844)
# </details>
#
# <details><summary><b>Symbols</b></summary>
#
# | symbol | meaning | in code |
# |---|---|---|
# | $p_{\text{data}}$, $p_\theta$ | the source; the model with parameters $\theta$ | `source`, `weigh` |
# | $p$, $q$ | any two distributions; in section 4 the truth and the model | `log_p`, `log_q` |
# | $x$, $x_i$ | a point; the $i$-th of $n$ points (in (2) and (5) a coordinate of one point) | `x` |
# | $d$, $n$ | number of coordinates; number of points or samples | |
# | $\mu$, $\sigma$ | mean and standard deviation | `means`, `stds` |
# | $k$, $w_j$ | number of components; the weight of the $j$-th | `log_weights` |
# | $H(p)$ | entropy, in nats | `entropy` |
# | $r$ | in (9): the mixture of $p$ and $q$ | `log_r` |
# | $\Delta$ | distance of the two humps in sections 5 to 7 | `distance` |
# | $D$, $L$, $v$ | number of pixels; number of grey levels; a grey level | `dims`, `levels` |
# | $u$, $F$ | uniform noise; cumulative distribution function | `u` |
# | $g$, $J_g$ | the map that bends noise into data; its Jacobian matrix | `bend` |
# | $z$ | standard Gaussian noise | `z` |
# | $h$ | width of a kernel density estimate | `width` |
# </details>

# %% tags=["parameters"]
PROFILE = "laptop"  # or "smoke" (seconds, to see that all runs), or "gpu"
TRAIN = True  # the same switch in every chapter; here nothing trains for longer than a second

# %% nbgrader={"grade_id": "setup", "locked": true}
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from coursekit import checks
from genmodels import core, metrics

SEED = 0
torch.manual_seed(SEED)


# %% tags=["lab"]
import time

import figures
import torch.distributions as td
from sklearn.mixture import GaussianMixture

from coursekit import lab, plot, report
from genmodels import data, toy

# %% [markdown]
# ## 1 · Pretend you have read no paper
#
# Here are 400 dots. Because this is a course, and not life, we know the source: its exact density is the
# picture on the right. Keep it covered. In life you have only the left one.

# %% tags=["lab"]
source = toy.two_moons()  # p_data, known here and nowhere else
draws = lambda n, seed: source.sample(n, generator=core.generator(seed), dtype=torch.float64)
dots, fresh = draws(400, SEED), draws(5_000, SEED + 1)

# %% tags=["lab"]
plot.show(figures.before_and_behind(dots, source))

# %% [markdown]
# A generative model has **two uses**:
#
# - **draw**: make a new dot $x\sim p_\theta$ (write, paint, complete);
# - **weigh**: say how plausible a given dot is, $\log p_\theta(x)$ (compress, find what is odd, compare models).
#
# The naive attempt: *remember everything*. To draw, pick one of the 400 dots. The drawings are perfect. Now weigh:

# %% tags=["lab"]
seen = {tuple(x) for x in dots.tolist()}
known = sum(tuple(x) in seen for x in fresh.tolist())
print(f"{known} of {len(fresh)} fresh dots from the same source are among the 400 remembered ones")

# %% [markdown]
# A memory gives probability zero to everything new: it has learned the *dots* and not their *source*.
# (Keep an eye on this cheat. It will come back, and once it will win.)
#
# So we need something that generalises. We choose a **family** $p_\theta$ of distributions, each with its
# parameters $\theta$, and look for the member that is nearest to the source:
#
# $$\min_\theta\; \text{ruler}\bigl(p_{\text{data}},\,p_\theta\bigr) \tag{1}$$
#
# Two choices, then: the family, and the ruler.
#
# ## 2 · The smallest family, and the oldest ruler
#
# Take a Gaussian for each coordinate, with mean $\mu$ and standard deviation $\sigma$:
#
# $$\log \mathcal N(x;\mu,\sigma^2) = -\frac{(x-\mu)^2}{2\sigma^2}-\log\sigma-\tfrac12\log 2\pi \tag{2}$$
#
# The ruler is an old idea: **choose the parameters under which what you saw is the least surprising.** The dots
# were drawn independently, so their probabilities multiply and their logs add up. This is *maximum likelihood*:
#
# $$\max_\theta\;\frac1n\sum_{i=1}^n\log p_\theta(x_i) \tag{3}$$
#
# *With a pencil:* put (2) into (3) and set both derivatives to zero. From $\mu$: $\sum_i(x_i-\mu)=0$. From
# $\sigma$: $\sum_i (x_i-\mu)^2/\sigma^3 = n/\sigma$. So
#
# $$\mu=\frac1n\sum_i x_i,\qquad \sigma^2=\frac1n\sum_i(x_i-\mu)^2 \tag{4}$$
#
# Divided by $n$, mind, and not by $n-1$: that is what the *likelihood* asks for.

# %% [markdown] exercise={"id": "fit_gaussian", "difficulty": 1, "importance": 4, "minutes": 6}
# ### Exercise · Fit your first generative model
#
# Equation (4), for each of the $d$ coordinates, also for dots that lie a million away from zero.
#
# <details><summary>Hint: which axis?</summary>
#
# Dots are rows: `x` has shape (n, d). One mean for each coordinate means the mean over the dots, `dim=0`.
# </details>
# <details><summary>Hint: my standard deviation is a little too large</summary>
#
# `torch.std` divides by n - 1 unless you say `correction=0`.
# </details>
# <details><summary>Hint: right here, wrong or NaN for dots far from zero</summary>
#
# $\overline{x^2}-\bar x^2$ is the difference of two huge numbers. Subtract the mean first, then square.
# </details>
# <details><summary>Hint: the two steps</summary>
#
# Average over the dots. Then the root of the average squared distance from that mean.
# </details>


# %% nbgrader={"grade_id": "fit_gaussian", "solution": true}
def fit_gaussian(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """The mean and the standard deviation of each coordinate that maximise the likelihood [equation 4]."""
    # TODO      return (mean, std), each of shape (d,)
    ### BEGIN SOLUTION
    mean = x.mean(0)
    return mean, (x - mean).square().mean(0).sqrt()
    ### END SOLUTION


# %% nbgrader={"grade_id": "fit_gaussian_check", "grade": true, "points": 2}
# Means and standard deviations of small tables of dots, near zero and far from it. You
# should see: 3 cases right.
checks.run("fit_gaussian", fit_gaussian)


# %%
def gaussian_works(f) -> bool:
    """Two dots on a line."""
    mean, std = f(torch.tensor([[1.0], [5.0]]))
    return (mean.item(), std.item()) == (3.0, 2.0)


with_n_minus_1 = lambda x: torch.std_mean(x, 0)[::-1]  # near enough for a picture
fit_of = checks.fallback(fit_gaussian, with_n_minus_1, works=gaussian_works)

# %% [markdown]
# Does it work? Fit it to the dots and draw:

# %% tags=["lab"]
mean, std = fit_of(dots)
drawn = mean + std * torch.randn(400, 2, generator=core.generator(SEED), dtype=torch.float64)
alt = "Left, the data: two crescents. Right, samples of the fitted Gaussian: one round blob that covers both, and the empty space between."
plot.show(plot.samples2d({"data": dots, "Gaussian model": drawn}, 3, alt=alt))

# %% [markdown]
# The best Gaussian is still a Gaussian: a blob. Learning was perfect, for (4) is where the slope of (3) is zero; the
# **family** was too small. So we take a larger one.
#
# ## 3 · A larger family: mixtures
#
# Toss a die with $k$ faces of probabilities $w_j$, then draw from the Gaussian that came up. The die is not
# recorded, so the density is a sum over all that might have happened:
#
# $$\log p_\theta(x)=\log\sum_{j=1}^k w_j\prod_{i=1}^d\mathcal N(x_i;\mu_{ji},\sigma_{ji}^2) \tag{5}$$
#
# A log of a sum of products of tiny numbers. Type it as it stands, and see what a point at a distance of 40
# standard deviations weighs. The truth is $-40^2/2-\log\sqrt{2\pi}\approx-800.92$, a perfectly harmless number:

# %%
naive = torch.exp(torch.tensor(-(40.0**2) / 2, dtype=torch.float64)) / math.sqrt(2 * math.pi)
print("the naive density:", naive.item(), "   its log:", naive.log().item())

# %% [markdown]
# $e^{-800}$ is smaller than the smallest number a computer has; it becomes 0, and the log $-\infty$. One such
# point makes the whole average in (3) infinite. The cure is to stay on the log scale. With $a_j=\log w_j+\sum_i
# \log\mathcal N(x_i;\mu_{ji},\sigma_{ji}^2)$ and $a_*=\max_j a_j$,
#
# $$\log\sum_j e^{a_j} = a_*+\log\sum_j e^{a_j-a_*}\qquad\text{in code}\qquad\texttt{torch.logsumexp(a, dim)} \tag{6}$$
#
# *With a pencil:* pull $e^{a_*}$ out of the sum. Now the largest term is $e^0=1$: nothing vanishes that matters.

# %% [markdown] exercise={"id": "mixture_log_prob", "difficulty": 2, "importance": 5, "minutes": 12}
# ### Exercise · Weigh a point under a mixture
#
# Equation (5), without ever leaving the log scale. One value for each point. With this function you will weigh
# crescents and handwritten digits below.
#
# <details><summary>Hint: shapes</summary>
#
# Let the points meet the components: `x[:, None]` is (n, 1, d) and `means` is (k, d), so their difference is
# (n, k, d). Sum over d, then logsumexp over k.
# </details>
# <details><summary>Hint: the density does not integrate to 1</summary>
#
# Every coordinate has its own $-\log\sigma-\frac12\log 2\pi$: put the constant *inside* the sum over d. And the
# weights: `log_weights` is added before the logsumexp.
# </details>
# <details><summary>Hint: I get <code>-inf</code> for far points</summary>
#
# Somewhere an `exp` is followed by a `log`. `torch.logsumexp` does both safely.
# </details>
# <details><summary>Hint: I get <code>nan</code> everywhere</summary>
#
# `log_weights` are logs already, and negative: a second `log` has no answer.
# </details>
# <details><summary>Hint: the order of the steps</summary>
#
# First a table with a row for each point and a column for each component: the log-weight plus the sum of (2) over the
# coordinates. Then (6) over the components.
# </details>


# %% nbgrader={"grade_id": "mixture_log_prob", "solution": true} autograde={"library": ["genmodels.toy.GaussianMixture", "genmodels.likelihoods.gaussian_log_prob"]}
def mixture_log_prob(
    x: Float[Tensor, "n d"],
    log_weights: Float[Tensor, "k"],
    means: Float[Tensor, "k d"],
    stds: Float[Tensor, "k d"],
) -> Float[Tensor, "n"]:
    """log p(x), in nats, under a mixture of k Gaussians with independent coordinates [equation 5]."""
    # TODO      the log-density of each of the n points
    ### BEGIN SOLUTION
    z = (x[:, None] - means) / stds
    log_normal = (-z.square() / 2 - stds.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
    return torch.logsumexp(log_weights + log_normal, 1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "mixture_log_prob_check", "grade": true, "points": 3}
# Log-densities and their gradients, near the components and far away. You should see: 3
# cases right.
checks.run("mixture_log_prob", mixture_log_prob)


# %%
def mixture_works(f) -> bool:
    """One point, two equal components in the same place: a plain Gaussian."""
    zeros = torch.zeros(2, 1)
    return abs(f(zeros[:1], zeros[:, 0] - math.log(2), zeros, zeros + 1).item() + 0.918939) < 1e-4


def library_mixture(x, log_weights, means, stds):
    """The library's mixture, called like yours."""
    from genmodels.toy import GaussianMixture as Mixture

    return Mixture(log_weights.exp(), means, torch.diag_embed(stds**2)).log_prob(x)


weigh = checks.fallback(mixture_log_prob, library_mixture, works=mixture_works)

# %% [markdown]
# Fit mixtures of 1 to 128 components to the 400 dots (by scikit-learn's EM, which climbs the likelihood (3)), and
# weigh with *your* function: the 400 dots, and 5,000 fresh ones.


# %% tags=["lab"]
def fitted(x: Tensor, k: int, floor: float = 1e-6) -> tuple[Tensor, Tensor, Tensor]:
    """Log-weights, means and standard deviations of a mixture fitted by EM."""
    em = GaussianMixture(k, covariance_type="diag", reg_covar=floor, random_state=SEED).fit(
        x.numpy()
    )
    weights, means, variances = map(torch.from_numpy, (em.weights_, em.means_, em.covariances_))
    return weights.log(), means, variances.sqrt()


def draw_mixture(parts: tuple[Tensor, Tensor, Tensor], n: int, seed: int) -> Tensor:
    """Ancestral sampling: first the die, then the Gaussian that came up."""
    log_weights, means, stds = parts
    j = core.sample_categorical(log_weights.expand(n, -1), generator=core.generator(seed))
    noise = torch.randn(n, means.shape[1], generator=core.generator(seed + 1), dtype=means.dtype)
    return means[j] + stds[j] * noise


points, area = toy.grid(4.0, 400)
entropy = -(torch.special.xlogy(source.log_prob(points).exp(), source.log_prob(points).exp())).sum()
entropy = (entropy * area).item()
models = {k: fitted(dots, k) for k in (1, 2, 4, 8, 16, 32, 64, 128)}
costs = {
    k: (-weigh(dots, *m).mean().item(), -weigh(fresh, *m).mean().item()) for k, m in models.items()
}
for k, (train_cost, fresh_cost) in costs.items():
    print(
        f"k = {k:3d}   on its own dots {train_cost:6.3f} nats   on fresh dots {fresh_cost:6.3f} nats"
    )
print(f"entropy of the source                               {entropy:6.3f} nats")

# %% tags=["lab"]
plot.show(figures.surprise(costs, entropy))
error = weigh(fresh, *models[8]).std() / math.sqrt(len(fresh))
print(
    f"entropy of the source {entropy:.3f}; a mean over {len(fresh)} fresh dots has a standard error of about {error:.3f}"
)
print(
    "below the entropy on their own dots: k =",
    [k for k, (own, _) in costs.items() if own < entropy],
)
print(
    "below the entropy on fresh dots:     k =",
    [k for k, (_, new) in costs.items() if new < entropy],
)
some = {f"k = {k}, a model": draw_mixture(models[k], 400, SEED) for k in (2, 8, 128)}
alt = "Dots of the data, and of mixtures with 2, 8 and 128 components. With 2 it is two bars, with 8 the crescents in beads, with 128 clumps on the training dots."
plot.show(plot.samples2d({"data": dots} | some, 3, alt=alt))

# %% [markdown]
# The dotted line is the **entropy** of the source, the surprise of somebody who knows it,
#
# $$H(p)=-\int p(x)\log p(x)\,dx\qquad\text{in code}\qquad\texttt{-(p * log\_p).sum() * area} \tag{7}$$
#
# On *fresh* dots no model can get below it, up to the error of the mean. On their own dots the larger ones do, see the
# list: they have begun to remember. **A mean surprise clearly below the entropy was not measured on fresh data.** And
# why is the entropy the limit? For that we need the ruler itself.
#
# ## 4 · Four rulers
#
# With endless data the average in (3) becomes an expectation. Subtract it from $-H$, which does not depend on $\theta$:
#
# $$\mathbb E_{p}\bigl[-\log p_\theta(x)\bigr]=H(p)+\mathrm{KL}(p\,\|\,p_\theta),\qquad
# \mathrm{KL}(p\,\|\,q)=\sum_x p(x)\log\frac{p(x)}{q(x)} \tag{8}$$
#
# So **maximum likelihood minimises $\mathrm{KL}(p_{\text{data}}\|p_\theta)$**, the *forward* KL. *With a pencil:* write
# $-\log q=-\log p+\log\frac pq$ and take the mean under $p$. And KL is never negative: $\log t\le t-1$, so
# $-\mathrm{KL}=\sum p\log\frac qp\le\sum p\,(\frac qp-1)=\sum q-1\le 0$. That is why nobody gets below the entropy.
#
# Read it as a price: to code samples of $p$ with the code of $q$ costs KL extra. It is *not* symmetric. Where $p>0$ and
# $q=0$ the price is infinite. Where $q>0$ and $p=0$ it is nothing: by the limit, $0\log 0=0$.

# %% [markdown] exercise={"id": "kl", "difficulty": 2, "importance": 5, "minutes": 8}
# ### Exercise · The KL divergence
#
# Two tables of log-probabilities, or a batch of such tables, with the states along the last dimension. One number for each
# table. You will run gradient descent *through* your function in the exact lab.
#
# <details><summary>Hint: I get <code>nan</code></summary>
#
# A state with $p=0$ has $\log p=-\infty$, and `0 * -inf` is NaN. Its share is 0: `torch.where(log_p > -torch.inf, ..., 0.0)`.
# </details>
# <details><summary>Hint: the value is negative</summary>
#
# Weight by $p$, and put $\log p$ first: $\log p-\log q$. Each single term may be negative; their sum may not.
# </details>
# <details><summary>Hint: one number comes back for a batch of tables</summary>
#
# Sum over the states only: `.sum(-1)`.
# </details>
# <details><summary>Hint: where do I begin?</summary>
#
# The weights are probabilities, `log_p.exp()`; what they weigh is a difference of logs.
# </details>


# %% nbgrader={"grade_id": "kl", "solution": true} autograde={"library": ["genmodels.metrics.kl"]}
def kl(log_p: Float[Tensor, "*b k"], log_q: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """KL(p || q) in nats, of tables of log-probabilities along the last dimension [equation 8]."""
    # TODO      sum over the states of p (log p - log q)
    ### BEGIN SOLUTION
    return torch.where(log_p > -torch.inf, log_p.exp() * (log_p - log_q), 0.0).sum(-1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "kl_check", "grade": true, "points": 3}
# Values and gradients, and states of probability 0 on either side. You should see: 5 cases
# right.
checks.run("kl", kl)


# %%
def kl_works(f) -> bool:
    """The coins again."""
    fair, bent = torch.tensor([[0.5, 0.5], [0.75, 0.25]]).log()
    return abs(f(fair, bent).item() - 0.143841) < 1e-4


kl_of = checks.fallback(kl, metrics.kl, works=kl_works)

# %% [markdown]
# KL is infinite as soon as $p$ has a state that $q$ lacks. A tamer ruler goes half-way to meet: let $r=\frac12(p+q)$ be
# the **mixture** of the two, and measure both from there. This is the Jensen-Shannon divergence (a GAN estimates it
# in chapter 05):
#
# $$\mathrm{JS}(p,q)=\tfrac12\,\mathrm{KL}(p\,\|\,r)+\tfrac12\,\mathrm{KL}(q\,\|\,r),\qquad r=\tfrac12(p+q) \tag{9}$$
#
# *With a pencil:* $r\ge\frac12p$, so $\log\frac pr\le\log2$: JS lies between 0 and $\log2$, and reaches $\log 2$
# when $p$ and $q$ have nothing in common. In code it is your `kl`, twice. Mind the log of a mixture: it is (6) with two terms.


# %%
def js_of(log_p: Float[Tensor, "*b k"], log_q: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """JS(p, q) in nats [equation 9]."""
    log_r = torch.logaddexp(log_p, log_q) - math.log(2)
    return (kl_of(log_p, log_r) + kl_of(log_q, log_r)) / 2


apart = torch.tensor([[0.3, 0.7, 0.0, 0.0], [0.0, 0.0, 0.9, 0.1]], dtype=torch.float64).log()
print(
    f"two tables that share no state: KL {kl_of(*apart).item()}, JS {js_of(*apart):.6f}, log 2 = {math.log(2):.6f}"
)

# %% [markdown]
# The fourth ruler takes no logs at all. **Total variation** asks: of all events $A$, on which do the two differ most?
#
# $$\mathrm{TV}(p,q)=\max_A\,\bigl|p(A)-q(A)\bigr|=\tfrac12\sum_x|p(x)-q(x)|\qquad\text{in code}\qquad
# \texttt{(p - q).abs().sum() / 2} \tag{10}$$
#
# *With a pencil:* the best $A$ takes exactly the states with $p>q$; what is gained there is lost elsewhere, hence the half.
# With five states there are 32 events, so we need not believe it:

# %%
p, q = torch.randn(2, 5, generator=core.generator(SEED), dtype=torch.float64).softmax(-1)
events = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 5)
print(f"the largest difference over the 32 events  {(events @ (p - q)).abs().max():.6f}")
print(f"half the sum of the absolute differences   {(p - q).abs().sum() / 2:.6f}")

# %% [markdown]
# Now look at all four at once. Two uniform blocks of width 1; slide one to the right, and read the rulers. (The two KLs of
# blocks are infinite at once, so they are drawn for two Gaussians of standard deviation ½.)

# %% tags=["lab"]
plot.show(figures.rulers_that_shift(weigh, kl_of, js_of))

# %% [markdown]
# | ruler | range | if they share nothing | needs |
# |---|---|---|---|
# | forward $\mathrm{KL}(p\Vert q)$ | $[0,\infty]$ | $\infty$ | samples of $p$; the density of $q$ |
# | reverse $\mathrm{KL}(q\Vert p)$ | $[0,\infty]$ | $\infty$ | samples of $q$; both densities |
# | Jensen-Shannon | $[0,\log2]$ | $\log2$ | samples of both; both densities, or a judge who learns their ratio |
# | total variation | $[0,1]$ | $1$ | the same |
#
# Once the blocks have parted, the tame rulers are **flat**: they say "far", but not in which direction to go. With $p$ and
# $q$ on thin sheets in a space of many dimensions this happens. It is the trouble of chapter 05, and chapter 06 brings a
# fifth ruler.
#
# ## 5 · Exact lab: one model, one truth, four rulers
#
# The truth has two humps: 60 % of its mass in a wide one on the left, 40 % in a narrow one on the right. The model is a
# single Gaussian. It *cannot* be right, so it has to choose how to be wrong. On a fine grid every integral is a sum,
# gradient descent on $(\mu,\log\sigma)$ runs through your `kl`, and the errors are those of the grid and of the descent.
#
# **Predict first:** for humps far apart, where does each ruler put its Gaussian?

# %% tags=["lab"]
edges = torch.linspace(-14, 14, 1401, dtype=torch.float64)
grid, cell = (edges[1:] + edges[:-1]) / 2, math.log(28 / 1400)
DISTANCES, STARTS = (0, 1, 2, 3, 4, 5, 6, 8), ("left", "middle", "right")
WEIGHTS, STDS = torch.tensor([0.6, 0.4]).double(), torch.tensor([[1.0], [0.6]]).double()


def truth(distance: float) -> Tensor:
    """The log-probability of each cell of the grid."""
    means = torch.tensor([[-distance / 2], [distance / 2]], dtype=torch.float64)
    return weigh(grid[:, None], WEIGHTS.log(), means, STDS) + cell


def model(mean: Tensor, log_std: Tensor) -> Tensor:
    """One Gaussian a row, on the same grid: equation (2) and the width of a cell."""
    z = (grid - mean[:, None]) * (-log_std).exp()[:, None]
    return -(z**2) / 2 - log_std[:, None] - 0.5 * math.log(2 * math.pi) + cell


RULERS = {
    "forward KL": lambda log_p, log_q: kl_of(log_p, log_q),
    "reverse KL": lambda log_p, log_q: kl_of(log_q, log_p),
    "Jensen-Shannon": lambda log_p, log_q: js_of(log_p, log_q),
    "total variation": lambda log_p, log_q: (log_p.exp() - log_q.exp()).abs().sum(-1) / 2,
}


def fit_all(ruler: Callable, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means, standard deviations and values (distances, starts), all fitted side by side by gradient descent."""
    log_p = torch.stack([truth(d) for d in DISTANCES]).repeat_interleave(len(STARTS), 0)
    mean = (
        torch.tensor([[-d / 2, 0.0, d / 2] for d in DISTANCES]).double().flatten().requires_grad_()
    )
    log_std = torch.zeros_like(mean, requires_grad=True)
    optimiser = torch.optim.Adam([mean, log_std], lr=0.1)
    slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        value = ruler(log_p, model(mean, log_std))
        value.sum().backward()
        optimiser.step()
        slower.step()
    shape = (len(DISTANCES), len(STARTS))
    return tuple(v.detach().reshape(shape) for v in (mean, log_std.exp(), value))


steps = 100 if PROFILE == "smoke" else 800
fits = {name: fit_all(ruler, steps) for name, ruler in RULERS.items()}
rows = {
    name: {
        f"start {start}": f"{m[-1, j]:+.2f} ± {s[-1, j]:.2f}   ({v[-1, j]:.3f})"
        for j, start in enumerate(STARTS)
    }
    for name, (m, s, v) in fits.items()
}
plot.show(
    plot.table(
        rows, "Humps at -4 and +4: mean ± std of the fitted Gaussian (value of the ruler)", "ruler"
    )
)

# %% [markdown]
# Move the sliders: the distance of the humps, and the hump on which gradient descent starts.


# %% tags=["lab"]
def four_fits(distance: float, start: str) -> plot.Picture:
    """The truth and the fitted Gaussian of each ruler."""
    i, j = DISTANCES.index(distance), STARTS.index(start)
    p = (truth(distance) - cell).exp()
    chosen = {}
    for name, (m, s, v) in fits.items():
        q = (model(m[i, j : j + 1], s[i, j : j + 1].log())[0] - cell).exp()
        chosen[name] = (q, m[i, j], s[i, j], v[i, j])
    where = f"Humps {distance} apart, started at the {start}"
    return figures.four_fits(grid, p, chosen, where)


lab.scrub(four_fits, fps=2, distance=list(DISTANCES), start=list(STARTS))

# %% tags=["lab"]
for start in ("left", "right"):
    plot.show(four_fits(6, start))

# %% [markdown]
# - **Forward KL covers.** It pays $p\log\frac pq$, a fortune wherever $q$ forgets a piece of $p$. So it spreads over both
#   humps, and puts its peak where there is *nothing*. A model trained by maximum likelihood with too small a family
#   draws things between the things.
# - **Reverse KL seeks.** It pays wherever $q$ puts mass and $p$ has none. So it sits down on one hump and forgets the
#   other. *Which one depends on where it started*, and it stays there: both are local minima.
# - **Jensen-Shannon** covers humps that are near. Move the slider: from some distance on it sits on one hump, and which
#   one depends on the start.
# - **Total variation** counts the mass it lost. Here it seeks too, so four rulers give two kinds of answer, not four.
#
# *Three checks with a pencil.* (a) Forward KL of a Gaussian is least at the truth's own mean and
# variance: $\mu=0.6\,(-\frac\Delta2)+0.4\,\frac\Delta2=-0.1\,\Delta$ (equation (4), with an expectation for the average). The
# other two hold for humps *endlessly* far apart. (b) A $q$ that equals the left hump has $p=0.6\,q$ there:
# $\mathrm{KL}(q\|p)=-\log0.6$, and on the right hump $-\log0.4$. (c) It has lost the other hump: TV is 0.4, or 0.6. At a
# finite distance TV can do a little better than that: a Gaussian wider than its hump still lies above $0.6\,\mathcal N$ there,
# and its tail reaches into the other hump. Does the lab agree?

# %% tags=["lab"]
forward, reverse, tv = fits["forward KL"], fits["reverse KL"], fits["total variation"]
i, d = DISTANCES.index(6), 6
spread = math.sqrt(
    0.6 * 1.0**2 + 0.4 * 0.6**2 + 0.24 * d**2
)  # variance within the humps, and between
print(
    f"forward KL   mean {forward[0][i, 1]:+.3f} (pencil {-0.1 * d:+.3f})   std {forward[1][i, 1]:.3f} (pencil {spread:.3f})"
)
for j, weight in ((0, 0.6), (2, 0.4)):
    print(
        f"reverse KL   started {STARTS[j]:6s} {reverse[2][i, j]:.3f} (pencil {-math.log(weight):.3f})",
        end="   ",
    )
    print(f"total variation {tv[2][i, j]:.3f} (pencil {1 - weight:.3f})", end="   ")
    print(f"its Gaussian {tv[0][i, j]:+.2f} ± {tv[1][i, j]:.2f}")

# %% [markdown]
# This is the picture to take home. When a GAN draws good faces but only a few kinds of them, and when a VAE draws
# blurred ones, think of these two Gaussians: one that seeks, one that covers.
#
# ## 6 · From sums to samples: Monte Carlo, and its error
#
# A grid works in one dimension. In 784 it does not, and $p_{\text{data}}$ is not known anyway. What we have is
# samples, and an expectation is a mean over samples:
#
# $$\mathbb E_p[f(x)]\approx\bar f=\frac1n\sum_{i=1}^nf(x_i),\qquad
# \text{standard error}=\frac{\mathrm{std}(f)}{\sqrt n} \tag{11}$$
#
# *With a pencil:* the variance of a sum of independent terms is the sum of the variances, so the mean has variance
# $\mathrm{var}(f)/n$. Four times as many samples, half the error: the dimension enters through $\mathrm{var}(f)$ alone. A
# number without its error is not a measurement. Here is $\mathrm{KL}(p\|q)=\mathbb E_p[\log p-\log q]$ between the two-humped truth and
# a Gaussian, from $n$ samples, beside the exact value from the grid:

# %% tags=["lab"]
humps = (WEIGHTS.log(), torch.tensor([[-3.0], [3.0]]).double(), STDS)
broad = (
    torch.zeros(1).double(),
    torch.full((1, 1), -0.6).double(),
    torch.full((1, 1), 3.0).double(),
)
exact = kl_of(truth(6), weigh(grid[:, None], *broad) + cell).item()


def estimate(n: int, seed: int) -> metrics.Estimate:
    """KL(humps || broad) by Monte Carlo, with its standard error."""
    x = draw_mixture(humps, n, seed)
    return metrics.mean_and_error(weigh(x, *humps) - weigh(x, *broad))


sizes = (30, 100, 300, 1_000, 3_000, 10_000, 30_000)
for n in sizes:
    e = estimate(n, SEED)
    print(
        f"n = {n:6d}   KL = {e.mean:.4f} ± {e.error:.4f}   off by {abs(e.mean - exact) / e.error:.1f} standard errors"
    )
print(f"exact        KL = {exact:.4f}")
many = [estimate(300, SEED + 1 + k) for k in range(500)]
inside = sum(abs(e.mean - exact) < 2 * e.error for e in many) / len(many)
print(
    f"of 500 such estimates with n = 300, {inside:.1%} lie within 2 standard errors (a Gaussian says 95.4 %)"
)

# %% [markdown]
# Look at what this estimate *needed*: samples of $p$, and $\log q$. (The term $\log p$ does not depend on the model and may
# stay unknown.) That is the luck of the **forward** KL: data are samples of $p$. The reverse KL needs $\log
# p_{\text{data}}(x)$ at the points that the *model* draws, and nobody has that. So it is maximum likelihood wherever the
# model can weigh, and other inventions, chapters 05 and 06, where it cannot.
#
# **In which unit?** $-\log_e$ gives *nats*, $-\log_2$ gives *bits*: the length of the file, if you used the model as a
# compressor. For pictures one divides by the number $D$ of pixels, to compare sizes. If the model gives a *probability* to each
# picture $v$ of grey levels, that is all. If it gives a *density*, spread each of the $L$ levels over a cell of width $1/L$, and
# take $x=(v+u)/L$ with $u$ uniform: this is **dequantisation**. The picture's probability is the mass of its cell,
# $P(v)=\int p=L^{-D}\,\mathbb E_u[p(x)]$, a mean over $u$. The log of a mean is at least the mean of the logs (Jensen), so
#
# $$\underbrace{-\frac{\log P(v)}{D\,\log2}}_{\text{bits/dim}}\;\le\;\mathbb E_u\Bigl[-\frac{\log p(x)}{D\,\log2}\Bigr]+\log_2L \tag{12}$$
#
# **One dequantised point gives a bound, not the number itself.** Section 9 measures how far the two are apart.

# %% [markdown] exercise={"id": "bits_per_dim", "difficulty": 3, "importance": 5, "minutes": 10}
# ### Exercise · An honest number
#
# From the log-likelihoods of $n$ test pictures, in nats, make the number a paper would print: the mean in bits per
# dimension, *and* its standard error: the right side of (12) for densities, and for probabilities ($L=1$) the left side.
#
# <details><summary>Hint: I am off by a factor</summary>
#
# Two divisions, and both for each picture: by $D$ (dimensions), and by $\log 2=0.693$ (nats to bits). The mean over the
# pictures comes after. The number of pictures appears nowhere else in the *value*.
# </details>
# <details><summary>Hint: where does the error come from?</summary>
#
# Turn each picture's value into bits/dim first. Then (11): the standard deviation of those $n$ values over $\sqrt n$. The
# constant $\log_2L$ shifts all values alike, so the error does not see it.
# </details>


# %% nbgrader={"grade_id": "bits_per_dim", "solution": true} autograde={"library": ["genmodels.metrics.bits_per_dim", "genmodels.metrics.mean_and_error"]}
def bits_per_dim(log_prob: Float[Tensor, "n"], dims: int, levels: int = 1) -> tuple[float, float]:
    """(mean, standard error) over n pictures, in bits per dimension [equations 11, 12].

    ``log_prob``: nats per picture, a log-probability, or the log-density of data in ``levels`` levels on [0, 1].
    """
    # TODO      two numbers: the mean, and std / sqrt(n)
    ### BEGIN SOLUTION
    bits = -log_prob / (dims * math.log(2)) + math.log2(levels)
    return bits.mean().item(), bits.std().item() / math.sqrt(len(bits))
    ### END SOLUTION


# %% nbgrader={"grade_id": "bits_per_dim_check", "grade": true, "points": 3}
# Pictures whose bits per dimension are known before they are weighed. You should see: 3
# cases right.
checks.run("bits_per_dim", bits_per_dim)


# %%
def library_bits(log_prob, dims, levels=1):
    """The library's, called like yours."""
    return metrics.mean_and_error(-metrics.bits_per_dim(log_prob, dims) + math.log2(levels))[:2]


bits_of = checks.fallback(
    bits_per_dim,
    library_bits,
    works=lambda f: (
        [round(v, 4) for v in f(torch.tensor([-2.0, -4.0]) * math.log(2), 1)] == [3.0, 1.0]
    ),
)

# %% [markdown]
# ## 7 · Drawing: bend a simple distribution
#
# A computer's random generator gives numbers $u$ uniform on $[0,1]$. Everything else is a **transformation** $x=g(u)$. In one dimension there is one that makes *any* distribution. Let
# $F(x)=\int_{-\infty}^xp$ be the cumulative distribution function (CDF), and turn it around:
#
# $$x=F^{-1}(u),\qquad u\sim\mathrm{Uniform}(0,1) \tag{13}$$
#
# *With a pencil:* $P(x\le t)=P(F^{-1}(u)\le t)=P(u\le F(t))=F(t)$. That is all. Where the density is high, $F$ is steep,
# many $u$ land there, and the samples crowd.
#
# A GAN, a VAE's decoder, a flow, a diffusion sampler: each is a $g$ that turns simple noise into data. Only the dimension
# grows.

# %% [markdown] exercise={"id": "inverse_cdf", "difficulty": 3, "importance": 4, "minutes": 12}
# ### Exercise · One uniform number in, one sample out
#
# The density is a histogram: `mass[j]` is the probability of the cell from `edges[j]` to `edges[j + 1]`, spread evenly in it.
# The cells need not be equally wide, and some may be empty. Its CDF is a chain of straight lines; walk up the chain to the
# height $u$ and read off $x$.
#
# <details><summary>Hint: where do I begin?</summary>
#
# Heights of the chain at the edges: `F = cat([0, cumsum(mass)])`, k + 1 numbers. `torch.searchsorted(F[1:], u, right=True)`
# is the cell in which each u lies.
# </details>
# <details><summary>Hint: and inside the cell?</summary>
#
# A share of $(u-F_j)/\texttt{mass}_j$ of the cell has been climbed: go that share of the way from `edges[j]` to
# `edges[j + 1]`.
# </details>
# <details><summary>Hint: an index is out of range</summary>
#
# By rounding the last `F` may be 0.9999999: `clamp(max=len(mass) - 1)`.
# </details>


# %% nbgrader={"grade_id": "inverse_cdf", "solution": true} autograde={"library": ["scipy.stats.rv_histogram"]}
def inverse_cdf(
    u: Float[Tensor, "n"], edges: Float[Tensor, "k+1"], mass: Float[Tensor, "k"]
) -> Float[Tensor, "n"]:
    """F^{-1}(u) of a histogram, for u in [0, 1): increasing in u, and without any randomness of its own [equation 13]."""
    # TODO      the x at which the CDF reaches u
    ### BEGIN SOLUTION
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F[1:].contiguous(), u.contiguous(), right=True).clamp(max=len(mass) - 1)
    return edges[j] + (u - F[j]) / mass[j] * (edges[j + 1] - edges[j])
    ### END SOLUTION


# %% nbgrader={"grade_id": "inverse_cdf_check", "grade": true, "points": 3}
# Heights u whose place x is known, in cells of equal and unequal width. You should see: 3
# cases right.
checks.run("inverse_cdf", inverse_cdf)


# %%
def quantiles(u, edges, mass):
    """scipy's, called like yours."""
    from scipy.stats import rv_histogram

    heights = (mass / edges.diff()).numpy()
    return torch.from_numpy(rv_histogram((heights, edges.numpy()), density=True).ppf(u.numpy()))


bend = checks.fallback(
    inverse_cdf,
    quantiles,
    works=lambda f: (
        f(
            torch.tensor([0.125, 0.625]), torch.tensor([0.0, 2.0, 3.0]), torch.tensor([0.25, 0.75])
        ).tolist()
        == [1.0, 2.5]
    ),
)

# %% [markdown]
# Move the sliders: the truth's humps move apart, and the transformation with them. Equal steps on the left axis become dense
# where the density is high. Nothing random happens on the way; all randomness is in $u$.


# %% tags=["lab"]
def bent(distance: float, seed: int) -> plot.Picture:
    """Uniform numbers, the inverse CDF, and where they land."""
    log_mass = truth(distance)
    u = torch.rand(4_000, generator=core.generator(seed), dtype=torch.float64)
    x = bend(u, edges_of_grid, log_mass.exp() / log_mass.exp().sum())
    return figures.bent(u, x, grid, log_mass, cell, distance)


edges_of_grid = torch.linspace(-14, 14, 1401, dtype=torch.float64)
lab.scrub(bent, fps=3, distance=list(DISTANCES), seed=range(3))

# %% [markdown]
# **The other use, for free.** If $x=g(u)$ with $g$ increasing, mass is carried along: a small $du$ becomes $dx=g'(u)\,du$, and
# both hold the same probability. So the density of a transformed variable is
#
# $$p(x)=\frac{1}{g'(u)}\qquad\text{at } u=g^{-1}(x) \tag{14}$$
#
# Steep $g$: thin density. Check it: the slope of your `inverse_cdf` by a finite difference, against the density it was
# made from.

# %% tags=["lab"]
mass_4 = truth(4).exp() / truth(4).exp().sum()
u = torch.tensor([0.1, 0.3, 0.55, 0.7, 0.95], dtype=torch.float64)
x, step = bend(u, edges_of_grid, mass_4), 1e-7
slope = (bend(u + step, edges_of_grid, mass_4) - x) / step
cell_of_x = torch.searchsorted(edges_of_grid, x) - 1
for row in zip(u, x, slope, (truth(4) - cell).exp()[cell_of_x]):
    print(
        f"u = {row[0]:.2f}   x = {row[1]:+.3f}   1 / slope = {1 / row[2]:.4f}   density = {row[3]:.4f}"
    )

# %% [markdown]
# **In two dimensions** a small square of noise becomes a small parallelogram of data, and the factor is the change of *area*: the
# determinant of the Jacobian matrix $J_g$ of all partial derivatives, without its sign,
#
# $$\log p(x)=\log p(z)-\log\bigl|\det J_g(z)\bigr|\qquad\text{at } z=g^{-1}(x) \tag{15}$$
#
# Here is a map to try it on. Take a turn $u$, uniform on $[0,1]$, and a Gaussian $z$. They become an angle and a radius,
# $r=R\,e^{sz}$, and then the picture is stretched $a$ times in the first direction:
#
# $$x_1=a\,r\cos2\pi u,\qquad x_2=r\sin2\pi u$$
#
# Drawing is two lines. The naive density is the density of $r$, times $\frac1{2\pi}$ for the angle. Does it integrate to 1?

# %% tags=["lab"]
RADIUS, WIDTH, STRETCH = 1.0, 0.25, 1.6
g = core.generator(SEED)
turn = torch.rand(2_000, generator=g, dtype=torch.float64)
r = RADIUS * (WIDTH * torch.randn(2_000, generator=g, dtype=torch.float64)).exp()
ring = torch.stack([STRETCH * r * (2 * math.pi * turn).cos(), r * (2 * math.pi * turn).sin()], 1)

points, area = toy.grid(4.0, 240)
r_of = (points / torch.tensor([STRETCH, 1.0])).norm(dim=1)
naive = td.LogNormal(math.log(RADIUS), WIDTH).log_prob(r_of).exp() / (2 * math.pi)
print(f"the naive density integrates to {(naive.sum() * area).item():.3f}")

# %% [markdown] exercise={"id": "ring_log_prob", "difficulty": 4, "importance": 4, "minutes": 20}
# ### Exercise · The density of a bent plane
#
# Take a pencil first: three maps follow one another, $z\to r$, then $(r,\text{angle})\to$ the plane, then the stretch. How much does
# each change a small area? Then write $\log p(x)$, for any $R$, $s$ and $a>0$. The points are not the origin.
#
# <details><summary>Hint: where do I begin?</summary>
#
# Backwards: undo the stretch, then find $r$, then $z$. The angle is not needed: all angles are equally likely.
# </details>
# <details><summary>Hint: what do the three maps do to an area?</summary>
#
# The logs of the three factors add up. A step $dz$ becomes $dr=\,?\;dz$. A step $dr$ and a turn $du$ make a patch of the ring that is
# $dr$ long; how wide is it at radius $r$? The stretch is the easy one.
# </details>
# <details><summary>Hint: right for a = 1 only</summary>
#
# The stretch enters twice: in finding $r$ from $x$, and in the area.
# </details>
# <details><summary>Hint: how do I test it myself?</summary>
#
# Like the naive one: the sum over `points` times `area` must be 1, for more than one choice of $R$, $s$ and $a$.
# </details>


# %% nbgrader={"grade_id": "ring_log_prob", "solution": true}
def ring_log_prob(
    x: Float[Tensor, "n 2"], radius: float, width: float, stretch: float
) -> Float[Tensor, "n"]:
    """log p(x), in nats, of the stretched ring with R = radius, s = width, a = stretch [equation 15]."""
    # TODO      the log-density of each of the n points
    ### BEGIN SOLUTION
    r = torch.hypot(x[:, 0] / stretch, x[:, 1])
    z = (r / radius).log() / width
    log_area = math.log(2 * math.pi * width * stretch) + 2 * r.log()
    return -z.square() / 2 - 0.5 * math.log(2 * math.pi) - log_area
    ### END SOLUTION


# %% nbgrader={"grade_id": "ring_log_prob_check", "grade": true, "points": 4}
# Log-densities and their gradients, against the determinant of the map's Jacobian by autograd.
# You should see: 4 cases right.
checks.run("ring_log_prob", ring_log_prob)


# %%
def smoothed_ring(x, radius, width, stretch):
    """A stand-in, and no more than that: a mixture with a narrow component on each of 500 samples."""
    centres = ring[:500]
    return weigh(
        x, torch.full((500,), -math.log(500)).double(), centres, torch.full_like(centres, 0.12)
    )


ring_of = checks.fallback(
    ring_log_prob,
    smoothed_ring,
    works=lambda f: abs(f(torch.tensor([[2.0, 0.0]]), 1.0, 1.0, 2.0).item() + 3.449963) < 1e-4,
)

# %% tags=["lab"]
log_p = ring_of(points, RADIUS, WIDTH, STRETCH)
print(f"your density integrates to {(log_p.exp().sum() * area).item():.4f}")
plot.show(figures.bent_plane(ring, log_p.reshape(240, 240), 4.0))

# %% [markdown]
# Look where the density is highest: on the inside of the ring, where the same noise has less room, although the radius $R$ is the
# median. A network in place of our three maps, with a determinant that is cheap to compute, is chapter 08.

# %% [markdown]
# ## 8 · Only samples on both sides: the hard part
#
# Suppose $g$ is a large network, thrown together. It draws; but it cannot be turned around, so it cannot *weigh*. Now you
# hold two bags of samples, the data's and the model's, and no density at all. How far apart are they? Each of the four
# rulers, as written, asks for a density. In one dimension one can sort; in two or more there is no order to sort by.
#
# What can be compared are averages: of distances, or of similarities (kernels). The **energy distance** is such a ruler,
#
# $$\mathcal E=2\,\mathbb E\|x-y\|-\mathbb E\|x-x'\|-\mathbb E\|y-y'\| \tag{16}$$
#
# zero exactly if the two distributions are the same, and MMD is its cousin with a kernel. We estimate both without bias, so
# for equal distributions the estimates scatter *around* zero: some are negative, though no true distance is. Beside them
# belongs the **floor**: real against real.

# %% tags=["lab"]
held, KERNELS = draws(1_000, SEED + 2), (0.25, 0.5, 1.0)
REPEATS = 2 if PROFILE == "smoke" else 10
bags: dict[str, list[Tensor]] = {
    "real: other dots of the source": [draws(400, SEED + 10 + r) for r in range(REPEATS)]
}
bags["the memory (the 400 dots)"] = [dots]
for k in (1, 2, 8, 16, 128):
    bags[f"mixture, k = {k}"] = [
        draw_mixture(models[k], 400, SEED + 10 * r) for r in range(REPEATS)
    ]
nats = {f"mixture, k = {k}": f"{cost:.3f}" for k, (_, cost) in costs.items()}
nats |= {
    "real: other dots of the source": f"{entropy:.3f}",
    "the memory (the 400 dots)": "infinite",
}


def mean_and_spread(values: list[float]) -> str:
    """Thousandths: the mean over the bags ± the standard deviation of one bag."""
    values = 1000 * torch.tensor(values)
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")


rows = {
    name: {
        "1000 × energy distance": mean_and_spread(
            [metrics.energy(b, held).item() for b in several]
        ),
        "the same, against the training dots": mean_and_spread(
            [metrics.energy(b, dots).item() for b in several]
        ),
        "1000 × MMD²": mean_and_spread([metrics.mmd(b, held, KERNELS).item() for b in several]),
        "nats on fresh dots": nats[name],
    }
    for name, several in bags.items()
}
plot.show(
    plot.table(
        rows, "Bags of 400 against 1,000 held-out dots (± spread of a single bag)", "samples"
    )
)

# %% [markdown]
# The cheat is back. Against held-out dots **the memory is no farther than fresh dots of the source**: its bag *is* a bag of
# the source. The mixture with 128 components is hardly worse, and its likelihood is the last but one. What gives a memory
# away is the second column, or the likelihood. The second column compares with the *training* dots: a memory is closer to
# those than other bags of the source are on average (its single line has no spread, for it has one bag). The likelihood of fresh dots is infinitely bad. But a likelihood one must be able to
# compute, and no copy is exact in life, so look at both. Each road of the map is a way around this dilemma.
#
# ## 9 · Parametric or not? And the curse of dimension
#
# A **parametric** family has a fixed number of parameters, however much data there is. A **non-parametric** one grows with the
# data. A histogram counts. A kernel density estimate (KDE) puts a small Gaussian of width $h$ on each of the $n$ points:
#
# $$\log p(x)=\log\frac1n\sum_{i=1}^n\mathcal N(x;x_i,h^2I)\qquad\text{in code}\qquad\texttt{weigh(x, zeros - log n, points, h)} \tag{17}$$
#
# It is your mixture, with every training dot as a component: nothing to train, and with enough data it can come near any density. How
# much is enough? Take the easiest truth there is, a standard Gaussian in $d$ dimensions, 1,000 points of it, and even grant the
# KDE the best width. How many nats does it lose, $\mathrm{KL}(p\|q)$, against a Gaussian fitted to the same points?


# %% tags=["lab"]
def kde(x: Tensor, points: Tensor, width: float) -> Tensor:
    """Equation (17), by the matrix of distances: (5) with equal weights and widths, for many points at once."""
    d = x.shape[1]
    return core.log_mean_exp(-(torch.cdist(x, points) ** 2) / (2 * width**2), 1) - d * math.log(
        width * math.sqrt(2 * math.pi)
    )


few = torch.randn(20, 3, generator=core.generator(SEED), dtype=torch.float64)
checks.close(
    kde(few[:4] + 0.1, few, 0.7),
    weigh(few[:4] + 0.1, torch.full((20,), -math.log(20)).double(), few, torch.full_like(few, 0.7)),
    "kde against your mixture",
)


def gaussian_of(points: Tensor, ridge: float = 0.0) -> td.MultivariateNormal:
    """Maximum likelihood with all correlations: d means and d (d + 1) / 2 covariances."""
    centred = points - points.mean(0)
    covariance = centred.T @ centred / len(points) + ridge * torch.eye(points.shape[1]).double()
    return td.MultivariateNormal(points.mean(0), covariance)


dimensions, n = (1, 2, 4, 8, 16, 32), 1_000
loss_kde, loss_gaussian, theory = [], [], []
for d in dimensions:
    g = core.generator(SEED + d)
    points, test = (torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(2))
    exact_log_p = td.Normal(0.0, 1.0).log_prob(test).sum(1)
    widths = torch.linspace(0.1, 1.4, 14).tolist()
    loss_kde.append(min((exact_log_p - kde(test, points, h)).mean().item() for h in widths))
    unit = td.MultivariateNormal(torch.zeros(d).double(), torch.eye(d).double())
    refits = [gaussian_of(torch.randn(n, d, generator=g, dtype=torch.float64)) for _ in range(20)]
    loss_gaussian.append(sum(td.kl_divergence(unit, q).item() for q in refits) / len(refits))
    theory.append((d + d * (d + 1) / 2) / (2 * n))
    print(
        f"d = {d:2d}   KDE {loss_kde[-1]:7.4f} nats   Gaussian {loss_gaussian[-1]:.4f}   (parameters / 2n = {theory[-1]:.4f})"
    )

# %% tags=["lab"]
plot.show(figures.curse(dimensions, loss_kde, loss_gaussian, theory))

# %% [markdown]
# The right family loses half a nat for every $n$ parameters (a classical result: each parameter costs $\frac1{2n}$). The KDE loses
# nats, not thousandths: as $d$ grows a fresh point lies far from all of the 1,000 training points.
# That is the **curse of dimension**. Pictures have hundreds of dimensions, so a model of pictures must know something about
# pictures. This is what architectures are for.
#
# ### Real data: 8 × 8 digits
#
# 1,297 digits to learn from, 250 to test on, 64 pixels of 17 grey levels. Four models that you now know, weighed by your functions.
# The last three are densities, so the first weighing is the bound (12), with $L=17$ and $x=(v+u)/17$.

# %% tags=["lab"]
pixels = {s: data.digits(s).x.flatten(1).double() for s in ("train", "valid", "test")}
level = {s: (16 * v).round().long() for s, v in pixels.items()}
g = core.generator(SEED)
x = {s: (v + torch.rand(v.shape, generator=g, dtype=torch.float64)) / 17 for s, v in level.items()}
began = time.perf_counter()

counts = (
    F.one_hot(level["train"], 17).double().sum(0) + 0.5
)  # one histogram a pixel; nothing has probability 0
log_table = (counts / counts.sum(1, keepdim=True)).log()
gaussian = gaussian_of(x["train"], ridge=1e-5)
mixture = fitted(x["train"], 10 if PROFILE == "smoke" else 50, floor=1e-5)
width = max((0.08, 0.1, 0.12, 0.14, 0.16, 0.2), key=lambda h: kde(x["valid"], x["train"], h).mean())

HISTOGRAM, MIXTURE, KDE = "a histogram for each pixel", "mixture of Gaussians", f"KDE, h = {width}"
exact_bits = {
    "a fair die for each pixel": bits_of(torch.full((250,), -64 * math.log(17)).double(), 64),
    HISTOGRAM: bits_of(log_table[torch.arange(64), level["test"]].sum(1), 64),
}
bounds = {
    "one Gaussian model": bits_of(gaussian.log_prob(x["test"]), 64, 17),
    MIXTURE: bits_of(weigh(x["test"], *mixture), 64, 17),
    KDE: bits_of(kde(x["test"], x["train"], width), 64, 17),
}
for name, (value, error) in (exact_bits | bounds).items():
    print(f"{name:28s} {'≤' if name in bounds else ' '} {value:.3f} ± {error:.3f} bits/dim")
print(f"({time.perf_counter() - began:.1f} s)")

# %% [markdown]
# The histogram seems to be the best of the four. But its number is a probability, and those below it are bounds. Can the bound be
# removed? For the mixture and the KDE, yes: the mass that a Gaussian puts on a cell is a difference of two values of its CDF
# $\Phi$, and the coordinates of a component are independent. One thing is left to say: these densities reach beyond $[0,1]$, and a
# sampler clips what lies there to black or white. So **the tails belong to the edge cells**.
#
# **Predict:** does the order change?


# %% tags=["lab"]
def log_cell_mass(levels: Tensor, parts: tuple[Tensor, Tensor, Tensor], tails: bool) -> Tensor:
    """Exact log-probability of pictures of 17 levels (n, 64) under a mixture of diagonal Gaussians."""
    log_weights, means, stds = parts
    cuts = torch.arange(18, dtype=torch.float64) / 17
    if tails:
        cuts[0], cuts[-1] = -math.inf, math.inf
    z = (cuts - means[..., None]) / stds[..., None]
    low, high = z[..., :-1], z[..., 1:]
    right = low + high > 0  # there the mirror image, whose Phi is small and exact
    low, high = torch.where(right, -high, low), torch.where(right, -low, high)
    top, bottom = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    table = (top + torch.log(-torch.expm1(bottom - top))).clamp_min(-1e5)  # (components, 64, 17)
    chosen = F.one_hot(levels, 17).double().flatten(1) @ table.flatten(1).T
    return torch.logsumexp(log_weights + chosen, 1)


n_train = len(x["train"])
kernels = (
    torch.full((n_train,), -math.log(n_train)).double(),
    x["train"],
    torch.full_like(x["train"], width),
)
exact_rows = {
    "a histogram for each pixel": {
        "one dequantised point": "not needed",
        "exact, cells in [0, 1]": "not needed",
        "cells and tails": f"{exact_bits[HISTOGRAM][0]:.3f} ± {exact_bits[HISTOGRAM][1]:.3f}",
    }
}
for name, parts in {MIXTURE: mixture, KDE: kernels}.items():
    inside, exact_bits[name] = (
        bits_of(log_cell_mass(level["test"], parts, tails), 64) for tails in (False, True)
    )
    exact_rows[name] = {
        "one dequantised point": f"≤ {bounds[name][0]:.3f}",
        "exact, cells in [0, 1]": f"{inside[0]:.3f}",
        "cells and tails": f"{exact_bits[name][0]:.3f} ± {exact_bits[name][1]:.3f}",
    }
plot.show(plot.table(exact_rows, "The same fitted models, bits/dim on 250 test digits", "model"))
bits = bounds | exact_bits
paired = (
    log_cell_mass(level["test"], kernels, True) - log_table[torch.arange(64), level["test"]].sum(1)
) / (64 * math.log(2))
gap = metrics.mean_and_error(paired)
print(
    f"the KDE is better than the histogram by {gap.mean:.3f} ± {gap.error:.3f} bits/dim, digit by digit"
)
report.metric("digits, histogram a pixel", bits[HISTOGRAM][0], "bits/dim")
report.metric("digits, mixture", bits[MIXTURE][0], "bits/dim")

# %% tags=["lab"]
g = core.generator(SEED + 1)
some = torch.randint(len(x["train"]), (16,), generator=g)
drawn = {
    "data": x["test"][:16],
    HISTOGRAM: core.sample_categorical(log_table.expand(16, -1, -1), generator=g) / 16,
    "one Gaussian model": gaussian.mean
    + torch.randn(16, 64, generator=g, dtype=torch.float64) @ gaussian.scale_tril.T,
    MIXTURE: draw_mixture(mixture, 16, SEED),
    KDE: x["train"][some] + width * torch.randn(16, 64, generator=g, dtype=torch.float64),
}
plot.show(figures.digits(drawn, bits, bounds=set(bits) - set(exact_bits)))

# %% [markdown]
# **The surprise.** The order turns round. By the bound the histogram led; cell by cell, with the tails where the sampler puts them,
# the mixture and the KDE are ahead of it. Nothing was fitted anew. Before you compare two likelihoods, ask of each: a probability, a
# density or a bound? of the same thing?
#
# Then look at the pictures. The KDE's digits can be read (they are training digits with noise), the histogram's cannot, and their
# numbers are a few per cent apart: most bits are spent on the exact grey of each pixel, few on how pixels belong together.
# A likelihood and a look at the samples answer two questions. From chapter 01 on you will see both.
#
# ## 10 · Break it
#
# A model that weighs *and* draws makes two claims, and they must fit together. Here are five bugs that people really make.
# **Predict** before you look: which one changes the density, which one the samples, and which one would you notice from the
# training loss?

# %% tags=["lab"]
WEIGHT, MEANS, SPREAD = (
    torch.tensor([0.7, 0.3]).double(),
    torch.tensor([[-1.5], [2.0]]).double(),
    torch.tensor([[0.8], [0.5]]).double(),
)
right_parts = (WEIGHT.log(), MEANS, SPREAD)
BUGS = {
    "no bug": (right_parts, right_parts, 1.0),
    "1  draws the likelier component only": (
        right_parts,
        (torch.zeros(1).double(), MEANS[:1], SPREAD[:1]),
        1.0,
    ),
    "2  a variance for a std, in the sampler": (right_parts, (WEIGHT.log(), MEANS, SPREAD**2), 1.0),
    "3  the weights forgotten in the density": (
        (torch.zeros(2).double(), MEANS, SPREAD),
        right_parts,
        1.0,
    ),
    "4  nats and bits confused": (right_parts, right_parts, 1 / math.log(2)),
    "5  the weights forgotten in the sampler": (
        right_parts,
        (torch.full((2,), 0.5).double().log(), MEANS, SPREAD),
        1.0,
    ),
}


def symptom(bug: str) -> plot.Picture:
    """Claimed density and 4,000 samples of a model with this bug."""
    density_parts, sample_parts, unit = BUGS[bug]
    line = torch.linspace(-5, 5, 801, dtype=torch.float64)
    claim = (unit * weigh(line[:, None], *density_parts)).exp()
    samples = draw_mixture(sample_parts, 4_000, SEED)[:, 0]
    return figures.claim_and_samples(bug, line, claim, samples)


lab.scrub(symptom, fps=1, bug=list(BUGS))

# %% tags=["lab", "hide-input"]
# Folded: all of them, when you have made your predictions.
for bug in BUGS:
    plot.show(symptom(bug))

# %% [markdown]
# Bug 3 *improves* the reported likelihood. Its density integrates to 2, but the gain is not $\log2$: the weights are missing, so
# each sample gains $-\log w_j$ of the component it came from (nearly, where components overlap little). *With a pencil:* the
# mean gain is then about $-\sum_jw_j\log w_j$, the entropy of the die. How much is it?

# %% tags=["lab"]
own = draw_mixture(right_parts, 100_000, SEED)
gain = metrics.mean_and_error(
    weigh(own, *BUGS["3  the weights forgotten in the density"][0]) - weigh(own, *right_parts)
)
die = torch.special.entr(WEIGHT).sum()
print(
    f"bug 3 gains {gain.mean:.4f} ± {gain.error:.4f} nats; entropy of the die {die:.4f}; log 2 = {math.log(2):.4f}"
)

# %% [markdown]
# Write the test that would have caught them all.

# %% [markdown] exercise={"id": "is_consistent", "difficulty": 4, "importance": 5, "minutes": 15}
# ### Exercise · Does it draw what it claims?
#
# You get a model on the line: `log_prob(x)`, which weighs points (n,), and `sample(n)`, which draws. Practically all of its mass
# lies between `low` and `high`. Return `True` exactly if the density integrates to 1 **and** the samples follow it. Your test is
# graded by what it says of right and of broken models.
#
# <details><summary>Hint: the integral</summary>
#
# Cut [low, high] into 5,000 cells and sum `log_prob(middles).exp()` times the width. Ask for 1 within 0.01. A `log_prob` of minus
# infinity is fine: `exp` makes it 0.
# </details>
# <details><summary>Hint: how do I compare samples with a density?</summary>
#
# By counting. Group the cells into 50 bins, add up the mass $b$ of each, draw $n = 20{,}000$ samples and count them in the same bins.
# A count has mean $nb$ and standard deviation $\sqrt{nb(1-b)}$.
# </details>
# <details><summary>Hint: right models are sometimes rejected</summary>
#
# Fifty bins are fifty chances to be unlucky: allow 5 standard deviations, and some five samples more for bins with hardly any mass.
# </details>
# <details><summary>Hint: a broken model is accepted</summary>
#
# The same mean and the same spread do not make the same distribution. Look at every bin. And what of samples outside [low, high]?
# </details>
# <details><summary>Hint: the order of the steps</summary>
#
# First the masses of the bins from `log_prob`: do they sum to 1? Then the counts of the samples. `torch.histc(x, 50, low, high)`
# counts what lies inside.
# </details>


# %% nbgrader={"grade_id": "is_consistent", "solution": true}
def is_consistent(
    log_prob: Callable[[Float[Tensor, "n"]], Float[Tensor, "n"]],
    sample: Callable[[int], Float[Tensor, "n"]],
    low: float,
    high: float,
) -> bool:
    """Whether exp(log_prob) is a density on [low, high] and ``sample`` draws from it."""
    # TODO      True for a right model, False for one that is not normalised or draws something else
    ### BEGIN SOLUTION
    bins, fine, n = 50, 100, 20_000
    step = (high - low) / (bins * fine)
    middles = low + step * (torch.arange(bins * fine, dtype=torch.float64) + 0.5)
    mass = log_prob(middles).exp().reshape(bins, fine).sum(1) * step
    if not abs(mass.sum() - 1) < 0.01:
        return False
    counts = torch.histc(sample(n).double(), bins, low, high)
    allowed = 5 * (n * mass * (1 - mass)).clamp_min(0).sqrt() + 5
    return bool(((counts - n * mass).abs() <= allowed).all())
    ### END SOLUTION


# %% nbgrader={"grade_id": "is_consistent_check", "grade": true, "points": 4}
# Your test meets right models, which it must accept, and broken ones, among them the bugs
# of section 10, which it must not. You should see: 22 cases right.
checks.run("is_consistent", is_consistent)


# %% [markdown]
# ## 11 · Your line in the leaderboard
#
# Every chapter ends with such a table, and chapter 16 collects them. Beside the likelihood stand the distance to held-out digits (with its
# floor), the time to draw, and the size.


# %% tags=["lab"]
def row(name: str, bag: Tensor, parameters: int, milliseconds: float) -> dict:
    """Likelihood, distance of 250 samples to the test digits, time for one digit, size."""
    value, error = bits[name] if name in bits else (math.nan, math.nan)
    return {
        "bits/dim": ("≤ " if name not in exact_bits else "") + f"{value:.3f} ± {error:.3f}"
        if value == value
        else "infinite",
        "energy distance": float(metrics.energy(bag, x["test"])),
        "ms a digit": milliseconds,
        "parameters": parameters,
    }


def timed(draw: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """250 samples, and the milliseconds for each."""
    begin = time.perf_counter()
    bag = draw()
    return bag, (time.perf_counter() - begin) / 250 * 1000


g = core.generator(SEED + 2)
noise = lambda: torch.randn(250, 64, generator=g, dtype=torch.float64)
pick = lambda: x["train"][torch.randint(len(x["train"]), (250,), generator=g)]
table_draw = lambda: (
    (
        core.sample_categorical(log_table.expand(250, -1, -1), generator=g)
        + torch.rand(250, 64, generator=g).double()
    )
    / 17
)
samplers = {
    "a histogram for each pixel": (table_draw, 64 * 16),
    "one Gaussian model": (
        lambda: gaussian.mean + noise() @ gaussian.scale_tril.T,
        64 + 64 * 65 // 2,
    ),
    "mixture of Gaussians": (
        lambda: draw_mixture(mixture, 250, SEED),
        mixture[1].numel() * 2 + len(mixture[0]) - 1,
    ),
    f"KDE, h = {width}": (lambda: pick() + width * noise(), x["train"].numel() + 1),
    "the memory (real against real)": (pick, x["train"].numel()),
}
board = {}
for name, (draw, parameters) in samplers.items():
    bag, milliseconds = timed(draw)
    board[name] = row(name, bag, parameters, milliseconds)
plot.show(plot.table(board, best={"energy distance": "min", "parameters": "min"}))

# %% [markdown]
# By the distance the memory wins, or nearly: its line is the floor, real against real. The first column gives it away. (≤ marks a
# bound: one dequantised point.)
#
# **What you can now do.** Say what "learning a distribution" means; weigh points without underflow; choose a ruler and know what it will
# do to you; give a number with its error, in the unit of the papers, and say whether it is a bound; draw from any histogram on the
# line; weigh what a bent plane makes of noise; and catch a model that does not draw what it claims.
#
# **What is still missing.** The histogram for each pixel has an exact number, no bound and no cells to integrate, but noise for samples,
# because to it pixels are independent. What if each pixel's histogram could *look at the pixels before it*? The likelihood stays
# exact, and the samples can be read: chapter 01.
