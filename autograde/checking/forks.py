"""Run trials in forked copies of this process: what a trial breaks, its copy takes along when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autograde.errors import Refusal

MEMORY = 6 << 30  # bytes of data one trial may hold; a runaway mutant meets MemoryError before the machine swaps
DONE = {"done": True}  # the last line of a trial that came to its end; os._exit(0) does not say it
WALL = 10.0  # a trial may take this many times its processor time, for busy machines and sleeping code

Events = Callable[[], Iterator[Any]]


@dataclass
class Outcome:
    """What a trial said (JSON values, in order), how it died if it did, and its seconds of processor time."""

    events: list[Any] = field(default_factory=list)
    died: str = ""
    seconds: float = 0.0


@dataclass
class _Child:
    key: str
    pid: int
    pipe: int
    deadline: float
    data: bytes = b""
    stopped: bool = False
    done: bool = False


def run_all(
    tasks: Mapping[str, Events],
    *,
    jobs: int = 1,
    seconds: float | None = None,
    quiet: bool = True,
    seen: Callable[[str, Any], None] | None = None,
) -> dict[str, Outcome]:
    """Run each generator in its own fork, ``jobs`` at a time; ``seconds`` of processor time end it.

    Whatever a generator yields arrives at once (``seen`` is called with it), so a trial that dies late keeps what it
    said before. The processes of a trial that is stopped are killed with their children.
    """
    if not hasattr(os, "fork"):
        raise Refusal("autograde check needs os.fork: run it on Linux, macOS or WSL")
    waiting, outcomes = list(tasks.items()), {key: Outcome() for key in tasks}
    running: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < max(1, jobs):
                    child = _start(*waiting.pop(0), seconds, quiet)
                    running[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ)
                nearest = min(child.deadline for child in running.values())
                for key, _ in selector.select(max(0.0, min(nearest - time.monotonic(), 3600.0))):
                    child = running[key.fd]
                    if not _read(child, outcomes[child.key], seen):
                        selector.unregister(key.fd)
                        _end(running.pop(key.fd), outcomes[child.key], seconds)
                for child in [c for c in running.values() if c.deadline < time.monotonic()]:
                    child.stopped, child.deadline = True, float("inf")
                    _kill(child.pid)
        finally:
            for child in running.values():
                _kill(child.pid)
                os.close(child.pipe)
                os.waitpid(child.pid, 0)
    return outcomes


def _start(key: str, task: Events, seconds: float | None, quiet: bool) -> _Child:
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writer)
        wall = float("inf") if seconds is None else seconds * WALL
        return _Child(key, pid, reader, time.monotonic() + wall)
    status = 1
    try:
        os.close(reader)
        os.setsid()
        _limits(seconds)
        if quiet:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
        for event in task():
            _send(writer, event)
        _send(writer, DONE)
        status = 0
    except BaseException:
        with contextlib.suppress(BaseException):
            _send(writer, {"crash": traceback.format_exc(limit=-4)})
    finally:
        os._exit(status)


def _send(writer: int, event: Any) -> None:
    data = memoryview(json.dumps(event).encode() + b"\n")
    while data:
        data = data[os.write(writer, data) :]


def _limits(seconds: float | None) -> None:
    import resource  # not on Windows, where there is no fork either

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if seconds is not None:
        whole = max(1, round(seconds))
        resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
        with contextlib.suppress(ValueError, OSError):  # macOS knows no limit on data
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _read(child: _Child, outcome: Outcome, seen: Callable[[str, Any], None] | None) -> bool:
    """Take in what the trial said; False at its end."""
    chunk = os.read(child.pipe, 1 << 16)
    *lines, child.data = (child.data + chunk).split(b"\n")
    for line in lines:
        event = json.loads(line)
        if event == DONE:
            child.done = True
            break
        outcome.events.append(event)
        if seen:
            seen(child.key, event)
    return bool(chunk) and not child.done


def _end(child: _Child, outcome: Outcome, seconds: float | None) -> None:
    os.close(child.pipe)
    _kill(child.pid)
    _, status, usage = os.wait4(child.pid, 0)
    outcome.seconds = usage.ru_utime + usage.ru_stime
    if child.done:
        return
    code = os.waitstatus_to_exitcode(status)
    crash = outcome.events and isinstance(outcome.events[-1], dict) and "crash" in outcome.events[-1]
    if child.stopped or code == -signal.SIGXCPU:
        outcome.died = f"did not stop within {seconds:.0f} s and was ended"
    elif crash:
        outcome.died = outcome.events.pop()["crash"]
    elif code < 0:
        outcome.died = f"ended the Python process ({signal.Signals(-code).name})"
    else:
        outcome.died = f"ended the Python process (exit code {code})"


def _kill(pid: int) -> None:
    """End the trial and everything it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
