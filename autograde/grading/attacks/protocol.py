"""Forged messages: the student's process holds one end of two lines, and may write anything into them."""

from __future__ import annotations

from autograde.grading.attacks import Attack, everywhere

LINES = """
import os, socket, stat, struct, json, threading, time
def lines():
    found = []
    for fd in range(3, 200):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode): found.append(fd)
        except OSError: pass
    return found
def frame(message, sizes=()):
    head = json.dumps([message, list(sizes)]).encode() if not isinstance(message, bytes) else message
    return struct.pack('<I', len(head)) + head
"""
FORGE = """
OK = frame({'ok': {'t': 'f', 'v': (3.0).hex()}, 'out': [], 'drew': False})
def flood():
    while True:
        for fd in lines():
            try: os.write(fd, OK)
            except OSError: pass
        time.sleep(0.001)
threading.Thread(target=flood, daemon=True).start()
def NAME(*a, **k): time.sleep(0.2); return 0
"""
CHILD = """
if os.fork() == 0:
    for _ in range(20000):
        for fd in lines():
            try: os.write(fd, frame({'ok': True, 'out': [], 'drew': False}))
            except OSError: os._exit(0)
        time.sleep(0.001)
    os._exit(0)
def NAME(*a, **k): time.sleep(0.2); return 0
"""
DONE = """
def NAME(*a, **k):
    for fd in lines():
        for cell in range(60):
            for status in ('ok', 'served'):
                try: os.write(fd, frame(['done', cell, status]))
                except OSError: pass
    return 0
"""
HUGE = """
def NAME(*a, **k):
    for fd in lines():
        try: os.write(fd, struct.pack('<I', 0xFFFFFFF0) + b'x' * 1000)
        except OSError: pass
    time.sleep(1)
    return 0
"""
NESTED = """
def NAME(*a, **k):
    for fd in lines():
        try: os.write(fd, frame(b'[' * 100000))
        except OSError: pass
    time.sleep(0.5)
"""
CONSTANTS = """
def NAME(*a, **k):
    for fd in lines():
        for text in (b'[{"ok": NaN}, []]', b'[{"ok": {"t": "T", "d": "object", "s": [-1], "i": 0}}, [8]]', b'[7]',
                     b'[{"ok": {"t": "nt", "f": ["__class__"], "v": [1]}, "out": []}, []]', b'[[], [99999999999]]',
                     b'[{"cb": 1, "a": []}, []]'):
            try: os.write(fd, frame(text) + b'12345678')
            except OSError: pass
    time.sleep(0.5)
"""
HANDLES = """
def NAME(*a, **k):
    lie = {'t': 'h', 'id': 1, 'c': 'Tensor', 'b': ['torch.nn.modules.module.Module'], 'n': 'x', 's': [['x', 9, 3]] * 5}
    for fd in lines():
        try: os.write(fd, frame({'ok': lie, 'out': [{'t': 'f', 'v': '0x1p0'}], 'graph': 'x', 'changed': [[5, None]]}))
        except OSError: pass
    time.sleep(0.5)
"""
RIGHTS = """
import array
def NAME(*a, **k):
    for fd in lines():
        s = socket.socket(fileno=os.dup(fd))
        try: s.sendmsg([frame({'ok': 3.0})], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1, 2]))])
        except OSError: pass
    time.sleep(0.5)
"""
CLOSE = """
def NAME(*a, **k):
    for fd in lines(): os.close(fd)
    time.sleep(0.5)
"""
SILENT = """
def NAME(*a, **k):
    for fd in lines():
        try: os.write(fd, struct.pack('<I', 1000) + b'[{')
        except OSError: pass
    while True:
        try: time.sleep(5)
        except BaseException: pass
"""
DESK = """
import gc, sys
for o in gc.get_objects():
    if type(o).__name__ == 'Desk':
        o.operations['vjp'] = lambda *a: [None] * 9
        for name in ('call', 'name', 'get', 'item'): o.operations[name] = lambda *a, **k: True
        o._carry_out = lambda m, b: ({'ok': True, 'out': [], 'drew': False}, [])
def NAME(*a, **k): return True
"""
ENDINGS = """
import gc
from autograde.grading.wire import Wire
for line in [o for o in gc.get_objects() if isinstance(o, Wire)]:
    for n in range(60):
        for said in (['done', n], ['done', n, 'passed'], ['done', n, ['ok']], [[], n, 1], [{}, n, 1]):
            line.send(said)
"""

ATTACKS = [
    Attack("forge-from-a-thread", "protocol", "replies written by a second thread", everywhere(LINES + FORGE)),
    Attack("forge-from-a-child", "protocol", "replies written by a child process", everywhere(LINES + CHILD)),
    Attack("forge-the-end", "protocol", "cells reported as done before they are", everywhere(LINES + DONE)),
    Attack("huge-header", "protocol", "a header of 4 GB announced", everywhere(LINES + HUGE)),
    Attack("nested-json", "protocol", "100,000 opening brackets", everywhere(LINES + NESTED)),
    Attack("bad-values", "protocol", "NaN in JSON, negative shapes, unknown callbacks", everywhere(LINES + CONSTANTS)),
    Attack("false-handles", "protocol", "handles and graphs that do not exist", everywhere(LINES + HANDLES)),
    Attack("pass-descriptors", "protocol", "open files sent along", everywhere(LINES + RIGHTS)),
    Attack("close-the-lines", "protocol", "all lines closed", everywhere(LINES + CLOSE)),
    Attack(
        "half-a-message",
        "protocol",
        "half a message, then silence",
        {"double": (LINES + SILENT).replace("NAME", "double")},
    ),
    Attack("forged-endings", "protocol", "cells that say how they ended", everywhere(ENDINGS)),
    Attack("rewired-desk", "protocol", "the serving loop itself replaced", everywhere(DESK)),
]
