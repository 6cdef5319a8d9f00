"""The form of checks as recorded cases: what an author gets wrong is named, what a student reads is true."""

import json
import os

import pytest
import torch

from autograde.authoring import build, notebooks, records
from autograde.authoring.chapters import select
from autograde.checking.check import check
from autograde.checking.judge_agreement import cross
from autograde.errors import AuthoringError
from coursekit import checks
from coursekit.checks import records as files
from coursekit.checks.records import Examination
from coursekit.checks.running import examine, passes

PLACE = "solutions/01_small"
REST = "hidden cases remain and run when your notebook is graded."


def edit(course, file, *pairs):
    path = course / PLACE / file
    text = path.read_text()
    for old, new in pairs:
        assert old in text, f"{old!r} is not in {file}"
        text = text.replace(old, new, 1)
    path.write_text(text)


@pytest.fixture
def student(recorded, monkeypatch):
    """A student's folder, and an empty memory of records."""
    monkeypatch.setattr(files, "_used", {})
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    build.write(recorded)
    monkeypatch.chdir(recorded / "course" / "01_small")
    return recorded


def read(name, answer) -> str:
    try:
        checks.run(name, answer)
    except checks.CheckFailed as error:
        return str(error)
    return ""


def softened(x, scale):
    return (scale * x.sigmoid()).cumsum(-1)


def test_a_sound_course_passes_and_the_judge_agrees(recorded):
    reports = check(recorded, jobs=2, seeds=20, quiet=True)
    assert [r.problems for r in reports] == [[], [], []]
    for report in reports:
        said = report.derived
        assert said.wrong > 15 and said.caught > 5 and said.right >= 4
        assert not said.slipped + said.refused + said.fits + said.mistold
        assert all(trial.named for trial in report.of("mutant")), "each mistake is told its own sentence"
    cross(recorded, None, reports, jobs=2)
    assert all(len(report.judged) > 12 and all(report.judged.values()) for report in reports)


SAMPLED = "noisy = Exercise(truth=lambda x, std, generator=None: x, view"
SABOTAGE = {
    "a case without a truth": (
        [("checks.py", "(0.0, 1.0, 4000), WANT,", "(0.0, 1.0, 4000),")],
        r"checks.py:\d+: noisy: '4,000 draws around 0': no truth",
    ),
    "a sampled part without its mean": (
        [
            ("checks.py", '    "mean of z^2": [1.0, 1.0],\n', ""),
            ("checks.py", "noisy = Exercise(view", SAMPLED),
        ],
        r"noisy: .*mean of z\^2 is sampled; its exact mean must stand in `want`",
    ),
    "two cases with one text": (
        [("checks.py", '"three rows of four"', '"two rows of five"')],
        r"another case has this text \(line \d+\)",
    ),
    "no hidden case": (
        [("checks.py", ", hidden=True, rows=6", ", rows=6"), ("checks.py", "softened.again(first)\n", "\n")],
        "softened: no hidden case",
    ),
    "a truth that fails": (
        [("checks.py", "total, sums = 0.0, []", "total, sums = 1 / 0, []")],
        "the truth itself fails: ZeroDivisionError",
    ),
    "a mistake that is right": (
        [("answers.py", "    return sums(x.sigmoid())\n", "    return sums(scale * x.sigmoid())\n")],
        r"answers.py:\d+: softened: no_scale is right on every case",
    ),
    "two mistakes that no case tells apart": (
        [("answers.py", "    return sums(scale * x)\n", "    return sums(x.sigmoid())\n")],
        r"answers.py:\d+: softened: no_sigmoid: no case tells it from no_scale",
    ),
    "a sentence used twice": (
        [("answers.py", '"the sigmoid is missing"', '"the scale is missing"')],
        r"no_sigmoid: its sentence is also that of no_scale",
    ),
    "an input that cannot be recorded": (
        [("checks.py", "(draws(2, 5, seed=0), 1.5)", "(draws(2, 5, seed=0), object())")],
        "object cannot be recorded; make it in a recipe",
    ),
    "an error in checks.py": ([("checks.py", "WANT = {", "WANT = oops + {")], r"checks.py:\d+: NameError: .*oops"),
    "an exercise that is not there": ([("checks.py", "is_even =", "is_odd = is_even =")], "has no exercise is_odd"),
    "a gradient in no argument": (
        [("checks.py", 'gradient=["x"]', 'gradient=["y"]')],
        "no argument y",
    ),
    "a view that uses the author's side": (
        [("checks.py", "    z = (answer(x", "    Exercise\n    z = (answer(x")],
        "uses a name from autograde",
    ),
    "a decorator of another kind": (
        [("answers.py", '@right("noisy")', "@staticmethod")],
        "in_one_call: only @right and @wrong",
    ),
    "a mistake without a sentence": (
        [("answers.py", '"x is forgotten"', '""')],
        "write @right",
    ),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_what_an_author_gets_wrong_is_named_with_its_place(recorded, what):
    edits, said = SABOTAGE[what]
    for file, old, new in edits:
        edit(recorded, file, (old, new))
    with pytest.raises(AuthoringError, match=said):
        build.write(recorded)


HELPER = """\
def helper(x, scale):
    n = x.shape[-1]
    return (scale * x.sigmoid()) @ torch.ones(n, n, dtype=x.dtype).triu()


sums = checks.fallback("""
HOLES = {
    "a right answer is refused": ("answers.py", "total + scale", "total + 1.1 * scale", "by_loop loses points"),
    "derived answers slip through": (
        "checks.py",
        ', gradient=["x"]',
        "",
        "full marks: the gradient is cut",
    ),
    "the reference is biased": ("checks.py", '"mean of z": [0.0', '"mean of z": [0.2', "seeds refuse a right answer"),
    "the folder shows an answer": (
        "chapter.py",
        "sums = checks.fallback(",
        HELPER,
        "helper of the notebook gets full",
    ),
}


@pytest.mark.parametrize("what", HOLES)
def test_holes_are_found(recorded, what):
    file, old, new, said = HOLES[what]
    name = "noisy" if "biased" in what else "softened"
    edit(recorded, file, (old, new))
    found = [problem for report in check(recorded, jobs=2, quiet=True, exercises=[name]) for problem in report.problems]
    assert any(said in problem for problem in found), found


def test_a_student_gets_visible_cases_only_and_no_answer(student):
    folder = student / "course" / "01_small"
    held = files.read((folder / files.FILE).read_bytes())
    assert {name: len(r["cases"]) for name, r in held.items()} == {"softened": 3, "noisy": 3, "is_even": 9}
    text = json.dumps(held) + (folder / "small.ipynb").read_text()
    for secret in ("one_by_one", "a cube", "another constant", "1 / (1 + math.exp", "checks.use", "cumsum"):
        assert secret not in text.replace('"torch.cumsum"', "").replace(".cumsum(-1), works", ""), secret


def test_nbgraders_source_grades_without_a_file(student, monkeypatch, tmp_path):
    chapter = select(student)[0]
    cells = {c.metadata.get("nbgrader", {}).get("grade_id"): c for c in notebooks.source(chapter).cells}
    source = cells["softened_check"].source
    assert source.startswith("### BEGIN HIDDEN TESTS\nchecks.use(") and "a cube" not in source
    monkeypatch.chdir(tmp_path)
    exec(source, {"checks": checks, "softened": softened})
    with pytest.raises(checks.CheckFailed, match="not solved"):
        exec(source, {"checks": checks, "softened": stub})


def stub(*_):
    raise NotImplementedError("softened: write your answer here")


def test_an_untouched_answer_is_a_note_of_two_lines_and_no_error(student, capsys, monkeypatch):
    checks.run("softened", stub)
    assert capsys.readouterr().out.splitlines() == [
        "softened is not solved yet.",
        "Write it in the cell above, run that cell, then run this one again.",
    ]
    monkeypatch.setenv("NBGRADER_EXECUTION", "validate")
    assert "softened is not solved" in read("softened", stub), "nbgrader's validation must not call it right"


def test_a_right_answer_reads_that_hidden_cases_remain(student, capsys):
    checks.run("softened", softened)
    assert capsys.readouterr().out == f"softened: 3 cases right; {REST}\n"


def test_without_its_file_a_check_says_what_is_missing(student, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="checks.json.gz belongs beside the notebook"):
        checks.run("softened", softened)
    monkeypatch.chdir(student)  # an editor that starts in the folder above
    checks.run("softened", softened)


TOLD = {
    "the scale is missing": (lambda x, scale: x.sigmoid().cumsum(-1), "Likely mistake: the scale is missing"),
    "the sign": (lambda x, scale: -softened(x, scale), "the right numbers with the opposite sign"),
    "a factor": (lambda x, scale: 3 * softened(x, scale), "3 times the right numbers, everywhere"),
    "an offset": (lambda x, scale: softened(x, scale) + 0.25, "the right numbers plus 0.25, everywhere"),
    "reversed": (lambda x, scale: softened(x, scale).flip(-1), "reversed"),
    "float32 inside": (lambda x, scale: softened(x.float(), scale).double(), "float32"),
    "float32 outside": (lambda x, scale: softened(x, scale).float(), "expected"),
    "the gradient is cut": (lambda x, scale: softened(x, scale).detach(), "gradient in x"),
    "in place": (lambda x, scale: softened(x, scale) + 0 * x.data.mul_(2), "changes its arguments"),
    "another shape": (
        lambda x, scale: softened(x, scale).flatten(),
        "in the right order, in another shape",
    ),
    "one row only": (
        lambda x, scale: softened(x, scale) * (1.0 if x.ndim == 1 else 2.0),
        "rows (wrong from 2, right up to 1)",
    ),
    "nothing": (lambda x, scale: None, "None came back"),
    "an error": (lambda x, scale: x.no_such_thing, "AttributeError"),
}


@pytest.mark.parametrize("what", TOLD)
def test_what_a_wrong_answer_reads(student, what):
    answer, said = TOLD[what]
    text = read("softened", answer)
    assert said in text, text
    assert ("Likely mistake" in text) == said.startswith("Likely mistake"), "a name only when the mistake explains all"


def test_nan_is_no_evidence_of_anything(student):
    text = read("softened", lambda x, scale: softened(x, scale) * float("nan"))
    assert "not finite" in text and "Likely mistake" not in text


def test_a_name_needs_every_case(student):
    text = read("softened", lambda x, scale: (x.sigmoid() if x.ndim == 1 else 1.01 * x.sigmoid()).cumsum(-1))
    assert text and "the scale is missing" not in text


def test_an_answer_that_keeps_something_between_calls_is_told_so(student):
    kept = []
    text = read("softened", lambda x, scale: softened(x, scale) + 0.01 * (kept.append(0) or len(kept) > 3))
    assert "two results for one and the same case" in text


def test_hidden_cases_say_their_facets_and_no_number(recorded):
    record = records.records(select(recorded)[0])["softened"]
    with pytest.raises(checks.CheckFailed) as error:
        examine(Examination(record), lambda x, scale: softened(x, scale) if x.ndim < 3 else 0 * x)
    text = str(error.value)
    assert "a hidden case (rows: 6)" in text and "a cube" not in text and "got" not in text and "called" not in text


def test_statistics_see_more_than_two_moments(student):
    draw = lambda x, generator: torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5
    uniform = read("noisy", lambda x, std, generator=None: x + std * 12**0.5 * draw(x, generator))
    assert "mean of |z|" in uniform and "the noise is uniform, not normal" in uniform
    pairs = read("noisy", lambda x, std, generator=None: x + std * torch.randn(x.shape, dtype=x.dtype))
    assert "difference of two runs with equal generators" in pairs


def test_a_test_that_students_write_is_judged_in_any_order(student):
    assert "every case, right or broken" in read("is_even", lambda f: True)
    assert "one True or False" in read("is_even", lambda f: torch.tensor([True, False]))
    counts = []
    assert "two results" in read("is_even", lambda f: bool(counts.append(0) or len(counts) % 2))
    assert passes(
        Examination(files.of("is_even")),
        lambda f: bool((f(torch.linspace(-3, 3, 601)) - f(-torch.linspace(-3, 3, 601))).abs().max() < 1e-3),
    )


def test_the_streams_stand_where_they_stood(student):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    checks.run(
        "noisy", lambda x, std, generator=None: x + std * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    )
    assert torch.equal(before, torch.get_rng_state())


def test_records_are_kept_and_made_again_after_a_change(recorded):
    chapter = select(recorded)[0]
    first = records.records(chapter)
    kept = list((recorded / "out" / "records").iterdir())
    assert len(kept) == 1 and records.records(chapter) == first
    edit(recorded, "checks.py", ("1.5)", "1.25)"))
    assert records.records(select(recorded)[0]) != first
    assert len(list((recorded / "out" / "records").iterdir())) == 1
    assert os.path.basename(kept[0]) not in os.listdir(recorded / "out" / "records")


@pytest.mark.parametrize("call", ['checks.run("softened", solved)', 'checks.run("noisy", softened)'])
def test_a_check_that_names_two_exercises_is_refused(recorded, call):
    path = recorded / "solutions" / "01_small" / "chapter.py"
    text = path.read_text()
    assert 'checks.run("softened", softened)' in text
    path.write_text(text.replace('checks.run("softened", softened)', call))
    with pytest.raises(AuthoringError, match=r"chapter\.py:\d+: softened_check: checks\.run.* must name one exercise"):
        build.chapters(recorded)


def test_the_truth_of_a_case_in_float32_is_computed_in_float64_and_rounded_once(recorded):
    edit(
        recorded,
        "checks.py",
        ("softened = Exercise(truth=one_by_one,", "softened = Exercise(truth=digits_lost,"),
        (
            "def draws(",
            "def digits_lost(x, scale):\n    return ((scale * x.sigmoid()).cumsum(-1) + 1e4) - 1e4\n\n\ndef draws(",
        ),
    )
    found = Examination(records.records(select(recorded, ["01"])[0])["softened"])
    coarse = next(case for case in found.cases if "float32" in case.text)
    (x, scale), want = coarse.inputs(), coarse.want["result"]
    assert x.dtype == want.dtype == torch.float32
    assert torch.equal(want, (((scale * x.double().sigmoid()).cumsum(-1) + 1e4) - 1e4).float())
    assert coarse.room * found.rules.rtol >= 1e-5  # float32 has seven digits, and sums lose some


def test_a_recipe_that_raises_is_told_with_its_line(recorded):
    edit(recorded, "checks.py", ("def draws(", "def nothing():\n    return {}['n']\n\n\ndef draws("))
    path = recorded / PLACE / "checks.py"
    path.write_text(path.read_text() + 'softened.case("none", recipe(nothing))\n')
    with pytest.raises(AuthoringError) as told:
        records.records(select(recorded, ["01"])[0])
    assert f"checks.py:{len(path.read_text().splitlines())}: softened: 'none': its recipe raises KeyError: 'n'" in str(
        told.value
    )


def test_records_that_differ_are_shown_as_text(recorded):
    build.write(recorded)
    edit(recorded, "checks.py", ('"three rows of four"', '"3 rows of 4"'))
    (one,) = [d for d in build.drift(recorded) if d.path.name == files.FILE]
    assert any("3 rows of 4" in line for line in one.diff) and all(line.isprintable() for line in one.diff)
