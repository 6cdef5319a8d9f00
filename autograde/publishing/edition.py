"""The students' edition: the course without solutions, mutants and hidden tests, ready to publish or to zip."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from autograde.authoring import build, records, regions
from autograde.errors import Refusal
from coursekit.checks.records import FILE, read

COPIED = ("requirements.lock", "LICENSE", "LICENSE-DATA", "LICENSE.data")
TELLING = 24  # characters; shorter lines (`return x`, `n = len(x)`) give nothing away
RUN = 3  # so many telling lines in a row are a leak
NUMBER = re.compile(r"\d+\.?\d*")
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
    """Solutions, hidden tests and truths that stand in the edition.

    A leak of code is ``RUN`` lines of it in a row, or all of it where it has fewer: one line alone two cells share by
    nature, unless it holds the numbers of a hidden test. No record may hold a hidden case, no text a packed record.
    """
    found = []
    notebooks = {name: _lines(name, data) for name, data in files.items() if name.endswith(".ipynb")}
    code = {name: _lines(name, data) for name, data in files.items() if name.endswith((".py", ".md"))} | notebooks
    for chapter in build.chapters(course):
        for cell in chapter.cells:
            where, seen = f"{chapter.id} {cell.grade_id}", cell.visible.split("\n")
            hidden = [*regions.inside(cell.source, regions.HIDDEN), *regions.inside(cell.source, regions.SCHEME)]
            found += _shared(where, _runs(regions.inside(cell.source, regions.SOLUTION)), notebooks)
            found += _shared(where, _runs(hidden) - _runs(seen), code)
            found += _shared(where, _data(hidden) - _data(seen), code)
            packed = {(line,) for line in records.packed_lines(chapter, cell.source)}
            found += _shared(where, packed, code)
        found += _hidden_cases(chapter.id, files)
    return found


def _shared(where: str, secret: set[tuple[str, ...]], places: dict[str, list[str]]) -> list[str]:
    """The secret runs of lines that stand in one of the places."""
    if not secret:
        return []
    size = len(next(iter(secret)))
    return [
        f"{where}, in {name}: {' / '.join(run)[:200]}"
        for name, text in places.items()
        for run in sorted(secret & _runs(text, size))
    ]


def _data(lines: Iterable[str]) -> set[tuple[str, ...]]:
    """Lines that hold several numbers, each alone."""
    return {(line.strip(),) for line in lines if len(NUMBER.findall(line)) >= RUN}


def _hidden_cases(chapter: str, files: dict[str, bytes]) -> list[str]:
    name = f"course/{chapter}/{FILE}"
    every = read(files[name]) if name in files else {}
    return [f"{name}: {key} holds a hidden case" for key, r in every.items() if any(c["hidden"] for c in r["cases"])]


def _runs(lines: Iterable[str], size: int = 0) -> set[tuple[str, ...]]:
    """All runs of ``size`` telling lines (``RUN``, or all where there are fewer); comments and imports tell nothing."""
    stripped = [line.strip() for line in lines]
    telling = [x for x in stripped if len(x) >= TELLING and not x.startswith(("#", "import ", "from ", "def "))]
    size = size or min(RUN, len(telling))
    return {tuple(telling[k : k + size]) for k in range(len(telling) - size + 1)} if size else set()


def _lines(name: str, data: bytes) -> list[str]:
    text = data.decode("utf-8")
    if name.endswith(".ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text.split("\n")


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
        "variables:\n  OMP_WAIT_POLICY: PASSIVE\n"
    )
