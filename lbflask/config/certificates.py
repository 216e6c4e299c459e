"""When the certificates of the configuration expire."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

from lbflask.config.files import UnusableFile, read_bytes
from lbflask.config.schema import Config
from lbflask.config.tls import TrafficBackendTLSConfig
from lbflask.core import x509

#: Seconds before its expiry from which on a certificate has a warning.
WARN_BEFORE = 14 * 86_400.0
_PEM = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.*?-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """The certificates in a file: the setting that names it, and their expiry in seconds since the epoch.

    A chain expires with the first of its certificates, a file of roots with the last one. `unusable` is why the file
    as it is now cannot be used, so that what was loaded before stays in use; empty if it can.
    """

    setting: str
    path: str
    expires: float
    unusable: str = ""


def certificate_files(config: Config) -> tuple[CertificateFile, ...]:
    """Those of the configuration, as their files are now; without files that hold none that can be read."""
    return tuple(_certificate_files(config))


def expiry_text(expires: float, now: float) -> str:
    """When a certificate expires or has expired, in words; empty if that is more than WARN_BEFORE away."""
    if expires - now > WARN_BEFORE:
        return ""
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(expires))
    days = abs(expires - now) / 86_400
    distance = f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"
    return f"expires in {distance}, at {date}" if expires > now else f"expired {distance} ago, at {date}"


def day(moment: float) -> str:
    """The day of a time since the epoch, by UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def expiry_warnings(config: Config, now: float) -> tuple[str, ...]:
    """A line for each file whose certificates have expired or will expire soon; `now` is since the epoch."""
    return tuple(
        f"{file.setting} = {file.path!r}: the certificate {text}"
        for file in certificate_files(config)
        if (text := expiry_text(file.expires, now))
    )


def _certificate_files(config: Config) -> Iterator[CertificateFile]:
    files = [(pair.setting, pair.certificate, min) for pair in config.tls.pairs()]
    for where, table in (("", config), *((f"pools.{name}.", pool) for name, pool in config.pools.items())):
        towards_backends: TrafficBackendTLSConfig = table.backend_tls
        files += [
            (f"{where}backend_tls.certificate", towards_backends.certificate or "", min),
            (f"{where}backend_tls.ca_file", towards_backends.ca_file or "", max),
        ]
    for setting, path, which in files:
        found = _expiries(path) if path else []
        if found:
            yield CertificateFile(setting, path, which(found))


def certificates_in(pem: bytes) -> list[bytes]:
    """The certificates in a PEM text, in DER form. Raises ValueError for one that cannot be decoded."""
    found = []
    for block in _PEM.findall(pem):
        body = b"".join(block.splitlines()[1:-1]).decode("ascii")
        found.append(ssl.PEM_cert_to_DER_cert(f"{ssl.PEM_HEADER}\n{body}\n{ssl.PEM_FOOTER}"))
    return found


def _expiries(path: str) -> list[float]:
    try:
        return [x509.expiry(der) for der in certificates_in(read_bytes(path))]
    except (UnusableFile, ValueError):  # the check of the configuration names it
        return []
