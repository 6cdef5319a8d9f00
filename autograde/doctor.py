"""``autograde doctor``: what this machine has, what it lacks, and the command that installs it."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

PYTHON = ((3, 11), (3, 13))
EXTENSIONS = {  # labextension: (what it is for, the package that brings it)
    "@jupyter-widgets/jupyterlab-manager": ("sliders of the live labs", "jupyterlab_widgets"),
    "anywidget": ("figures that move", "anywidget"),
    "@jupyter/nbgrader": ("Validate and Formgrader in JupyterLab", "nbgrader"),
}
DEBIAN = {
    "bwrap": ("bubblewrap", "without it grading uses the weaker sandbox"),
    "chromium": ("chromium", "without it browser tests are skipped"),
    "initdb": ("postgresql", "without it tests of a shared gradebook are skipped"),
}
SIGNS = {"good": "ok", "missing": "--", "wrong": "!!"}


@dataclass(frozen=True)
class Finding:
    """One thing examined: state is good, missing (something optional) or wrong (the course will not work)."""

    what: str
    state: str
    saw: str
    do: str = ""

    def document(self) -> dict:
        """For ``--json``."""
        return asdict(self)


def examine(course: Path) -> list[Finding]:
    """Every examination, in the order one would repair things."""
    parts: list[Callable[[Path], Iterator[Finding]]] = [_python, _versions, _torch, _jupyter, _sandbox, _debian]
    return [finding for part in parts for finding in part(course)]


def show(findings: list[Finding]) -> None:
    """One line each, what to do below it."""
    from rich.console import Console

    console = Console(highlight=False)
    colours = {"good": "green", "missing": "yellow", "wrong": "red"}
    for finding in findings:
        console.print(f"[{colours[finding.state]}]{SIGNS[finding.state]}[/] [bold]{finding.what}[/]: ", end="")
        console.print(finding.saw, markup=False)
        if finding.do and finding.state != "good":
            console.print(f"     {finding.do}", markup=False)
    wrong = sum(finding.state == "wrong" for finding in findings)
    console.print("Everything needed is here." if not wrong else f"{wrong} thing(s) to repair, marked !!")


def _python(_: Path) -> Iterator[Finding]:
    good = PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]
    versions = " to ".join(".".join(map(str, version)) for version in PYTHON)
    saw = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("Python", "good" if good else "wrong", saw, f"the course needs Python {versions}")


def pins(course: Path) -> dict[str, str]:
    """{package: exact version} of requirements.lock as it applies to this machine."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found = {}
    path = course / "requirements.lock"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line.split(" #")[0])
        if requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = next(iter(requirement.specifier)).version
    return found


def needs(extras: tuple[str, ...] = ("course", "grade")) -> set[str]:
    """Names of the packages that the project itself asks for."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found = set()
    for text in metadata.requires("genmodels") or ():
        requirement = Requirement(text)
        wanted = requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in ("", *extras))
        if wanted:
            found.add(canonicalize_name(requirement.name))
    return found


def _versions(course: Path) -> Iterator[Finding]:
    repair = "make lab, or: python -m pip install -c requirements.lock -e '.[course,grade]'"
    locked, absent, other = pins(course), [], []
    for name in sorted(needs()):
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if name in locked and have.split("+")[0] != locked[name].split("+")[0]:
            other.append(f"{name} {have} (lock: {locked[name]})")
    if not locked:
        yield Finding("packages", "missing", "no requirements.lock here to compare with", "run inside the course")
    if absent:
        yield Finding("packages", "wrong", f"not installed: {', '.join(absent)}", repair)
    if other:
        yield Finding("packages", "missing", f"not the tested versions: {', '.join(other)}", repair)
    if locked and not absent and not other:
        yield Finding("packages", "good", f"{len(needs())} packages at the tested versions")


def _torch(_: Path) -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("torch", "wrong", str(error), "python -m pip install -c requirements.lock torch")
        return
    threads = torch.get_num_threads()
    yield Finding("torch", "good", f"{torch.__version__}, {threads} thread{'s' * (threads != 1)}")
    if torch.cuda.is_available():
        gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        saw = f"{torch.cuda.get_device_name()}, {gib:.0f} GiB, CUDA {torch.version.cuda}"
        yield Finding("GPU", "good", saw)
    elif shutil.which("nvidia-smi") and torch.version.cuda is None:
        do = "reinstall torch at the locked version from PyTorch's own CUDA index"
        yield Finding("GPU", "missing", "an NVIDIA driver is here, but this torch is a CPU build", do)
    else:
        mps = torch.backends.mps.is_available()
        saw = "Apple MPS" if mps else "none: the laptop profile is made for this"
        yield Finding("GPU", "good" if mps else "missing", saw)


def _jupyter(_: Path) -> Iterator[Finding]:
    import json

    roots = [Path(path) / "labextensions" for path in _jupyter_paths()]
    for name, (purpose, package) in EXTENSIONS.items():
        found = next((root / name / "package.json" for root in roots if (root / name / "package.json").exists()), None)
        if found:
            version = json.loads(found.read_text(encoding="utf-8")).get("version", "?")
            yield Finding(f"JupyterLab extension {name}", "good", f"{version}: {purpose}")
        else:
            do = f"python -m pip install -c requirements.lock {package}"
            yield Finding(f"JupyterLab extension {name}", "missing", f"not installed: {purpose}", do)


def _jupyter_paths() -> list[str]:
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return []
    return jupyter_path()


def _sandbox(_: Path) -> Iterator[Finding]:
    """The grading side knows its sandboxes: which one this machine gives, and whether it holds when attacked."""
    from autograde.grading.instructor import attack
    from autograde.grading.sandbox import tiers

    tier = tiers.tier()
    state = {tiers.NAMESPACED: "good", tiers.JAILED: "missing"}.get(tier, "wrong")
    repairs = {
        tiers.JAILED: "sudo apt-get install bubblewrap",
        tiers.NONE: "grade on Linux; here only with --i-trust-these-submissions",
    }
    yield Finding("sandbox", state, f"tier {tier}: {tiers.ADVICE[tier]}", repairs.get(tier, ""))
    if tier == tiers.NONE:
        return
    through = attack.self_attack()
    saw = "; ".join(through) if through else "what we tried ourselves did not get through"
    do = "do not grade on this machine before this is repaired" if through else ""
    yield Finding("sandbox under attack", "wrong" if through else "good", saw, do)


def _debian(_: Path) -> Iterator[Finding]:
    if platform.system() != "Linux":
        return
    postgres = any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    for command, (package, without) in DEBIAN.items():
        here = shutil.which(command) or (command == "initdb" and postgres)
        saw = "installed" if here else f"not installed: {without}"
        yield Finding(package, "good" if here else "missing", saw, f"sudo apt-get install {package}")
