"""HTML pages of one file each: no other file, no script, readable by eye and by screen reader.

Everything comes from the templates `*.html.j2` of this package, in which jinja2 escapes every value by itself; control
characters are taken out on the same way (`printable`), so that no template can forget either.
"""

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..text import printable
from .sheets import data_url

QUALITY = 88
# Characters of a text from somebody's file that a page shows.
MAX_SHOWN = 600


def render(template: str, **values: Any) -> Markup:
    """A template, by its path below this package, filled in; texts are escaped, `Markup` is HTML already."""
    return Markup(_templates().get_template(template).render(values))


def macro(template: str, name: str) -> Any:
    """A macro of a template: a function that gives `Markup`."""
    return getattr(_templates().get_template(template).module, name)


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_url": lambda image: data_url(image, QUALITY), "short": short}
    return environment


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def short(text: str) -> str:
    """A text of somebody's file, cut where it is long."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
