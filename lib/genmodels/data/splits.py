"""Which part of a data set is for training, for choices, and for the final number."""

from __future__ import annotations

__all__ = ["SPLITS", "bounds"]

SPLITS = ("train", "valid", "test")


def bounds(split: str, train: int, valid: int, test: int) -> slice:
    """The slice of a split in a sequence ordered train, valid, test; sizes or, for texts, lengths."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    start = {"train": 0, "valid": train, "test": train + valid}[split]
    return slice(start, start + {"train": train, "valid": valid, "test": test}[split])
