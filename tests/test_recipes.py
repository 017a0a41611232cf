"""Recipe files: those that ship, those of users, and those that are wrong."""

import dataclasses
from pathlib import Path

import pytest

import vii
from vii.errors import RecipeError, UsageError
from vii.evaluation.benchmark import read_edits
from vii.inversion import InversionSettings
from vii.inversion.recipes import FOLDER, read_recipe, recipe_names
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
        "steps": 1000,
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
    assert recipe.settings == dataclasses.replace(vii.load_recipe("visii"), recipe="mine", steps=7, learning_rate=1.0)
    assert recipe.pair == (tmp_path / "b.png", tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps = 3", "unknown key 'steps'"),
        ("[inversion]\nstep = 3", "did you mean 'steps'"),
        ('[inversion]\nsteps = "3"', "steps must be of type int"),
        ("[inversion]\nsteps = 2.5", "steps must be of type int"),
        ("[inversion]\nsteps = 0", "at least 1"),
        ("steps = ", "not valid TOML"),
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
    assert parsed == {"steps": 7, "learning_rate": 0.5, "guided_loss": True, "guidance_scale": 3.0, "noise": "bank"}
    assert override(settings, **parsed).guidance_scale == 3.0
    for bad, message in (
        ("steps", "NAME=VALUE"),
        ("setps=3", "did you mean 'steps'"),
        ("steps=many", "of type int"),
        ("guided_loss=1", "of type bool"),
    ):
        with pytest.raises(UsageError, match=message):
            parse(settings, [bad])
