"""`make grade-demo`: chapter 01, eight students, each with the score it deserves and the mistake by name."""

import re
import sys

import pytest

from autograde import demo
from autograde.authoring import chapters
from autograde.grading.instructor import attack


@pytest.mark.slow
@pytest.mark.sandbox
def test_the_class_of_eight_gets_what_it_deserves(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo", "01", "--folder", str(tmp_path / "demo")])
    assert demo.main() == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "not what it deserves" not in said and "not graded" not in said
    pages = {p.parent.parent.name: p.read_text() for p in (tmp_path / "demo" / "feedback").rglob("*.html")}
    assert len(pages) == 8
    chapter = chapters.select(chapters.root(), ["01"])[0]
    carla = next(s for s in demo.cast(chapter) if s.name == "carla")
    from autograde.authoring.variants import variants

    mutant = next(v for v in variants(chapter, carla.loses[0]) if v.source == carla.answers[carla.loses[0]])
    flat = re.sub(r"\W+", " ", re.sub(r"<[^>]*>", " ", pages["carla"])).lower()
    assert re.sub(r"\W+", " ", mutant.says).lower().strip() in flat
    hidden = [line.strip() for cell in chapter.cells if cell.is_check for line in hidden_lines(cell.source)]
    long = [line for line in hidden if len(line) > 40]
    for page in pages.values():
        assert attack.active(page) == []
        assert [line for line in long if line in page] == []


def hidden_lines(source):
    from autograde.authoring import regions

    return regions.inside(source, regions.HIDDEN)
