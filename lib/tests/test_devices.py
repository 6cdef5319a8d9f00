"""The library on a device that is not here: torch's meta device, as one that lacks float64 and has its own generators.

Meta tensors carry shape, type and device but no values, and refuse to meet tensors of the CPU. Here they also refuse
float64, as Apple's GPU does, and a generator of another device; a look at a value answers "yes", and a copy to the CPU
is halves or zeros. So every line runs that would run there.
"""

import pytest
import torch
from test_seeds import DRAWS
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from genmodels import autoregressive as ar
from genmodels import core, diffusion, discrete, estimators, flows, gan, metrics, nets, ot, quantize, samplers, schedule
from genmodels import text as texts
from genmodels import vae as latent
from genmodels.likelihoods import bernoulli_log_prob

META = torch.device("meta")


def fetched(x, dtype=None):
    """A copy on the CPU: a half where there are fractions, zeros else."""
    return torch.full(x.shape, 0.5 if x.is_floating_point() else 0, dtype=dtype or x.dtype)


class Values(TorchFunctionMode):
    """What a device answers when its values are looked at or fetched; whose generators it takes; no float64."""

    LOOKS = {torch.Tensor.__bool__: True, torch.Tensor.__int__: 1, torch.Tensor.__float__: 0.5, torch.Tensor.item: 0.5}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        there = bool(args) and isinstance(args[0], torch.Tensor) and args[0].device.type == "meta"
        if func in self.LOOKS and there:
            return self.LOOKS[func]
        if func is torch.Tensor.to and there:
            where, dtype, *_ = torch._C._nn._parse_to(*args[1:], **kwargs)
            if where is not None and where.type == "cpu":
                return fetched(args[0], dtype)
        if func is torch.Tensor.cpu and there:
            return fetched(args[0])
        if func is torch.Tensor.tolist and there:
            return list(range(len(args[0])))
        if func is torch.Tensor.bincount and there:  # whose length is a value
            return torch.zeros(kwargs["minlength"], dtype=torch.long, device="meta")
        given = kwargs.pop("generator", None)
        out = func(*args, **kwargs)
        if given is not None and out.device.type != given.device.type:
            raise RuntimeError(f"{out.device} tensors from a generator of {given.device}")
        for x in tree_flatten(out)[0]:
            if isinstance(x, torch.Tensor) and x.device.type == "meta" and x.dtype is torch.float64:
                raise TypeError(f"{func} makes a float64 tensor on a device that has none")
        return out


class Elsewhere(torch.Generator):
    """A generator of the device, as far as anybody asks."""

    device = META


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(core, "lacks_float64", lambda device: torch.device(device).type == "meta")
    with Values():
        yield META


def real(*shape, **kind):
    return torch.zeros(shape, device=META, **kind)


def tokens(*shape):
    return torch.zeros(shape, dtype=torch.long, device=META)


def gives(x, shape, dtype=torch.float32, device="meta"):
    assert x.device.type == device, x.device
    assert tuple(x.shape) == shape and x.dtype is dtype, (tuple(x.shape), x.dtype)


GENERATORS = {"none": lambda: None, "of the CPU": lambda: core.generator(0), "of the device": Elsewhere}
any_generator = pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS)


@any_generator
def test_draws(device, generator):
    g = generator
    logits, p = real(4, 5), real(3, 6)
    gives(core.sample_categorical(logits, generator=g()), (4,), torch.long)
    gives(core.gumbel((2, 3), generator=g(), device=device), (2, 3), torch.float64, "cpu")
    gives(estimators.gumbel_softmax(logits, 0.5, generator=g()), (4, 5))
    gives(estimators.one_hot_sample(logits, generator=g()), (4, 5))
    gives(estimators.normal(p, p, generator=g()), (3, 6))
    gives(schedule.noise_like(p, g()), (3, 6))
    gives(schedule.uniform_times(7, generator=g(), device=device), (7,))
    gives(schedule.logit_normal_times(7, generator=g(), device=device), (7,))
    gives(schedule.lognormal_times(7, generator=g(), device=device), (7,))
    gives(ar.Bernoulli().sample(p, generator=g()), (3, 6))
    gives(ar.Categorical(5).sample(logits, generator=g()), (4,))
    gives(ar.DiscretizedLogisticMixture(2).sample(p, generator=g()), (3,))
    gives(diffusion.drop_labels(tokens(5), 9, 0.5, generator=g()), (5,), torch.long)
    gives(flows.rademacher(g())(p), (3, 6))
    gives(gan.gradient_penalty(lambda x: x.square().sum(1), p, p, generator=g()), (3,))
    gives(texts.choose(generator=g())(logits), (4,), torch.long)
    gives(metrics.sliced_w2(p, p, 4, generator=g()), (), torch.float64, "cpu")


@any_generator
def test_models_draw_and_score(device, generator):
    g = generator
    flow = flows.real_nvp(4, hidden=(8,)).to(device)
    gives(flow.rsample(3, generator=g()), (3, 4))
    gives(flow.log_prob(real(3, 4)), (3,))
    net = latent.VAE(nn.Linear(3, 4), nn.Linear(2, 3), bernoulli_log_prob, 2).to(device)
    gives(net.sample(5, generator=g()), (5, 3))
    gives(latent.iwae(net, real(2, 3), 4, generator=g()), (2,))
    book = quantize.VectorQuantizer(4, 3, decay=0.9).to(device)
    gives(book(real(2, 5, 3)).z, (2, 5, 3))
    gives(quantize.kmeans(real(9, 3), 4, generator=g())[0], (4, 3))
    gives(ar.sample(ar.MADE(5, (6,)).to(device), 3, generator=g()), (3, 5))
    gives(nets.DiT(4, 1, d_model=8, layers=1, heads=2).to(device)(real(2, 1, 4, 4), real(2)), (2, 1, 4, 4))


PROCESSES = {
    "masks": lambda: discrete.Masking(4, schedule.cosine()),
    "uniform": lambda: discrete.Uniform(4, schedule.cosine()),
}


@any_generator
@pytest.mark.parametrize("make", PROCESSES.values(), ids=PROCESSES)
def test_tokens_stay_on_the_device_and_probabilities_go_where_float64_is(device, make, generator):
    process, g = make(), generator
    x = tokens(3, 6)
    denoise = lambda x, t: real(3, 6, process.states).log_softmax(-1)
    for t in (0.5, real(3), real(3, 6)):
        gives(process.corrupt(x, t, generator=g()), (3, 6), torch.long)
    gives(process.nelbo(denoise, x, generator=g()), (3,), torch.float64, "cpu")
    gives(process.step_kl(denoise(x, 0.5), x, x, 0.5, 0.2), (3,), torch.float64, "cpu")
    steps = [
        samplers.ancestral(denoise, process, generator=g()),
        samplers.psi(denoise, process, 0.5, generator=g()),
        samplers.tweedie(samplers.concrete_score(denoise, process), process, generator=g()),
        samplers.tau_leaping(samplers.concrete_score(denoise, process), process, generator=g()),
    ]
    if isinstance(process, discrete.Masking):
        steps += [
            samplers.confidence(denoise, process, generator=g()),
            samplers.confidence(denoise, process, rank=discrete.at_random(g()), generator=g()),
            samplers.confidence(denoise, process, rank=discrete.in_order(range(6)), temperature=0),
            samplers.threshold(denoise, process, 0.5),
            samplers.first_hitting(denoise, process, generator=g()),
            samplers.remdm(denoise, process, lambda most: most / 2, generator=g()),
        ]
        gives(discrete.llada_nelbo(lambda x: denoise(x, 0), x, 4, generator=g()), (3,))
        gives(discrete.exact_masked_nelbo(lambda x: denoise(x, 0)[:, :2], x[:, :2], 4), (3,), torch.float64, "cpu")
    for step in steps:
        gives(step(x, 0.9, 0.3), (3, 6), torch.long)


def test_positions_times_and_distances(device):
    gives(nets.sinusoidal(real(3), 8), (3, 8))
    gives(nets.rope(real(2, 5, 8), tokens(5)), (2, 5, 8))
    for path in (schedule.cosine(), schedule.from_betas(schedule.linear_betas(50)), schedule.linear_vp()):
        gives(path.corrupt(real(3, 4), real(3))[0], (3, 4))
        gives(path.time_at(real(3)), (3,))
    gives(texts.block_times(2, 6, 3, device=device), (2, 6), torch.float64, "cpu")
    gives(quantize.perplexity(tokens(9), 1), (), torch.float64, "cpu")
    gives(ot.wasserstein_1d(real(5), real(4), 2.0), ())
    gives(ot.steepest_slope(real(5), real(5, 2)), ())
    gives(metrics.energy(real(5, 2), real(4, 2)), (), torch.float64, "cpu")


def test_the_stand_in_refuses_what_the_device_refuses(device):
    with pytest.raises(TypeError, match="float64"):
        real(3).double()
    with pytest.raises(RuntimeError, match="device"):
        real(3) + torch.zeros(3)
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(3, device=device, generator=core.generator(0))


@pytest.mark.parametrize("name", DRAWS)
def test_under_autocast_the_draws_are_those_without(name):
    """bf16 autocast touches products of matrices alone: what is drawn, and in which precision, is not its business."""
    plain = DRAWS[name](core.generator(1))
    with torch.autocast("cpu", torch.bfloat16):
        low = DRAWS[name](core.generator(1))
    assert low.dtype is plain.dtype or not plain.is_floating_point()
    assert low.shape == plain.shape and low.isfinite().all()


def test_random_seeds_a_cpu_stream_for_double_draws_from_a_generator_without_float64(monkeypatch):
    """Where the generator's device has no float64, its next number seeds the CPU's: same seed, same draws."""
    monkeypatch.setattr(core, "lacks_float64", lambda device: torch.device(device).type == "cpu")
    draw = lambda seed: core.random(torch.randn, 5, generator=core.generator(seed), dtype=torch.float64)
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    stream = core.generator(3)
    first, second = (core.random(torch.randn, 5, generator=stream, dtype=torch.float64) for _ in range(2))
    assert not torch.equal(first, second), "the stream does not move on"
