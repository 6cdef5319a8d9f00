"""The training loop: resume, averages, accumulation, precision, clipping; each oracle with its sabotage."""

import random
import shutil
import sys

import numpy as np
import pytest
import torch
from torch import nn

from genmodels.train import learner, loop, minibatches, train
from genmodels.train.checkpoint import Streams
from genmodels.train.learner import Learner, decay_at
from genmodels.train.settings import OPTIMIZERS, Settings

DATA = torch.randn(23, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Net(nn.Module):
    """Depends non-linearly on x, drops units, and is trained through a method that is not ``forward``."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        random_weights = torch.Generator().manual_seed(3)
        self.body = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Dropout(dropout), nn.Linear(7, 5)).double()
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=random_weights, dtype=p.dtype)

    def energy(self, x):
        return (self.body(x) - x).square().sum(1)


def plain(model, x):
    return model.energy(x)


def noisy(model, x):
    """Uses every random stream."""
    scale = 1 + 0.1 * random.random() + 0.1 * np.random.rand()
    return model.energy(x + 0.1 * torch.randn_like(x)) * scale


def weights(module):
    return torch.cat([p.detach().reshape(-1).double() for p in module.parameters()]).clone()


def last(states):
    state = None
    for state in states:  # noqa: B007
        pass
    return state


def run(model=None, loss=plain, batch_fn=None, **settings):
    settings = {"lr": 0.01, "progress": False, "accelerator": "cpu"} | settings
    return train(model or Net(), loss, batch_fn or minibatches(DATA, 4), **settings)


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")

# --- resume ---------------------------------------------------------------------------------------------------------


def ten_is_five_and_five(tmp_path):
    settings = {"loss": noisy, "ema": 0.9, "warmup": 3, "schedule": "cosine", "clip": 1.0, "steps": 10}
    whole = last(run(Net(0.3), **settings))
    path = tmp_path / "model.pt"
    for state in run(Net(0.3), **settings, checkpoint=path, checkpoint_every=5):
        if state.step == 5:
            break
    for i, state in enumerate(run(Net(0.3), **settings, checkpoint=path, checkpoint_every=5)):
        random_by_the_caller = torch.randn(3)  # a figure drawn between two steps must not change the next one
        assert random_by_the_caller.isfinite().all()
        assert state.step == 6 + i
    assert state.step == whole.step == 10
    assert state.samples == whole.samples == 40
    assert state.loss == whole.loss
    assert torch.equal(weights(state.model), weights(whole.model))
    assert torch.equal(weights(state.ema()), weights(whole.ema()))


def forget_random(monkeypatch):
    monkeypatch.setattr(Streams, "load_state_dict", lambda self, state: None)


def forget_numpy(monkeypatch):
    honest = Streams.load_state_dict
    monkeypatch.setattr(Streams, "load_state_dict", lambda self, state: (honest(self, state), np.random.seed(0)))


def forget_moments(monkeypatch):
    honest = Learner.load_state_dict

    def load(self, state, path):
        honest(self, state, path)
        self._raw_optimizer.state.clear()

    monkeypatch.setattr(Learner, "load_state_dict", load)


def forget_average(monkeypatch):
    honest = loop.load_into
    monkeypatch.setattr(loop, "load_into", lambda average, state, path: honest(average, average.state_dict(), path))


def forget_schedule(monkeypatch):
    honest = Learner.load_state_dict

    def load(self, state, path):
        honest(self, {**state, "schedule": {**state["schedule"], "last_epoch": 0}}, path)

    monkeypatch.setattr(Learner, "load_state_dict", load)


def share_the_stream(monkeypatch):
    monkeypatch.setattr(Streams, "__exit__", lambda self, *error: setattr(self, "_own", self._torch_states()))
    monkeypatch.setattr(Streams, "__enter__", lambda self: None)


def test_ten_steps_are_five_and_five(tmp_path):
    ten_is_five_and_five(tmp_path)


@pytest.mark.parametrize(
    "sabotage",
    [forget_random, forget_numpy, forget_moments, forget_average, forget_schedule, share_the_stream],
)
def test_resume_oracle_catches(sabotage, tmp_path, monkeypatch):
    sabotage(monkeypatch)
    with pytest.raises(AssertionError):
        ten_is_five_and_five(tmp_path)


def test_a_finished_run_yields_its_last_state(tmp_path):
    done = last(run(steps=3, checkpoint=tmp_path / "m.pt"))
    again = list(run(steps=3, checkpoint=tmp_path / "m.pt"))
    assert [state.step for state in again] == [3]
    assert again[0].loss == done.loss
    assert torch.equal(weights(again[0].model), weights(done.model))
    anew = list(run(steps=3, checkpoint=tmp_path / "m.pt", resume=False))
    assert [state.step for state in anew] == [1, 2, 3]


def test_the_run_depends_on_its_seed_and_not_on_the_callers_stream():
    torch.manual_seed(1)
    a = last(run(Net(0.3), noisy, steps=3, seed=5))
    torch.manual_seed(2)
    model, before = Net(0.3), torch.get_rng_state()
    b = last(run(model, noisy, steps=3, seed=5))
    assert torch.equal(before, torch.get_rng_state())
    c = last(run(Net(0.3), noisy, steps=3, seed=6))
    assert torch.equal(weights(a.model), weights(b.model))
    assert not torch.equal(weights(a.model), weights(c.model))


# --- averages -------------------------------------------------------------------------------------------------------


def average_is_its_recursion(decay=0.8):
    model, by_hand, n = Net(), None, 0
    for state in run(model, steps=12, ema=decay, lr=0.05):
        if by_hand is None:
            by_hand = weights(model)
        else:
            n += 1
            d = min(decay, (1 + n) / (10 + n))
            by_hand = d * by_hand + (1 - d) * weights(model)
        assert torch.allclose(weights(state.ema()), by_hand, atol=1e-12, rtol=0)
    return state


def test_average_is_its_recursion():
    state = average_is_its_recursion()
    assert not state.ema().training
    x = DATA[:3]
    assert (state.ema().energy(x) - state.model.energy(x)).abs().max() > 1e-3


def no_warm_up(n, decay):
    return decay


def one_late(n, decay):
    return decay_at(n + 1, decay)


def swapped(n, decay):
    return 1 - decay_at(n, decay)


@pytest.mark.parametrize("wrong", [no_warm_up, one_late, swapped])
def test_average_oracle_catches(wrong, monkeypatch):
    monkeypatch.setattr(learner, "decay_at", wrong)
    with pytest.raises(AssertionError):
        average_is_its_recursion()


def test_decay_zero_is_the_online_model():
    for state in run(steps=4, ema=0.0):
        assert torch.allclose(weights(state.ema()), weights(state.model), atol=1e-15)


def test_average_forgets_the_initialisation():
    start = weights(Net())
    state = last(run(steps=60, ema=0.999, lr=0.05))
    here, there = weights(state.ema()), weights(state.model)
    assert (here - there).norm() < 0.5 * (start - there).norm()


def test_average_copies_buffers():
    class Counter(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

        def energy(self, x):
            self.calls += 1
            return super().energy(x)

    state = last(run(Counter(), steps=5, ema=0.9))
    assert int(state.ema().calls) == int(state.model.calls) == 5


# --- accumulation, precision, compilation ---------------------------------------------------------------------------


def accumulation_is_one_batch():
    a = last(run(steps=5, optimizer=sgd, batch_fn=minibatches(DATA, 3), accumulate=4))
    b = last(run(steps=5, optimizer=sgd, batch_fn=minibatches(DATA, 12)))
    assert a.samples == b.samples == 60
    assert a.loss == pytest.approx(b.loss, abs=1e-12)
    assert torch.allclose(weights(a.model), weights(b.model), atol=1e-12)


def sgd(parameters, lr):
    """Unlike Adam, this one sees a gradient that is k times too large."""
    return torch.optim.SGD(parameters, lr=lr)


def test_accumulation_is_one_batch():
    accumulation_is_one_batch()


def sum_of_batches(monkeypatch):
    honest = Learner.step

    def step(self, batches):
        hook = [p.register_hook(lambda g: g * len(batches)) for p in self._parameters]
        out = honest(self, batches)
        for h in hook:
            h.remove()
        return out

    monkeypatch.setattr(Learner, "step", step)


def last_batch_only(monkeypatch):
    honest = Learner.step
    monkeypatch.setattr(Learner, "step", lambda self, batches: honest(self, batches[-1:]))


@pytest.mark.parametrize("sabotage", [sum_of_batches, last_batch_only])
def test_accumulation_oracle_catches(sabotage, monkeypatch):
    sabotage(monkeypatch)
    with pytest.raises(AssertionError):
        accumulation_is_one_batch()


def bf16_is_active(**settings):
    seen, data = set(), set()
    model = Net().float()
    model.body[0].register_forward_hook(lambda module, args, out: seen.add(out.dtype))

    def loss(model, x):
        data.add(x.dtype)
        return model.energy(x)

    state = last(run(model, loss, minibatches(DATA.float(), 4), steps=1, **settings))
    assert seen == {torch.bfloat16}
    assert data == {torch.float32}  # the data and what the loss compares with are not rounded
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}


def test_bf16_is_active():
    bf16_is_active(precision="bf16-mixed")


def test_bf16_oracle_catches_autocast_that_does_nothing():
    with pytest.raises(AssertionError):
        bf16_is_active(precision="32-true")


def test_bf16_oracle_catches_rounded_data(monkeypatch):
    from lightning_fabric.plugins import MixedPrecision

    monkeypatch.setattr(learner, "autocast", lambda device: MixedPrecision("bf16-mixed", device))
    with pytest.raises(AssertionError, match="float32"):
        bf16_is_active(precision="bf16-mixed")


def test_double_precision_makes_the_model_double():
    state = last(run(Net().float(), steps=1, precision="64-true"))
    assert {p.dtype for p in state.model.parameters()} == {torch.float64}


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=[pytest.mark.slow, needs_compiler])])
def test_compiled_is_eager(backend):
    calls = []
    eager = last(run(steps=4, ema=0.9))

    def watched(model, x):
        if not torch.compiler.is_compiling():
            calls.append(1)
        return model.energy(x)

    compiled = last(run(loss=watched, steps=4, ema=0.9, compile=backend))
    assert not calls  # it really went through the compiler
    last(run(loss=watched, steps=1))
    assert calls, "without it every call is seen"
    assert torch.allclose(weights(eager.model), weights(compiled.model), atol=1e-12)
    assert torch.allclose(weights(eager.ema()), weights(compiled.ema()), atol=1e-12)


# --- learning rate, clipping, loss ----------------------------------------------------------------------------------


def zero_rate_leaves_the_weights(optimizer):
    start, state = weights(Net()), last(run(steps=3, lr=0.0, optimizer=optimizer))
    assert torch.equal(weights(state.model), start)


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, sgd])
def test_zero_rate_leaves_the_weights(optimizer):
    zero_rate_leaves_the_weights(optimizer)


def test_zero_rate_oracle_catches_a_rate_of_its_own():
    with pytest.raises(AssertionError):
        zero_rate_leaves_the_weights(lambda parameters, lr: torch.optim.SGD(parameters, lr=1e-6))


def gradient_norm_after(clip):
    model = Net()
    last(run(model, steps=1, clip=clip, batch_fn=lambda step, rank: DATA[:6]))
    return float(torch.stack([p.grad.norm() for p in model.parameters()]).norm())


def clipped_norm_is_right():
    model = Net()
    model.energy(DATA[:6]).mean().backward()
    free = float(torch.cat([p.grad.reshape(-1) for p in model.parameters()]).norm())
    assert gradient_norm_after(None) == pytest.approx(free, rel=1e-12)
    assert gradient_norm_after(free / 3) == pytest.approx(free / 3, rel=1e-5)  # torch adds 1e-6 to the norm
    assert gradient_norm_after(free * 3) == pytest.approx(free, rel=1e-12)


def test_clipped_norm_is_right():
    clipped_norm_is_right()


def clip_values(parameters, clip):
    torch.nn.utils.clip_grad_value_(parameters, clip)


def clip_each(parameters, clip):
    for p in parameters:
        torch.nn.utils.clip_grad_norm_([p], clip)


@pytest.mark.parametrize("sabotage", [clip_values, clip_each])
def test_clip_oracle_catches(sabotage, monkeypatch):
    honest = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        learner.torch.nn.utils, "clip_grad_norm_", lambda p, c: sabotage(p, c) if len(p) > 1 else honest(p, c)
    )
    with pytest.raises(AssertionError):
        clipped_norm_is_right()


def test_warm_up_and_schedules_by_hand():
    rates = [state.lr for state in run(steps=8, lr=1.0, warmup=2, schedule="linear", optimizer="sgd")]
    assert rates == pytest.approx([0.5, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    cosine = Settings(steps=6, warmup=2, schedule="cosine", accelerator="cpu")
    assert [cosine.lr_factor(k) for k in (0, 1, 2, 4, 6)] == pytest.approx([0.5, 1, 1, 0.5, 0])
    square = [state.lr for state in run(steps=2, lr=1.0, schedule=lambda p: (1 - p) ** 2, optimizer="sgd")]
    assert square == pytest.approx([1, 0.25])


def test_the_loss_is_the_mean_over_samples_and_falls():
    model = Net()
    want = model.energy(minibatches(DATA, 4)(0)).mean().item()
    states = list(run(model, steps=200, lr=0.03))
    assert states[0].loss == pytest.approx(want, rel=1e-12)
    assert np.mean([s.loss for s in states[-20:]]) < 0.2 * want
    assert [s.samples for s in states[:3]] == [4, 8, 12]
    assert states[0].model is model
    assert states[0].ema() is model


def test_evaluation_mode_in_the_body_does_not_stop_dropout():
    def one(evaluate):
        for state in run(Net(0.5), steps=4):
            if evaluate:
                state.model.eval()
        return weights(state.model)

    assert torch.equal(one(True), one(False))


def test_time_limit_callback_and_divergence():
    seen = []
    state = last(run(steps=100_000, seconds=0.05, callback=lambda state: seen.append(state.step)))
    assert 0 < state.step < 100_000
    assert seen[0] == 1
    assert seen[-1] == state.step
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step \d+: lower lr \(now 1e\+200\)"):
        last(run(steps=50, lr=1e200, optimizer="sgd"))


def test_bad_shapes_and_frozen_models_stop_with_a_sentence():
    with pytest.raises(ValueError, match=r"one number for each sample, shape \(b,\); got \(\)"):
        last(run(loss=lambda model, x: model.energy(x).mean(), steps=1))
    with pytest.raises(ValueError, match="no parameter to train"):
        run(Net().requires_grad_(False), steps=1)


def test_importing_train_loads_no_trainer(tmp_path):
    import subprocess

    code = "import sys, genmodels, genmodels.train; sys.exit('lightning_fabric' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0


def test_no_banner(capfd):
    last(run(Net().float(), batch_fn=minibatches(DATA.float(), 4), steps=2, precision="bf16-mixed"))
    out, err = capfd.readouterr()
    assert out == err == ""
