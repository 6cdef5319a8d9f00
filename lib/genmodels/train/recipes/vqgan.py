"""Chapter 07: first compress, then generate. Portraits to 16 codes and back, and a Transformer that writes codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache, partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genmodels.core import generator as seeded
from genmodels.gan import LOSSES, adaptive_weight
from genmodels.metrics import floor, frechet
from genmodels.nets import FeatureNet, Transformer
from genmodels.quantize import VectorQuantizer, nearest, perplexity
from genmodels.text import choose, generate
from genmodels.train.recipe import Profile, TwoStageRecipe
from genmodels.train.recipes.gan import critic
from genmodels.train.settings import Settings

__all__ = ["RECIPES", "VQGAN", "CodePrior", "Tokenizer", "feature_distance", "tokenizer_loss"]

CHANNELS, GRID = 3, 4  # portraits of 16 x 16 pixels become 4 x 4 codes
COMMITMENT = 0.25  # beta of arXiv 1711.00937
PERCEPTUAL = 1.0
ADVERSARIAL = 0.2  # share of the reconstruction's pull that the critic's gets, at the last layer
DECAY = 0.99  # of the codebook's running means
DEAD = 0.3  # uses in a batch, on running average, below which a code is moved


def _block(c_in: int, c_out: int) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(8 if c_out % 8 == 0 else 1, c_out), nn.SiLU()]


class Tokenizer(nn.Module):
    """Portraits on [-1, 1] to a 4 x 4 grid of codes and back [VQGAN, arXiv 2012.09841, section 3.1]."""

    def __init__(self, width: int, codes: int, dim: int) -> None:
        super().__init__()
        w = width
        down = [nn.Conv2d(w, 2 * w, 4, 2, 1), *_block(2 * w, 2 * w), nn.Conv2d(2 * w, 2 * w, 4, 2, 1)]
        up = [nn.Upsample(scale_factor=2), *_block(2 * w, 2 * w), nn.Upsample(scale_factor=2), *_block(2 * w, w)]
        self.encoder = nn.Sequential(*_block(CHANNELS, w), *down, *_block(2 * w, 2 * w), nn.Conv2d(2 * w, dim, 1))
        self.quantizer = VectorQuantizer(codes, dim, decay=DECAY)
        self.decoder = nn.Sequential(*_block(dim, 2 * w), *_block(2 * w, 2 * w), *up, *_block(w, w))
        self.last = nn.Conv2d(w, CHANNELS, 3, padding=1)

    def vectors(self, x: Float[Tensor, "b 3 16 16"]) -> Float[Tensor, "b 4 4 dim"]:
        """The encoder's output, channels last, before it is rounded to codes; float32 where autocast is on."""
        return self.encoder(x).permute(0, 2, 3, 1).to(self.quantizer.codebook.dtype)

    def paint(self, z: Float[Tensor, "b 4 4 dim"]) -> Float[Tensor, "b 3 16 16"]:
        """The decoder: vectors, channels last, to portraits."""
        return self.last(self.decoder(z.permute(0, 3, 1, 2))).to(z.dtype)

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "b 3 16 16"]) -> Int[Tensor, "b 16"]:
        """Codes of portraits, row by row; changes nothing, in training mode too."""
        return nearest(self.vectors(x), self.quantizer.codebook).flatten(1)

    def decode(self, codes: Int[Tensor, "b 16"]) -> Float[Tensor, "b 3 16 16"]:
        """Portraits of codes."""
        return self.paint(self.quantizer.decode(codes.unflatten(1, (GRID, GRID))))


class CodePrior(nn.Module):
    """A causal Transformer over the codes of one portrait, read row by row after a start symbol."""

    def __init__(self, codes: int, d_model: int, layers: int, heads: int, length: int = GRID * GRID) -> None:
        super().__init__()
        self.codes, self.length = codes, length
        self.net = Transformer(codes + 1, d_model, layers, heads, max_len=length, positions="learned", dropout=0.1)

    def log_prob(self, codes: Int[Tensor, "b l"]) -> Float[Tensor, "b"]:
        """Exact log-probability in nats; the start symbol is no code, so it gets no share of it."""
        start = torch.full_like(codes[:, :1], self.codes)
        logits = self.net(torch.cat([start, codes[:, :-1]], 1))[..., : self.codes]
        return logits.float().log_softmax(-1).gather(2, codes[..., None]).sum((1, 2))

    def sample(
        self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Int[Tensor, "n l"]:
        """Codes written one after the other."""
        start = torch.full((n, 1), self.codes, device=self.net.embedding.weight.device)
        pick = choose(temperature=temperature, generator=generator)
        return generate(self.net, start, self.length, pick=lambda logits: pick(logits[:, : self.codes]))[:, 1:]


class VQGAN(nn.Module):
    """Both stages: ``tokenizer`` between portraits and codes, ``prior`` over the codes."""

    def __init__(self, width: int, codes: int, dim: int, d_model: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(width, codes, dim)
        self.prior = CodePrior(codes, d_model, layers, heads)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n 3 16 16"]:
        """Portraits on [-1, 1] of codes drawn from the prior."""
        return self.tokenizer.decode(self.prior.sample(n, generator=generator))


@cache
def _judge(device: torch.device) -> FeatureNet:
    """The course's own recogniser of portraits, which never learns here."""
    from genmodels.train.pretrained import load_pretrained

    return load_pretrained("features").requires_grad_(False).to(device)


def feature_distance(net: FeatureNet, x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """Squared distance of the recogniser's feature maps, each position's vector brought to length 1 (LPIPS without
    its learnt weights, arXiv 1801.03924, eq. 1): mean over the positions, sum over the three layers.
    """
    total = x.new_zeros(len(x))
    for layer in net.body:
        if isinstance(layer, nn.Flatten):  # what follows is no map
            break
        x, y = layer(x), layer(y)
        if isinstance(layer, nn.SiLU):
            gap = F.normalize(x, dim=1) - F.normalize(y, dim=1)
            total = total + gap.square().sum(1).mean((1, 2))
    return total


def tokenizer_loss(model: VQGAN, c: nn.Module, x: Float[Tensor, "b 3 16 16"]) -> Float[Tensor, "b"]:
    """Absolute error, feature distance, commitment, and the critic's term with VQGAN's weight (eq. 6 and 7 there).

    The weight is that of the batch's mean losses. In training, the codebook follows the vectors that it is given, and
    codes that almost nothing chose lately move onto some of them.
    """
    coder = model.tokenizer
    z = coder.vectors(x)
    if model.training:
        coder.quantizer.revive(z, DEAD)
    coded = coder.quantizer(z)
    y = coder.paint(coded.z)
    close = (y - x).abs().flatten(1).mean(1) + PERCEPTUAL * feature_distance(_judge(x.device), y, x)
    fooled = LOSSES["hinge"].generator(c(y))
    weight = ADVERSARIAL * adaptive_weight(close.mean(), fooled.mean(), coder.last.weight)
    return close + weight * fooled + COMMITMENT * coded.commitment_loss / z[0].numel()


def critic_loss(model: VQGAN, c: nn.Module, x: Float[Tensor, "b 3 16 16"]) -> Float[Tensor, "b"]:
    """Real portraits against their reconstructions."""
    with torch.no_grad():
        y = model.tokenizer.decode(model.tokenizer.encode(x))
    return LOSSES["hinge"].critic(c(x), c(y))


def prior_loss(model: VQGAN, x: Float[Tensor, "b 3 16 16"]) -> Float[Tensor, "b"]:
    """-log p of the portraits' codes, in nats."""
    return -model.prior.log_prob(model.tokenizer.encode(x))


def _portraits(split: str) -> Float[Tensor, "n 3 16 16"]:
    from genmodels.data import portraits

    return portraits(split).x * 2 - 1


@torch.no_grad()
def _start_codebook(model: VQGAN, x: Float[Tensor, "b 3 16 16"]) -> None:
    """Every code onto a random vector of the first batch: a fresh codebook lies nowhere near the encoder's vectors."""
    model.tokenizer.quantizer.revive(model.tokenizer.vectors(x), math.nextafter(1.0, 2.0), generator=seeded(0))


@torch.no_grad()
def _bits(model: VQGAN) -> float:
    """Bits that the codes of a test portrait take, by the prior."""
    return torch.cat([prior_loss(model, x) for x in _portraits("test").split(250)]).mean().item() / math.log(2)


@torch.no_grad()
def _details(model: VQGAN) -> str:
    """Distances in the features of the course's own recogniser, never the FID, beside their floor."""
    from genmodels.train.pretrained import load_features

    features, test = load_features(), _portraits("test")
    distance = lambda x, y: float(frechet((x + 1) / 2, (y + 1) / 2, features=features))
    codes = model.tokenizer.encode(test)
    drawn = model.sample(len(test), generator=seeded(0))
    best = floor(distance, _portraits("train"), len(test), generator=seeded(0))
    used, size = float(perplexity(codes, model.prior.codes)), model.prior.codes
    return (
        f"Frechet distance in our features, {len(test)} portraits each: reconstructions "
        f"{distance(model.tokenizer.decode(codes), test):.3f}, samples {distance(drawn, test):.3f}, floor {best}; "
        f"perplexity of the codes {used:.0f} of {size}, {model.prior.length * math.log2(size):.0f} bits without a prior"
    )


def _adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Short memory, since the opponent moves [arXiv 2012.09841]."""
    return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.9), fused=True)


def _model(width: int, codes: int, dim: int, d_model: int, layers: int) -> Callable[[], VQGAN]:
    return partial(VQGAN, width, codes, dim, d_model, layers, 4)


RECIPES = (
    TwoStageRecipe(
        name="vqgan",
        about="portraits to 16 codes and back, adversarially, then a Transformer over codes (arXiv 2012.09841)",
        data=partial(_portraits, "train"),
        loss=tokenizer_loss,
        critic_loss=critic_loss,
        prior_loss=prior_loss,
        metric=_bits,
        metric_name="test bits of a portrait's codes",
        details=_details,
        prepare=_start_codebook,
        profiles={
            "smoke": Profile(_model(8, 16, 4, 16, 1), 12, Settings(steps=40, lr=2e-3, optimizer=_adam, ema=0.9)),
            "laptop": Profile(
                _model(24, 256, 16, 64, 2),
                32,
                Settings(steps=4000, lr=1e-3, optimizer=_adam, schedule="cosine", warmup=100),
            ),
            "gpu": Profile(
                _model(128, 1024, 32, 384, 8),
                256,
                Settings(steps=60_000, lr=3e-4, optimizer=_adam, schedule="cosine", warmup=1000, ema=0.999,
                         precision="bf16-mixed"),
            ),
        },
        share=0.55,
        critics={"smoke": partial(critic, 4), "laptop": partial(critic, 16), "gpu": partial(critic, 96)},
    ),
)  # fmt: skip
