"""Both stages of VQGAN: the tokenizer's loss term by term, a prior that adds up, and who learns when."""

import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coursekit import checks
from genmodels import quantize
from genmodels.core import generator
from genmodels.nets import FeatureNet
from genmodels.train import find_recipe, minibatches, stages
from genmodels.train.__main__ import main
from genmodels.train.loop import Run
from genmodels.train.recipe import TwoStageRecipe
from genmodels.train.recipes import vqgan
from genmodels.train.recipes.gan import critic
from genmodels.train.settings import Settings

F64 = torch.float64


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=generator(seed))


def shaken(net, std=0.3):
    random = generator(1)
    with torch.no_grad():
        for p in net.double().parameters():
            p.copy_(std * torch.randn(p.shape, generator=random, dtype=F64))
    return net.eval()


def tiny():
    """Every code at one of the encoder's own vectors, so that all are near some of them."""
    model = shaken(vqgan.VQGAN(8, 6, 4, 8, 1, 2))
    vqgan._start_codebook(model, randn(3, 3, 16, 16, seed=2))
    return model


# --- codes -----------------------------------------------------------------------------------------------------------


def codes_are_the_nearest_row_by_row():
    coder, x = tiny().tokenizer.train(), randn(2, 3, 16, 16)
    before = {key: value.clone() for key, value in coder.state_dict().items()}
    codes = coder.encode(x)
    z = coder.encoder(x)
    for i, row, column in itertools.product(range(2), range(4), range(4)):
        gaps = (z[i, :, row, column] - coder.quantizer.codebook).square().sum(1)
        assert codes[i, 4 * row + column] == gaps.argmin()
    assert len(codes.unique()) > 2
    assert all(torch.equal(value, before[key]) for key, value in coder.state_dict().items()), "encoding only looks"
    map_of_codes = coder.quantizer.codebook[codes].reshape(2, 4, 4, 4).permute(0, 3, 1, 2)
    checks.close(coder.decode(codes), coder.last(coder.decoder(map_of_codes)))


def test_codes_are_the_nearest_row_by_row():
    codes_are_the_nearest_row_by_row()


@pytest.mark.parametrize(
    ("where", "old", "new"),
    [
        (vqgan.Tokenizer.vectors, "permute(0, 2, 3, 1)", "permute(0, 3, 2, 1)"),  # column by column
        (vqgan.Tokenizer.paint, "permute(0, 3, 1, 2)", "permute(0, 3, 2, 1)"),
        (
            vqgan.Tokenizer.encode,
            "nearest(self.vectors(x), self.quantizer.codebook)",
            "self.quantizer(self.vectors(x)).indices",
        ),
    ],
)
def test_oracle_of_codes_notices(where, old, new, notices):
    notices(codes_are_the_nearest_row_by_row, where, old, new)


def test_the_codebook_starts_on_vectors_of_the_data():
    model, x = shaken(vqgan.VQGAN(8, 6, 4, 8, 1, 2)), randn(3, 3, 16, 16)
    vqgan._start_codebook(model, x)
    gaps = torch.cdist(model.tokenizer.quantizer.codebook, model.tokenizer.vectors(x).flatten(0, 2))
    assert gaps.min(1).values.max() < 1e-6


def test_nearest_is_exact_under_autocast():
    """In bf16 the distances of neighbours would be rounded to the same number."""
    codebook = 4 + 0.01 * torch.randn(64, 3, generator=generator(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quantize.nearest(codebook, codebook), torch.arange(64))
        assert not torch.equal((codebook.square().sum(1) - 2 * codebook @ codebook.T).argmin(-1), torch.arange(64))


# --- the prior -------------------------------------------------------------------------------------------------------

ALL = torch.tensor(list(itertools.product(range(3), repeat=4)))


def prior():
    return shaken(vqgan.CodePrior(3, 8, 2, 2, length=4), std=0.6)


def probabilities_of_all_codes_sum_to_one():
    checks.normalised(prior().log_prob, ALL, "log_prob")


def samples_follow_the_prior():
    with torch.no_grad():
        x = prior().sample(20_000, generator=generator(0))
        checks.distributed(x, prior().log_prob(ALL).exp(), "sample", states=ALL)
        colder = torch.tensor([float((prior().sample(4000, temperature=t, generator=generator(0)) == 0).double().var())
                               for t in (1.0, 0.1)])  # fmt: skip
    assert (colder[0] - colder[1]).abs() > 1e-3, "the temperature matters"


def test_prior():
    probabilities_of_all_codes_sum_to_one()
    samples_follow_the_prior()


@pytest.mark.parametrize(
    ("oracle", "where", "old", "new"),
    [
        (probabilities_of_all_codes_sum_to_one, vqgan.CodePrior.log_prob, "[..., : self.codes]", ""),
        (
            probabilities_of_all_codes_sum_to_one,
            vqgan.CodePrior.log_prob,
            "torch.cat([start, codes[:, :-1]], 1)",
            "codes",
        ),
        (samples_follow_the_prior, vqgan.CodePrior.sample, "pick(logits[:, : self.codes])", "pick(logits[:, 1:])"),
    ],
)
def test_oracle_of_the_prior_notices(oracle, where, old, new, notices):
    notices(oracle, where, old, new)


# --- the loss of the first stage -------------------------------------------------------------------------------------


def feature_distance_by_loops():
    net = shaken(FeatureNet(2, 8, (2,), width=4, dim=3))
    x, y = randn(2, 2, 8, 8), randn(2, 2, 8, 8, seed=1)
    want, a, b = torch.zeros(2, dtype=F64), x, y
    for k in range(3):
        a, b = (net.body[3 * k : 3 * k + 3](v) for v in (a, b))
        h, w = a.shape[2:]
        for i, row, column in itertools.product(range(2), range(h), range(w)):
            u, v = a[i, :, row, column], b[i, :, row, column]
            want[i] += (u / u.norm() - v / v.norm()).square().sum() / (h * w)
    checks.close(vqgan.feature_distance(net, x, y), want, "feature_distance")
    checks.close(vqgan.feature_distance(net, x, x), torch.zeros(2), "of a picture and itself")


def test_feature_distance_by_loops():
    feature_distance_by_loops()


@pytest.mark.parametrize(
    ("old", "new"),
    [("F.normalize(x, dim=1)", "F.normalize(x, dim=2)"), ("mean((1, 2))", "sum((1, 2))"), ("nn.SiLU", "nn.Conv2d")],
)
def test_oracle_of_features_notices(old, new, notices):
    notices(feature_distance_by_loops, vqgan.feature_distance, old, new)


def loss_is_the_sum_of_its_terms(monkeypatch):
    net = shaken(FeatureNet(3, 16, (2,), width=4, dim=3)).requires_grad_(False)
    monkeypatch.setattr(vqgan, "_judge", lambda device: net)
    model, c, x = tiny(), shaken(critic(4), 0.1), randn(3, 3, 16, 16)
    coder = model.tokenizer
    z = coder.vectors(x)
    code = coder.quantizer.codebook[quantize.nearest(z, coder.quantizer.codebook)]
    y = coder.paint(z + (code - z).detach())
    close = (y - x).abs().mean((1, 2, 3)) + vqgan.PERCEPTUAL * vqgan.feature_distance(net, x, y)
    pulls = [
        torch.autograd.grad(term.mean(), coder.last.weight, retain_graph=True)[0].norm() for term in (close, -c(y))
    ]
    commit = (z - code).square().mean((1, 2, 3))
    want = close - vqgan.ADVERSARIAL * (pulls[0] / (pulls[1] + 1e-4)).detach() * c(y) + vqgan.COMMITMENT * commit
    got = vqgan.tokenizer_loss(model, c, x)
    checks.close(got, want, "tokenizer_loss")
    weights = [p for p in coder.parameters() if p.requires_grad]
    assert not coder.quantizer.codebook.requires_grad, "the codebook follows running means"
    for a, b in zip(torch.autograd.grad(got.sum(), weights), torch.autograd.grad(want.sum(), weights), strict=True):
        checks.close(a, b, "gradient")
        assert b.abs().max() > 0
    fooled = vqgan.critic_loss(model, c, x)
    checks.close(fooled, F.relu(1 - c(x)) + F.relu(1 + c(y)), "critic_loss")
    assert all(g is None for g in torch.autograd.grad(fooled.sum(), weights, allow_unused=True))


def test_loss_is_the_sum_of_its_terms(monkeypatch):
    loss_is_the_sum_of_its_terms(monkeypatch)


@pytest.mark.parametrize(
    ("where", "old", "new"),
    [
        (vqgan.tokenizer_loss, "weight * fooled", "ADVERSARIAL * fooled"),
        (
            vqgan.tokenizer_loss,
            "adaptive_weight(close.mean(), fooled.mean()",
            "adaptive_weight(close.sum(), fooled.mean()",
        ),
        (vqgan.tokenizer_loss, "coded.commitment_loss / z[0].numel()", "coded.commitment_loss"),
        (vqgan.tokenizer_loss, "coder.paint(coded.z)", "coder.paint(z)"),
        (vqgan.critic_loss, "with torch.no_grad():", "if True:"),
        (vqgan.critic_loss, "critic(c(x), c(y))", "critic(c(y), c(x))"),
    ],
)
def test_oracle_of_the_loss_notices(where, old, new, notices, monkeypatch):
    notices(partial(loss_is_the_sum_of_its_terms, monkeypatch), where, old, new)


def test_dead_codes_come_alive_in_training_only(monkeypatch):
    net = shaken(FeatureNet(3, 16, (2,), width=4, dim=3)).requires_grad_(False)
    monkeypatch.setattr(vqgan, "_judge", lambda device: net)
    model, c, x = tiny(), shaken(critic(4), 0.1), randn(3, 3, 16, 16)
    book = model.tokenizer.quantizer
    book.codebook[2], book.sums[2], book.counts[2] = 900.0, 90.0, 0.1
    vqgan.tokenizer_loss(model, c, x)
    assert (book.codebook[2] == 900).all()
    vqgan.tokenizer_loss(model.train(), c, x)
    assert book.codebook[2].abs().max() < 100


# --- two stages ------------------------------------------------------------------------------------------------------


class Parts(nn.Module):
    """The smallest model of two stages: one number that plays, one that follows."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.tensor([2.0]))
        self.prior = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.prior.weight, -1.0)


DATA = torch.linspace(0, 1, 12)[:, None]


def play(folder=None, steps=10, **options):
    model, judge = Parts(), nn.Linear(1, 1)
    nn.init.constant_(judge.weight, 0.3)
    nn.init.zeros_(judge.bias)
    settings = Settings(steps=steps, lr=0.05, accelerator="cpu", ema=0.5, schedule="linear", warmup=min(1, steps - 1))
    checkpoint = None if folder is None else folder / "m.pt"
    return stages.fit_stages(
        model,
        judge,
        lambda m, c, x: (c(m.first * x) ** 2)[:, 0],
        lambda m, c, x: ((c(x) - 1) ** 2 + c(m.first.detach() * x) ** 2)[:, 0],
        lambda m, x: ((m.prior(m.first.detach() * x) - x) ** 2)[:, 0],
        minibatches(DATA, 4),
        Run(settings, checkpoint, checkpoint_every=1, progress=False),
        0.6,
        **options,
    )


def each_learns_in_its_stage():
    before = Parts()
    seen = []
    for state in play():
        first, second = state.model.first.item(), state.model.prior.weight.item()
        seen.append((state.step, state.stage, first, second, state.lr))
        assert all(p.requires_grad for p in state.model.parameters())
    assert [row[1] for row in seen] == [1] * 6 + [2] * 4
    assert all(row[3] == float(before.prior.weight) for row in seen[:6]), "the prior rests"
    assert len({row[2] for row in seen[5:]}) == 1, "the first stage rests"
    assert len({row[2] for row in seen[:6]}) == 6 and len({row[3] for row in seen[5:]}) == 5
    assert seen[0][4] == pytest.approx(0.05) and seen[6][4] == pytest.approx(0.05), "each stage has its own schedule"
    assert seen[5][4] < 0.02 and seen[9][4] < 0.02


def test_each_learns_in_its_stage():
    each_learns_in_its_stage()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("if step < first:", "if step <= first:"),
        ("if step <= first else 2", "if step < first else 2"),
        ("replace(settings, steps=later", "replace(settings, steps=settings.steps"),
    ],
)
def test_oracle_of_stages_notices(old, new, notices):
    notices(each_learns_in_its_stage, stages.fit_stages, old, new)


@pytest.mark.parametrize("stop", [3, 6, 8])
def test_any_step_of_either_stage_resumes(stop, tmp_path):
    *_, whole = play()
    for state in play(tmp_path):
        if state.step == stop:
            break
    *_, again = play(tmp_path)
    for mine, theirs in ((again.model, whole.model), (again.ema(), whole.ema()), (again.critic, whole.critic)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
    assert again.loss == whole.loss
    with pytest.raises(ValueError, match="was trained with prior_lr = 0.05, not 0.1"):
        next(play(tmp_path, prior_lr=0.1))


def test_the_second_rate_is_its_own_and_bad_settings_stop():
    assert [state.lr for state in play(prior_lr=0.2)][6] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="2 steps or more"):
        play(steps=1)
    recipe = find_recipe("vqgan")
    fields = {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}
    with pytest.raises(ValueError, match="needs prior_loss"):
        TwoStageRecipe(**fields | {"prior_loss": None})
    with pytest.raises(ValueError, match="one rhythm and one rate"):
        TwoStageRecipe(**fields | {"n_critic": 2})


def test_the_command_trains_and_measures_both_stages(tmp_path, capsys, monkeypatch):
    few = vqgan._portraits("test")[:60]
    monkeypatch.setattr(vqgan, "_portraits", lambda split: few if split == "test" else few.repeat(3, 1, 1, 1))
    assert main(["vqgan", "--profile", "smoke", "--steps", "4", "--measure", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "loss of stage 2 " in out
    bits = float(out.split("test bits of a portrait's codes: ")[1].split()[0])
    assert 30 < bits < 16 * math.log2(16) + 8  # hardly trained: not far from uniform
    assert "Frechet distance in our features, 60 portraits each: reconstructions " in out
    assert ", samples " in out and "floor " in out and "64 bits without a prior" in out
