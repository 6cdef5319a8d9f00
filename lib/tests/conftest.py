"""Fixtures that several test files share."""

import __future__

import ast
import inspect
import textwrap

import pytest
import torch


@pytest.fixture(autouse=True)
def same_draws():
    """Torch's global stream starts alike in every test, so a network built without a seed is the same in every run."""
    torch.manual_seed(0)


@pytest.fixture
def edit(monkeypatch):
    """Sabotage: ``edit(function, old, new)`` changes one place in the source of a function for one test.

    An oracle must fail after a wrong edit; that the text is found exactly once keeps the edits in step with the code.
    """

    def change(function, old, new):
        function = inspect.unwrap(function)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {function.__qualname__}"
        tree = ast.parse(source.replace(old, new))
        tree.body[0].decorator_list = []
        scope = dict(function.__globals__)
        flags = __future__.annotations.compiler_flag
        exec(compile(tree, f"<sabotaged {function.__qualname__}>", "exec", flags=flags, dont_inherit=True), scope)
        monkeypatch.setattr(function, "__code__", scope[function.__name__].__code__)

    return change


@pytest.fixture
def notices(edit):
    """``notices(oracle, function, old, new)``: the oracle, a test that needs no argument, must fail after the edit."""

    def check(oracle, function, old, new):
        edit(function, old, new)
        with pytest.raises(AssertionError):
            oracle()

    return check
