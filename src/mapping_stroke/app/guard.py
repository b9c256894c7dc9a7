"""Who may talk to the app: only a page of the app itself, in a browser on this machine, that knows the token."""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src data:; connect-src 'self' data: blob:; worker-src blob:; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),  # it would tell the token
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True)
class Guard:
    """Middleware that refuses everything but requests of the app's own pages.

    Attributes:
        app: The application.
        token: Secret that is the first part of every address.
        port: Port of the server.
        most_bytes: Longest body of a request.
    """

    app: Asgi
    token: str
    port: int
    most_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http":  # of lifespan
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal:
            status, why = refusal
            await PlainTextResponse(f"{why}\n", status)(scope, receive, _with_headers(send))
            return
        await self.app(scope, _limited(receive, self.most_bytes), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        hosts = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        if headers.get("host") not in hosts:  # a name that somebody else lets point to this machine
            return 403, "this address is not the app's; open the one that `mapping app` printed"
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in hosts}:
            return 403, "requests of other pages are refused"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return 403, "requests of other pages are refused"
        given = scope["path"].split("/")[1]
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return 403, "the address lacks the token of this session; open the one that `mapping app` printed"
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.most_bytes:
            return 413, f"{int(length) / 1e9:.1f} GB are too much at once, expected at most {self.most_bytes / 1e9:.1f}"
        return None


class TooLargeError(Exception):
    """A body without a declared length is longer than allowed."""


def _limited(receive: Receive, most_bytes: int) -> Receive:
    taken = 0

    async def receive_some() -> MutableMapping[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most_bytes:
            raise TooLargeError(f"the upload is larger than {most_bytes / 1e9:.1f} GB")
        return message

    return receive_some


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return send_with_headers
