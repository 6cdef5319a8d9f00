"""The warm parent in a sandbox: imports everything once, then forks one supervised body for each submission.

It reads one request a datagram from standard input, with four descriptors: the instructor's line to the body, the
line between judge and student, where raw output goes, and the instructor's line to the keeper. It never runs a line
of a student's, and it has a single thread when it forks.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import random
import signal
import socket
import sys
import warnings
from collections.abc import Callable

REQUEST_MAX = 1 << 20
SEED = 20_240
LESSON = [
    "import torch\nlayer = torch.nn.Linear(2, 2); o = torch.optim.Adam(layer.parameters())\n"
    "layer(torch.ones(1, 2)).sum().backward(); o.step()",
    "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.imshow([[1]]); plt.title('x'); plt.show()",
    "1/0",
]


def warm(modules: list[str]) -> None:
    """Import what chapters use, and what running a typical cell imports behind one's back."""
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(1)
    for name in ("matplotlib.pyplot", "matplotlib_inline.backend_inline", "ipywidgets", *modules):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    from autograde.grading.inside.executor import make_shell

    make_shell()
    for name in _learn():
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    warnings.resetwarnings()
    gc.collect()
    gc.freeze()


def _learn() -> list[str]:
    """Names of the modules that a throw-away child had to import to run a plain lesson."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            from autograde.grading.inside.executor import Shell

            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (1, 2):
                os.dup2(null, descriptor)
            for cell in LESSON:
                Shell.instance().run_cell(cell, silent=True)
            os.write(writer, "\n".join(sys.modules).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        names = file.read().decode().split("\n")
    os.waitpid(pid, 0)
    return [name for name in names if name and name not in sys.modules and not name.startswith("__")]


def body(config: dict, descriptors: list[int], enter_role: Callable) -> Callable[[], None]:
    """What the forked process does: tidy descriptors, enter the jail, run cells."""

    def run() -> None:
        control, peer, raw = descriptors
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        control, peer = os.dup(control) + 0, os.dup(peer)
        kept = [os.dup2(fd, slot, inheritable=False) for fd, slot in ((control, 100), (peer, 101))]
        for fd, slot in ((null, 0), (raw, 1), (raw, 2)):
            os.dup2(fd, slot)
        os.closerange(3, 100)
        os.closerange(102, 4096)
        for name in ("work", "home"):
            os.makedirs(os.path.join(config["scratch"], name), exist_ok=True)
            if config["rules"]["uid"] is not None:
                os.chown(os.path.join(config["scratch"], name), config["rules"]["uid"], config["rules"]["uid"])
        home = os.path.join(config["scratch"], "home")
        os.environ.update(HOME=home, TMPDIR=config["scratch"], IPYTHONDIR=home, MPLCONFIGDIR=home)
        os.chdir(os.path.join(config["scratch"], "work"))
        faulthandler.enable(file=2)
        from autograde.grading.inside import jail
        from autograde.grading.student import reach

        reach.withhold(config["withheld"])
        jail.enter(jail.Rules(**config["rules"]))
        seed()
        enter_role(socket.socket(fileno=kept[0]), socket.socket(fileno=kept[1]))

    return run


def library_files(library: str | None, hidden: list[str]) -> tuple[list[str], list[str]]:
    """The library's files that may be read, one by one, and its folders, which may be listed.

    Left out are the files that define withheld answers: they are imported already, and their text is not for students.
    """
    from autograde.grading.student import reach

    modules = {getattr(reach.find(name), "__module__", "") for name in hidden}
    secret = {getattr(sys.modules.get(module), "__file__", None) for module in modules}
    stems = {(os.path.dirname(path), os.path.basename(path).split(".")[0]) for path in secret if path}
    files, folders = [], []
    for path, _, names in os.walk(library or ""):
        folders.append(path)
        home = os.path.dirname(path) if os.path.basename(path) == "__pycache__" else path
        files += [os.path.join(path, name) for name in names if (home, name.split(".")[0]) not in stems]
    return files, folders


def seed() -> None:
    """The same random numbers in every grading run: a grade must not depend on luck."""
    import numpy
    import torch

    random.seed(SEED)
    numpy.random.seed(SEED)
    torch.manual_seed(SEED)


def main() -> None:
    """Warm up, say so, and fork on request until the instructor is gone."""
    config = json.loads(sys.argv[1])
    # -P keeps the current folder off the path; nothing writable may ever be on it
    warm(config["modules"])
    role = importlib.import_module(config["role"])
    importlib.import_module("autograde.grading.inside.jail")
    files, folders = library_files(config["library"], config["withheld"])
    requests = socket.socket(fileno=os.dup(0))
    threads = len(os.listdir("/proc/self/task"))
    requests.send(json.dumps({"ready": threads == 1, "threads": threads}).encode())
    from autograde.grading.inside.keeper import keep

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:
        data, descriptors, *_ = socket.recv_fds(requests, REQUEST_MAX, 4)
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break
        if not data:
            return
        request = json.loads(data)
        if os.fork() == 0:
            requests.close()
            *passed, owner = descriptors
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            request["fds"] = passed
            request["withheld"] = config["withheld"]
            request["rules"]["read"] += files
            request["rules"]["list_only"] = folders
            keep(socket.socket(fileno=owner), request, body(request, passed, role.enter))
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    main()
