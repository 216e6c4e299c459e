"""A command that adds TXT records to a name server of the tests and removes them, as `tls.acme.dns_hook`.

with DnsZone(directory, server) as zone:
    settings = {"tls__acme__challenge": "dns-01", "tls__acme__dns_hook": zone.command}
"""

from __future__ import annotations

import socketserver
import sys
import threading
from pathlib import Path
from typing import Self

from devtools.environment import HOST
from tests.support.nameserver import NameServer

SCRIPT = """#!{python}
import socket, sys
with socket.create_connection(("{host}", {port})) as connection:
    connection.sendall(" ".join(sys.argv[1:]).encode() + b"\\n")
    answer = connection.recv(1000).decode()
print(answer)
sys.exit(answer != "done")
"""


class DnsZone:
    """`calls` are those of the command, each with its arguments; `refuses` is why it fails, empty while it succeeds."""

    def __init__(self, directory: Path, server: NameServer) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.refuses = ""
        self.records: dict[str, list[str]] = {}
        self._server = server
        zone = self

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(zone.change(*self.rfile.readline().decode().split()).encode())

        self._tcp = socketserver.ThreadingTCPServer((HOST, 0), Answer)
        self._tcp.daemon_threads = True
        script = directory / "dns-hook"
        script.write_text(SCRIPT.format(python=sys.executable, host=HOST, port=self._tcp.server_address[1]))
        script.chmod(0o755)
        self.command = str(script)

    def change(self, action: str, name: str, value: str) -> str:
        self.calls.append((action, name, value))
        if self.refuses:
            return self.refuses
        values = self.records.setdefault(name, [])
        if action == "add" and value not in values:
            values.append(value)
        elif action == "remove" and value in values:
            values.remove(value)
        self._server.set(name, "TXT", *values)
        return "done"

    @property
    def values(self) -> list[str]:
        """All records that there are."""
        return [value for values in self.records.values() for value in values]

    def __enter__(self) -> Self:
        threading.Thread(target=self._tcp.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._tcp.shutdown()
        self._tcp.server_close()
