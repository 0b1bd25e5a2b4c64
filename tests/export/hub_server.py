"""A hub on this machine: the calls of huggingface_hub that push and pull need, and no more."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "hf_test"


class Hub(ThreadingHTTPServer):
    """Repositories in memory.

    Attributes:
        files: Content by repository, commit and name.
        newest: Commit by repository and branch.
        private: Repositories that a token opens.
        calls: Method and path of each call.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.newest, self.private, self.blobs, self.calls = {}, {}, set(), {}, []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repository, files, branch="main"):
        """Add a commit with those files on top of the branch; its hash."""
        before = self.files[repository].get(self.newest[repository].get(branch), {})
        content = {**before, **files}
        told = repr(sorted(content.items())) + str(len(self.files[repository]))
        commit = hashlib.sha1(told.encode()).hexdigest()
        self.files[repository][commit] = content
        self.newest[repository][branch] = commit
        return commit

    def create(self, repository):
        self.files[repository], self.newest[repository] = {}, {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_POST(self):
        self._answer(self.rfile.read(int(self.headers["Content-Length"] or 0)))

    def do_PUT(self):
        self._answer(self.rfile.read(int(self.headers["Content-Length"] or 0)))

    def do_GET(self):
        self._answer(b"")

    def do_HEAD(self):
        self._answer(b"")

    def _answer(self, body):
        path = unquote(self.path.partition("?")[0])
        self.server.calls.append(f"{self.command} {path}")
        for pattern, answer in _ROUTES.items():
            found = re.fullmatch(pattern, f"{self.command} {path}")
            if found:
                return answer(self, *found.groups(), body)
        return self.send(404, {"error": "no such call"})

    def send(self, status, value, **headers):
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def create(self, body):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.send(401, {"error": "Invalid username or password."})
        asked = json.loads(body)
        repository = f"{asked['organization']}/{asked['name']}"
        if repository in self.server.files:
            told = {"error": "You already created this model repo", "url": f"{self.server.address}/{repository}"}
            return self.send(409, told)
        self.server.create(repository)
        if asked.get("private") or asked.get("visibility") == "private":
            self.server.private.add(repository)
        return self.send(200, {"url": f"{self.server.address}/{repository}"})

    def validate(self, body):
        content = json.loads(body)["content"]
        is_whole = re.match(r"---\n(.*\n)+---\n", content)
        return self.send(200, {"errors": [] if is_whole else [{"message": "no metadata"}], "warnings": []})

    def preupload(self, repository, branch, body):
        names = [file["path"] for file in json.loads(body)["files"]]
        modes = {name: "lfs" if name.endswith(".onnx") else "regular" for name in names}
        files = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
        self.send(200, {"files": files})

    def batch(self, repository, body):
        found = []
        for each in json.loads(body)["objects"]:
            actions = {"upload": {"href": f"{self.server.address}/lfs/{each['oid']}"}}
            found.append({"oid": each["oid"], "size": each["size"], "actions": actions})
        self.send(200, {"transfer": "basic", "objects": found})

    def upload(self, digest, body):
        assert hashlib.sha256(body).hexdigest() == digest
        self.server.blobs[digest] = body
        self.send(200, {})

    def make_commit(self, repository, branch, body):
        files = {}
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
        commit = self.server.commit(repository, files, branch)
        address = f"{self.server.address}/{repository}/commit/{commit}"
        self.send(200, {"success": True, "commitOid": commit, "commitUrl": address})

    def info(self, repository, revision, body):
        commit = self._commit(repository, revision)
        if commit:
            self.send(200, {"id": repository, "modelId": repository, "sha": commit, "tags": [], "siblings": []})

    def resolve(self, repository, revision, name, body):
        commit = self._commit(repository, revision)
        if not commit:
            return None
        content = self.server.files[repository][commit].get(name)
        told = {"X_Repo_Commit": commit}
        if content is None:
            return self.send(404, {}, X_Error_Code="EntryNotFound", **told)
        return self.send(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', **told)

    def _commit(self, repository, revision):
        """The commit of a revision; what is wrong is sent."""
        is_hidden = repository in self.server.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"
        if repository not in self.server.files or is_hidden:
            return self.send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        commit = self.server.newest[repository].get(revision, revision)
        if commit not in self.server.files[repository]:
            return self.send(404, {"error": "no such revision"}, X_Error_Code="RevisionNotFound")
        return commit


_REPOSITORY = r"([\w.-]+/[\w.-]+)"
_ROUTES = {
    r"POST /api/repos/create": _Handler.create,
    r"POST /api/validate-yaml": _Handler.validate,
    rf"POST /api/models/{_REPOSITORY}/preupload/(.+)": _Handler.preupload,
    rf"POST /api/models/{_REPOSITORY}/commit/(.+)": _Handler.make_commit,
    rf"POST /{_REPOSITORY}\.git/info/lfs/objects/batch": _Handler.batch,
    r"PUT /lfs/(\w+)": _Handler.upload,
    rf"GET /api/models/{_REPOSITORY}/revision/(.+)": _Handler.info,
    rf"(?:GET|HEAD) /{_REPOSITORY}/resolve/([^/]+)/(.+)": _Handler.resolve,
}


@contextmanager
def serving():
    """A hub that answers while the block runs."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
