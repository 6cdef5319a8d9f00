# ruff: noqa: E501  cells are quoted here in few lines
"""What chapters write, each with an answer that works and one that the very same test must catch."""

DOUBLE = "def f(x): return 2 * x"
MODULE = """class f(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.first, self.act = nn.Linear(d, 3), nn.Tanh()
        self.scale = nn.Parameter(torch.ones(()))
    def forward(self, x): return self.scale * self.act(self.first(x)).sum(-1)"""
# (what a chapter writes, the reference, the test, a wrong answer that the very same test must catch)
IDIOMS = {
    "tensors": (
        DOUBLE,
        "x = torch.randn(3)\nassert torch.equal(f(x), 2 * x) and f(x).dtype == x.dtype",
        "def f(x): return x",
    ),
    "numbers": (
        "def f(n): return n ** 40",
        "assert f(7) == 7 ** 40 and isinstance(f(7), int)",
        "def f(n): return 7.0 ** 40",
    ),
    "containers": (
        "def f(): return {'a': (1, [2.5, None]), 'b': {1, 2}}",
        "assert f() == {'a': (1, [2.5, None]), 'b': {1, 2}}",
        "def f(): return {'a': [1, [2.5, None]], 'b': {1, 2}}",
    ),
    "numpy": (
        "def f(a): return np.sort(a)",
        "assert f(np.array([2, 1])).tolist() == [1, 2] and isinstance(f(np.ones(2)), np.ndarray)",
        "def f(a): return a",
    ),
    "keyword arguments": (
        "def f(x, *, scale=1.0): return x * scale",
        "assert f(torch.ones(2), scale=3.0).tolist() == [3, 3]",
        "def f(x, *, scale=1.0): return x",
    ),
    "modules": (
        MODULE,
        "m = f(2)\nassert isinstance(m, nn.Module) and len(list(m.parameters())) == 3\n"
        "assert set(m.state_dict()) == {'scale', 'first.weight', 'first.bias'}\n"
        "assert m.first.weight.shape == (3, 2) and isinstance(m.act, nn.Tanh) and isinstance(m, f)\n"
        "assert sum(p.numel() for p in m.parameters()) == 10 and m.eval().training is False",
        MODULE.replace("self.scale = nn.Parameter(torch.ones(()))", "self.scale = torch.ones(())"),
    ),
    "parameters set by the test": (
        MODULE,
        "m = f(2)\nwith torch.no_grad():\n    for p in m.parameters(): p.fill_(0.5)\n"
        "checks.close(m(torch.ones(1, 2)), torch.tensor([1.5 * math.tanh(1.5)]))\n"
        "m.load_state_dict({k: torch.zeros_like(v) for k, v in m.state_dict().items()})\nassert m(torch.ones(1, 2)).item() == 0",
        MODULE.replace("self.scale *", ""),
    ),
    "training by the test": (
        MODULE,
        "torch.manual_seed(0)\nm = f(2)\no = torch.optim.Adam(m.parameters(), lr=0.05)\nx = torch.randn(40, 2)\n"
        "y = torch.tanh(x[:, 0])\nstart = ((m(x) - y) ** 2).mean().item()\n"
        "for _ in range(60):\n    o.zero_grad(); loss = ((m(x) - y) ** 2).mean(); loss.backward(); o.step()\n"
        "assert loss.item() < 0.3 * start, loss",
        MODULE.replace("self.first(x)", "self.first(x).detach()").replace("self.scale *", ""),
    ),
    "training step by the student": (
        "def f(model, opt, x):\n    loss = (model(x) ** 2).mean()\n    opt.zero_grad(); loss.backward(); opt.step()\n    return loss.item()",
        "m = nn.Linear(2, 1)\no = torch.optim.Adam(m.parameters(), lr=0.1)\nx = torch.randn(8, 2)\n"
        "first = f(m, o, x)\nfor _ in range(20): last = f(m, o, x)\nassert last < first and (m(x) ** 2).mean() < first\n"
        "assert len(o.state_dict()['state']) == 2",
        "def f(model, opt, x):\n    loss = (model(x) ** 2).mean()\n    loss.backward()\n    return loss.item()",
    ),
    "gradients": (
        "def f(x): return (x ** 3).sum(-1)",
        "x = torch.randn(4, 2, dtype=torch.float64)\nchecks.close(checks.grad(f, x), 3 * x ** 2, 'the gradient')\n"
        "y = x.clone().requires_grad_()\n(g,) = torch.autograd.grad(f(y).sum(), y)\nchecks.close(g, 3 * x ** 2)\n"
        "assert checks.jacobian(f, x).shape == (4, 4, 2)",
        "def f(x): return (x.detach() ** 3).sum(-1)",
    ),
    "gradients to parameters": (
        MODULE,
        "m = f(2)\nchecks.gradient_reaches(m, torch.randn(3, 2))",
        MODULE.replace("self.scale *", ""),
    ),
    "judge's function given": (
        "def f(g, x): return g(x) + g(2 * x)",
        "assert torch.equal(f(lambda t: t + 1, torch.ones(2)), torch.tensor([5.0, 5.0]))",
        "def f(g, x): return g(x)",
    ),
    "gradient through a judge's function": (
        "def f(g, x):\n    x = x.detach().requires_grad_()\n    return torch.autograd.grad(g(x).sum(), x)[0]",
        "x = torch.randn(5)\nchecks.close(f(lambda t: t ** 3, x), 3 * x ** 2)",
        "def f(g, x): return g(x)",
    ),
    "library function given": (
        "def f(g, x): return g(x, dim=0)",
        "assert abs(f(torch.softmax, torch.randn(4)).sum() - 1) < 1e-6 and f(F.log_softmax, torch.randn(4)).max() < 0",
        "def f(g, x): return g(x, dim=0) * 2",
    ),
    "judge's module given": (
        "def f(model, x): return model(x).sum()",
        "m = nn.Sequential(nn.Linear(2, 3), nn.ReLU())\nx = torch.randn(4, 2)\nchecks.close(f(m, x), m(x).sum())",
        "def f(model, x): return model.train() and x.sum()",
    ),
    "generators": (
        "def f(n):\n    for i in range(n): yield torch.tensor(i)",
        "assert [int(t) for t in f(4)] == [0, 1, 2, 3]\nimport itertools\nassert len(list(itertools.islice(f(10**9), 3))) == 3",
        "def f(n):\n    for i in range(n - 1): yield torch.tensor(i)",
    ),
    "global random numbers": (
        "def f(n): return torch.randn(n)",
        "torch.manual_seed(3)\na = torch.rand(2)\nb = f(4)\ntorch.manual_seed(3)\ntorch.rand(2)\nassert torch.equal(b, torch.randn(4))\n"
        "assert not torch.equal(f(4), f(4))",
        "def f(n): torch.manual_seed(0); return torch.randn(n)",
    ),
    "a generator passed": (
        "def f(n, generator): return torch.randn(n, generator=generator)",
        "g = lambda s: torch.Generator().manual_seed(s)\nassert torch.equal(f(3, g(1)), torch.randn(3, generator=g(1)))\n"
        "assert not torch.equal(f(3, g(1)), f(3, g(2)))",
        "def f(n, generator): return torch.randn(n)",
    ),
    "errors expected": (
        "def f(x):\n    if x < 0: raise ValueError(f'x must be positive; got {x}')\n    return x",
        "checks.raises(ValueError, f, -1, match='positive')\ntry: f(-2)\nexcept ValueError as e: assert '-2' in str(e)",
        "def f(x): return x",
    ),
    "objects with attributes": (
        "class f:\n    def __init__(self, n): self.n, self.log = n, []\n    def add(self, v): self.log.append(v); return self\n"
        "    def __len__(self): return len(self.log)\n    def __getitem__(self, i): return self.log[i]",
        "o = f(3)\no.add(1).add(2)\nassert o.n == 3 and len(o) == 2 and o[1] == 2 and list(o) == [1, 2] and hasattr(o, 'log')\n"
        "o.n = 5\nassert o.n == 5 and not hasattr(o, 'missing')",
        "class f:\n    def __init__(self, n): self.n, self.log = n, []\n    def add(self, v): return self\n    def __len__(self): return 2",
    ),
    "distributions": (
        "def f(m): return torch.distributions.Normal(m, 1.0)",
        "d = f(torch.zeros(2))\nassert isinstance(d, torch.distributions.Distribution) and d.sample((5,)).shape == (5, 2)\n"
        "checks.close(d.log_prob(torch.zeros(2)), -0.5 * torch.log(torch.tensor([2.0, 2.0]) * math.pi))",
        "def f(m): return torch.distributions.Normal(m, 2.0)",
    ),
    "a fallback in between": (
        DOUBLE,
        "assert g(torch.ones(1)).item() == 2 and f(torch.ones(1)).item() == 2",
        "def f(x): 1 / 0",
    ),
}
