"""The player's films: packed and unpacked exactly enough, thinned evenly, explained when something is wrong."""

import base64
import colorsys
import io
import json
import linecache
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from coursekit import lab, plot
from coursekit.lab import assets, film, views
from coursekit.lab.problems import problem
from coursekit.lab.takes import as_take, chart_data, controls_of
from genmodels import toy

STATES = [torch.full((5, 2), k / 10) for k in range(11)]
DECODE = lambda tokens: "".join("ab\n d"[i] for i in tokens.tolist())
VIEWS = {
    "particles": (lab.Particles(), lambda k: torch.full((3, 2), 0.1 * k)),
    "pictures": (lab.Pictures(), lambda k: torch.full((3, 3, 4, 5), 0.1 * k)),
    "ink": (lab.Pictures(low=0.0), lambda k: torch.full((3, 1, 4, 5), 0.1 * k)),
    "tokens": (lab.Tokens(DECODE), lambda k: torch.full((3, 7), k % 5)),
}
each_view = pytest.mark.parametrize(("view", "state"), VIEWS.values(), ids=VIEWS)


def recorded(states, view=None, **more):
    return film.record(lab.Take(states, **more), view or lab.Particles(), [], {})


def player(run, view=None, charts=(), alt="Dots move.", fps=30.0, **controls):
    return lab.Player(run, view or lab.Particles(), alt, charts, fps, controls)


def read(view, head, payload):
    """What the page's script reads, written a second time."""
    if isinstance(view, lab.Tokens):
        codes = np.frombuffer(payload, "<u2" if head["wide"] else np.uint8).reshape(head["shape"])
        return np.array(head["symbols"], dtype=object)[codes]
    if isinstance(view, lab.Pictures):
        return np.frombuffer(payload, np.uint8).reshape(head["shape"]) / 255
    return np.frombuffer(payload, "<i2").reshape(head["shape"]) * head["step"]


# ---- frames there and back


@pytest.mark.parametrize("limit", [0.5, 4.0, 80.0])
def test_dots_come_back_to_a_tenth_of_a_pixel(limit):
    view, g = lab.Particles(limit=limit), torch.Generator().manual_seed(0)
    states = [torch.randn(37, 2, generator=g) * limit for _ in range(5)]
    got = read(view, *recorded(states, view).wire(view))
    pixel = 2 * limit / 420
    assert np.abs(got - torch.stack(states).numpy()).max() < 0.15 * pixel
    far = read(view, *recorded([torch.full((1, 2), 1e30)], view).wire(view))
    assert far == pytest.approx(16 * limit), "a dot that ran away stays far outside, and hides no other"


@pytest.mark.parametrize(("channels", "low"), [(3, -1.0), (1, -1.0), (3, 0.0)])
def test_pictures_come_back_within_half_a_shade(channels, low):
    view = lab.Pictures(low=low)
    x = torch.rand(4, channels, 3, 5, generator=torch.Generator().manual_seed(1)) * (1 - low) + low
    got = read(view, *recorded([x, x.flip(0)], view).wire(view))[0]
    unit = ((x - low) / (1 - low)).permute(0, 2, 3, 1).numpy()
    assert np.abs(got - (1 - unit if channels == 1 else unit)).max() <= 0.5 / 255 + 1e-6
    ends = read(view, *recorded([torch.full((1, 3, 1, 1), 9.0)], view).wire(view))
    assert (ends == 1).all()


@pytest.mark.parametrize("vocabulary", [5, 300])
def test_tokens_come_back_exactly(vocabulary):
    view = lab.Tokens(lambda tokens: chr(0x4E00 + int(tokens[0])), mask=vocabulary)
    x = torch.arange(vocabulary + 1).repeat(2, 1)
    got = read(view, *recorded([x, x.flip(1)], view).wire(view))
    want = np.array([chr(0x4E00 + k) for k in range(vocabulary)] + [""], dtype=object)
    assert (got[0] == want).all() and (got[1] == want[::-1]).all()


@each_view
def test_a_film_is_small_and_every_view_makes_one(view, state):
    made = recorded([state(k) for k in range(6)], view)
    head, payload = made.wire(view)
    assert head["kept"] == [*range(6)] and head["total"] == 6
    assert len(payload) == np.prod(head["shape"]) * (2 if isinstance(view, lab.Particles) else 1)
    json.dumps(head | view.spec(), allow_nan=False)


def test_the_density_under_the_dots():
    shape = toy.two_moons()
    shade = lab.Particles(shape.log_prob, limit=3.0).shade()
    points, _ = toy.grid(3.0, views.SHADES)
    p = shape.log_prob(points).exp().reshape(views.SHADES, views.SHADES).flip(0).numpy()
    assert shade.max() == 255 and np.corrcoef(shade.ravel(), p.ravel())[0, 1] > 0.99
    rows = torch.tensor([[1.0, 1.0], [0.0, 0.0]])  # the first row is the lowest
    assert lab.Particles(rows).shade().tolist() == [[0, 0], [255, 255]]
    assert lab.Particles().shade() is None


def test_what_is_not_a_number_is_left_out_and_said():
    states = [torch.zeros(4, 2), torch.tensor([[0.0, 0.0], [np.nan, 1.0], [np.inf, 2.0], [1.0, 1.0]])]
    made = recorded(states)
    assert made.note == "NaN or infinity from state 2 of 2 on: up to 2 numbers of a state."
    kept = lab.Particles().unpack(made.frames)[1]
    assert np.isnan(kept[1:3]).all() and np.isfinite(kept[[0, 3]]).all()
    assert recorded(STATES).note == ""


# ---- thinning


@pytest.mark.parametrize(("total", "most"), [(1, 10), (2, 1), (11, 4), (1000, 37), (50, 50), (50, 5000)])
def test_thinning_keeps_the_ends_and_is_even(total, most):
    places = film.thin(total, most)
    assert places[0] == 0 and places[-1] == total - 1 and len(places) == min(total, max(2, most))
    gaps = np.diff(places)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_a_long_film_is_embedded_within_a_megabyte():
    view = lab.Pictures()
    x = torch.zeros(64, 3, 16, 16)
    p = player(lambda: lab.Take([x] * 100, times=[k / 100 for k in range(100)]), view)
    page = p.html()
    assert 400_000 < len(page) < 1_100_000
    short = p.first.thinned(750_000)
    head, payload = short.wire(view)
    assert len(payload) <= 750_000 and head["total"] == 100 and len(head["kept"]) == 15
    assert head["times"] == [k / 100 for k in head["kept"]], "times stay with their frames"


# ---- what a run may return


def test_a_run_may_yield_return_a_list_or_a_take():
    def states():
        yield from STATES

    takes = (states(), STATES, lab.Take(states()), torch.stack(STATES))
    films = [film.record(as_take(t), lab.Particles(), [], {}) for t in takes]
    assert all((f.frames == films[0].frames).all() for f in films)


BAD = {
    "a number": (3, "must return its states"),
    "nothing": (None, "must return its states"),
    "a text": ("abc", "must return its states"),
    "no states": ([], "gave no states"),
    "a wrong shape": ([torch.zeros(3, 4)], r"shows states of shape \(n, 2\); got \(3, 4\)"),
    "two shapes": ([torch.zeros(3, 2), torch.zeros(4, 2)], "one shape"),
    "times too short": (lab.Take(STATES, times=[1.0]), "1 times were given for 11 states"),
    "an unknown chart": (lab.Take(STATES, charts={"Err": {}}), r"a chart 'Err', but play was given charts \['Error'\]"),
    "a broken line": (lab.Take(STATES, charts={"Error": {"a": ([1, 2], [1])}}), "2 x values and 1 y values"),
    "a flat line": (lab.Take(STATES, charts={"Error": {"a": ([[1]], [1])}}), "row of numbers"),
}


@pytest.mark.parametrize(("result", "words"), BAD.values(), ids=BAD)
def test_a_run_that_cannot_be_shown_says_why(result, words):
    p = player(lambda: result, charts=[lab.Chart("Error")])
    with pytest.raises(ValueError, match=words):
        p.film(())
    (head, _) = p.answer({"number": "x-1", "place": []})
    assert head["problem"]["type"] == "ValueError" and re.search(words, head["problem"]["message"])


def test_a_film_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(film, "MOST", 50)

    def endless():
        while True:
            yield STATES[0]

    with pytest.raises(ValueError, match="more than 50 states"):
        recorded(endless())


@each_view
def test_a_view_refuses_another_views_states(view, state):
    others = [s(1) for v, s in VIEWS.values() if type(v) is not type(view)]
    for other in others:
        with pytest.raises(ValueError, match=f"lab.{type(view).__name__} shows states"):
            view.pack(other)


def test_wrong_arguments_are_explained():
    good = dict(run=lambda k: STATES, view=lab.Particles(), alt="Dots.", charts=(), fps=30.0, controls={"k": [1]})
    for change, words in (
        ({"run": 3}, "run must be a function"),
        ({"view": "dots"}, "view must be lab.Particles"),
        ({"alt": " "}, "text alternative"),
        ({"fps": 0}, "fps must be positive"),
        ({"charts": [lab.Chart("a"), lab.Chart("a")]}, "title of its own"),
        ({"controls": {"k": []}}, "'k' has no values"),
        ({"controls": {"k": 5}}, r"k=5: a control needs a sequence of values, such as k=\[5\]"),
        ({"controls": {"solver": "heun"}}, "needs a sequence"),
    ):
        with pytest.raises(ValueError, match=words):
            lab.Player(**(good | change))
    for make, words in (
        (lambda: lab.pick([1, 2], 3), "start=3 is not one of the values"),
        (lambda: lab.Particles(limit=0), "limit must be positive"),
        (lambda: lab.Particles(trails=-1), "trails"),
        (lambda: lab.Particles(density=torch.full((2, 2), -1.0)).shade(), "nowhere negative"),
        (lambda: lab.Particles(density=lambda x: x).shade(), "one log-density a point"),
        (lambda: lab.Pictures(columns=0), "1 or more; got 0, 6"),
        (lambda: lab.Pictures(low=1), "low must be below 1"),
        (lambda: lab.Tokens("abc"), "decode must turn tokens into text"),
        (lambda: lab.Tokens(DECODE, columns=0), "columns must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


# ---- controls and charts


def test_controls_by_the_kind_of_their_values():
    made = {
        c.name: c
        for c in controls_of(
            {
                "steps": range(5, 10),
                "eta": [0.0, 0.30000000000000004],
                "solver": ["euler", "heun"],
                "exact": [True, False],
                "guidance": lab.pick([0.0, 1.0, 2.0], 0.0),
                "label": [None, 3],
                "step": [sorted, len],
                "size": torch.tensor([1, 2, 3]),
            }
        )
    }
    kinds = {name: (c.kind, c.values[c.start]) for name, c in made.items()}
    assert kinds == {
        "steps": ("slider", 7), "eta": ("slider", 0.0), "solver": ("list", "euler"), "exact": ("switch", False),
        "guidance": ("slider", 0.0), "label": ("list", None), "step": ("list", sorted), "size": ("slider", 2),
    }  # fmt: skip
    assert made["eta"].spec()["values"] == ["0", "0.3"] and made["step"].spec()["values"] == ["sorted", "len"]


def test_a_line_keeps_its_colour_through_all_settings_and_theme():
    charts, seen = [lab.Chart("Error")], {}
    line = ([1, 2], torch.tensor([0.5, float("nan")]))
    one = chart_data(lab.Take([], charts={"Error": {"euler": line, "exact": line}}), charts, seen)["Error"]
    two = chart_data(lab.Take([], charts={"Error": {"heun": line}}), charts, seen)["Error"]
    assert [c["colour"] for c in (*one, *two)] == ["c0", "exact", "c1"]
    assert one[0]["y"] == [0.5, None]
    again = chart_data(lab.Take([], charts={"Error": {"heun": line, "euler": line}}), charts, seen)["Error"]
    assert [c["colour"] for c in again] == ["c1", "c0"]
    light = assets.style("play").split("}")[0]
    for k, colour in enumerate(plot.SERIES):
        assert f"--gm-c{k}: {colour};" in light


def contrast(a: str, b: str) -> float:
    def luminance(colour):
        v = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_dark_colours_stand_out_from_the_dark_page_and_stay_the_same_hues():
    hue = lambda c: colorsys.rgb_to_hls(*(int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)))[0]
    for light, dark in zip((*plot.SERIES, plot.EXACT), (*assets.DARK, assets.DARK_EXACT), strict=True):
        assert contrast(dark, "#111111") >= 4.5
        turn = abs(hue(light) - hue(dark))
        assert min(turn, 1 - turn) < 0.06, (light, dark)


# ---- answers to the page


def test_an_answer_repeats_its_number_and_its_place():
    calls = []

    def run(steps, seed):
        calls.append((steps, seed))
        return [torch.full((3, 2), float(seed))] * steps

    p = player(run, steps=[2, 3, 4], seed=range(9))
    assert p.start == (1, 4)
    head, (payload,) = p.answer({"number": "view-7", "place": [2, 8]})
    assert calls == [(4, 8)] and head["number"] == "view-7" and head["place"] == [2, 8] and head["total"] == 4
    assert read(p.view, head, payload)[0, 0, 0] == pytest.approx(8.0, abs=2e-3)
    p.still()
    assert calls[1:] == [(3, 4)]
    p.answer({"number": "view-8", "place": [1, 4], "first": True})
    assert len(calls) == 2, "the film that the page opens with is not made twice"
    p.answer({"number": "view-9", "place": [1, 4], "first": False})
    assert len(calls) == 3, "but a setting chosen again runs again: the student's function may have changed"


def test_the_students_exception_is_told_with_their_own_lines():
    source = "def step(x):\n    return x + torch.zeros(7)\n\ndef run(k):\n    yield step(torch.zeros(5, 2))\n"
    scope = {"torch": torch}
    linecache.cache["/tmp/ipykernel_7/1.py"] = (len(source), None, source.splitlines(True), "/tmp/ipykernel_7/1.py")
    exec(compile(source, "/tmp/ipykernel_7/1.py", "exec"), scope)
    head, (payload,) = player(scope["run"], k=[1]).answer({"number": "a", "place": [0]})
    said = head["problem"]
    assert payload == b"" and said["type"] == "RuntimeError" and "must match the size" in said["message"]
    steps = [s for s in said["trace"] if "its cell" in s["where"]]
    assert steps[-1] == {"where": "in step, line 2 of its cell", "line": "return x + torch.zeros(7)"}
    assert steps[0] == {"where": "in run, line 5 of its cell", "line": "yield step(torch.zeros(5, 2))"}
    assert not [s for s in said["trace"] if "film.py" in s["where"]], "the library's own lines are left out"


def test_long_messages_are_cut_notes_are_kept_and_an_interrupt_is_an_answer():
    error = ValueError("x" * 5000)
    assert len(problem(error)["message"]) < 2100
    error = ValueError("short")
    error.add_note("a hint")
    assert problem(error) == {"type": "ValueError", "message": "short\na hint", "trace": []}

    def run():
        raise KeyboardInterrupt

    assert player(run).answer({"number": "a", "place": []})[0]["problem"]["type"] == "KeyboardInterrupt"


# ---- what is displayed


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda thing, **_: outputs.append(thing))
    return outputs


@each_view
def test_static_runs_once_and_shows_one_strip(view, state, shown, monkeypatch):
    monkeypatch.setenv("COURSE_STATIC", "1")
    calls = []

    def run(steps):
        calls.append(steps)
        charts = {"Error": {"euler": ([steps], [0.1])}, "Path": {"alpha": ([0, 1], [1, 0])}}
        return lab.Take([state(k) for k in range(steps)], times=[*range(steps)], caption="7 evaluations", charts=charts)

    charts = [lab.Chart("Error"), lab.Chart("Path", x="t", log_x=False, log_y=False)]
    lab.play(run, view, alt="It moves.", charts=charts, steps=[5, 20, 30])
    assert calls == [20] and len(shown) == 1
    data = shown[0].data
    if isinstance(view, lab.Tokens):
        assert data["text/plain"].startswith("t = 0\naaaaaaa\naaaaaaa\naaaaaaa\n\nt = 10")
        assert 'aria-label="It moves. 3 of 20 states. 7 evaluations"' in data["text/html"]
        return
    panels = 5 if isinstance(view, lab.Particles) else 4
    assert data["text/plain"] == f"It moves. {panels} of 20 states. 7 evaluations"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("L"))
    assert picture.shape[1] == 1440 and picture.std() > 5


def test_static_lets_an_error_through_so_that_a_build_fails(monkeypatch):
    monkeypatch.setenv("COURSE_STATIC", "1")
    with pytest.raises(ZeroDivisionError):
        lab.play(lambda k: 1 / k, lab.Particles(), alt="Dots.", k=[0])


def test_live_shows_a_film_and_a_player_and_survives_an_error(shown, monkeypatch):
    monkeypatch.setenv("COURSE_STATIC", "0")
    p = lab.play(lambda k: STATES, lab.Particles(), alt="Dots.", k=[0, 1, 2])
    assert "mountPlayer" in shown[0].data["text/html"] and "image/png" in shown[0].data
    assert shown[1].spec == p.spec() and repr(shown[1]).startswith("The live player")
    lab.play(lambda k: 1 / k, lab.Particles(), alt="Dots.", k=[0])
    assert shown[2].data["text/plain"] == "ZeroDivisionError: division by zero"
    assert shown[3].spec["start"] == [0]


def test_the_page_fetches_nothing_and_survives_words_that_look_like_markup():
    words = "</script><b>"
    page = player(lambda k: lab.Take(STATES, caption=words), alt=words, k=[words]).html()
    assert words not in page and page.count("</script>") == 1
    for code in (assets.script("play"), assets.script("scrub"), assets.style("play"), assets.style("scrub")):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(|import\(", code)


def test_outside_a_notebook_the_text_is_printed():
    code = (
        "import torch; from coursekit import lab;"
        "lab.play(lambda: [torch.zeros(3, 2)], lab.Particles(), alt='Three dots.')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "Three dots. 1 of 1 states." and done.returncode == 0, done.stderr
