"""The house rules that a reader cannot see broken: one list of versions, short files, nothing from one machine."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from autograde.doctor import pins

HOUSE = Path(__file__).resolve().parents[2]
LIMIT = 300  # lines; a file fits on a few screens
TEST_LIMIT = 700
LONG = {"chapter.py", "checks.py", "answers.py"}  # prose, cases and variants: a chapter is one document
SKIPPED = {".git", ".venv", "out", "__pycache__", "node_modules"}
# built from pieces, or this file would find itself
MACHINE = re.compile("|".join(["/wo" + "rk/", "/ho" + "me/[a-z]", "/Us" + "ers/[A-Za-z]"]))
REGISTRY = re.compile(
    "|".join(["index" + "-url", "trusted" + "-host", "pypi" + r"\.", "python" + "hosted", "/sim" + "ple/"])
)


def tracked() -> list[Path]:
    """The repository's files: git's list, or all of them in a copy without git."""
    git = subprocess.run(["git", "ls-files", "-z"], cwd=HOUSE, capture_output=True, text=True)
    if git.returncode == 0:
        return [HOUSE / name for name in git.stdout.split("\0") if name and (HOUSE / name).is_file()]
    return [p for p in HOUSE.rglob("*") if p.is_file() and not SKIPPED & set(p.relative_to(HOUSE).parts)]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data[:4096]:
            found.append((path.relative_to(HOUSE), data.decode("utf-8", "replace")))
    return found


def project() -> dict:
    return tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]


def test_files_are_short():
    """Tests mirror the library, one file a module, so one of them may be as long as the oracles of its module are."""
    code = {p: t.count("\n") for p, t in texts() if p.suffix == ".py" and p.name not in LONG}
    long = {str(p): n for p, n in code.items() if n > (TEST_LIMIT if "tests" in p.parts else LIMIT)}
    assert not long, f"more than {LIMIT} lines ({TEST_LIMIT} for tests): {long}"


def test_nothing_names_one_machine_or_one_registry():
    found = [
        f"{path}:{number}: {line.strip()[:80]}"
        for path, text in texts()
        if path.suffix not in (".txt", ".lock")  # data, and names of packages
        for number, line in enumerate(text.split("\n"), start=1)
        if MACHINE.search(line) or REGISTRY.search(line) or str(HOUSE) in line
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line", ["see /wo" + "rk/x", "pip --index" + "-url=https://a.b", "https://a.b/sim" + "ple/torch"]
)
def test_the_rule_above_would_notice(line):
    assert MACHINE.search(line) or REGISTRY.search(line)


def test_notebooks_carry_no_outputs_and_solutions_no_notebooks():
    for path, text in texts():
        if path.suffix == ".ipynb":
            assert path.parts[0] != "solutions", f"{path}: solutions are percent scripts"
            for cell in json.loads(text)["cells"]:
                assert not cell.get("outputs") and not cell.get("execution_count"), f"{path} was saved after running"


def test_every_requirement_has_one_exact_version_that_fits():
    locked = pins(HOUSE)
    wanted = [*project()["dependencies"], *sum(project()["optional-dependencies"].values(), [])]
    for text in wanted:
        requirement = Requirement(text)
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in requirements.lock: run make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{text}: the lock says {version}"
    for line in (HOUSE / "requirements.lock").read_text().split("\n"):
        assert not line or line.startswith("#") or re.match(r"[\w.-]+(\[\w+\])?==[\w.+!-]+( ;.*)?$", line), line


def test_conda_takes_python_alone_and_leaves_every_version_to_the_lock():
    environment = yaml.safe_load((HOUSE / "environment.yml").read_text())
    assert environment["name"] == project()["name"]
    *conda, last = environment["dependencies"]
    (python,) = (d for d in conda if d.startswith("python"))
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(project()["requires-python"])
    assert {re.match(r"[a-z]+", d).group() for d in conda} == {"python", "pip"}, "no second list of packages"
    extras = project()["optional-dependencies"].keys()
    constraint, editable = last["pip"]
    assert constraint == "--constraint requirements.lock"
    assert set(re.fullmatch(r"--editable \.\[([a-z,]+)\]", editable).group(1).split(",")) <= set(extras)


def test_the_changelog_and_the_licence_travel_along():
    names = {path.name for path, _ in texts()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "requirements.lock", "environment.yml", "Makefile"} <= names
