"""Chapter 13: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from autograde.authoring import right, wrong

# ---------------------------------------------------------------- transition


@right("transition")
def entry_by_entry(alpha_t, alpha_s, pi):
    a, n = alpha_t / alpha_s, len(pi)
    found = torch.empty(n, n, dtype=pi.dtype)
    for j in range(n):
        for k in range(n):
            found[j, k] = (1 - a) * pi[k] + (a if j == k else 0.0)
    return found


@right("transition")
def with_numpy(alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    mixed = a * np.eye(len(pi)) + np.outer(np.ones(len(pi)), (1 - a) * pi.numpy())
    return torch.from_numpy(mixed).to(pi.dtype)


@right("transition")
def between_identity_and_noise(alpha_t, alpha_s, pi):
    noise = torch.stack([pi] * len(pi))
    return torch.lerp(torch.eye(len(pi), dtype=pi.dtype), noise, 1 - alpha_t / alpha_s)


def matrix(a, pi):
    return a * torch.eye(len(pi), dtype=pi.dtype) + (1 - a) * pi.expand(len(pi), -1)


@wrong(
    "transition",
    "the matrix is transposed: rows are where a symbol comes from, columns where it goes",
)
def columns_and_rows(alpha_t, alpha_s, pi):
    return matrix(alpha_t / alpha_s, pi).T.contiguous()


@wrong(
    "transition", "this is the matrix from clean text, from 0 to t; asked is the one from s to t"
)
def from_clean_text(alpha_t, alpha_s, pi):
    return matrix(alpha_t, pi)


@wrong(
    "transition",
    "a symbol that is redrawn may draw itself again: the diagonal needs (1 - a) pi as well",
)
def never_itself(alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    others = pi.expand(len(pi), -1) * (1 - torch.eye(len(pi), dtype=pi.dtype))
    total = others.sum(1, keepdim=True)
    spread = torch.where(total > 0, others / torch.where(total > 0, total, 1.0), 0.0)
    return a * torch.eye(len(pi), dtype=pi.dtype) + (1 - a) * spread


@wrong(
    "transition", "the diagonal needs (1 - a) pi as well, and the rows do not sum to 1 without it"
)
def rows_too_small(alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    found = matrix(a, pi)
    return found - torch.diag((1 - a) * pi)


@wrong(
    "transition", "what is left between s and t is a ratio of the two alphas, not their difference"
)
def difference_of_alphas(alpha_t, alpha_s, pi):
    return matrix(1 - (alpha_s - alpha_t), pi)


@wrong("transition", "the chances to survive multiply the other way round: alpha_t = alpha_s a")
def product_of_alphas(alpha_t, alpha_s, pi):
    return matrix(alpha_t * alpha_s, pi)


@wrong("transition", "these are the rates of the jumps, whose rows sum to 0, not probabilities")
def rates(alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    return (1 - a) * (pi.expand(len(pi), -1) - torch.eye(len(pi), dtype=pi.dtype))


@wrong("transition", "survival and noise are exchanged: untouched with a = alpha_t / alpha_s")
def noise_and_survival(alpha_t, alpha_s, pi):
    return matrix(1 - alpha_t / alpha_s, pi)


@wrong("transition", "alpha is a probability here, not a signal's size: no root of it")
def rooted(alpha_t, alpha_s, pi):
    return matrix(math.sqrt(alpha_t / alpha_s), pi)


@wrong("transition", "this redraws every symbol with equal chance; pi says how they are drawn")
def uniform_for_all(alpha_t, alpha_s, pi):
    return matrix(alpha_t / alpha_s, torch.full_like(pi, 1 / len(pi)))


# ---------------------------------------------------------------- posterior


def into(x_t, survive, pi, like):
    """q(x_t | symbol) for each symbol."""
    stay = F.one_hot(x_t, len(pi)).to(like)
    return survive * stay + (1 - survive) * pi[x_t][..., None]


def through(w, a, pi):
    return a * w + (1 - a) * pi * w.sum(-1, keepdim=True)


def divided(p0, q):
    return p0 / torch.where(q > 0, q, 1.0)


@right("posterior")
def with_matrices(x_t, p0, alpha_t, alpha_s, pi):
    to_s, between, to_t = matrix(alpha_s, pi), matrix(alpha_t / alpha_s, pi), matrix(alpha_t, pi)
    joint = to_s[None, None] * between.T[x_t][:, :, None, :]  # (b, l, k, y)
    total = to_t.T[x_t][..., None]
    return (p0[..., None] * joint / torch.where(total > 0, total, 1.0)).sum(2)


@right("posterior")
def in_loops(x_t, p0, alpha_t, alpha_s, pi):
    result = torch.zeros_like(p0)
    a = alpha_t / alpha_s
    for b, i in np.ndindex(*x_t.shape):
        x = int(x_t[b, i])
        for k in range(len(pi)):
            total = (alpha_t if k == x else 0.0) + (1 - alpha_t) * float(pi[x])
            if total == 0:
                continue
            for y in range(len(pi)):
                first = (alpha_s if y == k else 0.0) + (1 - alpha_s) * float(pi[y])
                second = (a if y == x else 0.0) + (1 - a) * float(pi[x])
                result[b, i, y] += p0[b, i, k] * first * second / total
    return result


@right("posterior")
def normalised_rows(x_t, p0, alpha_t, alpha_s, pi):
    n = len(pi)
    joint = matrix(alpha_s, pi) * into(x_t, alpha_t / alpha_s, pi, p0)[:, :, None, :]
    total = joint.sum(-1, keepdim=True)
    each = torch.where(
        total > 0, joint / total.clamp_min(1e-300 if p0.dtype == torch.float64 else 1e-30), 0.0
    )
    return torch.einsum("blk,blky->bly", p0, each).reshape(*x_t.shape, n)


def bayes(x_t, p0, alpha_t, alpha_s, pi, a=None):
    w = divided(p0, into(x_t, alpha_t, pi, p0))
    return through(w, alpha_s, pi) * into(x_t, alpha_t / alpha_s if a is None else a, pi, p0)


@wrong(
    "posterior",
    "this is the noisy text's own way on from the guess, q(x_s | x_0): x_t itself has been left out",
)
def fresh_noise(x_t, p0, alpha_t, alpha_s, pi):
    return through(p0, alpha_s, pi)


@wrong("posterior", "this is the forward noise from s to t, not the way back")
def forward_kernel(x_t, p0, alpha_t, alpha_s, pi):
    return through(F.one_hot(x_t, len(pi)).to(p0), alpha_t / alpha_s, pi)


@wrong(
    "posterior",
    "this is the guess of the clean text, x_0; asked is the text at time s, which may still be noisy",
)
def clean_guess(x_t, p0, alpha_t, alpha_s, pi):
    return p0.clone()


@wrong(
    "posterior",
    "the average over k must come after the normalisation: here the whole sum was scaled to 1",
)
def normalised_too_late(x_t, p0, alpha_t, alpha_s, pi):
    joint = through(p0, alpha_s, pi) * into(x_t, alpha_t / alpha_s, pi, p0)
    return joint / joint.sum(-1, keepdim=True).clamp_min(1e-30)


@wrong("posterior", "the division by q(x_t | k) is missing: the probabilities do not sum to 1")
def not_normalised(x_t, p0, alpha_t, alpha_s, pi):
    return through(p0, alpha_s, pi) * into(x_t, alpha_t / alpha_s, pi, p0)


@wrong(
    "posterior",
    "between s and t a symbol survives with alpha_t / alpha_s; this takes alpha_t, the survival from 0 to t",
)
def survival_from_the_start(x_t, p0, alpha_t, alpha_s, pi):
    found = bayes(x_t, p0, alpha_t, alpha_s, pi, a=alpha_t)
    return found / found.sum(-1, keepdim=True).clamp_min(1e-30)


@wrong(
    "posterior",
    "the transition from s to t is read by rows: its column x_t is wanted, the chance of arriving there",
)
def row_for_column(x_t, p0, alpha_t, alpha_s, pi):
    w = divided(p0, into(x_t, alpha_t, pi, p0))
    row = matrix(alpha_t / alpha_s, pi)[x_t]
    found = through(w, alpha_s, pi) * row
    return found / found.sum(-1, keepdim=True).clamp_min(1e-30)


@wrong(
    "posterior",
    "the times are exchanged: the clean symbol is noised until s, and from s to t it goes on",
)
def times_exchanged(x_t, p0, alpha_t, alpha_s, pi):
    w = divided(p0, into(x_t, alpha_t, pi, p0))
    found = through(w, alpha_t / alpha_s, pi) * into(x_t, alpha_s, pi, p0)
    return found / found.sum(-1, keepdim=True).clamp_min(1e-30)


@wrong("posterior", "where q(x_t | k) = 0 this divides 0 by 0; that clean symbol adds nothing")
def zero_by_zero(x_t, p0, alpha_t, alpha_s, pi):
    w = p0 / into(x_t, alpha_t, pi, p0)
    return through(w, alpha_s, pi) * into(x_t, alpha_t / alpha_s, pi, p0)


@wrong(
    "posterior",
    "it takes the likeliest clean symbol alone; the average runs over all of them, with the weights p0",
)
def likeliest_only(x_t, p0, alpha_t, alpha_s, pi):
    sure = F.one_hot(p0.argmax(-1), len(pi)).to(p0)
    return bayes(x_t, sure, alpha_t, alpha_s, pi)


@wrong("posterior", "the symbol of the first position stands for all positions of a text")
def first_position(x_t, p0, alpha_t, alpha_s, pi):
    found = bayes(x_t[:, :1].expand_as(x_t), p0, alpha_t, alpha_s, pi)
    return found / found.sum(-1, keepdim=True).clamp_min(1e-30)


# ---------------------------------------------------------------- concrete_score


@right("concrete_score")
def with_a_matrix(p0, x_t, alpha, pi):
    q = matrix(alpha, pi)
    down = q.T[x_t]
    return divided(p0, down) @ q


@right("concrete_score")
def ratio_in_loops(p0, x_t, alpha, pi):
    found = torch.zeros_like(p0)
    for b, i in np.ndindex(*x_t.shape):
        x = int(x_t[b, i])
        for k in range(len(pi)):
            below = (alpha if k == x else 0.0) + (1 - alpha) * float(pi[x])
            if below == 0:
                continue
            for y in range(len(pi)):
                above = (alpha if k == y else 0.0) + (1 - alpha) * float(pi[y])
                found[b, i, y] += p0[b, i, k] * above / below
    return found


@right("concrete_score")
def divided_by_its_own(p0, x_t, alpha, pi):
    m = through(divided(p0, into(x_t, alpha, pi, p0)), alpha, pi)
    return m / m.gather(2, x_t[..., None])


def ratio_of(p0, x_t, alpha, pi):
    return through(divided(p0, into(x_t, alpha, pi, p0)), alpha, pi)


@wrong("concrete_score", "the ratio is upside down: p_t(y) stands above, p_t(x_t) below")
def upside_down(p0, x_t, alpha, pi):
    return 1 / ratio_of(p0, x_t, alpha, pi)


@wrong("concrete_score", "this is the logarithm of the ratio")
def logarithm(p0, x_t, alpha, pi):
    return ratio_of(p0, x_t, alpha, pi).log()


@wrong(
    "concrete_score",
    "this is a ratio of clean symbols, p0(y) / p0(x_t); the noisy texts at time t are compared",
)
def clean_ratio(p0, x_t, alpha, pi):
    return p0 / p0.gather(2, x_t[..., None]).clamp_min(1e-30)


@wrong(
    "concrete_score",
    "p0 must be divided by q(x_t | k), clean symbol by clean symbol, before it is noised: p0 has seen x_t already",
)
def guess_noised_again(p0, x_t, alpha, pi):
    m = through(p0, alpha, pi)
    return m / m.gather(2, x_t[..., None]).clamp_min(1e-30)


@wrong("concrete_score", "the diagonal, y = x_t, is a ratio too: it is 1, not 0")
def no_diagonal(p0, x_t, alpha, pi):
    return ratio_of(p0, x_t, alpha, pi).masked_fill(F.one_hot(x_t, len(pi)).bool(), 0.0)


@wrong("concrete_score", "these are scaled to sum to 1; ratios have no reason to")
def scaled(p0, x_t, alpha, pi):
    r = ratio_of(p0, x_t, alpha, pi)
    return r / r.sum(-1, keepdim=True)


@wrong(
    "concrete_score",
    "p0 is divided by q(x_t | k) and not noised again: y is a noisy text, not a clean one",
)
def not_noised(p0, x_t, alpha, pi):
    return divided(p0, into(x_t, alpha, pi, p0))


@wrong("concrete_score", "1 - alpha stands where alpha should, and the other way round")
def alpha_exchanged(p0, x_t, alpha, pi):
    return ratio_of(p0, x_t, 1 - alpha, pi)


@wrong(
    "concrete_score",
    "the chance of the mask is divided by the guess of the symbol: no Bayes' rule (a reader of SEDD's issue 16 tried this)",
)
def mask_over_symbol(p0, x_t, alpha, pi):
    return p0[..., -1:] / p0.clamp_min(1e-30)


@wrong("concrete_score", "in q(x_t | k) the matrix was read the other way: row k, column x_t")
def matrix_transposed(p0, x_t, alpha, pi):
    q = matrix(alpha, pi)
    r = divided(p0, q[x_t]) @ q
    return r / r.gather(2, x_t[..., None]).clamp_min(1e-30)


# ---------------------------------------------------------------- score_entropy


@right("score_entropy")
def by_xlogy(log_score, ratio):
    return log_score.exp() - ratio * (log_score + 1) + torch.xlogy(ratio, ratio)


@right("score_entropy")
def as_a_bregman_distance(log_score, ratio):
    convex = lambda r: torch.special.entr(r).neg()  # r log r
    s = log_score.exp()
    return convex(ratio) - s * log_score - (log_score + 1) * (ratio - s)


@right("score_entropy")
def with_the_gap(log_score, ratio):
    one = torch.ones_like(ratio)
    gap = log_score - torch.where(ratio > 0, ratio, one).log()
    near = ratio * (gap.exp() - 1 - gap)
    return torch.where(ratio > 0, near, log_score.exp())


def entropy_of(log_s, r):
    return log_s.exp() - r * log_s + torch.xlogy(r, r) - r


@wrong(
    "score_entropy",
    "the constant is missing: at the right score the loss must be 0, not r - r log r",
)
def no_constant(log_score, ratio):
    return log_score.exp() - ratio * log_score


@wrong(
    "score_entropy",
    "log_score is a logarithm already: its exponential is taken once, and the logarithm of the score is log_score itself",
)
def exponential_twice(log_score, ratio):
    s = log_score.exp().exp()
    return s - ratio * s.log() + torch.xlogy(ratio, ratio) - ratio


@wrong("score_entropy", "the score is exp(log_score); here the logarithm stands for the score")
def logarithm_for_score(log_score, ratio):
    s = log_score
    return s - ratio * s.abs().clamp_min(1e-9).log() + torch.xlogy(ratio, ratio) - ratio


@wrong("score_entropy", "r log r has the wrong sign: at the right score the loss must be 0")
def constant_negative(log_score, ratio):
    return log_score.exp() - ratio * log_score - torch.xlogy(ratio, ratio) - ratio


@wrong("score_entropy", "score and ratio are exchanged: the slope in the score must be 1 - r / s")
def other_way_round(log_score, ratio):
    s = log_score.exp()
    return ratio - s * torch.where(ratio > 0, ratio, 1.0).log() + s * log_score - s


@wrong("score_entropy", "0 log 0 is 0, and not nan")
def not_at_zero(log_score, ratio):
    return log_score.exp() - ratio * log_score + ratio * ratio.log() - ratio


@wrong(
    "score_entropy", "a squared distance is 0 in the right place, but its slope is not 1 - r / s"
)
def squared(log_score, ratio):
    return (log_score.exp() - ratio) ** 2


@wrong(
    "score_entropy",
    "only the part that depends on the score: its value at the right score must be 0",
)
def minus_ratio_only(log_score, ratio):
    return log_score.exp() - ratio * log_score - ratio


@wrong("score_entropy", "one loss for each entry must come back; these were averaged")
def averaged(log_score, ratio):
    return entropy_of(log_score, ratio).mean()


@wrong("score_entropy", "the value is right, but the loss was cut off from its gradient")
def cut_off(log_score, ratio):
    return entropy_of(log_score.detach(), ratio)


# ---------------------------------------------------------------- elbo_at


def given(x0, alpha, pi, like):
    a = alpha[:, None, None].to(like)
    return a * F.one_hot(x0, len(pi)) + (1 - a) * pi.to(like)


def true_ratio(x0, x_t, alpha, pi, like):
    q = given(x0, alpha, pi, like)
    return q / q.gather(2, x_t[..., None])


def off(loss, x_t):
    return loss.masked_fill(F.one_hot(x_t, loss.shape[-1]).bool(), 0.0)


def weigh(loss, x_t, rate, pi):
    return (rate[:, None].to(loss) * pi[x_t].to(loss) * loss.sum(-1)).sum(1)


def bound_of(log_score, x0, x_t, alpha, rate, pi):
    return weigh(
        off(entropy_of(log_score, true_ratio(x0, x_t, alpha, pi, log_score)), x_t), x_t, rate, pi
    )


@right("elbo_at")
def with_rate_matrices(log_score, x0, x_t, alpha, rate, pi):
    Q = pi.expand(len(pi), -1) - torch.eye(len(pi), dtype=pi.dtype)
    forward = rate[:, None, None] * Q.T[x_t]  # Q(y, x_t) for each y
    forward = forward.masked_fill(F.one_hot(x_t, len(pi)).bool(), 0.0)
    found = entropy_of(log_score, true_ratio(x0, x_t, alpha, pi, log_score))
    return (forward.to(log_score) * found).sum((1, 2))


@right("elbo_at")
def text_by_text(log_score, x0, x_t, alpha, rate, pi):
    result = []
    for b in range(len(x0)):
        total = 0.0
        for i in range(x0.shape[1]):
            x, k = int(x_t[b, i]), int(x0[b, i])
            if pi[x] == 0:
                continue
            q = [(1 - alpha[b]) * pi[y] + (alpha[b] if y == k else 0.0) for y in range(len(pi))]
            for y in range(len(pi)):
                if y != x:
                    r = (q[y] / q[x]).to(log_score)
                    total = total + (rate[b] * pi[x]).to(log_score) * entropy_of(
                        log_score[b, i, y], r
                    )
        result.append(total)
    return torch.stack([torch.as_tensor(v, dtype=log_score.dtype) for v in result])


@right("elbo_at")
def all_minus_the_diagonal(log_score, x0, x_t, alpha, rate, pi):
    loss = entropy_of(log_score, true_ratio(x0, x_t, alpha, pi, log_score))
    total = loss.sum(-1) - loss.gather(2, x_t[..., None])[..., 0]
    return torch.einsum("b,bl,bl->b", rate.to(loss), pi[x_t].to(loss), total)


@wrong("elbo_at", "the weight is the rate of the jumps; this is 1 - alpha, the amount of noise")
def amount_for_rate(log_score, x0, x_t, alpha, rate, pi):
    return bound_of(log_score, x0, x_t, alpha, 1 - alpha, pi)


@wrong(
    "elbo_at",
    "the weight belongs to the forward jump from y to x_t, which has pi(x_t); here it has pi(y), the jump from x_t to y",
)
def jump_transposed(log_score, x0, x_t, alpha, rate, pi):
    loss = off(entropy_of(log_score, true_ratio(x0, x_t, alpha, pi, log_score)), x_t)
    return (rate[:, None].to(loss) * (pi.to(loss) * loss).sum(-1)).sum(1)


@wrong(
    "elbo_at",
    "every jump has the weight `rate`, also those to a letter that the noise never draws (the misprint of SEDD's appendix, issue 18)",
)
def same_weight_for_all(log_score, x0, x_t, alpha, rate, pi):
    loss = off(entropy_of(log_score, true_ratio(x0, x_t, alpha, pi, log_score)), x_t)
    return (rate[:, None].to(loss) * loss.sum(-1)).sum(1)


@wrong("elbo_at", "y = x_t is no jump, and must not be in the sum")
def with_diagonal(log_score, x0, x_t, alpha, rate, pi):
    return weigh(entropy_of(log_score, true_ratio(x0, x_t, alpha, pi, log_score)), x_t, rate, pi)


@wrong(
    "elbo_at", "the positions of a text are added up, not averaged: the bound is for the whole text"
)
def mean_over_positions(log_score, x0, x_t, alpha, rate, pi):
    return bound_of(log_score, x0, x_t, alpha, rate, pi) / x0.shape[1]


@wrong("elbo_at", "the true ratio is q(y | x_0) / q(x_t | x_0), and this is its inverse")
def ratio_inverted(log_score, x0, x_t, alpha, rate, pi):
    q = given(x0, alpha, pi, log_score)
    r = q.gather(2, x_t[..., None]) / q.clamp_min(1e-30)
    return weigh(off(entropy_of(log_score, r), x_t), x_t, rate, pi)


@wrong("elbo_at", "the alpha and the rate of the first text are used for all texts")
def one_time_for_all(log_score, x0, x_t, alpha, rate, pi):
    return bound_of(log_score, x0, x_t, alpha[:1].expand_as(alpha), rate[:1].expand_as(rate), pi)


@wrong(
    "elbo_at",
    "the true ratio is that of noisy texts, q(. | x_0) at time t; here x_0 itself stands above the line",
)
def clean_target(log_score, x0, x_t, alpha, rate, pi):
    q = given(x0, alpha, pi, log_score)
    r = F.one_hot(x0, len(pi)).to(log_score) / q.gather(2, x_t[..., None])
    return weigh(off(entropy_of(log_score, r), x_t), x_t, rate, pi)


@wrong(
    "elbo_at", "the texts of the batch are added together; one number for each text must come back"
)
def summed_over_texts(log_score, x0, x_t, alpha, rate, pi):
    return bound_of(log_score, x0, x_t, alpha, rate, pi).sum().expand(len(x0)).clone()


@wrong("elbo_at", "the value is right, but the loss was cut off from its gradient")
def bound_cut_off(log_score, x0, x_t, alpha, rate, pi):
    return bound_of(log_score.detach(), x0, x_t, alpha, rate, pi)


@wrong(
    "elbo_at", "the constant of the score entropy is missing: at the right score the integrand is 0"
)
def bound_without_constant(log_score, x0, x_t, alpha, rate, pi):
    r = true_ratio(x0, x_t, alpha, pi, log_score)
    return weigh(off(log_score.exp() - r * log_score, x_t), x_t, rate, pi)


@wrong(
    "elbo_at",
    "half of the noise's own part is missing: with 1 - alpha the redrawn symbols may be x_t as well",
)
def noise_forgotten(log_score, x0, x_t, alpha, rate, pi):
    a = alpha[:, None, None].to(log_score)
    q = torch.where(F.one_hot(x0, len(pi)).bool(), a, (1 - a) * pi.to(log_score))
    r = q / q.gather(2, x_t[..., None]).clamp_min(1e-30)
    return weigh(off(entropy_of(log_score, r), x_t), x_t, rate, pi)


# ---------------------------------------------------------------- undo


@right("undo")
def by_solving(log_score, x_t, alpha_t, alpha_s, pi):
    between = matrix(alpha_t / alpha_s, pi).to(log_score)
    before = torch.linalg.solve(between.T, log_score.exp().transpose(1, 2)).transpose(1, 2)
    found = before.clamp(min=0) * between.T[x_t]
    return found / found.sum(2, keepdim=True)


@right("undo")
def noise_taken_away(log_score, x_t, alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    score = torch.exp(log_score)
    before = (score - (1 - a) * pi * score.sum(-1, keepdim=True)) / a
    found = torch.relu(before) * into(x_t, a, pi, log_score)
    return torch.nn.functional.normalize(found, p=1, dim=-1)


@right("undo")
def position_by_position(log_score, x_t, alpha_t, alpha_s, pi):
    a, result = alpha_t / alpha_s, torch.zeros_like(log_score)
    for b, i in np.ndindex(*x_t.shape):
        s = log_score[b, i].exp()
        w = torch.stack([(s[y] - (1 - a) * pi[y] * s.sum()) / a for y in range(len(pi))]).clamp_min(
            0
        )
        w = w * torch.stack(
            [(1 - a) * pi[x_t[b, i]] + (a if y == x_t[b, i] else 0.0) for y in range(len(pi))]
        )
        result[b, i] = w / w.sum()
    return result


def finish(before, x_t, a, pi):
    found = before.clamp_min(0) * into(x_t, a, pi, before)
    return found / found.sum(-1, keepdim=True).clamp_min(1e-30)


@wrong(
    "undo",
    "this adds the noise of the step once more; undoing it is the inverse matrix, which has 1 / a for a",
)
def noise_added(log_score, x_t, alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    return finish(through(log_score.exp(), a, pi), x_t, a, pi)


@wrong(
    "undo", "only a fraction of the noise is between s and t: a = alpha_t / alpha_s, not alpha_t"
)
def undone_to_the_start(log_score, x_t, alpha_t, alpha_s, pi):
    return finish(through(log_score.exp(), 1 / alpha_t, pi), x_t, alpha_t, pi)


@wrong(
    "undo",
    "the second factor is missing: from y the noise must lead to x_t, with the chance q(x_t | x_s = y)",
)
def no_way_forward(log_score, x_t, alpha_t, alpha_s, pi):
    before = through(log_score.exp(), alpha_s / alpha_t, pi).clamp_min(0)
    return before / before.sum(-1, keepdim=True)


@wrong(
    "undo",
    "the probabilities must be scaled to sum to 1: a spoilt score does not see to that by itself",
)
def unscaled(log_score, x_t, alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    return through(log_score.exp(), 1 / a, pi).clamp_min(0) * into(x_t, a, pi, log_score)


@wrong("undo", "the score at t was not undone: the ratios belong to time t, x_s to time s")
def not_undone(log_score, x_t, alpha_t, alpha_s, pi):
    return finish(log_score.exp(), x_t, alpha_t / alpha_s, pi)


@wrong("undo", "the exponential is missing: log_score is the logarithm of the score")
def no_exponential(log_score, x_t, alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    return finish(through(log_score, 1 / a, pi), x_t, a, pi)


@wrong("undo", "the ratios are upside down: exp(-log_score) is p_t(x_t) / p_t(y)")
def minus_in_the_exponent(log_score, x_t, alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    return finish(through((-log_score).exp(), 1 / a, pi), x_t, a, pi)


@wrong(
    "undo",
    "the sum over the symbols belongs to the noise's part: (1 - 1/a) pi times the sum of the score",
)
def sum_forgotten(log_score, x_t, alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    before = log_score.exp() / a + (1 - 1 / a) * pi
    return finish(before, x_t, a, pi)


@wrong(
    "undo",
    "this is a step of tau-leaping, which keeps the score of time t for the whole step: not exact",
)
def frozen_score(log_score, x_t, alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    here = F.one_hot(x_t, len(pi)).bool()
    expected = (-math.log(a) * pi[x_t][..., None] * log_score.exp()).masked_fill(here, 0.0)
    total = expected.sum(-1, keepdim=True)
    leave = torch.where(total > 0, -torch.expm1(-total) * expected / total.clamp_min(1e-30), 0.0)
    return torch.where(here, (-total).exp(), leave)


@wrong("undo", "the transition from s to t was read by rows: its column x_t is wanted")
def undo_row_for_column(log_score, x_t, alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    found = through(log_score.exp(), 1 / a, pi).clamp_min(0) * matrix(a, pi)[x_t]
    return found / found.sum(-1, keepdim=True).clamp_min(1e-30)


@wrong("undo", "small negative masses, which a spoilt score may give, must be set to 0")
def negative_masses(log_score, x_t, alpha_t, alpha_s, pi):
    a = alpha_t / alpha_s
    found = through(log_score.exp(), 1 / a, pi) * into(x_t, a, pi, log_score)
    return found / found.sum(-1, keepdim=True)


# ---------------------------------------------------------------- halves_its_error


def texts_of(v, l):
    return torch.cartesian_prod(*[torch.arange(v)] * l).reshape(-1, l)


def final_law(kernel, p, steps):
    """The law of the whole text after the last step, and the worst that was seen on the way."""
    v, l = p.shape[0], p.ndim
    texts = texts_of(v, l)
    law, worst = torch.full((len(texts),), 1 / len(texts), dtype=torch.float64), 0.0
    for k in range(steps):
        rows = kernel(texts, 1 - k / steps, 1 - (k + 1) / steps if k + 1 < steps else 0.0).double()
        worst = max(worst, float((rows.sum(-1) - 1).abs().max()), float(-rows.min()))
        joint = torch.ones(len(texts), len(texts), dtype=torch.float64)
        for i in range(l):
            joint = joint * rows[:, i, texts[:, i]]
        law = law @ joint
    return law.reshape(p.shape), worst


def miss(kernel, p, steps):
    law, worst = final_law(kernel, p, steps)
    return float((law - p).abs().sum()) / 2, worst


@right("halves_its_error")
def by_hand(kernel, p):
    found = [miss(kernel, p, steps) for steps in (16, 32, 64)]
    if max(w for _, w in found) > 1e-8:
        return False
    return all(b < 1e-9 or b < a / 1.75 for (a, _), (b, _) in zip(found, found[1:]))


@right("halves_its_error")
def by_a_slope(kernel, p):
    steps = [8, 16, 32, 64]
    found = [miss(kernel, p, n) for n in steps]
    if any(w > 1e-7 for _, w in found):
        return False
    errors = np.array([e for e, _ in found])
    if errors[-1] < 1e-10:
        return True
    slopes = -np.diff(np.log(errors)) / np.diff(np.log(steps))
    return bool(slopes.min() > 0.8)


@right("halves_its_error")
def by_steps_times_error(kernel, p):
    scaled = []
    for steps in (16, 32, 64):
        error, worst = miss(kernel, p, steps)
        if worst > 1e-8:
            return False
        scaled.append(steps * error)
    return scaled[-1] < 1e-7 or all(b < 1.15 * a for a, b in zip(scaled, scaled[1:]))


@wrong(
    "halves_its_error",
    "one run says nothing of how the error falls: compare several numbers of steps",
)
def small_enough(kernel, p):
    error, worst = miss(kernel, p, 64)
    return error < 0.02 and worst < 1e-8


@wrong(
    "halves_its_error", "a falling error is not enough: it must fall by half when the steps double"
)
def merely_falls(kernel, p):
    found = [miss(kernel, p, n) for n in (8, 16, 32)]
    return max(w for _, w in found) < 1e-8 and (
        found[2][0] < found[1][0] < found[0][0] or found[2][0] < 1e-9
    )


@wrong(
    "halves_its_error",
    "it never looks at the probabilities themselves: rows must sum to 1, none below 0",
)
def rows_not_looked_at(kernel, p):
    found = [miss(kernel, p, n)[0] for n in (16, 32, 64)]
    return all(b < 1e-9 or b < a / 1.75 for a, b in zip(found, found[1:]))


@wrong("halves_its_error", "a right sampler may have an error of 0 already: 0 need not be halved")
def zero_must_fall(kernel, p):
    found = [miss(kernel, p, n) for n in (16, 32, 64)]
    if max(w for _, w in found) > 1e-8:
        return False
    return all(1e-12 < b < a / 1.75 for (a, _), (b, _) in zip(found, found[1:]))


@wrong(
    "halves_its_error",
    "a few large steps only: a small mistake shows when the honest error has become smaller than it",
)
def few_steps(kernel, p):
    found = [miss(kernel, p, n) for n in (2, 4, 8)]
    if max(w for _, w in found) > 1e-8:
        return False
    return all(b < 1e-9 or b < a / 1.6 for (a, _), (b, _) in zip(found, found[1:]))


@wrong(
    "halves_its_error",
    "each position's law is compared by itself; what belongs together, two letters of a text, is never looked at",
)
def marginals_only(kernel, p):
    def off_by(steps):
        law, worst = final_law(kernel, p, steps)
        gaps = [
            float(
                (
                    law.movedim(i, 0).reshape(len(law), -1).sum(1)
                    - p.movedim(i, 0).reshape(len(p), -1).sum(1)
                )
                .abs()
                .sum()
            )
            for i in range(p.ndim)
        ]
        return max(gaps), worst

    found = [off_by(n) for n in (16, 32, 64)]
    if max(w for _, w in found) > 1e-8:
        return False
    return found[-1][0] < 0.02


@wrong("halves_its_error", "it accepts whatever gives probabilities")
def probabilities_only(kernel, p):
    return miss(kernel, p, 4)[1] < 1e-8


@wrong(
    "halves_its_error",
    "an error that halves exactly is too much to ask: the halving holds for small steps only",
)
def exactly_half(kernel, p):
    found = [miss(kernel, p, n) for n in (16, 32)]
    return (
        max(w for _, w in found) < 1e-8 and abs(found[0][0] / max(found[1][0], 1e-30) - 2) < 0.035
    )


@wrong("halves_its_error", "the verdicts are exchanged")
def verdicts_exchanged(kernel, p):
    return not by_hand(kernel, p)


@wrong("halves_its_error", "the last step to t = 0 is left out: what happens there is never seen")
def stops_before_the_end(kernel, p):
    def cut(x, t, s):
        return kernel(x, t, s) if s > 0 else F.one_hot(x, p.shape[0]).double()

    return by_hand(cut, p)


@wrong("halves_its_error", "the error must fall by a factor of two; this asks for a factor of four")
def second_order(kernel, p):
    found = [miss(kernel, p, n) for n in (16, 32, 64)]
    if max(w for _, w in found) > 1e-8:
        return False
    return all(b < 1e-9 or b < a / 3.5 for (a, _), (b, _) in zip(found, found[1:]))
