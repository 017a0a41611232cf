"""A small Hub on this machine: the part of its HTTP interface that huggingface_hub uses to push and pull files."""

import base64
import hashlib
import http.server
import json
import re
import sys
import threading
import urllib.parse
from typing import Any

import yaml

TOKEN = "hf_for_tests"


class Repo:
    """One repository: a list of commits, each a snapshot path -> bytes."""

    def __init__(self, private=False):
        self.private, self.gated = private, False
        self.commits, self.lfs, self.said = [], set(), {}
        self.commit({".gitattributes": b"*.safetensors filter=lfs\n"})

    def commit(self, changes):
        """Add a commit with these changes; returns its id."""
        files = {**(self.commits[-1][1] if self.commits else {}), **changes}
        state = repr((len(self.commits), sorted(files.items()))).encode()
        self.commits.append((hashlib.sha1(state).hexdigest(), files))
        return self.commits[-1][0]

    def at(self, revision):
        """(id, files) of a commit, or None."""
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


class Hub:
    """The server in a thread; a context manager.

    Attributes:
        repos: id -> `Repo`.
        requests: (method, path) of all that was asked, in order.
        upload_mode: what preupload answers for files that are not text: "regular" or "lfs".
        fail: a status to answer everything with, or None.
        nonsense: (status, body, headers) to answer everything with, or None.
        meanwhile: called while a push is under way, before its commit.
    """

    def __init__(self):
        self.repos, self.requests, self.blobs = {}, [], {}
        self.upload_mode, self.fail, self.meanwhile = "regular", None, lambda: None
        self.nonsense = None
        hub = self

        class Handler(_Handler):
            """The requests of one connection."""

        Handler.hub = hub
        self.server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked may have been killed, or have had enough of the answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.handle_all()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (the names that http.server looks for)

    def handle_all(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        self.query = urllib.parse.parse_qs(query)
        self.hub.requests.append((self.command, path))
        if self.hub.fail:
            return self.answer(self.hub.fail, {"error": "on purpose"})
        if self.hub.nonsense:
            status, body, headers = self.hub.nonsense
            return self.answer(status, body, **headers)
        for method, pattern, action in ROUTES:
            if self.command in method and (match := re.fullmatch(pattern, path)):
                return action(self, *map(urllib.parse.unquote, match.groups()))
        return self.answer(404, {"error": f"{self.command} {path} is not part of this Hub"})

    def answer(self, status, body=b"", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status, code):
        self.answer(status, {"error": code}, X_Error_Code=code)

    @property
    def may_write(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def repo(self, name):
        """The repository, or None after answering that there is none, as the Hub does for private ones too."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self.may_write):
            self.refuse(404 if self.may_write else 401, "RepoNotFound")
            return None
        return repo

    # --- the interface

    def create(self):
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if not self.may_write:
            return self.answer(401, {"error": "Invalid username or password."})
        if name in self.hub.repos:
            return self.answer(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.hub.repos[name] = Repo(private)
        return self.answer(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def info(self, name, revision="main"):
        if not (repo := self.repo(name)):
            return None
        if not (found := repo.at(revision)):
            return self.refuse(404, "RevisionNotFound")
        sized = "blobs" in self.query
        files = [
            {"rfilename": path} | ({"size": repo.said.get(path, len(data)), "blobId": oid(data)} if sized else {})
            for path, data in found[1].items()
        ]
        return self.answer(
            200, {"id": name, "modelId": name, "sha": found[0], "private": repo.private, "tags": [], "siblings": files}
        )

    def tree(self, name, revision):
        if not (repo := self.repo(name)):
            return None
        if not (found := repo.at(revision)):
            return self.refuse(404, "RevisionNotFound")
        files = [{"type": "file", "path": path, "size": len(data), "oid": oid(data)} for path, data in found[1].items()]
        return self.answer(200, files)

    def validate(self):
        content = json.loads(self.body)["content"]
        try:
            front = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", content, re.S).group(1))
            assert isinstance(front, dict)
            return self.answer(200, {"errors": [], "warnings": []})
        except (AttributeError, AssertionError, yaml.YAMLError) as error:
            return self.answer(400, {"errors": [{"message": str(error)}], "warnings": []})

    def preupload(self, name, revision):
        if not self.repo(name):
            return None
        self.hub.meanwhile()
        there = self.repo(name).at(revision)[1]
        answers = []
        for file in json.loads(self.body)["files"]:
            mode = "regular" if file["path"].endswith(".md") else self.hub.upload_mode
            known = {"oid": oid(there[file["path"]])} if file["path"] in there else {}
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **known})
        return self.answer(200, {"files": answers})

    def batch(self, name):
        asked = json.loads(self.body)
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}} for item in asked["objects"]
        ]
        return self.answer(200, {"transfer": "basic", "objects": objects})

    def put_blob(self, digest):
        if hashlib.sha256(self.body).hexdigest() != digest:
            return self.answer(422)
        self.hub.blobs[digest] = self.body
        return self.answer(200)

    def get_blob(self, digest):
        assert "Authorization" not in self.headers, "the token is for the Hub alone"
        return self.answer(200, self.hub.blobs[digest], ETag=f'"{digest}"')

    def commit(self, name, revision):
        if not self.may_write:
            return self.answer(403, {"error": "Forbidden"})
        repo, changes = self.repo(name), {}
        lines = [json.loads(line) for line in self.body.splitlines()]
        if lines[0]["value"].get("parentCommit", repo.at(revision)[0]) != repo.at(revision)[0]:
            return self.answer(412, {"error": "A commit has happened since. Please refresh and try again."})
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                repo.lfs.add(value["path"])
                changes[value["path"]] = self.hub.blobs[value["oid"]]
            else:
                assert (line["key"], value["encoding"]) == ("file", "base64")
                changes[value["path"]] = base64.b64decode(value["content"])
        commit = repo.commit(changes)
        return self.answer(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def resolve(self, name, revision, path):
        if not (repo := self.repo(name)):
            return None
        if repo.gated:
            return self.refuse(403, "GatedRepo")
        if not (found := repo.at(revision)):
            return self.refuse(404, "RevisionNotFound")
        if path not in found[1]:
            return self.refuse(404, "EntryNotFound")
        data = found[1][path]
        commit = {"X_Repo_Commit": found[0]}
        if path not in repo.lfs:
            return self.answer(200, data, ETag=f'"{oid(data)}"', **commit)
        digest = hashlib.sha256(data).hexdigest()
        self.hub.blobs[digest] = data
        linked = {"X_Linked_ETag": f'"{digest}"', "X_Linked_Size": str(len(data))}
        # On another host, as the Hub's large files are.
        elsewhere = f"http://localhost:{self.hub.server.server_port}/lfs/{digest}"
        return self.answer(302, Location=elsewhere, **linked, **commit)


def oid(data):
    """What git calls a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


NAME, PART = r"([^/]+/[^/]+)", r"([^/]+)"
ROUTES = [
    ("POST", "/api/repos/create", _Handler.create),
    ("GET", f"/api/models/{NAME}", _Handler.info),
    ("GET", f"/api/models/{NAME}/revision/{PART}", _Handler.info),
    ("GET", f"/api/models/{NAME}/tree/{PART}", _Handler.tree),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("POST", f"/api/models/{NAME}/preupload/{PART}", _Handler.preupload),
    ("POST", f"/{NAME}\\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", f"/lfs/{PART}", _Handler.put_blob),
    (("GET", "HEAD"), f"/lfs/{PART}", _Handler.get_blob),
    ("POST", f"/api/models/{NAME}/commit/{PART}", _Handler.commit),
    (("GET", "HEAD"), f"/{NAME}/resolve/{PART}/(.+)", _Handler.resolve),
]
