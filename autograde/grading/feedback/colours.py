"""Python in colours, each character read once; pygments takes the square of the length on a cell of blank lines."""

from __future__ import annotations

import builtins
import html
import keyword
import re

CODE_MAX = 100_000  # characters of a cell that are shown


def _quoted(mark: str) -> str:
    """A string in these quotation marks; one that is never closed goes on to the end of its line, or of the cell."""
    inside = rf"[^{mark}\\]|\\."
    return rf"{mark * 3}(?:{inside}|{mark}(?!{mark * 2}))*+(?:{mark * 3})?|{mark}(?:[^{mark}\\\n]|\\.)*+{mark}?"


# Names of the groups are the classes of pygments' style sheets. Every alternative keeps what it has begun with.
TOKENS = re.compile(
    r"(?P<c>#[^\n]*+)"
    rf"|(?P<s>(?:\b[bBfFrRuU]{{1,2}}(?=[\"']))?(?:{_quoted(chr(34))}|{_quoted(chr(39))}))"
    r"|(?P<nd>@[^\W\d][\w.]*+)|(?P<m>\b\d[\w.]*+)|(?P<n>[^\W\d]\w*+)|(?P<o>[-+*/%=<>&|^~!]++)",
    re.DOTALL,
)
BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_"))


def _span(found: re.Match) -> tuple[str, str]:
    kind, text = found.lastgroup or "", found[0]
    if kind == "n":
        kind = "k" if keyword.iskeyword(text) else "nb" if text in BUILTINS else ""
    return kind, text


def code(source: str) -> str:
    """A cell as HTML that needs no script, cut at ``CODE_MAX`` characters."""
    parts, at, shown = [], 0, source[:CODE_MAX]
    for found in TOKENS.finditer(shown):
        kind, text = _span(found)
        if kind:
            parts += [html.escape(shown[at : found.start()]), f'<span class="{kind}">{html.escape(text)}</span>']
            at = found.end()
    parts.append(html.escape(shown[at:]) + ("\n[cut here]" if len(source) > CODE_MAX else ""))
    return f'<div class="highlight code"><pre>{"".join(parts)}\n</pre></div>\n'


def style() -> str:
    """The style sheet that ``code`` needs."""
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="default").get_style_defs(".code")
