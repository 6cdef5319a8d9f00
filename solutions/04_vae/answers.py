"""Chapter 04: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math

import torch
import torch.nn.functional as F

from autograde.authoring import right, wrong


def kl_of(mean, logvar):
    return (mean**2 + logvar.exp() - 1 - logvar) / 2


def every_state(n):
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n).reshape(-1, n)


# ---------------------------------------------------------------- gaussian_kl


@right("gaussian_kl")
def by_torch_distributions(mean, logvar):
    q = torch.distributions.Normal(mean, torch.exp(0.5 * logvar))
    return torch.distributions.kl_divergence(
        q, torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    )


@right("gaussian_kl")
def with_sigma(mean, logvar):
    sigma = torch.sqrt(torch.exp(logvar))
    return -0.5 * (1 + logvar - mean.pow(2) - sigma.pow(2))


@right("gaussian_kl")
def latent_by_latent(mean, logvar):
    out = torch.empty_like(mean)
    for i in range(mean.shape[0]):
        for j in range(mean.shape[1]):
            out[i, j] = 0.5 * (mean[i, j] * mean[i, j] + logvar[i, j].exp() - 1.0 - logvar[i, j])
    return out


@wrong("gaussian_kl", "the sign is reversed: a KL is never negative")
def negative_kl(mean, logvar):
    return (1 + logvar - mean**2 - logvar.exp()) / 2


@wrong("gaussian_kl", "the 1/2 is missing")
def no_half(mean, logvar):
    return mean**2 + logvar.exp() - 1 - logvar


@wrong(
    "gaussian_kl", "the distributions are swapped: this is KL(prior || q), the mean must be over q"
)
def reverse_kl(mean, logvar):
    return (logvar + (1 + mean**2) / logvar.exp() - 1) / 2


@wrong(
    "gaussian_kl", "logvar is taken for log sigma: the variance is exp(logvar), not exp(2 logvar)"
)
def log_sigma(mean, logvar):
    return (mean**2 + (2 * logvar).exp() - 1 - 2 * logvar) / 2


@wrong("gaussian_kl", "this uses the standard deviation where the variance belongs")
def std_for_variance(mean, logvar):
    return (mean**2 + (logvar / 2).exp() - 1 - logvar) / 2


@wrong("gaussian_kl", "the -1 is missing: at mean 0 and variance 1 the KL must be 0")
def constant_forgotten(mean, logvar):
    return (mean**2 + logvar.exp() - logvar) / 2


@wrong("gaussian_kl", "the sign of logvar is wrong: a sharper guess must cost more")
def logvar_added(mean, logvar):
    return (mean**2 + logvar.exp() - 1 + logvar) / 2


@wrong(
    "gaussian_kl",
    "the last term is log sigma squared, which is logvar itself; this takes log sigma",
)
def log_sigma_in_the_last_term(mean, logvar):
    return (mean**2 + logvar.exp() - 1 - logvar / 2) / 2


@wrong("gaussian_kl", "the mean enters squared")
def mean_not_squared(mean, logvar):
    return (mean + logvar.exp() - 1 - logvar) / 2


@wrong("gaussian_kl", "sum nothing here: one KL for each latent, shape (b, k)")
def summed_latents(mean, logvar):
    return ((mean**2 + logvar.exp() - 1 - logvar) / 2).sum(1)


@wrong("gaussian_kl", "average nothing here: one KL for each latent, shape (b, k)")
def averaged_latents(mean, logvar):
    return ((mean**2 + logvar.exp() - 1 - logvar) / 2).mean(1)


@wrong("gaussian_kl", "logvar is clamped: a very sharp guess must cost what it costs")
def clamped_logvar(mean, logvar):
    logvar = logvar.clamp(-10, 10)
    return (mean**2 + logvar.exp() - 1 - logvar) / 2


# ---------------------------------------------------------------- elbo


@right("elbo")
def with_log_sigmoid(x, mean, logvar, eps, decode, beta=1.0):
    logits = decode(mean + torch.exp(0.5 * logvar) * eps)
    log_px = (x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)).sum(dim=-1)
    rate = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar)
    return log_px - beta * rate.sum(dim=-1)


@right("elbo")
def with_torch_distributions(x, mean, logvar, eps, decode, beta=1.0):
    std = logvar.exp().sqrt()
    q, p = (
        torch.distributions.Normal(mean, std),
        torch.distributions.Normal(torch.zeros_like(mean), 1.0),
    )
    inked = torch.distributions.Bernoulli(logits=decode(mean + eps * std)).log_prob(x)
    return inked.sum(1) - beta * torch.distributions.kl_divergence(q, p).sum(1)


@right("elbo")
def with_einsum(x, mean, logvar, eps, decode, beta=1.0):
    logits = decode(torch.addcmul(mean, torch.exp(logvar / 2), eps))
    return (
        torch.einsum("bn,bn->b", x, logits)
        - F.softplus(logits).sum(1)
        - beta * kl_of(mean, logvar).sum(1)
    )


@wrong("elbo", "the noise is not used: z = mean has no spread, and this is no bound")
def deterministic(x, mean, logvar, eps, decode, beta=1.0):
    inked = -F.binary_cross_entropy_with_logits(decode(mean), x, reduction="none").sum(1)
    return inked - beta * kl_of(mean, logvar).sum(1)


@wrong(
    "elbo",
    "exp(logvar) is the variance; the noise is scaled by the standard deviation, exp(logvar / 2)",
)
def variance_as_std(x, mean, logvar, eps, decode, beta=1.0):
    inked = -F.binary_cross_entropy_with_logits(
        decode(mean + logvar.exp() * eps), x, reduction="none"
    ).sum(1)
    return inked - beta * kl_of(mean, logvar).sum(1)


@wrong("elbo", "the rate is added; it is a price, so it is subtracted")
def rate_added(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    inked = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return inked + beta * kl_of(mean, logvar).sum(1)


@wrong(
    "elbo",
    "the pixels are averaged but the latents summed: such a model would rather ignore its latents",
)
def mean_pixels(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    inked = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").mean(1)
    return inked - beta * kl_of(mean, logvar).sum(1)


@wrong("elbo", "pixels and latents are both averaged; nats are added up")
def everything_averaged(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    price = F.binary_cross_entropy_with_logits(decode(z), x, reduction="none")
    return -price.mean(1) - beta * kl_of(mean, logvar).mean(1)


@wrong(
    "elbo", "binary_cross_entropy_with_logits averages over everything unless told reduction='none'"
)
def default_reduction(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    price = F.binary_cross_entropy_with_logits(decode(z), x)
    return -price - beta * kl_of(mean, logvar).sum(1)


@wrong("elbo", "the latents are averaged; sum the KL over them")
def mean_latents(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    inked = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return inked - beta * kl_of(mean, logvar).mean(1)


@wrong("elbo", "the KL's constant -1 belongs to each latent, not once to the sum")
def constant_once(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    inked = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return inked - beta * 0.5 * ((mean**2 + logvar.exp() - logvar).sum(1) - 1)


@wrong("elbo", "this is a loss: the bound has the other sign")
def a_loss(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    priced = F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return priced + beta * kl_of(mean, logvar).sum(1)


@wrong("elbo", "one number for the batch came back; give one for each picture")
def batch_mean(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    inked = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return (inked - beta * kl_of(mean, logvar).sum(1)).mean()


@wrong("elbo", "beta is not used")
def beta_forgotten(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    inked = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return inked - kl_of(mean, logvar).sum(1)


@wrong("elbo", "the sigmoid is taken twice: decode gives logits")
def sigmoid_twice(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    inked = -F.binary_cross_entropy_with_logits(decode(z).sigmoid(), x, reduction="none").sum(1)
    return inked - beta * kl_of(mean, logvar).sum(1)


@wrong("elbo", "a squared error is not the log-probability of ink and paper")
def squared_error(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps
    return -(decode(z).sigmoid() - x).square().sum(1) - beta * kl_of(mean, logvar).sum(1)


@wrong("elbo", "one noise vector for the whole batch; each picture has its own")
def shared_noise(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp() * eps[0]
    inked = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return inked - beta * kl_of(mean, logvar).sum(1)


@wrong(
    "elbo",
    "no gradient flows through z: the draw was detached, or made by sample() instead of equation (9)",
)
def detached_draw(x, mean, logvar, eps, decode, beta=1.0):
    z = (mean + (logvar / 2).exp() * eps).detach()
    inked = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return inked - beta * kl_of(mean, logvar).sum(1)


@wrong("elbo", "the draw does not depend on logvar: no gradient flows through sigma")
def detached_sigma(x, mean, logvar, eps, decode, beta=1.0):
    z = mean + (logvar / 2).exp().detach() * eps
    inked = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
    return inked - beta * kl_of(mean, logvar).sum(1)


# ---------------------------------------------------------------- linear_posterior


@right("linear_posterior")
def as_tipping_and_bishop(x, W, bias, std):
    M = W.T @ W + std**2 * torch.eye(W.shape[1], dtype=W.dtype)
    return torch.linalg.solve(M, W.T @ (x - bias).T).T, std**2 * torch.linalg.inv(M)


@right("linear_posterior")
def kalman_gain(x, W, bias, std):
    evidence = W @ W.T + std * std * torch.eye(W.shape[0], dtype=W.dtype)
    gain = torch.linalg.solve(evidence, W).T
    return torch.einsum("kd,bd->bk", gain, x - bias), torch.eye(
        W.shape[1], dtype=W.dtype
    ) - gain @ W


@right("linear_posterior")
def picture_by_picture(x, W, bias, std):
    precision = torch.eye(W.size(1), dtype=W.dtype) + (W.T @ W) / (std * std)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision))
    return torch.stack([covariance @ W.T @ (row - bias) / std**2 for row in x]), covariance


@wrong("linear_posterior", "this is the precision; the covariance is its inverse")
def precision_returned(x, W, bias, std):
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std**2
    return (x - bias) @ W @ torch.linalg.inv(precision) / std**2, precision


@wrong("linear_posterior", "std is s, and the equation has s squared")
def std_not_squared(x, W, bias, std):
    covariance = torch.linalg.inv(torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std)
    return (x - bias) @ W @ covariance / std, covariance


@wrong("linear_posterior", "the bias is not subtracted from x")
def no_bias(x, W, bias, std):
    covariance = torch.linalg.inv(torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std**2)
    return x @ W @ covariance / std**2, covariance


@wrong(
    "linear_posterior", "the prior is missing: without the identity matrix this is least squares"
)
def least_squares(x, W, bias, std):
    covariance = torch.linalg.pinv(W.T @ W / std**2)
    return (x - bias) @ W @ covariance / std**2, covariance


@wrong(
    "linear_posterior", "the covariance does not depend on x: one matrix (k, k) for all pictures"
)
def one_covariance_a_picture(x, W, bias, std):
    covariance = torch.linalg.inv(torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std**2)
    mean = (x - bias) @ W @ covariance / std**2
    return mean, covariance.expand(len(x), *covariance.shape)


@wrong("linear_posterior", "the mean has 1/s where 1/s^2 belongs")
def one_s_in_the_mean(x, W, bias, std):
    covariance = torch.linalg.inv(torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std**2)
    return (x - bias) @ W @ covariance / std, covariance


@wrong("linear_posterior", "the 1/s^2 is missing in the mean")
def scale_lost(x, W, bias, std):
    covariance = torch.linalg.inv(torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std**2)
    return (x - bias) @ W @ covariance, covariance


@wrong(
    "linear_posterior",
    "the covariance is missing in the mean: W^T (x - b) must still be multiplied by it",
)
def mean_not_solved(x, W, bias, std):
    covariance = torch.linalg.inv(torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std**2)
    return (x - bias) @ W / std**2, covariance


@wrong("linear_posterior", "only the diagonal is kept: the latents are correlated given x")
def diagonal_covariance(x, W, bias, std):
    covariance = torch.linalg.inv(torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std**2)
    return (x - bias) @ W @ covariance / std**2, torch.diag(covariance.diagonal())


@wrong("linear_posterior", "the covariance lacks a factor: s^2 belongs inside, I + W^T W / s^2")
def m_inverse_as_covariance(x, W, bias, std):
    M = W.T @ W + std**2 * torch.eye(W.shape[1], dtype=W.dtype)
    return (x - bias) @ W @ torch.linalg.inv(M), torch.linalg.inv(M)


@wrong(
    "linear_posterior",
    "the mean lost a dimension: one row for each picture, one column for each latent",
)
def squeezed_mean(x, W, bias, std):
    covariance = torch.linalg.inv(torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / std**2)
    return ((x - bias) @ W @ covariance / std**2).squeeze(), covariance


# ---------------------------------------------------------------- iwae


@right("iwae")
def guess_by_guess(x, mean, logvar, eps, decode):
    normal, std = torch.distributions.Normal, torch.exp(0.5 * logvar)
    weights = []
    for e in eps:
        z = mean + std * e
        inked = torch.distributions.Bernoulli(logits=decode(z)).log_prob(x).sum(-1)
        weights.append(
            inked + normal(0.0, 1.0).log_prob(z).sum(-1) - normal(mean, std).log_prob(z).sum(-1)
        )
    return torch.stack(weights).logsumexp(0) - torch.log(torch.tensor(float(len(eps))))


@right("iwae")
def shifted_by_the_largest(x, mean, logvar, eps, decode):
    K, b, k = eps.shape
    z = (mean[None] + torch.exp(logvar[None] / 2) * eps).reshape(K * b, k)
    logits = decode(z)
    inked = (x.repeat(K, 1) * logits - F.softplus(logits)).sum(1).view(K, b)
    log_w = inked + 0.5 * (eps**2).sum(2) - 0.5 * (z**2).sum(1).view(K, b) + 0.5 * logvar.sum(1)
    top = log_w.max(dim=0).values
    return top + (log_w - top).exp().mean(0).log()


@wrong(
    "iwae",
    "this is the mean of the logs, the ELBO again; the mean over the guesses belongs inside the log",
)
def mean_of_logs(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return (inked - (z**2).sum(-1) / 2 + (eps**2 + logvar).sum(-1) / 2).mean(0)


@wrong(
    "iwae",
    "the mean of the logs, with the closed-form KL: the ELBO again; the mean over the guesses belongs inside the log",
)
def mean_of_elbos(x, mean, logvar, eps, decode):
    z = mean + (logvar / 2).exp() * eps
    inked = torch.stack(
        [-F.binary_cross_entropy_with_logits(decode(g), x, reduction="none").sum(1) for g in z]
    )
    return inked.mean(0) - (mean**2 + logvar.exp() - 1 - logvar).sum(1) / 2


@wrong("iwae", "the mean runs over the pictures of the batch; it must run over the guesses")
def over_the_batch(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return torch.logsumexp(
        inked - (z**2).sum(-1) / 2 + (eps**2 + logvar).sum(-1) / 2, 1
    ) - math.log(b)


@wrong("iwae", "a sum over the guesses where their mean is asked: log K must be subtracted")
def no_log_k(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return torch.logsumexp(inked - (z**2).sum(-1) / 2 + (eps**2 + logvar).sum(-1) / 2, 0)


@wrong("iwae", "prior and posterior are swapped in the ratio: p(z) / q(z|x)")
def swapped_ratio(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return torch.logsumexp(
        inked + (z**2).sum(-1) / 2 - (eps**2 + logvar).sum(-1) / 2, 0
    ) - math.log(K)


@wrong("iwae", "q(z|x) is missing in the weight")
def no_q(x, mean, logvar, eps, decode):
    K, b, k = eps.shape
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    prior = -(z**2).sum(-1) / 2 - k / 2 * math.log(2 * math.pi)
    return torch.logsumexp(inked + prior, 0) - math.log(K)


@wrong(
    "iwae",
    "the closed-form KL is an average already; each guess needs its own log p(z) - log q(z|x)",
)
def closed_form_kl(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    logits = decode((mean + (logvar / 2).exp() * eps).flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return torch.logsumexp(inked, 0) - math.log(K) - kl_of(mean, logvar).sum(1)


@wrong("iwae", "exp(logvar) is the variance; its root is the standard deviation")
def variance_as_std_everywhere(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    z = mean + logvar.exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return torch.logsumexp(
        inked - (z**2).sum(-1) / 2 + (eps**2 / 2 + logvar).sum(-1), 0
    ) - math.log(K)


@wrong("iwae", "log q(z|x) lacks its log sigma")
def no_log_sigma(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return torch.logsumexp(inked - (z**2).sum(-1) / 2 + (eps**2).sum(-1) / 2, 0) - math.log(K)


@wrong("iwae", "all guesses use the same noise")
def same_noise(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    eps = eps[:1].expand_as(eps)
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return torch.logsumexp(
        inked - (z**2).sum(-1) / 2 + (eps**2 + logvar).sum(-1) / 2, 0
    ) - math.log(K)


@wrong("iwae", "the weights themselves round to 0 for large pictures: stay on the log scale")
def exp_then_log(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return (inked - (z**2).sum(-1) / 2 + (eps**2 + logvar).sum(-1) / 2).exp().mean(0).log()


@wrong("iwae", "this is a loss: the bound has the other sign")
def negative_iwae(x, mean, logvar, eps, decode):
    K, b, _ = eps.shape
    z = mean + (logvar / 2).exp() * eps
    logits = decode(z.flatten(0, 1)).reshape(K, b, -1)
    inked = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    return math.log(K) - torch.logsumexp(
        inked - (z**2).sum(-1) / 2 + (eps**2 + logvar).sum(-1) / 2, 0
    )


# ---------------------------------------------------------------- free_bits


@right("free_bits")
def with_loop(kl, floor):
    total = kl.new_zeros(())
    for column in kl.unbind(1):
        average = column.sum() / len(column)
        total = total + (average if average > floor else floor)
    return total


@right("free_bits")
def floor_plus_excess(kl, floor):
    each = torch.mean(kl, dim=0)
    return kl.shape[1] * floor + torch.relu(each - floor).sum()


@right("free_bits")
def with_maximum(kl, floor):
    return torch.maximum(kl.mean(0), torch.full_like(kl[0], floor)).sum()


@wrong("free_bits", "the maximum is taken before the mean over the batch")
def clamps_first(kl, floor):
    return kl.clamp(min=floor).mean(0).sum()


@wrong("free_bits", "each latent has its own floor; here it is compared with their sum")
def floor_of_the_sum(kl, floor):
    return kl.mean(0).sum().clamp(min=floor)


@wrong(
    "free_bits", "the floor is compared with the sum of each picture; each latent has its own floor"
)
def floor_of_each_picture(kl, floor):
    return kl.sum(1).clamp(min=floor).mean()


@wrong("free_bits", "the minimum is taken: that caps the latents instead of freeing them")
def minimum_for_maximum(kl, floor):
    return kl.mean(0).clamp(max=floor).sum()


@wrong("free_bits", "the latents are averaged; sum over them")
def latents_averaged(kl, floor):
    return kl.mean(0).clamp(min=floor).mean()


@wrong("free_bits", "the floor is subtracted; equation (15) has a maximum")
def excess_only(kl, floor):
    return torch.relu(kl.mean(0) - floor).sum()


@wrong("free_bits", "the floor is not used")
def no_floor(kl, floor):
    return kl.mean(0).sum()


@wrong("free_bits", "the batch is summed; take its mean")
def batch_summed(kl, floor):
    return kl.sum(0).clamp(min=floor).sum()


@wrong("free_bits", "no gradient at all: the KL was detached")
def detached_charge(kl, floor):
    return kl.detach().mean(0).clamp(min=floor).sum()


@wrong("free_bits", "latents below the floor are still pushed down")
def straight_through_floor(kl, floor):
    each = kl.mean(0)
    return (each + (each.clamp(min=floor) - each).detach()).sum()


# ---------------------------------------------------------------- categorical_elbo


@right("categorical_elbo")
def torch_categorical(x, logits, gumbel, tau, decode):
    q = torch.distributions.Categorical(logits=logits)
    uniform = torch.distributions.Categorical(logits=torch.zeros_like(logits))
    y = F.softmax((q.logits + gumbel) / tau, dim=2).reshape(len(x), -1)
    inked = torch.distributions.Bernoulli(logits=decode(y)).log_prob(x).sum(1)
    return inked - torch.distributions.kl_divergence(q, uniform).sum(1)


@right("categorical_elbo")
def by_entropy(x, logits, gumbel, tau, decode):
    b, g, v = logits.shape
    scaled = (logits + gumbel) / tau
    y = (scaled - scaled.logsumexp(-1, keepdim=True)).exp()
    out = decode(y.view(b, g * v))
    entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)
    return (x * out - F.softplus(out)).sum(1) - (math.log(v) - entropy).sum(1)


@wrong(
    "categorical_elbo",
    "the prior's log v is missing in the rate: a code that says nothing must cost 0",
)
def no_prior(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * log_q).sum((1, 2))


@wrong("categorical_elbo", "the rate must come from q = softmax(logits), not from the blend y")
def rate_of_the_blend(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    return inked - (y * (y.log() + math.log(logits.shape[-1]))).sum((1, 2))


@wrong("categorical_elbo", "the mean of log q must be over q, not over the blend y")
def blend_weighs_log_q(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    return inked - (y * (logits.log_softmax(-1) + math.log(logits.shape[-1]))).sum((1, 2))


@wrong("categorical_elbo", "logits are not yet log-probabilities; take log_softmax")
def logits_for_log_probabilities(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    return inked - (logits.softmax(-1) * (logits + math.log(logits.shape[-1]))).sum((1, 2))


@wrong(
    "categorical_elbo",
    "log v is the log of how many values a symbol has, not of how many symbols there are",
)
def log_of_the_number_of_symbols(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[1]))).sum((1, 2))


@wrong("categorical_elbo", "the rate is added; it is a price")
def price_added(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked + (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))


@wrong("categorical_elbo", "the symbols' rates are averaged; sum them")
def mean_over_symbols(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum(2).mean(1)


@wrong("categorical_elbo", "the temperature multiplies; it must divide")
def multiplied_by_tau(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) * tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))


@wrong("categorical_elbo", "the temperature divides the noise only")
def bracket_forgotten(x, logits, gumbel, tau, decode):
    y = (logits + gumbel / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))


@wrong("categorical_elbo", "no noise: this is no draw, but the encoder's favourite")
def no_noise(x, logits, gumbel, tau, decode):
    y = (logits / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))


@wrong("categorical_elbo", "probabilities are used where logits belong")
def probabilities_for_logits(x, logits, gumbel, tau, decode):
    y = ((logits.softmax(-1) + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))


@wrong(
    "categorical_elbo",
    "the softmax runs over the symbols' places, not over their values (the last dimension)",
)
def softmax_over_places(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))


@wrong("categorical_elbo", "this is the hard one-hot draw; equation (17) asks for the blend")
def hard_code(x, logits, gumbel, tau, decode):
    y = F.one_hot((logits + gumbel).argmax(-1), logits.shape[-1]).to(logits.dtype)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))


@wrong(
    "categorical_elbo",
    "the code is laid out value by value; the decoder reads symbol by symbol (flatten(1))",
)
def laid_out_by_value(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.mT.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))


@wrong("categorical_elbo", "0 log 0 became NaN for a very sure encoder: take log_softmax")
def log_of_probabilities(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1)
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    q = logits.softmax(-1)
    return inked - (q * (q.log() + math.log(logits.shape[-1]))).sum((1, 2))


@wrong("categorical_elbo", "no gradient flows through the blend")
def detached_blend(x, logits, gumbel, tau, decode):
    y = ((logits + gumbel) / tau).softmax(-1).detach()
    inked = -F.binary_cross_entropy_with_logits(decode(y.flatten(1)), x, reduction="none").sum(1)
    log_q = logits.log_softmax(-1)
    return inked - (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))


# ---------------------------------------------------------------- is_honest


@right("is_honest")
def draw_after_draw(bound, n):
    pictures = torch.tensor(
        [[(i >> j) & 1 for j in range(n)] for i in range(2**n)], dtype=torch.float64
    )
    total = sum(bound(pictures) for _ in range(300))
    return not bool(torch.exp(total / 300).sum() > 1.01)


@right("is_honest")
def on_the_log_scale(bound, n):
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n).double()
    draws = torch.stack([bound(states.repeat(50, 1)).view(50, -1).mean(0) for _ in range(24)])
    return float(torch.logsumexp(draws.mean(0), 0)) <= math.log(1.01)


@wrong(
    "is_honest", "it looks whether each bound is below 0; the sum over all pictures is what counts"
)
def only_below_zero(bound, n):
    states = every_state(n)
    return bool((bound(states.repeat(400, 1)).reshape(400, -1).mean(0) <= 0).all())


@wrong("is_honest", "average the draws first, then take the exponential")
def exponential_first(bound, n):
    states = every_state(n)
    draws = bound(states.repeat(400, 1)).reshape(400, len(states))
    return bool(draws.exp().mean(0).sum() <= 1.01)


@wrong("is_honest", "one draw for each picture is too few: the noise decides")
def a_single_draw(bound, n):
    return bool(bound(every_state(n)).exp().sum() <= 1.01)


@wrong(
    "is_honest", "the draws of one picture are taken for the pictures: which dimension is which?"
)
def draws_and_pictures_mixed(bound, n):
    states = every_state(n).repeat_interleave(400, 0)
    return bool(bound(states).reshape(400, -1).mean(0).exp().sum() <= 1.01)


@wrong("is_honest", "the sum over the pictures is asked, not their mean")
def mean_over_pictures(bound, n):
    states = every_state(n)
    return bool(bound(states.repeat(400, 1)).reshape(400, -1).mean(0).exp().mean() <= 1.01)


@wrong("is_honest", "a bound may stay below the truth: its sum must be at most 1, not equal to 1")
def must_be_exactly_one(bound, n):
    states = every_state(n)
    total = bound(states.repeat(400, 1)).reshape(400, -1).mean(0).exp().sum()
    return bool((total - 1).abs() < 0.01)


@wrong("is_honest", "3 % too much is too much: the limit is 1.01")
def too_tolerant(bound, n):
    states = every_state(n)
    return bool(bound(states.repeat(400, 1)).reshape(400, -1).mean(0).exp().sum() <= 1.05)


@wrong("is_honest", "only some of the pictures are looked at")
def a_few_random_pictures(bound, n):
    states = every_state(n)[: 2**n // 2]
    return bool(2 * bound(states.repeat(400, 1)).reshape(400, -1).mean(0).exp().sum() <= 1.01)
