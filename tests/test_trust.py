"""What strangers' files make happen: nothing is downloaded, and no code runs, without the user's own word."""

import dataclasses
import importlib
import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from conftest import EXACT, strange_file
from hub_server import Repo
from test_cli import refused, run
from test_hub import hub  # noqa: F401 (a fixture)

import vii
from vii.cli import main
from vii.editors import EDITORS, trust
from vii.editors.loading import EMBEDDED_MODEL, read_manifest
from vii.editors.trust import options_for
from vii.errors import EditorError, HubError, ModelNotNamed, RecipeError, ViiError
from vii.interop.hub import pull
from vii.inversion.recipes import read_recipe
from vii.settings import check_seed, override, parse

CODE = "import pathlib; pathlib.Path({marker!r}).write_text('ran')\nclass Evil:\n    pass\n"


@pytest.fixture
def stranger(hub, tiny_folder, tmp_path, monkeypatch):
    """A repository with a model and code that leaves a mark where it runs, and an edit that names it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    marker = tmp_path / "ran"
    code = CODE.format(marker=str(marker)).encode()
    files = {str(path.relative_to(tiny_folder)): path.read_bytes() for path in tiny_folder.rglob("*") if path.is_file()}
    files |= {f"{folder}evil.py": code for folder in ("", "unet/", "vae/", "scheduler/", "tokenizer/", "text_encoder/")}
    hub.repos["mallory/model"] = repo = Repo()
    repo.commit(files)
    repo.marker = marker
    return repo


@pytest.fixture
def edit(tiny):
    """An edit learned with the repository's weights, as its author would publish it."""
    space = dataclasses.replace(tiny.space, model="mallory/model")
    tokens = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    return vii.Edit(tokens=tokens, space=space, editor="ip2p", init_text="red", start=1, resolution=32)


def test_an_edit_alone_makes_nothing_be_fetched(hub, stranger, edit, tmp_path, photo_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vii.save_edit(edit, "e.safetensors")
    for command in (
        ["apply", "e.safetensors", photo_file, "-o", "o.png"],
        ["export", "e.safetensors", "--format", "npz"],
        ["eval", ".", "--edit", "e.safetensors"],
        ["gallery", ".", "-o", "page"],
    ):
        result = CliRunner().invoke(main, [str(argument) for argument in command])
        said = result.output
        assert result.exit_code == 1, said
        assert command[0] == "eval" or "mallory/model" in said
    with pytest.raises(ModelNotNamed, match=r"not on this machine.*model='mallory/model'") as caught:
        vii.editor_for(edit)
    assert caught.value.model == "mallory/model"
    assert hub.requests == []
    assert not stranger.marker.exists()


def test_the_users_word_fetches_it_and_then_it_is_at_hand(hub, stranger, edit):
    options = {**EXACT, "clip": "none"}
    editor = vii.editor_for(edit, allow_download=True, **options)
    edit.check_space(editor.space)
    asked = len(hub.requests)
    assert asked
    assert not any(path.endswith(".py") for _, path in hub.requests)
    again = vii.editor_for(edit, **options)
    assert (again.space, len(hub.requests)) == (editor.space, asked)
    named = vii.editor_for(edit, model="mallory/model", **options)
    assert named.space.model == "mallory/model"
    assert not stranger.marker.exists()


INDEX = {"_class_name": "StableDiffusionInstructPix2PixPipeline"}


@pytest.mark.parametrize(
    ("path", "change", "refused"),
    [
        ("model_index.json", {"vae": ["diffusers", "DiffusionPipeline"]}, "vae is 'DiffusionPipeline'"),
        ("model_index.json", {"vae": ["diffusers", "pipelines"]}, "vae is 'pipelines'"),
        ("model_index.json", {"vae": ["evil", "AutoencoderKL"]}, "of 'evil'"),
        ("model_index.json", {"unet": ["evil", "Evil"]}, "of 'evil'"),
        ("model_index.json", {"other": ["evil", "Evil"]}, "of 'evil'"),
        ("model_index.json", {"scheduler": ["diffusers", "DiffusionPipeline"]}, "scheduler is"),
        ("model_index.json", {"scheduler": ["diffusers", 3]}, "scheduler is"),
        ("model_index.json", {"scheduler": None}, "scheduler is"),
        ("model_index.json", {"_class_name": ["evil", "Evil"]}, "code of its own"),
        ("unet/config.json", {"auto_map": {"AutoModel": "evil.Evil"}, "trust_remote_code": True}, None),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "evil--evil.Evil"}}, None),
        ("tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, None),
        ("scheduler/scheduler_config.json", {"_class_name": ["evil", "Evil"], "auto_map": {"a": "evil.Evil"}}, None),
    ],
)
def test_no_code_of_a_model_runs(tmp_path, tiny_folder, path, change, refused):
    folder, marker = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(tiny_folder, folder)
    for place in (folder, *(child for child in folder.iterdir() if child.is_dir())):
        (place / "evil.py").write_text(CODE.format(marker=str(marker)))
        if place != folder:
            (place / "model_index.json").write_text('{"_class_name": ["evil", "Evil"]}')
    file = folder / path
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    if refused:
        with pytest.raises(EditorError, match=refused):
            vii.load_editor("ip2p", model=str(folder), clip="none", **EXACT)
    else:
        vii.load_editor("ip2p", model=str(folder), clip="none", **EXACT)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a JSON object, found a list"),
        ("{", "not valid JSON"),
        ("[" * 10000, "not valid JSON"),
        ("\xff", "not valid JSON"),
        ('{"resolution": NaN}', "not valid JSON"),
        ('{"resolution": "512"}', "resolution must be a whole number"),
        ('{"resolution": 1e300}', "resolution must be a whole number"),
        ('{"resolution": 100000000}', "resolution must be a whole number"),
        ('{"resolutoin": 64}', "unknown entry 'resolutoin'; did you mean 'resolution'"),
        ('{"settings": [1]}', "settings must be an object"),
        ('{"settings": {"num_inference_steps": 1e400}}', "not valid JSON"),
        ('{"phrases": 3}', "phrases must be a text"),
        ('{"phrases": "../../etc/hostname"}', "phrases must lie in the model's folder"),
        ('{"phrases": "/etc/hostname"}', "phrases must lie in the model's folder"),
        ('{"phrases": "missing.txt"}', "not in its folder"),
        ('{"phrases": "link.txt"}', "leads out"),
        ('{"phrases": "a\\u0000b"}', "not in its folder"),
        ('{"clip": "../other"}', "clip must lie in the model's folder"),
        ('{"clip": "mallory/clip"}', "not in its folder"),
        ('{"clip": "open_clip:hf-hub/x"}', "not in its folder"),
    ],
)
def test_a_models_own_file_stays_in_its_folder(tmp_path, text, message):
    (tmp_path / "outside.txt").write_text("secret")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "vii.json").write_text(text, encoding="latin-1")
    with pytest.raises(EditorError, match=message) as caught:
        read_manifest(folder)
    assert "\n" not in str(caught.value)


def test_a_snapshot_of_the_hub_may_link_to_its_blobs(tmp_path):
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_text("make it red")
    (snapshot / "words.txt").symlink_to("../../blobs/1")
    (snapshot / "vii.json").write_text('{"phrases": "words.txt", "clip": null}')
    assert read_manifest(snapshot).phrases == "words.txt"


def test_whose_model_is_taken(edit, tmp_path, monkeypatch):
    def named(by_the_edit, by_editor="ip2p", **options):
        space = dataclasses.replace(edit.space, model=by_the_edit, revision="r" * 40)
        allowed = options.pop("allow_download", False)
        edit_ = dataclasses.replace(edit, space=space, editor=by_editor)
        return options_for(edit_, options, allow_download=allowed)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    own = {name: EDITORS[name].model for name in ("ip2p", "controlnet", "embedded", "toy")}
    assert own["embedded"] == read_manifest(EMBEDDED_MODEL).name
    for name, model in own.items():  # its own, at no revision of a stranger's choice
        assert named(model, name, editor=name) == {"editor": name}
        assert named(model, name, allow_download=True) == {"editor": name}
        if name in ("embedded", "toy"):
            assert named(model, name) == {"editor": name}
            continue
        with pytest.raises(ModelNotNamed, match="not on this machine"):
            named(model, name)
        with monkeypatch.context() as cached:
            cached.setattr(trust, "is_cached", lambda model, revision: revision is None)
            assert named(model, name) == {"editor": name, "download": False}
    assert named("mallory/model", model="mine") == {"editor": "ip2p", "model": "mine"}
    assert options_for(edit, {"editor": "embedded"}) == {"editor": "embedded"}
    assert options_for(None, {"clip": "x"}) == {"clip": "x"}
    for model in ("mine", "mallory/model", "mallory/model+b/c", "../../etc", "/etc", "a/b/c", "https://x.y/z", "a b/c"):
        with pytest.raises(ModelNotNamed):
            named(model)
    with pytest.raises(ModelNotNamed, match=r"folder called 'mine'.*PATH/mine"):
        named("mine")
    with pytest.raises(ModelNotNamed, match=r"this version of vii, 'vii-embedded-.*learn it again, or name"):
        named("vii-embedded-1", "embedded")
    (tmp_path / "mine").mkdir()
    assert named("mine") == {"editor": "ip2p", "model": "mine", "download": False}


def test_a_folder_that_is_not_here_is_asked_for_before_anything_is_fetched(edit, tmp_path, photo_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = dataclasses.replace(edit, space=dataclasses.replace(edit.space, model="mine"))
    vii.save_edit(mine, "e.safetensors")
    said = refused("apply", "e.safetensors", photo_file, "-o", "o.png")
    assert "--model PATH/mine" in said
    assert not (tmp_path / "o.png").exists()


NONSENSE = [
    (200, b"[]", {}),
    (200, b"null", {}),
    (200, b"3", {}),
    (200, b"{}", {}),
    (200, b"[" * 200_000, {}),
    (200, b'{"id": ' + b"1" * 5000 + b"}", {}),
    (200, b'{"id": "a/b", "sha": 3, "siblings": []}', {}),
    (200, b'{"id": "a/b", "sha": "../../x", "siblings": [{"rfilename": "a.safetensors", "size": 9}]}', {}),
    (200, b'{"id": "a/b", "sha": "%s", "siblings": {"a": 1}}' % (b"a" * 40), {}),
    (200, b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": 3, "size": 9}]}' % (b"a" * 40), {}),
    (200, b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "a.safetensors", "size": "9"}]}' % (b"a" * 40), {}),
    (200, b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "a.safetensors", "size": NaN}]}' % (b"a" * 40), {}),
    (200, b'{"id": "a/b", "sha": "%s", "siblings": [{}]}' % (b"a" * 40), {}),
    (200, b"\xff\xfe", {}),
    (301, b"", {}),
    (302, b"", {"Location": "nowhere://x"}),
    (404, b"[]", {}),
    (500, b"\x1b]0;owned\x07", {}),
]


@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
def test_a_hub_that_answers_nonsense_is_one_line(hub, answer, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.nonsense = answer
    with pytest.raises(HubError) as caught:
        pull("ada/bands", tmp_path / "x.safetensors")
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()
    with pytest.raises(EditorError) as caught:
        vii.load_editor("ip2p", model="ada/bands", clip="none", **EXACT)
    assert str(caught.value).isprintable()


def test_a_proxy_that_needs_a_package_is_one_line(hub, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(HubError, match=r"pip install 'httpx\[socks\]'"):
        pull("ada/bands", tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "text",
    [
        "inversion = 3",
        "pair = [1]",
        "pair = 5",
        '[pair]\nbefore = 1\nafter = "a"',
        "description = 3",
        "base = 3",
        'base = "a\\u0000b"',
        'base = "' + "x" * 300 + '.toml"',
        "[inversion]\nsettings = 3",
        '[inversion]\nrecipe = "visii"',
        "[inversion]\nmse_weight = nan",
        "[inversion]\nweight_decay = inf",
        "[inversion]\nmax_train_steps = " + "9" * 50,
        "[inversion]\nmax_train_steps = 9999999999",
        "[inversion]\nmax_train_steps = true",
        "[inversion]\nbatch_size = 1000000",
        "a = " + "[" * 5000,
        '[inversion]\ninit = "caption"\ncaptioner = "mallory/blip"',
    ],
)
def test_recipes_of_strangers_are_read_or_refused_in_one_line(tmp_path, text):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_recipe(tmp_path / "r.toml")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(10**12), "5", True, None], ids=range(7))
def test_numbers_are_finite_whoever_gives_them(value):
    with pytest.raises(ViiError):
        vii.InversionSettings(mse_weight=value)
    for name in ("ip2p", "controlnet"):
        kind = importlib.import_module(f"vii.editors.{name}").__dict__[f"{name.capitalize()}Settings"]
        with pytest.raises(ViiError):
            kind(guidance_scale=value)
    if value is not None:
        with pytest.raises(ViiError):
            override(vii.InversionSettings(), max_train_steps=value)
    with pytest.raises(ViiError):
        parse(vii.InversionSettings(), ["steps=" + "1" * 5000])
    with pytest.raises(ViiError):
        override(vii.InversionSettings(), **parse(vii.InversionSettings(), ["mse_weight=1e999"]))


@pytest.mark.parametrize("seed", [-1, 2**63, 2**70, 10**5000, 1.5, True, "3", None], ids=range(8))
def test_seeds_that_no_generator_takes_are_refused(seed):
    with pytest.raises(ViiError, match="seed must be"):
        check_seed(seed)
    assert check_seed(2**63 - 1) == 2**63 - 1


def test_a_strange_file_is_shown_without_what_a_terminal_obeys(toy_edit, tmp_path):
    evil = {"vii__training": json.dumps({"recipe": "\x1b]0;owned\x07"}), "vii__init_text": "a\x1b[2J"}
    path = strange_file(toy_edit, tmp_path / "e.safetensors", **evil)
    assert "\x1b" not in run("show", path)[0]
