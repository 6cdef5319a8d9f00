"""Cells run as in IPython, without taking them apart to find that out."""

import ast
import warnings

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from autograde.authoring import notebooks
from autograde.authoring.build import chapters
from autograde.authoring.chapters import root
from autograde.grading.inside.executor import Compiler, parse

PLAIN = {
    "blank lines first": "\n  \n\nx = 1",
    "no line end": "x = 1",
    "a comment": "# only",
    "a modulo on a line of its own": "y = (7\n% 4)",
    "a magic in a string": "s = '''\n%time\n!ls\n? 1\n'''",
    "await": "await x",
    "form feed": "\x0cx = 1",
    "decorated": "@f\ndef g(): pass",
}
MAGIC = ["%time x", "!ls", "x = !ls", "x = %pwd", "print?", "%%time\nx = 1", ">>> x = 1", "    x = 1", "In [1]: x = 1"]
MAGIC += ["", "\n \n", "s = '''\n>>> 1\n'''"]


@pytest.mark.parametrize("cell", PLAIN.values(), ids=PLAIN)
def test_plain_python_is_left_as_ipython_leaves_it(cell):
    tree, text = parse(cell, Compiler().flags)
    assert text == TransformerManager().transform_cell(cell)
    assert ast.dump(tree, include_attributes=True) == ast.dump(ast.parse(text), include_attributes=True)


def test_the_courses_own_cells_are_left_as_ipython_leaves_them():
    cells = [c.source for chapter in chapters(root(), None) for c in notebooks.source(chapter).cells]
    plain = 0
    for cell in cells:
        tree, text = parse(cell, Compiler().flags)
        plain += tree is not None
        assert tree is None or text == TransformerManager().transform_cell(cell), cell
    assert plain > len(cells) / 3, "the prose aside, nearly all"


@pytest.mark.parametrize("cell", MAGIC)
def test_what_only_ipython_understands_is_left_to_it(cell):
    assert parse(cell, Compiler().flags) == (None, cell)


def test_a_tree_is_used_once_and_for_its_own_text_only():
    compiler = Compiler()
    compiler.ready = (ast.parse("x = 2"), "x = 1\n", compiler.flags)
    assert ast.unparse(compiler.ast_parse("y = 3\n")) == "y = 3"
    compiler.ready = (made := ast.parse("x = 2"), "x = 1\n", compiler.flags)
    assert compiler.ast_parse("x = 1\n") is made
    assert ast.unparse(compiler.ast_parse("x = 1\n")) == "x = 1"


def test_a_warning_about_the_source_is_left_to_the_compiler_that_shows_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse("x = '\\d'", Compiler().flags)[0] is None
