"""The command line's client: what it takes for an answer, and what it says of everything else."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from lbflask.cli.api_client import ApiClient, ApiProblem, Unreachable, admin_url, segment, token_from
from tests.support.changes import property_test


@contextmanager
def answering(
    *pieces: bytes, path: Path | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says this to the first request and closes; its URL, and what it was asked."""
    heard: list[bytes] = []
    if path is None:
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}"
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        url = f"unix:{path}"

    def serve() -> None:
        connection = listener.accept()[0]
        with suppress(ssl.SSLError), tls.wrap_socket(connection, server_side=True) if tls else connection as peer:
            heard.append(peer.recv(65536))
            for piece in pieces:
                peer.sendall(piece)

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


#: httpcore leaves a unix socket to the garbage collector when it cannot connect.
UNIX_SOCKET_LEFT = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket .*family=1,")


@UNIX_SOCKET_LEFT
@pytest.mark.parametrize(
    "url",
    [
        "ftp://a",
        "nonsense",
        "http://",
        "http://a:x",
        "http://127.0.0.1:1",
        "http://a b",
        "http://xn--/",
        "unix:/missing",
    ],
)
def test_a_url_that_leads_nowhere_is_an_error(url: str) -> None:
    with pytest.raises(Unreachable):
        ApiClient(url).get("/state")


def test_a_stream_is_read_event_by_event_until_it_breaks_off() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    events = b'retry: 1000\n\n: still here\n\nid: 1-0\nevent: event\ndata: {"a": 1}\n\nevent: state\ndata: {}\n\n'
    with answering(head, events[:30], events[30:]) as (url, heard):
        stream = ApiClient(url).stream("/events/stream", "0-1")
        assert [next(stream), next(stream)] == [("event", "1-0", {"a": 1}), ("state", "1-0", {})]
        with pytest.raises(Unreachable):
            next(stream)
    assert b"\r\nLast-Event-ID: 0-1\r\n" in heard[0]


def test_an_error_has_the_reason_of_the_operating_system() -> None:
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1: connection refused$"):
        ApiClient("http://127.0.0.1:1").get("/state")


def test_a_server_that_stalls_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="timed out"):
            ApiClient(url).get("/state", timeout=0.05)


def test_a_server_certificate_is_verified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    for trusted in (True, False):
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        else:
            monkeypatch.delenv("SSL_CERT_FILE")
        with answering(response(b"{}"), tls=context) as (url, _):
            if trusted:
                assert ApiClient(url).get("/state") == {}
            else:
                with pytest.raises(Unreachable, match="certificate verify failed"):
                    ApiClient(url).get("/state")


@pytest.mark.parametrize("token", ["s€cret", "s\udcffcret"])
def test_neither_proxies_nor_odd_tokens_nor_names_in_the_url_change_the_request(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with answering(response(b"{}")) as (url, heard):
        assert ApiClient(url.replace("//", "//user:password@"), token).get("/pools?limit=2") == {}
    assert heard[0].startswith(b"GET /api/v1/pools?limit=2 HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer s" in heard[0]


def test_the_command_line_starts_without_its_http_client() -> None:
    code = "import sys, lbflask.cli; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


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


test_any_text_is_the_url_of_an_api_or_rejected = property_test("url")
