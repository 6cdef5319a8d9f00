"""The pictures of chapter 00: each function returns a figure with its text alternative."""

import math

import torch

from coursekit import plot
from coursekit.plot.style import HEAT, picture, style
from genmodels import metrics, toy


def before_and_behind(dots, source):
    """What you get, 400 dots, and what you want, the density behind them."""
    with style():
        fig = picture(8, 3.4)
        left, right = fig.subplots(1, 2)
        left.scatter(*dots.T, s=5, color=plot.DATA)
        left.set(title="what you get: 400 data samples")
        points, _ = toy.grid(3.0, 200)
        right.imshow(
            source.log_prob(points).exp().reshape(200, 200),
            origin="lower",
            extent=(-3, 3, -3, 3),
            cmap=HEAT,
        )
        right.set(title=r"what you want: $p_{\mathrm{data}}$")
        for ax in (left, right):
            ax.set(xlim=(-3, 3), ylim=(-2.2, 2.2), aspect="equal", xticks=[], yticks=[])
    fig.alt = "Left, 400 blue dots along two interlocking crescents. Right, the density they were drawn from."
    return fig


def surprise(costs, entropy):
    """Mean surprise against the number of components; costs: {k: (on its own dots, on fresh ones)}."""
    ks = list(costs)
    return plot.curves(
        {
            "the model on its own training dots": (ks, [costs[k][0] for k in ks]),
            "the model on fresh data": (ks, [costs[k][1] for k in ks]),
        },
        "components k",
        "mean of -log p, nats",
        "Surprise",
        levels={"entropy of the source": entropy},
        log="x",
        markers=True,
        height=2.8,
    )


def rulers_that_shift(weigh, kl, js):
    """Two Gaussians, and two blocks of width 1: the rulers against the shift between them."""
    edges = torch.linspace(-4, 8, 2401, dtype=torch.float64)
    middles, width = (edges[1:] + edges[:-1]) / 2, 12 / 2400
    shifts = torch.linspace(0, 3, 31, dtype=torch.float64)
    half = torch.full((1, 1), 0.5, dtype=torch.float64)
    block = lambda at: torch.where((middles - at).abs() < 0.5, math.log(width), -math.inf)
    bell = lambda at: weigh(middles[:, None], half[0] * 0, half * 0 + at, half) + math.log(width)
    tv = metrics.total_variation
    rulers = {
        "KL, both directions": (kl, plot.MODEL, "-"),
        "Jensen-Shannon": (js, plot.DATA, "--"),
        "total variation": (tv, plot.GRADIENT, ":"),
    }
    with style():
        fig = picture(8, 2.9)
        both = fig.subplots(1, 2, sharey=True)
        for ax, name, shape in zip(both, ("Gaussians", "blocks"), (bell, block)):
            for label, (ruler, colour, dash) in rulers.items():
                values = torch.stack([ruler(shape(0.0), shape(s.item())) for s in shifts])
                ax.plot(shifts[values < 9], values[values < 9], color=colour, ls=dash, label=label)
            ax.axhline(math.log(2), color=plot.NOISE, lw=0.8)
            ax.set(title=f"two {name}", xlabel="shift", ylim=(0, 2.5))
        ax.text(0.05, math.log(2) + 0.05, "log 2", color="#666666", fontsize=9)
        ax.text(0.35, 2.1, "KL is infinite for any shift > 0", color=plot.MODEL, fontsize=9)
        both[0].legend(loc="upper right")
        both[0].set(ylabel="divergence (nats; TV has no unit)")
    fig.alt = "Rulers against the shift. For Gaussians KL grows as the square of the shift; Jensen-Shannon levels off at log 2 and total variation at 1. For blocks KL is infinite at once, and the other two are flat as soon as the blocks part at shift 1."
    return fig


def four_fits(grid, p, fits, where):
    """The truth, and the Gaussian that each ruler chose; fits: {ruler: (density, mean, std, value)}."""
    with style():
        fig = picture(8, 3.6)
        four = fig.subplots(2, 2, sharex=True, sharey=True).flat
        for ax, (name, (q, _, _, value)) in zip(four, fits.items()):
            ax.fill_between(grid, p, color=plot.DATA, alpha=0.25, lw=0)
            ax.plot(grid, p, color=plot.DATA, lw=1.2, label="data")
            ax.plot(grid, q, color=plot.MODEL, label="model")
            ax.set(title=f"{name}: {value:.3f}", xlim=(-9, 9), ylim=(0, 0.72), yticks=[])
        fig.axes[0].legend(loc="upper right", ncols=2)
    fig.alt = f"{where}: " + "; ".join(
        f"{name} gives mean {mean:.1f} and std {std:.1f}"
        for name, (_, mean, std, _) in fits.items()
    )
    return fig


def bent(u, x, grid, log_mass, cell, distance):
    """Uniform numbers on the left, the CDF, and where they land below."""
    with style():
        fig = picture(8, 4.2)
        axes = fig.subplots(
            2, 2, width_ratios=[1, 4], height_ratios=[3, 2], sharex="col", sharey="row"
        )
        (left, main), (corner, below) = axes
        corner.axis("off")
        left.hist(u.numpy(), 20, orientation="horizontal", color=plot.NOISE)
        left.set(ylabel="u, uniform", xlim=(400, 0), xticks=[])
        main.plot(grid, log_mass.exp().cumsum(0), color=plot.EXACT)
        for height, place in zip(u[:24].tolist(), x[:24].tolist()):
            main.plot([-9, place, place], [height, height, 0], color=plot.MODEL, lw=0.7, alpha=0.6)
        main.set(title=r"$F$, read from left to right and down: $x=F^{-1}(u)$")
        main.set(xlim=(-9, 9), ylim=(0, 1))
        drawn = "4,000 samples of the model"
        below.hist(
            x.numpy(), 90, range=(-9, 9), density=True, color=plot.MODEL, alpha=0.6, label=drawn
        )
        below.plot(grid, (log_mass - cell).exp(), color=plot.EXACT, lw=1.2, label="exact density")
        below.set(xlabel="x", yticks=[])
        below.set_ylim(top=1.35 * below.get_ylim()[1])  # room for the legend above the humps
        below.legend(loc="upper right", ncols=2)
    fig.alt = f"Uniform numbers on the left run into the curve of the CDF and fall down to x; their histogram follows the exact density with humps {distance} apart."
    return fig


def curse(dimensions, loss_kde, loss_gaussian, theory):
    """Nats lost against the dimension."""
    return plot.curves(
        {
            "KDE model, best width": (dimensions, loss_kde),
            "Gaussian model": (dimensions, loss_gaussian),
            "parameters / 2n (exact as n grows)": (dimensions, theory),
        },
        "dimension d",
        "KL(p || q) in nats",
        "The same 1,000 points in more and more dimensions",
        log="xy",
        markers=True,
        height=3,
    )


def digits(drawn, bits, bounds=()):
    """Sixteen digits a row; bits: {model: (bits/dim, error)}, of which some are only bounds."""
    number = lambda name: ("≤ " if name in bounds else "") + f"{bits[name][0]:.2f} bits/dim"
    label = lambda name: name if name == "data" else f"model: {name}, {number(name)}"
    rows = {label(k): v.reshape(-1, 1, 8, 8).clamp(0, 1).float() for k, v in drawn.items()}
    return plot.images(rows, "Which one would you choose?", columns=16)


def claim_and_samples(bug, line, claim, samples):
    """What a model claims, and what it draws."""
    total = torch.trapezoid(claim, line)
    with style():
        fig = picture(8, 2.1, bug)
        ax = fig.subplots()
        drawn = {"color": plot.MODEL, "alpha": 0.5, "label": "what it draws"}
        ax.hist(samples.numpy(), 80, range=(-5, 5), density=True, **drawn)
        ax.plot(line, claim, color=plot.EXACT, label=f"what it claims: integral {total:.3f}")
        ax.set(yticks=[], xlim=(-5, 5), ylim=(0, 0.9))
        ax.legend(loc="upper left")
    fig.alt = f"{bug}: the histogram of the samples against the claimed density, whose integral is {total:.3f}."
    return fig


def bent_plane(samples, log_p, half):
    """Samples of the stretched ring, and its density on a grid."""
    with style():
        fig = picture(8, 2.9)
        left, right = fig.subplots(1, 2)
        left.scatter(*samples.T, s=4, color=plot.MODEL)
        left.set(title="2,000 samples")
        right.imshow(log_p.exp(), origin="lower", extent=(-half, half, -half, half), cmap=HEAT)
        right.set(title="the density of the same map")
        for ax in (left, right):
            ax.set(xlim=(-3.2, 3.2), ylim=(-2.1, 2.1), aspect="equal", xticks=[], yticks=[])
    fig.alt = "Left, samples in an elliptic ring. Right, the density of the map that made them: the same ring, highest towards its inner edge."
    return fig
