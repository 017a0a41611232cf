"""The paper's ablations: each recipe changes what it says and nothing else, and the benchmark can run them."""

import dataclasses
from pathlib import Path

import pytest
from conftest import picture

import vii
from vii.editors.toy import ToyEditor
from vii.errors import RecipeError, UsageError
from vii.evaluation.benchmark import run
from vii.evaluation.methods import methods_for
from vii.evaluation.synthetic import make
from vii.evaluation.tasks import ByFormula, Task
from vii.inversion.recipes import KNOWN_WORDS, load_recipe, read_recipe

FOLDER = Path(__file__).parent.parent / "recipes/ablations"
CHANGES = {
    "clip_only": {"mse_weight": 0.0},
    "init_none": {"init": "none"},
    "init_true_words": {"init": "text", "init_text": KNOWN_WORDS},
    "mse_only": {"clip_weight": 0.0},
    "noise_reuse": {"noise": "reuse"},
}


def settings(name):
    return load_recipe(FOLDER / f"{name}.toml", known_words=True)


def test_the_base_is_the_authors_procedure_but_for_guidance_start_tokens_and_length():
    changes = {"guidance_scale": 1.0, "image_guidance_scale": 1.0, "init": "caption", "tokens": 10}
    changes |= {"max_train_steps": 125, "batch_size": 2, "learning_rate": 8e-3}
    assert settings("paper") == dataclasses.replace(load_recipe("visii"), recipe="paper", **changes)


@pytest.mark.parametrize("name", CHANGES)
def test_an_ablation_differs_from_the_base_in_one_setting(name):
    base = settings("paper")
    assert all(getattr(base, field) != value for field, value in CHANGES[name].items())
    assert settings(name) == dataclasses.replace(base, recipe=name, **CHANGES[name])


def test_the_folder_holds_these_and_the_benchmark_takes_it_as_one():
    names = sorted([*CHANGES, "paper"])
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == names
    methods = methods_for([str(FOLDER)], known_words=True)
    assert [method.name for method in methods[4:]] == names
    assert names[-1] == "paper"  # the last one is what the others are compared with
    for name in names:
        text = (FOLDER / f"{name}.toml").read_text()
        assert read_recipe(FOLDER / f"{name}.toml", known_words=True).description in text
        assert "vii bench --recipe recipes/ablations" in text


def test_a_folder_without_recipes_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no recipe files"):
        methods_for([str(tmp_path)])


def test_the_words_of_an_edit_take_the_place_of_the_starting_text(tmp_path):
    recipe = tmp_path / "told.toml"
    recipe.write_text(f'[inversion]\ninit = "{KNOWN_WORDS}"\ntokens = 3\nsteps = 2\nprobe_size = 2\n')
    told = methods_for([str(recipe)], known_words=True)[-1]
    tasks = [
        Task("sepia", ByFormula(make("sepia")), "make it sepia", describable=True),
        Task("tint", ByFormula(make("tint", c=198))),
    ]
    photos = {name: picture(seed, 32, 32) for seed, name in enumerate("abc")}

    def texts(words):
        renamed = [dataclasses.replace(tasks[0], words=words), tasks[1]]
        results = run(ToyEditor(), renamed, [told], photos, [0], tmp_path / "out")
        return [(result.score.task, result.score.init_text) for result in results]

    assert texts("make it sepia") == [("sepia", "make it sepia")]  # the tint has no words
    assert texts("paint it brown") == [("sepia", "paint it brown")]  # other words are another score
    with pytest.raises(RecipeError, match="only 'vii bench' has"):
        vii.load_recipe(recipe)


def test_a_base_is_found_beside_the_recipe_and_must_not_lead_back_to_it(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "base.toml").write_text("[inversion]\nsteps = 7")
    (tmp_path / "inside/mine.toml").write_text('base = "../base.toml"\n[inversion]\ntokens = 5')
    found = vii.load_recipe(tmp_path / "inside/mine.toml")
    assert found == dataclasses.replace(vii.load_recipe("default"), recipe="mine", max_train_steps=7, tokens=5)
    (tmp_path / "base.toml").write_text('base = "inside/mine.toml"')
    with pytest.raises(RecipeError, match="leads back"):
        vii.load_recipe(tmp_path / "inside/mine.toml")
