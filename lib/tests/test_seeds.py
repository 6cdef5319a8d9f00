"""Whatever is drawn is drawn from the generator that was given: same seed same draws, and torch's own stream rests."""

import copy
import importlib
import inspect

import pytest
import torch
from test_house import TOP
from torch import nn

from genmodels import autoregressive as ar
from genmodels import (
    core,
    diffusion,
    discrete,
    estimators,
    flows,
    gan,
    metrics,
    quantize,
    samplers,
    schedule,
    text,
    toy,
)
from genmodels import vae as latent
from genmodels.core import generator
from genmodels.likelihoods import bernoulli_log_prob, gaussian_log_prob
from genmodels.samplers.discrete import concrete_score

F64 = torch.float64
X = torch.randn(5, 3, dtype=F64, generator=generator(0))
LOGITS = torch.randn(9, 4, dtype=F64, generator=generator(1))
PATH, EDM = schedule.rectified(), schedule.edm()
MIXTURE = toy.GaussianMixture(torch.ones(2), torch.tensor([[-1.0, 0.3], [1.0, 0.2]]), torch.tensor([0.4, 0.6]))
LANGUAGE = toy.TinyLanguage.random(3, 4)
LATIN = toy.LatinSquares()
MASKING, UNIFORM = discrete.Masking(3, PATH), discrete.Uniform(3, PATH)
MASKS = torch.full((7, 4), 3)
TEXTS = LANGUAGE.sequences[::11]
MADE = ar.MADE(6, (8,)).double()
FLOW = flows.real_nvp(3, hidden=(8,)).double()
VAE = latent.VAE(nn.Linear(3, 4), nn.Linear(2, 3), gaussian_log_prob, 2).double()
CODES = latent.CategoricalVAE(nn.Linear(3, 6), nn.Linear(6, 3), bernoulli_log_prob, 2, 3).double()
MODEL = diffusion.Denoiser(lambda x, t: torch.tanh(x + t[:, None]), PATH)
BOOK = quantize.VectorQuantizer(6, 3, decay=0.9).double()
PLANE = MIXTURE.sample(7, generator=generator(3))[0]


uniform_denoise = LANGUAGE.denoiser(UNIFORM)


def revived(g):
    book = copy.deepcopy(BOOK)
    book.revive(X[:, None], 2.0, generator=g)
    return book.codebook


def started(g):
    book = copy.deepcopy(BOOK)
    book.start(torch.cat([X, X + 1]), steps=0, generator=g)
    return book.codebook


def step(make, x, t, s):
    return lambda g: make(g)(x, t, s)


SCORE = concrete_score(uniform_denoise, UNIFORM)
NOISY = UNIFORM.prior((7, 4), generator=generator(2))
EXACT = MIXTURE.denoiser(PATH)

DRAWS = {
    "random": lambda g: core.random(torch.randint, 9, (4, 3), generator=g),
    "draw": step(lambda g: samplers.draw(samplers.ancestral_kernel(LANGUAGE, MASKING), generator=g), MASKS, 0.9, 0.2),
    "gumbel": lambda g: core.gumbel((4, 3), generator=g),
    "sample_categorical": lambda g: core.sample_categorical(LOGITS, generator=g),
    "Blobs.sample": lambda g: toy.eight_gaussians().sample(9, generator=g),
    "Checkerboard.sample": lambda g: toy.checkerboard().sample(9, generator=g),
    "Polar.sample": lambda g: toy.two_moons().sample(9, generator=g),
    "GaussianMixture.sample": lambda g: MIXTURE.sample(9, generator=g)[0],
    "MarkovText.sample": lambda g: toy.MarkovText.random(4).sample(9, 5, generator=g),
    "TinyLanguage.sample": lambda g: LANGUAGE.sample(9, generator=g),
    "LatinSquares.puzzles": lambda g: LATIN.puzzles(LATIN.squares[:9], generator=g),
    "Schedule.corrupt": lambda g: PATH.corrupt(X, 0.4, generator=g)[0],
    "noise_like": lambda g: schedule.noise_like(X, g),
    "uniform_times": lambda g: schedule.uniform_times(9, generator=g),
    "logit_normal_times": lambda g: schedule.logit_normal_times(9, generator=g),
    "lognormal_times": lambda g: schedule.lognormal_times(9, generator=g),
    "gumbel_softmax": lambda g: estimators.gumbel_softmax(LOGITS, 0.7, generator=g),
    "normal": lambda g: estimators.normal(X, X.exp(), generator=g),
    "one_hot_sample": lambda g: estimators.one_hot_sample(LOGITS, generator=g),
    "VectorQuantizer.revive": revived,
    "gradient_penalty": lambda g: gan.gradient_penalty(lambda x: x.square().sum(1), X, X + 1, generator=g),
    "Bernoulli.sample": lambda g: ar.Bernoulli().sample(LOGITS, generator=g),
    "Categorical.sample": lambda g: ar.Categorical(4).sample(LOGITS, generator=g),
    "DiscretizedLogisticMixture.sample": lambda g: ar.DiscretizedLogisticMixture(2).sample(LOGITS.repeat(1, 3)[:, :6],
                                                                                          generator=g),
    "sample": lambda g: ar.sample(MADE, 9, generator=g),
    "trajectory": lambda g: torch.stack(list(ar.trajectory(MADE, 9, generator=g))),
    "VAE.sample": lambda g: VAE.sample(9, generator=g),
    "CategoricalVAE.elbo": lambda g: CODES.elbo(X.sigmoid().round(), 0.7, generator=g).elbo,
    "elbo": lambda g: latent.elbo(VAE, X, generator=g).elbo,
    "iwae": lambda g: latent.iwae(VAE, X, 3, generator=g),
    "log_weights": lambda g: latent.log_weights(VAE, X, 3, generator=g),
    "Flow.sample": lambda g: FLOW.sample(9, generator=g),
    "Flow.rsample": lambda g: FLOW.rsample(9, generator=g),
    "Flow.rsample_with_log_prob": lambda g: FLOW.rsample_with_log_prob(9, generator=g)[1],
    "Mixing.__init__": lambda g: flows.Mixing(4, generator=g).weight(),
    "glow": lambda g: flows.glow((1, 4, 4), 1, 1, 4, generator=g).bijection.levels[0].layers[2].weight(),
    "dequantized_log_prob": lambda g: flows.dequantized_log_prob(FLOW, torch.tensor([[0, 3, 1]]), 4, generator=g),
    "rademacher": lambda g: flows.rademacher(g)(X),
    "kmeans": lambda g: quantize.kmeans(X, 2, steps=0, generator=g)[0],
    "VectorQuantizer.start": started,
    "drop_labels": lambda g: diffusion.drop_labels(torch.arange(40), -1, 0.5, generator=g),
    "loss": lambda g: diffusion.loss(MODEL, X, torch.linspace(0.1, 0.9, 5, dtype=F64), generator=g),
    "variational_bound": lambda g: diffusion.variational_bound(MODEL, PATH, X, [0.9, 0.4, 0.0], generator=g).total,
    "Process.corrupt": lambda g: UNIFORM.corrupt(TEXTS, 0.6, generator=g),
    "Process.nelbo": lambda g: MASKING.nelbo(LANGUAGE, TEXTS, generator=g),
    "Uniform.prior": lambda g: UNIFORM.prior((5, 4), generator=g),
    "at_random.<locals>.rank": lambda g: discrete.at_random(g)(LOGITS[None], torch.zeros(1, 9, dtype=torch.long)),
    "llada_nelbo": lambda g: discrete.llada_nelbo(LANGUAGE, TEXTS, 3, generator=g),
    "ancestral": step(lambda g: samplers.ancestral(LANGUAGE, MASKING, generator=g), MASKS, 0.9, 0.2),
    "confidence": step(lambda g: samplers.confidence(LANGUAGE, MASKING, generator=g), MASKS, 0.9, 0.2),
    "first_hitting": step(lambda g: samplers.first_hitting(LANGUAGE, MASKING, generator=g), MASKS, 0.9, 0.2),
    "tau_leaping": step(lambda g: samplers.tau_leaping(SCORE, UNIFORM, generator=g), NOISY, 0.9, 0.2),
    "tweedie": step(lambda g: samplers.tweedie(SCORE, UNIFORM, generator=g), NOISY, 0.9, 0.2),
    "remdm": step(
        lambda g: samplers.remdm(LANGUAGE, MASKING, lambda most: most / 2, generator=g), MASKS, 0.9, 0.2
    ),
    "psi": step(lambda g: samplers.psi(uniform_denoise, UNIFORM, 0.5, generator=g), NOISY, 0.9, 0.2),
    "threshold": step(
        lambda g: samplers.threshold(LANGUAGE, MASKING, 0.4, temperature=1.0, generator=g), MASKS, 0.9, 0.2
    ),
    "hitting_times": lambda g: samplers.hitting_times(MASKS, MASKING, generator=g),
    "ddim": step(lambda g: samplers.ddim(EXACT, PATH, 0.7, generator=g), PLANE, 0.9, 0.2),
    "sde": step(lambda g: samplers.sde(EXACT, PATH, generator=g), PLANE, 0.9, 0.2),
    "langevin": step(lambda g: samplers.langevin(EXACT, PATH, 0.1, generator=g), PLANE, 0.5, 0.5),
    "churn": step(lambda g: samplers.churn(MIXTURE.denoiser(EDM), EDM, 0.3, generator=g), PLANE, 2.0, 1.0),
    "block_times": lambda g: text.block_times(3, 4, 2, generator=g),
    "choose": lambda g: text.choose(generator=g)(LOGITS),
    "floor": lambda g: torch.tensor(metrics.floor(metrics.energy, PLANE, 3, generator=g).mean),
    "sliced_w2": lambda g: metrics.sliced_w2(PLANE, PLANE[:4], 3, generator=g),
}  # fmt: skip
DRAWS["Schedule.corrupt, its noise"] = lambda g: PATH.corrupt(X, 0.4, generator=g)[1]
DRAWS["first_hitting, where"] = lambda g: samplers.first_hitting(LANGUAGE, MASKING, generator=g)(MASKS, 0.9, 0.2) == 3
DRAWS["confidence, ranked"] = step(
    lambda g: samplers.confidence(LANGUAGE, MASKING, rank=discrete.at_random(g), temperature=0, generator=g),
    MASKS, 0.9, 0.6,
)  # fmt: skip
# A generator here decides the matrices that are not learnt; networks start from torch's stream, as torch's own do.
STARTS_NETWORKS = {"glow"}
# A protocol, a base class without a noise of its own, and the one draw that leaves nothing to chance.
NOTHING_DRAWN = {"Shape.sample", "Process.prior", "Masking.prior", "at_random"}


def seed_decides(draw, rests=True):
    first = draw(generator(1))
    before = torch.get_rng_state()
    again = draw(generator(1))
    assert not rests or torch.equal(before, torch.get_rng_state()), "torch's own stream was used"
    assert torch.equal(first, again), "the same seed gave other draws"
    assert not torch.equal(first, draw(generator(2))), "the seed does not matter"


@pytest.mark.parametrize("name", DRAWS)
def test_the_generator_decides_every_draw(name):
    seed_decides(DRAWS[name], name not in STARTS_NETWORKS)


@pytest.mark.parametrize("name", DRAWS)
def test_seed_oracle_notices_a_generator_left_out(name):
    with pytest.raises(AssertionError):
        seed_decides(lambda _: DRAWS[name](None), name not in STARTS_NETWORKS)
    with pytest.raises(AssertionError):
        seed_decides(lambda _: DRAWS[name](generator(3)), name not in STARTS_NETWORKS)


def functions_of(thing):
    """A public function, or the public methods of a class and its constructor."""
    if not inspect.isclass(thing):
        return [thing]
    return [f for name, f in inspect.getmembers(thing, callable) if name == "__init__" or not name.startswith("_")]


def test_every_public_function_that_takes_a_generator_is_here():
    found = set()
    for module in TOP:
        package = importlib.import_module(module)
        if not module.startswith("genmodels.") or module.rsplit(".", 1)[1] in {"train", "bench", "data"}:
            continue  # nothing is drawn there, or by functions that have tests of their own
        for name in package.__all__:
            thing = getattr(package, name)
            for function in functions_of(thing) if callable(thing) and not isinstance(thing, dict) else []:
                ours = getattr(function, "__module__", "").startswith("genmodels")
                if ours and "generator" in inspect.signature(function).parameters:
                    found.add(function.__qualname__)
    assert len(found) > 50
    assert found - NOTHING_DRAWN == {name for name in DRAWS if ", " not in name and "<" not in name}
