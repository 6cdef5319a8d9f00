"""Right answers in another style and wrong ones that people really give, for each exercise of chapter 00."""

import math

import torch
import torch.nn.functional as F

from autograde.authoring.variants import alternative, mutant
from genmodels import metrics

# ---------------------------------------------------------------- fit_gaussian


@alternative("fit_gaussian")
def torch_std(x):
    return x.mean(dim=0), x.std(dim=0, correction=0)


@alternative("fit_gaussian")
def column_by_column(x):
    means, stds = [], []
    for column in x.T:
        m = sum(column) / len(column)
        means.append(m)
        stds.append((sum((v - m) ** 2 for v in column) / len(column)) ** 0.5)
    return torch.stack(means), torch.stack(stds)


@mutant("fit_gaussian", says="divided by n - 1")
def sample_variance(x):
    return x.mean(0), x.std(0)


@mutant("fit_gaussian", says="this is the variance")
def variance(x):
    return x.mean(0), x.var(0, correction=0)


@mutant("fit_gaussian", says="the mean runs over the coordinates")
def wrong_axis(x):
    return x.mean(1), x.std(1, correction=0)


@mutant("fit_gaussian", says="one mean for all coordinates together")
def one_mean(x):
    return x.mean(), x.std(0, correction=0)


@mutant("fit_gaussian", says="the distance is measured from 0")
def around_zero(x):
    return x.mean(0), x.square().mean(0).sqrt()


@mutant("fit_gaussian", says="this is the log of the standard deviation")
def log_std(x):
    return x.mean(0), x.std(0, correction=0).log()


@mutant("fit_gaussian", says="return (mean, std) in this order")
def exchanged(x):
    return x.std(0, correction=0), x.mean(0)


@mutant("fit_gaussian", says="this is the mean absolute distance")
def absolute(x):
    return x.mean(0), (x - x.mean(0)).abs().mean(0)


@mutant("fit_gaussian", says="one standard deviation for all coordinates together")
def one_std(x):
    return x.mean(0), x.std(correction=0)


@mutant("fit_gaussian", says="loses every digit far from 0")
def difference_of_squares(x):
    return x.mean(0), (x.square().mean(0) - x.mean(0).square()).clamp_min(0).sqrt()


# ---------------------------------------------------------------- mixture_log_prob


@alternative("mixture_log_prob")
def component_by_component(x, log_weights, means, stds):
    rows = []
    for w, m, s in zip(log_weights, means, stds):
        rows.append(w + torch.distributions.Normal(m, s).log_prob(x).sum(-1))
    return torch.stack(rows).logsumexp(0)


@alternative("mixture_log_prob")
def own_logsumexp(x, log_weights, means, stds):
    d = x.shape[1]
    inner = -(((x.unsqueeze(1) - means) ** 2) / (2 * stds**2)).sum(2)
    a = log_weights + inner - stds.log().sum(1) - d / 2 * math.log(2 * math.pi)
    top = a.max(dim=1, keepdim=True).values
    return top[:, 0] + (a - top).exp().sum(1).log()


@alternative("mixture_log_prob")
def running(x, log_weights, means, stds):
    total = torch.full((len(x),), -math.inf, dtype=x.dtype)
    for j in range(len(means)):
        a = torch.zeros_like(total) + log_weights[j]
        for i in range(x.shape[1]):
            z = (x[:, i] - means[j, i]) / stds[j, i]
            a = a - 0.5 * z * z - math.log(stds[j, i]) - 0.5 * math.log(2 * math.pi)
        total = torch.logaddexp(total, a)
    return total


@mutant("mixture_log_prob", says="stay on the log scale with torch.logsumexp")
def log_of_sum(x, log_weights, means, stds):
    density = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1).exp()
    return (log_weights.exp() * density).sum(1).log()


@mutant("mixture_log_prob", says="counts once for each coordinate")
def constant_once(x, log_weights, means, stds):
    z = (x[:, None] - means) / stds
    inner = -(z**2).sum(-1) / 2 - stds.log().sum(-1) - 0.5 * math.log(2 * math.pi)
    return (log_weights + inner).logsumexp(1)


@mutant("mixture_log_prob", says="the constant log(2 pi)/2 is missing")
def no_constant(x, log_weights, means, stds):
    z = (x[:, None] - means) / stds
    return (log_weights - (z**2).sum(-1) / 2 - stds.log().sum(-1)).logsumexp(1)


@mutant("mixture_log_prob", says="the coordinates are averaged")
def mean_over_coordinates(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).mean(-1)
    return (log_weights + inner).logsumexp(1)


@mutant("mixture_log_prob", says="the weights are missing")
def no_weights(x, log_weights, means, stds):
    return torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1).logsumexp(1)


@mutant("mixture_log_prob", says="they are added, not multiplied")
def weights_times_logs(x, log_weights, means, stds):
    normal = torch.distributions.Normal(means, stds).log_prob(x[:, None])
    return (log_weights * normal.sum(-1)).logsumexp(1)


@mutant("mixture_log_prob", says="summed too late")
def components_mixed_for_each_coordinate(x, log_weights, means, stds):
    normal = torch.distributions.Normal(means, stds).log_prob(x[:, None])
    return (log_weights[:, None] + normal).logsumexp(1).sum(-1)


@mutant("mixture_log_prob", says="a standard deviation was used as a variance")
def std_for_variance(x, log_weights, means, stds):
    inner = -((x[:, None] - means) ** 2) / stds / 2 - stds.log() / 2 - 0.5 * math.log(2 * math.pi)
    return (log_weights + inner.sum(-1)).logsumexp(1)


@mutant("mixture_log_prob", says="the 1/2 of the quadratic is missing")
def no_half(x, log_weights, means, stds):
    z = (x[:, None] - means) / stds
    inner = -(z**2) - stds.log() - 0.5 * math.log(2 * math.pi)
    return (log_weights + inner.sum(-1)).logsumexp(1)


@mutant("mixture_log_prob", says="-log std is missing")
def no_log_std(x, log_weights, means, stds):
    z = (x[:, None] - means) / stds
    return (log_weights + (-(z**2) / 2 - 0.5 * math.log(2 * math.pi)).sum(-1)).logsumexp(1)


@mutant("mixture_log_prob", says="this is a sum of logs")
def sum_of_logs(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights + inner).sum(1)


@mutant("mixture_log_prob", says="the average of the components' logs")
def average_of_logs(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights.exp() * inner).sum(1)


@mutant("mixture_log_prob", says="the logsumexp runs over the points")
def over_the_points(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights + inner).logsumexp(0)


@mutant("mixture_log_prob", says="only the likeliest component counts")
def likeliest(x, log_weights, means, stds):
    inner = torch.distributions.Normal(means, stds).log_prob(x[:, None]).sum(-1)
    return (log_weights + inner).amax(1)


# ---------------------------------------------------------------- kl


@alternative("kl")
def entropy_and_cross_entropy(log_p, log_q):
    p = log_p.exp()
    cross = torch.where(p > 0, -p * log_q, torch.zeros_like(p)).sum(-1)
    own = torch.where(p > 0, -p * log_p, torch.zeros_like(p)).sum(-1)
    return cross - own


@alternative("kl")
def nan_to_num(log_p, log_q):
    safe = log_p.masked_fill(log_p == -math.inf, 0.0)
    terms = log_p.exp() * (safe - log_q)
    return terms.masked_fill(log_p == -math.inf, 0.0).sum(dim=-1)


@mutant("kl", says="this is KL(q || p), the other direction")
def reverse(log_p, log_q):
    return (log_q.exp() * (log_q - log_p)).sum(-1)


@mutant("kl", says="the sign is reversed")
def negative(log_p, log_q):
    return (log_p.exp() * (log_q - log_p)).sum(-1)


@mutant("kl", says="this is the cross-entropy")
def cross_entropy(log_p, log_q):
    return -(log_p.exp() * log_q).sum(-1)


@mutant("kl", says="you averaged over the states")
def mean_over_states(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).mean(-1)


@mutant("kl", says="these are bits")
def in_bits(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).sum(-1) / math.log(2)


@mutant("kl", says="the terms are not weighted by p")
def unweighted(log_p, log_q):
    return (log_p - log_q).sum(-1)


@mutant("kl", says="the absolute value of each term")
def absolute_terms(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).abs().sum(-1)


@mutant("kl", says="one number for the whole batch")
def whole_batch(log_p, log_q):
    return F.kl_div(log_q, log_p, log_target=True, reduction="sum")


@mutant("kl", says="the average over the batch")
def batch_mean(log_p, log_q):
    return F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")


@mutant("kl", says="a difference of the logs, not their ratio")
def ratio_of_logs(log_p, log_q):
    return (log_p.exp() * (log_p / log_q)).sum(-1)


@mutant("kl", says="F.kl_div averages over everything")
def default_of_torch(log_p, log_q):
    return torch.nn.functional.kl_div(log_q, log_p, log_target=True)


@mutant("kl", says="0 log 0 became NaN")
def zero_times_infinity(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).sum(-1)


@mutant("kl", says="a small number was added")
def with_epsilon(log_p, log_q):
    p, q = log_p.exp(), log_q.exp()
    return (p * ((p + 1e-12).log() - (q + 1e-12).log())).sum(-1)


# ---------------------------------------------------------------- jensen_shannon


@alternative("jensen_shannon")
def through_probabilities(log_p, log_q):
    log_m = ((log_p.exp() + log_q.exp()) / 2).log()
    return 0.5 * metrics.kl(log_p, log_m) + 0.5 * metrics.kl(log_q, log_m)


@alternative("jensen_shannon")
def by_entropies(log_p, log_q):
    p, q = log_p.exp(), log_q.exp()
    entropy = lambda r: torch.special.entr(r).sum(-1)
    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


@mutant("jensen_shannon", says="without the half it sums to 2")
def unnormalised_mixture(log_p, log_q):
    log_m = torch.logaddexp(log_p, log_q)
    return (metrics.kl(log_p, log_m) + metrics.kl(log_q, log_m)) / 2


@mutant("jensen_shannon", says="JS is the *mean* of the two KLs")
def sum_of_both(log_p, log_q):
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return metrics.kl(log_p, log_m) + metrics.kl(log_q, log_m)


@mutant("jensen_shannon", says="KL(p || m), not KL(m || p)")
def from_the_mixture(log_p, log_q):
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (metrics.kl(log_m, log_p) + metrics.kl(log_m, log_q)) / 2


@mutant("jensen_shannon", says="measure both to the mixture m")
def jeffreys(log_p, log_q):
    return (metrics.kl(log_p, log_q) + metrics.kl(log_q, log_p)) / 2


@mutant("jensen_shannon", says="this averages the logs")
def geometric_mean(log_p, log_q):
    log_m = (log_p + log_q) / 2
    return (metrics.kl(log_p, log_m) + metrics.kl(log_q, log_m)) / 2


@mutant("jensen_shannon", says="only p is measured")
def one_side(log_p, log_q):
    return metrics.kl(log_p, torch.logaddexp(log_p, log_q) - math.log(2))


@mutant("jensen_shannon", says="half of a log is a root")
def half_of_the_log(log_p, log_q):
    log_m = torch.logaddexp(log_p, log_q) / 2
    return (metrics.kl(log_p, log_m) + metrics.kl(log_q, log_m)) / 2  # noqa: F821


@mutant("jensen_shannon", says="metrics.kl takes logs")
def mixture_without_its_log(log_p, log_q):
    m = (log_p.exp() + log_q.exp()) / 2
    return (metrics.kl(log_p, m) + metrics.kl(log_q, m)) / 2  # noqa: F821


@mutant("jensen_shannon", says="this is the root")
def distance(log_p, log_q):
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return ((metrics.kl(log_p, log_m) + metrics.kl(log_q, log_m)) / 2).sqrt()


@mutant("jensen_shannon", says="so build on it")
def zero_states_forgotten(log_p, log_q):
    p, q = log_p.exp(), log_q.exp()
    log_m = ((p + q) / 2).log()
    return (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1) / 2


# ---------------------------------------------------------------- bits_per_dim


@alternative("bits_per_dim")
def with_n(log_prob, dims, levels=1):
    bits = [-v / math.log(2) / dims + math.log2(levels) for v in log_prob.tolist()]
    mean = sum(bits) / len(bits)
    variance = sum((b - mean) ** 2 for b in bits) / len(bits)
    return mean, (variance / len(bits)) ** 0.5


@alternative("bits_per_dim")
def scale_at_the_end(log_prob, dims, levels=1):
    scale = 1 / (dims * math.log(2))
    value = math.log(levels, 2) - scale * log_prob.mean()
    return float(value), float(scale * log_prob.std() * len(log_prob) ** -0.5)


@mutant("bits_per_dim", says="these are nats")
def nats_as_bits(log_prob, dims, levels=1):
    b = -log_prob / dims + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@mutant("bits_per_dim", says="this is for the whole picture")
def whole_picture(log_prob, dims, levels=1):
    b = -log_prob / math.log(2) + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@mutant("bits_per_dim", says="divided by the number of pictures once too often")
def by_the_batch(log_prob, dims, levels=1):
    b = -log_prob / (len(log_prob) * dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@mutant("bits_per_dim", says="the sign: fewer bits are better")
def wrong_sign(log_prob, dims, levels=1):
    b = log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@mutant("bits_per_dim", says="the standard deviation of one picture")
def spread_for_error(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.std().item()


@mutant("bits_per_dim", says="the error of a mean falls with sqrt(n)")
def error_over_n(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log2(levels)
    return b.mean().item(), b.std().item() / len(b)


@mutant("bits_per_dim", says="a number without its error is not a measurement")
def no_error(log_prob, dims, levels=1):
    return (-log_prob / (dims * math.log(2)) + math.log2(levels)).mean().item()


@mutant("bits_per_dim", says="the error is in nats for a picture")
def error_in_nats(log_prob, dims, levels=1):
    value = -log_prob.mean().item() / (dims * math.log(2)) + math.log2(levels)
    return value, log_prob.std().item() / math.sqrt(len(log_prob))


@mutant("bits_per_dim", says="log2(levels) must be added, not subtracted")
def levels_subtracted(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) - math.log2(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@mutant("bits_per_dim", says="it is for each dimension")
def levels_once_a_picture(log_prob, dims, levels=1):
    b = (-log_prob / math.log(2) + math.log2(levels)) / dims
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


@mutant("bits_per_dim", says="here it is log2(levels)")
def levels_in_nats(log_prob, dims, levels=1):
    b = -log_prob / (dims * math.log(2)) + math.log(levels)
    return b.mean().item(), b.std().item() / math.sqrt(len(b))


# ---------------------------------------------------------------- inverse_cdf


@alternative("inverse_cdf")
def one_at_a_time(u, edges, mass):
    out = []
    for v in u.tolist():
        below = 0.0
        for j, m in enumerate(mass.tolist()):
            if v < below + m or j == len(mass) - 1:
                break
            below += m
        left, right = edges[j].item(), edges[j + 1].item()
        out.append(left + (v - below) / m * (right - left))
    return torch.tensor(out, dtype=edges.dtype)


@alternative("inverse_cdf")
def numpy_interp(u, edges, mass):
    import numpy as np

    heights = np.concatenate([[0.0], np.cumsum(mass.numpy())])
    return torch.from_numpy(np.interp(u.numpy(), heights, edges.numpy()))


@alternative("inverse_cdf")
def by_comparison(u, edges, mass):
    top = mass.cumsum(0)
    j = (u[:, None] >= top[None, :]).sum(1).clamp(max=len(mass) - 1)
    share = (u - (top - mass)[j]) / mass[j]
    return torch.lerp(edges[:-1][j], edges[1:][j], share)


@mutant("inverse_cdf", says="every sample lies on an edge")
def left_edge(u, edges, mass):
    j = torch.searchsorted(mass.cumsum(0), u, right=True).clamp(max=len(mass) - 1)
    return edges[j]


@mutant("inverse_cdf", says="every sample lies in the middle of its cell")
def centre(u, edges, mass):
    j = torch.searchsorted(mass.cumsum(0), u, right=True).clamp(max=len(mass) - 1)
    return (edges[j] + edges[j + 1]) / 2


@mutant("inverse_cdf", says="the chain of heights begins with 0")
def without_leading_zero(u, edges, mass):
    F = mass.cumsum(0)
    j = torch.searchsorted(F, u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (u - F[j]) / mass[j] * (edges[j + 1] - edges[j])


@mutant("inverse_cdf", says="one cell too far")
def one_cell_too_far(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F, u, right=True)
    share = (u - F[j - 1]) / mass[j - 1]
    j = j.clamp(max=len(mass) - 1)
    return edges[j] + share * (edges[j + 1] - edges[j])


@mutant("inverse_cdf", says="all randomness is in u")
def draws_by_itself(u, edges, mass):
    j = torch.multinomial(mass, len(u), replacement=True)
    return edges[j] + torch.rand(len(u)) * (edges[j + 1] - edges[j])


@mutant("inverse_cdf", says="multiplied by the mass of the cell")
def times_the_mass(u, edges, mass):
    heights = torch.cat([mass.new_zeros(1), mass.cumsum(0)])
    j = torch.searchsorted(heights[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (u - heights[j]) * mass[j] * (edges[j + 1] - edges[j])


@mutant("inverse_cdf", says="divide it by the mass of the cell")
def share_not_divided(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (u - F[j]) * (edges[j + 1] - edges[j])


@mutant("inverse_cdf", says="the likeliest cell for every u")
def maximise(u, edges, mass):
    return edges[mass.argmax()].expand(len(u))


@mutant("inverse_cdf", says="decreasing in u")
def upside_down(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    v = 1 - u
    j = torch.searchsorted(F[1:].contiguous(), v, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (v - F[j]) / mass[j] * (edges[j + 1] - edges[j])


@mutant("inverse_cdf", says="the share inside the cell runs backwards")
def backwards(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[j] + (F[j + 1] - u) / mass[j] * (edges[j + 1] - edges[j])


@mutant("inverse_cdf", says="u alone is stretched over the range")
def uniform(u, edges, mass):
    return edges[0] + u * (edges[-1] - edges[0])


@mutant("inverse_cdf", says="this is the CDF, from x to u")
def cdf(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.bucketize(u, edges, right=True).clamp(1, len(mass)) - 1
    return F[j] + mass[j] * (u - edges[j]) / (edges[j + 1] - edges[j])


@mutant("inverse_cdf", says="the cells are taken for equally wide")
def equal_cells(u, edges, mass):
    F = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    j = torch.searchsorted(F[1:].contiguous(), u, right=True).clamp(max=len(mass) - 1)
    return edges[0] + (j + (u - F[j]) / mass[j]) * (edges[-1] - edges[0]) / len(mass)


# ---------------------------------------------------------------- is_consistent


@alternative("is_consistent")
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


@alternative("is_consistent")
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


@mutant("is_consistent", says="the likelier component alone is drawn")
def integral_only(log_prob, sample, low, high):
    step = (high - low) / 5000
    mass = log_prob(low + step * (torch.arange(5000).double() + 0.5)).exp() * step
    return bool(abs(mass.sum() - 1) < 0.01)


@mutant("is_consistent", says="the density, which integrates to 2")
def shape_only(log_prob, sample, low, high):
    step = (high - low) / 5000
    mass = log_prob(low + step * (torch.arange(5000).double() + 0.5)).exp() * step
    mass = mass.reshape(50, 100).sum(1) / mass.sum()
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    return bool(((counts - 20_000 * mass).abs() <= 5 * (20_000 * mass).sqrt() + 5).all())


@mutant("is_consistent", says="the same mean and variance, another distribution")
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


@mutant("is_consistent", says="your test rejects a right model")
def too_strict(log_prob, sample, low, high):
    step = (high - low) / 5000
    mass = (
        (log_prob(low + step * (torch.arange(5000).double() + 0.5)).exp() * step)
        .view(50, 100)
        .sum(1)
    )
    counts = torch.histc(sample(20_000).double(), 50, low, high)
    return bool(abs(mass.sum() - 1) < 0.01 and ((counts / 20_000 - mass).abs() < 1e-4).all())


@mutant("is_consistent", says="your test accepts a broken model")
def always_true(log_prob, sample, low, high):
    return True


@mutant("is_consistent", says="your test rejects a right model: a Gaussian")
def always_false(log_prob, sample, low, high):
    return False


@mutant("is_consistent", says="a quarter of the samples lies outside")
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


@mutant("is_consistent", says="your test accepts a broken model: a density that integrates to 1.05")
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


@mutant("is_consistent", says="two verdicts on one and the same case")
def counts_its_calls(
    log_prob, sample, low, high, answers=[True] * 2 + [False] * 5 + [True] * 4 + [False] * 8
):
    answers.append(answers.pop(0))  # as if the cases came in the order in which they are listed
    return answers[-1]
