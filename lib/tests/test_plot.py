"""Every figure shows itself, says what it shows, and draws the numbers that it was given."""

import base64
import html
import io
import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from PIL import Image

from coursekit import plot
from genmodels import toy

G = torch.Generator().manual_seed(3)
PICTURES = torch.rand(5, 1, 7, 9, generator=G)
MATRIX = torch.randn(3, 4, generator=G)
PLANE = torch.randn(50, 2, generator=G)

FIGURES = {
    "images": lambda: plot.images({"data": PICTURES, "model": PICTURES[:3]}, title="Digits"),
    "rows": lambda: plot.rows({"data": PICTURES, "after 3 steps, no label": PICTURES}, title="Digits"),
    "heatmap": lambda: plot.heatmap({"got": MATRIX, "expected": MATRIX}, title="Jacobian"),
    "receptive_field": lambda: plot.receptive_field(torch.ones(5, 5).tril(-1), (3, 2)),
    "density": lambda: plot.density({"exact": toy.rings().log_prob}, samples=PLANE, n=40),
    "samples2d": lambda: plot.samples2d({"data": PLANE, "noise": PLANE}),
    "curves": lambda: plot.curves({"train": [3.0, 2.0, 1.0]}, "step", "nats", levels={"entropy": 0.5}),
    "bars": lambda: plot.bars({"exact": [0.1, 0.9]}, ["a", "b"], "probability"),
    "ladder": lambda: plot.ladder({"MADE": (101.2, 0.3)}, {"NADE": 88.33}, "nats", floors={"pixels": 205.7}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_show_themselves_with_a_description_and_leave_no_trace(name):
    before = dict(matplotlib.rcParams)
    fig = FIGURES[name]()
    assert dict(matplotlib.rcParams) == before
    data, metadata = fig._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.info["Description"] == fig.alt == metadata["image/png"]["alt"] == data["text/plain"]
    assert f'alt="{html.escape(fig.alt)}"' in data["text/html"] and data["image/png"] in data["text/html"]
    assert len(fig.alt) > 20 and fig.alt.endswith(".")
    assert picture.width == pytest.approx(2 * metadata["image/png"]["width"], abs=2)
    assert metadata["image/png"]["width"] <= 8 * 90
    pixels = np.asarray(picture.convert("L"))
    assert pixels[0, 0] == 255 and pixels.std() > 5, "a light background with something on it"


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name):
    fig = FIGURES[name]()
    fig.canvas.draw()
    box, page = fig.get_tightbbox(), fig.get_size_inches()
    assert box.x0 > -0.05 and box.y0 > -0.05 and box.x1 < page[0] + 0.05 and box.y1 < page[1] + 0.05


def test_a_description_can_be_written_by_hand():
    assert plot.curves({"train": [1.0]}, "step", "nats", alt="One point.").alt == "One point."


def test_colours_have_fixed_meanings_and_do_not_repeat():
    assert plot.colour("test data") == plot.DATA and plot.colour("model (MADE)") == plot.MODEL
    assert plot.colour("exact") == plot.EXACT and plot.colour("noise") == plot.NOISE
    from coursekit.plot.style import colours

    got = colours(["MADE", "data", "PixelCNN", "model"])
    assert got[1] == plot.DATA and got[3] == plot.MODEL and len(set(got)) == 4


def simulate(hex_colour, blindness):
    """A colour as seen with protanopia, deuteranopia or tritanopia, on linear RGB (Vienot 1999, Machado 2009)."""
    rgb = np.array([int(hex_colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    matrix = {
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }[blindness]
    linear = np.array(matrix) @ rgb**2.2
    r, g, b = linear.clip(0, 1)
    xyz = np.array([0.4124 * r + 0.3576 * g + 0.1805 * b, 0.2126 * r + 0.7152 * g + 0.0722 * b])
    z = 0.0193 * r + 0.1192 * g + 0.9505 * b
    f = lambda t: t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116
    fx, fy, fz = f(xyz[0] / 0.9505), f(xyz[1]), f(z / 1.089)
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])  # CIE L*a*b*


@pytest.mark.parametrize("blindness", ["protan", "deutan", "tritan"])
def test_the_five_meanings_stay_apart_for_colour_blind_readers(blindness):
    lab = [simulate(c, blindness) for c in (plot.DATA, plot.MODEL, plot.NOISE, plot.GRADIENT, plot.EXACT)]
    gaps = [np.linalg.norm(a - b) for i, a in enumerate(lab) for b in lab[:i]]
    assert min(gaps) > 10  # a just noticeable difference is about 2.3


def test_images_are_where_they_should_be_and_ink_is_dark():
    fig = plot.images(torch.ones(3, 1, 4, 4), columns=2)
    assert isinstance(fig, plot.Picture) and fig.alt
    sheet = fig.axes[0].images[0].get_array()
    assert sheet.shape == (9, 9, 3)
    assert (sheet[:4, :4] == 0).all() and (sheet[5:, :4] == 0).all() and (sheet[5:, 5:] == 1).all()
    colour = plot.images(torch.tensor([1.0, 0.5, -3.0]).reshape(1, 3, 1, 1))
    assert colour.axes[0].images[0].get_array()[0, 0].tolist() == [1.0, 0.5, 0.0]
    assert "5 pictures (data); 3 pictures (model) of 7x9 pixels" in FIGURES["images"]().alt
    with pytest.raises(ValueError, match="1 or 3 channels"):
        plot.images(torch.ones(1, 2, 4, 4))
    with pytest.raises(ValueError, match="shape"):
        plot.images(torch.ones(4, 4))


def test_rows_are_inked_in_the_colour_that_their_name_means():
    fig = plot.rows({"data": torch.ones(2, 1, 3, 3), "other": torch.ones(1, 1, 3, 3), "sky": torch.zeros(1, 3, 2, 2)})
    data, other, sky = (ax.images[0].get_array() for ax in fig.axes)
    assert data.shape == (5, 10, 3) and (data[0] == 1).all() and (data[:, 4:6] == 1).all()
    assert data[2, 2].tolist() == pytest.approx([0, 0x72 / 255, 0xB2 / 255])
    assert other[2, 2].tolist() == pytest.approx([0x1B / 255] * 3)
    assert sky[1, 1].tolist() == [0, 0, 0] and [ax.texts[0].get_text() for ax in fig.axes] == ["data", "other", "sky"]
    with pytest.raises(ValueError, match="1 or 3"):
        plot.rows({"x": torch.ones(1, 2, 4, 4)})


def test_heatmap_writes_its_values_once_each_and_scales_signed_ones_about_zero():
    fig = plot.heatmap(MATRIX, rows=list("abc"), columns=list("wxyz"))
    assert [t.get_text() for t in fig.axes[0].texts] == [f"{v:.2f}" for v in MATRIX.flatten().tolist()]
    shown = fig.axes[0].images[0]
    assert shown.norm.vmin == -shown.norm.vmax == -float(MATRIX.abs().max())
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == list("abc")
    assert not plot.heatmap(MATRIX > 0).axes[0].texts
    assert "0/1 mask" in plot.heatmap(MATRIX > 0).alt
    assert "3 by 4, 2 by 2 cells" in plot.heatmap({"a": MATRIX, "b": MATRIX[:2, :2]}).alt


def test_receptive_field_counts_the_past_the_blind_and_the_leaks():
    g = torch.zeros(4, 5)
    g.view(-1)[[0, 1, 6, 12, 19]] = 1.0
    fig = plot.receptive_field({"plain": g}, (2, 1))  # 11 pixels come before it
    assert "sees 3 of 11 past pixels, 2 others" in fig.axes[0].get_title("left")
    assert "sees 3 of 11 past pixels, 2 others" in fig.alt
    with pytest.raises(ValueError, match="every gradient is zero"):
        plot.receptive_field(torch.zeros(3, 3), (1, 1))


def test_density_shows_the_density_and_reports_its_mass():
    half = lambda x: toy.rings().log_prob(x) - math.log(2)
    fig = plot.density({"exact": toy.rings().log_prob, "model": half}, n=80)
    first, second = (ax.images[0].get_array() for ax in fig.axes[:2])
    np.testing.assert_allclose(first, 2 * second, rtol=1e-4)
    assert "exact: mass 1.000" in fig.alt and "model: mass 0.500" in fig.alt


def test_samples_are_drawn_and_those_outside_are_counted():
    fig = plot.samples2d({"data": torch.tensor([[0.0, 1.0], [9.0, 0.0]]), "model": PLANE})
    dots = [c for c in fig.axes[0].collections if isinstance(c, PathCollection)][0]
    assert dots.get_offsets().tolist() == [[0.0, 1.0], [9.0, 0.0]]
    assert matplotlib.colors.to_hex(dots.get_facecolor()[0]).upper() == plot.DATA
    assert "1 outside" in fig.alt
    both = plot.samples2d({"data": PLANE, "model": PLANE}, together=True)
    assert len(both.axes) == 1 and [t.get_text() for t in both.axes[0].get_legend().get_texts()] == ["data", "model"]


@pytest.mark.parametrize("panels", [1, 2, 4, 6])
@pytest.mark.parametrize("title", ["", "a title"])
def test_no_panels_name_is_cut_off(panels, title):
    fig = plot.samples2d({f"k = {k}, a model": PLANE for k in range(panels)}, 3, title=title)
    fig.canvas.draw()
    for ax in fig.axes[:panels]:
        box = max((t.get_window_extent() for t in (ax.title, ax._left_title)), key=lambda b: b.width)  # noqa: SLF001
        assert box.y1 <= fig.bbox.y1 + 1, ax.get_title(loc="left")


def test_curves_draw_lines_bands_levels_and_scales():
    x = torch.tensor([1.0, 2.0, 4.0])
    fig = plot.curves({"a": (x, x**2, 0 * x + 1), "b": x}, "n", "y", levels={"floor": 2.0}, log="xy")
    ax = fig.axes[0]
    assert ax.lines[0].get_ydata().tolist() == [1, 4, 16] and ax.lines[1].get_xdata().tolist() == [0, 1, 2]
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    assert ax.get_xscale() == ax.get_yscale() == "log" and len(ax.collections) == 1
    assert "floor at 2" in fig.alt and "a from 1 to 16" in fig.alt
    with pytest.raises(ValueError, match="'z'"):
        plot.curves({"a": x}, "n", "y", log="z")


def test_bars_and_ladder():
    fig = plot.bars({"exact": [0.1, 0.9], "model": [0.2, 0.8]}, ["a", "b"], "p", errors={"model": [0.1, 0.1]})
    assert [round(p.get_height(), 3) for p in fig.axes[0].patches] == [0.1, 0.9, 0.2, 0.8]
    with pytest.raises(ValueError, match="2 values"):
        plot.bars({"exact": [1.0]}, ["a", "b"], "p")
    steps = FIGURES["ladder"]()
    assert [t.get_text() for t in steps.axes[0].get_yticklabels()] == ["pixels", "MADE", "NADE"]
    assert "best first: NADE 88.33 (published); MADE 101.2 (ours); pixels 205.7 (reference)" in steps.alt


def test_table_sorts_marks_the_best_and_reads_as_text():
    rows = {"MADE": {"nats": 101.2, "size": 1234567}, "PixelCNN": {"nats": 91.53, "note": "a|b"}}
    t = plot.table(rows, title="Leaderboard", best={"nats": "min"})
    assert isinstance(t, plot.Table)
    assert t.markdown().split("\n")[2:] == [
        "| model | nats | size | note |",
        "|---|--:|--:|---|",
        "| PixelCNN | **91.53** | - | a\\|b |",
        "| MADE | 101.2 | 1,234,567 | - |",
    ]
    assert str(t).split("\n")[3].split() == ["PixelCNN", "91.53", "-", "a|b"]
    assert set(t._repr_mimebundle_()) == {"text/markdown", "text/plain"}
    assert plot.table([{"x": 1.0}, {"x": 3.0}], best={"x": "max"}).rows == [["**3**"], ["1"]]
    with pytest.raises(ValueError, match="unknown column 'bits'"):
        plot.table(rows, best={"bits": "min"})
    with pytest.raises(ValueError, match="at least one row"):
        plot.table([])


def test_animation_keeps_its_frames_and_needs_words():
    frames = torch.stack([torch.full((1, 6, 4), v) for v in (0.0, 0.5, 1.0)])
    a = plot.animate(frames, alt="it gets lighter", fps=5, zoom=3)
    assert isinstance(a, plot.Animation)
    gif = Image.open(io.BytesIO(a.gif()))
    assert gif.n_frames == 3 and gif.size == (12, 18) and gif.info["loop"] == 0
    levels = []
    for k in range(3):
        gif.seek(k)
        levels.append(int(np.asarray(gif.convert("L")).mean()))
    assert levels == [0, 128, 255] and gif.info["duration"] == 1500
    assert 'alt="it gets lighter"' in a._repr_mimebundle_()["text/html"]
    assert plot.animate([FIGURES["curves"](), FIGURES["curves"]()], alt="two charts").frames[0].shape[2] == 3
    with pytest.raises(ValueError, match="text alternative"):
        plot.animate(frames, alt=" ")
    with pytest.raises(ValueError, match="one size"):
        plot.animate([frames[0], frames[0, :, :3]], alt="x")
    with pytest.raises(ValueError, match="at least one frame"):
        plot.animate([], alt="x")


def test_a_saved_webp_keeps_every_colour(tmp_path):
    frames = torch.rand(4, 3, 17, 23, generator=torch.Generator().manual_seed(1))
    a = plot.animate(frames, alt="noise", fps=10, hold=2.0)
    for kind in ("gif", "webp"):
        a.save(tmp_path / f"a.{kind}")
    page = Image.open(tmp_path / "a.webp")
    assert page.n_frames == 4 and page.info["loop"] == 0
    for k in range(4):
        page.seek(k)
        assert np.array_equal(np.asarray(page.convert("RGB")), a.frames[k])
    assert Image.open(tmp_path / "a.gif").n_frames == 4
    with pytest.raises(ValueError, match=r"\.gif or \.webp; got '.*a\.mp4'"):
        a.save(tmp_path / "a.mp4")


def test_show_adds_the_description_as_text_to_any_figure(monkeypatch):
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a[0], k)))
    fig = FIGURES["bars"]()
    plot.show(fig)
    assert shown[0][0]["text/plain"] == fig.alt and shown[1][0].data == f"*{fig.alt}*"
    plain = plt.figure()
    plot.show(plain, "An empty page.")
    assert shown[2][1]["metadata"]["image/png"]["alt"] == "An empty page."
    assert plain.number not in plt.get_fignums()
    with pytest.raises(ValueError, match="description"):
        plot.show(plt.figure())
    plt.close("all")
    table = plot.table([{"x": 1.0}])
    plot.show(table)
    assert shown[4][0] is table and len(shown) == 5


def test_sequential_runs_from_white_to_the_meaning():
    scale = plot.sequential("gradient")
    assert matplotlib.colors.to_hex(scale(0.0)) == "#ffffff"
    assert matplotlib.colors.to_hex(scale(1.0)).upper() == plot.GRADIENT == plot.COLOURS["gradient"]
