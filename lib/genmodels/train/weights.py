"""The files of trained weights, and the table that says how each was made: read without building a model."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from torch import Tensor

import genmodels
from genmodels.core import require

__all__ = ["FOLDER", "pretrained_names", "read_weights"]

FOLDER = Path(genmodels.__file__).parent / "pretrained"
HEADER = """# Pretrained weights

Each file is written by the command in its row, which also measures the metric on the stored weights. Weights are
stored as float16 and loaded as float32; buffers that the model's constructor makes are not stored.

| name | command | metric | bytes | sha256 |
|---|---|---|---|---|
"""
_ROW = re.compile(r"^\| (?P<name>\S+) \| .* \| \d+ \| (?P<sha256>[0-9a-f]{64}) \|$", re.MULTILINE)


def pretrained_names(folder: Path = FOLDER) -> list[str]:
    """The names that ``load_pretrained`` knows."""
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def read_weights(name: str, *, folder: Path = FOLDER) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, float16, and what it says of itself (``recipe``, ``profile``).

    Raises ValueError for an unknown name (listing all), and for a file that differs from its row in the table.
    """
    from safetensors import safe_open

    path = folder / f"{name}.safetensors"
    names = ", ".join(pretrained_names(folder)) or "none here yet"
    require(path.exists(), f"there is no pretrained model {name!r}: use one of {names}")
    listed = {row["name"]: row["sha256"] for row in _ROW.finditer(table(folder))}
    require(listed.get(name) == sha256(path), f"{path} is not the file that {folder / 'README.md'} lists: restore it")
    with safe_open(path, framework="pt") as file:
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        return weights, file.metadata()


def write_row(folder: Path, name: str, row: str) -> None:
    rows = {match["name"]: match[0] for match in _ROW.finditer(table(folder))} | {name: row}
    (folder / "README.md").write_text(HEADER + "".join(f"{rows[key]}\n" for key in sorted(rows)))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def table(folder: Path) -> str:
    path = folder / "README.md"
    return path.read_text() if path.exists() else HEADER
