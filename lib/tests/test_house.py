"""The library's house rules: light imports, everything public explained and tested."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import coursekit
import genmodels

TESTS = Path(__file__).parent
HEAVY = {"matplotlib", "lightning", "lightning_fabric", "scipy", "sklearn", "ot", "IPython", "ipywidgets", "anywidget"}
MAY = {
    "coursekit.plot": {"matplotlib"},
    "coursekit.lab": {"matplotlib", "IPython", "ipywidgets", "anywidget"},
    "genmodels.train": {"lightning_fabric", "lightning"},
}
TOP = sorted(f"{p.__name__}.{m.name}" for p in (genmodels, coursekit) for m in pkgutil.iter_modules(p.__path__))


# One process that has torch, and a fork of it for each module: what a fork adds, its module imported.
PROBE = """
import importlib, json, os, sys, torch
before, found = set(sys.modules), {}
for name in sys.argv[1:]:
    reader, writer = os.pipe()
    if os.fork() == 0:
        importlib.import_module(name)
        added = {module.split(".")[0] for module in set(sys.modules) - before}
        os.write(writer, json.dumps(sorted(added)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        found[name] = json.loads(pipe.read() or "null")
    os.wait()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """{module: the top-level packages that importing it adds to torch}."""
    names = ["genmodels", *TOP]
    done = subprocess.run([sys.executable, "-c", PROBE, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(found.values()), done.stderr
    return {name: set(packages) for name, packages in found.items()}


def test_importing_the_library_costs_little_over_torch(imported):
    """As a share of what torch takes in the same process, so that a busy machine does not matter."""
    code = (
        "import time; a = time.process_time(); import torch; b = time.process_time(); import genmodels, genmodels.core;"
        "print((time.process_time() - b) / (b - a))"
    )
    share = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    assert share < 0.5
    assert not HEAVY & imported["genmodels"]


@pytest.mark.parametrize("name", TOP)
def test_a_module_imports_no_heavy_library(imported, name):
    too_much = HEAVY & imported[name] - MAY.get(name, set())
    assert not too_much, f"import {', '.join(sorted(too_much))} inside the functions of {name} that need it"


def only_carries(thing: object) -> bool:
    """Named tuples, dataclasses and protocols: tests meet them as results, not by name."""
    carriers = inspect.isclass(thing) and issubclass(thing, tuple)
    return carriers or dataclasses.is_dataclass(thing) or getattr(thing, "_is_protocol", False)


@pytest.mark.parametrize("name", TOP)
def test_everything_public_is_explained_and_tested(name):
    """Public is what a module of the library offers to chapters: the functions and classes of its ``__all__``."""
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    tests = "\n".join(path.read_text() for path in TESTS.glob("test_*.py") if path.name != "test_house.py")
    every = {public: getattr(module, public) for public in getattr(module, "__all__", [])}
    offered = {public: thing for public, thing in every.items() if inspect.isclass(thing) or inspect.isroutine(thing)}
    mute = [public for public, thing in offered.items() if not inspect.getdoc(thing)]
    worked = [public for public, thing in offered.items() if not only_carries(thing)]
    untested = [public for public in worked if not re.search(rf"\b{public}\b", tests)]
    assert not mute, f"without a docstring: {', '.join(mute)}"
    assert not untested, f"no test speaks of {', '.join(untested)}"
