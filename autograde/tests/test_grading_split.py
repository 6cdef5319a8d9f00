# ruff: noqa: E501  cells are quoted here in few lines
"""The split judge: what chapters write works across two processes, what goes wrong is told apart, in both tiers."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from nbformat import v4

from autograde.errors import Refusal
from autograde.grading.intake import plan
from autograde.grading.intake.graft import graft
from autograde.grading.intake.submission import Cell, Submission
from autograde.grading.running import engine
from autograde.grading.sandbox import tiers
from autograde.grading.sandbox.pool import Pool
from autograde.grading.sandbox.process import SandboxFailed
from autograde.tests.idioms import DOUBLE, IDIOMS

pytestmark = pytest.mark.sandbox
HOME = Path(__file__).resolve().parents[2]
LIMITS = tiers.Limits(cell=20, grace=2, total=120, memory=1500 << 20)
SHORT = tiers.Limits(cell=4, grace=1, total=60, memory=1500 << 20)
SETUP = (
    "import torch, numpy as np, math\nfrom torch import nn\nimport torch.nn.functional as F\n"
    "from coursekit import checks"
)
FIELDS = {"schema_version": 3, "task": False}


def code(source, tags=(), **own):
    cell = v4.new_code_cell(source)
    cell.metadata["tags"] = list(tags)
    if own:
        cell.metadata["nbgrader"] = FIELDS | {"grade": False, "solution": False, "locked": True} | own
    return cell


def chapter(reference, test, *, before=SETUP, between=()):
    """A chapter of one exercise, ``f``, worth 4 points."""
    return plan.make(
        "00_tiny",
        "tiny",
        v4.new_notebook(
            cells=[
                code(before),
                code(reference, grade_id="f", solution=True),
                *between,
                code(test, grade_id="f_check", grade=True, points=4),
            ]
        ),
    )


def submission(made, answers, extra=()):
    cells = [
        Cell(c.cell_type, c.source, c.metadata.get("nbgrader", {}).get("grade_id"), c.id) for c in made.notebook.cells
    ]
    cells = [Cell(c.kind, answers.get(c.grade_id, c.source), c.grade_id, c.cell_id) for c in cells]
    return Submission("sam", [*(Cell("code", e, None, None) for e in extra), *cells])


@pytest.fixture(scope="module", params=[tiers.NAMESPACED, tiers.JAILED], ids=["tier1", "tier2"])
def pool(request):
    if request.param < tiers.tier():
        pytest.skip(f"this machine gives sandbox tier {tiers.tier()}: install bubblewrap for tier 1")
    with Pool(request.param).configure(["coursekit.checks"], [], LIMITS) as pool:
        yield pool


def run(pool, made, answer=None, extra=(), limits=LIMITS):
    handed = submission(made, {} if answer is None else {"f": answer}, extra)
    return engine.grade(made, graft(made, handed), pool, "sam", handed.files, limits)


def points(pool, reference, test, answer=None, **options):
    result = run(pool, chapter(reference, test, **options), answer)
    return result.tests[0].points, result.tests[0].ename + result.tests[0].evalue


@pytest.mark.parametrize("name", IDIOMS)
def test_idiom(pool, name):
    reference, test, wrong = IDIOMS[name]
    between = [code("g = checks.fallback(f, lambda x: 2 * x, works=lambda h: h(torch.ones(1)) is not None)")]
    options = {"between": between if "fallback" in name else ()}
    got, why = points(pool, reference, test, **options)
    assert got == 4, why
    got, why = points(pool, reference, test, wrong, **options)
    assert got == 0 and why


DEFEATS = {
    "exit": ("import os\ndef f(x): os._exit(3)", "StudentProcessDied", "code 3"),
    "crash": ("import ctypes\ndef f(x): ctypes.string_at(0)", "StudentProcessDied", "segmentation"),
    "abort": ("import os\ndef f(x): os.abort()", "StudentProcessDied", "abort"),
    "loop": ("def f(x):\n    while True: pass", "CellTimeout", "ran longer than 4 s and was stopped"),
    "stubborn": (
        "import time\ndef f(x):\n    while True:\n        try: time.sleep(1)\n        except BaseException: pass",
        "CellTimeout",
        "ignored the interrupt",
    ),
    "memory": ("def f(x):\n    b = []\n    while True: b.append(bytearray(b'x' * (1 << 28)))", "", "memory"),
    "flood": ("def f(x):\n    while True: print('y' * 1000)", "TooMuchOutput", "20 MB"),
    "renamed": ("def g(x): return 2 * x", "NameError", "did you rename it"),
    "its cell fails": ("1 / 0\ndef f(x): return 2 * x", "NameError", "ZeroDivisionError: division by zero"),
    "syntax": ("def f(x) return 2 * x", "NameError", "SyntaxError"),
    "nothing returned": ("def f(x): 2 * x", "", "None"),
    "its own error": ("def f(x): return undefined_thing", "NameError", "undefined_thing"),
    "unpassable": ("def f(x): return torch.ones(2, 2).to_sparse()", "", "make it dense"),
}


@pytest.mark.parametrize("name", DEFEATS)
def test_defeat_is_explained_and_the_next_test_still_counts(pool, name):
    answer, ename, words = DEFEATS[name]
    made = plan.make(
        "00_tiny",
        "tiny",
        v4.new_notebook(
            cells=[
                code(SETUP),
                code("def f(x): return 2 * x", grade_id="f", solution=True),
                code("checks.close(f(torch.ones(2)), torch.full((2,), 2.0))", grade_id="f_check", grade=True, points=4),
                code("def g(): return 5", grade_id="g", solution=True),
                code("assert g() == 5", grade_id="g_check", grade=True, points=1),
            ]
        ),
    )
    result = run(pool, made, answer, limits=LIMITS if name == "memory" else SHORT)
    first, second = result.tests
    assert first.points == 0 and second.points == 1, (first, second)
    assert ename in first.ename and words in (first.ename + first.evalue).lower() + first.evalue, first


def test_a_process_that_keeps_dying_ends_the_submission_after_three_restarts(pool):
    made = chapter(DOUBLE, "f(1)", between=[code("1", tags=["x"])])
    result = run(pool, made, extra=["import os\nos._exit(0)"] * 6)
    assert result.restarts == 4 and result.tests[0].status == "not run" and result.tests[0].points == 0


def test_processor_time_is_bounded_and_named(pool, monkeypatch):
    asked = pool._request
    monkeypatch.setattr(pool, "_request", lambda *a: (r := asked(*a)) | {"rules": r["rules"] | {"seconds": 2}})
    test = run(pool, chapter(DOUBLE, "assert f(1) == 2"), "def f(x):\n    while True: pass").tests[0]
    assert test.points == 0 and "too much processor time" in test.evalue, test


def test_a_sandbox_that_cannot_be_furnished_gives_no_grade(pool, monkeypatch):
    """It would look like an answer that ends the process."""
    asked = pool._request
    bad = {"disk": "nothing"} if pool.level == tiers.NAMESPACED else {"scratch": "/proc/none"}
    monkeypatch.setattr(pool, "_request", lambda *a: asked(*a) | bad)
    with pytest.raises(SandboxFailed, match=r"sandbox: .*mount|proc/none"):
        run(pool, chapter(DOUBLE, "assert f(1) == 2"))


def test_the_budget_of_the_whole_submission(pool):
    limits = tiers.Limits(cell=20, grace=1, total=3, memory=1500 << 20)
    result = run(pool, chapter(DOUBLE, "assert f(1) == 2"), extra=["import time\ntime.sleep(1000)"], limits=limits)
    assert result.tests[0].ename == "TimeBudget" and result.seconds < 500


def test_cells_as_in_jupyter(pool):
    extra = [
        "import ipywidgets as w\n@w.interact(x=(0, 3))\ndef show(x=1): print(x)\nw.VBox([w.IntSlider(), w.Output()])",
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
        "import asyncio\nawait asyncio.sleep(0.01)\n'done'",
        "!echo from below\nimport sys; print('warn', file=sys.stderr)\n"
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass",
    ]
    result = run(pool, chapter(DOUBLE, "assert f(1) == 2"), extra=extra)
    shown = [cell.outputs for cell in result.cells if cell.index is None]
    assert not [o for outputs in shown for o in outputs if o["output_type"] == "error"]
    assert any("image/png" in o.get("data", {}) for o in shown[1])
    assert shown[2][-1]["data"]["text/plain"] == "'done'"
    assert "from below" in "".join(o.get("text", "") for o in shown[3])
    assert result.tests[0].points == 4


def test_lab_cells_are_skipped_and_an_edited_setup_still_works(pool):
    made = chapter(DOUBLE, "assert f(1) == 2", between=[code("raise SystemError('training')", tags=["lab"])])
    handed = submission(made, {})
    handed.cells[0] = Cell("code", "import torch\nK = 2", None, made.notebook.cells[0].id)
    handed.cells[1] = Cell("code", "def f(x): return K * x", "f", None)
    result = engine.grade(made, graft(made, handed), pool, "sam", {}, LIMITS)
    assert result.tests[0].points == 4, result.tests


def test_partial_credit_is_the_judges_value(pool):
    test = "s = sum(f(i) == 2 * i for i in range(4))\ns * 1.0"
    assert points(pool, DOUBLE, test, "def f(x): return 2 * min(x, 2)")[0] == 3
    assert points(pool, DOUBLE, "f(0.5) * 1.0", "def f(x): return float('nan')")[0] == 0


def test_files_of_the_submission_are_there_and_links_are_not(pool):
    made = chapter("def f(): return open('data/a.txt').read()", "assert f() == 'hello'")
    handed = submission(made, {})
    result = engine.grade(made, graft(made, handed), pool, "sam", {"data/a.txt": b"hello"}, LIMITS)
    assert result.tests[0].points == 4, result.tests


def test_nothing_is_left_of_a_submission(pool):
    leave = (
        "import os, subprocess, sys\n"
        "for p in ('/dev/shm/left', '/tmp/left', 'left'):\n"
        "    try: open(p, 'w').write('x')\n"
        "    except OSError: pass\n"
        "subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "if os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork() == 0:\n        import time; time.sleep(300)\n    os._exit(0)"
    )
    run(pool, chapter(DOUBLE, "f(1)"), extra=[leave])
    look = "import os\nprint('found', [p for p in ('/dev/shm/left', '/tmp/left', 'left') if os.path.exists(p)])"
    result = run(pool, chapter(DOUBLE, "f(1)"), extra=[look])
    assert "found []" in result.cells[0].outputs[0]["text"]
    assert not os.path.exists("/dev/shm/left") and not os.path.exists("/tmp/left")
    assert "sleep\x00300" not in processes()


def processes():
    text = ""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline") as file:
                text += file.read() + "\n"
        except OSError:
            continue
    return text


@pytest.mark.parametrize("theft", ["truth(x)", "globals()['truth'](x)", "__import__('__main__').truth(x)"])
def test_an_oracle_is_the_judges_alone(pool, theft):
    """The folded cell that knows the truth is in the student's notebook, but an answer that calls it finds nothing."""
    oracle = code("def truth(x): return 2 * x", grade_id="f_oracle")
    test = "checks.close(f(torch.ones(3)), truth(torch.ones(3)), 'f')"
    assert points(pool, DOUBLE, test, DOUBLE, between=[oracle])[0] == 4
    got, said = points(pool, DOUBLE, test, f"def f(x): return {theft}", between=[oracle])
    assert got == 0 and "truth" in said, said


def test_what_was_bound_below_tmp_outlives_the_private_tmp(tmp_path):
    """A course may lie in /tmp: its Python must stay in sight, read-only, when a submission gets a /tmp of its own."""
    if tiers.tier() > tiers.NAMESPACED:
        pytest.skip("needs bubblewrap")
    place = "/tmp/kept/below/library"
    (tmp_path / "here.txt").write_text("seen")
    script = f"""
import os, sys
sys.path.insert(0, {str(HOME)!r})
from autograde.grading.inside import namespaces
open("/tmp/outside", "w").close()
ids = os.getuid(), os.getgid()
if namespaces.fork() == 0:
    namespaces.furnish(1 << 24, ids)
    print(open({place!r} + "/here.txt").read())
    print("private" if not os.path.exists("/tmp/outside") else "shared")
    try:
        open({place!r} + "/more.txt", "w")
        print("written")
    except OSError:
        print("read-only")
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""
    command = ["bwrap", *tiers.bubblewrap_flags(), "--dev-bind", "/", "/", "--proc", "/proc", "--tmpfs", "/tmp"]
    command += ["--ro-bind", str(tmp_path), place, "--ro-bind", str(HOME), str(HOME)]
    done = subprocess.run([*command, sys.executable, "-P", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["seen", "private", "read-only"], done.stdout + done.stderr


def test_a_test_may_take_ten_times_what_the_reference_took(pool):
    slow = "import time\ndef f(x):\n    end = time.thread_time() + {}\n    while time.thread_time() < end: pass\n    return 2 * x"
    made = chapter(slow.format(1), "assert f(1) == 2")
    known = run(pool, made)
    assert 0.7 <= known.slowest < 15
    tight = replace(SHORT, cell=2.0)
    assert tight.fair(known.slowest).cell >= 5 and tight.fair(0.01) == tight
    late = slow.format(3)
    (lost,) = run(pool, made, late, limits=tight).tests
    (kept,) = run(pool, made, late, limits=tight.fair(known.slowest)).tests
    assert (lost.ename, lost.points, kept.points) == ("CellTimeout", 0, 4)


def test_what_the_reference_imports_is_warm_for_everybody_else(pool):
    unusual = "import sys\n'xml.sax.saxutils' in sys.modules"
    made = chapter("import xml.sax.saxutils\ndef f(x): return 2 * x", "assert f(1) == 2")
    known = engine.grade(made, graft(made, submission(made, {})), pool, "the reference", {}, LIMITS, learn=True)
    assert {"torch", "xml.sax.saxutils"} <= set(known.modules)
    shown = [run(pool, chapter("def f(x): return 2 * x", "assert f(1) == 2"), extra=[unusual])]
    pool.learn(known.modules)
    shown.append(run(pool, chapter("def f(x): return 2 * x", "assert f(1) == 2"), extra=[unusual]))
    texts = [str([cell.outputs for cell in result.cells]) for result in shown]
    assert "False" in texts[0] and "True" in texts[1]


def test_tier_three_is_refused_unless_trusted_and_then_grades_the_same():
    with pytest.raises(Refusal, match="--i-trust-these-submissions"):
        Pool(tiers.NONE)
    with Pool(tiers.NONE, trust=True).configure(["coursekit.checks"], [], LIMITS) as trusted:
        for answer, words in {
            DOUBLE: "",
            "def f(x): return 3 * x": "f(",
            "import os\ndef f(x): os._exit(3)": "code 3",
        }.items():
            (test,) = run(
                trusted, chapter(DOUBLE, "checks.close(f(torch.ones(2)), torch.full((2,), 2.0), 'f(1)')"), answer
            ).tests
            assert test.points == (4 if answer == DOUBLE else 0) and words in test.evalue


def test_an_answer_may_write_into_its_own_tensor_that_it_showed_to_a_lent_function(pool):
    """A walk whose states stand in one tensor from the start: every step writes into it, and it is differentiated."""
    reference = (
        "def f(v, x):\n    states = torch.zeros(4, *x.shape, dtype=x.dtype)\n    states[0] = x\n"
        "    for i in range(3):\n        states[i + 1] = states[i] + v(states[i])\n    return states"
    )
    test = (
        "x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)\n"
        "f(lambda y: y * y, x)[-1].sum().backward()\n"
        "y = x.detach().clone().requires_grad_()\nz = y\nfor i in range(3):\n    z = z + z * z\nz.sum().backward()\n"
        "assert torch.allclose(x.grad, y.grad)"
    )
    got, why = points(pool, reference, test)
    assert got == 4, why
