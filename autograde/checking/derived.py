"""Answers that nobody wrote: the reference with one thing changed, wrong ones and right ones.

The operators are those of mutation testing (cosmic-ray's binary, comparison, unary, number, boolean and zero-iteration
operators; mutmut's method, keyword, argument and default mutations), and what goes wrong with tensors: another
dimension, a cut gradient, float32 inside, one draw for all, the generator ignored, an argument written into.
"""

from __future__ import annotations

import ast
import copy
import random
import zlib
from collections.abc import Iterator

from autograde.authoring.variants import Variant

__all__ = ["needs_no_derivative", "right_ones", "sample", "wrong_ones"]

COMPARE = {ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt,), ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt,)}
COMPARE |= {ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,)}
ARITHMETIC = {ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div, ast.Add), ast.Div: (ast.Mult,)}
ARITHMETIC |= {ast.Pow: (ast.Mult,), ast.MatMult: (), ast.FloorDiv: (ast.Div,), ast.Mod: (ast.FloorDiv,)}
CALLS = {
    "all": ("any",), "any": ("all",), "max": ("min", "sum"), "min": ("max",), "amax": ("amin",), "mean": ("sum",),
    "sum": ("mean",), "std": ("var",), "var": ("std",), "argmax": ("argmin",), "exp": ("", "log1p"), "log": ("",),
    "sqrt": ("",), "abs": ("",), "square": ("",), "sigmoid": ("tanh", ""), "tanh": ("",), "softmax": ("log_softmax",),
    "log_softmax": ("softmax",), "logsigmoid": ("sigmoid",), "logsumexp": ("amax",), "cumsum": ("cumprod",),
    "cumprod": ("cumsum",), "flip": ("",), "clone": ("",), "detach": ("",), "randn": ("rand",), "rand": ("randn",),
    "zeros": ("ones",), "ones": ("zeros",), "zeros_like": ("ones_like",), "ones_like": ("zeros_like",),
    "tril": ("triu",), "triu": ("tril",), "floor": ("ceil", "round"), "round": ("floor",), "sin": ("cos",),
    "cos": ("sin",), "clamp_min": ("clamp_max", ""), "clamp_max": ("clamp_min",), "clamp": ("",), "sort": (),
}  # fmt: skip


def wrong_ones(name: str, reference: str) -> Iterator[Variant]:
    """The reference with one thing changed; some of them change nothing that can be seen."""
    tree = ast.parse(reference)
    body = _definition(tree, name)
    places = [k for k, node in enumerate(ast.walk(tree)) if node in set(_inside(body))]
    for k in places:
        for change in range(7):
            other = copy.deepcopy(tree)
            node = list(ast.walk(other))[k]
            line = getattr(node, "lineno", 0)
            if said := _change(node, change):
                yield _variant(name, f"line {line}: {said}", ast.unparse(ast.fix_missing_locations(other)))
    yield from _dropped(name, tree)
    for said, act in WRAPPED_WRONG.items():
        yield _variant(name, said, _wrapped(name, reference, act))


def right_ones(name: str, reference: str, *, plain: bool) -> Iterator[Variant]:
    """The reference in unusual but right forms; ``plain`` when its result needs no derivative."""
    for said, act in WRAPPED_RIGHT.items():
        if plain or said not in NEEDS_PLAIN:
            source = _wrapped(name, reference, act)
            yield Variant(name, "alternative", f"derived: {said}", source)


def needs_no_derivative(record: dict) -> bool:
    """Whether nothing in the cases of an exercise differentiates its result."""
    return not record["rules"]["gradient"] and not any(word in record["code"] for word in ("grad", "slope", "backward"))


def sample(variants: list[Variant], most: int) -> list[Variant]:
    """At most so many of them, always the same ones; the changes to the result as a whole are all kept."""
    whole = [v for v in variants if not v.name.startswith("line ")]
    rest = [v for v in variants if v.name.startswith("line ")]
    if most and len(rest) > most:
        rest = random.Random(zlib.crc32(variants[0].exercise.encode())).sample(rest, most)
    return whole + rest


def _variant(name: str, said: str, source: str) -> Variant:
    return Variant(name, "mutant", said, source)


def _definition(tree: ast.Module, name: str) -> ast.FunctionDef:
    return next(n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == name)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a definition's body; annotations and docstrings change nothing."""
    for statement in getattr(node, "body", []):
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            yield from (n for n in ast.walk(statement) if not isinstance(n, ast.AnnAssign))


def _dropped(name: str, tree: ast.Module) -> Iterator[Variant]:
    """One statement left out."""
    statements = [n for n in _inside(_definition(tree, name)) if isinstance(n, (ast.AugAssign, ast.Assign, ast.Expr))]
    for target in statements:
        other = copy.deepcopy(tree)
        k = list(ast.walk(tree)).index(target)
        gone = list(ast.walk(other))[k]
        for parent in ast.walk(other):
            for field in ("body", "orelse"):
                block = getattr(parent, field, None)
                if isinstance(block, list) and gone in block:
                    block[block.index(gone)] = ast.Pass()
        source = ast.unparse(ast.fix_missing_locations(other))
        yield _variant(name, f"line {target.lineno}: the statement is dropped", source)


def _change(node: ast.AST, i: int) -> str:
    """Make the i-th change of this node and say it; "" when there is none."""
    if isinstance(node, ast.Compare) and i < len(some := COMPARE.get(type(node.ops[0]), ())):
        node.ops[0] = some[i]()
        return f"the comparison becomes {some[i].__name__}"
    if isinstance(node, ast.BinOp):
        return _operator(node, i)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)) and i == 0:
        was, node.op = type(node.op).__name__, ast.UAdd() if isinstance(node.op, ast.USub) else node.op
        if was == "Not":
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        return f"{was} is dropped"
    if isinstance(node, ast.Constant):
        return _constant(node, i)
    if isinstance(node, ast.Call):
        return _call(node, i)
    if isinstance(node, ast.Slice) and node.lower is not None and i == 0:
        node.lower = ast.BinOp(node.lower, ast.Add(), ast.Constant(1))
        return "the slice begins one later"
    if isinstance(node, ast.Slice) and node.upper is not None and i == 1:
        node.upper = ast.BinOp(node.upper, ast.Add(), ast.Constant(1))
        return "the slice ends one later"
    return ""


def _operator(node: ast.BinOp, i: int) -> str:
    some = ARITHMETIC.get(type(node.op), ())
    if i < len(some):
        was, node.op = type(node.op).__name__, some[i]()
        return f"{was} becomes {some[i].__name__}"
    neutral = {ast.Add: 0, ast.Sub: 0, ast.Mult: 1, ast.Div: 1, ast.Pow: 1}.get(type(node.op))
    if neutral is None:
        return ""
    if i == 3:
        node.right = ast.Constant(neutral)
        return "the right operand is dropped"
    if i == 4 and isinstance(node.op, (ast.Add, ast.Mult)):
        node.left = ast.Constant(neutral)
        return "the left operand is dropped"
    if i == 5 and isinstance(node.op, ast.Mult):
        node.right = ast.BinOp(node.right, ast.Mult(), ast.Constant(1.01))
        return "the right operand is 1 % larger"
    return ""


def _constant(node: ast.Constant, i: int) -> str:
    was = node.value
    if isinstance(was, bool):
        node.value = not was
        return f"{was} becomes {node.value}" if i == 0 else ""
    if not isinstance(was, (int, float)) or i > 1:
        return ""
    node.value = was + 1 if i == 0 else was * 2
    return f"{was} becomes {node.value}" if node.value != was else ""


def _call(node: ast.Call, i: int) -> str:
    f = node.func
    called = f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")
    some = CALLS.get(called, ())
    if i < len(some):
        if some[i]:
            if isinstance(f, ast.Attribute):
                f.attr = some[i]
            else:
                f.id = some[i]
        else:
            value = node.args[0] if node.args and not _method(f) else getattr(f, "value", None)
            if value is None:
                return ""
            node.func, node.args, node.keywords = ast.Lambda(_one_argument(), ast.Name("v", ast.Load())), [value], []
        return f"{called} becomes {some[i] or 'nothing'}"
    if i == 4 and node.keywords and node.keywords[0].arg:
        return f"{called}'s argument {node.keywords.pop(0).arg} is left out"
    if i == 5 and len(node.args) > 1:
        node.args[0], node.args[1] = node.args[1], node.args[0]
        return f"the first two arguments of {called} are exchanged"
    return ""


def _method(f: ast.expr) -> bool:
    """Whether this is a method of a value rather than torch.something."""
    return isinstance(f, ast.Attribute) and not (isinstance(f.value, ast.Name) and f.value.id in ("torch", "F", "math"))


def _one_argument() -> ast.arguments:
    return ast.arguments([], [ast.arg("v")], None, [], [], None, [])


def _wrapped(name: str, reference: str, act: str) -> str:
    return f"{reference}\n\n\n_written = {name}\n{HELP}\n\n{act.replace('NAME', name)}"


HELP = """

def _map(value, f):
    if isinstance(value, torch.Tensor):
        return f(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_map(v, f) for v in value)
    return value
"""
_DEF = "def NAME(*args, **options):\n    "
WRAPPED_WRONG = {
    "the gradient is cut": _DEF + "return _map(_written(*args, **options), lambda t: t.detach().clone())",
    "computed in float32": _DEF
    + "halve = lambda t: t.float() if t.dtype == torch.float64 else t\n    "
    + "back = lambda t: t.double() if t.dtype == torch.float32 else t\n    "
    + "return _map(_written(*_map(list(args), halve), **options), back)",
    "returned in float32": _DEF
    + "return _map(_written(*args, **options), lambda t: t.float() if t.is_floating_point() else t)",
    "the first of the batch for all": _DEF
    + "return _map(_written(*args, **options), lambda t: t[:1].expand_as(t).clone() if t.ndim else t)",
    "a factor of 1.001": _DEF
    + "return _map(_written(*args, **options), lambda t: t * 1.001 if t.is_floating_point() else t)",
    "an argument is written into": _DEF
    + "result = _map(_written(*args, **options), lambda t: t.clone())\n    "
    + "with torch.no_grad():\n        "
    + "_map(list(args), lambda t: t.mul_(2) if t.is_floating_point() else t.add_(1) if t.dtype == torch.long else t)\n"
    + "    return result",
    "the generator is ignored": _DEF
    + "drop = lambda v: None if isinstance(v, torch.Generator) else v\n    "
    + "return _written(*map(drop, args), **{k: drop(v) for k, v in options.items()})",
    "the generator is seeded again inside": _DEF
    + "again = lambda v: torch.Generator().manual_seed(0) if isinstance(v, torch.Generator) else v\n    "
    + "return _written(*map(again, args), **{k: again(v) for k, v in options.items()})",
    "the first result is kept and returned again": "_kept = {}\n"
    + _DEF
    + "return _kept.setdefault(0, _written(*args, **options))",
}
WRAPPED_RIGHT = {
    "functools.partial": "import functools\nNAME = functools.partial(_written)",
    "a lambda": "NAME = lambda *args, **options: _written(*args, **options)",
    "a class with __call__": "class _Answer:\n    def __call__(self, *args, **options):\n"
    + "        return _written(*args, **options)\n\n\nNAME = _Answer()",
    "in place on copies": _DEF
    + "args = _map(list(args), lambda t: t.clone())\n    "
    + "result = _map(_written(*args, **options), lambda t: t.clone())\n    with torch.no_grad():\n        "
    + "_map([a.detach() for a in args if isinstance(a, torch.Tensor)], lambda t: t.zero_())\n    return result",
    "float64 inside, cast back": _DEF
    + "kinds = {t.dtype for t in args if isinstance(t, torch.Tensor) and t.is_floating_point()}\n    "
    + "if kinds != {torch.float32} or any(map(callable, args)):\n        return _written(*args, **options)\n    "
    + "up = lambda t: t.double() if t.is_floating_point() else t\n    "
    + "down = lambda t: t.float() if t.dtype == torch.float64 else t\n    "
    + "return _map(_written(*_map(list(args), up), **options), down)",
    "numpy at the end": "import numpy\n"
    + _DEF
    + "return _map(_written(*args, **options), lambda t: torch.from_numpy(numpy.array(t.detach())).to(t.dtype))",
}
NEEDS_PLAIN = {"in place on copies", "numpy at the end"}
