"""What a GPU needs, held without one: nothing is read back or sent within a step, and no graph breaks.

The device "meta" stands for the accelerator: it refuses to give a number back, and every copy to it can be seen.
"""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from genmodels.core import holds
from genmodels.train import all_recipes, batches, find_recipe, learner, minibatches
from genmodels.train.learner import Average, Objective, tensor_cores
from genmodels.train.muon import Muon
from genmodels.train.recipe import GanRecipe, Operations, TwoStageRecipe

META = torch.device("meta")
READS = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique", "equal", "repeat_interleave.Tensor")


class Watch(TorchDispatchMode):
    """Notes the operations that wait for a device, and those that carry numbers from one to the other."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        name = str(function).removeprefix("aten.")
        if name.startswith(READS) or len({x.device for x in tensors if x.ndim}) > 1:
            self.seen.append(name)
        return out


def losses_of(recipe, device):
    """Each loss of the smallest model, as a function without arguments."""
    model = recipe.profile("smoke").model()
    batch = minibatches(recipe.data(), 6, transform=recipe.transform)(0)
    if recipe.prepare is not None:
        recipe.prepare(model, batch)
    model, batch = model.to(device).train(), tree_map(lambda x: x.to(device), batch)
    if not isinstance(recipe, GanRecipe):
        return [lambda: recipe.loss(model, batch)]
    critic = recipe.critics["smoke"]().to(device)
    losses = [lambda: recipe.loss(model, critic, batch), lambda: recipe.critic_loss(model, critic, batch)]
    return losses + ([lambda: recipe.prior_loss(model, batch)] if isinstance(recipe, TwoStageRecipe) else [])


def nothing_waits(losses):
    for loss in losses:  # what is sent once and kept is sent now
        loss().mean().backward()
    watch = Watch()
    with watch:
        for loss in losses:
            loss().mean().backward()
    assert not watch.seen


@pytest.fixture
def no_autocast_on_meta(monkeypatch):
    """Autocast does not know this device; within the losses it is only ever turned off."""
    honest = torch.autocast
    monkeypatch.setattr(
        torch, "autocast", lambda kind, **how: contextlib.nullcontext() if kind == "meta" else honest(kind, **how)
    )


@pytest.mark.parametrize("name", sorted(all_recipes()))
def test_a_step_neither_reads_from_the_device_nor_sends_to_it(name, no_autocast_on_meta):
    nothing_waits(losses_of(find_recipe(name), META))


WAITS = {
    "a number read": lambda x: x * float(x.sum()),
    "a question asked": lambda x: x if (x > 0).all() else -x,
    "as many as are true": lambda x: x[x > 0].sum().expand(3),
    "made elsewhere": lambda x: x * torch.arange(3.0).to(x.device),
}


@pytest.mark.parametrize("wrong", WAITS.values(), ids=WAITS)
def test_oracle_of_waiting_catches(wrong):
    x = torch.ones(3, device=META, requires_grad=True)
    with pytest.raises((AssertionError, RuntimeError)):
        nothing_waits([lambda: wrong(x)])
    nothing_waits([lambda: x * torch.arange(3.0, device=x.device)])


def test_average_and_muon_wait_for_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).to(META)
    average = Average(model, 0.9)
    optimizer = Muon(model.parameters(), lambda p: True)
    with torch.no_grad(), Watch() as watch:
        for _ in range(3):
            for p in model.parameters():
                p.grad = torch.zeros_like(p)
            optimizer._step_hidden()
            average.update_parameters(model)
    assert set(watch.seen) <= {"_local_scalar_dense.default"}  # of the average's counter alone, which is on the CPU:
    assert average.n_averaged.device.type == "cpu"
    assert int(average.n_averaged) == 3


def test_rows_are_chosen_where_the_data_are():
    fn = batches.with_device(minibatches(torch.randn(20, 3), 4), META)
    fn(0)
    with Watch() as watch:
        assert fn(1).device == fn(2).device == META
    assert not watch.seen


class Cuda:
    """A tensor on the CPU and a device, as far as ``_move`` looks."""

    type = "cuda"


def test_large_data_are_pinned_and_not_waited_for(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda x: calls.append("pinned") or x)
    monkeypatch.setattr(torch.Tensor, "to", lambda x, device, non_blocking: calls.append(non_blocking) or x)
    batches._move((torch.zeros(2), torch.zeros(3)), Cuda())
    assert calls == ["pinned", True] * 2


def test_what_cannot_be_known_for_free_counts_as_true():
    assert holds(torch.tensor([True, True]))
    assert not holds(torch.tensor([True, False]))
    assert holds(torch.empty(0, dtype=torch.bool))
    assert holds(torch.ones(2, dtype=torch.bool, device=META))
    assert torch.compile(lambda x: x + holds(x > 9), backend="eager", fullgraph=True)(torch.zeros(1)) == 1


@pytest.mark.parametrize(("capability", "inside"), [((7, 5), "highest"), ((8, 0), "high"), ((9, 0), "high")])
def test_float32_uses_the_tensor_cores_of_ampere_and_later(capability, inside, monkeypatch):
    monkeypatch.setattr(learner.torch.cuda, "get_device_capability", lambda device: capability)
    assert torch.get_float32_matmul_precision() == "highest"
    with tensor_cores(torch.device("cuda", 0)):
        assert torch.get_float32_matmul_precision() == inside
    assert torch.get_float32_matmul_precision() == "highest"
    with tensor_cores(torch.device("cpu")):
        assert torch.get_float32_matmul_precision() == "highest"


COMPILED = [name for name in sorted(all_recipes()) if find_recipe(name).profile("gpu").settings.compile]


def breaks(objective, batch):
    torch._dynamo.reset()
    explained = torch._dynamo.explain(objective)(batch)
    return [str(reason.reason) for reason in explained.break_reasons] + ["no graph"] * (explained.graph_count == 0)


@pytest.mark.parametrize("name", COMPILED)
def test_no_graph_breaks_where_the_recipe_compiles(name):
    recipe = find_recipe(name)
    batch = minibatches(recipe.data(), 6, transform=recipe.transform)(0)
    assert not breaks(Objective(recipe.profile("smoke").model(), recipe.loss), batch)


def test_oracle_of_breaks_catches_a_number_read():
    model = nn.Linear(3, 3)
    wrong = lambda model, x: model(x).sum(1) * float(x.sum())
    assert breaks(Objective(model, wrong), torch.ones(2, 3))
    assert not breaks(Objective(model, lambda model, x: model(x).sum(1)), torch.ones(2, 3))


def counted(name):
    recipe = find_recipe(name)
    model, critics = recipe.profile("smoke").model(), getattr(recipe, "critics", {"smoke": lambda: None})
    return model, recipe.flops(SimpleNamespace(model=model, critic=critics["smoke"](), stage=1))


def operations_are_counted():
    """n weights take 2 n a row forward, 2 n for their own gradient, and 2 n more where what they see has one."""
    made, flops = counted("made")
    hidden, output, direct = made.hidden[0].weight.numel(), made.output.weight.numel(), made.direct.weight.numel()
    assert flops == 4 * hidden + 6 * output + 4 * direct
    net, flops = counted("char_transformer")
    weights = sum(p.numel() for p in net.parameters() if p.ndim == 2)  # the embedding is the output matrix, too
    l, d = 128, net.embedding.embedding_dim
    assert flops == 6 * l * weights + 3 * len(net.blocks) * 2 * 2 * l * l * d


def test_operations_are_counted(edit):
    operations_are_counted()
    edit(Operations.__torch_dispatch__, "self.total +=", "self.total =")
    with pytest.raises(AssertionError):
        operations_are_counted()


def test_gradients_within_a_loss_are_counted():
    """A critic of WGAN-GP pays for two batches forward and back, for their mean's slope, and for the slope's own."""
    critic = find_recipe("wgan_gp").critics["smoke"]()
    one = Operations()
    with one:
        critic(torch.randn(1, 3, 16, 16)).sum().backward()
    assert counted("wgan_gp")[1] > 4 * one.total
