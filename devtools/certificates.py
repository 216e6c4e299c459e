"""Certificates for tests: an authority of their own, and what it vouches for."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and of its key."""

    certificate: str
    key: str


class Authority:
    """Signs certificates, and writes all files into one directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._name = name
        self._ca = trustme.CA()
        self.ca_file = str(directory / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.ca_file)
        self._made = 0

    def pair(self, *names: str) -> Pair:
        """A certificate for these names and addresses, and its key."""
        self._made += 1
        made = self._ca.issue_cert(*names)
        pair = Pair(*(str(self._directory / f"{self._name}-{self._made}.{kind}") for kind in ("crt", "key")))
        for blob in made.cert_chain_pems:
            blob.write_to_path(pair.certificate, append=True)
        made.private_key_pem.write_to_path(pair.key)
        return pair

    def server(self, *names: str, adjust: Callable[[ssl.SSLContext], None] | None = None) -> ssl.SSLContext:
        """The context of a server with such a certificate."""
        pair = self.pair(*names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        if adjust is not None:
            adjust(context)
        return context

    def trust(self) -> ssl.SSLContext:
        """The context of a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.ca_file)
