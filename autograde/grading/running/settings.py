"""What a run is told: where the gradebook is, and how much a chapter's submissions may use."""

from __future__ import annotations

from pathlib import Path

from autograde.grading.intake.plan import Plan
from autograde.grading.sandbox.tiers import Limits


def gradebook_url(root: Path, db: str | None) -> str:
    """The gradebook's URL."""
    return db or f"sqlite:///{root / 'gradebook.db'}"


def limits_for(plan: Plan, timeout: float) -> Limits:
    """The limits of a chapter; its own metadata may ask for more time or memory."""
    cell = plan.resource("timeout", timeout)
    return Limits(cell=cell, total=max(600.0, 20 * cell), memory=int(plan.resource("memory_gb", 4) * 2**30))
