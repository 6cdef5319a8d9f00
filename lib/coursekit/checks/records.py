"""The record of an exercise: its cases, truths and known mistakes as plain data, and where a check finds it.

A student's folder holds ``checks.json.gz`` with the visible cases. nbgrader's source notebook holds, in each check cell
between its hidden markers, the packed record of all cases (``use``), so that the cell needs no file to grade.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .cases import Case, Rules, Sampled, Wrong, unpack

__all__ = ["FILE", "Examination", "of", "packed", "read", "unpacked", "use", "write"]

FILE = "checks.json.gz"
COLUMNS = 116
_used: dict[str, dict] = {}


class Examination:
    """A record brought to life: cases that can be asked, the view, the traces that known mistakes leave."""

    def __init__(self, record: dict):
        self.name = record["name"]
        self.rules = Rules(**{k: tuple(v) if isinstance(v, list) else v for k, v in record["rules"].items()})
        names: dict[str, Any] = {"__name__": f"coursekit.checks.of_{self.name}", "torch": torch, "math": math}
        names |= {"Wrong": Wrong, "Sampled": Sampled}
        exec(compile(record["code"], f"<view of {self.name}>", "exec"), names)
        self.view: Callable | None = names.get(record["view"] or "")
        self.cases = [_case(c, names) for c in record["cases"]]
        self.mistakes = [(m["says"], m["left"]) for m in record["mistakes"]]

    @property
    def hidden(self) -> bool:
        """Whether this is the instructor's record, with all cases."""
        return any(case.hidden for case in self.cases)


def _case(c: dict, names: dict) -> Case:
    if "make" in c["inputs"]:
        make, options = names[c["inputs"]["make"]], c["inputs"]["options"]
        inputs = lambda: tuple(make(**unpack(options)))
    else:
        inputs = partial(unpack, c["inputs"])
    want = {name: unpack(value) for name, value in c["want"].items()}
    return Case(c["text"], inputs, want, c["facets"], c["fact"], c["hidden"], c["room"])


def packed(record: dict) -> str:
    """A record as text of one alphabet, for a string literal."""
    return base64.b64encode(zlib.compress(json.dumps(record).encode(), 9)).decode()


def unpacked(text: str) -> dict:
    """The record behind ``packed``; spaces and line ends do not count."""
    return json.loads(zlib.decompress(base64.b64decode(text)))


def use(text: str) -> None:
    """Let checks of this process use the packed record instead of the file beside the notebook."""
    record = unpacked(text)
    _used[record["name"]] = record


def write(records: dict[str, dict]) -> bytes:
    """The content of ``checks.json.gz``: the same bytes for the same records."""
    return gzip.compress(json.dumps(records).encode(), 9, mtime=0)


def read(data: bytes) -> dict[str, dict]:
    """The records of a chapter by the name of their exercise."""
    return json.loads(gzip.decompress(data))


def of(name: str) -> dict:
    """The record of an exercise: what ``use`` gave, else what lies beside the notebook."""
    if name in _used:
        return _used[name]
    here = Path.cwd()
    found = {}
    for path in (here / FILE, *sorted(here.glob(f"*/{FILE}")), *sorted(here.glob(f"course/*/{FILE}"))):
        if path.is_file() and name in (records := read(path.read_bytes())):
            found[path] = records[name]
            if path.parent == here:
                break
    if len(found) == 1:
        return found.popitem()[1]
    if found:
        places = ", ".join(str(path.parent.relative_to(here)) for path in found)
        raise FileNotFoundError(f"{name} stands in several chapters ({places}): start the notebook in its own folder")
    raise FileNotFoundError(
        f"no check of {name} here: {FILE} belongs beside the notebook. It lies in the folder that you got the notebook "
        f"from; put it into {here}"
    )
