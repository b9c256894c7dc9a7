"""The HTTP service: healthy once ready, one invocation at a time, no case ends it."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import pytest

from mapping_stroke.cohort import challenge_server as invocations
from mapping_stroke.cohort.challenge_server import Invocations, Reply


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def done() -> Reply:
    return Reply(HTTPStatus.CREATED, {"cases": []})


@contextmanager
def working(invoke: Callable[[], Reply]) -> Iterator[int]:
    """A service whose invocations another thread works off; yields its port."""
    with Invocations("127.0.0.1", 0) as service:
        worker = threading.Thread(target=service.work_off, args=(invoke,))
        worker.start()
        try:
            yield service.port
        finally:
            service.stop()
            worker.join()


def held_up() -> tuple[threading.Event, threading.Event, Callable[[], Reply]]:
    """An invocation that tells that it has begun, and ends when it may go on."""
    begun, go_on = threading.Event(), threading.Event()

    def invoke() -> Reply:
        begun.set()
        assert go_on.wait(20)
        return done()

    return begun, go_on, invoke


def test_it_is_healthy_once_ready_and_not_before() -> None:
    with Invocations("127.0.0.1", 0) as service:
        assert ask(service.port, "GET", "/health") == (503, {"error": "the model is being loaded"})
        assert ask(service.port, "POST", "/invoke")[0] == 503
    with working(done) as port:
        assert ask(port, "GET", "/health") == (200, {"status": "ready"})


def test_an_invocation_is_answered_as_created_with_or_without_a_body() -> None:
    with working(done) as port:
        assert ask(port, "POST", "/invoke") == (201, {"cases": []})
        assert ask(port, "POST", "/invoke/?case=1", b'{"any": "thing"}' * 1000) == (201, {"cases": []})


def test_other_paths_and_methods_are_refused() -> None:
    with working(done) as port:
        for method, path in (("GET", "/invoke"), ("GET", "/"), ("POST", "/health")):
            assert ask(port, method, path) == (404, {"error": "expected GET /health or POST /invoke"})


def test_an_error_is_answered_and_does_not_end_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[Any] = [ValueError("no\nscan"), MemoryError(), done()]

    def invoke() -> Reply:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    with working(invoke) as port:
        assert ask(port, "POST", "/invoke") == (500, {"error": "no scan"})
        assert ask(port, "POST", "/invoke") == (500, {"error": "MemoryError"})
        assert ask(port, "POST", "/invoke") == (201, {"cases": []})
    assert "warning: no scan\n" in capsys.readouterr().err


def test_while_one_invocation_runs_a_second_is_refused_and_health_is_told() -> None:
    begun, go_on, invoke = held_up()
    with working(invoke) as port:
        first: list[Any] = []
        asking = threading.Thread(target=lambda: first.append(ask(port, "POST", "/invoke")))
        asking.start()
        assert begun.wait(20)
        assert ask(port, "GET", "/health")[0] == 200
        assert ask(port, "POST", "/invoke") == (503, {"error": "an invocation is running; ask again later"})
        go_on.set()
        asking.join()
        assert first == [(201, {"cases": []})]
        assert ask(port, "POST", "/invoke")[0] == 201


def test_whoever_has_an_answer_may_invoke_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = invocations._Handler._answer

    def answer_and_linger(handler: invocations._Handler, reply: Reply) -> None:
        answer(handler, reply)
        handler.wfile.flush()
        time.sleep(0.3)

    monkeypatch.setattr(invocations._Handler, "_answer", answer_and_linger)
    with working(done) as port:
        assert [ask(port, "POST", "/invoke")[0] for _ in range(3)] == [201, 201, 201]


def test_whoever_waits_is_told_that_the_service_is_being_stopped() -> None:
    class StoppedHere(BaseException):
        pass

    def invoke() -> Reply:
        raise StoppedHere

    answers: list[Any] = []

    def ask_once_ready(port: int) -> None:
        while ask(port, "GET", "/health")[0] != 200:
            pass
        answers.append(ask(port, "POST", "/invoke"))

    with Invocations("127.0.0.1", 0) as service:
        asking = threading.Thread(target=ask_once_ready, args=(service.port,))
        asking.start()
        with pytest.raises(StoppedHere):
            service.work_off(invoke)
    asking.join()
    assert answers == [(503, {"error": "the service is being stopped"})]


def test_a_client_that_goes_away_does_not_end_the_service() -> None:
    begun, go_on, invoke = held_up()
    with working(invoke) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /invoke HTTP/1.0\r\n\r\n")
            assert begun.wait(20)
        go_on.set()
        for _ in range(100):  # until the first one's answer was given up
            if (status := ask(port, "POST", "/invoke")[0]) != 503:
                break
        assert status == 201


def test_a_port_that_is_taken_is_an_error_of_the_system() -> None:
    with Invocations("127.0.0.1", 0) as service, pytest.raises(OSError, match="in use"):
        Invocations("127.0.0.1", service.port)
