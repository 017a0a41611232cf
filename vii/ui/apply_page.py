"""The page *Apply*: drop photos, pick edits, compare, download."""

import hashlib
from typing import Any

import gradio as gr

from ..demo import FOLDER as DEMO
from ..errors import ViiError
from ..images import save_image
from . import fragments
from .applying import Applied, Result, apply_to, check_photos, summary
from .jobs import Job
from .learning import whole
from .parts import PRIVATE, Controls, error, paths_of, seed_box, stopped
from .request import MAX_EDITS, MAX_SAMPLING, MAX_WEIGHT, Request, mask_of, request_for
from .shelf import names_for
from .studio import Studio
from .uploads import look_at

# Pixels a side of the picture to paint on.
CANVAS = 640


class ApplyPage:
    """The page, laid out where it is made; `wire` connects its events."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.photos = gr.Gallery(
            label="Photos", file_types=["image"], type="filepath", interactive=True, sources=["upload", "clipboard"],
            columns=4, height=260, object_fit="contain", buttons=[], elem_id="photos",
        )  # fmt: skip
        self.example = gr.Button("Use the shipped photos", size="sm", elem_id="example-photos")
        self.picked = gr.Dropdown(
            names_for(studio.editor_name), multiselect=True, max_choices=MAX_EDITS, label="Edits from the library",
            info="One, or several that are stacked", elem_id="edits",
        )  # fmt: skip
        with gr.Row():
            self.weights = [
                gr.Slider(
                    -MAX_WEIGHT, MAX_WEIGHT, value=1.0, step=0.05, label=f"Weight {number + 1}", visible=False,
                    info="1 as learned, 0.5 fainter, -1 the other way", elem_id=f"weight-{number}",
                )
                for number in range(MAX_EDITS)
            ]  # fmt: skip
        self.words = gr.Textbox(label="Words to add (may stay empty)", placeholder="at night", elem_id="words")
        self.painted = _canvas()
        with gr.Accordion("Settings", open=False, elem_id="apply-settings"), gr.Row():
            self.seed = seed_box()
            self.guidance = gr.Number(
                label="Guidance (empty: as recommended)", value=None, info="Further along the instruction"
            )
            self.nearness = gr.Number(
                label="Image guidance (empty: as recommended)", value=None, info="Nearer to the photo"
            )
            self.steps = gr.Number(
                label="Steps (empty: as recommended)", value=None, precision=0, elem_id="apply-steps"
            )
            self.small = gr.Checkbox(label="Small results, as large as the editor works", value=False)
        self.controls = Controls.make("apply", "Apply", "Stop and keep what is done")
        with gr.Column(visible=False) as self.outcome:
            self.choose = gr.Dropdown([], label="Result to compare", visible=False, elem_id="choose")
            self.slider = gr.ImageSlider(
                label="Before and after", interactive=False, type="filepath", format="png", buttons=["fullscreen"],
                elem_id="slider",
            )  # fmt: skip
            self.files = gr.File(
                label="Download: PNG files, each with the settings that made it", interactive=False, elem_id="results"
            )

    def wire(self) -> None:
        """Connect what is done to what it does. Functions take and give values by component."""
        controls = self.controls
        asked = {
            self.photos, self.picked, *self.weights, self.words, self.painted, self.seed, self.guidance, self.nearness,
            self.steps, self.small,
        }  # fmt: skip
        shown = {self.outcome, self.choose, self.slider, self.files}
        self.picked.change(self.sliders, self.picked, self.weights, **PRIVATE)
        self.photos.change(self.canvas, self.photos, [self.painted, controls.status], **PRIVATE)
        self.example.click(self.shipped, None, self.photos, **PRIVATE)
        controls.start.click(self.begin, asked, controls.parts | {self.outcome}, **PRIVATE)
        controls.timer.tick(self.poll, controls.key, controls.parts | shown, **PRIVATE)
        controls.stop.click(lambda key: stopped(self.studio, key), controls.key, None, **PRIVATE)
        self.choose.input(self.other, [controls.key, self.choose], self.slider, **PRIVATE)

    def sliders(self, names: list[str] | None) -> list[Any]:
        """A weight for each edit that is picked."""
        names = names or []
        return [
            gr.Slider(visible=number < len(names), label=f"Weight of {names[number]}" if number < len(names) else "")
            for number in range(MAX_EDITS)
        ]

    def canvas(self, values: Any) -> dict[Any, Any]:
        """The first photo, small, to paint on."""
        status = self.controls.status
        try:
            paths = paths_of(values, self.studio)
            if not paths:
                return {self.painted: None, status: ""}
            # gradio puts the hash of an upload's contents into its path.
            small = self.studio.own("canvas") / f"{hashlib.sha256(str(paths[0]).encode()).hexdigest()}.png"
            if not small.exists():
                save_image(look_at(paths[0], CANVAS), small)
            return {self.painted: {"background": str(small), "layers": [], "composite": None}, status: ""}
        except ViiError as problem:
            return {self.painted: None, status: error(problem, self.studio)}

    def begin(self, given: dict[Any, Any]) -> dict[Any, Any]:
        """Submit what was filled in."""

        def work() -> Job:
            paths = paths_of(given[self.photos], self.studio)
            check_photos(paths)
            request = self.request(given)
            return self.studio.jobs.submit("apply", lambda job: apply_to(job, self.studio, paths, request), paths)

        return {**self.controls.begun(self.studio, work), self.outcome: gr.Column(visible=False)}

    def request(self, given: dict[Any, Any]) -> Request:
        """What was filled in; errors as `request_for`."""
        return request_for(
            given[self.picked] or [],
            [given[weight] for weight in self.weights],
            words=given[self.words],
            seed=whole(given[self.seed], "seed", 0, 2**53 - 1) or 0,
            guidance=given[self.guidance],
            image_guidance=given[self.nearness],
            steps=whole(given[self.steps], "steps", 1, MAX_SAMPLING),
            size="editor" if given[self.small] else "photo",
            mask=mask_of(given[self.painted]),
        )

    def poll(self, key: str) -> dict[Any, Any]:
        """How the job is doing."""
        job, controls = self.studio.jobs.find(key), self.controls
        if job is None or job.state == "failed":
            return controls.ended_badly(self.studio, job)
        told: Applied | None = job.progress
        if not job.ended:
            waits = fragments.waiting(self.studio.jobs.ahead(job))
            done = len(told.results) + len(told.problems) if told else 0
            return {
                controls.status: fragments.say("Applying.") if job.state == "running" else waits,
                controls.progress: fragments.bar("Applying", done, told.total, f"{done} of {told.total} photos")
                if told
                else "",
            }
        applied: Applied | None = job.result
        if applied is None or not applied.results:
            return controls.idle(fragments.say("Stopped before the first photo was done."))
        names = [result.name for result in applied.results]
        return {
            **controls.idle(fragments.say(summary(applied), "warning" if applied.problems else "good")),
            self.outcome: gr.Column(visible=True),
            self.choose: gr.Dropdown(names, value=names[0], visible=len(names) > 1),
            self.slider: _compared(applied.results[0]),
            self.files: [str(path) for path in applied.files],
        }

    def other(self, key: str, name: str) -> Any:
        """Compare another result."""
        job = self.studio.jobs.find(key)
        results = job.result.results if job and job.result else ()
        return next((_compared(result) for result in results if result.name == name), gr.skip())

    def shipped(self) -> list[str]:
        """The photos of the demo."""
        return [self.studio.hand_out(path) for path in sorted((DEMO / "photos").glob("*.jpg"))]


def _compared(result: Result) -> tuple[str, str]:
    return str(result.before), str(result.after)


def _canvas() -> gr.ImageEditor:
    with gr.Accordion("Where: paint on the first photo", open=False, elem_id="where"):
        gr.Markdown("Only what is painted is edited, at the same place in every photo. Nothing painted: everywhere.")
        return gr.ImageEditor(
            label="Where to edit", type="numpy", sources=(), transforms=(), layers=False, buttons=[],
            brush=gr.Brush(default_size=40, colors=["#ff2d55"], color_mode="fixed"), eraser=gr.Eraser(default_size=40),
            canvas_size=(CANVAS, CANVAS), height=460, elem_id="mask",
        )  # fmt: skip
