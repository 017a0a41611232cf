"""What the page *Compare* does, without a browser."""

import time

import gradio as gr
import pytest
import torch
from conftest import picture

import vii
from vii import methods
from vii.demo import FOLDER as DEMO
from vii.editors.toy import ToyEditor
from vii.errors import ImageError, UsageError
from vii.methods import Learned, MethodEntry, load_method
from vii.ui.applying import SHOWN
from vii.ui.compare_page import ComparePage
from vii.ui.comparing import Asked, asked_for, compare, summary, usable
from vii.ui.jobs import Job
from vii.ui.studio import Studio

PAIR = vii.Pair(picture(1), 1 - picture(1))


@pytest.fixture
def studio(tmp_path):
    studio = Studio("toy", ToyEditor, tmp_path / "ui")
    studio.folder.mkdir()
    yield studio
    studio.jobs.close()


@pytest.fixture
def photo(studio):
    """A photo among the uploads."""
    path = studio.folder / "up/cat.png"
    path.parent.mkdir()
    vii.save_image(picture(2, 40, 30), path)
    return path


class Seen(Job):
    """A job in this thread that remembers what it told, and is stopped once it has told something in particular."""

    def __init__(self, last=""):
        self.told = []
        super().__init__("compare", lambda job: None)
        self.last = last

    def __setattr__(self, name, value):
        if name == "progress" and value is not None:
            self.told.append(value)
            if self.last and self.last in f"{value.now}: {value.note}":
                self.stop()
        super().__setattr__(name, value)


def offered(monkeypatch, **builders):
    """Other methods, by name, which look at the pairs."""
    for name, build in builders.items():
        monkeypatch.setitem(methods.OWN, name, MethodEntry(build, "for a test"))


def test_what_can_run_here_is_offered(shipped):
    assert set(usable()) >= {"inversion", "words", "pixel-delta", "color-map"}
    assert not {"no-edit", "analogist", "visual-prompting"} & set(usable())
    (shipped / "analogist").mkdir()
    assert "analogist" in usable()


def test_every_method_gives_what_it_gives_elsewhere(studio, photo, toy):
    job = Seen()
    compared = compare(job, studio, PAIR, photo, Asked(("pixel-delta", "words", "color-map"), "make it red", seed=3))
    image = vii.load_image(photo)
    assert [one.method for one in compared.results] == ["pixel-delta", "words", "color-map"]
    for one, options in zip(compared.results, ({}, {"editor": toy, "text": "make it red"}, {}), strict=True):
        expected = load_method(one.method, **options)([PAIR], image, seed=3)
        assert (vii.load_image(one.path) - expected).abs().max() <= 0.501 / 255
        assert one.shown == one.path
        assert one.path.is_relative_to(job.folder)
        assert 0 < one.seconds < 60
    assert summary(compared) == "3 of 3 methods done."
    assert [(one.now, one.note, one.done) for one in job.told] == [
        (name, note, done)
        for done, name in enumerate(("pixel-delta", "words", "color-map"))
        for note in ("starting", "applying")
    ]


def test_large_results_are_shown_small(studio):
    path = studio.folder / "large.png"
    vii.save_image(torch.nn.functional.interpolate(picture(1)[None], (400, 2000))[0], path)
    (one,) = compare(Seen(), studio, PAIR, path, Asked(("pixel-delta",))).results
    assert vii.load_image(one.path).shape == (3, 400, 2000)
    assert vii.load_image(one.shown).shape == (3, 320, SHOWN)


def test_a_method_that_fails_says_so_in_one_line_and_holds_up_no_other(studio, photo, monkeypatch, capsys):
    def refusing():
        raise UsageError(f"{studio.folder}/weights: gone\nfor good")

    def broken():
        raise KeyError("inside")

    offered(monkeypatch, refusing=refusing, broken=broken)
    names = ("refusing", "words", "broken", "pixel-delta")
    compared = compare(Seen(), studio, PAIR, photo, Asked(names))
    assert [one.method for one in compared.results] == ["pixel-delta"]
    assert compared.problems == (
        "refusing: weights: gone for good",
        "words: it needs words; write them above",
        "broken: an error inside vii (KeyError); the terminal says more",
    )
    assert "inside" in capsys.readouterr().err
    assert summary(compared).startswith("1 of 4 methods done. Not done: refusing: weights")
    with pytest.raises(UsageError, match="refusing: weights: gone for good; words: it needs words"):
        compare(Seen(), studio, PAIR, photo, Asked(("refusing", "words")))
    photo.write_bytes(b"no picture")
    with pytest.raises(ImageError):
        compare(Seen(), studio, PAIR, photo, Asked(names))


def test_stopping_ends_a_method_that_learns_and_keeps_what_is_done(studio, photo, monkeypatch):
    class Endless:
        def learn(self, pairs, *, seed, watch):
            for step in range(10_000):
                watch(f"step {step}")
            return Learned(self)

    offered(monkeypatch, endless=Endless)
    job = Seen("endless: step 5")
    compared = compare(job, studio, PAIR, photo, Asked(("pixel-delta", "endless", "color-map")))
    assert job.told[-1].note == "step 5"
    assert [one.method for one in compared.results] == ["pixel-delta"]
    assert compared.stopped
    assert summary(compared) == "Stopped: 1 of 3 methods done."
    assert compare(Seen("pixel-delta: starting"), studio, PAIR, photo, Asked(("pixel-delta",))).results == ()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"names": []}, "no method: tick at least one"), ({"names": None}, "no method"),
        ({"names": ["no-edit"]}, "unknown method 'no-edit'; expected some of"), ({"names": [["x"]]}, "unknown method"),
        ({"words": "x" * 999}, "shorten"), ({"seed": -1}, "seed"), ({"seed": float("nan")}, "seed"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(bad, message):
    with pytest.raises(UsageError, match=message):
        asked_for(**{"names": ["pixel-delta"], **bad})


def test_the_page_asks_and_shows(studio):
    with gr.Blocks():
        page = ComparePage(studio)
        page.wire()
    before, after, photo = page.shipped()
    given = {page.methods: ["pixel-delta", "color-map"], page.words: "", page.seed: 0}
    given |= dict(zip(page.pictures.values(), (before, after, photo), strict=True))
    told = page.begin({**given, page.pictures["photo"]: None})
    assert "the photo is missing: drop it above" in told[page.controls.status]
    told = page.begin({**given, page.pictures["photo"]: str(DEMO / "before.png")})
    assert "not given to this page" in told[page.controls.status]
    key = page.begin(given)[page.controls.key]
    end = time.monotonic() + 60
    while page.outcome not in (told := page.poll(key)):
        assert time.monotonic() < end
        time.sleep(0.05)
    captions = [caption for _, caption in told[page.gallery]]
    assert [caption.split(",")[0] for caption in captions] == ["pixel-delta", "color-map"]
    assert all(caption.endswith(" s") for caption in captions)
    assert len(told[page.files]) == 2
    assert "2 of 2 methods done." in told[page.controls.status]
    assert "no longer known" in page.poll("guess")[page.controls.status]
