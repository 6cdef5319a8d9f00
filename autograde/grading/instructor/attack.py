"""``autograde attack``: hand in every hostile submission we know, grade the class, and look for points and damage."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from autograde.grading.attacks import Attack, escapes, files, impostors, protocol, target
from autograde.grading.feedback import page
from autograde.grading.feedback.clean import TAGS
from autograde.grading.instructor import reports
from autograde.grading.intake import plan
from autograde.grading.record.result import Result
from autograde.grading.running.classrun import ClassRun, Report
from autograde.grading.sandbox import tiers
from autograde.grading.sandbox.tiers import Limits

ATTACKS: list[Attack] = [*impostors.ATTACKS, *escapes.ATTACKS, *protocol.ATTACKS, *files.ATTACKS]
LIMITS = Limits(cell=5, grace=1, total=90, memory=1 << 30, disk=64 << 20, processes=64)
CANARY = "CANARY-of-the-instructor-51d0"
PEER = "PEER-answer-e07c"
PAGE_TAGS = TAGS | set("html head meta title style body main section details summary img".split())


@dataclass
class Outcome:
    """What one hostile submission got, and what it broke."""

    attack: Attack
    points: float
    undeserved: float
    damage: list[str] = field(default_factory=list)
    seconds: float = 0.0


def hand_in(root: Path, name: str, attack: Attack | None, port: int) -> None:
    """Write one submission; None stands for the honest one."""

    def real(text: str) -> str:
        return text.replace("@ROOT@", str(root)).replace("@PORT@", str(port)).replace("@PID@", str(os.getpid()))

    if attack is None:
        prose = {"cell_type": "markdown", "metadata": {}, "source": PEER, "id": "peer"}
        target.write_submission(root, name, target.right(), lambda document: document["cells"].append(prose))
        return
    answers = {grade_id: real(source) for grade_id, source in attack.answers.items()}
    folder = target.write_submission(root, name, answers, attack.edit or (lambda _: None))
    for relative, text in attack.files.items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(text)
    for relative, place in attack.links.items():
        (folder / relative).symlink_to(real(place))


@contextmanager
def listening(root: Path) -> Iterator[tuple[int, list[str]]]:
    """Doors to the outside that must stay shut: TCP, UDP, a unix socket and an abstract one; who came is listed."""
    came: list[str] = []
    tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port = tcp.getsockname()[1]
    udp.bind(("127.0.0.1", port))
    doors = {"TCP": tcp, "UDP": udp}
    for label, address in (("unix socket", str(root / "door")), ("abstract socket", "\0autograde-door")):
        door = socket.socket(socket.AF_UNIX)
        try:
            door.bind(address)
        except OSError:  # the abstract name is the machine's: another run of this very test may hold it
            door.close()
            continue
        door.listen()
        doors[label] = door
    stop = threading.Event()

    def watch(label: str, door: socket.socket) -> None:
        door.settimeout(0.2)
        while not stop.is_set():
            try:
                door.recv(100) if label == "UDP" else door.accept()[0].close()
                came.append(label)
            except TimeoutError:
                continue
            except OSError:
                return

    threads = [threading.Thread(target=watch, args=pair, daemon=True) for pair in doors.items()]
    for thread in threads:
        thread.start()
    try:
        yield port, came
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for door in doors.values():
            door.close()


def digest(paths: Iterable[Path]) -> str:
    """Of files that must not change."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        whole.update(f"{path} {path.lstat().st_mode}".encode() + path.read_bytes())
    return whole.hexdigest()


def left_behind() -> list[str]:
    """Processes that still carry our sandboxes' environment, and files with the attacks' names outside it."""
    found, ours = [], f"{tiers.RUN}={os.getpid()}\0".encode()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if ours in Path(f"/proc/{name}/environ").read_bytes():
                found.append(f"process {name}: {Path(f'/proc/{name}/cmdline').read_bytes()[:80]!r}")
        except OSError:
            continue
    for folder in ("/tmp", "/dev/shm", "/var/tmp", "/etc", "/usr", "/work"):
        found += [str(p) for p in Path(folder).glob("*evil*")] + [str(p) for p in Path(folder).glob("beacon*")]
    return found


def leaks(result: Result) -> list[str]:
    """Secrets in what the student's side printed."""
    tests = {test.grade_id for test in result.tests}
    found = []
    for cell in result.cells:
        said = json.dumps([o for o in cell.outputs if o["output_type"] == "stream" or cell.index is None])
        if cell.source and cell.index is not None and not tests:
            said = json.dumps(cell.outputs)
        found += [f"read {word}" for word in (target.SECRET, CANARY, PEER) if word in said]
    return sorted(set(found))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Whether a browser could be made to do something."""
        if tag not in PAGE_TAGS:
            self.bad.append(f"<{tag}>")
        for name, value in attrs:
            target = (value or "").strip().lower()
            if name.startswith("on") or name == "srcdoc" or target.startswith(("javascript:", "vbscript:")):
                self.bad.append(f"{tag} {name}")
            if name == "src" and not target.startswith("data:image/"):
                self.bad.append(f"{tag} {name}={target[:40]}")


def active(page: str) -> list[str]:
    """Active content and hidden tests in a feedback page."""
    parser = _Page()
    parser.feed(page)
    return parser.bad + (["a hidden test"] if target.SECRET in page else [])


def _grade(root: Path, names: list[str], jobs: int, tick: object) -> tuple[ClassRun, Report]:
    run = ClassRun(plan.load(target.CHAPTER, root), root, LIMITS, jobs, f"sqlite:///{root / 'gradebook.db'}")
    return run, run.run(names, lambda _: None, tick)


def attack(
    names: list[str] | None = None, jobs: int = 2, tick: object = lambda _: None
) -> tuple[list[Outcome], list[str]]:
    """Run the attacks (all, or those named); the outcomes, and damage that cannot be laid at one door."""
    chosen = [a for a in ATTACKS if not names or a.name in names]
    everyone: list[str] = []
    os.environ["AUTOGRADE_CANARY"] = CANARY
    with tempfile.TemporaryDirectory(prefix="autograde-attack-") as temporary:
        root = Path(temporary)
        os.chmod(root, 0o755)
        target.write_course(root)
        before = set(left_behind())
        with listening(root) as (port, came):
            hand_in(root, "honest", None, port)
            _, first = _grade(root, ["honest"], 1, lambda _: None)
            hand_in(root, "honest again", None, port)
            students = {a.student or a.name: a for a in chosen}
            for name, one in students.items():
                hand_in(root, name, one, port)
            kept = [*root.glob("source/**/*.ipynb"), *root.glob("submitted/honest/**/*.ipynb")]
            safe = digest(kept)
            run, report = _grade(root, [*students, "honest again"], jobs, tick)
            everyone += [f"someone came in by {label}" for label in sorted(set(came))]
        everyone += ["source or a peer's file changed"] if digest(kept) != safe else []
        everyone += [f"left behind: {thing}" for thing in left_behind() if thing not in before]
        most = run.plan.max_score
        marks = reports.marks(run.plan, run.db)
        for name in ("honest", "honest again"):
            if sum(score for score, _, _ in marks[name].values()) != most:
                everyone.append(f"{name} did not get full marks: {[*first.rows, *report.rows][0]}")
        return [_outcome(run, report, root, marks, name, one) for name, one in students.items()], everyone


def _outcome(run: ClassRun, report: Report, root: Path, marks: dict, name: str, one: Attack) -> Outcome:
    row = next(row for row in report.rows if row.student == name)
    if row.result is None:
        return Outcome(one, 0.0, 0.0, [] if one.kind == "metadata" else [f"not graded: {row.problem}"])
    points = sum(score for score, _, _ in marks[name].values())
    written = page.write(run.plan, root, row.result, marks[name]).read_text(encoding="utf-8")
    damage = leaks(row.result) + [f"feedback: {thing}" for thing in active(written)]
    return Outcome(one, points, max(0.0, points - one.earns), damage, row.result.seconds)


def self_attack() -> list[str]:
    """What got through when a few of our own hostile submissions tried this very sandbox; empty where nothing did."""
    outcomes, damage = attack(["read-the-course", "write-the-course", "kill-the-grader", "send-away", "leave-behind"])
    return [f"{o.attack.name}: {what}" for o in outcomes for what in o.damage] + damage
