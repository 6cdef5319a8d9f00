"""Checkpoints are whole or absent, and say what is wrong with a file that is not theirs."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from genmodels.train import checkpoint, minibatches, restore_weights, train
from genmodels.train.checkpoint import Streams, load_checkpoint, save_checkpoint, seed_everything

X = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))


def net(width=4):
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 3))


def run(path, steps, model=None, **more):
    settings = {"lr": 0.05, "progress": False, "accelerator": "cpu", "checkpoint": path} | more
    loss = lambda model, x: (model(x) - x).square().sum(1)
    state = None
    for state in train(model or net(), loss, minibatches(X, 4), steps=steps, **settings):  # noqa: B007
        pass
    return state


# --- a write that stops half way ------------------------------------------------------------------------------------


class Stopped(BaseException):
    """Like KeyboardInterrupt: nothing that catches Exception sees it."""


def interrupted_write_leaves_the_last_good_one(folder, monkeypatch):
    path = folder / "model.pt"
    save_checkpoint(path, {"step": 1, "numbers": torch.arange(1000)})
    honest = torch.save

    def half(state, file):
        honest(state, file)
        file.truncate(file.tell() // 2)
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(Stopped):
            checkpoint.save_checkpoint(path, {"step": 2, "numbers": torch.arange(1000)})
    state = load_checkpoint(path)
    assert state["step"] == 1
    assert torch.equal(state["numbers"], torch.arange(1000))
    assert os.listdir(folder) == ["model.pt"]
    checkpoint.save_checkpoint(path, {"step": 3})
    assert load_checkpoint(path)["step"] == 3


def test_interrupted_write_leaves_the_last_good_one(tmp_path, monkeypatch):
    interrupted_write_leaves_the_last_good_one(tmp_path, monkeypatch)


def test_interrupted_write_oracle_catches_writing_in_place(tmp_path, monkeypatch):
    def in_place(path, state):
        with open(path, "wb") as file:
            torch.save({"format": checkpoint.FORMAT, **state}, file)

    monkeypatch.setattr(checkpoint, "save_checkpoint", in_place)
    with pytest.raises(ValueError, match="no readable checkpoint"):
        interrupted_write_leaves_the_last_good_one(tmp_path, monkeypatch)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_process_leaves_a_whole_checkpoint(tmp_path):
    code = """
import itertools, pathlib, torch
from genmodels.train.checkpoint import save_checkpoint
for step in itertools.count():
    save_checkpoint(pathlib.Path("m.pt"), {"step": step, "numbers": torch.full((200_000,), float(step))})
    print(step, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    seen = [int(process.stdout.readline()) for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    seen += [int(line) for line in process.stdout.read().split()]
    process.stdout.close()
    state = load_checkpoint(tmp_path / "m.pt")
    assert state["step"] in (seen[-1], seen[-1] + 1)
    assert (state["numbers"] == state["step"]).all()


# --- files that are not ours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and then nothing"])
def test_damaged_files_say_so(content, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model.pt is no readable checkpoint \(damaged"):
        run(path, 3)


def test_a_truncated_checkpoint_says_so(tmp_path):
    path = tmp_path / "model.pt"
    run(path, 2)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="no readable checkpoint"):
        run(path, 3)


def test_foreign_files_say_so(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(net().state_dict(), path)
    with pytest.raises(ValueError, match="was not written by genmodels.train"):
        run(path, 3)
    with pytest.raises(ValueError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "none.pt")


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"format": checkpoint.FORMAT, "model": Bomb()}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="no readable checkpoint"):
        load_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "ran").exists()


def test_another_model_is_named(tmp_path):
    path = tmp_path / "model.pt"
    run(path, 2)
    with pytest.raises(ValueError, match=r"another model: 0.weight has shape \(4, 3\) there and \(6, 3\) here; 0.bias"):
        run(path, 3, net(6))
    with pytest.raises(ValueError, match=r"\(and 1 more\)"):
        run(path, 3, nn.Sequential(*net(), nn.Linear(3, 3), nn.Linear(3, 3)))
    with pytest.raises(ValueError, match="3.weight is missing there"):
        run(path, 3, nn.Sequential(*net(), nn.Linear(3, 3)))
    with pytest.raises(ValueError, match="2.weight is unknown here"):
        run(path, 3, net()[:2])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 4}, "was trained with seed = 0, not 4: use that, or resume=False"),
        ({"optimizer": "sgd"}, "optimizer = 'adamw', not 'sgd'"),
        ({"ema": 0.9}, "ema = None, not 0.9"),
        ({"accumulate": 2}, "accumulate = 1, not 2"),
        ({"precision": "bf16-mixed"}, "precision = '32-true', not 'bf16-mixed'"),
    ],
)
def test_other_settings_are_not_resumed(change, sentence, tmp_path):
    path = tmp_path / "model.pt"
    run(path, 2)
    with pytest.raises(ValueError, match=sentence):
        run(path, 3, **change)
    assert run(path, 3, **change, resume=False).step == 3


def test_a_checkpoint_is_one_dict_and_gives_a_model_back(tmp_path):
    path = tmp_path / "deep" / "model.pt"
    state = run(path, 5, ema=0.5)
    content = torch.load(path, weights_only=True)
    want = {"model", "ema", "optimizer", "schedule", "step", "random", "settings", "samples", "seconds", "loss", "lr"}
    assert set(content) == want | {"format"}
    assert set(content["random"][0]) == {"python", "numpy", "torch"}
    average, online = restore_weights(path, net()), restore_weights(path, net(), average=False)
    assert torch.equal(average[0].weight, state.ema()[0].weight)
    assert torch.equal(online[0].weight, state.model[0].weight)
    assert not torch.equal(online[0].weight, average[0].weight)
    assert not average.training


# --- streams --------------------------------------------------------------------------------------------------------


def test_seeds_differ_by_rank_and_reach_every_stream():
    import random

    import numpy as np

    def draws(seed, rank):
        seed_everything(seed, rank)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert draws(1, 0) == draws(1, 0)
    numbers = [x for seed in (1, 2) for rank in (0, 1) for x in draws(seed, rank)]
    assert len(set(numbers)) == len(numbers)


def test_streams_continue_and_leave_the_callers_alone():
    cpu = torch.device("cpu")
    torch.manual_seed(3)
    outer = torch.get_rng_state()
    streams = Streams(cpu, 5, 0)
    with streams:
        first = torch.rand(3)
    assert torch.equal(outer, torch.get_rng_state())
    saved = streams.state_dict()
    with streams:
        second = torch.rand(3)
    other = Streams(cpu, 6, 0)
    other.load_state_dict(saved)
    with other:
        assert torch.equal(torch.rand(3), second)
    assert not torch.equal(first, second)
