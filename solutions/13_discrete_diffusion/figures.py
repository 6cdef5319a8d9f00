"""The pictures of chapter 13: functions that return a figure with its description in ``fig.alt``."""

from torch import Tensor

from coursekit import plot
from coursekit.plot.style import picture, sequential, style

SYMBOLS = ["A", "B", "C", "D", "□"]  # the last is the mask


def table(ax, law: Tensor, top: float, title: str = "", names: bool = True) -> None:
    """One law of texts of two letters: a square for each text, the darker the likelier."""
    ax.imshow(law, cmap=sequential("model"), vmin=0, vmax=top)
    ax.set_xticks(range(len(law)), SYMBOLS[: len(law)] if names else [""] * len(law), fontsize=8)
    ax.set_yticks(range(len(law)), SYMBOLS[: len(law)] if names else [""] * len(law), fontsize=8)
    ax.tick_params(length=0, pad=2)
    for side in ax.spines.values():
        side.set(visible=True, color="#BBBBBB")
    for k in range(len(law) - 1):
        ax.axhline(k + 0.5, color="#E4E4E4", lw=0.8)
        ax.axvline(k + 0.5, color="#E4E4E4", lw=0.8)
    ax.set_title(title, fontsize=9)


def flow(rows: dict[str, list[tuple[str, Tensor]]], title: str = "") -> plot.Picture:
    """A row of tables for each noise; shades are scaled in each table by its own likeliest text."""
    with style():
        fig = picture(8, 1.72 * len(rows) + 0.3 * bool(title), title)
        axes = fig.subplots(len(rows), len(next(iter(rows.values()))), squeeze=False)
        for line, (name, laws) in zip(axes, rows.items()):
            for ax, (text, law) in zip(line, laws):
                table(ax, law, float(law.max()), text)
            line[0].set_ylabel(name, fontsize=10)
    ends = "; ".join(
        f"{name}: {laws[0][0]} largest {laws[0][1].max():.3f}, {laws[-1][0]} largest {laws[-1][1].max():.3f}"
        for name, laws in rows.items()
    )
    fig.alt = f"Tables of the probabilities of all texts of two letters, one row of tables for each noise. The darkest square of each table is its likeliest text. {ends}."
    return fig


def symptom(
    bug: str, steps: list[int], curves: dict[str, list[float]], law: Tensor, language: Tensor
) -> plot.Picture:
    """Total variation against steps, and where the sampler ends beside the language."""
    with style():
        fig = picture(8, 2.6, bug)
        left, middle, right = fig.subplots(1, 3, width_ratios=[1.7, 1, 1])
        for (name, y), colour, dash in zip(curves.items(), (plot.NOISE, plot.MODEL), ("--", "-")):
            left.plot(steps, y, color=colour, ls=dash, marker="o", label=name)
        left.set(xscale="log", yscale="log", xlabel="steps", ylabel="total variation")
        left.set_xticks(steps, [str(n) for n in steps])
        left.minorticks_off()
        left.set_ylim(3e-3, 1.2)
        left.grid(True)
        left.legend(loc="lower left")
        table(middle, law, float(language.max()), f"after {steps[-1]} steps")
        table(right, language, float(language.max()), "the language")
    fig.alt = f"{bug}: total variation {curves[bug][0]:.3f} with {steps[0]} steps and {curves[bug][-1]:.4f} with {steps[-1]}; without a bug {curves['no bug'][-1]:.4f}. Beside it the law of texts that the sampler ends in, and that of the language."
    return fig
