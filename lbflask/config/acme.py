"""Automatic certificates. The file of keys is read during validation."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lbflask.config.field_types import Listed, Seconds, SecondsOrZero, Section, checked_by, required
from lbflask.config.files import UnusableFile, read_text
from lbflask.config.paths import FilePath
from lbflask.config.redaction import Secret
from lbflask.core.certificate_demand import DemandRule
from lbflask.core.certificate_orders import is_name
from lbflask.core.http.service_address import service_address

#: The authority that is asked without another directory.
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
#: Names at most: all of them are read by each worker when one changes.
MAX_NAMES = 200
#: Characters of a key: 32 random bytes have at least 43 in base64.
LEAST_KEY = 32
_HINT = "for example: openssl rand -base64 32 > acme.key"


def _name(text: str) -> str:
    name = text.strip().lower()
    if not is_name(name):
        raise ValueError("must be a name such as shop.example; non-ASCII ones in their xn-- form, and no addresses")
    return name


def _pattern(text: str) -> str:
    pattern = text.strip().lower()
    if not is_name(pattern):
        raise ValueError("must be a name such as shop.example, or *.tenants.example for all names with one label more")
    return pattern


def _check_service(url: str) -> None:
    if not url:
        return
    if len(url) > 1000:
        raise ValueError("must be a URL of at most 1000 characters")
    service_address(url)


def _check_hook(command: str) -> None:
    if "\0" in command or len(command) > 4000:
        raise ValueError("must be the path and the arguments of a command, without NUL")


def _check_directory(url: str) -> None:
    try:
        scheme = service_address(url).address.scheme
    except ValueError:
        scheme = ""
    if scheme != "https" or len(url) > 1000:
        raise ValueError("must be the https:// URL of an authority's ACME directory")


def _keys_in(path: str) -> tuple[str, ...]:
    """The lines of the file; none without a file. Raises ValueError."""
    if not path:
        return ()
    try:
        lines = read_text(path).split("\n")
    except UnusableFile as error:
        raise ValueError(f"{path!r} {error}; {_HINT}") from None
    keys = tuple(line.strip() for line in lines if line.strip())
    if not keys:
        raise ValueError(f"there is no key in it; {_HINT}")
    if min(map(len, keys)) < LEAST_KEY:
        raise ValueError(f"a key in it has less than {LEAST_KEY} characters; {_HINT}")
    return keys


EncryptionKey = Annotated[
    Secret, required(lambda text: len(text) >= LEAST_KEY, f"must have {LEAST_KEY} characters or more; {_HINT}")
]
MailAddress = Annotated[
    str, required(re.compile(r"([^@\s,?&]{1,200}@[^@\s,?&]{1,200})?").fullmatch, "must be one mail address, or empty")
]


class AcmeConfig(Section):
    """Certificates that an authority issues and renews by itself (docs/how-to/automatic-certificates.md)."""

    domains: Listed[Annotated[str, AfterValidator(_name)]] = ()
    """The names; each gets its own certificate. Naming an authority means to agree to its terms."""
    directory: Annotated[str, checked_by(_check_directory)] = LETS_ENCRYPT
    """URL of the authority's directory (RFC 8555 section 7.1.1)."""
    email: MailAddress = ""
    """Address for notices of the authority."""
    challenge: Literal["http-01", "tls-alpn-01", "dns-01"] = "http-01"
    """How the authority validates the names: by a request to port 80, by a handshake at port 443, or by a record in the
    DNS, which `dns_hook` writes and wildcards such as `*.shop.example` need."""
    dns_hook: Listed[Annotated[str, checked_by(_check_hook)]] = ()
    """For `dns-01`: the absolute path of a command, and its arguments. It is called with `add` or `remove`, the name of
    a TXT record and its value, by the leading checker."""
    dns_hook_timeout: Annotated[Seconds, Field(le=600)] = 60.0
    """Seconds for one call of the command, which is killed then."""
    dns_delay: Annotated[SecondsOrZero, Field(le=600)] = 10.0
    """Seconds from the end of `add` until the authority is asked: all name servers have the record by then."""
    on_demand: Listed[Annotated[str, AfterValidator(_pattern)]] = ()
    """Names that get a certificate when a client asks for them: exact, or `*.tenants.example` for one label."""
    on_demand_ask: Annotated[str, checked_by(_check_service)] = ""
    """A URL that is asked for each name on demand, with `?domain=NAME`, and allows it by status 200. Without
    `on_demand`, for any name."""
    on_demand_per_hour: Annotated[int, Field(ge=1, le=1000)] = 20
    """First orders on demand that begin within an hour, at most."""
    ca: FilePath = ""
    """PEM file of the roots to trust for the directory, instead of those of the system."""
    key: EncryptionKey | None = None
    """Encrypts accounts, keys and certificates in the store and on disk; the same for the whole fleet."""
    key_file: Annotated[FilePath, checked_by(_keys_in)] = ""
    """A file with the key instead; with several, one per line, the first one encrypts and all decrypt. Without a
    configured store, a key is generated."""
    storage: FilePath = ""
    """Directory for the copy of this machine. Unset, below the state directory of the system or of the user."""

    def check(self, where: str, *, shared: bool) -> None:
        """Raises ValueError, which names the setting, for settings that do not fit together. `shared` is whether the
        store is one that others can read.
        """
        if not self.domains:
            others = sorted(type(self).model_fields)
            self.check_unused(where, others, f"there are no automatic certificates without {where}.domains")
            return
        if len(self.domains) > MAX_NAMES:
            raise ValueError(f"{where}.domains: has {len(self.domains)} names; {MAX_NAMES} are possible")
        twice = {name for name in self.domains if self.domains.count(name) > 1}
        if twice:
            raise ValueError(f"{where}.domains: {min(twice)!r} is there twice")
        self._check_challenge(where)
        if not self.demand:
            self.check_unused(where, ["on_demand_per_hour"], f"has no use without {where}.on_demand")
        if self.key and self.key_file:
            raise ValueError(f"{where}.key_file: there is {where}.key already")
        if shared and not (self.key or self.key_file):
            raise ValueError(
                f"{where}.key_file: is missing: private keys of certificates are in the store that redis_url names, "
                f"encrypted with the key in this file, which is the same on all machines; {_HINT}"
            )

    def _check_challenge(self, where: str) -> None:
        if self.challenge != "dns-01":
            unused = (key for key in type(self).model_fields if key.startswith("dns_"))
            self.check_unused(where, unused, f"is only for {where}.challenge = 'dns-01'")
            wildcard = next((name for name in self.domains if name.startswith("*.")), None)
            if wildcard:
                raise ValueError(
                    f"{where}.domains: {wildcard!r} needs {where}.challenge = 'dns-01' with a dns_hook: authorities "
                    "validate wildcards in the DNS only; else list the names"
                )
        elif not self.dns_hook:
            raise ValueError(
                f"{where}.dns_hook: is missing: {where}.challenge = 'dns-01' needs a command that adds and removes TXT "
                "records, such as ['/etc/lbflask/dns-hook']"
            )
        elif not self.dns_hook[0].startswith("/"):
            raise ValueError(f"{where}.dns_hook: {self.dns_hook[0]!r} must be the absolute path of a command")

    @property
    def demand(self) -> DemandRule | None:
        """Which names may have a certificate on demand; None if there are none."""
        if not self.on_demand and not self.on_demand_ask:
            return None
        return DemandRule(frozenset(self.on_demand), frozenset(self.domains), self.on_demand_per_hour)

    @property
    def needs_plain_listener(self) -> bool:
        """Whether the authority validates names by plain HTTP."""
        return bool(self.domains) and self.challenge == "http-01"

    def every_key(self) -> tuple[str, ...]:
        """The keys of the operator; none if one is to be generated. Raises ValueError."""
        return (self.key.reveal(),) if self.key else _keys_in(self.key_file)
