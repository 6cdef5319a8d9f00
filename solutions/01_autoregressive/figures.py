"""The pictures of chapter 01: each function returns a figure with its text alternative."""

import math

import matplotlib.colors
import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit import plot
from coursekit.plot.style import HEAT, SHADE, picture, style

INK = {
    name: torch.tensor(matplotlib.colors.to_rgb(plot.colour(name))) for name in ("data", "model")
}


def paint(x: Tensor, given: Tensor | bool = False) -> Tensor:
    """Pictures (..., h, w) in colour, (..., h, w, 3): ink that was given is blue, ink that the model drew is vermilion."""
    given = torch.as_tensor(given).expand(x.shape)[..., None]
    paper = torch.where(given, 0.92 + 0.08 * INK["data"], torch.ones(3))
    return paper + x[..., None] * (torch.where(given, INK["data"], INK["model"]) - paper)


def chain_rule():
    """The Bayes net of five pixels, with every arrow that points forward."""
    with style():
        fig = picture(8, 2.7)
        ax = fig.subplots()
        for i in range(5):
            for j in range(i):
                arc = {
                    "arrowstyle": "-|>",
                    "color": plot.MODEL,
                    "lw": 1.2,
                    "connectionstyle": "arc3,rad=-0.33",
                }
                ax.annotate("", (i - 0.15, 0.13), (j + 0.13, 0.15), arrowprops=arc)
            ax.scatter(i, 0, s=800, color="white", edgecolor=plot.EXACT, zorder=3)
            ax.text(i, 0, f"$x_{i + 1}$", ha="center", va="center", fontsize=13, zorder=4)
            past = ["", r"\mid x_1", r"\mid x_1,x_2", r"\mid x_1,\dots,x_3", r"\mid x_1,\dots,x_4"][
                i
            ]
            ax.text(
                i,
                -0.5,
                f"$p(x_{i + 1}{past})$\n{2**i} number{'s' * (i > 0)}",
                ha="center",
                va="top",
            )
        ax.set(xlim=(-0.5, 4.5), ylim=(-1.2, 1.55))
        ax.axis("off")
    fig.alt = "A Bayes net of five pixels with an arrow from each to every later one. As tables, the conditionals need 1, 2, 4, 8 and 16 numbers."
    return fig


def masks_and_jacobians(rows):
    """Masks, path counts and Jacobian of small MADEs: (order, input mask, output mask, Jacobian) a row."""
    with style():
        fig = picture(8, 4.6)
        for row, (order, first, last, size) in zip(fig.subplots(len(rows), 4), rows):
            by_rank = size[order[:, None], order[None]]
            panels = {
                "input mask": (first, "pixel", "hidden unit"),
                "output mask": (last, "hidden unit", "logit"),
                "paths (product)": (last @ first, "pixel", "logit"),
                "Jacobian, sorted": (by_rank, "pixel, by rank", "logit, by rank"),
            }
            for ax, (title, (matrix, below, left)) in zip(row, panels.items()):
                ax.imshow(matrix, cmap=SHADE if "mask" in title else HEAT, vmin=0)
                ax.set(title=title, xlabel=below, ylabel=left, xticks=[], yticks=[])
            row[0].set_ylabel(f"order {' '.join(map(str, order.tolist()))}\nhidden unit")
    fig.alt = (
        "Two rows of four matrices. The masks of a MADE are staircases; their product and the Jacobian are strictly lower "
        "triangular, for the shuffled order once rows and columns are sorted by rank."
    )
    return fig


def bins_of_a_logistic(grey):
    """The mass of each of 16 bins, inside the range and near its edge, over the logistic density."""
    values, fine = torch.arange(16.0), torch.linspace(-4, 15.5, 400)
    with style():
        fig = picture(8, 2.7)
        axes = fig.subplots(1, 2, sharey=True)
        for ax, mean in zip(axes, (8.2, 1.3)):
            p = grey(values, torch.full((16,), mean), torch.full((16,), 0.3), 16).exp()
            z = (fine - mean) / math.exp(0.3)
            ax.bar(values, p, width=0.9, color=plot.MODEL, alpha=0.75, label="mass of the bin")
            ax.plot(
                fine,
                (F.logsigmoid(z) + F.logsigmoid(-z) - 0.3).exp(),
                color=plot.EXACT,
                lw=1,
                label="logistic density",
            )
            ax.set(xlabel="grey level", title=f"mean {mean}")
        axes[0].set_ylabel("probability")
        axes[0].legend(loc="upper left")
        axes[1].annotate(
            "edge bin: all of the tail",
            (0.4, float(p[0])),
            (4, 0.3),
            va="center",
            arrowprops={"arrowstyle": "->"},
        )
    fig.alt = "Two bar charts over 16 grey levels with the logistic density drawn over them. Near the edge the first bar rises above the density."
    return fig


def strip(ax, pictures: Tensor, title: str = "", given: Tensor | bool = False) -> None:
    """A row of pictures, (k, h, w), with a thin gap between them."""
    shown = F.pad(paint(pictures, given), (0, 0, 1, 1, 1, 1), value=1.0)
    ax.imshow(shown.movedim(0, 1).flatten(1, 2).clamp(0, 1).numpy())
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(title, rotation=0, ha="right", va="center")
    ax.spines[:].set_visible(False)


def samples_of(rows: dict[str, Tensor], title: str) -> plot.Picture:
    """Labelled rows of drawn digits."""
    with style():
        fig = picture(8, 0.35 + 0.66 * len(rows), title)
        for ax, (name, pictures) in zip(
            fig.subplots(len(rows), 1, squeeze=False)[:, 0], rows.items()
        ):
            strip(ax, pictures, name)
    fig.alt = f"{title}: rows of {len(pictures)} digits, {', '.join(rows)}; the longer a model has learned, the more they look like handwriting."
    return fig


def symptom(bug, healthy, losses, samples, jacobian):
    """One row: loss curve, Jacobian, samples."""
    tail = losses[-50:]
    with style():
        fig = picture(8, 1.9, bug)
        left, middle, right = fig.subplots(1, 3, width_ratios=[1.6, 1, 2.6])
        left.plot(healthy, color=plot.NOISE, lw=0.8, label="no bug")
        left.plot(losses, color=plot.MODEL, lw=1.2, label="with it")
        left.set(
            ylim=(0, 46),
            xlabel="step",
            ylabel="nats",
            title=f"training loss: {sum(tail) / len(tail):.1f} nats",
        )
        middle.imshow(jacobian, cmap=HEAT, vmin=0, vmax=float(jacobian.quantile(0.98)))
        middle.set(xticks=[], yticks=[], title="Jacobian", xlabel="pixel", ylabel="logit")
        sheet = F.pad(samples, (1, 1, 1, 1)).reshape(2, 5, 10, 10).movedim(2, 1).reshape(20, 50)
        right.imshow(paint(sheet).numpy())
        right.set(xticks=[], yticks=[], title="samples")
        right.spines[:].set_visible(False)
    above = float(jacobian.triu().sum() / jacobian.sum())
    fig.alt = f"{bug}: the loss ends at {sum(tail) / len(tail):.1f} nats; {above:.0%} of the Jacobian lies on or above the diagonal; ten samples."
    return fig
