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
# # 01 · Autoregressive models
#
# ![Handwritten digits whose upper half is given, in blue, and whose lower half the model of this chapter drew, in
# orange: ten different endings for each.](../assets/01_autoregressive.png)
#
# Cover the lower half of a handwritten digit. You cannot know what is hidden, but for the next pixel you
# can name the odds. Toss a coin with those odds, write the pixel down, go on to the one after it. After 392
# tosses there is a digit.
#
# **The one idea.** A picture is a sequence of yes/no questions, and we know how to answer those: with a
# classifier. What you get is rare among generative models: the *exact* probability of any picture, and
# exact samples.
#
# | | |
# |---|---|
# | **You will build** | a NADE, a MADE and a PixelCNN; one sampler that draws with all of them and repairs damaged digits |
# | **Time** | about 2 hours: 40 minutes of reading and {{minutes}} of exercises ({{exercises}} exercises, {{points}} points) |
# | **You need** | Python, PyTorch tensors; log-likelihood and nats (chapter 00) |
# | **Computing** | {{budget}} |
#
# <details><summary><b>Sources</b></summary>
#
# - FVSBN: R. Neal, *Connectionist learning of belief networks*, 1992; B. Frey, *Graphical models*, 1998
# - NADE: H. Larochelle and I. Murray, *The neural autoregressive distribution estimator*, AISTATS 2011
# - Order-agnostic NADE (EoNADE): Uria, Murray, Larochelle, 2014, [arXiv 1310.1757](https://arxiv.org/abs/1310.1757)
# - MADE: Germain, Gregor, Murray, Larochelle, 2015, [arXiv 1502.03509](https://arxiv.org/abs/1502.03509)
# - PixelRNN and PixelCNN: van den Oord, Kalchbrenner, Kavukcuoglu, 2016, [arXiv 1601.06759](https://arxiv.org/abs/1601.06759)
# - Gated PixelCNN: van den Oord et al., 2016, [arXiv 1606.05328](https://arxiv.org/abs/1606.05328)
# - Discretised logistics (PixelCNN++): Salimans et al., 2017, [arXiv 1701.05517](https://arxiv.org/abs/1701.05517)
# </details>

# %% tags=["parameters"]
PROFILE = "laptop"  # or "smoke" (seconds, to see that all runs), or "gpu" (the size of the papers)
TRAIN = True  # False: skip the training and load the ready checkpoints

# %% nbgrader={"grade_id": "setup", "locked": true}
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from coursekit import checks
from genmodels import autoregressive as ar
from genmodels import core
from genmodels.nets import causal_mask

SEED = 0
torch.manual_seed(SEED)


def every_state(n: int) -> Tensor:
    """All 2^n binary vectors, one a row."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n).reshape(-1, n)


# %% tags=["lab"]
import functools
import time

import figures
import matplotlib
from IPython.display import display

from coursekit import lab, plot, report
from coursekit.plot.style import picture, style
from genmodels import data, train

# %% [markdown]
# ## 1 · Pretend you have read no paper
#
# Our pictures are binary: $x\in\{0,1\}^n$, with $n = 28\cdot 28 = 784$ for MNIST. Each grey pixel was
# turned into ink or paper once, by a coin with a fixed seed, so that everybody who takes this course has
# the same data.
#
# A probability for each picture: why not *count*? Make a table with one cell for each of the $2^n$
# pictures, and put into it how often that picture was seen. It works for tiny pictures. Let us see where it
# stops: take the central $k\times k$ patch of each digit, and ask how many patches of the test set have
# *ever* been seen in training.

# %% tags=["lab"]
digits = data.mnist("train", binary=True, limit=20_000).x[:, 0]
held_out = data.mnist("test", binary=True).x[:, 0]


def central_codes(x: Tensor, k: int) -> Tensor:
    """The central k x k patch of each picture, read as one whole number: its cell of the table."""
    a = (28 - k) // 2
    bits = x[:, a : a + k, a : a + k].flatten(1).long()
    return (bits << torch.arange(k * k)).sum(1)


sides = range(1, 8)
seen = []
for k in sides:
    known = torch.isin(central_codes(held_out, k), central_codes(digits, k))
    seen.append(known.double().mean().item())
for k, share in zip(sides, seen):
    print(
        f"{k} x {k}: {2 ** (k * k):>19,d} cells   {share:6.1%} of the test patches have been seen before"
    )

# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
plot.show(
    plot.images(held_out[:32, None], title="Our data: 28 x 28 pixels, ink or paper", columns=16)
)
plot.show(
    plot.curves(
        {"test patches whose cell of the table is not empty": ([k * k for k in sides], seen)},
        "pixels in the patch",
        "share of the test set",
        title="Where counting stops",
        markers=True,
        height=2.4,
    )
)

# %% [markdown]
# At $7\times7$ the table has 562,949,953,421,312 cells, our 20,000 training digits fill at most 20,000 of
# them, and most test patches get probability **zero**. At $28\times28$ every test picture would. Counting
# cannot generalise: two pictures that differ in one pixel share nothing.
#
# ## 2 · The chain rule: one hard question becomes $n$ easy ones
#
# For any distribution, in any order of the pixels, with $x_{<i}=(x_1,\dots,x_{i-1})$,
#
# $$p(x)\;=\;\prod_{i=1}^{n} p(x_i\mid x_{<i}) \tag{1}$$
#
# *Check it with a pencil:* $p(x_i\mid x_{<i}) = p(x_{\le i})/p(x_{<i})$, and the product telescopes.
# Nothing was assumed, so nothing was saved: as tables, the conditionals need $1+2+4+\dots+2^{n-1}=2^n-1$
# numbers, and the last one alone needs $2^{n-1}$, one for each possible past. Drawn as a Bayes net it has
# *every* arrow that points forward.

# %% tags=["lab"]
plot.show(figures.chain_rule())

# %% [markdown]
# What the chain rule gives us is a *form*. Each factor asks: given the pixels so far, is the next one ink?
# That is binary classification, and we replace the table by a function with few parameters, which gives the
# logit $\ell_i$:
#
# $$p(x_i=1\mid x_{<i}) = \sigma(\ell_i),\qquad \ell_i=f_i(x_{<i}),\qquad \sigma(\ell)=\frac{1}{1+e^{-\ell}} \tag{2}$$
#
# A 0 has probability $1-\sigma(\ell)=\sigma(-\ell)$, so the log-probability of what was seen is
#
# $$\log p(x)=\sum_{i=1}^n \log p(x_i\mid x_{<i}),\qquad
# \log p(x_i\mid x_{<i})=\begin{cases}\log\sigma(\ell_i) & x_i=1\\ \log\sigma(-\ell_i) & x_i=0\end{cases} \tag{3}$$
#
# This sum is the **density evaluation**, and its negative mean over the data is the training loss. It is
# measured in *nats*: a fair coin costs $\log 2=0.69$ nats a pixel.

# %% [markdown] exercise={"id": "chain_log_prob", "difficulty": 1, "importance": 5, "minutes": 8}
# ### Exercise · Weigh a picture
#
# `conditional` is any model at all: you hand it the pixels *before* $i$, it answers with the logit of
# $x_i=1$. Add up equation (3). Every model of this chapter is weighed by these few lines.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Start from `total = torch.zeros(b)` and loop over `i`. The past of pixel `i` is `x[:, :i]`; for `i = 0` it
# is empty, and `conditional` knows what to do with it.
# </details>
# <details><summary>Hint: I get <code>-inf</code> or <code>nan</code></summary>
#
# `torch.sigmoid(-800.)` is exactly 0, and its log is minus infinity. `F.logsigmoid` never leaves the log scale.
# </details>
# <details><summary>Hint: the probabilities of all states sum to more than 1</summary>
#
# Does a 0 count as well as a 1? Both have a price.
# </details>
# <details><summary>Hint: the price of one pixel</summary>
#
# Ask `conditional` for the logit. A 1 costs $\log\sigma(\ell)$, a 0 costs $\log\sigma(-\ell)$: `F.logsigmoid`.
# </details>


# %% nbgrader={"grade_id": "chain_log_prob", "solution": true}
def chain_log_prob(
    conditional: Callable[[Float[Tensor, "b i"]], Float[Tensor, "b"]], x: Float[Tensor, "b n"]
) -> Float[Tensor, "b"]:
    """log p(x) = sum_i log p(x_i | x_<i), in nats, for each picture of the batch [equation 3].

    ``conditional(past)`` gets the first i pixels, (b, i), and returns the logit of x_i = 1, (b,).
    """
    # TODO      walk through the pixels and add up their log-probabilities
    ### BEGIN SOLUTION
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        logit = conditional(x[:, :i])
        total = total + torch.where(x[:, i] == 1, F.logsigmoid(logit), F.logsigmoid(-logit))
    return total
    ### END SOLUTION


# %% nbgrader={"grade_id": "chain_log_prob_check", "grade": true, "points": 2}
# Tables small enough to know every probability: the chain rule must give them back. You
# should see: 3 cases right.
checks.run("chain_log_prob", chain_log_prob)


# %% [markdown]
# ## 3 · FVSBN: a straight line for each question
#
# The cheapest classifier is logistic regression. Give each pixel its own, on the pixels before it:
#
# $$\ell_i = b_i+\sum_{j<i} W_{ij}\,x_j \qquad\text{in code}\qquad \texttt{logits = x @ W.tril(-1).T + b} \tag{4}$$
#
# This is the *fully visible sigmoid belief network* (FVSBN): $n(n-1)/2$ weights instead of $2^n$. Note
# `tril(-1)`: row $i$ of the matrix sees the columns before $i$, so it is **strictly** lower triangular, and
# one matrix product asks all $n$ questions at once. How much does "strictly" matter? We can find out
# exactly: with $n=8$ there are only 256 states, and their probabilities must sum to 1.

# %% tags=["lab"]
n = 8
W, b = 1.5 * torch.randn(n, n, dtype=torch.float64), torch.randn(n, dtype=torch.float64)
states = every_state(n)
for name, matrix in {
    "strictly triangular": W.tril(-1),
    "diagonal kept": W.tril(0),
    "full matrix": W,
}.items():
    logits = states @ matrix.T + b
    log_p = -F.binary_cross_entropy_with_logits(logits, states, reduction="none").sum(
        1
    )  # equation (3), all at once
    print(f"{name:20s} the {len(states)} probabilities sum to {log_p.exp().sum():.6f}")

# %% [markdown]
# Only the first is a distribution. In the others a pixel helps to predict *itself*: easy to get right, and
# meaningless. Keep that picture: **an autoregressive model is a function whose Jacobian**
# $\partial\ell_i/\partial x_j$ **is strictly lower triangular.** Everything that follows is a cleverer way
# to make one.
#
# ## 4 · NADE: one hidden layer, paid for once
#
# A straight line cannot say "ink if exactly one of these two pixels is ink". Give each question a hidden
# layer of $d$ units. Done naively that is $n$ separate networks: $O(n^2d)$ work for one picture. NADE
# shares *one* matrix, and then the hidden activation of pixel $i+1$ is that of pixel $i$ plus a single
# column:
#
# $$a_1=c,\qquad h_i=\sigma(a_i),\qquad \ell_i=b_i+V_{i}\cdot h_i,\qquad a_{i+1}=a_i+W_{:,i}\,x_i \tag{5}$$
#
# | symbol | $W$ | $c$ | $V$ | $b$ | $a_i$ | $h_i$ |
# |---|---|---|---|---|---|---|
# | in code | `W` (d, n) | `c` (d,) | `V` (n, d) | `b` (n,) | `a` (batch, d) | `a.sigmoid()` |
#
# *With a pencil:* unroll the recursion, $a_i=c+\sum_{j<i}W_{:,j}x_j$. So $O(nd)$ in all. The whole trick is
# the moment of the update: **first answer, then look.**

# %% [markdown] exercise={"id": "nade_logits", "difficulty": 2, "importance": 4, "minutes": 12}
# ### Exercise · NADE's recursion
#
# Return all $n$ logits of equation (5). The same idea, "keep a running summary of the past", returns in
# chapter 02 as the key-value cache of a Transformer.
#
# <details><summary>Hint: the Jacobian has entries on its diagonal</summary>
#
# You added $W_{:,i}x_i$ *before* computing $\ell_i$. Pixel $i$ then sees itself.
# </details>
# <details><summary>Hint: the first logit should not depend on the picture</summary>
#
# Right: nothing has been seen yet, so $a_1=c$ for each picture of the batch: `c.expand(len(x), -1)`.
# </details>
# <details><summary>Hint: shapes</summary>
#
# $W_{:,i}x_i$ for a batch is an outer product: `x[:, i, None] * W[:, i]` has shape (batch, d).
# </details>
# <details><summary>Hint: where do I begin?</summary>
#
# With $a=c$. For each pixel: answer from $\sigma(a)$, then add the pixel's column. Collect the answers in a list and stack them.
# </details>


# %% nbgrader={"grade_id": "nade_logits", "solution": true} autograde={"library": ["genmodels.autoregressive.NADE"]}
def nade_logits(
    x: Float[Tensor, "batch n"],
    W: Float[Tensor, "d n"],
    c: Float[Tensor, "d"],
    V: Float[Tensor, "n d"],
    b: Float[Tensor, "n"],
) -> Float[Tensor, "batch n"]:
    """The logits of p(x_i = 1 | x_<i) for every i, in O(n d) [Larochelle, Murray 2011; equation 5]."""
    # TODO      carry the activation a from pixel to pixel
    ### BEGIN SOLUTION
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1)
    ### END SOLUTION


# %% nbgrader={"grade_id": "nade_logits_check", "grade": true, "points": 3}
# Logits and their gradients, against equation (5) without its recursion. You should see: 3
# cases right.
checks.run("nade_logits", nade_logits)


# %% [markdown]
# ## 5 · MADE: hide the answers, ask everything at once
#
# NADE walks from pixel to pixel. A GPU would rather do one big matrix product. So take an ordinary
# autoencoder, a network from $n$ pixels to $n$ logits. As it stands it is useless, since output $i$ can
# copy pixel $i$. MADE's answer is charming: **cut the wires that carry the answer.** Multiply every weight
# matrix by a mask of zeros and ones, and the network cannot cheat, whatever its weights.
#
# Which wires? Give each unit a *rank*. The rank of a pixel is its place in the sequence, $0,\dots,n-1$. A
# hidden unit gets any number $m\in\{0,\dots,n-2\}$, which means: "I know only pixels up to rank $m$". Then
# wire
#
# $$\text{hidden layers: } M_{kj}=[\,m_k \ge m_j\,]\qquad\qquad \text{output layer: } M_{ik}=[\,m_i > m_k\,] \tag{6}$$
#
# *With a pencil:* along a path from pixel $j$ to output $i$ the ranks never fall, and the last step rises,
# $m_j\le m_k\le\dots< m_i$. So output $i$ sees only pixels strictly before its own. That is the whole proof.

# %% [markdown] exercise={"id": "made_masks", "difficulty": 3, "importance": 5, "minutes": 12}
# ### Exercise · MADE's masks
#
# `ranks` holds one vector for each layer of units: the pixels first, then every hidden layer. The outputs
# have the ranks of the pixels: output $i$ is the logit of pixel $i$. Return one mask for each weight
# matrix, shaped as `nn.Linear` keeps it: (units after, units before).
#
# The ranks of the pixels need not be $0,1,2,\dots$: any permutation is a valid sequence of questions. A
# network trained under many of them is called *order-agnostic*.
#
# <details><summary>Hint: I do not know how to begin</summary>
#
# Draw three units before and two after, with ranks, and strike out the wires that equation (6) forbids. Then
# walk through neighbouring layers: `zip(ranks, ranks[1:])`. What is different about the last step?
# </details>
# <details><summary>Hint: my mask has the wrong shape</summary>
#
# `nn.Linear(n, d).weight` has shape (d, n): one row for each unit that *receives*. A column of ranks compared
# with a row of ranks gives a table.
# </details>
# <details><summary>Hint: a pixel sees itself</summary>
#
# `>=` belongs in every layer but the last. A hidden unit of rank $m$ may know pixel $m$, so output $m$ must
# not listen to it.
# </details>
# <details><summary>Hint: right for ranks 0, 1, 2, ... and wrong for a shuffled order</summary>
#
# The outputs have the ranks `ranks[0]`, not `torch.arange(n)`.
# </details>


# %% nbgrader={"grade_id": "made_masks", "solution": true} autograde={"library": ["genmodels.autoregressive.made_masks", "genmodels.nets.made_masks"]}
def made_masks(ranks: list[Int[Tensor, "units"]]) -> list[Bool[Tensor, "after before"]]:
    """One boolean mask for each weight matrix of a MADE [Germain et al. 2015, eqs. 8, 9; (6) here].

    ``ranks[0]``: the place of each pixel in the sequence; ``ranks[1:]``: the ranks of the hidden units.
    """
    # TODO      a mask between each two neighbouring layers, and one from the last to the outputs
    ### BEGIN SOLUTION
    masks = [after[:, None] >= before[None] for before, after in zip(ranks, ranks[1:])]
    return [*masks, ranks[0][:, None] > ranks[-1][None]]
    ### END SOLUTION


# %% nbgrader={"grade_id": "made_masks_check", "grade": true, "points": 3}
# Small networks whose masks were worked out unit by unit, from the sentence "a unit of rank
# m knows ranks up to m". You should see: 3 cases right.
checks.run("made_masks", made_masks)


# %%
def two_pixels_right(f) -> bool:
    """Two pixels in the order 1, 0 and one hidden unit."""
    masks = f([torch.tensor([1, 0]), torch.tensor([0])])
    return [m.tolist() for m in masks] == [[[0, 1]], [[1], [0]]]


masks_of = checks.fallback(made_masks, ar.made_masks, works=two_pixels_right)


class MaskedLinear(nn.Linear):
    """A linear layer some of whose wires are cut."""

    def __init__(self, mask: Bool[Tensor, "after before"]):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype))
        wires = self.mask.sum(1, keepdim=True).clamp_min(
            1
        )  # start from the number of wires that are left
        self.weight.data.uniform_(-1, 1).div_(wires.sqrt())
        self.bias.data.zero_()

    def forward(self, x: Float[Tensor, "b before"]) -> Float[Tensor, "b after"]:
        """The mask acts at every pass: the optimiser may do to a cut wire what it likes."""
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """An autoencoder that cannot cheat; ``order[k]`` is the pixel that is asked k-th."""

    def __init__(self, order: Int[Tensor, "n"], hidden: tuple[int, ...]):
        super().__init__()
        n, self.order = len(order), order
        ranks = [order.argsort(), *[torch.arange(width) * (n - 1) // width for width in hidden]]
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks_of(ranks))
        self.direct = MaskedLinear(
            masks_of(ranks[:1])[0]
        )  # no hidden layer: an FVSBN, from pixels straight to logits
        nn.init.zeros_(self.direct.weight)

    def logits(self, x: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """All n questions in one pass."""
        first, *others = self.layers
        h = first(x)
        for layer in others:
            h = layer(h.relu())
        return h + self.direct(x)

    def log_prob(self, x: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        """Equation (3) for the whole batch: minus the cross-entropy, summed over the pixels."""
        return -F.binary_cross_entropy_with_logits(self.logits(x), x, reduction="none").sum(1)


# %% [markdown]
# There it is: a complete generative model in twenty lines. **The surprise is what you do not see: any loop
# over pixels.** The network answers all $n$ questions in one pass, as if it had been shown $n$ different
# pasts. Below: your masks, the number of paths they leave, and the Jacobian of a random MADE. In the second
# row the same for a shuffled order: sort rows and columns by rank and the triangle is back.


# %% tags=["lab"]
x, rows = torch.rand(16, 8, dtype=torch.float64), []
for order in (torch.arange(8), torch.tensor([5, 2, 7, 0, 3, 6, 1, 4])):
    torch.manual_seed(SEED)
    made = MADE(order, (12,)).double()
    nn.init.normal_(made.direct.weight, std=0.3)
    size = checks.jacobian(made.logits, x).abs()[range(16), :, range(16)].mean(0).detach()
    rows.append((order, made.layers[0].mask, made.layers[1].mask, size))
plot.show(figures.masks_and_jacobians(rows))

# %% [markdown]
# ## 6 · Sampling: one pixel after the other, and some of them given
#
# Weighing a picture takes one pass; *drawing* one takes $n$, since pixel $i$ needs the pixels before it.
# This is **ancestral sampling**: for $k=0,1,\dots$ take the pixel $i=\texttt{order[}k\texttt{]}$, toss a
# coin with
#
# $$x_i\sim\mathrm{Bernoulli}\bigl(\sigma(\ell_i(x))\bigr)\qquad\text{in code}\qquad
# \texttt{x[:, i] = (torch.rand(count) < logits(x)[:, i].sigmoid())} \tag{7}$$
#
# write it down, ask again. Pixels not drawn yet may hold anything, zeros for instance: nobody looks at them.
#
# **Inpainting** is the same loop with some pixels *clamped*: where the value is given, write it down
# instead of tossing. If the given pixels come first in the order, that is the exact conditional
# distribution: $p(x_{\text{free}}\mid x_{\text{given}})$ is just the rest of the product in (1).

# %% [markdown] exercise={"id": "ancestral_sample", "difficulty": 3, "importance": 5, "minutes": 15}
# ### Exercise · Draw, and repair
#
# One sampler for every model of this chapter: all it needs is a function `logits` from pictures (count, n)
# to logits (count, n), and the order. With it you will draw digits, finish half a digit, and drive the live
# lab.
#
# <details><summary>Hint: each pixel alone looks right, but together they are noise</summary>
#
# You called `logits` once, or not after each pixel. A pixel drawn in the same pass as its neighbour cannot
# know it.
# </details>
# <details><summary>Hint: all pictures of the batch are the same</summary>
#
# Toss one coin for each picture, `torch.rand(count, generator=generator)`, and compare `u < p`; `p > 0.5`
# is not a toss.
# </details>
# <details><summary>Hint: the clamped pixels are right but the rest does not fit them</summary>
#
# Write a clamped value when its turn comes in the order, not at the end: the pixels after it must see it.
# </details>
# <details><summary>Hint: how do I test for NaN?</summary>
#
# NaN equals nothing, itself included; ask `clamp[i].isnan()`.
# </details>
# <details><summary>Hint: the order of the steps</summary>
#
# For each pixel of `order`: is its value given? Write it. Is it free? Ask `logits(x)`, toss `count` coins, write them down.
# </details>


# %% nbgrader={"grade_id": "ancestral_sample", "solution": true} autograde={"library": ["genmodels.autoregressive.sample", "genmodels.autoregressive.trajectory"]}
def ancestral_sample(
    logits: Callable[[Float[Tensor, "count n"]], Float[Tensor, "count n"]],
    order: Int[Tensor, "n"],
    count: int,
    clamp: Float[Tensor, "n"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "count n"]:
    """``count`` samples of 0s and 1s; ``order[k]`` is the pixel drawn k-th [equation 7].

    ``clamp`` gives values to keep, with NaN where the pixel is free. All coins come from ``generator``.
    """
    # TODO      fill a (count, n) tensor of zeros pixel by pixel
    ### BEGIN SOLUTION
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            p = logits(x)[:, i].sigmoid()
            x[:, i] = (torch.rand(count, generator=generator) < p).to(x.dtype)
    return x
    ### END SOLUTION


# %% nbgrader={"grade_id": "ancestral_sample_check", "grade": true, "points": 4}
# Worlds of a few pixels whose every picture has a known probability: 6,000 samples each,
# free and clamped. You should see: 4 cases right.
checks.run("ancestral_sample", ancestral_sample)


# %%
def library_sample(logits, order, count, clamp=None, generator=None):
    """The library's sampler, called like yours."""
    from types import SimpleNamespace

    return ar.sample(
        SimpleNamespace(logits=logits, order=order), count, clamp=clamp, generator=generator
    )


sampler = checks.fallback(
    ancestral_sample,
    library_sample,
    works=lambda f: (
        f(
            lambda x: 99 - 198 * x[:, [0, 0]],
            torch.tensor([0, 1]),
            3,
            torch.tensor([0.0, math.nan]),
        ).tolist()
        == [[0, 1]] * 3
    ),
)

# %% [markdown]
# ## 7 · Exact lab: a world of 1,024 pictures
#
# Before real data, a world in which everything is known. Ten bits: the first two are fair coins, and each
# next one is the XOR of the two before it, with probability 0.9. By the chain rule its entropy is a sum of
# ten terms, $H = 2\log 2 + 8\,\bigl(-0.9\log 0.9-0.1\log 0.1\bigr)=3.987$ nats, and **no model can go
# below**: the expected $-\log q(x)$ is $H+\mathrm{KL}(p\,\|\,q)$ (chapter 00). We fit an FVSBN and your
# MADE to it, with the exact expectation over all 1,024 states instead of samples.

# %% tags=["lab"]
world = every_state(10)
xor = (world[:, 1:-1] + world[:, :-2]) % 2
true_log_p = 2 * math.log(0.5) + torch.where(world[:, 2:] == xor, math.log(0.9), math.log(0.1)).sum(
    1
)
entropy = -(true_log_p.exp() * true_log_p).sum()


def fit_exactly(model: nn.Module, steps: int) -> list[float]:
    """Minimise the exact expectation of -log q; returns KL(p || q) after each step."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    gaps = []
    for _ in range(steps):
        loss = -(true_log_p.exp() * model.log_prob(world)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        gaps.append((loss - entropy).item())
    return gaps


steps = {"smoke": 100}.get(PROFILE, 300)
torch.manual_seed(SEED)
made = MADE(torch.arange(10), (40,)).double()
rivals = {"FVSBN": ar.FVSBN(10).double(), "MADE": made}
gaps = {name: fit_exactly(model, steps) for name, model in rivals.items()}

print(f"entropy of the world      {entropy:.4f} nats")
for name, model in rivals.items():
    with torch.no_grad():
        total = model.log_prob(world).exp().sum()
    print(
        f"{name:6s} expected -log q {entropy + gaps[name][-1]:9.4f} nats   KL {gaps[name][-1]:.4f}   all probabilities sum to {total:.9f}"
    )

# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
plot.show(
    plot.curves(
        gaps,
        "step",
        "KL(p || q) in nats",
        title="A straight line cannot say XOR",
        log="y",
        height=2.6,
    )
)

# %% [markdown]
# The FVSBN stops about a nat too high: XOR is not a straight line. (It does find a shortcut. Which earlier bit
# predicts $x_i$ *linearly*? XOR twice and you will see $x_{i-3}$.)
#
# **Now clamp.** Give five of the ten bits and draw the rest with your sampler. Once the given bits are the
# first five of the order, once the last five. The exact conditional is known, so we can measure the total
# variation distance between what was drawn and what should have been drawn.


# %% tags=["lab"]
def clamping_error(order: Tensor) -> tuple[float, float]:
    """Total variation between clamped samples and the exact conditional; and what that many exact samples would give."""
    torch.manual_seed(SEED)
    model = MADE(order, (40,)).double()
    fit_exactly(model, steps)
    clamp = torch.full((10,), math.nan)
    clamp[:5] = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    with torch.no_grad():
        exact = model.log_prob(world).exp() * (world[:, :5] == clamp[:5]).all(1)
        exact /= exact.sum()
        drawn = sampler(
            lambda x: model.logits(x.double()), order, 4000, clamp, core.generator(SEED)
        )
    powers = 2 ** torch.arange(9, -1, -1)
    share = lambda codes: torch.bincount(codes, minlength=1024) / 4000
    floor = share(
        torch.multinomial(exact, 4000, replacement=True, generator=core.generator(SEED + 1))
    )
    return tuple(
        0.5 * (p - exact).abs().sum().item() for p in (share((drawn.long() * powers).sum(1)), floor)
    )


for name, order in {
    "given bits first in the order": torch.arange(10),
    "given bits last in the order": torch.arange(9, -1, -1),
}.items():
    error, floor = clamping_error(order)
    print(f"{name:30s} total variation {error:.3f}   (exact samples would give {floor:.3f})")

# %% [markdown]
# When the given bits come first, clamping *is* the conditional, up to the noise of 4,000 draws. When they
# come last, it is badly wrong: the free bits were drawn before anybody had looked at the evidence. So to
# repair a picture, choose an order that reads the evidence first. This is why order-agnostic MADEs are
# worth having, and it is the door through which masked diffusion (chapter 14) will come in.
#
# ## 8 · PixelCNN: the same question everywhere
#
# MADE does not know that a picture is a picture: shuffle the pixels and it does not mind. It learns each
# stroke anew at each place. A convolution asks the same question everywhere, with the same few weights. The
# pixels are read as you read a page, row by row (*raster order*), and the kernel $W$ is masked so that it
# sees only what has been read:
#
# $$\ell_{r,c} = b+\sum_{\Delta r,\,\Delta c} M_{\Delta r,\Delta c}\,W_{\Delta r,\Delta c}\;x_{r+\Delta r,\,c+\Delta c}
# \qquad\text{in code}\qquad \texttt{F.conv2d(x, M * W, b, padding=...)} \tag{8}$$
#
# - **Type A**, for the first layer: rows above, and in the centre's own row the pixels to its left. *Not* the centre, since
#   that is the answer.
# - **Type B**, for all later layers: the centre too. What stands there is no longer the pixel but a feature made by type A,
#   which has never seen it.

# %% [markdown] exercise={"id": "pixel_mask", "difficulty": 2, "importance": 4, "minutes": 8}
# ### Exercise · Masks A and B
#
# Build the mask $M$ of a `height` x `width` kernel (both odd). For 3 x 5:
#
# ```
# A: 1 1 1 1 1        B: 1 1 1 1 1
#    1 1 0 0 0           1 1 1 0 0
#    0 0 0 0 0           0 0 0 0 0
# ```
#
# <details><summary>Hint: how does <code>F.conv2d</code> place a kernel?</summary>
#
# It does not flip it: `W[0, 0]` looks at the pixel up and to the left of the centre. So "above" is the
# smaller row index.
# </details>
# <details><summary>Hint: only non-square kernels fail</summary>
#
# The centre is at row `height // 2` and column `width // 2`.
# </details>
# <details><summary>Hint: where do I begin?</summary>
#
# With zeros. Fill the rows above the centre, then the centre's row up to the centre: both are slices.
# </details>


# %% nbgrader={"grade_id": "pixel_mask", "solution": true} autograde={"library": ["genmodels.nets.causal_mask", "genmodels.nets.masked.causal_mask"]}
def pixel_mask(kind: str, height: int, width: int) -> Bool[Tensor, "height width"]:
    """What a kernel may see in raster order: "A" without its centre, "B" with it [van den Oord 2016]."""
    # TODO      ones for the past of the centre, zeros for its future
    ### BEGIN SOLUTION
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2] = True
    mask[height // 2, : width // 2 + (kind == "B")] = True
    return mask
    ### END SOLUTION


# %% nbgrader={"grade_id": "pixel_mask_check", "grade": true, "points": 2}
# Square kernels and others, cell by cell in the order of reading. You should see: 4 cases
# right.
checks.run("pixel_mask", pixel_mask)


# %%
mask_of = checks.fallback(
    pixel_mask,
    lambda kind, height, width: causal_mask(height, kind),
    works=lambda f: (
        torch.as_tensor(f("B", 3, 3)).int().tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    ),
)


class MaskedConv(nn.Conv2d):
    """A convolution that sees only the past of each pixel."""

    def __init__(self, kind: str, c_in: int, c_out: int, size: int):
        super().__init__(c_in, c_out, size, padding=size // 2)
        self.register_buffer("mask", mask_of(kind, size, size).to(self.weight.dtype))

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h w"]:
        """Equation (8)."""
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


def plain_stack(later_layers: int, channels: int = 8) -> nn.Sequential:
    """One layer of type A, then so many of type B, all 3 x 3."""
    layers = [MaskedConv("A", 1, channels, 3)]
    for k in range(later_layers):
        layers += [nn.ELU(), MaskedConv("B", channels, channels if k < later_layers - 1 else 1, 3)]
    return nn.Sequential(*layers)


# %% [markdown]
# ### How far does it see? The receptive field, and a blind spot
#
# *With a pencil:* each 3 x 3 layer adds one pixel in each direction, so one A and $L$ B layers see $1+L$
# rows up. Stack enough and the whole past is in view. Or is it? Let us not guess but differentiate: the
# **gradient** of one logit with respect to the picture is non-zero exactly where the network looks.


# %% tags=["lab"]
def sight(logits: Callable, at: tuple[int, int], size: int = 15, tries: int = 16) -> Tensor:
    """Mean absolute gradient of the logit of pixel ``at`` with respect to each pixel, over random pictures."""
    x = torch.rand(tries, 1, size, size, dtype=torch.float64, requires_grad=True)
    logits(x)[:, 0, at[0], at[1]].sum().backward()
    return x.grad[:, 0].abs().mean(0)


at, size = (8, 7), 15
torch.manual_seed(SEED)
views = {
    f"plain, {1 + later} layers": sight(plain_stack(later).double(), at) for later in (2, 5, 12)
}
views["gated, 12 layers"] = sight(
    ar.GatedPixelCNN((1, size, size), channels=8, layers=12, first=3).double().logits, at
)

past = torch.tensor([[(r, c) < at for c in range(size)] for r in range(size)])
for name, g in views.items():
    print(
        f"{name:18s} blind to {int((past & (g == 0)).sum()):3d} of {int(past.sum())} earlier pixels"
    )

# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
deepest = {
    name: views[name] / views[name].max() for name in ("plain, 13 layers", "gated, 12 layers")
}
plot.show(plot.receptive_field(deepest, at, title="Where one logit looks"))

# %% [markdown]
# There it is: the **blind spot**. A plain stack never sees a triangle to the upper right, *however deep it is*.
#
# *With a pencil:* walk back from the centre, one kernel tap a step. To the right you get only on steps that
# also go *up*, one column a row. So a pixel $u$ rows up and more than $u$ columns to the right is out of
# reach. Depth does not help, and on a large page a quarter of the past is lost.
#
# **The gated fix** [van den Oord et al., 1606.05328] walks with two stacks. A *vertical* one sees all rows
# above, without any mask within them; a *horizontal* one sees its own row to the left and listens to the
# vertical one. Never the other way round: that would open the present. The nonlinearity is a gate, which
# can shut a feature off:
#
# $$h = \tanh(W_f * x)\odot\sigma(W_g * x)\qquad\text{in code}\qquad \texttt{torch.tanh(value) * torch.sigmoid(switch)} \tag{9}$$
#
# The library's `GatedPixelCNN` is built so; on the right above it sees all of the past.
#
# ## 9 · More than two colours: discretised logistics
#
# Ink or paper is a coin. A grey pixel is one of 256 values. A softmax over 256 logits can do it, but it
# does not know that 100 lies next to 101. PixelCNN++ takes a smooth density, the logistic, whose cumulative
# distribution is our friend $\sigma$, and cuts it into bins: the value $v$ owns the interval
# $[v-\frac12, v+\frac12]$,
#
# $$P(v) = \sigma(a)-\sigma(b),\qquad a=\frac{v+\frac12-\mu}{s},\quad b=\frac{v-\frac12-\mu}{s}, \tag{10}$$
#
# and the two **edge bins** own everything beyond: $P(0)=\sigma(a)$ and $P(255)=1-\sigma(b)$. Without that
# the probabilities would not sum to 1.
#
# The naive attempt, `log(sigmoid(a) - sigmoid(b))`, fails far from the mean: both sigmoids round to the
# same number, and the log is $-\infty$. *With a pencil:* put $\sigma(a)-\sigma(b)$ over one denominator and
# find
#
# $$\sigma(a)-\sigma(b)=\sigma(a)\,\sigma(-b)\,\bigl(1-e^{-1/s}\bigr),\qquad\text{since } a-b=\tfrac1s \tag{11}$$
#
# Three factors, so the log is a sum of three harmless terms: `F.logsigmoid(a)`, `F.logsigmoid(-b)`,
# `torch.log(-torch.expm1(-1 / s))`.

# %% [markdown] exercise={"id": "discretised_logistic", "difficulty": 3, "importance": 3, "minutes": 12}
# ### Exercise · A grey pixel
#
# Return $\log P(v)$ for values $0,\dots,\texttt{levels}-1$. The mean is on the same axis as $v$;
# `log_scale` is $\log s$. The result must stay finite however far the mean is away. Chapters 04, 08 and 09
# use this likelihood for grey pictures.
#
# <details><summary>Hint: the probabilities sum to less than 1</summary>
#
# The bins 0 and levels - 1 are wider than they look: they take all that lies beyond the edge.
# </details>
# <details><summary>Hint: some log-probabilities are <code>-inf</code></summary>
#
# You subtracted two nearly equal sigmoids. Use the three factors of equation (11).
# </details>
# <details><summary>Hint: at an edge, which factors stay?</summary>
#
# $P(0)=\sigma(a)$: the first alone. $P(\text{last})=1-\sigma(b)=\sigma(-b)$: the second alone.
# `torch.where` chooses.
# </details>
# <details><summary>Hint: where do I begin?</summary>
#
# With $a$ and $b$ of equation (10). Then the three factors of (11), on the log scale.
# </details>


# %% nbgrader={"grade_id": "discretised_logistic", "solution": true} autograde={"library": ["genmodels.autoregressive.discretized_logistic_mixture_log_prob"]}
def discretised_logistic(
    v: Float[Tensor, "*shape"],
    mean: Float[Tensor, "*shape"],
    log_scale: Float[Tensor, "*shape"],
    levels: int,
) -> Float[Tensor, "*shape"]:
    """log P(v), in nats, of a logistic cut into ``levels`` bins of width 1 [Salimans 2017, eq. 2; (10) here]."""
    # TODO      log P(v) for v in 0 .. levels - 1, edge bins included
    ### BEGIN SOLUTION
    s = log_scale.exp()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside))
    ### END SOLUTION


# %% nbgrader={"grade_id": "discretised_logistic_check", "grade": true, "points": 3}
# Log-masses and their gradients, against the density integrated over each bin. You should
# see: 3 cases right.
checks.run("discretised_logistic", discretised_logistic)


# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
def library_logistic(v: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """The library's mixture with one component; its axis runs from -1 to 1."""
    unit = 2 / (levels - 1)
    one = torch.zeros_like(mean)[..., None]
    parameters = one, (mean * unit - 1)[..., None], (log_scale + math.log(unit))[..., None]
    return ar.discretized_logistic_mixture_log_prob(v, *parameters, bins=levels)


grey = checks.fallback(
    discretised_logistic,
    library_logistic,
    works=lambda f: (
        abs(f(*torch.tensor([[0.0, 1], [0.3, 0.3], [0.2, 0.2]]), 2).exp().sum() - 1) < 1e-5
    ),
)
plot.show(figures.bins_of_a_logistic(grey))

# %% [markdown]
# ## 10 · Live lab: watch a digit being thought
#
# A small world first: 8 x 8 digits, made black and white, and your MADE. Here is **the training loop**,
# once and in full. Nearly every model of the course is trained by these lines; from section 11 on the
# library wraps them up.

# %% tags=["lab"]
small = {split: (data.digits(split).x.flatten(1) > 0.5).float() for split in ("train", "test")}
torch.manual_seed(SEED)
made = MADE(torch.arange(64), (256,))
optimiser = torch.optim.Adam(made.parameters(), lr=3e-3, weight_decay=1e-4)
for step in range({"smoke": 100}.get(PROFILE, 1000)):
    batch = small["train"][torch.randint(len(small["train"]), (100,))]
    loss = -made.log_prob(batch).mean()  # minus equation (3), averaged over the batch
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

with torch.no_grad():
    ink = small["train"].mean(0).clamp(0.002, 0.998)
    floor = (
        F.binary_cross_entropy(ink.expand_as(small["test"]), small["test"], reduction="none")
        .sum(1)
        .mean()
    )
    print(
        f"test: {-made.log_prob(small['test']).mean():.2f} nats a digit;  independent pixels: {floor:.2f};  64 fair coins: {64 * math.log(2):.2f}"
    )

# %% [markdown]
# Now draw with **your own sampler**, one frame a pixel. Left, the digit so far: given in blue, drawn in
# orange, and in grey the odds of the pixels to come (as if all between were paper; for the next one they
# are exact). Right, the price of each pixel in nats. Move the slider (the arrow keys work too) and watch
# where the model is *surprised*: hardly ever inside a stroke or on empty paper, but where a stroke begins,
# ends or turns.


# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
@functools.lru_cache(maxsize=64)
@torch.no_grad()
def watched(digit: int, rows: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one digit with your sampler; the odds of all pixels before each step, and the price of each pixel in nats."""
    clamp = torch.full((64,), math.nan)
    clamp[: 8 * rows] = small["test"][digit, : 8 * rows]
    x = sampler(made.logits, made.order, 1, clamp, core.generator(seed))
    so_far = x * torch.ones(65, 64).tril(-1)  # row k: the first k pixels are written down
    return (
        x[0],
        made.logits(so_far).sigmoid(),
        F.binary_cross_entropy_with_logits(made.logits(x), x, reduction="none")[0],
    )


def moment(step: int = 36, digit: int = 0, rows: int = 2, seed: int = 0) -> plot.Picture:
    """The drawing after ``step`` pixels, the first ``rows`` rows given."""
    x, odds, price = watched(digit, rows, seed)
    done, given = (
        (torch.arange(64) < step).reshape(8, 8),
        (torch.arange(64) < 8 * rows).reshape(8, 8),
    )
    doubt = (1 - 0.75 * odds[step]).reshape(8, 8, 1).expand(8, 8, 3)
    with style():
        fig = picture(8, 2.7)
        left, right = fig.subplots(1, 2, width_ratios=[1, 2.2])
        left.imshow(
            torch.where(done[..., None], figures.paint(x.reshape(8, 8), given), doubt).numpy()
        )
        left.set(xticks=[], yticks=[], title="finished")
        if step < 64:
            place = (step % 8 - 0.5, step // 8 - 0.5)
            left.add_patch(
                matplotlib.patches.Rectangle(place, 1, 1, fill=False, lw=2.5, ec=plot.GRADIENT)
            )
            left.set_title(f"next: ink with probability {odds[step, step]:.2f}")
        right.bar(
            range(step),
            price[:step],
            color=[plot.DATA if g else plot.MODEL for g in given.flatten()[:step]],
        )
        right.axhline(math.log(2), color=plot.NOISE, lw=0.8, ls="--")
        right.text(63.5, math.log(2) + 0.06, "a fair coin", ha="right", fontsize=9)
        right.set(
            xlim=(-0.7, 63.7), ylim=(0, 4), xlabel="pixel, in raster order", ylabel="price in nats"
        )
        right.set_title(f"so far {price[:step].sum():.1f} nats")
    fig.alt = f"Left, a digit after {step} of 64 pixels, {rows} rows of it given. Right, the price of each pixel in nats, high only at a few pixels."
    return fig


lab.scrub(moment, step=range(8, 65))

# %% [markdown]
# The same with more to choose: another digit, more or fewer rows given, another seed. (Needs a running
# kernel: each picture is drawn by your code when you ask for it.)

# %% tags=["lab"]
lab.scrub(moment, step=range(65), digit=range(8), rows=range(9), seed=range(8))

# %% [markdown]
# ### Several orders in one network
#
# The masks depend on the order, the weights need not. `ar.MADE(..., orders=8)` trains one set of weights
# under eight orders at once (*order-agnostic*). Each order gives a distribution of its own, and the average
# of the eight *probabilities* is a distribution again. By Jensen's inequality it is never worse than its
# average member.

# %% tags=["lab"]
torch.manual_seed(SEED)
agnostic = ar.MADE(64, (256,), orders=8, seed=SEED)
optimiser = torch.optim.Adam(agnostic.parameters(), lr=3e-3, weight_decay=1e-4)
for step in range({"smoke": 60}.get(PROFILE, 1200)):
    loss = -agnostic.any_order_log_prob(
        small["train"][torch.randint(len(small["train"]), (104,))]
    ).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
with torch.no_grad():
    each = torch.stack(
        [agnostic.log_prob(small["test"], which) for which in range(8)]
    )  # (order, digit)
    mixture = core.log_mean_exp(each, 0)
print("each order alone:", "  ".join(f"{-v:.2f}" for v in each.mean(1)), "nats")
print(f"their mixture:    {-mixture.mean():.2f} nats")

# %% [markdown]
# ## 11 · Train it: binarised MNIST
#
# Now 784 pixels, and three models: an **FVSBN** (784 logistic regressions), **your MADE** with 1,000 hidden
# units, and a **PixelCNN** with 6 residual blocks of masked 3 x 3 convolutions. The library's `train` is
# the loop above with a progress bar, a warm-up and a learning rate that falls to zero. One detail helps
# against learning by heart: the *training* pictures stay grey, and each is tossed into ink and paper anew
# every time it is drawn. The test set was tossed once and for all.

# %% tags=["lab"]
SETTINGS = {  # batch, peak learning rate, steps
    "smoke": {"FVSBN": (50, 1e-2, 10), "MADE": (50, 2e-3, 10), "PixelCNN": (4, 3e-3, 3)},
    "laptop": {"FVSBN": (100, 4e-2, 800), "MADE": (100, 2e-3, 2200), "PixelCNN": (16, 3e-3, 900)},
    "gpu": {
        "FVSBN": (100, 1e-2, 20_000),
        "MADE": (100, 1e-3, 100_000),
        "PixelCNN": (64, 1e-3, 60_000),
    },
}[PROFILE]
few = 100 if PROFILE == "smoke" else None
grey_digits, test_digits = (
    data.mnist("train", limit=few).x,
    data.mnist("test", binary=True, limit=few).x,
)


def new_models() -> dict[str, nn.Module]:
    """The three models, untrained; the PixelCNN works on images, the others on flat vectors."""
    torch.manual_seed(SEED)
    channels, blocks = {"smoke": (8, 1), "laptop": (64, 6), "gpu": (128, 15)}[PROFILE]
    return {
        "FVSBN": ar.FVSBN(784),
        "MADE": MADE(torch.arange(784), (100,) if PROFILE == "smoke" else (1000,)),
        "PixelCNN": ar.PixelCNN((1, 28, 28), channels, blocks).to(
            memory_format=torch.channels_last
        ),
    }


def shaped(name: str, x: Tensor) -> Tensor:
    """Digits as the model reads them."""
    return x if name == "PixelCNN" else x.flatten(1)


def toss(x: Tensor, generator: torch.Generator) -> Tensor:
    """Grey pictures to ink and paper, a fresh coin for each pixel."""
    return torch.bernoulli(x, generator=generator)


def adamw(parameters, lr):
    """AdamW with a shorter memory for the squared gradients than its default."""
    return torch.optim.AdamW(parameters, lr, betas=(0.9, 0.99), fused=True)


@torch.no_grad()
def draw(model: nn.Module, count: int, clamp: Tensor | None = None, seed: int = SEED) -> Tensor:
    """Digits, (count, 28, 28), in float: by your sampler, or for the library's models by its own, which keeps past work."""
    generator = core.generator(seed, next(model.parameters()).device)
    if isinstance(model, ar.Autoregressive):
        clamp = None if clamp is None else clamp.reshape(model.shape)
        x = ar.sample(model, count, clamp=clamp, generator=generator)
    else:
        x = sampler(
            model.logits, model.order, count, None if clamp is None else clamp.flatten(), generator
        )
    return x.reshape(count, 28, 28).cpu()


# %% tags=["lab", "train"]
models, curves, growing = new_models(), {}, {}
canvas = display(display_id=True)  # a place on the page for the samples; the loop below fills it
if TRAIN:
    for name, model in list(models.items()):
        batch, lr, steps = SETTINGS[name]
        batches = train.minibatches(shaped(name, grey_digits), batch, seed=SEED, transform=toss)
        curves[name] = []
        begin = time.perf_counter()
        for state in train.train(
            model,
            lambda model, x: -model.log_prob(x),
            batches,
            steps=steps,
            lr=lr,
            optimizer=adamw,
            schedule="cosine",
            warmup=steps // 20,
            precision="bf16-mixed" if PROFILE == "gpu" else "32-true",
            seed=SEED,
        ):
            curves[name].append(state.loss)
            if name == "PixelCNN" and state.step in (1, steps // 16, steps // 4, steps):
                growing[f"step {state.step}"] = draw(model, 12)
                canvas.update(figures.samples_of(growing, "The PixelCNN's samples while it learns"))
        models[name] = model.cpu().eval()
        print(f"{name}: {steps} steps of {batch} digits in {time.perf_counter() - begin:.0f} s")
else:
    models |= {"MADE": train.load_pretrained("made"), "PixelCNN": train.load_pretrained("pixelcnn")}
    del models["FVSBN"]
    canvas.update(
        figures.samples_of({name: draw(model, 12) for name, model in models.items()}, "Samples")
    )

# %% [markdown]
# **Test likelihood**, beside what the papers report. The floor of the table is the model that a patient
# counter could make: every pixel independent, with the training set's own frequencies.


# %% tags=["lab"]
@torch.no_grad()
def test_nats(name: str, model: nn.Module) -> tuple[float, float, int]:
    """Mean negative log-likelihood on the test digits, its standard error, and on how many digits."""
    x = shaped(name, test_digits)[: 2000 if name == "PixelCNN" and PROFILE == "laptop" else None]
    nats = torch.cat([-model.log_prob(part) for part in x.split(500)])
    return nats.mean().item(), nats.std().item() / len(nats) ** 0.5, len(nats)


ink = grey_digits.mean(0).flatten().clamp(1e-4, 1 - 1e-4)
alone = F.binary_cross_entropy(
    ink.expand(len(test_digits), 784), test_digits.flatten(1), reduction="none"
).sum(1)
FLOOR = "independent pixels"
ours = {FLOOR: (alone.mean().item(), alone.std().item() / len(alone) ** 0.5, len(alone))}
ours |= {name: test_nats(name, model) for name, model in models.items()}

PUBLISHED = {  # nats on Larochelle's binarisation of MNIST, quoted from the papers
    "FVSBN": (97.45, "Larochelle and Murray 2011"),
    "NADE": (88.33, "Uria, Murray and Larochelle 2014"),
    "MADE, one order": (88.40, "Germain et al. 2015"),
    "MADE, 32 masks": (86.64, "Germain et al. 2015"),
    "EoNADE": (85.10, "Uria et al. 2014"),
    "PixelCNN": (81.30, "van den Oord et al. 2016"),
    "PixelRNN": (79.20, "van den Oord et al. 2016"),
}
rows = [
    {"model": n, "test nats": f"≈ {v:.2f}", "measured by": who} for n, (v, who) in PUBLISHED.items()
]
for name, (mean, error, count) in ours.items():
    who = f"this notebook, on {count:,} test digits"
    rows.append(
        {"model": name, "test nats": f"{mean:.2f} ± {error:.2f}", "measured by": f"**{who}**"}
    )
rows.sort(key=lambda row: -float(row["test nats"].strip("≈ ").split()[0]))
plot.show(plot.table(rows, title="Binarised MNIST, smaller is better"))
plot.show(
    plot.ladder(
        {f"{name}, yours": v[:2] for name, v in ours.items() if name != FLOOR},
        {name: value for name, (value, _) in PUBLISHED.items()},
        "nats a digit",
    )
)
for name in models:
    mean, error, count = ours[name]
    report.metric(
        f"{name} test likelihood",
        mean,
        "nats",
        note=f"± {error:.2f} on {count} digits; {FLOOR} {ours[FLOOR][0]:.1f}",
    )

# %% [markdown]
# Read it with care. *Comparable, not identical*: the papers use Larochelle's fixed binarisation, ours is
# another draw of the same coins with our own fixed rule. Published numbers are quoted as approximate. They
# come from far longer training of larger networks, ours from about a minute and a half on two cores. Yet
# the models come in the same order: an exact likelihood is an honest ruler. The PixelCNN has a twentieth of
# MADE's weights and wins, because it need not learn a stroke again at each place.


# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
def smooth(curve: list[float]) -> tuple[Tensor, Tensor]:
    """Forty averages along a curve, over the share of the training that is done."""
    k = max(1, len(curve) // 40)
    means = torch.tensor(curve).unfold(0, k, k).mean(1)
    return (torch.arange(len(means)) + 0.5) / len(means), means


if TRAIN:
    levels = {"independent pixels": ours[FLOOR][0]}
    lines = {name: smooth(curve) for name, curve in curves.items()}
    plot.show(
        plot.curves(
            lines,
            "share of the training",
            "nats a digit",
            "Training loss",
            levels=levels,
            height=2.6,
        )
    )

# %% [markdown]
# ### Repair: six endings for each digit
#
# The upper half of a *test* digit is clamped, and the rest is drawn. Rows are read from the top, so the
# given pixels come first in the order and this is the exact conditional. Where the upper half leaves a
# doubt, the endings differ. That is not a defect: it is what a distribution looks like.

# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
half = torch.zeros(28, 28, dtype=torch.bool)
half[:14] = True
chosen = (1, 2, 4, 7, 8, 11, 15, 18)
with style():
    fig = picture(8, 2.9, "Left of each row the test digit, then six endings drawn by the PixelCNN")
    for ax, k in zip(fig.subplots(4, 2).flat, chosen):
        whole = test_digits[k, 0]
        endings = draw(
            models["PixelCNN"], 6, clamp=torch.where(half, whole, math.nan), seed=SEED + k
        )
        given = torch.stack([torch.ones_like(half), *[half] * 6])
        figures.strip(ax, torch.cat([whole[None], endings]), given=given)
fig.alt = "Eight test digits, each followed by six pictures with the same upper half in blue and different lower halves, drawn by the model, in vermilion."
plot.show(fig)

# %% [markdown]
# ## 12 · Break it
#
# Four bugs that people really make. Before you run the next cells, **predict**: for each one, does the
# training loss become better, worse, or stay as it is? And what do the samples look like?
#
# 1. the output mask uses `>=` instead of `>`
# 2. the masks are multiplied into the weights once, at the start, and not at every pass
# 3. the samples are drawn in another order than the model was trained in
# 4. all pixels are drawn in a single pass


# %% tags=["lab"]
class LeakyMADE(MADE):
    """Bug 1: an output may look at hidden units of its own rank."""

    def __init__(self, order: Tensor, hidden: tuple[int, ...]):
        super().__init__(order, hidden)
        unit = torch.arange(hidden[-1]) * (len(order) - 1) // hidden[-1]
        self.layers[-1].mask = (order.argsort()[:, None] >= unit[None]).float()


class ForgetfulMADE(MADE):
    """Bug 2: the masks act on the weights once; the optimiser connects the cut wires again."""

    def __init__(self, order: Tensor, hidden: tuple[int, ...]):
        super().__init__(order, hidden)
        for layer in [*self.layers, self.direct]:
            layer.weight.data *= layer.mask
            layer.mask.fill_(1)


def other_order(logits, order, count, clamp=None, generator=None):
    """Bug 3: the sampler goes through the pixels from the last to the first."""
    return sampler(logits, order.flip(0), count, clamp, generator)


def at_once(logits, order, count, clamp=None, generator=None):
    """Bug 4: every pixel is drawn from the first pass."""
    p = logits(torch.zeros(count, len(order))).sigmoid()
    return (torch.rand(p.shape, generator=generator) < p).float()


BUGS = {
    "no bug": (MADE, sampler),
    "1  output mask >=": (LeakyMADE, sampler),
    "2  mask applied once": (ForgetfulMADE, sampler),
    "3  other order": (MADE, other_order),
    "4  one pass": (MADE, at_once),
}


def with_bug(bug: str) -> tuple[list[float], Tensor, Tensor]:
    """Train a small MADE with this bug: its loss curve, 8 samples, and the size of its Jacobian."""
    kind, draw_with = BUGS[bug]
    torch.manual_seed(SEED)
    model, losses = kind(torch.arange(64), (256,)), []
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60 if PROFILE == "smoke" else 600):
        loss = -model.log_prob(small["train"][torch.randint(len(small["train"]), (100,))]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    with torch.no_grad():
        x = draw_with(model.logits, model.order, 10, None, core.generator(SEED))
    jacobian = torch.func.vmap(torch.func.jacrev(lambda z: model.logits(z[None])[0]))(
        small["test"][:20]
    )
    return losses, x.reshape(-1, 8, 8), jacobian.abs().mean(0).detach()


broken = {bug: with_bug(bug) for bug in BUGS}


# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
def symptom(bug: str) -> plot.Picture:
    """One row: loss curve, Jacobian, samples."""
    return figures.symptom(bug, broken["no bug"][0], *broken[bug])


lab.scrub(symptom, fps=1, bug=list(BUGS))

# %% [markdown]
# All five side by side, when you have made your predictions:

# %% tags=["lab", "hide-input"]
# Folded: the code of the picture.
for bug in BUGS:
    plot.show(symptom(bug))

# %% [markdown]
# The first two are treacherous: the loss becomes *better* and falls to almost nothing, as if the model knew
# each digit beforehand. It does: it is shown the answers. When it has to draw there are none, and what
# comes out is scraps. **A likelihood that is too good to be true is a leak.** The last two leave the loss
# alone and break only the sampler.
#
# The Jacobian showed the leaks at a glance. Now write that glance down as a test that never tires.

# %% [markdown] exercise={"id": "is_autoregressive", "difficulty": 4, "importance": 5, "minutes": 15}
# ### Exercise · The test that catches them all
#
# `logits` is any function from pictures (b, n) of zeros and ones to logits (b, n); the order is
# $0,1,\dots,n-1$. Return `True` exactly if logit $i$ depends on **every** pixel before $i$ (no blind spot)
# and on **no other** (no leak). Your test is graded by what it says of right and of broken models.
#
# <details><summary>Hint: how do I see a dependence without gradients?</summary>
#
# The pixels are bits: flip one, and look which logits move. (`logits` gives you numbers only, without
# gradients.)
# </details>
# <details><summary>Hint: a right model is rejected</summary>
#
# Some dependences show only in some pictures: a ReLU may be off, a gate shut. Flip the pixel in 64 random
# pictures and ask whether the logit moved in *any*. And a change of 1e-8 is rounding: count changes above
# 1e-6.
# </details>
# <details><summary>Hint: a broken model is accepted</summary>
#
# Two separate questions for each pixel $j$: did any of the logits $0\dots j$ move (a leak: $j$ itself
# counts)? Did one of the logits $j+1,\dots$ never move (a blind spot)?
# </details>
# <details><summary>Hint: the order of the steps</summary>
#
# Take 64 random pictures and their logits. For each pixel $j$: flip it in all of them, and see which logits move by more than
# 1e-6 in any picture.
# </details>


# %% nbgrader={"grade_id": "is_autoregressive", "solution": true}
def is_autoregressive(
    logits: Callable[[Float[Tensor, "b n"]], Float[Tensor, "b n"]], n: int
) -> bool:
    """Whether logit i depends on every pixel before i and on no other."""
    # TODO      True for a right model, False for one that leaks or is blind
    ### BEGIN SOLUTION
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        moved = ((logits(flipped) - before).abs() > 1e-6).any(0)
        if moved[: j + 1].any() or not moved[j + 1 :].all():
            return False
    return True
    ### END SOLUTION


# %% nbgrader={"grade_id": "is_autoregressive_check", "grade": true, "points": 4}
# Your test meets right models, which it must accept, and broken ones, which it must not.
# You should see: 20 cases right.
checks.run("is_autoregressive", is_autoregressive)


# %% [markdown]
# ## 13 · Your line in the leaderboard
#
# One line a model; chapter 16 collects them all. Exact likelihood in nats, the time to draw one digit (in a
# batch of 16), and the size.


# %% tags=["lab"]
board = {
    name: {
        "test nats": ours[name][0],
        "ms a digit": report.milliseconds(lambda m=model: draw(m, 16), 16, repeats=1),
        "parameters": core.parameter_count(model),
    }
    for name, model in models.items()
}
for name, row in board.items():
    report.metric(f"{name} sampling", row["ms a digit"], "ms a digit")
plot.show(plot.table(board, best={"test nats": "min", "ms a digit": "min", "parameters": "min"}))

# %% [markdown]
# **What you can now do.** Write any distribution as a sequence of questions; make a network that answers
# them all at once without cheating; *prove* that it does not cheat; weigh a picture exactly; draw one;
# repair one.
#
# **What is still missing.** A convolution sees far only by stacking layers, and it looks at the same places
# whatever it finds there. What if each position could *choose* where to look, at any distance, in a single
# step? Keep the chain rule, keep the mask, and replace the convolution: that is **attention**, chapter 02,
# and instead of pixels it will write Shakespeare. The triangle of this chapter returns there as the *causal
# mask*, and NADE's running memory as the *key-value cache*.
