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
# # 14 · Masked diffusion
#
# **The one idea.** BERT fills in masked words at one rate of masks. Draw the rate at random, weigh the loss rightly,
# and the same network becomes a generative model: its loss is the average over all reading orders.
#
# | | |
# |---|---|
# | **You will build** | the loss and the samplers of MDLM and LLaDA, and a test that tells which of them are fair |
# | **Time** | about 2 hours, of which {{minutes}} minutes are exercises ({{exercises}} exercises, {{points}} points) |
# | **You need** | chapter 13: noise on tokens, the posterior by Bayes; chapter 01: the chain rule |
# | **Computing** | {{budget}} |
#
# <details><summary><b>Sources</b></summary>
#
# - MDLM: Sahoo et al., *Simple and effective masked diffusion language models*, 2024, [arXiv 2406.07524](https://arxiv.org/abs/2406.07524)
# - LLaDA: Nie et al., *Large language diffusion models*, 2025, [arXiv 2502.09992](https://arxiv.org/abs/2502.09992)
# - RADD: Ou et al., 2024, [arXiv 2406.03736](https://arxiv.org/abs/2406.03736)
# </details>

# %% tags=["parameters"]
PROFILE = "laptop"  # or "smoke" (seconds, to see that all runs), or "gpu"
TRAIN = True  # nothing is trained here

# %% nbgrader={"grade_id": "setup", "locked": true}
import itertools
import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coursekit import checks
from genmodels import core, discrete, samplers, schedule, toy

SEED = 0
torch.manual_seed(SEED)

# %% tags=["lab"]
from coursekit import report
from genmodels import train

# %% [markdown]
# ## 1 · Pretend you have read no paper: let BERT write
#
# Time $t=0$ is data and $t=1$ is noise. A token of $x_0$ is masked with chance $t$:
#
# | symbol | meaning | in code | in the papers |
# |---|---|---|---|
# | $t$, $s$ | a time, and the next, less noisy one: $s<t$ | `t`, `s` | $t$, $s$ |
# | $\alpha(t)=1-t$ | chance that a token is still visible | `1 - t` | $\alpha_t$ (MDLM) |
# | $l$, $v$ | tokens of a text, symbols of the alphabet | `l`, `v` | $L$, $K$ or $V$ |
# | $m$ | the mask, one symbol more | `mask` | $\mathbf m$, M |
# | $k$ | how many tokens are masked | `k` | $l$ (LLaDA) |
# | $p(x_0^i\mid x_t)$ | the network's guess of token $i$ | `log_p` | $x_\theta$, $p_\theta$ |
#
# A BERT is trained with 15 % of its tokens masked. To write with it, begin with masks alone and fill one token at a
# time. At the start the network sees 100 % masks, which it has never met. Suppose it is perfect wherever it was
# trained, with at most half of the tokens masked, and elsewhere knows the frequencies of the symbols only. Where
# does such a writer end? A tiny language has all its texts in one table, so the answer is a number.

# %%
language = toy.TinyLanguage.random(3, 3, seed=1, spread=1.5)
process = discrete.Masking(language.v, schedule.rectified())
truth = torch.nn.functional.pad(language.log_probs.exp().reshape(3, 3, 3), (0, 1) * 3)


def distance(law: Float[Tensor, "*v"]) -> float:
    """Total variation to the language: the share of texts that would have to change."""
    return float((law - truth).abs().sum() / 2)


def grid(steps: int) -> list[float]:
    """Times from 1 to 0."""
    return [1 - k / steps for k in range(steps + 1)]


frequencies = language(torch.full((1, 3), language.mask)).exp().mean(1, keepdim=True).log()


def bert(x: Int[Tensor, "b l"], t: float) -> Float[Tensor, "b l v"]:
    """Perfect with at most half of the tokens masked, else only the frequencies of the symbols."""
    many = (x == language.mask).double().mean(1) > 0.5
    return torch.where(many[:, None, None], frequencies.expand(len(x), 3, -1), language(x, t))


every_order = [discrete.in_order(o) for o in itertools.permutations(range(3))]
for name, net in [("BERT, filled one by one", bert), ("perfect at every rate", language)]:
    kernel = samplers.confidence_kernel(net, process, rank=every_order)
    law = samplers.terminal_law(kernel, process, 3, grid(3))
    print(f"{name:25s}: total variation to the language {distance(law):.4f}")

# %% [markdown]
# So a generative model must be trained at **every** rate of masks. The rate becomes the time $t$.
#
# ## 2 · What every network should know
#
# Two facts follow from masking itself. The clean token is not the mask. And a visible token is known.

# %% [markdown] exercise={"id": "subs", "difficulty": 1, "importance": 4, "minutes": 8}
# ### Exercise · Two facts the network need not learn
#
# Turn logits over all states, the mask among them, into log-probabilities that respect both facts.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Which log-probability has an impossible symbol, and which a certain one?
# </details>
# <details><summary>Hint: the probabilities do not sum to 1</summary>
#
# Rule the mask out before the softmax.
# </details>


# %% nbgrader={"grade_id": "subs", "solution": true} autograde={"library": ["genmodels.discrete.subs"]}
def subs(
    logits: Float[Tensor, "b l states"], x_t: Int[Tensor, "b l"], mask: int
) -> Float[Tensor, "b l states"]:
    """log p(x_0 | x_t): never the mask; a visible token is certain [MDLM, section 3.2.3]."""
    # TODO      both facts
    ### BEGIN SOLUTION
    symbols = torch.arange(logits.shape[-1])
    log_p = logits.masked_fill(symbols == mask, -math.inf).log_softmax(-1)
    known = torch.zeros_like(logits).masked_fill(symbols != x_t[..., None], -math.inf)
    return torch.where((x_t == mask)[..., None], log_p, known)
    ### END SOLUTION


# %% nbgrader={"grade_id": "subs_check", "grade": true, "points": 2}
# The truth is written token by token. You should see: 4 cases right.
checks.run("subs", subs)

# %% [markdown]
# ## 3 · The bound in time
#
# A masked token jumps to its value somewhere between $t$ and $t-dt$ with chance $dt/t$: it had to be revealed at
# some time below $t$, and all are alike. The network pays for its guess at that moment. So a draw of the bound on
# $-\log p(x_0)$ is the loss of the masked tokens, weighed by the rate of reveals.

# %% [markdown] exercise={"id": "masked_bound", "difficulty": 2, "importance": 5, "minutes": 10}
# ### Exercise · One draw of the bound
#
# `log_p` are the network's predictions from `x_t`, the mask is its last state, and `t` has one time for each text.
# Return nats for each text.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# `gather` takes the log-probability of the true symbol. Which tokens count?
# </details>
# <details><summary>Hint: what is the weight?</summary>
#
# On average $t\,l$ tokens are masked. What makes up for that?
# </details>


# %% nbgrader={"grade_id": "masked_bound", "solution": true}
def masked_bound(
    log_p: Float[Tensor, "b l states"],
    x0: Int[Tensor, "b l"],
    x_t: Int[Tensor, "b l"],
    t: Float[Tensor, "b"],
) -> Float[Tensor, "b"]:
    """A draw of MDLM's bound for alpha(t) = 1 - t."""
    # TODO      the weighed loss of the masked tokens
    ### BEGIN SOLUTION
    nll = -log_p.gather(-1, x0[..., None])[..., 0]
    return torch.where(x_t == log_p.shape[-1] - 1, nll, 0.0).sum(1) / t
    ### END SOLUTION


# %% nbgrader={"grade_id": "masked_bound_check", "grade": true, "points": 2}
# The truth is summed in Python. You should see: 3 cases right.
checks.run("masked_bound", masked_bound)

# %% [markdown]
# ## 4 · Count instead of time
#
# With $t$ drawn, the number $k$ of masks is still left to chance. LLaDA draws $k$ itself, evenly from 1 to $l$, masks
# exactly $k$ tokens and weighs their loss by $l/k$. The mean is the same; one source of noise is gone.

# %% [markdown] exercise={"id": "draw_masks", "difficulty": 2, "importance": 4, "minutes": 10}
# ### Exercise · Exactly k masks
#
# Return `b` rows of `l` truth values, True where a token is masked: each row with its own $k$, and every set of $k$
# tokens equally likely. The generator makes all draws.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Give each token of a row a random number. What do the $k$ smallest of them form?
# </details>
# <details><summary>Hint: how do I compare a token with k?</summary>
#
# By its rank in its row; sorting twice gives ranks.
# </details>


# %% nbgrader={"grade_id": "draw_masks", "solution": true}
def draw_masks(b: int, l: int, generator: torch.Generator) -> Bool[Tensor, "b l"]:
    """Masks of LLaDA's training: k ~ uniform{1..l}, then any k tokens [LLaDA, eq. 6]."""
    # TODO      k for each row, then which k
    ### BEGIN SOLUTION
    k = torch.randint(1, l + 1, (b, 1), generator=generator)
    return torch.rand(b, l, generator=generator).argsort(1).argsort(1) < k
    ### END SOLUTION


# %% nbgrader={"grade_id": "draw_masks_check", "grade": true, "points": 3}
# 8000 masks are counted, each share within 5.5 standard errors. You should see: 2 cases right.
checks.run("draw_masks", draw_masks)

# %% [markdown]
# ## 5 · All masks, all orders
#
# Picture the $2^l$ sets of masks as a lattice, from all masked to none. A reading order is a path through it, one
# token a step. The bound is the mean over all $l!$ paths of the chain rule of chapter 01. A set of $k$ masks out of
# $n$ is met by $k!\,(n-k)!$ of the $n!$ paths, and each of its $k$ tokens is read next by an equal share of these.

# %% [markdown] exercise={"id": "over_all_masks", "difficulty": 3, "importance": 5, "minutes": 15}
# ### Exercise · The bound without chance
#
# `predict(x_t)` returns log-probabilities. Compute the bound exactly with $2^n$ calls at most, not $n!$.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# `itertools.product` lists all sets. Work out the weight of one masked token's loss in a set of $k$.
# </details>
# <details><summary>Hint: the weight</summary>
#
# Divide the number of paths that pass the set *and then read this token* by the number of all paths.
# </details>


# %% nbgrader={"grade_id": "over_all_masks", "solution": true} autograde={"library": ["genmodels.discrete.exact_masked_nelbo"]}
def over_all_masks(
    predict: Callable[[Int[Tensor, "b n"]], Float[Tensor, "b n states"]],
    x0: Int[Tensor, "b n"],
    mask: int,
) -> Float[Tensor, "b"]:
    """The mean over all reading orders of -log p(x_0), in nats."""
    # TODO      a weighed sum over all sets of masks
    ### BEGIN SOLUTION
    n = x0.shape[1]
    bound = torch.zeros(len(x0), dtype=torch.float64)
    for pattern in itertools.product([False, True], repeat=n):
        if k := sum(pattern):
            weight = math.factorial(k - 1) * math.factorial(n - k) / math.factorial(n)
            hidden = torch.tensor(pattern)
            log_p = predict(torch.where(hidden, mask, x0))
            nll = -log_p.gather(-1, x0[..., None])[..., 0]
            bound = bound + weight * torch.where(hidden, nll, 0.0).sum(1)
    return bound
    ### END SOLUTION


# %% nbgrader={"grade_id": "over_all_masks_check", "grade": true, "points": 3}
# The truth reads each text in all n! orders. You should see: 3 cases right.
checks.run("over_all_masks", over_all_masks)

# %% [markdown]
# With the perfect network every order costs $-\log p(x_0)$, so the bound is tight. The next cell compares it, and
# the spread of the two estimators.

# %% tags=["lab"]
exact_bound = checks.fallback(
    over_all_masks,
    discrete.exact_masked_nelbo,
    works=lambda f: torch.allclose(f(language, language.sequences[:2], 3), -language.log_probs[:2]),
)
some = language.sequences[[0, 9, 20]]
for x0, bound in zip(some, exact_bound(language, some, language.mask), strict=True):
    print(f"{x0.tolist()}: bound {bound:.12f}, -log p {-float(language.log_prob(x0[None])):.12f}")
draws = 500 if PROFILE == "smoke" else 20_000
texts = some[:1].expand(draws, -1)
by_time = process.nelbo(language, texts, torch.rand(draws).double(), generator=core.generator(1))
by_count = discrete.llada_nelbo(language, texts, language.mask, generator=core.generator(2))
for name, value in [("time", by_time), ("count", by_count)]:
    error = float(value.std()) / draws**0.5
    print(
        f"{name:5s} estimator: {float(value.mean()):.3f} ± {error:.3f}, std of a draw {float(value.std()):.2f}"
    )

# %% [markdown]
# ## 6 · Write
#
# From $t$ to $s$ some masks are revealed. A mask at $t$ is one whose token is revealed at a uniform time below $t$.

# %% [markdown] exercise={"id": "reveal", "difficulty": 3, "importance": 5, "minutes": 15}
# ### Exercise · One step back
#
# Each masked token is revealed, or not, on its own; what is revealed is drawn from `log_p`. Visible tokens stay.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# What is the chance that a uniform time below $t$ lies between $s$ and $t$?
# </details>
# <details><summary>Hint: how do I draw a symbol?</summary>
#
# `core.sample_categorical(log_p, generator=generator)`, or `torch.multinomial` on flattened probabilities.
# </details>


# %% nbgrader={"grade_id": "reveal", "solution": true}
def reveal(
    x: Int[Tensor, "b l"],
    t: float,
    s: float,
    log_p: Float[Tensor, "b l states"],
    mask: int,
    generator: torch.Generator,
) -> Int[Tensor, "b l"]:
    """x_s given x_t: the ancestral step of MDLM for alpha(t) = 1 - t."""
    # TODO      which masks, and which symbols
    ### BEGIN SOLUTION
    guess = core.sample_categorical(log_p, generator=generator)
    now = torch.rand(x.shape, generator=generator, dtype=torch.float64) < (t - s) / t
    return torch.where(now & (x == mask), guess, x)
    ### END SOLUTION


# %% nbgrader={"grade_id": "reveal_check", "grade": true, "points": 3}
# 6000 runs of one step, shares within 5.5 standard errors. You should see: 3 cases right.
checks.run("reveal", reveal)

# %% [markdown]
# ## 7 · The order that everybody uses
#
# LLaDA guesses all masks, keeps the most confident guesses, and masks the rest again. (Readers of its code ask
# whether anything is *re*-masked, [LLaDA #70](https://github.com/ML-GSAI/LLaDA/issues/70): a token that was
# kept is never masked again.)

# %% [markdown] exercise={"id": "keep_confident", "difficulty": 3, "importance": 4, "minutes": 12}
# ### Exercise · Keep the k most confident
#
# Guess the likeliest symbol at every mask; reveal in text $i$ the `k[i]` most confident of these guesses, or all,
# if fewer are masked. Visible tokens neither change nor count.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# `log_p.max(-1)` gives confidence and guess at once. What confidence should a visible token get?
# </details>
# <details><summary>Hint: k differs from text to text</summary>
#
# `topk` wants one k; ranks within a row do not.
# </details>


# %% nbgrader={"grade_id": "keep_confident", "solution": true} autograde={"library": ["genmodels.discrete.keep_top", "genmodels.samplers.confidence"]}
def keep_confident(
    x: Int[Tensor, "b l"], log_p: Float[Tensor, "b l states"], k: Int[Tensor, "b"], mask: int
) -> Int[Tensor, "b l"]:
    """Low-confidence remasking at temperature 0 [LLaDA, algorithm 5]."""
    # TODO      the k best of the masked tokens
    ### BEGIN SOLUTION
    best, guess = log_p.max(-1)
    hidden = x == mask
    rank = best.masked_fill(~hidden, -math.inf).argsort(1, descending=True).argsort(1)
    return torch.where(hidden & (rank < k[:, None]), guess, x)
    ### END SOLUTION


# %% nbgrader={"grade_id": "keep_confident_check", "grade": true, "points": 3}
# The truth sorts in Python. You should see: 4 cases right.
checks.run("keep_confident", keep_confident)

# %% [markdown]
# How wrong is it? The network is perfect, guesses are *drawn*, and one token is kept a step. Only the order differs.

# %% tags=["lab"]
once = samplers.ancestral_kernel(language, process)
best_first = samplers.confidence_kernel(language, process)
any_order = samplers.confidence_kernel(language, process, rank=every_order)
table = {
    "all at once": distance(samplers.terminal_law(once, process, 3, grid(1))),
    "most confident first": distance(samplers.terminal_law(best_first, process, 3, grid(3))),
    "random order": distance(samplers.terminal_law(any_order, process, 3, grid(3))),
}
for steps in (4, 16, 64):
    table[f"ancestral, {steps} steps"] = distance(
        samplers.terminal_law(once, process, 3, grid(steps))
    )
for name, tv in table.items():
    print(f"{name:22s} total variation {tv:.4f}")
report.metric("most confident first, perfect net", table["most confident first"], "total variation")
report.metric("all at once, perfect net", table["all at once"], "total variation")

# %% [markdown]
# The confident order is far off although the network is perfect: which guess is kept depends on what was guessed,
# so likely texts win twice. Random order has no such bias.

# %% [markdown] exercise={"id": "writes_fairly", "difficulty": 4, "importance": 5, "minutes": 15}
# ### Exercise · A test for samplers
#
# `law(language, steps)` is the exact law of the texts that a sampler writes in so many steps with the perfect
# network of `language`, a table of shape `(v + 1,) * l` (the last index of each axis is the mask). Return `True`
# exactly if this law tends to the language as the steps grow. Your test is graded by what it says of right and of
# broken samplers. `toy.TinyLanguage.random(v, l, seed, spread)` makes languages; `.log_probs` holds all $v^l$ texts.
#
# <details><summary>Hint: a right sampler is rejected</summary>
#
# Ancestral sampling has an error that halves when the steps double. Use many steps, and allow for it.
# </details>
# <details><summary>Hint: a broken sampler is accepted</summary>
#
# Look at whole texts, at masks left over, and at more than two tokens.
# </details>


# %% nbgrader={"grade_id": "writes_fairly", "solution": true}
def writes_fairly(law: Callable[[toy.TinyLanguage, int], Float[Tensor, "*states"]]) -> bool:
    """Whether the sampler's law tends to the language."""
    # TODO      True for a fair sampler, False for a broken one
    ### BEGIN SOLUTION
    for v, l, seed in [(3, 2, 0), (3, 3, 1)]:
        tiny = toy.TinyLanguage.random(v, l, seed, 1.5)
        p = torch.nn.functional.pad(tiny.log_probs.exp().reshape((v,) * l), (0, 1) * l)
        if float((law(tiny, 128) - p).abs().sum()) / 2 > 0.012:
            return False
    return True
    ### END SOLUTION


# %% nbgrader={"grade_id": "writes_fairly_check", "grade": true, "points": 4}
# Your test meets 4 fair samplers and 7 broken ones. You should see: 11 cases right.
checks.run("writes_fairly", writes_fairly)

# %% [markdown]
# ## 8 · Real text
#
# Ready weights that were trained on Shakespeare write one window with your `reveal`.

# %% tags=["lab"]
net = train.load_pretrained("masked_text").requires_grad_(False)
print(type(net).__name__, sum(p.numel() for p in net.parameters()), "parameters")
