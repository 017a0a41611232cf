"""Pushing and pulling, against a Hub on this machine that huggingface_hub talks HTTP to."""

import dataclasses
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml
from conftest import picture
from hub_server import TOKEN, Hub, Repo
from PIL import Image
from test_cli import refused, run
from tiny_flows import klein_pipeline
from tiny_sdxl import sdxl_pipeline

import vii
from vii.edit_file import MAX_BYTES, to_bytes
from vii.editors import EDITORS, MODEL_LICENSES
from vii.errors import EditFileError, HubError, OutputError, UsageError
from vii.interop.hub import Pushed, prepare, pull, push
from vii.interop.hub.card import model_card
from vii.interop.prompt_embeds import export_npz
from vii.library import PULLED, origin
from vii.rendering.sheets import thumbnail_of

REPO = "ada/bands"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The Hub that huggingface_hub is configured for, and a token for it."""
    from huggingface_hub import constants

    with Hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its protocol is not HTTP alone
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
        yield server


@pytest.fixture
def bands(tmp_path, toy_edit):
    """An edit file with everything in its header that a card shows."""
    labels = {
        "title": "Bands",
        "description": "Coloured *bands*.",
        "author": "Ada",
        "license": "CC-BY-4.0",
        "tags": ["colour"],
        "training": {"explained": 0.8125, "recipe": "default"},
        "thumbnail": thumbnail_of(vii.Pair(picture(1), picture(2))),
    }
    path = tmp_path / "bands.safetensors"
    vii.save_edit(dataclasses.replace(toy_edit, **labels), path)
    return path


def front_matter(card):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.S).group(1))


# --- there and back


@pytest.mark.parametrize("upload_mode", ["regular", "lfs"])
def test_an_edit_comes_back_byte_for_byte_pinned_and_remembered(hub, bands, library, upload_mode):
    hub.upload_mode = upload_mode
    out, err = run("push", bands, REPO, "--private")
    repo = hub.repos[REPO]
    commit, files = repo.commits[-1]
    assert repo.private
    assert ("bands.safetensors" in repo.lfs) == (upload_mode == "lfs")
    assert set(files) == {".gitattributes", "README.md", "bands.safetensors", "pictures/bands.png"}
    assert files["bands.safetensors"] == bands.read_bytes()
    assert out.startswith(f"{hub.url}/{REPO}   README.md, bands.safetensors, pictures/bands.png\n")
    assert out.endswith(f"vii pull {REPO}@{commit}\n")
    assert err == ""

    repo.commit({"bands.safetensors": b"something else"})
    out, _ = run("pull", f"{REPO}@{commit}")
    kept = library / "bands.safetensors"
    assert kept.read_bytes() == bands.read_bytes()
    assert out.splitlines()[0].startswith(str(kept))
    assert out.splitlines()[1] == f"{REPO}@{commit}/bands.safetensors"
    assert out.splitlines()[2].endswith(f"vii pull {REPO}@{commit} --name bands")
    assert json.loads(run("show", "bands", "--json")[0])["pulled_from"] == f"{REPO}@{commit}/bands.safetensors"
    assert sorted(path.name for path in library.iterdir()) == [PULLED, "bands.safetensors"]

    run("library", "remove", "bands")
    run("library", "add", bands, "--name", "renamed")  # known by what it holds
    assert f"pulled from  {REPO}@{commit}" in run("show", "renamed")[0]
    assert origin(bands) == ""


def test_a_branch_is_pinned_before_the_download(hub, bands, tmp_path):
    repo = hub.repos[REPO] = Repo()
    commit = repo.commit({"bands.safetensors": bands.read_bytes()})
    report = json.loads(run("pull", REPO, "-o", tmp_path / "x.safetensors", "--json")[0])
    assert (report["commit"], report["file"], report["repo"]) == (commit, "bands.safetensors", REPO)
    assert report["bytes"] == bands.stat().st_size
    asked = [path for _, path in hub.requests if "/resolve/" in path]
    assert asked
    assert all(f"/resolve/{commit}/" in path for path in asked)
    assert f"/api/models/{REPO}" in [path for _, path in hub.requests]


def test_the_command_line_talks_to_the_hub_of_the_environment(hub, bands, tmp_path):
    """Everything as installed: another process, configured by the environment alone."""
    hub.repos[REPO] = Repo()
    hub.repos[REPO].commit({"bands.safetensors": bands.read_bytes()})
    out = tmp_path / "x.safetensors"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "vii", "pull", REPO, "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert out.read_bytes() == bands.read_bytes()


# --- push


def test_a_dry_run_writes_what_a_push_uploads_without_network_or_token(hub, bands, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    out, _ = run("push", bands, REPO, "--dry-run", tmp_path / "dry")
    assert hub.requests == []
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    run("push", bands, REPO)
    uploaded = hub.repos[REPO].commits[-1][1]
    written = {path.relative_to(tmp_path / "dry").as_posix(): path.read_bytes() for path in map(Path, out.split())}
    assert written == {name: data for name, data in uploaded.items() if name != ".gitattributes"}
    assert not hub.repos[REPO].private
    assert "new or empty folder" in refused("push", bands, REPO, "--dry-run", tmp_path / "dry")


def test_the_card_says_what_it_is_and_how_to_use_it(bands):
    card = prepare([bands], REPO)["README.md"].decode()
    front = front_matter(card)
    assert front == {
        "library_name": "vii",
        "pipeline_tag": "image-to-image",
        "tags": ["vii", "visual-instruction-inversion", "image-editing", "toy", "colour"],
        "license": "cc-by-4.0",
    }
    assert "\n# Bands\n" in card
    assert "Coloured \\*bands\\*." in card
    assert "![bands: before and after](pictures/bands.png)" in card
    assert "| explained | 81% |" in card
    assert f"vii pull {REPO} -o bands.safetensors\n" in card
    assert vii.load_edit(bands).sha256() in card


@pytest.mark.parametrize(
    ("editor", "model", "base", "lines"),
    [
        ("ip2p", "timbrooks/instruct-pix2pix", ["timbrooks/instruct-pix2pix"], ["InstructPix2PixPipeline"]),
        ("controlnet", "a/base+b/control", ["a/base", "b/control"], ["ControlNetPipeline", '("b/control")']),
        ("embedded", "vii-embedded-4", None, ["EMBEDDED_MODEL"]),
        ("ip2p", "my-own-folder", None, ["name a folder with `--model`"]),
    ],
)
def test_the_card_names_base_models_that_others_can_load(toy_edit, editor, model, base, lines):
    space = dataclasses.replace(toy_edit.space, model=model, encoder="CLIPTextModel", revision="abc123")
    card = model_card(REPO, {"x": dataclasses.replace(toy_edit, editor=editor, space=space)})
    front = front_matter(card)
    assert front.get("base_model") == base
    assert front.get("base_model_relation") == ("adapter" if base else None)
    assert "license" not in front
    assert all(line in card for line in lines)
    assert (f'model="{model}", revision="abc123"' in card) == bool(base)
    assert ("diffusers.Stable" in card) == (model != "my-own-folder")
    for block in re.findall(r"```python\n(.*?)```", card, re.S):
        compile(block, "card", "exec")


@pytest.mark.parametrize(
    ("editor", "kind", "build"),
    [
        ("klein", "Flux2KleinPipeline", lambda: klein_pipeline(True)),
        ("sdxl", "StableDiffusionXLInstructPix2PixPipeline", sdxl_pipeline),
    ],
)
def test_the_lines_for_a_large_model_run(editor, kind, build, tmp_path, monkeypatch):
    """As printed, with a tiny model in place of the one on a hub; rows exported as printed above them."""
    import diffusers

    build().save_pretrained(tmp_path / "tiny")
    loaded = vii.load_editor(editor, model=str(tmp_path / "tiny"), device="cpu", dtype="float32", clip="none")
    start, model = loaded.instruct("make it night"), EDITORS[editor].model
    edit = vii.Edit(
        start.tokens + 1, loaded.space, editor, "make it night", start.free[0], 64, {"num_inference_steps": 1}
    )
    monkeypatch.chdir(tmp_path)
    export_npz(edit, loaded, "night.npz")
    card = model_card(REPO, {"night": dataclasses.replace(edit, space=dataclasses.replace(edit.space, model=model))})
    assert f"| licence of the base model | {MODEL_LICENSES[model]} |" in card.replace("\\", "")
    assert front_matter(card)["base_model"] == [model]
    vii.save_edit(edit, "night.safetensors")
    vii.save_image(picture(1, 64, 64), "photo.png")
    own = getattr(diffusers, kind).from_pretrained(tmp_path / "tiny")
    monkeypatch.setattr(own, "to", lambda device: own)
    monkeypatch.setattr(getattr(diffusers, kind), "from_pretrained", lambda name, torch_dtype: own)
    block = re.search(r"```python\n(import diffusers.*?)```", card, re.S).group(1).replace("photo.jpg", "photo.png")
    exec(block, names := {})
    assert names["image"].size[0] >= 16
    assert ("pooled_prompt_embeds" in names["told"]) == (editor != "klein")


def test_the_lines_for_diffusers_on_a_card_run(embedded, tmp_path, monkeypatch):
    """As printed; the embedded model is one that they can load here."""
    tokens = torch.randn(10, embedded.space.width, generator=torch.Generator().manual_seed(0))
    edit = vii.Edit(tokens, embedded.space, "embedded", "make it night", 1, 128, {"num_inference_steps": 1})
    card = model_card(REPO, {"night": edit})
    monkeypatch.chdir(tmp_path)
    vii.save_edit(edit, "night.safetensors")
    vii.save_image(picture(1, 40, 60), "photo.png")
    block = re.search(r"```python\n(import diffusers.*?)```", card, re.S).group(1).replace("photo.jpg", "photo.png")
    exec(block, names := {})
    assert names["image"].size == (128, 128)


def test_what_a_header_says_stays_text_on_the_card(toy_edit):
    evil = "<script>x</script>\n---\n# big [a](javascript:x) `b` | c | ![i](http://x/y) \"'); import os  # "
    changed = dataclasses.replace(
        toy_edit, title=evil, description=evil, author=evil, license=evil, init_text=evil, editor=evil, tags=[evil]
    )
    card = model_card(REPO, {"x": changed})
    front = front_matter(card)
    assert front["license"] == "other"
    assert re.fullmatch(r"[a-z0-9.-]+", front["license_name"])
    body = card.split("\n---\n", 1)[1]
    outside = re.sub(r"```.*?```", "", body, flags=re.S)
    assert not re.search(r"(?<!\\)<script|(?<!\\)\[a|(?<!\\)!\[i|^# big|^---", outside, re.M)
    for block in re.findall(r"```python\n(.*?)```", card, re.S):
        compile(block, "card", "exec")
        assert "\nimport os" not in block


def test_several_edits_and_named_pictures_on_one_card(hub, bands, toy_edit, tmp_path):
    plain = tmp_path / "plain one.safetensors"
    vii.save_edit(toy_edit, plain)
    photo = tmp_path / "Anna on holiday.jpg"
    exif = Image.Exif()
    exif[0x010E] = "Anna, at home"
    Image.new("RGB", (3000, 1500), "red").save(photo, exif=exif)
    run("push", bands, plain, REPO, "--picture", photo)
    files = hub.repos[REPO].commits[-1][1]
    assert b"Anna" not in b"".join(files.values())
    assert "pictures/01.png" in files
    (tmp_path / "back.png").write_bytes(files["pictures/01.png"])
    assert vii.load_image(tmp_path / "back.png").shape == (3, 512, 1024)
    card = files["README.md"].decode()
    assert "2 edits" in card
    assert "license" not in front_matter(card)  # one of them states none
    assert f"vii pull {REPO} --name bands -o bands.safetensors" in card
    assert "## plain one" in card

    assert "choose one with --name: bands, plain one" in refused("pull", REPO)
    run("pull", REPO, "--name", "plain one", "-o", tmp_path / "got.safetensors")
    assert (tmp_path / "got.safetensors").read_bytes() == plain.read_bytes()
    assert "no edit called 'band'; it has bands, plain one" in refused("pull", REPO, "--name", "band")


def test_what_a_repository_holds_is_not_overwritten(hub, bands, toy_edit, tmp_path):
    run("push", bands, REPO)
    hub.repos[REPO].commit({"README.md": b"---\ntags: []\n---\nby hand"})
    assert "bands.safetensors already; replace with --force" in refused("push", bands, REPO)
    other = tmp_path / "other.safetensors"
    vii.save_edit(toy_edit, other)
    _, err = run("push", other, REPO)
    assert "has been kept" in err
    files = hub.repos[REPO].commits[-1][1]
    assert files["README.md"].endswith(b"by hand")
    assert {"bands.safetensors", "other.safetensors"} <= set(files)
    vii.save_edit(toy_edit, bands)
    run("push", bands, REPO, "--force")
    files = hub.repos[REPO].commits[-1][1]
    assert files["bands.safetensors"] == bands.read_bytes()
    assert b"by hand" not in files["README.md"]


def test_a_public_repository_is_not_taken_for_a_private_one(hub, bands):
    hub.repos[REPO] = Repo()
    assert "everybody can read it" in refused("push", bands, REPO, "--private")
    assert len(hub.repos[REPO].commits) == 1


def test_a_push_in_between_is_not_overwritten(hub, bands):
    repo = hub.repos[REPO] = Repo()
    hub.meanwhile = lambda: repo.commit({"other.txt": b"by somebody else"})
    with pytest.raises(HubError, match="somebody else changed it"):
        push(prepare([bands], REPO), REPO)
    assert "bands.safetensors" not in repo.commits[-1][1]


def test_the_functions_are_the_commands(hub, bands, tmp_path):
    pushed = push(prepare([bands], REPO), REPO, endpoint=hub.url)
    assert isinstance(pushed, Pushed)
    pulled = pull(f"{REPO}@{pushed.commit}", tmp_path / "x.safetensors", endpoint=hub.url)
    assert pulled.path.read_bytes() == bands.read_bytes()


# --- refusals


def test_bad_input_to_push(hub, bands, tmp_path, monkeypatch, photo_file):
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / "Bands.safetensors"
    twin.write_bytes(bands.read_bytes())
    cases = [
        ([bands, "bands"], "expected USER/NAME"),
        ([bands, "a/b/c"], "expected USER/NAME"),
        ([bands, "../etc"], "expected USER/NAME"),
        ([tmp_path / "none.safetensors", REPO], "no such edit file"),
        ([photo_file, REPO], "not a safetensors file"),
        ([bands, twin, REPO], "called 'Bands' too"),
        ([bands, REPO, "--picture", bands], "not a picture"),
        ([REPO], "Missing argument"),
    ]
    for arguments, message in cases:
        assert message in refused("push", *arguments)
    assert hub.requests == []
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert re.search("refuses the upload|no such repository.*hf auth login", refused("push", bands, REPO))
    monkeypatch.delenv("HF_TOKEN")
    assert "needs a token" in refused("push", bands, REPO)
    assert hub.repos == {}


def test_bad_input_to_pull(hub, bands, tmp_path, library, monkeypatch):
    out = tmp_path / "out.safetensors"
    hub.repos["a/gated"], hub.repos["a/private"] = Repo(), Repo(private=True)
    hub.repos["a/gated"].commit({"x.safetensors": bands.read_bytes()})
    hub.repos["a/gated"].gated = True
    hub.repos["a/empty"] = Repo()
    hub.repos["a/pickle"] = Repo()
    hub.repos["a/pickle"].commit({"x.safetensors": b"\x80\x04" + bytes(50), "x.pt": b"PK"})
    hub.repos["a/other"] = Repo()
    hub.repos["a/other"].commit({"x.safetensors": bands.read_bytes()[:-3]})
    cases = [
        ("nothing", "expected USER/NAME"),
        ("a/none", "no such repository"),
        ("a/gated", "access must be asked for"),
        ("a/empty@v9", "no such branch, tag or commit"),
        ("a/empty", "no edit file there; .* found '.gitattributes'"),
        ("a/pickle", "this is a pickle"),
        ("a/other", r"a/other@[0-9a-f]{40}/x.safetensors: damaged"),
    ]
    for reference, message in cases:
        assert re.search(message, refused("pull", reference, "-o", out)), reference
        assert re.search(message, refused("pull", reference)), reference
    monkeypatch.delenv("HF_TOKEN")
    assert "if it is private, log in" in refused("pull", "a/private", "-o", out)
    assert "named *.safetensors" in refused("pull", "a/gated", "-o", tmp_path / "x.pt")
    assert "not both" in refused("pull", "a/gated", "-o", out, "--as", "x")
    assert not out.exists()
    assert not library.exists()


def test_files_that_cannot_be_edits_are_not_downloaded(hub, bands):
    names = ["../up", "/root", ".hidden", "a/../b", "-o", "x\ny", "weights.bin"]
    repo = hub.repos[REPO] = Repo()
    repo.commit({f"{name}.safetensors" if "." not in name[3:] else name: bands.read_bytes() for name in names})
    repo.commit({"unet/model.safetensors": bytes(10), "unsized.safetensors": bands.read_bytes()})
    repo.said = {"unet/model.safetensors": MAX_BYTES + 1, "unsized.safetensors": None}
    with pytest.raises(HubError, match="no edit file there"):
        pull(REPO)
    assert not [path for _, path in hub.requests if "/resolve/" in path]


def test_a_file_larger_than_it_was_said_to_be_is_refused(hub, tmp_path):
    repo = hub.repos[REPO] = Repo()
    repo.commit({"x.safetensors": bytes(MAX_BYTES + 1)})
    repo.said = {"x.safetensors": 1000}
    with pytest.raises(HubError, match="8,000,001 bytes"):
        pull(REPO, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_what_is_on_this_machine_is_not_overwritten(hub, bands, toy_edit, tmp_path, library):
    repo = hub.repos[REPO] = Repo()
    repo.commit({"bands.safetensors": bands.read_bytes()})
    out = tmp_path / "mine.safetensors"
    vii.save_edit(toy_edit, out)
    mine = out.read_bytes()
    with pytest.raises(OutputError, match="exists; replace it with `force=True`"):
        pull(REPO, out)
    run("library", "add", out, "--name", "bands")
    with pytest.raises(UsageError, match=r"another edit called 'bands'; choose a name with `keep_as`"):
        pull(REPO)
    assert out.read_bytes() == (library / "bands.safetensors").read_bytes() == mine
    assert pull(REPO, keep_as="theirs").path == library / "theirs.safetensors"
    assert pull(REPO, force=True).path.read_bytes() == bands.read_bytes()
    assert pull(REPO, out, force=True).path.read_bytes() == bands.read_bytes()
    assert pull(REPO).path == library / "bands.safetensors"  # the same again changes nothing
    assert pull(REPO, out).path == out


def test_no_network_and_a_hub_in_trouble_are_one_line(hub, bands, tmp_path, monkeypatch):
    from huggingface_hub import constants

    hub.fail = 500
    assert "answers with an error, 500" in refused("pull", REPO)
    assert "answers with an error, 500" in refused("push", bands, REPO)
    hub.fail = None
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    assert "download failed, for the Hub cannot be reached" in refused("pull", REPO)
    assert "upload failed, for the Hub cannot be reached" in refused("push", bands, REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "offline" in refused("pull", REPO).lower()


def test_a_note_that_was_cut_short_does_no_harm(hub, bands, library):
    hub.repos[REPO] = Repo()
    commit = hub.repos[REPO].commit({"bands.safetensors": bands.read_bytes()})
    pull(REPO)
    with (library / PULLED).open("a") as file:
        file.write('{"sha256": "ab\n[]\n3\n')
    assert origin(library / "bands.safetensors") == f"{REPO}@{commit}/bands.safetensors"


def test_an_edit_file_with_a_broken_header_is_not_pulled(hub, toy_edit, tmp_path):
    """The same checks as for a file of one's own; the file of another is not kept anywhere."""
    data = to_bytes(toy_edit)
    data = data[: -toy_edit.tokens.numel() * 4] + struct.pack("<f", float("nan")) * toy_edit.tokens.numel()
    hub.repos[REPO] = Repo()
    hub.repos[REPO].commit({"x.safetensors": data})
    with pytest.raises(EditFileError, match="not finite"):
        pull(REPO, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() < 20  # no upload or download is left running
