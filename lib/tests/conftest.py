"""Fixtures that several test files share."""

import __future__

import ast
import inspect
import os
import sys
import textwrap
import types
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: workers with all threads each fight for the cores

import torch

TYPED = os.environ.get("GENMODELS_TYPES", "0") == "1"  # make test-types
UNTYPED = {"lab"}  # whose pages talk to a browser, in dictionaries


def check_types():
    """Have every call of the library check its annotations, shapes included, from the first import on.

    PEP 484's tower lets an int stand for a float.
    """
    from beartype import BeartypeConf, beartype
    from jaxtyping import install_import_hook

    module = types.ModuleType("genmodels_typechecker")  # the hook takes a dotted name
    module.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
    sys.modules[module.__name__] = module
    parts = {path.stem for path in (Path(__file__).parents[1] / "genmodels").iterdir()} - UNTYPED
    install_import_hook([f"genmodels.{part}" for part in parts], f"{module.__name__}.check")


NOTICED = (AssertionError,)
if TYPED:
    check_types()
    from jaxtyping import TypeCheckError

    NOTICED += (TypeCheckError,)


def pytest_collection_modifyitems(config, items):
    """With types checked, leave out the tests of refusals, since a wrong shape stops before the library's own sentence,
    and those that compile, since a compiler reads every check as a part of the program.
    """
    if not TYPED:
        return

    def kept(item):
        source = inspect.getsource(inspect.unwrap(item.function))
        return "raises(ValueError" not in source and "compile" not in source

    left_out = [item for item in items if not kept(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if kept(item)]


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
        with pytest.raises(NOTICED):
            oracle()

    return check
