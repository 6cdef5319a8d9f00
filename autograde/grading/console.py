"""What reaches a terminal: one line at a time, in characters that it can show and that cannot steer it."""

from __future__ import annotations

import codecs
import json
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


def escaped(text: str) -> str:
    """As JSON writes what cannot be written as it is: \\u and four digits, twice for the rare planes."""
    return json.dumps(text)[1:-1]


def tolerant() -> None:
    """Let standard output write what its code page lacks as \\u...., instead of ending the command."""
    codecs.register_error("autograde", lambda error: (escaped(error.object[error.start : error.end]), error.end))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="autograde")


def emit(document: Any) -> None:
    """The one JSON document that ``--json`` promises; what would steer a terminal is escaped in it."""
    text = json.dumps(document, indent=1, ensure_ascii=False, default=str)
    print("".join(c if c == "\n" or harmless(c) else escaped(c) for c in text))


def say(*texts: Any) -> None:
    """Print lines, each made harmless."""
    print(*(line(text) for text in texts), sep="\n")
