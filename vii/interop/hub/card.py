"""The card of a repository of edit files: what stands in its README.md, for people and for the Hub's search."""

import re
import shlex
from collections.abc import Mapping, Sequence

from ...edit_file import SUFFIX, Edit
from ...editor import INPUT_EMBEDDING
from ...editors import EDITORS
from ...editors.loading import EMBEDDED_MODEL, read_manifest
from ...text import percent, printable

# Licences that the Hub knows by their identifier; any other needs a name of its own beside "other".
LICENSES = re.compile(
    r"apache-2\.0|mit|isc|bsd(-[23]-clause)?|cc|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[234]\.0|(a|l)?gpl-[23]\.0|mpl-2\.0|unlicense|"
    r"openrail|openrail\+\+|creativeml-openrail-m|unknown|other"
)
TAGS = ("vii", "visual-instruction-inversion", "image-editing")
# Whatever Markdown, or the HTML in it, would take for more than a character.
MARKS = re.compile(r"([\\`*_{}\[\]<>()#!|~&$]|^[-+])")
# A text encoder whose output goes into pipelines of diffusers as it is; see vii.interop.prompt_embeds.
ENCODER = "CLIPTextModel"
REVISION = re.compile(r"[\w+.-]+", re.ASCII)
MAX_SHOWN = 500


def model_card(repo: str, edits: Mapping[str, Edit], pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The card as Markdown with YAML front matter. Whatever comes from a header is shown as plain text.

    Args:
        repo: id of the repository, for the commands.
        edits: name -> edit; the file of each is called as its name, with `.safetensors`.
        pictures: caption and path within the repository, in the order they are shown.
    """
    title = _plain(next(iter(edits.values())).title or next(iter(edits))) if len(edits) == 1 else _plain(_name(repo))
    parts = [
        f"---\n{_front_matter(edits)}\n---\n",
        f"# {title}\n",
        f"{_count(edits)} learned from an example by [Visual Instruction Inversion](https://arxiv.org/abs/2307.14331): "
        "a few instruction tokens for a frozen image editor, which `vii` applies to any photo. No words trigger it; "
        "the file is the instruction.\n",
        *(f"![{caption}]({path})\n" for caption, path in pictures),
        *(f"{_heading(name, edit, edits)}{_section(name, edit)}" for name, edit in edits.items()),
        _usage(repo, edits),
    ]
    return "\n".join(parts)


def _front_matter(edits: Mapping[str, Edit]) -> str:
    from huggingface_hub import ModelCardData

    models = list(dict.fromkeys(model for edit in edits.values() for model in _hub_models(edit)))
    tags = [*TAGS, *dict.fromkeys(edit.editor for edit in edits.values())]
    tags += [tag for edit in edits.values() for tag in edit.tags]
    data = ModelCardData(
        base_model=models or None,
        base_model_relation="adapter" if models else None,
        library_name="vii",
        pipeline_tag="image-to-image",
        tags=[_short(tag) for tag in tags],
        **_license(edits),
    )
    return str(data.to_yaml())


def _license(edits: Mapping[str, Edit]) -> dict[str, str]:
    stated = {edit.license.strip() for edit in edits.values()}
    if len(stated) != 1 or stated == {""}:  # several, or for some of them none: the sections tell
        return {}
    (license,) = stated
    if LICENSES.fullmatch(license.lower()):
        return {"license": license.lower()}
    name = re.sub(r"[^a-z0-9.]+", "-", license.lower()).strip("-.")[:60]
    return {"license": "other", "license_name": name} if name else {"license": "other"}


def _section(name: str, edit: Edit) -> str:
    training = edit.training
    facts = {
        "file": f"{name}{SUFFIX}",
        "starting text": edit.init_text or "none",
        "explained": percent(training.get("explained")),
        "editor": edit.editor,
        "base model": edit.space.model + (f" at {edit.space.revision}" if edit.space.revision else ""),
        "resolution": f"{edit.resolution} x {edit.resolution}",
        "tokens": f"{len(edit.tokens)} x {edit.space.width}",
        "recommended settings": ", ".join(f"{key} {value}" for key, value in edit.settings.items()),
        "recipe": str(training.get("recipe", "")),
        "author": edit.author,
        "licence": edit.license,
        "SHA-256 of the tokens": edit.sha256(),
    }
    rows = "".join(f"| {label} | {_plain(value)} |\n" for label, value in facts.items() if value)
    described = f"{_plain(edit.description)}\n\n" if edit.description else ""
    return f"{described}| | |\n|---|---|\n{rows}"


def _heading(name: str, edit: Edit, edits: Mapping[str, Edit]) -> str:
    return f"## {_plain(edit.title or name)}\n\n" if len(edits) > 1 else ""


def _usage(repo: str, edits: Mapping[str, Edit]) -> str:
    name, edit = next(iter(edits.items()))
    file, model = f"{name}{SUFFIX}", edit.space.model
    chosen = f" --name {shlex.quote(name)}" if len(edits) > 1 else ""
    options = f', model="{model}"' if _hub_models(edit) else ""
    options += f', revision="{edit.space.revision}"' if options and REVISION.fullmatch(edit.space.revision) else ""
    space = ', space="input"' if edit.space.kind == INPUT_EMBEDDING else ""
    own = ""
    if not options and not _embedded(edit) and model != edit.editor:
        own = f"\nIt was learned with a model called {_plain(model)} that is on no hub: name a folder with `--model`.\n"
    return f"""## Use
{own}
On the command line:

```bash
vii pull {repo}{chosen} -o {shlex.quote(file)}
vii apply {shlex.quote(file)} photo.jpg -o edited.png
```

In Python:

```python
import vii
edit = vii.load_edit({file!r})
editor = vii.load_editor({_short(edit.editor)!r}{options}{space})
vii.save_image(vii.apply(editor, edit, vii.load_image("photo.jpg"), seed=0), "edited.png")
```
{_diffusers(file, edit)}"""


def _diffusers(file: str, edit: Edit) -> str:
    """Lines for somebody's own pipeline, where the model is one that they can load."""
    models, entry = _hub_models(edit), EDITORS.get(edit.editor)
    pipeline = entry.pipeline(models) if entry and (models or _embedded(edit)) else ""
    if edit.space.encoder != ENCODER or not pipeline:
        return ""
    return f"""
In a pipeline of diffusers, loaded in float32:

```python
import diffusers, vii
from diffusers.utils import load_image
from vii.interop.prompt_embeds import prompt_embeds

{pipeline}edit = vii.load_edit({file!r})
options = {{name: value for name, value in edit.settings.items() if name != "scheduler"}}
photo = load_image("photo.jpg").resize(({edit.resolution}, {edit.resolution}))
image = pipeline(image=photo, prompt_embeds=prompt_embeds(edit, pipeline), **options).images[0]
```
"""


def _hub_models(edit: Edit) -> list[str]:
    """Ids on the Hub that the base model names: one, two joined by `+`, or none where it was somebody's folder."""
    names = edit.space.model.split("+")
    return names if all(re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII) for name in names) else []


def _embedded(edit: Edit) -> bool:
    return edit.space.model == read_manifest(EMBEDDED_MODEL).name


def _name(repo: str) -> str:
    return repo.rpartition("/")[2]


def _count(edits: Mapping[str, Edit]) -> str:
    return "An edit of pictures," if len(edits) == 1 else f"{len(edits)} edits of pictures, each"


def _short(text: str) -> str:
    """One line of printable characters, cut where it is long."""
    line = " ".join(printable(text).split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"


def _plain(text: str) -> str:
    """A text of somebody's header as Markdown that shows it and does nothing else."""
    return MARKS.sub(r"\\\1", _short(text)).replace("://", "\\://")
