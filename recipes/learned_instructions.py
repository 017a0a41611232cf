"""Learn every edit in `learned_instructions/` from its recipe, with a picture of each and the table of them all.

Run it with `python recipes/learned_instructions.py [NAME ...]`; `vii learn --recipe recipes/NAME.toml` makes one.
"""

import sys
from dataclasses import replace
from pathlib import Path

import vii
from vii.demo import demo_photos
from vii.gallery import edit_sheet
from vii.recipes import read_recipe

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "learned_instructions"
NAMES = ("thermal", "golden_hour", "negative")

HEAD = """# Edit files that can be used at once

Learned for the editor `embedded`, one pair each, by `python recipes/learned_instructions.py`. Try one:

```bash
vii apply learned_instructions/golden_hour.safetensors photo.jpg -o evening.png
```

| edit | what it does | starting text | explained | bytes |
|---|---|---|---:|---:|
"""


def learn(editor: vii.Editor, name: str) -> None:
    """Write the edit file of a recipe, and its picture."""
    recipe = read_recipe(ROOT / f"recipes/{name}.toml")
    pair = vii.Pair.open(*recipe.pair)
    edit = replace(vii.invert(editor, [pair], recipe.settings, seed=0), title=name, description=recipe.description)
    vii.save_edit(edit, FOLDER / f"{name}.safetensors")
    results = {key: (photo, vii.apply(editor, edit, photo, seed=0)) for key, photo in demo_photos().items()}
    vii.save_image(edit_sheet(pair, results), FOLDER / f"{name}.png")


def row(name: str) -> str:
    """One line of the table, from the header of the edit file."""
    path = FOLDER / f"{name}.safetensors"
    edit = vii.load_edit(path)
    explained = f"{edit.training['explained']:.0%}"
    link = f"[`{name}`]({name}.png)"
    return f"| {link} | {edit.description} | {edit.init_text} | {explained} | {path.stat().st_size:,} |\n"


if __name__ == "__main__":
    embedded = vii.load_editor("embedded")
    for wanted in sys.argv[1:] or NAMES:
        learn(embedded, wanted)
    (FOLDER / "README.md").write_text(HEAD + "".join(map(row, NAMES)))
