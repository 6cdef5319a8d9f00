"""Namespaces of a submission's own: its process is pid 1 there, with a ``/tmp``, a ``/dev/shm`` and a ``/proc``.

So its end is the end of everything that was started or written there, and the kernel sees to that.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal

NEWNS, NEWIPC, NEWUSER, NEWPID = 0x00020000, 0x08000000, 0x10000000, 0x20000000
NOSUID, NODEV, NOEXEC, BIND, PRIVATE, RECURSIVE = 2, 4, 8, 1 << 12, 1 << 18, 1 << 14
PR_SET_PDEATHSIG = 1
CLONE = {"x86_64": 56, "aarch64": 220}
FILES_MAX = 20_000  # files and folders of one submission

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


def die_with_parent() -> None:
    """Be killed when the parent ends. The kernel forgets it when a process changes its user: say it again then."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def furnish(disk: int, ids: tuple[int, int]) -> None:
    """What pid 1 does first: its own /proc, /tmp and /dev/shm. ``ids`` are our user and group outside."""
    die_with_parent()
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
