"""Text: masks against loops, generation against exact probabilities, block diffusion against its two limits."""

import itertools
import math
from functools import partial

import pytest
import torch

from coursekit import checks
from genmodels.core import generator
from genmodels.discrete import Masking, exact_masked_nelbo, subs
from genmodels.nets.transformer import Transformer
from genmodels.samplers import last, sample
from genmodels.samplers.discrete import ancestral
from genmodels.schedule import rectified
from genmodels.text import (
    CharTokenizer,
    block_causal_mask,
    block_logits,
    block_nll,
    block_times,
    causal_mask,
    choose,
    generate,
    generate_blocks,
    log_prob,
    restrict,
    stream,
    two_stream_mask,
    two_stream_positions,
)
from genmodels.text import blocks as blocks_module
from genmodels.toy.language import MarkovText, TinyLanguage, all_sequences

V, MASK = 3, 3


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def network(causal=False, seed=0, max_len=20, vocab=V + 1, **options):
    model = Transformer(vocab, 12, 2, 2, max_len=max_len, causal=causal, **options)
    g = generator(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=g))
    return model.eval()


def tokens(b=2, l=6, seed=1, v=V):
    return torch.randint(v, (b, l), generator=generator(seed))


# --- tokenizer -------------------------------------------------------------------------------------------------------


def test_tokenizer_round_trip_and_holes():
    t = CharTokenizer(["to be", "or not"])
    assert t.alphabet == " benort" and t.v == t.mask == 7
    assert t.decode(t.encode("not to be")) == "not to be"
    assert t.encode("b e").tolist() == [1, 0, 2]
    assert t.decode(torch.tensor([1, 7, 2]), hole="?") == "b?e"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: CharTokenizer(""), "at least one character"),
        (lambda: CharTokenizer("abc").encode("abd"), "character 'd' at 2"),
        (lambda: CharTokenizer("abc").decode(torch.tensor([0, 4])), "token 4 is out of range"),
    ],
)
def test_tokenizer_names_bad_input(act, message):
    with pytest.raises(ValueError, match=message):
        act()


# --- masks -----------------------------------------------------------------------------------------------------------


def rules(l, block):
    """The three rules of block diffusion, one pair at a time."""
    mask = torch.zeros(2 * l, 2 * l, dtype=torch.bool)
    for q, k in itertools.product(range(2 * l), repeat=2):
        q_block, k_block = (q % l) // block, (k % l) // block
        if q < l and k < l:
            mask[q, k] = q_block == k_block  # noisy to noisy: its own block
        elif q < l <= k:
            mask[q, k] = k_block < q_block  # noisy to clean: earlier blocks
        elif l <= q and l <= k:
            mask[q, k] = k_block <= q_block  # clean to clean: block-causal
    return mask


@pytest.mark.parametrize(("l", "block"), [(6, 1), (6, 2), (6, 3), (6, 6), (9, 3)])
def test_two_stream_mask_is_the_three_rules(l, block):
    want = rules(l, block)
    assert torch.equal(two_stream_mask(l, block), want)
    if block < l:
        assert not torch.equal(two_stream_mask(l, block).T, want)
    assert two_stream_positions(l).tolist() == [*range(l), *range(l)]


def test_block_causal_limits():
    assert torch.equal(block_causal_mask(5, 1), causal_mask(5))
    assert block_causal_mask(5, 5).all()
    assert block_causal_mask(4, 2).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    with pytest.raises(ValueError, match="must divide the length 5"):
        block_causal_mask(5, 2)


def influence(model, x_t, x0, block):
    """influence[i, stream, j]: whether logits of noisy token i move when token j of a stream changes."""
    l = x0.shape[1]
    base = block_logits(model, x_t, x0, block)
    out = torch.zeros(l, 2, l, dtype=torch.bool)
    for j in range(l):
        y_t, y0 = x_t.clone(), x0.clone()
        y_t[:, j] = (y_t[:, j] + 1) % 4
        y0[:, j] = (y0[:, j] + 1) % 3
        out[:, 0, j] = (block_logits(model, y_t, x0, block) - base).abs().sum((0, 2)) > 1e-9
        out[:, 1, j] = (block_logits(model, x_t, y0, block) - base).abs().sum((0, 2)) > 1e-9
    return out


def reach_oracle(model):
    block_of = torch.arange(6) // 2
    got = influence(model, tokens(seed=2, v=4), tokens(), 2)
    assert torch.equal(got[:, 0], block_of[:, None] == block_of), "a noisy block sees itself among the noisy ones"
    assert torch.equal(got[:, 1], block_of[:, None] > block_of), "and the clean blocks before it"


def test_a_noisy_block_sees_itself_and_earlier_clean_blocks_only():
    reach_oracle(network())


@pytest.mark.parametrize("wrong", ["its own clean copy", "earlier noisy blocks"])
def test_reach_oracle_catches(wrong, monkeypatch):
    def leaking(l, block, device):
        mask = two_stream_mask(l, block, device)
        if wrong == "its own clean copy":
            mask[:l, l:] = block_causal_mask(l, block)
        else:
            mask[:l, :l] = block_causal_mask(l, block)
        return mask

    monkeypatch.setattr(blocks_module, "two_stream_mask", leaking)
    with pytest.raises(AssertionError):
        reach_oracle(network())


def separate_logits(model, x_t, x0, block):
    """One forward pass a block: its clean past, then the block itself."""
    parts = []
    for start in range(0, x0.shape[1], block):
        both = torch.cat([x0[:, :start], x_t[:, start : start + block]], 1)
        parts.append(model(both, mask=block_causal_mask(both.shape[1], block))[:, start:])
    return torch.cat(parts, 1)


@pytest.mark.parametrize("block", [1, 2, 3, 6])
def test_two_streams_equal_one_pass_a_block(block):
    model = network()
    x_t, x0 = tokens(seed=2, v=4), tokens()
    checks.close(block_logits(model, x_t, x0, block), separate_logits(model, x_t, x0, block), "logits", atol=1e-10)


def texts_of_many_sizes_are_texts_of_one_each(model):
    x_t, x0, sizes = tokens(seed=2, v=4), tokens(), torch.tensor([2, 6, 3, 1])[: len(tokens())]
    assert len(sizes) > 1
    both = block_logits(model, x_t, x0, sizes)
    for i, size in enumerate(sizes.tolist()):
        alone = block_logits(model, x_t[i : i + 1], x0[i : i + 1], size)
        checks.close(both[i : i + 1], alone, f"blocks of {size}", atol=1e-10)


def test_texts_of_many_sizes_are_texts_of_one_each():
    texts_of_many_sizes_are_texts_of_one_each(network())


def test_oracle_of_many_sizes_catches_one_size_for_all(monkeypatch):
    one = lambda l, block, device: two_stream_mask(l, block if isinstance(block, int) else block[:1], device)
    monkeypatch.setattr(blocks_module, "two_stream_mask", one)
    with pytest.raises(AssertionError):
        texts_of_many_sizes_are_texts_of_one_each(network())


def test_positions_must_be_repeated_for_the_clean_half(monkeypatch):
    model = network()
    x_t, x0 = tokens(seed=2, v=4), tokens()
    monkeypatch.setattr(blocks_module, "two_stream_positions", lambda l, device: torch.arange(2 * l))
    with pytest.raises(AssertionError):
        checks.close(block_logits(model, x_t, x0, 2), separate_logits(model, x_t, x0, 2), "logits", atol=1e-10)


# --- block likelihood ------------------------------------------------------------------------------------------------


def autoregressive_nll(model, x0):
    """-sum log p(x_i | x_<i), where the model predicts a masked token placed at i after the clean past."""
    total = 0.0
    for i in range(x0.shape[1]):
        x = torch.cat([x0[:, :i], torch.full_like(x0[:, :1], MASK)], 1)
        log_p = model(x, mask=causal_mask(i + 1))[:, -1, :V].log_softmax(-1)
        total = total - log_p.gather(1, x0[:, i : i + 1])[:, 0]
    return total


def test_block_of_one_is_the_autoregressive_likelihood():
    model = network()
    x0 = all_sequences(V, 4)
    nll = block_nll(model, x0, 1, MASK)
    checks.close(nll, autoregressive_nll(model, x0), "block 1", atol=1e-10)
    checks.normalised(-nll, x0, "the likelihood of block 1")
    with pytest.raises(AssertionError):  # a larger block is a bound, not a likelihood
        checks.normalised(-block_nll(model, x0, 2, MASK), x0)
    # At t = 1 every token is masked and the weight is 1: the loss of one draw is the likelihood of that sample.
    process = Masking(V, rectified())
    one = process.nelbo(
        lambda x_t, t: subs(block_logits(model, x_t, x0, 1), x_t, MASK),
        x0,
        torch.ones(x0.shape),
        generator=generator(0),
    )
    checks.close(one, nll, "t = 1", atol=1e-10)


def test_block_of_one_has_the_right_mean_at_any_time():
    model = network()
    process = Masking(V, rectified())
    x0 = tokens(1, 4)
    t = block_times(20_000, 4, 1, low=0.1, generator=generator(1))
    loss = process.nelbo(
        lambda x_t, t: subs(block_logits(model, x_t, x0.expand(20_000, 4), 1), x_t, MASK),
        x0.expand(20_000, 4),
        t,
        generator=generator(2),
    )
    checks.unbiased(loss, autoregressive_nll(model, x0)[0], "1/t times the chance t of a mask")


def test_one_block_is_masked_diffusion_on_the_same_draws():
    model = network()
    process = Masking(V, rectified())
    x0 = tokens(5, 6)
    t = block_times(5, 6, 6, generator=generator(0))
    assert (t == t[:, :1]).all()

    def loss(logits):
        return process.nelbo(lambda x_t, t: subs(logits(x_t), x_t, MASK), x0, t, generator=generator(3))

    checks.close(loss(lambda x_t: block_logits(model, x_t, x0, 6)), loss(model), "block l", atol=1e-10)
    with pytest.raises(AssertionError):
        checks.close(loss(lambda x_t: block_logits(model, x_t, x0, 3)), loss(model), "block l", atol=1e-10)
    checks.close(
        block_nll(model, x0, 6, MASK),
        exact_masked_nelbo(lambda x: subs(model(x), x, MASK), x0, MASK),
        "the exact bound of one block",
        atol=1e-10,
    )


def exact_block_predictor(language, x0, block, spoil=0.0):
    """Exact conditionals of every noisy block given the clean blocks before it and nothing after it."""
    noise = spoil * torch.randn(4**4, language.v + 1, generator=generator(9))

    def predict(x_t):
        parts = []
        for start in range(0, x0.shape[1], block):
            stop = start + block
            x = torch.cat([x0[: len(x_t), :start], x_t[:, start:stop], torch.full_like(x_t[:, stop:], MASK)], 1)
            key = (x * 4 ** torch.arange(4)).sum(1)
            log_p = language(x)[:, start:stop].clamp_min(-50) + noise[key][:, None]
            parts.append(subs(log_p, x_t[:, start:stop], MASK))
        return torch.cat(parts, 1)

    return predict


@pytest.mark.parametrize("block", [1, 2, 4])
def test_bound_is_tight_with_exact_conditionals_for_every_block(block):
    language = TinyLanguage.random(V, 4, seed=1)
    x0 = language.sequences
    exact = exact_masked_nelbo(exact_block_predictor(language, x0, block), x0, MASK, block=block)
    checks.close(exact, -language.log_prob(x0), "bound", atol=1e-10)

    # A wrong model defines its own distribution, by sampling one token at a time in random order inside each block;
    # the bound never promises more than that sampler's likelihood, and with block 1 it is that likelihood.
    predict = exact_block_predictor(language, x0, block, spoil=1.0)
    bound = exact_masked_nelbo(predict, x0, MASK, block=block)
    own = block_sampler_log_prob(predict, x0, block)
    checks.normalised(own, x0, "the sampler")
    assert (bound >= -own - 1e-10).all()
    assert ((bound + own).abs().max() < 1e-10) == (block == 1)
    assert (bound + language.log_prob(x0)).abs().max() > 0.1  # and it is not the language's any more


def block_sampler_log_prob(predict, x0, block):
    """log of the mean, over orders within each block, of the probability of writing x0 in that order."""
    total = 0.0
    for start in range(0, x0.shape[1], block):
        ways = []
        for order in itertools.permutations(range(start, start + block)):
            x_t = x0.clone()
            x_t[:, start : start + block] = MASK
            way = 0.0
            for i in order:
                way = way + predict(x_t)[torch.arange(len(x0)), i, x0[:, i]]
                x_t[:, i] = x0[:, i]
            ways.append(way)
        total = total + torch.logsumexp(torch.stack(ways), 0) - math.log(len(ways))
    return total


def test_clipped_times_bias_the_loss_and_lower_its_variance():
    language = TinyLanguage.random(V, 4, seed=1)
    process = Masking(V, rectified())
    x0 = torch.tensor([[2, 0, 1, 1]]).repeat(20_000, 1)
    predict = exact_block_predictor(language, x0, 4, spoil=1.0)
    truth = exact_masked_nelbo(predict, x0[:1], MASK)[0]

    def losses(low, high):
        t = block_times(20_000, 4, 4, low=low, high=high, generator=generator(1))
        assert low < t.min() and t.max() <= high
        return process.nelbo(lambda x_t, t: predict(x_t), x0, t, generator=generator(2))

    def expectation(low, high):
        """Sum over mask patterns, their chance times 1/t integrated over the clipped times by quadrature."""
        t = torch.linspace(low, high, 20_001)
        total = 0.0
        for pattern in itertools.product([False, True], repeat=4):
            if k := sum(pattern):
                hidden = torch.tensor([pattern])
                nll = -predict(torch.where(hidden, MASK, x0[:1])).gather(2, x0[:1, :, None])[..., 0][hidden].sum()
                total += nll * torch.trapezoid(t ** (k - 1) * (1 - t) ** (4 - k), t) / (high - low)
        return total

    checks.close(expectation(0.0, 1.0), truth, "no clip: no bias", atol=1e-6)
    whole = losses(1e-3, 1.0)
    checks.unbiased(whole, expectation(1e-3, 1.0), "almost no clip")
    for low, high in ((0.2, 0.6), (0.45, 0.95)):
        clipped = losses(low, high)
        checks.unbiased(clipped, expectation(low, high), "clipped")
        assert abs(expectation(low, high) - truth) > 0.05, (expectation(low, high), truth)
        assert clipped.var() < 0.7 * whole.var(), (clipped.var(), whole.var())


def test_block_times_are_one_a_block_and_stratified():
    t = block_times(5, 6, 2, generator=generator(0))
    assert t.shape == (5, 6) and (t[:, ::2] == t[:, 1::2]).all()
    assert (t[:, ::2].flatten() * 15).ceil().sort().values.tolist() == list(range(1, 16))
    with pytest.raises(ValueError, match="low < high"):
        block_times(5, 6, 2, low=0.5, high=0.5)
    with pytest.raises(ValueError, match="must divide"):
        block_times(5, 6, 4)


# --- block generation ------------------------------------------------------------------------------------------------


def unmask_with(g, steps=4, process=None):
    process = process or Masking(V, rectified())
    times = torch.linspace(1, 0, steps + 1).tolist()
    return lambda denoise, x: last(sample(ancestral(denoise, process, generator=g), x, times))


@pytest.mark.parametrize("positions", ["rope", "sinusoidal", "learned", "alibi", "none"])
@pytest.mark.parametrize(("l", "n", "block"), [(4, 9, 2), (3, 8, 4), (2, 5, 1), (0, 6, 3)])
def test_cached_block_generation_equals_uncached(positions, l, n, block):
    model = network(positions=positions)
    prompt = tokens(3, l)
    runs = [
        list(generate_blocks(model, prompt, n, block=block, mask=MASK, unmask=unmask_with(generator(5)), cached=c))
        for c in (True, False)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    text = runs[0][-1]
    assert text.shape == (3, l + n) and torch.equal(text[:, :l], prompt) and (text < V).all()
    lengths = [t.shape[1] for t in runs[0]]
    assert lengths == sorted(lengths) and lengths[-1] == l + n


def test_block_logits_seen_while_generating_are_those_of_training():
    """What ``unmask`` is given is the two-stream logit: cache, boundaries and positions all agree."""
    model = network()
    seen = []

    def unmask(denoise, x):
        seen.append((x, denoise(x, 1.0)))
        return torch.randint(V, x.shape, generator=generator(len(seen)))

    text = last(generate_blocks(model, tokens(2, 4), 8, block=4, mask=MASK, unmask=unmask))
    x_t = torch.cat([text[:, :4], seen[0][0], seen[1][0]], 1)
    want = subs(block_logits(model, x_t, text, 4), x_t, MASK)
    checks.close(torch.cat([seen[0][1], seen[1][1]], 1), want[:, 4:], "logits", atol=1e-10)


@pytest.mark.parametrize("wrong", ["noisy blocks stay in the cache", "positions restart"])
def test_block_cache_oracle_catches(wrong, monkeypatch):
    model = network()
    if wrong == "noisy blocks stay in the cache":
        cached_logits = blocks_module._CachedReader.logits

        def keep_the_first_look(self, x):
            kept = self.cache.length
            logits = cached_logits(self, x)
            self.cache.length = kept
            if not getattr(self, "looked", False):
                self.looked = True
                self.cache.keys[:, :, :, kept - 1] = self.cache.keys[:, :, :, kept]
            return logits

        monkeypatch.setattr(blocks_module._CachedReader, "logits", keep_the_first_look)
    else:
        rotation = model.positions.rotation
        monkeypatch.setattr(model.positions, "rotation", lambda p: rotation(p - p[0]))
    with pytest.raises(AssertionError):
        test_block_logits_with(model)


def test_block_logits_with(model=None):
    """Cached and uncached logits of a second look at the same block are equal."""
    model = model or network()
    looks = []
    for cached in (True, False):
        seen = []

        def unmask(denoise, x, seen=seen):
            seen.extend([denoise(x, 1.0), denoise(x, 0.5)])
            return torch.randint(V, x.shape, generator=generator(len(seen)))

        last(generate_blocks(model, tokens(2, 4), 8, block=4, mask=MASK, unmask=unmask, cached=cached))
        looks.append(torch.stack(seen))
    checks.close(looks[0], looks[1], "cached looks", atol=1e-10)


def test_blocks_of_one_draw_from_the_autoregressive_distribution():
    model = network(seed=3)
    n = 20_000
    prompt = torch.zeros(n, 0, dtype=torch.long)
    x = last(generate_blocks(model, prompt, 2, block=1, mask=MASK, unmask=unmask_with(generator(2), steps=1)))
    states = all_sequences(V, 2)
    checks.distributed(x, (-block_nll(model, states, 1, MASK)).exp(), "block 1", states=states)
    with pytest.raises(AssertionError):
        checks.distributed(x.flip(1), (-block_nll(model, states, 1, MASK)).exp(), "block 1", states=states)


def test_generation_stops_at_the_stop_token():
    model = network()
    fill = iter([0, 1, 2, 0, 0])
    unmask = lambda denoise, x: torch.full_like(x, next(fill))  # noqa: E731
    states = list(generate_blocks(model, tokens(2, 2), 10, block=2, mask=MASK, unmask=unmask, stop=2))
    assert [s.shape[1] for s in states] == [4, 6, 8]


def test_a_stop_token_counts_in_every_text_and_not_in_the_prompt():
    written = iter([[0, 0], [2, 0], [0, 2], [0, 0]])
    unmask = lambda denoise, x: torch.tensor([[k] for k in next(written)]).expand_as(x)  # noqa: E731
    prompt = torch.tensor([[2, 1], [2, 2]])
    states = list(generate_blocks(network(), prompt, 8, block=2, mask=MASK, unmask=unmask, stop=2))
    assert len(states) == 3 and torch.equal(states[-1][:, :2], prompt)


# --- writing token by token ------------------------------------------------------------------------------------------


def test_restrict_by_hand():
    p = torch.tensor([[0.5, 0.25, 0.15, 0.1], [0.1, 0.2, 0.3, 0.4]])
    z = p.log() + 3.0

    def kept(**options):
        return restrict(z, **options).softmax(-1)

    checks.close(kept(), p, "nothing restricted")
    checks.close(kept(temperature=0.5), p**2 / (p**2).sum(1, keepdim=True), "temperature 1/2", atol=1e-12)
    checks.close(kept(top_k=2)[0], torch.tensor([2 / 3, 1 / 3, 0, 0]), "top 2", atol=1e-12)
    checks.close(kept(top_p=0.6)[1], torch.tensor([0, 0, 3 / 7, 4 / 7]), "nucleus 0.6", atol=1e-12)
    checks.close(kept(top_p=0.4)[0], torch.tensor([1.0, 0, 0, 0]), "nucleus 0.4: never empty", atol=1e-12)
    checks.close(kept(temperature=0)[1], torch.tensor([0, 0, 0, 1.0]), "temperature 0", atol=0)
    both_limits = kept(temperature=2.0, top_k=3, top_p=0.7)
    root = (p**0.5)[0, :3] / (p**0.5)[0, :3].sum()
    assert root[:2].sum() < 0.7 or root[0] < 0.7
    checks.close(both_limits[0], torch.cat([root[:2] / root[:2].sum(), torch.zeros(2)]), "together", atol=1e-12)
    ties = restrict(torch.zeros(1, 4), top_k=2)
    assert ties.isfinite().sum() == 2


def test_top_p_is_inclusive_of_the_symbol_that_crosses():
    p = torch.tensor([[0.5, 0.3, 0.2]])
    assert restrict(p.log(), top_p=0.51).isfinite().tolist() == [[True, True, False]]
    assert restrict(p.log(), top_p=1.0).isfinite().all()


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.6}, {"top_k": 2}, {"top_p": 0.7}, {"temperature": 1.5, "top_k": 2}]
)
def test_generated_texts_follow_the_restricted_conditionals(options):
    model = network(causal=True, vocab=V, seed=6)
    states = all_sequences(V, 2)
    first = restrict(model(torch.zeros(1, 1, dtype=torch.long))[0, -1], **options).softmax(-1)
    second = restrict(
        model(torch.cat([torch.zeros(V, 1, dtype=torch.long), torch.arange(V)[:, None]], 1))[:, -1], **options
    ).softmax(-1)
    joint = (first[:, None] * second).flatten()
    pick = choose(**options, generator=generator(1))
    x = generate(model, torch.zeros(20_000, 1, dtype=torch.long), 2, pick=pick)
    checks.distributed(x[:, 1:], joint, "generate", states=states)
    if not options:
        checks.close(joint.log(), log_prob(model, states, start=0), "log_prob", atol=1e-10)
        with pytest.raises(AssertionError):  # temperature multiplied where it divides
            hot = generate(model, torch.zeros(20_000, 1, dtype=torch.long), 2, pick=choose(temperature=0.5))
            checks.distributed(hot[:, 1:], joint, states=states)


def test_temperature_zero_is_argmax_and_needs_no_luck():
    model = network(causal=True, vocab=V)
    x = generate(model, tokens(4, 3), 8, pick=choose(temperature=0))
    for i in range(3, 11):
        assert torch.equal(x[:, i], model(x[:, :i])[:, -1].argmax(-1))


def test_stream_yields_each_token_when_it_is_chosen():
    model = network(causal=True, vocab=V)
    seen = []

    def pick(logits):
        seen.append(logits.shape)
        return logits.argmax(-1)

    writer = stream(model, tokens(4, 3), 5, pick=pick)
    assert next(writer).shape == (4,) and len(seen) == 1
    assert len(list(writer)) == 4 and seen == [(4, V)] * 5
    assert generate(model, tokens(4, 3), 0).shape == (4, 3)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: choose(temperature=-1.0), "temperature must be >= 0"),
        (lambda: choose(top_k=0), "top_k must keep"),
        (lambda: choose(top_p=0.0), "top_p is a probability"),
        (lambda: generate(network(True), tokens(1, 0), 3), "at least one token"),
        (lambda: generate(network(True), tokens(1, 4), 18), "max_len is 20"),
        (lambda: generate(network(False), tokens(1, 4), 3), "needs a causal model"),
        (lambda: next(generate_blocks(network(True), tokens(), 2, block=2, mask=3, unmask=None)), "bidirectional"),
        (lambda: next(generate_blocks(network(), tokens(), 2, block=0, mask=3, unmask=None)), "at least 1 token"),
        (lambda: next(generate_blocks(network(), tokens(), 13, block=7, mask=3, unmask=None)), "max_len is 20"),
        (lambda: block_logits(network(), tokens(2, 4), tokens(2, 6), 2), "one shape"),
    ],
)
def test_bad_input_is_named(act, message):
    with pytest.raises(ValueError, match=message):
        act()


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("block", "shift"), [(2, 0), (4, 0), (4, 1)])
def test_a_trained_model_meets_the_entropy_from_above(block, shift):
    """The whole path in float32: times, corruption, two streams, loss; then the exact bound over the language.

    Targets shifted by one, as for an autoregressive model, are the sabotage twin.
    """
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    markov = MarkovText.random(V, seed=2, spread=2.0)
    language = TinyLanguage(markov.log_prob(all_sequences(V, 4)).exp().reshape(V, V, V, V))
    process = Masking(V, rectified())
    model = Transformer(V + 1, 32, 1, 2, max_len=4, causal=False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=250)
    g = generator(0)

    def gap():
        """E[bound] - entropy over all sequences: what the model loses to the language itself."""
        with torch.no_grad():
            bound = block_nll(model, language.sequences, block, MASK)
        return float((language.log_probs.exp() * bound).sum()) - language.entropy()

    untrained = gap()
    for _ in range(250):
        x0 = language.sample(128, generator=g)
        t = block_times(128, 4, block, low=0.1, generator=g)
        x_t = process.corrupt(x0, t, generator=g)
        log_p0 = subs(block_logits(model, x_t, x0, block), x_t, MASK).clamp_min(-30)
        loss = process.nelbo_at(log_p0, x0.roll(-shift, 1), x_t, t).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    assert 0 < gap() and untrained > 1
    assert (gap() < 0.1) == (shift == 0), (untrained, gap())


# --- sabotage: what is wrong, the oracle that must notice, where, the text and what replaces it ----------------------

TWINS = {
    "its own clean copy": (
        partial(test_two_stream_mask_is_the_three_rules, 6, 2),
        two_stream_mask,
        "query > key",
        "query >= key - 0 * key",
    ),
    "not even its own block": (test_block_causal_limits, block_causal_mask, "b[:, None] >= b", "b[:, None] > b"),
    "logits of the clean half": (
        partial(test_two_streams_equal_one_pass_a_block, 2),
        block_logits,
        "[:, :l]",
        "[:, l:]",
    ),
    "one block for many": (
        test_block_of_one_is_the_autoregressive_likelihood,
        block_logits,
        "two_stream_mask(l, block, x0.device)",
        "two_stream_mask(l, l, x0.device)",
    ),
    "other blocks than asked": (
        test_one_block_is_masked_diffusion_on_the_same_draws,
        block_logits,
        "two_stream_mask(l, block, x0.device)",
        "two_stream_mask(l, l // 2, x0.device)",
    ),
    "every count alike": (
        partial(test_bound_is_tight_with_exact_conditionals_for_every_block, 2),
        exact_masked_nelbo,
        "math.factorial(k - 1) * math.factorial(n - k) / math.factorial(n)",
        "1 / (n * 2 ** (n - 1))",
    ),
    "no lower end": (
        test_clipped_times_bias_the_loss_and_lower_its_variance,
        block_times,
        "(low + (high - low) * u)",
        "(high * u)",
    ),
    "a time for each position": (
        test_block_times_are_one_a_block_and_stratified,
        block_times,
        "repeat_interleave(block, 1)",
        "repeat(1, block)",
    ),
    "stop as soon as one text does": (
        test_a_stop_token_counts_in_every_text_and_not_in_the_prompt,
        generate_blocks,
        ".any(1).all()",
        ".any(1).any()",
    ),
    "prompts that stop": (
        test_a_stop_token_counts_in_every_text_and_not_in_the_prompt,
        generate_blocks,
        "(text[:, l:] == stop)",
        "(text == stop)",
    ),
    "temperature multiplied": (test_restrict_by_hand, restrict, "logits / temperature", "logits * temperature"),
    "one symbol too few": (test_restrict_by_hand, restrict, "order[..., top_k:]", "order[..., top_k - 1 :]"),
    "the symbol that crosses left out": (
        test_top_p_is_inclusive_of_the_symbol_that_crosses,
        restrict,
        "before >= top_p",
        "before + p >= top_p",
    ),
    "restriction forgotten": (
        partial(test_generated_texts_follow_the_restricted_conditionals, {"top_k": 2}),
        choose,
        "sample_categorical(kept,",
        "sample_categorical(logits,",
    ),
    "not shifted": (
        partial(test_generated_texts_follow_the_restricted_conditionals, {}),
        log_prob,
        "torch.cat([first, x[:, :-1]], 1)",
        "x",
    ),
    "the least likely": (
        test_temperature_zero_is_argmax_and_needs_no_luck,
        choose,
        "return logits.argmax(-1)",
        "return logits.argmin(-1)",
    ),
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_oracle_notices(twin, notices):
    notices(*twin)
