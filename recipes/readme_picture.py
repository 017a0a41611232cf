"""The picture on top of the README: pairs, and their edits on other photos, as the editor makes them and as kept.

`python -m recipes.readme_picture`, after `python -m recipes.learned_instructions`.
"""

from pathlib import Path

import vii
from vii.demo import demo_photos
from vii.images import to_pil
from vii.inversion.recipes import read_recipe
from vii.rendering.sheets import contact_sheet

ROOT = Path(__file__).parent.parent
# An edit, and the photo that it is shown on.
SHOWN = {"thermal": "cat", "golden_hour": "coffee", "spotlight": "rocket"}


def main() -> None:
    """Draw it."""
    editor, photos = vii.load_editor("embedded"), demo_photos()
    rows = []
    for name, photo in SHOWN.items():
        edit = vii.load_edit(ROOT / f"learned_instructions/{name}.safetensors")
        pair = vii.Pair.open(*read_recipe(ROOT / f"recipes/learned_instructions/{name}.toml").pair)
        rows.append(
            [
                ("before", pair.before),
                (f"after: {name}", pair.after),
                ("another photo", photos[photo]),
                ("the editor at 128 px", vii.apply(editor, edit, photos[photo], finish="none")),
                ("vii", vii.apply(editor, edit, photos[photo])),
            ]
        )
    path = ROOT / "docs/finish.jpg"
    to_pil(contact_sheet(rows, cell=256)).save(path, quality=88)
    print(path)


if __name__ == "__main__":
    main()
