"""Draw the front picture of chapter 13: a language of 16 texts comes out of both noises, computed exactly.

python solutions/13_discrete_diffusion/picture.py solutions/assets/13_discrete_diffusion.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from torch import Tensor

from genmodels import discrete, samplers, schedule, toy

sys.path.insert(0, str(Path(__file__).parent))
import figures

STEPS, SHOWN = 16, (0, 6, 10, 13, 15, 16)


def laws(process: discrete.Process, language: toy.TinyLanguage) -> list[tuple[str, Tensor]]:
    """The law of texts after some of the steps."""
    kernel = samplers.ancestral_kernel(language.denoiser(process), process)
    times = [(1 - 1e-9) * (1 - k / STEPS) for k in range(STEPS)] + [0.0]
    found = []
    for k in SHOWN:
        start = process.pi[toy.all_sequences(process.states, 2)].prod(1)
        law = start.reshape(process.states, process.states)
        if k:
            law = samplers.terminal_law(kernel, process, 2, times[: k + 1])
        found.append((f"t = {times[k]:.2f}".rstrip("0").rstrip("."), law))
    return found


if __name__ == "__main__":
    language = toy.TinyLanguage.random(4, 2, seed=0, spread=1.5)
    rows = {
        "uniform": laws(discrete.Uniform(4, schedule.rectified()), language),
        "masks": laws(discrete.Masking(4, schedule.rectified()), language),
    }
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figures.flow(rows).png())
