"""The server of the app: pages, uploads, reviews and corrected masks, for a browser on this machine only."""

import os
import secrets
import socket
import webbrowser
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from mapping_stroke.app.folder import open_results
from mapping_stroke.app.guard import Guard, TooLargeError
from mapping_stroke.app.jobs import Jobs, Refresher
from mapping_stroke.app.uploads import store_uploads, uploads_of
from mapping_stroke.cohort.group import COHORT_COLUMNS
from mapping_stroke.cohort.regions import choose_atlas
from mapping_stroke.cohort.review import ReviewConflictError, rate_scan
from mapping_stroke.cohort.settings import NO_REGIONS, Computation, RegionOptions
from mapping_stroke.console import counted, say, warn
from mapping_stroke.errors import CaseError, FileError, MappingError, describe_failure
from mapping_stroke.report.html import asset, embedded_json, render

HOST = "127.0.0.1"
MOST_BYTES = 4_000_000_000
"""Of one drop."""
MOST_FILES = 20_000
"""Of one drop: a DICOM folder has hundreds."""
Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class AppSettings:
    """How the app is started.

    Attributes:
        folder: Results folder; a new one is made.
        port: Port on this machine; another one is taken if it is in use, and any free one for 0.
        computation: Model and how it is applied to scans that are dropped.
        regions: Atlas by whose regions their lesions are measured.
        show_head: Whether their pages show the whole head.
        open_browser: Whether to open the browser.
    """

    folder: Path
    port: int = 8765
    computation: Computation = field(default_factory=Computation)
    regions: RegionOptions = NO_REGIONS
    show_head: bool = False
    open_browser: bool = True


class App:
    """The state of the app: the results folder that is open, and the uploads in work.

    Args:
        settings: How it is started.
    """

    def __init__(self, settings: AppSettings) -> None:
        self.folder = open_results(settings.folder.absolute(), create=True)
        choose_atlas(settings.regions, COHORT_COLUMNS)  # refused here, and not for every scan
        self.jobs = Jobs(settings.computation, settings.regions, show_head=settings.show_head)
        self.group = Refresher(lambda: self.folder.refresh_group())

    def routes(self) -> list[Route]:
        """All addresses below the token."""
        return [
            Route("/", self.home),
            Route("/state", _told(self.state)),
            Route("/open", _told(self.open), methods=["POST"]),
            Route("/upload", _told(self.upload), methods=["POST"]),
            Route("/scan/{name:path}", _told(self.scan)),
            Route("/review/{name}", _told(self.review)),
            Route("/mask/{name}", _told(self.mask)),
            Route("/rate/{name}", _told(self.rate), methods=["POST"]),
            Route("/edit/{name}", _told(self.edit), methods=["POST"]),
        ]

    async def home(self, request: Request) -> Response:
        """The first page: a place to drop scans, and the list."""
        values = {"folder": str(self._path), "uploads": str(uploads_of(self._path))}
        scripts = [asset("common.js"), asset("app.js")]
        return HTMLResponse(render("app.html.j2", scripts=scripts, **values))

    async def state(self, request: Request) -> Response:
        """The folder, its scans and the uploads in work."""
        entries = await run_in_threadpool(self.folder.entries)
        return JSONResponse(
            {
                "folder": str(self._path),
                "scans": [asdict(entry) for entry in entries],
                "jobs": self.jobs.to_json(),
                "group": self._group_page(),
            }
        )

    async def open(self, request: Request) -> Response:
        """Open another results folder."""
        given = await _json(request)
        path = Path(str(given.get("folder", ""))).expanduser()
        if not path.is_absolute():
            raise CaseError(f"{path}: is not an absolute path; give the full path, for example /data/results")
        opened = await run_in_threadpool(open_results, path)
        await run_in_threadpool(self.group.flush)  # of the folder that is left
        self.folder = opened
        return JSONResponse({"folder": str(path)})

    async def upload(self, request: Request) -> Response:
        """Store what was dropped, and queue it."""
        async with request.form(max_files=MOST_FILES) as form:
            files = [
                (part.filename or "scan", part.file) for part in form.getlist("files") if isinstance(part, UploadFile)
            ]
            found = await run_in_threadpool(store_uploads, self._path, files)
        jobs = [self.jobs.add(name, path, self._path) for name, path in found.items()]
        return JSONResponse({"jobs": [job.number for job in jobs]})

    async def scan(self, request: Request) -> Response:
        """The page of a scan with the panel to review it, or a file of its results."""
        name = request.path_params["name"]
        name = await run_in_threadpool(self.folder.scan_of_page, name) or name
        try:
            page = await run_in_threadpool(self.folder.page, name)
        except CaseError:
            if name not in {entry.name for entry in self.folder.entries()}:
                return FileResponse(self.folder.file(name))
            raise
        root = f"/{request.path_params['token']}"
        panel = f'<script type="application/json" id="app">{embedded_json({"root": root, "name": name})}</script>'
        scripts = f"<script>\n{asset('common.js')}{asset('review.js')}\n</script>"
        return HTMLResponse(page.replace("</body>", f"{panel}{scripts}\n</body>"))

    async def review(self, request: Request) -> Response:
        """The review of a scan."""
        return JSONResponse(await run_in_threadpool(self.folder.review, request.path_params["name"]))

    async def mask(self, request: Request) -> Response:
        """The final mask."""
        packed = await run_in_threadpool(self.folder.shown_mask, request.path_params["name"])
        return Response(packed, media_type="application/gzip")

    async def rate(self, request: Request) -> Response:
        """Store a rating and a note."""
        given, name = await _json(request), request.path_params["name"]
        rating, note, revision = str(given.get("rating", "")), str(given.get("note", "")), _revision(given)
        review = await run_in_threadpool(rate_scan, self.folder.layout, name, rating, note, revision)
        self.group.change()
        return JSONResponse(asdict(review))

    async def edit(self, request: Request) -> Response:
        """Store a corrected mask."""
        packed, name = await request.body(), request.path_params["name"]
        revision = _revision(dict(request.query_params))
        review, warnings = await run_in_threadpool(self.folder.edit, name, packed, revision)
        self.group.change()
        regions, unknown = await run_in_threadpool(self.folder.corrected_regions, name)
        return JSONResponse({**asdict(review), "warnings": [*warnings, *unknown], "regions": regions})

    def _group_page(self) -> str | None:
        """The page of all scans, if there is one."""
        page = self.folder.layout.group.page
        return page if (self._path / page).is_file() else None

    @property
    def _path(self) -> Path:
        return self.folder.layout.folder


def make_asgi(app: App, token: str, port: int, most_bytes: int = MOST_BYTES) -> Guard:
    """The app behind its guard, as an ASGI application."""
    return Guard(Starlette(routes=[Mount("/{token}", routes=app.routes())]), token, port, most_bytes)


def serve(settings: AppSettings) -> None:
    """Serve the app until it is interrupted.

    Raises:
        MappingError: The folder holds something else.
        OSError: No port is free.
    """
    app = App(settings)
    listening = _listen(settings.port)
    port, token = listening.getsockname()[1], secrets.token_urlsafe(16)
    if settings.port not in (0, port):
        warn(f"port {settings.port} is in use, so the app takes {port}")
    address = f"http://{HOST}:{port}/{token}/"
    say(f"Results folder: {app.folder.layout.folder}")
    say(f"The app is at {address} on this machine only; Ctrl+C ends it")
    config = uvicorn.Config(make_asgi(app, token, port), log_level="error", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    if settings.open_browser and not webbrowser.open(address):
        say("No browser could be opened: open that address in one")
    try:
        server.run(sockets=[listening])
    finally:
        unfinished = app.jobs.unfinished
        app.jobs.stop()
        app.group.end()
        if unfinished:
            warn(f"{counted(unfinished, 'upload')} not finished; drop it again to segment it")


def _listen(port: int) -> socket.socket:
    """A listening socket on this port, or on a free one if it is in use."""
    for wanted in (port, 0):
        listening = socket.socket()
        if os.name == "posix":  # elsewhere it would let two programs share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, wanted))
        except OSError:
            listening.close()
            if wanted == 0:
                raise
            continue
        return listening
    raise AssertionError


def _told(answer: Answer) -> Answer:
    """Answer errors the user can fix with one line and a status that says whose turn it is."""

    @wraps(answer)
    async def answer_or_tell(request: Request) -> Response:
        try:
            return await answer(request)
        except ReviewConflictError as error:
            return JSONResponse({"error": str(error)}, 409)
        except TooLargeError as error:
            return JSONResponse({"error": str(error)}, 413)
        except MappingError as error:
            return JSONResponse({"error": str(error)}, 404 if isinstance(error, CaseError) else 400)
        except OSError as error:
            return JSONResponse({"error": f"{describe_failure(error)}; nothing was lost"}, 507)

    return answer_or_tell


async def _json(request: Request) -> dict[str, Any]:
    try:
        given = await request.json()
    except ValueError as error:
        raise FileError(f"the request is no JSON ({error}); reload the page") from error
    if not isinstance(given, dict):
        raise FileError("the request is no JSON object; reload the page")
    return given


def _revision(given: dict[str, Any]) -> int:
    try:
        return int(given["revision"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileError("the request names no revision of the review; reload the page") from error
