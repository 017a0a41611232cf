"""Captions by LAVIS: a program of its own, and the environment that uv makes for it."""

import json
import os
import re
import sys
import textwrap
import time
import tomllib

import pytest
import torch
from conftest import picture, saved
from packaging.requirements import Requirement
from test_cli import refused, run
from test_docs import DOCS, section

import vii
from vii.captions import INITS, starting_texts
from vii.captions.lavis import PROGRAM, ask, find_uv, lavis_command
from vii.errors import CaptionerError, UsageError

# --- a program that is asked -----------------------------------------------------------------------------------------

FAKE = """
    import json, sys, time
    mode, *pictures = sys.argv[1:]
    answers = {
        "well": {"captions": [f" a  photo of {picture}" for picture in pictures]},
        "no weights": {"error": "cannot load 'x': no weights"},
        "no text": {"captions": [5]},
        "too few": {"captions": []},
        "list": [1],
    }
    if mode == "death":
        sys.stderr.write("Segmentation fault\\n")
        sys.exit(3)
    if mode == "silence":
        time.sleep(60)
    if mode == "binary":
        sys.stdout.buffer.write(b"\\xff\\x00")
    print(json.dumps(answers[mode]) if mode in answers else "Downloading: 10%")
"""


@pytest.fixture
def fake(tmp_path):
    """Asks a program that misbehaves as told."""
    script = tmp_path / "fake.py"
    script.write_text(textwrap.dedent(FAKE))
    return lambda mode, *pictures, **options: ask(
        [sys.executable, "-I", str(script), mode, *pictures], len(pictures), **options
    )


def test_a_program_says_one_caption_a_picture(fake):
    assert fake("well", "1.png", "2.png") == ["a photo of 1.png", "a photo of 2.png"]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("death", r"died \(exit code 3; Segmentation fault\)"),
        ("garbage", "spoke nonsense: expected 1 captions as JSON, got 'Downloading: 10%"),
        ("binary", "spoke nonsense"),
        ("list", "spoke nonsense"),
        ("no text", "spoke nonsense"),
        ("too few", "spoke nonsense"),
        ("silence", "no captions within 0.5 seconds"),
        ("no weights", "reports: cannot load 'x': no weights"),
    ],
)
def test_a_program_that_misbehaves_is_one_clear_error_and_is_ended(fake, mode, message):
    started = time.monotonic()
    with pytest.raises(CaptionerError, match=message):
        fake(mode, "1.png", seconds=0.5 if mode == "silence" else 60)
    assert time.monotonic() - started < 30


def test_a_program_that_does_not_exist():
    with pytest.raises(CaptionerError, match=r"cannot be started \(No such file or directory: /nowhere/python\)"):
        ask(["/nowhere/python"], 0)


# --- LAVIS ------------------------------------------------------------------------------------------------------------

LAVIS = """
    class Registry:
        def get_model_class(self, name):
            return None if name == "unknown" else object
    registry = Registry()
    def load_preprocess(config):
        raise NotImplementedError
    def load_model_and_preprocess(name, model_type, is_eval, device):
        import torch
        print("Downloading the weights of", name)  # as LAVIS does, on standard output
        assert is_eval and device == "cpu"
        class Model:
            def generate(self, samples):
                value = samples["image"].mean().item()
                if value > 0.9:
                    raise RuntimeError("too bright\\nfor this model")
                return [f"a {name} of {model_type}, {'dark' if value < 0.5 else 'bright'}"]
        return Model(), {"eval": lambda image: torch.tensor(list(image.resize((4, 4)).getdata())) / 255}, None
"""


@pytest.fixture
def lavis(tmp_path, monkeypatch):
    """The real program with this interpreter for uv, and in place of salesforce-lavis a stand-in with its functions."""
    package = tmp_path / "site" / "lavis"
    (package / "common").mkdir(parents=True)
    (package / "models").mkdir()
    (package / "__init__.py").write_text("")
    (package / "common/__init__.py").write_text("")
    (package / "common/registry.py").write_text(textwrap.dedent(LAVIS))
    (package / "models/__init__.py").write_text("from ..common.registry import *")
    (tmp_path / "site/omegaconf.py").write_text("class OmegaConf: pass")
    launcher = tmp_path / "uv"
    code = f"import runpy, sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); sys.argv = sys.argv[3:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -I -W ignore -c "{code}" "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setattr("vii.captions.lavis.find_uv", lambda: str(launcher))


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for the interpreter is a shell script")
def test_lavis_captions_pictures_in_its_own_process(lavis, toy):
    dark, bright, white = (torch.full((3, 8, 8), value) for value in (0.2, 0.7, 1.0))
    assert starting_texts(toy, [vii.Pair(bright, dark), vii.Pair(dark, bright)], "lavis", 1) == [
        "a blip_caption of base_coco, dark",
        "a blip_caption of base_coco, bright",
    ]
    assert starting_texts(toy, [vii.Pair(dark, dark)], "lavis", 1, captioner="blip2_opt/caption_coco_opt2.7b") == [
        "a blip2_opt of caption_coco_opt2.7b, dark"
    ]
    with pytest.raises(CaptionerError, match=r"reports: RuntimeError: too bright$"):
        starting_texts(toy, [vii.Pair(dark, white)], "lavis", 1)
    with pytest.raises(CaptionerError, match="cannot load 'unknown/x': ValueError: LAVIS has no model 'unknown'"):
        starting_texts(toy, [vii.Pair(dark, dark)], "lavis", 1, captioner="unknown/x")


def test_lavis_models_are_named_as_its_zoo_or_by_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("vii.captions.lavis.find_uv", lambda: "uv")
    assert lavis_command("blip_caption/large_coco", "cuda") == [
        "uv",
        "run",
        "--script",
        str(PROGRAM),
        "blip_caption/large_coco",
        "cuda",
    ]
    (tmp_path / "mine.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert lavis_command("mine.yaml", "mps")[-2:] == [str(tmp_path / "mine.yaml"), "cpu"]
    with pytest.raises(UsageError, match=r"nowhere.yaml: no such file"):
        lavis_command("nowhere.yaml")
    for bad in ("blip", "a/b/c", "a b/c", "-c/x y"):
        with pytest.raises(UsageError, match="ARCHITECTURE/TYPE"):
            lavis_command(bad)


# --- its environment --------------------------------------------------------------------------------------------------


def test_the_program_says_what_it_needs_as_pep_723_has_it():
    text = PROGRAM.read_text(encoding="utf-8")
    block = re.search(r"^# /// script$\n((?:^#(?: .*)?$\n)+?)^# ///$", text, re.MULTILINE)[1]
    needs = tomllib.loads("".join(line[2:] + "\n" for line in block.splitlines()))
    assert needs["requires-python"] == "==3.11.*"
    required = {one.name: one.specifier for one in map(Requirement, needs["dependencies"])}
    assert str(required["salesforce-lavis"]) == "==1.0.2"
    assert "2.5.1" not in required["torch"]  # whose checkpoints can hold code


def test_uv_runs_a_program_by_its_header_apart_from_what_is_here(tmp_path, monkeypatch):
    """The real uv, without a network: the header's interpreter, none of our packages, nothing beside the program."""
    program = tmp_path / "program.py"
    program.write_text(
        f"# /// script\n# requires-python = '=={sys.version_info[0]}.{sys.version_info[1]}.*'\n# ///\n"
        "import importlib.util, json, sys\n"
        "found = [name for name in ('torch', 'click', 'neighbour', 'caller') if importlib.util.find_spec(name)]\n"
        "print(json.dumps({'captions': [f'{sys.version_info[:2]} {found}']}))\n"
    )
    (tmp_path / "neighbour.py").write_text("")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "caller.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_PYTHON", sys.executable)
    monkeypatch.setattr("vii.captions.lavis.PROGRAM", program)
    assert ask(lavis_command("a/b"), 1, seconds=120) == [f"{sys.version_info[:2]} []"]


def test_without_uv_it_is_told_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("vii.captions.lavis.find_uv", lambda: None)
    learn = ["learn", *saved(tmp_path, a=picture(1), b=1 - picture(1)), "-o", tmp_path / "e.safetensors"]
    assert "pip install uv" in refused(*learn, "--init", "lavis")
    assert json.loads(run("captioner", "list", "--json")[0])[-1]["state"] == "needs uv: pip install uv"
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_uv() is None
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    (tmp_path / "uv").chmod(0o755)
    assert find_uv() == str(tmp_path / "uv")


# --- the command line -------------------------------------------------------------------------------------------------


def test_learn_refuses_bad_captioners_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    learn = ["learn", *saved(tmp_path, a=picture(1), b=1 - picture(1)), "-o", tmp_path / "e.safetensors"]
    assert "cannot fetch the captioner 'no/such'" in refused(*learn, "--init", "caption", "--captioner", "no/such")
    assert "a captioner is for init" in refused(*learn, "--init", "none", "--captioner", "x")
    assert "cannot load the CLIP model 'no/such'" in refused(*learn, "--init", "pez", "--captioner", "no/such")
    assert "pez_target must be one of" in refused(*learn, "--init", "pez", "--set", "pez_target=before")
    assert "No such command" in refused("captioner", "install")


def test_list_names_every_init_and_so_does_the_page_on_learning():
    told = section(DOCS["docs/learning.md"], "## The starting text")
    out = run("captioner", "list")[0]
    for name in INITS:
        assert f" {name} " in out
        assert f"| `{name}` |" in told
