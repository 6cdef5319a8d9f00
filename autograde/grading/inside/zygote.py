"""The warm parent in its sandbox: imports everything once, then forks supervised bodies, two for each submission.

It reads one request a datagram from standard input, with four descriptors: the instructor's line to the body, the
line between judge and student, where raw output goes, and the instructor's line to whoever supervises the body: this
process itself where namespaces are to be had, else a keeper in between. It never runs a line of a student's, and it
has a single thread when it forks.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import itertools
import json
import linecache
import os
import random
import socket
import sys
import warnings
from collections.abc import Callable

REQUEST_MAX = 1 << 20
SEED = 20_240
ROLES = {"student": "autograde.grading.student.serve", "judge": "autograde.grading.judge.main"}
LESSON = "1/0"  # an error is what no reference shows, and what students will see


def basics() -> None:
    """Import what every chapter needs; the chapter itself may not be known yet."""
    import torch

    torch.set_num_threads(1)
    from autograde.grading.inside.executor import make_shell

    make_shell()


def warm(modules: list[str]) -> None:
    """Import what this chapter names, and what showing an error takes."""
    warnings.filterwarnings("ignore")
    learned = _learn(LESSON)  # on another processor, while this one imports
    acquire(modules)
    acquire(learned())
    warnings.resetwarnings()


def acquire(modules: list[str]) -> None:
    """Import these once for all who will be forked; what is no module, or does not import by itself, is left out."""
    gc.disable()  # nothing made by an import is ever garbage
    for name in modules:
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001  a list of names was asked for, not a program
                continue
    linecache.clearcache()  # each child would have to, for the text of withheld answers, and pay for the pages
    gc.freeze()  # the children's collector leaves these pages alone: they stay shared
    gc.enable()


def _learn(lesson: str) -> Callable[[], list[str]]:
    """Have a throw-away child run this cell; asked later, the names of the modules that it had to import for it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            from autograde.grading.inside.executor import Shell

            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (1, 2):
                os.dup2(null, descriptor)
            Shell.instance().run_cell(lesson, silent=True)
            os.write(writer, "\n".join(sys.modules).encode())
        finally:
            os._exit(0)
    os.close(writer)

    def learned() -> list[str]:
        with os.fdopen(reader, "rb") as file:
            names = file.read().decode().split("\n")
        os.waitpid(pid, 0)
        return [name for name in names if name and name not in sys.modules and not name.startswith("__")]

    return learned


def body(config: dict, descriptors: list[int], enter_role: Callable) -> Callable[[int], None]:
    """What the forked process does: tidy descriptors, enter the jail, run cells."""

    def run(trouble: int) -> None:
        control, peer, raw = (os.dup(descriptor) for descriptor in descriptors)
        os.setsid()
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # where memory runs out, a submission is the first that the kernel ends
        if config.get("cpu") is not None:
            os.sched_setaffinity(0, {config["cpu"]})
        for fd, slot in ((os.open(os.devnull, os.O_RDWR), 0), (raw, 1), (raw, 2)):
            os.dup2(fd, slot)
        kept = sorted((control, peer, trouble))
        for start, end in zip([2, *kept], [*kept, 1 << 16], strict=True):
            os.closerange(start + 1, end)
        for name in ("work", "home"):
            os.makedirs(os.path.join(config["scratch"], name), exist_ok=True)
            if config["rules"]["uid"] is not None:
                os.chown(os.path.join(config["scratch"], name), config["rules"]["uid"], config["rules"]["uid"])
        home = os.path.join(config["scratch"], "home")
        os.environ.update(HOME=home, TMPDIR=config["scratch"], IPYTHONDIR=home, MPLCONFIGDIR=home)
        os.chdir(os.path.join(config["scratch"], "work"))
        faulthandler.enable(file=2)
        from autograde.grading.inside import jail, namespaces, reach

        reach.withhold(config["withheld"])
        jail.enter(jail.Rules(**config["rules"]))
        namespaces.die_with_parent()
        seed()
        os.close(trouble)
        enter_role(socket.socket(fileno=control), socket.socket(fileno=peer))

    return run


def library_files(libraries: list[str], hidden: list[str]) -> tuple[list[str], list[str]]:
    """The files of the course's libraries that may be read, one by one, and their folders, which may be listed.

    Left out are the files that define withheld answers: they are imported already, and their text is not for students.
    """
    from autograde.grading.inside import reach

    modules = {getattr(reach.find(name), "__module__", "") for name in hidden}
    secret = {getattr(sys.modules.get(module), "__file__", None) for module in modules}
    stems = {(os.path.dirname(path), os.path.basename(path).split(".")[0]) for path in secret if path}
    files, folders = [], []
    for path, _, names in itertools.chain.from_iterable(map(os.walk, libraries)):
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
    torch.default_generator.manual_seed(SEED)  # torch.manual_seed also notes it for a GPU, in fifty times as long


def main() -> None:
    """Warm up, hear about the chapter, say when ready, and fork on request until the instructor is gone."""
    requests = socket.socket(fileno=os.dup(0))
    gc.disable()
    basics()
    roles = {name: importlib.import_module(module) for name, module in ROLES.items()}
    importlib.import_module("autograde.grading.inside.jail")
    message = requests.recv(REQUEST_MAX)
    if not message:
        return
    config = json.loads(message)
    warm(config["modules"])
    files, folders = library_files(config["libraries"], config["withheld"])
    threads = len(os.listdir("/proc/self/task"))
    requests.send(json.dumps({"ready": threads == 1, "threads": threads}).encode())
    from autograde.grading.inside.namespace_supervisor import NamespaceSupervisor

    warden = NamespaceSupervisor(requests)
    ids = os.getuid(), os.getgid()
    while True:
        warden.wait()
        data, descriptors, *_ = socket.recv_fds(requests, REQUEST_MAX, 4)
        if not data:
            return
        request = json.loads(data)
        if "import" in request:
            acquire(request["import"])
            continue
        *passed, owner = descriptors
        request["fds"], request["ids"] = passed, ids
        student = request["role"] == "student"
        request["withheld"] = config["withheld"] if student else []
        request["rules"]["read"] += files if student else config["libraries"]
        request["rules"]["list_only"] += folders
        run = body(request, passed, roles[request["role"]].enter)
        if request["namespaces"]:
            warden.fork(socket.socket(fileno=owner), request, run)
        else:
            warden.keep(socket.socket(fileno=owner), request, run)
        for descriptor in passed:
            os.close(descriptor)


if __name__ == "__main__":
    main()
