"""Certificates for tests: an authority of their own, and what it vouches for."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and of its key."""

    certificate: str
    key: str


def in_days(days: float) -> datetime:
    """The moment so many days from now, or before if negative."""
    return datetime.now(UTC) + timedelta(days=days)


class Authority:
    """Signs certificates, and writes all files into one directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._name = name
        self._ca = trustme.CA()
        self.ca_file = str(directory / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.ca_file)
        self._made = 0

    def pair(
        self, *names: str, not_after: datetime | None = None, key_type: trustme.KeyType = trustme.KeyType.ECDSA
    ) -> Pair:
        """A certificate for these names and addresses, and its key; valid to the end of time if not said otherwise."""
        self._made += 1
        made = self._ca.issue_cert(*names, not_after=not_after, key_type=key_type)
        pair = Pair(*(str(self._directory / f"{self._name}-{self._made}.{kind}") for kind in ("crt", "key")))
        for blob in made.cert_chain_pems:
            blob.write_to_path(pair.certificate, append=True)
        made.private_key_pem.write_to_path(pair.key)
        return pair

    def server(
        self,
        *names: str,
        adjust: Callable[[ssl.SSLContext], None] | None = None,
        not_after: datetime | None = None,
    ) -> ssl.SSLContext:
        """The context of a server with such a certificate."""
        pair = self.pair(*names, not_after=not_after)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        if adjust is not None:
            adjust(context)
        return context

    def trust(self) -> ssl.SSLContext:
        """The context of a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.ca_file)
