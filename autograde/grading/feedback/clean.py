"""HTML that a browser cannot be made to run: whitelisted tags, no scripts, no forms, no remote content."""

from __future__ import annotations

import base64
import binascii
import html
import re

import bleach

from autograde.grading.record.result import TOLD_MAX

TAGS = frozenset(
    "a abbr b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li ol p pre s samp span strong sub sup "
    "table tbody td th thead tr u ul var".split()
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
IMAGES = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff"}
IMAGE_MAX = 4 << 20
FRAGMENT_MAX = 30_000  # characters
DEPTH_MAX = 60  # elements inside each other: the cleaner's time grows with the square of it
TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)((?:[^<>\"']|\"[^<>\"]*\"|'[^<>']*')*+)>")
VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
COMMENT = re.compile(r"<!--(?:[^-]|-(?!->))*+(?:-->)?")
ACTIVE = re.compile(r"\\(href|require|unicode|style|class|cssId|data)\b", re.IGNORECASE)  # what MathJax would obey


def shallow(dirty: str) -> str:
    """HTML that a cleaner reads in time that grows with its length alone: real tags, not too deep, not too many."""
    parts, at, inside, length = [], 0, [], 0
    cut = " [cut here]" if len(dirty) > FRAGMENT_MAX else ""
    dirty = CONTROL.sub("", COMMENT.sub("", dirty[:FRAGMENT_MAX]))
    for tag in TAG.finditer(dirty + "<wbr>"):  # the last one stands for the end
        parts += [dirty[at : tag.start()].replace("<", "&lt;"), tag[0]]
        length += len(parts[-2]) + len(tag[0])
        at, name = tag.end(), tag[2].lower()
        if not tag[1] and name not in VOID:
            inside.append(name)
        elif name in inside:
            del inside[len(inside) - 1 - inside[::-1].index(name) :]
        if len(inside) > DEPTH_MAX or length > FRAGMENT_MAX:
            return "".join(parts)[:FRAGMENT_MAX] + " [cut here]"
    return "".join(parts[:-1]) + cut


def fragment(dirty: str) -> str:
    """A sanitised piece of HTML."""
    allowed = {"a": ["href", "title"], "td": ["align"], "th": ["align"], "span": ["class"], "div": ["class"]}
    return bleach.clean(
        shallow(dirty),
        tags=TAGS,
        attributes=allowed,
        protocols=["http", "https", "mailto"],
        strip=True,
        strip_comments=True,
    )


def markdown(source: str) -> str:
    """Markdown of a student's or an instructor's, as harmless HTML."""
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    return fragment(markdown2html_mistune(ACTIVE.sub("", source[:FRAGMENT_MAX])))


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


def guarded(items: list[dict]) -> list[dict]:
    """Of what a student's process says after a hidden test only its errors, cut short: it has seen hidden inputs."""
    errors = [item for item in items if item["output_type"] == "error"]
    return [{**e, "ename": e["ename"][:80], "evalue": e["evalue"][:TOLD_MAX], "traceback": []} for e in errors[-1:]]


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
