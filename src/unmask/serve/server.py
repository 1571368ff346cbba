"""The server: files of the page to whoever names it rightly, work to whoever has the token."""

import base64
import binascii
import json
import select
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

from unmask.report.page import SHARED, look
from unmask.serve.asking import Ask, Limits, chosen, fit, in_a_file, odds, opened
from unmask.serve.guard import HEADERS, LARGER, SMALL, Guard, Refusal
from unmask.serve.models import Served
from unmask.serve.work import Busy, Task, Worker

CLIENTS = 64  # connections at a time
WAITS = 30  # seconds for a client that says nothing
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PLAYER = "player"  # of reports, too
SCRIPTS = ("page", "editors", "reveal", "sequences", "pictures", "tables")
PAGES = {"/": "index.html", "/page.css": "page.css"}
PAGES |= {f"/{name}.js": f"{name}.js" for name in (*SCRIPTS, PLAYER)}
JSON = "application/json"


class Server(ThreadingHTTPServer):
    """Of some models, on `host` and `port` (0: any).  OSError if that is taken."""

    daemon_threads, block_on_close = True, False
    request_queue_size = CLIENTS

    def __init__(self, models: list[Served], host: str, port: int, limits: Limits):
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), Handler)
        self.models, self.limits = models, limits
        self.guard, self.worker = Guard(host, str(self.server_address[0])), Worker()
        self.slots = threading.BoundedSemaphore(CLIENTS)
        self.pages = {path: content_of(name) for path, name in PAGES.items()}

    @property
    def url(self) -> str:
        """With the token after the #, which browsers do not send and nobody logs."""
        host, port = self.server_address[:2]
        host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(str(host), host)
        shown = f"[{host}]" if ":" in str(host) else host
        return f"http://{shown}:{port}/#{self.guard.token}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self.slots.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.server_close()
        self.worker.close()


def content_of(name: str) -> tuple[str, bytes]:
    """The type and content of a file of the page; its look and its player are those of reports."""
    suffix = Path(name).suffix
    if name == f"{PLAYER}.js":
        content = look(name)
    else:
        content = files("unmask.serve").joinpath("page", name).read_text(encoding="utf-8")
    if suffix == ".css":
        content = SHARED + content
    return f"{TYPES[suffix]}; charset=utf-8", content.encode()


class Handler(BaseHTTPRequestHandler):
    """A connection."""

    server: Server  # pyrefly: ignore
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "unmask", ""
    timeout = WAITS

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: an address has no secret, but nobody reads it either."""

    def do_GET(self) -> None:
        refused = self.server.guard.of_page(self.headers)
        if refused is None and self.path not in self.server.pages:
            refused = Refusal(404, "there is no such page")
        if refused is not None:
            self.refuse(refused)
            return
        self.answer(200, *self.server.pages[self.path])

    def do_POST(self) -> None:
        refused = self.server.guard.of_work(self.path, self.headers)
        if refused is None and self.path not in WORK:
            refused = Refusal(404, "there is no such work")
        if refused is not None:
            self.pass_over()
            self.refuse(refused)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            self.refuse(Refusal(400, "the request is no JSON"))
            return
        try:
            WORK[self.path](self, said)
        except Busy:
            self.refuse(Refusal(429, "another request is at work: try again when it is done"))
        except ValueError as error:
            self.refuse(Refusal(400, " ".join(str(error).split())[:1000]))

    def pass_over(self) -> None:
        """Read a small body that is refused: what is left unread makes the answer get lost."""
        size = self.headers.get("Content-Length", "")
        if size.isdecimal() and len(size) < 10 and int(size) <= SMALL:
            self.rfile.read(int(size))

    # ------------------------------------------------------------ work

    def tell(self, said: Any) -> None:
        """What models there are."""
        self.send({"models": [one.facts() for one in self.server.models]} | self.limits())

    def limits(self) -> dict:
        return {"limits": self.server.limits._asdict()}

    def open(self, said: Any) -> None:
        """How what is edited is read: its cells, which of them are holes."""
        served = chosen(self.server.models, said)
        fit({"edit": dict}, said)
        source, _, _ = opened(served, said["edit"], self.server.limits)
        self.send({"board": served.editor.board(source)})

    def load(self, said: Any) -> None:
        """A file of the user's, as the page edits it."""
        served = chosen(self.server.models, said)
        fit({"name": str, "file": str}, said)
        try:
            content = base64.b64decode(said["file"], validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the file is no base64") from None
        suffix = Path(said["name"]).suffix.lower()
        if suffix not in served.editor.takes.split(","):
            raise ValueError(f"a file that ends in {served.editor.takes} is taken here")
        edit = in_a_file(f"file{suffix}", content, served.editor.loaded)
        # what asks for work holds it, and settings
        if len(json.dumps(edit, ensure_ascii=False).encode()) > SMALL - (4 << 10):
            raise ValueError(
                f"{said['name']} is too long for the page, which sends at most {SMALL:,} bytes: "
                "use unmask fill"
            )
        self.send({"edit": edit})

    def run(self, said: Any) -> None:
        """Fill or sample, step by step."""
        self.stream(Ask(self.server.models, said, self.server.limits).run)

    def odds(self, said: Any) -> None:
        """How probable the values of each hole are."""
        served = chosen(self.server.models, said)
        fit({"edit": dict}, said)
        source, _, _ = opened(served, said["edit"], self.server.limits)
        self.stream(lambda task: odds(served, source, task, self.server.limits))

    # ------------------------------------------------------------ answers

    def stream(self, work: Callable[[Task], None]) -> None:
        """Lines of JSON, as they are said.  A client that leaves stops the work."""
        task = self.server.worker.begin(work)
        try:
            self.begin(200, "application/x-ndjson", {"Transfer-Encoding": "chunked"})
            for line in task.said():
                if line is None:
                    if self.left():
                        return
                    continue
                content = json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
                self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            task.stop.set()

    def left(self) -> bool:
        """Whether the client has closed the connection."""
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        self.close_connection = not self.connection.recv(1, socket.MSG_PEEK)
        return self.close_connection

    def send(self, content: dict) -> None:
        self.answer(200, JSON, json.dumps(content).encode())

    def refuse(self, refusal: Refusal) -> None:
        self.close_connection = True  # what was not read is not taken for another request
        content = json.dumps({"error": refusal.why}).encode()
        self.answer(refusal.status, JSON, content)

    def answer(self, status: int, type: str, content: bytes) -> None:
        self.begin(status, type, {"Content-Length": str(len(content))})
        self.wfile.write(content)

    def begin(self, status: int, type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        if self.close_connection:
            headers = headers | {"Connection": "close"}
        for name, value in {"Content-Type": type, **HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


WORK: dict[str, Callable[[Handler, Any], None]] = {
    "/models": Handler.tell,
    "/open": Handler.open,
    LARGER: Handler.load,
    "/run": Handler.run,
    "/odds": Handler.odds,
}
