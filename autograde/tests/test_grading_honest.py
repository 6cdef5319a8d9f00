# ruff: noqa: E501  cells are quoted here in few lines
"""Honest work in an unusual form loses nothing: files under other names, lost marks, copies, encodings, helpers."""

import codecs
import json

import pytest

from autograde.grading.attacks import target
from autograde.grading.instructor import session
from autograde.tests.test_grading_split import chapter, points, pool, run, submission  # noqa: F401  pool is a fixture

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
RIGHT = target.right()
NAME = f"{target.NOTEBOOK}.ipynb"
FULL = 10.0


def by_id(document):
    return {c["metadata"].get("nbgrader", {}).get("grade_id"): c for c in document["cells"]}


def only_ids(document):
    for cell in document["cells"]:
        cell["metadata"] = {}


def no_marks_at_all(document):
    for cell in document["cells"]:
        cell["metadata"] = {}
        cell.pop("id")


def unfinished_copy_at_the_end(document):
    stub = by_id(target.released())["double"]
    document["cells"].append({**stub, "id": "again", "source": "def double(x):\n    raise NotImplementedError"})


def unfinished_copy_without_marks(document):
    document["cells"].append({"cell_type": "code", "metadata": {}, "source": "def double(x):\n    pass"})


def old_copy_above(document):
    cells = document["cells"]
    cells.insert(cells.index(by_id(document)["double"]), {**by_id(document)["double"], "id": "old", "source": "1 / 0"})


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    root = tmp_path_factory.mktemp("honest")
    target.write_course(root)
    for edit in (only_ids, no_marks_at_all, unfinished_copy_at_the_end, unfinished_copy_without_marks, old_copy_above):
        target.write_submission(root, edit.__name__, RIGHT, edit)
    fresh = json.dumps(target.released())
    for name in (
        "bait__20260301.ipynb",
        "bait-Copy1.ipynb",
        "bait (1).ipynb",
        "bait_20260301120000.ipynb",
        "meins.ipynb",
    ):
        folder = target.write_submission(root, f"beside a fresh one: {name}", RIGHT)
        (folder / NAME).rename(folder / name)
        (folder / NAME).write_text(fresh)
        (folder / f"._{name}").write_bytes(b"\0\1")
    for name in ("bait.ipynb.txt", "bait.ipynb.json", "BAIT.IPYNB"):
        folder = target.write_submission(root, f"alone: {name}", RIGHT)
        (folder / NAME).rename(folder / name)
    older = target.write_submission(root, "answers in both", RIGHT)
    wrong = target.write_submission(root, "elsewhere", {"double": "def double(x): return x"})
    (wrong / NAME).rename(older / "bait-Copy1.ipynb")
    wrong.rmdir()
    for encoding, mark in {"utf-16": b"", "utf-16-be": codecs.BOM_UTF16_BE, "utf-8-sig": b"", "utf-32": b""}.items():
        folder = target.write_submission(root, encoding, RIGHT)
        (folder / NAME).write_bytes(mark + (folder / NAME).read_text().encode(encoding))
    (root / "submitted" / "nothing" / target.CHAPTER).mkdir(parents=True)
    report = session.run(root, "07", session.Options(jobs=2), quiet=True)
    return {row.student: row for row in report.rows}


def test_nothing_is_lost(rows):
    lost = {name: (row.score, row.problem) for name, row in rows.items() if row.score != FULL}
    assert lost.pop("nothing")[1].startswith("no notebook in the folder") and not lost
    assert len(rows) > 15


def test_what_was_repaired_is_said(rows):
    def notes(student):
        return " ".join(rows[student].result.notes)

    assert "the last one above its check counts" in notes("unfinished_copy_at_the_end")
    assert "the last one counts" in notes("old_copy_above") and notes("unfinished_copy_without_marks") == ""
    assert "found by the name it defines" in notes("no_marks_at_all")
    for name in rows:
        if ": " in name:
            assert name.split(": ")[1] in notes(name) and "instead of 'bait.ipynb' was graded" in notes(name)
        if name.startswith("beside"):
            assert "holds no answers" in notes(name)
    assert "'bait-Copy1.ipynb'" in notes("answers in both") and "left out" in notes("answers in both")


def test_lost_marks_do_not_help_to_call_the_librarys_answer(tmp_path):
    target.write_course(tmp_path)
    stolen = RIGHT | {"lse": "from genmodels.core import log_mean_exp\ndef lse(x): return log_mean_exp(x, 0)"}
    for edit in (only_ids, no_marks_at_all):
        target.write_submission(tmp_path, edit.__name__, stolen, edit)
    report = session.run(tmp_path, "07", session.Options(jobs=1), quiet=True)
    assert [row.score for row in report.rows] == [FULL - 2] * 2


def grade(pool, made, answer, files):  # noqa: F811
    from autograde.grading.intake.graft import graft
    from autograde.grading.running import engine
    from autograde.tests.test_grading_split import LIMITS

    return engine.grade(made, graft(made, submission(made, {"f": answer})), pool, "sam", files, LIMITS).tests[0]


def test_a_module_beside_the_notebook_can_be_imported(pool):  # noqa: F811
    made = chapter("def f(x): return 2 * x", "assert f(3) == 6")
    files = {
        "helpers.py": b"from parts.inner import two\ndef twice(x): return two() * x",
        "parts/inner.py": b"two = lambda: 2",
    }
    got = grade(pool, made, "import helpers\ndef f(x): return helpers.twice(x)", files)
    assert got.points == 4, got
    files = {"torch.py": b"1 / 0", "genmodels/__init__.py": b"1 / 0", "json.py": b"1 / 0"}
    got = grade(pool, made, "def f(x): return 2 * x", files)  # what the library needs is not taken from there
    assert got.points == 4, got


COMPILED = {
    "decorated": "@torch.compile\ndef f(x): return 2 * x",
    "with options": "@torch.compile(mode='reduce-overhead', fullgraph=True)\ndef f(x): return 2 * x",
    "called": "def g(x): return 2 * x\nf = torch.compile(g, dynamic=True)",
    "a module": "class M(nn.Module):\n    def forward(self, x): return 2 * x\nm = M()\nm.compile()\ndef f(x): return torch.compile(m)(x)",
}  # fmt: skip


@pytest.mark.parametrize("name", COMPILED)
def test_torch_compile_leaves_an_answer_as_it_is(pool, name):  # noqa: F811
    test = "x = torch.randn(3)\nchecks.close(f(x), 2 * x)"
    got, why = points(pool, "def f(x): return 2 * x", test, COMPILED[name])
    assert got == 4, why


@pytest.mark.parametrize("setter", ["torch.set_default_dtype(torch.float64)", "torch.set_default_tensor_type('torch.DoubleTensor')"])  # fmt: skip
def test_a_default_dtype_of_the_students_own_holds_in_the_test_as_in_the_notebook(pool, setter):  # noqa: F811
    reference = "def f(n): return torch.ones(n) / 3"
    test = "assert f(3).dtype == torch.get_default_dtype()\nchecks.close(f(3), torch.ones(3) / 3, 'f(3)')"
    made = chapter(reference, test)
    for extra in ([], [setter]):
        (got,) = run(pool, made, reference, extra=["import torch", *extra]).tests
        assert got.points == 4, got
    half = "import torch\ntorch.set_default_dtype(torch.float16)"  # coarser than the chapter's own: it does not count
    (got,) = run(pool, chapter(reference, "assert torch.ones(1).dtype == torch.float32"), reference, extra=[half]).tests
    assert got.points == 4, got
