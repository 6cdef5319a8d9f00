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
# # 15 · Block diffusion
#
# ![Three square masks of attention, each in four quarters, noisy and clean tokens. With blocks of 1 a noisy token sees
# itself and the clean past; with blocks of 4 its own block and the clean blocks before it; with one block of 16 all
# noisy tokens and nothing clean.](../assets/15_block_diffusion.png)
#
# Chapter 02 wrote one character after the other. Chapter 14 wrote all of them at once, in any order. The first has a
# cache and writes texts of any length; the second calls its network less often. Can one network do both? It
# can, and the change is smaller than you may think: not a new network, not a new loss, but another attention mask.
#
# **The one idea.** One mask matrix turns a language model into a diffusion model. Cut the text into blocks: write the
# blocks from left to right, and the tokens *inside* a block by masked diffusion.
#
# | | |
# |---|---|
# | **You will build** | the mask of block diffusion, its bound, a writer with a cache, and the exact price of writing several tokens at once |
# | **Time** | about 2 hours: 40 minutes of reading and {{minutes}} of exercises ({{exercises}} exercises, {{points}} points) |
# | **You need** | chapter 02 (attention and its cache) and chapter 14 (the masked bound) |
# | **Computing** | {{budget}} |
#
# <details><summary><b>Sources</b></summary>
#
# - BD3-LM: Arriola et al., *Block diffusion: interpolating between autoregressive and diffusion language models*, ICLR 2025, [arXiv 2503.09573](https://arxiv.org/abs/2503.09573); [code](https://github.com/kuleshov-group/bd3lms)
# - Fast-dLLM v2: Wu et al., 2025, [arXiv 2509.26328](https://arxiv.org/abs/2509.26328)
# - MDLM: Sahoo et al., 2024, [arXiv 2406.07524](https://arxiv.org/abs/2406.07524)
# - LLaDA: Nie et al., 2025, [arXiv 2502.09992](https://arxiv.org/abs/2502.09992)
# - The bound as a mean over orders: Ou et al., 2024, [arXiv 2406.03736](https://arxiv.org/abs/2406.03736)
# </details>

# %% tags=["parameters"]
PROFILE = (
    "laptop"  # or "smoke" (seconds, to see that all runs), or "gpu" (more windows, smaller errors)
)
TRAIN = True  # False: skip the short training of section 9

# %% nbgrader={"grade_id": "setup", "locked": true}
import math
from collections.abc import Callable
from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coursekit import checks
from genmodels import core, discrete, text, toy

SEED = 0
torch.manual_seed(SEED)


def insist(condition: bool, message: str) -> None:
    """A check of one sentence."""
    if not condition:
        raise checks.CheckFailed(message)


# %% tags=["lab"]
import time

import figures

from coursekit import lab, plot, report
from genmodels import data, nets, train
from genmodels.train.recipes import text as recipe

MASK, LENGTH = recipe.MASK, recipe.LENGTH  # the symbol of a hole; characters in a window
PLAYS = data.shakespeare("test")
WINDOWS = {"smoke": 2, "laptop": 16, "gpu": 115}[PROFILE]
ROWS = recipe.windows("test", LENGTH, LENGTH)[:WINDOWS]
block_net = train.load_pretrained("block_text").requires_grad_(False)
masked_net = train.load_pretrained("masked_text").requires_grad_(False)
causal_net = train.load_pretrained("char_transformer").requires_grad_(False)


@torch.no_grad()
def bits(net: nets.Transformer, n: int, draws: int = 4) -> tuple[float, float]:
    """Bits a character of the test windows with blocks of n, and the standard error over windows."""
    g = core.generator(SEED)
    cost = sum(recipe.block_bound(net, ROWS, n, generator=g) for _ in range(draws)) / draws
    cost = cost / (LENGTH * math.log(2))
    return float(cost.mean()), float(cost.std() / len(cost) ** 0.5)


# %% [markdown]
# ## 1 · Pretend you have read no paper: chapter 14, block by block
#
# | symbol | meaning | in code |
# |---|---|---|
# | $l$, $n$ | tokens of a text, tokens of a block | `l`, `n` or `block` |
# | $v$ | number of symbols; the mask is one more, with number $v$ | `v`, `mask` |
# | $t$ | time: $t=0$ is data, at $t=1$ all is masked; a token is hidden with chance $t$ | `low` is the least $t$ |
# | $x_0$, $x_t$ | the text, and the text with holes | `x0`, `x_t` |
# | $B$ | a block; $x_0^B$ its tokens, $x_0^{<B}$ all that come before it | `block` numbers |
# | $k$ | how many tokens of a block are hidden | `k` |
# | $p$, $q$ | the true law of texts, and the law that a writer produces | `p` |
#
# Take the ready network of chapter 14. Give it the finished text, then $n$ masks, and let it fill them in. Then the
# next $n$. What does a character cost so? We measure it as the bound of chapter 14 for each block, after the true text
# before it. A smaller block has more text before it and less to guess at once, so it should be cheaper.

# %% tags=["lab"]
SIZES = [1, 2, 4, 8, 16] if PROFILE != "smoke" else [1, 4]
curve = {"chapter 14's network": [bits(masked_net, n) for n in SIZES]}
whole = bits(masked_net, LENGTH)
print(
    f"chapter 14's network, all {LENGTH} characters as one block: {whole[0]:.2f} ± {whole[1]:.2f} bits"
)
for n, (value, error) in zip(SIZES, curve["chapter 14's network"]):
    print(f"    blocks of {n:2d}: {value:.2f} ± {error:.2f} bits")

# %% [markdown]
# It goes the wrong way at the small end: with one character at a time, where everything before is known, this
# network does worst. It has learnt texts with holes *anywhere*; a text that simply stops is a picture it has
# hardly seen.
#
# The second trouble is the cache. In chapter 02 a token's keys and values were computed once, for a token never saw
# what came after it. Here every token looks at all others, so keys of finished tokens change with the block that is being written. Keep
# them anyway, and see what it does to the predictions:


# %% tags=["lab"]
@torch.no_grad()
def stale(net: nets.Transformer, n: int, mask_of: Callable[[int], Tensor | None]) -> float:
    """Largest change of a probability when the past is read once, before the block of n that follows it."""
    x = ROWS[:2, : 64 + n].clone()
    x[:, 64:] = MASK
    fresh = net(x, mask=mask_of(64 + n))[:, 64:].softmax(-1)
    cache = net.cache(len(x), 64 + n)
    net(x[:, :64], mask=mask_of(64), cache=cache)
    kept = net(x[:, 64:], cache=cache).softmax(-1)
    return float((fresh - kept).abs().max())


print(
    f"every token looks at every other: a probability moves by {stale(masked_net, 4, lambda l: None):.3f}"
)

# %% [markdown]
# ## 2 · One mask for everything
#
# Both troubles have one cause: the past looks at the present. So forbid it, from block to block.
#
# $$-\log p(x_0)=\sum_B-\log p\bigl(x_0^B\mid x_0^{<B}\bigr) \tag{1}$$
#
# That is the chain rule of chapter 01, with blocks in the place of symbols. Inside a block all tokens see each other:
# there masked diffusion goes on as in chapter 14.

# %% [markdown] exercise={"id": "block_causal", "difficulty": 1, "importance": 5, "minutes": 6}
# ### Exercise · Causal from block to block
#
# `l` tokens are cut from the left into blocks of `n`; the last block may be shorter. Return a boolean matrix, True
# where the token of the row may look at the token of the column: at every token of its own block and of all
# earlier ones.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Which block is token $i$ in? The mask compares two such numbers.
# </details>
# <details><summary>Hint: right for blocks of 1, wrong for others</summary>
#
# A comparison of *positions* cannot see where a block ends: tokens 2 and 3 may share a block while 3 and 4 do not.
# </details>


# %% nbgrader={"grade_id": "block_causal", "solution": true} autograde={"library": ["genmodels.text.block_causal_mask", "genmodels.text.two_stream_mask"]}
def block_causal(l: int, n: int) -> Bool[Tensor, "l l"]:
    """True where the query (row) may look at the key (column)."""
    # TODO      own block and earlier ones
    ### BEGIN SOLUTION
    block = torch.arange(l) // n
    return block[:, None] >= block
    ### END SOLUTION


# %% nbgrader={"grade_id": "block_causal_check", "grade": true, "points": 2}
# The truth reads the text piece by piece and notes what has been read. You should see: 5 cases right.
checks.run("block_causal", block_causal)

# %%
causal_blocks = checks.fallback(
    block_causal,
    text.block_causal_mask,
    works=lambda f: torch.equal(f(4, 2), text.block_causal_mask(4, 2)),
)

# %% tags=["lab"]
change = stale(block_net, 4, lambda l: causal_blocks(l, 4))
print(f"blocks look back only: a probability moves by {change:.1e}")
insist(change < 1e-5, "with this mask the cache must be exact")

# %% [markdown]
# Nothing moves beyond float32 rounding: **with this mask the cache is exact.** (A reader of the BD3-LM code asked just that, in
# [issue 26](https://github.com/kuleshov-group/bd3lms/issues/26), and the authors answered yes.)
#
# ## 3 · All blocks in one pass
#
# How do you train it? For each block the network needs clean text before, and noise inside. Done one by one, that is
# $l/n$ passes for a text. But what a later block may see of an earlier one is the *clean* version, and what the
# earlier one works on is its *noisy* version. So give the network both, side by side, and let the mask say who looks at whom.
#
# A clean token stands at the same position as its noisy copy: the positions are $0..l-1$ twice.

# %% [markdown] exercise={"id": "two_streams", "difficulty": 2, "importance": 5, "minutes": 12}
# ### Exercise · Two streams in one pass
#
# The input is `[noisy tokens, clean tokens]`, $2l$ in all; `n` divides `l`. Return the boolean matrix (row: who
# looks, column: at whom) under which the logits of *every* noisy block are those it would get alone, after the
# clean blocks before it. Nobody may see what the writer will not have.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Draw the four quarters on paper for $l=4$, $n=2$. For each, say in words what is allowed: noisy at noisy, noisy
# at clean, clean at noisy, clean at clean. Two of the four are nearly alike.
# </details>
# <details><summary>Hint: may a noisy block look at its own clean copy?</summary>
#
# The clean copy holds the very tokens that it has to guess.
# </details>
# <details><summary>Hint: may the clean stream look at noise?</summary>
#
# When the block is written, the finished text was read before this block had any noise. And noise of an
# earlier block that reaches this one on a detour is still noise.
# </details>


# %% nbgrader={"grade_id": "two_streams", "solution": true} autograde={"library": ["genmodels.text.two_stream_mask", "genmodels.text.block_causal_mask"]}
def two_streams(l: int, n: int) -> Bool[Tensor, "m m"]:
    """True where the query (row) may look at the key (column); m = 2 l, noisy tokens first."""
    # TODO      four quarters
    ### BEGIN SOLUTION
    block = torch.arange(l) // n
    query, key = block[:, None], block
    noisy = torch.cat([query == key, query > key], 1)
    clean = torch.cat([torch.zeros(l, l, dtype=torch.bool), query >= key], 1)
    return torch.cat([noisy, clean])
    ### END SOLUTION


# %% nbgrader={"grade_id": "two_streams_check", "grade": true, "points": 3}
# The truth goes through the text token by token. You should see: 4 cases right.
checks.run("two_streams", two_streams)

# %%
streams = checks.fallback(
    two_streams,
    text.two_stream_mask,
    works=lambda f: torch.equal(f(4, 2), text.two_stream_mask(4, 2)),
)

# %% tags=["lab"]
lab.scrub(
    lambda block: figures.mask_picture(streams(16, block), block),
    fps=2,
    block=lab.pick([1, 2, 4, 8, 16], 4),
)

# %% [markdown]
# **This is the picture to remember.** Move the block to 1: a noisy token sees itself, which is a mask, and all clean ones before it. It
# is chapter 02's model, one position later. Move it to 16: the noisy stream sees all of itself and nothing
# clean: it is chapter 14's model. What lies between is new, and the only thing that moved is a matrix.
#
# A warning. You can read on the web that it is the other way round: a
# [generated page on the BD3-LM code](https://deepwiki.com/kuleshov-group/bd3lms/2.3-block-discrete-denoising) calls
# blocks of 1 pure diffusion and one block of 1024 autoregressive. Do not argue; compute. With blocks of 1,
# changing a later token must change nothing:


# %% tags=["lab"]
@torch.no_grad()
def reach(n: int, l: int = 16) -> tuple[int, int]:
    """How many *visible noisy* tokens before and after token 7 move its logits."""
    mask, places = streams(l, n), text.two_stream_positions(l)
    x = ROWS[:1, :l]
    ask = lambda x_t: block_net(torch.cat([x_t, x], 1), mask=mask, positions=places)[0, 7]
    moved = []
    for i in range(l):
        x_t = x.clone()
        x_t[0, i] = MASK
        moved.append(float((ask(x_t) - ask(x)).abs().max()) > 1e-4)
    return sum(moved[:7]), sum(moved[8:])


for n in (1, 4, 16):
    print(
        f"blocks of {n:2d}: a token listens to {reach(n)[0]} noisy tokens before it and {reach(n)[1]} after it"
    )

# %% [markdown]
# With blocks of 1 there is nobody to listen to in the noisy stream: that is the autoregressive end. Two more questions
# from readers of the code:
#
# - *Is the second half of the output used?* ([issue 40](https://github.com/kuleshov-group/bd3lms/issues/40)) No, only the first half
#   enters the loss. But the clean stream must run through all layers: the noisy one looks at its keys and values there.
# - *Flex attention also wants a BLOCK_SIZE. Is it the same?* ([issue 23](https://github.com/kuleshov-group/bd3lms/issues/23))
#   No: that is the size of the tiles in which a kernel works, 128 unless told otherwise. The block of this chapter is a property of the model.
#
# ## 4 · The loss
#
# Chapter 14's bound, for each block on its own:
#
# $$-\log p(x_0)\le\sum_B\;\mathbb E_{t\sim U(0,1)}\;\frac1t\sum_{i\in B\text{ hidden}}-\log p_\theta\bigl(x_0^i\mid x_t^B,\,x_0^{<B}\bigr) \tag{2}$$
#
# Each block has a time of its own.

# %% [markdown] exercise={"id": "block_bound", "difficulty": 3, "importance": 5, "minutes": 18}
# ### Exercise · The bound without sampling noise
#
# `predict(x_t, x0)` returns log-probabilities $(b,l,v)$; the mask of two streams is inside, so the answer for a
# block depends on that block of `x_t` and on the earlier blocks of `x0`, and on nothing else. Return the bound (2)
# on $-\log p(x_0)$ for each text, in nats, with the expectation over times and masks done exactly. `n` divides $l$.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Chapter 14: integrating $t$ out, a set of $k$ hidden tokens out of $n$ weighs
# $\int_0^1 t^{k-1}(1-t)^{n-k}\,dt=(k-1)!\,(n-k)!/n!$. Here $n$ is the length of a block, not of the text.
# </details>
# <details><summary>Hint: so many calls?</summary>
#
# No block sees another one's noise. So the same set may be hidden in every block, at once.
# </details>
# <details><summary>Hint: it is right for one block, wrong for several</summary>
#
# Add the blocks up: $-\log p$ of a text is a sum over its blocks, not their mean.
# </details>


# %% nbgrader={"grade_id": "block_bound", "solution": true} autograde={"library": ["genmodels.discrete.exact_masked_nelbo", "genmodels.text.block_nll", "genmodels.discrete.llada_nelbo"]}
def block_bound(
    predict: Callable[[Tensor, Tensor], Tensor], x0: Int[Tensor, "b l"], n: int, mask: int
) -> Float[Tensor, "b"]:
    """The bound on -log p(x_0) of block diffusion with blocks of n, in nats."""
    # TODO      every set of hidden tokens of a block, with its weight
    ### BEGIN SOLUTION
    bound = torch.zeros(len(x0), dtype=torch.float64)
    for pattern in product([False, True], repeat=n):
        k = sum(pattern)
        if k == 0:
            continue
        hidden = torch.tensor(pattern).repeat(x0.shape[1] // n).expand_as(x0)
        log_p = predict(torch.where(hidden, mask, x0), x0)
        nll = -log_p.gather(2, x0[..., None])[..., 0]
        weight = math.factorial(k - 1) * math.factorial(n - k) / math.factorial(n)
        bound = bound + weight * torch.where(hidden, nll, 0.0).sum(1)
    return bound
    ### END SOLUTION


# %% nbgrader={"grade_id": "block_bound_check", "grade": true, "points": 4}
# Random two-layer networks; the truth writes each block in all n! orders and takes the mean of the
# chain rules. You should see: 4 cases right.
checks.run("block_bound", block_bound)

# %% [markdown]
# ## 5 · Which block is best? An exact lab
#
# Three symbols, texts of 8. The next symbol is the last one with chance 0.85, else one of the two others. For such a
# *sticky chain* all conditionals are known: what comes before and after a hole speaks through its nearest seen
# neighbours. So we can build a perfect network, and two bad ones:
#
# - **short-sighted**: it looks at the symbols right beside the hole only, if they are seen;
# - **under-confident**: it knows the true conditional $p$ and says $p^{0.7}$, normalised.
#
# Then all $3^8$ texts go through *your* bound, weighted by their chance. **Predict first**: for each of the three, is block 1 or
# block 8 better?

# %%
bound = checks.fallback(
    block_bound,
    lambda predict, x0, n, mask: discrete.exact_masked_nelbo(lambda x_t: predict(x_t, x0), x0, mask, block=n),
    works=lambda f: abs(
        float(f(lambda x_t, x0: torch.full((1, 4, 3), 1 / 3).log(), torch.zeros(1, 4).long(), 2, 3)) - 4 * math.log(3)
    ) < 1e-5,
)  # fmt: skip


# %% tags=["lab"]
def chain_net(chain: toy.MarkovText, n: int, *, near: bool = False, power: float = 1.0) -> Callable:
    """A network for a chain: what is left of a hole, times what is right of it, inside the block."""
    P, eye = chain.transition, torch.eye(chain.v + 1, chain.v, dtype=torch.float64)

    def predict(x_t: Int[Tensor, "b l"], x0: Int[Tensor, "b l"]) -> Float[Tensor, "b l v"]:
        b, l = x0.shape
        left, right = [None] * l, [None] * l
        for i in range(l):  # the law of x_i by the left; a clean symbol ends the block before
            seen = x0[:, i - 1] if i % n == 0 else x_t[:, i - 1]
            if i == 0:
                left[i] = chain.stationary.expand(b, -1)
            else:
                further = chain.stationary.expand(b, -1) if near else left[i - 1] @ P
                left[i] = torch.where((seen == chain.v)[:, None], further, eye[seen] @ P)
        for i in reversed(range(l)):  # how likely what is seen on the right is, given x_i
            if i % n == n - 1:
                right[i] = torch.ones(b, chain.v, dtype=torch.float64)
            else:
                seen, further = (
                    x_t[:, i + 1],
                    torch.ones(1).double() if near else right[i + 1] @ P.T,
                )
                right[i] = torch.where((seen == chain.v)[:, None], further, eye[seen] @ P.T)
        log_p = (torch.stack(left, 1) * torch.stack(right, 1)).log()
        return (power * log_p).log_softmax(-1)

    return predict


def exact_bits(chain: toy.MarkovText, n: int, l: int = 8, **options) -> float:
    """Bits a symbol with blocks of n, the mean over all texts."""
    texts = toy.all_sequences(chain.v, l)
    chance = chain.log_prob(texts).exp()
    possible = chance > 0
    cost = bound(chain_net(chain, n, **options), texts[possible], n, chain.v)
    return float((chance[possible] * cost).sum()) / (l * math.log(2))


STICKY = toy.MarkovText([[0.85, 0.075, 0.075], [0.075, 0.85, 0.075], [0.075, 0.075, 0.85]])
RANDOM = toy.MarkovText.random(3, seed=0)
CUTS = [1, 2, 4, 8] if PROFILE != "smoke" else [1, 2]
exact = {
    "perfect, sticky chain": [exact_bits(STICKY, n) for n in CUTS],
    "short-sighted, sticky chain": [exact_bits(STICKY, n, near=True) for n in CUTS],
    "perfect, random chain": [exact_bits(RANDOM, n) for n in CUTS],
    "under-confident, random chain": [exact_bits(RANDOM, n, power=0.7) for n in CUTS],
}
for name, values in exact.items():
    print(f"{name:30s}", "  ".join(f"block {n}: {value:.4f}" for n, value in zip(CUTS, values)))
insist(
    max(exact["perfect, sticky chain"]) - min(exact["perfect, sticky chain"]) < 1e-9,
    "a perfect network costs the same in any order",
)
insist(
    exact["short-sighted, sticky chain"][0] < exact["short-sighted, sticky chain"][-1] - 0.01,
    "here the small block must win",
)
insist(
    exact["under-confident, random chain"][0] > exact["under-confident, random chain"][-1],
    "here the large block must win",
)

# %% tags=["lab"]
excess = {
    name: (
        CUTS,
        [
            value - best
            for value, best in zip(exact[name], exact["perfect, " + name.split(", ")[1]])
        ],
    )
    for name in exact
    if not name.startswith("perfect")
}
plot.show(
    plot.curves(
        excess,
        "length of a block",
        "bits a symbol above the truth",
        "Neither end is best by theorem",
        log="x",
        markers=True,
        alt="Two curves of the excess bits against the block. The short-sighted network pays nothing at block 1 and more as "
        "blocks grow; the under-confident one pays less as blocks grow.",
    )  # fmt: skip
)

# %% [markdown]
# **The surprise: neither end is best by theorem.** A perfect network pays the entropy, whatever the block, since the
# bound is a mean over orders and each order gives the same $-\log p$. What you measure as a function of the block is
# therefore *the error of the network*. The short-sighted one is perfect from left to right, where the one neighbour it needs is always
# there; in other orders it misses what is further away. The under-confident one gains a little when it sees both sides,
# since then the truth is clearer. That real networks do better with small blocks is an observation about networks.
#
# ## 6 · A noisy loss
#
# There is another reason why large blocks train worse, and this one *is* a theorem. (2) draws a time, and then each
# token's fate. With blocks of 1 nothing should be left to chance: the one token is hidden, its cost is the exact
# $-\log p$. But by (2) it is hidden with chance $t$ and then counts $1/t$: the same mean, and a great deal of noise.
#
# BD3-LM cures it by *clipping*: $t$ from a narrower range. Chapter 14 had another cure: draw the *count* $k$ of hidden
# tokens. How much does each help, and which keeps the mean?

# %% [markdown] exercise={"id": "spread", "difficulty": 3, "importance": 4, "minutes": 15}
# ### Exercise · How noisy is the loss?
#
# One block of $n$ tokens. For every set of hidden tokens you get its `loss` $L$, the sum of $-\log p$ over the hidden
# ones, and the set itself as a row of `hidden`. Return four numbers: mean and variance of the estimate *by time*,
# $L/t$ with $t\sim U(\mathrm{low},1)$ and each token hidden with chance $t$; then mean and variance *by count*,
# $nL/k$ with $k$ uniform on $1..n$ and every set of $k$ equally likely. The empty set has loss 0. Exactly, no draws.
# `integral(a, b, low)` gives $\int_{\mathrm{low}}^1t^a(1-t)^b\,dt$ for whole $a\ge-1$, $b\ge0$.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Each of the four is a sum over sets: chance of the set, times what the estimate is there. By time the chance
# depends on $t$, so there is an integral for each set, over the density $1/(1-\mathrm{low})$.
# </details>
# <details><summary>Hint: which powers?</summary>
#
# A set of $k$ has the chance $t^k(1-t)^{n-k}$. The mean divides once by $t$, the mean of squares twice.
# </details>
# <details><summary>Hint: a variance comes out negative</summary>
#
# The mean of squares, minus the square of the mean *of the same estimate*. The two means differ when low > 0.
# </details>


# %% nbgrader={"grade_id": "spread_given", "locked": true}
def integral(a: int, b: int, low: float) -> float:
    """The integral of t^a (1 - t)^b from low to 1, term by term of the binomial; a >= -1, b >= 0."""
    total = 0.0
    for j in range(b + 1):
        power = a + j + 1
        term = -math.log(low) if power == 0 else (1 - low**power) / power
        total += math.comb(b, j) * (-1) ** j * term
    return total


# %% nbgrader={"grade_id": "spread", "solution": true} autograde={"library": ["genmodels.discrete.estimator_moments"]}
def spread(
    loss: Float[Tensor, "s"], hidden: Bool[Tensor, "s n"], low: float
) -> tuple[float, float, float, float]:
    """(mean, variance) of L / t with t ~ U(low, 1), then (mean, variance) of n L / k with k ~ U{1..n}."""
    # TODO      two sums over sets for each estimate
    ### BEGIN SOLUTION
    n = hidden.shape[1]
    first = second = mean = square = 0.0
    for value, k in zip(loss.tolist(), hidden.sum(1).tolist()):
        if k > 0:
            first += value * integral(k - 1, n - k, low) / (1 - low)
            second += value**2 * integral(k - 2, n - k, low) / (1 - low)
            chance = 1 / (n * math.comb(n, k))
            mean += chance * value * n / k
            square += chance * (value * n / k) ** 2
    return first, second - first**2, mean, square - mean**2
    ### END SOLUTION


# %% nbgrader={"grade_id": "spread_check", "grade": true, "points": 4}
# The truth: quadrature over log t, and a list of all orders cut after each length. You should see: 4 cases right.
checks.run("spread", spread)


# %%
noise_of = checks.fallback(
    spread,
    discrete.estimator_moments,
    works=lambda f: (
        abs(f(torch.tensor([0.0, 1.0]), torch.tensor([[False], [True]]), 0.1)[1] - 1.55843) < 1e-4
    ),
)

# %% tags=["lab"]
for low in (0.1, 0.01, 1e-4):
    mean, variance, _, by_count = noise_of(
        torch.tensor([0.0, 1.0]), torch.tensor([[False], [True]]), low
    )
    print(
        f"block 1, t from {low:g}: mean {mean:.2f}, mean of squares {variance + mean**2:.2f}; by count, variance {by_count:.2f}"
    )

# %% [markdown]
# For one token of cost 1 the mean of squares is $-\ln(\mathrm{low})/(1-\mathrm{low})$ (*with a pencil:* the chance $t$, times
# $1/t^2$). It grows without bound as low goes to 0. By count the variance is 0. Now with a network: the first block of
# a line of Shakespeare, all its $2^n$ sets.


# %% tags=["lab"]
@torch.no_grad()
def all_losses(n: int, row: int = 0) -> tuple[Tensor, Tensor]:
    """The loss of every set of hidden tokens of the block that starts at character 64, and the sets."""
    hidden = torch.tensor(list(product([False, True], repeat=n)))
    x0 = ROWS[row : row + 1, : 64 + n].expand(2**n, -1)
    x_t = x0.clone()
    x_t[:, 64:] = torch.where(hidden, MASK, x0[:, 64:])
    log_p = discrete.subs(block_net(x_t, mask=causal_blocks(64 + n, n)), x_t, MASK)[:, 64:]
    nll = -log_p.gather(2, x0[:, 64:, None])[..., 0].double()
    return torch.where(hidden, nll, 0.0).sum(1), hidden


noise = {}
for n in (1, 2, 4, 8):
    loss, sets = all_losses(n)
    for low in (1e-4, 0.1, 0.45):
        mean, variance, straight, by_count = noise_of(loss, sets, low)
        noise[f"block {n}, t from {low:g}"] = {
            "mean": mean,
            "mean by count": straight,
            "std by time": max(variance, 0) ** 0.5,
            "std by count": max(by_count, 0) ** 0.5,
        }
plot.show(plot.table(noise))

# %% [markdown]
# **Three things to read off.** Clipping lowers the noise. In blocks of more than one it also moves the mean: with $t$ from
# 0.45 much is hidden at once, and hidden neighbours help nobody. The clipped loss is another number than the bound; it
# may train well, but report a likelihood with $t$ from 0, or by count. And the count keeps the mean, is the quieter one in
# every row of the table, and leaves no noise at all where there is nothing to be drawn, in blocks of 1.
#
# ## 7 · Writing
#
# Finished blocks never look at later ones, so they are read once. Inside the block that is being written, everything
# is asked anew after each step, for its tokens do look at each other.

# %% [markdown] exercise={"id": "write", "difficulty": 4, "importance": 5, "minutes": 20}
# ### Exercise · Write, and read nothing twice
#
# Three functions are given. `read(x, memory)` reads the tokens `x` and returns a longer memory; the tokens of one
# call look at each other and at all that is in the memory, so *one call reads one block*. The memory is `None` at the
# start. `ask(x, memory)` returns log-probabilities for the block `x` and keeps nothing. `reveal(x, log_p)` returns
# `x` with some masks replaced. Return the prompt with `n` more tokens, $(b,\,l+n)$.
#
# Blocks are counted from the start of the text. The prompt may end inside one: then the block begins
# with what is known of it. The last block is written whole, and what is too much is cut off. No token may be read
# into the memory twice, and none before it is final; whether you read the very last block is up to you.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# First read the whole blocks of the prompt, one call for each. Then, for each block to come: put the known tokens and
# masks together; ask and reveal until no mask is left; read the finished block.
# </details>
# <details><summary>Hint: the text is right for short prompts only</summary>
#
# A prompt that is read in one call looks at itself in both directions, across its blocks. That is not how it was
# learnt.
# </details>
# <details><summary>Hint: tokens were read more than once</summary>
#
# The memory grows by what you hand over. Hand over only the block that is new.
# </details>


# %% nbgrader={"grade_id": "write", "solution": true} autograde={"library": ["genmodels.text.write_blocks", "genmodels.text.generate_blocks", "genmodels.samplers.semi_autoregressive"]}
def write(
    read: Callable,
    ask: Callable,
    reveal: Callable,
    prompt: Int[Tensor, "b l"],
    n: int,
    block: int,
    mask: int,
) -> Int[Tensor, "b m"]:
    """The prompt with n more tokens, m = l + n."""
    # TODO      block after block; finished blocks go into the memory once
    ### BEGIN SOLUTION
    l = prompt.shape[1]
    text, memory = prompt, None
    for start in range(0, l + n, block):
        x = text[:, start : start + block]
        x = torch.cat([x, x.new_full((len(x), block - x.shape[1]), mask)], 1)
        while bool((x == mask).any()):
            x = reveal(x, ask(x, memory))
        text = torch.cat([text[:, :start], x, text[:, start + block :]], 1)
        if start + block < l + n:
            memory = read(x, memory)
    return text[:, : l + n]
    ### END SOLUTION


# %% nbgrader={"grade_id": "write_check", "grade": true, "points": 4}
# The truth keeps no memory: it reads the whole text again before every question. Same text? You should
# see: 4 cases right.
checks.run("write", write)


# %%
def echo(write_with: Callable) -> bool:
    """A tiny trial: the memory is the text itself, and the next symbol is its length, modulo 5."""
    read = lambda x, memory: x if memory is None else torch.cat([memory, x], 1)
    past = lambda memory: 0 if memory is None else memory.shape[1]
    ask = lambda x, memory: torch.eye(5)[(torch.arange(x.shape[1]) + past(memory)) % 5].log()[None]
    reveal = lambda x, log_p: torch.where(x == 5, log_p.argmax(-1), x)
    return write_with(read, ask, reveal, torch.tensor([[0, 1, 2]]), 4, 2, 5).tolist() == [
        [0, 1, 2, 3, 4, 0, 1]
    ]


writer = checks.fallback(write, text.write_blocks, works=echo)


# %% tags=["lab"]
class Reader:
    """A network with its memory, for ``write``; counts its calls and the tokens that go through it."""

    def __init__(self, net: nets.Transformer, block: int, cached: bool = True):
        self.net, self.block, self.cached, self.calls, self.tokens = net, block, cached, 0, 0

    @torch.no_grad()
    def read(self, x: Tensor, memory: object) -> object:
        if not self.cached:
            return x if memory is None else torch.cat([memory, x], 1)
        memory = self.net.cache(len(x), 256) if memory is None else memory
        self.net(x, cache=memory)
        self.tokens += x.shape[1]
        return memory

    @torch.no_grad()
    def ask(self, x: Tensor, memory: object) -> Tensor:
        self.calls += 1
        if not self.cached:
            x = x if memory is None else torch.cat([memory, x], 1)
            self.tokens += x.shape[1]
            mask = causal_blocks(x.shape[1], self.block)
            return discrete.subs(self.net(x, mask=mask), x, MASK)[:, -self.block :]
        self.tokens += x.shape[1]
        kept = 0 if memory is None else memory.length
        logits = self.net(x, cache=memory)
        if memory is not None:
            memory.length = kept  # the block is still noisy: forget it again
        return discrete.subs(logits, x, MASK)


def some_at_once(count: int, seed: int) -> Callable:
    """Reveal ``count`` random masks of a block in each step, drawn from the network's probabilities."""
    g = core.generator(seed)

    def reveal(x: Tensor, log_p: Tensor) -> Tensor:
        guess = core.sample_categorical(log_p, generator=g)
        rank = torch.rand(x.shape, generator=g).masked_fill(x != MASK, 2.0).argsort(1).argsort(1)
        return torch.where((x == MASK) & (rank < count), guess, x)

    return reveal


PROMPT = PLAYS.encode("ROMEO:\n")[None]
written = {}
for cached in (True, False):
    reader = Reader(block_net, 4, cached)
    begin = time.perf_counter()
    written[cached] = writer(
        reader.read,
        reader.ask,
        some_at_once(1, SEED),
        PROMPT,
        24 if PROFILE == "smoke" else 160,
        4,
        MASK,
    )
    seconds = time.perf_counter() - begin
    print(
        f"{'cached' if cached else 'uncached':9s} {reader.calls} calls, {reader.tokens} tokens through the network, {seconds:.2f} s"
    )
print("the same text:", torch.equal(written[True], written[False]))
print(PLAYS.decode(written[True][0]))

# %% [markdown]
# The same text, and far fewer tokens through the network. (If a draw falls within float32 rounding of a boundary, two texts may part; that is no
# error of the cache.)
#
# ## 8 · What is lost when several are written at once
#
# One token in each call is what chapter 02 did. Diffusion gains only when several are revealed together. They are then
# drawn blindly from *their own* conditionals, and what they have in common is lost:
#
# $$\mathrm{KL}(p\,\|\,q)=\sum_{\text{groups }G}\Bigl[\sum_{i\in G}H(x^i\mid\text{written before})-H(x^G\mid\text{written before})\Bigr] \tag{3}$$
#
# Each bracket is a *conditional total correlation*: 0 for one token, and for several exactly what they know of each other.

# %% [markdown] exercise={"id": "extra_bits", "difficulty": 4, "importance": 5, "minutes": 15}
# ### Exercise · The price of writing at once
#
# `p` is a table of all probabilities, with one axis for each token (the axes may differ in length). `groups` lists the positions in the order in which
# they are written: `[[0, 3], [1, 2]]` draws tokens 0 and 3 at once, then 1 and 2, given 0 and 3. Inside a group every
# token is drawn from its own exact conditional, blind to the others of the group. Return $\mathrm{KL}(p\,\|\,q)$ in
# **bits**, where $q$ is the law of the text so written. Some probabilities are 0.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Write $\log q$ as a sum over groups and tokens, and take its mean under $p$: each term is a conditional entropy
# under $p$ itself. So all you need is the entropy of sets of positions.
# </details>
# <details><summary>Hint: conditional entropy</summary>
#
# $H(A\mid B)=H(A\cup B)-H(B)$. What is summed out is an axis of the table.
# </details>


# %% nbgrader={"grade_id": "extra_bits", "solution": true} autograde={"library": ["genmodels.toy.parallel_cost", "genmodels.toy.TinyLanguage"]}
def extra_bits(p: Float[Tensor, "*v"], groups: list[list[int]]) -> float:
    """KL(p || q) in bits; q writes the tokens of a group independently, given the earlier groups."""

    # TODO      how much more q costs than p
    ### BEGIN SOLUTION
    def entropy(kept: set[int]) -> float:
        out = [i for i in range(p.ndim) if i not in kept]
        marginal = p.sum(out) if out else p
        return float(torch.special.entr(marginal).sum()) / math.log(2)

    total, before = 0.0, set()
    for group in groups:
        alone = sum(entropy(before | {i}) - entropy(before) for i in group)
        total += alone - (entropy(before | set(group)) - entropy(before))
        before = before | set(group)
    return total
    ### END SOLUTION


# %% nbgrader={"grade_id": "extra_bits_check", "grade": true, "points": 4}
# The truth goes through all texts and adds up p log(p / q). You should see: 6 cases right.
checks.run("extra_bits", extra_bits)


# %%
extra = checks.fallback(
    extra_bits,
    lambda p, groups: toy.parallel_cost(p, groups) / math.log(2),
    works=lambda f: abs(float(f(torch.eye(2).double() / 2, [[0, 1]])) - 1) < 1e-9,
)

# %% tags=["lab"]
TEXTS = toy.all_sequences(3, 8)
LAW = STICKY.log_prob(TEXTS).exp().reshape((3,) * 8)


def schedule_of(block: int, calls: int) -> list[list[int]]:
    """The groups when every block of 8 symbols is written in equal calls, its tokens far apart first."""
    each = calls * block // 8  # calls for a block
    return [
        [start + i for i in range(k, block, each)]
        for start in range(0, 8, block)
        for k in range(each)
    ]


lost = {}
for block in (2, 4, 8):
    counts = [c for c in (1, 2, 4, 8) if c * block // 8 >= 1]
    lost[f"blocks of {block}"] = (counts, [extra(LAW, schedule_of(block, c)) / 8 for c in counts])
    print(
        f"blocks of {block}:",
        "  ".join(f"{c} calls {v:.3f}" for c, v in zip(*lost[f"blocks of {block}"])),
    )

# %% tags=["lab"]
plot.show(
    plot.curves(
        lost,
        "calls of the network for 8 symbols",
        "bits lost a symbol",
        "The exact price of writing at once",
        log="x",
        markers=True,
        alt="Bits lost a symbol against the calls, for blocks of 2, 4 and 8 of the sticky chain: all fall to 0 at 8 calls, and "
        "at equal calls the larger block loses less.",
    )  # fmt: skip
)

# %% [markdown]
# At equal calls the *larger* block loses less here: it can take tokens that are far apart, and those know little of each other. In a small block
# all candidates are neighbours. So the block has two faces: small is (often) easier to learn, large leaves more room
# to choose. And with a perfect network, one token a call loses nothing, whatever the block.
#
# ## 9 · From an autoregressive model to block diffusion
#
# Must one train all this anew? Fast-dLLM v2 starts from a finished autoregressive model and fine-tunes it, with about a
# billion tokens, to write blocks; the authors report up to 2.5 times the speed of autoregressive decoding. The recipe: the same weights, the mask of
# two streams, and one new embedding, that of the mask. (They also shift the targets by one place, so that a position predicts what it
# predicted before, and train each text with two complementary sets of holes.) Does it help here? Two networks, the same steps, one from chapter 02's
# weights and one from nothing.

# %% tags=["lab", "train"]
STEPS = {"smoke": 2, "laptop": 350, "gpu": 2000}[PROFILE] if TRAIN else 0
FIRST = max(STEPS // 3, 2)  # so far the two are compared
rows = recipe.windows("train")


def fresh(start: nets.Transformer | None) -> nets.Transformer:
    """A network for blocks, with the weights of an autoregressive one where there are any."""
    torch.manual_seed(SEED)
    net = nets.Transformer(MASK + 1, 96, 4, 4, max_len=2 * LENGTH, causal=False)
    if start is not None:
        weights = start.state_dict()
        own = net.state_dict() | {k: v for k, v in weights.items() if k != "embedding.weight"}
        own["embedding.weight"][:MASK] = weights["embedding.weight"]
        net.load_state_dict(own)
    return net


learnt = {}
for name, start in (("from chapter 02", causal_net), ("from nothing", None)):
    if not STEPS:
        break
    net, g, losses = fresh(start), core.generator(SEED), []
    step = recipe.muon(net.parameters(), lr=0.02)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(step, STEPS, 1e-3)
    for _ in range(STEPS if start is not None else FIRST):
        x = rows[torch.randint(len(rows), (8,), generator=g)]
        loss = recipe.block_bound(net, x, 4, generator=g).mean()
        step.zero_grad()
        loss.backward()
        step.step()
        slower.step()
        losses.append(float(loss.detach()) / (LENGTH * math.log(2)))
    learnt[name] = losses
    then = sum(losses[:FIRST][-10:]) / 10
    print(f"{name}: {then:.2f} bits a character in training after {FIRST} steps")
    if start is not None:
        mine = bits(net.eval(), 4)
        report.metric("blocks of 4, yours", mine[0], "bits a character", note=f"± {mine[1]:.2f}")

# %% tags=["lab"]
if learnt:
    smooth = {k: torch.tensor(v).unfold(0, min(5, len(v)), 1).mean(1) for k, v in learnt.items()}
    plot.show(
        plot.curves(
            smooth,
            "step",
            "bits a character, training",
            "Blocks of 4: where do you start?",
            alt="Two training curves: the one that starts from chapter 02's weights lies lower.",
        )  # fmt: skip
    )

# %% [markdown]
# ## 10 · Shakespeare
#
# The ready network was trained on blocks of 1, 2, 4, 8 and 16 at once. First, bits against the block: by
# theorem the entropy would be flat.

# %% tags=["lab"]
curve["trained on blocks"] = [bits(block_net, n) for n in SIZES]
lines = {k: (SIZES, [v for v, _ in c], [e for _, e in c]) for k, c in curve.items()}
plot.show(
    figures.bits_against_block(
        lines,
        {"chapter 14, one block": whole[0]},
        "Shakespeare: bits against the block",
        alt="Bits a character against the block for chapter 14's network and the one trained on blocks: the latter rises with the block, the former falls.",
    )  # fmt: skip
)

# %% [markdown]
# Then the price of fewer calls. We cannot enumerate Shakespeare. But we can ask what the true text costs a writer who
# reveals `count` tokens of each block at a time, in random order: a cross-entropy, so no sample is needed.


# %% tags=["lab"]
@torch.no_grad()
def bits_at(n: int, count: int, draws: int = 2) -> tuple[float, float]:
    """Bits a character when each block of n is written ``count`` tokens at a time, and the standard error."""
    g, total = core.generator(SEED), 0.0
    for _ in range(draws):
        rank = torch.rand(len(ROWS), LENGTH // n, n, generator=g).argsort(2).argsort(2).flatten(1)
        for known in range(0, n, count):
            x_t = torch.where(rank >= known, MASK, ROWS)
            log_p = discrete.subs(text.block_logits(block_net, x_t, ROWS, n), x_t, MASK)
            now = (rank >= known) & (rank < known + count)
            total = (
                total
                - torch.where(now, log_p.gather(2, ROWS[..., None])[..., 0], 0.0).sum(1) / draws
            )
    total = total / (LENGTH * math.log(2))
    return float(total.mean()), float(total.std() / len(total) ** 0.5)


price = {}
for n in (4, 8) if PROFILE != "smoke" else (2,):
    counts = [c for c in (1, 2, 4, 8) if c <= n]
    found = [bits_at(n, c) for c in counts]
    price[f"blocks of {n}"] = (
        [1 / c for c in counts],
        [v for v, _ in found],
        [e for _, e in found],
    )
    for c, (v, e) in zip(counts, found):
        print(
            f"blocks of {n}, {c} at a time, {1 / c:.3f} calls a character: {v:.2f} ± {e:.2f} bits"
        )
plot.show(
    plot.curves(
        price,
        "calls of the network a character",
        "bits a character",
        "Shakespeare: bits against calls",
        log="x",
        markers=True,
        alt="Bits a character against calls a character: fewer calls cost more bits, for each block.",
    )  # fmt: skip
)

# %% [markdown]
# ## 11 · The live lab
#
# Watch it write, call by call: a block is filled in at random, then read, then the next one begins. Your `write` does it, and
# reads each block once. The bits are what a causal reader, chapter 02's network, needs for the text: gibberish is dear to read.


# %% tags=["lab", "hide-input"]
# Folded: what the sliders do.
@torch.no_grad()
def page(block: int, at_once: int, seed: int) -> lab.Take:
    """A page that is written block after block; every call of the network is a frame."""
    reader, inner = Reader(block_net, block), some_at_once(at_once, seed)
    length = 24 if PROFILE == "smoke" else 121
    done, states, whole = PROMPT[:, :0], [], PROMPT.shape[1] + length

    def show(x: Tensor) -> Tensor:
        now = torch.cat([done, x], 1)[:, :whole]
        states.append(torch.nn.functional.pad(now, (0, whole - now.shape[1]), value=MASK))
        return x

    def read(x: Tensor, memory: object) -> object:
        nonlocal done
        done = torch.cat([done, x], 1)
        return reader.read(x, memory)

    reveal = lambda x, log_p: show(inner(x, log_p))
    out = writer(read, reader.ask, reveal, PROMPT, length, block, MASK)
    log_p = causal_net(out[:, :-1]).log_softmax(-1).gather(2, out[:, 1:, None])[0, :, 0]
    cost = float(-log_p[PROMPT.shape[1] - 1 :].mean()) / math.log(2)
    name = f"blocks of {block}"
    return lab.Take(
        states,
        list(range(1, len(states) + 1)),
        f"{reader.calls} calls for {length} characters; {cost:.2f} bits a character to read",
        {"cost": {name: ([reader.calls / length], [cost])}},
    )


lab.play(
    page,
    lab.Tokens(PLAYS.decode, columns=64, mask=MASK),
    alt="A page of text is written block after block; inside a block letters appear in any order.",
    charts=(lab.Chart("cost", x="calls a character", y="bits a character to read"),),
    fps=12,
    block=lab.pick([1, 2, 4, 8, 16], 4),
    at_once=lab.pick([1, 2, 4, 8], 1),
    seed=lab.pick(range(8), 0),
)

# %% [markdown]
# Watch the calls fall and the bits rise as more is revealed at once.
#
# ## 12 · Break it
#
# The worst bug of block diffusion is silent: a mask that lets the answer through. The loss looks *better*, and the
# texts are nonsense. How can one see it? **On texts without any pattern.** If all symbols are independent and uniform, the loss
# cannot honestly fall below $\log_2 8=3$ bits. Train a tiny network for a moment under each mask. Predict: which of the five will go below?

# %% tags=["lab"]
LEAKS = {
    "no bug": lambda a, b: (a == b, a > b, a < -1, a >= b),
    "1  its own clean copy": lambda a, b: (a == b, a >= b, a < -1, a >= b),
    "2  all clean blocks": lambda a, b: (a == b, a > -1, a < -1, a >= b),
    "3  the clean stream looks ahead": lambda a, b: (a == b, a > b, a < -1, a > -1),
    "4  earlier noise too": lambda a, b: (a >= b, a > b, a < -1, a >= b),
    "5  the clean stream looks at noise": lambda a, b: (a == b, a > b, a == b, a >= b),
}


def trained_under(
    name: str, l: int = 8, n: int = 2, steps: int = 10 if PROFILE == "smoke" else 250
) -> float:
    """Bits a symbol at the end of a short training on texts without a pattern."""
    at = torch.arange(l) // n
    parts = [rule.expand(l, l) for rule in LEAKS[name](at[:, None], at[None])]
    mask = torch.cat([torch.cat(parts[:2], 1), torch.cat(parts[2:], 1)])
    torch.manual_seed(SEED)
    net, g = nets.Transformer(9, 32, 2, 2, max_len=2 * l, causal=False), core.generator(SEED)
    step, costs = torch.optim.Adam(net.parameters(), lr=1e-2), []
    for _ in range(steps):
        x0 = torch.randint(8, (64, l), generator=g)
        k = torch.randint(1, n + 1, (64, l // n, 1), generator=g)
        hidden = (torch.rand(64, l // n, n, generator=g).argsort(2).argsort(2) < k).flatten(1)
        logits = net(
            torch.cat([torch.where(hidden, 8, x0), x0], 1),
            mask=mask,
            positions=text.two_stream_positions(l),
        )
        nll = torch.nn.functional.cross_entropy(
            logits[:, :l, :8].transpose(1, 2), x0, reduction="none"
        )
        loss = ((n / k).expand(-1, -1, n).flatten(1) * torch.where(hidden, nll, 0.0)).sum(1).mean()
        step.zero_grad()
        loss.backward()
        step.step()
        costs.append(float(loss.detach()) / (l * math.log(2)))
    return sum(costs[-20:]) / len(costs[-20:])


symptom = {name: trained_under(name) for name in LEAKS}
plot.show(
    plot.table(
        {
            name: {"bits a symbol": value, "below 3 bits": value < 2.9}
            for name, value in symptom.items()
        }
    )
)

# %% [markdown]
# Where the loss went far below 3 bits the answer leaked, on the direct way or on a detour through a second layer. The last two masks are
# wrong as well, and no loss shows it: on independent symbols, noise of other blocks is no answer. What they break is the writing, where
# that noise is gone and the cache has never seen it. So a loss is no proof. A test that changes tokens is.

# %% [markdown] exercise={"id": "leaks_nothing", "difficulty": 4, "importance": 5, "minutes": 18}
# ### Exercise · The test that finds every leak
#
# `forward(x_t, x0)` returns logits $(b,l,v)$ for token numbers $(b,l)$; symbols are $0..v-1$ and the mask is $v$
# (in `x_t` alone). It is one pass of block diffusion with blocks of `n`. Return True exactly if the logits of each
# block depend on nothing but *its own* noisy tokens and the clean tokens of *earlier* blocks, of the same text. It
# need not use all of these. Your test is graded by what it says of right and of leaking passes.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Change one thing that a block must not see, and compare its logits before and after, bit by bit or up to rounding.
# Which things are there? Clean tokens of its own and of later blocks; noisy tokens of every other block; other texts.
# </details>
# <details><summary>Hint: a leak gets through</summary>
#
# Some are in one place only, or small, or go through *earlier* noise. Change every token in turn, and look at every
# place that must not move.
# </details>
# <details><summary>Hint: a right pass is refused</summary>
#
# The logits may be float32: a difference of a millionth of their size is rounding. They need not be normalised. And `x_t` and `x0` are independent inputs here; both may be changed alone.
# </details>


# %% nbgrader={"grade_id": "leaks_nothing", "solution": true}
def leaks_nothing(forward: Callable[[Tensor, Tensor], Tensor], l: int, n: int, v: int) -> bool:
    """Whether every block sees its own noise and earlier clean blocks only."""
    # TODO      True for a pass without a leak
    ### BEGIN SOLUTION
    g = core.generator(3)
    x_t = torch.randint(v + 1, (3, l), generator=g)
    x0 = torch.randint(v, (3, l), generator=g)
    block = torch.arange(l) // n
    before = forward(x_t, x0)
    near = 1e-6 if before.dtype == torch.float64 else 1e-5
    for i in range(l):
        for stream, moved in (
            ("noisy", forward((x_t + one_at(i, l)) % (v + 1), x0)),
            ("clean", forward(x_t, (x0 + one_at(i, l)) % v)),
        ):
            may = block == block[i] if stream == "noisy" else block > block[i]
            off = (moved - before).abs()
            if off[0, ~may].numel() and float(off[0, ~may].max()) > near:
                return False
            if float(off[1:].max()) > near:
                return False
    return True


def one_at(i: int, l: int) -> Tensor:
    """1 at token i of the first of three texts, else 0."""
    change = torch.zeros(3, l, dtype=torch.long)
    change[0, i] = 1
    return change
    ### END SOLUTION


# %% nbgrader={"grade_id": "leaks_nothing_check", "grade": true, "points": 4}
# Your test meets right passes and broken ones, most of them broken in one place. You should see: 24 cases right.
checks.run("leaks_nothing", leaks_nothing)

# %% [markdown]
# ## 13 · Your line in the leaderboard

# %% tags=["lab"]
board = {}
for n, count in ((4, 1), (4, 2), (8, 2)) if PROFILE != "smoke" else ((4, 1),):
    value, error = bits_at(n, count, 1)
    reader, begin = Reader(block_net, n), time.perf_counter()
    writer(reader.read, reader.ask, some_at_once(count, SEED), PROMPT, 64, n, MASK)
    name = f"block diffusion, blocks of {n}, {count} at a time"
    board[name] = {
        "bits a character": value,
        "calls a character": reader.calls / 64,
        "ms a character": 1000 * (time.perf_counter() - begin) / 64,
        "parameters": sum(p.numel() for p in block_net.parameters()),
    }
    report.metric(name, value, "bits a character", note=f"± {error:.2f} on {WINDOWS} windows")
plot.show(plot.table(board, best={"bits a character": "min", "ms a character": "min"}))

# %% [markdown]
# For scale, from the paper (LM1B, perplexity; lower is better): autoregressive 22.83, MDLM 31.78, BD3-LM with
# blocks of 4 28.23.
#
# **What you can now do.** Draw the mask between a language model and a diffusion model; train all blocks in one pass;
# say how noisy a loss is before running it; write with an exact cache; and compute what it costs to write several
# tokens at once.
#
# **What is still missing.** You have met every family of this course. Chapter 16 puts them side by side, on one table, and
# asks you for a result of your own.
