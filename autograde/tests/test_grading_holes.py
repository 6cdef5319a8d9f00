"""Holes that were open once: each was found by an attack or by an honest answer in an unusual form."""

import os
import subprocess
from dataclasses import replace

import pytest

from autograde.grading.attacks import target
from autograde.grading.feedback import clean, reasons
from autograde.grading.instructor import session
from autograde.grading.intake import plan
from autograde.grading.record import result as results
from autograde.tests.test_grading_split import LIMITS, SHORT, chapter, code, points, pool, run  # noqa: F401  pool is a fixture

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
RIGHT = target.right()
FULL = 10.0
DOUBLE_F = "def f(x): return 2 * x"
F = "def f(x):\n    {}"

# What an honest function may return, and a test that accepts it: none may be taken for an attack.
HONEST = {
    "frozensets in a set": (
        "return {frozenset({1, 2}), frozenset({3})}",
        "assert f(1) == {frozenset({1, 2}), frozenset({3})}",
    ),
    "keys that are frozensets": ("return {frozenset({1}): 0.5}", "assert f(1)[frozenset({1})] == 0.5"),
    "numpy's own strings": ("return {np.str_('a'): 1}", "assert f(1)['a'] == 1"),
    "a member of an enumeration": (
        "import enum\n    return enum.IntEnum('E', 'A B').B",
        "assert f(1) == 2",
    ),
    "Greek fields": (
        "import collections\n    return collections.namedtuple('P', 'μ σ')(1, 2)",
        "assert tuple(f(1)) == (1, 2)",
    ),
    "a bool from other bytes": (
        "return torch.tensor([2, 0], dtype=torch.uint8).view(torch.bool)",
        "assert f(1).tolist() == [True, False]",
    ),
    "a parametrised layer": (
        "return torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))",
        "assert isinstance(f(1), nn.Module) and f(1)(torch.ones(1, 2)).shape == (1, 2)",
    ),
    "a complex parameter": (
        "return nn.Parameter(torch.ones(2, dtype=torch.complex64))",
        "assert f(1).sum() == 2",
    ),
}
# Values that cannot pass: the test fails with a sentence, the submission goes on.
TOO_MUCH = {
    "return [0.5] * 250_000": "return a tensor",
    "return math.factorial(5000)": "bits cannot pass",
    "return torch.ones((1,) * 25)": "25 dimensions",
    "return torch.float8_e4m3fn": "cannot pass",
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_value_is_no_attack(pool, name):  # noqa: F811
    body, test = HONEST[name]
    got, why = points(pool, F.format(body), test)
    assert got == 4, why


@pytest.mark.parametrize("body", TOO_MUCH)
def test_what_cannot_pass_is_said_and_is_no_violation(pool, body):  # noqa: F811
    got, why = points(pool, F.format("return 1"), "assert f(1) == 1", F.format(body))
    assert got == 0 and TOO_MUCH[body] in why and "Violation" not in why, why


def test_the_same_seed_gives_the_same_draws_again(pool):  # noqa: F811
    """The judge thought that the student's generator still stood where it had put it."""
    test = "torch.manual_seed(7)\na = f(3)\ntorch.manual_seed(7)\nb = f(3)\nassert torch.equal(a, b)"
    got, why = points(pool, "def f(n): return torch.randn(n)", test)
    assert got == 4, why
    raises = "try: f(0)\nexcept ZeroDivisionError: pass\ntorch.manual_seed(7)\nassert torch.equal(f(1), a)"
    test = f"torch.manual_seed(7)\na = f(1)\ntorch.manual_seed(7)\n{raises}"
    got, why = points(pool, "def f(n):\n    x = torch.randn(3)\n    1 / n\n    return x", test)
    assert got == 4, why


def test_a_class_that_calls_itself_tensor_is_none(pool):  # noqa: F811
    """It would answer every comparison itself."""
    liar = "class Liar:\n    shape = (3,)\n    def to(self, *_): return torch.empty(0)\n"
    liar += "Liar.__module__, Liar.__qualname__ = 'torch.nn.modules.module', 'Tensor'\ndef f(x): return Liar()"
    test = "assert not isinstance(f(1), torch.Tensor)\nchecks.close(f(torch.ones(3)), 2 * torch.ones(3), 'f')"
    got, why = points(pool, "def f(x): return 2 * x", test, liar)
    assert got == 0, why


def test_what_a_test_lends_cannot_be_called_in_a_later_one(pool):  # noqa: F811
    """Kept, the truth lent to one exercise would answer another."""
    reference = "_kept = []\ndef f(g, x):\n    return g(x)"
    earlier = code("assert f(lambda x: 2 * x, 3) == 6", grade_id="lent", grade=True, points=1)
    later = "assert f(lambda x: 3 * x, 5) == 15"
    assert points(pool, reference, later, between=[earlier])[0] == 1
    thief = "_kept = []\ndef f(g, x):\n    _kept.append(g)\n    return _kept[0](x)"
    result = run(pool, chapter(reference, later, between=[earlier]), thief)
    assert [t.points for t in result.tests] == [1.0, 0.0] and "lent for an earlier test" in result.tests[1].evalue


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_lent_module_made_nan_does_not_reach_the_judge(pool, value):  # noqa: F811
    test = "m = nn.Linear(2, 1)\nx = torch.ones(3, 2)\ngot = f(m, x)\nassert torch.allclose(got, m(x), equal_nan=True)"
    reference = "def f(m, x): return m(x)"
    spoiler = f"def f(m, x):\n    with torch.no_grad(): m.weight.fill_(float('{value}'))\n    return m(x)"
    assert points(pool, reference, test)[0] == 4
    got, why = points(pool, reference, test, spoiler)
    assert got == 0 and "NaN or infinite" in why


FORGED = [
    "['done', N]",
    "['done', N, 'passed']",
    "['done', N, ['ok']]",
    "[[], N, 1]",
    "[{}, N, 1]",
    "['display', N, {'application/json': [1]}, {}]",
]


@pytest.mark.parametrize("line", FORGED)
def test_a_forged_line_to_the_instructor_costs_its_author_only(pool, line):  # noqa: F811
    """Whatever a student's process writes to the instructor, there is a result and no exception."""
    forge = (
        "import gc\nfrom autograde.grading.wire import Wire\n"
        "for w in [o for o in gc.get_objects() if isinstance(o, Wire)]:\n"
        f"    for N in range(60):\n        w.send({line})\n"
        "def f(x): return 2 * x"
    )
    result = run(pool, chapter(DOUBLE_F, "assert f(2) == 4"), forge, limits=SHORT)
    assert len(result.tests) == 1 and result.tests[0].points in (0.0, 4.0)


def test_an_ordinary_cell_that_an_answer_keeps_busy_is_the_answers_fault(pool):  # noqa: F811
    made = chapter("def f(x): return [1]", "assert f(1) == [1]", between=[code("n = sum(f(1))")])
    answer = "_n = []\ndef f(x):\n    _n.append(1)\n    return [1] if len(_n) == 1 else range(10**12)"
    result = run(pool, made, answer, limits=SHORT)
    assert result.tests[0].points == 0 and result.flags


# ------------------------------------------------------------------------------------- files that stopped a whole class


def surrogate(document):
    document["cells"][1]["source"] += "\n# \ud800"
    document["cells"].append({"cell_type": "markdown", "metadata": {}, "source": "half a character: \udc00"})


def deep_json(document):
    source = "from IPython.display import publish_display_data\nd = 1\nfor _ in range(600): d = [d]\n"
    source += "publish_display_data({'application/json': d})"
    cell = {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
    document["cells"].append(cell)


@pytest.fixture(scope="module")
def odd_class(tmp_path_factory):
    """Two honest students among files that once ended the run for everybody."""
    root = tmp_path_factory.mktemp("odd")
    target.write_course(root)
    for name in ("anna", "zoe"):
        target.write_submission(root, name, RIGHT)
    for edit in (surrogate, deep_json):
        target.write_submission(root, edit.__name__, RIGHT, edit)
    nested = target.write_submission(root, "nested", RIGHT)
    where = os.open(nested, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=where)
        below = os.open("d", os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = below
    os.close(where)
    folder = target.write_submission(root, "folder", RIGHT)
    (folder / "bait.ipynb").rename(folder / "other.txt")
    (folder / "bait.ipynb").mkdir()
    for name, text in {"garbage": "\0\1", "year 1": "0001-01-01 00:00:00 UTC", "far": "99999999999999"}.items():
        (target.write_submission(root, name, RIGHT) / "timestamp.txt").write_text(text)
    kinds = target.write_submission(root, "kinds", RIGHT)
    (kinds / "data").mkdir()
    (kinds / "data" / "a.txt").write_text("a")
    os.mkdir(os.fsencode(root / "submitted") + b"/\xff\xfe")
    os.mkdir(os.fsencode(root / "submitted") + b"/\xff\xfe/" + target.CHAPTER.encode())
    report = session.run(root, "07", session.Options(jobs=2), quiet=True)
    yield root, {row.student: row for row in report.rows}
    subprocess.run(["rm", "-rf", str(root / "submitted")], check=True)  # pytest's own way would recurse too deeply


@pytest.mark.parametrize(
    "student", ["anna", "zoe", "surrogate", "deep_json", "nested", "garbage", "year 1", "far", "kinds"]
)
def test_everybody_is_graded(odd_class, student):
    assert odd_class[1][student].score == FULL, odd_class[1][student].problem


def test_what_cannot_be_graded_is_said(odd_class):
    assert "not a regular file" in odd_class[1]["folder"].problem
    assert "UTF-8" in odd_class[1]["\\udcff\\udcfe"].problem
    assert any("timestamp.txt holds no time" in note for note in odd_class[1]["garbage"].result.notes)
    assert any("too deep" in note for note in odd_class[1]["nested"].result.notes)


def test_a_file_may_become_a_folder_and_a_folder_a_file(odd_class):
    root = odd_class[0]
    folder = root / "submitted" / "kinds" / target.CHAPTER
    (folder / "data" / "a.txt").unlink()
    (folder / "data").rmdir()
    for make in (lambda: (folder / "data").write_text("now a file"), lambda: (folder / "more").write_text("x")):
        make()
        report = session.run(root, "07", session.Options(["kinds"], jobs=1), quiet=True)
        assert [row.score for row in report.rows] == [FULL], report.problems


def test_a_file_that_changes_during_the_run_is_cached_as_what_was_graded(tmp_path, monkeypatch):
    """The key came from one reading and the answers from the next: another student's same wrong file got the points."""
    from autograde.grading.running import classrun

    target.write_course(tmp_path)
    wrong = RIGHT | {"double": "def double(x): return x"}
    folder = target.write_submission(tmp_path, "a", wrong)
    before = (folder / "bait.ipynb").read_text()
    target.write_submission(tmp_path, "z", RIGHT)
    right, reads, read_one = (
        (tmp_path / "submitted/z" / target.CHAPTER / "bait.ipynb").read_text(),
        [],
        classrun.read_one,
    )

    def changing(made, root, student):
        reads.append(student)
        (folder / "bait.ipynb").write_text(before if reads.count("a") < 2 else right)
        return read_one(made, root, student)

    monkeypatch.setattr(classrun, "read_one", changing)
    session.run(tmp_path, "07", session.Options(["a"], jobs=1), quiet=True)
    monkeypatch.undo()
    (folder / "bait.ipynb").write_text(before)
    report = session.run(tmp_path, "07", session.Options(["a"], jobs=1), quiet=True)
    assert [row.score for row in report.rows] == [8.0]


# --------------------------------------------------------------------------------------------- what the instructor does


def test_a_cell_of_thousands_of_magics_is_understood():
    """That it costs nothing, as every such text, is what ``test_grading_linear`` measures, by growth."""
    assert plan.parse("!true\n" * 2000) is not None and plan.parse("a" + ".b" * 400_000) is None
    assert clean.markdown("<" * 200_000) and clean.fragment("<b>" * 100_000)
    assert plan.bound("x = !ls\n%matplotlib inline\ny = 1") >= {"x", "y"}


def test_a_hidden_input_does_not_travel_in_an_exception_and_no_control_character_in_why():
    test = results.TestResult("t", "failed", 0.0, 2.0, "ValueError", "9" * 5000)
    assert len(reasons.reason(test).text()) < 400
    told = reasons.explain(results.Result("s", tests=[test], notes=["\x9b31mred\x1b[2J\u202egnp.exe\r"]))
    assert not set(told) & set("\x9b\x1b\u202e\r")


ACTIVE = {
    "text/html": "<script>alert(1)</script><img src=x onerror=alert(2)><table><tr><td>3</td></tr></table>",
    "application/javascript": "alert(4)",
    "text/markdown": "<img src=x onerror=alert(5)>",
    "image/svg+xml": "<svg onload=alert(6)></svg>",
    "image/png": 'AAAA" onerror="alert(7)',
}


def test_formgraders_page_runs_nothing_of_a_students(tmp_path):
    """Its exporter and templates, with the configuration that we write."""
    from nbconvert.exporters import HTMLExporter
    from nbformat import v4
    from traitlets.config import Config

    from autograde.grading.instructor.preprocessors import configure

    config = Config()
    configure(config)
    outputs = [v4.new_output("display_data", {mime: text}) for mime, text in ACTIVE.items()]
    cells = [
        v4.new_code_cell("1", outputs=outputs),
        v4.new_markdown_cell(
            "[x](javascript:alert(8)) <script>alert(9)</script> $\\href{javascript:alert(10)}{y}$ "
            "**bold**, the data: all of it"
        ),
    ]
    page, _ = HTMLExporter(config=config).from_notebook_node(v4.new_notebook(cells=cells))
    assert "<strong>bold</strong>" in page and "<td>3</td>" in page
    body = page[page.index("<body") :]
    for found in ("<script>alert", "onerror", "onload", 'href="javascript', "\\href", "alert(4)"):
        assert found not in body, found
    assert "the data: all of it" in body


def test_limits_of_outputs_hold_for_the_submission(pool):  # noqa: F811
    small = replace(LIMITS, written=20_000)
    made = chapter(DOUBLE_F, "assert f(2) == 4")
    result = run(pool, made, extra=["print('y' * 9000)"] * 5, limits=small)
    assert sum(len(repr(c.outputs)) for c in result.cells) < 25_000 and result.tests[0].points == 4
