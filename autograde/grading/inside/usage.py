"""What a submission uses: its processes, their memory, what they wrote."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from autograde.grading.inside.namespaces import FILES_MAX

PAGE = os.sysconf("SC_PAGE_SIZE")


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


def descendants(root: int, parents: dict[int, list[int]] | None = None) -> Iterator[int]:
    """Every process below ``root``."""
    parents = families() if parents is None else parents
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


def excess(pids: list[int], config: dict) -> str | None:
    """Which bound these processes of one submission exceed together: "processes", "memory" or none."""
    if len(pids) > config["processes"]:
        return "processes"
    if sum(map(resident, pids)) > config["memory"]:
        if sum(resident(pid, exactly=True) for pid in pids) > config["memory"]:
            return "memory"
    return None
