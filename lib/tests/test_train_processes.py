"""Several processes and several machines, on one: equal replicas, one report, one clock."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent

# A flow whose normalisation starts from its first batch, which is another one in each process; then the same without
# the mending, and a limit in time that the processes' own clocks would pass at different steps.
SCRIPT = """
import itertools, os, sys, torch
from unittest.mock import patch
from genmodels.flows import glow
from genmodels.train import loop, minibatches, train

data = torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 3 + 1
def run(name, clock=None, **more):
    torch.manual_seed(0)
    flow = glow((1, 4, 4), levels=1, depth=1, width=4)
    how = dict(accelerator="cpu", devices=2, progress=False) | more
    with patch.object(loop.time, "perf_counter", clock or loop.time.perf_counter):
        for state in train(flow, lambda f, x: -f.log_prob(x), minibatches(data, 8, world=2), **how):
            pass
    rank = torch.distributed.get_rank()
    torch.save({"step": state.step, "loss": state.loss, "weights": flow.state_dict()}, f"{name}-{rank}.pt")

run("mended", steps=3)
with patch.object(loop, "make_equal", lambda modules: None):
    run("apart", steps=3)
ticks = itertools.count(step=1 + torch.distributed.get_rank())
run("clock", clock=lambda: next(ticks), steps=10_000, seconds=200.0)
torch.distributed.destroy_process_group()
"""


def environment(**more):
    inherited = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK")}
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | more


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    (folder / "own.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "own.py"], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return lambda name: [torch.load(folder / f"{name}-{rank}.pt") for rank in range(2)]


def replicas_are_equal(first, second):
    assert first["loss"] == second["loss"]
    assert all(torch.equal(first["weights"][key], second["weights"][key]) for key in first["weights"])


def test_what_starts_from_data_starts_alike_in_every_process(two_processes):
    replicas_are_equal(*two_processes("mended"))


def test_oracle_of_replicas_catches_starts_of_their_own(two_processes):
    with pytest.raises(AssertionError):
        replicas_are_equal(*two_processes("apart"))


def test_processes_stop_at_the_same_step(two_processes):
    first, second = two_processes("clock")
    assert first["step"] == second["step"]
    assert first["step"] % 20 == 0
    assert 0 < first["step"] < 200


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_one_process_of_many_machines_reports(tmp_path):
    """Two machines with one process each, as a cluster starts them: both have the local rank 0."""
    script = tmp_path / "own.py"
    lines = f"import sys; sys.path.insert(0, {str(HERE)!r}); import test_train_cli as tests\n"
    lines += "from genmodels.train.__main__ import main\nfrom genmodels.train.registry import add_recipe\n"
    script.write_text(lines + "add_recipe(tests.tiny()); sys.exit(main(sys.argv[1:]))\n")
    words = "tiny --steps 3 --devices 1 --nodes 2 --accelerator cpu --out run".split()
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    machines = [
        subprocess.Popen(
            [sys.executable, str(script), *words], cwd=tmp_path, env=environment(NODE_RANK=str(node), **there),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for node in range(2)
    ]  # fmt: skip
    said = [machine.communicate() for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert ["tiny (laptop" in out for out, _ in said] == [True, False]
