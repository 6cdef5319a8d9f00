"""The small chapter that the hostile submissions attack: five exercises, each hidden test with a secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHAPTER, NOTEBOOK, SECRET = "07_bait", "bait", "HIDDEN-7f3a91c2"

SETUP = "import math\nimport torch\nfrom torch import nn\nfrom coursekit import checks\nfrom genmodels import core"
EXERCISES = {
    "double": (
        "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION",
        "assert double(1.5) == 3.0\n### BEGIN HIDDEN TESTS\n"
        "x = torch.randn(4, dtype=torch.float64)\nchecks.close(double(x), 2 * x, 'double(x)')\n"
        "assert torch.allclose(double(x), 2 * x)\nassert double(x).sum().item() == (2 * x).sum().item()\n"
        "checks.close(checks.grad(double, x), torch.full((4,), 2.0, dtype=torch.float64), 'its gradient')\n"
        f"secret = '{SECRET}'\n### END HIDDEN TESTS",
    ),
    "Scaler": (
        "class Scaler(nn.Module):\n    ### BEGIN SOLUTION\n    def __init__(self, d):\n        super().__init__()\n"
        "        self.w = nn.Parameter(torch.ones(d))\n\n"
        "    def forward(self, x):\n        return (self.w * x).sum(-1)\n"
        "    ### END SOLUTION",
        "m = Scaler(3)\nassert isinstance(m, nn.Module)\n### BEGIN HIDDEN TESTS\n"
        "assert [tuple(p.shape) for p in m.parameters()] == [(3,)]\nx = torch.randn(5, 3)\n"
        "checks.close(m(x), x.sum(-1), 'Scaler(3)(x)')\nchecks.gradient_reaches(m, x)\n"
        f"secret = '{SECRET}'\n### END HIDDEN TESTS",
    ),
    "draws": (
        "def draws(n, generator=None):\n    ### BEGIN SOLUTION\n    return torch.rand(n, generator=generator) * 6\n"
        "    ### END SOLUTION",
        "u = draws(2000, generator=torch.Generator().manual_seed(1))\nassert u.shape == (2000,)\n"
        "### BEGIN HIDDEN TESTS\nassert 0 <= u.min() and u.max() <= 6 and abs(u.mean() - 3) < 0.3\n"
        "again = draws(2000, generator=torch.Generator().manual_seed(1))\nassert torch.equal(u, again)\n"
        "assert not torch.equal(u, draws(2000, generator=torch.Generator().manual_seed(2)))\n"
        f"assert u.unique().numel() > 1900\nsecret = '{SECRET}'\n### END HIDDEN TESTS",
    ),
    "facts": (
        "def facts():\n    ### BEGIN SOLUTION\n    return {'squares': sum(i * i for i in range(100)), 'two': [1, 1]}\n"
        "    ### END SOLUTION",
        "f = facts()\n### BEGIN HIDDEN TESTS\nassert f['squares'] == 328350\n"
        "assert f['two'] == [1, 1] and len(f) == 2\n"
        f"secret = '{SECRET}'\n### END HIDDEN TESTS",
    ),
    "lse": (
        "def lse(x):\n    ### BEGIN SOLUTION\n    m = x.max()\n    return m + (x - m).exp().mean().log()\n"
        "    ### END SOLUTION",
        "x = torch.randn(7, dtype=torch.float64)\n### BEGIN HIDDEN TESTS\n"
        "checks.close(lse(x), x.exp().mean().log(), 'lse(x)')\n"
        "checks.close(lse(1e4 * x), core.log_mean_exp(1e4 * x, 0))\n"
        f"secret = '{SECRET}'\n### END HIDDEN TESTS",
    ),
}
LIBRARY = {"lse": ["genmodels.core.log_mean_exp"]}
POINTS = 2


def notebook() -> Any:
    """nbgrader's source notebook of the bait."""
    from nbformat import v4

    cells = [v4.new_markdown_cell("# Bait", id="title"), v4.new_code_cell(SETUP, id="setup")]
    for name, (answer, test) in EXERCISES.items():
        cells.append(_cell(name, answer, solution=True))
        cells[-1].metadata.update({"autograde": {"library": LIBRARY[name]}} if name in LIBRARY else {})
        cells.append(_cell(f"{name}_check", test, points=POINTS))
    return v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def _cell(name: str, source: str, solution: bool = False, points: int | None = None) -> Any:
    from nbformat import v4

    own = {"schema_version": 3, "grade_id": name, "solution": solution, "grade": points is not None, "task": False}
    own |= {"locked": not solution} | ({"points": points} if points is not None else {})
    return v4.new_code_cell(source, id=name.lower().replace("_", "-"), metadata={"nbgrader": own})


def released() -> dict:
    """What a student gets, as plain JSON."""
    import re

    from autograde.grading.intake.plan import cleared

    source = notebook()
    stubs = cleared(source)
    document = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    for cell in source.cells:
        source = stubs.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
        source = re.sub(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", "", source, flags=re.S).strip()
        plain = {"cell_type": cell.cell_type, "id": cell.id, "metadata": dict(cell.metadata), "source": source}
        plain["metadata"].pop("autograde", None)
        document["cells"].append(plain | ({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {}))
    return document


def write_course(root: Path) -> None:
    """An nbgrader course with nothing but the bait in it."""
    import nbformat

    (root / "source" / CHAPTER).mkdir(parents=True)
    nbformat.write(notebook(), root / "source" / CHAPTER / f"{NOTEBOOK}.ipynb")


def write_submission(
    root: Path, student: str, answers: dict[str, str], edit: Callable[[dict], None] = lambda _: None
) -> Path:
    """One submission: these answers in the released notebook, then ``edit``; returns its folder."""
    folder = root / "submitted" / student / CHAPTER
    folder.mkdir(parents=True)
    document = released()
    for cell in document["cells"]:
        cell["source"] = answers.get(cell["metadata"].get("nbgrader", {}).get("grade_id"), cell["source"])
    edit(document)
    (folder / f"{NOTEBOOK}.ipynb").write_text(json.dumps(document))
    return folder


def right() -> dict[str, str]:
    """The reference answers."""
    return {
        name: answer.replace("### BEGIN SOLUTION", "").replace("### END SOLUTION", "")
        for name, (answer, _) in EXERCISES.items()
    }
