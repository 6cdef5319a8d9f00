"""Right answers in another style and wrong ones that people really give, for each exercise of chapter 01."""

import math

import torch
import torch.nn.functional as F

from autograde.authoring.variants import alternative, mutant

# ---------------------------------------------------------------- chain_log_prob


@alternative("chain_log_prob")
def signed_logits(conditional, x):
    return sum(F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, :i])) for i in range(x.shape[1]))


@alternative("chain_log_prob")
def cross_entropy(conditional, x):
    logits = torch.stack([conditional(x[:, :i]) for i in range(x.size(1))], dim=1)
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=1)


@alternative("chain_log_prob")
def torch_distribution_backwards(conditional, x):
    total = x.new_zeros(len(x))
    for i in reversed(range(x.shape[1])):
        total += torch.distributions.Bernoulli(logits=conditional(x[:, :i])).log_prob(x[:, i])
    return total


@mutant("chain_log_prob", says="you averaged over the pixels")
def mean_over_pixels(conditional, x):
    logits = torch.stack([conditional(x[:, :i]) for i in range(x.shape[1])], 1)
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").mean(1)


@mutant("chain_log_prob", says="one number for the batch")
def sum_over_batch(conditional, x):
    logits = torch.stack([conditional(x[:, :i]) for i in range(x.shape[1])], 1)
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="sum")


@mutant("chain_log_prob", says="the sign is that of a loss")
def loss_sign(conditional, x):
    logits = torch.stack([conditional(x[:, :i]) for i in range(x.shape[1])], 1)
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


@mutant("chain_log_prob", says="a 0 has a price too")
def ones_only(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        total = total + x[:, i] * F.logsigmoid(conditional(x[:, :i]))
    return total


@mutant("chain_log_prob", says="the past of pixel i must stop before pixel i")
def past_includes_itself(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        total = total + F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, : i + 1]))
    return total


@mutant("chain_log_prob", says="these are bits")
def in_bits(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        total = total + F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, :i]))
    return total / math.log(2)


@mutant("chain_log_prob", says="the first pixel is missing")
def first_pixel_forgotten(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(1, x.shape[1]):
        total = total + F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, :i]))
    return total


@mutant("chain_log_prob", says="stay on the log scale")
def log_of_sigmoid(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        p = torch.sigmoid(conditional(x[:, :i]))
        total = total + torch.where(x[:, i] == 1, p, 1 - p).log()
    return total


# ---------------------------------------------------------------- nade_logits


@alternative("nade_logits")
def all_at_once(x, W, c, V, b):
    columns = x[:, :, None] * W.T
    a = c + torch.cumsum(columns, 1) - columns
    return torch.einsum("bnd,nd->bn", torch.sigmoid(a), V) + b


@alternative("nade_logits")
def pixel_by_pixel(x, W, c, V, b):
    logits = torch.empty_like(x)
    for i in range(x.shape[1]):
        hidden = torch.sigmoid(c + x[:, :i] @ W[:, :i].T)
        logits[:, i] = b[i] + (hidden * V[i]).sum(-1)
    return logits


@alternative("nade_logits")
def picture_by_picture(x, W, c, V, b):
    rows = []
    for picture in x:
        a, row = c.clone(), []
        for i, pixel in enumerate(picture):
            row.append(V[i].dot(a.sigmoid()) + b[i])
            a += W[:, i] * pixel
        rows.append(torch.stack(row))
    return torch.stack(rows)


@mutant("nade_logits", says="First answer, then look")
def looks_first(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        a = a + x[:, i, None] * W[:, i]
        logits.append(a.sigmoid() @ V[i] + b[i])
    return torch.stack(logits, 1)


@mutant("nade_logits", says="the output must be logits")
def sigmoid_on_output(x, W, c, V, b):
    a = c.expand(len(x), -1)
    out = []
    for i in range(x.shape[1]):
        out.append(torch.sigmoid(a.sigmoid() @ V[i] + b[i]))
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(out, 1)


@mutant("nade_logits", says="without it NADE is a straight line")
def no_hidden_sigmoid(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1)


@mutant("nade_logits", says="a must start at c")
def starts_at_zero(x, W, c, V, b):
    a = torch.zeros(len(x), len(c), dtype=x.dtype)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1)


@mutant("nade_logits", says="the bias b_i is missing")
def no_output_bias(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1)


@mutant("nade_logits", says="each pixel sees the whole picture")
def ordinary_autoencoder(x, W, c, V, b):
    return (x @ W.T + c).sigmoid() @ V.T + b


@mutant("nade_logits", says="c is added again at every step")
def bias_at_every_step(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i] + c
    return torch.stack(logits, 1)


@mutant("nade_logits", says="on pictures of 1 pixel has the wrong shape")
def squeezed(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1).squeeze()


# ---------------------------------------------------------------- ancestral_sample


@alternative("ancestral_sample")
def clamp_written_first(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    known = torch.zeros(len(order), dtype=torch.bool) if clamp is None else ~torch.isnan(clamp)
    if clamp is not None:
        x[:, known] = clamp[known]
    for i in order:
        if not known[i]:
            x[:, i] = torch.bernoulli(torch.sigmoid(logits(x)[:, i]), generator=generator).to(x)
    return x


@alternative("ancestral_sample")
def every_coin_at_once(logits, order, count, clamp=None, generator=None):
    n = len(order)
    coins = torch.rand(n, count, generator=generator, dtype=torch.float64)
    x = torch.full((count, n), 0.5)
    for step in range(n):
        i = int(order[step])
        odds = 1 / (1 + torch.exp(-logits(x)[:, i].double()))
        value = torch.where(coins[step] < odds, 1.0, 0.0)
        if clamp is not None and clamp[i] == clamp[i]:
            value = clamp[i].expand(count)
        x[:, i] = value
    return x


@alternative("ancestral_sample")
def gumbel_style(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        noise = torch.logit(torch.rand(count, generator=generator).clamp(1e-7, 1 - 1e-7))
        x[:, i] = (logits(x)[:, i] + noise > 0).float()
        if clamp is not None and not math.isnan(clamp[i]):
            x[:, i] = clamp[i]
    return x


@mutant("ancestral_sample", says="all pixels are drawn in one pass")
def one_pass(logits, order, count, clamp=None, generator=None):
    p = logits(torch.zeros(count, len(order))).sigmoid()
    x = (torch.rand(p.shape, generator=generator) < p).float()
    return x if clamp is None else torch.where(clamp.isnan(), x, clamp)


@mutant("ancestral_sample", says="instead of `order`")
def natural_order(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in range(len(order)):
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@mutant("ancestral_sample", says="`order[k]` is the pixel, not its rank")
def order_taken_for_ranks(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.argsort().tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@mutant("ancestral_sample", says="instead of a toss")
def likelier_value(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        x[:, i] = (logits(x)[:, i] > 0).float() if clamp is None or clamp[i].isnan() else clamp[i]
    return x


@mutant("ancestral_sample", says="one toss for the whole batch")
def one_coin_for_all(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(1, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@mutant("ancestral_sample", says="the coin is upside down")
def upside_down(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) > logits(x)[:, i].sigmoid()).float()
    return x


@mutant("ancestral_sample", says="the pixels drawn in between never saw them")
def clamps_at_the_end(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x if clamp is None else torch.where(clamp.isnan(), x, clamp)


@mutant("ancestral_sample", says="clamped pixels came back changed")
def ignores_the_clamp(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@mutant("ancestral_sample", says="a clamp of 0 is a value too")
def zero_is_not_a_value(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    given = None if clamp is None else clamp.nan_to_num(0)
    for i in order.tolist():
        if given is not None and given[i]:
            x[:, i] = given[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@mutant("ancestral_sample", says="the sigmoid is taken twice")
def double_sigmoid(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            p = torch.distributions.Bernoulli(logits=logits(x)[:, i].sigmoid()).probs
            x[:, i] = (torch.rand(count, generator=generator) < p).float()
    return x


@mutant("ancestral_sample", says="take every coin from `generator`")
def global_coins(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = torch.bernoulli(logits(x)[:, i].sigmoid())
    return x


@mutant("ancestral_sample", says="not from a seed of your own")
def own_seed(logits, order, count, clamp=None, generator=None):
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


# ---------------------------------------------------------------- pixel_mask


@alternative("pixel_mask")
def half_of_the_flat_kernel(kind, height, width):
    flat = torch.arange(height * width)
    centre = height * width // 2
    return (flat < centre if kind == "A" else flat <= centre).reshape(height, width)


@alternative("pixel_mask")
def remove_the_future(kind, height, width):
    mask = torch.ones(height, width)
    mask[height // 2 + 1 :] = 0
    mask[height // 2, width // 2 + 1 :] = 0
    if kind == "A":
        mask[height // 2, width // 2] = 0
    return mask


@alternative("pixel_mask")
def four_dimensional_style(kind, height, width):
    r, c = torch.meshgrid(
        torch.arange(height) - height // 2, torch.arange(width) - width // 2, indexing="ij"
    )
    return (r < 0) | ((r == 0) & ((c < 0) if kind == "A" else (c <= 0)))


@mutant("pixel_mask", says="A and B are exchanged")
def a_for_b(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2] = True
    mask[height // 2, : width // 2 + (kind == "A")] = True
    return mask


@mutant("pixel_mask", says="type A everywhere")
def always_a(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2] = True
    mask[height // 2, : width // 2] = True
    return mask


@mutant("pixel_mask", says="rows below the centre have not been read yet")
def rows_below_left_on(kind, height, width):
    mask = torch.ones(height, width, dtype=torch.bool)
    mask[height // 2, width // 2 + (kind == "B") :] = False
    return mask


@mutant("pixel_mask", says="left and right are exchanged")
def right_for_left(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2] = True
    mask[height // 2, width // 2 + (kind == "A") :] = True
    return mask


@mutant("pixel_mask", says="the rows above are missing")
def own_row_only(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[height // 2, : width // 2 + (kind == "B")] = True
    return mask


@mutant("pixel_mask", says="to the right of the centre too")
def quadrant(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2, : width // 2 + (kind == "B")] = True
    mask[height // 2, : width // 2 + (kind == "B")] = True
    return mask


@mutant("pixel_mask", says="column by column")
def columns_first(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[:, : width // 2] = True
    mask[: height // 2 + (kind == "B"), width // 2] = True
    return mask


@mutant("pixel_mask", says='pixel_mask("A", 5, 3)')
def only_the_row_above(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[max(height // 2 - 1, 0)] = height > 1
    mask[height // 2, : width // 2 + (kind == "B")] = True
    return mask


# ---------------------------------------------------------------- discretised_logistic


@alternative("discretised_logistic")
def by_softplus(v, mean, log_scale, levels):
    inverse = torch.exp(-log_scale)
    a, b = inverse * (v - mean + 0.5), inverse * (v - mean - 0.5)
    log_cdf, log_survival = -F.softplus(-a), -F.softplus(b)
    inner = log_cdf + log_survival + torch.log1p(-torch.exp(-inverse))
    return torch.where(v <= 0, log_cdf, torch.where(v >= levels - 1, log_survival, inner))


@alternative("discretised_logistic")
def difference_of_log_sigmoids(v, mean, log_scale, levels):
    """log(e^p - e^q) = p + log(1 - e^(q - p)), on the side of the mean where the sigmoids are small."""
    s = log_scale.exp()
    sign = torch.where(v > mean, -1.0, 1.0).to(v)
    near = F.logsigmoid((sign * (v - mean) + 0.5) / s)
    far = F.logsigmoid((sign * (v - mean) - 0.5) / s)
    inside = near + torch.log(-torch.expm1(far - near))
    out = torch.where(v == 0, F.logsigmoid((v + 0.5 - mean) / s), inside)
    return torch.where(v == levels - 1, F.logsigmoid((mean - v + 0.5) / s), out)


@mutant("discretised_logistic", says="the edge bins are missing")
def no_edge_bins(v, mean, log_scale, levels):
    s = log_scale.exp()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    return F.logsigmoid(a) + F.logsigmoid(-b) + torch.log(-torch.expm1(-1 / s))


@mutant("discretised_logistic", says="the two edges are exchanged")
def edges_exchanged(v, mean, log_scale, levels):
    s = log_scale.exp()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, above, torch.where(v == levels - 1, below, inside))


@mutant("discretised_logistic", says="the bins are two wide")
def whole_for_half(v, mean, log_scale, levels):
    s = log_scale.exp()
    a, b = (v + 1 - mean) / s, (v - 1 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-2 / s))
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside))


@mutant("discretised_logistic", says="the bins are shifted")
def floor_bins(v, mean, log_scale, levels):
    s = log_scale.exp()
    a, b = (v + 1 - mean) / s, (v - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside))


@mutant("discretised_logistic", says="this is the density at v")
def density(v, mean, log_scale, levels):
    z = (v - mean) / log_scale.exp()
    return F.logsigmoid(z) + F.logsigmoid(-z) - log_scale


@mutant("discretised_logistic", says="log_scale is log s, not log s^2")
def log_scale_as_log_variance(v, mean, log_scale, levels):
    s = (0.5 * log_scale).exp()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside))


@mutant("discretised_logistic", says="these are probabilities; their log is asked")
def no_log(v, mean, log_scale, levels):
    s = log_scale.exp()
    low, high = torch.sigmoid((v - 0.5 - mean) / s), torch.sigmoid((v + 0.5 - mean) / s)
    return torch.where(v == levels - 1, 1.0, high) - torch.where(v == 0, 0.0, low)


@mutant("discretised_logistic", says="far from the mean")
def difference_of_sigmoids(v, mean, log_scale, levels):
    s = log_scale.exp()
    low, high = torch.sigmoid((v - 0.5 - mean) / s), torch.sigmoid((v + 0.5 - mean) / s)
    return (torch.where(v == levels - 1, 1.0, high) - torch.where(v == 0, 0.0, low)).log()


@mutant("discretised_logistic", says="a clamp only hides it")
def clamped_log(v, mean, log_scale, levels):
    s = log_scale.exp()
    low, high = torch.sigmoid((v - 0.5 - mean) / s), torch.sigmoid((v + 0.5 - mean) / s)
    mass = torch.where(v == levels - 1, 1.0, high) - torch.where(v == 0, 0.0, low)
    return mass.clamp_min(1e-12).log()


# ---------------------------------------------------------------- is_autoregressive


@alternative("is_autoregressive")
def dependency_matrix(logits, n):
    x = (torch.rand(200, n) < 0.5).double()
    base, depends = logits(x), torch.zeros(n, n, dtype=torch.bool)
    for j in range(n):
        other = x.clone()
        other[:, j] = 1 - x[:, j]
        depends[:, j] = ((logits(other) - base).abs() > 1e-6).any(dim=0)
    return bool(torch.equal(depends, torch.ones(n, n).tril(-1).bool()))


@alternative("is_autoregressive")
def one_picture_at_a_time(logits, n):
    seen = set()
    for _ in range(64):
        x = torch.randint(2, (1, n)).float().repeat(n + 1, 1)
        for j in range(n):
            x[j, j] = 1 - x[j, j]
        out = torch.cat([logits(row[None]) for row in x])
        for j in range(n):
            for i in range(n):
                if abs(float(out[j, i] - out[n, i])) > 1e-6:
                    seen.add((i, j))
    return seen == {(i, j) for i in range(n) for j in range(i)}


@mutant("is_autoregressive", says="accepts a broken model: each pixel sees itself")
def forgets_the_diagonal(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        moved = ((logits(flipped) - before).abs() > 1e-6).any(0)
        if moved[:j].any() or not moved[j + 1 :].all():
            return False
    return True


@mutant("is_autoregressive", says="accepts a broken model: the first logit sees the last pixel")
def only_the_diagonal(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        moved = ((logits(flipped) - before).abs() > 1e-6).any(0)
        if moved[j] or not moved[j + 1 :].any() and j < n - 1:
            return False
    return True


@mutant("is_autoregressive", says="accepts a broken model: logit 4 never looks at pixel 1")
def forgets_the_blind_spot(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    reacts = False
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        moved = ((logits(flipped) - before).abs() > 1e-6).any(0)
        if moved[: j + 1].any():
            return False
        reacts = reacts or bool(moved.any())
    return reacts


@mutant("is_autoregressive", says="accepts a broken model: nobody sees anything")
def leaks_only(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        if ((logits(flipped) - before).abs() > 1e-6)[:, : j + 1].any():
            return False
    return True


@mutant("is_autoregressive", says="rejects a right model")
def never_satisfied(logits, n):
    return False


@mutant("is_autoregressive", says="accepts a broken model")
def always_satisfied(logits, n):
    return True


@mutant("is_autoregressive", says="accepts a broken model: the order is reversed")
def sums_to_one(logits, n):
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n)
    log_p = -F.binary_cross_entropy_with_logits(
        logits(states), states.to(logits(states)), reduction="none"
    ).sum(1)
    return bool(abs(log_p.exp().sum() - 1) < 1e-4)


@mutant("is_autoregressive", says="one picture is not enough")
def on_one_picture(logits, n):
    x = torch.ones(1, n)
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 0
        moved = ((logits(flipped) - before).abs() > 1e-6).any(0)
        if moved[: j + 1].any() or not moved[j + 1 :].all():
            return False
    return True


@mutant("is_autoregressive", says="rounding is not a dependence")
def to_the_last_bit(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        moved = (logits(flipped) != before).any(0)
        if moved[: j + 1].any() or not moved[j + 1 :].all():
            return False
    return True


@mutant("is_autoregressive", says="accepts a broken model: a weak leak")
def too_tolerant(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        size = (logits(flipped) - before).abs()
        if (size > 0.05)[:, : j + 1].any() or not (size > 1e-6).any(0)[j + 1 :].all():
            return False
    return True


@mutant("is_autoregressive", says="two verdicts on one and the same case")
def counts_its_calls(logits, n, answers=[True] * 3 + [False] * 5 + [True] * 3 + [False] * 4):
    answers.append(answers.pop(0))  # as if the cases came in the order in which they are listed
    return answers[-1]
