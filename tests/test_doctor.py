"""The doctor: what it finds, what it makes of broken installations, and what it does not load."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import run

from vii import doctor, editors

HUB = "timbrooks/instruct-pix2pix"


@pytest.fixture
def installed(monkeypatch):
    """Set versions and requirements of packages as they would be installed; others are missing."""

    def install(versions, requires=None):
        def version(name):
            if name not in versions:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(importlib.metadata, "requires", lambda name: (requires or {}).get(name))

    return install


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hugging Face cache in the layout that huggingface_hub reads, empty."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def put(hub, model, *files):
    """Put files of a model into the cache, 1000 bytes each."""
    repo = hub / f"models--{model.replace('/', '--')}"
    for index, file in enumerate(files):
        blob, link = repo / "blobs" / f"blob{index}", repo / "snapshots" / ("a" * 40) / file
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        text = '{"unet": [], "vae": [], "text_encoder": []}' if file == "model_index.json" else "x"
        blob.write_text(text.ljust(1000))
        link.symlink_to(blob)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text("a" * 40)
    return repo


def test_the_command_on_this_installation(hub):
    found = json.loads(run("doctor", "--json")[0])
    assert list(found) == ["versions", "problems", "machine", "cache", "devices", "editors", "embedded"]
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["versions"]["torch"]
    assert found["machine"]["cores"] >= 1
    assert found["devices"]["used"] in ("cpu", "cuda", "mps")
    assert found["embedded"]["runs"] is True
    assert set(found["editors"]) == set(editors.EDITORS)
    assert found["editors"]["embedded"]["ready"] is True
    assert found["editors"]["embedded"]["weights"] > 1_000_000
    assert found["editors"]["ip2p"]["ready"] is False
    assert HUB in found["editors"]["ip2p"]["missing"][0]


def test_the_text_names_every_section_and_does_not_invent(hub, monkeypatch):
    monkeypatch.setattr(doctor, "embedded", lambda: {"runs": True, "seconds": 1.0, "problem": ""})
    text, _ = run("doctor")
    for section in ("versions", "problems", "machine", "cache", "devices", "editors", "embedded"):
        assert f"{section}\n" in text
    assert str(hub) in text
    assert "unknown" in text[text.index("  ip2p: ") : text.index("  toy: ")]


def test_exit_code_1_where_the_embedded_editor_does_not_run(hub, monkeypatch):
    def load():
        raise ImportError("operator torchvision::nms does not exist")

    monkeypatch.setattr(editors, "load_editor", load)
    out, err = run("doctor", "--json", code=1)
    assert json.loads(out)["embedded"]["runs"] is False
    assert err.strip() == (
        "vii: the embedded editor does not run: ImportError: operator torchvision::nms does not exist"
    )
    assert "does not run" in run("doctor", code=1)[0]


def test_a_broken_torch_is_a_finding(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises ImportError
    found = doctor.devices()
    assert found["used"] is None
    assert "torch does not work (ModuleNotFoundError" in found["problem"]
    assert doctor.embedded()["runs"] is False
    assert doctor.editors({}, None) == {}


def test_an_nvidia_driver_without_cuda_in_torch(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert "built for CPU only" in doctor.devices()["problem"]
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.devices()["problem"] == ""


def test_devices_with_memory(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (6_000_000_000, 8_000_000_000))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    found = doctor.devices()
    assert found["used"] == "cuda"
    assert found["cuda"][1] == {"name": "GPU 1", "memory": 8_000_000_000, "memory_free": 6_000_000_000}


def test_requirements_that_are_missing_or_old(installed):
    needs = {"vii": ["torch>=2.6", "diffusers>=0.35", "pillow>=10.3", 'pytest>=8; extra == "test"']}
    installed({"torch": "2.10.0+cu128", "diffusers": "0.9.1"}, needs)
    missing = doctor.requirement_problems()
    assert [text.split()[0] for text in missing] == ["diffusers", "pillow"]
    assert "is 0.9.1, vii needs >=0.35" in missing[0]
    assert "pip install 'pillow>=10.3'" in missing[1]
    needs = {"vii": ["gradio<7,>=6", 'tomli>=2; python_version < "3.11"', "numpy>=1.26"]}
    installed({"gradio": "7.0.1", "numpy": "2.5.0rc1"}, needs)
    assert doctor.requirement_problems() == ["gradio is 7.0.1, vii needs <7,>=6: pip install 'gradio<7,>=6'"]
    installed({})
    assert doctor.requirement_problems() == []


def test_packages_built_for_another_torch(installed, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")

    def problems(torch, torchvision, pins="torch (==2.6.0)", **others):
        versions = {"torch": torch, "torchvision": torchvision, **others}
        installed(versions, {"torchvision": ["numpy", pins], "xformers": ["numpy", "torch==2.5.1"]})
        return doctor.torch_problems()

    assert problems("2.6.0", "0.21.0") == []
    assert problems("2.6.0+cpu", "0.21.0+cpu") == []
    assert problems("2.6.0+cu124", "0.21.0") == []
    assert problems("2.15.0", "0.29.2", "torch (>=2.14.0)") == []
    assert "built for torch 2.6.0, but torch is 2.7.1" in problems("2.7.1", "0.21.0")[0]
    assert "one for CPU only" in problems("2.6.0+cpu", "0.21.0")[0]
    assert "one for CPU only" in problems("2.6.0+cpu", "0.21.0+cu124")[0]
    (text,) = problems("2.6.0", "0.21.0", xformers="0.0.28")
    assert "xformers 0.0.28 was built for torch 2.5.1" in text
    assert "pip uninstall xformers" in text
    monkeypatch.setattr(sys, "platform", "darwin")  # where every build is for CPU and MPS
    assert problems("2.6.0", "0.21.0") == []
    installed({})
    assert doctor.torch_problems() == []


def test_a_cache_that_is_not_there(hub):
    found = doctor.cache()
    assert (found["bytes"], found["models"]) == (0, {})
    assert found["disk_free"] > 0


def test_models_in_the_cache(hub):
    parts = ["model_index.json"]
    parts += [f"{part}/model.safetensors" for part in ("unet", "vae", "text_encoder")]
    repo = put(hub, HUB, *parts)
    put(hub, "openai/clip-vit-large-patch14", "config.json")
    found = doctor.cache()
    assert found["models"][HUB] == {"bytes": 4000, "complete": True}
    assert found["models"]["openai/clip-vit-large-patch14"]["complete"] is False
    one = doctor.editors(found["models"], "cpu")["ip2p"]
    assert one["ready"] is False
    assert [text.split()[0] for text in one["missing"]] == ["openai/clip-vit-large-patch14"]
    link = repo / "snapshots" / ("a" * 40) / "unet" / "model.safetensors"
    link.resolve().unlink()  # a download that was broken off
    assert not doctor.cache()["models"].get(HUB, {}).get("complete")


def test_the_machine_is_what_this_process_may_use(monkeypatch):
    monkeypatch.setattr(doctor, "cores", lambda: 3)
    monkeypatch.setattr(doctor, "memory_limit", lambda: 2_000_000_000)
    found = doctor.machine()
    assert (found["cores"], found["memory_limit"]) == (3, 2_000_000_000)
    assert 0 < found["memory_free"] <= found["memory"]


def test_learning_is_told_only_for_what_was_measured():
    assert doctor.editors({}, "cpu")["embedded"]["learning"]["took"] == "about 10 s"
    assert doctor.editors({}, "cuda")["embedded"]["learning"] is None
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    log = (Path(__file__).parents[1] / "LOG.md").read_text(encoding="utf-8")
    assert "about 15 seconds" in readme
    assert "Memory that learning takes" in log


def test_an_editor_that_nobody_described(monkeypatch):
    entry = editors.EditorEntry(lambda: None, "new", "something")
    monkeypatch.setattr(editors, "EDITORS", {"new": entry})
    found = doctor.editors({}, "cpu")["new"]
    assert (found["ready"], found["learning"], found["needs"]) == (None, None, "something")


def test_what_the_editors_need_is_what_they_load(monkeypatch):
    """The table of needs says the same as the code that loads."""
    from vii.editors import ip2p, loading

    asked = []
    monkeypatch.setattr(ip2p, "load_ip2p", lambda **options: asked.append(options["model"]))
    editors.load_editor("ip2p")
    editors.load_editor("embedded")
    needs = {name: entry.files for name, entry in editors.EDITORS.items()}
    assert asked == [next(iter(needs["ip2p"].models)), str(needs["embedded"].folder)]
    assert loading.Manifest().clip in needs["ip2p"].models


def test_the_first_sections_load_neither_torch_nor_diffusers():
    code = (
        "import sys\nfrom vii.doctor import examine\n"
        "for section, _ in examine():\n    if section == 'cache': break\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "diffusers", "transformers", "open_clip"}.isdisjoint(done.stdout.split())
