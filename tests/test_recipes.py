"""Recipe files: those that ship, those of users, and those that are wrong."""

import dataclasses
from pathlib import Path

import pytest

import vii
from vii.errors import RecipeError, UsageError
from vii.evaluation.task_files import read_edits
from vii.inversion import InversionSettings
from vii.inversion.recipes import FOLDER, read_recipe, recipe_names
from vii.inversion.settings import OLD_NAMES
from vii.settings import override, parse

RECIPES = Path(__file__).parent.parent / "recipes"
EDITS = [RECIPES / "learned_instructions/edits.toml", *sorted((RECIPES / "edits").glob("*.toml"))]
RESULTS = sorted({*RECIPES.glob("*.toml"), *RECIPES.glob("learned_instructions/*.toml")} - {*EDITS})


def test_the_two_that_are_always_there():
    assert recipe_names() == ["default", "visii"]
    assert all(read_recipe(name).description for name in recipe_names())


def test_default_is_what_the_code_does_without_a_recipe():
    assert vii.load_recipe("default") == InversionSettings()


def test_visii_is_the_authors_setting():
    settings = vii.load_recipe("visii")
    authors = {
        "recipe": "visii",
        "tokens": 0,
        "max_train_steps": 1000,
        "batch_size": 1,
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
        "timesteps": "permutation",
        "noise": "bank",
        "mse_weight": 4.0,
        "clip_weight": 0.1,
        "clip_cap": 0.5,
        "guided_loss": True,
        "guidance_scale": 7.5,
        "image_guidance_scale": 1.5,
    }
    assert {name: getattr(settings, name) for name in authors} == authors


def test_a_recipe_by_path_starts_from_its_base(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'description = "d"\nbase = "visii"\n[inversion]\nsteps = 7\nlearning_rate = 1\n'
        '[pair]\nbefore = "b.png"\nafter = "a.png"'
    )
    recipe = read_recipe(path)
    assert recipe.settings == dataclasses.replace(
        vii.load_recipe("visii"), recipe="mine", max_train_steps=7, learning_rate=1.0
    )
    assert recipe.pair == (tmp_path / "b.png", tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps = 3", "unknown key 'steps'"),
        ("[inversion]\nmax_train_step = 3", "did you mean 'max_train_steps'"),
        ('[inversion]\nsteps = "3"', "max_train_steps must be of type int"),
        ("[inversion]\nsteps = 2.5", "max_train_steps must be of type int"),
        ("[inversion]\nsteps = 0", "from 1 to"),
        ("steps = ", "not valid TOML"),
        ("inversion = 3", "inversion must be a table"),
        ("pair = [1]", "pair must be a table"),
        ("base = 3", "base must be a text"),
        ("description = 3", "description must be a text"),
        ('base = "a\\u0000b.toml"', "NUL"),
        ('base = "a\\u0000b"', "NUL"),
        ("[inversion]\nsettings = 3", "unknown setting 'settings'"),
        ('[inversion]\nrecipe = "visii"', "unknown setting 'recipe'"),
        ("[inversion]\nmse_weight = nan", "mse_weight must be"),
        ("[inversion]\nlearning_rate = inf", "learning_rate must be"),
        (f"x = {'[' * 5000}", "not valid TOML"),
        ('base = "defualt"', "did you mean 'default'"),
        ('[pair]\nbefore = "b.png"', "holds 'before' and 'after'"),
    ],
)
def test_recipes_that_are_wrong(tmp_path, content, message):
    path = tmp_path / "wrong.toml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=message):
        read_recipe(path)


def test_recipes_that_do_not_exist(tmp_path):
    with pytest.raises(RecipeError, match="did you mean 'default'"):
        read_recipe("defualt")
    with pytest.raises(RecipeError, match="no such recipe file"):
        read_recipe(tmp_path / "none.toml")


def test_the_recipes_of_the_repository_can_be_read():
    assert len(RESULTS) >= 1
    for path in RESULTS:
        recipe = read_recipe(path)
        assert recipe.description, path
        if recipe.pair:
            assert all(file.exists() for file in recipe.pair), path


@pytest.mark.parametrize("path", EDITS, ids=lambda path: path.parent.name)
def test_the_edits_of_the_repository_can_be_read_and_said(path):
    """Their words are the instruction that the model was taught for the formula."""
    for subject in read_edits(path):
        assert subject.words == subject.source.edit.instruction(two_words=True), subject.name


def test_every_shipped_pair_has_its_formula():
    named = {subject.name for subject in read_edits(EDITS[0])}
    assert named == {path.stem for path in RESULTS if path.parent.name == "learned_instructions"}


def test_shipped_recipe_files_say_nothing_that_is_not_a_field():
    assert sorted(path.name for path in FOLDER.glob("*.toml")) == ["default.toml", "visii.toml"]


def test_assignments_are_converted_to_the_types_of_their_fields():
    settings = InversionSettings()
    parsed = parse(settings, ["steps=7", "learning_rate=0.5", "guided_loss=true", "guidance_scale=3", "noise=bank"])
    assert parsed == {
        "max_train_steps": 7,
        "learning_rate": 0.5,
        "guided_loss": True,
        "guidance_scale": 3.0,
        "noise": "bank",
    }
    assert override(settings, **parsed).guidance_scale == 3.0
    for bad, message in (
        ("steps", "NAME=VALUE"),
        ("max_train_stepz=3", "did you mean 'max_train_steps'"),
        ("steps=many", "of type int"),
        ("guided_loss=1", "of type bool"),
    ):
        with pytest.raises(UsageError, match=message):
            parse(settings, [bad])


def test_a_long_chain_of_recipes_is_refused_in_one_line(tmp_path):
    for index in range(30):
        (tmp_path / f"{index}.toml").write_text(f'base = "{index + 1}.toml"')
    with pytest.raises(RecipeError, match="more than 20 recipes"):
        read_recipe(tmp_path / "0.toml")


def test_old_names_still_load(tmp_path):
    old = "[inversion]\nsteps = 7\nlearning_rate_schedule = 'constant'\nwarmup_steps = 3\nhigh_noise = 2\n"
    (tmp_path / "old.toml").write_text(old + "init = 'make it red'\n")
    expected = InversionSettings(
        recipe="old",
        max_train_steps=7,
        lr_scheduler="constant",
        lr_warmup_steps=3,
        timestep_density=2.0,
        init="text",
        init_text="make it red",
    )
    assert read_recipe(tmp_path / "old.toml").settings == expected
    assert set(OLD_NAMES.values()) <= {field.name for field in dataclasses.fields(InversionSettings)}
    parsed = parse(
        InversionSettings(), ["steps=7", "warmup_steps=3", "high_noise=2", "learning_rate_schedule=constant"]
    )
    assert override(InversionSettings(), **parsed).timestep_density == 2.0


def test_a_starting_text_and_a_way_to_find_one_replace_each_other(tmp_path):
    def initial(settings):
        return settings.init, settings.init_text

    base = override(InversionSettings(), init="make it red")
    assert initial(base) == initial(override(InversionSettings(), init_text="make it red")) == ("text", "make it red")
    assert initial(override(base, init="pez")) == ("pez", "")
    assert initial(override(base, **parse(base, ["init=retrieve"]))) == ("retrieve", "")
    assert initial(override(base, **parse(base, ["init=text", "init_text=caption"]))) == ("text", "caption")
    assert initial(override(base, **parse(base, ["init_text=none"]))) == ("text", "none")


def test_no_option_forges_the_record():
    with pytest.raises(UsageError, match="unknown setting 'recipe'"):
        parse(InversionSettings(), ["recipe=visii"])
