"""Sliders show the right picture, by mouse, keyboard and play; without anybody to move them, one static frame."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from coursekit import lab, plot
from coursekit.lab import modes
from coursekit.lab.scrub import Scrubber

FRAMES = [torch.full((1, 4, 6), k * 40 / 255) for k in range(7)]


def counted(calls):
    def draw(step, mask_rate=0.0):
        calls.append((step, mask_rate))
        return torch.full((2, 3), step / 10 + mask_rate)

    return draw


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: outputs.append((a[0], k)))
    return outputs


def level(png: bytes) -> int:
    return int(np.asarray(Image.open(io.BytesIO(png)).convert("L"))[0, 0])


def test_static_where_nobody_can_move_a_slider(monkeypatch):
    monkeypatch.delenv("COURSE_STATIC", raising=False)
    assert modes.static()  # no kernel here
    monkeypatch.setenv("COURSE_STATIC", "0")
    assert not modes.static()
    monkeypatch.setenv("COURSE_STATIC", "1")
    assert modes.static()


def test_static_draws_the_middle_picture_only(shown, monkeypatch):
    monkeypatch.setenv("COURSE_STATIC", "1")
    calls = []
    lab.scrub(counted(calls), alt="A square.", step=range(9), mask_rate=[0.1, 0.2])
    assert calls == [(4, 0.1)]
    data, metadata = shown[0][0].data, shown[0][0].metadata
    assert data["text/plain"] == metadata["image/png"]["alt"] == "A square."
    assert level(base64.b64decode(data["image/png"])) == round(255 * 0.5)


def test_few_pictures_all_go_into_the_page_and_many_are_drawn_on_demand(shown, monkeypatch):
    monkeypatch.setenv("COURSE_STATIC", "0")
    few, many = [], []
    lab.scrub(counted(few), step=range(5), mask_rate=[0.0, 0.3])
    assert len(few) == 10 and "mountScrubber" in shown[0][0].data
    lab.scrub(counted(many), step=range(100), mask_rate=[0.0, 0.3])
    assert sorted(step for step, _ in many) == [0, 25, 50, 74, 99]  # the strip for readers without a kernel
    assert shown[1][0].data.startswith('<img class="gm-strip" alt="A picture')
    assert shown[2][0].spec["start"] == (50, 0) and len(shown[2][0].spec["frames"]) == 5


def test_the_kernel_draws_what_the_page_asks_for_once_and_reports_errors():
    calls, sent = [], []
    s = Scrubber(counted(calls), {"step": range(100), "mask_rate": [0.0, 0.2]}, "A square.", 8.0)

    class Page:
        def send(self, message):
            sent.append(message)

    for key in ("3,1", "3,1", "0,0"):
        s._answer(Page(), {"draw": key}, None)
    assert calls == [(3, 0.2), (0, 0.0)]
    assert [m["key"] for m in sent] == ["3,1", "3,1", "0,0"] and not any(m["error"] for m in sent)
    assert level(base64.b64decode(sent[0]["source"].split(",")[1])) == round(255 * 0.5)
    broken = Scrubber(lambda step: 1 / step, {"step": [0]}, "x", 8.0)
    broken._answer(Page(), {"draw": "0"}, None)
    assert sent[-1]["error"] == "ZeroDivisionError: division by zero"


def test_an_error_in_the_first_picture_is_an_ordinary_error(shown):
    with pytest.raises(ZeroDivisionError):
        lab.scrub(lambda step: 1 / step, step=[0])


def test_frames_figures_and_bad_arguments(shown, monkeypatch):
    monkeypatch.setenv("COURSE_STATIC", "0")
    s = lab.scrub(FRAMES, alt="It gets lighter.")
    assert s.size == 7 and s.start == (3,) and s.pixelated
    assert [level(s.png((k,))) for k in range(7)] == [40 * k for k in range(7)]
    strip = Image.open(io.BytesIO(s.strip()))
    assert strip.size == (5 * 6, 4) and strip.getpixel((0, 0))[0] == 0 and strip.getpixel((29, 0))[0] == 240
    f = lab.scrub([plot.bars({"exact": [k, 1.0]}, ["a", "b"], "p") for k in range(3)])
    assert f.alt.startswith("p for 2 cases") and f.width == 720 and not f.pixelated
    for options, words in (
        ({}, "at least one slider"),
        ({"step": []}, "'step' has no values"),
        ({"step": [1], "fps": 0}, "fps"),
    ):
        with pytest.raises(ValueError, match=words):
            lab.scrub(lambda step: FRAMES[0], **options)
    with pytest.raises(ValueError, match="take no sliders"):
        lab.scrub(FRAMES, step=[1])
    with pytest.raises(ValueError, match="at least one frame"):
        lab.scrub([])


def test_the_page_survives_words_that_look_like_markup():
    s = Scrubber(lambda step: FRAMES[0], {"step": ["</script><b>", "b"]}, '"</script>&', 8.0)
    assert "</script><b>" not in s.html() and s.html().count("</script>") == 1


def test_pick_chooses_where_a_scrubber_starts():
    draw = lambda bug, eta: torch.full((2, 3), 0.1 * bug + eta / 2)
    assert lab.scrub(draw, bug=range(5), eta=[0.0, 1.0]).start == (2, 0)
    assert lab.scrub(draw, bug=lab.pick(range(5), 0), eta=lab.pick([0.0, 1.0], 1.0)).start == (0, 1)
    assert lab.scrub(draw, bug=range(5), eta=lab.pick([0.0, 1.0], 1.0)).start == (2, 1)
