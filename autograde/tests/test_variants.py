"""Variants are read as text: renamed wherever they speak of themselves, and refused where they make no sense."""

import ast

import pytest

from autograde.authoring.notebooks import student as notebook_with
from autograde.authoring.variants import alternative, every, mutant, variants
from autograde.errors import AuthoringError


def add(course, text: str) -> None:
    path = course / "solutions" / "01_tiny" / "mutants.py"
    path.write_text(path.read_text() + "\n\n" + text)


def test_order_and_kinds(chapter):
    found = variants(chapter, "running_sum")
    assert [v.kind for v in found] == ["reference"] + ["alternative"] * 2 + ["mutant"] * 6 + ["stub"]
    assert found[0].source == chapter.exercise("running_sum").reference
    assert "SOLUTION" not in found[0].source and "lower @ x" in found[0].source
    assert "NotImplementedError" in found[-1].source and "lower @ x" not in found[-1].source


def test_a_variant_defines_the_exercise_and_calls_itself_by_that_name(chapter):
    (recursive,) = (v for v in variants(chapter, "running_sum") if v.name == "recursive")
    assert "@" not in recursive.source.split("def")[0]
    assert "recursive" not in recursive.source and recursive.source.count("running_sum") == 2
    for variant in every(chapter):
        assert [node.name for node in ast.parse(variant.source).body] == [variant.exercise]


def test_only_whole_names_are_changed(course, chapter):
    add(
        course,
        '@mutant("noisy", says="x")\ndef n(x, generator=None):\n    """n is not renamed in text: n."""\n'
        "    one, n2 = x.n, 3  # n\n    return n(one, n2)\n",
    )
    source = next(v.source for v in every(chapter) if v.name == "n")
    assert source.split("\n")[0] == "def noisy(x, generator=None):"
    assert "n is not renamed in text: n." in source and "n2 = " in source and "return noisy(one, n2)" in source


def test_classes_too(course, chapter):
    add(course, '@alternative("noisy")\nclass Other(dict):\n    def f(self):\n        return super(Other, self).f()\n')
    source = next(v.source for v in every(chapter) if v.name == "Other")
    assert source.startswith("class noisy(dict):") and "super(noisy, self)" in source


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('@mutant("absent", says="x")\ndef a(): ...', "the chapter has no exercise 'absent'"),
        ('@mutant("noisy")\ndef a(): ...', 'write @alternative("exercise") or'),
        ('@alternative("noisy", says="x")\ndef a(): ...', 'write @alternative("exercise") or'),
        ('@mutant("noisy", says=WORDS)\ndef a(): ...', "must be plain strings"),
        ("@cache\ndef a(): ...", "only @alternative and @mutant"),
        ('@mutant("noisy", says="x")\ndef uniform(x): ...', "uniform is defined twice"),
    ],
)
def test_a_variant_that_makes_no_sense(course, chapter, text, says):
    add(course, text + "\n")
    with pytest.raises(AuthoringError, match="mutants.py") as error:
        every(chapter)
    assert says in str(error.value)


def test_the_decorators_leave_the_code_usable():
    @alternative("a")
    def right(x):
        return x

    @mutant("a", says="phrase")
    def wrong(x):
        return -x

    assert right(1) == 1 and wrong(1) == -1
    assert right.autograde == ("alternative", "a") and wrong.autograde == ("mutant", "a", "phrase")


def test_a_notebook_with_answers_is_the_students_one(chapter):
    from autograde.authoring.notebooks import student

    answers = {"noisy": next(v.source for v in variants(chapter, "noisy") if v.name == "uniform")}
    filled, empty = notebook_with(chapter, answers), student(chapter)
    differ = [a.id for a, b in zip(filled.cells, empty.cells, strict=True) if a != b]
    assert len(differ) == 1
    assert next(c.source for c in filled.cells if c.id == differ[0]) == answers["noisy"]
    with pytest.raises(Exception, match="no exercise 'absent'"):
        notebook_with(chapter, {"absent": "pass"})
