"""The pages as one gradio app: layout, looks, and what gradio leaves undone for keyboards and screen readers."""

from pathlib import Path
from typing import Any

import gradio as gr

from .apply_page import ApplyPage
from .compare_page import ComparePage
from .learn_page import LearnPage
from .library_page import LibraryPage
from .log import LOG, in_brief
from .studio import Studio

TITLE = "vii: edit images by example"
# Pictures that are looked at, and questions that are answered, at once.
MAX_THREADS = 8
STYLE, SCRIPT = ((Path(__file__).parent / "templates" / name).read_text("utf-8") for name in ("page.css", "page.js"))


def theme() -> gr.themes.Base:
    """gradio's own, with the fonts that are there, so that none is fetched, and a colour on which white can be read."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return gr.themes.Default(primary_hue="blue", **fonts).set(
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700"
    )


class Page(gr.Blocks):  # type: ignore[misc]
    """Blocks that answer in one line what cannot be handled, such as a text in the place of a number: gradio prints a
    traceback for each, and none of them is the page's own doing.
    """

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """As gradio's."""
        try:
            return await super().process_api(*arguments, **options)
        except Exception as error:
            LOG.error("a request could not be handled: %s", in_brief(error))
            raise gr.Error("this could not be handled; the terminal says more", print_exception=False) from None


def build(studio: Studio) -> gr.Blocks:
    """The app; see `server.py` for how it is served."""
    # Uploads and results are deleted after a day, and all of them when the server ends.
    with Page(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
        gr.Markdown("# vii: edit images by example")
        with gr.Tabs(selected="learn") as tabs:
            with gr.Tab("Learn", id="learn"):
                learn = LearnPage(studio)
            with gr.Tab("Apply", id="apply"):
                apply = ApplyPage(studio)
            with gr.Tab("Compare", id="compare"):
                compare = ComparePage(studio)
            with gr.Tab("Library", id="library") as page:
                library = LibraryPage(studio)
        apply.wire()
        compare.wire()
        library.wire(blocks, tabs, page, apply.picked, learn.wire())
    blocks.max_threads = MAX_THREADS
    blocks.create_limiter()
    return blocks
