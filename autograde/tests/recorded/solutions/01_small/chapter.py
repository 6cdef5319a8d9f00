# %% [markdown]
# # 01 Small: a weighted sum, noise, and a test
# {{exercises}} exercises, {{minutes}} minutes, {{points}} points. To run: {{budget}}.

# %% tags=["parameters"]
PROFILE = "laptop"
TRAIN = True

# %% nbgrader={"grade_id": "setup", "locked": true}
import torch

from coursekit import checks

# %% [markdown] exercise={"id": "softened", "difficulty": 2, "importance": 4, "minutes": 5}
# ## Weighted running sums


# %% nbgrader={"grade_id": "softened", "solution": true} autograde={"library": ["torch.cumsum"]}
def softened(x, scale):
    """s_i = sum of scale * sigmoid(x_j) over j <= i, along the last dimension."""
    # TODO
    ### BEGIN SOLUTION
    weights = scale * torch.sigmoid(x)
    lower = torch.tril(torch.ones(x.shape[-1], x.shape[-1], dtype=x.dtype))
    return weights @ lower.T
    ### END SOLUTION


# %% nbgrader={"grade_id": "softened_check", "grade": true, "points": 2}
# Sums added up one by one. You should see: 3 cases right.
checks.run("softened", softened)

# %%
sums = checks.fallback(
    softened, lambda x, scale: (scale * x.sigmoid()).cumsum(-1), works=lambda f: len(f(torch.ones(2), 1.0)) == 2
)

# %% [markdown] exercise={"id": "noisy", "difficulty": 1, "importance": 3, "minutes": 3}
# ## Noise


# %% nbgrader={"grade_id": "noisy", "solution": true}
def noisy(x, std, generator=None):
    """x plus normal noise of this standard deviation."""
    ### BEGIN SOLUTION
    return x + std * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    ### END SOLUTION


# %% nbgrader={"grade_id": "noisy_check", "grade": true, "points": 1}
# Many draws at once. You should see: 3 cases right.
checks.run("noisy", noisy)

# %% [markdown] exercise={"id": "is_even", "difficulty": 3, "importance": 3, "minutes": 3}
# ## A test of functions


# %% nbgrader={"grade_id": "is_even", "solution": true}
def is_even(f):
    """Whether f(x) = f(-x) for all x in [-3, 3]."""
    ### BEGIN SOLUTION
    x = torch.linspace(0, 3, 301, dtype=torch.float64)
    return bool((f(x) - f(-x)).abs().max() < 1e-6)
    ### END SOLUTION


# %% nbgrader={"grade_id": "is_even_check", "grade": true, "points": 1}
# Functions, even and not. You should see: 9 cases right.
checks.run("is_even", is_even)
