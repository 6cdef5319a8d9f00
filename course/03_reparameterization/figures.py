"""The pictures of chapter 03: each function takes numbers and returns a figure with its text alternative."""

import math

import numpy as np
import torch

from coursekit import plot
from coursekit.plot.style import HEAT, picture, style

PLACES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.866]], dtype=torch.float64)


def two_handles():
    """A Gaussian is moved to the right: the samples ride along, or they stay and change their weights."""
    x = torch.linspace(-3.5, 4.5, 400)
    points = torch.tensor([-2.0, -1.1, -0.2, 0.8, 1.7])
    density = lambda x, m: torch.exp(-((x - m) ** 2) / 2) / math.sqrt(2 * math.pi)
    with style():
        fig = picture(8, 2.9)
        axes = fig.subplots(1, 2, sharey=True)
        titles = ("move the sample (pathwise)", "move its weight (score function)")
        for ax, title in zip(axes, titles):
            ax.plot(x, density(x, 0), color=plot.NOISE, label="before")
            ax.plot(x, density(x, 0.7), color=plot.MODEL, label="after θ + dθ")
            ax.set(title=title, xlabel="z", yticks=[], ylim=(-0.19, 0.44))
            ax.axhline(0, color=plot.NOISE, lw=0.6)
        arrow = {"arrowstyle": "->", "color": plot.GRADIENT, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
        for p in points.tolist():
            axes[0].annotate("", (p + 0.7, -0.07), (p, -0.07), arrowprops=arrow)
            axes[0].scatter(p, -0.07, s=26, color=plot.DATA, zorder=3)
            if abs(p) > 0.5:  # shorter ones would be all head
                axes[1].annotate("", (p, -0.07 + 0.06 * p), (p, -0.07), arrowprops=arrow)
            axes[1].scatter(p, -0.07, s=26, color=plot.DATA, zorder=3)
        axes[0].legend(loc="upper right")
    fig.alt = (
        "A bell curve moves to the right. Left: five samples each ride along with it, green arrows. "
        "Right: the samples stay; those on the right get heavier (arrows up), those on the left lighter (arrows down)."
    )
    return fig


def implicit_paths(paths, density_of):
    """For each family its density and the speed dz/da of each sample; paths: name -> (places, speeds)."""
    with style():
        fig = picture(8, 2.5)
        for ax, (name, (at, speed)) in zip(fig.subplots(1, 2), paths.items()):
            density = density_of[name](grid := np.linspace(1e-3, at.max(), 300))
            top = 0.8 * speed.max() / density.max()
            ax.fill_between(
                grid, top * density, color=plot.DATA, alpha=0.25, lw=0, label="density (rescaled)"
            )
            order = np.argsort(at)
            ax.plot(at[order], speed[order], color=plot.GRADIENT, label="dz/da, equation (5)")
            ax.set(xlabel="z", title=name, ylim=(0, 1.25 * speed.max()))
            ax.legend(loc="upper left" if "Gamma" in name else "upper right")
    fig.alt = (
        "Densities of a Gamma and a Beta distribution with the speed at which each sample moves "
        "when a grows: everywhere to the right."
    )
    return fig


def parabola(b, variance, marked):
    """The variance of REINFORCE against its baseline; marked: name -> (baseline, variance there)."""
    with style():
        fig = picture(8, 2.5)
        ax = fig.subplots()
        ax.plot(b, variance, color=plot.GRADIENT)
        for (name, (x, y)), dx in zip(marked.items(), (20, -30, 30)):
            ax.scatter(x, y, color=plot.EXACT, zorder=3)
            arrow = {"arrowstyle": "-", "lw": 0.8}
            ax.annotate(name, (x, y), (dx, 35), textcoords="offset points", arrowprops=arrow)
        ax.set(
            xlabel="baseline b",
            ylabel="variance",
            title="REINFORCE's variance against its baseline, exactly",
        )
        ax.set_ylim(0, 8)
    told = ", ".join(f"{y:.2f} at {name} (b = {x:.2f})" for name, (x, y) in marked.items())
    fig.alt = f"A parabola: the variance of REINFORCE is {told}."
    return fig


def against_dimension(sizes, measured, formula):
    """Variance of one sample against the dimension: measured dots on exact lines."""
    with style():
        fig = picture(8, 2.6)
        ax = fig.subplots()
        for name, c, exact in (
            ("score function", plot.MODEL, formula),
            ("pathwise", plot.GRADIENT, [4] * len(sizes)),
        ):
            ax.plot(sizes, exact, color=c, label=f"{name}, exact")
            ax.scatter(sizes, measured[name], color=c, zorder=3)
        ax.set(xscale="log", yscale="log", xlabel="dimensions d", ylabel="variance of one sample")
        ax.set_xticks(sizes, map(str, sizes))
        ax.minorticks_off()
        ax.legend(loc="center left", bbox_to_anchor=(0.01, 0.6))
        ax.grid(True)
    fig.alt = (
        "Variance against dimension: pathwise stays at 4, the score function grows from 30 to "
        f"{formula[-1]:,}; dots are measured, lines exact."
    )
    return fig


def against_frequency(omegas, measured, path, score):
    """Variance for the cost sin(omega z): measured dots on exact lines; path, score: the exact variances."""
    line = torch.linspace(math.log(0.5), math.log(10), 80).exp().tolist()
    with style():
        fig = picture(8, 2.6)
        ax = fig.subplots()
        for name, c, exact in (
            ("score function", plot.MODEL, score),
            ("pathwise", plot.GRADIENT, path),
        ):
            ax.plot(line, [exact(w) for w in line], color=c, label=f"{name}, exact")
            ax.scatter(omegas, measured[name], color=c, zorder=3)
        ax.set(xscale="log", yscale="log", xlabel="ω", ylabel="variance of one sample")
        ax.set_title("the cost sin ωz")
        ax.set_xticks(omegas, map(str, omegas))
        ax.minorticks_off()
        ax.legend(loc="upper left")
        ax.grid(True)
    told = "; ".join(f"{name} {v[0]:.3f} to {v[-1]:.2f}" for name, v in measured.items())
    fig.alt = f"Variance against ω from {omegas[0]} to {omegas[-1]}: {told}. The lines cross near ω = 1.1."
    return fig


def bias_and_noise(names, bias, error, noise, length):
    """Bars of bias and standard deviation, one pair for each estimator."""
    with style():
        fig = picture(8, 3.6, "Bias and noise of one estimate from four samples")
        ax = fig.subplots()
        place = np.arange(len(names))[::-1]
        ax.barh(place + 0.19, bias, 0.36, xerr=error, color=plot.MODEL, label="bias")
        ax.barh(place - 0.19, noise, 0.36, color=plot.NOISE, label="standard deviation")
        ax.axvline(length, color=plot.EXACT, lw=1, ls="--", label="length of the\nexact gradient")
        ax.set_yticks(place, names)
        ax.set_xlabel("in the units of the gradient")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    told = "; ".join(f"{n}: {b:.2f} and {s:.2f}" for n, b, s in zip(names, bias, noise))
    fig.alt = f"Bars of bias and standard deviation for {len(names)} estimators. {told}."
    return fig


def triangle(ax, z, cost):
    """Samples on the simplex over the cost of each place."""
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 41, dtype=torch.float64)] * 2)
    grid = torch.stack([grid[:, 0], grid[:, 1], 1 - grid.sum(1)], 1)[grid.sum(1) <= 1 + 1e-9]
    where, at = grid @ PLACES, z @ PLACES
    ax.tricontourf(where[:, 0], where[:, 1], cost(grid), levels=12, cmap=HEAT, vmin=0, vmax=4)
    ax.scatter(at[:, 0], at[:, 1], s=10, color=plot.MODEL, edgecolor="white", lw=0.3, zorder=3)
    for k, (x, y) in enumerate(PLACES.tolist()):
        side = {"ha": ("right", "left", "center")[k], "va": ("top", "top", "bottom")[k]}
        paid = float(cost(torch.eye(3, dtype=torch.float64)[k]))
        y = y + (0.02 if k == 2 else -0.02)
        ax.text(x, y, f"$e_{k}$: cost {paid:.2f}", fontsize=9, **side)
    ax.set(xlim=(-0.2, 1.2), ylim=(-0.1, 0.97), aspect="equal")
    ax.axis("off")


def at_temperature(z, cost, tau, kind, bias, error, noise, rival):
    """Relaxed samples in the triangle, and bias and standard deviation beside leave-one-out's."""
    with style():
        fig = picture(8, 3.2)
        left, right = fig.subplots(1, 2, width_ratios=[1.35, 1])
        triangle(left, z, cost)
        left.set_title(f"τ = {tau:g}, {kind}")
        colours = [plot.MODEL, plot.NOISE]
        right.bar([0, 1], [bias, noise], color=colours, width=0.6, yerr=[error, 0])
        label = "standard deviation of leave one out"
        right.axhline(rival, color=plot.GRADIENT, lw=1.4, ls="--", label=label)
        right.legend(loc="upper left")
        right.set_xticks([0, 1], ["bias", "standard deviation"])
        right.set(ylim=(0, 2.2), xlim=(-0.5, 1.5), ylabel="in the units of the gradient")
        right.set_title(f"bias {bias:.2f}, standard deviation {noise:.2f}")
    fig.alt = (
        f"Relaxed samples in a triangle at temperature {tau:g} ({kind}): bias {bias:.2f}, standard "
        f"deviation {noise:.2f}, against {rival:.2f} and no bias for leave one out."
    )
    return fig


def price_of_a_temperature(path, temperatures, rival):
    """Standard deviation against bias along the temperatures; path: name -> [(bias, deviation), ...]."""
    with style():
        fig = picture(8, 2.8)
        ax = fig.subplots()
        for (name, points), c, mark in zip(path.items(), (plot.MODEL, plot.SERIES[3]), "os"):
            ax.plot(*zip(*points), color=c, marker=mark, label=f"Gumbel, {name}")
            for tau, (x, y) in zip(temperatures, points):
                if tau in (0.05, 0.2, 0.5, 1.0, 5.0):
                    ax.annotate(
                        f"{tau:g}", (x, y), (4, 4), textcoords="offset points", fontsize=8.5
                    )
        ax.scatter(
            0, rival, marker="*", s=130, color=plot.GRADIENT, label="leave one out", zorder=3
        )
        title = "The price of a temperature (numbers: τ)"
        ax.set(xlabel="bias", ylabel="standard deviation", title=title)
        ax.grid(True)
        ax.legend(loc="upper right")
    fig.alt = (
        f"Standard deviation against bias for {len(temperatures)} temperatures: cold ones lie high "
        "on the left, warm ones low on the right; leave one out has no bias."
    )
    return fig


def pulls():
    """What an example teaches under the cross-entropy and under the smooth accuracy."""
    margin = torch.linspace(-8, 8, 200)
    right = margin.sigmoid()
    curves = {
        "cross-entropy: 1 - p": (margin, 1 - right),
        "smooth accuracy: p (1 - p)": (margin, right * (1 - right)),
    }
    return plot.curves(
        curves,
        "margin of the right class",
        "pull on the margin",
        title="What an example teaches",
        height=2.2,
        alt="The pull of the cross-entropy is near 1 for wrong examples; that of the smooth accuracy "
        "vanishes for badly wrong ones as well as for right ones.",
    )


def redrawn(rows):
    """Twelve test digits and what comes back, a row for each network; rows: name -> pictures (12, 64)."""
    with style():
        fig = picture(8, 3.4, "Test digits (top) and what comes back through eight coins")
        for axes, (name, images) in zip(fig.subplots(len(rows), 12), rows.items()):
            scale = plot.sequential("data" if name == "a test digit" else "model")
            for ax, image in zip(axes, images):
                ax.imshow(image.reshape(8, 8), cmap=scale, vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
            axes[0].set_ylabel(name.split(":")[0], rotation=0, ha="right", va="center")
    fig.alt = (
        "Twelve test digits in blue; below them reconstructions in vermilion by leave one out, "
        "straight-through, and by the network that never threw a coin, whose pictures are crisp "
        "and often of another digit."
    )
    return fig


def symptom(name, x, truth):
    """The coordinates of a gradient: single estimates x (n, 3), their mean with 4.5 standard errors, the truth."""
    error = 4.5 * x.std(0) / len(x) ** 0.5
    with style():
        fig = picture(8, 2.1, name)
        ax = fig.subplots()
        for k in range(3):
            jitter = 0.5 * torch.rand(300, generator=torch.Generator().manual_seed(k)) - 0.25
            ax.scatter(x[:300, k], k + jitter, s=5, color=plot.NOISE, alpha=0.5, lw=0)
        look = {"fmt": "o", "color": plot.GRADIENT, "capsize": 4}
        ax.errorbar(x.mean(0), range(3), xerr=error, label="mean ± 4.5 standard errors", **look)
        ax.scatter(truth, range(3), marker="|", s=500, lw=2, color=plot.EXACT, label="exact")
        ax.set_yticks(range(3), ["θ₀", "θ₁", "θ₂"])
        ax.set(xlim=(-1.6, 1.6), ylim=(2.6, -0.6), xlabel="gradient")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    found, exact = (", ".join(f"{v:+.2f}" for v in row) for row in (x.mean(0), truth))
    fig.alt = f"{name}: mean estimates {found}; exact {exact}."
    return fig
