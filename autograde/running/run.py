"""``autograde run``: papermill over the solution notebooks; what it cost, and the numbers the notebook published."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autograde.authoring import notebooks
from autograde.authoring.build import FIGURES, chapters
from autograde.authoring.chapters import Chapter, read
from autograde.errors import Refusal

if TYPE_CHECKING:
    from nbformat import NotebookNode

PROFILES = {"smoke": 120, "laptop": 900, "gpu": None}  # seconds that one cell may take
MIME = "application/vnd.genmodels.metric+json"
COST = "autograde: cost"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")

# Runs last, in the kernel. VmHWM is the peak of this program alone; ru_maxrss would inherit the parent's.
METER = f"""\
import sys as _sys, time as _time
from IPython.display import display as _display
if _sys.platform == "linux":
    with open("/proc/self/status") as _file:
        _peak = next(int(_line.split()[1]) / 1e3 for _line in _file if _line.startswith("VmHWM"))
elif _sys.platform == "darwin":
    import resource as _resource
    _peak = _resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss / 1e6
else:
    import psutil as _psutil
    _peak = _psutil.Process().memory_info().peak_wset / 1e6
_torch = _sys.modules.get("torch")
_display({{{MIME!r}: {{
    "name": {COST!r}, "memory_mb": round(_peak), "cpu_seconds": _time.process_time(),
    "cores": _torch.get_num_threads() if _torch else 1, "torch": _torch.__version__ if _torch else "",
    "device": _torch.cuda.get_device_name() if _torch and _torch.cuda.is_available() else "CPU",
}}, "text/plain": "cost"}}, raw=True)
"""


@dataclass(frozen=True)
class Settings:
    """How to run: the profile, whether to train, and which of the two notebooks."""

    profile: str = "smoke"
    train: bool = True
    students: bool = False

    def __post_init__(self):
        if self.profile not in PROFILES:
            raise Refusal(f"no profile {self.profile!r}; there are {', '.join(PROFILES)}")


@dataclass
class Report:
    """One run: its cost, its published numbers, and where and why it stopped if it did."""

    chapter: str
    profile: str
    seconds: float = 0.0
    training_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_mb: int = 0
    cores: int = 0
    torch: str = ""
    device: str = ""
    metrics: list[dict] = field(default_factory=list)
    error: str = ""
    notebook: str = ""

    def document(self) -> dict:
        """For ``--json``."""
        return asdict(self)


def run(
    course: Path,
    names: list[str] | None = None,
    settings: Settings | None = None,
    *,
    jobs: int = 1,
    record: bool = False,
    quiet: bool = False,
) -> list[Report]:
    """Run the chapters; executed notebooks go to out/run/. ``record`` keeps the numbers for the front pages."""
    import os
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    settings = settings or Settings()
    if record and (settings.students or not settings.train):
        raise Refusal(
            "--record keeps what a whole run of the solution costs: leave out --no-train and the other notebook"
        )
    chosen = chapters(course, names)
    jobs = min(jobs or os.cpu_count() or 1, len(chosen) or 1)
    bar = not quiet and jobs == 1 and sys.stderr.isatty()
    if jobs == 1:
        reports = [_one(chapter.folder, course, settings, bar) for chapter in chosen]
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            work = [pool.submit(_one, chapter.folder, course, settings, False) for chapter in chosen]
            reports = [future.result() for future in work]
    if record:
        for chapter, report in zip(chosen, reports, strict=True):
            if not report.error:
                keep(chapter, report)
    return reports


def keep(chapter: Chapter, report: Report) -> None:
    """Write the run into solutions/NN_name/measured.json, beside the other profiles."""
    cost = ("seconds", "training_seconds", "cpu_seconds", "memory_mb", "cores", "torch", "device", "metrics")
    document = notebooks.measured(chapter) | {report.profile: {k: v for k, v in asdict(report).items() if k in cost}}
    path = chapter.folder / "measured.json"
    path.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def show(reports: list[Report]) -> None:
    """A table of costs, the published numbers below, and the failures last."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("chapter", "profile", "seconds", "training", "CPU s", "peak MB"):
        table.add_column(name, justify="left" if name in ("chapter", "profile") else "right", no_wrap=True)
    for r in reports:
        cells = (f"{r.seconds:.1f}", f"{r.training_seconds:.1f}", f"{r.cpu_seconds:.1f}", str(r.memory_mb))
        table.add_row(r.chapter, r.profile, *cells, style="red" if r.error else "")
    console.print(table)
    for r in reports:
        for m in r.metrics:
            floor = "" if m.get("floor") is None else f"   floor {m['floor']:.4g}"
            value = m["value"] if isinstance(m["value"], str) else f"{m['value']:.4g}"
            note = f"   ({m['note']})" if m.get("note") else ""
            console.print(f"{r.chapter}  {m['name']}: {value} {m.get('unit', '')}{floor}{note}", markup=False)
    for r in reports:
        if r.error:
            console.print(f"{r.chapter}: {r.error}", style="red", markup=False)


@contextmanager
def _nobody_watches() -> Iterator[None]:
    """The kernel inherits the environment: labs draw one still picture each (coursekit.lab.static)."""
    ours = {"COURSE_STATIC": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # the second as in ``make lab``
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update({name: before[name] or value for name, value in ours.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _one(folder: Path, course: Path, settings: Settings, bar: bool) -> Report:
    """Run one chapter in a fresh kernel."""
    import logging
    import time

    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from autograde.running import autosave

    logging.getLogger("papermill").setLevel(logging.ERROR)
    chapter = read(folder)
    place = course / "out" / "run" / (settings.profile + "-student" * settings.students) / chapter.id
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if (folder / "assets").is_dir():
        shutil.copytree(folder / "assets", place / "assets")
    executed = place / f"{chapter.name}.ipynb"
    report = Report(chapter.id, settings.profile, notebook=str(executed.relative_to(course)))
    source = place / "input.ipynb"
    nbformat.write(to_run(chapter, settings.students), source)
    start, failure = time.monotonic(), ""
    if (figures := chapter.folder / FIGURES).exists():
        shutil.copy(figures, place)
    try:
        with _nobody_watches():
            papermill.execute_notebook(
                str(source),
                str(executed),
                parameters={"PROFILE": settings.profile, "TRAIN": settings.train},
                engine_name=autosave.register(),
                kernel_name="python3",
                progress_bar=bar,
                cwd=str(place),
                execution_timeout=PROFILES[settings.profile],
            )
    except (papermill.PapermillExecutionError, CellTimeoutError, DeadKernelError) as error:
        failure = f"{type(error).__name__}: {error}"
    report.seconds = round(time.monotonic() - start, 1)
    source.unlink()
    collect(chapter, nbformat.read(executed, as_version=4), report)
    if failure and not report.error:
        report.error = failure.strip()[-1500:]
    return report


def to_run(chapter: Chapter, students: bool) -> NotebookNode:
    """The notebook to execute: the solution, or what students get with the reference answers, and the meter."""
    from nbformat import v4

    if students:
        answers = {e.name: e.reference for e in chapter.exercises if e.answer.is_answer}
        notebook = notebooks.student(chapter, answers)
    else:
        notebook = notebooks.solution(chapter)
    notebook.cells.append(v4.new_code_cell(METER, id="cost", metadata={"tags": ["remove-cell"]}))
    return notebook


def collect(chapter: Chapter, executed: NotebookNode, report: Report) -> None:
    """Read the published numbers, the training seconds and the first failure back from an executed notebook."""
    lines = {node.id: cell for node, cell in zip(notebooks.solution(chapter).cells, chapter.cells, strict=True)}
    for node in executed.cells:
        if node.cell_type != "code":
            continue
        seconds = node.metadata.get("papermill", {}).get("duration") or 0.0
        if "train" in node.metadata.get("tags", []):
            report.training_seconds = round(report.training_seconds + seconds, 1)
        for output in node.outputs:
            if data := output.get("data", {}).get(MIME):
                if data["name"] == COST:
                    report.cpu_seconds = round(data["cpu_seconds"], 1)
                    for key in ("memory_mb", "cores", "torch", "device"):
                        setattr(report, key, data[key])
                    # a chapter that goes back to one thread at its end has used more before
                    report.cores = max(report.cores, round(report.cpu_seconds / max(report.seconds, 1e-9)))
                else:
                    report.metrics.append(dict(data))
            if output.output_type == "error" and not report.error:
                where = chapter.where(lines[node.id]) if node.id in lines else "a cell of the run itself"
                report.error = f"{where}\n{brief(output)}"


def brief(output: dict, lines: int = 15) -> str:
    """The end of a traceback, without colours."""
    text = _ANSI.sub("", "\n".join(output.get("traceback", [])) or f"{output['ename']}: {output['evalue']}")
    kept = text.strip().split("\n")
    return "\n".join([*(["..."] if len(kept) > lines else []), *kept[-lines:]])
