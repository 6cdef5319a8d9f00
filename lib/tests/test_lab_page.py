"""What the labs do on a page, without Jupyter: keys, labels, play, requests and errors, in headless Chromium."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from genmodels import lab
from genmodels.lab.assets import script
from genmodels.lab.scrub import Scrubber

FRAMES = [torch.full((1, 4, 6), k * 40 / 255) for k in range(7)]


def square(step, mask_rate=0.0):
    return torch.full((2, 3), step / 10 + mask_rate)


def level(png: bytes) -> int:
    return int(np.asarray(Image.open(io.BytesIO(png)).convert("L"))[0, 0])


@pytest.fixture(scope="module")
def page():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
def test_keyboard_play_and_labels_in_a_browser(page):
    s = Scrubber(square, {"step": range(4), "mask_rate": [0.0, 0.25]}, "A square.", 50.0)
    for i in range(4):
        for j in range(2):
            s.png((i, j))
    page.set_content(f"<html><body>{s.html()}</body></html>")
    root, sliders = page.locator(".gm-scrub"), page.locator("input[type=range]")
    assert root.get_attribute("role") == "group" and root.get_attribute("aria-label") == "A square."
    assert root.get_attribute("data-shown") == "2,0" and sliders.count() == 2
    sliders.nth(0).focus()
    page.keyboard.press("ArrowRight")
    assert root.get_attribute("data-shown") == "3,0" and sliders.nth(0).get_attribute("aria-valuetext") == "3"
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert root.get_attribute("data-shown") == "0,1" and sliders.nth(1).get_attribute("aria-valuetext") == "0.25"
    assert page.get_by_label("mask rate").count() == 1
    picture = page.locator(".gm-scrub img")
    assert picture.get_attribute("alt") == "A square. (step 0, mask rate 0.25)"
    png = base64.b64decode(picture.get_attribute("src").split(",")[1])
    assert level(png) == level(s.png((0, 1)))
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # play
    page.wait_for_function("document.querySelector('.gm-scrub').dataset.shown === '3,1'")
    page.wait_for_function("document.querySelector('.gm-scrub button').textContent.includes('play')")


@pytest.mark.browser
def test_the_live_page_asks_shows_fetches_ahead_and_reports_in_a_browser(page):
    spec = Scrubber(square, {"step": range(3), "seed": range(2)}, "A square.", 8.0)
    spec.draw = lambda step, seed: torch.full((2, 3), step / 10 + seed / 2)
    page.set_content(
        "<html><body><div id='r'></div><script>"
        + script("scrub")
        + f"window.asked = []; window.answer = mountScrubber(document.getElementById('r'), {json.dumps(spec.spec())},"
        "k => window.asked.push(k));</script></body></html>"
    )
    asked = lambda: page.evaluate("window.asked")
    answer = lambda k, error="": page.evaluate(f"window.answer('{k}', 'data:image/png;base64,{k}', '{error}')")
    assert asked() == ["2,0"]  # the neighbour of the middle, fetched ahead
    page.locator("input").nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert asked() == ["2,0"] and "gm-waiting" in page.locator("img").get_attribute("class")
    answer("2,0")
    assert asked() == ["2,0", "1,1"]  # what is wanted goes before what may be wanted
    answer("1,1")
    assert page.locator("#r").get_attribute("data-shown") == "1,1"
    assert page.locator("img").get_attribute("src").endswith(",1,1")
    assert asked()[-1] == "2,1"
    answer("2,1", "ZeroDivisionError: division by zero")
    assert page.locator("[role=alert]").is_hidden()  # nobody looks at that picture yet
    page.locator("input").nth(0).focus()
    page.keyboard.press("ArrowRight")
    assert asked()[-2:] == ["2,1", "2,1"]
    answer("2,1", "ZeroDivisionError: division by zero")
    assert page.locator("[role=alert]").inner_text() == "ZeroDivisionError: division by zero"


@pytest.mark.browser
def test_without_scripts_the_strip_is_still_there(page):
    s = lab.Scrubber(lambda frame: FRAMES[frame], {"frame": range(7)}, "It gets lighter.", 8.0)
    for k in range(7):
        s.png((k,))
    plain = s.html().split("<script>")[0]
    page.set_content(plain)
    assert page.locator("img").get_attribute("alt") == "It gets lighter."
    assert page.evaluate("document.querySelector('img').naturalWidth") == 30
