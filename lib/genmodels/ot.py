"""Optimal transport: the linear programme and its dual, one dimension by sorting, entropy by Sinkhorn, minibatches."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genmodels.core import require, to_float64_device

__all__ = ["Dual", "Plan", "cost_matrix", "dual", "kantorovich_rubinstein", "minibatch_coupling", "plan", "sinkhorn",
           "steepest_slope", "wasserstein_1d"]  # fmt: skip


class Plan(NamedTuple):
    """A coupling (n, m) whose rows sum to a and columns to b, and its cost <coupling, cost>."""

    coupling: Float[Tensor, "n m"]
    cost: float


class Dual(NamedTuple):
    """Prices f (n,) and g (m,) with f_i + g_j <= cost_ij, and their value <f, a> + <g, b>."""

    f: Float[Tensor, "n"]
    g: Float[Tensor, "m"]
    value: float


def cost_matrix(x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], p: float = 1.0) -> Float[Tensor, "n m"]:
    """Euclidean distances to the power p: p = 1 for W1 and its duality, p = 2 for the squared cost of flow matching."""
    require(0 < p < math.inf, f"the power p must be positive and finite, got {p}")
    x, y = (v.reshape(len(v), v.shape[1:].numel()) for v in (x, y))
    require(x.shape[1] == y.shape[1], f"points of different size: {x.shape[1]} and {y.shape[1]} numbers each")
    distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    if p >= 1:
        return distance**p
    apart = distance > 0  # where two points coincide a root has no slope: count it as 0
    return torch.where(apart, torch.where(apart, distance, 1.0) ** p, 0.0)


def _array(x: Tensor) -> Tensor:
    """x for scipy: detached, on the CPU, in float64."""
    return x.detach().cpu().double()


def _check(a: Tensor, b: Tensor, cost: Tensor) -> None:
    require(len(a) > 0 and len(b) > 0, f"both sides need mass; got {len(a)} and {len(b)} points")
    require(cost.shape == (len(a), len(b)), f"cost {tuple(cost.shape)} must be len(a) x len(b) = {len(a)} x {len(b)}")
    for name, w in (("a", a), ("b", b)):
        require(bool((w >= 0).all()), f"the weights {name} must not be negative; the smallest is {float(w.min()):.3g}")
        require(abs(float(w.sum()) - 1) < 1e-6, f"the weights {name} must sum to 1; they sum to {float(w.sum()):.6g}")


def _marginals(n: int, m: int):
    """The (n + m) x (n m) sparse matrix that takes a flattened coupling to its row sums, then its column sums."""
    from scipy import sparse

    rows = sparse.kron(sparse.eye(n), sparse.csr_matrix([[1.0] * m]))
    columns = sparse.kron(sparse.csr_matrix([[1.0] * n]), sparse.eye(m))
    return sparse.vstack([rows, columns]).tocsr()


def plan(a: Float[Tensor, "n"], b: Float[Tensor, "m"], cost: Float[Tensor, "n m"]) -> Plan:
    """The cheapest way to move mass a to mass b: min <P, cost> over P >= 0 with P 1 = a, P^T 1 = b [Kantorovich].

    Solved as a linear programme, so it is exact and meant for at most a few hundred points; no gradient passes.
    """
    from scipy.optimize import linprog

    _check(a, b, cost)
    weights = _array(torch.cat([a / a.sum(), b / b.sum()]))
    solved = linprog(
        _array(cost).flatten(), A_eq=_marginals(*cost.shape), b_eq=weights, bounds=(0, None), method="highs"
    )
    require(solved.success, f"the linear programme was not solved: {solved.message}")
    return Plan(torch.from_numpy(solved.x).to(cost).reshape(cost.shape), float(solved.fun))


def dual(a: Float[Tensor, "n"], b: Float[Tensor, "m"], cost: Float[Tensor, "n m"]) -> Dual:
    """The dual programme: max <f, a> + <g, b> subject to f_i + g_j <= cost_ij. Its value equals the primal's cost
    [Peyre & Cuturi 2019, sec. 2.5]. No gradient passes.
    """
    from scipy.optimize import linprog

    _check(a, b, cost)
    weights = _array(torch.cat([a / a.sum(), b / b.sum()]))
    solved = linprog(
        -weights, A_ub=_marginals(*cost.shape).T, b_ub=_array(cost).flatten(), bounds=(None, None), method="highs"
    )
    require(solved.success, f"the linear programme was not solved: {solved.message}")
    f, g = torch.from_numpy(solved.x).to(cost).split([len(a), len(b)])
    return Dual(f, g, -float(solved.fun))


def kantorovich_rubinstein(
    x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], a: Float[Tensor, "n"] | None = None, b: Tensor | None = None
) -> tuple[Float[Tensor, "n+m"], float]:
    """W1 as one critic: max of E_a f(x) - E_b f(y) over 1-Lipschitz f; the values of f at x then y, and W1
    [Kantorovich & Rubinstein 1958].

    With the distance itself as cost the two prices of the dual are one function, g = -f, and the constraint is
    |f(u) - f(v)| <= |u - v| for every pair of points. That step fails for other powers of the distance. Only
    differences of f count, so it is 0 at the first point. No gradient passes.
    """
    from scipy.optimize import linprog

    require(len(x) > 0 and len(y) > 0, f"both sets need at least one point; got {len(x)} and {len(y)}")
    a = x.new_full((len(x),), 1 / len(x)) if a is None else a
    b = y.new_full((len(y),), 1 / len(y)) if b is None else b
    _check(a, b, cost_matrix(x, y))
    points = _array(torch.cat([x.reshape(len(x), -1), y.reshape(len(y), -1)]))
    n = len(points)
    i, j = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    i, j = i[i != j], j[i != j]
    from scipy import sparse

    rows = torch.arange(len(i)).repeat(2)
    signs = torch.cat([torch.ones(len(i)), -torch.ones(len(i))])
    slope = sparse.csr_matrix((signs, (rows, torch.cat([i, j]))), shape=(len(i), n))
    weights = _array(torch.cat([a / a.sum(), -b / b.sum()]))
    limit = cost_matrix(points, points)[i, j]
    # The value of f at one point is free: pin it to zero, or the programme has a line of solutions.
    bounds = [(0, 0)] + [(None, None)] * (n - 1)
    solved = linprog(-weights, A_ub=slope, b_ub=limit, bounds=bounds, method="highs")
    require(solved.success, f"the linear programme was not solved: {solved.message}")
    return torch.from_numpy(solved.x).to(x), -float(solved.fun)


def steepest_slope(f: Float[Tensor, "n"], points: Float[Tensor, "n *d"]) -> Float[Tensor, ""]:
    """max |f_i - f_j| / |x_i - x_j| over all pairs: f can be a critic of W1 only where it is at most 1.

    The Lipschitz constant of the values at these points, which a network between them may exceed. Infinite where one
    point has two values.
    """
    require(f.shape == (len(points),), f"expected one value for each of {len(points)} points; got {tuple(f.shape)}")
    require(len(f) >= 2, f"a slope needs two points; got {len(f)}")
    i, j = torch.triu_indices(len(f), len(f), 1, device=f.device)
    rise, run = (f[i] - f[j]).abs(), cost_matrix(points, points)[i, j]
    apart = run > 0
    slope = torch.where(apart, rise / torch.where(apart, run, 1.0), torch.where(rise > 0, torch.inf, 0.0))
    return slope.max()


def wasserstein_1d(
    x: Float[Tensor, "n"] | Int[Tensor, "n"], y: Float[Tensor, "m"] | Int[Tensor, "m"], p: float = 1.0
) -> Float[Tensor, ""]:
    """W_p of two samples on the line, (integral of |F^-1 - G^-1|^p)^(1/p): sort both and pair them in order.

    The sample sizes may differ; differentiable in both, with gradient 0 where the samples are equal, and p = inf is the
    largest gap [Peyre & Cuturi 2019, sec. 2.6]. Below p = 1 pairing in order is not the best: ValueError.
    """
    require(x.ndim == 1 and y.ndim == 1 and len(x) > 0 and len(y) > 0, "expected two non-empty vectors of points")
    require(p >= 1, f"the power p must be at least 1, got {p}")
    x, y = (v if v.is_floating_point() else to_float64_device(v).double() for v in (x, y))
    both = torch.promote_types(x.dtype, y.dtype)
    x, y = x.to(both), y.to(both)
    x, y = x.sort().values, y.sort().values
    if len(x) == len(y):
        return torch.linalg.vector_norm(x - y, p) / len(x) ** (1 / p)  # whose slope at 0 is 0, not 0 / 0
    # Both quantile functions are steps: integrate between the union of their jumps.
    jumps = torch.cat([torch.arange(k + 1, dtype=torch.float64) / k for k in (len(x), len(y))]).unique()
    width, middle = jumps.diff(), (jumps[1:] + jumps[:-1]) / 2  # on the CPU: only the places go to x's device
    i, j = ((middle * len(v)).long().clamp_max(len(v) - 1).to(v.device) for v in (x, y))
    return torch.linalg.vector_norm(width.pow(1 / p).to(x) * (x[i] - y[j]), p)


def sinkhorn(
    a: Float[Tensor, "n"], b: Float[Tensor, "m"], cost: Float[Tensor, "n m"], reg: float, steps: int = 10_000
) -> Plan:
    """The coupling that minimises <P, cost> - reg * H(P), by alternating log-domain scalings [Cuturi 2013].

    ``reg`` is in the units of the cost; small values approach ``plan`` and need more steps. The cost returned is
    <P, cost>, without the entropy term. Computed by POT.
    """
    import ot as pot

    _check(a, b, cost)
    require(reg > 0, f"the entropy weight must be positive, got {reg}; for 0 use plan")
    require(steps >= 1, f"at least 1 step is needed, got {steps}")
    coupling = pot.bregman.sinkhorn_log(a, b, cost, reg=reg, numItermax=steps, stopThr=1e-10, warn=True)
    return Plan(coupling, float((coupling * cost).sum()))


def minibatch_coupling(x0: Float[Tensor, "b *d"], x1: Float[Tensor, "b *d"]) -> Int[Tensor, "b"]:
    """The order in which to take x1 so that pairs (x0[i], x1[order[i]]) have the least total squared distance.

    Exact assignment (scipy), O(b^3) [Pooladian et al. 2023; Tong et al. 2024]. Both marginals stay as they were.
    """
    from scipy.optimize import linear_sum_assignment

    require(len(x0) == len(x1), f"both batches must have the same size, got {len(x0)} and {len(x1)}")
    rows, columns = linear_sum_assignment(cost_matrix(x0.detach(), x1.detach(), 2.0).cpu().numpy())
    order = torch.empty(len(x0), dtype=torch.long)
    order[torch.as_tensor(rows)] = torch.as_tensor(columns)
    return order.to(x1.device)
