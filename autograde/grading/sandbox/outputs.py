"""The outputs of one cell as they arrive from a sandbox: bounded, merged, plain nbformat dictionaries."""

from __future__ import annotations

import itertools
import re
from typing import Any

CUT = "\n[output cut here: more than 1 MB]\n"
MIMES = re.compile(r"[a-z]+/[A-Za-z0-9.+-]{1,100}")
MIMES_MAX = 20  # forms of one display
OUTPUTS_MAX = 500
TRACEBACK_LINES, TRACEBACK_MAX = 200, 100_000
MESSAGE_COST = 16  # what an empty message counts: a million of them are a flood too
# Both in time that grows with the text alone: what is repeated never contains the escape that a match begins with.
ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
UNSHOWN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def plain(text: Any, limit: int = 1 << 20) -> str:
    """Text without terminal escapes and control characters that no page can show; cut before it is looked at."""
    return UNSHOWN.sub("", ANSI.sub("", text[:limit])) if isinstance(text, str) else ""


class Collector:
    """Gathers one cell's outputs; ``flooded`` is set when there is far too much."""

    def __init__(self, limit: int, flood: int):
        self.limit, self.flood = limit, flood
        self._items: list[dict] = []
        self._pieces: list[str] = []  # of the last stream: joined when somebody looks
        self.size, self.arrived, self.flooded, self._cut, self._clear = 0, 0, False, False, False
        self.error: dict | None = None

    @property
    def outputs(self) -> list[dict]:
        """What has been gathered."""
        if self._pieces:
            self._items[-1]["text"] += "".join(self._pieces)
            self._pieces = []
        return self._items

    def _add(self, output: dict) -> None:
        self.outputs.append(output)

    def take(self, message: list) -> None:
        """One message of the executor's: kind and content."""
        kind, content = message[0], message[1:]
        if not isinstance(kind, str):
            return
        add = {
            "stream": self._stream,
            "display": self._display,
            "result": self._result,
            "error": self._error,
            "clear": self._cleared,
        }.get(kind)
        if add is None:
            return
        try:
            add(*content)
        except (TypeError, ValueError, AttributeError, RecursionError):
            self._stream("stderr", "[an output could not be read]\n")

    def raw(self, data: bytes) -> None:
        """What was written below Python, to descriptors 1 and 2."""
        self._stream("stdout", data.decode("utf-8", "replace"))

    def _room(self, size: int) -> bool:
        if self._clear:
            self._cleared(False)
        self.size += size
        self.arrived += size + MESSAGE_COST
        self.flooded = self.flooded or self.arrived > self.flood
        if self.size <= self.limit and len(self._items) < OUTPUTS_MAX:
            return True
        if not self._cut:
            self._cut = True
            self._add({"output_type": "stream", "name": "stdout", "text": CUT})
        return False

    def _stream(self, name: str, text: str) -> None:
        size = len(text)
        left = max(0, self.limit - self.size)
        if not self._room(size) and left and not text[:left].isspace():
            self.outputs.insert(-1, {"output_type": "stream", "name": "stdout", "text": plain(text[:left])})
            return
        if self._cut:
            return
        name = "stderr" if name == "stderr" else "stdout"
        last = self._items[-1] if self._items else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            self._pieces.append(plain(text))
        else:
            self._add({"output_type": "stream", "name": name, "text": plain(text)})

    def _bundle(self, data: dict) -> dict:
        clean = {}
        for mime, value in itertools.islice(data.items(), MIMES_MAX):
            if not MIMES.fullmatch(mime):
                continue
            if isinstance(value, list):
                value = "".join(part for part in value if isinstance(part, str))
            if isinstance(value, str):  # what else there is (a widget's state) no page of ours shows
                clean[mime] = plain(value)
        return clean

    def _shown(self, data: dict, about: dict) -> None:
        bundle = self._bundle(data)
        if self._room(sum(map(len, bundle.values()))):
            self._add(about | {"data": bundle, "metadata": {}})

    def _display(self, data: dict, _: dict) -> None:
        self._shown(data, {"output_type": "display_data"})

    def _result(self, data: dict, _: dict) -> None:
        self._shown(data, {"output_type": "execute_result", "execution_count": None})

    def _error(self, name: str, value: str, traceback: list) -> None:
        lines, left = [], TRACEBACK_MAX
        for line in traceback[:TRACEBACK_LINES]:
            lines.append(plain(line, min(left, 20_000)))
            left -= len(lines[-1])
        self.error = {
            "output_type": "error",
            "ename": plain(name, 200),
            "evalue": plain(value, 20_000),
            "traceback": lines,
        }
        if self._room(sum(map(len, lines))) or len(self._items) < OUTPUTS_MAX + 2:
            self._add(self.error)

    def _cleared(self, wait: bool) -> None:
        self._clear = wait is True
        if not self._clear:
            self._items, self._pieces = [], []


def error(name: str, text: str) -> dict:
    """An error output with a sentence for a person."""
    return {"output_type": "error", "ename": name, "evalue": text, "traceback": [f"{name}: {text}"]}


def text_only(outputs: list[dict], limit: int = 20_000) -> list[dict]:
    """What a student's code printed during a test: one block of text, never an error, a value or stderr."""
    text = "".join(o["text"] for o in outputs if o["output_type"] == "stream")[:limit]
    return [{"output_type": "stream", "name": "stdout", "text": text}] if text.strip() else []


def harmless(outputs: list[dict]) -> list[dict]:
    """A judge's outputs as nbgrader must see them: a warning on stderr is not a failure."""
    return [o | {"name": "stdout"} if o["output_type"] == "stream" else o for o in outputs]
