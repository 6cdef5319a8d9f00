"""What the recipes add to the modules they train: features, hidden labels, block bounds and concrete scores."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coursekit import checks
from genmodels import data
from genmodels.core import generator
from genmodels.discrete import Masking, Uniform, llada_nelbo, subs
from genmodels.nets import FeatureNet, Transformer
from genmodels.text import block_nll
from genmodels.train import find_recipe
from genmodels.train.recipes import text as recipe_of_text
from genmodels.train.recipes.diffusion import hide_labels
from genmodels.train.recipes.features import ATTRIBUTE_CLASSES, portraits_and_labels
from genmodels.train.recipes.scores import ScoreNet, score_bound
from genmodels.train.recipes.text import block_bound, masked_bound, masked_loss


def shaken(net: nn.Module, std: float = 0.3) -> nn.Module:
    """float64, with random weights everywhere: many layers start at zero, which would hide mistakes."""
    random = generator(1)
    for p in net.double().parameters():
        p.data = std * torch.randn(p.shape, generator=random, dtype=p.dtype)
    return net.eval()


# --- features ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "size", "classes"), [(3, 16, (5, 2)), (1, 28, (10,)), (2, 7, (2, 3, 4))])
def test_a_recogniser_is_a_linear_layer_on_its_features(channels, size, classes):
    net = shaken(FeatureNet(channels, size, classes, width=4, dim=6))
    x = torch.rand(3, channels, size, size, dtype=torch.float64)
    f = net.features(x)
    assert f.shape == (3, 6)
    logits = net(x)
    assert [part.shape for part in logits] == [(3, k) for k in classes]
    checks.close(torch.cat(logits, 1), F.linear(f, net.head.weight, net.head.bias))
    labels = torch.stack([torch.arange(3) % k for k in classes], 1)
    by_hand = torch.zeros(3, dtype=torch.float64)
    right = torch.zeros(3, len(classes), dtype=torch.float64)
    for i in range(3):
        for a, part in enumerate(logits):
            p = part[i].exp() / part[i].exp().sum()
            by_hand[i] -= p[labels[i, a]].log()
            right[i, a] = float(part[i].max() == part[i, labels[i, a]])
    checks.close(net.loss(x, labels), by_hand)
    checks.close(net.correct(x, labels), right)


def test_where_a_part_is_matters_to_the_features():
    net = shaken(FeatureNet(1, 16, (2,), width=4, dim=6))
    x = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    here, there = x.clone(), x.clone()
    here[..., 4, 4] = there[..., 4, 8] = 1
    assert (net.features(here) - net.features(there)).norm() > 1e-3


def the_layers_see_pixels_between_minus_one_and_one():
    net = shaken(FeatureNet(2, 8, (2,), width=4, dim=6))
    for pixel, seen in ((0.0, -1.0), (0.5, 0.0), (1.0, 1.0)):
        picture = torch.full((1, 2, 8, 8), pixel, dtype=torch.float64)
        checks.close(net.features(picture), F.silu(net.body(torch.full_like(picture, seen))), "features")


def test_the_layers_see_pixels_between_minus_one_and_one(notices):
    the_layers_see_pixels_between_minus_one_and_one()
    notices(the_layers_see_pixels_between_minus_one_and_one, FeatureNet.features, "2 * x - 1", "x")


def test_a_recogniser_refuses_other_pictures():
    net = FeatureNet(3, 16, (5, 2), width=4)
    with pytest.raises(ValueError, match=r"expected pictures of shape \(b, 3, 16, 16\); got \(2, 3, 8, 8\)"):
        net.features(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="at least 2 classes"):
        FeatureNet(3, 16, (5, 1))
    with pytest.raises(ValueError, match="at least 4 pixels"):
        FeatureNet(3, 3, (5,))


def test_the_attributes_are_those_of_the_data():
    train = data.portraits("valid")
    assert ATTRIBUTE_CLASSES == tuple(len(words) for words in train.words.values())
    x, labels = portraits_and_labels("valid")
    assert torch.equal(x, train.x)
    for column, name in enumerate(train.attributes):
        assert torch.equal(labels[:, column], train.attributes[name])


# --- labels told or not --------------------------------------------------------------------------------------------


def shares_of_told_labels():
    """Hidden with probability p of density 2 p, m of 3 labels are told with 2 C(3, m) B(5 - m, m + 1), integral by
    integral 0.4, 0.3, 0.2, 0.1; and a fifth of the samples is told nothing whatever p is."""
    n, k = 20_000, 3
    x, labels = torch.zeros(n, 1), torch.randint(4, (n, k), generator=generator(0))
    same, seen = hide_labels((x, labels), generator(1))
    assert same is x
    told = seen >= 0
    assert torch.equal(seen[told], labels[told])
    assert seen[~told].eq(-1).all()
    checks.distributed(told.sum(1), torch.tensor([0.2 + 0.8 * 0.4, 0.8 * 0.3, 0.8 * 0.2, 0.8 * 0.1]))
    checks.distributed(told[told.sum(1) == 1].long().argmax(1), torch.full((k,), 1 / k))


def test_shares_of_told_labels():
    shares_of_told_labels()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("drop_labels(few, -1", "drop_labels(labels, -1"),
        ("draw(len(labels), 1).sqrt()", "0.5"),
        (".sqrt()", ""),
        ("draw(labels.shape)", "draw(len(labels), 1)"),
        ("drop_labels(few, -1, UNTOLD, generator=generator)", "few"),
    ],
)
def test_oracle_of_labels_catches(old, new, edit):
    edit(hide_labels, old, new)
    with pytest.raises(AssertionError):
        shares_of_told_labels()


def test_the_told_model_hears_what_it_is_told():
    recipe = find_recipe("ddpm")
    model = shaken(recipe.profile("smoke").model())
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    labels = torch.tensor([[3, 1, 2, 4, 5, 6, 7, 1, 1, 1, 1]] * 2)
    nothing = torch.full_like(labels, -1)
    checks.close(model(x, 0.5), model(x, 0.5, nothing))
    for column in range(labels.shape[1]):
        one = nothing.clone()
        one[:, column] = labels[:, column]
        assert (model(x, 0.5, one) - model(x, 0.5, nothing)).abs().max() > 1e-6, column


# --- blocks of text ------------------------------------------------------------------------------------------------

L = 8
TEXT = torch.randint(69, (2, L), generator=generator(3))


def tiny() -> Transformer:
    """Sharp enough that the loss depends on how many of a block's tokens are masked."""
    return shaken(Transformer(70, 8, 2, 2, max_len=L, causal=False), std=1.0)


def block_bound_is_unbiased(block, n=2000):
    with torch.no_grad():
        exact = block_nll(tiny(), TEXT, block, 69)
        draws = block_bound(tiny(), TEXT.repeat(n, 1), block, generator=generator(4)).reshape(n, 2)
    checks.unbiased(draws, exact)


@pytest.mark.parametrize("block", [2, 4])
def test_block_bound_is_unbiased(block):
    block_bound_is_unbiased(block)


def masks_cost_by_their_number(monkeypatch, block=4, n=4000):
    """Each of k masks of a block costs k nats, so all of a block cost n / k k k on average: n (n + 1) / 2."""

    def logits(model, x_t, x0, block):
        k = (x_t == 69).unflatten(1, (-1, block)).sum(2).repeat_interleave(block, 1).double().clamp_min(1)
        out = torch.full((*x_t.shape, 70), -torch.inf, dtype=torch.float64)
        out[..., 0], out[..., 1] = -k, torch.log1p(-torch.exp(-k))
        return out

    monkeypatch.setattr(recipe_of_text, "block_logits", logits)
    draws = block_bound(None, torch.zeros(n, L, dtype=torch.long), block, generator=generator(4))
    checks.unbiased(draws, torch.tensor(L / block * block * (block + 1) / 2, dtype=torch.float64))


def test_masks_cost_by_their_number(monkeypatch):
    masks_cost_by_their_number(monkeypatch)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size / k * ", ""),
        ("(1 + draw()", "(draw()"),
        ("torch.where(hidden, MASK, x)", "torch.where(~hidden, MASK, x)"),
        ("draw().gather(1, first)", "draw()"),
        (" & (number[:, None] == number[:, :, None])", ""),
    ],
)
def test_block_oracle_catches(old, new, edit, monkeypatch):
    edit(block_bound, old, new)
    with pytest.raises(AssertionError):
        masks_cost_by_their_number(monkeypatch)


def test_texts_may_have_blocks_of_their_own(n=2000):
    with torch.no_grad():
        exact = torch.cat([block_nll(tiny(), TEXT[i : i + 1], size, 69) for i, size in enumerate((4, 2))])
        sizes = torch.tensor([4, 2]).repeat(n)
        draws = block_bound(tiny(), TEXT.repeat(n, 1), sizes, generator=generator(5)).reshape(n, 2)
    checks.unbiased(draws, exact)


def test_blocks_of_one_are_the_autoregressive_likelihood_without_chance():
    with torch.no_grad():
        exact = block_nll(tiny(), TEXT, 1, 69)
        for seed in (0, 1):
            checks.close(block_bound(tiny(), TEXT, 1, generator=generator(seed)), exact)
    with pytest.raises(ValueError, match="block must divide the length 8; got 3"):
        block_bound(tiny(), TEXT, 3)


# --- masks -----------------------------------------------------------------------------------------------------------


class Counter(nn.Module):
    """Makes each masked token cost 1 nat exactly and a token that is seen nothing, so that a loss counts masks."""

    def forward(self, seen):
        logits = torch.full((*seen.shape, 70), -torch.inf, dtype=torch.float64)
        logits[..., 0] = -(seen == 69).double()
        logits[..., 1] = torch.where(seen == 69, math.log(1 - math.exp(-1)), -torch.inf)
        return logits


def masked_bound_is_that_of_the_library():
    """Two ways to one bound, from the same draws."""
    model, x = tiny(), TEXT.repeat(20, 1)
    with torch.no_grad():
        want = llada_nelbo(lambda seen: subs(model(seen), seen, 69), x, 69, generator=generator(8))
        checks.close(masked_bound(model, x, generator=generator(8)), want)


def test_masked_bound_is_that_of_the_library():
    masked_bound_is_that_of_the_library()


@pytest.mark.parametrize(("old", "new"), [("l / k * ", ""), ("torch.where(hidden, mask, x)", "x")])
def test_oracle_of_the_masked_bound_catches(old, new, edit):
    edit(masked_bound, old, new)
    with pytest.raises(AssertionError):
        masked_bound_is_that_of_the_library()


def masks_are_counted_alike():
    l, n = 7, 70_000
    x = torch.zeros(n, l, dtype=torch.long)
    losses = masked_loss(Counter(), x, generator=generator(0))
    k = (losses * (l + 1) / (2 * l)).round().long()
    checks.close(losses, k * 2 * l / (l + 1))
    assert k.bincount().tolist() == [0, *[n // l] * l]  # shares are stratified: each number of masks as often
    checks.close(losses.mean(), float(l))


def test_masks_are_counted_alike():
    masks_are_counted_alike()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".ceil()", ".floor()"),
        ("2 * l / (l + 1)", "1 / share"),
        ("share * l", "share**2 * l"),
        ("torch.where(hidden, mask, x)", "x"),
    ],
)
def test_oracle_of_masks_catches(old, new, edit):
    edit(masked_loss, old, new)
    with pytest.raises(AssertionError):
        masks_are_counted_alike()


# --- concrete scores -----------------------------------------------------------------------------------------------

V = 5
T = torch.tensor([0.3, 0.8], dtype=torch.float64)


def net_and_noisy(make_process):
    net = shaken(ScoreNet(make_process, 8, 2, 2, symbols=V))
    x0 = torch.randint(V, (2, L), generator=generator(5))
    return net, x0, net.process.corrupt(x0, T, generator=generator(6))


def posterior_of(net, x, t=T):
    """The guess w as Bayes' rule makes it the denoiser p(x_0 | x_t): w times the likelihood of what is seen."""
    out = net.body(x, cond=net.time(t)).masked_fill(~net.process.clean, -torch.inf)
    joint = out.softmax(-1) * net.process.likelihood(x, t)
    return joint / joint.sum(-1, keepdim=True)


def score_is_that_of_its_denoiser(make_process):
    net, _, x = net_and_noisy(make_process)
    with torch.no_grad():
        got, want = net(x, T), net.process.ratio(x, posterior_of(net, x), T).log()
    jumps = x == V if make_process is Masking else torch.ones_like(x, dtype=torch.bool)
    assert jumps.sum() > 2
    checks.close(got[jumps], want[jumps])
    assert got.gather(2, x[..., None]).abs().max() == 0


@pytest.mark.parametrize("make_process", [Masking, Uniform])
def test_score_is_that_of_its_denoiser(make_process):
    score_is_that_of_its_denoiser(make_process)


@pytest.mark.parametrize("make_process", [Masking, Uniform])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(1 - alpha) * self.pi", "alpha * self.pi"),
        ("alpha.log() + log_w", "log_w"),
        ("log_m - log_m.gather(2, x[..., None])", "log_m"),
    ],
)
def test_score_oracle_catches(make_process, old, new, edit):
    edit(ScoreNet.forward, old, new)
    with pytest.raises(AssertionError):
        score_is_that_of_its_denoiser(make_process)


def test_score_entropy_of_masks_is_the_weighted_cross_entropy():
    """Two ways to one bound, from the same draws: the score's, and the masked denoiser's."""
    net, x0, _ = net_and_noisy(Masking)
    with torch.no_grad():
        got = score_bound(net, x0, generator=generator(7))
        denoise = lambda x, t: posterior_of(net, x, t).log()
        want = net.process.nelbo(denoise, x0, generator=generator(7))
    checks.close(got, want, rtol=1e-6)


def test_a_score_takes_one_time_for_all():
    net, _, x = net_and_noisy(Uniform)
    with torch.no_grad():
        checks.close(net(x, 0.4), net(x, torch.tensor([0.4, 0.4], dtype=torch.float64)))


# --- what text is measured by --------------------------------------------------------------------------------------


class Shares(nn.Module):
    """Knows how often each symbol comes, and nothing else; the symbol beyond never comes."""

    def __init__(self, tokens, symbols):
        super().__init__()
        self.log_p = (tokens.flatten().bincount(minlength=symbols) + 1.0).log()
        self.log_p -= self.log_p.logsumexp(0)

    def forward(self, x, **more):
        return F.pad(self.log_p, (0, 1), value=-torch.inf).expand(*x.shape, -1)


class CausalShares(Shares):
    """The same without the symbol beyond."""

    def forward(self, x):
        return super().forward(x)[..., :-1]


@pytest.mark.parametrize(
    ("name", "kind"), [("char_transformer", CausalShares), ("masked_text", Shares), ("block_text", Shares)]
)
def test_every_recipe_of_a_text_is_measured_on_the_same_characters(name, kind):
    """One that knows shares alone must cost the same everywhere: the cross-entropy of all windows' characters."""
    know = kind(data.shakespeare("train").tokens, 69)
    text = data.shakespeare("test").tokens
    text = text[: len(text) // 128 * 128]
    want = -know.log_p[text].mean().item() / math.log(2)
    tolerance = 0.02 if name == "masked_text" else 1e-4  # whose masks are drawn: 4 for each of 915 windows
    assert find_recipe(name).metric(know) == pytest.approx(want, abs=tolerance)


@pytest.mark.parametrize("name", ["causal_quatrains", "quatrains"])
def test_both_recipes_of_poems_are_measured_on_the_same_characters(name):
    know = Shares(data.quatrains("train").tokens, 4753)
    want = -know.log_p[data.quatrains("test").tokens].mean().item() / math.log(2)
    assert find_recipe(name).metric(know) == pytest.approx(want, abs=0.03 if name == "quatrains" else 1e-4)
