"""Chapter 01: right answers in other styles, and the mistakes that people make, each with what they should read."""

import torch

from autograde.authoring import right, wrong

# ---------------------------------------------------------------- made_masks


@right("made_masks")
def with_loops(ranks):
    masks = []
    layers = [*ranks, ranks[0]]
    for k in range(len(ranks)):
        before, after = layers[k], layers[k + 1]
        mask = torch.zeros(len(after), len(before), dtype=torch.bool)
        for i, a in enumerate(after):
            for j, b in enumerate(before):
                mask[i, j] = b < a if k == len(ranks) - 1 else b <= a
        masks.append(mask)
    return masks


@right("made_masks")
def as_floats(ranks):
    hidden = [
        torch.ge(a.unsqueeze(1), b.unsqueeze(0)).float() for b, a in zip(ranks[:-1], ranks[1:])
    ]
    return hidden + [torch.gt(ranks[0].unsqueeze(-1), ranks[-1].unsqueeze(0)).float()]


@right("made_masks")
def shifted_outputs(ranks):
    layers = list(ranks) + [ranks[0] - 1]
    return tuple(
        (before[None] <= after[:, None]).to(torch.uint8)
        for before, after in zip(layers, layers[1:])
    )


@wrong(
    "made_masks", "a pixel sees itself: the output layer may look at strictly smaller ranks only"
)
def sees_itself(ranks):
    layers = [*ranks, ranks[0]]
    return [after[:, None] >= before[None] for before, after in zip(layers, layers[1:])]


@wrong("made_masks", "a strict > between hidden layers cuts wires that are allowed; there it is >=")
def strict_everywhere(ranks):
    layers = [*ranks, ranks[0]]
    return [after[:, None] > before[None] for before, after in zip(layers, layers[1:])]


@wrong(
    "made_masks",
    "the mask is transposed: a row for each unit that receives, (units after, units before)",
)
def transposed(ranks):
    masks = [before[:, None] <= after[None] for before, after in zip(ranks, ranks[1:])]
    return [*masks, ranks[-1][:, None] < ranks[0][None]]


@wrong("made_masks", "the comparison points the wrong way: early pixels look at late ones")
def backwards(ranks):
    masks = [after[:, None] <= before[None] for before, after in zip(ranks, ranks[1:])]
    return [*masks, ranks[0][:, None] < ranks[-1][None]]


@wrong("made_masks", "the outputs must have the ranks of the pixels, ranks[0], not 0, 1, 2, ...")
def outputs_in_natural_order(ranks):
    masks = [after[:, None] >= before[None] for before, after in zip(ranks, ranks[1:])]
    return [*masks, torch.arange(len(ranks[0]))[:, None] > ranks[-1][None]]


@wrong("made_masks", "the mask of the output layer is missing")
def no_output_mask(ranks):
    return [after[:, None] >= before[None] for before, after in zip(ranks, ranks[1:])]


@wrong("made_masks", "compare the ranks, not positions: unit number 3 need not have rank 3")
def positions_for_ranks(ranks):
    layers = [torch.arange(len(r)) for r in ranks]
    masks = [after[:, None] >= before[None] for before, after in zip(layers, layers[1:])]
    return [*masks, layers[0][:, None] > layers[-1][None]]


@wrong(
    "made_masks",
    "one mask between each two layers, and one to the outputs, for any number of layers",
)
def two_hidden_layers_only(ranks):
    first = ranks[1][:, None] >= ranks[0][None]
    second = ranks[2][:, None] >= ranks[1][None]
    return [first, second, ranks[0][:, None] > ranks[2][None]]
