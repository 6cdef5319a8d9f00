"""Chapter 13: the concrete score of Shakespeare's characters, by score entropy, under both noise processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genmodels import schedule
from genmodels.core import generator as seeded
from genmodels.discrete import Fade, Masking, Process, Uniform
from genmodels.nets import Transformer
from genmodels.nets.unet import TimeEmbedding
from genmodels.train.recipe import Profile, Recipe
from genmodels.train.recipes.text import CLIP, LENGTH, SYMBOLS, adamw, bits_per_character, windows
from genmodels.train.settings import Settings

__all__ = ["RECIPES", "ScoreNet", "score_bound"]

LAST = 1 - 1e-6  # at time 1 the rate of the noise, -alpha'/alpha, is infinite
DRAWS = 4  # of time and noise for each test window

MakeProcess = Callable[[int, Fade], Process]


class ScoreNet(nn.Module):
    """log p_t(y) / p_t(x) for every one-token change y of a text x: the score that ``samplers`` of tokens take.

    Called as net(x, t), t in (0, 1) one time or (b,); ``process`` is the noise it was trained for, on alpha = 1 - t.
    At each position the Transformer guesses a distribution w of the clean token, the noise turns it into
    m = alpha w + (1 - alpha) pi, and the score of y is m(y) / m(x). With the true w, that of the clean token given the
    rest of the text, this is the exact score of either process [SEDD, arXiv 2310.16834, theorem 3.6]; so the network
    need not learn how scores grow as t goes to 0.
    """

    def __init__(self, make_process: MakeProcess, d_model: int, layers: int, heads: int, *, symbols: int = SYMBOLS):
        super().__init__()
        self.process = make_process(symbols, schedule.rectified())
        self.register_buffer("pi", self.process.pi, persistent=False)
        self.register_buffer("clean", self.process.clean, persistent=False)
        self.time = TimeEmbedding(d_model // 2)
        self.body = Transformer(
            self.process.states, d_model, layers, heads, max_len=2 * LENGTH, causal=False, cond_dim=d_model // 2
        )

    def forward(self, x: Int[Tensor, "b l"], t: Float[Tensor, "b"] | Float[Tensor, ""] | float) -> Tensor:
        """Log scores (b, l, states) in float64: 0 where y = x."""
        t = torch.as_tensor(t, device=x.device).to(torch.float64).expand(len(x))
        alpha = self.process.alpha(t, x)[..., None]
        out = self.body(x, cond=self.time(t.to(self.body.embedding.weight.dtype))).double()
        log_w = out.masked_fill(~self.clean, -torch.inf).log_softmax(-1)
        log_m = torch.logaddexp(alpha.log() + log_w, ((1 - alpha) * self.pi.double()).log())
        return log_m - log_m.gather(2, x[..., None])


def score_bound(
    model: ScoreNet, x0: Int[Tensor, "b l"], *, generator: torch.Generator | None = None
) -> Float[Tensor, "b"]:
    """One-sample estimate of the bound on -log p(x_0) in nats, at a stratified time in (0, 1)."""
    t = _times(x0, generator)
    x_t = model.process.corrupt(x0, t, generator=generator)
    return model.process.score_entropy_loss(model(x_t, t), x0, x_t, t)


def _loss(model: ScoreNet, x0: Int[Tensor, "b l"]) -> Float[Tensor, "b"]:
    """The bound's integrand times 2 t, whose mean over t is 1: early, a few characters would outweigh all others."""
    t = _times(x0)
    x_t = model.process.corrupt(x0, t)
    return 2 * t * model.process.score_entropy_loss(model(x_t, t), x0, x_t, t)


def _times(x0: Tensor, generator: torch.Generator | None = None) -> Float[Tensor, "b"]:
    return schedule.uniform_times(len(x0), generator=generator, device=x0.device, t_max=LAST).double()


@torch.no_grad()
def _bits(model: nn.Module) -> float:
    """Bits per character of the test plays by the bound, in windows that do not overlap."""
    x, random = windows("test", LENGTH, LENGTH).repeat(DRAWS, 1), seeded(0)
    return bits_per_character(torch.cat([score_bound(model, part, generator=random) for part in x.split(64)]))


def _recipe(name: str, about: str, make_process: MakeProcess) -> Recipe:
    def model(d_model: int, layers: int, heads: int) -> Callable[[], nn.Module]:
        return partial(ScoreNet, make_process, d_model, layers, heads)

    profiles = {
        "smoke": Profile(model(16, 1, 2), 12, Settings(steps=30, lr=1e-2, warmup=1, clip=CLIP, ema=0.9)),
        "laptop": Profile(
            model(64, 4, 4),
            12,
            Settings(steps=2500, lr=4e-3, optimizer=adamw, schedule="cosine", warmup=125, clip=CLIP),
        ),
        # Not compiled: the rate of the noise is a forward derivative, in float64.
        "gpu": Profile(
            model(512, 8, 8),
            256,
            Settings(steps=20_000, lr=6e-4, optimizer=adamw, schedule="cosine", warmup=1000, clip=CLIP, ema=0.999,
                     precision="bf16-mixed"),
        ),
    }  # fmt: skip
    return Recipe(
        name=name,
        about=about,
        data=partial(windows, "train"),
        loss=_loss,
        metric=_bits,
        metric_name="test bits per character (bound)",
        profiles=profiles,
        unit="characters",
        units=LENGTH,
    )


RECIPES = (
    _recipe("sedd", "score entropy with masking noise, on Shakespeare (arXiv 2310.16834)", Masking),
    _recipe("sedd_uniform", "score entropy with uniform noise, on Shakespeare (arXiv 2310.16834)", Uniform),
)
