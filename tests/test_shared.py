"""Models without copies of the parts that they have in common with the embedded editor."""

import json
import shutil

import pytest
import torch
from conftest import EXACT, picture
from safetensors.torch import load_file, save_file

import vii
from vii.editors import shared
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.shared import FILES, check_shared, shared_digests
from vii.errors import EditorError


@pytest.fixture
def folder(tmp_path):
    """The embedded editor with nothing of its own but the UNet, the schedule and what says so."""
    for part in ("unet", "scheduler"):
        shutil.copytree(EMBEDDED_MODEL / part, tmp_path / "lean" / part)
    shutil.copy(EMBEDDED_MODEL / "model_index.json", tmp_path / "lean")
    manifest = json.loads((EMBEDDED_MODEL / "vii.json").read_text()) | {"name": "lean"}
    manifest["shares"] = shared_digests(EMBEDDED_MODEL, ("vae", "text_encoder", "tokenizer"))
    (tmp_path / "lean/vii.json").write_text(json.dumps(manifest))
    return tmp_path / "lean"


def test_what_a_model_shares_is_taken_from_the_embedded_editor(folder, embedded):
    loaded = vii.load_editor("embedded", model=str(folder), **EXACT)
    assert loaded.space.fingerprint == embedded.space.fingerprint
    assert loaded.phrases == embedded.phrases
    photo = picture(1, 128, 128)
    assert torch.equal(loaded.parts.joint.image_features([photo]), embedded.parts.joint.image_features([photo]))
    shutil.copytree(EMBEDDED_MODEL / "clip", folder / "clip")  # a copy of its own comes first
    assert vii.load_editor("embedded", model=str(folder), **EXACT).parts.clip == str(folder / "clip")


def test_a_digest_changes_with_what_was_learned_from_and_with_nothing_else(tmp_path):
    shutil.copytree(EMBEDDED_MODEL, tmp_path / "m")
    own = shared_digests(EMBEDDED_MODEL, FILES)

    def changed(part, name=None, by=1.0):
        path = tmp_path / "m" / part / FILES[part]
        if part == "tokenizer":
            path.write_text(path.read_text().replace('"merges":', '"merges": ').replace('"l', '"L', 3))
        elif name == "scaling_factor":
            path = path.with_name("config.json")
            path.write_text(json.dumps(json.loads(path.read_text()) | {name: by}))
        else:
            tensors = load_file(path)
            tensors[next(key for key in tensors if key.startswith(name))].view(-1)[0] += by
            save_file(tensors, path)
        found = shared_digests(tmp_path / "m", FILES)
        shutil.copyfile(EMBEDDED_MODEL / part / path.name, path)
        return {part for part in FILES if found[part] != own[part]}

    assert changed("vae", "decoder") == set()
    assert changed("vae", "encoder") == {"vae"}
    assert changed("vae", "scaling_factor", 2.0) == {"vae"}
    assert changed("text_encoder", "text_model" if _prefixed() else "embeddings") == {"text_encoder"}
    assert changed("clip", "vision_model") == {"clip"}
    assert changed("tokenizer") == {"tokenizer"}


def _prefixed():
    return any(key.startswith("text_model.") for key in load_file(EMBEDDED_MODEL / "text_encoder/model.safetensors"))


def test_a_model_of_another_embedded_editor_is_refused_in_one_line(folder, tmp_path, monkeypatch):
    newer = tmp_path / "newer"
    shutil.copytree(EMBEDDED_MODEL, newer)
    path = newer / "text_encoder" / FILES["text_encoder"]
    save_file({name: tensor * 2 for name, tensor in load_file(path).items()}, path)
    monkeypatch.setattr(shared, "EMBEDDED_MODEL", newer)
    with pytest.raises(EditorError, match=r"lean: it was trained on text_encoder of another embedded editor .* has;"):
        vii.load_editor("embedded", model=str(folder), **EXACT)


@pytest.mark.parametrize(
    ("shares", "message"),
    [({"unet": "x"}, "no part 'unet' can be shared"), (["vae"], "shares must be an object of texts")],
)
def test_what_cannot_be_shared(folder, shares, message):
    manifest = json.loads((folder / "vii.json").read_text()) | {"shares": shares}
    (folder / "vii.json").write_text(json.dumps(manifest))
    with pytest.raises(EditorError, match=message):
        vii.load_editor("embedded", model=str(folder), **EXACT)


def test_digests_of_what_is_no_editor(tmp_path):
    with pytest.raises(EditorError, match="not a part of an embedded editor"):
        shared_digests(tmp_path, ["vae"])
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / FILES["vae"]).write_bytes(b"no weights")
    with pytest.raises(EditorError, match="not a part of an embedded editor"):
        shared_digests(tmp_path, ["vae"])
    with pytest.raises(EditorError, match="no part 'unet' can be shared"):
        shared_digests(EMBEDDED_MODEL, ["unet"])


def test_a_model_that_shares_nothing_is_not_checked(monkeypatch, tmp_path):
    monkeypatch.setattr(shared, "EMBEDDED_MODEL", tmp_path)  # where there is nothing
    check_shared(vii.editors.loading.Manifest(), "any")
