"""The card of a repository of edit files: what stands in its README.md, for people and for the Hub's search."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from ...edit_file import SUFFIX, Edit
from ...editor import INPUT_EMBEDDING
from ...editors import EDITORS, MODEL_LICENSES
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
TEMPLATE = Path(__file__).with_name("card.j2")


def model_card(repo: str, edits: Mapping[str, Edit], pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The card as Markdown with YAML front matter. Whatever comes from a header is shown as plain text.

    The file of each edit is called as its name, with `.safetensors`; pictures are captions and paths in the repository.
    """
    (name, first), models = next(iter(edits.items())), _hub_models(next(iter(edits.values())))
    options = f', model="{first.space.model}"' if models else ""
    options += f', revision="{first.space.revision}"' if models and REVISION.fullmatch(first.space.revision) else ""
    options += ', space="input"' if first.space.kind == INPUT_EMBEDDING else ""
    embedded = first.space.model == read_manifest(EMBEDDED_MODEL).name
    entry = EDITORS.get(first.editor)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        repo=repo,
        edits=edits,
        pictures=pictures,
        front_matter=_front_matter(edits),
        title=_plain((first.title or name) if len(edits) == 1 else repo.rpartition("/")[2]),
        name=name,
        first=first,
        file=f"{name}{SUFFIX}",
        options=options,
        own=not models and not embedded and first.space.model != first.editor,
        pipeline=entry.pipeline(models) if entry and (models or embedded) else "",
        arrays="" if first.space.encoder == ENCODER else f"{name}.npz",
        facts=_facts,
        plain=_plain,
        short=_short,
        quote=shlex.quote,
        repr=repr,
    )


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


def _facts(name: str, edit: Edit) -> dict[str, str]:
    """What the card tells of one edit; what is empty is left out."""
    training = edit.training
    return {
        "file": f"{name}{SUFFIX}",
        "starting text": edit.init_text or "none",
        "explained": percent(training.get("explained")),
        "editor": edit.editor,
        "base model": edit.space.model + (f" at {edit.space.revision}" if edit.space.revision else ""),
        "licence of the base model": MODEL_LICENSES.get(edit.space.model, ""),
        "resolution": f"{edit.resolution} x {edit.resolution}",
        "tokens": f"{len(edit.tokens)} x {edit.space.width}",
        "recommended settings": ", ".join(f"{key} {value}" for key, value in edit.settings.items()),
        "recipe": str(training.get("recipe", "")),
        "author": edit.author,
        "licence": edit.license,
        "SHA-256 of the tokens": edit.sha256(),
    }


def _hub_models(edit: Edit) -> list[str]:
    """Ids on the Hub that the base model names: one, two joined by `+`, or none where it was somebody's folder."""
    names = edit.space.model.split("+")
    return names if all(re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII) for name in names) else []


def _short(text: str) -> str:
    """One line of printable characters, cut where it is long."""
    line = " ".join(printable(text).split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"


def _plain(text: str) -> str:
    """A text of somebody's header as Markdown that shows it and does nothing else."""
    return MARKS.sub(r"\\\1", _short(text)).replace("://", "\\://")
