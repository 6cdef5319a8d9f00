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


@mark
def first(x):
    return helper(x)


def second(x):
    return math.sqrt(x)
"""


def test_a_file_is_parsed_once_for_all_its_pieces(monkeypatch):
    """A chapter's answers are cut a hundred times from one file of a thousand lines."""
    slices._index.cache_clear()
    parsed, parse = [], ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: (parsed.append(text), parse(text))[1])
    first = [slices.closure(FILE, ["first"]) for _ in range(3)]
    second = slices.closure(FILE, ["second"])
    assert len(parsed) == 1
    assert (
        first[0]
        == first[2]
        == "FACTOR = 3\n\n\ndef helper(x):\n    return FACTOR * x\n\n\ndef first(x):\n    return helper(x)"
    )
    assert second == "import math\n\n\ndef second(x):\n    return math.sqrt(x)"


def test_what_is_left_out_and_what_is_missing():
    """``bare`` names stay away; a wanted name that the file lacks is named."""
    assert "def helper" not in slices.closure(FILE, ["first"], bare=["helper"])
    with pytest.raises(KeyError, match="third"):
        slices.closure(FILE, ["third"])
