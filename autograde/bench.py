"""How fast is grading? Plain nbgrader and ours on the same files, end to end with the gradebook.

``python -m autograde.bench 01 --size 30`` prints seconds, submissions a minute, memory and where our time goes.
Training and figures (cells tagged ``lab``) are taken out for both: ours would skip them, nbgrader would run them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from autograde.authoring.chapters import Chapter, root, select


def make_class(chapter: Chapter, folder: Path, size: int) -> Any:
    """``size`` submissions that differ: references, alternatives and mistakes in turn; nbgrader's source notebook."""
    import nbformat

    from autograde.authoring import notebooks
    from autograde.authoring.notebooks import student as notebook_with
    from autograde.authoring.variants import variants

    choices = {e.name: itertools.cycle(variants(chapter, e)[:-1]) for e in chapter.exercises}
    for number in range(size):
        notebook = notebook_with(chapter, {name: next(options).source for name, options in choices.items()})
        path = folder / "submitted" / f"s{number:04d}" / chapter.id / f"{chapter.name}.ipynb"
        path.parent.mkdir(parents=True)
        notebook.cells.append(nbformat.v4.new_markdown_cell(f"student {number}", id="own"))
        path.write_text(nbformat.writes(_without_labs(notebook)))
        for options in list(choices.values())[: number % len(choices)]:
            next(options)
    source = _without_labs(notebooks.source(chapter))
    path = folder / "source" / chapter.id / f"{chapter.name}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(source, path)
    return source


def _without_labs(notebook: Any) -> Any:
    notebook.cells = [c for c in notebook.cells if "lab" not in c.metadata.get("tags", [])]
    return notebook


class Memory:
    """The largest sum of the memory of this process and all it started, sampled."""

    def __init__(self) -> None:
        self.peak, self.stop = 0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop.set()
        self.thread.join()

    def _watch(self) -> None:
        import psutil

        me = psutil.Process()
        while not self.stop.wait(2.0):  # a look at the shared pages of a dozen processes takes a tenth of a second
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)


def ours(folder: Path, chapter: str, jobs: int) -> dict:
    """Grade with the split judge; seconds by part."""
    from autograde.grading.instructor import session
    from autograde.grading.record import gradebook

    spent = {"record": 0.0}
    write = gradebook.Writer.write

    def timed(*arguments: Any) -> Any:
        start = time.monotonic()
        try:
            return write(*arguments)
        finally:
            spent["record"] += time.monotonic() - start

    gradebook.Writer.write = timed
    try:
        with Memory() as memory:
            start = time.monotonic()
            report = session.run(folder, chapter, session.Options(jobs=jobs), quiet=True)
            seconds = time.monotonic() - start
    finally:
        gradebook.Writer.write = write
    scores = {row.student: row.score for row in report.rows}
    inside = sum(row.result.seconds for row in report.rows if row.result)
    parts = {
        "start-up and reference": report.warm,
        "in the sandboxes, over all jobs": inside,
        "recording": spent["record"],
    }
    return {"seconds": seconds, "scores": scores, "parts": parts, "memory": memory.peak, "count": len(report.rows)}


def plain(folder: Path, chapter: Chapter, source: Any, size: int) -> dict:
    """The same files with nbgrader as it comes."""
    from autograde.grading.intake import plan
    from autograde.grading.record import gradebook

    other = folder / "plain"
    other.mkdir()
    for name in ("source", "submitted"):
        shutil.copytree(folder / name, other / name)
    for extra in sorted((other / "submitted").iterdir())[size:]:
        shutil.rmtree(extra)
    made = plan.make(chapter.id, chapter.name, source)
    gradebook.register(made, f"sqlite:///{other / 'gradebook.db'}")
    binaries = os.path.dirname(sys.executable)
    env = os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    command = [f"{binaries}/nbgrader", "autograde", chapter.id]
    done = subprocess.run(command, cwd=other, env=env, capture_output=True, text=True)
    seconds = time.monotonic() - start
    with gradebook.session(f"sqlite:///{other / 'gradebook.db'}") as book:
        scores = {s.student.id: s.score for s in book.assignment_submissions(chapter.id)}
    return {"seconds": seconds, "scores": scores, "count": size, "errors": done.stderr if done.returncode else ""}


def light(folder: Path, size: int, jobs: int) -> None:
    """A large class of a small chapter, killed in the middle and started again: nothing is lost, nothing doubled."""
    from autograde.grading.attacks import target
    from autograde.grading.instructor import reports, session
    from autograde.grading.running.settings import gradebook_url

    target.write_course(folder)
    right = target.right()
    for number in range(size):
        wrong = f", 'no': {number}" if number % 3 else ""
        own = f"def facts():\n    return {{'squares': 328350, 'two': [1, 1]{wrong}}}\n# {number}"
        target.write_submission(folder, f"s{number:05d}", right | {"facts": own})
    command = [sys.executable, "-c", "from autograde.cli import main; main()", "grade", "07", "--root", str(folder)]
    recorded = folder / ".autograde" / target.CHAPTER / "recorded"
    start = time.monotonic()
    with Memory() as memory:
        first = subprocess.Popen([*command, "--jobs", str(jobs)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while first.poll() is None and len(list(recorded.glob("[0-9a-f]*"))) < size // 2:
            time.sleep(0.1)
        first.kill()
        first.wait()
        done = len(list(recorded.glob("[0-9a-f]*")))
        report = session.run(folder, "07", session.Options(jobs=jobs), quiet=True)
    seconds = time.monotonic() - start
    marks = reports.marks(session.planning.load("07", folder), gradebook_url(folder, None))
    wrong = [n for n in range(size) if sum(m[0] for m in marks[f"s{n:05d}"].values()) != (8 if n % 3 else 10)]
    print(f"light class    {size:>5} submissions {seconds:>8.1f} s {60 * size / seconds:>8.1f} a minute")
    print(
        f"    killed by SIGKILL after {done} were recorded; the second run graded {sum(r.fresh for r in report.rows)}"
    )
    print(
        f"    {len(marks)} students in the gradebook, {len(wrong)} wrong scores, {memory.peak / 2**30:.2f} GB at most"
    )


def main() -> None:
    """Print the comparison."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("chapter", nargs="?", default="01")
    arguments.add_argument("--size", type=int, default=30, help="submissions in the class")
    arguments.add_argument(
        "--plain", type=int, default=None, help="how many of them plain nbgrader grades; default all"
    )
    arguments.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--light", type=int, default=0, help="instead: a light class of this size, killed half-way")
    options = arguments.parse_args()
    if options.light:
        with tempfile.TemporaryDirectory(prefix="autograde-bench-") as temporary:
            light(Path(temporary), options.light, options.jobs)
        return
    chapter = select(root(), [options.chapter])[0]
    with tempfile.TemporaryDirectory(prefix="autograde-bench-") as temporary:
        folder = Path(temporary)
        source = make_class(chapter, folder, options.size)
        mine = ours(folder, options.chapter, options.jobs)
        per = mine["seconds"] / mine["count"]
        print(f"ours           {mine['count']:>5} submissions {mine['seconds']:>8.1f} s {60 / per:>8.1f} a minute")
        for name, seconds in mine["parts"].items():
            print(f"    {name:<34} {seconds:>8.1f} s")
        print(f"    {'peak memory':<34} {mine['memory'] / 2**30:>8.2f} GB")
        count = options.size if options.plain is None else options.plain
        if count:
            other = plain(folder, chapter, source, count)
            theirs = other["seconds"] / other["count"]
            print(f"plain nbgrader {count:>5} submissions {other['seconds']:>8.1f} s {60 / theirs:>8.1f} a minute")
            print(f"ratio {theirs / per:.1f} (submissions a minute)")
            differ = [s for s, score in other["scores"].items() if score != mine["scores"].get(s)]
            print(f"{len(differ)} of {count} scores differ" + (f": {', '.join(differ[:5])}" if differ else ""))
            print(other["errors"][-2000:])


if __name__ == "__main__":
    main()
