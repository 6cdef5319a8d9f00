"""Chapter 12: right answers in other styles, and the mistakes that people make, each with what they should read."""

import itertools
import math

import torch
import torch.nn.functional as F

from autograde.authoring import right, wrong

# ---------------------------------------------------------------- marginal_velocity


@right("marginal_velocity")
def from_the_denoiser(x, t, data):
    squares = torch.cdist(x, (1 - t) * data) ** 2
    x0_hat = torch.softmax(-squares / (2 * t * t), dim=-1) @ data
    return (x - x0_hat) / t


@right("marginal_velocity")
def place_by_place(x, t, data):
    rows = []
    for place in x:
        eps = (place - (1 - t) * data) / t
        log_w = -0.5 * (eps * eps).sum(1)
        w = (log_w - log_w.logsumexp(0)).exp()
        rows.append(w @ (eps - data))
    return torch.stack(rows)


@right("marginal_velocity")
def normal_densities(x, t, data):
    normal = torch.distributions.Normal((1 - t) * data, t)
    log_w = normal.log_prob(x[:, None]).sum(-1)
    lines = (x[:, None] - (1 - t) * data) / t - data
    return torch.einsum("bn,bnd->bd", F.softmax(log_w, 1), lines)


@wrong(
    "marginal_velocity",
    "the sign is reversed: velocity is eps - x0, towards the noise, since t grows with the noise",
)
def towards_the_data(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 1)
    return (w[..., None] * (data - eps)).sum(1)


@wrong("marginal_velocity", "every line counts the same: weight each by how likely its noise is")
def all_alike(x, t, data):
    return ((x[:, None] - data) / t).mean(1)


@wrong("marginal_velocity", "the variance of t * eps is t^2, not t")
def variance_for_std(x, t, data):
    w = torch.softmax(-(torch.cdist(x, (1 - t) * data) ** 2) / (2 * t), 1)
    return (x - w @ data) / t


@wrong("marginal_velocity", "the 1/2 in the exponent of the Gaussian is missing")
def no_half(x, t, data):
    w = torch.softmax(-(torch.cdist(x, (1 - t) * data) ** 2) / t**2, 1)
    return (x - w @ data) / t


@wrong(
    "marginal_velocity",
    "the data point has shrunk to (1 - t) x0 by time t; here the distance is taken to x0 itself",
)
def no_shrinking(x, t, data):
    w = torch.softmax(-(torch.cdist(x, data) ** 2) / (2 * t**2), 1)
    return (x - w @ data) / t


@wrong("marginal_velocity", "t and 1 - t are exchanged: at t = 0 there is data")
def lipmans_time(x, t, data):
    t = 1 - t
    w = torch.softmax(-(torch.cdist(x, (1 - t) * data) ** 2) / (2 * t**2), 1)
    return (x - w @ data) / t


@wrong("marginal_velocity", "only the most likely line is used; take the average of all")
def nearest_only(x, t, data):
    return (x - data[torch.cdist(x, (1 - t) * data).argmin(1)]) / t


@wrong(
    "marginal_velocity",
    "the softmax runs over the places; the weights of the n data points must sum to 1 for each place",
)
def wrong_axis(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 0)
    return (w[..., None] * (x[:, None] - data) / t).sum(1)


@wrong(
    "marginal_velocity",
    "this is the mean of x0 given x_t, the denoiser; the mean of eps - x0 is asked",
)
def the_denoiser(x, t, data):
    return torch.softmax(-(torch.cdist(x, (1 - t) * data) ** 2) / (2 * t**2), 1) @ data


@wrong("marginal_velocity", "the weights do not sum to 1")
def not_normalised(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = (-eps.square().sum(-1) / 2).exp()
    return (w[..., None] * (x[:, None] - data) / t).sum(1)


@wrong(
    "marginal_velocity",
    "exp(-...) underflows to 0, and 0/0 is no number: take the softmax of the exponents, not exp and a sum",
)
def underflow(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = (-eps.square().sum(-1) / 2).exp()
    w = w / w.sum(1, keepdim=True)
    return (w[..., None] * (x[:, None] - data) / t).sum(1)


@wrong("marginal_velocity", "nothing may be divided by 1 - t: it is 0 at t = 1")
def divides_by_one_minus_t(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 1)
    eps_hat = (w[..., None] * eps).sum(1)
    return eps_hat - (x - t * eps_hat) / torch.tensor(1 - t).to(x)


@wrong("marginal_velocity", "the exponent has the length of the noise; its square is asked")
def length_not_squared(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.norm(dim=-1) / 2, 1)
    return (x - w @ data) / t


@wrong(
    "marginal_velocity",
    "the minus in the exponent is missing: near noise is likely, far noise is not",
)
def plus_in_the_exponent(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(eps.square().sum(-1) / 2, 1)
    return (x - w @ data) / t


@wrong("marginal_velocity", "the noise of a line is divided by t: (x - (1 - t) x0) / t")
def noise_not_divided(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-(t * eps).square().sum(-1) / 2, 1)
    return (x - w @ data) / t


@wrong(
    "marginal_velocity",
    "the squared length of the noise is a sum over the d numbers, not their mean",
)
def mean_of_squares(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().mean(-1) / 2, 1)
    return (x - w @ data) / t


@wrong("marginal_velocity", "each coordinate got weights of its own; a line has one weight")
def weights_by_coordinate(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square() / 2, 1)
    return (w * (x[:, None] - data) / t).sum(1)


@wrong("marginal_velocity", "a line's velocity is its noise minus its data point, not minus x")
def minus_x(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 1)
    return (w[..., None] * (eps - x[:, None])).sum(1)


@wrong("marginal_velocity", "the lines are divided by 1 - t; (7) divides by t")
def by_one_minus_t(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = torch.softmax(-eps.square().sum(-1) / 2, 1)
    return (x - w @ data) / max(1 - t, 1e-9)


def weighted(x, t, data, exponent=lambda eps: -eps.square().sum(-1) / 2, after=lambda v, *_: v):
    """The average of the lines with one thing changed."""
    eps = (x[:, None] - (1 - t) * data) / t
    x0_hat = torch.softmax(exponent(eps), 1) @ data
    return after((x - x0_hat) / t, x, t, x0_hat)


@right("marginal_velocity")
def with_plain_sums(x, t, data):
    rows = []
    for place in x:
        exponents = [
            -0.5 * sum(((a - (1 - t) * b) / t) ** 2 for a, b in zip(place, point)) for point in data
        ]
        top = max(exponents)
        w = [(e - top).exp() for e in exponents]
        rows.append(sum(k * (place - point) / t for k, point in zip(w, data)) / sum(w))
    return torch.stack(rows)


@wrong("marginal_velocity", "the division by t is missing: u = (x - x0) / t")
def lines_not_divided(x, t, data):
    return weighted(x, t, data, after=lambda v, x, t, x0: t * v)


@wrong("marginal_velocity", "this is the mean of eps given x_t; the mean of eps - x0 is asked")
def the_mean_noise(x, t, data):
    return weighted(x, t, data, after=lambda v, x, t, x0: (x - (1 - t) * x0) / t)


@wrong(
    "marginal_velocity", "right values without a gradient: a detach() or no_grad() cuts the graph"
)
def without_gradient(x, t, data):
    with torch.no_grad():
        return weighted(x, t, data)


@wrong("marginal_velocity", "the weights carry no gradient: x and data act through them as well")
def detached_weights(x, t, data):
    return weighted(x, t, data, exponent=lambda eps: -eps.detach().square().sum(-1) / 2)


@wrong(
    "marginal_velocity",
    "the weights are those of the densities alone: divide each by the sum over the data, not by n",
)
def densities_over_n(x, t, data):
    eps = (x[:, None] - (1 - t) * data) / t
    w = (-eps.square().sum(-1) / 2).exp() / len(data)
    return torch.einsum("bn,bnd->bd", w, (x[:, None] - data) / t)


# ---------------------------------------------------------------- flow_loss


@right("flow_loss")
def by_lerp(velocity, x0, eps, t):
    weight = t.view(t.shape + (1,) * (x0.dim() - 1))
    prediction = velocity(torch.lerp(x0, eps, weight), t)
    return torch.sum((eps - x0 - prediction) ** 2, dim=tuple(range(1, x0.dim())))


@right("flow_loss")
def by_mse(velocity, x0, eps, t):
    while t.ndim < x0.ndim:
        t = t.unsqueeze(-1)
    u = eps - x0
    error = F.mse_loss(velocity(x0 + t * u, t.flatten()), u, reduction="none")
    return error.reshape(len(x0), -1).sum(-1)


@right("flow_loss")
def by_einsum(velocity, x0, eps, t):
    xt = torch.einsum("b,b...->b...", 1 - t, x0) + torch.einsum("b,b...->b...", t, eps)
    error = (velocity(xt, t) - eps + x0).flatten(1)
    return torch.einsum("bd,bd->b", error, error)


@wrong("flow_loss", "the target is reversed: dx_t/dt = eps - x0 (it points to the noise)")
def reversed_target(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, t) - (x0 - eps)).square().flatten(1).sum(1)


@wrong("flow_loss", "t and 1 - t are exchanged in x_t: at t = 0 there must be data")
def exchanged_times(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity(time * x0 + (1 - time) * eps, t) - (eps - x0)).square().flatten(1).sum(1)


@wrong("flow_loss", "the network is told 1 - t")
def told_the_other_time(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, 1 - t) - (eps - x0)).square().flatten(1).sum(1)


@wrong("flow_loss", "the network looks at x0; it must look at x_t")
def looks_at_the_data(velocity, x0, eps, t):
    return (velocity(x0, t) - (eps - x0)).square().flatten(1).sum(1)


@wrong("flow_loss", "the target is the noise; the velocity eps - x0 is asked")
def predicts_noise(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, t) - eps).square().flatten(1).sum(1)


@wrong("flow_loss", "the target is eps - x_t; the line starts at x0")
def from_x_t(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time) * x0 + time * eps
    return (velocity(xt, t) - (eps - xt)).square().flatten(1).sum(1)


@wrong("flow_loss", "the mean over the numbers of a sample is taken; sum them")
def averaged(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, t) - (eps - x0)).square().flatten(1).mean(1)


@wrong("flow_loss", "one number for the batch; give one for each sample")
def one_number(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    error = (velocity((1 - time) * x0 + time * eps, t) - (eps - x0)).square()
    return error.flatten(1).sum(1).mean()


@wrong("flow_loss", "t met the last dimension instead of the batch: reshape it to (b, 1, ...)")
def no_reshape(velocity, x0, eps, t):
    time = t if x0.shape[-1] == len(t) else t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity((1 - time) * x0 + time * eps, t) - (eps - x0)).square().flatten(1).sum(1)


@wrong("flow_loss", "no gradient passes through the network: a detach() cuts the graph")
def detached(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    v = velocity((1 - time) * x0 + time * eps, t).detach()
    return (v - (eps - x0)).square().flatten(1).sum(1)


@wrong("flow_loss", "the errors are summed before they are squared")
def summed_first(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time) * x0 + time * eps
    return (velocity(xt, t) - (eps - x0)).flatten(1).sum(1) ** 2


@wrong("flow_loss", "the data must shrink: x_t = (1 - t) x0 + t eps")
def data_does_not_shrink(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (velocity(x0 + time * eps, t) - (eps - x0)).square().flatten(1).sum(1)


@wrong(
    "flow_loss", "this x_t preserves the variance; the straight line is asked, (1 - t) x0 + t eps"
)
def variance_preserving(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time**2).sqrt() * x0 + time * eps
    return (velocity(xt, t) - (eps - x0)).square().flatten(1).sum(1)


@wrong("flow_loss", "the target is x_t - x0, a part of the line; the velocity eps - x0 is asked")
def part_of_the_line(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time) * x0 + time * eps
    return (velocity(xt, t) - (xt - x0)).square().flatten(1).sum(1)


@wrong("flow_loss", "this is the error of the guess of x0; that of the velocity is asked")
def error_of_the_data(velocity, x0, eps, t):
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time) * x0 + time * eps
    return (xt - time * velocity(xt, t) - x0).square().flatten(1).sum(1)


@wrong("flow_loss", "every sample got the time of the first one")
def one_time_for_all(velocity, x0, eps, t):
    xt = (1 - t[0]) * x0 + t[0] * eps
    return (velocity(xt, t) - (eps - x0)).square().flatten(1).sum(1)


def squared_error(
    velocity,
    x0,
    eps,
    t,
    look=lambda x0, eps, xt: xt,
    target=lambda x0, eps, xt: eps - x0,
    size=None,
):
    """The loss with one thing changed."""
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    xt = (1 - time) * x0 + time * eps
    error = velocity(look(x0, eps, xt), t) - target(x0, eps, xt)
    return size(error) if size else error.square().flatten(1).sum(1)


@wrong("flow_loss", "the network looks at eps; it must look at x_t")
def looks_at_the_noise(velocity, x0, eps, t):
    return squared_error(velocity, x0, eps, t, look=lambda x0, eps, xt: eps)


@wrong("flow_loss", "the target is the data; the velocity eps - x0 is asked")
def predicts_the_data(velocity, x0, eps, t):
    return squared_error(velocity, x0, eps, t, target=lambda x0, eps, xt: x0)


@wrong("flow_loss", "the error must be squared")
def absolute_error(velocity, x0, eps, t):
    return squared_error(velocity, x0, eps, t, size=lambda e: e.abs().flatten(1).sum(1))


@wrong("flow_loss", "the length of the error is returned; its square is asked")
def length_of_the_error(velocity, x0, eps, t):
    return squared_error(velocity, x0, eps, t, size=lambda e: e.flatten(1).norm(dim=1))


@wrong("flow_loss", "half the squared error is returned; (8) has no 1/2")
def half_the_square(velocity, x0, eps, t):
    return squared_error(velocity, x0, eps, t, size=lambda e: 0.5 * e.square().flatten(1).sum(1))


@wrong(
    "flow_loss",
    "only the last dimension is summed; a sample's numbers are all dimensions but the first",
)
def last_dimension_only(velocity, x0, eps, t):
    return squared_error(velocity, x0, eps, t, size=lambda e: e.square().sum(-1))


@wrong(
    "flow_loss",
    "right values without any gradient: no_grad() cuts the graph, and nothing can be learned",
)
def nothing_to_learn(velocity, x0, eps, t):
    with torch.no_grad():
        return squared_error(velocity, x0, eps, t)


@wrong("flow_loss", "one time for the whole batch, its mean; each sample has its own")
def mean_time(velocity, x0, eps, t):
    return squared_error(velocity, x0, eps, t.mean().expand(len(t)))


# ---------------------------------------------------------------- euler_path


@right("euler_path")
def into_a_tensor(velocity, x, times):
    states = torch.empty(len(times), *x.shape, dtype=x.dtype)
    states[0] = x
    for k in range(1, len(times)):
        h = times[k - 1] - times[k]
        states[k] = states[k - 1] - h * velocity(states[k - 1], times[k - 1])
    return states


@right("euler_path")
def accumulated(velocity, x, times):
    def step(y, pair):
        t, s = pair
        return y + (s - t) * velocity(y, t)

    return torch.stack(list(itertools.accumulate(itertools.pairwise(times), step, initial=x)))


@right("euler_path")
def recursively(velocity, x, times):
    if len(times) == 1:
        return x[None]
    ahead = x + (times[1] - times[0]) * velocity(x, times[0])
    return torch.cat([x[None], recursively(velocity, ahead, times[1:])])


@wrong("euler_path", "the sign of the step is reversed: add (s - t) times the velocity")
def backwards(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (t - s) * velocity(states[-1], t))
    return torch.stack(states)


@wrong("euler_path", "every step has the same length; use the given times")
def even_steps(velocity, x, times):
    states, h = [x], (times[-1] - times[0]) / (len(times) - 1)
    for t in times[:-1]:
        states.append(states[-1] + h * velocity(states[-1], t))
    return torch.stack(states)


@wrong(
    "euler_path",
    "the velocity is taken at the time where the step ends; Euler takes it where the step begins",
)
def time_of_arrival(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], s))
    return torch.stack(states)


@wrong("euler_path", "the network is told 1 - t")
def other_clock(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], 1 - t))
    return torch.stack(states)


@wrong("euler_path", "every step starts from x; go on from the last state")
def from_the_start(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(x + (s - t) * velocity(x, t))
    return torch.stack(states)


@wrong("euler_path", "the first state, x itself, is missing")
def without_the_first(velocity, x, times):
    states = []
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * velocity(x, t)
        states.append(x)
    return torch.stack(states)


@wrong("euler_path", "the last step is missing: k times make k - 1 steps and k states")
def one_step_short(velocity, x, times):
    states = [x]
    for k in range(len(times) - 2):
        states.append(states[-1] + (times[k + 1] - times[k]) * velocity(states[-1], times[k]))
    return torch.stack(states)


@wrong("euler_path", "only the last state came back; keep them all")
def last_only(velocity, x, times):
    for t, s in itertools.pairwise(times):
        x = x + (s - t) * velocity(x, t)
    return x


@wrong("euler_path", "the velocity is asked once too often: k - 1 steps need k - 1 calls")
def midpoint_for_short_steps(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], t))
    velocity(states[-1], times[-1])
    return torch.stack(states)


@wrong("euler_path", "s - t is positive when the times rise; do not take its absolute value")
def downhill_only(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] - abs(s - t) * velocity(states[-1], t))
    return torch.stack(states)


@right("euler_path")
def a_list_of_states(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], t))
    return states


@wrong(
    "euler_path",
    "all states are the last one: x is changed in place, and the list holds it many times",
)
def in_place(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        x += (s - t) * velocity(x, t)
        states.append(x)
    return torch.stack(states)


@wrong("euler_path", "the velocity is asked at x in every step; ask at the last state")
def asked_at_the_start(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(x, t))
    return torch.stack(states)


@wrong("euler_path", "the velocity is asked at the first time in every step")
def first_time_only(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], times[0]))
    return torch.stack(states)


@wrong("euler_path", "the step is not multiplied by s - t")
def without_step_size(velocity, x, times):
    states = [x]
    for t in times[:-1]:
        states.append(states[-1] - velocity(states[-1], t))
    return torch.stack(states)


@wrong("euler_path", "one step too many: the last of the given times is the end of the walk")
def one_step_too_many(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise([*times, 0.0]):
        states.append(states[-1] + (s - t) * velocity(states[-1], t))
    return torch.stack(states)


@right("euler_path")
def on_copies(velocity, x, times):
    y, states = x.clone(), [x.clone()]
    for k in range(len(times) - 1):
        y = y.clone()
        y += (times[k + 1] - times[k]) * velocity(y, times[k])
        states.append(y)
    return torch.stack(states, dim=0)


@wrong(
    "euler_path",
    "the velocity is taken in the middle of the step; Euler takes it where the step begins",
)
def time_in_the_middle(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.append(states[-1] + (s - t) * velocity(states[-1], (t + s) / 2))
    return torch.stack(states)


@wrong("euler_path", "the states are in reverse order: the first is x")
def last_state_first(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(times):
        states.insert(0, states[0] + (s - t) * velocity(states[0], t))
    return torch.stack(states)


@wrong("euler_path", "the times are sorted; walk through them in the order in which they are given")
def sorted_times(velocity, x, times):
    states = [x]
    for t, s in itertools.pairwise(sorted(times, reverse=True)):
        states.append(states[-1] + (s - t) * velocity(states[-1], t))
    return torch.stack(states)


@wrong("euler_path", "the velocities came back; the states are asked")
def the_velocities(velocity, x, times):
    kept = []
    for t, s in itertools.pairwise(times):
        kept.append(velocity(x, t))
        x = x + (s - t) * kept[-1]
    return torch.stack([*kept, kept[-1]])


@wrong("euler_path", "right states without a gradient: a detach() or no_grad() cuts the graph")
def under_no_grad(velocity, x, times):
    states = [x]
    with torch.no_grad():
        for t, s in itertools.pairwise(times):
            states.append(states[-1] + (s - t) * velocity(states[-1], t))
    return torch.stack(states).detach()


# ---------------------------------------------------------------- straightness


@right("straightness")
def with_diff(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    chord = (flat[0] - flat[-1]) / h.sum()
    return torch.einsum("k,kbd->b", h, (legs - chord) ** 2)


@right("straightness")
def variance_of_the_speed(states, times):
    # the integral of |v - mean v|^2 is that of |v|^2 minus the duration times |mean v|^2
    duration = times[0] - times[-1]
    size = lambda d: (d * d).reshape(len(d), -1).sum(1)
    squares = sum(size(x - y) / (t - s) for x, y, t, s in zip(states, states[1:], times, times[1:]))
    return squares - size(states[0] - states[-1]) / duration


@right("straightness")
def towards_the_data_and_positive(states, times):
    total = 0
    chord = (states[-1] - states[0]) / (times[-1] - times[0])
    for k in range(len(times) - 1):
        rate = (states[k + 1] - states[k]) / (times[k + 1] - times[k])
        total = total + abs(times[k + 1] - times[k]) * ((rate - chord) ** 2).flatten(1).sum(-1)
    return total


@wrong("straightness", "the legs must be weighted by their duration; here all count the same")
def plain_mean(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return (legs - (flat[0] - flat[-1]) / h.sum()).square().sum(-1).mean(0)


@wrong("straightness", "the sum over the legs is not weighted by their duration")
def plain_sum(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return (legs - (flat[0] - flat[-1]) / h.sum()).square().sum(-1).sum(0)


@wrong("straightness", "a leg's velocity is its displacement divided by its own time")
def displacements(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    return torch.einsum("k,kbd->b", h, (flat.diff(dim=0) + (flat[0] - flat[-1]) / h.sum()) ** 2)


@wrong(
    "straightness",
    "the sign of the chord is reversed: first minus last, divided by the first time minus the last",
)
def chord_backwards(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return torch.einsum("k,kbd->b", h, (legs - (flat[-1] - flat[0]) / h.sum()) ** 2)


@wrong("straightness", "the mean over the dimensions is taken; sum them")
def averaged_dimensions(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return (h[:, None] * (legs - (flat[0] - flat[-1]) / h.sum()).square().mean(-1)).sum(0)


@wrong("straightness", "this is 0 for every road: it was measured on the chord itself")
def on_the_chord(states, times):
    total = torch.zeros(states.shape[1], dtype=states.dtype)
    chord = (states[0] - states[-1]) / (times[0] - times[-1])
    line = [states[-1] + (t - times[-1]) * chord for t in times]
    for x, y, t, s in zip(line, line[1:], times, times[1:]):
        total = total + (t - s) * (chord - (x - y) / (t - s)).square().flatten(1).sum(1)
    return total


@wrong("straightness", "one number for the batch; give one for each traveller")
def batch_mean(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    gap = (legs - (flat[0] - flat[-1]) / h.sum()).square().sum(-1)
    return (h[:, None] * gap).sum(0).mean()


@wrong("straightness", "the chord must be divided by the time between its ends")
def assumes_unit_time(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return torch.einsum("k,kbd->b", h, (legs - (flat[0] - flat[-1])) ** 2)


@wrong(
    "straightness",
    "the distance of the places from the chord is measured; the velocities are asked",
)
def places(states, times):
    total = torch.zeros(states.shape[1], dtype=states.dtype)
    chord = (states[0] - states[-1]) / (times[0] - times[-1])
    for x, t, s in zip(states, times, times[1:]):
        on_line = states[0] + (t - times[0]) * chord
        total = total + (t - s) * (x - on_line).square().flatten(1).sum(1)
    return total


@wrong("straightness", "the square is missing")
def not_squared(states, times):
    h = -torch.tensor(times, dtype=states.dtype).diff()
    flat = states.flatten(2)
    legs = -flat.diff(dim=0) / h[:, None, None]
    return (h[:, None] * (legs - (flat[0] - flat[-1]) / h.sum()).norm(dim=-1)).sum(0)


@wrong("straightness", "the differences are summed before they are squared")
def summed_first_then_squared(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h = t - s
        total = total + h * (chord - (x - y) / h).flatten(1).sum(1) ** 2
    return total


@wrong("straightness", "the last leg is missing: k states have k - 1 legs")
def last_leg_missing(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:-1]):
        h = t - s
        total = total + h * (chord - (x - y) / h).square().flatten(1).sum(1)
    return total


@wrong("straightness", "this is the mean over the duration; the integral is asked")
def mean_over_the_duration(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h = t - s
        total = total + h * (chord - (x - y) / h).square().flatten(1).sum(1)
    return total / (times[0] - times[-1])


@wrong("straightness", "a leg counts twice with its duration: h, not h^2")
def weighted_twice(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h = t - s
        total = total + h**2 * (chord - (x - y) / h).square().flatten(1).sum(1)
    return total


@wrong(
    "straightness",
    "each leg is compared with the rest of the way; the chord joins the two ends of the walk",
)
def chord_of_the_rest(states, times):
    total = 0
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h, chord = t - s, (x - states[-1]) / (t - times[-1])
        total = total + h * (chord - (x - y) / h).square().flatten(1).sum(1)
    return total


@wrong("straightness", "only the directions are compared; the speed counts as well")
def directions_only(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        h = t - s
        total = total + h * (1 - F.cosine_similarity(chord.flatten(1), (x - y).flatten(1)))
    return total


@wrong("straightness", "the sign is reversed: h is a duration, t - s, and positive")
def negative_durations(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        total = total + (s - t) * (chord - (x - y) / (t - s)).square().flatten(1).sum(1)
    return total


@wrong("straightness", "all legs are taken to last equally long; each has its own duration")
def even_legs(states, times):
    h = (times[0] - times[-1]) / (len(times) - 1)
    legs, chord = -states.diff(dim=0) / h, (states[0] - states[-1]) / (times[0] - times[-1])
    return (h * (legs - chord) ** 2).flatten(2).sum(2).sum(0)


@wrong(
    "straightness",
    "the integral runs over the walk's length, without a root: |chord - dx/dt|^2 is asked",
)
def root_of_the_integral(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        total = total + (t - s) * (chord - (x - y) / (t - s)).square().flatten(1).sum(1)
    return (total + 1e-30).sqrt()


@wrong(
    "straightness",
    "only the last dimension is summed; a place's numbers are all dimensions but the first",
)
def one_dimension_summed(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        total = total + (t - s) * (chord - (x - y) / (t - s)).square().sum(-1)
    return total


@wrong("straightness", "the length of the road over that of the chord; the velocities are asked")
def length_ratio(states, times):
    flat = states.flatten(2)
    return flat.diff(dim=0).norm(dim=2).sum(0) / (flat[-1] - flat[0]).norm(dim=1) - 1


@wrong("straightness", "right values without a gradient: a detach() or no_grad() cuts the graph")
def cut_from_the_graph(states, times):
    total, chord = 0, (states[0] - states[-1]) / (times[0] - times[-1])
    for x, y, t, s in zip(states, states[1:], times, times[1:]):
        total = total + (t - s) * (chord - (x - y) / (t - s)).square().flatten(1).sum(1)
    return total.detach()


# ---------------------------------------------------------------- pair_up


@right("pair_up")
def by_inner_products(x0, eps):
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b, and the squares are in every pairing alike
    from scipy.optimize import linear_sum_assignment

    gain = x0.reshape(len(x0), -1) @ eps.reshape(len(eps), -1).T
    return torch.tensor(linear_sum_assignment(gain.numpy(), maximize=True)[1])


@right("pair_up")
def by_plain_subtraction(x0, eps):
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    a, b = x0.flatten(1).numpy(), eps.flatten(1).numpy()
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    order = np.empty(len(a), dtype=int)
    rows, columns = linear_sum_assignment(cost)
    order[rows] = columns
    return torch.from_numpy(order)


@right("pair_up")
def noise_as_rows(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(eps.flatten(1), x0.flatten(1)).square()
    _, data_of_noise = linear_sum_assignment(cost)
    return torch.as_tensor(data_of_noise).argsort()


@wrong("pair_up", "this is the inverse permutation: order[i] is the noise for data point i")
def inverted(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(eps.flatten(1), x0.flatten(1)) ** 2
    return torch.as_tensor(linear_sum_assignment(cost.numpy())[1])


@wrong(
    "pair_up", "the nearest noise for each data point is no permutation; some noise is used twice"
)
def nearest_noise(x0, eps):
    return torch.cdist(x0.flatten(1), eps.flatten(1)).argmin(1)


@wrong("pair_up", "the distances must be squared")
def plain_distance(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0.flatten(1), eps.flatten(1))
    return torch.as_tensor(linear_sum_assignment(cost.numpy())[1])


@wrong("pair_up", "this is the dearest pairing; the cheapest is asked")
def dearest(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2
    return torch.as_tensor(linear_sum_assignment(cost.numpy(), maximize=True)[1])


@wrong("pair_up", "one after the other takes the nearest that is left; together they can do better")
def one_by_one(x0, eps):
    cost, order = torch.cdist(x0.flatten(1), eps.flatten(1)), []
    for row in cost:
        order.append(int(row.argmin()))
        cost[:, order[-1]] = math.inf
    return torch.tensor(order)


@wrong("pair_up", "the noise is left as it came (or these are the rows; the columns are asked)")
def as_they_came(x0, eps):
    return torch.arange(len(x0))


@wrong("pair_up", "both are sorted along the first coordinate; that is optimal on a line only")
def sorted_on_a_line(x0, eps):
    a, b = x0.flatten(1)[:, 0].argsort(), eps.flatten(1)[:, 0].argsort()
    order = torch.empty_like(a)
    order[a] = b
    return order


@wrong("pair_up", "samples are pictures: flatten each one before distances are taken")
def points_only(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0, eps) ** 2
    while cost.ndim > 2:
        cost = cost[..., 0]
    cost = cost if cost.shape == (len(x0), len(x0)) else torch.eye(len(x0))
    return torch.as_tensor(linear_sum_assignment(cost.numpy())[1])


@right("pair_up")
def a_numpy_array(x0, eps):
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2)[1]


@right("pair_up")
def a_list(x0, eps):
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2)[1].tolist()


@wrong("pair_up", "the absolute differences are summed; the squared ones are asked")
def absolute_differences(x0, eps):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0.flatten(1), eps.flatten(1), p=1)
    return torch.tensor(linear_sum_assignment(cost)[1])


@wrong("pair_up", "the nearest pair of all is taken first, and so on; together they can do better")
def nearest_pair_first(x0, eps):
    cost = torch.cdist(x0.flatten(1), eps.flatten(1))
    order = torch.zeros(len(x0), dtype=torch.long)
    for _ in order:
        i, j = divmod(int(cost.argmin()), len(cost))
        order[i], cost[i], cost[:, j] = j, math.inf, math.inf
    return order


@right("pair_up")
def every_permutation(x0, eps):
    if len(x0) > 7:
        from scipy.optimize import linear_sum_assignment

        return torch.tensor(
            linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2)[1]
        )
    cost = lambda order: float((x0 - eps[list(order)]).square().sum())
    return torch.tensor(min(itertools.permutations(range(len(x0))), key=cost))


@wrong(
    "pair_up", "the nearest data point for each noise is asked; give the noise for each data point"
)
def nearest_data(x0, eps):
    return torch.cdist(x0.flatten(1), eps.flatten(1)).argmin(0)


@wrong(
    "pair_up",
    "the samples are paired by their lengths; |x0[i] - eps[j]|^2 depends on their directions too",
)
def by_length(x0, eps):
    a, b = (v.flatten(1).norm(dim=1).argsort() for v in (x0, eps))
    order = torch.empty_like(a)
    order[a] = b
    return order


# ---------------------------------------------------------------- stochastic_step


@right("stochastic_step")
def euler_then_langevin(velocity, x, t, s, g, z):
    v = velocity(x, t)
    eps_hat = x + (1 - t) * v
    moved = x + (s - t) * v
    return moved - g * g * (t - s) / (2 * t) * eps_hat + g * (t - s) ** 0.5 * z


@right("stochastic_step")
def by_the_denoiser(velocity, x, t, s, g, z):
    h = torch.tensor(t - s, dtype=x.dtype)
    v = velocity(x, t)
    x0_hat = x - t * v
    score = ((1 - t) * x0_hat - x) / t**2
    drift = v - g**2 / 2 * score
    return x - drift * h + g * h.sqrt() * z


@right("stochastic_step")
def with_a_variance(velocity, x, t, s, g, z):
    variance = g**2 * (t - s)
    v = velocity(x, t)
    return x - (t - s) * v - variance / 2 * (x + v - t * v) / t + math.sqrt(variance) * z


@wrong("stochastic_step", "the score has the wrong sign: it points to where people are")
def away_from_people(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v + 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@wrong("stochastic_step", "the 1/2 in front of g^2 is missing")
def full_score(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@wrong("stochastic_step", "the noise is scaled by h; kicks add up like the root of time")
def noise_by_h(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * h * z


@wrong(
    "stochastic_step", "the kicks have a root 2 too much: it belongs to Langevin's other convention"
)
def other_convention(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(2 * h) * z


@wrong("stochastic_step", "the velocity has the wrong sign: s - t is negative")
def wrong_way(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x + h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@wrong("stochastic_step", "the score term is missing: kicks alone blow the crowd apart")
def kicks_alone(velocity, x, t, s, g, z):
    return x + (s - t) * velocity(x, t) + g * math.sqrt(t - s) * z


@wrong("stochastic_step", "the score is -eps_hat / t, not / t^2")
def divided_twice(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t**2 + g * math.sqrt(h) * z


@wrong(
    "stochastic_step", "this is Lipman's formula, whose time runs the other way: divided by 1 - t"
)
def lipman(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / max(1 - t, 1e-9) + g * math.sqrt(h) * z


@wrong("stochastic_step", "eps_hat is x + (1 - t) v; here the sign of v is reversed")
def score_velocity_sign(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x - (1 - t) * v) / t + g * math.sqrt(h) * z


@wrong("stochastic_step", "the score is divided by s, the time of arrival")
def time_of_arrival_in_score(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / s + g * math.sqrt(h) * z


@wrong(
    "stochastic_step",
    "the score term is missing at t = 1, where the score is -x: nothing in (17) is divided by 1 - t",
)
def zero_over_zero_at_one(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    score = -(x / (1 - t) + v) * (1 - t) / t if t < 1 else 0 * x
    return x - h * v + 0.5 * g**2 * h * score + g * math.sqrt(h) * z


@wrong("stochastic_step", "the kicks are scaled by g, not by g^2")
def kicks_by_g_squared(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g**2 * math.sqrt(h) * z


@wrong("stochastic_step", "the kicks are scaled by the variance g^2 h; its root is asked")
def kicks_by_the_variance(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g**2 * h * z


@wrong("stochastic_step", "the whole of g h is under the root; only h belongs there")
def g_under_the_root(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + (1 - t) * v) / t + math.sqrt(g * h) * z


@wrong("stochastic_step", "the 1/2 is squared with g: g^2 / 2, not (g / 2)^2")
def half_of_g_squared(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - (0.5 * g) ** 2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@wrong("stochastic_step", "the score term is not multiplied by h")
def score_without_h(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@wrong("stochastic_step", "the score term is multiplied by the root of h; that is for the kicks")
def score_by_the_root(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * math.sqrt(h) * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@wrong("stochastic_step", "eps_hat is x + (1 - t) v; t and 1 - t are exchanged in it")
def times_exchanged_in_noise(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * v - 0.5 * g**2 * h * (x + t * v) / t + g * math.sqrt(h) * z


@wrong("stochastic_step", "the score is taken at the end of Euler's step; take it at x and t")
def score_of_arrival(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    y = x - h * v
    return x - h * v - 0.5 * g**2 * h * (y + (1 - s) * velocity(y, s)) / s + g * math.sqrt(h) * z


@wrong("stochastic_step", "the velocity is taken at the time s; take it at t")
def velocity_of_arrival(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - h * velocity(x, s) - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


@wrong("stochastic_step", "the velocity is missing: the score term and the kicks alone")
def no_velocity(velocity, x, t, s, g, z):
    h, v = t - s, velocity(x, t)
    return x - 0.5 * g**2 * h * (x + (1 - t) * v) / t + g * math.sqrt(h) * z


def one_change(
    velocity,
    x,
    t,
    s,
    g,
    z,
    drift=-1.0,
    score=None,
    c=lambda g, h: 0.5 * g**2 * h,
    kick=lambda g, h: g * h**0.5,
):
    """The step with one thing changed."""
    h, v = t - s, velocity(x, t)
    up = (score or (lambda x, v, t: -(x + (1 - t) * v) / t))(x, v, t)
    return x + drift * h * v + c(g, h) * up + kick(g, h) * z


@wrong("stochastic_step", "g enters the score term squared")
def g_not_squared(*given):
    return one_change(*given, c=lambda g, h: 0.5 * g * h)


@wrong("stochastic_step", "the score is taken from x0_hat instead of eps_hat")
def score_of_the_data(*given):
    return one_change(*given, score=lambda x, v, t: -(x - t * v) / t)


@wrong("stochastic_step", "t and 1 - t are exchanged in the score")
def lipmans_score(*given):
    return one_change(
        *given, score=lambda x, v, t: -(x + t * v) / (1 - t) if t < 1 else x * math.nan
    )


@wrong("stochastic_step", "x_0 hat, x - t v, stands where the score belongs")
def guess_for_score(*given):
    return one_change(*given, score=lambda x, v, t: x - t * v)


@wrong("stochastic_step", "fresh noise is drawn here; z is given")
def draws_its_own(velocity, x, t, s, g, z):
    own = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    return one_change(velocity, x, t, s, g, own)


@wrong("stochastic_step", "right values without a gradient: a detach() or no_grad() cuts the graph")
def no_gradient_left(*given):
    return one_change(*given).detach()


# ---------------------------------------------------------------- carries


def rate_of(density, x, t, h):
    return (density(x, t + h) - density(x, t - h)) / (2 * h)


def flux_of(density, velocity, x, t, h, i, p=True):
    e = torch.zeros_like(x)
    e[:, i] = h
    f = lambda y: (density(y, t) if p else 1) * velocity(y, t)[:, i]
    return (f(x + e) - f(x - e)) / (2 * h)


def residual(density, velocity, x, t, h=1e-3, a=1.0, b=1.0, d=None):
    rate = rate_of(density, x, t, h)
    return a * rate + b * sum(
        flux_of(density, velocity, x, t, h, i) for i in range(d or x.shape[1])
    ), rate.abs().max()


@right("carries")
def by_stacking(density, velocity, x, t):
    h = 1e-3
    flux = lambda y: density(y, t)[:, None] * velocity(y, t)
    parts = [
        (flux(x + m) - flux(x - m))[:, i] / (2 * h)
        for i, m in enumerate(h * torch.eye(x.shape[1], dtype=x.dtype))
    ]
    rate = rate_of(density, x, t, h)
    return bool(((rate + torch.stack(parts).sum(0)).abs() < 0.01 * rate.abs().max()).all())


@right("carries")
def by_the_product_rule(density, velocity, x, t):
    h, d = 5e-4, x.shape[1]
    rate, p, v = rate_of(density, x, t, h), density(x, t), velocity(x, t)
    total = rate.clone()
    for i in range(d):
        e = torch.nn.functional.one_hot(torch.tensor(i), d).to(x) * h
        slope = (density(x + e, t) - density(x - e, t)) / (2 * h)
        total += v[:, i] * slope + p * (velocity(x + e, t)[:, i] - velocity(x - e, t)[:, i]) / (
            2 * h
        )
    return total.abs().max().item() <= 0.01 * rate.abs().max().item()


@right("carries")
def one_traveller_at_a_time(density, velocity, x, t):
    h, v, p = (
        1e-3,
        velocity(x, t),
        density(x, t),
    )  # along a traveller's way log p changes by minus the divergence
    along = (density(x + h * v, t + h).log() - density(x - h * v, t - h).log()) / (2 * h)
    spread = sum(flux_of(density, velocity, x, t, h, i, p=False) for i in range(x.shape[1]))
    return bool((p * (along + spread)).abs().max() <= 0.01 * rate_of(density, x, t, h).abs().max())


@right("carries")
def with_numpy(density, velocity, x, t):
    import numpy as np

    r, rate = residual(density, velocity, x, t)
    return np.abs(r.numpy()).max() <= 0.01 * rate.numpy()


@wrong("carries", "take the largest |residual|, not their mean")
def mean_residual(*a):
    r, rate = residual(*a)
    return bool(r.abs().mean() <= 0.01 * rate)


@wrong(
    "carries",
    "the smallest residual is not the worst: look at every point, take the largest |residual|",
)
def without_absolute_value(*a):
    r, rate = residual(*a)
    return bool(r.min() <= 0.01 * rate)


@wrong("carries", "this is the divergence of v alone: the derivative is of the product p * v_i")
def divergence_of_v(density, velocity, x, t):
    rate = rate_of(density, x, t, 1e-3)
    r = rate + sum(flux_of(density, velocity, x, t, 1e-3, i, p=False) for i in range(x.shape[1]))
    return bool(r.abs().max() <= 0.01 * rate.abs().max())


@wrong(
    "carries",
    "the density must be moved as well: p times the divergence of v is not the divergence of p * v",
)
def density_not_moved(density, velocity, x, t):
    rate = rate_of(density, x, t, 1e-3)
    r = rate + density(x, t) * sum(
        flux_of(density, velocity, x, t, 1e-3, i, p=False) for i in range(x.shape[1])
    )
    return bool(r.abs().max() <= 0.01 * rate.abs().max())


@wrong("carries", "dp/dt is missing in the residual")
def without_the_rate(*a):
    r, rate = residual(*a, a=0.0)
    return bool(r.abs().max() <= 0.01 * rate)


@wrong("carries", "the residual's sign: dp/dt *plus* the divergence of p v")
def wrong_sign(*a):
    r, rate = residual(*a, b=-1.0)
    return bool(r.abs().max() <= 0.01 * rate)


@wrong("carries", "the sum runs over all d coordinates, not over two")
def two_coordinates_only(density, velocity, x, t):
    r, rate = residual(density, velocity, x, t, d=min(2, x.shape[1]))
    return bool(r.abs().max() <= 0.01 * rate)


@wrong("carries", "the tolerance is 1 % of the largest |dp/dt|, not coarser")
def lenient(*a):
    r, rate = residual(*a)
    return bool(r.abs().max() <= 0.1 * rate)


@wrong(
    "carries",
    "the tolerance is 1 % of the largest |dp/dt|, and central differences are not exact: not finer",
)
def too_strict(*a):
    r, _ = residual(*a)
    return bool(torch.allclose(r, torch.zeros_like(r), atol=1e-10))


@wrong(
    "carries",
    "take the absolute value of each residual before you add them up or look for the largest",
)
def signed_sum(*a):
    r, rate = residual(*a)
    return bool(r.sum().abs() <= 0.01 * rate)


@wrong("carries", "1 % *of the largest |dp/dt|* is allowed, not a fixed number")
def a_fixed_number(*a):
    r, _ = residual(*a)
    return bool(r.abs().max() <= 0.01)


@wrong("carries", "the largest |residual|, not the largest with its sign: it may be negative")
def largest_with_its_sign(*a):
    r, rate = residual(*a)
    return bool(r.max() <= 0.01 * rate)


@wrong(
    "carries",
    "the divergence is twice too large beside dp/dt: a central difference is divided by 2 h",
)
def divergence_not_halved(*a):
    r, rate = residual(*a, b=2.0)
    return bool(r.abs().max() <= 0.01 * rate)


@wrong(
    "carries",
    "dp/dt is twice too large beside the divergence: a central difference is divided by 2 h",
)
def rate_not_halved(*a):
    r, rate = residual(*a, a=2.0)
    return bool(r.abs().max() <= 0.02 * rate)


@wrong(
    "carries",
    "each residual is compared with the rate at its own point; the largest |dp/dt| among all is the measure",
)
def against_its_own_rate(density, velocity, x, t):
    r, _ = residual(density, velocity, x, t)
    return bool((r.abs() <= 0.01 * rate_of(density, x, t, 1e-3).abs()).all())


@wrong("carries", "the median residual is looked at; all points must agree")
def median_residual(*a):
    r, rate = residual(*a)
    return bool(r.abs().median() <= 0.01 * rate)


@wrong("carries", "only the first point is looked at; all points must agree")
def first_point_only(*a):
    r, rate = residual(*a)
    return bool(r[0].abs() <= 0.01 * rate)
