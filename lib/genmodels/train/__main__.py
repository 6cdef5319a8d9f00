"""``python -m genmodels.train NAME --profile gpu``: train one model of the course, on one device or many."""

from __future__ import annotations

import argparse
import copy
import sys
from dataclasses import replace
from pathlib import Path

import torch

from genmodels.core import parameter_count, require
from genmodels.train.loop import Run, State
from genmodels.train.pretrained import FOLDER, load_pretrained, save_pretrained
from genmodels.train.recipe import Recipe
from genmodels.train.registry import all_recipes, find_recipe
from genmodels.train.settings import PRECISIONS, Settings, check_batch

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {recipe.name:<16} {recipe.about}" for _, recipe in sorted(all_recipes().items()))
    parser = argparse.ArgumentParser(
        prog="python -m genmodels.train",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
        epilog=f"models:\n{names}\n\nSeveral devices: --devices N starts the processes itself; under torchrun give the "
        "same\nnumbers. Every option left out is the profile's.",
    )
    parser.add_argument("name", help="the model (see below)")
    parser.add_argument("--profile", default="laptop", help="smoke (seconds), laptop (minutes on 2 cores), gpu")
    parser.add_argument("--steps", type=int, help="updates of the optimiser; the warm-up shrinks to at most a tenth")
    parser.add_argument("--batch", type=int, help="global batch, over all devices")
    parser.add_argument("--seconds", type=float, help="stop after so much wall time")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--devices", type=int, help="processes on each node")
    parser.add_argument("--nodes", type=int, dest="num_nodes", help="number of machines")
    parser.add_argument("--accelerator", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", help=", ".join(PRECISIONS))
    parser.add_argument("--threads", type=int, help="of the processor (default: all or one, whichever is faster)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="compile the model and its loss")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint (default: runs/NAME-PROFILE)")
    parser.add_argument("--checkpoint-every", type=int, default=1000, metavar="STEPS")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in the folder")
    parser.add_argument("--measure", action="store_true", help="print the metric on held-out data; --export does, too")
    parser.add_argument(
        "--export", type=Path, nargs="?", const=FOLDER, metavar="FOLDER",
        help="write the weights (the EMA's, if any) for load_pretrained, measure them, write their row of the table",
    )  # fmt: skip
    return parser


def _settings(profile: Settings, given: argparse.Namespace) -> Settings:
    """The profile's settings with what the command line says instead."""
    names = ("steps", "seconds", "seed", "devices", "num_nodes", "accelerator", "precision", "compile", "threads")
    changes = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    if given.steps is not None and given.steps > 0:
        changes["warmup"] = min(profile.warmup, given.steps // 10)
    return replace(profile, **changes)


def _prepare(given: argparse.Namespace) -> tuple[Recipe, Run]:
    """Check everything that can be checked before data or processes are loaded."""
    recipe = find_recipe(given.name).resized(given.profile, given.batch)
    profile = recipe.profile(given.profile)
    settings = _settings(profile.settings, given)
    check_batch(profile.batch, settings.world)
    checkpoint = (given.out or Path("runs") / f"{given.name}-{given.profile}") / "checkpoint.pt"
    if given.resume:
        require(checkpoint.exists(), f"there is no {checkpoint} to resume: leave --resume out, or give its --out")
    else:
        require(not checkpoint.exists(), f"{checkpoint} exists: continue it with --resume, or choose another --out")
    return recipe, Run(settings, checkpoint, given.checkpoint_every, given.resume, progress=sys.stderr.isatty())


def _report(given: argparse.Namespace, recipe: Recipe, run: Run, first: State, last: State) -> None:
    took, seen = last.seconds - first.seconds, last.samples - first.samples
    speed = ""
    if took > 0:
        work = recipe.flops(last)
        speed = f", after the first step {seen * recipe.units / took:,.0f} {recipe.unit}/s"
        speed += f" at {work / recipe.units / 1e6:,.3g} MFLOP each, {seen * work / took / 1e12:.3g} TFLOP/s"
    speed += _memory(last)
    size = f"{parameter_count(last.model):,} parameters"
    print(f"{given.name} ({given.profile}, {size}): step {last.step} in {last.seconds:.1f} s{speed}")
    stage = f" of stage {last.stage}" if last.stage > 1 else ""
    print(f"loss{stage} {first.loss:.4f} at step {first.step}, {last.loss:.4f} at step {last.step}; {run.checkpoint}")


def _memory(last: State) -> str:
    """What the training took at most, in words: of the accelerator, or of this process."""
    device = next(last.model.parameters()).device
    if device.type == "cuda":
        most, there = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
        return f"; at most {most / 2**30:.2f} of {there / 2**30:.0f} GiB of the GPU's memory"
    try:
        import resource
    except ImportError:  # Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    return f"; at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB of memory"


def _measure(recipe: Recipe, last: State) -> None:
    """The metric of the trained model (the EMA's weights, if any), on the CPU as the held-out data are."""
    model = copy.deepcopy(last.ema()).cpu().eval()
    print(f"{recipe.metric_name}: {recipe.metric(model):.4f}")
    if recipe.details is not None:
        print(recipe.details(model))


def main(arguments: list[str] | None = None) -> int:
    """Train as the command line says; the exit status is 0, or 2 after a sentence about a bad setting."""
    given = _parser().parse_args(arguments)
    try:
        recipe, run = _prepare(given)
        first = last = None
        for last in recipe.start(given.profile, run):
            first = last if first is None or first.stage != last.stage else first
        first_process = True  # the one that prints and exports
        if torch.distributed.is_initialized():
            first_process = torch.distributed.get_rank() == 0
            torch.distributed.destroy_process_group()
        if first_process:
            _report(given, recipe, run, first, last)
            if given.export is not None:
                _export(given, recipe, last)
            elif given.measure:
                _measure(recipe, last)
    except (ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _export(given: argparse.Namespace, recipe: Recipe, last: State) -> None:
    value = save_pretrained(
        last.ema(),
        given.name,
        recipe=given.name,
        profile=given.profile,
        command=" ".join(["python -m genmodels.train", *_words(given)]),
        metric_name=recipe.metric_name,
        metric=recipe.metric,
        folder=given.export,
    )
    print(f"{recipe.metric_name}: {value:.4f}; {given.export / given.name}.safetensors")
    if recipe.details is not None:
        print(recipe.details(load_pretrained(given.name, folder=given.export)))


def _words(given: argparse.Namespace) -> list[str]:
    """The options that decide the weights, as one would type them."""
    options = ("steps", "batch", "seconds", "seed", "devices", "precision")
    said = [f"--{name} {getattr(given, name)}" for name in options if getattr(given, name) is not None]
    return [given.name, f"--profile {given.profile}", *said, "--export"]


if __name__ == "__main__":
    sys.exit(main())
