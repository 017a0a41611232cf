"""What is written about the package is true: commands, options, paths, examples, links."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import vii
from vii.cli import main
from vii.demo import FOLDER as DEMO_FOLDER
from vii.edit_file import to_bytes
from vii.recipes import read_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group=main, prefix=""):
    """Full name -> command, those inside groups too."""
    found = {}
    for name, command in group.commands.items():
        found[prefix + name] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
    return found


def test_every_command_has_help_and_is_in_the_readme():
    for name, command in commands().items():
        assert command.help, name
        assert f"vii {name}" in README, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help or parameter.name in ("seed",), f"{name} --{parameter.name}"


def test_options_in_the_readme_exist():
    parameters = [parameter for command in commands().values() for parameter in command.params]
    options = {option for parameter in parameters for option in parameter.opts}
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(re.findall(r"^vii .*$", README, re.M))))
    assert used
    assert used <= options | {"--help"}


def test_links_and_paths_in_the_readme_exist():
    links = re.findall(r"\]\(([^)#:\s]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_annotated_tree_names_what_is_there():
    tree = re.search(r"<!-- tree -->\n```\n(.*?)```", README, re.S).group(1)
    named = {line.split()[0] for line in tree.splitlines() if line and not line.startswith(" ")}
    for path in named:
        assert (ROOT / path).exists(), path
    inside = {match for line in tree.splitlines() for match in re.findall(r"^  (\S+)", line)}
    modules = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "vii").iterdir()
        if not path.name.startswith("__")
    }
    assert inside == modules


def test_every_field_of_the_header_is_specified_in_the_readme(toy_edit):
    data = to_bytes(toy_edit)
    keys = set(re.findall(rb'"((?:vii|modelspec)\.[a-z_0-9]+)"', data))
    assert len(keys) > 15
    for key in keys:
        assert f"`{key.decode()}`" in README, key


def test_python_in_the_readme_runs(tmp_path, monkeypatch, toy, photo_file):
    """The README's own lines, with the toy editor in place of the embedded one and few steps."""
    block = re.search(r"```python\n(import vii\n.*?)```", README, re.S).group(1)
    vii.save_image(vii.load_image(photo_file), tmp_path / "before.png")
    vii.save_image(vii.load_image(photo_file) * 0.5, tmp_path / "after.png")
    vii.save_image(vii.load_image(photo_file), tmp_path / "cat.png")
    for old, new in (('"embedded"', '"toy"'), ('vii.load_recipe("default")', "FAST")):
        assert old in block
        block = block.replace(old, new)
    monkeypatch.chdir(tmp_path)
    exec(block, {"FAST": vii.InversionSettings(init="none", tokens=2, steps=2, probe_size=2)})
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize("marker", ["main-command", "test-command"])
def test_the_two_commands_are_marked(marker):
    """CI runs what stands behind these marks, so that it does what a reader does."""
    assert re.search(rf"<!-- {marker} -->\n```bash\n.+?\n```", README, re.S)


def test_shell_commands_in_the_readme_run(tmp_path, monkeypatch):
    """The three commands exactly as written, on the embedded editor, one after the other."""
    block = re.search(r"```bash\n(vii learn before.png.*?)```", README, re.S).group(1)
    commands = block.strip().splitlines()
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    for name, path in (("before.png", DEMO_FOLDER / "before.png"), ("after.png", DEMO_FOLDER / "after.png")):
        shutil.copy(path, name)
    shutil.copy(DEMO_FOLDER / "photos/cat.jpg", "photo.jpg")
    shutil.copytree(DEMO_FOLDER / "photos", "holiday")
    shutil.copy(ROOT / "learned_instructions/golden_hour.safetensors", "frame.safetensors")
    for command in commands:
        result = CliRunner().invoke(main, shlex.split(command)[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert vii.load_edit("watercolor.safetensors").training["explained"] > 0.3
    assert Path("painted.png").exists()
    assert sorted(path.name for path in Path("painted").iterdir()) == ["cat.png", "coffee.png", "rocket.png"]


def test_every_shipped_edit_has_its_recipe_and_picture_and_fits_the_shipped_editor(embedded):
    edits = sorted((ROOT / "learned_instructions").glob("*.safetensors"))
    assert edits
    table = (ROOT / "learned_instructions/README.md").read_text(encoding="utf-8")
    for path in edits:
        edit = vii.load_edit(path)
        assert edit.space == embedded.space, "run python -m recipes.learned_instructions"
        assert path.with_suffix(".png").exists()
        recipe = ROOT / f"recipes/learned_instructions/{path.stem}.toml"
        assert edit.pairs == (vii.Pair.open(*read_recipe(recipe).pair).sha256(),)
        assert f"-o learned_instructions/{path.name}" in recipe.read_text(encoding="utf-8")
        assert f"| {edit.training['explained']:.0%} |" in next(x for x in table.splitlines() if f"`{path.stem}`" in x)
