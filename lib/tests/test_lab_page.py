"""What the labs do on a page, without Jupyter: keys, labels, play, requests and errors, in headless Chromium."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from coursekit import lab
from coursekit.lab.assets import for_page, script, style
from coursekit.lab.scrub import Scrubber

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


# ---- the player

MOVES = [torch.tensor([[-2.0, 2.0]]), torch.tensor([[2.0, 2.0]]), torch.tensor([[2.0, -2.0]])]


def player(run=lambda seed=0, exact=False: lab.Take(MOVES, times=[1.0, 0.5, 0.0]), view=None, charts=(), **controls):
    return lab.Player(run, view or lab.Particles(), "A dot walks.", charts, 30.0, controls)


def answer(p, request):
    """What the kernel sends, as the page gets it."""
    head, (payload,) = p.answer(request)
    return f"window.player.receive({for_page(head)}, gmBytes('{base64.b64encode(payload).decode()}'))"


def mount(page, p, code=None):
    """The live player with a kernel that answers when the test says so."""
    page.goto("about:blank")  # a page of its own: scripts may not be declared twice
    page.set_content(
        f"<html><body><style>{style('play')}</style><div id='r'></div><script>{code or script('play')}\n"
        "window.asked = []; window.player = mountPlayer(document.getElementById('r'), "
        f"{for_page(p.spec())}, (request) => window.asked.push(request), null);</script></body></html>"
    )


def press(page, target, *keys):
    page.locator(target).first.focus()
    for key in keys:
        page.keyboard.press(key)


def data(page, name):
    return page.evaluate(f"document.querySelector('.gm-play').dataset.{name}")


def ink(page, x, y):
    """The colour of the canvas at a place of the plane from -4 to 4."""
    return page.evaluate(
        """([x, y]) => { const c = document.querySelector('canvas'), s = c.width / 8;
        return [...c.getContext('2d').getImageData((x + 4) * s, (4 - y) * s, 1, 1).data]; }""",
        [x, y],
    )


@pytest.fixture
def quiet(page):
    """The page, and a check that it complained of nothing."""
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield page
    assert complaints == []


@pytest.mark.browser
def test_a_saved_page_plays_by_keyboard_and_says_what_it_shows(quiet):
    p = player(seed=range(5), exact=[False, True])
    quiet.set_content(f"<html><body>{p.html()}</body></html>")
    canvas, line = quiet.locator("canvas"), quiet.get_by_label("frame")
    canvas.wait_for()
    assert data(quiet, "frame") == "2.000", "a film opens on its end"
    assert ink(quiet, 2, -2)[3] > 100 and ink(quiet, -2, 2)[3] == 0
    assert "seed 2, exact off. Run the cell" in quiet.locator("[role=status]").inner_text()
    press(quiet, "canvas", "Home")
    assert data(quiet, "frame") == "0.000" and ink(quiet, -2, 2)[3] > 100 and ink(quiet, 2, -2)[3] == 0
    assert canvas.get_attribute("aria-label") == "A dot walks. (t = 1.000 · 1/3)"
    press(quiet, "canvas", "ArrowRight")
    assert line.get_attribute("aria-valuetext") == "state 2 of 3, t = 0.500" and ink(quiet, 2, 2)[3] > 100
    press(quiet, "input.gm-time", "End")
    assert data(quiet, "frame") == "2.000"
    press(quiet, "canvas", "Space")
    assert quiet.get_by_role("button", name="pause").count() == 1
    frames = quiet.evaluate(
        """new Promise((done) => { const seen = new Set(), root = document.querySelector('.gm-play');
        const look = () => { seen.add(root.dataset.frame);
            if (seen.size > 8) done([...seen]); else requestAnimationFrame(look); };
        look(); })"""
    )
    assert any(0 < float(f) < 1 and float(f) % 1 for f in frames), "between two frames the dot is between two places"
    quiet.get_by_role("button", name="play the film").wait_for()
    assert data(quiet, "frame") == "2.000"


def newest_wins(page, code):
    p = player(seed=range(9), exact=[False, True])
    mount(page, p, code)
    asked = lambda: [request["place"] for request in page.evaluate("window.asked")]
    reply = lambda k: page.evaluate(answer(p, page.evaluate("window.asked")[k]))
    busy = lambda: page.locator(".gm-play").get_attribute("aria-busy")
    assert asked() == [[4, 0]] and busy() == "true"
    reply(0)
    assert busy() == "false" and data(page, "shown") == "4,0"
    press(page, "input[type=range]:not(.gm-time)", *["ArrowRight"] * 4)
    assert asked() == [[4, 0], [5, 0]], "while one setting is computed no other is asked for"
    assert busy() == "true"
    reply(1)
    assert asked() == [[4, 0], [5, 0], [8, 0]], "then the newest; those between are dropped"
    assert busy() == "true" and page.locator(".gm-lamp.gm-on").count() == 1
    stranger = page.evaluate("window.asked")[2] | {"number": "other-1"}
    page.evaluate(answer(p, stranger))
    assert busy() == "true", "the answer to another view of the player is not ours"
    reply(2)
    assert busy() == "false" and data(page, "shown") == "8,0" and len(asked()) == 3


@pytest.mark.browser
def test_one_request_is_under_way_and_the_newest_setting_wins(quiet):
    newest_wins(quiet, None)


SABOTAGE = {
    "every move is sent": ("if (flying === null) send();", "send();"),
    "the first of the queue wins": (
        "wanted = { place: [...place], first };",
        "wanted ??= { place: [...place], first };",
    ),
    "the last is forgotten": ("if (wanted) return send();", ""),
    "any answer is taken": ("if (answer.number !== flying) return;", ""),
}


@pytest.mark.browser
@pytest.mark.parametrize(("old", "new"), SABOTAGE.values(), ids=SABOTAGE)
def test_the_check_above_notices(page, old, new):
    code = script("play")
    assert code.count(old) == 1
    with pytest.raises((AssertionError, IndexError)):
        newest_wins(page, code.replace(old, new))


@pytest.mark.browser
def test_an_error_is_shown_and_goes_when_the_setting_works_again(quiet):
    def run(seed):
        return [MOVES[0] / (1 / (seed - 1) if seed == 1 else 1)]

    p = player(run, seed=lab.pick(range(3), 0))
    mount(quiet, p)
    reply = lambda: quiet.evaluate(answer(p, quiet.evaluate("window.asked").pop()))
    reply()
    press(quiet, "input[type=range]:not(.gm-time)", "ArrowRight")
    reply()
    alert = quiet.get_by_role("alert")
    assert "ZeroDivisionError: division by zero" in alert.inner_text()
    assert "return [MOVES[0] / (1 / (seed - 1)" in alert.inner_text() and "in run, line" in alert.inner_text()
    assert "last setting that worked" in alert.inner_text() and ink(quiet, -2, 2)[3] > 100
    press(quiet, "input[type=range]:not(.gm-time)", "ArrowRight")
    reply()
    assert alert.is_hidden() and quiet.locator("[role=status]").inner_text().startswith("ready, recomputed in")


@pytest.mark.browser
def test_the_mouse_plays_and_a_film_of_one_frame_has_nothing_to_play(quiet):
    p = player(lambda n: [MOVES[0]] * n, n=lab.pick([1, 3], 3))
    mount(quiet, p)
    quiet.evaluate(answer(p, quiet.evaluate("window.asked").pop()))
    button, canvas = quiet.locator(".gm-transport button"), quiet.locator("canvas")
    canvas.click()
    assert button.inner_text() == "❚❚ pause"
    canvas.click()
    assert button.inner_text() == "▶ play" and button.is_enabled()
    press(quiet, "input[type=range]:not(.gm-time)", "Home")
    quiet.evaluate(answer(p, quiet.evaluate("window.asked").pop()))
    assert button.is_disabled() and quiet.locator(".gm-time").is_disabled() and ink(quiet, -2, 2)[3] > 100


@pytest.mark.browser
@pytest.mark.parametrize("view", [lab.Particles(), lab.Tokens(lambda i: "ab"[int(i[0])])], ids=["dots", "text"])
def test_without_scripts_the_players_strip_is_there(page, view):
    states = [torch.zeros(1, 2, dtype=torch.long)] * 2 if isinstance(view, lab.Tokens) else MOVES
    plain = player(lambda: states, view).html().split("<script>")[0]
    page.set_content(plain)
    if isinstance(view, lab.Tokens):
        assert page.get_by_role("figure").get_attribute("aria-label").startswith("A dot walks. 2 of 2")
        assert page.locator("pre").first.inner_text() == "aa"
    else:
        assert page.locator("img").get_attribute("alt") == "A dot walks. 3 of 3 states."
        assert page.evaluate("document.querySelector('img').naturalWidth") == 1440


@pytest.mark.browser
def test_a_restarted_kernel_is_said(quiet):
    p = player(seed=range(3))
    mount(quiet, p)
    assert quiet.locator("canvas").is_hidden(), "nothing to see before the first film"
    quiet.evaluate(answer(p, quiet.evaluate("window.asked").pop()))
    quiet.evaluate("void (window.asked.push = () => { throw new Error('Cannot send'); })")
    press(quiet, "input[type=range]:not(.gm-time)", "ArrowRight")
    assert "run this cell again" in quiet.locator("[role=status]").inner_text()
    assert quiet.locator(".gm-play").get_attribute("aria-busy") == "false"
    press(quiet, "canvas", "Home")
    assert data(quiet, "frame") == "0.000", "the film that is here still plays"


@pytest.mark.browser
def test_views_paint_the_moments_between_frames(quiet):
    pictures, tokens = lab.Pictures(columns=2), lab.Tokens(lambda i: "ab"[int(i[0])], mask=2, columns=3)
    films = {
        "particles": (lab.Particles(), MOVES),
        "pictures": (pictures, [torch.full((3, 3, 2, 2), v) for v in (-1.0, 1.0)]),
        "tokens": (tokens, [torch.tensor([[0, 2, 2, 1]]), torch.tensor([[0, 2, 1, 1]])]),
    }
    got = {}
    for kind, (view, states) in films.items():
        p = player(lambda states=states: states, view)
        film = p.film(()).embedded(view)
        mount(quiet, p)
        got[kind] = quiet.evaluate(
            f"""(film) => {{ const view = GM_VIEWS.{kind}({for_page(view.spec())});
            view.load(film, gmBytes(film.payload));
            const paint = (at, x, y) => {{ const c = document.createElement('canvas'), [w, h] = view.size(view.natural);
                const k = gmResize(c, w, h); view.paint(k, at, w, gmColours(document.getElementById('r')));
                const s = c.width / w; return [...k.getImageData(x * w * s, y * h * s, 1, 1).data]; }};
            return {{ half: paint(0.5, 0.5, 0.25), start: paint(0, 0.25, 0.25), gap: paint(1, 0.75, 0.75),
                words: view.words, text: view.text?.(1) }}; }}""",
            film,
        )
    assert got["particles"]["half"][3] > 100, "half way from (-2, 2) to (2, 2) is (0, 2)"
    assert got["pictures"]["start"] == [0, 0, 0, 255] and got["pictures"]["half"][3] == 0, "the gap is clear"
    assert got["pictures"]["gap"] == [0, 0, 0, 0], "there is no fourth picture"
    assert got["tokens"]["text"] == "a_bb" and got["tokens"]["words"] == "1 of 4 tokens new"


@pytest.mark.browser
def test_charts_gather_points_follow_the_frame_and_can_be_cleared(quiet):
    def run(seed):
        grid = [0.0, 0.5, 1.0]
        charts = {"Error": {"euler": ([10 ** (seed + 1)], [2.0**-seed])}, "Path": {"alpha": (grid, [1.0, 0.5, 0.0])}}
        return lab.Take(MOVES, times=[1.0, 0.5, 0.0], charts=charts)

    charts = [lab.Chart("Error"), lab.Chart("Path", x="t", y="alpha", log_x=False, log_y=False)]
    p = player(run, charts=charts, seed=range(3))
    mount(quiet, p)
    reply = lambda: quiet.evaluate(answer(p, quiet.evaluate("window.asked").pop()))
    reply()
    error, path = quiet.locator("figure").nth(0), quiet.locator("figure").nth(1)
    dots = error.locator("circle > title")
    assert dots.count() == 1 and error.get_by_role("button").count() == 0
    for key in ("ArrowRight", "ArrowLeft", "ArrowLeft"):
        press(quiet, "input[type=range]:not(.gm-time)", key)
        reply()
    said = sorted(title.text_content() for title in dots.all())
    assert said == ["euler: 10, 1", "euler: 100, 0.5", "euler: 1000, 0.25"], "one mark a setting, however often"
    assert error.get_by_role("img").get_attribute("aria-label").endswith("euler at (10, 1).")
    error.get_by_role("button", name="clear the earlier settings from Error").click()
    assert error.locator(".gm-legend").inner_text() == "euler"
    assert dots.count() == 1 and path.get_by_role("button").count() == 0, "the same curve leaves no trace"
    places = []
    for key in ("Home", "ArrowRight", "ArrowRight"):
        press(quiet, "canvas", key)
        places.append(float(path.locator(".gm-marker line").get_attribute("x1")))
    assert places[0] > places[1] > places[2] and places[0] - places[1] == pytest.approx(places[1] - places[2], abs=0.1)


@pytest.mark.browser
def test_numbers_and_ticks_of_the_charts(quiet):
    mount(quiet, player())
    numbers = {0: "0", 0.25: "0.25", -3: "−3", 12345: "1.2·10⁴", 1e-5: "10⁻⁵", 1000: "1000", 0.1 + 0.2: "0.3"}
    for value, words in numbers.items():
        assert quiet.evaluate(f"gmNumber({value})") == words
    assert quiet.evaluate("gmLinearTicks(0, 1, 6)") == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert quiet.evaluate("gmLogTicks(3, 60, 6)") == pytest.approx([5, 10, 20, 50])
    assert quiet.evaluate("gmLogTicks(1e-9, 1e9, 6)") == pytest.approx([1e-9, 1e-5, 1e-1, 1e3, 1e7])
    assert quiet.evaluate("gmLogTicks(3.2, 3.9, 6).length") >= 2
    assert quiet.evaluate("gmScale([5], true, 0, 100, 6).place(5)") == pytest.approx(50)
    assert quiet.evaluate("gmScale([1, 100], true, 0, 100, 6).place(10)") == pytest.approx(50)


@pytest.mark.browser
def test_dark_pages_get_light_ink(quiet):
    p = player()
    quiet.emulate_media(color_scheme="dark")
    try:
        quiet.set_content(f"<html><body>{p.html()}</body></html>")
        quiet.locator("canvas").wait_for()
        assert (
            quiet.evaluate("getComputedStyle(document.querySelector('.gm-lab')).backgroundColor") == "rgb(27, 27, 27)"
        )
        dark = ink(quiet, 2, -2)
        quiet.emulate_media(color_scheme="light")
        quiet.wait_for_timeout(100)
        light = ink(quiet, 2, -2)
        assert dark[:2] != light[:2] and dark[1] > light[1], "the canvas follows the theme, lighter in the dark"
    finally:
        quiet.emulate_media(color_scheme="light")
