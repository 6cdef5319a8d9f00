"""Where the files are, and whether they are the right ones."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["CHECKSUMS", "folder", "locate", "read", "verify"]

CHECKSUMS = {  # sha256
    "mnist.xz": "c724e815e750fb64498f9c1160d3532f957208f248cc2520275f9377067606aa",
    "pixel_avatars.npz": "d017d1ecaab8accb33573a89de562a8bec89c1c3b6ff5364a5b3a990dbf6891a",
    "shakespeare.txt": "a325b3ff22e1b773152744738ad52b9622626c7958bb6b2e0c09328c659591da",
    "tang_quatrains.txt": "4c3c8b132dc841a2c9bf2d7b2a05ed46a011de9f417babdf9182f303b5add9bf",
}


def folder() -> Path:
    """The folder of the data files: ``COURSE_DATA`` if it is set, else this package."""
    return Path(os.environ.get("COURSE_DATA") or Path(__file__).parent)


def locate(name: str) -> Path:
    """The path of a data file; a clear error when there is none."""
    if name not in CHECKSUMS:
        raise ValueError(f"unknown data file {name!r}: the files are {', '.join(CHECKSUMS)}")
    path = folder() / name
    if not path.is_file():
        own = "COURSE_DATA points there" if os.environ.get("COURSE_DATA") else "the installation is incomplete"
        raise FileNotFoundError(f"{path} does not exist ({own}); the folder must hold {', '.join(CHECKSUMS)}")
    return path


def read(path: Path) -> bytes:
    """The bytes of a data file, verified against its checksum (12 ms for the largest)."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != CHECKSUMS[path.name]:
        raise ValueError(
            f"{path} is damaged or another version: its sha256 starts with {found[:16]}, expected "
            f"{CHECKSUMS[path.name][:16]} ({len(content):,} bytes found); restore it from the course's repository"
        )
    return content


def verify() -> dict[str, Path]:
    """Check every file; return where each was found. Raises on the first one that is missing or wrong."""
    paths = {name: locate(name) for name in CHECKSUMS}
    for path in paths.values():
        read(path)
    return paths
