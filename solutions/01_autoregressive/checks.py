"""Chapter 01: the cases of each exercise, and the truth of each."""

import torch

from autograde.authoring import Exercise

# ---------------------------------------------------------------- made_masks


def named_masks(answer, ranks):
    masks = answer(ranks)
    names = [f"hidden mask {i + 1}" for i in range(len(ranks) - 1)] + ["output mask"]
    return {"number of masks": len(masks), **dict(zip(names, masks))}


def unit_by_unit(ranks):
    """From the sentence "a unit of rank m knows ranks up to m, an output only ranks below its own"."""
    layers = [*ranks, ranks[0]]
    masks = []
    for k, (before, after) in enumerate(zip(layers, layers[1:])):
        limit = 1 if k == len(ranks) - 1 else 0
        masks.append(
            torch.tensor([[b + limit <= a for b in before.tolist()] for a in after.tolist()])
        )
    return masks


made_masks = Exercise(
    truth=unit_by_unit,
    view=named_masks,
    about="a mask has a row for each unit after and a column for each unit before",
)


def networks(text, *ranks, hidden=False):
    order = "natural" if list(ranks[0]) == sorted(ranks[0]) else "shuffled"
    layers = [torch.tensor(r) for r in ranks]
    made_masks.case(
        text, (layers,), hidden=hidden, order_of_the_pixels=order, hidden_layers=len(ranks) - 1
    )


networks("5 pixels of ranks 1, 3, 4, 0, 2", [1, 3, 4, 0, 2], [0, 3, 1, 0, 2, 3], [1, 2, 0, 3])
networks("4 pixels of ranks 2, 0, 3, 1", [2, 0, 3, 1], [0, 2, 1, 0, 2], [1, 2, 0])
networks("4 pixels in the natural order", [0, 1, 2, 3], [0, 2, 1, 0, 2], [1, 2, 0])
g = torch.Generator().manual_seed(0)
for n, widths in [(7, (5, 9, 6)), (3, (4,)), (6, (11, 8)), (5, ())]:
    rest = [torch.randint(0, n - 1, (w,), generator=g).tolist() for w in widths]
    networks(
        f"{n} pixels, {len(widths)} hidden layers",
        torch.randperm(n, generator=g).tolist(),
        *rest,
        hidden=True,
    )
