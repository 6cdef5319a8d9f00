# %% [markdown]
# # 01 Tiny: two sums
# {{exercises}} exercises, {{minutes}} minutes, {{points}} points. To run: {{budget}}.

# %% tags=["parameters"]
PROFILE = "laptop"  # smoke, laptop or gpu
TRAIN = True

# %%
import torch

from coursekit import checks

SEED = 0

# %% [markdown] exercise={"id": "running_sum", "difficulty": 2, "importance": 4, "minutes": 5}
# ## Running sums
# Why it matters: a cumulative distribution is one.


# %% nbgrader={"grade_id": "running_sum", "solution": true} autograde={"library": ["torch.cumsum"]}
def running_sum(x):
    """s_i = x_1 + ... + x_i."""
    # TODO
    ### BEGIN SOLUTION
    lower = torch.tril(torch.ones(len(x), len(x), dtype=x.dtype))
    return lower @ x
    ### END SOLUTION


# %% nbgrader={"grade_id": "running_sum_check", "grade": true, "points": 2}
x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
checks.close(
    running_sum(x),
    torch.tensor([1.0, 3.0, 7.0], dtype=torch.float64),
    "running_sum([1, 2, 4])",
    mistakes={"the sum must include x_i itself": torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)},
)
### BEGIN HIDDEN TESTS
secret_input = torch.tensor([-1.0, -2.0, 5.0, 3.0], dtype=torch.float64)
checks.close(
    running_sum(secret_input),
    torch.tensor([-1.0, -3.0, 2.0, 5.0], dtype=torch.float64),
    "running_sum on other numbers",
    mistakes={"negative numbers count too": torch.tensor([0.0, 0.0, 5.0, 8.0], dtype=torch.float64)},
)
### END HIDDEN TESTS

# %%
sums = checks.fallback(running_sum, lambda x: x.cumsum(0), works=lambda f: len(f(torch.ones(2))) == 2)

# %% [markdown] exercise={"id": "noisy", "difficulty": 1, "importance": 3, "minutes": 3}
# ## Noise
# Why it matters: every sampler needs it.


# %% nbgrader={"grade_id": "noisy", "solution": true}
def noisy(x, generator=None):
    """x plus standard normal noise."""
    ### BEGIN SOLUTION
    return x + torch.randn(x.shape, generator=generator, dtype=x.dtype)
    ### END SOLUTION


# %% nbgrader={"grade_id": "noisy_check", "grade": true, "points": 1}
draws = noisy(torch.zeros(4000, dtype=torch.float64), generator=torch.Generator().manual_seed(SEED))
checks.unbiased(draws, 0.0, "the mean of noisy(0)")
checks.unbiased(draws**2, 1.0, "the variance of noisy(0)")
### BEGIN HIDDEN TESTS
moved = noisy(torch.full((4000,), 3.0, dtype=torch.float64), generator=torch.Generator().manual_seed(SEED + 1))
checks.unbiased(moved, 3.0, "the mean of noisy(3)")
### END HIDDEN TESTS

# %% tags=["lab", "train"]
from coursekit.report import metric

total = float(sums(torch.ones(10 if PROFILE == "smoke" else 100))[-1])
metric("total", total, "units", floor=1.0)
