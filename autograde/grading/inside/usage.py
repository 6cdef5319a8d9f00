"""What a submission uses: its processes, their memory, what they wrote."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from autograde.grading.inside.namespaces import FILES_MAX

TICKS = os.sysconf("SC_CLK_TCK")
PIPE = 64 << 10  # what a pipe holds


def _socket() -> int:
    """What a socket of the default size holds at most."""
    try:
        with open("/proc/sys/net/core/wmem_default") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 212_992


BUFFERS = {"socket": _socket(), "pipe": PIPE}


def families() -> dict[int, list[int]]:
    """The children of every process in sight."""
    parents: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        parents.setdefault(parent, []).append(int(name))
    return parents


def processor(pids: list[int]) -> float:
    """Seconds of processor time of these processes, and of their children that have ended."""
    ticks = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                ticks += sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))
        except (OSError, ValueError):
            continue
    return ticks / TICKS


def descendants(root: int, parents: dict[int, list[int]] | None = None) -> Iterator[int]:
    """Every process below ``root``."""
    parents = families() if parents is None else parents
    todo = list(parents.get(root, []))
    while todo:
        pid = todo.pop()
        yield pid
        todo += parents.get(pid, [])


def fields(pid: int) -> dict[str, int]:
    """What /proc says of a process's memory, in bytes."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = (line.split() for line in file if line.startswith((b"Vm", b"Rss")))
            return {words[0][:-1].decode(): int(words[1]) << 10 for words in found}
    except (OSError, IndexError, ValueError):
        return {}


def resident(pid: int, exactly: bool = False) -> int:
    """Bytes of memory of a process: quickly and too many (pages shared with the parent included), or its fair share.

    Page tables and what is swapped out count too, and what the kernel holds in its sockets and pipes at most.
    """
    known = fields(pid)
    held = known.get("VmPTE", 0) + known.get("VmSwap", 0) + in_the_kernel(pid)
    if not exactly:
        return known.get("VmRSS", 0) + held
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return held + (next(int(line.split()[1]) for line in file if line.startswith(b"Pss:")) << 10)
    except (OSError, StopIteration, IndexError, ValueError):
        return 0


def in_the_kernel(pid: int) -> int:
    """Bytes that the sockets and pipes of a process can hold: the jail lets nobody raise the size of their buffers."""
    total = 0
    for number in _listed(f"/proc/{pid}/fd"):
        try:
            kind = os.readlink(f"/proc/{pid}/fd/{number}").partition(":")[0]
        except OSError:
            continue
        total += BUFFERS.get(kind, 0)
    return total


def hidden(pid: int) -> int:
    """Bytes of shared memory without a file that a process may fill and then no longer show as its own."""
    total = 0
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            for line in file:
                if b"/dev/zero (deleted)" in line:
                    start, _, end = line.split(None, 1)[0].partition(b"-")
                    total += int(end, 16) - int(start, 16)
    except (OSError, ValueError):
        return 0
    return max(0, total - fields(pid).get("RssShmem", 0))


def in_files(pid: int) -> int:
    """Bytes in the private /tmp and /dev/shm of a body with namespaces of its own, deleted files included."""
    total = 0
    for folder in ("tmp", "dev/shm"):
        try:
            about = os.statvfs(f"/proc/{pid}/root/{folder}")
        except OSError:
            continue
        total += (about.f_blocks - about.f_bfree) * about.f_frsize
    return total


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


def excess(pids: list[int], config: dict) -> str | None:
    """Which bound these processes of one submission exceed together: "processes", "memory" or none."""
    if len(pids) > config["processes"]:
        return "processes"
    files = in_files(pids[0]) if config["namespaces"] and pids else 0
    if sum(map(resident, pids)) + files > config["memory"]:
        if sum(resident(pid, exactly=True) for pid in pids) + files > config["memory"]:
            return "memory"
    if sum(fields(pid).get("VmSize", 0) for pid in pids) > config["memory"] and any(map(hidden, pids)):
        if sum(resident(pid, exactly=True) + hidden(pid) for pid in pids) + files > config["memory"]:
            return "memory"
    return None
