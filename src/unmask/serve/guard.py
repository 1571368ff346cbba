"""Who is let in: every rule of it.

A page on another site can send requests to an address of this machine, and a name of its own can
lead there (DNS rebinding), so that the browser takes the two for one site.  So the name that a
request was sent to has to be one of ours, and what does anything needs a secret that only the page
which was opened here knows.
"""

import hmac
import ipaddress
import secrets
import socket
from email.message import Message
from typing import NamedTuple

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SMALL, LARGE = 1 << 20, 8 << 20  # bytes of a request, and of one that brings a file
LARGER = "/load"
HEADERS = {
    # nothing from elsewhere, nothing inline, and no page around this one
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refusal(NamedTuple):
    """A status of HTTP, and a sentence."""

    status: int
    why: str


class Guard:
    """Of a server that is bound to `host`, whose address is `bound`."""

    def __init__(self, host: str, bound: str = ""):
        self.token = secrets.token_urlsafe(24)
        self.names = set(LOOPBACK)
        if host not in LOOPBACK:
            self.names |= {host.lower(), socket.gethostname().lower(), bound.lower()} - {""}
        # bound to all addresses: one that is a number is no name that leads elsewhere tomorrow
        self.numbers = host in ("0.0.0.0", "::")

    def known(self, said: str) -> bool:
        """Whether a Host header, with or without a port, names this server."""
        name, _, port = said.lower().rpartition(":")
        if not name or not port.isdigit():
            name = said.lower()
        bare = name.removeprefix("[").removesuffix("]")
        if bare in self.names:
            return True
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            return False
        return self.numbers

    def of_page(self, headers: Message) -> Refusal | None:
        """Why a request for a file of the page is refused; None: it is not."""
        hosts = headers.get_all("Host") or []
        if len(hosts) != 1 or not self.known(hosts[0].strip()):
            return Refusal(403, "this server has another name: open the address that it printed")
        origins = headers.get_all("Origin") or []
        if origins and origins != [f"http://{hosts[0].strip()}"]:
            return Refusal(403, "requests of other sites are refused")
        return None

    def of_work(self, path: str, headers: Message) -> Refusal | None:
        """Why a request for work is refused; None: it is not, and has a length that is allowed."""
        refused = self.of_page(headers)
        if refused is not None:
            return refused
        # a link elsewhere may lead to the page, but only the page asks for work
        if headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return Refusal(403, "requests of other sites are refused")
        given = headers.get("X-Token", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self.token.encode()):
            return Refusal(401, "the token is missing or wrong: open the address that was printed")
        # no page of another site can send this without asking first, and is never answered
        if headers.get_content_type() != "application/json" or "Content-Type" not in headers:
            return Refusal(415, "a request is JSON: say Content-Type: application/json")
        sizes = headers.get_all("Content-Length") or []
        if len(sizes) != 1 or not sizes[0].isdecimal() or "Transfer-Encoding" in headers:
            return Refusal(411, "a request says its length: give one Content-Length")
        most = LARGE if path == LARGER else SMALL
        if len(sizes[0]) > 12 or int(sizes[0]) > most:
            return Refusal(413, f"a request has at most {most:,} bytes: send less")
        return None
