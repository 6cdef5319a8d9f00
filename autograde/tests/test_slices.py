"""Self-contained pieces of a module's source."""

import ast

from autograde.authoring import slices

TEXT = """import math


def helper(x):
    return math.sqrt(x)


def other(x):
    return x


@mark
def wanted(x):
    return helper(x) + 1
"""


def test_a_piece_holds_what_it_uses_and_nothing_else():
    piece = slices.closure(TEXT, ["wanted"])
    assert "import math" in piece and "def helper" in piece
    assert "other" not in piece and "@mark" not in piece
    assert slices.closure(TEXT, ["wanted"]) == piece


def test_a_file_is_parsed_once_however_many_pieces_are_cut_from_it(monkeypatch):
    texts = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: texts.append(text) or parse(text))
    longer = TEXT + "\nLAST = 1\n"
    for name in ("wanted", "helper", "other", "LAST"):
        slices.closure(longer, [name])
    assert texts == [longer]
