"""The supervisor of one submission: private namespaces, a bound on all its memory, and a clean end.

Where namespaces are to be had (inside bubblewrap) the keeper is pid 1 of the submission, with a ``/tmp``, a
``/dev/shm`` and a ``/proc`` of its own, so that its end is the end of everything that was started or written there.
Elsewhere it is the nearest subreaper. Either way what the body leaves behind becomes the keeper's child, and is killed
until nothing is left.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator

NEWNS, NEWIPC, NEWUSER, NEWPID = 0x00020000, 0x08000000, 0x10000000, 0x20000000
NOSUID, NODEV, NOEXEC, BIND, PRIVATE, RECURSIVE = 2, 4, 8, 1 << 12, 1 << 18, 1 << 14
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CLONE = {"x86_64": 56, "aarch64": 220}
TICK = 0.1  # seconds between looks at memory
FILES_MAX = 20_000  # files and folders of one submission
PAGE = os.sysconf("SC_PAGE_SIZE")

libc = ctypes.CDLL(None, use_errno=True)
python = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock during a call


def fork() -> int:
    """As ``os.fork``, but the child is pid 1 of new namespaces: pid, ipc, mount, and user where we are not root.

    ``unshare`` and then ``os.fork`` would take a second fork, each a hundredth of a second in a parent that has
    imported torch. Here the system call itself gives the child its namespaces; Python is told before and after.
    """
    flags = NEWNS | NEWIPC | NEWPID | (NEWUSER if os.getuid() else 0) | signal.SIGCHLD
    number = CLONE[platform.machine()]
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = python.syscall(*map(ctypes.c_long, (number, flags, 0, 0, 0, 0)))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, f"clone: {os.strerror(code)}")
    return pid


def name_ids(uid: int, gid: int) -> None:
    """In a user namespace of our own we are who we were outside."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount(kind: str, where: str, options: str = "") -> None:
    """A fresh file system over ``where``, seen by this submission only."""
    flags = NOSUID | NODEV | (NOEXEC if kind == "proc" else 0)
    if libc.mount(kind.encode(), where.encode(), kind.encode(), flags, options.encode()):
        raise OSError(ctypes.get_errno(), f"mount {where}")


def furnish(disk: int, ids: tuple[int, int]) -> None:
    """What pid 1 does first: its own /proc, /tmp and /dev/shm. ``ids`` are our user and group outside."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if ids[0]:
        name_ids(*ids)
    libc.mount(None, b"/", None, PRIVATE | RECURSIVE, None)
    mount("proc", "/proc")
    kept = {place: os.open(place, os.O_PATH | os.O_CLOEXEC) for place in mounted_below("/tmp")}
    mount("tmpfs", "/tmp", f"size={disk},nr_inodes={FILES_MAX},mode=1777")
    for place, descriptor in kept.items():
        put_back(descriptor, place)
    mount("tmpfs", "/dev/shm", f"size={disk},nr_inodes={FILES_MAX},mode=1777")


def mounted_below(folder: str) -> list[str]:
    """What was bound below a folder that is about to be covered: Python itself, for a course that lies in /tmp."""
    with open("/proc/self/mountinfo") as file:
        places = [line.split()[4].encode().decode("unicode_escape") for line in file]
    return sorted(place for place in places if place.startswith(folder + "/"))


def put_back(descriptor: int, place: str) -> None:
    """Bind what ``descriptor`` holds to its old place; a bind of a read-only mount is read-only too."""
    if os.path.isdir(f"/proc/self/fd/{descriptor}"):
        os.makedirs(place, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
        with open(place, "a"):
            pass
    if libc.mount(f"/proc/self/fd/{descriptor}".encode(), place.encode(), None, BIND, None):
        raise OSError(ctypes.get_errno(), f"mount {place}")
    os.close(descriptor)


def descendants(root: int) -> Iterator[int]:
    """Every process below ``root``."""
    parents: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        parents.setdefault(parent, []).append(int(name))
    todo = list(parents.get(root, []))
    while todo:
        pid = todo.pop()
        yield pid
        todo += parents.get(pid, [])


def resident(pid: int, exactly: bool = False) -> int:
    """Bytes of memory of a process: quickly and too many (pages shared with the parent included), or its fair share."""
    try:
        if not exactly:
            with open(f"/proc/{pid}/statm", "rb") as file:
                fields = file.read().split()  # [2], "shared", is no use: it holds what processes share on purpose
            return int(fields[1]) * PAGE
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(b"Pss:")) << 10
    except (OSError, StopIteration, IndexError, ValueError):
        return 0


def used_disk(folders: list[str], pids: list[int]) -> float:
    """Bytes that the submission wrote, deleted files that it holds open included; infinite for far too many files."""
    total, count, held = 0, 0, {}
    try:
        for path, below, files in (step for folder in folders for step in os.walk(folder)):
            count += len(files) + len(below)
            if count > FILES_MAX:
                return float("inf")
            for name in files:
                try:
                    total += os.lstat(os.path.join(path, name)).st_blocks * 512
                except OSError:  # gone meanwhile
                    continue
    except RecursionError:  # folders in folders in folders
        return float("inf")
    for link in (f"/proc/{pid}/fd/{n}" for pid in pids for n in _listed(f"/proc/{pid}/fd")):
        try:
            status = os.stat(link)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and not status.st_nlink:
            held[status.st_dev, status.st_ino] = status.st_blocks * 512
    return total + sum(held.values())


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


class Keeper:
    """Watches one submission until it ends, is told to end it, or its owner is gone."""

    def __init__(self, owner: socket.socket, config: dict, body: Callable[[], None]):
        self.owner, self.config, self.body = owner, config, body
        self.private = config["namespaces"]
        self.child = 0

    def start(self) -> None:
        """Furnish the namespaces and fork the body."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it would raise here; the body's own comes by `_obey`
        if self.private:
            furnish(self.config["disk"], self.config["ids"])
        else:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.child = os.fork()
        if self.child == 0:
            self.owner.close()
            try:
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                self.body()
            except BaseException as error:  # the reason must reach the instructor: this process has no other voice
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
                os._exit(70)
            os._exit(0)
        for descriptor in self.config["fds"]:
            os.close(descriptor)

    def watch(self) -> dict:
        """Until the end; says how it ended."""
        waker, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self.owner, select.POLLIN)
        poll.register(waker, select.POLLIN)
        looked, why = 0.0, None
        while True:
            ended = self._ended()
            if ended is not None:
                return ended | ({"why": why} if why else {})
            for descriptor, _ in poll.poll(TICK * 1000):
                if descriptor == waker:
                    os.read(waker, 64)
                elif not self._obey():
                    why = why or "stopped"
                    self.kill()
            if time.monotonic() - looked > TICK and why is None:
                looked = time.monotonic()
                why = self._excess()
                if why:
                    self.kill()

    def _ended(self) -> dict | None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return {"code": None}
            if pid == self.child:
                self.kill()
                return {"code": os.waitstatus_to_exitcode(status)}
            if pid == 0:
                return None

    def _obey(self) -> bool:
        try:
            order = self.owner.recv(1)
        except OSError:
            return False
        if order == b"i":
            os.kill(self.child, signal.SIGINT)
        return order == b"i"

    def _excess(self) -> str | None:
        pids = [int(n) for n in os.listdir("/proc") if n.isdigit()] if self.private else list(descendants(os.getpid()))
        if len(pids) > self.config["processes"]:
            return "processes"
        if sum(map(resident, pids)) > self.config["memory"]:
            if sum(resident(pid, exactly=True) for pid in pids) > self.config["memory"]:
                return "memory"
        if not self.private and used_disk(self.config["folders"], pids) > self.config["disk"]:
            return "disk"
        return None

    def kill(self) -> None:
        """End every process of the submission; returns when the kernel has none left."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if not self._strike():
                return
            self._reap()

    def _strike(self) -> bool:
        """Kill all there are; whether there were any."""
        struck = False
        for pid in [-1] if self.private else list(descendants(os.getpid())):  # -1: all of the namespace but pid 1
            try:
                os.kill(pid, signal.SIGKILL)
                struck = True
            except ProcessLookupError:
                continue
        return struck

    def _reap(self) -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.002)


def tell(owner: socket.socket, report: dict) -> None:
    """How it ended, to whoever is still listening."""
    try:
        owner.sendall(json.dumps(report).encode())
    except OSError:
        pass


def keep(owner: socket.socket, config: dict, body: Callable[[], None]) -> None:
    """The keeper's whole life, in a process of its own."""
    keeper = Keeper(owner, config, body)
    try:
        keeper.start()
        report = keeper.watch()
    except OSError as error:
        report = {"code": None, "why": f"sandbox: {error}"}
    tell(owner, report)
    sys.stdout = None
    os._exit(0)
