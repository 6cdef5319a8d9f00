"""Errors that carry a sentence for a person; the command line prints them without a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class Refusal(Exception):
    """The command cannot go on; the message says what to change. Exit code 2."""


class AuthoringError(Refusal):
    """A chapter is not well formed: one line a problem, each with its file and line."""

    def __init__(self, problems: Iterable[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))
