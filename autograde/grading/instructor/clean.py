"""HTML that a browser cannot be made to run: whitelisted tags, no scripts, no forms, no remote content."""

from __future__ import annotations

import base64
import binascii
import html
import re

import bleach

TAGS = frozenset(
    "a abbr b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li ol p pre s samp span strong sub sup "
    "table tbody td th thead tr u ul var".split()
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
IMAGES = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff"}
IMAGE_MAX = 4 << 20
FRAGMENT_MAX = 30_000  # characters
ACTIVE = re.compile(r"\\(href|require|unicode|style|class|cssId|data)\b", re.IGNORECASE)  # what MathJax would obey


def fragment(dirty: str) -> str:
    """A sanitised piece of HTML."""
    if len(dirty) > FRAGMENT_MAX:  # the cleaner's time grows with the square of what is odd in it
        dirty = dirty[:FRAGMENT_MAX] + " [cut here]"
    allowed = {"a": ["href", "title"], "td": ["align"], "th": ["align"], "span": ["class"], "div": ["class"]}
    return bleach.clean(
        dirty, tags=TAGS, attributes=allowed, protocols=["http", "https", "mailto"], strip=True, strip_comments=True
    )


def markdown(source: str) -> str:
    """Markdown of a student's or an instructor's, as harmless HTML."""
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    return fragment(markdown2html_mistune(ACTIVE.sub("", source[:FRAGMENT_MAX])))


def code(source: str) -> str:
    """Python with colours, which need no script."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(source, PythonLexer(), HtmlFormatter(nowrap=False, cssclass="code"))


def code_style() -> str:
    """The style sheet that ``code`` needs."""
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="default").get_style_defs(".code")


def image(mime: str, data: object) -> str:
    """A picture that really is one, inlined; else nothing."""
    if mime not in IMAGES or not isinstance(data, str) or len(data) > IMAGE_MAX:
        return ""
    try:
        raw = base64.b64decode(re.sub(r"\s", "", data), validate=True)
    except (binascii.Error, ValueError):
        return ""
    if not raw.startswith(IMAGES[mime]):
        return ""
    return f'<img src="data:{mime};base64,{base64.b64encode(raw).decode()}" alt="figure">'


def bundle(data: dict) -> dict:
    """Of an output's forms those that are harmless: its text, a real picture, or else its HTML without what runs."""
    kept = {mime: value for mime, value in data.items() if image(mime, value) or mime == "text/plain"}
    page = data.get("text/html")
    if isinstance(page, str) and not any(mime in IMAGES for mime in kept):
        kept["text/html"] = fragment(ACTIVE.sub("", page))
    return kept


def text(value: str) -> str:
    """Text as text."""
    return html.escape(value, quote=True)


def outputs(items: list[dict], limit: int = 20_000) -> str:
    """A cell's outputs: text and raster pictures only; rich HTML is shown by its plain form."""
    parts = []
    for item in items:
        kind = item["output_type"]
        if kind == "stream":
            parts.append(f"<pre>{text(item['text'][:limit])}</pre>")
        elif kind == "error":
            parts.append(f'<pre class="error">{text((item["ename"] + ": " + item["evalue"])[:limit])}</pre>')
        else:
            data = item.get("data", {})
            pictures = [image(mime, data[mime]) for mime in IMAGES if mime in data]
            shown = next(filter(None, pictures), "")
            if not shown and isinstance(data.get("text/plain"), str):
                shown = f"<pre>{text(data['text/plain'][:limit])}</pre>"
            parts.append(shown)
    return "\n".join(filter(None, parts))
