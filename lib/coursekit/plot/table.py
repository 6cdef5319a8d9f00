"""A table as text: it can be read aloud, copied and searched, which a picture of a table cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genmodels.core import require

__all__ = ["Table", "table"]


class Table:
    """Rows of cells that show as Markdown in a notebook and line up as plain text elsewhere."""

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        self.header, self.rows, self.title = list(header), [list(r) for r in rows], title
        self.alt = ""

    def markdown(self) -> str:
        """The table as Markdown; numbers stand right."""
        lines = [f"**{self.title}**", ""] if self.title else []
        numeric = [all(_is_number(r[i]) for r in self.rows) for i in range(len(self.header))]
        lines.append("| " + " | ".join(self.header) + " |")
        lines.append("|" + "|".join("--:" if n else "---" for n in numeric) + "|")
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in self.rows]
        return "\n".join(lines)

    def __str__(self) -> str:
        plain = [self.header, *([c.replace("**", "") for c in row] for row in self.rows)]
        width = [max(len(row[i]) for row in plain) for i in range(len(self.header))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)).rstrip() for row in plain]
        lines.insert(1, "  ".join("-" * w for w in width))
        return "\n".join(([self.title] if self.title else []) + lines)

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/markdown": self.markdown(), "text/plain": str(self)}


def _is_number(cell: str) -> bool:
    head = cell.replace("**", "").replace(",", "").split(" ")[0]
    try:
        float(head or "0")
    except ValueError:
        return cell in ("", "-")
    return True


def table(
    rows: Mapping[str, Mapping[str, Any]] | Sequence[Mapping[str, Any]],
    title: str = "",
    first: str = "model",
    best: Mapping[str, str] | None = None,
) -> Table:
    """A leaderboard: {row name: {column: value}} or a list of {column: value}; missing cells show "-".

    best   {column: "min" or "max"}: the best number of that column is bold, and the first such column sorts the rows
    Numbers are shown to four significant digits; strings (such as an estimate with its error) as they are.
    """
    dicts = (
        [{first: name, **row} for name, row in rows.items()] if isinstance(rows, Mapping) else [dict(r) for r in rows]
    )
    require(bool(dicts), "a table needs at least one row")
    columns = list(dict.fromkeys(c for row in dicts for c in row))
    for c, way in (best or {}).items():
        require(c in columns, f"unknown column {c!r}: the columns are {', '.join(columns)}")
        require(way in ("min", "max"), f"best must be 'min' or 'max' for column {c!r}; got {way!r}")
    sign = {c: 1 if way == "min" else -1 for c, way in (best or {}).items()}
    if sign:
        lead = next(iter(sign))
        dicts.sort(key=lambda r: sign[lead] * _value(r.get(lead), sign[lead]))
    cells = [[_cell(row.get(c)) for c in columns] for row in dicts]
    for c, s in sign.items():
        values = [s * _value(row.get(c), s) for row in dicts]
        for cell, value in zip(cells, values, strict=True):
            if value == min(values):
                cell[columns.index(c)] = f"**{cell[columns.index(c)]}**"
    return Table(columns, cells, title)


def _value(v: Any, sign: int) -> float:
    """A number to compare; missing or textual cells come last."""
    mean = getattr(v, "mean", v)
    return float(mean) if isinstance(mean, (int, float)) else sign * float("inf")


def _cell(v: Any) -> str:
    if v is None:
        return "-"
    if isinstance(v, float):
        return f"{v:,.0f}" if abs(v) >= 10_000 else f"{v:.4g}"
    return f"{v:,}" if isinstance(v, int) and not isinstance(v, bool) else str(v)
