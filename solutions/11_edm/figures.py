"""The pictures of chapter 11: functions that return a figure with its description in ``fig.alt``."""

import math

import torch
from torch import Tensor, nn

from coursekit import plot
from coursekit.plot.style import SHADE, picture, style
from genmodels import core, schedule

PALETTE = dict(zip(("VP", "straight", "VE"), plot.SERIES[3:6]))  # a colour a path
RAYS = (0.15, 0.4, 0.8, 1.4, 3.5)


def sheet(x: Tensor, rows: int, columns: int) -> Tensor:
    """Portraits on [0, 1] as one picture, with white seams."""
    x = nn.functional.pad(x.reshape(rows, columns, *x.shape[1:]), (1, 1, 1, 1), value=1.0)
    return x.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)


def plane(paths: dict, time_at: dict) -> plot.Picture:
    """The paths in the plane of alpha and sigma, and as clocks."""
    with style():
        fig = picture(8, 3.5)
        left, right = fig.subplots(1, 2, width_ratios=[1.25, 1])
        for u in RAYS:
            end = min(1.08, 1.52 / u)
            left.plot([0, end], [0, u * end], color=plot.NOISE, lw=0.8, zorder=1)
            left.text(end + 0.02, u * end, f"u = {u:g}", fontsize=8, color="#555555", va="center")
        for name, path in paths.items():
            times = [i / 100 * (1 if name != "VE" else 1.56) for i in range(101)]
            left.plot(*zip(*(path(t) for t in times)), color=PALETTE[name], lw=2.4, label=name)
            left.scatter(
                *zip(*(path(time_at[name](u)) for u in RAYS)), color=PALETTE[name], s=22, zorder=3
            )
            u = torch.logspace(-2, math.log10(80), 60)
            clock = [time_at[name](v) / (80 if name == "VE" else 1) for v in u.tolist()]
            right.plot(u, clock, color=PALETTE[name], lw=2)
        left.set(xlim=(0, 1.5), ylim=(0, 1.6), xlabel=r"$\alpha$  (how much data)", aspect="equal")
        left.set(ylabel=r"$\sigma$  (how much noise)", title="Rays are noise levels")
        left.legend(loc="upper right", bbox_to_anchor=(1.3, 1.0))
        right.set(xscale="log", xlabel="noise level u", ylabel=r"time $t$ / $t_{\max}$")
        right.set_title("Paths are clocks")
    fig.alt = "Left, the plane of alpha and sigma: a quarter circle (VP), a falling diagonal (straight) and a vertical line (VE), each crossing the same five rays once. Right, the time of each path as a function of the noise level: the same levels, at other times."
    return fig


def magnified(levels: Tensor, coefficients: tuple, sizes: dict[str, Tensor]) -> plot.Picture:
    """The coefficients against the level, and by how much each question magnifies an error of the network."""
    with style():
        fig = picture(8, 3.2)
        left, right = fig.subplots(1, 2, width_ratios=[1, 1.15])
        for name, c, value in zip(("skip", "out", "in"), plot.SERIES, coefficients):
            left.plot(levels, value, label=f"$c_{{\\mathrm{{{name}}}}}$", color=c)
        left.set(xscale="log", ylim=(0, 2.1), xlabel="noise level u", title="Your coefficients")
        left.legend(loc="center left", bbox_to_anchor=(0.0, 0.62))
        looks = zip((plot.NOISE, plot.DATA, plot.SERIES[4], plot.MODEL), ("--", "-.", ":", "-"))
        for (name, size), (c, dash) in zip(sizes.items(), looks):
            right.plot(
                levels, size, label=name, color=c, ls=dash, lw=2.6 if name.startswith("F") else 1.6
            )
        right.set(xscale="log", yscale="log", xlabel="noise level u", ylim=(5e-4, 150))
        right.set_title("How much an error of the network is magnified")
        right.legend(loc="upper left")
    fig.alt = "Left, the coefficients against the noise level: c_skip falls from 1 to 0, c_out rises from 0 to 0.5, c_in falls from 2 to 0. Right, the magnification of the network's error: u for eps, 1 for x_0, u / (1 + u) for the velocity, and for EDM's F the smaller of u and 0.5, with a smooth bend."
    return fig


def naive_questions(levels: Tensor, rivals: dict[str, Tensor]) -> plot.Picture:
    """The error of three denoisers against the level."""
    with style():
        fig = picture(8, 2.9, "Each naive question fails at one end")
        ax = fig.subplots()
        looks = zip((plot.DATA, plot.NOISE, plot.MODEL), ("-.", "--", "-"), "s^o")
        for (name, error), (c, dash, mark) in zip(rivals.items(), looks):
            ax.plot(levels, error, label=name, color=c, ls=dash, marker=mark)
        ax.set(xscale="log", yscale="log", xlabel="noise level u", ylabel="error of the denoiser")
        ax.grid(True)
        ax.legend()
    ends = "; ".join(
        f"{n}: {e[0]:.3g} at u = 0.01 and {e[-1]:.3g} at 32" for n, e in rivals.items()
    )
    fig.alt = f"Error of three trained denoisers against the noise level, on log axes. The network that answers x_0 is bad at small levels, the one that answers eps at large ones; the preconditioned one is good everywhere. {ends}."
    return fig


def orders(measured: dict, order: dict) -> plot.Picture:
    """Error against evaluations, for each solver and path."""
    with style():
        fig = picture(8, 3.3, "Twice the work: half the error, or a quarter of it")
        ax = fig.subplots()
        for (solver, path), (x, e) in measured.items():
            if solver == "Heun" or path == "VE":
                label = "Euler, on every path" if solver == "Euler" else f"Heun, {path}"
                look = (
                    {"color": plot.NOISE, "ls": "--"}
                    if solver == "Euler"
                    else {"color": PALETTE[path]}
                )
                ax.plot(x, e, marker="o", label=f"{label}: order {order[solver, path]:.2f}", **look)
        ticks = [6, 12, 24, 48, 96, 192, 384]
        ax.set(xscale="log", yscale="log", xlabel="network evaluations")
        ax.set(ylabel="median error at the end of the ODE", xticks=ticks)
        ax.set_xticklabels(map(str, ticks))
        ax.minorticks_off()
        ax.grid(True)
        ax.legend()
    found = "; ".join(f"{s} on {p}: order {o:.2f}" for (s, p), o in order.items())
    fig.alt = f"Error against network evaluations on log axes. Euler's line falls with slope -1, the same for every path; the three lines of Heun fall with slope -2. {found}."
    return fig


def crowds(log_prob, vp, vp_time, levels: Tensor, walks: dict[float, list[Tensor]]) -> plot.Picture:
    """Trajectories with more and more noise over the density, on VP's clock, where nothing runs off the page."""
    with style():
        fig = picture(8, 3.1, "Three crowds, one density")
        axes = fig.subplots(1, 3, sharey=True)
        clock = torch.linspace(0.004, 0.9, 160, dtype=torch.float64)
        height = torch.linspace(-2.6, 2.6, 240, dtype=torch.float64)
        field = torch.stack([log_prob(height[:, None], *vp(t)).exp() for t in clock.tolist()], 1)
        field = field / field.amax(0)  # each moment on its own scale
        along = torch.tensor([vp_time(u) for u in levels.tolist()]).double()
        scale = torch.tensor([vp(t)[0] for t in along.tolist()])[:, None]
        names = {0.0: "the ODE, β = 0", 1.0: "the SDE, β = 1", 4.0: "more noise, β = 4"}
        shown = along < 0.9
        for ax, (beta, states) in zip(axes, walks.items()):
            at = dict(origin="lower", extent=(0, 0.9, -2.6, 2.6), aspect="auto")
            ax.imshow(field, cmap=SHADE, vmax=1.6, **at)
            paths = (torch.stack([s[:, 0] for s in states]) * scale)[shown]
            for k, one in enumerate(paths[0, :400].argsort()[15::46]):
                look = dict(color=plot.MODEL, lw=1.0, alpha=0.55 + 0.45 * (k % 2))
                ax.plot(along[shown], paths[:, one], **look)
            ax.set(xlim=(0.9, 0), ylim=(-2.6, 2.6), title=names[beta])
            ax.set_xlabel("VP's time (noise → data)")
        axes[0].set_ylabel("x")
    fig.alt = "Three panels over the same shaded density, which splits from one broad hill at time 1 into two narrow ridges at time 0. The trajectories of the ODE are smooth and never cross; those of the SDE wander and cross; with more noise they jitter. All fill the same two ridges."
    return fig


def likelihood(known: Tensor, ours: Tensor, counts: list[int], gaps: list[float]) -> plot.Picture:
    """Log-densities by the ODE against the exact ones, and their error against steps."""
    with style():
        fig = picture(8, 3.0)
        left, right = fig.subplots(1, 2, width_ratios=[1, 1.4])
        left.plot([-9, 0], [-9, 0], color=plot.EXACT, lw=0.8)
        left.scatter(known, ours, s=8, color=plot.MODEL, alpha=0.6)
        left.set(
            xlabel="exact log p(x), nats", ylabel="by the ODE, nats", title="200 steps, 200 points"
        )
        left.set(xlim=(-9, 0.5), ylim=(-9, 0.5), aspect="equal")
        right.plot(counts, gaps, marker="o", color=plot.MODEL)
        right.set(xscale="log", yscale="log", xlabel="steps", ylabel="median error, nats")
        right.set_xticks(counts, [str(n) for n in counts])
        right.set_yticks(gaps, [f"{gap:.2g}" for gap in gaps])
        right.minorticks_off()
        right.grid(True)
        right.set_title("Second order here too")
    fig.alt = f"Left, log-densities by the ODE against the exact ones: all on the diagonal. Right, the median error falls from {gaps[0]:.2g} nats with {counts[0]} steps to {gaps[-1]:.2g} with {counts[-1]}."
    return fig


def loss_by_level(levels: Tensor, losses: list[float]) -> plot.Picture:
    """The loss per number against the level, with the density of the levels that were trained on."""
    with style():
        fig = picture(8, 2.8)
        ax = fig.subplots()
        density = torch.exp(-((levels.log() + 1.2) ** 2) / (2 * 1.2**2))
        ax.fill_between(
            levels, density, color=plot.NOISE, alpha=0.3, lw=0, label="levels trained on (17)"
        )
        ax.axhline(1, color=plot.NOISE, ls="--", lw=1.2, label="a switched-off network")
        ax.plot(levels, losses, color=plot.MODEL, marker="o", label="your network, test portraits")
        ax.set(xscale="log", ylim=(0, 1.75), xlabel="noise level u", ylabel="loss (8) per number")
        ax.legend(loc="upper center", ncols=3)
    fig.alt = f"The loss per number against the noise level: {losses[0]:.2f} at 0.005, smallest {min(losses):.2f} in the middle, {losses[-1]:.2f} at 40. The training levels lie as a bell where it can be lowered."
    return fig


def trained_where(levels: Tensor, spread: dict[str, tuple[Tensor, Tensor]]) -> plot.Picture:
    """A fresh network's loss over the log levels: with the draw (solid) and by the weight alone (dashed)."""
    with style():
        fig = picture(8, 3.7, "Where a fresh network's loss lies")
        axes = fig.subplots(2, 2, sharex=True).flat
        for ax, (name, (whole, alone)) in zip(axes, spread.items()):
            ax.fill_between(levels, whole / whole.max(), color=plot.MODEL, alpha=0.15, lw=0)
            ax.plot(levels, whole / whole.max(), color=plot.MODEL, label="weight and draw")
            ax.plot(
                levels, alone / alone.max(), color=plot.EXACT, ls="--", lw=1.3, label="weight alone"
            )
            ax.set(xscale="log", yticks=[], ylim=(0, 1.12))
            ax.set_title(name, fontsize=9.5)
        for ax in axes[2:]:
            ax.set_xlabel("noise level u")
        axes[3].legend(loc="center right", fontsize=8)
    peaks = "; ".join(f"{n}: {levels[w.argmax()]:.2g}" for n, (w, _) in spread.items())
    fig.alt = f"Four panels, one a training recipe: a fresh network's loss per unit of ln u, scaled to its largest value. With weight and draw it peaks at u = {peaks}. By the weight alone EDM's is flat."
    return fig


def bends(tracks: dict[str, Tensor], found: list[dict]) -> plot.Picture:
    """Exact trajectories of a few points in the plane, one panel a path, each on its own scale."""
    with style():
        fig = picture(8, 3.1, "The same flow on three paths")
        for ax, (name, x), row in zip(fig.subplots(1, 3), tracks.items(), found):
            for k in range(0, 24, 2):
                ax.plot(*x[:, k].T, color=PALETTE[name], lw=1.1)
            ax.scatter(*x[0, :24:2].T, s=14, color=plot.NOISE, zorder=3)
            ax.scatter(*x[-1, :24:2].T, s=14, color=plot.DATA, zorder=3)
            ax.set_title(f"{name}: turns by {row['turns by, degrees']:.0f}°", fontsize=10)
            ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    told = "; ".join(f"{row['path']}: {row['turns by, degrees']:.0f} degrees" for row in found)
    fig.alt = f"Three panels of exact trajectories from the same noise (grey) to data (blue). On VE they run nearly straight, on VP and on the straight path they turn. Median turn: {told}."
    return fig


def same_noise(gallery: dict, wide: list[dict], floor: float) -> plot.Picture:
    """Eight portraits for each path and solver, with their distances."""
    paths = [key for key in wide[0] if key != "solver"]
    with style():
        fig = picture(8, 4.7, "The same noise, the same network")
        for row, path in enumerate(paths):
            for column, line in enumerate(wide):
                ax = fig.add_subplot(3, 3, 3 * row + column + 1)
                ax.imshow(sheet(gallery[line["solver"], path][:8], 2, 4).numpy())
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
                title = (
                    f"{line['solver']}, distance {line[path]:.0f}"
                    if row == 0
                    else f"{line[path]:.0f}"
                )
                ax.set_title(title, fontsize=9.5)
                if column == 0:
                    ax.set_ylabel(path, color=PALETTE[path], fontsize=12, fontweight="bold")
    found = "; ".join(f"{line['solver']} on {p} {line[p]:.0f}" for line in wide for p in paths)
    fig.alt = f"Nine groups of eight portraits: three paths by three solvers, from the same noise. Down each column the faces are the same people. Distances (floor {floor:.0f}): {found}."
    return fig


def design_space(designs: dict, unmix, coefficients) -> dict[str, dict[str, str]]:
    """For each (path, question, training times, EDM's grid?) what it magnifies, sees, answers, and where it stops.

    ``unmix`` and ``coefficients`` are the answers to the first exercise and to the one on preconditioning.
    """
    u = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    three = lambda v: " · ".join(f"{float(k):.2g}" for k in v)
    table = {}
    for name, (way, target, times, rho_grid) in designs.items():
        p = way.at(way.time_at(-2 * u.log()))  # where the path has these noise levels
        a, b = (torch.as_tensor(v, dtype=torch.float64).expand(3) for v in target(p))
        unit = torch.ones(3, 1).double()
        c_out = unmix(0 * unit, unit, a, b, p.alpha, p.sigma)[0][:, 0]
        seen = ((0.5 * p.alpha) ** 2 + p.sigma**2).sqrt() * (
            coefficients(u, 0.5)[2] if rho_grid else 1
        )
        trained = times(4000, generator=core.generator(0)).double()
        trained = (-way.log_snr(trained) / 2).exp().quantile(torch.tensor([0.1, 0.5, 0.9]).double())
        stops = (schedule.karras_grid if rho_grid else schedule.uniform_grid)(way, 18)
        table[name] = {
            "path": way.name.split("(")[0],
            "magnifies errors by": three(c_out.abs()),
            "std of the input": three(seen),
            "std of the answer": three(((0.5 * a) ** 2 + b**2).sqrt()),
            "trains at u": three(trained),
            "of 18 steps, levels 2, 10, 17": three(
                math.exp(-way.log_snr(stops[k]) / 2) for k in (1, 9, 16)
            ),
        }
    return table


def symptom(
    bug: str, tried: list[int], right_errors: list, errors: list, pictures: Tensor
) -> plot.Picture:
    """The error curve of a solver with a bug, and ten portraits."""
    work = [2 * n - 1 for n in tried]
    with style():
        fig = picture(8, 2.3, bug)
        left, right = fig.subplots(1, 2, width_ratios=[1, 1.6])
        left.plot(work, right_errors, color=plot.NOISE, marker="o", label="no bug")
        if bug != "no bug":
            lost = ": not a number" if math.isnan(errors[-1]) else ""
            left.plot(work, errors, color=plot.MODEL, marker="s", label=f"with it{lost}")
        left.set(xscale="log", yscale="log", ylim=(1e-3, 50), xlabel="evaluations", ylabel="error")
        left.set_xticks(work, [str(w) for w in work])
        left.minorticks_off()
        left.legend(loc="lower left", fontsize=8)
        right.imshow(sheet(pictures, 2, 5).numpy())
        right.set(xticks=[], yticks=[])
        right.spines[:].set_visible(False)
    said = "not a number" if math.isnan(errors[-1]) else f"{errors[-1]:.2g}"
    fig.alt = f"{bug}: the error on the mixture with {work[-1]} evaluations is {said} (without a bug {right_errors[-1]:.2g}); ten portraits with 24 steps."
    return fig
