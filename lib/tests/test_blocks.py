"""Writing block after block by any network with a memory, against a reader that reads all of it again."""

import pytest
import torch

from genmodels.core import generator
from genmodels.discrete import subs
from genmodels.nets import Transformer
from genmodels.samplers import last
from genmodels.text import block_causal_mask, generate_blocks, write_blocks

V, MASK = 3, 3


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def network(causal=False, seed=0, max_len=20, vocab=V + 1, **options):
    model = Transformer(vocab, 12, 2, 2, max_len=max_len, causal=causal, **options)
    g = generator(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=g))
    return model.eval()


def tokens(b=2, l=6, seed=1, v=V):
    return torch.randint(v, (b, l), generator=generator(seed))


@pytest.mark.parametrize(("l", "n", "block"), [(4, 9, 2), (3, 8, 4), (2, 5, 1), (0, 6, 3)])
def test_write_blocks_reads_each_block_once_and_writes_what_a_reader_without_memory_writes(l, n, block):
    model, prompt, read_lengths = network(), tokens(3, l), []

    def read(x, memory):
        read_lengths.append(x.shape[1])
        assert (x != MASK).all()
        return x if memory is None else torch.cat([memory, x], 1)

    def ask(x, memory):
        both = x if memory is None else torch.cat([memory, x], 1)
        logits = model(both, mask=block_causal_mask(both.shape[1], block))
        return subs(logits, both, MASK)[:, -x.shape[1] :]

    def reveal(x, log_p):  # the first mask of each text, by its likeliest symbol
        first = (x == MASK).long().cumsum(1) * (x == MASK) == 1
        return torch.where(first, log_p.argmax(-1), x)

    text = write_blocks(read, ask, reveal, prompt, n, block, MASK)
    assert set(read_lengths) == {block} and sum(read_lengths) == -(-(l + n) // block) * block

    def unmask(denoise, x):
        while (x == MASK).any():
            x = reveal(x, denoise(x, 1.0))
        return x

    assert torch.equal(text, last(generate_blocks(model, prompt, n, block=block, mask=MASK, unmask=unmask)))
    with pytest.raises(ValueError, match="left all"):
        write_blocks(read, ask, lambda x, log_p: x, prompt, n, block, MASK)
