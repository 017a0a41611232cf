"""Edit files to and from the Hub: a repository with a card, and one checked file of a pinned commit.

Nothing is uploaded but the edit files, a card made from their headers, the pictures that they hold themselves, and
those that the user names, which are decoded and encoded again so that no place or date of a camera goes along.
"""

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...edit_file import MAX_BYTES, SUFFIX, Edit, from_bytes, load_edit
from ...errors import EditFileError, HubError, OutputError, UsageError
from ...files import make_folder, write
from ...images import load_image, save_image
from ...library import add_edits, remember, safe_name
from ...rendering.sheets import at_most, thumbnail_image
from .card import model_card
from .failures import LOG_IN, one_line

CARD = "README.md"
MAX_SIDE = 1024
REPO = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", re.ASCII)
# Files of other kinds, hidden ones, and names that lead out of a folder are not looked at.
EDIT_FILE = re.compile(r"(?:\w[\w .+-]*/)*\w[\w .+-]*\.safetensors", re.IGNORECASE)


@dataclass(frozen=True)
class Pushed:
    """What was uploaded: the repository's address, the commit, and whether a card that was there has been kept."""

    url: str
    commit: str
    files: tuple[str, ...]
    card_kept: bool


@dataclass(frozen=True)
class Pulled:
    """A file that was fetched and checked: where it is now, and its repository, commit, name there, and hash."""

    path: Path
    repo: str
    commit: str
    file: str
    sha256: str

    def source(self) -> str:
        """`REPO@COMMIT/FILE`."""
        return f"{self.repo}@{self.commit}/{self.file}"


def prepare(paths: Sequence[str | Path], repo: str, pictures: Sequence[str | Path] = ()) -> dict[str, bytes]:
    """Path within the repository -> bytes of all that a push uploads; needs no network.

    Raises UsageError for no repository id, two files of one name, or a name that not every system can store.
    """
    _check_repo(repo)
    edits: dict[str, Edit] = {}
    files: dict[str, bytes] = {}
    shown: list[tuple[str, str, Tensor]] = []
    for path in map(Path, paths):
        name = safe_name(path.stem, "a copy of another name")
        if name.casefold() in {known.casefold() for known in edits}:
            raise UsageError(f"{path}: another of the edit files is called '{name}' too; rename a copy of one")
        edits[name] = load_edit(path)
        files[f"{name}{SUFFIX}"] = path.read_bytes()
        if edits[name].thumbnail:
            shown.append((f"{name}: before and after", f"pictures/{name}.png", thumbnail_image(edits[name].thumbnail)))
    # Names of pictures often say more than their owner would publish.
    shown += [(f"picture {i}", f"pictures/{i:02}.png", load_image(path)) for i, path in enumerate(pictures, start=1)]
    with tempfile.TemporaryDirectory() as folder:
        for _, target, image in shown:
            save_image(at_most(image, MAX_SIDE), Path(folder, "x.png"))
            files[target] = Path(folder, "x.png").read_bytes()
    listed = [(caption, target.replace(" ", "%20")) for caption, target, _ in shown]
    return {CARD: model_card(repo, edits, listed).encode(), **files}


def write_files(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write what `prepare` gives into a new or empty folder; OutputError for any other, and where that fails."""
    make_folder(folder)
    if any(folder.iterdir()):
        raise OutputError(f"{folder}: expected a new or empty folder, this one holds files")
    written = []
    for name, data in files.items():
        make_folder((folder / name).parent)
        write(folder / name, data)
        written.append(folder / name)
    return written


def push(
    files: Mapping[str, bytes], repo: str, *, private: bool = False, force: bool = False, endpoint: str | None = None
) -> Pushed:
    """Upload what `prepare` gives in one commit, into a repository that is made where there is none.

    The token is the one that huggingface_hub finds: HF_TOKEN, or that of `hf auth login`.

    Args:
        files: path within the repository -> bytes.
        repo: its id, `USER/NAME`.
        private: make it so that only its owner sees it; refused where it exists and is public.
        force: replace the card and edits of the same name; otherwise the card is kept and the edits are refused.
        endpoint: of another Hub.

    Raises HubError where the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    _check_repo(repo)
    if not (token := get_token()):
        raise HubError(f"{repo}: uploading needs a token that may write; {LOG_IN}")
    api = HfApi(endpoint=endpoint, token=token)
    with one_line(repo, "upload"):
        api.create_repo(repo, private=True if private else None, exist_ok=True)
        info = api.model_info(repo, files_metadata=True)
        there, head = set(_listed(repo, info)), _commit(repo, info.sha)
        if private and info.private is not True:
            raise HubError(f"{repo}: `private`, but it exists and everybody can read it; make it private there first")
        taken = sorted(name for name in there & set(files) if name.endswith(SUFFIX))
        if taken and not force:
            raise HubError(f"{repo}: it has {', '.join(taken)} already; replace with `force=True`, or rename your file")
        kept = CARD in there and not force
        chosen = {name: data for name, data in files.items() if not (kept and name == CARD)}
        commit = api.create_commit(
            repo,
            [CommitOperationAdd(name, data) for name, data in chosen.items()],
            commit_message=f"Add {', '.join(name for name in chosen if name.endswith(SUFFIX))} with vii",
            parent_commit=head,  # whoever pushed in between is not overwritten
        )
    return Pushed(f"{api.endpoint}/{repo}", _commit(repo, commit.oid), tuple(chosen), kept)


def pull(
    reference: str,
    output: str | Path | None = None,
    *,
    name: str | None = None,
    keep_as: str | None = None,
    force: bool = False,
    endpoint: str | None = None,
) -> Pulled:
    """Fetch one edit file, check it as `load_edit` does, and write it, byte for byte, to a file or the library.

    Args:
        reference: `USER/NAME`, or `USER/NAME@REV` with a branch, tag or commit. It is pinned to a commit before
            anything is downloaded.
        output: where to write; the library if not given.
        name: of the edit, where the repository holds several.
        keep_as: name in the library; the file's own if not given.
        force: replace what is there.
        endpoint: of another Hub.

    Raises:
        HubError: it cannot be reached, or has no such edit.
        EditFileError: the file is not a valid edit file.
        UsageError: the library holds another edit of that name.
        OutputError: another file is there, or it cannot be written.
    """
    from huggingface_hub import HfApi

    repo, _, revision = reference.partition("@")
    _check_repo(repo)
    api = HfApi(endpoint=endpoint)
    # Not into the cache: what has not been checked is not kept, and a few kilobytes need none.
    with tempfile.TemporaryDirectory() as folder:
        with one_line(reference, "download"):
            info = api.model_info(repo, revision=revision or None, files_metadata=True)
            pinned = _commit(repo, info.sha)
            file = _choose(repo, _listed(repo, info), name)
            fetched = Path(api.hf_hub_download(repo, file, revision=pinned, cache_dir=folder))
            if (size := fetched.stat().st_size) > MAX_BYTES:  # larger than it was said to be
                raise HubError(f"{repo}: {file} has {size:,} bytes, at most {MAX_BYTES:,} are an edit file")
            data = fetched.read_bytes()
        try:
            from_bytes(data)
        except EditFileError as error:
            raise EditFileError(f"{repo}@{pinned}/{file}: {error}") from None
        path = Path(output) if output else None
        if path:
            if path.is_file() and not force and path.read_bytes() != data:
                raise OutputError(f"{path}: exists; replace it with `force=True`, or choose another `output`")
            write(path, data)
        else:
            copy = Path(folder, "checked", Path(file).name)
            copy.parent.mkdir()
            copy.write_bytes(data)
            path = add_edits([copy], keep_as, replace=force, option="`keep_as`")[0].path
    pulled = Pulled(path, repo, pinned, file, hashlib.sha256(data).hexdigest())
    if not output:
        remember(pulled.sha256, pulled.source())
    return pulled


def _listed(repo: str, info: Any) -> dict[str, int | None]:
    """Name -> size of a repository's files, as the Hub lists them."""
    files = {item.rfilename: item.size for item in info.siblings or ()}
    for name, size in files.items():
        if not isinstance(name, str) or not (size is None or type(size) is int):
            raise HubError(f"{repo}: the Hub lists a file {name!r} of size {size!r}; expected a text and a number")
    return files


def _commit(repo: str, sha: Any) -> str:
    """A commit's id, as the Hub gives it."""
    if not isinstance(sha, str) or not re.fullmatch(r"[0-9a-f]{40}", sha):
        raise HubError(f"{repo}: the Hub answers with {str(sha)[:60]!r} for a commit; expected 40 hexadecimal digits")
    return sha


def _choose(repo: str, sizes: Mapping[str, int | None], name: str | None) -> str:
    """The edit file to fetch: the only one, or the one that is named."""
    found = {
        file[: -len(SUFFIX)]: file
        for file, size in sorted(sizes.items())
        if EDIT_FILE.fullmatch(file) and size is not None and size <= MAX_BYTES
    }
    if not found:
        raise HubError(
            f"{repo}: no edit file there; expected a {SUFFIX} file of at most {MAX_BYTES:,} bytes, found "
            f"{', '.join(map(repr, sorted(sizes)[:5])) or 'nothing'}{', ...' if len(sizes) > 5 else ''}"
        )
    if name is None and len(found) > 1:
        raise HubError(f"{repo}: it holds several edits; choose one with `name`: {', '.join(found)}")
    if name is None:
        return next(iter(found.values()))
    if (wanted := name.removesuffix(SUFFIX)) not in found:
        raise HubError(f"{repo}: no edit called '{name}'; it has {', '.join(found)}")
    return found[wanted]


def _check_repo(repo: str) -> None:
    if not REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise UsageError(f"'{repo}' is no repository on the Hub: expected USER/NAME, such as ada/watercolor")
