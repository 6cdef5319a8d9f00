"""The pictures of chapter 02: each function takes numbers and returns a figure with its text alternative."""

import textwrap

import torch

from coursekit import plot
from coursekit.plot.style import HEAT, picture, style


def counting(bits, best):
    """Bits a character of the counter against the characters it looks back at."""
    return plot.curves(
        {"a patient counter": bits},
        "characters it looks back at",
        "bits per character",
        "Counting stops at four characters",
        markers=True,
        height=2.5,
        levels={"its best": best},
    )


def waves(p, products):
    """Sinusoidal vectors (positions, features) and their products."""
    with style():
        fig = picture(8, 2.9)
        left, right = fig.subplots(1, 2, width_ratios=[1.1, 1])
        shown = left.imshow(p.T, cmap="PuOr", aspect="auto", vmin=-1, vmax=1)
        left.set(xlabel="position", ylabel="feature", title="Each column is one position")
        fig.colorbar(shown, ax=left)
        shown = right.imshow(products, cmap=HEAT)
        title = "Their products see the distance"
        right.set(xlabel="position n", ylabel="position m", title=title)
        fig.colorbar(shown, ax=right)
    fig.alt = (
        "Left, waves of falling speed along the positions, sines above, cosines below. Right, the "
        "inner products of all pairs of positions, constant along each diagonal and largest on the main one."
    )
    return fig


def turning(hands, products):
    """One pair turned by the positions, and the products of a turned query and key at all pairs of positions."""
    with style():
        fig = picture(8, 2.9)
        left, middle, right = fig.subplots(1, 3, width_ratios=[1, 1.25, 1.5])
        arrow = {"arrowstyle": "-|>", "color": plot.GRADIENT, "lw": 1.6}
        for i, (a, b) in enumerate(hands.tolist()):
            left.annotate("", (a, b), (0, 0), arrowprops=arrow)
            left.text(1.16 * a, 1.16 * b, str(i), ha="center", va="center")
        left.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal", xticks=[], yticks=[])
        left.set_title(f"One pair, positions 0 to {len(hands) - 1}")
        left.spines[:].set_visible(False)
        largest, n = float(products.abs().max()), len(products)
        shown = middle.imshow(products, cmap="PuOr", vmin=-largest, vmax=largest)
        middle.set(xlabel="position n of the key", ylabel="position m of the query")
        middle.set_title("Product after turning")
        fig.colorbar(shown, ax=middle)
        for start in (0, 4, 8):
            look = {"lw": 3 - start / 4, "alpha": 0.7, "color": plot.SERIES[start // 4]}
            right.plot(
                range(-start, n - start), products[:, start], label=f"key at {start}", **look
            )
        right.set(xlabel="distance m - n", ylabel="product", title="All keys give one curve")
        right.margins(y=0.45)
        right.legend(loc="upper right")
    fig.alt = (
        "Left, a vector turned by 0 to 6 radians. Middle, the product of a turned query and key for all "
        "pairs of positions: constant along each diagonal. Right, the curves of three key positions "
        "against the distance lie on each other."
    )
    return fig


def beyond_school(places, excess, trained):
    """Nats above the perfect reader, place by place; excess: scheme -> (texts, blocks of places)."""
    with style():
        fig = picture(8, 3.4, "Taught on 32 places, asked about 160")
        ax = fig.subplots()
        ax.axvspan(0, trained, color=plot.NOISE, alpha=0.25, lw=0)
        ax.text(trained / 2, 1.47, "trained here", ha="center", va="top", fontsize=9)
        looks = zip(excess.items(), plot.SERIES, ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), "-"))
        for (name, over), c, dash in looks:
            mean, error = over.mean(0), over.std(0) / len(over) ** 0.5
            ax.plot(places, mean, color=c, ls=dash, label=name)
            ax.fill_between(places, mean - error, mean + error, color=c, alpha=0.2, lw=0)
        ax.axhline(0, color=plot.EXACT, lw=1)
        ax.text(157, -0.075, "perfect reader", ha="right", va="center", fontsize=9)
        ax.set(xlabel="place in the text", ylabel="nats above the perfect reader")
        ax.set(ylim=(-0.13, 1.5), xlim=(0, 158))
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    told = "; ".join(
        f"{name} {over[:, 1:4].mean():.2f} nats inside the trained {trained} places and "
        f"{over[:, 14:].mean():.2f} far outside"
        for name, over in excess.items()
    )
    fig.alt = f"Excess loss of six schemes against the place in the text: {told}."
    return fig


def plainly(text):
    """Each character as one that shows."""
    return [c.replace("\n", "↵").replace(" ", "␣") for c in text]


def shares(table, line, title):
    """Who looks where in a line: the shares (l, l) of one head."""
    with style():
        fig = picture(7.4, 5.6, title)
        ax = fig.subplots()
        shown = ax.imshow(table, cmap=HEAT, vmin=0, vmax=1)
        ax.set_xticks(range(len(line)), plainly(line), fontsize=7.5, fontfamily="monospace")
        ax.set_yticks(range(len(line)), plainly(line), fontsize=7.5, fontfamily="monospace")
        ax.tick_params(length=0)
        ax.set(xlabel="the character it looks at", ylabel="the character that asks")
        fig.colorbar(shown, ax=ax, label="share", shrink=0.8)
    back = torch.arange(len(line))[:, None] - torch.arange(len(line))
    mean = float((table * back).sum(-1).mean())
    fig.alt = f"Lower triangular map of the shares of {title}; on average it looks {mean:.1f} characters back."
    return fig


def choice(plain, ours, letters, after, text, knobs):
    """The likeliest next characters before and after the knobs, and a text written with them."""
    first = plain.argsort(descending=True)[:22]
    left = int((ours > 0).sum())
    with style():
        fig = picture(8, 3.9)
        above, below = fig.subplots(2, 1, height_ratios=[1.25, 1])
        above.bar(range(22), plain[first], width=0.85, color=plot.NOISE, label="the model")
        above.bar(range(22), ours[first], width=0.5, color=plot.MODEL, label="your knobs")
        above.set_xticks(range(22), plainly(letters[i] for i in first))
        title = f"After {after!r} and a space; {left} of {len(letters)} symbols can be drawn"
        above.set(ylabel="probability", ylim=(0, 1), title=title)
        above.legend(loc="upper right")
        lines = [part for row in text.split("\n") for part in textwrap.wrap(row, 84) or [""]]
        shown = "\n".join(lines[:7]).replace("$", r"\$")
        place = {"va": "top", "transform": below.transAxes}
        below.text(0, 1, shown, fontfamily="monospace", fontsize=9, **place)
        below.axis("off")
    fig.alt = (
        f"Bars of the next character at {knobs}: {left} symbols are left. Below, a text: "
        f"{' '.join(lines[:3])}"
    )
    return fig


def worrying(curves, floor):
    """Training loss of the bugs, with the entropy rate as a level."""
    fig = plot.curves(
        curves,
        "step",
        "training loss in nats",
        "Which of these curves would worry you?",
        levels={"entropy rate": floor},
        height=3.0,
    )
    fig.axes[0].set_ylim(top=3.0)  # room for the names above the curves
    fig.axes[0].legend(loc="upper right", ncols=3, handlelength=2.8, frameon=False)
    return fig
