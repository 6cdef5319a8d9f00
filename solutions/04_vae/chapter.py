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
# # 04 · Variational autoencoders
#
# ![A square of handwritten digits that turn into one another from place to place: the decoder's picture at each point of
# a plane of two hidden numbers.](../assets/04_vae.png)
#
# Every picture above was drawn from two numbers, its place in the square. Nobody told the model that there are digits,
# or that some are slanted. It was asked for one thing only: describe pictures in as few nats as you can.
#
# **The one idea.** A picture has a short hidden cause. To weigh a picture we would have to try every cause, and there
# are far too many. So one network learns to *guess* the cause, another learns to draw from it, and a single honest
# number, the ELBO, tells both how well they do: it never claims more than the truth.
#
# | | |
# |---|---|
# | **You will build** | a VAE and its bound; the exact posterior of a linear one; IWAE; a cure for collapse; a VAE with categorical latents |
# | **Time** | about 2 hours: 45 minutes of reading and {{minutes}} of exercises ({{exercises}} exercises, {{points}} points) |
# | **You need** | KL and nats (chapter 00), the Bernoulli likelihood (01), reparameterization and Gumbel-softmax (03) |
# | **Computing** | {{budget}} |
#
# <details><summary><b>Sources</b></summary>
#
# - VAE: Kingma, Welling, *Auto-encoding variational Bayes*, 2014, [arXiv 1312.6114](https://arxiv.org/abs/1312.6114)
# - The same, found independently: Rezende, Mohamed, Wierstra, 2014, [arXiv 1401.4082](https://arxiv.org/abs/1401.4082)
# - IWAE: Burda, Grosse, Salakhutdinov, 2016, [arXiv 1509.00519](https://arxiv.org/abs/1509.00519)
# - Free bits: Kingma et al., 2016, [arXiv 1606.04934](https://arxiv.org/abs/1606.04934)
# - beta-VAE: Higgins et al., ICLR 2017; posterior collapse in text: Bowman et al., 2016, [arXiv 1511.06349](https://arxiv.org/abs/1511.06349)
# - Gumbel-softmax: Jang, Gu, Poole, 2017, [arXiv 1611.01144](https://arxiv.org/abs/1611.01144)
# - Linear VAEs: Tipping, Bishop, *Probabilistic PCA*, 1999; Lucas et al., *Don't blame the ELBO!*, 2019, [arXiv 1911.02469](https://arxiv.org/abs/1911.02469)
# </details>

# %% tags=["parameters"]
PROFILE = "laptop"  # "smoke": seconds, to see that all runs; "laptop": two cores; "gpu": the size of the papers
TRAIN = True  # False: skip the long training and load the ready checkpoints

# %% nbgrader={"grade_id": "setup", "locked": true}
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coursekit import checks
from coursekit.views import bounds as library_bounds
from genmodels import core, vae
from genmodels.likelihoods import bernoulli_log_prob

SEED = 0
torch.manual_seed(SEED)


def every_state(n: int) -> Tensor:
    """All 2^n binary vectors, one a row."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n).reshape(-1, n)


def noise(*shape: int, seed: int = SEED) -> Tensor:
    """Standard normal numbers in float64 from a seed."""
    return torch.randn(*shape, generator=core.generator(seed), dtype=torch.float64)


# %% tags=["lab"]
import functools
import time

import figures
from IPython.display import display
from torch.distributions import kl_divergence

from coursekit import lab, plot, report
from genmodels import autoregressive as ar
from genmodels import data, train
from genmodels.nets import MLP, MaskedLinear

CORES = torch.get_num_threads()
torch.set_num_threads(1)  # small models are too small a job to share between cores
PAGES = 1 if PROFILE == "smoke" else 6  # how many settings of a second slider are drawn ahead

# %% [markdown]
# ## 1 · Pretend you have read no paper
#
# Think of how a digit comes about. Somebody decides on a seven, a slant, a thick pen: a few numbers $z$. Then hand and
# paper add their accidents. As a recipe: draw $z$ from a simple **prior**, here $k$ independent standard normal numbers;
# let a **decoder** turn it into a distribution over pictures; draw the picture. This is a **latent variable model**:
#
# $$z\sim p(z)=\mathcal N(0,I),\qquad x\sim p(x\mid z),\qquad p(x)=\int p(z)\,p(x\mid z)\,dz \tag{1}$$
#
# Drawing is trivial. *Weighing* is not: $p(x)$ is a sum over every cause that could have led to $x$. The obvious way is to
# try many causes and average,
#
# $$\hat p(x)=\frac1K\sum_{j=1}^K p(x\mid z_j),\qquad z_j\sim p(z) \tag{2}$$
#
# which has the right mean. Let us try it where the truth is known: a world of 20 pixels in which $x$ is a *linear*
# function of $z$ plus a little noise. There $p(x)$ is a plain Gaussian. We hide more and more numbers, and take
# ten thousand guesses for each picture.

# %% tags=["lab"]
guesses = 10_000
gap_of_naive = []
for k in range(1, 11):
    world = vae.LinearGaussian(noise(20, k, seed=k), noise(20, seed=k), std=0.3)
    world.requires_grad_(False)
    x = noise(30, k, seed=50 + k) @ world.weight.T + world.bias + 0.3 * noise(30, 20, seed=70 + k)
    z = noise(guesses, k, seed=90 + k)
    off = x[:, None] - (z @ world.weight.T + world.bias)  # (picture, guess, pixel)
    log_p_x_given_z = -(off / 0.3).square().sum(-1) / 2 - 10 * math.log(2 * math.pi * 0.3**2)
    naive = core.log_mean_exp(log_p_x_given_z, 1)  # the log of equation (2)
    gap_of_naive.append((naive - world.log_prob(x)).mean().item())
plot.show(figures.naive(gap_of_naive))

# %% [markdown]
# With one hidden number it works. With ten, ten thousand guesses miss by more than a hundred nats: **almost no cause drawn at
# random fits this picture**, and the few that would were never drawn. Trying harder does not help, since the number of
# guesses must grow exponentially with $k$. We must not guess blindly. We must look at the picture first.
#
# ## 2 · Guess the cause: the ELBO, derived twice
#
# Let $q(z)$ be any distribution, preferably one that likes causes that fit $x$. Draw from it instead of the prior, and
# repay what we took:
#
# $$p(x)=\mathbb E_{z\sim q}\left[\frac{p(x,z)}{q(z)}\right],\qquad p(x,z)=p(z)\,p(x\mid z) \tag{3}$$
#
# *With a pencil:* write the mean as an integral; $q$ cancels.
#
# **First derivation: Jensen.** The log of a mean is at least the mean of the logs. So
#
# $$\log p(x)\;\ge\;\mathbb E_{q}\bigl[\log p(x,z)-\log q(z)\bigr]\;=:\;\mathrm{ELBO}(q) \tag{4}$$
#
# the **evidence lower bound**. Done in one line, but it does not say what we lose.
#
# **Second derivation: Bayes.** For *every* $z$, $p(x)=p(x,z)/p(z\mid x)$. Multiply above and below by $q(z)$, take the log, and
# average over $q$; the left side does not depend on $z$ and stays as it is:
#
# $$\log p(x)\;=\;\mathbb E_q\left[\log\frac{p(x,z)}{q(z)}\right]+\mathbb E_q\left[\log\frac{q(z)}{p(z\mid x)}\right]
# \;=\;\mathrm{ELBO}(q)+\mathrm{KL}\bigl(q\,\|\,p(z\mid x)\bigr) \tag{5}$$
#
# An equality. The loss is exactly the KL from our guess to the **true posterior**, it is never negative, and it is zero only for a
# perfect guess. Raising the ELBO by changing $q$ *is* inference.
#
# Split $\log p(x,z)=\log p(x\mid z)+\log p(z)$ in (4) and you see what an autoencoder has to do with it:
#
# $$\mathrm{ELBO}=\underbrace{\mathbb E_q[\log p(x\mid z)]}_{\text{reconstruction: how well }z\text{ explains }x}
# -\underbrace{\mathrm{KL}\bigl(q(z)\,\|\,p(z)\bigr)}_{\text{rate: nats to say which }z} \tag{6}$$
#
# No need to believe it. Here is a cause with four values and one picture that we have seen; the guess $q$ walks from the prior to the
# posterior.

# %%
prior = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
likelihood = torch.tensor(
    [0.01, 0.2, 0.02, 0.6], dtype=torch.float64
)  # p(x | z) of the one picture seen
joint = prior * likelihood  # p(x, z)
p_x = joint.sum()  # equation (1), a sum of four terms
posterior = joint / p_x

walk = []
for share in torch.linspace(0, 1, 21, dtype=torch.float64):
    q = (1 - share) * prior + share * posterior
    elbo_of_q = (q * (joint.log() - q.log())).sum()  # equation (4)
    gap = (q * (q.log() - posterior.log())).sum()  # the KL of equation (5)
    two_terms = (q * likelihood.log()).sum() - (q * (q.log() - prior.log())).sum()  # equation (6)
    checks.close(elbo_of_q + gap, p_x.log(), "ELBO + KL, equation (5)")
    checks.close(two_terms, elbo_of_q, "reconstruction - rate, equation (6)")
    walk.append((elbo_of_q.item(), gap.item()))
print(f"log p(x) = {p_x.log():.4f}, equal to ELBO + KL at all 21 stops; (4) equals (6) at each.")

# %% tags=["lab"]
plot.show(figures.bound_and_gap(*zip(*walk), p_x.log().item()))

# %% [markdown]
# ## 3 · One network that guesses for all pictures
#
# Each picture needs a guess of its own. Searching for a good $q$ anew for each would be slow, so a network, the
# **encoder**, learns to answer at once; the cost of inference is spread over all pictures, *amortised*. Its answer is a Gaussian,
#
# $$q(z\mid x)=\mathcal N\bigl(\mu(x),\,\mathrm{diag}\,\sigma^2(x)\bigr) \qquad\text{in code}\qquad \texttt{mean, logvar}\;\;(b, k) \tag{7}$$
#
# The network speaks of $\log\sigma^2$, since that may be any real number. Then $\sigma^2=$ `logvar.exp()` and $\sigma=$
# `(logvar / 2).exp()`.
#
# The rate has a closed form. *With a pencil*, for one dimension: $\mathbb E_q\log q=-\frac12\log 2\pi\sigma^2-\frac12$ and
# $\mathbb E_q\log p=-\frac12\log 2\pi-\frac12\mathbb E_q z^2$ with $\mathbb E_q z^2=\mu^2+\sigma^2$. Subtract:
#
# $$\mathrm{KL}\bigl(\mathcal N(\mu,\sigma^2)\,\|\,\mathcal N(0,1)\bigr)=\tfrac12\bigl(\mu^2+\sigma^2-1-\log\sigma^2\bigr) \tag{8}$$

# %% [markdown] exercise={"id": "gaussian_kl", "difficulty": 1, "importance": 5, "minutes": 6}
# ### Exercise · The price of a code
#
# Equation (8) for each latent of each picture, *not* summed: later we want to see which latents are in use.
#
# <details><summary>Hint: the values are negative somewhere</summary>
#
# A KL never is. Check it at $\mu=0,\sigma=1$, where it is 0: the four terms are $0+1-1-0$.
# </details>
# <details><summary>Hint: right at logvar = 0 and wrong elsewhere</summary>
#
# The variance is `logvar.exp()`; `logvar` itself enters only in the last term, with a minus sign. It is $\log\sigma^2$ already, so it
# is neither halved nor logged again.
# </details>
# <details><summary>Hint: wrong shape</summary>
#
# Nothing is summed or averaged: (b, k) goes in, (b, k) comes out.
# </details>


# %% nbgrader={"grade_id": "gaussian_kl", "solution": true} autograde={"library": ["genmodels.vae.gaussian_kl"]}
def gaussian_kl(mean: Float[Tensor, "b k"], logvar: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """KL(N(mean, exp(logvar)) || N(0, 1)) of each latent, in nats [Kingma & Welling 2014, appendix B; equation 8]."""
    # TODO      the four terms of equation (8)
    ### BEGIN SOLUTION
    return (mean**2 + logvar.exp() - 1 - logvar) / 2
    ### END SOLUTION


# %% nbgrader={"grade_id": "gaussian_kl_check", "grade": true, "points": 2}
# The definition of the KL, integrated numerically; its derivatives too. You should see: 3
# cases right.
checks.run("gaussian_kl", gaussian_kl)

# %%
kl_of = checks.fallback(
    gaussian_kl,
    vae.gaussian_kl,
    works=lambda f: abs(float(f(torch.ones(1, 1), torch.ones(1, 1))) - math.e / 2 + 0.5) < 1e-5,
)

# %% [markdown]
# The other term, the reconstruction, is a mean over $q$, and we need its gradient in $\mu$ and $\sigma$. That is what chapter 03 was
# about: draw the noise first, then *move it into place*,
#
# $$z=\mu(x)+\sigma(x)\odot\varepsilon,\qquad \varepsilon\sim\mathcal N(0,I)\qquad\text{in code}\qquad
# \texttt{mean + (logvar / 2).exp() * eps} \tag{9}$$
#
# For ink and paper the decoder gives a logit for each pixel, $p(x\mid z)=\prod_i\mathrm{Bernoulli}(x_i;\sigma(\ell_i(z)))$, as in chapter
# 01. One draw of $\varepsilon$ for each picture, fresh at every step, is enough: its mean is (6).
#
# $$\widehat{\mathrm{ELBO}}_\beta(x)=\sum_i\log p(x_i\mid z)\;-\;\beta\sum_j\mathrm{KL}_j,\qquad \beta=1\text{ is the bound} \tag{10}$$

# %% [markdown] exercise={"id": "elbo", "difficulty": 2, "importance": 5, "minutes": 12}
# ### Exercise · The bound
#
# Equation (10), for each picture of the batch. `decode` maps latents (b, k) to logits (b, n). The noise `eps` is given, so everybody's
# answer is the same number. These few lines train every VAE of this chapter.
#
# <details><summary>Hint: how do I begin?</summary>
#
# Three lines: $z$ by equation (9), `logits = decode(z)`, and the two sums of equation (10). The KL you have: `kl_of`.
# </details>
# <details><summary>Hint: my value is about 1/n or 1/k of the expected one</summary>
#
# Pixels and latents are summed. Averaging one of the two changes their balance: the model then ignores its latents, or its bill.
# </details>
# <details><summary>Hint: the log-likelihood of a pixel</summary>
#
# `-F.binary_cross_entropy_with_logits(logits, x, reduction="none")`, one number for each pixel. It takes logits, so no sigmoid before it.
# Without `reduction="none"` it averages over everything.
# </details>
# <details><summary>Hint: "The size of tensor a (5) must match the size of tensor b (3)"</summary>
#
# The pixels are (b, n), the rates (b, k). Sum each over its own last dimension first; then both are (b,) and can be subtracted.
# </details>


# %% nbgrader={"grade_id": "elbo", "solution": true} autograde={"library": ["genmodels.vae.elbo", "coursekit.views.bounds.elbo"]}
def elbo(
    x: Float[Tensor, "b n"],
    mean: Float[Tensor, "b k"],
    logvar: Float[Tensor, "b k"],
    eps: Float[Tensor, "b k"],
    decode: Callable[[Float[Tensor, "b k"]], Float[Tensor, "b n"]],
    beta: float = 1.0,
) -> Float[Tensor, "b"]:
    """log p(x|z) - beta KL(q(z|x) || p(z)) at z = mean + std eps, in nats for each picture [equation 10]."""
    # TODO      the one-sample estimate of the bound, (b,)
    ### BEGIN SOLUTION
    z = mean + (logvar / 2).exp() * eps
    reconstruction = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return reconstruction - beta * kl_of(mean, logvar).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "elbo_check", "grade": true, "points": 4}
# The same bound from torch.distributions, at beta = 1 and beta = 4, and its derivatives.
# You should see: 3 cases right.
checks.run("elbo", elbo)

# %%
grow = lambda z: torch.cat([z.flip(-1), 2 * z[..., :1] - 1], -1)  # a decoder to try answers on
pictures = (noise(2, 4, seed=5) > 0).double()
guess = noise(2, 3, seed=6), noise(2, 3, seed=7)  # mean and logvar
elbo_of = checks.fallback(
    elbo, library_bounds.elbo, at=(pictures, *guess, noise(2, 3, seed=8), grow, 3.0)
)

# %% [markdown]
# ## 4 · Exact lab: the linear VAE, where nothing is hidden
#
# Make the decoder a straight line, $x = Wz+b+s\,\epsilon$ with noise of standard deviation $s$. Then every quantity of this chapter has a
# closed form. The evidence: $x$ is a sum of Gaussians, so
#
# $$p(x)=\mathcal N(x;\,b,\;WW^\top+s^2I) \tag{11}$$
#
# And the posterior, *with a pencil*. Write down $\log p(x,z)$ and keep what depends on $z$:
#
# $$-\tfrac12 z^\top z-\tfrac1{2s^2}\lVert x-b-Wz\rVert^2
# =-\tfrac12\,z^\top\underbrace{\bigl(I+\tfrac1{s^2}W^\top W\bigr)}_{\Lambda}z+z^\top\,\tfrac1{s^2}W^\top(x-b)+\dots$$
#
# A Gaussian $\mathcal N(m,\Lambda^{-1})$ has the log-density $-\frac12z^\top\Lambda z+z^\top\Lambda m+\dots$. Compare:
#
# $$p(z\mid x)=\mathcal N\bigl(m,\,\Lambda^{-1}\bigr),\qquad m=\Lambda^{-1}\,\tfrac1{s^2}\,W^\top(x-b) \tag{12}$$
#
# Look at it for a moment. The mean is a *linear* function of $x$: that is the best encoder there can be. The covariance does not depend on $x$
# at all. And unless the columns of $W$ are orthogonal, the latents are *correlated* given $x$, although they are independent before.

# %% [markdown] exercise={"id": "linear_posterior", "difficulty": 3, "importance": 4, "minutes": 10}
# ### Exercise · The perfect encoder
#
# Equation (12). It will be the yardstick that your bound is measured with.
#
# <details><summary>Hint: shapes</summary>
#
# `x` holds pictures in rows, (b, d), and `W` is (d, k). So $W^\top(x-b)$ for the whole batch is `(x - bias) @ W`, shape (b, k). $\Lambda$ is (k, k).
# </details>
# <details><summary>Hint: the posterior is wider than the prior</summary>
#
# A picture can only make us surer. $\Lambda$ is a *precision*; the covariance is its inverse.
# </details>
# <details><summary>Hint: right for s = 1 only</summary>
#
# $s^2$ stands in two places: in $\Lambda$ and in $m$. `std` is $s$, not $s^2$.
# </details>


# %% nbgrader={"grade_id": "linear_posterior", "solution": true} autograde={"library": ["genmodels.vae.LinearGaussian"]}
def linear_posterior(
    x: Float[Tensor, "b d"], W: Float[Tensor, "d k"], bias: Float[Tensor, "d"], std: float
) -> tuple[Float[Tensor, "b k"], Float[Tensor, "k k"]]:
    """Mean and covariance of p(z|x) in the linear-Gaussian model [Tipping & Bishop 1999; equation 12]."""
    # TODO      the mean for each picture, and the one covariance
    ### BEGIN SOLUTION
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std**2
    covariance = torch.linalg.inv(precision)
    return (x - bias) @ W @ covariance / std**2, covariance
    ### END SOLUTION


# %% nbgrader={"grade_id": "linear_posterior_check", "grade": true, "points": 3}
# By another road: condition the joint Gaussian of (z, x) on x. That inverts a matrix as
# large as the picture; yours is only as large as the code. You should see: 3 cases right.
checks.run("linear_posterior", linear_posterior)


# %%
def library_posterior(x, W, bias, std):
    """The library's, called like yours."""
    p = vae.LinearGaussian(W, bias, std).requires_grad_(False).posterior(x)
    return p.mean, p.covariance_matrix[0]  # one for all pictures


posterior_of = checks.fallback(
    linear_posterior,
    library_posterior,
    works=lambda f: (
        f(torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1), 1.0)[0].item() == 0.5
        and abs(f(torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1), 0.5)[1].item() - 0.2) < 1e-6
    ),
)

# %% [markdown]
# **Your bound against the truth.** For a Gaussian $q$ with mean $\mu$ and covariance $\Sigma$ the reconstruction needs no sampling either,
#
# $$\mathbb E_q\log p(x\mid z)=-\tfrac1{2s^2}\bigl(\lVert x-b-W\mu\rVert^2+\mathrm{tr}\,W\Sigma W^\top\bigr)-\tfrac d2\log 2\pi s^2 \tag{13}$$
#
# so ELBO and KL can be set beside $\log p(x)$ of equation (11) to the last digit. We try three guesses: the posterior itself, the best
# guess with *independent* latents, as in equation (7), and the prior. (The best independent one has the mean of the posterior and the variances $1/\Lambda_{jj}$.)


# %% tags=["lab"]
def exact_terms(
    x: Tensor, W: Tensor, bias: Tensor, std: float, mean: Tensor, cov: Tensor
) -> dict[str, float]:
    """ELBO and gap of the guess N(mean, cov), averaged over the pictures, all in closed form."""
    spread = torch.einsum("dk,kl,dl->", W, cov, W)
    fit = ((x - bias - mean @ W.T).square().sum(1) + spread) / (2 * std**2)
    reconstruction = -fit - len(W) / 2 * math.log(2 * math.pi * std**2)  # equation (13)
    gaussian, one = torch.distributions.MultivariateNormal, lambda n: torch.eye(n, dtype=W.dtype)
    q, prior = gaussian(mean, cov), gaussian(0 * mean[0], one(W.shape[1]))
    evidence = gaussian(bias, W @ W.T + std**2 * one(len(W))).log_prob(x)  # equation (11)
    bound = reconstruction - kl_divergence(q, prior)
    gap = kl_divergence(q, gaussian(*posterior_of(x, W, bias, std)))  # equation (5)
    checks.close(bound + gap, evidence, "ELBO + KL against log p(x)", atol=1e-8)
    terms = {"ELBO": bound, "KL to the posterior": gap, "log p(x)": evidence}
    return {name: value.mean().item() for name, value in terms.items()}


def independent(cov: Tensor) -> Tensor:
    """The covariance of the best guess with independent latents: variances 1 / Lambda_jj."""
    return torch.diag(1 / torch.linalg.inv(cov).diagonal())


W = noise(6, 2, seed=2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]).double()
bias, std = noise(6, seed=4), 0.7
x = noise(500, 2, seed=5) @ W.T + bias + std * noise(500, 6, seed=6)
mean, cov = posterior_of(x, W, bias, std)
table = {
    "the posterior": exact_terms(x, W, bias, std, mean, cov),
    "the best independent q": exact_terms(x, W, bias, std, mean, independent(cov)),
    "the prior": exact_terms(x, W, bias, std, 0 * mean, torch.eye(2).double()),
}
plot.show(plot.table(table, first="guess q", title="Nats a picture, mean over 500 pictures"))

# %% [markdown]
# The first row is tight: the bound *is* $\log p(x)$. The second pays for pretending that the latents are independent, however good the network.
# The third does not look at the picture, and pays dearly.
#
# **Live.** Turn the second column of $W$ against the first. At right angles the axes of the posterior are those of the page, and an independent $q$ fits it exactly; the closer the two
# columns, the more both latents explain the same thing, and the narrower the ellipse that $q$ must crawl into. The posterior is the one *you* computed.


# %% tags=["lab"]
def posterior_at(angle: float) -> tuple[Tensor, Tensor, float]:
    """Posterior when the columns of W meet at this angle, and what independence costs then."""
    W, bias = torch.eye(6, 2, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    W[0, 1], W[1, 1] = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x = torch.tensor([[0.9, 0.6, 0, 0, 0, 0]], dtype=torch.float64)
    mean, cov = posterior_of(x, W, bias, 0.5)
    terms = exact_terms(x, W, bias, 0.5, mean, independent(cov))
    return mean[0], cov, terms["KL to the posterior"]


costs = {angle: posterior_at(angle)[2] for angle in range(5, 91, 5)}


def turned(angle: int = 45) -> plot.Picture:
    """Posterior and best independent guess when the columns of W meet at this angle."""
    mean, cov, cost = posterior_at(angle)
    return figures.turned(angle, mean, cov, independent(cov), cost, costs)


lab.scrub(
    turned,
    "As the columns of W turn from 10 to 90 degrees, the posterior's narrow tilted ellipse becomes round and the best independent guess fits it; the cost falls from 0.485 nats to 0.",
    angle=range(10, 91, 10),
)

# %% [markdown]
# **Now learn it.** Fit $W, b, s$ and a linear encoder with independent latents to 8 x 8 digits by gradient *ascent on the exact bound*, and compare with the best possible
# value, which is known: principal components (Tipping and Bishop). The bound starts far below and ends **on** the truth. Why no
# price for independence? Because the model may choose $W$, and it chooses orthogonal columns, where independence is free.
#
# One thing to notice before we start: everything in (11) to (13) is a *quadratic* in $x$, so its average sees only the mean and the covariance of the
# digits. 128 made-up vectors that have the same two will do in their place, and no number changes.

# %% tags=["lab"]
eight = {split: data.digits(split).x.flatten(1).double() for split in ("train", "test")}
best = vae.LinearGaussian.fit(eight["train"], 8).requires_grad_(False)


def stand_ins(x: Tensor) -> Tensor:
    """2 d vectors with the mean and the covariance of the rows of x: the mean, and a step each way along each axis."""
    d, covariance = x.shape[1], torch.cov(x.T, correction=0)
    values, axes = torch.linalg.eigh(covariance)
    far = axes.T * (d * values.clamp_min(0)).sqrt()[:, None]
    return x.mean(0) + torch.cat([far, -far])


few_eight = stand_ins(eight["train"])


def fit_linear(x: Tensor, k: int, steps: int, std: float | None = None) -> tuple[list, list, dict]:
    """Adam on the exact ELBO with q = N(linear in x, diagonal); returns the bound, the evidence, and the parameters."""
    d, start = x.shape[1], core.generator(SEED)
    p = {
        "W": 0.1 * torch.randn(d, k, generator=start, dtype=torch.float64),
        "b": x.mean(0),
        "log_s": torch.tensor(math.log(std or 0.5), dtype=torch.float64),
        "V": 0.1 * torch.randn(d, k, generator=start, dtype=torch.float64),
        "logvar": torch.zeros(k, dtype=torch.float64),
    }
    free = [v.requires_grad_() for name, v in p.items() if std is None or name != "log_s"]
    optimiser = torch.optim.Adam(free, lr=0.02, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, steps)
    bounds, evidences = [], []
    for step in range(steps):
        mean, s2 = (x - p["b"]) @ p["V"], (2 * p["log_s"]).exp()
        spread = p["W"].square().sum(0) @ p["logvar"].exp()  # tr W Sigma W^T for a diagonal Sigma
        fit = ((x - p["b"] - mean @ p["W"].T).square().sum(1) + spread) / (2 * s2)
        rate = kl_of(mean, p["logvar"].expand_as(mean)).sum(1)
        bound = -fit - d / 2 * torch.log(2 * math.pi * s2) - rate
        optimiser.zero_grad()
        (-bound.mean()).backward()
        optimiser.step()
        decay.step()
        if step % 20 == 0 or step == steps - 1:
            model = vae.LinearGaussian(p["W"].detach(), p["b"].detach(), s2.sqrt().item())
            bounds.append(bound.mean().item())
            evidences.append(model.log_prob(x).mean().item())
    return bounds, evidences, {name: v.detach() for name, v in p.items()}


steps = 100 if PROFILE == "smoke" else 1500
bounds, evidences, learned = fit_linear(few_eight, 8, steps)
gram = F.normalize(learned["W"], dim=0).T @ F.normalize(learned["W"], dim=0)
by_pca = best.log_prob(eight["train"]).mean().item()
print(f"best possible log p(x)       {by_pca:8.3f} nats a digit (principal components)")
print(f"learned: log p(x)            {evidences[-1]:8.3f}")
print(f"learned: ELBO                {bounds[-1]:8.3f}")
learned_s, discarded = learned["log_s"].exp(), best.log_std.exp()
print(f"noise s: learned {learned_s:.4f}, root mean discarded eigenvalue {discarded:.4f}")
print(f"largest cosine between two columns of W: {(gram - torch.eye(8)).abs().max():.3f}")
at = [min(20 * i, steps - 1) for i in range(len(bounds))]
plot.show(figures.closing_in(at[2:20], bounds[2:20], evidences[2:20], by_pca))

# %% [markdown]
# ## 5 · Train it: binarised MNIST
#
# The decoder is now a network and the truth is out of reach, but the loop has not changed: **maximise your bound**, in both networks at once. Two models: one
# with 32 latents to be good, one with only two so that we can look at all of it. As in chapter 01 the training pictures stay grey and are
# tossed into ink and paper anew at every draw; the test set was tossed once. In the first tenth of
# the training $\beta$ rises from 0 to 1; section 7 says why.
#
# The encoder is a network 784 → 400 → 400 → (mean, logvar), the decoder its mirror image. The library's `VAE` only holds the two together.

# %% tags=["lab"]
SETTINGS = {  # batch, peak learning rate, steps
    "smoke": {"vae": (50, 2e-3, 20), "vae-2d": (50, 2e-3, 20), "categorical": (50, 2e-3, 15)},
    "laptop": {"vae": (100, 4e-3, 9000), "vae-2d": (100, 3e-3, 2000)}
    | {"categorical": (100, 6e-3, 2200)},
    "gpu": dict.fromkeys(("vae", "vae-2d", "categorical"), (100, 1e-3, 100_000)),
}[PROFILE]
torch.set_num_threads(CORES)
few = 200 if PROFILE == "smoke" else None
grey_digits = data.mnist("train", limit=few).x.flatten(1)
test_set = data.mnist("test", binary=True, limit=few)
test_digits = test_set.x.flatten(1)


def new_vae(latent: int) -> vae.VAE:
    """Two untrained networks."""
    torch.manual_seed(SEED)
    width = 64 if PROFILE == "smoke" and TRAIN else 400
    networks = MLP(784, (width, width), 2 * latent), MLP(latent, (width, width), 784)
    return vae.VAE(*networks, bernoulli_log_prob, latent)


def bound_of(model: vae.VAE, x: Tensor, beta: float = 1.0) -> Tensor:
    """Your ELBO with fresh noise."""
    mean, logvar = model.posterior(x)
    return elbo_of(x, mean, logvar, torch.randn_like(mean), model.decoder, beta)


def toss(x: Tensor, generator: torch.Generator) -> Tensor:
    """Grey pictures to ink and paper, a fresh coin for each pixel."""
    return torch.bernoulli(x, generator=generator)


def adamw(parameters, lr):
    """AdamW with a shorter memory for the squared gradients than its default."""
    return torch.optim.AdamW(parameters, lr, betas=(0.9, 0.99), fused=True)


def learn(name: str, model: nn.Module, bound: Callable):
    """The training of chapter 01, one state after each step; beta rises to 1 in the first tenth."""
    batch, lr, steps = SETTINGS[name]
    beta = {"now": 0.0}
    loss = lambda model, x: -bound(model, x, beta["now"])
    batches = train.minibatches(grey_digits, batch, seed=SEED, transform=toss)
    how = {"optimizer": adamw, "schedule": "cosine", "warmup": steps // 20, "seed": SEED}
    for state in train.train(model, loss, batches, steps=steps, lr=lr, **how):
        beta["now"] = min(1.0, 10 * state.step / steps)
        yield state


# %% tags=["lab", "train"]
@torch.no_grad()
def dreams(model: vae.VAE, count: int = 12) -> Tensor:
    """What the decoder makes of draws from the prior: the probability of ink."""
    return model.sample(count, generator=core.generator(SEED + 1)).sigmoid()


models, growing = {"vae": new_vae(32), "vae-2d": new_vae(2)}, {}
canvas = display(display_id=True)  # a place on the page for the samples; the loop below fills it
if TRAIN:
    for name, model in models.items():
        batch, _, steps = SETTINGS[name]
        begin = time.perf_counter()
        for state in learn(name, model, bound_of):
            if name == "vae" and state.step in (1, steps // 20, steps // 5, steps):
                growing[f"step {state.step}"] = dreams(model)
                canvas.update(figures.growing(growing))
        print(f"{name}: {steps} steps of {batch} digits in {time.perf_counter() - begin:.0f} s")
else:
    models = {name: train.load_pretrained(name) for name in models}
    drawn = {f"{m.latent}-d model": dreams(m) for m in models.values()}
    alt = "Two rows of digits drawn by the ready models."
    canvas.update(figures.digits(drawn, "Digits drawn from the prior", alt))
for model in models.values():
    model.cpu().eval().requires_grad_(False)


# %% tags=["lab"]
@torch.no_grad()
def measure(bound: Callable[[Tensor], Tensor], x: Tensor, part: int = 500) -> tuple[float, float]:
    """Mean and standard error of minus a bound, in nats a digit."""
    nats = -torch.cat([bound(piece) for piece in x.split(part)])
    return nats.mean().item(), nats.std().item() / len(nats) ** 0.5


torch.manual_seed(SEED)
ours, shown = {}, {"data": test_digits[:12]}
for name, model in models.items():
    ours[name] = nats, error = measure(lambda x, m=model: bound_of(m, x), test_digits)
    mean, logvar = model.posterior(test_digits)
    rates = kl_of(mean, logvar).mean(0)
    rate, used = rates.sum(), int((rates > 0.05).sum())
    print(
        f"{name:7s} -ELBO {nats:6.2f} ± {error:.2f} nats = reconstruction {nats - rate:5.2f} + rate {rate:5.2f};"
        f"  {used} of {model.latent} latents in use"
    )
    shown[f"{model.latent}-d model"] = model.decoder(mean[:12]).sigmoid()
plot.show(figures.reconstructions(shown))

# %% [markdown]
# Read the two terms as a telegram. The *rate* is the length of the code, the *reconstruction* the nats for correcting what the code leaves open. With 32 latents
# the code costs a fifth to a quarter of the bill. And the model does not use all of its latents; that is for section 7.
#
# ### The map
#
# Two latents can be shown whole. Send all test digits through the encoder: on the left, the mean of each. The model never saw a label, yet most
# classes settle in countries of their own. On the right, go through the square, evenly in *probability*, and decode.

# %% tags=["lab"]
flat = models["vae-2d"]
places, labels = flat.posterior(test_digits)[0], test_set.label
drawn = flat.decoder(figures.quantiles(16)).sigmoid()
plot.show(figures.atlas(places[:4000], labels[:4000], drawn))

# %% [markdown]
# **Walk through it.** Two sliders for the two latents. On the left you are here; in the middle is the picture; on the right, the test digit whose code lies
# nearest. Between two countries there is no cliff: the noise of equation (9) has made the decoder practise every place *around* a code.


# %% tags=["lab"]
def visit(across: float = 0.0, up: float = 0.0) -> plot.Picture:
    """The map with one place marked, the picture drawn there, and the nearest test digit."""
    z = torch.tensor([[across, up]])
    near = int((places - z).square().sum(1).argmin())
    pair = flat.decoder(z).sigmoid(), test_digits[near]
    return figures.visit(z, places[:800], labels[:800], *pair, int(labels[near]))


STOPS = [-2.0, -1.2, -0.4, 0.4, 1.2, 2.0]
lab.scrub(
    visit,
    "The map of codes with a ring at the chosen place, the digit decoded there, and the nearest test digit. Neighbouring places give similar digits.",
    across=STOPS,
    up=STOPS[:PAGES],
)

# %% [markdown]
# ## 6 · How far is the bound from the truth? IWAE
#
# Your ELBO is a *bound*. How much is it short: one nat, or ten? Equation (5) says: by the KL to the true posterior, which we do not know. But there is a cheap way to come
# closer. Draw $K$ causes instead of one, and average the **importance weights** of equation (3) *before* taking the log:
#
# $$\mathcal L_K=\mathbb E\left[\log\frac1K\sum_{j=1}^K w_j\right],\qquad
# w_j=\frac{p(x\mid z_j)\,p(z_j)}{q(z_j\mid x)},\qquad z_j\sim q(z\mid x) \tag{14}$$
#
# *With a pencil:* the mean inside the log has the mean $p(x)$ for every $K$, so by Jensen $\mathcal L_K\le\log p(x)$. For $K=1$ it is the ELBO. And the more we average, the less the mean
# fluctuates, the less Jensen costs: $\mathcal L_1\le\mathcal L_2\le\dots\to\log p(x)$.
#
# This is the naive estimate of section 1, with one change: the guesses come from somebody who has looked at the picture.
# (One can also *train* on it. Then the encoder matters less and less as $K$ grows, and its gradient drowns in noise:
# Rainforth et al. 2018, [arXiv 1802.04537](https://arxiv.org/abs/1802.04537). We only measure with it.)

# %% [markdown] exercise={"id": "iwae", "difficulty": 3, "importance": 5, "minutes": 15}
# ### Exercise · The tighter bound
#
# Equation (14), one draw of it, for each picture. `eps` has shape (K, b, k): noise for $K$ guesses for each picture. Stay on the log scale: the weights of a digit are around
# $e^{-90}$.
#
# <details><summary>Hint: how do I decode (K, b, k)?</summary>
#
# `decode` wants a flat batch: `decode(z.flatten(0, 1))` gives (K b, n); `.reshape(K, b, -1)` brings it back.
# </details>
# <details><summary>Hint: "Target size must be the same as input size"</summary>
#
# The cross entropy does not broadcast: show it the same pictures for each guess, `x.expand_as(logits)`.
# </details>
# <details><summary>Hint: my result does not change with K</summary>
#
# The mean of logs is the ELBO again. The mean belongs *inside* the log: `torch.logsumexp(log_w, 0) - math.log(K)`.
# </details>
# <details><summary>Hint: which KL do I use?</summary>
#
# None. Each guess has its own $\log p(z_j)-\log q(z_j\mid x)$; the closed form is already an average. $\log q$ at $z=\mu+\sigma\varepsilon$ is
# $\sum(-\frac12\varepsilon^2-\log\sigma-\frac12\log2\pi)$.
# </details>


# %% nbgrader={"grade_id": "iwae", "solution": true} autograde={"library": ["genmodels.vae.iwae", "genmodels.vae.log_weights", "coursekit.views.bounds.iwae"]}
def iwae(
    x: Float[Tensor, "b n"],
    mean: Float[Tensor, "b k"],
    logvar: Float[Tensor, "b k"],
    eps: Float[Tensor, "K b k"],
    decode: Callable[[Float[Tensor, "m k"]], Float[Tensor, "m n"]],
) -> Float[Tensor, "b"]:
    """log of the mean of K importance weights, in nats for each picture [Burda et al. 2016, eq. 8; equation 14]."""
    # TODO      (K, b) log-weights, then the log of their mean over the K guesses
    ### BEGIN SOLUTION
    K, b, _ = eps.shape
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    log_likelihood = -F.binary_cross_entropy_with_logits(
        logits, x.expand_as(logits), reduction="none"
    ).sum(-1)
    log_prior = -(z**2).sum(-1) / 2  # log 2 pi / 2 for each latent stands here ...
    log_q = -(eps**2 + logvar).sum(-1) / 2  # ... and here: it cancels
    return torch.logsumexp(log_likelihood + log_prior - log_q, 0) - math.log(K)
    ### END SOLUTION


# %% nbgrader={"grade_id": "iwae_check", "grade": true, "points": 4}
# Weight by weight with torch.distributions, for small pictures and for large ones; its
# derivatives too. You should see: 4 cases right.
checks.run("iwae", iwae)

# %%
iwae_of = checks.fallback(
    iwae, library_bounds.iwae, at=(pictures, *guess, noise(4, 2, 3, seed=9), grow)
)

# %% [markdown]
# ### Live: real digits whose truth we know
#
# With two latents, $\log p(x)$ of a *real* digit is an integral over a plane, and a fine grid gives it to many digits. So here the whole story can be seen. Grey shade:
# the true posterior of one test digit, computed on the grid. The ellipse: the encoder's Gaussian guess. The dots: your guesses, as large as their weights. On the right: your
# bounds, and the truth. Move $K$ and watch a few heavy dots make up for the wrong shape of the ellipse.


# %% tags=["lab"]
@torch.no_grad()
def plane(x: Tensor, centre: Tensor, half: float, side: int) -> tuple[Tensor, Tensor]:
    """log p(x, z) of equation (3) on a square grid: (b, side, side), z_2 along rows; and the log-area of a cell."""
    step = torch.linspace(-half, half, side)
    z = torch.stack(torch.meshgrid(step, step, indexing="ij")[::-1], -1).reshape(-1, 2) + centre
    parts = []
    for piece in z.split(8192):
        logits = flat.decoder(piece)
        alone = F.softplus(logits).sum(1) + piece.square().sum(1) / 2  # what does not ask for x
        parts.append(logits @ x.T - alone[:, None] - math.log(2 * math.pi))
    return torch.cat(parts).T.reshape(len(x), side, side), 2 * math.log(2 * half / (side - 1))


def evidence(x: Tensor, side: int) -> Tensor:
    """log p(x) by the sum over the whole plane."""
    joint, cell = plane(x, torch.zeros(2), 5.0, side)
    return torch.logsumexp(joint.flatten(1).double(), 1) + cell


exact_digits = test_digits[:100]
truth = evidence(exact_digits, 64 if PROFILE == "smoke" else 181)
coarse = evidence(exact_digits, 49 if PROFILE == "smoke" else 121)
change = (truth - coarse).abs().mean()
print(
    f"mean -log p(x) of 100 test digits: {-truth.mean():.3f} nats; a coarser grid: {change:.4f} off"
)


# %% tags=["lab"]
LADDER = (1, 2, 10, 50, 100)  # each divides the next, so that one pool of guesses serves all


@functools.lru_cache(maxsize=16)
@torch.no_grad()
def studied(digit: int) -> dict:
    """All that does not depend on K: guess, true posterior around it, truth, and bounds averaged over many draws."""
    x = exact_digits[digit : digit + 1]
    mean, logvar = flat.posterior(x)
    std, ladder = (logvar / 2).exp(), {}
    half = 5 * std.max().item()
    pool = torch.randn(200 if PROFILE == "smoke" else 4000, 2, generator=core.generator(digit))
    for K in LADDER:
        eps = pool.reshape(-1, K, 2).movedim(1, 0)
        same = (v.expand(eps.shape[1], -1) for v in (x, mean, logvar))
        ladder[K] = iwae_of(*same, eps, flat.decoder).mean().item()
    seen = {"x": x, "mean": mean[0], "std": std[0], "half": half, "truth": float(truth[digit])}
    return {**seen, "joint": plane(x, mean, half, 61)[0][0], "ladder": ladder}


def weighed(K: int = 10, digit: int = 0) -> plot.Picture:
    """One digit: its posterior, K weighted guesses, and the bound for every K."""
    s = studied(digit)
    eps = torch.randn(LADDER[-1], 2, generator=core.generator(digit))[:K]
    same = (v.expand(K, -1) for v in (s["x"], s["mean"], 2 * s["std"].log()))
    log_weights = iwae_of(*same, eps[None], flat.decoder)  # of a single guess each
    return figures.weighed(K, s, s["mean"] + s["std"] * eps, log_weights.softmax(0))


lab.scrub(
    weighed,
    "A test digit; its true posterior in grey, the ellipse of q beside it, and K guesses as dots, as large as their weights; the bound rises with K towards the exact log p(x).",
    K=LADDER,
    digit=range(4)[:PAGES],
)

# %% [markdown]
# **The test set**, by your IWAE, beside what the papers report.

# %% tags=["lab"]
GUESSES, COUNTED = (50, 1000) if PROFILE != "smoke" else (5, 50)


def tighter(model: vae.VAE, x: Tensor, K: int) -> Tensor:
    """Your IWAE bound with fresh noise."""
    mean, logvar = model.posterior(x)
    return iwae_of(x, mean, logvar, torch.randn(K, *mean.shape), model.decoder)


torch.manual_seed(SEED)
honest = {
    name: {
        K: measure(lambda x, m=model, K=K: tighter(m, x, K), test_digits[:COUNTED], part=50)
        for K in (1, 5, GUESSES)
    }
    for name, model in models.items()
}
for name, row in honest.items():
    found = (f"K = {K}: {nats:.2f} ± {error:.2f}" for K, (nats, error) in row.items())
    print(f"{name:7s}", "   ".join(found))
for K in (1, GUESSES):
    short = measure(lambda x, K=K: tighter(flat, x, K), exact_digits, 50)[0] + truth.mean()
    print(f"2-d model, 100 digits, exactly: K = {K} is {short:.2f} nats short of log p(x)")

PUBLISHED = {  # nats on binarised MNIST, quoted from the papers
    "MADE, one order": (88.40, "Germain et al. 2015, exact"),
    "VAE, 50 latents": (86.76, "Burda et al. 2016, K = 5000"),
    "IWAE, K = 50": (84.78, "Burda et al. 2016, K = 5000"),
    "IWAE, two layers": (82.90, "Burda et al. 2016, K = 5000"),
    "PixelCNN": (81.30, "van den Oord et al. 2016, exact"),
}
rows = {n: {"test nats": f"≈ {v:.2f}", "measured by": who} for n, (v, who) in PUBLISHED.items()}
for name, model in models.items():
    for bound, count, (nats, error) in (
        ("-ELBO", len(test_digits), ours[name]),
        (f"IWAE, K = {GUESSES}", COUNTED, honest[name][GUESSES]),
    ):
        line = {"test nats": f"{nats:.2f} ± {error:.2f}"}
        line["measured by"] = f"**this notebook, {bound}, {count:,} digits**"
        rows[f"your VAE, {model.latent} latents, {bound}"] = line
        report.metric(f"{name} test {bound}", nats, "nats", note=f"± {error:.2f} on {count} digits")
by_nats = sorted(rows, key=lambda n: -float(rows[n]["test nats"].strip("≈ ").split()[0]))
plot.show(plot.table({n: rows[n] for n in by_nats}, title="Binarised MNIST, smaller is better"))
near = {"your VAE, K = 1": ours["vae"], f"your VAE, K = {GUESSES}": honest["vae"][GUESSES]}
plot.show(plot.ladder(near, {name: v for name, (v, _) in PUBLISHED.items()}, "nats a digit"))

# %% [markdown]
# Read it with care. Published numbers are quoted as approximate; they are for another draw of the same coins, and come from far longer trainings. And they are
# *bounds* too: a VAE's line in the table says how good the model **and** its guesses are. Of two bounds measured with different $K$, the smaller need not
# belong to the better model. Only exact likelihoods, such as MADE's, need no such footnote.

# %% [markdown]
# ## 7 · beta, and a latent that nobody uses
#
# In equation (10) stands a $\beta$. With $\beta<1$ the code may be longer, with $\beta>1$ it must be shorter: the same trade as in a music file, rate against
# quality. With $\beta>1$ (10) is still a bound on $\log p(x)$, but a looser one; with $\beta<1$ it is none. So judge every model *at* $\beta=1$. We sweep it on small binary digits.

# %% tags=["lab"]
small = {split: (data.digits(split).x.flatten(1) > 0.5).float() for split in ("train", "test")}
SMALL_STEPS = 40 if PROFILE == "smoke" else 400
torch.set_num_threads(1)


def small_vae(k: int = 8) -> vae.VAE:
    """Two networks for 8 x 8 digits."""
    torch.manual_seed(SEED)
    return vae.VAE(MLP(64, (128,), 2 * k), MLP(k, (128,), 64), bernoulli_log_prob, k)


def plain_loss(x, mean, logvar, eps, decode, progress):
    """Minus your bound."""
    return -elbo_of(x, mean, logvar, eps, decode).mean()


def fit_small(model: vae.VAE, loss: Callable = plain_loss, steps: int = SMALL_STEPS) -> vae.VAE:
    """Adam with a falling rate; ``loss`` also learns which share of the training is done."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, steps)
    torch.manual_seed(SEED)
    for step in range(steps):
        x = small["train"][torch.randint(len(small["train"]), (100,))]
        mean, logvar = model.posterior(x)
        value = loss(x, mean, logvar, torch.randn_like(mean), reader(model, x), step / steps)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        decay.step()
    return model.requires_grad_(False)


def reader(model: vae.VAE, x: Tensor) -> Callable:
    """The decoder as your functions call it, z -> logits; a decoder that also reads the picture gets it here."""
    if not hasattr(model.decoder, "reads"):
        return model.decoder
    return lambda z: model.decoder(z, x.repeat(len(z) // len(x), 1))


def examine(model: vae.VAE, K: int = 50) -> dict[str, float]:
    """Test bound at beta = 1, its two terms, the latents in use, and the honest IWAE number."""
    torch.manual_seed(SEED)
    x = small["test"]
    mean, logvar = model.posterior(x)
    rate = kl_of(mean, logvar)
    draw = lambda: elbo_of(x, mean, logvar, torch.randn_like(mean), reader(model, x)).mean()
    nats = -torch.stack([draw() for _ in range(20)]).mean()
    tight = -iwae_of(x, mean, logvar, torch.randn(K, *mean.shape), reader(model, x)).mean()
    return {
        "-ELBO": nats.item(),
        f"IWAE, K = {K}": tight.item(),
        "rate": rate.sum(1).mean().item(),
        "reconstruction": nats.item() - rate.sum(1).mean().item(),
        "latents in use": int((rate.mean(0) > 0.05).sum()),
    }


BETAS = (0.1, 0.3, 1.0, 3.0, 10.0)
swept = {
    beta: examine(fit_small(small_vae(), lambda *a, beta=beta: -elbo_of(*a[:5], beta).mean()))
    for beta in BETAS
}
rows = {f"beta = {beta:g}": row for beta, row in swept.items()}
how = {"first": "trained with", "best": {"-ELBO": "min"}, "title": "8 x 8 digits, test set, nats"}
plot.show(plot.table(rows, **how))
plot.show(figures.rate_against_quality(swept))

# %% [markdown]
# At $\beta=10$ the latents have gone silent: rate next to zero, $q(z_j\mid x)=p(z_j)$ whatever $x$. That is **posterior collapse**. Is it a failure of the optimiser? Ask the
# linear world, where we know the optimum.
#
# *With a pencil:* for fixed noise $s$, the best $W$ gives latent $j$ a column of squared length $\lambda_j-s^2$, where $\lambda_j$ is the $j$-th eigenvalue of the data's
# covariance, **if that is positive, and length zero otherwise**. Then its rate is $\frac12\log(\lambda_j/s^2)$, or nothing. So a latent that explains less than the
# noise *should* be silent. Collapse is what a bound at its optimum does. (In this model $\beta$ and $s^2$ play the same part.)

# %% tags=["lab"]
eigenvalues = torch.linalg.eigvalsh(torch.cov(eight["train"].T, correction=0)).flip(0)[:8]
for s in (0.4, 0.55, 0.9):
    _, _, p = fit_linear(few_eight, 8, steps // 2, std=s)
    mean = (eight["train"] - p["b"]) @ p["V"]
    rates = kl_of(mean, p["logvar"].expand_as(mean)).mean(0).sort(descending=True).values
    theory = 0.5 * (eigenvalues / s**2).log().clamp_min(0)
    said = (" ".join(f"{r:.2f}" for r in v) for v in (rates, theory))
    print(f"s = {s:4.2f}: rates learned {next(said)}   theory {next(said)}")

# %% [markdown]
# Learned and predicted rates agree to about a hundredth of a nat. But there is a second kind of collapse, which nobody wants: **a decoder so strong that it needs no code.** Give the decoder the pixels it has already drawn,
# as the MADE of chapter 01 had, and it can do everything by itself. At the start of the training the latents are still noise, so the quickest way to a better bound is to shut
# them up; and once silent they get no gradient.
#
# Two cures. **Warm-up:** let $\beta$ rise from 0 to 1 during the training, so that the code is free while it is being invented. **Free bits:** make the first $\lambda$ nats of each latent
# free of charge,
#
# $$\text{charge}=\sum_j\max\Bigl(\lambda,\;\frac1b\sum_{i=1}^b\mathrm{KL}_{ij}\Bigr) \tag{15}$$
#
# Below $\lambda$ the charge is constant: no gradient pushes the latent down. Note the order: first the mean over the batch, then the maximum, then the sum over the latents. One picture may use a latent more
# than another.

# %% [markdown] exercise={"id": "free_bits", "difficulty": 2, "importance": 3, "minutes": 8}
# ### Exercise · The first nats are free
#
# Equation (15): one number for the batch, from the KL of each latent of each picture.
#
# <details><summary>Hint: my charge is too high</summary>
#
# You compared before averaging. A maximum of means is smaller than a mean of maxima.
# </details>
# <details><summary>Hint: my charge is too low</summary>
#
# The floor holds for *each latent*. Compared with the sum, one talkative latent pays for all the silent ones.
# </details>
# <details><summary>Hint: a maximum of a tensor and a number</summary>
#
# `kl.clamp(min=floor)`. Its gradient is 0 where it clamps, as it should be.
# </details>


# %% nbgrader={"grade_id": "free_bits", "solution": true} autograde={"library": ["genmodels.vae.free_bits"]}
def free_bits(kl: Float[Tensor, "b k"], floor: float) -> Float[Tensor, ""]:
    """sum_j max(floor, mean over the batch of kl_j), in nats [Kingma et al. 2016, eq. 15; equation 15]."""
    # TODO      one number
    ### BEGIN SOLUTION
    return kl.mean(0).clamp(min=floor).sum()
    ### END SOLUTION


# %% nbgrader={"grade_id": "free_bits_check", "grade": true, "points": 2}
# Worked out with plain numbers. A latent below the floor must feel no gradient. You should
# see: 5 cases right.
checks.run("free_bits", free_bits)

# %%
charge_of = checks.fallback(
    free_bits,
    lambda kl, floor: vae.free_bits(kl, floor).mean(),
    works=lambda f: abs(float(f(torch.tensor([[2.0, 0.0], [0.0, 0.1]]), 0.5)) - 1.5) < 1e-6,
)

# %% [markdown]
# **Collapse, produced and cured.** The same encoder, once with the weak decoder from before, and three times with a strong one: a MADE that also sees the code.


# %% tags=["lab"]
class Recaller(nn.Module):
    """p(x_i | x_before_i, z): a MADE whose first hidden layer also listens to the code, faintly at first."""

    reads = True

    def __init__(self, k: int, width: int = 192):
        super().__init__()
        hidden = torch.arange(width) * 63 // width
        first, *others = ar.made_masks([torch.arange(64), hidden, hidden])
        self.past, self.code = MaskedLinear(first), nn.Linear(k, width)
        self.code.weight.data *= 0.1
        self.middle, self.out = (MaskedLinear(mask) for mask in others)
        self.direct = MaskedLinear(ar.made_masks([torch.arange(64)])[0])

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """Logits of all pixels at once, each given the pixels before it and the code."""
        h = self.middle((self.past(x) + self.code(z)).relu())
        return self.out(h.relu()) + self.direct(x)


def strong_vae(k: int = 8) -> vae.VAE:
    """The encoder from before with a decoder that could do without."""
    torch.manual_seed(SEED)
    return vae.VAE(MLP(64, (128,), 2 * k), Recaller(k), bernoulli_log_prob, k)


def warm_up(x, mean, logvar, eps, decode, progress):
    """beta rises from 0 to 1 in the first half of the training."""
    return -elbo_of(x, mean, logvar, eps, decode, min(1.0, 2 * progress)).mean()


def half_a_nat_free(x, mean, logvar, eps, decode, progress):
    """Reconstruction (the bound with beta = 0) and the charge of equation (15)."""
    return charge_of(kl_of(mean, logvar), 0.5) - elbo_of(x, mean, logvar, eps, decode, 0.0).mean()


collapse = {
    "weak decoder": small_vae(),
    "strong decoder": strong_vae(),
    "strong, warm-up": strong_vae(),
    "strong, free bits 0.5": strong_vae(),
}
losses = [plain_loss, plain_loss, warm_up, half_a_nat_free]
for (name, model), loss in zip(collapse.items(), losses):
    fit_small(model, loss, 2 * SMALL_STEPS)
rows = {name: examine(model) for name, model in collapse.items()}
plot.show(plot.table(rows, title="8 x 8 digits, test set, nats"))
said = {name: kl_of(*model.posterior(small["test"])).mean(0) for name, model in collapse.items()}
plot.show(figures.talk({name: rate.sort(descending=True).values for name, rate in said.items()}))

# %% [markdown]
# In the strong decoder all eight latents have fallen silent; together they say less than a tenth of a nat: an encoder trained
# for nothing. And it is the worse model for it. Both cures wake the latents, and *both* the ELBO and the tighter bound
# become better. They change nothing in the objective that counts: after the warm-up $\beta$ is 1 again, and yet the code
# stays, since by now it is worth its price.
#
# (The MNIST training of section 5 was warmed up too. The ready checkpoint was not: only 10 of its 32 latents speak. Compare
# with the count printed there.)

# %% [markdown]
# ## 8 · Latents that are words: the categorical VAE
#
# A slant is a number, but "a seven" is not. Let the code be $g$ symbols, each one of $v$: $q(z\mid x)=\prod_j\mathrm{Cat}(z_j;\pi_j(x))$, and a uniform prior. Two things change. The rate is a finite sum,
#
# $$\mathrm{KL}=\sum_{j=1}^g\sum_{c=1}^v \pi_{jc}\,\log\frac{\pi_{jc}}{1/v}=\sum_{j}\bigl(\log v-H(\pi_j)\bigr) \tag{16}$$
#
# at most $g\log v$ nats: the code has a *capacity*. And a symbol cannot be moved into place smoothly, so equation (9) is replaced by chapter 03's **Gumbel-softmax**:
# add Gumbel noise to the logits and take a soft maximum at temperature $\tau$,
#
# $$y_j=\mathrm{softmax}\bigl((\ell_j+g_j)/\tau\bigr)\qquad\text{in code}\qquad \texttt{((logits + gumbel) / tau).softmax(-1)} \tag{17}$$
#
# As $\tau\to0$ it is a one-hot draw from $\pi_j=\mathrm{softmax}(\ell_j)$, exactly. At $\tau>0$ the decoder sees *blends* of symbols, which it will never see again: what we train is not quite a bound. We train
# at a small $\tau$ and report the value with one-hot codes.

# %% [markdown] exercise={"id": "categorical_elbo", "difficulty": 3, "importance": 4, "minutes": 12}
# ### Exercise · A bound for words
#
# Log-probability of the picture under the blended code, minus the rate (16), for each picture. The decoder reads the g symbols side by side, (b, g v).
#
# <details><summary>Hint: the rate is negative</summary>
#
# Without the prior's $\log v$ it is minus an entropy. A code that says nothing ($\pi=1/v$) must cost 0.
# </details>
# <details><summary>Hint: my value changes from run to run</summary>
#
# `F.gumbel_softmax` draws noise of its own. Here it is given, as `gumbel`: write equation (17) yourself.
# </details>
# <details><summary>Hint: which probabilities enter the rate?</summary>
#
# Those of $q$, `logits.softmax(-1)`. The blend $y$ is one draw; its entropy is another thing and depends on $\tau$.
# </details>
# <details><summary>Hint: I get <code>nan</code> when the encoder is very sure</summary>
#
# `0 * log(0)`. Take `logits.log_softmax(-1)`, which is finite, instead of the log of a probability that has rounded to 0.
# </details>


# %% nbgrader={"grade_id": "categorical_elbo", "solution": true} autograde={"library": ["genmodels.vae.CategoricalVAE", "genmodels.estimators.gumbel_softmax", "coursekit.views.bounds.categorical_elbo"]}
def categorical_elbo(
    x: Float[Tensor, "b n"],
    logits: Float[Tensor, "b g v"],
    gumbel: Float[Tensor, "b g v"],
    tau: float,
    decode: Callable[[Float[Tensor, "b gv"]], Float[Tensor, "b n"]],
) -> Float[Tensor, "b"]:
    """log p(x|y) - KL(q(z|x) || uniform), in nats, at the blend y of equation (17) [Jang et al. 2017]."""
    # TODO      blend, decode, subtract the rate
    ### BEGIN SOLUTION
    y = ((logits + gumbel) / tau).softmax(-1)
    reconstruction = -F.binary_cross_entropy_with_logits(
        decode(y.flatten(1)), x, reduction="none"
    ).sum(1)
    log_q = logits.log_softmax(-1)
    return reconstruction - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))
    ### END SOLUTION


# %% nbgrader={"grade_id": "categorical_elbo_check", "grade": true, "points": 3}
# The same bound from torch.distributions at several temperatures, and its derivative in the
# logits. You should see: 3 cases right.
checks.run("categorical_elbo", categorical_elbo)

# %%
words_of = checks.fallback(
    categorical_elbo,
    library_bounds.categorical_elbo,
    at=((noise(2, 7, seed=5) > 0).double(), noise(2, 2, 3), noise(2, 2, 3, seed=1), 0.5, grow),
)

# %% [markdown]
# Train it on MNIST: 20 symbols of 10 values, so at most $20\log10=46$ nats. The temperature falls from 1 to 1/4 (for the gradient, high is quiet
# and wrong, low is right and noisy: chapter 03). And the decoder begins with the *mean digit* in its last bias. Symbols are mere noise at first, and
# a decoder that has to learn the mean digit from scratch has learnt by then not to listen to them.

# %% tags=["lab", "train"]
torch.set_num_threads(CORES)
GROUPS, VALUES = (20, 10) if PROFILE != "smoke" else (4, 3)
torch.manual_seed(SEED)
networks = MLP(784, (400,), GROUPS * VALUES), MLP(GROUPS * VALUES, (400,), 784)
wordy = vae.CategoricalVAE(*networks, bernoulli_log_prob, GROUPS, VALUES)
mean_digit = grey_digits.mean(0).clamp(0.001, 0.999)
wordy.decoder.layers[-1].bias.data = mean_digit.logit()
temperature = {"tau": 1.0}
if not TRAIN:  # no ready model of this kind: a short training, which is enough to see how it goes
    SETTINGS["categorical"] = (*SETTINGS["categorical"][:2], 15 if PROFILE == "smoke" else 250)


def words_bound(model: vae.CategoricalVAE, x: Tensor, tau: float) -> Tensor:
    """Your bound with fresh noise; at tau = 0.001 the codes are one-hot, and then it is one."""
    logits = model.encoder(x).reshape(len(x), GROUPS, VALUES)
    gumbel = core.gumbel(tuple(logits.shape), device=x.device).to(logits)
    return words_of(x, logits, gumbel, tau, model.decoder)


trained = SETTINGS["categorical"][2]
at_tau = lambda model, x, _: words_bound(model, x, temperature["tau"])
for state in learn("categorical", wordy, at_tau):
    temperature["tau"] = max(0.25, 1 - 0.94 * state.step / trained)
wordy.cpu().eval().requires_grad_(False)

torch.manual_seed(SEED)
blended, one_hot = (
    measure(lambda x, tau=tau: words_bound(wordy, x, tau), test_digits)
    for tau in (temperature["tau"], 0.001)
)
log_q = wordy.posterior(test_digits)
rate = (log_q.exp() * (log_q + math.log(VALUES))).sum(-1).mean(0)
print(f"after {trained} steps: blended codes (not a bound)  {blended[0]:.2f} nats")
most = GROUPS * math.log(VALUES)
print(f"one-hot codes (-ELBO)                  {one_hot[0]:.2f} ± {one_hot[1]:.2f} nats")
print(f"of which rate {rate.sum():.1f}, of at most {most:.1f}")
print("published, Jang et al. 2017, -ELBO with Bernoulli latents, another kind of code:")
print("score function ≈ 112.2, straight-through ≈ 116.0, Gumbel-softmax ≈ 105.0")
note = f"± {one_hot[1]:.2f} on {len(test_digits)} digits, {trained} steps"
report.metric("categorical VAE test -ELBO", one_hot[0], "nats", note=note)

# %% [markdown]
# Symbols learn slowly, and the published numbers come from far longer trainings, and from another kind of code: Bernoulli latents. Four choices help here, and each is worth
# trying to undo: the last bias (zero instead), one hidden layer a side (two), the learning rate (half of it), the last temperature (0.4). Compare the two values printed above: the blended one is
# the lower, and it is no bound.
#
# What do the symbols mean? Take the code of a test digit and change *one* symbol, the same one in each row, through all its values. No value has to mean anything to us;
# look for the rows in which something changes that can be seen.

# %% tags=["lab"]
code = F.one_hot(wordy.posterior(test_digits[[1]]).argmax(-1), VALUES).float()
changed = {"data": test_digits[[1]].repeat(VALUES, 1)}
for j in rate.argsort(descending=True)[:4].tolist():
    variants = code.repeat(VALUES, 1, 1)
    variants[:, j] = torch.eye(VALUES)
    changed[f"symbol {j}, model"] = wordy.decoder(variants.flatten(1)).sigmoid()
plot.show(figures.one_symbol(changed))

# %% [markdown]
# ## 9 · Break it
#
# Four bugs that people really make. **Predict** before you run: for each one, does the reported "ELBO" become better or worse? And the model?
#
# 1. the noise is forgotten, $z=\mu(x)$
# 2. the pixels are averaged, the latents are summed
# 3. `exp(logvar)` is used as the standard deviation of the noise
# 4. the KL is averaged over the latents


# %% tags=["lab"]
def broken_bound(x, mean, logvar, eps, decode, noise_scale=None, pixels="sum", latents="sum"):
    """Your bound with one part replaced."""
    z = mean + ((logvar / 2).exp() if noise_scale is None else noise_scale(logvar)) * eps
    price = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none")
    rate = kl_of(mean, logvar)
    return getattr(price, pixels)(1) - getattr(rate, latents)(1)


BUGS = {
    "no bug": {},
    "1  noise forgotten": {"noise_scale": lambda logvar: 0 * logvar},
    "2  pixels averaged": {"pixels": "mean"},
    "3  variance for std": {"noise_scale": torch.exp},
    "4  KL averaged": {"latents": "mean"},
}


def with_bug(bug: str) -> tuple[dict[str, float], Tensor]:
    """Train with the bug; what it reports, what is true, and samples."""
    bound = functools.partial(broken_bound, **BUGS[bug])
    model = fit_small(small_vae(), lambda *given: -bound(*given[:5]).mean())
    guess = model.posterior(small["test"])
    draw = lambda: bound(small["test"], *guess, torch.randn_like(guess[0]), model.decoder).mean()
    reported = -torch.stack([draw() for _ in range(20)]).mean().item()
    facts = examine(model, K=200)
    row = {
        "reported": reported,
        "true bound, K = 200": facts["IWAE, K = 200"],
        "rate": facts["rate"],
    }
    z = torch.randn(16, 8, generator=core.generator(SEED))
    return row, model.decoder(z).sigmoid()


torch.set_num_threads(1)
broken = {bug: with_bug(bug) for bug in BUGS}
honest_nats = broken["no bug"][0]["true bound, K = 200"]


def symptom(bug: str) -> plot.Picture:
    """Reported and true nats, and samples from the prior."""
    row, samples = broken[bug]
    nats = row["reported"], row["true bound, K = 200"]
    return figures.symptom(bug, *nats, honest_nats, samples)


lab.scrub(
    symptom,
    "For each bug, the reported nats and the true ones as bars, and sixteen digits drawn from the prior.",
    fps=1,
    bug=list(BUGS),
)


# %% [markdown]
# All five side by side, when you have made your predictions:

# %% tags=["lab"]
rows = {bug: row for bug, (row, _) in broken.items()}
plot.show(plot.table(rows, first="bug", title="8 x 8 digits, test set, nats"))
for bug in BUGS:
    plot.show(symptom(bug))

# %% [markdown]
# Every one of them *reports* a better number than the honest model, and every one of them is worse. And look at number 3: its samples hardly differ from those without a bug. So how do you catch a bound that lies, without
# knowing the truth?
#
# By the one thing that everybody knows: **probabilities sum to 1.** If $B(x)\le\log p(x)$ for every $x$, then
#
# $$\sum_x e^{B(x)}\;\le\;\sum_x p(x)\;=\;1 \tag{18}$$
#
# On a world small enough to enumerate, a sum above 1 is proof of a lie, whatever the code looks like. A sum below 1 proves nothing: a loose bound has one too, and so may a wrong one. Now write it down as a test.

# %% [markdown] exercise={"id": "is_honest", "difficulty": 4, "importance": 5, "minutes": 15}
# ### Exercise · The lie detector
#
# `bound` maps pictures (b, n) of zeros and ones to values (b,). It draws fresh noise at every call, so a value is an *estimate* of $B(x)$; $B(x)$ is its mean. Return `True` if the bound can be trusted by (18), `False` if its sum
# exceeds 1 by more than 1 %. Your test is graded by what it says of right and of broken bounds.
#
# <details><summary>Hint: all pictures of n pixels</summary>
#
# `every_state(n)` from the top of the notebook, $2^n$ rows.
# </details>
# <details><summary>Hint: an honest but noisy bound is rejected</summary>
#
# Equation (18) has $e^{B}$ of the *mean* $B$. By Jensen the mean of $e^{\text{noisy value}}$ is larger, and so is that of a single draw. Average first, over 400 draws, then take the exponential.
# </details>
# <details><summary>Hint: it is slow</summary>
#
# Ask for many draws in one call: `bound(states.repeat(400, 1)).reshape(400, -1)`.
# </details>


# %% nbgrader={"grade_id": "is_honest", "solution": true}
def is_honest(bound: Callable[[Float[Tensor, "b n"]], Float[Tensor, "b"]], n: int) -> bool:
    """Whether exp of the mean bound sums to at most 1 over all binary pictures, up to 1 % [equation 18]."""
    # TODO      True for an honest bound, False for one that claims too much
    ### BEGIN SOLUTION
    states = every_state(n)
    draws = bound(states.repeat(400, 1)).reshape(400, len(states))
    return bool(draws.mean(0).exp().sum() <= 1.01)
    ### END SOLUTION


# %% nbgrader={"grade_id": "is_honest_check", "grade": true, "points": 4}
# Bounds of small worlds in which log p(x) is known for every picture, some honest, some
# not. You should see: 14 cases right.
checks.run("is_honest", is_honest)

# %% [markdown]
# ## 10 · Your line in the leaderboard
#
# One line a model; chapter 16 collects them all. The nats are *bounds*. Drawing a digit takes one pass through the decoder, however large the picture.


# %% tags=["lab"]
def draw_words(count: int) -> Tensor:
    """Digits from uniformly drawn codes."""
    codes = F.one_hot(torch.randint(VALUES, (count, GROUPS)), VALUES)
    return wordy.decoder(codes.float().flatten(1))


board = {}
for name, model, draw in [
    *((n, m, m.sample) for n, m in models.items()),
    ("categorical", wordy, draw_words),
]:
    nats = one_hot[0] if name == "categorical" else honest[name][GUESSES][0]
    label = {"vae": "VAE, 32 latents", "vae-2d": "VAE, 2 latents"}.get(
        name, f"VAE, {GROUPS} symbols"
    )
    board[label] = {
        "test nats, at most": nats,
        "by": "ELBO" if name == "categorical" else f"IWAE, K = {GUESSES}",
        "ms a digit": report.milliseconds(lambda d=draw: d(16), 16, repeats=5),
        "network passes a digit": 1,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
for name, row in board.items():
    report.metric(f"{name} sampling", row["ms a digit"], "ms a digit")
plot.show(plot.table(board, best={"test nats, at most": "min", "ms a digit": "min"}))

# %% [markdown]
# **What you can now do.** Give a picture a hidden cause; learn to guess it and to draw from it with one number; say exactly what that number lacks; tighten it; see why a latent falls silent and make it speak;
# use words for codes; and catch a bound that lies.
#
# **What is still missing.** Look at the samples: smooth, a little soft. The decoder speaks of each pixel *by itself*, so where it is in doubt it answers in grey. A person who sees the picture would object at
# once. What if we let a second network *look* at the pictures and object? No likelihood, no bound, only a critic to be convinced: chapter 05, **GAN**. The code returns in chapter 07, where words and critic
# come together, and a chain of a thousand small VAEs with nothing left to learn in their encoders is called a **diffusion model**: chapter 09.
