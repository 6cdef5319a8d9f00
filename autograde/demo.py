"""``make grade-demo``: a class of eight made from the solution, graded, each score beside the one it deserves."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from autograde.authoring.chapters import Chapter, root, select

CRASH = "import os\n\n\ndef {name}(*args, **kwargs):\n    os._exit(1)\n"
LOOP = "def {name}(*args, **kwargs):\n    while True:\n        pass\n"
CHEAT = '''
class Yes(float):
    """Equal to everything, and true."""

    def __eq__(self, other): return True
    __hash__ = float.__hash__
    def __getattr__(self, name): return lambda *a, **k: self
    def __call__(self, *a, **k): return self
    def __sub__(self, other): return 0.0


import torch
torch.allclose = torch.equal = lambda *a, **k: True
{name} = Yes()
'''


@dataclass(frozen=True)
class Student:
    """One of the class: what is in the answer cells, which exercises lose their points, and why."""

    name: str
    about: str
    answers: dict[str, str]
    loses: tuple[str, ...] = ()


def cast(chapter: Chapter) -> list[Student]:
    """The class, from the reference, the alternatives and the known mistakes of the chapter."""
    from autograde.authoring.variants import variants

    every = {e.name: variants(chapter, e) for e in chapter.exercises}
    right = {name: options[0].source for name, options in every.items()}
    other = {name: next((v.source for v in options if v.kind == "alternative"), "") for name, options in every.items()}
    other = {name: source or right[name] for name, source in other.items()}
    wrong = [(name, v) for name, options in every.items() for v in options if v.kind == "mutant"]
    names = list(right)
    firsts = {name: next((v for n, v in wrong if n == name), None) for name in names}
    one, two = names[0], names[min(2, len(names) - 1)]
    lasts = {name: [v for n, v in wrong if n == name][-1:] for name in (names[-1], names[len(names) // 2])}
    return [
        Student("alice", "right", right),
        Student("bela", "right, in another style", other),
        Student("carla", f"wrong in {one}", right | {one: firsts[one].source}, (one,)),
        Student("dmitri", "wrong in two places", right | {n: v[0].source for n, v in lasts.items()}, tuple(lasts)),
        Student("emi", "blank", {}, tuple(names)),
        Student("farid", f"crashes in {two}", right | {two: CRASH.format(name=two)}, (two,)),
        Student("gita", f"loops for ever in {one}", right | {one: LOOP.format(name=one)}, (one,)),
        Student("hugo", "cheats everywhere", {n: CHEAT.format(name=n) for n in names}, tuple(names)),
    ]


def build(chapter: Chapter, folder: Path) -> list[Student]:
    """Write the class into ``folder/submitted`` as students would hand it in."""
    from autograde.authoring.notebooks import student as notebook_with
    from autograde.authoring.notebooks import write

    students = cast(chapter)
    for student in students:
        path = folder / "submitted" / student.name / chapter.id / f"{chapter.name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write(notebook_with(chapter, student.answers)), encoding="utf-8")
    return students


def main() -> int:
    """Build, grade, write feedback, compare; 1 if a score is not the deserved one."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from autograde.grading.instructor import session

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("chapter", nargs="?", default="01")
    arguments.add_argument("--folder", type=Path, default=None, help="where to build the class; default: grade-demo")
    options = arguments.parse_args()
    course = root()
    chapter = select(course, [options.chapter])[0]
    folder = (options.folder or course / "grade-demo").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    students = build(chapter, folder)
    report = session.run(folder, options.chapter, session.Options(timeout=10), course=course)
    session.feedback(folder, options.chapter, None, None, course=course)
    points = {exercise.name: exercise.points for exercise in chapter.exercises}
    rows = {row.student: row for row in report.rows}
    table = Table(title=f"{chapter.id}: a class of eight", title_justify="left")
    for column in ("student", "handed in", "score", "deserved", "what the feedback says first"):
        table.add_column(column, overflow="fold", justify="right" if column in ("score", "deserved") else "left")
    wrong = 0
    for student in students:
        row = rows[student.name]
        deserved = sum(points.values()) - sum(points[name] for name in student.loses)
        wrong += row.score != deserved
        told = session.first_reason(row.result) if row.result else row.problem
        mark = "" if row.score == deserved else "  <-- not what it deserves"
        score = "not graded" if row.score is None else f"{row.score:g}"
        table.add_row(student.name, student.about, score + mark, f"{deserved:g}", Text(told))
    console = Console(width=max(110, Console().width))
    console.print(table)
    print(f"graded in {report.seconds:.1f} s, start-up {report.warm:.1f} s; the pages are in {folder / 'feedback'}")
    print(*report.problems, sep="\n", end="\n" if report.problems else "")
    return 1 if wrong or report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
