"""TLS towards clients and towards backends. Files are loaded once during the check, so that an invalid one is reported
at the start and not by the first failed handshake.
"""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress

from lbflask.config.field_types import Section
from lbflask.config.files import UnusableFile, read_bytes
from lbflask.config.paths import FilePath


class TLSConfig(Section):
    """TLS on the public listeners; the admin listener has none."""

    certificate: FilePath = ""
    """PEM file of the certificate, followed by its chain. Empty for no TLS."""
    key: FilePath = ""
    """PEM file of its private key, without a passphrase."""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for unusable files."""
        _check_pair(where, self.certificate, self.key)

    def contents(self) -> str:
        """A digest of the contents of the files."""
        return _contents(self.certificate, self.key)


class BackendTLSConfig(Section):
    """TLS towards backends whose URL begins with https."""

    verify: bool = True
    """Whether a backend's certificate must be valid and have its name; otherwise others can read the traffic."""
    ca_file: FilePath = ""
    """PEM file of the roots to trust, instead of those of the system."""
    certificate: FilePath = ""
    """PEM file of the certificate for backends that require one."""
    key: FilePath = ""
    """PEM file of its private key, without a passphrase."""
    server_name: str = ""
    """The name in SNI and in certificates; the host of the URL unless set."""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for unusable files."""
        if self.ca_file:
            _check_certificates(f"{where}.ca_file", self.ca_file)
        _check_pair(where, self.certificate, self.key)
        if self.server_name and not _is_name(self.server_name):
            raise ValueError(f"{where}.server_name: {self.server_name!r} is not a host's name")

    def contents(self) -> str:
        """A digest of the contents of the files."""
        return _contents(self.ca_file, self.certificate, self.key)


def _contents(*files: str) -> str:
    """A digest; files that cannot be read, or are not configured, do not contribute."""
    found = hashlib.sha256()
    for file in files:
        with suppress(UnusableFile):
            found.update(hashlib.sha256(read_bytes(file) if file else b"").digest())
    return found.hexdigest()


def _is_name(name: str) -> bool:
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return name.isascii() and name.isprintable() and " " not in name


def _check_pair(where: str, certificate: str, key: str) -> None:
    if bool(certificate) != bool(key):
        missing = "key" if certificate else "certificate"
        raise ValueError(f"{where}.{missing}: is missing: certificate and key are set both or not at all")
    if not certificate:
        return
    _check_certificates(f"{where}.certificate", certificate)
    _check_readable(f"{where}.key", key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise ValueError(f"{where}.key: {key!r} is not the key of the certificate {certificate!r}") from None
        raise ValueError(f"{where}.key: {key!r} holds no private key that can be used{_why(error)}") from None


def _check_certificates(where: str, path: str) -> None:
    _check_readable(where, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{where}: {path!r} holds no certificate in PEM form{_why(error)}") from None


def _check_readable(where: str, path: str) -> None:
    try:
        read_bytes(path)
    except UnusableFile as error:
        raise ValueError(f"{where}: {path!r} {error}") from None


def _no_passphrase() -> bytes:
    """Without this OpenSSL would prompt for a passphrase on the terminal, and block."""
    raise ValueError("it has a passphrase")


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    detail = reason.lower().replace("_", " ") if reason else str(error) if isinstance(error, ValueError) else ""
    return f": {detail}" if detail else ""
