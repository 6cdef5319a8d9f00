# ruff: noqa: E501  cells are quoted here in few lines
"""Memory that no process shows as its own: counted, or not to be had; and a submission is the kernel's first victim."""

from dataclasses import replace

import pytest

from autograde.tests.test_grading_split import DOUBLE, LIMITS, chapter, points, pool, run  # noqa: F401  pool is a fixture

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
TIGHT = replace(LIMITS, memory=900 << 20)
# Each tries to hold several gigabytes; `got` says how much it believes to have.
HOARDS = {
    "large buffers of sockets": (
        "import socket\n    kept = []\n    for _ in range(60):\n        a, b = socket.socketpair(); a.setblocking(False)\n"
        "        a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 27); b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 27)\n"
        "        kept.append((a, b))\n        try:\n            while True: got += a.send(b'x' * 65536)\n        except OSError: pass"
    ),
    "sockets of many processes": (
        "import socket, os, time\n    for _ in range(60):\n        if os.fork() == 0:\n            kept = []\n            for _ in range(240):\n"
        "                a, b = socket.socketpair(); a.setblocking(False); kept.append((a, b))\n                try:\n"
        "                    while True: a.send(b'x' * 65536)\n                except OSError: pass\n"
        "            time.sleep(60); os._exit(0)\n    time.sleep(12); got = 60 * 240 * 200_000"
    ),
    "sockets inside sockets": (
        "import socket\n    kept = []\n    while got < 3 << 30:\n        a, b = socket.socketpair(); a.setblocking(False)\n"
        "        try:\n            while True: got += a.send(b'x' * 65536)\n        except OSError: pass\n"
        "        c, d = socket.socketpair(); socket.send_fds(c, [b'x'], [a.fileno(), b.fileno()]); kept.append((c, d)); a.close(); b.close()"
    ),
    "large pipes": (
        "import os, fcntl\n    for _ in range(200):\n        r, w = os.pipe(); os.set_blocking(w, False)\n        fcntl.fcntl(w, 1031, 1 << 20)\n"
        "        try:\n            while True: got += os.write(w, b'x' * 65536)\n        except OSError: pass"
    ),
    "page tables": (
        "import mmap, time\n    kept = []\n    for _ in range(40):\n        m = mmap.mmap(-1, 1 << 34, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)\n"
        "        m.madvise(mmap.MADV_NOHUGEPAGE) if hasattr(mmap, 'MADV_NOHUGEPAGE') else None\n        kept.append(m)\n"
        "        for at in range(0, 1 << 34, 1 << 21): m[at]\n        got += 8192 * 4096\n    time.sleep(3)\n    got *= 8"
    ),
    "shared memory that nobody shows": (
        "import mmap, time\n    kept = []\n    for _ in range(24):\n        m = mmap.mmap(-1, 64 << 20)\n"
        "        for at in range(0, 64 << 20, 4096): m[at] = 1\n        m.madvise(mmap.MADV_DONTNEED); kept.append(m); got += 64 << 20\n    time.sleep(5)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOARDS)
def test_memory_that_is_nobodys_is_counted_or_not_to_be_had(pool, name, monkeypatch):  # noqa: F811
    monkeypatch.setattr(pool, "limits", TIGHT)
    answer = f"def f(x):\n    got = 0\n    {HOARDS[name]}\n    return got"
    (test,) = run(pool, chapter("def f(x): return 0", "assert f(1) < 400 << 20, f(1)"), answer, limits=TIGHT).tests
    refused = ("PermissionError", "OSError")
    assert test.points == 4 or "out of memory" in test.evalue or test.ename in refused, test


def test_what_honest_notebooks_do_with_sockets_and_pipes_still_works(pool):  # noqa: F811
    answer = (
        "import asyncio, os, socket, subprocess, multiprocessing as mp\n"
        "def f(x):\n    a, b = socket.socketpair(); a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)\n"
        "    a.sendall(b'hello'); r, w = os.pipe(); os.write(w, b.recv(5))\n"
        "    assert os.read(r, 5) == b'hello' and subprocess.run(['echo', 'a'], capture_output=True).stdout == b'a\\n'\n"
        "    p, q = mp.Pipe(); p.send([1, 2]); assert q.recv() == [1, 2]\n"
        "    loop = asyncio.new_event_loop(); loop.run_until_complete(asyncio.sleep(0)); loop.close()\n    return 2 * x"
    )
    got, why = points(pool, DOUBLE, "assert f(2) == 4", answer)
    assert got == 4, why


def test_a_submission_is_the_first_that_the_kernel_ends_and_cannot_change_that(pool):  # noqa: F811
    answer = (
        "def f(x):\n    try: open('/proc/self/oom_score_adj', 'w').write('-900')\n    except OSError: pass\n"
        "    return int(open('/proc/self/oom_score_adj').read())"
    )
    got, why = points(pool, "def f(x): return 1000", "assert f(1) == 1000, f(1)", answer)
    assert got == 4, why
