# ruff: noqa: E501  cells are quoted here in few lines
"""The clock that limits a test: processor time of the pair, whoever of the two has used it; the wall far behind it."""

from dataclasses import replace

import pytest

from autograde.tests.test_grading_split import DOUBLE, LIMITS, chapter, pool, run  # noqa: F401  pool is a fixture

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
BURN = "import time\ndef burn(seconds):\n    end = time.thread_time() + seconds\n    while time.thread_time() < end: pass\n"
TWO = replace(LIMITS, cell=2.0, wide=6.0)


def verdict(pool, answer, test="assert f(2) == 4", limits=TWO):  # noqa: F811
    (got,) = run(pool, chapter(DOUBLE, test), BURN + answer, limits=limits).tests
    return got.ename or got.points


def test_waiting_costs_nothing_up_to_the_wall(pool):  # noqa: F811
    """On a machine with other work a process waits as this one does: that must not change a score."""
    assert verdict(pool, "def f(x):\n    time.sleep(4)\n    return 2 * x") == 4
    assert verdict(pool, "def f(x):\n    time.sleep(60)\n    return 2 * x") == "CellTimeout"


def test_computing_is_counted_wherever_it_happens(pool):  # noqa: F811
    assert verdict(pool, "def f(x):\n    burn(0.5)\n    return 2 * x") == 4
    assert verdict(pool, "def f(x):\n    burn(8)\n    return 2 * x") == "CellTimeout"
    child = "import os\ndef f(x):\n    if os.fork() == 0: burn(8); os._exit(0)\n    os.wait()\n    return 2 * x"
    assert verdict(pool, child) == "CellTimeout"
    thread = "import threading\ndef f(x):\n    t = threading.Thread(target=burn, args=(8,)); t.start(); t.join()\n    return 2 * x"
    assert verdict(pool, thread) == "CellTimeout"


def test_the_judges_time_counts_too(pool):  # noqa: F811
    test = f"{BURN}\nassert f(lambda x: burn(0.05) or 2 * x, 2) == 4"
    made = chapter("def f(g, x): return g(x)", test)
    (once,) = run(pool, made, limits=TWO).tests
    (often,) = run(pool, made, "def f(g, x):\n    for _ in range(200): y = g(x)\n    return y", limits=TWO).tests
    assert once.points == 4 and often.points == 0 and "ran longer than 2 s" in often.evalue, often


def test_what_an_earlier_cell_used_is_not_the_tests(pool):  # noqa: F811
    made = chapter(DOUBLE, "assert f(2) == 4")
    (got,) = run(pool, made, BURN + "burn(1.5)\ndef f(x):\n    burn(1.0)\n    return 2 * x", limits=TWO).tests
    assert got.points == 4, got


def test_the_reference_is_measured_by_the_same_clock(pool):  # noqa: F811
    made = chapter(BURN + "def f(x):\n    burn(1.0)\n    return 2 * x", "assert f(2) == 4")
    assert 0.7 <= run(pool, made).slowest < 5
    made = chapter("import time\ndef f(x):\n    time.sleep(1.0)\n    return 2 * x", "assert f(2) == 4")
    known = run(pool, made).slowest
    assert known < 0.7 and replace(LIMITS, cell=0.1).fair(known).cell * LIMITS.wide >= 5
