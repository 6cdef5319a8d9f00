"""A piece of a module: the definitions asked for and what they need, whatever was cut from the same file before."""

import ast

import pytest

from autograde.authoring import slices

FILE = """import math
import torch

FACTOR = 3


def mark(f):
    return f


def helper(x):
    return FACTOR * x


exact = mark(helper)


@mark
def first(x):
    return helper(x)


def second(x):
    return math.sqrt(x)


def third(x, factor=FACTOR):
    def exact(y):
        return [mark for mark in y]

    return exact(x)
"""


def test_a_piece_holds_what_it_uses_and_nothing_else():
    assert slices.closure(FILE, ["first"]) == "\n\n\n".join(
        ["FACTOR = 3", "def helper(x):\n    return FACTOR * x", "def first(x):\n    return helper(x)"]
    )
    assert slices.closure(FILE, ["second"]) == "import math\n\n\ndef second(x):\n    return math.sqrt(x)"


def test_a_functions_own_names_are_not_those_of_the_file():
    piece = slices.closure(FILE, ["third"])
    assert piece.startswith("FACTOR = 3\n\n\ndef third") and "helper" not in piece and "def mark" not in piece


def test_what_is_left_out_and_what_is_missing():
    assert "def helper" not in slices.closure(FILE, ["first"], bare=["helper"])
    with pytest.raises(KeyError, match="fourth"):
        slices.closure(FILE, ["fourth"])


def test_a_file_is_parsed_once_for_all_its_pieces(monkeypatch):
    slices._index.cache_clear()
    parsed, parse = [], ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: (parsed.append(text), parse(text))[1])
    assert [slices.closure(FILE, [name]) for name in ("first", "second", "first")]
    assert len(parsed) == 1


def test_a_cache_stays_and_an_authors_decorator_goes():
    slow, user = "@functools.cache\ndef slow(n):\n    return n", "@right('cache')\ndef f(n):\n    return slow(n)"
    text = f"import functools\n\n{slow}\n\n{user}\n"
    piece = slices.closure(text, ["f"])
    assert "@functools.cache" in piece and "import functools" in piece and "@right" not in piece
