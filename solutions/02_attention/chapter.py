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
# # 02 · Attention
#
# ![A line of Shakespeare, five times. The character that comes next is orange; blue shows where one head of the
# model of this chapter looks before it writes that character.](../assets/02_attention.png)
#
# "To be, or not to b". You know the next letter, and you know *why*: the same words stand a little to the left.
# You did not weigh everything that you have read so far. You looked back, at the right place.
#
# **The one idea.** Let each position of a sequence ask a question, and let the content of every earlier
# position decide how well it answers. The chain rule of chapter 01 stays as it was; only the network is new.
# It sees any distance in a single step, and it is the same network that writes text, codes and, in the last
# chapters, noise.
#
# | | |
# |---|---|
# | **You will build** | causal self-attention, three ways to tell it where things stand, a key-value cache and a sampler; together they write Shakespeare, character by character |
# | **Time** | about 2 hours: 40 minutes of reading and {{minutes}} of exercises ({{exercises}} exercises, {{points}} points) |
# | **You need** | chapter 01: the chain rule, masks, nats |
# | **Computing** | {{budget}} |
#
# <details><summary><b>Sources</b></summary>
#
# - Attention, sinusoidal positions: Vaswani et al., 2017, [arXiv 1706.03762](https://arxiv.org/abs/1706.03762)
# - Learned positions, pre-norm blocks at scale: Radford et al., *Language models are unsupervised multitask learners* (GPT-2), 2019
# - Relative positions: Shaw et al., 2018, [arXiv 1803.02155](https://arxiv.org/abs/1803.02155); as a bias (T5): Raffel et al., 2019, [arXiv 1910.10683](https://arxiv.org/abs/1910.10683)
# - RoPE: Su et al., 2021, [arXiv 2104.09864](https://arxiv.org/abs/2104.09864)
# - ALiBi and extrapolation: Press, Smith, Lewis, 2021, [arXiv 2108.12409](https://arxiv.org/abs/2108.12409)
# - No positions at all: Haviv et al., 2022, [arXiv 2203.16634](https://arxiv.org/abs/2203.16634)
# - Top-p sampling: Holtzman et al., 2019, [arXiv 1904.09751](https://arxiv.org/abs/1904.09751); top-k: Fan et al., 2018, [arXiv 1805.04833](https://arxiv.org/abs/1805.04833)
# </details>

# %% tags=["parameters"]
PROFILE = "laptop"  # or "smoke" (seconds, to see that all runs), or "gpu" (a larger model)
TRAIN = True  # False: skip the training and load the ready checkpoint

# %% nbgrader={"grade_id": "setup", "locked": true}
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from coursekit import checks
from coursekit.views import attention
from genmodels import core, nets, text

SEED = 0
torch.manual_seed(SEED)


def randn(*shape: int, seed: int) -> Tensor:
    """Normal numbers in float64, always the same for a seed."""
    return torch.randn(*shape, generator=core.generator(seed), dtype=torch.float64)


# %% tags=["lab"]
import functools
import textwrap
import time

import figures  # the chapter's pictures, beside this notebook
from IPython.display import display

from coursekit import lab, plot, report
from genmodels import data, toy, train

CORES = torch.get_num_threads()
torch.set_num_threads(1)  # the first models are too small a job to share between cores

# %% [markdown]
# ## 1 · Pretend you have read no paper
#
# Our data is a text: nine plays of Shakespeare, 1,168,813 characters out of an alphabet of 69. The last
# tenth is held out, and it comes from other plays than the first eight tenths.

# %% tags=["lab"]
plays = {split: data.shakespeare(split) for split in ("train", "valid", "test")}
letters = plays["train"].alphabet
print(f"{len(letters)} symbols: {letters!r}\n")
print(plays["train"].decode(plays["train"].tokens[10_007:10_330]))

# %% [markdown]
# The chain rule asks for $p(x_i\mid x_{<i})$: the next character, given all before it. In chapter 01 counting
# failed because pictures are too large. But a text is long and thin; so let us count again, and look at the
# last $k$ characters only. For each context of $k$ characters we note which character followed how often. A
# context that was rare borrows from its shorter self, as if we had seen $\alpha=5$ more characters there,
# distributed as the counter with $k-1$ says:
#
# $$p_k(x_i\mid x_{i-k},\dots,x_{i-1})=\frac{\mathrm{count}(x_{i-k},\dots,x_i)+\alpha\,p_{k-1}(x_i\mid x_{i-k+1},\dots,x_{i-1})}{\mathrm{count}(x_{i-k},\dots,x_{i-1})+\alpha} \tag{1}$$
#
# We measure in **bits per character**, $-\frac1n\sum_i\log_2 p(x_i\mid x_{<i})$: how many yes/no questions one
# character costs. Knowing nothing costs $\log_2 69=6.11$.


# %% tags=["lab"]
def codes(x: Tensor, k: int) -> Tensor:
    """The k + 1 characters that end at each place, as one whole number."""
    code = torch.zeros(len(x) - k, dtype=torch.long)
    for j in range(k + 1):
        code = code * len(letters) + x[j : len(x) - k + j]
    return code


def looked_up(table: tuple[Tensor, Tensor], asked: Tensor) -> Tensor:
    """How often each asked code is in the table of (sorted codes, counts)."""
    known, count = table
    at = torch.searchsorted(known, asked).clamp_max(len(known) - 1)
    return torch.where(known[at] == asked, count[at], 0)


short = {"smoke": 40_000}.get(PROFILE)
past, unseen_plays = plays["train"].tokens[:short], plays["test"].tokens[:short]
p, counted = torch.full((len(unseen_plays),), 1 / len(letters), dtype=torch.float64), []
for k in range(3 if PROFILE == "smoke" else 8):
    seen, asked = codes(past, k), codes(unseen_plays, k)
    wholes = seen.unique(return_counts=True)
    contexts = (seen // len(letters)).unique(return_counts=True)
    whole, context = looked_up(wholes, asked), looked_up(contexts, asked // len(letters))
    p = (whole + 5 * p[-len(asked) :]) / (context + 5)  # equation (1)
    counted.append(-p.log2().mean().item())
    known = (context > 0).double().mean()
    print(f"{k} before: {counted[-1]:.3f} bits, {len(wholes[0]):7,d} counts; {known:5.1%} known")
COUNTER = min(counted)

# %% tags=["lab"]
plot.show(figures.counting(counted, COUNTER))

# %% [markdown]
# Four characters back, and that is the end: with more context the counter gets *worse*, since most long
# contexts have never occurred. It has 129,000 counts by then and still does not know that "thee" and "thou"
# have anything to do with each other, nor who is speaking. Two things are missing: *similar* contexts must
# share what they learn, and somebody must decide **which** of the many earlier characters matter.
#
# A convolution (chapter 01) shares, but it looks at fixed distances. What matters in a text is rarely at a
# fixed distance.
#
# ## 2 · Attention: looking things up by what they are
#
# A Python dictionary answers a query by the value whose key is *equal* to it. Make that soft: compare the
# query with every key, turn the similarities into shares that sum to one, and answer with the mixture of the
# values. Everything is differentiable, so it can be learned what to ask and what to answer.
#
# Position $i$ holds a vector $x_i\in\mathbb R^d$. From it three linear maps make a **query** $q_i$ ("what am I
# looking for?"), a **key** $k_i$ ("what do I have?") and a **value** $v_i$ ("what do I say if asked?"), and
#
# $$s_{ij}=\frac{q_i\cdot k_j}{\sqrt e},\qquad a_{ij}=\frac{e^{s_{ij}}}{\sum_{m\le i}e^{s_{im}}}\ \ (j\le i),\qquad o_i=\sum_{j\le i}a_{ij}\,v_j \tag{2}$$
#
# | symbol | $q,k$ | $v$ | $e$ | $s$ | $a$ | $o$ |
# |---|---|---|---|---|---|---|
# | in code | `q`, `k` (b, h, l, e) | `v` (b, h, l, f) | `q.shape[-1]` | `q @ k.mT / e**0.5` | `softmax(-1)` of it | `a @ v` |
#
# (`b` texts in the batch, `h` heads, which are copies of the same game, `l` positions; `k.mT` swaps the last
# two dimensions.) The condition $j\le i$ is the **causal mask**, the triangle of chapter 01. This time the
# diagonal is *allowed*: $x_i$ is known when $x_{i+1}$ is predicted. The mask belongs to the scores,
# **before** the softmax: a forbidden score becomes $-\infty$, and $e^{-\infty}=0$ takes no share.
#
# **Why $\sqrt e$?** *With a pencil:* if the entries of $q$ and $k$ are independent with mean 0 and variance 1,
# then $q\cdot k$ is a sum of $e$ terms of variance 1, so its standard deviation is $\sqrt e$. Without the
# division a wide head begins its life with one share near 1 and the others near 0, where a softmax hardly
# has a gradient:

# %% tags=["lab"]
for e in (4, 64, 1024):
    q, k = randn(1000, e, seed=1), randn(20, e, seed=2)
    scores = q @ k.T
    raw, scaled = scores.softmax(-1), (scores / e**0.5).softmax(-1)
    print(
        f"e = {e:4d}: q.k has std {scores.std():5.1f} (sqrt e = {e**0.5:4.1f}); the largest of 20 "
        f"shares is {raw.amax(-1).mean():.2f} raw, {scaled.amax(-1).mean():.2f} with the root"
    )

# %% [markdown] exercise={"id": "causal_attention", "difficulty": 2, "importance": 5, "minutes": 12}
# ### Exercise · Causal attention
#
# Equation (2), for all positions, heads and texts at once. These few lines are the heart of every language
# model; everything else in this chapter is about them. (`F.scaled_dot_product_attention` is the same thing,
# fused and fast; write it once yourself.)
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# `q @ k.mT` has shape (b, h, l, l): row $i$ holds the scores of query $i$ with all keys. (`.mT` exchanges the last two
# dimensions; `.T` would turn all four around.)
# </details>
# <details><summary>Hint: the rows of shares do not sum to 1</summary>
#
# The softmax runs over the *keys*, the last dimension, and the mask comes before it. Multiplying by a mask
# afterwards takes shares away, and the future has already been counted in the denominator.
# </details>
# <details><summary>Hint: a position sees the future a little</summary>
#
# A forbidden score must be $-\infty$, not 0: a score of 0 is a perfectly good score.
# `scores.masked_fill(~allowed, -torch.inf)`.
# </details>
# <details><summary>Hint: <code>nan</code> in the first row, or in the last</summary>
#
# That position may look at nothing. In the first row: it may look at itself, `tril()`, not `tril(-1)`. In the last: the mask is
# upside down; `masked_fill` fills where its mask is `True`.
# </details>


# %% nbgrader={"grade_id": "causal_attention", "solution": true} autograde={"library": ["torch.nn.functional.scaled_dot_product_attention"]}
def causal_attention(
    q: Float[Tensor, "b h l e"], k: Float[Tensor, "b h l e"], v: Float[Tensor, "b h l f"]
) -> Float[Tensor, "b h l f"]:
    """Each position's mixture of the values at and before it [Vaswani et al. 2017, eq. 1; (2) here]."""
    # TODO  scores, mask, shares, mixture
    ### BEGIN SOLUTION
    l, e = q.shape[-2:]
    scores = q @ k.mT / e**0.5
    allowed = torch.ones(l, l, dtype=torch.bool).tril()
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ v
    ### END SOLUTION


# %% nbgrader={"grade_id": "causal_attention_check", "grade": true, "points": 3}
# No two sizes are equal; the truth is a loop that hands each query only the keys it may
# see. Then scores of thousands. You should see: 3 cases right.
checks.run("causal_attention", causal_attention)

# %%
attend = checks.fallback(
    causal_attention,
    lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    works=lambda f: (
        abs(
            f(*torch.tensor([0.0, 2, 0, 4, 1, 3]).reshape(3, 1, 1, 2, 1))[0, 0, 1, 0]
            - (1 + 3 * math.exp(8)) / (1 + math.exp(8))
        )
        < 1e-4
    ),
)

# %% [markdown]
# ### Several heads: several questions at once
#
# One position often needs to know several things: which word began here, who speaks, is there an open
# quotation? So the $d$ features are cut into $h$ **heads** of width $e=d/h$; each head plays the game of
# equation (2) alone, and a last matrix mixes the answers, $o=\mathrm{concat}(o^1,\dots,o^h)\,W_{\text{out}}^{\!\top}$.
# All that is bookkeeping of shapes, so here it is, ready:


# %%
class MultiHead(nn.Module):
    """Self-attention with several heads; ``place`` may turn queries and keys (section 6), ``bias`` comes in section 5."""

    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(d, 3 * d, bias=False)  # queries, keys and values in one matrix
        self.out = nn.Linear(d, d, bias=False)

    def forward(
        self, x: Float[Tensor, "b l d"], mix: Callable[..., Tensor] = attend
    ) -> Float[Tensor, "b l d"]:
        """``mix(q, k, v)`` is equation (2), with or without a sense of place."""
        b, l, d = x.shape
        q, k, v = self.qkv(x).reshape(b, l, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.out(mix(q, k, v).transpose(1, 2).reshape(b, l, d))


# %% [markdown]
# Is it the real thing? PyTorch has its own, written by others. Give both the same weights:

# %% tags=["lab"]
with torch.no_grad():
    torch.manual_seed(SEED)
    mine, theirs = MultiHead(12, 3), nn.MultiheadAttention(12, 3, bias=False, batch_first=True)
    theirs.in_proj_weight.copy_(mine.qkv.weight)
    theirs.out_proj.weight.copy_(mine.out.weight)
    x = torch.randn(2, 5, 12)
    future = torch.ones(5, 5, dtype=torch.bool).triu(1)
    gap = mine(x) - theirs(x, x, x, attn_mask=future, need_weights=False)[0]
print(f"largest difference from torch.nn.MultiheadAttention: {gap.abs().max():.1e}")

# %% [markdown]
# ## 3 · The surprise: attention cannot read
#
# Nothing in equation (2) says *where* a key stands. Take the mask away for a moment. If the positions are
# shuffled, $x_i\to x_{\pi(i)}$, then all scores are shuffled with them, a sum does not care about the order
# of its terms, and
#
# $$\mathrm{attention}(x_{\pi(1)},\dots,x_{\pi(l)})_i=\mathrm{attention}(x_1,\dots,x_l)_{\pi(i)} \tag{3}$$
#
# Attention is **permutation equivariant**: a text is to it a bag of characters. With the causal mask the last
# position still looks at all earlier ones, as at a *set*. Let us not believe it but look:

# %% tags=["lab"]
with torch.no_grad():
    vocabulary = nn.Embedding(len(letters), 12)
    everyone = lambda q, k, v: F.scaled_dot_product_attention(q, k, v)  # no mask
    read = lambda s: vocabulary(plays["train"].encode(s))[None]
    x, order = read("dog bites man"), torch.randperm(13, generator=core.generator(SEED))
    gap = mine(x[:, order], everyone) - mine(x, everyone)[:, order]
    print(f"equation (3): largest difference {gap.abs().max():.1e}")
    for a, b in [("dog bites man.", "man bites dog."), ("dog bites man.", "dog bites men.")]:
        gap = (mine(read(a)) - mine(read(b)))[0, -1].abs().max()
        print(f"causal, last position, {a!r} against {b!r}: difference {gap:.1e}")

# %% [markdown]
# To this layer, *dog bites man* and *man bites dog* are the same story, to the last digit of rounding.
#
# (A small print for the curious: from the second layer on the causal mask itself leaks some order, because
# position 3 has seen three others and position 9 has seen nine. In section 7 we measure how far a model gets
# on that alone.)
#
# So **position must be put in by hand**. There are three places to do it, and each has its followers: *add* it
# to the token (section 4), add it to the *scores* (section 5), or *turn* queries and keys by it (section 6).
#
# ## 4 · Absolute positions: add a vector to the token
#
# $x_i \leftarrow \mathrm{embedding}(\text{token}_i)+p_i$. **Learned**: $p_i$ is a free vector for each position,
# a table like that of the tokens. Simple, and it works; but the row of a position that never occurred in
# training holds what it was born with. **Sinusoidal**: a fixed pattern, hands of $d/2$ clocks that run at
# different speeds,
#
# $$p_m=(\sin m\omega_1,\dots,\sin m\omega_{d/2},\ \cos m\omega_1,\dots,\cos m\omega_{d/2}),\qquad \omega_j=10000^{-2(j-1)/d} \tag{4}$$
#
# *With a pencil*, from $\cos(a-b)=\cos a\cos b+\sin a\sin b$: the product of two of them is
# $p_m\cdot p_n=\sum_j\cos\bigl((m-n)\,\omega_j\bigr)$, a function of the *distance* alone. Below, the rows and
# their products; every diagonal is constant.

# %% tags=["lab"]
m, width = torch.arange(48), 32
speed = 10_000.0 ** (-torch.arange(0, width, 2) / width)
p = torch.cat([(m[:, None] * speed).sin(), (m[:, None] * speed).cos()], -1)  # equation (4)
products = p @ p.T
distance = m[:, None] - m
print("library's sinusoidal:", f"{(nets.sinusoidal(m, width) - p).abs().max():.0e} away")
gap = products - (distance[..., None] * speed).cos().sum(-1)
print(f"p_m . p_n against the sum of cosines of m - n: {gap.abs().max():.0e} away")

# %% tags=["lab"]
plot.show(figures.waves(p, products))

# %% [markdown]
# Elegant, but the network never sees this product alone. It sees
# $(t_m+p_m)^{\!\top}W_q^{\!\top}W_k\,(t_n+p_n)$, four terms in which token and place are mixed, and after the learned
# matrices nothing promises that only the distance counts.
#
# ## 5 · Relative positions: add a number to the score
#
# What should matter in a text is the distance. So say exactly that: one number for each distance, added to
# the score,
#
# $$s_{ij}=\frac{q_i\cdot k_j}{\sqrt e}+\beta_{i-j},\qquad i\ge j \tag{5}$$
#
# **Relative bias**: $\beta$ is learned, one table of $n$ distances for each head; distances beyond the last
# entry share it, so that every text has an answer, however long. **ALiBi** learns nothing: $\beta_{i-j}=-\mu_h\,(i-j)$,
# a straight line down, steep in some heads and flat in others, $\mu_h=2^{-8h/H}$ for head $h$ of $H$. The
# penalty for distance never ends, so a text twice as long brings nothing new.

# %% [markdown] exercise={"id": "relative_bias", "difficulty": 2, "importance": 3, "minutes": 10}
# ### Exercise · A number for each distance
#
# Spread a table of biases, one for each head and distance, into a matrix of what is added to each score.
# Distances past the end of the table take its last entry. The future gets $-\infty$, so this matrix is the
# causal mask as well. ALiBi is then one line: a table of straight lines.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Three steps: the distance of every pair; its entry in the table, for all heads at once (an (l, l) table of indices
# behind a comma does that); and the future closed.
# </details>
# <details><summary>Hint: the distance of every pair</summary>
#
# `i = torch.arange(l)`, then `i[:, None] - i`: row = query, column = key. Negative means future.
# </details>
# <details><summary>Hint: <code>index out of range</code>, or strange values far away or in the future</summary>
#
# `.clamp(0, n - 1)` the distances before you look them up; the future is overwritten afterwards. An index of
# -1 would silently take the *last* entry.
# </details>


# %% nbgrader={"grade_id": "relative_bias", "solution": true} autograde={"library": ["coursekit.views.attention.relative_bias"]}
def relative_bias(table: Float[Tensor, "h n"], l: int) -> Float[Tensor, "h l l"]:
    """beta for query i (row) and key j (column): table[h, min(i - j, n - 1)]; -inf where j > i [equation 5]."""
    # TODO  a (h, l, l) tensor from a table of n distances
    ### BEGIN SOLUTION
    i = torch.arange(l)
    distance = i[:, None] - i
    bias = table[:, distance.clamp(0, table.shape[1] - 1)]
    return bias.masked_fill(distance < 0, -torch.inf)
    ### END SOLUTION


# %% nbgrader={"grade_id": "relative_bias_check", "grade": true, "points": 2}
# Tables longer and shorter than the text; the truth is a loop over all pairs. You should
# see: 4 cases right.
checks.run("relative_bias", relative_bias)

# %%
bias_of = checks.fallback(
    relative_bias,
    attention.relative_bias,
    works=lambda f: (
        f(torch.tensor([[5.0, 7.0]]), 3)[0].tril().tolist() == [[5, 0, 0], [7, 5, 0], [7, 7, 5]]
    ),
)


def alibi(heads: int, l: int) -> Float[Tensor, "heads l l"]:
    """ALiBi: a straight line for each head."""
    return bias_of(-nets.alibi_slopes(heads)[:, None] * torch.arange(l), l)


# %% [markdown]
# ## 6 · RoPE: turn queries and keys
#
# The third way changes nothing but angles. *Pretend again you have read no paper, and take a pencil.* We look for
# a function $f$ that puts the position into a query or key such that their product knows only the distance:
#
# $$f(q,m)\cdot f(k,n)=g(q,k,m-n) \tag{6}$$
#
# Take two features and read them as one complex number. The product of two vectors of the plane is
# $q\cdot k=\mathrm{Re}(q\,\bar k)$. Try $f(q,m)=q\,e^{\mathrm i m\theta}$, a turn by $m$ times an angle:
#
# $$\mathrm{Re}\bigl(q\,e^{\mathrm i m\theta}\;\overline{k\,e^{\mathrm i n\theta}}\bigr)=\mathrm{Re}\bigl(q\,\bar k\;e^{\mathrm i(m-n)\theta}\bigr) \tag{7}$$
#
# Done: absolute turns, relative product. In real numbers a pair $(a,b)$ becomes
#
# $$(a,b)\ \to\ (a\cos m\theta-b\sin m\theta,\ \ a\sin m\theta+b\cos m\theta) \tag{8}$$
#
# One angle would repeat after a full turn. So a head of width $e$ has $e/2$ pairs, each with its own speed
# $\theta_j=\texttt{base}^{-2j/e}$, $j=0,\dots,e/2-1$: the clocks of section 4 again, but as turns of what is there,
# not as something added. Nothing is learned, no length changes, values are not touched.
#
# Which features form a pair is a convention, and *both are in use*: neighbours $(0,1),(2,3),\dots$
# (*interleaved*, as in the paper), or $(j,\,j+e/2)$ (*half-split*, as in most code). Take either; but do not
# mix them, or the angles belong to the wrong pairs.

# %% [markdown] exercise={"id": "rotary", "difficulty": 3, "importance": 5, "minutes": 15}
# ### Exercise · RoPE
#
# Turn the pairs of `x` by their positions, equation (8). The positions are given: with a cache (section 8) they
# do not begin at 0.
#
# <details><summary>Hint: how do I begin?</summary>
#
# Half-split: `a, b = x.chunk(2, -1)`; angles `positions[:, None] * theta` have shape (l, e/2), which fits `a`
# and `b`; put the turned halves together with `torch.cat`.
# </details>
# <details><summary>Hint: the product depends on m and n, not only on m - n</summary>
#
# Are the two features of a pair turned by the *same* angle? Interleaved pairs need
# `theta.repeat_interleave(2)`, half-split ones `torch.cat([theta, theta])`.
# </details>
# <details><summary>Hint: position 0 changes the vector</summary>
#
# At $m=0$ all angles are 0, $\cos=1$, $\sin=0$: nothing moves. Look at the signs of equation (8).
# </details>


# %% nbgrader={"grade_id": "rotary", "solution": true} autograde={"library": ["genmodels.nets.rope", "genmodels.nets.positions.rotate", "genmodels.nets.positions.rope_table"]}
def rotary(
    x: Float[Tensor, "*b l e"], positions: Int[Tensor, "l"], base: float = 10_000.0
) -> Float[Tensor, "*b l e"]:
    """Turn pair j of the e features by position * base^(-2j/e) [Su et al. 2021; equation 8]."""
    # TODO  angles, then the turn of every pair
    ### BEGIN SOLUTION
    e = x.shape[-1]
    theta = base ** (-torch.arange(0, e, 2, dtype=torch.float64) / e)
    angle = (positions[:, None] * theta).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "rotary_check", "grade": true, "points": 4}
# Against complex multiplication by e^{i m theta}, in either layout; then what RoPE is for:
# only m - n counts, and no length changes. You should see: 4 cases right.
checks.run("rotary", rotary)

# %%
turn = checks.fallback(
    rotary,
    nets.rope,
    works=lambda f: (
        (
            f(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
            - torch.tensor([[math.cos(1), math.sin(1)]])
        )
        .abs()
        .max()
        < 1e-5
    ),
)

# %% [markdown]
# Your turn, drawn: one query and one key, the same two vectors at every pair of positions. Learned or
# sinusoidal vectors could *find out* that only distance counts; here it cannot be otherwise.

# %% tags=["lab"]
m = torch.arange(32)
q, k = randn(16, seed=4), randn(16, seed=7)
with torch.no_grad():
    turned = turn(q.expand(32, 16), m) @ turn(k.expand(32, 16), m).T
    hands = turn(torch.tensor([1.0, 0.0]).expand(7, 2), torch.arange(7))
plot.show(figures.turning(hands, turned))

# %% [markdown]
# ## 7 · Exact lab: a language whose price is known, read far beyond its school
#
# Two storytellers take turns, one symbol each, out of six. Each remembers only what *they themselves* said
# last: symbol $i$ depends on symbol $i-2$ alone, by a fixed table of odds. So a perfect reader needs exactly
# one skill, to look **two places back**, and pays exactly the **entropy rate** of the table. Nobody can pay
# less: a model that seems to has seen the answers.
#
# Here is a whole language model from your parts: embeddings, blocks (attention, then a small MLP on each
# position, both added to what was there), and logits. The `scheme` says how it learns about places.


# %% tags=["lab"]
class Block(nn.Module):
    """Attention moves things between positions; the MLP works on each position by itself."""

    def __init__(self, d: int, heads: int):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(d), MultiHead(d, heads)
        self.norm2 = nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(
        self, x: Float[Tensor, "b l d"], mix: Callable[..., Tensor]
    ) -> Float[Tensor, "b l d"]:
        x = x + self.attention(self.norm1(x), mix)
        return x + self.mlp(self.norm2(x))


def biased(bias: Float[Tensor, "h l l"]) -> Callable[..., Tensor]:
    """Equation (5); the bias is also the causal mask."""
    return lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(-1) @ v


SCHEMES = {  # what is added to the tokens, and how queries meet keys
    "no positions": (lambda model, m: 0, lambda model, m: attend),
    "learned": (lambda model, m: model.places[m], lambda model, m: attend),
    "sinusoidal": (lambda model, m: nets.sinusoidal(m, model.d), lambda model, m: attend),
    "relative bias": (lambda model, m: 0, lambda model, m: biased(bias_of(model.table, len(m)))),
    "ALiBi": (lambda model, m: 0, lambda model, m: biased(alibi(model.heads, len(m)))),
    "RoPE": (
        lambda model, m: 0,
        lambda model, m: lambda q, k, v: attend(turn(q, m), turn(k, m), v),
    ),
}


class Writer(nn.Module):
    """Tokens to logits of the next token."""

    def __init__(self, scheme: str, v: int, d: int = 48, layers: int = 2, heads: int = 4):
        super().__init__()
        self.d, self.heads = d, heads
        self.add, self.mix = SCHEMES[scheme]
        self.embedding = nn.Embedding(v, d)
        self.places = nn.Parameter(0.3 * torch.randn(LONG, d))  # used by "learned"
        self.table = nn.Parameter(torch.zeros(heads, TRAINED))  # used by "relative bias"
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, v)

    def forward(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b l v"]:
        m = torch.arange(tokens.shape[1])
        x, mix = self.embedding(tokens) + self.add(self, m), self.mix(self, m)
        for block in self.blocks:
            x = block(x, mix)
        return self.head(self.norm(x))


TRAINED, LONG = 32, 160  # symbols in a training text, and in the longest test text

# %% [markdown]
# First the law of chapter 01, on random weights: a causal model *is* a distribution, whatever its weights. To
# have something before the first symbol, the text gets a **start symbol**, and the targets are the inputs
# shifted by one:
#
# $$\log p(x)=\sum_{i=1}^{l}\log p(x_i\mid \mathrm{start},x_1,\dots,x_{i-1})\qquad\text{in code}\qquad\texttt{model(cat([start, x[:, :-1]]))}\ \text{against}\ \texttt{x} \tag{9}$$

# %% tags=["lab"]
everything = toy.all_sequences(4, 4)
for name in SCHEMES:
    torch.manual_seed(SEED)
    writer = Writer(name, 4).double()
    inputs = torch.cat([torch.full((256, 1), 3), everything[:, :-1]], 1)  # symbol 3 as start
    with torch.no_grad():
        log_p = writer(inputs.long()).log_softmax(-1).gather(2, everything[..., None]).sum((1, 2))
    print(f"{name:14s} the {len(everything)} texts of 4 symbols sum to {log_p.exp().sum():.9f}")

# %% [markdown]
# Now train one writer for each scheme on texts of **32** symbols, and let it read texts of **160**. This is the
# training loop in full; the loss is the cross-entropy of the next symbol. All writers go through the same lessons,
# and each lesson is read once.

# %% tags=["lab"]
chain = toy.MarkovText.random(6, seed=SEED, spread=2.0)


def two_tellers(n: int, l: int, generator: torch.Generator) -> Int[Tensor, "n l"]:
    """Two independent texts of the chain, interleaved: symbol i depends on symbol i - 2."""
    each = chain.sample(2 * n, -(-l // 2), generator=generator).reshape(n, 2, -1)
    return each.mT.reshape(n, -1)[:, :l]


def price(logits: Float[Tensor, "b l v"], x: Int[Tensor, "b m"]) -> Float[Tensor, "b l"]:
    """-log p of each next symbol, in nats: the logits at position i are for symbol i + 1."""
    return F.cross_entropy(logits.mT, x[:, 1:], reduction="none")


def learn(
    model: nn.Module,
    lessons: tuple[Int[Tensor, "b l"], ...],
    loss_of: Callable[..., Tensor] | None = None,
) -> list[float]:
    """Train on each lesson once; returns the loss of each step."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.2e-2, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1.2e-2, total_steps=len(lessons), pct_start=0.3
    )
    losses = []
    for x in lessons:
        loss = price(model(x[:, :-1]), x).mean() if loss_of is None else loss_of(model, x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


steps = {"smoke": 12}.get(PROFILE, 140)
lessons = two_tellers(16 * steps, TRAINED + 1, core.generator(SEED + 1)).split(16)
writers, school = {}, {}
begin = time.perf_counter()
for name in SCHEMES:
    torch.manual_seed(SEED)
    writers[name] = Writer(name, 6)
    school[name] = learn(writers[name], lessons)
print(f"{len(SCHEMES)} writers, {steps} steps each: {time.perf_counter() - begin:.0f} s")

# %% [markdown]
# How far is each above the perfect reader, place by place? On the same texts we subtract the price under the
# *true* odds, so what is left is an estimate of $\mathrm{KL}(p\,\|\,q)$ at that place, with little noise.

# %% tags=["lab"]
x = two_tellers({"smoke": 30}.get(PROFILE, 200), LONG + 1, core.generator(SEED + 2))
true_price = -chain.transition.log()[x[:, :-2], x[:, 2:]]  # of symbols 2, 3, ...
excess = {}
with torch.no_grad():
    for name, writer in writers.items():
        nats = torch.cat([price(writer.eval()(part[:, :-1]), part) for part in x.split(25)])
        over = nats[:, 1:] - true_price
        excess[name] = over[:, : LONG - 8].unfold(1, 8, 8).mean(-1)  # (texts, blocks of 8 places)
places = torch.arange(excess["RoPE"].shape[1]) * 8 + 6.5

rows = {}
for name, over in excess.items():
    mean, error = over.mean(0), over.std(0) / len(over) ** 0.5
    row = {}
    for title, a, b in [("10 to 32", 1, 3), ("33 to 64", 4, 7), ("120 to 152", 14, 18)]:
        some = over[:, a : b + 1].mean(1)
        row[f"places {title}"] = f"{some.mean():.3f} ± {some.std() / len(some) ** 0.5:.3f}"
    rows[name] = row
print(f"entropy rate {chain.entropy_rate():.4f} nats; six equal symbols {math.log(6):.4f} nats")
plot.show(
    plot.table(rows, title="Nats above the perfect reader (trained on 32 places)", first="scheme")
)

# %% tags=["lab"]
plot.show(figures.beyond_school(places, excess, TRAINED))
for name, over in excess.items():
    report.metric(
        f"{name}, far places", over[:, 14:].mean().item(), "nats above the entropy rate", floor=0.0
    )

# %% [markdown]
# Read the curves slowly; each scheme keeps exactly the promise that it made.
#
# - **No positions**: not hopeless (the small print of section 3: the mask leaks a little), but far from the floor.
# - **Learned**: good inside, and off a cliff at place 33. Those rows of the table were never touched.
# - **Sinusoidal**: better still inside, and the same cliff. The vectors exist beyond place 32, but the network has
#   never met them and cannot read them.
# - **Relative bias**: "two places back" is one entry of the table, the same everywhere; no cliff. But all distances
#   past the table share its last entry, one share each, and their number grows with the text. The drift is theirs.
# - **ALiBi**: a straight line cannot point at *exactly* two places back, so it stays a little blurred; but it is
#   blurred in the same way at place 150 as at place 20.
# - **RoPE**: the sharpest, and it stays at the floor to twice the length it was taught and more. Then it falls,
#   suddenly: the slow clocks arrive at angles that never occurred in training, and old keys look attractive that
#   should not.
#
# It is one toy task and one seed; change `SEED` and the places of the falls move. What carries over is the
# *kind* of failure: the papers see the same cliffs and the same flat line on real text. Today's models mostly use
# RoPE, and train on longer texts (or slow its clocks down) before they read longer ones.
#
# ## 8 · Writing fast: the key-value cache
#
# To write, we ask for the next character, append it and ask again. Done naively, each step reads the *whole*
# text: $1+2+\dots+l\approx l^2/2$ positions for a text of $l$. But look at equation (2) again: keys and values
# of the past do not depend on what comes later (the mask!). So they need not be computed twice:
#
# $$K_{\le t}=[\,K_{<t}\,;\,k_t\,],\qquad V_{\le t}=[\,V_{<t}\,;\,v_t\,],\qquad o_t=\mathrm{softmax}\!\left(\frac{q_t K_{\le t}^{\top}}{\sqrt e}\right)V_{\le t} \tag{10}$$
#
# One new query, one new key, one new value; all else is remembered. That is NADE's running memory, grown up.
# With RoPE the new query and key are turned by *their* place, $t$ = the number of tokens in the cache. The
# cached keys have been turned already.

# %% [markdown] exercise={"id": "decode_step", "difficulty": 4, "importance": 4, "minutes": 18}
# ### Exercise · One token, and the memory of all before it
#
# `x` holds the features of one new position for each text of the batch. Return the output of the attention
# layer at that position, and the memory for the next call: keys and values of shape (b, heads, t, e).
# Step by step, the outputs must equal those of the full pass. The weights are laid out as in `MultiHead`.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Query, key and value of the new token; query and key turned by its place; key and value appended to what is
# remembered; then equation (10) for one query.
# </details>
# <details><summary>Hint: shapes</summary>
#
# `F.linear(x, w_qkv).reshape(b, 3, heads, 1, e).unbind(1)` gives q, k, v of shape (b, heads, 1, e): texts of
# one position. Append along dimension 2.
# </details>
# <details><summary>Hint: which mask?</summary>
#
# None. The cache holds nothing but the past and the present.
# </details>
# <details><summary>Hint: right at the first token, wrong from the second on</summary>
#
# Is the new query turned by the number of tokens that are *already* remembered, `torch.tensor([t])`? Are old
# keys turned a second time?
# </details>


# %% nbgrader={"grade_id": "decode_step", "solution": true} autograde={"library": ["genmodels.nets.Attention", "genmodels.nets.KVCache", "coursekit.views.attention.decode_step"]}
def decode_step(
    x: Float[Tensor, "b d"],
    past: tuple[Float[Tensor, "b h t e"], Float[Tensor, "b h t e"]] | None,
    w_qkv: Float[Tensor, "three_d d"],
    w_out: Float[Tensor, "d d"],
    heads: int,
    turn: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Float[Tensor, "b d"], tuple[Tensor, Tensor]]:
    """Attention at one new position, given the keys and values before it [equation 10].

    ``turn(q, positions)`` is RoPE; positions is a tensor, here of one place. ``past`` is None at the first token.
    """
    # TODO  the output (b, d) at the new position, and the keys and values including it
    ### BEGIN SOLUTION
    b, d = x.shape
    q, k, v = F.linear(x, w_qkv).reshape(b, 3, heads, 1, d // heads).unbind(1)
    here = torch.tensor([0 if past is None else past[0].shape[2]])
    q, k = turn(q, here), turn(k, here)
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    shares = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return F.linear((shares @ v).reshape(b, d), w_out), (k, v)
    ### END SOLUTION


# %% nbgrader={"grade_id": "decode_step_check", "grade": true, "points": 4}
# One token after the other must give what the library's layer gives for the whole text at
# once, with RoPE; then the memory is used a second time. You should see: 2 cases right.
checks.run("decode_step", decode_step)


# %%
def two_outputs(f: Callable) -> Tensor:
    """What a step gives for two tokens, one after the other."""
    past, w, outputs = None, torch.arange(12.0).reshape(6, 2) / 9, []
    for i in range(2):
        y, past = f(torch.tensor([[1.0, i]]), past, w, torch.eye(2), 1, nets.rope)
        outputs.append(y)
    return torch.stack(outputs)


step = checks.fallback(
    decode_step,
    attention.decode_step,
    works=lambda f: torch.allclose(two_outputs(f), two_outputs(attention.decode_step), atol=1e-4),
)

# %% [markdown]
# ## 9 · Choosing the next character
#
# The model answers with logits $\ell$; a draw from $\mathrm{softmax}(\ell)$ follows the model faithfully,
# including its thousand small mistakes: sixty unlikely characters of half a percent each make three draws
# in ten. So in practice the distribution is sharpened before the draw. Three knobs:
#
# - **Temperature** $T$: $p_i\propto e^{\ell_i/T}$. *With a pencil:* $p_i\propto (p_i^{\text{model}})^{1/T}$, so
#   $T<1$ favours the likely, $T\to0$ takes the likeliest only, $T>1$ flattens.
# - **Top-k**: keep the $k$ likeliest symbols, whatever they hold.
# - **Top-p** (nucleus): keep the *smallest set of likeliest symbols that holds at least $p$*. Sure of itself,
#   the model keeps one symbol; in doubt, many. In code: a symbol stays if those *above* it hold less than
#   $p$, `cumsum - itself < p`.
#
# What is kept is divided by its sum. A model sampled so no longer draws from the distribution that we train and
# measure; it is a matter of taste, not of likelihood.

# %% [markdown] exercise={"id": "next_probs", "difficulty": 3, "importance": 4, "minutes": 12}
# ### Exercise · Three knobs
#
# Return the probabilities from which the next symbol is drawn. In this order: temperature; then top-k; then
# top-p *of what top-k has left* (after it sums to one again). Your function drives the live lab below.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Probabilities first, with the temperature; then each cut sets some of them to 0 and divides by the sum.
# </details>
# <details><summary>Hint: how do I keep the top k?</summary>
#
# Sort once: `p, order = p.sort(-1, descending=True)`. In the sorted world "top k" is the first $k$ columns, and
# at the end `torch.zeros_like(p).scatter(-1, order, kept)` puts everything back into its place.
# </details>
# <details><summary>Hint: top-p = 0.5 leaves nothing when one symbol holds 0.9</summary>
#
# The symbol that crosses $p$ belongs to the set. Ask what lies *before* each symbol: `p.cumsum(-1) - p`.
# </details>


# %% nbgrader={"grade_id": "next_probs", "solution": true} autograde={"library": ["genmodels.text.restrict", "genmodels.text.choose"]}
def next_probs(
    logits: Float[Tensor, "*b v"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "*b v"]:
    """Probabilities after temperature (> 0), then top-k, then top-p of what is left; None: no cut."""
    # TODO  probabilities that sum to 1 over the last dimension
    ### BEGIN SOLUTION
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    if top_k is not None:
        p = p * (torch.arange(p.shape[-1]) < top_k)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)
    ### END SOLUTION


# %% nbgrader={"grade_id": "next_probs_check", "grade": true, "points": 3}
# Each knob alone, then all three, against a loop in plain Python. You should see: 5 cases
# right.
checks.run("next_probs", next_probs)


# %%
def library_probs(logits, temperature=1.0, top_k=None, top_p=None):
    """The library's knobs."""
    return text.restrict(logits, temperature=temperature, top_k=top_k, top_p=top_p).softmax(-1)


probs_of = checks.fallback(
    next_probs,
    library_probs,
    works=lambda f: (
        (f(torch.tensor([0.0, 3.0, 1.0]), 1.0, 2, 0.99) > 0).tolist() == [False, True, True]
    ),
)

# %% [markdown]
# ## 10 · Train it: Shakespeare, one character at a time
#
# The library's `nets.Transformer` is your writer with RoPE and fused attention. It reads windows of the plays;
# every position of a window is a question of its own, all asked in one pass. The loss is equation (9), in
# nats for each window.
#
# The optimiser is **Muon**: it keeps the momentum of every hidden matrix and, before the step, makes all its
# singular values about 1, so that rare directions are learned as fast as common ones. Adam, at a good learning
# rate, needed 2,500 steps for the bits that it gives in 1,500.

# %% tags=["lab"]
recipe = train.find_recipe("char_transformer")
sized = recipe.profile(PROFILE)
windows = recipe.data()  # (n, length + 1) characters of the training plays
taught = windows.shape[1] - 1  # places in a window


def next_character_loss(model: nn.Module, x: Int[Tensor, "b m"]) -> Float[Tensor, "b"]:
    """-log p of each window after its first character: inputs and targets are shifted by one."""
    return F.cross_entropy(model(x[:, :-1]).mT, x[:, 1:], reduction="none").sum(1)


def without_training(state) -> nn.Module:
    """The model to look at while it learns."""
    return state.ema() if sized.settings.ema else state.model


@torch.no_grad()
def write(model: nn.Module, start: str, n: int, seed: int = SEED, **knobs) -> str:
    """``start`` and n characters more, drawn with your sampler."""
    device = next(model.parameters()).device
    draw = core.generator(seed)
    pick = lambda logits: torch.multinomial(probs_of(logits.cpu(), **knobs), 1, generator=draw)[
        :, 0
    ].to(device)
    out = text.generate(model.eval(), plays["train"].encode(start)[None].to(device), n, pick=pick)
    return plays["train"].decode(out[0].cpu())


class Page:
    """Some text as it is, in a box."""

    def __init__(self, content: str):
        self.content = content

    def _repr_mimebundle_(self, **_):
        return {"text/plain": self.content, "text/markdown": f"```text\n{self.content}\n```"}

    __repr__ = lambda self: self.content


# %% tags=["lab", "train"]
torch.manual_seed(SEED)
shakespeare, curve, growing = sized.model(), [], []
canvas = display(Page("..."), display_id=True)  # a place on the page for what it writes
if TRAIN:
    torch.set_num_threads(CORES)
    s, begin = sized.settings, time.perf_counter()
    for state in train.train(
        shakespeare,
        next_character_loss,
        train.minibatches(windows, sized.batch, seed=SEED),
        steps=s.steps,
        lr=s.lr,
        optimizer=s.optimizer,
        schedule=s.schedule,
        warmup=s.warmup,
        clip=s.clip,
        ema=s.ema,
        precision=s.precision,
        compile=s.compile,
        seed=SEED,
    ):
        curve.append(state.loss / (windows.shape[1] - 1) / math.log(2))
        if state.step in (1, s.steps // 20, s.steps // 4, s.steps):
            sample = write(without_training(state), "\n", taught - 1)
            state.model.train()
            growing.append(f"--- step {state.step}: {curve[-1]:.2f} bits a character{sample}")
            canvas.update(Page("\n".join(growing)))
    shakespeare = without_training(state).cpu().eval()
    print(f"{s.steps} steps of {sized.batch} windows: {time.perf_counter() - begin:.0f} s")
else:
    shakespeare = train.load_pretrained("char_transformer")
    canvas.update(Page(write(shakespeare, "\n", taught - 1)))

# %% [markdown]
# **How good is it, on plays it has never seen?** Each test window is 128 characters, and only its last 64 are
# counted, so that every counted character has at least 64 before it.


# %% tags=["lab"]
@torch.no_grad()
def bits(model: nn.Module, x: Int[Tensor, "n m"], skip: int) -> Float[Tensor, "n"]:
    """Bits per character of each window, its first ``skip`` characters not counted."""
    nats = [price(model(part[:, :-1]), part)[:, skip:] for part in x.split(50)]
    return torch.cat(nats).mean(1) / math.log(2)


torch.set_num_threads(CORES)
test_windows = plays["test"].tokens.unfold(0, 129, 64)[
    :: {"smoke": 200, "laptop": 4}.get(PROFILE, 1)
]
each = bits(shakespeare, test_windows, 64)
BITS, ERROR = each.mean().item(), each.std().item() / len(each) ** 0.5
report.metric(
    "bits per character of unseen plays",
    BITS,
    "bits",
    note=f"± {ERROR:.3f} on {64 * len(each):,} characters; best counter {COUNTER:.2f}",
)
plot.show(
    plot.ladder(
        {"Transformer, yours": (BITS, ERROR)},
        {},
        "bits per character",
        floors={
            "69 equal symbols": math.log2(69),
            "letter frequencies": counted[0],
            "a patient counter, at its best": COUNTER,
        },
    )
)

# %% [markdown]
# Compare with the counter, not with papers on other texts: published numbers for text8 (about 1.23 bits per
# character for an autoregressive Transformer, quoted as approximate) are for 27 symbols and a text eighty
# times as long. Yours was trained on a laptop's cores, and these plays are not the ones it learned from.
#
# **It was taught on windows of limited length. What happens past their end?** Section 7 again, on real text:

# %% tags=["lab"]
LIMIT = shakespeare.max_len
long_windows = plays["test"].tokens.unfold(0, LIMIT + 1, LIMIT)[
    :: {"smoke": 40, "laptop": 2}.get(PROFILE, 1)
]
with torch.no_grad():
    places = torch.cat([price(shakespeare(part[:, :-1]), part) for part in long_windows.split(25)])
places = places.unfold(1, 16, 16).mean(-1) / math.log(2)  # (windows, blocks of 16 places)
middle, error = places.mean(0), places.std(0) / len(places) ** 0.5
plot.show(
    plot.curves(
        {f"RoPE, taught on {taught} places": (torch.arange(len(middle)) * 16 + 8, middle, error)},
        "place in the window",
        "bits per character",
        "On real text: before and after the last place it was taught",
        levels={"counter": COUNTER},
        height=2.6,
    )
)

# %% [markdown]
# A little past the last place it was taught it still copes; then it falls apart, and even the counter is
# better. Larger distances turn queries and keys by angles that it never met. So we let it write within its
# window.
#
# ### Your own hands on the real weights
#
# `causal_attention` and `decode_step` are all one needs to run this model. Below, the trained weights go
# through *your* functions, once as a full pass and once token by token. (The weights were trained with the
# library's RoPE in its half-split layout, so that one is handed to them.)


# %% tags=["lab"]
@torch.no_grad()
def own_pass(model: nn.Module, tokens: Int[Tensor, "1 l"]) -> tuple[Tensor, Tensor]:
    """Logits, and all shares of attention (layers * heads, l, l), through your causal_attention."""
    x, m, maps = model.embedding(tokens), torch.arange(tokens.shape[1]), []
    for block in model.blocks:
        b, l, d = x.shape
        parts = block.attention.qkv(block.norm1(x)).reshape(b, l, 3, model.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        q, k = nets.rope(q, m), nets.rope(k, m)
        mixed = attend(q, k, v)
        maps.append(
            attend(q, k, torch.eye(l).expand(b, model.heads, l, l))[0]
        )  # values = who they are
        x = x + block.attention.out(mixed.transpose(1, 2).reshape(b, l, d))
        x = x + block.mlp(block.norm2(x))
    return model.norm(x) @ model.embedding.weight.T, torch.cat(maps)


@torch.no_grad()
def own_writing(
    model: nn.Module, tokens: list[int], n: int, draw: torch.Generator, **knobs
) -> tuple[list[int], Tensor]:
    """n tokens more by your decode_step and your next_probs, and the logits on the way."""
    tokens, pasts, logits = list(tokens), [None] * len(model.blocks), []
    for i in range(len(tokens) + n - 1):
        x = model.embedding(torch.tensor([tokens[i]]))
        for layer, block in enumerate(model.blocks):
            a = block.attention
            y, pasts[layer] = step(
                block.norm1(x), pasts[layer], a.qkv.weight, a.out.weight, model.heads, nets.rope
            )
            x = x + y
            x = x + block.mlp(block.norm2(x))
        logits.append(model.norm(x) @ model.embedding.weight.T)
        if i + 1 == len(tokens):
            tokens.append(int(torch.multinomial(probs_of(logits[-1], **knobs), 1, generator=draw)))
    return tokens, torch.cat(logits)


torch.set_num_threads(1)  # one token at a time is a small job again
prompt = "\nTo be, or not to be"
start = plays["train"].encode(prompt)
written, logits = own_writing(
    shakespeare, start.tolist(), taught - len(start), core.generator(SEED), temperature=0.7
)
with torch.no_grad():
    full = shakespeare(torch.tensor([written[:-1]]))[0]
gap_full = (own_pass(shakespeare, torch.tensor([written[:-1]]))[0][0] - full).abs().max()
print(
    f"your full pass against the library's: {gap_full:.1e}; token by token: {(logits - full).abs().max():.1e}"
)
display(Page(plays["train"].decode(torch.tensor(written))))

# %% [markdown]
# **What the cache is worth.** The same text, with and without it, by the library:


# %% tags=["lab"]
def milliseconds(n: int, cached: bool) -> float:
    """Time to write one of n characters."""
    write = lambda: text.generate(shakespeare, start[None], n, cached=cached)
    return report.milliseconds(write, n, repeats=1)


lengths = [20, 40] if PROFILE == "smoke" else [30, 60, 120, LIMIT - len(start)]
milliseconds(4, True), milliseconds(4, False)  # the first call is slower
speeds = {
    name: (lengths, [milliseconds(n, cached) for n in lengths])
    for name, cached in [("reading everything again", False), ("with the cache", True)]
}
plot.show(
    plot.curves(
        speeds, "characters written", "ms a character", "Time to write", markers=True, height=2.5
    )
)

# %% [markdown]
# ## 11 · Live lab: where it looks, and how it chooses
#
# **Where it looks.** One line through your `causal_attention`, with the identity matrix as values, so that what
# comes out are the shares themselves. Row: the position that asks (and is about to predict the next character).
# Column: the position that answers. Move through the heads (arrow keys work) and look for characters: a head
# that looks one back, one that looks at the last space, one that finds *the same letter earlier* and looks at
# what followed it.

# %% tags=["lab"]
LINE = "My lord, my lord, the king!\nMy lord, the k"
MAPS = own_pass(shakespeare, plays["train"].encode(LINE)[None])[1]


def looking(head: int = 0) -> plot.Picture:
    """The shares of one head over the line."""
    layer, inside = divmod(head, shakespeare.heads)
    return figures.shares(MAPS[head], LINE, f"Layer {layer + 1}, head {inside + 1}")


lab.scrub(looking, head=range(len(MAPS)), fps=1)

# %% [markdown]
# **How it chooses.** Grey is the model's own distribution of the next character, orange is what **your**
# `next_probs` makes of it, and below is what is written with these settings. Predict before you move: what does
# temperature 0.2 do to a long text? And 1.5? Which knob repairs a high temperature? (Needs a running kernel:
# each text is written by your code when you ask for it.)

# %% tags=["lab"]
OPENING = "\nMy lord, the "


@functools.lru_cache(maxsize=256)
def opened(temperature: float, top_k: int, top_p: float) -> str:
    """130 characters that go on from the opening."""
    knobs = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    return write(shakespeare, OPENING, 130, **knobs).strip("\n")


def choice(temperature: float = 1.0, top_k: int = 69, top_p: float = 1.0) -> plot.Picture:
    """The distribution of the next character, and a text written with these settings."""
    with torch.no_grad():
        logits = shakespeare(plays["train"].encode(OPENING)[None])[0, -1]
    plain, ours = logits.softmax(-1), probs_of(logits, temperature, top_k, top_p)
    told = f"temperature {temperature}, top-k {top_k}, top-p {top_p}"
    written = opened(temperature, top_k, top_p)
    return figures.choice(plain, ours, letters, OPENING.strip(), written, told)


lab.scrub(
    choice,
    temperature=[0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0],
    top_k=[69, 20, 5, 2],
    top_p=[1.0, 0.95, 0.8, 0.5],
)

# %% [markdown]
# ## 12 · Optional: a quatrain of the Tang
#
# The same network, another world: 10,159 poems of four lines of seven characters and a mark, with an alphabet
# of 4,753. Set `POEMS = True` to train it and let it write. The poems are printed as text: to read them your
# browser needs a Chinese font, not your Python.

# %% tags=["lab"]
POEMS = False
if POEMS:
    tang = {split: data.quatrains(split) for split in ("train", "test")}
    start = len(tang["train"].alphabet)  # the start symbol: one more than there are characters
    begun = {name: F.pad(t.tokens, (1, 0), value=start) for name, t in tang.items()}
    torch.manual_seed(SEED)
    poet = nets.Transformer(start + 1, d_model=96, layers=2, heads=4, max_len=33)
    steps_of_poet = {"smoke": 3}.get(PROFILE, 700)
    for _ in train.train(
        poet,
        next_character_loss,
        train.minibatches(begun["train"], 32, seed=SEED),
        steps=steps_of_poet,
        lr=2e-3,
        schedule="cosine",
        warmup=steps_of_poet // 14,
        clip=100.0,
    ):
        pass
    tang_bits = bits(poet.eval(), begun["test"][:300], 0)
    frequency = torch.bincount(tang["train"].tokens.flatten(), minlength=start) + 1
    floor = -(frequency / frequency.sum()).log2()[tang["test"].tokens[:300]].mean()
    print(
        f"{tang_bits.mean():.2f} bits a character; by frequency alone {floor:.2f}; all equal {math.log2(start):.2f}"
    )
    draw = core.generator(SEED)
    pick = lambda logits: torch.multinomial(
        probs_of(logits[:, :start], 0.8, None, 0.95), 1, generator=draw
    )[:, 0]
    poems = text.generate(poet, torch.full((3, 1), start), 32, pick=pick)[:, 1:]
    display(Page("\n\n".join("\n".join(textwrap.wrap(tang["train"].decode(p), 8)) for p in poems)))

# %% [markdown]
# ## 13 · Break it
#
# Four bugs that people really make, in the small world of section 7, where the true price of a symbol is
# known. Before you run the next cell, **predict**: does the training loss get better, worse, or stay? And
# what does the model *write*?
#
# 1. the mask is one step too generous: `tril(1)`
# 2. the mask is applied after the softmax
# 3. the positions are forgotten
# 4. the targets are not shifted: the model is asked for the character it has just been given


# %% tags=["lab"]
def with_mask(how: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """RoPE attention in which ``how`` turns scores into shares."""

    def mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        m = torch.arange(q.shape[2])
        return how(turn(q, m) @ turn(k, m).mT / q.shape[-1] ** 0.5) @ v

    return mix


def generous(scores: Tensor) -> Tensor:
    """Bug 1."""
    return scores.masked_fill(torch.ones_like(scores).triu(2).bool(), -torch.inf).softmax(-1)


def too_late(scores: Tensor) -> Tensor:
    """Bug 2."""
    return scores.softmax(-1).tril()


def unshifted(model: nn.Module, x: Tensor) -> Tensor:
    """Bug 4."""
    return F.cross_entropy(model(x[:, :-1]).mT, x[:, :-1])


BUGS = {  # scheme, attention instead of the scheme's own, loss instead of the right one
    "no bug": ("RoPE", None, None),
    "1  tril(1)": ("RoPE", with_mask(generous), None),
    "2  mask after softmax": ("RoPE", with_mask(too_late), None),
    "3  no positions": ("no positions", None, None),
    "4  targets not shifted": ("RoPE", None, unshifted),
}


@torch.no_grad()
def true_price_of_writing(model: nn.Module, n: int, l: int = 24) -> Tensor:
    """Nats a symbol that the true odds charge for what the model writes, for each of n texts."""
    draw = core.generator(SEED)
    x = two_tellers(n, 4, core.generator(SEED + 5))
    for _ in range(l):
        p = model(x)[:, -1].softmax(-1)
        x = torch.cat([x, torch.multinomial(p, 1, generator=draw)], 1)
    return -chain.transition.log()[x[:, 2:-2], x[:, 4:]].mean(1)


broken, table = {}, {}
for bug, (scheme, mix, loss_of) in BUGS.items():
    if mix is None and loss_of is None:  # this one went to school in section 7
        model, broken[bug] = writers[scheme], school[scheme]
    else:
        torch.manual_seed(SEED)
        model = Writer(scheme, 6)
        if mix is not None:
            model.mix = lambda model, m, mix=mix: mix
        broken[bug] = learn(model, lessons, loss_of)
    paid = true_price_of_writing(model.eval(), {"smoke": 20}.get(PROFILE, 100))
    table[bug] = {
        "training loss": f"{sum(broken[bug][-20:]) / len(broken[bug][-20:]):.2f}",
        "true price of what it writes": f"{paid.mean():.2f} ± {paid.std() / len(paid) ** 0.5:.2f}",
    }

# %% tags=["lab"]
plot.show(figures.worrying(broken, chain.entropy_rate()))
title = f"A right model pays {chain.entropy_rate():.2f} in both columns"
plot.show(plot.table(table, title=title, first="bug"))

# %% [markdown]
# Bugs 1, 2 and 4 fall *below the entropy rate*, where no honest model can be, and what they write is poor or
# worthless: when they write, the answer that they learned to read off is not there. **Bug 2 is the treacherous
# one.** No value of the future ever reaches an output; the future only sits in the denominators of the shares. Yet
# the network learns to read it from there, almost as well as from an open mask. On real data nobody tells you the entropy
# rate, and a loss that is a little too good looks like a success. Bug 3 is the opposite: nothing leaks, but the
# order is lost.
#
# So write down, as a test, what the network must read: **the past, the whole past, nothing but the past, and
# in order.**

# %% [markdown] exercise={"id": "reads_in_order", "difficulty": 4, "importance": 5, "minutes": 18}
# ### Exercise · The test that catches them all
#
# `logits` is any function from tokens (b, l), whole numbers in $0,\dots,v-1$, to logits (b, l, v). Return
# `True` exactly if the logits at position $i$ (which predict symbol $i+1$)
#
# 1. do **not** depend on any symbol after $i$;
# 2. depend on **every** symbol up to and including $i$;
# 3. depend on the **order** of the past: exchanging two different earlier symbols moves the last logits.
#
# Your test is graded by what it says of right and of broken models.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# You can only ask the model about texts. Which two texts would you compare to learn whether position $i$ reads
# symbol $j$? And which positions may, or must, differ?
# </details>
# <details><summary>Hint: how do I see a dependence without gradients?</summary>
#
# Change one symbol, `(x[:, j] + 1) % v`, in 32 random texts at once, and look at which positions the logits moved by
# more than 1e-6 in *any* of the texts.
# </details>
# <details><summary>Hint: a right model is rejected</summary>
#
# Exchanging two *equal* symbols changes nothing. With 32 random texts some pairs differ; ask for a move in any text.
# A change of 1e-9 is rounding.
# </details>
# <details><summary>Hint: a model without positions is accepted</summary>
#
# Exchange positions 0 and 1 and look at the *last* logits. A bag of symbols has not noticed.
# </details>


# %% nbgrader={"grade_id": "reads_in_order", "solution": true}
def reads_in_order(
    logits: Callable[[Int[Tensor, "b l"]], Float[Tensor, "b l v"]], v: int, l: int
) -> bool:
    """Whether each position reads all of the past, nothing but the past, and its order."""
    # TODO  True for a right model, False for one that leaks, is blind, or reads a bag
    ### BEGIN SOLUTION
    x = torch.randint(v, (32, l))
    before = logits(x)

    def moved(changed: Tensor) -> Tensor:
        return ((logits(changed) - before).abs() > 1e-6).any(-1).any(0)

    for j in range(l):
        changed = x.clone()
        changed[:, j] = (x[:, j] + 1) % v
        where = moved(changed)
        if where[:j].any() or not where[j:].all():
            return False
    order = torch.arange(l)
    order[:2] = torch.tensor([1, 0])
    return bool(moved(x[:, order])[-1])
    ### END SOLUTION


# %% nbgrader={"grade_id": "reads_in_order_check", "grade": true, "points": 4}
# Your test meets right models, which it must accept, and broken ones, which it must not.
# You should see: 20 cases right.
checks.run("reads_in_order", reads_in_order)

# %% [markdown]
# ## 14 · Your line in the leaderboard
#
# Chapter 16 collects these lines; chapters 14 and 15 will put diffusion models for the same text beside them.

# %% tags=["lab"]
board = {
    "a patient counter": {
        "bits a character": COUNTER,
        "ms a character": None,
        "numbers kept": 128_826 if PROFILE != "smoke" else None,
    },
    "Transformer with RoPE": {
        "bits a character": BITS,
        "ms a character": speeds["with the cache"][1][-1],
        "numbers kept": core.parameter_count(shakespeare),
    },
}
report.metric("writing, with the cache", speeds["with the cache"][1][-1], "ms a character")
plot.show(plot.table(board, best={"bits a character": "min"}))

# %% [markdown]
# **What you can now do.** Let positions choose where to look; prove that they read the past, the whole past and
# nothing but the past; tell them where they stand, in three ways, and know how each one fails when the text gets
# long; write fast with a memory; and sharpen a draw knowingly.
#
# **What is still missing.** Everything so far was trained by likelihood, on tokens that the *data* chose. Often
# the thing to be improved is an average over choices that the *model* makes: $\mathbb E_{z\sim p_\theta}f(z)$, for
# instance a hidden code in the middle of a network. There the gradient has to pass **through a draw**, and a
# draw has no derivative. Or has it? That is chapter 03.
