"""A folder for one term: chapters as nbgrader's assignments with due dates, the roster, and what to do each week."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from autograde.authoring import build, notebooks
from autograde.errors import Refusal

ROSTER = ("id", "first_name", "last_name", "email")
CONFIG = """# nbgrader's settings of this course; grading goes through autograde's sandboxes.
from autograde.grading.instructor.preprocessors import configure

c = get_config()
configure(c)
c.CourseDirectory.course_id = {name!r}
# c.Exchange.root = "/srv/nbgrader/exchange"  # where JupyterHub's users meet
# How Canvas names the files of a download (login_LATE_4711_90001_foundations-1.ipynb), for `nbgrader zip_collect`:
c.FileNameCollectorPlugin.named_regexp = (
    r".*/(?P<student_id>[^/_]+)(_LATE)?_\\d+_\\d+_(?P<file_id>[a-z_]+?)(-\\d+)?\\.ipynb"
)
"""
README = """# {name}

| chapter | due ({zone}) |
|---|---|
{rows}

Each week, in this folder, with the project's environment active:

```bash
nbgrader release_assignment {first}   # JupyterHub: to the exchange; otherwise hand out release/{first}
nbgrader collect {first}              # JupyterHub; or nbgrader zip_collect {first} after an LMS download
autograde grade {first}               # stop it when you like, the same command goes on
autograde feedback {first}            # feedback/STUDENT/{first}/
nbgrader release_feedback {first}     # JupyterHub
autograde export grades.csv           # --into EXPORTED.csv for Canvas or Moodle
```

`nbgrader formgrader` shows the same: assignments, submissions, and the written questions that a person grades.
A due date is changed there, under *Manage Assignments*; what arrives later is marked late.
"""


def new_course(
    course: Path,
    to: Path,
    *,
    start: str | None = None,
    days: int = 7,
    zone: str = "UTC",
    roster: Path | None = None,
) -> list[tuple[str, datetime | None]]:
    """Lay out the folder ``to``: source/, release/, submitted/, gradebook.db, nbgrader_config.py and a page.

    ``start`` is the day (YYYY-MM-DD) on which the first chapter is due, at 23:59 in ``zone``; the others follow every
    ``days`` days. ``roster`` is a CSV with the columns of ``ROSTER``, of which only the first is needed. Returns the
    chapters with their due dates. Raises Refusal before anything is written.
    """
    to = to.resolve()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise Refusal(f"{to} is not an empty folder; name a new one")
    every = build.chapters(course)
    dues = _dues(len(every), start, days, zone)
    people = _people(roster) if roster else []
    for chapter in every:
        files = build.released(chapter)
        for folder, held in (("release", files), ("source", files | _source(chapter))):
            for name, data in held.items():
                path = to / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    (to / "submitted").mkdir()
    (to / "nbgrader_config.py").write_text(CONFIG.format(name=to.name), encoding="utf-8")
    _register(to, [chapter.id for chapter in every], dues, people)
    told = [due.astimezone(ZoneInfo(zone)).strftime("%a %d %b %Y, %H:%M") if due else "" for due in dues]
    rows = "\n".join(f"| {chapter.id} | {due} |" for chapter, due in zip(every, told, strict=True))
    page = README.format(name=to.name, zone=zone, rows=rows, first=every[0].id)
    (to / "README.md").write_text(page, encoding="utf-8")
    return list(zip((chapter.id for chapter in every), dues, strict=True))


def _source(chapter: object) -> dict[str, bytes]:
    """nbgrader's source notebook, hidden cases in it: the instructor's only."""
    return {f"{chapter.id}/{chapter.name}.ipynb": notebooks.write(notebooks.source(chapter)).encode()}


def _dues(count: int, start: str | None, days: int, zone: str) -> list[datetime | None]:
    if start is None:
        return [None] * count
    try:
        here = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise Refusal(f"no time zone {zone!r}; write it as in Europe/Berlin") from None
    try:
        first = datetime.strptime(start, "%Y-%m-%d").date()  # noqa: DTZ007 (a day; the zone comes with the hour)
    except ValueError:
        raise Refusal(f"the first due date must be YYYY-MM-DD, as in 2027-04-23; got {start!r}") from None
    if days < 1:
        raise Refusal(f"chapters are due at least a day apart; got {days}")
    on = [datetime.combine(first + timedelta(days=k * days), time(23, 59), here) for k in range(count)]
    return [due.astimezone(UTC) for due in on]


def _people(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"cannot read {path}: {error}") from None
    if not rows or "id" not in rows[0]:
        raise Refusal(f"{path} must begin with the line {','.join(ROSTER)}, of which only id is needed")
    names = [(row["id"] or "").strip() for row in rows]
    odd = [name for name in names if not name or "/" in name or "+" in name or name.startswith(".")]
    if odd:
        raise Refusal(f"{path}: {odd[0]!r} cannot be a student's folder; ids are neither empty nor hold / or +")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Refusal(f"{path} names {', '.join(twice)} twice")
    return [{key: (row.get(key) or "").strip() for key in ROSTER} for row in rows]


def _register(root: Path, ids: list[str], dues: list[datetime | None], people: list[dict[str, str]]) -> None:
    from autograde.grading.intake import plan
    from autograde.grading.record import gradebook
    from autograde.grading.running.settings import gradebook_url

    db = gradebook_url(root, None)
    for name in ids:
        gradebook.register(plan.load(name, root), db)
    with gradebook.session(db) as book:
        for name, due in zip(ids, dues, strict=True):
            book.update_or_create_assignment(name, duedate=due and due.replace(tzinfo=None))
        for person in people:
            own = {key: value for key, value in person.items() if key != "id" and value}
            book.update_or_create_student(person["id"], **own)
