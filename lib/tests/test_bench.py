"""The benchmark's own arithmetic, and that every benchmark keeps the seam; speeds are never tested."""

import importlib
import pkgutil
import time

import pytest
import torch

from genmodels import bench
from genmodels.bench import Row, __main__, compare_times, table
from genmodels.core import generator, parameter_count

NAMES = [m.name for m in pkgutil.iter_modules(bench.__path__) if not m.name.startswith("_")]


@pytest.mark.parametrize(
    ("ours", "target", "more", "reached"),
    [(30.0, 2.0, True, True), (19.0, 2.0, True, False), (7.0, 0.8, False, True), (9.0, 0.8, False, False)],
)
def test_a_row_knows_whether_its_target_is_reached(ours, target, more, reached):
    row = Row("speed", ours, 10.0, "items/s", "rival", target=target, more_is_better=more)
    assert row.ratio == pytest.approx(ours / 10) and row.reached is reached
    assert ("NOT reached" in table([row])) is not reached
    assert Row("speed", 1.0, 2.0, "s", "rival").reached is None


def test_times_are_medians_taken_in_turns():
    calls = []
    slow = iter([0.0, 0.0, 0.5, 0.0, 0.0])  # one hiccup must not show

    def side():
        calls.append("a")
        time.sleep(next(slow))

    ours, theirs = compare_times([side, lambda: (calls.append("b"), time.sleep(0.05))], rounds=3, warm=2)
    assert "".join(calls) == "ab" * 5
    assert ours < 0.04 < theirs


def test_every_benchmark_has_run():
    assert "unet" in NAMES
    for name in NAMES:
        assert callable(importlib.import_module(f"genmodels.bench.{name}").run), name


def test_unknown_names_are_refused_with_the_choices(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["unett"])
    assert "unknown benchmark 'unett'; choose from" in capsys.readouterr().err


def test_a_rival_that_is_not_installed_is_named_and_fails(monkeypatch, capsys):
    class Module:
        @staticmethod
        def run():
            raise ModuleNotFoundError("No module named 'rival'", name="rival")

    monkeypatch.setattr(__main__.importlib, "import_module", lambda name: Module)
    threads = torch.get_num_threads()
    try:
        assert __main__.main(["unet"]) == 1
    finally:
        torch.set_num_threads(threads)
    assert "unet: not measured, rival is not installed" in capsys.readouterr().out


def test_the_unet_benchmark_compares_like_with_like(monkeypatch):
    """Same number of parameters within 5 %, and both learn the same loss."""
    pytest.importorskip("diffusers")
    from genmodels.bench import unet

    monkeypatch.setattr(unet, "BATCH", 8)
    contenders = unet.sides()
    ours, theirs = (parameter_count(model) for model, _ in contenders)
    assert abs(ours / theirs - 1) < 0.05
    pictures = torch.rand(64, 3, 16, 16, generator=generator(0))
    x0, t = pictures[:16], torch.rand(16, generator=generator(1))
    eps = torch.randn(x0.shape, generator=generator(2))
    for model, predict in contenders:
        loop = unet.training(model, predict, pictures, lambda: 0.3)
        with torch.no_grad():
            before = float(unet.flow_loss(predict, x0, t, eps))
        for _ in range(4):
            next(loop)
        with torch.no_grad():
            assert float(unet.flow_loss(predict, x0, t, eps)) < 0.97 * before


def test_the_unet_benchmark_reports_speed_and_loss(monkeypatch):
    pytest.importorskip("diffusers")
    from genmodels.bench import unet

    monkeypatch.setattr(unet, "BATCH", 4)
    monkeypatch.setattr(unet, "SECONDS", 0.3)
    speed, loss = unet.run()
    assert speed.more_is_better and speed.ours > 0 and speed.rivals > 0
    assert not loss.more_is_better and 0.3 < loss.ours < 3 and 0.3 < loss.rivals < 3  # both barely trained


def test_the_flow_loss_is_zero_for_the_exact_velocity_of_one_picture():
    from genmodels.bench.unet import flow_loss

    x0, t = torch.randn(5, 3, 4, 4, generator=generator(0)), torch.linspace(0.1, 1, 5)
    eps = torch.randn(x0.shape, generator=generator(1))
    wide = t[:, None, None, None]
    assert float(flow_loss(lambda x, _: (x - x0) / wide, x0, t, eps)) < 1e-9
    assert float(flow_loss(lambda x, _: (x0 - x) / wide, x0, t, eps)) > 1  # the sign of the velocity matters
