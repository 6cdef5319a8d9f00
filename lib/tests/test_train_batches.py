"""Batches are a pure function of the step, cover each epoch once, and split over processes without overlap."""

import pytest
import torch

from genmodels.train import batches as module
from genmodels.train import minibatches, with_device

N = 23
ROWS = torch.arange(N)


def stream(batch_fn, steps, rank=0):
    return torch.cat([batch_fn(step, rank) for step in range(steps)])


def each_row_once_an_epoch():
    for batch in (1, 4, 7, N, 2 * N + 3):
        rows = stream(minibatches(ROWS, batch), -(-3 * N // batch))
        epochs = [rows[e * N : (e + 1) * N] for e in range(3)]
        for epoch in epochs:
            assert torch.equal(epoch.sort().values, ROWS)
        assert not torch.equal(epochs[0], epochs[1])
        assert not torch.equal(epochs[0], ROWS)


def test_each_row_once_an_epoch():
    each_row_once_an_epoch()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda n, seed, epoch: module.np.random.default_rng([seed, epoch]).integers(n, size=n),  # with replacement
        lambda n, seed, epoch: module.np.random.default_rng(seed).permutation(n),  # one order for ever
        lambda n, seed, epoch: module.np.arange(n),  # not shuffled
    ],
    ids=["replacement", "same order", "unshuffled"],
)
def test_epoch_oracle_catches(wrong, monkeypatch):
    monkeypatch.setattr(module, "_permutation", lambda *key: torch.from_numpy(wrong(*key[:3])))
    with pytest.raises(AssertionError):
        each_row_once_an_epoch()


def test_processes_are_disjoint_and_join_to_one():
    one, three = minibatches(ROWS, 6), minibatches(ROWS, 6, world=3)
    for step in range(9):
        parts = [three(step, rank) for rank in range(3)]
        assert torch.equal(torch.cat(parts), one(step))
    with pytest.raises(ValueError, match=r"rank 3 of 3: give minibatches\(world=...\) all the processes"):
        three(0, 3)
    with pytest.raises(ValueError, match="a batch of 7 does not split evenly over 3 processes: use 6"):
        minibatches(ROWS, 7, world=3)
    with pytest.raises(ValueError, match="a batch of 2 does not split evenly over 3 processes: use 3"):
        minibatches(ROWS, 2, world=3)


def test_calls_are_pure_and_depend_on_the_seed():
    fn = minibatches(ROWS, 5, seed=1)
    late = fn(40)
    stream(fn, 12)
    assert torch.equal(fn(40), late)
    assert torch.equal(minibatches(ROWS, 5, seed=1)(40), late)
    assert not torch.equal(minibatches(ROWS, 5, seed=2)(40), late)


def test_small_batches_join_to_a_large_one():
    small, large = minibatches(ROWS, 3), minibatches(ROWS, 12)
    for step in range(7):
        assert torch.equal(torch.cat([small(4 * step + i) for i in range(4)]), large(step))


def test_tuples_stay_together():
    x, y = minibatches((ROWS, ROWS * 10), 5)(3)
    assert torch.equal(y, 10 * x)
    with pytest.raises(ValueError, match=r"expected tensors of one length > 0, got \[5, 23\]"):
        minibatches((ROWS, ROWS[:5]), 5)
    with pytest.raises(ValueError, match=r"got \[0\]"):
        minibatches(ROWS[:0], 5)


def test_transform_draws_afresh_but_purely():
    half = torch.full((N, 50), 0.5)
    fn = minibatches(half, 4, world=2, transform=lambda x, generator: torch.bernoulli(x, generator=generator))
    assert torch.equal(fn(3, 0), fn(3, 0))
    assert not torch.equal(fn(3, 0), fn(3, 1))
    assert not torch.equal(fn(3, 0), fn(4, 0))
    mean, n = stream(fn, 200).mean().item(), 200 * 2 * 50
    assert abs(mean - 0.5) / (0.5 / n**0.5) < 4.5


def test_with_device_moves_whole_small_data_and_batches_of_large(monkeypatch):
    fn = minibatches((ROWS, ROWS), 5)
    assert with_device(fn, "cpu") is fn
    moved = with_device(fn, "meta")  # the one other device that every machine has
    assert moved.data[0].device.type == "meta"
    assert moved.batch == 5
    monkeypatch.setattr(module, "RESIDENT_BYTES", ROWS.nbytes)
    large = with_device(fn, "meta")
    assert fn.data[0].device.type == "cpu"
    assert [x.device.type for x in large(0, 0)] == ["meta", "meta"]
    assert with_device(lambda step, rank: ROWS, "meta")(0).device.type == "meta"
