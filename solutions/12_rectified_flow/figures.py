"""The pictures of chapter 12: functions that return a figure with its description in ``fig.alt``."""

import itertools

import torch
from torch import Tensor

from coursekit import plot
from coursekit.plot.style import SHADE, picture, style


def naive(noise: Tensor, data: Tensor, guessed: Tensor) -> plot.Picture:
    """The cloud of noise, the data, and what a regression from one to the other makes."""
    return plot.samples2d(
        {"noise": noise, "data": data, "model: f(noise)": guessed},
        title="The naive plan: regression from noise to data",
        alt=f"Left the round cloud of noise; in the middle the face; on the right all {len(guessed):,} points that the "
        "network makes, crowded around one point where the nose would be.",
    )


def space_time(ax, log_prob, n: int = 120) -> None:
    """p_t(x) as shade, each column scaled to its own peak: time to the right, place upwards."""
    x, times = torch.linspace(-3, 3, 160).double()[:, None], torch.linspace(0.0, 1.0, n).tolist()
    p = torch.stack([log_prob(x, 1 - t, t).exp() for t in times], 1)
    box = {"origin": "lower", "extent": (0, 1, -3, 3), "aspect": "auto"}
    ax.imshow((p / p.amax(0)).sqrt(), cmap=SHADE, alpha=0.5, **box)
    ax.set(xlabel="t   (0 data, 1 noise)", xlim=(-0.02, 1.02), ylim=(-3, 3))


def crossing(log_prob, partners: Tensor, times: list[float], walked: Tensor) -> plot.Picture:
    """Lines between the starts of the walks and random partners, and the walks of the average velocity."""
    with style():
        fig = picture(8, 3.1)
        left, right = fig.subplots(1, 2, sharey=True)
        for ax in (left, right):
            space_time(ax, log_prob)
        for e, x0 in zip(walked[0], partners):
            left.plot([0, 1], [x0, e], color=plot.DATA, lw=1.1)
        right.plot(times, walked[:, :, 0], color=plot.MODEL, lw=1.1)
        left.set(title="straight lines of random pairs: they cross", ylabel="x")
        right.set_title("following the average: nobody crosses")
    fig.alt = (
        "Time runs from data on the left to noise on the right over the shaded density. Left panel: fourteen straight "
        "lines between random pairs cross each other. Right panel: the fourteen roads of the average velocity bend, "
        "part towards the two peaks, and never cross."
    )
    return fig


def continuity(x: Tensor, densities: dict, rate: Tensor, inflow: Tensor) -> plot.Picture:
    """The density at two times, and both sides of equation (3) at the first."""
    with style():
        fig = picture(8, 2.6, "Equation (3) at t = 0.35, two peaks on a line")
        left, right = fig.subplots(1, 2)
        for (t, p), dash in zip(densities.items(), ("-", "--")):
            left.plot(x, p, color=plot.EXACT, ls=dash, label=f"density at t = {t}")
        left.set(
            xlabel="x",
            ylabel="density",
            ylim=(0, 1.45 * float(max(p.max() for p in densities.values()))),
        )
        left.legend(loc="upper left", ncols=2, fontsize=8.5)
        right.plot(x, rate, color=plot.EXACT, lw=3.2, alpha=0.35, label="dp/dt")
        right.plot(x, inflow, color=plot.GRADIENT, ls="--", label="-d(pv)/dx")
        right.axhline(0, color=plot.NOISE, lw=0.7)
        right.set(xlabel="x", ylabel="people per unit of time")
        right.legend()
    fig.alt = "Left, the two-peaked density at two times; it flattens. Right, its rate of change and minus the derivative of the flux: the two curves lie on each other."
    return fig


def through_one_place(
    data: Tensor, lines: Tensor, place: Tensor, mean: Tensor, exact: Tensor, t: float
) -> plot.Picture:
    """Lines (2, n, 2) through one place, the mean of their velocities, and the exact one."""
    with style():
        fig = picture(7.2, 4.0, f"Lines through one place at t = {t}")
        ax = fig.subplots()
        ax.scatter(*data[:800].T, s=4, color=plot.DATA, alpha=0.5, lw=0, label="data")
        for k in range(lines.shape[1]):
            ax.plot(*lines[:, k].T, color=plot.NOISE, lw=0.6, alpha=0.7)
        unit = {"angles": "xy", "scale_units": "xy", "scale": 1, "zorder": 4}
        head = {"headwidth": 2.4, "headlength": 3, "headaxislength": 2.6}
        for v, c, w in ((mean, plot.GRADIENT, 0.02), (exact, plot.EXACT, 0.006)):
            # drawn backwards in time: the way a sampler walks
            ax.quiver(*place.tolist(), *(-0.6 * v).tolist(), color=c, width=w, **unit, **head)
        ax.plot([], [], color=plot.GRADIENT, lw=4, label="their mean, towards the data")
        ax.plot([], [], color=plot.EXACT, lw=1.6, label="exact")
        ax.set(xlim=(-3.2, 3.2), ylim=(-3, 3), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    fig.alt = "Grey lines from points of the face to noise pass through one place and fan out in all directions. A thick green arrow, their mean, and a thin black one, the exact velocity, coincide."
    return fig


def by_time(
    where: Tensor, lines: dict[str, Tensor], ylabel: str, title: str, log: str = ""
) -> plot.Picture:
    """Something measured at each time."""
    named = {name: (where, values) for name, values in lines.items()}
    return plot.curves(named, "t", ylabel, title=title, log=log, height=2.6)


def against_steps(steps: tuple, lines: dict[str, list[float]], floor: float) -> plot.Picture:
    """Distance to the data after so many Euler steps."""
    named = {name: (steps, distances) for name, distances in lines.items()}
    look = {"levels": {"floor": floor}, "log": "xy", "markers": True, "height": 2.8}
    title = "Curved roads need many steps"
    return plot.curves(named, "Euler steps", "sliced W2 to the face", title=title, **look)


def few_steps(ends: dict[int, Tensor]) -> plot.Picture:
    """Samples after so many steps each."""
    return plot.samples2d(
        {f"model: {n} step{'s' * (n > 1)}": x for n, x in ends.items()},
        title="Your flow, from the same noise",
        alt=f"Panels of points after {', '.join(map(str, ends))} steps. One step: all near one spot, the nose. Two: a blurred heap. "
        "Four: eyes and mouth appear. Sixteen: a face.",
    )


def roads(panels: dict[str, Tensor], title: str, alt: str) -> plot.Picture:
    """Walks (k, b, 2) over the face, from grey noise to orange points, one panel for each name."""
    with style():
        fig = picture(8, 0.6 + 7.4 / len(panels), title)
        axes = fig.subplots(1, len(panels), sharex=True, sharey=True)
        for ax, (name, states) in zip(axes, panels.items()):
            for k in range(states.shape[1]):
                ax.plot(*states[:, k].T, color=plot.GRADIENT, lw=0.6, alpha=0.7, zorder=1)
            ax.scatter(*states[0].T, s=6, color=plot.NOISE, zorder=2)
            ax.scatter(*states[-1].T, s=9, color=plot.MODEL, zorder=3)
            ax.set(title=name, aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
            ax.set(xticks=(-2, 0, 2), yticks=(-2, 0, 2))
    fig.alt = alt
    return fig


def straightened(lines: Tensor, walks: dict[str, Tensor]) -> plot.Picture:
    """The lines of random pairs beside the roads of three fields."""
    return roads(
        {"random pairs": lines, **walks},
        "Roads from noise (grey) to the face (orange)",
        "Four panels. Straight lines between random pairs cross everywhere. The roads of the first flow are curved and do not cross. Reflowed once and twice, the roads are straight and still do not cross.",
    )


def married(came: Tensor, paired: Tensor, walked: Tensor) -> plot.Picture:
    """A batch as it came, the same batch married, and the roads of a flow trained on such pairs."""
    return roads(
        {
            "a batch, as it came": came,
            "the same batch, married": paired,
            "flow of married pairs": walked,
        },
        "Pairs married in batches of 64",
        "Three panels. Lines between 64 noises and 64 points of the face as they came cross everywhere; married by your function they are short and hardly cross; the roads of the flow trained on such pairs are nearly straight.",
    )


def one_step(ends: dict[str, Tensor], data: Tensor) -> plot.Picture:
    """Samples of one single step, by field, beside the data."""
    return plot.samples2d(
        {f"model: {name}": x for name, x in ends.items()} | {"exact": data},
        title="One single step",
        alt="After one step the first flow has put all points near one spot; reflowed once and twice there is the face, with a haze of points "
        "between eyes and mouth and thin threads along its outline; beside it the true face.",
    )


def generation(stage: int, name: str, at: list[float], states: Tensor, log_prob) -> plot.Picture:
    """One generation of roads (k, n, 1) in space and time, and how many of them change sides."""
    ends = states[[0, -1], :, 0]
    pairs = list(itertools.combinations(range(ends.shape[1]), 2))
    crossings = sum(
        bool((ends[0, i] - ends[0, j]) * (ends[1, i] - ends[1, j]) < 0) for i, j in pairs
    )
    found = f"{crossings} of {len(pairs)} pairs of roads have changed sides"
    with style():
        fig = picture(6, 3.1, f"{stage}  {name}")
        ax = fig.subplots()
        space_time(ax, log_prob)
        ax.plot(at, states[:, :, 0], color=plot.MODEL if stage == 2 else plot.DATA, lw=1.2)
        ax.set(ylabel="x", title=found)
    fig.alt = f"{name}: {ends.shape[1]} roads over time; {found}."
    return fig


def dice(strengths: tuple, lines: dict[str, list[float]], floor: float) -> plot.Picture:
    """Distance to the data against the strength of the dice."""
    named = {name: (strengths, distances) for name, distances in lines.items()}
    title = "100 steps with dice, from wrong and from right noise"
    look = {"levels": {"floor": floor}, "markers": True, "height": 2.6}
    return plot.curves(
        named, "strength c of the dice", "sliced W2 to the face", title=title, **look
    )


def portraits(painted: dict[tuple[str, int], Tensor], real: Tensor) -> plot.Picture:
    """Rows of twelve portraits of the same noises, by (network, steps), and twelve real ones."""
    rows = {f"model: {name}, {n} step{'s' * (n > 1)}": x[:12] for (name, n), x in painted.items()}
    return plot.images(
        {**rows, "data": real[:12]},
        "The same twelve noises, by different roads",
        columns=12,
        alt="Rows of twelve portraits of the same noises. Twenty steps of the first flow: clear portraits. One step of it: coloured noise over a "
        "vague head. One step reflowed or distilled: the portraits of the first row again, a little blurred, with pale spots. Last row, real portraits.",
    )


def symptom(
    bug: str, loss: float, states: Tensor, ends: dict[str, tuple[Tensor, float]]
) -> plot.Picture:
    """The reported loss, the roads, and samples with their distances."""
    with style():
        fig = picture(8, 2.6, f"{bug}: training loss {loss:.2f}")
        first, *others = fig.subplots(1, 1 + len(ends))
        for k in range(80):
            first.plot(*states[:, k].T, color=plot.GRADIENT, lw=0.6, alpha=0.7)
        first.set_title("roads")
        for ax, (name, (points, error)) in zip(others, ends.items()):
            ax.scatter(*points.T, s=2, color=plot.MODEL, alpha=0.6, lw=0)
            ax.set_title(f"{name}, W2 {error:.2f}")
        for ax in (first, *others):
            ax.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xticks=(), yticks=())
    found = ", ".join(
        f"samples after {name} at a distance of {error:.2f}" for name, (_, error) in ends.items()
    )
    fig.alt = f"{bug}: the training reports a loss of {loss:.2f}; roads; {found}."
    return fig
