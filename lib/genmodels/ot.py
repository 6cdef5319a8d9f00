"""Optimal transport: the linear programme and its dual, one dimension by sorting, entropy by Sinkhorn, minibatches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genmodels.core import require

__all__ = ["Dual", "Plan", "cost_matrix", "dual", "kantorovich_rubinstein", "minibatch_coupling", "plan", "sinkhorn",
           "wasserstein_1d"]  # fmt: skip


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
    require(p > 0, f"the power p must be positive, got {p}")
    x, y = (v.reshape(len(v), v.shape[1:].numel()) for v in (x, y))
    require(x.shape[1] == y.shape[1], f"points of different size: {x.shape[1]} and {y.shape[1]} numbers each")
    distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return distance**p


def _check(a: Tensor, b: Tensor, cost: Tensor) -> None:
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

    Solved as a linear programme, so it is exact and meant for at most a few hundred points.
    """
    from scipy.optimize import linprog

    _check(a, b, cost)
    weights = torch.cat([a / a.sum(), b / b.sum()]).double()
    solved = linprog(
        cost.double().flatten(), A_eq=_marginals(*cost.shape), b_eq=weights, bounds=(0, None), method="highs"
    )
    require(solved.success, f"the linear programme was not solved: {solved.message}")
    return Plan(torch.as_tensor(solved.x, dtype=cost.dtype).reshape(cost.shape), float(solved.fun))


def dual(a: Float[Tensor, "n"], b: Float[Tensor, "m"], cost: Float[Tensor, "n m"]) -> Dual:
    """The dual programme: max <f, a> + <g, b> subject to f_i + g_j <= cost_ij. Its value equals the primal's cost
    [Peyre & Cuturi 2019, sec. 2.5].
    """
    from scipy.optimize import linprog

    _check(a, b, cost)
    weights = torch.cat([a / a.sum(), b / b.sum()]).double()
    solved = linprog(
        -weights, A_ub=_marginals(*cost.shape).T, b_ub=cost.double().flatten(), bounds=(None, None), method="highs"
    )
    require(solved.success, f"the linear programme was not solved: {solved.message}")
    f, g = torch.as_tensor(solved.x, dtype=cost.dtype).split([len(a), len(b)])
    return Dual(f, g, -float(solved.fun))


def kantorovich_rubinstein(
    x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], a: Float[Tensor, "n"] | None = None, b: Tensor | None = None
) -> tuple[Float[Tensor, "n+m"], float]:
    """W1 as one critic: max of E_a f(x) - E_b f(y) over 1-Lipschitz f; the values of f at x then y, and W1
    [Kantorovich & Rubinstein 1958].

    With the distance itself as cost the two prices of the dual are one function, g = -f, and the constraint is
    |f(u) - f(v)| <= |u - v| for every pair of points. That step fails for other powers of the distance. Only
    differences of f count, so it is 0 at the first point.
    """
    from scipy.optimize import linprog

    require(len(x) > 0 and len(y) > 0, f"both sets need at least one point; got {len(x)} and {len(y)}")
    a = x.new_full((len(x),), 1 / len(x)) if a is None else a
    b = y.new_full((len(y),), 1 / len(y)) if b is None else b
    points = torch.cat([x.reshape(len(x), -1), y.reshape(len(y), -1)])
    _check(a, b, cost_matrix(x, y))
    n = len(points)
    i, j = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    i, j = i[i != j], j[i != j]
    from scipy import sparse

    rows = torch.arange(len(i)).repeat(2)
    signs = torch.cat([torch.ones(len(i)), -torch.ones(len(i))])
    slope = sparse.csr_matrix((signs, (rows, torch.cat([i, j]))), shape=(len(i), n))
    weights = torch.cat([a / a.sum(), -b / b.sum()]).double()
    limit = cost_matrix(points, points)[i, j].double()
    # The value of f at one point is free: pin it to zero, or the programme has a line of solutions.
    bounds = [(0, 0)] + [(None, None)] * (n - 1)
    solved = linprog(-weights, A_ub=slope, b_ub=limit, bounds=bounds, method="highs")
    require(solved.success, f"the linear programme was not solved: {solved.message}")
    return torch.as_tensor(solved.x, dtype=x.dtype), -float(solved.fun)


def wasserstein_1d(
    x: Float[Tensor, "n"] | Int[Tensor, "n"], y: Float[Tensor, "m"] | Int[Tensor, "m"], p: float = 1.0
) -> Float[Tensor, ""]:
    """W_p of two samples on the line, (integral of |F^-1 - G^-1|^p)^(1/p): sort both and pair them in order.

    The sample sizes may differ; differentiable in both [Peyre & Cuturi 2019, sec. 2.6].
    """
    require(x.ndim == 1 and y.ndim == 1 and len(x) > 0 and len(y) > 0, "expected two non-empty vectors of points")
    require(p > 0, f"the power p must be positive, got {p}")
    x, y = (v if v.is_floating_point() else v.double() for v in (x, y))
    x, y = x.sort().values, y.sort().values
    if len(x) == len(y):
        return (x - y).abs().pow(p).mean() ** (1 / p)
    # Both quantile functions are steps: integrate between the union of their jumps.
    jumps = torch.cat([torch.arange(k + 1, dtype=torch.float64) / k for k in (len(x), len(y))]).unique()
    width, middle = jumps.diff(), (jumps[1:] + jumps[:-1]) / 2
    gap = x[(middle * len(x)).long().clamp_max(len(x) - 1)] - y[(middle * len(y)).long().clamp_max(len(y) - 1)]
    return (width.to(x.dtype) * gap.abs().pow(p)).sum() ** (1 / p)


def sinkhorn(
    a: Float[Tensor, "n"], b: Float[Tensor, "m"], cost: Float[Tensor, "n m"], entropy: float, steps: int = 10_000
) -> Plan:
    """The coupling that minimises <P, cost> - entropy * H(P), by alternating log-domain scalings [Cuturi 2013].

    ``entropy`` is in the units of the cost; small values approach ``plan`` and need more steps. The cost returned is
    <P, cost>, without the entropy term. Computed by POT.
    """
    import ot as pot

    _check(a, b, cost)
    require(entropy > 0, f"the entropy weight must be positive, got {entropy}; for 0 use plan")
    require(steps >= 1, f"at least 1 step is needed, got {steps}")
    coupling = pot.bregman.sinkhorn_log(a, b, cost, reg=entropy, numItermax=steps, stopThr=1e-10, warn=True)
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
