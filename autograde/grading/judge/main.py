"""The judge body: the instructor's cells, in which the names that answers bind stand for the student's objects."""

from __future__ import annotations

from typing import Any

import torch

from autograde.grading.inside.executor import Executor
from autograde.grading.judge.session import Session
from autograde.grading.wire import Closed, Malformed, Wire


class Judge:
    """Runs the instructor's ordinary cells and the tests."""

    def __init__(self, executor: Executor, wire: Wire):
        self.executor, self.session = executor, Session(wire)
        self.space = executor.shell.user_ns

    def cell(self, cell: Any, code: str, names: list[str], muted: bool) -> None:
        """One cell of the instructor's; ``names`` are looked up in the student's process first."""
        outputs = self.executor.shell.outputs
        outputs.cell, outputs.muted = cell, muted
        status = "error"
        try:
            found = self.session.names(names)
            for name in names:
                self.space.pop(name, None)
            self.space.update(found)
            precision = torch.get_default_dtype()
            if self.session.double and not muted:  # the student's notebook would compute its checks so too
                torch.set_default_dtype(torch.float64)
            status = "ok" if self.executor.shell.run_cell(code, store_history=True).success else "error"
            if not muted:
                torch.set_default_dtype(precision)
        except (Closed, Malformed):
            pass
        self.session.close(test=not muted)
        if self.session.broken:
            status = "malformed"
        elif self.session.gone:
            status = "gone"
        self.executor.finish(cell, status)

    def codes(self, cell: Any, dotted: list[str], still: list[str]) -> None:
        """The code of the library's answers, for the student's process once no later exercise bans them."""
        from autograde.grading.inside.reach import codes

        every = [codes(name, still) for name in dotted]
        self.executor.wire.send(["codes", cell, [len(part) for part in every]], [c for part in every for c in part])


def enter(line: Any, peer: Any) -> None:
    """The judge body's main loop."""
    executor = Executor(Wire(line))
    judge = Judge(executor, Wire(peer))
    executor.orders |= {"cell": judge.cell, "codes": judge.codes}
    executor.loop()
