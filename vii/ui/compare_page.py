"""The page *Compare*: a pair and a photo, and what several methods of editing by example make of them."""

from typing import Any

import gradio as gr

from ..demo import FOLDER as DEMO
from ..errors import ViiError
from ..images import Pair
from . import fragments
from .comparing import Compared, asked_for, compare, summary, usable
from .jobs import Job
from .parts import PRIVATE, Controls, picture, seed_box, stopped
from .studio import Studio
from .uploads import look_at, uploaded

# Of no use on a photo without words, or on photos as they mostly are.
UNTICKED = ("words", "visual-prompting", "impromptu")
# Pixels a side at most for a look at what was dropped.
LOOK = 512


class ComparePage:
    """The page, laid out where it is made; `wire` connects its events."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        gr.Markdown("One pair and one photo, and what each way of editing by example makes of them.")
        with gr.Row():
            self.pictures = {
                name: picture(name.capitalize(), f"compare-{name}") for name in ("before", "after", "photo")
            }
        for part in self.pictures.values():
            part.elem_classes = ["half"]
        self.example = gr.Button("Use the shipped example", size="sm", elem_id="compare-example")
        names = usable()
        self.methods = gr.CheckboxGroup(
            names, value=[name for name in names if name not in UNTICKED], label="Methods",
            info="'inversion' learns by the recipe default; 'words' needs words below; 'visual-prompting' and "
            "'impromptu' are for drawn scenes",
            elem_id="methods",
        )  # fmt: skip
        self.words = gr.Textbox(
            label="What the edit is, in words (may stay empty)", placeholder="make it a watercolor painting",
            elem_id="compare-words",
        )  # fmt: skip
        self.seed = seed_box()
        self.controls = Controls.make("compare", "Compare", "Stop and keep what is done")
        with gr.Column(visible=False) as self.outcome:
            self.gallery = gr.Gallery(
                label="Results", columns=3, height="auto", object_fit="contain", interactive=False, buttons=[],
                elem_id="compared",
            )  # fmt: skip
            self.files = gr.File(label="Download: PNG files", interactive=False, elem_id="compared-files")

    def wire(self) -> None:
        """Connect what is done to what it does."""
        controls, pictures = self.controls, list(self.pictures.values())
        asked, shown = {*pictures, self.methods, self.words, self.seed}, {self.outcome, self.gallery, self.files}
        self.example.click(self.shipped, None, pictures, **PRIVATE)
        controls.start.click(self.begin, asked, controls.parts | {self.outcome}, **PRIVATE)
        controls.timer.tick(self.poll, controls.key, controls.parts | shown, **PRIVATE)
        controls.stop.click(lambda key: stopped(self.studio, key), controls.key, None, **PRIVATE)

    def begin(self, given: dict[Any, Any]) -> dict[Any, Any]:
        """Submit what was filled in."""

        def work() -> Job:
            for name, part in self.pictures.items():
                if not given[part]:
                    missing = "the photo" if name == "photo" else f"the picture {name} the edit"
                    raise ViiError(f"{missing} is missing: drop it above")
            paths = [uploaded(given[part], self.studio.folder) for part in self.pictures.values()]
            before, after, photo = paths
            Pair.open(before, after, around=LOOK**2)  # what is wrong with them is said at once
            look_at(photo, LOOK)
            asked = asked_for(given[self.methods], given[self.words], given[self.seed])

            # The pictures are opened by the job that runs, and not held by those that wait.
            def run(job: Job) -> Compared:
                return compare(job, self.studio, Pair.open(before, after), photo, asked)

            return self.studio.jobs.submit("compare", run, paths)

        return {**self.controls.begun(self.studio, work), self.outcome: gr.Column(visible=False)}

    def poll(self, key: str) -> dict[Any, Any]:
        """How the job is doing."""
        job, controls = self.studio.jobs.find(key), self.controls
        if job is None or job.state == "failed":
            return controls.ended_badly(self.studio, job)
        told: Compared | None = job.progress
        if not job.ended:
            waits = fragments.waiting(self.studio.jobs.ahead(job))
            if not told:
                return {controls.status: waits, controls.progress: ""}
            note = f"{told.done} of {told.total} methods; {told.now}: {told.note}" + ", stopping" * job.stopping
            return {
                controls.status: fragments.say("Comparing."),
                controls.progress: fragments.bar("Comparing", told.done, told.total, note),
            }
        compared: Compared | None = job.result
        if compared is None or not compared.results:
            return controls.idle(fragments.say("Stopped before the first method was done."))
        return {
            **controls.idle(fragments.say(summary(compared), "warning" if compared.problems else "good")),
            self.outcome: gr.Column(visible=True),
            self.gallery: [(str(one.shown), f"{one.method}, {one.seconds:.1f} s") for one in compared.results],
            self.files: [str(one.path) for one in compared.results],
        }

    def shipped(self) -> list[str]:
        """The pair of the demo and its first photo."""
        photo = min((DEMO / "photos").glob("*.jpg"))
        return [self.studio.hand_out(path) for path in (DEMO / "before.png", DEMO / "after.png", photo)]
