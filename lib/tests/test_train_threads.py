"""A step takes as many threads as are fastest at present; time is told by the tests, so none of them depends on it."""

import pytest
import torch
from torch import nn

from genmodels.train import loop, minibatches, train
from genmodels.train.settings import Settings
from genmodels.train.threads import AGAIN_SECONDS, TRIAL, Threads


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    """Torch's setting, without starting any thread."""
    now = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: now.__setitem__(0, n))
    return now


class Machine:
    """A clock that each step moves by what its number of threads costs at the time."""

    def __init__(self, cost):
        self.time, self.cost, self.used = 0.0, cost, []

    def run(self, threads, steps):
        for _ in range(steps):
            with threads:
                self.used.append(torch.get_num_threads())
                self.time += self.cost(self.used[-1], self.time)
            assert torch.get_num_threads() == 4, "the caller's setting is back"
        return self.used


def quiet(n, time):
    return 0.25 / n


def busy(n, time):
    return 0.25 * n


@pytest.mark.parametrize(("cost", "best"), [(quiet, 4), (busy, 1)])
def test_the_faster_number_is_kept(cost, best):
    machine = Machine(cost)
    used = machine.run(Threads([4, 1], lambda: machine.time), 3 * TRIAL)
    assert used == [4] * TRIAL + [1] * TRIAL + [best] * TRIAL


def test_other_work_that_comes_and_goes_is_noticed():
    machine = Machine(lambda n, time: (busy if 100 < time < 300 else quiet)(n, time))
    threads, seen = Threads([4, 1], lambda: machine.time), {}
    while machine.time < 500:
        machine.run(threads, 1)
        seen[machine.time] = machine.used[-1]
    share = lambda low, high, n: (
        sum(used == n for t, used in seen.items() if low < t < high) / sum(low < t < high for t in seen)
    )
    slack = AGAIN_SECONDS + 5
    assert share(10, 100, 4) > 0.8
    assert share(100 + slack, 300, 1) > 0.8
    assert share(300 + slack, 500, 4) > 0.8
    ideal = sum(min(machine.cost(1, t), machine.cost(4, t)) for t in seen)
    assert sum(machine.cost(n, t) for t, n in seen.items()) < 1.2 * ideal


def test_one_slow_step_decides_nothing():
    machine = Machine(lambda n, time: 50.0 if time == 0 else quiet(n, time))
    assert machine.run(Threads([4, 1], lambda: machine.time), 3 * TRIAL)[-1] == 4


def test_a_given_number_is_never_compared():
    machine = Machine(busy)
    assert machine.run(Threads([2], lambda: machine.time), 200) == [2] * 200


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({}, [4, 1]),
        ({"threads": 3}, [3]),
        ({"compile": True}, [4]),  # another number would compile anew
        ({"devices": 2}, [4]),  # processes wait for each other: none of them may choose alone
        ({"accelerator": "cuda"}, [4]),
    ],
)
def test_which_numbers_are_tried(settings, numbers):
    how = Settings(**{"steps": 1, "accelerator": "cpu"} | settings)
    assert how.thread_numbers == numbers


def test_one_thread_is_nothing_to_choose_from(four_threads):
    four_threads[0] = 1
    assert Settings(steps=1, accelerator="cpu").thread_numbers == [1]


def test_training_uses_them(monkeypatch):
    seen = []
    loss = lambda model, x: (seen.append(torch.get_num_threads()), model(x).square().sum(1))[1]
    model, batches = nn.Linear(3, 1), minibatches(torch.ones(4, 3), 2)
    for _ in train(model, loss, batches, steps=3, threads=2, accelerator="cpu", progress=False):
        seen.append(torch.get_num_threads())
    assert seen == [2, 4] * 3
    monkeypatch.setattr(loop, "Threads", lambda numbers: seen.append(numbers) or Threads(numbers))
    list(train(model, loss, batches, steps=1, accelerator="cpu", progress=False))
    assert [4, 1] in seen


@pytest.mark.parametrize("bad", [0, -1, 1.5, "all", True])
def test_bad_numbers_stop(bad):
    with pytest.raises(ValueError, match="threads must be 'auto' or a whole number of at least 1; got"):
        Settings(steps=1, threads=bad)


def test_slow_steps_are_seldom_compared():
    machine = Machine(lambda n, time: 10.0 if n == 4 else 40.0)
    used = machine.run(Threads([4, 1], lambda: machine.time), 300)
    assert 2 * TRIAL <= used.count(1)
    assert sum(10.0 if n == 4 else 40.0 for n in used) < 1.4 * 10.0 * len(used)
