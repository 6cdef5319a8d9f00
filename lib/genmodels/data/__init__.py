"""The five data sets of the course, all inside the package: nothing is ever downloaded.

    images = data.mnist("train", binary=True)    # .x (50000, 1, 28, 28) in {0, 1}, .label (50000,), .classes
    text = data.shakespeare("test")              # .tokens (n,), .alphabet, .encode, .decode

Splits are "train", "valid" and "test": disjoint, and the same on every machine. ``DATASHEET.md`` in this folder gives
source, licence, checksum and known limits of each. The environment variable ``COURSE_DATA`` names another folder with
the same files. First-load cost on two laptop cores: MNIST 0.8 s, everything else under 0.2 s.
"""

from .files import verify
from .images import Images, Portraits, digits, mnist, portraits
from .splits import SPLITS
from .texts import Text, quatrains, shakespeare

__all__ = [
    "DATASETS",
    "SPLITS",
    "Images",
    "Portraits",
    "Text",
    "digits",
    "load",
    "mnist",
    "portraits",
    "quatrains",
    "shakespeare",
    "verify",
]

DATASETS = {f.__name__: f for f in (digits, mnist, portraits, shakespeare, quatrains)}


def load(name: str, split: str) -> Images | Portraits | Text:
    """A data set by name, for command lines: ``load("mnist", "train")`` is ``mnist("train")``."""
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[name](split)
