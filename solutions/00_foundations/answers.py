"""Chapter 00: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math

import torch
import torch.nn.functional as F

from autograde.authoring import right, wrong

# ---------------------------------------------------------------- fit_gaussian


@right("fit_gaussian")
def torch_std(x):
    return x.mean(dim=0), x.std(dim=0, correction=0)


@right("fit_gaussian")
def column_by_column(x):
    means, stds = [], []
    for column in x.T:
        m = sum(column) / len(column)
        means.append(m)
        stds.append((sum((v - m) ** 2 for v in column) / len(column)) ** 0.5)
    return torch.stack(means), torch.stack(stds)


@wrong("fit_gaussian", "divided by n - 1; maximum likelihood divides by n (correction=0)")
def sample_variance(x):
    return x.mean(0), x.std(0)


@wrong("fit_gaussian", "this is the variance; its root is asked")
def variance(x):
    return x.mean(0), x.var(0, correction=0)


@wrong("fit_gaussian", "the mean runs over the coordinates; average over the dots, dim=0")
def wrong_axis(x):
    return x.mean(1), x.std(1, correction=0)


@wrong("fit_gaussian", "one mean for all coordinates together; each has its own")
def one_mean(x):
    return x.mean(), x.std(0, correction=0)


@wrong("fit_gaussian", "the distance is measured from 0; subtract the mean first")
def around_zero(x):
    return x.mean(0), x.square().mean(0).sqrt()


@wrong("fit_gaussian", "this is the log of the standard deviation")
def log_std(x):
    return x.mean(0), x.std(0, correction=0).log()


@wrong(
    "fit_gaussian", "mean and standard deviation are exchanged: return (mean, std) in this order"
)
def exchanged(x):
    return x.std(0, correction=0), x.mean(0)


@wrong(
    "fit_gaussian", "this is the mean absolute distance; (4) squares, averages, then takes the root"
)
def absolute(x):
    return x.mean(0), (x - x.mean(0)).abs().mean(0)


@wrong("fit_gaussian", "one standard deviation for all coordinates together; each has its own")
def one_std(x):
    return x.mean(0), x.std(correction=0)


@wrong(
    "fit_gaussian",
    "the mean of the squares minus the square of the mean loses every digit far from 0: subtract the mean first",
)
def difference_of_squares(x):
    return x.mean(0), (x.square().mean(0) - x.mean(0).square()).clamp_min(0).sqrt()


@right("fit_gaussian")
def with_numpy(x):
    a = x.numpy()
    return torch.from_numpy(a.mean(axis=0)), torch.from_numpy(a.std(axis=0))


@right("fit_gaussian")
def in_place_on_a_copy(x):
    centred = x.clone()
    mean = centred.mean(0)
    centred -= mean
    return [mean, (centred.T @ centred / len(x)).diagonal().sqrt()]


@wrong("fit_gaussian", "this is the median; the likelihood of a Gaussian asks for the mean")
def median_for_mean(x):
    return x.median(0).values, x.std(0, correction=0)


@wrong(
    "fit_gaussian",
    "the squares of all coordinates are averaged together; each has its own spread, dim=0",
)
def pooled_squares(x):
    return x.mean(0), (x - x.mean(0)).square().mean().sqrt()


@wrong("fit_gaussian", "a row came back; give one number a coordinate, without keepdim")
def kept_dimension(x):
    return x.mean(0, keepdim=True), x.std(0, correction=0, keepdim=True)


@wrong("fit_gaussian", "the root of the sum of squares is not divided by the number of dots")
def sum_of_squares(x):
    return x.mean(0), (x - x.mean(0)).norm(dim=0)


# ---------------------------------------------------------------- mixture_log_prob


@right("mixture_log_prob")
def component_by_component(x, log_weights, means, stds):
    rows = []
    for w, m, s in zip(log_weights, means, stds):
        rows.append(w + torch.distributions.Normal(m, s).log_prob(x).sum(-1))
    return torch.stack(rows).logsumexp(0)


@right("mixture_log_prob")
def own_logsumexp(x, log_weights, means, stds):
    d = x.shape[1]
    inner = -(((x.unsqueeze(1) - means) ** 2) / (2 * stds**2)).sum(2)
    a = log_weights + inner - stds.log().sum(1) - d / 2 * math.log(2 * math.pi)
    top = a.max(dim=1, keepdim=True).values
    return top[:, 0] + (a - top).exp().sum(1).log()


@right("mixture_log_prob")
def running(x, log_weights, means, stds):
    total = torch.full((len(x),), -math.inf, dtype=x.dtype)
    for j in range(len(means)):
        a = torch.zeros_like(total) + log_weights[j]
        for i in range(x.shape[1]):
            z = (x[:, i] - means[j, i]) / stds[j, i]
            a = a - 0.5 * z * z - math.log(stds[j, i]) - 0.5 * math.log(2 * math.pi)
        total = torch.logaddexp(total, a)
    return total


@wrong(
    "mixture_log_prob",
    "an exp became 0 and its log minus infinity: stay on the log scale with torch.logsumexp",
)
def log_of_sum(x, log_weights, means, stds):
    density = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1).exp()
    return (log_weights.exp() * density).sum(1).log()


@wrong(
    "mixture_log_prob", "the constant log(2 pi)/2 counts once for each coordinate, not once for all"
)
def constant_once(x, log_weights, means, stds):
    z = (x[:, None] - means) / stds
    inner = -(z**2).sum(-1) / 2 - stds.log().sum(-1) - 0.5 * math.log(2 * math.pi)
    return (log_weights + inner).logsumexp(1)


@wrong("mixture_log_prob", "the constant log(2 pi)/2 is missing")
def no_constant(x, log_weights, means, stds):
    z = (x[:, None] - means) / stds
    return (log_weights - (z**2).sum(-1) / 2 - stds.log().sum(-1)).logsumexp(1)


@wrong(
    "mixture_log_prob",
    "the coordinates are averaged; log-densities of independent coordinates add up",
)
def mean_over_coordinates(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).mean(-1)
    return (log_weights + inner).logsumexp(1)


@wrong("mixture_log_prob", "the weights are missing: add log_weights before the logsumexp")
def no_weights(x, log_weights, means, stds):
    return torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1).logsumexp(1)


@wrong(
    "mixture_log_prob",
    "the weights multiply the densities, so on the log scale they are added, not multiplied",
)
def weights_times_logs(x, log_weights, means, stds):
    normal = torch.distributions.Normal(means, stds).log_prob(x[:, None])
    return (log_weights * normal.sum(-1)).logsumexp(1)


@wrong(
    "mixture_log_prob",
    "the coordinates are summed too late: add them up inside each component, then mix the components",
)
def components_mixed_for_each_coordinate(x, log_weights, means, stds):
    normal = torch.distributions.Normal(means, stds).log_prob(x[:, None])
    return (log_weights[:, None] + normal).logsumexp(1).sum(-1)


@wrong("mixture_log_prob", "a standard deviation was used as a variance")
def std_for_variance(x, log_weights, means, stds):
    inner = -((x[:, None] - means) ** 2) / stds / 2 - stds.log() / 2 - 0.5 * math.log(2 * math.pi)
    return (log_weights + inner.sum(-1)).logsumexp(1)


@wrong("mixture_log_prob", "the 1/2 of the quadratic is missing")
def no_half(x, log_weights, means, stds):
    z = (x[:, None] - means) / stds
    inner = -(z**2) - stds.log() - 0.5 * math.log(2 * math.pi)
    return (log_weights + inner.sum(-1)).logsumexp(1)


@wrong("mixture_log_prob", "-log std is missing: wide components must be lower")
def no_log_std(x, log_weights, means, stds):
    z = (x[:, None] - means) / stds
    return (log_weights + (-(z**2) / 2 - 0.5 * math.log(2 * math.pi)).sum(-1)).logsumexp(1)


@wrong(
    "mixture_log_prob",
    "this is a sum of logs; the log of a sum is asked (logsumexp over the components)",
)
def sum_of_logs(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights + inner).sum(1)


@wrong(
    "mixture_log_prob",
    "the average of the components' logs, weighted; the log of the weighted average is asked",
)
def average_of_logs(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights.exp() * inner).sum(1)


@wrong("mixture_log_prob", "the logsumexp runs over the points; it must run over the components")
def over_the_points(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights + inner).logsumexp(0)


@wrong("mixture_log_prob", "only the likeliest component counts; all of them add up")
def likeliest(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights + inner).amax(1)


@right("mixture_log_prob")
def as_one_gaussian_each(x, log_weights, means, stds):
    parts = [
        torch.distributions.MultivariateNormal(m, torch.diag(s**2)).log_prob(x)
        for m, s in zip(means, stds)
    ]
    return torch.logsumexp(torch.stack(parts, 1) + log_weights, dim=1)


@wrong(
    "mixture_log_prob",
    "the weights themselves were added to the logs; log_weights are logs already",
)
def weights_added(x, log_weights, means, stds):
    normal = torch.distributions.Normal(means, stds).log_prob(x[:, None])
    return (log_weights.exp() + normal.sum(-1)).logsumexp(1)


@wrong("mixture_log_prob", "these are densities; their log is asked")
def densities(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights + inner).logsumexp(1).exp()


@wrong(
    "mixture_log_prob", "the values are right and their gradient is lost: nothing may be detached"
)
def detached(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights + inner).logsumexp(1).detach()


@wrong("mixture_log_prob", "one average over all points came back; give one number a point")
def averaged(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights + inner).logsumexp(1).mean()


@wrong("mixture_log_prob", "-log std counts once for each coordinate; it stands twice in yours")
def log_std_twice(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]) - stds.log()
    return (log_weights + inner.sum(-1)).logsumexp(1)


# ---------------------------------------------------------------- kl


@right("kl")
def entropy_and_cross_entropy(log_p, log_q):
    p = log_p.exp()
    cross = torch.where(p > 0, -p * log_q, torch.zeros_like(p)).sum(-1)
    own = torch.where(p > 0, -p * log_p, torch.zeros_like(p)).sum(-1)
    return cross - own


@right("kl")
def nan_to_num(log_p, log_q):
    safe = log_p.masked_fill(log_p == -math.inf, 0.0)
    terms = log_p.exp() * (safe - log_q)
    return terms.masked_fill(log_p == -math.inf, 0.0).sum(dim=-1)


@wrong("kl", "this is KL(q || p), the other direction: the weights are those of p")
def reverse(log_p, log_q):
    return (log_q.exp() * (log_q - log_p)).sum(-1)


@wrong("kl", "the sign is reversed: log p comes first, log p - log q")
def negative(log_p, log_q):
    return (log_p.exp() * (log_q - log_p)).sum(-1)


@wrong("kl", "this is the cross-entropy -sum p log q; the entropy of p must be taken off")
def cross_entropy(log_p, log_q):
    return -(log_p.exp() * log_q).sum(-1)


@wrong("kl", "you averaged over the states; the expectation is already in the weights p")
def mean_over_states(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).mean(-1)


@wrong("kl", "these are bits (log2); nats are asked (the natural log)")
def in_bits(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).sum(-1) / math.log(2)


@wrong("kl", "the terms are not weighted by p")
def unweighted(log_p, log_q):
    return (log_p - log_q).sum(-1)


@wrong("kl", "the absolute value of each term was taken; terms may be negative")
def absolute_terms(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).abs().sum(-1)


@wrong("kl", "one number for the whole batch; sum over the states only")
def whole_batch(log_p, log_q):
    return F.kl_div(log_q, log_p, log_target=True, reduction="sum")


@wrong("kl", "the average over the batch; give one number for each table")
def batch_mean(log_p, log_q):
    return F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")


@wrong("kl", "log(p/q) is log p - log q, a difference of the logs, not their ratio")
def ratio_of_logs(log_p, log_q):
    return (log_p.exp() * (log_p / log_q)).sum(-1)


@wrong(
    "kl",
    "this is the average over all entries, which F.kl_div gives unless told otherwise; sum over the states",
)
def default_of_torch(log_p, log_q):
    return torch.nn.functional.kl_div(log_q, log_p, log_target=True)


@wrong("kl", "0 log 0 became NaN: a state with p = 0 adds nothing")
def zero_times_infinity(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).sum(-1)


@wrong(
    "kl", "a small number was added, or a log clipped: if p > 0 where q = 0, the price is infinite"
)
def with_epsilon(log_p, log_q):
    p, q = log_p.exp(), log_q.exp()
    return (p * ((p + 1e-12).log() - (q + 1e-12).log())).sum(-1)


@right("kl")
def state_by_state(log_p, log_q):
    total = 0.0
    for a, b in zip(log_p.unbind(-1), log_q.unbind(-1)):
        total = total + torch.where(a == -math.inf, torch.zeros_like(a), a.exp() * (a - b))
    return total


@wrong("kl", "the weights are log-probabilities; exponentiate them")
def logs_as_weights(log_p, log_q):
    return (log_p * (log_p - log_q)).sum(-1)


@wrong("kl", "probabilities were subtracted: the difference of the *logs* is asked")
def difference_of_probabilities(log_p, log_q):
    p, q = log_p.exp(), log_q.exp()
    return (p * (p - q)).sum(-1)


@wrong("kl", "the sum runs over the tables; it runs over the states, the last dimension")
def over_the_tables(log_p, log_q):
    return torch.where(log_p > -math.inf, log_p.exp() * (log_p - log_q), 0.0).sum(0)


@wrong("kl", "every infinite term became 0: where q = 0 and p is not, the price is infinite")
def infinities_dropped(log_p, log_q):
    terms = log_p.exp() * (log_p - log_q)
    return torch.where(terms.isfinite(), terms, 0.0).sum(-1)


@wrong("kl", "the gradient in the weights p is lost: nothing may be detached")
def weights_detached(log_p, log_q):
    p = log_p.detach().exp()
    return torch.where(log_p > -math.inf, p * (log_p - log_q), 0.0).sum(-1)


# ---------------------------------------------------------------- bits_per_dim


@right("bits_per_dim")
def with_n(log_prob, dims, levels=1):
    bits = [-v / math.log(2) / dims + math.log2(levels) for v in log_prob.tolist()]
    mean = sum(bits) / len(bits)
    variance = sum((b - mean) ** 2 for b in bits) / len(bits)
    return mean, (variance / len(bits)) ** 0.5


@right("bits_per_dim")
def scale_at_the_end(log_prob, dims, levels=1):
    scale = 1 / (dims * math.log(2))
    value = math.log(levels, 2) - scale * log_prob.mean()
    return float(value), float(scale * log_prob.std() * len(log_prob) ** -0.5)


@wrong("bits_per_dim", "these are nats; bits are asked (divide by log 2)")
def nats_as_bits(log_prob, dims, levels=1):
    b = -log_prob / dims + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@wrong("bits_per_dim", "this is for the whole picture; divide by dims")
def whole_picture(log_prob, dims, levels=1):
    b = -log_prob / math.log(2) + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@wrong("bits_per_dim", "divided by the number of pictures once too often")
def by_the_batch(log_prob, dims, levels=1):
    b = -log_prob / (len(log_prob) * dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@wrong(
    "bits_per_dim", "the sign: fewer bits are better, and bits are minus the log of a probability"
)
def wrong_sign(log_prob, dims, levels=1):
    b = log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@wrong("bits_per_dim", "the standard deviation of one picture; the mean of n is better by sqrt(n)")
def spread_for_error(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.std().item()


@wrong("bits_per_dim", "divided by n; the error of a mean falls with sqrt(n)")
def error_over_n(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.std().item() / len(b)


@wrong("bits_per_dim", "two numbers must come back: (mean, standard error)")
def no_error(log_prob, dims, levels=1):
    return (-log_prob / (dims * math.log(2)) + math.log2(levels)).mean().item()


@wrong("bits_per_dim", "the error is in nats for a picture; it needs both divisions too")
def error_in_nats(log_prob, dims, levels=1):
    value = -log_prob.mean().item() / (dims * math.log(2)) + math.log2(levels)
    return value, log_prob.std().item() / math.sqrt(len(log_prob))


@wrong("bits_per_dim", "log2(levels) must be added, not subtracted")
def levels_subtracted(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) - math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@wrong(
    "bits_per_dim", "log2(levels) is counted for each picture as a whole; it is for each dimension"
)
def levels_once_a_picture(log_prob, dims, levels=1):
    b = (-log_prob / math.log(2) + math.log2(levels)) / dims
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@wrong("bits_per_dim", "log(levels) is in nats; here it is log2(levels)")
def levels_in_nats(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@right("bits_per_dim")
def with_statistics(log_prob, dims, levels=1):
    import statistics

    bits = [math.log2(levels) - v / math.log(2) / dims for v in log_prob.double().tolist()]
    return [statistics.fmean(bits), statistics.stdev(bits) / len(bits) ** 0.5]


@wrong("bits_per_dim", "multiplied by log 2 instead of divided")
def times_log_2(log_prob, dims, levels=1):
    b = -log_prob * math.log(2) / dims + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@wrong("bits_per_dim", "a sum over the pictures; their mean is asked")
def sum_over_pictures(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.sum().item(), b.std().item() / math.sqrt(len(b))


@wrong("bits_per_dim", "log2(levels) is missing")
def no_levels(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2))
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@wrong(
    "bits_per_dim",
    "divided by the root of dims; the error of a mean falls with the root of the number of pictures",
)
def error_over_root_of_dims(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(dims)


@wrong("bits_per_dim", "the error is for a whole picture, in bits; divide it by dims too")
def error_of_a_picture(log_prob, dims, levels=1):
    b = -log_prob / math.log(2)
    return b.mean().item() / dims + math.log2(levels), b.std().item() / math.sqrt(len(b))


@wrong("bits_per_dim", "the error is in nats; divide it by log 2 too")
def error_without_log_2(log_prob, dims, levels=1):
    b = -log_prob / dims
    return b.mean().item() / math.log(2) + math.log2(levels), b.std().item() / math.sqrt(len(b))


@wrong("bits_per_dim", "this is the variance of the mean; take its root")
def variance_of_the_mean(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.var().item() / len(b)


@wrong("bits_per_dim", "the error is 0: give the standard error of the mean")
def error_of_a_number(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.mean().std(correction=0).item()


@wrong("bits_per_dim", "log2(levels) is in the error too: a constant shifts all values alike")
def levels_in_the_error(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2))
    return (b + math.log2(levels)).mean().item(), b.std().item() / math.sqrt(len(b)) + math.log2(
        levels
    )


# ---------------------------------------------------------------- inverse_cdf


@right("inverse_cdf")
def one_at_a_time(u, edges, mass):
    out = []
    for v in u.tolist():
        below = 0.0
        for j, m in enumerate(mass.tolist()):
            if v < below + m or j == len(mass) - 1:
                break
            below += m
        low, high = edges[j].item(), edges[j + 1].item()
        out.append(low + (v - below) / m * (high - low))
    return torch.tensor(out, dtype=edges.dtype)


@right("inverse_cdf")
def numpy_interp(u, edges, mass):
    import numpy as np

    heights = np.concatenate([[0.0], np.cumsum(mass.numpy())])
    return torch.from_numpy(np.interp(u.numpy(), heights, edges.numpy()))


@right("inverse_cdf")
def by_comparison(u, edges, mass):
    top = mass.cumsum(0)
    j = (u[:, None] >= top[None, :]).sum(1).clamp(max=len(mass) - 1)
    share = (u - (top - mass)[j]) / mass[j]
    return torch.lerp(edges[:-1][j], edges[1:][j], share)


@wrong(
    "inverse_cdf",
    "every sample lies on the left edge of its cell: go on inside, by the share of it that is climbed",
)
def left_edge(u, edges, mass):
    j = torch.searchsorted(mass.cumsum(0), u, right=True).clamp(max=len(mass) - 1)
    return edges[j]


@wrong(
    "inverse_cdf",
    "every sample lies in the middle of its cell: go on inside it, by the share that is climbed",
)
def centre(u, edges, mass):
    j = torch.searchsorted(mass.cumsum(0), u, right=True).clamp(max=len(mass) - 1)
    return (edges[j] + edges[j + 1]) / 2


@wrong("inverse_cdf", "u is measured from the top of its cell: the chain of heights begins with 0")
def without_leading_zero(u, edges, mass):
    F = mass.cumsum(0)
    j = torch.searchsorted(F, u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (u - F[j]) / mass[j] * (edges[j + 1] - edges[j])


@wrong(
    "inverse_cdf",
    "one cell too far: take the share from the cell in which u lies, and its edges too",
)
def one_cell_too_far(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F, u, right=True)
    share = (u - F[j - 1]) / mass[j - 1]
    j = j.clamp(max=len(mass) - 1)
    return edges[j] + share * (edges[j + 1] - edges[j])


@wrong("inverse_cdf", "it draws numbers of its own: all randomness is in u")
def draws_by_itself(u, edges, mass):
    j = torch.multinomial(mass, len(u), replacement=True)
    return edges[j] + torch.rand(len(u)) * (edges[j + 1] - edges[j])


@wrong("inverse_cdf", "multiplied by the mass of the cell; divide: a share is (u - F) / mass")
def times_the_mass(u, edges, mass):
    heights = torch.cat([mass.new_zeros(1), mass.cumsum(0)])
    j = torch.searchsorted(heights[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (u - heights[j]) * mass[j] * (edges[j + 1] - edges[j])


@wrong("inverse_cdf", "u - F is not yet a share: divide it by the mass of the cell")
def share_not_divided(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (u - F[j]) * (edges[j + 1] - edges[j])


@wrong("inverse_cdf", "the likeliest cell for every u; to draw is not to maximise")
def maximise(u, edges, mass):
    return edges[mass.argmax()].expand(len(u))


@wrong("inverse_cdf", "decreasing in u: this is the inverse of 1 - F")
def upside_down(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    v = 1 - u
    j = torch.searchsorted(F[1:].contiguous(), v, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (v - F[j]) / mass[j] * (edges[j + 1] - edges[j])


@wrong("inverse_cdf", "the share inside the cell runs backwards")
def backwards(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (F[j + 1] - u) / mass[j] * (edges[j + 1] - edges[j])


@wrong("inverse_cdf", "u alone is stretched over the range; the mass of the cells is not used")
def uniform(u, edges, mass):
    return edges[0] + u * (edges[-1] - edges[0])


@wrong("inverse_cdf", "this is the CDF, from x to u; its inverse is asked")
def cdf(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.bucketize(u, edges, right=True).clamp(1, len(mass)) - 1
    return F[j] + mass[j] * (u - edges[j]) / (edges[j + 1] - edges[j])


@wrong("inverse_cdf", "the cells are taken for equally wide; use edges[j] and edges[j + 1]")
def equal_cells(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[0] + (j + (u - F[j]) / mass[j]) * (edges[-1] - edges[0]) / len(mass)


@wrong(
    "inverse_cdf",
    "every sample lies on the right edge of its cell: go only the share that is climbed",
)
def right_edge(u, edges, mass):
    j = torch.searchsorted(mass.cumsum(0), u, right=True).clamp(max=len(mass) - 1)
    return edges[j + 1]


@wrong("inverse_cdf", "u itself is used as the share inside the cell; it is (u - F) / mass")
def u_as_the_share(u, edges, mass):
    j = torch.searchsorted(mass.cumsum(0), u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + u * (edges[j + 1] - edges[j])


@wrong("inverse_cdf", "the heights are taken for equally spaced; they are the sums of the masses")
def equal_heights(u, edges, mass):
    k = len(mass)
    j = (u * k).long().clamp(max=k - 1)
    return edges[j] + (u * k - j) * (edges[j + 1] - edges[j])


@wrong(
    "inverse_cdf",
    "the masses were divided by the widths before they were summed: mass is a probability",
)
def heights_for_masses(u, edges, mass):
    mass = mass / edges.diff()
    mass = mass / mass.sum()
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (u - F[j]) / mass[j] * (edges[j + 1] - edges[j])


@wrong("inverse_cdf", "the samples come in increasing order: keep the order of u")
def sorted_samples(u, edges, mass):
    u = u.sort().values
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (u - F[j]) / mass[j] * (edges[j + 1] - edges[j])


# ---------------------------------------------------------------- ring_log_prob


def radius_of(x, stretch):
    return torch.hypot(x[:, 0] / stretch, x[:, 1])


def log_bell(z):
    return -(z**2) / 2 - math.log(2 * math.pi) / 2


@right("ring_log_prob")
def three_factors(x, radius, width, stretch):
    r = radius_of(x, stretch)
    z = (r.log() - math.log(radius)) / width
    return log_bell(z) - torch.log(width * r) - torch.log(2 * math.pi * r) - math.log(stretch)


@right("ring_log_prob")
def by_lognormal(x, radius, width, stretch):
    r = (x / torch.tensor([stretch, 1.0], dtype=x.dtype)).norm(dim=1)
    around = torch.distributions.LogNormal(math.log(radius), width, validate_args=False)
    return around.log_prob(r) - (2 * math.pi * stretch * r).log()


@right("ring_log_prob")
def with_squares(x, radius, width, stretch):
    square = x[:, 0] ** 2 / stretch**2 + x[:, 1] ** 2
    z = (square.log() / 2 - math.log(radius)) / width
    return -(z**2) / 2 - square.log() - 1.5 * math.log(2 * math.pi) - math.log(width * stretch)


@wrong(
    "ring_log_prob", "the density of r over 2 pi is the naive one: a patch of the ring grows with r"
)
def naive_ring(x, radius, width, stretch):
    r = radius_of(x, stretch)
    return log_bell((r / radius).log() / width) - (2 * math.pi * stretch * width * r).log()


@wrong("ring_log_prob", "the step from z to r is missing: dr = s r dz")
def without_the_radius(x, radius, width, stretch):
    r = radius_of(x, stretch)
    return log_bell((r / radius).log() / width) - (2 * math.pi * stretch * r).log()


@wrong("ring_log_prob", "no change of area at all: this is the density of the noise alone")
def noise_alone(x, radius, width, stretch):
    return log_bell((radius_of(x, stretch) / radius).log() / width)


@wrong("ring_log_prob", "the stretch is undone in finding r, but it changes the area too")
def stretch_without_area(x, radius, width, stretch):
    r = radius_of(x, stretch)
    return log_bell((r / radius).log() / width) - (2 * math.pi * width * r**2).log()


@wrong("ring_log_prob", "r is measured in the stretched plane: undo the stretch first")
def radius_of_the_ellipse(x, radius, width, stretch):
    r = radius_of(x, 1.0)
    return log_bell((r / radius).log() / width) - (2 * math.pi * stretch * width * r**2).log()


@wrong(
    "ring_log_prob", "the log of the area is added; where the map stretches, the density is thinner"
)
def area_added(x, radius, width, stretch):
    r = radius_of(x, stretch)
    return log_bell((r / radius).log() / width) + (2 * math.pi * stretch * width * r**2).log()


@wrong("ring_log_prob", "the angle has 2 pi in it: a full turn du = 1 is 2 pi r long")
def without_two_pi(x, radius, width, stretch):
    r = radius_of(x, stretch)
    return log_bell((r / radius).log() / width) - (stretch * width * r**2).log()


@wrong("ring_log_prob", "the width s is missing in the area: dr = s r dz")
def without_the_width(x, radius, width, stretch):
    r = radius_of(x, stretch)
    return log_bell((r / radius).log() / width) - (2 * math.pi * stretch * r**2).log()


@wrong("ring_log_prob", "z is (r - R) / s here; the map is r = R exp(s z), so take the log")
def without_a_log(x, radius, width, stretch):
    r = radius_of(x, stretch)
    return log_bell((r - radius) / width) - (2 * math.pi * stretch * width * r**2).log()


@wrong("ring_log_prob", "the noise's own constant, log(2 pi) / 2, is missing")
def without_the_constant(x, radius, width, stretch):
    r = radius_of(x, stretch)
    return -(((r / radius).log() / width) ** 2) / 2 - (2 * math.pi * stretch * width * r**2).log()


@wrong("ring_log_prob", "these are densities; their log is asked")
def ring_density(x, radius, width, stretch):
    return three_factors(x, radius, width, stretch).exp()


@wrong(
    "ring_log_prob",
    "the area is taken at the radius R for all points; it is that at each point's own r",
)
def area_of_the_middle(x, radius, width, stretch):
    r = radius_of(x, stretch)
    return log_bell((r / radius).log() / width) - math.log(
        2 * math.pi * stretch * width * radius**2
    )


@wrong("ring_log_prob", "the stretch is undone in the second coordinate; it was made in the first")
def other_coordinate(x, radius, width, stretch):
    return three_factors(x.flip(1), radius, width, stretch)


# ---------------------------------------------------------------- is_consistent


@right("is_consistent")
def by_the_cdf(log_prob, sample, low, high):
    """Kolmogorov and Smirnov: the largest gap between the two CDFs, and nothing outside."""
    n = 20_000
    edges = torch.linspace(low, high, 20_001, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    claimed = log_prob(middles).exp().cumsum(0) * (high - low) / 20_000
    if abs(claimed[-1] - 1) > 0.01:
        return False
    x = sample(n).double().sort().values
    if ((x < low) | (x > high)).double().mean() > 0.001:
        return False
    place = torch.searchsorted(edges, x).clamp(1, 20_000) - 1
    ranks = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return bool((claimed[place] - ranks).abs().max() < 2.7 / math.sqrt(n))


@right("is_consistent")
def chi_square(log_prob, sample, low, high):
    from scipy.stats import chi2

    step = (high - low) / 6000
    mass = log_prob(low + step * (torch.arange(6000).double() + 0.5)).exp().view(60, 100).sum(1)
    mass = mass * step
    if not 0.99 < mass.sum() < 1.01:
        return False
    n = 30_000
    x = sample(n)
    counts = torch.histc(x.double(), 60, low, high)
    enough = n * mass > 10
    expected = torch.cat([n * mass[enough], (n - n * mass[enough].sum())[None].clamp_min(5)])
    seen = torch.cat([counts[enough], (n - counts[enough].sum())[None]])
    statistic = ((seen - expected) ** 2 / expected).sum()
    return bool(chi2.sf(statistic, len(seen) - 1) > 1e-9)


def masses(log_prob, low, high, bins=50):
    step = (high - low) / (100 * bins)
    middles = low + step * (torch.arange(100 * bins).double() + 0.5)
    return (log_prob(middles).exp() * step).view(bins, 100).sum(1)


@wrong(
    "is_consistent", "only the integral counts for your test: it says the same whatever is drawn"
)
def integral_only(log_prob, sample, low, high):
    step = (high - low) / 5000
    mass = log_prob(low + step * (torch.arange(5000).double() + 0.5)).exp() * step
    return bool(abs(mass.sum() - 1) < 0.01)


@wrong(
    "is_consistent",
    "the integral does not count for your test: it accepts a density that integrates to 2",
)
def shape_only(log_prob, sample, low, high):
    step = (high - low) / 5000
    mass = log_prob(low + step * (torch.arange(5000).double() + 0.5)).exp() * step
    mass = mass.reshape(50, 100).sum(1) / mass.sum()
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    return bool(((counts - 20_000 * mass).abs() <= 5 * (20_000 * mass).sqrt() + 5).all())


@wrong(
    "is_consistent",
    "the same mean and the same spread do not make the same distribution: look at every bin",
)
def moments_only(log_prob, sample, low, high):
    step = (high - low) / 5000
    x = low + step * (torch.arange(5000).double() + 0.5)
    mass = log_prob(x).exp() * step
    if abs(mass.sum() - 1) > 0.01:
        return False
    mean = (mass * x).sum()
    std = (mass * (x - mean) ** 2).sum().sqrt()
    y = sample(20_000).double()
    return bool((y.mean() - mean).abs() < 0.04 * std and (y.std() - std).abs() < 0.02 * std)


@wrong(
    "is_consistent",
    "right models are rejected: fifty bins are fifty chances to be unlucky, so allow 5 standard deviations and a few samples more",
)
def too_strict(log_prob, sample, low, high):
    mass = masses(log_prob, low, high)
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    allowed = 2.5 * (20_000 * mass * (1 - mass)).clamp_min(0).sqrt() + 1
    return bool(abs(mass.sum() - 1) < 0.01 and ((counts - 20_000 * mass).abs() <= allowed).all())


@wrong("is_consistent", "it says True to every case, right or broken")
def always_true(log_prob, sample, low, high):
    return True


@wrong("is_consistent", "it says False to every case, right or broken")
def always_false(log_prob, sample, low, high):
    return False


@wrong("is_consistent", "samples outside [low, high] must count: they are missing inside")
def inside_only(log_prob, sample, low, high):
    step = (high - low) / 5000
    mass = (
        (log_prob(low + step * (torch.arange(5000).double() + 0.5)).exp() * step)
        .view(50, 100)
        .sum(1)
    )
    if not abs(mass.sum() - 1) < 0.01:
        return False
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    n = counts.sum()
    return bool(((counts - n * mass).abs() <= 5 * (n * mass).sqrt() + 5).all())


@wrong("is_consistent", "the integral must be 1 within 0.01; your test allows more")
def loose_integral(log_prob, sample, low, high):
    step = (high - low) / 5000
    mass = (
        (log_prob(low + step * (torch.arange(5000).double() + 0.5)).exp() * step)
        .view(50, 100)
        .sum(1)
    )
    if not abs(mass.sum() - 1) < 0.2:
        return False
    mass = mass / mass.sum()
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    return bool(((counts - 20_000 * mass).abs() <= 5 * (20_000 * mass).sqrt() + 5).all())


@wrong("is_consistent", "a few wide bins cannot see what happens inside them: take some fifty")
def three_bins(log_prob, sample, low, high):
    mass = masses(log_prob, low, high, bins=3)
    if not abs(mass.sum() - 1) < 0.01:
        return False
    counts = torch.histc(sample(20_000).double(), 3, low, high)
    return bool(((counts - 20_000 * mass).abs() <= 5 * (20_000 * mass).sqrt() + 5).all())


@wrong("is_consistent", "too few samples: with a hundred of them only a gross mistake shows")
def a_hundred_samples(log_prob, sample, low, high):
    mass = masses(log_prob, low, high)
    if not abs(mass.sum() - 1) < 0.01:
        return False
    counts = torch.histc(sample(100).double(), 50, low, high)
    return bool(((counts - 100 * mass).abs() <= 5 * (100 * mass).sqrt() + 5).all())


@wrong("is_consistent", "an integral below 1 is accepted: look at both sides")
def one_sided_integral(log_prob, sample, low, high):
    mass = masses(log_prob, low, high)
    if mass.sum() > 1.01:
        return False
    mass = mass / mass.sum()
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    return bool(((counts - 20_000 * mass).abs() <= 5 * (20_000 * mass).sqrt() + 5).all())


@wrong("is_consistent", "a bin with too few samples is accepted: look at both sides")
def one_sided_counts(log_prob, sample, low, high):
    mass = masses(log_prob, low, high)
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    fits = (counts - 20_000 * mass <= 5 * (20_000 * mass).sqrt() + 5).all()
    return bool(abs(mass.sum() - 1) < 0.01 and fits)


@wrong("is_consistent", "the verdict is upside down: True is for a model that is right")
def upside_down_verdict(log_prob, sample, low, high):
    mass = masses(log_prob, low, high)
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    fits = ((counts - 20_000 * mass).abs() <= 5 * (20_000 * mass).sqrt() + 5).all()
    return not bool(abs(mass.sum() - 1) < 0.01 and fits)


@wrong("is_consistent", "one True or False must come back")
def a_verdict_for_each_bin(log_prob, sample, low, high):
    mass = masses(log_prob, low, high)
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    return (counts - 20_000 * mass).abs() <= 5 * (20_000 * mass).sqrt() + 5
