"""Text: characters to tokens, attention masks, and writing with a Transformer, token by token or block by block."""

from genmodels.text.blocks import block_logits, block_nll, block_times, generate_blocks, write_blocks
from genmodels.text.generate import choose, generate, log_prob, restrict, stream
from genmodels.text.masks import block_causal_mask, causal_mask, two_stream_mask, two_stream_positions
from genmodels.text.tokenizer import CharTokenizer

__all__ = [
    "CharTokenizer",
    "block_causal_mask",
    "block_logits",
    "block_nll",
    "block_times",
    "causal_mask",
    "choose",
    "generate",
    "generate_blocks",
    "log_prob",
    "restrict",
    "stream",
    "two_stream_mask",
    "two_stream_positions",
    "write_blocks",
]
