"""Small trained models that come with the library: safetensors files and a table that says how each was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmodels.core import require
from genmodels.nets import FeatureNet
from genmodels.train.registry import find_recipe
from genmodels.train.weights import FOLDER, pretrained_names, read_weights, sha256, write_row

__all__ = ["FOLDER", "load_features", "load_pretrained", "pretrained_names", "save_pretrained"]

LARGEST_BYTES = 3_000_000
SIGNED_SHARE = 0.02  # of values below -0.5 that no picture on [0, 1] has, but every dark one on [-1, 1]


def load_pretrained(name: str, *, folder: Path = FOLDER) -> nn.Module:
    """A trained model, float32, on the CPU, in evaluation mode; no network is needed.

    Raises ValueError for an unknown name (listing all), and for a file that differs from its row in the table.
    """
    weights, about = read_weights(name, folder=folder)
    with torch.random.fork_rng(devices=[]):  # the weights that a constructor draws are not kept, so they cost no draws
        model = find_recipe(about["recipe"]).profile(about["profile"]).model()
    loaded = model.load_state_dict(weights, strict=False)  # copies float16 into the model's float32
    parameters = {key for key, _ in model.named_parameters()}
    wrong = [*loaded.unexpected_keys, *(key for key in loaded.missing_keys if key in parameters)]
    require(
        not wrong,
        f"{folder / name} and the recipe {about['recipe']} disagree about {', '.join(wrong[:3])}: train it again",
    )
    return model.eval()


def load_features(name: str = "features", *, folder: Path = FOLDER) -> Callable[[Tensor], Tensor]:
    """The features of a pretrained recogniser, for the distances of ``metrics``: pictures on [0, 1] to (n, dim).

        metrics.frechet(samples, real, features=load_features())                    # portraits, 3 x 16 x 16
        metrics.frechet(samples, real, features=load_features("digit_features"))    # digits, 1 x 28 x 28

    A sampler's values a little outside [0, 1] count as the nearest end, as they do when drawn. Raises ValueError for
    pictures on [-1, 1], which the denoisers of the course work with: give (x + 1) / 2.
    """
    net = load_pretrained(name, folder=folder)
    require(isinstance(net, FeatureNet), f"{name!r} has no features to compare pictures by: use 'features'")

    @torch.no_grad()
    def features(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        signed = bool((x.amin() >= -1) & (x.amax() <= 1)) and (x < -0.5).float().mean().item() > SIGNED_SHARE
        require(not signed, "these pictures look as if on [-1, 1], and the features are of [0, 1]: give (x + 1) / 2")
        return torch.cat([net.features(part) for part in x.float().clamp(0, 1).split(500)])

    return features


def save_pretrained(
    model: nn.Module,
    name: str,
    *,
    recipe: str,
    profile: str,
    command: str,
    metric_name: str,
    metric: Callable[[nn.Module], float],
    folder: Path = FOLDER,
) -> float:
    """Store ``model`` as float16, load it back, measure ``metric`` on that, and write its row; returns the metric.

    Raises ValueError when the file would pass 3 MB or a weight does not fit float16; nothing is left behind then.
    """
    from safetensors.torch import save

    made = find_recipe(recipe).profile(profile).model().state_dict()
    parameters = {key for key, _ in model.named_parameters()}
    kept = {
        key: value.detach().cpu().contiguous()
        for key, value in model.state_dict().items()
        if key in parameters or key not in made or not torch.equal(value.cpu(), made[key])
    }
    stored = {key: value.half() if value.is_floating_point() else value for key, value in kept.items()}
    wide = [key for key, value in stored.items() if value.is_floating_point() and not value.isfinite().all()]
    require(not wide, f"{name}: {', '.join(wide[:3])} hold numbers that float16 cannot (nan, or beyond 65504)")
    content = save(stored, metadata={"recipe": recipe, "profile": profile})
    require(
        len(content) <= LARGEST_BYTES,
        f"{name} takes {len(content)} bytes; at most {LARGEST_BYTES}: train a smaller one",
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    path.write_bytes(content)
    prefix = f"| {name} | `{command}` | "
    write_row(folder, name, f"{prefix}not measured | {len(content)} | {sha256(path)} |")
    value = metric(load_pretrained(name, folder=folder))
    write_row(folder, name, f"{prefix}{metric_name}: {value:.4g} | {len(content)} | {sha256(path)} |")
    return value
