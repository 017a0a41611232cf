"""Pages from templates: escaped without being asked to, without control characters, and part of the package."""

import re
from pathlib import Path

import jinja2
import pytest
from hatchling.builders.wheel import WheelBuilder
from pages import Page

import vii
from vii.rendering.html import macro, render

PACKAGE = Path(vii.__file__).parent
EVIL = '"><script>alert(1)</script>\x1b]0;owned\x07\u202e\udcff'


def templates():
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.html.j2"))


def test_values_are_escaped_and_lose_what_is_not_shown():
    page = render("rendering/templates/document.html.j2", title=EVIL)
    assert not Page(page).of("script")
    assert page.count("&lt;script&gt;") == 2
    assert not {"\x1b", "\x07", "\u202e", "\udcff"} & set(page)
    listed = macro("rendering/templates/parts.html.j2", "listed")({EVIL: EVIL})
    assert {tag for tag, _ in Page(listed).tags} == {"ul", "li"}


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        render("rendering/templates/document.html.j2")


def test_no_template_switches_escaping_off():
    assert len(templates()) >= 4
    for path in templates():
        assert not re.search(r"\|\s*safe|autoescape|Markup", (PACKAGE / path).read_text()), path


def test_templates_are_in_the_wheel():
    files = {file.distribution_path for file in WheelBuilder(str(PACKAGE.parent)).recurse_included_files()}
    assert {f"vii/{path}" for path in templates()} <= files
