"""Which sandbox this machine can give, and how its warm parents are started."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from autograde.errors import Refusal

SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts"]
DEVICES = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/full"]
NAMESPACED, JAILED, NONE = 1, 2, 3
RUN = "AUTOGRADE_RUN"
ADVICE = {
    NAMESPACED: "bubblewrap, Landlock and seccomp: own processes, mounts and network for each submission",
    JAILED: "Landlock and seccomp without bubblewrap: for private namespaces as well install the bubblewrap package, "
    "and keep the course outside /tmp",
    NONE: "this machine has neither bubblewrap nor Landlock: grade in a Linux container or virtual machine, "
    "or say --i-trust-these-submissions",
}


@dataclass(frozen=True)
class Limits:
    """What a submission may use.

    ``cell`` is processor time of both its processes together, so that a busy machine changes no score; a cell that
    computes nothing ends after ``wide`` times as much on the wall's clock, by which the other seconds are measured.
    """

    cell: float = 30.0
    wide: float = 5.0
    grace: float = 2.0
    total: float = 600.0
    memory: int = 4 << 30
    disk: int = 512 << 20
    processes: int = 128
    output: int = 1 << 20
    flood: int = 20 << 20
    written: int = 48 << 20
    restarts: int = 3

    def fair(self, slowest: float) -> Limits:
        """At least ten times what the reference's slowest cell took here: a slow machine is not a slow student."""
        cell = max(self.cell, 10 * slowest)
        return replace(self, cell=cell, total=max(self.total, 20 * cell))


def landlock_version() -> int:
    """The kernel's Landlock ABI, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    from autograde.grading.inside.jail import landlock_version as version

    return version()


def bubblewrap_flags() -> list[str]:
    """New namespaces of every kind; root needs no user namespace."""
    if os.geteuid():
        return ["--unshare-all"]
    return ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]


@functools.cache
def tier() -> int:
    """The best sandbox this machine really gives; ``AUTOGRADE_TIER=2`` asks for less."""
    wanted = int(os.environ.get("AUTOGRADE_TIER", "1") or 1)
    if not landlock_version():
        return NONE
    return NAMESPACED if wanted <= NAMESPACED and _namespaces_work() else max(JAILED, wanted)


def _namespaces_work() -> bool:
    """Whether bubblewrap runs here, and a private mount can be made inside it."""
    # Below /tmp Python would share a submission's own writable /tmp, whose rule would open every file beside it.
    if not shutil.which("bwrap") or any(p.startswith("/tmp/") for p in (*runtime(), *map(str, libraries()))):
        return False
    code = (
        "from autograde.grading.inside import namespaces as k; import os\n"
        "ids = os.getuid(), os.getgid(); p = k.fork()\n"
        "if p == 0: k.furnish(1 << 20, ids); os._exit(0)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]))"
    )
    command = [*bubblewrap(["inside"]), "--", sys.executable, "-P", "-c", code]
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def libraries() -> list[Path]:
    """The folders of the course's libraries, without importing them."""
    from importlib.util import find_spec

    specs = filter(None, map(find_spec, ("genmodels", "coursekit")))
    return [Path(spec.origin).resolve().parent for spec in specs if spec.origin]


def grader(parts: list[str]) -> list[str]:
    """The grader's own files that a sandbox needs, and no other: no tests, no mutants, no instructor's side."""
    home = Path(__file__).resolve().parent.parent
    wanted = [home.parent / "__init__.py", home / "__init__.py", home / "wire.py", home / "values.py"]
    return [str(p) for p in (*wanted, *(home / part for part in parts))]


def runtime() -> list[str]:
    """Python itself and its packages."""
    places = [sys.base_prefix, sys.prefix, os.path.realpath(sys.executable)]
    places += [p for p in sys.path if p.endswith(("site-packages", "dist-packages")) and os.path.isdir(p)]
    kept = []
    for place in dict.fromkeys(map(os.path.realpath, places)):
        if not any(place == k or place.startswith(k.rstrip("/") + "/") for k in (*kept, *SYSTEM)):
            kept.append(place)
    return kept


def refuse_to_expose(paths: list[str], secrets: list[Path]) -> None:
    """Stop where a readable folder contains what students must not read."""
    for path in paths:
        for secret in secrets:
            if Path(path).resolve() in (secret.resolve(), *secret.resolve().parents):
                raise Refusal(f"{path} must be readable to students' code, but holds {secret}: move one of them")


def environment() -> dict[str, str]:
    """All that a sandbox knows of the outside."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return one | {
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        RUN: str(os.getpid()),  # whose sandbox it is, where several people grade on one machine
        "USER": "student",
        "LOGNAME": "student",
        "HOME": "/tmp",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "NBGRADER_EXECUTION": "autograde",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def bubblewrap(parts: list[str]) -> list[str]:
    """The command line up to the program: read-only system, runtime and library; nothing else of the host."""
    command = ["bwrap", *bubblewrap_flags(), "--die-with-parent", "--clearenv", "--proc", "/proc", "--dev", "/dev"]
    command += ["--perms", "1777", "--tmpfs", "/tmp", "--perms", "1777", "--tmpfs", "/dev/shm"]
    made: set[str] = set()
    places = [*SYSTEM, *runtime(), *grader(parts), *map(str, libraries())]
    for place in places:
        if not os.path.exists(place):
            continue
        if os.path.islink(place) and place in SYSTEM:
            command += ["--symlink", os.readlink(place), place]
            continue
        above = [str(p) for p in reversed(Path(place).parents) if str(p) != "/" and str(p) not in made]
        for folder in above:  # bubblewrap would make missing parents closed to other users
            command += ["--perms", "0755", "--dir", folder]
            made.add(folder)
        command += ["--ro-bind", place, place]
    for name, value in environment().items():
        command += ["--setenv", name, value]
    return command


def closed_to_others() -> bool:
    """Whether another user could not even reach the Python that runs here (a home folder of root's, for example)."""
    for place in (*runtime(), *map(str, libraries())):
        for folder in (Path(place), *Path(place).parents):
            if folder.is_dir() and not folder.stat().st_mode & 0o001:
                return True
    return False


def around(place: str, holes: list[Path]) -> tuple[list[str], list[str]]:
    """All below ``place`` but the ``holes``: what may be read, and the folders on the way, which may only be listed."""
    here = Path(place)
    if here in holes:
        return [], []
    if not any(here in hole.parents for hole in holes):
        return [place], []
    read, listed = [], [place]
    for child in here.iterdir():
        inside, on_the_way = around(str(child), holes)
        read, listed = read + inside, listed + on_the_way
    return read, listed


def readable(level: int) -> tuple[list[str], list[str]]:
    """What Landlock lets every body read, and what it may only list, besides the course's libraries.

    The libraries are left out even where they are installed among other packages: their files are granted one by one.
    """
    proc = ["/proc"] if level == NAMESPACED else ["/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat"]
    read, listed = [*SYSTEM, *proc, "/sys/devices/system/cpu"], []
    for place in runtime():
        inside, on_the_way = around(place, libraries())
        read, listed = read + inside, listed + on_the_way
    return read, listed
