"""The examples of the library's page run, and the page names every module."""

import pkgutil
import re
from pathlib import Path

import pytest

import genmodels

PAGE = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(# ([^:.]+).*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("source", [e[0] for e in EXAMPLES], ids=[e[1] for e in EXAMPLES])
def test_example_runs(source):
    import torch

    torch.manual_seed(0)
    exec(compile(source, "lib/README.md", "exec"), {})  # noqa: S102


def test_the_page_has_an_example_a_family_and_names_every_module():
    assert len(EXAMPLES) >= 9
    modules = {m.name for m in pkgutil.iter_modules(genmodels.__path__)} - {"bench", "pretrained"}
    missing = {m for m in modules if f"`{m}`" not in PAGE and m not in PAGE.split("|")[0]}
    assert not missing, f"lib/README.md does not name {sorted(missing)}"
