"""What reaches a terminal: one line at a time, in characters that it can show and that cannot steer it."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

LINE_MAX = 300  # characters


def line(text: object, limit: int = LINE_MAX) -> str:
    """The text in one line that no terminal obeys, cut at ``limit`` characters."""
    whole = str(text)
    shown = "".join(c if harmless(c) else " " if c in "\n\t\r" else "" for c in whole[:limit])
    return shown + ("..." if len(whole) > limit else "")


def lines(text: str, limit: int = 200_000) -> str:
    """As ``line``, but line ends and tabs stay."""
    return "".join(c for c in text[:limit] if c in "\n\t" or harmless(c))


def harmless(character: str) -> bool:
    """Whether it is shown, and steers nothing: no control, no mark of direction, no half of a pair."""
    return character in "\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def tolerant() -> None:
    """Let standard output write what its code page lacks as \\x.. or \\u...., instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(*texts: Any) -> None:
    """Print lines, each made harmless."""
    print(*(line(text) for text in texts), sep="\n")
