"""Codes against brute force, gradients term by term, and the books that the codebook keeps."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch

from genmodels import quantize as vq
from genmodels.core import generator

F64 = torch.float64


def vectors(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=generator(seed))


def test_nearest_is_brute_force_and_a_tree():
    from scipy.spatial import cKDTree

    z, codebook = vectors(3, 5, 4), vectors(7, 4, seed=1)
    got = vq.nearest(z, codebook)
    assert torch.equal(got, (z[..., None, :] - codebook).square().sum(-1).argmin(-1))
    assert torch.equal(got.flatten(), torch.as_tensor(cKDTree(codebook.numpy()).query(z.reshape(-1, 4).numpy())[1]))
    assert not torch.equal(got, (z[..., None, :] - codebook).square().sum(-1).argmax(-1))
    assert not torch.equal(got, (-2 * z @ codebook.T).argmin(-1)), "the codes' own length counts"
    with pytest.raises(ValueError, match="4 entries but codes have 3"):
        vq.nearest(z, codebook[:, :3])


def test_gradients_go_where_each_term_says():
    layer = vq.VectorQuantizer(6, 4).double()
    z = vectors(2, 3, 4).requires_grad_()
    weight = vectors(2, 3, 4, seed=2)
    out = layer(z)
    to_z, to_code = torch.autograd.grad(
        (out.z * weight).sum(), [z, layer.codebook], retain_graph=True, allow_unused=True
    )
    torch.testing.assert_close(to_z, weight)
    assert to_code is None, "the reconstruction must not move the codebook"
    gap = (z - layer.codebook[out.indices]).detach()
    for loss, mine, other, sign in (
        (out.codebook_loss, layer.codebook, z, -1),
        (out.commitment_loss, z, layer.codebook, 1),
    ):
        torch.testing.assert_close(loss, gap.square().sum((1, 2)))
        got, none = torch.autograd.grad(loss.sum(), [mine, other], retain_graph=True, allow_unused=True)
        assert none is None
        if sign == 1:
            torch.testing.assert_close(got, 2 * gap)
        else:
            want = torch.zeros_like(layer.codebook).index_add_(0, out.indices.flatten(), -2 * gap.reshape(-1, 4))
            torch.testing.assert_close(got, want)


def test_quantising_twice_changes_nothing_and_decode_inverts():
    layer = vq.VectorQuantizer(6, 4).double()
    once = layer(vectors(2, 3, 4))
    twice = layer(once.z)
    assert torch.equal(once.indices, twice.indices) and torch.equal(once.z, twice.z)
    assert torch.equal(layer.decode(once.indices), once.z)


def test_perplexity_counts_codes_in_use():
    assert float(vq.perplexity(torch.zeros(9, dtype=torch.long), 5)) == pytest.approx(1.0)
    assert float(vq.perplexity(torch.arange(5).repeat(3), 5)) == pytest.approx(5.0)
    p = torch.tensor([0.5, 0.25, 0.25])
    assert float(vq.perplexity(torch.tensor([0, 0, 1, 2]), 9)) == pytest.approx(math.exp(-(p * p.log()).sum()))


def test_moving_averages_follow_their_recursion_in_training_only():
    layer = vq.VectorQuantizer(4, 2, decay=0.9).double()
    assert not layer.codebook.requires_grad
    z = vectors(3, 5, 2)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    layer.eval()
    layer(z)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    layer.train()
    indices = layer(z).indices.flatten()
    counts = torch.stack([(indices == k).sum() for k in range(4)]).double()
    sums = torch.stack([z.reshape(-1, 2)[indices == k].sum(0) for k in range(4)])
    n, m = 0.9 * before["counts"] + 0.1 * counts, 0.9 * before["sums"] + 0.1 * sums
    torch.testing.assert_close(layer.counts, n)
    smooth = (n + 1e-5) / (n.sum() + 4e-5) * n.sum()
    used = counts > 0
    torch.testing.assert_close(layer.codebook[used], (m / smooth[:, None])[used])
    torch.testing.assert_close(layer.codebook[~used], before["codebook"][~used])
    assert (layer.codebook - before["codebook"])[used].abs().max() > 1e-3


def test_unused_codes_stay_put_and_revival_moves_only_the_dead():
    layer = vq.VectorQuantizer(3, 2, decay=0.5).double()
    with torch.no_grad():
        layer.codebook.copy_(torch.tensor([[0.0, 0.0], [5.0, 5.0], [-90.0, 0.0]]))
        layer.sums.copy_(layer.codebook)
    z = vectors(8, 2, seed=3).repeat(3, 1) * 0.1
    z[::2] += 5
    for _ in range(20):
        layer(z[:, None])
    assert torch.equal(layer.codebook[2], torch.tensor([-90.0, 0.0], dtype=F64))
    alive = layer.codebook[:2].clone()
    assert layer.revive(z, 0.5, generator=generator(4)) == 1
    assert torch.equal(layer.codebook[:2], alive)
    assert (z - layer.codebook[2]).abs().sum(1).min() == 0
    assert layer.revive(z, 0.5) == 0
    with pytest.raises(ValueError, match="decay=0.99"):
        vq.VectorQuantizer(3, 2).revive(z)


@pytest.mark.parametrize("threshold", [0.4, 3.0])
def test_a_revived_code_is_kept_in_the_books_at_its_new_place(threshold):
    """Its count is the threshold, so it is not dead again at once, and sum / count is where it was put."""
    layer = vq.VectorQuantizer(4, 2, decay=0.9).double()
    layer.counts[1], layer.counts[3] = 0.1, 0.2
    layer.counts[[0, 2]] = 5.0
    assert layer.revive(vectors(7, 2, seed=6), threshold, generator=generator(7)) == 2
    assert layer.counts.tolist() == [5.0, threshold, 5.0, threshold]
    torch.testing.assert_close((layer.sums / layer.counts[:, None])[1::2], layer.codebook[1::2])


def test_rate_distortion_at_both_ends():
    """One code at the mean: distortion is the variance. As many codes as points: none."""
    z = vectors(11, 1, 3)
    one, all_ = vq.VectorQuantizer(1, 3).double(), vq.VectorQuantizer(11, 3).double()
    with torch.no_grad():
        one.codebook.copy_(z.mean(0))
        all_.codebook.copy_(z[:, 0])
    torch.testing.assert_close(one(z).commitment_loss.mean(), z[:, 0].var(0, correction=0).sum())
    assert float(all_(z).commitment_loss.detach().sum()) == 0


@pytest.mark.parametrize("levels", [(3, 5, 2), (8, 5), (2,)])
def test_fsq_is_a_bijection_of_its_grid(levels):
    layer = vq.FSQ(levels)
    assert layer.codes == math.prod(levels)
    indices = torch.arange(layer.codes)
    grid = layer.decode(indices)
    want = {
        tuple(2 * i / (n - 1) - 1 for i, n in zip(c, levels, strict=True))
        for c in itertools.product(*map(range, levels))
    }
    assert {tuple(round(v, 5) for v in row) for row in grid.tolist()} == {
        tuple(round(v, 5) for v in row) for row in want
    }
    out = layer(torch.atanh(grid.double().clamp(-1 + 1e-9, 1 - 1e-9)))
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.z, grid.double())


def test_fsq_rounds_to_the_nearest_level_with_the_gradient_of_tanh():
    z = vectors(4, 6, 2).requires_grad_()
    out = vq.FSQ((3, 5))(z)
    for d, n in enumerate((3, 5)):
        grid = torch.linspace(-1, 1, n, dtype=F64)
        best = grid[(torch.tanh(z[..., d, None]) - grid).abs().argmin(-1)]
        torch.testing.assert_close(out.z[..., d], best)
    (grad,) = torch.autograd.grad(out.z.sum(), z)
    torch.testing.assert_close(grad, 1 - torch.tanh(z.detach()) ** 2)
    assert out.codebook_loss.shape == (4,) and not out.commitment_loss.any()
    with pytest.raises(ValueError, match="expected 2 entries"):
        vq.FSQ((3, 5))(vectors(4, 3))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: vq.VectorQuantizer(0, 2), "got 0 codes of 2"),
        (lambda: vq.VectorQuantizer(3, 2, decay=1.0), r"\[0, 1\), got 1.0"),
        (lambda: vq.FSQ((1, 3)), "at least 2 levels"),
        (lambda: vq.FSQ((3.5, 3)), "at least 2 levels"),
        (lambda: vq.FSQ((3, 5)).decode(torch.tensor([15])), r"0\.\.14"),
        (lambda: vq.VectorQuantizer(3, 2, decay=0.9, smoothing=-1.0), "must not be negative"),
        (lambda: vq.VectorQuantizer(3, 2, decay=0.9).revive(torch.zeros(0, 2)), r"2 entries.*got shape \(0, 2\)"),
        (lambda: vq.VectorQuantizer(3, 2, decay=0.9).revive(torch.zeros(4, 3)), r"2 entries.*got shape \(4, 3\)"),
        (lambda: vq.VectorQuantizer(3, 2, decay=0.9).revive(torch.zeros(4, 2), 0.0), "threshold must be positive"),
        (lambda: vq.perplexity(torch.zeros(0, dtype=torch.long), 3), "no indices"),
        (lambda: vq.perplexity(torch.zeros(2), 3), "whole numbers"),
        (lambda: vq.perplexity(torch.tensor([3]), 3), r"0\.\.2; got 3"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# --- two processes ---------------------------------------------------------------------------------------------------


def one_of_two(rank, store, results):
    """Half of the batch, in a process of its own; the other process draws other random vectors for dead codes."""
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    layer = book()
    layer(vectors(4, 5, 2)[2 * rank : 2 * rank + 2])
    moved = layer.revive(vectors(9, 2, seed=rank), 1.15, generator=generator(rank))
    results[rank] = {key: value.tolist() for key, value in layer.state_dict().items()} | {"moved": moved}
    distributed.destroy_process_group()


def book():
    torch.manual_seed(3)
    return vq.VectorQuantizer(6, 2, decay=0.9).double()


def test_two_processes_keep_one_codebook(tmp_path):
    """The running means of the joined batch; revived codes lie where the first process's vectors do."""
    context = torch.multiprocessing.get_context("fork")
    with context.Manager() as manager:
        results = manager.dict()
        workers = [context.Process(target=one_of_two, args=(rank, tmp_path / "store", results)) for rank in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        first, second = results[0], results[1]
    assert first == second
    alone = book()
    alone(vectors(4, 5, 2))
    assert alone.revive(vectors(9, 2, seed=0), 1.15, generator=generator(0)) == first.pop("moved") > 0
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(torch.tensor(first[key], dtype=F64), value)
    half = book()
    half(vectors(4, 5, 2)[:2])
    assert (half.counts - torch.tensor(first["counts"])).abs().max() > 0.01, "one half alone is another codebook"


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "distance with the wrong sign": (test_nearest_is_brute_force_and_a_tree, vq.nearest, "- 2 * z", "+ 2 * z"),
    "codebook term moves the encoder": (
        test_gradients_go_where_each_term_says,
        vq.VectorQuantizer.forward,
        "(z.detach() - code)",
        "(z - code)",
    ),
    "commitment moves the codebook": (
        test_gradients_go_where_each_term_says,
        vq.VectorQuantizer.forward,
        "(z - code.detach())",
        "(z - code)",
    ),
    "reconstruction moves the codebook": (
        test_gradients_go_where_each_term_says,
        vq.VectorQuantizer.forward,
        "straight_through(code.detach(), z)",
        "code + z - z.detach()",
    ),
    "vectors pulled halfway": (
        test_quantising_twice_changes_nothing_and_decode_inverts,
        vq.VectorQuantizer.forward,
        "straight_through(code.detach(), z)",
        "(code + z) / 2",
    ),
    "perplexity in bits": (test_perplexity_counts_codes_in_use, vq.perplexity, ".exp()", ".exp2()"),
    "decay and its complement exchanged": (
        test_moving_averages_follow_their_recursion_in_training_only,
        vq.VectorQuantizer._follow,
        "self.counts.lerp_(counts, 1 - self.decay)",
        "self.counts.lerp_(counts, self.decay)",
    ),
    "smoothing without the number of codes": (
        test_moving_averages_follow_their_recursion_in_training_only,
        vq.VectorQuantizer._follow,
        "codes * self.smoothing",
        "self.smoothing",
    ),
    "codebook moves in evaluation": (
        test_moving_averages_follow_their_recursion_in_training_only,
        vq.VectorQuantizer.forward,
        " and self.training",
        "",
    ),
    "unused codes drift": (
        test_unused_codes_stay_put_and_revival_moves_only_the_dead,
        vq.VectorQuantizer._follow,
        "torch.where(counts[:, None] > 0, moved, self.codebook)",
        "moved",
    ),
    "revival of the living": (
        test_unused_codes_stay_put_and_revival_moves_only_the_dead,
        vq.VectorQuantizer.revive,
        "self.counts < threshold",
        "self.counts > threshold",
    ),
    "sum of a code counted once": (
        partial(test_a_revived_code_is_kept_in_the_books_at_its_new_place, 3.0),
        vq.VectorQuantizer.revive,
        "pool[choice] * threshold",
        "pool[choice]",
    ),
    "the farthest code": (test_rate_distortion_at_both_ends, vq.nearest, "argmin", "argmax"),
    "digits not reduced": (partial(test_fsq_is_a_bijection_of_its_grid, (3, 5, 2)), vq.FSQ.decode, " % self.size", ""),
    "index without strides": (
        partial(test_fsq_is_a_bijection_of_its_grid, (3, 5, 2)),
        vq.FSQ._index,
        "digits * self.stride",
        "digits",
    ),
    "rounded down": (
        test_fsq_rounds_to_the_nearest_level_with_the_gradient_of_tanh,
        vq.FSQ.forward,
        ".round()",
        ".floor()",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)


# --- the rotation trick, a start at the centres, low precision -------------------------------------------------------


def rotation_by_hand(z, code):
    """The rotation in the plane of z and code, from the angle between them, times the ratio of lengths."""
    u = z / z.norm()
    v = code - (code @ u) * u
    v = v / v.norm()
    cos = float(u @ code / code.norm())
    sin = math.sqrt(1 - cos**2)
    plane = torch.stack([u, v], 1)
    turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=F64)
    return code.norm() / z.norm() * (torch.eye(len(z), dtype=F64) + plane @ (turn - torch.eye(2, dtype=F64)) @ plane.T)


def test_rotate_to_is_the_code_forward_and_a_scaled_rotation_backward():
    z, code = torch.randn(2, 7, 4, generator=generator(0), dtype=F64)
    z.requires_grad_()
    pull = torch.randn(7, 4, generator=generator(1), dtype=F64)
    out = vq.rotate_to(z, code)
    assert torch.equal(out, code)
    (got,) = torch.autograd.grad(out, z, pull)
    want = torch.stack([rotation_by_hand(a, e).T @ g for a, e, g in zip(z.detach(), code, pull, strict=True)])
    torch.testing.assert_close(got, want)
    angle = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(angle(got, z.detach()), angle(pull, code))  # the angle to the vector is kept


@pytest.mark.parametrize("case", ["zero vector", "zero code", "opposite", "equal"])
def test_rotate_to_is_straight_through_where_no_rotation_exists(case):
    z = torch.tensor([[1.0, 2.0]])
    code = {"zero vector": z, "zero code": 0 * z, "opposite": -2 * z, "equal": z}[case]
    z = (0 * z if case == "zero vector" else z).requires_grad_()
    (got,) = torch.autograd.grad(vq.rotate_to(z, code).sum(), z)
    torch.testing.assert_close(got, torch.ones(1, 2))


def test_a_quantizer_with_rotation_passes_the_rotated_gradient():
    book = vq.VectorQuantizer(5, 3, rotation=True).double()
    z = torch.randn(6, 3, generator=generator(2), dtype=F64, requires_grad=True)
    out = book(z)
    assert torch.equal(out.z, book.codebook[out.indices])
    (got,) = torch.autograd.grad(out.z[:, 0].sum(), z)
    want = [rotation_by_hand(a, e)[0] for a, e in zip(z.detach(), out.z.detach(), strict=True)]
    torch.testing.assert_close(got, torch.stack(want))


def test_kmeans_is_lloyds_fixed_point_as_in_scikit_learn():
    from sklearn.cluster import KMeans

    x = torch.randn(200, 3, generator=generator(3), dtype=F64) * torch.tensor([3.0, 1.0, 0.5], dtype=F64)
    centres, counts = vq.kmeans(x, 6, steps=300, generator=generator(4))
    theirs = KMeans(6, init=centres.numpy(), n_init=1, max_iter=1).fit(x.numpy())
    torch.testing.assert_close(centres, torch.from_numpy(theirs.cluster_centers_))
    assert counts.sum() == 200 and counts.tolist() == np.bincount(theirs.labels_, minlength=6).tolist()


def test_kmeans_finds_eight_clusters_where_random_codes_do_not():
    from genmodels.toy import eight_gaussians

    x = eight_gaussians().sample(1000, generator=generator(5))
    found = sum(bool((vq.kmeans(x, 8, generator=generator(seed))[1] > 60).all()) for seed in range(10))
    assert found >= 6  # k-means++ misses one now and then; eight random vectors hit all eight in 0.24 % of draws


def test_kmeans_of_few_or_equal_vectors():
    x = torch.ones(5, 2)
    centres, counts = vq.kmeans(x, 3, generator=generator(0))
    assert torch.equal(centres, torch.ones(3, 2)) and counts.sum() == 5
    with pytest.raises(ValueError, match="6 centres need as many vectors"):
        vq.kmeans(x, 6)
    with pytest.raises(ValueError, match="NaN"):
        vq.kmeans(x / 0 - x / 0, 2)


def test_a_started_codebook_has_its_books_in_order():
    book = vq.VectorQuantizer(4, 2, decay=0.9)
    z = torch.randn(50, 3, 2, generator=generator(6))
    book.start(z, generator=generator(7))
    torch.testing.assert_close(book.sums / book.counts[:, None], book.codebook.detach())
    assert book.counts.sum() == 150 and float(vq.perplexity(book(z).indices, 4)) > 3


@pytest.mark.parametrize("kind", ["gradient", "means", "rotation", "fsq"])
def test_quantisers_under_bf16_autocast_choose_what_float32_chooses(kind):
    dim = 3
    make = {
        "gradient": lambda: vq.VectorQuantizer(16, dim),
        "means": lambda: vq.VectorQuantizer(16, dim, decay=0.9),
        "rotation": lambda: vq.VectorQuantizer(16, dim, decay=0.9, rotation=True),
        "fsq": lambda: vq.FSQ((8, 5, 300)),
    }[kind]
    torch.manual_seed(0)
    plain, low = make(), make()
    low.load_state_dict(plain.state_dict())
    net = torch.nn.Linear(4, dim)
    x = torch.randn(9, 4, generator=generator(8))
    with torch.autocast("cpu", torch.bfloat16):
        z = net(x)
        assert z.dtype == torch.bfloat16
        got = low(z)
        (got.z.square().sum() + got.commitment_loss.sum()).backward()
    want = plain(z.detach().float())
    assert torch.equal(got.indices, want.indices) and torch.equal(got.z.detach(), want.z.detach())
    assert got.z.dtype == torch.float32 and net.weight.grad.isfinite().all() and net.weight.grad.abs().max() > 0
    for name, value in low.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name])
