"""What the pages of `vii ui` do, without a browser and without gradio."""

import dataclasses
import importlib.metadata
import json
import threading
import time
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import picture, strange_file
from pages import Page
from test_cli import refused

import vii
from vii.editors.toy import ToyEditor
from vii.errors import EditFileError, ImageError, OutputError, UsageError, ViiError
from vii.record import read_record
from vii.ui import fragments, jobs, shelf
from vii.ui.applying import MAX_PHOTOS, SHOWN, apply_to, check_photos, result_names, summary
from vii.ui.learning import duration, learn, one_line, save, settings_for, verdict, whole
from vii.ui.request import mask_of, request_for
from vii.ui.server import GRADIO, listen, token_for
from vii.ui.studio import Studio
from vii.ui.uploads import plain, uploaded

FEW = {"max_train_steps": 6, "batch_size": 2, "probe_size": 2, "probe_every": 2, "init": "none", "tokens": 4}


@pytest.fixture
def studio(tmp_path):
    studio = Studio("toy", ToyEditor, tmp_path / "ui")
    studio.folder.mkdir()
    yield studio
    studio.jobs.close()


@pytest.fixture
def free():
    """A job that nobody has queued, to run work in this thread."""
    return jobs.Job("test", lambda job: None)


@pytest.fixture
def held(library, toy_edit):
    """A library with two edits and a broken file."""
    library.mkdir(parents=True)
    vii.save_edit(toy_edit, library / "bands.safetensors")
    vii.save_edit(toy_edit, library / "stripes.safetensors")
    (library / "broken.safetensors").write_bytes(b"nothing")
    return library


def until(condition, seconds=20):
    """Wait for something another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# Jobs


def test_jobs_run_one_at_a_time_in_their_order(studio):
    log, go = [], threading.Event()

    def work(name):
        def run(job):
            log.append(f"{name} begins")
            go.wait(20)
            log.append(f"{name} ends")
            return name

        return run

    first, second, third = (studio.jobs.submit("x", work(name)) for name in "abc")
    until(lambda: first.state == "running")
    assert [studio.jobs.ahead(job) for job in (first, second, third)] == [0, 1, 2]
    studio.jobs.stop(second)
    assert (second.state, second.result, studio.jobs.ahead(third)) == ("done", None, 1)
    go.set()
    until(lambda: third.ended)
    assert log == ["a begins", "a ends", "c begins", "c ends"]
    assert (first.result, third.result) == ("a", "c")
    assert studio.jobs.find(third.id) is third
    assert studio.jobs.find("guess") is studio.jobs.find(None) is None


def test_a_failing_job_says_why_and_the_next_one_runs(studio, capsys):
    def fails(error):
        def run(job):
            raise error

        return run

    told = [studio.jobs.submit("x", fails(e)) for e in (UsageError("too long"), MemoryError(), KeyError("inside"))]
    until(lambda: told[-1].ended)
    assert [job.state for job in told] == ["failed"] * 3
    assert told[0].problem == "too long"
    assert "out of memory" in told[1].problem
    assert "KeyError" in told[2].problem
    assert "inside" in capsys.readouterr().err


def test_a_job_for_which_nobody_asks_stops(studio, monkeypatch):
    monkeypatch.setattr(jobs, "ABANDONED", 0.2)

    def work(job):
        until(lambda: job.stopping)
        return "best so far"

    job = studio.jobs.submit("x", work)
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        assert studio.jobs.find(job.id).state != "done"
        time.sleep(0.02)
    until(lambda: job.ended)
    assert job.result == "best so far"


def test_the_queue_has_an_end_and_old_results_are_forgotten(studio):
    go = threading.Event()
    running = studio.jobs.submit("x", lambda job: go.wait(20))
    until(lambda: running.state == "running")
    waiting = [studio.jobs.submit("x", lambda job: None) for _ in range(jobs.MAX_WAITING)]
    with pytest.raises(UsageError, match="waiting already"):
        studio.jobs.submit("x", lambda job: None)
    go.set()
    until(lambda: waiting[-1].ended)
    for _ in range(jobs.MAX_KEPT + 2):
        last = studio.jobs.submit("x", lambda job: None)
        until(lambda: last.ended)  # noqa: B023
    assert studio.jobs.find(running.id) is None
    assert len(studio.jobs._known) <= jobs.MAX_KEPT + 1


def test_what_a_job_made_goes_with_it(studio, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_RESULTS", 1000)

    def work(job):
        (studio.folder_for(job) / "result").write_bytes(b"x" * 600)

    made = []
    for _ in range(3):
        made.append(studio.jobs.submit("x", work))
        until(lambda: made[-1].ended)
    until(lambda: [job.folder.exists() for job in made] == [False, False, True])
    assert [studio.jobs.find(job.id) is job for job in made] == [False, False, True]


def test_jobs_hold_their_uploads_until_they_have_ended(studio, tmp_path):
    go = threading.Event()
    job = studio.jobs.submit("x", lambda job: go.wait(20), [tmp_path / "a"])
    assert studio.jobs.files() == {tmp_path / "a"}
    go.set()
    until(lambda: job.ended)
    assert studio.jobs.files() == set()


# Uploads


def test_a_pair_of_two_shapes_is_refused_and_of_two_scales_is_not(tmp_path):
    for name, size in (("a", (64, 64)), ("b", (32, 32)), ("c", (64, 80))):
        vii.save_image(picture(1, *size), tmp_path / f"{name}.png")
    assert vii.Pair.open(tmp_path / "a.png", tmp_path / "b.png").after.shape == (3, 64, 64)
    assert vii.Pair.open(tmp_path / "a.png", tmp_path / "b.png", around=24**2).after.shape == (3, 32, 32)
    for side in (None, 24):
        with pytest.raises(ImageError, match=r"a.png is 64 x 64 and .*c.png is 80 x 64.*crop them alike"):
            vii.Pair.open(tmp_path / "a.png", tmp_path / "c.png", around=side and side**2)


def test_only_uploads_are_files_of_the_page(studio, tmp_path):
    inside = studio.folder / "x" / "photo.png"
    with pytest.raises(UsageError, match="too long ago"):
        uploaded(str(inside), studio.folder)
    inside.parent.mkdir()
    inside.touch()
    assert uploaded(str(inside), studio.folder) == inside
    outside = [str(tmp_path / "photo.png"), str(studio.folder / "../photo.png"), str(studio.folder)]
    for path in (*outside, "photo.png", None, 3):
        with pytest.raises(UsageError, match="not given to this page"):
            uploaded(path, studio.folder)


def test_messages_name_files_and_not_folders(studio):
    told = plain(ImageError(f"{studio.folder}/abc123/my photo.png: damaged\nor worse"), studio.folder)
    assert told == "my photo.png: damaged or worse"


# Learn


def test_learning_reports_and_learns_what_the_library_learns(studio, free, toy, toy_pair):
    settings, seen = vii.InversionSettings(**FEW), []

    class Watched(jobs.Job):
        def __setattr__(self, name, value):
            if name == "progress" and value is not None:
                seen.append(value)
            super().__setattr__(name, value)

    learned = learn(Watched("learn", None), studio, toy_pair, settings, seed=3)
    assert [one.step for one in seen] == [0, 1, 2, 3, 4, 5, 6]
    assert seen[-1].left == 0
    assert learned.progress.left is None
    assert seen[1].left is None
    assert [label for label, _ in learned.progress.pictures][:3] == ["before", "after", "step 0: no words"]
    assert learned.progress.pictures[-1][0].startswith("best: step ")
    assert learned.edit.sha256() == vii.invert(toy, [toy_pair], settings, seed=3).sha256()
    assert not learned.stopped
    assert "Learned in 6 steps" in verdict(learned)
    assert learn(free, studio, toy_pair, settings, pictures=False).progress.pictures == ()


def test_stopping_keeps_the_best_so_far(studio, free, toy_pair):
    free.stop()
    learned = learn(free, studio, toy_pair, vii.InversionSettings(**FEW))
    assert learned.stopped
    assert learned.edit.training["steps"] == 0
    assert "Stopped after 0 of 6 steps; the best so far is kept" in verdict(learned)


def test_what_is_filled_in_reaches_the_settings():
    assert settings_for("default") == vii.load_recipe("default")
    settings = settings_for("default", words="  make it\n night ", tokens=5.0, steps=7)
    found = (settings.init_text, settings.tokens, settings.max_train_steps, settings.recipe)
    assert found == ("make it night", 5, 7, "default")
    assert settings_for("visii").recipe == "visii"


@pytest.mark.parametrize(
    "bad",
    [
        {"recipe": "/etc/passwd.toml"}, {"recipe": "../x.toml"}, {"recipe": "nothing"},
        {"words": "x" * 500}, {"tokens": 2.5}, {"tokens": -1}, {"steps": 0}, {"steps": 1e9}, {"steps": float("nan")},
        {"steps": float("inf")}, {"steps": "7"}, {"tokens": [4]},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(bad):
    with pytest.raises(UsageError):
        settings_for(**{"recipe": "default", **bad})


def test_saving_keeps_what_was_said_and_overwrites_nothing(studio, free, toy_pair, library):
    learned = learn(free, studio, toy_pair, vii.InversionSettings(**FEW), pictures=False)
    said = {"description": "Moves\n bands.", "tags": "red, bands,, red", "author": "Ada", "license": "CC0-1.0"}
    entry = save(learned, " bands ", **said)
    edit = vii.load_edit(library / "bands.safetensors")
    assert entry.path == library / "bands.safetensors"
    assert (edit.title, edit.description, edit.author, edit.license) == ("bands", "Moves bands.", "Ada", "CC0-1.0")
    assert tuple(edit.tags) == ("red", "bands")
    assert edit.thumbnail == ""
    assert save(learned, "bands", **said).path == entry.path
    for name, message in (("bands", "another edit called"), ("", "a name is missing"), ("../x", "cannot be the name")):
        with pytest.raises(UsageError, match=message) as caught:
            save(learned, name, picture=True)
        assert "vii-save-" not in str(caught.value)
    assert vii.load_edit(save(learned, "with picture", picture=True).path).thumbnail.startswith("data:image/jpeg")


def test_small_helpers():
    assert [duration(x) for x in (7.6, 95, 7300)] == ["8 s", "1 min 35 s", "2 h 1 min"]
    assert whole(None, "x", 0, 5) is None
    assert one_line(None, "x") == ""


# Apply


@pytest.fixture
def photos(studio):
    """Three photos among the uploads."""
    paths = []
    for index, size in enumerate([(40, 60), (64, 64), (90, 50)]):
        path = studio.folder / f"up{index}" / "photo.png"
        path.parent.mkdir()
        vii.save_image(picture(index, *size), path)
        paths.append(path)
    return paths


def test_applying_is_the_library_function_and_writes_a_record(studio, free, photos, held, toy, toy_edit):
    request = request_for(["bands", "stripes"], [0.5, -0.25, 9], words="make it blue", seed=4, guidance=1)
    applied = apply_to(free, studio, photos, request)
    assert [result.name for result in applied.results] == ["photo", "photo-2", "photo-3"]
    result = applied.results[0]
    weighted = [(toy_edit, 0.5), (toy_edit, -0.25)]
    expected = vii.apply(toy, weighted, vii.load_image(photos[0]), text="make it blue", seed=4, guidance_scale=1.0)
    after = vii.load_image(result.path)
    assert (after - expected).abs().max() <= 0.501 / 255
    assert torch.equal(vii.load_image(result.after), after)
    assert vii.load_image(result.before).shape == after.shape
    assert {path.is_relative_to(free.folder) for path in (result.path, result.before, result.after)} == {True}
    made = read_record(result.path)
    assert [(edit["name"], edit["weight"]) for edit in made["edits"]] == [("bands", 0.5), ("stripes", -0.25)]
    assert (made["text"], made["seed"], made["region"]) == ("make it blue", 4, None)
    assert summary(applied) == "3 of 3 photos done."
    archive, *pngs = applied.files
    assert zipfile.ZipFile(archive).namelist() == ["photo.png", "photo-2.png", "photo-3.png"]
    assert len(pngs) == 3


def test_large_results_are_files_and_the_page_shows_them_small(studio, free, held):
    path = studio.folder / "large.png"
    vii.save_image(torch.nn.functional.interpolate(picture(1)[None], (1300, 2000))[0], path)
    (result,) = apply_to(free, studio, [path], request_for(["bands"], [1], size="photo")).results
    assert vii.load_image(result.path).shape == (3, 1300, 2000)
    for shown in (result.before, result.after):
        assert vii.load_image(shown).shape == (3, 1040, SHOWN)
    free.forget()
    assert not result.path.exists()


def test_photos_of_a_job_are_limited(tmp_path):
    check_photos([tmp_path] * MAX_PHOTOS)
    with pytest.raises(UsageError, match="at most 24 are taken at once"):
        check_photos([tmp_path] * (MAX_PHOTOS + 1))
    with pytest.raises(UsageError, match="no photo"):
        check_photos([])


def test_a_bad_photo_is_reported_and_the_others_are_done(studio, free, photos, held):
    photos[1].write_bytes(b"no picture")
    applied = apply_to(free, studio, photos, request_for(["bands"], [1]))
    assert len(applied.results) == 2
    assert "Not done: photo.png: not a picture" in summary(applied)
    assert str(studio.folder) not in summary(applied)
    with pytest.raises(ImageError):
        apply_to(free, studio, photos[1:2], request_for(["bands"], [1]))


def test_stopping_keeps_the_photos_that_are_done(studio, photos, held):
    class Stopping(jobs.Job):
        @property
        def stopping(self):
            return self.progress is not None

    applied = apply_to(Stopping("x", None), studio, photos, request_for(["bands"], [1]))
    assert (len(applied.results), applied.stopped) == (1, True)
    assert summary(applied) == "Stopped: 1 of 3 photos done."
    assert applied.files == (applied.results[0].path,)


def test_a_painted_mask_limits_the_edit(studio, free, photos, held):
    layer = np.zeros((64, 64, 4), np.uint8)
    assert mask_of(None) is mask_of({"layers": []}) is mask_of({"layers": [layer]}) is None
    layer[:, :32] = 200
    mask = mask_of({"background": None, "layers": [layer]})
    assert mask.mean() == 0.5
    (result,) = apply_to(free, studio, photos[1:2], request_for(["bands"], [1], mask=mask)).results
    before, after = vii.load_image(result.before), vii.load_image(result.path)
    half = after.shape[2] // 2
    assert torch.equal(after[:, :, half + 2 :], before[:, :, half + 2 :])
    assert not torch.allclose(after[:, :, : half - 2], before[:, :, : half - 2], atol=1e-2)
    assert read_record(result.path)["region"] == "mask"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"names": []}, "nothing to apply"), ({"names": ["bands"] * 5}, "at most 4"), ({"names": ["none"]}, "unknown"),
        ({"names": ["broken"]}, "broken"), ({"names": ["../library/bands"]}, "unknown edit"),
        ({"weights": [float("nan")]}, "weight"), ({"weights": [99]}, "weight"),
        ({"weights": ["1"]}, "weight"), ({"guidance": "1"}, "guidance"), ({"guidance": -1}, "guidance"),
        ({"guidance": float("nan")}, "guidance"), ({"words": "x" * 999}, "shorten"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_are_refused(held, bad, message):
    with pytest.raises(vii.ViiError, match=message) as caught:
        request_for(**{"names": ["bands"], "weights": [1.0] * 5, **bad})
    assert str(held) not in str(caught.value)


def test_results_have_safe_names_of_their_own(tmp_path):
    paths = [tmp_path / name for name in ("a b.png", "a_b.jpg", "...png", "A_B.png", "x" * 99 + ".png")]
    assert result_names(paths)[:4] == ["a_b", "a_b-2", "photo", "A_B-3"]
    assert len(result_names(paths)[4]) == 60


# Library


def test_the_shelf_lists_searches_and_shows(held, tmp_path):
    assert [entry.name for entry in shelf.entries()] == ["bands", "broken", "stripes"]
    assert [entry.name for entry in shelf.entries("stri")] == ["stripes"]
    assert shelf.names_for("toy") == ["bands", "stripes"]
    assert shelf.names_for("embedded") == []
    files, captions = zip(*shelf.cards(shelf.entries(), tmp_path), strict=True)
    assert captions == ("bands", "broken (cannot be used)", "stripes")
    assert len(set(files)) == 2, "one file for each different picture"
    with pytest.raises(EditFileError, match=r"^broken: "):
        shelf.find("broken")
    for name in (None, "", "nothing", str(held / "bands.safetensors"), "bands.safetensors"):
        with pytest.raises(UsageError):
            shelf.find(name)


def test_what_somebody_wrote_is_shown_as_text(library, toy_edit):
    library.mkdir(parents=True)
    evil = {"title": "<script>alert(1)</script>", "description": '"><img src=x onerror=y>'}
    training = '{"explained": 1e300, "recipe": "<b>"}'
    thumbnail = "data:image/jpeg;base64,AAAA"
    fields = {f"modelspec__{name}": value for name, value in evil.items()} | {"modelspec__thumbnail": thumbnail}
    strange_file(toy_edit, library / "x.safetensors", **fields, vii__training=training)
    entry = shelf.find("x")
    edit = dataclasses.replace(toy_edit, title=evil["title"] + "\x1b]0;owned\x07\u202e")
    told = fragments.facts(shelf.facts(entry)) + fragments.say(edit.title) + fragments.unusable(edit.title, "<b>")
    told += fragments.bar(edit.title, 1, 2, "<b>") + fragments.strip([(edit.title, "x")], '"onload="')
    assert {tag for tag, _ in Page(told).tags} == {
        "p", "div", "table", "caption", "tbody", "tr", "th", "td", "figure", "img", "figcaption", "strong",
    }  # fmt: skip
    assert "&lt;script&gt;" in told
    assert not [attributes for _, attributes in Page(told).tags if {"onload", "onerror"} & attributes.keys()]
    assert not {"\x1b", "\x07", "\u202e"} & set(told)
    assert shelf.card(entry).size == shelf.CARD
    assert "Explained" not in shelf.facts(entry)


def test_names_that_no_page_can_show_are_shown_otherwise(library, toy_edit, tmp_path):
    library.mkdir(parents=True)
    for name in ("a\udcff", "b\x1b[31m"):
        try:
            vii.save_edit(toy_edit, library / f"{name}.safetensors")
        except (OSError, ViiError):  # a file system that has no such names
            pytest.skip("this file system refuses such names")
    assert [entry.name for entry in shelf.entries()] == ["a\ufffd", "b [31m"]
    assert shelf.names_for("toy") == ["a\ufffd", "b [31m"]
    json.dumps(shelf.cards(shelf.entries(), tmp_path / "cards"), ensure_ascii=False).encode()
    assert shelf.find("a\ufffd").edit.sha256() == toy_edit.sha256()
    for name in ("a\ufffd", "b [31m"):
        shelf.remove(name)
    assert shelf.entries() == []


def test_imports_are_checked_like_local_files(studio, held, toy_edit):
    good, bad, other = (studio.folder / name for name in ("good.safetensors", "bad.safetensors", "x.pt"))
    vii.save_edit(toy_edit, good)
    bad.write_bytes(b"\x80\x02 pickle")
    other.write_bytes(b"x")
    added, refused = shelf.import_files([good, bad, other], studio.folder)
    assert added == ["good"]
    assert refused[0].startswith("bad.safetensors: this is a pickle")
    assert refused[1].startswith("x.pt: edit files are named")
    assert (held / "good.safetensors").read_bytes() == good.read_bytes()
    with pytest.raises(UsageError, match="at most 50"):
        shelf.import_files([good] * 51, studio.folder)


def test_removing_takes_names_only(held):
    for name in ("", "nothing", "../library/bands", str(held / "bands.safetensors")):
        with pytest.raises(UsageError):
            shelf.remove(name)
    shelf.remove("bands")
    shelf.remove("broken")
    assert [entry.name for entry in shelf.entries()] == ["stripes"]


# Server


def test_tokens(tmp_path, monkeypatch):
    monkeypatch.delenv("VII_TOKEN", raising=False)
    assert len({token_for("127.0.0.1"), token_for("127.0.0.1"), token_for("0.0.0.0")}) == 3
    assert len(token_for("127.0.0.1")) >= 32
    assert token_for("127.0.0.1", off=True) == token_for("localhost", off=True) == ""
    with pytest.raises(UsageError, match="this machine only"):
        token_for("0.0.0.0", off=True)
    monkeypatch.setenv("VII_TOKEN", "of-the-environment")
    assert token_for("127.0.0.1") == "of-the-environment"
    file = tmp_path / "token"
    file.write_text("of-the-file~1\n")
    file.chmod(0o600)
    assert token_for("127.0.0.1", file=file) == "of-the-file~1"
    for token in ("short", "with space in it", "über-token-x", "a&b=c-long", ""):
        file.write_text(token, encoding="utf-8")
        with pytest.raises(UsageError, match="at least 8"):
            token_for("127.0.0.1", file=file)
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        token_for("127.0.0.1", file=file)
    with pytest.raises(UsageError, match="cannot be read"):
        token_for("127.0.0.1", file=tmp_path / "none")


def test_a_port_that_is_taken_is_an_error_of_one_line():
    with listen("127.0.0.1", 0) as bound, pytest.raises(OutputError, match="choose another with --port"):
        listen("127.0.0.1", bound.getsockname()[1])


def test_without_gradio_the_command_says_how_to_install_it(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("vii.ui.server.metadata.version", version)
    assert "pip install '.[ui]'" in refused("ui", "--no-browser")
    monkeypatch.setattr("vii.ui.server.metadata.version", lambda name: "6.30.9")
    assert "needs gradio 6.31, found 6.30.9" in refused("ui", "--no-browser")


def test_pyproject_names_the_version_of_gradio_that_the_guard_knows():
    extras = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    for extra in ("ui", "test"):
        assert f"gradio=={GRADIO}.*" in extras["optional-dependencies"][extra]
