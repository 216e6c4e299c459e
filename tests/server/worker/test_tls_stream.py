"""What a TLS stream knows of its connection."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from devtools.certificates import Authority
from lbflask.server.worker.stream import NO_TLS, Stream, TlsFacts
from lbflask.server.worker.tls_stream import CHALLENGE_PROTOCOL, TlsStream


def served(directory: Path, *, with_certificate: bool) -> TlsFacts:
    """The facts of a connection whose client has a certificate, or none."""
    authority = Authority(directory)
    server, client = authority.pair("localhost"), authority.pair("client.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca_file)
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_OPTIONAL
    trusting = authority.trust()
    if with_certificate:
        trusting.load_cert_chain(client.certificate, client.key)
    ours, theirs = socket.socketpair()

    def call() -> None:
        with suppress(OSError), trusting.wrap_socket(theirs, server_hostname="localhost") as connection:
            connection.sendall(b"x")
            connection.recv(1)  # until the other side ends

    caller = Thread(target=call)
    caller.start()
    stream = TlsStream(ours, context)
    try:
        assert stream.recv(1) == b"x"
        return stream.tls_facts
    finally:
        stream.close()
        caller.join()


def test_it_has_the_version_and_the_subject_of_the_clients_certificate(tmp_path: Path) -> None:
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    version, subject = served(tmp_path / "with", with_certificate=True)
    assert version == "TLSv1.3"
    assert [kind for one in subject for kind, _ in one] == ["organizationName", "organizationalUnitName"]
    assert served(tmp_path / "without", with_certificate=False) == ("TLSv1.3", ())


def test_a_plain_stream_has_neither() -> None:
    ours, theirs = socket.socketpair()
    stream = Stream(ours)
    assert stream.tls_facts == NO_TLS
    stream.close()
    theirs.close()


def test_a_connection_of_a_challenge_ends_with_its_handshake(tmp_path: Path) -> None:
    """RFC 8737 §4. It would be one without a certificate of the client, where the listener demands one."""
    authority = Authority(tmp_path)
    server = authority.pair("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.certificate, server.key)
    context.set_alpn_protocols([CHALLENGE_PROTOCOL, "http/1.1"])
    for protocol, served in (("http/1.1", True), (CHALLENGE_PROTOCOL, False)):
        trusting = authority.trust()
        trusting.set_alpn_protocols([protocol])
        ours, theirs = socket.socketpair()

        def call(theirs: socket.socket = theirs, trusting: ssl.SSLContext = trusting) -> None:
            with suppress(OSError), trusting.wrap_socket(theirs, server_hostname="localhost") as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                connection.recv(1)  # until the other side ends: it may still send tickets

        caller = Thread(target=call)
        caller.start()
        stream = TlsStream(ours, context)
        try:
            if served:
                assert stream.recv(3) == b"GET"
            else:
                with pytest.raises(ConnectionAbortedError):
                    stream.recv(3)
        finally:
            stream.close()
            caller.join()
