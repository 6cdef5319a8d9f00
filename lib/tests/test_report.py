"""A published number comes back from a notebook as it was."""

import json

import pytest

from coursekit import report


def test_without_a_notebook_it_prints(capsys):
    report.metric("test likelihood", 91.23456, "nats", floor=80, note="90 s of training")
    assert capsys.readouterr().out == "test likelihood: 91.23 nats (floor 80), 90 s of training\n"


@pytest.mark.parametrize("value", [0.5, -3.0, float("nan"), float("inf")])
def test_in_a_notebook_it_travels_as_json(value, monkeypatch):
    import IPython
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: shown.append(bundle))
    report.metric("distance", value, "pixels")
    data = json.loads(json.dumps(shown[0][report.MIME], allow_nan=False))
    assert data["name"] == "distance" and data["unit"] == "pixels" and data["floor"] is None
    assert float(data["value"]) == value or value != value
    assert shown[0]["text/plain"].startswith("distance: ")


def test_a_number_without_a_name_is_refused():
    with pytest.raises(ValueError, match="name"):
        report.metric("", 1.0)


def test_milliseconds_is_the_least_of_several_a_piece(monkeypatch):
    clock = iter([0.0, 3.0, 10.0, 11.0, 20.0, 25.0])
    monkeypatch.setattr(report.time, "perf_counter", lambda: next(clock))
    assert report.milliseconds(lambda: None, 4) == 250
    with pytest.raises(ValueError, match="count"):
        report.milliseconds(lambda: None, 0)
