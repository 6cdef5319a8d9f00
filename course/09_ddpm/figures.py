"""The pictures of chapter 09: functions that return a figure with its text alternative."""

import torch
from torch import Tensor

from coursekit import plot
from coursekit.plot.style import picture, style


def fading(pairs: list[tuple[Tensor, Tensor]]) -> plot.Picture:
    """A portrait with more and more noise, and under each the best guess; pixels on [-1, 1]."""
    shown = [torch.cat(pictures) / 2 + 0.5 for pictures in zip(*pairs)]
    return plot.images(
        {
            "noise: given, at t = 0, 0.3, 0.6, 0.8, 0.85, 0.9, 0.95, 1": shown[0],
            "model: the best guess there is": shown[1],
        },
        columns=8,
        alt="A portrait that fades into noise in eight steps, and under each the best guess at the clean one: sharp at "
        "first, then a blurred face, and from pure noise the average of all portraits.",
    )


def strips(faded: dict[str, Tensor]) -> plot.Picture:
    """A row of eleven fading portraits for each schedule; pixels on [-1, 1]."""
    return plot.images(
        {f"{name} schedule, k = 0, 100, ..., 1000": x / 2 + 0.5 for name, x in faded.items()},
        columns=11,
        alt="A portrait fading in eleven steps under two schedules. Under the linear one it is gone after half of the way, "
        "under the cosine one it can be made out until near the end.",
    )


def schedules(curves: dict[str, Tensor]) -> plot.Picture:
    """Size of signal and noise, and the log signal-to-noise ratio, from the abar of each schedule."""
    with style():
        fig = picture(8, 2.7)
        left, right = fig.subplots(1, 2)
        for (name, abar), colour, dash in zip(curves.items(), (plot.MODEL, plot.DATA), ("--", "-")):
            t = torch.linspace(0, 1, len(abar))
            left.plot(t, abar.sqrt(), color=colour, ls=dash, label=rf"{name}: signal $\alpha$")
            left.plot(
                t, (1 - abar).sqrt(), color=plot.NOISE, ls=dash, label=rf"{name}: noise $\sigma$"
            )
            right.plot(t[1:], (abar[1:] / (1 - abar[1:])).log(), color=colour, ls=dash, label=name)
        left.set(xlabel="t = k / T", ylabel="size", title="signal and noise", ylim=(0, 1.42))
        right.set(
            xlabel="t = k / T", ylabel="log SNR", title="log signal-to-noise ratio", ylim=(-14, 12)
        )
        for ax in (left, right):
            ax.grid(True)
        left.legend(fontsize=8, ncols=2, loc="upper center")
        right.legend(fontsize=8)
    fig.alt = (
        "Left, the size of signal and noise against time: the linear schedule loses its signal sooner. Right, the log of "
        "the signal-to-noise ratio falls from about 10 to below -10 for both, more evenly for the cosine schedule."
    )
    return fig


def weights(abar: Tensor) -> plot.Picture:
    """What four losses weigh the squared error in x_0 with, along a chain of 1000 steps."""
    snr = (abar[1:-1] / (1 - abar[1:-1])).double()
    t = torch.arange(2, 1000) / 1000
    return plot.curves(
        {
            "the bound": (t, 1000 * (snr[:-1] - snr[1:]) / 2),
            r"eps: $L_{\rm simple}$": (t, snr[1:]),
            "v": (t, 1 + snr[1:]),
            "x0": (t, torch.ones_like(t)),
        },
        "t = k / T",
        "weight of the squared error in $x_0$",
        title="Four losses are four weightings (cosine schedule)",
        log="y",
        height=2.8,
        alt="Weights on a log scale. The bound weighs small t most, L_simple falls from thousands to below a thousandth "
        "where t is near 1, the loss of v levels off at 1, that of x0 is 1 throughout.",
    )


def one_step_back(s: float, axis: Tensor, exact: Tensor, bell: Tensor) -> plot.Picture:
    """The density of the earlier state x_s, given x_t = 0.1 at t = 0.7, and the Gaussian that stands for it."""
    overlap = float(torch.trapezoid(torch.minimum(exact, bell), axis))
    with style():
        fig = picture(8, 2.4, f"From t = 0.7 back to s = {s:g}")
        ax = fig.subplots()
        ax.fill_between(axis, exact, color=plot.NOISE, alpha=0.6, lw=0, label="exact reverse step")
        ax.plot(axis, bell, color=plot.MODEL, label="Gaussian around the denoiser's guess")
        ax.axvline(0.1, color=plot.EXACT, lw=0.8, ls=":", label="where it stands, $x_t$")
        top = 1.4 * max(float(bell.max()), float(exact.max()))
        ax.set(xlabel="$x_s$", ylabel="density", ylim=(0, top), xlim=(-2.4, 2.4))
        ax.set_title(f"overlap {overlap:.1%}")
        ax.legend(loc="upper left")
    fig.alt = f"The exact density of the earlier state at time {s:g} and a Gaussian: they overlap by {overlap:.1%}."
    return fig


def three_targets(t: list[float], errors: dict[str, list[float]]) -> plot.Picture:
    """Error of the guess at x_0 against time, for networks that were asked for different things."""
    return plot.curves(
        {f"predicts {target}": (t, error) for target, error in errors.items()},
        "t = k / T",
        "error of the guess at $x_0$",
        title="The same network, asked for three different things",
        log="y",
        markers=True,
        height=2.8,
        alt="Error of the guess at x_0 on a log scale. The network that predicts eps is excellent near t = 0 and useless near "
        "t = 1; the one that predicts x_0 has about the same error everywhere, also where x_k is nearly clean; v is good at both ends.",
    )


def growing(drawn: dict[str, Tensor]) -> plot.Picture:
    """Rows of portraits on [-1, 1], one for each stage of the training."""
    return plot.rows(
        {name: x / 2 + 0.5 for name, x in drawn.items()},
        "Portraits drawn while the network learns, the same noise in each column"
        if len(drawn) > 1
        else "Portraits",
        alt=f"Rows of twelve portraits: {', '.join(drawn)}. With training, noise becomes faces, and faces people.",
    )


def real_drawn_guessed(real: Tensor, drawn: Tensor, guessed: Tensor) -> plot.Picture:
    """Real portraits on [0, 1], drawn ones, and the network's first guesses, on [-1, 1]."""
    return plot.images(
        {
            "data": real,
            "model": drawn / 2 + 0.5,
            "model: what it guesses at the start, k = T": guessed / 2 + 0.5,
        },
        columns=16,
        alt="Sixteen real portraits; sixteen that your sampler drew; and the network's first "
        "guess from pure noise, the average face each time.",
    )


def where_the_bits_are(t: list[float], paid: list[float]) -> plot.Picture:
    """Bits paid from t = 1 down to each time."""
    return plot.curves(
        {"paid from t = 1 down to here": (t, paid)},
        "t = k / T",
        "bits a number",
        title="Where the bits are",
        markers=True,
        height=2.4,
        alt="The bits paid between time t and 1: almost nothing until t falls below 0.3, and then "
        "steeply up. Nearly all of the bound is spent on the last, invisible noise.",
    )


def told(drawn: dict[str, Tensor]) -> plot.Picture:
    """Rows of portraits on [-1, 1], by what the network was told and the scale of guidance."""
    return plot.rows(
        {name: x / 2 + 0.5 for name, x in drawn.items()},
        "One network, told different things, the same noise in each column",
        alt="Rows of twelve portraits: untold, told green hair, and told glasses, with scale 1 and 3. "
        "With scale 3 nearly all have what was asked for.",
    )


def symptom(
    bug: str, x: Tensor, t: list[float], chain: list[float], spread: Tensor
) -> plot.Picture:
    """Twelve portraits, and the spread of the states of a one-point data set beside that of the forward chain."""
    with style():
        fig = picture(8, 2.1, bug)
        left, right = fig.subplots(1, 2, width_ratios=[2.1, 1])
        sheet = torch.nn.functional.pad(x / 2 + 0.5, (1, 1, 1, 1), value=1.0)
        sheet = sheet.reshape(2, 6, 3, 18, 18).permute(0, 3, 1, 4, 2).reshape(36, 108, 3)
        left.imshow(sheet.clamp(0, 1).numpy())
        left.set(xticks=[], yticks=[])
        left.spines[:].set_visible(False)
        right.plot(t, chain, color=plot.EXACT, ls=":", label="forward chain")
        right.plot(t, spread, color=plot.MODEL, label="this sampler")
        right.set(
            xlabel="t = k / T", ylabel="spread", ylim=(0, 1.5), title="data that is one point"
        )
        right.legend(loc="upper left", fontsize=8)
    fig.alt = f"{bug}: twelve portraits, and the spread of the states against time beside that of the forward chain."
    return fig
