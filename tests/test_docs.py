"""What is written about the package is true: commands, options, paths, examples, links."""

import dataclasses
import functools
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import vii
from vii.cli import main
from vii.demo import FOLDER as DEMO_FOLDER
from vii.edit_file import to_bytes
from vii.editors import EDITORS
from vii.finish.finish import KINDS
from vii.finish.terms import AXES, PLACES, Terms
from vii.inversion.recipes import read_recipe

ROOT = Path(__file__).parent.parent
FOLDERS = ("*.md", "docs/*.md", "vii/**/*.md", "recipes/**/*.md", "learned_instructions/*.md")
DOCS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in FOLDERS
    for path in sorted(ROOT.glob(pattern))
}
# What is told there was true on its day.
HISTORY = {"LOG.md", "CHANGELOG.md"}
TODAY = [page for page in DOCS if page not in HISTORY]
README, COMMANDS, FORMATS = DOCS["README.md"], DOCS["docs/commands.md"], DOCS["docs/formats.md"]
EDITORS_PAGE = DOCS["docs/editors.md"]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


@functools.cache
def commands(group=main, prefix=""):
    """Full name -> command, those inside groups too."""
    found = {}
    for name in group.table if group is main else group.commands:
        command = group.load(name) if group is main else group.commands[name]
        found[prefix + name] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
    return found


def options_of(command):
    found = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return found | {"--help"}


def spans(text):
    """Code inside of lines, `as here`."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def section(text, heading):
    """What stands under a heading, up to the next one of its rank."""
    rank = heading.split()[0]
    return re.search(rf"^{re.escape(heading)}$(.*?)(?=^{rank} |\Z)", text, re.M | re.S).group(1)


def test_every_command_has_help_and_is_on_the_page_of_commands():
    for name, command in commands().items():
        assert command.help, name
        assert f"vii {name}" in COMMANDS or isinstance(command, click.Group), name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help or parameter.name in ("seed",), f"{name} --{parameter.name}"


def check_command(line):
    """A command line is of a command there is, and gives it options that it has."""
    known = commands()
    words = line.split()[1:]
    name = next((name for name in (" ".join(words[:2]), *words[:1]) if name in known), None)
    assert name or words == ["COMMAND", "--help"], line
    assert not name or set(OPTION.findall(line)) <= options_of(known[name]), line


@pytest.mark.parametrize("page", TODAY)
def test_commands_and_options_exist(page):
    """In blocks and in sentences."""
    inline = spans(DOCS[page])
    for line in re.findall(r"^vii .*$", DOCS[page], re.M) + [span for span in inline if span.startswith("vii ")]:
        check_command(line)
    anywhere = set().union(*map(options_of, commands().values()))
    for span in inline:
        if span.startswith("--"):
            assert set(OPTION.findall(span)) <= anywhere, span


def test_commands_in_recipes_help_and_docstrings_exist():
    for folder in ("recipes", "vii"):
        for path in (*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.toml")):
            text = path.read_text(encoding="utf-8")
            for line in re.findall(r"^[# ]*(vii [a-z].*)$", text, re.M) + re.findall(
                r"[`'](vii [a-z][^`'\n{]*)[`']", text
            ):
                check_command(line)


def test_pages_with_commands_are_among_those_looked_at():
    for page in ("README.md", "docs/guide.md", "docs/learning.md", "docs/formats.md", "docs/sharing.md"):
        assert re.search(r"^vii .*--", DOCS[page], re.M), page


def anchors(text):
    """The names that GitHub gives to the headings of a page, for links within it."""
    found = []
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)? *$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = sum(re.fullmatch(re.escape(slug) + r"(-\d+)?", other) is not None for other in found)
        found.append(f"{slug}-{count}" if count else slug)
    return found


def test_anchors_are_those_of_github():
    text = "# The paper's `vii x`\n```bash\n# no heading\n```\n## A, b: c_d [e-f](g.md)\n### Twice ##\n### Twice\n#no\n"
    assert anchors(text) == ["the-papers-vii-x", "a-b-c_d-e-f", "twice", "twice-1"]


def relative_links(page):
    found = re.findall(r"\]\(<?([^)\s>]+)>?\)", DOCS[page])
    return [link for link in found if not re.match(r"[a-z][a-z0-9+.-]*:", link)]


@pytest.mark.parametrize("page", DOCS)
def test_links_lead_somewhere(page):
    """Files and folders are there, inside the repository, and what follows `#` is a heading of that page."""
    for link in relative_links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert target.resolve().is_relative_to(ROOT.resolve()), link
        if "#" in link:
            assert anchor in anchors(DOCS[target.resolve().relative_to(ROOT.resolve()).as_posix()]), link


def named_paths(text):
    """Paths from the root of the repository, wherever they stand."""
    found = re.findall(r"(?<![\w/.~-])(?:docs|vii|recipes|learned_instructions|tests|notebooks)/[\w./-]*\w/?", text)
    return {path for path in found if "." in path or path.endswith("/") or path.count("/") > 1}


@pytest.mark.parametrize("page", TODAY)
def test_paths_that_a_page_names_exist(page):
    for path in named_paths(DOCS[page]):
        assert (ROOT / path).exists() or (ROOT / page).parent.joinpath(path).exists(), path


def test_pages_that_the_code_names_exist():
    """In help, errors and docstrings."""
    for path in sorted((ROOT / "vii").rglob("*.py")):
        for page in re.findall(r"[\w/.]*\w\.md\b", path.read_text(encoding="utf-8")):
            assert page in DOCS or path.parent.joinpath(page).exists() or page == "README.md", f"{path.name}: {page}"


def test_every_page_can_be_reached_from_the_readme():
    seen, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        for link in relative_links(page):
            target = ((ROOT / page).parent / link.partition("#")[0]).resolve()
            name = target.relative_to(ROOT.resolve()).as_posix()
            if name in DOCS and name not in seen:
                waiting.append(name)
    assert set(DOCS) <= seen


@pytest.mark.parametrize("page", [page for page in DOCS if page == "README.md" or page.startswith("docs/")])
def test_pages_can_be_read_in_an_editor(page):
    """Lines of text are short; rows of tables, code and pictures are as long as they are."""
    for line in re.sub(r"^```.*?^```", "", DOCS[page], flags=re.M | re.S).splitlines():
        assert len(line) <= 120 or line.startswith(("|", "!", "<!--")), line


def test_the_folder_for_comfyui_can_be_read_alone():
    """It is copied to where nothing else of the repository is."""
    assert not relative_links("vii/interop/comfyui/README.md")


def test_the_annotated_tree_names_what_is_there():
    tree = re.search(r"<!-- tree -->\n```\n(.*?)```", DOCS["docs/layout.md"], re.S).group(1)
    named = {line.split()[0] for line in tree.splitlines() if line and not line.startswith(" ")}
    for path in named:
        assert (ROOT / path).exists(), path
    inside = {word for line in tree.splitlines() if (row := re.match(r"  (\S.*?)   ", line)) for word in row[1].split()}
    modules = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "vii").iterdir()
        if not path.name.startswith("__") and path.name != "py.typed"
    }
    assert inside == modules


def test_every_field_of_the_header_is_specified(toy_edit):
    specified = section(FORMATS, "## The edit file, format version 2")
    data = to_bytes(toy_edit)
    keys = set(re.findall(rb'"((?:vii|modelspec)\.[a-z_0-9]+)"', data))
    assert len(keys) > 15
    for key in keys:
        assert f"`{key.decode()}`" in specified, key


def test_every_part_of_a_finish_is_specified():
    specified = section(section(FORMATS, "## The edit file, format version 2"), "### The finish")
    fields = {field.name for field in dataclasses.fields(Terms)}
    for name in {*KINDS, *fields, *AXES, *PLACES, "errors", "residual", "terms", "domain"}:
        assert f"`{name}`" in specified, name
    for name in ("color", "lut", "correction"):
        assert f"`finish.{name}`" in specified, name


def test_every_editor_and_every_member_of_one_is_described():
    for name in EDITORS:
        assert f"| `{name}` |" in EDITORS_PAGE
    contract = section(EDITORS_PAGE, "## Writing an editor")
    members = {*vii.Editor.__annotations__, *(name for name in vars(vii.Editor) if not name.startswith("_"))}
    assert {"name", "space", "joint", "encode", "loss"} <= members
    for name in members:
        assert re.search(rf"^\|[^|]*`{name}[`(]", contract, re.M), name


def test_the_changelog_begins_with_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert re.findall(r"^## (.*)$", DOCS["CHANGELOG.md"], re.M)[0].split()[0] in (f"[{version}]", "[Unreleased]")


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
    exec(block, {"FAST": vii.InversionSettings(init="none", tokens=2, max_train_steps=2, probe_size=2)})
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize("marker", ["main-command", "test-command"])
def test_the_two_commands_are_marked(marker):
    """CI runs what stands behind these marks, so that it does what a reader does."""
    assert re.search(rf"<!-- {marker} -->\n```bash\n.+?\n```", README, re.S)


def test_shell_commands_in_the_readme_run(tmp_path, monkeypatch):
    """The three commands as written, on the embedded editor, one after the other; learning ends after five updates."""
    block = re.search(r"```bash\n(vii learn before.png.*?)```", README, re.S).group(1)
    lines = block.strip().splitlines()
    assert len(lines) == 3
    monkeypatch.chdir(tmp_path)
    for name, path in (("before.png", DEMO_FOLDER / "before.png"), ("after.png", DEMO_FOLDER / "after.png")):
        shutil.copy(path, name)
    shutil.copy(DEMO_FOLDER / "photos/cat.jpg", "photo.jpg")
    shutil.copytree(DEMO_FOLDER / "photos", "holiday")
    shutil.copy(ROOT / "learned_instructions/golden_hour.safetensors", "frame.safetensors")
    for line, fewer in zip(lines, (["--set", "max_train_steps=5", "--set", "probe_every=5"], [], []), strict=True):
        result = CliRunner().invoke(main, [*shlex.split(line)[1:], *fewer], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert vii.load_edit("watercolor.safetensors").training["explained"] > 0.3
    assert Path("painted.png").exists()
    assert sorted(path.name for path in Path("painted").iterdir()) == ["cat.jpg", "coffee.jpg", "rocket.jpg"]


def test_every_shipped_edit_has_its_recipe_and_picture_and_fits_the_shipped_editor(embedded):
    edits = sorted((ROOT / "learned_instructions").glob("*.safetensors"))
    assert edits
    table = (ROOT / "learned_instructions/README.md").read_text(encoding="utf-8")
    for path in edits:
        edit = vii.load_edit(path)
        assert edit.space.has_weights_of(embedded.space), "run python -m recipes.learned_instructions"
        assert path.with_suffix(".png").exists()
        recipe = ROOT / f"recipes/learned_instructions/{path.stem}.toml"
        assert edit.pairs == (vii.Pair.open(*read_recipe(recipe).pair).sha256(),)
        assert f"-o learned_instructions/{path.name}" in recipe.read_text(encoding="utf-8")
        assert f"| {edit.training['explained']:.0%} |" in next(x for x in table.splitlines() if f"`{path.stem}`" in x)
