"""Exact laws of token samplers on tiny languages: the figures of the text chapters, and what they must obey."""

import itertools
import math

import pytest
import torch

from coursekit import checks
from genmodels import discrete, samplers
from genmodels.core import generator
from genmodels.discrete import Masking, Uniform, in_order
from genmodels.schedule import cosine, rectified
from genmodels.toy import TinyLanguage, all_sequences

F64 = torch.float64
LANGUAGE = TinyLanguage.random(4, 2, 0, 1.5)
TRUTH = LANGUAGE.log_probs.exp().reshape(4, 4)
MASKING, UNIFORM = Masking(4, rectified()), Uniform(4, rectified())
PERFECT = {MASKING: LANGUAGE.denoiser(MASKING), UNIFORM: LANGUAGE.denoiser(UNIFORM)}
STEPS = (1, 2, 4, 8, 16, 32, 64)


def grid(n, start=1.0):
    return [start, *(1 - i / n for i in range(1, n)), 0.0]


def distance(law, truth=TRUTH):
    """Total variation; whatever is left outside of the texts counts in full."""
    inside = law[(slice(0, len(truth)),) * law.ndim]
    return float((inside - truth).abs().sum() + law.sum() - inside.sum()) / 2


def score(process):
    return samplers.concrete_score(PERFECT[process], process)


# Total variation from the truth after n = 1, 2, 4, ... 64 steps with the perfect network, to the digits given.
FIGURES = {
    "masks ancestral": (MASKING, samplers.ancestral_kernel(PERFECT[MASKING], MASKING),
                        [0.2428, 0.1214, 0.0607, 0.0304, 0.0152, 0.0076, 0.0038]),
    "masks tweedie": (MASKING, samplers.tweedie_kernel(score(MASKING), MASKING),
                      [0.2428, 0.1214, 0.0607, 0.0304, 0.0152, 0.0076, 0.0038]),
    "masks tau leaping": (MASKING, samplers.tau_leaping_kernel(score(MASKING), MASKING),
                          [0.2428, 0.2428, 0.0953, 0.0382, 0.0169, 0.0080, 0.0039]),
    "uniform ancestral": (UNIFORM, samplers.ancestral_kernel(PERFECT[UNIFORM], UNIFORM),
                          [0.2428, 0.1588, 0.0836, 0.0432, 0.0223, 0.0114, 0.0057]),
    "uniform tau leaping": (UNIFORM, samplers.tau_leaping_kernel(score(UNIFORM), UNIFORM),
                            [0.6099, 0.4201, 0.2358, 0.1188, 0.0579, 0.0284, 0.0140]),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_terminal_laws_have_the_published_distances(name):
    process, kernel, want = FIGURES[name]
    start = 1.0 if "ancestral" in name else 1 - 1e-9  # a score says nothing at t = 1
    laws = [samplers.terminal_law(kernel, process, 2, grid(n, start)) for n in STEPS]
    assert [distance(law) for law in laws] == pytest.approx(want, abs=6e-5)
    assert all(float(law.sum()) == pytest.approx(1) for law in laws)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_with_masks_the_law_is_a_mixture_of_the_truth_and_its_independent_copy(n):
    """(1 - 1/n) p + (1/n) p_1 p_2: both tokens fall into one step with probability 1/n."""
    law = samplers.terminal_law(samplers.ancestral_kernel(LANGUAGE, MASKING), MASKING, 2, grid(n))
    apart = TRUTH.sum(1)[:, None] * TRUTH.sum(0)
    checks.close(law[:4, :4], (1 - 1 / n) * TRUTH + apart / n, f"{n} steps", atol=1e-12)
    assert not law[4].any() and not law[:, 4].any()


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_the_gap_of_the_bound_is_the_total_correlation_over_the_number_of_steps(n):
    """KL(truth || law of the latents' chain) summed over steps: the bound's gap is exactly I / n under masks."""
    times, texts = grid(n), LANGUAGE.sequences
    bound = 0.0
    for t, s in itertools.pairwise(times):
        for hidden in itertools.product([False, True], repeat=2):
            share = math.prod(t if h else 1 - t for h in hidden)
            x_t = torch.where(torch.tensor(hidden), 4, texts)
            bound = bound + share * MASKING.step_kl(LANGUAGE(x_t), texts, x_t, t, s)
    mean = float((LANGUAGE.log_probs.exp() * bound).sum())
    information = float(LANGUAGE.total_correlation(torch.tensor([[4, 4]])))
    assert information == pytest.approx(0.280707, abs=1e-6) and LANGUAGE.entropy() == pytest.approx(1.722569, abs=1e-6)
    assert mean - LANGUAGE.entropy() == pytest.approx(information / n, abs=1e-9)


@pytest.mark.parametrize(("seed", "v", "l"), [(1, 3, 3), (2, 2, 4)])
def test_terminal_law_is_what_samples_follow(seed, v, l):
    language = TinyLanguage.random(v, l, seed, 1.5)
    process = Masking(v, cosine())
    times = [1.0, 0.7, 0.4, 0.0]
    remask = lambda most: most.clamp_max(0.3)
    pairs = {
        "ancestral": (samplers.ancestral_kernel, samplers.ancestral, {}),
        "remdm": (samplers.remdm_kernel, samplers.remdm, {"remask": remask}),
        "psi": (samplers.psi_kernel, samplers.psi, {"kappa": 0.6}),
        "confidence": (samplers.confidence_kernel, samplers.confidence, {"temperature": 0.7}),
        "margin": (samplers.confidence_kernel, samplers.confidence, {"rank": discrete.by_margin}),
        "threshold": (samplers.threshold_kernel, samplers.threshold, {"level": 0.5, "temperature": 1.0}),
    }
    for name, (kernel, step, how) in pairs.items():
        law = samplers.terminal_law(kernel(language, process, **how), process, l, times)
        start = process.prior((20_000, l))
        draws = step(language, process, **how, generator=generator(seed))
        x = samplers.last(samplers.sample(draws, start, times))
        index = x @ (v + 1) ** torch.arange(l - 1, -1, -1)
        checks.distributed(index, law.flatten(), name)


def test_random_order_one_at_a_time_is_exact_and_confidence_is_not():
    times = grid(2)
    orders = [in_order(p) for p in itertools.permutations(range(2))]
    fair = samplers.terminal_law(samplers.confidence_kernel(LANGUAGE, MASKING, rank=orders), MASKING, 2, times)
    assert distance(fair) < 1e-12
    for order in orders:
        law = samplers.terminal_law(samplers.confidence_kernel(LANGUAGE, MASKING, rank=order), MASKING, 2, times)
        assert distance(law) < 1e-12, "any fixed order is exact too"
    greedy = samplers.terminal_law(samplers.confidence_kernel(LANGUAGE, MASKING), MASKING, 2, times)
    entropy = float(torch.special.entr(greedy).sum())
    assert distance(greedy) == pytest.approx(0.205, abs=5e-4) and entropy == pytest.approx(1.224, abs=5e-4)


@pytest.mark.parametrize("rank", [discrete.by_entropy, discrete.by_margin])
def test_an_order_chosen_by_what_is_visible_is_exact(rank):
    """Three letters, so that the second position is chosen by the first letter; only a look at the guess biases."""
    language, process = TinyLanguage.random(3, 3, 1, 1.5), Masking(3, rectified())
    truth = language.log_probs.exp().reshape(3, 3, 3)
    law = lambda how: samplers.terminal_law(
        samplers.confidence_kernel(language.denoiser(process), process, rank=how), process, 3, grid(3)
    )
    assert distance(law(rank), truth) < 1e-12
    assert distance(law(discrete.by_confidence), truth) > 0.05


@pytest.mark.parametrize("kappa", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("process", [Masking(5, cosine()), Uniform(5, cosine())], ids=["masks", "uniform"])
def test_a_corrector_keeps_the_marginal_of_one_token_exactly(process, kappa):
    """With one token the denoiser's p(x_0 | x_t) is all there is, so p_t is carried to p_s without error."""
    language = TinyLanguage.random(5, 1, 3, 1.5)
    denoise = language.denoiser(process)
    clean = torch.nn.functional.pad(language.log_probs.exp(), (0, process.states - 5))
    marginal = lambda t: clean @ process.transition(t)
    kernels = [samplers.psi_kernel(denoise, process, kappa)]
    if isinstance(process, Masking):
        kernels.append(samplers.remdm_kernel(denoise, process, lambda most: kappa * most))
    for kernel, (t, s) in itertools.product(kernels, [(0.9, 0.4), (0.5, 0.45), (0.3, 0.0)]):
        law = samplers.terminal_law(kernel, process, 1, [t, s], start=marginal(t))
        checks.close(law, marginal(s), f"from {t} to {s}", atol=1e-12)


def test_psi_and_remdm_are_one_family_under_masks_and_ancestral_its_end():
    texts = all_sequences(5, 2)
    for t, s in ((1.0, 0.6), (0.6, 0.2), (0.2, 0.0)):
        plain = samplers.ancestral_kernel(LANGUAGE, MASKING)(texts, t, s)
        checks.close(samplers.psi_kernel(LANGUAGE, MASKING, 1.0)(texts, t, s), plain, "psi at 1", atol=1e-12)
        zero = samplers.remdm_kernel(LANGUAGE, MASKING, torch.zeros_like)(texts, t, s)
        checks.close(zero, plain, "no remasking", atol=1e-12)
        same = samplers.remdm_kernel(LANGUAGE, MASKING, lambda most, s=s: torch.full_like(most, 0.3 * s))(texts, t, s)
        checks.close(samplers.psi_kernel(LANGUAGE, MASKING, 0.7)(texts, t, s), same, "psi = remdm", atol=1e-12)


def test_remasking_stays_within_its_positions_and_its_bounds():
    x = torch.tensor([[0, 2], [1, 4]])
    free = torch.tensor([False, True])
    after = samplers.remdm_kernel(LANGUAGE, MASKING, lambda most: most, within=free)(x, 0.6, 0.3)
    assert torch.equal(after[:, 0].argmax(1), x[:, 0]) and (after[:, 0].max(1).values == 1).all()
    assert float(after[0, 1, 4]) == pytest.approx(min(1, 0.3 / 0.4))
    for bad in (lambda most: most + 0.1, lambda most: most - 1):
        with pytest.raises(ValueError, match="a probability of at most 0.75"):
            samplers.remdm_kernel(LANGUAGE, MASKING, bad)(x, 0.6, 0.3)
    with pytest.raises(ValueError, match="kappa must lie"):
        samplers.psi(LANGUAGE, MASKING, 1.5)


def test_threshold_writes_what_is_sure_and_at_least_one_token():
    certain = torch.tensor([[0.95, 0.05], [0.6, 0.4], [0.9, 0.1]], dtype=F64)
    log_p = torch.nn.functional.pad(certain, (0, 1)).log()[None]
    denoise = lambda x, t: log_p.expand(len(x), -1, -1)
    x = torch.full((1, 3), 2)
    process = Masking(2, rectified())
    for level, written in ((0.0, 3), (0.5, 3), (0.8, 2), (0.92, 1), (0.99, 1), (1.0, 1)):
        after = samplers.threshold(denoise, process, level)(x, 0.5, 0.4)
        assert int((after != 2).sum()) == written and int(after[0, 0]) == 0
        inside = samplers.threshold(denoise, process, level, within=torch.tensor([False, True, False]))(x, 0.5, 0.4)
        assert inside.tolist() == [[2, 0, 2]]
    with pytest.raises(ValueError, match="a probability; got 1.5"):
        samplers.threshold(denoise, process, 1.5)


def test_a_finished_text_calls_no_network():
    calls = []

    def denoise(x, t):
        calls.append(t)
        return LANGUAGE(x)

    for step in (samplers.threshold(denoise, MASKING, 0.0), samplers.confidence(denoise, MASKING)):
        assert step(torch.tensor([[1, 2]]), 0.5, 0.2).tolist() == [[1, 2]] and not calls


def test_in_order_is_the_order():
    rank = in_order([2, 0, 1])
    guess = torch.zeros(2, 3, dtype=torch.long)
    assert rank(torch.zeros(2, 3, 4), guess).argsort(1, descending=True).tolist() == [[2, 0, 1]] * 2
    with pytest.raises(ValueError, match="an order of 3 positions"):
        rank(torch.zeros(2, 4, 4), torch.zeros(2, 4, dtype=torch.long))


# --- the language's own quantities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [rectified(), cosine()], ids=["rectified", "cosine"])
def test_the_exact_denoiser_of_uniform_noise_is_bayes_rule(schedule):
    language = TinyLanguage.random(3, 3, 5, 1.5)
    process = Uniform(3, schedule)
    x = all_sequences(3, 3)
    joint = language.log_probs.exp().reshape(27, 1)
    step = process.transition(0.6)
    for i in range(3):
        joint = joint * step[language.sequences[:, i]][:, x[:, i]]  # (x_0, x_t)
    posterior = joint / joint.sum(0)
    want = torch.stack([torch.stack([posterior[language.sequences[:, i] == k].sum(0) for k in range(3)], 1)
                        for i in range(3)], 1)  # fmt: skip
    checks.close(language.denoiser(process)(x, 0.6).exp(), want, "posterior", atol=1e-12)


def test_the_denoiser_under_masks_is_the_language_at_any_time():
    x = all_sequences(5, 2)
    for t in (0.2, 1.0):
        checks.close(LANGUAGE.denoiser(MASKING)(x, t).exp(), LANGUAGE(x).exp(), f"t = {t}", atol=1e-12)
    with pytest.raises(ValueError, match="has 4 states, or 5 with the mask; got 7"):
        LANGUAGE.denoiser(Masking(6, rectified()))


def test_total_correlation_is_the_divergence_to_independent_draws():
    language = TinyLanguage.random(3, 3, 7, 1.5)
    p = language.log_probs.exp().reshape(3, 3, 3)
    kl = lambda a, b: float((a * (a / b).log()).sum())
    m = language.mask
    x = torch.tensor([[m, m, m], [m, 1, m], [m, 2, 0], [0, 1, 2]])
    got = language.total_correlation(x)
    alone = p.sum((1, 2))[:, None, None] * p.sum((0, 2))[:, None] * p.sum((0, 1))
    two = p[:, 1] / p[:, 1].sum()
    want = [kl(p, alone), kl(two, two.sum(1)[:, None] * two.sum(0)), 0.0, 0.0]
    assert got.tolist() == pytest.approx(want, abs=1e-12)
    pair = p.sum(1)
    chosen = language.total_correlation(x[:1], torch.tensor([[True, False, True]]))
    assert float(chosen) == pytest.approx(kl(pair, pair.sum(1)[:, None] * pair.sum(0)), abs=1e-12)


def test_a_kernel_that_is_no_kernel_is_told():
    with pytest.raises(ValueError, match="sum to 1"):
        samplers.terminal_law(lambda x, t, s: torch.ones(len(x), 2, 5), MASKING, 2, [1.0, 0.0])
    with pytest.raises(ValueError, match="too many"):
        samplers.terminal_law(samplers.ancestral_kernel(LANGUAGE, MASKING), MASKING, 9, [1.0, 0.0])


SABOTAGE = {
    "stale marginal": (samplers.psi_kernel, "process.alpha(s, home)", "process.alpha(t, home)"),
    "forgets the mask it made": (samplers.remdm_kernel, "(alpha_s - (1 - sigma) * alpha_t)", "(alpha_s - alpha_t)"),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_oracle_notices(notices, name):
    def oracle():
        test_a_corrector_keeps_the_marginal_of_one_token_exactly(Masking(5, cosine()), 0.3)

    notices(oracle, *SABOTAGE[name])
