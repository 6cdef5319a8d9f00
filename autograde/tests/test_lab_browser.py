"""The live labs inside real JupyterLab: every control moved by keyboard, in both themes, with and without a kernel."""

import json
import statistics
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat import v4

from autograde.authoring.chapters import root

SHOTS = root() / "out" / "screenshots"
PREPARE = """
import time
import torch
from coursekit import lab, plot
from genmodels import data, discrete, nets, samplers, schedule, text, toy, train

torch.manual_seed(0)
moons = toy.two_moons()
net = nets.MLP(3, (128, 128), 2)
adam = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(400):
    x0, eps, t = moons.sample(256).float(), torch.randn(256, 2), torch.rand(256, 1)
    loss = ((net(torch.cat([(1 - t) * x0 + t * eps, t], 1)) - (eps - x0)) ** 2).mean()
    adam.zero_grad()
    loss.backward()
    adam.step()
velocity = lambda x, t: net(torch.cat([x, torch.full((len(x), 1), t)], 1))
noise = lambda shape, seed: torch.randn(shape, generator=torch.Generator().manual_seed(seed))
edm = train.load_pretrained("edm")
writer = train.load_pretrained("masked_text")
letters = text.CharTokenizer(data.shakespeare("train").alphabet)
calls = []
"""
DOTS = """
def my_step(x, t, s):
    return x + (s - t) * velocity(x, t)

def heun_step(x, t, s):
    v = velocity(x, t)
    return x + (s - t) / 2 * (v + velocity(x + (s - t) * v, s))

def wrong_step(x, t, s):
    return x + (s - t) * velocity(x, t).T

def flow(step, steps, spread, seed, slow):
    calls.append((step.__name__, steps, spread, seed, slow))
    time.sleep(0.4 * slow)
    x, grid = spread * noise((512, 2), seed), torch.linspace(1, 0, steps + 1).tolist()
    states = [x, *samplers.sample(step, x, grid)]
    used = steps * (2 if step is heun_step else 1)
    far = float(states[-1].norm(dim=1).mean())
    curves = {"alpha": (grid, [1 - t for t in grid]), "sigma": (grid, grid)}
    charts = {"Where it ends": {step.__name__: ([used], [far])}, "The path": curves}
    caption = f"{used} evaluations, mean distance from the middle {far:.2f}"
    return lab.Take(states, times=grid, caption=caption, charts=charts)

lab.play(
    flow, lab.Particles(moons.log_prob, limit=3.0, trails=3), alt="512 dots of noise move onto two moons.",
    charts=[lab.Chart("Where it ends", y="distance"), lab.Chart("The path", x="t", y="", log_x=False, log_y=False)],
    step=[my_step, heun_step, wrong_step], steps=lab.pick([2, 5, 10, 20, 50], 50), spread=[0.5, 1.0, 1.5],
    seed=range(99), slow=[False, True],
)
"""
FACES = """
def portraits(solver, steps, churn, seed):
    path, grid = edm.schedule, schedule.karras_grid(edm.schedule, steps)
    x = path.at(grid[0]).sigma * noise((16, 3, 16, 16), seed)
    step = {"ddim": samplers.ddim(edm, path), "churn": samplers.churn(edm, path, churn)}[solver]
    shown = [y / (1 + path.at(t).sigma) for y, t in zip([x, *samplers.sample(step, x, grid)], grid)]
    return lab.Take(shown, times=grid, caption=f"{steps} steps of {solver}")

lab.play(portraits, lab.Pictures(columns=4, zoom=6), alt="Sixteen portraits appear out of noise.",
    solver=["ddim", "churn"], steps=lab.pick([5, 10, 20], 20), churn=[0.0, 0.1, 0.2], seed=range(9))
"""
WORDS = """
process = discrete.Masking(letters.v, schedule.rectified())
denoise = lambda x, t: discrete.subs(writer(x), x, letters.mask)

def written(steps, seed):
    draws, grid = torch.Generator().manual_seed(seed), torch.linspace(1, 0, steps + 1).tolist()
    x = process.prior((2, 128))
    return lab.Take([x, *samplers.sample(samplers.ancestral(denoise, process, generator=draws), x, grid)], times=grid)

lab.play(written, lab.Tokens(letters.decode, mask=letters.mask), alt="Two passages appear letter by letter.",
    steps=[4, 8, 16], seed=range(9))
"""
FIGURE = """
def power_of_x(power):
    return plot.curves({"model": [x**power for x in range(9)]}, "x", "y")

lab.scrub(power_of_x, alt="A power of x.", power=range(4))
"""
CELLS = (PREPARE, DOTS, FACES, WORDS, FIGURE, "print(calls)")
LIVE = {"particles": (1, 5), "pictures": (2, 4), "tokens": (3, 2)}  # the cell, the number of its controls
FRAMES = """(root) => new Promise((done) => {
    const start = performance.now(), seen = new Set(); let ticks = 0;
    const look = (now) => { ticks += 1; seen.add(root.dataset.frame);
        if (now - start < 1500) requestAnimationFrame(look);
        else done([ticks, seen.size].map((n) => 1000 * n / (now - start))); };
    root.querySelector('button').click();
    requestAnimationFrame(look); })"""
MOVED = """(root) => { const line = root.querySelector('.gm-time'), canvas = root.querySelector('canvas');
    const start = performance.now(), moves = 100;
    for (let k = 0; k < moves; k++) {
        line.value = k % (Number(line.max) + 1);
        line.dispatchEvent(new Event('input'));
        canvas.getContext('2d').getImageData(0, 0, 1, 1); // waits until it is drawn
    }
    return (performance.now() - start) / moves; }"""
STILL = "(root) => root.getAttribute('aria-busy') === 'false'"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """JupyterLab with the labs' notebook, run from top to bottom."""
    from autograde.tests.browser import Lab

    scratch = tmp_path_factory.mktemp("labs")
    course = scratch / "in"
    course.mkdir()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [v4.new_code_cell(source.strip()) for source in CELLS]
    nbformat.write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), course / "labs.ipynb")
    with Lab(course, scratch) as lab:
        lab.complaints = []
        lab.page.on("console", lambda m: lab.complaints.append(m.text) if m.type == "error" else None)
        lab.open("labs.ipynb")
        ran = lab.run_cells(0, len(CELLS), limit=120)
        assert not [o for c in ran for o in c["outputs"] if o["output_type"] == "error"]
        yield lab


def player(desk, kind):
    cell, _ = LIVE[kind]
    desk.show(cell)
    live = desk.page.locator(".jp-Cell").nth(cell).locator(".gm-live")
    live.wait_for()
    live.scroll_into_view_if_needed()
    return live


def settle(desk, live):
    desk.page.wait_for_function(STILL, arg=live.element_handle(), timeout=30_000)


def pixels(live):
    return live.locator("canvas").evaluate("(c) => c.toDataURL()")


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("kind", LIVE)
def test_every_control_moved_by_keyboard_changes_the_picture(desk, kind):
    live = player(desk, kind)
    inputs = live.locator(".gm-control :is(input, select)")
    assert inputs.count() == LIVE[kind][1]
    for k in range(inputs.count()):
        inputs.nth(k).focus()
        before, place = pixels(live), live.get_attribute("data-shown")
        switch = inputs.nth(k).get_attribute("role") == "switch"
        name = live.locator(".gm-control").nth(k).locator(".gm-name").inner_text()
        desk.page.keyboard.press("Space" if switch else "ArrowDown")
        settle(desk, live)
        assert live.get_attribute("data-shown") != place, name
        unseen = switch or (kind == "pictures" and name == "churn")  # it only slows down; it is for another solver
        assert (pixels(live) != before) or unseen, f"{name} changes nothing that is seen"
    line = live.locator(".gm-time")
    line.focus()
    desk.page.keyboard.press("Home")
    first = pixels(live)
    desk.page.keyboard.press("ArrowRight")
    assert pixels(live) != first and live.get_attribute("data-frame") == "1.000"
    assert not desk.errors and not desk.complaints


@pytest.mark.slow
@pytest.mark.browser
def test_the_students_error_is_shown_and_the_lab_lives_on(desk):
    live = player(desk, "particles")
    choice = live.get_by_label("step", exact=True)
    choice.select_option(label="wrong_step")
    settle(desk, live)
    said = live.get_by_role("alert").inner_text()
    assert "RuntimeError: The size of tensor a (2) must match the size of tensor b (512)" in said
    assert "return x + (s - t) * velocity(x, t).T" in said and "in wrong_step, line 9 of its cell" in said
    live.screenshot(path=SHOTS / "lab-error.png")
    choice.select_option(label="my_step")
    settle(desk, live)
    assert live.get_by_role("alert").is_hidden()
    assert not desk.errors and not desk.complaints


@pytest.mark.slow
@pytest.mark.browser
def test_a_slow_run_is_not_queued_behind(desk):
    """Six quick presses on a setting of 0.4 s: one is under way, the newest follows, those between never run."""
    live = player(desk, "particles")
    switch = live.get_by_role("switch")
    if not switch.is_checked():
        switch.press("Space")
    settle(desk, live)
    seed = live.get_by_label("seed", exact=True)
    before = int(seed.input_value())
    seed.focus()
    for _ in range(6):
        desk.page.keyboard.press("ArrowRight")
    assert live.get_attribute("aria-busy") == "true"
    settle(desk, live)
    switch.press("Space")
    settle(desk, live)
    output = desk.run_cells(5, 6, limit=30)[5]["outputs"][0]["text"]
    seeds = [call[3] for call in eval("".join(output)) if call[4]]
    assert seeds[-1] == before + 6 and len([s for s in seeds if s > before]) <= 3


@pytest.mark.slow
@pytest.mark.browser
def test_how_quick_it_is(desk):
    """Printed, not asserted, as the machine may be busy. Wanted: 95 % within 100 ms and 1.5 s, 60 frames a second."""
    for kind, first, moves in (("particles", "my_step", 30), ("pictures", "ddim", 6)):
        live = player(desk, kind)
        live.locator("select").select_option(label=first)
        settle(desk, live)
        live.get_by_label("steps", exact=True).press("End")
        settle(desk, live)
        seed = live.get_by_label("seed", exact=True)
        seed.focus()
        desk.page.keyboard.press("Home")
        settle(desk, live)
        trips, python = [], []
        for _ in range(moves):
            desk.page.keyboard.press("ArrowRight")
            settle(desk, live)
            trips.append(float(live.get_attribute("data-latency")))
            python.append(float(live.get_attribute("data-python")))
        late, inside = sorted(trips)[round(0.95 * (moves - 1))], statistics.median(python)
        said = f"round trip median {statistics.median(trips):.0f} ms, p95 {late:.0f} ms, Python {inside:.0f} ms"
        print(f"\n{kind}: {live.locator('.gm-caption').inner_text()}: {said}")
    live = player(desk, "particles")
    ticks, frames = live.evaluate(FRAMES)
    print(f"\nplaying: {ticks:.0f} screens a second, {frames:.0f} different moments a second")
    print(f"\nscrubbing: {live.evaluate(MOVED):.1f} ms a move, until it is drawn")
    assert frames > 5, "it moves"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_both_themes(desk, theme):
    """The canvas takes the theme's colours; the screenshots are for people."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    live = player(desk, "particles")
    before = pixels(live)
    desk.page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    dark = theme.endswith("Dark")
    desk.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(not dark).lower()}'")
    desk.page.wait_for_timeout(600)
    assert pixels(live) != before if dark else True
    for kind in LIVE:
        live = player(desk, kind)
        live.locator("canvas").press("End")
        live.locator("canvas").press("PageDown")
        live.screenshot(path=SHOTS / f"lab-{kind}-{'dark' if dark else 'light'}.png")
    back = live.locator(".gm-desk").evaluate("(desk) => getComputedStyle(desk.closest('.gm-lab')).backgroundColor")
    shades = [int(v) for v in back.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (max(shades) < 60) if dark else (min(shades) > 200)
    desk.show(4)
    scrub = desk.page.locator(".jp-Cell").nth(4).locator(".gm-scrub")
    scrub.screenshot(path=SHOTS / f"lab-scrub-{'dark' if dark else 'light'}.png")


@pytest.mark.slow
@pytest.mark.browser
def test_saved_and_exported_it_plays_without_a_kernel(desk, tmp_path):
    """Last, because the kernel is gone afterwards."""
    desk.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    time.sleep(1)
    saved = desk.folder / "labs.ipynb"
    size = {kind: len(json.dumps(nbformat.read(saved, 4).cells[cell].outputs)) for kind, (cell, _) in LIVE.items()}
    assert max(size.values()) < 2_500_000, f"a saved film and its strip stay small: {size}"
    convert = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), str(saved)]
    subprocess.run(convert, check=True, capture_output=True)
    page = desk.browser.new_page(viewport={"width": 1000, "height": 900})
    fetched = []
    page.route("http*://**", lambda route: (fetched.append(route.request.url), route.abort()))
    broken = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(f"file://{tmp_path}/labs.html", wait_until="domcontentloaded")
    for k, kind in enumerate(LIVE):
        live = page.locator(".gm-saved .gm-play").nth(k)
        live.scroll_into_view_if_needed()
        canvas = live.locator("canvas")
        canvas.focus()
        page.keyboard.press("Home")
        assert live.get_attribute("data-frame") == "0.000"
        before = pixels(live)
        page.keyboard.press("Space")
        page.wait_for_function("(root) => Number(root.dataset.frame) > 1", arg=live.element_handle())
        assert pixels(live) != before, kind
        live.screenshot(path=SHOTS / f"lab-{kind}-exported.png")
    assert not [e for e in broken if "gm" in e.lower()]
    assert page.get_by_text("Error displaying widget").count() == 0
    page.close()

    desk.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    desk.open("labs.ipynb")
    desk.show(1)
    saved_film = desk.page.locator(".jp-Cell").nth(1).locator(".gm-saved canvas")
    saved_film.wait_for()
    desk.page.wait_for_timeout(1500)
    assert saved_film.is_visible()
    assert not desk.page.locator(".jp-Cell").nth(1).get_by_text("Error displaying widget").is_visible()
    desk.picture(SHOTS / "lab-reopened.png")
