"""A Hub of one machine: what huggingface_hub asks of it to push and to fetch, over HTTP."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

TOKEN = "hf_thetokenofthistest"


class Hub(ThreadingHTTPServer):
    """`repos`: {name: {"private", "refs": {branch: commit}, "commits": {commit: {path: bytes}}}}.

    `large`: paths that are kept as Git LFS does.  `served`: {path: bytes} that is served in the
    place of what is stated.  `sizes`: {path: bytes} that are stated.  `full`: no object is taken.
    `asked`: what was asked.  `then`: {path: what is done before that file is served}.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos, self.objects, self.asked = {}, {}, []
        self.large, self.served, self.sizes, self.full = set(), {}, {}, False
        self.then = {}

    def commit(self, name, files, branch="main", private=False):
        """Add files, and return the commit."""
        repo = self.repos.setdefault(name, {"private": private, "refs": {}, "commits": {}})
        before = repo["commits"].get(repo["refs"].get(branch), {})
        sha = hashlib.sha1(repr(sorted((before | files).items())).encode()).hexdigest()
        repo["commits"][sha], repo["refs"][branch] = before | files, sha
        return sha

    def stated(self, path, content):
        """What the Hub says of a file."""
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        more = {"lfs": lfs | {"pointerSize": 134}} if path in self.large else {}
        size = self.sizes.get(path, len(content))
        return {"rfilename": path, "size": size, "blobId": blob} | more


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        body, path = self.body(), unquote(urlparse(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if path == "/api/agent-harnesses":
            return self.answer({}, 404)
        if path == "/api/validate-yaml":
            known = "license: nonsense" not in json.loads(body)["content"]
            return self.answer(
                {"errors": [] if known else [{"message": '"license" must be one of a list'}]},
                200 if known else 400,
            )
        if path.startswith("/objects/"):  # an address that is a secret itself
            self.server.objects[path.rpartition("/")[2]] = body
            return self.answer({}, 507 if self.server.full else 200)
        if self.command == "POST" and not allowed:
            return self.answer({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name.startswith("others/"):
                return self.answer({"error": "You have no rights to others"}, 403)
            status = 409 if name in self.server.repos else 200
            private = asked.get("visibility") == "private"
            self.server.commit(name, {}, private=private) if status == 200 else None
            return self.answer({"url": f"{self.server.url}/{name}", "name": name}, status)
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/.]+)(?:\.git)?(?:/([\w-]+)/(.*))?", path)
        if found is None or found[1] not in self.server.repos:
            return self.answer({}, 404, X_Error_Code="RepoNotFound")
        repo, (name, verb, rest) = self.server.repos[found[1]], found.groups()
        if repo["private"] and not allowed:
            return self.answer({}, 401, X_Error_Code="RepoNotFound")
        getattr(self, verb or "revision")(name, repo, rest or "main", body)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def preupload(self, name, repo, rest, body):
        files = json.loads(body)["files"]
        for one in files:
            one["uploadMode"] = "lfs" if one["path"] in self.server.large else "regular"
        self.answer({"files": [one | {"shouldIgnore": False, "oid": None} for one in files]})

    def info(self, name, repo, rest, body):
        """/info/lfs/objects/batch: where large files go."""
        objects = json.loads(body)["objects"]
        for one in objects:
            one["actions"] = {"upload": {"href": f"{self.server.url}/objects/{one['oid']}"}}
        self.answer({"transfer": "basic", "objects": objects})

    def commit(self, name, repo, rest, body):
        files = {}
        for row in map(json.loads, body.splitlines()):
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        sha = self.server.commit(name, files, rest)
        url = f"{self.server.url}/{name}/commit/{sha}"
        self.answer({"success": True, "commitOid": sha, "commitUrl": url})

    def revision(self, name, repo, rest, body):
        sha = repo["refs"].get(rest, rest)
        if sha not in repo["commits"]:
            return self.answer({}, 404, X_Error_Code="RevisionNotFound")
        siblings = [self.server.stated(*one) for one in repo["commits"][sha].items()]
        about = {"id": name, "modelId": name, "sha": sha, "private": repo["private"]}
        self.answer(about | {"siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def resolve(self, name, repo, rest, body):
        revision, _, path = rest.partition("/")
        sha = repo["refs"].get(revision, revision)
        content = repo["commits"].get(sha, {}).get(path)
        if content is None:
            return self.answer({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        about = self.server.stated(path, content)
        etag = about["lfs"]["sha256"] if "lfs" in about else about["blobId"]
        served = self.server.served.get(path, content)
        if self.command == "GET":
            self.server.then.pop(path, lambda: None)()
        self.answer(served, ETag=f'"{etag}"', X_Repo_Commit=sha)

    def log_message(self, *args):
        pass


@contextmanager
def running():
    """A Hub on a port of this machine."""
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()
