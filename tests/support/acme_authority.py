"""An ACME authority on loopback: Pebble, the test server of Let's Encrypt, with a name server of ours.

with AcmeAuthority(tmp_path, http_port=8080, tls_port=8443) as authority:
    authority.resolve("shop.example")            # to 127.0.0.1, where it validates at these two ports
    settings = {"tls__acme__directory": authority.directory, "tls__acme__ca": authority.ca_file}
"""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.request
from pathlib import Path
from typing import Self

from devtools.certificates import Authority
from devtools.environment import HOST
from devtools.ports import free_port
from devtools.servers import Process, listens, require
from tests.support.nameserver import NameServer


class AcmeAuthority:
    """Issues until the end of the block. `environ` are further variables of Pebble's."""

    def __init__(
        self,
        directory: Path,
        *,
        http_port: int,
        tls_port: int,
        environ: dict[str, str] | None = None,
        validity: int = 0,
    ) -> None:
        require(shutil.which("pebble"), "pebble")
        site = Authority(directory, "directory")
        pair = site.pair("localhost", HOST)
        self.ca_file, self._trust = site.ca_file, site.trust()
        self.port, self._management = free_port(), free_port()
        self.directory = f"https://localhost:{self.port}/dir"
        #: Its name server.
        self.names = NameServer()
        config: dict[str, object] = {
            "listenAddress": f"{HOST}:{self.port}",
            "managementListenAddress": f"{HOST}:{self._management}",
            "certificate": pair.certificate,
            "privateKey": pair.key,
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
        if validity:
            config["certificateValidityPeriod"] = validity
        self._config = directory / "pebble.json"
        self._config.write_text(json.dumps({"pebble": config}), "utf-8")
        self._environ = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", **(environ or {})}
        self._process: Process | None = None

    def resolve(self, *names: str) -> None:
        """The names have the address of this machine."""
        for name in names:
            self.names.set(name, "A", HOST)

    def forget(self, *names: str) -> None:
        """The names have no address."""
        for name in names:
            self.names.set(name, "A")

    def start(self) -> None:
        """Start, with nothing that was issued before."""
        command = ["pebble", "-config", str(self._config), "-strict", "-dnsserver", self.names.address]
        self._process = Process(command, self._environ)
        self._process.await_start(lambda: listens(self.port) and listens(self._management), "Pebble answers")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    @property
    def log(self) -> str:
        """What it has written."""
        assert self._process is not None
        return self._process.output

    def roots(self) -> ssl.SSLContext:
        """The context of a client that trusts what it issues, and nothing else."""
        url = f"https://localhost:{self._management}/roots/0"
        with urllib.request.urlopen(url, context=self._trust) as response:
            return ssl.create_default_context(cadata=response.read().decode())

    def __enter__(self) -> Self:
        self.names.__enter__()
        self.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.stop()
        self.names.__exit__(None, None, None)
