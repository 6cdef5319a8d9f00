"""Draw the front picture of chapter 14: the sets of masks of a text of three, and one order as a path through them.

python solutions/14_masked_diffusion/picture.py solutions/assets/14_masked_diffusion.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from genmodels import toy

sys.path.insert(0, str(Path(__file__).parent))
import figures

if __name__ == "__main__":
    language = toy.TinyLanguage.random(3, 3, seed=1, spread=1.5)
    sharp = lambda x: (1.6 * language(x)).log_softmax(-1)
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figures.lattice(sharp, language.sequences[9], language.mask).png())
