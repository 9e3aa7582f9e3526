"""Building blocks of the page at /docs. All text from outside is escaped here."""

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any, TypeAlias

Markup: TypeAlias = str
"""HTML that is already escaped."""

_REQUIRED = ' <span class="need">required</span>'
_TOKEN = re.compile(r'(?P<k>"(?:[^"\\]|\\.)*"(?=: ))|(?P<s>"(?:[^"\\]|\\.)*")|(?P<n>-?\d[\d.eE+-]*|true|false|null)')


def render_text(text: str) -> Markup:
    """Render paragraphs, with `code` between backticks."""
    return "".join(f"<p>{render_words(part.strip())}</p>" for part in text.split("\n\n") if part.strip())


def render_words(text: str) -> Markup:
    """Render one or more sentences, with `code` between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def render_table(rows: Sequence[tuple[str, Markup, bool, str]]) -> Markup:
    """Render rows of name, kind, required flag and description."""
    body = "".join(
        f"<tr><td><code>{escape(name)}</code>{_REQUIRED if required else ''}</td>"
        f"<td>{kind}</td><td>{render_words(about)}</td></tr>"
        for name, kind, required, about in rows
    )
    return f'<div class="scroll"><table>{body}</table></div>'


def render_type(schema: dict[str, Any]) -> Markup:
    """Describe a JSON schema in a few words, with links to other shapes."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#shape-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(render_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {render_type(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {render_type(schema['additionalProperties'])}"
    return escape(schema.get("format", kind))


def render_example(value: Any) -> Markup:
    """Render JSON, indented and coloured."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return f"<pre>{_colour(text)}</pre>"


def _colour(text: str) -> Markup:
    parts, end = [], 0
    for token in _TOKEN.finditer(text):
        parts.append(escape(text[end : token.start()]))
        parts.append(f'<span class="{token.lastgroup}">{escape(token.group())}</span>')
        end = token.end()
    return "".join([*parts, escape(text[end:])])
