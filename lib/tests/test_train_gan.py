"""The loop of two players: whose turn it is, who gets a gradient, and bit-exact resume."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from genmodels.train import gan, minibatches, train_gan
from genmodels.train.learner import Learner

X = torch.randn(23, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3 + 2


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Dropout(0.1), nn.Linear(5, 2)).double()
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=random, dtype=p.dtype)

    def sample(self, n):
        return self.net(torch.randn(n, 3, dtype=torch.float64))


def critic():
    random = torch.Generator().manual_seed(2)
    net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=random, dtype=p.dtype)
    return net


def generator_loss(g, c, x):
    return F.softplus(-c(g.sample(len(x))))[:, 0]


def critic_loss(g, c, x):
    return (F.softplus(-c(x)) + F.softplus(c(g.sample(len(x)).detach())))[:, 0]


def run(g=None, c=None, batch_fn=None, losses=(generator_loss, critic_loss), **settings):
    settings = {"steps": 4, "lr": 0.01, "progress": False, "accelerator": "cpu"} | settings
    return train_gan(g or Generator(), c or critic(), *losses, batch_fn or minibatches(X, 4), **settings)


def weights(module):
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()]).clone()


def last(states):
    state = None
    for state in states:  # noqa: B007
        pass
    return state


def ten_is_five_and_five(tmp_path):
    settings = {"steps": 10, "n_critic": 2, "critic_lr": 0.03, "ema": 0.8, "schedule": "linear"}
    whole = last(run(**settings))
    for state in run(**settings, checkpoint=tmp_path / "m.pt", checkpoint_every=5):
        if state.step == 5:
            break
    state = last(run(**settings, checkpoint=tmp_path / "m.pt"))
    for mine, theirs in ((state.model, whole.model), (state.critic, whole.critic), (state.ema(), whole.ema())):
        assert torch.equal(weights(mine), weights(theirs))
    assert (state.loss, state.critic_loss, state.samples) == (whole.loss, whole.critic_loss, whole.samples)


def test_ten_steps_are_five_and_five(tmp_path):
    ten_is_five_and_five(tmp_path)


def test_resume_oracle_catches_a_forgotten_critic(tmp_path, monkeypatch):
    honest = Learner.load_state_dict

    def generator_only(self, state, path):
        if isinstance(self.module, Generator):
            honest(self, state, path)

    monkeypatch.setattr(Learner, "load_state_dict", generator_only)
    with pytest.raises(AssertionError):
        ten_is_five_and_five(tmp_path)


def turns_are_right(n_critic=3, accumulate=2):
    turns, numbers = [], []

    def maker(g, c, x):
        turns.append("g")
        assert [p.requires_grad for p in c.parameters()] == [False] * 4
        assert g.training
        return generator_loss(g, c, x)

    def judge(g, c, x):
        turns.append("c")
        assert [p.requires_grad for p in g.parameters()] == [False] * 4
        return critic_loss(g, c, x)

    def batch_fn(step, rank):
        numbers.append(step)
        return X[:4]

    before = [weights(Generator()), weights(critic())]
    for state in run(batch_fn=batch_fn, losses=(maker, judge), n_critic=n_critic, accumulate=accumulate, steps=2):
        state.model.eval()  # as a caller who draws samples would leave it
        assert all(p.requires_grad for p in (*state.model.parameters(), *state.critic.parameters()))
    assert "".join(turns) == ("c" * n_critic * accumulate + "g" * accumulate) * 2
    assert numbers == list(range(2 * n_critic * accumulate))
    assert state.samples == 4 * len(numbers)
    assert not torch.equal(weights(state.model), before[0])
    assert not torch.equal(weights(state.critic), before[1])


def test_turns_are_right():
    turns_are_right()


def test_turn_oracle_catches_a_player_left_unfrozen(monkeypatch):
    monkeypatch.setattr(gan.Learner, "frozen", lambda self: torch.no_grad().__class__() and torch.enable_grad())
    with pytest.raises(AssertionError):
        turns_are_right()


def test_each_player_has_its_own_rate():
    still = last(run(lr=0.01, critic_lr=0.0))
    assert torch.equal(weights(still.critic), weights(critic()))
    assert not torch.equal(weights(still.model), weights(Generator()))
    still = last(run(lr=0.0, critic_lr=0.01))
    assert torch.equal(weights(still.model), weights(Generator()))
    assert not torch.equal(weights(still.critic), weights(critic()))


def test_one_step_is_one_of_each_players_gradient_by_hand():
    """SGD, one step, no noise: the critic moves first, the generator answers the moved critic."""
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    losses = (
        lambda g, c, x: F.softplus(-c(g.net[3](g.net[:2](z))))[:, 0],
        lambda g, c, x: (F.softplus(-c(x)) + F.softplus(c(g.net[3](g.net[:2](z)).detach())))[:, 0],
    )
    state = last(run(losses=losses, steps=1, lr=0.1, critic_lr=0.2, optimizer="sgd", batch_fn=lambda step, rank: X[:4]))
    g, c = Generator(), critic()
    for player, loss, lr in ((c, losses[1], 0.2), (g, losses[0], 0.1)):
        gradient = torch.autograd.grad(loss(g, c, X[:4]).mean(), list(player.parameters()))
        with torch.no_grad():
            for p, slope in zip(player.parameters(), gradient, strict=True):
                p -= lr * slope
    assert torch.allclose(weights(state.model), weights(g), atol=1e-12)
    assert torch.allclose(weights(state.critic), weights(c), atol=1e-12)


def test_the_average_is_the_generators():
    for i, state in enumerate(run(steps=3, ema=0.0)):
        assert isinstance(state.ema(), Generator)
        assert torch.allclose(weights(state.ema()), weights(state.model)), i


def test_samples_approach_the_data():
    g = Generator()
    far = (g.sample(500).mean(0) - X.mean(0)).norm()
    state = last(run(g, steps=600, lr=0.02, critic_lr=0.05, ema=0.98))
    assert (state.ema().sample(500).mean(0) - X.mean(0)).norm() < 0.5 * far


def test_bad_settings():
    with pytest.raises(ValueError, match="n_critic must be at least 1 update of the critic for each .*; got 0"):
        run(n_critic=0)
    with pytest.raises(ValueError, match="lr must lie"):
        run(critic_lr=-1.0)
    with pytest.raises(ValueError, match="steps must be"):
        run(steps=0)


def test_other_turns_are_not_resumed(tmp_path):
    last(run(checkpoint=tmp_path / "m.pt"))
    with pytest.raises(ValueError, match="was trained with n_critic = 1, not 2"):
        last(run(checkpoint=tmp_path / "m.pt", n_critic=2, steps=6))
