"""Is the check of the checks right? Each sabotage of a sound chapter must be named; the sound one must pass."""

import os
import time
from dataclasses import asdict

import pytest

from autograde.authoring import library_answers
from autograde.checking import forks, table
from autograde.checking.check import check


def problems(course, **settings) -> str:
    reports = check(course, quiet=True, jobs=2, **{"seeds": 6, **settings})
    return "\n".join(f"{report.exercise}: {problem}" for report in reports for problem in report.problems)


def test_a_sound_chapter(course, capfd):
    reports = check(course, jobs=2, seeds=200)
    assert [r.problems for r in reports] == [[], []]
    sums, noise = reports
    assert [t.kind for t in sums.trials] == ["reference"] + ["alternative"] * 2 + ["mutant"] * 6 + ["stub"]
    assert all(t.full for t in sums.trials[:3]) and not any(t.full for t in sums.trials[3:])
    assert all(t.named for t in sums.of("mutant") + noise.of("mutant"))
    hidden_only = [t.name for t in sums.of("mutant") if t.passes_visible]
    assert hidden_only == ["positive_part"]
    assert sums.false_failures == {}, "an exact check needs no repetition"
    assert noise.false_failures == {"noisy_check": 0} and noise.seeds == 200
    assert "NotImplementedError: running_sum: write your answer here" in sums.of("stub")[0].text
    assert sums.library == "found"
    assert "01_tiny noisy: right" in capfd.readouterr().err
    table.show(reports, verbose=True)
    shown = capfd.readouterr().out
    assert "3/3" in shown and "6/6" in shown and "0/200" in shown and "0 with problems" in shown
    assert reports[0].document()["trials"][3]["named"] is True


MORE = """\
# %% nbgrader={"grade_id": "running_sum_more", "grade": true, "points": 1}
assert 1 + 1 == 2

# %%
sums = """
LATE = """\
late = noisy(torch.full((4000,), 3.0, dtype=torch.float64))
checks.unbiased(late, 3.0, "the mean of noisy(3)")
### BEGIN HIDDEN TESTS
moved"""
FIRST = 'checks.unbiased(draws, 0.0, "the mean of noisy(0)")'
SEVERE = 'checks.unbiased({}, 0.0, "the mean of noisy(0)", sigmas=1.2)'
C, M = "chapter", "mutants"
STYLE = "running_sum(x) if 'tril' in running_sum.__code__.co_names else 0,\n"

# what is done to the chapter: (exercise, [(file, old, new), ...], what must be said; "" for: nothing)
SABOTAGE = {
    "a check of something else": (
        "noisy",
        [(C, "checks.unbiased(moved, 3.0", "checks.unbiased(3.0 * torch.ones(99), 3.0")],
        "mutant forgets_x gets full marks",
    ),
    "a check that cannot fail": ("running_sum", [(C, "# %%\nsums = ", MORE)], "running_sum_more: no mutant fails it"),
    "points for nothing": ("running_sum", [(C, "# %%\nsums = ", MORE)], "running_sum_more: the untouched stub passes"),
    "a wrong reference": ("running_sum", [(C, "return lower @ x", "return lower.T @ x")], "reference loses points"),
    "too strict": ("running_sum", [(C, "running_sum(x),\n", STYLE)], "alternative with_a_loop loses points"),
    "a wrong alternative": ("running_sum", [(M, "total + value", "total - value")], "alternative with_a_loop loses"),
    "one unread diagnosis": ("running_sum", [(M, "must include x_i itself", "abracadabra")], ""),
    "two unread diagnoses": (
        "running_sum",
        [(M, "must include x_i itself", "abracadabra"), (M, '"twice"', '"hocus pocus"')],
        "mutant exclusive is not told 'abracadabra'",
    ),
    "a false alarm": ("noisy", [(C, FIRST, SEVERE.format("draws"))], "seeds fail a right answer; SEED ="),
    "a false alarm from a global stream": (
        "noisy",
        [(C, FIRST, SEVERE.format("noisy(torch.zeros(99))")), (C, "manual_seed(SEED)", "manual_seed(0)")],
        "seeds fail a right answer; SEED =",
    ),
    "few mutants": ("noisy", [(M, '@mutant("noisy", says="NotImplementedError")\n', "")], "5 mutants; at least 6"),
    "few alternatives": ("noisy", [(M, '@alternative("noisy")\n', "")], "1 alternatives; at least 2 are needed"),
    "no hidden test": (
        "noisy",
        [(C, "### BEGIN HIDDEN TESTS\nmoved", "moved"), (C, 'noisy(3)")\n### END HIDDEN TESTS', 'noisy(3)")')],
        "noisy: no hidden test",
    ),
    "hidden tests that add nothing": (
        "noisy",
        [(C, "### BEGIN HIDDEN TESTS\nmoved", LATE)],
        "no mutant passes the visible checks and fails the hidden ones",
    ),
    "a borrowed reference": ("running_sum", [(C, "lower @ x", "torch.cumsum(x, 0)")], "which scores 0"),
    "a cell that leans on a check": ("noisy", [(C, "sums = checks", "y = secret_input\nsums = checks")], "check cells"),
    "a check that leans on a lab": (
        "noisy",
        [
            (
                C,
                '# %% [markdown] exercise={"id": "noisy"',
                '# %% tags=["lab"]\nwidth = 4000\n\n# %% [markdown] exercise={"id": "noisy"',
            ),
            (C, "torch.full((4000,)", "torch.full((width,)"),
        ],
        "name 'width' is not defined",
    ),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_a_sabotage_is_named(course, edit, name, monkeypatch):
    monkeypatch.setattr("autograde.checking.check.LEAST", 1.0)
    exercise, edits, says = SABOTAGE[name]
    for file, old, new in edits:
        edit(old, new, course / "solutions" / "01_tiny" / f"{file}.py")
    found = problems(course, exercises=[exercise], seeds=40 if "false alarm" in name else 3)
    assert (says in found) if says else (found == ""), found


def test_one_exercise_alone_and_an_unknown_one(course):
    (report,) = check(course, exercises=["noisy"], quiet=True, seeds=2)
    assert report.exercise == "noisy" and not report.problems
    with pytest.raises(library_answers.Refusal, match="no exercise absent; there are noisy, running_sum"):
        check(course, exercises=["absent"], quiet=True)


# --- answers that call the library's own


CONTEXT = ["from genmodels import core\nimport genmodels.core as gc\nimport torch"]
CHEATS = [
    "from genmodels.core import expand as mine",
    "from genmodels.core import expand\nmine = expand",
    "import genmodels\ndef mine(v, x):\n    return genmodels.core.expand(v, x)",
    "def mine(v, x):\n    return core.expand(v, x)",
    "def mine(v, x):\n    from genmodels.core import expand as e\n    return e(v, x)",
    "def mine(v, x):\n    return gc.expand(v, x)",
    "c = core\nd = c\nmine = lambda v, x: d.expand(v, x)",
    "mine = getattr(core, 'expand')",
    "import importlib\nmine = importlib.import_module('genmodels.core').expand",
    "mine = __import__('genmodels.core').core.expand",
    "from genmodels.core import *\ndef mine(v, x):\n    return expand(v, x)",
]
HONEST = [
    "def mine(v, x):\n    return v.reshape(-1, *[1] * (x.ndim - 1))",
    "def mine(v, x):\n    return v.expand(3)",
    "def expand(v, x):\n    return v\ndef mine(v, x):\n    return expand(v, x)",
    "def mine(v, core):\n    return core.expand(v)",
    "def mine(v, x):\n    return core.sum_except_batch(x)",
    "def mine(v, x):\n    'like core.expand'\n    return 'core.expand'",
    "def mine(v, x:\n    syntax error",
]


@pytest.mark.parametrize("source", CHEATS)
def test_a_borrowed_answer_is_found_in_its_text(source):
    assert library_answers.found(source, ["genmodels.core.expand"], CONTEXT)


@pytest.mark.parametrize("source", HONEST)
def test_an_honest_answer_is_not_accused(source):
    assert library_answers.found(source, ["genmodels.core.expand"], CONTEXT) == []


def test_the_same_object_under_another_name_is_found(monkeypatch):
    from coursekit import checks

    assert checks.close is checks.values.close
    assert library_answers.found("from coursekit.checks.values import close as mine", ["coursekit.checks.close"])


def test_a_name_that_does_not_exist_is_refused():
    with pytest.raises(library_answers.Refusal, match="genmodels.core.absent, which does not exist"):
        library_answers.resolve("genmodels.core.absent")


DYNAMIC = {
    "built name": "import genmodels.core\ndef mine(v, x):\n    return getattr(genmodels.core, 'ex' + 'pand')(v, x)",
    "kept from before": "def mine(v, x):\n    return kept(v, x)",
    "through functools": "import functools\ndef mine(v, x):\n    return functools.partial(kept, v)(x)",
    "through vmap": "import torch\ndef mine(v, x):\n    return torch.vmap(lambda a: kept(a, a))(x)",
    "a model": "def mine(v, x):\n    return Kept()",
}


@pytest.mark.parametrize("how", DYNAMIC)
def test_out_of_reach_while_it_runs(how):
    def trial():
        import torch

        from autograde.checking import trial as trials
        from genmodels import core
        from genmodels.nets import MLP

        names = {"kept": core.expand, "Kept": MLP}
        banned = ["genmodels.core.expand", "genmodels.nets.MLP"]
        library_answers.remove("mine", banned, lambda frame: frame.f_code.co_filename == "<answer mine>", [names])
        trials.execute(DYNAMIC[how], "<answer mine>", names)
        x = torch.ones(2, 3)
        yield trials.attempt("mine(x[:, 0], x)", "<check>", names | {"x": x})
        core.expand(x[:, 0], x)  # the library and the checks may go on using it
        yield "the check may"

    (outcome,) = forks.run_all({"": trial}).values()
    assert not outcome.died, outcome.died
    assert "the library's own answer to this exercise: 0 points" in outcome.events[0]
    assert outcome.events[1] == "the check may"


# --- forks


def test_what_a_fork_says_arrives_even_when_it_dies():
    def dies():
        yield 1
        os._exit(0)

    def raises():
        yield 2
        raise ValueError("told")

    def loops():
        yield 3
        while True:
            pass

    def killed():
        os.kill(os.getpid(), 15)
        yield 4

    tasks = {f.__name__: f for f in (dies, raises, loops, killed)}
    got = forks.run_all(tasks, jobs=4, seconds=1)
    assert [got[k].events for k in tasks] == [[1], [2], [3], []]
    assert got["dies"].died == "ended the Python process (exit code 0)"
    assert "ValueError: told" in got["raises"].died
    assert got["loops"].died == "did not stop within 1 s and was ended"
    assert "SIGTERM" in got["killed"].died


def test_a_sleeper_and_its_children_are_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(forks, "WALL", 1.0)
    mark = tmp_path / "pid"

    def sleeps():
        pid = os.fork()
        if not pid:
            time.sleep(60)
            os._exit(0)
        mark.write_text(str(pid))
        time.sleep(60)
        yield 1

    (outcome,) = forks.run_all({"": sleeps}, seconds=1).values()
    assert outcome.died == "did not stop within 1 s and was ended"
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{mark.read_text()}") and time.monotonic() < deadline:
        state = open(f"/proc/{mark.read_text()}/stat").read().rsplit(")", 1)[1].split()[0]
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        assert not os.path.exists(f"/proc/{mark.read_text()}")


def test_a_large_event_arrives_whole():
    (outcome,) = forks.run_all({"": lambda: iter(["x" * 300_000, "y"])}).values()
    assert [len(event) for event in outcome.events] == [300_000, 1]


def test_outcomes_do_not_share_state():
    a, b = forks.Outcome(), forks.Outcome()
    a.events.append(1)
    assert asdict(b)["events"] == []


def test_a_costly_repetition_is_noted_but_does_not_fail(course, monkeypatch, capsys):
    monkeypatch.setattr("autograde.checking.check.COSTLY", 0.0)
    (report,) = check(course, exercises=["noisy"], quiet=True, seeds=4)
    assert report.problems == [] and "s for 4 seeds: draw less" in report.notes[0]
    table.show([report])
    assert "draw less" in capsys.readouterr().out
