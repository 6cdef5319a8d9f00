# ruff: noqa: E501  cells are quoted here in few lines
"""What a test lends: tensors that an answer writes into, functions under torch.func, objects that come back."""

import pytest

from autograde.tests.test_grading_split import DOUBLE, chapter, points, pool, run  # noqa: F401  pool is a fixture

pytestmark = pytest.mark.sandbox
WRITES = {
    "in place": ("x.add_(1)", "x = torch.zeros(3)", "f(x)"),
    "by an index": ("x[1] = 5", "x = torch.zeros(3)", "f(x)"),
    "through a view": ("x.view(-1)[0] = 2", "x = torch.zeros(2, 2)", "f(x)"),
    "through .data": ("x.data.mul_(2)", "x = torch.ones(3)", "f(x)"),
    "through numpy": ("x.numpy()[0] = 7", "x = torch.zeros(3)", "f(x)"),
    "in a list": ("x[1].add_(1)", "x = torch.zeros(3)", "f([torch.ones(1), x])"),
    "in a tuple in a dict": ("x['a'][0].add_(1)", "x = torch.zeros(3)", "f({'a': (x, 1)})"),
    "a keyword": ("x.zero_()", "x = torch.ones(3)", "f(x=x)"),
    "by a shape": ("x.resize_(1)", "x = torch.ones(3)", "f(x)"),
    "by an order": ("x.t_()", "x = torch.eye(2)[:, :1].clone()", "f(x)"),
    "integers": ("x.add_(1)", "x = torch.zeros(3, dtype=torch.int64)", "f(x)"),
    "bools": ("x.logical_not_()", "x = torch.zeros(3, dtype=torch.bool)", "f(x)"),
    "half precision": ("x.add_(1)", "x = torch.zeros(3, dtype=torch.bfloat16)", "f(x)"),
    "not a number": ("x.fill_(float('nan'))", "x = torch.zeros(3)", "f(x)"),
    "one that wants a gradient": ("with torch.no_grad(): x.add_(1)", "x = torch.zeros(3, requires_grad=True)", "f(x)"),
}  # fmt: skip
HARMLESS = {
    "a copy": ("x = x.clone(); x.add_(1)", "x = torch.zeros(3)", "f(x)"),
    "nothing": ("pass", "x = torch.full((3,), float('nan'))", "f(x)"),
    "an array": ("x[0] = 1", "x = np.zeros(3)", "f(x)"),
    "there and back": ("x.add_(1); x.sub_(1)", "x = torch.zeros(3)", "f(x)"),
    "its own": ("y = torch.ones(2); y.add_(1)", "x = torch.zeros(3)", "f(x)"),
}


@pytest.mark.parametrize("name", {**WRITES, **HARMLESS})
def test_a_write_into_an_argument_is_told_and_the_tests_own_tensor_stays(pool, name):  # noqa: F811
    body, made, call = {**WRITES, **HARMLESS}[name]
    written = name in WRITES
    test = f"{made}\nbefore = copy.deepcopy(x)\nother = torch.zeros(1)\n{call}\n"
    test += f"assert getattr(x, 'written_by_answer', False) is {written}\n"
    test += "assert np.array_equal(np.asarray(x.detach().double() if isinstance(x, torch.Tensor) else x), "
    test += "np.asarray(before.detach().double() if isinstance(x, torch.Tensor) else before), equal_nan=True)\n"
    test += "assert not hasattr(other, 'written_by_answer')"
    got, why = points(pool, f"def f(x):\n    {body}\n    return 1", f"import copy\n{test}")
    assert got == 4, why


LENT = "lambda x: (x ** 3).sum(-1) + x[..., 0] * x[..., 1]"
TRANSFORMS = {
    "jacrev": "torch.func.jacrev(g)(x)",
    "grad": "torch.func.grad(lambda a: g(a).sum())(x)",
    "vmap": "torch.vmap(g)(x.expand(4, -1))",
    "vmap of grad": "torch.vmap(torch.func.grad(g))(torch.stack([x, 2 * x]))",
    "jvp": "torch.func.jvp(g, (x,), (x.cos(),))",
    "jacfwd": "torch.func.jacfwd(lambda a: g(torch.stack([a, 2 * a])))(x)",
    "vjp": "torch.func.vjp(g, x)[1](torch.ones(()))[0]",
    "two arguments": "torch.func.jacrev(lambda a, b: g(a) * g(b), (0, 1))(x, 2 * x)",
    "vmap over a second axis": "torch.vmap(g, in_dims=1)(torch.stack([x, 2 * x], 1))",
    "beside its own": "torch.func.jacrev(lambda a: g(a.sin()) * a.sum())(x)",
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_lent_function_works_under_torchs_transforms(pool, name):  # noqa: F811
    """The oracle is the same transform of the same function, in the judge."""
    expression = TRANSFORMS[name]
    test = f"g = {LENT}\nx = torch.tensor([0.5, -1.5])\nwant = {expression}\ngot = f(g, x)\n"
    test += "flat = torch.utils._pytree.tree_leaves\nassert len(flat(got)) == len(flat(want))\n"
    test += "for a, b in zip(flat(got), flat(want)): checks.close(a, b)"
    got, why = points(pool, f"def f(g, x): return {expression}", test)
    assert got == 4, why


def test_what_a_lent_function_cannot_do_under_a_transform_is_said(pool):  # noqa: F811
    test = "f(lambda x: x ** 3, torch.ones(2))"
    twice = [
        "torch.func.hessian(lambda a: g(a).sum())(x)",
        "torch.func.jacrev(torch.func.jacrev(lambda a: g(a).sum()))(x)",
    ]
    twice += ["torch.autograd.functional.hessian(lambda a: g(a).sum(), x)"]
    for answer in twice:
        got, why = points(pool, "def f(g, x): return x", test, f"def f(g, x): return {answer}")
        assert got == 0 and "only once" in why and "Violation" not in why, (answer, why)
    got, why = points(
        pool, "def f(g, x): return x", "f(lambda x: 'text', torch.ones(2))", "def f(g, x): return torch.vmap(g)(x)"
    )
    assert got == 0 and "must return tensors" in why, why


OBJECTS = {
    "def f(x): return {}.items()": "dict_items",
    "class Model:\n    pass\ndef f(x): return Model()": "Model",
}


@pytest.mark.parametrize("answer", OBJECTS)
def test_an_object_is_called_by_its_own_class_and_not_said_to_be_callable(pool, answer):  # noqa: F811
    got, why = points(pool, DOUBLE, "checks.close(f(torch.ones(2)), torch.ones(2) * 2, 'f')", answer)
    assert got == 0 and OBJECTS[answer] in why and "Remote" not in why and "call it" not in why, why


def test_a_function_that_comes_back_is_said_to_be_callable(pool):  # noqa: F811
    test = "assert callable(f(1)) and not callable(f(2))\nchecks.close(f(1), torch.ones(2), 'f')"
    got, why = points(pool, DOUBLE, test, "def f(x): return (lambda: 1) if x == 1 else object()")
    assert got == 0 and "call it" in why and "Remote" not in why, why


# ------------------------------------------------------------------------------------------- the library's own answers

BANNED = "torch.nn.functional.scaled_dot_product_attention"
SPELLINGS = {
    "by the chapter's import": "F.scaled_dot_product_attention(q, q, q)",
    "by torch": "torch.nn.functional.scaled_dot_product_attention(q, q, q)",
    "a name put together": "getattr(F, 'scaled_dot' + '_product_attention')(q, q, q)",
    "the operator": "torch.ops.aten.scaled_dot_product_attention(q, q, q)",
    "the operator by name": "getattr(torch.ops.aten, 'scaled_dot_product' + '_attention').default(q, q, q)",
    "run as text": "eval('F.scaled_dot_' + 'product_attention(q, q, q)', globals(), {'q': q})",
    "out of a dictionary": "vars(F)['scaled_dot_product_attention'](q, q, q)",
    "from below": "torch._C._nn.scaled_dot_product_attention(q, q, q)",
    "taken apart": "torch.ops.aten.scaled_dot_product_attention.default.decompose(q, q, q)",
    "differentiated": "torch.func.vjp(lambda a: F.__dict__['scaled_dot_product_attention'](a, a, a), q)[0]",
    "in half precision": "(lambda a: F.__dict__['scaled_dot_product_attention'](a, a, a).float())(q.bfloat16())",
    "after a magic": "F.scaled_dot_product_attention(q, q, q)\n%time 1",
}


def attention(between=(), library=(BANNED,)):
    reference = "def f(q): return (q @ q.mT / q.shape[-1] ** 0.5).softmax(-1) @ q"
    made = chapter(
        reference, "q = torch.randn(2, 3, 4)\nchecks.close(f(q), (q @ q.mT / 2).softmax(-1) @ q)", between=between
    )
    notebook = made.notebook
    notebook.cells[1].metadata["autograde"] = {"library": list(library)}
    from autograde.grading.intake import plan

    return plan.make("00_tiny", "tiny", notebook)


@pytest.fixture(scope="module")
def banning():
    from autograde.grading.sandbox.pool import Pool
    from autograde.tests.test_grading_split import LIMITS

    with Pool().configure(
        ["coursekit.checks", "genmodels.core"], [BANNED, "genmodels.core.log_mean_exp"], LIMITS
    ) as made:
        yield made


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_function_of_torchs_that_is_banned_answers_in_no_spelling(banning, name):
    body, _, tail = SPELLINGS[name].partition("\n")
    (test,) = run(banning, attention(), f"def f(q): return {body}\n{tail}").tests
    assert test.points == 0 and "library's own answer" in test.evalue, test


def test_a_right_answer_is_not_taken_for_one_of_torchs(banning):
    assert run(banning, attention()).tests[0].points == 4
    own = "def scaled_dot_product_attention(q, k, v): return (q @ k.mT / 2).softmax(-1) @ v\n"
    assert (
        run(banning, attention(), own + "def f(q): return scaled_dot_product_attention(q, q, q)").tests[0].points == 4
    )


@pytest.mark.parametrize("alias", ["genmodels.core.log_mean_exp", "genmodels.core.maths.log_mean_exp"])
def test_what_a_later_exercise_bans_does_not_come_back_before_it_is_graded(banning, alias):
    """Given back after the first exercise, it answered the second."""
    from nbformat import v4

    import genmodels.core
    from autograde.grading.intake import plan
    from autograde.tests.test_grading_split import SETUP, code

    if not alias.startswith("genmodels.core.log"):
        module = genmodels.core.log_mean_exp.__module__
        alias = f"{module}.log_mean_exp"
    right = "def {}(x): return x.exp().mean().log()"
    test = "x = torch.randn(5)\nchecks.close({}(x), x.exp().mean().log())"
    cells = [code(SETUP + "\nfrom genmodels import core")]
    for name, banned in {"f": "genmodels.core.log_mean_exp", "g": alias, "h": ""}.items():
        cells += [code(right.format(name), grade_id=name, solution=True)]
        cells[-1].metadata["autograde"] = {"library": [banned]} if banned else {}
        cells += [code(test.format(name), grade_id=f"{name}_check", grade=True, points=1)]
    made = plan.make("00_tiny", "tiny", v4.new_notebook(cells=cells))
    from autograde.grading.intake.graft import graft
    from autograde.grading.running import engine
    from autograde.tests.test_grading_split import LIMITS, submission

    steal = "def {}(x): return getattr(core, 'log_mean' + '_exp')(x, 0)"
    handed = submission(made, {name: steal.format(name) for name in "gh"})
    result = engine.grade(made, graft(made, handed), banning, "sam", {}, LIMITS)
    assert [t.points for t in result.tests] == [1, 0, 1], result.tests
