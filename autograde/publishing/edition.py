"""The students' edition: the course without solutions, mutants and hidden tests, ready to publish or to zip."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from autograde.authoring import build, regions
from autograde.errors import Refusal

COPIED = ("requirements.lock", "LICENSE", "LICENSE-DATA", "LICENSE.data")
TELLING = 24  # characters; shorter lines (`return x`, `n = len(x)`) give nothing away
LEFT_OUT = {"__pycache__", "tests", ".ipynb_checkpoints"}

README = """# {title}

Notebooks with exercises that check themselves, and the library they use.

    python3 -m venv .venv
    .venv/bin/pip install -c requirements.lock -e .
    .venv/bin/jupyter lab course

On Windows write `.venv\\Scripts\\` instead of `.venv/bin/`. With conda: `conda env create -f environment.yml`,
`conda activate genmodels`, `jupyter lab course`. Python 3.11, 3.12 or 3.13.

Start with the table in [course/README.md](course/README.md). Each exercise has a cell to write in and a check below it
that says what is wrong. More tests, which you do not see, run when your notebook is graded.
"""


def publish(course: Path, to: Path) -> list[str]:
    """Write the edition into a new folder; returns its files. Raises Refusal if a hidden line would reach students."""
    to = to.resolve()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise Refusal(f"{to} is not an empty folder; name a new one")
    if to.is_relative_to((course / "course").resolve()) or to.is_relative_to((course / "solutions").resolve()):
        raise Refusal(f"{to} lies inside the course itself; name a folder outside")
    files = {f"course/{name}": data for name, data in build.expected(course).items()}
    for library in (course / "lib" / "genmodels", course / "lib" / "coursekit"):
        for path in sorted(library.rglob("*")) if library.is_dir() else ():
            if path.is_file() and not LEFT_OUT & set(path.parts[len(library.parts) :]):
                files[path.relative_to(course).as_posix()] = path.read_bytes()
    for name in COPIED:
        if (course / name).exists():
            files[name] = (course / name).read_bytes()
    project = tomllib.loads((course / "pyproject.toml").read_text(encoding="utf-8"))
    files["pyproject.toml"] = pyproject(project).encode()
    files["environment.yml"] = environment(project).encode()
    files["README.md"] = README.format(title=project["project"]["description"].split(":")[0]).encode()
    if leaks := leaked(course, files):
        raise Refusal("not published, these lines must stay with the instructor:\n" + "\n".join(leaks))
    for name, data in files.items():
        path = to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return sorted(files)


def leaked(course: Path, files: dict[str, bytes]) -> list[str]:
    """Lines of hidden tests that stand anywhere in the edition, and lines of solutions that its notebooks show.

    A hidden line that the visible part of the same check has too is no secret.
    """
    found = []
    notebooks = {name: _lines(name, data) for name, data in files.items() if name.endswith(".ipynb")}
    code = {name: _lines(name, data) for name, data in files.items() if name.endswith((".py", ".md"))} | notebooks
    for chapter in build.chapters(course):
        for cell in chapter.cells:
            seen = {line.strip() for line in cell.visible.split("\n")}
            hidden = {*regions.inside(cell.source, regions.HIDDEN), *regions.inside(cell.source, regions.SCHEME)}
            solution = set(regions.inside(cell.source, regions.SOLUTION))
            for lines, places in ((_telling(hidden) - seen, code), (_telling(solution), notebooks)):
                for name, text in places.items():
                    found += [f"{chapter.id} {cell.grade_id}, in {name}: {line}" for line in sorted(lines & text)]
    return found


def _telling(lines: set[str]) -> set[str]:
    """Lines long enough to give something away; comments and single words are not."""
    stripped = {line.strip() for line in lines}
    return {line for line in stripped if len(line) >= TELLING and not line.startswith(("#", "import ", "from "))}


def _lines(name: str, data: bytes) -> set[str]:
    text = data.decode("utf-8")
    if name.endswith(".ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return {line.strip() for line in text.split("\n")}


def pyproject(project: dict) -> str:
    """The library alone: no grader, no tools; installing it brings what the notebooks need."""
    from_project = project["project"]
    needed = from_project["dependencies"] + from_project.get("optional-dependencies", {}).get("course", [])
    plain = {key: from_project[key] for key in ("name", "version", "description", "requires-python")}
    data = project.get("tool", {}).get("setuptools", {}).get("package-data", {})
    return "\n".join(
        [
            "[build-system]",
            f"requires = {json.dumps(project['build-system']['requires'])}",
            f"build-backend = {json.dumps(project['build-system']['build-backend'])}",
            "",
            "[project]",
            *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items()),
            'readme = "README.md"',
            f"dependencies = {json.dumps(needed, indent=2)}",
            "",
            "[tool.setuptools.packages.find]",
            'where = ["lib"]',
            'include = ["genmodels*", "coursekit*"]',
            "",
            "[tool.setuptools.package-data]",
            *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in data.items()),
            "",
        ]
    )


def environment(project: dict) -> str:
    """The conda file of the edition: Python from conda, the packages from the same lock."""
    python = project["project"]["requires-python"]
    return (
        "# conda env create -f environment.yml && conda activate genmodels && jupyter lab course\n"
        f"name: {project['project']['name']}\nchannels: [conda-forge]\ndependencies:\n"
        f"  - python{python}\n  - pip>=24\n  - pip:\n      - --constraint requirements.lock\n      - --editable .\n"
    )
