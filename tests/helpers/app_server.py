"""The app on a real port, for tests in a browser."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from mapping_stroke.app.server import App, AppSettings, make_asgi
from mapping_stroke.cohort.settings import Computation

TOKEN = "secret"


def settings(folder: Path, model: Path) -> AppSettings:
    return AppSettings(folder, computation=Computation(str(model), device="cpu"), open_browser=False)


@contextmanager
def running(folder: Path, model: Path) -> Iterator[str]:
    """Serve a results folder, and yield the address of the first page."""
    app = App(settings(folder, model))
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_asgi(app, TOKEN, port), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/{TOKEN}/"
    finally:
        server.should_exit = True
        thread.join()
        app.jobs.stop()
        app.group.end()
        listening.close()
