"""The page *Library*: the edits on this machine; look, import, share, remove."""

from typing import Any

import gradio as gr

from ..errors import ViiError
from . import fragments
from .parts import PRIVATE, error, live, paths_of
from .shelf import cards, details, entries, find, import_files, names_for, remove
from .studio import Studio


def build(studio: Studio, tabs: gr.Tabs, picked: gr.Dropdown, saved: Any, page: gr.Tab) -> Any:
    """Lay the page out and wire it.

    Args:
        studio: what the pages share.
        tabs: of all pages.
        picked: the field of the page Apply in which edits are picked.
        saved: the event after which the library holds another edit.
        page: this one.

    Returns:
        what to do, and where its answers go, when the page is opened in a browser.
    """
    with gr.Row():
        search = gr.Textbox(label="Search", placeholder="words or tags", elem_id="search")
        chosen = gr.Dropdown([], label="Edit", info="Pick here or in the pictures", elem_id="edit")
    count = live("library-count")
    gallery = gr.Gallery(
        label="Edits on this machine", show_label=False, columns=4, height="auto", object_fit="contain",
        allow_preview=False, interactive=False, buttons=[], elem_id="shelf",
    )  # fmt: skip
    facts = gr.HTML("", elem_id="facts")
    with gr.Row(visible=False) as actions:
        use = gr.Button("Use it", variant="primary", elem_id="use")
        share = gr.DownloadButton("Download to share", elem_id="share")
        drop = gr.Button("Remove ...", elem_id="remove")
    with gr.Row(visible=False) as sure:
        really = gr.Button("Delete it from this machine", variant="stop", elem_id="really")
        keep = gr.Button("Keep it", elem_id="keep")
    done = live("library-status")
    imports = gr.File(
        label="Import edit files", file_count="multiple", height=170,
        elem_id="import",
    )  # fmt: skip
    shown, dropped = gr.State([]), gr.State(None)

    def listed(words: str, current: str | None = None) -> tuple[Any, ...]:
        found = entries(words or "")
        names = [entry.name for entry in found]
        told = f"{len(found)} edit{'' if len(found) == 1 else 's'}"
        if not found:
            told = "No edit has all these words." if words else "No edits yet: learn one, or import a file below."
        kept = current if current in names else None
        usable = names_for(studio.editor_name)
        return (
            cards(found, studio.folder / "cards"),
            gr.Dropdown(names, value=kept),
            fragments.say(told),
            names,
            gr.Dropdown(usable),
        )

    def show(name: str | None) -> tuple[Any, ...]:
        hidden = (gr.Row(visible=False), gr.Row(visible=False))
        if not name:
            return ("", *hidden, gr.skip(), gr.skip())
        entry = next((entry for entry in entries() if entry.name == name), None)
        if entry is None:
            return (fragments.say("This edit is gone.", "error"), *hidden, gr.skip(), gr.skip())
        try:
            file = studio.hand_out(entry.path)
        except ViiError as problem:
            return (error(problem, studio), *hidden, gr.skip(), gr.skip())
        fits = entry.edit is not None and entry.edit.editor == studio.editor_name
        note = (
            ""
            if fits or entry.edit is None
            else (
                fragments.say(
                    f"Learned with another editor; start with: vii ui --editor {entry.edit.editor}", "warning"
                )
            )
        )
        return (
            details(entry) + note,
            gr.Row(visible=True),
            gr.Row(visible=False),
            gr.DownloadButton(value=file),
            gr.Button(interactive=fits),
        )

    def select(event: gr.SelectData, names: list[str]) -> Any:
        return names[event.index] if isinstance(event.index, int) and event.index < len(names) else gr.skip()

    def taken(values: Any) -> tuple[Any, Any]:
        # The field is free again before anything is said: files dropped while it is being emptied would be lost.
        return values, None

    def added(values: Any) -> Any:
        if not values:
            return gr.skip()
        try:
            names, refused = import_files(paths_of(values, studio), studio.folder)
        except ViiError as problem:
            return error(problem, studio)
        told = fragments.say(f"Imported: {', '.join(names)}.", "good") if names else ""
        return told + "".join(fragments.say(line, "error") for line in refused)

    def removed(name: str | None) -> str:
        try:
            remove(name or "")
        except ViiError as problem:
            return error(problem, studio)
        return fragments.say(f"'{name}' was removed.", "good")

    def used(name: str | None, already: list[str] | None) -> tuple[Any, ...]:
        try:
            find(name)
        except ViiError as problem:
            return gr.skip(), gr.skip(), error(problem, studio)
        names = list(dict.fromkeys([*(already or []), name]))
        return gr.Tabs(selected="apply"), gr.Dropdown(value=names), ""

    listing = [gallery, chosen, count, shown, picked]
    search.change(listed, [search, chosen], listing, **PRIVATE)
    page.select(listed, [search, chosen], listing, **PRIVATE)
    saved.then(listed, [search, chosen], listing, **PRIVATE)
    gallery.select(select, shown, chosen, **PRIVATE)
    chosen.change(show, chosen, [facts, actions, sure, share, use], **PRIVATE)
    checked = imports.upload(taken, imports, [dropped, imports], **PRIVATE).then(added, dropped, done, **PRIVATE)
    checked.then(listed, [search, chosen], listing, **PRIVATE)
    drop.click(lambda: gr.Row(visible=True), None, sure, **PRIVATE)
    keep.click(lambda: gr.Row(visible=False), None, sure, **PRIVATE)
    really.click(removed, chosen, done, **PRIVATE).then(listed, [search, chosen], listing, **PRIVATE)
    use.click(used, [chosen, picked], [tabs, picked, done], **PRIVATE)
    return listed, [search, chosen], listing
