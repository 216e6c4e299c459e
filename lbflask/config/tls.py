"""TLS towards clients and towards backends. Files are loaded once during the check, so that an invalid one is reported
at the start and not by the first failed handshake.
"""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lbflask.config.acme import AcmeConfig
from lbflask.config.field_types import Section, checked_by
from lbflask.config.files import UnusableFile, read_bytes
from lbflask.config.paths import FilePath


def _check_ciphers(value: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(value)
    except ssl.SSLError:
        raise ValueError("names no cipher suite that OpenSSL has; `openssl ciphers` lists them") from None


#: The cipher suites of TLS 1.2 that clients of the last ten years have, all with forward secrecy and authenticated
#: encryption: those of Mozilla's intermediate profile. Those of TLS 1.3 are fixed.
INTERMEDIATE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)


@dataclass(frozen=True, slots=True)
class PairFiles:
    """The files of a certificate with its chain and of its key, and the settings that name them."""

    setting: str
    key_setting: str
    certificate: str
    key: str


class CertificateConfig(Section):
    """A certificate and its key. Clients get the certificate for the name that they ask for."""

    cert: FilePath
    """PEM file of the certificate, followed by its chain."""
    key: FilePath
    """PEM file of its private key, without a passphrase."""


def _preset(value: Any) -> Any:
    """`true` for the defaults, `false` for none; a table is left to its own validation."""
    if isinstance(value, str):
        value = {"true": True, "false": False, "": False}.get(value.lower(), value)
    return {} if value is True else None if value is False else value


class HSTSConfig(Section):
    """Strict-Transport-Security (RFC 6797) on responses through TLS which have none: browsers then insist on TLS for
    all requests to the host.
    """

    max_age: int = Field(default=63_072_000, ge=0, le=1 << 31)
    """Seconds for which they do; 0 ends it."""
    include_subdomains: bool = False
    """Whether this applies to all names below the host's too."""
    preload: bool = False
    """Whether browsers may have the host in their lists, which is hard to undo; needs `include_subdomains`."""

    def line(self) -> str:
        """The value of the field."""
        parts = [f"max-age={self.max_age}"]
        parts += ["includeSubDomains"] if self.include_subdomains else []
        return "; ".join([*parts, "preload"] if self.preload else parts)


class TLSConfig(Section):
    """TLS on the public listeners; the admin listener has none. Files that change are loaded within seconds."""

    certificate: FilePath = ""
    """PEM file of the certificate, followed by its chain. Empty for no TLS, or for `certificates`."""
    key: FilePath = ""
    """PEM file of its private key, without a passphrase."""
    certificates: tuple[CertificateConfig, ...] = ()
    """Several: each a table of `cert`, `key`. A client gets that for its name (SNI), else the first one."""
    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    """The oldest version of TLS that clients may use."""
    ciphers: Annotated[str, checked_by(_check_ciphers)] = INTERMEDIATE
    """Cipher suites of TLS 1.2, as OpenSSL names them; those of TLS 1.3 are fixed."""

    hsts: Annotated[HSTSConfig | None, BeforeValidator(_preset)] = None
    """`true` for Strict-Transport-Security of two years on responses through TLS, or a table of `max_age`,
    `include_subdomains`, `preload`.
    """

    acme: AcmeConfig = AcmeConfig()

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for unusable files."""
        if self.hsts is not None and self.hsts.preload and not self.hsts.include_subdomains:
            raise ValueError(f"{where}.hsts.preload: set include_subdomains = true too, which the lists require")
        for pair in self.pairs(where):
            _check_pair(pair)

    def contents(self) -> str:
        """A digest of the contents of the files."""
        return _contents(*(file for pair in self.pairs() for file in (pair.certificate, pair.key)))

    @property
    def sources(self) -> tuple[str, ...]:
        """The settings by which there are certificates; none without TLS."""
        return (*(pair.setting for pair in self.pairs()), *(("tls.acme.domains",) if self.acme.domains else ()))

    def pairs(self, where: str = "tls") -> tuple[PairFiles, ...]:
        """The files of all certificates, the default one first."""
        found = []
        if self.certificate or self.key:
            found.append(PairFiles(f"{where}.certificate", f"{where}.key", self.certificate, self.key))
        for number, one in enumerate(self.certificates):
            setting = f"{where}.certificates[{number}]"
            found.append(PairFiles(f"{setting}.cert", f"{setting}.key", one.cert, one.key))
        return tuple(found)


class TrafficBackendTLSConfig(Section):
    """TLS towards backends whose URL begins with https."""

    verify: bool | None = None
    """Whether a backend's certificate must be valid and have its name; otherwise others can read the traffic."""
    ca_file: FilePath | None = None
    """PEM file of the roots to trust, instead of those of the system."""
    certificate: FilePath | None = None
    """PEM file of the certificate for backends that require one."""
    key: FilePath | None = None
    """PEM file of its private key, without a passphrase."""
    server_name: str | None = None
    """The name in SNI and in certificates; the host of the URL unless set."""


class BackendTLSConfig(TrafficBackendTLSConfig):
    """TLS towards backends whose URL begins with https."""

    verify: bool = True
    ca_file: FilePath = ""
    certificate: FilePath = ""
    key: FilePath = ""
    server_name: str = ""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for unusable files."""
        if self.ca_file:
            _check_certificates(f"{where}.ca_file", self.ca_file)
        _check_pair(PairFiles(f"{where}.certificate", f"{where}.key", self.certificate, self.key))
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


def _check_pair(pair: PairFiles) -> None:
    if bool(pair.certificate) != bool(pair.key):
        missing = pair.key_setting if pair.certificate else pair.setting
        raise ValueError(f"{missing}: is missing: certificate and key are set both or not at all")
    if not pair.certificate:
        return
    _check_certificates(pair.setting, pair.certificate)
    _check_readable(pair.key_setting, pair.key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.certificate, pair.key, no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            reason = f"{pair.key!r} is not the key of the certificate {pair.certificate!r}"
            raise ValueError(f"{pair.key_setting}: {reason}") from None
        raise ValueError(
            f"{pair.key_setting}: {pair.key!r} holds no private key that can be used{_why(error)}"
        ) from None


def check_authorities(where: str, path: str) -> None:
    """Raises ValueError, which begins with the setting, for a file without certificates or revocation lists in it."""
    _check_certificates(where, path)


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


def no_passphrase() -> bytes:
    """Without this OpenSSL would prompt for a passphrase on the terminal, and block."""
    raise ValueError("it has a passphrase")


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    detail = reason.lower().replace("_", " ") if reason else str(error) if isinstance(error, ValueError) else ""
    return f": {detail}" if detail else ""
