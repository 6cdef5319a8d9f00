"""The outputs of one cell as they arrive from a sandbox: bounded, merged, plain nbformat dictionaries."""

from __future__ import annotations

import re
from typing import Any

CUT = "\n[output cut here: more than 1 MB]\n"
MIMES = re.compile(r"[a-z]+/[A-Za-z0-9.+-]{1,100}")
OUTPUTS_MAX = 500
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


def plain(text: Any, limit: int = 1 << 20) -> str:
    """Text without terminal escapes and control characters that no page can show."""
    text = ANSI.sub("", text if isinstance(text, str) else "")[:limit]
    return "".join(c for c in text if c in "\n\t\r" or c >= " " and not 0xD800 <= ord(c) <= 0xDFFF)


class Collector:
    """Gathers one cell's outputs; ``flooded`` is set when there is far too much."""

    def __init__(self, limit: int, flood: int):
        self.limit, self.flood = limit, flood
        self.outputs: list[dict] = []
        self.size, self.flooded, self._cut, self._clear = 0, False, False, False
        self.error: dict | None = None

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
        except (TypeError, ValueError, AttributeError):
            self._stream("stderr", "[an output could not be read]\n")

    def raw(self, data: bytes) -> None:
        """What was written below Python, to descriptors 1 and 2."""
        self._stream("stdout", data.decode("utf-8", "replace"))

    def _room(self, size: int) -> bool:
        if self._clear:
            self.outputs, self._clear = [], False
        self.size += size
        self.flooded = self.flooded or self.size > self.flood
        if self.size <= self.limit and len(self.outputs) < OUTPUTS_MAX:
            return True
        if not self._cut:
            self._cut = True
            self.outputs.append({"output_type": "stream", "name": "stdout", "text": CUT})
        return False

    def _stream(self, name: str, text: str) -> None:
        size = len(text)
        left = max(0, self.limit - self.size)
        if not self._room(size) and left and not text.isspace():
            self.outputs.insert(-1, {"output_type": "stream", "name": "stdout", "text": plain(text[:left])})
            return
        if self._cut:
            return
        name = "stderr" if name == "stderr" else "stdout"
        last = self.outputs[-1] if self.outputs else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            last["text"] += plain(text)
        else:
            self.outputs.append({"output_type": "stream", "name": name, "text": plain(text)})

    def _bundle(self, data: dict) -> dict:
        clean = {}
        for mime, value in data.items():
            if not MIMES.fullmatch(mime):
                continue
            if isinstance(value, list):
                value = "".join(map(str, value))
            if isinstance(value, str):  # what else there is (a widget's state) no page of ours shows
                clean[mime] = plain(value)
        return clean

    def _display(self, data: dict, _: dict) -> None:
        if self._room(len(str(data))):
            self.outputs.append({"output_type": "display_data", "data": self._bundle(data), "metadata": {}})

    def _result(self, data: dict, _: dict) -> None:
        if self._room(len(str(data))):
            self.outputs.append(
                {"output_type": "execute_result", "data": self._bundle(data), "metadata": {}, "execution_count": None}
            )

    def _error(self, name: str, value: str, traceback: list) -> None:
        lines = [plain(str(line), 20_000) for line in traceback[:200]]
        self.error = {
            "output_type": "error",
            "ename": plain(name, 200),
            "evalue": plain(value, 20_000),
            "traceback": lines,
        }
        if self._room(sum(map(len, lines))) or len(self.outputs) < OUTPUTS_MAX + 2:
            self.outputs.append(self.error)

    def _cleared(self, wait: bool) -> None:
        if wait:
            self._clear = True
        else:
            self.outputs = []


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
