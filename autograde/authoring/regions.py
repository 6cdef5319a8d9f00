"""The marked regions of a cell: what students never see, and what stands in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SOLUTION = "SOLUTION"
HIDDEN = "HIDDEN TESTS"
SCHEME = "MARK SCHEME"

_MARKER = re.compile(r"^\s*#+\s*(BEGIN|END)\s+(SOLUTION|HIDDEN\s+TESTS?|MARK\s+SCHEME)\b.*$", re.IGNORECASE)
_EXACT = re.compile(r"^\s*### (BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)\s*$")


@dataclass(frozen=True)
class Region:
    """One marked region: lines ``start`` to ``stop`` of the cell, markers included, counted from 0."""

    name: str
    start: int
    stop: int
    indent: str


def find(source: str) -> tuple[list[Region], list[tuple[int, str]]]:
    """All regions of a cell, and its problems as (line in the cell, sentence)."""
    regions, problems = [], []
    open_at: tuple[str, int, str] | None = None
    for number, line in enumerate(source.split("\n")):
        if not _MARKER.match(line):
            continue
        exact = _EXACT.match(line)
        if not exact:
            problems.append((number, f"write the marker exactly as `### BEGIN {HIDDEN}`, not `{line.strip()}`"))
            continue
        edge, name = exact.groups()
        if edge == "BEGIN":
            if open_at:
                problems.append((number, f"`### BEGIN {name}` inside an open {open_at[0]} region"))
            open_at = (name, number, line[: len(line) - len(line.lstrip())])
        elif open_at is None or open_at[0] != name:
            problems.append((number, f"`### END {name}` without its `### BEGIN {name}`"))
        else:
            regions.append(Region(name, open_at[1], number + 1, open_at[2]))
            open_at = None
    if open_at:
        problems.append((open_at[1], f"`### BEGIN {open_at[0]}` has no `### END {open_at[0]}`"))
    return regions, problems


def replace(source: str, stubs: dict[str, str]) -> str:
    """The cell with each region named in ``stubs`` replaced by that text (indented as its marker); "" removes it."""
    lines, out, last = source.split("\n"), [], 0
    for region in find(source)[0]:
        if region.name not in stubs:
            continue
        out += lines[last : region.start]
        out += [region.indent + line for line in stubs[region.name].split("\n") if stubs[region.name]]
        last = region.stop
    return "\n".join(out + lines[last:]).rstrip("\n")


def inside(source: str, name: str) -> Iterator[str]:
    """The lines within the regions of that name, without the markers."""
    lines = source.split("\n")
    for region in find(source)[0]:
        if region.name == name:
            yield from lines[region.start + 1 : region.stop - 1]


def without_markers(source: str, name: str) -> str:
    """The cell with the region's lines kept and only its two marker lines dropped."""
    return "\n".join(line for line in source.split("\n") if not ((m := _EXACT.match(line)) and m.group(2) == name))
