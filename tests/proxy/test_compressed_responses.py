"""Compressed responses of backends, of files they name, and of error pages, by a dispatcher before real backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devtools.decoding import decoded
from devtools.scripted_backend import Peer, Script, answering, answering_always, answering_and_closing
from lbflask.core.answers import AnswerCause
from lbflask.core.buffering import BufferBudget, BufferingPolicy, BufferLimits
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.types import Fields
from lbflask.proxy.compressed_file_response import CompressedFileResponse
from lbflask.upstream.spool import BufferStore
from tests.proxy.test_compression import LEVELS, accepting, compression
from tests.proxy.test_dispatcher import Street, inbound
from tests.proxy.test_internal_files import files

TEXT = b"".join(b"line %d\n" % number for number in range(20_000))
SMALL = TEXT[:3000]


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: text/plain", *lines, "", ""]).encode()


def sized(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    return head(f"Content-Length: {len(body)}", *lines, status=status) + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return (
        head("Transfer-Encoding: chunked", "Trailer: X-Sum")
        + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        + end
    )


def asked(coding: str, method: str = "GET", *more: tuple[str, str]) -> Any:
    return inbound(method, fields=[*accepting(coding), *more])


def value(fields: Fields, name: str) -> str | None:
    return next((value for key, value in fields if key.lower() == name.lower()), None)


@pytest.mark.parametrize(
    ("script", "length"),
    [
        (answering(sized(SMALL)), len(SMALL)),
        (answering(sized(TEXT)), len(TEXT)),
        (answering(chunked(SMALL)), len(SMALL)),
        (answering(chunked(SMALL, TEXT[3000:])), len(TEXT)),
        (answering_and_closing(head("Connection: close") + TEXT), len(TEXT)),
    ],
)
@pytest.mark.parametrize("coding", LEVELS)
def test_the_client_decodes_what_the_backend_has_sent(street: Street, coding: str, script: Script, length: int) -> None:
    content = TEXT[:length]
    balancer = street.balancer(script, compression=compression())
    status, fields, body = balancer.ask(asked(coding))
    assert (status, value(fields, "Content-Encoding")) == (200, coding)
    assert decoded(coding, body) == content
    assert value(fields, "Content-Length") in (None, str(len(body)))
    assert value(fields, "Vary") == "Accept-Encoding"
    (event,) = balancer.events
    assert (event.sent, event.cut, event.status) == (len(body), "", 200)


def test_a_small_body_that_is_here_has_its_length_and_frees_its_backend(street: Street) -> None:
    balancer = street.balancer(answering_always(sized(SMALL)), compression=compression())
    for _ in range(2):
        _, fields, body = balancer.ask(asked("gzip"))
        assert value(fields, "Content-Length") == str(len(body))
    assert len(street.houses[0].connections) == 1


@pytest.mark.parametrize("pieces", [(SMALL,), (SMALL, TEXT)])
def test_trailers_follow_a_compressed_body_but_no_digests(street: Street, pieces: tuple[bytes, ...]) -> None:
    end = b"0\r\nX-Sum: 7\r\nContent-Digest: sha-256=:x:\r\n\r\n"
    balancer = street.balancer(answering(chunked(*pieces, end=end)), compression=compression())
    reply = balancer.dispatcher.dispatch(asked("gzip", "GET", ("TE", "trailers")))
    assert reply is not None
    assert decoded("gzip", b"".join(reply)) == b"".join(pieces)
    assert reply.trailers == [("X-Sum", "7")]
    assert value(reply.fields, "Content-Length") is None
    assert value(reply.fields, "Trailer") == "X-Sum"


def test_a_client_that_accepts_nothing_gets_the_bytes(street: Street) -> None:
    balancer = street.balancer(answering(sized(SMALL, 'ETag: "a"')), compression=compression())
    _, fields, body = balancer.ask(inbound())
    assert body == SMALL
    assert (value(fields, "ETag"), value(fields, "Vary")) == ('"a"', "Accept-Encoding")


def test_a_response_that_breaks_off_is_cut(street: Street) -> None:
    def break_off(peer: Peer) -> None:
        peer.read_request()
        peer.send(head("Content-Length: 90000") + TEXT[:40_000])

    balancer = street.balancer(break_off, compression=compression())
    reply = balancer.dispatcher.dispatch(asked("gzip"))
    assert reply is not None
    with pytest.raises(BrokenPipeError):
        list(reply)
    (event,) = balancer.events
    assert "closed the connection within its response" in event.cut


def test_a_client_that_leaves_is_noted(street: Street) -> None:
    balancer = street.balancer(answering(head("Content-Length: 900000") + TEXT), compression=compression())
    reply = balancer.dispatcher.dispatch(asked("gzip"))
    assert reply is not None
    next(reply)
    reply.close()
    assert balancer.events[0].cause is AnswerCause.CLIENT_LEFT


@pytest.mark.parametrize("memory", [1000, 1 << 20])
def test_a_buffered_response_is_compressed_behind_its_buffer(street: Street, memory: int) -> None:
    balancer = street.balancer(
        answering(chunked(SMALL, TEXT)),
        compression=compression(),
        buffering=BufferingPolicy(responses=BufferLimits(memory)),
        buffers=BufferStore(BufferBudget(1 << 22, 0)),
    )
    _, fields, body = balancer.ask(asked("gzip"))
    assert decoded("gzip", body) == SMALL + TEXT
    assert value(fields, "Content-Encoding") == "gzip"


def test_the_backend_gets_its_own_tag(street: Street) -> None:
    balancer = street.balancer(answering(sized(b"x")), compression=compression())
    balancer.ask(asked("gzip", "PUT", ("If-Match", 'W/"a"')))
    assert b'If-Match: "a"\r\n' in street.houses[0].received


def test_an_error_page_is_compressed(street: Street) -> None:
    page = ErrorPage("text/html", TEXT)
    rules: dict[str, Any] = {"pages": {503: page}, "pages_for_all": True}
    balancer = street.balancer(answering(sized(b"x", status="503 Down")), compression=compression(), **rules)
    status, fields, body = balancer.ask(asked("br"))
    assert (status, decoded("br", body)) == (503, TEXT)
    assert value(fields, "Content-Length") == str(len(body))


@pytest.mark.parametrize("size", [3000, 300_000])
def test_a_file_that_a_backend_names_is_compressed(street: Street, tmp_path: Path, size: int) -> None:
    content = (TEXT * 3)[:size]
    (tmp_path / "a.txt").write_bytes(content)
    response = sized(b"", "X-Accel-Redirect: /protected/a.txt")
    balancer = street.balancer(answering(response), compression=compression(), internal_files=files(tmp_path))
    _, fields, body = balancer.ask(asked("zstd"))
    assert decoded("zstd", body) == content
    assert (value(fields, "ETag") or "").startswith('W/"')
    assert value(fields, "Accept-Ranges") is None
    assert balancer.events[0].sent == len(body)


def test_a_file_whose_client_leaves_is_closed(street: Street, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT * 3)
    response = sized(b"", "X-Accel-Redirect: /protected/a.txt")
    balancer = street.balancer(answering(response), compression=compression(), internal_files=files(tmp_path))
    reply = balancer.dispatcher.dispatch(asked("zstd"))
    assert isinstance(reply, CompressedFileResponse)
    next(reply)
    reply.close()
    reply.close()
    assert [event.cause for event in balancer.events] == [AnswerCause.CLIENT_LEFT]


def test_a_file_that_becomes_shorter_is_cut(street: Street, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT * 3)
    response = sized(b"", "X-Accel-Redirect: /protected/a.txt")
    balancer = street.balancer(answering(response), compression=compression(), internal_files=files(tmp_path))
    reply = balancer.dispatcher.dispatch(asked("zstd"))
    assert reply is not None
    path.write_bytes(b"x")
    with pytest.raises(BrokenPipeError):
        list(reply)
    assert balancer.events[0].cause is AnswerCause.INTERNAL
