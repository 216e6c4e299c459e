"""A certificate with its chain and its key, from files or from memory, whole and checked.

Both are read once, and loaded from these bytes: files that change meanwhile cannot make a pair that does not belong
together.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lbflask.config.certificates import certificates_in
from lbflask.config.files import UnusableFile, read_bytes
from lbflask.config.tls import PairFiles, no_passphrase
from lbflask.core import x509
from lbflask.core.server_names import CertificateNames


class UnusablePair(ValueError):
    """The pair cannot be used; the message gives the reason, in one line."""


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """A checked pair: the chain, whose first certificate it is about, and the key, both in PEM form. It expires with
    the first of the chain, in seconds since the epoch. `source` is where it comes from, such as a setting.
    """

    source: str
    chain: bytes
    key: bytes = field(repr=False)
    names: CertificateNames
    expires: float

    @classmethod
    def from_pem(cls, source: str, chain: bytes, key: bytes) -> CertificatePair:
        """The pair of these PEM texts. Raises UnusablePair."""
        try:
            certificates = certificates_in(chain)
            if not certificates:
                raise UnusablePair("there is no certificate in PEM form")
            names = CertificateNames(x509.dns_names(certificates[0]), x509.key_type(certificates[0]))
            pair = cls(source, chain, key, names, min(map(x509.expiry, certificates)))
            pair.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except UnusablePair:
            raise
        except (OSError, ValueError) as error:
            if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
                raise UnusablePair("the key is not that of the certificate") from None
            raise UnusablePair(str(getattr(error, "reason", None) or error)) from None
        return pair

    @classmethod
    def from_files(cls, files: PairFiles) -> CertificatePair:
        """The pair as its files are now. Raises UnusablePair."""
        texts = []
        for path in (files.certificate, files.key):
            try:
                texts.append(read_bytes(path))
            except UnusableFile as error:
                raise UnusablePair(f"{path!r} {error}") from None
        return cls.from_pem(files.setting, *texts)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Present this pair to new clients, in place of one with the same type of key. Raises OSError."""
        with _file_of(self.chain) as chain, _file_of(self.key) as key:
            context.load_cert_chain(chain, key, no_passphrase)


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """The path of a file with this content, in memory where the system can: Python loads no certificates from bytes."""
    in_memory = hasattr(os, "memfd_create")
    with os.fdopen(os.memfd_create("lbflask"), "wb") if in_memory else tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}" if in_memory else file.name
