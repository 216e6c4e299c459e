"""The command line's client: what it takes for an answer, and what it says of everything else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lbflask.cli.api_client import ApiClient, ApiProblem, Unreachable, admin_url, segment, token_from


@contextmanager
def answering(*pieces: bytes, path: Path | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says this to the first request and closes; its URL, and what it was asked."""
    heard: list[bytes] = []
    if path is None:
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        url = f"unix:{path}"

    def serve() -> None:
        connection = listener.accept()[0]
        with connection:
            heard.append(connection.recv(65536))
            for piece in pieces:
                connection.sendall(piece)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield url, heard
        thread.join(5)


def response(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def test_a_document_is_asked_for_with_the_token() -> None:
    with answering(response(b'{"a": 1}')) as (url, heard):
        assert ApiClient(url, "secret").get("/state") == {"a": 1}
    assert heard[0].startswith(b"GET /api/v1/state HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in heard[0]


def test_a_unix_socket_is_a_url_too(tmp_path: Path) -> None:
    with answering(response(b'{"a": 1}'), path=tmp_path / "s") as (url, _):
        assert ApiClient(url).get("/state") == {"a": 1}


def test_a_refusal_is_told_with_its_detail() -> None:
    with answering(response(b'{"detail": "no"}', "412 Precondition Failed")) as (url, _):
        api = ApiClient(url)
        with pytest.raises(ApiProblem, match=r"^no$") as problem:
            api.request("POST", "/x", {"weight": 1})
    assert problem.value.status == 412


@pytest.mark.parametrize("said", [b"", b"SSH-2.0\r\n", response(b"<html>"), response(b"x", "500 Oh"), response(b"{")])
def test_whatever_else_answers_is_no_admin_api(said: bytes) -> None:
    with answering(said) as (url, _), pytest.raises(Unreachable):
        ApiClient(url).get("/state")


@pytest.mark.parametrize("url", ["ftp://a", "nonsense", "http://", "http://a:x", "http://127.0.0.1:1", "unix:/missing"])
def test_a_url_that_leads_nowhere_is_told(url: str) -> None:
    with pytest.raises(Unreachable):
        ApiClient(url).get("/state")


def test_a_stream_is_read_event_by_event_until_it_breaks_off() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    events = b'retry: 1000\n\n: still here\n\nid: 1-0\nevent: event\ndata: {"a": 1}\n\nevent: state\ndata: {}\n\n'
    with answering(head, events[:30], events[30:]) as (url, heard):
        stream = ApiClient(url).stream("/events/stream", "0-1")
        assert [next(stream), next(stream)] == [("event", "1-0", {"a": 1}), ("state", "", {})]
        with pytest.raises(Unreachable):
            next(stream)
    assert b"\r\nLast-Event-ID: 0-1\r\n" in heard[0]


@pytest.mark.parametrize("text", ["the-secret", "operator:alice:the-secret", " read:bob:the-secret\n"])
def test_a_token_is_its_secret_or_the_whole_of_it(text: str, tmp_path: Path) -> None:
    assert token_from({"LBFLASK_ADMIN_TOKEN": text}, None) == "the-secret"
    file = tmp_path / "token"
    file.write_text(text)
    assert token_from({"LBFLASK_ADMIN_TOKEN": "other"}, str(file)) == "the-secret"


def test_without_a_token_none_is_shown() -> None:
    assert token_from({}, None) == ""


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:8090", "http://127.0.0.1:8090"),
        ("0.0.0.0:1", "http://127.0.0.1:1"),
        ("[::]:1", "http://[::1]:1"),
        ("unix:/run/a", "unix:/run/a"),
    ],
)
def test_the_listener_of_the_configuration_is_a_url(bind: str, url: str) -> None:
    assert admin_url(bind) == url


def test_a_name_is_one_segment_of_a_path() -> None:
    assert segment("[::1]:80/..") == "%5B%3A%3A1%5D%3A80%2F.."
