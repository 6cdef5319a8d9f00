"""Runs notebook cells in this process with IPython's own machinery, and reports outputs over one socket.

No kernel, no ports, no threads, no connection file: a forked process, a shell, a stream of small JSON messages.
"""

from __future__ import annotations

import ast
import base64
import io
import os
import re
import signal
import sys
import time
import warnings
from typing import Any

from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from autograde.grading.wire import Closed, Unsendable, Wire

PROMPT = re.compile(r"^\s*(>>>|\.\.\.|In ?\[)", re.MULTILINE)
FLUSH_BYTES, FLUSH_SECONDS = 16_000, 0.1
MESSAGE_MAX = 4 << 20  # characters of one output


class Outputs:
    """Where outputs go: to the instructor, once connected."""

    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.cell: Any = None
        self.muted = False

    def send(self, kind: str, *content: Any) -> None:
        """One output of the running cell."""
        if self.wire is None or self.muted:
            return
        try:
            self.wire.send([kind, self.cell, *content])
        except (Unsendable, TypeError, ValueError) as error:
            self.wire.send(["stream", self.cell, "stderr", f"[an output could not be shown: {error}]\n"[:500]])


class Stream(io.TextIOBase):
    """``sys.stdout`` or ``sys.stderr`` of the cells: buffered briefly, in order with the other outputs."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, name: str, outputs: Outputs):
        self.name, self.outputs, self.parts, self.size, self.since = name, outputs, [], 0, 0.0

    def writable(self) -> bool:
        """Yes."""
        return True

    def isatty(self) -> bool:
        """No."""
        return False

    def fileno(self) -> int:
        """The descriptor below, which is read as well."""
        return 1 if self.name == "stdout" else 2

    def write(self, text: str) -> int:
        """Keep the text until there is enough of it or the time has come."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        now = time.monotonic()
        if not self.parts:
            self.since = now
        self.parts.append(text)
        self.size += len(text)
        if self.size > FLUSH_BYTES or now - self.since > FLUSH_SECONDS:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Send what is waiting."""
        if self.parts:
            text, self.parts, self.size = "".join(self.parts), [], 0
            for start in range(0, len(text), MESSAGE_MAX):
                self.outputs.send("stream", self.name, text[start : start + MESSAGE_MAX])


def bundle(data: dict) -> dict:
    """A display bundle that JSON can hold: bytes become base64."""
    return {
        str(mime): base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for mime, value in data.items()
    }


class Hook(DisplayHook):
    """The value of a cell's last line."""

    def start_displayhook(self) -> None:
        """Nothing is printed around a value here."""
        self.found: tuple[dict, dict] = ({}, {})

    def write_output_prompt(self) -> None:
        """No prompt."""

    def write_format_data(self, format_dict: dict, md_dict: dict | None = None) -> None:
        """Keep what the formatters made."""
        self.found = (bundle(format_dict), md_dict or {})

    def finish_displayhook(self) -> None:
        """Send it, after whatever was printed before."""
        flush()
        if self.found[0]:
            self.shell.outputs.send("result", *self.found)


class Publisher(DisplayPublisher):
    """``display(...)``, figures and widgets."""

    def publish(self, data: dict, metadata: dict | None = None, **_: Any) -> None:
        """Send one display bundle."""
        flush()
        self.shell.outputs.send("display", bundle(data), metadata or {})

    def clear_output(self, wait: bool = False) -> None:
        """Forget the outputs so far."""
        flush()
        self.shell.outputs.send("clear", bool(wait))


def parse(cell: str, flags: int) -> tuple[ast.AST | None, str]:
    """The tree and the text of a cell that is plain Python, None for any other, which IPython must look at."""
    if not cell.strip() or PROMPT.search(cell):  # prompts are taken away even inside strings
        return None, cell
    lines = cell.splitlines(keepends=True)
    while lines and lines[0].isspace():  # as IPython does: its line numbers begin at the first line of code
        del lines[0]
    text = "".join(lines)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning must be shown, by the compiler that knows the cell's name
            return compile(text, "<cell>", "exec", flags | ast.PyCF_ONLY_AST, True), text + "\n" * (text[-1:] != "\n")
    except (SyntaxError, Warning, ValueError, RecursionError, MemoryError):
        return None, cell


class Compiler(CachingCompiler):
    """IPython's compiler, which need not parse again what was just parsed."""

    ready: tuple[ast.AST, str, int] | None = None

    def ast_parse(self, source: str, filename: str = "<unknown>", symbol: str = "exec") -> ast.AST:
        """The tree of a cell."""
        known, self.ready = self.ready, None
        if known is not None and (source, self.flags, symbol) == (*known[1:], "exec"):
            return known[0]
        return super().ast_parse(source, filename, symbol)


class Shell(InteractiveShell):
    """IPython without a terminal and without a kernel."""

    displayhook_class = Hook
    display_pub_class = Publisher
    outputs = Outputs()

    compiler_class = Compiler

    def transform_cell(self, raw_cell: str) -> str:
        """IPython's way looks for magics among all tokens of a cell; plain Python passes through it unchanged."""
        tree, text = parse(raw_cell, self.compile.flags)
        if tree is None:
            return super().transform_cell(raw_cell)
        self.compile.ready = tree, text, self.compile.flags
        return text

    def should_run_async(self, raw_cell: str, **about: Any) -> bool:
        """Without these words there is nothing to await, and no need to compile the cell to find out."""
        return ("await" in raw_cell or "async" in raw_cell) and super().should_run_async(raw_cell, **about)

    def enable_gui(self, gui: Any = None) -> None:
        """No event loop of a window system here."""

    def ask_exit(self) -> None:
        """``exit`` ends nothing."""

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        flush()
        try:
            text = "\n".join([str(evalue), *getattr(evalue, "__notes__", ())])
        except Exception:  # noqa: BLE001  the student's exception may fail to print itself
            text = ""
        self.outputs.send("error", str(getattr(etype, "__name__", "Error"))[:200], text[:20_000], [str(s) for s in stb])

    def system(self, cmd: str) -> None:
        """``!command``: through the shell, its output by the descriptors below."""
        flush()
        self.user_ns["_exit_code"] = os.waitstatus_to_exitcode(os.system(self.var_expand(cmd, depth=1)))


def flush() -> None:
    """Send what was printed so far."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            continue


def make_shell() -> Shell:
    """The shell, made once in the warm parent; no history file, no thread."""
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.banner1 = ""
    config.InteractiveShell.cache_size = 0
    shell = Shell.instance(config=config)
    shell.events.register("post_execute", show_figures)
    return shell


def show_figures() -> None:
    """Figures that a cell leaves open are shown below it, as in Jupyter; chapters without figures pay nothing."""
    if "matplotlib.pyplot" in sys.modules:
        from matplotlib_inline.backend_inline import flush_figures

        flush_figures()


class Executor:
    """The body's main loop: orders in, outputs out."""

    def __init__(self, wire: Wire):
        self.wire, self.shell, self.busy = wire, Shell.instance(), False
        self.shell.outputs.wire = wire
        sys.stdout, sys.stderr = Stream("stdout", self.shell.outputs), Stream("stderr", self.shell.outputs)
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
        signal.signal(signal.SIGINT, self._interrupt)
        self.orders = {"run": self.run, "files": self.files, "modules": self.modules}

    def _interrupt(self, *_: Any) -> None:
        if self.busy:
            raise KeyboardInterrupt

    def interruptible(self, flag: bool) -> None:
        """Say whether code of the notebook is running."""
        self.busy = flag

    def run(self, cell: Any, code: str, muted: bool = False) -> None:
        """Run one cell and report how it ended."""
        outputs = self.shell.outputs
        outputs.cell, outputs.muted, self.busy = cell, bool(muted), True
        try:
            result = self.shell.run_cell(code, store_history=True)
            status = "ok" if result.success else "error"
        except KeyboardInterrupt:
            status = "error"
        finally:
            self.busy = False
        self.finish(cell, status)

    def finish(self, cell: Any, status: str) -> None:
        """Tell that the cell has ended."""
        flush()
        self.shell.outputs.muted = False
        self.wire.send(["done", cell, status])

    def files(self, cell: Any, names: list[str]) -> None:
        """Lay the submission's own files into the working folder."""
        for name, data in zip(names, self.buffers, strict=True):
            os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
            with open(name, "wb") as file:
                file.write(data)
        self.finish(cell, "ok")

    def modules(self, cell: Any) -> None:
        """Name everything imported so far: the warm parent imports it before it forks the next."""
        self.finish(cell, "\n".join(name for name in list(sys.modules) if not name.startswith("__")))

    def loop(self) -> None:
        """Until the line is closed."""
        while True:
            try:
                (order, *rest), self.buffers = self.wire.recv()
            except Closed:
                return
            try:
                self.orders[order](*rest)
            except KeyboardInterrupt:  # it came between two cells
                self.busy = False
