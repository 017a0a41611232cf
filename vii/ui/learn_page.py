"""The page *Learn*: drop a pair, watch, save."""

from typing import Any

import gradio as gr

from ..demo import FOLDER as DEMO
from ..errors import ViiError
from ..images import Pair
from ..inversion.recipes import recipe_names
from ..pairs import doubts
from . import fragments
from .jobs import Job
from .learning import Learned, learn, save, settings_for, verdict, whole
from .parts import GONE, PRIVATE, Controls, error, live, picture, seed_box, stopped
from .studio import Studio
from .uploads import uploaded

# Pixels a side at most for a look at a pair, which tells whether it is one.
LOOK = 512


class LearnPage:
    """The page, laid out where it is made; `wire` connects its events."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        gr.Markdown(
            "Show an edit once: a picture before and after it. What is learned is a small file that does it again."
        )
        with gr.Row():
            self.before, self.after = picture("Before", "before"), picture("After", "after")
        self.pair_note = live("pair-note")
        self.example = gr.Button("Use the shipped example", size="sm", elem_id="example")
        self.words = gr.Textbox(
            label="What the edit is, in words (may stay empty)", placeholder="make it a watercolor painting"
        )
        with gr.Accordion("Settings", open=False, elem_id="learn-settings"), gr.Row():
            self.recipe = gr.Dropdown(recipe_names(), value="default", label="Recipe")
            self.tokens = gr.Number(
                label="Tokens (empty: as the recipe says)", value=None, precision=0, elem_id="tokens"
            )
            self.steps = gr.Number(label="Steps (empty: as the recipe says)", value=None, precision=0, elem_id="steps")
            self.seed = seed_box()
            self.pictures = gr.Checkbox(label="Show pictures while learning", value=True)
        self.controls = Controls.make("learn", "Learn", "Stop and keep the best so far")
        self.strip = gr.HTML("", elem_id="strip")
        with gr.Group(visible=False) as self.saving:
            self._lay_out_saving()
        self.saved = live("save-status")
        self.download = gr.DownloadButton("Download the edit file", visible=False, elem_id="download-edit")

    def _lay_out_saving(self) -> None:
        gr.Markdown("### Keep it", elem_classes=["inset"])
        with gr.Row():
            self.name = gr.Textbox(label="Name", elem_id="name", max_length=80)
            self.tags = gr.Textbox(label="Tags, with commas between them", placeholder="paint, portrait")
        self.description = gr.Textbox(label="What it does, in a sentence", max_length=2000)
        with gr.Row():
            self.author = gr.Textbox(label="Author (may stay empty)")
            self.licence = gr.Textbox(label="Licence (may stay empty)", placeholder="CC0-1.0")
        self.thumbnail = gr.Checkbox(
            label="Store a small picture of the pair in the file, for everybody who gets it to see", value=False
        )
        self.keep = gr.Button("Save into the library", variant="primary", elem_id="save")

    def wire(self) -> Any:
        """Connect what is done to what it does; returns the event after which the library holds another edit."""
        controls = self.controls
        asked = {self.before, self.after, self.words, self.recipe, self.tokens, self.steps, self.seed, self.pictures}
        told = {self.name, self.description, self.tags, self.author, self.licence, self.thumbnail, controls.key}
        shown = {self.strip, self.saving}
        # One event for both, each answer before the next question: an answer that came late would be that of one alone.
        dropped = [self.before.change, self.after.change]
        gr.on(dropped, self.look, [self.before, self.after], self.pair_note, trigger_mode="always_last", **PRIVATE)
        self.example.click(self.shipped, None, [self.before, self.after], **PRIVATE)
        controls.start.click(self.begin, asked, controls.parts | shown | {self.saved, self.download}, **PRIVATE)
        controls.timer.tick(self.poll, controls.key, controls.parts | shown, **PRIVATE)
        controls.stop.click(lambda key: stopped(self.studio, key), controls.key, None, **PRIVATE)
        return self.keep.click(self.store, told, {self.saved, self.download}, **PRIVATE)

    def look(self, before: Any, after: Any) -> str:
        """Whether two pictures are a pair, as soon as both are there."""
        if not before or not after:
            return ""
        try:
            paths = (uploaded(path, self.studio.folder) for path in (before, after))
            pair = Pair.open(*paths, around=LOOK**2)
        except ViiError as problem:
            return error(problem, self.studio)
        return fragments.say(doubts(pair), "warning")

    def begin(self, given: dict[Any, Any]) -> dict[Any, Any]:
        """Submit what was filled in."""

        def work() -> Job:
            for part, name in ((self.before, "before"), (self.after, "after")):
                if not given[part]:
                    raise ViiError(f"the picture {name} the edit is missing: drop it above")
            before, after = (uploaded(given[part], self.studio.folder) for part in (self.before, self.after))
            Pair.open(before, after, around=LOOK**2)  # what is wrong with it is said at once
            steps, tokens = given[self.steps], given[self.tokens]
            settings = settings_for(given[self.recipe], words=given[self.words], tokens=tokens, steps=steps)
            options = {"seed": whole(given[self.seed], "seed", 0, 2**53 - 1) or 0, "pictures": given[self.pictures]}

            # The pictures are opened by the job that runs, and not held by those that wait.
            def run(job: Job) -> Learned:
                return learn(job, self.studio, Pair.open(before, after), settings, **options)

            return self.studio.jobs.submit("learn", run, (before, after))

        return {
            **self.controls.begun(self.studio, work),
            self.strip: "",
            self.saving: gr.Group(visible=False),
            self.saved: "",
            self.download: gr.DownloadButton(visible=False),
        }

    def poll(self, key: str) -> dict[Any, Any]:
        """How the job is doing."""
        job, controls = self.studio.jobs.find(key), self.controls
        if job is None or job.state == "failed":
            return {**controls.ended_badly(self.studio, job), self.saving: gr.Group(visible=False)}
        told = job.progress
        if not job.ended:
            waits = fragments.waiting(self.studio.jobs.ahead(job))
            return {
                controls.status: fragments.say("Learning.") if told else waits,
                controls.progress: fragments.learning(told, job.stopping) if told else "",
                self.strip: fragments.strip(told.pictures, "How the edit is learned") if told else "",
            }
        if job.result is None:
            return {**controls.idle(fragments.say("Stopped before it began.")), self.strip: ""}
        learned: Learned = job.result
        return {
            **controls.idle(fragments.say(verdict(learned), "good"), fragments.learning(learned.progress, False)),
            self.strip: fragments.strip(learned.progress.pictures, "How the edit was learned"),
            self.saving: gr.Group(visible=True),
        }

    def store(self, given: dict[Any, Any]) -> dict[Any, Any]:
        """Keep what was learned in the library, and offer it for download."""
        job = self.studio.jobs.find(given[self.controls.key])
        hidden = gr.DownloadButton(visible=False)
        if job is None or job.result is None:
            return {self.saved: fragments.say(GONE, "error"), self.download: hidden}
        try:
            entry = save(
                job.result,
                given[self.name],
                description=given[self.description],
                tags=given[self.tags],
                author=given[self.author],
                license=given[self.licence],
                picture=bool(given[self.thumbnail]),
            )
            file = self.studio.hand_out(entry.path)
        except ViiError as problem:
            return {self.saved: error(problem, self.studio), self.download: hidden}
        told = fragments.say(f"Saved as '{entry.name}'. It can be picked under Apply now.", "good")
        return {self.saved: told, self.download: gr.DownloadButton(value=file, visible=True)}

    def shipped(self) -> tuple[str, str]:
        """The pair of the demo."""
        return self.studio.hand_out(DEMO / "before.png"), self.studio.hand_out(DEMO / "after.png")
