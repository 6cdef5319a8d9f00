"""Chapter 01: right answers in other styles, and the mistakes that people make, each with what they should read."""

import math

import torch
import torch.nn.functional as F

from autograde.authoring import right, wrong

# ---------------------------------------------------------------- chain_log_prob


@right("chain_log_prob")
def signed_logits(conditional, x):
    return sum(F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, :i])) for i in range(x.shape[1]))


@right("chain_log_prob")
def cross_entropy(conditional, x):
    logits = torch.stack([conditional(x[:, :i]) for i in range(x.size(1))], dim=1)
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=1)


@right("chain_log_prob")
def torch_distribution_backwards(conditional, x):
    total = x.new_zeros(len(x))
    for i in reversed(range(x.shape[1])):
        total += torch.distributions.Bernoulli(logits=conditional(x[:, :i])).log_prob(x[:, i])
    return total


@wrong("chain_log_prob", "you averaged over the pixels; log-probabilities of a product add up")
def mean_over_pixels(conditional, x):
    logits = torch.stack([conditional(x[:, :i]) for i in range(x.shape[1])], 1)
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").mean(1)


@wrong("chain_log_prob", "this is one number for the batch; give one for each picture")
def sum_over_batch(conditional, x):
    logits = torch.stack([conditional(x[:, :i]) for i in range(x.shape[1])], 1)
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="sum")


@wrong("chain_log_prob", "the sign is that of a loss; the log of a probability is negative")
def loss_sign(conditional, x):
    logits = torch.stack([conditional(x[:, :i]) for i in range(x.shape[1])], 1)
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


@wrong("chain_log_prob", "only the ones are counted; a 0 has a price too, log sigmoid(-logit)")
def ones_only(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        total = total + x[:, i] * F.logsigmoid(conditional(x[:, :i]))
    return total


@wrong("chain_log_prob", "the past of pixel i must stop before pixel i: x[:, :i]")
def past_includes_itself(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        total = total + F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, : i + 1]))
    return total


@wrong("chain_log_prob", "these are bits (log2); nats are asked (the natural log)")
def in_bits(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        total = total + F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, :i]))
    return total / math.log(2)


@wrong("chain_log_prob", "the first pixel is missing: its past is empty, but it has a price")
def first_pixel_forgotten(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(1, x.shape[1]):
        total = total + F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, :i]))
    return total


@wrong(
    "chain_log_prob",
    "the log of a sigmoid that has rounded to 0 or 1 is lost; stay on the log scale with F.logsigmoid",
)
def log_of_sigmoid(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        p = torch.sigmoid(conditional(x[:, :i]))
        total = total + torch.where(x[:, i] == 1, p, 1 - p).log()
    return total


@right("chain_log_prob")
def with_softplus(conditional, x):
    prices = []
    for i, column in enumerate(x.unbind(1)):
        logit = conditional(x[:, :i])
        prices.append(column * logit - F.softplus(logit))
    return torch.stack(prices).sum(0)


@wrong("chain_log_prob", "zeros and ones are exchanged: the logit is that of x_i = 1")
def zeros_for_ones(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        total = total + F.logsigmoid((1 - 2 * x[:, i]) * conditional(x[:, :i]))
    return total


@wrong("chain_log_prob", "the last pixel is missing: the loop must reach all n of them")
def last_pixel_forgotten(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1] - 1):
        total = total + F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, :i]))
    return total


@wrong("chain_log_prob", "these are the probabilities themselves; their log is asked")
def probabilities(conditional, x):
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        total = total + F.logsigmoid((2 * x[:, i] - 1) * conditional(x[:, :i]))
    return total.exp()


# ---------------------------------------------------------------- nade_logits


@right("nade_logits")
def all_at_once(x, W, c, V, b):
    columns = x[:, :, None] * W.T
    a = c + torch.cumsum(columns, 1) - columns
    return torch.einsum("bnd,nd->bn", torch.sigmoid(a), V) + b


@right("nade_logits")
def pixel_by_pixel(x, W, c, V, b):
    logits = torch.empty_like(x)
    for i in range(x.shape[1]):
        hidden = torch.sigmoid(c + x[:, :i] @ W[:, :i].T)
        logits[:, i] = b[i] + (hidden * V[i]).sum(-1)
    return logits


@right("nade_logits")
def picture_by_picture(x, W, c, V, b):
    rows = []
    for picture in x:
        a, row = c.clone(), []
        for i, pixel in enumerate(picture):
            row.append(V[i].dot(a.sigmoid()) + b[i])
            a += W[:, i] * pixel
        rows.append(torch.stack(row))
    return torch.stack(rows)


@wrong(
    "nade_logits",
    "a was updated before pixel i was predicted: it sees itself. First answer, then look",
)
def looks_first(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        a = a + x[:, i, None] * W[:, i]
        logits.append(a.sigmoid() @ V[i] + b[i])
    return torch.stack(logits, 1)


@wrong("nade_logits", "the output must be logits: the sigmoid of the output belongs to the loss")
def sigmoid_on_output(x, W, c, V, b):
    a = c.expand(len(x), -1)
    out = []
    for i in range(x.shape[1]):
        out.append(torch.sigmoid(a.sigmoid() @ V[i] + b[i]))
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(out, 1)


@wrong(
    "nade_logits", "the sigmoid of the hidden layer is missing: without it NADE is a straight line"
)
def no_hidden_sigmoid(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1)


@wrong("nade_logits", "a must start at c, not at 0")
def starts_at_zero(x, W, c, V, b):
    a = torch.zeros(len(x), len(c), dtype=x.dtype)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1)


@wrong("nade_logits", "the bias b_i is missing")
def no_output_bias(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1)


@wrong("nade_logits", "each pixel sees the whole picture; only the earlier ones are allowed")
def ordinary_autoencoder(x, W, c, V, b):
    return (x @ W.T + c).sigmoid() @ V.T + b


@wrong("nade_logits", "c is added again at every step; it belongs to the start only")
def bias_at_every_step(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i] + c
    return torch.stack(logits, 1)


@wrong("nade_logits", "a dimension of size 1 was squeezed away: the shape is always (batch, n)")
def squeezed(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1).squeeze()


@wrong("nade_logits", "the pixels are read from the last to the first")
def in_reverse(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = [None] * x.shape[1]
    for i in reversed(range(x.shape[1])):
        logits[i] = a.sigmoid() @ V[i] + b[i]
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1)


@wrong("nade_logits", "a is overwritten: add the column of pixel i to what is there")
def remembers_one_pixel(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i] + b[i])
        a = c + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1)


@wrong("nade_logits", "the values are right and their gradient is lost: nothing may be detached")
def without_gradient(x, W, c, V, b):
    a = c.expand(len(x), -1)
    logits = []
    for i in range(x.shape[1]):
        logits.append(a.sigmoid() @ V[i] + b[i])
        a = a + x[:, i, None] * W[:, i]
    return torch.stack(logits, 1).detach()


# ---------------------------------------------------------------- made_masks


@right("made_masks")
def with_loops(ranks):
    masks = []
    layers = [*ranks, ranks[0]]
    for k in range(len(ranks)):
        before, after = layers[k], layers[k + 1]
        mask = torch.zeros(len(after), len(before), dtype=torch.bool)
        for i, a in enumerate(after):
            for j, b in enumerate(before):
                mask[i, j] = b < a if k == len(ranks) - 1 else b <= a
        masks.append(mask)
    return masks


@right("made_masks")
def as_floats(ranks):
    hidden = [
        torch.ge(a.unsqueeze(1), b.unsqueeze(0)).float() for b, a in zip(ranks[:-1], ranks[1:])
    ]
    return hidden + [torch.gt(ranks[0].unsqueeze(-1), ranks[-1].unsqueeze(0)).float()]


@right("made_masks")
def shifted_outputs(ranks):
    layers = list(ranks) + [ranks[0] - 1]
    return tuple(
        (before[None] <= after[:, None]).to(torch.uint8)
        for before, after in zip(layers, layers[1:])
    )


@wrong(
    "made_masks", "a pixel sees itself: the output layer may look at strictly smaller ranks only"
)
def sees_itself(ranks):
    layers = [*ranks, ranks[0]]
    return [after[:, None] >= before[None] for before, after in zip(layers, layers[1:])]


@wrong("made_masks", "a strict > between hidden layers cuts wires that are allowed; there it is >=")
def strict_everywhere(ranks):
    layers = [*ranks, ranks[0]]
    return [after[:, None] > before[None] for before, after in zip(layers, layers[1:])]


@wrong(
    "made_masks",
    "the mask is transposed: a row for each unit that receives, (units after, units before)",
)
def transposed(ranks):
    masks = [before[:, None] <= after[None] for before, after in zip(ranks, ranks[1:])]
    return [*masks, ranks[-1][:, None] < ranks[0][None]]


@wrong("made_masks", "the comparison points the wrong way: early pixels look at late ones")
def backwards(ranks):
    masks = [after[:, None] <= before[None] for before, after in zip(ranks, ranks[1:])]
    return [*masks, ranks[0][:, None] < ranks[-1][None]]


@wrong("made_masks", "the outputs must have the ranks of the pixels, ranks[0], not 0, 1, 2, ...")
def outputs_in_natural_order(ranks):
    masks = [after[:, None] >= before[None] for before, after in zip(ranks, ranks[1:])]
    return [*masks, torch.arange(len(ranks[0]))[:, None] > ranks[-1][None]]


@wrong("made_masks", "the mask of the output layer is missing")
def no_output_mask(ranks):
    return [after[:, None] >= before[None] for before, after in zip(ranks, ranks[1:])]


@wrong("made_masks", "compare the ranks, not positions: unit number 3 need not have rank 3")
def positions_for_ranks(ranks):
    layers = [torch.arange(len(r)) for r in ranks]
    masks = [after[:, None] >= before[None] for before, after in zip(layers, layers[1:])]
    return [*masks, layers[0][:, None] > layers[-1][None]]


@wrong(
    "made_masks",
    "one mask between each two layers, and one to the outputs, for any number of layers",
)
def two_hidden_layers_only(ranks):
    first = ranks[1][:, None] >= ranks[0][None]
    second = ranks[2][:, None] >= ranks[1][None]
    return [first, second, ranks[0][:, None] > ranks[2][None]]


# ---------------------------------------------------------------- pixel_mask


@right("pixel_mask")
def half_of_the_flat_kernel(kind, height, width):
    flat = torch.arange(height * width)
    centre = height * width // 2
    return (flat < centre if kind == "A" else flat <= centre).reshape(height, width)


@right("pixel_mask")
def remove_the_future(kind, height, width):
    mask = torch.ones(height, width)
    mask[height // 2 + 1 :] = 0
    mask[height // 2, width // 2 + 1 :] = 0
    if kind == "A":
        mask[height // 2, width // 2] = 0
    return mask


@right("pixel_mask")
def four_dimensional_style(kind, height, width):
    r, c = torch.meshgrid(
        torch.arange(height) - height // 2, torch.arange(width) - width // 2, indexing="ij"
    )
    return (r < 0) | ((r == 0) & ((c < 0) if kind == "A" else (c <= 0)))


@wrong("pixel_mask", "A and B are exchanged: A leaves out the centre")
def a_for_b(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2] = True
    mask[height // 2, : width // 2 + (kind == "A")] = True
    return mask


@wrong("pixel_mask", "this is type A everywhere; B keeps the centre")
def always_a(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2] = True
    mask[height // 2, : width // 2] = True
    return mask


@wrong("pixel_mask", "rows below the centre have not been read yet; they must be 0")
def rows_below_left_on(kind, height, width):
    mask = torch.ones(height, width, dtype=torch.bool)
    mask[height // 2, width // 2 + (kind == "B") :] = False
    return mask


@wrong("pixel_mask", "left and right are exchanged: in raster order the past lies to the left")
def right_for_left(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2] = True
    mask[height // 2, width // 2 + (kind == "A") :] = True
    return mask


@wrong("pixel_mask", "the rows above are missing")
def own_row_only(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[height // 2, : width // 2 + (kind == "B")] = True
    return mask


@wrong("pixel_mask", "the rows above belong to the past in full, to the right of the centre too")
def quadrant(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2, : width // 2 + (kind == "B")] = True
    mask[height // 2, : width // 2 + (kind == "B")] = True
    return mask


@wrong("pixel_mask", "this reads column by column; raster order goes row by row")
def columns_first(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[:, : width // 2] = True
    mask[: height // 2 + (kind == "B"), width // 2] = True
    return mask


@wrong("pixel_mask", "of the rows above only the nearest is on; all of them belong to the past")
def only_the_row_above(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[max(height // 2 - 1, 0)] = height > 1
    mask[height // 2, : width // 2 + (kind == "B")] = True
    return mask


@right("pixel_mask")
def cell_by_cell(kind, height, width):
    import numpy as np

    mask = np.zeros((height, width), dtype=np.float32)
    for row in range(height):
        for column in range(width):
            if row < height // 2 or (row == height // 2 and column < width // 2):
                mask[row, column] = 1
    if kind == "B":
        mask[height // 2, width // 2] = 1
    return torch.from_numpy(mask)


@wrong("pixel_mask", "the centre's own row belongs to the past up to the centre")
def rows_above_only(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2] = True
    mask[height // 2, width // 2] = kind == "B"
    return mask


@wrong("pixel_mask", "this is type B everywhere; A leaves out the centre")
def always_b(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2] = True
    mask[height // 2, : width // 2 + 1] = True
    return mask


@wrong(
    "pixel_mask", "the whole row of the centre is on: what lies to its right has not been read yet"
)
def whole_row(kind, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[: height // 2 + 1] = True
    mask[height // 2, width // 2] = kind == "B"
    return mask


@wrong("pixel_mask", "height and width are exchanged: rows come first")
def axes_exchanged(kind, height, width):
    mask = torch.zeros(width, height, dtype=torch.bool)
    mask[: width // 2] = True
    mask[width // 2, : height // 2 + (kind == "B")] = True
    return mask


# ---------------------------------------------------------------- discretised_logistic


@right("discretised_logistic")
def by_softplus(v, mean, log_scale, levels):
    inverse = torch.exp(-log_scale)
    a, b = inverse * (v - mean + 0.5), inverse * (v - mean - 0.5)
    log_cdf, log_survival = -F.softplus(-a), -F.softplus(b)
    inner = log_cdf + log_survival + torch.log1p(-torch.exp(-inverse))
    return torch.where(v <= 0, log_cdf, torch.where(v >= levels - 1, log_survival, inner))


@right("discretised_logistic")
def difference_of_log_sigmoids(v, mean, log_scale, levels):
    """log(e^p - e^q) = p + log(1 - e^(q - p)), on the side of the mean where the sigmoids are small."""
    s = log_scale.exp()
    sign = torch.where(v > mean, -1.0, 1.0).to(v)
    near = F.logsigmoid((sign * (v - mean) + 0.5) / s)
    far = F.logsigmoid((sign * (v - mean) - 0.5) / s)
    inside = near + torch.log(-torch.expm1(far - near))
    out = torch.where(v == 0, F.logsigmoid((v + 0.5 - mean) / s), inside)
    return torch.where(v == levels - 1, F.logsigmoid((mean - v + 0.5) / s), out)


@wrong(
    "discretised_logistic", "the edge bins are missing: 0 and levels - 1 take all that lies beyond"
)
def no_edge_bins(v, mean, log_scale, levels):
    s = log_scale.exp()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    return F.logsigmoid(a) + F.logsigmoid(-b) + torch.log(-torch.expm1(-1 / s))


@wrong("discretised_logistic", "the two edges are exchanged: 0 takes all that lies below")
def edges_exchanged(v, mean, log_scale, levels):
    s = log_scale.exp()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, above, torch.where(v == levels - 1, below, inside))


@wrong("discretised_logistic", "the bins are two wide: v owns [v - 1/2, v + 1/2]")
def whole_for_half(v, mean, log_scale, levels):
    s = log_scale.exp()
    a, b = (v + 1 - mean) / s, (v - 1 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-2 / s))
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside))


@wrong("discretised_logistic", "the bins are shifted: v owns [v - 1/2, v + 1/2]")
def floor_bins(v, mean, log_scale, levels):
    s = log_scale.exp()
    a, b = (v + 1 - mean) / s, (v - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside))


@wrong("discretised_logistic", "this is the density at v, not the mass of the bin")
def density(v, mean, log_scale, levels):
    z = (v - mean) / log_scale.exp()
    return F.logsigmoid(z) + F.logsigmoid(-z) - log_scale


@wrong("discretised_logistic", "log_scale is log s, not log s^2")
def log_scale_as_log_variance(v, mean, log_scale, levels):
    s = (0.5 * log_scale).exp()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside))


@wrong("discretised_logistic", "these are probabilities; their log is asked")
def no_log(v, mean, log_scale, levels):
    s = log_scale.exp()
    low, high = torch.sigmoid((v - 0.5 - mean) / s), torch.sigmoid((v + 0.5 - mean) / s)
    return torch.where(v == levels - 1, 1.0, high) - torch.where(v == 0, 0.0, low)


@wrong(
    "discretised_logistic",
    "two sigmoids that round to 0 or 1 are subtracted: take the three factors of equation (11)",
)
def difference_of_sigmoids(v, mean, log_scale, levels):
    s = log_scale.exp()
    low, high = torch.sigmoid((v - 0.5 - mean) / s), torch.sigmoid((v + 0.5 - mean) / s)
    return (torch.where(v == levels - 1, 1.0, high) - torch.where(v == 0, 0.0, low)).log()


@wrong(
    "discretised_logistic",
    "far from the mean the mass is tiny, and a clamp only hides it: take the three factors of equation (11)",
)
def clamped_log(v, mean, log_scale, levels):
    s = log_scale.exp()
    low, high = torch.sigmoid((v - 0.5 - mean) / s), torch.sigmoid((v + 0.5 - mean) / s)
    mass = torch.where(v == levels - 1, 1.0, high) - torch.where(v == 0, 0.0, low)
    return mass.clamp_min(1e-12).log()


@right("discretised_logistic")
def in_double_and_back(v, mean, log_scale, levels):
    v, m, t = v.double(), mean.double(), log_scale.double()
    s = t.exp()
    below, above = F.logsigmoid((v - m + 0.5) / s), F.logsigmoid((m - v + 0.5) / s)
    out = below + above + torch.log1p(-torch.exp(-1 / s))
    out = torch.where(v < 0.5, below, out)
    return torch.where(v > levels - 1.5, above, out).to(mean.dtype)


@wrong("discretised_logistic", "the scale is exp(log_scale), not log_scale itself")
def log_scale_as_scale(v, mean, log_scale, levels):
    s = log_scale.abs()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside))


@wrong("discretised_logistic", "the factor 1 - exp(-1/s) of equation (11) is missing")
def third_factor_forgotten(v, mean, log_scale, levels):
    s = log_scale.exp()
    below, above = F.logsigmoid((v + 0.5 - mean) / s), F.logsigmoid((mean - v + 0.5) / s)
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, below + above))


@wrong("discretised_logistic", "the last level is levels - 1: its edge bin is missing")
def last_level_is_levels(v, mean, log_scale, levels):
    s = log_scale.exp()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, below, torch.where(v == levels, above, inside))


@wrong("discretised_logistic", "the sign in the exponent: divide by s = exp(log_scale)")
def multiplied_by_the_scale(v, mean, log_scale, levels):
    s = (-log_scale).exp()
    a, b = (v + 0.5 - mean) / s, (v - 0.5 - mean) / s
    below, above = F.logsigmoid(a), F.logsigmoid(-b)
    inside = below + above + torch.log(-torch.expm1(-1 / s))
    return torch.where(v == 0, below, torch.where(v == levels - 1, above, inside))


# ---------------------------------------------------------------- ancestral_sample


@right("ancestral_sample")
def clamp_written_first(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    known = torch.zeros(len(order), dtype=torch.bool) if clamp is None else ~torch.isnan(clamp)
    if clamp is not None:
        x[:, known] = clamp[known]
    for i in order:
        if not known[i]:
            x[:, i] = torch.bernoulli(torch.sigmoid(logits(x)[:, i]), generator=generator).to(x)
    return x


@right("ancestral_sample")
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


@right("ancestral_sample")
def gumbel_style(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        noise = torch.logit(torch.rand(count, generator=generator).clamp(1e-7, 1 - 1e-7))
        x[:, i] = (logits(x)[:, i] + noise > 0).float()
        if clamp is not None and not math.isnan(clamp[i]):
            x[:, i] = clamp[i]
    return x


@wrong(
    "ancestral_sample",
    "all pixels are drawn in one pass, or in reverse: each must see those before it",
)
def one_pass(logits, order, count, clamp=None, generator=None):
    p = logits(torch.zeros(count, len(order))).sigmoid()
    x = (torch.rand(p.shape, generator=generator) < p).float()
    return x if clamp is None else torch.where(clamp.isnan(), x, clamp)


@wrong("ancestral_sample", "the pixels are drawn in the order 0, 1, 2, ... instead of `order`")
def natural_order(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in range(len(order)):
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@wrong("ancestral_sample", "`order[k]` is the pixel, not its rank: take i = order[k]")
def order_taken_for_ranks(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.argsort().tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@wrong("ancestral_sample", "p > 0.5, the likelier value, instead of a toss")
def likelier_value(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        x[:, i] = (logits(x)[:, i] > 0).float() if clamp is None or clamp[i].isnan() else clamp[i]
    return x


@wrong("ancestral_sample", "one toss for the whole batch: each picture needs its own")
def one_coin_for_all(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(1, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@wrong(
    "ancestral_sample",
    "the coin is upside down: ink has probability sigmoid(logit), so u < sigmoid(logit)",
)
def upside_down(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) > logits(x)[:, i].sigmoid()).float()
    return x


@wrong(
    "ancestral_sample",
    "the clamped values are written at the end; the pixels drawn in between never saw them",
)
def clamps_at_the_end(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x if clamp is None else torch.where(clamp.isnan(), x, clamp)


@wrong("ancestral_sample", "clamped pixels are drawn like the others; write the given value")
def ignores_the_clamp(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@wrong("ancestral_sample", "a clamp of 0 is a value too; only NaN means free")
def zero_is_not_a_value(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    given = None if clamp is None else clamp.nan_to_num(0)
    for i in order.tolist():
        if given is not None and given[i]:
            x[:, i] = given[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@wrong("ancestral_sample", "the sigmoid is taken twice")
def double_sigmoid(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            p = torch.distributions.Bernoulli(logits=logits(x)[:, i].sigmoid()).probs
            x[:, i] = (torch.rand(count, generator=generator) < p).float()
    return x


@wrong("ancestral_sample", "the coins are not from `generator`: take every coin from it")
def global_coins(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = torch.bernoulli(logits(x)[:, i].sigmoid())
    return x


@wrong(
    "ancestral_sample",
    "two generators give the same pictures: take the coins from `generator`, not from a seed of your own",
)
def own_seed(logits, order, count, clamp=None, generator=None):
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@right("ancestral_sample")
def with_multinomial(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order:
        p = logits(x)[:, i].sigmoid().double()
        drawn = torch.multinomial(torch.stack([1 - p, p], 1), 1, generator=generator)[:, 0]
        fixed = clamp is not None and not torch.isnan(clamp[i])
        x[:, i] = clamp[i] if fixed else drawn.float()
    return x


@wrong("ancestral_sample", "pixels must be 0 or 1")
def keeps_probabilities(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for i in order.tolist():
        given = clamp is not None and not clamp[i].isnan()
        x[:, i] = clamp[i] if given else logits(x)[:, i].sigmoid()
    return x


@wrong(
    "ancestral_sample", "clamp[k] was taken for the k-th pixel of the order; it belongs to pixel k"
)
def clamp_in_the_order(logits, order, count, clamp=None, generator=None):
    x = torch.zeros(count, len(order))
    for k, i in enumerate(order.tolist()):
        if clamp is not None and not clamp[k].isnan():
            x[:, i] = clamp[k]
        else:
            x[:, i] = (torch.rand(count, generator=generator) < logits(x)[:, i].sigmoid()).float()
    return x


@wrong(
    "ancestral_sample",
    "every pixel of a picture is decided by the same number u: toss anew for each",
)
def one_coin_a_picture(logits, order, count, clamp=None, generator=None):
    x, u = torch.zeros(count, len(order)), torch.rand(count, generator=generator)
    for i in order.tolist():
        if clamp is not None and not clamp[i].isnan():
            x[:, i] = clamp[i]
        else:
            x[:, i] = (u < logits(x)[:, i].sigmoid()).float()
    return x


# ---------------------------------------------------------------- is_autoregressive


@right("is_autoregressive")
def dependency_matrix(logits, n):
    x = (torch.rand(200, n) < 0.5).double()
    base, depends = logits(x), torch.zeros(n, n, dtype=torch.bool)
    for j in range(n):
        other = x.clone()
        other[:, j] = 1 - x[:, j]
        depends[:, j] = ((logits(other) - base).abs() > 1e-6).any(dim=0)
    return bool(torch.equal(depends, torch.ones(n, n).tril(-1).bool()))


@right("is_autoregressive")
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


@wrong(
    "is_autoregressive",
    "a pixel that sees itself is accepted: logit j must not move with pixel j either",
)
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


@wrong(
    "is_autoregressive",
    "leaks from later pixels are accepted: none of the logits 0 ... j may move with pixel j",
)
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


@wrong(
    "is_autoregressive",
    "blind spots are accepted as long as something is seen: every later logit must move in some picture",
)
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


@wrong("is_autoregressive", "only leaks count for your test: a model that sees nothing is accepted")
def leaks_only(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        if ((logits(flipped) - before).abs() > 1e-6)[:, : j + 1].any():
            return False
    return True


@wrong("is_autoregressive", "it says False to every case, right or broken")
def never_satisfied(logits, n):
    return False


@wrong("is_autoregressive", "it says True to every case, right or broken")
def always_satisfied(logits, n):
    return True


@wrong(
    "is_autoregressive",
    "probabilities that sum to 1 do not show the order, nor a blind spot: look at each pixel and each logit",
)
def sums_to_one(logits, n):
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n)
    log_p = -F.binary_cross_entropy_with_logits(
        logits(states), states.to(logits(states)), reduction="none"
    ).sum(1)
    return bool(abs(log_p.exp().sum() - 1) < 1e-4)


@wrong(
    "is_autoregressive", "one picture is not enough: some dependences show only in some pictures"
)
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


@wrong("is_autoregressive", "rounding is not a dependence: count changes above 1e-6")
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


@wrong("is_autoregressive", "a weak leak is accepted: count changes above 1e-6")
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


@right("is_autoregressive")
def on_all_pictures(logits, n):
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n).reshape(-1, n)
    before, good = logits(states), True
    for j in range(n):
        other = states.clone()
        other[:, j] = 1 - other[:, j]
        largest = (logits(other) - before).abs().amax(0)
        good &= bool((largest[: j + 1] <= 1e-6).all() and (largest[j + 1 :] > 1e-6).all())
    return good


@wrong(
    "is_autoregressive", "four pictures are not enough: some dependences show in one of eight only"
)
def on_four_pictures(logits, n):
    x = torch.randint(0, 2, (4, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        moved = ((logits(flipped) - before).abs() > 1e-6).any(0)
        if moved[: j + 1].any() or not moved[j + 1 :].all():
            return False
    return True


@wrong(
    "is_autoregressive",
    "the dependence is asked for in every picture; one picture in which a logit moves is enough",
)
def in_every_picture(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        moved = (logits(flipped) - before).abs() > 1e-6
        if moved[:, : j + 1].any() or not moved[:, j + 1 :].all():
            return False
    return True


@wrong("is_autoregressive", "only the next pixel is asked for: every later logit must see pixel j")
def neighbours_only(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        moved = ((logits(flipped) - before).abs() > 1e-6).any(0)
        if moved[: j + 1].any() or not moved[j + 1 : j + 2].all():
            return False
    return True


@wrong(
    "is_autoregressive", "the triangle lies on the other side: logit i sees the pixels *before* i"
)
def the_other_triangle(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    before = logits(x)
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        moved = ((logits(flipped) - before).abs() > 1e-6).any(0)
        if moved[j:].any() or not moved[:j].all():
            return False
    return True


@wrong("is_autoregressive", "one True or False must come back")
def a_table(logits, n):
    x = torch.randint(0, 2, (64, n)).float()
    rows = []
    for j in range(n):
        flipped = x.clone()
        flipped[:, j] = 1 - flipped[:, j]
        rows.append(((logits(flipped) - logits(x)).abs() > 1e-6).any(0))
    return torch.stack(rows, 1) == torch.ones(n, n).tril(-1).bool()
