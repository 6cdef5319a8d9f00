"""The Transformer against explicit loops, torch's own attention, complex numbers and exact sums."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from coursekit import checks
from genmodels.core import generator, parameter_count
from genmodels.nets import positions as pos
from genmodels.nets import transformer as tf
from genmodels.nets.dit import DiT
from genmodels.nets.transformer import AdaBlock, Attention, Transformer
from genmodels.text import choose, generate, log_prob
from genmodels.toy.language import MarkovText, all_sequences

SCHEMES = list(pos.POSITIONS)


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def randomised(module, seed=0, scale=0.3):
    """Every parameter random: nothing hides behind a zero or an identity."""
    g = generator(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=g))
    return module.eval()


def small(positions="rope", seed=0, **options):
    return randomised(Transformer(7, 24, 2, 3, max_len=20, positions=positions, **options), seed)


def tokens(b=3, l=11, v=7, seed=1):
    return torch.randint(v, (b, l), generator=generator(seed))


# --- causality -------------------------------------------------------------------------------------------------------


def causal_oracle(model):
    """Changing tokens from i on leaves the logits before i alone, and reaches those from i on."""
    x = tokens()
    full = model(x)
    for i in range(1, x.shape[1]):
        y = x.clone()
        y[:, i:] = (y[:, i:] + 1) % 7
        other = model(y)
        checks.close(other[:, :i], full[:, :i], "logits before the change", atol=1e-12)
        assert (other[:, i:] - full[:, i:]).abs().amax(2).min() > 1e-6


@pytest.mark.parametrize("positions", SCHEMES)
def test_causal_model_does_not_look_ahead(positions):
    causal_oracle(small(positions))


def test_bidirectional_model_fails_the_causal_oracle():
    with pytest.raises(AssertionError):
        causal_oracle(small(causal=False))


def test_mask_off_by_one_fails_the_causal_oracle():
    model = small(causal=False)
    mask = torch.ones(11, 11, dtype=torch.bool).tril(1)
    with pytest.raises(AssertionError):
        causal_oracle(partial(model, mask=mask))


def gradient_is_causal(model):
    embedded = model.embedding(tokens(1)).detach()

    def last_layer(e):
        model.embedding.forward = lambda _: e
        return model(tokens(1)).sum(2)[0]

    jacobian = torch.autograd.functional.jacobian(last_layer, embedded)[:, 0].abs().sum(2)
    assert (jacobian.triu(1) == 0).all() and (jacobian.tril() + torch.ones(11, 11).triu(1) > 1e-9).all()


def test_gradient_is_causal():
    gradient_is_causal(small())


def test_gradient_of_a_bidirectional_model_is_not_causal():
    with pytest.raises(AssertionError):
        gradient_is_causal(small(causal=False))


# --- positions -------------------------------------------------------------------------------------------------------


def rope_oracle(rope):
    """Inner products depend on the distance only; norms stay; position 0 is the identity; e^{i m theta} by hand."""
    g = generator(3)
    q, k = torch.randn(2, 5, 10, generator=g)
    m, n = torch.randint(0, 40, (2, 5), generator=g)
    products = [(rope(q, m + shift) * rope(k, n + shift)).sum(1) for shift in (0, 3, 17)]
    checks.close(products[1], products[0], "shifted by 3", atol=1e-10)
    checks.close(products[2], products[0], "shifted by 17", atol=1e-10)
    assert ((rope(q, m) * rope(k, n + 1)).sum(1) - products[0]).abs().min() > 1e-4
    checks.close(rope(q, m).norm(dim=1), q.norm(dim=1), "the norm", atol=1e-12)
    checks.close(rope(q, torch.zeros_like(m)), q, "position 0", atol=0)
    theta = torch.tensor([10_000 ** (-2 * j / 10) for j in range(5)])
    turned = torch.complex(q[:, :5], q[:, 5:]) * torch.polar(torch.ones(5, 5), m[:, None] * theta)
    checks.close(rope(q, m), torch.cat([turned.real, turned.imag], 1), "complex multiplication", atol=1e-12)


def test_rope():
    rope_oracle(pos.rope)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, p: pos.rope(x, p + 1),  # positions from 1
        lambda x, p: pos.rope(x, p, base=100.0),  # other angles
        lambda x, p: x + pos.sinusoidal(p, x.shape[-1]),  # added, not rotated
        lambda x, p: pos.rotate(x.roll(1, 1), pos.rope_table(p, 10)).roll(-1, 1),  # other pairs
    ],
)
def test_rope_oracle_catches(wrong):
    with pytest.raises(AssertionError):
        rope_oracle(wrong)


def test_rope_table_in_the_model_is_indexed_by_the_head():
    model = small()
    table = model.positions.rotation(torch.tensor([0, 4]))
    assert table.shape == (2, 2, 1, 1, 8)  # 24 features over 3 heads
    checks.close(table[:, 1, 0, 0], pos.rope_table(torch.tensor([4]), 8)[:, 0], "row of position 4")


def test_sinusoidal_wavelengths_and_shift():
    e = pos.sinusoidal(torch.arange(50), 16)
    checks.close(e[:, 0], torch.arange(50).double().sin(), "first sine", atol=1e-12)
    # A shift is one linear map, the same everywhere: this is why the scheme was chosen.
    theta = pos.frequencies(16)
    rotation = torch.cat(
        [torch.cat([torch.diag((3 * theta).cos()), torch.diag((3 * theta).sin())], 1),
         torch.cat([-torch.diag((3 * theta).sin()), torch.diag((3 * theta).cos())], 1)]
    )  # fmt: skip
    checks.close(e[:-3] @ rotation.T, e[3:], "shift by 3", atol=1e-12)


def test_alibi_bias_by_hand():
    model = small("alibi")
    q, k = torch.tensor([2, 5]), torch.arange(6)
    bias = model.positions.bias(q, k)
    want = [[[-(2 ** (-8 * h / 3)) * abs(int(m) - int(n)) for n in k] for m in q] for h in (1, 2, 3)]
    checks.close(bias, torch.tensor(want), "ALiBi", atol=1e-12)


def equivariance_oracle(model):
    x = tokens()
    order = torch.randperm(11, generator=generator(5))
    checks.close(model(x[:, order]), model(x)[:, order], "permuted", atol=1e-10)


def test_without_positions_a_bidirectional_model_is_permutation_equivariant():
    equivariance_oracle(small("none", causal=False))


@pytest.mark.parametrize("positions", [p for p in SCHEMES if p != "none"])
def test_every_scheme_breaks_permutation_equivariance(positions):
    with pytest.raises(AssertionError):
        equivariance_oracle(small(positions, causal=False))


def test_causal_mask_breaks_permutation_equivariance():
    with pytest.raises(AssertionError):
        equivariance_oracle(small("none"))


# --- attention -------------------------------------------------------------------------------------------------------


def attention_by_hand(layer, x, mask=None, scale=None):
    """Loops over batch, head, query and key."""
    b, l, d = x.shape
    h, e = layer.heads, layer.head_dim
    w = layer.qkv.weight.view(3, h, e, d)
    out = torch.zeros(b, l, h, e)
    for i in range(b):
        for j in range(h):
            q, k, v = (x[i] @ w[n, j].T for n in range(3))
            for m in range(l):
                logits = torch.tensor([(q[m] @ k[n]).item() for n in range(l)]) / math.sqrt(scale or e)
                if mask is not None:
                    logits[~mask[m]] = -torch.inf
                p = logits.exp() / logits.exp().sum()
                out[i, m, j] = sum(p[n] * v[n] for n in range(l))
    return out.reshape(b, l, d) @ layer.out.weight.T


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_explicit_loop_and_torchs_own(masked):
    layer = randomised(Attention(12, 3))
    x = torch.randn(2, 5, 12, generator=generator(2))
    mask = torch.rand(5, 5, generator=generator(3)) < 0.5
    mask = (mask | torch.eye(5, dtype=torch.bool)) if masked else None
    got = layer(x, mask=mask)
    checks.close(got, attention_by_hand(layer, x, mask), "attention", atol=1e-10)
    theirs = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(layer.qkv.weight)
        theirs.out_proj.weight.copy_(layer.out.weight)
    checks.close(got, theirs(x, x, x, attn_mask=None if mask is None else ~mask)[0], "torch", atol=1e-10)
    with pytest.raises(AssertionError):  # scaled by d_model instead of the head's size
        checks.close(got, attention_by_hand(layer, x, mask, scale=12), "attention", atol=1e-10)
    if masked:
        with pytest.raises(AssertionError):  # the mask the other way round
            checks.close(got, attention_by_hand(layer, x, mask.T), "attention", atol=1e-10)


def test_no_mask_and_an_all_true_mask_agree():
    model = small(causal=False)
    x = tokens()
    checks.close(model(x, mask=torch.ones(11, 11, dtype=torch.bool)), model(x), "all True", atol=1e-12)
    assert (model(x, mask=torch.ones(11, 11).tril().bool()) - model(x)).abs().max() > 1e-3


# --- cache -----------------------------------------------------------------------------------------------------------


def in_chunks(model, x, sizes):
    cache = model.cache(len(x))
    return torch.cat([model(part, cache=cache) for part in x.split(sizes, 1)], 1)


@pytest.mark.parametrize("positions", SCHEMES)
@pytest.mark.parametrize("sizes", [[1] * 11, [4, 1, 5, 1], [11], [10, 1]])
def test_cached_logits_equal_the_full_pass(positions, sizes):
    model = small(positions)
    x = tokens()
    checks.close(in_chunks(model, x, sizes), model(x), "cached logits", atol=1e-10)


@pytest.mark.parametrize("wrong", ["positions stay at 0", "the batch shares one cache", "length is not advanced"])
def test_cache_oracle_catches(wrong, monkeypatch):
    model = small()
    x = tokens()
    append = tf.KVCache.append

    def shared(self, layer, k, v):
        return append(self, layer, k[:1].expand_as(k), v[:1].expand_as(v))

    if wrong == "the batch shares one cache":
        monkeypatch.setattr(tf.KVCache, "append", shared)
    if wrong == "positions stay at 0":
        rotation = model.positions.rotation
        monkeypatch.setattr(model.positions, "rotation", lambda p: rotation(p - p[0]))
    if wrong == "length is not advanced":
        monkeypatch.setattr(
            tf.KVCache, "__setattr__", lambda s, n, v: s.__dict__.__setitem__(n, 0 if n == "length" else v)
        )
    with pytest.raises(AssertionError):
        checks.close(in_chunks(model, x, [4, 1, 5, 1]), model(x), "cached logits", atol=1e-10)


def cached_generation_equals_uncached(model):
    prompt = tokens(3, 4)
    written = [
        generate(model, prompt, 15, pick=choose(temperature=1.3, generator=generator(6)), cached=c)
        for c in (True, False)
    ]
    assert torch.equal(*written) and written[0].shape == (3, 19) and torch.equal(written[0][:, :4], prompt)
    other = generate(model, prompt, 15, pick=choose(temperature=1.3, generator=generator(7)))
    assert not torch.equal(other, written[0])
    assert len(written[0][:, 4:].unique()) > 3


def attentive():
    """Large weights and an output of its own: what attention finds decides the next token, so a text shows whether the
    cache is right. (Tied, a random model repeats its last token, whatever the cache holds.)"""
    return randomised(Transformer(7, 24, 2, 3, max_len=20, tied=False), seed=4, scale=0.6)


def test_cached_generation_equals_uncached():
    cached_generation_equals_uncached(small(seed=4))
    cached_generation_equals_uncached(attentive())


def test_generation_oracle_notices_positions_that_stay_at_0(monkeypatch):
    model = attentive()
    rotation = model.positions.rotation
    monkeypatch.setattr(model.positions, "rotation", lambda p: rotation(p - p[0]))
    with pytest.raises(AssertionError):
        cached_generation_equals_uncached(model)


# --- likelihood and learning -----------------------------------------------------------------------------------------


def test_probabilities_of_all_sequences_sum_to_one():
    model = randomised(Transformer(3, 12, 2, 2, max_len=4))
    checks.normalised(lambda x: log_prob(model, x, start=0), all_sequences(3, 4), "log_prob")


@pytest.mark.parametrize("wrong", ["not shifted", "bidirectional"])
def test_normalisation_oracle_catches(wrong):
    model = randomised(Transformer(3, 12, 2, 2, max_len=4, causal=wrong != "bidirectional"))

    def not_shifted(x):
        return model(x).log_softmax(-1).gather(2, x[..., None]).sum((1, 2))

    f = not_shifted if wrong == "not shifted" else partial(log_prob, model, start=0)
    with pytest.raises(AssertionError):
        checks.normalised(f, all_sequences(3, 4), "log_prob")


@pytest.mark.parametrize(("causal", "steps"), [(True, 250), (False, 60)])
def test_learns_markov_text_down_to_its_entropy_rate(causal, steps):
    """A causal model gets there and never below; one that sees the answer does go below (the sabotage twin)."""
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    text = MarkovText.random(5, seed=2)
    model = Transformer(5, 32, 1, 2, max_len=32, causal=causal)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=steps)
    g = generator(0)

    def loss(x):
        return F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())

    for _ in range(steps):
        value = loss(text.sample(32, 32, generator=g))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        x = text.sample(1000, 32, generator=generator(99))
        log_p = model(x[:, :-1]).log_softmax(-1)
        model_nll = -log_p.gather(2, x[:, 1:, None])[..., 0].mean(1)
        true_nll = -text.transition.log()[x[:, :-1], x[:, 1:]].mean(1)
    gap = (model_nll - true_nll).mean().item()
    error = ((model_nll - true_nll).std() / 1000**0.5).item()
    assert (-4.5 * error < gap < 0.02) == causal, (gap, error)
    assert gap < 0.02
    assert abs(true_nll.mean().item() - text.entropy_rate()) < 4.5 * (true_nll.std() / 1000**0.5).item()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("positions", SCHEMES)
def test_parameter_count(tied, positions):
    v, d, n, length = 7, 24, 2, 20
    blocks = n * (12 * d * d + 4 * d)  # 4 d^2 attention, 8 d^2 MLP, two norms
    want = v * d * (1 if tied else 2) + blocks + 2 * d + (length * d if positions == "learned" else 0)
    assert parameter_count(small(positions, tied=tied)) == want
    assert parameter_count(small(positions, tied=not tied)) != want


def test_tied_embedding_is_the_output_matrix():
    model = small()
    x = tokens()
    before = model(x)
    with torch.no_grad():
        model.embedding.weight[6] += 1.0  # only as output where 6 is not read
    unread = ~(x == 6).cumsum(1).bool()
    moved = (model(x) - before)[unread]
    assert moved[:, 6].abs().min() > 1e-6 and moved[:, :6].abs().max() < 1e-12
    assert "head.weight" not in model.state_dict()


@pytest.mark.parametrize("positions", SCHEMES)
def test_gradient_reaches_every_parameter(positions):
    model = small(positions, cond_dim=5, tied=False)
    model(tokens(), cond=torch.randn(3, 5)).square().sum().backward()
    rows = {n: p.grad.abs().sum() for n, p in model.named_parameters()}
    assert all(g > 0 for g in rows.values()), rows


# --- condition -------------------------------------------------------------------------------------------------------


def test_adaln_zero_starts_as_the_identity_and_then_listens():
    block = AdaBlock(12, 3, 5)
    x, cond = torch.randn(2, 4, 12), torch.randn(2, 1, 5)
    checks.close(block(x, cond), x, "untrained", atol=0)
    randomised(block)
    assert (block(x, cond) - block(x, cond + 1)).abs().amax((1, 2)).min() > 1e-3


def gates_of_one_and_no_scale_are_a_plain_block():
    """Shift and scale 0, gates 1: x + attention(norm(x)), then the MLP likewise, with norms by hand."""
    block, x = randomised(AdaBlock(12, 3, 5)), torch.randn(2, 4, 12)
    with torch.no_grad():
        block.modulation.weight.zero_()
        block.modulation.bias.copy_(torch.tensor([0.0, 0, 1, 0, 0, 1]).repeat_interleave(12))
    norm = lambda v: (v - v.mean(2, keepdim=True)) / (v.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    h = x + block.attention(norm(x))
    checks.close(block(x, torch.randn(2, 1, 5)), h + block.mlp(norm(h)), "an open block", atol=1e-10)


def test_gates_of_one_and_no_scale_are_a_plain_block():
    gates_of_one_and_no_scale_are_a_plain_block()


@pytest.mark.parametrize("layers", [2, 8])
def test_what_is_added_to_the_residual_starts_smaller_with_depth(layers):
    torch.manual_seed(0)
    blocks = tf.make_blocks(layers, 64, 2)
    for block in blocks:
        for weight, std in (
            (block.attention.qkv.weight, 0.02),
            (block.mlp[0].weight, 0.02),
            (block.attention.out.weight, 0.02 / (2 * layers) ** 0.5),
            (block.mlp[2].weight, 0.02 / (2 * layers) ** 0.5),
        ):
            assert float(weight.detach().std()) == pytest.approx(std, rel=0.06)


def dit_tells_every_patch_and_every_step_apart():
    net = randomised(DiT(12, 2, patch=3, d_model=16, layers=1, heads=2))
    apart = torch.cdist(net.grid, net.grid) + 10 * torch.eye(16)
    assert apart.min() > 0.1, "two patches look alike"
    seen = []
    net.time.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    steps = torch.arange(0, 1000, 7)
    net(torch.zeros(len(steps), 2, 12, 12), steps / 1000)
    checks.close(seen[0], pos.sinusoidal(steps, 16), "times as whole steps of a thousand", atol=1e-9)


def test_dit_tells_every_patch_and_every_step_apart():
    dit_tells_every_patch_and_every_step_apart()


def test_condition_of_each_sample_and_of_each_token():
    model = small(cond_dim=5)
    x, cond = tokens(), torch.randn(3, 5)
    per_token = cond[:, None].expand(3, 11, 5)
    checks.close(model(x, cond=per_token), model(x, cond=cond), "one condition for all tokens", atol=1e-12)
    changed = per_token.clone()
    changed[:, 6:] += 1
    got = model(x, cond=changed)
    checks.close(got[:, :6], model(x, cond=cond)[:, :6], "tokens before the change", atol=1e-12)
    assert (got[:, 6:] - model(x, cond=cond)[:, 6:]).abs().amax(2).min() > 1e-4
    alone = model(x[1:2], cond=cond[1:2])
    checks.close(model(x, cond=cond)[1:2], alone, "the batch does not mix", atol=1e-10)


def test_dit_is_zero_untrained_and_depends_on_everything():
    net = DiT(6, 3, patch=2, d_model=16, layers=2, heads=2, classes=4)
    x, t, y = torch.randn(5, 3, 6, 6), torch.rand(5), torch.tensor([0, 1, 2, 3, 4])
    checks.close(net(x, t, y), torch.zeros_like(x), "untrained", atol=0)
    randomised(net)
    out = net(x, t, y)
    assert out.shape == x.shape
    for other in (net(x + 0.1, t, y), net(x, t * 0.9, y), net(x, t, (y + 1) % 5)):
        assert (other - out).abs().amax((1, 2, 3)).min() > 1e-5
    checks.close(net(x, t), net(x, t, torch.full((5,), 4)), "no label is the empty label", atol=0)
    checks.close(net(x[2:3], t[2:3], y[2:3]), out[2:3], "the batch does not mix", atol=1e-10)
    out.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_dit_patches_are_cut_and_glued_in_place():
    """With blocks silenced a patch is a linear map of itself: an input patch moves its own output patch only."""
    net = randomised(DiT(6, 2, patch=3, d_model=16, layers=1, heads=2))
    with torch.no_grad():
        net.blocks[0].modulation.weight.zero_()
        net.blocks[0].modulation.bias.zero_()
    x, t = torch.randn(1, 2, 6, 6), torch.tensor([0.4])
    y = x.clone()
    y[..., 0:3, 3:6] += 1
    moved = (net(y, t) - net(x, t)).abs().sum((0, 1)) > 1e-9
    want = torch.zeros(6, 6, dtype=torch.bool)
    want[0:3, 3:6] = True
    assert torch.equal(moved, want)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: small("polar"), "positions must be one of"),
        (lambda: Transformer(7, 25, 1, 3), "multiple of heads"),
        (lambda: small()(tokens(l=21)), "max_len is 20"),
        (lambda: small()(tokens(l=2), positions=torch.tensor([3, 20])), "position 20 is out of range"),
        (lambda: small()(tokens(), cond=torch.zeros(3, 5)), "cond and cond_dim go together"),
        (lambda: small(cond_dim=5)(tokens()), "cond and cond_dim go together"),
        (lambda: (m := small())(tokens(), cache=m.cache(3, 5)), "do not fit into a cache of 5"),
        (lambda: DiT(7, 3, patch=2), "multiple of patch"),
        (lambda: DiT(6, 3)(torch.zeros(1, 3, 8, 8), torch.zeros(1)), "expected 6 pixels"),
        (lambda: DiT(6, 3)(torch.zeros(1, 1, 6, 6), torch.zeros(1)), "expected 3 channels"),
        (lambda: DiT(6, 3)(torch.zeros(2, 3, 6, 6), torch.zeros(1)), "one time for each of the 2 pictures"),
        (lambda: DiT(6, 3)(torch.zeros(1, 3, 6, 6), torch.zeros(1), torch.zeros(1).long()), "built without classes"),
        (lambda: pos.sinusoidal(torch.arange(3), 5), "dim must be even"),
    ],
)
def test_bad_input_is_named(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_alibi_slopes_are_the_papers_for_eight_heads():
    assert pos.alibi_slopes(8).tolist() == [2.0**-h for h in range(1, 9)]


def test_a_block_adds_two_branches_to_a_residual():
    """With both output maps at zero a block is the identity; with one of them at zero only the other acts."""
    torch.manual_seed(0)
    block, x = tf.Block(12, 3).double(), torch.randn(2, 5, 12, dtype=torch.float64)
    full = block(x)
    with torch.no_grad():
        block.mlp[-1].weight.zero_()
    torch.testing.assert_close(block(x), x + block.attention(block.norm1(x)))
    assert (full - block(x)).abs().max() > 1e-3


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "queries and keys exchanged in the cache": (
        partial(test_cached_logits_equal_the_full_pass, "rope", [4, 1, 5, 1]),
        tf.KVCache.append,
        "return keys[:, :, :stop], values",
        "return values[:, :, :stop], values",
    ),
    "keys unscaled": (
        partial(test_attention_is_the_explicit_loop_and_torchs_own, False),
        Attention.forward,
        "is_causal=causal)",
        "is_causal=causal, scale=1.0)",
    ),
    "heads mixed up": (
        partial(test_attention_is_the_explicit_loop_and_torchs_own, True),
        Attention.forward,
        "mixed.transpose(1, 2).reshape(b, l, d)",
        "mixed.reshape(b, l, d)",
    ),
    "output rows out of step": (
        test_tied_embedding_is_the_output_matrix,
        Transformer.forward,
        "F.linear(x, self.embedding.weight)",
        "F.linear(x, self.embedding.weight.roll(1, 0))",
    ),
    "scale around 0": (
        gates_of_one_and_no_scale_are_a_plain_block,
        AdaBlock.forward,
        "(1 + scale1)",
        "scale1",
    ),
    "no smaller with depth": (
        partial(test_what_is_added_to_the_residual_starts_smaller_with_depth, 2),
        tf.make_blocks,
        "0.02 / math.sqrt(2 * layers)",
        "0.02",
    ),
    "rows for columns": (
        dit_tells_every_patch_and_every_step_apart,
        DiT._grid,
        "one[None].expand(n, n, -1)",
        "one[:, None].expand(n, n, -1)",
    ),
    "times all alike": (dit_tells_every_patch_and_every_step_apart, DiT.forward, "1000 * t", "t"),
    "residual forgotten": (
        test_a_block_adds_two_branches_to_a_residual,
        tf.Block.forward,
        "x = x + self.dropout",
        "x = self.dropout",
    ),
    "distance with the wrong sign": (test_alibi_bias_by_hand, pos.Alibi.bias, "-self.slopes", "self.slopes"),
    "frequencies upside down": (
        test_sinusoidal_wavelengths_and_shift,
        pos.sinusoidal,
        "frequencies(dim, base, at.device)",
        "1 / frequencies(dim, base, at.device)",
    ),
    "angle for pairs of neighbours": (test_rope, pos.rotate, "x.shape[-1] // 2", "1"),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)
