"""The table of ``autograde check``: one line an exercise, then what is wrong."""

from __future__ import annotations

from autograde.checking.report import Report


def show(reports: list[Report], verbose: bool = False) -> None:
    """Print the table, the problems and, when asked, what every mutant was told."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in HEAD:
        table.add_column(name, justify="left" if name in ("chapter", "exercise") else "right", no_wrap=True)
    for report in reports:
        table.add_row(*row(report), style="red" if report.problems else "")
    console.print(table)
    for report in reports:
        if verbose:
            for trial in report.of("mutant"):
                mark = "full marks!" if trial.full else "named" if trial.named else "not named"
                console.print(
                    f"\n{report.exercise} / {trial.name} ({mark}; wants {trial.says!r})", style="bold", markup=False
                )
                console.print(trial.text, markup=False)
    for report in reports:
        for note in report.notes:
            console.print(f"{report.chapter} {report.exercise}: {note}", style="yellow", markup=False)
        for problem in report.problems:
            console.print(f"{report.chapter} {report.exercise}: {problem}", style="red", markup=False)
    bad = sum(bool(report.problems) for report in reports)
    console.print(f"{len(reports)} exercises, {bad} with problems")


HEAD = (
    "chapter",
    "exercise",
    "points",
    "right",
    "mutants",
    "named",
    "derived",
    "slipped",
    "refused",
    "stub",
    "library",
    "judge",
    "false",
    "CPU s",
)


def row(report: Report) -> tuple[str, ...]:
    """The cells of one line."""
    right = [*report.of("reference"), *report.of("alternative")]
    wrong = report.of("mutant")
    caught = [t for t in wrong if not t.full]
    runs = report.seeds * len(report.false_failures)
    return (
        report.chapter,
        report.exercise,
        str(report.points),
        f"{sum(t.full for t in right)}/{len(right)}",
        f"{len(caught)}/{len(wrong)}",
        f"{sum(t.named for t in caught)}/{len(wrong)}",
        f"{report.derived.caught}/{report.derived.wrong}" if report.derived.wrong else "-",
        str(len(report.derived.slipped)),
        f"{len(report.derived.refused)}/{report.derived.right}" if report.derived.right else "-",
        "full!" if any(t.full for t in report.of("stub")) else "0",
        report.library,
        f"{sum(report.judged.values())}/{len(report.judged)}" if report.judged else "-",
        f"{sum(report.false_failures.values())}/{runs}" if runs else "exact",
        f"{report.seconds:.1f}",
    )
