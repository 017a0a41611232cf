"""Reading an HTML page in a test."""

import html.parser
import re


class Page(html.parser.HTMLParser):
    """What a reader gets from a page: tags with attributes, and whether every tag is closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def complete(source, pictures):
    """A page that needs no other file and runs no script, with so many pictures, each with words of its own."""
    page = Page(source)
    assert page.open == []
    assert page.of("html") == [{"lang": "en"}]
    images = page.of("img")
    assert len({image["alt"] for image in images}) == len(images) == pictures
    for image in images:
        assert image["src"].startswith("data:image/jpeg;base64,")
        assert len(image["alt"]) > 10
    assert not page.of("script")
    assert not page.of("link")
    assert not re.search(r"https?://|url\(|@import", source)
    assert "prefers-color-scheme: dark" in source
    return page
