"""The pictures of chapter 04: functions that return a figure with its description in ``fig.alt``."""

import math

import torch
from matplotlib.patches import Ellipse
from torch import Tensor

from coursekit import plot
from coursekit.plot.style import picture, style

CLASS = (  # a colour a digit
    "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #1B1B1B #999999 #8C510A #5E3C99".split()
)


def naive(gaps: list[float]) -> plot.Picture:
    """By how much the average over draws from the prior misses log p(x), against the number of latents."""
    return plot.curves(
        {"naive estimate (model)": (range(1, 1 + len(gaps)), gaps)},
        "hidden numbers",
        "error of log p(x), nats",
        "Ten thousand guesses from the prior",
        levels={"truth": 0},
        markers=True,
        height=2.4,
    )


def bound_and_gap(bounds: list[float], gaps: list[float], truth: float) -> plot.Picture:
    """The ELBO, and ELBO + KL, as q walks from the prior to the posterior."""
    share = torch.linspace(0, 1, len(bounds))
    return plot.curves(
        {
            "ELBO (model)": (share, bounds),
            "ELBO + KL(q || posterior), exact": (share, [b + g for b, g in zip(bounds, gaps)]),
        },
        "q, from the prior (0) to the posterior (1)",
        "nats",
        "What the bound lacks is exactly the KL",
        levels={"log p(x)": truth},
        height=2.5,
    )


def ellipse(ax, mean: Tensor, cov: Tensor, colour: str, label: str, **look) -> None:
    """The curve two standard deviations from the mean."""
    values, vectors = torch.linalg.eigh(cov)
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
    size = (4 * values.flip(0).sqrt()).tolist()
    look = {"fill": False, "ec": colour, "lw": 2, "label": label, **look}
    ax.add_patch(Ellipse(mean.tolist(), *size, angle=angle, **look))


def turned(
    angle: int, mean: Tensor, cov: Tensor, guess: Tensor, cost: float, costs: dict
) -> plot.Picture:
    """Posterior and best independent guess at this angle of the columns; what independence costs at every angle."""
    with style():
        fig = picture(8, 3.0)
        left, right = fig.subplots(1, 2, width_ratios=[1, 1.25])
        ellipse(left, torch.zeros(2), torch.eye(2), plot.NOISE, "prior", ls="--")
        ellipse(left, mean, cov, plot.EXACT, "posterior p(z|x)")
        ellipse(left, mean, guess, plot.MODEL, "best independent q")
        left.set(xlim=(-3.1, 3.1), ylim=(-4.0, 2.2), aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
        left.set_title(f"columns of W at {angle} degrees")
        left.legend(loc="lower left", fontsize=7.5)
        right.plot(*zip(*costs.items()), color=plot.NOISE, lw=1.4)
        right.plot([angle], [cost], "o", ms=9, color=plot.MODEL)
        right.set(xlabel="angle between the columns, degrees", ylabel="log p(x) - ELBO, nats")
        right.set(ylim=(-0.02, 0.55), title=f"what independence costs: {cost:.3f} nats")
    fig.alt = f"At {angle} degrees the posterior and the best independent guess differ by {cost:.3f} nats; the cost falls to 0 at 90 degrees."
    return fig


def closing_in(
    at: list[int], bounds: list[float], evidences: list[float], best: float
) -> plot.Picture:
    """The bound and the evidence of the linear model while it learns."""
    return plot.curves(
        {"ELBO (model)": (at, bounds), "log p(x) of the same model, exact": (at, evidences)},
        "step",
        "nats a digit",
        "The bound closes in on the evidence",
        levels={"PCA": best},
        height=2.6,
    )


def digits(rows: dict[str, Tensor], title: str, alt: str) -> plot.Picture:
    """Labelled rows of square pictures (n, pixels), in the model's colour; rows of data in theirs."""
    sides = {name: round(x.shape[1] ** 0.5) for name, x in rows.items()}
    squares = {name: x.reshape(-1, 1, sides[name], sides[name]) for name, x in rows.items()}
    return plot.rows(squares, title, ink=plot.MODEL, alt=alt)


def growing(rows: dict[str, Tensor]) -> plot.Picture:
    """Digits drawn from the prior, a row for each stage of the training."""
    title = "Digits drawn from the prior while the VAE learns: in each column the same z"
    return digits(rows, title, f"{title}, from grey fog to handwriting.")


def reconstructions(rows: dict[str, Tensor]) -> plot.Picture:
    """Test digits, and what each model makes of their codes."""
    return digits(
        rows,
        "Test digits, and what is left of them after the code",
        "Twelve test digits in blue; below them their reconstructions from 32 latents, nearly the same, and from two latents, where some digits turn into others.",
    )


def quantiles(side: int) -> Tensor:
    """A square of places, evenly spread in the prior's probability: z_1 to the right, z_2 up."""
    level = torch.special.ndtri((torch.arange(side) + 0.5) / side)
    return torch.stack(torch.meshgrid(level.flip(0), level, indexing="ij")[::-1], -1).reshape(-1, 2)


def country(ax, places: Tensor, labels: Tensor) -> None:
    """Dots coloured by class, and each class's name at its middle."""
    for c in range(10):
        mine = places[labels == c]
        ax.scatter(*mine.T, s=1.5, color=CLASS[c], alpha=0.5, linewidths=0, rasterized=True)
        if len(mine):
            middle = mine.median(0).values.tolist()
            box = {"fc": "white", "ec": CLASS[c], "pad": 1.5, "alpha": 0.85}
            ax.text(
                *middle, str(c), fontsize=13, fontweight="bold", ha="center", va="center", bbox=box
            )
    ax.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xlabel="$z_1$", ylabel="$z_2$")


def atlas(places: Tensor, labels: Tensor, drawn: Tensor) -> plot.Picture:
    """Where the encoder puts the test digits, and what the decoder draws at ``quantiles``: (side * side, pixels)."""
    side, size = round(len(drawn) ** 0.5), round(drawn.shape[1] ** 0.5)
    sheet = drawn.reshape(side, side, size, size).movedim(1, 2).flatten(2).flatten(0, 1)
    with style():
        fig = picture(8, 4.6)
        left, right = fig.subplots(1, 2)
        country(left, places, labels)
        left.set_title("where the encoder puts the test digits")
        right.imshow(1 - sheet, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
        right.set(xticks=[], yticks=[], xlabel="$z_1$, quantiles of the prior", ylabel="$z_2$")
        right.set_title("what the decoder draws there")
    fig.alt = f"Left, the means of {len(places):,} test digits in the plane, coloured by class: ten partly overlapping countries. Right, a {side} by {side} sheet of decoded digits that change smoothly from place to place."
    return fig


def visit(
    z: Tensor, places: Tensor, labels: Tensor, drawn: Tensor, near: Tensor, label: int
) -> plot.Picture:
    """The map with a ring at z (1, 2), the picture drawn there, and the nearest test digit."""
    across, up = z[0].tolist()
    with style():
        fig = picture(8, 3.4)
        left, middle, right = fig.subplots(1, 3)
        country(left, places, labels)
        left.plot([across], [up], "o", ms=10, mfc="none", mec=plot.GRADIENT, mew=3)
        titles = f"decoded at ({across:g}, {up:g})", f"nearest test digit: a {label}"
        for ax, x, ink, title in zip((middle, right), (drawn, near), ("model", "data"), titles):
            ax.imshow(x.reshape(28, 28), cmap=plot.sequential(ink), vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[], title=title)
    fig.alt = f"The map of codes with a ring at ({across:g}, {up:g}), the digit decoded there, and the nearest test digit, a {label}."
    return fig


def weighed(K: int, s: dict, z: Tensor, share: Tensor) -> plot.Picture:
    """One digit ``s``: its true posterior, K guesses z as large as their share of the weight, and the bound for every K."""
    bounds, short = s["ladder"], s["truth"] - s["ladder"][K]
    (a, b), h = s["mean"].tolist(), s["half"]
    box = (a - h, a + h, b - h, b + h)
    with style():
        fig = picture(8, 3.0)
        first, left, right = fig.subplots(1, 3, width_ratios=[0.6, 1.15, 1.5])
        first.imshow(s["x"].reshape(28, 28), cmap=plot.sequential("data"), vmin=0, vmax=1)
        first.set(xticks=[], yticks=[], title="test digit")
        shade = {"origin": "lower", "cmap": "Greys", "vmax": 1.6, "interpolation": "bilinear"}
        left.imshow((s["joint"] - s["joint"].max()).exp(), extent=box, **shade)
        ellipse(left, s["mean"], torch.diag(s["std"] ** 2), plot.MODEL, "q(z|x)")
        left.scatter(*z.T, s=(6 + 300 * share).tolist(), color=plot.MODEL, alpha=0.6, linewidths=0)
        left.set(xlim=box[:2], ylim=box[2:], xlabel="$z_1$", ylabel="$z_2$")
        left.set_title("true posterior and q")
        right.plot(
            list(bounds), list(bounds.values()), "o-", color=plot.MODEL, ms=4, label="your bound"
        )
        right.axhline(s["truth"], color=plot.EXACT, lw=1.2, ls="--", label="log p(x), exact")
        right.plot([K], [bounds[K]], "o", ms=11, mfc="none", mec=plot.MODEL, mew=2)
        right.set(xscale="log", xlabel="K, guesses", ylabel="nats")
        right.set_title(f"K = {K}: {short:.2f} nats short")
        right.legend(loc="lower right")
    fig.alt = f"K = {K}: the bound of this digit is {short:.2f} nats short of the exact log p(x); the true posterior is not the ellipse that q draws."
    return fig


def rate_against_quality(swept: dict[float, dict]) -> plot.Picture:
    """Reconstruction against rate, a dot for each beta."""
    rate, rec = ([row[name] for row in swept.values()] for name in ("rate", "reconstruction"))
    with style():
        fig = picture(8, 2.9)
        ax = fig.subplots()
        for level in range(18, 42, 4):
            ax.plot([0, 40], [level, level - 40], color="#D9D9D9", lw=0.8, zorder=0)
        ax.plot(rate, rec, "o-", color=plot.MODEL)
        for beta, a, b in zip(swept, rate, rec):
            ax.annotate(f"β = {beta:g}", (a, b), xytext=(9, 3), textcoords="offset points")
        ax.set(xlabel="rate, nats for the code", ylabel="reconstruction, nats")
        ax.set(xlim=(0, max(rate) * 1.15), ylim=(min(rec) * 0.6, max(rec) * 1.1))
        ax.set_title("grey lines: equal -ELBO; lower is better")
    found = zip(swept, rate, rec)
    fig.alt = "; ".join(
        f"beta {b:g}: rate {r:.1f}, reconstruction {d:.1f} nats" for b, r, d in found
    )
    return fig


def talk(rates: dict[str, Tensor]) -> plot.Picture:
    """The rate of each latent, by model."""
    return plot.curves(
        {name: (range(1, 1 + len(rate)), rate) for name, rate in rates.items()},
        "latent, the most talkative first",
        "rate, nats",
        "What each latent says",
        markers=True,
        height=2.8,
    )


def one_symbol(rows: dict[str, Tensor]) -> plot.Picture:
    """One symbol of a code runs through its values."""
    return digits(
        rows,
        "One symbol runs through its values, the others stay",
        "The test digit in blue above; below, rows of decoded pictures: one symbol of the code takes each of its values, and the digit changes with it, a little or much.",
    )


def symptom(bug: str, reported: float, true: float, honest: float, samples: Tensor) -> plot.Picture:
    """Reported and true nats, and sixteen samples (16, 64) from the prior."""
    with style():
        fig = picture(8, 1.75, bug)
        left, right = fig.subplots(1, 2, width_ratios=[1.3, 2])
        left.barh(["reported", "true"], [reported, true], color=[plot.NOISE, plot.MODEL])
        box = {"fc": "white", "ec": "none", "pad": 1}
        for k, nats in enumerate((reported, true)):
            left.text(max(nats, 0) + 0.7, k, f"{nats:.1f}", va="center", bbox=box)
        left.axvline(honest, color=plot.EXACT, lw=1, ls="--")
        left.set(xlim=(0, 36), xlabel="nats a digit (dashed: without bug)")
        sheet = torch.nn.functional.pad(samples.reshape(2, 8, 8, 8), (1, 1, 1, 1))
        sheet = sheet.movedim(2, 1).reshape(20, 80)
        right.imshow(sheet, cmap=plot.sequential("model"), vmin=0, vmax=1)
        right.set(xticks=[], yticks=[], title="drawn from the prior")
        right.spines[:].set_visible(False)
    fig.alt = f"{bug}: reported {reported:.1f} nats, true bound {true:.1f} nats; sixteen samples."
    return fig
