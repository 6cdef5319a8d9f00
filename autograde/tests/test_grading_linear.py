# ruff: noqa: E501  cells are quoted here in few lines
"""Whatever the instructor's process does with a student's bytes takes processor time in proportion to the bytes.

Every reader is given texts of many kinds, each made of one piece repeated, at one size and at sixteen times that size.
In proportion the longer one takes 16 times as long, with the square of the length 256 times. The line is drawn halfway,
at 64: a busy machine may be wrong by a factor of four either way. What takes less than ``NOTHING`` seconds is not
compared. Processor time of this thread, the least of several.
"""

import gc
import json
import socket
import struct
import time

import pytest
from nbformat import v4

from autograde.grading import console
from autograde.grading.attacks import target
from autograde.grading.feedback import clean, colours, page, reasons
from autograde.grading.intake import plan, submission
from autograde.grading.intake.graft import graft
from autograde.grading.record import gradebook
from autograde.grading.record.result import CellResult, Result, TestResult
from autograde.grading.sandbox import outputs
from autograde.grading.sandbox.process import Inbox

TIMES_AS_LONG = 16
TIMES_THE_TIME = 64  # the power 1.5: halfway between in proportion and with the square
NOTHING = 0.1
PIECES = [
    "a", " ", "\t", "\n", "\r\n", " \n", "\x1b", "\x1b]", "\x1b[", "\x1b[0", "\x1b[0;", "\x1b]8;;\x1b\\", "\x07", "\\", "\\\n",
    "a=!b\n", "a = %b\n", "!a\n", "!true\n", ".b", "%a\n", "%%a\n", "?\n", "a?\n", "a,b=!c\n", "(", "[", "{", "()", "[[]]", "a(", "a[", "a.",
    "a,", "*a,", "a=", "a<", "-", "not ", "lambda:", "a if b else ", "f'{", "f'{a", "'", '"', "'''", '"""', '"""\\', "'\\", "rb",
    "#", "# a\n", "@a\n", "if a:\n ", "class A:\n ", "x = (\n", "def f(): pass\n", "1", "0x", "1_", "é", "𝔘", "\u202e", "\u0301",
    "<", "<b>", "</b>", "<b></i>", "<b>x</b>", "<br>", "<!--", "<!--a-->", "<b a=", "<b a='", "<table><tr><td>", "<p>", "<li>",
    "&", "&#", "&amp;", "`", "``", "*", "**a ", "*a_", "_", "~~", "[a](", "![", "[a]: b\n", "> ", "- ", "1. ", "$", "$$", "\\(",
    "|a|b|\n", "http://a.", "<http://", "a@", "\\href", "Likely mistake: ", "  a  b\n", "line\n", "in your code, ", "[red]", "=",
]  # fmt: skip


@pytest.fixture(scope="module")
def bait_plan():
    return plan.make(target.CHAPTER, target.NOTEBOOK, target.notebook())


def spent(work, given, times=1):
    least = float("inf")
    for _ in range(times):
        start = time.thread_time()
        work(given)
        least = min(least, time.thread_time() - start)
    return least


@pytest.fixture(autouse=True)
def no_collector():
    """Python's collector looks through everything that lives, torch included, whenever much is made."""
    gc.disable()
    yield
    gc.enable()


def grows(work, make, size):
    """(seconds at a sixteenth of the size, seconds at the size) where the growth is more than linear, else None."""
    small, large = make(size // TIMES_AS_LONG), make(size)
    for times in (1, 3, 5):  # a suspicion is looked into again: other work on the machine only adds
        after = spent(work, large, times)
        if after < NOTHING:
            return None
        before = max(spent(work, small, 3), NOTHING / TIMES_THE_TIME)
        if after < TIMES_THE_TIME * before:
            return None
    return before, after


def repeated(piece):
    return lambda size: (piece * (size // len(piece) + 1))[:size]


def everywhere(work, size, pieces=PIECES):
    work(repeated("ab ")(size))  # whatever is imported late is imported now
    found = {piece: grows(work, repeated(piece), size) for piece in pieces}
    assert not {piece: times for piece, times in found.items() if times}


def collected(text):
    collector = outputs.Collector(1 << 20, 20 << 20)
    collector.take(["stream", "stdout", text])
    collector.take(["error", "E", text, [text] * 3])
    collector.take(["display", {"text/plain": text, "text/html": [text]}, {}])
    return collector.outputs


def failed(text, ename="CheckFailed"):
    return TestResult("double_check", "failed", 0.0, 2.0, ename, text, "double")


def explained(text):
    result = Result("s", tests=[failed(text), failed(text, "AssertionError"), failed(text, "ValueError")], notes=[text])
    return reasons.explain(result), reasons.mistakes(result)


READERS = {
    "the text of an output": (outputs.plain, 1 << 20),
    "all that a cell can say": (collected, 400_000),
    "a cell as Python": (plan.bound, plan.CODE_MAX),
    "a far too long cell": (plan.parse, 1 << 20),
    "a cell in colours": (colours.code, 200_000),
    "prose": (clean.markdown, clean.FRAGMENT_MAX),
    "HTML": (clean.fragment, clean.FRAGMENT_MAX),
    "a picture": (lambda text: clean.image("image/png", text), 1 << 20),
    "a form of an output": (lambda text: clean.bundle({"text/html": text, "text/plain": text, "image/png": text}), 60_000),
    "a reason": (explained, 20_000),
    "a line for a person": (console.line, 1 << 20),
    "a cell's source": (submission.text_of, 1 << 20),
    "a file that is no notebook": (lambda text: refused(text), 1 << 20),
}  # fmt: skip


def refused(text):
    with pytest.raises(submission.NotGradable):
        submission.parse(text.encode("utf-8", "replace"))


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_takes_time_in_proportion_to_the_text(reader):
    work, size = READERS[reader]
    everywhere(work, size)


def test_a_whole_notebook_is_read_grafted_shown_and_recorded_in_proportion(bait_plan):
    """Sources, outputs, prose, metadata, attachments, names and copies of cells: the file in one place after another."""
    template = gradebook.released(bait_plan)

    def work(text):
        cells = [
            {**c, "source": text, "metadata": c["metadata"] | {text[:200]: text}} for c in target.released()["cells"]
        ]
        cells += [{"cell_type": "markdown", "source": text, "attachments": {"a": {"image/png": text}}, "metadata": {}}]
        handed_in = submission.Submission("s", submission.cells_of({"cells": cells}))
        done = graft(bait_plan, handed_in)
        shown = [CellResult(c.step and c.step.index, c.source, c.kind, collected(text)) for c in done.cells]
        result = Result("s", cells=shown, tests=[failed(text)], notes=done.notes)
        page.Page(bait_plan, result).html()
        json.dumps(gradebook.assemble(template, result))

    everywhere(work, 40_000, PIECES[::3])


def test_copies_of_cells_are_grafted_in_proportion(bait_plan):
    def work(count):
        own = [submission.Cell("code", f"def double(x): return {n}", "double", None) for n in range(count)]
        graft(bait_plan, submission.Submission("s", own))

    assert grows(work, lambda size: size, submission.CELLS_MAX) is None


MESSAGES = {
    "lines": ["stream", "stdout", "x\n"],
    "nothing": ["stream", "stdout", ""],
    "both streams in turn": None,
    "errors": ["error", "E", "e", ["t"] * 3],
    "values": ["result", {"text/plain": "1"}, {}],
    "clearings": ["clear", True],
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_many_small_outputs_cost_what_they_are_in_number(kind):
    def work(count):
        collector = outputs.Collector(1 << 20, 20 << 20)
        for n in range(count):
            collector.take(MESSAGES[kind] or ["stream", ("stdout", "stderr")[n % 2], "x"])
        return collector.outputs

    assert grows(work, lambda size: size, 200_000) is None


def test_a_message_in_small_pieces_is_understood_once():
    """Its head was parsed again for each piece that arrived of its buffers."""

    def work(count):
        a, b = socket.socketpair()
        with a, b:
            inbox = Inbox(b)
            head = json.dumps([["stream", 1, ["x"] * 20_000], [count]]).encode()
            a.sendall(struct.pack("<I", len(head)) + head)
            found = inbox.read()
            for _ in range(count):
                a.send(b"y")
                found += inbox.read()
            assert len(found) == 1 and found[0][1] == [b"y" * count]

    assert grows(work, lambda size: size, 8_000) is None


def test_the_square_is_told_from_a_proportion():
    """The measure itself: two loops of known growth."""

    def loop(count):
        for _ in range(count):
            pass

    assert grows(loop, lambda size: 100 * size, 160_000) is None
    assert grows(lambda size: loop(size * size // 100), lambda size: size, 32_000) is not None


def test_magics_are_left_out_of_a_cell_and_the_names_stay():
    cell = "x = !ls\n%matplotlib inline\n%%time\nfor i in q:\n    !ls\n    z = %pwd\nprint?\n%timeit \\\n  foo\na, b = !ls\ny = 1"
    assert plan.bound(cell) == {"x", "i", "z", "a", "b", "y"}
    assert plan.parse("x = '''\n%a\n'''").body[0].value.value == "\n%a\n"  # plain Python is never touched
    assert plan.parse("this is no Python") is None


def test_colours_lose_no_character():
    from html.parser import HTMLParser

    class Text(HTMLParser):
        def __init__(self):
            super().__init__()
            self.said = ""

        def handle_data(self, data):
            self.said += data

    sources = [c.source for c in target.notebook().cells] + [
        "x = 'open\n'''more",
        '"""a\\',
        "rb'\\x00' + 1e-3 @ b #é\n<b>&amp;",
    ]
    for source in sources:
        page = Text()
        page.feed(colours.code(source))
        assert page.said.rstrip("\n") == source.rstrip("\n")


def test_html_that_is_harmless_stays_what_it_was():
    table = '<table><tbody><tr><td align="right">1 &lt; 2</td></tr></tbody></table>'
    assert clean.fragment(table) == table
    assert clean.fragment("<!-- hidden -->a <b>b</b> 1 < 2") == "a <b>b</b> 1 &lt; 2"
    nested = clean.fragment("<div>" * 500 + "x")
    assert nested.count("<div>") <= clean.DEPTH_MAX + 1 and "[cut here]" in nested


def test_nbgraders_pages_colour_in_proportion_too():
    from nbconvert.exporters import HTMLExporter
    from traitlets.config import Config

    from autograde.grading.instructor.preprocessors import configure

    config = Config()
    configure(config)
    exporter = HTMLExporter(config=config, template_name="basic")

    def work(text):
        exporter.from_notebook_node(v4.new_notebook(cells=[v4.new_code_cell(text)]))

    everywhere(work, 20_000, ["\n", " \n", "'''", "(", "<b>", "\x1b["])
