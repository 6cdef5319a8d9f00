"""Writing text: our cached Transformer against ``transformers``' GPT-2 of the same size, and against no cache.

Both write 255 characters after one, for 16 texts at once, sampled at temperature 1, with random weights.
"""

from __future__ import annotations

import torch

from genmodels.bench import Row, compare_times
from genmodels.core import generator, parameter_count
from genmodels.nets.transformer import Transformer
from genmodels.text import choose, generate

__all__ = ["run"]

BATCH, NEW, VOCAB, WIDTH, LAYERS, HEADS = 16, 255, 65, 128, 4, 4


def run() -> list[Row]:
    """Tokens per second; targets: at least 2x the rival's, at least 10x our own without cache."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.manual_seed(0)
    ours = Transformer(VOCAB, WIDTH, LAYERS, HEADS, max_len=NEW + 1).eval()
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=NEW + 1, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    theirs = GPT2LMHeadModel(config).eval()
    prompt = torch.zeros(BATCH, 1, dtype=torch.long)
    pick = choose(generator=generator(0))

    def cached() -> None:
        _check(generate(ours, prompt, NEW, pick=pick))

    def uncached() -> None:
        _check(generate(ours, prompt, NEW, pick=pick, cached=False))

    def rival() -> None:
        with torch.inference_mode():
            _check(theirs.generate(prompt, max_new_tokens=NEW, do_sample=True, top_k=0, use_cache=True))

    speed, rivals = (BATCH * NEW / s for s in compare_times([cached, rival], rounds=5, warm=1))
    # Without cache one run takes a hundred times as long: once is enough to tell 10x.
    again, slow = (BATCH * NEW / s for s in compare_times([cached, uncached], rounds=1, warm=0))
    sizes = f"{parameter_count(ours):,} parameters, theirs {parameter_count(theirs):,}"
    return [
        Row("generate 16 x 255 tokens", speed, rivals, "tokens/s", "transformers, cached", 2.0, note=sizes),
        Row("generate 16 x 255 tokens, cache", again, slow, "tokens/s", "ours, no cache", 10.0),
    ]


def _check(text: torch.Tensor) -> None:
    """Both sides wrote all they were asked to."""
    if text.shape != (BATCH, NEW + 1):
        raise RuntimeError(f"expected {(BATCH, NEW + 1)} tokens, got {tuple(text.shape)}: a side stopped early")
