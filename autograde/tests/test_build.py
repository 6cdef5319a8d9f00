"""The build: what students get, what they must not get, and every mistake an author can make."""

import json
import shutil
import subprocess
import sys
import tomllib

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.utils import compute_checksum

from autograde.authoring import build, notebooks, regions
from autograde.authoring.chapters import select
from autograde.errors import AuthoringError, Refusal
from autograde.publishing import edition


def problems(course) -> str:
    with pytest.raises(AuthoringError) as error:
        build.chapters(course)
    return str(error.value)


def test_the_students_notebook_is_nbgraders_and_holds_no_answer(course):
    build.write(course)
    path = course / "course" / "01_tiny" / "tiny.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    MetadataValidator().validate_nb(notebook)
    text = path.read_text()
    for secret in ("tril", "secret_input", "BEGIN", "END", "negative numbers", "torch.cumsum", "torch.randn("):
        assert secret not in text, secret
    cells = {c.metadata.get("nbgrader", {}).get("grade_id", i): c for i, c in enumerate(notebook.cells)}
    assert cells["running_sum"].source.endswith(
        '# TODO\n    raise NotImplementedError("running_sum: write your answer here")'
    )
    answer, check = cells["running_sum"].metadata, cells["running_sum_check"].metadata
    assert answer["nbgrader"]["locked"] is False and answer["deletable"] is False and "editable" not in answer
    assert check["nbgrader"]["locked"] is True and check["editable"] is False and check["nbgrader"]["points"] == 2
    assert all(
        c.metadata["nbgrader"]["checksum"] == compute_checksum(c) for c in notebook.cells if "nbgrader" in c.metadata
    )
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"


def test_the_source_notebook_releases_to_the_same_cells_with_nbgraders_own_steps(course, chapter):
    from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

    source = notebooks.source(chapter)
    MetadataValidator().validate_nb(source)
    assert "secret_input" in notebooks.write(source)
    released = source
    for step in (ClearSolutions(), ClearHiddenTests()):
        released, _ = step.preprocess(released, {})
    mine = {c.id: c.source for c in notebooks.student(chapter).cells}
    for cell in released.cells:
        if not cell.metadata.get("nbgrader", {}).get("solution"):
            assert cell.source.rstrip("\n") == mine[cell.id]


def test_badges_and_the_front_are_written_by_the_build(course, chapter):
    text = "\n".join(c.source for c in notebooks.student(chapter).cells if c.cell_type == "markdown")
    line = "**Exercise 1 · `running_sum`** — difficulty ●●○○○ · importance ●●●●○ · about 5 min · 2 points"
    assert f"## Running sums\n\n{line}\n\nWhy it matters" in text
    assert "about 3 min · 1 point\n" in text
    assert "2 exercises, 8 minutes, 3 points. To run: not measured yet." in text
    cost = {"seconds": 31.5, "cores": 2, "training_seconds": 12.0, "memory_mb": 640}
    (chapter.folder / "measured.json").write_text(json.dumps({"laptop": cost}))
    assert "31.5 s to run on 2 CPU cores, of which training 12.0 s; 0.6 GB" in notebooks.front(chapter)["budget"]


def test_two_builds_are_the_same_bytes_and_a_reordered_line_changes_few_ids(course, edit):
    first, again = build.expected(course), build.expected(course)
    assert first == again
    before = {c.id for c in notebooks.student(select(course)[0]).cells}
    assert len(before) == len(select(course)[0].cells)
    edit("# %%\nsums =", "# %%\nmore = 1\n\n# %%\nsums =")
    after = notebooks.student(select(course)[0]).cells
    graded = [c for c in after if "nbgrader" in c.metadata]
    assert all(c.id in before for c in graded)


def test_check_fails_on_one_edited_byte_a_missing_file_and_a_stray_one(course):
    assert {d.why for d in build.drift(course)} == {"missing"}
    build.write(course)
    assert build.drift(course) == []
    path = course / "course" / "01_tiny" / "tiny.ipynb"
    path.write_text(path.read_text().replace("Running sums", "Running sumz"))
    (found,) = build.drift(course)
    assert found.path == path and any("sumz" in line for line in found.diff)
    assert build.write(course) == [path] and build.drift(course) == []
    (course / "course" / "02_gone").mkdir()
    (course / "course" / "02_gone" / "gone.ipynb").write_text("{}")
    assert [d.why for d in build.drift(course)] == ["made by no chapter"]
    build.write(course)
    assert (course / "course" / "02_gone" / "gone.ipynb").exists(), "git does not hold it, so it is not deleted"
    assert [d.why for d in build.drift(course)] == ["made by no chapter"]


def git(course, *words):
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *author, *words], cwd=course, check=True, capture_output=True)


@pytest.mark.parametrize("work", ["answer", "output", "own cell", "no notebook of ours"])
def test_the_build_never_overwrites_work(course, work):
    build.write(course)
    path = course / "course" / "01_tiny" / "tiny.ipynb"
    notebook = json.loads(path.read_text())
    answer = next(c for c in notebook["cells"] if "NotImplementedError" in "".join(c["source"]))
    if work == "answer":
        answer["source"] = "def running_sum(x):\n    return x.cumsum(0)"
    elif work == "output":
        answer["execution_count"] = 3
    elif work == "own cell":
        notebook["cells"].append({"cell_type": "markdown", "id": "5f3a9c21", "metadata": {}, "source": "my notes"})
    path.write_text("not json" if work == "no notebook of ours" else json.dumps(notebook))
    before = path.read_bytes()
    other = course / "course" / "README.md"
    other.write_text("changed")
    with pytest.raises(Refusal, match=r"course/01_tiny/tiny.ipynb[\s\S]*git checkout") as error:
        build.write(course)
    assert path.read_bytes() == before and other.read_text() == "changed", "nothing at all is written"
    assert ("running_sum" in str(error.value)) == (work == "answer")
    git(course, "init")
    git(course, "add", "-A")
    git(course, "commit", "-m", "kept")
    build.write(course)
    assert path.read_bytes() != before, "git holds the work, so nothing is lost"


def test_the_build_deletes_only_what_git_holds(course):
    build.write(course)
    git(course, "init")
    stray = course / "course" / "02_gone" / "gone.ipynb"
    stray.parent.mkdir()
    stray.write_text("{}")
    git(course, "add", "-A")
    git(course, "commit", "-m", "with a chapter that is gone")
    mine = stray.with_name("mine.ipynb")
    mine.write_text("{}")
    build.write(course)
    assert not stray.exists() and mine.exists()


def test_assets_travel_with_the_notebook(course):
    (course / "solutions" / "01_tiny" / "assets").mkdir()
    (course / "solutions" / "01_tiny" / "assets" / "front.png").write_bytes(b"\x89PNG")
    build.write(course)
    assert (course / "course" / "01_tiny" / "assets" / "front.png").read_bytes() == b"\x89PNG"


def test_a_picture_that_does_not_travel_is_an_error(course, edit):
    edit("# {{exercises}} ex", "# ![A digit](../assets/digit.png)\n#\n# {{exercises}} ex")
    with pytest.raises(
        AuthoringError, match=r"chapter.py:3: no picture ../assets/digit.png: put it into solutions/assets/"
    ):
        build.write(course)
    (course / "solutions" / "assets").mkdir()
    (course / "solutions" / "assets" / "digit.png").write_bytes(b"\x89PNG")
    build.write(course)
    assert (course / "course" / "assets" / "digit.png").exists() and build.drift(course, ["01"]) == []
    edit("![A digit]", "![]")
    with pytest.raises(AuthoringError, match="needs a text for who cannot see it"):
        build.expected(course)


HEADER = '# %% [markdown] exercise={"id": "noisy", "difficulty": 1, "importance": 3, "minutes": 3}'


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            '"grade_id": "noisy", "sol',
            '"grade_id": "running_sum", "sol',
            "grade_id 'running_sum' is already used at line",
        ),
        (HEADER, "# %% [markdown]", "the answer 'noisy' has no exercise header of its own"),
        ('"id": "noisy"', '"id": "noise"', "the header above is for 'noise', the answer for 'noisy'"),
        ('"grade": true, "points": 1', '"grade": true', "noisy_check: a graded cell needs points"),
        ('"points": 2', '"points": 0', "running_sum_check: a graded cell needs points"),
        ('"noisy_check"', '"test_noise"', "name the check noisy_..."),
        ("    ### END SOLUTION", "", "`### BEGIN SOLUTION` has no `### END SOLUTION`"),
        ("### END HIDDEN TESTS", "", "`### BEGIN HIDDEN TESTS` has no `### END HIDDEN TESTS`"),
        ("### BEGIN HIDDEN TESTS", "## BEGIN HIDDEN TEST", "write the marker exactly as"),
        (
            "sums = checks",
            "### BEGIN HIDDEN TESTS\n### END HIDDEN TESTS\nsums = checks",
            "would reach students or be lost",
        ),
        ('tags=["lab", "train"]', 'tags=["labb"]', "unknown tag 'labb'; known: lab"),
        ('tags=["parameters"]', 'tags=["hide-input"]', 'exactly one cell must be tagged "parameters"; found 0'),
        ("TRAIN = True", "", "the parameters cell must set TRAIN"),
        ('"difficulty": 2', '"difficulty": 6', "difficulty must be a whole number from 1 to 5"),
        ('"minutes": 5', '"minuts": 5', "unknown key 'minuts'"),
        ('"solution": true} auto', '"solution": true, "weight": 2} auto', "unknown nbgrader key 'weight'"),
        ("autograde={", "autogrda={", "unknown cell metadata 'autogrda'"),
        ("def running_sum(x):", "def my_sum(x):", "must define a function or class of that name"),
        ("draws = noisy(", "SEED = 3\ndraws = noisy(", "set SEED in an earlier cell"),
        ("draws = noisy(", "np.random.default_rng()\ndraws = noisy(", "default_rng() without a seed"),
        ("import torch\n", "import torch\n%matplotlib inline\n", "can only stand in a lab cell"),
        ("return x + torch.randn", "return x +* torch.randn", "does not parse as written"),
        ('"grade": true, "points": 1}', '"grade": true, "points": 1} tags=["lab"]', "cannot be a lab cell"),
        ("# %% [markdown]\n# # 01", "hello = 1\n\n# %% [markdown]\n# # 01", "text before the first `# %%` line"),
    ],
)
def test_an_authors_mistake_is_named_with_its_line(course, edit, old, new, says):
    edit(old, new)
    text = problems(course)
    assert says in text
    assert "solutions/01_tiny/chapter.py:" in text


def test_an_answer_without_its_check_and_a_check_without_an_answer(course, edit):
    path = course / "solutions" / "01_tiny" / "chapter.py"
    text = path.read_text()
    start = text.index('# %% nbgrader={"grade_id": "noisy_check"')
    path.write_text(text[:start] + text[text.index('# %% tags=["lab", "train"]') :])
    assert "nothing checks 'noisy'" in problems(course)
    start = text.index('# %% nbgrader={"grade_id": "noisy", ')
    path.write_text(text[:start] + text[text.index('# %% nbgrader={"grade_id": "noisy_check"') :])
    assert "the check 'noisy_check' has no answer cell before it" in problems(course)


def test_a_stub_that_would_break_the_empty_notebook_is_refused(course, edit):
    edit("def running_sum(x):", "limit = 3\n### BEGIN SOLUTION\nlimit = 4\n### END SOLUTION\ndef running_sum(x):")
    assert "must lie inside a function" in problems(course)


def test_the_line_of_a_problem_is_the_line_in_the_file(course, edit):
    edit("return x + torch.randn", "return x +* torch.randn")
    lines = (course / "solutions" / "01_tiny" / "chapter.py").read_text().split("\n")
    number = int(problems(course).split(".py:")[1].split(":")[0])
    assert "+*" in lines[number - 1]


def test_a_cell_marker_in_a_string_is_text(course, edit):
    edit("total = float(", 'text = """\n# %% not a cell\n"""\ntotal = float(')
    (chapter,) = build.chapters(course)
    assert "# %% not a cell" in chapter.cells[-1].source


def test_regions():
    source = "a\n    ### BEGIN SOLUTION\n    b\n    ### END SOLUTION\nc"
    assert regions.replace(source, {"SOLUTION": "x\ny"}) == "a\n    x\n    y\nc"
    assert regions.without_markers(source, "SOLUTION") == "a\n    b\nc"
    assert list(regions.inside(source, "SOLUTION")) == ["    b"]


def test_a_cell_that_a_person_grades(course, edit):
    about = '"difficulty": 3, "importance": 3, "minutes": 20}'
    edit(
        '# %% tags=["lab", "train"]',
        f'# %% [markdown] exercise={{"id": "essay", {about}\n# ## Essay\n\n'
        '# %% [markdown] nbgrader={"grade_id": "essay", "grade": true, "solution": true, "points": 5}\n'
        '# ### BEGIN SOLUTION\n# The point is X.\n# ### END SOLUTION\n\n# %% tags=["lab", "train"]',
    )
    (chapter,) = build.chapters(course)
    notebook = notebooks.student(chapter)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    text = notebooks.write(notebook)
    assert "The point is X" not in text and "*Write your answer here.*" in text and "5 points" in text


def test_the_students_edition_shows_no_hidden_line_and_no_solution(course, tmp_path):
    to = tmp_path / "edition"
    files = edition.publish(course, to)
    assert "course/01_tiny/tiny.ipynb" in files and "lib/genmodels/core.py" in files and "README.md" in files
    assert not [f for f in files if "solutions" in f or "mutants" in f or "autograde" in f or "tests" in f.split("/")]
    text = "\n".join(
        p.read_text(errors="replace") for p in to.rglob("*") if p.suffix in (".ipynb", ".py", ".md", ".toml")
    )
    for cell in select(course)[0].cells:
        shown = {line.strip() for line in cell.visible.split("\n")}
        for name in (regions.HIDDEN, regions.SOLUTION):
            for line in regions.inside(cell.source, name):
                if len(line.strip()) >= edition.TELLING and (name == regions.SOLUTION or line.strip() not in shown):
                    assert line.strip() not in text, line
    project = tomllib.loads((to / "pyproject.toml").read_text())["project"]
    assert "scripts" not in project and any(d.startswith("jupyterlab") for d in project["dependencies"])
    code = "import genmodels, genmodels.data as d; print(genmodels.__file__); d.digits('test')"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[0] = {str(to / 'lib')!r}; {code}"], capture_output=True
    )
    assert done.stdout.decode().startswith(str(to)), done.stderr.decode()


@pytest.mark.parametrize(
    "leak",
    [
        "secret_input = torch.tensor([-1.0, -2.0, 5.0, 3.0], dtype=torch.float64)",
        "lower = torch.tril(torch.ones(len(x), len(x), dtype=x.dtype))",
    ],
)
def test_a_leak_through_another_cell_is_found(course, edit, tmp_path, leak):
    edit("total = float(", f"if False:\n    {leak}\ntotal = float(")
    with pytest.raises(Refusal, match="must stay with the instructor"):
        edition.publish(course, tmp_path / "edition")
    assert not (tmp_path / "edition").exists()


def test_the_edition_overwrites_nothing(course, tmp_path):
    with pytest.raises(Refusal, match="not an empty folder"):
        edition.publish(course, course / "solutions")
    with pytest.raises(Refusal, match="inside the course itself"):
        edition.publish(course, course / "course" / "new")


def test_a_folder_without_chapters_builds_to_nothing(tmp_path, monkeypatch):
    (tmp_path / "solutions").mkdir()
    assert build.expected(tmp_path) == {} and build.drift(tmp_path) == [] and build.write(tmp_path) == []


def test_a_malformed_chapter_holds_up_only_itself(course):
    """Two authors work side by side; the index waits until every chapter is well formed."""
    build.write(course)
    index = (course / "course" / "README.md").read_bytes()
    other = course / "solutions" / "02_other"
    shutil.copytree(course / "solutions" / "01_tiny", other)
    script = other / "chapter.py"
    script.write_text(script.read_text().replace('"points": 2', '"points": 0'))
    (course / "course" / "01_tiny" / "tiny.ipynb").unlink()
    build.write(course, ["01"])
    assert (course / "course" / "01_tiny" / "tiny.ipynb").exists()
    assert (course / "course" / "README.md").read_bytes() == index
    with pytest.raises(AuthoringError, match="02_other.*needs points"):
        build.write(course)


def test_the_index_says_what_a_chapter_needs(course, edit):
    edit("# {{exercises}} exercises", "# | **You need** | a pencil \\| paper |\n#\n# {{exercises}} exercises")
    (row,) = [line for line in build.index(build.chapters(course)).splitlines() if "tiny.ipynb" in line]
    assert row.endswith(" | a pencil \\| paper |")
