"""Try an exercise whose cases are recorded: right and wrong answers, derived ones, and functions that happen to fit.

All of it runs on the records alone, in forked processes: an answer that hangs or dies costs its own trial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from autograde.authoring import library_answers, records
from autograde.authoring.chapters import Chapter, Exercise
from autograde.authoring.variants import Variant, variants
from autograde.checking import candidates, derived
from autograde.checking.forks import Outcome, run_all
from autograde.checking.report import ALTERNATIVES, KINDS, MUTANTS, NAMED, Report, Trial, flat
from autograde.checking.trial import file_of
from autograde.checking.trier import PATIENCE, Trier, differs, fitting, leave_one_out
from coursekit.checks.running import EVIDENCE, is_evidence

SAMPLE = 12  # derived answers an exercise, unless all are asked for
SEEDS = 30  # repetitions of a check that draws, unless all are asked for
BATCH = 8  # derived answers a process


class Recorded:
    """All trials of one exercise, in forks of this process."""

    def __init__(
        self, chapter: Chapter, exercise: Exercise, names: dict[str, Any], jobs: int, seeds: int, thorough: bool
    ):
        self.chapter, self.exercise, self.jobs, self.thorough = chapter, exercise, jobs, thorough
        self.seeds = seeds if thorough else min(seeds, SEEDS)
        self.trier = Trier(chapter, exercise, names)
        self.result = Report(chapter.id, exercise.name, exercise.points, seeds=self.seeds)

    def report(self) -> Report:
        """Everything that ``autograde check`` says of the exercise."""
        self.remember()
        every = variants(self.chapter, self.exercise)
        outcomes = self.run({v.name: partial(self.alone, v) for v in every})
        for v in every:
            self.result.trials.append(self.trial(v, outcomes[v.name]))
        self.result.trials.sort(key=lambda trial: KINDS.index(trial.kind))
        mutants = [v for v in every if v.kind == "mutant"]
        self.derive(mutants)
        if self.trier.draws:
            self.repeat()
        self.library()
        self.result.problems += judge(self.result, self.nameable())
        return self.result

    def remember(self) -> None:
        """Ask the reference once in this process: what cases keep for the next call, the forks then find."""
        answer, _ = self.trier.answer(self.exercise.reference)
        for hidden in (False, True):
            self.trier.verdict(answer, hidden=hidden)

    def nameable(self) -> set[str]:
        """Sentences of the mistakes that leave enough behind to be recognised; of the others a note says why not."""
        found = set()
        for trial, (says, left) in zip(self.result.of("mutant"), self.trier.full.mistakes, strict=True):
            if is_evidence(left, self.trier.full):
                found.add(says)
            elif sum(trace is not None for trace in left) < EVIDENCE:
                self.result.notes.append(
                    f"mistake {trial.name} differs on one case only and is never named: add another"
                )
        return found

    def run(self, tasks: dict[str, Callable]) -> dict[str, Outcome]:
        """In forks, with their processor time counted."""
        outcomes = run_all(tasks, jobs=self.jobs, seconds=4 * PATIENCE * BATCH)
        self.result.seconds += sum(outcome.seconds for outcome in outcomes.values())
        return outcomes

    def alone(self, variant: Variant) -> Iterator[dict]:
        """One of the author's own, with the library's answers out of its reach."""
        filename = file_of(self.exercise)
        banned = self.exercise.library
        library_answers.remove(
            self.exercise.name, banned, lambda frame: frame.f_code.co_filename == filename, [self.trier.names]
        )
        yield self.trier.trial(variant)

    def trial(self, variant: Variant, outcome: Outcome) -> Trial:
        """What a fork said, as a line of the report."""
        trial = Trial(variant.kind, variant.name, variant.says, seconds=outcome.seconds)
        check = self.exercise.checks[-1].grade_id or ""
        if outcome.died:
            trial.died, trial.checks[check] = True, (f"{self.exercise.name} {outcome.died}", "")
        else:
            event = outcome.events[0]
            trial.error = event["error"]
            if not trial.error:
                trial.checks[check] = (event["visible"], event["hidden"])
        return trial

    def derive(self, mutants: list[Variant]) -> None:
        """Answers made from the reference, functions that fit, and each mistake off its own list."""
        name, reference = self.exercise.name, self.exercise.reference
        plain = derived.needs_no_derivative(self.trier.record)
        equivalent = records.exercises(self.chapter)[name].equivalent
        wrong = derived.sample(list(derived.wrong_ones(name, reference)), 0 if self.thorough else SAMPLE)
        right = list(derived.right_ones(name, reference, plain=plain))
        batches = [wrong[i : i + BATCH] for i in range(0, len(wrong), BATCH)]
        tasks: dict[str, Callable] = {f"wrong {i}": partial(self.wrong, batch) for i, batch in enumerate(batches)}
        tasks |= {"right": partial(self.right, right), "one out": partial(leave_one_out, self.trier, mutants)}
        tasks |= {"fits": self.fits}
        said = self.result.derived
        for key, outcome in self.run(tasks).items():
            if outcome.died:
                self.result.notes.append(f"derived answers ({key}): {outcome.died.strip()[-300:]}")
            for event in outcome.events:
                if key == "right":
                    said.right += 1
                    said.refused += [f"{event['name']}: {event['said'][:200]}"] if event["said"] else []
                elif key == "one out":
                    said.mistold.append(f"{event['mutant']} is told: {event['told']}")
                elif key == "fits":
                    said.fits.append(event)
                else:
                    said.wrong += 1
                    said.caught += event["caught"]
                    slipped = event["differs"] and event["name"] not in equivalent
                    said.slipped += [f"{event['name']} ({event['differs']})"] if slipped else []
        said.same = said.wrong - said.caught - len(said.slipped)

    def wrong(self, batch: list[Variant]) -> Iterator[dict]:
        """Each of them: caught, or in what it differs from the reference."""
        for variant in batch:
            answer, error = self.trier.answer(variant.source)
            caught = bool(error) or not self.trier.passes(answer)
            yield {"name": variant.name, "caught": caught, "differs": "" if caught else differs(self.trier, answer)}

    def right(self, some: list[Variant]) -> Iterator[dict]:
        """Each of them, and what it is told."""
        for variant in some:
            answer, error = self.trier.answer(variant.source)
            yield {"name": variant.name, "said": error or self.trier.verdict(answer)}

    def fits(self) -> Iterator[str]:
        """Functions that get full marks although nobody wrote them as an answer."""
        allowed = self.exercise.answer.metadata.get("autograde", {}).get("allowed", [])
        functions = candidates.library(self.exercise, thorough=self.thorough)
        functions |= candidates.shown(self.chapter, self.exercise, self.trier.record["code"], self.trier.names)
        yield from (name for name in fitting(self.trier, functions) if name not in allowed)

    def repeat(self) -> None:
        """The reference under many seeds."""
        share = -(-self.seeds // self.jobs)
        parts = [range(k, min(k + share, self.seeds)) for k in range(0, self.seeds, share)]
        answer, _ = self.trier.answer(self.exercise.reference)

        def task(some: range) -> Iterator[dict]:
            for k in some:
                if said := self.trier.verdict(answer, seed=k):
                    yield {"seed": k, "said": said}

        outcomes = self.run({str(part): partial(task, part) for part in parts})
        failures = [event for outcome in outcomes.values() for event in outcome.events]
        self.result.false_failures[self.exercise.checks[-1].grade_id or ""] = len(failures)
        if failures:
            said = " ".join(failures[0]["said"].split())[:300]
            self.result.problems.append(f"{len(failures)} of {self.seeds} seeds refuse a right answer: {said}")

    def library(self) -> None:
        """Answers that call the library's own: found in the text of every variant, and while they run."""
        self.result.library = "found" if self.exercise.library else "none named"
        context = [c.source for c in self.chapter.cells if c.kind == "code" and not c.is_graded and not c.is_lab]
        for v in variants(self.chapter, self.exercise):
            for line, used in library_answers.found(v.source, self.exercise.library, context):
                self.result.problems.append(f"{v.kind} {v.name}, line {line}, uses {used}, which scores 0")
        for used in self.exercise.library:
            module, attribute = used.rsplit(".", 1)
            if not library_answers.found(f"from {module} import {attribute} as {self.exercise.name}", [used]):
                self.result.problems.append(f"importing {used} as {self.exercise.name} is not recognised")
            hide = f"getattr(importlib.import_module({module!r}), ''.join({list(attribute)!r}))"
            call = f"def {self.exercise.name}(*args, **kwargs):\n    return {hide}(*args, **kwargs)"
            variant = Variant(self.exercise.name, "library", used, f"import importlib\n\n{call}")
            event = self.run({"": partial(self.alone, variant)})[""].events[0]
            if not (event["visible"] or event["hidden"] or event["error"]):
                self.result.problems.append(f"an answer that calls {used} passes")


def judge(report: Report, nameable: set[str]) -> list[str]:
    """Everything that the trials of an exercise show to be wrong with its cases.

    ``nameable``: sentences of mistakes that leave numbers on two cases; the others are told the fact alone.
    """
    problems = []
    for t in [*report.of("reference"), *report.of("alternative")]:
        problems += [] if t.full else [f"{t.kind} {t.name} loses points: {flat(t.text)[:300]}"]
    wrong = report.of("mutant")
    if (n := len(report.of("alternative"))) < ALTERNATIVES:
        problems.append(f"{n} right answers in another style; at least {ALTERNATIVES} are needed")
    if len(wrong) < MUTANTS:
        problems.append(f"{len(wrong)} mistakes; at least {MUTANTS} are needed")
    problems += [f"mistake {t.name} gets full marks" for t in wrong if t.full]
    unnamed = [t for t in wrong if not t.full and not t.named and t.says in nameable]
    if len(unnamed) > (1 - NAMED) * len(nameable):
        problems += [f"mistake {t.name} is not told {t.says!r}: {flat(t.text)[:300]}" for t in unnamed]
    problems += ["the untouched stub passes"] if any(t.full for t in report.of("stub")) else []
    said = report.derived
    problems += [f"a derived wrong answer gets full marks: {what}" for what in said.slipped]
    problems += [f"a derived right answer is refused: {what}" for what in said.refused]
    problems += [f"leave one out: {what}" for what in said.mistold]
    kind = "put it into the answer cell's library list, or its allowed list"
    problems += [f"{what} gets full marks as the answer: {kind}" for what in said.fits]
    return problems
