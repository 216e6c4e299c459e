"""The backend and the client of large bodies, over real sockets."""

from __future__ import annotations

import socket
import sys
import threading

import pytest

if sys.platform != "linux":
    pytest.skip("it stands on sendfile(2) from memfd_create(2)", allow_module_level=True)

from benchmarks.backends import bulk


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("count", [bulk.CHUNK, 17 * bulk.CHUNK, 100 * bulk.CHUNK])
def test_a_body_arrives_whole_whatever_its_framing(chunked: bool, count: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = socket.create_connection(listener.getsockname()[:2])
        sender, _ = listener.accept()
    with sender, receiver:
        sender.sendall(b"HTTP/1.1 200 OK\r\n" + bulk.framing(count, chunked=chunked) + b"\r\n")
        sending = threading.Thread(target=bulk.send_body, args=(sender, count), kwargs={"chunked": chunked})
        sending.start()
        read = bulk.read_head(receiver)
        assert read is not None
        assert bulk.discard_body(receiver, *read, memoryview(bytearray(bulk.READ))) == count
        sending.join()


def test_a_body_that_is_cut_is_not_taken_for_whole() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        read = bulk.read_head(ours)
        assert read is not None
        with pytest.raises(ConnectionError, match="cut"):
            bulk.discard_body(ours, *read, memoryview(bytearray(64)))
