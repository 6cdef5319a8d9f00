"""One checkpoint file that is always whole: written aside, forced to the disk, then renamed over the last one."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from genmodels.core import require

__all__ = ["Streams", "load_checkpoint", "load_into", "restore_weights", "save_checkpoint", "seed_everything"]

FORMAT = "genmodels.train/1"


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed Python's, numpy's and torch's (every device's) global streams; each rank gets streams of its own."""
    entropy = np.random.SeedSequence([seed, rank]).generate_state(3)
    random.seed(int(entropy[0]))
    np.random.seed(int(entropy[1]))
    torch.manual_seed(int(entropy[2]))


class Streams:
    """The loop's own torch stream, so that what the caller draws between two steps (a figure, say) changes no step.

    ``with streams:`` swaps it in and the caller's back. Python's and numpy's streams are saved but not swapped: that
    would cost more than a small step.
    """

    def __init__(self, device: torch.device, seed: int, rank: int) -> None:
        # torch.cpu has no stream beside torch's own.
        self._accelerator = torch.get_device_module(device) if device.type in ("cuda", "mps") else None
        outer = self._torch_states()
        seed_everything(seed, rank)
        self._own = self._torch_states()
        self._set(outer)

    def __enter__(self) -> None:
        self._outer = self._torch_states()
        self._set(self._own)

    def __exit__(self, *error: object) -> None:
        self._own = self._torch_states()
        self._set(self._outer)

    def state_dict(self) -> dict[str, Any]:
        """All random states as plain numbers and tensors, which the safe loader of torch accepts."""
        name, keys, position, has_gauss, gauss = np.random.get_state()
        numpy_state = [name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)]
        return {"python": random.getstate(), "numpy": numpy_state, "torch": self._own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue every stream where ``state_dict`` left it."""
        name, keys, *rest = state["numpy"]
        version, numbers, gauss = state["python"]
        random.setstate((version, tuple(numbers), gauss))
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        # A run that moves between a CPU and an accelerator keeps the first stream and seeds the second anew.
        self._own = (state["torch"] + self._own[len(state["torch"]) :])[: len(self._own)]

    def _torch_states(self) -> list[torch.Tensor]:
        own = [torch.get_rng_state()]
        return own if self._accelerator is None else [*own, self._accelerator.get_rng_state()]

    def _set(self, states: list[torch.Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._accelerator is not None:
            self._accelerator.set_rng_state(states[1])


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that ``path`` holds, at every moment, either the last whole checkpoint or this one."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with open(aside, "wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()
    if os.name == "posix":  # the rename itself must reach the disk, too
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """The dict that ``save_checkpoint`` wrote, on the CPU; ValueError if the file is damaged or something else's."""
    require(Path(path).exists(), f"there is no checkpoint {path}")
    unreadable = f"{path} is no readable checkpoint (damaged, or another program's): choose another file or delete it"
    require(zipfile.is_zipfile(path), unreadable)  # torch.save's format; keeps torch.load from guessing older ones
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(unreadable) from error
    good = isinstance(state, dict) and state.get("format") == FORMAT
    require(good, f"{path} was not written by genmodels.train (no format {FORMAT!r}): choose another file")
    return state


def load_into(module: nn.Module, weights: dict[str, torch.Tensor], source: str | Path) -> None:
    """``load_state_dict`` whose failure names the source and the first parameters that do not fit."""
    own = module.state_dict()
    misfit = [f"{key} is missing there" for key in own if key not in weights]
    misfit += [f"{key} is unknown here" for key in weights if key not in own]
    misfit += [
        f"{key} has shape {tuple(weights[key].shape)} there and {tuple(own[key].shape)} here"
        for key in own
        if key in weights and own[key].shape != weights[key].shape
    ]
    more = f" (and {len(misfit) - 3} more)" if len(misfit) > 3 else ""
    require(not misfit, f"{source} holds another model: {'; '.join(misfit[:3])}{more}")
    module.load_state_dict(weights)


def restore_weights(path: str | Path, model: nn.Module, *, average: bool = True) -> nn.Module:
    """Load a checkpoint's weights into ``model`` for use, not to resume: the EMA's if it has one and ``average``."""
    state = load_checkpoint(path)
    weights = state["model"]
    if average and state["ema"] is not None:
        weights = {key.removeprefix("module."): v for key, v in state["ema"].items() if key.startswith("module.")}
    load_into(model, weights, path)
    return model.eval()
