"""Chapter 03: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from autograde.authoring import right, wrong

# ---------------------------------------------------------------- draw_normal


def standard(mean, generator, shape=None):
    return torch.randn(
        mean.shape if shape is None else shape, generator=generator, dtype=mean.dtype
    )


@right("draw_normal")
def in_place_noise(mean, log_var, generator=None):
    eps = torch.empty_like(mean).normal_(generator=generator)
    return torch.addcmul(mean, torch.exp(log_var / 2), eps)


@right("draw_normal")
def root_of_the_variance(mean, log_var, generator=None):
    noise = torch.zeros(mean.shape, dtype=mean.dtype)
    noise = torch.normal(noise, torch.ones_like(noise), generator=generator)
    return log_var.exp().sqrt() * noise + mean


@right("draw_normal")
def box_muller(mean, log_var, generator=None):
    u, v = torch.rand((2, *mean.shape), generator=generator, dtype=torch.float64)
    eps = (-2 * torch.log1p(-u)).sqrt() * torch.cos(2 * torch.pi * v)
    return mean + (0.5 * log_var).exp() * eps.to(mean.dtype)


@right("draw_normal")
def entry_by_entry(mean, log_var, generator=None):
    noise = torch.randn(mean.numel(), generator=generator, dtype=torch.float64)
    noise = torch.from_numpy(noise.numpy().copy()).reshape(mean.shape)
    wide = mean.double() + torch.exp(log_var.double()) ** 0.5 * noise
    return wide.to(mean.dtype)


@wrong("draw_normal", "log_var.exp() is the variance; std = exp(log_var / 2)")
def variance_for_std(mean, log_var, generator=None):
    return mean + log_var.exp() * standard(mean, generator)


@wrong("draw_normal", "log_var is a logarithm; std = exp(log_var / 2)")
def log_var_for_std(mean, log_var, generator=None):
    return mean + log_var * standard(mean, generator)


@wrong("draw_normal", "half of the variance is not its root; std = exp(log_var / 2)")
def half_the_variance(mean, log_var, generator=None):
    return mean + 0.5 * log_var.exp() * standard(mean, generator)


@wrong("draw_normal", "the variance went through the root twice: std = exp(log_var / 2)")
def root_twice(mean, log_var, generator=None):
    return mean + (log_var / 2).exp().sqrt() * standard(mean, generator)


@wrong(
    "draw_normal",
    "the draw is cut off from its parameters: sample(), torch.normal or a detach; use mean + std * eps",
)
def torch_normal(mean, log_var, generator=None):
    return torch.normal(mean, (log_var / 2).exp(), generator=generator)


@wrong(
    "draw_normal", "the width is cut off from log_var: no detach, and no torch.no_grad, around it"
)
def width_detached(mean, log_var, generator=None):
    return mean + (log_var / 2).exp().detach() * standard(mean, generator)


@wrong("draw_normal", "take all noise from `generator`: randn_like and rsample cannot")
def noise_from_elsewhere(mean, log_var, generator=None):
    return mean + (log_var / 2).exp() * torch.randn_like(mean)


@wrong("draw_normal", "one eps for the whole batch: each entry needs noise of its own")
def one_eps_for_the_batch(mean, log_var, generator=None):
    eps = standard(mean, generator, mean.shape[1:])
    return mean + (log_var / 2).exp() * eps


@wrong("draw_normal", "one eps for all dimensions: each entry needs noise of its own")
def one_eps_for_all_dimensions(mean, log_var, generator=None):
    eps = standard(mean, generator, mean.shape[:1])
    return mean + (log_var / 2).exp() * eps.reshape(-1, *[1] * (mean.ndim - 1))


@wrong("draw_normal", "a seed is fixed inside: two generators give the same draws")
def seed_fixed_inside(mean, log_var, generator=None):
    return mean + (log_var / 2).exp() * standard(mean, torch.Generator().manual_seed(42))


@wrong(
    "draw_normal",
    "the noise must be standard normal: this is uniform noise, though with variance 1",
)
def uniform_noise(mean, log_var, generator=None):
    eps = (torch.rand(mean.shape, generator=generator, dtype=mean.dtype) - 0.5) * 12**0.5
    return mean + (log_var / 2).exp() * eps


@wrong(
    "draw_normal", "torch.rand is uniform on [0, 1); the noise must be standard normal: torch.randn"
)
def rand_for_randn(mean, log_var, generator=None):
    eps = torch.rand(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + (log_var / 2).exp() * eps


# ---------------------------------------------------------------- gaussian_scores


@right("gaussian_scores")
def by_the_noise(z, mean, log_var):
    std = (log_var / 2).exp()
    eps = (z - mean) / std
    return eps / std, (eps**2 - 1) / 2


@right("gaussian_scores")
def asked_of_autograd(z, mean, log_var):
    a, b = (v.detach().clone().requires_grad_() for v in (mean, log_var))
    log_p = -((z - a) ** 2) / (2 * b.exp()) - b / 2
    return torch.autograd.grad(log_p.sum(), (a, b))


@right("gaussian_scores")
def the_scale_from_the_mean(z, mean, log_var):
    first = (z - mean) / log_var.exp()
    return first, 0.5 * (first * (z - mean) - 1)


@wrong(
    "gaussian_scores", "the second is the derivative in log sigma; half of it is that in log_var"
)
def in_log_sigma(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return away / var, away**2 / var - 1


@wrong("gaussian_scores", "the second is the derivative in sigma; log_var is asked")
def in_sigma(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return away / var, (away**2 / var - 1) / var.sqrt()


@wrong(
    "gaussian_scores",
    "the second is the derivative in the variance; times the variance it is that in log_var",
)
def in_the_variance(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return away / var, (away**2 / var - 1) / (2 * var)


@wrong(
    "gaussian_scores",
    "the -1/2 is missing in the second: the normalising term -log_var / 2 has a slope too",
)
def without_the_constant(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return away / var, away**2 / var / 2


@wrong("gaussian_scores", "both signs are reversed: z - mean, and far out the scale should grow")
def both_signs(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return -away / var, (1 - away**2 / var) / 2


@wrong(
    "gaussian_scores",
    "the sign of the first is reversed: a larger mean makes a z above it likelier",
)
def sign_of_the_mean(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return -away / var, (away**2 / var - 1) / 2


@wrong("gaussian_scores", "the sign of the second is reversed: far out the scale should grow")
def sign_of_the_scale(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return away / var, (1 - away**2 / var) / 2


@wrong("gaussian_scores", "the first is divided by sigma, not by its square")
def std_for_variance(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return away / var.sqrt(), (away**2 / var - 1) / 2


@wrong("gaussian_scores", "the first is not divided by the variance")
def mean_not_scaled(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return away, (away**2 / var - 1) / 2


@wrong("gaussian_scores", "the two are exchanged: the mean comes first")
def exchanged_scores(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return (away**2 / var - 1) / 2, away / var


@wrong("gaussian_scores", "the distance is not squared in the second")
def not_squared(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return away / var, (away.abs() / var - 1) / 2


@wrong("gaussian_scores", "log_var is taken for the variance")
def log_var_for_variance(z, mean, log_var):
    away = z - mean
    return away / log_var, (away**2 / log_var - 1) / 2


@wrong("gaussian_scores", "sums came back; give one number for each entry")
def summed_scores(z, mean, log_var):
    var, away = log_var.exp(), z - mean
    return (away / var).sum(), ((away**2 / var - 1) / 2).sum()


# ---------------------------------------------------------------- reinforce


@right("reinforce")
def dice_style(log_prob, value, baseline=0.0):
    joint = log_prob.sum(-1)
    constant = value.detach() - (baseline.detach() if torch.is_tensor(baseline) else baseline)
    return value + constant * torch.exp(joint - joint.detach())


@right("reinforce")
def with_einsum(log_prob, value, baseline=0.0):
    with torch.no_grad():
        weight = value - baseline
    return torch.einsum("n,nd->n", weight, log_prob) + value


@right("reinforce")
def centred_log_prob(log_prob, value, baseline=0.0):
    change = (log_prob - log_prob.detach()).sum(dim=1)
    return value + (value - baseline).detach().mul(change)


@right("reinforce")
def sample_by_sample(log_prob, value, baseline=0.0):
    b = torch.as_tensor(baseline, dtype=value.dtype).detach().expand(len(value))
    out = []
    for row, f, own in zip(log_prob, value, b):
        out.append(f + (f.item() - own.item()) * sum(row))
    return torch.stack(out)


@wrong(
    "reinforce",
    "the sign of the log-probability is reversed: what is dear must become less likely",
)
def sign_reversed(log_prob, value, baseline=0.0):
    return value - (value - baseline).detach() * log_prob.sum(1)


@wrong("reinforce", "the baseline is ignored")
def no_baseline(log_prob, value, baseline=0.0):
    return value + value.detach() * log_prob.sum(1)


@wrong("reinforce", "the baseline is added; subtract it")
def baseline_added(log_prob, value, baseline=0.0):
    return value + (value + baseline).detach() * log_prob.sum(1)


@wrong("reinforce", "the mean of the values was subtracted; the baseline comes from outside")
def mean_for_baseline(log_prob, value, baseline=0.0):
    return value + (value - value.mean()).detach() * log_prob.sum(1)


@wrong(
    "reinforce",
    "the log-probabilities of the parts are averaged; those of independent parts add up",
)
def mean_over_parts(log_prob, value, baseline=0.0):
    return value + (value - baseline).detach() * log_prob.mean(1)


@wrong(
    "reinforce",
    "the log-probabilities of all samples are added up: each weight meets that of its own sample, sum(1)",
)
def sum_over_everything(log_prob, value, baseline=0.0):
    return value + (value - baseline).detach() * log_prob.sum()


@wrong("reinforce", "the gradient of f itself is missing: value is detached everywhere")
def cost_detached(log_prob, value, baseline=0.0):
    return (value - baseline).detach() * log_prob.sum(1)


@wrong("reinforce", "the weight is not detached: the gradient of f comes out multiplied by log p")
def weight_attached(log_prob, value, baseline=0.0):
    return (value - baseline) * log_prob.sum(1)


@wrong(
    "reinforce", "the weight is not detached: the gradient of f comes out multiplied by 1 + log p"
)
def weight_attached_and_value(log_prob, value, baseline=0.0):
    return value + (value - baseline) * log_prob.sum(1)


@wrong("reinforce", "log p is detached too: only the gradient of f is left")
def everything_detached(log_prob, value, baseline=0.0):
    return value + ((value - baseline) * log_prob.sum(1)).detach()


@wrong("reinforce", "this is the gradient of p; that of log p is asked")
def probability_for_log(log_prob, value, baseline=0.0):
    return value + (value - baseline).detach() * log_prob.sum(1).exp()


@wrong("reinforce", "one surrogate for each sample")
def one_number(log_prob, value, baseline=0.0):
    return (value + (value - baseline).detach() * log_prob.sum(1)).mean()


@wrong("reinforce", "a gradient flows into the baseline; it must be 0: detach it as well")
def baseline_attached(log_prob, value, baseline=0.0):
    return value + (value.detach() - baseline) * log_prob.sum(1)


# ---------------------------------------------------------------- leave_one_out


@right("leave_one_out")
def with_a_loop(value):
    k = value.shape[0]
    return torch.stack([torch.cat([value[:i], value[i + 1 :]]).mean(0) for i in range(k)])


@right("leave_one_out")
def with_a_matrix(value):
    k = len(value)
    return (1 - torch.eye(k, dtype=value.dtype)) @ value / (k - 1)


@right("leave_one_out")
def from_the_mean(value):
    k = value.shape[0]
    return (k * value.mean(dim=0, keepdim=True) - value) / (k - 1)


@right("leave_one_out")
def in_numpy(value):
    v = value.detach().numpy()
    out = np.empty_like(v)
    for i in range(len(v)):
        out[i] = np.delete(v, i, axis=0).mean(0)
    return torch.from_numpy(out)


@wrong(
    "leave_one_out",
    "this is the mean of all k samples, the own one included: that biases the gradient by 1 - 1/k",
)
def mean_of_all(value):
    return value.mean(0, keepdim=True).expand_as(value)


@wrong(
    "leave_one_out",
    "the own value is left out of the sum but not of the count: divide by k - 1",
)
def wrong_count(value):
    return (value.sum(0) - value) / len(value)


@wrong("leave_one_out", "this is the sum of the others; divide by k - 1")
def sum_of_others(value):
    return value.sum(0) - value


@wrong("leave_one_out", "only the own value is divided: brackets around the difference")
def brackets_forgotten(value):
    return value.sum(0) - value / (len(value) - 1)


@wrong(
    "leave_one_out",
    "this compares different inputs: average over dimension 0, the samples of the same input",
)
def across_inputs(value):
    return (value.sum(1, keepdim=True) - value) / (value.shape[1] - 1)


@wrong("leave_one_out", "all inputs are mixed: one baseline for each input, over dimension 0")
def over_everything(value):
    return (value.sum() - value) / (value.numel() - 1)


@wrong("leave_one_out", "this is value - baseline; return the baseline alone")
def already_subtracted(value):
    return value - (value.sum(0) - value) / (len(value) - 1)


@wrong("leave_one_out", "the own value is counted twice: subtract it, do not add it")
def added_instead(value):
    return (value.sum(0) + value) / (len(value) - 1)


@wrong("leave_one_out", "3 is k - 1 for four samples only: count the rows of value")
def count_of_four_samples(value):
    return (value.sum(0) - value) / 3


# ---------------------------------------------------------------- gumbel_max


@right("gumbel_max")
def exponential_race(logits, u):
    clocks = -torch.log(u) / torch.softmax(logits, -1)
    return clocks.argmin(-1)


@right("gumbel_max")
def in_two_steps(logits, u):
    e = torch.log(u).neg()
    g = e.log().neg()
    return torch.max(logits + g, dim=-1).indices


@right("gumbel_max")
def normalised_first(logits, u):
    noisy = torch.log_softmax(logits, dim=-1) - (-u.log()).log()
    return torch.sort(noisy, dim=-1, descending=True).indices[..., 0]


@right("gumbel_max")
def one_at_a_time(logits, u):
    rows, noise = logits.reshape(-1, logits.shape[-1]).tolist(), u.reshape(-1, u.shape[-1]).tolist()
    found = []
    for row, places in zip(rows, noise):
        heights = [a - math.log(-math.log(p)) for a, p in zip(row, places)]
        found.append(max(range(len(row)), key=heights.__getitem__))
    return torch.tensor(found).reshape(logits.shape[:-1])


@wrong("gumbel_max", "the noise has the wrong sign: g = -log(-log u)")
def sign_of_the_noise(logits, u):
    return (logits + torch.log(-torch.log(u))).argmax(-1)


@wrong("gumbel_max", "one log is missing: g = -log(-log u)")
def one_log(logits, u):
    return (logits - torch.log(u)).argmax(-1)


@wrong("gumbel_max", "the noise is log u; g = -log(-log u)")
def log_u(logits, u):
    return (logits + torch.log(u)).argmax(-1)


@wrong("gumbel_max", "u itself is added; it must become Gumbel noise first")
def plain_u(logits, u):
    return (logits + u).argmax(-1)


@wrong("gumbel_max", "probabilities are not logits: add the noise before any softmax")
def on_probabilities(logits, u):
    return (logits.softmax(-1) - torch.log(-torch.log(u))).argmax(-1)


@wrong("gumbel_max", "this gives another draw for the same u: all noise comes in as u")
def draws_by_itself(logits, u):
    shape, v = logits.shape[:-1], logits.shape[-1]
    return torch.multinomial(logits.softmax(-1).reshape(-1, v), 1).reshape(shape)


@wrong("gumbel_max", "this is one-hot; the number of the category is asked")
def one_hot_category(logits, u):
    return F.one_hot((logits - (-u.log()).log()).argmax(-1), logits.shape[-1])


@wrong("gumbel_max", "one category for the whole batch: take the argmax over the last dimension")
def argmax_over_everything(logits, u):
    return (logits - (-u.log()).log()).argmax()


@wrong("gumbel_max", "there is no noise: this is the likeliest category, not a draw")
def likeliest(logits, u):
    return logits.argmax(-1)


@wrong("gumbel_max", "the noise is mirrored: g = -log(-log u), not log(-log(1 - u))")
def mirrored(logits, u):
    return (logits + torch.log(-torch.log(1 - u))).argmax(-1)


@wrong("gumbel_max", "1 - u makes Gumbel noise as well, but another draw; equation (11) takes u")
def of_one_minus_u(logits, u):
    return (logits - torch.log(-torch.log(1 - u))).argmax(-1)


@wrong("gumbel_max", "dimension 1 is the last one of a table only: argmax(-1)")
def dimension_one(logits, u):
    return (logits - torch.log(-torch.log(u))).argmax(1 if logits.ndim > 1 else 0)


@wrong("gumbel_max", "the argmax is taken over the draws; the categories are the last dimension")
def dimension_zero(logits, u):
    return (logits - torch.log(-torch.log(u))).argmax(0)


@wrong("gumbel_max", "exp(logits) overflows or vanishes: stay with the logits, or use softmax")
def overflowing_race(logits, u):
    return (-torch.log(u) / logits.exp()).argmin(-1)


# ---------------------------------------------------------------- gumbel_softmax


@right("gumbel_softmax")
def by_where(logits, tau, u, hard=False):
    tiny = torch.finfo(u.dtype).eps
    u = torch.where(u < tiny, tiny, torch.where(u > 1 - tiny, 1 - tiny, u))
    noisy = (logits - (-u.log()).log()) / tau
    soft = torch.exp(noisy - noisy.logsumexp(-1, keepdim=True))
    if hard:
        best = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
        soft = (best - soft).detach() + soft
    return soft


@right("gumbel_softmax")
def clamped_exponential(logits, tau, u, hard=False):
    small = torch.finfo(u.dtype).tiny
    e = (-torch.log(u.clamp_min(small))).clamp_min(1e-30)
    soft = F.softmax((logits - torch.log(e)) / tau, dim=-1)
    one_hot = (soft == soft.max(-1, keepdim=True).values).to(soft)
    return one_hot.detach() - soft.detach() + soft if hard else soft


@right("gumbel_softmax")
def two_small_numbers(logits, tau, u, hard=False):
    noisy = logits - torch.log(-torch.log(u + 1e-20) + 1e-20)
    soft = F.softmax(noisy / tau, dim=-1)
    if hard:
        corner = torch.eye(logits.shape[-1], dtype=soft.dtype)[soft.max(dim=-1)[1]]
        return corner + soft - soft.detach()
    return soft


def gumbel(u):
    eps = torch.finfo(u.dtype).eps
    return -torch.log(-torch.log(u.clamp(eps, 1 - eps)))


def corner(soft):
    return F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)


def through(soft, hard):
    return corner(soft) + soft - soft.detach() if hard else soft


@wrong("gumbel_softmax", "the logits are multiplied by tau; divide by it")
def multiplied_by_tau(logits, tau, u, hard=False):
    return through(((logits + gumbel(u)) * tau).softmax(-1), hard)


@wrong("gumbel_softmax", "the noise is not divided by tau: (logits + g) / tau")
def noise_outside(logits, tau, u, hard=False):
    return through((logits / tau + gumbel(u)).softmax(-1), hard)


@wrong("gumbel_softmax", "the logits are not divided by tau: (logits + g) / tau")
def logits_outside(logits, tau, u, hard=False):
    return through((logits + gumbel(u) / tau).softmax(-1), hard)


@wrong("gumbel_softmax", "tau is left out")
def no_temperature(logits, tau, u, hard=False):
    return through((logits + gumbel(u)).softmax(-1), hard)


@wrong("gumbel_softmax", "the noise has the wrong sign: g = -log(-log u)")
def minus_gumbel(logits, tau, u, hard=False):
    return through(((logits - gumbel(u)) / tau).softmax(-1), hard)


@wrong("gumbel_softmax", "one log is missing: g = -log(-log u)")
def exponential_noise(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    return through(((logits - torch.log(u.clamp(eps, 1 - eps))) / tau).softmax(-1), hard)


@wrong("gumbel_softmax", "probabilities are not logits: no softmax before the noise")
def probabilities_as_logits(logits, tau, u, hard=False):
    return through(((logits.softmax(-1) + gumbel(u)) / tau).softmax(-1), hard)


@wrong("gumbel_softmax", "there is no noise")
def no_noise(logits, tau, u, hard=False):
    return through((logits / tau).softmax(-1), hard)


@wrong("gumbel_softmax", "the noise is given, in u: F.gumbel_softmax and rand_like make their own")
def noise_of_its_own(logits, tau, u, hard=False):
    return F.gumbel_softmax(logits, tau=tau, hard=hard)


@wrong(
    "gumbel_softmax",
    "no gradient comes through: the argmax cuts the graph; add soft - soft.detach()",
)
def hard_without_gradient(logits, tau, u, hard=False):
    soft = ((logits + gumbel(u)) / tau).softmax(-1)
    return corner(soft) if hard else soft


@wrong("gumbel_softmax", "this is the hard corner; without hard=True return the soft sample")
def always_hard(logits, tau, u, hard=False):
    return through(((logits + gumbel(u)) / tau).softmax(-1), True)


@wrong(
    "gumbel_softmax",
    "the soft sample comes out on the way forward; equation (14) is hard + soft - soft.detach()",
)
def soft_forward(logits, tau, u, hard=False):
    return ((logits + gumbel(u)) / tau).softmax(-1)


@wrong("gumbel_softmax", "soft and hard are added up: subtract soft.detach()")
def hard_plus_soft(logits, tau, u, hard=False):
    soft = ((logits + gumbel(u)) / tau).softmax(-1)
    return corner(soft) + soft if hard else soft


@wrong(
    "gumbel_softmax",
    "the likeliest category is not a draw: take the argmax of the noisy logits",
)
def corner_without_noise(logits, tau, u, hard=False):
    soft = ((logits + gumbel(u)) / tau).softmax(-1)
    return corner(logits) + soft - soft.detach() if hard else soft


@wrong(
    "gumbel_softmax",
    "the softmax is taken over the wrong dimension; the categories are the last",
)
def over_the_batch(logits, tau, u, hard=False):
    return through(((logits + gumbel(u)) / tau).softmax(0), hard)


@wrong(
    "gumbel_softmax",
    "the gradient is that of softmax(logits); that of the noisy soft sample is asked",
)
def slope_of_the_probabilities(logits, tau, u, hard=False):
    soft, p = ((logits + gumbel(u)) / tau).softmax(-1), logits.softmax(-1)
    return corner(soft) + p - p.detach() if hard else soft


@wrong(
    "gumbel_softmax",
    "the gradient is that of softmax(logits / tau); that of the noisy soft sample is asked",
)
def slope_without_noise(logits, tau, u, hard=False):
    soft, p = ((logits + gumbel(u)) / tau).softmax(-1), (logits / tau).softmax(-1)
    return corner(soft) + p - p.detach() if hard else soft


@wrong(
    "gumbel_softmax",
    "the gradient of the logits themselves comes through; equation (14) has soft - soft.detach()",
)
def slope_of_the_logits(logits, tau, u, hard=False):
    soft = ((logits + gumbel(u)) / tau).softmax(-1)
    return corner(soft) + logits - logits.detach() if hard else soft


@wrong("gumbel_softmax", "log(0) is infinite: clamp u away from both ends")
def not_clamped(logits, tau, u, hard=False):
    g = -torch.log(-torch.log(u))
    return through(((logits + g) / tau).softmax(-1), hard)


@wrong("gumbel_softmax", "u is clamped too far: rare draws are lost; the dtype's eps is enough")
def clamped_too_far(logits, tau, u, hard=False):
    g = -torch.log(-torch.log(u.clamp(1e-3, 1 - 1e-3)))
    return through(((logits + g) / tau).softmax(-1), hard)


# ---------------------------------------------------------------- is_unbiased


@right("is_unbiased")
def coordinate_by_coordinate(draws, truth):
    n = draws.shape[0]
    for column, want in zip(draws.T, truth):
        error = (column.var(unbiased=False) / n).sqrt()
        if abs(column.mean() - want) > 4.5 * error + 1e-8:
            return False
    return True


@right("is_unbiased")
def by_z_scores(draws, truth):
    deviation = draws - truth
    error = deviation.std(dim=0) / draws.size(0) ** 0.5
    z = deviation.mean(0) / (error + 1e-10)
    return z.abs().max() < 4.5


def off(draws, truth):
    return draws.mean(0) - truth


def se(draws):
    return draws.std(0) / len(draws) ** 0.5


@wrong("is_unbiased", "a fixed tolerance: it must grow with the noise of the estimates")
def fixed_tolerance(draws, truth):
    return bool((off(draws, truth).abs() < 0.1).all())


@wrong("is_unbiased", "the standard deviation of one estimate is not divided by sqrt(n)")
def deviation_for_error(draws, truth):
    return bool((off(draws, truth).abs() <= 4.5 * draws.std(0) + 1e-9).all())


@wrong("is_unbiased", "a bias may be negative: compare absolute values")
def one_sided(draws, truth):
    return bool((off(draws, truth) <= 4.5 * se(draws) + 1e-9).all())


@wrong("is_unbiased", "one good coordinate is not enough: every coordinate must pass")
def any_coordinate(draws, truth):
    return bool((off(draws, truth).abs() <= 4.5 * se(draws) + 1e-9).any())


@wrong("is_unbiased", "the deviations are added up and cancel: look at each coordinate alone")
def deviations_added(draws, truth):
    return bool(off(draws, truth).sum().abs() <= 4.5 * se(draws.sum(1)) + 1e-9)


@wrong("is_unbiased", "the limit is 4.5 standard errors; yours is tighter")
def one_sigma(draws, truth):
    return bool((off(draws, truth).abs() <= 2.7 * se(draws) + 1e-9).all())


@wrong("is_unbiased", "the limit is 4.5 standard errors; yours is wider")
def ten_sigma(draws, truth):
    return bool((off(draws, truth).abs() <= 6.5 * se(draws) + 1e-9).all())


@wrong(
    "is_unbiased",
    "an estimator that is exact at every draw must pass: never divide by a standard error of 0, and allow 1e-9 for rounding",
)
def divides_by_zero(draws, truth):
    return bool(((off(draws, truth) / se(draws)).abs() <= 4.5).all())


@wrong(
    "is_unbiased", "no spread is no proof: with a standard error of 0 the mean must be the truth"
)
def nothing_to_see(draws, truth):
    z = (off(draws, truth) / se(draws)).abs()
    return bool((z[se(draws) > 1e-12] <= 4.5).all())


@wrong("is_unbiased", "one True or False must come back")
def p_value(draws, truth):
    return (off(draws, truth).abs() / se(draws)).max().item()
