"""The page *Apply*: drop photos, pick edits, compare, download."""

from typing import Any

import gradio as gr

from ..demo import FOLDER as DEMO
from ..errors import ViiError
from ..images import load_image, save_image
from ..rendering.sheets import inside
from . import fragments
from .applying import MAX_EDITS, MAX_WEIGHT, Applied, apply_to, files_of, mask_of, summary, wish_for
from .learning import whole
from .parts import POLL, PRIVATE, attempt, error, live, paths_of, seed_box, stopped
from .shelf import names_for
from .studio import Studio

# Pixels a side of the picture to paint on.
CANVAS = 640
# Results are shown no larger than this; the files have their full size.
SHOWN = 1024


def build(studio: Studio) -> gr.Dropdown:
    """Lay the page out and wire it; returns the field in which edits are picked."""
    photos = gr.Gallery(
        label="Photos", file_types=["image"], type="filepath", interactive=True, sources=["upload", "clipboard"],
        columns=4, height=260, object_fit="contain", buttons=[], elem_id="photos",
    )  # fmt: skip
    example = gr.Button("Use the shipped photos", size="sm", elem_id="example-photos")
    picked = gr.Dropdown(
        names_for(studio.editor_name), multiselect=True, max_choices=MAX_EDITS, label="Edits from the library",
        info="One, or several that are stacked", elem_id="edits",
    )  # fmt: skip
    with gr.Row():
        weights = [
            gr.Slider(
                -MAX_WEIGHT, MAX_WEIGHT, value=1.0, step=0.05, label=f"Weight {number + 1}", visible=False,
                info="1 as learned, 0.5 fainter, -1 the other way", elem_id=f"weight-{number}",
            )
            for number in range(MAX_EDITS)
        ]  # fmt: skip
    words = gr.Textbox(label="Words to add (may stay empty)", placeholder="at night", elem_id="words")
    with gr.Accordion("Where: paint on the first photo", open=False, elem_id="where"):
        gr.Markdown("Only what is painted is edited, at the same place in every photo. Nothing painted: everywhere.")
        painted = gr.ImageEditor(
            label="Where to edit", type="numpy", sources=(), transforms=(), layers=False, buttons=[],
            brush=gr.Brush(default_size=40, colors=["#ff2d55"], color_mode="fixed"), eraser=gr.Eraser(default_size=40),
            canvas_size=(CANVAS, CANVAS), height=460, elem_id="mask",
        )  # fmt: skip
    with gr.Accordion("Settings", open=False, elem_id="apply-settings"), gr.Row():
        seed = seed_box()
        guidance = gr.Number(label="Guidance (empty: as recommended)", value=None, info="Further along the instruction")
        nearness = gr.Number(label="Image guidance (empty: as recommended)", value=None, info="Nearer to the photo")
        steps = gr.Number(label="Steps (empty: as recommended)", value=None, precision=0, elem_id="apply-steps")
        full = gr.Checkbox(label="Results at the photo's size", value=False)
    with gr.Row():
        start = gr.Button("Apply", variant="primary", elem_id="apply")
        stop = gr.Button("Stop and keep what is done", interactive=False, elem_id="apply-stop")
    status, progress = live("apply-status"), gr.HTML("", elem_id="apply-progress")
    with gr.Column(visible=False) as outcome:
        choose = gr.Dropdown([], label="Result to compare", visible=False, elem_id="choose")
        slider = gr.ImageSlider(
            label="Before and after", interactive=False, type="filepath", format="png", buttons=["fullscreen"],
            elem_id="slider",
        )  # fmt: skip
        files = gr.File(
            label="Download: PNG files, each with the settings that made it", interactive=False, elem_id="results"
        )
    key, timer = gr.State(""), gr.Timer(POLL, active=False)

    def sliders(names: list[str] | None) -> list[Any]:
        names = names or []
        return [
            gr.Slider(visible=number < len(names), label=f"Weight of {names[number]}" if number < len(names) else "")
            for number in range(MAX_EDITS)
        ]

    def canvas(values: Any) -> tuple[Any, str]:
        try:
            paths = paths_of(values, studio)
            if not paths:
                return None, ""
            small = studio.new_folder() / "canvas.png"
            save_image(inside(load_image(paths[0]), CANVAS), small)
            return {"background": str(small), "layers": [], "composite": None}, ""
        except ViiError as problem:
            return None, error(problem, studio)

    def begin(values: Any, names: Any, *chosen: Any) -> tuple[Any, ...]:
        def work() -> Any:
            weights, (said, painted, seed, guidance, nearness, steps, full) = chosen[:MAX_EDITS], chosen[MAX_EDITS:]
            paths = paths_of(values, studio)
            if not paths:
                raise ViiError("no photo: drop at least one above")
            wish = wish_for(
                names or [],
                [float(weight) for weight in weights],
                words=said,
                seed=whole(seed, "seed", 0, 2**53 - 1) or 0,
                guidance=guidance,
                image_guidance=nearness,
                steps=whole(steps, "steps", 1, 1000),
                full_size=bool(full),
                mask=mask_of(painted),
            )
            return studio.jobs.submit("apply", lambda job: apply_to(job, studio, paths, wish))

        job, problem = attempt(studio, work)
        running = job is not None
        note = problem if job is None else fragments.waiting(studio.jobs.ahead(job))
        buttons = gr.Timer(active=running), gr.Button(interactive=not running), gr.Button(interactive=running)
        return (job.id if job else "", *buttons, note, "", gr.Column(visible=False))

    def poll(known: str) -> tuple[Any, ...]:
        job = studio.jobs.find(known)
        idle = (gr.Timer(active=False), gr.Button(interactive=True), gr.Button(interactive=False))
        same = (gr.skip(), gr.skip(), gr.skip(), gr.skip())
        if job is None:
            return (*idle, fragments.say("This job is no longer known; start it again.", "error"), "", *same)
        told: Applied | None = job.progress
        if not job.ended:
            note = fragments.say("Applying.") if job.state == "running" else fragments.waiting(studio.jobs.ahead(job))
            done = len(told.results) + len(told.problems) if told else 0
            shown = fragments.bar("Applying", done, told.total, f"{done} of {told.total} photos") if told else ""
            return (gr.skip(), gr.skip(), gr.skip(), note, shown, *same)
        if job.state == "failed":
            return (*idle, error(ViiError(job.problem), studio), "", *same)
        applied: Applied | None = job.result
        if applied is None or not applied.results:
            return (*idle, fragments.say("Stopped before the first photo was done."), "", *same)
        names = [result.name for result in applied.results]
        return (
            *idle,
            fragments.say(summary(applied), "warning" if applied.problems else "good"),
            "",
            gr.Column(visible=True),
            gr.Dropdown(names, value=names[0], visible=len(names) > 1),
            compared(applied, names[0]),
            files_of(applied),
        )

    def compared(applied: Applied, name: str) -> tuple[str, str]:
        result = next(result for result in applied.results if result.name == name)
        shown = []
        for side, image in (("before", result.before), ("after", result.after)):
            # Written once: gradio would write over what another request is being sent.
            path = result.path.parent / "shown" / f"{name}-{side}.png"
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                save_image(inside(image, SHOWN) if max(image.shape) > SHOWN else image, path)
            shown.append(str(path))
        return shown[0], shown[1]

    def other(known: str, name: str) -> Any:
        job = studio.jobs.find(known)
        names = [result.name for result in job.result.results] if job and job.result else []
        return compared(job.result, name) if job and name in names else gr.skip()

    def shipped() -> list[str]:
        return [studio.hand_out(path) for path in sorted((DEMO / "photos").glob("*.jpg"))]

    picked.change(sliders, picked, weights, **PRIVATE)
    photos.change(canvas, photos, [painted, status], **PRIVATE)
    example.click(shipped, None, photos, **PRIVATE)
    start.click(
        begin,
        [photos, picked, *weights, words, painted, seed, guidance, nearness, steps, full],
        [key, timer, start, stop, status, progress, outcome],
        **PRIVATE,
    )
    timer.tick(poll, key, [timer, start, stop, status, progress, outcome, choose, slider, files], **PRIVATE)
    stop.click(lambda known: stopped(studio, known), key, None, **PRIVATE)
    choose.input(other, [key, choose], slider, **PRIVATE)
    return picked
