"""The service: pictures as `vii apply` writes them, what is refused, the queue, and the command that asks it."""

import io
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import bomb_png
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import vii
from vii.cli import main
from vii.editors.toy import ToyEditor
from vii.errors import OutputError, UsageError
from vii.service.app import make_app
from vii.service.client import Service
from vii.service.server import ServiceGuard
from vii.service.work import Worker
from vii.ui.server import listen, running

TOKEN, PORT = "a-token-of-the-test", 7880
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Slow(ToyEditor):
    """One that waits until it is let go on."""

    def __init__(self):
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def edit(self, *arguments):
        self.begun.set()
        assert self.go.wait(60)
        return super().edit(*arguments)


@pytest.fixture
def worker():
    made = Worker(Slow(), 3)
    yield made
    made.editor.go.set()
    made.pool.shutdown()


@pytest.fixture
def guard(worker, tmp_path):
    folder = tmp_path / "service"
    folder.mkdir()
    return ServiceGuard(make_app(worker, folder), worker, folder=folder, port=PORT, token=TOKEN)


@pytest.fixture
def client(guard):
    with TestClient(guard, base_url=f"http://localhost:{PORT}", headers=BEARER) as made:
        yield made
    assert list(guard.folder.iterdir()) == []  # nothing is left of anything


@pytest.fixture
def edit_file(toy_edit, tmp_path):
    vii.save_edit(toy_edit, tmp_path / "red.safetensors")
    return tmp_path / "red.safetensors"


def ask(client, photo, *edits, files=(), **fields):
    sent = [("photo", (photo.name, photo.read_bytes()))]
    sent += [("files", (file.name, file.read_bytes())) for file in files]
    return client.post("/apply", files=sent, data={"edits": list(edits)} | fields)


def command(*arguments):
    return CliRunner().invoke(main, ["apply", *map(str, arguments)])


def test_a_picture_is_the_file_that_the_command_writes(client, photo_file, edit_file, tmp_path):
    assert command(edit_file, photo_file, "-o", tmp_path / "local.png", "--seed", 3).exit_code == 0
    answer = ask(client, photo_file, "#0", files=[edit_file], seed=3)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == (tmp_path / "local.png").read_bytes()
    assert Image.open(io.BytesIO(ask(client, photo_file, text="blue", format=".webp").content)).format == "WEBP"


def test_edits_of_the_library_are_known_by_name_and_no_file_is(client, photo_file, edit_file, monkeypatch, tmp_path):
    assert CliRunner().invoke(main, ["library", "add", str(edit_file), "--name", "rose"]).exit_code == 0
    assert ask(client, photo_file, "rose:0.5").status_code == 200
    monkeypatch.chdir(tmp_path)
    for name in ("red.safetensors", str(edit_file), "../red.safetensors", "#1", "nothing"):
        answer = ask(client, photo_file, name, files=[edit_file])
        assert answer.status_code == 422, name
        assert str(tmp_path) not in answer.json()["detail"].replace(name, "")


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"text": ""}, "nothing to apply"), ({"text": "x", "seed": -1}, "seed"), ({"text": "x", "box": "1,2"}, "box"),
     ({"text": "x", "box": "0,0,999,9"}, "inside"), ({"text": "x", "format": ".exe"}, "format"),
     ({"text": "x", "quality": 50}, "quality"), ({"text": "x", "quality": 500}, "quality"),
     ({"text": "x", "finish": "all"}, "finish"), ({"text": "x", "settings": "nothing=1"}, "nothing"),
     ({"edits": "#0:x"}, "WEIGHT"), ({"edits": "#0:nan", "text": "x"}, "came along")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(client, photo_file, fields, told):
    edits = [fields.pop("edits")] if "edits" in fields else []
    answer = ask(client, photo_file, *edits, **fields)
    assert answer.status_code == 422
    assert told in str(answer.json()["detail"])


def test_pictures_that_are_none_are_refused_by_name(client, tmp_path, capfd):
    for name, content in (("no.png", b"no picture"), ("bomb.png", bomb_png()), ("../../up.png", b"")):
        answer = client.post("/apply", files=[("photo", (name, content))], data={"text": "x"})
        assert answer.status_code == 422
        assert Path(name).name in answer.json()["detail"]
        assert "/" not in answer.json()["detail"].split(":")[0]
    assert "Traceback" not in capfd.readouterr().err


def test_who_has_no_token_or_comes_from_a_page_is_refused(guard, photo_file):
    with TestClient(guard, base_url=f"http://localhost:{PORT}") as stranger:
        assert stranger.get("/health").json()["status"] == "ok"
        assert ask(stranger, photo_file, text="x").status_code == 401
        assert stranger.get(f"/metrics?token={TOKEN}").status_code == 401
        assert stranger.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert stranger.get("/health", headers={"host": "evil.example"}).status_code == 403
        for page in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert stranger.get("/metrics", headers=BEARER | page).status_code == 403
        assert stranger.get("/docs", headers=BEARER).status_code == 404
        large = {"content-length": "300000000", "content-type": "multipart/form-data; boundary=x"}
        assert stranger.post("/apply", content=b"--x--", headers=BEARER | large).status_code == 413
    assert guard.worker.here == 0


def test_it_says_what_it_takes_and_what_it_did(client, photo_file):
    described = client.get("/openapi.json").json()
    assert described["info"]["version"] == vii.__version__
    form = described["components"]["schemas"]["Body_apply_apply_post"]
    assert form["required"] == ["photo"]
    assert {"edits", "files", "text", "seed", "settings", "format", "mask", "box"} <= set(form["properties"])
    assert ask(client, photo_file, text="x").status_code == 200
    assert ask(client, photo_file, text="").status_code == 422
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    counted = {s.labels["status"]: s.value for s in families["vii_requests"].samples if s.name.endswith("_total")}
    assert counted == {"200": 1, "422": 1}
    assert families["vii_requests_limit"].samples[0].value == 3
    assert {"vii_wait_seconds", "vii_edit_seconds", "process_resident_memory_bytes"} <= set(families)


def test_more_than_there_are_places_for_are_told_to_come_again(client, worker, photo_file):
    worker.editor.go.clear()
    with ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(ask, client, photo_file, text="x") for _ in range(3)]
        assert worker.editor.begun.wait(60)
        while worker.here < 3:
            pass
        refused = ask(client, photo_file, text="x")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.get("/health").json()["requests"] == 3
        worker.editor.go.set()
        assert [one.result().status_code for one in taken] == [200] * 3
    assert worker.here == 0
    assert len({one.result().content for one in taken}) == 1


@pytest.fixture
def address(guard, monkeypatch):
    monkeypatch.delenv("VII_TOKEN", raising=False)
    with listen("127.0.0.1", 0) as bound:
        guard.port = bound.getsockname()[1]
        with running(guard, bound):
            yield f"http://localhost:{guard.port}/?token={TOKEN}"


def test_the_command_asks_it_and_loads_nothing(address, photo_file, edit_file, tmp_path):
    assert command(edit_file, photo_file, "-o", tmp_path / "local.jpg", "--quality", 80).exit_code == 0
    arguments = ["apply", edit_file, photo_file, "-o", tmp_path / "served.jpg", "--quality", 80, "--server", address]
    code = f"""
import sys
from vii.cli import main
main({[*map(str, arguments)]!r}, standalone_mode=False)
assert not {{"torch", "diffusers", "transformers", "fastapi"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(vii.__file__).parents[1])
    assert (tmp_path / "served.jpg").read_bytes() == (tmp_path / "local.jpg").read_bytes()


def test_the_command_passes_on_masks_words_and_errors(address, worker, photo_file, edit_file, tmp_path):
    mask = tmp_path / "mask.png"
    Image.new("L", (80, 60), 255).save(mask)
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).write_bytes(photo_file.read_bytes())
    (tmp_path / "photos" / "c.png").write_bytes(b"no picture")
    how = [f"{edit_file}:0.5", tmp_path / "photos", "--text", "blue", "--mask", mask, "--guidance", 2]
    assert command(*how, "-o", tmp_path / "local").exit_code == 1
    found = command(*how, "-o", tmp_path / "served", "--server", address)
    assert found.exit_code == 1
    assert "c.png" in found.output
    for name in ("a.png", "b.png"):
        assert (tmp_path / "served" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    refused = command(photo_file, "--text", "x", "-o", tmp_path / "x.png", "--server", address, "--device", "cpu")
    assert "--device" in refused.output
    assert len(refused.output.splitlines()) == 1
    wrong = command(photo_file, "--text", "x", "-o", tmp_path / "x.png", "--server", address.replace("?token=", "?"))
    assert "token" in wrong.output
    ended = time.monotonic() + 10
    while worker.here and time.monotonic() < ended:  # a request ends after its answer has gone
        time.sleep(0.01)
    assert worker.here == 0


def test_where_no_service_is_the_command_says_so(photo_file, tmp_path):
    with listen("127.0.0.1", 0) as bound:
        free = bound.getsockname()[1]
    refused = command(photo_file, "--text", "x", "-o", tmp_path / "x.png", "--server", f"http://localhost:{free}")
    assert "vii serve" in refused.output
    with pytest.raises(OutputError, match="no service answers"):
        Service.at(f"http://localhost:{free}").check()
    for url in ("localhost:7880", "https://localhost", "http://", "http://localhost:x"):
        with pytest.raises(UsageError, match="expected the address"):
            Service.at(url)
