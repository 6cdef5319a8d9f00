"""Right answers in another style and wrong ones that people really give, for each exercise of chapter 03."""

import torch
import torch.nn.functional as F

from autograde.authoring.variants import alternative, mutant

# ---------------------------------------------------------------- draw_normal


@alternative("draw_normal")
def in_place_noise(mean, log_var, generator=None):
    eps = torch.empty_like(mean).normal_(generator=generator)
    return torch.addcmul(mean, torch.exp(log_var / 2), eps)


@alternative("draw_normal")
def root_of_the_variance(mean, log_var, generator=None):
    noise = torch.zeros(mean.shape, dtype=mean.dtype)
    noise = torch.normal(noise, torch.ones_like(noise), generator=generator)
    return log_var.exp().sqrt() * noise + mean


@alternative("draw_normal")
def box_muller(mean, log_var, generator=None):
    u, v = torch.rand((2, *mean.shape), generator=generator, dtype=torch.float64)
    eps = (-2 * torch.log1p(-u)).sqrt() * torch.cos(2 * torch.pi * v)
    return mean + (0.5 * log_var).exp() * eps.to(mean.dtype)


@mutant("draw_normal", says="std = exp(log_var / 2)")
def variance_for_std(mean, log_var, generator=None):
    return mean + log_var.exp() * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)


@mutant("draw_normal", says="log_var is a logarithm")
def log_var_for_std(mean, log_var, generator=None):
    return mean + log_var * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)


@mutant("draw_normal", says="cut off from its parameters")
def torch_normal(mean, log_var, generator=None):
    return torch.normal(mean, (log_var / 2).exp(), generator=generator)


@mutant("draw_normal", says="cut off from its parameters")
def detached(mean, log_var, generator=None):
    eps = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return (mean + (log_var / 2).exp() * eps).detach()


@mutant("draw_normal", says="take all noise from `generator`")
def noise_from_elsewhere(mean, log_var, generator=None):
    return mean + (log_var / 2).exp() * torch.randn_like(mean)


@mutant("draw_normal", says="one eps for the whole batch")
def one_eps_for_the_batch(mean, log_var, generator=None):
    eps = torch.randn(mean.shape[1:], generator=generator, dtype=mean.dtype)
    return mean + (log_var / 2).exp() * eps


@mutant("draw_normal", says="one eps for all dimensions")
def one_eps_for_all_dimensions(mean, log_var, generator=None):
    eps = torch.randn(mean.shape[:1], generator=generator, dtype=mean.dtype)
    return mean + (log_var / 2).exp() * eps.reshape(-1, *[1] * (mean.ndim - 1))


@mutant("draw_normal", says="two seeds gave the same draws")
def seed_fixed_inside(mean, log_var, generator=None):
    eps = torch.randn(mean.shape, generator=torch.Generator().manual_seed(42), dtype=mean.dtype)
    return mean + (log_var / 2).exp() * eps


@mutant("draw_normal", says="the noise must be standard normal")
def uniform_noise(mean, log_var, generator=None):
    eps = (torch.rand(mean.shape, generator=generator, dtype=mean.dtype) - 0.5) * 12**0.5
    return mean + (log_var / 2).exp() * eps


# ---------------------------------------------------------------- reinforce


@alternative("reinforce")
def dice_style(log_prob, value, baseline=0.0):
    joint = log_prob.sum(-1)
    constant = value.detach() - (baseline.detach() if torch.is_tensor(baseline) else baseline)
    return value + constant * torch.exp(joint - joint.detach())


@alternative("reinforce")
def with_einsum(log_prob, value, baseline=0.0):
    with torch.no_grad():
        weight = value - baseline
    return torch.einsum("n,nd->n", weight, log_prob) + value


@alternative("reinforce")
def centred_log_prob(log_prob, value, baseline=0.0):
    change = (log_prob - log_prob.detach()).sum(dim=1)
    return value + (value - baseline).detach().mul(change)


@mutant("reinforce", says="the sign of the log-probability is reversed")
def sign_reversed(log_prob, value, baseline=0.0):
    return value - (value - baseline).detach() * log_prob.sum(1)


@mutant("reinforce", says="the baseline is ignored")
def no_baseline(log_prob, value, baseline=0.0):
    return value + value.detach() * log_prob.sum(1)


@mutant("reinforce", says="the baseline is added")
def baseline_added(log_prob, value, baseline=0.0):
    return value + (value + baseline).detach() * log_prob.sum(1)


@mutant("reinforce", says="those of independent parts add up")
def mean_over_parts(log_prob, value, baseline=0.0):
    return value + (value - baseline).detach() * log_prob.mean(1)


@mutant("reinforce", says="the gradient of f itself is missing")
def cost_detached(log_prob, value, baseline=0.0):
    return (value - baseline).detach() * log_prob.sum(1)


@mutant("reinforce", says="the weight is not detached")
def weight_attached(log_prob, value, baseline=0.0):
    return (value - baseline) * log_prob.sum(1)


@mutant("reinforce", says="the weight is not detached")
def weight_attached_and_value(log_prob, value, baseline=0.0):
    return value + (value - baseline) * log_prob.sum(1)


@mutant("reinforce", says="log p is detached too")
def everything_detached(log_prob, value, baseline=0.0):
    return value + ((value - baseline) * log_prob.sum(1)).detach()


@mutant("reinforce", says="this is the gradient of p")
def probability_for_log(log_prob, value, baseline=0.0):
    return value + (value - baseline).detach() * log_prob.sum(1).exp()


@mutant("reinforce", says="has the wrong shape")
def one_number(log_prob, value, baseline=0.0):
    return (value + (value - baseline).detach() * log_prob.sum(1)).mean()


@mutant("reinforce", says="it must be 0: detach it as well")
def baseline_attached(log_prob, value, baseline=0.0):
    return value + (value.detach() - baseline) * log_prob.sum(1)


# ---------------------------------------------------------------- leave_one_out


@alternative("leave_one_out")
def with_a_loop(value):
    k = value.shape[0]
    return torch.stack([torch.cat([value[:i], value[i + 1 :]]).mean(0) for i in range(k)])


@alternative("leave_one_out")
def with_a_matrix(value):
    k = len(value)
    return (1 - torch.eye(k, dtype=value.dtype)) @ value / (k - 1)


@alternative("leave_one_out")
def from_the_mean(value):
    k = value.shape[0]
    return (k * value.mean(dim=0, keepdim=True) - value) / (k - 1)


@mutant("leave_one_out", says="the own one included")
def mean_of_all(value):
    return value.mean(0, keepdim=True).expand_as(value)


@mutant("leave_one_out", says="divide by k - 1")
def wrong_count(value):
    return (value.sum(0) - value) / len(value)


@mutant("leave_one_out", says="the sum of the others")
def sum_of_others(value):
    return value.sum(0) - value


@mutant("leave_one_out", says="brackets around the difference")
def brackets_forgotten(value):
    return value.sum(0) - value / (len(value) - 1)


@mutant("leave_one_out", says="this compares different inputs")
def across_inputs(value):
    return (value.sum(1, keepdim=True) - value) / (value.shape[1] - 1)


@mutant("leave_one_out", says="all inputs are mixed")
def over_everything(value):
    return (value.sum() - value) / (value.numel() - 1)


@mutant("leave_one_out", says="return the baseline alone")
def already_subtracted(value):
    return value - (value.sum(0) - value) / (len(value) - 1)


@mutant("leave_one_out", says="the own value is counted twice")
def added_instead(value):
    return (value.sum(0) + value) / (len(value) - 1)


@mutant("leave_one_out", says="leave_one_out for 2 samples of 5 inputs")
def count_of_the_visible_check(value):
    return (value.sum(0) - value) / 3


# ---------------------------------------------------------------- gumbel_max


@alternative("gumbel_max")
def exponential_race(logits, u):
    clocks = -torch.log(u) / torch.softmax(logits, -1)
    return clocks.argmin(-1)


@alternative("gumbel_max")
def in_two_steps(logits, u):
    e = torch.log(u).neg()
    g = e.log().neg()
    return torch.max(logits + g, dim=-1).indices


@alternative("gumbel_max")
def normalised_first(logits, u):
    noisy = torch.log_softmax(logits, dim=-1) - (-u.log()).log()
    return torch.sort(noisy, dim=-1, descending=True).indices[..., 0]


@mutant("gumbel_max", says="the noise has the wrong sign")
def sign_of_the_noise(logits, u):
    return (logits + torch.log(-torch.log(u))).argmax(-1)


@mutant("gumbel_max", says="one log is missing")
def one_log(logits, u):
    return (logits - torch.log(u)).argmax(-1)


@mutant("gumbel_max", says="the noise is log u")
def log_u(logits, u):
    return (logits + torch.log(u)).argmax(-1)


@mutant("gumbel_max", says="u itself is added")
def plain_u(logits, u):
    return (logits + u).argmax(-1)


@mutant("gumbel_max", says="probabilities are not logits")
def on_probabilities(logits, u):
    return (logits.softmax(-1) - torch.log(-torch.log(u))).argmax(-1)


@mutant("gumbel_max", says="all noise comes in as u")
def draws_by_itself(logits, u):
    shape, v = logits.shape[:-1], logits.shape[-1]
    return torch.multinomial(logits.softmax(-1).reshape(-1, v), 1).reshape(shape)


@mutant("gumbel_max", says="this is one-hot")
def one_hot_category(logits, u):
    return F.one_hot((logits - (-u.log()).log()).argmax(-1), logits.shape[-1])


@mutant("gumbel_max", says="one category for the whole batch")
def argmax_over_everything(logits, u):
    return (logits - (-u.log()).log()).argmax()


@mutant("gumbel_max", says="there is no noise")
def likeliest(logits, u):
    return logits.argmax(-1)


@mutant("gumbel_max", says="the noise is mirrored")
def mirrored(logits, u):
    return (logits + torch.log(-torch.log(1 - u))).argmax(-1)


@mutant("gumbel_max", says="gumbel_max of shape (6, 7, 4)")
def dimension_one(logits, u):
    return (logits - torch.log(-torch.log(u))).argmax(1 if logits.ndim > 1 else 0)


@mutant("gumbel_max", says="gumbel_max of logits near 800")
def overflowing_race(logits, u):
    return (-torch.log(u) / logits.exp()).argmin(-1)


# ---------------------------------------------------------------- gumbel_softmax


@alternative("gumbel_softmax")
def by_where(logits, tau, u, hard=False):
    tiny = torch.finfo(u.dtype).eps
    u = torch.where(u < tiny, tiny, torch.where(u > 1 - tiny, 1 - tiny, u))
    noisy = (logits - (-u.log()).log()) / tau
    soft = torch.exp(noisy - noisy.logsumexp(-1, keepdim=True))
    if hard:
        best = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
        soft = (best - soft).detach() + soft
    return soft


@alternative("gumbel_softmax")
def clamped_exponential(logits, tau, u, hard=False):
    small = torch.finfo(u.dtype).tiny
    e = (-torch.log(u.clamp_min(small))).clamp_min(1e-30)
    soft = F.softmax((logits - torch.log(e)) / tau, dim=-1)
    one_hot = (soft == soft.max(-1, keepdim=True).values).to(soft)
    return one_hot.detach() - soft.detach() + soft if hard else soft


@mutant("gumbel_softmax", says="the logits are multiplied by tau")
def multiplied_by_tau(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    g = -torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = ((logits + g) * tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach() if hard else soft


@mutant("gumbel_softmax", says="the noise is not divided by tau")
def noise_outside(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    g = -torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = (logits / tau + g).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach() if hard else soft


@mutant("gumbel_softmax", says="the noise has the wrong sign")
def minus_gumbel(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    g = torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = ((logits + g) / tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach() if hard else soft


@mutant("gumbel_softmax", says="one log is missing")
def exponential_noise(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    soft = ((logits - torch.log(u.clamp(eps, 1 - eps))) / tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach() if hard else soft


@mutant("gumbel_softmax", says="probabilities are not logits")
def probabilities_as_logits(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    g = -torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = ((logits.softmax(-1) + g) / tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach() if hard else soft


@mutant("gumbel_softmax", says="no gradient comes through")
def hard_without_gradient(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    g = -torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = ((logits + g) / tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype) if hard else soft


@mutant("gumbel_softmax", says="the soft sample comes out on the way forward")
def soft_forward(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    g = -torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = ((logits + g) / tau).softmax(-1)
    corner = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return corner.detach() - corner + soft if hard else soft


@mutant("gumbel_softmax", says="subtract soft.detach()")
def hard_plus_soft(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    g = -torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = ((logits + g) / tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft if hard else soft


@mutant("gumbel_softmax", says="the softmax is taken over the wrong dimension")
def over_the_batch(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    g = -torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = ((logits + g) / tau).softmax(0)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach() if hard else soft


@mutant("gumbel_softmax", says="the gradient is that of softmax(logits)")
def slope_of_the_probabilities(logits, tau, u, hard=False):
    eps = torch.finfo(u.dtype).eps
    g = -torch.log(-torch.log(u.clamp(eps, 1 - eps)))
    soft = ((logits + g) / tau).softmax(-1)
    p = logits.softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + p - p.detach() if hard else soft


@mutant("gumbel_softmax", says="clamp u away from both ends")
def not_clamped(logits, tau, u, hard=False):
    g = -torch.log(-torch.log(u))
    soft = ((logits + g) / tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach() if hard else soft


@mutant("gumbel_softmax", says="a clamp may not reach so far")
def clamped_too_far(logits, tau, u, hard=False):
    g = -torch.log(-torch.log(u.clamp(1e-3, 1 - 1e-3)))
    soft = ((logits + g) / tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach() if hard else soft


# ---------------------------------------------------------------- soft_f1


@alternative("soft_f1")
def short_form(probs, labels):
    return 2 * torch.dot(probs, labels) / (probs.sum() + labels.sum())


@alternative("soft_f1")
def harmonic_mean(probs, labels):
    hit = (probs * labels).sum()
    miss = ((1 - probs) * labels).sum()
    false = (probs * (1 - labels)).sum()
    return hit / (hit + 0.5 * (miss + false))


@mutant("soft_f1", says="keep the probabilities")
def rounded(probs, labels):
    hard = (probs > 0.5).to(probs.dtype)
    return 2 * (hard * labels).sum() / (hard.sum() + labels.sum())


@mutant("soft_f1", says="this is the precision")
def precision(probs, labels):
    return (probs * labels).sum() / probs.sum()


@mutant("soft_f1", says="these are true negatives")
def true_negatives_for_false(probs, labels):
    tp, fp = (probs * labels).sum(), (probs * (1 - labels)).sum()
    return 2 * tp / (2 * tp + fp + ((1 - probs) * (1 - labels)).sum())


@mutant("soft_f1", says="this is the recall")
def recall(probs, labels):
    return (probs * labels).sum() / labels.sum()


@mutant("soft_f1", says="this is the smooth accuracy")
def accuracy(probs, labels):
    return (probs * labels + (1 - probs) * (1 - labels)).mean()


@mutant("soft_f1", says="TP counts twice")
def jaccard(probs, labels):
    hit = (probs * labels).sum()
    return hit / (probs.sum() + labels.sum() - hit)


@mutant("soft_f1", says="the factor 2 is missing above")
def factor_missing(probs, labels):
    return (probs * labels).sum() / (probs.sum() + labels.sum())


@mutant("soft_f1", says="this is 1 - F1")
def as_a_loss(probs, labels):
    return 1 - 2 * (probs * labels).sum() / (probs.sum() + labels.sum())


@mutant("soft_f1", says="sum the counts over the batch first")
def mean_of_ratios(probs, labels):
    return (2 * probs * labels / (probs + labels)).mean()


@mutant("soft_f1", says="the gradient is zero")
def slope_lost(probs, labels):
    probs = probs.detach()
    return 2 * (probs * labels).sum() / (probs.sum() + labels.sum())


@mutant("soft_f1", says="soft_f1 when there is no positive label")
def from_precision_and_recall(probs, labels):
    hit = (probs * labels).sum()
    p, r = hit / probs.sum(), hit / labels.sum()
    return 2 * p * r / (p + r)
