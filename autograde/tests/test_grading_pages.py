# ruff: noqa: E501  cells are quoted here in few lines
"""What leaves with a feedback page: no hidden input, whoever prints it and however long the sentence."""

import os
import subprocess
import sys

import pytest

from autograde.grading.attacks import target
from autograde.grading.instructor import session
from autograde.grading.record.result import TOLD_MAX

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
RIGHT = target.right()
# The first test's hidden input reaches `seen`; each of these then tries to carry it to a page. 600 characters of it.
KEEP = "seen = []\ndef double(x):\n    seen.append('LEAK' * 150 if torch.is_tensor(x) else '')\n    return 2 * x"
CARRIERS = {
    "printed by a later answer": {"facts": "print(seen[-1])\n" + RIGHT["facts"]},
    "on stderr": {"facts": "import sys\nprint(seen[-1], file=sys.stderr)\n" + RIGHT["facts"]},
    "the value of a later answer": {"facts": RIGHT["facts"] + "\nseen[-1]"},
    "displayed": {"facts": "from IPython.display import display\ndisplay(seen[-1])\n" + RIGHT["facts"]},
    "printed in a test": {"facts": "def facts():\n    print(seen[-1])\n    return {}"},
    "an error of a later cell": {"facts": "raise ValueError(seen[-1])"},
    "an assertion in a test": {"facts": "def facts(): raise AssertionError(seen[-1])"},
    "an error in a test": {"facts": "def facts(): raise RuntimeError(seen[-1])"},
    "an unsolved exercise": {"facts": "def facts(): raise NotImplementedError(seen[-1])"},
    "an error by a check's name": {"facts": "class CheckFailed(AssertionError): pass\ndef facts(): raise CheckFailed(seen[-1])"},
    "a note on an error": {"facts": "def facts():\n    e = ValueError('x'); e.add_note(seen[-1]); raise e"},
    "the name of an error": {"facts": "def facts(): raise type(seen[-1], (ValueError,), {})()"},
    "a class that is returned": {"facts": "def facts(): return type(seen[-1], (), {})()"},
}  # fmt: skip


def leaked(page):
    return page.count("LEAK") * 4


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    target.write_course(root)
    names = {}
    for number, (name, answers) in enumerate(CARRIERS.items()):
        names[name] = f"s{number}"
        target.write_submission(root, f"s{number}", RIGHT | {"double": KEEP} | answers)
    target.write_submission(root, "early", {**RIGHT, "double": "print('EARLY')\n" + RIGHT["double"]})
    session.run(root, "07", session.Options(jobs=2), quiet=True)
    ours = {p.parent.parent.name: p.read_text() for p in session.feedback(root, "07", None, None)}
    bin_ = os.path.dirname(sys.executable)
    env = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}
    command = [f"{bin_}/nbgrader", "generate_feedback", target.CHAPTER, "--force"]
    subprocess.run(command, cwd=root, env=env, check=True, capture_output=True)
    theirs = {p.parent.parent.name: p.read_text() for p in (root / "feedback").rglob("*.html")}
    return names, ours, theirs


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize("whose", ["ours", "nbgrader's"])
def test_a_hidden_input_does_not_leave_by_a_page(pages, name, whose):
    names, ours, theirs = pages
    page = (ours if whose == "ours" else theirs)[names[name]]
    assert leaked(page) <= 2 * TOLD_MAX, leaked(page)


def test_what_was_printed_before_any_hidden_test_is_still_shown(pages):
    assert "EARLY" in pages[1]["early"] and "EARLY" in pages[2]["early"]
