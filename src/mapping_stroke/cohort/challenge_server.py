"""The HTTP side of a grand-challenge.org service: `GET /health` and `POST /invoke`, one invocation at a time.

Threads answer requests. Invocations run in the thread that calls `Invocations.work_off`, the main thread of a program,
so that a signal ends them and nothing is left computing.
"""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from typing import Any, cast
from urllib.parse import urlsplit

from mapping_stroke.console import warn

LARGEST_BODY_BYTES = 1_000_000
"""The platform sends no body; more than this is not read."""
SECONDS_BETWEEN_LOOKS = 0.5
REPLY_SECONDS = 2.0
"""When the service ends, it waits this long for its last answer to be sent."""


@dataclass(frozen=True)
class Reply:
    """An answer: the status, the only part that the platform reads, and JSON values for people."""

    status: HTTPStatus
    values: Mapping[str, object]


class Invocations:
    """A service that listens once it is constructed, and is ready once `work_off` is called.

    Args:
        host: Address to listen on; `0.0.0.0` for all addresses of this machine.
        port: 0 for any free one.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = _Server((host, port), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> "Invocations":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # an invocation holds `busy`, and `replying` until its answer is sent
        for lock in (self._server.busy, self._server.replying):
            if lock.acquire(timeout=REPLY_SECONDS):  # the last answer is sent
                lock.release()
        self._server.shutdown()
        self._server.server_close()

    def work_off(self, invoke: Callable[[], Reply]) -> None:
        """Report health and call `invoke` for every `POST /invoke`, until `stop` is called or the thread interrupted.

        An error raised by `invoke` is answered with status 500, and the service waits for the next invocation.
        """
        self._server.ready.set()
        while (call := self._next_call()) is not None:
            try:
                call.set_result(invoke())
            except Exception as error:  # noqa: BLE001 - no case may end the service
                why = " ".join(str(error).split()) or type(error).__name__
                warn(why)
                call.set_result(Reply(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": why}))
            except BaseException:
                call.set_result(Reply(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "the service is being stopped"}))
                raise

    def _next_call(self) -> "Future[Reply] | None":
        """Wait for a call, waking up regularly, because a signal that arrives just before a wait does not end it."""
        while True:
            with suppress(Empty):
                return self._server.calls.get(timeout=SECONDS_BETWEEN_LOOKS)

    def stop(self) -> None:
        """Let `work_off` return once earlier invocations are done."""
        self._server.calls.put(None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a client that keeps its connection open does not keep the service

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.ready = threading.Event()
        self.busy = threading.Lock()
        self.replying = threading.Lock()
        self.calls: SimpleQueue[Future[Reply] | None] = SimpleQueue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report in one line, for example if a client disconnects before its answer."""
        warn(f"a request of {client_address[0]} ended with {type(sys.exception()).__name__}")


class _Handler(BaseHTTPRequestHandler):
    timeout = 60  # of one read or write, in seconds

    def do_GET(self) -> None:
        """Report whether the service is ready."""
        if self._path() != "/health":
            self._answer(Reply(HTTPStatus.NOT_FOUND, {"error": "expected GET /health or POST /invoke"}))
        elif self._service().ready.is_set():
            self._answer(Reply(HTTPStatus.OK, {"status": "ready"}))
        else:
            self._answer(_LOADING)

    def do_POST(self) -> None:
        """Queue the call, wait for it, answer."""
        self._drain()
        service = self._service()
        if self._path() != "/invoke":
            self._answer(Reply(HTTPStatus.NOT_FOUND, {"error": "expected GET /health or POST /invoke"}))
        elif not service.ready.is_set():
            self._answer(_LOADING)
        elif not service.busy.acquire(blocking=False):
            self._answer(Reply(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "an invocation is running; ask again later"}))
        else:
            call: Future[Reply] = Future()
            service.calls.put(call)
            reply = call.result()
            with service.replying:
                service.busy.release()  # before the client knows: it may invoke again at once
                self._answer(reply)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Log nothing: health checks come every second, and invocations log their own lines."""

    def _service(self) -> _Server:
        return cast(_Server, self.server)

    def _path(self) -> str:
        return urlsplit(self.path).path.rstrip("/")

    def _drain(self) -> None:
        """Read and ignore the body: closing a connection with unread bytes would lose the answer."""
        with suppress(ValueError):
            self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LARGEST_BODY_BYTES))

    def _answer(self, reply: Reply) -> None:
        content = json.dumps(reply.values).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


_LOADING = Reply(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "the model is being loaded"})
