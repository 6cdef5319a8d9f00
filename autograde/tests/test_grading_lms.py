"""Scores go into what Canvas and Moodle exported: people as they name them, chapters as new or present columns."""

import csv

import pytest

from autograde.errors import Refusal
from autograde.grading.instructor import lms

CANVAS = (
    "\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,01_autoregressive (4711),Current Score\n"
    "    Points Possible,,,,,10,(read only)\n"
    '"Lovelace, Ada",17,u-17,ada,S1,3,30\n'
    '"Noether, Emmy",18,u-18,emmy,S1,,\n'
)
MOODLE = (
    "First name,Last name,ID number,Email address,Assignment: Essay (Real)\n"
    "Ada,Lovelace,u-17,Ada@example.org,7.00\n"
    "Emmy,Noether,u-18,emmy@example.org,-\n"
)
MAXIMUM = {"01_autoregressive": 21.0, "02_attention": 20.0}


@pytest.fixture
def listed(tmp_path):
    def write(text):
        path = tmp_path / "listed.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_canvas_gets_its_own_columns_and_one_a_chapter(listed):
    filled = lms.fill(listed(CANVAS), {"ada": {"01_autoregressive": 19.5}}, MAXIMUM)
    assert filled.lms == "Canvas" and filled.matched == 1 and filled.missing == []
    assert filled.header == [
        *("Student", "ID", "SIS User ID", "SIS Login ID", "Section"),
        *("01_autoregressive (4711)", "02_attention"),
    ]
    assert filled.rows == [
        ["    Points Possible", "", "", "", "", "21", "20"],
        ["Lovelace, Ada", "17", "u-17", "ada", "S1", "19.5", ""],
        ["Noether, Emmy", "18", "u-18", "emmy", "S1", "", ""],
    ]


def test_moodle_finds_people_by_number_or_address_in_any_case(listed):
    scores = {"ada@example.org": {"02_attention": 20.0}, "u-18": {"02_attention": 0.0}}
    filled = lms.fill(listed(MOODLE), scores, {"02_attention": 20.0})
    assert filled.lms == "Moodle"
    assert filled.header == ["First name", "Last name", "ID number", "Email address", "Assignment: 02_attention (Real)"]
    assert [row[-1] for row in filled.rows] == ["20", "0"]


def test_who_is_not_listed_is_told_and_nobody_gets_anothers_score(listed):
    filled = lms.fill(listed(CANVAS), {"17": {"02_attention": 5.0}, "eve": {"02_attention": 20.0}}, MAXIMUM)
    assert filled.missing == ["eve"] and filled.matched == 1
    assert [row[-1] for row in filled.rows] == ["20", "5", ""]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name,grade\na,1\n", "none of the columns that name a person"),
        ("Student,ID,SIS Login ID\n", "names nobody"),
        ("", "names nobody"),
    ],
)
def test_another_file_is_refused(listed, text, why):
    with pytest.raises(Refusal, match=why):
        lms.fill(listed(text), {}, MAXIMUM)


def test_a_short_line_and_another_encoding(listed, tmp_path):
    filled = lms.fill(listed("Student,ID,SIS Login ID,Section\nAda,17\n"), {"17": {"02_attention": 5.0}}, MAXIMUM)
    assert filled.rows == [["Ada", "17", "", "", "", "5"]]
    odd = tmp_path / "odd.csv"
    odd.write_bytes("Student,ID\nJos\xe9,1\n".encode("latin-1"))
    with pytest.raises(Refusal, match="UTF-8"):
        lms.fill(odd, {}, MAXIMUM)
    with pytest.raises(Refusal, match="cannot read"):
        lms.fill(tmp_path / "absent.csv", {}, MAXIMUM)


def test_what_is_written_is_read_again_by_the_same_rules(listed, tmp_path):
    """Import, export, import: the columns of the first time are those of the second."""
    first = lms.fill(listed(CANVAS), {"ada": {"02_attention": 12.0}}, MAXIMUM)
    again = tmp_path / "again.csv"
    with again.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([first.header, *first.rows])
    second = lms.fill(again, {"ada": {"02_attention": 12.0}}, MAXIMUM)
    assert (second.header, second.rows) == (first.header, first.rows)
