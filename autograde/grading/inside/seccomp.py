"""The system calls that student code may not make, as a seccomp filter built here and installed by ctypes.

No sockets but connected stream pairs, no descriptors through them, no larger buffers; no
namespaces, mounts, tracing, kernel keys, modules, io_uring or shared memory that outlives its process; and no knob of
another process. Refused calls return an error, they do not kill.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

LD, JEQ, JGE, JSET, AND, RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
NAMESPACES = 0x7E020000  # every CLONE_NEW* flag
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000
BUFFER_SIZES = (7, 8, 32, 33)  # SO_SNDBUF, SO_RCVBUF and their forced forms
SETPIPE_SZ = 1031

# name: (x86_64, aarch64)
NUMBERS = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "setsockopt": (54, 208),
    "fcntl": (72, 25),
    "vmsplice": (278, 75),
    "splice": (275, 76),
    "tee": (276, 77),
    "clone": (56, 220),
    "clone3": (435, 435),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "ioprio_set": (251, 30),
    "personality": (135, 92),
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "setpriority": (141, 140),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
# Landlock does not cover the attributes of files: where no mount namespace makes them read-only, and the instructor's
# files are our own user's, these calls do nothing and say that they did (copying a file must not fail by them).
ATTRIBUTES = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
# Nor does it cover watching names: where the file system is the machine's, no folder may be watched.
WATCHING = {"inotify_add_watch": (254, 27), "fanotify_mark": (301, 263)}
SPECIAL = set("socketpair sendto setsockopt fcntl clone clone3 socket prlimit64 setpriority kill tkill tgkill".split())
SIGNALS = {"rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"}
OWN_ONLY = {"sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"}


class Program:
    """Instructions, appended; each rule starts by loading the call's number, so rules do not depend on their order."""

    def __init__(self, machine: str):
        self.column = 0 if machine == "x86_64" else 1
        self.lines: list[bytes] = []
        self.op(LD, 4)
        self.op(JEQ, AUDIT[machine], 1, 0)
        self.op(RET, KILL)
        if machine == "x86_64":
            self.op(LD, 0)
            self.op(JGE, X32, 0, 1)
            self.op(RET, ERRNO | errno.ENOSYS)

    def op(self, code: int, k: int, yes: int = 0, no: int = 0) -> None:
        """One instruction."""
        self.lines.append(struct.pack("HBBI", code, yes, no, k))

    def rule(self, name: str, body: list[tuple[int, int, int, int]]) -> None:
        """``body`` applies to this call only; it ends by returning."""
        number = (NUMBERS | ATTRIBUTES | WATCHING)[name][self.column]
        if number is None:  # this machine never had the call
            return
        self.op(LD, 0)
        self.op(JEQ, number, 0, len(body))
        for code, k, yes, no in body:
            self.op(code, k, yes, no)

    def refuse(self, name: str, error: int = errno.EPERM) -> None:
        """The call always fails."""
        self.rule(name, [(RET, ERRNO | error, 0, 0)])

    def only(
        self, name: str, argument: int, allowed: tuple[int, ...], mask: int = 0xFFFFFFFF, error: int = errno.EPERM
    ):
        """The call passes where the low word of an argument, masked, is one of ``allowed``."""
        n = len(allowed)
        body = [(LD, 16 + 8 * argument, 0, 0), (AND, mask, 0, 0)]
        body += [(JEQ, value & 0xFFFFFFFF, n - i, 0) for i, value in enumerate(allowed)]
        self.rule(name, [*body, (RET, ERRNO | error, 0, 0), (RET, ALLOW, 0, 0)])


def build(machine: str, pid: int, signals: bool, attributes: bool) -> bytes:
    """The filter for process ``pid``. ``signals``: Landlock or a pid namespace already confines signals;
    ``attributes``: a mount namespace already protects the attributes of files."""
    program = Program(machine)
    program.refuse("socket", errno.EAFNOSUPPORT)
    program.only("socketpair", 1, (1,), mask=0xF, error=errno.EPROTONOSUPPORT)
    for half in (16 + 8 * 4, 16 + 8 * 4 + 4):  # sendto with an address, either half of the pointer
        program.rule("sendto", [(LD, half, 0, 0), (JEQ, 0, 1, 0), (RET, ERRNO | errno.EISCONN, 0, 0), (LD, 0, 0, 0)])
    # Memory that is no process's own: how much a socket or a pipe holds is not to be raised, only asked for.
    for option in BUFFER_SIZES:
        program.rule("setsockopt", [(LD, 32, 0, 0), (JEQ, option, 0, 1), (RET, ERRNO, 0, 0), (LD, 0, 0, 0)])
    program.rule("fcntl", [(LD, 24, 0, 0), (JEQ, SETPIPE_SZ, 0, 1), (RET, ERRNO | errno.EPERM, 0, 0), (LD, 0, 0, 0)])
    program.refuse("clone3", errno.ENOSYS)  # its flags lie in memory; the C library falls back to clone
    program.rule(
        "clone", [(LD, 16, 0, 0), (JSET, NAMESPACES, 0, 1), (RET, ERRNO | errno.EPERM, 0, 0), (RET, ALLOW, 0, 0)]
    )
    for name in NUMBERS:
        if name not in SPECIAL | SIGNALS | OWN_ONLY:
            program.refuse(name)
    for name in (*OWN_ONLY, "prlimit64"):
        program.only(name, 0, (0, pid))
    refuse, allow = (RET, ERRNO | errno.EPERM, 0, 0), (RET, ALLOW, 0, 0)
    itself = [(LD, 24, 0, 0), (JEQ, 0, 2, 0), (JEQ, pid, 1, 0), refuse, allow]
    program.rule("setpriority", [(LD, 16, 0, 0), (JEQ, 0, 1, 0), refuse, *itself])  # 0: a process, not a whole user
    for name in () if attributes else ATTRIBUTES:
        program.refuse(name, 0)
    for name in () if attributes else WATCHING:
        program.refuse(name)
    if not signals:  # another process of the same user is within reach: a process may only signal itself
        for name in ("kill", "tkill", "tgkill"):
            program.only(name, 0, (0, pid) if name == "kill" else (pid,))
        for name in SIGNALS:
            program.refuse(name)
    program.op(RET, ALLOW)
    return b"".join(program.lines)


def install(signals: bool, attributes: bool) -> None:
    """Put this process and all it starts behind the filter, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = build(platform.machine(), os.getpid(), signals, attributes)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(header), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp: " + os.strerror(ctypes.get_errno()))
