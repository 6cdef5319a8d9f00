def boards(rows: dict[str, list[Tensor]], puzzle: Tensor, solution: Tensor) -> plot.Picture:
    """A puzzle of 4 x 4 cells filled in by several orders, every third state; wrong symbols are crossed."""
    shown = {
        name: states[:: max(1, len(states) // 4)][:4] + states[-1:] for name, states in rows.items()
    }
    columns = max(map(len, shown.values()))
    with style():
        fig = picture(8, 1.75 * len(shown))
        axes = fig.subplots(len(shown), columns, squeeze=False)
        for row, (name, states) in zip(axes, shown.items(), strict=True):
            row[0].set_ylabel(name, rotation=0, ha="right", va="center")
            for ax, state in zip(row, states, strict=True):
                ax.set(xlim=(-0.5, 3.5), ylim=(3.5, -0.5), xticks=[], yticks=[], aspect="equal")
                for k in (0.5, 1.5, 2.5):
                    ax.axhline(k, color="#bbbbbb", lw=0.8)
                    ax.axvline(k, color="#bbbbbb", lw=0.8)
                for i, symbol in enumerate(state.tolist()):
                    if symbol == 4:
                        continue
                    given, wrong = bool(puzzle[i] != 4), symbol != int(solution[i])
                    colour = plot.DATA if given else plot.MODEL
                    ax.text(
                        i % 4,
                        i // 4,
                        "ABCD"[symbol],
                        ha="center",
                        va="center",
                        color=colour,
                        fontweight="bold" if given else "normal",
                        fontsize=12,
                    )
                    if wrong:
                        ax.plot(
                            [i % 4 - 0.35, i % 4 + 0.35],
                            [i // 4 + 0.35, i // 4 - 0.35],
                            color=plot.EXACT,
                            lw=1.4,
                        )
    wrong = {name: int((states[-1] != solution).sum()) for name, states in rows.items()}
    told = "; ".join(f"{name} ends with {n} wrong cells" for name, n in wrong.items())
    fig.alt = f"One puzzle filled in cell by cell in {len(rows)} orders: {told}."
    return fig
