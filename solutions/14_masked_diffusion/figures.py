"""The pictures of chapter 14: functions that return a figure with its description in ``fig.alt``."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from coursekit import plot
from coursekit.plot.style import picture, style


def lattice(
    predict: Callable, x0: Tensor, mask: int, title: str = "", order: tuple = (1, 2, 0)
) -> plot.Picture:
    """All sets of masks of a text of three tokens, and what each token costs to read from each of them, in nats."""
    l, letters = len(x0), "ABCDEFG"
    place, costs = {}, {}
    for k in range(l + 1):
        sets = [m for m in itertools.product([True, False], repeat=l) if sum(m) == l - k]
        for row, m in enumerate(sets):
            place[m] = (k, (len(sets) - 1) / 2 - row)
    for m in place:
        log_p = predict(torch.where(torch.tensor(m), mask, x0)[None])[0]
        for i in range(l):
            if m[i]:
                after = tuple(v and j != i for j, v in enumerate(m))
                costs[m, after] = -float(log_p[i, x0[i]])
    path, at = [tuple([True] * l)], [True] * l
    for i in order:
        at[i] = False
        path.append(tuple(at))
    chosen = set(itertools.pairwise(path))
    with style():
        fig = picture(8, 3.3, title)
        ax = fig.subplots()
        for (m, after), cost in costs.items():
            (x1, y1), (x2, y2) = place[m], place[after]
            marked = (m, after) in chosen
            colour = plot.MODEL if marked else "#bbbbbb"
            ax.plot([x1, x2], [y1, y2], color=colour, lw=2.6 if marked else 1.2, zorder=1)
            share = 0.34 if abs(y2 - y1) > 0.9 else 0.5
            spot = (x1 + share * (x2 - x1), y1 + share * (y2 - y1))
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            ax.text(
                *spot,
                f"{cost:.2f}",
                ha="center",
                va="center",
                fontsize=8.5,
                color="#333333",
                bbox=box,
                zorder=2,
            )
        for m, (x, y) in place.items():
            word = "".join("□" if hidden else letters[int(v)] for hidden, v in zip(m, x0))
            look = {"facecolor": "#EAF2F8", "edgecolor": plot.DATA, "boxstyle": "round,pad=0.35"}
            ax.text(
                x,
                y,
                word,
                ha="center",
                va="center",
                family="monospace",
                fontsize=12,
                bbox=look,
                zorder=3,
            )
        ax.set(
            xlim=(-0.3, l + 0.3),
            ylim=(-1.45, 1.45),
            xticks=range(l + 1),
            yticks=[],
            xlabel="tokens read",
        )
        ax.spines[["left", "top", "right"]].set_visible(False)
    sums = []
    for one in itertools.permutations(range(l)):
        now, total = [True] * l, 0.0
        for i in one:
            before = tuple(now)
            now[i] = False
            total += costs[before, tuple(now)]
        sums.append(total)
    told = ", ".join(f"{v:.2f}" for v in sums)
    fig.alt = f"The {2**l} sets of masks of a text of {l} tokens, from all hidden at the left to none at the right, joined where one token is read, with its cost in nats. One path is marked. The {len(sums)} orders cost {told}; their mean is {sum(sums) / len(sums):.2f}."
    return fig


def boards(rows: dict[str, list[Tensor]], puzzle: Tensor, solution: Tensor) -> plot.Picture:
    """A puzzle of 4 x 4 cells filled in by several orders, five states of each; wrong symbols are crossed out."""
    shown = {n: [v[round(k * (len(v) - 1) / 4)] for k in range(5)] for n, v in rows.items()}
    with style():
        fig = picture(8, 1.62 * len(shown))
        axes = fig.subplots(len(shown), 5, squeeze=False)
        for row, (name, states) in zip(axes, shown.items()):
            row[0].set_ylabel(
                name.replace(" ", "\n", 1), rotation=0, ha="right", va="center", fontsize=9
            )
            for ax, state in zip(row, states):
                ax.set(xlim=(-0.5, 3.5), ylim=(3.5, -0.5), xticks=[], yticks=[], aspect="equal")
                for side in ax.spines.values():
                    side.set(visible=True, color="#999999")
                for k in (0.5, 1.5, 2.5):
                    ax.axhline(k, color="#cccccc", lw=0.8)
                    ax.axvline(k, color="#cccccc", lw=0.8)
                for i, symbol in enumerate(state.tolist()):
                    if symbol == 4:
                        continue
                    given, y = bool(puzzle[i] != 4), i // 4
                    look = {"color": plot.EXACT if given else plot.MODEL, "fontsize": 12}
                    weight = "bold" if given else "normal"
                    ax.text(
                        i % 4, y, "ABCD"[symbol], ha="center", va="center", weight=weight, **look
                    )
                    if symbol != int(solution[i]):
                        ax.plot(
                            [i % 4 - 0.38, i % 4 + 0.38],
                            [y + 0.38, y - 0.38],
                            color=plot.EXACT,
                            lw=1.6,
                        )
    wrong = {name: int((states[-1] != solution).sum()) for name, states in rows.items()}
    told = "; ".join(f"{name} ends with {n} wrong cells" for name, n in wrong.items())
    fig.alt = f"One puzzle filled in by {len(rows)} orders, from the clues at the left to the end at the right: {told}."
    return fig
