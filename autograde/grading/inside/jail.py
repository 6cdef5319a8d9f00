"""How a fresh process gives up its rights: Landlock for files, seccomp for calls, limits, user and capabilities.

Only the standard library and ctypes: no daemon, no container engine, no compiled extension, no root.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from dataclasses import dataclass, field

from autograde.grading.inside import seccomp

PR_SET_NO_NEW_PRIVS, PR_SET_KEEPCAPS, PR_CAPBSET_DROP = 38, 8, 24
CREATE, ADD, RESTRICT = 444, 445, 446  # Landlock's system calls, the same numbers on every machine
EXECUTE, WRITE, READ, LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL = 1 << 14, 1 << 15
DAC_READ_SEARCH = 2

libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Rules:
    """What one body may do. Paths that do not exist are skipped; nothing that is not named is reachable."""

    read: list[str] = field(default_factory=list)  # these, and all below
    write: list[str] = field(default_factory=list)
    list_only: list[str] = field(default_factory=list)  # names may be listed, contents not read
    uid: int | None = None  # the user to become, where we are root
    see_through: bool = False  # keep the one capability to cross folders closed to others (Landlock still rules)
    memory: int = 4 << 30
    seconds: int = 600
    processes: int = 128
    file_size: int = 256 << 20
    trusted: bool = False  # the instructor said so: nothing is confined
    confined: bool = False  # in its own pid namespace


def check(result: int, what: str) -> int:
    """Raise for a failed C call."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def landlock_version() -> int:
    """The kernel's Landlock ABI; 0 where there is none."""
    return max(0, libc.syscall(CREATE, None, 0, 1))


def landlock(rules: Rules) -> None:
    """Nothing of the file system but what ``rules`` names, no TCP, and no signal or abstract socket to the outside."""
    version = landlock_version()
    handled = (1 << 13) - 1
    for since, right in ((2, 1 << 13), (3, TRUNCATE), (5, IOCTL)):
        handled |= right if version >= since else 0
    size = 8 if version < 4 else 16 if version < 6 else 24
    attributes = struct.pack("QQQ", handled, 3, 3)[:size]
    ruleset = check(libc.syscall(CREATE, attributes, size, 0), "landlock")
    of_a_file = (EXECUTE | WRITE | READ | TRUNCATE | IOCTL) & handled
    grants = [(rules.read, EXECUTE | READ | LIST), (rules.write, handled), (rules.list_only, LIST)]
    for paths, access in grants:
        for path in paths:
            try:
                target = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            allowed = access if os.path.isdir(path) else access & of_a_file
            check(libc.syscall(ADD, ruleset, 1, struct.pack("=Qi", allowed, target), 0), f"landlock {path}")
            os.close(target)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    check(libc.syscall(RESTRICT, ruleset, 0), "landlock")
    os.close(ruleset)


def limit(rules: Rules) -> None:
    """Per-process limits; memory and processes of the whole submission are counted by the warden or the keeper."""
    already = 0 if rules.confined or rules.uid is not None else _threads_of_user()
    wanted = {
        resource.RLIMIT_DATA: rules.memory,
        resource.RLIMIT_CPU: rules.seconds,
        resource.RLIMIT_NPROC: already + rules.processes,
        resource.RLIMIT_FSIZE: rules.file_size,
        resource.RLIMIT_NOFILE: 512,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 1 << 20,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for what, value in wanted.items():
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def _threads_of_user() -> int:
    count, uid = 0, os.getuid()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count


def drop(rules: Rules) -> None:
    """Become the submission's own user, and hold no capability."""
    keep = 0
    if rules.uid is not None:
        os.setgroups([])
        if rules.see_through:
            libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
            keep = 1 << DAC_READ_SEARCH
        os.setresgid(rules.uid, rules.uid, rules.uid)
        os.setresuid(rules.uid, rules.uid, rules.uid)
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("Ii", 0x20080522, 0)
    check(libc.capset(header, struct.pack("IIIIII", keep, keep, 0, 0, 0, 0)), "capset")


def enter(rules: Rules) -> None:
    """All of it, in the order in which each step is still allowed."""
    if rules.trusted:
        return
    limit(rules)
    drop(rules)
    landlock(rules)
    seccomp.install(signals=rules.confined or landlock_version() >= 6, attributes=rules.confined)
