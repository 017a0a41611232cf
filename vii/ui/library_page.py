"""The page *Library*: the edits on this machine; look, import, share, remove."""

from typing import Any

import gradio as gr

from ..errors import ViiError
from . import fragments
from .parts import PRIVATE, error, live, paths_of
from .shelf import cards, entries, facts, find, import_files, names_for, remove
from .studio import Studio


class LibraryPage:
    """The page, laid out where it is made; `wire` connects its events."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Row():
            self.search = gr.Textbox(label="Search", placeholder="words or tags", elem_id="search")
            self.chosen = gr.Dropdown([], label="Edit", info="Pick here or in the pictures", elem_id="edit")
        self.count = live("library-count")
        self.gallery = gr.Gallery(
            label="Edits on this machine", show_label=False, columns=4, height="auto", object_fit="contain",
            allow_preview=False, interactive=False, buttons=[], elem_id="shelf",
        )  # fmt: skip
        self.facts = gr.HTML("", elem_id="facts")
        with gr.Row(visible=False) as self.actions:
            self.use = gr.Button("Use it", variant="primary", elem_id="use")
            self.share = gr.DownloadButton("Download to share", elem_id="share")
            self.drop = gr.Button("Remove ...", elem_id="remove")
        with gr.Row(visible=False) as self.sure:
            self.really = gr.Button("Delete it from this machine", variant="stop", elem_id="really")
            self.keep = gr.Button("Keep it", elem_id="keep")
        self.done = live("library-status")
        self.imports = gr.File(label="Import edit files", file_count="multiple", height=170, elem_id="import")
        self.shown, self.dropped = gr.State([]), gr.State(None)

    def wire(self, blocks: gr.Blocks, tabs: gr.Tabs, page: gr.Tab, picked: gr.Dropdown, saved: Any) -> None:
        """Connect what is done to what it does.

        `blocks` and `page` list the edits when they are opened, as does `saved`, the event after which there is another
        one; `picked` is the field of the page Apply in which edits are picked.
        """
        self.tabs, self.picked = tabs, picked
        searched, listing = [self.search, self.chosen], {self.gallery, self.chosen, self.count, self.shown, picked}
        for event in (blocks.load, self.search.change, page.select, saved.then):
            event(self.listed, searched, listing, **PRIVATE)
        self.gallery.select(self.select, self.shown, self.chosen, **PRIVATE)
        self.chosen.change(
            self.show, self.chosen, {self.facts, self.actions, self.sure, self.share, self.use}, **PRIVATE
        )
        # The field is free again before anything is said: files dropped while it is being emptied would be lost.
        taken = self.imports.upload(
            lambda values: {self.dropped: values, self.imports: None}, self.imports, {self.dropped, self.imports},
            **PRIVATE,
        )  # fmt: skip
        # What was done is said with the list, not before it: a list that came later could be that of words of before.
        taken.then(self.added, [self.dropped, *searched], {self.done, *listing}, **PRIVATE)
        self.drop.click(lambda: gr.Row(visible=True), None, self.sure, **PRIVATE)
        self.keep.click(lambda: gr.Row(visible=False), None, self.sure, **PRIVATE)
        self.really.click(self.removed, searched, {self.done, *listing}, **PRIVATE)
        self.use.click(self.used, [self.chosen, picked], {tabs, picked, self.done}, **PRIVATE)

    def listed(self, words: str, current: str | None = None) -> dict[Any, Any]:
        """The edits that have all these words."""
        found = entries(words or "")
        names = [entry.name for entry in found]
        told = f"{len(found)} edit{'' if len(found) == 1 else 's'}"
        if not found:
            told = "No edit has all these words." if words else "No edits yet: learn one, or import a file below."
        return {
            self.gallery: cards(found, self.studio.own("cards")),
            self.chosen: gr.Dropdown(names, value=current if current in names else None),
            self.count: fragments.say(told),
            self.shown: names,
            self.picked: gr.Dropdown(names_for(self.studio.editor_name)),
        }

    def show(self, name: str | None) -> dict[Any, Any]:
        """What is known about an edit, and what can be done with it."""
        hidden = {self.actions: gr.Row(visible=False), self.sure: gr.Row(visible=False)}
        if not name:
            return {self.facts: "", **hidden}
        entry = next((entry for entry in entries() if entry.name == name), None)
        if entry is None:
            return {self.facts: fragments.say("This edit is gone.", "error"), **hidden}
        try:
            file = self.studio.hand_out(entry.path)
        except ViiError as problem:
            return {self.facts: error(problem, self.studio), **hidden}
        told, fits = fragments.unusable(entry.name, entry.problem), False
        if entry.edit:
            told, fits = fragments.facts(facts(entry)), entry.edit.editor == self.studio.editor_name
            if not fits:
                other = f"Learned with another editor; start with: vii ui --editor {entry.edit.editor}"
                told += fragments.say(other, "warning")
        return {
            self.facts: told,
            self.actions: gr.Row(visible=True),
            self.sure: gr.Row(visible=False),
            self.share: gr.DownloadButton(value=file),
            self.use: gr.Button(interactive=fits),
        }

    def select(self, event: gr.SelectData, names: list[str]) -> Any:
        """Pick the edit whose picture was pressed."""
        return names[event.index] if isinstance(event.index, int) and event.index < len(names) else gr.skip()

    def added(self, values: Any, words: str, current: str | None) -> dict[Any, Any]:
        """Import the files that were dropped."""
        if not values:
            return {self.done: gr.skip()}
        try:
            names, refused = import_files(paths_of(values, self.studio), self.studio.folder)
        except ViiError as problem:
            return {self.done: error(problem, self.studio)}
        told = fragments.say(f"Imported: {', '.join(names)}.", "good") if names else ""
        told += "".join(fragments.say(line, "error") for line in refused)
        return {self.done: told, **self.listed(words, current)}

    def removed(self, words: str, name: str | None) -> dict[Any, Any]:
        """Delete an edit."""
        try:
            remove(name or "")
        except ViiError as problem:
            return {self.done: error(problem, self.studio)}
        return {self.done: fragments.say(f"'{name}' was removed.", "good"), **self.listed(words)}

    def used(self, name: str | None, already: list[str] | None) -> dict[Any, Any]:
        """Go to the page Apply with this edit picked."""
        try:
            find(name)
        except ViiError as problem:
            return {self.done: error(problem, self.studio)}
        names = list(dict.fromkeys([*(already or []), name]))
        return {self.tabs: gr.Tabs(selected="apply"), self.picked: gr.Dropdown(value=names), self.done: ""}
