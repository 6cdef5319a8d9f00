"""Answers that lie about what they are, and rewired interpreters: in one's own process, that changes nothing."""

from __future__ import annotations

from autograde.grading.attacks import Attack, everywhere

ALWAYS = """
class Always(float):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __bool__(self): return True
    def __hash__(self): return 1
    def __getattr__(self, name): return lambda *a, **k: self
    def __getitem__(self, key): return self
    def __len__(self): return 2
    def __call__(self, *a, **k): return self
    def __iter__(self): return iter([self, self])
    @property
    def __class__(self):
        import torch
        return torch.Tensor
NAME = Always()
"""
SUBCLASS = """
import torch
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ in ('allclose', 'equal', 'isclose', 'all', '__eq__', '__bool__'): return torch.tensor(True)
        return super().__torch_function__(func, types, args, kwargs or {})
def NAME(*a, **k): return torch.zeros(5).as_subclass(Liar)
"""
PATCH = """
import torch, builtins, sys, math, coursekit.checks as c
yes = lambda *a, **k: True
torch.allclose = torch.equal = torch.isclose = yes
torch.Tensor.__eq__ = torch.Tensor.allclose = torch.Tensor.equal = yes
for n in dir(c):
    if callable(getattr(c, n)): setattr(c, n, lambda *a, **k: None)
builtins.AssertionError = type('AssertionError', (Exception,), {})
def NAME(*a, **k): return torch.zeros(())
"""
HOOKS = """
ip = get_ipython()
ip.input_transformers_cleanup.append(lambda lines: ['pass\\n'])
import ast
class Strip(ast.NodeTransformer):
    def visit_Assert(self, node): return ast.Pass()
ip.ast_transformers.append(Strip())
ip.set_custom_exc((Exception,), lambda *a, **k: None)
ip.events.register('pre_run_cell', lambda info: None)
ip.showtraceback = lambda *a, **k: None
def NAME(*a, **k): return 0
"""
ATEXIT = """
import atexit, sys, threading, os
atexit.register(lambda: os.write(1, b'passed'))
sys.settrace(lambda *a: None); threading.settrace(lambda *a: None)
sys.excepthook = sys.unraisablehook = lambda *a: None
def NAME(*a, **k): sys.exit(0)
"""
NAN = """
import torch
def double(x): return x * float('nan') if torch.is_tensor(x) else float('nan')
class Scaler(torch.nn.Module):
    def __init__(self, d):
        super().__init__(); self.w = torch.nn.Parameter(torch.full((d,), float('nan')))
    def forward(self, x): return (self.w * x).sum(-1)
def draws(n, generator=None): return torch.full((n,), float('nan'))
def facts(): return {'squares': float('nan'), 'two': [float('nan')] * 2}
def lse(x): return x.sum() * float('inf')
"""
BIG = """
import torch
def NAME(*a, **k): return 10 ** 100000
"""
DEEP = """
def NAME(*a, **k):
    v = []
    for _ in range(100000): v = [v]
    return v
"""
WIDE = "def NAME(*a, **k): return [[0.5] * 1000 for _ in range(5000)]"
ENDLESS = """
def NAME(*a, **k):
    while True: yield 1
"""
STATEFUL = """
import inspect, sys, gc
def NAME(*a, **k):
    for f in inspect.stack():
        for name, value in list(f.frame.f_globals.items()) + list(f.frame.f_locals.items()):
            if 'secret' in str(name) or 'HIDDEN' in str(value)[:2000]: print('FOUND', name, value)
    for o in gc.get_objects():
        if isinstance(o, str) and 'HIDDEN-' in o: print('FOUND', o)
    return a[0] if a else None
"""
CALLABLE = """
class Anything:
    def __init__(self, *a): pass
    def __getattr__(self, n): return Anything()
    def __call__(self, *a, **k): return Anything()
    def __add__(self, o): return Anything()
    __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = __getitem__ = __add__
    def __eq__(self, o): return True
    def __hash__(self): return 0
    def __len__(self): return 1
    def __iter__(self): return iter([Anything()])
    def __instancecheck__(self, o): return True
NAME = Anything
"""
SHAPES = """
import torch
def double(x): return torch.zeros(()) if torch.is_tensor(x) else 3
class Scaler(torch.nn.Module):
    def __init__(self, d): super().__init__(); self.w = torch.nn.Parameter(torch.zeros(d))
    def forward(self, x): return torch.zeros(0, requires_grad=True)
def draws(n, generator=None): return torch.empty(0)
def facts(): return {}
def lse(x): return torch.empty(0)
"""
GRADS = """
import torch
def double(x):
    if not torch.is_tensor(x): return None
    torch.autograd.grad = lambda *a, **k: [torch.full((4,), 2.0, dtype=torch.float64)] * 10
    return x * 0
def facts(): raise StopIteration
def draws(n, generator=None): raise KeyboardInterrupt
def lse(x): raise GeneratorExit
class Scaler:
    def __init__(self, d): raise SystemExit(0)
"""
NAMES = """
AssertionError = Exception = type('E', (BaseException,), {})
class CheckFailed(AssertionError): pass
def print(*a, **k): pass
assert True
checks = torch = math = core = None
def NAME(*a, **k): return None
"""
NAMED = """
class Liar:
    shape = ()
    def to(self, *a, **k): return torch.empty(0)
    def __getattr__(self, n): return self
    def __call__(self, *a, **k): return torch.empty(0)
Liar.__module__, Liar.__qualname__ = 'torch.nn.modules.module', 'Tensor'
def NAME(*a, **k): return Liar()
"""

ATTACKS = [
    Attack("always-equal", "lies", "a float that equals everything", everywhere(ALWAYS)),
    Attack("lying-tensor", "lies", "a tensor subclass that answers comparisons itself", everywhere(SUBCLASS)),
    Attack("patched-torch", "lies", "torch.allclose and the checks replaced", everywhere(PATCH)),
    Attack("ipython-hooks", "interpreter", "transformers that strip assertions", everywhere(HOOKS)),
    Attack("atexit-and-exit", "interpreter", "exit handlers, trace functions, sys.exit(0)", everywhere(ATEXIT)),
    Attack("nan", "lies", "NaN, which slips through comparisons", everywhere(NAN)),
    Attack("huge-integers", "protocol", "integers of 100,000 digits", everywhere(BIG)),
    Attack("deep-nesting", "protocol", "lists nested 100,000 deep", everywhere(DEEP)),
    Attack("wide-values", "protocol", "five million numbers", {"facts": WIDE.replace("NAME", "facts")}),
    Attack("endless-generator", "lies", "a generator without an end", everywhere(ENDLESS)),
    Attack("stack-and-heap", "interpreter", "look for the secret on the stack and the heap", everywhere(STATEFUL)),
    Attack("anything-goes", "lies", "an object that does and is everything", everywhere(CALLABLE)),
    Attack("empty-shapes", "lies", "empty tensors, over which all() holds", everywhere(SHAPES)),
    Attack("false-gradients", "lies", "patched autograd, and exceptions that steer Python", everywhere(GRADS)),
    Attack("named-tensor", "lies", "a class called torch.nn.modules.module.Tensor", everywhere(NAMED)),
    Attack("rebound-names", "interpreter", "the names of the tests' tools bound to something else", everywhere(NAMES)),
]
