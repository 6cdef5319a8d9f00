"""The command line: two processes are one, bad settings stop with a sentence, weights go out and come back."""

import math
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import nn

from genmodels.train import batches
from genmodels.train.__main__ import main
from genmodels.train.checkpoint import load_checkpoint
from genmodels.train.loop import Run
from genmodels.train.pretrained import load_pretrained, pretrained_names, save_pretrained
from genmodels.train.recipe import GanRecipe, Profile, Recipe
from genmodels.train.recipes import vqgan
from genmodels.train.registry import add_recipe, all_recipes, find_recipe
from genmodels.train.settings import Settings

SIZES = {"laptop": 7, "gpu": 9}


class Tiny(nn.Module):
    """With a mask that the constructor makes and a counter that it does not."""

    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 5))
        self.register_buffer("mask", torch.ones(5))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.seen += 1
        return (self.body(x) * self.mask - x).square().sum(1)


def rows():
    if "COUNT_LOADS" in os.environ:
        Path(os.environ["COUNT_LOADS"]).touch()
    return torch.randn(23, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def held_out(model):
    return model(rows().float()).mean().item()


def tiny(optimizer="adam"):
    settings = Settings(steps=40, lr=0.02, optimizer=optimizer, precision="64-true", accelerator="cpu", ema=0.9)
    profiles = {name: Profile(lambda width=width: Tiny(width), 6, settings) for name, width in SIZES.items()}
    loss = lambda model, x: model(x)
    return Recipe("tiny", "for the tests", rows, loss, held_out, "squared error", profiles)


@pytest.fixture(autouse=True)
def with_tiny():
    add_recipe(tiny())
    yield
    del all_recipes()["tiny"]


def weights_at(folder):
    state = load_checkpoint(folder / "checkpoint.pt")
    return torch.cat([state["model"][key].reshape(-1) for key in sorted(state["model"])]), state


# Children run a script that adds this file's recipe, as a user's own recipe would be run. It trains once for each line
# of its arguments, after the edit that the line's first word names, so that the processes start once for all tests.
SCRIPT = """
import sys
sys.path.insert(0, {here!r})
import test_train_cli as tests
import torch
from unittest.mock import patch
from genmodels.train.__main__ import main
from genmodels.train.registry import add_recipe
add_recipe(tests.tiny())
for line in {lines!r}:
    edit, *words = line.split()
    # One group of processes serves all lines: making it anew would race with its predecessor's last messages.
    with tests.EDITS[edit](), patch("torch.distributed.destroy_process_group"):
        status = main(["tiny", "--devices", "2", *words])
    if status:
        sys.exit(status)
torch.distributed.destroy_process_group()
"""


def same_rows():
    honest = batches.Minibatches.__call__
    return patch.object(batches.Minibatches, "__call__", lambda self, step, rank=0: honest(self, step, 0))


def no_reduction():
    ddp = nn.parallel.DistributedDataParallel
    return patch.object(ddp, "forward", lambda self, *args, **names: self.module(*args, **names))


EDITS = {"honest": nullcontext, "same_rows": same_rows, "no_reduction": no_reduction}


def run_script(folder, lines, launcher=()):
    script = folder / "own.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), lines=lines))
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    done = subprocess.run(
        [sys.executable, *launcher, str(script)],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def by_fabric(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fabric")
    done = run_script(folder, [f"{edit} --steps 25 --out {edit}" for edit in EDITS])
    assert done.stderr == ""  # no banner
    return folder


def two_processes_are_one(folder, tmp_path):
    assert main(["tiny", "--out", str(tmp_path), "--steps", "25"]) == 0
    (a, state_a), (b, state_b) = weights_at(tmp_path), weights_at(folder)
    assert torch.allclose(a, b, atol=1e-6, rtol=0)
    assert state_a["samples"] == state_b["samples"] == 150
    assert state_a["loss"] == pytest.approx(state_b["loss"], abs=1e-6)
    assert len(state_b["random"]) == 2
    assert not torch.equal(state_b["random"][0]["torch"][0], state_b["random"][1]["torch"][0])


def test_two_processes_are_one(by_fabric, tmp_path):
    two_processes_are_one(by_fabric / "honest", tmp_path)


@pytest.mark.parametrize("sabotage", ["same_rows", "no_reduction"])
def test_two_process_oracle_catches(sabotage, by_fabric, tmp_path):
    with pytest.raises(AssertionError, match="allclose"):
        two_processes_are_one(by_fabric / sabotage, tmp_path)


def test_torchrun_starts_the_processes_and_resume_continues(tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run_script(tmp_path, ["honest --steps 4 --out run", "honest --steps 7 --out run --resume"], launcher)
    reports = [line for line in done.stdout.splitlines() if line.startswith("tiny (laptop")]
    assert ["step 4" in reports[0], "step 7" in reports[1]] == [True, True]
    assert len(reports) == 2  # one of the two processes reports
    assert main(["tiny", "--out", str(tmp_path / "one"), "--steps", "7"]) == 0
    assert torch.allclose(weights_at(tmp_path / "one")[0], weights_at(tmp_path / "run")[0], atol=1e-6, rtol=0)


def test_the_loss_falls_and_the_report_says_so(tmp_path, capsys):
    assert main(["tiny", "--out", str(tmp_path), "--steps", "200"]) == 0
    out = capsys.readouterr().out
    assert "tiny (laptop, 82 parameters): step 200" in out
    losses = [
        float(word) for word in out.split("loss ")[1].replace(",", "").split() if "." in word and word[0].isdigit()
    ]
    assert losses[1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("tinny", r"there is no recipe 'tinny': use one of .*tiny"),
        ("tiny --profile huge", "tiny has no profile 'huge': use one of gpu, laptop"),
        ("tiny --devices 4", "a batch of 6 does not split evenly over 4 processes: use 4"),
        ("tiny --nodes 5", "a batch of 6 does not split evenly over 5 processes: use 5"),
        ("tiny --precision fp8", "unknown precision 'fp8': use one of 32-true, bf16-mixed, 64-true"),
        ("tiny --accelerator abacus", "unknown accelerator 'abacus'"),
        ("tiny --steps 0", "steps must be a whole number of at least 1; got 0"),
        ("tiny --seconds -1", "seconds must be positive"),
        ("tiny --batch 0", "batch must be a whole number of at least 1"),
        ("tiny --resume", "no .*checkpoint.pt to resume"),
        ("tiny --checkpoint-every 0", "checkpoint_every must be a whole number"),
    ],
)
def test_bad_settings_stop_before_anything_loads(words, sentence, tmp_path, capsys, monkeypatch):
    loaded = tmp_path / "loaded"
    monkeypatch.setenv("COUNT_LOADS", str(loaded))
    assert main([*words.split(), "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert re.search(sentence, err), err
    assert not loaded.exists()
    assert main(["tiny", "--steps", "1", "--out", str(tmp_path / "run")]) == 0
    assert loaded.exists()


def test_a_finished_run_is_not_overwritten(tmp_path, capsys):
    assert main(["tiny", "--steps", "2", "--out", str(tmp_path)]) == 0
    assert main(["tiny", "--steps", "2", "--out", str(tmp_path)]) == 2
    assert "exists: continue it with --resume" in capsys.readouterr().err


# --- weights that come with the library ------------------------------------------------------------------------------


def test_export_and_load_are_one_model(tmp_path, capsys):
    folder = tmp_path / "weights"
    assert main(["tiny", "--profile", "gpu", "--steps", "50", "--out", str(tmp_path), "--export", str(folder)]) == 0
    metric = float(capsys.readouterr().out.split("squared error: ")[1].split(";")[0])
    model = load_pretrained("tiny", folder=folder)
    assert held_out(model) == pytest.approx(metric, abs=1e-4)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    for name, p in model.named_parameters():
        average = state["ema"][f"module.{name}"].float()
        assert p.dtype == torch.float32
        assert torch.allclose(p, average, rtol=2**-10, atol=1e-6)  # float16 keeps 11 bits
        assert not torch.allclose(p, state["model"][name].float(), rtol=2**-10, atol=1e-6)
    assert int(model.seen) == 50
    assert not model.training
    table = (folder / "README.md").read_text()
    assert "| tiny | `python -m genmodels.train tiny --profile gpu --steps 50 --export` | squared error: " in table
    assert f" | {(folder / 'tiny.safetensors').stat().st_size} | " in table
    assert pretrained_names(folder) == ["tiny"]


def export(model, folder, name="tiny"):
    return save_pretrained(
        model, name, recipe="tiny", profile="laptop", command="x", metric_name="m", metric=held_out, folder=folder
    )


def test_weights_that_cannot_be_trusted_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no pretrained model 'tiny': use one of none here yet"):
        load_pretrained("tiny", folder=tmp_path)
    export(Tiny(7), tmp_path)
    export(Tiny(7), tmp_path, "other")
    with pytest.raises(ValueError, match="no pretrained model 'tidy': use one of other, tiny"):
        load_pretrained("tidy", folder=tmp_path)
    path = tmp_path / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tiny.safetensors is not the file that .*README.md lists"):
        load_pretrained("tiny", folder=tmp_path)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    wide = Tiny(7)
    with torch.no_grad():
        wide.body[0].weight[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"body.0.weight hold numbers that float16 cannot"):
        export(wide, tmp_path)
    wide = Tiny(7)
    wide.body = nn.Linear(5, 400_000)
    with pytest.raises(ValueError, match=r"takes \d+ bytes; at most 3000000"):
        export(wide, tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_shipped_file_is_in_the_table_and_loads():
    for name in pretrained_names():
        assert next(load_pretrained(name).parameters()).isfinite().all()


def test_names_are_unique():
    with pytest.raises(ValueError, match="two recipes are called 'tiny'"):
        add_recipe(find_recipe("tiny"))


@pytest.mark.parametrize("name", sorted(all_recipes()))
def test_every_recipe_is_complete(name):
    recipe = find_recipe(name)
    assert {"smoke", "laptop", "gpu"} <= set(recipe.profiles)
    assert recipe.about
    assert recipe.metric_name


@pytest.mark.parametrize("name", sorted(all_recipes()))
def test_every_smoke_profile_trains(name, tmp_path):
    recipe = find_recipe(name)
    settings = replace(recipe.profile("smoke").settings, steps=24, warmup=0, accelerator="cpu")
    states, path = [], tmp_path / "checkpoint.pt"
    for state in recipe.start("smoke", Run(settings, path, 16, resume=False, progress=False)):
        states.append(state)
        if state.step == 16:
            halfway = path.read_bytes()
    losses = [state.loss for state in states]
    for cached in (vqgan._judge, batches._permutation):  # a resumed run is another process, which has loaded nothing
        cached.cache_clear()
    path.write_bytes(halfway)
    *_, resumed = recipe.start("smoke", Run(settings, path, 16, progress=False))
    assert resumed.loss == losses[-1], "resumed bit for bit"
    for a, b in zip(resumed.ema().state_dict().values(), states[-1].ema().state_dict().values(), strict=True):
        assert torch.equal(a, b), "resumed bit for bit"
    assert all(math.isfinite(loss) for loss in losses)
    if not isinstance(recipe, GanRecipe):  # two players need not both gain
        assert sum(losses[-5:]) < sum(losses[:5])
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in states[-1].model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", sorted(all_recipes()))
def test_every_recipe_runs_in_bf16(name):
    recipe = find_recipe(name)
    settings = replace(recipe.profile("smoke").settings, steps=2, warmup=0, accelerator="cpu", precision="bf16-mixed")
    assert all(math.isfinite(state.loss) for state in recipe.start("smoke", Run(settings, progress=False)))


def test_a_recipe_with_two_players_needs_both():
    with pytest.raises(ValueError, match="needs critic_loss"):
        GanRecipe("x", "", rows, None, None, "", {})
    with pytest.raises(ValueError, match="no critic for the profiles smoke"):
        GanRecipe("x", "", rows, None, None, "", {"smoke": None}, critic_loss=held_out)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(all_recipes()))
def test_every_recipe_is_exported_and_measured(name, tmp_path, capsys):
    words = [name, "--profile", "smoke", "--steps", "2", "--accelerator", "cpu", "--out", str(tmp_path)]
    assert main([*words, "--export", str(tmp_path)]) == 0
    assert f"{find_recipe(name).metric_name}: " in capsys.readouterr().out
    assert f"| {name} | " in (tmp_path / "README.md").read_text()
