"""The pictures of chapter 10: functions that return a figure with its description in ``fig.alt``."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from coursekit import plot
from coursekit.plot.style import picture, style
from genmodels import core, toy


def sheet(x: Tensor) -> Tensor:
    """Portraits on [-1, 1] as pictures on [0, 1], with white seams."""
    return torch.nn.functional.pad((x.float() + 1) / 2, (1, 1, 1, 1), value=1.0).clamp(0, 1)


def rows_of(
    rows: dict[str, Tensor], title: str = "", height: float = 0.72, alt: str = ""
) -> plot.Picture:
    """Labelled rows of portraits on [-1, 1]."""
    with style():
        fig = picture(8, 0.3 + height * len(rows), title)
        for ax, (name, x) in zip(fig.subplots(len(rows), 1, squeeze=False)[:, 0], rows.items()):
            ax.imshow(sheet(x).permute(2, 0, 3, 1).flatten(1, 2).numpy())
            ax.set(xticks=[], yticks=[])
            ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
            ax.spines[:].set_visible(False)
    fig.alt = alt or f"{title}: rows of {len(x)} portraits, {', '.join(rows)}."
    return fig


def reverse_step(path: Callable, t: float, s: float, x: float) -> tuple[Tensor, dict[str, Tensor]]:
    """A grid of x_s, and the densities of x_s given x_t = x: the truth, an ancestral step, the best Gaussian."""
    two = toy.GaussianMixture(
        torch.tensor([0.4, 0.6]).double(),
        torch.tensor([[-1.0], [1.0]]).double(),
        torch.tensor([0.15, 0.15]).double(),
    )
    (a, b), (c, d) = path(t), path(s)
    grid = torch.linspace(-2.2, 2.2, 4001, dtype=torch.float64)
    added = b**2 - (a / c * d) ** 2  # variance of x_t given x_s
    true = (two.log_prob(grid[:, None], c, d) - (x - a / c * grid) ** 2 / (2 * added)).exp()
    true = true / torch.trapezoid(true, grid)
    guess = two.denoise(torch.tensor([[x]]).double(), a, b).item()
    variance = added * d**2 / b**2
    mean = c * guess + math.sqrt(max(d**2 - variance, 0)) * (x - a * guess) / b
    gauss = lambda m, v: (-((grid - m) ** 2) / (2 * v)).exp()
    middle = torch.trapezoid(true * grid, grid)
    best = gauss(middle, torch.trapezoid(true * (grid - middle) ** 2, grid))
    found = {"true": true, "ancestral": gauss(mean, variance), "best": best}
    return grid, {name: p / torch.trapezoid(p, grid) for name, p in found.items()}


def one_reverse_step(path: Callable, t: float = 0.7, x: float = 0.1) -> plot.Picture:
    """One step of 1/2, 1/10 and 1/100 from x at t: the truth, the sampler's Gaussian and the best one."""
    with style():
        fig = picture(8, 2.5, f"One reverse step from $x_t={x}$ at $t={t}$")
        gaps = []
        for ax, steps in zip(fig.subplots(1, 3), (2, 10, 100)):
            grid, p = reverse_step(path, t, max(t - 1 / steps, 0.0), x)
            off, best = (
                float(torch.trapezoid((p["true"] - p[k]).abs(), grid)) / 2
                for k in ("ancestral", "best")
            )
            gaps.append(f"{off:.1%} ({best:.1%})")
            ax.fill_between(grid, p["true"], color=plot.EXACT, alpha=0.15, lw=0)
            ax.plot(grid, p["true"], color=plot.EXACT, lw=1.4, label="true $q(x_s|x_t)$")
            ax.plot(grid, p["ancestral"], color=plot.MODEL, lw=1.8, label="ancestral step")
            ax.plot(grid, p["best"], color=plot.DATA, lw=1.4, ls="--", label="best Gaussian")
            ax.set(
                title=f"1/{steps}: off by {off:.1%} (best {best:.1%})", xlabel="$x_s$", yticks=[]
            )
            ax.set(xlim=(-2.2, 2.2), ylim=(0, 1.6 * float(max(v.max() for v in p.values()))))
            ax.title.set_fontsize(9.5)
        fig.axes[0].legend(loc="upper center", fontsize=7.5)
    fig.alt = (
        "Three panels. For a large step the true conditional has two peaks and the ancestral step puts one narrow Gaussian between them; the best "
        f"Gaussian is wide. Total variation distances (best Gaussian): {', '.join(gaps)} for steps of 1/2, 1/10 and 1/100."
    )
    return fig


def triangle(path: Callable, eta: float) -> plot.Picture:
    """The noise of x_s as a right triangle, for a step from t = 0.6 to s = 0.4."""
    (a, b), (c, d) = path(0.6), path(0.4)
    ddpm = d / b * math.sqrt(b**2 - (a / c * d) ** 2)
    tau, angle = eta * ddpm, torch.linspace(0, math.pi / 2, 100)
    kept = math.sqrt(d**2 - tau**2)
    with style():
        fig = picture(8, 2.9)
        left, right = fig.subplots(1, 2, width_ratios=[1, 1.7])
        left.plot(d * angle.cos(), d * angle.sin(), color=plot.EXACT, lw=1, ls=":")
        left.plot([0, kept], [0, 0], color=plot.DATA, lw=4, solid_capstyle="butt")
        left.plot([kept, kept], [0, tau], color=plot.MODEL, lw=4, solid_capstyle="butt")
        left.plot([0, kept], [0, tau], color=plot.EXACT, lw=1.6)
        left.text(0.52, 0.63, f"old noise $k = {kept:.2f}$", color=plot.DATA)
        left.text(0.52, 0.56, f"fresh noise $\\tau = {tau:.2f}$", color=plot.MODEL)
        left.text(kept / 2 - 0.03, tau / 2 + 0.03, "$\\sigma_s$", ha="right")
        for y, name in ((0.0, "DDIM"), (ddpm, "DDPM")):
            left.plot(math.sqrt(d**2 - y**2), y, "o", color=plot.EXACT, ms=4)
            left.text(math.sqrt(d**2 - y**2) + 0.025, y + 0.02, name, fontsize=8)
        left.set(xlim=(-0.02, 1.0), ylim=(-0.05, 0.7), aspect="equal", xticks=[], yticks=[])
        left.set_title(f"eta = {eta:g}")
        left.spines[:].set_visible(False)
        g = core.generator(0)
        x0 = torch.where(torch.rand(400, generator=g) < 0.5, -1.0, 1.0)
        eps, z = torch.randn(2, 400, generator=g)
        right.scatter(
            a * x0 + b * eps, c * x0 + kept * eps + tau * z, s=7, color=plot.MODEL, alpha=0.6, lw=0
        )
        right.set(
            xlabel="$x_t$ at $t=0.6$", ylabel="$x_s$ at $s=0.4$", xlim=(-2.7, 2.7), ylim=(-2.7, 2.7)
        )
        right.set_title("the pairs differ, the histogram on each axis does not")
    fig.alt = f"A right triangle with hypotenuse sigma_s, legs old noise {kept:.2f} and fresh noise {tau:.2f}; beside it 400 pairs (x_t, x_s)."
    return fig


def variance_lost(steps: tuple, lost: dict, tried: tuple, drawn: dict) -> plot.Picture:
    """Share of the variance that is lost against steps: lines by the formula, dots by simulation."""
    names = {0.0: "eta = 0, DDIM", 0.5: "eta = 0.5", 1.0: "eta = 1, DDPM"}
    with style():
        fig = picture(8, 2.9, "How much of the variance is lost, Gaussian data")
        ax = fig.subplots()
        for eta, c in zip(lost, (plot.DATA, "#CC79A7", plot.MODEL)):
            ax.plot(steps, lost[eta], color=c, label=f"{names[eta]}: equation (6)")
            ax.plot(tried, drawn[eta], "o", color=c, mec="white", ms=6)
        ax.plot([], [], "o", color=plot.NOISE, label="your loop, 20,000 samples")
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="network evaluations",
            ylabel="share of the variance lost",
        )
        ax.grid(True)
        ax.legend()
    fig.alt = "Three falling lines on log axes, eta = 0 lowest and eta = 1 highest, with dots of simulated values on them."
    return fig


def speed(measured: dict, rungs: dict, floor: float) -> plot.Picture:
    """Distance to the data against evaluations and against time; bars are two standard errors."""
    with style():
        fig = picture(8, 3.0)
        left, right = fig.subplots(1, 2)
        for eta, name, c in ((1.0, "DDPM, eta = 1", plot.MODEL), (0.0, "DDIM, eta = 0", plot.DATA)):
            mean = torch.tensor([measured[eta, n][0].mean for n in rungs[eta]])
            error = torch.tensor([measured[eta, n][0].error for n in rungs[eta]])
            left.errorbar(rungs[eta], mean, 2 * error, color=c, marker="o", label=name, capsize=2)
            right.plot(
                [1000 * measured[eta, n][1] for n in rungs[eta]], mean, "o-", color=c, label=name
            )
        lowest = min(0.0, floor, *(estimate.mean for estimate, _ in measured.values()))
        for ax, label in ((left, "network evaluations"), (right, "milliseconds a portrait")):
            ax.axhline(floor, color=plot.EXACT, ls="--", lw=1, label="floor: real against real")
            ax.set(xscale="log", xlabel=label, ylim=(lowest - 1.0, None))
            ax.grid(True)
        left.set_ylabel("distance to data")
        left.legend(fontsize=9)
    fig.alt = "Distance to data against network evaluations and against time, for DDPM and DDIM; both fall with more steps towards a level above the floor. Bars: two standard errors."
    return fig


def guidance(scales: tuple, sweep: dict, variety: float) -> plot.Picture:
    """Share that got the wish, and variety, against the guidance scale."""
    with style():
        fig = picture(8, 2.7)
        left, right = fig.subplots(1, 2)
        for (name, values), c in zip(sweep.items(), (plot.MODEL, plot.DATA)):
            left.plot(scales, [v[0] for v in values], "o-", color=c, label=f"some {name}")
            left.plot(scales, [v[1] for v in values], "o:", color=c, label=f"the {name} asked for")
            right.plot(scales, [v[2] for v in values], "o-", color=c, label=name)
        right.axhline(variety, color=plot.EXACT, ls="--", lw=1)
        right.text(0.2, variety, "real portraits, all kinds", fontsize=8, va="bottom")
        left.set(xlabel="guidance scale", ylabel="share that got it", ylim=(-0.03, 1.5))
        left.set_yticks([0, 0.25, 0.5, 0.75, 1])
        right.set(xlabel="guidance scale", ylabel="variety", ylim=(0, 110))
        left.legend(fontsize=8, ncols=2, loc="upper center")
        right.legend(loc="lower left", fontsize=8)
    fig.alt = "Left: the share of portraits with some glasses or hat rises with the guidance scale; that with the very kind asked for rises less for glasses, and not at all for hats. Right: their variety falls."
    return fig


def tilted_and_guided(
    line: Tensor, wanted: Tensor, tilted: Tensor, x: Tensor, places: Tensor, scores: tuple
) -> plot.Picture:
    """The class, the tilted density and the guided samples; and the two scores at t = 0.5."""
    deviation = float((tilted * (line[:, 0] - (tilted * line[:, 0]).sum()) ** 2).sum().sqrt())
    with style():
        fig = picture(8, 2.8)
        left, right = fig.subplots(1, 2)
        left.fill_between(
            line[:, 0], wanted, color=plot.DATA, alpha=0.18, lw=0, label="class $p(x|c)$"
        )
        left.plot(
            line[:, 0],
            tilted / float(line[1, 0] - line[0, 0]),
            color=plot.EXACT,
            label=r"tilted, $w=3$",
        )
        left.hist(
            x[:, 0].numpy(), 80, density=True, color=plot.MODEL, alpha=0.55, label="guided sampler"
        )
        left.set(xlim=(-1, 3.5), xlabel="$x$", ylabel="density")
        left.legend(fontsize=8)
        names = "score of the noised tilted density", "guided score"
        for score, name, c in zip(scores, names, (plot.EXACT, plot.MODEL)):
            right.plot(places, score, color=c, label=name)
        right.set(xlabel=r"$x_t/\alpha_t$ at $t=0.5$", ylabel="score")
        right.legend(fontsize=8)
    fig.alt = f"Left: the guided samples have standard deviation {float(x.std()):.2f}, the tilted density {deviation:.2f}. Right: the two scores at t = 0.5 are different curves."
    return fig


def trajectories(tracks: dict[int, Tensor], counts: list[int], errors: list[float]) -> plot.Picture:
    """Particles with many steps and with few; and the error against steps."""
    with style():
        fig = picture(8, 3.0)
        left, right = fig.subplots(1, 2)
        for (n, track), c, lw in zip(tracks.items(), (plot.EXACT, plot.MODEL), (1.0, 1.4)):
            mark = "o-" if n < 20 else "-"
            lines = left.plot(track[:, :, 0], track[:, :, 1], mark, color=c, lw=lw, ms=2.5)
            lines[0].set_label(f"{n} steps")
        left.set(xlabel="$x$", ylabel="$y$", aspect="equal", title="nine particles")
        left.legend(fontsize=8)
        slope = [1.3 * errors[-1] * counts[-1] / n for n in counts]
        right.loglog(counts, errors, "o-", color=plot.MODEL, label="DDIM against the exact flow")
        right.loglog(counts, slope, color=plot.EXACT, ls="--", lw=1, label="slope -1: order 1")
        right.set(xlabel="steps", ylabel="median error")
        right.minorticks_off()
        right.set_xticks(counts, map(str, counts))
        right.set_yticks([0.002, 0.005, 0.01, 0.02], ["0.002", "0.005", "0.01", "0.02"])
        right.legend(fontsize=8)
    fig.alt = "Left: nine trajectories, smooth with 128 steps, and polygons close to them with 8. Right: the error falls with slope -1 on log axes."
    return fig


def symptom(title: str, points: Tensor, x: Tensor, distance: float, faces: Tensor) -> plot.Picture:
    """Particles on exact samples, and eight portraits, of a sampler with a bug."""
    with style():
        fig = picture(8, 2.3, title)
        left, right = fig.subplots(1, 2, width_ratios=[1, 1.75])
        left.scatter(points[:, 0], points[:, 1], s=2, color=plot.DATA, alpha=0.35, lw=0)
        left.scatter(*x[:1500].T, s=2, color=plot.MODEL, alpha=0.6, lw=0)
        left.set(xlim=(-3.2, 3.2), ylim=(-2.6, 2.6), xticks=[], yticks=[])
        left.set_title(f"data blue, samples vermilion; sliced W2 {distance:.2f}", fontsize=9)
        right.imshow(
            sheet(faces).reshape(2, 4, 3, 18, 18).permute(0, 3, 1, 4, 2).reshape(36, 72, 3).numpy()
        )
        right.set(xticks=[], yticks=[])
        right.spines[:].set_visible(False)
    fig.alt = f"{title}: particles of the mixture (vermilion) on exact samples (blue), sliced W2 {distance:.2f}; eight portraits."
    return fig
