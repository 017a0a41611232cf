"""The guard of `vii ui`: what it lets through and what it refuses, without gradio; and with it, the whole app."""

import asyncio
import json
import re

import pytest

from vii.ui.bodies import MAX_JSON, Refused, check_files, inside
from vii.ui.guard import PATHS, Guard, address
from vii.ui.intake import MAX_BODY

PORT, TOKEN = 7860, "a-token-of-the-test"
OWN = f"localhost:{PORT}"


async def echo(scope, receive, send):
    """An app that reads the whole body and says how long it was."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"ALLOWALL")]})
    await send({"type": "http.response.body", "body": str(length).encode()})


def ask(guard, path="/", method="GET", host=OWN, body=b"", chunks=None, query="", **headers):
    """One request: status, headers, text. A chunk that is None is a browser that has gone."""
    raw = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    raw += [(b"host", host.encode())] if host is not None else []
    parts, sent = list(chunks or [body]), []
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": raw}

    async def receive():
        if (part := parts.pop(0)) is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    told = {key.decode().lower(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent[1:]).decode()


@pytest.fixture
def guard(tmp_path):
    return Guard(echo, folder=tmp_path, port=PORT)


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST:7860"])
def test_its_own_names_are_let_through(guard, host):
    assert ask(guard, host=host)[0] == 200
    assert ask(guard, host=host, origin=f"http://{host.lower()}", sec_fetch_site="same-origin")[0] == 200


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:7860", "localhost", "localhost:80", "127.0.0.1.evil.example:7860",
     "localhost:7860@evil.example", "10.0.0.1:7860", "localhost:7860, evil.example", "localhost:99999999"],
)  # fmt: skip
def test_foreign_hosts_are_refused(guard, host):
    status, _, text = ask(guard, host=host)
    assert status == 403
    assert "expected localhost:7860" in text


def test_two_hosts_are_refused(guard):
    assert ask(guard, Host="evil.example")[0] == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://localhost:7860", "http://localhost:7861", "http://localhost",
     "http://127.0.0.1:7860", "file://", ""],
)  # fmt: skip
def test_foreign_origins_are_refused(guard, origin):
    assert ask(guard, "/gradio_api/upload", "POST", origin=origin)[0] == 403


def test_requests_from_other_pages_are_refused_but_a_link_to_the_page_is_fine(guard):
    for site in ("cross-site", "same-site"):
        assert ask(guard, "/config", sec_fetch_site=site)[0] == 403
        assert ask(guard, "/config", sec_fetch_site=site, sec_fetch_mode="navigate")[0] == 403
        assert ask(guard, "/", sec_fetch_site=site, sec_fetch_mode="navigate")[0] == 200


def test_for_the_whole_network_only_addresses_in_numbers_are_its_names(tmp_path):
    guard = Guard(echo, folder=tmp_path, port=PORT, hosts=["*", "mymachine"])
    for host in ("10.0.0.7:7860", "[fe80::1]:7860", "mymachine:7860", OWN):
        assert ask(guard, host=host)[0] == 200
    for host in ("evil.example:7860", "10.0.0.7.evil.example:7860", "10.0.0.7:7861"):
        assert ask(guard, host=host)[0] == 403


def test_answers_cannot_be_framed_read_by_other_pages_or_load_from_elsewhere(guard):
    for answer in (ask(guard), ask(guard, host="evil.example")):
        headers = answer[1]
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "http" not in headers["content-security-policy"]


def test_a_token_is_asked_for_once_and_never_handed_out(tmp_path):
    guard = Guard(echo, folder=tmp_path, port=PORT, token=TOKEN)
    for given in ({}, {"query": "token=wrong"}, {"query": "token="}, {"cookie": f"vii_ui_{PORT}=wrong"}):
        status, headers, text = ask(guard, **given)
        assert status == 401
        assert TOKEN not in text
        assert "set-cookie" not in headers
    assert ask(guard, "/config", query=f"token={TOKEN}")[0] == 401
    status, headers, _ = ask(guard, query=f"token={TOKEN}")
    assert (status, headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=Strict"} <= set(headers["set-cookie"].split("; "))
    cookie = headers["set-cookie"].split(";")[0]
    assert ask(guard, cookie=f"other=1; {cookie}")[0] == 200
    assert ask(guard, "/config", cookie=cookie)[0] == 200
    assert ask(guard, host="evil.example", cookie=cookie)[0] == 403


def test_only_what_the_page_asks_for_is_there(guard):
    for path in ("/config", "/assets/index.js", "/gradio_api/run/predict", "/gradio_api/heartbeat/abc", "/theme.css"):
        assert ask(guard, path)[0] == 200, path
    for path in (
        "/gradio_api/proxy=http://evil.example/", "/gradio_api/info", "/gradio_api/call/x", "/monitoring", "/docs",
        "/gradio_api/dev/reload", "/gradio_api/runs", "/gradio_api/deep_link", "/gradio_api/file/etc/passwd", "/login",
        "/gradio_api/stream/x", "/gradio_api/openapi.json", "/custom_component/x",
    ):  # fmt: skip
        assert ask(guard, path)[0] == 404, path


def test_only_files_of_its_folder_are_handed_out(guard, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert ask(guard, f"/gradio_api/file={tmp_path}/a.png")[0] == 200
    outside = [f"{tmp_path}/../x", f"{tmp_path}/link", str(tmp_path)]
    for path in (*outside, "/etc/passwd", "https://evil.example/x", "a.png"):
        assert ask(guard, f"/gradio_api/file={path}")[0] == 403, path


def test_bodies_are_limited_by_what_they_say_and_by_what_they_are(guard):
    form = {"content_type": "multipart/form-data; boundary=x"}
    for length, status in ((str(MAX_BODY + 1), 413), ("-1", 411), ("many", 411), ("9" * 5000, 411)):
        assert ask(guard, "/gradio_api/upload", "POST", content_length=length, **form)[0] == status
    assert ask(guard, "/gradio_api/upload", "POST", chunks=[b"x" * 50] * 2, **form)[0] == 411
    assert ask(guard, "/gradio_api/upload", "POST", chunks=[b"x" * 50] * 2, content_length="100", **form)[2] == "100"
    assert ask(guard, "/gradio_api/run/predict", "POST", chunks=[b"1" * 2**20] * 5)[0] == 413


def test_a_ticket_opens_the_page_once_and_soon(tmp_path, monkeypatch):
    guard = Guard(echo, folder=tmp_path, port=PORT, token=TOKEN)
    ticket = guard.ticket()
    status, headers, _ = ask(guard, query=f"token={ticket}")
    assert (status, headers["set-cookie"].split(";")[0]) == (303, f"vii_ui_{PORT}={TOKEN.replace('-', '%2D')}")
    assert ask(guard, query=f"token={ticket}")[0] == 401
    assert ask(guard, cookie=f"vii_ui_{PORT}={ticket}")[0] == 401
    late = guard.ticket()
    monkeypatch.setattr("vii.ui.guard.time.monotonic", lambda: 1e12)
    assert ask(guard, query=f"token={late}")[0] == 401


def test_what_breaks_inside_is_a_line_and_an_answer(tmp_path, caplog, capsys):
    async def breaks(scope, receive, send):
        raise KeyError("a\x1b[31m")

    status, headers, text = ask(Guard(breaks, folder=tmp_path, port=PORT), "/config")
    assert (status, text) == (500, "this request could not be handled")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    (line,) = (record.getMessage() for record in caplog.records)
    assert "/config: KeyError" in line
    assert "\x1b" not in line
    assert "Traceback" not in caplog.text + capsys.readouterr().err


def test_the_body_that_was_looked_at_reaches_the_app_whole(guard):
    body = json.dumps({"data": ["x" * 1000]}).encode()
    assert ask(guard, "/gradio_api/run/predict", "POST", chunks=[body[:10], body[10:]])[2] == str(len(body))


def test_websockets_are_closed(guard):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(guard({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def file(path, **more):
    return json.dumps({"data": [[{"image": {"path": path, "meta": {"_type": "gradio.FileData"}, **more}}]]}).encode()


def test_bodies_name_no_file_but_uploads_and_no_address(tmp_path):
    tmp_path = tmp_path.resolve()
    check_files(b"", tmp_path)
    check_files(file(str(tmp_path / "x/photo.png"), url="http://localhost:7860/gradio_api/file=..."), tmp_path)
    check_files(b'{"data": [{"path": "just words"}]}', tmp_path)
    outside = ["/etc/passwd", str(tmp_path / "../up.png"), "photo.png", "http://evil.example/x.png"]
    for path in (*outside, "", 7, ["/etc"], "\0"):
        with pytest.raises(Refused, match="not given to this page"):
            check_files(file(path), tmp_path)
    with pytest.raises(Refused, match="address"):
        check_files(file(None, url="data:image/png;base64,AAAA"), tmp_path)
    for body in (b"no json", b"[" * 100_000, b"\xff"):
        with pytest.raises(Refused):
            check_files(body, tmp_path)
    with pytest.raises(Refused, match="nested more than"):
        check_files(b"[" * 100 + b"]" * 100, tmp_path)
    assert not inside("x" * 5000, tmp_path)
    assert MAX_JSON < MAX_BODY


def test_the_address_to_open():
    assert address("127.0.0.1", 7860) == "http://localhost:7860/"
    assert address("::1", 7860) == "http://localhost:7860/"
    assert address("10.0.0.7", 80, "abc") == "http://10.0.0.7:80/?token=abc"
    assert address("fe80::1", 80) == "http://[fe80::1]:80/"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The whole app behind its guard."""
    from PIL import Image
    from starlette.testclient import TestClient

    from vii.editors.toy import ToyEditor
    from vii.ui.server import make_app
    from vii.ui.studio import Studio

    limit = Image.MAX_IMAGE_PIXELS
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")
        patch.setenv("VII_LIBRARY", str(tmp_path_factory.mktemp("library")))
        studio = Studio("toy", ToyEditor, tmp_path_factory.mktemp("ui"))
        patch.setattr("vii.ui.intake.MAX_UPLOADS", 80_000_000)
        with TestClient(make_app(studio, PORT), base_url=f"http://{OWN}") as client:
            client.studio = studio
            yield client
        studio.jobs.close()
    Image.MAX_IMAGE_PIXELS = limit


def test_the_page_is_served_and_fetches_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "vii: edit images by example" in answer.text
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("run_history")
    assert not any(one["queue"] for one in config["dependencies"])
    assert all(one["api_visibility"] == "private" for one in config["dependencies"])
    assert "googleapis" not in answer.text + client.get("/theme.css").text


def test_the_page_takes_no_foreign_request_and_no_path(client, tmp_path):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/config", headers={"origin": "http://evil.example"}).status_code == 403
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    config = client.get("/config").json()
    look = next(one for one in config["dependencies"] if len(one["inputs"]) == 2 and len(one["outputs"]) == 1)
    given = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    body = {"data": [given, given], "fn_index": look["id"], "session_hash": "abc"}
    assert client.post("/gradio_api/run/predict", json=body).status_code == 403
    assert client.get(f"/gradio_api/file={secret}").status_code == 403


def test_what_the_page_would_never_send_leaves_no_traceback(client, capfd, caplog):
    config = client.get("/config").json()
    upload = client.post("/gradio_api/upload", files={"files": ("a.png", b"no picture")}).json()[0]
    file = {"path": upload, "meta": {"_type": "gradio.FileData"}}
    wrong = ["x" * 99, {"a": [1]}, [[1]], 1e308, -7, None, True, "\ud800\x1b[31m", file, [file], {"image": file}]
    json_ = {"content-type": "application/json"}
    answered = 0
    for one in config["dependencies"]:
        for value in [*wrong[one["id"] % 3 :: 3], file]:
            body = {"data": [value] * len(one["inputs"]), "fn_index": one["id"], "session_hash": f"s{one['id']}"}
            answer = client.post("/gradio_api/run/predict", content=json.dumps(body), headers=json_)
            answered += answer.status_code in (200, 500) and bool(answer.json())
    assert answered > 20
    for body in (b"", b"{}", b"[]", b"7", b'{"data": 3, "fn_index": 0}', b'{"fn_index": 99999, "data": []}'):
        for path in ("run/predict", "component_server", "cancel", "reset"):
            assert client.post(f"/gradio_api/{path}", content=body, headers=json_).status_code >= 200
    assert caplog.records  # it did go wrong
    told = capfd.readouterr().err + caplog.text
    assert "Traceback" not in told
    assert not {"\x1b", "\ud800"} & set(told)


def test_uploads_are_limited(client, monkeypatch):
    answer = client.post("/gradio_api/upload", files={"files": ("a.png", b"x" * 100)})
    assert answer.status_code == 200
    assert str(client.studio.folder) in answer.json()[0]
    assert client.post("/gradio_api/upload", files={"files": ("../../x.png", b"x")}).status_code == 200
    assert not (client.studio.folder.parent / "x.png").exists()
    answer = client.post("/gradio_api/upload", files={"files": ("a.png", b"x" * 60_000_001)})
    assert answer.status_code == 413


def test_the_guard_knows_every_route_of_this_gradio(client):
    """Whoever takes another version looks at what it offers anew, and says here what is refused."""
    found = {path.rstrip("/") or "/" for path in routes(client.app.app)}
    allowed = {path for path in found if PATHS.fullmatch(re.sub(r"{[^}]*}", "x", path))}
    assert len(allowed) > 20
    api = {
        "api/{api_name}", "call/{api_name}", "call/{api_name}/{event_id}", "call/v2/{api_name}",
        "call/v2/{api_name}/{event_id}", "custom_component/{id}/{environment}/{type}/{file_name}", "deep_link",
        "dev/reload", "file/{path:path}", "info", "openapi.json", "process_recording", "proxy={url_path:path}",
        "queue/data", "queue/join", "queue/status", "run/{api_name}", "runs", "stream/{event_id}",
        "stream/{event_id}/close",
        "stream/{session_hash}/{run}/{component_id}/playlist-file",
        "stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
        "stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}", "undo-vibe-edit", "vibe-code", "vibe-edit",
        "vibe-starter-queries",
    }  # fmt: skip
    others = {"/login", "/logout", "/monitoring", "/monitoring/{key}", "/monitoring/summary", "/openapi.json"}
    assert found - allowed == others | {f"/gradio_api/{path}" for path in api}


def routes(app):
    """Paths of an app, of those mounted in it, and of routers included in it."""
    for route in app.routes:
        inner = getattr(route, "original_router", None) or (route.app if type(route).__name__ == "Mount" else None)
        if inner is None:
            yield route.path
        elif hasattr(inner, "routes"):
            yield from routes(inner)
