"""Running chapters: cost and published numbers come back, and a failure is named with its cell and line."""

import json
import os

import nbformat
import pytest

from autograde.authoring import notebooks
from autograde.authoring.chapters import select
from autograde.errors import Refusal
from autograde.running import run


@pytest.fixture(autouse=True)
def quick(edit):
    """A lab cell that takes a known time, so that the training seconds have something to measure."""
    edit("total = float(", "import time\n\ntime.sleep(1.2)\ntotal = float(")


def test_cost_metrics_and_the_record(course):
    (report,) = run.run(course, ["1"], run.Settings("smoke"), record=True, quiet=True)
    assert report.error == ""
    assert report.metrics == [{"name": "total", "value": 10.0, "unit": "units", "floor": 1.0, "note": ""}]
    assert 1.2 <= report.training_seconds <= report.seconds
    assert 100 < report.memory_mb < 2000, "a process that imports torch"
    assert 0.3 < report.cpu_seconds and report.cores >= 1 and report.torch[0].isdigit()
    executed = nbformat.read(course / report.notebook, as_version=4)
    assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in executed.cells)
    kept = json.loads((course / "solutions" / "01_tiny" / "measured.json").read_text())["smoke"]
    assert kept["seconds"] == report.seconds and "notebook" not in kept and "error" not in kept
    assert notebooks.budget(select(course)[0]) == "not measured yet", "only the laptop profile is a student's budget"


def test_cores_are_those_that_worked_not_the_last_setting(course):
    """Chapters 02 and 04 train on two threads and end on one; their front pages spoke of one core."""
    from nbformat import v4

    chapter = select(course)[0]
    cost = {"name": run.COST, "memory_mb": 500, "cpu_seconds": 18.0, "cores": 1, "torch": "2", "device": "CPU"}
    cell = v4.new_code_cell("", outputs=[v4.new_output("display_data", {run.MIME: cost})])
    for seconds, cores in ((10.0, 2), (18.0, 1)):
        report = run.Report(chapter.id, "laptop", seconds=seconds)
        run.collect(chapter, v4.new_notebook(cells=[cell]), report)
        assert report.cores == cores


def test_labs_are_told_that_nobody_watches(course, edit, monkeypatch):
    monkeypatch.delenv("COURSE_STATIC", raising=False)
    edit("time.sleep(1.2)", "from coursekit import lab\n\nassert lab.static()")
    (report,) = run.run(course, None, run.Settings("smoke"), quiet=True)
    assert report.error == "" and "COURSE_STATIC" not in os.environ


def test_a_failing_cell_is_named_by_its_line(course, edit):
    edit("time.sleep(1.2)", "raise RuntimeError('it broke here')")
    (report,) = run.run(course, None, run.Settings("smoke"), record=True, quiet=True)
    where, text = report.error.split("\n", 1)
    line = int(where.removeprefix("solutions/01_tiny/chapter.py:"))
    assert (
        (course / "solutions" / "01_tiny" / "chapter.py")
        .read_text()
        .split("\n")[line - 1]
        .startswith("from coursekit.report")
    )
    assert "RuntimeError: it broke here" in text and "\x1b" not in text and len(text.split("\n")) <= 16
    assert not (course / "solutions" / "01_tiny" / "measured.json").exists(), "a failed run is not recorded"


def test_a_kernel_that_dies_is_reported(course, edit):
    edit("time.sleep(1.2)", "import os\n\nos._exit(3)")
    (report,) = run.run(course, None, run.Settings("smoke"), quiet=True)
    assert "DeadKernelError" in report.error


def test_the_students_notebook_with_the_references(course, capsys):
    (report,) = run.run(course, None, run.Settings("smoke", students=True), quiet=True)
    assert report.error == "" and report.notebook == "out/run/smoke-student/01_tiny/tiny.ipynb"
    text = (course / report.notebook).read_text()
    assert "lower @ x" in text and "secret_input" not in text
    run.show([report])
    assert "total: 10 units   floor 1" in capsys.readouterr().out


def test_two_at_once(course):
    import shutil

    shutil.copytree(course / "solutions" / "01_tiny", course / "solutions" / "02_again")
    reports = run.run(course, None, run.Settings("smoke"), jobs=2, quiet=True)
    assert [r.chapter for r in reports] == ["01_tiny", "02_again"] and not any(r.error for r in reports)


def test_refusals(course):
    with pytest.raises(Refusal, match="no profile 'huge'; there are smoke, laptop, gpu"):
        run.Settings("huge")
    with pytest.raises(Refusal, match="--record"):
        run.run(course, None, run.Settings("smoke", train=False), record=True)


def test_a_run_saves_seldom_and_loses_nothing(course, monkeypatch):
    """papermill writes the whole notebook before and after each cell; here only a pause or the end is a reason."""
    import papermill.engines

    saved: list[str] = []
    write = papermill.engines.write_ipynb
    monkeypatch.setattr(papermill.engines, "write_ipynb", lambda *a: (saved.append(a[1]), write(*a)))
    (report,) = run.run(course, None, quiet=True)
    cells = [c for c in nbformat.read(course / report.notebook, 4).cells if c.cell_type == "code"]
    assert not report.error and 1 <= len(saved) <= 4 < len(cells), (len(saved), len(cells))
    assert all(c.execution_count for c in cells)
