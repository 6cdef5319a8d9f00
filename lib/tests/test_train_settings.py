"""Bad settings stop with a sentence, before a model, data or a process is touched."""

import sys

import pytest
import torch

from genmodels.train import Settings, minibatches, train


class Untouchable:
    """Stands for the model, the loss and the data: any use of it fails the test."""

    def __getattr__(self, name):
        raise AssertionError(f"{name} was used before the settings were checked")

    __call__ = None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1; got 0"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1; got 2.5"),
        ({"steps": True}, "steps must be a whole number of at least 1; got True"),
        ({"warmup": 5}, "warmup = 5 steps leave none of the 5 steps to train"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0"),
        ({"accumulate": 0}, "accumulate must be a whole number of at least 1"),
        ({"devices": 0}, "devices must be a whole number of at least 1"),
        ({"num_nodes": 0}, "num_nodes must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"lr": -1e-3}, r"lr must lie in \[0, inf\); got -0.001"),
        ({"lr": float("nan")}, "lr must lie"),
        ({"clip": 0}, "clip is the largest norm of the gradient, > 0; got 0"),
        ({"ema": 1.0}, r"ema is a decay in \[0, 1\), such as 0.999; got 1.0"),
        ({"seconds": 0}, "seconds must be positive or None; got 0"),
        ({"optimizer": "adan"}, "unknown optimizer 'adan': use one of adam, adamw, sgd"),
        ({"optimizer": 3}, "unknown optimizer 3"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': use one of constant, linear, cosine"),
        ({"precision": "16"}, "unknown precision '16': use one of 32-true, bf16-mixed, 64-true"),
        ({"accelerator": "tpu"}, "unknown accelerator 'tpu'"),
        ({"strategy": "fsdp"}, "unknown strategy 'fsdp': use one of auto, ddp"),
        ({"checkpoint": "."}, "is a folder: name a file in it"),
        ({"checkpoint_every": 0}, "checkpoint_every must be a whole number of at least 1"),
    ],
)
def test_bad_values(change, sentence):
    nothing = Untouchable()
    with pytest.raises(ValueError, match=sentence):
        train(nothing, nothing, nothing, **{"steps": 5, "accelerator": "cpu"} | change)


def test_unwritable_checkpoint(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write the checkpoint .*model.pt: .*; choose another folder"):
        train(Untouchable(), Untouchable(), Untouchable(), steps=5, checkpoint=tmp_path / "file" / "model.pt")


def fake_cuda(monkeypatch, count=1, bf16=True):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)


def test_what_the_machine_cannot_do(monkeypatch):
    fake_cuda(monkeypatch, count=0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert Settings(steps=1).hardware == "cpu"
    for name in ("cuda", "gpu", "mps"):
        with pytest.raises(ValueError, match=f"accelerator='{name}', but torch sees"):
            Settings(steps=1, accelerator=name).check_machine()
    fake_cuda(monkeypatch, count=2)
    assert Settings(steps=1).hardware == Settings(steps=1, accelerator="gpu").hardware == "cuda"
    Settings(steps=1, devices=2, precision="bf16-mixed").check_machine()
    with pytest.raises(ValueError, match="devices = 3, but this machine has 2 CUDA devices"):
        Settings(steps=1, devices=3).check_machine()
    fake_cuda(monkeypatch, bf16=False)
    with pytest.raises(ValueError, match="Old GPU has no bf16: use precision='32-true'"):
        Settings(steps=1, precision="bf16-mixed").check_machine()
    fake_cuda(monkeypatch, count=0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert Settings(steps=1).hardware == "mps"
    with pytest.raises(ValueError, match="precision '64-true' does not run on MPS"):
        Settings(steps=1, precision="64-true").check_machine()
    with pytest.raises(ValueError, match="Apple's MPS is one device"):
        Settings(steps=1, devices=2).check_machine()


def test_processes_and_their_launcher_agree(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "4")
    Settings(steps=1, accelerator="cpu", devices=2, num_nodes=2).check_machine()
    with pytest.raises(ValueError, match="torchrun started 4 processes, the settings ask for 2 devices x 1 nodes"):
        Settings(steps=1, accelerator="cpu", devices=2).check_machine()


def test_several_processes_do_not_start_in_a_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with pytest.raises(ValueError, match="2 processes cannot start inside a notebook"):
        Settings(steps=1, accelerator="cpu", devices=2).check_machine()


def test_batches_for_another_number_of_processes():
    batches = minibatches(torch.zeros(9, 1), 4, world=2)
    with pytest.raises(ValueError, match=r"cut for 2 processes, not 1: minibatches\(world=1\)"):
        train(Untouchable(), Untouchable(), batches, steps=1, accelerator="cpu")
