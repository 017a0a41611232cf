"""The three pages as one gradio app: layout, looks, and what gradio leaves undone for keyboards and screen readers."""

from typing import Any

import gradio as gr

from .apply_page import ApplyPage
from .learn_page import LearnPage
from .library_page import LibraryPage
from .log import LOG, in_brief
from .studio import Studio

TITLE = "vii: edit images by example"
# Pictures that are looked at, and questions that are answered, at once.
MAX_THREADS = 8
STYLE = """
.gradio-container { max-width: 1080px !important; width: 100% !important; margin: 0 auto !important }
.gradio-container main { width: 100% !important }
.live:not(:has(p)), .quiet:not(:has(*)) { margin-bottom: calc(-1 * var(--layout-gap)) }
#shelf .thumbnail-item { aspect-ratio: 2 / 1 }
#photos .thumbnail-item { aspect-ratio: 3 / 2 }
#shelf .grid-wrap { min-height: 0; max-height: 75vh !important }
@media (max-width: 640px) {
  #shelf .grid-wrap { max-height: none !important }
  #shelf .grid-container, #photos .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) }
  #search, #edit { min-width: 100% !important }
}
.say { margin: .25rem 0; line-height: 1.5 }
.say.error { border-left: 4px solid #c62828; padding-left: .6rem }
.say.warning { border-left: 4px solid #b26a00; padding-left: .6rem }
.say.good { border-left: 4px solid #2e7d32; padding-left: .6rem }
.bar { height: .8rem; border-radius: .4rem; background: var(--border-color-primary); overflow: hidden }
.bar div { height: 100%; background: var(--color-accent) }
.strip .wide { overflow-x: auto; display: flex; gap: .6rem }
.strip figure { margin: 0; flex: none; width: 130px }
.strip img { width: 130px; height: auto }
.strip figcaption { font-size: .85rem; overflow-wrap: anywhere }
.facts { width: 100%; border-collapse: collapse }
.facts caption { text-align: left; font-weight: 600; padding-bottom: .3rem }
.facts th, .facts td { text-align: left; vertical-align: top; padding: .3rem .6rem !important; overflow-wrap: anywhere;
  border: 1px solid var(--border-color-primary) !important }
.facts th { overflow-wrap: normal }
.inset { padding: .6rem 1rem 0; background: var(--block-background-fill) }
#before, #after { min-width: 150px !important }
#before .upload-container, #after .upload-container { min-height: 180px }
"""
# Live regions must exist before their text changes; names are added to what gradio labels alike on every component.
SCRIPT = """
() => {
  document.documentElement.lang = 'en';
  const name = () => {
    for (const part of document.querySelectorAll('.live')) {
      part.setAttribute('aria-live', 'polite');
      part.setAttribute('role', 'status');
    }
    for (const [id, label] of [['before', 'Before'], ['after', 'After'], ['photos', 'Photos'], ['import', 'Import']]) {
      const block = document.getElementById(id);
      for (const part of block ? block.querySelectorAll('button, input[type=file]') : []) {
        const own = part.getAttribute('aria-label') || part.title || part.textContent.trim() || 'choose a file';
        if (!own.startsWith(label + ':')) part.setAttribute('aria-label', label + ': ' + own);
      }
    }
  };
  name();
  let due = false;
  new MutationObserver(() => {
    if (due) return;
    due = true;
    setTimeout(() => { due = false; name(); }, 300);
  }).observe(document.body, {childList: true, subtree: true});
}
"""


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
            with gr.Tab("Library", id="library") as page:
                library = LibraryPage(studio)
        apply.wire()
        library.wire(blocks, tabs, page, apply.picked, learn.wire())
    blocks.max_threads = MAX_THREADS
    blocks.create_limiter()
    return blocks
