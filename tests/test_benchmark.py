"""The benchmark: its edits, its books, its sums, its page and its command."""

import dataclasses
import itertools
import json
import re
import shutil

import pytest
import torch
from click.testing import CliRunner
from conftest import picture
from pages import Page

import vii
from vii.cli import main
from vii.editors.toy import ToyEditor
from vii.errors import OutputError, UsageError
from vii.evaluation.benchmark import (
    Method,
    Scores,
    Subject,
    choose,
    count_scores,
    methods_for,
    read_edits,
    read_photos,
    run,
    shipped_edits,
)
from vii.evaluation.benchmark.edits import ByFormula
from vii.evaluation.benchmark.methods import NO_EDIT, PIXEL_DELTA, TRUE_WORDS
from vii.evaluation.metrics import leakage, preserved, psnr, ssim
from vii.evaluation.synthetic import SAID, UNSAID, compose, make
from vii.images import spread

FAST = vii.InversionSettings(recipe="fast", init="none", tokens=3, max_train_steps=4, probe_size=2, batch_size=2)
SEPIA = Subject("sepia", ByFormula(make("sepia")), "make it sepia", said=True)
TINT = Subject("tint", ByFormula(make("tint", c=198)))
PHOTOS = {name: picture(seed, 32, 32) for seed, name in enumerate("abcd")}
METHODS = [Method(NO_EDIT), Method(PIXEL_DELTA), Method(TRUE_WORDS), Method("fast", FAST)]


class Counting(ToyEditor):
    """The toy editor, which counts how often it is trained through and asked for a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = self.edits = 0

    def loss(self, *arguments, **options):
        self.losses += 1
        return super().loss(*arguments, **options)

    def edit(self, *arguments, **options):
        self.edits += 1
        return super().edit(*arguments, **options)


def scored(folder, editor=None, subjects=(SEPIA, TINT), methods=METHODS, photos=PHOTOS, seeds=(0, 1), **conditions):
    """All results of a run."""
    return list(run(editor or ToyEditor(), subjects, methods, photos, seeds, folder, conditions))


# Edits and photos


def test_items_are_spread_from_the_first_to_the_last():
    assert spread(range(75), 4) == [0, 25, 49, 74]
    assert spread(range(5), 1) == [0]
    assert spread("abc", 9) == ["a", "b", "c"]
    for total, count in itertools.product(range(2, 30), range(2, 30)):
        chosen = spread(range(total), count)
        assert len(set(chosen)) == min(total, count)
        assert chosen[0] == 0
        assert chosen[-1] == total - 1


def test_a_seed_picks_its_own_example_and_tests_on_all_other_photos():
    tasks = [SEPIA.source.task(PHOTOS, seed, 32) for seed in range(5)]
    for seed, task in enumerate(tasks):
        assert "abcd"[seed % 4] not in task.tests
        assert len(task.tests) == 3
        assert torch.equal(task.examples[0].before, PHOTOS["abcd"[seed % 4]])
        assert torch.equal(task.examples[0].after, make("sepia").apply(task.examples[0].before))
    digests = [task.sha256() for task in tasks]
    assert len(set(digests)) == 4
    assert digests[0] == digests[4]
    assert digests[0] not in (TINT.source.task(PHOTOS, 0, 32).sha256(), digests[1])


def test_several_examples_are_as_many_photos_and_never_tested_on(edits_folder):
    task = TINT.source.task(PHOTOS, 3, 32, examples=2)
    found = [name for pair in task.examples for name in PHOTOS if torch.equal(pair.before, PHOTOS[name])]
    assert found == ["d", "a"]
    assert list(task.tests) == ["b", "c"]
    with pytest.raises(UsageError, match="none is left to test on"):
        TINT.source.task(PHOTOS, 0, 32, examples=4)
    drawn = read_edits(edits_folder / "edits.toml")[0]
    with pytest.raises(UsageError, match="made of pictures has one example, not 2"):
        drawn.source.task({}, 0, 32, examples=2)


def test_photos_are_square_and_named_and_from_the_whole_folder(tmp_path):
    for index in range(7):
        vii.save_image(picture(index, 40, 60), tmp_path / f"{index}.png")
    photos = read_photos(tmp_path, 3, 24)
    assert list(photos) == ["0", "2", "4", "6"]
    assert {photo.shape for photo in photos.values()} == {(3, 24, 24)}
    assert list(read_photos(None, 10, 16)) == ["astronaut", "cat", "coffee", "rocket"]


def test_shipped_edits_are_those_of_the_synthetic_module_and_can_be_chosen():
    subjects = shipped_edits()
    assert [subject.name for subject in subjects] == [*SAID, *UNSAID]
    assert [subject.said for subject in subjects] == [True] * len(SAID) + [False] * len(UNSAID)
    assert [subject.name for subject in choose(subjects, ["night", "sepia"])] == ["sepia", "night"]
    assert [subject.said for subject in choose(subjects, few=2)] == [True, True, False, False]
    with pytest.raises(UsageError, match="did you mean 'sepia'"):
        choose(subjects, ["sepa"])


@pytest.fixture
def edits_folder(tmp_path):
    """A file with an edit made of pictures and one made of formulas."""
    for index, name in enumerate(("one", "two")):
        for folder, edit in (("photos", make("night", s=0)), ("truths", make("night", s=1))):
            (tmp_path / folder).mkdir(exist_ok=True)
            vii.save_image(edit.apply(picture(index, 40, 48)), tmp_path / folder / f"{name}.png")
    vii.save_image(picture(8, 40, 40), tmp_path / "before.png")
    vii.save_image(picture(9, 40, 40), tmp_path / "after.png")
    (tmp_path / "edits.toml").write_text(
        '[[edit]]\nname = "mine"\nwords = "make it night"\nsaid = true\nbefore = "before.png"\nafter = "after.png"\n'
        'photos = "photos"\ntruths = "truths"\n'
        '[[edit]]\nname = "drawn"\nparts = [{ family = "tint", c = 198, s = 1 }, { family = "fog" }]\n'
    )
    return tmp_path


def test_edits_of_ones_own_are_read(edits_folder):
    mine, drawn = read_edits(edits_folder / "edits.toml")
    assert (mine.name, mine.words, mine.said) == ("mine", "make it night", True)
    task = mine.source.task({}, 5, 32)
    assert list(task.tests) == ["one", "two"]
    assert task.examples[0].before.shape == task.tests["one"].after.shape == (3, 32, 32)
    assert task.sha256() == mine.source.task(PHOTOS, 0, 32).sha256()
    assert (drawn.name, drawn.words, drawn.said) == ("drawn", "", False)
    assert drawn.source == ByFormula(compose(make("tint", c=198, s=1), make("fog")))


PICTURES = 'before = "before.png"\nafter = "after.png"\nphotos = "photos"\ntruths = "truths"\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[edit", "not valid TOML"),
        ("", "expected .*edit.* entries and nothing else, found nothing"),
        ('[edit]\nname = "x"', "expected .*edit.* entries"),
        ('[[edits]]\nname = "x"', "found edits"),
        ('[[edit]]\nparts = [{ family = "sepia" }]', "edit 1: expected a name"),
        ('[[edit]]\nname = "x"', "found neither"),
        ('[[edit]]\nname = "x"\nbefore = "before.png"', "expected either .*found before"),
        (f'[[edit]]\nname = "x"\nparts = []\n{PICTURES}', "expected either"),
        ('[[edit]]\nname = "x"\nwrods = "y"', "did you mean 'words'"),
        ('[[edit]]\nname = 3\nparts = [{ family = "sepia" }]', "name must be of type str, got 3"),
        ('[[edit]]\nname = "x"\nsaid = true\nparts = [{ family = "sepia" }]', "expected words"),
        ('[[edit]]\nname = "x"\nparts = [{ family = "sepa" }]', "edit 1: .*did you mean 'sepia'"),
        ('[[edit]]\nname = "x"\nparts = [{ family = "tint", c = 999 }]', "takes c = "),
        ('[[edit]]\nname = "x"\nparts = [{ c = 9 }]', "family = NAME"),
        ('[[edit]]\nname = "x"\nparts = []', "at least one"),
        ('[[edit]]\nname = "x"\nparts = [{ family = "fog" }]\n' * 2, "two edits are called 'x'"),
        (f'[[edit]]\nname = "x"\n{PICTURES}'.replace("before.png", "none.png"), "none.png: no such file"),
        (f'[[edit]]\nname = "x"\n{PICTURES}'.replace('"truths"', '"nowhere"'), "nowhere: no such file"),
        (f'[[edit]]\nname = "x"\n{PICTURES}'.replace('"truths"', '"after.png"'), "expected a folder"),
        (f'[[edit]]\nname = "x"\n{PICTURES}'.replace('"truths"', '"fewer"'), "holds 'two' and .*fewer does not"),
    ],
)
def test_edits_files_that_are_wrong(edits_folder, content, message):
    (edits_folder / "fewer").mkdir()
    shutil.copy(edits_folder / "truths/one.png", edits_folder / "fewer/one.png")
    path = edits_folder / "wrong.toml"
    path.write_text(content)
    with pytest.raises(vii.ViiError, match=message):
        read_edits(path)


# Methods and scores


def test_methods_are_the_fixed_ones_and_a_recipe_each(tmp_path):
    (tmp_path / "mine.toml").write_text("[inversion]\nsteps = 7")
    (tmp_path / "visii.toml").write_text("")
    methods = methods_for(["visii", str(tmp_path / "mine.toml")])
    assert [method.name for method in methods] == ["no edit", "pixel delta", "true words", "visii", "mine"]
    assert methods[-1].recipe == dataclasses.replace(vii.load_recipe("default"), recipe="mine", max_train_steps=7)
    with pytest.raises(UsageError, match="'visii' is there already"):
        methods_for(["visii", str(tmp_path / "visii.toml")])


def test_measures_of_a_score_are_means_over_the_test_photos(tmp_path, toy):
    results = {(r.score.edit, r.score.method, r.score.seed): r.score for r in scored(tmp_path)}
    assert len(results) == count_scores([SEPIA, TINT], METHODS, [0, 1]) == 14  # the tint has no words
    task = SEPIA.source.task(PHOTOS, 1, 32)
    tests = list(task.tests.values())
    words = [vii.apply(toy, None, test.before, text="make it sepia") for test in tests]
    delta = [(test.before + task.examples[0].after - task.examples[0].before).clamp(0, 1) for test in tests]
    edit = vii.invert(toy, [*task.examples], FAST, seed=1)
    learned = [vii.apply(toy, edit, test.before, seed=1) for test in tests]
    for method, outputs in {"true words": words, "pixel delta": delta, "fast": learned}.items():
        score, both = results["sepia", method, 1], list(zip(outputs, tests, strict=True))
        assert score.psnr == pytest.approx(sum(psnr(o, t.after) for o, t in both) / 3, abs=1e-3)
        assert score.ssim == pytest.approx(sum(ssim(o, t.after) for o, t in both) / 3, abs=1e-4)
        assert score.leakage == pytest.approx(leakage(outputs, tests, task.examples[0]), abs=1e-4)
        known = [x for o, t in both if (x := preserved(o, t.before, t.after)) is not None]
        assert score.preserved == (pytest.approx(sum(known) / len(known), abs=1e-3) if known else None)
        assert score.direction is None  # the toy editor has no joint space
    fast = results["sepia", "fast", 1]
    assert (fast.samples, fast.explained) == (edit.training["samples"], edit.training["explained"])
    assert fast.kilobytes > 0.5
    assert fast.learn_seconds >= 0
    assert results["sepia", "pixel delta", 0].leakage > 0.05  # it does nothing but leak


def test_the_edit_direction_is_measured_where_the_editor_has_a_joint_space(tmp_path):
    class Joint:
        def image_features(self, images):
            return torch.stack([torch.cat([image.mean((1, 2)), image.std((1, 2)) + 0.1]) for image in images])

    editor = ToyEditor()
    editor.joint = Joint()
    results = {r.score.method: r.score for r in scored(tmp_path, editor, [SEPIA], METHODS[:2])}
    assert results["no edit"].direction == 0
    assert results["pixel delta"].direction > 0.5


def test_a_method_that_does_not_look_at_the_pair_runs_once_for_all_seeds(tmp_path):
    editor = Counting()
    results = scored(tmp_path, editor, [SEPIA], [Method(TRUE_WORDS)], seeds=(0, 1, 2))
    assert editor.edits == len(PHOTOS)
    assert len({result.score.psnr for result in results}) == 3  # over other photos


def test_a_score_is_used_again_only_under_the_same_conditions(tmp_path):
    def losses(**changes):
        editor = changes.pop("editor", None) or Counting()
        arguments = {"subjects": [TINT], "methods": METHODS[3:], "seeds": [0], **changes}
        before = editor.losses
        results = scored(tmp_path, editor, **arguments)
        assert all(path.exists() for result in results for path in result.pictures.values())
        return editor.losses - before

    first = losses()
    assert first > 0
    assert losses() == 0

    other_model, other_guidance = Counting(), Counting()
    other_model.space = dataclasses.replace(other_model.space, fingerprint="retrained")
    other_guidance.settings = dataclasses.replace(other_guidance.settings, guidance_scale=2.0)
    changes = {
        "model": {"editor": other_model},
        "recommended settings": {"editor": other_guidance},
        "recipe": {"methods": [Method("fast", dataclasses.replace(FAST, learning_rate=0.05))]},
        "parameter": {"subjects": [Subject("tint", ByFormula(make("tint", c=198, s=0.45)))]},
        "photo": {"photos": {**PHOTOS, "d": 1 - PHOTOS["d"]}},
        "seed": {"seeds": [1]},
        "precision": {"dtype": "bfloat16"},
    }
    for name, change in changes.items():
        assert losses(**change) > 0, name
        assert losses(**change) == 0, name
    assert losses() == 0  # nothing of it was lost

    next((tmp_path / "pictures").glob("*-0.png")).unlink()
    assert sum(losses(**change) for change in [{}, *changes.values()]) > 0


def test_a_score_knows_how_good_learning_was_on_the_way(tmp_path):
    recipe = dataclasses.replace(FAST, max_train_steps=6, probe_every=2)
    result = scored(tmp_path, subjects=[TINT], methods=[Method("fast", recipe)], seeds=[0])[0].score
    curve, first = result.curve, dataclasses.replace(recipe, max_train_steps=2, lr_scheduler="constant")
    assert len(curve) == 4  # the start and three looks
    assert (curve[-1].samples, curve[-1].psnr) == (result.samples, result.psnr)
    assert [b.samples - a.samples for a, b in itertools.pairwise(curve)] == [2 * 2 + 2] * 3
    assert [point.seconds for point in curve] == sorted(point.seconds for point in curve)
    again = scored(tmp_path, subjects=[TINT], methods=[Method("fast", recipe)], seeds=[0])[0].score
    assert again == result
    # What it says of the second look is what a run of that many updates gives, at the same rate.
    constant = dataclasses.replace(recipe, lr_scheduler="constant")
    long, short = (
        scored(tmp_path, subjects=[TINT], methods=[Method("fast", r)], seeds=[0])[0].score for r in (constant, first)
    )
    assert long.curve[1].psnr == short.psnr
    assert not scored(tmp_path, subjects=[TINT], methods=[Method(PIXEL_DELTA)], seeds=[0])[0].score.curve


def test_methods_of_one_and_of_several_pairs_are_tested_on_the_same_photos(tmp_path):
    one, two = Method("fast", FAST), Method("fast, 2 pairs", FAST, 2)
    results = [result.score for result in scored(tmp_path, subjects=[TINT], methods=[one, two], seeds=[1])]
    task = TINT.source.task(PHOTOS, 1, 32, examples=2)
    for score, pairs in zip(results, (task.examples[:1], task.examples), strict=True):
        edit = vii.invert(ToyEditor(), pairs, FAST, seed=1)
        quality = [psnr(vii.apply(ToyEditor(), edit, t.before, seed=1), t.after) for t in task.tests.values()]
        assert score.psnr == pytest.approx(sum(quality) / len(quality), abs=1e-3)
    assert results[0].psnr != results[1].psnr


def test_said_is_a_label_and_costs_nothing_to_change(tmp_path):
    scored(tmp_path, subjects=[SEPIA])
    editor = Counting()
    renamed = dataclasses.replace(SEPIA, said=False)
    assert not any(result.score.said for result in scored(tmp_path, editor, [renamed]))
    assert editor.losses == editor.edits == 0


def test_a_run_that_was_stopped_goes_on(tmp_path):
    started = run(ToyEditor(), [SEPIA, TINT], METHODS, PHOTOS, [0, 1], tmp_path)
    part = list(itertools.islice(started, 7))
    started.close()
    assert len(json.loads((tmp_path / "scores.json").read_text())["rows"]) == 7
    editor = Counting()
    whole = scored(tmp_path, editor)
    assert [result.score for result in whole[:7]] == [result.score for result in part]
    assert len(whole) == 14
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"version": 99, "rows": {}}', '{"version": 2, "rows": {"k": {"x": 1}}}']
)
def test_scores_of_another_kind_are_refused_and_kept(tmp_path, content):
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(OutputError, match="another folder with -o"):
        Scores(tmp_path)
    assert (tmp_path / "scores.json").read_text() == content


# The command


def bench(*arguments, code=0):
    """Run the command with the toy editor; stdout, or the one line of the error."""
    result = CliRunner().invoke(main, ["bench", "--editor", "toy", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    if not code:
        return result.stdout
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("vii: ")
    return lines[0]


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "fast.toml"
    path.write_text('[inversion]\ninit = "none"\ntokens = 3\nsteps = 4\nprobe_size = 2\n')
    return path


def test_a_whole_run_writes_a_table_a_report_and_a_page(tmp_path, recipe):
    out = tmp_path / "out"
    options = ["-o", out, "--recipe", recipe, "--edit", "sepia", "--edit", "tint hue 198", "--seeds", "2"]
    text = bench(*options)
    assert "| mean, unsaid |" in text
    assert str(out / "page.html") in text

    found = json.loads((out / "report.json").read_text())
    assert json.loads(bench(*options, "--json")) == found  # all scores were used again
    assert len(found["scores"]) == 16
    assert found["photos"] == "astronaut, cat, coffee, rocket"
    assert set(found["means"]) == {"no edit", "pixel delta", "true words", "fast"}

    source = (out / "page.html").read_text()
    page = Page(source)
    assert page.open == []
    assert page.of("html") == [{"lang": "en"}]
    images = page.of("img")
    assert len(images) == 2 * (2 + 3 * (2 + 4))
    assert len({image["alt"] for image in images}) == len(images)
    for image in images:
        assert image["src"].startswith("data:image/jpeg;base64,")
        assert len(image["alt"]) > 10
    assert "sepia, photo cat: result of fast" in [image["alt"] for image in images]
    assert not page.of("script")
    assert not page.of("link")
    assert not re.search(r"https?://|url\(|@import", source)
    assert "prefers-color-scheme: dark" in source
    assert "&lt;" not in source
    anchors, ids = page.of("a"), [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert [anchor["href"][1:] for anchor in anchors] == ids
    assert all(header.get("scope") in ("row", "col") for header in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))


def test_names_are_escaped_on_the_page(tmp_path, recipe):
    path = tmp_path / "edits.toml"
    path.write_text('[[edit]]\nname = "<script>\\"&"\nwords = "<b>"\nparts = [{ family = "fog" }]\n')
    bench("-o", tmp_path / "out", "--recipe", recipe, "--edits", path, "--quick")
    page = Page((tmp_path / "out/page.html").read_text())
    assert page.open == []
    assert not page.of("script")
    assert not page.of("b")
    assert any(image["alt"].startswith('<script>"&, photo') for image in page.of("img"))


def test_edits_and_photos_of_ones_own_reach_the_scores(edits_folder, recipe):
    photos = edits_folder / "holiday"
    photos.mkdir()
    for index in range(5):
        vii.save_image(picture(index, 40, 60), photos / f"p{index}.png")
    options = ["--edits", edits_folder / "edits.toml", "--photos", photos, "--count", "2", "--recipe", recipe, "--json"]
    found = json.loads(bench("-o", edits_folder / "out", *options, "--quick"))
    assert found["photos"] == "p0, p2, p4"
    assert {(row["edit"], row["said"]) for row in found["scores"]} == {("mine", True), ("drawn", False)}
    assert {row["method"] for row in found["scores"] if row["edit"] == "mine"} == set(found["means"])
    assert found["seeds"] == "0"


def test_bad_input_is_refused_in_one_line(tmp_path, recipe, photo_file):
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.toml").write_text("edit = 3")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/scores.json").write_text("[]")
    cases = [
        (["--recipe", "defualt"], "did you mean 'default'"),
        (["--recipe", tmp_path / "none.toml"], "no such recipe file"),
        (["--edit", "sepai"], "did you mean 'sepia'"),
        (["--edits", tmp_path / "none.toml"], "none.toml: cannot be read"),
        (["--edits", tmp_path / "wrong.toml"], r"expected \[\[edit\]\] entries"),
        (["--photos", tmp_path / "none"], "no such file"),
        (["--photos", tmp_path / "empty"], "no pictures in this folder"),
        (["--photos", photo_file], "expected two at least"),
        (["--count", "0"], "--count"),
        (["--seeds", "none"], "--seeds"),
        (["--editor", "embeded"], "did you mean 'embedded'"),
        (["--quick", "--recipe", "default"], "cannot learn 20 tokens"),
    ]
    for arguments, message in cases:
        line = bench("-o", tmp_path / "out", *arguments, code=1)
        assert re.search(message, line), line
    assert "another folder with -o" in bench("-o", tmp_path / "old", "--recipe", recipe, code=1)
    assert "cannot be written" in bench("-o", photo_file / "inside", "--recipe", recipe, code=1)
    assert not (tmp_path / "out/report.json").exists()


def test_leakage_is_unknown_with_one_test_photo(tmp_path):
    two = {name: PHOTOS[name] for name in "ab"}
    assert {result.score.leakage for result in scored(tmp_path, photos=two)} == {None}
