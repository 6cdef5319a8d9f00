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
# # 03 · Gradients through randomness
#
# ![Two ways to differentiate an average of random points: move the points along with the distribution, or leave
# them and change their weights. Beside them three triangles of relaxed samples, from lukewarm, near the middle, to
# cold, in the corners.](../assets/03_reparameterization.png)
#
# A network throws a die. You do not like what the die did, and you want the network to throw better. So you
# ask for the gradient of what came up, and there is none.
#
# **The one idea.** Do not differentiate the die; differentiate the *average*. This chapter has two ways to reach its
# parameters. Either **move the sample** (write it as a smooth function of the parameters and of noise that
# has none), or **move its weight** (leave the sample where it is and make it more or less likely). The other
# estimators of this chapter are compromises that are not quite right, and you will measure how wrong they are.
#
# | | |
# |---|---|
# | **You will build** | pathwise and score-function gradients, the score of a mean and of a scale, a baseline for free, Gumbel-max and Gumbel-softmax, and a test that tells a biased estimator from a noisy one |
# | **Time** | about 2 hours: 40 minutes of reading and {{minutes}} of exercises ({{exercises}} exercises, {{points}} points) |
# | **You need** | PyTorch's autograd; expectations, softmax and standard errors (chapter 00) |
# | **Computing** | {{budget}} |
#
# <details><summary><b>Sources</b></summary>
#
# - Score function (REINFORCE): R. Williams, *Simple statistical gradient-following algorithms*, Machine Learning 1992
# - The best constant baseline, equation (9): Greensmith, Bartlett, Baxter, *Variance reduction techniques for gradient
#   estimates in reinforcement learning*, JMLR 2004. (Weaver and Tao, UAI 2001, [arXiv 1301.2315](https://arxiv.org/abs/1301.2315),
#   find the average reward, for their estimator in a limit; section 4 compares the two here.)
# - Pathwise for Gaussians: Kingma and Welling, 2013, [arXiv 1312.6114](https://arxiv.org/abs/1312.6114); Rezende, Mohamed, Wierstra, 2014, [arXiv 1401.4082](https://arxiv.org/abs/1401.4082)
# - Implicit reparameterization: Figurnov, Mohamed, Mnih, 2018, [arXiv 1805.08498](https://arxiv.org/abs/1805.08498)
# - Leave-one-out: Kool, van Hoof, Welling, *Buy 4 REINFORCE samples, get a baseline for free*, ICLR workshop 2019
# - Gumbel-softmax: Jang, Gu, Poole, 2016, [arXiv 1611.01144](https://arxiv.org/abs/1611.01144); Concrete: Maddison, Mnih, Teh, 2016, [arXiv 1611.00712](https://arxiv.org/abs/1611.00712)
# - Straight-through: Bengio, Léonard, Courville, 2013, [arXiv 1308.3432](https://arxiv.org/abs/1308.3432)
# - A survey: Mohamed, Rosca, Figurnov, Mnih, 2019, [arXiv 1906.10652](https://arxiv.org/abs/1906.10652)
# </details>
#
# <details><summary><b>Symbols</b></summary>
#
# | symbol | meaning | in code |
# |---|---|---|
# | $\theta$, $p_\theta$ | parameters, and the distribution that has them | `theta` |
# | $z$, $f(z)$, $J$ | a sample, its cost, the average cost | `z`, `cost`, `value` |
# | $\mu$, $\sigma$, $\varepsilon$ | mean, standard deviation, standard Gaussian noise | `mean`, `log_var` $=\log\sigma^2$, `eps` |
# | $F_\theta$, $u$ | cumulative distribution function; uniform noise | `cdf`, `u` |
# | $s$ | the score, $\nabla_\theta\log p_\theta(z)$ | `score` |
# | $b$, $b_i$ | a baseline; that of sample $i$ | `baseline` |
# | $k$, $d$ | in section 5 the number of samples, elsewhere a category; number of parts of a sample | |
# | $\ell_k$, $g_k$, $\tau$ | a logit, Gumbel noise, the temperature | `logits`, `tau` |
# | $\tilde z$ | a relaxed sample, inside the triangle | `soft` |
# | $p_i$, $y_i$ | in section 10: predicted probability, label | `probs`, `labels` |
# | $\varphi$ | in (4) the one parameter of the check | `phi` |
# </details>

# %% tags=["parameters"]
PROFILE = "laptop"  # or "smoke" (seconds, to see that all runs), or "gpu" (more seeds and steps)
TRAIN = True  # nothing here trains for long: False takes one seed instead of several in section 11

# %% nbgrader={"grade_id": "setup", "locked": true}
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from coursekit import checks
from genmodels import core
from genmodels import estimators as est

SEED = 0
torch.manual_seed(SEED)


def every_state(n: int) -> Tensor:
    """All 2^n binary vectors, one a row."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n).reshape(-1, n)


# %% tags=["lab"]
import time

import figures  # the chapter's pictures, beside this notebook
import numpy as np
import scipy.integrate
import scipy.stats
from torch.distributions import Beta, Categorical, Gamma, Normal

from coursekit import lab, plot, report
from genmodels import data

torch.set_num_threads(
    1
)  # all of this chapter's tensors are small: a second thread costs more than it gives

# %% [markdown]
# ## 1 · Pretend you have read no paper
#
# What we want, in all of this chapter, is one thing: the gradient of an average *whose distribution has the
# parameters*,
#
# $$\nabla_\theta\; J(\theta),\qquad J(\theta)=\mathbb E_{z\sim p_\theta}[f(z)] \tag{1}$$
#
# Take a world so small that we know the answer. Three outcomes, with probabilities
# $\pi=\mathrm{softmax}(\theta)$; outcome $k$ is the $k$-th corner $z=e_k$ of a triangle, and costs
# $f(z)=(w\cdot z-1)^2$. The average is a sum of three terms, so plain autograd gives the truth:

# %%
THETA = torch.tensor([0.6, -0.4, 0.1], dtype=torch.float64)
W = torch.tensor([1.5, -0.5, 2.5], dtype=torch.float64)


def cost(z: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b"]:
    """f(z) = (w . z - 1)^2: defined at the corners and between them."""
    return (z @ W - 1).square()


CORNERS = torch.eye(3, dtype=torch.float64)
theta = THETA.clone().requires_grad_()
(theta.softmax(0) * cost(CORNERS)).sum().backward()
TRUTH = theta.grad  # the enumerated gradient: what every estimator below aims at
print("costs of the outcomes ", cost(CORNERS).tolist())
print("their probabilities   ", [f"{p:.4f}" for p in THETA.softmax(0)])
print("exact gradient        ", [f"{g:+.4f}" for g in TRUTH])

# %% [markdown]
# Real worlds have $2^{200}$ outcomes, and we must make do with samples. So: draw, average the costs, and
# call `backward()`, as we always do.

# %% tags=["lab"]
theta = THETA.clone().requires_grad_()
z = CORNERS[Categorical(logits=theta).sample((1000,))]
try:
    cost(z).mean().backward()
except RuntimeError as error:
    print("RuntimeError:", str(error)[:60], "...")

# %% [markdown]
# Autograd is right to refuse. A sampled corner is a constant: it does not remember with which odds it was
# drawn. Then wiggle $\theta_0$ by $\pm h$ and watch the average, which is a *finite difference*. With fresh
# noise on the two sides, the noise is divided by $2h$:

# %% tags=["lab"]
g, rows = core.generator(SEED), {}
for h in (0.5, 0.1, 0.02):
    up, down = (THETA + s * torch.tensor([h, 0, 0]) for s in (1, -1))
    sides = [
        cost(CORNERS[core.sample_categorical(t.expand(400, 100, 3), generator=g)]).mean(1)
        for t in (up, down)
    ]
    slopes = (sides[0] - sides[1]) / (2 * h)
    rows[f"h = {h}"] = {
        "mean of 400": f"{slopes.mean():+.3f}",
        "spread of one": f"{slopes.std():.3f}",
    }
rows["exact"] = {"mean of 400": f"{TRUTH[0]:+.3f}", "spread of one": "0"}
plot.show(plot.table(rows, title="d/dθ₀ by finite differences, 2 × 100 draws each", first="step"))

# %% [markdown]
# A large $h$ has a bias, a small one drowns in noise, and a network with a million parameters would need a
# million such pairs. A sample contributes its *place* and its *weight* to the average, so there are two handles to pull:


# %% tags=["lab"]
plot.show(figures.two_handles())

# %% [markdown]
# ## 2 · Move the sample
#
# If $z$ is Gaussian we can write the draw as a smooth function of the parameters and of noise that knows
# nothing of them:
#
# $$z=\mu+\sigma\,\varepsilon,\quad \varepsilon\sim\mathcal N(0,1)\qquad\text{in code}\qquad
# \texttt{z = mean + std * eps} \tag{2}$$
#
# Now $J=\mathbb E_\varepsilon[f(\mu+\sigma\varepsilon)]$. The distribution under the average is fixed, so the
# gradient may go inside, and the chain rule does the rest:
#
# $$\frac{\partial J}{\partial\mu}=\mathbb E\bigl[f'(z)\bigr],\qquad
# \frac{\partial J}{\partial\sigma}=\mathbb E\bigl[f'(z)\,\varepsilon\bigr] \tag{3}$$
#
# This is the **pathwise** gradient, or *reparameterization trick*. *With a pencil:* for $f=z^2$ it gives
# $\mathbb E[2z]=2\mu$ and $\mathbb E[2z\varepsilon]=2\sigma$, the derivatives of
# $\mathbb E z^2=\mu^2+\sigma^2$.
#
# Networks give out $\log\sigma^2$ (`log_var`), which may be any number; then $\sigma=e^{\log\sigma^2/2}$.

# %% [markdown] exercise={"id": "draw_normal", "difficulty": 1, "importance": 5, "minutes": 8}
# ### Exercise · A draw that remembers its parameters
#
# Draw $z\sim\mathcal N(\mu,\sigma^2)$ so that gradients flow into `mean` and `log_var`. The VAE of chapter 04 contains this line.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Two numbers a draw: noise of the shape of `mean`, which knows no parameter, and $\sigma$, which comes from `log_var`.
# Equation (2) puts them together. `torch.randn` takes `generator=` and `dtype=`.
# </details>
# <details><summary>Hint: the gradient is zero, or there is none</summary>
#
# `torch.normal(mean, std)` and `Normal(...).sample()` return numbers without a past. Draw `eps` first, from
# a distribution without parameters, and then compute with it.
# </details>
# <details><summary>Hint: my samples are too wide</summary>
#
# `log_var` is $\log\sigma^2$. So `log_var.exp()` is the variance, and $\sigma$ is its root.
# </details>
# <details><summary>Hint: all samples of the batch deviate in the same way</summary>
#
# Each entry needs its own noise: `torch.randn(mean.shape, ...)`.
# </details>


# %% nbgrader={"grade_id": "draw_normal", "solution": true} autograde={"library": ["genmodels.estimators.normal"]}
def draw_normal(
    mean: Float[Tensor, "*s"],
    log_var: Float[Tensor, "*s"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*s"]:
    """One draw from N(mean, exp(log_var)) for each entry, differentiable in both [equation 2].

    All noise comes from ``generator``; the dtype is that of ``mean``.
    """
    # TODO  return mean + std * eps
    ### BEGIN SOLUTION
    eps = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + (0.5 * log_var).exp() * eps
    ### END SOLUTION


# %% nbgrader={"grade_id": "draw_normal_check", "grade": true, "points": 2}
# The derivative of each single draw, which is known; then 10,000 draws: your noise must be
# N(0, 1), fresh for each entry, and from the generator alone. You should see: 2 cases
# right.
checks.run("draw_normal", draw_normal)

# %%
draws = checks.fallback(
    draw_normal,
    lambda mean, log_var, generator=None: est.normal(
        mean, (log_var / 2).exp(), generator=generator
    ),
    works=lambda f: (
        abs(float(checks.grad(f, torch.zeros(3), torch.ones(3)).sum()) - 3) < 1e-6
        and f(torch.full((2, 2), 9.0), torch.full((2, 2), -40.0)).sub(9).abs().max() < 1e-3
    ),
)

# %% [markdown]
# *Where does 5.728164 come from?* For a Gaussian, $\mathbb E z^2=\mu^2+\sigma^2$ and
# $\mathbb E\sin z=\sin(\mu)\,e^{-\sigma^2/2}$. With $\mu=\varphi^3$, $\sigma=e^\varphi$ and
# $\mu'=3\varphi^2$, $\sigma'=\sigma$:
#
# $$\frac{dJ}{d\varphi}=2\mu\mu'+2\sigma^2+e^{-\sigma^2/2}\bigl(\mu'\cos\mu-\sigma^2\sin\mu\bigr)
# = 0.1875+5.4366+0.1041 = 5.7282 \tag{4}$$
#
# No integral, no sample; and quadrature agrees:

# %% tags=["lab"]
phi, h = 0.5, 1e-4
mu, var, slope = phi**3, math.exp(2 * phi), 3 * phi**2
by_hand = (
    2 * mu * slope + 2 * var + math.exp(-var / 2) * (slope * math.cos(mu) - var * math.sin(mu))
)
mean_cost = lambda phi: scipy.stats.norm(phi**3, math.exp(phi)).expect(
    lambda z: z * z + math.sin(z)
)
print(f"equation (4)   {by_hand:.6f}")
print(f"quadrature     {(mean_cost(phi + h) - mean_cost(phi - h)) / (2 * h):.6f}")

# %% [markdown]
# ## 3 · Move the sample when there is no formula for it
#
# A Gamma or a Beta draw may come out of a rejection loop. Is there a path to differentiate? A continuous
# draw on the line can be written as $z=F_\theta^{-1}(u)$: the number whose cumulative probability is $u$. We cannot
# write $F^{-1}$, but we need not. Along the path, $F_\theta(z(\theta))=u$ does not change; differentiate
# *that*:
#
# $$\frac{\partial F_\theta}{\partial\theta}(z)+p_\theta(z)\,\frac{dz}{d\theta}=0
# \qquad\Longrightarrow\qquad \frac{dz}{d\theta}=-\frac{\partial F_\theta(z)/\partial\theta}{p_\theta(z)} \tag{5}$$
#
# This is **implicit reparameterization**: sample however you like, then attach the derivative afterwards.
# *With a pencil:* for a Gaussian, $F=\Phi((z-\mu)/\sigma)$, and (5) gives $dz/d\mu=1$, as it should. In code
# it is one line, `z - (F - F.detach()) / p.detach()`: its value is $z$, its derivative (5). PyTorch's
# `Gamma` and `Beta` do the same inside `rsample()`. Let us check that, with $\partial F/\partial\theta$ taken
# from scipy's distribution function by a central difference:

# %% tags=["lab"]
# One draw each: dz/da by equation (5), beside what PyTorch attaches to its own draws.
torch.manual_seed(SEED)
families = {
    "Gamma(a, 1)": (lambda a: Gamma(a, torch.ones_like(a)), lambda a: scipy.stats.gamma(a)),
    "Beta(a, 2.5)": (
        lambda a: Beta(a, 2.5 * torch.ones_like(a)),
        lambda a: scipy.stats.beta(a, 2.5),
    ),
}
shape, h, paths, rows = 1.7, 1e-5, {}, {}
for name, (ours, theirs) in families.items():
    a = torch.full((4000,), shape, dtype=torch.float64, requires_grad=True)
    z = ours(a).rsample()
    (torchs,) = torch.autograd.grad(z.sum(), a)
    at = z.detach().numpy()
    formula = (
        -(theirs(shape + h).cdf(at) - theirs(shape - h).cdf(at)) / (2 * h) / theirs(shape).pdf(at)
    )
    paths[name] = at, formula
    (each,) = torch.autograd.grad(torch.sin(3 * ours(a).rsample()).sum(), a)
    J = lambda s: theirs(s).expect(lambda z: math.sin(3 * z))
    rows[name] = {
        "largest difference in dz/da": f"{np.abs(formula - torchs.numpy()).max():.1e}",
        "d/da E sin 3z, 4,000 draws": f"{each.mean():+.4f} ± {each.std() / 4000**0.5:.4f}",
        "by quadrature": f"{(J(shape + 1e-3) - J(shape - 1e-3)) / 2e-3:+.4f}",
    }
plot.show(plot.table(rows, title="Equation (5) and PyTorch's rsample", first="family"))

# %% [markdown]
# It even differentiates what looks discrete. A mixture of two Gaussians is drawn by tossing a coin first,
# and no `rsample` exists. But its $F$ is a sum of two, so (5) gives a gradient with respect to *the coin*:

# %% tags=["lab"]
n = 40_000
weight = torch.full((n,), 0.4, dtype=torch.float64, requires_grad=True)
left, right = Normal(-1.5, 0.5), Normal(1.0, 1.0)
coin = torch.rand(n, generator=core.generator(SEED), dtype=torch.float64) < 0.4
noise = torch.randn(n, generator=core.generator(SEED + 1), dtype=torch.float64)
z = torch.where(coin, -1.5 + 0.5 * noise, 1.0 + noise)
z = est.implicit(  # equation (5)
    z,
    lambda z: weight * left.cdf(z) + (1 - weight) * right.cdf(z),
    lambda z: torch.logaddexp(
        weight.log() + left.log_prob(z), (1 - weight).log() + right.log_prob(z)
    ),
)
(each,) = torch.autograd.grad(torch.sin(z).sum(), weight)
exact = math.sin(-1.5) * math.exp(-0.125) - math.sin(1.0) * math.exp(
    -0.5
)  # J is linear in the weight
print(f"d/dw E sin z: implicit {each.mean():+.4f} ± {each.std() / n**0.5:.4f},  exact {exact:+.4f}")

# %% tags=["lab"]
densities = {name: theirs(shape).pdf for name, (_, theirs) in families.items()}
plot.show(figures.implicit_paths(paths, densities))

# %% [markdown]
# ## 4 · Move the weight
#
# All of this needs two things: a $z$ that can move, and an $f$ with a slope. A corner of a triangle cannot
# move. A simulator, a game, a human's verdict have no slope. So take the other handle. Only one trick is
# needed, $\nabla p=p\,\nabla\log p$:
#
# $$\nabla_\theta\sum_z p_\theta(z)f(z)=\sum_z p_\theta(z)\,f(z)\,\nabla_\theta\log p_\theta(z)
# =\mathbb E\bigl[f(z)\,\underbrace{\nabla_\theta\log p_\theta(z)}_{\text{score}}\bigr] \tag{6}$$
#
# This is the **score function** estimator, or REINFORCE: make what was cheap likelier and what was dear
# less likely, in proportion to its cost. **The surprise: $f$ is not differentiated.** Only its values
# are used, so $f$ may have jumps.
#
# *With a pencil:* the score averages to zero, $\mathbb E[\nabla\log p]=\sum_z\nabla p=\nabla 1=0$. So any constant $b$
# may be subtracted without harm:
#
# $$\nabla_\theta J=\mathbb E\bigl[(f(z)-b)\,\nabla_\theta\log p_\theta(z)\bigr]\qquad\text{for every baseline } b \tag{7}$$
#
# **The score of a Gaussian** has two parts, one for the mean and one for the scale. The trick is often shown for the mean alone; but
# a network gives out `log_var` too. Before you derive them, see why they are needed. Let the cost be a step, $f(z)=1$ where
# $z>1$ and 0 elsewhere, so that $J=1-\Phi\bigl(\frac{1-\mu}\sigma\bigr)$. Move the sample, as in section 2:

# %% tags=["lab"]
step = lambda z: (z > 1).double()
mean, log_var = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, -0.4))
J = 1 - Normal(0.0, 1.0).cdf((1 - mean) / (log_var / 2).exp())
STEP_TRUTH = torch.stack(torch.autograd.grad(J, (mean, log_var)))
z = draws(mean.expand(1000), log_var.expand(1000), core.generator(SEED))
print("exact gradient in (mean, log_var):", [f"{v:+.4f}" for v in STEP_TRUTH])
print(
    "slope of the step at 1,000 draws: 0 at each; does autograd know a path?", step(z).requires_grad
)

# %% [markdown] exercise={"id": "gaussian_scores", "difficulty": 2, "importance": 4, "minutes": 12}
# ### Exercise · The score of a mean, and of a scale
#
# *With a pencil:* write down $\log\mathcal N(z;\mu,\sigma^2)$ with $\sigma^2=e^{\texttt{log\_var}}$, and differentiate it in $\mu$ and in
# `log_var`, with $z$ held fixed. Return both, one number for each entry. Which sign has the second where $z$ lies far out, and why?
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# With $v=\log\sigma^2$ the log-density is a quadratic in $z-\mu$ times $e^{-v}$, and a term linear in $v$. Differentiate each.
# </details>
# <details><summary>Hint: is there a check that needs no code?</summary>
#
# Both must average to zero under $\mathcal N(\mu,\sigma^2)$, as (7) needs it. What does the second one say at $z=\mu\pm\sigma$?
# </details>
# <details><summary>Hint: the second is off by a factor</summary>
#
# The derivative in $\log\sigma$ is twice that in $\log\sigma^2$, and the one in $\sigma$ has another $\sigma$ below.
# </details>


# %% nbgrader={"grade_id": "gaussian_scores", "solution": true}
def gaussian_scores(
    z: Float[Tensor, "*s"], mean: Float[Tensor, "*s"], log_var: Float[Tensor, "*s"]
) -> tuple[Float[Tensor, "*s"], Float[Tensor, "*s"]]:
    """d log p / d mean and d log p / d log_var of N(mean, exp(log_var)), at z, for each entry."""
    # TODO  two tensors of the shape of z
    ### BEGIN SOLUTION
    away = z - mean
    return away * (-log_var).exp(), (away.square() * (-log_var).exp() - 1) / 2
    ### END SOLUTION


# %% nbgrader={"grade_id": "gaussian_scores_check", "grade": true, "points": 2}
# Both scores, against autograd of torch's own Gaussian. You should see: 3 cases right.
checks.run("gaussian_scores", gaussian_scores)


# %%
def wiggled(z, mean, log_var, h=1e-2):
    """Good enough for a lab: finite differences of the log-density."""
    log_p = lambda m, v: Normal(m, (v / 2).exp()).log_prob(z)
    slope = lambda up, down: (log_p(*up) - log_p(*down)) / (2 * h)
    return (
        slope((mean + h, log_var), (mean - h, log_var)),
        slope((mean, log_var + h), (mean, log_var - h)),
    )


scores = checks.fallback(
    gaussian_scores,
    wiggled,
    works=lambda f: (
        [round(float(v), 4) for v in f(*torch.tensor([3.0, 1.0, 0.0]).unbind())] == [2.0, 1.5]
    ),
)

# %% [markdown]
# Now the step costs nothing special. Beside it the averages of your two scores alone, which must be 0:

# %% tags=["lab"]
mu, v = mean.detach().expand(40_000), log_var.detach().expand(40_000)
z = draws(mu, v, core.generator(SEED)).detach()
rows = {}
for name, score, exact in zip(("mean", "log_var"), scores(z, mu, v), STEP_TRUTH.tolist()):
    each, error = step(z) * score, lambda x: x.std() / len(x) ** 0.5
    rows[f"d / d {name}"] = {
        "cost times score": f"{each.mean():+.4f} ± {error(each):.4f}",
        "exact": f"{exact:+.4f}",
        "the score alone": f"{score.mean():+.4f} ± {error(score):.4f}",
    }
plot.show(plot.table(rows, title="A step as a cost, 40,000 draws", first="gradient"))

# %% [markdown]
# If $f$ has parameters of its own (a decoder, say), its ordinary gradient $\mathbb E[\nabla f(z)]$ comes on
# top. In code we want one tensor that we can call `backward()` on: a **surrogate**. Its value is not the
# point; its gradient is, sample by sample:
#
# $$\nabla(\text{surrogate})=(f-b)\,\nabla\log p+\nabla f,\qquad \log p(z)=\sum_{i=1}^d\log p(z_i)
# \quad\texttt{log\_prob.sum(1)} \tag{8}$$

# %% [markdown] exercise={"id": "reinforce", "difficulty": 3, "importance": 5, "minutes": 12}
# ### Exercise · REINFORCE as a surrogate
#
# Each sample is a vector of $d$ independent parts, and `log_prob` has one column for each. Return $n$
# surrogates with the gradient (8). The baseline is a constant: no gradient flows into it.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Differentiate a product in your head: what must be a constant in it, and what must not, so that its gradient is the
# first term of (8)? `.detach()` makes a constant.
# </details>
# <details><summary>Hint: the gradient with respect to the logits is zero</summary>
#
# `log_prob` must stay attached. What must be detached is the *weight* `value - baseline` in front of it.
# </details>
# <details><summary>Hint: right for a constant cost, wrong when the cost has parameters</summary>
#
# Two terms: the detached weight times the log-probability, plus `value` itself. The second brings
# $\nabla f$; the first must not.
# </details>
# <details><summary>Hint: shapes</summary>
#
# `log_prob` is (n, d), the others (n,). The parts are independent, so their log-probabilities add up.
# </details>


# %% nbgrader={"grade_id": "reinforce", "solution": true} autograde={"library": ["genmodels.estimators.score_function"]}
def reinforce(
    log_prob: Float[Tensor, "n d"],
    value: Float[Tensor, "n"],
    baseline: Float[Tensor, "n"] | float = 0.0,
) -> Float[Tensor, "n"]:
    """A surrogate for each sample, with the gradient (f - b) grad log p + grad f [Williams 1992; equation 8].

    ``log_prob``: of each part of each (constant) sample; ``value``: f of each sample, which may have a gradient.
    """
    # TODO  n numbers whose gradient is equation (8)
    ### BEGIN SOLUTION
    weight = (value - baseline).detach()
    return value + weight * log_prob.sum(1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "reinforce_check", "grade": true, "points": 4}
# The derivative of each surrogate in all that it was given, as equation (8) has it. You
# should see: 4 cases right.
checks.run("reinforce", reinforce)

# %%
surrogate = checks.fallback(
    reinforce,
    lambda log_prob, value, baseline=0.0: est.score_function(log_prob.sum(1), value, baseline),
    works=lambda f: (
        checks.grad(lambda t: f(2 * t, t.sum(1), 1.0), torch.full((3, 2), 2.0)).tolist()
        == [[7.0, 7.0]] * 3
    ),
)

# %% [markdown]
# What it is for: the average over all 8 results of three coins, with their probabilities, is the exact gradient to
# the last digit, with or without a baseline.


# %% tags=["lab"]
def bits_log_prob(logits: Tensor, z: Tensor) -> Tensor:
    """log p of each bit of z under independent coins with these logits."""
    return -F.binary_cross_entropy_with_logits(logits.expand(z.shape), z, reduction="none")


states, logits = every_state(3), torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
coins_cost = (states.sum(1) - 1.0).square()
chance = bits_log_prob(logits, states).sum(1).exp()
total = lambda t: bits_log_prob(t, states).sum(1).exp() @ coins_cost
print("exact       ", [f"{v:+.6f}" for v in checks.grad(total, logits)])
for b in (0.0, 1.7):
    estimate = lambda t, b=b: chance * surrogate(bits_log_prob(t, states), coins_cost, b)
    print(f"baseline {b}", [f"{v:+.6f}" for v in checks.grad(estimate, logits)])

# %% [markdown]
# ### The price: variance
#
# Equation (7) holds for every $b$, but one $b$ is better than another. The *variance* of $(f-b)\,s$, with
# the score $s$, is $\mathbb E[(f-b)^2s^2]-(\nabla J)^2$: a parabola in $b$. *With a pencil:* its lowest
# point is
#
# $$b^*=\frac{\mathbb E[f\,s^2]}{\mathbb E[s^2]}\qquad\text{in code}\qquad
# \texttt{(p * f * s2).sum() / (p * s2).sum()} \tag{9}$$
#
# which is *not* the mean cost (Greensmith, Bartlett and Baxter 2004). It is one when $f$ and $s^2$ are uncorrelated. Our small
# world shows the whole parabola, exactly:

# %% tags=["lab"]
p, f = THETA.softmax(0), cost(CORNERS)
score = CORNERS - p  # row k: the gradient of log p(e_k) with respect to theta
s2 = score.square().sum(1)
best = (p * f * s2).sum() / (p * s2).sum()  # equation (9)
b = torch.linspace(-2, 5, 200, dtype=torch.float64)
parabola = (p * (f - b[:, None]).square() * s2).sum(1) - TRUTH.square().sum()
at = lambda b: float((p * (f - b).square() * s2).sum() - TRUTH.square().sum())
BEST_BASELINE = float(best)
for name, value in {
    "no baseline": 0.0,
    "the mean cost": float(p @ f),
    "equation (9)": BEST_BASELINE,
}.items():
    print(f"{name:14s} b = {value:.4f}   variance of one sample {at(value):.4f}")
print(f"the lowest point of the curve on a grid of 200 baselines: b = {b[parabola.argmin()]:.2f}")

# %% tags=["lab"]
marked = {"none": 0.0, "mean cost": float(p @ f), "optimal": BEST_BASELINE}
marked = {name: (value, at(value)) for name, value in marked.items()}
plot.show(figures.parabola(b, parabola, marked))

# %% [markdown]
# ### Why we do not use REINFORCE for everything
#
# It judges a sample by *one number*. With $d$ dimensions, each coordinate's gradient carries the noise of
# the costs of all the others. Take $z\sim\mathcal N(\mathbf 1,I_d)$, $f=|z|^2$, and the gradient with respect
# to the first mean. Pathwise has variance 4 whatever $d$ is. *With a pencil* (or believe the dots): the
# score function has $30+22(d-1)+4(d-1)^2$.

# %% tags=["lab"]
sizes, count = [1, 2, 4, 8, 16, 32, 64], 1000 if PROFILE == "smoke" else 20_000
measured = {"pathwise": [], "score function": []}
for d in sizes:
    mean = torch.ones(count, d, dtype=torch.float64, requires_grad=True)
    z = draws(mean, torch.zeros(count, d, dtype=torch.float64), core.generator(SEED))
    (path,) = torch.autograd.grad(z.square().sum(), mean)
    fixed = z.detach()
    loss = surrogate(Normal(mean, 1.0).log_prob(fixed), fixed.square().sum(1))
    (weigh,) = torch.autograd.grad(loss.sum(), mean)
    for name, each in zip(measured, (path, weigh)):
        measured[name].append(each[:, 0].var().item())
formula = [30 + 22 * (d - 1) + 4 * (d - 1) ** 2 for d in sizes]
for d, path, weigh, want in zip(sizes, *measured.values(), formula):
    print(
        f"d = {d:2d}   pathwise {path:5.2f} (exact 4)   score function {weigh:9.1f} (exact {want:6d})"
    )

# %% tags=["lab"]
plot.show(figures.against_dimension(sizes, measured, formula))

# %% [markdown]
# So is pathwise the quieter one? **Predict:** $f=\sin\omega z$ with $z\sim\mathcal N(0,1)$, a cost that stays between -1 and 1
# but wiggles $\omega$ times as fast. Pathwise reads the *slope*, $\omega\cos\omega z$; the score function reads the *value*,
# $z\sin\omega z$. *With a pencil* ($\mathbb E\cos cz=e^{-c^2/2}$, and its second derivative in $c$), the variances are
#
# $$\omega^2\Bigl(\tfrac{1+e^{-2\omega^2}}2-e^{-\omega^2}\Bigr)\qquad\text{and}\qquad
# \tfrac{1-(1-4\omega^2)\,e^{-2\omega^2}}2-\omega^2e^{-\omega^2}$$

# %% tags=["lab"]
omegas, wild = [0.5, 1.0, 2.0, 5.0, 10.0], {"pathwise": [], "score function": []}
slow = lambda w: w**2 * ((1 + math.exp(-2 * w**2)) / 2 - math.exp(-(w**2)))
steady = lambda w: (1 - (1 - 4 * w**2) * math.exp(-2 * w**2)) / 2 - w**2 * math.exp(-(w**2))
for w in omegas:
    mean = torch.zeros(count, 1, dtype=torch.float64, requires_grad=True)
    z = draws(mean, torch.zeros_like(mean), core.generator(SEED))
    (path,) = torch.autograd.grad((w * z).sin().sum(), mean)
    fixed = z.detach()
    loss = surrogate(Normal(mean, 1.0).log_prob(fixed), (w * fixed).sin()[:, 0])
    (weigh,) = torch.autograd.grad(loss.sum(), mean)
    for name, each in zip(wild, (path, weigh)):
        wild[name].append(each.var().item())
    print(
        f"ω = {w:4.1f}   pathwise {path.var():6.3f} (exact {slow(w):6.3f})   score function {weigh.var():.3f} (exact {steady(w):.3f})"
    )
plot.show(figures.against_frequency(omegas, wild, slow, steady))

# %% [markdown]
# At $\omega=10$ the variances are 50 and ½ by the formulas: here the score function is a hundred times quieter. **Which
# handle is quieter depends on $f$**: pathwise pays for steep slopes, the score function for large values and for many dimensions.

# %% [markdown]
# ## 5 · A baseline for free
#
# The best baseline needs expectations that we do not have. But we draw $k$ independent samples anyway, and their costs tell
# us what to expect. The obvious baseline is the mean of all $k$ costs. *With a pencil:* what does it do to the gradient?
# In the term of sample $i$ stands
#
# $$-\mathbb E\Bigl[\tfrac1k\sum_jf(z_j)\;s_i\Bigr],\qquad \mathbb E[f(z_j)\,s_i]=\begin{cases}\nabla J&j=i\\0&j\ne i\end{cases} \tag{10}$$
#
# The own cost makes up $1/k$ of the mean, and with it goes $1/k$ of the gradient: **it is biased by the factor $1-1/k$**,
# half of it gone at $k=2$. So which costs may judge sample $i$?

# %% [markdown] exercise={"id": "leave_one_out", "difficulty": 2, "importance": 4, "minutes": 8}
# ### Exercise · Leave one out
#
# `value[i, j]` is the cost of sample $i$ of $k\ge2$ for input $j$ of the batch. Return for each the mean cost that leaves
# its gradient unbiased by (10) and wastes no sample. Language models are tuned with it
# ([RLOO](https://arxiv.org/abs/2402.14740)); GRPO ([DeepSeekMath](https://arxiv.org/abs/2402.03300)) keeps the own sample in the mean.
#
# <details><summary>Hint: the mean gradient comes out too small</summary>
#
# Is the own cost really left out, of the sum *and* of the count?
# </details>
# <details><summary>Hint: I do not know how to begin</summary>
#
# A loop over the samples is allowed: the mean of `value` without one of its rows.
# </details>
# <details><summary>Hint: without a loop</summary>
#
# The sum of the others is the sum of all minus its own.
# </details>
# <details><summary>Hint: which axis?</summary>
#
# Samples of the *same* input are compared: dimension 0. Another input has other costs.
# </details>


# %% nbgrader={"grade_id": "leave_one_out", "solution": true} autograde={"library": ["genmodels.estimators.leave_one_out"]}
def leave_one_out(value: Float[Tensor, "k b"]) -> Float[Tensor, "k b"]:
    """For each of k samples the mean of the other k - 1 values [Kool et al. 2019]."""
    # TODO  a baseline for each sample from the others
    ### BEGIN SOLUTION
    return (value.sum(0) - value) / (len(value) - 1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "leave_one_out_check", "grade": true, "points": 2}
# A few costs by hand, against a list from which one is really left out. You should see: 3
# cases right.
checks.run("leave_one_out", leave_one_out)

# %%
others = checks.fallback(
    leave_one_out,
    est.leave_one_out,
    works=lambda f: torch.allclose(
        f(torch.tensor([[1.0, 5.0], [3.0, 9.0]])), torch.tensor([[3.0, 9.0], [1.0, 5.0]])
    ),
)

# %% [markdown]
# Two samples from the world of section 1, all 9 pairs with their probabilities. With your baseline the mean is the
# exact gradient; with the mean of both costs, half of it is gone:

# %% tags=["lab"]
pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T  # (2 samples, 9 pairs)
p, f = THETA.softmax(0), cost(CORNERS)
chance, score = p[pairs].prod(0), CORNERS - p
for name, baseline in (("leave one out", others(f[pairs])), ("mean of both", f[pairs].mean(0))):
    mean = ((f[pairs] - baseline)[..., None] * score[pairs]).mean(0)
    print(f"{name:14s} mean gradient", [f"{v:+.4f}" for v in chance @ mean])
print("exact gradient              ", [f"{v:+.4f}" for v in TRUTH])

# %% [markdown]
# ## 6 · Gumbel-max: move a sample that cannot move
#
# REINFORCE needs neither a path nor a slope, and pays with noise. Can a *category* be written as a function of parameters
# and noise, as a Gaussian can? Yes, and the recipe is one line. Add **Gumbel noise** to each logit and
# take the largest:
#
# $$z=\arg\max_k\,(\ell_k+g_k),\qquad g_k=-\log(-\log u_k),\quad u_k\sim\mathcal U(0,1)
# \qquad\Longrightarrow\qquad P(z=k)=\frac{e^{\ell_k}}{\sum_j e^{\ell_j}} \tag{11}$$
#
# **Proof**, with a pencil. The noise has the distribution function $P(g\le x)=e^{-e^{-x}}$, so the density
# of $\ell_k+g_k$ at $x$ is $e^{\ell_k-x}\,e^{-e^{\ell_k-x}}$. Category $k$ wins at the height $x$ if all
# others stay below $x$:
#
# $$P(z=k)=\int e^{\ell_k-x}\,e^{-e^{\ell_k-x}}\prod_{j\ne k}e^{-e^{\ell_j-x}}\,dx
# =\int e^{\ell_k-x}\,e^{-S e^{-x}}\,dx,\qquad S=\sum_j e^{\ell_j} \tag{12}$$
#
# All the exponentials have become one. Substitute $t=e^{-x}$: the integral is
# $e^{\ell_k}\int_0^\infty e^{-St}\,dt=e^{\ell_k}/S$. $\square$ Here is the integral (12) itself:

# %% tags=["lab"]
S = THETA.exp().sum().item()
for k, logit in enumerate(THETA.tolist()):
    area, _ = scipy.integrate.quad(lambda x: math.exp(logit - x - S * math.exp(-x)), -8, 50)
    print(f"category {k}: integral {area:.8f}   softmax {THETA.softmax(0)[k]:.8f}")

# %% [markdown] exercise={"id": "gumbel_max", "difficulty": 2, "importance": 4, "minutes": 8}
# ### Exercise · Draw a category
#
# The noise comes in from outside, as uniform numbers `u`: so the function itself is not random at all, and
# we can check each single draw.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Equation (11) from right to left: numbers into noise, noise onto logits, and the place of the largest along the
# last dimension.
# </details>
# <details><summary>Hint: the frequencies are wrong</summary>
#
# Two logs, two minus signs: $g=-\log(-\log u)$. It is positive more often than not (its mean is 0.577).
# </details>
# <details><summary>Hint: I have logits; must I take a softmax first?</summary>
#
# No. The noise is added to *logits*, and a constant added to all of them changes nothing.
# </details>


# %% nbgrader={"grade_id": "gumbel_max", "solution": true} autograde={"library": ["genmodels.core.sample_categorical", "genmodels.core.gumbel"]}
def gumbel_max(logits: Float[Tensor, "*b v"], u: Float[Tensor, "*b v"]) -> Int[Tensor, "*b"]:
    """A draw from softmax(logits) along the last dimension, made from uniform numbers u in (0, 1) [equation 11]."""
    # TODO  the category with the largest noisy logit
    ### BEGIN SOLUTION
    return (logits - torch.log(-torch.log(u))).argmax(-1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "gumbel_max_check", "grade": true, "points": 2}
# Single draws, with Gumbel noise from scipy's quantile function. You should see: 4 cases
# right.
checks.run("gumbel_max", gumbel_max)

# %%
category = checks.fallback(
    gumbel_max,
    lambda logits, u: core.sample_categorical(
        logits, generator=core.generator(int(float(u.flatten()[0]) * 2**31))
    ),
    works=lambda f: (
        f(torch.tensor([[0.0, 0.0], [0.0, 9.0]]), torch.tensor([[0.9, 0.1], [0.5, 0.5]])).tolist()
        == [0, 1]
    ),
)

# %% [markdown]
# ## 7 · Gumbel-softmax: melt the argmax
#
# Now the noise is outside and only `argmax` stands between us and a derivative. It is flat almost
# everywhere, and jumps. So melt it: a softmax at a **temperature** $\tau$ is its smooth version.
#
# $$\tilde z=\mathrm{softmax}\bigl((\ell+g)/\tau\bigr)\qquad\text{in code}\qquad
# \texttt{((logits + g) / tau).softmax(-1)} \tag{13}$$
#
# The largest entry of $\tilde z$ is an exact draw, whatever $\tau$: a softmax keeps the order. As $\tau\to0$, $\tilde z$
# runs into a corner of the triangle; as $\tau\to\infty$ it sits in the middle. But between the corners
# $f(\tilde z)$ is not the cost that we pay: **the gradient is that of another problem.** A warm $\tau$
# means bias; a cold one means variance, since $\tilde z$ jumps again. Section 9 measures both.
#
# **Straight-through** wants both: on the way forward the exact corner, on the way back the slope of
# $\tilde z$,
#
# $$z=\texttt{hard + soft - soft.detach()} \tag{14}$$
#
# *With a pencil:* its value is `hard`; its derivative is that of `soft`. No true function has this value and
# this derivative, so it is biased as well. The network at least sees true corners.

# %% [markdown] exercise={"id": "gumbel_softmax", "difficulty": 3, "importance": 5, "minutes": 12}
# ### Exercise · Gumbel-softmax and straight-through
#
# Return (13), or with `hard=True` the one-hot corner of its largest entry with the gradient of the soft one.
# `u` may be exactly 0 or 1 (rounding to float32 does that); the result must stay finite.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# First the noise of `gumbel_max`, with `u` kept away from its ends; then (13). The hard corner is a one-hot vector
# (`F.one_hot`) of the place of the largest entry.
# </details>
# <details><summary>Hint: a high temperature gives <i>sharper</i> samples</summary>
#
# Divide by `tau`; and divide the noise as well: $(\ell+g)/\tau$.
# </details>
# <details><summary>Hint: <code>nan</code> where u is 1</summary>
#
# $-\log 1=0$, and the log of that is $-\infty$. Clamp `u` away from both ends first, by no more than the
# dtype needs: `torch.finfo(u.dtype).eps`.
# </details>
# <details><summary>Hint: with <code>hard=True</code> no gradient arrives</summary>
#
# `argmax` and `one_hot` cut the graph. Equation (14) ties it together again.
# </details>


# %% nbgrader={"grade_id": "gumbel_softmax", "solution": true} autograde={"library": ["genmodels.estimators.gumbel_softmax", "genmodels.estimators.straight_through", "genmodels.core.straight_through", "genmodels.core.gumbel"]}
def gumbel_softmax(
    logits: Float[Tensor, "*b v"], tau: float, u: Float[Tensor, "*b v"], hard: bool = False
) -> Float[Tensor, "*b v"]:
    """A relaxed one-hot draw from uniform numbers u in [0, 1] [Jang 2016, Maddison 2016; equations 13, 14]."""
    # TODO  the soft sample; with hard, its corner with the soft gradient
    ### BEGIN SOLUTION
    eps = torch.finfo(u.dtype).eps
    g = -torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = ((logits + g) / tau).softmax(-1)
    if not hard:
        return soft
    corner = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return corner + soft - soft.detach()
    ### END SOLUTION


# %% nbgrader={"grade_id": "gumbel_softmax_check", "grade": true, "points": 4}
# Soft and hard samples and the gradients of both, with noise from scipy and the Jacobian of
# a softmax; then u at its ends. You should see: 4 cases right.
checks.run("gumbel_softmax", gumbel_softmax)


# %%
def library_relaxed(logits: Tensor, tau: float, u: Tensor, hard: bool = False) -> Tensor:
    """The library's version, which makes its own noise: your first uniform number becomes its seed."""
    seed = int(float(u.flatten()[0]) * 2**31)
    return est.gumbel_softmax(logits, tau, hard=hard, generator=core.generator(seed))


relaxed = checks.fallback(
    gumbel_softmax,
    library_relaxed,
    works=lambda f: (
        abs(float(f(torch.zeros(2), 1.0, torch.tensor([0.5, 0.5]))[0]) - 0.5) < 1e-6
        and float(f(torch.tensor([9.0, 0.0]), 0.1, torch.tensor([0.5, 0.5]), True)[0]) > 0.999
        and float(
            checks.grad(lambda t: f(t, 1.0, torch.full((2,), 0.5), True)[0], torch.zeros(2))[0]
        )
        > 0.2
    ),
)

# %% [markdown]
# ## 8 · Exact lab: bias and variance of every estimator
#
# Back to the triangle of section 1, where the truth is enumerated. Every estimator gets the same budget,
# **four samples** for one estimate, so that variances may be compared, and makes 20,000 estimates. The bias
# is printed with its standard error: a bias is believed only when it is many of these.

# %% tags=["lab"]
ESTIMATES, SAMPLES = (2000 if PROFILE == "smoke" else 20_000), 4


def uniform(*size: int, seed: int = SEED) -> Tensor:
    return torch.rand(size, generator=core.generator(seed), dtype=torch.float64)


def by_score(theta: Tensor, baseline: Callable[[Tensor], Tensor], seed: int) -> Tensor:
    """REINFORCE over categories, with your surrogate; theta (n, k, 3) gives (n, k) surrogates."""
    index = category(theta.detach(), uniform(*theta.shape, seed=seed))
    value = cost(CORNERS[index])
    log_prob = theta.log_softmax(-1).gather(-1, index[..., None])
    b = baseline(value.T).T  # (samples, estimates), as leave_one_out wants it
    return surrogate(log_prob.flatten(0, 1), value.flatten(), b.flatten()).reshape(value.shape)


def by_relaxing(tau: float, hard: bool) -> Callable:
    """Gumbel-softmax with your function; hard: straight-through on top."""
    return lambda theta, seed: cost(relaxed(theta, tau, uniform(*theta.shape, seed=seed), hard))


def plain_straight_through(theta: Tensor, seed: int) -> Tensor:
    """A one-hot draw with the slope of the probabilities."""
    hard = CORNERS[category(theta.detach(), uniform(*theta.shape, seed=seed))]
    soft = theta.softmax(-1)
    return cost(hard + soft - soft.detach())


ESTIMATORS = {
    "REINFORCE": lambda theta, seed: by_score(theta, lambda v: 0 * v, seed),
    "with the best constant": lambda theta, seed: by_score(
        theta, lambda v: 0 * v + BEST_BASELINE, seed
    ),
    "leave one out": lambda theta, seed: by_score(theta, others, seed),
    "mean of all, own included": lambda theta, seed: by_score(
        theta, lambda v: v.mean(0).expand_as(v), seed
    ),
    "straight-through": plain_straight_through,
    "Gumbel-softmax, τ = 2": by_relaxing(2.0, False),
    "Gumbel-softmax, τ = 0.5": by_relaxing(0.5, False),
    "Gumbel-softmax, τ = 0.1": by_relaxing(0.1, False),
    "Gumbel straight-through, τ = 0.5": by_relaxing(0.5, True),
}


def estimates(of: Callable, n: int = ESTIMATES, seed: int = SEED) -> Tensor:
    """n independent estimates of the gradient, (n, 3), each the mean over SAMPLES samples."""
    theta = THETA.expand(n, SAMPLES, 3).clone().requires_grad_()
    (each,) = torch.autograd.grad(of(theta, seed).sum(), theta)
    return each.mean(1)


def bias_length(m: est.Moments) -> float:
    """Length of the bias; a mean of noisy estimates is never exactly right, and that share is taken off."""
    return float((m.bias.square().sum() - m.stderr.square().sum()).clamp_min(0).sqrt())


measured = {name: est.moments(estimates(f), TRUTH) for name, f in ESTIMATORS.items()}
rows = {}
for name, m in measured.items():
    sigmas = float((m.bias / m.stderr).abs().max())
    rows[name] = {
        "length of the bias": f"{bias_length(m):.3f} ± {m.stderr.norm():.3f}",
        "in standard errors": f"{sigmas:.1f}",
        "standard deviation": float(m.variance.sum().sqrt()),
        "root mean square error": float((m.bias.square().sum() + m.variance.sum()).sqrt()),
    }
note = f"the exact gradient has length {TRUTH.norm():.3f}; {SAMPLES} samples an estimate"
plot.show(plot.table(rows, title=note, first="estimator", best={"root mean square error": "min"}))

# %% tags=["lab"]
bias = [bias_length(m) for m in measured.values()]
noise = [float(m.variance.sum().sqrt()) for m in measured.values()]
error = [float(m.stderr.norm()) for m in measured.values()]
length = float(TRUTH.norm())
plot.show(figures.bias_and_noise(list(measured), bias, error, noise, length))

# %% [markdown]
# Read it as two families. Those that move the weight are unbiased, except the one whose baseline contains
# its own sample: it has lost a quarter of the gradient ($1/k$ with $k=4$). Those that move the sample are
# biased, and how much depends on the temperature. Plain straight-through is off by *more than the length of
# the gradient itself*: it trusts the slope of $f$ at the corners, and these slopes point into a cheap valley
# *between* them, where no outcome ever falls.
#
# Mind the last column, too. With four samples a little bias may cost less than a lot of noise. Average a
# thousand estimates, and the noise is gone, but the bias stays.
#
# ## 9 · Live lab: the temperature
#
# Left, 400 relaxed samples **by your `gumbel_softmax`** in the triangle; the shading is the cost that
# each place pays. Right, bias and standard deviation of one estimate; the lines are leave-one-out's. Move
# the slider from cold to warm. Where is the sum of the two smallest? And look at the pale valley in the
# middle of the triangle: cheap places that no true outcome ever visits. That is where the warm gradient
# leads.


# %% tags=["lab"]
TEMPERATURES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0)
RIVAL = float(measured["leave one out"].variance.sum().sqrt())


def at_temperature(tau: float = 0.7, straight_through: bool = False, seed: int = 0) -> plot.Picture:
    """Samples and errors of your function at one temperature."""
    drawn = relaxed(THETA.expand(400, 3), tau, uniform(400, 3, seed=seed), straight_through)
    m = est.moments(estimates(by_relaxing(tau, straight_through), 3000, seed), TRUTH)
    bias, noise = bias_length(m), float(m.variance.sum().sqrt())
    kind = "straight-through" if straight_through else "soft"
    error = float(m.stderr.norm())
    return figures.at_temperature(drawn.detach(), cost, tau, kind, bias, error, noise, RIVAL)


_ = lab.scrub(at_temperature, tau=TEMPERATURES, straight_through=(False, True))

# %% [markdown]
# The same at a glance, bias against noise along the whole range of temperatures:

# %% tags=["lab"]
path = {}
for name, hard in (("soft", False), ("straight-through", True)):
    found = [
        est.moments(estimates(by_relaxing(t, hard), ESTIMATES // 4), TRUTH) for t in TEMPERATURES
    ]
    path[name] = [(bias_length(m), float(m.variance.sum().sqrt())) for m in found]
plot.show(figures.price_of_a_temperature(path, TEMPERATURES, RIVAL))

# %% [markdown]
# ## 10 · Scores with no slope: argmax, accuracy, F1
#
# The same disease, without any randomness in sight. We *report* accuracy or F1, and they are step functions
# of the logits: their gradient is 0 almost everywhere. The same cure: pretend that the decision is drawn from
# the probabilities, and replace counts by their expectations.
#
# | hard | smooth surrogate | in code |
# |---|---|---|
# | $\arg\max_k\ell_k$ | $\sum_k k\,\mathrm{softmax}(\ell/\tau)_k$ | `(logits / tau).softmax(-1) @ index` |
# | accuracy, mean of $[\arg\max_k\ell_k=y]$ | mean of $\mathrm{softmax}(\ell)_y$ | `logits.softmax(-1).gather(-1, y[:, None]).mean()` |
# | $F_1=\frac{2\,TP}{2\,TP+FP+FN}$ | the same, with expected counts | `est.soft_f1(probs, labels)` |
#
# With probabilities $p_i$ and labels $y_i\in\{0,1\}$, the expected counts are
#
# $$TP=\sum_i p_iy_i,\qquad FP=\sum_i p_i(1-y_i),\qquad FN=\sum_i(1-p_i)\,y_i \tag{15}$$
#
# *With a pencil:* $2TP+FP+FN=\sum_i p_i+\sum_i y_i$.

# The truth averages over all $2^n$ decisions, each coin with its own $p_i$; the sums (15) are linear, so they agree with it.
# The *ratio* is not linear: the smooth $F_1$ is not the mean of $F_1$ over the decisions.

# %% tags=["lab"]
probs, labels = torch.tensor([0.9, 0.2, 0.35, 0.7]).double(), torch.tensor([1.0, 0, 1, 0]).double()
decisions = every_state(4)
chance = torch.where(decisions == 1, probs, 1 - probs).prod(1)
tp, size = decisions @ labels, decisions.sum(1) + labels.sum()
smooth_f1 = est.soft_f1
print(f"smooth F1                     {smooth_f1(probs, labels):.4f}")
print(f"ratio of the expected counts  {2 * chance @ tp / (chance @ size):.4f}")
print(f"expected F1                   {chance @ (2 * tp / size):.4f}")

# %% [markdown]
# ### When they mislead
#
# **Argmax** first. A network hesitates between the digits 3 and 8. The smooth argmax says:

# %% tags=["lab"]
doubt = torch.full((10,), -8.0).index_fill(0, torch.tensor([3, 8]), 4.0)
for tau in (1.0, 0.1):
    print(
        f"τ = {tau}: between a 3 and an 8, the smooth argmax is {est.expected_argmax(doubt, tau):.2f}"
    )

# %% [markdown]
# A *five*, which nobody believes, at any temperature. It averages indices, and means something only where
# the order of the classes does.
#
# **Accuracy** next. *With a pencil:* with $m$ the margin of the right class against one other,
# $p=\sigma(m)$, and $dp/dm=p(1-p)$; for the cross-entropy it is $d\log p/dm=1-p$. The first vanishes on
# *both* sides: an example that is badly wrong teaches nothing.

# %% tags=["lab"]
plot.show(figures.pulls())

# %% [markdown]
# Is that good or bad? Both, and we can measure it on 8 x 8 digits with a linear softmax. First, from a
# confident and wrong start; then with 40 % of the training labels drawn at random. **Predict:** which loss
# wins where?

# %% tags=["lab"]
pixels = {s: data.digits(s).x.flatten(1) for s in ("train", "test")}
answers = {s: data.digits(s).label for s in ("train", "test")}
FIT = 100 if PROFILE == "smoke" else 400


def fit(
    loss: Callable[[Tensor, Tensor], Tensor], y: Tensor, wide: float = 0.0, outputs: int = 10
) -> nn.Linear:
    """A linear model on the training digits, trained on all of them at once; ``wide`` spoils the start."""
    torch.manual_seed(SEED)
    model = nn.Linear(64, outputs)
    nn.init.normal_(model.weight, std=max(wide, 1e-3))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(FIT):
        value = loss(model(pixels["train"]), y)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return model.requires_grad_(False)


OBJECTIVES = {
    "cross-entropy": F.cross_entropy,
    "smooth accuracy": lambda logits, y: -est.soft_accuracy(logits, y),
    "smooth argmax, squared": lambda logits, y: (est.expected_argmax(logits) - y).square().mean(),
}
y = answers["train"]
random_labels = torch.randint(0, 10, y.shape, generator=core.generator(SEED))
noisy = torch.where(torch.rand(len(y), generator=core.generator(SEED + 1)) < 0.4, random_labels, y)
rows = {}
for name, loss in OBJECTIVES.items():
    row = {}
    for setting, (labels, wide) in {
        "clean": (y, 0.0),
        "confident, wrong start": (y, 5.0),
        "40 % random labels": (noisy, 0.0),
    }.items():
        found = fit(loss, labels, wide)(pixels["test"])
        row[f"accuracy: {setting}"] = float((found.argmax(-1) == answers["test"]).double().mean())
        if setting == "clean":
            off = (est.expected_argmax(found) - answers["test"]).square().mean().sqrt()
            row["root mean square of (smooth argmax - y)"] = float(off)
    rows[name] = row
plot.show(
    plot.table(
        rows,
        title="Trained for one thing, measured by another: 250 test digits",
        first="trained by",
    )
)

# %% [markdown]
# The smooth accuracy is deaf to what it gets badly wrong. From a bad start that is a trap; with wrong labels
# it is wisdom, because it is deaf to *those*. The squared smooth argmax is the worst of the three *even by its
# own measure*, the second column: to get from a 3 to an 8, an average index must slide through 4, 5, 6 and 7.
# That a loss is differentiable does not mean that it is a good road.
#
# **F1** last. "Is it an 8?" One digit in ten is, so "never" is right nine times in ten:

# %% tags=["lab"]
eights = {s: (answers[s] == 8).float() for s in answers}
GOALS = {
    "cross-entropy": lambda p, y: F.binary_cross_entropy(p.clamp(1e-6, 1 - 1e-6), y),
    "smooth accuracy": lambda p, y: -(p * y + (1 - p) * (1 - y)).mean(),
    "smooth F1": lambda p, y: -smooth_f1(p, y),
}
rows, probabilities = {}, {}
for name, goal in GOALS.items():
    model = fit(
        lambda logits, y, goal=goal: goal(logits[:, 0].sigmoid(), y), eights["train"], outputs=1
    )
    p, y = model(pixels["test"])[:, 0].sigmoid(), eights["test"]
    probabilities[name], yes = p, (p > 0.5).float()
    batches = torch.stack([smooth_f1(a, b) for a, b in zip(p.split(25), y.split(25))]).mean()
    rows[name] = {
        "accuracy": float((yes == y).double().mean()),
        "F1": float(smooth_f1(yes, y)),
        "smooth F1": float(smooth_f1(p, y)),
        "smooth F1, mean over batches of 25": float(batches),
        "nats an example": float(F.binary_cross_entropy(p.clamp(1e-6, 1 - 1e-6), y)),
        "0.1 < p < 0.9": float(((p > 0.1) & (p < 0.9)).double().mean()),
    }
rows["“never”"] = {"accuracy": float((eights["test"] == 0).double().mean()), "F1": 0.0}
plot.show(plot.table(rows, title="Is it an 8? 250 test digits", first="trained by"))

# %% [markdown]
# Four warnings in one table. The smooth accuracy went straight to "never", and stays: the few eights are by now
# badly wrong, and to those it is deaf. A surrogate gains nothing by doubt and drives its probabilities to 0 and
# 1; the nats tell you that they are no longer *probabilities*, and here the smooth F1 does not even buy a
# better F1 than the cross-entropy. A model that is honest about its doubts has a smooth F1 below its F1, so do
# not compare one with the other. And **the mean of F1 over batches is not the F1 of the data**, because it is a
# ratio: a batch without an 8 contributes 0, whatever you do.
#
# ## 11 · Train it: a layer of coins
#
# Now the real thing: a network with dice inside. An encoder looks at an 8 x 8 digit and gives the odds of
# **eight coins**; they are thrown; a decoder must redraw the digit from the eight results. We train
# $\mathbb E_{z\sim q(z|x)}[-\log p(x|z)]$, in nats a digit. Eight coins have 256 outcomes, so we can
# *enumerate* the loss of every digit, and its exact gradient. Nobody with 200 coins can do that; we do it
# here to know the truth. (It is no VAE yet: the code costs nothing. Chapter 04 sends the bill.)
#
# All estimators get four throws a digit, the same network, the same steps, the same learning rate.

# %% tags=["lab"]
COINS, THROWS, BATCH = 8, 4, 64
CODES = every_state(COINS).float()
binary = {s: (x > 0.5).float() for s, x in pixels.items()}


class CoinCoder(nn.Module):
    """Digit to the logits of eight coins, and eight results back to a digit."""

    def __init__(self, hidden: int = 128):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, COINS))
        self.decode = nn.Sequential(nn.Linear(COINS, hidden), nn.ReLU(), nn.Linear(hidden, 64))

    def cost(self, z: Float[Tensor, "k b 8"], x: Float[Tensor, "b 64"]) -> Float[Tensor, "k b"]:
        """-log p(x | z) in nats."""
        logits = self.decode(z)
        return F.binary_cross_entropy_with_logits(
            logits, x.expand_as(logits), reduction="none"
        ).sum(-1)

    def exact(self, x: Float[Tensor, "b 64"]) -> Float[Tensor, "b"]:
        """The expected cost, over all 256 codes."""
        log_q = bits_log_prob(self.encode(x)[:, None], CODES.expand(len(x), -1, -1)).sum(-1)
        logits = self.decode(CODES)
        costs = -(x @ F.logsigmoid(logits).T + (1 - x) @ F.logsigmoid(-logits).T)
        return (log_q.exp() * costs).sum(1)


def thrown(model: CoinCoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (k, b, 8) and throws."""
    logits = model.encode(x).expand(THROWS, -1, -1)
    return logits, torch.bernoulli(logits.detach().sigmoid())


def weighted(model: CoinCoder, x: Tensor, baseline: Callable[[Tensor], Tensor]) -> Tensor:
    """Your REINFORCE: every throw of every digit is one sample."""
    logits, z = thrown(model, x)
    value = model.cost(z, x)
    log_prob = bits_log_prob(logits, z)
    return surrogate(log_prob.flatten(0, 1), value.flatten(), baseline(value.detach()).flatten())


def through(model: CoinCoder, x: Tensor) -> Tensor:
    """Plain straight-through."""
    logits, z = thrown(model, x)
    p = logits.sigmoid()
    return model.cost(z + p - p.detach(), x)


def melted(model: CoinCoder, x: Tensor, tau: float, hard: bool) -> Tensor:
    """Your Gumbel-softmax: a coin is a category of two."""
    logits = model.encode(x).expand(THROWS, -1, -1)
    two = torch.stack([torch.zeros_like(logits), logits], -1)
    return model.cost(relaxed(two, tau, torch.rand(two.shape), hard)[..., 1], x)


TRAINERS = {
    "exact gradient": lambda model, x: model.exact(x),
    "REINFORCE": lambda model, x: weighted(model, x, torch.zeros_like),
    "leave one out": lambda model, x: weighted(model, x, others),
    "straight-through": through,
    "Gumbel-softmax, τ = 1": lambda model, x: melted(model, x, 1.0, False),
    "Gumbel straight-through, τ = 1": lambda model, x: melted(model, x, 1.0, True),
    "no coins: odds passed on": lambda model, x: model.cost(model.encode(x).sigmoid()[None], x),
}
STEPS = {"smoke": 40, "laptop": 1500, "gpu": 10_000}[PROFILE]
SEEDS = {"smoke": 1, "laptop": 3, "gpu": 10}[PROFILE] if TRAIN else 1


def test_nats(model: CoinCoder) -> float:
    """Exact expected cost of a test digit."""
    with torch.no_grad():
        return model.exact(binary["test"]).mean().item()


# %% tags=["lab", "train"]
nats, curves, seconds, coders = {}, {}, {}, {}
for name, loss in TRAINERS.items():
    nats[name], begin = [], time.process_time()
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        model, curve = CoinCoder(), []
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for step in range(STEPS):
            x = binary["train"][torch.randint(len(binary["train"]), (BATCH,))]
            value = loss(model, x).mean()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            if step and step % max(1, STEPS // 30) == 0:
                curve.append((step, test_nats(model)))
        nats[name].append(test_nats(model))
    curves[name], coders[name] = tuple(zip(*curve)), model
    seconds[name] = (time.process_time() - begin) / SEEDS / STEPS * 1000
ink = binary["train"].mean(0).clamp(0.002, 0.998)
alone = (
    F.binary_cross_entropy(ink.expand_as(binary["test"]), binary["test"], reduction="none")
    .sum(1)
    .mean()
    .item()
)

# %% tags=["lab", "hide-input"]
# Folded: the code of the picture and of the table.
rows = {}
for name, found in nats.items():
    found = torch.tensor(found)
    spread = f" ± {found.std() / len(found) ** 0.5:.2f}" if len(found) > 1 else ""
    rows[name] = {"test nats": f"{found.mean():.2f}{spread}", "ms a step": seconds[name]}
rows["independent pixels, no code"] = {"test nats": f"{alone:.2f}"}
plot.show(
    plot.table(
        rows,
        title=f"Eight coins, {STEPS} steps, {SEEDS} seeds; exact cost on 250 test digits",
        first="trained by",
    )
)
shown = {name: curve for name, curve in curves.items() if "no coins" not in name}
plot.show(
    plot.curves(
        shown,
        "step",
        "test nats a digit",
        "Learning with each gradient",
        height=3.0,
    )
)
report.metric(
    "leave one out", sum(nats["leave one out"]) / SEEDS, "nats", floor=None, note="8 coins, test"
)
report.metric(
    "straight-through", sum(nats["straight-through"]) / SEEDS, "nats", note="8 coins, test"
)

# %% [markdown]
# Compare the biased estimators with the two unbiased ones, and all of them with the exact gradient, spread over the seeds
# included. An unbiased gradient does not promise the lowest end: it is the steepest way down *from here*, on average, and noise
# has a price too. A few seeds of one small network settle nothing for the next network. So measure, as you do here.
#
# The row "no coins" is the naive shortcut: pass on the odds instead of throwing the coins. Its own training loss
# is measured on odds. Then real coins are thrown, and the decoder has never seen one. Compare its line with the last one, no
# code at all, and look at its pictures below.
#
# How biased are they *here*? The network trained by leave-one-out, one batch of 64 digits, the gradient of
# the first layer, against the enumerated truth:

# %% tags=["lab"]
model, x = coders["leave one out"], binary["train"][:BATCH]
first = model.encode[0].weight


def gradient(loss: Callable) -> Tensor:
    return torch.autograd.grad(loss(model, x).mean(), first)[0].flatten()


exact = gradient(TRAINERS["exact gradient"])
rows, count = {}, 20 if PROFILE == "smoke" else 200
torch.manual_seed(SEED)
for name, loss in TRAINERS.items():
    if name in ("exact gradient", "no coins: odds passed on"):
        continue
    m = est.moments(torch.stack([gradient(loss) for _ in range(count)]), exact)
    noise = m.variance.sum()
    bias = bias_length(m) / exact.norm()
    rows[name] = {
        "bias / |gradient|": f"{bias:.2f}",
        "standard deviation / |gradient|": f"{noise.sqrt() / exact.norm():.2f}",
        "cosine of the mean with the truth": f"{F.cosine_similarity(m.mean, exact, dim=0):.2f}",
    }
plot.show(
    plot.table(
        rows, title=f"Gradient of the encoder's first layer, {count} estimates", first="estimator"
    )
)

# %% [markdown]
# REINFORCE and leave-one-out are right on average, as they must be (a cosine below 1 is REINFORCE's noise: look
# at its size). The biased ones point elsewhere. Remember *where* we ask: training by leave-one-out has come to
# rest here, the exact gradient has become small, and the others pull on, to a place of their own. That their
# places are lower or higher is a matter of measurement, not of a theorem.

# %% tags=["lab"]
shown = {"a test digit": binary["test"][:12]}
torch.manual_seed(SEED)
for name in ("leave one out", "straight-through", "no coins: odds passed on"):
    with torch.no_grad():
        z = torch.bernoulli(coders[name].encode(binary["test"][:12]).sigmoid())
        shown[name] = coders[name].decode(z).sigmoid()
plot.show(figures.redrawn(shown))

# %% [markdown]
# ## 12 · Break it
#
# Five bugs that people really make. **Predict first:** which of them leave the *mean* gradient right and
# only make it noisier? Which would you notice from the training curve?
#
# 1. the sign of the log-probability is reversed
# 2. the baseline contains its own sample
# 3. the log-probability is that of a *fresh* sample, not of the one that was paid for
# 4. the cost is not centred (no baseline at all)
# 5. a seed is fixed inside the estimator: the same "random" numbers at every call


# %% tags=["lab"]
def fresh(theta: Tensor, seed: int) -> Tensor:
    """Bug 3: pay for one draw, change the odds of another."""
    paid, other = (category(theta.detach(), uniform(*theta.shape, seed=seed + k)) for k in (0, 1))
    log_prob = theta.log_softmax(-1).gather(-1, other[..., None])[..., 0]
    return cost(CORNERS[paid]) * log_prob


BUGS = {
    "no bug: leave one out": ESTIMATORS["leave one out"],
    "1  sign": lambda theta, seed: -ESTIMATORS["leave one out"](theta, seed),
    "2  own sample in the baseline": ESTIMATORS["mean of all, own included"],
    "3  log p of a fresh sample": fresh,
    "4  no baseline": ESTIMATORS["REINFORCE"],
    "5  fixed seed": ESTIMATORS["leave one out"],
}


def broken(bug: str, count: int) -> Tensor:
    """``count`` gradient estimates, (count, 3)."""
    if bug.startswith("5"):
        return estimates(BUGS[bug], 1).expand(count, 3)
    return estimates(BUGS[bug], count)


def symptom(bug: str) -> plot.Picture:
    """Single estimates, their mean with 4.5 standard errors, the truth."""
    return figures.symptom(bug, broken(bug, ESTIMATES // 4), TRUTH)


_ = lab.scrub(symptom, fps=1, bug=list(BUGS))

# %% [markdown]
# All of them, when you have made your predictions:

# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
for bug in BUGS:
    plot.show(symptom(bug))

# %% [markdown]
# Number 4 is no bug, only noise. Number 2 is the treacherous one: it trains, and it is *less* noisy; it points
# in the right direction, here, and is too short. By eye you would not find it. Number 5 has no spread at all.
# Precision is not truth.

# %% [markdown] exercise={"id": "is_unbiased", "difficulty": 4, "importance": 5, "minutes": 12}
# ### Exercise · The test that tells bias from noise
#
# You get $n$ independent estimates of a gradient and the exact one. Return `True` if the estimates look
# unbiased: **every** coordinate of their mean lies within 4.5 standard errors of the truth. Your test is
# graded by what it says of right and of broken estimators.
#
# <details><summary>Hint: a right but noisy estimator is rejected</summary>
#
# A fixed tolerance does not know how noisy the estimates are. The standard error does: the standard
# deviation of *one* estimate over $\sqrt n$.
# </details>
# <details><summary>Hint: a biased estimator is accepted</summary>
#
# Did you forget the $\sqrt n$? Do you look at each coordinate alone, and in both directions?
# </details>
# <details><summary>Hint: <code>nan</code>, or a constant coordinate</summary>
#
# All estimates may agree, and the standard error is 0. Compare $|\text{mean}-\text{truth}|\le4.5\,\text{se}$
# instead of dividing, and allow 1e-9 for rounding.
# </details>


# %% nbgrader={"grade_id": "is_unbiased", "solution": true} autograde={"library": ["coursekit.checks.unbiased", "genmodels.estimators.moments"]}
def is_unbiased(draws: Float[Tensor, "n p"], truth: Float[Tensor, "p"]) -> bool:
    """Whether the mean of n estimates lies within 4.5 standard errors of the truth in all p coordinates."""
    # TODO  True or False
    ### BEGIN SOLUTION
    error = draws.std(0) / len(draws) ** 0.5
    return bool(((draws.mean(0) - truth).abs() <= 4.5 * error + 1e-9).all())
    ### END SOLUTION


# %% nbgrader={"grade_id": "is_unbiased_check", "grade": true, "points": 4}
# Estimators whose mean is off by a known number of standard errors: those within the limit
# must pass, however noisy, those beyond it must not, however small their bias. You should
# see: 17 cases right.
checks.run("is_unbiased", is_unbiased)


# %%
def library_verdict(draws: Tensor, truth: Tensor) -> bool:
    """The library's check, which raises instead of answering."""
    try:
        checks.unbiased(draws, truth)
    except checks.CheckFailed:
        return False
    return True


unbiased = checks.fallback(
    is_unbiased,
    library_verdict,
    works=lambda f: (
        f(torch.eye(3).repeat(20, 1), torch.full((3,), 1 / 3))
        and not f(torch.eye(3).repeat(20, 1), torch.ones(3))
    ),
)

# %% [markdown]
# Your verdict on the estimators of the exact lab, and on the five bugs:

# %% tags=["lab"]
rows = {
    name: {"unbiased?": "yes" if unbiased(estimates(f), TRUTH) else "no"}
    for name, f in ESTIMATORS.items()
}
rows |= {
    name: {"unbiased?": "yes" if unbiased(broken(name, ESTIMATES), TRUTH) else "no"}
    for name in BUGS
}
plot.show(plot.table(rows, first="estimator"))

# %% [markdown]
# ## 13 · Your line in the leaderboard
#
# The eight-coin network on the binarised 8 x 8 digits, by exact expected nats on the test digits; chapter 16
# collects the lines.

# %% tags=["lab"]
board = {
    name: {
        "test nats given the code": sum(found) / SEEDS,
        "decoder calls a digit": 256
        if name == "exact gradient"
        else 1
        if "no coins" in name
        else THROWS,
        "ms a step": seconds[name],
        "parameters": core.parameter_count(coders[name]),
    }
    for name, found in nats.items()
}
plot.show(plot.table(board, best={"test nats given the code": "min", "ms a step": "min"}))

# %% [markdown]
# | estimator | needs | unbiased? | noise in our labs | use it when |
# |---|---|---|---|---|
# | pathwise | a $z$ that can move, a slope of $f$ | yes (not for a step) | flat in $d$, grows with the slope of $f$ (section 4) | $z$ is continuous and $f$ not too steep |
# | implicit | the distribution function of $z$ | yes | its error bars are in section 3 | Gamma, Beta, mixtures |
# | score function | values of $f$, the score | yes | grows with $d$ and with the size of $f$ (section 4) | $f$ is a black box or has jumps |
# | leave one out | $k\ge2$ samples | yes | below REINFORCE's (section 8) | $z$ is discrete: try it first |
# | Gumbel-softmax | $f$ between the corners | no | falls as $\tau$ grows, while the bias grows (section 9) | $f$ is smooth, bias can be borne |
# | straight-through | a slope of $f$ at the corners | no | not lower than leave one out's (section 8) | large codes (chapter 07); check by an unbiased one |
#
# **What you can now do.** Differentiate an average through a Gaussian (mean and scale), a Gamma, a coin or a category; say of
# an estimator what it costs in bias and in noise, and test it.
#
# **What is still missing.** The eight coins were free. If a code had a price, how many coins would the
# network want to throw? Put a price on the code, draw it by your `draw_normal`, and you have a model that
# can invent digits and not only copy them: the **variational autoencoder**, chapter 04.
