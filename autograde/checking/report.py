"""What the trials of one exercise came to: the row of ``autograde check``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field

KINDS = ("reference", "alternative", "mutant", "stub")
ALTERNATIVES, MUTANTS, NAMED = 2, 6, 0.8


@dataclass
class Trial:
    """What one variant got: per check the visible and hidden failure text ("" where it passed)."""

    kind: str
    name: str
    says: str = ""
    checks: dict[str, tuple[str, str]] = field(default_factory=dict)
    error: str = ""
    died: bool = False
    seconds: float = 0.0
    random: list[str] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Full marks: nothing failed."""
        return not self.error and not any(v or h for v, h in self.checks.values())

    @property
    def passes_visible(self) -> bool:
        """All that the student can see is green."""
        return not self.error and not any(v for v, _ in self.checks.values())

    @property
    def text(self) -> str:
        """Everything the student would read."""
        return "\n".join(
            [*(t for pair in self.checks.values() for t in pair if t), *([self.error] if self.error else [])]
        )

    @property
    def named(self) -> bool:
        """Whether the failure text holds the mistake's own diagnosis."""
        return flat(self.says) in flat(self.text)


@dataclass
class Derived:
    """Answers that nobody wrote, made from the reference: what became of them."""

    wrong: int = 0  # tried
    caught: int = 0
    same: int = 0  # full marks, and no difference from the reference could be found
    slipped: list[str] = field(default_factory=list)  # full marks, though they differ from the reference
    right: int = 0
    refused: list[str] = field(default_factory=list)  # right ones that lose points
    fits: list[str] = field(default_factory=list)  # functions of the library or of the student's folder with full marks
    mistold: list[str] = field(default_factory=list)  # mistakes that, unlisted, are told another's sentence


@dataclass
class Report:
    """One exercise: its trials, its false failures, and everything that is wrong with it."""

    chapter: str
    exercise: str
    points: int
    trials: list[Trial] = field(default_factory=list)
    false_failures: dict[str, int] = field(default_factory=dict)
    seeds: int = 0
    library: str = "none named"
    judged: dict[str, bool] = field(default_factory=dict)  # variant: the judge in its sandbox says the same
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    derived: Derived = field(default_factory=lambda: Derived())

    def of(self, kind: str) -> list[Trial]:
        """The trials of one kind."""
        return [trial for trial in self.trials if trial.kind == kind]

    def document(self) -> dict:
        """For ``--json``."""
        return asdict(self) | {"trials": [asdict(t) | {"full": t.full, "named": t.named} for t in self.trials]}


def flat(text: str) -> str:
    """One line, one case: for comparing texts."""
    return re.sub(r"\s+", " ", text).strip().lower()
