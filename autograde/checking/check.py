"""``autograde check``: is the grader itself right? Every exercise is tried with right, wrong and missing answers."""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from autograde.authoring import library_answers, records
from autograde.authoring.build import chapters
from autograde.authoring.chapters import Cell, Chapter, Exercise
from autograde.authoring.variants import Variant, every, variants
from autograde.checking import candidates
from autograde.checking.forks import Outcome, run_all
from autograde.checking.recorded import Recorded
from autograde.checking.report import ALTERNATIVES, KINDS, MUTANTS, NAMED, Derived, Report, Trial, flat
from autograde.checking.spoiled_networks import SEEN, probe, vandal
from autograde.checking.trial import Bench
from autograde.errors import Refusal

SLACK = 20.0  # a trial may take this many times the reference's processor time ...
COSTLY = 10.0  # seconds for all the seeds of one check; a whole chapter should take 15
LEAST = 8.0  # ... and at least so many seconds, before it counts as endless


def check(
    course: Path,
    names: list[str] | None = None,
    *,
    exercises: list[str] | None = None,
    jobs: int = 0,
    seeds: int = 200,
    thorough: bool = False,
    quiet: bool = False,
) -> list[Report]:
    """Try every exercise of the chapters named; a report with problems is one that must not be released."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # autograd threads of a GPU build do not survive a fork
    os.environ.setdefault("MPLBACKEND", "Agg")
    import torch

    torch.set_num_threads(1)
    jobs = jobs or os.cpu_count() or 1
    chosen = chapters(course, names)
    known = {exercise.name for chapter in chosen for exercise in chapter.exercises}
    if unknown := set(exercises or ()) - known:
        raise Refusal(f"no exercise {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    for chapter in chosen:
        every(chapter)
        records.records(chapter)  # malformed cases are refused before anything is tried
    wanted, inside = set(exercises or known), jobs if len(chosen) == 1 else 1  # several: one processor each
    work = {c.id: lambda c=c: _chapter(c, wanted, inside, seeds, thorough) for c in chosen}
    reports: list[Report] = []
    for name, outcome in run_all(work, jobs=jobs, quiet=False, seen=None if quiet else _progress).items():
        reports += [_revive(event) for event in outcome.events]
        if outcome.died:
            reports.append(Report(name, "(chapter)", 0, problems=[outcome.died.strip()]))
    return reports


def _chapter(chapter: Chapter, wanted: set[str], jobs: int, seeds: int, thorough: bool) -> Iterator[dict]:
    """In a process of its own: run the chapter's ordinary cells once, and fork at each exercise."""
    import coursekit.checks  # noqa: F401  imported before the forks, not in each

    candidates.prepare(chapter)
    bench, starts = Bench(chapter), {e.answer.index: e for e in chapter.exercises if e.answer.is_answer}
    skip = {cell.index for e in chapter.exercises for cell in e.checks}
    for cell in chapter.cells:
        if cell.kind != "code" or cell.is_lab or cell.index in skip:
            continue
        if cell.index in starts and starts[cell.index].name in wanted:
            exercise = starts[cell.index]
            recorded = any(records.asked(c.source) for c in exercise.checks)
            tried = Recorded(chapter, exercise, bench.names, jobs, seeds, thorough) if recorded else None
            yield asdict((tried or _Examination(bench, exercise, jobs, seeds)).report())
        try:
            bench.run(cell)
        except Exception as error:  # whatever an author's cell raises is what the author must read
            hint = "; an ordinary cell may use neither lab cells nor names that check cells bind"
            problem = f"{chapter.where(cell)}: {type(error).__name__}: {error}"
            yield asdict(Report(chapter.id, "(chapter)", 0, problems=[problem + hint * isinstance(error, NameError)]))
            return


class _Examination:
    """All trials of one exercise."""

    def __init__(self, bench: Bench, exercise: Exercise, jobs: int, seeds: int):
        self.bench, self.exercise, self.jobs, self.seeds = bench, exercise, jobs, seeds
        self.result = Report(bench.chapter.id, exercise.name, exercise.points, seeds=seeds)

    def report(self) -> Report:
        """Reference first: it sets the time limit. A mutant next, alone: what failing imports, the others need not."""
        reference, *others = variants(self.bench.chapter, self.exercise)
        first = self.run([reference], None)[0]
        limit = max(LEAST, SLACK * first.seconds)
        others.sort(key=lambda variant: variant.kind != "mutant")
        trials = [first, *self.run(others[:1], limit), *self.run(others[1:], limit)]
        self.result.trials = sorted(trials, key=lambda trial: KINDS.index(trial.kind))
        if first.full:
            self.repeat(reference, first)
            self.vandal(reference, limit)
        self.library()
        self.result.problems += judge(self.exercise, self.result)
        return self.result

    def run(self, some: list[Variant], limit: float | None) -> list[Trial]:
        tasks = {str(i): lambda v=v: self.bench.trial(self.exercise, v.source) for i, v in enumerate(some)}
        outcomes = run_all(tasks, jobs=self.jobs, seconds=limit)
        return [self.trial(v, outcomes[str(i)]) for i, v in enumerate(some)]

    def trial(self, variant: Variant, outcome: Outcome) -> Trial:
        trial = Trial(variant.kind, variant.name, variant.says, seconds=outcome.seconds)
        self.result.seconds += outcome.seconds
        for event in outcome.events:
            _warm(event.get("modules", ()))
            if "check" in event:
                trial.checks[event["check"]] = (event["visible"], event["hidden"])
                trial.random += [event["check"]] if event["drew"] else []
        if outcome.died:
            trial.died = True
            for cell in self.exercise.checks:
                trial.checks.setdefault(cell.grade_id or "", (f"{self.exercise.name} {outcome.died}", ""))
        elif errors := [event["answer"] for event in outcome.events if "answer" in event]:
            trial.error = errors[0]
        return trial

    def repeat(self, reference: Variant, first: Trial) -> None:
        """The reference under many seeds, for the checks that use SEED or draw from a global stream."""
        for cell in self.exercise.checks:
            if not _statistical(cell) and cell.grade_id not in first.random:
                continue
            share = -(-self.seeds // self.jobs)
            parts = [range(k, min(k + share, self.seeds)) for k in range(0, self.seeds, share)]
            tasks: dict[str, Callable] = {
                str(part): lambda c=cell, p=part: self.bench.seeds(self.exercise, c, reference.source, p)
                for part in parts
            }
            outcomes = run_all(tasks, jobs=self.jobs).values()
            failures = [event for outcome in outcomes for event in outcome.events]
            spent = sum(outcome.seconds for outcome in outcomes)
            self.result.seconds += spent
            if spent > COSTLY:
                each = f"{spent / self.seeds:.2f} s a run, {spent:.0f} s for {self.seeds} seeds"
                self.result.notes.append(f"{cell.grade_id}: {each}: draw less, or move what is exact to another check")
            self.result.false_failures[cell.grade_id or ""] = len(failures)
            self.result.problems += [f"{cell.grade_id}: {outcome.died}" for outcome in outcomes if outcome.died]
            if failures:
                said = f"{len(failures)} of {self.seeds} seeds fail a right answer; SEED = {failures[0]['seed']}"
                self.result.problems.append(f"{cell.grade_id}: {said}: {_short(failures[0]['said'])}")

    def vandal(self, reference: Variant, limit: float) -> None:
        """An answer that sets lent networks to zero and is right about those must not pass."""
        name, source = self.exercise.name, reference.source
        seen, spoilt = (Variant(name, "vandal", "zero", make(name, source)) for make in (probe, vandal))
        if SEEN in self.run([seen], limit)[0].text and self.run([spoilt], limit)[0].full:
            self.result.problems.append(
                "an answer that sets a lent network to zero passes: compute the truth before the call, or from a copy"
            )

    def library(self) -> None:
        """Answers that call the library's own, written here: one in the open, one that only a running guard sees."""
        name, problems = self.exercise.name, self.result.problems
        chapter = self.bench.chapter
        context = [c.source for c in chapter.cells if c.kind == "code" and not c.is_graded and not c.is_lab]
        for variant in variants(chapter, self.exercise):
            for line, used in library_answers.found(variant.source, self.exercise.library, context):
                problems.append(f"{variant.kind} {variant.name}, line {line}, uses {used}, which scores 0")
        for used in self.exercise.library:
            module, attribute = used.rsplit(".", 1)
            if not library_answers.found(f"from {module} import {attribute} as {name}", [used]):
                problems.append(f"importing {used} as {name} is not recognised")
            hide = f"getattr(importlib.import_module({module!r}), ''.join({list(attribute)!r}))"
            source = f"import importlib\n\ndef {name}(*args, **kwargs):\n    return {hide}(*args, **kwargs)"
            trial = self.run([Variant(name, "library", used, source)], LEAST)[0]
            passed = [check for check, (visible, hidden) in trial.checks.items() if not (visible or hidden)]
            if passed:
                problems.append(f"{', '.join(passed)}: an answer that calls {used} passes")
            elif "own answer" not in trial.text:
                problems.append(f"an answer that calls {used} is not told so: {_short(trial.text)}")
        self.result.library = "found" if self.exercise.library else "none named"


def judge(exercise: Exercise, report: Report) -> list[str]:
    """Everything that the trials of an exercise show to be wrong with its checks."""
    problems = []
    right = [*report.of("reference"), *report.of("alternative")]
    wrong, blank = report.of("mutant"), report.of("stub")
    recorded = any(records.asked(cell.source) for cell in exercise.checks)
    problems += [f"{t.kind} {t.name} loses points: {_short(t.text)}" for t in right if not t.full]
    if len(right) - 1 < ALTERNATIVES:
        problems.append(f"{len(right) - 1} alternatives; at least {ALTERNATIVES} are needed")
    if len(wrong) < MUTANTS:
        problems.append(f"{len(wrong)} mutants; at least {MUTANTS} are needed")
    problems += [f"mutant {t.name} gets full marks" for t in wrong if t.full]
    unnamed = [t for t in wrong if not t.full and not t.named]
    if wrong and len(unnamed) > (1 - NAMED) * len(wrong):
        for t in unnamed:
            problems.append(f"mutant {t.name} is not told {t.says!r}: {_short(t.text)}")
    if not any(Bench.hides(cell) for cell in exercise.checks):
        problems.append("no hidden test")
    elif wrong and not recorded and not any(t.passes_visible and not t.full for t in wrong):
        problems.append("no mutant passes the visible checks and fails the hidden ones")
    for cell in exercise.checks:
        passed = [t for t in blank if not any(t.checks.get(cell.grade_id or "", ("missing", "")))]
        problems += [f"{cell.grade_id}: the untouched stub passes"] if passed else []
        reached = [t for t in wrong if not t.died]
        if wrong and not any(any(t.checks.get(cell.grade_id or "", ("", ""))) for t in reached):
            problems.append(f"{cell.grade_id}: no mutant fails it: a check that cannot fail is none")
    return problems


def _warm(modules: Iterable[str]) -> None:
    """Import in this process what a fork of it had to import."""
    for name in modules:
        with contextlib.suppress(Exception):  # an answer may have made a module that nobody else can import
            importlib.import_module(name)


def _statistical(cell: Cell) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "SEED" for node in ast.walk(ast.parse(cell.source)))


def _short(text: str) -> str:
    return flat(text)[:300]


def _revive(event: dict) -> Report:
    return Report(**event | {"trials": [Trial(**t) for t in event["trials"]], "derived": Derived(**event["derived"])})


def _progress(chapter: str, event: dict) -> None:
    import sys

    if "problems" not in event:  # the chapter's process died; its report says so
        return
    state = f"{len(event['problems'])} problem(s)" if event["problems"] else "right"
    print(f"{chapter} {event['exercise']}: {state}", file=sys.stderr, flush=True)
