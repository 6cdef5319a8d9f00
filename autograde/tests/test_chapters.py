"""Every chapter, as its author, its instructor and its student meet it."""

import os
import shutil

import pytest

from autograde.authoring import build, notebooks
from autograde.authoring.chapters import folders, read, root
from autograde.running import run

HOUSE = root()
CHAPTERS = folders(HOUSE)

if not CHAPTERS:
    pytest.skip("no chapters yet", allow_module_level=True)

each_chapter = pytest.mark.parametrize("chapter", [read(f) for f in CHAPTERS], ids=[f.name for f in CHAPTERS])


@each_chapter
def test_the_released_notebook_is_what_the_build_makes(chapter):
    assert build.drift(HOUSE, [chapter.id]) == []


@each_chapter
def test_its_front_tells_a_measured_budget(chapter):
    assert notebooks.budget(chapter) != "not measured yet", f"autograde run {chapter.id} --profile laptop --record"


@each_chapter
def test_filled_with_the_reference_it_is_the_solution_without_hidden_tests(chapter):
    """So the run below, and the check above (no ordinary cell sees what a check cell binds), speak for both."""
    filled, solution = run.to_run(chapter, students=True), run.to_run(chapter, students=False)
    for mine, theirs, cell in zip(filled.cells, solution.cells, chapter.cells, strict=False):
        assert mine.id == theirs.id
        assert mine.source == (cell.visible if cell.is_check else theirs.source)


@pytest.mark.slow
@each_chapter
def test_the_smoke_run_passes(chapter):
    (report,) = run.run(HOUSE, [chapter.id], run.Settings("smoke"), quiet=True)
    assert not report.error, report.error
    assert report.metrics, "a chapter publishes what it measured, by coursekit.report.metric"


@pytest.mark.slow
@each_chapter
def test_one_missing_answer_never_turns_the_rest_red(chapter, tmp_path):
    """Run All goes through the untouched notebook to its end: each check only says that nothing is written yet."""
    from nbclient import NotebookClient
    from nbformat import v4

    notebook = notebooks.student(chapter)
    at = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(at + 1, v4.new_code_cell('PROFILE, TRAIN = "smoke", False'))
    where = {"metadata": {"path": str(tmp_path)}}
    for path in (HOUSE / "course" / chapter.id).iterdir():
        if path.suffix != ".ipynb":
            (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True, resources=where).execute()
    red, blank = [], 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                red.append(f"{cell.source[:200]}\n---\n{run.brief(output)}")
            elif cell.metadata.get("nbgrader", {}).get("grade"):
                blank += "is not solved yet" in output.get("text", "")
    assert not red, "\n\n".join(red)
    assert blank == sum(len(e.checks) for e in chapter.exercises if e.answer.is_answer)


@pytest.mark.slow
@pytest.mark.browser
@each_chapter
def test_in_jupyterlab_a_student_comes_through_the_first_exercise(chapter, tmp_path):
    from autograde.tests.browser import Lab

    exercise = chapter.exercises[0]
    first, check = exercise.answer.index, exercise.checks[-1].index
    shots = HOUSE / "out" / "screenshots"
    with Lab(HOUSE / "course", tmp_path) as lab:
        lab.open(f"{chapter.id}/{chapter.name}.ipynb")
        lab.parameters("PROFILE = 'smoke'")
        cells = lab.run_cells(0, first, limit=240)
        assert not errors(cells[:first])
        ran = [cell["execution_count"] for cell in cells[:first] if cell["cell_type"] == "code"]
        assert ran and all(ran), "every code cell before the exercise has run"
        lab.show(0)
        lab.picture(shots / f"{chapter.id}-front.png")
        blank = lab.run_cells(first, check + 1, limit=60)[first : check + 1]
        assert not errors(blank) and "is not solved yet" in str(blank)
        lab.show(first)
        lab.picture(shots / f"{chapter.id}-exercise.png")
        lab.write(first, exercise.reference)
        assert not errors(lab.run_cells(first, check + 1, limit=60)[first : check + 1]), "the right answer is green"
        assert lab.errors == [], "the page itself threw nothing"
    for shot in shots.glob(f"{chapter.id}-*.png"):
        assert os.path.getsize(shot) > 30_000, "an empty page is smaller"


def errors(cells: list[dict]) -> list[str]:
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [run.brief(output) for output in outputs if output["output_type"] == "error"]
