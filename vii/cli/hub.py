"""`vii push` and `vii pull`: edit files to and from the Hub."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from ..errors import UsageError
from ..interop import hub
from ..library import find_edit
from .common import edit_path, json_option, outputs_of, weighed, written
from .terminal import say, tell


@click.command()
@click.argument("edits", nargs=-1, required=True, metavar="EDIT...")
@click.argument("repo", metavar="USER/NAME")
@click.option("--picture", "pictures", multiple=True, metavar="FILE", help="A picture for the card; repeatable.")
@click.option("--private", is_flag=True, help="Make a repository that only you can read.")
@click.option("--force", is_flag=True, help="Replace the card, and edits of the same name, that it has.")
@click.option("--dry-run", metavar="DIR", help="Write what would be uploaded into DIR instead.")
@json_option
def push(
    edits: Sequence[str],
    repo: str,
    pictures: Sequence[str],
    private: bool,
    force: bool,
    dry_run: str | None,
    as_json: bool,
) -> None:
    """Upload edits to the Hugging Face Hub, with a card.

    The card says how to use them. EDIT is a file, or the name of one in the library. The repository is made where there
    is none, and public unless --private is given. Pictures are those in the edit files and those named with --picture,
    no others. The token is the one of 'hf auth login' or HF_TOKEN.
    """
    files = hub.prepare([find_edit(edit) for edit in edits], repo, pictures)
    if dry_run:
        paths = [str(path) for path in hub.write_files(files, Path(dry_run))]
        tell(as_json, {"paths": paths}, "\n".join(paths))
        return
    pushed = hub.push(files, repo, private=private, force=force)
    tell(as_json, asdict(pushed), f"{pushed.url}   {', '.join(pushed.files)}\nvii pull {repo}@{pushed.commit}")
    if pushed.card_kept and not as_json:
        say("the card that was there has been kept; --force writes a new one", err=True)


@click.command()
@click.argument("reference", metavar="USER/NAME[@REV]")
@click.option("--name", metavar="NAME", help="Which edit, where the repository holds several.")
@click.option("-o", "--output", metavar="FILE", help="Where to write (.safetensors); into the library if not given.")
@click.option("--as", "keep_as", metavar="NAME", help="Name in the library; the file's own if not given.")
@click.option("--force", is_flag=True, help="Replace a file, or an edit in the library, of that name.")
@json_option
def pull(reference: str, name: str | None, output: str | None, keep_as: str | None, force: bool, as_json: bool) -> None:
    """Fetch an edit from the Hugging Face Hub.

    It goes into the library, or to FILE. REV is a branch, tag or commit. The file is checked like any other edit file,
    and pinned: the command that fetches exactly it again is printed, and 'vii show' tells where an edit of the library
    came from.
    """
    if output and keep_as:
        raise UsageError("give -o or --as, not both: --as names an edit in the library")
    path = edit_path(output, outputs_of(force, "--force")) if output else None
    pulled = hub.pull(reference, path, name=name, keep_as=keep_as, force=force)
    chosen = f" --name {shlex.quote(pulled.file.removesuffix('.safetensors'))}"
    again = f"exactly this again: vii pull {pulled.repo}@{pulled.commit}{chosen}"
    tell(as_json, asdict(pulled) | written(pulled.path), f"{weighed(pulled.path)}\n{pulled.source()}\n{again}")
