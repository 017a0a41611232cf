"""One HTML page in a file of its own: no other file, no script, readable by eye and by screen reader."""

from collections.abc import Mapping
from html import escape

from torch import Tensor

from .sheets import data_url

QUALITY = 88

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #767676; --soft: #f2f2f2; --link: #0b57d0 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #161616; --line: #8c8c8c; --soft: #262626; --link: #8ab4f8 }
}
body { margin: 0 auto; max-width: 80rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif }
a { color: var(--link) }
h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem }
nav ul { columns: 18rem; padding-left: 1.2rem }
.wide { overflow-x: auto }
img { display: block; object-fit: contain; background: var(--soft) }
"""


def document(title: str, body: str, style: str = "") -> str:
    """A whole page.

    Args:
        title: shown as the heading too.
        body: HTML that follows the heading.
        style: CSS after `STYLE`.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""


def listed(facts: Mapping[str, str]) -> str:
    """Names and values as a list."""
    return f"<ul>{''.join(f'<li>{escape(name)}: {escape(value)}</li>' for name, value in facts.items())}</ul>"


def contents(label: str, heading: str, links: Mapping[str, str]) -> str:
    """Links to the sections of the page: id -> what it is called. `label` tells a screen reader what they lead to."""
    items = "".join(f'<li><a href="#{escape(key)}">{escape(text)}</a></li>' for key, text in links.items())
    return f'<nav aria-label="{escape(label)}"><h2>{escape(heading)}</h2><ul>{items}</ul></nav>'


def picture(image: Tensor, alt: str) -> str:
    """A picture `(3, h, w)` in [0, 1] inside the page; `alt` says what it shows to whoever cannot see it."""
    size = f'width="{image.shape[2]}" height="{image.shape[1]}"'
    return f'<img src="{data_url(image, QUALITY)}" alt="{escape(alt)}" {size}>'


def wide(label: str, content: str) -> str:
    """A region that scrolls sideways by itself, and by keyboard."""
    return f'<div class="wide" role="region" aria-label="{escape(label)}" tabindex="0">{content}</div>'
