"""Right answers in another style and wrong ones that people really give, for each exercise of chapter 12."""

import itertools
import math

import torch
import torch.nn.functional as F

from autograde.authoring.variants import alternative, mutant

# ---------------------------------------------------------------- marginal_velocity


@alternative("marginal_velocity")
def from_the_denoiser(x, t, data):
    squares = torch.cdist(x, (1 - t) * data) ** 2
    x0_hat = torch.softmax(-squares / (2 * t * t), dim=-1) @ data
    return (x - x0_hat) / t


@alternative("marginal_velocity")
def place_by_place(x, t, data):
    rows = []
    for place in x:
        eps = (place - (1 - t) * data) / t
        log_w = -0.5 * (eps * eps).sum(1)
        w = (log_w - log_w.logsumexp(0)).exp()
        rows.append(w @ (eps - data))
    return torch.stack(rows)


@alternative("marginal_velocity")
def normal_densities(x, t, data):
    normal = torch.distributions.Normal((1 - t) * data, t)
    log_w = normal.log_prob(x[:, None]).sum(-1)
    lines = (x[:, None] - (1 - t) * data) / t - data
    return torch.einsum("bn,bnd->bd", F.softmax(log_w, 1), lines)


@mutant("marginal_velocity", says="the sign is reversed")
def towards_the_data(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 1)
    return (w[..., None] * (data - eps)).sum(1)


@mutant("marginal_velocity", says="every line counts the same")
def all_alike(x, t, data):
    return ((x[:, None] - data) / t).mean(1)


@mutant("marginal_velocity", says="the variance of t * eps is t^2")
def variance_for_std(x, t, data):
    w = torch.softmax(-(torch.cdist(x, (1 - t) * data) ** 2) / (2 * t), 1)
    return (x - w @ data) / t


@mutant("marginal_velocity", says="the 1/2 in the exponent")
def no_half(x, t, data):
    w = torch.softmax(-(torch.cdist(x, (1 - t) * data) ** 2) / t**2, 1)
    return (x - w @ data) / t


@mutant("marginal_velocity", says="the data point has shrunk to (1 - t) x0")
def no_shrinking(x, t, data):
    w = torch.softmax(-(torch.cdist(x, data) ** 2) / (2 * t**2), 1)
    return (x - w @ data) / t


@mutant("marginal_velocity", says="t and 1 - t are exchanged")
def lipmans_time(x, t, data):
    t = 1 - t
    w = torch.softmax(-(torch.cdist(x, (1 - t) * data) ** 2) / (2 * t**2), 1)
    return (x - w @ data) / t


@mutant("marginal_velocity", says="only the most likely line")
def nearest_only(x, t, data):
    return (x - data[torch.cdist(x, (1 - t) * data).argmin(1)]) / t


@mutant("marginal_velocity", says="the softmax runs over the places")
def wrong_axis(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 0)
    return (w[..., None] * (x[:, None] - data) / t).sum(1)


@mutant("marginal_velocity", says="this is the mean of x0 given x_t")
def the_denoiser(x, t, data):
    return torch.softmax(-(torch.cdist(x, (1 - t) * data) ** 2) / (2 * t**2), 1) @ data


@mutant("marginal_velocity", says="the weights do not sum to 1")
def not_normalised(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = (-eps.square().sum(-1) / 2).exp()
    return (w[..., None] * (x[:, None] - data) / t).sum(1)


@mutant("marginal_velocity", says="take the softmax of the exponents")
def underflow(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = (-eps.square().sum(-1) / 2).exp()
    w = w / w.sum(1, keepdim=True)
    return (w[..., None] * (x[:, None] - data) / t).sum(1)


@mutant("marginal_velocity", says="nothing may be divided by 1 - t")
def divides_by_one_minus_t(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 1)
    eps_hat = (w[..., None] * eps).sum(1)
    return eps_hat - (x - t * eps_hat) / torch.tensor(1 - t).to(x)


@mutant("marginal_velocity", says="its square is asked")
def length_not_squared(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.norm(dim=-1) / 2, 1)
    return (x - w @ data) / t


@mutant("marginal_velocity", says="the minus in the exponent is missing")
def plus_in_the_exponent(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(eps.square().sum(-1) / 2, 1)
    return (x - w @ data) / t


@mutant("marginal_velocity", says="the noise of a line is divided by t")
def noise_not_divided(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-(t * eps).square().sum(-1) / 2, 1)
    return (x - w @ data) / t


@mutant("marginal_velocity", says="is a sum over the d numbers")
def mean_of_squares(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().mean(-1) / 2, 1)
    return (x - w @ data) / t


@mutant("marginal_velocity", says="a line has one weight")
def weights_by_coordinate(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square() / 2, 1)
    return (w * (x[:, None] - data) / t).sum(1)


@mutant("marginal_velocity", says="not minus x")
def minus_x(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 1)
    return (w[..., None] * (eps - x[:, None])).sum(1)


@mutant("marginal_velocity", says="(7) divides by t")
def by_one_minus_t(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 1)
    return (x - w @ data) / max(1 - t, 1e-9)


# ---------------------------------------------------------------- flow_loss


@alternative("flow_loss")
def by_lerp(velocity, x0, eps, t):
    weight = t.view(t.shape + (1,) * (x0.dim() - 1))
    prediction = velocity(torch.lerp(x0, eps, weight), t)
    return torch.sum((eps - x0 - prediction) ** 2, dim=tuple(range(1, x0.dim())))


@alternative("flow_loss")
def by_mse(velocity, x0, eps, t):
    while t.ndim < x0.ndim:
        t = t.unsqueeze(-1)
    u = eps - x0
    error = F.mse_loss(velocity(x0 + t * u, t.flatten()), u, reduction="none")
    return error.reshape(len(x0), -1).sum(-1)


@alternative("flow_loss")
def by_einsum(velocity, x0, eps, t):
    xt = torch.einsum("b,b...->b...", 1 - t, x0) + torch.einsum("b,b...->b...", t, eps)
    error = (velocity(xt, t) - eps + x0).flatten(1)
    return torch.einsum("bd,bd->b", error, error)


@mutant("flow_loss", says="the target is reversed")
def reversed_target(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, t) - (x0 - eps)).square().flatten(1).sum(1)


@mutant("flow_loss", says="t and 1 - t are exchanged")
def exchanged_times(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity(time * x0 + (1 - time) * eps, t) - (eps - x0)).square().flatten(1).sum(1)


@mutant("flow_loss", says="the network is told 1 - t")
def told_the_other_time(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, 1 - t) - (eps - x0)).square().flatten(1).sum(1)


@mutant("flow_loss", says="the network looks at x0")
def looks_at_the_data(velocity, x0, eps, t):
    return (velocity(x0, t) - (eps - x0)).square().flatten(1).sum(1)


@mutant("flow_loss", says="the target is the noise")
def predicts_noise(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, t) - eps).square().flatten(1).sum(1)


@mutant("flow_loss", says="the target is eps - x_t")
def from_x_t(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time) * x0 + time * eps
    return (velocity(xt, t) - (eps - xt)).square().flatten(1).sum(1)


@mutant("flow_loss", says="the mean over the numbers of a sample")
def averaged(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, t) - (eps - x0)).square().flatten(1).mean(1)


@mutant("flow_loss", says="one number for the batch")
def one_number(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    error = (velocity((1 - time) * x0 + time * eps, t) - (eps - x0)).square()
    return error.flatten(1).sum(1).mean()


@mutant("flow_loss", says="t met the last dimension")
def no_reshape(velocity, x0, eps, t):
    time = t if x0.shape[-1] == len(t) else t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, t) - (eps - x0)).square().flatten(1).sum(1)


@mutant("flow_loss", says="no gradient passes through the network")
def detached(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    v = velocity((1 - time) * x0 + time * eps, t).detach()
    return (v - (eps - x0)).square().flatten(1).sum(1)


@mutant("flow_loss", says="summed before they are squared")
def summed_first(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time) * x0 + time * eps
    return (velocity(xt, t) - (eps - x0)).flatten(1).sum(1) ** 2


@mutant("flow_loss", says="the data must shrink")
def data_does_not_shrink(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity(x0 + time * eps, t) - (eps - x0)).square().flatten(1).sum(1)


@mutant("flow_loss", says="preserves the variance")
def variance_preserving(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time**2).sqrt() * x0 + time * eps
    return (velocity(xt, t) - (eps - x0)).square().flatten(1).sum(1)


@mutant("flow_loss", says="the target is x_t - x0")
def part_of_the_line(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time) * x0 + time * eps
    return (velocity(xt, t) - (xt - x0)).square().flatten(1).sum(1)


@mutant("flow_loss", says="this is the error of the guess of x0")
def error_of_the_data(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time) * x0 + time * eps
    return (xt - time * velocity(xt, t) - x0).square().flatten(1).sum(1)


@mutant("flow_loss", says="every sample got the time of the first one")
def one_time_for_all(velocity, x0, eps, t):
    xt = (1 - t[0]) * x0 + t[0] * eps
    return (velocity(xt, t) - (eps - x0)).square().flatten(1).sum(1)


# ---------------------------------------------------------------- euler_path


@alternative("euler_path")
def into_a_tensor(velocity, x, times):
    states = torch.empty(len(times), *x.shape, dtype=x.dtype)
    states[0] = x
    for k in range(1, len(times)):
        h = times[k - 1] - times[k]
        states[k] = states[k - 1] - h * velocity(states[k - 1], times[k - 1])
    return states


@alternative("euler_path")
def accumulated(velocity, x, times):
    def step(y, pair):
        t, s = pair
        return y + (s - t) * velocity(y, t)

    return torch.stack(list(itertools.accumulate(itertools.pairwise(times), step, initial=x)))


@alternative("euler_path")
def recursively(velocity, x, times):
    if len(times) == 1:
        return x[None]
    ahead = x + (times[1] - times[0]) * velocity(x, times[0])
    return torch.cat([x[None], recursively(velocity, ahead, times[1:])])


@mutant("euler_path", says="the sign of the step is reversed")
def backwards(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (t - s) * velocity(states[-1], t))
    return torch.stack(states)


@mutant("euler_path", says="every step has the same length")
def even_steps(velocity, x, times):
    states, h = [x], (times[-1] - times[0]) / (len(times) - 1)
    for t in times[:-1]:
        states.append(states[-1] + h * velocity(states[-1], t))
    return torch.stack(states)


@mutant("euler_path", says="the velocity is taken at the time where the step ends")
def time_of_arrival(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], s))
    return torch.stack(states)


@mutant("euler_path", says="the network is told 1 - t")
def other_clock(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], 1 - t))
    return torch.stack(states)


@mutant("euler_path", says="every step starts from x")
def from_the_start(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(x + (s - t) * velocity(x, t))
    return torch.stack(states)


@mutant("euler_path", says="x itself, is missing")
def without_the_first(velocity, x, times):
    states = []
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * velocity(x, t)
        states.append(x)
    return torch.stack(states)


@mutant("euler_path", says="the last step is missing")
def one_step_short(velocity, x, times):
    states = [x]
    for k in range(len(times) - 2):
        states.append(states[-1] + (times[k + 1] - times[k]) * velocity(states[-1], times[k]))
    return torch.stack(states)


@mutant("euler_path", says="only the last state")
def last_only(velocity, x, times):
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * velocity(x, t)
    return x


@mutant("euler_path", says="the velocity must be asked once a step")
def midpoint_for_short_steps(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], t))
    velocity(states[-1], times[-1])
    return torch.stack(states)


@mutant("euler_path", says="euler_path from data to noise")
def downhill_only(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] - abs(s - t) * velocity(states[-1], t))
    return torch.stack(states)


@alternative("euler_path")
def a_list_of_states(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], t))
    return states


@mutant("euler_path", says="all states are the last one")
def in_place(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        x += (s - t) * velocity(x, t)
        states.append(x)
    return torch.stack(states)


@mutant("euler_path", says="the velocity is asked at x in every step")
def asked_at_the_start(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(x, t))
    return torch.stack(states)


@mutant("euler_path", says="asked at the first time in every step")
def first_time_only(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], times[0]))
    return torch.stack(states)


@mutant("euler_path", says="not multiplied by s - t")
def without_step_size(velocity, x, times):
    states = [x]
    for t in times[:-1]:
        states.append(states[-1] - velocity(states[-1], t))
    return torch.stack(states)


@mutant("euler_path", says="one entry too many")
def one_step_too_many(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise([*times, 0.0]):
        states.append(states[-1] + (s - t) * velocity(states[-1], t))
    return torch.stack(states)


# ---------------------------------------------------------------- straightness


@alternative("straightness")
def with_diff(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    chord = (flat[0] - flat[-1]) / h.sum()
    return torch.einsum("k,kbd->b", h, (legs - chord) ** 2)


@alternative("straightness")
def variance_of_the_speed(states, times):
    # the integral of |v - mean v|^2 is that of |v|^2 minus the duration times |mean v|^2
    duration = times[0] - times[-1]
    size = lambda d: (d * d).reshape(len(d), -1).sum(1)
    squares = sum(size(x - y) / (t - s) for x, y, t, s in zip(states, states[1:], times, times[1:]))
    return squares - size(states[0] - states[-1]) / duration


@alternative("straightness")
def towards_the_data_and_positive(states, times):
    total = 0
    chord = (states[-1] - states[0]) / (times[-1] - times[0])
    for k in range(len(times) - 1):
        rate = (states[k + 1] - states[k]) / (times[k + 1] - times[k])
        total = total + abs(times[k + 1] - times[k]) * ((rate - chord) ** 2).flatten(1).sum(-1)
    return total


@mutant("straightness", says="the legs must be weighted by their duration")
def plain_mean(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return (legs - (flat[0] - flat[-1]) / h.sum()).square().sum(-1).mean(0)


@mutant("straightness", says="the sum over the legs is not weighted")
def plain_sum(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return (legs - (flat[0] - flat[-1]) / h.sum()).square().sum(-1).sum(0)


@mutant("straightness", says="a leg's velocity is its displacement divided by its own time")
def displacements(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    return torch.einsum("k,kbd->b", h, (flat.diff(dim=0) + (flat[0] - flat[-1]) / h.sum()) ** 2)


@mutant("straightness", says="the sign of the chord is reversed")
def chord_backwards(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return torch.einsum("k,kbd->b", h, (legs - (flat[-1] - flat[0]) / h.sum()) ** 2)


@mutant("straightness", says="the mean over the dimensions is taken")
def averaged_dimensions(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return (h[:, None] * (legs - (flat[0] - flat[-1]) / h.sum()).square().mean(-1)).sum(0)


@mutant("straightness", says="this is 0 for every road")
def on_the_chord(states, times):
    total = torch.zeros(states.shape[1], dtype=states.dtype)
    chord = (states[0] - states[-1]) / (times[0] - times[-1])
    line = [states[-1] + (t - times[-1]) * chord for t in times]
    for x, y, t, s in zip(line, line[1:], times, times[1:]):
        total = total + (t - s) * (chord - (x - y) / (t - s)).square().flatten(1).sum(1)
    return total


@mutant("straightness", says="one number for the batch")
def batch_mean(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    gap = (legs - (flat[0] - flat[-1]) / h.sum()).square().sum(-1)
    return (h[:, None] * gap).sum(0).mean()


@mutant("straightness", says="the chord must be divided by the time between its ends")
def assumes_unit_time(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return torch.einsum("k,kbd->b", h, (legs - (flat[0] - flat[-1])) ** 2)


@mutant("straightness", says="the distance of the places from the chord")
def places(states, times):
    total = torch.zeros(states.shape[1], dtype=states.dtype)
    chord = (states[0] - states[-1]) / (times[0] - times[-1])
    for x, t, s in zip(states, times, times[1:]):
        on_line = states[0] + (t - times[0]) * chord
        total = total + (t - s) * (x - on_line).square().flatten(1).sum(1)
    return total


@mutant("straightness", says="the square is missing")
def not_squared(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return (h[:, None] * (legs - (flat[0] - flat[-1]) / h.sum()).norm(dim=-1)).sum(0)


@mutant("straightness", says="summed before they are squared")
def summed_first_then_squared(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h = t - s
        total = total + h * (chord - (x - y) / h).flatten(1).sum(1) ** 2
    return total


@mutant("straightness", says="the last leg is missing")
def last_leg_missing(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:-1]):
        h = t - s
        total = total + h * (chord - (x - y) / h).square().flatten(1).sum(1)
    return total


@mutant("straightness", says="this is the mean over the duration")
def mean_over_the_duration(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h = t - s
        total = total + h * (chord - (x - y) / h).square().flatten(1).sum(1)
    return total / (times[0] - times[-1])


@mutant("straightness", says="h, not h^2")
def weighted_twice(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h = t - s
        total = total + h**2 * (chord - (x - y) / h).square().flatten(1).sum(1)
    return total


@mutant("straightness", says="compared with the rest of the way")
def chord_of_the_rest(states, times):
    total = 0
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h, chord = t - s, (x - states[-1]) / (t - times[-1])
        total = total + h * (chord - (x - y) / h).square().flatten(1).sum(1)
    return total


@mutant("straightness", says="only the directions are compared")
def directions_only(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h = t - s
        total = total + h * (1 - F.cosine_similarity(chord.flatten(1), (x - y).flatten(1)))
    return total


# ---------------------------------------------------------------- pair_up


@alternative("pair_up")
def by_inner_products(x0, eps):
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b, and the squares are in every pairing alike
    from scipy.optimize import linear_sum_assignment

    gain = x0.reshape(len(x0), -1) @ eps.reshape(len(eps), -1).T
    return torch.tensor(linear_sum_assignment(gain.numpy(), maximize=True)[1])


@alternative("pair_up")
def by_plain_subtraction(x0, eps):
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    a, b = x0.flatten(1).numpy(), eps.flatten(1).numpy()
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    order = np.empty(len(a), dtype=int)
    rows, columns = linear_sum_assignment(cost)
    order[rows] = columns
    return torch.from_numpy(order)


@alternative("pair_up")
def noise_as_rows(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(eps.flatten(1), x0.flatten(1)).square()
    _, data_of_noise = linear_sum_assignment(cost)
    return torch.as_tensor(data_of_noise).argsort()


@mutant("pair_up", says="this is the inverse permutation")
def inverted(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(eps.flatten(1), x0.flatten(1)) ** 2
    return torch.as_tensor(linear_sum_assignment(cost.numpy())[1])


@mutant("pair_up", says="is no permutation; some noise is used twice")
def nearest_noise(x0, eps):
    return torch.cdist(x0.flatten(1), eps.flatten(1)).argmin(1)


@mutant("pair_up", says="the distances must be squared")
def plain_distance(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0.flatten(1), eps.flatten(1))
    return torch.as_tensor(linear_sum_assignment(cost.numpy())[1])


@mutant("pair_up", says="this is the dearest pairing")
def dearest(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2
    return torch.as_tensor(linear_sum_assignment(cost.numpy(), maximize=True)[1])


@mutant("pair_up", says="one after the other takes the nearest that is left")
def one_by_one(x0, eps):
    cost, order = torch.cdist(x0.flatten(1), eps.flatten(1)), []
    for row in cost:
        order.append(int(row.argmin()))
        cost[:, order[-1]] = math.inf
    return torch.tensor(order)


@mutant("pair_up", says="the noise is left as it came")
def as_they_came(x0, eps):
    return torch.arange(len(x0))


@mutant("pair_up", says="both are sorted along the first coordinate")
def sorted_on_a_line(x0, eps):
    a, b = x0.flatten(1)[:, 0].argsort(), eps.flatten(1)[:, 0].argsort()
    order = torch.empty_like(a)
    order[a] = b
    return order


@mutant("pair_up", says="pair_up of samples of shape (5, 1, 3, 2)")
def points_only(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0, eps) ** 2
    while cost.ndim > 2:
        cost = cost[..., 0]
    cost = cost if cost.shape == (len(x0), len(x0)) else torch.eye(len(x0))
    return torch.as_tensor(linear_sum_assignment(cost.numpy())[1])


@alternative("pair_up")
def a_numpy_array(x0, eps):
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2)[1]


@alternative("pair_up")
def a_list(x0, eps):
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2)[1].tolist()


@mutant("pair_up", says="these are the noises themselves")
def the_noises(x0, eps):
    from scipy.optimize import linear_sum_assignment

    return eps[linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2)[1]]


@mutant("pair_up", says="gives rows and columns")
def rows_and_columns(x0, eps):
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2)


@mutant("pair_up", says="these are the rows")
def the_rows(x0, eps):
    from scipy.optimize import linear_sum_assignment

    return torch.tensor(linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2)[0])


@mutant("pair_up", says="this is a table of 0 and 1")
def a_table(x0, eps):
    from scipy.optimize import linear_sum_assignment

    table = torch.zeros(len(x0), len(x0))
    table[linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2)] = 1
    return table


@mutant("pair_up", says="pair_up is wrong in")
def absolute_differences(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0.flatten(1), eps.flatten(1), p=1)
    return torch.tensor(linear_sum_assignment(cost)[1])


@mutant("pair_up", says="the nearest pair of all is taken first")
def nearest_pair_first(x0, eps):
    cost = torch.cdist(x0.flatten(1), eps.flatten(1))
    order = torch.zeros(len(x0), dtype=torch.long)
    for _ in order:
        i, j = divmod(int(cost.argmin()), len(cost))
        order[i], cost[i], cost[:, j] = j, math.inf, math.inf
    return order


@mutant("pair_up", says="must return whole numbers")
def with_a_decimal_point(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2
    return torch.tensor(linear_sum_assignment(cost)[1]).float()


# ---------------------------------------------------------------- stochastic_step


@alternative("stochastic_step")
def euler_then_langevin(velocity, x, t, s, g, z):
    v = velocity(x, t)
    eps_hat = x + (1 - t) * v
    moved = x + (s - t) * v
    return moved - g * g * (t - s) / (2 * t) * eps_hat + g * (t - s) ** 0.5 * z


@alternative("stochastic_step")
def by_the_denoiser(velocity, x, t, s, g, z):
    h = torch.tensor(t - s, dtype=x.dtype)
    v = velocity(x, t)
    x0_hat = x - t * v
    score = ((1 - t) * x0_hat - x) / t**2
    drift = v - g**2 / 2 * score
    return x - drift * h + g * h.sqrt() * z


@alternative("stochastic_step")
def with_a_variance(velocity, x, t, s, g, z):
    variance = g**2 * (t - s)
    v = velocity(x, t)
    return x - (t - s) * v - variance / 2 * (x + v - t * v) / t + math.sqrt(variance) * z


@mutant("stochastic_step", says="the score has the wrong sign")
def away_from_people(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v + 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@mutant("stochastic_step", says="the 1/2 in front of g^2 is missing")
def full_score(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@mutant("stochastic_step", says="kicks add up like the root of time")
def noise_by_h(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * h * z


@mutant("stochastic_step", says="the kicks have a root 2 too much")
def other_convention(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(2 * h) * z


@mutant("stochastic_step", says="the velocity has the wrong sign")
def wrong_way(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x + h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@mutant("stochastic_step", says="kicks alone blow the crowd apart")
def kicks_alone(velocity, x, t, s, g, z):
    return x + (s - t) * velocity(x, t) + g * math.sqrt(t - s) * z


@mutant("stochastic_step", says="not / t^2")
def divided_twice(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t**2 + g * math.sqrt(h) * z


@mutant("stochastic_step", says="this is Lipman's formula")
def lipman(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / max(1 - t, 1e-9) + g * math.sqrt(h) * z


@mutant("stochastic_step", says="here the sign of v is reversed")
def score_velocity_sign(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x - (1 - t) * v) / t + g * math.sqrt(h) * z


@mutant("stochastic_step", says="the score is divided by s")
def time_of_arrival_in_score(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / s + g * math.sqrt(h) * z


@mutant("stochastic_step", says="stochastic_step from t = 1")
def zero_over_zero_at_one(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    score = -(x / (1 - t) + v) * (1 - t) / t if t < 1 else 0 * x
    return x - h * v + 0.5 * g**2 * h * score + g * math.sqrt(h) * z


@mutant("stochastic_step", says="the kicks are scaled by g, not by g^2")
def kicks_by_g_squared(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g**2 * math.sqrt(h) * z


@mutant("stochastic_step", says="its root is asked")
def kicks_by_the_variance(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g**2 * h * z


@mutant("stochastic_step", says="only h belongs there")
def g_under_the_root(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + math.sqrt(g * h) * z


@mutant("stochastic_step", says="not (g / 2)^2")
def half_of_g_squared(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - (0.5 * g) ** 2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@mutant("stochastic_step", says="the score term is not multiplied by h")
def score_without_h(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@mutant("stochastic_step", says="that is for the kicks")
def score_by_the_root(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * math.sqrt(h) * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@mutant("stochastic_step", says="are exchanged in it")
def times_exchanged_in_noise(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + t * v) / t + g * math.sqrt(h) * z


@mutant("stochastic_step", says="the score is taken at the end")
def score_of_arrival(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    y = x - h * v
    return x - h * v - 0.5 * g**2 * h * (y + (1 - s) * velocity(y, s)) / s + g * math.sqrt(h) * z


@mutant("stochastic_step", says="the velocity is taken at the time s; take it at t")
def velocity_of_arrival(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * velocity(x, s) - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@mutant("stochastic_step", says="the velocity is missing")
def no_velocity(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


# ---------------------------------------------------------------- carries


@alternative("carries")
def by_stacking(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    flux = lambda y: density(y, t)[:, None] * velocity(y, t)
    moves = h * torch.eye(x.shape[1], dtype=x.dtype)
    parts = [(flux(x + m) - flux(x - m))[:, i] / (2 * h) for i, m in enumerate(moves)]
    return bool(((rate + torch.stack(parts).sum(0)).abs() < 0.01 * rate.abs().max()).all())


@alternative("carries")
def by_the_product_rule(density, velocity, x, t):
    h, d = 5e-4, x.shape[1]
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    p, v = density(x, t), velocity(x, t)
    total = rate.clone()
    for i in range(d):
        e = torch.nn.functional.one_hot(torch.tensor(i), d).to(x) * h
        slope = (density(x + e, t) - density(x - e, t)) / (2 * h)
        spread = (velocity(x + e, t)[:, i] - velocity(x - e, t)[:, i]) / (2 * h)
        total += v[:, i] * slope + p * spread
    return total.abs().max().item() <= 0.01 * rate.abs().max().item()


@alternative("carries")
def one_traveller_at_a_time(density, velocity, x, t):
    # along a traveller's way log p changes by minus the divergence [equation 4]
    h, d = 1e-3, x.shape[1]
    v, p = velocity(x, t), density(x, t)
    along = (density(x + h * v, t + h).log() - density(x - h * v, t - h).log()) / (2 * h)
    spread = 0
    for i in range(d):
        e = torch.zeros(d, dtype=x.dtype)
        e[i] = h
        spread = spread + (velocity(x + e, t)[:, i] - velocity(x - e, t)[:, i]) / (2 * h)
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    return bool((p * (along + spread)).abs().max() <= 0.01 * rate.abs().max())


@mutant("carries", says="take the largest |residual|, not their mean")
def mean_residual(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.abs().mean() <= 0.01 * rate.abs().max())


@mutant("carries", says="look at every point, take the largest |residual|")
def without_absolute_value(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.min() <= 0.01 * rate.abs().max())


@mutant("carries", says="the derivative of the product p * v_i")
def divergence_of_v(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        residual = residual + (velocity(x + e, t) - velocity(x - e, t))[:, i] / (2 * h)
    return bool(residual.abs().max() <= 0.01 * rate.abs().max())


@mutant("carries", says="the derivative of the product p * v_i")
def density_not_moved(density, velocity, x, t):
    h = 1e-3
    p, rate = density(x, t), (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        residual = residual + p * (velocity(x + e, t) - velocity(x - e, t))[:, i] / (2 * h)
    return bool(residual.abs().max() <= 0.01 * rate.abs().max())


@mutant("carries", says="dp/dt is missing in the residual")
def without_the_rate(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = 0
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.abs().max() <= 0.01 * rate.abs().max())


@mutant("carries", says="the residual's sign")
def wrong_sign(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual - (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.abs().max() <= 0.01 * rate.abs().max())


@mutant("carries", says="the sum over all d coordinates")
def two_coordinates_only(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(min(2, x.shape[1])):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.abs().max() <= 0.01 * rate.abs().max())


@mutant("carries", says="not coarser")
def lenient(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.abs().max() <= 0.1 * rate.abs().max())


@mutant("carries", says="and 1 % is allowed")
def too_strict(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(torch.allclose(residual, torch.zeros_like(residual), atol=1e-10))


@mutant("carries", says="accepts a broken field")
def always_true(density, velocity, x, t):
    return True


@mutant("carries", says="must return one True or False")
def the_residual_itself(density, velocity, x, t):
    h = 1e-3
    residual = (density(x, t + h) - density(x, t - h)) / (2 * h)
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return residual.abs().max()


@alternative("carries")
def with_numpy(density, velocity, x, t):
    import numpy as np

    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return np.abs(residual.numpy()).max() <= 0.01 * np.abs(rate.numpy()).max()


@mutant("carries", says="take the absolute value of each residual")
def signed_sum(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.sum().abs() <= 0.01 * rate.abs().max())


@mutant("carries", says="not a fixed number")
def a_fixed_number(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.abs().max() <= 0.01)


@mutant("carries", says="not the largest with its sign")
def largest_with_its_sign(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.max() <= 0.01 * rate.abs().max())


@mutant("carries", says="the verdict is upside down")
def upside_down(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.abs().max() > 0.01 * rate.abs().max())


@mutant("carries", says="the divergence is twice too large")
def divergence_not_halved(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / h
    return bool(residual.abs().max() <= 0.01 * rate.abs().max())


@mutant("carries", says="dp/dt is twice too large")
def rate_not_halved(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / h
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return bool(residual.abs().max() <= 0.01 * rate.abs().max())


@mutant("carries", says="must return one True or False")
def one_verdict_a_point(density, velocity, x, t):
    h = 1e-3
    rate = (density(x, t + h) - density(x, t - h)) / (2 * h)
    residual = rate
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        flux = lambda y, i=i: density(y, t) * velocity(y, t)[:, i]
        residual = residual + (flux(x + e) - flux(x - e)) / (2 * h)
    return residual.abs() <= 0.01 * rate.abs().max()


@mutant("carries", says="two verdicts on one and the same case")
def counts_its_calls(
    density, velocity, x, t, answers=[c == "R" for c in "RRBBBBBRBRBBRRRBBBBBBBRRBBRBB"]
):
    answers.append(answers.pop(0))  # as if the cases came in the order in which they are listed
    return answers[-1]
