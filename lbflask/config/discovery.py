"""Sources of backends besides the configuration: a file, or DNS."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from lbflask.config.field_types import Listed, Seconds, Section, checked_by
from lbflask.config.paths import SOURCE, absolute_path
from lbflask.config.redaction import ServiceURL
from lbflask.config.units import SECONDS
from lbflask.core.http.addresses import parsed_address
from lbflask.core.model import DEFAULT_PORTS, MOST_WEIGHT

#: A name as DNS has it (RFC 1035 §2.3.4), with the underscores of services (RFC 2782).
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_FORMS = "file:/path, dns://name:port or srv://_service._tcp.name"
#: The settings that each kind of source uses, besides `source`.
_OF_DNS = frozenset({"scheme", "nameservers", "family", "min_ttl", "max_ttl", "timeout"})
_USES = {"file": frozenset(), "dns": _OF_DNS | {"weight"}, "srv": _OF_DNS}


class Where(NamedTuple):
    """A source: `kind` is `file`, `dns` or `srv`, `name` a path or a name; the port is 0 where none is given."""

    kind: str
    name: str
    port: int = 0

    @classmethod
    def parse(cls, source: str) -> Where:
        """The source of this URL. Raises ValueError, which states the expected form."""
        kind, colon, rest = source.partition(":")
        if not colon or kind not in _USES or (kind != "file" and not rest.startswith("//")):
            raise ValueError(f"must be {_FORMS}")
        if kind == "file":
            if not (path := absolute_path(rest)):
                raise ValueError("a file needs an absolute path, as in file:/etc/lbflask/backends.toml")
            return cls(kind, path)
        name, colon, port = rest[2:].partition(":")
        if kind == "srv" and colon:
            raise ValueError("SRV records have the port, so that none can be given")
        if colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65_536):
            raise ValueError("the port is not a number from 1 to 65535")
        _check_name(name)
        return cls(kind, name, int(port or 0))


def _check_name(name: str) -> None:
    if parsed_address(name) is not None:
        raise ValueError(f"{name} is an address, which needs no discovery: add it to `backends`")
    bare = name.removesuffix(".")
    if len(bare) > 253 or not all(_LABEL.fullmatch(label) for label in bare.split(".")):
        raise ValueError(f"{ServiceURL(name)!r} is not a name that DNS can have")


def _check_source(value: ServiceURL) -> None:
    if "@" in value and not value.startswith("file:"):
        raise ValueError("the text around the @ is not a name that DNS can have")
    Where.parse(value.reveal())


def server_address(value: str) -> tuple[str, int]:
    """Address and port of a name server: `address`, `address:port` or `[v6]:port`. Raises ValueError."""
    found = re.fullmatch(r"(?:\[([^]]+)\]|([^:]+))(?::([0-9]{1,5}))?", value)
    address, port = (found[1] or found[2], int(found[3] or 53)) if found else (value, 53)
    if parsed_address(address) is None:
        raise ValueError("must be addresses of name servers, with a port or without: 10.0.0.2, [fd00::2]:53")
    if not 0 < port < 65_536:
        raise ValueError("the port is not a number from 1 to 65535")
    return address, port


class DiscoveryConfig(Section):
    """Backends that are added and removed without a reload, besides those of `backends` (docs/discovery.md)."""

    source: Annotated[ServiceURL, SOURCE, checked_by(_check_source)] | None = None
    """`file:path`, `dns://name:port` (all addresses of the name) or `srv://_http._tcp.name`; unset for no discovery."""
    scheme: Literal["http", "https"] = "http"
    """The scheme of backends that DNS finds."""
    weight: int = Field(default=1, ge=0, le=MOST_WEIGHT)
    """The weight of each backend found by `dns://`; SRV records and files have weights of their own."""
    nameservers: Listed[Annotated[str, checked_by(server_address)]] = ()
    """Addresses of name servers, with or without a port; those of the system unless set."""
    family: Literal["any", "ipv4", "ipv6"] = "any"
    """The addresses that are used; with `any` a name with addresses of both families gives two backends."""
    min_ttl: Annotated[float, SECONDS] = Field(default=1.0, ge=1, le=86_400, allow_inf_nan=False)
    """Minimum seconds until a name is resolved again, even if its time to live is shorter."""
    max_ttl: Annotated[float, SECONDS] = Field(default=300.0, ge=1, le=86_400, allow_inf_nan=False)
    """Maximum seconds until a name is resolved again."""
    timeout: Seconds = 5.0
    """Seconds for an answer of any of the name servers."""

    def where(self) -> Where | None:
        """The source, with the default port of the scheme if none is given; None without a source."""
        if self.source is None:
            return None
        found = Where.parse(self.source.reveal())
        return found._replace(port=found.port or DEFAULT_PORTS[self.scheme]) if found.kind == "dns" else found

    def servers(self) -> tuple[tuple[str, int], ...]:
        """Address and port of each name server that is set."""
        return tuple(map(server_address, self.nameservers))

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for settings without effect or that exclude each other."""
        kind = Where.parse(self.source.reveal()).kind if self.source else ""
        reason = f"a source of kind {kind!r} does not use it" if kind else "without a `source` there is no use for it"
        used = _USES.get(kind, frozenset()) | {"source"}
        self.check_unused(where, [key for key in type(self).model_fields if key not in used], reason)
        if self.min_ttl > self.max_ttl:
            raise ValueError(f"{where}.min_ttl: {self.min_ttl:g} is more than max_ttl, {self.max_ttl:g}")
