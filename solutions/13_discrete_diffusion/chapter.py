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
# # 13 · Discrete diffusion
#
# HEAD

# %% tags=["parameters"]
PROFILE = "laptop"  # or "smoke" (seconds, to see that all runs), or "gpu" (the size of the papers)
TRAIN = True  # False: skip the training and use the ready weights alone

# %% nbgrader={"grade_id": "setup", "locked": true}
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from coursekit import checks
from genmodels import discrete, samplers, schedule, toy

SEED = 0
torch.manual_seed(SEED)
LETTERS = "abcd"
LANGUAGE = toy.TinyLanguage.random(4, 2, seed=0, spread=1.5)  # 16 texts, every probability known
P = LANGUAGE.log_probs.exp().reshape(4, 4)
UNIFORM = torch.full((4,), 1 / 4, dtype=torch.float64)  # pi of uniform noise
MASKS = torch.tensor([0.0, 0, 0, 0, 1], dtype=torch.float64)  # pi of masking noise: a fifth symbol


def process_of(pi: Float[Tensor, "v"]) -> discrete.Process:
    """The library's noise with this pi; its alpha(t) is 1 - t."""
    if float(pi[-1]) == 1:
        return discrete.Masking(len(pi) - 1, schedule.rectified())
    return discrete.Uniform(len(pi), schedule.rectified())


# %% tags=["lab"]


# %% [markdown] exercise={"id": "transition", "difficulty": 1, "importance": 5, "minutes": 8}
# ### Exercise · The matrix between two times
#
# `alpha_s` and `alpha_t` are the chances that a symbol is still untouched at the times $s<t$; `pi` is the law from
# which touched symbols are redrawn. Return the matrix from $s$ to $t$: the entry in row $j$ and column $k$ is
# $P(x_t=k\mid x_s=j)$. So every row sums to 1.
#
# <details><summary>Hint: right from clean text, wrong from noisy text</summary>
#
# A symbol that is untouched at $t$ was untouched at $s$ *and* between $s$ and $t$. With which chance does it survive
# the time between?
# </details>
# <details><summary>Hint: the diagonal is too small</summary>
#
# Who is redrawn may draw the same symbol again.
# </details>


# %% nbgrader={"grade_id": "transition", "solution": true} autograde={"library": ["genmodels.discrete.Uniform", "genmodels.discrete.Masking", "genmodels.discrete.Process"]}
def transition(alpha_t: float, alpha_s: float, pi: Float[Tensor, "v"]) -> Float[Tensor, "v v"]:
    """P(x_t = column | x_s = row) of one symbol, in the dtype of ``pi``; alpha_s > 0."""
    # TODO      the matrix of the noise between the times s and t
    ### BEGIN SOLUTION
    a = alpha_t / alpha_s
    return a * torch.eye(len(pi), dtype=pi.dtype) + (1 - a) * pi.expand(len(pi), -1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "transition_check", "grade": true, "points": 2}
# Three kinds of noise against matrix exponentials of the jump rates. You should see: 5 cases right.
checks.run("transition", transition)

# %% [markdown] exercise={"id": "posterior", "difficulty": 3, "importance": 5, "minutes": 15}
# ### Exercise · One step back
#
# For every position the network says `p0`: its probabilities of the clean symbol, given the noisy text. Return the
# probabilities of the symbol at the earlier time $s$, an average over the clean symbols $k$ that may have been there:
#
# $$p(x_s=y\mid x_t)=\sum_k p_0(k)\;q(x_s=y\mid x_t,\,x_0=k)$$
#
# Each text has its own symbols, `x_t` is `(b, l)`; `p0` has one more axis, over the symbols of `pi`. Where
# $q(x_t\mid k)=0$, the symbol $k$ cannot have been there, and `p0` is 0 too: it adds nothing.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Bayes' rule for one $k$: the probability of the way $k\to y\to x_t$, over the probability of $k\to x_t$. Each of the
# three is a matrix from `transition`, or a few lines without one.
# </details>
# <details><summary>Hint: <code>nan</code> with masks</summary>
#
# You divide by $q(x_t\mid k)=0$. Divide by 1 there: the numerator is 0 already.
# </details>
# <details><summary>Hint: the sums are 1, the values are wrong</summary>
#
# Normalise for each clean symbol $k$ *before* you average over $k$. And look which of the matrices is taken at which
# time, and whether $x_t$ is its row or its column.
# </details>


# %% nbgrader={"grade_id": "posterior", "solution": true} autograde={"library": ["genmodels.discrete.Uniform", "genmodels.discrete.Masking", "genmodels.discrete.Process", "genmodels.samplers.ancestral_kernel"]}
def posterior(
    x_t: Int[Tensor, "b l"],
    p0: Float[Tensor, "b l v"],
    alpha_t: float,
    alpha_s: float,
    pi: Float[Tensor, "v"],
) -> Float[Tensor, "b l v"]:
    """p(x_s = y | x_t) for every position, where x_0 ~ p0 given x_t."""
    # TODO      Bayes' rule for each clean symbol, averaged over p0
    ### BEGIN SOLUTION
    stay = F.one_hot(x_t, len(pi)).to(p0.dtype)
    a = alpha_t / alpha_s
    into = lambda survive: (
        survive * stay + (1 - survive) * pi[x_t][..., None]
    )  # q(x_t | each symbol)
    q = into(alpha_t)
    w = p0 / torch.where(q > 0, q, 1.0)
    return (alpha_s * w + (1 - alpha_s) * pi * w.sum(-1, keepdim=True)) * into(a)
    ### END SOLUTION


# %% nbgrader={"grade_id": "posterior_check", "grade": true, "points": 3}
# Texts under both noises; the truth multiplies whole matrices, clean symbol by clean symbol.
# You should see: 5 cases right.
checks.run("posterior", posterior)

# %% [markdown] exercise={"id": "concrete_score", "difficulty": 2, "importance": 5, "minutes": 12}
# ### Exercise · From the guess to the ratios
#
# RATIOS
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Write $p_t(y)$ as a sum over the clean text: $p_t(y)=\sum_{x_0}p(x_0)\,q(y\mid x_0)$. In $y$ one position differs
# from $x_t$. Multiply and divide by $q(x_t\mid x_0)$, and the joint probability of $x_0$ and $x_t$ appears.
# </details>
# <details><summary>Hint: the entry at <code>y = x_t</code> is not 1</summary>
#
# The ratio of a number to itself is 1; your numerator and denominator are taken at different times or from different symbols.
# </details>
# <details><summary>Hint: every value is the inverse of the expected one</summary>
#
# The new text stands above the line, the present one below.
# </details>


# %% nbgrader={"grade_id": "concrete_score", "solution": true} autograde={"library": ["genmodels.discrete.Uniform", "genmodels.discrete.Masking", "genmodels.discrete.Process", "genmodels.samplers.concrete_score"]}
def concrete_score(
    p0: Float[Tensor, "b l v"], x_t: Int[Tensor, "b l"], alpha: float, pi: Float[Tensor, "v"]
) -> Float[Tensor, "b l v"]:
    """p_t(y) / p_t(x_t), y being x_t with the symbol of one position replaced, from p0 = p(x_0 | x_t)."""
    # TODO      the ratios, for each position and each symbol
    ### BEGIN SOLUTION
    q = alpha * F.one_hot(x_t, len(pi)) + (1 - alpha) * pi[x_t][..., None]
    w = p0 / torch.where(q > 0, q, 1.0)
    return (alpha * w + (1 - alpha) * pi * w.sum(-1, keepdim=True)).to(p0.dtype)
    ### END SOLUTION


# %% nbgrader={"grade_id": "concrete_score_check", "grade": true, "points": 3}
# Languages of up to 64 texts: every ratio is counted out. You should see: 4 cases right.
checks.run("concrete_score", concrete_score)

# %% [markdown] exercise={"id": "score_entropy", "difficulty": 2, "importance": 5, "minutes": 10}
# ### Exercise · A loss for ratios
#
# ENTROPY
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Integrate $1-r/\hat r$ over $\hat r$. The constant of integration may depend on $r$: choose it so that the loss is 0
# at $\hat r=r$.
# </details>
# <details><summary>Hint: <code>nan</code> where a ratio is 0</summary>
#
# $r\log r\to 0$ for $r\to0$: what is left of the loss? `torch.where` also needs finite numbers in the branch that it
# does not take, or the gradient becomes `nan`.
# </details>


# %% nbgrader={"grade_id": "score_entropy", "solution": true} autograde={"library": ["genmodels.discrete.score_entropy", "genmodels.discrete.process.score_entropy"]}
def score_entropy(
    log_score: Float[Tensor, "..."], ratio: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """The loss of each entry, from the logarithm of the score and the true ratio >= 0."""
    # TODO      0 where the score is right; its slope in the score is 1 - ratio / score
    ### BEGIN SOLUTION
    safe = torch.where(ratio > 0, ratio, 1.0)
    return log_score.exp() - ratio * log_score + ratio * safe.log() - ratio
    ### END SOLUTION


# %% nbgrader={"grade_id": "score_entropy_check", "grade": true, "points": 2}
# Values and slopes against the integral of the slope. You should see: 3 cases right.
checks.run("score_entropy", score_entropy)

# %% [markdown] exercise={"id": "elbo_at", "difficulty": 3, "importance": 5, "minutes": 18}
# ### Exercise · What one noisy text says about its likelihood
#
# ELBO
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# The true ratio, given $x_0$, is one division of two numbers $q(\cdot\mid x_0)$, for each position. Then your
# `score_entropy`, times the rate of the forward jump *into* $x_t$, summed over symbols and positions.
# </details>
# <details><summary>Hint: right under uniform noise, wrong under masks</summary>
#
# Which jump of the forward noise is undone when the way back goes from $x_t$ to $y$? The one from $y$ to $x_t$. Under
# masks it leads to the mask: a letter that is seen adds nothing.
# </details>
# <details><summary>Hint: too large by the same amount in every position</summary>
#
# $y=x_t$ is no jump; leave it out.
# </details>


# %% nbgrader={"grade_id": "elbo_at", "solution": true} autograde={"library": ["genmodels.discrete.Uniform", "genmodels.discrete.Masking", "genmodels.discrete.Process", "genmodels.discrete.score_entropy", "genmodels.discrete.process.score_entropy"]}
def elbo_at(
    log_score: Float[Tensor, "b l v"],
    x0: Int[Tensor, "b l"],
    x_t: Int[Tensor, "b l"],
    alpha: Float[Tensor, "b"],
    rate: Float[Tensor, "b"],
    pi: Float[Tensor, "v"],
) -> Float[Tensor, "b"]:
    """The integrand of the bound on -log p(x_0), in nats for each unit of time, at noisy texts x_t."""
    # TODO      weighted score entropy, summed over the jumps and the positions of each text
    ### BEGIN SOLUTION
    a = alpha[:, None, None].to(log_score.dtype)
    noisy = a * F.one_hot(x0, len(pi)) + (1 - a) * pi.to(log_score.dtype)  # q(each symbol | x_0)
    ratio = noisy / noisy.gather(2, x_t[..., None])
    here = F.one_hot(x_t, len(pi)).bool()
    loss = score_entropy(log_score, ratio).masked_fill(here, 0.0).sum(-1)
    into = rate[:, None].to(log_score.dtype) * pi[x_t]
    return (into * loss).sum(1).to(log_score.dtype)
    ### END SOLUTION


# %% nbgrader={"grade_id": "elbo_at_check", "grade": true, "points": 4}
# Values and gradients against the relative entropy of two jump processes, jump by jump.
# You should see: 3 cases right.
checks.run("elbo_at", elbo_at)

# %% [markdown] exercise={"id": "undo", "difficulty": 4, "importance": 5, "minutes": 18}
# ### Exercise · Undo the noise
#
# UNDO
#
# <details><summary>Hint: what is the inverse of the noise?</summary>
#
# Apply the noise with survival $a$ to a row $w$: $a\,w+(1-a)\,\pi\sum_k w_k$. It leaves the sum as it is. Solve for $w$.
# The result has the same form, with another number for $a$.
# </details>
# <details><summary>Hint: right for a long step, wrong for a short one</summary>
#
# What happens between $s$ and $t$ has the survival $\alpha_t/\alpha_s$, in both factors.
# </details>
# <details><summary>Hint: the sums are 1, the values are wrong</summary>
#
# Undoing gives $p_s(y)/p_t(x_t)$. That is not yet $p(y\mid x_t)$: from $y$, the noise must have led to $x_t$.
# </details>


# %% nbgrader={"grade_id": "undo", "solution": true} autograde={"library": ["genmodels.discrete.Uniform", "genmodels.discrete.Masking", "genmodels.discrete.Process", "genmodels.samplers.tweedie_kernel", "genmodels.samplers.tweedie"]}
def undo(
    log_score: Float[Tensor, "b l v"],
    x_t: Int[Tensor, "b l"],
    alpha_t: float,
    alpha_s: float,
    pi: Float[Tensor, "v"],
) -> Float[Tensor, "b l v"]:
    """Probabilities of each position's symbol at time s, from the log score at t alone."""
    # TODO      undo the noise between s and t on the score, then Bayes' rule
    ### BEGIN SOLUTION
    a, pi = alpha_t / alpha_s, pi.to(log_score.dtype)
    score = log_score.exp()
    before = score / a + (1 - 1 / a) * pi * score.sum(-1, keepdim=True)
    into = a * F.one_hot(x_t, len(pi)) + (1 - a) * pi[x_t][..., None]
    weight = before.clamp_min(0) * into
    return weight / weight.sum(-1, keepdim=True)
    ### END SOLUTION


# %% nbgrader={"grade_id": "undo_check", "grade": true, "points": 4}
# Exact and spoilt scores against the inverse of the whole matrix. You should see: 5 cases right.
checks.run("undo", undo)

# %% [markdown] exercise={"id": "halves_its_error", "difficulty": 4, "importance": 4, "minutes": 20}
# ### Exercise · A test for token samplers
#
# TEST


# %% nbgrader={"grade_id": "halves_its_error", "solution": true}
def halves_its_error(
    kernel: Callable[[Int[Tensor, "b l"], float, float], Float[Tensor, "b l v"]],
    p: Float[Tensor, "*v"],
) -> bool:
    """Whether the sampler with this kernel ends in p, with an error that falls at least like 1 / steps."""
    # TODO      True for a right sampler, False for any other
    ### BEGIN SOLUTION
    noise = discrete.Uniform(p.shape[0], schedule.rectified())
    errors = []
    for steps in (16, 32, 64):
        times = [1 - k / steps for k in range(steps)] + [0.0]
        lowest = []

        def watched(x, t, s, lowest=lowest):
            rows = kernel(x, t, s)
            lowest.append(float(rows.min()))
            return rows

        try:
            law = samplers.terminal_law(watched, noise, p.ndim, times)
        except ValueError:
            return False
        if not min(lowest) >= -1e-9:
            return False
        errors.append(float((law - p).abs().sum()) / 2)
    return all(b < 1e-9 or a / b > 1.75 for a, b in zip(errors, errors[1:]))
    ### END SOLUTION


# %% nbgrader={"grade_id": "halves_its_error_check", "grade": true, "points": 4}
# Your test meets right samplers, which it must accept, and broken ones, which it must not.
# You should see: 15 cases right.
checks.run("halves_its_error", halves_its_error)
