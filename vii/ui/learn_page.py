"""The page *Learn*: drop a pair, watch, save."""

from typing import Any

import gradio as gr

from ..demo import FOLDER as DEMO
from ..errors import ViiError
from ..inversion.recipes import recipe_names
from ..pairs import doubts
from . import fragments
from .learning import Learned, learn, save, settings_for, verdict, whole
from .parts import POLL, PRIVATE, attempt, error, live, picture, seed_box, stopped
from .studio import Studio
from .uploads import open_pair, uploaded

GONE = "This job is no longer known; start it again."


def build(studio: Studio) -> Any:
    """Lay the page out and wire it; returns the event after which the library holds another edit."""
    gr.Markdown("Show an edit once: a picture before and after it. What is learned is a small file that does it again.")
    with gr.Row():
        before, after = picture("Before", "before"), picture("After", "after")
    pair_note = live("pair-note")
    example = gr.Button("Use the shipped example", size="sm", elem_id="example")
    words = gr.Textbox(label="What the edit is, in words (may stay empty)", placeholder="make it a watercolor painting")
    with gr.Accordion("Settings", open=False, elem_id="learn-settings"), gr.Row():
        recipe = gr.Dropdown(recipe_names(), value="default", label="Recipe")
        tokens = gr.Number(label="Tokens (empty: as the recipe says)", value=None, precision=0, elem_id="tokens")
        steps = gr.Number(label="Steps (empty: as the recipe says)", value=None, precision=0, elem_id="steps")
        seed = seed_box()
        pictures = gr.Checkbox(label="Show pictures while learning", value=True)
    with gr.Row():
        start = gr.Button("Learn", variant="primary", elem_id="learn")
        stop = gr.Button("Stop and keep the best so far", interactive=False, elem_id="learn-stop")
    status, progress, strip = live("learn-status"), gr.HTML("", elem_id="learn-progress"), gr.HTML("", elem_id="strip")
    with gr.Group(visible=False) as saving:
        gr.Markdown("### Keep it", elem_classes=["inset"])
        with gr.Row():
            name = gr.Textbox(label="Name", elem_id="name", max_length=80)
            tags = gr.Textbox(label="Tags, with commas between them", placeholder="paint, portrait")
        description = gr.Textbox(label="What it does, in a sentence", max_length=2000)
        with gr.Row():
            author = gr.Textbox(label="Author (may stay empty)")
            licence = gr.Textbox(label="Licence (may stay empty)", placeholder="CC0-1.0")
        thumbnail = gr.Checkbox(
            label="Store a small picture of the pair in the file, for everybody who gets it to see", value=False
        )
        keep = gr.Button("Save into the library", variant="primary", elem_id="save")
    saved = live("save-status")
    download = gr.DownloadButton("Download the edit file", visible=False, elem_id="download-edit")
    key, timer = gr.State(""), gr.Timer(POLL, active=False)

    def look(first: Any, second: Any) -> str:
        if not first or not second:
            return ""
        try:
            pair = open_pair(uploaded(first, studio.folder), uploaded(second, studio.folder))
        except ViiError as problem:
            return error(problem, studio)
        return fragments.say(doubts(pair), "warning")

    def begin(first: Any, second: Any, *chosen: Any) -> tuple[Any, ...]:
        def work() -> Any:
            if not first or not second:
                missing = "before" if not first else "after"
                raise ViiError(f"the picture {missing} the edit is missing: drop it above")
            pair = open_pair(uploaded(first, studio.folder), uploaded(second, studio.folder))
            said, recipe, tokens, steps, seed, pictures = chosen
            settings = settings_for(recipe, words=said, tokens=tokens, steps=steps)
            number = whole(seed, "seed", 0, 2**53 - 1) or 0
            return studio.jobs.submit(
                "learn", lambda job: learn(job, studio, pair, settings, seed=number, pictures=bool(pictures))
            )

        job, problem = attempt(studio, work)
        note = problem if job is None else fragments.waiting(studio.jobs.ahead(job))
        running = job is not None
        return (
            job.id if job else "",
            gr.Timer(active=running),
            gr.Button(interactive=not running),
            gr.Button(interactive=running),
            note,
            "",
            "",
            gr.Group(visible=False),
            "",
            gr.DownloadButton(visible=False),
        )

    def poll(known: str) -> tuple[Any, ...]:
        job = studio.jobs.find(known)
        idle = (gr.Timer(active=False), gr.Button(interactive=True), gr.Button(interactive=False))
        if job is None:
            return (*idle, fragments.say(GONE, "error"), "", gr.skip(), gr.Group(visible=False))
        if not job.ended:
            told = job.progress
            note = fragments.say("Learning.") if told else fragments.waiting(studio.jobs.ahead(job))
            shown = fragments.learning(told, job.stopping) if told else ""
            pictures = fragments.strip(told.pictures, "How the edit is learned") if told else ""
            return (gr.skip(), gr.skip(), gr.skip(), note, shown, pictures, gr.skip())
        if job.state == "failed":
            return (*idle, error(ViiError(job.problem), studio), "", gr.skip(), gr.Group(visible=False))
        if job.result is None:
            return (*idle, fragments.say("Stopped before it began."), "", "", gr.Group(visible=False))
        learned: Learned = job.result
        pictures = fragments.strip(learned.progress.pictures, "How the edit was learned")
        note = fragments.say(verdict(learned), "good")
        return (*idle, note, fragments.learning(learned.progress, False), pictures, gr.Group(visible=True))

    def store(known: str, *fields: Any) -> tuple[Any, Any]:
        job = studio.jobs.find(known)
        if job is None or job.result is None:
            return fragments.say(GONE, "error"), gr.DownloadButton(visible=False)
        try:
            name, description, tags, author, licence, with_picture = fields
            entry = save(
                job.result,
                name,
                description=description,
                tags=tags,
                author=author,
                license=licence,
                picture=bool(with_picture),
            )
            file = studio.hand_out(entry.path)
        except ViiError as problem:
            return error(problem, studio), gr.DownloadButton(visible=False)
        told = fragments.say(f"Saved as '{entry.name}'. It can be picked under Apply now.", "good")
        return told, gr.DownloadButton(value=file, visible=True)

    def shipped() -> tuple[str, str]:
        return studio.hand_out(DEMO / "before.png"), studio.hand_out(DEMO / "after.png")

    for part in (before, after):
        part.change(look, [before, after], pair_note, **PRIVATE)
    example.click(shipped, None, [before, after], **PRIVATE)
    start.click(
        begin,
        [before, after, words, recipe, tokens, steps, seed, pictures],
        [key, timer, start, stop, status, progress, strip, saving, saved, download],
        **PRIVATE,
    )
    timer.tick(poll, key, [timer, start, stop, status, progress, strip, saving], **PRIVATE)
    stop.click(lambda known: stopped(studio, known), key, None, **PRIVATE)
    return keep.click(store, [key, name, description, tags, author, licence, thumbnail], [saved, download], **PRIVATE)
