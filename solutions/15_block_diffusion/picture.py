"""Draw the front picture of chapter 15: the masks from a language model to a diffusion model.

python solutions/15_block_diffusion/picture.py solutions/assets/15_block_diffusion.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from genmodels import text

sys.path.insert(0, str(Path(__file__).parent))
import figures

LENGTH = 16
NAMES = {
    1: "blocks of 1: autoregressive",
    4: "blocks of 4: block diffusion",
    16: "one block: masked diffusion",
}

if __name__ == "__main__":
    masks = {name: (text.two_stream_mask(LENGTH, n), n) for n, name in NAMES.items()}
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figures.family(masks).png())
