"""What a TLS stream knows of its connection."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from threading import Thread

from devtools.certificates import Authority
from lbflask.server.worker.stream import NO_TLS, Stream, TlsFacts
from lbflask.server.worker.tls_stream import TlsStream


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
        with trusting.wrap_socket(theirs, server_hostname="localhost") as connection:
            connection.sendall(b"x")
            connection.recv(1)

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
