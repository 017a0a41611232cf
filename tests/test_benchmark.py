"""The benchmark: its edits, its books, its sums, its page and its command."""

import dataclasses
import itertools
import json
import re
import shutil
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import picture
from pages import Page, complete
from test_cli import refused
from test_cli import run as run_command

import vii
from vii.editors.toy import ToyEditor
from vii.errors import OutputError, UsageError
from vii.evaluation import benchmark, keys, tasks
from vii.evaluation.benchmark import count_scores, run, split_of
from vii.evaluation.methods import Method, methods_for
from vii.evaluation.metrics import leakage, preserved, psnr, ssim
from vii.evaluation.report import benchmark_tables
from vii.evaluation.scores import Score, Scores
from vii.evaluation.statistics import conclusions
from vii.evaluation.synthetic import DESCRIBABLE, INDESCRIBABLE, compose, make
from vii.evaluation.task_files import read_edits
from vii.evaluation.tasks import DISTURBANCES, ByFormula, Case, Task, choose, read_photos, shipped_tasks, within
from vii.images import resize, spread

FAST = vii.InversionSettings(recipe="fast", init="none", tokens=3, max_train_steps=4, probe_size=2, batch_size=2)
SEPIA = Task("sepia", ByFormula(make("sepia")), "make it sepia", describable=True)
TINT = Task("tint", ByFormula(make("tint", c=198)))
PHOTOS = {name: picture(seed, 32, 32) for seed, name in enumerate("abcd")}
METHODS = methods_for()  # the baselines
METHODS.append(Method("fast", options={"recipe": FAST}))


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


def scored(folder, editor=None, tasks=(SEPIA, TINT), methods=METHODS, photos=PHOTOS, seeds=(0, 1), **conditions):
    """All results of a run."""
    return list(run(editor or ToyEditor(), tasks, methods, photos, seeds, folder, conditions))


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


def names_of(pairs):
    """Names of the photos that pairs were made from."""
    return [name for pair in pairs for name in PHOTOS if torch.equal(pair.before, PHOTOS[name])]


def test_a_seed_picks_its_own_example_and_tests_on_all_other_photos():
    splits = [split_of(SEPIA, PHOTOS, seed, 32) for seed in range(4)]
    for seed, split in enumerate(splits):
        assert names_of(split.pairs()) == ["abcd"[seed]]
        assert [query.name for query in split.queries] == [name for name in "abcd" if name != "abcd"[seed]]
        (pair,) = split.pairs()
        assert torch.equal(pair.after, make("sepia").apply(pair.before))
    digests = [split.sha256() for split in splits]
    assert len(set(digests)) == 4
    assert split_of(TINT, PHOTOS, 0, 32).sha256() not in digests


def test_no_photo_is_an_example_under_two_seeds(tmp_path, edits_folder):
    photos = {name: picture(seed, 32, 32) for seed, name in enumerate("abcdefghijkl")}
    shown = [split_of(TINT, photos, seed, 32, 4) for seed in range(3)]
    assert [case.name for split in shown for case in split.examples] == list(photos)
    for split in shown:
        assert len(split.queries) == 8
        assert not {case.name for case in split.examples} & {case.name for case in split.queries}
    with pytest.raises(UsageError, match="none is left to test on"):
        split_of(TINT, PHOTOS, 0, 32, 4)
    drawn = read_edits(edits_folder / "edits.toml")[0]
    with pytest.raises(UsageError, match="made of pictures has one example, not 2"):
        split_of(drawn, {}, 0, 32, 2)


def test_as_many_photos_are_read_as_disjoint_examples_need(tmp_path):
    for index in range(13):
        vii.save_image(picture(index, 20, 20), tmp_path / f"{index:02}.png")
    assert len(read_photos(tmp_path, 6, examples=4, seeds=2)) == 10  # 6 to test on and 4 examples are enough
    assert len(read_photos(tmp_path, 6, examples=4, seeds=3)) == 12
    with pytest.raises(UsageError, match=r"4 seeds with 4 example photos each need 16 photos.*found 13"):
        read_photos(tmp_path, 6, examples=4, seeds=4)


def test_photos_are_named_and_from_the_whole_folder_and_beyond_a_limit_stay_files(tmp_path, monkeypatch):
    for index in range(7):
        vii.save_image(picture(index, 40, 60), tmp_path / f"{index}.png")
    photos = read_photos(tmp_path, 3, partial(within, side=16, max_side=48))
    assert list(photos) == ["0", "2", "4", "6"]
    assert {photo.shape for photo in photos.values()} == {(3, 32, 48)}
    assert list(read_photos(None, 10)) == ["astronaut", "cat", "coffee", "rocket"]
    monkeypatch.setattr(tasks, "KEPT", 2 * 32 * 48)
    some = read_photos(tmp_path, 3, partial(within, side=16, max_side=48))
    assert [isinstance(photo, Path) for photo in some.values()] == [False, False, True, True]
    for seed in range(4):
        assert split_of(TINT, some, seed, 16, 1, 48).sha256() == split_of(TINT, photos, seed, 16, 1, 48).sha256()


@pytest.mark.parametrize(
    ("size", "side", "max_side", "expected"),
    [
        ((40, 60), 16, 100, (40, 60)),  # its own
        ((40, 60), 16, 48, (32, 48)),
        ((60, 40), 16, 48, (48, 32)),
        ((20, 30), 64, 100, (52, 78)),  # of the area that the editor works at
        ((20, 30), 64, 40, (52, 78)),
    ],
)
def test_a_photo_keeps_its_own_size_and_shape_within_limits(size, side, max_side, expected):
    scaled = within(picture(0, *size), side, max_side)
    assert scaled.shape[1:] == expected
    assert within(scaled, side, max_side) is scaled


def test_shipped_edits_are_those_of_the_synthetic_module_and_can_be_chosen():
    tasks = shipped_tasks()
    assert [task.name for task in tasks] == [*DESCRIBABLE, *INDESCRIBABLE]
    assert [task.describable for task in tasks] == [True] * len(DESCRIBABLE) + [False] * len(INDESCRIBABLE)
    assert [task.name for task in choose(tasks, ["night", "sepia"])] == ["sepia", "night"]
    assert [task.describable for task in choose(tasks, few=2)] == [True, True, False, False]
    with pytest.raises(UsageError, match="did you mean 'sepia'"):
        choose(tasks, ["sepa"])


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
    assert (mine.name, mine.words, mine.describable) == ("mine", "make it night", True)
    split = split_of(mine, {}, 5, 32)
    assert [query.name for query in split.queries] == ["one", "two"]
    assert split.pairs()[0].before.shape == (3, 40, 40)
    assert split.queries[0].pair().after.shape == (3, 40, 48)
    assert split.sha256() == split_of(mine, PHOTOS, 0, 32).sha256()
    own = split_of(mine, {}, 5, 32, max_side=36)
    assert own.pairs()[0].before.shape == (3, 36, 36)
    assert own.queries[0].pair().after.shape == (3, 30, 36) or own.queries[0].pair().after.shape == (3, 32, 39)
    assert (drawn.name, drawn.words, drawn.describable) == ("drawn", "", False)
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
    methods = methods_for(["visii", str(tmp_path / "mine.toml")], tokens=True)
    assert [method.name for method in methods] == [
        *("no edit", "pixel delta", "colour map", "true words", "visii", "tokens", "mine")
    ]
    assert vars(methods[-2]) == vars(methods[-1]) | {"name": "tokens", "finished": False}
    assert [method.name for method in methods_for([str(tmp_path / "mine.toml")])][-2:] == ["true words", "mine"]
    (tmp_path / "mine.toml").write_text('[inversion]\nfinish = "none"')
    assert methods_for([str(tmp_path / "mine.toml")], tokens=True)[-2].name == "true words"
    several = methods_for(["default"], methods=["color-map"], pairs=[1, 4], tokens=True)
    assert [(method.name, method.pairs) for method in several] == [
        *(("no edit", 1), ("pixel delta", 4), ("colour map", 4), ("true words", 1), ("color-map", 1)),
        *(("color-map, 4 pairs", 4), ("default", 1), ("tokens", 4), ("default, 4 pairs", 4)),
    ]
    assert methods[-1].recipe == dataclasses.replace(vii.load_recipe("default"), recipe="mine", max_train_steps=7)
    with pytest.raises(UsageError, match="called 'visii' is compared already"):
        methods_for(["visii", str(tmp_path / "visii.toml")])


def test_measures_of_a_score_are_means_over_the_test_photos(tmp_path, toy):
    results = {(r.score.task, r.score.method, r.score.seed): r.score for r in scored(tmp_path)}
    assert len(results) == count_scores([SEPIA, TINT], METHODS, [0, 1]) == 18  # the tint has no words
    split = split_of(SEPIA, PHOTOS, 1, 32)
    tests = [query.pair() for query in split.queries]
    (example,) = split.pairs()
    words = [vii.apply(toy, None, test.before, text="make it sepia") for test in tests]
    delta = [(test.before + example.after - example.before).clamp(0, 1) for test in tests]
    edit = vii.invert(toy, [example], FAST, seed=1)
    learned = [vii.apply(toy, edit, test.before, seed=1) for test in tests]
    for method, outputs in {"true words": words, "pixel delta": delta, "fast": learned}.items():
        score, both = results["sepia", method, 1].values, list(zip(outputs, tests, strict=True))
        assert score["psnr"] == pytest.approx(sum(psnr(o, t.after) for o, t in both) / 3, abs=1e-3)
        assert score["ssim"] == pytest.approx(sum(ssim(o, t.after) for o, t in both) / 3, abs=1e-4)
        assert score["leakage"] == pytest.approx(leakage(outputs, tests, example), abs=1e-4)
        known = [x for o, t in both if (x := preserved(o, t.before, t.after)) is not None]
        assert score["preserved"] == (pytest.approx(sum(known) / len(known), abs=1e-3) if known else None)
        assert score["direction"] is None  # the toy editor has no joint space
        assert score["full_psnr"] is None  # the photos have the editor's size
    fast = results["sepia", "fast", 1].values
    assert (fast["samples"], fast["explained"]) == (edit.training["samples"], edit.training["explained"])
    assert fast["kilobytes"] > 0.5
    assert fast["learn_seconds"] >= 0
    assert results["sepia", "pixel delta", 0].values["leakage"] > 0.05  # it does nothing but leak


def test_the_edit_direction_is_measured_where_the_editor_has_a_joint_space(tmp_path):
    class Joint:
        def image_features(self, images):
            return torch.stack([torch.cat([image.mean((1, 2)), image.std((1, 2)) + 0.1]) for image in images])

    editor = ToyEditor()
    editor.joint = Joint()
    results = {r.score.method: r.score for r in scored(tmp_path, editor, [SEPIA], METHODS[:2])}
    assert results["no edit"].values["direction"] == 0
    assert results["pixel delta"].values["direction"] > 0.5


def test_a_method_that_does_not_look_at_the_pair_runs_once_for_all_seeds(tmp_path):
    editor = Counting()
    results = scored(tmp_path, editor, [SEPIA], [METHODS[3]], seeds=(0, 1, 2))
    assert editor.edits == len(PHOTOS)
    assert len({result.score.values["psnr"] for result in results}) == 3  # over other photos


def test_a_score_is_used_again_only_under_the_same_conditions(tmp_path):
    def losses(**changes):
        editor = changes.pop("editor", None) or Counting()
        arguments = {"tasks": [TINT], "methods": METHODS[4:], "seeds": [0], **changes}
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
        "recipe": {"methods": [Method("fast", options={"recipe": dataclasses.replace(FAST, learning_rate=0.05)})]},
        "parameter": {"tasks": [Task("tint", ByFormula(make("tint", c=198, s=0.45)))]},
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
    recipe = dataclasses.replace(FAST, max_train_steps=6, probe_every=2, finish="none")
    result = scored(tmp_path, tasks=[TINT], methods=[Method("fast", options={"recipe": recipe})], seeds=[0])[0].score
    curve, first = result.curve, dataclasses.replace(recipe, max_train_steps=2, lr_scheduler="constant")
    assert len(curve) == 4  # the start and three looks
    assert (curve[-1].samples, curve[-1].psnr) == (result.values["samples"], result.values["psnr"])
    assert [b.samples - a.samples for a, b in itertools.pairwise(curve)] == [2 * 2 + 2] * 3
    assert [point.seconds for point in curve] == sorted(point.seconds for point in curve)
    again = scored(tmp_path, tasks=[TINT], methods=[Method("fast", options={"recipe": recipe})], seeds=[0])[0].score
    assert again == result
    # What it says of the second look is what a run of that many updates gives, at the same rate.
    constant = dataclasses.replace(recipe, lr_scheduler="constant")
    long, short = (
        scored(tmp_path, tasks=[TINT], methods=[Method("fast", options={"recipe": r})], seeds=[0])[0].score
        for r in (constant, first)
    )
    assert long.curve[1].psnr == short.values["psnr"]
    assert not scored(tmp_path, tasks=[TINT], methods=[METHODS[1]], seeds=[0])[0].score.curve


def test_another_code_another_device_and_another_method_of_a_name_are_scored_anew(tmp_path, monkeypatch):
    editor = Counting()
    arguments = {"tasks": [TINT], "methods": METHODS[4:], "seeds": [0]}
    scored(tmp_path, editor, **arguments)
    first = editor.losses
    scored(tmp_path, editor, **arguments)
    assert editor.losses == first
    monkeypatch.setattr(keys, "_own_code", lambda: "another")
    scored(tmp_path, editor, **arguments)
    assert editor.losses == 2 * first
    monkeypatch.setattr(editor, "device", torch.device("cpu", 1))
    scored(tmp_path, editor, **arguments)
    assert editor.losses == 3 * first


def test_the_code_of_a_score_is_that_of_every_module_but_those_that_only_show(tmp_path, monkeypatch):
    package = shutil.copytree(keys.PACKAGE, tmp_path / "vii", ignore=shutil.ignore_patterns("*.json", "embedded*"))
    monkeypatch.setattr(keys, "PACKAGE", package)

    def digest():
        keys._own_code.cache_clear()
        return keys._own_code()

    try:
        before = digest()
        computing = ("inversion/loop", "evaluation/metrics", "evaluation/synthetic/looks", "methods/baselines")
        for name in (*computing, "evaluation/report", "evaluation/page", "cli/bench", "rendering/sheets"):
            path = package / f"{name}.py"
            path.write_text(path.read_text() + "\n")
            assert (digest() != before) == (name in computing), name
            before = digest()
        assert keys.code_sha256(run) != keys.code_sha256(ToyEditor())
    finally:
        keys._own_code.cache_clear()


def test_results_are_scored_at_the_editors_size_and_at_the_photos_own(tmp_path, toy):
    """Every figure again from `vii.apply` on the large photo, for words; the truth is drawn at that size."""
    photos = {name: within(picture(seed, 70, 90), 32, 64 if name == "a" else 90) for seed, name in enumerate("abc")}
    assert [photo.shape[1:] for photo in photos.values()] == [(50, 64), (70, 90), (70, 90)]
    found = {r.score.method: r.score.values for r in scored(tmp_path, toy, [SEPIA], METHODS[:4], photos, seeds=[0])}
    tests = [query.pair() for query in split_of(SEPIA, photos, 0, 32).queries]
    truths = [make("sepia").apply(photos[name]) for name in "bc"]
    assert all(torch.equal(test.after, truth) for test, truth in zip(tests, truths, strict=True))
    made = [vii.apply(toy, None, test.before, text="make it sepia") for test in tests]
    words, nothing = found["true words"], found["no edit"]
    assert {result.shape for result in made} == {(3, 70, 90)}
    small = [psnr(resize(result, 28, 36), resize(truth, 28, 36)) for result, truth in zip(made, truths, strict=True)]
    large = [psnr(result, truth) for result, truth in zip(made, truths, strict=True)]
    assert (words["psnr"], words["full_psnr"]) == pytest.approx((sum(small) / 2, sum(large) / 2), abs=1e-3)
    likeness = [ssim(photos[name], truth) for name, truth in zip("bc", truths, strict=True)]
    assert nothing["full_ssim"] == pytest.approx(sum(likeness) / 2, abs=1e-4)
    assert words["full_psnr"] != words["psnr"]
    assert found["pixel delta"]["full_psnr"] is not None  # of an example of another size


def test_methods_of_one_and_of_several_pairs_are_tested_on_the_same_photos(tmp_path):
    one, two = Method("fast", options={"recipe": FAST}), Method("fast, 2 pairs", options={"recipe": FAST}, pairs=2)
    results = [result.score for result in scored(tmp_path, tasks=[TINT], methods=[one, two], seeds=[1])]
    split = split_of(TINT, PHOTOS, 1, 32, 2)
    for score, pairs in zip(results, (split.pairs(1), split.pairs()), strict=True):
        edit = vii.invert(ToyEditor(), pairs, FAST, seed=1)
        quality = [psnr(vii.apply(ToyEditor(), edit, t.before, seed=1), t.after) for t in map(Case.pair, split.queries)]
        assert score.values["psnr"] == pytest.approx(sum(quality) / len(quality), abs=1e-3)
    assert results[0].values != results[1].values


def test_said_is_a_label_and_costs_nothing_to_change(tmp_path):
    editor = Counting()
    scored(tmp_path, editor, tasks=[SEPIA])
    editor.losses = editor.edits = 0
    renamed = dataclasses.replace(SEPIA, describable=False)
    assert not any(result.score.describable for result in scored(tmp_path, editor, [renamed]))
    assert editor.losses == editor.edits == 0


def test_a_run_that_was_stopped_goes_on(tmp_path):
    started = run(Counting(), [SEPIA, TINT], METHODS, PHOTOS, [0, 1], tmp_path)
    part = list(itertools.islice(started, 9))
    started.close()
    assert len(json.loads((tmp_path / "scores.json").read_text())["rows"]) == 9
    editor = Counting()
    whole = scored(tmp_path, editor)
    assert [result.score for result in whole[:9]] == [result.score for result in part]
    assert len(whole) == 18
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"version": 2, "rows": {}}', '{"version": 4, "rows": {"k": {"x": 1}}}']
)
def test_scores_of_another_kind_are_refused_and_kept(tmp_path, content):
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(OutputError, match="choose another folder"):
        Scores(tmp_path)
    assert (tmp_path / "scores.json").read_text() == content


# The command


def bench(*arguments, code=0):
    """Run the command with the toy editor; stdout, or the one line of the error."""
    command = ["bench", "--editor", "toy", *arguments]
    return refused(*command) if code else run_command(*command)[0]


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "fast.toml"
    path.write_text('[inversion]\ninit = "none"\ntokens = 3\nsteps = 4\nprobe_size = 2\n')
    return path


def test_a_whole_run_writes_a_table_a_report_and_a_page(tmp_path, recipe):
    out = tmp_path / "out"
    options = ["-o", out, "--recipe", recipe, "--edit", "sepia", "--edit", "tint hue 198", "--seeds", "2"]
    options += ["--max-side", "96"]
    text = bench(*options)
    assert "| mean, indescribable |" in text
    assert str(out / "page.html") in text

    found = json.loads((out / "report.json").read_text())
    assert json.loads(bench(*options, "--json")) == found  # all scores were used again
    assert len(found["scores"]) == 2 * 2 * 6
    assert found["photos"] == "astronaut, cat, coffee, rocket"
    assert set(found["means"]) == {"no edit", "pixel delta", "colour map", "true words", "tokens", "fast"}

    source = (out / "page.html").read_text()
    page = complete(source, pictures=2 * (2 + 3 * (2 + 6)))
    assert "sepia, photo cat: result of fast" in [image["alt"] for image in page.of("img")]
    assert "&lt;" not in source
    anchors, ids = page.of("a"), [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert [anchor["href"][1:] for anchor in anchors] == ids
    assert all(header.get("scope") in ("row", "col") for header in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))


def test_names_are_escaped_on_the_page(tmp_path, recipe):
    path = tmp_path / "edits.toml"
    path.write_text('[[edit]]\nname = "<script>\\"&"\nwords = "<b>"\nparts = [{ family = "fog" }]\n')
    bench("-o", tmp_path / "out", "--recipe", recipe, "--edits", path, "--quick", "--max-side", "96")
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
    assert {(row["task"], row["describable"]) for row in found["scores"]} == {("mine", True), ("drawn", False)}
    assert {row["method"] for row in found["scores"] if row["task"] == "mine"} == set(found["means"])
    assert found["seeds"] == "0"


def test_bad_input_is_refused_in_one_line(tmp_path, recipe, photo_file):
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.toml").write_text("edit = 3")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/scores.json").write_text('{"software": "made with vii", "version": 2}')
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/scores.json").write_text("[]")
    cases = [
        (["--recipe", "defualt"], "did you mean 'default'"),
        (["--recipe", tmp_path / "none.toml"], "no such recipe file"),
        (["--edit", "sepai"], "did you mean 'sepia'"),
        (["--edits", tmp_path / "none.toml"], "none.toml: no such file of edits"),
        (["--edits", tmp_path / "wrong.toml"], r"expected \[\[edit\]\] entries"),
        (["--photos", tmp_path / "none"], "no such file"),
        (["--photos", tmp_path / "empty"], "no pictures in this folder"),
        (["--photos", photo_file], "expected two at least"),
        (["--count", "0"], "--count"),
        (["--seeds", "none"], "--seeds"),
        (["--editor", "embeded"], "did you mean 'embedded'"),
        (["--quick", "--recipe", "default"], "cannot learn 20 tokens"),
        (["--method", "pixeldelta"], "did you mean 'pixel-delta'"),
        (["--method", "words", "--method", "words"], "'words' is compared already"),
        (["--seeds", "5"], "the shipped photos: 5 seeds with 1 example photos each need 5 photos.*found 4"),
    ]
    for arguments, message in cases:
        line = bench("-o", tmp_path / "out", *arguments, code=1)
        assert re.search(message, line), line
    assert "choose another folder" in bench("-o", tmp_path / "old", "--recipe", recipe, code=1)
    assert "not made by vii" in bench("-o", tmp_path / "mine", "--recipe", recipe, code=1)
    assert (tmp_path / "mine/scores.json").read_text() == "[]"
    assert "cannot be written" in bench("-o", photo_file / "inside", "--recipe", recipe, code=1)
    assert not (tmp_path / "out/report.json").exists()


def test_methods_of_the_table_and_the_photos_own_size_reach_the_table(tmp_path, recipe):
    options = ["-o", tmp_path, "--recipe", recipe, "--edit", "sepia", "--quick", "--max-side", "48"]
    text = bench(*options, "--method", "pixel-delta")
    assert "**PSNR at the photos' own size, dB; one seed**" in text
    header = next(line for line in text.splitlines() if line.startswith("| edit"))
    assert [cell.strip() for cell in header.split("|")[2:-1]] == [
        *("no edit", "pixel delta", "colour map", "true words", "pixel-delta", "tokens", "fast")
    ]
    row = {r["method"]: r for r in json.loads((tmp_path / "report.json").read_text())["scores"]}
    assert row["pixel-delta"]["full_psnr"] == row["pixel delta"]["full_psnr"]


def test_leakage_is_unknown_with_one_test_photo(tmp_path):
    two = {name: PHOTOS[name] for name in "ab"}
    assert {result.score.values["leakage"] for result in scored(tmp_path, photos=two)} == {None}


# Tokens and finish


def test_tokens_are_the_same_edits_without_their_finish_and_are_not_learned_twice(tmp_path):
    """A tint is a map of colours: with the finish the result is exact at both sizes, the toy's tokens are not."""
    photos = {name: picture(seed, 60, 80) for seed, name in enumerate("abc")}
    alone, both = Counting(), Counting()
    rows = [Method("tokens", options={"recipe": FAST}, finished=False), Method("fast", options={"recipe": FAST})]
    scored(tmp_path / "alone", alone, [TINT], rows[1:], photos, seeds=[0])
    tokens, finished = (r.score for r in scored(tmp_path / "both", both, [TINT], rows, photos, seeds=[0]))
    assert both.losses == alone.losses > 0
    tests = [query.pair() for query in split_of(TINT, photos, 0, 32).queries]
    edit = vii.invert(ToyEditor(), split_of(TINT, photos, 0, 32).pairs(), FAST)
    for score, finish in ((tokens, "none"), (finished, "auto")):
        made = [vii.apply(ToyEditor(), edit, test.before, finish=finish) for test in tests]
        large = [psnr(result, test.after) for result, test in zip(made, tests, strict=True)]
        assert score.values["full_psnr"] == pytest.approx(sum(large) / 2, abs=1e-3)
    assert finished.values["full_psnr"] > 45 > 30 > tokens.values["full_psnr"]
    assert finished.values["kilobytes"] > tokens.values["kilobytes"]
    assert finished.curve
    assert not tokens.curve


def test_files_are_scored_at_their_own_size_and_shape_opened_one_at_a_time(edits_folder, monkeypatch):
    mine = read_edits(edits_folder / "edits.toml")[0]
    held = []

    def opened(*paths):
        held.append(len(alive))
        pair = open_pair(*paths)
        if pair.before.shape[2] == 48:  # of the photos to test on
            alive.update((pair.before, pair.after))
        return pair

    monkeypatch.setattr(benchmark, "SHOWN_SIDE", 16)  # the pictures that are kept are small
    open_pair, alive = vii.Pair.open, weakref.WeakSet()
    monkeypatch.setattr(vii.Pair, "open", opened)
    for result in run(ToyEditor(), [mine], METHODS[:3], {}, [0], edits_folder / "out"):
        expected = [psnr(resize(q.pair().before, 40, 48), q.pair().after) for q in split_of(mine, {}, 0, 32).queries]
        if result.score.method == "no edit":
            assert result.score.values["full_psnr"] == pytest.approx(sum(expected) / 2, abs=1e-3)
    assert len(held) > 6
    assert max(held) <= 2


def test_the_report_says_how_an_edit_stands_to_its_parts():
    def scores(method, *values):
        return [Score(task, method, 0, {"psnr": 0.0, "full_psnr": v}) for task, v in zip("abcd", values, strict=True)]

    rows = scores("tokens", 20, 25, 30, 22) + scores("colour map", 40, 20, 30.2, 30) + scores("fast", 39.8, 24, 30, 29)
    parts = conclusions(rows)["parts"]
    assert (parts["edits"], parts["as_good_as_the_better"]) == (4, 2)
    assert parts["short"] == {"b": -1, "d": -1}
    assert parts["over_tokens"] == pytest.approx((19.8 - 1 + 0 + 7) / 4)
    assert parts["over_color_map"] == pytest.approx((-0.2 + 4 - 0.2 - 1) / 4)
    assert parts["worse_than_tokens"] == {"b": -1}
    texts = "\n".join(table.markdown() for table in benchmark_tables(rows))
    assert re.search(r"less 0.3 dB \| +2 of 4 \(50%\) \|", texts)
    assert re.search(r"worse than tokens, scaled up +\| +b -1.0 \|", texts)
    assert conclusions(scores("fast", 1, 2, 3, 4))["parts"] is None


# Pairs that do not fit


def test_only_the_after_of_examples_is_disturbed():
    wide = picture(3, 52, 62)
    task = dataclasses.replace(TINT, disturb=DISTURBANCES["shift"][0])
    photos = {"a": wide, "b": picture(4, 50, 60)}
    (example,), (query,) = split_of(task, photos, 0, 32).pairs(), split_of(task, photos, 0, 32).queries
    assert torch.equal(example.before, wide[:, 2:, 2:])
    assert torch.equal(example.after, make("tint", c=198).apply(wide)[:, :-2, :-2])
    assert torch.equal(query.pair().before, photos["b"])
    assert torch.equal(query.pair().after, make("tint", c=198).apply(photos["b"]))
    tasks = [TINT, *(dataclasses.replace(TINT, disturb=disturb) for disturb, _ in DISTURBANCES.values())]
    assert len({split_of(task, photos, 0, 32).sha256() for task in tasks}) == len(tasks)


def test_a_jpeg_is_what_pillow_writes_and_a_crop_loses_its_share(tmp_path):
    pair = vii.Pair(picture(1, 100, 200), picture(2, 100, 200))
    vii.images.to_pil(pair.after).save(tmp_path / "q80.jpg", quality=80, subsampling=2)
    assert torch.equal(DISTURBANCES["jpeg"][0](pair).after, vii.load_image(tmp_path / "q80.jpg"))
    cropped = DISTURBANCES["crop"][0](pair)
    assert torch.equal(cropped.after, resize(pair.after[:, 1:99, 2:198], 100, 200))
    assert torch.equal(cropped.before, pair.before)


def test_disturbed_pairs_from_the_command_line(tmp_path, recipe):
    options = ["--recipe", recipe, "--edit", "sepia", "--quick", "--max-side", "48", "--json"]
    found = json.loads(bench("-o", tmp_path / "out", *options, "--disturb", "crop"))
    plain = json.loads(bench("-o", tmp_path / "out", *options))
    assert found["examples"] == "the example's after cropped by 2% and scaled back"
    assert found["scores"][0]["full_psnr"] == plain["scores"][0]["full_psnr"]  # no edit
    worse, good = (report["means"]["colour map"]["all"]["full_psnr"]["mean"] for report in (found, plain))
    assert worse < good


def test_files_that_vii_did_not_make_are_not_replaced(tmp_path, recipe):
    options = ["-o", tmp_path / "out", "--recipe", recipe, "--edit", "sepia", "--quick", "--max-side", "48"]
    bench(*options)
    bench(*options)  # its own are
    (tmp_path / "out/page.html").write_text("<p>mine</p>")
    assert "page.html is there already, and not made by vii" in bench(*options, code=1)
    assert (tmp_path / "out/page.html").read_text() == "<p>mine</p>"
    bench(*options, "--overwrite")
    assert "made with vii" in (tmp_path / "out/page.html").read_text()
